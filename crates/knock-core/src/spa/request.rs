//! What a knock asks for, as the bytes that are sealed.
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | version, 1 |
//! | 1 | flags, 0 |
//! | 8 | the client's time: nanoseconds since 1970, UTC |
//! | 4 | for how long, in seconds; 0 leaves it to the door |
//! | 1 | kind of the address: 0 the packet's own, 4 or 6 the one that follows |
//! | 16 | the address; IPv4 in the first four |
//! | 1 + 32 | length of the door's name, and the name |
//! | 32 | SHA-256 of the user's public key, as SSH writes it |
//! | 2 | length of the signature |
//! | 158 | the signature as SSH writes it |
//!
//! Numbers are big-endian, and all that is not used is zero.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::signature::Fingerprint;
use crate::packet::is_host;

/// How long what is sealed is.
pub(super) const CONTENT: usize = 256;
/// How much of that is signed.
pub(super) const SIGNED: usize = 96;
/// The longest name of a door, in bytes.
pub const MAX_DOOR_NAME: usize = 32;

const VERSION: u8 = 1;

/// What a knock asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it was made: nanoseconds since 1970, UTC.
    pub time: u64,
    /// For how long the door is to be open, in whole seconds; `None` for the door's own time.
    pub lasts: Option<Duration>,
    /// Whom it is to be opened for.
    pub address: Address,
    /// The door's name, at most [`MAX_DOOR_NAME`] bytes.
    pub door: String,
    /// The key that has signed it.
    pub key: Fingerprint,
}

/// Whom a door is to be opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// The address that the packet comes from: whoever can change packets on their way can make it another.
    Source,
    /// This one, which stands in what is signed.
    Stated(IpAddr),
}

/// What no client writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(
    /// What was found.
    pub &'static str,
);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

impl Request {
    /// Nothing is cut short: what the server would not read as it was meant is refused here.
    pub(super) fn to_bytes(&self) -> Result<[u8; SIGNED], Malformed> {
        let lasts = self.lasts.map_or(Ok(0), seconds)?;
        let (kind, address) = match self.address {
            Address::Source => (0, [0; 16]),
            Address::Stated(IpAddr::V4(address)) => (4, padded(&address.octets())),
            Address::Stated(IpAddr::V6(address)) => (6, address.octets()),
        };
        check_address(self.address)?;
        let name = check_name(&self.door)?.as_bytes();
        let parts: [&[u8]; 8] = [
            &[VERSION, 0],
            &self.time.to_be_bytes(),
            &lasts.to_be_bytes(),
            &[kind],
            &address,
            &[name.len() as u8],
            &padded::<MAX_DOOR_NAME>(name),
            &self.key.0,
        ];
        Ok(padded(&parts.concat()))
    }
}

fn seconds(lasts: Duration) -> Result<u32, Malformed> {
    let seconds = u32::try_from(lasts.as_secs()).ok().filter(|_| lasts.subsec_nanos() == 0);
    seconds
        .filter(|seconds| *seconds != 0)
        .ok_or(Malformed("the time it asks for is not one of whole seconds, from 1 to 4294967295"))
}

/// The bytes and zeros behind them.
fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(bytes) {
        *to = *from;
    }
    out
}

/// What is sealed: a request with its signature.
pub(super) fn content(request: &[u8; SIGNED], signature: &[u8]) -> Result<[u8; CONTENT], Malformed> {
    if signature.len() > CONTENT - SIGNED - 2 {
        return Err(Malformed("the signature is too long for a knock"));
    }
    let length = signature.len() as u16;
    Ok(padded(&[&request[..], &length.to_be_bytes(), signature].concat()))
}

/// The request and the signature in what was sealed.
pub(super) fn read(content: &[u8]) -> Result<(Request, &[u8]), Malformed> {
    let content: &[u8; CONTENT] = content.try_into().map_err(|_| Malformed("it has another length"))?;
    let mut rest = Rest(content);
    let [version, flags] = rest.take()?;
    if version != VERSION {
        return Err(Malformed("it is of another version: client and server do not fit together"));
    }
    if flags != 0 {
        return Err(Malformed("it has flags that mean nothing"));
    }
    let time = u64::from_be_bytes(rest.take()?);
    let lasts = u32::from_be_bytes(rest.take()?);
    let [kind] = rest.take()?;
    let address = address(kind, rest.take()?)?;
    let [length] = rest.take()?;
    let door = name(usize::from(length), &rest.take()?)?;
    let key = Fingerprint(rest.take()?);
    let length = usize::from(u16::from_be_bytes(rest.take()?));
    let (signature, padding) =
        rest.0.split_at_checked(length).ok_or(Malformed("its signature is longer than it"))?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(Malformed("something stands behind its signature"));
    }
    let lasts = (lasts != 0).then(|| Duration::from_secs(lasts.into()));
    Ok((Request { time, lasts, address, door, key }, signature))
}

/// What is still to be read.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(*taken)
    }
}

fn address(kind: u8, bytes: [u8; 16]) -> Result<Address, Malformed> {
    let (first, rest) = bytes.split_first_chunk::<4>().ok_or(Malformed("it ends too early"))?;
    let zero = rest.iter().all(|byte| *byte == 0);
    let address = match kind {
        0 if zero && *first == [0; 4] => Address::Source,
        4 if zero => Address::Stated(Ipv4Addr::from(*first).into()),
        6 => Address::Stated(Ipv6Addr::from(bytes).into()),
        _ => return Err(Malformed("its address is none")),
    };
    check_address(address)
}

/// What is no host's some firewall or command may take for everybody's.
fn check_address(address: Address) -> Result<Address, Malformed> {
    match address {
        Address::Stated(stated) if !is_host(stated) => {
            Err(Malformed("its address is one that no packet comes from"))
        }
        address => Ok(address),
    }
}

fn name(length: usize, bytes: &[u8; MAX_DOOR_NAME]) -> Result<String, Malformed> {
    let (name, padding) = bytes.split_at_checked(length).ok_or(NO_NAME)?;
    if padding.iter().any(|byte| *byte != 0) {
        return Err(NO_NAME);
    }
    check_name(str::from_utf8(name).map_err(|_| NO_NAME)?).map(ToOwned::to_owned)
}

const NO_NAME: Malformed = Malformed("its door's name is none: 1 to 32 bytes of text are expected");

fn check_name(name: &str) -> Result<&str, Malformed> {
    let fits = (1..=MAX_DOOR_NAME).contains(&name.len()) && !name.contains(char::is_control);
    if fits { Ok(name) } else { Err(NO_NAME) }
}
