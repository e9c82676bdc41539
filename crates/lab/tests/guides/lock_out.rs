//! What helps who is locked out.

use std::io;

use lab::PortState;

use crate::town::{Town, lab};
use crate::walk::Walk;

/// Drops everything, so that the guard's end is not enough.
const FIREWALL: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        iif lo accept
        ct state established,related accept
        meta l4proto ipv6-icmp accept
    }
}";

#[test]
fn who_is_locked_out_comes_in_again() -> io::Result<()> {
    let Some(lab) = lab()? else { return Ok(()) };
    let town = Town::with_service(&lab)?;
    let mut walk = Walk::through("docs/lock-out.md", &town)?;
    let [ssh4, _] = town.ssh();
    town.make_package_s_door()?;
    town.server.sh("sed -i 's/open_for    = 10s/open_for    = 2s/' /etc/knockd.conf")?;
    let sequence = town.sequence("ssh")?;
    let hosts = format!("[myserver]\nhost = \"server.example.org\"\nsequence = \"{sequence}\"\nfamily = 4\n");
    town.client.write("~/.config/knock/config.toml", &hosts)?;
    town.server.sh("systemctl start knockd")?;
    town.assert_guarded();

    let knocked = walk.step("knock --verify 22 --retry 3 -v myserver")?;
    assert!(knocked.contains("hitting") && knocked.contains("is open"), "{knocked}");
    town.close()?;

    walk.step("knockctl open ssh")?;
    assert_eq!(town.probe(ssh4), PortState::Open);
    town.close()?;
    let told = walk.step("knockctl explain")?;
    assert!(told.contains("ssh works.") && told.contains("opened"), "{told}");
    town.assert_guarded();

    town.server.host().nft(FIREWALL)?;
    walk.step("systemctl stop knockd")?;
    assert!(!town.server.sh("nft list tables")?.contains("inet knockd"));
    assert_eq!(town.probe(ssh4), PortState::Filtered);
    walk.step("nft insert rule")?;
    for target in town.ssh() {
        assert_eq!(town.probe(target), PortState::Open);
    }
    walk.step("systemctl disable --now knockd")?;

    walk.elsewhere("sh server rescue", "multi-user.target.wants/knockd.service");
    walk.end();
    Ok(())
}
