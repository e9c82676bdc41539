//! In place of Debian's knockd, upgraded, removed and purged, with systemd.

use std::io;

use crate::machine::{Init, Machine, Prepared};
use crate::scene::{
    CONFIG, NATIVE_DOOR, Scene, assert_nothing_was_asked, left_over, nothing_runs, their_config,
};

#[test]
fn takes_the_place_of_knockd() -> io::Result<()> {
    let Some(prepared) = Prepared::find()? else { return Ok(()) };
    let scene = Scene::set(&prepared, Init::Systemd)?;
    replaces(&scene)?;
    upgrades(&scene)?;
    is_reloaded(&scene)?;
    keeps_what_runs_where_the_file_has_a_mistake(&scene)?;
    comes_back_after_a_crash(&scene)?;
    stays_off(&scene)?;
    is_removed(&scene)?;
    is_purged(&scene)
}

#[test]
fn the_unit_is_as_systemd_wants_it() -> io::Result<()> {
    let Some(prepared) = Prepared::find()? else { return Ok(()) };
    let scene = Scene::set(&prepared, Init::Systemd)?;
    let machine = &scene.machine;
    machine.install("/srv/toctoc.deb")?;
    assert_eq!(machine.sh("systemd-analyze verify --man=no knockd.service")?, "");
    // Debian's unit: 7.4.
    machine.sh("systemd-analyze security --no-pager --threshold=52 knockd.service")?;
    use_drop_in(machine, "native-doors-only")?;
    assert_eq!(machine.sh("systemd-analyze verify --man=no knockd.service")?, "");
    machine.sh("systemd-analyze security --no-pager --threshold=30 knockd.service").map(drop)
}

/// Puts the example in force.
pub(crate) fn use_drop_in(machine: &Machine, name: &str) -> io::Result<()> {
    let directory = "/etc/systemd/system/knockd.service.d";
    machine.sh(&format!(
        "mkdir -p {directory}; cp /usr/share/doc/toctoc/examples/{name}.conf {directory}; systemctl daemon-reload"
    ))?;
    Ok(())
}

/// The service's main process, as systemd knows it.
fn main_process(machine: &Machine) -> io::Result<u32> {
    let id = machine.sh("systemctl show --property MainPID --value knockd")?;
    id.trim().parse().map_err(io::Error::other)
}

fn replaces(scene: &Scene) -> io::Result<()> {
    let machine = &scene.machine;
    scene.install_knockd()?;
    machine.sh("echo 'KNOCKD_OPTS=\"-i eth0\"' >>/etc/default/knockd; systemctl enable --now knockd")?;
    let theirs = main_process(machine)?;
    scene.open_by_commands()?;
    let options = machine.read("/etc/default/knockd")?;

    assert_nothing_was_asked(&machine.install("/srv/toctoc.deb")?);
    assert_eq!(machine.read("/etc/knockd.conf")?, their_config());
    assert_eq!(machine.mode("/etc/knockd.conf")?, 0o600);
    assert_eq!(machine.read("/etc/default/knockd")?, options);
    machine.sh("systemctl is-enabled knockd; systemctl is-active knockd")?;
    let ours = main_process(machine)?;
    assert!(ours != theirs && machine.runs_what_is_installed(ours)?);
    scene.knockd_closes_its_door()?;
    scene.open_by_commands()?;

    // What remains of knockd is purged: what is used now stays.
    machine.sh("dpkg --purge knockd")?;
    assert_eq!(machine.read("/etc/knockd.conf")?, their_config());
    assert_eq!(machine.read("/etc/default/knockd")?, options);
    machine.sh("systemctl is-enabled knockd; systemctl is-active knockd").map(drop)
}

fn upgrades(scene: &Scene) -> io::Result<()> {
    let machine = &scene.machine;
    machine.write("/etc/knockd.conf", &format!("{CONFIG}{NATIVE_DOOR}"))?;
    machine.sh("systemctl reload knockd")?;
    assert!(!scene.is_open(), "the port is guarded");
    scene.open_natively()?;
    let before = main_process(machine)?;

    let newer = machine.make_newer("99.1")?;
    assert_nothing_was_asked(&machine.install(&newer)?);
    machine.sh("systemctl is-active knockd")?;
    let after = main_process(machine)?;
    assert!(after != before && machine.runs_what_is_installed(after)?);
    assert!(!machine.has("/run/opened"), "a command's door is closed with its daemon");
    assert!(scene.is_open(), "the kernel's door stays open to its time");
    Ok(())
}

/// A reload tells of a mistake, and changes nothing then.
fn is_reloaded(scene: &Scene) -> io::Result<()> {
    let machine = &scene.machine;
    let before = main_process(machine)?;
    machine.write("/etc/knockd.conf", "[door]\nsequence = ssh\n")?;
    assert!(!machine.output("systemctl reload knockd")?.status.success());
    assert_eq!(main_process(machine)?, before);
    assert!(scene.is_open());
    Ok(())
}

fn keeps_what_runs_where_the_file_has_a_mistake(scene: &Scene) -> io::Result<()> {
    let machine = &scene.machine;
    let before = main_process(machine)?;
    let newer = machine.make_newer("99.2")?;
    let told = machine.install(&newer)?;
    assert!(told.contains("knockd.conf:2:") && told.contains("goes on"), "{told}");
    assert_eq!(main_process(machine)?, before);
    machine.write("/etc/knockd.conf", &format!("{CONFIG}{NATIVE_DOOR}"))
}

fn comes_back_after_a_crash(scene: &Scene) -> io::Result<()> {
    let machine = &scene.machine;
    let before = main_process(machine)?;
    machine.sh(&format!("kill -KILL {before}"))?;
    lab::wait_until("another daemon", crate::scene::SOON, || {
        main_process(machine).is_ok_and(|process| process != before && process != 0)
    })?;
    assert!(scene.is_open());
    Ok(())
}

/// Who has stopped the daemon does not find it running after an upgrade, and who has disabled it not enabled.
fn stays_off(scene: &Scene) -> io::Result<()> {
    let machine = &scene.machine;
    machine.sh("systemctl stop knockd")?;
    let newer = machine.make_newer("99.3")?;
    machine.install(&newer)?;
    assert!(!machine.output("systemctl is-active knockd")?.status.success());
    machine.sh("systemctl is-enabled knockd; systemctl disable knockd")?;
    let newer = machine.make_newer("99.4")?;
    machine.install(&newer)?;
    assert!(!machine.output("systemctl is-enabled knockd")?.status.success());
    machine.sh("systemctl enable --now knockd").map(drop)
}

fn is_removed(scene: &Scene) -> io::Result<()> {
    let machine = &scene.machine;
    scene.open_by_commands()?;
    machine.sh("apt-get remove --yes toctoc")?;
    nothing_runs(machine)?;
    assert!(!machine.has("/run/opened"));
    assert!(!machine.sh("nft list tables")?.contains("inet knockd"));
    assert!(scene.is_open(), "nobody guards the port any more");
    assert_eq!(machine.read("/etc/knockd.conf")?, format!("{CONFIG}{NATIVE_DOOR}"));
    Ok(())
}

fn is_purged(scene: &Scene) -> io::Result<()> {
    scene.machine.sh("dpkg --purge toctoc")?;
    assert_eq!(left_over(&scene.machine)?, "");
    Ok(())
}
