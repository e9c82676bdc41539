//! The acting half's hold on the reading half: the packet socket and its filter, and the process that reads from it.
//!
//! The process may be in a stranger's hands, or hang, or end. Then its place is taken by another; nothing that is open
//! depends on it.

mod process;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use knock_core::config::{FlagRule, PortRange};
use knock_core::control::{Layer, LayerState};
use knock_core::knock::{Protocol, TcpFlags};
use knock_core::sequence::Step;
use knock_core::spa::{HostKey, LENGTH, REMEMBERED};
use knock_core::time::Timestamp;
use knock_core::tracker::{AttemptView, Counters, DoorIndex, MAX_ATTEMPTS, TrackedDoor};
use knock_linux::capture::Listener;
use knock_linux::clock;
use knock_linux::filter::{MAX_WATCHED, Wanted};
use rustix::event::PollFlags;

use crate::channel::{Answer, Order, Untold, Word};
use crate::configuration::{Followed, ReadyDoor, steps};
use crate::credential::Credential;
use crate::pace::Pace;
use crate::reading::Datagrams;
#[cfg(feature = "fwknop")]
use crate::reading::FwknopDoor;
use crate::watched::Watched;
use process::Process;

/// How long a question may go unanswered.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the process may take to get ready.
const PATIENCE_AT_START: Duration = Duration::from_secs(10);
/// How often it is asked whether it is alive, unless somebody wants to know more often.
const PULSE: Duration = Duration::from_secs(20);
/// Who has not answered for so long hangs.
const HANGS: Duration = Duration::from_secs(5);
/// A process that has ended is followed by another at once, but not so often: then once in so long.
const RESTART: Duration = Duration::from_secs(1);
const RESTARTS_AT_ONCE: u32 = 10;
/// So many words are heeded before something else has its turn.
const WORDS_AT_ONCE: usize = 1000;
/// How long what is told of a layer may be, and how many there may be.
const LONGEST_LAYER: usize = 300;
const MOST_LAYERS: usize = 8;
/// So many kinds of events there may be at a door.
const MOST_KINDS: usize = 16;
/// What a process says that somebody has taken over.
pub(crate) const LIE: &str = "it said what it cannot have to say";

/// What the reading half is to do that does not depend on the doors.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Pass over IPv6.
    pub(crate) ipv4_only: bool,
    /// Tell of every packet that may be a knock.
    pub(crate) tells_packets: bool,
    /// How often it is asked at least whether it is alive.
    pub(crate) pulse: Option<Duration>,
}

impl Manner {
    fn pulse(&self) -> Duration {
        self.pulse.map_or(PULSE, |pulse| pulse.min(PULSE))
    }
}

/// The packet socket, and who reads from it.
pub(crate) struct Reader {
    listener: Listener,
    manner: Manner,
    doors: Vec<TrackedDoor>,
    /// The ports of the sequences that follow those in force, for each of these.
    ahead: Vec<BTreeSet<Step>>,
    /// Which of the acting half's doors each of these is.
    owners: Vec<DoorIndex>,
    /// The ports that native doors open.
    opened: Vec<PortRange>,
    datagrams: Datagrams,
    watched: Watched,
    /// What the kernel filter passes.
    wanted: Wanted,
    process: Option<Process>,
    /// When another process is started in place of one that has ended.
    restart: Option<Timestamp>,
    restarts: u64,
    layers: Vec<Layer>,
    /// What was said while something else was awaited.
    words: VecDeque<Word>,
    /// The number of the last question.
    asked: u64,
    /// The answer that came last.
    last: Answer,
    /// What was not told one by one, and not counted yet.
    untold: Vec<Untold>,
    /// When it is asked again whether it is alive.
    pulse: Option<Timestamp>,
    /// The first question that has no answer, and until when it must have one.
    unanswered: Option<(u64, Timestamp)>,
    pace: Pace,
    /// Who has made a good knock, the latest last: a process that takes another's place has to know, too.
    remembered: VecDeque<IpAddr>,
    /// How many packets processes before this one have lost.
    lost_before: u64,
    left_out_before: u64,
}

impl Reader {
    /// Begins to listen for knocks on these doors.
    ///
    /// # Errors
    /// Where no packet socket or no process can be had.
    pub(crate) fn start(
        doors: &[ReadyDoor],
        host_key: Option<&HostKey>,
        watched: Watched,
        manner: Manner,
    ) -> io::Result<Self> {
        let (Places { tracked, ahead, owners }, datagrams) = (places(doors), datagrams(doors, host_key));
        let wanted = wanted(&tracked, &ahead, &datagrams, &watched, manner.ipv4_only);
        let mut reader = Self {
            listener: Listener::open(&wanted)?,
            manner,
            doors: tracked,
            ahead,
            owners,
            opened: opened(doors),
            datagrams,
            watched,
            wanted,
            process: None,
            restart: None,
            restarts: 0,
            layers: Vec::new(),
            words: VecDeque::new(),
            asked: 0,
            last: Answer::default(),
            untold: Vec::new(),
            pulse: None,
            unanswered: None,
            pace: Pace::new(RESTART, RESTARTS_AT_ONCE),
            remembered: VecDeque::new(),
            lost_before: 0,
            left_out_before: 0,
        };
        reader.start_process()?;
        Ok(reader)
    }

    fn start_process(&mut self) -> io::Result<()> {
        let process = Process::start(self.listener.share()?, self.manner)?;
        self.process = Some(process);
        self.say_doors();
        for source in self.remembered.clone() {
            self.say(&Order::Remember(source));
        }
        Ok(())
    }

    /// Waits until the process is confined and takes packets.
    ///
    /// # Errors
    /// Where it does not get so far.
    pub(crate) fn wait_until_ready(&mut self, now: Timestamp) -> io::Result<()> {
        let is_ready = |word: &Word| matches!(word, Word::Confined(_) | Word::Failed(_));
        match self.wait_for(is_ready, PATIENCE_AT_START) {
            Ok(Some(Word::Confined(layers))) => self.layers = layers,
            Ok(Some(Word::Failed(reason))) => return Err(io::Error::other(reason)),
            Ok(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not get ready")),
            Err(_) => {
                let how = self.process.take().map(Process::end);
                return Err(io::Error::other(format!("it has ended: {}", how.unwrap_or_default())));
            }
        }
        self.pulse = Some(now + self.manner.pulse());
        Ok(())
    }

    /// What the layers that do not hold have to say.
    pub(crate) fn weaknesses(&self) -> impl Iterator<Item = String> {
        let off = self.layers.iter().filter(|layer| layer.state == LayerState::Off);
        off.map(|Layer { name, message, .. }| {
            format!("the reading process is not confined by {name}: {message}")
        })
    }

    /// Takes other doors and interfaces; attempts that would have come as far on them go on. Ends a rest.
    ///
    /// # Errors
    /// Where the kernel does not take the filter; then all stays as it is.
    pub(crate) fn reconfigure(
        &mut self,
        doors: &[ReadyDoor],
        host_key: Option<&HostKey>,
        watched: Watched,
    ) -> io::Result<()> {
        let (Places { tracked, ahead, owners }, datagrams) = (places(doors), datagrams(doors, host_key));
        let wanted = wanted(&tracked, &ahead, &datagrams, &watched, self.manner.ipv4_only);
        let wanted = Wanted { watched: self.wanted.watched.clone(), ..wanted };
        self.listener.set_filter(&wanted)?;
        self.wanted = wanted;
        (self.doors, self.ahead, self.owners) = (tracked, ahead, owners);
        (self.opened, self.datagrams, self.watched) = (opened(doors), datagrams, watched);
        self.say_doors();
        Ok(())
    }

    fn say_doors(&mut self) {
        self.say(&Order::Doors {
            doors: self.doors.clone(),
            opened: self.opened.clone(),
            listened: self.watched.listened(),
            datagrams: self.datagrams.clone(),
        });
    }

    /// Follows nobody any more.
    pub(crate) fn stop(&mut self, now: Timestamp) {
        (self.doors, self.ahead, self.opened) = (Vec::new(), Vec::new(), Vec::new());
        (self.owners, self.datagrams) = (Vec::new(), Datagrams::default());
        // Where the kernel does not take even this filter, nobody takes what comes in.
        let _ = self.renew_filter();
        self.end_process(now);
    }

    /// Has another sequence, or none, followed in this place of a door of the acting half's.
    pub(crate) fn follow_in(&mut self, door: DoorIndex, followed: Followed) -> io::Result<()> {
        let Followed { slot, sequence, ahead } = followed;
        let mut places = self.doors.iter().zip(&self.owners);
        let Some(place) = places.position(|(tracked, owner)| *owner == door && tracked.slot == slot) else {
            return Ok(());
        };
        if let (Some(tracked), Some(known)) = (self.doors.get_mut(place), self.ahead.get_mut(place)) {
            tracked.sequence.clone_from(&sequence);
            *known = ahead;
        }
        let renewed = self.renew_filter();
        self.say(&Order::Sequence(place as DoorIndex, sequence));
        renewed
    }

    /// Notes that somebody there has made a good knock.
    pub(crate) fn remember(&mut self, source: IpAddr) {
        self.remembered.retain(|known| *known != source);
        self.remembered.push_back(source);
        if self.remembered.len() > REMEMBERED {
            self.remembered.pop_front();
        }
        self.say(&Order::Remember(source));
    }

    /// Which of the acting half's doors this is, and in which place it is followed.
    pub(crate) fn owner(&self, place: DoorIndex) -> Option<(DoorIndex, u8)> {
        Some((*self.owners.get(place as usize)?, self.door(place)?.slot))
    }

    /// Listens on other interfaces, or at other addresses.
    pub(crate) fn watch(&mut self, watched: Watched) -> io::Result<()> {
        self.watched = watched;
        self.renew_filter()?;
        self.say(&Order::Listen(self.watched.listened()));
        Ok(())
    }

    pub(crate) fn watched(&self) -> &Watched {
        &self.watched
    }

    /// A door, as it is knocked at.
    pub(crate) fn door(&self, door: DoorIndex) -> Option<&TrackedDoor> {
        self.doors.get(door as usize)
    }

    fn renew_filter(&mut self) -> io::Result<()> {
        let wanted = wanted(&self.doors, &self.ahead, &self.datagrams, &self.watched, self.manner.ipv4_only);
        self.wanted = Wanted { watched: std::mem::take(&mut self.wanted.watched), ..wanted };
        self.listener.set_filter(&self.wanted)
    }

    /// Lets the kernel filter follow these sources, where some door is strict.
    ///
    /// # Errors
    /// Where the kernel does not take the filter; the old one stays.
    pub(crate) fn follow(&mut self, sources: BTreeSet<IpAddr>) -> io::Result<()> {
        if self.wanted.watched == sources || !self.wanted.follow {
            return Ok(());
        }
        self.wanted.watched = sources;
        self.listener.set_filter(&self.wanted)
    }

    /// What becomes ready when the process says something, or takes what is owed to it.
    pub(crate) fn fd(&self) -> Option<(BorrowedFd<'_>, PollFlags)> {
        self.process.as_ref().map(Process::fd)
    }

    /// Whether something was said that was not handed out yet, or the process has ended and that was not told yet.
    pub(crate) fn has_news(&self) -> bool {
        !self.words.is_empty() || self.process.as_ref().is_some_and(Process::is_broken)
    }

    /// What the process has said, some of it.
    ///
    /// # Errors
    /// Why it has ended, or is to be ended.
    pub(crate) fn hear(&mut self) -> Result<Vec<Word>, String> {
        let taken = self.take_in();
        match taken {
            Err(reason) if self.words.is_empty() => Err(reason),
            // What was said before the end comes first.
            _ => Ok(self.words.drain(..self.words.len().min(WORDS_AT_ONCE)).collect()),
        }
    }

    fn take_in(&mut self) -> Result<(), String> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let heard = self.words.len();
        let mut outcome = process.take_in(&mut self.words);
        if !self.words.iter().skip(heard).all(|word| self.can_be(word)) {
            self.words.truncate(heard);
            self.lose(LIE);
            outcome = Err(LIE.to_owned());
        }
        for word in self.words.iter().skip(heard) {
            if let Word::Answer(answer) = word {
                self.unanswered.take_if(|(number, _)| *number <= answer.number);
            }
        }
        outcome
    }

    /// Whether an honest process may say this.
    fn can_be(&self, word: &Word) -> bool {
        match word {
            Word::Confined(layers) => {
                let is_short =
                    |Layer { name, message, .. }: &Layer| name.len() + message.len() <= LONGEST_LAYER;
                self.layers.is_empty() && layers.len() <= MOST_LAYERS && layers.iter().all(is_short)
            }
            Word::Follow(sources) => sources.len() <= MAX_WATCHED,
            Word::Answer(answer) => {
                answer.number <= self.asked
                    && answer.attempts.len() <= MAX_ATTEMPTS
                    && answer.untold.len() <= MOST_KINDS * self.doors.len()
            }
            #[cfg(feature = "fwknop")]
            Word::Fwknop(_) => true,
            // What is said of doors the acting half sees to.
            Word::Event(_)
            | Word::Heard(_)
            | Word::Sealed(_)
            | Word::Refused(_)
            | Word::LeftOut(_)
            | Word::Lost(_)
            | Word::Failed(_) => true,
        }
    }

    fn lose(&mut self, reason: &str) {
        if let Some(process) = &mut self.process {
            process.lose(reason);
        }
    }

    /// Puts an end to the process. Another is started as soon as may be.
    pub(crate) fn end_process(&mut self, now: Timestamp) -> Option<String> {
        let process = self.process.take()?;
        self.restart = Some(now + self.pace.wait(now).unwrap_or_default());
        self.pace.done(now);
        self.lost_before = self.lost();
        self.left_out_before = self.left_out();
        self.last = Answer::default();
        (self.unanswered, self.pulse) = (None, None);
        self.words.clear();
        self.layers.clear();
        Some(process.end())
    }

    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let now = self.has_news().then_some(Timestamp::ZERO);
        [now, self.restart, self.pulse, self.unanswered.map(|(_, until)| until)].into_iter().flatten().min()
    }

    /// Starts another process in place of one that has ended, and asks whether it is alive; whether it had answered that
    /// when it was time to ask again.
    ///
    /// # Errors
    /// Where none can be had, and where it has not answered.
    pub(crate) fn handle_timer(&mut self, now: Timestamp) -> io::Result<bool> {
        if self.restart.take_if(|due| *due <= now).is_some() {
            self.restart_now(now).inspect_err(|_| self.restart = Some(now + RESTART))?;
        }
        if self.unanswered.is_some_and(|(_, until)| until <= now) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "it hangs"));
        }
        let asks = self.pulse.take_if(|due| *due <= now).is_some();
        if asks {
            self.pulse = Some(now + self.manner.pulse());
            self.ask(false);
        }
        Ok(asks)
    }

    fn restart_now(&mut self, now: Timestamp) -> io::Result<()> {
        // The socket may be why the one before has ended.
        self.wanted.watched.clear();
        self.listener = Listener::open(&self.wanted)?;
        self.start_process()?;
        self.restarts += 1;
        self.pulse = Some(now + self.manner.pulse());
        Ok(())
    }

    /// The process takes no packet until it is told of doors, or to go on; all that it has said so far is there to be
    /// heard then. Whether it does so: what one says late that does not would be about other doors than those it means.
    #[must_use]
    pub(crate) fn rest(&mut self) -> bool {
        self.say(&Order::Rest);
        self.process.is_none() || self.answer(false).is_some()
    }

    /// The process takes packets again.
    pub(crate) fn go_on(&mut self) {
        self.say(&Order::GoOn);
    }

    /// How many attempts there are, and which if that is asked; `None` where the process does not answer.
    pub(crate) fn answer(&mut self, attempts: bool) -> Option<(usize, Vec<AttemptView>)> {
        let number = self.ask(attempts);
        let is_it = |word: &Word| matches!(word, Word::Answer(answer) if answer.number == number);
        match self.wait_for(is_it, PATIENCE) {
            Ok(Some(Word::Answer(answer))) => Some(self.take(*answer)),
            _ => None,
        }
    }

    fn take(&mut self, mut answer: Answer) -> (usize, Vec<AttemptView>) {
        self.untold.append(&mut answer.untold);
        let attempts = std::mem::take(&mut answer.attempts);
        self.last = answer;
        (self.last.under_way, attempts)
    }

    /// What was not told one by one and is to be counted.
    pub(crate) fn take_untold(&mut self) -> Vec<Untold> {
        std::mem::take(&mut self.untold)
    }

    fn ask(&mut self, attempts: bool) -> u64 {
        self.asked += 1;
        if self.process.is_some() {
            self.unanswered.get_or_insert((self.asked, clock::now() + HANGS));
        }
        self.say(&Order::Tell { number: self.asked, attempts });
        self.asked
    }

    /// Waits for a word; those before it are there to be heard afterwards.
    fn wait_for(&mut self, is_it: impl Fn(&Word) -> bool, patience: Duration) -> io::Result<Option<Word>> {
        let deadline = Instant::now() + patience;
        let mut looked_at = 0;
        loop {
            if let Some(at) = self.words.iter().skip(looked_at).position(&is_it) {
                return Ok(self.words.remove(looked_at + at));
            }
            looked_at = self.words.len();
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(process) = self.process.as_ref().filter(|_| !left.is_zero()) else { return Ok(None) };
            process.wait(left)?;
            self.take_in().map_err(io::Error::other)?;
        }
    }

    /// Takes note of what a process says of itself.
    pub(crate) fn note(&mut self, word: Word) {
        match word {
            Word::Confined(layers) => self.layers = layers,
            Word::Lost(lost) => self.last.lost = lost,
            Word::LeftOut(left_out) => self.last.left_out = left_out,
            Word::Answer(answer) => drop(self.take(*answer)),
            _ => {}
        }
    }

    /// What the tracker has counted, as far as is known.
    pub(crate) fn counters(&self) -> Counters {
        self.last.counters
    }

    /// How many packets the kernel had no room for so far, as far as is known.
    pub(crate) fn lost(&self) -> u64 {
        self.lost_before.saturating_add(self.last.lost)
    }

    /// How many lines the reading half has left out so far, as far as is known.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out_before.saturating_add(self.last.left_out)
    }

    /// The process's number, where there is one; how often there was another; what confines it.
    pub(crate) fn state(&self) -> (Option<u32>, u64, &[Layer]) {
        (self.process.as_ref().map(Process::id), self.restarts, &self.layers)
    }

    fn say(&mut self, order: &Order) {
        if let Some(process) = &mut self.process {
            process.say(order);
        }
    }
}

/// The places in which doors are followed: first each door once, and behind them those that need more.
#[derive(Default)]
struct Places {
    tracked: Vec<TrackedDoor>,
    ahead: Vec<BTreeSet<Step>>,
    owners: Vec<DoorIndex>,
}

fn places(doors: &[ReadyDoor]) -> Places {
    let all = doors.iter().zip(0..).flat_map(|(ready, owner)| {
        ready.followed().into_iter().map(move |followed| (ready, owner, followed))
    });
    let (first, further): (Vec<_>, Vec<_>) = all.partition(|(_, _, followed)| followed.slot == 0);
    let mut places = Places::default();
    for (ready, owner, Followed { slot, sequence, ahead }) in first.into_iter().chain(further) {
        places.tracked.push(TrackedDoor { slot, ..TrackedDoor::new(&ready.door, sequence) });
        places.ahead.push(ahead);
        places.owners.push(owner);
    }
    places
}

/// Which datagrams are looked at.
fn datagrams(doors: &[ReadyDoor], host_key: Option<&HostKey>) -> Datagrams {
    let with_keys = doors.iter().filter(|ready| matches!(ready.credential, Credential::Keys(_)));
    Datagrams {
        host_key: host_key.cloned(),
        ports: with_keys.map(|ready| ready.door.spa_port).collect(),
        #[cfg(feature = "fwknop")]
        fwknop: doors.iter().zip(0..).filter_map(fwknop_door).collect(),
    }
}

#[cfg(feature = "fwknop")]
fn fwknop_door((ready, door): (&ReadyDoor, DoorIndex)) -> Option<FwknopDoor> {
    let Credential::Fwknop(fwknop) = &ready.credential else { return None };
    let [key, hmac] = fwknop.files.each_ref().map(|file| file.to_vec());
    Some(FwknopDoor { door, port: ready.door.spa_port, key, hmac })
}

/// The ports that native doors open.
fn opened(doors: &[ReadyDoor]) -> Vec<PortRange> {
    let native = doors.iter().filter_map(|ready| ready.door.native.as_ref());
    native.flat_map(|native| native.ports.iter().copied()).collect()
}

fn wanted(
    doors: &[TrackedDoor],
    ahead: &[BTreeSet<Step>],
    datagrams: &Datagrams,
    watched: &Watched,
    ipv4_only: bool,
) -> Wanted {
    let mut steps = steps(doors.iter().filter_map(|door| door.sequence.clone()));
    steps.extend(ahead.iter().flatten());
    let lengths = lengths(datagrams, &steps);
    steps.extend(datagrams.all_ports().map(|port| Step { port, protocol: Protocol::Udp }));
    Wanted {
        interfaces: watched.indexes(),
        other_hosts: doors.iter().any(|door| door.target.is_some()),
        ipv6: !ipv4_only,
        steps,
        lengths,
        flags: common_flags(doors),
        follow: doors.iter().any(|door| door.strict),
        ..Wanted::default()
    }
}

/// The ports to which only knocks with SSH keys go, and the length of these: the kernel sorts out all others. At `knocked`
/// sequences are knocked.
fn lengths(datagrams: &Datagrams, knocked: &BTreeSet<Step>) -> BTreeMap<u16, u16> {
    let is_alone = |port: &u16| {
        let is_knocked = knocked.contains(&Step { port: *port, protocol: Protocol::Udp });
        #[cfg(feature = "fwknop")]
        let is_knocked = is_knocked || datagrams.fwknop.iter().any(|door| door.port == *port);
        !is_knocked
    };
    datagrams.ports.iter().copied().filter(is_alone).map(|port| (port, LENGTH as u16)).collect()
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

#[cfg(all(test, feature = "fwknop"))]
mod tests {
    use super::*;

    #[test]
    fn only_ports_that_nothing_else_has_are_for_one_length() {
        let door = |port| FwknopDoor { door: 0, port, key: Vec::new(), hmac: Vec::new() };
        let datagrams =
            Datagrams { ports: [7, 8, 9, 10].into(), fwknop: vec![door(8)], ..Datagrams::default() };
        let step = |port, protocol| Step { port, protocol };
        let knocked = [step(9, Protocol::Udp), step(10, Protocol::Tcp)].into();
        assert_eq!(lengths(&datagrams, &knocked), [(7, 320), (10, 320)].into());
    }
}
