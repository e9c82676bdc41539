//! Which doors have which port in their sequence.

use std::collections::HashMap;
use std::ops::Range;

use super::keys::Spread;
use super::{DoorIndex, TrackedDoor};
use crate::sequence::Step;

/// The ports of the doors.
#[derive(Debug, Default)]
pub(super) struct Named {
    doors: Vec<DoorIndex>,
    places: HashMap<u64, Range<usize>, Spread>,
}

impl Named {
    pub(super) fn of(doors: &[TrackedDoor]) -> Self {
        let steps = |(index, door): (usize, &TrackedDoor)| {
            door.steps().iter().map(move |step| (spread(*step), index as DoorIndex)).collect::<Vec<_>>()
        };
        let mut named: Vec<_> = doors.iter().enumerate().flat_map(steps).collect();
        named.sort_unstable();
        named.dedup();
        let mut places: HashMap<_, Range<usize>, Spread> = HashMap::default();
        for (place, (step, _)) in named.iter().enumerate() {
            places.entry(*step).or_insert(place..place).end = place + 1;
        }
        Self { doors: named.into_iter().map(|(_, door)| door).collect(), places }
    }

    /// The places of the doors that have this port somewhere in their sequence, in the doors' order.
    pub(super) fn places(&self, step: Step) -> Range<usize> {
        self.places.get(&spread(step)).cloned().unwrap_or_default()
    }

    pub(super) fn door(&self, place: usize) -> Option<DoorIndex> {
        self.doors.get(place).copied()
    }
}

/// A number for each port and no other. It need not be a secret: which ports are in the map is not for strangers to say.
fn spread(step: Step) -> u64 {
    let number = u64::from(step.protocol.number()) << 16 | u64::from(step.port);
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
