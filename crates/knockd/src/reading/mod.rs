//! The reading half: strangers' bytes to openings, in a process of its own.
//!
//! It is started by the acting half, with the channel to that as its standard input and the packet socket as its
//! standard output. It opens what it needs, gives up all other power, and only then takes the first packet. From then on
//! it has no name for anything outside itself: it can say "this door, for this address", and no more.

mod knocks;
mod listened;
mod sealed;
mod served;

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::CStr;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::panic;
use std::process::ExitCode;
use std::time::Duration;

use knock_core::quota::Quota;
use knock_core::time::Timestamp;
use knock_core::tracker::{DoorIndex, Event, What};
use knock_linux::capture::Capture;
use knock_linux::clock::{self, Alarm};
use knock_linux::confinement::{self, Left, User};
use knock_linux::memory;
use knock_linux::process::ignore_requests_to_end;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::channel::{Answer, Channel, Heard, Order, Refused, Untold, Word};
use knocks::{Candidate, Knocks};

pub use listened::Listened;
pub use sealed::Datagrams;
#[cfg(feature = "fwknop")]
pub use sealed::FwknopDoor;

/// How the process is called; the daemon's own program under this name is it.
pub(crate) const NAME: &str = "knockd: reading";

/// How long a one-time door's next sequence is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many batches of packets are taken before timers have their turn.
const BATCHES: usize = 64;

/// The same as the kernel knows it, which has room for 15 bytes.
const SHORT_NAME: &CStr = c"knockd-reading";

/// Whether this process was started to be the reading half.
pub(crate) fn is_meant() -> bool {
    std::env::args_os().next().is_some_and(|name| name == NAME)
}

/// What the reading half has in its hands once it is confined.
pub struct Hands {
    /// The channel to the acting half.
    pub channel: BorrowedFd<'static>,
    /// The packet socket.
    pub packets: Capture,
}

/// The channel to the acting half.
fn channel_end() -> BorrowedFd<'static> {
    rustix::stdio::stdin()
}

/// Reads until the acting half is gone. `taken_over` is what happens instead, where a test wants to know what somebody
/// who has taken the process over can do.
pub(crate) fn run(taken_over: Option<fn(Hands)>) -> ExitCode {
    tell_of_panics();
    ignore_requests_to_end();
    // What `ps` and `pgrep` call it; otherwise `exe`, after the link by which it was started.
    let _ = rustix::thread::set_name(SHORT_NAME);
    memory::give_back_large_pieces();
    let outcome = Process::begin().and_then(|mut process| match taken_over {
        None => process.run(),
        Some(misbehave) => {
            misbehave(Hands { channel: channel_end(), packets: process.knocks.into_capture() });
            Ok(())
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            fail(error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// Says why it ends. Nobody reads what it would write elsewhere.
fn fail(reason: String) {
    let mut channel = Channel::new(channel_end());
    channel.say(&Word::Failed(reason));
    let _ = channel.flush_all();
}

fn tell_of_panics() {
    panic::set_hook(Box::new(|panic| {
        fail(panic.to_string());
        std::process::exit(101);
    }));
}

struct Process {
    channel: Channel<BorrowedFd<'static>>,
    knocks: Knocks,
    /// How much is told of what strangers do.
    quota: Quota,
    /// What was not told, by door and kind.
    untold: HashMap<(DoorIndex, mem::Discriminant<What>), Untold>,
    alarm: Alarm,
    /// Tells of every packet that may be a knock.
    tells_packets: bool,
    /// Takes no packet.
    rests: bool,
    /// One-time doors that were opened and have no next sequence yet, and until when that is waited for: a knock may follow
    /// the one before at once.
    used: HashSet<DoorIndex>,
    used_until: Timestamp,
    /// How many lost packets were told.
    lost_told: u64,
    /// What was taken and not followed yet.
    candidates: VecDeque<Candidate>,
    /// Room for what comes of a knock, kept for the next time.
    events: Vec<Event>,
}

/// The acting half has ended.
struct Gone;

impl Process {
    /// Waits for the first order, and gives up what is not needed.
    fn begin() -> io::Result<Self> {
        let mut channel = Channel::new(channel_end());
        let mut knocks = Knocks::new(rustix::stdio::stdout().try_clone_to_owned()?);
        let alarm = Alarm::new()?;
        let Order::Begin { user, tells_packets, ipv4_only } = first_order(&mut channel)? else {
            return Err(io::Error::other("the first order is another one"));
        };
        if ipv4_only {
            knocks.pass_over_ipv6();
        }
        // Where the clock stands in memory is looked up at its first use, with calls that are forbidden later.
        clock::now();
        let layers = confinement::confine(&Left {
            user: user.map(|(id, group)| User { id, group }),
            channel: channel_end().as_raw_fd(),
            sockets: knocks.sockets(),
        });
        channel.say(&Word::Confined(layers));
        channel.flush_all()?;
        Ok(Self {
            channel,
            knocks,
            quota: Quota::default(),
            untold: HashMap::new(),
            alarm,
            tells_packets,
            rests: true,
            used: HashSet::new(),
            used_until: Timestamp::ZERO,
            lost_told: 0,
            candidates: VecDeque::new(),
            events: Vec::new(),
        })
    }

    fn run(&mut self) -> io::Result<()> {
        // What came in together with the first order.
        self.obey_what_came(clock::now())?;
        while let Ok(()) = self.turn()? {}
        Ok(())
    }

    /// Waits for something to do, and does it.
    fn turn(&mut self) -> io::Result<Result<(), Gone>> {
        let now = clock::now();
        self.alarm.set(self.next_deadline(now))?;
        let packets = self.wait(now)?;
        let now = clock::now();
        if let Err(gone) = self.obey(now)? {
            return Ok(Err(gone));
        }
        if packets && let Err(gone) = self.receive(now)? {
            return Ok(Err(gone));
        }
        if !self.used.is_empty() && self.used_until <= now {
            self.used.clear();
        }
        self.handle_timers(now);
        // Whoever has ended is noticed at the next look at what it says.
        let _ = self.channel.flush_all();
        Ok(Ok(()))
    }

    fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let used = (!self.used.is_empty()).then_some(self.used_until);
        [self.knocks.next_deadline(now), self.quota.next_deadline(), used].into_iter().flatten().min()
    }

    /// Waits until there is something to do; whether there may be packets. Where the packet socket has a pause it waits
    /// until that is over, and not for packets.
    fn wait(&mut self, now: Timestamp) -> io::Result<bool> {
        let takes = self.takes_packets();
        let waiting = !self.candidates.is_empty();
        let pause = if waiting { Some(Duration::ZERO) } else { self.knocks.pause(now) };
        let pause = pause.filter(|_| takes);
        let packets = if takes && pause.is_none() { PollFlags::IN } else { PollFlags::empty() };
        let mut fds = [
            PollFd::new(&self.knocks, packets),
            PollFd::new(&self.channel, PollFlags::IN),
            PollFd::new(&self.alarm, PollFlags::IN),
        ];
        let at_most = pause.and_then(|pause| Timespec::try_from(pause).ok());
        match poll(&mut fds, at_most.as_ref()) {
            Err(error) if error != rustix::io::Errno::INTR => return Err(error.into()),
            _ => {}
        }
        let [packets, channel, alarm] = fds.map(|fd| !fd.revents().is_empty());
        if alarm {
            self.alarm.acknowledge();
        }
        // What has come in during the pause is taken without asking whether something has.
        Ok(takes && (packets || waiting || pause.is_some() && !channel && !alarm))
    }

    /// Whether the next packet may be looked at.
    fn takes_packets(&self) -> bool {
        !self.rests && self.used.is_empty()
    }

    /// Does what the acting half says.
    fn obey(&mut self, now: Timestamp) -> io::Result<Result<(), Gone>> {
        if !self.channel.take_in()? {
            return Ok(Err(Gone));
        }
        self.obey_what_came(now)?;
        Ok(Ok(()))
    }

    fn obey_what_came(&mut self, now: Timestamp) -> io::Result<()> {
        while let Some(order) = self.channel.message()? {
            match order {
                Order::Begin { .. } => {}
                Order::Remember(source) => self.knocks.remember(source),
                Order::Doors { doors, opened, listened, datagrams } => {
                    self.knocks.reconfigure(doors, opened, listened, datagrams);
                    self.used.clear();
                    self.rests = false;
                }
                Order::Listen(listened) => self.knocks.listen(listened),
                Order::Sequence(door, sequence) => {
                    self.knocks.set_sequence(door, sequence);
                    self.used.remove(&door);
                }
                Order::Rest => self.rests = true,
                Order::GoOn => self.rests = false,
                Order::Tell { number, attempts } => self.answer(number, attempts, now),
            }
        }
        Ok(())
    }

    fn answer(&mut self, number: u64, attempts: bool, now: Timestamp) {
        self.handle_timers(now);
        let answer = Answer {
            number,
            under_way: self.knocks.attempts().count(),
            attempts: if attempts { self.knocks.attempts().collect() } else { Vec::new() },
            counters: self.knocks.counters(),
            left_out: self.quota.left_out(),
            lost: self.knocks.lost(),
            untold: self.untold.drain().map(|(_, untold)| untold).collect(),
        };
        self.channel.say(&Word::Answer(Box::new(answer)));
    }

    fn receive(&mut self, now: Timestamp) -> io::Result<Result<(), Gone>> {
        self.knocks.look(now);
        for _ in 0..BATCHES {
            let more = self.candidates.is_empty() && self.knocks.receive(now, &mut self.candidates)?;
            while self.takes_packets()
                && let Some(candidate) = self.candidates.pop_front()
            {
                self.follow(&candidate, now);
            }
            // Nobody who was let in waits for the rest of a flood.
            let _ = self.channel.flush_all();
            // An opening may have changed what is to be knocked next.
            if let Err(gone) = self.obey(now)? {
                return Ok(Err(gone));
            }
            if !more || !self.takes_packets() {
                break;
            }
        }
        Ok(Ok(()))
    }

    fn follow(&mut self, candidate: &Candidate, now: Timestamp) {
        if self.tells_packets {
            let knock = candidate.knock;
            let heard = Heard { source: knock.source, destination: knock.destination, step: knock.step };
            self.channel.say(&Word::Heard(heard));
        }
        if let Some(word) = self.knocks.look_into(candidate, now) {
            self.tell_datagram(word, now);
        }
        let mut events = mem::take(&mut self.events);
        self.knocks.follow(candidate, now, &mut events);
        self.events = events;
        self.tell_events(now);
    }

    /// Tells what came of a datagram; of those that are refused as many as may be told.
    fn tell_datagram(&mut self, word: Word, now: Timestamp) {
        let is_told = match &word {
            Word::Refused(Refused { source, reason }) => {
                self.quota.admits_line(*source, reason.is_authentic(), now)
            }
            _ => true,
        };
        if is_told {
            self.channel.say(&word);
        }
    }

    /// Tells what came of knocks, as far as so much may be told.
    fn tell_events(&mut self, now: Timestamp) {
        for event in self.events.drain(..) {
            if event.what == What::Opening && self.knocks.is_one_time(event.door) {
                self.used.insert(event.door);
                self.used_until = now + PATIENCE;
            }
            if self.quota.admits(&event, now) {
                self.channel.say(&Word::Event(event));
            } else {
                let Event { door, what, .. } = event;
                let kind = (door, mem::discriminant(&what));
                self.untold.entry(kind).or_insert(Untold { door, what, times: 0 }).times += 1;
            }
        }
    }

    fn handle_timers(&mut self, now: Timestamp) {
        let mut events = mem::take(&mut self.events);
        self.knocks.handle_timer(now, &mut events);
        self.events = events;
        self.tell_events(now);
        if let Some(sources) = self.knocks.watch(now) {
            self.channel.say(&Word::Follow(sources));
        }
        if self.quota.tell(now).is_some() {
            self.channel.say(&Word::LeftOut(self.quota.left_out()));
        }
        self.knocks.count_lost(now);
        if self.knocks.lost() > self.lost_told {
            self.lost_told = self.knocks.lost();
            self.channel.say(&Word::Lost(self.lost_told));
        }
    }
}

fn first_order(channel: &mut Channel<BorrowedFd<'static>>) -> io::Result<Order> {
    loop {
        channel.wait(PollFlags::IN, None)?;
        if !channel.take_in()? {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(order) = channel.message()? {
            return Ok(order);
        }
    }
}
