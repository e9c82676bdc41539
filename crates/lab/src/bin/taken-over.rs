//! The daemon with a reading half that somebody has taken over: whenever a packet comes in, it does one of the things
//! below, by the packet's port. It stands where a stranger's code would: behind all that confines the process.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, TcpStream, UdpSocket};
use std::process::{Command, ExitCode};

use knock_core::knock::Protocol;
use knock_core::packet::{Frame, decode};
use knock_core::tracker::{Event, What};
use knockd::Hands;
use knockd::channel::{Channel, Word};
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
            misdeeds.extend(decode(&frame).filter(|knock| knock.step.protocol == Protocol::Udp));
        });
        if taken.is_err() {
            return;
        }
        for knock in misdeeds {
            commit(knock.step.port, knock.source, &hands);
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
        _ => {}
    }
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
