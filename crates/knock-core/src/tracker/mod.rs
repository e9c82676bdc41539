//! Knocks to openings: how far each source has come on each door.
//!
//! The rules, which are knockd's where knockd was right:
//!
//! * Only a port that stands in some door's sequence, at an address that the door listens at, with flags that it
//!   takes and from a source that may knock there, is looked at. Everything else neither helps nor hurts an
//!   attempt; where it would have been the next knock or the first, it is told and nothing else.
//! * Packets whose TCP flags do not fit a door are passed over by that door. One that fits but hits a wrong port
//!   ends the attempt, unless it is the door's first port: then the attempt begins anew.
//! * A strict door is particular: a datagram or a SYN to any other port of the host at which it is knocked ends the
//!   attempt, whether or not a door has that port and whatever else stands in the packet. What belongs to a connection
//!   or answers one does not, unless the door itself has the port.
//! * The very packet that was a knock already, come again, changes nothing, and neither does another
//!   one to the port just accepted. Of a long sequence the first and the latest knocks are known again; at a port that
//!   was passed before those, a strict door takes a TCP packet for such a repetition. It could spoil an honest attempt,
//!   and tells a scanner nothing: the port is not the one that is looked for.
//! * One knock may advance several doors, and one source may have an attempt on each.
//! * The clock of an attempt starts at its first knock.
//!
//! Whatever strangers send, it takes a bounded room and time, and hurts nobody who knows more than they do:
//!
//! * There is room for [`MAX_ATTEMPTS`]. Half of it is for attempts with one knock; those with two, those with more, and
//!   those that are complete or cool down have a third of the rest each. Where one of these has no room, its own
//!   attempt that is longest without a knock leaves, and nobody else's. So who knows some ports of a sequence
//!   takes room only from those who know no more.
//! * Who had to leave is not forgotten, but fades: a million of them are remembered in few bytes each. At the next
//!   packet that the door looks at such an attempt goes on as if it had stayed. What it cannot notice meanwhile is a
//!   port that its door does not have.
//! * Who counts as one, a host or an IPv6 network of 64 bits, has room for 64 attempts, or as many as a single knock
//!   begins. Beyond that its own go, and do not fade.
//! * Nobody outside can foresee where in memory a source is looked for.

mod attempt;
mod door;
mod event;
mod faded;
mod keys;
mod named;
mod pool;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use crate::config::DoorKey;
use crate::knock::Knock;
use crate::sequence::{Sequence, Step};
use crate::time::Timestamp;
use attempt::{Attempt, Class, Stage, Turn};
use faded::{BUCKETS, Faded};
use keys::{Key, Keys};
use named::Named;
use pool::{Belonging, Lane, Pool, Slot};

pub use door::TrackedDoor;
pub use event::{AttemptState, AttemptView, Counters, Event, What};

/// Which of the configured doors, counted from 0.
pub type DoorIndex = u32;

/// How long a TCP sender sends a SYN again: so long the knocks of a complete sequence are known for what they are.
const RETRANSMISSION: Duration = Duration::from_secs(130);

/// The most attempts that are followed closely at once: with all that belongs to them some 4 MiB, and 12 more for
/// those that fade.
pub const MAX_ATTEMPTS: usize = 16_384;

/// The most attempts of one party, where no single knock begins more.
const BUDGET: usize = 64;

/// How many attempts are looked at for each source that [`Tracker::watch`] may tell: one source may have several.
const LOOKS: usize = 16;

/// Follows the attempts of all sources.
pub struct Tracker {
    doors: Vec<TrackedDoor>,
    states: Vec<DoorState>,
    named: Named,
    pool: Pool,
    faded: Faded,
    keys: Keys,
    /// The most attempts of one party.
    budget: usize,
    counters: Counters,
    /// How many packets were looked at.
    packets: u64,
    /// One-time doors that this packet has opened.
    used: Vec<DoorIndex>,
}

/// What the tracker keeps of a door.
#[derive(Clone, Copy, Debug)]
struct DoorState {
    attempts: Lane,
    complete: Lane,
    cooldowns: Lane,
    /// Makes another key of each source's; a new one makes what has faded on this door unfindable.
    salt: u64,
    /// The packet at which its source had an attempt on this door last.
    met: u64,
}

/// A packet with what is known of it.
#[derive(Clone, Copy)]
struct Packet<'a> {
    knock: &'a Knock,
    /// It went to one of the addresses that the daemon listens at.
    local: bool,
    /// Some door looks at it.
    heeded: bool,
    now: Timestamp,
    key: Key,
}

impl Tracker {
    /// Follows attempts on these doors, at most `capacity` at once, or four where it is less.
    pub fn new(doors: Vec<TrackedDoor>, capacity: usize) -> Self {
        Self::with_buckets(doors, capacity, BUCKETS)
    }

    fn with_buckets(doors: Vec<TrackedDoor>, capacity: usize, buckets: usize) -> Self {
        let (mut pool, mut keys) = (Pool::new(capacity), Keys::default());
        let states = doors
            .iter()
            .map(|door| DoorState {
                attempts: pool.lane(door.timeout),
                complete: pool.lane(RETRANSMISSION),
                cooldowns: pool.lane(door.cooldown),
                salt: keys.salt(),
                met: 0,
            })
            .collect();
        let faded = Faded::new(buckets, longest(&doors));
        let mut tracker = Self {
            doors,
            states,
            named: Named::default(),
            pool,
            faded,
            keys,
            budget: BUDGET,
            counters: Counters::default(),
            packets: 0,
            used: Vec::new(),
        };
        tracker.index_steps();
        tracker
    }

    /// The same attempts on other doors: one goes on where its door is still there and everything knocked so far
    /// would have been right there too; one that has faded, where nothing is different on its door.
    #[must_use]
    pub fn reconfigured(self, doors: Vec<TrackedDoor>, capacity: usize) -> Self {
        let mut tracker = Self::new(doors, capacity);
        let new_index: HashMap<_, _> =
            tracker.doors.iter().enumerate().map(|(index, door)| (door.identity(), index)).collect();
        (tracker.keys, tracker.counters) = (self.keys, self.counters);
        tracker.faded = self.faded;
        tracker.faded.set_longest(longest(&tracker.doors));
        tracker.renew_salts(&self.doors, &self.states, &new_index);
        let mut attempts: Vec<_> = self.pool.into_attempts().collect();
        attempts.sort_by_key(|(attempt, _)| attempt.since);
        let now = attempts.iter().map(|(attempt, _)| attempt.last).max().unwrap_or_default();
        for (attempt, key) in attempts {
            let Some(old) = self.doors.get(attempt.door as usize) else { continue };
            if let Some(&index) = new_index.get(&old.identity()) {
                tracker.carry_over(attempt, key, old, index);
                tracker.make_room(key, now);
            }
        }
        tracker
    }

    /// Doors on which nothing is different keep their salt, and the others get one that was never used.
    fn renew_salts(
        &mut self,
        old_doors: &[TrackedDoor],
        old_states: &[DoorState],
        new_index: &HashMap<(DoorKey, u8), usize>,
    ) {
        for state in &mut self.states {
            state.salt = self.keys.salt();
        }
        for (old, old_state) in old_doors.iter().zip(old_states) {
            if let Some(&index) = new_index.get(&old.identity())
                && let (Some(new), Some(state)) = (self.doors.get(index), self.states.get_mut(index))
                && new.takes_the_same_as(old)
            {
                state.salt = old_state.salt;
            }
        }
    }

    fn carry_over(&mut self, mut attempt: Attempt, key: Key, old: &TrackedDoor, index: usize) {
        let (Some(new), Some(state)) = (self.doors.get(index), self.states.get(index)) else { return };
        let lane = match attempt.stage {
            Stage::CoolingDown => state.cooldowns,
            Stage::Complete => state.complete,
            Stage::Reached(stage) => {
                let shares = match (&new.sequence, &old.sequence) {
                    (Some(new), Some(old)) => new.shares_beginning(old, usize::from(stage)),
                    _ => false,
                };
                if !shares || new.flags != old.flags || new.target != old.target {
                    return;
                }
                state.attempts
            }
        };
        if !new.allows(attempt.source) {
            return;
        }
        attempt.door = index as DoorIndex;
        self.pool.insert(attempt, Belonging { key, lane, strict: new.strict });
    }

    /// The doors.
    pub fn doors(&self) -> &[TrackedDoor] {
        &self.doors
    }

    /// Whether some door has this port in its sequence.
    pub fn names(&self, step: Step) -> bool {
        !self.named.places(step).is_empty()
    }

    /// Whether this source has an attempt under way that has not faded. The work does not depend on how many others have.
    pub fn is_knocking(&self, source: IpAddr) -> bool {
        let is_under_way =
            |attempt: &Attempt| attempt.source == source && matches!(attempt.stage, Stage::Reached(_));
        let first = self.pool.of_party(self.keys.of(source));
        let party = std::iter::successors(first, |slot| self.pool.behind(*slot));
        party.filter_map(|slot| self.pool.get(slot)).any(is_under_way)
    }

    /// How many attempts and cool-downs there are, without those that have faded.
    pub fn attempts(&self) -> usize {
        self.pool.len()
    }

    /// How often there was no room.
    pub fn counters(&self) -> Counters {
        Counters { lost: self.counters.lost + self.faded.lost(), ..self.counters }
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

    /// At most `limit` sources with attempts under way on strict doors, whose every datagram and SYN
    /// [`Tracker::handle_knock`] should see. Those with three knocks or more come first, then those with two, then
    /// those with one; among these who has knocked last. The work does not depend on how many attempts there are.
    pub fn watch(&self, limit: usize) -> Vec<IpAddr> {
        let mut seen = HashSet::new();
        let sources = self.pool.strict().take(limit.saturating_mul(LOOKS)).map(|attempt| attempt.source);
        sources.filter(|source| seen.insert(*source)).take(limit).collect()
    }

    /// Another number whenever an attempt on a strict door has begun, advanced or ended: then [`Tracker::watch`] may
    /// tell something else.
    pub fn watch_version(&self) -> u64 {
        self.pool.strict_version()
    }

    /// Gives a door another sequence, or none; attempts on it end.
    pub fn set_sequence(&mut self, door: DoorIndex, sequence: Option<Sequence>) {
        let Some(tracked) = self.doors.get_mut(door as usize) else { return };
        tracked.sequence = sequence;
        self.index_steps();
        self.drop_attempts(door);
    }

    fn index_steps(&mut self) {
        self.named = Named::of(&self.doors);
        let mut beginning: HashMap<_, usize> = HashMap::new();
        for step in self.doors.iter().filter_map(|door| door.steps().first()) {
            *beginning.entry(*step).or_default() += 1;
        }
        self.budget = beginning.into_values().fold(BUDGET, usize::max);
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
        if let Some(state) = self.states.get_mut(door as usize) {
            state.salt = self.keys.salt();
        }
    }

    /// The next moment at which [`Tracker::handle_timer`] has something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let due = self.pool.next_due().map(|(_, deadline)| deadline);
        due.into_iter().chain(self.faded.until()).min()
    }

    /// Ends what is due at `now`.
    pub fn handle_timer(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        while let Some(slot) = self.pool.due(now) {
            let over = self.pool.remove(slot);
            if let Some((Attempt { door, source, stage: Stage::Reached(stage), .. }, _)) = over {
                events.push(Event { door, source, what: What::TimedOut(stage.into()) });
            }
        }
        self.faded.release(now);
    }

    /// Takes a packet: whatever goes to a door's port, and of the sources of [`Tracker::watch`] every datagram and SYN
    /// to this host that nothing on it waits for. `local` says that it went to one of the addresses that the daemon
    /// listens at.
    pub fn handle_knock(&mut self, knock: &Knock, local: bool, now: Timestamp, events: &mut Vec<Event>) {
        // Whatever held the caller up: what is due is over.
        self.handle_timer(now, events);
        let named = self.named.places(knock.step);
        if named.is_empty() && self.pool.len() == 0 {
            return;
        }
        let heeds = |door: DoorIndex| self.door(door).is_some_and(|door| door.heeds(knock, local));
        let heeded = named.clone().filter_map(|place| self.named.door(place)).any(heeds);
        let packet = Packet { knock, local, heeded, now, key: self.keys.of(knock.source) };
        self.packets += 1;
        let mut known = self.meet_attempts(&packet, events);
        for place in named.clone() {
            known |= self.meet_door(place, &packet, events);
        }
        // Where it may belong to something else, it is no riddle.
        if !known && heeded {
            self.tell_unbegun(named, &packet, events);
        }
        self.finish(&packet);
    }

    /// Shows a packet to its source's attempts, of which none goes for want of room meanwhile. Tells whether there
    /// are any.
    fn meet_attempts(&mut self, packet: &Packet<'_>, events: &mut Vec<Event>) -> bool {
        let mut any = false;
        let mut at = self.pool.of_party(packet.key);
        while let Some(slot) = at {
            at = self.pool.behind(slot);
            any |= self.meet_attempt(slot, packet, events);
        }
        any
    }

    /// Shows a packet to an attempt where it is its source's.
    fn meet_attempt(&mut self, slot: Slot, packet: &Packet<'_>, events: &mut Vec<Event>) -> bool {
        let own = self.pool.get(slot).filter(|attempt| attempt.source == packet.knock.source);
        let Some(door) = own.map(|attempt| attempt.door) else { return false };
        self.note_met(door);
        self.take(slot, packet, events);
        true
    }

    /// Shows a packet to a door that has its port, where the source has no attempt there. Tells whether it means
    /// something to the door.
    fn meet_door(&mut self, place: usize, packet: &Packet<'_>, events: &mut Vec<Event>) -> bool {
        let Some(index) = self.named.door(place).filter(|door| !self.has_met(*door)) else { return false };
        let Some(door) = self.door(index) else { return false };
        let (first, later) = door.has_first_and_later(packet.knock.step);
        if !door.heeds(packet.knock, packet.local) {
            if first {
                let what = door.objection(packet.knock, packet.local, 1);
                events.push(Event { door: index, source: packet.knock.source, what });
            }
            return false;
        }
        // The first knock begins the attempt anew unless it comes again, which only matters to one that has advanced.
        let faded = (later || self.faded.has_advanced()).then(|| self.revive(index, packet)).flatten();
        match faded {
            Some(slot) => self.take(slot, packet, events),
            None if first => self.begin(index, packet, events),
            None => return false,
        }
        true
    }

    /// Tells of later knocks without the first.
    fn tell_unbegun(
        &self,
        named: Range<usize>,
        Packet { knock, local, .. }: &Packet<'_>,
        events: &mut Vec<Event>,
    ) {
        for index in named.filter_map(|place| self.named.door(place)) {
            if let Some(door) = self.door(index)
                && door.heeds(knock, *local)
                && let Some(place) = door.steps().iter().position(|step| *step == knock.step)
            {
                events.push(Event { door: index, source: knock.source, what: What::Unbegun(place + 1) });
            }
        }
    }

    /// What had to wait until the packet was shown to all.
    fn finish(&mut self, packet: &Packet<'_>) {
        while let Some(door) = self.used.pop() {
            self.set_sequence(door, None);
        }
        self.make_room(packet.key, packet.now);
    }

    /// Lets those go who have no room any more, since the attempts of this key have changed.
    fn make_room(&mut self, key: Key, now: Timestamp) {
        while let Some(slot) = self.pool.over_budget(key, self.budget) {
            self.pool.remove(slot);
            self.counters.over_budget += 1;
        }
        for class in Class::ALL {
            while let Some(slot) = self.pool.too_many(class) {
                self.fade(slot, now);
            }
        }
    }

    fn fade(&mut self, slot: Slot, now: Timestamp) {
        let Some((attempt, key)) = self.pool.remove(slot) else { return };
        if let (Some(shade), Some(key)) = (attempt.shade(), self.faded_key(attempt.door, key)) {
            self.counters.faded += 1;
            self.faded.put(key, shade, attempt.deadline, now);
        } else if attempt.stage == Stage::CoolingDown {
            self.counters.lost += 1;
        }
    }

    /// Brings an attempt that has faded back.
    fn revive(&mut self, index: DoorIndex, packet: &Packet<'_>) -> Option<Slot> {
        let shade = self.faded.take(self.faded_key(index, packet.key)?, packet.now)?;
        let door = self.doors.get(index as usize)?;
        let mut attempt = Attempt::revived(shade, packet.knock.source, index);
        attempt.deadline = attempt.since + door.timeout;
        if attempt.deadline <= packet.now {
            return None;
        }
        self.counters.revived += 1;
        let belonging = Belonging { key: packet.key, lane: Lane::UNORDERED, strict: door.strict };
        self.pool.insert(attempt, belonging)
    }

    /// Makes sure that nothing of an attempt that has ended comes back: an earlier one of the same source may have
    /// faded.
    fn forget_faded(&mut self, door: DoorIndex, packet: &Packet<'_>) {
        if let Some(key) = self.faded_key(door, packet.key) {
            self.faded.take(key, packet.now);
        }
    }

    fn faded_key(&self, door: DoorIndex, key: Key) -> Option<u64> {
        let salt = self.states.get(door as usize)?.salt;
        Some((key.source ^ salt).wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Takes a packet for an attempt.
    fn take(&mut self, slot: Slot, packet: &Packet<'_>, events: &mut Vec<Event>) {
        let Packet { knock, local, heeded, now, .. } = *packet;
        let Some(attempt) = self.pool.get(slot) else { return };
        let (index, source, hit) = (attempt.door, attempt.source, knock.step);
        let Some(door) = self.doors.get(index as usize) else { return };
        let steps = door.steps();
        if attempt.remembers(steps, knock, now) {
            return;
        }
        let (turn, heeds) = (attempt.turn(steps, hit), door.heeds(knock, local));
        let mut tell = |what| events.push(Event { door: index, source, what });
        match (attempt.stage, turn) {
            (Stage::Reached(stage), Turn::Next) if !heeds => {
                tell(door.objection(knock, local, usize::from(stage) + 1));
            }
            (_, Turn::First) if !heeds => tell(door.objection(knock, local, 1)),
            (Stage::CoolingDown, Turn::First) => tell(What::CoolingDown),
            (Stage::Reached(stage), Turn::Next) => self.go_on(slot, usize::from(stage) + 1, packet, events),
            (Stage::Reached(1), Turn::Accepted) if heeds => self.begin_anew(slot, packet, events),
            (_, Turn::First) => self.begin_anew(slot, packet, events),
            (Stage::Reached(stage), Turn::Wrong) if door.is_spoiled_by(knock, local, heeded) => {
                if door.strict && attempt.may_have_forgotten(steps, knock) {
                    return;
                }
                let stage = usize::from(stage);
                let expected = steps.get(stage).copied().unwrap_or(hit);
                tell(What::Spoiled { stage, hit, expected, named: self.names(hit) });
                self.pool.remove(slot);
                self.forget_faded(index, packet);
            }
            _ => {}
        }
    }

    fn go_on(&mut self, slot: Slot, stage: usize, packet: &Packet<'_>, events: &mut Vec<Event>) {
        let Some(door) = self.pool.get(slot).map(|attempt| attempt.door) else { return };
        events.push(Event { door, source: packet.knock.source, what: What::Stage(stage) });
        let reached = self.stage_after(door, stage);
        self.pool.promote(slot, reached, packet.knock, packet.now);
        if reached == Stage::Complete {
            self.open(slot, door, packet, events);
        }
    }

    /// An attempt's first knock.
    fn begin(&mut self, index: DoorIndex, packet: &Packet<'_>, events: &mut Vec<Event>) {
        let stage = self.stage_after(index, 1);
        let (Some(door), Some(state)) = (self.doors.get(index as usize), self.states.get(index as usize))
        else {
            return;
        };
        let attempt = Attempt::new(packet.knock, index, stage, packet.now);
        let belonging = Belonging { key: packet.key, lane: state.attempts, strict: door.strict };
        if let Some(slot) = self.pool.insert(attempt, belonging) {
            self.tell_begun(slot, index, stage, packet, events);
        }
    }

    /// The first port again, by another packet: the attempt and its clock begin anew.
    fn begin_anew(&mut self, slot: Slot, packet: &Packet<'_>, events: &mut Vec<Event>) {
        let Some(Attempt { door, stage: before, .. }) = self.pool.get(slot).cloned() else { return };
        let Some(lane) = self.states.get(door as usize).map(|state| state.attempts) else { return };
        let stage = self.stage_after(door, 1);
        let anew = Attempt::new(packet.knock, door, stage, packet.now);
        self.pool.renew(slot, lane, |attempt| *attempt = anew);
        // Where only the clock changes there is nothing to tell.
        if before != Stage::Reached(1) {
            self.tell_begun(slot, door, stage, packet, events);
        }
    }

    fn tell_begun(
        &mut self,
        slot: Slot,
        door: DoorIndex,
        stage: Stage,
        packet: &Packet<'_>,
        events: &mut Vec<Event>,
    ) {
        events.push(Event { door, source: packet.knock.source, what: What::Stage(1) });
        if stage == Stage::Complete {
            self.open(slot, door, packet, events);
        }
    }

    /// The sequence is complete. Its attempt stays for a while, to know its own knocks by when they come again.
    fn open(&mut self, slot: Slot, index: DoorIndex, packet: &Packet<'_>, events: &mut Vec<Event>) {
        let (Some(door), Some(state)) = (self.doors.get(index as usize), self.states.get(index as usize))
        else {
            return;
        };
        events.push(Event { door: index, source: packet.knock.source, what: What::Opening });
        if door.one_time {
            self.used.push(index);
        }
        let (stage, lane) = match door.cooldown.is_zero() {
            true => (Stage::Complete, state.complete),
            false => (Stage::CoolingDown, state.cooldowns),
        };
        self.pool.renew(slot, lane, |attempt| (attempt.stage, attempt.since) = (stage, packet.now));
        self.forget_faded(index, packet);
    }

    fn stage_after(&self, door: DoorIndex, knocks: usize) -> Stage {
        if knocks >= self.steps(door).len() { Stage::Complete } else { Stage::Reached(knocks as u8) }
    }

    fn has_met(&self, door: DoorIndex) -> bool {
        self.states.get(door as usize).is_some_and(|state| state.met == self.packets)
    }

    fn note_met(&mut self, door: DoorIndex) {
        if let Some(state) = self.states.get_mut(door as usize) {
            state.met = self.packets;
        }
    }

    fn door(&self, door: DoorIndex) -> Option<&TrackedDoor> {
        self.doors.get(door as usize)
    }

    fn steps(&self, door: DoorIndex) -> &[Step] {
        self.door(door).map_or(&[], TrackedDoor::steps)
    }
}

/// How long an attempt on one of these doors takes at most, in milliseconds.
fn longest(doors: &[TrackedDoor]) -> u64 {
    let longest = doors.iter().map(|door| door.timeout).max().unwrap_or_default();
    u64::try_from(longest.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
