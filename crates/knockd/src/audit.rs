//! What becomes of knocks and doors: told in the log, to whoever watches, and remembered to be explained.

use std::net::IpAddr;

use jiff::Timestamp as WallTime;
use knock_core::control::{self, EventKind};
use knock_core::history::{EVENTS, Entry, History, Recorded, SOURCES};
use knock_core::time::Timestamp;

use crate::log::Log;

/// Tells of everything, to everybody who is to know.
pub(crate) struct Audit {
    pub(crate) log: Log,
    history: History,
    /// What watchers have not been told yet.
    events: Vec<control::Event>,
    /// Somebody watches.
    pub(crate) watched: bool,
}

impl Audit {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, history: History::new(SOURCES, EVENTS), events: Vec::new(), watched: false }
    }

    /// Something happened between a source and a door; `line` is what the log says of it.
    pub(crate) fn tell(
        &mut self,
        source: IpAddr,
        door: &str,
        what: Recorded,
        now: Timestamp,
        line: Option<&str>,
    ) {
        if let Some(line) = line {
            self.log.say_of(source, line);
        }
        if self.watched {
            let event = EventKind::from(&what);
            self.events.push(new_event(Some(door), Some(source), event, what.sentence(false)));
        }
        self.history.record(source, now, door, what);
    }

    /// Something is not as it should be.
    pub(crate) fn complain(&mut self, message: &str) {
        self.log.complain(message);
        self.publish(EventKind::Warning, message);
    }

    /// Tells those who watch what concerns no door.
    pub(crate) fn publish(&mut self, kind: EventKind, message: &str) {
        if self.watched {
            self.events.push(new_event(None, None, kind, message.to_owned()));
        }
    }

    /// What is remembered of a source, oldest first.
    pub(crate) fn history(&self, source: IpAddr) -> impl Iterator<Item = &Entry> {
        self.history.of(source)
    }

    /// What watchers are to be told.
    pub(crate) fn take_events(&mut self) -> Vec<control::Event> {
        std::mem::take(&mut self.events)
    }
}

fn new_event(
    door: Option<&str>,
    source: Option<IpAddr>,
    event: EventKind,
    message: String,
) -> control::Event {
    let time = format!("{:.3}", WallTime::now());
    control::Event { time, door: door.map(str::to_owned), source, event, message }
}
