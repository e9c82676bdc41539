//! The list of differences: every entry is shown by a case, every difference of a case has its entry.

use std::collections::BTreeSet;
use std::fs;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/knockd-differences.md");

/// Compares the differences of the cases with those of the document.
pub(crate) fn check(used: &BTreeSet<&str>) -> Result<(), String> {
    let text = fs::read_to_string(DOCUMENT).map_err(|error| format!("{DOCUMENT}: {error}"))?;
    let listed: Vec<_> = text.lines().filter_map(identifier).collect();
    let documented: BTreeSet<_> = listed.iter().copied().collect();
    let faults = [
        ("listed twice", if listed.len() == documented.len() { vec![] } else { listed }),
        ("used by a case but not documented", used.difference(&documented).copied().collect()),
        ("documented but shown by no case", documented.difference(used).copied().collect()),
    ];
    let faults: Vec<_> = faults
        .iter()
        .filter(|(_, ids)| !ids.is_empty())
        .map(|(what, ids)| format!("{what}: {ids:?}"))
        .collect();
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}

/// The `D7` of a heading `### D7 In a few words`.
fn identifier(line: &str) -> Option<&str> {
    let identifier = line.strip_prefix("### ")?.split_whitespace().next()?;
    let number = identifier.strip_prefix('D')?;
    (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())).then_some(identifier)
}
