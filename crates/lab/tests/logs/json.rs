//! `log_format = json`: each line is what `docs/log.schema.json` says, wherever it goes.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::process::Command;
use std::time::SystemTime;

use knock_core::spa::{Address, HostKey, Request, Sealing, SshKey, sign};
use lab::{Lab, Stream};
use serde_json::Value;
use ssh_key::PrivateKey;
use ssh_key::private::{Ed25519Keypair, KeypairData};

use crate::support::{DOORS, SECRETS, SOON, everything, has, knockd, root, run};

/// Holds each line of a file against a schema, as those do who wrote the standard.
const VALIDATE: &str = "
import json, sys
from jsonschema import Draft202012Validator as Validator
schema = json.load(open(sys.argv[1]))
Validator.check_schema(schema)
validator = Validator(schema, format_checker=Validator.FORMAT_CHECKER)
wrong = [(error.message, line) for line in open(sys.argv[2]) for error in validator.iter_errors(json.loads(line))]
sys.exit(str(wrong) if wrong else None)
";

fn read(line: &str) -> Value {
    assert!(!line.contains(char::is_control), "{line:?}");
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

/// The log of a daemon that has told of everything, and what it wrote to standard output.
fn log() -> (Lab, String, Vec<String>) {
    let lab = Lab::pair().unwrap();
    let config = format!("[options]\nlog_format = json\nlogfile = {{dir}}/knockd.log\n{DOORS}");
    let mut daemon = knockd().config(config).start(lab.server()).unwrap();
    everything(&lab, &mut daemon, |daemon, part| daemon.wait_for_log(part, SOON).unwrap());
    let printed = daemon.lines().into_iter().filter(|line| line.stream == Stream::Out);
    (lab, daemon.log(), printed.map(|line| line.text).collect())
}

#[test]
fn each_line_is_what_the_schema_says() {
    if !has("jsonschema") {
        return;
    }
    let (lab, log, _) = log();
    assert_valid(&lab, &log);
}

/// Holds a log against the schema, which objects to what is wrong.
fn assert_valid(lab: &Lab, log: &str) {
    let directory = lab::TempDir::new().unwrap();
    let file = directory.write("log", log).unwrap();
    let mut python = Command::new("/usr/bin/python3");
    run(lab.server(), python.args(["-c", VALIDATE]).arg(root().join("docs/log.schema.json")).arg(file));
    let wrong = directory.write("wrong", log.replacen("\"address\":\"", "\"address\":\"x", 1)).unwrap();
    let mut python = Command::new("/usr/bin/python3");
    python.args(["-c", VALIDATE]).arg(root().join("docs/log.schema.json")).arg(wrong);
    assert!(!lab.server().output(&mut python).unwrap().status.success());
}

/// A door with keys tells whose knock it was, and why one opens nothing by a word.
#[test]
fn knocks_with_keys_say_whose_and_why() {
    const NAME: &str = "alice \"the first\"";
    let pair = KeypairData::Ed25519(Ed25519Keypair::from_seed(&[1; 32]));
    let key = PrivateKey::new(pair, NAME).unwrap();
    let public = SshKey::new(key.public_key().key_data().clone()).unwrap();
    let host = HostKey::from_random(&[7; 32]);
    let lab = Lab::pair().unwrap();
    let config = "[options]\nlog_format = json\nlogfile = {dir}/knockd.log\nhost_key = {dir}/host_key\n\
                  [ssh]\nauthorized_keys = {dir}/keys\nallow_from = 10.9.0.0/16\nopen = 22/tcp\nopen_for = 100s\n\
                  [web]\nauthorized_keys = {dir}/keys\naddress = match\nstart_command = true\n\
                  [other]\nauthorized_keys = {dir}/keys\ntarget = 192.0.2.1\nstart_command = true\n\
                  [none]\nauthorized_keys = {dir}/none\nstart_command = true\n";
    let line = key.public_key().to_openssh().unwrap();
    let daemon = knockd().file("host_key", host.to_text().as_bytes(), 0o600).file("none", "", 0o644);
    let daemon = daemon.file("keys", format!("doors=\"ssh,web,other\" {line}\n"), 0o644).config(config);
    let daemon = daemon.start(lab.server()).unwrap();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let request = |door: &str| Request {
        time: now,
        lasts: None,
        address: Address::Source,
        door: door.into(),
        key: public.fingerprint(),
    };
    let seal = |request: &Request, signs: bool| {
        let mut random = [0; 32];
        getrandom::fill(&mut random).unwrap();
        let sealing = Sealing::begin(request, host.public(), random).unwrap();
        let signature = if signs { sign(&key, &sealing.to_sign()).unwrap() } else { vec![0; 83] };
        sealing.finish(&signature).unwrap()
    };
    let good = seal(&request("ssh"), true);
    let mut changed = good;
    changed[300] ^= 1;
    let elsewhere = Address::Stated("192.0.2.7".parse().unwrap());
    let late = now - 200_000_000_000;
    for (datagram, reason, has_user) in [
        (good, "", true),
        (good, "used", false),
        (changed, "unsealed", false),
        (seal(&request("nowhere"), true), "no_such_door", false),
        (seal(&request("none"), true), "unknown_key", false),
        (seal(&request("ssh"), false), "signature", false),
        (seal(&Request { time: late, ..request("ssh") }, true), "clock", false),
        (seal(&Request { address: elsewhere, ..request("ssh") }, true), "not_allowed", true),
        (seal(&request("web"), true), "address", true),
        (seal(&request("other"), true), "elsewhere", true),
    ] {
        let (from, to) = ((lab.client().ip4(), 0), (lab.server().ip4(), 62_201));
        lab.client().run(|| UdpSocket::bind(from)?.send_to(&datagram, to)).unwrap();
        let part = match reason {
            "" => r#""event":"opening""#.to_owned(),
            reason => format!(r#""reason":"{reason}""#),
        };
        daemon.wait_for_log(&part, SOON).unwrap();
        let log = daemon.log();
        let line = read(log.lines().find(|line| line.contains(&part)).unwrap());
        assert_eq!(line["user"], if has_user { Value::from(NAME) } else { Value::Null }, "{line}");
        assert_eq!(line["event"], if reason.is_empty() { "opening" } else { "refused" }, "{line}");
    }
    if has("jsonschema") {
        assert_valid(&lab, &daemon.log());
    }
}

#[test]
fn each_event_is_there_everywhere_and_no_secret() {
    let (_lab, log, printed) = log();
    let lines: Vec<_> = log.lines().map(read).collect();
    let seen: BTreeSet<_> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    let all: BTreeSet<_> =
        "stage opening timed_out spoiled cooling_down not_allowed opened extended closed command \
                            command_output command_failed started stopped reloaded reload_failed confirmed \
                            rolled_back notice error"
            .split_whitespace()
            .collect();
    assert!(all.is_subset(&seen), "missing: {:?}", all.difference(&seen));
    // With -v they are on standard output as well, and nothing else is.
    assert_eq!(printed, log.lines().collect::<Vec<_>>());
    // The time is no secret.
    let told = lines.iter().map(|line| {
        let mut line = line.clone();
        line["time"] = Value::Null;
        line["by_pid"] = Value::Null;
        line.to_string()
    });
    for line in told {
        assert!(!SECRETS.iter().any(|secret| line.contains(secret)), "{line}");
    }
}

#[test]
fn who_did_what_for_how_long_and_why() {
    let (lab, log, _) = log();
    let lines: Vec<_> = log.lines().map(read).collect();
    let find = |fields: &[(&str, Value)]| {
        let found = lines.iter().find(|line| fields.iter().all(|(name, value)| line[*name] == *value));
        found.unwrap_or_else(|| panic!("no line with {fields:?} in\n{log}")).clone()
    };
    let client = lab.client().ip4().to_string();
    let door = |name: &str, event: &str| vec![("door", Value::from(name)), ("event", Value::from(event))];
    let opened = find(&door("native", "opened"));
    assert_eq!((opened["seconds"].as_f64(), &opened["ports"][0]), (Some(0.3), &Value::from("22/tcp")));
    assert_eq!((&opened["address"], &opened["network"]), (&Value::from(&*client), &Value::from(&*client)));
    assert!(opened["by_uid"].is_null());
    let closed = find(&[door("native", "closed"), vec![("reason", "time_over".into())]].concat());
    assert!(closed["open_seconds"].as_f64().unwrap() >= 0.3, "{closed}");
    let by_hand = find(&[door("native", "opened"), vec![("address", "192.0.2.7".into())]].concat());
    let asked_by = |line: &Value| (line["by_uid"].as_u64(), line["by_pid"].as_u64());
    let us = (Some(0), Some(u64::from(std::process::id())));
    assert_eq!(asked_by(&by_hand), us);
    let closed = find(&[door("native", "closed"), vec![("reason", "by_hand".into())]].concat());
    assert_eq!(asked_by(&closed), us);
    for event in ["reloaded", "confirmed"] {
        assert_eq!(asked_by(&find(&[("event", event.into())])), us);
    }
    for event in ["rolled_back", "reload_failed"] {
        assert_eq!(asked_by(&find(&[("event", event.into())])), (None, None));
    }
    // Of these knockd's own log has no line.
    find(&door("commands", "opened"));
    assert_eq!(find(&door("owed", "closed"))["reason"], "shutdown");
    let failed = find(&[door("commands", "command_failed"), vec![("purpose", "open".into())]].concat());
    assert_eq!((failed["status"].as_i64(), &failed["level"]), (Some(3), &Value::from("warning")));
    let ended = find(&[door("commands", "command_failed"), vec![("purpose", "close".into())]].concat());
    assert_eq!(ended["signal"].as_i64(), Some(9));
    assert_eq!(
        find(&door("commands", "command_output"))["message"],
        "commands: output: one\ttwo\u{1b}[1m \u{fffd}"
    );
}

#[test]
fn the_form_changes_with_a_reload() {
    let lab = Lab::pair().unwrap();
    let config =
        |form: &str| format!("[options]\nlog_format = {form}\nlogfile = {{dir}}/knockd.log\n{DOORS}");
    let daemon = knockd().config(config("classic")).start(lab.server()).unwrap();
    daemon.wait_for_log("] starting up, listening on", SOON).unwrap();
    daemon.write_config(&config("json")).unwrap();
    daemon.reload(SOON).unwrap();
    lab.client().knock(lab.server().ip4(), "7142").unwrap();
    daemon.wait_for_log(&format!(r#""message":"{}: native: Stage 1""#, lab.client().ip4()), SOON).unwrap();
    daemon.write_config(&config("classic")).unwrap();
    daemon.reload(SOON).unwrap();
    lab.client().knock(lab.server().ip6(), "7142").unwrap();
    daemon.wait_for_log(&format!("] {}: native: Stage 1\n", lab.client().ip6()), SOON).unwrap();
}
