//! Command lines that are refused, and what scripts see of it.

use crate::client::{Ear, V4, knock, run};

#[test]
fn nothing_is_sent_where_one_port_is_wrong() {
    let ear = Ear::at(V4);
    for wrong in ["0", "65536", "-1", "ssh", "7000:icmp", "7000:", ":udp", "7000,8000", "7000:udp:udp"] {
        let port = ear.port();
        let ended = run(["--", "127.0.0.1", &format!("{port}:udp"), wrong]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{wrong}");
        assert!(ended.stderr.starts_with(&format!("knock: port 2, \"{wrong}\": ")), "{}", ended.stderr);
        assert!(ended.stderr.ends_with("; nothing was sent\n"), "{}", ended.stderr);
    }
    assert!(ear.is_quiet());
}

#[test]
fn wrong_usage_is_told_on_stderr_and_ends_with_1() {
    let lines = [
        "",
        "127.0.0.1",
        "--bogus 127.0.0.1 7",
        "-d -5 127.0.0.1 7",
        "-d abc 127.0.0.1 7",
        "-s nowhere 127.0.0.1 7",
        "-6 -s 127.0.0.1 ::1 7",
        "--both -4 127.0.0.1 7",
        "--one-time file 127.0.0.1 7",
    ];
    for line in lines {
        let ended = knock(line);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{line}");
        assert!(ended.stderr.starts_with("knock: "), "{line}: {}", ended.stderr);
    }
}

#[test]
fn a_host_without_a_fitting_address_ends_with_2() {
    let ended = run(["", "7"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("knock: cannot resolve \"\": "), "{}", ended.stderr);
    for line in ["-6 127.0.0.1 7", "-4 ::1 7", "-s ::1 127.0.0.1 7"] {
        let ended = knock(line);
        assert_eq!(ended.code, Some(2), "{line}: {}", ended.stderr);
        assert!(ended.stderr.contains("has no IPv"), "{line}: {}", ended.stderr);
    }
}

#[test]
fn help_and_version_are_answers() {
    for (line, begin) in [("-h", "Knocks the ports"), ("--help", "Knocks the ports"), ("-V", "knock ")] {
        let ended = knock(line);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{line}");
        assert!(ended.stdout.starts_with(begin), "{line}: {}", ended.stdout);
    }
}
