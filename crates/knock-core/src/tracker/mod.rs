//! Knocks to openings: how far each source has come on each door.
//!
//! The rules, which are knockd's where knockd was right:
//!
//! * Only a port that stands in some door's sequence, at an address that the door listens at, with flags that it
//!   takes and from a source that may knock there, is looked at. Everything else neither helps nor hurts an
//!   attempt; where it would have been the next knock or the first, it is told and nothing else.
//! * Packets whose TCP flags do not fit a door are passed over by that door. One that fits but hits a wrong port
//!   ends the attempt, unless it is the door's first port: then the attempt begins anew.
//! * The very packet that was a knock already, come again, changes nothing, and neither does another
//!   one to the port just accepted.
//! * One knock may advance several doors, and one source may have an attempt on each.
//! * The clock of an attempt starts at its first knock.

mod pool;

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::{Door, DoorKey, FlagRule, SequenceSource};
use crate::knock::{Knock, Protocol, TcpFlags};
use crate::network::Network;
use crate::sequence::{Sequence, Step};
use crate::time::Timestamp;
use pool::{Attempt, Inserted, Lane, Pool, Slot, Stage};

/// Which of the configured doors, counted from 0.
pub type DoorIndex = u32;

/// How long a TCP sender sends a SYN again: so long the knocks of a complete sequence are known for what they are.
const RETRANSMISSION: Duration = Duration::from_secs(130);

/// The most attempts that are followed at once.
pub const MAX_ATTEMPTS: usize = 65_536;

/// What the tracker needs to know of a door.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedDoor {
    /// Which door this is, also after the configuration was read again.
    pub key: DoorKey,
    /// What is to be knocked; `None` where no one-time sequence is left.
    pub sequence: Option<Sequence>,
    /// The sequence is good for one opening: afterwards the door waits for [`Tracker::set_sequence`].
    pub one_time: bool,
    /// How long after the first knock the last may come.
    pub timeout: Duration,
    /// How long after an opening the source's knocks on this door are passed over.
    pub cooldown: Duration,
    /// Which TCP packets count.
    pub flags: FlagRule,
    /// The address to knock at; `None` for the interface's own.
    pub target: Option<IpAddr>,
    /// Who may knock at all; everybody where it is empty.
    pub allow_from: Vec<Network>,
}

impl TrackedDoor {
    /// A configured door with the sequence that is in force, where one is left.
    pub fn new(door: &Door, sequence: Option<Sequence>) -> Self {
        Self {
            key: door.key.clone(),
            sequence,
            one_time: matches!(door.sequence, SequenceSource::OneTime(_)),
            timeout: door.seq_timeout,
            cooldown: door.seq_cooldown,
            flags: door.flags,
            target: door.target,
            allow_from: door.allow_from.clone(),
        }
    }

    /// How many knocks its sequence has; 0 where none is left.
    pub fn length(&self) -> usize {
        self.steps().len()
    }

    /// Whether the door looks at this packet at all; `local` says that it went to an address of the interface.
    fn heeds(&self, knock: &Knock, local: bool) -> bool {
        self.is_meant(knock, local) && self.fits(knock) && self.allows(knock.source)
    }

    fn is_meant(&self, knock: &Knock, local: bool) -> bool {
        self.target.map_or(local, |target| target == knock.destination)
    }

    fn fits(&self, knock: &Knock) -> bool {
        knock.step.protocol == Protocol::Udp || self.flags.fits(knock.flags)
    }

    fn allows(&self, source: IpAddr) -> bool {
        self.allow_from.is_empty() || self.allow_from.iter().any(|network| network.contains(source))
    }

    /// Why the door does not heed this packet, which would have been this knock of its sequence, counted from 1.
    fn objection(&self, packet: &Knock, local: bool, knock: usize) -> What {
        if !self.is_meant(packet, local) {
            What::Elsewhere { knock, destination: packet.destination, target: self.target }
        } else if !self.fits(packet) {
            What::Unfit { knock, flags: packet.flags, rule: self.flags }
        } else {
            What::NotAllowed
        }
    }

    fn steps(&self) -> &[Step] {
        self.sequence.as_ref().map_or(&[], Sequence::steps)
    }
}

/// What happened between a source and a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The door that is knocked at.
    pub door: DoorIndex,
    /// Who knocks.
    pub source: IpAddr,
    /// What happened.
    pub what: What,
}

/// What may happen to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// So many knocks of the sequence were right.
    Stage(usize),
    /// The sequence is complete: the door opens for the source.
    Opening,
    /// The time for the sequence is over, after so many knocks were right.
    TimedOut(usize),
    /// A wrong port ended the attempt.
    Spoiled {
        /// How many knocks were right.
        stage: usize,
        /// The port that was hit.
        hit: Step,
        /// The port that should have been hit.
        expected: Step,
    },
    /// The door was opened for this source so lately that its knock is passed over.
    CoolingDown,
    /// There was no room: the attempt, not beyond its first knock, was dropped or not begun.
    Crowded,
    /// The door does not take these TCP flags. The attempt, if any, is as it was.
    Unfit {
        /// Which knock of the sequence it would have been, counted from 1.
        knock: usize,
        /// The packet's flags.
        flags: TcpFlags,
        /// What the door asks of them.
        rule: FlagRule,
    },
    /// The packet went to an address that the door does not listen at. The attempt, if any, is as it was.
    Elsewhere {
        /// Which knock of the sequence it would have been, counted from 1.
        knock: usize,
        /// Where it went.
        destination: IpAddr,
        /// Where the door is to be knocked at; `None` for the interface's own addresses.
        target: Option<IpAddr>,
    },
    /// The source may not knock at this door.
    NotAllowed,
    /// It would have been this knock of the sequence, counted from 1, but none before it was heard.
    Unbegun(usize),
}

/// An attempt as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttemptView {
    /// The door that is knocked at.
    pub door: DoorIndex,
    /// Who knocks.
    pub source: IpAddr,
    /// How many knocks were right: all of them after an opening.
    pub stage: usize,
    /// How many knocks the door's sequence has; 0 where none is left.
    pub of: usize,
    /// The first knock, or the opening where this is a cool-down.
    pub since: Timestamp,
    /// When it is over.
    pub until: Timestamp,
    /// What it waits for.
    pub state: AttemptState,
}

/// What an attempt waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptState {
    /// The next knock.
    UnderWay,
    /// The end of the time in which the source's knocks are passed over.
    CoolingDown,
}

/// Follows the attempts of all sources.
pub struct Tracker {
    doors: Vec<TrackedDoor>,
    lanes: Vec<DoorLanes>,
    /// The doors that have this port somewhere in their sequence.
    by_step: HashMap<Step, Vec<DoorIndex>>,
    pool: Pool,
}

#[derive(Clone, Copy, Debug, Default)]
struct DoorLanes {
    attempts: Lane,
    complete: Lane,
    cooldowns: Lane,
}

impl Tracker {
    /// Follows attempts on these doors, at most `capacity` at once.
    pub fn new(doors: Vec<TrackedDoor>, capacity: usize) -> Self {
        let mut pool = Pool::new(capacity);
        let lanes = doors
            .iter()
            .map(|door| DoorLanes {
                attempts: pool.lane(door.timeout),
                complete: pool.lane(RETRANSMISSION),
                cooldowns: pool.lane(door.cooldown),
            })
            .collect();
        let mut tracker = Self { doors, lanes, by_step: HashMap::new(), pool };
        tracker.index_steps();
        tracker
    }

    /// The same attempts on other doors: one goes on where its door is still there and everything knocked so far
    /// would have been right there too.
    #[must_use]
    pub fn reconfigured(self, doors: Vec<TrackedDoor>, capacity: usize) -> Self {
        let mut tracker = Self::new(doors, capacity);
        let new_index: HashMap<_, _> =
            tracker.doors.iter().enumerate().map(|(index, door)| (door.key.clone(), index)).collect();
        let old_doors = self.doors;
        let mut attempts: Vec<_> = self.pool.into_attempts().collect();
        attempts.sort_by_key(|attempt| attempt.since);
        for attempt in attempts {
            let Some(old) = old_doors.get(attempt.door as usize) else { continue };
            if let Some(&index) = new_index.get(&old.key) {
                tracker.carry_over(attempt, old, index);
            }
        }
        tracker
    }

    fn carry_over(&mut self, mut attempt: Attempt, old: &TrackedDoor, index: usize) {
        let (Some(new), Some(lanes)) = (self.doors.get(index), self.lanes.get(index)) else { return };
        let lane = match attempt.stage {
            Stage::CoolingDown => lanes.cooldowns,
            Stage::Complete => lanes.complete,
            Stage::Reached(stage) => {
                let shares = match (&new.sequence, &old.sequence) {
                    (Some(new), Some(old)) => new.shares_beginning(old, usize::from(stage)),
                    _ => false,
                };
                if !shares || new.flags != old.flags || new.target != old.target {
                    return;
                }
                lanes.attempts
            }
        };
        if !new.allows(attempt.source) {
            return;
        }
        attempt.door = index as DoorIndex;
        self.pool.insert(attempt, lane);
    }

    /// The doors.
    pub fn doors(&self) -> &[TrackedDoor] {
        &self.doors
    }

    /// How many attempts and cool-downs there are.
    pub fn attempts(&self) -> usize {
        self.pool.len()
    }

    /// The attempts under way and the cool-downs, in no order.
    pub fn list(&self) -> impl Iterator<Item = AttemptView> {
        self.pool.attempts().filter_map(|attempt| {
            let Attempt { door, source, since, deadline: until, .. } = *attempt;
            let of = self.steps(door).len();
            let (stage, state) = match attempt.stage {
                Stage::Reached(stage) => (stage.into(), AttemptState::UnderWay),
                Stage::CoolingDown => (of, AttemptState::CoolingDown),
                Stage::Complete => return None,
            };
            Some(AttemptView { door, source, stage, of, since, until, state })
        })
    }

    /// Gives a door another sequence, or none; attempts on it end.
    pub fn set_sequence(&mut self, door: DoorIndex, sequence: Option<Sequence>) {
        let Some(tracked) = self.doors.get_mut(door as usize) else { return };
        tracked.sequence = sequence;
        self.index_steps();
        self.drop_attempts(door);
    }

    fn index_steps(&mut self) {
        self.by_step.clear();
        for (index, door) in self.doors.iter().enumerate() {
            for step in door.steps() {
                let doors = self.by_step.entry(*step).or_default();
                if doors.last() != Some(&(index as DoorIndex)) {
                    doors.push(index as DoorIndex);
                }
            }
        }
    }

    fn drop_attempts(&mut self, door: DoorIndex) {
        for slot in self.pool.slots() {
            let on_door = self
                .pool
                .get(slot)
                .is_some_and(|attempt| attempt.door == door && attempt.stage != Stage::CoolingDown);
            if on_door {
                self.pool.remove(slot);
            }
        }
    }

    /// Takes a packet; `local` says that it went to one of the addresses that the daemon listens at.
    pub fn handle_knock(&mut self, knock: &Knock, local: bool, now: Timestamp, events: &mut Vec<Event>) {
        // Whatever held the caller up: what is due is over.
        self.handle_timer(now, events);
        let Some(candidates) = self.by_step.get(&knock.step) else { return };
        self.tell_passed_over(candidates, knock, local, now, events);
        let heeds =
            |door: &DoorIndex| self.doors.get(*door as usize).is_some_and(|door| door.heeds(knock, local));
        if !candidates.iter().any(heeds) {
            return;
        }
        let heeding = candidates.iter().filter(|door| heeds(door)).copied();
        let (beginning, later): (Vec<_>, Vec<_>) =
            heeding.partition(|door| self.steps(*door).first() == Some(&knock.step));
        let under_way: Vec<_> = self.pool.of_source(knock.source).collect();
        let busy: Vec<_> = under_way.iter().filter_map(|slot| Some(self.pool.get(*slot)?.door)).collect();
        // Where it may belong to something else, it is no riddle.
        for door in later.into_iter().filter(|_| busy.is_empty() && beginning.is_empty()) {
            let place = self.steps(door).iter().position(|step| *step == knock.step).unwrap_or_default();
            events.push(Event { door, source: knock.source, what: What::Unbegun(place + 1) });
        }
        for slot in under_way {
            self.advance(slot, knock, local, now, events);
        }
        for door in beginning.into_iter().filter(|door| !busy.contains(door)) {
            self.begin(door, knock, now, events);
        }
    }

    /// Tells which of the doors that have this port pass over what its sender may take for a knock.
    fn tell_passed_over(
        &self,
        candidates: &[DoorIndex],
        packet: &Knock,
        local: bool,
        now: Timestamp,
        events: &mut Vec<Event>,
    ) {
        for &index in candidates {
            if let Some(door) = self.doors.get(index as usize)
                && !door.heeds(packet, local)
                && let Some(knock) = self.place(index, packet, now)
            {
                let what = door.objection(packet, local, knock);
                events.push(Event { door: index, source: packet.source, what });
            }
        }
    }

    /// Which knock on a door this packet would be, counted from 1: the next one or the first. What comes to the port
    /// just accepted is the rest of that connection more often than a knock.
    fn place(&self, door: DoorIndex, packet: &Knock, now: Timestamp) -> Option<usize> {
        let mut under_way = self.pool.of_source(packet.source).filter_map(|slot| self.pool.get(slot));
        let reached = match under_way.find(|attempt| attempt.door == door) {
            Some(attempt) if attempt.remembers(packet, now) => return None,
            Some(Attempt { stage: Stage::Reached(stage), .. }) => usize::from(*stage),
            _ => 0,
        };
        let steps = self.steps(door);
        let is = |step: Option<&Step>| step == Some(&packet.step);
        if is(steps.get(reached)) {
            return Some(reached + 1);
        }
        let accepted = reached.checked_sub(1).and_then(|last| steps.get(last));
        (is(steps.first()) && !is(accepted)).then_some(1)
    }

    /// The next moment at which [`Tracker::handle_timer`] has something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.pool.next_due().map(|(_, deadline)| deadline)
    }

    /// Ends what is due at `now`.
    pub fn handle_timer(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        while let Some((slot, deadline)) = self.pool.next_due()
            && deadline <= now
        {
            if let Some(Attempt { door, source, stage: Stage::Reached(stage), .. }) = self.pool.remove(slot) {
                events.push(Event { door, source, what: What::TimedOut(stage.into()) });
            }
        }
    }

    fn steps(&self, door: DoorIndex) -> &[Step] {
        self.doors.get(door as usize).map_or(&[], TrackedDoor::steps)
    }

    /// Takes a knock on a door on which its source has an attempt.
    fn advance(&mut self, slot: Slot, knock: &Knock, local: bool, now: Timestamp, events: &mut Vec<Event>) {
        let Some(attempt) = self.pool.get(slot) else { return };
        let (index, source) = (attempt.door, attempt.source);
        let Some(door) = self.doors.get(index as usize) else { return };
        if !door.heeds(knock, local) || attempt.remembers(knock, now) {
            return;
        }
        let (steps, hit) = (door.steps(), knock.step);
        let first = steps.first() == Some(&hit);
        match attempt.stage {
            Stage::CoolingDown if first => {
                events.push(Event { door: index, source, what: What::CoolingDown });
            }
            Stage::Complete if first => self.begin_anew(slot, knock, now, events),
            Stage::CoolingDown | Stage::Complete => {}
            Stage::Reached(stage) => {
                let reached = usize::from(stage);
                let accepted = reached.checked_sub(1).and_then(|last| steps.get(last));
                match steps.get(reached) {
                    Some(expected) if *expected == hit => self.go_on(slot, reached + 1, knock, now, events),
                    _ if accepted == Some(&hit) && reached > 1 => {}
                    _ if first => self.begin_anew(slot, knock, now, events),
                    expected => {
                        let expected = expected.copied().unwrap_or(hit);
                        let what = What::Spoiled { stage: reached, hit, expected };
                        events.push(Event { door: index, source, what });
                        self.pool.remove(slot);
                    }
                }
            }
        }
    }

    fn go_on(&mut self, slot: Slot, stage: usize, knock: &Knock, now: Timestamp, events: &mut Vec<Event>) {
        let Some(door) = self.pool.get(slot).map(|attempt| attempt.door) else { return };
        events.push(Event { door, source: knock.source, what: What::Stage(stage) });
        let reached = self.stage_after(door, stage);
        self.pool.promote(slot, reached, knock, now);
        if reached == Stage::Complete {
            self.open(slot, door, knock, now, events);
        }
    }

    /// An attempt's first knock.
    fn begin(&mut self, door: DoorIndex, knock: &Knock, now: Timestamp, events: &mut Vec<Event>) {
        let Some(lanes) = self.lanes.get(door as usize).copied() else { return };
        let source = knock.source;
        let stage = self.stage_after(door, 1);
        let attempt = Attempt::new(knock, door, stage, now);
        let Some(Inserted { slot, thrown_out }) = self.pool.insert(attempt, lanes.attempts) else {
            return events.push(Event { door, source, what: What::Crowded });
        };
        if let Some(Attempt { door, source, .. }) = thrown_out {
            events.push(Event { door, source, what: What::Crowded });
        }
        events.push(Event { door, source, what: What::Stage(1) });
        if stage == Stage::Complete {
            self.open(slot, door, knock, now, events);
        }
    }

    /// The first port again, by another packet: the attempt and its clock begin anew.
    fn begin_anew(&mut self, slot: Slot, knock: &Knock, now: Timestamp, events: &mut Vec<Event>) {
        let Some(Attempt { door, stage, .. }) = self.pool.remove(slot) else { return };
        match self.lanes.get(door as usize) {
            // Nothing changes but the clock.
            Some(lanes) if stage == Stage::Reached(1) => {
                self.pool.insert(Attempt::new(knock, door, stage, now), lanes.attempts);
            }
            _ => self.begin(door, knock, now, events),
        }
    }

    fn stage_after(&self, door: DoorIndex, knocks: usize) -> Stage {
        if knocks >= self.steps(door).len() { Stage::Complete } else { Stage::Reached(knocks as u8) }
    }

    /// The sequence is complete. Its attempt stays for a while, to know its own knocks by when they come again.
    fn open(&mut self, slot: Slot, index: DoorIndex, knock: &Knock, now: Timestamp, events: &mut Vec<Event>) {
        let (Some(door), Some(lanes)) = (self.doors.get(index as usize), self.lanes.get(index as usize))
        else {
            return;
        };
        events.push(Event { door: index, source: knock.source, what: What::Opening });
        let (one_time, cooldown) = (door.one_time, door.cooldown);
        let (stage, lane) = match cooldown.is_zero() {
            true => (Stage::Complete, lanes.complete),
            false => (Stage::CoolingDown, lanes.cooldowns),
        };
        self.pool.renew(slot, stage, now, lane);
        if one_time {
            self.set_sequence(index, None);
        }
    }
}

#[cfg(test)]
mod tests;
