//! Openings to commands: what is open for whom, until when, and what is still owed to close it.
//!
//! A door with a stop command is open from its start command until the stop command has run. Knocking again in that
//! time runs no second start command: the door stays open longer. A door without a stop command just runs its
//! start command at each opening.
//!
//! The start command of a grant ends before its stop command begins, and a stop command ends before the door is
//! opened anew for the same address.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use crate::config::{Commands, DoorKey};
use crate::time::Timestamp;

/// How many start commands of a door may run at once, and how many stop commands. What hangs delays neither the closing
/// nor another door.
pub const MAX_RUNNING: usize = 64;

/// How many start commands of a door may wait for others to end. Stop commands that are owed wait without a limit.
pub const MAX_WAITING: usize = 16_384;

/// How long after a stop command could not be started it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Names a command that was handed out to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(u64);

/// A command to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// To tell its end by, with [`Doorkeeper::handle_exit`].
    pub id: JobId,
    /// The door that it belongs to.
    pub door: DoorKey,
    /// Who knocked.
    pub address: IpAddr,
    /// For `/bin/sh -c`.
    pub command: String,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run this and tell its end.
    Run(Job),
    /// The time of a grant is over; its stop command follows.
    TimedOut {
        /// The door that closes.
        door: DoorKey,
        /// The address that it was open for.
        address: IpAddr,
    },
    /// The door was open for the address already and stays open so much longer.
    Extended {
        /// The door.
        door: DoorKey,
        /// The address that it is open for.
        address: IpAddr,
        /// How long from now, or from the end of the start command where that still runs.
        timeout: Duration,
    },
    /// Too many commands wait: this opening came to nothing.
    Overloaded {
        /// The door that stays shut.
        door: DoorKey,
        /// Who knocked.
        address: IpAddr,
    },
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It ran, with success or without.
    Ended,
    /// It could not be started.
    NotStarted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct GrantId(u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The start command waits or runs.
    Starting,
    /// Until then.
    Open(Timestamp),
    /// The stop command waits or runs.
    Stopping,
}

struct Grant {
    door: DoorKey,
    address: IpAddr,
    terms: Terms,
    state: State,
    /// There was a knock while it was closing: what to open it with again.
    again: Option<Terms>,
}

/// What a door opened with when it was knocked at; its configuration may have changed since.
struct Terms {
    start: String,
    stop: String,
    timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// A door without a stop command.
    Once,
    Start(GrantId),
    Stop(GrantId),
}

/// Whose turn is waited for: a door's start commands, or its stop commands.
type Turn = (DoorKey, Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Start,
    Stop,
}

fn turn(door: &DoorKey, purpose: Purpose) -> Turn {
    let kind = match purpose {
        Purpose::Once | Purpose::Start(_) => Kind::Start,
        Purpose::Stop(_) => Kind::Stop,
    };
    (door.clone(), kind)
}

/// Keeps what is open.
pub struct Doorkeeper {
    grants: HashMap<GrantId, Grant>,
    by_holder: HashMap<(DoorKey, IpAddr), GrantId>,
    deadlines: BTreeSet<(Timestamp, GrantId)>,
    running: HashMap<JobId, (Turn, Purpose)>,
    queues: HashMap<Turn, Queue>,
    max_running: usize,
    last_id: u64,
    closing: bool,
}

/// Commands that take turns.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Job, Purpose)>,
    running: usize,
}

impl Doorkeeper {
    /// Nothing is open; of each door at most `max_running` start commands and as many stop commands run at once.
    pub fn new(max_running: usize) -> Self {
        Self {
            grants: HashMap::new(),
            by_holder: HashMap::new(),
            deadlines: BTreeSet::new(),
            running: HashMap::new(),
            queues: HashMap::new(),
            max_running,
            last_id: 0,
            closing: false,
        }
    }

    /// A door with these commands opens for an address.
    pub fn handle_opening(
        &mut self,
        door: &DoorKey,
        commands: &Commands,
        address: IpAddr,
        now: Timestamp,
        actions: &mut Vec<Action>,
    ) {
        let Some((start, stop)) = commands.for_source(address) else { return };
        if self.closing {
            return;
        }
        let held = self.by_holder.get(&(door.clone(), address)).copied();
        let waiting = self.queues.get(&turn(door, Purpose::Once)).map_or(0, |queue| queue.waiting.len());
        match (held, stop) {
            (Some(grant), Some(stop)) => {
                self.extend(grant, Terms { start, stop, timeout: commands.timeout }, now, actions);
            }
            _ if waiting >= MAX_WAITING => actions.push(Action::Overloaded { door: door.clone(), address }),
            (_, None) => self.request(door.clone(), address, start, Purpose::Once, actions),
            (None, Some(stop)) => {
                let terms = Terms { start, stop, timeout: commands.timeout };
                self.begin(door.clone(), address, terms, actions);
            }
        }
    }

    fn begin(&mut self, door: DoorKey, address: IpAddr, terms: Terms, actions: &mut Vec<Action>) {
        let id = GrantId(self.next_id());
        let start = terms.start.clone();
        self.by_holder.insert((door.clone(), address), id);
        let grant = Grant { door: door.clone(), address, terms, state: State::Starting, again: None };
        self.grants.insert(id, grant);
        self.request(door, address, start, Purpose::Start(id), actions);
    }

    fn extend(&mut self, id: GrantId, terms: Terms, now: Timestamp, actions: &mut Vec<Action>) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        let timeout = terms.timeout;
        if grant.state == State::Stopping {
            grant.again = Some(terms);
            return;
        }
        // What it was opened with it is closed with: only the time is new.
        grant.terms.timeout = timeout;
        grant.again = None;
        if let State::Open(deadline) = &mut grant.state {
            self.deadlines.remove(&(*deadline, id));
            *deadline = now + timeout;
            self.deadlines.insert((*deadline, id));
        }
        actions.push(Action::Extended { door: grant.door.clone(), address: grant.address, timeout });
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
            if let Some(grant) = self.grants.get(&id) {
                actions.push(Action::TimedOut { door: grant.door.clone(), address: grant.address });
            }
            self.stop(id, actions);
        }
    }

    /// A command has ended.
    pub fn handle_exit(&mut self, job: JobId, exit: Exit, now: Timestamp, actions: &mut Vec<Action>) {
        let Some((turn, purpose)) = self.running.remove(&job) else { return };
        if let Some(queue) = self.queues.get_mut(&turn) {
            queue.running -= 1;
        }
        match purpose {
            Purpose::Start(id) => self.started(id, exit, now, actions),
            Purpose::Stop(id) => self.stopped(id, exit, now, actions),
            Purpose::Once => {}
        }
        self.run_waiting(&turn, actions);
    }

    fn started(&mut self, id: GrantId, exit: Exit, now: Timestamp, actions: &mut Vec<Action>) {
        if exit == Exit::NotStarted {
            // Nothing was opened, so there is nothing to close.
            self.forget(id);
            return;
        }
        self.open_until(id, |grant| now + grant.terms.timeout);
        if self.closing {
            self.stop(id, actions);
        }
    }

    fn stopped(&mut self, id: GrantId, exit: Exit, now: Timestamp, actions: &mut Vec<Action>) {
        if exit == Exit::NotStarted {
            self.open_until(id, |_| now + RETRY);
            return;
        }
        let Some(grant) = self.forget(id) else { return };
        if let Some(terms) = grant.again.filter(|_| !self.closing) {
            self.begin(grant.door, grant.address, terms, actions);
        }
    }

    fn open_until(&mut self, id: GrantId, deadline: impl FnOnce(&Grant) -> Timestamp) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        let deadline = deadline(grant);
        grant.state = State::Open(deadline);
        self.deadlines.insert((deadline, id));
    }

    fn stop(&mut self, id: GrantId, actions: &mut Vec<Action>) {
        let Some(grant) = self.grants.get_mut(&id) else { return };
        if let State::Open(deadline) = grant.state {
            self.deadlines.remove(&(deadline, id));
        }
        grant.state = State::Stopping;
        let (door, address, stop) = (grant.door.clone(), grant.address, grant.terms.stop.clone());
        self.request(door, address, stop, Purpose::Stop(id), actions);
    }

    fn forget(&mut self, id: GrantId) -> Option<Grant> {
        let grant = self.grants.remove(&id)?;
        self.by_holder.remove(&(grant.door.clone(), grant.address));
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
        let id = JobId(self.next_id());
        let turn = turn(&door, purpose);
        let job = Job { id, door, address, command };
        self.queues.entry(turn.clone()).or_default().waiting.push_back((job, purpose));
        self.run_waiting(&turn, actions);
    }

    fn run_waiting(&mut self, turn: &Turn, actions: &mut Vec<Action>) {
        let Some(queue) = self.queues.get_mut(turn) else { return };
        while queue.running < self.max_running
            && let Some((job, purpose)) = queue.waiting.pop_front()
        {
            queue.running += 1;
            self.running.insert(job.id, (turn.clone(), purpose));
            actions.push(Action::Run(job));
        }
        if queue.running == 0 {
            self.queues.remove(turn);
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// The daemon is about to end: nothing opens any more, start commands that still wait are given up, and every
    /// stop command that is owed runs. Once [`Doorkeeper::owed`] is empty, nothing is left open.
    pub fn handle_shutdown(&mut self, actions: &mut Vec<Action>) {
        self.closing = true;
        let starts = self.queues.iter_mut().filter(|((_, kind), _)| *kind == Kind::Start);
        let given_up: Vec<_> = starts.flat_map(|(_, queue)| std::mem::take(&mut queue.waiting)).collect();
        for (_, purpose) in given_up {
            if let Purpose::Start(id) = purpose {
                self.forget(id);
            }
        }
        while let Some(&(_, id)) = self.deadlines.first() {
            self.stop(id, actions);
        }
    }

    /// The stop commands that have not ended yet, with their doors and addresses.
    pub fn owed(&self) -> impl Iterator<Item = (&DoorKey, IpAddr, &str)> {
        self.grants.values().map(|grant| (&grant.door, grant.address, grant.terms.stop.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A doorkeeper with a made-up clock and commands that end when the test says so.
    struct Scene {
        keeper: Doorkeeper,
        now: Timestamp,
        running: Vec<Job>,
    }

    fn commands(stop: Option<&str>) -> Commands {
        Commands {
            start: Some("open %IP%".into()),
            stop: stop.map(str::to_owned),
            timeout: Duration::from_secs(10),
            ..Commands::default()
        }
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::V4((0xc000_0200 + n).into())
    }

    impl Scene {
        fn new(max_running: usize) -> Self {
            Self { keeper: Doorkeeper::new(max_running), now: Timestamp::ZERO, running: Vec::new() }
        }

        fn key(door: &str) -> DoorKey {
            DoorKey { name: door.into(), namesake: 0 }
        }

        /// Takes what is to run, and tells everything in words.
        fn done(&mut self, actions: Vec<Action>) -> Vec<String> {
            let tell = |action| match action {
                Action::Run(job) => {
                    let told = format!("run {}", job.command);
                    self.running.push(job);
                    told
                }
                Action::TimedOut { door, address } => format!("{address} {door} timeout"),
                Action::Extended { address, timeout, .. } => format!("{address} +{}", timeout.as_secs()),
                Action::Overloaded { door, .. } => format!("{door} overloaded"),
            };
            actions.into_iter().map(tell).collect()
        }

        fn opening_of(&mut self, door: &str, from: u32, stop: Option<&str>) -> Vec<String> {
            let mut actions = Vec::new();
            self.keeper.handle_opening(
                &Self::key(door),
                &commands(stop),
                address(from),
                self.now,
                &mut actions,
            );
            self.done(actions)
        }

        fn opening(&mut self, from: u32) -> Vec<String> {
            self.opening_of("ssh", from, Some("close %IP%"))
        }

        fn wait(&mut self, seconds: u64) -> Vec<String> {
            self.now = self.now + Duration::from_secs(seconds);
            let mut actions = Vec::new();
            self.keeper.handle_timer(self.now, &mut actions);
            self.done(actions)
        }

        fn exit(&mut self, command: &str, exit: Exit) -> Vec<String> {
            let at = self.running.iter().position(|job| job.command == command).expect("it runs");
            let job = self.running.remove(at);
            let mut actions = Vec::new();
            self.keeper.handle_exit(job.id, exit, self.now, &mut actions);
            self.done(actions)
        }

        fn end(&mut self, command: &str) -> Vec<String> {
            self.exit(command, Exit::Ended)
        }

        fn shutdown(&mut self) -> Vec<String> {
            let mut actions = Vec::new();
            self.keeper.handle_shutdown(&mut actions);
            self.done(actions)
        }

        fn owed(&self) -> usize {
            self.keeper.owed().count()
        }
    }

    const OPEN: &str = "open 192.0.2.7";
    const CLOSE: &str = "close 192.0.2.7";

    fn run(command: &str) -> String {
        format!("run {command}")
    }

    #[test]
    fn starts_waits_and_stops() {
        let mut scene = Scene::new(8);
        assert_eq!(scene.opening(7), [run(OPEN)]);
        assert_eq!(scene.keeper.next_deadline(), None, "the time counts from the start command's end");
        scene.wait(3);
        assert_eq!(scene.end(OPEN), [""; 0]);
        assert_eq!(scene.wait(9), [""; 0]);
        assert_eq!(scene.wait(1), ["192.0.2.7 ssh timeout".to_owned(), run(CLOSE)]);
        assert_eq!(scene.owed(), 1);
        assert_eq!(scene.end(CLOSE), [""; 0]);
        assert_eq!((scene.owed(), scene.keeper.next_deadline()), (0, None));
    }

    #[test]
    fn a_door_without_a_stop_command_just_runs() {
        let mut scene = Scene::new(8);
        for _ in 0..2 {
            assert_eq!(scene.opening_of("log", 7, None), [run(OPEN)]);
        }
        assert_eq!(scene.owed(), 0);
    }

    #[test]
    fn a_door_without_commands_does_nothing() {
        let mut actions = Vec::new();
        let key = Scene::key("log");
        let nothing = Commands::default();
        Scene::new(8).keeper.handle_opening(&key, &nothing, address(7), Timestamp::ZERO, &mut actions);
        assert_eq!(actions, []);
    }

    #[test]
    fn knocking_again_extends() {
        let mut scene = Scene::new(8);
        scene.opening(7);
        assert_eq!(scene.opening(7), ["192.0.2.7 +10"]);
        scene.end(OPEN);
        scene.wait(6);
        assert_eq!(scene.opening(7), ["192.0.2.7 +10"]);
        assert_eq!(scene.wait(9), [""; 0]);
        assert_eq!(scene.wait(1).len(), 2);
    }

    #[test]
    fn knocking_while_it_closes_opens_anew_after_the_stop_command() {
        let mut scene = Scene::new(8);
        scene.opening(7);
        scene.end(OPEN);
        scene.wait(10);
        assert_eq!(scene.opening(7), [""; 0]);
        assert_eq!(scene.end(CLOSE), [run(OPEN)]);
        scene.end(OPEN);
        assert_eq!(scene.wait(10).len(), 2);
    }

    #[test]
    fn addresses_and_doors_are_apart() {
        let mut scene = Scene::new(8);
        assert_eq!(scene.opening(7), [run(OPEN)]);
        assert_eq!(scene.opening(8), ["run open 192.0.2.8"]);
        assert_eq!(scene.opening_of("web", 7, Some("shut")), [run(OPEN)]);
        assert_eq!(scene.owed(), 3);
    }

    #[test]
    fn no_more_than_so_many_run_at_once() {
        let mut scene = Scene::new(2);
        let ran: Vec<_> = (1..=4).flat_map(|from| scene.opening(from)).collect();
        assert_eq!(ran, ["run open 192.0.2.1", "run open 192.0.2.2"]);
        assert_eq!(scene.end("open 192.0.2.2"), ["run open 192.0.2.3"]);
        assert_eq!(scene.end("open 192.0.2.1"), ["run open 192.0.2.4"]);
        scene.wait(9);
        scene.end("open 192.0.2.3");
        assert_eq!(scene.end("open 192.0.2.4"), [""; 0]);
        assert_eq!(scene.wait(1).len(), 4, "1 and 2 time out and their stop commands run");
        assert_eq!(scene.wait(9), ["192.0.2.3 ssh timeout", "192.0.2.4 ssh timeout"]);
        assert_eq!(scene.end("close 192.0.2.1"), ["run close 192.0.2.3"]);
    }

    #[test]
    fn start_commands_that_hang_delay_no_stop_command() {
        let mut scene = Scene::new(2);
        scene.opening(7);
        scene.end(OPEN);
        for _ in 0..3 {
            scene.opening_of("hangs", 8, None);
        }
        assert_eq!(scene.wait(10), ["192.0.2.7 ssh timeout".to_owned(), run(CLOSE)]);
    }

    #[test]
    fn commands_that_hang_delay_no_other_door() {
        let mut scene = Scene::new(1);
        for _ in 0..3 {
            scene.opening_of("hangs", 8, None);
        }
        assert_eq!(scene.opening(7), [run(OPEN)]);
        scene.end(OPEN);
        scene.opening_of("other", 9, Some("hangs too"));
        scene.end("open 192.0.2.9");
        assert_eq!(scene.wait(10).len(), 4);
        assert_eq!(scene.running.iter().filter(|job| job.command == CLOSE).count(), 1);
    }

    #[test]
    fn what_is_opened_anew_is_opened_by_what_is_configured_then() {
        let mut scene = Scene::new(8);
        scene.opening(7);
        scene.end(OPEN);
        scene.wait(10);
        scene.opening_of("ssh", 7, Some("close anew"));
        assert_eq!(scene.end(CLOSE), [run(OPEN)]);
        scene.end(OPEN);
        assert_eq!(scene.wait(10)[1], "run close anew");
    }

    #[test]
    fn too_many_that_wait_are_refused() {
        let mut scene = Scene::new(1);
        for _ in 0..=MAX_WAITING {
            assert!(!scene.opening_of("log", 7, None).contains(&"log overloaded".to_owned()));
        }
        assert_eq!(scene.opening_of("log", 7, None), ["log overloaded"]);
        assert_eq!(scene.opening(7), [run(OPEN)], "another door");
        assert_eq!(scene.owed(), 1);
    }

    #[test]
    fn shutdown_runs_every_stop_command_that_is_owed() {
        let mut scene = Scene::new(3);
        for from in 1..=4 {
            scene.opening(from);
        }
        scene.end("open 192.0.2.1");
        scene.wait(10);
        // 1 is closing or about to, 2 to 4 are still starting, of which one waits.
        assert_eq!(scene.owed(), 4);
        let started = scene.running.iter().filter(|job| job.command.starts_with("open")).count();
        scene.shutdown();
        assert_eq!(scene.owed(), 1 + started);
        while let Some(job) = scene.running.first() {
            let command = job.command.clone();
            scene.end(&command);
        }
        assert_eq!(scene.owed(), 0);
        assert_eq!(scene.opening(9), [""; 0], "nothing opens any more");
    }

    #[test]
    fn a_stop_command_that_could_not_start_is_tried_again() {
        let mut scene = Scene::new(8);
        scene.opening(7);
        scene.end(OPEN);
        scene.wait(10);
        assert_eq!(scene.exit(CLOSE, Exit::NotStarted), [""; 0]);
        assert_eq!(scene.wait(1), ["192.0.2.7 ssh timeout".to_owned(), run(CLOSE)]);
    }

    #[test]
    fn a_knock_that_was_answered_by_staying_open_does_not_open_again() {
        let mut scene = Scene::new(8);
        scene.opening(7);
        scene.end(OPEN);
        scene.wait(10);
        scene.opening(7);
        scene.exit(CLOSE, Exit::NotStarted);
        assert_eq!(scene.opening(7), ["192.0.2.7 +10"]);
        scene.wait(10);
        assert_eq!(scene.end(CLOSE), [""; 0]);
    }

    #[test]
    fn a_start_command_that_could_not_start_owes_nothing() {
        let mut scene = Scene::new(8);
        scene.opening(7);
        scene.exit(OPEN, Exit::NotStarted);
        assert_eq!(scene.owed(), 0);
        assert_eq!(scene.opening(7), [run(OPEN)]);
    }

    proptest! {
        /// Whatever happens in whatever order: for each address start and stop commands take turns, and in the end
        /// nothing is left open.
        #[test]
        fn start_and_stop_take_turns(
            steps in proptest::collection::vec((0_u8..4, 0_u32..3, any::<prop::sample::Index>()), 0..120),
            limit in 1_usize..4,
        ) {
            let mut scene = Scene::new(limit);
            let mut ran = Vec::new();
            for (what, from, which) in steps {
                let told = match what {
                    0 => scene.opening(from),
                    1 => scene.wait(u64::from(from) * 4),
                    _ if scene.running.is_empty() => continue,
                    _ => {
                        let command = scene.running[which.index(scene.running.len())].command.clone();
                        let exit = if what == 3 && from == 0 { Exit::NotStarted } else { Exit::Ended };
                        let told = scene.exit(&command, exit);
                        if exit == Exit::Ended {
                            ran.push(command);
                        }
                        told
                    }
                };
                drop(told);
                prop_assert!(scene.running.len() <= 2 * limit);
            }
            scene.shutdown();
            while let Some(job) = scene.running.first() {
                let command = job.command.clone();
                scene.end(&command);
                ran.push(command);
            }
            prop_assert_eq!(scene.owed(), 0);
            for from in 0..3 {
                let of: Vec<_> = ran.iter().filter(|command| command.ends_with(&address(from).to_string())).collect();
                prop_assert_eq!(of.len() % 2, 0);
                for (index, command) in of.into_iter().enumerate() {
                    prop_assert_eq!(command.starts_with(["open", "close"][index % 2]), true, "{:?}", ran);
                }
            }
        }
    }
}
