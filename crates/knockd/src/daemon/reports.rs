//! What the reading half reports: told, and openings handed over to the acting half.

use std::time::Duration;

use knock_core::history::Recorded;
use knock_core::time::Timestamp;
use knock_core::tracker::{Event, What};

use super::Daemon;
use crate::acting::NextSequences;

/// How long after it was told that attempts are dropped it is not told again.
const QUIET: Duration = Duration::from_secs(60);

impl Daemon<'_> {
    pub(super) fn handle(&mut self, reports: Vec<Event>, now: Timestamp) {
        for report in reports {
            let Event { door, source, what } = report;
            self.tell(&report, now);
            if what == What::Crowded {
                self.handle_crowd(now);
            }
            if what == What::Opening
                && let Some(NextSequences(next)) = self.acting.open(door, source, now, &mut self.audit)
                && let Err(error) = self.reading.set_sequences(door, next)
            {
                self.look_again(&error, now);
            }
        }
    }

    fn handle_crowd(&mut self, now: Timestamp) {
        self.crowded = self.crowded.saturating_add(1);
        if self.quiet_until <= now {
            self.quiet_until = now + QUIET;
            self.audit.complain("warning: so many attempts are under way that others are dropped");
        }
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
        What::Crowded => "dropped, too many attempts".into(),
        What::Unfit { knock, .. } => format!("knock {knock} passed over, wrong flags"),
        What::Elsewhere { knock, destination, .. } => format!("knock {knock} passed over, to {destination}"),
        What::NotAllowed => "passed over, not allowed".into(),
        What::Unbegun(knock) => format!("passed over, knock {knock} without the first"),
        What::Stage(_) | What::Opening | What::TimedOut(_) => String::new(),
    }
}
