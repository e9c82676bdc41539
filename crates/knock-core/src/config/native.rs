//! Native doors: what the kernel itself opens and closes.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::knock::Protocol;
use crate::network::Network;

/// What a native door opens, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Native {
    /// `open`: never empty; none lies in another.
    pub ports: Vec<PortRange>,
    /// `open_for`: how long new connections are let in; `None` until somebody closes the door. Never zero.
    pub open_for: Option<Duration>,
    /// `established`.
    pub established: Established,
    /// `widen`.
    pub widen: Widen,
}

/// Ports that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortRange {
    /// Which protocol's ports.
    pub protocol: Protocol,
    /// The first, from 1.
    pub first: u16,
    /// The last, which may be the first.
    pub last: u16,
}

impl PortRange {
    /// Whether a port of a protocol is one of these.
    pub fn contains(self, protocol: Protocol, port: u16) -> bool {
        self.protocol == protocol && (self.first..=self.last).contains(&port)
    }

    /// Whether both have a port in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.protocol == other.protocol && self.first <= other.last && other.first <= self.last
    }
}

/// As `open` writes it: `22/tcp`, `60000-61000/udp`.
impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { protocol, first, last } = self;
        if first == last { write!(f, "{first}/{protocol}") } else { write!(f, "{first}-{last}/{protocol}") }
    }
}

/// What happens at closing to connections that were made while the door was open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Established {
    /// They go on.
    #[default]
    Keep,
    /// Their packets are dropped.
    Cut,
}

/// Whom an opening lets in: the network of this prefix around the address that knocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Widen {
    /// The length of an IPv4 prefix, 1 to 32.
    pub v4: u8,
    /// The length of an IPv6 prefix, 1 to 128.
    pub v6: u8,
}

impl Default for Widen {
    /// The address alone.
    fn default() -> Self {
        Self { v4: 32, v6: 128 }
    }
}

impl Widen {
    /// Whom an opening for `address` lets in.
    pub fn around(self, address: IpAddr) -> Network {
        let prefix = match address {
            IpAddr::V4(_) => self.v4,
            IpAddr::V6(_) => self.v6,
        };
        Network::of(address, prefix)
    }
}

/// Whether the daemon puts the rule that accepts marked packets into the machine's own firewall.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AcceptRule {
    /// Where that firewall drops.
    #[default]
    Auto,
    /// Never: its administrator does.
    None,
}

/// The bit of the packet mark that says "this one may in" when `mark` is unsaid.
pub const DEFAULT_MARK: u32 = 0x1000_0000;

/// As the directive writes it.
impl fmt::Display for Established {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keep => "keep",
            Self::Cut => "cut",
        })
    }
}

/// As the directive writes it.
impl fmt::Display for Widen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.v4, self.v6)
    }
}

/// As the directive writes it.
impl fmt::Display for AcceptRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::None => "none",
        })
    }
}
