//! Bytes of a packet to a knock.
//!
//! Looks through VLAN tags (IEEE 802.1Q and 802.1ad), IPv4 options (RFC 791), IPv6 extension headers (RFC 8200)
//! and into first fragments that hold the whole transport header (RFC 1858). Anything else, and anything whose lengths
//! do not fit, is no knock. What stands in options and data is not read. Whether the destination and the
//! source are this machine's own is for the caller to see, and whether the TCP flags make sense for each door.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::knock::{Knock, Protocol, TcpFlags};
use crate::sequence::Step;

/// A packet as a packet socket hands it over: from its network header on.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What `bytes` begin with: an IEEE 802 EtherType, such as 0x0800 for IPv4 or 0x8100 for a VLAN tag. Or what they
    /// hold behind VLAN tags, as packet sockets of newer kernels say (Linux 6.11).
    pub ether_type: u16,
    /// The packet, or its beginning.
    pub bytes: &'a [u8],
    /// How long it was on the wire, counted from where `bytes` begin.
    pub wire_length: usize,
    /// The checksums need not, or cannot, be verified: the hardware did, or the packet has never left the machine. See
    /// `PACKET_AUXDATA` in `packet(7)`.
    pub checksum_trusted: bool,
    /// It came in on the loopback interface, where 127.0.0.0/8 and `::1` are at home.
    pub loopback: bool,
}

/// How many VLAN tags are looked through.
const MAX_TAGS: usize = 3;
/// How many extension headers are looked through: more than any host sends.
const MAX_EXTENSIONS: usize = 16;

/// The knock that a frame is, if it is one.
pub fn decode(frame: &Frame<'_>) -> Option<Knock> {
    decode_with_data(frame).map(|(knock, _)| knock)
}

/// The knock that a frame is, if it is one, and the data of its datagram; nothing of that where it is TCP, a fragment, or
/// not all of it was captured.
pub fn decode_with_data<'a>(frame: &Frame<'a>) -> Option<(Knock, &'a [u8])> {
    decode_from(frame, frame.ether_type).or_else(|| {
        let behind_tags = decode_from(frame, ether_type::CUSTOMER_TAG)?;
        let told = if behind_tags.0.source.is_ipv6() { ether_type::IPV6 } else { ether_type::IPV4 };
        (told == frame.ether_type).then_some(behind_tags)
    })
}

fn decode_from<'a>(frame: &Frame<'a>, first: u16) -> Option<(Knock, &'a [u8])> {
    let (ether_type, skipped) = untag(frame.bytes, first)?;
    let packet = Packet {
        bytes: frame.bytes.get(skipped..)?,
        wire: frame.wire_length.checked_sub(skipped)?,
        checksum_trusted: frame.checksum_trusted,
    };
    let datagram = match ether_type {
        ether_type::IPV4 => ipv4(packet),
        ether_type::IPV6 => ipv6(packet),
        _ => None,
    }?;
    let transport = match datagram.protocol {
        protocol::TCP => tcp(datagram.payload),
        protocol::UDP => udp(&datagram),
        _ => None,
    }?;
    if !frame.checksum_trusted && is_damaged(&datagram) {
        return None;
    }
    let at_home = |address: IpAddr| frame.loopback || !address.is_loopback();
    let possible = is_host(datagram.source) && at_home(datagram.source) && at_home(datagram.destination);
    let knock = Knock {
        source: datagram.source,
        destination: datagram.destination,
        step: transport.step,
        flags: transport.flags,
        fingerprint: transport.fingerprint,
    };
    possible.then_some((knock, data(&datagram)))
}

/// What stands behind the header of a whole UDP datagram.
fn data<'a>(datagram: &Datagram<'a>) -> &'a [u8] {
    let is_whole = datagram.protocol == protocol::UDP && !datagram.fragment;
    let length = u16_at(datagram.payload, 4).filter(|_| is_whole).map(usize::from);
    length.and_then(|length| datagram.payload.get(UDP_HEADER..length)).unwrap_or_default()
}

/// EtherTypes, of the IEEE's registry.
mod ether_type {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const CUSTOMER_TAG: u16 = 0x8100;
    pub(super) const SERVICE_TAG: u16 = 0x88a8;
    pub(super) const OLD_SERVICE_TAG: u16 = 0x9100;
}

/// Protocol and extension header numbers, of IANA's registry.
mod protocol {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const TCP: u8 = 6;
    pub(super) const UDP: u8 = 17;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION_OPTIONS: u8 = 60;
    pub(super) const MOBILITY: u8 = 135;
    pub(super) const HOST_IDENTITY: u8 = 139;
    pub(super) const SHIM6: u8 = 140;
}

/// What stands behind the VLAN tags, and how many bytes they take.
fn untag(bytes: &[u8], first: u16) -> Option<(u16, usize)> {
    let (mut ether_type, mut skipped) = (first, 0);
    for _ in 0..=MAX_TAGS {
        if !matches!(
            ether_type,
            ether_type::CUSTOMER_TAG | ether_type::SERVICE_TAG | ether_type::OLD_SERVICE_TAG
        ) {
            return Some((ether_type, skipped));
        }
        ether_type = u16_at(bytes, skipped + 2)?;
        skipped += 4;
    }
    None
}

/// A packet from its network header on, of which `bytes` may be but the beginning.
#[derive(Clone, Copy)]
struct Packet<'a> {
    bytes: &'a [u8],
    /// Its length on the wire.
    wire: usize,
    checksum_trusted: bool,
}

/// What a network header says, and what stands behind it: a transport header and at least some of its data.
struct Datagram<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    /// IPv4's; IPv6 has none, so its payload length stands in.
    identification: u16,
    payload: &'a [u8],
    /// How long the payload is, of which less may have been captured.
    payload_length: usize,
    fragment: bool,
}

fn ipv4(packet: Packet<'_>) -> Option<Datagram<'_>> {
    const SHORTEST: usize = 20;
    const MORE_FRAGMENTS: u16 = 0x2000;
    const FRAGMENT_OFFSET: u16 = 0x1fff;
    let first = *packet.bytes.first()?;
    let header = usize::from(first & 0x0f) * 4;
    let total = usize::from(u16_at(packet.bytes, 2)?);
    let fragment = u16_at(packet.bytes, 6)?;
    let fits = first >> 4 == 4 && header >= SHORTEST && header <= total && total <= packet.wire;
    if !fits || fragment & FRAGMENT_OFFSET != 0 {
        return None;
    }
    if !packet.checksum_trusted && !is_whole(sum(packet.bytes.get(..header)?)) {
        return None;
    }
    Some(Datagram {
        source: Ipv4Addr::from(array_at(packet.bytes, 12)?).into(),
        destination: Ipv4Addr::from(array_at(packet.bytes, 16)?).into(),
        protocol: *packet.bytes.get(9)?,
        identification: u16_at(packet.bytes, 4)?,
        payload: packet.bytes.get(header..total.min(packet.bytes.len()))?,
        payload_length: total - header,
        fragment: fragment & MORE_FRAGMENTS != 0,
    })
}

fn ipv6(packet: Packet<'_>) -> Option<Datagram<'_>> {
    const HEADER: usize = 40;
    let payload_length = u16_at(packet.bytes, 4)?;
    let total = HEADER + usize::from(payload_length);
    if packet.bytes.first()? >> 4 != 6 || total > packet.wire {
        return None;
    }
    let captured = packet.bytes.get(HEADER..total.min(packet.bytes.len()))?;
    let chain = extension_headers(*packet.bytes.get(6)?, captured)?;
    Some(Datagram {
        source: Ipv6Addr::from(array_at(packet.bytes, 8)?).into(),
        destination: Ipv6Addr::from(array_at(packet.bytes, 24)?).into(),
        protocol: chain.protocol,
        identification: payload_length,
        payload: captured.get(chain.length..)?,
        // A length of zero is a jumbogram (RFC 2675) or nothing at all: either way no room for a transport header.
        payload_length: usize::from(payload_length).checked_sub(chain.length)?,
        fragment: chain.fragment,
    })
}

struct Chain {
    /// What the last extension header says comes next.
    protocol: u8,
    /// How many bytes the extension headers take.
    length: usize,
    fragment: bool,
}

/// Follows extension headers to the transport header; not into later fragments, which have none. All of the chain and
/// the transport header stand in the first (RFC 7112).
fn extension_headers(first: u8, bytes: &[u8]) -> Option<Chain> {
    let mut chain = Chain { protocol: first, length: 0, fragment: false };
    for _ in 0..=MAX_EXTENSIONS {
        let header = bytes.get(chain.length..)?;
        let length_field = || header.get(1).copied().map(usize::from);
        // With segments left it is not where it goes yet (RFC 8200, section 4.4).
        if chain.protocol == protocol::ROUTING && *header.get(3)? != 0 {
            return None;
        }
        chain.length += match chain.protocol {
            protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::DESTINATION_OPTIONS
            | protocol::MOBILITY
            | protocol::HOST_IDENTITY
            | protocol::SHIM6 => (length_field()? + 1) * 8,
            protocol::AUTHENTICATION => (length_field()? + 2) * 4,
            protocol::FRAGMENT => {
                let offset_and_more = u16_at(header, 2)?;
                if offset_and_more & 0xfff8 != 0 {
                    return None;
                }
                chain.fragment |= offset_and_more & 1 != 0;
                8
            }
            _ => return Some(chain),
        };
        chain.protocol = *header.first()?;
    }
    None
}

/// How long a UDP header is (RFC 768).
const UDP_HEADER: usize = 8;

struct Transport {
    step: Step,
    flags: TcpFlags,
    fingerprint: u64,
}

fn tcp(segment: &[u8]) -> Option<Transport> {
    const SHORTEST: usize = 20;
    let header = usize::from(*segment.get(12)? >> 4) * 4;
    if header < SHORTEST || header > segment.len() {
        return None;
    }
    let sequence_number = u32::from_be_bytes(array_at(segment, 4)?);
    Some(Transport {
        step: step(u16_at(segment, 2)?, Protocol::Tcp)?,
        flags: TcpFlags::from_header_byte(*segment.get(13)?),
        fingerprint: u64::from(ports(segment)?) << 32 | u64::from(sequence_number),
    })
}

fn udp(datagram: &Datagram<'_>) -> Option<Transport> {
    let bytes = datagram.payload;
    let length = usize::from(u16_at(bytes, 4)?);
    if length < UDP_HEADER || (length > datagram.payload_length && !datagram.fragment) {
        return None;
    }
    let same = u64::from(datagram.identification) << 16 | u64::from(u16_at(bytes, 6)?);
    Some(Transport {
        step: step(u16_at(bytes, 2)?, Protocol::Udp)?,
        flags: TcpFlags::default(),
        fingerprint: u64::from(ports(bytes)?) << 32 | same,
    })
}

/// Source and destination port, which TCP and UDP have at the same place.
fn ports(transport: &[u8]) -> Option<u32> {
    array_at(transport, 0).map(u32::from_be_bytes)
}

/// Whether the transport checksum is there to be seen, whole, and wrong (RFC 9293, section 3.1; RFC 768; RFC 8200,
/// section 8.1).
fn is_damaged(datagram: &Datagram<'_>) -> bool {
    let udp = datagram.protocol == protocol::UDP;
    // What stands behind a datagram's own length does not belong to it.
    let own = u16_at(datagram.payload, 4).filter(|_| udp).map(usize::from);
    let length = own.unwrap_or(datagram.payload_length);
    let Some(segment) = datagram.payload.get(..length).filter(|_| !datagram.fragment) else { return false };
    if udp && u16_at(segment, 6) == Some(0) {
        return datagram.source.is_ipv6();
    }
    let addresses = [datagram.source, datagram.destination].map(|address| match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    });
    let length = sum(&(length as u32).to_be_bytes());
    let pseudo_header = addresses[0] + addresses[1] + length + u32::from(datagram.protocol);
    !is_whole(pseudo_header + sum(segment))
}

/// The sum of 16-bit words that the Internet checksum is made of (RFC 1071); at most 64 KiB do not overflow it.
fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u32::from(*byte) << 8);
    words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum::<u32>() + last
}

/// Whether this is the sum of words that hold their own checksum.
fn is_whole(mut sum: u32) -> bool {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}

fn step(port: u16, protocol: Protocol) -> Option<Step> {
    (port != 0).then_some(Step { port, protocol })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_be_bytes)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Whether an answer to this source could ever reach it (RFC 1122, section 3.2.1.3; RFC 4291, section 2.5):
/// a command is never run for an address that is none.
pub(crate) fn is_host(source: IpAddr) -> bool {
    match source {
        IpAddr::V4(address) => (1..224).contains(&address.octets()[0]),
        // Mapped and compatible IPv4 addresses (RFC 4291, section 2.5.5) never are on the wire.
        IpAddr::V6(address) => {
            !address.is_multicast() && (address.to_ipv4().is_none() || address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests;
