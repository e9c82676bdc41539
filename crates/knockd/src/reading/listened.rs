//! At which interfaces and addresses knocks are heard, as the reading half needs it.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

/// Where knocks are heard.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listened {
    /// The indexes of the interfaces; `None` for all.
    pub interfaces: Option<BTreeSet<u32>>,
    /// Those of loopback interfaces among them.
    pub loopback: BTreeSet<u32>,
    /// All addresses that can be knocked at without a `Target`.
    pub addresses: HashSet<IpAddr>,
    /// All addresses of this machine.
    pub own: HashSet<IpAddr>,
    /// The IPv4 nets that are listened on: an address and the length of its prefix.
    pub nets: BTreeSet<(Ipv4Addr, u8)>,
}

impl Listened {
    /// Whether this interface is listened on.
    pub fn hears(&self, index: u32) -> bool {
        self.interfaces.as_ref().is_none_or(|interfaces| interfaces.contains(&index))
    }

    /// Whether this is a loopback interface.
    pub fn is_loopback(&self, index: u32) -> bool {
        self.loopback.contains(&index)
    }

    /// Whether an address is one that can be knocked at without a `Target`. All of 127.0.0.0/8 is the loopback
    /// interface's.
    pub fn is_local(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
            || (matches!(address, IpAddr::V4(address) if address.is_loopback()) && !self.loopback.is_empty())
    }

    /// Whether an address is this machine's, listened at or not.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }

    /// Whether an address is the first or last of a net that is listened on, which no host has (RFC 1122, section
    /// 3.2.1.3). Nets of two addresses have hosts at both (RFC 3021).
    pub fn is_no_host(&self, address: IpAddr) -> bool {
        let IpAddr::V4(address) = address else { return false };
        self.nets.iter().any(|(own, prefix)| {
            (1..=30).contains(prefix) && {
                let hosts = u32::MAX >> prefix;
                let (address, own) = (u32::from(address), u32::from(*own));
                address & !hosts == own & !hosts && (address & hosts == 0 || address & hosts == hosts)
            }
        })
    }
}
