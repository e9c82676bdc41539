//! The reading half: strangers' bytes to openings.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use knock_core::config::FlagRule;
use knock_core::knock::{Knock, TcpFlags};
use knock_core::packet::{Frame, decode};
use knock_core::sequence::{Sequence, Step};
use knock_core::time::Timestamp;
use knock_core::tracker::{AttemptView, DoorIndex, Event, MAX_ATTEMPTS, TrackedDoor, Tracker};
use knock_linux::capture::{Capture, Packet};
use knock_linux::filter::Wanted;

use crate::configuration::ReadyDoor;
use crate::watched::Watched;

/// A knock at some door's port.
pub(crate) struct Heard {
    knock: Knock,
    /// It went to an address that is listened at.
    local: bool,
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
}

impl Reading {
    /// Begins to listen for knocks on these doors.
    ///
    /// # Errors
    /// Where no packet socket can be had.
    pub(crate) fn new(doors: &[ReadyDoor], watched: Watched, ipv4_only: bool) -> io::Result<Self> {
        let (tracked, ahead) = (tracked(doors), ahead(doors));
        let capture = Capture::open(&wanted(&tracked, &ahead, &watched, ipv4_only))?;
        Ok(Self { capture, tracker: Tracker::new(tracked, MAX_ATTEMPTS), ahead, watched, ipv4_only })
    }

    /// Takes other doors and interfaces; attempts that would have come as far on them go on.
    ///
    /// # Errors
    /// Where the kernel does not take the filter; then all stays as it is.
    pub(crate) fn reconfigure(&mut self, doors: &[ReadyDoor], watched: Watched) -> io::Result<()> {
        let (tracked, ahead) = (tracked(doors), ahead(doors));
        self.capture.set_filter(&wanted(&tracked, &ahead, &watched, self.ipv4_only))?;
        let old = std::mem::replace(&mut self.tracker, Tracker::new(Vec::new(), 0));
        self.tracker = old.reconfigured(tracked, MAX_ATTEMPTS);
        (self.ahead, self.watched) = (ahead, watched);
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
        self.capture = Capture::open(&self.wanted())?;
        Ok(())
    }

    fn renew_filter(&self) -> io::Result<()> {
        self.capture.set_filter(&self.wanted())
    }

    fn wanted(&self) -> Wanted {
        wanted(self.tracker.doors(), &self.ahead, &self.watched, self.ipv4_only)
    }

    /// Takes the knocks that have come in, a batch of packets at most.
    ///
    /// # Errors
    /// Where the socket fails.
    pub(crate) fn receive(&mut self, knocks: &mut Vec<Heard>) -> io::Result<()> {
        let Self { capture, watched, ipv4_only, .. } = self;
        capture.receive(|packet| knocks.extend(hear(packet, watched, *ipv4_only)))
    }

    /// Follows a knock to where it leads.
    pub(crate) fn follow(&mut self, heard: &Heard, now: Timestamp, reports: &mut Vec<Event>) {
        self.tracker.handle_knock(&heard.knock, heard.local, now, reports);
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.tracker.next_deadline()
    }

    pub(crate) fn handle_timer(&mut self, now: Timestamp, reports: &mut Vec<Event>) {
        self.tracker.handle_timer(now, reports);
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
    let forged = !loopback && (watched.is_local(knock.source) || watched.is_no_host(knock.source));
    if forged || (ipv4_only && knock.source.is_ipv6()) {
        return None;
    }
    Some(Heard { knock, local: packet.to_us && watched.is_local(knock.destination) })
}

fn tracked(doors: &[ReadyDoor]) -> Vec<TrackedDoor> {
    doors.iter().map(|ready| TrackedDoor::new(&ready.door, ready.sequences.first().cloned())).collect()
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
