//! What is in the table.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use knock_linux::netlink::{attribute, attributes, ip, text};

use super::TABLE;
use super::rules::{DOORS, PLACE};
use crate::Error;
use crate::nft::{self, Chain, Family, Link, attribute as nfta};

const DOING: &str = "read the table inet knockd";

/// What is in the table but for elements and counters. Two that are equal say that nobody has changed anything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Inventory {
    /// Whether it is there and not asleep (`dormant`).
    awake: bool,
    /// Whether the kernel calls its chain where it should.
    called: bool,
    pub(super) chains: BTreeSet<String>,
    pub(super) sets: BTreeSet<String>,
    /// The rules in their order: their chains and handles, which are never used twice.
    rules: Vec<(String, u64)>,
}

impl Inventory {
    /// Whether there is nothing that anybody could miss.
    pub(super) fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.sets.is_empty()
    }

    /// Whether it has the chain that [`Table::replace`](super::Table::replace) makes, where that makes it.
    pub(super) fn has_our_chain(&self) -> bool {
        self.called
    }

    pub(super) fn read(link: &mut Link) -> Result<Self, Error> {
        let awake = is_awake(link)?;
        let (called, chains) = chains(link)?;
        Ok(Self { awake, called, chains, sets: sets(link)?, rules: rules(link)? })
    }
}

fn is_awake(link: &mut Link) -> Result<bool, Error> {
    link.list(
        DOING,
        (libc::NFT_MSG_GETTABLE, Family::INET),
        |_| {},
        |awake: &mut bool, _, table| {
            let flags = attribute(table, nfta::TABLE_FLAGS).and_then(nft::be32).unwrap_or_default();
            *awake |= is_ours(table) && flags == 0;
        },
    )
}

fn chains(link: &mut Link) -> Result<(bool, BTreeSet<String>), Error> {
    let request = (libc::NFT_MSG_GETCHAIN, Family::INET);
    link.list(
        DOING,
        request,
        |_| {},
        |found: &mut (bool, BTreeSet<String>), _, chain| {
            if is_ours(chain) {
                let name = attribute(chain, nfta::CHAIN_NAME).map(text).unwrap_or_default();
                found.0 |= name == DOORS && place(chain) == Some(PLACE);
                found.1.insert(name);
            }
        },
    )
}

fn place(chain: &[u8]) -> Option<Chain> {
    let hook = attribute(chain, nfta::CHAIN_HOOK)?;
    let number = |kind| attribute(hook, kind).and_then(nft::be32).map(|number| number as i32);
    Some(Chain { hook: number(nfta::HOOK_NUMBER)?, priority: number(nfta::HOOK_PRIORITY)? })
}

fn sets(link: &mut Link) -> Result<BTreeSet<String>, Error> {
    let request = (libc::NFT_MSG_GETSET, Family::INET);
    let ours = |attributes: &mut knock_linux::netlink::Attributes<'_>| {
        attributes.put_text(nfta::TABLE, TABLE);
    };
    // Where there is no such table the kernel says so instead of listing nothing.
    let read = link.list(DOING, request, ours, |found: &mut BTreeSet<String>, _, set| {
        found.extend(attribute(set, nfta::SET_NAME).map(text));
    });
    or_none(read)
}

fn rules(link: &mut Link) -> Result<Vec<(String, u64)>, Error> {
    let request = (libc::NFT_MSG_GETRULE, Family::INET);
    let ours = |attributes: &mut knock_linux::netlink::Attributes<'_>| {
        attributes.put_text(nfta::TABLE, TABLE);
    };
    let read = link.list(DOING, request, ours, |found: &mut Vec<(String, u64)>, _, rule| {
        if is_ours(rule) {
            let chain = attribute(rule, nfta::RULE_CHAIN).map(text).unwrap_or_default();
            let handle = attribute(rule, nfta::RULE_HANDLE).and_then(nft::be64).unwrap_or_default();
            found.push((chain, handle));
        }
    });
    or_none(read)
}

/// The elements of a set, with the times that they have left.
pub(super) fn elements(link: &mut Link, set: &str) -> Result<Vec<(IpAddr, Option<Duration>)>, Error> {
    let request = (libc::NFT_MSG_GETSETELEM, Family::INET);
    let of_set = |attributes: &mut knock_linux::netlink::Attributes<'_>| {
        attributes.put_text(nfta::TABLE, TABLE).put_text(nfta::ELEMENTS_SET, set);
    };
    let read = link.list(DOING, request, of_set, |found: &mut Vec<_>, _, part| {
        let list = attribute(part, nfta::ELEMENTS).unwrap_or_default();
        found.extend(attributes(list).filter_map(|(_, entry)| element(entry)));
    });
    or_none(read)
}

fn element(entry: &[u8]) -> Option<(IpAddr, Option<Duration>)> {
    let key = attribute(entry, nfta::ELEMENT_KEY)?;
    let left = attribute(entry, nfta::ELEMENT_EXPIRATION).and_then(nft::be64);
    Some((ip(attribute(key, nfta::DATA_VALUE)?)?, left.map(Duration::from_millis)))
}

fn is_ours(object: &[u8]) -> bool {
    attribute(object, nfta::TABLE).map(text).as_deref() == Some(TABLE)
}

fn or_none<T: Default>(read: Result<T, Error>) -> Result<T, Error> {
    match read {
        Err(error) if error.errno() == Some(libc::ENOENT) => Ok(T::default()),
        read => read,
    }
}
