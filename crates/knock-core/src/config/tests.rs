use std::time::Duration;

use proptest::prelude::*;

use super::lines::MAX_LINE;
use super::*;
use crate::knock::{Protocol, TcpFlags};

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
    assert_eq!(second.secret, Secret::OneTime("/etc/knockd/list".into()));
    assert_eq!(second.seq_timeout, Duration::from_secs(25));
    assert_eq!(second.commands.timeout, Duration::from_secs(10));
    assert_eq!(second.commands.for_source(source), None);
}

#[test]
fn reads_every_directive_of_native_doors() {
    let config = good(
        "[options]\n\
         \tGuard = No\n\
         \tMARK = 0x800\n\
         \taccept_rule = NONE\n\
         \tState_Directory = /srv/knockd\n\
         \tcontrol_socket = /run/k.sock\n\
         \tLog_Format = JSON\n\
         \tjournal_fields = Yes\n\
         \tmetrics_file = /srv/knockd.prom\n\
         [shut]\n\
         \tsequence = 5142,7319:udp,6623\n\
         \tclose = shell\n\
         [shell]\n\
         \tsequence = 6142,8319:udp,5623\n\
         \tOpen = 22, 60000-61000/UDP\n\
         \topen_for = 1h30m # enough\n\
         \tEstablished = Cut\n\
         \twiden = 24/56\n\
         \tallow_from = 192.0.2.7, 2001:db8::/32\n\
         \tclose = shut\n",
    );
    let options = &config.options;
    assert_eq!((options.guard, options.mark, options.accept_rule), (false, 0x800, AcceptRule::None));
    assert_eq!(options.state_directory, Some("/srv/knockd".into()));
    assert_eq!(options.control_socket, Some("/run/k.sock".into()));
    assert_eq!((options.log_format, options.journal_fields), (LogFormat::Json, JournalFields::Yes));
    assert_eq!(options.metrics_file, Some("/srv/knockd.prom".into()));
    let [shut, shell] = &config.doors[..] else { panic!() };
    assert_eq!((shut.closes.as_deref(), &shut.native), (Some("shell"), &None));
    assert_eq!(shell.closes.as_deref(), Some("shut"));
    assert_eq!(shell.allow_from, ["192.0.2.7".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
    let native = Native {
        ports: vec![
            PortRange { protocol: Protocol::Tcp, first: 22, last: 22 },
            PortRange { protocol: Protocol::Udp, first: 60000, last: 61000 },
        ],
        open_for: Some(Duration::from_secs(5400)),
        established: Established::Cut,
        widen: Widen { v4: 24, v6: 56 },
    };
    assert_eq!(shell.native.as_ref(), Some(&native));
}

#[test]
fn strictness() {
    let doors = "[old]\nsequence = 6142,8319,5623\n[new]\nsequence = 6143,8319,5623\nopen = 22/tcp\n\
                 [shut]\nsequence = 6144,8319,5623\nclose = new\n";
    let strict = |options: &str| {
        let config = good(&format!("[options]\n{options}\n{doors}"));
        config.doors.iter().map(|door| door.strict).collect::<Vec<_>>()
    };
    assert_eq!(strict(""), [false, true, true]);
    assert_eq!(strict("Strict = yes"), [true; 3]);
    assert_eq!(strict("strict = no"), [false; 3]);
}

/// What does not spoil when it goes to a wrong port must not count when it goes to the right one.
#[test]
fn only_what_begins_a_connection_knocks_at_a_strict_door() {
    let rule = |options: &str, flags: &str| {
        let config = good(&format!("[options]\n{options}\n[a]\nsequence = 6142,8319,5623\n{flags}\n"));
        config.doors[0].flags
    };
    let begins = FlagRule {
        required: TcpFlags::SYN,
        excluded: TcpFlags::ACK.union(TcpFlags::RST).union(TcpFlags::FIN),
    };
    assert_eq!(rule("strict = yes", ""), begins);
    assert_eq!(rule("strict = yes", "tcpflags = syn"), begins);
    assert_eq!(rule("", "tcpflags = ack"), FlagRule { required: TcpFlags::ACK, ..FlagRule::default() });
    let psh = FlagRule { required: begins.required.union(TcpFlags::PSH), ..begins };
    assert_eq!(rule("strict = yes", "tcpflags = psh"), psh);
    let udp = "[options]\nstrict = yes\n[a]\nsequence = 6142:udp,8319:udp,5623:udp\ntcpflags = ack\n";
    assert!(good(udp).doors[0].strict, "TCP flags mean nothing there");
    let error = "f:4:12: error: a strict door whose tcpflags fit no packet that begins a connection; expected \
                 tcpflags = syn, or no tcpflags (with strict = no in [options] other packets are knocks as well)";
    for flags in ["ack", "fin", "syn,rst", "!syn"] {
        let text = format!("[options]\nstrict = yes\n[a]\nsequence = 6142,8319,5623\ntcpflags = {flags}\n");
        assert_eq!(messages(text.as_bytes(), Severity::Error), [error], "{flags}");
    }
}

#[test]
fn what_is_not_said_of_native_doors() {
    let config = good(
        "[options]\nstate_directory = /x\nstate_directory =\ncontrol_socket =\nmark = 2147483648\n[a]\n\
         sequence = 6142,8319:udp,5623\nopen = 22/tcp\nwiden = 24\n",
    );
    let Options { guard, mark, accept_rule, state_directory, control_socket, .. } = config.options;
    assert_eq!((guard, mark, accept_rule), (true, 1 << 31, AcceptRule::Auto));
    assert_eq!((state_directory, control_socket), (None, None));
    let native = config.doors[0].native.as_ref().unwrap();
    assert_eq!((native.open_for, native.established), (None, Established::Keep));
    assert_eq!(native.widen, Widen { v4: 24, v6: 128 });
    assert_eq!(Options::default().mark, DEFAULT_MARK);
    assert_eq!((&config.doors[0].allow_from[..], &config.doors[0].closes), (&[][..], &None));
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
            "f:1:2: error: door \"Options\" has no sequence; expected Sequence or One_Time_Sequences in its section, or a key: rolling_key, authorized_keys or fwknop_key (the global section is written [options]",
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
fn each_mistake_of_native_doors_has_its_place_and_what_was_expected() {
    let door = |lines: &str| format!("[a]\n{QUIET}{lines}\n");
    let option = |line: &str| format!("[options]\n{line}\n");
    let cases = [
        (option("guard = maybe"), "f:2:9: error: unknown value \"maybe\"; expected yes or no"),
        (option("strict = perhaps"), "f:2:10: error: unknown value \"perhaps\"; expected yes or no"),
        (option("guard = true"), "f:2:9: error: unknown value \"true\"; expected yes or no"),
        (option("guard ="), "f:2:8: error: the value is missing; expected yes or no"),
        (option("guard"), "f:2:1: error: guard has no value; expected guard = …"),
        (
            option("mark = 0x3"),
            "f:2:8: error: 0x3 has 2 bits set; expected a number of 32 bits of which exactly one is set, such as \
             0x10000000",
        ),
        (option("mark = 0"), "f:2:8: error: 0 has no bit set"),
        (option("mark = 0x100000000"), "f:2:8: error: 0x100000000 is too large"),
        (option("mark = 4294967296"), "f:2:8: error: 4294967296 is too large"),
        (option("mark = 0x"), "f:2:8: error: \"0x\" is no number"),
        (option("mark = +1"), "f:2:8: error: \"+1\" is no number"),
        (option("mark = 1f"), "f:2:8: error: \"1f\" is no number"),
        (option("mark ="), "f:2:7: error: the number is missing"),
        (option("accept_rule = always"), "f:2:15: error: unknown value \"always\"; expected auto or none"),
        (option("log_format = xml"), "f:2:14: error: unknown value \"xml\"; expected classic or json"),
        (option("journal_fields = 1"), "f:2:18: error: unknown value \"1\"; expected auto or yes or no"),
        (
            option("open = 22/tcp"),
            "f:2:1: error: open does not belong into this section; expected it in a door's section",
        ),
        (
            door("guard = yes"),
            "f:3:1: error: guard does not belong into this section; expected it in [options]",
        ),
        (
            door("open ="),
            "f:3:7: error: a port is missing; expected ports with their protocol, such as 22/tcp",
        ),
        (door("open = 22/tcp,"), "f:3:15: error: a port is missing"),
        (door("open = /tcp"), "f:3:8: error: a port is missing"),
        (door("open = ssh"), "f:3:8: error: \"ssh\" is no port"),
        (door("open = 22 tcp"), "f:3:8: error: \"22 tcp\" is no port"),
        (door("open = 80/tcp, 0/udp"), "f:3:16: error: port 0 cannot be opened"),
        (door("open = 1-65536/udp"), "f:3:10: error: 65536 is larger than any port"),
        (door("open = 30-20/udp"), "f:3:8: error: 30 is larger than 20; expected 20-30/udp"),
        (door("open = 20-"), "f:3:11: error: a port is missing"),
        (door("open = 1-2-3/tcp"), "f:3:10: error: \"2-3\" is no port"),
        (door("open = 22/sctp"), "f:3:11: error: unknown protocol \"sctp\"; expected tcp or udp"),
        (door("open = 22/"), "f:3:11: error: the protocol is missing; expected tcp or udp"),
        (door("open = 80, 22:tcp"), "f:3:12: error: a colon in \"22:tcp\"; expected 22/tcp"),
        (door("open = 60:61/udp"), "f:3:8: error: a colon in \"60:61/udp\"; expected 60-61/udp"),
        (door("open = :::"), "f:3:8: error: a colon in \":::\"; expected ports with their protocol"),
        (
            door(&format!("open = {}", ["7"; 65].join(","))),
            "f:3:136: error: the list of ports is too long; expected at most 64 ports",
        ),
        (door("open = 22\nopen_for = 0"), "f:4:12: error: 0 is no time at all; expected more than 0 seconds"),
        (door("open = 22\nopen_for = 10min"), "f:4:14: error: unknown unit \"min\"; expected d, h, m or s"),
        (door("open = 22\nopen_for ="), "f:4:11: error: the time is missing; expected a time, such as 10s"),
        (door("open = 22\nopen_for = 10 s"), "f:4:12: error: white space in \"10 s\""),
        (
            door("open_for = 10s"),
            "f:3:1: error: open_for in a door without open; expected open = PORT/PROTOCOL in the same section",
        ),
        (door("established = cut"), "f:3:1: error: established in a door without open"),
        (door("widen = 24"), "f:3:1: error: widen in a door without open"),
        (
            door("open = 22\nestablished = drop"),
            "f:4:15: error: unknown value \"drop\"; expected keep or cut",
        ),
        (
            door("open = 22\nwiden = /56"),
            "f:4:9: error: the length of the IPv4 prefix is missing; expected 1 to 32, all in all such as 24/56",
        ),
        (
            door("open = 22\nwiden = 24/"),
            "f:4:12: error: the length of the IPv6 prefix is missing; expected 1 to 128, all in all such as 24/56",
        ),
        (
            door("open = 22\nwiden = 33"),
            "f:4:9: error: \"33\" is no length of an IPv4 prefix; expected 1 to 32",
        ),
        (door("open = 22\nwiden = 0"), "f:4:9: error: \"0\" is no length of an IPv4 prefix"),
        (door("open = 22\nwiden = +24"), "f:4:9: error: \"+24\" is no length of an IPv4 prefix"),
        (door("open = 22\nwiden = 24/129"), "f:4:12: error: \"129\" is no length of an IPv6 prefix"),
        (
            door("allow_from ="),
            "f:3:13: error: a network is missing; expected addresses and networks, such as 192.0.2.0/24",
        ),
        (door("allow_from = 192.0.2.7,"), "f:3:24: error: a network is missing"),
        (door("allow_from = ::/0, 192.0.2.0/33"), "f:3:20: error: \"192.0.2.0/33\" is no network"),
        (door("allow_from = home.example"), "f:3:14: error: \"home.example\" is no network"),
        (door("close ="), "f:3:8: error: the door's name is missing; expected another door's name"),
        (door("close = a"), "f:3:9: error: door \"a\" closes itself; expected another door's name"),
        (door("close = b"), "f:3:9: error: there is no door \"b\"; expected another door's name"),
        (
            door(&format!("close = shel\n[Shell]\n{QUIET}")),
            "f:3:9: error: there is no door \"shel\"; expected another door's name (did you mean Shell?)",
        ),
        (
            door(&format!("close = shell\n[Shell]\n{QUIET}")),
            "f:3:9: error: there is no door \"shell\"; expected another door's name (did you mean Shell?)",
        ),
        (
            door(&format!("close = b # b\n[b]\n{QUIET}")),
            "f:3:9: error: there is no door \"b # b\"; expected another door's name (a remark stands on a line",
        ),
        (door("opne = 22"), "f:3:1: error: unknown directive \"opne\"; expected a directive of knockd.conf"),
        (
            door("openfor = 22"),
            "f:3:1: error: unknown directive \"openfor\"; expected a directive of knockd.conf (did you mean open_for?)",
        ),
    ];
    for (text, expected) in cases {
        let found = error(&text);
        assert!(found.starts_with(expected), "{text}\nfound    {found}\nexpected {expected}");
    }
}

#[test]
fn a_refused_directive_is_not_told_as_missing_too() {
    for text in [
        format!("[a]\n{QUIET}open = x\nopen_for = 10s\n"),
        format!("[a]\n{QUIET}close = b\n[b]\nsequence = x\n"),
    ] {
        error(&text);
    }
}

#[test]
fn native_doors_that_may_not_do_what_is_meant_are_told() {
    let told = |lines: &str, expected: &str| {
        let found = warnings(&format!("[a]\n{QUIET}{lines}\n"));
        assert_eq!(found.len(), 1, "{lines}: {found:#?}");
        assert!(found[0].starts_with(expected), "{lines}\nfound    {}\nexpected {expected}", found[0]);
    };
    let open = |lines: &str| format!("open = 22/tcp\nopen_for = 10s\n{lines}");
    told(
        "open = 22",
        "f:3:8: warning: door \"a\" has no open_for and no door that closes it (it stays open until \"knockctl close\"",
    );
    told("open = 22,22/tcp\nopen_for = 10", "f:3:11: warning: 22/tcp is given twice (write 22/tcp alone)");
    told(
        "open = 20-22,22-25\nopen_for = 10",
        "f:3:14: warning: 22-25/tcp overlaps with 20-22/tcp (write 20-25/tcp alone)",
    );
    told("open = 22\nopen_for = 10 # s", "f:4:14: warning: a remark behind a value");
    told(
        "open = 6000-7000\nopen_for = 10",
        "f:2:12: warning: the sequence has 6142:tcp, which the door opens",
    );
    told(
        &open("cmd_timeout = 5"),
        "f:5:1: warning: Cmd_Timeout in a door with open (open_for counts: the stop command",
    );
    told(&open("widen = 15"), "f:5:9: warning: whoever knocks with IPv4 lets in 131072 addresses");
    told(&open("widen = 1"), "f:5:9: warning: whoever knocks with IPv4 lets in 2147483648 addresses");
    told(&open("widen = 16/31"), "f:5:9: warning: whoever knocks with IPv6 lets in 2^97 addresses");
    told(
        &open("stop_command = x"),
        "f:2:12: warning: door \"a\" has a stop command, but nothing that starts",
    );
    told(
        "allow_from = 192.0.2.0/24, 192.0.2.7/24",
        "f:3:28: warning: 192.0.2.7/24 has bits behind its prefix (192.0.2.0/24 is meant: write that)",
    );
    for fine in [
        "",
        "start_command = x\nstop_command = y",
        "established = cut\nwiden = 16/32",
        "allow_from = 0.0.0.0/0, ::1, 192.0.2.7/32",
    ] {
        assert_eq!(warnings(&format!("[a]\n{QUIET}{}\n", open(fine))), [""; 0], "{fine}");
    }
    assert_eq!(warnings(&format!("[a]\n{QUIET}open = 6142/udp,8319/tcp\nopen_for = 9\n")), [""; 0]);
    assert_eq!(
        warnings(&format!("[a]\n{QUIET}open = 22\n[b]\nsequence = 5142,7319:udp,4\nclose = a\n")),
        [""; 0]
    );
}

#[test]
fn doors_that_differ_in_established_for_the_same_port_are_told() {
    let of = |doors: &[(&str, &str)]| {
        let mut text = String::new();
        for (index, (ports, more)) in doors.iter().enumerate() {
            text += &format!("[d{index}]\nsequence = {},8319:udp,7\n", 6142 + index);
            text += &format!("open = {ports}\nopen_for = 9s\n{more}\n");
        }
        warnings(&text)
    };
    let cut = "established = cut";
    let found = of(&[("80,20-22", ""), ("20-30/udp", cut), ("22-30", cut), ("443", cut)]);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].starts_with(
        "f:13:8: warning: doors \"d0\" and \"d2\" both open 22/tcp, but one keeps established connections and"
    ), "{found:#?}");
    // A long range is met behind shorter ones of its own kind, and each door is told of once.
    assert_eq!(of(&[("100-1000", ""), ("200", ""), ("700", cut), ("900", cut)]).len(), 2);
    assert_eq!(of(&[("10-15,20-30", ""), ("12,25", cut)]).len(), 1);
    for fine in [
        vec![("22", cut), ("22", "established = cut")],
        vec![("22", ""), ("22/udp", cut)],
        vec![("22", ""), ("22", "established = cut\ntarget = 192.0.2.20")],
        vec![("22-5000", "target = 192.0.2.20"), ("22", cut), ("22-5000/udp", ""), ("24", cut)],
    ] {
        assert_eq!(of(&fine), [""; 0], "{fine:?}");
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
    let Secret::Fixed(sequence) = &config.doors[0].secret else { panic!() };
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
    let strict = |sequence: &str| warnings(&format!("[options]\nstrict = yes\n[a]\nsequence = {sequence}\n"));
    assert_eq!(strict("6142,8319:udp,9623"), [""; 0], "a scan hits others in between");
    assert!(strict("6142,6143:udp,6144").iter().any(|warning| warning.contains("ascend")));
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
fn a_rolling_key_of_two_doors_is_told() {
    let doors = |second: &str| {
        format!("[a]\nrolling_key = /key\ncommand = x\n[b]\nrolling_key = {second}\ncommand = x\n")
    };
    let found = warnings(&doors("/key"));
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].contains("warning: doors \"a\" and \"b\" have the same rolling_key"), "{found:#?}");
    assert_eq!(warnings(&doors("/other")), [""; 0]);
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
    for junk in ["junk\n", "[x\n", "[x]\n", "[x]\nsequence = y\n", "[x]\nopen_for = 1\nsequence = 1\n"] {
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
        "open = [0-9]{0,6}([:/-](tcp|udp|[0-9]{0,3}))?,? ?[0-9]{0,3}",
        "(open_for|widen|mark) = (0x)?[0-9.]{0,6}[dhms/]?[0-9]{0,4}",
        "(guard|accept_rule|established) = (yes|no|auto|none|keep|cut|é)?",
        "allow_from = ((192\\.0\\.2\\.7|2001:db8::|x)(/[0-9]{0,3})?,? ?){0,3}",
        "close = [a-z]{0,3}",
        "(state_directory|control_socket) ?= ?[ -~é]{0,9}",
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
        let Secret::Fixed(sequence) = &config.doors[0].secret else { panic!() };
        let read_back = crate::sequence::Sequence::parse(&sequence.to_string());
        prop_assert_eq!(read_back.as_ref(), Ok(sequence));
        prop_assert_eq!(sequence.steps().len(), steps.len());
    }
}

/// `PROPTEST_CASES` where it is set: proptest reads it only for its own default.
fn cases(default: u32) -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(default)
}

#[test]
fn doors_may_be_opened_by_keys() {
    let config = good(
        "[options]\nhost_key = /etc/knockd/key\n\
         [ssh]\nauthorized_keys = keys\nspa_port = 5000\naddress = match\nopen = 22/tcp\n\
         [web]\nrolling_key = /etc/knockd/rolling\nopen = 443/tcp\n\
         [old]\nfwknop_key = k\nfwknop_hmac = h\nopen = 22/tcp\n",
    );
    let secrets: Vec<_> = config.doors.iter().map(|door| &door.secret).collect();
    let fwknop = Secret::Fwknop { key: "k".into(), hmac: "h".into() };
    assert_eq!(
        secrets,
        [&Secret::Keys("keys".into()), &Secret::Rolling("/etc/knockd/rolling".into()), &fwknop]
    );
    assert_eq!(config.options.host_key, Some("/etc/knockd/key".into()));
    let [ssh, _, old] = config.doors.as_slice() else { panic!() };
    assert_eq!((ssh.spa_port, ssh.address_must_match), (5000, true));
    assert_eq!((old.spa_port, old.address_must_match), (62201, false));
}

#[test]
fn keys_stand_alone() {
    for (text, found) in [
        (
            "sequence = 1,2,3\nauthorized_keys = k",
            "f:3:19: error: a door with both Sequence and authorized_keys",
        ),
        (
            "rolling_key = r\nauthorized_keys = k",
            "f:3:19: error: a door with both rolling_key and authorized_keys",
        ),
        ("fwknop_key = k", "f:2:14: error: fwknop_key without fwknop_hmac"),
        ("fwknop_hmac = k", "f:2:15: error: fwknop_hmac without fwknop_key"),
        ("sequence = 1,2,3\nspa_port = 5", "f:3:1: error: spa_port in a door with a sequence"),
        ("rolling_key = r\naddress = match", "f:3:1: error: address in a door without authorized_keys"),
        (
            "authorized_keys = k\naddress = mine",
            "f:3:11: error: unknown value \"mine\"; expected match or any",
        ),
        ("authorized_keys = k\nspa_port = 0", "f:3:12: error: \"0\" is no UDP port"),
        ("authorized_keys =", "f:2:"),
        ("authorized_keys = k\ntcpflags = syn", "f:3:1: warning: TCPFlags in a door without a sequence"),
    ] {
        let told = all_messages(&format!("[a]\n{text}\n"));
        assert!(told.iter().any(|line| line.starts_with(found)), "{text}: {told:?}");
    }
    let told = all_messages("[a]\nauthorized_keys = k\n[a]\nauthorized_keys = l\n");
    assert!(
        told[0].starts_with("f:4:19: error: another door with authorized_keys is called \"a\""),
        "{told:?}"
    );
}

fn all_messages(text: &str) -> Vec<String> {
    [Severity::Error, Severity::Warning]
        .into_iter()
        .flat_map(|severity| messages(text.as_bytes(), severity))
        .collect()
}
