//! The documents hold what they say: their configurations can be used, and their commands do what is promised.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lab::{Lab, PortState, Service, TempDir, binary};

const SOON: Duration = Duration::from_secs(10);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The code blocks of a document that are marked with `language`.
fn blocks(document: &Path, language: &str) -> Vec<String> {
    let text = fs::read_to_string(document).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in text.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(marked)) if marked == language => open = Some(String::new()),
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(block), _) => *block += &format!("{line}\n"),
            (None, _) => {}
        }
    }
    blocks
}

fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    docs.filter(|path| path.extension().is_some_and(|end| end == "md"))
        .chain([root().join("README.md")])
        .collect()
}

#[test]
fn every_configuration_in_the_documents_can_be_used() {
    let directory = TempDir::new().unwrap();
    let mut checked = 0;
    for document in documents() {
        for block in blocks(&document, "conf") {
            // Files that an example names are the reader's.
            let named = directory.write("sequences", " 7142,8319:udp,5623\n").unwrap();
            let block = block.replace("/etc/knockd/ssh.sequences", &named.display().to_string());
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

/// The README's first door, typed as it stands there. Only the build and `sudo` are left out, and what would be
/// written to this machine's `/etc`, `/run` and `/var/lib` goes to a mount namespace's own.
#[test]
fn the_first_door_of_the_readme_opens() {
    let lab = Lab::pair().unwrap();
    let (server, client) = (lab.server(), lab.client());
    let readme = root().join("README.md");
    let commands =
        blocks(&readme, "sh").into_iter().find(|block| block.contains("/etc/knockd.conf")).unwrap();
    let door = blocks(&readme, "conf").remove(0);
    let lines: Vec<_> = commands.lines().collect();
    let (server_lines, knock) = (&lines[1..], lines[3].split("on the client: ").nth(1).unwrap());

    let directory = TempDir::new().unwrap();
    let path = directory.path().display().to_string();
    directory.write("door.conf", &door).unwrap();
    directory.write("sudo", "#!/bin/sh\nexec \"$@\"\n").unwrap();
    let knockd = binary("knockd").unwrap().parent().unwrap().display().to_string();
    let script = format!(
        "chmod +x {path}/sudo\ncd {path}\nPATH={path}:{knockd}:$PATH\nmount -t tmpfs none /run\n\
         mount -t tmpfs none /var/lib\nmkdir /run/etc /run/work\n\
         mount -t overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/work none /etc\nrm -f /etc/knockd.conf\n{}\ncp /run/knockd.pid {path}/pid\n",
        server_lines.join("\n")
    );
    directory.write("script", &script).unwrap();
    let _service = Service::start(server, 22).unwrap();
    assert_eq!(server.probe(server.at4(22)), PortState::Open);
    server.sh(&format!("unshare --mount sh -e {path}/script")).unwrap();
    let _daemon = Ended(fs::read_to_string(directory.path().join("pid")).unwrap());

    // Whoever has forgotten the way finds it again: neighbour discovery is let in.
    client.sh("ip neigh flush all && ip -6 neigh flush all").unwrap();
    for (address, port) in [(server.ip4(), server.at4(22)), (server.ip6(), server.at6(22))] {
        assert_eq!(client.probe(port), PortState::Filtered);
        let knock = knock.split(" && ").next().unwrap().replace("SERVER", &address.to_string());
        client.sh(&format!("{knockd}/{knock}")).unwrap();
        client.wait_until_open(port, SOON).unwrap();
    }
    for port in [server.at4(22), server.at6(22)] {
        client.wait_until_closed(port, 3 * SOON).unwrap();
    }
    assert_eq!(server.probe((std::net::Ipv4Addr::LOCALHOST, 22).into()), PortState::Open);
}

/// The README's unit is one.
#[test]
fn the_unit_of_the_readme_can_be_used() {
    if !lab::has_tool("systemd-analyze") {
        eprintln!("skipped: there is no systemd-analyze here");
        return;
    }
    let unit = blocks(&root().join("README.md"), "ini").remove(0);
    let knockd = binary("knockd").unwrap();
    let directory = TempDir::new().unwrap();
    let unit = unit.replace("/usr/local/bin/knockd", &knockd.display().to_string());
    let path = directory.write("toctoc.service", unit).unwrap();
    let output = Command::new("systemd-analyze").arg("verify").arg("--man=no").arg(path).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !told.contains("toctoc"), "{told}");
}

/// Ends the daemon that the commands started.
struct Ended(String);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = Command::new("kill").arg(self.0.trim()).status();
    }
}
