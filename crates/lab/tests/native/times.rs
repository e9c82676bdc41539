//! How long a door is open, and what its closing does to connections.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use lab::Session;

use crate::support::{Door, LONG, SOON, SSH, Scene, address_like, ask, assert_shut, side_by_side, terminate};

/// The firewall of somebody who lets in by the mark, where the daemon does nothing for it.
const BY_MARK: &str = "table inet filter {
    chain input {
        type filter hook input priority filter; policy drop;
        ct state established,related accept
        meta l4proto ipv6-icmp accept
        meta mark & 0x10000000 == 0x10000000 accept
    }
}";

pub(crate) fn fractions_of_seconds() -> io::Result<()> {
    let scene = Scene::new()?;
    let door = Door { open_for: Duration::from_millis(1250), ..SSH };
    let daemon = scene.knockd(&door.section("open = 22/tcp"))?;
    side_by_side(scene.ssh(), |target| {
        let guest = address_like(scene.guest(), target);
        scene.assert_shut(target);
        let knocked = Instant::now();
        scene.knock(target.ip(), &door)?;
        daemon.wait_for_line(&format!("{guest}: ssh: opened 22/tcp for 1.25 s"), SOON)?;
        scene.guest().wait_until_open(target, SOON)?;
        let closed = daemon.wait_for_line(&format!("{guest}: ssh: closed: its time is over"), SOON)?;
        assert!(closed.at - knocked >= door.open_for, "closed after {:?}", closed.at - knocked);
        scene.assert_closes(target)
    })
}

pub(crate) fn units_of_time() -> io::Result<()> {
    let scene = Scene::new()?;
    let doors = [("10m", "600"), ("1h30m", "5400"), ("1d", "86400"), ("0.5h", "1800")];
    for (written, seconds) in doors {
        let daemon = scene.knockd(&SSH.lasting(&format!("open = 22/tcp\nopen_for = {written}")))?;
        scene.knock(scene.server().ip4(), &SSH)?;
        daemon.wait_for_line(&format!("10.9.1.1: ssh: opened 22/tcp for {seconds} s"), SOON)?;
    }
    Ok(())
}

/// Open until it is closed: by nobody's end, and not by the daemon's either.
pub(crate) fn a_door_without_end() -> io::Result<()> {
    let leave = Door { name: "leave", ports: "9814 2207:udp 6118", ..LONG };
    let scene = Scene::new()?;
    let mut daemon = scene.knockd(&(SSH.lasting("open = 22/tcp") + &leave.lasting("close = ssh")))?;
    scene.keeping_out(&scene.ssh(), || {
        scene.ssh().into_iter().try_for_each(|target| {
            scene.assert_shut(target);
            scene.knock(target.ip(), &SSH)?;
            scene.assert_opens(target)
        })?;
        daemon.wait_for_line("10.9.1.1: ssh: opened 22/tcp until it is closed", SOON)?;
        terminate(&mut daemon)?;
        scene.ssh().into_iter().try_for_each(|target| scene.assert_opens(target))?;
        daemon.start_again(scene.server())?;
        scene.ssh().into_iter().try_for_each(|target| scene.assert_opens(target))?;
        daemon.kill()?;
        scene.ssh().into_iter().try_for_each(|target| scene.assert_opens(target))?;
        daemon.start_again(scene.server())?;
        side_by_side(scene.ssh(), |target| {
            scene.assert_opens(target)?;
            scene.knock(target.ip(), &leave)?;
            scene.assert_closes(target)
        })
    })
}

/// What is open is closed in time though the daemon was killed, and another one knows of it.
pub(crate) fn a_daemon_that_is_killed() -> io::Result<()> {
    let door = Door { open_for: Duration::from_secs(4), ..SSH };
    let scene = Scene::new()?;
    let mut daemon = scene.knockd(&door.section("open = 22/tcp"))?;
    scene.keeping_out(&scene.ssh(), || {
        let knocked = Instant::now();
        scene.ssh().into_iter().try_for_each(|target| scene.knock(target.ip(), &door))?;
        daemon.wait_for_lines(2, "ssh: opened ", SOON)?;
        daemon.kill()?;
        scene.ssh().into_iter().try_for_each(|target| scene.assert_opens(target))?;
        daemon.start_again(scene.server())?;
        let grants = ask(&daemon, r#"{"request":"grants"}"#)?;
        for guest in [scene.guest().ip4(), scene.guest().ip6()] {
            assert!(grants.contains(&format!("\"{guest}\"")), "{grants}");
        }
        scene.ssh().into_iter().try_for_each(|target| scene.assert_opens(target))?;
        let closed = daemon.wait_for_line("10.9.1.1: ssh: closed: its time is over", SOON)?;
        assert!(closed.at - knocked >= door.open_for, "closed after {:?}", closed.at - knocked);
        side_by_side(scene.ssh(), |target| scene.assert_closes(target))
    })
}

pub(crate) fn what_is_established_is_cut() -> io::Result<()> {
    let scene = Scene::new()?;
    let _daemon = scene.knockd(&SSH.section("open = 22/tcp\nestablished = cut"))?;
    side_by_side(scene.ssh(), |target| cuts(&scene, target))
}

pub(crate) fn what_is_established_is_cut_where_another_firewall_guards() -> io::Result<()> {
    let scene = Scene::new()?;
    scene.server().nft(BY_MARK)?;
    let options = "guard = no\naccept_rule = none\n";
    let _daemon = scene.knockd(&format!("{options}{}", SSH.section("open = 22/tcp\nestablished = cut")))?;
    side_by_side(scene.ssh(), |target| cuts(&scene, target))
}

fn cuts(scene: &Scene, target: SocketAddr) -> io::Result<()> {
    scene.keeping_out(&[target], || {
        scene.assert_shut(target);
        scene.knock(target.ip(), &SSH)?;
        scene.guest().wait_until_open(target, SOON)?;
        let mut session = Session::open(scene.guest(), target)?;
        session.echo("in")?;
        scene.assert_closes(target)?;
        assert!(session.echo("still in").is_err(), "the connection goes on");
        Ok(())
    })
}

/// The mark alone lets in, where the machine's firewall is told of it by hand.
pub(crate) fn the_mark_is_enough_for_another_firewall() -> io::Result<()> {
    let scene = Scene::new()?;
    scene.server().nft(BY_MARK)?;
    let _daemon =
        scene.knockd(&format!("guard = no\naccept_rule = none\n{}", SSH.section("open = 22/tcp")))?;
    side_by_side(scene.ssh(), |target| {
        scene.keeping_out(&[target], || {
            scene.assert_shut(target);
            scene.knock(target.ip(), &SSH)?;
            scene.assert_opens(target)?;
            let mut session = Session::open(scene.guest(), target)?;
            scene.assert_closes(target)?;
            session.echo("still in")
        })
    })
}

/// A connection that is cut goes on when its door is opened again in time.
pub(crate) fn what_is_cut_goes_on_when_the_door_opens_again() -> io::Result<()> {
    let scene = Scene::new()?;
    let _daemon = scene.knockd(&SSH.section("open = 22/tcp\nestablished = cut"))?;
    let target = scene.ssh4();
    scene.knock(target.ip(), &SSH)?;
    scene.assert_opens(target)?;
    let mut session = Session::open(scene.guest(), target)?;
    scene.assert_closes(target)?;
    scene.knock(target.ip(), &SSH)?;
    scene.assert_opens(target)?;
    session.echo("in again")?;
    assert_shut(&[scene.stranger()], target);
    Ok(())
}
