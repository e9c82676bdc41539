//! The other forms that an accepted packet could come in: each is refused, or known by its identity.

use super::*;

/// What is not the packet's payload to a bit is not accepted, be it ever so little.
#[test]
fn no_bit_of_it_can_be_changed() {
    let packet = packet();
    for bit in 0..packet.len() * 8 {
        let mut changed = packet.clone().into_bytes();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&changed, &keys()).is_err(), "bit {bit}");
    }
}

#[test]
fn no_character_of_it_can_be_changed() {
    let packet = packet();
    for at in 0..packet.len() {
        for byte in 0..=u8::MAX {
            let mut changed = packet.clone().into_bytes();
            if std::mem::replace(&mut changed[at], byte) != byte {
                assert!(decode(&changed, &keys()).is_err(), "byte {at} as {byte}");
            }
        }
    }
}

#[test]
fn nothing_can_be_added_or_left_out() {
    let packet = packet();
    for at in 0..=packet.len() {
        for byte in *b"A=\n\0 _-" {
            let mut longer = packet.clone().into_bytes();
            longer.insert(at, byte);
            assert!(decode(&longer, &keys()).is_err(), "byte {at} as {byte}");
        }
        assert!(at == packet.len() || decode(&packet.as_bytes()[..at], &keys()).is_err(), "{at} bytes");
        assert!(at == 0 || decode(&packet.as_bytes()[at..], &keys()).is_err(), "from byte {at}");
    }
    for end in ["=", "==", "\n", "\r\n", "\0", "AAAA"] {
        assert!(decode((packet.clone() + end).as_bytes(), &keys()).is_err(), "{end:?}");
    }
}

/// libfko adds what is missing, and so reads it with and without: a captured packet with it had another hash.
#[test]
fn what_is_left_out_cannot_be_put_back() {
    let whole = super::super::sealing::PREFIX.to_owned() + &packet();
    assert_eq!(decode(whole.as_bytes(), &keys()), Err(Refusal::Prefixed));
}

/// The last character of an HMAC of SHA-256 has two bits that mean nothing: three more characters would decode to the
/// same.
#[test]
fn the_hmac_has_one_form() {
    let packet = packet();
    let (start, last) = packet.split_at(packet.len() - 1);
    let accepted: Vec<_> = ('0'..='9')
        .chain('A'..='Z')
        .chain('a'..='z')
        .chain(['+', '/'])
        .filter(|last| {
            let mut changed = start.to_owned();
            changed.push(*last);
            decode(changed.as_bytes(), &keys()).is_ok()
        })
        .collect();
    assert_eq!(accepted, last.chars().collect::<Vec<_>>());
}

/// The HMAC of one length is nothing by another's rule.
#[test]
fn a_shorter_hmac_does_not_do_for_a_longer() {
    let text = encrypted(digested(CONTENT).as_bytes(), KEY, *b"saltsalt");
    let long = authenticated::<Hmac<Sha512>>(&text, HMAC_KEY);
    for cut in 1..86 {
        assert!(decode(&long.as_bytes()[..long.len() - cut], &keys()).is_err(), "{cut} characters less");
    }
}

/// Who has the keys can seal the same again, with another salt, hash, version or HMAC: it is the same request.
#[test]
fn another_envelope_is_the_same_request() {
    use base64ct::{Base64Unpadded, Encoding};
    use sha2::Digest;
    let longer = Base64Unpadded::encode_string(&Sha512::digest(CONTENT));
    let texts =
        [digested(CONTENT), digested(&CONTENT.replace("3.0.0", "2.0.2")), format!("{CONTENT}:{longer}")];
    let expected = read(CONTENT).unwrap().identity;
    for text in &texts {
        for salt in [[0; 8], [0xff; 8]] {
            let packet = authenticated::<Hmac<Sha384>>(&encrypted(text.as_bytes(), KEY, salt), HMAC_KEY);
            assert_eq!(decode(packet.as_bytes(), &keys()).unwrap().identity, expected);
        }
    }
}

/// The text itself has one form for each content.
#[test]
fn another_text_is_another_request_or_refused() {
    let known = read(CONTENT).unwrap();
    let refused = [
        ("cm9vdA", "cm9vdB"),
        ("cm9vdA", "cm9vdA=="),
        ("LzIy", "LzIy="),
        ("1795544065", "01795544065"),
        ("1795544065", "+1795544065"),
        (":1:", ":01:"),
        (":1:", ":7:"),
    ];
    for (from, to) in refused {
        assert!(read(&CONTENT.replace(from, to)).is_err(), "{to}");
    }
    for message in
        ["10.0.0.01,tcp/22", "10.0.0.1,tcp/022", "10.0.0.1,TCP/22", "10.0.0.1,tcp/22,", "10.0.0.1, tcp/22"]
    {
        assert!(read(&asking("root", message)).is_err(), "{message}");
    }
    let others = [
        CONTENT.replace("1138851009919870", "1138851009919871"),
        CONTENT.replace("1795544065", "1795544066"),
        asking("toor", "10.0.0.1,tcp/22"),
        asking("root", "10.0.0.2,tcp/22"),
        asking("root", "0.0.0.0,tcp/22"),
        asking("root", "10.0.0.1,udp/22"),
        asking("root", "10.0.0.1,tcp/23"),
        asking("root", "10.0.0.1,tcp/22,tcp/22"),
        CONTENT.replace(":1:", ":3:") + ":1",
    ];
    let mut identities = vec![known.identity];
    for other in others {
        let identity = read(&other).unwrap().identity;
        assert!(!identities.contains(&identity), "{other}");
        identities.push(identity);
    }
}
