//! The daemon and its doors: does it run, with this configuration, and are the doors strong?

use knock_core::config::advice::weakness;
use knock_core::config::{Config, Door};
use knock_core::control::{self, JournalState, Overload};

use super::filter::TO_US;
use super::keys;
use crate::doctor::facts::Facts;
use crate::doctor::finding::{Finding, Section};
use crate::doctor::remedy;
use crate::doctor::rules::walk::Verdict;

/// Of the daemon.
pub(crate) fn daemon(facts: &Facts) -> Section {
    let mut findings = Vec::new();
    match &facts.daemon {
        Err(why) => findings.push(
            Finding::problem("not-running", why, "no knock opens anything")
                .with("systemctl start knockd (where it does not start: journalctl -u knockd)"),
        ),
        Ok(status) => findings.extend(running(facts, status)),
    }
    let well = facts.status().map_or_else(String::new, |status| {
        let with = if facts.config.is_ok() { ", with this configuration" } else { "" };
        format!("it runs, version {}{with}", status.version)
    });
    Section { title: "Daemon", well, findings }
}

fn running(facts: &Facts, status: &control::Status) -> Vec<Finding> {
    let mut findings = Vec::new();
    if status.config != facts.config_path {
        let found =
            format!("knockd has its configuration from {}, not from {}", status.config, facts.config_path);
        findings.push(
            Finding::warning("other-configuration", found, "what is said here of the doors may not be so")
                .with(format!("knockctl -c {} doctor", status.config)),
        );
    } else if let Ok(config) = &facts.config
        && let Some(difference) = difference(config, status, &facts.doors)
    {
        let found =
            format!("knockd has another configuration in force than {}: {difference}", facts.config_path);
        let why = match status.pending_confirmation {
            None => "the file was changed since it was read, or what was read of it was taken back",
            Some(_) => "the file was changed since it was read, and what is in force is not confirmed yet",
        };
        findings.push(
            Finding::warning("changed-since", found, why)
                .with("knockctl reload --confirm 60, which takes the file as it is")
                .with("or put the old file back: the next start takes the file as it is"),
        );
    }
    if let Some(left) = status.pending_confirmation {
        let found =
            format!("the configuration in force is not confirmed: the one before comes back in {left} s");
        findings.push(
            Finding::warning("unconfirmed", found, "doors may change behind your back")
                .with("knockctl confirm"),
        );
    }
    if status.journal.state == JournalState::Failing {
        let message = status.journal.message.as_deref().unwrap_or_default();
        let found = format!("{} cannot be written: {message}", status.journal.path);
        let why = "knockd opens nothing that it could not close after a crash";
        findings.push(
            Finding::problem("journal", found, why).with(format!("df {0}; ls -ld {0}", status.journal.path)),
        );
    }
    let Overload { packets_lost, attempts_lost, .. } = status.overload;
    if packets_lost > 0 {
        let found = format!("{packets_lost} packets were lost before the daemon could look at them");
        let why = "somebody sends knocks faster than this machine takes them; knocks of others may be lost meanwhile";
        findings.push(Finding::note("packets-lost", found, why));
    }
    if attempts_lost > 0 {
        let found = format!("{attempts_lost} attempts were forgotten for lack of room");
        let why = "somebody sends knocks with very many addresses; who knocks meanwhile must not wait long between knocks";
        findings.push(Finding::note("attempts-lost", found, why));
    }
    findings
}

/// The first thing in which the daemon differs from the file.
fn difference(config: &Config, status: &control::Status, doors: &[control::Door]) -> Option<String> {
    let names = |door: &&Door, other: &control::Door| door.key.name == other.name;
    if let Some(new) = config.doors.iter().find(|door| !doors.iter().any(|other| names(door, other))) {
        return Some(format!("it has no door {}", new.key.name));
    }
    if let Some(old) = doors.iter().find(|old| !config.doors.iter().any(|door| names(&door, old))) {
        return Some(format!("door {} is not in the file any more", old.name));
    }
    if let Some(native) = &status.native {
        let options = &config.options;
        if (native.guard, &native.mark, &native.accept_rule)
            != (options.guard, &format!("{:#x}", options.mark), &options.accept_rule.to_string())
        {
            return Some("guard, mark or accept_rule".into());
        }
    }
    let pairs = config.doors.iter().zip(doors);
    pairs
        .into_iter()
        .find_map(|(door, other)| differs(door, other).map(|what| format!("door {}, {what}", door.key.name)))
}

fn differs(door: &Door, other: &control::Door) -> Option<&'static str> {
    let native = door.native.as_ref();
    let opens: Vec<_> = native.iter().flat_map(|native| &native.ports).map(ToString::to_string).collect();
    let open_for = native.and_then(|native| native.open_for);
    let sequence = door.secret.fixed();
    let sequence =
        sequence.map(|sequence| sequence.steps().iter().map(ToString::to_string).collect::<Vec<_>>());
    let commands = other.commands.clone().unwrap_or_default();
    let differences = [
        (opens != other.opens, "open"),
        (open_for != other.open_for.map(|time| time.0), "open_for"),
        (door.target != other.target, "Target"),
        (door.allow_from != other.allow_from, "allow_from"),
        (door.closes != other.closes, "close"),
        (sequence.is_some() && other.sequence.is_some() && sequence != other.sequence, "Sequence"),
        (other.commands.is_some() && door.commands.start != commands.start, "Start_Command"),
        (other.commands.is_some() && door.commands.stop != commands.stop, "Stop_Command"),
    ];
    differences.into_iter().find(|(differs, _)| *differs).map(|(_, what)| what)
}

/// Of the doors.
pub(crate) fn doors(facts: &Facts) -> Section {
    let config = match &facts.config {
        Ok(config) => config,
        Err(errors) => {
            let findings = vec![unusable(&facts.config_path, errors)];
            return Section { title: "Doors", well: String::new(), findings };
        }
    };
    let mut findings: Vec<_> = config.doors.iter().filter_map(weak).collect();
    findings.extend(facts.doors.iter().filter_map(used_up));
    findings.extend(config.doors.iter().filter_map(|door| no_ipv6(facts, door)));
    findings.extend(deaf_to_ipv6(facts));
    findings.extend(keys::examine(facts));
    if config.doors.is_empty() {
        let found = format!("{} has no door", facts.config_path);
        findings.push(
            Finding::problem("no-door", found, "nothing can be opened")
                .with("docs/knockd.conf.md shows how one looks"),
        );
    }
    Section {
        title: "Doors",
        well: format!("{}, none with a weak sequence", count(config.doors.len())),
        findings,
    }
}

fn unusable(path: &str, errors: &[String]) -> Finding {
    let found = format!("{path} cannot be used: {}", errors.join("; "));
    let why =
        "knockd does not start with it, and does not take it over; what its doors are for is not known here";
    Finding::problem("configuration", found, why).with(format!("knockd --check -c {path}"))
}

/// Ports that nobody can open by IPv6.
fn deaf_to_ipv6(facts: &Facts) -> Option<Finding> {
    let guards = facts.guard() && facts.has_ipv6() && facts.guarded().any(|port| port.ipv6);
    if !facts.process.only_ipv4 || !guards {
        return None;
    }
    let found = format!("knockd passes over IPv6 (-4), and guards {} by IPv6 too", facts.guarded_in_words());
    let finding = Finding::note("deaf-to-ipv6", found, "whoever comes by IPv6 stays outside, knock or not");
    Some(finding.with("start knockd without -4, or knock by IPv4 alone: knock -4"))
}

fn count(doors: usize) -> String {
    if doors == 1 { "1 door".into() } else { format!("{doors} doors") }
}

fn weak(door: &Door) -> Option<Finding> {
    let sequence = door.secret.fixed()?;
    let weakness = weakness(sequence, door.strict)?;
    let found = format!("door {}: {weakness}", door.key.name);
    let finding = Finding::warning("weak-sequence", found, "strangers may open it by trying, or by chance");
    Some(
        finding
            .with("shuf -i 1024-65535 -n 4 gives ports for a new Sequence; make one or two of them PORT:udp"),
    )
}

fn used_up(door: &control::Door) -> Option<Finding> {
    if !door.one_time || door.sequences_left.is_none_or(|left| left > FEW) {
        return None;
    }
    let left = door.sequences_left.unwrap_or_default();
    let found = format!("door {} has {left} one-time sequences left", door.name);
    let finding = match left {
        0 => Finding::problem("sequences-used-up", found, "it opens for nobody any more"),
        _ => Finding::warning("sequences-used-up", found, "when they are used up it opens for nobody"),
    };
    Some(finding.with("add lines to its file and to the clients' copies, and: knockctl reload"))
}

/// So many one-time sequences are few.
const FEW: usize = 3;

/// A port that a command opens by IPv4 and that is open to all by IPv6.
fn no_ipv6(facts: &Facts, door: &Door) -> Option<Finding> {
    if !facts.has_ipv6() || door.commands.start_6.is_some() || door.target.is_some() {
        return None;
    }
    let port = facts.ports.iter().find(|port| !port.native && port.door == door.key.name)?;
    let packet = |ipv6| facts.stranger(port.protocol_name(), port.first, ipv6);
    let verdict = |ipv6| facts.ruleset.fate(&packet(ipv6), &TO_US).verdict;
    if (verdict(false), verdict(true)) != (Verdict::Drop, Verdict::Accept) {
        return None;
    }
    let found = format!("{port} of door {} is closed by IPv4 and open to everybody by IPv6", door.key.name);
    let finding =
        Finding::problem("open-by-ipv6", found, "the door has no Start_Command_6, and IPv6 no firewall");
    Some(
        finding
            .with("ip6tables -I INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT")
            .with(format!("ip6tables -A INPUT -p {} --dport {} -j DROP", port.protocol, port.first))
            .with(format!("or {}, which is for both", remedy::instead_of_commands(facts, port))),
    )
}
