//! How many knocks are looked into: each costs as much as some hundred hashes or more, and whoever knows the server's
//! public key can make as many as they like.
//!
//! Each source has an allowance, and all together have one. Who has lately made a good knock has another, which no stranger
//! can use up by sending more, but only by pretending to send from the very same network.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use crate::allowance::{Allowance, Spent};
use crate::network::Network;
use crate::time::Timestamp;

/// For one source.
const EACH: Allowance = Allowance { at_once: 20, pace: Duration::from_millis(100) };
/// What all sources together have, and all of those that are known.
const AT_ONCE: u32 = 200;
/// How many allowances there are for single sources: some of these share one.
const SHARES: usize = 16_384;
/// How many sources are remembered that have made a good knock.
pub const REMEMBERED: usize = 1024;

/// Decides what is looked into.
pub struct Budget {
    /// For all sources together; those that are known have as much for themselves.
    together_may: Allowance,
    hasher: RandomState,
    each: Box<[Spent]>,
    together: Spent,
    known: Spent,
    /// Who has made a good knock, and what that party has spent.
    remembered: HashMap<Network, Spent>,
    /// The same, the oldest first.
    order: VecDeque<Network>,
}

impl Budget {
    /// For opening seals: half of a processor at the most. Who may be a guest waits for nothing else.
    pub fn of_seals() -> Self {
        Self::new(Duration::from_micros(125))
    }

    /// For verifying signatures, of which one of ECDSA takes as long as four seals: a quarter of a processor, about.
    pub fn of_signatures() -> Self {
        Self::new(Duration::from_millis(1))
    }

    /// For one knock each time that so long has passed.
    fn new(pace: Duration) -> Self {
        Self {
            together_may: Allowance { at_once: AT_ONCE, pace },
            hasher: RandomState::new(),
            each: vec![Spent::default(); SHARES].into(),
            together: Spent::default(),
            known: Spent::default(),
            remembered: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Whether a knock from there is looked into, which spends something.
    pub fn admits(&mut self, source: IpAddr, now: Timestamp) -> bool {
        let party = Network::party(source);
        if let Some(spent) = self.remembered.get_mut(&party) {
            return self.known.has_left(self.together_may, now)
                && spent.spend(EACH, now)
                && self.known.spend(self.together_may, now);
        }
        let share = self.hasher.hash_one(party) as usize % SHARES;
        self.together.has_left(self.together_may, now)
            && self.each.get_mut(share).is_none_or(|spent| spent.spend(EACH, now))
            && self.together.spend(self.together_may, now)
    }

    /// Notes that somebody there has made a good knock.
    pub fn remember(&mut self, source: IpAddr) {
        let party = Network::party(source);
        if self.remembered.insert(party, Spent::default()).is_none() {
            self.order.push_back(party);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.remembered.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(5000);

    fn host(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    fn admitted(budget: &mut Budget, sources: impl IntoIterator<Item = u32>, now: Timestamp) -> usize {
        sources.into_iter().filter(|source| budget.admits(host(*source), now)).count()
    }

    #[test]
    fn one_source_takes_nothing_from_others() {
        let mut budget = Budget::of_seals();
        assert_eq!(admitted(&mut budget, std::iter::repeat_n(7, 10_000), NOW), 20);
        assert!(budget.admits(host(8), NOW));
        assert!(budget.admits(host(7), NOW + Duration::from_millis(100)));
    }

    #[test]
    fn many_sources_take_nothing_from_those_who_are_known() {
        let mut budget = Budget::of_seals();
        budget.remember(host(1));
        assert_eq!(admitted(&mut budget, 1000..100_000, NOW), 200);
        assert!(!budget.admits(host(2), NOW));
        assert!(budget.admits(host(1), NOW));
        let later = NOW + Duration::from_secs(1);
        assert_eq!(admitted(&mut budget, 1000..100_000, later), 200);
    }

    #[test]
    fn few_are_remembered() {
        let mut budget = Budget::of_seals();
        (0..5000).for_each(|source| budget.remember(host(source)));
        assert_eq!((budget.remembered.len(), budget.order.len()), (REMEMBERED, REMEMBERED));
    }
}
