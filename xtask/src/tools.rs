//! The programs that the tests run, and the Debian packages that they are in.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use crate::cargo::succeed;

/// A program, or a file of a library, and its package.
const TOOLS: [(&str, &str); 16] = [
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
    ("fwknop", "fwknop-client"),
    ("python3", "python3-minimal"),
    ("/usr/lib/python3/dist-packages/cryptography/__init__.py", "python3-cryptography"),
];

/// Firewalls that, once installed, would guard this very machine after its next boot: they are installed only where it
/// is thrown away (`CI`), and the tests with them are left out where they are not there.
const FIREWALLS: [(&str, &str); 3] =
    [("ufw", "ufw"), ("firewalld", "firewalld"), ("dbus-daemon", "dbus-daemon")];

/// What builds a Debian package.
const PACKAGERS: [(&str, &str); 2] = [("dh", "debhelper"), ("dpkg-buildpackage", "dpkg-dev")];

/// What its tests use beside: they, too, run only where the machine is thrown away.
const PACKAGE_TESTERS: [(&str, &str); 2] = [("mmdebstrap", "mmdebstrap"), ("lintian", "lintian")];

/// What the tests of manual pages, completions, packages and QR codes look at their work with. They are left out where it is not
/// there, for it is much; so it is installed only where the machine is thrown away.
const READERS: [(&str, &str); 7] = [
    ("man", "man-db"),
    ("mandoc", "mandoc"),
    ("bash", "bash"),
    ("zsh", "zsh"),
    ("fish", "fish"),
    ("rpmbuild", "rpm"),
    ("zbarimg", "zbar-tools"),
];

/// What reads the daemon's log and metrics. They would run on this very machine after its next boot, so they are installed
/// only where it is thrown away, and the tests with them are left out where they are not there.
const LOG_READERS: [(&str, &str); 6] = [
    ("fail2ban-regex", "fail2ban"),
    ("promtool", "prometheus"),
    ("prometheus", "prometheus"),
    ("journalctl", "systemd"),
    ("jsonschema", "python3-jsonschema"),
    ("systemd-cat", "systemd"),
];

/// What Debian asks before it starts the service of a package that it has just installed.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Makes sure that all of them are there: installs what is missing as root, or says how to.
pub(crate) fn provide() -> io::Result<()> {
    let thrown_away =
        FIREWALLS.iter().chain(&PACKAGERS).chain(&PACKAGE_TESTERS).chain(&READERS).chain(&LOG_READERS);
    let thrown_away = thrown_away.filter(|_| machine_is_thrown_away());
    provide_all(&TOOLS.iter().chain(thrown_away).copied().collect::<Vec<_>>())
}

/// Whether nobody minds what is installed and built here.
pub(crate) fn machine_is_thrown_away() -> bool {
    std::env::var_os("CI").is_some()
}

/// Makes sure that there is what the benches measure, and beside what.
pub(crate) fn provide_for_bench() -> io::Result<()> {
    provide()?;
    provide_all(&[("fwknopd", "fwknop-server")])
}

/// Makes sure that there is what builds a Debian package.
pub(crate) fn provide_for_deb() -> io::Result<()> {
    provide_all(&PACKAGERS)
}

/// Makes sure that there is what builds an RPM package.
pub(crate) fn provide_for_rpm() -> io::Result<()> {
    provide_all(&[("rpmbuild", "rpm")])
}

/// Makes sure that the demo has what it makes hosts with.
pub(crate) fn provide_for_demo() -> io::Result<()> {
    provide_all(&[("ip", "iproute2"), ("unshare", "util-linux")])
}

/// Makes sure that there is the C++ compiler that the fuzzing library is built with.
pub(crate) fn provide_compiler() -> io::Result<()> {
    provide_all(&[("c++", "g++")])
}

/// Makes sure that there is Python's installer, which has programs that Debian has not.
pub(crate) fn provide_pip() -> io::Result<()> {
    provide_all(&[("pip3", "python3-pip")])
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
