//! Which socket is asked, and what is told where nobody answers.

use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use lab::TempDir;

use crate::peer::{Peer, knockctl, run};

const NOTHING: &str = "{\"answer\":\"grants\",\"grants\":[]}\n";

#[test]
fn the_configuration_names_the_socket() {
    let peer = Peer::that_says(NOTHING);
    let directory = TempDir::new().unwrap();
    let content = format!("[options]\nControl_Socket = {}\n[ssh]\nSequenze = 1\n", peer.path().display());
    let config = directory.write("knockd.conf", content).unwrap();
    let outcome = run(knockctl("grants -c").arg(config));
    assert_eq!(
        (outcome.code, outcome.stdout.as_str()),
        (Some(0), "Nothing is open.\n"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn else_it_is_in_the_services_directory() {
    let peer = Peer::that_says(NOTHING);
    let directory = TempDir::new().unwrap();
    symlink(peer.path(), directory.path().join("knockd.sock")).unwrap();
    let outcome = run(knockctl("grants -c /nowhere").env("RUNTIME_DIRECTORY", directory.path()));
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
}

#[test]
fn where_nobody_answers_it_says_what_to_do() {
    let directory = TempDir::new().unwrap();
    let left_over = directory.path().join("left-over");
    drop(UnixListener::bind(&left_over).unwrap());
    let cases = [
        (directory.path().join("nothing"), "knockd is not running"),
        (left_over, "nobody listens"),
        (directory.path().join("x".repeat(108)), "cannot be reached"),
    ];
    for (socket, told) in cases {
        let outcome = run(knockctl("status -s").arg(&socket));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""));
        assert!(outcome.stderr.contains(told), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(&socket.display().to_string()), "{}", outcome.stderr);
    }
}
