//! What is written down of grants, and what another daemon has left.

use knock_core::journal::{Entry, Record, Replay};
use knock_core::time::Timestamp;

use super::configuring::has_native;
use super::{Acting, RETRY};
use crate::audit::Audit;
use crate::configuration::ReadyDoor;

impl Acting {
    /// Whether some door has grants that another daemon would have to end.
    pub(super) fn has_something_to_write_down(&self) -> bool {
        self.doors.iter().any(|ReadyDoor { door, .. }| {
            door.native.is_some() || door.commands.stop.is_some() || door.commands.stop_6.is_some()
        })
    }

    /// Opens the journal and goes on with what stands in it.
    pub(super) fn open_journal(&mut self, is_named: bool, now: Timestamp, audit: &mut Audit) {
        self.needs_journal = is_named;
        if !self.has_something_to_write_down() && !self.journal.path().exists() {
            return self.journal.switch_off();
        }
        match self.journal.open() {
            Ok(replay) => self.take_over(replay, now, audit),
            Err(error) => self.go_without(&error, now, audit),
        }
    }

    fn take_over(&mut self, replay: Replay, now: Timestamp, audit: &mut Audit) {
        let path = self.journal.path();
        let path = path.display();
        if let Some(bytes) = replay.torn {
            let told =
                format!("warning: {path}: the last {bytes} bytes are no whole record and do not count");
            audit.complain(&told);
        }
        if replay.clock_behind > 0 {
            audit.complain(&format!(
                "warning: the clock is behind what it was when {} doors were opened before the machine was started: \
                 they are closed",
                replay.clock_behind
            ));
        }
        let fault = replay.fault;
        self.doorkeeper.restore(replay.kept);
        if let Some(fault) = fault {
            let aside = match self.journal.set_aside() {
                Ok(aside) => format!("it is kept as {}", aside.display()),
                Err(error) => format!("it could not be kept: {error}"),
            };
            audit
                .complain(&format!("error: {path}: {fault}: all doors that it knows of are closed; {aside}"));
            let mut actions = Vec::new();
            self.doorkeeper.handle_doubt(now, &mut actions);
            self.act(actions, now, audit);
        }
        self.write_anew(now, audit);
        let open = self.doorkeeper.len();
        if open > 0 {
            audit.log.record(&format!("still open from before: {open}"));
        }
    }

    fn write_anew(&mut self, now: Timestamp, audit: &mut Audit) {
        match self.journal.rewrite(self.doorkeeper.entries()) {
            Ok(()) => self.tell_that_it_is_written(audit),
            Err(error) => self.go_without(&error, now, audit),
        }
    }

    /// The journal cannot be kept: nothing opens until it can, or nothing is written down where nobody asked for that.
    fn go_without(&mut self, error: &str, now: Timestamp, audit: &mut Audit) {
        if self.needs_journal || has_native(self.doors.iter().map(|acting| &acting.door)) {
            audit.complain(&format!("warning: {error}: no door opens before it can be"));
            self.told_of_disk = true;
            self.retry = Some(now + RETRY);
            return;
        }
        self.journal.switch_off();
        if self.has_something_to_write_down() {
            audit.complain(&format!("warning: {error}: if the daemon is killed, what is open stays open"));
        }
    }

    /// Waits until all that was written down is on the disk.
    pub(crate) fn sync(&mut self, audit: &mut Audit) {
        self.sync_due = None;
        if let Err(error) = self.journal.sync() {
            self.told_of_disk = true;
            audit.complain(&format!("warning: {error}"));
        }
    }

    /// Writes a grant down before it opens.
    pub(super) fn record(&mut self, entry: Entry, audit: &mut Audit) -> bool {
        // What a command did may be on the disk, and outlast the machine's fall; what the kernel did does not.
        let durable = entry.stop.is_some();
        let written = self.journal.record(&Record::Grant(entry), durable, self.doorkeeper.entries());
        match written {
            Ok(()) => {
                #[cfg(debug_assertions)]
                fall_where_a_test_wants_it();
                self.tell_that_it_is_written(audit);
                true
            }
            Err(error) => {
                self.told_of_disk = true;
                audit.complain(&format!("error: {error}"));
                false
            }
        }
    }

    /// Tells that the disk no longer fails, where it was told that it does.
    fn tell_that_it_is_written(&mut self, audit: &mut Audit) {
        if std::mem::take(&mut self.told_of_disk) {
            audit.complain(&format!("the journal {} is written again", self.journal.path().display()));
        }
    }

    pub(super) fn try_again(&mut self, now: Timestamp, audit: &mut Audit) {
        self.retry = None;
        if self.journal.failure().is_none() {
            return self.mend(now, audit);
        }
        let Ok(replay) = self.journal.open() else {
            self.retry = Some(now + RETRY);
            return;
        };
        self.take_over(replay, now, audit);
        self.settle(now, audit);
        self.put_back(now, audit);
    }

    /// Writes the journal anew, where something could not be written down.
    fn mend(&mut self, now: Timestamp, audit: &mut Audit) {
        match self.journal.mend(self.doorkeeper.entries()) {
            Ok(()) => self.tell_that_it_is_written(audit),
            Err(_) => self.retry = Some(now + RETRY),
        }
    }

    /// Writes down what has happened anyway.
    pub(super) fn note(&mut self, record: &Record, now: Timestamp, audit: &mut Audit) {
        if self.journal.failure().is_some() {
            return;
        }
        if let Err(error) = self.journal.record_end(record, self.doorkeeper.entries()) {
            self.told_of_disk = true;
            self.retry = Some(now + RETRY);
            audit.complain(&format!("warning: {error}"));
        }
    }
}

/// A moment that no signal hits: something is written down, and nothing has opened yet.
#[cfg(debug_assertions)]
fn fall_where_a_test_wants_it() {
    if std::env::var_os("KNOCKD_TEST_STOP_AFTER_RECORD").is_some() {
        std::process::abort();
    }
}
