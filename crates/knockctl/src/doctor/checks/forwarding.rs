//! Ports that lead to other ports or other machines: redirections, DNAT, containers.

use super::filter::TO_US;
use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;
use crate::doctor::ports::Port;
use crate::doctor::rules::walk::Verdict;
use crate::doctor::rules::{Action, Chain, Family, Ruleset, What};

/// A rule that sends packets on to another address or port.
pub(super) struct Forwarding<'a> {
    chain: &'a Chain,
    text: &'a str,
    conditions: Vec<&'a What>,
    to: Option<&'a str>,
    pub(super) to_port: Option<u16>,
}

impl Forwarding<'_> {
    pub(super) fn takes(&self, protocol: &str, port: u16) -> bool {
        self.conditions.iter().all(|what| match what {
            What::Protocol(names) => names.iter().any(|name| name == protocol),
            What::Port(ranges) => ranges.iter().any(|range| range.contains(&port)),
            _ => true,
        })
    }

    /// The ports that it takes, the first of each range, with their protocol; where it names none, TCP's.
    fn ports(&self) -> Vec<(&'static str, u16)> {
        let takes = |protocol: &str| {
            let is_other = |what: &&What| matches!(what, What::Protocol(names) if !names.iter().any(|name| name == protocol));
            !self.conditions.iter().any(is_other)
        };
        let protocol = if takes("tcp") { "tcp" } else { "udp" };
        let ports = self.conditions.iter().filter_map(|what| match what {
            What::Port(ranges) => Some(ranges.iter().map(|range| *range.start())),
            _ => None,
        });
        ports.flatten().map(|port| (protocol, port)).collect()
    }

    pub(super) fn is_for(&self, ipv6: bool) -> bool {
        match self.chain.family {
            Family::Ip => !ipv6,
            Family::Ip6 => ipv6,
            Family::Inet => self.to.is_none_or(|to| to.contains(':') == ipv6),
        }
    }

    pub(super) fn leads_elsewhere(&self, facts: &Facts) -> bool {
        self.to.is_some_and(|to| to.parse().is_ok_and(|to| !facts.is_own(to)))
    }
}

/// All such rules.
pub(super) fn forwardings(ruleset: &Ruleset) -> Vec<Forwarding<'_>> {
    let mut found = Vec::new();
    for chain in &ruleset.chains {
        // Of what the machine itself sends nobody else gains anything.
        if chain.name.eq_ignore_ascii_case("output") {
            continue;
        }
        for rule in &chain.rules {
            let Action::Forward { address, port } = &rule.action else { continue };
            let conditions = rule.conditions.iter().filter(|condition| !condition.negated);
            found.push(Forwarding {
                chain,
                text: &rule.text,
                conditions: conditions.map(|condition| &condition.what).collect(),
                to: address.as_deref(),
                to_port: *port,
            });
        }
    }
    found
}

/// Ports that lead to a guarded one and are not guarded themselves.
pub(super) fn ways_around(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for forwarding in forwardings(&facts.ruleset) {
        if forwarding.leads_elsewhere(facts) {
            continue;
        }
        for (protocol, port) in forwarding.ports() {
            let to = forwarding.to_port.unwrap_or(port);
            let Some(guarded) = facts.guard_of(protocol, to) else { continue };
            if facts.guard_of(protocol, port).is_some() {
                continue;
            }
            let found = format!(
                "{port}/{protocol} leads to {to}/{protocol}, which door {} guards: \"{}\" in chain {}",
                guarded.door, forwarding.text, forwarding.chain
            );
            let why = format!(
                "whoever connects to {port} comes to {to} without a knock: ports are guarded as the client sees them"
            );
            findings.push(Finding::problem("way-around", found, why).with(format!(
                "in [{}] of {}: open = {guarded}, {port}/{protocol}",
                guarded.door, facts.config_path
            )));
        }
    }
    findings
}

/// Published ports of containers, which go round the chain input.
pub(super) fn published(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for forwarding in
        forwardings(&facts.ruleset).iter().filter(|forwarding| forwarding.leads_elsewhere(facts))
    {
        let ports = forwarding.ports().into_iter();
        findings.extend(ports.filter_map(|(protocol, port)| of_published(facts, forwarding, protocol, port)));
    }
    findings.dedup_by(|one, other| one.found == other.found);
    findings
}

fn of_published(
    facts: &Facts,
    forwarding: &Forwarding<'_>,
    protocol: &'static str,
    port: u16,
) -> Option<Finding> {
    let to = forwarding.to.unwrap_or_default();
    let inner = forwarding.to_port.unwrap_or(port);
    if let Some(Port { door, .. }) = facts.guard_of(protocol, port) {
        let found = format!("{port}/{protocol} leads to {to} and is guarded by door {door}");
        return Some(Finding::note(
            "published-and-guarded",
            found,
            "all is well: doors guard published ports too",
        ));
    }
    if let Some(Port { door, .. }) = facts.guard_of(protocol, inner) {
        let found = format!("{port}/{protocol} is published to port {inner} of {to}, and no door guards it");
        let why = format!(
            "ports are guarded as the client sees them: if door {door} is for that service, whoever connects to {port} \
             comes to it without a knock"
        );
        let remedy = format!("in [{door}] of {}: open = {port}/{protocol}", facts.config_path);
        return Some(Finding::warning("published-unguarded", found, why).with(remedy));
    }
    let packet = facts.stranger(protocol, port, to.contains(':'));
    if facts.ruleset.fate(&packet, &TO_US).verdict == Verdict::Accept {
        return None;
    }
    let found = format!(
        "{port}/{protocol} is published (\"{}\" in chain {}) although the firewall drops it for this machine",
        forwarding.text, forwarding.chain
    );
    let why = "what is published goes round the chain INPUT: it is open to everybody, whatever INPUT drops";
    Some(
        Finding::warning("published-unguarded", found, why)
            .with(format!("publish it for this machine alone: docker run -p 127.0.0.1:{port}:…"))
            .with(format!("or let a door open it, in {}: open = {port}/{protocol}", facts.config_path)),
    )
}
