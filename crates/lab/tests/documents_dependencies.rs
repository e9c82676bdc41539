//! What `docs/dependencies.md` says of the crates that are built in is what cargo builds in.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const PROGRAMS: [&str; 3] = ["knockd", "knock", "knockctl"];
/// The programs are the same everywhere; what they are built of is not, and Linux is where all three run.
const TARGET: &str = "x86_64-unknown-linux-gnu";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn document() -> String {
    fs::read_to_string(root().join("docs/dependencies.md")).unwrap()
}

/// A crate in a program's tree.
struct Node {
    depth: usize,
    name: String,
    is_ours: bool,
}

fn tree(program: &str, edges: &str) -> Vec<Node> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--offline", "--no-dedupe", "--prefix=depth", "--format= {p}", "--target", TARGET]);
    let output = tree.args(["--edges", edges, "--package", program]).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let node = |line: &str| {
        let mut words = line.split(' ');
        let depth = words.next().unwrap().parse().unwrap();
        // Only of our own crates is a path told.
        Node { depth, name: words.next().unwrap().into(), is_ours: line.contains(" (/") }
    };
    String::from_utf8(output.stdout).unwrap().lines().map(node).collect()
}

/// The crates of others, in a program or needed to build it.
fn foreign(nodes: &[Node]) -> BTreeSet<String> {
    nodes.iter().filter(|node| !node.is_ours).map(|node| node.name.clone()).collect()
}

/// Of each crate of others that one of ours names: what it brings along.
fn direct(nodes: &[Node]) -> BTreeMap<String, BTreeSet<String>> {
    let mut direct: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut parents: Vec<&Node> = Vec::new();
    for (place, node) in nodes.iter().enumerate() {
        parents.truncate(node.depth);
        if !node.is_ours && parents.last().is_some_and(|parent| parent.is_ours) {
            let below = nodes.iter().skip(place + 1).take_while(|below| below.depth > node.depth);
            direct.entry(node.name.clone()).or_default().extend(below.map(|below| below.name.clone()));
        }
        parents.push(node);
    }
    direct
}

fn listed<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[test]
fn as_many_crates_are_built_in_as_are_told() {
    let document = document();
    for program in PROGRAMS {
        let row = format!("| `{program}` | {} |", foreign(&tree(program, "normal,no-proc-macro")).len());
        assert!(document.contains(&row), "docs/dependencies.md is to have the row\n{row}");
    }
}

#[test]
fn each_crate_has_its_row_and_there_are_no_others() {
    let trees = PROGRAMS.map(|program| (program.to_owned(), tree(program, "normal,no-proc-macro")));
    let mut wanted: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for (program, nodes) in &trees {
        for (name, brought) in direct(nodes) {
            let (programs, known) = wanted.entry(name).or_default();
            programs.insert(program.clone());
            known.extend(brought);
        }
    }
    let document = document();
    let rows = document.lines().filter_map(|line| {
        let cells: Vec<_> = line.strip_prefix("| `")?.strip_suffix(" |")?.split(" | ").collect();
        let [name, programs, purpose, brought] = cells[..] else { return None };
        assert!(!purpose.is_empty(), "{line}");
        Some((name.trim_end_matches('`').to_owned(), format!("{programs} | {brought}")))
    });
    let told: BTreeMap<String, String> = rows.collect();
    for (name, (programs, brought)) in &wanted {
        let brought = if brought.is_empty() { "nothing".into() } else { listed(brought) };
        let row = format!("{} | {brought}", listed(programs));
        assert_eq!(
            told.get(name),
            Some(&row),
            "docs/dependencies.md: the row of `{name}`, its purpose left out"
        );
    }
    let unknown: Vec<_> = told.keys().filter(|name| !wanted.contains_key(*name)).collect();
    assert!(unknown.is_empty(), "docs/dependencies.md has rows of what is not built in: {unknown:?}");
}

#[test]
fn what_only_builds_them_is_told() {
    let mut built = BTreeSet::new();
    for program in PROGRAMS {
        let all = foreign(&tree(program, "normal,build"));
        built.extend(all.difference(&foreign(&tree(program, "normal,no-proc-macro"))).cloned());
    }
    // A crate can be in one program and only build another.
    for program in PROGRAMS {
        let inside = foreign(&tree(program, "normal,no-proc-macro"));
        built.retain(|name| !inside.contains(name));
    }
    let told = listed(&built);
    let text = document().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(&format!(": {told}.")), "docs/dependencies.md is to list\n{told}.");
}
