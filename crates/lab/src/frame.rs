//! Ethernet frames, made to measure.
//!
//! Written byte by byte rather than with the library that the daemon reads packets with: what a test sends must not
//! depend on what it tests.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::{BitOr, Range};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
const TCP: u8 = 6;
const UDP: u8 = 17;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;
/// The only identification of fragments: one fragmented datagram at a time is enough for a test.
const IDENTIFICATION: u16 = 0x1ab5;

/// The flags of a TCP segment.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// None.
    pub const NONE: Self = Self(0);
    /// No more data.
    pub const FIN: Self = Self(1);
    /// Opens a connection.
    pub const SYN: Self = Self(2);
    /// Resets it.
    pub const RST: Self = Self(4);
    /// Hand it to the application.
    pub const PSH: Self = Self(8);
    /// The acknowledgement number counts.
    pub const ACK: Self = Self(16);
    /// The urgent pointer counts.
    pub const URG: Self = Self(32);
    /// Congestion was met.
    pub const ECE: Self = Self(64);
    /// The window was reduced for it.
    pub const CWR: Self = Self(128);
    const NAMES: [&str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

    /// Whether all of `flags` are set.
    #[must_use]
    pub fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }
}

impl BitOr for TcpFlags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// As in `SYN|ACK`; nothing when none is set.
impl fmt::Display for TcpFlags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = (0..8).filter(|bit| self.0 & (1 << bit) != 0).map(|bit| Self::NAMES[bit]);
        formatter.write_str(&set.collect::<Vec<_>>().join("|"))
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TcpFlags({self})")
    }
}

/// An IPv6 extension header, harmless in content: hosts skip it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extension {
    /// Hop-by-hop options of so many 8-byte units (1 to 31); only valid as the first.
    HopByHop(u8),
    /// Destination options of so many 8-byte units (1 to 31).
    DestinationOptions(u8),
    /// An experimental routing header with no segment left, of so many 8-byte units (1 to 31).
    Routing(u8),
    /// The same of 8 bytes with so many segments left: the packet is not yet where it goes.
    RoutingOn(u8),
    /// A fragment header of a datagram in one piece.
    AtomicFragment,
    /// An authentication header with a made-up check value of 12 bytes.
    Authentication,
}

/// What fields say that do not say what is so.
#[derive(Clone, Copy, Debug, Default)]
struct Lies {
    header_words: Option<u8>,
    packet_length: Option<u16>,
    tcp_header_words: Option<u8>,
    datagram_length: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Tcp { flags: TcpFlags, sequence: u32, acknowledgement: u32 },
    Udp,
}

/// A frame in the making: Ethernet, VLAN tags, IPv4 or IPv6 as the addresses say, TCP or UDP, and a payload.
///
/// Checksums and lengths are right; what lies about them is said by the methods that begin with `say`, and
/// who wants anything else wrong takes [`bytes`](Self::bytes) and changes them.
#[derive(Clone, Debug)]
pub struct Frame {
    source: SocketAddr,
    destination: SocketAddr,
    transport: Transport,
    payload: Vec<u8>,
    tags: Vec<(u16, u16)>,
    options: Vec<u8>,
    tcp_options: Vec<u8>,
    extensions: Vec<Extension>,
    lies: Lies,
    hop_limit: u8,
    to_hardware: Option<[u8; 6]>,
}

impl Frame {
    /// A TCP segment: a SYN, until [`flags`](Self::flags) says otherwise.
    ///
    /// # Panics
    /// When one address is IPv4 and the other IPv6.
    #[must_use]
    pub fn tcp(source: SocketAddr, destination: SocketAddr) -> Self {
        Self::new(
            source,
            destination,
            Transport::Tcp { flags: TcpFlags::SYN, sequence: 1, acknowledgement: 0 },
        )
    }

    /// A UDP datagram.
    ///
    /// # Panics
    /// When one address is IPv4 and the other IPv6.
    #[must_use]
    pub fn udp(source: SocketAddr, destination: SocketAddr) -> Self {
        Self::new(source, destination, Transport::Udp)
    }

    fn new(source: SocketAddr, destination: SocketAddr, transport: Transport) -> Self {
        assert_eq!(source.is_ipv4(), destination.is_ipv4(), "{source} and {destination} differ in family");
        Self {
            source,
            destination,
            transport,
            payload: Vec::new(),
            tags: Vec::new(),
            options: Vec::new(),
            tcp_options: Vec::new(),
            extensions: Vec::new(),
            lies: Lies::default(),
            hop_limit: 64,
            to_hardware: None,
        }
    }

    /// The TCP flags; nothing for UDP.
    #[must_use]
    pub fn flags(mut self, wanted: TcpFlags) -> Self {
        if let Transport::Tcp { flags, .. } = &mut self.transport {
            *flags = wanted;
        }
        self
    }

    /// The TCP sequence and acknowledgement numbers; nothing for UDP.
    #[must_use]
    pub fn numbers(mut self, wanted_sequence: u32, wanted_acknowledgement: u32) -> Self {
        if let Transport::Tcp { sequence, acknowledgement, .. } = &mut self.transport {
            (*sequence, *acknowledgement) = (wanted_sequence, wanted_acknowledgement);
        }
        self
    }

    /// TCP options, filled up to four bytes with end-of-options; nothing for UDP.
    ///
    /// # Panics
    /// When they are longer than 40 bytes.
    #[must_use]
    pub fn tcp_options(mut self, bytes: &[u8]) -> Self {
        assert!(bytes.len() <= 40, "at most 40 bytes of options");
        self.tcp_options = bytes.to_vec();
        self.tcp_options.resize(bytes.len().next_multiple_of(4), 0);
        self
    }

    /// What the IPv4 header says of its own length, in 4-byte units (0 to 15).
    #[must_use]
    pub fn say_header_words(mut self, words: u8) -> Self {
        self.lies.header_words = Some(words);
        self
    }

    /// What the IPv4 header says of the packet's length, or the IPv6 header of its payload's, in bytes.
    #[must_use]
    pub fn say_packet_length(mut self, length: u16) -> Self {
        self.lies.packet_length = Some(length);
        self
    }

    /// What the TCP header says of its own length, in 4-byte units (0 to 15).
    #[must_use]
    pub fn say_tcp_header_words(mut self, words: u8) -> Self {
        self.lies.tcp_header_words = Some(words);
        self
    }

    /// What the UDP header says of the datagram's length, in bytes.
    #[must_use]
    pub fn say_datagram_length(mut self, length: u16) -> Self {
        self.lies.datagram_length = Some(length);
        self
    }

    /// What follows the TCP or UDP header.
    #[must_use]
    pub fn payload(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.payload = bytes.into();
        self
    }

    /// One more 802.1Q tag, inside those before.
    #[must_use]
    pub fn vlan(mut self, id: u16) -> Self {
        self.tags.push((ETHERTYPE_VLAN, id));
        self
    }

    /// One more 802.1ad service tag, as the outer one of a QinQ pair is.
    #[must_use]
    pub fn service_vlan(mut self, id: u16) -> Self {
        self.tags.push((ETHERTYPE_SERVICE_VLAN, id));
        self
    }

    /// IPv4 options, filled up to four bytes with end-of-options.
    ///
    /// # Panics
    /// When they are longer than 40 bytes or the frame is IPv6.
    #[must_use]
    pub fn ip_options(mut self, bytes: &[u8]) -> Self {
        assert!(bytes.len() <= 40 && self.source.is_ipv4(), "at most 40 bytes of options, of IPv4");
        self.options = bytes.to_vec();
        self.options.resize(bytes.len().next_multiple_of(4), 0);
        self
    }

    /// One more IPv6 extension header, after those before.
    ///
    /// # Panics
    /// When the frame is IPv4.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Self {
        assert!(self.source.is_ipv6(), "extension headers are IPv6's");
        self.extensions.push(extension);
        self
    }

    /// The time to live, or hop limit; 64 when unsaid.
    #[must_use]
    pub fn hop_limit(mut self, hops: u8) -> Self {
        self.hop_limit = hops;
        self
    }

    /// Another Ethernet destination than the peer's, such as the broadcast address or somebody else's.
    #[must_use]
    pub fn to_hardware(mut self, address: [u8; 6]) -> Self {
        self.to_hardware = Some(address);
        self
    }

    /// The whole frame.
    #[must_use]
    pub fn bytes(&self, from: [u8; 6], to: [u8; 6]) -> Vec<u8> {
        let packet = match self.addresses() {
            Addresses::V4(source, destination) => self.ipv4(source, destination, 0, &self.segment()),
            Addresses::V6(source, destination) => {
                let (next, headers) = chain(&self.extensions, self.protocol());
                let body = [headers, self.segment()].concat();
                self.ipv6(source, destination, next, &body)
            }
        };
        self.framed(from, to, &packet)
    }

    /// The same datagram in fragments of `size` bytes of IP payload each.
    ///
    /// # Panics
    /// When `size` is no positive multiple of 8.
    #[must_use]
    pub fn fragments(&self, size: usize, from: [u8; 6], to: [u8; 6]) -> Vec<Vec<u8>> {
        assert!(size > 0 && size.is_multiple_of(8), "fragments are of multiples of 8 bytes, not {size}");
        let length = self.segment().len();
        let starts = (0..length).step_by(size);
        starts.map(|start| self.fragment(start..length.min(start + size), from, to)).collect()
    }

    /// The fragment with these bytes of the IP payload. More follow, unless it is the last.
    ///
    /// # Panics
    /// When it begins at no multiple of 8, or ends behind the payload.
    #[must_use]
    pub fn fragment(&self, bytes: Range<usize>, from: [u8; 6], to: [u8; 6]) -> Vec<u8> {
        assert!(bytes.start.is_multiple_of(8), "a fragment begins at a multiple of 8, not {}", bytes.start);
        let segment = self.segment();
        let position = Position { units: (bytes.start / 8) as u16, more: bytes.end < segment.len() };
        self.framed(from, to, &self.piece(position, &segment[bytes]))
    }

    fn piece(&self, position: Position, bytes: &[u8]) -> Vec<u8> {
        match self.addresses() {
            Addresses::V4(source, destination) => {
                let field = position.units | if position.more { 0x2000 } else { 0 };
                self.ipv4(source, destination, field, bytes)
            }
            Addresses::V6(source, destination) => {
                let (next, mut headers) = chain(&self.extensions, FRAGMENT);
                headers.extend(fragment_header(self.protocol(), position));
                self.ipv6(source, destination, next, &[&headers, bytes].concat())
            }
        }
    }

    fn framed(&self, from: [u8; 6], to: [u8; 6], packet: &[u8]) -> Vec<u8> {
        let mut frame = [self.to_hardware.unwrap_or(to), from].concat();
        for (ethertype, tag) in &self.tags {
            frame.extend(ethertype.to_be_bytes());
            frame.extend(tag.to_be_bytes());
        }
        let ethertype = if self.source.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
        frame.extend(ethertype.to_be_bytes());
        frame.extend(packet);
        frame
    }

    fn ipv4(&self, source: Ipv4Addr, destination: Ipv4Addr, fragment: u16, body: &[u8]) -> Vec<u8> {
        let header_length = 20 + self.options.len();
        let total = self.lies.packet_length.unwrap_or((header_length + body.len()) as u16);
        let words = self.lies.header_words.unwrap_or((header_length / 4) as u8);
        let mut header = vec![0x40 | words, 0];
        header.extend(total.to_be_bytes());
        header.extend(IDENTIFICATION.to_be_bytes());
        header.extend(fragment.to_be_bytes());
        header.extend([self.hop_limit, self.protocol(), 0, 0]);
        header.extend(source.octets());
        header.extend(destination.octets());
        header.extend(&self.options);
        let sum = checksum(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header.extend(body);
        header
    }

    fn ipv6(&self, source: Ipv6Addr, destination: Ipv6Addr, next: u8, body: &[u8]) -> Vec<u8> {
        let length = self.lies.packet_length.unwrap_or(body.len() as u16);
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(length.to_be_bytes());
        packet.extend([next, self.hop_limit]);
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(body);
        packet
    }

    /// The TCP segment or UDP datagram, its checksum filled in.
    fn segment(&self) -> Vec<u8> {
        let mut segment = [self.source.port().to_be_bytes(), self.destination.port().to_be_bytes()].concat();
        let checksum_at = match self.transport {
            Transport::Tcp { flags, sequence, acknowledgement } => {
                segment.extend(sequence.to_be_bytes());
                segment.extend(acknowledgement.to_be_bytes());
                let words = self.lies.tcp_header_words.unwrap_or(5 + (self.tcp_options.len() / 4) as u8);
                segment.extend([words << 4, flags.0, 0xff, 0xff, 0, 0, 0, 0]);
                segment.extend(&self.tcp_options);
                16
            }
            Transport::Udp => {
                let length = self.lies.datagram_length.unwrap_or(8 + self.payload.len() as u16);
                segment.extend(length.to_be_bytes());
                segment.extend([0, 0]);
                6
            }
        };
        segment.extend(&self.payload);
        let sum = checksum(&[self.pseudo_header(segment.len()), segment.clone()].concat());
        // A computed zero would mean that there is no checksum.
        let sum = if sum == 0 { 0xffff } else { sum };
        segment[checksum_at..checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
        segment
    }

    fn pseudo_header(&self, length: usize) -> Vec<u8> {
        let mut header = match self.addresses() {
            Addresses::V4(source, destination) => [source.octets(), destination.octets()].concat(),
            Addresses::V6(source, destination) => [source.octets(), destination.octets()].concat(),
        };
        // IPv4 has 16 bits here and IPv6 32, which makes no difference to the sum.
        header.extend((length as u32).to_be_bytes());
        header.extend([0, 0, 0, self.protocol()]);
        header
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp { .. } => TCP,
            Transport::Udp => UDP,
        }
    }

    fn addresses(&self) -> Addresses {
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => Addresses::V4(source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => Addresses::V6(source, destination),
            _ => unreachable!("both of one family, by `new`"),
        }
    }
}

enum Addresses {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

/// Where a fragment belongs: its offset in 8-byte units, and whether more follow.
#[derive(Clone, Copy)]
struct Position {
    units: u16,
    more: bool,
}

/// The extension headers, the last pointing to `protocol`; and the number of the first.
fn chain(extensions: &[Extension], protocol: u8) -> (u8, Vec<u8>) {
    extensions.iter().rev().fold((protocol, Vec::new()), |(next, rest), extension| {
        let (number, header) = extension_header(*extension, next);
        (number, [header, rest].concat())
    })
}

fn extension_header(extension: Extension, next: u8) -> (u8, Vec<u8>) {
    match extension {
        Extension::HopByHop(units) => (HOP_BY_HOP, options_header(next, units)),
        Extension::DestinationOptions(units) => (DESTINATION_OPTIONS, options_header(next, units)),
        Extension::Routing(units) => {
            let mut header = vec![next, units - 1, 253, 0];
            header.resize(usize::from(units) * 8, 0);
            (ROUTING, header)
        }
        Extension::RoutingOn(left) => (ROUTING, vec![next, 0, 253, left, 0, 0, 0, 0]),
        Extension::AtomicFragment => (FRAGMENT, fragment_header(next, Position { units: 0, more: false })),
        Extension::Authentication => {
            // Its length counts 4-byte units, less two: 24 bytes.
            let mut header = vec![next, 4, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
            header.resize(24, 0xa5);
            (AUTHENTICATION, header)
        }
    }
}

/// One option of an experimental type that whoever does not know it skips. Padding would not do: Linux drops a packet
/// with more than seven bytes of it.
fn options_header(next: u8, units: u8) -> Vec<u8> {
    const SKIPPED: u8 = 0x1e;
    let mut header = vec![next, units - 1, SKIPPED, units * 8 - 4];
    header.resize(usize::from(units) * 8, 0);
    header
}

fn fragment_header(next: u8, position: Position) -> Vec<u8> {
    let field = (position.units << 3) | u16::from(position.more);
    let mut header = vec![next, 0];
    header.extend(field.to_be_bytes());
    header.extend(u32::from(IDENTIFICATION).to_be_bytes());
    header
}

/// The Internet checksum.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    use etherparse::{SlicedPacket, TransportSlice};

    const FROM: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const TO: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn ends(source: &str, destination: &str) -> (SocketAddr, SocketAddr) {
        (source.parse().unwrap(), destination.parse().unwrap())
    }

    #[test]
    fn a_segment_with_everything_reads_back() {
        let (source, destination) = ends("10.0.0.1:5", "10.0.0.2:7000");
        let frame = Frame::tcp(source, destination)
            .service_vlan(7)
            .vlan(9)
            .ip_options(&[1, 1, 1])
            .flags(TcpFlags::FIN | TcpFlags::PSH)
            .payload("hello");
        let bytes = frame.bytes(FROM, TO);
        let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
        assert_eq!(packet.vlan_ids().iter().map(|id| id.value()).collect::<Vec<_>>(), [7, 9]);
        let ipv4 = packet.net.as_ref().and_then(|net| net.ipv4_ref()).unwrap().header();
        assert_eq!(ipv4.header_checksum(), ipv4.to_header().calc_header_checksum());
        let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("no TCP") };
        assert!(tcp.fin() && tcp.psh() && !tcp.syn());
        assert_eq!(tcp.checksum(), tcp.calc_checksum_ipv4(ipv4.source(), ipv4.destination()).unwrap());
        assert_eq!(tcp.payload(), b"hello");
    }

    #[test]
    fn extension_headers_read_back() {
        let (source, destination) = ends("[fd00::1]:5", "[fd00::2]:7000");
        let all = [
            Extension::HopByHop(2),
            Extension::DestinationOptions(1),
            Extension::Routing(3),
            Extension::AtomicFragment,
            Extension::Authentication,
        ];
        let frame = all.into_iter().fold(Frame::udp(source, destination), Frame::extension).payload("hi");
        let bytes = frame.bytes(FROM, TO);
        let packet = SlicedPacket::from_ethernet(&bytes).unwrap();
        let ipv6 = packet.net.as_ref().and_then(|net| net.ipv6_ref()).unwrap().header();
        let Some(TransportSlice::Udp(udp)) = packet.transport else { panic!("no UDP") };
        let right = udp.to_header().calc_checksum_ipv6_raw(ipv6.source(), ipv6.destination(), b"hi");
        assert_eq!(udp.checksum(), right.unwrap());
    }

    #[test]
    fn fragments_hold_the_whole_datagram() {
        let (source, destination) = ends("10.0.0.1:5", "10.0.0.2:7000");
        let frame = Frame::udp(source, destination).payload([7; 20]);
        let pieces = frame.fragments(16, FROM, TO);
        assert_eq!(pieces.iter().map(|piece| piece.len() - 34).collect::<Vec<_>>(), [16, 12]);
        assert_eq!(pieces[0][20..22], [0x20, 0]);
        assert_eq!(pieces[1][20..22], [0, 2]);
    }

    #[test]
    fn lies_are_told_beside_right_checksums() {
        let (source, destination) = ends("10.0.0.1:5", "10.0.0.2:7000");
        let tcp = Frame::tcp(source, destination).tcp_options(&[2, 4, 5]);
        let plain = tcp.bytes(FROM, TO);
        assert_eq!((plain.len(), plain[46]), (14 + 20 + 24, 6 << 4));
        let told = tcp.say_header_words(9).say_packet_length(7).say_tcp_header_words(15).bytes(FROM, TO);
        assert_eq!(
            (told.len(), told[14], &told[16..18], told[46]),
            (plain.len(), 0x49, &[0, 7][..], 15 << 4)
        );
        assert_eq!(checksum(&told[14..34]), 0);
        let udp = Frame::udp(source, destination).say_datagram_length(3).bytes(FROM, TO);
        assert_eq!(udp[38..40], [0, 3]);
    }

    #[test]
    fn flags_have_names() {
        assert_eq!((TcpFlags::SYN | TcpFlags::ACK).to_string(), "SYN|ACK");
    }
}
