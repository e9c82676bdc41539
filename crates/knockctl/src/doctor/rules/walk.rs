//! What becomes of a packet, and which rule decides.

use std::fmt;

use super::{Action, Base, Chain, Condition, Family, Hook, Rule, Ruleset, What};

/// Chains that jump further than this are not followed; the kernel allows 16.
const DEPTH: usize = 16;
/// So many steps at most: chains that jump to each other multiply.
const STEPS: usize = 200_000;
/// The priority of the daemon's chain at prerouting: what comes after it sees the mark.
pub(crate) const OURS: i32 = -150;

/// A packet that somebody elsewhere sends to this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) ipv6: bool,
    /// `tcp`, `udp` or `ipv6-icmp`.
    pub(crate) protocol: &'static str,
    pub(crate) port: u16,
    /// It belongs to a connection that is made.
    pub(crate) established: bool,
    /// Connection tracking has seen it.
    pub(crate) tracked: bool,
    /// The bits of the mark that the daemon's table sets.
    pub(crate) mark: u32,
    /// The interface that it comes in by, where that is known.
    pub(crate) interface: Option<String>,
}

/// What becomes of it.
#[derive(Clone, Debug)]
pub(crate) struct Fate<'a> {
    pub(crate) verdict: Verdict,
    /// What decides; `None` where there is no chain at all.
    pub(crate) by: Option<Place<'a>>,
    /// What would decide for some packets of this kind.
    pub(crate) perhaps: Vec<(Verdict, Place<'a>)>,
}

/// Whether it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accept,
    Drop,
}

/// A rule, or the policy of a chain where it has none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    /// The chain at whose beginning the walk started.
    pub(crate) base: &'a Chain,
    /// The chain that the rule stands in.
    pub(crate) chain: &'a Chain,
    pub(crate) rule: Option<&'a Rule>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            Some(rule) => write!(f, "\"{}\" in chain {}", rule.text, self.chain),
            None => write!(f, "the policy of chain {}", self.chain),
        }
    }
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Yes,
    No,
    Maybe,
}

impl From<bool> for Holds {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}

/// How a chain ends for a packet.
enum End<'a> {
    Decided(Verdict, Place<'a>),
    Through,
}

impl Ruleset {
    /// What becomes of a packet at these hooks. The first drop counts; an acceptance is one of its chain only.
    pub(crate) fn fate(&self, packet: &Packet, hooks: &[Hook]) -> Fate<'_> {
        let mut fate = Fate { verdict: Verdict::Accept, by: None, perhaps: Vec::new() };
        for (base, chain) in self.bases(packet, hooks) {
            let mut walk = Walk { ruleset: self, base: chain, perhaps: Vec::new(), steps: 0 };
            let packet = seen(packet, base);
            let end = walk.chain(chain, &packet, 0);
            fate.perhaps.append(&mut walk.perhaps);
            let policy = Place { base: chain, chain, rule: None };
            let (verdict, place) = match end {
                End::Decided(verdict, place) => (verdict, place),
                End::Through if base.drops => (Verdict::Drop, policy),
                End::Through => (Verdict::Accept, policy),
            };
            if verdict == Verdict::Drop {
                return Fate { verdict, by: Some(place), ..fate };
            }
            if !matches!(fate.by, Some(Place { rule: Some(_), .. })) || place.rule.is_some() {
                fate.by = Some(place);
            }
        }
        fate
    }

    /// The chains that filter such packets, in the kernel's order.
    fn bases(&self, packet: &Packet, hooks: &[Hook]) -> Vec<(Base, &Chain)> {
        let fits = |family| match family {
            Family::Inet => true,
            Family::Ip => !packet.ipv6,
            Family::Ip6 => packet.ipv6,
        };
        let bases = self.chains.iter().filter_map(|chain| chain.base.map(|base| (base, chain)));
        let mut bases: Vec<_> = bases
            .filter(|(base, chain)| !base.nat && fits(chain.family) && hooks.contains(&base.hook))
            .collect();
        bases.sort_by_key(|(base, _)| (base.hook, base.priority));
        bases
    }

    /// A chain, and all that it leads to.
    pub(crate) fn reached_from<'a>(&'a self, base: &'a Chain) -> Vec<&'a Chain> {
        let mut reached = vec![base];
        let mut at = 0;
        while let Some(chain) = reached.get(at).copied() {
            at += 1;
            for rule in &chain.rules {
                if let Action::Jump(name) | Action::Goto(name) = &rule.action
                    && let Some(target) = self.beside(chain, name)
                    && !reached.iter().any(|known| std::ptr::eq(*known, target))
                {
                    reached.push(target);
                }
            }
        }
        reached
    }

    /// A chain of the same table.
    fn beside(&self, chain: &Chain, name: &str) -> Option<&Chain> {
        self.chains.iter().find(|other| {
            other.name == name
                && other.table == chain.table
                && other.family == chain.family
                && other.tool == chain.tool
        })
    }
}

/// The packet as a chain sees it: before the daemon's own, without the mark.
fn seen(packet: &Packet, base: Base) -> Packet {
    let before = base.hook == Hook::Prerouting && base.priority < OURS;
    let mark = if before { 0 } else { packet.mark };
    Packet { mark, tracked: !base.is_before_tracking(), ..packet.clone() }
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    base: &'a Chain,
    perhaps: Vec<(Verdict, Place<'a>)>,
    steps: usize,
}

impl<'a> Walk<'a> {
    fn chain(&mut self, chain: &'a Chain, packet: &Packet, depth: usize) -> End<'a> {
        for rule in &chain.rules {
            self.steps += 1;
            if depth > DEPTH || self.steps > STEPS {
                return End::Through;
            }
            let holds = all(&rule.conditions, packet);
            if holds == Holds::No {
                continue;
            }
            let place = Place { base: self.base, chain, rule: Some(rule) };
            let (end, leaves) = self.act(rule, place, packet, depth);
            match (holds, end) {
                (Holds::Yes, Some(end)) => return end,
                (Holds::Yes, None) if leaves => return End::Through,
                (_, Some(End::Decided(verdict, place))) => self.perhaps.push((verdict, place)),
                _ => {}
            }
        }
        End::Through
    }

    /// What the rule decides, if it does, and else whether its chain is left.
    fn act(
        &mut self,
        rule: &'a Rule,
        place: Place<'a>,
        packet: &Packet,
        depth: usize,
    ) -> (Option<End<'a>>, bool) {
        let decided = |verdict| (Some(End::Decided(verdict, place)), false);
        match &rule.action {
            Action::Accept => decided(Verdict::Accept),
            Action::Drop | Action::Reject => decided(Verdict::Drop),
            Action::Return => (None, true),
            Action::Jump(name) | Action::Goto(name) => {
                let leaves = matches!(rule.action, Action::Goto(_));
                let Some(target) = self.ruleset.beside(place.chain, name) else { return (None, false) };
                match self.chain(target, packet, depth + 1) {
                    End::Through => (None, leaves),
                    end => (Some(end), leaves),
                }
            }
            Action::Other => {
                self.perhaps.push((Verdict::Drop, place));
                (None, false)
            }
            Action::Forward { .. } | Action::Pass => (None, false),
        }
    }
}

fn all(conditions: &[Condition], packet: &Packet) -> Holds {
    let mut result = Holds::Yes;
    for condition in conditions {
        match one(condition, packet) {
            Holds::No => return Holds::No,
            Holds::Maybe => result = Holds::Maybe,
            Holds::Yes => {}
        }
    }
    result
}

fn one(condition: &Condition, packet: &Packet) -> Holds {
    match (asked(&condition.what, packet), condition.negated) {
        (Holds::Yes, true) => Holds::No,
        (Holds::No, true) => Holds::Yes,
        (holds, _) => holds,
    }
}

fn asked(what: &What, packet: &Packet) -> Holds {
    match what {
        What::Interface(names) => match &packet.interface {
            Some(interface) => names.iter().any(|name| is_named(name, interface)).into(),
            None if names.iter().all(|name| name == "lo") => Holds::No,
            None => Holds::Maybe,
        },
        What::Ipv6(ipv6) => (*ipv6 == packet.ipv6).into(),
        What::Protocol(names) => names.iter().any(|name| is_protocol(name, packet.protocol)).into(),
        What::Port(ranges) => ranges.iter().any(|range| range.contains(&packet.port)).into(),
        What::State(states) => {
            let state = match (packet.tracked, packet.established) {
                // What both tools call it there.
                (false, _) => "invalid",
                (true, true) => "established",
                (true, false) => "new",
            };
            states.iter().any(|wanted| wanted.eq_ignore_ascii_case(state)).into()
        }
        What::Mark { mask, value } => (packet.mark & mask == *value).into(),
        What::Flags { mask, value } => match packet.protocol {
            "tcp" => {
                let flags = if packet.established { 0x10 } else { 0x02 };
                value.map_or(flags & mask != 0, |value| flags & mask == value).into()
            }
            _ => Holds::No,
        },
        What::Always(holds) => (*holds).into(),
        What::Other => Holds::Maybe,
    }
}

fn is_protocol(name: &str, protocol: &str) -> bool {
    name == protocol || name == "all" || (protocol == "ipv6-icmp" && name == "icmpv6")
}

fn is_named(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => pattern == name,
    }
}
