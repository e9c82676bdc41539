//! The daemon with a reading half that somebody has taken over: whenever a packet comes in, it does one of the things
//! below, by the packet's port. It stands where a stranger's code would: behind all that confines the process.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::process::{Command, ExitCode};
use std::time::{Duration, SystemTime};

use knock_core::fwknop::{Allow, Knock};
use knock_core::knock::Protocol;
use knock_core::packet::{Frame, decode_with_data};
use knock_core::spa::{Address, HostKey, LENGTH, Opened, Refusal, Request, open};
use knock_core::tracker::{Event, What};
use knockd::Hands;
use knockd::channel::{Channel, FwknopKnock, Refused, Sealed, Word};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Signal, getppid, kill_process};

fn main() -> ExitCode {
    knockd::run_taken_over(misbehave)
}

fn misbehave(mut hands: Hands) {
    loop {
        let mut fds = [
            PollFd::new(&hands.packets, PollFlags::IN),
            PollFd::from_borrowed_fd(hands.channel, PollFlags::empty()),
        ];
        // Who has taken over a process does not care for what its other half says, but that it ends.
        if poll(&mut fds, None).is_err() || !fds[1].revents().is_empty() {
            return;
        }
        let mut misdeeds = Vec::new();
        let taken = hands.packets.receive(|packet| {
            let frame = Frame {
                ether_type: packet.ether_type,
                bytes: packet.bytes,
                wire_length: packet.wire_length,
                checksum_trusted: true,
                loopback: false,
            };
            let knock = decode_with_data(&frame).filter(|(knock, _)| knock.step.protocol == Protocol::Udp);
            misdeeds.extend(knock.map(|(knock, data)| (knock, data.to_vec())));
        });
        if taken.is_err() {
            return;
        }
        for (knock, data) in misdeeds {
            if data.len() == LENGTH {
                misuse(&data, knock.source, &hands);
            } else {
                commit(knock.step.port, knock.source, &hands);
            }
        }
    }
}

/// What is done at each port; the tests call these numbers.
fn commit(port: u16, source: IpAddr, hands: &Hands) {
    match port {
        7001 => drop(File::open("/etc/passwd")),
        7002 => drop(File::create("/tmp/taken-over")),
        7003 => drop(UdpSocket::bind("0.0.0.0:0")),
        7004 => drop(TcpStream::connect((source, 80))),
        7005 => drop(Command::new("/bin/true").spawn()),
        7006 => drop(getppid().map(|parent| kill_process(parent, Signal::KILL))),
        // Nothing goes out through the packet socket.
        7007 => drop(rustix::io::write(&hands.packets, &[0; 60])),
        7008 => drop(rustix::net::sendto(
            &hands.packets,
            &[0; 60],
            rustix::net::SendFlags::empty(),
            &rustix::net::SocketAddrV4::new(Ipv4Addr::BROADCAST, 9),
        )),
        7009 => drop(rustix::thread::set_thread_res_uid(
            rustix::process::Uid::ROOT,
            rustix::process::Uid::ROOT,
            rustix::process::Uid::ROOT,
        )),
        // What can be said to the other half.
        7101 => say(hands, &opening(0, source)),
        7102 => say(hands, &opening(0, Ipv4Addr::new(203, 0, 113, 9).into())),
        7103 => say(hands, &opening(1, Ipv4Addr::new(203, 0, 113, 9).into())),
        7104 => say(hands, &opening(77, source)),
        7105 => say(hands, &opening(0, Ipv4Addr::BROADCAST.into())),
        7106 => say(hands, &Word::Event(Event { door: 0, source, what: What::Stage(usize::MAX) })),
        7107 => drop(rustix::io::write(hands.channel, &[0xff; 64])),
        7108 => drop(rustix::io::write(hands.channel, &[&3_u32.to_ne_bytes()[..], &[0xff; 3]].concat())),
        7109 => (0..50_000).for_each(|at: u32| {
            let event = Event { door: 0, source: IpAddr::V4(at.into()), what: What::Stage(1) };
            say(hands, &Word::Event(event));
        }),
        7110 => say(hands, &Word::Failed("\n[2000-01-01 00:00] all is \u{1b}[2Jwell".into())),
        7111 => hang(),
        7112 => say(hands, &opening(2, source)),
        7113 => (0..50_000).for_each(|count| say(hands, &Word::LeftOut(count))),
        // Of doors with keys.
        7201 => say(hands, &opening(4, source)),
        7202 => say(hands, &opening(5, source)),
        7203 => contents().into_iter().for_each(|content| {
            say(hands, &sealed(source, Opened::unchecked([9; 32], content)));
        }),
        7204 => (0..20_000_u32).for_each(|at| {
            let mut encapsulated = [0; 32];
            encapsulated[..4].copy_from_slice(&at.to_be_bytes());
            say(hands, &sealed(IpAddr::V4(at.into()), Opened::unchecked(encapsulated, vec![0; 256])));
        }),
        7205 => say(hands, &fwknop(6, source, "carol")),
        7206 => say(hands, &fwknop(4, source, "carol")),
        7207 => say(hands, &fwknop(6, source, "\n[2000-01-01 00:00] all is well")),
        7208 => {
            let reason = Refusal::NotForDoor("x".repeat(50_000));
            say(hands, &Word::Refused(Refused { source, reason }));
        }
        7209 => (0..20_000).for_each(|_| {
            let reason = Refusal::Fwknop { authentic: true, why: "\n[2000-01-01 00:00] no".into() };
            say(hands, &Word::Refused(Refused { source, reason }));
        }),
        7210 => (0..20_000).for_each(|_| say(hands, &opening(5, source))),
        _ => {}
    }
}

/// What a good knock is misused for: changed in each way, which its signature is not one of; and as it is, said again, and
/// for others.
fn misuse(datagram: &[u8], source: IpAddr, hands: &Hands) {
    // The process has the key; the tests have this one.
    let Ok(opened) = open(datagram, &HostKey::from_random(&[7; 32])) else { return };
    let Ok((request, signature)) = opened.read() else { return };
    let elsewhere = IpAddr::from(Ipv4Addr::new(203, 0, 113, 9));
    let longer = Request { lasts: Some(Duration::from_secs(86_400)), ..request.clone() };
    let later = Request { time: request.time + 1, ..request.clone() };
    let for_others = Request { address: Address::Stated(elsewhere), ..request.clone() };
    let other = Opened::of([9; 32], &request, signature);
    let changed = [longer, later, for_others].map(|it| Opened::of(opened.encapsulated, &it, signature));
    for opened in changed.into_iter().chain([other]).flatten() {
        say(hands, &sealed(source, opened));
    }
    for source in [source, source, elsewhere] {
        say(hands, &sealed(source, opened.clone()));
    }
}

/// What nobody can have sealed.
fn contents() -> [Vec<u8>; 5] {
    [vec![], vec![1; 10], vec![0xff; 256], vec![0; 256], vec![0; 60_000]]
}

fn sealed(source: IpAddr, opened: Opened) -> Word {
    Word::Sealed(Box::new(Sealed { source, destination: source, local: true, opened }))
}

fn fwknop(door: u32, source: IpAddr, user: &str) -> Word {
    let time = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs());
    let knock = Knock {
        user: user.into(),
        time,
        allow: Allow::Source,
        accesses: vec![(Protocol::Tcp, 26)],
        timeout: None,
        identity: [3; 16],
    };
    Word::Fwknop(Box::new(FwknopKnock { door, source, destination: source, local: true, knock }))
}

fn opening(door: u32, source: IpAddr) -> Word {
    Word::Event(Event { door, source, what: What::Opening })
}

fn say(hands: &Hands, word: &Word) {
    let mut channel = Channel::new(hands.channel);
    channel.say(word);
    let _ = channel.flush_all();
}

/// Does nothing any more, but keeps the channel open.
fn hang() {
    loop {
        let _ = Channel::new(rustix::stdio::stdin()).wait(PollFlags::empty(), None);
    }
}
