//! In place of Debian's knockd, upgraded, removed and purged, where services are started by their scripts.

use std::io;

use lab::wait_until;

use crate::machine::{Init, Prepared};
use crate::scene::{
    CONFIG, NATIVE_DOOR, SOON, Scene, assert_nothing_was_asked, left_over, nothing_runs, their_config,
};

const LINKS: &str = "ls /etc/rc?.d/*knockd";

#[test]
fn takes_the_place_of_knockd() -> io::Result<()> {
    let Some(prepared) = Prepared::find()? else { return Ok(()) };
    let scene = Scene::set(&prepared, Init::Scripts)?;
    replaces(&scene)?;
    upgrades(&scene)?;
    keeps_what_runs_where_the_file_has_a_mistake(&scene)?;
    stays_off(&scene)?;
    is_removed(&scene)?;
    is_purged(&scene)
}

fn replaces(scene: &Scene) -> io::Result<()> {
    let machine = &scene.machine;
    scene.install_knockd()?;
    machine.sh(
        "sed -i 's/^START_KNOCKD=0/START_KNOCKD=1/; s/^#KNOCKD_OPTS.*/KNOCKD_OPTS=\"-i eth0\"/' /etc/default/knockd
         rm /etc/rc3.d/S01knockd",
    )?;
    machine.sh("/etc/init.d/knockd start")?;
    let theirs = machine.running_daemon()?;
    scene.open_by_commands()?;
    let before = (machine.sh(LINKS)?, machine.read("/etc/default/knockd")?);

    assert_nothing_was_asked(&machine.install("/srv/toctoc.deb")?);
    assert_eq!(machine.read("/etc/knockd.conf")?, their_config());
    assert_eq!(machine.mode("/etc/knockd.conf")?, 0o600);
    assert_eq!((machine.sh(LINKS)?, machine.read("/etc/default/knockd")?), before);
    let ours = machine.running_daemon()?;
    assert!(ours != theirs && machine.runs_what_is_installed(ours)?);
    machine.sh("/etc/init.d/knockd status")?;
    scene.knockd_closes_its_door()?;
    scene.open_by_commands()?;

    // What remains of knockd is purged: what is used now stays.
    machine.sh("dpkg --purge knockd")?;
    assert_eq!(machine.read("/etc/knockd.conf")?, their_config());
    assert_eq!(machine.read("/etc/default/knockd")?, before.1);
    machine.sh("update-rc.d knockd defaults; rm /etc/rc3.d/S01knockd").map(drop)
}

fn upgrades(scene: &Scene) -> io::Result<()> {
    let machine = &scene.machine;
    machine.sh("iptables -A INPUT -p tcp --dport 23 -j DROP")?;
    machine.write("/etc/knockd.conf", &format!("{CONFIG}{NATIVE_DOOR}"))?;
    machine.sh("/etc/init.d/knockd reload")?;
    wait_until("the port is guarded", SOON, || !scene.is_open())?;
    scene.open_natively()?;
    let before = machine.daemon()?;

    let newer = machine.make_newer("99.1")?;
    assert_nothing_was_asked(&machine.install(&newer)?);
    let after = machine.running_daemon()?;
    assert!(Some(after) != before && machine.runs_what_is_installed(after)?);
    assert!(!machine.has("/run/opened"), "a command's door is closed with its daemon");
    assert!(scene.is_open(), "the kernel's door stays open to its time");
    Ok(())
}

fn keeps_what_runs_where_the_file_has_a_mistake(scene: &Scene) -> io::Result<()> {
    let machine = &scene.machine;
    let before = machine.daemon()?;
    machine.write("/etc/knockd.conf", "[door]\nsequence = ssh\n")?;
    let newer = machine.make_newer("99.2")?;
    let told = machine.install(&newer)?;
    assert!(told.contains("knockd.conf:2:") && told.contains("goes on"), "{told}");
    assert_eq!(machine.daemon()?, before);
    assert!(!machine.output("/etc/init.d/knockd restart")?.status.success());
    assert_eq!(machine.daemon()?, before);
    machine.write("/etc/knockd.conf", &format!("{CONFIG}{NATIVE_DOOR}"))?;
    machine.sh("/etc/init.d/knockd restart")?;
    assert_ne!(machine.daemon()?, before);
    Ok(())
}

/// Who has stopped the daemon does not find it running after an upgrade.
fn stays_off(scene: &Scene) -> io::Result<()> {
    let machine = &scene.machine;
    machine.sh("/etc/init.d/knockd stop")?;
    nothing_runs(machine)?;
    let newer = machine.make_newer("99.3")?;
    machine.install(&newer)?;
    nothing_runs(machine)?;
    let told = machine
        .sh("sed -i s/START_KNOCKD=1/START_KNOCKD=0/ /etc/default/knockd; /etc/init.d/knockd start")?;
    assert!(told.contains("disabled"), "{told}");
    nothing_runs(machine)?;
    machine.sh("sed -i s/START_KNOCKD=0/START_KNOCKD=1/ /etc/default/knockd; /etc/init.d/knockd start")?;
    assert!(machine.daemon()?.is_some());
    Ok(())
}

fn is_removed(scene: &Scene) -> io::Result<()> {
    let machine = &scene.machine;
    scene.open_by_commands()?;
    assert!(machine.sh("iptables -S")?.contains("0x10000000"), "the accept rule is there, to be removed");
    machine.sh("apt-get remove --yes toctoc")?;
    nothing_runs(machine)?;
    assert!(!machine.has("/run/opened"));
    assert!(!machine.sh("nft list tables")?.contains("inet knockd"));
    assert!(!machine.sh("iptables -S")?.contains("0x10000000"));
    assert!(scene.is_open(), "nobody guards the port any more");
    assert_eq!(machine.read("/etc/knockd.conf")?, format!("{CONFIG}{NATIVE_DOOR}"));
    machine.sh("/etc/init.d/knockd start").map(drop)
}

fn is_purged(scene: &Scene) -> io::Result<()> {
    scene.machine.sh("dpkg --purge toctoc")?;
    assert_eq!(left_over(&scene.machine)?, "");
    Ok(())
}
