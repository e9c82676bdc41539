//! Scans over the wire, all 65,535 ports each, as fast as they go.

use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use lab::{Flood, Packet, Random, Sent, Sources, Traffic, wait_until};

use super::{Order, Ports};
use crate::THEIRS;
use crate::prober::PORT;
use crate::processors::{End, at};
use crate::scratch::Scratch;
use crate::server::Server;

/// The net of the scanners, of which nothing else is; and as addresses begin in a log.
const SCANNERS_NET: [u8; 2] = [198, 51];
const SCANNERS: &str = "198.51.";
/// How many scans of one kind: against Debian's daemon, and against ours.
const SCANS: (u32, u32) = (20, 100);

/// Whose daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Daemon {
    Theirs,
    Ours { strict: bool },
}

/// What came of some scans.
struct Outcome {
    opened: usize,
    scans: u32,
    sent: Sent,
}

/// Measures and prints.
pub(super) fn run(quick: bool) -> io::Result<()> {
    let (theirs, ours) = if quick { (1, 2) } else { SCANS };
    println!(
        "| doors opened by scans over the wire | order | Debian's knockd | ours, not strict | ours, strict | ports a second |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: |");
    for (ports, order) in kinds() {
        let outcomes = [
            scan(Daemon::Theirs, ports, order, theirs)?,
            scan(Daemon::Ours { strict: false }, ports, order, ours)?,
            scan(Daemon::Ours { strict: true }, ports, order, ours)?,
        ];
        let rates = outcomes.iter().map(|Outcome { sent, .. }| sent.packets as f64 / sent.time.as_secs_f64());
        let slowest = rates.fold(f64::INFINITY, f64::min) / 1e3;
        let opened = outcomes.map(|Outcome { opened, scans, .. }| format!("{opened} of {scans}")).join(" | ");
        println!("| {} | {} | {opened} | {slowest:.0},000 |", ports.describe(), order.name());
    }
    println!();
    Ok(())
}

/// What is scanned in which order. In order, all scans of one random door are the same.
fn kinds() -> impl Iterator<Item = (Ports, Order)> {
    let well_known = Order::ALL.map(|order| (Ports::WellKnown, order));
    let random = Ports::ALL.into_iter().filter(|ports| *ports != Ports::WellKnown);
    well_known.into_iter().chain(random.map(|ports| (ports, Order::Shuffled)))
}

/// Scans one door so many times, each time from another source.
fn scan(daemon: Daemon, ports: Ports, order: Order, scans: u32) -> io::Result<Outcome> {
    let mut random = Random::new(7);
    let door = ports.choose(&mut random);
    let server = start(daemon, &door)?;
    let mut flood = Flood::open(server.lab.client(), "eth0", server.lab.server(), "eth0")?;
    let mut sent = Sent::default();
    for source in (0..scans).map(scanner) {
        let targets = order.arrange(&mut random).into_iter().map(|port| (Packet::Syn, port)).collect();
        let traffic = Traffic { sources: Sources::One(source), targets };
        let one = at(End::Client, || flood.send_once(&traffic))?;
        sent = Sent { packets: sent.packets + one.packets, time: sent.time + one.time };
    }
    settle(&server, &door)?;
    let log = fs::read_to_string(server.log())?;
    let by_scan = |line: &&str| line.contains(&format!(" {SCANNERS}")) && line.ends_with("OPEN SESAME");
    let opened = log.lines().filter(by_scan).count();
    Ok(Outcome { opened, scans, sent })
}

fn start(daemon: Daemon, ports: &[u16]) -> io::Result<Server> {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    let door = format!("[door]\nsequence = {}\nseq_timeout = 5\ntcpflags = syn\n", ports.join(","));
    match daemon {
        Daemon::Theirs => {
            let door = door + "command = /bin/true\n";
            Server::start(Path::new(THEIRS), false, &door, Scratch::on_disk()?)
        }
        Daemon::Ours { strict } => {
            // Before the door: it is one of the options.
            let strict = if strict { "yes" } else { "no" };
            let door = format!("strict = {strict}\n{door}open = {PORT}/udp\nopen_for = 10\n");
            Server::start(&lab::binary("knockd")?, true, &door, Scratch::on_disk()?)
        }
    }
}

/// Knocks honestly until that opens the door: then all that came before is done as well.
fn settle(server: &Server, ports: &[u16]) -> io::Result<()> {
    /// How long one knock may take, and how many are tried: where the kernel has no room left, some are lost.
    const PATIENCE: Duration = Duration::from_secs(3);
    const TRIES: u32 = 10;
    let mut outcome = Ok(());
    for _ in 0..TRIES {
        let source = server.prober.fresh_source();
        ports.iter().try_for_each(|port| server.prober.send(&server.prober.knock(source, *port, false)))?;
        let opened = format!("{source}: door: OPEN SESAME");
        let said = || fs::read_to_string(server.log()).is_ok_and(|log| log.contains(&opened));
        outcome = wait_until(&format!("an honest knock after scans of {ports:?}"), PATIENCE, said);
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

/// The address of a scanner: another one each time.
fn scanner(number: u32) -> Ipv4Addr {
    let [.., high, low] = number.to_be_bytes();
    let [first, second] = SCANNERS_NET;
    Ipv4Addr::new(first, second, high, low)
}
