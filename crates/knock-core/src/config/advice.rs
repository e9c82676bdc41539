//! Warnings: what works, but less safely than it could, or not as its writer may think.

mod native;

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use super::diagnostic::Diagnostic;
use super::door::Door;
use super::secret::Secret;
use crate::knock::Protocol;
use crate::sequence::{Sequence, Step};

pub use native::on_native;

/// The sequences of knockd's example file, of manual pages, ours too, and of countless tutorials: scanners try them
/// first.
const WELL_KNOWN: [&str; 7] = [
    "7142,8319:udp,5623",
    "7142,8319:udp,5623,9214:udp",
    "7000,8000,9000",
    "9000,8000,7000",
    "12345,54321,24680,13579",
    "2222:udp,3333:tcp,4444:udp",
    "123:tcp,456:udp,789:tcp",
];

/// What can be said of the doors' sequences.
pub fn on_sequences(doors: &[Door]) -> Vec<Diagnostic> {
    let fixed: Vec<_> = doors.iter().filter_map(|door| Some((door, door.secret.fixed()?))).collect();
    let single = fixed.iter().flat_map(|(door, sequence)| {
        on_sequence(sequence, door.strict)
            .into_iter()
            .map(|(found, help)| Diagnostic::warning(door.secret_span.clone(), found, help))
    });
    single.chain(on_beginnings(&fixed)).chain(on_rolling_keys(doors)).collect()
}

/// Doors with one rolling key: each takes a step's sequence once, so that what was knocked at one may open another.
fn on_rolling_keys(doors: &[Door]) -> Vec<Diagnostic> {
    let mut first: HashMap<&Path, &Door> = HashMap::new();
    let mut advice = Vec::new();
    for door in doors {
        let Secret::Rolling(file) = &door.secret else { continue };
        let Some(other) = first.get(file.as_path()) else {
            first.insert(file, door);
            continue;
        };
        let found = format!("doors \"{}\" and \"{}\" have the same rolling_key", other.key, door.key);
        let help = "whoever sees a knock at one of them can send it to the other: make a key for each";
        advice.push(Diagnostic::warning(door.secret_span.clone(), found, help));
    }
    advice
}

/// Why a sequence is weak, in a few words; `None` where nothing speaks against it. `strict`: any other port ends an
/// attempt on its door.
pub fn weakness(sequence: &Sequence, strict: bool) -> Option<String> {
    on_sequence(sequence, strict).into_iter().next().map(|(found, _)| found)
}

fn on_sequence(sequence: &Sequence, strict: bool) -> Vec<(String, &'static str)> {
    let mut advice = Vec::new();
    let steps = sequence.steps();
    if WELL_KNOWN.iter().any(|known| Sequence::parse(known).as_ref() == Ok(sequence)) {
        advice.push((
            "this sequence is a well-known example".to_owned(),
            "choose ports of your own: scanners try this one first",
        ));
    } else if steps.len() >= 3 && steps.is_sorted_by(|a, b| scanned(a, b, strict)) {
        advice.push((
            "the ports ascend".to_owned(),
            "a scan of all ports in order would open this door: mix them",
        ));
    } else if steps.len() >= 3 && steps.is_sorted_by(|a, b| scanned(b, a, strict)) {
        advice.push((
            "the ports descend".to_owned(),
            "a scan of all ports in order would open this door: mix them",
        ));
    }
    if steps.len() < 3 {
        let found = match steps.len() {
            1 => "a single port".to_owned(),
            ports => format!("only {ports} ports"),
        };
        advice.push((found, "a scan can open this door by chance: use at least three ports, better four"));
    }
    if steps.iter().all(|step| step.protocol == Protocol::Tcp) {
        advice.push(("TCP ports only".to_owned(), "a mix with UDP (PORT:udp) is harder to hit by chance"));
    }
    advice
}

/// Whether a scan of all ports in order may hit one behind the other, and nothing in between that spoils.
fn scanned(one: &Step, other: &Step, strict: bool) -> bool {
    one.port < other.port && (!strict || one.port + 1 == other.port)
}

/// Doors of which one opens on the way to the other.
///
/// Sorting puts a sequence right behind its beginnings, so that the work does not grow with the doors' square.
fn on_beginnings(doors: &[(&Door, &Sequence)]) -> Vec<Diagnostic> {
    let mut sorted: Vec<_> = doors.iter().collect();
    sorted.sort_by_key(|(door, sequence)| (sequence.steps(), door.secret_span.start));
    let mut beginnings: Vec<&(&Door, &Sequence)> = Vec::new();
    let mut advice = Vec::new();
    for entry @ (door, sequence) in sorted {
        while beginnings.last().is_some_and(|(_, begun)| !sequence.steps().starts_with(begun.steps())) {
            beginnings.pop();
        }
        if let Some((first, begun)) = beginnings.last() {
            advice.push(beginning(first, door, begun == sequence));
        }
        beginnings.push(entry);
    }
    advice
}

fn beginning(first: &Door, second: &Door, equal: bool) -> Diagnostic {
    let (one, two) = (&first.key, &second.key);
    if equal {
        let found = format!("doors \"{one}\" and \"{two}\" have the same sequence");
        return Diagnostic::warning(second.secret_span.clone(), found, "one knock opens both of them");
    }
    let found = format!("the sequence of door \"{two}\" begins with the one of door \"{one}\"");
    let help = format!("whoever knocks for \"{two}\" opens \"{one}\" on the way");
    Diagnostic::warning(second.secret_span.clone(), found, help)
}

/// What can be said of the doors' commands.
pub fn on_commands(doors: &[Door]) -> Vec<Diagnostic> {
    doors.iter().flat_map(on_door).collect()
}

fn on_door(door: &Door) -> Vec<Diagnostic> {
    let mut advice: Vec<_> =
        door.start_commands().flat_map(|(command, span)| on_command(command, &span)).collect();
    let commands = &door.commands;
    let warn = |found: &str, help: &str| {
        Diagnostic::warning(door.secret_span.clone(), format!("door \"{}\" {found}", door.key), help)
    };
    if commands.start.is_none() && commands.start_6.is_none() && commands.stop.is_some() {
        advice.push(warn(
            "has a stop command, but nothing that starts",
            "a stop command runs after a start command",
        ));
    }
    if let (Some(start), None, Some(span)) = (&commands.start, &commands.start_6, &door.start_span)
        && words(start).any(|(_, word)| base_name(word).starts_with("iptables"))
    {
        let found = "iptables cannot take the address of a knocker with IPv6";
        let help = "add Start_Command_6 with ip6tables, or an empty one to do nothing";
        advice.push(Diagnostic::warning(span.clone(), found, help));
    }
    advice
}

fn on_command(command: &str, span: &Range<usize>) -> Vec<Diagnostic> {
    let warn = |found: &str, help: &str| Diagnostic::warning(span.clone(), found, help);
    let mut advice = Vec::new();
    if command.is_empty() {
        return advice;
    }
    let first = words(command).next().map_or("", |(_, word)| base_name(word));
    let is_firewall = ["iptables", "ip6tables", "nft", "ufw", "firewall-cmd", "ipset"]
        .iter()
        .any(|name| first.starts_with(name));
    if is_firewall && !command.contains("%IP%") && !command.contains("KNOCK_IP") {
        advice.push(warn(
            "this command does not name the knocker's address",
            "%IP% stands for it: without it everybody is let in",
        ));
    }
    let quoted = |quote: char| {
        command
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
            .is_some_and(|rest| !rest.contains(quote))
    };
    if quoted('"') || quoted('\'') {
        advice.push(warn(
            "the whole command is quoted",
            "the shell takes it for one word: leave the quotes out",
        ));
    }
    if command.ends_with('\\') {
        advice.push(warn(
            "the command ends with a backslash",
            "lines cannot be continued: write it on one line",
        ));
    }
    advice
}

/// A rule that a command appends to the end of a chain of iptables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendedRule {
    /// The program's name: `iptables`, `ip6tables-nft`, ….
    pub program: String,
    /// The table, `filter` where the command names none.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// Where in the command `-A` stands.
    pub flag: Range<usize>,
}

/// The rules that a shell command appends with `iptables -A`; quoting is not looked through.
pub fn appended_rules(command: &str) -> Vec<AppendedRule> {
    let mut rules = Vec::new();
    let mut call: Option<(String, String)> = None;
    let mut words = words(command).peekable();
    while let Some((at, word)) = words.next() {
        let base = base_name(word);
        if IPTABLES.contains(&base) {
            call = Some((base.to_owned(), "filter".to_owned()));
        } else if word.contains([';', '&', '|']) {
            call = None;
        } else if let Some((program, table)) = &mut call {
            match (word, words.peek()) {
                ("-t" | "--table", Some((_, name))) => (*name).clone_into(table),
                ("-A" | "--append", Some((_, chain))) if is_name(chain) => rules.push(AppendedRule {
                    program: program.clone(),
                    table: table.clone(),
                    chain: (*chain).to_owned(),
                    flag: at..at + word.len(),
                }),
                _ => {}
            }
        }
    }
    rules
}

/// The programs that append rules to chains.
const IPTABLES: [&str; 6] =
    ["iptables", "iptables-nft", "iptables-legacy", "ip6tables", "ip6tables-nft", "ip6tables-legacy"];

fn is_name(word: &str) -> bool {
    word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
}

/// A program's name without its path.
fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let base = text.as_ptr() as usize;
    text.split_whitespace().map(move |word| (word.as_ptr() as usize - base, word))
}

/// Why a rule at a chain's end changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Futility {
    /// This rule before it decides for every packet.
    LastRule(String),
    /// The chain's policy accepts what comes as far.
    Policy,
}

/// Whether a rule appended to the chain would change nothing, by what `iptables -S CHAIN` prints.
pub fn futile_append(chain: &str, listing: &str) -> Option<Futility> {
    let last = listing.lines().rfind(|line| line.starts_with("-A "));
    if let Some(last) = last.filter(|line| decides_all(chain, line)) {
        return Some(Futility::LastRule(last.to_owned()));
    }
    let accepts = listing.lines().any(|line| line == format!("-P {chain} ACCEPT"));
    accepts.then_some(Futility::Policy)
}

/// Whether an unconditional rule ends the chain for every packet.
fn decides_all(chain: &str, rule: &str) -> bool {
    let Some(rest) = rule.strip_prefix(&format!("-A {chain} -j ")) else { return false };
    matches!(rest.split_whitespace().next(), Some("DROP" | "REJECT" | "ACCEPT"))
}

/// The warning about an appended rule of a command that begins at `start`.
pub fn on_append(rule: &AppendedRule, start: usize, futility: &Futility) -> Diagnostic {
    let AppendedRule { program, chain, flag, .. } = rule;
    let (why, help) = match futility {
        Futility::LastRule(last) => {
            (format!("the chain ends with \"{last}\""), format!("insert the rule before it: -I {chain}"))
        }
        Futility::Policy => (
            format!("{chain} accepts whatever comes to its end"),
            format!("insert before the rule that drops: -I {chain}; without one everybody is let in already"),
        ),
    };
    let found = format!("{program} -A adds a rule that changes nothing: {why}");
    Diagnostic::warning(start + flag.start..start + flag.end, found, help)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_appended_rules() {
        let command =
            "/sbin/iptables -w -A INPUT -s %IP% -j ACCEPT; ip6tables -t nat --append PRE -j X && echo -A no";
        let rules = appended_rules(command);
        let found: Vec<_> =
            rules.iter().map(|r| (r.program.as_str(), r.table.as_str(), r.chain.as_str())).collect();
        assert_eq!(found, [("iptables", "filter", "INPUT"), ("ip6tables", "nat", "PRE")]);
        assert_eq!(&command[rules[0].flag.clone()], "-A");
        assert_eq!(appended_rules("iptables -I INPUT -j ACCEPT"), []);
        assert_eq!(appended_rules("/tmp/iptables-open -A INPUT"), []);
        assert_eq!(appended_rules("iptables -A %IP%"), []);
        assert_eq!(appended_rules("nft add rule inet filter input accept"), []);
    }

    #[test]
    fn knows_when_an_append_is_futile() {
        let futile = |listing| futile_append("INPUT", listing);
        assert_eq!(futile("-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n"), None);
        assert_eq!(futile("-P INPUT DROP\n"), None);
        let last = Futility::LastRule("-A INPUT -j DROP".into());
        assert_eq!(futile("-P INPUT ACCEPT\n-A INPUT -j DROP\n"), Some(last));
        assert_eq!(futile("-P INPUT ACCEPT\n"), Some(Futility::Policy));
        let reject = "-P INPUT DROP\n-A INPUT -j REJECT --reject-with icmp-port-unreachable\n";
        assert!(futile(reject).is_some());
    }
}
