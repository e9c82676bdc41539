//! `-l`: the names of knockers, looked up beside the daemon's work.
//!
//! Lines about a knocker wait a little for the name. What has to be done for a knock never does.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use knock_core::time::Timestamp;
use knock_linux::clock;

use crate::log::Line;

/// A host's name, where it has one.
pub(crate) type Name = Option<String>;

/// How long a line waits for a name.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many look-ups may wait; beyond that nobody is looked up.
const QUEUE: usize = 256;
/// How many lines may wait for a name.
const MAX_HELD: usize = 1024;
/// How many names are remembered.
const REMEMBERED: usize = 4096;

/// Looks names up in threads of its own and holds the lines that wait for them.
pub(crate) struct Lookup {
    questions: SyncSender<IpAddr>,
    answers: Receiver<(IpAddr, Name)>,
    /// Becomes readable with each answer.
    bell: Option<UnixDatagram>,
    names: HashMap<IpAddr, Name>,
    /// Who is being looked up.
    asked: HashSet<IpAddr>,
    held: VecDeque<(Line, Timestamp)>,
}

impl Lookup {
    pub(crate) fn new() -> Self {
        let (answer, answers) = sync_channel(QUEUE);
        let (bell, ring) = match UnixDatagram::pair() {
            Ok((bell, ring)) => (Some(bell), Some(ring)),
            Err(_) => (None, None),
        };
        let bell = bell.filter(|bell| bell.set_nonblocking(true).is_ok());
        let (questions, asked) = sync_channel(QUEUE);
        // Without the thread there are no names: its end of the channel is gone, and nobody is asked.
        let _ = thread::Builder::new().spawn(move || answer_all(&asked, &answer, ring.as_ref()));
        Self { questions, answers, bell, names: HashMap::new(), asked: HashSet::new(), held: VecDeque::new() }
    }

    /// Keeps a line until its knocker's name is known.
    pub(crate) fn hold(&mut self, line: Line) {
        if let Some(source) = line.source {
            self.ask(source);
        }
        self.held.push_back((line, clock::now() + PATIENCE));
    }

    fn ask(&mut self, source: IpAddr) {
        if self.names.contains_key(&source) || self.asked.contains(&source) {
            return;
        }
        match self.questions.try_send(source) {
            Ok(()) => {
                self.asked.insert(source);
            }
            Err(_) => self.remember(source, None),
        }
    }

    /// The next line in order, if its knocker's name is known or was waited for long enough.
    pub(crate) fn next_known(&mut self) -> Option<(Line, Name)> {
        self.listen();
        let (line, deadline) = self.held.front()?;
        let known = line.source.is_none_or(|source| self.names.contains_key(&source));
        // Under a flood nobody waits.
        if !known && self.held.len() <= MAX_HELD && clock::now() < *deadline {
            return None;
        }
        self.next_anyway()
    }

    /// The next line in order.
    pub(crate) fn next_anyway(&mut self) -> Option<(Line, Name)> {
        let (line, _) = self.held.pop_front()?;
        let name = line.source.and_then(|source| self.names.get(&source).cloned().flatten());
        Some((line, name))
    }

    /// When the next line is written in any case.
    pub(crate) fn next_deadline(&self) -> Option<Timestamp> {
        self.held.front().map(|(_, deadline)| *deadline)
    }

    /// What becomes readable when a name was found.
    pub(crate) fn bell(&self) -> Option<BorrowedFd<'_>> {
        self.bell.as_ref().map(AsFd::as_fd)
    }

    fn listen(&mut self) {
        if let Some(bell) = &self.bell {
            while bell.recv(&mut [0]).is_ok() {}
        }
        while let Ok((address, name)) = self.answers.try_recv() {
            self.remember(address, name);
        }
    }

    fn remember(&mut self, address: IpAddr, name: Name) {
        self.asked.remove(&address);
        if self.names.len() >= REMEMBERED {
            self.names.clear();
        }
        self.names.insert(address, name);
    }
}

fn answer_all(asked: &Receiver<IpAddr>, answer: &SyncSender<(IpAddr, Name)>, ring: Option<&UnixDatagram>) {
    for address in asked {
        let name = dns_lookup::lookup_addr(&address).ok().filter(|name| *name != address.to_string());
        if answer.send((address, name)).is_err() {
            return;
        }
        if let Some(ring) = ring {
            // A full socket rings already.
            let _ = ring.send(&[1]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Facts, Kind, Topic};

    /// A look-up whose name servers never answer.
    fn unanswered() -> (Lookup, Receiver<IpAddr>) {
        let (questions, asked) = sync_channel(QUEUE);
        let (_, answers) = sync_channel(QUEUE);
        let (names, held) = (HashMap::new(), VecDeque::new());
        (Lookup { questions, answers, bell: None, names, asked: HashSet::new(), held }, asked)
    }

    fn line(source: u32) -> Line {
        Line::new(Some(IpAddr::V4(source.into())), "knocks", Kind::Recorded, Facts::of(Topic::Stage))
    }

    #[test]
    fn under_a_flood_no_more_lines_wait_than_may() {
        let (mut lookup, _asked) = unanswered();
        let mut written = 0;
        for source in 0..50_000 {
            lookup.hold(line(source));
            while lookup.next_known().is_some() {
                written += 1;
            }
            assert!(lookup.held.len() <= MAX_HELD && lookup.asked.len() <= QUEUE);
        }
        assert!(written >= 50_000 - MAX_HELD);
    }

    #[test]
    fn a_knocker_is_looked_up_once_at_a_time() {
        let (mut lookup, asked) = unanswered();
        for _ in 0..3 {
            lookup.hold(line(7));
        }
        assert_eq!(asked.try_iter().count(), 1);
        assert!(lookup.next_known().is_none(), "it waits for the name");
    }
}
