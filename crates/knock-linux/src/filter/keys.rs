//! What a packet is looked up by: its port, or its source, as a number.

use std::net::IpAddr;

use knock_core::knock::Protocol;
use knock_core::sequence::Step;

use super::{MAX_WATCHED, Wanted};

/// Makes the key of a port that of a UDP port.
pub(super) const UDP: u32 = 1 << 16;

/// A set of keys that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Set {
    /// Ports of TCP, and those of UDP with [`UDP`] added: 17 bits.
    Ports,
    /// The watched IPv4 addresses.
    Sources4,
    /// The watched IPv6 addresses, each the exclusive or of its four words.
    Sources6,
}

impl Set {
    pub(super) const ALL: [Self; 3] = [Self::Ports, Self::Sources4, Self::Sources6];

    /// Its keys in what is wanted, in no order.
    pub(super) fn keys(self, wanted: &Wanted) -> Vec<u32> {
        let watched = wanted.watched.iter().take(MAX_WATCHED);
        match self {
            Self::Ports => wanted.steps.iter().map(port_key).collect(),
            Self::Sources4 => watched.filter(|source| source.is_ipv4()).map(source_key).collect(),
            Self::Sources6 => watched.filter(|source| source.is_ipv6()).map(source_key).collect(),
        }
    }
}

fn port_key(step: &Step) -> u32 {
    let protocol = if step.protocol == Protocol::Udp { UDP } else { 0 };
    protocol | u32::from(step.port)
}

fn source_key(source: &IpAddr) -> u32 {
    match source {
        IpAddr::V4(source) => source.to_bits(),
        IpAddr::V6(source) => {
            let bits = source.to_bits();
            (bits >> 96) as u32 ^ (bits >> 64) as u32 ^ (bits >> 32) as u32 ^ bits as u32
        }
    }
}
