//! How much is told of what strangers do: a flood of knocks must not fill a disk with lines about it.
//!
//! What comes of a first knock anybody can bring about from as many made-up sources as they like. It has an allowance of
//! its own, for all sources together and for each. What takes a second right knock has another, so that whoever knows
//! one port hides nothing of those who know more; and what is no line of the log, but kept to be explained, has others
//! than lines have. An opening is always told.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::time::Duration;

use crate::allowance::{Allowance, Spent};
use crate::history::right_knocks;
use crate::network::Network;
use crate::time::Timestamp;
use crate::tracker::{Event, What};

/// For all sources together.
const TOGETHER: Allowance = Allowance { at_once: 500, pace: Duration::from_millis(100) };
/// For one source.
const EACH: Allowance = Allowance { at_once: 100, pace: Duration::from_secs(1) };
/// How many allowances there are for single sources: some of these share one.
const SHARES: usize = 1024;
/// How soon it is told that something is left out, and how often then.
const FIRST: Duration = Duration::from_secs(1);
const TELL: Duration = Duration::from_secs(60);

/// Decides what is told.
pub struct Quota {
    /// So many times as much as usual.
    generosity: u32,
    lines: Spending,
    remarks: Spending,
    hasher: RandomState,
    left_out: u64,
    told: u64,
    tell_at: Option<Timestamp>,
}

/// How much more may be told behind another quota, whose events may come in all at once.
const BACKSTOP: u32 = 4;

impl Default for Quota {
    fn default() -> Self {
        Self::generous(1)
    }
}

impl Quota {
    /// For what has passed another quota, if that was kept: it says nothing then.
    pub fn backstop() -> Self {
        Self::generous(BACKSTOP)
    }

    fn generous(generosity: u32) -> Self {
        Self {
            generosity,
            lines: Spending::default(),
            remarks: Spending::default(),
            hasher: RandomState::new(),
            left_out: 0,
            told: 0,
            tell_at: None,
        }
    }

    /// Whether this is to be told.
    pub fn admits(&mut self, event: &Event, now: Timestamp) -> bool {
        let is_line = match event.what {
            What::Opening => return true,
            What::Stage(_) | What::TimedOut(_) => true,
            _ => false,
        };
        let spending = if is_line { &mut self.lines } else { &mut self.remarks };
        let source = self.hasher.hash_one(Network::party(event.source)) as usize % SHARES;
        let admitted = spending.spend(self.generosity, right_knocks(&event.what) > 1, source, now);
        if is_line && !admitted {
            self.left_out = self.left_out.saturating_add(1);
            self.tell_at.get_or_insert(now + FIRST);
        }
        admitted
    }

    /// Whether a line is to be told about something that anybody can bring about; or, where it takes a secret, whoever
    /// `knows` it, and whoever sends that again.
    pub fn admits_line(&mut self, source: IpAddr, knows: bool, now: Timestamp) -> bool {
        let source = self.hasher.hash_one(Network::party(source)) as usize % SHARES;
        let admitted = self.lines.spend(self.generosity, knows, source, now);
        if !admitted {
            self.left_out = self.left_out.saturating_add(1);
            self.tell_at.get_or_insert(now + FIRST);
        }
        admitted
    }

    /// Notes that so many more lines were left out by somebody else.
    pub fn leave_out(&mut self, count: u64, now: Timestamp) {
        if count > 0 {
            self.left_out = self.left_out.saturating_add(count);
            self.tell_at.get_or_insert(now + FIRST);
        }
    }

    /// How many lines were left out so far.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// When it is to be told next how many lines were left out.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.tell_at
    }

    /// How many lines were left out since this was told last; soon at first, and then once in a while.
    pub fn tell(&mut self, now: Timestamp) -> Option<u64> {
        self.tell_at.filter(|due| *due <= now)?;
        let news = self.rest();
        self.tell_at = (news > 0).then(|| now + TELL);
        self.tell_at.map(|_| news)
    }

    /// How many were left out since this was told last; they count as told.
    pub fn rest(&mut self) -> u64 {
        let news = self.left_out - self.told;
        self.told = self.left_out;
        news
    }
}

/// What all sources have spent, and each.
struct Spending {
    first_knocks: Spent,
    further_knocks: Spent,
    sources: Box<[Spent]>,
}

impl Default for Spending {
    fn default() -> Self {
        let sources = vec![Spent::default(); SHARES].into();
        Self { first_knocks: Spent::default(), further_knocks: Spent::default(), sources }
    }
}

impl Spending {
    /// Spends something of both, unless one has nothing left.
    fn spend(&mut self, generosity: u32, further: bool, source: usize, now: Timestamp) -> bool {
        let [together, each] = [TOGETHER, EACH].map(|allowance| allowance.times(generosity));
        let share = if further { &mut self.further_knocks } else { &mut self.first_knocks };
        share.has_left(together, now)
            && self.sources.get_mut(source).is_none_or(|source| source.spend(each, now))
            && share.spend(together, now)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn event(source: u32, what: What) -> Event {
        Event { door: 0, source: IpAddr::V4(source.into()), what }
    }

    fn admitted(quota: &mut Quota, events: impl IntoIterator<Item = Event>, now: Timestamp) -> usize {
        events.into_iter().filter(|event| quota.admits(event, now)).count()
    }

    const START: Timestamp = Timestamp::from_millis(5000);

    #[test]
    fn a_flood_of_first_knocks_is_told_in_part() {
        let mut quota = Quota::default();
        let flood = || (0..100_000).map(|source| event(source, What::Stage(1)));
        assert_eq!(admitted(&mut quota, flood(), START), 500);
        assert_eq!(quota.left_out(), 99_500);
        assert_eq!(admitted(&mut quota, flood(), START + Duration::from_secs(3)), 30);
        let knower = event(7, What::Stage(2));
        assert!(quota.admits(&knower, START), "who knows more is not hidden by those who know less");
        assert_eq!(admitted(&mut quota, flood(), START + Duration::from_secs(3600)), 500);
    }

    #[test]
    fn one_source_does_not_take_it_all() {
        let mut quota = Quota::default();
        let one = || std::iter::repeat_n(event(1, What::TimedOut(1)), 1000);
        assert_eq!(admitted(&mut quota, one(), START), 100);
        let others = (2..252).map(|source| event(source, What::Stage(1)));
        // Some share the allowance of the one that has none left.
        assert!(admitted(&mut quota, others, START) > 230);
    }

    #[test]
    fn what_is_sent_again_and_again_fills_no_log() {
        let mut quota = Quota::default();
        let mut told = |authentic| {
            let sources = (0..100_000_u32).map(|source| IpAddr::V4(source.into()));
            sources.filter(|source| quota.admits_line(*source, authentic, START)).count()
        };
        assert_eq!(told(false), 500);
        assert_eq!(told(true), 500, "nobody's own hides it");
        assert_eq!(quota.left_out(), 199_000);
    }

    #[test]
    fn ipv6_counts_by_prefix() {
        let mut quota = Quota::default();
        let neighbours = (0..1000_u128).map(|host| Event {
            door: 0,
            source: IpAddr::V6((0x2001_0db8_u128 << 96 | host).into()),
            what: What::Stage(1),
        });
        assert_eq!(admitted(&mut quota, neighbours, START), 100);
    }

    #[test]
    fn what_is_no_line_hides_none() {
        let mut quota = Quota::default();
        let strange = std::iter::repeat_n(event(1, What::Unbegun(2)), 1000);
        assert_eq!(admitted(&mut quota, strange, START), 100);
        assert!(quota.admits(&event(1, What::Stage(1)), START));
        assert_eq!((quota.left_out(), quota.next_deadline()), (0, None));
    }

    #[test]
    fn lines_of_strangers_hide_none_of_those_who_know_something() {
        let mut quota = Quota::default();
        let told =
            (0..100_000_u32).filter(|at| quota.admits_line(IpAddr::V4((*at).into()), false, START)).count();
        assert_eq!((told, quota.left_out()), (500, 99_500));
        assert!(quota.admits_line(IpAddr::V4(7.into()), true, START));
        let again = (0..1000).filter(|_| quota.admits_line(IpAddr::V4(8.into()), true, START)).count();
        // Some of the strangers have spent of the same allowance.
        assert!((90..=100).contains(&again), "{again}");
    }

    #[test]
    fn openings_are_always_told() {
        let mut quota = Quota::default();
        assert_eq!(admitted(&mut quota, std::iter::repeat_n(event(1, What::Opening), 5000), START), 5000);
        assert_eq!(quota.next_deadline(), None);
    }

    #[test]
    fn what_was_left_out_is_told_soon_and_then_once_a_minute() {
        let mut quota = Quota::default();
        let flood = || std::iter::repeat_n(event(1, What::Stage(1)), 150);
        admitted(&mut quota, flood(), START);
        assert_eq!((quota.next_deadline(), quota.tell(START)), (Some(START + FIRST), None));
        let first = START + FIRST;
        assert_eq!(quota.tell(first), Some(50));
        admitted(&mut quota, flood(), START);
        assert_eq!(quota.tell(first + Duration::from_secs(59)), None);
        let minute = first + Duration::from_secs(60);
        assert_eq!((quota.next_deadline(), quota.tell(minute)), (Some(minute), Some(150)));
        assert_eq!(quota.tell(minute + TELL), None, "nothing new");
        assert_eq!(quota.next_deadline(), None);
    }
}
