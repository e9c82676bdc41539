//! The control socket: who may ask is heard, and nobody is waited for.
//!
//! A connection is one request and its answer, as [`knock_core::control`] has them. The event loop polls
//! [`ControlSocket::fds`], lets [`ControlSocket::turn`] work when one of them is ready or the deadline has come,
//! and answers the requests that come out of it.

mod connection;
mod place;

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use knock_core::control::{Answer, Event, Request};
use knock_core::time::Timestamp;
use knock_linux::peer::{Peer, peer};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::geteuid;

use connection::{Connection, Input, Kept, Stage};
use place::Place;

/// How many connections there may be.
const MAX_CONNECTIONS: usize = 32;
/// How many are accepted in a turn: there is other work.
const MAX_ACCEPTED: usize = 32;
/// How long nobody is accepted after the system could not.
const REST: Duration = Duration::from_secs(1);

/// A connection that has asked something, for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ConnectionId(u64);

/// The control socket and its connections.
pub(crate) struct ControlSocket {
    place: Place,
    /// The oldest first.
    connections: Vec<(ConnectionId, Connection)>,
    next_id: u64,
    /// Until then nobody is accepted.
    resting_until: Option<Timestamp>,
    gone: Vec<ConnectionId>,
}

impl ControlSocket {
    /// Listens at `path`, which should be absolute; its directory is made where it is missing. The path is removed with
    /// this value, unless another daemon has taken it.
    ///
    /// # Errors
    /// Where another daemon listens there, where something else than a socket is there, and whatever the system says.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            place: Place::take(path)?,
            connections: Vec::new(),
            next_id: 0,
            resting_until: None,
            gone: Vec::new(),
        })
    }

    /// What to poll for.
    pub(crate) fn fds(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let listener = self.resting_until.is_none().then(|| (self.place.as_fd(), PollFlags::IN));
        let connections = self.connections.iter().map(|(_, each)| (each.as_fd(), each.interest()));
        connections.chain(listener)
    }

    /// When a turn is due although nothing is ready.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        let deadlines = self.connections.iter().filter_map(|(_, each)| each.deadline());
        deadlines.chain(self.resting_until).min()
    }

    /// Does what can be done without waiting. Each request that comes out is to be answered.
    pub(crate) fn turn(&mut self, now: Timestamp) -> Vec<(ConnectionId, Request)> {
        let mut requests = Vec::new();
        // Before anybody is closed for somebody new, whoever has asked is heard.
        self.serve(now, &mut requests);
        if self.resting_until.is_some_and(|until| until <= now) {
            self.resting_until = None;
        }
        if self.resting_until.is_none() {
            self.accept(now);
            self.serve(now, &mut requests);
        }
        requests
    }

    /// Who asked; `None` where they are gone, or the system does not tell.
    pub(crate) fn peer(&self, id: ConnectionId) -> Option<Peer> {
        let (_, connection) = self.connections.iter().find(|(each, _)| *each == id)?;
        peer(connection).ok()
    }

    /// Answers a request. Where whoever asked is gone, nothing happens.
    pub(crate) fn answer(&mut self, id: ConnectionId, answer: &Answer, now: Timestamp) {
        let (line, refused) = (line(answer), matches!(answer, Answer::Error { .. }));
        self.keep(|each_id, each| {
            each_id != id || each.answer(&line, refused, now).is_ok() && !each.is_done()
        });
    }

    /// Whether anybody watches.
    pub(crate) fn is_watched(&self) -> bool {
        self.connections.iter().any(|(_, each)| each.stage() == Stage::Staying(Kept::ToWatch))
    }

    /// Tells all who watch of an event. Who does not keep up is dropped.
    pub(crate) fn publish(&mut self, event: &Event, now: Timestamp) {
        if !self.is_watched() {
            return;
        }
        let line = line(&Answer::Event(event.clone()));
        self.keep(|_, each| {
            each.stage() != Stage::Staying(Kept::ToWatch) || each.publish(&line, now).is_ok()
        });
    }

    /// The connections that asked with [`Request::Listen`] and have ended since the last call, also those that were
    /// never answered.
    pub(crate) fn gone(&mut self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.gone)
    }

    /// What has happened to each connection.
    fn ready(&self) -> Vec<PollFlags> {
        let fds = self.fds().take(self.connections.len());
        let mut fds: Vec<_> = fds.map(|(fd, flags)| PollFd::from_borrowed_fd(fd, flags)).collect();
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // An interruption comes back at the next turn.
        let _ = poll(&mut fds, Some(&now));
        fds.iter().map(PollFd::revents).collect()
    }

    fn serve(&mut self, now: Timestamp, requests: &mut Vec<(ConnectionId, Request)>) {
        let mut ready = self.ready().into_iter();
        self.keep(|id, each| {
            let events = ready.next().unwrap_or(PollFlags::empty());
            serve(id, each, events, now, requests) && each.deadline().is_none_or(|deadline| now < deadline)
        });
    }

    /// Closes the connections for which `stays` says no.
    fn keep(&mut self, mut stays: impl FnMut(ConnectionId, &mut Connection) -> bool) {
        let gone = &mut self.gone;
        self.connections.retain_mut(|(id, connection)| {
            let before = connection.stage();
            let stays = stays(*id, connection);
            if !stays && matches!(before, Stage::Asked(Kept::ToListen) | Stage::Staying(Kept::ToListen)) {
                gone.push(*id);
            }
            stays
        });
    }

    fn accept(&mut self, now: Timestamp) {
        for _ in 0..MAX_ACCEPTED {
            match self.place.accept() {
                Ok(stream) => self.welcome(stream, now),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    // No descriptor or memory is left: whoever waits keeps the socket ready, and must not keep us busy.
                    _ => {
                        self.resting_until = Some(now + REST);
                        return;
                    }
                },
            }
        }
    }

    fn welcome(&mut self, stream: UnixStream, now: Timestamp) {
        if !may_ask(&stream) {
            return turn_away(stream, "only root and the daemon's own user may ask", now);
        }
        if self.connections.len() >= MAX_CONNECTIONS && !self.make_room() {
            return turn_away(stream, "too many connections: close one, such as a knockctl watch", now);
        }
        self.connections.push((ConnectionId(self.next_id), Connection::new(stream, now)));
        self.next_id = self.next_id.wrapping_add(1);
    }

    /// Closes the oldest connection that has not asked anything.
    fn make_room(&mut self) -> bool {
        let idle = self.connections.iter().position(|(_, each)| each.stage() == Stage::Asking);
        idle.map(|index| self.connections.remove(index)).is_some()
    }
}

/// Does what is ready; whether the connection stays.
fn serve(
    id: ConnectionId,
    each: &mut Connection,
    ready: PollFlags,
    now: Timestamp,
    requests: &mut Vec<(ConnectionId, Request)>,
) -> bool {
    if each.stage() != Stage::Asking {
        let is_gone = ready.intersects(PollFlags::HUP | PollFlags::ERR);
        return !is_gone && each.flush(now).is_ok() && !each.is_done();
    }
    match each.read() {
        Input::More => true,
        Input::Request(request) => {
            requests.push((id, request));
            true
        }
        Input::Wrong(message) => {
            each.answer(&line(&Answer::Error { message }), true, now).is_ok() && !each.is_done()
        }
        Input::Gone => false,
    }
}

/// Whether the other side is root or whom the daemon runs as (unix(7), `SO_PEERCRED`).
fn may_ask(stream: &UnixStream) -> bool {
    peer(stream).is_ok_and(|peer| peer.user == 0 || peer.user == geteuid().as_raw())
}

/// Says why, as far as that goes at once, and closes.
fn turn_away(stream: UnixStream, why: &str, now: Timestamp) {
    let answer = Answer::Error { message: why.to_owned() };
    // Whoever does not hear it sees that the connection is closed.
    let _ = Connection::new(stream, now).answer(&line(&answer), true, now);
}

fn line(answer: &Answer) -> Vec<u8> {
    // Strings and numbers can always be written.
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests;
