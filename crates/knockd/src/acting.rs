//! The acting half: openings to grants, by the kernel and by commands.
//!
//! It believes the reading half nothing but "this door, this address": that there is such a door, and that the address
//! may open it, it sees for itself.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use knock_core::config::{Door, DoorKey, Native as NativeDoor, Widen};
use knock_core::doorkeeper::{Action, Doorkeeper, Exit, GrantId, MAX_RUNNING, Opening, Why};
use knock_core::history::Recorded;
use knock_core::journal::{Entry, Record, Replay};
use knock_core::network::Network;
use knock_core::sequence::Sequence;
use knock_core::time::Timestamp;
use knock_core::tracker::DoorIndex;

use crate::audit::Audit;
use crate::commands::Runner;
use crate::configuration::{ReadyDoor, Settings};
use crate::journal::Journal;
use crate::native::{self, Native};
use crate::one_time::{OneTimeFile, Unmarked, used_up};

/// How long after the journal could not be opened that is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long after a native door opened its grant is on the disk: a disk that is slow delays nobody's knock.
const SYNC: Duration = Duration::from_millis(50);

/// Opens and closes.
pub(crate) struct Acting {
    doors: Vec<ActingDoor>,
    doorkeeper: Doorkeeper,
    pub(crate) runner: Runner,
    pub(crate) journal: Journal,
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

/// A door, as this half needs it.
pub(crate) struct ActingDoor {
    pub(crate) door: Door,
    pub(crate) one_time: Option<OneTimeFile>,
}

impl ActingDoor {
    /// Whether there is something to knock.
    pub(crate) fn has_sequence(&self) -> bool {
        self.one_time.as_ref().is_none_or(|file| !file.sequences().is_empty())
    }
}

/// A one-time door's next sequence, and those that follow; for the reading half.
pub(crate) struct NextSequences(pub(crate) Vec<Sequence>);

/// What the kernel is to do.
enum Move {
    Open {
        grant: GrantId,
        door: DoorKey,
        source: IpAddr,
        network: Network,
        until: Option<Timestamp>,
        extended: bool,
    },
    Shut(DoorKey, Network),
}

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
        let mut acting = Self {
            doors: Vec::new(),
            doorkeeper: Doorkeeper::new(MAX_RUNNING),
            runner: Runner::default(),
            journal: Journal::new(settings.state_directory.clone()),
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
        let doors: Vec<_> = acting.doors.iter().map(|acting| acting.door.clone()).collect();
        if has_native(doors.iter()) {
            acting.guard(&doors.iter().collect::<Vec<_>>(), &settings.native(), now, audit)?;
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
        doors: Vec<ReadyDoor>,
        settings: &Settings,
        heed: impl FnOnce(&[ReadyDoor]) -> io::Result<()>,
        now: Timestamp,
        audit: &mut Audit,
    ) -> Result<(), String> {
        let before = self.native.as_ref().map(Native::settings);
        let guarded: Vec<_> = doors.iter().map(|ready| &ready.door).collect();
        let guards = has_native(guarded.iter().copied());
        if guards {
            self.guard(&guarded, &settings.native(), now, audit)?;
        }
        if let Err(error) = heed(&doors) {
            self.guard_as_before(before, now, audit);
            return Err(error.to_string());
        }
        self.used = self.unmarked();
        self.take_doors(doors, audit);
        if !guards && self.native.take().is_some() {
            native::take_away();
        }
        if self.has_something_to_write_down() && !self.journal.in_use() {
            self.open_journal(settings.state_directory_is_named, now, audit);
            self.put_back(now, audit);
        }
        self.settle(now, audit);
        Ok(())
    }

    /// Has the kernel guard the doors that are in force, after others could not come into force.
    fn guard_as_before(&mut self, before: Option<native::Settings>, now: Timestamp, audit: &mut Audit) {
        let Some(before) = before else {
            if self.native.take().is_some() {
                native::take_away();
            }
            return;
        };
        let doors: Vec<_> = self.doors.iter().map(|acting| acting.door.clone()).collect();
        if let Err(error) = self.guard(&doors.iter().collect::<Vec<_>>(), &before, now, audit) {
            audit.complain(&format!("error: {error}"));
        }
    }

    /// Puts the kernel's table as it should be.
    fn put_back(&mut self, now: Timestamp, audit: &mut Audit) {
        if let Some(native) = &mut self.native {
            native.put_back(&grants(&self.doors, &self.doorkeeper), now, audit);
        }
    }

    fn take_doors(&mut self, doors: Vec<ReadyDoor>, audit: &mut Audit) {
        for ready in doors.iter().filter(|ready| ready.sequences.is_empty()) {
            audit.complain(&used_up(&ready.door.key.name));
        }
        let acting = doors.into_iter().map(|ReadyDoor { door, one_time, .. }| ActingDoor { door, one_time });
        self.doors = acting.collect();
    }

    /// Puts the kernel's table in place for these doors and the grants of this moment.
    ///
    /// # Errors
    /// Where the kernel does not take it; then all stays as it is.
    fn guard(
        &mut self,
        doors: &[&Door],
        settings: &native::Settings,
        now: Timestamp,
        audit: &mut Audit,
    ) -> Result<(), String> {
        let grants = Admission::of(doors.iter().copied()).grants(&self.doorkeeper);
        if let Some(native) = &mut self.native {
            return native.put(settings, doors, &grants, now, audit);
        }
        let mut native = Native::open()?;
        native.put(settings, doors, &grants, now, audit)?;
        self.native = Some(native);
        Ok(())
    }

    /// Ends what has no door any more.
    fn settle(&mut self, now: Timestamp, audit: &mut Audit) {
        let mut actions = Vec::new();
        let admission = Admission::of(self.doors.iter().map(|acting| &acting.door));
        self.doorkeeper.handle_change(|key, network| admission.admits(key, network), now, &mut actions);
        self.act(actions, now, audit);
    }

    pub(crate) fn has_doors(&self) -> bool {
        !self.doors.is_empty()
    }

    pub(crate) fn doors(&self) -> &[ActingDoor] {
        &self.doors
    }

    pub(crate) fn doorkeeper(&self) -> &Doorkeeper {
        &self.doorkeeper
    }

    /// One-time sequences that are used up although their files do not say so, also of doors that are gone: they may
    /// come again.
    pub(crate) fn unmarked(&self) -> Unmarked {
        let mut unmarked = self.used.clone();
        for file in self.doors.iter().filter_map(|door| door.one_time.as_ref()) {
            unmarked.entry(file.path().to_owned()).or_default().extend(file.unmarked().iter().cloned());
        }
        unmarked
    }

    /// The name of a door.
    pub(crate) fn name(&self, door: DoorIndex) -> &str {
        self.doors.get(door as usize).map_or("?", |acting| acting.door.key.name.as_str())
    }

    /// Opens a door for an address; for a one-time door it says what is to be knocked next.
    pub(crate) fn open(
        &mut self,
        door: DoorIndex,
        address: IpAddr,
        now: Timestamp,
        audit: &mut Audit,
    ) -> Option<NextSequences> {
        let ActingDoor { door, one_time } = self.doors.get_mut(door as usize)?;
        if address.is_unspecified() || address.is_multicast() || !door.allows(address) {
            return one_time.as_ref().map(|file| NextSequences(file.sequences()));
        }
        // The sequence is marked before the door opens: a crash in between must not make it good again.
        let next = one_time.as_mut().map(|file| next_sequences(file, &door.key.name, audit));
        let opening = Opening::of(door, address);
        let closes = door.closes.as_ref().map(|closes| (closes.clone(), door.key.name.clone()));
        if let Some((closes, by)) = closes {
            self.close_for(&closes, address, &Why::Knocked(by), now, audit);
        }
        if let Some(opening) = opening {
            self.open_as(opening, now, audit);
        }
        next
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
            audit.complain(&format!("{address}: {door}: still open: this did not run to its end: {command}"));
        }
    }

    /// Whether some door has grants that another daemon would have to end.
    fn has_something_to_write_down(&self) -> bool {
        self.doors.iter().any(|ActingDoor { door, .. }| {
            door.native.is_some() || door.commands.stop.is_some() || door.commands.stop_6.is_some()
        })
    }

    /// Opens the journal and goes on with what stands in it.
    fn open_journal(&mut self, is_named: bool, now: Timestamp, audit: &mut Audit) {
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

    fn act(&mut self, actions: Vec<Action>, now: Timestamp, audit: &mut Audit) {
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

    /// Waits until all that was written down is on the disk.
    pub(crate) fn sync(&mut self, audit: &mut Audit) {
        self.sync_due = None;
        if let Err(error) = self.journal.sync() {
            self.told_of_disk = true;
            audit.complain(&format!("warning: {error}"));
        }
    }

    /// Does what is to be done, or has the kernel do it with others; what follows from it.
    fn do_one(
        &mut self,
        action: Action,
        moves: &mut Vec<Move>,
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
            Action::Open { grant, door, source, network, until, extended } => {
                moves.push(Move::Open { grant, door, source, network, until, extended });
            }
            Action::Shut(door, network) => moves.push(Move::Shut(door, network)),
            Action::Run(job) => {
                let (id, door, address) = (job.id, job.door.name.clone(), job.address);
                if !self.runner.run(job, &mut audit.log) {
                    let reason = "the command could not be started".to_owned();
                    audit.tell(address, &door, Recorded::Refused(reason), now, None);
                    self.doorkeeper.handle_exit(id, Exit::NotStarted, now, &mut more);
                }
            }
            Action::Closing { door, network, source, native, why } => {
                tell_closing(&door, network, source, native, &why, now, audit);
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
                let reason = Recorded::Refused("too many commands wait, or too much is open".into());
                let line = format!("{door}: too many commands wait, not opened");
                audit.tell(address, &door.name, reason, now, Some(&line));
            }
            Action::Refused { door, address } => {
                let reason = self.journal.failure().unwrap_or("the journal cannot be written").to_owned();
                let line = format!("{door}: not opened: {reason}");
                audit.tell(address, &door.name, Recorded::Refused(reason), now, Some(&line));
            }
        }
        more
    }

    /// Writes a grant down before it opens.
    fn record(&mut self, entry: Entry, audit: &mut Audit) -> bool {
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

    fn try_again(&mut self, now: Timestamp, audit: &mut Audit) {
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
    fn note(&mut self, record: &Record, now: Timestamp, audit: &mut Audit) {
        if self.journal.failure().is_some() {
            return;
        }
        if let Err(error) = self.journal.record_end(record, self.doorkeeper.entries()) {
            self.told_of_disk = true;
            self.retry = Some(now + RETRY);
            audit.complain(&format!("warning: {error}"));
        }
    }

    /// Has the kernel make its moves; what follows from those that failed.
    fn make(&mut self, moves: Vec<Move>, now: Timestamp, audit: &mut Audit) -> Vec<Action> {
        let outcome = match &mut self.native {
            Some(native) => {
                let changes: Vec<_> = moves.iter().map(|step| step.change(now)).collect();
                native.make(&changes, || grants(&self.doors, &self.doorkeeper), now, audit)
            }
            None => Ok(()),
        };
        let mut more = Vec::new();
        for step in moves {
            let Move::Open { grant, door, source, network, until, extended } = step else { continue };
            match &outcome {
                Ok(()) => self.tell_opened(&door, source, network, until, extended, now, audit),
                Err(error) => {
                    let line = format!("{door}: not opened: {error}");
                    audit.tell(source, &door.name, Recorded::Refused(error.clone()), now, Some(&line));
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
        let time = lasts.map(|lasts| lasts.as_secs_f64());
        let line = match (extended, time) {
            (true, Some(seconds)) => format!("{door}: still open, for another {seconds} s"),
            (true, None) => format!("{door}: still open, until it is closed"),
            (false, time) => {
                let whom = if network.is_host() { String::new() } else { format!(" to {network}") };
                let time = time.map_or("until it is closed".into(), |seconds| format!("for {seconds} s"));
                format!("{door}: opened {}{whom} {time}", self.ports(door))
            }
        };
        let what = if extended { Recorded::Extended { lasts } } else { Recorded::Opened { lasts } };
        audit.tell(source, &door.name, what, now, Some(&line));
    }

    /// What a native door opens, in words.
    fn ports(&self, key: &DoorKey) -> String {
        let door = self.doors.iter().find(|acting| acting.door.key == *key);
        door.and_then(|acting| acting.door.native.as_ref()).map(ports).unwrap_or_default()
    }
}

impl Move {
    fn change(&self, now: Timestamp) -> native::Change<'_> {
        match self {
            Self::Shut(door, network) => native::Change::Close { door, network: *network },
            Self::Open { door, network, until, .. } => native::Change::Open(native::Element {
                door,
                network: *network,
                left: until.map(|until| until.since(now)),
            }),
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

/// What a native door opens, in words.
pub(crate) fn ports(native: &NativeDoor) -> String {
    let ports: Vec<_> = native.ports.iter().map(ToString::to_string).collect();
    ports.join(", ")
}

/// Whether some door is the kernel's.
fn has_native<'a>(mut doors: impl Iterator<Item = &'a Door>) -> bool {
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
fn grants<'a>(doors: &[ActingDoor], doorkeeper: &'a Doorkeeper) -> Vec<native::Grant<'a>> {
    Admission::of(doors.iter().map(|acting| &acting.door)).grants(doorkeeper)
}

fn tell_closing(
    door: &DoorKey,
    network: Network,
    source: IpAddr,
    native: bool,
    why: &Why,
    now: Timestamp,
    audit: &mut Audit,
) {
    let reason = match why {
        Why::TimeOver => "its time is over".to_owned(),
        Why::Knocked(name) => format!("by knocking at {name}"),
        Why::ByHand => "by an administrator".into(),
        Why::DoorGone => "the configuration no longer has this door, or has it for other networks".into(),
        Why::DoorChanged => "the configuration has another kind of door now".into(),
        Why::KernelRefused => "the kernel did not take it".into(),
        Why::Shutdown => "the daemon ends".into(),
        Why::Unsure => "the journal cannot be relied on".into(),
    };
    let line = match (native, why) {
        // As knockd has it.
        (false, Why::TimeOver) => Some(format!("{door}: command timeout")),
        (false, Why::Shutdown) => None,
        _ if network.is_host() => Some(format!("{door}: closed: {reason}")),
        _ => Some(format!("{door}: closed to {network}: {reason}")),
    };
    audit.tell(source, &door.name, Recorded::Closed(reason), now, line.as_deref());
}

fn next_sequences(file: &mut OneTimeFile, door: &str, audit: &mut Audit) -> NextSequences {
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
    NextSequences(file.sequences())
}
