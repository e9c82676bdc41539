//! Which doors there are: at the start, and after the configuration has changed.

use std::collections::HashMap;
use std::io;

use knock_core::config::{Door, DoorKey, Widen};
use knock_core::doorkeeper::{Doorkeeper, MAX_RUNNING};
use knock_core::network::Network;
use knock_core::spa::Budget;
use knock_core::time::Timestamp;

use super::Acting;
use super::authenticated::recall_steps;
use crate::audit::Audit;
use crate::commands::Runner;
use crate::configuration::{ReadyDoor, Settings};
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::native::{self, Native};
use crate::one_time::{Unmarked, used_up};
use crate::wall_clock;

impl Acting {
    /// Goes on with what is still open from before.
    ///
    /// # Errors
    /// Where the kernel cannot be told what it is to guard; in words.
    pub(crate) fn start(
        doors: Vec<ReadyDoor>,
        settings: &Settings,
        now: Timestamp,
        audit: &mut Audit,
    ) -> Result<Self, String> {
        let journal = Journal::new(settings.state_directory.clone());
        let mut acting = Self {
            doors: Vec::new(),
            doorkeeper: Doorkeeper::new(MAX_RUNNING),
            runner: Runner::default(),
            ledger: Ledger::new(journal.state_directory()),
            host_key: settings.host_key.as_ref().map(|key| key.public().clone()),
            signatures: Budget::of_signatures(),
            journal,
            native: None,
            told_of_disk: false,
            retry: None,
            used: Unmarked::new(),
            needs_journal: false,
            sync_due: None,
        };
        acting.take_doors(doors, audit);
        acting.journal.wait_for_lock();
        acting.open_journal(settings.state_directory_is_named, now, audit);
        acting.open_ledger(audit);
        recall_steps(&acting.ledger, &mut acting.doors);
        let doors: Vec<_> = acting.doors.iter().map(|acting| &acting.door).collect();
        if has_native(doors.iter().copied()) {
            guard(&mut acting.native, &acting.doorkeeper, &doors, &settings.native(), now, audit)?;
        } else {
            native::take_away();
        }
        acting.settle(now, audit);
        Ok(acting)
    }

    /// Takes other doors, where `heed`, the other half, takes them too. What commands opened stays open to its end; what
    /// the kernel opened ends where its door is gone.
    ///
    /// # Errors
    /// Where the kernel or the other half does not take them; then all stays as it is.
    pub(crate) fn reconfigure(
        &mut self,
        mut doors: Vec<ReadyDoor>,
        settings: &Settings,
        heed: impl FnOnce(&[ReadyDoor]) -> io::Result<()>,
        now: Timestamp,
        audit: &mut Audit,
    ) -> Result<(), String> {
        recall_steps(&self.ledger, &mut doors);
        let before = self.native.as_ref().map(Native::settings);
        let guarded: Vec<_> = doors.iter().map(|ready| &ready.door).collect();
        let guards = has_native(guarded.iter().copied());
        if guards {
            guard(&mut self.native, &self.doorkeeper, &guarded, &settings.native(), now, audit)?;
        }
        if let Err(error) = heed(&doors) {
            self.guard_as_before(before, now, audit);
            return Err(error.to_string());
        }
        self.used = self.unmarked();
        self.take_doors(doors, audit);
        self.host_key = settings.host_key.as_ref().map(|key| key.public().clone());
        if !guards && self.native.take().is_some() {
            native::take_away();
        }
        if self.has_something_to_write_down() && !self.journal.in_use() {
            self.open_journal(settings.state_directory_is_named, now, audit);
            self.put_back(now, audit);
        }
        self.open_ledger(audit);
        self.forget_former_users();
        self.settle(now, audit);
        Ok(())
    }

    /// Why no key opens a door, where some door is knocked at with one and the ledger is not open.
    pub(crate) fn ledger_failure(&self) -> Option<&str> {
        let has_need = |ready: &ReadyDoor| ready.door.secret.is_spa() || ready.credential.rolling().is_some();
        self.ledger.failure().filter(|_| self.doors.iter().any(has_need))
    }

    /// Opens the ledger where some door is knocked at with a key, and it is not open.
    pub(super) fn open_ledger(&mut self, audit: &mut Audit) {
        if self.ledger_failure().is_none() {
            return;
        }
        let before = self.ledger.failure().map(str::to_owned);
        match self.ledger.open(wall_clock::nanoseconds()) {
            Ok(told) => told.iter().for_each(|line| audit.complain(line)),
            // It is tried at each knock, and told once.
            Err(reason) if before.as_ref() == Some(&reason) => {}
            Err(reason) => audit.complain(&format!("error: no key opens a door: {reason}")),
        }
    }

    /// Has the kernel guard the doors that are in force, after others could not come into force.
    fn guard_as_before(&mut self, before: Option<native::Settings>, now: Timestamp, audit: &mut Audit) {
        let Some(before) = before else {
            if self.native.take().is_some() {
                native::take_away();
            }
            return;
        };
        let doors: Vec<_> = self.doors.iter().map(|acting| &acting.door).collect();
        if let Err(error) = guard(&mut self.native, &self.doorkeeper, &doors, &before, now, audit) {
            audit.complain(&format!("error: {error}"));
        }
    }

    /// Puts the kernel's table as it should be.
    pub(super) fn put_back(&mut self, now: Timestamp, audit: &mut Audit) {
        if let Some(native) = &mut self.native {
            native.put_back(&grants(&self.doors, &self.doorkeeper), now, audit);
        }
    }

    fn take_doors(&mut self, doors: Vec<ReadyDoor>, audit: &mut Audit) {
        let used =
            |ready: &&ReadyDoor| ready.credential.one_time().is_some_and(|file| file.sequences().is_empty());
        for ready in doors.iter().filter(used) {
            audit.complain(&used_up(&ready.door.key.name));
        }
        self.doors = doors;
    }

    /// Ends what has no door any more.
    pub(super) fn settle(&mut self, now: Timestamp, audit: &mut Audit) {
        let mut actions = Vec::new();
        let admission = Admission::of(self.doors.iter().map(|acting| &acting.door));
        self.doorkeeper.handle_change(|key, network| admission.admits(key, network), now, &mut actions);
        self.act(actions, now, audit);
    }
}

/// Puts the kernel's table in place for these doors and the grants of this moment.
///
/// # Errors
/// Where the kernel does not take it; then all stays as it is.
fn guard(
    native: &mut Option<Native>,
    doorkeeper: &Doorkeeper,
    doors: &[&Door],
    settings: &native::Settings,
    now: Timestamp,
    audit: &mut Audit,
) -> Result<(), String> {
    let grants = Admission::of(doors.iter().copied()).grants(doorkeeper);
    if let Some(native) = native {
        return native.put(settings, doors, &grants, now, audit);
    }
    let mut opened = Native::open()?;
    opened.put(settings, doors, &grants, now, audit)?;
    *native = Some(opened);
    Ok(())
}

/// Whether some door is the kernel's.
pub(super) fn has_native<'a>(mut doors: impl Iterator<Item = &'a Door>) -> bool {
    doors.any(|door| door.native.is_some())
}

/// Whom the doors of a configuration let in by the kernel.
struct Admission<'a>(HashMap<&'a DoorKey, Widen>);

impl<'a> Admission<'a> {
    fn of(doors: impl Iterator<Item = &'a Door>) -> Self {
        let native = doors.filter_map(|door| Some((&door.key, door.native.as_ref()?.widen)));
        Self(native.collect())
    }

    /// Whether there is such a door, for such networks.
    fn admits(&self, key: &DoorKey, network: Network) -> bool {
        self.0.get(key).is_some_and(|widen| widen.around(network.address()) == network)
    }

    fn grants<'b>(&self, doorkeeper: &'b Doorkeeper) -> Vec<native::Grant<'b>> {
        doorkeeper.native_grants().filter(|(key, network, _)| self.admits(key, *network)).collect()
    }
}

/// Whom the kernel is to let in by these doors.
pub(super) fn grants<'a>(doors: &[ReadyDoor], doorkeeper: &'a Doorkeeper) -> Vec<native::Grant<'a>> {
    Admission::of(doors.iter().map(|acting| &acting.door)).grants(doorkeeper)
}
