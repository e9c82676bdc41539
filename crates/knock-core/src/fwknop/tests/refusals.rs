//! What is refused, and that the reason is said.

use hmac::{KeyInit, Mac};
use md5::{Digest, Md5};

use super::*;
use crate::fwknop::{Field, decode_text};

#[track_caller]
fn refused(content: &str, expected: &Refusal) {
    assert_eq!(read(content).as_ref(), Err(expected), "{content}");
}

#[test]
fn what_is_no_packet_costs_nothing() {
    let packet = packet();
    assert_eq!(decode(b"", &keys()), Err(Refusal::Length(0)));
    assert_eq!(decode(&packet.as_bytes()[..139], &keys()), Err(Refusal::Length(139)));
    assert_eq!(decode(&[b'9'; 1501], &keys()), Err(Refusal::Length(1501)));
    assert!(!decode(&[b'9'; 1500], &keys()).unwrap_err().is_authentic());
    assert!(!decode(packet.replace('9', "-").as_bytes(), &keys()).unwrap_err().is_authentic());
    assert!(matches!(decode(&[0x80; 200], &keys()), Err(Refusal::Alphabet(0))));
}

#[test]
fn what_does_not_begin_as_aes_does_is_of_gnupg() {
    // Those that a length of 128 to 1023 bytes gives.
    for first in 'A'..='P' {
        let packet = first.to_string() + &packet()[1..];
        assert_eq!(decode(packet.as_bytes(), &keys()), Err(Refusal::Gpg), "{first}");
    }
}

#[test]
fn other_keys_are_refused() {
    let text = digested(CONTENT);
    let other_hmac = sealed(text.as_bytes(), KEY, b"another");
    assert!(matches!(decode(other_hmac.as_bytes(), &keys()), Err(Refusal::NotAuthentic { .. })));
    let other_key = sealed(text.as_bytes(), b"another", HMAC_KEY);
    assert_eq!(decode(other_key.as_bytes(), &keys()), Err(Refusal::Undecipherable));
}

#[test]
fn no_or_a_weak_hmac_is_refused_at_every_length() {
    for ports in 1..20 {
        let message = "10.0.0.1".to_owned() + &",tcp/22".repeat(ports);
        let text = encrypted(digested(&asking("root", &message)).as_bytes(), KEY, *b"saltsalt");
        let md5 = authenticated::<Hmac<Md5>>(&text, HMAC_KEY);
        // What is in it does not matter: its length gives it away.
        let sha1 = text.clone() + &base64([7; 20]);
        assert_eq!(decode(text.as_bytes(), &keys()), Err(Refusal::NotAuthentic { without: true }));
        assert_eq!(decode(md5.as_bytes(), &keys()), Err(Refusal::Md5Hmac));
        assert_eq!(decode(sha1.as_bytes(), &keys()), Err(Refusal::Sha1Hmac));
    }
}

/// What is authentic and still no whole blocks, or blocks without padding.
#[test]
fn broken_encryption_is_refused() {
    let whole = encrypted(digested(CONTENT).as_bytes(), KEY, *b"saltsalt");
    let without_last = &whole[..whole.len() - 64];
    let packet = authenticated::<Hmac<Sha512>>(without_last, HMAC_KEY);
    assert_eq!(decode(packet.as_bytes(), &keys()), Err(Refusal::Undecipherable));
    for length in 0..200 {
        let mut mac = <Hmac<sha2::Sha256> as KeyInit>::new_from_slice(HMAC_KEY).unwrap();
        mac.update(super::super::sealing::PREFIX.as_bytes());
        let text = "9".repeat(length);
        mac.update(text.as_bytes());
        let packet = text + &base64(mac.finalize().into_bytes());
        assert!(decode(packet.as_bytes(), &keys()).is_err(), "{length}");
    }
}

#[test]
fn a_weak_or_wrong_digest_is_refused() {
    let with = |digest: &str| {
        decode(sealed(format!("{CONTENT}:{digest}").as_bytes(), KEY, HMAC_KEY).as_bytes(), &keys())
    };
    assert_eq!(with(&base64(Md5::digest(CONTENT))), Err(Refusal::WeakDigest("MD5")));
    assert_eq!(with(&base64([0; 20])), Err(Refusal::WeakDigest("SHA-1")));
    for length in [32, 48, 64] {
        assert_eq!(with(&base64(vec![0; length])), Err(Refusal::WrongDigest));
    }
    assert_eq!(with(""), Err(Refusal::Malformed(Field::Digest)));
}

#[test]
fn other_messages_are_refused() {
    for (kind, expected) in [
        ("0", Refusal::Command),
        ("2", Refusal::Nat),
        ("4", Refusal::Nat),
        ("5", Refusal::Nat),
        ("6", Refusal::Nat),
        ("7", Refusal::Malformed(Field::Type)),
        ("-1", Refusal::Malformed(Field::Type)),
        ("", Refusal::Malformed(Field::Type)),
        ("3", Refusal::Malformed(Field::Timeout)),
    ] {
        refused(&CONTENT.replace(":1:", &format!(":{kind}:")), &expected);
    }
    refused(&format!("{CONTENT}:c2VjcmV0"), &Refusal::ServerAuth);
    refused(&format!("{}:c2VjcmV0:60", CONTENT.replace(":1:", ":3:")), &Refusal::Malformed(Field::Timeout));
    for version in ["1.9.12", "2.1", "3.1.0", "4.0.0", "30.0"] {
        refused(&CONTENT.replace("3.0.0", version), &Refusal::Version(version.to_owned()));
    }
    refused(&CONTENT.replace("3.0.0", &"9".repeat(99)), &Refusal::Version("9".repeat(16)));
}

#[test]
fn bad_fields_are_refused() {
    let message = Refusal::Malformed(Field::Message);
    for address in ["10.0.0", "::1", "224.0.0.1", "255.255.255.255", "0.0.0.1", "", "10.0.0.256"] {
        refused(&asking("root", &format!("{address},tcp/22")), &message);
    }
    for access in [
        "",
        "tcp",
        "tcp/",
        "tcp/0",
        "tcp/65536",
        "tcp/-1",
        "tcp/22/",
        "tcp/22,",
        "tcp/22 ",
        "tcp/99999999999999999999",
    ] {
        refused(&asking("root", &format!("10.0.0.1,{access}")), &message);
    }
    refused(&asking("root", "10.0.0.1"), &message);
    refused(&asking("root", &("10.0.0.1".to_owned() + &",tcp/22".repeat(30))), &message);
    refused(&asking("root", "10.0.0.1,icmp/8"), &Refusal::Protocol("icmp/8".to_owned()));
    refused(&asking("root", "10.0.0.1,none/0"), &Refusal::Protocol("none/0".to_owned()));
    for user in ["", "a\nb", "a\0", "a\u{1b}[2J", "é", "a\"b", "a=b", &"u".repeat(49)] {
        refused(&asking(user, "10.0.0.1,tcp/22"), &Refusal::Malformed(Field::User));
    }
    for time in ["", "-1", "1e9", "99999999999999999999", "00"] {
        refused(&CONTENT.replace("1795544065", time), &Refusal::Malformed(Field::Time));
    }
    for timeout in ["", "0", "65537", "-1", "010", "4294967297", "1.5"] {
        refused(&format!("{}:{timeout}", CONTENT.replace(":1:", ":3:")), &Refusal::Malformed(Field::Timeout));
    }
    for random in ["113885100991987", "11388510099198700", "113885100991987a"] {
        refused(&CONTENT.replace("1138851009919870", random), &Refusal::Undecipherable);
    }
}

#[test]
fn text_cut_anywhere_is_refused() {
    let text = digested(CONTENT);
    for length in 0..text.len() {
        assert!(decode_text(&text.as_bytes()[..length]).is_err(), "{length}");
        let shorter = digested(CONTENT.get(..length).unwrap_or(""));
        assert!(decode_text(shorter.as_bytes()).is_err() || length >= CONTENT.len() - 1, "{shorter}");
    }
}

#[test]
fn a_reason_says_what_to_do_and_no_more() {
    let words = |refusal: Refusal| refusal.to_string();
    assert!(words(Refusal::NotAuthentic { without: true }).contains("USE_HMAC"));
    assert!(!words(Refusal::NotAuthentic { without: false }).contains("USE_HMAC"));
    assert!(words(Refusal::Undecipherable).contains("ENCRYPTION_MODE"));
    assert_eq!(
        words(Refusal::Protocol("a\n\"".into())),
        "it asks for \"a\\n\\\"\", and only tcp and udp ports can be opened"
    );
    assert_eq!(words(Refusal::Malformed(Field::User)), "its user's name is not as fwknop's clients write it");
}
