//! The reading half: strangers' bytes to openings.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use knock_core::config::FlagRule;
use knock_core::knock::{Protocol, TcpFlags};
use knock_core::packet::{Frame, decode};
use knock_core::sequence::{Sequence, Step};
use knock_core::time::Timestamp;
use knock_core::tracker::{DoorIndex, Event, MAX_ATTEMPTS, TrackedDoor, Tracker};
use knock_linux::capture::{Capture, Packet};
use knock_linux::filter::Wanted;

use crate::configuration::ReadyDoor;
use crate::watched::Watched;

/// What the reading half tells: how attempts go on, and which doors open for whom.
pub(crate) type Report = Event;

/// Listens and follows attempts.
pub(crate) struct Reading {
    capture: Capture,
    tracker: Tracker,
    watched: Watched,
    ipv4_only: bool,
}

impl Reading {
    /// Begins to listen for knocks on these doors.
    ///
    /// # Errors
    /// Where no packet socket can be had.
    pub(crate) fn new(doors: &[ReadyDoor], watched: Watched, ipv4_only: bool) -> io::Result<Self> {
        let tracker = Tracker::new(tracked(doors), MAX_ATTEMPTS);
        let capture = Capture::open(&wanted(tracker.doors(), &watched, ipv4_only))?;
        Ok(Self { capture, tracker, watched, ipv4_only })
    }

    /// Takes other doors and interfaces; attempts that would have come as far on them go on.
    ///
    /// # Errors
    /// Where the kernel does not take the filter; then all stays as it is.
    pub(crate) fn reconfigure(&mut self, doors: &[ReadyDoor], watched: Watched) -> io::Result<()> {
        let doors = tracked(doors);
        self.capture.set_filter(&wanted(&doors, &watched, self.ipv4_only))?;
        let old = std::mem::replace(&mut self.tracker, Tracker::new(Vec::new(), 0));
        self.tracker = old.reconfigured(doors, MAX_ATTEMPTS);
        self.watched = watched;
        Ok(())
    }

    /// Follows nobody any more.
    pub(crate) fn stop(&mut self) {
        self.tracker = Tracker::new(Vec::new(), 0);
        // Where the kernel does not take even this filter, what comes in finds no door.
        let _ = self.renew_filter();
    }

    /// Gives a door another sequence, or none.
    pub(crate) fn set_sequence(&mut self, door: DoorIndex, sequence: Option<Sequence>) -> io::Result<()> {
        self.tracker.set_sequence(door, sequence);
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

    /// Listens anew, after the socket failed.
    pub(crate) fn reopen(&mut self) -> io::Result<()> {
        self.capture = Capture::open(&wanted(self.tracker.doors(), &self.watched, self.ipv4_only))?;
        Ok(())
    }

    fn renew_filter(&self) -> io::Result<()> {
        self.capture.set_filter(&wanted(self.tracker.doors(), &self.watched, self.ipv4_only))
    }

    /// Takes the packets that have come in, a batch of them at most; `debug` is told of each.
    ///
    /// # Errors
    /// Where the socket fails.
    pub(crate) fn receive(
        &mut self,
        now: Timestamp,
        reports: &mut Vec<Report>,
        mut debug: impl FnMut(String),
    ) -> io::Result<()> {
        let Self { capture, tracker, watched, ipv4_only } = self;
        capture.receive(|packet| {
            if let Some((source, destination, step)) =
                take(packet, tracker, watched, *ipv4_only, now, reports)
            {
                debug(format!("{}: {source} -> {destination} {}", step.protocol, step.port));
            }
        })?;
        Ok(())
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.tracker.next_deadline()
    }

    pub(crate) fn handle_timer(&mut self, now: Timestamp, reports: &mut Vec<Report>) {
        self.tracker.handle_timer(now, reports);
    }
}

impl AsFd for Reading {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }
}

/// Follows a packet; tells what it was where it counted.
fn take(
    packet: &Packet<'_>,
    tracker: &mut Tracker,
    watched: &Watched,
    ipv4_only: bool,
    now: Timestamp,
    reports: &mut Vec<Report>,
) -> Option<(IpAddr, IpAddr, Step)> {
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
    // What claims to come from ourselves, but from outside, is forged.
    let forged = !loopback && watched.is_local(knock.source);
    if forged || !tracker.knows(knock.step) || (ipv4_only && knock.source.is_ipv6()) {
        return None;
    }
    tracker.handle_knock(&knock, watched.is_local(knock.destination), now, reports);
    Some((knock.source, knock.destination, knock.step))
}

fn tracked(doors: &[ReadyDoor]) -> Vec<TrackedDoor> {
    let tracked = doors.iter().map(|ReadyDoor { door, sequence, one_time }| TrackedDoor {
        key: door.key.clone(),
        sequence: sequence.clone(),
        one_time: one_time.is_some(),
        timeout: door.seq_timeout,
        cooldown: door.seq_cooldown,
        flags: door.flags,
        target: door.target,
    });
    tracked.collect()
}

fn wanted(doors: &[TrackedDoor], watched: &Watched, ipv4_only: bool) -> Wanted {
    let steps =
        |door: &TrackedDoor| door.sequence.iter().flat_map(Sequence::steps).copied().collect::<Vec<_>>();
    Wanted {
        interfaces: watched.indexes(),
        other_hosts: doors.iter().any(|door| door.target.is_some()),
        ipv6: !ipv4_only,
        steps: doors.iter().flat_map(steps).collect::<BTreeSet<_>>(),
        flags: common_flags(doors),
    }
}

/// What all doors with a TCP port ask of a packet's flags.
fn common_flags(doors: &[TrackedDoor]) -> FlagRule {
    let has_tcp = |door: &&TrackedDoor| {
        door.sequence.iter().flat_map(Sequence::steps).any(|step| step.protocol == Protocol::Tcp)
    };
    let rules = doors.iter().filter(has_tcp).map(|door| door.flags);
    let common = |a: TcpFlags, b: TcpFlags| a.difference(a.difference(b));
    rules
        .reduce(|a, b| FlagRule {
            required: common(a.required, b.required),
            excluded: common(a.excluded, b.excluded),
        })
        .unwrap_or_default()
}
