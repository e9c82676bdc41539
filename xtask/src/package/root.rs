//! A small Debian as an archive, for the tests of the package: this machine's release, from where this machine has it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cargo::succeed;

/// What a server has beside Debian's essential packages: what the package needs, and firewalls and programs that doors'
/// commands use.
const PACKAGES: [&str; 11] = [
    "adduser",
    "curl",
    "ipset",
    "iproute2",
    "iptables",
    "logrotate",
    "nftables",
    "procps",
    "sudo",
    "systemd-sysv",
    "ufw",
];
/// Puts Debian's knockd there, not installed, and all that it needs.
const KNOCKD: &str = "
    exec >/dev/null
    apt-get update
    apt-get install --yes --no-install-recommends knockd
    apt-get download knockd
    mv knockd_*.deb /srv/knockd.deb
    dpkg --purge knockd
";
/// Where apt's own sources may stand, those of Debian and its descendants.
const SOURCES: [&str; 3] = [
    "/etc/apt/sources.list",
    "/etc/apt/sources.list.d/debian.sources",
    "/etc/apt/sources.list.d/ubuntu.sources",
];

/// Makes `root.tar` in `directory`, unless it is there.
pub(super) fn make(directory: &Path) -> io::Result<()> {
    let (archive, made_with) = (directory.join("root.tar"), directory.join("root.packages"));
    let packages = PACKAGES.join(",");
    if archive.exists() && fs::read_to_string(&made_with).is_ok_and(|made| made == packages) {
        return Ok(());
    }
    let sources: Vec<_> = SOURCES.iter().map(PathBuf::from).filter(|path| path.exists()).collect();
    let mut command = Command::new("mmdebstrap");
    command.args(["--quiet", "--variant=apt", "--aptopt=Acquire::Check-Valid-Until false"]);
    command.arg(format!("--include={packages}"));
    command.arg(format!("--customize-hook=chroot \"$1\" sh -ec '{KNOCKD}'"));
    succeed(command.arg(release()?).arg(&archive).args(sources))?;
    fs::write(made_with, packages)
}

/// The name of this machine's release (os-release(5)).
fn release() -> io::Result<String> {
    let text = fs::read_to_string("/etc/os-release")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let unknown =
        || io::Error::other("/etc/os-release has no VERSION_CODENAME: this task is for Debian and its like");
    name.map(|name| name.trim_matches('"').to_owned()).ok_or_else(unknown)
}
