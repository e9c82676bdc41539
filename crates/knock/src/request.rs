//! A knock as it is to be done: everything said, nothing left open.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use knock_core::sequence::Step;
use knock_core::spa::HostPublicKey;

use crate::error::Error;
use crate::keys::Identity;
use crate::resolve::Wanted;
use crate::settings::Settings;

/// How long a port is waited for when nothing is said.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A knock, ready to be resolved and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// A name or an address.
    pub(crate) host: String,
    /// What to knock.
    pub(crate) method: Method,
    /// Which of the host's addresses to knock at.
    pub(crate) wanted: Wanted,
    /// The address to send from.
    pub(crate) source: Option<IpAddr>,
    /// The pause behind each knock.
    pub(crate) gap: Duration,
    /// What the knock is for.
    pub(crate) purpose: Purpose,
    /// Whether to tell what is done.
    pub(crate) verbose: bool,
}

/// How a door is knocked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// With these ports, of the command line or the file of hosts; at least one.
    Sequence(Vec<Step>),
    /// With the next unused line of a file.
    OneTime(PathBuf),
    /// With the sequence of the moment, by the key in a file.
    Rolling(PathBuf),
    /// With one datagram that an SSH key has signed.
    Signed(Signed),
}

/// What is asked of which server, and who signs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signed {
    /// The server's knock key.
    pub(crate) server: HostPublicKey,
    /// The UDP port that it listens at.
    pub(crate) port: u16,
    /// The door's name.
    pub(crate) door: String,
    /// For how long it is to be open, in whole seconds; `None` for the door's own time.
    pub(crate) lasts: Option<Duration>,
    /// Whom it is to be opened for.
    pub(crate) address: Whom,
    /// Which key signs.
    pub(crate) identity: Identity,
    /// The agent's socket, where it is not the usual one.
    pub(crate) agent: Option<PathBuf>,
}

/// Whom a door is to be opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    /// The address that the server sees.
    Seen,
    /// The address that this machine sends from: for those with addresses that nobody translates.
    Own,
    /// This one.
    Stated(IpAddr),
}

/// What a knock is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Nothing that this program would see.
    Nothing,
    /// A port is to be open, and the user to be told.
    Verify(Awaited),
    /// Standard input and output are to become a connection to it.
    Relay(Awaited),
}

/// A TCP port that a knock is to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Awaited {
    /// Its number.
    pub(crate) port: u16,
    /// How often to knock again while it is not open, where that was said.
    pub(crate) retry: Option<u8>,
    /// How long to wait for it in all, counted from the end of the first knock.
    pub(crate) timeout: Duration,
}

impl Request {
    /// Knocks at `host`; where `relay` is a port, for a connection to it.
    ///
    /// # Errors
    /// Where settings exclude each other.
    pub(crate) fn new(
        host: String,
        method: Method,
        settings: &Settings,
        relay: Option<u16>,
        verbose: bool,
    ) -> Result<Self, Error> {
        let wanted = settings.wanted().map_err(Error::Usage)?;
        let once = match (wanted, &method) {
            (Wanted::Both, Method::OneTime(_)) => Some("a one-time file"),
            (Wanted::Both, Method::Rolling(_)) => Some("a rolling key"),
            _ => None,
        };
        if let Some(what) = once {
            let text =
                format!("{what} cannot be used for both families: the server takes each sequence once");
            return Err(Error::Usage(text));
        }
        let Settings { source, delay, .. } = *settings;
        let purpose = purpose(settings, relay);
        Ok(Self { host, method, wanted, source, gap: delay.unwrap_or_default(), purpose, verbose })
    }
}

fn purpose(settings: &Settings, relay: Option<u16>) -> Purpose {
    let timeout = settings.timeout.unwrap_or(TIMEOUT);
    let awaited = |port| Awaited { port, retry: settings.retry, timeout };
    match (relay, settings.verify) {
        (Some(port), _) => Purpose::Relay(awaited(port)),
        (None, Some(port)) => Purpose::Verify(awaited(port)),
        (None, None) => Purpose::Nothing,
    }
}
