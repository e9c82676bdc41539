//! The acting half: openings to grants, by the kernel and by commands.
//!
//! It believes the reading half nothing but "this door, this address": that there is such a door, and that the address
//! may open it, it sees for itself. Of a door with SSH keys it does not believe even that: who has signed a knock it finds
//! out for itself.

mod authenticated;
mod bookkeeping;
mod configuring;
mod deeds;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use knock_core::config::Door;
use knock_core::doorkeeper::{Doorkeeper, Exit, Opening, Why};
use knock_core::history::Recorded;
use knock_core::network::Network;
use knock_core::spa::{Budget, HostPublicKey};
use knock_core::time::Timestamp;
use knock_core::tracker::DoorIndex;

use crate::audit::Audit;
use crate::commands::Runner;
use crate::configuration::{Followed, ReadyDoor};
use crate::credential::Credential;
use crate::journal::Journal;
use crate::ledger::Ledger;
use crate::log::{Facts, Topic};
use crate::native::Native;
use crate::one_time::{OneTimeFile, Unmarked, used_up};
use configuring::grants;

pub(crate) use authenticated::Reason;

/// How long after the journal could not be opened that is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long after a native door opened its grant is on the disk: a disk that is slow delays nobody's knock.
const SYNC: Duration = Duration::from_millis(50);

/// Opens and closes.
pub(crate) struct Acting {
    doors: Vec<ReadyDoor>,
    doorkeeper: Doorkeeper,
    pub(crate) runner: Runner,
    pub(crate) journal: Journal,
    pub(crate) ledger: Ledger,
    /// The key that knocks are sealed to.
    host_key: Option<HostPublicKey>,
    /// How many signatures are verified.
    signatures: Budget,
    /// Where some door is the kernel's.
    pub(crate) native: Option<Native>,
    /// The journal's disk fails, which was told.
    told_of_disk: bool,
    /// The journal could not be opened, or lacks something: when to try again.
    retry: Option<Timestamp>,
    /// The configuration names a state directory.
    needs_journal: bool,
    /// When what was written down has to be on the disk.
    sync_due: Option<Timestamp>,
    /// One-time sequences of doors that are gone, that are used up although their files do not say so.
    used: Unmarked,
}

/// Whom a door is opened for.
struct Guest {
    address: IpAddr,
    /// Whose key it was, where that is known.
    user: Option<String>,
    /// For how long; `None` until it is closed.
    time: Option<Duration>,
}

impl Acting {
    pub(crate) fn has_doors(&self) -> bool {
        !self.doors.is_empty()
    }

    pub(crate) fn doors(&self) -> &[ReadyDoor] {
        &self.doors
    }

    pub(crate) fn doorkeeper(&self) -> &Doorkeeper {
        &self.doorkeeper
    }

    /// One-time sequences that are used up although their files do not say so, also of doors that are gone: they may
    /// come again.
    pub(crate) fn unmarked(&self) -> Unmarked {
        let mut unmarked = self.used.clone();
        for file in self.doors.iter().filter_map(|ready| ready.credential.one_time()) {
            unmarked.entry(file.path().to_owned()).or_default().extend(file.unmarked().iter().cloned());
        }
        unmarked
    }

    /// The name of a door.
    pub(crate) fn name(&self, door: DoorIndex) -> &str {
        self.doors.get(door as usize).map_or("?", |acting| acting.door.key.name.as_str())
    }

    /// Whether there is such a door, it is knocked at with a sequence, and it opens for this address.
    pub(crate) fn may_open(&self, door: DoorIndex, address: IpAddr) -> bool {
        let ready = self.doors.get(door as usize);
        ready.is_some_and(|ready| !ready.door.secret.is_spa()) && self.allows(door, address)
    }

    fn allows(&self, door: DoorIndex, address: IpAddr) -> bool {
        let ready = self.doors.get(door as usize);
        is_host(address) && ready.is_some_and(|ready| ready.door.allows(address))
    }

    /// Opens a door for an address whose knocks were a sequence that [may be used](Self::use_up_step); where it was good
    /// once, `arm` is told before what is to be knocked next, and then.
    pub(crate) fn open(
        &mut self,
        (door, slot): (DoorIndex, u8),
        address: IpAddr,
        arm: impl FnOnce(Followed),
        now: Timestamp,
        audit: &mut Audit,
    ) {
        if !self.may_open(door, address) {
            return;
        }
        let Some(ReadyDoor { door: of, credential }) = self.doors.get_mut(door as usize) else { return };
        if let Credential::OneTime(file) = credential {
            // The sequence is marked before the door opens: a crash in between must not make it good again.
            go_to_next(file, &of.key.name, audit);
        }
        if let Some(next) = self.next_in(door, slot) {
            arm(next);
        }
        let time = self.own_time(door);
        self.let_in_guest(door, Guest { address, user: None, time }, now, audit);
    }

    /// What is to be knocked next in a place of a door whose sequences change.
    pub(crate) fn next_in(&self, door: DoorIndex, slot: u8) -> Option<Followed> {
        let ready = self.doors.get(door as usize)?;
        match &ready.credential {
            Credential::Rolling(rolling) => Some(rolling.followed(slot.into())),
            Credential::OneTime(_) => ready.followed().into_iter().next(),
            _ => None,
        }
    }

    /// Opens a door, and closes the one that it closes.
    fn let_in_guest(&mut self, door: DoorIndex, guest: Guest, now: Timestamp, audit: &mut Audit) {
        let Some(ReadyDoor { door, .. }) = self.doors.get(door as usize) else { return };
        let Guest { address, user, time } = guest;
        let opening = Opening::of(door, address);
        let closes = door.closes.as_ref().map(|closes| (closes.clone(), door.key.name.clone()));
        if let Some((closes, by)) = closes {
            self.close_for(&closes, address, &Why::Knocked(by), now, audit);
        }
        if let Some(opening) = opening {
            self.open_as(Opening { user, time, ..opening }, now, audit);
        }
    }

    /// The doors of this name.
    ///
    /// # Errors
    /// Where there is none; in words.
    pub(crate) fn find(&self, name: &str) -> Result<Vec<&Door>, String> {
        let doors = self.doors.iter().map(|acting| &acting.door);
        let named: Vec<_> = doors.clone().filter(|door| door.key.name == name).collect();
        if named.is_empty() {
            let names: Vec<_> = doors.map(|door| door.key.name.as_str()).collect();
            return Err(format!("there is no door \"{name}\"; there are: {}", names.join(", ")));
        }
        Ok(named)
    }

    /// Opens a door for an address because an administrator says so, for so long or for the door's own time; tells what
    /// came of it.
    ///
    /// # Errors
    /// Where nothing opened; in words.
    pub(crate) fn open_by_hand(
        &mut self,
        name: &str,
        address: IpAddr,
        time: Option<Duration>,
        now: Timestamp,
        audit: &mut Audit,
    ) -> Result<String, String> {
        let openings = self.find(name)?.into_iter().filter_map(|door| Opening::of(door, address));
        let openings: Vec<_> = openings.collect();
        if openings.is_empty() {
            return Err(format!("the door \"{name}\" opens nothing for {address}"));
        }
        let lasts = openings.iter().any(|opening| opening.native || opening.stop.is_some());
        if time.is_some() && !lasts {
            return Err(format!("the door \"{name}\" has nothing that closes it: leave out the time"));
        }
        for opening in openings {
            let time = time.or(opening.time);
            self.open_as(Opening { time, by_hand: true, ..opening }, now, audit);
        }
        let last = audit.history(address).last().filter(|last| *last.door == *name && last.at == now);
        match last.map(|last| &last.what) {
            Some(Recorded::Refused(reason)) => Err(format!("{name} was not opened for {address}: {reason}")),
            Some(what) => Ok(format!("{name}: {address}: {}", what.sentence(false))),
            None => Ok(format!("{name}: {address}: its commands are under way")),
        }
    }

    fn open_as(&mut self, opening: Opening, now: Timestamp, audit: &mut Audit) {
        // What stands in the journal has to be known first: this may be open already.
        self.try_again(now, audit);
        let mut actions = Vec::new();
        self.doorkeeper.handle_opening(opening, now, &mut actions);
        self.act(actions, now, audit);
    }

    /// Closes doors; how many grants that ended.
    pub(crate) fn close(
        &mut self,
        door: Option<&str>,
        network: Option<Network>,
        why: &Why,
        now: Timestamp,
        audit: &mut Audit,
    ) -> usize {
        let mut actions = Vec::new();
        let ended = self.doorkeeper.handle_close(door, network, why, now, &mut actions);
        self.act(actions, now, audit);
        self.sync(audit);
        ended
    }

    /// Closes the doors of this name for whoever knocks from an address.
    fn close_for(&mut self, name: &str, address: IpAddr, why: &Why, now: Timestamp, audit: &mut Audit) {
        let mut actions = Vec::new();
        for door in self.doors.iter().map(|acting| &acting.door).filter(|door| door.key.name == name) {
            self.doorkeeper.handle_close_for(&door.key, address, why, now, &mut actions);
        }
        self.act(actions, now, audit);
        self.sync(audit);
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let native = self.native.as_ref().and_then(Native::next_deadline);
        [self.doorkeeper.next_deadline(), native, self.retry, self.sync_due].into_iter().flatten().min()
    }

    /// Closes what is due, and looks after the kernel's table and the journal.
    pub(crate) fn handle_timer(&mut self, now: Timestamp, audit: &mut Audit) {
        if self.retry.is_some_and(|due| due <= now) {
            self.try_again(now, audit);
        }
        if self.sync_due.is_some_and(|due| due <= now) {
            self.sync(audit);
        }
        let mut actions = Vec::new();
        self.doorkeeper.handle_timer(now, &mut actions);
        self.act(actions, now, audit);
        if let Some(native) = &mut self.native {
            native.handle_timer(|| grants(&self.doors, &self.doorkeeper), now, audit);
        }
    }

    /// Looks at what somebody else did to the machine's firewall.
    pub(crate) fn look_at_firewall(&mut self, now: Timestamp, audit: &mut Audit) {
        if let Some(native) = &mut self.native {
            native.look(|| grants(&self.doors, &self.doorkeeper), now, audit);
        }
    }

    /// Takes note of the commands that have ended.
    pub(crate) fn reap(&mut self, now: Timestamp, audit: &mut Audit) {
        for job in self.runner.reap(&mut audit.log) {
            let mut actions = Vec::new();
            self.doorkeeper.handle_exit(job, Exit::Ended, now, &mut actions);
            self.act(actions, now, audit);
        }
    }

    /// Runs every stop command that is owed; see [`Acting::owes`].
    pub(crate) fn shut_down(&mut self, now: Timestamp, audit: &mut Audit) {
        let mut actions = Vec::new();
        self.doorkeeper.handle_shutdown(now, &mut actions);
        self.act(actions, now, audit);
    }

    /// Whether some stop command has not run to its end yet.
    pub(crate) fn owes(&self) -> bool {
        self.doorkeeper.owed().next().is_some()
    }

    /// Tells what stays open when the daemon ends.
    pub(crate) fn tell_owed(&self, audit: &mut Audit) {
        for (door, address, command) in self.doorkeeper.owed() {
            let message = format!("{address}: {door}: still open: this did not run to its end: {command}");
            let facts = Facts { address: Some(address), ..Facts::about(&door.name, Topic::LeftOpen) };
            audit.complain_of(&message, facts);
        }
    }
}

/// Whether this can be a single host's address.
fn is_host(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && address != IpAddr::V4(Ipv4Addr::BROADCAST)
}

/// Marks the sequence as used and looks which come behind it.
fn go_to_next(file: &mut OneTimeFile, door: &str, audit: &mut Audit) {
    if let Err(error) = file.mark_used() {
        audit.complain(&format!(
            "{door}: the one-time sequence could not be marked as used, after a restart it would work again: {error}"
        ));
    }
    match file.load() {
        Ok(remarks) => {
            for (source, diagnostic) in &remarks {
                audit.complain(&source.line(diagnostic));
            }
            if file.sequences().is_empty() {
                audit.complain(&used_up(door));
            }
        }
        Err(error) => audit.complain(&format!(
            "{door}: the one-time sequences cannot be read, going on with those that are known: {error}"
        )),
    }
}
