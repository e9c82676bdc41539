//! The packet filter: does it keep strangers out, let in whom a door lets in, and let connections go on?

use super::forwarding::{forwardings, published, ways_around};
use super::open::{reachable, tried};
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Section};
use crate::doctor::ports::Port;
use crate::doctor::remedy;
use crate::doctor::rules::walk::{Fate, Packet, Place, Verdict};
use crate::doctor::rules::{Action, Base, Chain, Condition, Hook, Rule, Ruleset, What};

/// What comes in for this machine, and what is passed on to others.
pub(super) const TO_US: [Hook; 2] = [Hook::Prerouting, Hook::Input];
const TO_OTHERS: [Hook; 2] = [Hook::Prerouting, Hook::Forward];

/// Of the packet filter.
pub(crate) fn examine(facts: &Facts) -> Section {
    let mut findings: Vec<_> = facts.filter_troubles.iter().map(unreadable).collect();
    findings.extend(established(facts));
    findings.extend(marked(facts));
    findings.extend(told_of_rules(facts));
    findings.extend(neighbours(facts));
    findings.extend(ways_around(facts));
    findings.extend(reachable(facts));
    findings.extend(published(facts));
    findings.extend(tried(facts));
    findings.extend(facts.not_tried.as_ref().map(not_tried));
    let guarded = facts.guarded_in_words();
    let well = match (guarded.is_empty(), facts.reached.is_empty()) {
        (true, _) => "connections go on when a door closes".to_owned(),
        (_, true) => format!("{guarded} closed until a knock, and connections go on"),
        (_, false) => format!("{guarded} closed until a knock (tried), and connections go on"),
    };
    Section { title: "Firewall", well, findings }
}

fn unreadable(trouble: &String) -> Finding {
    let why = "what it drops and accepts is not known here";
    Finding::warning("firewall-unreadable", format!("the packet filter cannot be read: {trouble}"), why)
        .with("apt install nftables")
}

fn not_tried(why: &String) -> Finding {
    let found = format!("guarded ports were not connected to: {why}");
    Finding::note("not-tried", found, "that they are closed was read from the rules alone")
}

/// What a port's packets look like, for each family in which there is such a port.
pub(super) fn packets(facts: &Facts, port: &Port) -> Vec<Packet> {
    let families =
        [(false, port.target.is_none_or(|target| target.is_ipv4())), (true, port.ipv6 && facts.has_ipv6())];
    let packet = |(ipv6, _)| facts.stranger(port.protocol_name(), port.first, ipv6);
    families.into_iter().filter(|(_, is)| *is).map(packet).collect()
}

/// Where a port's packets go: to this machine, or to another, there to this port.
pub(super) fn way(facts: &Facts, port: &Port, ipv6: bool) -> (&'static [Hook], u16) {
    let forwarded = forwardings(&facts.ruleset).into_iter().find(|forwarding| {
        forwarding.is_for(ipv6)
            && forwarding.leads_elsewhere(facts)
            && forwarding.takes(port.protocol_name(), port.first)
    });
    match (forwarded, port.target) {
        (Some(forwarding), _) => (&TO_OTHERS, forwarding.to_port.unwrap_or(port.first)),
        (None, Some(_)) => (&TO_OTHERS, port.first),
        (None, None) => (&TO_US, port.first),
    }
}

/// Whether established connections go on. Of doors whose ports are not known, SSH's port is asked for.
fn established(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut told: Vec<String> = Vec::new();
    for port in facts.ports_or_ssh() {
        for packet in packets(facts, &port) {
            let (hooks, to_port) = way(facts, &port, packet.ipv6);
            let packet = Packet { established: true, port: to_port, ..packet };
            let fate = facts.ruleset.fate(&packet, hooks);
            let (Verdict::Drop, Some(place)) = (fate.verdict, fate.by) else { continue };
            if fate
                .perhaps
                .iter()
                .any(|(verdict, place)| *verdict == Verdict::Accept && is_about_state(place))
                || told.contains(&place.base.to_string())
            {
                continue;
            }
            told.push(place.base.to_string());
            let found = format!(
                "{} drops packets of connections that are made already ({}/{}, by {place})",
                place.base, port.first, port.protocol
            );
            let why = "a session that came in through a door stands still as soon as the door closes: nothing accepts \
                       established connections before that";
            let finding = Finding::problem("no-established-rule", found, why);
            let remedy = match place.base.base.is_some_and(Base::is_before_tracking) {
                true => remedy::spare(place.base, &port),
                false => remedy::accept_established(place.base),
            };
            findings.push(remedy.into_iter().fold(finding, Finding::with));
        }
    }
    findings
}

fn is_about_state(place: &Place<'_>) -> bool {
    let asks = |what: &What| matches!(what, What::State(_) | What::Flags { .. });
    place.rule.is_some_and(|rule| rule.conditions.iter().any(|condition| asks(&condition.what)))
}

/// Whether packets with the mark come through.
fn marked(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let mut told: Vec<String> = Vec::new();
    for port in facts.guarded() {
        for packet in packets(facts, port) {
            let (hooks, to_port) = way(facts, port, packet.ipv6);
            // Rewriting comes between the two hooks.
            let (before, behind) = hooks.split_at(1);
            let first = Packet { mark: facts.mark(), ..packet.clone() };
            let second = Packet { port: to_port, ..first.clone() };
            let fates = [facts.ruleset.fate(&first, before), facts.ruleset.fate(&second, behind)];
            let Some((fate, place)) = fates.iter().find_map(dropping) else { continue };
            // What is passed on goes through rules that name interfaces and addresses: those of Docker accept its ports.
            if hooks == TO_OTHERS && fate.perhaps.iter().any(|(verdict, _)| *verdict == Verdict::Accept) {
                continue;
            }
            if told.contains(&place.to_string()) {
                continue;
            }
            told.push(place.to_string());
            findings.extend(dropped_although_marked(facts, port, &place));
        }
    }
    findings
}

fn dropping<'f, 'a>(fate: &'f Fate<'a>) -> Option<(&'f Fate<'a>, Place<'a>)> {
    fate.by.filter(|_| fate.verdict == Verdict::Drop).map(|place| (fate, place))
}

fn dropped_although_marked(facts: &Facts, port: &Port, place: &Place<'_>) -> Option<Finding> {
    let Port { door, .. } = port;
    let base = place.base;
    let early = base.base.is_some_and(|base| base.hook == Hook::Prerouting);
    if early {
        let found = format!("{base} drops {port} for everybody, before the accept rule counts ({place})");
        let why = format!("door {door} opens and still nobody comes in");
        let finding = Finding::problem("dropped-early", found, why);
        return Some(remedy::spare(base, port).into_iter().fold(finding, Finding::with));
    }
    let finding = match accepts_mark(&facts.ruleset, base, facts.mark()) {
        true => {
            let found = format!(
                "{base} drops {port} before it comes to the rule that accepts whom a door lets in ({place})"
            );
            Finding::problem(
                "drop-before-accept",
                found,
                format!("door {door} opens and still nobody comes in"),
            )
        }
        // It is put there at the start.
        false if facts.keeps_accept_rule() && !facts.is_running() => return None,
        // The daemon says why it is not there.
        false if told_of_rules(facts).iter().any(|told| told.name == "accept-rule-refused") => return None,
        false => {
            let found =
                format!("{base} has no rule that accepts whom a door lets in, and drops {port} ({place})");
            let why = match facts.keeps_accept_rule() {
                true => format!(
                    "door {door} opens and still nobody comes in, and knockd has not put the rule there"
                ),
                false => format!(
                    "door {door} opens and still nobody comes in; with accept_rule = none the rule is yours"
                ),
            };
            Finding::problem("no-accept-rule", found, why)
        }
    };
    Some(remedy::accept_marked(base, facts.mark(), port).into_iter().fold(finding, Finding::with))
}

/// Whether a chain, or one that it leads to, accepts the mark.
fn accepts_mark(ruleset: &Ruleset, base: &Chain, mark: u32) -> bool {
    let accepts = |rule: &Rule| {
        let asks =
            |condition: &Condition| matches!(condition.what, What::Mark { value, .. } if value == mark);
        rule.action == Action::Accept && rule.conditions.iter().any(asks)
    };
    ruleset.reached_from(base).iter().flat_map(|chain| &chain.rules).any(accepts)
}

/// What the daemon itself says of the places where its rule is to be.
fn told_of_rules(facts: &Facts) -> Vec<Finding> {
    use knock_core::control::AcceptState;
    if !facts.keeps_accept_rule() {
        return Vec::new();
    }
    let rules =
        facts.status().and_then(|status| status.native.as_ref()).map(|native| native.accept_rules.as_slice());
    let rule = |accept: &knock_core::control::Accept| {
        let knock_core::control::Accept { place, state, message } = accept;
        let why = "whom a door lets in may be dropped there";
        match (state, message) {
            (AcceptState::Failed, message) => {
                let finding = Finding::problem(
                    "accept-rule-refused",
                    format!("knockd could not put the rule that accepts whom a door lets in into {place}"),
                    why,
                );
                Some(message.iter().fold(finding, |finding, message| finding.with(message)))
            }
            (AcceptState::InPlace, Some(message)) => {
                let found =
                    format!("the rule that accepts whom a door lets in was missing in {place}: {message}");
                let why = "from the firewall's reload until then nobody could come in by a door; \
                           put the rule into the firewall's own file, and it is never missing";
                Some(Finding::note("accept-rule-put-back", found, why))
            }
            _ => None,
        }
    };
    rules.unwrap_or_default().iter().filter_map(rule).collect()
}

/// Whether the machine can be found by IPv6 at all (RFC 4861).
fn neighbours(facts: &Facts) -> Option<Finding> {
    if !facts.has_ipv6() || facts.ports_or_ssh().is_empty() {
        return None;
    }
    let fate = facts.ruleset.fate(&facts.stranger("ipv6-icmp", 0, true), &TO_US);
    let (Verdict::Drop, Some(place)) = (fate.verdict, fate.by) else { return None };
    if fate.perhaps.iter().any(|(verdict, _)| *verdict == Verdict::Accept) {
        return None;
    }
    let found = format!("{} drops all ICMPv6 ({place})", place.base);
    let why = "neighbours are found by it: without it nothing comes in by IPv6, no knock either";
    let finding = Finding::warning("no-icmpv6", found, why);
    Some(remedy::accept_icmpv6(place.base).into_iter().fold(finding, Finding::with))
}
