//! Each test that `docs/threat-model.md` names is there, and so is each that ought to be named.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document() -> String {
    fs::read_to_string(root().join("docs/threat-model.md")).unwrap()
}

/// What stands between backquotes on a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The text of the files that each name in the last table stands for.
fn files(document: &str) -> BTreeMap<&str, String> {
    let (_, table) = document.split_once("\n## Where the tests are\n").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let file =
        |path: &str| fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let row = |line| {
        let mut words = quoted(line);
        (words.next().unwrap(), words.map(file).collect())
    };
    rows.map(row).collect()
}

/// The tests that the document names, with the name of the file.
fn named(document: &str) -> BTreeSet<(&str, &str)> {
    document.lines().flat_map(quoted).filter_map(|word| word.split_once("::")).filter(is_test).collect()
}

/// Addresses of IPv6 have colons as well.
fn is_test((file, function): &(&str, &str)) -> bool {
    let is_name = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    file.len() > 1 && function.len() > 9 && is_name(file) && is_name(function)
}

/// The functions of a file that are tests.
fn tests(text: &str) -> impl Iterator<Item = &str> {
    let behind_marks = text.split("#[test]\n").skip(1);
    behind_marks.filter_map(|rest| rest.split_once("fn ")?.1.split('(').next())
}

#[test]
fn each_test_that_the_threat_model_names_is_there() {
    let document = document();
    let (files, named) = (files(&document), named(&document));
    assert!(named.len() > 60, "only {} were found", named.len());
    for (file, function) in &named {
        let text =
            files.get(file).unwrap_or_else(|| panic!("{file}::{function}: the last table has no {file}"));
        assert!(text.contains(&format!("fn {function}(")), "{file}::{function}: there is no such function");
    }
    for file in files.keys() {
        assert!(
            named.iter().any(|(used, _)| used == file),
            "{file} is in the last table, and no test of it is named"
        );
    }
}

/// A rule has its line in the document.
#[test]
fn each_rule_that_is_tested_is_in_the_threat_model() {
    let document = document();
    let named = named(&document);
    for (name, path) in [
        ("packet", "crates/knock-core/src/packet/tests/bytes.rs"),
        ("frames", "crates/lab/tests/scenarios/frames/rules.rs"),
        ("strict", "crates/lab/tests/scenarios/strict.rs"),
        ("floods", "crates/lab/tests/scenarios/floods.rs"),
        ("taken_over", "crates/lab/tests/scenarios/taken_over.rs"),
    ] {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let missing: Vec<_> = tests(&text).filter(|test| !named.contains(&(name, *test))).collect();
        // Those that hold for all rules together.
        let others = ["plain_packets_are_knocks", "seeds_of_the_fuzzer_are_what_they_are_called"];
        assert!(missing.iter().all(|test| others.contains(test)), "{path}: {missing:?} are not named");
        assert!(tests(&text).count() > 4, "{path}");
    }
}
