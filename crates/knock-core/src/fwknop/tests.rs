//! Packets made up here: what is in them, what is refused, and in which other forms they could come.
//! Those of the real client are looked at in `tests/fwknop.rs`.

mod forms;
mod keys;
mod refusals;

use hmac::Hmac;
use sha2::{Sha384, Sha512};

use super::sealing::{authenticated, digested, encrypted, sealed};
use super::{Allow, FwknopKeys, Knock, Refusal, decode};
use crate::knock::Protocol;

const KEY: &[u8] = b"a key of the cipher";
const HMAC_KEY: &[u8] = b"a key of the HMAC";
/// `root` asks for `10.0.0.1,tcp/22`.
const CONTENT: &str = "1138851009919870:cm9vdA:1795544065:3.0.0:1:MTAuMC4wLjEsdGNwLzIy";

fn keys() -> FwknopKeys {
    let line = |name: &[u8], key| [name, b"_BASE64: ", base64(key).as_bytes(), b"\n"].concat();
    FwknopKeys::parse(&line(b"KEY", KEY), &line(b"HMAC_KEY", HMAC_KEY)).unwrap()
}

fn base64(bytes: impl AsRef<[u8]>) -> String {
    use base64ct::{Base64Unpadded, Encoding};
    Base64Unpadded::encode_string(bytes.as_ref())
}

fn packet() -> String {
    packet_of(CONTENT)
}

fn packet_of(content: &str) -> String {
    sealed(digested(content).as_bytes(), KEY, HMAC_KEY)
}

fn read(content: &str) -> Result<Knock, Refusal> {
    decode(packet_of(content).as_bytes(), &keys())
}

/// A text that asks for this.
fn asking(user: &str, message: &str) -> String {
    format!("1138851009919870:{}:1795544065:3.0.0:1:{}", base64(user), base64(message))
}

#[test]
fn a_packet_is_read() {
    let knock = read(CONTENT).unwrap();
    assert_eq!((knock.user.as_str(), knock.time, knock.timeout), ("root", 1_795_544_065, None));
    assert_eq!(knock.allow, Allow::Address("10.0.0.1".parse().unwrap()));
    assert_eq!(knock.accesses, [(Protocol::Tcp, 22)]);
}

#[test]
fn a_packet_made_by_fwknop_is_read() {
    // By fwknop 2.6.10.
    let packet = "90SSi2sAhaCz38sTXLYCsFSGyG0FsD5p6rR5XN8UvgN5RjZpS9QJpW4LS+DLTRnXxYLPF6GIDJ6KjKmpg9Mg41q09zYIRYJ76cGnOGkG\
                  L7WPKwvfH+EnbT7O3JY8jNPef/AdTVXjJ+XaTGFJk0lXjuNneLR08vmwo6DvRRi1lUIAwOhOnNksIP09LaiOkJ1oGgpRHDbIIYAo";
    let keys = FwknopKeys::parse(b"KEY my\n", b"HMAC_KEY hmac\n").unwrap();
    assert_eq!(decode(packet.as_bytes(), &keys), read(CONTENT));
}

#[test]
fn what_no_packet_says_is_known() {
    let knock = read(CONTENT).unwrap();
    assert!(knock.is_possible());
    for user in ["", "a\nb", "a:b", "\u{1b}[2J", &"a".repeat(49)] {
        assert!(!Knock { user: user.into(), ..knock.clone() }.is_possible(), "{user:?}");
    }
    assert!(!Knock { accesses: Vec::new(), ..knock.clone() }.is_possible());
    assert!(!Knock { accesses: knock.accesses.repeat(1000), ..knock.clone() }.is_possible());
    assert!(!Knock { timeout: Some(0), ..knock }.is_possible());
}

#[test]
fn the_source_and_more_ports_may_be_asked_for() {
    let knock = read(&asking("J. S", "0.0.0.0,udp/53,tcp/65535,tcp/1")).unwrap();
    assert_eq!((knock.user.as_str(), knock.allow), ("J. S", Allow::Source));
    assert_eq!(knock.accesses, [(Protocol::Udp, 53), (Protocol::Tcp, 65535), (Protocol::Tcp, 1)]);
}

#[test]
fn a_time_may_be_asked_for() {
    let with = |timeout: &str| read(&format!("{}:{timeout}", CONTENT.replace(":1:", ":3:")));
    assert_eq!(with("60").unwrap().timeout, Some(60));
    assert_eq!(with("65536").unwrap().timeout, Some(65536));
}

#[test]
fn every_version_of_fwknop_2_6_is_read() {
    for version in ["2.0", "2.0.1", "2.0.2", "3.0.0"] {
        let knock = read(&CONTENT.replace("3.0.0", version));
        assert_eq!(knock, read(CONTENT), "{version}");
    }
}

#[test]
fn every_strong_hmac_is_found_at_every_length() {
    // More ports, so that the text has every length of a block.
    for ports in 1..20 {
        let message = "10.0.0.1".to_owned() + &",tcp/22".repeat(ports);
        let text = encrypted(digested(&asking("root", &message)).as_bytes(), KEY, [0xff; 8]);
        let packets = [
            authenticated::<Hmac<sha2::Sha256>>(&text, HMAC_KEY),
            authenticated::<Hmac<Sha384>>(&text, HMAC_KEY),
            authenticated::<Hmac<Sha512>>(&text, HMAC_KEY),
        ];
        for packet in packets {
            assert_eq!(decode(packet.as_bytes(), &keys()).unwrap().accesses.len(), ports);
        }
    }
}
