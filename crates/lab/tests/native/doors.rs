//! What a door can open.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use lab::{Daemon, PortState, Service, Session};

use crate::life;
use crate::support::{
    Door, LONG, SOON, SSH, SSH_PORT, Scene, address_like, ask, assert_shut, knock, knockd, side_by_side,
    succeed, terminate,
};
use crate::udp::{self, Echo};

/// One that closes what another has opened.
const LEAVE: Door = Door { name: "leave", ports: "9814 2207:udp 6118", open_for: Duration::ZERO };

/// One more that opens.
const OTHER: Door = Door { name: "other", ports: "5544 6633:udp 3322", open_for: Duration::from_secs(2) };

pub(crate) fn a_port_of_tcp() -> io::Result<()> {
    let scene = Scene::new()?;
    let mut daemon = scene.knockd(&life::doors("22/tcp", ""))?;
    life::play(&scene, &mut daemon, &scene.ssh())
}

pub(crate) fn on_whatever_interface_there_is() -> io::Result<()> {
    let scene = Scene::new()?;
    let mut daemon = scene.knockd(&format!("interface = any\n{}", life::doors("22/tcp", "")))?;
    life::play(&scene, &mut daemon, &scene.ssh())
}

pub(crate) fn lists_and_ranges() -> io::Result<()> {
    const OPEN: [u16; 4] = [22, 8000, 8500, 9000];
    let scene = Scene::new()?;
    let server = scene.server();
    let services = [7999, 8000, 8500, 9000, 9001].map(|port| Service::start(server, port));
    let _services = services.into_iter().collect::<io::Result<Vec<_>>>()?;
    let _daemon = scene.knockd(&SSH.section("open = 22, 8000-9000/tcp"))?;
    let targets: Vec<_> = OPEN.iter().flat_map(|port| [server.at4(*port), server.at6(*port)]).collect();
    scene.keeping_out(&targets, || {
        side_by_side(&targets, |target| {
            scene.assert_shut(*target);
            Ok(())
        })?;
        scene.knock(server.ip4(), &SSH)?;
        scene.knock(server.ip6(), &SSH)?;
        side_by_side(&targets, |target| {
            scene.guest().wait_until_open(*target, SOON)?;
            scene.assert_closes(*target)
        })
    })?;
    for beside in [7999, 9001] {
        assert_eq!(scene.stranger().probe(server.at4(beside)), PortState::Open, "{beside}");
        assert_eq!(scene.stranger().probe(server.at6(beside)), PortState::Open, "{beside}");
    }
    Ok(())
}

/// As mosh needs it.
pub(crate) fn ranges_of_udp() -> io::Result<()> {
    let scene = Scene::new()?;
    let server = scene.server();
    let echoes = [59_999, 60_000, 60_500, 61_000, 61_001].map(|port| Echo::start(server, port));
    let _echoes = echoes.into_iter().collect::<io::Result<Vec<_>>>()?;
    let _daemon = scene.knockd(&SSH.section("open = 22/tcp, 60000-61000/udp"))?;
    let targets: Vec<_> =
        [60_000, 60_500, 61_000].iter().flat_map(|port| [server.at4(*port), server.at6(*port)]).collect();
    side_by_side(&targets, |target| {
        assert!(!udp::answers(scene.guest(), *target) && !udp::answers(scene.stranger(), *target));
        Ok(())
    })?;
    scene.knock(server.ip4(), &SSH)?;
    scene.knock(server.ip6(), &SSH)?;
    side_by_side(&targets, |target| {
        let talk = udp::wait_for_answer(scene.guest(), *target, SOON)?;
        assert!(!udp::answers(scene.stranger(), *target), "{target} answers the stranger");
        lab::wait_until("closing", SOON, || !udp::answers(scene.guest(), *target))?;
        lab::wait_until("an answer to who was there before", SOON, || talk.goes_on())
    })?;
    for beside in [59_999, 61_001] {
        udp::wait_for_answer(scene.stranger(), server.at4(beside), SOON)?;
        udp::wait_for_answer(scene.stranger(), server.at6(beside), SOON)?;
    }
    Ok(())
}

pub(crate) fn nothing_but_the_door_s_own_ports_is_open() -> io::Result<()> {
    let scene = Scene::new()?;
    let _web = Service::start(scene.server(), 80)?;
    let _daemon = scene.knockd(
        &(SSH.section("open = 22/tcp") + &Door { open_for: SSH.open_for, ..LONG }.section("open = 80/tcp")),
    )?;
    side_by_side([scene.server().at4(80), scene.server().at6(80)], |web| {
        scene.assert_shut(web);
        scene.knock(web.ip(), &SSH)?;
        scene.assert_opens(SocketAddr::new(web.ip(), SSH_PORT))?;
        scene.assert_shut(web);
        Ok(())
    })
}

/// The knocker's own time ends, and that of nobody else.
pub(crate) fn a_door_that_closes_another_does_so_for_the_knocker() -> io::Result<()> {
    let scene = Scene::with_clients(3)?;
    let neighbour = scene.third();
    let daemon = scene.knockd(&(SSH.lasting("open = 22/tcp") + &LEAVE.lasting("close = ssh")))?;
    scene.keeping_out(&scene.ssh(), || {
        side_by_side(scene.ssh(), |target| {
            scene.knock(target.ip(), &SSH)?;
            knock(neighbour, target.ip(), SSH.ports)?;
            scene.assert_opens(target)?;
            neighbour.wait_until_open(target, SOON)?;
            let mut session = Session::open(scene.guest(), target)?;
            scene.knock(target.ip(), &LEAVE)?;
            scene.assert_closes(target)?;
            assert_eq!(neighbour.probe(target), PortState::Open);
            session.echo("still in")?;
            knock(neighbour, target.ip(), LEAVE.ports)?;
            neighbour.wait_until_closed(target, SOON)
        })
    })?;
    daemon.wait_for_line("10.9.1.1: ssh: closed: by knocking at leave", SOON)?;
    Ok(())
}

/// What closes may open at the same time.
pub(crate) fn a_door_may_open_one_port_and_close_another() -> io::Result<()> {
    let scene = Scene::new()?;
    let _web = Service::start(scene.server(), 80)?;
    let doors = SSH.lasting("open = 22/tcp") + &LONG.section("open = 80/tcp\nclose = ssh");
    let _daemon = scene.knockd(&doors)?;
    side_by_side(scene.ssh(), |ssh| {
        let web = SocketAddr::new(ssh.ip(), 80);
        scene.knock(ssh.ip(), &SSH)?;
        scene.assert_opens(ssh)?;
        scene.assert_shut(web);
        scene.knock(ssh.ip(), &LONG)?;
        scene.assert_opens(web)?;
        scene.assert_closes(ssh)
    })
}

/// Opened by two, a port is closed when both are; and each lets its own knockers in.
pub(crate) fn two_doors_for_one_port() -> io::Result<()> {
    let scene = Scene::with_clients(3)?;
    let neighbour = scene.third();
    let doors =
        SSH.lasting("open = 22/tcp") + &OTHER.section("open = 22/tcp") + &LEAVE.lasting("close = ssh");
    let daemon = scene.knockd(&doors)?;
    scene.keeping_out(&scene.ssh(), || {
        side_by_side(scene.ssh(), |target| {
            let guest = address_like(scene.guest(), target);
            assert_shut(&[neighbour], target);
            scene.knock(target.ip(), &SSH)?;
            scene.assert_opens(target)?;
            assert_shut(&[neighbour], target);
            scene.knock(target.ip(), &OTHER)?;
            daemon.wait_for_line(&format!("{guest}: other: closed: its time is over"), SOON)?;
            scene.assert_opens(target)?;
            knock(neighbour, target.ip(), OTHER.ports)?;
            neighbour.wait_until_open(target, SOON)?;
            scene.knock(target.ip(), &LEAVE)?;
            scene.assert_closes(target)?;
            neighbour.wait_until_closed(target, SOON)
        })
    })
}

/// Guest and neighbour are of one network, the stranger is of another.
pub(crate) fn a_network_around_the_knocker() -> io::Result<()> {
    let scene = Scene::with_clients(3)?;
    let neighbour = scene.third();
    scene.stranger().ip("addr del 10.9.1.2/16 dev eth0\naddr del fd09::1:2/64 dev eth0\n\
         addr add 10.9.7.2/16 dev eth0\naddr add fd09::7:2/64 dev eth0 nodad")?;
    let daemon = scene.knockd(&SSH.section("open = 22/tcp\nwiden = 24/112"))?;
    scene.keeping_out(&scene.ssh(), || {
        side_by_side(scene.ssh(), |target| {
            assert_shut(&[scene.guest(), neighbour], target);
            scene.knock(target.ip(), &SSH)?;
            neighbour.wait_until_open(target, SOON)?;
            scene.assert_opens(target)?;
            let mut session = Session::open(neighbour, target)?;
            scene.assert_closes(target)?;
            neighbour.wait_until_closed(target, SOON)?;
            session.echo("still in")
        })
    })?;
    daemon.wait_for_line("10.9.1.1: ssh: opened 22/tcp to 10.9.1.0/24 for 2 s", SOON)?;
    daemon.wait_for_line("fd09::1:1: ssh: opened 22/tcp to fd09::1:0/112 for 2 s", SOON)?;
    Ok(())
}

pub(crate) fn who_may_not_knock_is_told_why() -> io::Result<()> {
    let scene = Scene::new()?;
    let door = LONG.section("open = 22/tcp\nallow_from = 10.9.1.1, fd09::1:1");
    let daemon = knockd_with_debug(&scene, &door)?;
    scene.keeping_out(&scene.ssh(), || {
        side_by_side(scene.ssh(), |target| {
            let stranger = address_like(scene.stranger(), target);
            let mark = daemon.mark();
            knock(scene.stranger(), target.ip(), LONG.ports)?;
            daemon.wait_for_line_after(mark, &format!("{stranger}: long: passed over, not allowed"), SOON)?;
            let explained = ask(&daemon, &format!(r#"{{"request":"explain","address":"{stranger}"}}"#))?;
            assert!(explained.contains("allow_from") && explained.contains("not_allowed"), "{explained}");
            assert_shut(&[scene.guest()], target);
            scene.knock(target.ip(), &LONG)?;
            scene.assert_opens(target)
        })
    })
}

fn knockd_with_debug(scene: &Scene, sections: &str) -> io::Result<Daemon> {
    knockd()?.config(format!("[options]\n{sections}")).arg("-D").start(scene.server())
}

/// Where nothing guards a port it is open; the door's time passes all the same.
pub(crate) fn without_guard_and_firewall_nothing_is_closed() -> io::Result<()> {
    let scene = Scene::new()?;
    let daemon = scene.knockd(&format!("guard = no\n{}", SSH.section("open = 22/tcp")))?;
    let all_get_in = |target| {
        for host in [scene.guest(), scene.stranger()] {
            assert_eq!(host.probe(target), PortState::Open, "{target} for {}", host.name());
        }
    };
    side_by_side(scene.ssh(), |target| {
        let guest = address_like(scene.guest(), target);
        all_get_in(target);
        scene.knock(target.ip(), &SSH)?;
        daemon.wait_for_line(&format!("{guest}: ssh: opened 22/tcp for 2 s"), SOON)?;
        all_get_in(target);
        daemon.wait_for_line(&format!("{guest}: ssh: closed: its time is over"), SOON)?;
        all_get_in(target);
        Ok(())
    })
}

/// Both happen: the kernel opens, and the commands are run at opening and at closing.
pub(crate) fn a_door_with_commands_as_well() -> io::Result<()> {
    let scene = Scene::new()?;
    let commands = "open = 22/tcp
        start_command = echo opened $KNOCK_DOOR for %IP% >> {dir}/told
        stop_command = echo closed $KNOCK_DOOR for %IP% >> {dir}/told";
    let daemon = scene.knockd(&SSH.section(commands))?;
    scene.keeping_out(&scene.ssh(), || {
        side_by_side(scene.ssh(), |target| {
            let guest = address_like(scene.guest(), target);
            scene.assert_shut(target);
            scene.knock(target.ip(), &SSH)?;
            scene.guest().wait_until_open(target, SOON)?;
            let mut session = Session::open(scene.guest(), target)?;
            daemon.wait_for_file("told", &format!("opened ssh for {guest}\n"), SOON)?;
            // Once more: nothing is run twice.
            scene.knock(target.ip(), &SSH)?;
            scene.assert_closes(target)?;
            daemon.wait_for_file("told", &format!("closed ssh for {guest}\n"), SOON)?;
            session.echo("still in")
        })
    })?;
    assert_eq!(daemon.file("told").lines().count(), 4, "{}", daemon.file("told"));
    Ok(())
}

/// Stop commands that are owed are run when the daemon ends; what the kernel has opened stays open.
pub(crate) fn a_door_with_commands_at_the_daemon_s_end() -> io::Result<()> {
    let scene = Scene::new()?;
    let mut daemon = scene
        .knockd(&LONG.section("open = 22/tcp\nstart_command = true\nstop_command = touch {dir}/stopped"))?;
    scene.knock(scene.server().ip4(), &LONG)?;
    scene.assert_opens(scene.ssh4())?;
    terminate(&mut daemon)?;
    assert!(daemon.directory().path().join("stopped").exists(), "{}", daemon.text());
    assert_shut(&[scene.stranger()], scene.ssh4());
    Ok(())
}

pub(crate) fn what_the_machine_says_to_itself() -> io::Result<()> {
    let scene = Scene::new()?;
    let server = scene.server();
    let _daemon = scene.knockd(&SSH.section("open = 22/tcp"))?;
    for address in ["127.0.0.1:22", "[::1]:22", "10.9.0.1:22", "[fd09::1]:22"] {
        let target = address.parse().map_err(io::Error::other)?;
        assert_eq!(server.probe(target), PortState::Open, "{target}");
    }
    scene.assert_shut(scene.ssh4());
    scene.assert_shut(scene.ssh6());
    Ok(())
}

/// Each line of the client's file opens once.
pub(crate) fn sequences_that_are_good_for_one_knock() -> io::Result<()> {
    const SEQUENCES: &str = " 7142,8319,9623\n 1701:udp,2803,3905\n";
    let (scene, files) = (Scene::new()?, lab::TempDir::new()?);
    let [file, copy] = [files.write("sequences", SEQUENCES)?, files.write("copy", SEQUENCES)?];
    let door = format!("[ssh]\none_time_sequences = {}\ntcpflags = syn\n", file.display());
    let daemon = scene.knockd(&(door + "open = 22/tcp\nopen_for = 2\n"))?;
    let knock_once = |at: IpAddr| {
        let mut knock = Command::new(lab::binary("knock")?);
        knock.arg("--one-time").arg(&copy).args(["-d", "20"]).arg(at.to_string());
        succeed(scene.guest(), &mut knock)
    };
    scene.keeping_out(&scene.ssh(), || {
        for target in scene.ssh() {
            scene.assert_shut(target);
            knock_once(target.ip())?;
            scene.assert_opens(target)?;
            scene.assert_closes(target)?;
        }
        Ok(())
    })?;
    assert!(files.read("sequences").lines().all(|line| line.starts_with('#')), "{}", files.read("sequences"));
    daemon.wait_for_line("no more sequences left", SOON)?;
    // What was good once is good no more.
    knock(scene.guest(), scene.server().ip4(), "7142 8319 9623")?;
    knock(scene.stranger(), scene.server().ip4(), "1701:udp 2803 3905")?;
    scene.assert_shut(scene.ssh4());
    Ok(())
}
