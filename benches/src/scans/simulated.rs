//! Scans past the network: each port is handed to the core's tracker, with a made-up clock.

use std::net::{IpAddr, Ipv4Addr};
use std::panic::resume_unwind;
use std::thread;
use std::time::Duration;

use knock_core::config::{DoorKey, FlagRule};
use knock_core::knock::{Knock, Protocol, TcpFlags};
use knock_core::sequence::{Sequence, Step};
use knock_core::time::Timestamp;
use knock_core::tracker::{TrackedDoor, Tracker, What};
use lab::Random;

use super::{Order, Ports};

/// How long a port is scanned after the one before: a hundred thousand a second.
const PACE: Duration = Duration::from_micros(10);
/// How long the door's sequence may take: longer than a scan.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Room for attempts; one source scans.
const CAPACITY: usize = 64;

/// Measures and prints.
pub(super) fn run(quick: bool) {
    let scans = if quick { 20 } else { 10_000 };
    println!("| doors opened, of {scans} simulated scans | order | not strict | strict |");
    println!("| --- | --- | ---: | ---: |");
    for (ports, order) in Ports::ALL.into_iter().flat_map(|ports| Order::ALL.map(|order| (ports, order))) {
        let [not_strict, strict] = [false, true].map(|strict| openings(ports, order, strict, scans));
        println!("| {} | {} | {not_strict} | {strict} |", ports.describe(), order.name());
    }
    println!();
}

/// How many of so many scans open the door.
fn openings(ports: Ports, order: Order, strict: bool, scans: u32) -> u32 {
    let threads = thread::available_parallelism().map_or(1, |count| u32::try_from(count.get()).unwrap_or(1));
    thread::scope(|scope| {
        let of_one = |first: u32| {
            move || {
                (first..scans)
                    .step_by(threads as usize)
                    .map(|scan| opens(ports, order, strict, scan))
                    .map(u32::from)
                    .sum::<u32>()
            }
        };
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(of_one(first))).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic))).sum()
    })
}

/// Whether this scan opens its door. Strict or not, it is the same scan of the same door.
fn opens(ports: Ports, order: Order, strict: bool, scan: u32) -> bool {
    let mut random = Random::new(u64::from(scan));
    let mut tracker = Tracker::new(vec![door(&ports.choose(&mut random), strict)], CAPACITY);
    let mut events = Vec::new();
    let mut now = Timestamp::from_millis(1000);
    for port in order.arrange(&mut random) {
        tracker.handle_knock(&syn(port), true, now, &mut events);
        if events.drain(..).any(|event| event.what == What::Opening) {
            return true;
        }
        now = now + PACE;
    }
    false
}

fn door(ports: &[u16], strict: bool) -> TrackedDoor {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    TrackedDoor {
        slot: 0,
        key: DoorKey { name: "door".into(), namesake: 0 },
        sequence: Sequence::parse(&ports.join(",")).ok(),
        one_time: false,
        timeout: TIMEOUT,
        cooldown: Duration::ZERO,
        flags: FlagRule { required: TcpFlags::SYN, ..FlagRule::default() },
        target: None,
        strict,
        allow_from: Vec::new(),
    }
}

fn syn(port: u16) -> Knock {
    Knock {
        source: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
        destination: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
        step: Step { port, protocol: Protocol::Tcp },
        flags: TcpFlags::SYN,
        fingerprint: u64::from(port),
    }
}
