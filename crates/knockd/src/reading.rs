//! The reading half: strangers' bytes to openings.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use knock_core::config::{FlagRule, PortRange};
use knock_core::knock::{Knock, TcpFlags};
use knock_core::packet::{Frame, decode};
use knock_core::sequence::{Sequence, Step};
use knock_core::time::Timestamp;
use knock_core::tracker::{AttemptView, Counters, DoorIndex, Event, MAX_ATTEMPTS, TrackedDoor, Tracker};
use knock_linux::capture::{BATCH, Capture, Packet};
use knock_linux::filter::Wanted;

use crate::configuration::ReadyDoor;
use crate::pace::Pace;
use crate::served::Served;
use crate::watched::Watched;

/// In a flood the packet socket is looked at once in so long: waking up costs more than a packet, and an honest knock
/// waits no longer than that.
const LOOK: Duration = Duration::from_millis(1);
/// How many looks may follow each other at once.
const LOOKS_AT_ONCE: u32 = 200;
/// In a flood the kernel filter follows the sources with attempts once in so long: it costs as much as some hundred
/// packets.
const FOLLOW: Duration = Duration::from_millis(5);
/// How often it may follow at once.
const FOLLOWS_AT_ONCE: u32 = 100;
/// Of how many sources the kernel filter passes what goes to ports that no door names.
const WATCHED_SOURCES: usize = 64;
/// How long after many packets came in together the kernel is asked how many it had no room for.
const ASK: Duration = Duration::from_secs(1);

/// What may be a knock.
pub(crate) struct Heard {
    knock: Knock,
    /// It went to an address that is listened at.
    local: bool,
    /// The index of the interface that it has come in on.
    interface: u32,
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Knock { source, destination, step, .. } = self.knock;
        write!(f, "{}: {source} -> {destination} {}", step.protocol, step.port)
    }
}

/// Listens and follows attempts.
pub(crate) struct Reading {
    capture: Capture,
    tracker: Tracker,
    /// The ports of the one-time sequences that follow those in force, by door.
    ahead: Vec<BTreeSet<Step>>,
    watched: Watched,
    ipv4_only: bool,
    served: Served,
    /// What the kernel filter passes.
    wanted: Wanted,
    /// The state of the tracker whose sources it follows.
    followed: u64,
    follows: Pace,
    pace: Pace,
    /// When the kernel is asked next how many packets it had no room for.
    ask_at: Option<Timestamp>,
    lost: u64,
}

impl Reading {
    /// Begins to listen for knocks on these doors.
    ///
    /// # Errors
    /// Where no packet socket can be had.
    pub(crate) fn new(doors: &[ReadyDoor], watched: Watched, ipv4_only: bool) -> io::Result<Self> {
        let (tracked, ahead) = (tracked(doors), ahead(doors));
        let wanted = wanted(&tracked, &ahead, &watched, ipv4_only);
        let capture = Capture::open(&wanted)?;
        let tracker = Tracker::new(tracked, MAX_ATTEMPTS);
        let served = Served::new(opened(doors));
        let pace = Pace::new(LOOK, LOOKS_AT_ONCE);
        Ok(Self {
            capture,
            tracker,
            ahead,
            watched,
            ipv4_only,
            served,
            wanted,
            followed: 0,
            follows: Pace::new(FOLLOW, FOLLOWS_AT_ONCE),
            pace,
            ask_at: None,
            lost: 0,
        })
    }

    /// Takes other doors and interfaces; attempts that would have come as far on them go on.
    ///
    /// # Errors
    /// Where the kernel does not take the filter; then all stays as it is.
    pub(crate) fn reconfigure(&mut self, doors: &[ReadyDoor], watched: Watched) -> io::Result<()> {
        let (tracked, ahead) = (tracked(doors), ahead(doors));
        let wanted = wanted(&tracked, &ahead, &watched, self.ipv4_only);
        let wanted = Wanted { watched: self.wanted.watched.clone(), ..wanted };
        self.capture.set_filter(&wanted)?;
        self.wanted = wanted;
        let old = std::mem::replace(&mut self.tracker, Tracker::new(Vec::new(), 0));
        self.tracker = old.reconfigured(tracked, MAX_ATTEMPTS);
        (self.ahead, self.watched) = (ahead, watched);
        self.served.set_doors(opened(doors));
        self.followed = u64::MAX;
        Ok(())
    }

    /// Follows nobody any more.
    pub(crate) fn stop(&mut self) {
        self.tracker = Tracker::new(Vec::new(), 0);
        self.ahead.clear();
        // Where the kernel does not take even this filter, what comes in finds no door.
        let _ = self.renew_filter();
    }

    /// Gives a door another sequence and says which come behind it; or none.
    pub(crate) fn set_sequences(&mut self, door: DoorIndex, sequences: Vec<Sequence>) -> io::Result<()> {
        if let Some(ahead) = self.ahead.get_mut(door as usize) {
            *ahead = steps(sequences.iter().skip(1));
        }
        self.tracker.set_sequence(door, sequences.into_iter().next());
        self.renew_filter()
    }

    /// Listens on other interfaces, or at other addresses.
    pub(crate) fn watch(&mut self, watched: Watched) -> io::Result<()> {
        self.watched = watched;
        self.renew_filter()
    }

    pub(crate) fn watched(&self) -> &Watched {
        &self.watched
    }

    /// A door, as it is knocked at.
    pub(crate) fn door(&self, door: DoorIndex) -> Option<&TrackedDoor> {
        self.tracker.doors().get(door as usize)
    }

    /// The attempts under way.
    pub(crate) fn attempts(&self) -> impl Iterator<Item = AttemptView> {
        self.tracker.list()
    }

    /// Listens anew, after the socket failed.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        self.capture = Capture::open(&self.wanted)?;
        Ok(())
    }

    fn renew_filter(&mut self) -> io::Result<()> {
        let wanted = wanted(self.tracker.doors(), &self.ahead, &self.watched, self.ipv4_only);
        self.wanted = Wanted { watched: std::mem::take(&mut self.wanted.watched), ..wanted };
        self.capture.set_filter(&self.wanted)
    }

    /// How long the packet socket is left alone from now on; `None` where it is to be looked at.
    pub(crate) fn pause(&self, now: Timestamp) -> Option<Duration> {
        self.pace.wait(now)
    }

    /// Notes that the packet socket is looked at.
    pub(crate) fn look(&mut self, now: Timestamp) {
        self.pace.done(now);
    }

    /// Takes what has come in, a batch of packets at most; whether there may be more.
    ///
    /// # Errors
    /// Where the socket fails.
    pub(crate) fn receive(&mut self, now: Timestamp, knocks: &mut Vec<Heard>) -> io::Result<bool> {
        let Self { capture, watched, ipv4_only, .. } = self;
        let count = capture.receive(|packet| knocks.extend(hear(packet, watched, *ipv4_only)))?;
        let full = count == BATCH;
        if full {
            self.ask_at.get_or_insert(now + ASK);
        }
        Ok(full)
    }

    /// Follows a knock to where it leads.
    pub(crate) fn follow(&mut self, heard: &Heard, now: Timestamp, reports: &mut Vec<Event>) {
        if self.tracker.names(heard.knock.step) || self.may_spoil(heard, now) {
            self.tracker.handle_knock(&heard.knock, heard.local, now, reports);
        }
    }

    /// Whether a packet to a port of no door may end an attempt.
    fn may_spoil(&mut self, Heard { knock, local, interface }: &Heard, now: Timestamp) -> bool {
        self.tracker.is_knocking(knock.source) && !(*local && self.served.contains(knock, *interface, now))
    }

    pub(crate) fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let stale = self.followed != self.tracker.watch_version();
        let follow = stale.then(|| now + self.follows.wait(now).unwrap_or_default());
        [self.tracker.next_deadline(), follow, self.ask_at].into_iter().flatten().min()
    }

    pub(crate) fn handle_timer(&mut self, now: Timestamp, reports: &mut Vec<Event>) {
        self.tracker.handle_timer(now, reports);
    }

    /// Lets the kernel filter follow the sources that have attempts, not too often.
    ///
    /// # Errors
    /// Where the kernel does not take the filter; the old one stays.
    pub(crate) fn follow_sources(&mut self, now: Timestamp) -> io::Result<()> {
        let version = self.tracker.watch_version();
        if version == self.followed || self.follows.wait(now).is_some() {
            return Ok(());
        }
        self.followed = version;
        let sources = self.tracker.watch(WATCHED_SOURCES).into_iter().collect();
        if sources != self.wanted.watched {
            self.wanted.watched = sources;
            self.follows.done(now);
            self.capture.set_filter(&self.wanted)?;
        }
        Ok(())
    }

    /// Asks the kernel how many packets it had no room for, where it is time to.
    pub(crate) fn count_lost(&mut self, now: Timestamp) {
        if self.ask_at.take_if(|at| *at <= now).is_some() {
            self.lost += u64::from(self.capture.lost().unwrap_or_default());
        }
    }

    /// How many packets the kernel had no room for so far, as far as is known.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// What the tracker has counted.
    pub(crate) fn counters(&self) -> Counters {
        self.tracker.counters()
    }
}

impl AsFd for Reading {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }
}

fn hear(packet: &Packet<'_>, watched: &Watched, ipv4_only: bool) -> Option<Heard> {
    if !watched.hears(packet.interface) {
        return None;
    }
    let loopback = watched.is_loopback(packet.interface);
    let knock = decode(&Frame {
        ether_type: packet.ether_type,
        bytes: packet.bytes,
        wire_length: packet.wire_length,
        checksum_trusted: packet.checksum_trusted,
        loopback,
    })?;
    // What claims to come from ourselves, or from no host of a net of ours, but comes from outside, is forged.
    let forged = !loopback && (watched.is_own(knock.source) || watched.is_no_host(knock.source));
    if forged || (ipv4_only && knock.source.is_ipv6()) {
        return None;
    }
    let local = packet.to_us && watched.is_local(knock.destination);
    Some(Heard { knock, local, interface: packet.interface })
}

fn tracked(doors: &[ReadyDoor]) -> Vec<TrackedDoor> {
    doors.iter().map(|ready| TrackedDoor::new(&ready.door, ready.sequences.first().cloned())).collect()
}

/// The ports that native doors open.
fn opened(doors: &[ReadyDoor]) -> Vec<PortRange> {
    let native = doors.iter().filter_map(|ready| ready.door.native.as_ref());
    native.flat_map(|native| native.ports.iter().copied()).collect()
}

fn ahead(doors: &[ReadyDoor]) -> Vec<BTreeSet<Step>> {
    doors.iter().map(|ready| steps(ready.sequences.iter().skip(1))).collect()
}

fn steps<'a>(sequences: impl IntoIterator<Item = &'a Sequence>) -> BTreeSet<Step> {
    sequences.into_iter().flat_map(Sequence::steps).copied().collect()
}

fn wanted(doors: &[TrackedDoor], ahead: &[BTreeSet<Step>], watched: &Watched, ipv4_only: bool) -> Wanted {
    let mut steps = steps(doors.iter().filter_map(|door| door.sequence.as_ref()));
    steps.extend(ahead.iter().flatten());
    Wanted {
        interfaces: watched.indexes(),
        other_hosts: doors.iter().any(|door| door.target.is_some()),
        ipv6: !ipv4_only,
        steps,
        flags: common_flags(doors),
        follow: doors.iter().any(|door| door.strict),
        ..Wanted::default()
    }
}

/// What all doors ask of a TCP packet's flags.
fn common_flags(doors: &[TrackedDoor]) -> FlagRule {
    let common = |a: TcpFlags, b: TcpFlags| a.difference(a.difference(b));
    doors
        .iter()
        .map(|door| door.flags)
        .reduce(|a, b| FlagRule {
            required: common(a.required, b.required),
            excluded: common(a.excluded, b.excluded),
        })
        .unwrap_or_default()
}
