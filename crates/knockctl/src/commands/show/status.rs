//! `knockctl status`.

use knock_core::control::{
    AcceptState, Interface, Journal, JournalState, LayerState, Native, Overload, ReadingProcess, Status,
    TableState,
};

use crate::output::printable;
use crate::table::list;
use crate::times;

/// How the daemon is, and below it what is not as it should be.
pub(super) fn text(status: &Status) -> String {
    let heading = format!(
        "knockd {}, process {}, running for {}",
        status.version,
        status.pid,
        times::past(status.uptime)
    );
    let warnings = status.warnings.iter().map(|warning| format!("\nwarning: {}", printable(warning)));
    let warnings: String = warnings.collect();
    let end = if warnings.is_empty() { "" } else { "\n" };
    format!("{}\n\n{}{warnings}{end}", printable(&heading), list(&rows(status)))
}

fn rows(status: &Status) -> Vec<[String; 2]> {
    let mut rows = vec![["configuration".into(), status.config.clone()]];
    let interfaces = status.interfaces.iter().map(interface).collect();
    rows.extend(entries("interfaces", interfaces));
    rows.push(["doors".into(), status.doors.to_string()]);
    rows.push(["open".into(), status.grants.to_string()]);
    rows.push(["knocking".into(), status.attempts.to_string()]);
    let overload = overload(&status.overload);
    if !overload.is_empty() {
        rows.extend(entries("too much", overload));
    }
    rows.extend(entries("reading", reading(&status.reading)));
    rows.push(["journal".into(), journal(&status.journal)]);
    if let Some(native) = &status.native {
        rows.push(["native doors".into(), table(native)]);
        rows.extend(entries("accept rules", accept_rules(native)));
    }
    if let Some(left) = status.pending_confirmation {
        let left = times::left(left);
        let what =
            format!("missing: the old configuration comes back in {left} unless 'knockctl confirm' comes");
        rows.push(["confirmation".into(), what]);
    }
    rows
}

/// The name stands before the first alone.
fn entries(name: &str, entries: Vec<String>) -> Vec<[String; 2]> {
    let entries = if entries.is_empty() { vec!["none".into()] } else { entries };
    let names = std::iter::once(name).chain(std::iter::repeat(""));
    names.zip(entries).map(|(name, entry)| [name.to_owned(), entry]).collect()
}

fn interface(interface: &Interface) -> String {
    let state = if interface.up { "up" } else { "down" };
    let addresses = interface.addresses.iter().map(|address| format!(", {address}"));
    format!("{}: {state}{}", interface.name, addresses.collect::<String>())
}

/// What was too much for the daemon, as far as it was.
fn overload(overload: &Overload) -> Vec<String> {
    let told = [
        (overload.packets_lost, "packets were lost before they could be looked at"),
        (overload.attempts_lost, "attempts were forgotten for lack of room"),
        (overload.attempts_over_budget, "attempts were forgotten because one source had too many"),
        (overload.attempts_faded, "attempts made room for others and were remembered in short"),
        (overload.lines_left_out, "lines were left out of the log"),
    ];
    told.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect()
}

/// The process that reads what strangers send, and what confines it.
fn reading(reading: &ReadingProcess) -> Vec<String> {
    let process = match (reading.pid, reading.restarts) {
        (None, _) => "missing: nobody can knock".into(),
        (Some(pid), 0) => pid.to_string(),
        (Some(pid), restarts) => format!("{pid}, started again {restarts} times"),
    };
    let layers = reading.layers.iter().map(|layer| match layer.state {
        LayerState::On => format!("{}: {}", layer.name, layer.message),
        LayerState::Off => format!("not confined by {}: {}", layer.name, layer.message),
    });
    std::iter::once(process).chain(layers).collect()
}

fn journal(journal: &Journal) -> String {
    let state = match journal.state {
        JournalState::InUse => "in use",
        JournalState::Off => "not needed",
        JournalState::Failing => "cannot be written",
    };
    format!("{}: {state}{}", journal.path, reason(journal.message.as_deref()))
}

fn table(native: &Native) -> String {
    let table = match native.table {
        TableState::InPlace => "in place",
        TableState::Missing => "missing or changed",
    };
    let guard = if native.guard { "closed to others" } else { "not guarded" };
    format!("table inet knockd {table}, ports {guard}, mark {}", native.mark)
}

fn accept_rules(native: &Native) -> Vec<String> {
    let rules = native.accept_rules.iter().map(|rule| {
        let state = match rule.state {
            AcceptState::InPlace => "in place",
            AcceptState::Missing => "missing",
            AcceptState::NotNeeded => "not needed",
            AcceptState::Failed => "failed",
        };
        format!("{}: {state}{}", rule.place, reason(rule.message.as_deref()))
    });
    std::iter::once(native.accept_rule.clone()).chain(rules).collect()
}

fn reason(message: Option<&str>) -> String {
    message.map_or_else(String::new, |message| format!(", {message}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use knock_core::control::{Accept, Layer, Seconds};

    use super::*;

    fn status() -> Status {
        let journal =
            Journal { path: "/var/lib/knockd/journal".into(), state: JournalState::Off, message: None };
        Status {
            version: "0.1.0".into(),
            pid: 4711,
            uptime: Seconds(Duration::from_secs(7505)),
            config: "/etc/knockd.conf".into(),
            interfaces: vec![],
            warnings: vec![],
            doors: 1,
            grants: 0,
            attempts: 0,
            overload: Overload::default(),
            reading: ReadingProcess { pid: Some(4712), restarts: 0, layers: Vec::new() },
            journal,
            native: None,
            pending_confirmation: None,
        }
    }

    fn layer(name: &str, state: LayerState, message: &str) -> Layer {
        Layer { name: name.into(), state, message: message.into() }
    }

    #[test]
    fn all_is_well() {
        assert_eq!(
            text(&status()),
            "\
knockd 0.1.0, process 4711, running for 2 h 5 min

configuration  /etc/knockd.conf
interfaces     none
doors          1
open           0
knocking       0
reading        4712
journal        /var/lib/knockd/journal: not needed
"
        );
    }

    #[test]
    fn nothing_is_well() {
        let rule = |place: &str, state, message: Option<&str>| Accept {
            place: place.into(),
            state,
            message: message.map(str::to_owned),
        };
        let accept_rules = vec![
            rule("chain inet filter input", AcceptState::InPlace, None),
            rule("chain ip filter FORWARD", AcceptState::Failed, Some("operation not permitted")),
        ];
        let native = Native {
            table: TableState::Missing,
            mark: "0x10000000".into(),
            guard: true,
            accept_rule: "auto".into(),
            accept_rules,
        };
        let interfaces = [("eth0", true, vec!["192.0.2.1", "2001:db8::1"]), ("wg0", false, vec![])];
        let interfaces = interfaces.map(|(name, up, addresses)| Interface {
            name: name.into(),
            up,
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
        });
        let troubled = Status {
            interfaces: interfaces.into(),
            warnings: vec!["wg0 is\x1b down".into(), "the disk is full".into()],
            attempts: 3,
            overload: Overload {
                packets_lost: 17,
                attempts_lost: 4,
                attempts_over_budget: 9,
                lines_left_out: 99_500,
                ..Overload::default()
            },
            reading: ReadingProcess {
                pid: Some(4712),
                restarts: 2,
                layers: vec![
                    layer("capabilities", LayerState::On, "none, and none to be gained"),
                    layer("landlock", LayerState::Off, "this kernel has none"),
                ],
            },
            journal: Journal {
                state: JournalState::Failing,
                message: Some("no space left on device".into()),
                ..status().journal
            },
            native: Some(native),
            pending_confirmation: Some(Seconds(Duration::from_secs(45))),
            ..status()
        };
        assert_eq!(
            text(&troubled),
            "\
knockd 0.1.0, process 4711, running for 2 h 5 min

configuration  /etc/knockd.conf
interfaces     eth0: up, 192.0.2.1, 2001:db8::1
               wg0: down
doors          1
open           0
knocking       3
too much       17 packets were lost before they could be looked at
               4 attempts were forgotten for lack of room
               9 attempts were forgotten because one source had too many
               99500 lines were left out of the log
reading        4712, started again 2 times
               capabilities: none, and none to be gained
               not confined by landlock: this kernel has none
journal        /var/lib/knockd/journal: cannot be written, no space left on device
native doors   table inet knockd missing or changed, ports closed to others, mark 0x10000000
accept rules   auto
               chain inet filter input: in place
               chain ip filter FORWARD: failed, operation not permitted
confirmation   missing: the old configuration comes back in 45 s unless 'knockctl confirm' comes

warning: wg0 is\\u{1b} down
warning: the disk is full
"
        );
    }
}
