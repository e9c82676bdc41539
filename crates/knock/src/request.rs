//! A knock as it is to be done: everything said, nothing left open.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use knock_core::sequence::Step;

use crate::error::Error;
use crate::resolve::Wanted;
use crate::settings::Settings;

/// How long a port is waited for when nothing is said.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often a connection that others rely on is knocked for again when nothing is said.
const RELAY_RETRIES: u8 = 2;

/// A knock, ready to be resolved and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// A name or an address.
    pub(crate) host: String,
    /// What to knock.
    pub(crate) ports: Ports,
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

/// Where the ports come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ports {
    /// From the command line or the file of hosts; at least one.
    Given(Vec<Step>),
    /// From the next unused line of a file.
    OneTime(PathBuf),
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
    /// How often to knock again while it is not open.
    pub(crate) retry: u8,
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
        ports: Ports,
        settings: &Settings,
        relay: Option<u16>,
        verbose: bool,
    ) -> Result<Self, Error> {
        let wanted = settings.wanted().map_err(Error::Usage)?;
        if let (Wanted::Both, Ports::OneTime(_)) = (wanted, &ports) {
            let text = "a one-time file cannot be used for both families: the server takes each line once";
            return Err(Error::Usage(text.into()));
        }
        let Settings { source, delay, .. } = *settings;
        let purpose = purpose(settings, relay);
        Ok(Self { host, ports, wanted, source, gap: delay.unwrap_or_default(), purpose, verbose })
    }
}

fn purpose(settings: &Settings, relay: Option<u16>) -> Purpose {
    let timeout = settings.timeout.unwrap_or(TIMEOUT);
    let awaited = |port, retries| Awaited { port, retry: settings.retry.unwrap_or(retries), timeout };
    match (relay, settings.verify) {
        (Some(port), _) => Purpose::Relay(awaited(port, RELAY_RETRIES)),
        (None, Some(port)) => Purpose::Verify(awaited(port, 0)),
        (None, None) => Purpose::Nothing,
    }
}
