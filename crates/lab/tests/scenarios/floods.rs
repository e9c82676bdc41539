//! Floods of made-up knocks, and who knocks honestly meanwhile.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use lab::{Daemon, Flood, Frame, Packet, PortState, Sender, Signal, Sources, TcpFlags, Traffic, wait_until};
use serde_json::Value;

use crate::support::{DROPPING, OPEN, SOON, SSH, Scene, count};

/// How often somebody knocks honestly in a flood.
const HONEST: usize = 3;
/// Packets a second: enough to fill everything in a second or two, and something is left of the machine for the test.
pub(crate) const PACE: u32 = 10_000;
/// How long after a knock it is knocked again.
const AGAIN: Duration = Duration::from_secs(1);
/// More attempts than are followed as they are.
const MORE_THAN_ARE_FOLLOWED: u64 = 20_000;
/// A flood takes a processor.
pub(crate) static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
/// No flood is longer, whatever becomes of the test.
pub(crate) const LONGEST: Duration = Duration::from_secs(60);

const DOOR: &str = "[SSH]\nsequence = 7142,8319:udp,9623,5301\ntcpflags = syn\n";
const KNOCKS: &str = "7142,8319:udp,9623,5301";

fn config() -> String {
    format!("[options]\nlogfile = {{dir}}/knockd.log\n{DOOR}{OPEN}")
}

/// Does `work` in a flood.
fn flooded(
    scene: &Scene,
    sources: Sources,
    targets: &[(Packet, u16)],
    work: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut flood = Flood::open(scene.stranger(), "eth0", scene.server(), "eth0")?;
    let traffic = Traffic { sources, targets: targets.to_vec() };
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            flood.run(&traffic, Some(PACE), |time| Ok(!over.load(Ordering::Relaxed) && time < LONGEST))
        });
        let outcome = work();
        over.store(true, Ordering::Relaxed);
        let sent = sender.join().unwrap_or_else(|_| Err(io::Error::other("the flood panicked")));
        outcome.and(sent.map(drop))
    })
}

fn knock_honestly(scene: &Scene) -> io::Result<()> {
    for _ in 0..HONEST {
        knock_until_open(scene, scene.server().ip4(), || scene.knock(KNOCKS))?;
        scene.expel()?;
    }
    Ok(())
}

/// Lets more attempts begin than are followed between the first knock and the others.
fn knock_slowly(scene: &Scene, daemon: &Daemon) -> io::Result<()> {
    scene.knock("7142")?;
    let before = overload(daemon, "attempts_faded")?;
    wait_until("all attempts of before have faded", SOON, || {
        overload(daemon, "attempts_faded").is_ok_and(|faded| faded > before + MORE_THAN_ARE_FOLLOWED)
    })?;
    scene.knock("8319:udp,9623,5301")
}

/// Knocks, and knocks again: on a machine that is too slow for the flood the kernel drops knocks like anything else. How
/// many get in at the first try the benches tell.
fn knock_until_open(scene: &Scene, at: IpAddr, knock: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let (target, deadline) = (SocketAddr::new(at, SSH), Instant::now() + SOON);
    loop {
        knock()?;
        match scene.guest().wait_until_open(target, AGAIN) {
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => {}
            Ok(()) => break,
        }
    }
    assert_ne!(scene.stranger().probe(target), PortState::Open, "{target} is open for everybody");
    Ok(())
}

/// What the daemon answers to `knockctl status`.
fn status(daemon: &Daemon) -> io::Result<Value> {
    Ok(serde_json::from_str(&daemon.ask(r#"{"request":"status"}"#, SOON)?)?)
}

pub(crate) fn overload(daemon: &Daemon, what: &str) -> io::Result<u64> {
    let status = status(daemon)?;
    status["overload"][what].as_u64().ok_or_else(|| io::Error::other(format!("no {what} in {status}")))
}

/// Resident memory of both processes, in KiB.
pub(crate) fn resident(daemon: &Daemon) -> io::Result<u64> {
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", daemon.id()))?;
    let children = children.split_whitespace().map(str::to_owned);
    std::iter::once(daemon.id().to_string()).chain(children).map(|id| resident_of(&id)).sum()
}

fn resident_of(id: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    // A command that has ended has none, until the daemon has noticed that.
    let has_ended = text.lines().any(|line| line.starts_with("State:") && line.contains('Z'));
    number.or(has_ended.then_some(0)).ok_or_else(|| io::Error::other("no VmRSS"))
}

/// Also nobody who is slow: between their knocks there are more first knocks than attempts that are followed.
#[test]
fn first_knocks_keep_nobody_out() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&config())?;
    flooded(&scene, Sources::Random, &[(Packet::Syn, 7142)], || {
        knock_honestly(&scene)?;
        knock_until_open(&scene, scene.server().ip4(), || knock_slowly(&scene, &daemon))
    })?;
    assert!(overload(&daemon, "attempts_revived")? > 0);
    let openings = count(&daemon, "OPEN SESAME");
    assert_eq!(openings, count(&daemon, "10.9.1.1: SSH: OPEN SESAME"), "nobody else got in");
    Ok(())
}

#[test]
fn who_knows_two_ports_keeps_nobody_out() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&config())?;
    let ports = [(Packet::Syn, 7142), (Packet::Datagram, 8319)];
    // An odd number: each source, one after the other, comes to each port in turn.
    flooded(&scene, Sources::Among(5_001), &ports, || knock_honestly(&scene))?;
    assert!(count(&daemon, "SSH: Stage 2") > HONEST, "the flood was not heard: {}", daemon.text());
    Ok(())
}

/// A scanner that begins again and again, and makes the daemon look at every port of theirs.
#[test]
fn one_scanner_at_a_strict_door_holds_nobody_up() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&config().replacen("[options]\n", "[options]\nstrict = yes\n", 1))?;
    let others =
        (20_001..20_051).map(|port| (if port % 2 == 0 { Packet::Syn } else { Packet::Datagram }, port));
    let ports: Vec<_> = [(Packet::Syn, 7142)].into_iter().chain(others).collect();
    let scanner = Sources::One(Ipv4Addr::new(198, 51, 100, 7));
    flooded(&scene, scanner, &ports, || knock_honestly(&scene))?;
    assert!(count(&daemon, "198.51.100.7: SSH: Stage 1") > 0, "the flood was not heard: {}", daemon.text());
    Ok(())
}

#[test]
fn the_log_and_the_memory_stay_small_and_it_is_told() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&config())?;
    let before = resident(&daemon)?;
    flooded(&scene, Sources::Random, &[(Packet::Syn, 7142)], || {
        wait_until("50,000 lines are left out", SOON, || {
            overload(&daemon, "lines_left_out").is_ok_and(|lines| lines > 50_000)
        })
    })?;
    let lines = daemon.log().lines().count();
    assert!((500..2_000).contains(&lines), "{lines} lines");
    assert_eq!(count(&daemon, "not all of it is logged"), 1);
    assert!(overload(&daemon, "attempts_faded")? > 10_000);
    let while_flooded = resident(&daemon)?;
    assert!(while_flooded.saturating_sub(before) < 19 << 10, "from {before} to {while_flooded} KiB");
    Ok(())
}

/// As many addresses as one site has, in IPv6, are one stranger.
#[test]
fn a_whole_ipv6_network_is_one_source() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&config())?;
    let sender = Sender::open(scene.stranger(), "eth0", scene.server(), "eth0")?;
    let (own, peer) = sender.hardware_addresses();
    for host in 0..20_000_u128 {
        let source = IpAddr::V6(Ipv6Addr::from_bits(0x2001_0db8_0000_0007_u128 << 64 | host << 20));
        let frame =
            Frame::tcp(SocketAddr::new(source, 40_000), scene.server().at6(7142)).flags(TcpFlags::SYN);
        sender.send_bytes(&frame.bytes(own, peer))?;
    }
    let at = scene.server().ip6();
    knock_until_open(&scene, at, || scene.guest().knock(at, KNOCKS))?;
    // On a machine with a lot to do some are lost on the way.
    assert!(overload(&daemon, "attempts_over_budget")? > 10_000, "{}", status(&daemon)?);
    let attempts = status(&daemon)?["attempts"].as_u64().unwrap_or(u64::MAX);
    assert!(attempts < 100, "{attempts} attempts");
    Ok(())
}

#[test]
fn lost_packets_are_told() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let daemon = scene.knockd(&config())?;
    let mut flood = Flood::open(scene.stranger(), "eth0", scene.server(), "eth0")?;
    let traffic = Traffic { sources: Sources::Random, targets: vec![(Packet::Syn, 7142)] };
    daemon.signal(Signal::STOP)?;
    let mut packets = 0;
    let sent = flood.run(&traffic, None, |_| {
        packets += 1;
        // More than any buffer holds, 64 at a time.
        Ok(packets < 2_000)
    });
    daemon.signal(Signal::CONT)?;
    let sent = sent?.packets;
    daemon.wait_for_line("packets came in faster than they could be looked at", SOON)?;
    let lost = overload(&daemon, "packets_lost")?;
    assert!((1..sent).contains(&lost), "{lost} of {sent}");
    knock_until_open(&scene, scene.server().ip4(), || scene.knock(KNOCKS))
}
