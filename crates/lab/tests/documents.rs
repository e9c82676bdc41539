//! The documents hold what they say: their configurations can be used, and their links lead somewhere. What their
//! commands do is looked at in `guides`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use knock_core::spa::HostKey;
use lab::{TempDir, binary};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The code blocks of a document that are marked with `language`, whatever stands behind it.
fn blocks(document: &Path, language: &str) -> Vec<String> {
    let text = fs::read_to_string(document).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(marked)) if marked.split(' ').next() == Some(language) => open = Some(String::new()),
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(block), _) => *block += &format!("{line}\n"),
            (None, _) => {}
        }
    }
    blocks
}

fn documents() -> Vec<PathBuf> {
    let files = |directory: &str| fs::read_dir(root().join(directory)).unwrap();
    let paths = ["", "docs", "docs/fr"].into_iter().flat_map(files).map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|end| end == "md")).collect()
}

/// What examples name in `/etc/knockd`, with a host key for each that needs one.
fn readers_files() -> TempDir {
    let directory = TempDir::new().unwrap();
    let key = HostKey::from_random(&[7; 32]).to_text();
    for (name, content) in [
        ("host_key", key.as_str()),
        ("ssh.sequences", " 7142,8319:udp,5623\n"),
        ("ssh.rolling", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"),
        ("ssh.fwknop", "KEY: sesame\nHMAC_KEY: simsim\n"),
        (
            "authorized_keys",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIILTGPDYuUYtmaagnrrD1xMdyV8E0iFH8ncgEZKOwUpN alice\n",
        ),
    ] {
        let file = directory.write(name, content).unwrap();
        fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    }
    directory
}

#[test]
fn every_configuration_in_the_documents_can_be_used() {
    let directory = readers_files();
    let mut checked = 0;
    for document in documents() {
        for block in blocks(&document, "conf") {
            // Files that an example names are the reader's, and so is the key that it does not name.
            let block = if block.contains("host_key") || block.contains("[options]") {
                block
            } else {
                format!("[options]\nhost_key = /etc/knockd/host_key\n{block}")
            };
            let block = block.replace("/etc/knockd/", &format!("{}/", directory.path().display()));
            let file = directory.write("knockd.conf", &block).unwrap();
            let mut check = Command::new(binary("knockd").unwrap());
            let output = check.arg("--check").arg("-c").arg(file).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}:\n{block}\n{told}", document.display());
            checked += 1;
        }
    }
    assert!(checked >= 15, "only {checked} were found");
}

#[test]
fn every_link_between_the_documents_leads_somewhere() {
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://")) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let path = if file.is_empty() { document.clone() } else { document.parent().unwrap().join(file) };
            let linked = fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{}: {target}: {error}", document.display()));
            let is_there = |line: &str| line.starts_with('#') && slug(line) == anchor;
            assert!(anchor.is_empty() || linked.lines().any(is_there), "{}: {target}", document.display());
        }
    }
}

/// A heading's anchor, as forges make it.
fn slug(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.collect::<String>().replace(' ', "-")
}
