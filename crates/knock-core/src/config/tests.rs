use std::time::Duration;

use proptest::prelude::*;

use super::lines::MAX_LINE;
use super::*;

fn good(text: &str) -> Config {
    let parsed = parse("test.conf", text.as_bytes());
    let shown: Vec<_> = parsed.diagnostics.iter().map(|d| parsed.source.line(d)).collect();
    parsed.config.unwrap_or_else(|| panic!("{shown:#?}"))
}

/// The messages of one severity, without the file's name.
fn messages(text: &[u8], severity: Severity) -> Vec<String> {
    let parsed = parse("f", text);
    assert_eq!(
        parsed.config.is_none(),
        parsed.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    );
    let wanted = parsed.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity);
    wanted.map(|diagnostic| parsed.source.line(diagnostic)).collect()
}

fn error(text: &str) -> String {
    let errors = messages(text.as_bytes(), Severity::Error);
    assert_eq!(errors.len(), 1, "{text:?}: {errors:#?}");
    errors[0].clone()
}

fn warnings(text: &str) -> Vec<String> {
    messages(text.as_bytes(), Severity::Warning)
}

const QUIET: &str = "sequence = 6142,8319:udp,5623\n";

#[test]
fn reads_every_directive() {
    let config = good(
        "[options]\n\
         \tLogFile = /var/log/knockd.log\n\
         \tPidFile = /run/x.pid\n\
         \tInterface = eth0, wg*\n\
         \tUseSyslog\n\
         [ssh]\n\
         \tSequence = 6142,8319:udp,5623\n\
         \tSeq_Timeout = 5\n\
         \tSeq_Cooldown = 2.5\n\
         \tTCPFlags = syn,!ack\n\
         \tTarget = 2001:db8::1\n\
         \tStart_Command = echo %IP% # and %IP%\n\
         \tCmd_Timeout = 7\n\
         \tStop_Command = echo = %IP%\n\
         [ssh]\n\
         \tOne_Time_Sequences = /etc/knockd/list\n",
    );
    assert_eq!(config.options.log_file, Some("/var/log/knockd.log".into()));
    assert_eq!(config.options.pid_file, Some("/run/x.pid".into()));
    assert_eq!(config.options.interfaces, Interfaces::parse("eth0,wg*").ok());
    assert!(config.options.use_syslog);
    let [ssh, second] = &config.doors[..] else { panic!() };
    assert_eq!((ssh.key.name.as_str(), ssh.key.namesake, second.key.namesake), ("ssh", 0, 1));
    assert_eq!(ssh.seq_timeout, Duration::from_secs(5));
    assert_eq!(ssh.seq_cooldown, Duration::from_millis(2500));
    assert_eq!(ssh.target, "2001:db8::1".parse().ok());
    assert_eq!(ssh.commands.timeout, Duration::from_secs(7));
    let source = "192.0.2.7".parse().unwrap();
    let (start, stop) = ssh.commands.for_source(source).unwrap();
    assert_eq!(
        (start.as_str(), stop.as_deref()),
        ("echo 192.0.2.7 # and 192.0.2.7", Some("echo = 192.0.2.7"))
    );
    assert_eq!(second.sequence, SequenceSource::OneTime("/etc/knockd/list".into()));
    assert_eq!(second.seq_timeout, Duration::from_secs(25));
    assert_eq!(second.commands.timeout, Duration::from_secs(10));
    assert_eq!(second.commands.for_source(source), None);
}

#[test]
fn aliases_and_case() {
    let config = good(&format!("[a]\n{QUIET}TIMEOUT = 3\ncommand = x\nCoMmAnD_6 = y\n"));
    let door = &config.doors[0];
    assert_eq!(door.seq_timeout, Duration::from_secs(3));
    assert_eq!((door.commands.start.as_deref(), door.commands.start_6.as_deref()), (Some("x"), Some("y")));
}

#[test]
fn ipv6_commands_fall_back_or_are_silenced() {
    let commands = |lines: &str| {
        let config = good(&format!("[a]\n{QUIET}{lines}"));
        config.doors[0].commands.for_source("2001:db8::7".parse().unwrap())
    };
    let pair = |start: &str, stop: Option<&str>| Some((start.to_owned(), stop.map(str::to_owned)));
    assert_eq!(commands("command = a %IP%\nstop_command = b\n"), pair("a 2001:db8::7", Some("b")));
    assert_eq!(commands("command = a\ncommand_6 =\nstop_command = b\n"), None);
    assert_eq!(commands("command = a\nstop_command = b\nstop_command_6 =\n"), pair("a", None));
    assert_eq!(commands("command_6 = c\nstop_command = b\n"), pair("c", Some("b")));
    assert_eq!(commands("stop_command = b\n"), None);
}

#[test]
fn each_mistake_has_its_place_and_what_was_expected() {
    let door = |lines: &str| format!("[a]\n{QUIET}{lines}\n");
    let cases = [
        (door("sequence = 1,ssh,3"), "f:3:14: error: \"ssh\" is no port; expected a port from 1 to 65535"),
        (door("sequence = 1,,3"), "f:3:14: error: a port is missing; expected a port"),
        (door("sequence = 1,0"), "f:3:14: error: port 0 cannot be knocked"),
        (door("sequence = 65536"), "f:3:12: error: 65536 is larger than any port"),
        (door("sequence = 7 8 9"), "f:3:13: error: \"8 9\" behind the port; expected a comma"),
        (door("sequence = 7:sctp"), "f:3:14: error: unknown protocol \"sctp\"; expected tcp or udp"),
        (door("sequence ="), "f:3:11: error: the sequence is empty"),
        (
            door(&format!("sequence = {}", ["7"; 33].join(","))),
            "f:3:76: error: the sequence is too long; expected at most 32 ports",
        ),
        (door("seq_timeout = 5s"), "f:3:15: error: \"5s\" is no number; expected a number of seconds"),
        (door("seq_timeout = 5 minutes"), "f:3:15: error: \"5 minutes\" is no number"),
        (door("seq_timeout = 0"), "f:3:15: error: no sequence can be knocked in no time"),
        (door("cmd_timeout = -1"), "f:3:15: error: \"-1\" is no number"),
        (door("cmd_timeout ="), "f:3:14: error: the number is missing"),
        (
            door("tcpflags = syn,foo"),
            "f:3:16: error: unknown flag \"foo\"; expected fin, syn, rst, psh, ack or urg",
        ),
        (door("target = host.example"), "f:3:10: error: \"host.example\" is no IP address"),
        (
            door("sequenze = 1"),
            "f:3:1: error: unknown directive \"sequenze\"; expected a directive of knockd.conf (did you mean Sequence?)",
        ),
        (
            door("; remark"),
            "f:3:1: error: unknown directive \"; remark\"; expected a directive of knockd.conf (a remark begins with #)",
        ),
        (door("= 5"), "f:3:1: error: a directive without a name"),
        (door("command"), "f:3:1: error: Start_Command has no value; expected Start_Command = …"),
        (
            door("logfile = x"),
            "f:3:1: error: LogFile does not belong into this section; expected it in [options]",
        ),
        (door("one_time_sequences ="), "f:3:21: error: the file's name is missing"),
        ("sequence = 1\n".into(), "f:1:1: error: a directive before any section; expected [options] or"),
        ("[a\n".into(), "f:1:1: error: the bracket is not closed; expected [name]"),
        ("[]\n".into(), "f:1:1: error: the section has no name"),
        (format!("[a] # remark\n{QUIET}"), "f:1:4: error: text behind the section's name"),
        ("[a]\n".into(), "f:1:2: error: door \"a\" has no sequence; expected Sequence or One_Time_Sequences"),
        (
            "[Options]\n".into(),
            "f:1:2: error: door \"Options\" has no sequence; expected Sequence or One_Time_Sequences in its section (the global section is written [options]",
        ),
        (
            "[options]\nsequence = 1\n".into(),
            "f:2:1: error: Sequence does not belong into this section; expected it in a door's section",
        ),
        ("[options]\nusesyslog = yes\n".into(), "f:2:13: error: UseSyslog has a value"),
        ("[options]\ninterface = eth0 eth1\n".into(), "f:2:13: error: \"eth0 eth1\" cannot be an interface"),
        ("[options]\n\tcolour = red\n".into(), "f:2:2: error: unknown directive \"colour\""),
    ];
    for (text, expected) in cases {
        // A directive outside a section is told once a line; what follows it is another matter.
        let found = messages(text.as_bytes(), Severity::Error);
        assert!(found[0].starts_with(expected), "{text}\nfound    {}\nexpected {expected}", found[0]);
    }
}

#[test]
fn all_errors_are_told_at_once() {
    let errors = messages(b"[a]\nsequence = x\nfoo = 1\n[b]\nsequence = 1\ntarget = y\n", Severity::Error);
    assert_eq!(errors.len(), 3, "{errors:#?}");
}

#[test]
fn what_is_not_text_is_refused_with_its_place() {
    let errors = |bytes| messages(bytes, Severity::Error);
    assert!(errors(b"[a]\n# caf\xe9\n")[0].starts_with("f:2:6: error: the byte 0xe9 is not UTF-8"));
    assert!(errors(b"[a]\ncommand = a\0b\n")[0].starts_with("f:2:12: error: a NUL byte"));
    let long = format!("[a]\n{QUIET}command = {}\n", "x".repeat(MAX_LINE));
    assert!(error(&long).starts_with("f:3:1: error: a line of 65546 bytes"));
    let fits = format!("[a]\n{QUIET}command = {}\n", "x".repeat(MAX_LINE - 10));
    assert_eq!(good(&fits).doors.len(), 1);
}

#[test]
fn what_knockd_reads_as_it_was_meant_stays_accepted() {
    let config = good(
        "\u{feff}[a]\r\nsequence = 7142 , 8319:udp, 5623 # mine\r\nseq_timeout = 5 # s\r\ntcpflags = syn, ack\r\n",
    );
    assert_eq!(config.doors[0].seq_timeout, Duration::from_secs(5));
    let SequenceSource::Fixed(sequence) = &config.doors[0].sequence else { panic!() };
    assert_eq!(sequence.to_string(), "7142:tcp,8319:udp,5623:tcp");
    for empty in ["", "\n", "# nothing\n", "[options]\n"] {
        assert_eq!(good(empty).doors, [], "{empty:?}");
        assert_eq!(warnings(empty), [""; 0]);
    }
    assert_eq!(warnings(&format!("[only-logs]\n{QUIET}")), [""; 0]);
}

#[test]
fn sloppiness_is_told() {
    let told = |lines: &str, expected: &str| {
        let found = warnings(&format!("[a]\n{lines}\n"));
        assert!(found.iter().any(|warning| warning.contains(expected)), "{lines}: {found:#?}");
    };
    told("sequence = 6142, 8319:udp,5623", "f:2:17: warning: white space in a sequence");
    told(&format!("{QUIET}seq_timeout = 5 # s"), "f:3:16: warning: a remark behind a value");
    told(&format!("{QUIET}seq_timeout = 5 seconds"), "f:3:16: warning: a unit behind a number");
    told(&format!("{QUIET}{QUIET}"), "f:3:1: warning: Sequence is given twice");
    told(&format!("{QUIET}usesyslog"), "UseSyslog inside a door");
}

#[test]
fn weak_sequences_are_told() {
    let of = |sequence: &str| warnings(&format!("[a]\nsequence = {sequence}\n"));
    let told = |sequence, expected: &str| {
        let found = of(sequence);
        assert!(found.iter().any(|warning| warning.contains(expected)), "{sequence}: {found:#?}");
    };
    told("7000,8000,9000", "well-known");
    told("9000:tcp,8000:TCP,7000", "well-known");
    told("7142,8319:udp", "only 2 ports");
    told("7142:udp", "a single port");
    told("7142,8319:udp,9623", "ascend");
    told("9623,8319:udp,7142", "descend");
    told("7142,8319,5623", "TCP ports only");
    assert_eq!(of("6142,8319:udp,5623"), [""; 0]);
}

#[test]
fn commands_that_may_not_do_what_is_meant_are_told() {
    let told = |lines: &str, expected: &str| {
        let found = warnings(&format!("[a]\n{QUIET}{lines}\n"));
        assert!(found.iter().any(|warning| warning.contains(expected)), "{lines}: {found:#?}");
    };
    told("command = iptables -I INPUT -p tcp --dport 22 -j ACCEPT", "does not name the knocker's address");
    told("command = /usr/sbin/nft add element t f s { %ip% }", "does not name the knocker's address");
    told("command = \"/usr/bin/let-in %IP%\"", "whole command is quoted");
    told("command = /sbin/iptables -I INPUT -s %IP% \\", "backslash");
    told("command = /sbin/iptables -I INPUT -s %IP% -j ACCEPT", "iptables cannot take the address");
    told("stop_command = x", "nothing that starts");
    told("one_time_sequences = /x", "both Sequence and One_Time_Sequences");
    for fine in [
        "command = nft add element t f s { $KNOCK_IP }",
        "command = \"a b\" \"%IP%\"",
        "command = iptables -I INPUT -s %IP% -j ACCEPT\ncommand_6 =",
        "command = /usr/bin/wakeonlan",
    ] {
        assert_eq!(warnings(&format!("[a]\n{QUIET}{fine}\n")), [""; 0], "{fine}");
    }
}

#[test]
fn doors_that_open_on_the_way_are_told() {
    let found = warnings(
        "[long]\nsequence = 6142,8319:udp,5623,9214\n[short]\nsequence = 6142,8319:udp,5623\n\
         [other]\nsequence = 5142,8319:udp,4623\n[same]\nsequence = 6142,8319:udp,5623\n",
    );
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].starts_with("f:2:12: warning: the sequence of door \"long\" begins with the one of door")
    );
    assert!(found[1].starts_with("f:8:12: warning: doors \"short\" and \"same\" have the same sequence"));
}

#[test]
fn what_is_no_configuration_is_not_told_line_by_line() {
    for junk in ["junk\n", "[x\n", "[x]\n", "[x]\nsequence = y\n"] {
        let parsed = parse("f", junk.repeat(100_000).as_bytes());
        assert_eq!(parsed.diagnostics.len(), MAX_ERRORS + 1, "{junk}");
        assert!(parsed.config.is_none());
        assert!(parsed.diagnostics[MAX_ERRORS].found.contains("the rest of the file is not read"));
    }
}

/// Files that are nearly right, so that mutations reach deep.
fn lines() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        Just("[options]".to_owned()),
        "\\[[a-z]{0,3}\\]?",
        Just("sequence = 6142,8319:udp,5623".to_owned()),
        "(sequence|Sequence) ?= ?[0-9]{0,6}(:(tcp|udp|x))?,? ?[0-9]{0,6} ?(#.)?",
        "(seq_timeout|cmd_timeout|timeout|seq_cooldown) = [0-9.s# ]{0,6}",
        "tcpflags = !?(syn|ack|fin|x)?,? ?!?(syn|ack|fin|x)?",
        "(start_command|command_6|stop_command|one_time_sequences|logfile|interface|target) ?= ?[ -~é]{0,9}",
        "usesyslog( =)?",
        "[ -~é\\t]{0,20}",
    ];
    proptest::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"))
}

fn survives(bytes: &[u8]) {
    let parsed = parse("f", bytes);
    for diagnostic in &parsed.diagnostics {
        let (line, column) = parsed.source.position(diagnostic.span.start);
        assert!(line >= 1 && column >= 1);
        assert!(parsed.source.line(diagnostic).contains(&format!(":{line}:{column}:")));
        assert!(!parsed.source.snippet(diagnostic, false).is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(256), ..ProptestConfig::default() })]

    #[test]
    fn survives_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        survives(&bytes);
    }

    #[test]
    fn survives_mutated_files(text in lines(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        survives(text.as_bytes());
        let mut bytes = text.into_bytes();
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        survives(&bytes);
    }

    #[test]
    fn a_sequence_reads_back_as_it_was_written(
        steps in proptest::collection::vec((1..=u16::MAX, any::<bool>()), 1..=32)
    ) {
        let written: Vec<_> =
            steps.iter().map(|(port, udp)| format!("{port}{}", if *udp { ":UDP" } else { "" })).collect();
        let config = good(&format!("[a]\nsequence = {}\n", written.join(",")));
        let SequenceSource::Fixed(sequence) = &config.doors[0].sequence else { panic!() };
        let read_back = crate::sequence::Sequence::parse(&sequence.to_string());
        prop_assert_eq!(read_back.as_ref(), Ok(sequence));
        prop_assert_eq!(sequence.steps().len(), steps.len());
    }
}

/// `PROPTEST_CASES` where it is set: proptest reads it only for its own default.
fn cases(default: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(default)
}
