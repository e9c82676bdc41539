//! The RPM package, installed for real in a root of its own: where `cargo xtask test` has built both.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lab::{Host, Lab, PortState, Service, TempDir, binary, has_tool};

const SOON: Duration = Duration::from_secs(20);

/// What knock-server is to rpm: the same files, and the scripts that Fedora's macros make.
const KNOCK_SERVER: &str = r"
Name: knock-server
Version: 0.8
Release: 1
Summary: A port-knocking server
License: GPL-2.0-or-later
BuildArch: noarch
%description
As above.
%install
mkdir -p %{buildroot}/etc %{buildroot}/usr/sbin %{buildroot}/usr/lib/systemd/system
echo '[options]' >%{buildroot}/etc/knockd.conf
echo '#!/bin/sh' >%{buildroot}/usr/sbin/knockd
echo '[Service]
ExecStart=/usr/sbin/knockd
[Install]
WantedBy=multi-user.target' >%{buildroot}/usr/lib/systemd/system/knockd.service
%files
%config(noreplace) /etc/knockd.conf
%attr(755,root,root) /usr/sbin/knockd
/usr/lib/systemd/system/knockd.service
%preun
[ $1 -ne 0 ] || systemctl --no-reload disable --now knockd.service || :
%postun
[ $1 -eq 0 ] || systemctl try-restart knockd.service || :
";

/// A configuration as an administrator has it.
const CONFIG: &str = "[options]\n    UseSyslog\n[ssh]\n    sequence = 7142,8319:udp,9623\n    tcpflags = syn\n    \
    open = 22/tcp\n";

/// A small Linux in a directory, on a host of the lab.
struct Machine {
    lab: Lab,
    directory: TempDir,
    package: PathBuf,
}

impl Machine {
    /// `None` where the package, or what it is to be installed on, has not been built.
    fn new() -> Option<Self> {
        let built = binary("knockd").unwrap().parent()?.parent()?.join("package");
        let packages = fs::read_dir(&built).ok().into_iter().flatten().flatten().map(|entry| entry.path());
        let package = packages.filter(|path| path.extension().is_some_and(|end| end == "rpm")).max();
        let archive = built.join("root.tar");
        let (Some(package), true, true) = (package, archive.is_file(), has_tool("rpmbuild")) else {
            eprintln!("skipped: no package, no root to install it in, or no rpm");
            return None;
        };
        let directory = TempDir::new().unwrap();
        let machine = Self { lab: Lab::pair().unwrap(), directory, package };
        fs::create_dir(machine.root()).unwrap();
        machine.done(Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(machine.root()));
        // As Fedora has it: a service is off until somebody switches it on.
        fs::create_dir_all(machine.file("etc/systemd/system-preset")).unwrap();
        fs::write(machine.file("etc/systemd/system-preset/99-off.preset"), "disable *\n").unwrap();
        fs::create_dir_all(machine.file("run")).unwrap();
        machine.rpm("--initdb");
        Some(machine)
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    fn file(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn server(&self) -> &Host {
        self.lab.server()
    }

    fn done(&self, command: &mut Command) -> String {
        let output = self.server().output(command).unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a line in the root, with /proc and /dev in it; systemd is none there and knows it.
    fn mounted(&self, line: &str) -> String {
        let root = self.root().display().to_string();
        let script = format!(
            "mount -t proc proc {root}/proc\nmount --rbind /dev {root}/dev\nexport SYSTEMD_OFFLINE=1\n{line}"
        );
        self.done(Command::new("unshare").args(["--mount", "sh", "-ec", &script]))
    }

    fn inside(&self, line: &str) -> String {
        self.mounted(&format!("exec chroot {} sh -ec '{line}'", self.root().display()))
    }

    fn rpm(&self, arguments: &str) -> String {
        self.mounted(&format!("exec rpm --root {} {arguments}", self.root().display()))
    }

    /// What this package does to the root's packages: it needs nothing that rpm would know of in there.
    fn change(&self, how: &str, package: &Path) {
        self.rpm(&format!("{how} --nodeps {}", package.display()));
    }

    fn remove(&self) {
        self.rpm("-e --nodeps toctoc");
    }

    /// As if it had never been there.
    fn clear(&self) {
        self.remove();
        self.inside("rm -f /etc/knockd.conf.rpmsave /etc/knockd.conf.rpmnew");
        assert!(!self.file("etc/knockd.conf").exists());
    }

    fn service(&self) -> String {
        self.inside("systemctl is-enabled knockd.service || true").trim().into()
    }

    /// The package that ours takes the place of.
    fn knock_server(&self) -> PathBuf {
        let specification = self.directory.write("knock-server.spec", KNOCK_SERVER).unwrap();
        let mut build = Command::new("rpmbuild");
        build.arg("-bb").arg(specification);
        for (name, value) in [("_topdir", "build"), ("_rpmdir", "."), ("_rpmfilename", "knock-server.rpm")] {
            let value = match name {
                "_rpmfilename" => value.into(),
                _ => self.directory.path().join(value).display().to_string(),
            };
            build.arg("--define").arg(format!("{name} {value}"));
        }
        self.done(&mut build);
        self.directory.path().join("knock-server.rpm")
    }

    /// The configuration, and who may read it.
    fn config(&self) -> (String, u32) {
        let path = self.file("etc/knockd.conf");
        (fs::read_to_string(&path).unwrap(), fs::metadata(path).unwrap().permissions().mode() & 0o777)
    }
}

/// One machine for all: to make it takes longer than all the rest.
#[test]
fn the_package_does_what_an_administrator_expects() {
    let Some(machine) = Machine::new() else { return };
    a_first_installation_is_off_and_can_be_used(&machine);
    machine.clear();
    it_takes_the_place_of_knock_server_and_keeps_what_the_administrator_has_decided(&machine);
    machine.clear();
    when_it_is_removed_nothing_is_guarded_any_more(&machine);
}

fn a_first_installation_is_off_and_can_be_used(machine: &Machine) {
    machine.change("-i", &machine.package);
    assert_eq!(machine.service(), "disabled");
    assert_eq!(machine.config().1, 0o600);
    machine.inside("knockd --check && knock -V && knockctl -V && id knockd");
    assert_eq!(machine.rpm("-V --nodeps toctoc"), "");
    if machine.file("usr/bin/systemd-analyze").exists() {
        assert_eq!(machine.inside("systemd-analyze verify --man=no knockd.service 2>&1"), "");
    }
    let unit = fs::read_to_string(machine.file("usr/lib/systemd/system/knockd.service")).unwrap();
    assert!(unit.contains("EnvironmentFile=-/etc/sysconfig/knockd\n"), "{unit}");
    assert!(
        unit.contains("ExecStart=/usr/sbin/knockd $OPTIONS\n") && !unit.contains("KNOCKD_OPTS"),
        "{unit}"
    );
}

fn it_takes_the_place_of_knock_server_and_keeps_what_the_administrator_has_decided(machine: &Machine) {
    machine.change("-i", &machine.knock_server());
    fs::write(machine.file("etc/knockd.conf"), CONFIG).unwrap();
    fs::set_permissions(machine.file("etc/knockd.conf"), fs::Permissions::from_mode(0o640)).unwrap();
    machine.inside("systemctl enable knockd.service");

    machine.change("-U", &machine.package);

    assert!(machine.rpm("-qa").starts_with("toctoc-") && !machine.rpm("-qa").contains("knock-server"));
    assert_eq!(machine.config(), (CONFIG.into(), 0o640));
    assert_eq!(machine.service(), "enabled");
    assert!(machine.inside("knockd -V").contains("toctoc"));
    machine.change("-U --force", &machine.package);
    assert_eq!(machine.service(), "enabled");
    assert_eq!(machine.config(), (CONFIG.into(), 0o640));
}

fn when_it_is_removed_nothing_is_guarded_any_more(machine: &Machine) {
    let _service = Service::start(machine.server(), 22).unwrap();
    let (client, port) = (machine.lab.client(), machine.server().at4(22));
    machine.change("-i", &machine.package);
    fs::write(machine.file("etc/knockd.conf"), CONFIG).unwrap();

    machine.inside("knockd -d -p /run/knockd.pid");
    assert_eq!(client.probe(port), PortState::Filtered);
    client
        .sh(&format!(
            "chroot {} knock -d 20 {} 7142 8319:udp 9623",
            machine.root().display(),
            machine.server().ip4()
        ))
        .unwrap();
    client.wait_until_open(port, SOON).unwrap();
    let pid = fs::read_to_string(machine.file("run/knockd.pid")).unwrap();
    machine.inside(&format!("kill {0}; while kill -0 {0} 2>/dev/null; do sleep 0.05; done", pid.trim()));
    assert!(machine.server().sh("nft list tables").unwrap().contains("inet knockd"));

    machine.remove();

    assert!(!machine.server().sh("nft list tables").unwrap().contains("inet knockd"));
    client.wait_until_open(port, SOON).unwrap();
    let kept = fs::read_to_string(machine.file("etc/knockd.conf.rpmsave")).unwrap();
    assert_eq!(kept, CONFIG);
    let left = machine.inside("find /usr /etc -name \"*knock*\" ! -name \"*.rpmsave\"");
    // The machine's own key stays, as those of sshd do.
    assert_eq!(left, "/etc/knockd\n");
}
