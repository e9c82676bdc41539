//! A door's rolling key, and which steps' sequences are taken at the moment.

use std::collections::BTreeSet;

use knock_core::config::DoorKey;
use knock_core::ledger::Holder;
use knock_core::rolling::{RollingKey, accepted, step_at};

use crate::configuration::{Followed, steps};

/// In how many places the reading half follows such a door: one for each step that is taken.
pub(crate) const SLOTS: u64 = 3;

/// The key, and the steps that it is used for.
pub(crate) struct Rolling {
    key: RollingKey,
    /// The present step.
    step: u64,
    /// Those of the steps whose sequences were knocked.
    used: BTreeSet<u64>,
}

impl Rolling {
    /// At this time of day, in seconds since 1970.
    pub(crate) fn new(key: RollingKey, now: u64) -> Self {
        Self { key, step: step_at(now), used: BTreeSet::new() }
    }

    /// Under which name the ledger has what was used of it at this door.
    pub(crate) fn holder(&self, door: &DoorKey) -> Holder {
        Holder::at_door(&self.key.identity(), door)
    }

    /// The step whose sequence is followed in this place: each step keeps its place as long as it is taken.
    pub(crate) fn step_in(&self, slot: u64) -> u64 {
        accepted(self.step).find(|step| step % SLOTS == slot % SLOTS).unwrap_or(self.step)
    }

    /// What is to be knocked in this place, unless it was; and what will be after that.
    pub(crate) fn followed(&self, slot: u64) -> Followed {
        let step = self.step_in(slot);
        let sequence = (!self.used.contains(&step)).then(|| self.key.sequence(step));
        let ahead = steps([self.key.sequence(step.saturating_add(SLOTS))]);
        Followed { slot: slot as u8, sequence, ahead }
    }

    /// Notes that this step's sequence was knocked: it is not taken again.
    pub(crate) fn use_up(&mut self, step: u64) {
        self.used.insert(step);
    }

    /// Notes which of the steps that are taken at the moment were used, as the ledger knows it.
    pub(crate) fn recall(&mut self, is_used: impl Fn(u64) -> bool) {
        self.used.extend(accepted(self.step).filter(|step| is_used(*step)));
    }

    /// The places in which nothing is followed, for the sequence was knocked.
    pub(crate) fn used_places(&self) -> impl Iterator<Item = u64> {
        (0..SLOTS).filter(|slot| self.used.contains(&self.step_in(*slot)))
    }

    /// It is this time of day; tells the places in which another sequence is followed from now on.
    pub(crate) fn advance(&mut self, now: u64) -> Vec<u64> {
        let before: Vec<_> = (0..SLOTS).map(|slot| self.step_in(slot)).collect();
        self.step = step_at(now);
        let taken = accepted(self.step);
        self.used.retain(|step| taken.contains(step));
        (0..SLOTS)
            .zip(before)
            .filter(|(slot, before)| self.step_in(*slot) != *before)
            .map(|(slot, _)| slot)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rolling(now: u64) -> Rolling {
        let bytes: [u8; 32] = std::array::from_fn(|index| index as u8);
        Rolling::new(RollingKey::from_bytes(&bytes).unwrap(), now)
    }

    #[test]
    fn a_step_stays_in_its_place() {
        let mut rolling = rolling(3000);
        let steps = |rolling: &Rolling| (0..SLOTS).map(|slot| rolling.step_in(slot)).collect::<BTreeSet<_>>();
        assert_eq!(steps(&rolling), [99, 100, 101].into());
        let kept = (0..SLOTS).find(|slot| rolling.step_in(*slot) == 101).unwrap();
        assert!(rolling.advance(3029).is_empty());
        let changed = rolling.advance(3030);
        assert_eq!(changed.len(), 1);
        assert!(!changed.contains(&kept));
        assert_eq!(steps(&rolling), [100, 101, 102].into());
        assert_eq!(rolling.advance(90_000).len(), 3);
    }

    #[test]
    fn a_new_daemon_knows_what_was_used() {
        let mut rolling = rolling(3000);
        rolling.recall(|step| step <= 100);
        let followed = (0..SLOTS).filter(|slot| rolling.followed(*slot).sequence.is_some());
        assert_eq!(followed.map(|slot| rolling.step_in(slot)).collect::<Vec<_>>(), [101]);
        assert_eq!(rolling.used_places().count(), 2);
    }

    #[test]
    fn a_step_is_used_once() {
        let mut rolling = rolling(3000);
        let slot = (0..SLOTS).find(|slot| rolling.step_in(*slot) == 100).unwrap();
        assert_eq!(rolling.followed(slot).sequence, Some(rolling.key.sequence(100)));
        rolling.use_up(100);
        assert_eq!(rolling.followed(slot).sequence, None);
        assert_eq!(rolling.followed(slot).ahead, steps([rolling.key.sequence(103)]));
        rolling.advance(3030);
        assert_eq!(rolling.followed(slot).sequence, None, "still the step before");
    }
}
