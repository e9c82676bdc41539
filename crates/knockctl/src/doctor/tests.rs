use std::collections::BTreeMap;
use std::path::Path;

use knock_core::config;
use knock_core::control::{
    Accept, AcceptState, Interface, Journal, JournalState, Native, Overload, ReadingProcess, Seconds, Status,
    TableState,
};
use knock_linux::links::Link;

use super::boot::Boot;
use super::checks::examine;
use super::facts::{Facts, Reach, Reached, Table};
use super::files::{File, Kind};
use super::finding::{Finding, Severity};
use super::keys::{File as KeysFile, Keys};
use super::process::Process;
use super::rules::nft::{self, Texts};
use super::rules::{Hook, Ruleset, save, walk};
use super::{boot, ports, report};

const NATIVE: &str = "[ssh]\nSequence = 7142,8319:udp,5623,3:udp\nopen = 22/tcp\nopen_for = 10s\n";
const COMMAND: &str = "[ssh]\nSequence = 7142,8319:udp,5623,3:udp\n\
     Start_Command = iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n\
     Stop_Command = iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n";
const UFW: &str = include_str!("tests/ufw.save");

fn iptables(rules: &str) -> Ruleset {
    Ruleset { chains: save::parse(&format!("*filter\n{rules}\nCOMMIT\n"), "iptables") }
}

fn link(name: &str) -> Link {
    let addresses = ["192.0.2.1", "2001:db8::1"].map(|address| (address.parse().unwrap(), 24));
    Link {
        index: 2,
        name: name.into(),
        up: true,
        addresses: addresses.into(),
        default_route: true,
        ..Link::default()
    }
}

fn status() -> Status {
    Status {
        version: "0".into(),
        pid: 1,
        uptime: Seconds::default(),
        config: "/etc/knockd.conf".into(),
        interfaces: vec![Interface { name: "eth0".into(), up: true, addresses: vec![] }],
        warnings: vec![],
        doors: 1,
        grants: 0,
        attempts: 0,
        overload: Overload::default(),
        reading: ReadingProcess::default(),
        journal: Journal { path: "/x".into(), state: JournalState::InUse, message: None },
        native: Some(Native {
            table: TableState::InPlace,
            mark: "0x10000000".into(),
            guard: true,
            accept_rule: "auto".into(),
            accept_rules: vec![],
        }),
        pending_confirmation: None,
    }
}

/// A machine on which all is well, with these doors and this filter.
fn facts(doors: &str, ruleset: Ruleset) -> Facts {
    let parsed = config::parse("knockd.conf", doors.as_bytes());
    let config = parsed.config.ok_or_else(|| vec!["it has mistakes".to_owned()]);
    let mut status = status();
    let guard = config.as_ref().is_ok_and(|config| config.options.guard);
    status.native = status.native.map(|native| Native { guard, ..native });
    if let Ok(config) = &config {
        status.native = status
            .native
            .map(|native| Native { accept_rule: config.options.accept_rule.to_string(), ..native });
    }
    Facts {
        config_path: "/etc/knockd.conf".into(),
        ports: config.as_ref().map(ports::of).unwrap_or_default(),
        doors: config.as_ref().map(|config| config.doors.iter().map(as_told).collect()).unwrap_or_default(),
        config,
        ruleset,
        filter_troubles: vec![],
        table: Table::InPlace,
        daemon: Ok(status),
        links: vec![link("eth0")],
        clock: Some(true),
        files: vec![],
        keys: Keys::default(),
        boot: Boot { systemd: true, knockd: true, firewalls: vec!["nftables"], ..Boot::default() },
        process: Process::default(),
        lacking: vec![],
        reached: vec![],
        not_tried: None,
    }
}

fn as_told(door: &config::Door) -> knock_core::control::Door {
    let native = door.native.as_ref();
    knock_core::control::Door {
        name: door.key.name.clone(),
        opens: native.iter().flat_map(|native| &native.ports).map(ToString::to_string).collect(),
        open_for: native.and_then(|native| native.open_for).map(Seconds),
        established: None,
        widen: None,
        allow_from: door.allow_from.clone(),
        closes: door.closes.clone(),
        runs_commands: false,
        cmd_timeout: None,
        target: door.target,
        secret: Some((&door.secret).into()),
        keys: None,
        one_time: false,
        sequences_left: None,
        steps: 4,
        sequence: None,
        commands: None,
        seq_timeout: Seconds::default(),
        grants: 0,
        strict: true,
        weak: None,
    }
}

fn findings(facts: &Facts) -> Vec<Finding> {
    examine(facts).into_iter().flat_map(|section| section.findings).collect()
}

fn names(facts: &Facts) -> Vec<&'static str> {
    findings(facts).into_iter().map(|finding| finding.name).collect()
}

fn one(facts: &Facts, name: &str) -> Finding {
    let all = findings(facts);
    let found: Vec<_> = all.iter().filter(|finding| finding.name == name).collect();
    let [finding] = found[..] else { panic!("one {name} in {all:#?}") };
    finding.clone()
}

const WELL: &str = ":INPUT DROP [0:0]\n-A INPUT -m mark --mark 0x10000000/0x10000000 -j ACCEPT\n\
     -A INPUT -i lo -j ACCEPT\n-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";

#[test]
fn a_healthy_machine_has_no_finding() {
    for ruleset in [Ruleset::default(), iptables(WELL)] {
        assert_eq!(findings(&facts(NATIVE, ruleset)), []);
    }
    assert!(
        report::text(&examine(&facts(NATIVE, Ruleset::default())))
            .ends_with("0 problems, 0 warnings, 0 notes\n")
    );
}

#[test]
fn established_connections_must_go_on() {
    let without = ":INPUT DROP [0:0]\n-A INPUT -m mark --mark 0x10000000/0x10000000 -j ACCEPT";
    let finding = one(&facts(NATIVE, iptables(without)), "no-established-rule");
    assert_eq!(finding.severity, Severity::Problem);
    assert_eq!(finding.remedy[0], "iptables -I INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT");
    for with in [
        "-m state --state ESTABLISHED,RELATED -j ACCEPT",
        "-p tcp ! --syn -j ACCEPT",
        "-p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j ACCEPT",
        "-m conntrack ! --ctstate NEW,INVALID -j ACCEPT",
        "! -i lo -m conntrack --ctstate ESTABLISHED -m comment --comment \"a -j b\" -j ACCEPT",
    ] {
        assert_eq!(
            names(&facts(NATIVE, iptables(&format!("{without}\n-A INPUT {with}")))),
            [] as [&str; 0],
            "{with}"
        );
    }
    // What comes from one network alone is not enough; what comes after the drop neither.
    for with in [
        "-s 10.0.0.0/8 -j ACCEPT",
        "-p udp -m conntrack --ctstate ESTABLISHED -j ACCEPT",
        "-j DROP\n-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
    ] {
        one(&facts(NATIVE, iptables(&format!("{without}\n-A INPUT {with}"))), "no-established-rule");
    }
}

#[test]
fn whom_a_door_lets_in_must_come_through() {
    let established = "-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT";
    let accept = "-A INPUT -m mark --mark 0x10000000/0x10000000 -j ACCEPT";
    let missing = iptables(&format!(":INPUT DROP [0:0]\n{established}"));
    let finding = one(&facts(NATIVE, missing.clone()), "no-accept-rule");
    assert!(
        finding.remedy[0].starts_with("iptables -I INPUT -m mark --mark 0x10000000/0x10000000"),
        "{finding:?}"
    );
    let by_hand = format!("[options]\naccept_rule = none\nmark = 0x800\n{NATIVE}");
    assert!(
        one(&facts(&by_hand, missing.clone()), "no-accept-rule").remedy[0].contains("--mark 0x800/0x800")
    );
    // A daemon that is not there will put it when it starts.
    let mut stopped = facts(NATIVE, missing);
    stopped.daemon = Err("not running".into());
    assert_eq!(names(&stopped), ["not-running"]);
    let behind =
        iptables(&format!(":INPUT ACCEPT [0:0]\n{established}\n-A INPUT -p tcp -j REJECT\n{accept}"));
    assert!(one(&facts(NATIVE, behind), "drop-before-accept").found.contains("-A INPUT -p tcp -j REJECT"));
    let raw = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 22 -m tcp --tcp-flags SYN SYN -j DROP\nCOMMIT";
    let early = Ruleset { chains: save::parse(raw, "iptables") };
    let finding = one(&facts(NATIVE, early), "dropped-early");
    assert!(finding.found.contains("PREROUTING (iptables -t raw)"));
    assert_eq!(finding.remedy[0], "iptables -t raw -I PREROUTING -p tcp --dport 22 -j ACCEPT");
}

#[test]
fn before_connection_tracking_there_is_no_state() {
    let raw = |rules: &str| {
        let listing = format!("*raw\n:PREROUTING ACCEPT [0:0]\n{rules}\nCOMMIT");
        Ruleset { chains: save::parse(&listing, "iptables") }
    };
    let drop = "-A PREROUTING -p tcp -m tcp --dport 22 -j DROP";
    let by_state = format!("-A PREROUTING -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n{drop}");
    for rules in [drop, &by_state, "-A PREROUTING -m conntrack --ctstate INVALID -j DROP"] {
        for doors in [NATIVE, COMMAND] {
            let finding = one(&facts(doors, raw(rules)), "no-established-rule");
            assert_eq!(finding.remedy[0], "iptables -t raw -I PREROUTING -p tcp --dport 22 -j ACCEPT");
            assert!(!finding.remedy.concat().contains("ctstate"), "{finding:?}");
        }
    }
    // In mangle there is one.
    let mangle = by_state.replace("-j DROP", "-m conntrack --ctstate ESTABLISHED -j DROP");
    let mangle = format!("*mangle\n:PREROUTING ACCEPT [0:0]\n{mangle}\nCOMMIT");
    assert_eq!(names(&facts(NATIVE, Ruleset { chains: save::parse(&mangle, "iptables") })), [] as [&str; 0]);
}

#[test]
fn neighbours_must_be_heard() {
    let deaf = |rules: &str| {
        let listing = format!("*filter\n{WELL}\n{rules}\nCOMMIT\n");
        facts(NATIVE, Ruleset { chains: save::parse(&listing, "ip6tables") })
    };
    let finding = one(&deaf(""), "no-icmpv6");
    assert_eq!(finding.remedy[0], "ip6tables -I INPUT -p ipv6-icmp -j ACCEPT");
    for well in
        ["-A INPUT -p ipv6-icmp -j ACCEPT", "-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 135 -j ACCEPT"]
    {
        assert_eq!(findings(&deaf(well)), []);
    }
}

#[test]
fn what_the_daemon_could_not_put() {
    let mut refused =
        facts(NATIVE, iptables(":INPUT DROP [0:0]\n-A INPUT -m state --state ESTABLISHED -j ACCEPT"));
    let mut told = status();
    if let Some(native) = &mut told.native {
        native.accept_rules = vec![Accept {
            place: "ip filter INPUT".into(),
            state: AcceptState::Failed,
            message: Some("type this".into()),
        }];
    }
    refused.daemon = Ok(told);
    assert_eq!(names(&refused), ["accept-rule-refused"]);
    assert_eq!(one(&refused, "accept-rule-refused").remedy, ["type this"]);
}

#[test]
fn what_the_daemon_put_back() {
    let mut reloaded = facts(NATIVE, iptables(WELL));
    let mut told = status();
    if let Some(native) = &mut told.native {
        native.accept_rules = vec![Accept {
            place: "ip filter INPUT".into(),
            state: AcceptState::InPlace,
            message: Some("put back, 2 in all".into()),
        }];
    }
    reloaded.daemon = Ok(told);
    assert!(one(&reloaded, "accept-rule-put-back").found.ends_with("put back, 2 in all"));
}

#[test]
fn a_port_that_is_open_anyway() {
    let accepting = format!("{WELL}\n-A INPUT -p tcp -m multiport --dports 21:23,80 -j ACCEPT");
    let open = format!("[options]\nguard = no\n{NATIVE}");
    let found = findings(&facts(&open, iptables(&accepting)));
    let by: Vec<_> = found.iter().filter(|finding| finding.name == "open-without-knock").collect();
    assert!(by[0].found.contains("--dports 21:23,80"), "{found:#?}");
    // By IPv6 nothing drops.
    assert!(by[1].found.contains("IPv6: there is no firewall"), "{found:#?}");
    let some = format!("{WELL}\n-A INPUT -s 198.51.100.0/24 -p tcp -m tcp --dport 22 -j ACCEPT");
    assert!(names(&facts(&open, iptables(&some))).contains(&"open-to-some"));
    assert_eq!(findings(&facts(NATIVE, iptables(&accepting))), [], "with guard = yes nothing is open");
}

#[test]
fn commands_open_what_is_closed() {
    assert_eq!(one(&facts(COMMAND, iptables(WELL)), "open-by-ipv6").severity, Severity::Problem);
    let mut no_ipv6 = facts(COMMAND, iptables(WELL));
    no_ipv6.links[0].addresses.retain(|(address, _)| address.is_ipv4());
    assert_eq!(findings(&no_ipv6), []);
    no_ipv6.ruleset = Ruleset::default();
    assert!(one(&no_ipv6, "open-without-knock").remedy[0].starts_with("iptables -A INPUT -p tcp --dport 22"));
}

#[test]
fn doors_that_only_close_are_told_so() {
    let closing = "[closeSSH]\nSequence = 5623,8319:udp,7142,3:udp\n\
         Start_Command = iptables -D INPUT -s %IP% -p tcp --dport 22 -j ACCEPT\n";
    let remedies = |doors: &str| -> Vec<_> {
        let found = findings(&facts(doors, Ruleset::default())).into_iter();
        found
            .filter(|finding| finding.found.contains("closeSSH"))
            .flat_map(|finding| finding.remedy)
            .collect()
    };
    for (doors, wanted) in [
        (format!("{}{closing}", COMMAND.replace("[ssh]", "[openSSH]")), "close = openSSH instead of"),
        (format!("{NATIVE}{closing}"), "close = ssh instead of"),
        (closing.to_owned(), "close = the door that opens it instead of"),
    ] {
        let remedies = remedies(&doors).concat();
        assert!(remedies.contains(wanted) && !remedies.contains("open = "), "{doors}: {remedies}");
    }
    let opening = findings(&facts(COMMAND, Ruleset::default()));
    assert!(opening[0].remedy.concat().contains("open = 22/tcp instead of"), "{opening:?}");
}

#[test]
fn a_table_that_is_gone_guards_nothing() {
    let mut facts = facts(NATIVE, Ruleset::default());
    facts.table = Table::Missing;
    assert!(one(&facts, "table-missing").found.contains("although knockd runs"));
    facts.daemon = Err("there is no socket".into());
    assert_eq!(names(&facts), ["not-running", "table-missing"]);
}

#[test]
fn what_was_reached_is_open() {
    let mut facts = facts(NATIVE, Ruleset::default());
    let reached = |reach| Reached {
        door: "ssh".into(),
        from: "198.18.0.2".parse().unwrap(),
        target: "198.18.0.1:22".parse().unwrap(),
        reach,
    };
    facts.reached = vec![reached(Reach::Unanswered)];
    assert_eq!(findings(&facts), []);
    for reach in [Reach::Connected, Reach::Refused] {
        facts.reached = vec![reached(reach)];
        assert_eq!(names(&facts), ["reached-without-knock"]);
    }
}

#[test]
fn ufw_lets_connections_go_on() {
    let ufw = Ruleset { chains: save::parse(UFW, "iptables") };
    let marked = UFW.replace(
        "-A INPUT -j ufw-before-logging-input",
        "-A INPUT -m mark --mark 0x10000000/0x10000000 -j ACCEPT\n-A INPUT -j ufw-before-logging-input",
    );
    assert_eq!(names(&facts(NATIVE, ufw)), ["no-accept-rule"]);
    assert_eq!(findings(&facts(NATIVE, Ruleset { chains: save::parse(&marked, "iptables") })), []);
    let open = format!("[options]\nguard = no\n{NATIVE}");
    let mut facts = facts(&open, Ruleset { chains: save::parse(&marked, "iptables") });
    facts.links[0].addresses.retain(|(address, _)| address.is_ipv4());
    assert_eq!(findings(&facts), []);
    let allowed = marked.replace("COMMIT", "-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT\nCOMMIT");
    facts.ruleset.chains = save::parse(&allowed, "iptables");
    assert!(one(&facts, "open-without-knock").found.contains("chain ufw-user-input"));
}

#[test]
fn dockers_ports() {
    let nat = "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n\
         -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 172.17.0.2:80\nCOMMIT\n\
         *filter\n:FORWARD DROP [0:0]\n:DOCKER - [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n\
         -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A FORWARD -o docker0 -j DOCKER\n-A FORWARD -i docker0 ! -o docker0 -j ACCEPT\n\
         -A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT\nCOMMIT\n";
    let docker = |input: &str| {
        let mut chains = save::parse(nat, "iptables");
        chains.extend(iptables(input).chains);
        Ruleset { chains }
    };
    let unguarded = facts(NATIVE, docker(WELL));
    assert!(one(&unguarded, "published-unguarded").found.starts_with("8080/tcp"));
    assert_eq!(findings(&facts(NATIVE, docker(":INPUT ACCEPT [0:0]"))), []);
    let guarded = facts(&NATIVE.replace("22/tcp", "8080/tcp"), docker(WELL));
    let all = findings(&guarded);
    assert!(
        all.iter().all(|finding| finding.severity < Severity::Problem || finding.name == "no-accept-rule"),
        "{all:#?}"
    );
    one(&guarded, "published-and-guarded");
    // The door is for the container, and names its inner port.
    let inner = facts(&NATIVE.replace("22/tcp", "80/tcp"), docker(":INPUT ACCEPT [0:0]"));
    let finding = one(&inner, "published-unguarded");
    assert_eq!(finding.found, "8080/tcp is published to port 80 of 172.17.0.2, and no door guards it");
    assert_eq!(finding.remedy, ["in [ssh] of /etc/knockd.conf: open = 8080/tcp"]);
    let both = facts(&NATIVE.replace("22/tcp", "80/tcp, 8080/tcp"), docker(":INPUT ACCEPT [0:0]"));
    one(&both, "published-and-guarded");
}

#[test]
fn another_port_that_leads_to_a_guarded_one() {
    let nat = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 2222 -j REDIRECT --to-ports 22\nCOMMIT";
    let around = Ruleset { chains: save::parse(nat, "iptables") };
    assert_eq!(
        one(&facts(NATIVE, around.clone()), "way-around").remedy,
        ["in [ssh] of /etc/knockd.conf: open = 22/tcp, 2222/tcp"]
    );
    assert_eq!(findings(&facts(&NATIVE.replace("22/tcp", "22/tcp, 2222/tcp"), around)), []);
}

#[test]
fn interfaces_that_hear_nothing() {
    let mut facts = facts(NATIVE, Ruleset::default());
    facts.links[0].up = false;
    assert_eq!(one(&facts, "interface-deaf").remedy, ["ip link set eth0 up"]);
    facts.links[0].up = true;
    facts.links[0].addresses.clear();
    assert!(one(&facts, "interface-deaf").found.contains("no address"));
    let named = format!("[options]\nInterface = eth0,enp3s0\n{NATIVE}");
    facts = self::facts(&named, Ruleset::default());
    assert!(one(&facts, "interface-missing").found.contains("there is no interface enp3s0; there are eth0"));
    facts = self::facts(NATIVE, Ruleset::default());
    facts.links[0].default_route = false;
    facts.links.push(Link { index: 3, name: "wan".into(), ..link("wan") });
    assert_eq!(names(&facts), ["default-route-deaf"]);
}

#[test]
fn secrets_are_for_root_alone() {
    let mut facts = facts(NATIVE, Ruleset::default());
    let file = |kind, mode, owner| File { path: "/x".into(), kind, mode, owner };
    for (kind, mode) in [(Kind::Configuration, 0o600), (Kind::Socket, 0o600), (Kind::StateDirectory, 0o700)] {
        facts.files = vec![file(kind, mode, 0)];
        assert_eq!(findings(&facts), []);
    }
    for (kind, mode, name) in [
        (Kind::Configuration, 0o644, "readable-secret"),
        (Kind::OneTimeSequences, 0o640, "readable-secret"),
        (Kind::Socket, 0o666, "readable-secret"),
        (Kind::Configuration, 0o620, "writable-secret"),
    ] {
        facts.files = vec![file(kind, mode, 0)];
        assert_eq!(names(&facts), [name], "{kind:?} {mode:o}");
    }
    facts.files = vec![file(Kind::Configuration, 0o600, 1000)];
    assert_eq!(names(&facts), ["foreign-owner"]);
}

#[test]
fn keys_are_for_the_daemon_alone() {
    let mut facts = facts(NATIVE, Ruleset::default());
    let file = |kind, mode| File { path: "/x".into(), kind, mode, owner: 0 };
    for kind in [Kind::HostKey, Kind::RollingKey, Kind::FwknopKey] {
        facts.files = vec![file(kind, 0o600)];
        assert_eq!(findings(&facts), []);
        facts.files = vec![file(kind, 0o640)];
        assert_eq!(one(&facts, "readable-secret").severity, Severity::Problem, "{kind:?}");
    }
    facts.files = vec![file(Kind::AuthorizedKeys, 0o644)];
    assert_eq!(findings(&facts), []);
    facts.files = vec![file(Kind::AuthorizedKeys, 0o664)];
    assert_eq!(one(&facts, "writable-secret").remedy, ["chmod go-w /x"]);
}

const WITH_KEYS: &str =
    "[ssh]\nauthorized_keys = /etc/knockd/authorized_keys\nopen = 22/tcp\nopen_for = 10s\n";

#[test]
fn doors_for_keys_need_some() {
    const DAY: i64 = 86_400;
    let of = |file: KeysFile| Facts {
        keys: Keys { files: vec![file], now: 1000 * DAY, ..Keys::default() },
        ..facts(WITH_KEYS, Ruleset::default())
    };
    let well = KeysFile {
        name: "/k".into(),
        doors: vec!["ssh".into()],
        is_there: true,
        keys: vec![("alice".into(), None), ("bob".into(), Some(1015 * DAY))],
        mistakes: vec![],
    };
    assert_eq!(findings(&of(well.clone())), []);
    for (file, found) in [
        (KeysFile { is_there: false, keys: vec![], ..well.clone() }, "there is no file /k"),
        (KeysFile { keys: vec![], ..well.clone() }, "no key may knock"),
    ] {
        assert!(one(&of(file), "keys-missing").found.contains(found));
    }
    let mistake = of(KeysFile { mistakes: vec!["/k:2:1: error: x".into()], ..well.clone() });
    assert!(one(&mistake, "keys-mistake").found.starts_with("/k:2:1"));
    for (until, severity) in [(1013, Severity::Warning), (1000, Severity::Note)] {
        let expires = of(KeysFile { keys: vec![("bob".into(), Some(until * DAY))], ..well.clone() });
        assert_eq!(one(&expires, "key-expires").severity, severity);
    }
    let missing = Keys { host_key_missing: Some("/etc/knockd/host_key".into()), ..Keys::default() };
    let missing = Facts { keys: missing, ..facts(WITH_KEYS, Ruleset::default()) };
    assert_eq!(one(&missing, "host-key-missing").severity, Severity::Problem);
}

#[test]
fn a_clock_that_is_wrong_shuts_out_those_with_keys() {
    for (doors, severity) in [(NATIVE, Severity::Note), (WITH_KEYS, Severity::Warning)] {
        let facts = Facts { clock: Some(false), ..facts(doors, Ruleset::default()) };
        assert_eq!(one(&facts, "clock").severity, severity);
    }
}

#[test]
fn the_daemon_may_have_another_configuration() {
    let mut facts = facts(NATIVE, Ruleset::default());
    facts.doors[0].opens = vec!["2222/tcp".into()];
    let finding = one(&facts, "changed-since");
    assert!(finding.found.ends_with("door ssh, open"));
    assert!(finding.remedy[1].starts_with("or put the old file back"), "{finding:?}");
    let unconfirmed = Status { pending_confirmation: Some(Seconds::default()), ..status() };
    let pending = Facts { daemon: Ok(unconfirmed), ..facts.clone() };
    assert!(one(&pending, "changed-since").why.ends_with("is not confirmed yet"));
    facts.doors.clear();
    assert!(one(&facts, "changed-since").found.ends_with("it has no door ssh"));
    let mut status = status();
    status.config = "/etc/other.conf".into();
    status.pending_confirmation = Some(Seconds::default());
    status.journal.state = JournalState::Failing;
    facts.daemon = Ok(status);
    assert_eq!(names(&facts), ["other-configuration", "unconfirmed", "journal"]);
    facts = self::facts("[ssh]\nSequenz = 1\n", Ruleset::default());
    assert_eq!(names(&facts), ["configuration"]);
    let told = report::text(&examine(&facts));
    assert!(!told.contains("Doors       ok") && !told.contains("with this configuration"), "{told}");
}

#[test]
fn a_daemon_that_passes_over_ipv6() {
    let mut facts = facts(NATIVE, Ruleset::default());
    facts.process.only_ipv4 = true;
    assert_eq!(one(&facts, "deaf-to-ipv6").severity, Severity::Note);
    facts.links[0].addresses.retain(|(address, _)| address.is_ipv4());
    assert_eq!(findings(&facts), []);
}

#[test]
fn weak_sequences_clock_and_kernel() {
    let mut facts = facts(&NATIVE.replace("7142,8319:udp,5623,3:udp", "7000,8000,9000"), Ruleset::default());
    facts.clock = Some(false);
    facts.lacking = vec![("no nf_tables".into(), "modprobe nf_tables".into())];
    assert_eq!(names(&facts), ["weak-sequence", "clock", "kernel"]);
}

#[test]
fn what_happens_at_boot() {
    let directory = std::env::temp_dir().join(format!("knockctl-boot-{}", std::process::id()));
    let write = |path: &str, text: &str| {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let read = || boot::read(&directory, Some(Path::new("/nowhere/bin/knockd")));
    assert_eq!(boot::read(Path::new("/nowhere"), None), Boot::default());
    write("etc/rc2.d/S01knockd", "");
    write("etc/default/knockd", "# START_KNOCKD=1\nSTART_KNOCKD=0\n");
    let found = read();
    assert_eq!((found.systemd, found.knockd, found.switched_off), (false, false, true));
    write("etc/default/knockd", "START_KNOCKD=1\n");
    assert!(read().knockd);
    write("run/systemd/system/x", "");
    assert!(!read().knockd, "systemd goes by its units");
    write("etc/systemd/system/multi-user.target.wants/knockd.service", "");
    write("etc/systemd/system/sysinit.target.wants/nftables.service", "");
    write("etc/systemd/system/multi-user.target.wants/ufw.service", "");
    write("etc/ufw/ufw.conf", "ENABLED=no\n");
    let found = read();
    assert_eq!((found.knockd, found.firewalls), (true, vec!["nftables"]));
    std::fs::remove_dir_all(&directory).unwrap();

    let mut facts = facts(NATIVE, iptables(WELL));
    facts.boot = Boot { systemd: true, ..Boot::default() };
    assert_eq!(names(&facts), ["not-started-at-boot", "firewall-not-kept"]);
    facts.boot.knockd = true;
    assert_eq!(names(&facts), ["open-until-start", "firewall-not-kept"]);
}

#[test]
fn another_program_at_boot() {
    let directory = std::env::temp_dir().join(format!("knockctl-program-{}", std::process::id()));
    let write = |path: &str, text: &str| {
        let path = directory.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    let ours = Path::new("/nowhere/local/knockd");
    let theirs = Path::new("/nowhere/sbin/knockd");
    let read = || boot::read(&directory, Some(ours));
    write("etc/init.d/knockd", "DAEMON=/nowhere/sbin/knockd\n");
    assert_eq!(read().program.as_deref(), Some(theirs));
    write("run/systemd/system/x", "");
    write("lib/systemd/system/knockd.service", "[Service]\nExecStart=-/nowhere/sbin/knockd $KNOCKD_OPTS\n");
    let mut found = facts(NATIVE, Ruleset::default());
    found.process.program = Some(ours.into());
    found.boot = read();
    assert_eq!(found.boot.program.as_deref(), Some(theirs));
    let finding = one(&found, "not-started-at-boot");
    assert!(finding.remedy[0].contains("ExecStart=/nowhere/local/knockd -c /etc/knockd.conf"), "{finding:?}");
    write("etc/systemd/system/multi-user.target.wants/knockd.service", "");
    found.boot = read();
    let finding = one(&found, "other-program-at-boot");
    assert_eq!(finding.severity, Severity::Problem);
    assert!(finding.found.starts_with("/nowhere/sbin/knockd is started at boot"), "{finding:?}");
    assert!(finding.remedy[0].contains("systemctl reenable knockd"), "{finding:?}");
    // What somebody wrote on top of the unit counts, and so does a unit of another name.
    let own = "[Service]\nExecStart=\nExecStart=/nowhere/local/knockd\n";
    write("etc/systemd/system/knockd.service.d/own.conf", own);
    assert_eq!(read().program.as_deref(), Some(ours));
    std::fs::remove_dir_all(directory.join("etc/systemd/system")).unwrap();
    write("etc/systemd/system/toctoc.service", own);
    assert!(!read().knockd);
    write("etc/systemd/system/multi-user.target.wants/toctoc.service", "");
    assert_eq!((read().knockd, read().program.as_deref()), (true, Some(ours)));
    found.boot = read();
    assert_eq!(names(&found), ["open-until-start"]);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn reads_what_nft_prints() {
    let json = include_str!("tests/nft.json");
    let texts = Texts::parse(include_str!("tests/nft.txt"));
    let sets = BTreeMap::from([(("f".into(), "ports".into()), vec![2000..=2010])]);
    let ruleset = Ruleset { chains: nft::parse(json, &texts, &sets) };
    assert_eq!(nft::sets_of_ports(json), [["inet", "f", "ports"].map(str::to_owned)]);
    let fate = |packet: &walk::Packet| {
        let fate = ruleset.fate(packet, &[Hook::Prerouting, Hook::Input]);
        (fate.verdict, fate.by.unwrap().rule.map_or(String::new(), |rule| rule.text.clone()))
    };
    let packet = walk::Packet {
        ipv6: false,
        protocol: "tcp",
        port: 22,
        established: false,
        tracked: true,
        mark: 0,
        interface: Some("eth0".into()),
    };
    let accepted = |text: &str| (walk::Verdict::Accept, text.to_owned());
    assert_eq!(fate(&packet), accepted("tcp dport { 22, 80-90 } accept"));
    assert_eq!(
        fate(&walk::Packet { port: 85, ..packet.clone() }),
        accepted("tcp dport { 22, 80-90 } accept")
    );
    assert_eq!(fate(&walk::Packet { port: 2005, ..packet.clone() }), accepted("tcp dport @ports accept"));
    assert_eq!(
        fate(&walk::Packet { port: 7, ..packet.clone() }),
        accepted("tcp dport 1-10 counter packets 0 bytes 0 accept")
    );
    assert_eq!(
        fate(&walk::Packet { protocol: "udp", port: 53, ..packet.clone() }),
        accepted("meta l4proto { tcp, udp } th dport 53 accept")
    );
    let marked = walk::Packet { port: 99, mark: 0x1000_0000, ..packet.clone() };
    assert_eq!(fate(&marked), accepted("meta mark & 0x10000000 == 0x10000000 accept comment \"knockd\""));
    let established = walk::Packet { port: 99, established: true, ..packet.clone() };
    assert_eq!(
        fate(&established),
        accepted("ct state vmap { invalid : drop, established : accept, related : accept }")
    );
    let local = walk::Packet { port: 99, interface: Some("lo".into()), ..packet.clone() };
    assert_eq!(fate(&local), accepted("iifname \"lo\" accept"));
    let syn = (walk::Verdict::Drop, "tcp flags syn / fin,syn,rst,ack drop".to_owned());
    assert_eq!(fate(&walk::Packet { port: 99, ..packet.clone() }), syn);
    let udp = walk::Packet { protocol: "udp", port: 99, ..packet };
    assert_eq!(fate(&udp), accepted("fib daddr type local accept"));
    let reset = ruleset.fate(&udp, &[Hook::Input]);
    assert!(
        reset
            .perhaps
            .iter()
            .any(|(verdict, place)| *verdict == walk::Verdict::Accept
                && place.rule.unwrap().text.contains("@a"))
    );
}

#[test]
fn any_listing_is_read_to_an_end() {
    for odd in
        ["", "{", "{}", "{\"nftables\":3}", "{\"nftables\":[{\"rule\":{}},{\"chain\":3},{\"set\":null}]}"]
    {
        assert_eq!(nft::parse(odd, &Texts::default(), &BTreeMap::new()), []);
    }
    for odd in ["*", ":", "-", ":INPUT", "*filter\n-A", "*filter\n:A - [0:0]\n-A A -j A\n-A A \"x", "-A X -j"]
    {
        save::parse(odd, "iptables");
    }
    // A chain that jumps to itself, and chains that multiply.
    let mut listing = String::from("*filter\n:INPUT DROP [0:0]\n");
    for chain in 0..16 {
        listing += &format!(":c{chain} - [0:0]\n");
    }
    listing += "-A INPUT -j c0\n";
    for chain in 0..16 {
        for _ in 0..10 {
            listing += &format!("-A c{chain} -j c{}\n", (chain + 1) % 16);
        }
    }
    one(&facts(NATIVE, Ruleset { chains: save::parse(&listing, "iptables") }), "no-established-rule");
}

#[test]
fn the_manual_has_every_finding() {
    let manual = include_str!("../../../../docs/doctor.md");
    let sources = [
        include_str!("checks/doors.rs"),
        include_str!("checks/filter.rs"),
        include_str!("checks/forwarding.rs"),
        include_str!("checks/keys.rs"),
        include_str!("checks/machine.rs"),
        include_str!("checks/open.rs"),
    ];
    let mut found = 0;
    for source in sources {
        for kind in ["Finding::problem(", "Finding::warning(", "Finding::note("] {
            for call in source.split(kind).skip(1) {
                let name = call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
                let name = name.expect("the name comes first");
                assert!(manual.contains(&format!("| `{name}` |")), "{name}");
                found += 1;
            }
        }
    }
    assert!(found >= 35, "only {found} were found");
}
