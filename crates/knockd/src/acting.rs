//! The acting half: openings to commands.
//!
//! It believes the reading half nothing but "this door, this address": that there is such a door, and that the address
//! can be a host's, it sees for itself.

use std::net::IpAddr;

use knock_core::config::{Commands, DoorKey};
use knock_core::doorkeeper::{Action, Doorkeeper, Exit, MAX_RUNNING};
use knock_core::sequence::Sequence;
use knock_core::time::Timestamp;
use knock_core::tracker::DoorIndex;

use crate::commands::Runner;
use crate::configuration::ReadyDoor;
use crate::log::Log;
use crate::one_time::{OneTimeFile, Unmarked, used_up};

/// Opens and closes.
pub(crate) struct Acting {
    doors: Vec<ActingDoor>,
    doorkeeper: Doorkeeper,
    pub(crate) runner: Runner,
}

struct ActingDoor {
    key: DoorKey,
    commands: Commands,
    one_time: Option<OneTimeFile>,
}

/// A one-time door's next sequence, and those that follow; for the reading half.
pub(crate) struct NextSequences(pub(crate) Vec<Sequence>);

impl Acting {
    pub(crate) fn new(doors: Vec<ReadyDoor>, log: &mut Log) -> Self {
        let doorkeeper = Doorkeeper::new(MAX_RUNNING);
        let mut acting = Self { doors: Vec::new(), doorkeeper, runner: Runner::default() };
        acting.reconfigure(doors, log);
        acting
    }

    /// Takes other doors; what is open stays open to its end.
    pub(crate) fn reconfigure(&mut self, doors: Vec<ReadyDoor>, log: &mut Log) {
        for ready in doors.iter().filter(|ready| ready.sequences.is_empty()) {
            log.complain(&used_up(&ready.door.key.name));
        }
        let acting = doors.into_iter().map(|ReadyDoor { door, one_time, .. }| ActingDoor {
            key: door.key,
            commands: door.commands,
            one_time,
        });
        self.doors = acting.collect();
    }

    pub(crate) fn has_doors(&self) -> bool {
        !self.doors.is_empty()
    }

    /// One-time sequences that are used up although their files do not say so.
    pub(crate) fn unmarked(&self) -> Unmarked {
        let mut unmarked = Unmarked::new();
        for file in self.doors.iter().filter_map(|door| door.one_time.as_ref()) {
            unmarked.entry(file.path().to_owned()).or_default().extend(file.unmarked().iter().cloned());
        }
        unmarked
    }

    /// The name of a door.
    pub(crate) fn name(&self, door: DoorIndex) -> &str {
        self.doors.get(door as usize).map_or("?", |door| door.key.name.as_str())
    }

    /// Opens a door for an address; for a one-time door it says what is to be knocked next.
    pub(crate) fn open(
        &mut self,
        door: DoorIndex,
        address: IpAddr,
        now: Timestamp,
        log: &mut Log,
    ) -> Option<NextSequences> {
        let door = self.doors.get_mut(door as usize)?;
        if address.is_unspecified() || address.is_multicast() {
            return door.one_time.as_ref().map(|file| NextSequences(file.sequences()));
        }
        let mut actions = Vec::new();
        // The sequence is marked before the door opens: a crash in between must not make it good again.
        let next = door.one_time.as_mut().map(|file| next_sequences(file, &door.key.name, log));
        self.doorkeeper.handle_opening(&door.key, &door.commands, address, now, &mut actions);
        self.act(actions, now, log);
        next
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.doorkeeper.next_deadline()
    }

    /// Closes what is due.
    pub(crate) fn handle_timer(&mut self, now: Timestamp, log: &mut Log) {
        let mut actions = Vec::new();
        self.doorkeeper.handle_timer(now, &mut actions);
        self.act(actions, now, log);
    }

    /// Takes note of the commands that have ended.
    pub(crate) fn reap(&mut self, now: Timestamp, log: &mut Log) {
        for job in self.runner.reap(log) {
            let mut actions = Vec::new();
            self.doorkeeper.handle_exit(job, Exit::Ended, now, &mut actions);
            self.act(actions, now, log);
        }
    }

    /// Runs every stop command that is owed; see [`Acting::owes`].
    pub(crate) fn shut_down(&mut self, now: Timestamp, log: &mut Log) {
        let mut actions = Vec::new();
        self.doorkeeper.handle_shutdown(&mut actions);
        self.act(actions, now, log);
    }

    /// Whether some stop command has not run to its end yet.
    pub(crate) fn owes(&self) -> bool {
        self.doorkeeper.owed().next().is_some()
    }

    /// Tells which stop commands have not run to their ends.
    pub(crate) fn tell_owed(&self, log: &mut Log) {
        for (door, address, command) in self.doorkeeper.owed() {
            log.complain(&format!("{address}: {door}: still open: this did not run to its end: {command}"));
        }
    }

    fn act(&mut self, actions: Vec<Action>, now: Timestamp, log: &mut Log) {
        let mut actions: std::collections::VecDeque<_> = actions.into();
        while let Some(action) = actions.pop_front() {
            match action {
                Action::Run(job) => {
                    let id = job.id;
                    if !self.runner.run(job, log) {
                        let mut more = Vec::new();
                        self.doorkeeper.handle_exit(id, Exit::NotStarted, now, &mut more);
                        actions.extend(more);
                    }
                }
                Action::TimedOut { door, address } => {
                    log.say_of(address, &format!("{door}: command timeout"))
                }
                Action::Extended { door, address, timeout } => {
                    let seconds = timeout.as_secs_f64();
                    log.say_of(address, &format!("{door}: still open, for another {seconds} s"));
                }
                Action::Overloaded { door, address } => {
                    log.say_of(address, &format!("{door}: too many commands wait, not opened"));
                }
            }
        }
    }
}

fn next_sequences(file: &mut OneTimeFile, door: &str, log: &mut Log) -> NextSequences {
    if let Err(error) = file.mark_used() {
        log.complain(&format!(
            "{door}: the one-time sequence could not be marked as used, after a restart it would work again: {error}"
        ));
    }
    match file.load() {
        Ok(remarks) => {
            for (source, diagnostic) in &remarks {
                log.complain(&source.line(diagnostic));
            }
            if file.sequences().is_empty() {
                log.complain(&used_up(door));
            }
        }
        Err(error) => log.complain(&format!(
            "{door}: the one-time sequences cannot be read, going on with those that are known: {error}"
        )),
    }
    NextSequences(file.sequences())
}
