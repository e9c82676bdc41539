//! How far one source has come on one door, and by which packets.

use std::net::IpAddr;
use std::time::Duration;

use super::DoorIndex;
use crate::knock::{Knock, Protocol};
use crate::sequence::Step;
use crate::time::Timestamp;

/// How long after a datagram a copy of it may come.
const DUPLICATE: Duration = Duration::from_secs(1);

/// How many of its latest knocks an attempt remembers, besides its first, to know a repetition by.
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
    pub(super) last: Timestamp,
    knocks: Knocks,
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

/// Those who share room, since they have shown to know as much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    First,
    Second,
    Later,
    Done,
}

impl Class {
    /// From those who know least.
    pub(super) const ALL: [Self; CLASSES] = [Self::First, Self::Second, Self::Later, Self::Done];
}

pub(super) const CLASSES: usize = 4;

impl Stage {
    pub(super) const fn class(self) -> Class {
        match self {
            Self::Reached(0..=1) => Class::First,
            Self::Reached(2) => Class::Second,
            Self::Reached(3..) => Class::Later,
            Self::Complete | Self::CoolingDown => Class::Done,
        }
    }
}

/// Where in the sequence a packet's port is, seen from an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is the next one.
    Next,
    /// It is the one just accepted.
    Accepted,
    /// It is the first.
    First,
    /// It is none of these.
    Wrong,
}

/// What is left of an attempt when it had to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shade {
    pub(super) stage: u8,
    pub(super) since: Timestamp,
    /// The first and the last knock, in short.
    pub(super) ends: [u8; 2],
}

impl Attempt {
    /// An attempt that begins with this knock; its deadline comes with its lane.
    pub(super) fn new(knock: &Knock, door: DoorIndex, stage: Stage, now: Timestamp) -> Self {
        let knocks = Knocks::of(knock);
        Self { source: knock.source, door, stage, since: now, deadline: now, last: now, knocks }
    }

    /// An attempt that goes on from what was left of it.
    pub(super) fn revived(shade: Shade, source: IpAddr, door: DoorIndex) -> Self {
        let Shade { stage, since, ends } = shade;
        let knocks = Knocks::blurred(stage, ends);
        Self { source, door, stage: Stage::Reached(stage), since, deadline: since, last: since, knocks }
    }

    /// What is to be left of it; nothing where it waits for no knock.
    pub(super) fn shade(&self) -> Option<Shade> {
        let Stage::Reached(stage) = self.stage else { return None };
        Some(Shade { stage, since: self.since, ends: self.knocks.ends() })
    }

    /// Comes to another stage by this knock.
    pub(super) fn advance(&mut self, stage: Stage, knock: &Knock, now: Timestamp) {
        (self.stage, self.last) = (stage, now);
        self.knocks.remember(knock);
    }

    /// Where this port is in these steps.
    pub(super) fn turn(&self, steps: &[Step], hit: Step) -> Turn {
        let is = |place: usize| steps.get(place) == Some(&hit);
        match self.stage {
            Stage::Reached(reached) if is(usize::from(reached)) => Turn::Next,
            Stage::Reached(reached @ 1..) if is(usize::from(reached) - 1) => Turn::Accepted,
            _ if is(0) => Turn::First,
            _ => Turn::Wrong,
        }
    }

    /// Whether this very packet was a knock of this attempt already.
    ///
    /// A SYN may be sent again, and late. A datagram is not, and its copies come right behind it: later the same from
    /// the same socket is another knock, which IPv6, that has no identification, does not tell apart.
    pub(super) fn remembers(&self, steps: &[Step], packet: &Knock, now: Timestamp) -> bool {
        let known = |place| self.knocks.knows(place, tag(packet)) == Some(true);
        match packet.step.protocol {
            Protocol::Tcp => self.passed(steps, packet.step).any(known),
            Protocol::Udp => {
                let last = self.knocks.count().saturating_sub(1);
                steps.get(last) == Some(&packet.step) && known(last) && now.since(self.last) < DUPLICATE
            }
        }
    }

    /// Whether this packet may have been a knock of this attempt, which is no longer known.
    pub(super) fn may_have_forgotten(&self, steps: &[Step], packet: &Knock) -> bool {
        packet.step.protocol == Protocol::Tcp
            && self.passed(steps, packet.step).any(|place| self.knocks.knows(place, tag(packet)).is_none())
    }

    /// The places of the sequence behind which the attempt is, and which have this port.
    fn passed(&self, steps: &[Step], step: Step) -> impl Iterator<Item = usize> {
        let places = steps.iter().take(self.knocks.count()).enumerate();
        places.filter(move |(_, passed)| **passed == step).map(|(place, _)| place)
    }
}

/// The knocks of an attempt, as far as it takes to know them when they come again: two bytes of each, which one in
/// 65,536 other packets to the same port has as well.
#[derive(Clone, Copy, Debug)]
struct Knocks {
    first: u16,
    latest: [u16; REMEMBERED],
    count: u8,
    /// Of so many from the beginning one byte of the first and the last is left, and nothing of the others.
    blurred: u8,
}

impl Knocks {
    fn of(first: &Knock) -> Self {
        let mut knocks = Self { first: tag(first), latest: [0; REMEMBERED], count: 0, blurred: 0 };
        knocks.remember(first);
        knocks
    }

    fn blurred(count: u8, [first, last]: [u8; 2]) -> Self {
        let latest = [last.into(); REMEMBERED];
        Self { first: first.into(), latest, count, blurred: count }
    }

    fn ends(&self) -> [u8; 2] {
        let last = self.count().saturating_sub(1);
        [self.first as u8, self.latest[last % REMEMBERED] as u8]
    }

    const fn count(&self) -> usize {
        self.count as usize
    }

    /// Remembers a knock, at the price of the oldest but the first.
    fn remember(&mut self, knock: &Knock) {
        self.latest[self.count() % REMEMBERED] = tag(knock);
        self.count = self.count.saturating_add(1);
    }

    /// Whether the knock at this place was such a one; `None` where it was and is forgotten.
    fn knows(&self, place: usize, tag: u16) -> Option<bool> {
        let blurred = usize::from(self.blurred);
        let remembered = place + REMEMBERED >= self.count() && place + 1 >= blurred;
        let known = match place {
            0 => self.first,
            _ if remembered => self.latest[place % REMEMBERED],
            _ => return None,
        };
        Some(if place < blurred { known as u8 == tag as u8 } else { known == tag })
    }
}

/// What is remembered of a packet. The product's upper bits depend on each bit of the fingerprint.
fn tag(packet: &Knock) -> u16 {
    (packet.fingerprint.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16
}
