//! Whole knocks, from a request to a verdict.

use std::net::IpAddr;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use ssh_key::PrivateKey;
use ssh_key::private::{Ed25519Keypair, KeypairData};

use super::request::content;
use super::*;
use crate::packet::is_host;

const NOW: u64 = 1_795_000_000_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn host() -> HostKey {
    HostKey::from_random(&[7; 32])
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::new(KeypairData::Ed25519(Ed25519Keypair::from_seed(&[seed; 32])), "alice").unwrap()
}

fn authorized(options: &str, key: &PrivateKey) -> Vec<AuthorizedKey> {
    let line = format!("{options} {}", key.public_key().to_openssh().unwrap());
    let file = read_keys(line.trim(), &|_| Some(0));
    assert_eq!(file.mistakes, []);
    file.keys
}

fn request(key: &PrivateKey) -> Request {
    let key = SshKey::new(key.public_key().key_data().clone()).unwrap().fingerprint();
    Request { time: NOW, lasts: None, address: Address::Source, door: "ssh".into(), key }
}

fn knock(request: &Request, key: &PrivateKey, host: &HostPublicKey) -> [u8; LENGTH] {
    let sealing = Sealing::begin(request, host, [9; 32]).unwrap();
    let signature = sign(key, &sealing.to_sign()).unwrap();
    sealing.finish(&signature).unwrap()
}

fn source() -> IpAddr {
    "192.0.2.7".parse().unwrap()
}

fn judged(datagram: &[u8], keys: &[AuthorizedKey], now: u64) -> Result<Admitted, Refusal> {
    let opened = open(datagram, &host()).map_err(|_| Refusal::Unsealed)?;
    let rules = |door: &str| (door == "ssh").then_some(DoorRules { keys, address_must_match: false });
    judge(&opened, host().public(), source(), rules, now).map(|(_, admitted)| admitted)
}

#[test]
fn a_knock_opens_its_door() {
    let (key, host) = (key(1), host());
    let keys = authorized("", &key);
    let datagram = knock(&request(&key), &key, host.public());
    assert_eq!(datagram.len(), 320);
    assert!(passes_gate(&datagram, host.public()));
    let admitted = judged(&datagram, &keys, NOW).unwrap();
    assert_eq!((admitted.name.as_str(), admitted.address), ("alice", source()));
}

#[test]
fn no_bit_can_be_changed() {
    let (key, host) = (key(1), host());
    let keys = authorized("", &key);
    let datagram = knock(&request(&key), &key, host.public());
    for bit in 0..datagram.len() * 8 {
        let mut changed = datagram;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(!passes_gate(&changed, host.public()), "bit {bit}");
        // Whoever knows the server's public key can make the gate fit.
        let right = gate(&changed[16..], host.public());
        changed[..16].copy_from_slice(&right);
        if bit >= 128 {
            assert_eq!(judged(&changed, &keys, NOW), Err(Refusal::Unsealed), "bit {bit}");
        }
    }
}

#[test]
fn it_is_for_one_server() {
    let key = key(1);
    let other = HostKey::from_random(&[8; 32]);
    let datagram = knock(&request(&key), &key, other.public());
    assert!(!passes_gate(&datagram, host().public()));
    assert_eq!(open(&datagram, &host()), Err(Unsealed));
    // The other server seals what it has read anew.
    let opened = open(&datagram, &other).unwrap();
    let (request, signature) = opened.read().unwrap();
    let host = host();
    let sealed = Sealing::begin(&request, host.public(), [9; 32]).unwrap().finish(signature).unwrap();
    let refused = judged(&sealed, &authorized("", &key), NOW);
    assert!(matches!(refused, Err(Refusal::Signature(_))), "{refused:?}");
}

#[test]
fn clocks_may_differ_by_the_window() {
    let (key, host) = (key(1), host());
    let keys = authorized("", &key);
    let datagram = knock(&request(&key), &key, host.public());
    for (now, by) in [
        (NOW + 120 * SECOND, None),
        (NOW + 121 * SECOND, Some((false, 121))),
        (NOW - 500 * SECOND, Some((true, 500))),
    ] {
        let expected = by.map(|(ahead, by)| Refusal::Clock { ahead, by: Duration::from_secs(by) });
        assert_eq!(judged(&datagram, &keys, now).err(), expected);
    }
}

#[test]
fn what_a_key_may_is_kept() {
    let (key, other, host) = (key(1), key(2), host());
    let ask = |change: &dyn Fn(&mut Request), options: &str| {
        let mut request = request(&key);
        change(&mut request);
        judged(&knock(&request, &key, host.public()), &authorized(options, &key), NOW)
    };
    assert!(ask(&|_| {}, r#"doors="web,ssh",from="192.0.2.0/24,!192.0.2.8""#).is_ok());
    assert_eq!(ask(&|_| {}, r#"doors="web""#), Err(Refusal::NotForDoor("alice".into())));
    assert_eq!(
        ask(&|_| {}, r#"from="192.0.2.0/24,!192.0.2.7""#),
        Err(Refusal::NotFrom("alice".into(), source()))
    );
    assert!(matches!(ask(&|_| {}, r#"expiry-time="20200101""#), Err(Refusal::Expired(_))));
    assert_eq!(ask(&|request| request.door = "no".into(), ""), Err(Refusal::NoSuchDoor("no".into())));
    let long = ask(&|request| request.lasts = Some(Duration::from_secs(7200)), r#"max-open="1h""#).unwrap();
    assert_eq!(long.time_open(Some(Duration::from_secs(10))), Some(Duration::from_secs(3600)));
    let refused = judged(&knock(&request(&other), &other, host.public()), &authorized("", &key), NOW);
    assert!(matches!(refused, Err(Refusal::UnknownKey(_))));
    let refused = judged(&knock(&request(&key), &other, host.public()), &authorized("", &key), NOW);
    assert!(matches!(refused, Err(Refusal::Signature(_))));
}

#[test]
fn a_line_for_clients_reads_as_it_was_written() {
    let enrolment = Enrolment {
        host: "2001:db8::1".into(),
        port: 5000,
        doors: vec!["ssh".into(), "my web, now".into()],
        host_key: host().public().clone(),
        verify: Some(22),
        key: Some(Fingerprint([0xfb; 32]).to_string()),
    };
    let line = enrolment.to_string();
    assert_eq!(line.parse(), Ok(enrolment), "{line}");
    for wrong in ["", "http://a/b?host-key=", "knock://a", "knock://a/b?host-key=x", "knock:///b?host-key=x"]
    {
        assert!(wrong.parse::<Enrolment>().is_err(), "{wrong}");
    }
}

#[test]
fn a_host_key_reads_as_it_was_written() {
    let host = host();
    assert_eq!(HostKey::from_text(&host.to_text()), Ok(host.clone()));
    assert_eq!(host.public().to_string().parse(), Ok(host.public().clone()));
    for wrong in ["", "toctoc-knock-key", "toctoc-knock-key x", "ssh-ed25519 AAAA"] {
        assert!(HostKey::from_text(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn nothing_is_asked_for_that_the_server_reads_otherwise() {
    let (key, host) = (key(1), host());
    let begun = |change: &dyn Fn(&mut Request)| {
        let mut request = request(&key);
        change(&mut request);
        Sealing::begin(&request, host.public(), [9; 32]).map(|_| ())
    };
    assert_eq!(begun(&|_| {}), Ok(()));
    assert_eq!(begun(&|request| request.door = "d".repeat(32)), Ok(()));
    for door in ["", &"d".repeat(33), "\u{1b}[1m"] {
        assert!(begun(&|request| request.door = door.into()).is_err(), "{door}");
    }
    for lasts in [Duration::ZERO, Duration::from_millis(1500), Duration::from_secs(1 << 32)] {
        assert!(begun(&|request| request.lasts = Some(lasts)).is_err(), "{lasts:?}");
    }
    for address in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1", "::ffff:192.0.2.7"] {
        let address = Address::Stated(address.parse().unwrap());
        assert!(begun(&|request| request.address = address).is_err(), "{address:?}");
    }
}

#[test]
fn a_host_key_is_one_that_only_its_owner_opens() {
    // The points of small order, and others written otherwise than X25519 writes them (RFC 7748, section 5).
    let order_8 = "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800";
    let other_order_8 = "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157";
    let numbers = [
        "00".repeat(32),
        format!("01{}", "00".repeat(31)),
        order_8.into(),
        other_order_8.into(),
        format!("ec{}7f", "ff".repeat(30)),
        format!("ed{}7f", "ff".repeat(30)),
        format!("f6{}7f", "ff".repeat(30)),
        format!("09{}80", "00".repeat(30)),
    ];
    for number in numbers {
        let bytes: Vec<_> =
            (0..32).map(|at| u8::from_str_radix(&number[2 * at..][..2], 16).unwrap()).collect();
        let text = HostPublicKey::new(bytes.try_into().unwrap()).to_string();
        assert!(text.parse::<HostPublicKey>().is_err(), "{number}");
    }
    // One key is written in one way.
    let text = host().public().to_string();
    let last = text.chars().last().unwrap();
    let next = char::from(last as u8 + 1);
    assert!(format!("{}{next}", &text[..42]).parse::<HostPublicKey>().is_err());
}

#[test]
fn no_key_is_taken_that_everybody_can_sign_with() {
    let line = |point: &[u8; 32]| {
        let key = ssh_key::public::Ed25519PublicKey(*point);
        ssh_key::PublicKey::from(ssh_key::public::KeyData::Ed25519(key)).to_openssh().unwrap()
    };
    let mut identity = [0; 32];
    identity[0] = 1;
    // Order 1 and order 4; the last is on no curve.
    for point in [identity, [0; 32], [2; 32]] {
        let file = read_keys(&line(&point), &|_| Some(0));
        assert_eq!((file.keys.len(), file.mistakes.len()), (0, 1), "{point:?}");
    }
    // The generator of P-256, whole, cut short, and beside the curve.
    let x = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
    let y = "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";
    let keys = [format!("04{x}{y}"), format!("03{x}"), format!("04{x}{x}")].map(|point| {
        let bytes: Vec<_> =
            (0..point.len() / 2).map(|at| u8::from_str_radix(&point[2 * at..][..2], 16).unwrap()).collect();
        let key = ssh_key::public::EcdsaPublicKey::from_sec1_bytes(&bytes).unwrap();
        SshKey::new(ssh_key::public::KeyData::Ecdsa(key)).is_ok()
    });
    assert_eq!(keys, [true, false, false]);
}

#[test]
fn options_are_read_as_openssh_reads_them() {
    let public = key(1).public_key().to_openssh().unwrap();
    let public = public.trim_end_matches(" alice");
    let (kind, data) = public.split_once(' ').unwrap();
    for line in [
        format!("{kind}\t {data}  alice"),
        format!("DOORS=\"ssh\" \t{public} alice"),
        format!("no-pty,no-pty,verify-required {public} alice"),
        format!("expiry-time=\"20300101UTC\" {public} alice"),
    ] {
        let file = read_keys(&line, &|_| Some(0));
        assert_eq!(file.mistakes, [], "{line}");
        assert_eq!(file.keys[0].name, "alice", "{line}");
    }
    for line in [
        format!("expiry-time=\"20200101\",expiry-time=\"20300101\" {public}"),
        format!("from=\"192.0.2.0/24\",FROM=\"0.0.0.0/0\" {public}"),
        format!("doors=\"ssh\"{public}"),
        format!("doors=\"\" {public}"),
        format!("cert-authority {public}"),
        format!("door=\"ssh\" {public}"),
    ] {
        let file = read_keys(&line, &|_| Some(0));
        assert_eq!((file.keys.len(), file.mistakes.len()), (0, 1), "{line}");
    }
}

#[test]
fn a_line_for_clients_brings_nothing_else_along() {
    let host_key = host().public().to_string();
    for wrong in [
        format!("knock://[::1]5000/ssh?host-key={host_key}"),
        format!("knock://-oProxyCommand=x/ssh?host-key={host_key}"),
        format!("knock://a%0Ab/ssh?host-key={host_key}"),
        format!("knock://a%22b/ssh?host-key={host_key}"),
        format!("knock://a/ssh?host-key={host_key}&host-key={host_key}"),
        format!("knock://a/ssh?host-key={host_key}&key=/etc/passwd"),
        format!("knock://a/{}?host-key={host_key}", "d".repeat(33)),
        format!("knock://a:0/ssh?host-key={host_key}"),
    ] {
        assert!(wrong.parse::<Enrolment>().is_err(), "{wrong}");
    }
    let later = format!("knock://a/ssh?host-key={host_key}&new=1");
    assert!(later.parse::<Enrolment>().is_ok());
}

#[test]
fn a_fingerprint_reads_as_it_was_written() {
    let fingerprint = request(&key(1)).key;
    assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    for wrong in ["", "SHA256:", "MD5:00:11", "SHA256:AAAA", &format!("{fingerprint}=")] {
        assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
    }
}

#[test]
fn a_signature_is_checked_before_it_is_sent() {
    let (key, other, host) = (key(1), key(2), host());
    let public = SshKey::new(key.public_key().key_data().clone()).unwrap();
    let text = Sealing::begin(&request(&key), host.public(), [9; 32]).unwrap().to_sign();
    assert_eq!(public.check(&text, &sign(&key, &text).unwrap()), Ok(()));
    let refused = public.check(&text, &sign(&other, &text).unwrap());
    assert_eq!(refused, Err("the signature is not one of this key".into()));
    assert!(public.check(b"another text", &sign(&key, &text).unwrap()).is_err());
    let rsa = [&[0, 0, 0, 12][..], b"rsa-sha2-512", &[0, 0, 0, 4, 1, 2, 3, 4]].concat();
    let refused = public.check(&text, &rsa).unwrap_err();
    assert_eq!(refused, "it was signed as rsa-sha2-512, but the key signs as ssh-ed25519");
    assert!(public.check(&text, b"").unwrap_err().starts_with("the signature is not written as"));
}

fn requests() -> impl Strategy<Value = Request> {
    let address = prop_oneof![
        Just(Address::Source),
        any::<IpAddr>().prop_filter("a host's", |address| is_host(*address)).prop_map(Address::Stated),
    ];
    let lasts = proptest::option::of((1..=u32::MAX).prop_map(|seconds| Duration::from_secs(seconds.into())));
    (any::<u64>(), lasts, address, "\\PC{1,16}", any::<[u8; 32]>())
        .prop_filter("short enough", |(.., door, _)| door.len() <= MAX_DOOR_NAME)
        .prop_map(|(time, lasts, address, door, key)| Request {
            time,
            lasts,
            address,
            door,
            key: Fingerprint(key),
        })
}

proptest! {
    #[test]
    fn a_request_is_read_as_it_was_meant(request in requests(), signature in vec(any::<u8>(), 0..=158)) {
        let host = host();
        let sealing = Sealing::begin(&request, host.public(), [9; 32]).unwrap();
        let datagram = sealing.finish(&signature).unwrap();
        let opened = open(&datagram, &host).unwrap();
        prop_assert_eq!(opened.read(), Ok((request, &signature[..])));
    }

    #[test]
    fn what_is_read_was_written_in_the_only_way(
        request in requests(),
        signature in vec(any::<u8>(), 0..=158),
        changes in vec((0..256_usize, any::<u8>()), 1..4),
    ) {
        let mut content = content(&request.to_bytes().unwrap(), &signature).unwrap();
        for (place, byte) in changes {
            content[place] = byte;
        }
        if let Ok((request, signature)) = Opened::unchecked([9; 32], content.to_vec()).read() {
            let again = Opened::of([9; 32], &request, signature).unwrap();
            prop_assert!(again == Opened::unchecked([9; 32], content.to_vec()));
        }
    }
}
