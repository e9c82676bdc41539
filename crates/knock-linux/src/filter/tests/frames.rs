//! Packets for the filter: well formed up to some point.

use std::net::IpAddr;

use etherparse::{IpNumber, PacketBuilder, ip_number};
use knock_core::packet::Frame;
use proptest::prelude::*;

use crate::filter::program::{EXTENSION_HEADERS, VLAN_TAGS};

pub(super) const PORTS: [u16; 6] = [1, 7142, 7143, 8319, 40_000, 65_535];

/// How many bytes of data the datagrams of [`frames`] say that they have.
pub(super) const DATA: u16 = 20;

/// Of both families, each with a key of its own; some are near to others.
pub(super) const SOURCES: [IpAddr; 6] = [
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
    IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 8)),
    IpAddr::V4(std::net::Ipv4Addr::new(1, 0, 0, 1)),
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7)),
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 7)),
    IpAddr::V6(std::net::Ipv6Addr::new(0xfe80, 0, 0, 0, 0x1234, 0x5678, 0x9abc, 0xdef0)),
];

/// A packet from its network header, or its VLAN tag's control information, on.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub(super) ether_type: u16,
    pub(super) bytes: Vec<u8>,
    /// The filter looks through all of its tags and extension headers.
    pub(super) followed: bool,
    /// It has neither.
    pub(super) plain: bool,
}

impl Made {
    pub(super) fn frame(&self) -> Frame<'_> {
        Frame {
            ether_type: self.ether_type,
            bytes: &self.bytes,
            wire_length: self.bytes.len(),
            checksum_trusted: true,
            loopback: false,
        }
    }

    /// With an Ethernet header, addressed to nobody in particular.
    pub(super) fn ethernet(&self) -> Vec<u8> {
        [&[0; 12], &self.ether_type.to_be_bytes()[..], &self.bytes].concat()
    }
}

pub(super) fn tcp(port: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4([192, 0, 2, 7], [192, 0, 2, 1], 64);
    builder.tcp(40000, port, 1, 1024).syn().write(&mut bytes, b"").unwrap();
    bytes
}

pub(super) fn udp_6(port: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv6([1; 16], [2; 16], 64).udp(40000, port).write(&mut bytes, b"").unwrap();
    bytes
}

/// A packet behind so many VLAN tags, three at most.
pub(super) fn tagged(tags: usize, ether_type: u16, bytes: Vec<u8>) -> (u16, Vec<u8>) {
    [0x8100, 0x88a8, 0x9100].into_iter().take(tags).fold((ether_type, bytes), |(inner, bytes), outer| {
        (outer, [&[0, 5][..], &u16::to_be_bytes(inner), &bytes].concat())
    })
}

/// A datagram behind extension headers: the number of each, its length field, and where a fragment begins.
pub(super) fn extended_udp(port: u16, extensions: &[(u8, u8, u16)]) -> Vec<u8> {
    let [high, low] = port.to_be_bytes();
    ipv6([0x20; 16], ip_number::UDP, &[0x9c, 0x40, high, low, 0, 8, 0, 0], extensions)
}

/// Tags, IPv4 options, extension headers, fragments, any transport, any flags, cut off somewhere.
pub(super) fn frames() -> impl Strategy<Value = Made> {
    let extension = (
        prop_oneof![Just(0_u8), Just(43), Just(44), Just(51), Just(60), Just(135)],
        0_u8..3,
        fragment_offsets(),
    );
    let extensions = prop_oneof![Just(vec![]), proptest::collection::vec(extension, 0..9)];
    let tags = prop_oneof![Just(0), 0_usize..4];
    let cut = prop_oneof![3 => Just(usize::MAX), 1 => 0_usize..120];
    (segments(), proptest::sample::select(&SOURCES), extensions, tags, 5_u8..8, fragment_offsets(), cut)
        .prop_map(|((protocol, segment), source, extensions, tags, words, offset, cut)| {
            let (mut ether_type, mut bytes) = match source {
                IpAddr::V4(source) => (0x0800, ipv4(source.octets(), protocol, &segment, words, offset)),
                IpAddr::V6(source) => (0x86dd, ipv6(source.octets(), protocol, &segment, &extensions)),
            };
            let extensions = if source.is_ipv6() { extensions.len() } else { 0 };
            (ether_type, bytes) = tagged(tags, ether_type, bytes);
            bytes.truncate(cut);
            let followed = tags <= VLAN_TAGS && extensions <= EXTENSION_HEADERS;
            Made { ether_type, bytes, followed, plain: tags == 0 && extensions == 0 }
        })
}

/// Of fragments, in units of eight bytes: mostly none.
fn fragment_offsets() -> impl Strategy<Value = u16> {
    prop_oneof![3 => Just(0_u16), 1 => 0_u16..0x2000]
}

/// A TCP header, which is a UDP header as well.
fn segments() -> impl Strategy<Value = (IpNumber, Vec<u8>)> {
    let protocol = prop_oneof![
        4 => Just(ip_number::TCP),
        4 => Just(ip_number::UDP),
        1 => Just(ip_number::ICMP),
        1 => proptest::sample::select(&[2, 50, 59, 132]).prop_map(IpNumber)
    ];
    let port = || prop_oneof![4 => proptest::sample::select(&PORTS), 1 => any::<u16>()];
    let flags = prop_oneof![Just(2_u8), any::<u8>()];
    (protocol, port(), port(), flags).prop_map(|(protocol, from, to, flags)| {
        let mut segment = [from.to_be_bytes(), to.to_be_bytes()].concat();
        segment.extend([0, 8 + DATA as u8, 0, 0, 0, 0, 0, 0, 0x50, flags]);
        segment.resize(28, 0);
        (protocol, segment)
    })
}

fn ipv4(source: [u8; 4], protocol: IpNumber, segment: &[u8], words: u8, offset: u16) -> Vec<u8> {
    let header = usize::from(words) * 4;
    let total = u16::try_from(header + segment.len()).unwrap().to_be_bytes();
    let offset = offset.to_be_bytes();
    let mut bytes =
        vec![0x40 | words, 0, total[0], total[1], 0, 9, offset[0], offset[1], 64, protocol.0, 0, 0];
    bytes.extend(source);
    bytes.extend([192, 0, 2, 1]);
    bytes.resize(header, 0);
    bytes.extend(segment);
    bytes
}

fn ipv6(source: [u8; 16], protocol: IpNumber, segment: &[u8], extensions: &[(u8, u8, u16)]) -> Vec<u8> {
    let mut payload = segment.to_vec();
    let mut next = protocol.0;
    for (kind, length, offset) in extensions.iter().rev() {
        let mut header = vec![next, *length];
        match kind {
            44 => header.extend([&(offset << 3 | 1).to_be_bytes()[..], &[0, 0, 0, 9]].concat()),
            51 => header.resize((usize::from(*length) + 2) * 4, 0),
            _ => header.resize((usize::from(*length) + 1) * 8, 0),
        }
        payload = [header, payload].concat();
        next = *kind;
    }
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
    bytes.extend(source);
    bytes.extend([0x20; 16]);
    bytes.extend(payload);
    bytes
}
