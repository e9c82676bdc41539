//! Prometheus' text format, version 0.0.4.

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};

use jiff::Timestamp as WallTime;
use knock_core::control::{AcceptState, Door, JournalState, Status, TableState};

use super::{Counts, DoorCounts};

/// Why a door may not open for somebody who is right.
const REFUSALS: [&str; 4] = ["journal", "kernel", "overload", "command"];

/// All metrics of a daemon that is up, or that says good-bye.
pub(crate) fn text(status: &Status, doors: &[Door], counts: &Counts, up: bool) -> String {
    let mut text = Text(String::new());
    about_the_daemon(&mut text, status, counts, up);
    about_the_machine(&mut text, status);
    about_knocks(&mut text, status, counts);
    about_doors(&mut text, doors, counts);
    text.0
}

fn about_the_daemon(text: &mut Text, status: &Status, counts: &Counts, up: bool) {
    text.gauge("knockd_up", "Whether the daemon runs; 0 is the last that it writes.", u8::from(up));
    text.family("knockd_build_info", GAUGE, "The daemon's version.");
    text.sample("knockd_build_info", &[("version", &status.version)], 1);
    text.gauge("knockd_start_time_seconds", "When the daemon was started.", seconds(counts.started));
    text.gauge(
        "knockd_warnings",
        "How much is not as it should be: knockctl status tells what.",
        status.warnings.len(),
    );
    text.family("knockd_reloads_total", COUNTER, "How often the configuration was read anew.");
    text.sample("knockd_reloads_total", &[("result", "ok")], counts.reloads);
    text.sample("knockd_reloads_total", &[("result", "failed")], counts.reloads_failed);
    text.gauge(
        "knockd_config_last_reload_successful",
        "Whether the configuration could be used when it was read last.",
        u8::from(!counts.last_reload_failed),
    );
    text.gauge(
        "knockd_config_last_reload_success_timestamp_seconds",
        "When the configuration that is in force was read.",
        seconds(counts.configured),
    );
    text.counter(
        "knockd_config_rollbacks_total",
        "How often a configuration was not confirmed and the one before came back.",
        counts.rollbacks,
    );
    text.gauge(
        "knockd_config_unconfirmed",
        "Whether the configuration waits to be confirmed.",
        u8::from(status.pending_confirmation.is_some()),
    );
}

fn about_the_machine(text: &mut Text, status: &Status) {
    let up = status.interfaces.iter().filter(|interface| interface.up).count();
    text.gauge("knockd_interfaces_up", "The interfaces that are listened on and are up.", up);
    text.gauge(
        "knockd_journal_failing",
        "Whether the journal of grants cannot be written: no door that needs it opens.",
        u8::from(status.journal.state == JournalState::Failing),
    );
    let Some(native) = &status.native else { return };
    text.gauge(
        "knockd_guard_in_place",
        "Whether the table inet knockd is in the kernel as the daemon made it.",
        u8::from(native.table == TableState::InPlace),
    );
    let missing = |state| matches!(state, AcceptState::Missing | AcceptState::Failed);
    text.gauge(
        "knockd_accept_rule_missing",
        "Chains of the machine's own firewall that drop whom a door lets in.",
        native.accept_rules.iter().filter(|rule| missing(rule.state)).count(),
    );
}

fn about_knocks(text: &mut Text, status: &Status, counts: &Counts) {
    let knocks = &counts.knocks;
    text.family("knockd_knocks_total", COUNTER, "Knocks, by what became of them.");
    for (result, count) in [
        ("right", knocks.right),
        ("wrong", knocks.wrong),
        ("cooling_down", knocks.cooling_down),
        ("unfit", knocks.unfit),
        ("elsewhere", knocks.elsewhere),
        ("not_allowed", knocks.not_allowed),
        ("unbegun", knocks.unbegun),
    ] {
        text.sample("knockd_knocks_total", &[("result", result)], count);
    }
    text.gauge("knockd_attempts", "Attempts under way.", status.attempts);
    let overload = &status.overload;
    for (name, help, count) in [
        ("knockd_packets_lost_total", "Packets that the kernel had no room for.", overload.packets_lost),
        (
            "knockd_attempts_faded_total",
            "Attempts that made room and are remembered in short.",
            overload.attempts_faded,
        ),
        ("knockd_attempts_revived_total", "Those of them that went on.", overload.attempts_revived),
        (
            "knockd_attempts_lost_total",
            "Attempts that were forgotten for lack of room.",
            overload.attempts_lost,
        ),
        (
            "knockd_attempts_over_budget_total",
            "Attempts that were forgotten because one source had too many.",
            overload.attempts_over_budget,
        ),
        ("knockd_log_lines_left_out_total", "Lines of the log that were left out.", overload.lines_left_out),
    ] {
        text.counter(name, help, count);
    }
    text.family("knockd_refusals_total", COUNTER, "Openings that came to nothing, by what failed.");
    for reason in REFUSALS {
        let count = counts.refusals.get(reason).copied().unwrap_or_default();
        text.sample("knockd_refusals_total", &[("reason", reason)], count);
    }
}

/// What is counted of each door.
type Count = (&'static str, &'static str, fn(&DoorCounts) -> u64);

const COUNTS: [Count; 5] = [
    ("knockd_sequences_completed_total", "Sequences of which the last knock was right.", |door| {
        door.completed
    }),
    ("knockd_sequences_timed_out_total", "Sequences whose time was over.", |door| door.timed_out),
    ("knockd_openings_total", "How often the door was opened for somebody.", |door| door.openings),
    ("knockd_extensions_total", "How often it was open already and stays open longer.", |door| {
        door.extensions
    }),
    ("knockd_closings_total", "How often it was closed to somebody.", |door| door.closings),
];

const COMMANDS: [Count; 2] = [
    ("knockd_commands_total", "Commands that were run.", |door| door.commands),
    ("knockd_commands_failed_total", "Commands that could not be run or ended with a failure.", |door| {
        door.commands_failed
    }),
];

fn about_doors(text: &mut Text, doors: &[Door], counts: &Counts) {
    text.gauge("knockd_doors", "The doors of the configuration.", doors.len());
    let mut by_name: BTreeMap<&str, Vec<&Door>> = BTreeMap::new();
    for door in doors {
        by_name.entry(&door.name).or_default().push(door);
    }
    text.family("knockd_grants", GAUGE, "For how many the door is open, opening or closing.");
    for (name, doors) in &by_name {
        let grants: usize = doors.iter().map(|door| door.grants).sum();
        text.sample("knockd_grants", &[("door", name)], grants);
    }
    let left = |doors: &[&Door]| doors.iter().filter_map(|door| door.sequences_left).min();
    if by_name.values().any(|doors| left(doors).is_some()) {
        text.family("knockd_one_time_sequences_left", GAUGE, "One-time sequences that are not used up.");
    }
    for (name, left) in by_name.iter().filter_map(|(name, doors)| Some((name, left(doors)?))) {
        text.sample("knockd_one_time_sequences_left", &[("door", name)], left);
    }
    let runs_commands = |doors: &[&Door]| doors.iter().any(|door| door.runs_commands);
    for count in &COUNTS {
        text.by_door(count, by_name.keys().copied(), counts);
    }
    let with_commands = by_name.iter().filter(|(_, doors)| runs_commands(doors)).map(|(name, _)| *name);
    let with_commands: Vec<_> = with_commands.collect();
    for count in COMMANDS.iter().filter(|_| !with_commands.is_empty()) {
        text.by_door(count, with_commands.iter().copied(), counts);
    }
}

const GAUGE: &str = "gauge";
const COUNTER: &str = "counter";

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, GAUGE, help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, COUNTER, help);
        self.sample(name, &[], value);
    }

    fn by_door<'a>(
        &mut self,
        (name, help, count): &Count,
        doors: impl Iterator<Item = &'a str>,
        counts: &Counts,
    ) {
        self.family(name, COUNTER, help);
        for door in doors {
            let value = counts.doors.get(door).map_or(0, count);
            self.sample(name, &[("door", door)], value);
        }
    }
}

fn seconds(time: WallTime) -> String {
    format!("{}.{:03}", time.as_second(), time.subsec_millisecond())
}

/// As a label's value is written.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
