//! What is no knock costs the daemon nothing: the filter is in the kernel.

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use lab::{Daemon, Frame, Lab, Sender, wait_until};

use crate::support::{SOON, start};

/// How many packets of each protocol.
const PACKETS: usize = 50_000;
/// How many different ports they go to.
const PORTS: u16 = 1_000;

/// What the daemon has used up so far: how often it was woken, and its processor time in ticks.
#[derive(Clone, Copy, Debug)]
struct Used {
    wakes: i64,
    ticks: u64,
}

impl Used {
    fn by(daemon: &Daemon) -> io::Result<Self> {
        let process = format!("/proc/{}", daemon.id());
        let status = std::fs::read_to_string(format!("{process}/status"))?;
        let stat = std::fs::read_to_string(format!("{process}/stat"))?;
        let wakes = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        // The user's and the system's time, counted from the state.
        let ticks = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        let wakes = wakes.and_then(|wakes| wakes.trim().parse().ok()).unwrap_or_default();
        Ok(Self { wakes, ticks })
    }
}

/// How many packets have come in by the server's `eth0`.
fn received(lab: &Lab) -> io::Result<usize> {
    let table = lab.server().run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))?;
    let line = table.lines().find_map(|line| line.trim().strip_prefix("eth0:"));
    let packets = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    packets.ok_or_else(|| io::Error::other(format!("no eth0 in:\n{table}")))
}

/// Sends as many datagrams and SYNs to ports from `first` on, as fast as they go.
fn flood(lab: &Lab, first: u16) -> io::Result<()> {
    let (client, server) = (lab.client(), lab.server());
    let sender = Sender::open(client, "eth0", server, "eth0")?;
    let (from, to) = sender.hardware_addresses();
    let ports = first..first + PORTS;
    let syn = |port| Frame::tcp(client.at4(40_000), server.at4(port)).bytes(from, to);
    let syns: Vec<_> = ports.clone().map(syn).collect();
    let socket = client.run(|| UdpSocket::bind(SocketAddr::new(client.ip4(), 0)))?;
    let before = received(lab)?;
    for (port, syn) in ports.cycle().zip(syns.iter().cycle()).take(PACKETS) {
        sender.send_bytes(syn)?;
        socket.send_to(b"junk", server.at4(port))?;
    }
    wait_until("all packets", SOON, || received(lab).is_ok_and(|now| now >= before + 2 * PACKETS))
}

/// Under a flood of what is no knock the daemon sleeps on; the next knock is heard.
fn assert_sleeps(config: &str, first: u16, knock: &str) -> io::Result<()> {
    let lab = Lab::pair()?;
    let daemon = start(lab.server(), config)?;
    lab.client().knock(lab.server().ip4(), knock)?;
    daemon.wait_for_line("OPEN SESAME", SOON)?;
    // Once undisturbed will do: something else may wake it, such as word of an address.
    let slept = (0..3).any(|_| sleeps_through(&lab, &daemon, first).is_ok_and(|slept| slept));
    assert!(slept, "{}", daemon.text());
    lab.client().knock(lab.server().ip4(), knock)?;
    daemon.wait_for_lines(2, "OPEN SESAME", SOON)
}

/// Whether a flood neither wakes the daemon nor costs it anything.
fn sleeps_through(lab: &Lab, daemon: &Daemon, first: u16) -> io::Result<bool> {
    settled(daemon)?;
    let before = Used::by(daemon)?;
    flood(lab, first)?;
    let after = Used::by(daemon)?;
    Ok((after.wakes - before.wakes).abs() <= 2 && after.ticks == before.ticks)
}

/// Waits until the daemon has nothing more to do.
fn settled(daemon: &Daemon) -> io::Result<()> {
    const QUIET: Duration = Duration::from_millis(200);
    let deadline = Instant::now() + SOON;
    loop {
        let before = Used::by(daemon)?;
        std::thread::sleep(QUIET);
        if Used::by(daemon)?.wakes == before.wakes {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(io::Error::other(format!("it does not come to rest:\n{}", daemon.text())));
        }
    }
}

const DOOR: &str =
    "[door]\nsequence = 7142,8319:udp,9623\ncommand = true\ncmd_timeout = 0\nseq_timeout = 1\n";

#[test]
fn daemon_sleeps_through_a_flood() -> io::Result<()> {
    assert_sleeps(&format!("[options]\n{DOOR}"), 20_000, "7142,8319:udp,9623")
}

/// Here it also hears what the host itself sends: its refusals.
#[test]
fn daemon_that_listens_everywhere_sleeps_through_a_flood() -> io::Result<()> {
    assert_sleeps(&format!("[options]\ninterface = any\n{DOOR}"), 20_000, "7142,8319:udp,9623")
}

/// Two thousand ports, 23 apart, from 10,000 on: far more than the kernel's filter tells apart.
fn five_hundred_doors() -> String {
    let mut config = "[options]\n".to_owned();
    for door in 0..500_u16 {
        let port = |step: u16| 10_000 + (door * 4 + step) * 23;
        let _ = writeln!(
            config,
            "[door{door}]\nsequence = {},{}:udp,{},{}:udp\nseq_timeout = 1\ncommand = true",
            port(0),
            port(1),
            port(2),
            port(3)
        );
    }
    config
}

/// With 500 doors of four ports the filter still is in the kernel, if coarser: what is far from every port of a door
/// wakes nobody.
#[test]
fn daemon_with_five_hundred_doors_sleeps_through_a_flood() -> io::Result<()> {
    assert_sleeps(&five_hundred_doors(), 2_000, "10000,10023:udp,10046,10069:udp")
}

/// And any of its doors opens.
#[test]
fn every_one_of_five_hundred_doors_opens() -> io::Result<()> {
    let lab = Lab::pair()?;
    let daemon = start(lab.server(), &five_hundred_doors())?;
    for door in (0..500_u16).step_by(7).chain([499]) {
        let port = |step: u16| 10_000 + (door * 4 + step) * 23;
        let ports = format!("{},{}:udp,{},{}:udp", port(0), port(1), port(2), port(3));
        lab.client().knock(lab.server().ip4(), &ports)?;
        daemon.wait_for_line(&format!("door{door}: OPEN SESAME"), SOON)?;
    }
    Ok(())
}
