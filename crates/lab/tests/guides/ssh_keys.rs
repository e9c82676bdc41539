//! A door that is opened with an SSH key.

use std::io;

use lab::PortState;

use crate::town::{Town, lab};
use crate::walk::Walk;

/// The line for the client, as the document shows it.
const LINE: &str = "knock://server.example.org/ssh?host-key=S0o7p2nDqW1mXcV5bN8kJ4hG6fD3sA9zLxTyUiOpEr0&verify=22&key=SHA256:Xk5oV7b1cC0mMZ9J3u8h2eLr4tQwYp6NfGdSaKxIvE0";

#[test]
fn a_key_opens_the_door_until_it_is_revoked() -> io::Result<()> {
    let Some(lab) = lab()? else { return Ok(()) };
    let town = Town::with_sshd(&lab)?;
    let mut walk = Walk::through("docs/ssh-keys.md", &town)?;
    // As the package does.
    town.server.sh("mkdir -p -m 755 /etc/knockd; knockctl host-key --file /etc/knockd/host_key")?;

    let key = walk.step("cat ~/.ssh/id_ed25519.pub")?;
    town.server.write("~/alice.pub", &key)?;
    walk.file("/etc/knockd.conf")?;
    let told = walk.step("knockctl enroll alice")?;
    let line = told.lines().find_map(|line| line.trim().strip_prefix("knock add '"));
    walk.same(LINE, line.unwrap_or_default().trim_end_matches('\''));
    assert!(walk.step("systemctl enable --now knockd")?.contains("0 warnings"));
    town.assert_guarded();

    walk.step("knock add")?;
    assert!(town.ssh().iter().any(|port| town.probe(*port) == PortState::Open));
    walk.step("ssh server.example.org true")?;
    town.close()?;
    walk.file("~/.ssh/config")?;
    walk.step("ssh server.example.org true")?;

    walk.step("knockctl keys")?;
    walk.step("knockctl revoke alice")?;
    town.assert_guarded();
    assert!(
        !town.client.output("knock server.example.org")?.status.success(),
        "the key opens the door still"
    );
    town.assert_guarded();
    let told = town.server.sh(&format!("knockctl explain {}", town.client.host().ip4()))?
        + &town.server.sh(&format!("knockctl explain {}", town.client.host().ip6()))?;
    assert!(told.contains("does not know the key"), "{told}");
    walk.end();
    Ok(())
}
