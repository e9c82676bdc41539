//! The documents' commands for apt and systemd, on a Debian of its own with the real ones.

#[path = "../package/machine.rs"]
#[allow(dead_code, reason = "the package's own tests need more of it")]
mod machine;

use std::io;

use lab::{Lab, PortState, Service, wait_until};
use machine::{Init, Machine, Prepared};

use crate::block::{Block, blocks_of};
use crate::town::SOON;

/// Makes a repository of the packages that the machine has, for it has no network; and nobody is there to be asked.
const REPOSITORY: &str = "
    cd /srv
    for package in knockd.deb; do
        dpkg-deb --field $package
        printf 'Filename: ./%s\\nSize: %s\\n' $package $(stat -c %s $package)
        printf 'SHA256: %s\\n\\n' $(sha256sum $package | cut -d ' ' -f 1)
    done >Packages
    rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
    echo 'deb [trusted=yes] file:/srv ./' >/etc/apt/sources.list
    echo 'APT::Get::Assume-Yes \"true\";' >/etc/apt/apt.conf.d/lab
    apt-get update
";

/// A Debian on a server, and what of a document is for it: what is marked so, and what starts and stops services.
struct Stage {
    lab: Lab,
    machine: Machine,
    _service: Service,
}

impl Stage {
    fn set() -> io::Result<Option<Self>> {
        let Some(prepared) = Prepared::find()? else { return Ok(None) };
        let lab = Lab::pair()?;
        let service = Service::start(lab.server(), 22)?;
        let machine = Machine::boot(&prepared, lab.server(), Init::Systemd)?;
        machine.sh(REPOSITORY)?;
        let package = prepared.package().file_name().unwrap_or_default().display().to_string();
        machine.sh(&format!("mv /srv/toctoc.deb /root/{package}"))?;
        Ok(Some(Self { lab, machine, _service: service }))
    }

    /// Types the next of the blocks, which has this `part` in it.
    fn step(&self, blocks: &mut impl Iterator<Item = Block>, part: &str) -> io::Result<String> {
        let block = blocks.next().unwrap();
        assert!(block.text.contains(part), "{part} is not next: {block:?}");
        // systemctl has no pager to wait for; the rest is as it stands there.
        self.machine.sh(&format!("cd /root\n{}", block.text))
    }

    fn port(&self) -> PortState {
        self.lab.client().probe(self.lab.server().at4(22))
    }

    fn wait_until_port(&self, wanted: PortState) -> io::Result<()> {
        wait_until(&format!("a port that is {wanted:?}"), SOON, || self.port() == wanted)
    }
}

/// What of a document is for apt and systemd.
fn blocks(document: &str) -> io::Result<impl Iterator<Item = Block> + use<>> {
    let is_for_debian = |block: &Block| {
        block.mark == "sh debian" || block.mark == "sh server" && block.text.contains("systemctl")
    };
    Ok(blocks_of(document)?.into_iter().filter(is_for_debian))
}

#[test]
fn the_first_door_with_apt_and_systemd() -> io::Result<()> {
    let Some(stage) = Stage::set()? else { return Ok(()) };
    let mut blocks = blocks("docs/first-door.md")?;
    stage.step(&mut blocks, "apt install")?;
    assert_eq!(stage.port(), PortState::Open);
    let config = stage.machine.read("/etc/knockd.conf")?;
    assert!(config.contains("\n[ssh]\n") && config.contains("open        = 22/tcp"), "{config}");

    stage.step(&mut blocks, "systemd-run")?;
    let rope = stage.machine.sh("systemctl cat rope.service | grep ^ExecStart")?;
    assert!(rope.contains("remove"), "{rope}");
    stage.step(&mut blocks, "systemctl enable --now knockd")?;
    stage.wait_until_port(PortState::Filtered)?;
    stage.step(&mut blocks, "systemctl stop rope.timer")?;
    assert!(!stage.machine.output("systemctl is-active rope.timer")?.status.success());
    // And the rope itself, when its time has come.
    stage.machine.sh("systemd-run --unit=pulled apt-get remove --yes toctoc")?;
    stage.wait_until_port(PortState::Open)?;
    let is_over = || stage.machine.output("systemctl is-active pulled").is_ok_and(|is| !is.status.success());
    wait_until("the end of the rope", SOON, is_over)?;

    stage.machine.sh("apt-get install /root/toctoc_*.deb; systemctl enable --now knockd")?;
    stage.wait_until_port(PortState::Filtered)?;
    stage.step(&mut blocks, "apt remove toctoc")?;
    assert_eq!(stage.port(), PortState::Open);
    stage.machine.sh("sudo apt purge toctoc; test ! -e /etc/knockd.conf")?;
    assert_eq!(blocks.next(), None);
    Ok(())
}

#[test]
fn moving_from_knockd_and_back_with_apt() -> io::Result<()> {
    let Some(stage) = Stage::set()? else { return Ok(()) };
    let machine = &stage.machine;
    let mut blocks = blocks("docs/moving-from-knockd.md")?;
    machine.sh("apt-get install --no-install-recommends knockd")?;
    let config = "[options]\n    UseSyslog\n[mine]\n    sequence = 7142,8319:udp,5623\n    command = true\n";
    machine.write("/etc/knockd.conf", config)?;
    machine.sh("echo 'KNOCKD_OPTS=\"-i eth0\"' >>/etc/default/knockd; systemctl enable --now knockd")?;

    let checked = stage.step(&mut blocks, "--check")?;
    assert!(checked.contains("0 errors"), "{checked}");
    let status = stage.step(&mut blocks, "apt install ./toctoc_*.deb")?;
    assert!(status.contains("active (running)"), "{status}");
    assert!(machine.sh("knockd -V; knockctl status")?.contains("toctoc"));
    assert_eq!(machine.read("/etc/knockd.conf")?, config);

    let status = stage.step(&mut blocks, "apt install knockd")?;
    assert!(status.contains("active (running)"), "{status}");
    assert_eq!(machine.read("/etc/knockd.conf")?, config);
    machine.sh("sudo dpkg --purge toctoc; systemctl is-active knockd")?;
    assert_eq!(machine.read("/etc/knockd.conf")?, config);
    assert_eq!(blocks.next(), None);
    Ok(())
}

#[test]
fn who_is_locked_out_with_systemd() -> io::Result<()> {
    let Some(stage) = Stage::set()? else { return Ok(()) };
    let machine = &stage.machine;
    machine.sh("apt-get install /root/toctoc_*.deb; systemctl enable --now knockd")?;
    stage.wait_until_port(PortState::Filtered)?;
    let mut blocks = blocks("docs/lock-out.md")?;
    stage.step(&mut blocks, "systemctl stop knockd")?;
    assert_eq!(stage.port(), PortState::Open);
    // What a rescue system is to remove is what starts the service.
    let link = blocks_of("docs/lock-out.md")?.into_iter().find(|block| block.mark == "sh server rescue");
    let link = link.unwrap().text.replace("/mnt/", "/");
    machine.sh("systemctl is-enabled knockd")?;
    machine.sh(&link)?;
    assert!(!machine.output("systemctl is-enabled knockd")?.status.success());
    machine.sh("systemctl enable --now knockd")?;
    stage.step(&mut blocks, "systemctl disable --now knockd")?;
    assert!(!machine.output("systemctl is-enabled knockd")?.status.success());
    assert_eq!(blocks.next(), None);
    Ok(())
}
