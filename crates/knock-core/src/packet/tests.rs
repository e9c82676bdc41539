use etherparse::{IpNumber, Ipv4Header, Ipv6Header, PacketBuilder, TcpHeader, UdpHeader, ip_number};
use proptest::prelude::*;

use super::*;

mod bytes;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// A frame as it comes from the same machine: whole, and without checksums.
fn frame(ether_type: u16, bytes: &[u8]) -> Frame<'_> {
    Frame { ether_type, bytes, wire_length: bytes.len(), checksum_trusted: true, loopback: false }
}

fn decode_bytes(ether_type: u16, bytes: &[u8]) -> Option<Knock> {
    decode(&frame(ether_type, bytes))
}

fn syn(port: u16) -> TcpHeader {
    TcpHeader { syn: true, ..TcpHeader::new(40000, port, 0x0102_0304, 1024) }
}

fn tcp_bytes(header: &TcpHeader) -> Vec<u8> {
    header.to_bytes().to_vec()
}

fn udp_bytes(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    let header = UdpHeader { source_port: 40000, destination_port: port, length, checksum: 0xabcd };
    [&header.to_bytes()[..], payload].concat()
}

fn ipv4(protocol: IpNumber, payload: &[u8], change: impl FnOnce(&mut Ipv4Header)) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap();
    let mut header = Ipv4Header::new(length, 64, protocol, [192, 0, 2, 7], [192, 0, 2, 1]).unwrap();
    header.identification = 99;
    change(&mut header);
    [&header.to_bytes()[..], payload].concat()
}

fn ipv6(first: IpNumber, payload: &[u8]) -> Vec<u8> {
    let source: std::net::Ipv6Addr = "2001:db8::7".parse().unwrap();
    let destination: std::net::Ipv6Addr = "2001:db8::1".parse().unwrap();
    let header = Ipv6Header {
        payload_length: u16::try_from(payload.len()).unwrap(),
        next_header: first,
        hop_limit: 64,
        source: source.octets(),
        destination: destination.octets(),
        ..Ipv6Header::default()
    };
    [&header.to_bytes()[..], payload].concat()
}

/// An extension header of eight bytes: the next header's number, then filler.
fn extension(next: IpNumber, rest: [u8; 7]) -> Vec<u8> {
    [&[next.0][..], &rest].concat()
}

#[test]
fn a_syn_is_a_knock() {
    let knock = decode_bytes(IPV4, &ipv4(ip_number::TCP, &tcp_bytes(&syn(7142)), |_| {})).unwrap();
    assert_eq!(knock.source.to_string(), "192.0.2.7");
    assert_eq!(knock.destination.to_string(), "192.0.2.1");
    assert_eq!(knock.step.to_string(), "7142:tcp");
    assert_eq!(knock.flags, TcpFlags::SYN);
    assert_eq!(knock.fingerprint, 40000 << 48 | 7142 << 32 | 0x0102_0304);
    assert_eq!([knock.from(), knock.to()].map(|end| end.to_string()), ["192.0.2.7:40000", "192.0.2.1:7142"]);
}

#[test]
fn a_datagram_is_a_knock_with_or_without_a_payload() {
    for payload in [&b""[..], b"\0", b"abc"] {
        let knock = decode_bytes(IPV4, &ipv4(ip_number::UDP, &udp_bytes(8319, payload), |_| {})).unwrap();
        assert_eq!(knock.step.to_string(), "8319:udp");
        assert_eq!(knock.flags, TcpFlags::default());
        assert_eq!(knock.fingerprint, 40000 << 48 | 8319 << 32 | 99 << 16 | 0xabcd);
        assert_eq!([knock.from(), knock.to()].map(|end| end.port()), [40000, 8319]);
    }
}

#[test]
fn looks_behind_ipv4_options() {
    let bytes = ipv4(ip_number::TCP, &tcp_bytes(&syn(7142)), |header| {
        header.options = [0x94, 4, 0, 0].into();
        header.total_len += 4;
    });
    assert_eq!(decode_bytes(IPV4, &bytes).unwrap().step.port, 7142);
}

#[test]
fn looks_behind_vlan_tags() {
    let packet = ipv4(ip_number::TCP, &tcp_bytes(&syn(7142)), |_| {});
    // The kernel takes the outer tag off; what is left of the inner begins with its control information.
    let tagged = [&[0x00, 0x05, 0x08, 0x00][..], &packet].concat();
    assert_eq!(decode_bytes(0x8100, &tagged).unwrap().step.port, 7142);
    let twice = [&[0x00, 0x07, 0x81, 0x00][..], &tagged].concat();
    assert_eq!(decode_bytes(0x88a8, &twice).unwrap().step.port, 7142);
    // Newer kernels tell what stands behind all tags, while the bytes begin at the inner one.
    for bytes in [&tagged, &twice] {
        assert_eq!(decode_bytes(IPV4, bytes).unwrap().step.port, 7142);
        assert_eq!(decode_bytes(IPV6, bytes), None);
        assert_eq!(decode_bytes(0x0806, bytes), None);
    }
}

#[test]
fn looks_behind_ipv6_extension_headers() {
    let tcp = tcp_bytes(&syn(7142));
    assert_eq!(decode_bytes(IPV6, &ipv6(ip_number::TCP, &tcp)).unwrap().source.to_string(), "2001:db8::7");
    let hop_by_hop = extension(ip_number::IPV6_DEST_OPTIONS, [0, 1, 4, 0, 0, 0, 0]);
    let options = extension(ip_number::IPV6_ROUTE_HEADER, [0, 1, 4, 0, 0, 0, 0]);
    let routing = extension(ip_number::TCP, [0, 2, 0, 0, 0, 0, 0]);
    let chain = [hop_by_hop, options, routing, tcp].concat();
    assert_eq!(decode_bytes(IPV6, &ipv6(ip_number::IPV6_HEADER_HOP_BY_HOP, &chain)).unwrap().step.port, 7142);
}

#[test]
fn a_chain_of_extension_headers_without_an_end_is_no_knock() {
    let link = extension(ip_number::IPV6_DEST_OPTIONS, [0, 1, 4, 0, 0, 0, 0]);
    for links in [MAX_EXTENSIONS + 1, 1000] {
        assert_eq!(decode_bytes(IPV6, &ipv6(ip_number::IPV6_DEST_OPTIONS, &link.repeat(links))), None);
    }
    // A length beyond the packet, and one beyond what was captured of it.
    let lying = extension(ip_number::TCP, [255, 1, 4, 0, 0, 0, 0]);
    assert_eq!(
        decode_bytes(IPV6, &ipv6(ip_number::IPV6_ROUTE_HEADER, &[lying, tcp_bytes(&syn(7142))].concat())),
        None
    );
}

#[test]
fn first_fragments_count_and_later_ones_do_not() {
    let fragment = |offset: u16| {
        ipv4(ip_number::UDP, &udp_bytes(8319, b"12345678"), |header| {
            header.more_fragments = true;
            header.fragment_offset = offset.try_into().unwrap();
        })
    };
    assert_eq!(decode_bytes(IPV4, &fragment(0)).unwrap().step.port, 8319);
    assert_eq!(decode_bytes(IPV4, &fragment(1)), None);
    let fragment_6 = |offset: u8| {
        let header = extension(ip_number::UDP, [0, 0, offset << 3 | 1, 0, 0, 0, 9]);
        ipv6(ip_number::IPV6_FRAGMENTATION_HEADER, &[header, udp_bytes(8319, b"12345678")].concat())
    };
    assert_eq!(decode_bytes(IPV6, &fragment_6(0)).unwrap().step.port, 8319);
    assert_eq!(decode_bytes(IPV6, &fragment_6(1)), None);
}

#[test]
fn lengths_that_do_not_fit_are_no_knock() {
    let good = ipv4(ip_number::TCP, &tcp_bytes(&syn(7142)), |_| {});
    for length in 0..good.len() {
        assert_eq!(decode_bytes(IPV4, &good[..length]), None, "{length}");
    }
    for total in [0, 19, 39, 41, u16::MAX] {
        let bytes = ipv4(ip_number::TCP, &tcp_bytes(&syn(7142)), |header| header.total_len = total);
        assert_eq!(decode_bytes(IPV4, &bytes), None, "{total}");
    }
    let mut short_udp = udp_bytes(8319, b"");
    short_udp[5] = 7;
    assert_eq!(decode_bytes(IPV4, &ipv4(ip_number::UDP, &short_udp, |_| {})), None);
    let mut jumbogram = ipv6(ip_number::TCP, &tcp_bytes(&syn(7142)));
    jumbogram[4..6].fill(0);
    assert_eq!(decode_bytes(IPV6, &jumbogram), None);
}

#[test]
fn a_capture_may_be_shorter_than_its_packet() {
    let bytes = ipv4(ip_number::UDP, &udp_bytes(8319, &[7; 1000]), |_| {});
    let cut = Frame { wire_length: bytes.len(), ..frame(IPV4, &bytes[..64]) };
    assert_eq!(decode(&cut).unwrap().step.port, 8319);
    // Padding to the shortest Ethernet frame.
    let padded = [ipv4(ip_number::UDP, &udp_bytes(8319, b""), |_| {}), vec![0; 18]].concat();
    assert_eq!(decode_bytes(IPV4, &padded).unwrap().step.port, 8319);
}

#[test]
fn other_protocols_are_no_knock() {
    let tcp = tcp_bytes(&syn(7142));
    for protocol in [ip_number::ICMP, ip_number::SCTP, ip_number::GRE, ip_number::AUTHENTICATION_HEADER] {
        assert_eq!(decode_bytes(IPV4, &ipv4(protocol, &tcp, |_| {})), None);
    }
    assert_eq!(decode_bytes(0x0806, &[0; 28]), None);
    assert_eq!(decode_bytes(IPV6, &ipv4(ip_number::TCP, &tcp, |_| {})), None);
}

/// A datagram of IPv4 or IPv6 with checksums that are right.
fn with_checksums(v6: bool, udp: bool, payload: &[u8]) -> Vec<u8> {
    let builder = if v6 {
        PacketBuilder::ipv6([0x20; 16], [0x21; 16], 64)
    } else {
        PacketBuilder::ipv4([192, 0, 2, 7], [192, 0, 2, 1], 64)
    };
    let mut bytes = Vec::new();
    if udp {
        builder.udp(40000, 8319).write(&mut bytes, payload).unwrap();
    } else {
        builder.tcp(40000, 7142, 1, 1024).syn().write(&mut bytes, payload).unwrap();
    }
    bytes
}

#[test]
fn a_wrong_checksum_is_no_knock_unless_it_is_vouched_for() {
    for (v6, udp, payload) in
        [(false, false, &b""[..]), (false, true, b"abc"), (true, false, b""), (true, true, b"a")]
    {
        let ether_type = if v6 { IPV6 } else { IPV4 };
        let bytes = with_checksums(v6, udp, payload);
        let untrusted =
            |bytes: &[u8]| decode(&Frame { checksum_trusted: false, ..frame(ether_type, bytes) }).is_some();
        assert!(untrusted(&bytes), "v6 {v6}, udp {udp}");
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            // IPv6 has no checksum over its traffic class, flow label and hop limit.
            let uncovered = v6 && (at < 4 || at == 7);
            assert!(!untrusted(&damaged) || uncovered, "v6 {v6}, udp {udp}, byte {at}");
        }
        let last = bytes.len() - 1;
        let mut offloaded = bytes.clone();
        offloaded[last] ^= 0x10;
        assert!(decode_bytes(ether_type, &offloaded).is_some());
    }
}

#[test]
fn a_datagram_without_a_checksum_is_one_of_ipv4() {
    for v6 in [false, true] {
        let mut bytes = with_checksums(v6, true, b"abc");
        let at = if v6 { 40 } else { 20 } + 6;
        bytes[at..at + 2].fill(0);
        let ether_type = if v6 { IPV6 } else { IPV4 };
        let knock = decode(&Frame { checksum_trusted: false, ..frame(ether_type, &bytes) });
        assert_eq!(knock.is_some(), !v6);
    }
}

#[test]
fn what_stands_behind_a_datagram_does_not_count() {
    let mut bytes = with_checksums(false, true, b"abc");
    bytes.extend([1, 2, 3]);
    bytes[3] += 3;
    bytes[10..12].fill(0);
    let header = Ipv4Header::from_slice(&bytes).unwrap().0;
    bytes[10..12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
    assert!(decode(&Frame { checksum_trusted: false, ..frame(IPV4, &bytes) }).is_some());
}

#[test]
fn what_is_not_there_whole_is_not_summed_up() {
    let bytes = with_checksums(false, true, &[7; 600]);
    let cut = Frame { wire_length: bytes.len(), checksum_trusted: false, ..frame(IPV4, &bytes[..512]) };
    assert!(decode(&cut).is_some());
}

#[test]
fn port_zero_is_no_knock() {
    assert_eq!(decode_bytes(IPV4, &ipv4(ip_number::TCP, &tcp_bytes(&syn(0)), |_| {})), None);
}

#[test]
fn sources_that_are_no_host_do_not_count() {
    let from = |source: &str, loopback| {
        let builder = match source.parse().unwrap() {
            IpAddr::V4(source) => PacketBuilder::ipv4(source.octets(), [192, 0, 2, 1], 64),
            IpAddr::V6(source) => PacketBuilder::ipv6(source.octets(), [0x20; 16], 64),
        };
        let mut bytes = Vec::new();
        builder.tcp(40000, 7142, 1, 1024).syn().write(&mut bytes, b"").unwrap();
        let ether_type = if source.contains(':') { IPV6 } else { IPV4 };
        decode(&Frame { loopback, ..frame(ether_type, &bytes) }).is_some()
    };
    for source in ["0.0.0.0", "0.1.2.3", "255.255.255.255", "240.0.0.1", "224.0.0.1", "127.0.0.1"] {
        assert!(!from(source, false), "{source}");
    }
    for source in ["::", "::1", "ff02::1", "::ffff:192.0.2.7", "::192.0.2.7"] {
        assert!(!from(source, false), "{source}");
    }
    for source in ["127.0.0.1", "::1", "192.0.2.7"] {
        assert!(from(source, true), "{source}");
    }
}

proptest! {
    #[test]
    fn survives_any_bytes(
        ether_type in prop_oneof![Just(IPV4), Just(IPV6), Just(0x8100), Just(0x88a8), any::<u16>()],
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        first in any::<u8>(),
        extra in 0_usize..100,
        checksum_trusted in any::<bool>(),
    ) {
        let mut bytes = bytes;
        if let Some(byte) = bytes.first_mut() {
            // Mostly a plausible version and header length.
            *byte = [0x45, 0x60, 0x4f, first][usize::from(first % 4)];
        }
        let wire_length = bytes.len() + extra;
        let _ = decode(&Frame { wire_length, checksum_trusted, ..frame(ether_type, &bytes) });
    }

    /// Where an independent parser finds a whole packet without a fault, both see the same.
    #[test]
    fn agrees_with_another_parser(
        source in any::<u32>(), port in 1_u16.., source_port in any::<u16>(), sequence in any::<u32>(),
        udp in any::<bool>(), payload in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let builder = PacketBuilder::ipv4(source.to_be_bytes(), [192, 0, 2, 1], 64);
        let mut bytes = Vec::new();
        if udp {
            builder.udp(source_port, port).write(&mut bytes, &payload).unwrap();
        } else {
            builder.tcp(source_port, port, sequence, 1024).syn().write(&mut bytes, &payload).unwrap();
        }
        let parsed = etherparse::SlicedPacket::from_ip(&bytes).unwrap();
        let expected = match parsed.transport.unwrap() {
            etherparse::TransportSlice::Tcp(tcp) => (tcp.destination_port(), Protocol::Tcp),
            etherparse::TransportSlice::Udp(udp) => (udp.destination_port(), Protocol::Udp),
            other => panic!("{other:?}"),
        };
        let address = std::net::Ipv4Addr::from(source);
        let is_host = !address.is_loopback() && (1..224).contains(&address.octets()[0]);
        let found = decode_bytes(IPV4, &bytes).map(|knock| (knock.step.port, knock.step.protocol));
        prop_assert_eq!(found, is_host.then_some(expected));
    }
}
