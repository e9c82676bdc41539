//! Which ports the doors are there for.

use std::net::IpAddr;

use knock_core::config::{Commands, Config, Door};
use knock_core::knock::Protocol;

/// A port that is to be closed to whoever has not knocked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) door: String,
    pub(crate) protocol: Protocol,
    pub(crate) first: u16,
    pub(crate) last: u16,
    /// The kernel opens it, not a command.
    pub(crate) native: bool,
    /// The door's commands only take away what another door lets in.
    pub(crate) removes: bool,
    /// The machine whose port it is, where it is another.
    pub(crate) target: Option<IpAddr>,
    /// Whether the door opens it by IPv6.
    pub(crate) ipv6: bool,
}

impl Port {
    pub(crate) fn protocol_name(&self) -> &'static str {
        match self.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }

    pub(crate) fn contains(&self, protocol: &str, port: u16) -> bool {
        self.protocol_name() == protocol && (self.first..=self.last).contains(&port)
    }
}

/// As `open` writes it.
impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (first, last) = (self.first, self.last);
        if first == last {
            write!(f, "{first}/{}", self.protocol)
        } else {
            write!(f, "{first}-{last}/{}", self.protocol)
        }
    }
}

/// The ports of all doors; of commands those that they name in a manner that is known.
pub(crate) fn of(config: &Config) -> Vec<Port> {
    config.doors.iter().flat_map(|door| native(door).into_iter().chain(commanded(door))).collect()
}

fn native(door: &Door) -> Vec<Port> {
    let ranges = door.native.iter().flat_map(|native| &native.ports);
    let port = |range: &knock_core::config::PortRange| Port {
        door: door.key.name.clone(),
        protocol: range.protocol,
        first: range.first,
        last: range.last,
        native: true,
        removes: false,
        target: door.target,
        ipv6: door.target.is_none_or(|target| target.is_ipv6()),
    };
    ranges.map(port).collect()
}

fn commanded(door: &Door) -> Vec<Port> {
    let Some(command) = &door.commands.start else { return Vec::new() };
    let ipv6 = door.commands.start_6.as_ref().is_some_and(|command| !command.is_empty());
    let Commands { start_6, stop, stop_6, .. } = &door.commands;
    let removes = [Some(command), start_6.as_ref(), stop.as_ref(), stop_6.as_ref()]
        .into_iter()
        .flatten()
        .all(|command| only_removes(command));
    let port = |(protocol, port)| Port {
        door: door.key.name.clone(),
        protocol,
        first: port,
        last: port,
        native: false,
        removes,
        target: door.target,
        ipv6,
    };
    named(command).into_iter().map(port).collect()
}

/// Whether a command takes rules away, and puts none.
fn only_removes(command: &str) -> bool {
    let has = |wanted: &[&str]| command.split_whitespace().any(|word| wanted.contains(&word));
    command.is_empty()
        || (has(&["-D", "--delete", "delete"])
            && !has(&["-I", "-A", "--insert", "--append", "insert", "add"]))
}

/// The ports that a command of a firewall lets the knocker in at.
pub(crate) fn named(command: &str) -> Vec<(Protocol, u16)> {
    let words: Vec<_> = command.split([' ', '\t', '=', '"', '\'']).filter(|word| !word.is_empty()).collect();
    let names = |name: &str| words.contains(&name);
    if !["ACCEPT", "accept", "allow"].into_iter().any(names) {
        return Vec::new();
    }
    let protocol = if names("udp") && !names("tcp") { Protocol::Udp } else { Protocol::Tcp };
    let before = ["--dport", "--dports", "--destination-port", "dport", "port"];
    let values = words.windows(2).filter_map(|pair| match pair {
        [option, value] if before.contains(option) => Some(*value),
        _ => None,
    });
    let ports = values.flat_map(|value| value.split(',')).filter_map(|port| port.parse().ok());
    ports.map(|port| (protocol, port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_ports() {
        let ports = |command| named(command).into_iter().map(|(_, port)| port).collect::<Vec<_>>();
        assert_eq!(ports("/sbin/iptables -I INPUT -s %IP% -p tcp --dport 22 -j ACCEPT"), [22]);
        assert_eq!(
            ports("iptables -I INPUT -s %IP% -p tcp -m multiport --dports 22,443 -j ACCEPT"),
            [22, 443]
        );
        assert_eq!(ports("nft insert rule inet filter input ip saddr %IP% tcp dport 22 accept"), [22]);
        assert_eq!(ports("ufw allow from %IP% to any port 22"), [22]);
        assert_eq!(ports("iptables -I INPUT -s %IP% --dport 22 -j DROP"), [] as [u16; 0]);
        assert_eq!(named("iptables -A INPUT -p udp --dport 53 -j ACCEPT"), [(Protocol::Udp, 53)]);
    }
}
