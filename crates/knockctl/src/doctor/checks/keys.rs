//! Doors for SSH keys: is there a key to seal knocks to, and who may knock?

use crate::doctor::facts::Facts;
use crate::doctor::finding::Finding;
use crate::doctor::keys::File;
use crate::keys::shown;

/// A key whose time is over within this many seconds is told: two weeks.
const SOON: i64 = 14 * 86_400;
/// So many mistakes of a file are shown.
const MAX_MISTAKES: usize = 10;

/// What there is to say of keys.
pub(crate) fn examine(facts: &Facts) -> Vec<Finding> {
    let keys = &facts.keys;
    let mut findings = Vec::new();
    if let Some(path) = &keys.host_key_missing {
        let found = format!("there is no knock key {path}");
        let why = "knockd does not take up doors with authorized_keys without it";
        findings
            .push(Finding::problem("host-key-missing", found, why).with("knockctl host-key, which makes it"));
    }
    findings.extend(keys.files.iter().filter_map(without_keys));
    findings.extend(keys.files.iter().flat_map(mistakes));
    findings.extend(keys.files.iter().flat_map(|file| over(file, keys.now)));
    findings
}

fn without_keys(file: &File) -> Option<Finding> {
    let doors = file.doors.join(", ");
    let enroll = "knockctl enroll NAME KEYFILE";
    if !file.is_there {
        let found = format!("door {doors}: there is no file {}", file.name);
        return Some(Finding::problem("keys-missing", found, "nobody can knock with a key").with(enroll));
    }
    if !file.keys.is_empty() {
        return None;
    }
    let found = format!("door {doors}: no key may knock, {} has none", file.name);
    Some(Finding::problem("keys-missing", found, "nobody can knock with a key").with(enroll))
}

fn mistakes(file: &File) -> impl Iterator<Item = Finding> {
    let finding = |mistake: &String| {
        let why = "that line counts for nothing: whose key it is cannot knock";
        Finding::warning("keys-mistake", mistake, why).with(format!("correct it in {}", file.name))
    };
    file.mistakes.iter().take(MAX_MISTAKES).map(finding)
}

fn over(file: &File, now: i64) -> impl Iterator<Item = Finding> {
    let finding = move |(name, until): &(String, Option<i64>)| {
        let until = (*until)?;
        let remedy = format!("in {}: another expiry-time, or knockctl revoke", file.name);
        if until <= now {
            let found = format!("the time of the key {name} is over since {}", shown(until));
            return Some(Finding::note("key-expires", found, "it opens nothing any more").with(remedy));
        }
        let is_soon = until.saturating_sub(now) < SOON;
        let found = format!("the time of the key {name} is over on {}", shown(until));
        is_soon.then(|| Finding::warning("key-expires", found, "it opens nothing from then on").with(remedy))
    };
    file.keys.iter().filter_map(finding)
}
