//! Strangers' bytes to what comes of them.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use knock_core::config::PortRange;
use knock_core::knock::Knock;
use knock_core::packet::{Frame, decode_with_data};
use knock_core::sequence::Sequence;
use knock_core::time::Timestamp;
use knock_core::tracker::{AttemptView, Counters, DoorIndex, Event, MAX_ATTEMPTS, TrackedDoor, Tracker};
use knock_linux::capture::{BATCH, Capture, Packet};
use knock_linux::filter::MAX_WATCHED;

use super::listened::Listened;
use super::sealed::{Datagram, Datagrams, Opener};
use super::served::Served;
use crate::channel::Word;
use crate::pace::Pace;

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
/// How long after many packets came in together the kernel is asked how many it had no room for.
const ASK: Duration = Duration::from_secs(1);

/// What may be a knock.
pub(super) struct Candidate {
    pub(super) knock: Knock,
    /// It went to an address that is listened at.
    local: bool,
    /// The index of the interface that it has come in on.
    interface: u32,
    /// What stands in it, where datagrams to its port are looked at.
    data: Box<[u8]>,
}

/// Takes packets and follows attempts.
pub(super) struct Knocks {
    capture: Capture,
    tracker: Tracker,
    listened: Listened,
    ipv4_only: bool,
    served: Served,
    opener: Opener,
    /// The sources that the kernel filter was last told to follow, and the state of the tracker that they were taken from.
    watched: Vec<IpAddr>,
    followed: u64,
    follows: Pace,
    pace: Pace,
    /// When the kernel is asked next how many packets it had no room for.
    ask_at: Option<Timestamp>,
    lost: u64,
}

impl Knocks {
    /// Takes packets from this socket. Opens all that is needed later.
    pub(super) fn new(packets: OwnedFd) -> Self {
        Self {
            capture: Capture::new(packets),
            tracker: Tracker::new(Vec::new(), MAX_ATTEMPTS),
            listened: Listened::default(),
            ipv4_only: false,
            served: Served::new(Vec::new()),
            opener: Opener::default(),
            watched: Vec::new(),
            followed: 0,
            follows: Pace::new(FOLLOW, FOLLOWS_AT_ONCE),
            pace: Pace::new(LOOK, LOOKS_AT_ONCE),
            ask_at: None,
            lost: 0,
        }
    }

    /// The packet socket alone.
    pub(super) fn into_capture(self) -> Capture {
        self.capture
    }

    /// The descriptor of the socket through which the kernel is asked about sockets.
    pub(super) fn sockets(&self) -> Option<RawFd> {
        self.served.descriptor()
    }

    /// Passes over IPv6.
    pub(super) fn pass_over_ipv6(&mut self) {
        self.ipv4_only = true;
    }

    /// Takes other doors and interfaces; attempts that would have come as far on them go on.
    pub(super) fn reconfigure(
        &mut self,
        doors: Vec<TrackedDoor>,
        opened: Vec<PortRange>,
        listened: Listened,
        datagrams: Datagrams,
    ) {
        self.opener.reconfigure(datagrams);
        let old = std::mem::replace(&mut self.tracker, Tracker::new(Vec::new(), 0));
        self.tracker = old.reconfigured(doors, MAX_ATTEMPTS);
        self.listened = listened;
        self.served.set_doors(opened);
        self.followed = u64::MAX;
    }

    /// Gives a door another sequence, or none.
    pub(super) fn set_sequence(&mut self, door: DoorIndex, sequence: Option<Sequence>) {
        self.tracker.set_sequence(door, sequence);
    }

    /// Whether a door waits for another sequence once it was opened.
    pub(super) fn is_one_time(&self, door: DoorIndex) -> bool {
        self.tracker.doors().get(door as usize).is_some_and(|door| door.one_time)
    }

    /// Listens on other interfaces, or at other addresses.
    pub(super) fn listen(&mut self, listened: Listened) {
        self.listened = listened;
    }

    /// The attempts under way.
    pub(super) fn attempts(&self) -> impl Iterator<Item = AttemptView> {
        self.tracker.list()
    }

    /// How long the packet socket is left alone from now on; `None` where it is to be looked at.
    pub(super) fn pause(&self, now: Timestamp) -> Option<Duration> {
        self.pace.wait(now)
    }

    /// Notes that the packet socket is looked at.
    pub(super) fn look(&mut self, now: Timestamp) {
        self.pace.done(now);
    }

    /// Takes what has come in, a batch of packets at most; whether there may be more.
    ///
    /// # Errors
    /// Where the socket fails.
    pub(super) fn receive(
        &mut self,
        now: Timestamp,
        candidates: &mut VecDeque<Candidate>,
    ) -> io::Result<bool> {
        let Self { capture, listened, ipv4_only, opener, .. } = self;
        let hears = |packet: &Packet<'_>| hear(packet, listened, *ipv4_only, opener);
        let count = capture.receive(|packet| candidates.extend(hears(packet)))?;
        let full = count == BATCH;
        if full {
            self.ask_at.get_or_insert(now + ASK);
        }
        Ok(full)
    }

    /// Follows a knock to where it leads.
    pub(super) fn follow(&mut self, candidate: &Candidate, now: Timestamp, reports: &mut Vec<Event>) {
        if self.tracker.names(candidate.knock.step) || self.may_spoil(candidate, now) {
            self.tracker.handle_knock(&candidate.knock, candidate.local, now, reports);
        }
    }

    /// What there is to say of a datagram that is looked into.
    pub(super) fn look_into(&mut self, candidate: &Candidate, now: Timestamp) -> Option<Word> {
        let Candidate { knock, local, data, .. } = candidate;
        if data.is_empty() {
            return None;
        }
        let (source, destination) = (knock.source, knock.destination);
        let datagram = Datagram { source, destination, local: *local, port: knock.step.port, data };
        self.opener.look(&datagram, now)
    }

    /// Notes that somebody there has made a good knock.
    pub(super) fn remember(&mut self, source: IpAddr) {
        self.opener.remember(source);
    }

    /// Whether a packet to a port of no door may end an attempt.
    fn may_spoil(&mut self, Candidate { knock, local, interface, .. }: &Candidate, now: Timestamp) -> bool {
        self.tracker.is_knocking(knock.source) && !(*local && self.served.contains(knock, *interface, now))
    }

    pub(super) fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let stale = self.followed != self.tracker.watch_version();
        let follow = stale.then(|| now + self.follows.wait(now).unwrap_or_default());
        [self.tracker.next_deadline(), follow, self.ask_at].into_iter().flatten().min()
    }

    pub(super) fn handle_timer(&mut self, now: Timestamp, reports: &mut Vec<Event>) {
        self.tracker.handle_timer(now, reports);
    }

    /// The sources that the kernel filter should follow now, where they are others than before; not too often.
    pub(super) fn watch(&mut self, now: Timestamp) -> Option<Vec<IpAddr>> {
        let version = self.tracker.watch_version();
        if version == self.followed || self.follows.wait(now).is_some() {
            return None;
        }
        self.followed = version;
        let mut sources = self.tracker.watch(MAX_WATCHED);
        sources.sort_unstable();
        (sources != self.watched).then(|| {
            self.follows.done(now);
            self.watched.clone_from(&sources);
            sources
        })
    }

    /// Asks the kernel how many packets it had no room for, where it is time to.
    pub(super) fn count_lost(&mut self, now: Timestamp) {
        if self.ask_at.take_if(|at| *at <= now).is_some() {
            self.lost += u64::from(self.capture.lost().unwrap_or_default());
        }
    }

    /// How many packets the kernel had no room for so far, as far as is known.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }

    /// What the tracker has counted.
    pub(super) fn counters(&self) -> Counters {
        self.tracker.counters()
    }
}

impl AsFd for Knocks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }
}

fn hear(packet: &Packet<'_>, listened: &Listened, ipv4_only: bool, opener: &Opener) -> Option<Candidate> {
    if !listened.hears(packet.interface) {
        return None;
    }
    let loopback = listened.is_loopback(packet.interface);
    let (knock, data) = decode_with_data(&Frame {
        ether_type: packet.ether_type,
        bytes: packet.bytes,
        wire_length: packet.wire_length,
        checksum_trusted: packet.checksum_trusted,
        loopback,
    })?;
    // What claims to come from ourselves, or from no host of a net of ours, but comes from outside, is forged.
    let forged = !loopback && (listened.is_own(knock.source) || listened.is_no_host(knock.source));
    if forged || (ipv4_only && knock.source.is_ipv6()) {
        return None;
    }
    let local = packet.to_us && listened.is_local(knock.destination);
    let is_looked_into = !data.is_empty() && opener.arrive_at(knock.step.port);
    let data = if is_looked_into { data.into() } else { Box::default() };
    Some(Candidate { knock, local, interface: packet.interface, data })
}
