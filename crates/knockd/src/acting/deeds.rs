//! What the doorkeeper decides, done: written down, by the kernel, by commands, and told.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use knock_core::config::{DoorKey, Native as NativeDoor};
use knock_core::control::Seconds;
use knock_core::doorkeeper::{Action, Exit, Job, Why};
use knock_core::history::Recorded;
use knock_core::journal::Record;
use knock_core::network::Network;
use knock_core::time::Timestamp;

use super::configuring::grants;
use super::{Acting, SYNC};
use crate::audit::Audit;
use crate::log::{Facts, Topic};
use crate::native;

impl Acting {
    pub(super) fn act(&mut self, actions: Vec<Action>, now: Timestamp, audit: &mut Audit) {
        let mut actions = VecDeque::from(actions);
        let mut moves = Vec::new();
        loop {
            while let Some(action) = actions.pop_front() {
                let more = self.do_one(action, &mut moves, now, audit);
                // In front: the rest is of other grants.
                for action in more.into_iter().rev() {
                    actions.push_front(action);
                }
            }
            if moves.is_empty() {
                break;
            }
            actions.extend(self.make(std::mem::take(&mut moves), now, audit));
        }
        if self.journal.is_unsynced() {
            self.sync_due.get_or_insert(now + SYNC);
        }
    }

    /// Does what is to be done, or has the kernel do it with others; what follows from it.
    fn do_one(
        &mut self,
        action: Action,
        moves: &mut Vec<Action>,
        now: Timestamp,
        audit: &mut Audit,
    ) -> Vec<Action> {
        let mut more = Vec::new();
        match action {
            Action::Record(grant, entry) => {
                let written = self.record(entry, audit);
                self.doorkeeper.handle_recorded(grant, written, now, &mut more);
            }
            Action::Amend(entry) => self.note(&Record::Grant(entry), now, audit),
            Action::Forget(door, network) => self.note(&Record::End(door, network), now, audit),
            Action::Open { .. } | Action::Shut(..) => moves.push(action),
            Action::Run(job) => {
                let Job { id, door, address, closes, .. } = job.clone();
                if self.runner.run(job, &mut audit.log) {
                    self.tell_opened_by_command(&door, address, closes, audit);
                } else {
                    let reason = "the command could not be started".to_owned();
                    let what = Recorded::Refused(reason);
                    let purpose = Some(if closes { "close" } else { "open" });
                    let facts = Facts { purpose, ..refused(address, &door, &what, "command") };
                    audit.tell_as(address, &door.name, what, now, None, facts);
                    self.doorkeeper.handle_exit(id, Exit::NotStarted, now, &mut more);
                }
            }
            Action::Closing { door, network, source, native, why, lasted } => {
                tell_closing(&door, network, source, native, &why, lasted, now, audit);
            }
            Action::Extended { door, address, timeout } => {
                let line = format!("{door}: still open, for another {} s", timeout.as_secs_f64());
                audit.tell(
                    address,
                    &door.name,
                    Recorded::Extended { lasts: Some(timeout) },
                    now,
                    Some(&line),
                );
            }
            Action::Overloaded { door, address } => {
                let what = Recorded::Refused("too many commands wait, or too much is open".into());
                let line = format!("{door}: too many commands wait, not opened");
                let facts = refused(address, &door, &what, "overload");
                audit.tell_as(address, &door.name, what, now, Some(&line), facts);
            }
            Action::Refused { door, address } => {
                let reason = self.journal.failure().unwrap_or("the journal cannot be written").to_owned();
                let line = format!("{door}: not opened: {reason}");
                let what = Recorded::Refused(reason);
                let facts = refused(address, &door, &what, "journal");
                audit.tell_as(address, &door.name, what, now, Some(&line), facts);
            }
        }
        more
    }

    /// Has the kernel make its moves; what follows from those that failed.
    fn make(&mut self, moves: Vec<Action>, now: Timestamp, audit: &mut Audit) -> Vec<Action> {
        let outcome = match &mut self.native {
            Some(native) => {
                let changes: Vec<_> = moves.iter().filter_map(|step| change(step, now)).collect();
                native.make(&changes, || grants(&self.doors, &self.doorkeeper), now, audit)
            }
            None => Ok(()),
        };
        let mut more = Vec::new();
        for step in moves {
            let Action::Open { grant, door, source, network, until, extended } = step else { continue };
            match &outcome {
                Ok(()) => self.tell_opened(&door, source, network, until, extended, now, audit),
                Err(error) => {
                    let line = format!("{door}: not opened: {error}");
                    let what = Recorded::Refused(error.clone());
                    let facts = refused(source, &door, &what, "kernel");
                    audit.tell_as(source, &door.name, what, now, Some(&line), facts);
                    self.doorkeeper.handle_failed(grant, now, &mut more);
                }
            }
        }
        more
    }

    #[expect(clippy::too_many_arguments, reason = "they are what there is to tell")]
    fn tell_opened(
        &self,
        door: &DoorKey,
        source: IpAddr,
        network: Network,
        until: Option<Timestamp>,
        extended: bool,
        now: Timestamp,
        audit: &mut Audit,
    ) {
        let lasts = until.map(|until| until.since(now));
        let time = lasts.map(Seconds);
        let line = match (extended, time) {
            (true, Some(seconds)) => format!("{door}: still open, for another {seconds} s"),
            (true, None) => format!("{door}: still open, until it is closed"),
            (false, time) => {
                let whom = if network.is_host() { String::new() } else { format!(" to {network}") };
                let time = time.map_or("until it is closed".into(), |seconds| format!("for {seconds} s"));
                format!("{door}: opened {}{whom} {time}", self.ports(door).join(", "))
            }
        };
        let what = if extended { Recorded::Extended { lasts } } else { Recorded::Opened { lasts } };
        let facts = Facts {
            network: Some(network),
            ports: self.ports(door),
            ..Facts::between(source, &door.name, &what)
        };
        audit.tell_as(source, &door.name, what, now, Some(&line), facts);
    }

    /// Of a door that only commands open knockd's log has the command alone.
    fn tell_opened_by_command(&self, door: &DoorKey, address: IpAddr, closes: bool, audit: &mut Audit) {
        if closes || !self.ports(door).is_empty() {
            return;
        }
        let facts = Facts { address: Some(address), ..Facts::about(&door.name, Topic::Opened) };
        audit.log.tell_programs(Some(address), || format!("{door}: opened by its command"), facts);
    }

    /// What a native door opens.
    fn ports(&self, key: &DoorKey) -> Vec<String> {
        let door = self.doors.iter().find(|acting| acting.door.key == *key);
        door.and_then(|acting| acting.door.native.as_ref()).map(ports).unwrap_or_default()
    }
}

/// What a refusal is about.
fn refused(address: IpAddr, door: &DoorKey, what: &Recorded, reason: &'static str) -> Facts {
    Facts { reason: Some(reason), ..Facts::between(address, &door.name, what) }
}

/// What the kernel is to do for this.
fn change(action: &Action, now: Timestamp) -> Option<native::Change<'_>> {
    match action {
        Action::Shut(door, network) => Some(native::Change::Close { door, network: *network }),
        Action::Open { door, network, until, .. } => {
            let left = until.map(|until| until.since(now));
            Some(native::Change::Open(native::Element { door, network: *network, left }))
        }
        _ => None,
    }
}

#[expect(clippy::too_many_arguments, reason = "they are what there is to tell")]
fn tell_closing(
    door: &DoorKey,
    network: Network,
    source: IpAddr,
    native: bool,
    why: &Why,
    lasted: Option<Duration>,
    now: Timestamp,
    audit: &mut Audit,
) {
    let (code, reason) = match why {
        Why::TimeOver => ("time_over", "its time is over".to_owned()),
        Why::Knocked(name) => ("knocked", format!("by knocking at {name}")),
        Why::ByHand => ("by_hand", "by an administrator".into()),
        Why::DoorGone => {
            ("door_gone", "the configuration no longer has this door, or has it for other networks".into())
        }
        Why::DoorChanged => ("door_changed", "the configuration has another kind of door now".into()),
        Why::KernelRefused => ("kernel", "the kernel did not take it".into()),
        Why::Shutdown => ("shutdown", "the daemon ends".into()),
        Why::Unsure => ("journal", "the journal cannot be relied on".into()),
    };
    let line = match (native, why) {
        // As knockd has it.
        (false, Why::TimeOver) => Some(format!("{door}: command timeout")),
        (false, Why::Shutdown) => None,
        _ if network.is_host() => Some(format!("{door}: closed: {reason}")),
        _ => Some(format!("{door}: closed to {network}: {reason}")),
    };
    let what = Recorded::Closed(reason);
    let facts = Facts {
        network: Some(network),
        reason: Some(code),
        open_seconds: lasted.map(Seconds),
        ..Facts::between(source, &door.name, &what)
    };
    audit.tell_as(source, &door.name, what, now, line.as_deref(), facts);
}

/// What a native door opens.
fn ports(native: &NativeDoor) -> Vec<String> {
    native.ports.iter().map(ToString::to_string).collect()
}
