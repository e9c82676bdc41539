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
    /// The stop command waits or runs.
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
    /// It is being written down that it goes on so long.
    extension: Option<Opening>,
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
            // Whoever knocks at this moment has a grant already, which takes the place of the old one.
            if self.by_holder.contains_key(&(door.clone(), network)) {
                continue;
            }
            let opening = Opening { door, source, network, native, start: None, stop, time: None, by_hand };
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
            Some(grant) if opening.lasts() => self.ask_for_longer(grant, opening, now, actions),
            _ if waits || self.grants.len() >= MAX_GRANTS => {
                actions.push(Action::Overloaded { door: opening.door, address: opening.source });
            }
            _ if opening.lasts() => self.begin(opening, now, actions),
            _ => {
                let Opening { door, source, start, .. } = opening;
                self.request(door, source, start.unwrap_or_default(), Purpose::Once, actions);
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

    fn ask_for_longer(&mut self, id: GrantId, opening: Opening, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        if grant.state == State::Stopping {
            grant.again = Some(opening);
            return;
        }
        actions.push(Action::Record(id, grant.entry(opening.time.map(|time| now + time))));
        grant.extension = Some(opening);
    }

    /// A grant was written down, or could not be.
    pub fn handle_recorded(&mut self, id: GrantId, written: bool, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        let (door, address) = (grant.opening.door.clone(), grant.opening.source);
        let extension = grant.extension.take();
        match (written, extension) {
            (true, None) => self.open(id, now, actions),
            (true, Some(opening)) => self.extend(id, &opening, now, actions),
            (false, None) => {
                self.remove(id);
                actions.push(Action::Refused { door, address });
            }
            (false, Some(opening)) => actions.push(Action::Refused { door, address: opening.source }),
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
        let (door, source) = (door.clone(), *source);
        grant.state = State::Starting;
        self.request(door, source, start, Purpose::Start(id), actions);
    }

    fn extend(&mut self, id: GrantId, opening: &Opening, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        let until = opening.time.map(|time| now + time);
        grant.opening.time = opening.time;
        (grant.again, grant.ends) = (None, None);
        let (source, is_open, native) = (opening.source, grant.state == State::Open, grant.opening.native);
        let door = opening.door.clone();
        if native {
            let network = opening.network;
            actions.push(Action::Open { grant: id, door, source, network, until, extended: true });
        } else if let Some(timeout) = opening.time {
            actions.push(Action::Extended { door, address: source, timeout });
        }
        if is_open {
            self.open_until(id, until);
        } else if native {
            grant.until = until;
        }
    }

    /// The kernel did not let in whom it was to let in.
    pub fn handle_failed(&mut self, id: GrantId, actions: &mut Vec<Action>) {
        if let Some(Grant { opening, .. }) = self.remove(id) {
            actions.push(Action::Forget(opening.door, opening.network));
        }
    }

    /// Closes the doors of this name, or all, that are open for this address or network, or for anybody; how many grants
    /// that ends.
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

    /// The configuration has changed: ends the grants of the kernel's doors that do not `stay`.
    pub fn handle_change(
        &mut self,
        stay: impl Fn(&DoorKey, Network) -> bool,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        self.end_all(&Why::DoorGone, now, actions, |grant| {
            grant.opening.native && !stay(&grant.opening.door, grant.opening.network)
        });
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
        let meant = self.grants.iter_mut().filter(|(_, grant)| which(grant));
        let mut ids = Vec::new();
        for (id, grant) in meant {
            grant.again = None;
            ids.extend((grant.state != State::Stopping).then_some(*id));
        }
        ids.sort();
        for id in &ids {
            self.end(*id, why.clone(), now, actions);
        }
        ids.len()
    }

    fn end(&mut self, id: GrantId, why: Why, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        let Opening { door, network, source, native, stop, .. } = grant.opening.clone();
        if grant.state == State::Starting {
            grant.ends = Some(why);
            if native {
                actions.push(Action::Shut(door, network));
            }
            return;
        }
        if let Some(until) = grant.until {
            self.deadlines.remove(&(until, id));
        }
        let in_time = why == Why::TimeOver;
        actions.push(Action::Closing { door: door.clone(), network, source, native, why });
        // Written first: after a crash in between, what was closed must not be open again.
        match &stop {
            None => actions.push(Action::Forget(door.clone(), network)),
            Some(_) if !in_time => actions.push(Action::Amend(grant.entry(Some(now)))),
            Some(_) => {}
        }
        if native {
            actions.push(Action::Shut(door.clone(), network));
        }
        match stop {
            None => drop(self.remove(id)),
            Some(stop) => {
                grant.state = State::Stopping;
                self.request(door, source, stop, Purpose::Stop(id), actions);
            }
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
            self.end(id, Why::TimeOver, now, actions);
        }
    }

    /// A command has ended.
    pub fn handle_exit(&mut self, job: JobId, exit: Exit, now: Timestamp, actions: &mut Vec<Action>) {
        let Some((purpose, place)) = self.turns.leave(job) else { return };
        match purpose {
            Purpose::Start(id) => self.started(id, exit, now, actions),
            Purpose::Stop(id) => self.stopped(id, exit, now, actions),
            Purpose::Once => {}
        }
        actions.extend(self.turns.fill(place).into_iter().map(Action::Run));
    }

    fn started(&mut self, id: GrantId, exit: Exit, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        if exit == Exit::NotStarted {
            // The command has opened nothing, so it has nothing to close.
            return self.give_up(id, actions);
        }
        let until =
            if grant.opening.native { grant.until } else { grant.opening.time.map(|time| now + time) };
        let ends = grant.ends.take().or(self.closing.then_some(Why::Shutdown));
        self.open_until(id, until);
        if let Some(why) = ends {
            self.end(id, why, now, actions);
        }
    }

    fn stopped(&mut self, id: GrantId, exit: Exit, now: Timestamp, actions: &mut Vec<Action>) {
        if exit == Exit::NotStarted {
            return self.open_until(id, Some(now + RETRY));
        }
        let Some(Grant { opening, again, .. }) = self.remove(id) else { return };
        actions.push(Action::Forget(opening.door, opening.network));
        if let Some(again) = again.filter(|_| !self.closing) {
            self.begin(again, now, actions);
        }
    }

    fn open_until(&mut self, id: GrantId, until: Option<Timestamp>) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        if let Some(old) = std::mem::replace(&mut grant.until, until) {
            self.deadlines.remove(&(old, id));
        }
        grant.state = State::Open;
        self.deadlines.extend(until.map(|until| (until, id)));
    }

    /// Ends a grant of which nothing but the kernel's part can be in force.
    fn give_up(&mut self, id: GrantId, actions: &mut Vec<Action>) {
        let Some(Grant { opening: Opening { door, network, native, .. }, .. }) = self.remove(id) else {
            return;
        };
        actions.push(Action::Forget(door.clone(), network));
        if native {
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
        door: DoorKey,
        address: IpAddr,
        command: String,
        purpose: Purpose,
        actions: &mut Vec<Action>,
    ) {
        let job = Job { id: JobId(self.next_id()), door, address, command };
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
            let unknown = !grant.opening.native && grant.state == State::Starting;
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
