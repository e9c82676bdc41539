//! Keeps the accept rule in place, in a thread of its own: programs of the iptables family may take their time.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::Error;
use crate::accept::{Checked, Keeper, Place, State};
use crate::iptables::Iptables;

/// How long after a check the next one is made at the earliest: who reloads a firewall makes many changes.
const PAUSE: Duration = Duration::from_millis(200);
/// The same, where somebody removes again and again what is put there.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Something about the accept rule that the log should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It was missing in this chain and has been put there.
    Added(String),
    /// It had been removed from this chain and has been put back.
    PutBack(String),
    /// It cannot be put into this chain.
    Failed {
        /// The chain.
        place: String,
        /// Why, and what to do.
        why: String,
    },
    /// The firewall cannot be read; why, and what to do.
    Unreadable(String),
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(place) => {
                write!(f, "firewall: {place}: added the rule that accepts whom a door lets in")
            }
            Self::PutBack(place) => {
                write!(f, "firewall: {place}: put back the rule that accepts whom a door lets in")
            }
            Self::Failed { place, why } => {
                write!(
                    f,
                    "firewall: {place}: error: drops whom a door lets in, and the rule cannot be added: {why}"
                )
            }
            Self::Unreadable(why) => write!(f, "firewall: error: {why}"),
        }
    }
}

/// Keeps the rule that accepts marked packets in the machine's firewall, in the network namespace of the thread that
/// started it. The descriptor becomes readable when there is news.
pub struct Upkeep {
    /// Gone when the thread is to end.
    poke: Option<Sender<()>>,
    news: Receiver<News>,
    bell: UnixDatagram,
    first: Receiver<()>,
    standing: Arc<Mutex<Standing>>,
    iptables: Iptables,
    thread: Option<JoinHandle<()>>,
}

/// What the last check has found.
#[derive(Clone, Debug, Default)]
struct Standing {
    places: Vec<Place>,
    silent: bool,
}

impl Upkeep {
    /// Starts it and lets it check for the first time.
    ///
    /// # Errors
    /// Where the kernel has no nfnetlink, or there is no room for a thread.
    pub fn start(mark: u32) -> Result<Self, Error> {
        let iptables = Iptables::new();
        let keeper = Keeper::open(mark, iptables.clone())?;
        let no_room = |error| Error::system("watch over the machine's firewall", error);
        let (bell, ring) = UnixDatagram::pair().map_err(no_room)?;
        bell.set_nonblocking(true).and_then(|()| ring.set_nonblocking(true)).map_err(no_room)?;
        let (poke, poked) = channel();
        let (tell, news) = channel();
        let (done, first) = sync_channel(1);
        let standing = Arc::new(Mutex::new(Standing::default()));
        let worker = Worker {
            keeper,
            tell,
            ring,
            standing: Arc::clone(&standing),
            before: HashMap::new(),
            put_back: HashMap::new(),
            unreadable: None,
        };
        let work = move || worker.work(&poked, &done);
        let thread = thread::Builder::new().name("firewall".into()).spawn(work).map_err(no_room)?;
        Ok(Self { poke: Some(poke), news, bell, first, standing, iptables, thread: Some(thread) })
    }

    /// Waits for the first check; whether it has been made in this time.
    pub fn wait_for_first(&self, within: Duration) -> bool {
        self.first.recv_timeout(within).is_ok()
    }

    /// Lets it check again, soon.
    pub fn check(&self) {
        if let Some(poke) = &self.poke {
            let _ = poke.send(());
        }
    }

    /// What is new since the last call.
    pub fn news(&self) -> Vec<News> {
        while self.bell.recv(&mut [0]).is_ok() {}
        self.news.try_iter().collect()
    }

    /// How it stood with the rule at the last check, in all chains of input and forward.
    pub fn state(&self) -> Vec<Place> {
        lock(&self.standing).places.clone()
    }

    /// Whether a firewall is in use whose changes the kernel tells nobody of (iptables-legacy): then
    /// [`check`](Self::check) has to be called from time to time.
    pub fn needs_polling(&self) -> bool {
        lock(&self.standing).silent
    }
}

impl AsFd for Upkeep {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.poke = None;
        self.iptables.give_up();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Worker {
    keeper: Keeper,
    tell: Sender<News>,
    ring: UnixDatagram,
    standing: Arc<Mutex<Standing>>,
    /// How it stood with each place that there ever was.
    before: HashMap<String, Place>,
    /// How often the rule was put back, by place.
    put_back: HashMap<String, u32>,
    /// What was last said about a firewall that cannot be read.
    unreadable: Option<String>,
}

impl Worker {
    fn work(mut self, poked: &Receiver<()>, first: &SyncSender<()>) {
        let mut pause = PAUSE;
        loop {
            let changed = self.check();
            let _ = first.try_send(());
            pause = if changed { (pause * 2).min(MAX_PAUSE) } else { PAUSE };
            if !rest(poked, pause) {
                return;
            }
        }
    }

    /// Whether anything was put anywhere.
    fn check(&mut self) -> bool {
        match self.keeper.check() {
            Ok(checked) => {
                self.unreadable = None;
                self.note(checked)
            }
            Err(error) => {
                let why = error.to_string();
                if self.unreadable.as_ref() != Some(&why) {
                    self.say(News::Unreadable(why.clone()));
                }
                self.unreadable = Some(why);
                false
            }
        }
    }

    fn note(&mut self, Checked { mut places, silent }: Checked) -> bool {
        let mut changed = false;
        for place in &mut places {
            changed |= place.state == State::Added;
            if let Some(news) = self.news_of(place) {
                if let News::PutBack(name) = &news {
                    *self.put_back.entry(name.clone()).or_default() += 1;
                }
                self.say(news);
            }
            if place.state == State::Added {
                place.state = State::Present;
            }
            if let Some(times) = self.put_back.get(&place.place).filter(|_| place.state == State::Present) {
                place.message = Some(format!(
                    "somebody removed it, as a reload of the firewall does; put back, {times} in all"
                ));
            }
            self.before.insert(place.place.clone(), place.clone());
        }
        *lock(&self.standing) = Standing { places, silent };
        changed
    }

    fn news_of(&self, place: &Place) -> Option<News> {
        let (before, name) = (self.before.get(&place.place), place.place.clone());
        match place.state {
            State::Added if before.is_some_and(|before| before.state == State::Present) => {
                Some(News::PutBack(name))
            }
            State::Added => Some(News::Added(name)),
            State::Missing if before != Some(place) => {
                Some(News::Failed { place: name, why: place.message.clone().unwrap_or_default() })
            }
            State::Missing | State::Present | State::NotNeeded => None,
        }
    }

    fn say(&self, news: News) {
        let _ = self.tell.send(news);
        // A full socket rings already.
        let _ = self.ring.send(&[1]);
    }
}

/// Waits until somebody asks for a check, but for `pause` at least; `false` where nobody will any more.
fn rest(poked: &Receiver<()>, pause: Duration) -> bool {
    let until = Instant::now() + pause;
    let mut asked = false;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if asked && left.is_zero() {
            return true;
        }
        match poked.recv_timeout(left) {
            Ok(()) => asked = true,
            Err(RecvTimeoutError::Disconnected) => return false,
            Err(RecvTimeoutError::Timeout) if !asked => return poked.recv().is_ok(),
            Err(RecvTimeoutError::Timeout) => return true,
        }
    }
}

fn lock(standing: &Mutex<Standing>) -> MutexGuard<'_, Standing> {
    standing.lock().unwrap_or_else(PoisonError::into_inner)
}
