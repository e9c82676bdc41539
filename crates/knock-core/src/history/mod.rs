//! What was lately heard of each source and done for it, to explain it to the administrator.
//!
//! Bounded however many knock. Where it is full, the source heard of longest ago is forgotten; but sources that got
//! beyond a first knock have half of the room for themselves, so that made-up first knocks, however many, push out
//! nobody who knows more than the first port.

mod explanation;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::time::Timestamp;
use crate::tracker::{TrackedDoor, What};

pub use explanation::explanation;

/// How many sources the daemon remembers.
pub const SOURCES: usize = 4096;

/// How many events of each source the daemon remembers.
pub const EVENTS: usize = 32;

/// What happened between a source and a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When; the last time where it happened again and again.
    pub at: Timestamp,
    /// The door's name.
    pub door: Box<str>,
    /// What happened.
    pub what: Recorded,
    /// How many times it happened with nothing else in between; at least 1.
    pub times: u32,
}

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// What the tracker made of a knock, or of none; see [`Recorded::knock`].
    Knock {
        /// What it was.
        what: What,
        /// How many knocks the sequence has.
        of: usize,
        /// How long after the first knock the last may come; where the door was cooling down, how long it does.
        within: Duration,
    },
    /// It was knocked at with a key that may open it; whose that is.
    Admitted(String),
    /// The door was opened.
    Opened {
        /// For how long; `None` until somebody closes it.
        lasts: Option<Duration>,
    },
    /// The door was open already and stays open longer.
    Extended {
        /// How long from then; `None` until somebody closes it.
        lasts: Option<Duration>,
    },
    /// The sequence was complete or an administrator asked, and the door was not opened. Why, as a sentence without
    /// a full stop.
    Refused(String),
    /// The door was closed. Why, as a sentence without a full stop.
    Closed(String),
}

impl Recorded {
    /// What the tracker tells of a door, with what explains it.
    pub fn knock(what: What, door: &TrackedDoor) -> Self {
        let (right, within) = match what {
            What::CoolingDown => (0, door.cooldown),
            _ => (right_knocks(&what), door.timeout),
        };
        // A sequence that is good for one opening is gone when its last knock is told.
        Self::Knock { what, of: door.length().max(right), within }
    }

    /// Whether only somebody who knows more than the first port brings this about.
    fn is_beyond_first_knock(&self) -> bool {
        match self {
            Self::Knock { what, .. } => right_knocks(what) > 1,
            Self::Admitted(_) => true,
            _ => false,
        }
    }
}

/// How many knocks of the sequence were right for this to happen; 0 where nothing is known of it.
pub(crate) fn right_knocks(what: &What) -> usize {
    match *what {
        What::Stage(stage) | What::TimedOut(stage) | What::Spoiled { stage, .. } => stage,
        What::Unfit { knock, .. } | What::Elsewhere { knock, .. } => knock.saturating_sub(1),
        What::Opening | What::CoolingDown | What::NotAllowed | What::Unbegun(_) => 0,
    }
}

/// The last events of the sources last heard of.
pub struct History {
    sources: HashMap<IpAddr, Heard>,
    /// The sources by when they were heard of last.
    newcomers: BTreeMap<Turn, IpAddr>,
    /// Likewise those that got beyond a first knock.
    known: BTreeMap<Turn, IpAddr>,
    /// How many sources, and how many events of each.
    room: usize,
    each: usize,
    turn: Turn,
}

/// Counts what is recorded, to know what was later.
type Turn = u64;

#[derive(Default)]
struct Heard {
    last: Turn,
    known: bool,
    entries: VecDeque<Entry>,
}

impl History {
    /// Remembers so many sources, and so many events of each: at least two and one.
    pub fn new(sources: usize, each: usize) -> Self {
        Self {
            sources: HashMap::new(),
            newcomers: BTreeMap::new(),
            known: BTreeMap::new(),
            room: sources.max(2),
            each: each.max(1),
            turn: 0,
        }
    }

    /// Notes what happened between a source and the door of this name. Moments must not go back.
    pub fn record(&mut self, source: IpAddr, at: Timestamp, door: &str, what: Recorded) {
        let known = what.is_beyond_first_knock();
        let each = self.each;
        self.come_forward(source, known).note(at, door, what, each);
        self.make_room();
    }

    /// What is remembered of a source, oldest first.
    pub fn of(&self, source: IpAddr) -> impl Iterator<Item = &Entry> {
        self.sources.get(&source).into_iter().flat_map(|heard| &heard.entries)
    }

    /// Makes a source the one heard of last.
    fn come_forward(&mut self, source: IpAddr, known: bool) -> &mut Heard {
        self.turn += 1;
        let heard = self.sources.entry(source).or_default();
        let by_turn = if heard.known { &mut self.known } else { &mut self.newcomers };
        by_turn.remove(&heard.last);
        heard.last = self.turn;
        heard.known |= known;
        let by_turn = if heard.known { &mut self.known } else { &mut self.newcomers };
        by_turn.insert(self.turn, source);
        heard
    }

    /// Where there are too many, the oldest goes: of those known to the newcomers, of the newcomers altogether.
    fn make_room(&mut self) {
        if self.known.len() > self.room / 2
            && let Some((turn, source)) = self.known.pop_first()
            && let Some(heard) = self.sources.get_mut(&source)
        {
            heard.known = false;
            self.newcomers.insert(turn, source);
        }
        if self.sources.len() > self.room
            && let Some((_, source)) = self.newcomers.pop_first()
        {
            self.sources.remove(&source);
        }
    }
}

impl Heard {
    fn note(&mut self, at: Timestamp, door: &str, what: Recorded, each: usize) {
        if let Some(last) = self.entries.back_mut()
            && *last.door == *door
            && last.what == what
        {
            last.at = at;
            last.times = last.times.saturating_add(1);
            return;
        }
        if self.entries.len() >= each {
            self.entries.pop_front();
        }
        self.entries.push_back(Entry { at, door: door.into(), what, times: 1 });
    }
}

#[cfg(test)]
mod tests;
