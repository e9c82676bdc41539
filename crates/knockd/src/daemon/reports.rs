//! What the reading half reports: told, and openings handed over to the acting half.

use knock_core::history::Recorded;
use knock_core::time::Timestamp;
use knock_core::tracker::{Event, What};

use super::{Daemon, QUIET};
use crate::acting::NextSequences;

impl Daemon<'_> {
    /// Tells the reports, hands over what is to be opened, and keeps the room that they took.
    pub(super) fn handle(&mut self, mut reports: Vec<Event>, now: Timestamp) {
        for report in reports.drain(..) {
            let Event { door, source, what } = report;
            self.audit.log.counts.knock(self.acting.name(door), &what);
            if self.quota.admits(&report, now) {
                self.tell(&report, now);
            }
            if what == What::Opening
                && let Some(NextSequences(next)) = self.acting.open(door, source, now, &mut self.audit)
                && let Err(error) = self.reading.set_sequences(door, next)
            {
                self.look_again(&error, now);
            }
        }
        self.reports = reports;
    }

    /// Says that more comes in than can be told or taken.
    pub(super) fn tell_of_overload(&mut self, now: Timestamp) {
        if let Some(count) = self.quota.tell(now) {
            self.audit.complain(&format!(
                "warning: so much is knocked that not all of it is logged: {count} lines were left out"
            ));
        }
        self.reading.count_lost(now);
        if self.quiet_until <= now {
            self.tell_of_lost_packets(now);
        }
    }

    fn tell_of_lost_packets(&mut self, now: Timestamp) {
        let lost = self.reading.lost() - self.lost_told;
        if lost > 0 {
            (self.quiet_until, self.lost_told) = (now + QUIET, self.reading.lost());
            self.audit.complain(&format!(
                "warning: packets came in faster than they could be looked at: {lost} were lost, knocks maybe among them"
            ));
        }
    }

    /// Says at the end what would have been said later.
    pub(super) fn tell_rest_of_overload(&mut self, now: Timestamp) {
        let left_out = self.quota.rest();
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
        let Some(tracked) = self.reading.door(index) else { return };
        let recorded = Recorded::knock(what, tracked);
        self.audit.tell(source, door, recorded, now, line.as_deref());
    }
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
