//! The kernel's verdict, in a network namespace of its own, whose loopback interface frames are sent on.

use std::cell::RefCell;
use std::fs;
use std::net::Ipv6Addr;
use std::os::fd::AsFd;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use etherparse::PacketBuilder;
use proptest::test_runner::TestRunner;

use super::*;
use crate::capture;
use crate::namespace;
use crate::raw::PacketSocket;

/// A socket with what takes from it, as one process has both.
struct Capture {
    listener: capture::Listener,
    capture: capture::Capture,
}

impl Capture {
    fn open(wanted: &Wanted) -> io::Result<Self> {
        let listener = capture::Listener::open(wanted)?;
        let capture = capture::Capture::new(listener.share()?);
        Ok(Self { listener, capture })
    }

    fn set_filter(&mut self, wanted: &Wanted) -> io::Result<()> {
        self.listener.set_filter(wanted)
    }

    fn receive(&mut self, each: impl FnMut(&capture::Packet<'_>)) -> io::Result<usize> {
        self.capture.receive(each)
    }

    fn lost(&self) -> io::Result<u32> {
        self.capture.lost()
    }
}

impl AsFd for Capture {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.capture.as_fd()
    }
}

/// How long the slowest machine may take.
const SOON: Duration = Duration::from_secs(30);

/// As much as kernels before Linux 6.7 let a socket have.
const LITTLE_MEMORY: &str = "20480";

fn in_namespace(work: impl FnOnce() + Send) {
    let outcome = thread::scope(|scope| {
        let inside = scope.spawn(|| {
            namespace::create().expect("root, or root in a user namespace");
            let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
            assert!(up.expect("iproute2's ip").success());
            work();
        });
        inside.join()
    });
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
}

/// The extended form of a filter, or nothing where the kernel does not let us have it.
fn extended(wanted: &Wanted) -> Option<bpf::Program> {
    match Extended::new(program(wanted, Lookup::Table), wanted) {
        Ok(filter) => Some(filter.load().expect("the verifier takes it")),
        Err(error) => {
            eprintln!("left out: no extended BPF for us here: {error}");
            None
        }
    }
}

/// Takes what comes in until there are so many packets.
fn receive(capture: &mut Capture, count: usize) -> Vec<Vec<u8>> {
    let (mut packets, deadline) = (Vec::new(), Instant::now() + SOON);
    loop {
        let before = packets.len();
        capture.receive(|packet| packets.push(packet.bytes.to_vec())).unwrap();
        let is_drained = packets.len() == before;
        if is_drained && packets.len() >= count {
            return packets;
        }
        assert!(Instant::now() < deadline, "{} packets of {count}", packets.len());
    }
}

fn ethernet(bytes: &[u8]) -> Vec<u8> {
    [&[0; 12], &[8, 0][..], bytes].concat()
}

/// Wishes that are about interfaces as well, of which a namespace has but the first.
fn placed_wishes() -> impl Strategy<Value = Wanted> {
    let interfaces = prop_oneof![
        2 => Just(None),
        2 => Just(Some(BTreeSet::from([1]))),
        1 => Just(Some(BTreeSet::from([2, 3]))),
        1 => Just(Some((1..100).collect()))
    ];
    (wishes(), interfaces, any::<bool>()).prop_map(|(wanted, interfaces, other_hosts)| Wanted {
        interfaces,
        other_hosts,
        ..wanted
    })
}

fn runner() -> TestRunner {
    TestRunner::new(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })
}

/// Instruction by instruction, the translation means what the description says.
#[test]
fn the_kernel_runs_the_extended_program_as_it_is_meant() {
    // To us, to all, and to others, where the loopback interface's own address is zero.
    let hardware = proptest::sample::select(&[([0; 6], 0), ([0xff; 6], 1), ([2; 6], 3)]);
    let frames = frames().prop_filter("this call wants whole IP headers", |made| made.bytes.len() >= 40);
    let frames = proptest::collection::vec((frames, hardware), 100);
    let verdict = runner().run(&(placed_wishes(), frames), |(wanted, frames)| {
        let Some(kernels) = extended(&wanted) else { return Ok(()) };
        let forms = Forms::of(&wanted);
        for (made, (address, packet_type)) in frames {
            let mut frame = made.ethernet();
            frame[..6].copy_from_slice(&address);
            let packet =
                Packet { ether_type: made.ether_type, packet_type, interface: 1, bytes: &made.bytes };
            let (result, _) = kernels.run(&frame, 1)?;
            prop_assert_eq!(result, run(&forms.extended, &forms.table, &packet), "{:?}", packet);
        }
        Ok(())
    });
    verdict.unwrap();
}

/// What comes out of the socket is what the program passes, in whichever form, and whatever was wanted before.
#[test]
fn the_socket_receives_what_the_program_passes() {
    let untagged = frames().prop_filter("tags are taken off on the way", |made| {
        matches!(made.ether_type, 0x0800 | 0x86dd) && !made.bytes.is_empty()
    });
    let cases = (placed_wishes(), proptest::collection::vec(untagged, 100));
    in_namespace(|| {
        let sender = PacketSocket::open("lo").unwrap();
        let capture = RefCell::new(Capture::open(&Wanted::default()).unwrap());
        let verdict = runner().run(&cases, |(wanted, frames)| {
            let forms = Forms::of(&wanted);
            let passes = |made: &&Made| forms.pass_to_us(made.ether_type, &made.bytes);
            let mut expected: Vec<_> = frames.iter().filter(passes).map(|made| made.bytes.clone()).collect();
            let mut capture = capture.borrow_mut();
            capture.set_filter(&wanted).unwrap();
            for made in &frames {
                sender.send(&made.ethernet()).unwrap();
            }
            let mut received = receive(&mut capture, expected.len());
            received.sort();
            expected.sort();
            prop_assert_eq!(received, expected);
            Ok(())
        });
        verdict.unwrap();
    });
}

fn syn_4(host: u8, port: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4([192, 0, 2, host], [192, 0, 2, 1], 64);
    builder.tcp(40000, port, 1, 1024).syn().write(&mut bytes, b"").unwrap();
    [&[0; 12], &[0x08, 0][..], &bytes].concat()
}

fn datagram_6(host: u8, port: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let source = Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(host)).octets();
    PacketBuilder::ipv6(source, [2; 16], 64).udp(40000, port).write(&mut bytes, b"").unwrap();
    [&[0; 12], &[0x86, 0xdd][..], &bytes].concat()
}

/// What comes behind a knock passes at once, and for a while, whatever we do meanwhile; what others send does not.
#[test]
fn the_kernel_follows_by_itself_who_was_at_a_door() {
    const ACK: u8 = 0x10;
    const FLAGS: usize = 14 + 20 + 13;
    let follow = Wanted { follow: true, ..wanted(&["7142", "7142:udp"]) };
    in_namespace(|| {
        if extended(&follow).is_none() {
            return;
        }
        let sender = PacketSocket::open("lo").unwrap();
        for make in [syn_4, datagram_6] {
            let mut capture = Capture::open(&follow).unwrap();
            let (knock, stray) = (make(7, 7142), make(7, 9));
            for frame in [&stray, &knock, &make(8, 9), &stray, &knock] {
                sender.send(frame).unwrap();
            }
            let expected = [&knock, &stray, &knock].map(|frame| frame[14..].to_vec());
            assert_eq!(receive(&mut capture, 3), expected);
            let end = Instant::now() + SOON;
            while {
                sender.send(&stray).unwrap();
                !receive(&mut capture, 0).is_empty()
            } {
                assert!(Instant::now() < end, "followed for ever");
                thread::sleep(Duration::from_millis(100));
            }
        }
        let mut capture = Capture::open(&follow).unwrap();
        let mut established = syn_4(7, 9);
        established[FLAGS] = ACK;
        for frame in [&syn_4(7, 7142), &established] {
            sender.send(frame).unwrap();
        }
        assert_eq!(receive(&mut capture, 1).len(), 1);
    });
}

/// In both forms, with as much memory as this kernel gives and as an older one gives.
#[test]
fn the_kernel_takes_any_number_of_doors() {
    in_namespace(|| {
        let sender = PacketSocket::open("lo").unwrap();
        for little in [false, true] {
            // Before Linux 6.8 a namespace has no limit of its own.
            if little && fs::write("/proc/sys/net/core/optmem_max", LITTLE_MEMORY).is_err() {
                eprintln!("left out: the limit of {LITTLE_MEMORY} bytes");
                continue;
            }
            for count in [1, 10, 100, 500, 2000] {
                let wanted = Wanted { ipv6: true, steps: doors(count), ..Wanted::default() };
                let tcp_step = wanted.steps.iter().find(|step| step.protocol == Protocol::Tcp).unwrap();
                let knock = tcp(tcp_step.port);
                let hears = |capture: &mut Capture| {
                    sender.send(&ethernet(&knock)).unwrap();
                    assert!(receive(capture, 1).contains(&knock), "{count} doors");
                };
                let mut capture = Capture::open(&Wanted::default()).unwrap();
                // The second finds the first in its place.
                classic::attach(capture.as_fd(), &wanted).unwrap();
                classic::attach(capture.as_fd(), &wanted).unwrap();
                hears(&mut capture);
                capture.set_filter(&wanted).unwrap();
                hears(&mut capture);
            }
        }
    });
}

/// A datagram with a number in it.
fn numbered(port: u16, number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4([192, 0, 2, 7], [192, 0, 2, 1], 64).udp(40_000, port);
    builder.write(&mut bytes, &number.to_be_bytes()).unwrap();
    ethernet(&bytes)
}

/// The port and the number of such a datagram.
fn number_of(bytes: &[u8]) -> (u16, u64) {
    let (port, number) = (bytes[22..24].try_into().unwrap(), bytes[28..36].try_into().unwrap());
    (u16::from_be_bytes(port), u64::from_be_bytes(number))
}

/// Short and long classic programs, extended ones, other contents of their table; always with the same port.
fn exchanged(turn: u32, constant: Step, never: Step) -> Wanted {
    let mut steps = doors(turn * 37 % 400 * (turn % 3));
    steps.insert(constant);
    steps.remove(&never);
    let watched = (0..turn % 5 * 16).map(|n| IpAddr::from([10, 0, turn as u8, n as u8])).collect();
    let interfaces = turn.is_multiple_of(7).then(|| BTreeSet::from([1]));
    Wanted { ipv6: turn.is_multiple_of(2), steps, watched, interfaces, ..Wanted::default() }
}

/// Every packet that is always wanted is received exactly once, and none that never was.
#[test]
fn nothing_is_lost_while_the_filter_is_exchanged() {
    const EXCHANGES: u32 = 500;
    /// So many packets may wait; there is room for more, also where the receive buffer cannot be made larger.
    const WINDOW: u64 = 64;
    let [constant, never] = [7142, 9].map(|port| Step { port, protocol: Protocol::Udp });
    in_namespace(|| {
        let sender = PacketSocket::open("lo").unwrap();
        let mut capture = Capture::open(&exchanged(0, constant, never)).unwrap();
        let (received, done) = (AtomicU64::new(0), AtomicBool::new(false));
        let mut numbers = Vec::new();
        let sent = thread::scope(|scope| {
            let sending = scope.spawn(|| {
                let mut number = 0;
                while !done.load(Ordering::Relaxed) {
                    if number < received.load(Ordering::Relaxed) + WINDOW {
                        sender.send(&numbered(never.port, number)).unwrap();
                        sender.send(&numbered(constant.port, number)).unwrap();
                        number += 1;
                    }
                }
                number
            });
            let mut take = |capture: &mut Capture| {
                capture.receive(|packet| numbers.push(number_of(packet.bytes))).unwrap();
                received.store(numbers.len() as u64, Ordering::Relaxed);
                numbers.len() as u64
            };
            for turn in 1..=EXCHANGES {
                capture.set_filter(&exchanged(turn, constant, never)).unwrap();
                // So that something is sent between any two exchanges, and not only by chance.
                let before = take(&mut capture);
                let deadline = Instant::now() + SOON;
                while take(&mut capture) == before && Instant::now() < deadline {}
            }
            done.store(true, Ordering::Relaxed);
            let sent = sending.join().unwrap();
            let deadline = Instant::now() + SOON;
            while take(&mut capture) < sent && Instant::now() < deadline {}
            sent
        });
        assert!(sent > EXCHANGES.into());
        assert_eq!(capture.lost().unwrap(), 0);
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq((0..sent).map(|number| (constant.port, number))));
    });
}
