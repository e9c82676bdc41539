//! `close` names another door of the file, which may stand further down.

use std::collections::BTreeSet;

use super::MAX_ERRORS;
use super::diagnostic::Diagnostic;
use super::door::Door;
use super::lines::Spanned;
use super::nearest::nearest;

/// So many names are compared with a mistyped one.
const MAX_COMPARED: usize = 200;

/// What is wrong with what the doors close, where `names` has the names of all doors' sections.
pub(super) fn mistakes(doors: &[Door], names: &BTreeSet<String>) -> Vec<Diagnostic> {
    doors.iter().filter_map(|door| mistake(door, names)).take(MAX_ERRORS).collect()
}

fn mistake(door: &Door, names: &BTreeSet<String>) -> Option<Diagnostic> {
    let (name, span) = (door.closes.as_ref()?, door.close_span.clone()?);
    if *name == door.key.name {
        let found = format!("door \"{name}\" closes itself");
        return Some(Diagnostic::error(span, found, "another door's name"));
    }
    if names.contains(name) {
        return None;
    }
    let error = Diagnostic::error(span, format!("there is no door \"{name}\""), "another door's name");
    Some(match help(name, names) {
        Some(help) => error.with_help(help),
        None => error,
    })
}

fn help(name: &str, names: &BTreeSet<String>) -> Option<String> {
    let (before, had_remark) = Spanned { text: name, start: 0 }.without_remark();
    if had_remark && names.contains(before.text) {
        return Some("a remark stands on a line of its own, after #".to_owned());
    }
    let names = names.iter().take(MAX_COMPARED).map(String::as_str);
    nearest(name, names).map(|near| format!("did you mean {near}?"))
}
