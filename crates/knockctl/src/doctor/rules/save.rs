//! What `iptables-save` and its like print.

use std::ops::RangeInclusive;

use super::{Action, Base, Chain, Condition, Family, Hook, Rule, What, flag};

/// Options with a value that says nothing of who comes in.
const REMARKS: [&str; 1] = ["--comment"];
/// Targets after which the next rule is asked.
const PASSING: [&str; 14] = [
    "LOG", "NFLOG", "ULOG", "MARK", "CONNMARK", "TCPMSS", "SET", "TRACE", "CT", "NOTRACK", "CLASSIFY",
    "DSCP", "TTL", "TOS",
];

/// Reads a listing. `tool` is the program that changes these chains.
pub(crate) fn parse(listing: &str, tool: &'static str) -> Vec<Chain> {
    let family = if tool.starts_with("ip6") { Family::Ip6 } else { Family::Ip };
    let mut chains: Vec<Chain> = Vec::new();
    let mut table = String::new();
    for line in listing.lines() {
        match line.split_at_checked(1) {
            Some(("*", name)) => name.trim().clone_into(&mut table),
            Some((":", declaration)) => {
                let mut words = declaration.split_whitespace();
                let (Some(name), policy) = (words.next(), words.next()) else { continue };
                let base = policy.and_then(|policy| base(&table, name, policy));
                let rules = Vec::new();
                chains.push(Chain { tool, family, table: table.clone(), name: name.to_owned(), base, rules });
            }
            Some(("-", _)) => {
                let Some((name, rule)) = rule(line) else { continue };
                if let Some(chain) =
                    chains.iter_mut().find(|chain| chain.table == table && chain.name == name)
                {
                    chain.rules.push(rule);
                }
            }
            _ => {}
        }
    }
    resolve_jumps(&mut chains);
    chains
}

/// A built-in chain; users' chains have `-` for a policy.
fn base(table: &str, name: &str, policy: &str) -> Option<Base> {
    let priority = match table {
        "raw" => -300,
        "mangle" => -150,
        "nat" => -100,
        "security" => 50,
        _ => 0,
    };
    let hook = Hook::named(name).filter(|_| policy != "-")?;
    Some(Base { hook, nat: table == "nat", priority, drops: policy == "DROP" })
}

/// A target that is no chain of its table does something of its own.
fn resolve_jumps(chains: &mut [Chain]) {
    let known: Vec<_> = chains.iter().map(|chain| (chain.table.clone(), chain.name.clone())).collect();
    for chain in chains {
        for rule in &mut chain.rules {
            if let Action::Jump(name) = &rule.action
                && !known.contains(&(chain.table.clone(), name.clone()))
            {
                rule.action = if PASSING.contains(&name.as_str()) { Action::Pass } else { Action::Other };
            }
        }
    }
}

/// A line `-A CHAIN …`: the chain, and its rule.
fn rule(line: &str) -> Option<(String, Rule)> {
    let words = words(line);
    let mut words = words.iter().map(String::as_str).peekable();
    let chain = match (words.next()?, words.next()?) {
        ("-A", chain) => chain.to_owned(),
        _ => return None,
    };
    let mut rule = Rule { text: line.to_owned(), conditions: Vec::new(), action: Action::Pass };
    let mut negated = false;
    while let Some(word) = words.next() {
        if word == "!" {
            negated = true;
            continue;
        }
        let mut value = || words.next().unwrap_or_default();
        match word {
            "-m" => _ = value(),
            "-j" => rule.action = target(value()),
            "-g" => rule.action = Action::Goto(value().to_owned()),
            "--to-destination" | "--to-ports" => {
                let to = value();
                if let Action::Forward { address, port } = &mut rule.action {
                    (*address, *port) = destination(to, word == "--to-ports");
                }
            }
            "--reject-with" | "--log-prefix" | "--log-level" => _ = value(),
            word if REMARKS.contains(&word) => _ = value(),
            "--syn" => rule.conditions.push(Condition { negated, what: syn() }),
            "--tcp-flags" => {
                let (mask, value) = (flags(value()), flags(value()));
                rule.conditions.push(Condition { negated, what: What::Flags { mask, value: Some(value) } });
            }
            option if rule.action == Action::Pass || is_condition(option) => {
                // Options of matches, of which those not known here may have one value or none.
                let what = match is_condition(option) {
                    true => condition(option, value()),
                    false => What::Other,
                };
                rule.conditions.push(Condition { negated, what });
            }
            _ => {}
        }
        negated = false;
    }
    Some((chain, rule))
}

fn is_condition(option: &str) -> bool {
    let known = [
        "-s",
        "-d",
        "-i",
        "-o",
        "-p",
        "--dport",
        "--destination-port",
        "--dports",
        "--destination-ports",
        "--sport",
        "--sports",
        "--ports",
        "--ctstate",
        "--state",
        "--mark",
        "--dst-type",
        "--src-type",
    ];
    known.contains(&option)
}

fn condition(option: &str, value: &str) -> What {
    let list = || value.split(',').map(str::to_owned).collect::<Vec<_>>();
    match option {
        "-i" => What::Interface(vec![value.replace('+', "*")]),
        "-p" => What::Protocol(vec![value.to_ascii_lowercase()]),
        "--dport" | "--destination-port" | "--dports" | "--destination-ports" => ports(value),
        "--ctstate" | "--state" => {
            What::State(list().iter().map(|state| state.to_ascii_lowercase()).collect())
        }
        "--mark" => mark(value),
        "--dst-type" => match value {
            "LOCAL" => What::Always(true),
            "BROADCAST" | "MULTICAST" | "ANYCAST" => What::Always(false),
            _ => What::Other,
        },
        _ => What::Other,
    }
}

const fn syn() -> What {
    What::Flags { mask: 0x17, value: Some(0x02) }
}

fn flags(names: &str) -> u8 {
    match names {
        "ALL" => 0x3f,
        names => names.split(',').filter_map(flag).fold(0, |flags, flag| flags | flag),
    }
}

fn ports(list: &str) -> What {
    let range = |text: &str| -> Option<RangeInclusive<u16>> {
        let (first, last) = text.split_once(':').unwrap_or((text, text));
        let first = if first.is_empty() { 0 } else { first.parse().ok()? };
        let last = if last.is_empty() { u16::MAX } else { last.parse().ok()? };
        Some(first..=last)
    };
    list.split(',').map(range).collect::<Option<_>>().map_or(What::Other, What::Port)
}

fn mark(text: &str) -> What {
    let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    match (number(value), number(mask)) {
        (Some(value), Some(mask)) => What::Mark { mask, value },
        _ => What::Other,
    }
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn target(name: &str) -> Action {
    match name {
        "ACCEPT" => Action::Accept,
        "DROP" => Action::Drop,
        "REJECT" => Action::Reject,
        "RETURN" => Action::Return,
        "DNAT" | "REDIRECT" => Action::Forward { address: None, port: None },
        name => Action::Jump(name.to_owned()),
    }
}

/// `172.17.0.2:80`, `[fd00::2]:80`, or a port alone.
fn destination(text: &str, port_alone: bool) -> (Option<String>, Option<u16>) {
    let first = |port: &str| port.split('-').next().and_then(|port| port.parse().ok());
    if port_alone {
        return (None, first(text));
    }
    match text.rsplit_once(':') {
        Some((address, port)) if !address.contains(':') || address.ends_with(']') => {
            let address = address.trim_matches(['[', ']']);
            ((!address.is_empty()).then(|| address.to_owned()), first(port))
        }
        _ => (Some(text.trim_matches(['[', ']']).to_owned()), None),
    }
}

/// The words of a line, of which a quoted one may hold blanks.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut begun) = (String::new(), false, false);
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => (quoted, begun) = (!quoted, true),
            '\\' if quoted => word.extend(characters.next()),
            ' ' if !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            other => {
                word.push(other);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}
