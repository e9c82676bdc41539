//! How many knocks are opened: each costs as much as some hundred hashes, and whoever knows the server's public key can
//! make as many as they like.
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
/// For all sources together: a quarter of a processor, about. Whoever knows somebody's public key can have a signature
/// looked at besides, and one of ECDSA takes four times as long as the opening.
const TOGETHER: Allowance = Allowance { at_once: 200, pace: Duration::from_millis(2) };
/// For all that have made a good knock before: as much again.
const KNOWN: Allowance = Allowance { at_once: 200, pace: Duration::from_millis(2) };
/// How many allowances there are for single sources: some of these share one.
const SHARES: usize = 16_384;
/// How many sources are remembered that have made a good knock.
const REMEMBERED: usize = 1024;

/// Decides what is opened.
pub struct Budget {
    hasher: RandomState,
    each: Box<[Spent]>,
    together: Spent,
    known: Spent,
    /// Who has made a good knock, and what that party has spent.
    remembered: HashMap<Network, Spent>,
    /// The same, the oldest first.
    order: VecDeque<Network>,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            each: vec![Spent::default(); SHARES].into(),
            together: Spent::default(),
            known: Spent::default(),
            remembered: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl Budget {
    /// Whether a knock from there is opened, which spends something.
    pub fn admits(&mut self, source: IpAddr, now: Timestamp) -> bool {
        let party = Network::party(source);
        if let Some(spent) = self.remembered.get_mut(&party) {
            return self.known.has_left(KNOWN, now) && spent.spend(EACH, now) && self.known.spend(KNOWN, now);
        }
        let share = self.hasher.hash_one(party) as usize % SHARES;
        self.together.has_left(TOGETHER, now)
            && self.each.get_mut(share).is_none_or(|spent| spent.spend(EACH, now))
            && self.together.spend(TOGETHER, now)
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
        let mut budget = Budget::default();
        assert_eq!(admitted(&mut budget, std::iter::repeat_n(7, 10_000), NOW), 20);
        assert!(budget.admits(host(8), NOW));
        assert!(budget.admits(host(7), NOW + Duration::from_millis(100)));
    }

    #[test]
    fn many_sources_take_nothing_from_those_who_are_known() {
        let mut budget = Budget::default();
        budget.remember(host(1));
        assert_eq!(admitted(&mut budget, 1000..100_000, NOW), 200);
        assert!(!budget.admits(host(2), NOW));
        assert!(budget.admits(host(1), NOW));
        let later = NOW + Duration::from_secs(1);
        assert_eq!(admitted(&mut budget, 1000..100_000, later), 200);
    }

    #[test]
    fn few_are_remembered() {
        let mut budget = Budget::default();
        (0..5000).for_each(|source| budget.remember(host(source)));
        assert_eq!((budget.remembered.len(), budget.order.len()), (REMEMBERED, REMEMBERED));
    }
}
