//! What to type, for the firewall that is there.

use crate::doctor::facts::Facts;
use crate::doctor::ports::Port;
use crate::doctor::rules::Chain;
use crate::doctor::rules::walk::Place;

/// Accepts established connections, first in a chain.
pub(crate) fn accept_established(chain: &Chain) -> Vec<String> {
    let Chain { tool, family, table, name, .. } = chain;
    match chain.is_iptables() {
        true => vec![
            format!("{tool} -I {name} -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"),
            keep(chain),
        ],
        false => {
            vec![
                format!("nft insert rule {family} {table} {name} ct state established,related accept"),
                keep(chain),
            ]
        }
    }
}

/// Accepts what neighbours of IPv6 say, first in a chain.
pub(crate) fn accept_icmpv6(chain: &Chain) -> Vec<String> {
    let Chain { tool, family, table, name, .. } = chain;
    let rule = match chain.is_iptables() {
        true => format!("{tool} -I {name} -p ipv6-icmp -j ACCEPT"),
        false => format!("nft insert rule {family} {table} {name} meta l4proto ipv6-icmp accept"),
    };
    vec![rule, keep(chain)]
}

/// Accepts whom a door lets in, first in a chain.
pub(crate) fn accept_marked(chain: &Chain, mark: u32, port: &Port) -> Vec<String> {
    let Chain { tool, family, table, name, .. } = chain;
    if !chain.is_iptables() && table == "firewalld" {
        let port = format!("{}{}/{}", port.first, last(port), port.protocol);
        return vec![format!(
            "firewall-cmd --permanent --add-port={port} && firewall-cmd --reload (with guard = yes, knockd keeps the \
             port closed to others)"
        )];
    }
    let rule = match chain.is_iptables() {
        true => {
            format!(
                "{tool} -I {name} -m mark --mark {mark:#x}/{mark:#x} -m comment --comment knockd -j ACCEPT"
            )
        }
        false => format!(
            "nft insert rule {family} {table} {name} meta mark and {mark:#x} == {mark:#x} accept comment '\"knockd\"'"
        ),
    };
    vec![rule, keep(chain)]
}

fn last(port: &Port) -> String {
    if port.first == port.last { String::new() } else { format!("-{}", port.last) }
}

/// Closes a port that a command is to open.
pub(crate) fn close_port(facts: &Facts, by: Option<&Place<'_>>, port: &Port, ipv6: bool) -> Vec<String> {
    let Port { first, protocol, door, .. } = port;
    let native = format!(
        "or without a firewall, in [{door}] of {}: open = {port} instead of the commands (the kernel then guards it)",
        facts.config_path
    );
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
