//! What the doctor goes by: all that was read of the machine. What it means is for the checks to say.

use std::net::{IpAddr, SocketAddr};

use knock_core::config::{AcceptRule, Config, DEFAULT_MARK, Interfaces, Secret};
use knock_core::control::{self, Status};
use knock_core::knock::Protocol;
use knock_linux::links::Link;

use crate::doctor::boot::Boot;
use crate::doctor::files::File;
use crate::doctor::keys::Keys;
use crate::doctor::ports::Port;
use crate::doctor::process::Process;
use crate::doctor::rules::Ruleset;
use crate::doctor::rules::walk::Packet;

/// SSH's port.
const SSH: u16 = 22;

/// All that was read.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// The file of the configuration.
    pub(crate) config_path: String,
    /// What stands in it, or what is wrong with it.
    pub(crate) config: Result<Config, Vec<String>>,
    /// The ports of its doors.
    pub(crate) ports: Vec<Port>,
    /// The machine's own packet filter.
    pub(crate) ruleset: Ruleset,
    /// What could not be read of it.
    pub(crate) filter_troubles: Vec<String>,
    /// The daemon's table.
    pub(crate) table: Table,
    /// How the daemon is, or why it cannot be asked.
    pub(crate) daemon: Result<Status, String>,
    pub(crate) process: Process,
    /// The doors that it has, with their sequences.
    pub(crate) doors: Vec<control::Door>,
    pub(crate) links: Vec<Link>,
    /// Whether the clock is kept right by somebody; absent where the kernel does not say.
    pub(crate) clock: Option<bool>,
    pub(crate) files: Vec<File>,
    /// Who may knock with an SSH key.
    pub(crate) keys: Keys,
    pub(crate) boot: Boot,
    /// What the kernel lacks, or the daemon may not do, and what to do about it.
    pub(crate) lacking: Vec<(String, String)>,
    /// What strangers meet who have not knocked.
    pub(crate) reached: Vec<Reached>,
    /// Why that was not tried, where it was to be.
    pub(crate) not_tried: Option<String>,
}

/// The daemon's own table, `inet knockd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    InPlace,
    /// It is there, and not as the daemon made it.
    Changed,
    Missing,
}

/// A port that was tried without a knock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) door: String,
    pub(crate) from: IpAddr,
    pub(crate) target: SocketAddr,
    pub(crate) reach: Reach,
}

/// What a connection attempt meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Connected,
    /// A reset, or an ICMP error.
    Refused,
    Unanswered,
}

impl Reach {
    pub(crate) const fn in_words(self) -> &'static str {
        match self {
            Self::Connected => "the connection was made",
            Self::Refused => "the connection was refused",
            Self::Unanswered => "nothing answered",
        }
    }
}

impl Facts {
    pub(crate) fn status(&self) -> Option<&Status> {
        self.daemon.as_ref().ok()
    }

    pub(crate) fn is_running(&self) -> bool {
        self.daemon.is_ok()
    }

    fn options(&self) -> Option<&knock_core::config::Options> {
        self.config.as_ref().ok().map(|config| &config.options)
    }

    pub(crate) fn guard(&self) -> bool {
        self.options().is_none_or(|options| options.guard)
    }

    pub(crate) fn mark(&self) -> u32 {
        self.options().map_or(DEFAULT_MARK, |options| options.mark)
    }

    pub(crate) fn keeps_accept_rule(&self) -> bool {
        self.options().is_none_or(|options| options.accept_rule == AcceptRule::Auto)
    }

    /// A door whose knocks say what time it is, so that a clock that is wrong keeps its users out.
    pub(crate) fn door_with_clock(&self) -> Option<&str> {
        let doors = self.config.as_ref().ok().into_iter().flat_map(|config| &config.doors);
        let door = doors
            .into_iter()
            .find(|door| matches!(door.secret, Secret::Keys(_) | Secret::Rolling(_) | Secret::Fwknop { .. }));
        door.map(|door| door.key.name.as_str())
    }

    /// Which interfaces the configuration names.
    pub(crate) fn wanted(&self) -> Interfaces {
        self.options().and_then(|options| options.interfaces.clone()).unwrap_or_default()
    }

    /// The interfaces that are listened on: the daemon's, or those that it would take.
    pub(crate) fn watched(&self) -> Vec<&Link> {
        let wanted = self.wanted();
        let listens = |link: &&Link| match self.status() {
            Some(status) => status.interfaces.iter().any(|interface| interface.name == link.name),
            None => wanted.matches(&link.name, link.default_route),
        };
        self.links.iter().filter(listens).collect()
    }

    /// The interface that strangers come in by.
    pub(crate) fn way_in(&self) -> Option<String> {
        let watched = self.watched();
        let best =
            watched.iter().find(|link| link.default_route).or(watched.iter().find(|link| !link.loopback));
        best.map(|link| link.name.clone())
    }

    /// A packet with which a stranger begins a connection.
    pub(crate) fn stranger(&self, protocol: &'static str, port: u16, ipv6: bool) -> Packet {
        let interface = self.way_in();
        Packet { ipv6, protocol, port, established: false, tracked: true, mark: 0, interface }
    }

    /// Whether the machine can be reached by IPv6.
    pub(crate) fn has_ipv6(&self) -> bool {
        let of_others = self.links.iter().filter(|link| !link.loopback).flat_map(|link| &link.addresses);
        of_others.into_iter().any(|(address, _)| match address {
            IpAddr::V6(address) => !address.is_unicast_link_local(),
            IpAddr::V4(_) => false,
        })
    }

    /// Whether an address is this machine's.
    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        let own = || self.links.iter().flat_map(|link| &link.addresses).any(|(own, _)| *own == address);
        address.is_loopback() || address.is_unspecified() || own()
    }

    /// The ports that the kernel guards.
    pub(crate) fn guarded(&self) -> impl Iterator<Item = &Port> {
        self.ports.iter().filter(|port| port.native)
    }

    /// The same in words; empty where there are none.
    pub(crate) fn guarded_in_words(&self) -> String {
        self.guarded().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    /// Whose door guards a port.
    pub(crate) fn guard_of(&self, protocol: &str, port: u16) -> Option<&Port> {
        self.guarded().find(|guarded| guarded.contains(protocol, port))
    }

    /// The doors' ports; SSH's where none is known and there may be doors.
    pub(crate) fn ports_or_ssh(&self) -> Vec<Port> {
        let has_doors = self.config.as_ref().map_or(true, |config| !config.doors.is_empty());
        match (self.ports.is_empty(), has_doors) {
            (true, true) => vec![Port {
                door: String::new(),
                protocol: Protocol::Tcp,
                first: SSH,
                last: SSH,
                native: false,
                removes: false,
                target: None,
                ipv6: true,
            }],
            _ => self.ports.clone(),
        }
    }
}
