//! Scans against doors, and what must not be taken for one.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use lab::{Daemon, Frame, Sender, Service, Session, TcpFlags};

use crate::support::{DROPPING, OPEN, REFUSING, SOON, Scene, count};

/// The ports of the doors that are scanned: they ascend, as in knockd's manual.
const PORTS: [u16; 3] = [7000, 8000, 9000];
/// How often the stranger knocks again, whose knocks may be lost behind a scan.
const AGAIN: Duration = Duration::from_secs(2);
/// A port that no door names and nothing serves.
const WRONG: u16 = 12_345;
/// A door whose knock says that all before it was looked at.
const SENTINEL: &str = "[sentinel]\nsequence = 20001,20002:udp,20003\nstart_command = true\n";

fn door(options: &str) -> String {
    format!("[options]\n{options}\n[SSH]\nsequence = 7000,8000,9000\ntcpflags = syn\n{OPEN}{SENTINEL}")
}

/// Sends a TCP packet with these flags to each port in this order, as the guest.
fn scan(scene: &Scene, flags: TcpFlags, ports: impl Iterator<Item = u16>) -> io::Result<()> {
    let sender = Sender::open(scene.guest(), "eth0", scene.server(), "eth0")?;
    let (own, peer) = sender.hardware_addresses();
    let from = SocketAddr::new(scene.guest().ip4(), 40_000);
    for port in ports {
        let frame =
            Frame::tcp(from, scene.server().at4(port)).flags(flags).numbers(u32::from(port) * 7919, 0);
        sender.send_bytes(&frame.bytes(own, peer))?;
    }
    Ok(())
}

/// All ports in an order of no meaning that hits the door's in theirs: a scan that is as lucky as can be.
fn lucky_shuffle() -> Vec<u16> {
    let mut ports: Vec<u16> = (1..=u16::MAX).collect();
    ports.sort_by_key(|port| port.wrapping_mul(40_503));
    let mut places: Vec<_> =
        PORTS.iter().filter_map(|wanted| ports.iter().position(|port| port == wanted)).collect();
    places.sort_unstable();
    for (place, port) in places.into_iter().zip(PORTS) {
        ports[place] = port;
    }
    ports
}

/// Waits until everything that was sent is looked at: the stranger's knocks come behind it.
fn settle(scene: &Scene, daemon: &Daemon) -> io::Result<()> {
    let mark = daemon.mark();
    let deadline = Instant::now() + SOON;
    loop {
        scene.stranger().knock(scene.server().ip4(), "20001,20002:udp,20003")?;
        match daemon.wait_for_line_after(mark, "sentinel: OPEN SESAME", AGAIN) {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => {}
        }
    }
}

#[test]
fn a_scan_opens_nothing() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&door("strict = yes"))?;
    for ports in [(1..=u16::MAX).collect(), lucky_shuffle()] {
        scan(&scene, TcpFlags::SYN, ports.into_iter())?;
        settle(&scene, &daemon)?;
        assert!(count(&daemon, "SSH: Stage 1") > 0, "the scan was not heard: {}", daemon.text());
        assert_eq!(count(&daemon, "SSH: OPEN SESAME"), 0, "{}", daemon.text());
    }
    scene.assert_shut(scene.ssh4());
    scene.knock("7000,8000,9000")?;
    scene.assert_opens(scene.ssh4())
}

/// What a door that is not strict does with the same scans.
#[test]
fn a_scan_opens_a_door_that_is_not_strict() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&door(""))?;
    scan(&scene, TcpFlags::SYN, 1..=u16::MAX)?;
    settle(&scene, &daemon)?;
    assert_eq!(count(&daemon, "SSH: OPEN SESAME"), 1, "{}", daemon.text());
    Ok(())
}

/// A door that takes any TCP packet as a knock must not be open to scans whose packets would not end an attempt.
#[test]
fn scans_of_every_kind_open_nothing() -> io::Result<()> {
    let kinds = [
        TcpFlags::ACK,
        TcpFlags::FIN,
        TcpFlags(0),
        TcpFlags(TcpFlags::SYN.0 | TcpFlags::ACK.0),
        TcpFlags(TcpFlags::SYN.0 | TcpFlags::FIN.0),
        TcpFlags(TcpFlags::SYN.0 | TcpFlags::RST.0),
    ];
    let scene = Scene::new(DROPPING)?;
    let config = door("strict = yes").replace("tcpflags = syn\n", "");
    let daemon = scene.knockd(&config)?;
    for flags in kinds {
        scan(&scene, flags, lucky_shuffle().into_iter())?;
        settle(&scene, &daemon)?;
        assert_eq!(count(&daemon, "SSH: OPEN SESAME"), 0, "{flags:?}: {}", daemon.text());
    }
    scene.knock("7000,8000,9000")?;
    scene.assert_opens(scene.ssh4())
}

#[test]
fn one_wrong_port_ends_an_attempt() -> io::Result<()> {
    for wrong in [format!("{WRONG}"), format!("{WRONG}:udp")] {
        let scene = Scene::new(REFUSING)?;
        let daemon = scene.knockd(&door("strict = yes"))?;
        scene.knock("7000,8000")?;
        daemon.wait_for_line("SSH: Stage 2", SOON)?;
        settle(&scene, &daemon)?;
        scene.knock(&wrong)?;
        scene.knock("9000")?;
        settle(&scene, &daemon)?;
        assert_eq!(count(&daemon, "OPEN SESAME"), 2, "the sentinel's alone: {}", daemon.text());
        scene.assert_shut(scene.ssh4());
        scene.knock("7000,8000,9000")?;
        scene.assert_opens(scene.ssh4())?;
    }
    Ok(())
}

/// The kernel filter is another one then, and goes on to pass what comes from who is knocking.
#[test]
fn an_attempt_across_a_reload_is_ended_all_the_same() -> io::Result<()> {
    let scene = Scene::new(REFUSING)?;
    let daemon = scene.knockd(&door("strict = yes"))?;
    scene.knock("7000,8000")?;
    daemon.wait_for_line("SSH: Stage 2", SOON)?;
    daemon.reload(SOON)?;
    scene.knock(&WRONG.to_string())?;
    scene.knock("9000")?;
    settle(&scene, &daemon)?;
    assert_eq!(count(&daemon, "SSH: OPEN SESAME"), 0, "{}", daemon.text());
    Ok(())
}

/// Another address's packets are another attempt's.
#[test]
fn others_end_nothing() -> io::Result<()> {
    let scene = Scene::new(REFUSING)?;
    let daemon = scene.knockd(&door("strict = yes"))?;
    scene.knock("7000,8000")?;
    daemon.wait_for_line("SSH: Stage 2", SOON)?;
    scene.stranger().knock(scene.server().ip4(), &format!("{WRONG},{WRONG}:udp"))?;
    settle(&scene, &daemon)?;
    scene.knock("9000")?;
    scene.assert_opens(scene.ssh4())
}

/// A connection that lives, new ones to what the host serves, datagrams to what it serves, and a knock that comes twice.
#[test]
fn a_knockers_own_traffic_ends_nothing() -> io::Result<()> {
    let scene = Scene::new(REFUSING)?;
    let _public = Service::start(scene.server(), 2222)?;
    let datagrams = scene.server().run(|| UdpSocket::bind("0.0.0.0:5353"))?;
    let daemon = scene.knockd(&door("strict = yes"))?;
    let mut session = Session::open(scene.guest(), scene.server().at4(2222))?;
    let sender = Sender::open(scene.guest(), "eth0", scene.server(), "eth0")?;
    let (own, peer) = sender.hardware_addresses();
    let knock = |port: u16| {
        let from = SocketAddr::new(scene.guest().ip4(), 41_000);
        let frame =
            Frame::tcp(from, scene.server().at4(port)).flags(TcpFlags::SYN).numbers(u32::from(port), 0);
        sender.send_bytes(&frame.bytes(own, peer))
    };
    for (stage, port) in (1..).zip(&PORTS[..2]) {
        knock(*port)?;
        daemon.wait_for_line(&format!("SSH: Stage {stage}"), SOON)?;
        session.echo("beside")?;
        Session::open(scene.guest(), scene.server().at4(2222))?.echo("new")?;
        scene.knock("5353:udp")?;
        // As if no answer had come.
        knock(PORTS[0])?;
        knock(*port)?;
        settle(&scene, &daemon)?;
    }
    drop(datagrams);
    knock(PORTS[2])?;
    scene.assert_opens(scene.ssh4())
}

/// The answers to what this host itself asks come to ports that nobody serves for long.
#[test]
fn answers_end_nothing() -> io::Result<()> {
    let scene = Scene::new(REFUSING)?;
    let daemon = scene.knockd(&door("strict = yes"))?;
    let asked = scene.guest().run(|| UdpSocket::bind((scene.guest().ip4(), 53)))?;
    let web = Service::start(scene.guest(), 80)?;
    scene.knock("7000,8000")?;
    daemon.wait_for_line("SSH: Stage 2", SOON)?;
    for _ in 0..3 {
        let asking = scene.server().run(|| UdpSocket::bind((scene.server().ip4(), 0)))?;
        asking.send_to(b"?", scene.guest().at4(53))?;
        let mut question = [0];
        let (_, from) = asked.recv_from(&mut question)?;
        asked.send_to(b"!", from)?;
        asking.recv_from(&mut question)?;
        Session::open(scene.server(), scene.guest().at4(80))?.echo("answered")?;
        settle(&scene, &daemon)?;
    }
    drop(web);
    scene.knock("9000")?;
    scene.assert_opens(scene.ssh4())
}
