//! A bounded store of attempts whose every operation takes the same time, however many there are.
//!
//! Attempts sit in a slab and are linked into three kinds of lists: those of one source, those with one timeout
//! (oldest first, so that the next deadline is always at some list's front), and the young ones, which make
//! room when there is none.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use super::DoorIndex;
use crate::knock::{Knock, Protocol};
use crate::time::Timestamp;

/// Where an attempt sits in the slab.
pub(super) type Slot = u32;

/// How long after a datagram a copy of it may come.
const DUPLICATE: Duration = Duration::from_secs(1);

/// How many of its latest knocks an attempt remembers to know a repetition by.
const REMEMBERED: usize = 8;

/// How far one source has come on one door.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) source: IpAddr,
    pub(super) door: DoorIndex,
    pub(super) stage: Stage,
    /// The first knock, or the opening where this is a cool-down.
    pub(super) since: Timestamp,
    pub(super) deadline: Timestamp,
    /// The knock before.
    last: Timestamp,
    knocks: [u32; REMEMBERED],
    known: u8,
}

/// What an attempt waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// So many knocks were right; at least one.
    Reached(u8),
    /// The sequence was complete; its knocks may still come again.
    Complete,
    /// The door was opened; knocks are passed over until the deadline.
    CoolingDown,
}

impl Stage {
    /// Whether an attempt at this stage may be thrown out for another: whoever got beyond the first port may not.
    fn is_young(self) -> bool {
        !matches!(self, Self::Reached(2..))
    }
}

impl Attempt {
    /// An attempt that begins with this knock; its deadline comes with its lane.
    pub(super) fn new(knock: &Knock, door: DoorIndex, stage: Stage, now: Timestamp) -> Self {
        let (source, knocks) = (knock.source, [0; REMEMBERED]);
        let mut attempt =
            Self { source, door, stage, since: now, deadline: now, last: now, knocks, known: 0 };
        attempt.remember(knock, now);
        attempt
    }

    /// Remembers a knock, at the price of the oldest.
    fn remember(&mut self, knock: &Knock, now: Timestamp) {
        self.knocks.rotate_right(1);
        self.knocks[0] = folded(knock.fingerprint);
        self.known = REMEMBERED.min(usize::from(self.known) + 1) as u8;
        self.last = now;
    }

    /// Whether this very packet was a knock of this attempt already.
    ///
    /// A SYN may be sent again, and late. A datagram is not, and its copies come right behind it: later the same from
    /// the same socket is another knock, which IPv6, that has no identification, does not tell apart.
    pub(super) fn remembers(&self, knock: &Knock, now: Timestamp) -> bool {
        let known = self.knocks.get(..usize::from(self.known)).unwrap_or_default();
        let fingerprint = folded(knock.fingerprint);
        match knock.step.protocol {
            Protocol::Tcp => known.contains(&fingerprint),
            Protocol::Udp => known.first() == Some(&fingerprint) && now.since(self.last) < DUPLICATE,
        }
    }
}

/// Half the size: two knocks of one attempt that are taken for one are one chance in four thousand million.
fn folded(fingerprint: u64) -> u32 {
    (fingerprint as u32) ^ ((fingerprint >> 32) as u32).rotate_left(16)
}

#[derive(Clone, Copy, Debug, Default)]
struct Link {
    before: Option<Slot>,
    behind: Option<Slot>,
}

#[derive(Clone, Copy, Debug, Default)]
struct List {
    front: Option<Slot>,
    back: Option<Slot>,
}

/// One of the lists by timeout.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lane(usize);

/// Which of its links an entry is meant by.
#[derive(Clone, Copy)]
enum Kind {
    Source = 0,
    Timeout = 1,
    Young = 2,
}

struct Entry {
    attempt: Attempt,
    /// Which of the timeout lists it is in.
    lane: Lane,
    links: [Link; 3],
}

/// The attempts under way.
pub(super) struct Pool {
    entries: Vec<Option<Entry>>,
    free: Vec<Slot>,
    sources: HashMap<IpAddr, List>,
    lanes: Vec<(Duration, List)>,
    young: List,
    capacity: usize,
    length: usize,
}

impl Pool {
    /// A pool for `capacity` attempts, which takes memory as it fills.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            sources: HashMap::new(),
            lanes: Vec::new(),
            young: List::default(),
            capacity: capacity.min(Slot::MAX as usize),
            length: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Attempt> {
        self.entry(slot).map(|entry| &entry.attempt)
    }

    /// The slots of all attempts.
    pub(super) fn slots(&self) -> Vec<Slot> {
        (0..self.entries.len() as Slot).filter(|slot| self.entry(*slot).is_some()).collect()
    }

    /// The attempts of a source.
    pub(super) fn of_source(&self, source: IpAddr) -> impl Iterator<Item = Slot> {
        let first = self.sources.get(&source).and_then(|list| list.front);
        std::iter::successors(first, |slot| self.link(*slot, Kind::Source).behind)
    }

    /// The list of attempts that last `timeout`, made where there is none.
    pub(super) fn lane(&mut self, timeout: Duration) -> Lane {
        let known = self.lanes.iter().position(|(known, _)| *known == timeout);
        Lane(known.unwrap_or_else(|| {
            self.lanes.push((timeout, List::default()));
            self.lanes.len() - 1
        }))
    }

    /// Adds an attempt; when the pool is full, the oldest young one is thrown out for it, and without a young
    /// one nothing is added. The attempts of a lane must come in the order of their `since`.
    pub(super) fn insert(&mut self, attempt: Attempt, lane: Lane) -> Option<Inserted> {
        let thrown_out = if self.length < self.capacity { None } else { self.remove(self.young.front?) };
        let slot = self.place(attempt, lane);
        self.link_everywhere(slot);
        Some(Inserted { slot, thrown_out })
    }

    /// Takes an attempt out.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<Attempt> {
        self.entry(slot)?;
        self.unlink_everywhere(slot);
        let entry = self.entries.get_mut(slot as usize)?.take()?;
        self.length -= 1;
        self.free.push(slot);
        if self.length == 0 {
            self.give_memory_back();
        }
        Some(entry.attempt)
    }

    /// Lets an attempt wait for something else from now on; it still knows its knocks.
    pub(super) fn renew(&mut self, slot: Slot, stage: Stage, now: Timestamp, lane: Lane) {
        if let Some(attempt) = self.remove(slot) {
            self.insert(Attempt { stage, since: now, ..attempt }, lane);
        }
    }

    /// Notes that an attempt has come to another stage by this knock; its deadline stays.
    pub(super) fn promote(&mut self, slot: Slot, stage: Stage, knock: &Knock, now: Timestamp) {
        let Some(entry) = self.entry_mut(slot) else { return };
        let was_young = entry.attempt.stage.is_young();
        entry.attempt.stage = stage;
        entry.attempt.remember(knock, now);
        match (was_young, stage.is_young()) {
            (true, false) => self.unlink(slot, Kind::Young),
            (false, true) => self.link_back(slot, Kind::Young),
            _ => {}
        }
    }

    /// The attempt with the earliest deadline.
    pub(super) fn next_due(&self) -> Option<(Slot, Timestamp)> {
        let fronts = self.lanes.iter().filter_map(|(_, list)| list.front);
        fronts.filter_map(|slot| Some((slot, self.get(slot)?.deadline))).min_by_key(|(_, deadline)| *deadline)
    }

    /// All attempts, in no order.
    pub(super) fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.entries.iter().flatten().map(|entry| &entry.attempt)
    }

    /// All attempts, in no order.
    pub(super) fn into_attempts(self) -> impl Iterator<Item = Attempt> {
        self.entries.into_iter().flatten().map(|entry| entry.attempt)
    }

    fn give_memory_back(&mut self) {
        self.entries = Vec::new();
        self.free = Vec::new();
        self.sources = HashMap::new();
    }

    fn place(&mut self, mut attempt: Attempt, lane: Lane) -> Slot {
        let timeout = self.lanes.get(lane.0).map_or(Duration::ZERO, |(timeout, _)| *timeout);
        attempt.deadline = attempt.since + timeout;
        let entry = Some(Entry { attempt, lane, links: [Link::default(); 3] });
        self.length += 1;
        match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = entry;
                slot
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as Slot
            }
        }
    }

    fn link_everywhere(&mut self, slot: Slot) {
        self.link_back(slot, Kind::Source);
        self.link_back(slot, Kind::Timeout);
        if self.get(slot).is_some_and(|attempt| attempt.stage.is_young()) {
            self.link_back(slot, Kind::Young);
        }
    }

    fn unlink_everywhere(&mut self, slot: Slot) {
        if self.get(slot).is_some_and(|attempt| attempt.stage.is_young()) {
            self.unlink(slot, Kind::Young);
        }
        self.unlink(slot, Kind::Timeout);
        self.unlink(slot, Kind::Source);
    }

    fn link_back(&mut self, slot: Slot, kind: Kind) {
        let Some(list) = self.list(slot, kind) else { return };
        let last = list.back.replace(slot);
        if last.is_none() {
            list.front = Some(slot);
        }
        self.set_link(slot, kind, |link| *link = Link { before: last, behind: None });
        if let Some(last) = last {
            self.set_link(last, kind, |link| link.behind = Some(slot));
        }
    }

    fn unlink(&mut self, slot: Slot, kind: Kind) {
        let Link { before, behind } = self.link(slot, kind);
        if let Some(before) = before {
            self.set_link(before, kind, |link| link.behind = behind);
        }
        if let Some(behind) = behind {
            self.set_link(behind, kind, |link| link.before = before);
        }
        let Some(list) = self.list(slot, kind) else { return };
        if before.is_none() {
            list.front = behind;
        }
        if behind.is_none() {
            list.back = before;
        }
        let empty = list.front.is_none();
        if let (true, Kind::Source, Some(source)) =
            (empty, kind, self.get(slot).map(|attempt| attempt.source))
        {
            self.sources.remove(&source);
        }
    }

    /// The list that holds `slot` in this respect; a source's is made when it has none.
    fn list(&mut self, slot: Slot, kind: Kind) -> Option<&mut List> {
        let entry = self.entries.get(slot as usize)?.as_ref()?;
        match kind {
            Kind::Source => Some(self.sources.entry(entry.attempt.source).or_default()),
            Kind::Timeout => self.lanes.get_mut(entry.lane.0).map(|(_, list)| list),
            Kind::Young => Some(&mut self.young),
        }
    }

    fn link(&self, slot: Slot, kind: Kind) -> Link {
        self.entry(slot).map_or(Link::default(), |entry| entry.links[kind as usize])
    }

    fn set_link(&mut self, slot: Slot, kind: Kind, change: impl FnOnce(&mut Link)) {
        if let Some(entry) = self.entry_mut(slot) {
            change(&mut entry.links[kind as usize]);
        }
    }

    fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.entries.get(slot as usize)?.as_ref()
    }

    fn entry_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.entries.get_mut(slot as usize)?.as_mut()
    }
}

/// An attempt that was added.
pub(super) struct Inserted {
    pub(super) slot: Slot,
    /// The one that had to go for it.
    pub(super) thrown_out: Option<Attempt>,
}
