//! The rule that accepts marked packets, in the chains of the machine's own firewall that drop.
//!
//! It stands before whatever may drop. Whoever made the table finds it with their own tools: it is put there through
//! nftables, or by the program of the iptables family that made the table.

use std::collections::HashSet;
use std::fmt;

use crate::Error;
use crate::error::Reason;
use crate::iptables::{self, Iptables, Kind, Version};
use crate::nft::expression::Verdict;
use crate::nft::{Family, Link};
use crate::ruleset::{self, COMMENT, Fate, Hook, Maker, Rule, Ruleset, Table};

/// A chain of the machine's firewall that marked packets come through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which: `inet filter input`, `iptables-legacy filter INPUT`.
    pub place: String,
    /// How it stands with the rule there.
    pub state: State,
    /// What is to be said about it: where the rule is missing, what to do.
    pub message: Option<String>,
}

/// How it stands with the rule in a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is there, before whatever drops.
    Present,
    /// It was missing and has been put there just now.
    Added,
    /// It is missing, and what is marked may be dropped.
    Missing,
    /// Nothing drops there.
    NotNeeded,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Present => "present",
            Self::Added => "added",
            Self::Missing => "missing",
            Self::NotNeeded => "not needed",
        })
    }
}

/// How it stands with the rule for this bit of the mark, in all chains of input and forward. Changes nothing.
///
/// # Errors
/// As [`ruleset::read`].
pub fn look(mark: u32) -> Result<Vec<Place>, Error> {
    Ok(places(&ruleset::read()?, mark).into_iter().map(|spot| spot.described(mark)).collect())
}

/// Takes all rules away that were put into the machine's firewall, of whatever bit of the mark; tells how many.
///
/// # Errors
/// As [`ruleset::read`], and where a rule cannot be deleted; the others are gone then.
pub fn remove_all() -> Result<usize, Error> {
    let mut keeper = Keeper::open(0, Iptables::new())?;
    let rules = keeper.read()?;
    let mut result = Ok(0);
    for (table, chain, found) in ours(&rules, |_, _, _| true) {
        match keeper.delete(table, chain, &found) {
            Ok(()) => result = result.map(|count: usize| count + found.len()),
            Err(error) => result = Err(error),
        }
    }
    result
}

/// A base chain, and where in it the rule belongs.
struct Spot<'r> {
    table: &'r Table,
    chain: &'r str,
    fate: Fate,
}

fn places(rules: &Ruleset, mark: u32) -> Vec<Spot<'_>> {
    let mut spots = Vec::new();
    for table in &rules.tables {
        for (chain, found) in &table.chains {
            let concerned = found.base.is_some_and(|base| matches!(base.hook, Hook::Input | Hook::Forward));
            if concerned {
                spots.push(Spot { table, chain, fate: table.fate(chain, mark) });
            }
        }
    }
    spots
}

impl<'r> Spot<'r> {
    fn name(&self) -> String {
        format!("{} {}", self.table, self.chain)
    }

    fn described(&self, mark: u32) -> Place {
        let (state, message) = match self.fate {
            Fate::AcceptedForItsMark => (State::Present, None),
            Fate::Passes => (State::NotNeeded, None),
            Fate::MayBeDropped => (State::Missing, Some(self.what_to_type(mark))),
        };
        Place { place: self.name(), state, message }
    }

    /// Docker empties its other chains whenever it starts, and asks that rules be put into this one.
    fn target(&self) -> &'r str {
        const DOCKERS: &str = "DOCKER-USER";
        if self.chain == "FORWARD" && self.table.reaches(self.chain, DOCKERS) { DOCKERS } else { self.chain }
    }

    fn what_to_type(&self, mark: u32) -> String {
        let (table, chain) = (&self.table.name, self.target());
        match self.program() {
            Some((kind, version)) => {
                let program = iptables::name(kind, version);
                format!("{program} {}", rule_command("-I", chain, &bits(mark)).join(" "))
            }
            None => format!(
                "nft 'insert rule {} {table} {chain} meta mark & {mark:#x} == {mark:#x} accept comment {COMMENT}'",
                self.family().name()
            ),
        }
    }

    fn family(&self) -> Family {
        match self.table.maker {
            Maker::Nftables { family, .. } => Family(family),
            Maker::Iptables => Family::IPV4,
            Maker::Ip6tables => Family::IPV6,
        }
    }

    /// Which program made the table, as far as its shape tells.
    fn program(&self) -> Option<(Kind, Version)> {
        let made = self.table.name == "filter" && matches!(self.chain, "INPUT" | "FORWARD");
        match self.table.maker {
            Maker::Iptables => Some((Kind::Legacy, Version::V4)),
            Maker::Ip6tables => Some((Kind::Legacy, Version::V6)),
            Maker::Nftables { family, .. } if made && Family(family) == Family::IPV4 => {
                Some((Kind::Nftables, Version::V4))
            }
            Maker::Nftables { family, .. } if made && Family(family) == Family::IPV6 => {
                Some((Kind::Nftables, Version::V6))
            }
            Maker::Nftables { .. } => None,
        }
    }
}

fn bits(mark: u32) -> String {
    format!("{mark:#x}/{mark:#x}")
}

/// What the iptables family is told.
fn rule_command<'a>(what: &'a str, chain: &'a str, bits: &'a str) -> [&'a str; 12] {
    [what, chain, "-m", "mark", "--mark", bits, "-m", "comment", "--comment", COMMENT, "-j", "ACCEPT"]
}

/// Some rules of a chain.
type Rules<'r> = (&'r Table, &'r str, Vec<&'r Rule>);

/// Of ours, those of another mark, and in each chain all but the first.
fn stale(rules: &Ruleset, mark: u32) -> Vec<Rules<'_>> {
    let mut kept = HashSet::new();
    // The keys tell tables of one name apart by their makers.
    ours(rules, |table, chain, rule| {
        let doubled = !kept.insert(format!("{table} {chain} {:?}", rule.accepts_mark));
        // Of two equal rules, iptables-legacy deletes the first.
        rule.accepts_mark != Some(mark) || doubled && !table.is_legacy()
    })
}

fn ours(rules: &Ruleset, mut wanted: impl FnMut(&Table, &str, &Rule) -> bool) -> Vec<Rules<'_>> {
    let mut found = Vec::new();
    for table in &rules.tables {
        for (name, chain) in &table.chains {
            let ours = chain.rules.iter().filter(|rule| rule.is_ours() && wanted(table, name, rule));
            let ours: Vec<_> = ours.collect();
            if !ours.is_empty() {
                found.push((table, name.as_str(), ours));
            }
        }
    }
    found
}

/// Puts the rule where it is missing.
pub(crate) struct Keeper {
    link: Link,
    iptables: Iptables,
    mark: u32,
}

/// What a check has found and done.
pub(crate) struct Checked {
    pub(crate) places: Vec<Place>,
    /// Whether a firewall is in use whose changes nobody is told of.
    pub(crate) silent: bool,
}

impl Keeper {
    pub(crate) fn open(mark: u32, iptables: Iptables) -> Result<Self, Error> {
        Ok(Self { link: Link::open()?, iptables, mark })
    }

    fn read(&mut self) -> Result<Ruleset, Error> {
        ruleset::read_with(&mut self.link, &self.iptables)
    }

    /// Looks at all chains, puts the rule where it is missing, and takes away those that are of no use any more.
    pub(crate) fn check(&mut self) -> Result<Checked, Error> {
        let rules = self.read()?;
        let silent = rules.tables.iter().any(Table::is_legacy);
        let mut found = Vec::new();
        for spot in places(&rules, self.mark) {
            let mut place = spot.described(self.mark);
            if spot.fate == Fate::MayBeDropped {
                match self.put(&spot) {
                    Ok(()) => (place.state, place.message) = (State::Added, None),
                    Err(why) => place.message = Some(why),
                }
            }
            found.push(place);
        }
        if found.iter().any(|place| place.state == State::Added) || !stale(&rules, self.mark).is_empty() {
            self.tidy();
        }
        Ok(Checked { places: found, silent })
    }

    /// Failing is no harm: these rules let nobody in who has no grant.
    fn tidy(&mut self) {
        // Read again: which is the first has changed.
        let Ok(rules) = self.read() else { return };
        for (table, chain, found) in stale(&rules, self.mark) {
            let _ = self.delete(table, chain, &found);
        }
    }

    fn put(&mut self, spot: &Spot<'_>) -> Result<(), String> {
        let bits = bits(self.mark);
        let Some((kind, version)) = spot.program() else { return self.insert(spot) };
        if kind == Kind::Legacy {
            self.clear_the_way(spot);
        }
        match self.iptables.run(kind, version, &rule_command("-I", spot.target(), &bits)) {
            Ok(_) => Ok(()),
            // It has been made by hand to look like theirs, or their programs are gone.
            Err(_) if kind == Kind::Nftables => self.insert(spot),
            Err(error) => Err(format!("{error}; type: {}", spot.what_to_type(self.mark))),
        }
    }

    /// Deletes what stands too far behind: of two equal rules, iptables-legacy would delete the one that is to stay.
    fn clear_the_way(&mut self, spot: &Spot<'_>) {
        let rules =
            spot.table.chains.get(spot.target()).map(|chain| chain.rules.as_slice()).unwrap_or_default();
        let ours: Vec<_> = rules.iter().filter(|rule| rule.is_ours()).collect();
        let _ = self.delete(spot.table, spot.target(), &ours);
    }

    fn insert(&mut self, spot: &Spot<'_>) -> Result<(), String> {
        let mut change = self.link.begin(spot.family(), &spot.table.name);
        let mark = self.mark;
        change.insert_rule(spot.target(), COMMENT, |rule| {
            rule.marked_all(mark).counter().verdict(Verdict::Accept);
        });
        let done = self.link.commit("put a rule into the machine's firewall", change);
        done.map_err(|error| spot.explain(&error, mark))
    }

    /// By what cannot mean somebody else's rule even when the table has changed since: the handle, which is never used
    /// twice, or for iptables-legacy, which has none, the whole rule.
    fn delete(&mut self, table: &Table, chain: &str, rules: &[&Rule]) -> Result<(), Error> {
        const DOING: &str = "delete a rule of ours from the machine's firewall";
        let version = match table.maker {
            Maker::Nftables { family, .. } => {
                let mut change = self.link.begin(Family(family), &table.name);
                rules.iter().for_each(|rule| change.delete_rule(chain, rule.handle));
                return self.link.commit(DOING, change);
            }
            Maker::Iptables => Version::V4,
            Maker::Ip6tables => Version::V6,
        };
        let delete = |mark: u32| {
            let bits = bits(mark);
            self.iptables.run(Kind::Legacy, version, &rule_command("-D", chain, &bits)).map(drop)
        };
        let mut marks = rules.iter().filter_map(|rule| rule.accepts_mark);
        marks.try_for_each(delete).map_err(|error| Error::program(DOING, error))
    }
}

impl Spot<'_> {
    fn explain(&self, error: &Error, mark: u32) -> String {
        let owned = matches!(self.table.maker, Maker::Nftables { owned: true, .. });
        if owned && self.table.name == "firewalld" {
            return "firewalld lets nobody else change its table; type: sed -i '/^NftablesTableOwner=/d; $aNftablesTableOwner=no' \
                    /etc/firewalld/firewalld.conf && systemctl restart firewalld"
                .into();
        }
        if owned && matches!(error.reason(), Reason::Denied) {
            return format!(
                "the program that made table {} lets nobody else change it (flags owner): let that program accept \
                 packets with mark {mark:#x}/{mark:#x} in chain {}",
                self.table, self.chain
            );
        }
        format!("{error}; type: {}", self.what_to_type(mark))
    }
}
