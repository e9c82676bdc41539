//! The archive of static programs, unpacked where there is nothing else: no C library, no shell, no files of a system.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lab::{Host, Lab, PortState, Process, Service, Signal, TempDir, binary};

const SOON: Duration = Duration::from_secs(20);
const CONFIG: &str = "[options]\n    Interface = any\n[ssh]\n    sequence = 7142,8319:udp,9623\n    tcpflags = syn\n    \
    open = 22/tcp\n    open_for = 10m\n";

/// `None` where it has not been built.
fn archive() -> Option<PathBuf> {
    let built = binary("knockd").unwrap().parent()?.parent()?.join("package");
    let archives = fs::read_dir(built).ok().into_iter().flatten().flatten().map(|entry| entry.path());
    let archive = archives.filter(|path| path.to_string_lossy().ends_with("-linux.tar.gz")).max();
    if archive.is_none() {
        eprintln!("skipped: the archive has not been built");
    }
    archive
}

/// The archive's content, and next to it what a daemon needs of a system: a file, and room for others.
fn unpacked(archive: &PathBuf) -> TempDir {
    let directory = TempDir::new().unwrap();
    let mut tar = Command::new("tar");
    tar.args(["--strip-components", "1", "-xzf"]).arg(archive).arg("-C").arg(directory.path());
    assert!(tar.status().unwrap().success());
    for folder in ["etc", "run", "var/lib", "proc"] {
        fs::create_dir_all(directory.path().join(folder)).unwrap();
    }
    fs::write(directory.path().join("etc/knockd.conf"), CONFIG).unwrap();
    directory
}

/// A program of the archive, with the archive as its whole world but for /proc.
fn alone(root: &TempDir, line: &str) -> Command {
    let root = root.path().display();
    let mut command = Command::new("unshare");
    let script = format!("mount -t proc proc {root}/proc && exec chroot {root} {line}");
    command.args(["--mount", "sh", "-ec", &script]);
    command
}

fn said(host: &Host, mut command: Command) -> io::Result<String> {
    let output = host.output(&mut command)?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(io::Error::other(told))
    }
}

#[test]
fn it_has_what_a_prefix_has_and_belongs_to_root() {
    let Some(archive) = archive() else { return };
    let output = Command::new("tar").arg("-tvzf").arg(&archive).output().unwrap();
    let listed = String::from_utf8(output.stdout).unwrap();
    for file in [
        "sbin/knockd",
        "bin/knock",
        "bin/knockctl",
        "share/man/man1/knockd.1",
        "share/man/man5/knockd.conf.5",
        "share/bash-completion/completions/knockctl",
        "share/zsh/site-functions/_knock",
        "share/fish/vendor_completions.d/knockd.fish",
        "lib/systemd/system/knockd.service",
        "share/doc/toctoc/LICENSE-MIT",
        "share/doc/toctoc/INSTALL.md",
    ] {
        assert!(listed.lines().any(|line| line.ends_with(&format!("/{file}"))), "{file}\n{listed}");
    }
    assert!(listed.lines().all(|line| line.split_whitespace().nth(1) == Some("0/0")), "{listed}");
}

#[test]
fn the_programs_need_nothing_but_the_kernel() {
    let Some(archive) = archive() else { return };
    let root = unpacked(&archive);
    let lab = Lab::pair().unwrap();
    let (server, client) = (lab.server(), lab.client());
    let _service = Service::start(server, 22).unwrap();
    fs::write(root.path().join("etc/hosts"), format!("{} server\n", server.ip4())).unwrap();
    for program in ["/sbin/knockd", "/bin/knock", "/bin/knockctl"] {
        assert!(
            said(server, alone(&root, &format!("{program} -V"))).unwrap().contains("toctoc"),
            "{program}"
        );
    }

    let mut daemon: Process = server.spawn(&mut alone(&root, "/sbin/knockd")).unwrap();
    client.wait_until_port(server.at4(22), PortState::Filtered, SOON).unwrap();
    said(client, alone(&root, "/bin/knock -d 20 server 7142 8319:udp 9623")).unwrap();
    client.wait_until_open(server.at4(22), SOON).unwrap();
    let grants = said(server, alone(&root, "/bin/knockctl grants")).unwrap();
    assert!(grants.contains(&client.ip4().to_string()), "{grants}");
    said(server, alone(&root, "/bin/knockctl close --all")).unwrap();
    client.wait_until_closed(server.at4(22), SOON).unwrap();
    daemon.signal(Signal::TERM).unwrap();
    assert_eq!(daemon.wait_exit(SOON).unwrap().code(), Some(15));
}
