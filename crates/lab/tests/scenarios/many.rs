//! Many knockers at once, and some who mean ill.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use lab::{Lab, wait_until};

use crate::support::{DROPPING, OPEN, SOON, Scene, start};

const DOOR: &str = "[options]
[door]
sequence = 7142,8319,9623
tcpflags = syn
seq_timeout = 60
command = echo %IP% >> {dir}/ran
";

#[test]
fn two_clients_in_turn() -> io::Result<()> {
    let scene = Scene::new(DROPPING)?;
    let config = format!("[options]\n[SSH]\nsequence = 7142,8319,9623\ntcpflags = syn\n{OPEN}");
    let _daemon = scene.knockd(&config)?;
    scene.assert_shut(scene.ssh4());
    let server = scene.server().ip4();
    for port in ["7142", "8319"] {
        scene.guest().knock(server, port)?;
        scene.stranger().knock(server, port)?;
    }
    scene.guest().knock(server, "9623")?;
    scene.assert_opens(scene.ssh4())?;
    // Here the other is no stranger, but the second guest.
    scene.stranger().knock(server, "9623")?;
    scene.stranger().wait_until_open(scene.ssh4(), SOON)
}

#[test]
fn a_hundred_finish_at_the_same_moment() -> io::Result<()> {
    let lab = Lab::pair()?;
    let sources: Vec<Ipv4Addr> = (1..=100).map(|last| Ipv4Addr::new(10, 9, 50, last)).collect();
    let lines: Vec<_> = sources.iter().map(|source| format!("addr add {source}/16 dev eth0")).collect();
    lab.client().ip(&lines.join("\n"))?;
    let daemon = start(lab.server(), DOOR)?;
    for port in ["7142", "8319", "9623"] {
        for source in &sources {
            lab.client().knock_from(Some((*source).into()), lab.server().ip4(), port, Duration::ZERO)?;
        }
    }
    wait_until("a hundred commands", SOON, || daemon.file("ran").lines().count() >= sources.len())?;
    let ran = daemon.file("ran");
    let distinct: BTreeSet<&str> = ran.lines().collect();
    assert_eq!((distinct.len(), ran.lines().count()), (sources.len(), sources.len()), "{ran}");
    daemon.wait_for_lines(sources.len(), "OPEN SESAME", SOON)
}

#[test]
fn one_source_is_on_two_doors_at_once() -> io::Result<()> {
    let lab = Lab::pair()?;
    let daemon = start(
        lab.server(),
        "[options]
        [a]
        sequence = 7142,8319,9623
        command = echo a >> {dir}/ran
        [b]
        sequence = 8319,9623,1701
        command = echo b >> {dir}/ran
        [c]
        sequence = 7142,8319
        command = echo c >> {dir}/ran
        ",
    )?;
    lab.client().knock(lab.server().ip4(), "7142,8319,9623,1701")?;
    daemon.wait_for_lines(3, "OPEN SESAME", SOON)?;
    wait_until("all three doors", SOON, || daemon.file("ran").lines().collect::<BTreeSet<_>>().len() == 3)?;
    assert_eq!(daemon.file("ran").lines().count(), 3);
    Ok(())
}

/// A stranger hits the first port and a wrong one all the time: that is his own attempt, not the others'.
#[test]
fn stranger_who_knocks_junk_keeps_nobody_out() -> io::Result<()> {
    const HONEST: u8 = 30;
    let lab = Lab::with_clients(2)?;
    let (honest, stranger) = (lab.client(), &lab.clients()[1]);
    let sources: Vec<IpAddr> = (1..=HONEST).map(|last| IpAddr::from([10, 9, 50, last])).collect();
    let lines: Vec<_> = sources.iter().map(|source| format!("addr add {source}/16 dev eth0")).collect();
    honest.ip(&lines.join("\n"))?;
    let daemon = start(lab.server(), DOOR)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let junk = scope.spawn(|| {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) {
                stranger.knock(lab.server().ip4(), "7142,9623")?;
                rounds += 1;
            }
            io::Result::Ok(rounds)
        });
        let knocks = sources.iter().try_for_each(|source| {
            honest.knock_from(Some(*source), lab.server().ip4(), "7142,8319,9623", Duration::from_millis(5))
        });
        over.store(true, Ordering::Relaxed);
        let rounds = junk.join().unwrap_or(Ok(0))?;
        assert!(rounds > usize::from(HONEST), "the stranger came {rounds} times only");
        knocks
    })?;
    wait_until("all the honest", SOON, || daemon.file("ran").lines().count() >= sources.len())?;
    let ran = daemon.file("ran");
    assert_eq!(ran.lines().collect::<BTreeSet<_>>().len(), sources.len());
    assert!(!ran.contains("10.9.1.2"), "the stranger got in");
    Ok(())
}
