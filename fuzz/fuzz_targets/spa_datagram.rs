//! Any bytes as a datagram with a gate that fits, and any bytes as what was sealed in one: refused, and what is taken for a
//! request reads the same when it is written again. Nobody is let in but for what they have signed.

#![no_main]

use std::collections::HashSet;
use std::sync::LazyLock;

use knock_core::spa::{
    AuthorizedKey, DoorRules, HostKey, LENGTH, Opened, gate, judge, open, passes_gate, read_keys,
};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const GATE: usize = 16;
const SIGNED: usize = 96;

struct Server {
    key: HostKey,
    keys: Vec<AuthorizedKey>,
    now: u64,
    /// Encapsulated keys, and the requests that were signed with them.
    signed: HashSet<Vec<u8>>,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let file: Value = serde_json::from_str(include_str!("../../docs/spa-vectors.json")).unwrap();
    let private = bytes(&file["servers"][0]["private"]);
    let vectors = file["vectors"].as_array().unwrap();
    let signed = |vector: &Value| {
        let encapsulated = bytes(&vector["hpke"]["encapsulated"]);
        [encapsulated, bytes(&vector["request_bytes"])].concat()
    };
    Server {
        key: HostKey::from_bytes(&private.try_into().unwrap()).unwrap(),
        keys: read_keys(file["authorized_keys"].as_str().unwrap(), &|_| Some(0)).keys,
        now: vectors[0]["now"].as_u64().unwrap(),
        signed: vectors.iter().map(signed).collect(),
    }
});

fn bytes(hex: &Value) -> Vec<u8> {
    let hex = hex.as_str().unwrap();
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..][..2], 16).unwrap()).collect()
}

fuzz_target!(|input: &[u8]| {
    if input.len() == LENGTH {
        return arrives(input);
    }
    let Some((encapsulated, content)) = input.split_first_chunk() else { return };
    is_opened(&Opened::unchecked(*encapsulated, content.to_vec()), content);
});

fn arrives(datagram: &[u8]) {
    let mut datagram = datagram.to_vec();
    let right = gate(&datagram[GATE..], SERVER.key.public());
    datagram[..GATE].copy_from_slice(&right);
    assert!(passes_gate(&datagram, SERVER.key.public()));
    if let Ok(opened) = open(&datagram, &SERVER.key) {
        // It was sealed by a client of the vectors.
        assert!(opened.read().is_ok());
    }
}

fn is_opened(opened: &Opened, content: &[u8]) {
    if let Ok((request, signature)) = opened.read() {
        let again = Opened::of(opened.encapsulated, &request, signature).unwrap();
        assert!(again == *opened);
    }
    for address_must_match in [false, true] {
        let rules = |_: &str| Some(DoorRules { keys: &SERVER.keys, address_must_match });
        match judge(opened, SERVER.key.public(), [192, 0, 2, 7].into(), rules, SERVER.now) {
            Ok((_, admitted)) => {
                let signed = [&opened.encapsulated, &content[..SIGNED]].concat();
                assert!(SERVER.signed.contains(&signed), "{admitted:?}");
            }
            Err(refusal) => assert!(!refusal.shortened().to_string().contains(char::is_control)),
        }
    }
}
