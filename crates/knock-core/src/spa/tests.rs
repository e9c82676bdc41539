//! Whole knocks, from a request to a verdict.

use std::net::IpAddr;
use std::time::Duration;

use ssh_key::PrivateKey;
use ssh_key::private::{Ed25519Keypair, KeypairData};

use super::*;

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
        key: Some("SHA256:a+b/c".into()),
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
