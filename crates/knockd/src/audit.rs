//! What becomes of knocks and doors: told in the log, to whoever watches, and remembered to be explained.

use std::net::IpAddr;

use jiff::Timestamp as WallTime;
use knock_core::control::{self, EventKind};
use knock_core::history::{EVENTS, Entry, History, Recorded, SOURCES};
use knock_core::time::Timestamp;
use knock_core::tracker::What;

use crate::log::{Facts, Log, Topic};
use crate::metrics::MetricsFile;

/// Tells of everything, to everybody who is to know.
pub(crate) struct Audit {
    pub(crate) log: Log,
    pub(crate) metrics_file: MetricsFile,
    history: History,
    /// What watchers have not been told yet.
    events: Vec<control::Event>,
    /// Somebody watches.
    pub(crate) watched: bool,
}

impl Audit {
    pub(crate) fn new(log: Log) -> Self {
        Self {
            log,
            metrics_file: MetricsFile::default(),
            history: History::new(SOURCES, EVENTS),
            events: Vec::new(),
            watched: false,
        }
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
        let facts = Facts::between(source, door, &what);
        self.tell_as(source, door, what, now, line, facts);
    }

    /// The same, where there is more to say of it.
    pub(crate) fn tell_as(
        &mut self,
        source: IpAddr,
        door: &str,
        what: Recorded,
        now: Timestamp,
        line: Option<&str>,
        facts: Facts,
    ) {
        match line {
            Some(line) => self.log.tell_of(source, line, facts),
            None => {
                let message = || format!("{door}: {}", in_short(&what));
                self.log.tell_programs(Some(source), message, facts);
            }
        }
        if self.watched {
            let event = EventKind::from(&what);
            self.events.push(new_event(Some(door), Some(source), event, what.sentence(false)));
        }
        self.history.record(source, now, door, what);
    }

    /// Something is not as it should be.
    pub(crate) fn complain(&mut self, message: &str) {
        self.complain_of(message, Facts::told(message));
    }

    /// The same, about this.
    pub(crate) fn complain_of(&mut self, message: &str, facts: Facts) {
        self.log.complain_of(message, facts);
        self.publish(EventKind::Warning, message);
    }

    /// Another configuration is in force.
    pub(crate) fn tell_reloaded(&mut self) {
        const MESSAGE: &str = "the configuration was read anew";
        self.log.tell_programs(None, || MESSAGE.into(), Facts::of(Topic::Reloaded));
        self.publish(EventKind::Reloaded, MESSAGE);
    }

    /// Tells those who watch what concerns no door.
    fn publish(&mut self, kind: EventKind, message: &str) {
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

/// What knockd has no line for, as it would have one: without ports, which are secrets or near them.
fn in_short(what: &Recorded) -> String {
    let Recorded::Knock { what: knock, .. } = what else { return what.sentence(false) };
    match knock {
        What::Spoiled { stage, .. } => format!("a wrong port ended the attempt (stage {stage})"),
        What::CoolingDown => "passed over, cooling down".into(),
        What::Unfit { knock, .. } => format!("knock {knock} passed over, wrong flags"),
        What::Elsewhere { knock, .. } => format!("knock {knock} passed over, to another address"),
        What::NotAllowed => "passed over, not allowed".into(),
        What::Unbegun(knock) => format!("knock {knock} passed over, without the first"),
        What::Stage(_) | What::Opening | What::TimedOut(_) => what.sentence(false),
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
