//! What to type, for the firewall that is there.

use crate::doctor::facts::Facts;
use crate::doctor::ports::Port;
use crate::doctor::rules::Chain;
use crate::doctor::rules::walk::Place;

/// Accepts established connections, first in a chain.
pub(crate) fn accept_established(chain: &Chain) -> Vec<String> {
    let iptables = "-m conntrack --ctstate ESTABLISHED,RELATED";
    accept_first(chain, iptables, "ct state established,related accept")
}

/// Accepts what neighbours of IPv6 say, first in a chain.
pub(crate) fn accept_icmpv6(chain: &Chain) -> Vec<String> {
    accept_first(chain, "-p ipv6-icmp", "meta l4proto ipv6-icmp accept")
}

/// Accepts whom a door lets in, first in a chain.
pub(crate) fn accept_marked(chain: &Chain, mark: u32, port: &Port) -> Vec<String> {
    if !chain.is_iptables() && chain.table == "firewalld" {
        let port = format!("{}/{}", range(port, '-'), port.protocol);
        return vec![format!(
            "firewall-cmd --permanent --add-port={port} && firewall-cmd --reload (with guard = yes, knockd keeps the \
             port closed to others)"
        )];
    }
    let iptables = format!("-m mark --mark {mark:#x}/{mark:#x} -m comment --comment knockd");
    let nft = format!("meta mark and {mark:#x} == {mark:#x} accept comment '\"knockd\"'");
    accept_first(chain, &iptables, &nft)
}

/// Lets a port pass a chain that comes before others, which go on to filter it.
pub(crate) fn spare(chain: &Chain, port: &Port) -> Vec<String> {
    let protocol = port.protocol;
    let iptables = format!("-p {protocol} --dport {}", range(port, ':'));
    let nft = format!("{protocol} dport {} accept", range(port, '-'));
    let mut remedy = accept_first(chain, &iptables, &nft);
    remedy.push(
        "or move what drops into a chain of the hook input, which comes after connection tracking".into(),
    );
    remedy
}

/// A rule that accepts what fits, first in a chain.
fn accept_first(chain: &Chain, iptables: &str, nft: &str) -> Vec<String> {
    let Chain { tool, family, table, name, .. } = chain;
    let rule = match (chain.is_iptables(), table.as_str()) {
        (true, "filter") => format!("{tool} -I {name} {iptables} -j ACCEPT"),
        (true, _) => format!("{tool} -t {table} -I {name} {iptables} -j ACCEPT"),
        (false, _) => format!("nft insert rule {family} {table} {name} {nft}"),
    };
    vec![rule, keep(chain)]
}

fn range(port: &Port, between: char) -> String {
    let Port { first, last, .. } = port;
    if first == last { first.to_string() } else { format!("{first}{between}{last}") }
}

/// How the configuration says it without commands.
pub(crate) fn instead_of_commands(facts: &Facts, port: &Port) -> String {
    let Port { door, removes, first, .. } = port;
    let directive = match removes {
        false => format!("open = {port}"),
        true => {
            let opens = |other: &&Port| !other.removes && other.contains(port.protocol_name(), *first);
            let opener = facts.ports.iter().find(opens);
            format!("close = {}", opener.map_or("the door that opens it", |opener| opener.door.as_str()))
        }
    };
    format!("in [{door}] of {}: {directive} instead of the commands", facts.config_path)
}

/// Closes a port that a command is to open.
pub(crate) fn close_port(facts: &Facts, by: Option<&Place<'_>>, port: &Port, ipv6: bool) -> Vec<String> {
    let Port { first, protocol, .. } = port;
    let native = format!("or without a firewall, {}", instead_of_commands(facts, port));
    let iptables = if ipv6 { "ip6tables" } else { "iptables" };
    let rule = match by {
        Some(Place { chain, rule: Some(_), .. }) => format!("remove that rule from chain {chain}"),
        Some(Place { chain, .. }) if !chain.is_iptables() => format!(
            "nft add rule {} {} {} {protocol} dport {first} drop",
            chain.family, chain.table, chain.name
        ),
        _ => format!("{iptables} -A INPUT -p {protocol} --dport {first} -j DROP"),
    };
    vec![rule, native]
}

/// How a rule is still there after the next boot.
fn keep(chain: &Chain) -> String {
    let of_ufw = chain.name.starts_with("ufw") || chain.rules.iter().any(|rule| rule.text.contains(" ufw"));
    match (chain.is_iptables(), of_ufw, chain.table.as_str()) {
        (true, true, _) => {
            let file = if chain.tool.starts_with("ip6") { "before6.rules" } else { "before.rules" };
            format!("to keep it, write the same into /etc/ufw/{file}, and type: ufw reload")
        }
        (true, false, _) => {
            "to keep it over a boot: netfilter-persistent save (package iptables-persistent)".into()
        }
        (false, _, "firewalld") => {
            "firewalld accepts these itself; to have its own rules back: firewall-cmd --reload".into()
        }
        (false, ..) => format!(
            "to keep it over a boot, write it into the file that makes table {} (/etc/nftables.conf)",
            chain.table
        ),
    }
}
