//! `docs/spa-protocol.md` is enough to write another client and another server by: `knock.py` is both, written with Python's
//! libraries alone. It and `knock_core::spa` open what the other makes, and refuse the same for the same reasons.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use knock_core::spa::{
    Address, AuthorizedKey, Civil, DoorRules, Fingerprint, HostKey, LENGTH, Refusal, Request, Sealing,
    SshKey, WINDOW, gate, judge, open, passes_gate, read_keys, sign,
};
use lab::TempDir;
use serde_json::{Value, json};
use ssh_key::PrivateKey;

const NOW: u64 = 1_795_515_200_000_000_000;
/// Debian's: another one does not have its packages.
const PYTHON: &str = "/usr/bin/python3";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// What `knock.py` answers.
fn python(arguments: &[&str], input: &Value) -> Value {
    let script = root().join("crates/lab/tests/spa_protocol/knock.py");
    let mut python = Command::new(PYTHON);
    python.arg("-B").arg(script).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = python.spawn().unwrap();
    running.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success(), "knock.py {arguments:?}: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}

fn vectors() -> String {
    root().join("docs/spa-vectors.json").display().to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..][..2], 16).unwrap()).collect()
}

fn doors() -> Value {
    json!(["ssh", "web", "match", "é"].map(|name| {
        json!({ "name": name, "address": if name == "match" { "match" } else { "any" }, "open_for": 10 })
    }))
}

/// Days since 1970 (the proleptic Gregorian calendar), as seconds.
#[allow(clippy::unnecessary_wraps, reason = "some times are none elsewhere")]
fn to_unix(civil: Civil) -> Option<i64> {
    let (year, month) = (i64::from(civil.year), i64::from(civil.month));
    // A year that begins in March ends with the day that may not be there.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5;
    let days = days + i64::from(civil.day) - 1 - 719_468;
    let minutes = i64::from(civil.hour) * 60 + i64::from(civil.minute);
    Some(days * 86_400 + minutes * 60 + i64::from(civil.second))
}

/// What becomes of a knock here, in the words of the vectors.
fn outcome(datagram: &[u8], host: &HostKey, source: &str, now: u64, keys: &[AuthorizedKey]) -> Value {
    if datagram.len() != LENGTH {
        return json!({ "dropped": "length" });
    }
    let rules = |door: &str| {
        let is_there = ["ssh", "web", "match", "é"].contains(&door);
        is_there.then_some(DoorRules { keys, address_must_match: door == "match" })
    };
    let opened = if passes_gate(datagram, host.public()) { open(datagram, host).ok() } else { None };
    let verdict = opened
        .ok_or(Refusal::Unsealed)
        .and_then(|opened| judge(&opened, host.public(), source.parse().unwrap(), rules, now));
    match verdict {
        Ok((door, admitted)) => json!({ "admitted": {
            "door": door,
            "name": admitted.name,
            "address": admitted.address,
            "time_open": admitted.time_open(Some(Duration::from_secs(10))).unwrap().as_secs(),
        } }),
        Err(refusal) => json!({ "refused": refusal.code() }),
    }
}

/// All that `knock.py` has made, held against what becomes of it here; how often each outcome was seen.
fn judged_here(made: &Value, host: &HostKey) -> BTreeMap<String, usize> {
    let file = read_keys(made["authorized_keys"].as_str().unwrap(), &to_unix);
    assert_eq!(file.mistakes, []);
    let mut seen = BTreeMap::new();
    for knock in made["knocks"].as_array().unwrap() {
        let datagram = bytes(knock["datagram"].as_str().unwrap());
        let (source, now) = (knock["source"].as_str().unwrap(), knock["now"].as_u64().unwrap());
        let found = outcome(&datagram, host, source, now, &file.keys);
        assert_eq!(found, knock["outcome"], "{knock}");
        let kind = found["refused"].as_str().unwrap_or("admitted");
        *seen.entry(kind.to_owned()).or_default() += 1;
    }
    seen
}

#[test]
fn another_program_works_out_the_vectors() {
    let found = python(&["vectors", &vectors()], &Value::Null);
    assert_eq!(found["wrong"], json!([]));
    assert!(found["vectors"].as_u64().unwrap() > 50, "{found}");
}

#[test]
fn ssh_keygen_verifies_a_knock_and_signs_one() {
    let found = python(&["ssh-keygen", &vectors()], &Value::Null);
    assert_eq!(found["wrong"], json!([]));
    assert!(found["verified"].as_u64().unwrap() > 50, "{found}");
    let vectors: Value = serde_json::from_slice(&std::fs::read(vectors()).unwrap()).unwrap();
    let private = bytes(vectors["servers"][0]["private"].as_str().unwrap());
    let host = HostKey::from_bytes(&private.try_into().unwrap()).unwrap();
    assert_eq!(judged_here(&found["signed"], &host), [("admitted".to_owned(), 1)].into());
}

#[test]
fn what_another_program_makes_is_judged_alike() {
    let host = HostKey::from_random(&random());
    let made = python(&["make", "1500"], &json!({ "private": hex(&*host.to_bytes()), "doors": doors() }));
    let seen = judged_here(&made, &host);
    // All that can become of a knock: what is compared is not one thing all the time.
    let all = [
        "address",
        "admitted",
        "clock",
        "expired",
        "malformed",
        "no_such_door",
        "not_for_door",
        "not_from",
        "signature",
        "unknown_key",
        "unsealed",
        "untouched",
        "unverified",
    ];
    assert_eq!(seen.keys().map(String::as_str).collect::<Vec<_>>(), all, "{seen:?}");
}

#[test]
fn another_program_judges_what_is_made_here_alike() {
    let host = HostKey::from_random(&random());
    let directory = TempDir::new().unwrap();
    let private = [("ed25519", "256"), ("ecdsa", "256"), ("ed25519", "256")].map(|(kind, bits)| {
        let file = directory.path().join(format!("{kind}{}", hex(&random()[..4])));
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", kind, "-b", bits, "-N", "", "-C", "alice", "-f"]).arg(&file);
        assert!(keygen.status().unwrap().success());
        PrivateKey::read_openssh_file(&file).unwrap()
    });
    let options = ["", "from=\"192.0.2.0/24\",doors=\"match,ssh\" "];
    let line = |(options, key): (&str, &PrivateKey)| {
        format!("{options}{}\n", key.public_key().to_openssh().unwrap())
    };
    // The last one is not in the file.
    let text: String = options.into_iter().zip(&private).map(line).collect();
    let keys = read_keys(&text, &to_unix).keys;
    let knocks: Vec<_> = (0..400).map(|_| made_up(&private, &host)).collect();
    let sent = knocks
        .iter()
        .map(|(datagram, source)| json!({ "datagram": hex(datagram), "source": source, "now": NOW }));
    let sent: Vec<_> = sent.collect();
    let given = json!({ "private": hex(&*host.to_bytes()), "authorized_keys": text, "doors": doors(), "knocks": sent });
    let found = python(&["judge"], &given);
    let here: Vec<_> =
        knocks.iter().map(|(datagram, source)| outcome(datagram, &host, source, NOW, &keys)).collect();
    for (knock, (there, here)) in sent.iter().zip(found.as_array().unwrap().iter().zip(&here)) {
        assert_eq!(there, here, "{knock}");
    }
    let admitted = here.iter().filter(|outcome| outcome["admitted"].is_object()).count();
    assert!((20..380).contains(&admitted), "{admitted} of 400");
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).unwrap();
    bytes
}

/// Mostly a good knock, and the address that it comes from; some are changed on their way.
fn made_up(keys: &[PrivateKey], host: &HostKey) -> ([u8; LENGTH], &'static str) {
    const ADDRESSES: [&str; 3] = ["192.0.2.7", "198.51.100.4", "2001:db8::1"];
    let dice = random();
    let pick = |which: usize, of: usize| usize::from(dice[which]) % of;
    let key = &keys[pick(0, 9) / 4];
    let window = u64::try_from(WINDOW.as_nanos()).unwrap();
    let request = Request {
        time: [NOW, NOW - window, NOW + window + 1, NOW + 1][pick(1, 4)],
        lasts: [None, Some(Duration::from_secs(3)), Some(Duration::from_secs(u32::MAX.into()))][pick(2, 3)],
        address: [0, 1, 2]
            .map(|which| Address::Stated(ADDRESSES[which].parse().unwrap()))
            .get(pick(3, 4))
            .copied()
            .unwrap_or(Address::Source),
        door: ["ssh", "ssh", "match", "é", "no"][pick(4, 5)].into(),
        key: fingerprint(key),
    };
    let sealing = Sealing::begin(&request, host.public(), random()).unwrap();
    let signer = if pick(5, 16) == 0 { &keys[0] } else { key };
    let signature = sign(signer, &sealing.to_sign()).unwrap();
    let mut datagram = sealing.finish(&signature).unwrap();
    if pick(6, 10) == 0 {
        datagram[pick(7, 256) + 32] ^= 1 << pick(8, 8);
        if pick(9, 2) == 0 {
            let right = gate(&datagram[16..], host.public());
            datagram[..16].copy_from_slice(&right);
        }
    }
    (datagram, ADDRESSES[pick(10, 3)])
}

fn fingerprint(key: &PrivateKey) -> Fingerprint {
    SshKey::new(key.public_key().key_data().clone()).unwrap().fingerprint()
}
