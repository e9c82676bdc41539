//! A door: what must be knocked, and what is opened and run then.

use std::fmt;
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use super::native::Native;
use super::secret::Secret;
use super::value::FlagRule;
use serde::{Deserialize, Serialize};

use crate::network::Network;

/// What tells a door from all others, also across a change of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DoorKey {
    /// The section's name.
    pub name: String,
    /// How many sections of this name stand before it: two sections of one name are two doors.
    pub namesake: usize,
}

impl fmt::Display for DoorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// A section of `knockd.conf` other than `[options]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Door {
    /// Which door this is.
    pub key: DoorKey,
    /// What must be known to open it.
    pub secret: Secret,
    /// Where in the file that stands.
    pub secret_span: Range<usize>,
    /// `spa_port`: the UDP port of its datagrams, where it has no sequence.
    pub spa_port: u16,
    /// `address = match`: a knock must state the address that it comes from.
    pub address_must_match: bool,
    /// `Seq_Timeout`: how long after the first knock the last may come. Never zero.
    pub seq_timeout: Duration,
    /// `Seq_Cooldown`: how long after an opening the same source's knocks are passed over.
    pub seq_cooldown: Duration,
    /// `TCPFlags`.
    pub flags: FlagRule,
    /// `Target`: the address to knock at, instead of the interface's.
    pub target: Option<IpAddr>,
    /// A knock at any other port of the host, whether or not a door names it, ends an attempt on this door. `strict`
    /// of the options says so; where it does not, it holds for a door with `open` or `close`, and not for one that
    /// knockd could have as well.
    pub strict: bool,
    /// `allow_from`: who may knock at all; everybody where it is empty.
    pub allow_from: Vec<Network>,
    /// `open` and what belongs to it: a native door.
    pub native: Option<Native>,
    /// Where in the file the value of `open` stands.
    pub open_span: Option<Range<usize>>,
    /// `close`: the name of the door that this one closes for the knocker.
    pub closes: Option<String>,
    /// Where in the file the value of `close` stands.
    pub close_span: Option<Range<usize>>,
    /// What runs for a source.
    pub commands: Commands,
    /// Where in the file `Start_Command` stands.
    pub start_span: Option<Range<usize>>,
    /// Where in the file `Start_Command_6` stands.
    pub start_6_span: Option<Range<usize>>,
}

impl Door {
    /// Whether an address may knock at all (`allow_from`).
    pub fn allows(&self, address: IpAddr) -> bool {
        self.allow_from.is_empty() || self.allow_from.iter().any(|network| network.contains(address))
    }

    /// How long an opening of it lasts where nothing else is said; `None` until it is closed.
    pub fn time_open(&self) -> Option<Duration> {
        match &self.native {
            Some(native) => native.open_for,
            None => Some(self.commands.timeout),
        }
    }

    /// The start commands as they are written, with their places in the file.
    pub fn start_commands(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        let commands =
            [(&self.commands.start, &self.start_span), (&self.commands.start_6, &self.start_6_span)];
        commands.into_iter().filter_map(|(command, span)| Some((command.as_deref()?, span.clone()?)))
    }
}

/// A door's commands, each for `/bin/sh -c`, with `%IP%` still in them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Commands {
    /// For IPv4 sources.
    pub start: Option<String>,
    /// For IPv6 sources; `Some("")` does nothing, `None` falls back to `start`.
    pub start_6: Option<String>,
    /// For IPv4 sources, `timeout` after the start command ended.
    pub stop: Option<String>,
    /// For IPv6 sources; `Some("")` does nothing, `None` falls back to `stop`.
    pub stop_6: Option<String>,
    /// `Cmd_Timeout`.
    pub timeout: Duration,
}

impl Commands {
    /// The start and stop command for a source, `%IP%` replaced; no stop command without a start command.
    pub fn for_source(&self, source: IpAddr) -> Option<(String, Option<String>)> {
        let (start, stop) = match source {
            IpAddr::V4(_) => (self.start.as_ref(), self.stop.as_ref()),
            IpAddr::V6(_) => {
                (self.start_6.as_ref().or(self.start.as_ref()), self.stop_6.as_ref().or(self.stop.as_ref()))
            }
        };
        let filled =
            |command: &String| (!command.is_empty()).then(|| command.replace("%IP%", &source.to_string()));
        start.and_then(filled).map(|start| (start, stop.and_then(filled)))
    }
}
