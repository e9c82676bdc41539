//! What is known of the daemon, and what has happened since it is looked at.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use knock_core::control::{Event, EventKind, Grant, Seconds};
use knock_core::network::Network;

use super::feed::Snapshot;

/// So many events are remembered.
const MAX_EVENTS: usize = 1000;
/// How long the time is that one column stands for.
const COLUMN: Duration = Duration::from_secs(5);
/// So many of these are remembered.
pub(super) const COLUMNS: usize = 60;
/// So many of them are a minute.
const MINUTE: usize = 12;

/// Which grant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct GrantKey {
    pub(super) door: String,
    pub(super) network: Network,
}

impl GrantKey {
    pub(super) fn of(grant: &Grant) -> Self {
        Self { door: grant.door.clone(), network: grant.network }
    }
}

/// Everything that is shown.
#[derive(Clone, Debug)]
pub(super) struct Model {
    /// The last that the daemon said of itself.
    pub(super) snapshot: Snapshot,
    /// Why it says nothing any more.
    pub(super) gone: Option<String>,
    /// The oldest first.
    pub(super) events: VecDeque<Event>,
    /// How often each kind of thing happened.
    pub(super) rates: Rates,
    /// How much time each grant had when it had most.
    whole: BTreeMap<GrantKey, Duration>,
}

impl Model {
    pub(super) fn new(snapshot: Snapshot) -> Self {
        let rates = Rates::new(snapshot.taken);
        let mut model = Self {
            snapshot: snapshot.clone(),
            gone: None,
            events: VecDeque::new(),
            rates,
            whole: BTreeMap::new(),
        };
        model.update(snapshot);
        model
    }

    /// The daemon has said how it is.
    pub(super) fn update(&mut self, mut snapshot: Snapshot) {
        snapshot.grants.sort_by_key(|grant| (grant.left.is_none(), grant.left, GrantKey::of(grant)));
        snapshot
            .attempts
            .sort_by_key(|attempt| (std::cmp::Reverse(attempt.stage), attempt.left, attempt.source));
        let whole = |grant: &Grant| {
            let key = GrantKey::of(grant);
            let Seconds(left) = grant.left?;
            let of_door = snapshot.doors.iter().find(|door| door.name == key.door);
            let usual = of_door.and_then(|door| door.open_for).map_or(Duration::ZERO, |Seconds(time)| time);
            let before = self.whole.get(&key).copied().unwrap_or_default();
            let whole = if grant.by_hand { before.max(left) } else { before.max(left).max(usual) };
            Some((key, whole))
        };
        self.whole = snapshot.grants.iter().filter_map(whole).collect();
        self.snapshot = snapshot;
        self.gone = None;
    }

    /// It does not say anything: nobody knows what is open.
    pub(super) fn lose(&mut self, why: String) {
        self.gone = Some(why);
        self.snapshot.grants.clear();
        self.snapshot.attempts.clear();
        self.whole.clear();
    }

    /// Something happened.
    pub(super) fn add(&mut self, event: Event, now: Instant) {
        self.rates.count(event.event, now);
        self.events.push_back(event);
        if self.events.len() > MAX_EVENTS {
            self.events.pop_front();
        }
    }

    /// How much time a grant has left, and which part of all that it had.
    pub(super) fn left(&self, grant: &Grant, now: Instant) -> Option<(Duration, f64)> {
        let left = self.still(grant.left?, now);
        let whole = self.whole.get(&GrantKey::of(grant)).copied().unwrap_or(left);
        let part = if whole.is_zero() { 0.0 } else { left.as_secs_f64() / whole.as_secs_f64() };
        Some((left, part))
    }

    /// What is left of a time that the daemon has told of.
    pub(super) fn still(&self, Seconds(time): Seconds, now: Instant) -> Duration {
        time.saturating_sub(now.saturating_duration_since(self.snapshot.taken))
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rate {
    Knocks,
    Openings,
    Refusals,
}

impl Rate {
    fn of(kind: EventKind) -> Option<Self> {
        match kind {
            EventKind::Stage | EventKind::Opening | EventKind::CoolingDown => Some(Self::Knocks),
            EventKind::Opened | EventKind::Extended => Some(Self::Openings),
            EventKind::Refused
            | EventKind::TimedOut
            | EventKind::Spoiled
            | EventKind::Unfit
            | EventKind::Elsewhere
            | EventKind::NotAllowed
            | EventKind::Unbegun => Some(Self::Refusals),
            EventKind::Closed | EventKind::Reloaded | EventKind::Warning | EventKind::Other => None,
        }
    }
}

/// How often things happened lately.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    /// When the last column began.
    since: Instant,
    counts: [VecDeque<u32>; 3],
}

impl Rates {
    fn new(now: Instant) -> Self {
        Self { since: now, counts: [(); 3].map(|()| std::iter::repeat_n(0, COLUMNS).collect()) }
    }

    /// Time goes by.
    pub(super) fn advance(&mut self, now: Instant) {
        let columns = now.saturating_duration_since(self.since).as_secs() / COLUMN.as_secs();
        let Ok(columns) = u32::try_from(columns) else { return };
        self.since += COLUMN * columns;
        for _ in 0..columns.min(COLUMNS as u32) {
            for counts in &mut self.counts {
                counts.pop_front();
                counts.push_back(0);
            }
        }
    }

    fn count(&mut self, kind: EventKind, now: Instant) {
        self.advance(now);
        let Some(rate) = Rate::of(kind) else { return };
        if let Some(last) = self.counts.get_mut(rate as usize).and_then(VecDeque::back_mut) {
            *last = last.saturating_add(1);
        }
    }

    /// The last of them, a number for each five seconds.
    pub(super) fn last(&self, rate: Rate, columns: usize) -> Vec<u32> {
        let counts = self.counts.get(rate as usize);
        let counts = counts.map(|counts| counts.iter().copied().rev().take(columns)).into_iter().flatten();
        let mut counts: Vec<_> = counts.collect();
        counts.reverse();
        counts
    }

    /// How often in the last minute.
    pub(super) fn minute(&self, rate: Rate) -> u64 {
        self.last(rate, MINUTE).into_iter().map(u64::from).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_move_on() {
        let begin = Instant::now();
        let mut rates = Rates::new(begin);
        let at = |seconds| begin + Duration::from_secs(seconds);
        rates.count(EventKind::Stage, at(0));
        rates.count(EventKind::Opening, at(4));
        rates.count(EventKind::Refused, at(4));
        rates.count(EventKind::Stage, at(6));
        rates.count(EventKind::Closed, at(6));
        assert_eq!(rates.last(Rate::Knocks, 3), [0, 2, 1]);
        assert_eq!(
            (rates.minute(Rate::Knocks), rates.minute(Rate::Openings), rates.minute(Rate::Refusals)),
            (3, 0, 1)
        );
        rates.advance(at(64));
        assert_eq!(rates.minute(Rate::Knocks), 1);
        rates.advance(at(100_000));
        assert_eq!(rates.last(Rate::Knocks, COLUMNS), [0; COLUMNS]);
    }
}
