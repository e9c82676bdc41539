//! What the reading half says: told, and openings handed over to the acting half.

use knock_core::history::Recorded;
use knock_core::sequence::MAX_STEPS;
use knock_core::time::Timestamp;
use knock_core::tracker::{Event, What};

use super::{Daemon, QUIET};
use crate::channel::{Untold, Word};

impl Daemon<'_> {
    /// Heeds what the reading half has said.
    pub(super) fn hear(&mut self, now: Timestamp) {
        match self.reader.hear() {
            Ok(words) => words.into_iter().for_each(|word| self.heed(word, now)),
            Err(reason) => self.lose_reader(&reason, now),
        }
        self.count_untold();
    }

    /// Counts what the reading half has not told one by one.
    pub(super) fn count_untold(&mut self) {
        for Untold { door, what, times } in self.reader.take_untold() {
            if self.reader.door(door).is_some() {
                self.audit.log.counts.knock(self.acting.name(door), &what, times);
            }
        }
    }

    fn heed(&mut self, word: Word, now: Timestamp) {
        match word {
            Word::Event(event) if self.can_be(&event) => self.handle(event, now),
            Word::Event(_) => self.lose_reader("it said what it cannot have to say", now),
            Word::Heard(heard) => self.audit.log.debug(|| heard.to_string()),
            Word::Follow(sources) => {
                if let Err(error) = self.reader.follow(sources.into_iter().collect()) {
                    self.look_again(&error, now);
                }
            }
            Word::LeftOut(count) => self.tell_of_left_out(count),
            Word::Failed(reason) => self.lose_reader(&reason, now),
            Word::Confined(_) | Word::Lost(_) | Word::Answer(_) => self.reader.note(word),
        }
    }

    /// Whether the reading half can have to say this; anything else is somebody else's word.
    fn can_be(&self, Event { door, what, .. }: &Event) -> bool {
        self.reader.door(*door).is_some() && is_possible(what)
    }

    /// The reading half has ended, or is ended because it cannot be relied on.
    pub(super) fn lose_reader(&mut self, reason: &str, now: Timestamp) {
        let Some(how) = self.reader.end_process(now) else {
            self.audit
                .complain(&format!("error: the reading process cannot be started, trying anew: {reason}"));
            return;
        };
        let why = if reason.is_empty() { how } else { reason.to_owned() };
        self.audit.complain(&format!("error: the reading process ended, starting it anew: {why}"));
    }

    /// Tells what came of a knock, and hands over what is to be opened.
    fn handle(&mut self, event: Event, now: Timestamp) {
        self.audit.log.counts.knock(self.acting.name(event.door), &event.what, 1);
        if self.quota.admits(&event, now) {
            self.tell(&event, now);
        }
        if event.what == What::Opening {
            let Self { acting, reader, audit, .. } = self;
            let mut armed = Ok(());
            let arm = |next| armed = reader.set_sequences(event.door, next);
            acting.open(event.door, event.source, arm, now, audit);
            if let Err(error) = armed {
                self.look_again(&error, now);
            }
        }
    }

    fn tell_of_left_out(&mut self, count: u64) {
        self.audit.complain(&format!(
            "warning: so much is knocked that not all of it is logged: {count} lines were left out"
        ));
        self.left_out_told = self.left_out_told.saturating_add(count);
    }

    /// Says that more comes in than can be told or taken.
    pub(super) fn tell_of_overload(&mut self, now: Timestamp) {
        if let Some(count) = self.quota.tell(now) {
            self.tell_of_left_out(count);
        }
        if self.quiet_until <= now {
            self.tell_of_lost_packets(now);
        }
    }

    fn tell_of_lost_packets(&mut self, now: Timestamp) {
        let lost = self.reader.lost().saturating_sub(self.lost_told);
        if lost > 0 {
            (self.quiet_until, self.lost_told) = (now + QUIET, self.reader.lost());
            self.audit.complain(&format!(
                "warning: packets came in faster than they could be looked at: {lost} were lost, knocks maybe among them"
            ));
        }
    }

    /// How many lines were left out so far, as far as is known.
    pub(super) fn left_out(&self) -> u64 {
        self.reader.left_out().saturating_add(self.quota.left_out())
    }

    /// Says at the end what would have been said later.
    pub(super) fn tell_rest_of_overload(&mut self, now: Timestamp) {
        let left_out = self.left_out().saturating_sub(self.left_out_told);
        if left_out > 0 {
            self.audit.log.record(&format!("{left_out} more lines were left out"));
        }
        self.tell_of_lost_packets(now);
    }

    fn tell(&mut self, report: &Event, now: Timestamp) {
        let Event { door: index, source, what } = *report;
        let door = self.acting.name(index);
        let line = match what {
            What::Stage(stage) => Some(format!("{door}: Stage {stage}")),
            What::Opening => Some(format!("{door}: OPEN SESAME")),
            What::TimedOut(stage) => Some(format!("{door}: sequence timeout (stage {stage})")),
            _ => None,
        };
        if line.is_none() {
            self.audit.log.debug(|| format!("{source}: {door}: {}", in_detail(what)));
        }
        let Some(tracked) = self.reader.door(index) else { return };
        let recorded = Recorded::knock(what, tracked);
        self.audit.tell(source, door, recorded, now, line.as_deref());
    }
}

/// Whether this can happen to a sequence.
fn is_possible(what: &What) -> bool {
    let knocks = match *what {
        What::Stage(knocks) | What::TimedOut(knocks) | What::Unbegun(knocks) => knocks,
        What::Spoiled { stage: knocks, .. }
        | What::Unfit { knock: knocks, .. }
        | What::Elsewhere { knock: knocks, .. } => knocks,
        What::Opening | What::CoolingDown | What::NotAllowed => 0,
    };
    knocks <= MAX_STEPS
}

/// What is of interest in search of a fault only.
fn in_detail(what: What) -> String {
    match what {
        What::Spoiled { stage, hit, .. } => format!("{hit} is wrong behind stage {stage}"),
        What::CoolingDown => "passed over, cooling down".into(),
        What::Unfit { knock, .. } => format!("knock {knock} passed over, wrong flags"),
        What::Elsewhere { knock, destination, .. } => format!("knock {knock} passed over, to {destination}"),
        What::NotAllowed => "passed over, not allowed".into(),
        What::Unbegun(knock) => format!("passed over, knock {knock} without the first"),
        What::Stage(_) | What::Opening | What::TimedOut(_) => String::new(),
    }
}
