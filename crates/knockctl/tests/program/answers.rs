//! What the daemon says, and what becomes of it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;
use std::sync::mpsc::channel;

use knock_core::control::Request;

use crate::peer::{Ended, Peer, run};

const DONE: &str = "{\"answer\":\"done\",\"message\":\"ssh is open\",\"warnings\":[\"\\u001bit is late\"]}\n";
const NOTHING: &str = "{\"answer\":\"grants\",\"grants\":[]}\n";
const WATCHING: &str = "{\"answer\":\"watching\"}\n";

fn event(message: &str) -> String {
    format!(
        "{{\"answer\":\"event\",\"time\":\"2026-11-24T08:23:01Z\",\"door\":\"ssh\",\"source\":\"192.0.2.7\",\
         \"event\":\"stage\",\"message\":\"{message}\"}}\n"
    )
}

fn ended(code: i32, stdout: &str, stderr: &str) -> Ended {
    Ended { code: Some(code), stdout: stdout.into(), stderr: stderr.into() }
}

#[test]
fn what_was_done_is_told() {
    let peer = Peer::that_says(DONE);
    let told = run(&mut peer.command("open ssh 192.0.2.7"));
    assert_eq!(told, ended(0, "ssh is open\n", "knockctl: \\u{1b}it is late\n"));
    let address = "192.0.2.7".parse().unwrap();
    assert_eq!(peer.request(), Request::Open { door: "ssh".into(), address, open_for: None });
    assert_eq!(run(&mut Peer::that_says(DONE).command("confirm --json")), ended(0, DONE, ""));
}

#[test]
fn a_no_is_an_error() {
    for line in ["grants", "grants --json", "watch"] {
        let peer = Peer::that_says("{\"answer\":\"error\",\"message\":\"not\\nnow\"}\n");
        assert_eq!(run(&mut peer.command(line)), ended(1, "", "knockctl: not\\nnow\n"), "{line}");
    }
}

#[test]
fn secrets_are_asked_for_only_if_they_are_wanted() {
    for (line, wanted) in [("doors", false), ("doors --secrets", true)] {
        let peer = Peer::that_says("{\"answer\":\"doors\",\"doors\":[]}\n");
        assert_eq!(run(&mut peer.command(line)), ended(0, "There are no doors.\n", ""));
        assert_eq!(peer.request(), Request::Doors { secrets: wanted });
    }
}

#[test]
fn what_is_no_answer_is_an_error() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "has closed the connection"),
        (b"{\"answer\":\"gra", "has closed the connection"),
        (b"hello\n", "is not understood"),
        (b"{\"answer\":\"sung\"}\n", "is not understood"),
        (b"\xff\n", "is not understood"),
        (DONE.as_bytes(), "belongs to another request"),
    ];
    for (says, told) in cases {
        for line in ["grants", "grants --json"] {
            let outcome = run(&mut Peer::that_says(says).command(line));
            assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{says:?}");
            assert!(outcome.stderr.contains(told), "{says:?}: {}", outcome.stderr);
        }
    }
}

#[test]
fn a_watch_tells_each_event_when_it_comes() {
    let (say, said) = channel::<String>();
    let peer = Peer::that(move |mut stream| {
        for line in said {
            stream.write_all(line.as_bytes()).unwrap();
        }
    });
    let mut watch = peer.command("watch").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    say.send(WATCHING.into()).unwrap();
    for number in 0..3 {
        say.send(event(&format!("Stage {number}"))).unwrap();
        let line = lines.next().unwrap().unwrap();
        assert_eq!(line, format!("2026-11-24 08:23:01  192.0.2.7: ssh: Stage {number}"));
    }
    drop(say);
    assert!(lines.next().is_none());
    let mut told = String::new();
    watch.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.contains("has closed the connection"), "{told}");
    assert_eq!(watch.wait().unwrap().code(), Some(1));
    assert_eq!(peer.request(), Request::Watch {});
}

#[test]
fn a_watch_in_json_is_the_lines_themselves() {
    let lines = format!("{WATCHING}{}{}", event("Stage 1"), event("Stage 2"));
    let outcome = run(&mut Peer::that_says(lines.clone()).command("watch --json"));
    assert_eq!((outcome.code, outcome.stdout), (Some(1), lines));
}

#[test]
fn a_reader_that_has_heard_enough_ends_it_quietly() {
    let peer = Peer::that(|mut stream| {
        stream.write_all(WATCHING.as_bytes()).unwrap();
        while stream.write_all(event("again").as_bytes()).is_ok() {}
    });
    let mut watch = peer.command("watch").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(watch.stdout.take().unwrap());
    output.read_line(&mut String::new()).unwrap();
    drop(output);
    let mut told = String::new();
    watch.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert_eq!((watch.wait().unwrap().code(), told.as_str()), (Some(0), ""));
    peer.request();
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let outcome = run(Peer::that_says(NOTHING).command("grants").stdout(full));
    assert_eq!(outcome.code, Some(1));
    assert!(outcome.stderr.starts_with("knockctl: standard output: "), "{}", outcome.stderr);
}

#[test]
fn no_answer_is_told_as_far_as_it_came() {
    // Refused before the request was read, as an unwelcome peer is.
    let peer = Peer::that_says("{\"answer\":\"error\",\"message\":\"only root may ask\"}\n");
    assert_eq!(run(&mut peer.command("status")), ended(1, "", "knockctl: only root may ask\n"));
}

#[test]
fn reload_finds_where_the_administrator_is() {
    let reload = |from: &str, port| {
        let from = Some(from.parse().unwrap());
        Request::Reload { confirm_within: None, from, port }
    };
    let connection = "192.0.2.7 50000 192.0.2.1 22";
    let peer = Peer::that_says(DONE);
    assert_eq!(run(peer.command("reload").env("SSH_CONNECTION", connection)).code, Some(0));
    assert_eq!(peer.request(), reload("192.0.2.7", Some(22)));

    // As sudo has it: a parent knows, the program itself does not.
    let peer = Peer::that_says(DONE);
    let program = env!("CARGO_BIN_EXE_knockctl");
    let script = format!("env -u SSH_CONNECTION {program} reload -s {}; exit $?", peer.path().display());
    let mut shell = std::process::Command::new("sh");
    assert_eq!(run(shell.args(["-c", &script]).env("SSH_CONNECTION", connection)).code, Some(0));
    assert_eq!(peer.request(), reload("192.0.2.7", Some(22)));

    let peer = Peer::that_says(DONE);
    let overridden = run(peer.command("reload --from 2001:db8::7").env("SSH_CONNECTION", connection));
    assert_eq!(overridden.code, Some(0));
    assert_eq!(peer.request(), reload("2001:db8::7", Some(22)));
}
