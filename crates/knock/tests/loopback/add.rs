//! `knock add`: what is written, what is left alone, and what is refused.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use knock_core::spa::{Enrolment, HostKey};

use crate::client::Ended;
use crate::person::{Agent, Person, Server, permit};

fn line(key: u8, fingerprint: Option<&str>) -> Enrolment {
    Enrolment {
        host: "server.example.org".into(),
        port: 62_201,
        doors: vec!["ssh".into(), "web".into()],
        host_key: HostKey::from_random(&[key; 32]).public().clone(),
        verify: Some(22),
        key: fingerprint.map(str::to_owned),
    }
}

fn add(person: &Person, line: &Enrolment, options: &str) -> Ended {
    person.knock(&format!("add {options} {line}"))
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn hosts(person: &Person) -> String {
    fs::read_to_string(person.hosts()).unwrap()
}

#[test]
fn a_line_becomes_a_host_that_can_be_knocked_at() {
    let (person, server) = (Person::new(), Server::new());
    let key = person.plain_key("id_ed25519");
    let fingerprint = person.fingerprint(&key);
    let line = Enrolment {
        host: "127.0.0.1".into(),
        port: server.port(),
        host_key: server.key().parse().unwrap(),
        verify: None,
        ..line(1, Some(&fingerprint))
    };
    let ended = add(&person, &line, "--name here");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let expected = format!(
        "\"here\" was added to {}\nit knocks with the key {fingerprint}, {} (id_ed25519)\n\nKnock at it:\n    knock here\n\n\
         ssh knocks by itself with this in ~/.ssh/config:\n    Host here\n        ProxyCommand knock --proxy %h %p\n",
        person.hosts().display(),
        key.display()
    );
    assert_eq!(ended.stdout, expected);
    assert_eq!((mode(&person.hosts()), mode(person.hosts().parent().unwrap())), (0o600, 0o700));
    assert_eq!(person.knock("here").code, Some(0));
    let authorized = fs::read_to_string(key.with_extension("pub")).unwrap();
    assert_eq!(server.hear().signer(&authorized), "id_ed25519");
}

#[test]
fn what_is_in_the_file_stays_byte_for_byte() {
    let person = Person::new();
    let before = "# mine\r\n\tdelay = 100   # slow\n[ \"old\" ]\nsequence = '7142'\n\n# end";
    person.write_hosts(before);
    // A link to where the file is kept, and rights that somebody chose.
    let kept = person.home.join("kept.toml");
    fs::rename(person.hosts(), &kept).unwrap();
    std::os::unix::fs::symlink(&kept, person.hosts()).unwrap();
    permit(&kept, 0o640);
    assert_eq!(add(&person, &line(1, None), "").code, Some(0));
    let after = hosts(&person);
    let host_key = HostKey::from_random(&[1; 32]).public().to_string();
    let table = format!(
        "\n\n[\"server.example.org\"]\nhost = \"server.example.org\"\ndoors = [\"ssh\", \"web\"]\nhost_key = \
         \"{host_key}\"\nverify = 22\n"
    );
    assert_eq!(after, format!("{before}{table}"));
    assert!(person.hosts().is_symlink());
    assert_eq!(mode(&kept), 0o640);
    let left: Vec<_> = fs::read_dir(&person.home).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().ends_with(".new")), "{left:?}");
}

#[test]
fn the_same_line_again_changes_nothing() {
    let person = Person::new();
    person.plain_key("id_ed25519");
    assert!(add(&person, &line(1, None), "").stdout.starts_with("\"server.example.org\" was added to "));
    let before = hosts(&person);
    let again = add(&person, &line(1, None), "");
    assert_eq!(again.code, Some(0));
    assert!(again.stdout.starts_with("\"server.example.org\" is the same already in "), "{}", again.stdout);
    assert_eq!(hosts(&person), before);
    let other = Enrolment { doors: vec!["ssh".into()], verify: None, ..line(1, None) };
    let refused = add(&person, &other, "");
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    assert!(
        refused.stderr.contains("which differs in doors, verify; nothing was added"),
        "{}",
        refused.stderr
    );
    assert!(refused.stderr.contains("--name NAME"), "{}", refused.stderr);
    assert_eq!(hosts(&person), before);
    assert_eq!(add(&person, &other, "--name second").code, Some(0));
    assert!(hosts(&person).starts_with(&before));
}

#[test]
fn a_changed_key_of_the_server_is_refused_loudly() {
    let person = Person::new();
    add(&person, &line(1, None), "--name mine");
    let before = hosts(&person);
    for options in ["", "--name another", "--name mine"] {
        let refused = add(&person, &line(2, None), options);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
        assert!(refused.stderr.starts_with("knock: THE SERVER'S KEY HAS CHANGED: "), "{}", refused.stderr);
        assert!(refused.stderr.contains("`knockctl host-key`"), "{}", refused.stderr);
        assert!(refused.stderr.contains("delete [mine] from the file"), "{}", refused.stderr);
        assert_eq!(hosts(&person), before);
    }
}

#[test]
fn a_file_with_mistakes_is_left_alone() {
    let person = Person::new();
    person.write_hosts("[a]\nsequense = \"1\"\n");
    let refused = add(&person, &line(1, None), "");
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.stderr.contains("config.toml:2:1: error: unknown key \"sequense\""),
        "{}",
        refused.stderr
    );
    assert_eq!(hosts(&person), "[a]\nsequense = \"1\"\n");
}

#[test]
fn the_line_may_come_from_standard_input() {
    let person = Person::new();
    for (arguments, text, code) in [
        (&["add"][..], format!("{}\n", line(1, None)), 0),
        (&["add", "-", "--name", "second"], line(1, None).to_string(), 0),
        (&["add"], "knock 1 2 3\n".into(), 1),
        (&["add"], String::new(), 1),
    ] {
        let mut client = person.client();
        let mut client = client
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        client.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = client.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{text}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            told.starts_with("knock: standard input: expected a line that begins with knock://"),
            code == 1,
            "{told}"
        );
    }
    assert_eq!(person.knock("--list").stdout.lines().count(), 2);
}

#[test]
fn says_whether_the_key_is_at_hand() {
    let person = Person::new();
    let key = person.plain_key("work");
    let fingerprint = person.fingerprint(&key);
    let agent = Agent::of(&person);
    agent.take(&person, "", &key);
    let ended = add(&person, &line(1, Some(&fingerprint)), "");
    assert_eq!(ended.code, Some(0));
    let note = format!(
        "knock: note: no key to knock with yet: the key {fingerprint} is not at hand: there is no ssh-agent"
    );
    assert!(ended.stderr.starts_with(&note), "{}", ended.stderr);
    let ended = person.knock_with(&agent, &format!("add {}", line(1, Some(&fingerprint))));
    let at = format!(
        "it knocks with the key {fingerprint}, in the ssh-agent at {} (work)\n",
        agent.socket.display()
    );
    assert!(ended.stdout.contains(&at), "{}", ended.stdout);
}

#[test]
fn a_key_can_be_chosen_that_the_line_is_for() {
    let person = Person::new();
    let (mine, other) = (person.plain_key("mine"), person.plain_key("other"));
    let line = line(1, Some(&person.fingerprint(&mine)));
    let refused = add(&person, &line, &format!("--identity {}", other.display()));
    assert_eq!(refused.code, Some(1));
    let why = format!(
        "knock: --identity: {} has the key {}, but the line is for the key ",
        other.display(),
        person.fingerprint(&other)
    );
    assert!(refused.stderr.starts_with(&why), "{}", refused.stderr);
    assert!(!person.hosts().exists());
    assert_eq!(add(&person, &line, &format!("--identity {}", mine.display())).code, Some(0));
    assert!(hosts(&person).contains(&format!("identity = \"{}\"\n", mine.display())));
}

#[test]
fn what_cannot_be_a_host_is_refused() {
    let person = Person::new();
    for (line, why) in [
        (line(1, Some("/etc/passwd")), "key: expected a fingerprint"),
        (Enrolment { host: "a\u{7f}".into(), ..line(1, None) }, "is no host"),
    ] {
        let refused = add(&person, &line, "");
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
    }
    let mut client = person.client();
    let ended: Ended =
        client.args(["add", &line(1, None).to_string(), "--name", "two words"]).output().unwrap().into();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("\"two words\" is no host's name"), "{}", ended.stderr);
    assert!(!person.hosts().exists());
}
