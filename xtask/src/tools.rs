//! The programs that the tests run, and the Debian packages that they are in.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use crate::cargo::succeed;

/// A program, and its package.
const TOOLS: [(&str, &str); 14] = [
    ("knockd", "knockd"),
    ("knock", "knockd"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("nc.openbsd", "netcat-openbsd"),
    ("telnet", "telnet"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("ip", "iproute2"),
    ("tcpdump", "tcpdump"),
    ("unshare", "util-linux"),
    ("ps", "procps"),
    ("faketime", "faketime"),
    ("python3", "python3-minimal"),
];

/// Firewalls that, once installed, would guard this very machine after its next boot: they are installed only where it
/// is thrown away (`CI`), and the tests with them are left out where they are not there.
const FIREWALLS: [(&str, &str); 3] =
    [("ufw", "ufw"), ("firewalld", "firewalld"), ("dbus-daemon", "dbus-daemon")];

/// What Debian asks before it starts the service of a package that it has just installed.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Makes sure that all of them are there: installs what is missing as root, or says how to.
pub(crate) fn provide() -> io::Result<()> {
    let machine_is_thrown_away = std::env::var_os("CI").is_some();
    let firewalls = FIREWALLS.iter().filter(|_| machine_is_thrown_away);
    provide_all(&TOOLS.iter().chain(firewalls).copied().collect::<Vec<_>>())
}

/// Makes sure that the demo has what it makes hosts with.
pub(crate) fn provide_for_demo() -> io::Result<()> {
    provide_all(&[("ip", "iproute2"), ("unshare", "util-linux")])
}

/// Makes sure that there is the C++ compiler that the fuzzing library is built with.
pub(crate) fn provide_compiler() -> io::Result<()> {
    provide_all(&[("c++", "g++")])
}

fn provide_all(tools: &[(&str, &'static str)]) -> io::Result<()> {
    let missing = missing_packages(tools);
    if missing.is_empty() {
        return Ok(());
    }
    if !lab::is_root() {
        let line = format!("apt-get install --no-install-recommends {}", missing.join(" "));
        return Err(io::Error::other(format!("some programs are missing; as root, type\n\n  {line}\n")));
    }
    install(&missing)
}

fn missing_packages(tools: &[(&str, &'static str)]) -> Vec<&'static str> {
    let is_missing = |(program, _): &&(&str, &str)| !lab::has_tool(program);
    let mut packages: Vec<_> = tools.iter().filter(is_missing).map(|(_, package)| *package).collect();
    packages.dedup();
    packages
}

fn install(packages: &[&str]) -> io::Result<()> {
    println!("Installing: {}", packages.join(" "));
    let _services_stay_down = Policy::forbid_starting()?;
    succeed(apt().arg("update"))?;
    succeed(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages))
}

fn apt() -> Command {
    let mut command = Command::new("apt-get");
    command.arg("--quiet").env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Keeps the SSH and knocking daemons from being started, and so from listening on this machine's own network, only
/// because their programs are wanted. Removed on drop. A policy that is there already is left alone: it is the
/// administrator's decision, and in containers says the same.
struct Policy {
    is_ours: bool,
}

impl Policy {
    fn forbid_starting() -> io::Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { is_ours: false });
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY)?;
        let policy = Self { is_ours: true };
        // 101: forbidden by policy.
        file.write_all(b"#!/bin/sh\nexit 101\n")?;
        Ok(policy)
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        if self.is_ours && fs::remove_file(POLICY).is_err() {
            eprintln!("xtask: please remove {POLICY}, which keeps services from starting");
        }
    }
}
