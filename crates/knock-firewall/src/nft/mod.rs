//! nf_tables over netlink (`linux/netfilter/nf_tables.h`): transactions, lists, and the expressions of rules.

pub(crate) mod attribute;
pub(crate) mod expression;
mod link;
mod transaction;

use knock_linux::netlink::text;

pub(crate) use link::Link;
pub(crate) use transaction::{Chain, Key, Set, Transaction};

/// A family of tables, chains and rules, as `NFPROTO_...` numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Family(pub(crate) u8);

impl Family {
    /// In questions: all of them.
    pub(crate) const ANY: Self = Self(libc::NFPROTO_UNSPEC as u8);
    /// IPv4 and IPv6 together.
    pub(crate) const INET: Self = Self(libc::NFPROTO_INET as u8);
    pub(crate) const IPV4: Self = Self(libc::NFPROTO_IPV4 as u8);
    pub(crate) const IPV6: Self = Self(libc::NFPROTO_IPV6 as u8);

    /// One interface's packets, before anybody else's.
    pub(crate) const NETDEV: Self = Self(libc::NFPROTO_NETDEV as u8);

    /// Whether packets for this machine come through it.
    pub(crate) fn is_met(self) -> bool {
        matches!(self, Self::INET | Self::IPV4 | Self::IPV6 | Self::NETDEV)
    }

    /// As `nft` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::INET => "inet",
            Self::IPV4 => "ip",
            Self::IPV6 => "ip6",
            Self::NETDEV => "netdev",
            _ => "other",
        }
    }
}

/// The header of a message (`nfgenmsg`): its family, a version, and a subsystem for batches.
fn header(family: Family, subsystem: i32) -> [u8; 4] {
    let [high, low] = (subsystem as u16).to_be_bytes();
    [family.0, 0, high, low]
}

/// The length of [`header`].
pub(crate) const HEADER: usize = 4;

/// The type of a message of nf_tables.
const fn kind(message: i32) -> u16 {
    (libc::NFNL_SUBSYS_NFTABLES << 8 | message) as u16
}

/// Which message of nf_tables a type is, where it is one.
pub(crate) fn message_of(kind: u16) -> Option<i32> {
    let kind = i32::from(kind);
    (kind >> 8 == libc::NFNL_SUBSYS_NFTABLES).then_some(kind & 0xff)
}

/// The comment of a rule, in what `nft` keeps with it: types, lengths and values.
pub(crate) fn comment(mut kept: &[u8]) -> Option<String> {
    const COMMENT: u8 = 0;
    while let [kind, length, rest @ ..] = kept {
        let value = rest.get(..usize::from(*length))?;
        if *kind == COMMENT {
            return Some(text(value));
        }
        kept = rest.get(usize::from(*length)..)?;
    }
    None
}

/// A number in the network's order.
pub(crate) fn be32(value: &[u8]) -> Option<u32> {
    value.first_chunk().copied().map(u32::from_be_bytes)
}

/// A number in the network's order.
pub(crate) fn be64(value: &[u8]) -> Option<u64> {
    value.first_chunk().copied().map(u64::from_be_bytes)
}
