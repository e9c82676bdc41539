//! Which packets are knocks.

use std::net::SocketAddr;

use lab::{Frame, TcpFlags};

use crate::case::{Case, Ends, door};

use super::{COMMAND, DOOR};

pub(crate) fn cases() -> Vec<Case> {
    [flags(), repeats(), strange()].into_iter().flatten().collect()
}

const SYN: TcpFlags = TcpFlags::SYN;

fn flags() -> Vec<Case> {
    let with = |name, flags: &str| door(name, &format!("{DOOR}tcpflags = {flags}\n"));
    vec![
        door("segments: without TCPFlags each counts", DOOR)
            .frames(|ends| ends.segments(&[(7001, TcpFlags::NONE), (7002, TcpFlags(0x3f))]))
            .ran("open")
            .sentinel(),
        with("segments: flags that are wanted", "syn")
            .frames(|ends| ends.segments(&[(7001, SYN), (7002, SYN | TcpFlags::PSH)]))
            .ran("open")
            .sentinel(),
        with("segments: flags that are missing do not count", "syn")
            .frames(|ends| {
                let other = TcpFlags::ACK;
                ends.segments(&[
                    (7001, other),
                    (7002, other),
                    (7001, SYN),
                    (7002, other),
                    (7001, other),
                    (7002, SYN),
                ])
            })
            .ran("open")
            .sentinel(),
        with("segments: flags that are unwanted do not count", "syn,!ack")
            .frames(|ends| {
                let both = SYN | TcpFlags::ACK;
                ends.segments(&[(7001, both), (7001, SYN), (7002, both), (7002, SYN)])
            })
            .ran("open")
            .sentinel(),
        with("segments: only unwanted flags", "!ack,!rst")
            .frames(|ends| {
                ends.segments(&[(7001, TcpFlags::FIN), (7002, TcpFlags::RST), (7002, TcpFlags::NONE)])
            })
            .ran("open")
            .sentinel(),
        with("segments: several flags", "fin,urg,psh")
            .frames(|ends| {
                let all = TcpFlags::FIN | TcpFlags::URG | TcpFlags::PSH;
                ends.segments(&[(7001, all), (7002, TcpFlags::FIN), (7002, all)])
            })
            .ran("open")
            .sentinel(),
        with("segments: ECE and CWR do not matter", "syn,!ack")
            .frames(|ends| ends.segments(&[(7001, SYN | TcpFlags::ECE | TcpFlags::CWR), (7002, SYN)]))
            .ran("open")
            .sentinel(),
        door(
            "segments: TCPFlags do not matter to UDP",
            &format!("sequence = 7001:udp,7002\n{COMMAND}tcpflags = syn\n"),
        )
        .knock("7001:udp,7002")
        .ran("open")
        .sentinel(),
        door("segments: with data", DOOR)
            .frames(|ends| {
                vec![ends.syn(40_001, 7001).payload("x"), ends.syn(40_002, 7002).payload([0; 600])]
            })
            .ran("open")
            .sentinel(),
        door("datagrams: with and without data", &format!("sequence = 7001:udp,7002:udp\n{COMMAND}"))
            .frames(|ends| {
                let datagram = |from, to| Frame::udp(ends.from(from), ends.to(to));
                vec![datagram(40_001, 7001).payload([1; 900]), datagram(40_002, 7002)]
            })
            .ran("open")
            .sentinel(),
    ]
}

fn repeats() -> Vec<Case> {
    let sequence = format!("sequence = 7001,7002,7003\n{COMMAND}");
    let repeated = |name| door(name, &sequence);
    vec![
        repeated("repeats: the first SYN")
            .frames(|ends| {
                let (one, two, three) = three(ends);
                vec![one.clone(), one, two, three]
            })
            .sentinel()
            .differs("D17", "running + open 10.9.1.1"),
        repeated("repeats: the second SYN")
            .frames(|ends| {
                let (one, two, three) = three(ends);
                vec![one, two.clone(), two, three]
            })
            .sentinel()
            .differs("D17", "running + open 10.9.1.1"),
        repeated("repeats: the first SYN comes again late")
            .frames(|ends| {
                let (one, two, three) = three(ends);
                vec![one.clone(), two, one, three]
            })
            .sentinel()
            .differs("D17", "running + open 10.9.1.1"),
        repeated("repeats: the last SYN")
            .frames(|ends| {
                let (one, two, three) = three(ends);
                vec![one, two, three.clone(), three]
            })
            .ran("open")
            .sentinel(),
        door("repeats: a datagram", &format!("sequence = 7001:udp,7002:udp\n{COMMAND}"))
            .frames(|ends| {
                let datagram = |from, to| Frame::udp(ends.from(from), ends.to(to));
                vec![datagram(40_001, 7001), datagram(40_001, 7001), datagram(40_002, 7002)]
            })
            .sentinel()
            .differs("D17", "running + open 10.9.1.1"),
    ]
}

fn three(ends: &Ends<'_>) -> (Frame, Frame, Frame) {
    (ends.syn(40_001, 7001), ends.syn(40_002, 7002), ends.syn(40_003, 7003))
}

fn strange() -> Vec<Case> {
    let single = |name| door(name, &format!("sequence = 7001\n{COMMAND}"));
    vec![
        single("frames: IPv4 options")
            .frames(|ends| vec![ends.syn(40_001, 7001).ip_options(&[1; 8])])
            .ran("open")
            .sentinel(),
        single("frames: a VLAN tag")
            .frames(|ends| vec![ends.syn(40_001, 7001).vlan(5)])
            .sentinel()
            .differs("D20", "running + open 10.9.1.1"),
        single("frames: two VLAN tags")
            .frames(|ends| vec![ends.syn(40_001, 7001).service_vlan(6).vlan(5)])
            .sentinel()
            .differs("D20", "running + open 10.9.1.1"),
        single("frames: for another machine")
            .frames(|ends| vec![ends.syn(40_001, 7001).to_hardware([2, 0, 0, 0, 0, 99])])
            .sentinel()
            .differs("D21", "running"),
        single("frames: from the loopback address")
            .frames(|ends| from("127.0.0.1:1", ends))
            .sentinel()
            .differs("D21", "running"),
        single("frames: from a multicast address")
            .frames(|ends| from("224.0.0.1:1", ends))
            .sentinel()
            .differs("D21", "running"),
        single("frames: from the broadcast address")
            .frames(|ends| from("255.255.255.255:1", ends))
            .sentinel()
            .differs("D21", "running"),
        single("frames: from no address")
            .frames(|ends| from("0.0.0.0:1", ends))
            .sentinel()
            .differs("D21", "running"),
        single("frames: from the server's own address")
            .frames(|ends| from("10.9.0.1:1", ends))
            .sentinel()
            .differs("D21", "running"),
        single("frames: a wrong checksum of the IPv4 header")
            .bytes(|ends, from, to| spoilt(ends, from, to, 14 + 10))
            .sentinel()
            .differs("D21", "running"),
        single("frames: a wrong checksum of the segment")
            .bytes(|ends, from, to| spoilt(ends, from, to, 14 + 20 + 16))
            .sentinel()
            .differs("D21", "running"),
        single("frames: a first fragment alone")
            .bytes(|ends, from, to| {
                ends.syn(40_001, 7001).payload([1; 100]).fragments(40, from, to)[..1].to_vec()
            })
            .ran("open")
            .sentinel(),
        single("frames: a segment in fragments")
            .bytes(|ends, from, to| ends.syn(40_001, 7001).payload([1; 100]).fragments(40, from, to))
            .ran("open")
            .sentinel(),
        single("frames: with no hop left")
            .frames(|ends| vec![ends.syn(40_001, 7001).hop_limit(0)])
            .ran("open")
            .sentinel(),
        single("frames: with one hop left")
            .frames(|ends| vec![ends.syn(40_001, 7001).hop_limit(1)])
            .ran("open")
            .sentinel(),
    ]
}

/// A SYN of which one byte is not what it was.
fn spoilt(ends: &Ends<'_>, from: [u8; 6], to: [u8; 6], at: usize) -> Vec<Vec<u8>> {
    let mut frame = ends.syn(40_001, 7001).bytes(from, to);
    frame[at] ^= 0x55;
    vec![frame]
}

fn from(source: &str, ends: &Ends<'_>) -> Vec<Frame> {
    let source: SocketAddr = source.parse().unwrap_or_else(|_| panic!("{source} is no address"));
    vec![Frame::tcp(source, ends.to(7001))]
}
