//! Knocks that a key signs: with files that ssh-keygen made, and OpenSSH's agent.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use knock_core::spa::Address;

use crate::client::{Ended, V4, closed_port};
use crate::person::{Agent, Person, Server, permit, succeed};

fn public(file: &Path) -> String {
    fs::read_to_string(file.with_extension("pub")).unwrap()
}

/// Somebody who has a server in their file of hosts.
fn scene(rest: &str) -> (Person, Server) {
    let (person, server) = (Person::new(), Server::new());
    person.write_hosts(&server.table("here", rest));
    (person, server)
}

#[track_caller]
fn sent(ended: &Ended) {
    assert_eq!((ended.code, ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "", ""));
}

/// Nothing was sent, and why not.
#[track_caller]
fn refused(server: &Server, ended: &Ended, why: &str) {
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{}", ended.stderr);
    assert!(ended.stderr.contains(why) && ended.stderr.ends_with("; nothing was sent\n"), "{}", ended.stderr);
    assert!(server.is_quiet());
}

#[test]
fn a_usual_file_signs() {
    let (person, server) = scene("");
    let ecdsa = person.key("id_ecdsa", "-t ecdsa -b 256", "");
    sent(&person.knock("here"));
    let heard = server.hear();
    assert_eq!(heard.signer(&public(&ecdsa)), "id_ecdsa");
    let request = heard.request();
    assert_eq!((request.door.as_str(), request.lasts, request.address), ("ssh", None, Address::Source));
    // It comes before the other.
    let ed25519 = person.plain_key("id_ed25519");
    sent(&person.knock("here"));
    let second = server.hear();
    assert_eq!(second.signer(&public(&ed25519)), "id_ed25519");
    assert_ne!(second.opened.encapsulated, heard.opened.encapsulated);
}

#[test]
fn a_file_can_be_named_by_either_half_or_by_its_fingerprint() {
    let (person, server) = scene("");
    person.plain_key("id_ed25519");
    let work = person.plain_key("work");
    for identity in ["~/.ssh/work".into(), format!("{}.pub", work.display()), person.fingerprint(&work)] {
        person.write_hosts(&server.table("here", &format!("identity = \"{identity}\"")));
        sent(&person.knock("here"));
        assert_eq!(server.hear().signer(&public(&work)), "work", "{identity}");
    }
    // Without the public half, too: the private one says which key it is.
    let authorized = public(&work);
    fs::remove_file(work.with_extension("pub")).unwrap();
    sent(&person.knock("here"));
    assert_eq!(server.hear().signer(&authorized), "work");
}

#[test]
fn what_is_asked_is_what_was_said() {
    let (person, server) = scene("open_for = \"1h\"\naddress = \"own\"");
    let key = person.plain_key("id_ed25519");
    sent(&person.knock("here"));
    let heard = server.hear();
    assert_eq!(heard.request().address, Address::Stated(V4));
    assert_eq!(heard.request().lasts.map(|time| time.as_secs()), Some(3600));
    assert_eq!(heard.judged(&public(&key)).unwrap().address, V4);
    sent(&person.knock("--door web --for 90s HERE"));
    let request = server.hear().request();
    assert_eq!((request.door.as_str(), request.lasts.map(|time| time.as_secs())), ("web", Some(90)));
    person.write_hosts(&server.table("here", "address = \"2001:db8::7\""));
    sent(&person.knock("here"));
    assert_eq!(server.hear().request().address, Address::Stated("2001:db8::7".parse().unwrap()));
}

#[test]
fn says_what_it_sends_and_nothing_secret() {
    let (person, server) = scene("");
    let key = person.plain_key("id_ed25519");
    let ended = person.knock("-v here");
    server.hear();
    let hitting = format!("hitting udp 127.0.0.1:{}\n", server.port());
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), hitting.as_str()));
    let note = format!(
        "knock: note: door \"ssh\" of 127.0.0.1 at UDP port {}, whose key is {}; signed with {} by {}\n",
        server.port(),
        server.key(),
        person.fingerprint(&key),
        key.display()
    );
    assert_eq!(ended.stderr, note);
}

#[test]
fn an_unknown_door_is_told_with_those_that_are_known() {
    let (person, server) = scene("");
    person.plain_key("id_ed25519");
    let ended = person.knock("--door mail here");
    assert_eq!(ended.code, Some(1));
    let expected = "knock: the host \"here\" has no door \"mail\" in the file, but ssh, web; if the server has it, add it to \
        doors there\n";
    assert_eq!(ended.stderr, expected);
    assert!(server.is_quiet());
}

#[test]
fn a_passphrase_is_asked_for() {
    let (person, server) = scene("");
    let key = person.key("id_ed25519", "-t ed25519", "open sesame");
    let knock = |answer: &str| -> Ended {
        let mut client = person.client();
        client.env("SSH_ASKPASS", person.askpass(answer)).env("SSH_ASKPASS_REQUIRE", "force");
        client.arg("here").output().unwrap().into()
    };
    sent(&knock("open sesame"));
    assert_eq!(server.hear().signer(&public(&key)), "id_ed25519");
    assert_eq!(person.asked(), 1);
    refused(&server, &knock("open barley"), "that is not the passphrase of ");
    assert_eq!(person.asked(), 4);
    refused(&server, &knock(""), "id_ed25519 has a passphrase, and none was given; ssh-add ");
}

/// A session of its own has no terminal.
#[cfg(target_os = "linux")]
#[test]
fn without_a_terminal_nobody_can_be_asked() {
    let (person, server) = scene("");
    person.key("id_ed25519", "-t ed25519", "open sesame");
    let mut command = person.tool("setsid");
    let ended = command.args(["-w", env!("CARGO_BIN_EXE_knock"), "here"]).output().unwrap().into();
    refused(&server, &ended, "id_ed25519 has a passphrase: there is no terminal to ask on");
    let mut command = person.tool("setsid");
    command.env("SSH_ASKPASS", person.askpass("open sesame")).env("DISPLAY", ":none");
    sent(&command.args(["-w", env!("CARGO_BIN_EXE_knock"), "here"]).output().unwrap().into());
    server.hear();
}

/// `script` makes a terminal, and shows what is written there.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_does_not_show_the_passphrase() {
    let (person, server) = scene("");
    let key = person.key("id_ed25519", "-t ed25519", "open sesame");
    let mut command = person.tool("script");
    command.args(["-qec", &format!("{} here", env!("CARGO_BIN_EXE_knock")), "/dev/null"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let prompt = format!("Enter passphrase for key '{}': ", key.display());
    let mut shown = Vec::new();
    let mut read = || {
        let mut buffer = [0; 256];
        let length = std::io::Read::read(&mut output, &mut buffer).unwrap();
        shown.extend_from_slice(&buffer[..length]);
        (length, String::from_utf8_lossy(&shown).into_owned())
    };
    while !read().1.contains(&prompt) {}
    // The echo is off before anything is asked.
    input.write_all(b"wrong\n").unwrap();
    while read().1.matches(&prompt).count() < 2 {}
    input.write_all(b"open sesame\n").unwrap();
    server.hear();
    let shown = loop {
        let (length, shown) = read();
        if length == 0 {
            break shown;
        }
    };
    assert!(child.wait().unwrap().success(), "{shown}");
    assert!(!shown.contains("sesame") && !shown.contains("wrong"), "{shown}");
}

#[test]
fn keys_that_cannot_knock_are_told_with_what_to_do() {
    let cases = [
        (
            "-t rsa -b 2048",
            "",
            0o600,
            "RSA keys cannot knock, their signatures are too long for one packet: make another",
        ),
        (
            "-t ecdsa -b 384",
            "",
            0o600,
            "ecdsa-sha2-nistp384 keys cannot knock: make another with ssh-keygen -t ed25519",
        ),
        ("-t ecdsa -b 384", "locked", 0o600, "ecdsa-sha2-nistp384 keys cannot knock"),
        ("-t ecdsa -b 256 -m PEM", "", 0o600, "is in an old format: ssh-keygen -p -f "),
        ("-t ed25519", "", 0o640, "(mode 0640), so that it is no secret: chmod 600 "),
        ("-t ed25519", "", 0o604, "(mode 0604), so that it is no secret: chmod 600 "),
    ];
    for (options, passphrase, mode, why) in cases {
        let (person, server) = scene("identity = \"~/.ssh/mine\"");
        let key = person.key("mine", options, passphrase);
        permit(&key, mode);
        refused(&server, &person.knock("here"), why);
    }
    let (person, server) = scene("identity = \"~/.ssh/mine\"");
    refused(&server, &person.knock("here"), "there is no key file ");
    fs::write(person.home.join(".ssh/mine"), "hello\n").unwrap();
    refused(&server, &person.knock("here"), "/.ssh/mine: it is no SSH key: ");
}

#[test]
fn without_any_key_it_is_said_where_one_was_looked_for() {
    let (person, server) = scene("");
    refused(
        &server,
        &person.knock("here"),
        "there is no key in ~/.ssh (id_ed25519, id_ecdsa, id_ed25519_sk, id_ecdsa_sk), and there is no ssh-agent \
         (SSH_AUTH_SOCK is not set): ssh-keygen -t ed25519 makes a key",
    );
    person.key("id_rsa", "-t rsa -b 2048", "");
    refused(&server, &person.knock("here"), "but id_rsa: RSA keys cannot knock");
    let missing = format!("SHA256:{}", "A".repeat(43));
    person.write_hosts(&server.table("here", &format!("identity = \"{missing}\"")));
    refused(
        &server,
        &person.knock("here"),
        &format!("the key {missing} is not at hand: there is no ssh-agent "),
    );
}

#[test]
fn an_agent_signs() {
    for options in ["-t ed25519", "-t ecdsa -b 256"] {
        let (person, server) = scene("");
        let agent = Agent::of(&person);
        let key = person.key("mine", options, "");
        let authorized = public(&key);
        agent.take(&person, "", &key);
        sent(&person.knock_with(&agent, "here"));
        assert_eq!(server.hear().signer(&authorized), "mine", "{options}");
        let named = format!("agent = \"{}\"", agent.socket.display());
        person.write_hosts(&server.table("here", &named));
        sent(&person.knock("here"));
        assert_eq!(server.hear().signer(&authorized), "mine");
        let ended = person.knock("-v here");
        server.hear();
        let by = format!(" (mine) by the ssh-agent at {}\n", agent.socket.display());
        assert!(ended.stderr.ends_with(&by), "{}", ended.stderr);
    }
}

#[test]
fn an_agent_that_has_the_key_saves_the_passphrase() {
    let (person, server) = scene("");
    let agent = Agent::of(&person);
    let key = person.key("id_ed25519", "-t ed25519", "open sesame");
    let mut add = agent.command(&person);
    add.env("SSH_ASKPASS", person.askpass("open sesame")).env("SSH_ASKPASS_REQUIRE", "force");
    succeed(add.arg("-q").arg(&key));
    sent(&person.knock_with(&agent, "here"));
    assert_eq!(server.hear().signer(&public(&key)), "id_ed25519");
    assert_eq!(person.asked(), 1);
}

#[test]
fn of_several_keys_in_an_agent_one_is_named() {
    let (person, server) = scene("");
    let agent = Agent::of(&person);
    let keys = ["first", "second"].map(|name| {
        let key = person.plain_key(name);
        let found = (person.fingerprint(&key), public(&key));
        agent.take(&person, "", &key);
        found
    });
    let why = format!(
        "has several keys that could knock: say which with identity = \"SHA256:...\"\n  {} first\n  {} second",
        keys[0].0, keys[1].0
    );
    refused(&server, &person.knock_with(&agent, "here"), &why);
    person.write_hosts(&server.table("here", &format!("identity = \"{}\"", keys[1].0)));
    sent(&person.knock_with(&agent, "here"));
    assert_eq!(server.hear().signer(&keys[1].1), "second");
}

#[test]
fn what_an_agent_has_besides_is_passed_over() {
    let (person, server) = scene("");
    let agent = Agent::of(&person);
    let rsa = person.key("rsa", "-t rsa -b 2048", "");
    let fingerprint = person.fingerprint(&rsa);
    agent.take(&person, "", &rsa);
    refused(
        &server,
        &person.knock_with(&agent, "here"),
        "what the ssh-agent has cannot knock (ssh-rsa): ssh-keygen",
    );
    person.write_hosts(&server.table("here", &format!("identity = \"{fingerprint}\"")));
    refused(&server, &person.knock_with(&agent, "here"), "RSA keys cannot knock");
    // The agent takes the certificate beside the key, too.
    let (authority, key) = (person.plain_key("authority"), person.plain_key("mine"));
    succeed(
        person.tool("ssh-keygen").arg("-qs").arg(authority).args(["-I", "me"]).arg(key.with_extension("pub")),
    );
    let authorized = public(&key);
    agent.take(&person, "", &key);
    let listed = succeed(agent.command(&person).arg("-l"));
    assert!(listed.contains("(ED25519-CERT)"), "{listed}");
    person.write_hosts(&server.table("here", ""));
    sent(&person.knock_with(&agent, "here"));
    assert_eq!(server.hear().signer(&authorized), "mine");
}

#[test]
fn an_agent_that_is_of_no_use_is_told() {
    let (person, server) = scene("");
    let agent = Agent::of(&person);
    let socket = agent.socket.display().to_string();
    refused(
        &server,
        &person.knock_with(&agent, "here"),
        &format!("the ssh-agent at {socket} has no keys, or is locked"),
    );
    let named = format!("identity = \"SHA256:{}\"", "A".repeat(43));
    person.write_hosts(&server.table("here", &named));
    refused(
        &server,
        &person.knock_with(&agent, "here"),
        "has no keys, or is locked, and no file in ~/.ssh is of it",
    );
    let other = person.plain_key("other");
    agent.take(&person, "", &other);
    refused(
        &server,
        &person.knock_with(&agent, "here"),
        "does not have it, and no file in ~/.ssh is of it; ssh-add FILE",
    );
    let mut client = person.client();
    client.env("SSH_AUTH_SOCK", person.home.join("nobody"));
    let ended = client.arg("here").output().unwrap().into();
    refused(&server, &ended, &format!("no ssh-agent listens at {}/nobody: ", person.home.display()));
}

#[test]
fn a_public_half_alone_says_which_key_to_load() {
    let (person, server) = scene("");
    let key = person.plain_key("mine");
    let named = format!("identity = \"{}\"", person.fingerprint(&key));
    person.write_hosts(&server.table("here", &named));
    fs::remove_file(&key).unwrap();
    let why = format!("there is no key file {}, and there is no ssh-agent", key.display());
    refused(&server, &person.knock("here"), &why);
}

/// The agent's program says no; or the key is for the way to one server only.
#[test]
fn an_agent_that_refuses_says_nothing_but_that() {
    let (person, server) = scene("");
    let agent = Agent::of(&person);
    let key = person.plain_key("mine");
    let known = person.home.join("known_hosts");
    fs::write(&known, format!("example.org {}", public(&person.plain_key("server")))).unwrap();
    let restricted = format!("-H {} -h example.org", known.display());
    for options in ["-c", restricted.as_str()] {
        succeed(agent.command(&person).arg("-q").args(options.split_whitespace()).arg(&key));
        person.write_hosts(&server.table("here", &format!("identity = \"{}\"", key.display())));
        let ended = person.knock_with(&agent, "here");
        refused(&server, &ended, " refuses to sign with the key SHA256:");
        assert!(ended.stderr.contains("(ssh-add -c, a token)") && ended.stderr.contains("(ssh-add -h)"));
        succeed(agent.command(&person).args(["-q", "-D"]));
    }
}

#[test]
fn each_try_is_signed_anew() {
    let (person, server) = scene("");
    let key = person.plain_key("id_ed25519");
    let ended = person.knock(&format!("--verify {} --retry 1 --timeout 2 here", closed_port()));
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let [first, second] = [server.hear(), server.hear()];
    assert_ne!(first.opened.encapsulated, second.opened.encapsulated);
    assert!(second.request().time > first.request().time);
    assert_eq!(second.signer(&public(&key)), "id_ed25519");
    assert!(server.is_quiet());
    assert!(ended.stderr.contains("the server's door \"ssh\" may not know the key"), "{}", ended.stderr);
}

#[test]
fn a_port_is_verified_and_relayed_to() {
    let (person, server) = scene("");
    person.plain_key("id_ed25519");
    let listener = TcpListener::bind((V4, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let ended = person.knock(&format!("--verify {port} here"));
    assert!(ended.stdout.starts_with(&format!("127.0.0.1:{port} is open, ")), "{}", ended.stderr);
    server.hear();
    drop(listener);
    let listener = TcpListener::bind((V4, port)).unwrap();
    let mut client = person.client();
    let client =
        client.args(["--proxy", "127.0.0.1", &port.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
    server.hear();
    listener.accept().unwrap().0.write_all(b"SSH-2.0-here\r\n").unwrap();
    let output = client.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"SSH-2.0-here\r\n"[..]));
}
