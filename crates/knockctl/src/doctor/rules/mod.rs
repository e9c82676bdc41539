//! The machine's packet filter as its own tools list it, so far as it matters to who comes in.
//!
//! ```text
//! nft -j, iptables-save ─► nft, save ─► Ruleset ─► walk: what becomes of a packet, and which rule decides
//! ```

pub(crate) mod nft;
pub(crate) mod read;
pub(crate) mod save;
pub(crate) mod walk;

use std::fmt;
use std::ops::RangeInclusive;

/// All chains, but for the daemon's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ruleset {
    pub(crate) chains: Vec<Chain>,
}

/// Which packets a table is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Ip,
    Ip6,
    Inet,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
        })
    }
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chain {
    /// The program that it is changed with: `nft`, or `iptables` and its like.
    pub(crate) tool: &'static str,
    pub(crate) family: Family,
    pub(crate) table: String,
    pub(crate) name: String,
    /// Absent where other chains lead to it only.
    pub(crate) base: Option<Base>,
    pub(crate) rules: Vec<Rule>,
}

impl Chain {
    /// Whether it belongs to iptables.
    pub(crate) fn is_iptables(&self) -> bool {
        self.tool != "nft"
    }
}

/// As its administrator knows it: `INPUT (iptables)`, `inet filter input`.
impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tool, family, table, name, .. } = self;
        match (self.is_iptables(), table.as_str()) {
            (true, "filter") => write!(f, "{name} ({tool})"),
            (true, table) => write!(f, "{name} ({tool} -t {table})"),
            (false, table) => write!(f, "{family} {table} {name}"),
        }
    }
}

/// Where in the kernel a chain begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) hook: Hook,
    /// Whether it rewrites addresses instead of letting through.
    pub(crate) nat: bool,
    pub(crate) priority: i32,
    /// Whether what comes to its end is dropped.
    pub(crate) drops: bool,
}

impl Base {
    /// Whether it comes before connection tracking (`NF_IP_PRI_CONNTRACK`), and so knows no state.
    pub(crate) fn is_before_tracking(self) -> bool {
        self.hook == Hook::Prerouting && self.priority < -200
    }
}

/// The places that incoming packets pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hook {
    Prerouting,
    Input,
    Forward,
}

impl Hook {
    fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "prerouting" => Some(Self::Prerouting),
            "input" => Some(Self::Input),
            "forward" => Some(Self::Forward),
            _ => None,
        }
    }
}

/// A rule: all conditions have to hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// As the tool lists it.
    pub(crate) text: String,
    pub(crate) conditions: Vec<Condition>,
    pub(crate) action: Action,
}

/// What a rule asks for, and whether it asks for the contrary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) negated: bool,
    pub(crate) what: What,
}

/// What a packet is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// The interface that it comes in by; a `*` at the end stands for anything.
    Interface(Vec<String>),
    /// IPv6 or IPv4.
    Ipv6(bool),
    /// The names of protocols: `tcp`.
    Protocol(Vec<String>),
    /// The port that it goes to.
    Port(Vec<RangeInclusive<u16>>),
    /// The states of connection tracking.
    State(Vec<String>),
    /// `mark & mask == value`.
    Mark { mask: u32, value: u32 },
    /// `flags & mask == value`, or any of `mask` where there is no value.
    Flags { mask: u8, value: Option<u8> },
    /// Something that is so, or is not so, for all that comes in for this machine.
    Always(bool),
    /// Something that differs from packet to packet, such as who sends it.
    Other,
}

impl What {
    pub(crate) fn holds(self) -> Condition {
        Condition { negated: false, what: self }
    }
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Accept,
    Drop,
    Reject,
    Jump(String),
    Goto(String),
    Return,
    /// Sends it on to another address or port; no address is this machine.
    Forward {
        address: Option<String>,
        port: Option<u16>,
    },
    /// Something after which the next rule is asked.
    Pass,
    /// Something that may end it or not.
    Other,
}

/// The flags of TCP by their names in both tools.
fn flag(name: &str) -> Option<u8> {
    let names = ["fin", "syn", "rst", "psh", "ack", "urg", "ecn", "cwr"];
    let at = names.iter().position(|known| name.trim().eq_ignore_ascii_case(known))?;
    Some(1 << at)
}
