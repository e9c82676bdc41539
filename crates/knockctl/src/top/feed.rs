//! What comes in: the daemon's answers and events, keys, signals. A thread each, all to one place.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use knock_core::control::{Answer, Attempt, Door, Event, Grant, Request, Status};
use knock_core::network::Network;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;

use super::keys::{Key, Keyboard};
use crate::client::{Connection, ask};
use crate::failure::Failure;

/// How often the daemon is asked when nothing happens, and how long it is left alone when it was gone.
const PERIOD: Duration = Duration::from_secs(1);
/// How long it is left alone in any case.
const PAUSE: Duration = Duration::from_millis(250);
/// After what took this long, it is left alone so many times as long: asking must not be what it does.
const RESPECT: u32 = 4;
/// So much may wait to be looked at. Whoever sends more waits, and the daemon closes a watch that does.
const WAITING: usize = 1024;

/// Something new.
pub(super) enum News {
    /// How the daemon is.
    Snapshot(Box<Snapshot>),
    /// Why it cannot be asked.
    Gone(String),
    /// Something happened there.
    Event(Event),
    /// What became of a request to close something.
    Closed(Result<String, String>),
    /// Somebody typed.
    Key(Key),
    /// The terminal has another size.
    Resized,
    /// Somebody had stopped this process, and used the terminal meanwhile.
    Continued,
    /// A signal says that it is over.
    Ended(i32),
    /// The terminal is gone.
    HungUp,
}

/// All that the daemon says at one moment.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) taken: Instant,
    pub(super) status: Status,
    pub(super) doors: Vec<Door>,
    pub(super) grants: Vec<Grant>,
    pub(super) attempts: Vec<Attempt>,
}

/// The place where all of it arrives.
pub(super) struct Feed {
    pub(super) news: Receiver<News>,
    sender: SyncSender<News>,
    wake: SyncSender<()>,
    socket: PathBuf,
}

impl Feed {
    /// Begins to listen to the daemon, the keyboard and signals.
    pub(super) fn start(socket: &Path) -> io::Result<Self> {
        let (sender, news) = sync_channel(WAITING);
        // One word is enough, however much has happened.
        let (wake, woken) = sync_channel(1);
        let feed = Self { news, sender, wake, socket: socket.to_owned() };
        let signals = Signals::new([SIGWINCH, SIGTSTP, SIGCONT, SIGTERM, SIGINT, SIGHUP])?;
        feed.spawn(move |sender, _| tell_signals(signals, sender));
        feed.spawn(|sender, _| tell_keys(sender));
        feed.spawn(move |sender, socket| tell_snapshots(socket, &woken, sender));
        let wake = feed.wake.clone();
        feed.spawn(move |sender, socket| tell_events(socket, &wake, sender));
        Ok(feed)
    }

    /// Asks the daemon to close something; the answer comes as news.
    pub(super) fn close(&self, door: String, network: Network) {
        let wake = self.wake.clone();
        self.spawn(move |sender, socket| {
            let request = Request::Close { door: Some(door), address: Some(network) };
            let answer = match ask(socket, &request).map(|reply| reply.answer) {
                Ok(Answer::Done { message, .. }) => Ok(message),
                Ok(_) => Err("the answer belongs to another request".to_owned()),
                Err(failure) => Err(failure.to_string()),
            };
            let _ = wake.try_send(());
            let _ = sender.send(News::Closed(answer));
        });
    }

    /// It ends with the process.
    fn spawn(&self, work: impl FnOnce(&SyncSender<News>, &Path) + Send + 'static) {
        let (sender, socket) = (self.sender.clone(), self.socket.clone());
        thread::spawn(move || work(&sender, &socket));
    }
}

/// Asks the daemon for everything, and for the doors where they are not known.
pub(super) fn snapshot(socket: &Path, doors: Option<Vec<Door>>) -> Result<Snapshot, Failure> {
    let other = || Failure::NotUnderstood("it belongs to another request".into());
    let answer = |request| ask(socket, &request).map(|reply| reply.answer);
    let Answer::Status(status) = answer(Request::Status {})? else { return Err(other()) };
    let Answer::Grants { grants } = answer(Request::Grants {})? else { return Err(other()) };
    let Answer::Attempts { attempts } = answer(Request::Attempts {})? else { return Err(other()) };
    let taken = Instant::now();
    let known = doors.filter(|doors| doors.len() == status.doors);
    let doors = match known {
        Some(doors) => doors,
        None => match answer(Request::Doors { secrets: false })? {
            Answer::Doors { doors } => doors,
            _ => return Err(other()),
        },
    };
    Ok(Snapshot { taken, status: *status, doors, grants, attempts })
}

fn tell_snapshots(socket: &Path, woken: &Receiver<()>, sender: &SyncSender<News>) {
    let mut doors = None;
    loop {
        let begun = Instant::now();
        let news = match snapshot(socket, doors.take()) {
            Ok(snapshot) => {
                doors = Some(snapshot.doors.clone());
                News::Snapshot(Box::new(snapshot))
            }
            Err(failure) => News::Gone(failure.to_string()),
        };
        if sender.send(news).is_err() {
            return;
        }
        thread::sleep(PAUSE.max(begun.elapsed() * RESPECT));
        let _ = woken.recv_timeout(PERIOD - PAUSE);
    }
}

fn tell_events(socket: &Path, wake: &SyncSender<()>, sender: &SyncSender<News>) {
    loop {
        if let Ok((_, mut connection)) = Connection::ask(socket, &Request::Watch {}) {
            while let Ok(Some(reply)) = connection.next() {
                let Answer::Event(event) = reply.answer else { continue };
                let _ = wake.try_send(());
                if sender.send(News::Event(event)).is_err() {
                    return;
                }
            }
        }
        thread::sleep(PERIOD);
    }
}

fn tell_keys(sender: &SyncSender<News>) {
    let (mut keyboard, mut buffer) = (Keyboard::default(), [0; 256]);
    loop {
        let bytes = match io::stdin().lock().read(&mut buffer) {
            Ok(length) if length > 0 => buffer.get(..length).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            _ => {
                let _ = sender.send(News::HungUp);
                return;
            }
        };
        for key in keyboard.read(bytes) {
            if sender.send(News::Key(key)).is_err() {
                return;
            }
        }
    }
}

fn tell_signals(mut signals: Signals, sender: &SyncSender<News>) {
    for signal in signals.forever() {
        let news = match signal {
            SIGWINCH => News::Resized,
            SIGTSTP => News::Key(Key::Suspend),
            SIGCONT => News::Continued,
            _ => News::Ended(signal),
        };
        if sender.send(news).is_err() {
            return;
        }
    }
}
