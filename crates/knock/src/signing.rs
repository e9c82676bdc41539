//! What an SSH key signs becomes the datagram that is sent.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use knock_core::spa::{Address, LENGTH, Request, Sealing, WINDOW};

use crate::clock;
use crate::error::Error;
use crate::keys::{Found, Signer, find};
use crate::request::{Signed, Whom};
use crate::send::Unsent;

/// The key that signs, ready.
///
/// # Errors
/// Where there is none, or where this machine's clock is so wrong that no knock would be good.
pub(crate) fn signer(signed: &Signed) -> Result<Signer, Error> {
    clock::nanoseconds(SystemTime::now())?;
    let found = find(&signed.identity, signed.agent.as_deref());
    found.and_then(Found::into_signer).map_err(Error::Key)
}

/// A knock of now; `own` says from which address it is sent.
///
/// # Errors
/// Where it cannot be signed or sealed, or where there is no way to the server.
pub(crate) fn datagram(
    signed: &Signed,
    signer: &Signer,
    own: impl FnOnce() -> Result<IpAddr, Unsent>,
) -> Result<[u8; LENGTH], Error> {
    let address = match signed.address {
        Whom::Seen => Address::Source,
        Whom::Own => Address::Stated(own()?),
        Whom::Stated(address) => Address::Stated(address),
    };
    let time = clock::nanoseconds(SystemTime::now())?;
    sealed(signed, signer, address, time).map_err(Error::Key)
}

fn sealed(signed: &Signed, signer: &Signer, address: Address, time: u64) -> Result<[u8; LENGTH], String> {
    let Signed { door, lasts, server, .. } = signed;
    let request =
        Request { time, lasts: *lasts, address, door: door.clone(), key: signer.key().fingerprint() };
    let begun = Instant::now();
    let sealing = Sealing::begin(&request, server, random()?).map_err(|bad| format!("host_key: {bad}"))?;
    let signature = signer.sign(&sealing.to_sign())?;
    check_age(begun.elapsed())?;
    sealing.finish(&signature).map_err(|malformed| malformed.to_string())
}

fn random() -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| format!("the system has no random numbers: {error}"))?;
    Ok(bytes)
}

/// Somebody may have gone to fetch the token.
fn check_age(age: Duration) -> Result<(), String> {
    if age < WINDOW {
        return Ok(());
    }
    let (age, window) = (age.as_secs(), WINDOW.as_secs());
    Err(format!("it took {age} s to sign the knock, which is good for {window} s only: knock again"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_too_long_is_not_sent() {
        assert_eq!(check_age(Duration::from_secs(119)), Ok(()));
        assert!(check_age(WINDOW).unwrap_err().starts_with("it took 120 s to sign the knock"));
    }
}
