//! Any bytes as a packet of fwknop's, and, behind HMAC and encryption, as the text in one. What is accepted can be written
//! in one way.

#![no_main]

use std::sync::LazyLock;

use base64ct::{Base64Unpadded, Encoding};
use hmac::Hmac;
use knock_core::fwknop::{Allow, FwknopKeys, Knock, Refusal, decode, decode_text};
use knock_core::knock::Protocol;
use libfuzzer_sys::fuzz_target;
use sealing::{PREFIX, authenticated, digested, sealed};

#[path = "../../crates/knock-core/src/fwknop/sealing.rs"]
mod sealing;

const KEY: &[u8] = b"sesame";
const HMAC_KEY: &[u8] = b"simsim";

static KEYS: LazyLock<FwknopKeys> =
    LazyLock::new(|| FwknopKeys::parse(b"KEY sesame", b"HMAC_KEY simsim").expect("the keys are good"));

fuzz_target!(|input: &[u8]| {
    packet(input);
    let Ok(text) = str::from_utf8(input) else { return };
    packet(authenticated::<Hmac<sha2::Sha256>>(text, HMAC_KEY).as_bytes());
    content(text);
});

fn packet(packet: &[u8]) {
    match decode(packet, &KEYS) {
        Ok(knock) => {
            is_in_bounds(&knock);
            assert_eq!(decode(&[PREFIX.as_bytes(), packet].concat(), &KEYS), Err(Refusal::Prefixed));
        }
        Err(refusal) => assert!(!refusal.to_string().contains("sesame")),
    }
}

/// The text as it is, and with the digest that it needs.
fn content(content: &str) {
    let _ = decode_text(content.as_bytes());
    let text = digested(content);
    let read = decode_text(text.as_bytes());
    let packet = sealed(text.as_bytes(), KEY, HMAC_KEY);
    let unsealed = decode(packet.as_bytes(), &KEYS);
    assert!(unsealed == read || matches!(unsealed, Err(Refusal::Length(_))));
    if let Ok(knock) = read {
        is_in_bounds(&knock);
        assert_eq!(written(&knock, content), content);
    }
}

fn is_in_bounds(knock: &Knock) {
    assert!(
        (1..=48).contains(&knock.user.len()) && !knock.user.contains(|c: char| !(' '..='~').contains(&c))
    );
    assert!(!knock.accesses.is_empty() && knock.accesses.iter().all(|(_, port)| *port != 0));
    assert!(knock.timeout.is_none_or(|timeout| (1..=65_536).contains(&timeout)));
}

/// The content that this knock is in, with the random number and the version of this one.
fn written(knock: &Knock, like: &str) -> String {
    let mut fields = like.split(':');
    let (random, version) = (fields.next().unwrap_or(""), fields.nth(2).unwrap_or(""));
    let mut message = match knock.allow {
        Allow::Source => "0.0.0.0".to_owned(),
        Allow::Address(address) => address.to_string(),
    };
    for (protocol, port) in &knock.accesses {
        let protocol = if *protocol == Protocol::Tcp { "tcp" } else { "udp" };
        message += &format!(",{protocol}/{port}");
    }
    let (kind, timeout) = knock.timeout.map_or((1, String::new()), |timeout| (3, format!(":{timeout}")));
    let [user, message] = [&knock.user, &message].map(|text| Base64Unpadded::encode_string(text.as_bytes()));
    format!("{random}:{user}:{}:{version}:{kind}:{message}{timeout}", knock.time)
}
