//! Floods: packets of made-up senders, at a pace or as fast as it goes.
//!
//! Every frame is whole: its checksums are right, and its source port, numbers and identification are others than
//! those of the frame before. All are 60 bytes long, the least that Ethernet takes.

use std::hint;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

use knock_linux::burst::{BATCH, BurstSocket};

use crate::frame::{Frame, TcpFlags};
use crate::host::Host;
use crate::sender::Sender;

/// How long each frame is.
const LENGTH: usize = 60;
/// Where in a frame what begins: the IPv4 header, and the transport's.
const NETWORK: usize = 14;
const TRANSPORT: usize = 34;
/// What is filled in for each frame.
const IDENTIFICATION: usize = 18;
const NETWORK_CHECKSUM: usize = 24;
const SOURCE: usize = 26;
const SOURCE_PORT: usize = 34;
const PORT: usize = 36;
const TCP_NUMBER: usize = 38;
const UDP_CHECKSUM: usize = 40;
const TCP_CHECKSUM: usize = 50;
/// The first octets of made-up sources: those of unicast, without the nets that hold special ones.
const SPECIAL: [u8; 5] = [10, 127, 169, 172, 192];

/// What kind of packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A TCP SYN.
    Syn,
    /// A TCP segment in the middle of a connection, with some data.
    Data,
    /// A UDP datagram with some data.
    Datagram,
}

/// Whom the packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// Another one each time, from all over the Internet.
    Random,
    /// So many, in turn.
    Among(u32),
    /// This one.
    One(Ipv4Addr),
}

/// What a flood consists of.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// Whom it comes from.
    pub sources: Sources,
    /// Where it goes to, in turn.
    pub targets: Vec<(Packet, u16)>,
}

/// How much was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// So many packets.
    pub packets: u64,
    /// In this time.
    pub time: Duration,
}

/// A source of floods at one end of a cable.
#[derive(Debug)]
pub struct Flood {
    socket: BurstSocket,
    patterns: [Pattern; 3],
    random: Random,
    /// How many frames were made.
    made: u64,
    batch: Vec<u8>,
}

impl Flood {
    /// One on `interface` of `from`, against the IPv4 address of `to`.
    ///
    /// # Errors
    /// `ENODEV` without such an interface.
    pub fn open(from: &Host, interface: &str, to: &Host, peer_interface: &str) -> io::Result<Self> {
        let ends = Sender::open(from, interface, to, peer_interface)?.hardware_addresses();
        let socket = from.run(|| BurstSocket::open(interface))?;
        let patterns = [Packet::Syn, Packet::Data, Packet::Datagram]
            .map(|packet| Pattern::new(packet, to.at4(0), ends.0, ends.1));
        Ok(Self { socket, patterns, random: Random::new(1), made: 0, batch: vec![0; BATCH * LENGTH] })
    }

    /// Sends `traffic` until `between`, which is called again and again with the time since the beginning, says that it
    /// is enough; `pace` packets a second, evenly, or as many as go where it is `None`. The calling thread never rests.
    ///
    /// # Errors
    /// `ENETDOWN` when the interface is down, and what `between` says.
    pub fn run(
        &mut self,
        traffic: &Traffic,
        pace: Option<u32>,
        between: impl FnMut(Duration) -> io::Result<bool>,
    ) -> io::Result<Sent> {
        let mut targets = traffic.targets.iter().copied().cycle();
        at_pace(pace, between, |count| self.burst(traffic.sources, targets.by_ref().take(count)))
    }

    /// Sends one packet to each target, as fast as they go.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn send_once(&mut self, traffic: &Traffic) -> io::Result<Sent> {
        let begin = Instant::now();
        let mut bursts = traffic.targets.chunks(BATCH);
        let packets = bursts.try_fold(0, |packets, targets| {
            Ok::<_, io::Error>(packets + self.burst(traffic.sources, targets.iter().copied())?)
        })?;
        Ok(Sent { packets, time: begin.elapsed() })
    }

    /// Sends one packet to each of these targets, at most [`BATCH`] of them.
    fn burst(&mut self, sources: Sources, targets: impl Iterator<Item = (Packet, u16)>) -> io::Result<u64> {
        let mut count = 0;
        for (frame, (packet, port)) in self.batch.chunks_exact_mut(LENGTH).zip(targets) {
            let source = sources.next(&mut self.random, self.made);
            self.patterns[packet as usize].fill_in(frame, source, port, &mut self.random);
            (self.made, count) = (self.made + 1, count + 1);
        }
        let mut left = &self.batch[..count * LENGTH];
        while !left.is_empty() {
            left = &left[self.socket.send(left, LENGTH)? * LENGTH..];
        }
        Ok(count as u64)
    }
}

/// Has `send` send so many packets again and again, at most [`BATCH`] of them, which tells how many went; see [`Flood::run`].
pub(crate) fn at_pace(
    pace: Option<u32>,
    mut between: impl FnMut(Duration) -> io::Result<bool>,
    mut send: impl FnMut(usize) -> io::Result<u64>,
) -> io::Result<Sent> {
    let begin = Instant::now();
    let mut packets = 0;
    loop {
        let time = begin.elapsed();
        if !between(time)? {
            return Ok(Sent { packets, time });
        }
        let due = pace.map_or(u64::MAX, |pace| (time.as_secs_f64() * f64::from(pace)) as u64);
        let count = BATCH.min(usize::try_from(due.saturating_sub(packets)).unwrap_or(BATCH));
        if count == 0 {
            hint::spin_loop();
            continue;
        }
        packets += send(count)?;
    }
}

/// A frame without what is filled in, and the sums of the rest that its checksums are made of.
#[derive(Debug)]
struct Pattern {
    frame: Vec<u8>,
    is_tcp: bool,
    network: u32,
    transport: u32,
}

impl Pattern {
    fn new(packet: Packet, to: SocketAddr, own: [u8; 6], peer: [u8; 6]) -> Self {
        let from = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
        let is_tcp = packet != Packet::Datagram;
        let frame = match packet {
            Packet::Syn => Frame::tcp(from, to),
            Packet::Data => Frame::tcp(from, to).flags(TcpFlags::ACK | TcpFlags::PSH).payload([b'.'; 6]),
            Packet::Datagram => Frame::udp(from, to).payload([b'.'; 18]),
        };
        let mut frame = frame.numbers(0, 0).bytes(own, peer);
        let checksum = if is_tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
        for place in [IDENTIFICATION, NETWORK_CHECKSUM, checksum] {
            frame[place..place + 2].fill(0);
        }
        // The pseudo header: the addresses, of which the source's is zero yet, the protocol and the length.
        let protocol = u32::from(frame[NETWORK + 9]);
        let addresses = sum(&frame[SOURCE..TRANSPORT]);
        let transport = addresses + protocol + (frame.len() - TRANSPORT) as u32 + sum(&frame[TRANSPORT..]);
        let network = sum(&frame[NETWORK..TRANSPORT]);
        frame.resize(LENGTH, 0);
        Self { frame, is_tcp, network, transport }
    }

    fn fill_in(&self, frame: &mut [u8], source: Ipv4Addr, port: u16, random: &mut Random) {
        frame.copy_from_slice(&self.frame);
        let mut put = |place: usize, bytes: &[u8]| frame[place..place + bytes.len()].copy_from_slice(bytes);
        let chance = random.next().to_be_bytes();
        let ([a, b, c, d, e, f, g, h], source) = (chance, source.octets());
        let (own_port, number, identification) = ([a | 0x80, b], [c, d, e, f], [g, h]);
        put(SOURCE, &source);
        put(IDENTIFICATION, &identification);
        put(NETWORK_CHECKSUM, &finished(self.network + sum(&source) + sum(&identification)));
        put(SOURCE_PORT, &own_port);
        put(PORT, &port.to_be_bytes());
        let transport = self.transport + sum(&source) + sum(&own_port) + u32::from(port);
        if self.is_tcp {
            put(TCP_NUMBER, &number);
            put(TCP_CHECKSUM, &finished(transport + sum(&number)));
        } else {
            // Zero would mean that there is none.
            let checksum = Some(finished(transport)).filter(|sum| *sum != [0; 2]);
            put(UDP_CHECKSUM, &checksum.unwrap_or([0xff; 2]));
        }
    }
}

/// The sum of an even number of bytes, as the Internet checksum takes it.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum()
}

/// The checksum of what has this sum.
fn finished(sum: u32) -> [u8; 2] {
    let folded = (sum & 0xffff) + (sum >> 16);
    (!((folded & 0xffff) + (folded >> 16)) as u16).to_be_bytes()
}

impl Sources {
    /// The sources, one after the other; they never end.
    pub fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        let mut random = Random::new(1);
        (0..).map(move |made| self.next(&mut random, made))
    }

    /// The source of a packet, before which so many were made.
    fn next(self, random: &mut Random, made: u64) -> Ipv4Addr {
        match self {
            Self::Random => host(random.next()),
            Self::Among(count) => host(Random::new(made % u64::from(count.max(1))).next()),
            Self::One(address) => address,
        }
    }
}

/// An address that may stand anywhere on the Internet, chosen by these bits.
fn host(bits: u64) -> Ipv4Addr {
    let [first, b, c, d, more @ ..] = bits.to_be_bytes();
    let allowed = |octet: &u8| (1..224).contains(octet) && !SPECIAL.contains(octet);
    let first = [first].into_iter().chain(more).find(allowed).unwrap_or(198);
    Ipv4Addr::new(first, b, c, d)
}

/// Chance that is the same in each run: SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Another one for each seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    #[expect(clippy::should_implement_trait, reason = "it never ends")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`; 0 where that is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }

    /// Brings items into any order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for index in (1..items.len()).rev() {
            items.swap(index, self.below(index + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::collections::HashSet;

    use etherparse::{SlicedPacket, TransportSlice};

    use crate::{Capture, Lab};

    fn frames(packet: Packet, sources: Sources, count: usize) -> Vec<Vec<u8>> {
        let pattern = Pattern::new(packet, "192.0.2.1:0".parse().unwrap(), [2; 6], [4; 6]);
        let mut random = Random::new(7);
        let mut frame = |made| {
            let mut frame = vec![0; LENGTH];
            let source = sources.next(&mut random, made);
            pattern.fill_in(&mut frame, source, 7142, &mut random);
            frame
        };
        (0..count).map(|made| frame(made as u64)).collect()
    }

    /// The source of a frame in which everything is as it should be.
    fn source(packet: Packet, frame: &[u8]) -> Ipv4Addr {
        let sliced = SlicedPacket::from_ethernet(frame).unwrap();
        let header = sliced.net.as_ref().and_then(|net| net.ipv4_ref()).unwrap().header();
        let (from, to) = (header.source(), header.destination());
        assert_eq!(to, [192, 0, 2, 1]);
        assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
        let port = match sliced.transport.unwrap() {
            TransportSlice::Tcp(tcp) => {
                assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(from, to).unwrap());
                let (is_syn, has_data) = (packet == Packet::Syn, packet == Packet::Data);
                assert_eq!(
                    (tcp.syn(), tcp.ack(), tcp.payload().len()),
                    (is_syn, has_data, 6 * usize::from(has_data))
                );
                tcp.destination_port()
            }
            TransportSlice::Udp(udp) => {
                assert_eq!(packet, Packet::Datagram);
                let right = udp.to_header().calc_checksum_ipv4_raw(from, to, udp.payload()).unwrap();
                assert_eq!(udp.checksum(), right);
                udp.destination_port()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(port, 7142);
        header.source_addr()
    }

    #[test]
    fn every_frame_is_as_it_should_be() {
        for packet in [Packet::Syn, Packet::Data, Packet::Datagram] {
            let frames = frames(packet, Sources::Random, 100_000);
            let sources: HashSet<_> = frames.iter().map(|frame| source(packet, frame)).collect();
            assert!(sources.len() > 99_000, "{} sources", sources.len());
            for source in sources {
                assert!(!source.is_multicast() && !source.is_private() && !source.is_loopback(), "{source}");
            }
        }
    }

    #[test]
    fn sources_are_as_many_as_wanted() {
        let count = |sources| {
            let frames = frames(Packet::Syn, sources, 20_000);
            frames.iter().map(|frame| source(Packet::Syn, frame)).collect::<HashSet<_>>().len()
        };
        assert_eq!(count(Sources::Among(1000)), 1000);
        assert_eq!(count(Sources::One(Ipv4Addr::new(192, 0, 2, 7))), 1);
    }

    #[test]
    fn frames_of_one_source_differ() {
        let frames = frames(Packet::Syn, Sources::One(Ipv4Addr::new(192, 0, 2, 7)), 10_000);
        assert_eq!(frames.iter().collect::<HashSet<_>>().len(), frames.len());
    }

    #[test]
    fn all_that_is_sent_arrives() -> io::Result<()> {
        let lab = Lab::pair()?;
        let (client, server) = (lab.client(), lab.server());
        let capture = Capture::open(server, "eth0")?;
        let mut flood = Flood::open(client, "eth0", server, "eth0")?;
        let targets = vec![(Packet::Syn, 7142), (Packet::Datagram, 8319)];
        let traffic = Traffic { sources: Sources::Random, targets };
        let mut looks = 0;
        let sent = flood.run(&traffic, None, |_| {
            looks += 1;
            Ok(looks <= 20)
        })?;
        assert_eq!(sent.packets, 20 * BATCH as u64);
        let seen =
            capture.seen()?.iter().filter(|seen| [7142, 8319].contains(&seen.destination.port())).count();
        assert_eq!(seen as u64, sent.packets);
        Ok(())
    }

    #[test]
    fn each_target_is_sent_to_once() -> io::Result<()> {
        let lab = Lab::pair()?;
        let (client, server) = (lab.client(), lab.server());
        let capture = Capture::open(server, "eth0")?;
        let mut flood = Flood::open(client, "eth0", server, "eth0")?;
        let mut ports: Vec<u16> = (1000..1150).collect();
        Random::new(3).shuffle(&mut ports);
        let targets = ports.iter().map(|port| (Packet::Syn, *port)).collect();
        let sent =
            flood.send_once(&Traffic { sources: Sources::One(Ipv4Addr::new(192, 0, 2, 7)), targets })?;
        assert_eq!(sent.packets, 150);
        let seen: Vec<_> = capture.seen()?.iter().map(|seen| seen.destination.port()).collect();
        let seen: Vec<_> = seen.into_iter().filter(|port| (1000..1150).contains(port)).collect();
        assert_eq!(seen, ports);
        assert!(!ports.is_sorted());
        ports.sort_unstable();
        assert_eq!(ports, (1000..1150).collect::<Vec<_>>());
        Ok(())
    }

    #[test]
    fn a_pace_is_kept() -> io::Result<()> {
        let lab = Lab::pair()?;
        let mut flood = Flood::open(lab.client(), "eth0", lab.server(), "eth0")?;
        let traffic = Traffic { sources: Sources::Random, targets: vec![(Packet::Syn, 7142)] };
        let sent = flood.run(&traffic, Some(5_000), |time| Ok(time < Duration::from_millis(100)))?;
        assert!(sent.packets <= (sent.time.as_secs_f64() * 5_000.0) as u64, "{sent:?}");
        assert!(sent.packets > 0);
        Ok(())
    }
}
