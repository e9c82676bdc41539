//! Doors by both families.

use std::io;

use lab::PortState;

use crate::town::{Town, lab};
use crate::walk::Walk;

#[test]
fn each_family_is_let_in() -> io::Result<()> {
    let Some(lab) = lab()? else { return Ok(()) };
    let town = Town::with_service(&lab)?;
    let mut walk = Walk::through("docs/ipv6.md", &town)?;
    town.make_package_s_door()?;
    walk.sequence("14071,29410:udp,61877,2093:udp", "ssh")?;
    town.server.sh("systemctl start knockd")?;
    town.assert_guarded();
    let states = |town: &Town<'_>| town.ssh().map(|target| town.probe(target));

    walk.step("knock -6")?;
    assert_eq!(states(&town), [PortState::Filtered, PortState::Open]);
    town.close()?;
    walk.step("knock --both")?;
    assert_eq!(states(&town), [PortState::Open, PortState::Open]);
    town.close()?;

    walk.file("~/.config/knock/config.toml")?;
    walk.step("knock myserver")?;
    assert_eq!(states(&town), [PortState::Filtered, PortState::Open]);
    // What it says of the door itself is checked with all configurations.
    walk.elsewhere("conf", "widen    = 32/64");
    let status = walk.step("knockctl status")?;
    assert!(status.contains(&town.server.host().ip6().to_string()), "{status}");
    walk.end();
    Ok(())
}
