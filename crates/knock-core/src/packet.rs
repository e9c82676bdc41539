//! Bytes of a packet to a knock.
//!
//! Looks through VLAN tags (IEEE 802.1Q and 802.1ad), IPv4 options (RFC 791), IPv6 extension headers (RFC 8200)
//! and into first fragments. Anything else, and anything whose lengths do not fit, is no knock.

use std::net::IpAddr;

use etherparse::{EtherType, Ipv6ExtensionSlice, LaxIpv4Slice, LaxIpv6Slice, LaxNetSlice, LaxSlicedPacket};
use etherparse::{IpNumber, TcpSlice, UdpHeaderSlice, ip_number};

use crate::knock::{Knock, Protocol, TcpFlags};
use crate::sequence::Step;

/// A packet as a packet socket hands it over: from its network header on.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// What `bytes` begin with: an IEEE 802 EtherType, such as 0x0800 for IPv4 or 0x8100 for a VLAN tag.
    pub ether_type: u16,
    /// The packet, or its beginning.
    pub bytes: &'a [u8],
    /// How long it was on the wire, counted from where `bytes` begin.
    pub wire_length: usize,
    /// It came in on the loopback interface, where sources in 127.0.0.0/8 and `::1` are at home.
    pub loopback: bool,
}

/// The knock that a frame is, if it is one.
pub fn decode(frame: &Frame<'_>) -> Option<Knock> {
    let sliced = LaxSlicedPacket::from_ether_type(EtherType(frame.ether_type), frame.bytes);
    let network = network(&sliced, frame)?;
    if !network.first_fragment || !may_send(network.source, frame.loopback) {
        return None;
    }
    let transport = match network.protocol {
        ip_number::TCP => tcp(network.payload),
        ip_number::UDP => udp(network.payload, network.identification),
        _ => None,
    }?;
    Some(Knock {
        source: network.source,
        destination: network.destination,
        step: transport.step,
        flags: transport.flags,
        fingerprint: transport.fingerprint,
    })
}

struct Network<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: IpNumber,
    /// IPv4's; IPv6 has none, so its payload length stands in.
    identification: u16,
    first_fragment: bool,
    payload: &'a [u8],
}

fn network<'a>(sliced: &LaxSlicedPacket<'a>, frame: &Frame<'_>) -> Option<Network<'a>> {
    // The kernel drops a packet whose version is not its EtherType's.
    match (sliced.net.as_ref()?, sliced.ether_payload()?.ether_type) {
        (LaxNetSlice::Ipv4(packet), EtherType::IPV4) => ipv4(packet, frame),
        (LaxNetSlice::Ipv6(packet), EtherType::IPV6) => ipv6(packet, frame),
        _ => None,
    }
}

fn ipv4<'a>(packet: &LaxIpv4Slice<'a>, frame: &Frame<'_>) -> Option<Network<'a>> {
    let header = packet.header();
    let (total, own) = (usize::from(header.total_len()), header.slice().len());
    if total < own || before(frame, header.slice()) + total > frame.wire_length {
        return None;
    }
    let payload = packet.payload();
    // An authentication header would have to be verified first: what stands behind it does not count.
    Some(Network {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: header.protocol(),
        identification: header.identification(),
        first_fragment: header.fragments_offset().value() == 0,
        payload: payload.payload,
    })
}

fn ipv6<'a>(packet: &LaxIpv6Slice<'a>, frame: &Frame<'_>) -> Option<Network<'a>> {
    let header = packet.header();
    let length = header.payload_length();
    let total = header.slice().len() + usize::from(length);
    if before(frame, header.slice()) + total > frame.wire_length {
        return None;
    }
    let later_fragment = packet.extensions().clone().into_iter().any(|extension| {
        matches!(extension, Ipv6ExtensionSlice::Fragment(fragment) if fragment.fragment_offset().value() != 0)
    });
    let payload = packet.payload();
    Some(Network {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: payload.ip_number,
        identification: length,
        // A length of zero is a jumbogram (RFC 2675) or nothing at all.
        first_fragment: length != 0 && !later_fragment,
        payload: payload.payload,
    })
}

/// How many bytes of the frame stand before `header`, which is a part of it: its VLAN tags.
fn before(frame: &Frame<'_>, header: &[u8]) -> usize {
    (header.as_ptr() as usize).saturating_sub(frame.bytes.as_ptr() as usize)
}

struct Transport {
    step: Step,
    flags: TcpFlags,
    fingerprint: u64,
}

fn tcp(payload: &[u8]) -> Option<Transport> {
    /// Where the control bits stand in the header.
    const CONTROL_BITS: usize = 13;
    let header = TcpSlice::from_slice(payload).ok()?;
    Some(Transport {
        step: step(header.destination_port(), Protocol::Tcp)?,
        flags: TcpFlags::from_header_byte(*payload.get(CONTROL_BITS)?),
        fingerprint: u64::from(header.source_port()) << 32 | u64::from(header.sequence_number()),
    })
}

fn udp(payload: &[u8], identification: u16) -> Option<Transport> {
    const HEADER: u16 = 8;
    let header = UdpHeaderSlice::from_slice(payload).ok()?;
    if header.length() < HEADER {
        return None;
    }
    Some(Transport {
        step: step(header.destination_port(), Protocol::Udp)?,
        flags: TcpFlags::default(),
        fingerprint: u64::from(header.source_port()) << 32
            | u64::from(identification) << 16
            | u64::from(header.checksum()),
    })
}

fn step(port: u16, protocol: Protocol) -> Option<Step> {
    (port != 0).then_some(Step { port, protocol })
}

/// Whether an answer to this source could ever reach it (RFC 1122, section 3.2.1.3; RFC 4291, section 2.5):
/// a command is never run for an address that is none.
fn may_send(source: IpAddr, loopback: bool) -> bool {
    let is_host = match source {
        IpAddr::V4(address) => !address.is_broadcast() && address.octets()[0] != 0,
        IpAddr::V6(address) => address.to_ipv4_mapped().is_none(),
    };
    is_host && !source.is_unspecified() && !source.is_multicast() && (loopback || !source.is_loopback())
}

#[cfg(test)]
mod tests;
