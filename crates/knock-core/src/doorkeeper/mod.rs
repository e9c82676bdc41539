//! Openings to grants: what is open for whom, until when, and what is still owed to close it.
//!
//! A door that the kernel opens, and one with a stop command, is open from its opening until it is closed. Knocking
//! again in that time runs no second start command: the door stays open longer. A door with neither just runs its
//! start command at each opening.
//!
//! Every grant is written down before anything opens ([`Action::Record`]), and again when it has ended, so that
//! another daemon can go on with it ([`Doorkeeper::restore`]).
//!
//! The start command of a grant ends before its stop command begins, and a stop command ends before the door is
//! opened anew for the same address.

mod action;
mod turns;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use crate::config::DoorKey;
use crate::journal::{Entry, Kept};
use crate::network::Network;
use crate::time::Timestamp;
pub use action::{Action, Exit, GrantId, GrantView, Job, JobId, Opening, Progress, Why};
use turns::{Purpose, Turns};

/// How many start commands of a door may run at once, and how many stop commands. What hangs delays neither the closing
/// nor another door.
pub const MAX_RUNNING: usize = 64;

/// How many start commands of a door may wait for others to end. Stop commands that are owed wait without a limit.
pub const MAX_WAITING: usize = 16_384;

/// How many grants there may be at once.
pub const MAX_GRANTS: usize = 1 << 20;

/// How long after a stop command could not be started it is tried again.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is being written down.
    Recording,
    /// The start command waits or runs.
    Starting,
    Open,
    /// The stop command waits, runs, or is to be tried again.
    Stopping,
}

struct Grant {
    /// What it was opened with it is closed with; the configuration may have changed since.
    opening: Opening,
    state: State,
    opened: Timestamp,
    /// For a door of commands not known before the start command has ended.
    until: Option<Timestamp>,
    earlier_boot: bool,
    /// It is to end as soon as its start command has.
    ends: Option<Why>,
    /// There was a knock while it was closing: what to open it with again.
    again: Option<Opening>,
    /// It is being written down that it goes on, by this opening, until then.
    extension: Option<(Opening, Option<Timestamp>)>,
}

impl Grant {
    fn new(opening: Opening, state: State, opened: Timestamp) -> Self {
        Self {
            opening,
            state,
            opened,
            until: None,
            earlier_boot: false,
            ends: None,
            again: None,
            extension: None,
        }
    }

    /// Until when it goes on after another opening: a knock does not shorten what was longer, an administrator may.
    fn longer(&self, opening: &Opening, now: Timestamp) -> Option<Timestamp> {
        let until = now + opening.time?;
        if opening.by_hand {
            return Some(until);
        }
        if self.opening.by_hand && self.opening.time.is_none() {
            return None;
        }
        Some(self.until.map_or(until, |old| old.max(until)))
    }

    /// What is to be written down of it.
    fn entry(&self, until: Option<Timestamp>) -> Entry {
        let Opening { door, source, network, native, stop, by_hand, .. } = &self.opening;
        Entry {
            door: door.clone(),
            network: *network,
            source: *source,
            native: *native,
            stop: stop.clone(),
            by_hand: *by_hand,
            opened: self.opened,
            until,
        }
    }
}

/// Keeps what is open.
pub struct Doorkeeper {
    grants: HashMap<GrantId, Grant>,
    by_holder: HashMap<(DoorKey, Network), GrantId>,
    deadlines: BTreeSet<(Timestamp, GrantId)>,
    turns: Turns,
    last_id: u64,
    closing: bool,
}

impl Doorkeeper {
    /// Nothing is open; of each door at most `max_running` start commands and as many stop commands run at once.
    pub fn new(max_running: usize) -> Self {
        Self {
            grants: HashMap::new(),
            by_holder: HashMap::new(),
            deadlines: BTreeSet::new(),
            turns: Turns::new(max_running),
            last_id: 0,
            closing: false,
        }
    }

    /// Goes on with what another daemon opened. Nothing opens by this: what the kernel is to let in
    /// [`Doorkeeper::native_grants`] tells; what is due closes at the next [`Doorkeeper::handle_timer`].
    pub fn restore(&mut self, kept: Vec<Kept>) {
        for Kept { entry, earlier_boot } in kept {
            let Entry { door, network, source, native, stop, by_hand, opened, until } = entry;
            // What was opened while nothing could be written down takes the place of what was written before.
            if self.by_holder.contains_key(&(door.clone(), network)) {
                continue;
            }
            let time = until.map(|until| until.since(opened));
            let user = None;
            let opening = Opening { door, source, user, network, native, start: None, stop, time, by_hand };
            let id = GrantId(self.next_id());
            self.by_holder.insert((opening.door.clone(), network), id);
            let grant = Grant { earlier_boot, ..Grant::new(opening, State::Open, opened) };
            self.grants.insert(id, grant);
            self.open_until(id, until);
        }
    }

    /// A door opens.
    pub fn handle_opening(&mut self, opening: Opening, now: Timestamp, actions: &mut Vec<Action>) {
        if self.closing {
            return;
        }
        let held = self.by_holder.get(&(opening.door.clone(), opening.network)).copied();
        let waits = opening.start.is_some() && self.turns.waiting(&opening.door) >= MAX_WAITING;
        match held {
            Some(id) if self.was_of_another_kind(id, &opening) => {
                self.open_otherwise(id, opening, now, actions);
            }
            Some(id) if opening.lasts() => self.ask_for_longer(id, opening, now, actions),
            _ if waits || self.grants.len() >= MAX_GRANTS => {
                actions.push(Action::Overloaded { door: opening.door, address: opening.source });
            }
            _ if opening.lasts() => self.begin(opening, now, actions),
            _ => {
                let Opening { door, source, user, start, .. } = opening;
                self.request((door, source, user), start.unwrap_or_default(), Purpose::Once, actions);
            }
        }
    }

    fn begin(&mut self, opening: Opening, now: Timestamp, actions: &mut Vec<Action>) {
        let id = GrantId(self.next_id());
        self.by_holder.insert((opening.door.clone(), opening.network), id);
        let until = opening.time.map(|time| now + time);
        let grant = Grant::new(opening, State::Recording, now);
        actions.push(Action::Record(id, grant.entry(until)));
        self.grants.insert(id, grant);
    }

    /// Whether the configuration has changed, and the kernel opens what commands opened, or the other way round.
    fn was_of_another_kind(&self, id: GrantId, opening: &Opening) -> bool {
        self.grants.get(&id).is_some_and(|grant| grant.opening.native != opening.native)
    }

    /// Ends a grant, and then opens by what the door is now.
    fn open_otherwise(&mut self, id: GrantId, opening: Opening, now: Timestamp, actions: &mut Vec<Action>) {
        if let Some(grant) = self.grants.get_mut(&id) {
            grant.again = Some(opening);
            if grant.state != State::Stopping {
                self.end(id, Why::DoorChanged, now, actions);
            }
        }
    }

    fn ask_for_longer(&mut self, id: GrantId, opening: Opening, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        if grant.state == State::Stopping {
            grant.again = Some(opening);
            return;
        }
        let until = grant.longer(&opening, now);
        actions.push(Action::Record(id, grant.entry(until)));
        grant.extension = Some((opening, until));
    }

    /// A grant was written down, or could not be.
    pub fn handle_recorded(&mut self, id: GrantId, written: bool, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        let (door, address) = (grant.opening.door.clone(), grant.opening.source);
        let extension = grant.extension.take();
        match (written, extension) {
            (true, Some((opening, until))) => self.extend(id, &opening, until, actions),
            (false, Some((opening, _))) => actions.push(Action::Refused { door, address: opening.source }),
            (_, None) if grant.state != State::Recording => {}
            (true, None) => self.open(id, now, actions),
            (false, None) => {
                self.remove(id);
                actions.push(Action::Refused { door, address });
            }
        }
    }

    fn open(&mut self, id: GrantId, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        let Opening { door, source, network, native, start, time, .. } = &grant.opening;
        let until = time.map(|time| now + time);
        if *native {
            grant.until = until;
            let (door, source, network) = (door.clone(), *source, *network);
            actions.push(Action::Open { grant: id, door, source, network, until, extended: false });
        }
        let Some(start) = start.clone() else { return self.open_until(id, until) };
        let whose = (door.clone(), *source, grant.opening.user.clone());
        grant.state = State::Starting;
        self.request(whose, start, Purpose::Start(id), actions);
    }

    fn extend(
        &mut self,
        id: GrantId,
        opening: &Opening,
        until: Option<Timestamp>,
        actions: &mut Vec<Action>,
    ) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        grant.opening.time = opening.time.filter(|_| until.is_some());
        grant.opening.user.clone_from(&opening.user);
        grant.opening.by_hand |= opening.by_hand;
        (grant.again, grant.ends) = (None, None);
        let (door, source, network) = (opening.door.clone(), opening.source, opening.network);
        if grant.opening.native {
            actions.push(Action::Open { grant: id, door, source, network, until, extended: true });
        } else if let Some(timeout) = opening.time {
            actions.push(Action::Extended { door, address: source, timeout });
        }
        if grant.state == State::Open {
            self.open_until(id, until);
        } else if grant.opening.native {
            grant.until = until;
        }
    }

    /// The kernel did not let in whom it was to let in.
    pub fn handle_failed(&mut self, id: GrantId, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(grant) = self.grants.get(&id) else { return };
        if grant.opening.stop.is_some() || grant.state == State::Starting {
            // What its command did is to be undone.
            self.end(id, Why::KernelRefused, now, actions);
        } else {
            self.give_up(id, actions);
        }
    }

    /// Closes the doors of this name, or all, that are open for this address or network, or for anybody; how many grants
    /// that ends. Goes through all grants.
    pub fn handle_close(
        &mut self,
        door: Option<&str>,
        network: Option<Network>,
        why: &Why,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) -> usize {
        self.end_all(why, now, actions, |grant| {
            let Opening { door: of, network: held, .. } = &grant.opening;
            let named = door.is_none_or(|door| door == of.name);
            let meant = network
                .is_none_or(|meant| meant == *held || meant.is_host() && held.contains(meant.address()));
            named && meant
        })
    }

    /// Closes this door where it is open for an address, whomever else it lets in by that; however much is open, this
    /// takes a moment.
    pub fn handle_close_for(
        &mut self,
        door: &DoorKey,
        address: IpAddr,
        why: &Why,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        for prefix in 0..=Network::host(address).prefix() {
            let holder = (door.clone(), Network::of(address, prefix));
            if let Some(id) = self.by_holder.get(&holder).copied() {
                self.end_one(id, why, now, actions);
            }
        }
    }

    /// The configuration has changed: ends the grants of the kernel's doors that do not `stay`.
    pub fn handle_change(
        &mut self,
        stay: impl Fn(&DoorKey, Network) -> bool,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let goes = |opening: &Opening| opening.native && !stay(&opening.door, opening.network);
        for grant in self.grants.values_mut().filter(|grant| grant.again.as_ref().is_some_and(goes)) {
            grant.again = None;
        }
        self.end_all(&Why::DoorGone, now, actions, |grant| goes(&grant.opening));
    }

    /// Nothing that was taken over can be relied on: ends all.
    pub fn handle_doubt(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        self.end_all(&Why::Unsure, now, actions, |_| true);
    }

    fn end_all(
        &mut self,
        why: &Why,
        now: Timestamp,
        actions: &mut Vec<Action>,
        which: impl Fn(&Grant) -> bool,
    ) -> usize {
        let meant = self.grants.iter().filter(|(_, grant)| which(grant));
        let mut ids: Vec<_> = meant.map(|(id, _)| *id).collect();
        ids.sort();
        ids.into_iter().filter(|id| self.end_one(*id, why, now, actions)).count()
    }

    /// Ends a grant that is to be open no longer; whether it was still open.
    fn end_one(&mut self, id: GrantId, why: &Why, now: Timestamp, actions: &mut Vec<Action>) -> bool {
        let Some(grant) = self.grants.get_mut(&id) else { return false };
        grant.again = None;
        let is_open = matches!(grant.state, State::Starting | State::Open) && grant.ends.is_none();
        if is_open {
            self.end(id, why.clone(), now, actions);
        }
        is_open
    }

    fn end(&mut self, id: GrantId, why: Why, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        let Opening { door, network, source, native, stop, .. } = grant.opening.clone();
        let in_time = why == Why::TimeOver;
        if let Some(until) = grant.until.replace(now) {
            self.deadlines.remove(&(until, id));
        }
        // Written first: after a crash in between, what was closed must not be open again.
        if !in_time && stop.is_some() {
            actions.push(Action::Amend(grant.entry(Some(now))));
        }
        if grant.state == State::Starting {
            grant.ends = Some(why);
            actions.extend(native.then_some(Action::Shut(door, network)));
            return;
        }
        let lasted = (!grant.earlier_boot).then(|| now.since(grant.opened));
        actions.push(Action::Closing { door: door.clone(), network, source, native, why, lasted });
        let Some(stop) = stop else { return self.finish(id, now, actions) };
        actions.extend(native.then(|| Action::Shut(door.clone(), network)));
        grant.state = State::Stopping;
        let user = grant.opening.user.clone();
        self.request((door, source, user), stop, Purpose::Stop(id), actions);
    }

    /// A grant is over; somebody may have knocked meanwhile.
    fn finish(&mut self, id: GrantId, now: Timestamp, actions: &mut Vec<Action>) {
        let again = self.grants.get_mut(&id).and_then(|grant| grant.again.take());
        self.give_up(id, actions);
        if let Some(again) = again.filter(|_| !self.closing) {
            self.begin(again, now, actions);
        }
    }

    /// The next moment at which [`Doorkeeper::handle_timer`] has something to do.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Closes what is due at `now`.
    pub fn handle_timer(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        while let Some(&(deadline, id)) = self.deadlines.first()
            && deadline <= now
        {
            if self.grants.get(&id).is_some_and(|grant| grant.state == State::Stopping) {
                self.stop_again(id, actions);
            } else {
                self.end(id, Why::TimeOver, now, actions);
            }
        }
    }

    /// A command has ended.
    pub fn handle_exit(&mut self, job: JobId, exit: Exit, now: Timestamp, actions: &mut Vec<Action>) {
        let Some((purpose, place)) = self.turns.leave(job) else { return };
        match purpose {
            Purpose::Start(id) => self.started(id, exit, now, actions),
            Purpose::Stop(id) if exit == Exit::NotStarted => self.stop_later(id, now),
            Purpose::Stop(id) => self.finish(id, now, actions),
            Purpose::Once => {}
        }
        actions.extend(self.turns.fill(place).into_iter().map(Action::Run));
    }

    fn started(&mut self, id: GrantId, exit: Exit, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        let native = grant.opening.native;
        let until = if native { grant.until } else { grant.opening.time.map(|time| now + time) };
        let ends = grant.ends.take().or(self.closing.then_some(Why::Shutdown));
        if exit == Exit::NotStarted {
            // What was not opened needs no stop command. What the kernel opened is open.
            grant.opening.stop = None;
            if !native {
                return self.finish(id, now, actions);
            }
            actions.push(Action::Amend(grant.entry(until)));
        }
        self.open_until(id, until);
        if let Some(why) = ends.filter(|why| *why != Why::Shutdown || exit == Exit::Ended) {
            self.end(id, why, now, actions);
        }
    }

    /// A stop command could not be started: it is tried again.
    fn stop_later(&mut self, id: GrantId, now: Timestamp) {
        if let Some(grant) = self.grants.get_mut(&id) {
            let again = now + RETRY;
            grant.until = Some(again);
            self.deadlines.insert((again, id));
        }
    }

    fn stop_again(&mut self, id: GrantId, actions: &mut Vec<Action>) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        if let Some(until) = grant.until {
            self.deadlines.remove(&(until, id));
        }
        let Opening { door, source, user, stop, .. } = grant.opening.clone();
        self.request((door, source, user), stop.unwrap_or_default(), Purpose::Stop(id), actions);
    }

    fn open_until(&mut self, id: GrantId, until: Option<Timestamp>) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        if let Some(old) = std::mem::replace(&mut grant.until, until) {
            self.deadlines.remove(&(old, id));
        }
        grant.state = State::Open;
        self.deadlines.extend(until.map(|until| (until, id)));
    }

    /// Ends a grant of which at most the kernel's part is in force.
    fn give_up(&mut self, id: GrantId, actions: &mut Vec<Action>) {
        let Some(Grant { opening: Opening { door, network, native, .. }, state, .. }) = self.remove(id)
        else {
            return;
        };
        actions.push(Action::Forget(door.clone(), network));
        if native && state != State::Stopping {
            actions.push(Action::Shut(door, network));
        }
    }

    fn remove(&mut self, id: GrantId) -> Option<Grant> {
        let grant = self.grants.remove(&id)?;
        self.by_holder.remove(&(grant.opening.door.clone(), grant.opening.network));
        if let Some(until) = grant.until {
            self.deadlines.remove(&(until, id));
        }
        Some(grant)
    }

    fn request(
        &mut self,
        (door, address, user): (DoorKey, IpAddr, Option<String>),
        command: String,
        purpose: Purpose,
        actions: &mut Vec<Action>,
    ) {
        let closes = matches!(purpose, Purpose::Stop(_));
        let job = Job { id: JobId(self.next_id()), door, address, user, command, closes };
        actions.extend(self.turns.join(job, purpose).into_iter().map(Action::Run));
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The daemon is about to end: nothing opens any more, start commands that still wait are given up, and every
    /// stop command that is owed runs. Once [`Doorkeeper::owed`] is empty, nothing is left open but what the kernel
    /// closes.
    pub fn handle_shutdown(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        self.closing = true;
        for purpose in self.turns.give_up_starts() {
            if let Purpose::Start(id) = purpose {
                self.give_up(id, actions);
            }
        }
        self.end_all(&Why::Shutdown, now, actions, |grant| {
            grant.opening.stop.is_some() && grant.state == State::Open
        });
        for id in self.owed_later() {
            self.stop_again(id, actions);
        }
    }

    /// The grants whose stop command is to be tried again.
    fn owed_later(&self) -> Vec<GrantId> {
        let waits = |(_, id): &&(Timestamp, GrantId)| {
            self.grants.get(id).is_some_and(|grant| grant.state == State::Stopping)
        };
        self.deadlines.iter().filter(waits).map(|(_, id)| *id).collect()
    }

    /// The stop commands that have not ended yet, with their doors and addresses.
    pub fn owed(&self) -> impl Iterator<Item = (&DoorKey, IpAddr, &str)> {
        self.grants.values().filter_map(|Grant { opening, .. }| {
            opening.stop.as_deref().map(|stop| (&opening.door, opening.source, stop))
        })
    }

    /// Whom the kernel is to let in, and until when.
    pub fn native_grants(&self) -> impl Iterator<Item = (&DoorKey, Network, Option<Timestamp>)> {
        let in_force = |grant: &&Grant| {
            let written = grant.state == State::Open || grant.state == State::Starting;
            written && grant.ends.is_none() && grant.opening.native
        };
        self.grants
            .values()
            .filter(in_force)
            .map(|grant| (&grant.opening.door, grant.opening.network, grant.until))
    }

    /// Everything that is written down, as it should be written now.
    pub fn entries(&self) -> impl Iterator<Item = Entry> {
        let written = self.grants.values().filter(|grant| grant.state != State::Recording);
        written.map(|grant| {
            let unknown = !grant.opening.native && grant.state == State::Starting && grant.ends.is_none();
            let until =
                if unknown { grant.opening.time.map(|time| grant.opened + time) } else { grant.until };
            grant.entry(until)
        })
    }

    /// All grants, in the order in which they were made.
    pub fn grants(&self) -> Vec<GrantView<'_>> {
        let mut grants: Vec<_> = self.grants.iter().collect();
        grants.sort_by_key(|(id, _)| **id);
        let view = |grant: &'_ Grant| match grant.state {
            State::Recording | State::Starting => Progress::Opening,
            State::Open => Progress::Open,
            State::Stopping => Progress::Closing,
        };
        grants
            .into_iter()
            .map(|(_, grant)| GrantView {
                opening: &grant.opening,
                opened: grant.opened,
                until: grant.until,
                progress: view(grant),
                earlier_boot: grant.earlier_boot,
            })
            .collect()
    }

    /// How many grants there are.
    pub fn len(&self) -> usize {
        self.grants.len()
    }

    /// Whether nothing is open.
    pub fn is_empty(&self) -> bool {
        self.grants.is_empty()
    }
}

#[cfg(test)]
mod tests;
