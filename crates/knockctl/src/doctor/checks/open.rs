//! Ports that strangers come in at.

use super::filter::{packets, way};
use crate::doctor::facts::{Facts, Reach, Reached, Table};
use crate::doctor::finding::Finding;
use crate::doctor::ports::Port;
use crate::doctor::remedy;
use crate::doctor::rules::walk::{Fate, Packet, Place, Verdict};

/// Ports that rules let strangers in at, where nothing else guards them.
pub(super) fn reachable(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for port in &facts.ports {
        if port.native && facts.guard() {
            continue;
        }
        for packet in packets(facts, port) {
            let (hooks, to_port) = way(facts, port, packet.ipv6);
            let fate = facts.ruleset.fate(&Packet { port: to_port, ..packet.clone() }, hooks);
            findings.extend(let_in(facts, port, &packet, &fate));
        }
    }
    findings.extend(unguarded(facts));
    findings
}

fn let_in(facts: &Facts, port: &Port, packet: &Packet, fate: &Fate<'_>) -> Option<Finding> {
    let family = if packet.ipv6 { "IPv6" } else { "IPv4" };
    let Port { door, first, protocol, .. } = port;
    if fate.verdict == Verdict::Drop {
        let for_some = fate.perhaps.iter().find(is_open_to_some).filter(|_| port.native)?;
        let found = format!(
            "{first}/{protocol} of door {door} is open to some without a knock, by {family}: {}",
            for_some.1
        );
        let why = "with guard = no, whoever that rule accepts comes in at any time";
        return Some(Finding::note("open-to-some", found, why));
    }
    let by = fate.by.map_or_else(|| "there is no firewall".to_owned(), |place| place.to_string());
    let found =
        format!("{first}/{protocol} of door {door} is open to everybody without a knock, by {family}: {by}");
    if port.native {
        let finding = Finding::problem("open-without-knock", found, "the door guards nothing");
        return Some(finding.with(format!("in [options] of {}: guard = yes", facts.config_path)));
    }
    let why = match port.removes {
        true => "the door's command shuts out nobody",
        false => "the door's command lets in who is in already",
    };
    let finding = Finding::problem("open-without-knock", found, why);
    Some(
        remedy::close_port(facts, fate.by.as_ref(), port, packet.ipv6)
            .into_iter()
            .fold(finding, Finding::with),
    )
}

/// What was sent on from another port is no matter here.
fn is_open_to_some((verdict, place): &&(Verdict, Place<'_>)) -> bool {
    *verdict == Verdict::Accept && !place.rule.is_some_and(|rule| rule.text.contains("status dnat"))
}

/// Guarded ports while there is no table that guards them.
fn unguarded(facts: &Facts) -> Option<Finding> {
    let guarded = facts.guarded_in_words();
    if guarded.is_empty() || facts.table == Table::InPlace {
        return None;
    }
    let state = match facts.table {
        Table::Changed => "is not as knockd made it",
        _ => "is not there",
    };
    let (found, remedy) = match facts.is_running() {
        true => (format!("the table inet knockd {state} although knockd runs"), "systemctl restart knockd"),
        false => {
            (format!("knockd does not run, and its table inet knockd {state}"), "systemctl start knockd")
        }
    };
    let why = match facts.guard() {
        true => format!("nothing guards {guarded}, and no knock opens them"),
        false => format!("no knock opens {guarded}"),
    };
    Some(Finding::problem("table-missing", found, why).with(remedy))
}

/// What real tries have met.
pub(super) fn tried(facts: &Facts) -> Vec<Finding> {
    let problem = |reached: &&Reached| reached.reach != Reach::Unanswered;
    let finding = |reached: &Reached| {
        let found = format!(
            "{} answers a stranger who has not knocked ({})",
            reached.target,
            reached.reach.in_words()
        );
        let why = format!("tried from {}: the port of door {} is not closed", reached.from, reached.door);
        let remedy = match facts.guard() {
            _ if !facts.is_running() => "systemctl start knockd".to_owned(),
            true => "nft list table inet knockd (is the port there?), and knockctl status".to_owned(),
            false => format!("in [options] of {}: guard = yes", facts.config_path),
        };
        Finding::problem("reached-without-knock", found, why).with(remedy)
    };
    facts.reached.iter().filter(problem).map(finding).collect()
}
