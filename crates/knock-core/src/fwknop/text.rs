//! What is in a packet, decrypted.
//!
//! Each value has one way to be written, so that what is accepted twice would read the same twice: no zeros before a
//! number, no base64 whose last bits mean nothing and are not zero.

use std::net::Ipv4Addr;

use base64ct::{Base64Unpadded, Encoding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::refusal::{Field, Refusal};
use crate::knock::Protocol;

/// What libfko accepts, in characters: of a field in base64 as it stands there.
const LONGEST_USER: usize = 64;
const LONGEST_MESSAGE: usize = 256;
const RANDOM: usize = 16;
/// Longer nobody can ask for, in seconds.
const LONGEST_TIMEOUT: u32 = 65_536;
/// How much of a refused value goes into the log.
const QUOTED: usize = 16;

/// A request to open ports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Knock {
    /// Who the client says that it is: 1 to 48 characters of printable ASCII. It proves nothing.
    pub user: String,
    /// When it was made by the client's clock, in seconds since 1970.
    pub time: u64,
    /// For whom it is.
    pub allow: Allow,
    /// The ports that are asked for, at least one; in the client's order.
    pub accesses: Vec<(Protocol, u16)>,
    /// For how long, in seconds, 1 to 65,536; nothing if it is left to the server.
    pub timeout: Option<u32>,
    /// A hash of all of the above and of the packet's random number: by it a packet that comes again is known, in whatever
    /// form.
    pub identity: [u8; 16],
}

impl Knock {
    /// Whether [`decode_text`] can have made it, as far as that can be seen: for what another process says.
    pub fn is_possible(&self) -> bool {
        let is_timeout = |seconds| (1..=LONGEST_TIMEOUT).contains(&seconds);
        is_user(&self.user)
            && (1..=LONGEST_MESSAGE).contains(&self.accesses.len())
            && self.timeout.is_none_or(is_timeout)
    }
}

/// Whom a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Allow {
    /// Whoever the packet comes from (`fwknop -s`). Somebody on the way can take it for another address, once.
    Source,
    /// This address, which is authentic. fwknop's clients know only IPv4 here.
    Address(Ipv4Addr),
}

/// Reads the decrypted text of a packet. It must be authentic already: [`decode`](super::decode) sees to that.
///
/// # Errors
/// Why it is not accepted.
pub fn decode_text(text: &[u8]) -> Result<Knock, Refusal> {
    let content = readable(text).ok_or(Refusal::Undecipherable)?;
    let (content, digest) = content.rsplit_once(':').ok_or(Refusal::Undecipherable)?;
    verify_digest(content, digest)?;
    let mut fields = content.split(':');
    let mut next = |field| fields.next().ok_or(Refusal::Malformed(field));
    let random = next(Field::Random)?;
    let (user, time) = (next(Field::User)?, next(Field::Time)?);
    // These two say how all else is to be read.
    understood(next(Field::Type)?)?;
    let has_timeout = has_timeout(next(Field::Type)?)?;
    let user = user_of(user)?;
    let time = number(time).ok_or(Refusal::Malformed(Field::Time))?;
    let (allow, accesses) = message(next(Field::Message)?)?;
    let timeout = if has_timeout { Some(timeout(next(Field::Timeout)?)?) } else { None };
    if fields.next().is_some() {
        return Err(Refusal::ServerAuth);
    }
    let mut knock = Knock { user, time, allow, accesses, timeout, identity: [0; 16] };
    knock.identity = identity(random, &knock);
    Ok(knock)
}

/// Text of fwknop's begins with 16 digits; anything else comes from another key or another mode of encryption.
fn readable(text: &[u8]) -> Option<&str> {
    let (random, rest) = text.split_at_checked(RANDOM)?;
    let is_readable = random.iter().all(u8::is_ascii_digit)
        && rest.first() == Some(&b':')
        && rest.iter().all(u8::is_ascii_graphic);
    if is_readable { str::from_utf8(text).ok() } else { None }
}

/// The digest has no key: it protects from nothing that the HMAC does not. But clients send it, and a wrong one says that
/// something is not understood.
fn verify_digest(content: &str, digest: &str) -> Result<(), Refusal> {
    let expected = match digest.len() {
        22 => return Err(Refusal::WeakDigest("MD5")),
        27 => return Err(Refusal::WeakDigest("SHA-1")),
        43 => Base64Unpadded::encode_string(&Sha256::digest(content)),
        64 => Base64Unpadded::encode_string(&Sha384::digest(content)),
        86 => Base64Unpadded::encode_string(&Sha512::digest(content)),
        _ => return Err(Refusal::Malformed(Field::Digest)),
    };
    if digest == expected { Ok(()) } else { Err(Refusal::WrongDigest) }
}

/// fwknop 2.6 says 2.0.1, 2.0.2 or 3.0.0, by its age; what it sends is the same.
fn understood(version: &str) -> Result<(), Refusal> {
    let is = |series: &str| {
        version.strip_prefix(series).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    if is("2.0") || is("3.0") { Ok(()) } else { Err(Refusal::Version(quoted(version))) }
}

fn has_timeout(kind: &str) -> Result<bool, Refusal> {
    match kind {
        "0" => Err(Refusal::Command),
        "1" => Ok(false),
        "3" => Ok(true),
        "2" | "4" | "5" | "6" => Err(Refusal::Nat),
        _ => Err(Refusal::Malformed(Field::Type)),
    }
}

fn user_of(field: &str) -> Result<String, Refusal> {
    plain(field, LONGEST_USER).filter(|user| is_user(user)).ok_or(Refusal::Malformed(Field::User))
}

/// As long as the field can hold, without the characters that libfko forbids.
fn is_user(user: &str) -> bool {
    let is_good = |c: char| is_plain(c) && !"\"/\\[]:;|=,+*?<>".contains(c);
    (1..=LONGEST_USER / 4 * 3).contains(&user.len()) && user.chars().all(is_good)
}

/// `ADDRESS,tcp/PORT[,udp/PORT…]`.
fn message(field: &str) -> Result<(Allow, Vec<(Protocol, u16)>), Refusal> {
    const MALFORMED: Refusal = Refusal::Malformed(Field::Message);
    let message = plain(field, LONGEST_MESSAGE).ok_or(MALFORMED)?;
    let (address, accesses) = message.split_once(',').ok_or(MALFORMED)?;
    let allow = allow(address).ok_or(MALFORMED)?;
    let accesses = accesses.split(',').map(access).collect::<Result<_, _>>()?;
    Ok((allow, accesses))
}

fn allow(address: &str) -> Option<Allow> {
    let address: Ipv4Addr = address.parse().ok()?;
    match address.octets() {
        [0, 0, 0, 0] => Some(Allow::Source),
        [1..=223, ..] => Some(Allow::Address(address)),
        _ => None,
    }
}

fn access(access: &str) -> Result<(Protocol, u16), Refusal> {
    let (protocol, port) = access.split_once('/').ok_or(Refusal::Malformed(Field::Message))?;
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err(Refusal::Protocol(quoted(access))),
    };
    let port = number(port).filter(|port| *port != 0).and_then(|port| u16::try_from(port).ok());
    Ok((protocol, port.ok_or(Refusal::Malformed(Field::Message))?))
}

fn timeout(field: &str) -> Result<u32, Refusal> {
    let seconds = number(field).and_then(|seconds| u32::try_from(seconds).ok());
    let seconds = seconds.filter(|seconds| (1..=LONGEST_TIMEOUT).contains(seconds));
    seconds.ok_or(Refusal::Malformed(Field::Timeout))
}

/// A field in base64, as printable text.
fn plain(field: &str, longest: usize) -> Option<String> {
    if field.len() > longest {
        return None;
    }
    let text = String::from_utf8(Base64Unpadded::decode_vec(field).ok()?).ok()?;
    text.chars().all(is_plain).then_some(text)
}

const fn is_plain(c: char) -> bool {
    c == ' ' || c.is_ascii_graphic()
}

/// Digits alone, and no zero before others.
fn number(digits: &str) -> Option<u64> {
    let is_plain = digits == "0" || !digits.starts_with('0');
    if is_plain && digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn quoted(value: &str) -> String {
    value.chars().take(QUOTED).collect()
}

/// Every part has its length, or a length before it: no two contents are hashed alike.
fn identity(random: &str, knock: &Knock) -> [u8; 16] {
    let mut hash = Sha256::new_with_prefix(b"toctoc fwknop packet v1\0");
    hash.update(random);
    hash.update((knock.user.len() as u64).to_be_bytes());
    hash.update(&knock.user);
    hash.update(knock.time.to_be_bytes());
    hash.update(knock.timeout.unwrap_or(0).to_be_bytes());
    hash.update(match knock.allow {
        Allow::Source => Ipv4Addr::UNSPECIFIED.octets(),
        Allow::Address(address) => address.octets(),
    });
    for (protocol, port) in &knock.accesses {
        hash.update([protocol.number()]);
        hash.update(port.to_be_bytes());
    }
    let hash: [u8; 32] = hash.finalize().into();
    let [identity, _] = *hash.as_chunks().0 else { unreachable!("32 bytes are twice 16") };
    identity
}
