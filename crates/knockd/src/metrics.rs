//! What the daemon counts and measures, in Prometheus' text format: for `knockctl metrics`, and in a file for
//! node_exporter. It names doors, and nobody who knocks.

mod file;
mod text;

use std::collections::HashMap;

use jiff::Timestamp as WallTime;
use knock_core::tracker::What;

pub(crate) use file::MetricsFile;
pub(crate) use text::text;

use crate::log::{Facts, Topic};

/// How often what happened since the daemon runs.
pub(crate) struct Counts {
    started: WallTime,
    configured: WallTime,
    doors: HashMap<String, DoorCounts>,
    refusals: HashMap<&'static str, u64>,
    knocks: Knocks,
    reloads: u64,
    reloads_failed: u64,
    last_reload_failed: bool,
    rollbacks: u64,
}

/// The same of the doors of one name.
#[derive(Clone, Copy, Default)]
struct DoorCounts {
    completed: u64,
    timed_out: u64,
    openings: u64,
    extensions: u64,
    closings: u64,
    commands: u64,
    commands_failed: u64,
}

/// What became of packets to ports of doors.
#[derive(Clone, Copy, Default)]
struct Knocks {
    right: u64,
    wrong: u64,
    cooling_down: u64,
    unfit: u64,
    elsewhere: u64,
    not_allowed: u64,
    unbegun: u64,
}

impl Default for Counts {
    fn default() -> Self {
        let now = WallTime::now();
        Self {
            started: now,
            configured: now,
            doors: HashMap::new(),
            refusals: HashMap::new(),
            knocks: Knocks::default(),
            reloads: 0,
            reloads_failed: 0,
            last_reload_failed: false,
            rollbacks: 0,
        }
    }
}

impl Counts {
    /// Counts what became of so many knocks, or of their absence. Of these not each is a line of the log.
    pub(crate) fn knock(&mut self, door: &str, what: &What, times: u64) {
        let knocks = &mut self.knocks;
        let count = match what {
            What::Stage(_) => &mut knocks.right,
            What::Opening => {
                knocks.right = knocks.right.saturating_add(times);
                &mut self.door(door).completed
            }
            What::TimedOut(_) => &mut self.door(door).timed_out,
            What::Spoiled { .. } => &mut knocks.wrong,
            What::CoolingDown => &mut knocks.cooling_down,
            What::Unfit { .. } => &mut knocks.unfit,
            What::Elsewhere { .. } => &mut knocks.elsewhere,
            What::NotAllowed => &mut knocks.not_allowed,
            What::Unbegun(_) => &mut knocks.unbegun,
        };
        *count = count.saturating_add(times);
    }

    /// Counts anything else.
    pub(crate) fn note(&mut self, facts: &Facts) {
        match facts.event {
            Topic::Reloaded => {
                self.reloads += 1;
                self.last_reload_failed = false;
                self.configured = WallTime::now();
            }
            Topic::ReloadFailed => {
                self.reloads_failed += 1;
                self.last_reload_failed = true;
            }
            Topic::RolledBack => self.rollbacks += 1,
            _ => {}
        }
        if facts.event == Topic::Refused
            && facts.purpose != Some("close")
            && let Some(reason) = facts.reason
        {
            *self.refusals.entry(reason).or_default() += 1;
        }
        let Some(door) = &facts.door else { return };
        match facts.event {
            Topic::Opened => self.door(door).openings += 1,
            Topic::Extended => self.door(door).extensions += 1,
            Topic::Closed => self.door(door).closings += 1,
            Topic::Command => self.door(door).commands += 1,
            Topic::CommandFailed => self.door(door).commands_failed += 1,
            _ => {}
        }
    }

    fn door(&mut self, name: &str) -> &mut DoorCounts {
        self.doors.entry(name.to_owned()).or_default()
    }
}
