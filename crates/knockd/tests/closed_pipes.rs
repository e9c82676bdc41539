//! Nobody reads what the daemon says: it ends as it would otherwise.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::io;
use std::process::{Command, ExitStatus};

fn unread(arguments: &[&str]) -> ExitStatus {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_knockd"));
    command.args(arguments).stdout(writer.try_clone().unwrap()).stderr(writer);
    command.status().unwrap()
}

#[test]
fn what_is_not_read_does_no_harm() {
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["--bogus"], 1),
        (&["--check", "-c", "/dev/null"], 0),
        (&["--check", "-c", "/nonexistent", "surplus"], 1),
        (&["-c", "/nonexistent"], 1),
        (&["-d", "-c", "/"], 1),
    ] {
        assert_eq!(unread(arguments).code(), Some(code), "{arguments:?}");
    }
}
