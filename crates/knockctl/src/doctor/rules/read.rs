//! Reads the packet filter with the tools that are there. Nothing is loaded into the kernel by asking.

use std::fs;
use std::process::{Command, Stdio};

use super::nft::{self, Sets, Texts};
use super::{Ruleset, save};

/// Where an administrator's programs are.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// More than this is not looked at.
const MAX_LISTING: usize = 64 << 20;

/// What was read, and what could not be.
pub(crate) fn read() -> (Ruleset, Vec<String>) {
    let mut ruleset = Ruleset::default();
    let mut troubles = Vec::new();
    match listing("nft", &["-j", "-t", "list", "ruleset"]) {
        Ok(json) => {
            let texts = listing("nft", &["-a", "-t", "list", "ruleset"]).unwrap_or_default();
            ruleset.chains = nft::parse(&json, &Texts::parse(&texts), &sets(&json));
        }
        Err(trouble) => troubles.push(trouble),
    }
    for (tool, lister) in [("iptables", "iptables-nft-save"), ("ip6tables", "ip6tables-nft-save")] {
        if let Ok(listing) = listing(lister, &[]) {
            take_over(&mut ruleset, &listing, tool);
        }
    }
    let legacy = [
        ("iptables-legacy", "iptables-legacy-save", "/proc/net/ip_tables_names"),
        ("ip6tables-legacy", "ip6tables-legacy-save", "/proc/net/ip6_tables_names"),
    ];
    for (tool, lister, names) in legacy {
        if fs::read_to_string(names).is_ok_and(|names| !names.trim().is_empty()) {
            match listing(lister, &[]) {
                Ok(listing) => ruleset.chains.extend(save::parse(&listing, tool)),
                Err(trouble) => troubles.push(trouble),
            }
        }
    }
    (ruleset, troubles)
}

/// Tables of iptables are shown as iptables shows them: `nft` does not know all that can stand in them.
fn take_over(ruleset: &mut Ruleset, listing: &str, tool: &'static str) {
    let chains = save::parse(listing, tool);
    ruleset.chains.retain(|old| {
        !chains.iter().any(|new| new.family == old.family && new.table == old.table && new.name == old.name)
    });
    ruleset.chains.extend(chains);
}

fn sets(json: &str) -> Sets {
    let read = |[family, table, name]: [String; 3]| {
        let json = listing("nft", &["-j", "list", "set", &family, &table, &name]).ok()?;
        Some(((table, name), nft::ports_of_set(&json)))
    };
    nft::sets_of_ports(json).into_iter().filter_map(read).collect()
}

/// What a program prints.
pub(crate) fn listing(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).env("PATH", PATH).env("LC_ALL", "C").stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    match output.stdout.len() {
        0..=MAX_LISTING => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        _ => Err(format!("{program}: it prints more than {MAX_LISTING} bytes")),
    }
}
