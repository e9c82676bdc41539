//! `docs/spa-vectors.json`: whole knocks with all that they are worked out from, for whoever writes another client. This
//! test makes them anew and compares; with `WRITE_VECTORS=1` it writes them.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use p256::SecretKey;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};
use ssh_key::private::{EcdsaKeypair, Ed25519Keypair, KeypairData};
use ssh_key::public::{KeyData, SkEcdsaSha2NistP256, SkEd25519};
use ssh_key::{PrivateKey, Signature};

use super::request::{CONTENT, SIGNED, content};
use super::*;

/// 2026-11-24 10:13:20 UTC.
const NOW: u64 = 1_795_515_200 * SECOND;
const SECOND: u64 = 1_000_000_000;
const SOURCE: &str = "192.0.2.7";
const TOUCHED: u8 = 1;
const VERIFIED: u8 = 4;

/// Who can sign.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Ed25519,
    P256,
    /// A token, with what its signatures say of how they came about.
    SkEd25519(u8),
    SkP256(u8),
    Expired,
    Unknown,
}

impl Who {
    const ALL: [Self; 6] = [
        Self::Ed25519,
        Self::P256,
        Self::SkEd25519(TOUCHED),
        Self::SkP256(TOUCHED | VERIFIED),
        Self::Expired,
        Self::Unknown,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Ed25519 => "alice",
            Self::P256 => "bob",
            Self::SkEd25519(_) => "carol",
            Self::SkP256(_) => "dave",
            Self::Expired => "erin",
            Self::Unknown => "mallory",
        }
    }

    const fn options(self) -> &'static str {
        match self {
            Self::Ed25519 => r#"from="192.0.2.0/24,2001:db8::/32,!192.0.2.66",max-open="1h" "#,
            Self::SkP256(_) => r#"doors="match",verify-required "#,
            Self::Expired => r#"expiry-time="20261124101320Z" "#,
            _ => "",
        }
    }

    /// The private key's 32 bytes.
    const fn seed(self) -> [u8; 32] {
        match self {
            Self::Ed25519 => [0x11; 32],
            Self::P256 => [0x22; 32],
            Self::SkEd25519(_) => [0x33; 32],
            Self::SkP256(_) => [0x44; 32],
            Self::Expired => [0x55; 32],
            Self::Unknown => [0x66; 32],
        }
    }

    /// The key that signs; of a token what is in it.
    fn private(self) -> PrivateKey {
        let data = match self {
            Self::P256 | Self::SkP256(_) => {
                let private = SecretKey::from_slice(&self.seed()).unwrap();
                let public = private.public_key().into();
                KeypairData::Ecdsa(EcdsaKeypair::NistP256 { public, private: private.into() })
            }
            _ => KeypairData::Ed25519(Ed25519Keypair::from_seed(&self.seed())),
        };
        PrivateKey::new(data, self.name()).unwrap()
    }

    fn public(self) -> ssh_key::PublicKey {
        let data = match (self, self.private().public_key().key_data().clone()) {
            (Self::SkEd25519(_), KeyData::Ed25519(key)) => KeyData::SkEd25519(SkEd25519::new(key, "ssh:")),
            (Self::SkP256(_), KeyData::Ecdsa(ssh_key::public::EcdsaPublicKey::NistP256(point))) => {
                KeyData::SkEcdsaSha2NistP256(SkEcdsaSha2NistP256::new(point, "ssh:"))
            }
            (_, data) => data,
        };
        ssh_key::PublicKey::new(data, self.name())
    }

    fn fingerprint(self) -> Fingerprint {
        SshKey::new(self.public().key_data().clone()).unwrap().fingerprint()
    }

    fn sign(self, text: &[u8]) -> Vec<u8> {
        let (Self::SkEd25519(flags) | Self::SkP256(flags)) = self else {
            return sign(&self.private(), text).unwrap();
        };
        // A counter of 5.
        let said = [flags, 0, 0, 0, 5];
        let signed = [&Sha256::digest("ssh:")[..], &said, &Sha256::digest(text)].concat();
        let signature = sign(&self.private(), &signed).unwrap();
        let inner = Signature::try_from(&signature[..]).unwrap();
        let algorithm = self.public().algorithm();
        let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
        [&string(algorithm.as_str().as_bytes())[..], &string(inner.as_bytes()), &said].concat()
    }
}

/// A knock to be made, changed on its way or before it is sealed.
struct Case {
    name: &'static str,
    who: Who,
    request: Request,
    source: IpAddr,
    now: u64,
    sealed_to: HostKey,
    /// Changes what is sealed.
    content: fn(&mut [u8; CONTENT]),
    /// Changes what is sent; the gate is made anew.
    sealed: fn(&mut [u8; LENGTH]),
    /// Changes what arrives.
    datagram: fn(Vec<u8>) -> Vec<u8>,
}

fn host() -> HostKey {
    HostKey::from_random(&[0xa0; 32])
}

fn other_host() -> HostKey {
    HostKey::from_random(&[0xa1; 32])
}

fn case(name: &'static str, who: Who, change: impl FnOnce(&mut Case)) -> Case {
    let door = "ssh".into();
    let request = Request { time: NOW, lasts: None, address: Address::Source, door, key: who.fingerprint() };
    let mut case = Case {
        name,
        who,
        request,
        source: SOURCE.parse().unwrap(),
        now: NOW + 350_000_000,
        sealed_to: host(),
        content: |_| (),
        sealed: |_| (),
        datagram: |datagram| datagram,
    };
    change(&mut case);
    case
}

fn stated(address: &str) -> Address {
    Address::Stated(address.parse().unwrap())
}

fn admitted() -> Vec<Case> {
    vec![
        case("ed25519", Who::Ed25519, |_| ()),
        case("ecdsa-p256", Who::P256, |_| ()),
        case("sk-ed25519", Who::SkEd25519(TOUCHED), |_| ()),
        case("sk-ecdsa-p256, verified, stated IPv4", Who::SkP256(TOUCHED | VERIFIED), |case| {
            case.request.door = "match".into();
            case.request.address = stated(SOURCE);
        }),
        case("stated IPv6 while it comes by IPv4", Who::Ed25519, |case| {
            case.request.address = stated("2001:db8::1");
            case.request.lasts = Some(Duration::from_secs(600));
        }),
        case("from IPv6", Who::Ed25519, |case| case.source = "2001:db8::9".parse().unwrap()),
        case("the longest name of a door, not ASCII", Who::P256, |case| {
            case.request.door = "é-door-with-a-name-of-32-bytes-".into();
        }),
        case("as old as can be", Who::P256, |case| case.now = NOW + 120 * SECOND),
        case("as far ahead as can be", Who::P256, |case| case.now = NOW - 120 * SECOND),
    ]
}

fn dropped() -> Vec<Case> {
    vec![
        case("too short", Who::Ed25519, |case| case.datagram = |datagram| datagram[..319].to_vec()),
        case("too long", Who::Ed25519, |case| case.datagram = |datagram| [&datagram[..], &[0]].concat()),
    ]
}

fn refused_unread() -> Vec<Case> {
    let malformed =
        |name, change: fn(&mut [u8; CONTENT])| case(name, Who::Ed25519, |case| case.content = change);
    vec![
        case("the gate is another", Who::Ed25519, |case| {
            case.datagram = |mut datagram| {
                datagram[15] ^= 0x80;
                datagram
            };
        }),
        case("what is behind the gate is another", Who::Ed25519, |case| {
            case.datagram = |mut datagram| {
                datagram[319] ^= 1;
                datagram
            };
        }),
        case("for another server", Who::Ed25519, |case| case.sealed_to = other_host()),
        case("the tag is another", Who::Ed25519, |case| case.sealed = |sealed| sealed[319] ^= 1),
        case("what is sealed is another", Who::Ed25519, |case| case.sealed = |sealed| sealed[48] ^= 1),
        case("the encapsulated key is another", Who::Ed25519, |case| case.sealed = |sealed| sealed[16] ^= 1),
        case("the encapsulated key is written otherwise", Who::Ed25519, |case| {
            case.sealed = |sealed| sealed[47] ^= 0x80;
        }),
        case("the encapsulated key is of small order", Who::Ed25519, |case| {
            case.sealed = |sealed| sealed[16..48].fill(0);
        }),
        malformed("of version 2", |content| content[0] = 2),
        malformed("with a flag", |content| content[1] = 1),
        malformed("an address of kind 5", |content| content[14] = 5),
        malformed("an address where there is none", |content| content[15] = 1),
        malformed("IPv4 with more than four bytes", |content| content[14..31].copy_from_slice(&[4; 17])),
        malformed("the address 0.0.0.0", |content| content[14] = 4),
        malformed("the address ::ffff:192.0.2.7", |content| {
            content[14..31].copy_from_slice(&[6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7]);
        }),
        malformed("a door without a name", |content| content[31..64].fill(0)),
        malformed("a door's name of 33 bytes", |content| content[31] = 33),
        malformed("something behind the door's name", |content| content[63] = 1),
        malformed("a door's name with a line's end", |content| content[32] = b'\n'),
        malformed("a door's name that is no UTF-8", |content| content[32] = 0xff),
        malformed("something behind the signature", |content| content[255] = 1),
        malformed("a signature longer than there is room", |content| {
            content[96..98].copy_from_slice(&[0, 159])
        }),
    ]
}

fn refused() -> Vec<Case> {
    vec![
        case("no such door", Who::Ed25519, |case| case.request.door = "web".into()),
        case("a key that is not known", Who::Unknown, |_| ()),
        case("a key whose time is over", Who::Expired, |_| ()),
        case("too old", Who::P256, |case| case.now = NOW + 120 * SECOND + 1),
        case("too far ahead", Who::P256, |case| case.now = NOW - 120 * SECOND - 1),
        case("signed by another key", Who::Unknown, |case| case.request.key = Who::P256.fingerprint()),
        case("another door than was signed", Who::P256, |case| {
            case.content = |content| content[31..64].copy_from_slice(&name("match"));
        }),
        case("another time than was signed", Who::P256, |case| case.content = |content| content[9] ^= 1),
        case("a signature with one byte more", Who::P256, |case| case.content = |content| content[97] += 1),
        case("no signature", Who::P256, |case| case.content = |content| content[96..].fill(0)),
        case("a signature under another algorithm's name", Who::SkEd25519(TOUCHED), |case| {
            // sk-ssh-ed25519@openssh.com with another letter.
            case.content = |content| content[102] = b'S';
        }),
        case("flags that the token has not said", Who::SkEd25519(0), |case| {
            case.content = |content| content[98 + 4 + 26 + 4 + 64] = TOUCHED;
        }),
        case("a token that was not touched", Who::SkEd25519(0), |_| ()),
        case("a token that asked for no PIN", Who::SkP256(TOUCHED), |case| {
            case.request.door = "match".into();
            case.request.address = stated(SOURCE);
        }),
        case("a key that is not for this door", Who::SkP256(TOUCHED | VERIFIED), |_| ()),
        case("from elsewhere", Who::Ed25519, |case| case.source = "198.51.100.1".parse().unwrap()),
        case("from an address that is excepted", Who::Ed25519, |case| {
            case.source = "192.0.2.66".parse().unwrap();
        }),
        case("for elsewhere", Who::Ed25519, |case| case.request.address = stated("198.51.100.1")),
        case("without an address where one must be stated", Who::P256, |case| {
            case.request.door = "match".into()
        }),
        case("with another address than its own where it must match", Who::P256, |case| {
            case.request.door = "match".into();
            case.request.address = stated("192.0.2.8");
        }),
    ]
}

fn name(door: &str) -> [u8; 33] {
    let mut field = [0; 33];
    field[0] = door.len() as u8;
    field[1..=door.len()].copy_from_slice(door.as_bytes());
    field
}

fn authorized_keys() -> String {
    let known = Who::ALL.into_iter().filter(|who| *who != Who::Unknown);
    known.map(|who| format!("{}{}\n", who.options(), who.public().to_openssh().unwrap())).collect()
}

fn keys() -> Vec<AuthorizedKey> {
    let file = read_keys(&authorized_keys(), &|_| i64::try_from(NOW / SECOND).ok());
    assert_eq!(file.mistakes, []);
    file.keys
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// RFC 2104.
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let pad = |with: u8| -> Vec<u8> { (0..64).map(|at| key.get(at).unwrap_or(&0) ^ with).collect() };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}

const KEM: &[u8] = b"KEM\x00\x20";
const SUITE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x03";

/// `LabeledExtract` of RFC 9180, section 4.
fn extract(suite: &[u8], salt: &[u8], label: &str, text: &[u8]) -> [u8; 32] {
    hmac(salt, &[b"HPKE-v1", suite, label.as_bytes(), text].concat())
}

/// `LabeledExpand`, of at most 32 bytes.
fn expand<const N: usize>(suite: &[u8], secret: &[u8], label: &str, info: &[u8]) -> [u8; N] {
    let length = (N as u16).to_be_bytes();
    let block = hmac(secret, &[&length, &b"HPKE-v1"[..], suite, label.as_bytes(), info, &[1]].concat());
    *block.first_chunk().unwrap()
}

/// What HPKE works out on the client's side (RFC 9180, sections 4.1, 5.1 and 7.1.3).
fn hpke_steps(random: &[u8; 32], host: &HostPublicKey) -> Value {
    let secret = extract(KEM, b"", "dkp_prk", random);
    let private = x25519_dalek::StaticSecret::from(expand::<32>(KEM, &secret, "sk", b""));
    let encapsulated = x25519_dalek::PublicKey::from(&private);
    let dh = private.diffie_hellman(&(*host.bytes()).into());
    let kem_context = [*encapsulated.as_bytes(), *host.bytes()].concat();
    let eae = extract(KEM, b"", "eae_prk", dh.as_bytes());
    let shared = expand::<32>(KEM, &eae, "shared_secret", &kem_context);
    let psk = extract(SUITE, b"", "psk_id_hash", b"");
    let info = extract(SUITE, b"", "info_hash", b"toctoc knock v1");
    let context = [&[0][..], &psk, &info].concat();
    let secret = extract(SUITE, &shared, "secret", b"");
    json!({
        "random": hex(random),
        "ephemeral_private": hex(private.to_bytes()),
        "encapsulated": hex(encapsulated),
        "dh": hex(dh),
        "shared_secret": hex(shared),
        "key_schedule_context": hex(context.as_slice()),
        "secret": hex(secret),
        "key": hex(expand::<32>(SUITE, &secret, "key", &context)),
        "base_nonce": hex(expand::<12>(SUITE, &secret, "base_nonce", &context)),
    })
}

/// The outcome at the server, once for all.
fn outcome(case: &Case, datagram: &[u8], keys: &[AuthorizedKey]) -> Value {
    let host = host();
    if datagram.len() != LENGTH {
        return json!({ "dropped": "length" });
    }
    let rules = |door: &str| match door {
        "match" => Some(DoorRules { keys, address_must_match: true }),
        "ssh" | "é-door-with-a-name-of-32-bytes-" => Some(DoorRules { keys, address_must_match: false }),
        _ => None,
    };
    let opened = if passes_gate(datagram, host.public()) { open(datagram, &host).ok() } else { None };
    let verdict = opened
        .ok_or(Refusal::Unsealed)
        .and_then(|opened| judge(&opened, host.public(), case.source, rules, case.now));
    match verdict {
        Ok((door, admitted)) => json!({ "admitted": {
            "door": door,
            "name": admitted.name,
            "address": admitted.address,
            "time_open": admitted.time_open(Some(Duration::from_secs(10))).map(|time| time.as_secs()),
        } }),
        Err(refusal) => json!({ "refused": refusal.code(), "message": refusal.to_string() }),
    }
}

fn vector(case: &Case, random: [u8; 32], keys: &[AuthorizedKey]) -> Value {
    let to = case.sealed_to.public();
    let sealing = Sealing::begin(&case.request, to, random).unwrap();
    let to_sign = sealing.to_sign();
    let signature = case.who.sign(&to_sign);
    let request: [u8; SIGNED] = case.request.to_bytes().unwrap();
    let steps = hpke_steps(&random, to);
    let mut content = content(&request, &signature).unwrap();
    (case.content)(&mut content);
    let mut sent = sealing.seal(content).unwrap();
    let encapsulated = hex(&sent[16..48]);
    assert_eq!(steps["encapsulated"], encapsulated);
    (case.sealed)(&mut sent);
    let right = gate(&sent[16..], to);
    sent[..16].copy_from_slice(&right);
    let datagram = (case.datagram)(sent.to_vec());
    let message = [&b"toctoc knock v1"[..], to.bytes(), &sealing_key(&steps), &request].concat();
    json!({
        "name": case.name,
        "request": {
            "time": case.request.time,
            "lasts": case.request.lasts.map_or(0, |lasts| lasts.as_secs()),
            "address": match case.request.address {
                Address::Source => Value::Null,
                Address::Stated(address) => address.to_string().into(),
            },
            "door": case.request.door,
            "key": case.request.key.to_string(),
        },
        "server": to.to_string(),
        "signer": case.who.name(),
        "source": case.source,
        "now": case.now,
        "hpke": steps,
        "request_bytes": hex(request),
        "message": hex(&message),
        "message_sha512": hex(Sha512::digest(&message)),
        "to_sign": hex(&to_sign),
        "signature": hex(&signature),
        "content": hex(content),
        "datagram": hex(&datagram),
        "outcome": outcome(case, &datagram, keys),
    })
}

fn sealing_key(steps: &Value) -> Vec<u8> {
    let text = steps["encapsulated"].as_str().unwrap();
    (0..32).map(|at| u8::from_str_radix(&text[2 * at..][..2], 16).unwrap()).collect()
}

fn server(key: &HostKey) -> Value {
    json!({
        "private": hex(key.to_bytes().as_slice()),
        "public": hex(key.public().bytes()),
        "text": key.public().to_string(),
        "gate_key": hex(key.public().gate_key()),
    })
}

fn user(who: Who) -> Value {
    json!({
        "name": who.name(),
        "private": hex(who.seed()),
        "public": who.public().to_openssh().unwrap(),
        "blob": hex(who.public().to_bytes().unwrap()),
        "fingerprint": who.fingerprint().to_string(),
    })
}

fn all() -> Value {
    let keys = keys();
    let cases = [admitted(), dropped(), refused_unread(), refused()].into_iter().flatten();
    let vectors = cases.enumerate().map(|(number, case)| vector(&case, [number as u8; 32], &keys));
    json!({
        "about": "Knocks of docs/spa-protocol.md. Bytes are in hexadecimal. The keys are known to everybody: they are for tests only.",
        "window_seconds": WINDOW.as_secs(),
        "servers": [server(&host()), server(&other_host())],
        "users": Who::ALL.map(user),
        "authorized_keys": authorized_keys(),
        "doors": [
            { "name": "ssh", "address": "any", "open_for": 10 },
            { "name": "match", "address": "match", "open_for": 10 },
            { "name": "é-door-with-a-name-of-32-bytes-", "address": "any", "open_for": 10 },
        ],
        "vectors": vectors.collect::<Vec<_>>(),
    })
}

#[test]
fn the_vectors_are_what_is_made_and_judged_here() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spa-vectors.json");
    let made = all();
    if std::env::var_os("WRITE_VECTORS").is_some() {
        fs::write(&path, serde_json::to_string_pretty(&made).unwrap() + "\n").unwrap();
    }
    let kept: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let kept_vectors = kept["vectors"].as_array().unwrap();
    for (made, kept) in made["vectors"].as_array().unwrap().iter().zip(kept_vectors) {
        assert_eq!(made, kept);
    }
    assert_eq!(made, kept);
}

#[test]
fn the_vectors_are_for_every_refusal() {
    let keys = keys();
    let outcome = |case: &Case| vector(case, [1; 32], &keys)["outcome"].clone();
    for case in admitted() {
        assert!(outcome(&case)["admitted"].is_object(), "{}", case.name);
    }
    for case in dropped() {
        assert_eq!(outcome(&case)["dropped"], "length", "{}", case.name);
    }
    let codes = |cases: Vec<Case>| -> Vec<String> {
        let mut codes: Vec<_> = cases
            .iter()
            .map(|case| outcome(case)["refused"].as_str().unwrap_or("opened").to_owned())
            .collect();
        codes.dedup();
        codes
    };
    assert_eq!(codes(refused_unread()), ["unsealed", "malformed"]);
    let expected = [
        "no_such_door",
        "unknown_key",
        "expired",
        "clock",
        "signature",
        "untouched",
        "unverified",
        "not_for_door",
        "not_from",
        "address",
    ];
    assert_eq!(codes(refused()), expected);
    let document = include_str!("../../../../docs/spa-protocol.md");
    for code in expected.into_iter().chain(["unsealed", "malformed", "too_many", "used", "too_old"]) {
        assert!(document.contains(&format!("\n| `{code}` | ")), "{code}");
    }
}
