//! The machine's own firewall, as far as it says who gets in.
//!
//! Of each rule we know what it does with a packet and whether it does so with every packet; not what else it looks
//! for. So what is found out errs to one side: a chain may seem to drop what it lets in, never the other way round.

mod legacy;
mod native;

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use crate::Error;
use crate::iptables::{Iptables, Version};
use crate::nft::{Family, Link};

/// All tables that filter, but for our own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// The tables.
    pub tables: Vec<Table>,
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Who made it, and so who can change it.
    pub maker: Maker,
    /// Its name.
    pub name: String,
    /// Its chains by their names.
    pub chains: BTreeMap<String, Chain>,
}

/// Who made a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// Nftables, or a program of the iptables family that works through it.
    Nftables {
        /// `NFPROTO_INET`, `NFPROTO_IPV4`, `NFPROTO_IPV6` or `NFPROTO_NETDEV`.
        family: u8,
        /// Whether a program holds it and lets nobody else change it (`flags owner`).
        owned: bool,
    },
    /// `iptables-legacy`.
    Iptables,
    /// `ip6tables-legacy`.
    Ip6tables,
}

/// A chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where the kernel calls it, for one that it does.
    pub base: Option<Base>,
    /// Its rules in their order.
    pub rules: Vec<Rule>,
}

/// Where the kernel calls a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Base {
    /// What the packets are.
    pub hook: Hook,
    /// Its place among the chains there; lower ones come first.
    pub priority: i32,
    /// Whether a packet that no rule decides on is dropped.
    pub drops: bool,
}

/// What the packets of a chain are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// For this machine.
    Input,
    /// For another machine, as those for published ports of containers.
    Forward,
    /// Everything that has come.
    Prerouting,
    /// Everything that has come, before anything else sees it.
    Ingress,
    /// What this machine sends.
    Leaving,
}

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The kernel's number for it; in iptables-legacy its place, from 1.
    pub handle: u64,
    /// What it does.
    pub does: Does,
    /// Whether it does so with every packet.
    pub always: bool,
    /// The bits of the packet mark, for a rule that accepts packets for being marked and looks at nothing else.
    pub accepts_mark: Option<u32>,
    /// Whether it accepts packets of established connections.
    pub accepts_established: bool,
    /// Its comment.
    pub comment: Option<String>,
}

/// What a rule does with a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Does {
    /// Lets it through this chain's hook at this priority.
    Accept,
    /// Drops or rejects it, or may.
    Drop,
    /// Ends the chain.
    Return,
    /// Goes through another chain, then on.
    Jump(String),
    /// Goes on in another chain.
    Goto(String),
    /// Nothing that decides.
    Nothing,
}

/// The comment of the rules that are ours.
pub const COMMENT: &str = "knockd";

impl Rule {
    /// Whether it is a rule that the daemon put there, for whatever mark.
    pub fn is_ours(&self) -> bool {
        self.accepts_mark.is_some() && self.comment.as_deref() == Some(COMMENT)
    }
}

/// What becomes of a marked packet in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// A rule accepts it for its mark before any could drop it.
    AcceptedForItsMark,
    /// Nothing drops it.
    Passes,
    /// It may be dropped.
    MayBeDropped,
}

impl Table {
    /// What becomes of a packet with these bits of the mark that comes to one of this table's base chains.
    pub fn fate(&self, chain: &str, mark: u32) -> Fate {
        match self.walk(chain, mark, &mut HashSet::new()) {
            Some(fate) => fate,
            None if self.base(chain).is_some_and(|base| base.drops) => Fate::MayBeDropped,
            None => Fate::Passes,
        }
    }

    /// Whether it is one of iptables-legacy, whose changes the kernel tells nobody of.
    pub fn is_legacy(&self) -> bool {
        matches!(self.maker, Maker::Iptables | Maker::Ip6tables)
    }

    /// Where the kernel calls a chain.
    pub fn base(&self, chain: &str) -> Option<Base> {
        self.chains.get(chain)?.base
    }

    /// Whether every packet that comes to a chain goes through another one of the table before any could be dropped.
    pub fn reaches(&self, chain: &str, other: &str) -> bool {
        let rules = self.chains.get(chain).map(|chain| chain.rules.as_slice()).unwrap_or_default();
        let may_drop = |to| self.walk(to, 0, &mut HashSet::new()) == Some(Fate::MayBeDropped);
        for rule in rules {
            match &rule.does {
                Does::Jump(to) | Does::Goto(to) if to == other && rule.always => return true,
                Does::Jump(to) if may_drop(to) => return false,
                Does::Goto(_) | Does::Drop => return false,
                Does::Accept | Does::Return if rule.always => return false,
                Does::Jump(_) | Does::Accept | Does::Return | Does::Nothing => {}
            }
        }
        false
    }

    /// `None` where no rule decides. Only what happens to every packet decides for the better.
    fn walk<'t>(&'t self, chain: &'t str, mark: u32, seen: &mut HashSet<&'t str>) -> Option<Fate> {
        // Whoever comes back to a chain has found nothing new in it.
        if !seen.insert(chain) {
            return None;
        }
        for rule in &self.chains.get(chain)?.rules {
            if rule.accepts_mark == Some(mark) {
                return Some(Fate::AcceptedForItsMark);
            }
            let fate = match &rule.does {
                Does::Drop => Some(Fate::MayBeDropped),
                Does::Accept => Some(Fate::Passes),
                Does::Jump(to) | Does::Goto(to) => self.walk(to, mark, seen),
                Does::Return | Does::Nothing => None,
            };
            if fate == Some(Fate::MayBeDropped) || rule.always && fate.is_some() {
                return fate;
            }
            if rule.always && matches!(rule.does, Does::Return | Does::Goto(_)) {
                return None;
            }
        }
        None
    }
}

/// As `nft` names it, or as the program that made it.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let family = match self.maker {
            Maker::Nftables { family, .. } => Family(family).name(),
            Maker::Iptables => "iptables-legacy",
            Maker::Ip6tables => "ip6tables-legacy",
        };
        write!(f, "{family} {}", self.name)
    }
}

/// Reads everything that filters.
///
/// # Errors
/// Where the kernel cannot be asked, or `iptables-legacy` fails while it is in use.
pub fn read() -> Result<Ruleset, Error> {
    read_with(&mut Link::open()?, &Iptables::new())
}

pub(crate) fn read_with(link: &mut Link, iptables: &Iptables) -> Result<Ruleset, Error> {
    let mut tables = native::tables(link)?;
    for version in [Version::V4, Version::V6] {
        tables.extend(legacy::table(version, iptables)?);
    }
    Ok(Ruleset { tables })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: u32 = 0x1000_0000;

    fn rule(does: Does, always: bool) -> Rule {
        Rule { handle: 0, does, always, accepts_mark: None, accepts_established: false, comment: None }
    }

    fn ours() -> Rule {
        Rule { accepts_mark: Some(MARK), comment: Some(COMMENT.into()), ..rule(Does::Accept, false) }
    }

    fn table(chains: &[(&str, &[Rule])], drops: bool) -> Table {
        let base = |name: &str| (name == "input").then_some(Base { hook: Hook::Input, priority: 0, drops });
        let chains = chains
            .iter()
            .map(|(name, rules)| ((*name).to_owned(), Chain { base: base(name), rules: rules.to_vec() }))
            .collect();
        Table { maker: Maker::Iptables, name: "filter".into(), chains }
    }

    #[test]
    fn the_first_that_may_decide_counts() {
        let jump = |to: &str, always| rule(Does::Jump(to.into()), always);
        let goto = |to: &str, always| rule(Does::Goto(to.into()), always);
        let dropping = [rule(Does::Drop, false)];
        let accepting = [ours()];
        for (input, drops, expected) in [
            (vec![], false, Fate::Passes),
            (vec![], true, Fate::MayBeDropped),
            (vec![rule(Does::Accept, false)], true, Fate::MayBeDropped),
            (vec![rule(Does::Accept, true)], true, Fate::Passes),
            (vec![rule(Does::Drop, false)], false, Fate::MayBeDropped),
            (vec![ours(), rule(Does::Drop, true)], true, Fate::AcceptedForItsMark),
            (vec![rule(Does::Drop, false), ours()], false, Fate::MayBeDropped),
            (vec![jump("dropping", false), ours()], false, Fate::MayBeDropped),
            (vec![jump("accepting", true), jump("dropping", true)], false, Fate::AcceptedForItsMark),
            (vec![jump("accepting", false), jump("dropping", true)], false, Fate::MayBeDropped),
            (vec![jump("nowhere", true), ours()], true, Fate::AcceptedForItsMark),
            (vec![jump("input", true), ours()], true, Fate::AcceptedForItsMark),
            (vec![goto("empty", true), ours()], true, Fate::MayBeDropped),
            (vec![rule(Does::Return, true), rule(Does::Drop, true)], false, Fate::Passes),
            (vec![rule(Does::Return, false), rule(Does::Drop, true)], false, Fate::MayBeDropped),
        ] {
            let chains =
                [("input", &input[..]), ("dropping", &dropping), ("accepting", &accepting), ("empty", &[])];
            assert_eq!(
                table(&chains, drops).fate("input", MARK),
                expected,
                "{input:?}, policy drops: {drops}"
            );
        }
    }
}
