//! A configuration that is read anew while doors are open.

use std::io;
use std::time::Duration;

use lab::{PortState, Service, Session, Signal};

use crate::support::{Door, LONG, SOON, SSH, Scene, address_like, assert_shut, knock, reload, side_by_side};

fn options(sections: &str) -> String {
    format!("[options]\n{sections}")
}

/// Who is in stays in, at the new ports as well, which are guarded from then on.
pub(crate) fn more_ports() -> io::Result<()> {
    let scene = Scene::new()?;
    let server = scene.server();
    let _web = Service::start(server, 80)?;
    let daemon = scene.knockd(&LONG.section("open = 22/tcp"))?;
    scene.keeping_out(&scene.ssh(), || {
        side_by_side(scene.ssh(), |target| {
            scene.knock(target.ip(), &LONG)?;
            scene.assert_opens(target)
        })?;
        assert_eq!(scene.stranger().probe(server.at4(80)), PortState::Open);
        let mut session = Session::open(scene.guest(), scene.ssh4())?;
        daemon.write_config(&options(&LONG.section("open = 22/tcp, 80/tcp")))?;
        reload(&daemon)?;
        for target in [server.at4(80), server.at6(80), scene.ssh4(), scene.ssh6()] {
            scene.assert_opens(target)?;
        }
        session.echo("still in")
    })
}

/// What a door has opened ends with it, and so does the guarding of its ports; that of others does not.
pub(crate) fn a_door_less() -> io::Result<()> {
    let scene = Scene::new()?;
    let server = scene.server();
    let _web = Service::start(server, 80)?;
    let (ssh, web) = (SSH.lasting("open = 22/tcp"), LONG.section("open = 80/tcp"));
    let daemon = scene.knockd(&(ssh.clone() + &web))?;
    for (door, target) in [(&SSH, scene.ssh4()), (&LONG, server.at4(80))] {
        scene.knock(target.ip(), door)?;
        scene.assert_opens(target)?;
    }
    daemon.write_config(&options(&ssh))?;
    reload(&daemon)?;
    daemon.wait_for_line("10.9.1.1: long: closed: the configuration no longer has this door", SOON)?;
    assert_eq!(scene.stranger().probe(server.at4(80)), PortState::Open);
    scene.assert_opens(scene.ssh4())?;
    // Back again it is closed for everybody.
    daemon.write_config(&options(&(ssh + &web)))?;
    reload(&daemon)?;
    scene.assert_shut(server.at4(80));
    scene.assert_opens(scene.ssh4())?;
    // The last one takes the table with it.
    daemon.write_config(&options("[told]\nsequence = 7142,8319:udp,9623\n"))?;
    reload(&daemon)?;
    assert_eq!(scene.stranger().probe(scene.ssh4()), PortState::Open);
    assert!(!server.sh("nft list tables")?.contains("inet knockd"));
    Ok(())
}

/// What is open keeps the time that it was given, which a knock does not make shorter; whom the door opens for from now
/// on gets the new one.
pub(crate) fn another_time() -> io::Result<()> {
    let scene = Scene::with_clients(3)?;
    let (neighbour, target) = (scene.third(), scene.ssh4());
    let daemon = scene.knockd(&LONG.section("open = 22/tcp"))?;
    scene.keeping_out(&[target], || {
        scene.knock(target.ip(), &LONG)?;
        daemon.wait_for_line("10.9.1.1: long: opened 22/tcp for 600 s", SOON)?;
        let short = Door { open_for: Duration::from_millis(1500), ..LONG };
        daemon.write_config(&options(&short.section("open = 22/tcp")))?;
        reload(&daemon)?;
        scene.knock(target.ip(), &LONG)?;
        daemon.wait_for_line("10.9.1.1: long: still open, for another 5", SOON)?;
        knock(neighbour, target.ip(), LONG.ports)?;
        daemon.wait_for_line("10.9.1.3: long: opened 22/tcp for 1.5 s", SOON)?;
        neighbour.wait_until_open(target, SOON)?;
        neighbour.wait_until_closed(target, SOON)?;
        daemon.wait_for_line("10.9.1.3: long: closed: its time is over", SOON)?;
        scene.assert_opens(target)
    })
}

pub(crate) fn a_file_that_cannot_be_used() -> io::Result<()> {
    let scene = Scene::new()?;
    let daemon = scene.knockd(&LONG.section("open = 22/tcp"))?;
    let target = scene.ssh4();
    scene.keeping_out(&[target], || {
        scene.knock(target.ip(), &LONG)?;
        scene.assert_opens(target)?;
        for (bad, place) in [
            (LONG.section("open = 22/tcp\nwiden = 33"), "knockd.conf:7:"),
            (LONG.section("open = ssh/tcp"), "knockd.conf:6:"),
            (LONG.section("established = cut"), "knockd.conf:"),
        ] {
            daemon.write_config(&options(&bad))?;
            let mark = daemon.mark();
            daemon.signal(Signal::HUP)?;
            daemon.wait_for_line_after(mark, place, SOON)?;
            daemon.wait_for_line_after(mark, "the old one stays in force", SOON)?;
            scene.assert_opens(target)?;
        }
        Ok(())
    })
}

/// The machine's firewall knows the new bit alone.
pub(crate) fn another_mark() -> io::Result<()> {
    const RULES: &str = "table inet filter {
        chain input {
            type filter hook input priority filter; policy drop;
            ct state established,related accept
            meta l4proto ipv6-icmp accept
            meta mark & 0x800 == 0x800 accept
        }
    }";
    let scene = Scene::new()?;
    scene.server().nft(RULES)?;
    let door = LONG.section("open = 22/tcp");
    let daemon = scene.knockd(&format!("accept_rule = none\n{door}"))?;
    side_by_side(scene.ssh(), |target| {
        let guest = address_like(scene.guest(), target);
        scene.knock(target.ip(), &LONG)?;
        daemon.wait_for_line(&format!("{guest}: long: opened "), SOON)?;
        scene.assert_shut(target);
        Ok(())
    })?;
    daemon.write_config(&options(&format!("accept_rule = none\nmark = 0x800\n{door}")))?;
    reload(&daemon)?;
    side_by_side(scene.ssh(), |target| scene.assert_opens(target))
}

pub(crate) fn another_guard() -> io::Result<()> {
    let scene = Scene::new()?;
    let door = LONG.section("open = 22/tcp");
    let daemon = scene.knockd(&format!("guard = no\n{door}"))?;
    let target = scene.ssh4();
    scene.knock(target.ip(), &LONG)?;
    daemon.wait_for_line("10.9.1.1: long: opened ", SOON)?;
    let mut of_stranger = Session::open(scene.stranger(), target)?;
    daemon.write_config(&options(&door))?;
    reload(&daemon)?;
    scene.assert_opens(target)?;
    of_stranger.echo("was in before")?;
    daemon.write_config(&options(&format!("guard = no\n{door}")))?;
    reload(&daemon)?;
    assert_eq!(scene.stranger().probe(target), PortState::Open);
    Ok(())
}

/// A knock that is under way goes on, and opens what the door opens now.
pub(crate) fn another_port_while_somebody_knocks() -> io::Result<()> {
    let scene = Scene::new()?;
    let _web = Service::start(scene.server(), 80)?;
    let web = scene.server().at4(80);
    let daemon = scene.knockd(&LONG.section("open = 22/tcp"))?;
    knock(scene.guest(), web.ip(), "4711 5201:udp")?;
    daemon.wait_for_line("long: Stage 2", SOON)?;
    daemon.write_config(&options(&LONG.section("open = 80/tcp")))?;
    reload(&daemon)?;
    assert_shut(&[scene.guest(), scene.stranger()], web);
    knock(scene.guest(), web.ip(), "3306")?;
    scene.assert_opens(web)?;
    assert_eq!(scene.stranger().probe(scene.ssh4()), PortState::Open);
    Ok(())
}
