//! What people knock with, when they have no client.

use std::io;

use crate::support::{Door, SOON, SSH, Scene, side_by_side};

/// A door that these clients can knock at.
const SLOW: Door = Door { ports: "7142 8319 9623", ..SSH };

/// Lets the guest run `one` for each port; it gets in, and nobody else.
fn opens_by(one: &str) -> io::Result<()> {
    let scene = Scene::new()?;
    let _daemon = scene.knockd(&SLOW.section("open = 22/tcp"))?;
    scene.keeping_out(&scene.ssh(), || {
        side_by_side(scene.ssh(), |target| {
            let (host, ports) = (target.ip(), SLOW.ports);
            scene.assert_shut(target);
            scene.guest().sh(&format!("host={host}\nfor port in {ports}; do {one} || true; done"))?;
            scene.guest().wait_until_open(target, SOON)?;
            scene.assert_closes(target)
        })
    })
}

pub(crate) fn netcat() -> io::Result<()> {
    opens_by("nc -z -w1 $host $port")
}

pub(crate) fn telnet() -> io::Result<()> {
    opens_by("timeout 0.3 telnet $host $port </dev/null >/dev/null 2>&1")
}

pub(crate) fn the_shell_alone() -> io::Result<()> {
    opens_by("timeout 0.3 bash -c \"exec 3<>/dev/tcp/$host/$port\" 2>/dev/null")
}

pub(crate) fn debians_knock() -> io::Result<()> {
    let scene = Scene::new()?;
    let _daemon = scene.knockd(&SLOW.section("open = 22/tcp"))?;
    side_by_side(scene.ssh(), |target| {
        let family = if target.is_ipv4() { "-4" } else { "-6" };
        scene.assert_shut(target);
        scene.guest().sh(&format!("/usr/bin/knock {family} -d 50 {} {}", target.ip(), SLOW.ports))?;
        scene.assert_opens(target)?;
        scene.assert_closes(target)
    })
}
