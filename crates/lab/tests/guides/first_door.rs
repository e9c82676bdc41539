//! From nothing to SSH behind a door.

use std::io;

use lab::PortState;

use crate::town::{SOON, Town, lab};
use crate::walk::Walk;

#[test]
fn the_first_door_opens() -> io::Result<()> {
    let Some(lab) = lab()? else { return Ok(()) };
    let town = Town::with_sshd(&lab)?;
    let mut walk = Walk::through("docs/first-door.md", &town)?;
    let [ssh4, ssh6] = town.ssh();

    walk.elsewhere("sh source", "cargo xtask package deb .");
    walk.elsewhere("sh debian", "apt install");
    town.make_package_s_door()?;
    walk.sequence("14071,29410:udp,61877,2093:udp", "ssh")?;
    walk.step("cat /etc/knockd.conf")?;
    walk.step("knockd --check")?;

    walk.file("~/.config/knock/config.toml")?;
    assert!(walk.step("knock --list")?.contains("myserver"));

    // Nothing has changed for anybody yet.
    assert_eq!(town.probe(ssh4), PortState::Open);
    walk.elsewhere("sh debian", "systemd-run");
    walk.step("systemctl enable --now knockd")?;
    town.assert_guarded();

    walk.step("knock myserver\n")?;
    town.client.host().wait_until_closed(ssh6, SOON)?;
    walk.step("knock myserver && ssh")?;
    town.close()?;
    walk.step("knock -d 100 server.example.org")?;
    town.close()?;
    // Whatever waits for its closing does not wait for so long.
    town.server.sh("sed -i 's/open_for    = 10s/open_for    = 2s/' /etc/knockd.conf; knockctl reload")?;
    let tried = walk.step("knockctl try ssh")?;
    assert!(tried.contains("ssh works."), "{tried}");
    walk.elsewhere("sh debian", "systemctl stop rope.timer");

    town.server.sh("sed -i 's/open_for    = 2s/open_for    = 30s/' /etc/knockd.conf; knockctl reload")?;
    walk.file("~/.ssh/config")?;
    town.assert_guarded();
    walk.step("ssh server.example.org")?;
    walk.step("knockctl grants")?;
    assert!(walk.step("knockctl top --once")?.contains("Open 1"));
    town.client.sh("rm .ssh/config")?;
    town.close()?;

    walk.step("knockctl new-door anna")?;
    walk.sequence("40213,7718:udp,25001,31337:udp", "anna")?;
    walk.step("knockctl reload --confirm 60")?;
    assert!(status(&town)?.contains("confirm"));
    walk.step("sudo knockctl confirm")?;
    assert!(!status(&town)?.contains("confirm"), "it is not confirmed");
    // By the family that the client takes.
    assert_eq!(town.probe(ssh6), PortState::Open);
    assert_eq!(town.probe(ssh4), PortState::Filtered);

    walk.elsewhere("sh debian", "apt remove");
    walk.end();
    Ok(())
}

fn status(town: &Town<'_>) -> io::Result<String> {
    town.server.sh("knockctl status")
}
