//! A bounded store of attempts whose every operation takes the same time, however many there are.
//!
//! Attempts sit in a slab and are linked into three kinds of lists: those of one party, those with one timeout
//! (oldest first, so that the next deadline is always at some list's front), and those of one class (longest without
//! a knock first), which says who has to leave where a class has more than its share.

use std::collections::hash_map::Entry as MapEntry;
use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::time::Duration;

use super::attempt::{Attempt, CLASSES, Class, Stage};
use super::keys::{Key, Spread};
use crate::knock::Knock;
use crate::time::Timestamp;

/// The clock's end.
const NEVER: Timestamp = Timestamp::from_nanos(u64::MAX);

/// Where an attempt sits in the slab, counted from 1.
pub(super) type Slot = NonZeroU32;

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

impl List {
    /// Lets one be the last; tells who was.
    fn push(&mut self, slot: Slot) -> Option<Slot> {
        let last = self.back.replace(slot);
        if last.is_none() {
            self.front = Some(slot);
        }
        last
    }

    /// Closes the gap of one that had these neighbours.
    fn close(&mut self, Link { before, behind }: Link) {
        if before.is_none() {
            self.front = behind;
        }
        if behind.is_none() {
            self.back = before;
        }
    }
}

/// One of the lists by timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Lane(u32);

impl Lane {
    /// For those that come into the pool later than others whose deadline is later.
    pub(super) const UNORDERED: Self = Self(u32::MAX);
}

/// Which of its links an entry is meant by.
#[derive(Clone, Copy)]
enum Kind {
    Party = 0,
    Timeout = 1,
    Class = 2,
}

/// What the pool has to know of an attempt, besides the attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Belonging {
    pub(super) key: Key,
    /// Which of the timeout lists it is in.
    pub(super) lane: Lane,
    /// Its door is a strict one.
    pub(super) strict: bool,
}

struct Entry {
    attempt: Attempt,
    belonging: Belonging,
    links: [Link; 3],
}

/// The attempts of who counts as one.
#[derive(Default)]
struct Party {
    list: List,
    length: u32,
}

/// The attempts of a class, by whether their door is strict.
#[derive(Default)]
struct Room {
    lists: [List; 2],
    length: usize,
    share: usize,
}

/// The attempts under way.
pub(super) struct Pool {
    entries: Vec<Option<Entry>>,
    free: Vec<Slot>,
    parties: HashMap<u64, Party, Spread>,
    lanes: Vec<(Duration, List)>,
    unordered: BTreeSet<(Timestamp, Slot)>,
    rooms: [Room; CLASSES],
    /// Before this moment nothing is due.
    quiet_until: Timestamp,
    strict_version: u64,
}

/// How many attempts of each class there may be: half of them are for first knocks, and the others have equal parts of
/// the rest; each has one at least.
fn shares(capacity: usize) -> [usize; CLASSES] {
    let first = capacity.div_ceil(2);
    let other = (capacity - first) / (CLASSES - 1);
    [first, other, other, other].map(|share| share.max(1))
}

impl Pool {
    /// A pool for `capacity` attempts, which takes memory as it fills.
    pub(super) fn new(capacity: usize) -> Self {
        let shares = shares(capacity.min(u32::MAX as usize / 2));
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            parties: HashMap::default(),
            lanes: Vec::new(),
            unordered: BTreeSet::new(),
            rooms: shares.map(|share| Room { share, ..Room::default() }),
            quiet_until: Timestamp::ZERO,
            strict_version: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rooms.iter().map(|room| room.length).sum()
    }

    pub(super) fn get(&self, slot: Slot) -> Option<&Attempt> {
        self.entry(slot).map(|entry| &entry.attempt)
    }

    /// The slots of all attempts.
    pub(super) fn slots(&self) -> Vec<Slot> {
        let slots = (1..=self.entries.len() as u32).filter_map(Slot::new);
        slots.filter(|slot| self.entry(*slot).is_some()).collect()
    }

    /// The first of the party's attempts; [`Pool::behind`] leads to the others.
    pub(super) fn of_party(&self, key: Key) -> Option<Slot> {
        self.parties.get(&key.party).and_then(|party| party.list.front)
    }

    /// The next attempt of the same party.
    pub(super) fn behind(&self, slot: Slot) -> Option<Slot> {
        self.link(slot, Kind::Party).behind
    }

    /// The list of attempts that last `timeout`, made where there is none.
    pub(super) fn lane(&mut self, timeout: Duration) -> Lane {
        let known = self.lanes.iter().position(|(known, _)| *known == timeout);
        Lane(known.unwrap_or_else(|| {
            self.lanes.push((timeout, List::default()));
            self.lanes.len() - 1
        }) as u32)
    }

    /// Adds an attempt. The attempts of a lane must come in the order of their `since`; in [`Lane::UNORDERED`] they
    /// bring their deadline with them.
    pub(super) fn insert(&mut self, attempt: Attempt, belonging: Belonging) -> Option<Slot> {
        let slot = self.place(Entry { attempt, belonging, links: [Link::default(); 3] })?;
        self.begin_party(slot);
        self.begin_lane(slot);
        self.begin_class(slot);
        Some(slot)
    }

    /// Takes an attempt out.
    pub(super) fn remove(&mut self, slot: Slot) -> Option<(Attempt, Key)> {
        self.leave_party(slot);
        self.leave_class(slot);
        self.leave_lane(slot);
        let entry = self.entries.get_mut(index(slot))?.take()?;
        self.free.push(slot);
        if self.len() == 0 {
            self.give_memory_back();
        }
        Some((entry.attempt, entry.belonging.key))
    }

    /// Notes that an attempt has come to another stage by this knock; its deadline stays.
    pub(super) fn promote(&mut self, slot: Slot, stage: Stage, knock: &Knock, now: Timestamp) {
        self.leave_class(slot);
        if let Some(entry) = self.entry_mut(slot) {
            entry.attempt.advance(stage, knock, now);
        }
        self.begin_class(slot);
    }

    /// Makes another attempt of the same source and door out of this one, with a deadline of its own.
    pub(super) fn renew(&mut self, slot: Slot, lane: Lane, change: impl FnOnce(&mut Attempt)) {
        self.leave_class(slot);
        self.leave_lane(slot);
        if let Some(entry) = self.entry_mut(slot) {
            change(&mut entry.attempt);
            entry.belonging.lane = lane;
        }
        self.begin_lane(slot);
        self.begin_class(slot);
    }

    /// Who has to leave a class that has more than its share: who is longest without a knock.
    pub(super) fn too_many(&self, class: Class) -> Option<Slot> {
        let room = &self.rooms[class as usize];
        if room.length <= room.share {
            return None;
        }
        let fronts = room.lists.iter().filter_map(|list| list.front);
        fronts.min_by_key(|slot| self.get(*slot).map(|attempt| attempt.last))
    }

    /// Which attempt has to go where a party has one more than `budget`: of those with one knock the oldest. Where only
    /// the one that came last is such, the oldest whose door has opened goes for it, or else it must go itself.
    pub(super) fn over_budget(&self, key: Key, budget: usize) -> Option<Slot> {
        let party = self.parties.get(&key.party).filter(|party| party.length as usize > budget)?;
        let slots = || std::iter::successors(party.list.front, |slot| self.behind(*slot));
        let oldest = |class| slots().find(|slot| self.class(*slot) == Some(class));
        let first = oldest(Class::First).filter(|slot| Some(*slot) != party.list.back);
        first
            .or_else(|| [Class::Done, Class::First, Class::Second, Class::Later].into_iter().find_map(oldest))
    }

    /// An attempt that is over.
    pub(super) fn due(&mut self, now: Timestamp) -> Option<Slot> {
        if now < self.quiet_until {
            return None;
        }
        let next = self.next_due();
        self.quiet_until = next.map_or(NEVER, |(_, deadline)| deadline);
        next.filter(|(_, deadline)| *deadline <= now).map(|(slot, _)| slot)
    }

    /// The attempt with the earliest deadline.
    pub(super) fn next_due(&self) -> Option<(Slot, Timestamp)> {
        let fronts = self.lanes.iter().filter_map(|(_, list)| list.front);
        let ordered = fronts.filter_map(|slot| Some((slot, self.get(slot)?.deadline)));
        let unordered = self.unordered.first().map(|(deadline, slot)| (*slot, *deadline));
        ordered.chain(unordered).min_by_key(|(_, deadline)| *deadline)
    }

    /// The attempts under way on strict doors: those of a class that has come further first, and in a class the one
    /// that has knocked last.
    pub(super) fn strict(&self) -> impl Iterator<Item = &Attempt> {
        let classes = [Class::Later, Class::Second, Class::First];
        let backs = classes.map(|class| self.rooms[class as usize].lists[usize::from(true)].back);
        let list = |back| std::iter::successors(back, |slot| self.link(*slot, Kind::Class).before);
        backs.into_iter().flat_map(list).filter_map(|slot| self.get(slot))
    }

    /// Another number whenever what [`Pool::strict`] tells has changed.
    pub(super) fn strict_version(&self) -> u64 {
        self.strict_version
    }

    /// All attempts, in no order.
    pub(super) fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.entries.iter().flatten().map(|entry| &entry.attempt)
    }

    /// All attempts with their keys, in no order.
    pub(super) fn into_attempts(self) -> impl Iterator<Item = (Attempt, Key)> {
        self.entries.into_iter().flatten().map(|entry| (entry.attempt, entry.belonging.key))
    }

    /// How much memory it takes, about.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let entries = self.entries.capacity() * size_of::<Option<Entry>>();
        let parties = self.parties.capacity() * (size_of::<(u64, Party)>() + 1) * 8 / 7;
        entries + parties + self.free.capacity() * size_of::<Slot>()
    }

    fn class(&self, slot: Slot) -> Option<Class> {
        self.get(slot).map(|attempt| attempt.stage.class())
    }

    fn give_memory_back(&mut self) {
        self.entries = Vec::new();
        self.free = Vec::new();
        self.parties = HashMap::default();
    }

    fn place(&mut self, entry: Entry) -> Option<Slot> {
        if let Some(slot) = self.free.pop() {
            *self.entries.get_mut(index(slot))? = Some(entry);
            return Some(slot);
        }
        let slot = u32::try_from(self.entries.len() + 1).ok().and_then(Slot::new)?;
        self.entries.push(Some(entry));
        Some(slot)
    }

    fn begin_party(&mut self, slot: Slot) {
        let Some(key) = self.entry(slot).map(|entry| entry.belonging.key) else { return };
        let party = self.parties.entry(key.party).or_default();
        party.length += 1;
        let last = party.list.push(slot);
        self.link_behind(last, slot, Kind::Party);
    }

    fn leave_party(&mut self, slot: Slot) {
        let Some(key) = self.entry(slot).map(|entry| entry.belonging.key) else { return };
        let link = self.cut(slot, Kind::Party);
        let MapEntry::Occupied(mut party) = self.parties.entry(key.party) else { return };
        party.get_mut().list.close(link);
        party.get_mut().length -= 1;
        if party.get().length == 0 {
            party.remove();
        }
    }

    fn begin_class(&mut self, slot: Slot) {
        let Some(room) = self.room(slot) else { return };
        let (list, length) = room;
        *length += 1;
        let last = list.push(slot);
        self.link_behind(last, slot, Kind::Class);
    }

    fn leave_class(&mut self, slot: Slot) {
        let link = self.cut(slot, Kind::Class);
        let Some((list, length)) = self.room(slot) else { return };
        *length -= 1;
        list.close(link);
    }

    /// The list by class that an attempt belongs to, and how many are in its class; notes that they change.
    fn room(&mut self, slot: Slot) -> Option<(&mut List, &mut usize)> {
        let Entry { attempt, belonging, .. } = self.entries.get(index(slot))?.as_ref()?;
        let class = attempt.stage.class();
        if belonging.strict && class != Class::Done {
            self.strict_version = self.strict_version.wrapping_add(1);
        }
        let room = &mut self.rooms[class as usize];
        Some((&mut room.lists[usize::from(belonging.strict)], &mut room.length))
    }

    fn begin_lane(&mut self, slot: Slot) {
        let Some(Entry { attempt, belonging, .. }) =
            self.entries.get_mut(index(slot)).and_then(Option::as_mut)
        else {
            return;
        };
        let last = match self.lanes.get_mut(belonging.lane.0 as usize) {
            Some((timeout, list)) => {
                attempt.deadline = attempt.since + *timeout;
                Some(list.push(slot))
            }
            None => {
                self.unordered.insert((attempt.deadline, slot));
                None
            }
        };
        self.quiet_until = self.quiet_until.min(attempt.deadline);
        if let Some(last) = last {
            self.link_behind(last, slot, Kind::Timeout);
        }
    }

    fn leave_lane(&mut self, slot: Slot) {
        let Some(Entry { attempt, belonging, .. }) = self.entry(slot) else { return };
        let (deadline, lane) = (attempt.deadline, belonging.lane);
        let link = self.cut(slot, Kind::Timeout);
        match self.lanes.get_mut(lane.0 as usize) {
            Some((_, list)) => list.close(link),
            None => {
                self.unordered.remove(&(deadline, slot));
            }
        }
    }

    /// Ties an attempt to the one that was the last of its list.
    fn link_behind(&mut self, last: Option<Slot>, slot: Slot, kind: Kind) {
        self.set_link(slot, kind, |link| *link = Link { before: last, behind: None });
        if let Some(last) = last {
            self.set_link(last, kind, |link| link.behind = Some(slot));
        }
    }

    /// Ties an attempt's neighbours to each other; tells who they are.
    fn cut(&mut self, slot: Slot, kind: Kind) -> Link {
        let Link { before, behind } = self.link(slot, kind);
        if let Some(before) = before {
            self.set_link(before, kind, |link| link.behind = behind);
        }
        if let Some(behind) = behind {
            self.set_link(behind, kind, |link| link.before = before);
        }
        Link { before, behind }
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
        self.entries.get(index(slot))?.as_ref()
    }

    fn entry_mut(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.entries.get_mut(index(slot))?.as_mut()
    }
}

const fn index(slot: Slot) -> usize {
    slot.get() as usize - 1
}
