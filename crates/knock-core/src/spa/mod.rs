//! Single packet authorization: one authenticated datagram instead of a sequence.
//!
//! ```text
//! client: request ─► signed with the user's SSH key ─► sealed to the server's knock key ─► gate ─► 320 bytes by UDP
//! server: 320 bytes ─► gate ─► opened ─► key, time, signature, door, address ─► written down ─► opening
//! ```
//!
//! `docs/spa-protocol.md` describes every byte, and what it is good against.

mod authorized_keys;
mod budget;
mod datagram;
mod enrolment;
mod host_key;
mod refusal;
mod request;
mod signature;
mod verdict;

use std::time::Duration;

pub use authorized_keys::{AuthorizedKey, Civil, From, KeyFile, MAX_KEYS, read_keys};
pub use budget::{Budget, REMEMBERED};
pub use datagram::{LENGTH, Opened, Sealing, Unsealed, encapsulated, gate, open, passes_gate};
pub use enrolment::{Enrolment, SCHEME};
pub use host_key::{BadKey, HostKey, HostPublicKey};
pub use refusal::Refusal;
pub use request::{Address, MAX_DOOR_NAME, Malformed, Request};
pub use signature::{Fingerprint, NAMESPACE, SshKey, Supported, sign, unsupported};
pub use verdict::{Admitted, Claim, DoorRules, check_time, judge};

/// The UDP port that knocks go to where nothing else is said: fwknop's.
pub const DEFAULT_PORT: u16 = 62_201;

/// The file of the server's knock key where nothing else is said.
pub const HOST_KEY_FILE: &str = "/etc/knockd/host_key";

/// How far a knock's time may be from the server's, either way.
pub const WINDOW: Duration = crate::ledger::WINDOW;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
