//! One case, run with knock 0.8 and with ours: the same knocks, the same words, the same exit code, or a difference
//! that is meant and documented.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::net::{Net, Outcome};

const THEIRS: &str = "/usr/bin/knock";
const DOCUMENTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/knockd-differences.md");

/// Each line of arguments, and the differences (headings of `docs/knockd-differences.md`) that make it differ.
const CASES: &[(&str, &[&str])] = &[
    // What is knocked.
    ("10.9.0.1 7000", &[]),
    ("10.9.0.1 7000:udp", &[]),
    ("10.9.0.1 7000:tcp 8000:udp 9000", &[]),
    ("10.9.0.1 1 65535 65535:udp 7000 7000", &[]),
    ("-u 10.9.0.1 7000 8000:tcp 9000:udp", &[]),
    ("--udp 10.9.0.1 7000", &[]),
    ("fd09::1 7000 8000:udp", &[]),
    ("-v ::ffff:10.9.0.1 7000", &[]),
    ("-v 10.9.1 7000", &[]),
    // Ports that answer, refuse, and say nothing.
    ("10.9.0.1 7100", &[]),
    ("10.9.0.1 7200 7201:udp 7202", &[]),
    ("-d 1200 10.9.0.1 7200 7202", &[]),
    ("10.9.0.1 7100 7000 7200", &[]),
    // Names and families.
    ("-v both.lab 7000 8000:udp", &[]),
    ("-v -4 both.lab 7000 8000:udp", &[]),
    ("-v -6 both.lab 7000 8000:udp", &[]),
    ("-v -6 -4 both.lab 7000", &[]),
    ("-v --ipv4 --ipv6 both.lab 7000", &[]),
    ("-v fe80::1%eth0 7000:udp", &[]),
    ("turn.lab 7000 8000:udp", &["K9"]),
    ("-6 four.lab 7000", &["K4"]),
    ("-4 fd09::1 7000", &["K4"]),
    ("nosuch.lab 7000", &["K4"]),
    // How options are written.
    ("-d 20 10.9.0.1 7000 8000", &[]),
    ("-d20 10.9.0.1 7000 8000", &[]),
    ("--delay=20 10.9.0.1 7000 8000", &[]),
    ("--del 20 10.9.0.1 7000 8000", &[]),
    ("-vd 20 10.9.0.1 7000 8000:udp", &[]),
    ("-uvd5 10.9.0.1 7000 8000", &[]),
    ("10.9.0.1 -v 7000 -u 8000", &[]),
    ("-v -d 5 -- 10.9.0.1 7000", &[]),
    ("-d 5000 -d 1 10.9.0.1 7000 8000", &[]),
    (WAITING, &[]),
    // Knocks that do not leave.
    ("10.8.0.1 7000 8000:udp", &["K4"]),
    ("10.9.0.1 7000 7300:udp 7001", &["K4"]),
    ("10.9.0.1 7300 7001", &[]),
    // Wrong usage.
    ("", &["K2"]),
    ("10.9.0.1", &["K2"]),
    ("--bogus 10.9.0.1 7000", &["K2"]),
    ("10.9.0.1 7000 -5", &["K2"]),
    ("--ver 10.9.0.1 7000", &["K2"]),
    ("-d", &["K2"]),
    ("-d -5 10.9.0.1 7000", &[]),
    ("10.9.0.1 nonsense", &[]),
    ("10.9.0.1 7000 nonsense", &["K5"]),
    ("10.9.0.1 7000:icmp", &["K5"]),
    ("10.9.0.1 7000:", &["K5"]),
    ("10.9.0.1 7000:udp:udp", &["K5"]),
    ("10.9.0.1 0", &["K5"]),
    ("10.9.0.1 70000:udp", &["K5"]),
    ("10.9.0.1 ssh", &["K6"]),
    ("10.9.0.1 7000:UDP", &["K7"]),
    ("-d soon 10.9.0.1 7000", &["K8"]),
    ("-d 5s 10.9.0.1 7000", &["K8"]),
    (TOO_MANY, &["K10"]),
    // Answers.
    ("-h", &["K1"]),
    ("--help", &["K1"]),
    ("-V", &["K3"]),
    ("--version", &["K3"]),
];

/// The case in which the time counts.
const WAITING: &str = "-d 500 10.9.0.1 7000 8000";
const GAP: Duration = Duration::from_millis(500);

const TOO_MANY: &str =
    "-u 10.9.0.1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33";

#[test]
fn does_what_knock_0_8_does() -> io::Result<()> {
    assert!(Path::new(THEIRS).exists(), "{THEIRS} is missing: apt install knockd");
    let net = Net::new()?;
    let mut faults = Vec::new();
    for &(line, differences) in CASES {
        let theirs = net.run(Path::new(THEIRS), line)?;
        let ours = net.run(Path::new(env!("CARGO_BIN_EXE_knock")), line)?;
        match (comparable(line, &theirs) == comparable(line, &ours), differences) {
            (true, []) | (false, [_, ..]) => (),
            (false, []) => faults.push(format!("knock {line}\n  theirs: {theirs:?}\n  ours:   {ours:?}")),
            (true, gone) => {
                faults.push(format!("knock {line}: the same, though {gone:?} says otherwise: {ours:?}"))
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

/// What must agree: of the words on standard error only whether there are any, of the time only how often it waited.
fn comparable(line: &str, outcome: &Outcome) -> (Vec<String>, Option<i32>, String, bool, u128) {
    let Outcome { knocks, code, stdout, stderr, took } = outcome.clone();
    // A slow machine takes longer: what counts is that nobody waits less.
    let waits = if line == WAITING { (took.as_millis() / GAP.as_millis()).min(2) } else { 0 };
    (knocks, code, stdout, stderr.is_empty(), waits)
}

#[test]
fn every_difference_is_documented_and_every_documented_one_is_tested() -> io::Result<()> {
    let text = fs::read_to_string(DOCUMENTED)
        .map_err(|error| io::Error::new(error.kind(), format!("{DOCUMENTED}: {error}")))?;
    let documented: BTreeSet<_> = text.lines().filter_map(identifier).collect();
    let tested: BTreeSet<_> = CASES.iter().flat_map(|(_, differences)| *differences).copied().collect();
    assert_eq!(documented, tested);
    Ok(())
}

/// The `K1` of a heading `### K1 In a few words`.
fn identifier(line: &str) -> Option<&str> {
    let identifier = line.strip_prefix("### ")?.split_whitespace().next()?;
    let number = identifier.strip_prefix('K')?;
    number.bytes().all(|byte| byte.is_ascii_digit()).then_some(identifier)
}
