//! Whether a TCP port is open: connections to it, begun anew until one is made.
//!
//! A SYN that a closed door swallows is sent again by the system after a second, and then after two more. The door may
//! have opened a millisecond behind it. So the next connection is begun a few milliseconds after the first, the one
//! after it twice as late, and so on; those before are kept, since their answer may only be slow. The first that is made
//! ends all others before their answers come, so that the server sees one.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use socket2::Socket;

use crate::send::Sender;

/// How long after the first attempt the second is made.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
/// The longest time between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long an answer can take: more than any network needs.
const LIFETIME: Duration = Duration::from_secs(3);
/// How long the answer to a look can take: shorter than it takes a system to send its SYN again, which might then meet
/// the door that was opened in between.
const LOOK: Duration = Duration::from_millis(700);

/// A connection that was made.
#[derive(Debug)]
pub(crate) struct Connection {
    /// Its stream, which blocks.
    pub(crate) stream: TcpStream,
    /// Where it leads.
    pub(crate) peer: SocketAddr,
}

/// What was met in place of an open port.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Nothing.
    Silence,
    /// A refusal.
    Refusal,
    /// There is no way there; what the system or a router says.
    NoWay(io::Error),
}

/// What a port was before the knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Before {
    /// Open: the knock proves nothing.
    Open,
    /// It refused connections.
    Refusing,
    /// It did not answer, or not in time.
    Silent,
}

/// Connections to the same port of one or more addresses.
#[derive(Debug)]
pub(crate) struct Attempts {
    sender: Sender,
    targets: Vec<SocketAddr>,
    pending: Vec<Attempt>,
    answer: Answer,
}

#[derive(Debug)]
struct Attempt {
    socket: Arc<Socket>,
    target: SocketAddr,
    begun: Instant,
}

impl Attempts {
    /// None so far; they will be made to `targets`, as `sender` sends.
    pub(crate) const fn new(sender: Sender, targets: Vec<SocketAddr>) -> Self {
        Self { sender, targets, pending: Vec::new(), answer: Answer::Silence }
    }

    /// Where they are made to.
    pub(crate) fn targets(&self) -> &[SocketAddr] {
        &self.targets
    }

    /// What was met instead of an open port, at last.
    pub(crate) fn into_answer(self) -> Answer {
        self.answer
    }

    /// Makes connections until one succeeds, for so long; what is pending then is given up.
    pub(crate) fn until_open(&mut self, patience: Duration) -> Option<Connection> {
        let end = Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        while Instant::now() < end {
            self.begin();
            let next = end.min(Instant::now() + pause);
            if let Some(connection) = self.first_until(next) {
                self.pending.clear();
                return Some(connection);
            }
            thread::sleep(next.saturating_duration_since(Instant::now()));
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.pending.clear();
        None
    }

    /// Begins a connection to each target.
    fn begin(&mut self) {
        self.pending.retain(|attempt| attempt.begun.elapsed() < LIFETIME);
        for &target in &self.targets {
            match self.sender.connect(target) {
                Ok(socket) => {
                    self.pending.push(Attempt { socket: socket.into(), target, begun: Instant::now() });
                }
                Err(error) => self.answer = error.into(),
            }
        }
    }

    /// The first of the pending connections that is made; none where all have failed, or when it is `end`.
    fn first_until(&mut self, end: Instant) -> Option<Connection> {
        while !self.pending.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            let answered = answered(&self.pending, left);
            for index in answered.iter().rev() {
                match self.pending.swap_remove(*index).into_connection() {
                    Ok(connection) => return Some(connection),
                    Err(error) => self.answer = error.into(),
                }
            }
            if answered.is_empty() && Instant::now() >= end {
                return None;
            }
        }
        None
    }
}

impl Attempt {
    fn into_connection(self) -> io::Result<Connection> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        self.socket.set_nonblocking(false)?;
        Ok(Connection { stream: self.socket.try_clone()?.into(), peer: self.target })
    }
}

impl From<io::Error> for Answer {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Self::Refusal,
            io::ErrorKind::TimedOut => Self::Silence,
            _ => Self::NoWay(error),
        }
    }
}

/// The places of those that have succeeded or failed; waits for one for so long.
fn answered(attempts: &[Attempt], within: Duration) -> Vec<usize> {
    let watched = |attempt| PollFd::new(attempt, PollFlags::OUT);
    let mut watched: Vec<_> = attempts.iter().map(|attempt| &*attempt.socket).map(watched).collect();
    match poll(&mut watched, Timespec::try_from(within).ok().as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Vec::new(),
        // It cannot be waited for: then the pace is the caller's.
        Err(_) => thread::sleep(within),
    }
    let is_answered =
        |(index, watched): (usize, &PollFd<'_>)| (!watched.revents().is_empty()).then_some(index);
    watched.iter().enumerate().filter_map(is_answered).collect()
}

/// A connection to a port, begun before the knock and not waited for. A thread gives it up in time.
#[derive(Debug)]
pub(crate) struct Look {
    told: Receiver<Before>,
    /// Gone as soon as they are given up, have failed, or have been told of.
    sockets: Vec<Weak<Socket>>,
}

impl Look {
    /// Begins it.
    pub(crate) fn at(sender: Sender, targets: Vec<SocketAddr>) -> Self {
        let mut attempts = Attempts::new(sender, targets);
        attempts.begin();
        let sockets = attempts.pending.iter().map(|attempt| Arc::downgrade(&attempt.socket)).collect();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let connection = attempts.first_until(Instant::now() + LOOK);
            attempts.pending.clear();
            // Nobody may be waiting for it any more.
            let _ = tell.send(match (connection, attempts.answer) {
                (Some(_), _) => Before::Open,
                (None, Answer::Refusal) => Before::Refusing,
                (None, _) => Before::Silent,
            });
        });
        Self { told, sockets }
    }

    /// What it has met by now.
    pub(crate) fn outcome(self) -> Before {
        let pending: Vec<_> = self.sockets.iter().filter_map(Weak::upgrade).collect();
        if pending.iter().any(|socket| socket.peer_addr().is_ok()) {
            return Before::Open;
        }
        // Where nothing is pending any more, the thread is about to tell.
        let told = if pending.is_empty() { self.told.recv().ok() } else { self.told.try_recv().ok() };
        told.unwrap_or(Before::Silent)
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    const SENDER: Sender = Sender { source: None, gap: Duration::ZERO, rest: Duration::ZERO };
    const PATIENCE: Duration = Duration::from_secs(20);

    fn listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[test]
    fn finds_the_address_that_is_open() {
        let (closed, address) = listener();
        drop(closed);
        let (_open, open) = listener();
        let mut attempts = Attempts::new(SENDER, vec![address, open]);
        assert_eq!(attempts.until_open(PATIENCE).unwrap().peer, open);
    }

    #[test]
    fn waits_for_what_opens_later() {
        let (closed, address) = listener();
        drop(closed);
        let mut attempts = Attempts::new(SENDER, vec![address]);
        assert!(attempts.until_open(Duration::from_millis(50)).is_none());
        let opening = thread::spawn(move || TcpListener::bind(address).unwrap());
        assert!(attempts.until_open(PATIENCE).is_some());
        drop(opening.join().unwrap());
        assert!(matches!(attempts.into_answer(), Answer::Refusal));
    }

    #[test]
    fn sees_what_was_before() {
        let (listener, address) = listener();
        assert_eq!(Look::at(SENDER, vec![address]).outcome(), Before::Open);
        drop(listener);
        let look = Look::at(SENDER, vec![address]);
        let end = Instant::now() + PATIENCE;
        while look.sockets.iter().any(|socket| socket.upgrade().is_some()) && Instant::now() < end {
            thread::yield_now();
        }
        assert_eq!(look.outcome(), Before::Refusing);
        assert_eq!(Look::at(SENDER, Vec::new()).outcome(), Before::Silent);
    }
}
