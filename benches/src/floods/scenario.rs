//! The floods.

use std::collections::BTreeSet;

use lab::{Packet, Random, Sources, Traffic};

use crate::server::KNOCKS;

/// Where a single source of floods is.
const VILLAIN: [u8; 4] = [198, 51, 100, 7];
/// A port that no door has.
const OTHER: u16 = 20_000;

/// A flood.
pub(super) struct Scenario {
    pub(super) name: String,
    /// Its pace, in words.
    pub(super) rate: String,
    pub(super) traffic: Traffic,
    /// Packets a second; as many as go where there is none.
    pub(super) pace: Option<u32>,
    /// So many packets go ahead of what is measured.
    pub(super) ahead: u32,
    /// Each packet that Debian's knockd takes is a line of its log.
    pub(super) is_logged: bool,
}

/// All of them.
pub(super) fn all() -> Vec<Scenario> {
    vec![
        irrelevant(&BTreeSet::new()),
        first_knocks(Some(20_000)),
        first_knocks(Some(100_000)),
        first_knocks(None),
        from_one("wrong ports of the door, one source", &[packet(1), packet(2)]),
        from_one("first and wrong port in turn, one source", &[packet(0), packet(2)]),
        from_one("first knock and another port in turn, one source", &[packet(0), (Packet::Datagram, OTHER)]),
        first_knocks_of(1_000),
        first_knocks_of(1_000_000),
    ]
}

/// Enough to see that all of it works.
pub(super) fn some() -> Vec<Scenario> {
    vec![irrelevant(&BTreeSet::new()), first_knocks(Some(20_000)), first_knocks(None)]
}

/// To ports that no door has, the honest one or one with these ports: new connections, datagrams, and data of
/// connections that somebody else may have.
pub(super) fn irrelevant(named: &BTreeSet<u16>) -> Scenario {
    const PACE: u32 = 500_000;
    let is_free = |port: &u16| !named.contains(port) && KNOCKS.iter().all(|(knock, _)| knock != port);
    let kinds = [Packet::Syn, Packet::Datagram, Packet::Data];
    let targets = (1..=u16::MAX).filter(is_free).flat_map(|port| kinds.map(|packet| (packet, port)));
    let mut targets: Vec<_> = targets.collect();
    Random::new(2).shuffle(&mut targets);
    scenario("irrelevant", Sources::Random, targets, Some(PACE))
}

/// From random sources.
pub(super) fn first_knocks(pace: Option<u32>) -> Scenario {
    let name = "first knocks from random sources";
    Scenario { is_logged: true, ..scenario(name, Sources::Random, vec![packet(0)], pace) }
}

/// So many sources knock first, all of them before it is measured as well.
fn first_knocks_of(sources: u32) -> Scenario {
    let name = format!("first knocks, {} sources known", grouped(sources));
    let is_logged = sources >= 1_000_000;
    let flood = scenario(&name, Sources::Among(sources), vec![packet(0)], Some(100_000));
    Scenario { ahead: sources, is_logged, ..flood }
}

fn from_one(name: &str, targets: &[(Packet, u16)]) -> Scenario {
    scenario(name, Sources::One(VILLAIN.into()), targets.to_vec(), Some(100_000))
}

fn scenario(name: &str, sources: Sources, targets: Vec<(Packet, u16)>, pace: Option<u32>) -> Scenario {
    let rate =
        pace.map_or_else(|| "as fast as it goes".to_owned(), |pace| format!("{} a second", grouped(pace)));
    let traffic = Traffic { sources, targets };
    Scenario { name: name.to_owned(), rate, traffic, pace, ahead: 0, is_logged: false }
}

/// The packet of a knock at the door.
fn packet(knock: usize) -> (Packet, u16) {
    let (port, is_udp) = KNOCKS.get(knock).copied().unwrap_or_default();
    (if is_udp { Packet::Datagram } else { Packet::Syn }, port)
}

/// A number with commas between its thousands.
pub(super) fn grouped(number: u32) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
