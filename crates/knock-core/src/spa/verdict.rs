//! Whether an opened knock opens its door.

use std::net::IpAddr;
use std::time::Duration;

use super::WINDOW;
use super::authorized_keys::AuthorizedKey;
use super::datagram::Opened;
use super::host_key::HostPublicKey;
use super::refusal::Refusal;
use super::request::{Address, Request};
use super::signature::{Fingerprint, Token};

/// What of a door decides.
#[derive(Clone, Copy, Debug)]
pub struct DoorRules<'a> {
    /// Who may knock.
    pub keys: &'a [AuthorizedKey],
    /// `address = match`: the knock states the address that it comes from.
    pub address_must_match: bool,
}

/// A knock whose maker may open this door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Whose key it is: the name in the file.
    pub name: String,
    /// The key.
    pub key: Fingerprint,
    /// When it was made: nanoseconds since 1970, UTC.
    pub time: u64,
    /// Whom the door is to be opened for.
    pub address: IpAddr,
    lasts: Option<Duration>,
    max_open: Option<Duration>,
}

impl Admitted {
    /// For how long the door is to be open, where it is open for `own` by itself: what was asked, but no longer than the
    /// key may, or where nothing is said of that than the door is by itself.
    pub fn time_open(&self, own: Option<Duration>) -> Option<Duration> {
        let most = self.max_open.or(own);
        let asked = self.lasts.or(own);
        [most, asked].into_iter().flatten().min()
    }
}

/// Judges an opened knock from `source`; `now` is the server's time in nanoseconds since 1970, UTC. Whether it was used
/// before is for the [ledger](crate::ledger) to say.
///
/// # Errors
/// Why it opens nothing.
pub fn judge<'a>(
    opened: &Opened,
    host: &HostPublicKey,
    source: IpAddr,
    rules: impl FnOnce(&str) -> Option<DoorRules<'a>>,
    now: u64,
) -> Result<(String, Admitted), Refusal> {
    Claim::of(opened, rules, now)?.prove(host, source)
}

/// A knock of which everything is right that costs nothing to see. Whoever knows a user's public key can make one.
#[derive(Debug)]
pub struct Claim<'o, 'a> {
    opened: &'o Opened,
    request: Request,
    signature: &'o [u8],
    key: &'a AuthorizedKey,
    address_must_match: bool,
}

impl<'o, 'a> Claim<'o, 'a> {
    /// What an opened knock claims; the server's time is `now`, in nanoseconds since 1970, UTC.
    ///
    /// # Errors
    /// Why it opens nothing.
    pub fn of(
        opened: &'o Opened,
        rules: impl FnOnce(&str) -> Option<DoorRules<'a>>,
        now: u64,
    ) -> Result<Self, Refusal> {
        let (request, signature) =
            opened.read().map_err(|malformed| Refusal::Malformed(malformed.to_string()))?;
        let Some(rules) = rules(&request.door) else { return Err(Refusal::NoSuchDoor(request.door)) };
        let Some(key) = rules.keys.iter().find(|key| key.key.fingerprint() == request.key) else {
            return Err(Refusal::UnknownKey(request.key));
        };
        let seconds = i64::try_from(now / 1_000_000_000).unwrap_or(i64::MAX);
        if key.until.is_some_and(|until| until <= seconds) {
            return Err(Refusal::Expired(request.key));
        }
        check_time(request.time, now)?;
        Ok(Self { opened, request, signature, key, address_must_match: rules.address_must_match })
    }

    /// Whether the key's owner has made it, and may open the door with it from `source`; it was sealed to `host`. That costs
    /// as much as some opened seals.
    ///
    /// # Errors
    /// Why it opens nothing.
    pub fn prove(self, host: &HostPublicKey, source: IpAddr) -> Result<(String, Admitted), Refusal> {
        let Self { opened, request, signature, key, address_must_match } = self;
        let token = key.key.has_signed(&opened.signed(host), signature);
        check_owner(key, token.ok_or(Refusal::Signature(request.key))?, &request)?;
        let address = address(key, &request, source, address_must_match)?;
        let admitted = Admitted {
            name: key.name.clone(),
            key: request.key,
            time: request.time,
            address,
            lasts: request.lasts,
            max_open: key.max_open,
        };
        Ok((request.door, admitted))
    }
}

/// Whether the time at which a knock was made is near enough to the server's; both in nanoseconds since 1970, UTC.
///
/// # Errors
/// By how much it is not.
pub fn check_time(time: u64, now: u64) -> Result<(), Refusal> {
    let by = Duration::from_nanos(time.abs_diff(now));
    if by > WINDOW { Err(Refusal::Clock { ahead: time > now, by }) } else { Ok(()) }
}

fn check_owner(key: &AuthorizedKey, token: Token, request: &Request) -> Result<(), Refusal> {
    let name = || key.name.clone();
    if key.touch && !token.touched {
        return Err(Refusal::Untouched(name()));
    }
    if key.verify && !token.verified {
        return Err(Refusal::Unverified(name()));
    }
    if !key.opens(&request.door) {
        return Err(Refusal::NotForDoor(name()));
    }
    Ok(())
}

fn address(
    key: &AuthorizedKey,
    request: &Request,
    source: IpAddr,
    must_match: bool,
) -> Result<IpAddr, Refusal> {
    let (address, matches) = match request.address {
        Address::Source => (source, false),
        Address::Stated(stated) => (stated, stated == source),
    };
    if must_match && !matches {
        let stated = (request.address != Address::Source).then_some(address);
        return Err(Refusal::Address { name: key.name.clone(), stated });
    }
    let elsewhere = [source, address].into_iter().find(|address| !key.comes_from(*address));
    match elsewhere {
        Some(elsewhere) => Err(Refusal::NotFrom(key.name.clone(), elsewhere)),
        None => Ok(address),
    }
}
