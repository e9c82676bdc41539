//! What the table is to look like: which sets, and which doors open which ports.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use knock_core::config::{DoorKey, Native, PortRange};
use knock_core::knock::Protocol;

use crate::nft::Key;

/// A native door, as far as the table is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Which door it is.
    pub door: DoorKey,
    /// What it opens.
    pub native: Native,
    /// The one address whose ports it opens and guards; `None` for all addresses of this machine.
    pub target: Option<IpAddr>,
}

/// All native doors, and what they have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The doors; no two of one key.
    pub gates: Vec<Gate>,
    /// The one bit of the packet mark that tells who may in; the same bit of the connection mark tells which
    /// connections are cut when their door closes.
    pub mark: u32,
    /// Whether the doors' ports are closed to all who have no grant.
    pub guard: bool,
}

/// The names of a door's sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SetNames {
    pub(super) v4: String,
    pub(super) v6: String,
}

impl SetNames {
    pub(super) fn of(door: &DoorKey) -> Self {
        let stem = stem(door);
        Self { v4: format!("{stem}_v4"), v6: format!("{stem}_v6") }
    }

    pub(super) fn for_key(&self, key: Key) -> &str {
        match key {
            Key::Ipv4 => &self.v4,
            Key::Ipv6 => &self.v6,
        }
    }

    pub(super) fn for_address(&self, address: IpAddr) -> &str {
        self.for_key(if address.is_ipv4() { Key::Ipv4 } else { Key::Ipv6 })
    }
}

/// The door's name where `nft` takes it as it is. Any other gets what is left of it and a number made of the whole key,
/// behind a dot, so that no two doors share sets and each keeps its own over restarts.
fn stem(door: &DoorKey) -> String {
    const LONGEST: usize = 100;
    let fits = |character: &char| character.is_ascii_alphanumeric() || *character == '_';
    let mut kept: String = door.name.chars().filter(fits).take(LONGEST).collect();
    let begins_well = kept.starts_with(|first: char| first.is_ascii_alphabetic());
    if begins_well && kept == door.name && door.namesake == 0 {
        return kept;
    }
    if !begins_well {
        kept.insert_str(0, "door_");
    }
    format!("{kept}.{:016x}", number(door))
}

/// FNV-1a: the same for the same key in every version.
fn number(door: &DoorKey) -> u64 {
    let namesake = (door.namesake as u64).to_le_bytes();
    let bytes = door.name.bytes().chain([0]).chain(namesake);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Ports that the same doors open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    pub(super) ports: PortRange,
    /// In the layout's order; never empty.
    pub(super) gates: Vec<&'a Gate>,
}

impl Segment<'_> {
    /// The name of its chain.
    pub(super) fn chain(&self) -> String {
        let PortRange { protocol, first, last } = self.ports;
        if first == last { format!("{protocol}_{first}") } else { format!("{protocol}_{first}_{last}") }
    }
}

/// All ports that some door opens, in order and without overlap.
pub(super) fn segments(gates: &[Gate]) -> Vec<Segment<'_>> {
    [Protocol::Tcp, Protocol::Udp].into_iter().flat_map(|protocol| segments_of(protocol, gates)).collect()
}

fn segments_of(protocol: Protocol, gates: &[Gate]) -> Vec<Segment<'_>> {
    let mut opening: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    let mut closing: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (index, gate) in gates.iter().enumerate() {
        for range in gate.native.ports.iter().filter(|range| range.protocol == protocol) {
            opening.entry(u32::from(range.first)).or_default().push(index);
            closing.entry(u32::from(range.last) + 1).or_default().push(index);
        }
    }
    let borders: BTreeSet<u32> = opening.keys().chain(closing.keys()).copied().collect();
    let mut covering: BTreeMap<usize, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (first, behind) in borders.iter().zip(borders.iter().skip(1)) {
        for index in closing.get(first).into_iter().flatten() {
            leave(&mut covering, *index);
        }
        for index in opening.get(first).into_iter().flatten() {
            *covering.entry(*index).or_default() += 1;
        }
        let gates: Vec<_> = covering.keys().filter_map(|index| gates.get(*index)).collect();
        if let (false, Ok(first), Ok(last)) =
            (gates.is_empty(), u16::try_from(*first), u16::try_from(behind.saturating_sub(1)))
        {
            found.push(Segment { ports: PortRange { protocol, first, last }, gates });
        }
    }
    found
}

/// A door whose ranges overlap covers a port more than once.
fn leave(covering: &mut BTreeMap<usize, usize>, index: usize) {
    if let Some(times) = covering.get_mut(&index) {
        *times = times.saturating_sub(1);
        if *times == 0 {
            covering.remove(&index);
        }
    }
}

/// Each door's sets.
pub(super) fn set_names(gates: &[Gate]) -> HashMap<DoorKey, SetNames> {
    gates.iter().map(|gate| (gate.door.clone(), SetNames::of(&gate.door))).collect()
}

#[cfg(test)]
mod tests {
    use knock_core::config::{Established, Widen};
    use proptest::prelude::*;

    use super::*;

    fn door(name: &str, namesake: usize) -> DoorKey {
        DoorKey { name: name.into(), namesake }
    }

    fn gate(name: &str, ports: &[(u16, u16)]) -> Gate {
        let range =
            |(first, last): &(u16, u16)| PortRange { protocol: Protocol::Tcp, first: *first, last: *last };
        let native = Native {
            ports: ports.iter().map(range).collect(),
            open_for: None,
            established: Established::Keep,
            widen: Widen::default(),
        };
        Gate { door: door(name, 0), native, target: None }
    }

    #[test]
    fn names_are_kept_where_nft_takes_them() {
        assert_eq!(SetNames::of(&door("ssh", 0)).v4, "ssh_v4");
        assert_eq!(SetNames::of(&door("Web_2", 0)).v6, "Web_2_v6");
        for (name, namesake) in [("ssh", 1), ("", 0), ("1", 0), ("a-b", 0), ("a b", 0), ("ä", 0), ("_", 0)] {
            let made = stem(&door(name, namesake));
            assert!(made.contains('.'), "{name:?} {namesake}: {made}");
            assert!(made.starts_with(|first: char| first.is_ascii_alphabetic()), "{made}");
        }
        let stable = "ssh.f32f409d0ee16fc2";
        assert_eq!(stem(&door("ssh", 1)), stable, "the same in every version");
    }

    #[test]
    fn overlapping_ranges_are_parted() {
        let gates = [gate("a", &[(10, 20)]), gate("b", &[(15, 65535), (1, 1)]), gate("c", &[(20, 20)])];
        let parted: Vec<_> = segments(&gates)
            .iter()
            .map(|segment| {
                let names: Vec<_> = segment.gates.iter().map(|gate| gate.door.name.as_str()).collect();
                (segment.ports.first, segment.ports.last, names.concat())
            })
            .collect();
        let expected = [(1, 1, "b"), (10, 14, "a"), (15, 19, "ab"), (20, 20, "abc"), (21, 65535, "b")];
        assert_eq!(parted, expected.map(|(first, last, names)| (first, last, names.to_owned())));
    }

    proptest! {
        #[test]
        fn no_two_doors_share_sets(
            one in ".{0,12}", other in ".{0,12}", first in 0_usize..3, second in 0_usize..3,
        ) {
            let (one, other) = (door(&one, first), door(&other, second));
            prop_assert_eq!(stem(&one) == stem(&other), one == other);
        }

        #[test]
        fn every_port_is_in_the_segment_of_its_doors(
            ranges in prop::collection::vec((1_u16..60, 0_u16..20), 1..12), port in 1_u16..90,
        ) {
            let gates: Vec<_> = ranges
                .iter()
                .enumerate()
                .map(|(index, (first, more))| gate(&format!("d{index}"), &[(*first, first + more)]))
                .collect();
            let covers = |gate: &&Gate| {
                gate.native.ports.iter().any(|range| (range.first..=range.last).contains(&port))
            };
            let expected: Vec<_> = gates.iter().filter(covers).collect();
            let segments = segments(&gates);
            let around: Vec<_> = segments
                .iter()
                .filter(|segment| (segment.ports.first..=segment.ports.last).contains(&port))
                .collect();
            prop_assert!(around.len() <= 1);
            prop_assert_eq!(around.first().map_or(&[][..], |segment| &segment.gates[..]), &expected[..]);
        }
    }
}
