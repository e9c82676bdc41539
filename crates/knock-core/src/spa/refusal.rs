//! Why a knock opens nothing.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use super::WINDOW;
use super::request::MAX_DOOR_NAME;
use super::signature::Fingerprint;
use serde::{Deserialize, Serialize};

/// Why a knock opens nothing. Those before [`Refusal::is_authentic`] somebody may have made up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Too many from there, or in all, to look at each.
    TooMany,
    /// The gate is right but it was not sealed to this server's key, or was changed on its way.
    Unsealed,
    /// It is no packet of fwknop's that this server accepts.
    Fwknop {
        /// It was made with the door's key.
        authentic: bool,
        /// In words.
        why: String,
    },
    /// What was sealed is no request.
    Malformed(String),
    /// No door with keys has this name.
    NoSuchDoor(String),
    /// The door does not know this key.
    UnknownKey(Fingerprint),
    /// The key is known no longer.
    Expired(Fingerprint),
    /// The client's clock and the server's differ.
    Clock {
        /// The client's is ahead.
        ahead: bool,
        /// By so much.
        by: Duration,
    },
    /// This very knock was used before.
    Used,
    /// It is older than what is remembered of this key's knocks.
    TooOld,
    /// The key has not made this signature.
    Signature(Fingerprint),
    /// The token was not touched.
    Untouched(String),
    /// The token did not know whom by it was touched.
    Unverified(String),
    /// The key is not for this door.
    NotForDoor(String),
    /// The key is not for this address.
    NotFrom(String, IpAddr),
    /// The door is not for this address.
    NotAllowed(String, IpAddr),
    /// It went to this address, at which the door is not knocked at.
    Elsewhere(String, IpAddr),
    /// It asks for this port, which the door does not open.
    Port(String, String),
    /// The door opens for stated addresses only, which are the packet's own.
    Address {
        /// Whose key it is.
        name: String,
        /// What was stated.
        stated: Option<IpAddr>,
    },
}

/// How much is told of why, in characters.
const LONGEST: usize = 300;

impl Refusal {
    /// One word for each reason, for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::Unsealed => "unsealed",
            Self::Fwknop { .. } => "fwknop",
            Self::Malformed(_) => "malformed",
            Self::NoSuchDoor(_) => "no_such_door",
            Self::UnknownKey(_) => "unknown_key",
            Self::Expired(_) => "expired",
            Self::Clock { .. } => "clock",
            Self::Used => "used",
            Self::TooOld => "too_old",
            Self::Signature(_) => "signature",
            Self::Untouched(_) => "untouched",
            Self::Unverified(_) => "unverified",
            Self::NotForDoor(_) => "not_for_door",
            Self::NotFrom(..) => "not_from",
            Self::NotAllowed(..) => "not_allowed",
            Self::Elsewhere(..) => "elsewhere",
            Self::Port(..) => "port",
            Self::Address { .. } => "address",
        }
    }

    /// Whether the key's owner has made the knock.
    pub const fn is_authentic(&self) -> bool {
        matches!(self, Self::Fwknop { authentic: true, .. }) || self.user().is_some()
    }

    /// Whose knock it is, where that is certain.
    pub const fn user(&self) -> Option<&String> {
        match self {
            Self::Untouched(name)
            | Self::Unverified(name)
            | Self::NotForDoor(name)
            | Self::NotFrom(name, _)
            | Self::NotAllowed(name, _)
            | Self::Elsewhere(name, _)
            | Self::Port(name, _)
            | Self::Address { name, .. } => Some(name),
            _ => None,
        }
    }

    /// As short as an honest one is: what a stranger wrote fills no log.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        let longest = if matches!(self, Self::NoSuchDoor(_)) { MAX_DOOR_NAME } else { LONGEST };
        if let Self::Malformed(text) | Self::NoSuchDoor(text) | Self::Fwknop { why: text, .. } = &mut self {
            *text = text.chars().filter(|c| !c.is_control()).take(longest).collect();
        }
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooMany => f.write_str("too many knocks to look at this one"),
            Self::Unsealed => {
                f.write_str("it was not sealed to this server's key, or was changed on its way: does the client have the key that knockctl host-key prints?")
            }
            Self::Fwknop { why, .. } => f.write_str(why),
            Self::Malformed(what) => write!(f, "no request: {what}"),
            Self::NoSuchDoor(door) => write!(f, "no door with keys is called {door:?}"),
            Self::UnknownKey(key) => write!(f, "the door does not know the key {key}"),
            Self::Expired(key) => write!(f, "the time of the key {key} is over (expiry-time)"),
            Self::Clock { ahead, by } => {
                let than = if *ahead { "ahead of" } else { "behind" };
                let (by, window) = (by.as_secs(), WINDOW.as_secs());
                write!(
                    f,
                    "its time is {by} s {than} this server's clock, more than {window} s: is one of the clocks wrong, or was it sent again later?"
                )
            }
            Self::Used => f.write_str("this very knock was used before: somebody sends it again"),
            Self::TooOld => f.write_str(
                "it is older than what is remembered of this key's knocks: was a clock ahead before, or is it sent again?",
            ),
            Self::Signature(key) => write!(f, "the signature is not one of the key {key}"),
            Self::Untouched(name) => write!(f, "the token of {name} was not touched (no-touch-required allows that)"),
            Self::Unverified(name) => write!(f, "the token of {name} asked for no PIN, which verify-required demands"),
            Self::NotForDoor(name) => write!(f, "the key of {name} is not for this door (doors)"),
            Self::NotFrom(name, address) => write!(f, "the key of {name} is not for {address} (from)"),
            Self::NotAllowed(name, address) => {
                write!(f, "the knock of {name} is for {address}, which the door is not for (allow_from)")
            }
            Self::Elsewhere(name, to) => {
                write!(f, "the knock of {name} went to {to}, where the door is not knocked at")
            }
            Self::Port(name, port) => write!(f, "the knock of {name} asks for {port}, which the door does not open"),
            Self::Address { name, stated: None } => {
                write!(f, "the knock of {name} states no address, which address = match demands")
            }
            Self::Address { name, stated: Some(stated) } => {
                write!(f, "the knock of {name} is for {stated} and comes from elsewhere, which address = match forbids")
            }
        }
    }
}
