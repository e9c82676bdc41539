//! Packets byte by byte: those that nobody's system sends, and those that only look as if. `docs/threat-model.md` names
//! these tests.
//!
//! Checksums are vouched for, and left out, where the case is not about them: so it is the rule that says no.

use super::*;

/// An IPv4 header, from 192.0.2.7 to 192.0.2.1. The total length is in bytes 2 and 3, the protocol is byte 9.
const IP4: &str = "4500 0028 0063 0000 4006 0000 c000 0207 c000 0201";
/// An IPv6 header, from 2001:db8::7 to 2001:db8::1. The payload length is in bytes 4 and 5, the next header is byte 6.
const IP6: &str =
    "6000 0000 0014 0640 2001 0db8 0000 0000 0000 0000 0000 0007 2001 0db8 0000 0000 0000 0000 0000 0001";
/// A SYN to port 7142: 20 bytes. The data offset is byte 12, the flags are byte 13.
const SYN: &str = "9c40 1be6 0102 0304 0000 0000 5002 0400 0000 0000";
/// A datagram to port 8319 with nothing in it: 8 bytes. The length is in bytes 4 and 5.
const DATAGRAM: &str = "9c40 207f 0008 0000";

/// The bytes that pairs of hexadecimal digits stand for.
fn hex(digits: &[&str]) -> Vec<u8> {
    let digits: Vec<_> = digits.concat().chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

/// A packet of IPv4 or IPv6, as its first byte says, whose length fits.
fn packet(digits: &[&str]) -> Vec<u8> {
    let mut bytes = hex(digits);
    let (at, length) = if bytes[0] >> 4 == 4 { (2, bytes.len()) } else { (4, bytes.len() - 40) };
    bytes[at..at + 2].copy_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
    bytes
}

/// The same with some of its bytes changed.
fn with(mut bytes: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for (at, byte) in changes {
        assert_ne!(bytes[*at], *byte, "no change at {at}");
        bytes[*at] = *byte;
    }
    bytes
}

fn ether_type(bytes: &[u8]) -> u16 {
    if bytes[0] >> 4 == 6 { IPV6 } else { IPV4 }
}

fn heard(bytes: &[u8]) -> Option<Knock> {
    decode_bytes(ether_type(bytes), bytes)
}

/// The same where nobody vouches for the checksums.
fn heard_and_summed(bytes: &[u8]) -> Option<Knock> {
    decode(&Frame { checksum_trusted: false, ..frame(ether_type(bytes), bytes) })
}

fn port(bytes: &[u8]) -> Option<u16> {
    heard(bytes).map(|knock| knock.step.port)
}

fn assert_no_knock(what: &str, bytes: &[u8]) {
    assert_eq!(heard(bytes), None, "{what}: {bytes:02x?}");
}

#[test]
fn plain_packets_are_knocks() {
    for (bytes, expected) in [
        (packet(&[IP4, SYN]), 7142),
        (packet(&[IP6, SYN]), 7142),
        (with(packet(&[IP4, DATAGRAM]), &[(9, 17)]), 8319),
        (with(packet(&[IP6, DATAGRAM]), &[(6, 17)]), 8319),
    ] {
        assert_eq!(port(&bytes), Some(expected));
    }
}

/// However little of a packet was captured, it is the knock that all of it is, or none.
#[test]
fn a_capture_that_is_cut_is_no_other_knock() {
    let chain = packet(&[IP6, "3c00 0104 0000 0000", "0600 0104 0000 0000", SYN, "6162 6364"]);
    for whole in [packet(&[IP4, SYN, "6162 6364"]), with(chain, &[(6, 0)])] {
        let knock = heard(&whole);
        assert!(knock.is_some());
        let header = whole.len() - 4;
        for captured in 0..whole.len() {
            let cut = Frame { wire_length: whole.len(), ..frame(ether_type(&whole), &whole[..captured]) };
            assert_eq!(decode(&cut), knock.filter(|_| captured >= header), "{captured} bytes");
        }
    }
}

#[test]
fn lengths_that_lie_are_no_knock() {
    let (syn4, syn6) = (packet(&[IP4, SYN]), packet(&[IP6, SYN]));
    let datagram4 = with(packet(&[IP4, DATAGRAM]), &[(9, 17)]);
    let datagram6 = with(packet(&[IP6, DATAGRAM]), &[(6, 17)]);
    let behind_options = with(packet(&[IP6, "1100 0104 0000 0000", DATAGRAM]), &[(6, 60)]);
    assert_eq!(port(&behind_options), Some(8319));
    let behind_options = with(behind_options, &[(53, 9)]);
    for (what, bytes) in [
        // Then the last address would be ports, and the next byte a TCP header's length.
        ("an IPv4 header of 16 bytes", with(syn4.clone(), &[(0, 0x44), (28, 0x50)])),
        ("an IPv4 header of no bytes", with(syn4.clone(), &[(0, 0x40)])),
        ("an IPv4 header beyond the packet", with(syn4.clone(), &[(0, 0x4f)])),
        ("an IPv4 packet of no bytes, as offloading makes it", with(syn4.clone(), &[(3, 0)])),
        ("an IPv4 packet that ends in its header", with(syn4.clone(), &[(3, 19)])),
        ("an IPv4 packet that ends in the TCP header", with(syn4.clone(), &[(3, 39)])),
        ("an IPv4 packet longer than the frame", with(syn4.clone(), &[(3, 41)])),
        ("an IPv4 packet of 64 KiB", with(syn4.clone(), &[(2, 0xff), (3, 0xff)])),
        ("an IPv6 packet that ends in the TCP header", with(syn6.clone(), &[(5, 19)])),
        ("an IPv6 packet longer than the frame", with(syn6.clone(), &[(5, 21)])),
        ("a TCP header of 16 bytes", with(syn4.clone(), &[(32, 0x40)])),
        ("a TCP header of no bytes", with(syn6.clone(), &[(52, 0x00)])),
        ("a TCP header beyond the packet", with(syn4.clone(), &[(32, 0x60)])),
        ("a TCP header beyond the packet", with(syn6.clone(), &[(52, 0xf0)])),
        ("a datagram longer than its packet", with(datagram4.clone(), &[(25, 9)])),
        ("a datagram longer than its packet", with(datagram6.clone(), &[(44, 1)])),
        ("a datagram longer than what is left behind options", behind_options),
    ] {
        assert_no_knock(what, &bytes);
    }
}

#[test]
fn another_version_than_the_frame_says_is_no_knock() {
    let (syn4, syn6) = (packet(&[IP4, SYN]), packet(&[IP6, SYN]));
    for version in (0..16).filter(|version| *version != 4) {
        assert_eq!(decode_bytes(IPV4, &with(syn4.clone(), &[(0, version << 4 | 5)])), None, "{version}");
    }
    for version in (0..16).filter(|version| *version != 6) {
        assert_eq!(decode_bytes(IPV6, &with(syn6.clone(), &[(0, version << 4)])), None, "{version}");
    }
    assert_eq!(decode_bytes(IPV6, &syn4), None);
    assert_eq!(decode_bytes(IPV4, &syn6), None);
}

/// It has eight bytes of header at least (RFC 768); a length of zero is for jumbograms (RFC 2675).
#[test]
fn a_datagram_shorter_than_its_header_is_no_knock() {
    for bytes in [packet(&[IP4, DATAGRAM, "6162"]), packet(&[IP6, DATAGRAM, "6162"])] {
        let v4 = ether_type(&bytes) == IPV4;
        let datagram = with(bytes, &[(if v4 { 9 } else { 6 }, 17)]);
        assert_eq!(port(&datagram), Some(8319));
        for length in 0..8 {
            let short = with(datagram.clone(), &[(if v4 { 25 } else { 45 }, length)]);
            assert_no_knock(&format!("a length of {length}"), &short);
        }
    }
}

/// What stands in options is skipped over as a whole, so nothing in them leads anywhere.
#[test]
fn options_that_run_over_their_header_are_not_read() {
    // Record route of 255 bytes, in an IPv4 header of 24.
    assert_eq!(port(&with(packet(&[IP4, "07ff 0400", SYN]), &[(0, 0x46)])), Some(7142));
    // A segment size of 255 bytes, in a TCP header of 24.
    assert_eq!(port(&with(packet(&[IP4, SYN, "02ff 05b4"]), &[(32, 0x60)])), Some(7142));
    // An option of 255 bytes, in destination options of eight.
    assert_eq!(port(&with(packet(&[IP6, "0600 1eff 0000 0000", SYN]), &[(6, 60)])), Some(7142));
    // The headers themselves that run over are no knock.
    assert_no_knock("IPv4 options", &with(packet(&[IP4, "07ff 0400", SYN]), &[(0, 0x4f)]));
    assert_no_knock("TCP options", &with(packet(&[IP4, SYN, "02ff 05b4"]), &[(32, 0x70)]));
}

#[test]
fn extension_headers_that_run_over_are_no_knock() {
    for next in [0, 43, 51, 60, 135, 139, 140] {
        let good = if next == 51 {
            packet(&[IP6, "0601 0000 0000 0000 0000 0000", SYN])
        } else {
            packet(&[IP6, "0600 0000 0000 0000", SYN])
        };
        let good = with(good, &[(6, next)]);
        assert_eq!(port(&good), Some(7142), "{next}");
        for length in [2, 3, 4, 0x1f, 0xff] {
            assert_no_knock(&format!("{next}, {length} units"), &with(good.clone(), &[(41, length)]));
        }
    }
}

#[test]
fn chains_that_lead_to_no_transport_header_are_no_knock() {
    for (what, next) in [
        ("IPv4 in IPv6", 4),
        ("IPv6 in IPv6", 41),
        ("GRE", 47),
        ("encryption", 50),
        ("ICMP", 58),
        ("no next header", 59),
        ("an experiment", 253),
    ] {
        assert_no_knock(what, &with(packet(&[IP6, SYN]), &[(6, next)]));
        let behind = packet(&[IP6, "0600 0104 0000 0000", SYN]);
        assert_no_knock(what, &with(behind, &[(6, 60), (40, next)]));
    }
    for (options, expected) in [(16, Some(7142)), (17, None)] {
        let before = "3c00 0104 0000 0000".repeat(options - 1);
        let chain = packet(&[IP6, &before, "0600 0104 0000 0000", SYN]);
        assert_eq!(port(&with(chain, &[(6, 60)])), expected, "{options} headers");
    }
    let endless = packet(&[IP6, &"3c00 0104 0000 0000".repeat(40), SYN]);
    assert_no_knock("a chain without an end", &with(endless, &[(6, 60)]));
}

/// It is a router's way of sending it on that says where it goes.
#[test]
fn what_has_segments_left_to_go_is_no_knock() {
    let arrived = with(packet(&[IP6, "0600 0400 0000 0000", SYN]), &[(6, 43)]);
    assert_eq!(port(&arrived), Some(7142));
    for left in [1, 255] {
        assert_no_knock("segments left", &with(arrived.clone(), &[(43, left)]));
    }
}

/// The payload's length is in an option (RFC 2675), and zero where it always is.
#[test]
fn jumbograms_are_no_knock() {
    let jumbo = packet(&[IP6, "0600 c204 0000 001c", SYN]);
    assert_eq!(port(&with(jumbo.clone(), &[(6, 0)])), Some(7142), "the option alone changes nothing");
    assert_no_knock("a jumbogram", &with(jumbo, &[(5, 0), (6, 0)]));
    assert_no_knock("no payload", &with(packet(&[IP6, SYN]), &[(5, 0)]));
}

/// The flags are at byte 13 of the TCP header: a fragment that ends before them hides them from whoever looks at one
/// fragment alone (RFC 1858, section 3).
#[test]
fn tiny_fragments_are_no_knock() {
    let syn = hex(&[SYN]);
    for length in [0, 8, 16, 19] {
        let v4 = [hex(&[IP4]), syn[..length].to_vec()].concat();
        let v4 = with(v4, &[(3, 20 + u8::try_from(length).unwrap()), (6, 0x20)]);
        assert_no_knock(&format!("{length} bytes by IPv4"), &v4);
        let v6 = [hex(&[IP6, "0600 0001 0000 0009"]), syn[..length].to_vec()].concat();
        let v6 = with(v6, &[(5, 8 + u8::try_from(length).unwrap()), (6, 44)]);
        assert_no_knock(&format!("{length} bytes by IPv6"), &v6);
    }
    assert_eq!(port(&with(packet(&[IP4, SYN]), &[(6, 0x20)])), Some(7142), "a whole header");
    assert_eq!(port(&with(packet(&[IP4, DATAGRAM]), &[(6, 0x20), (9, 17)])), Some(8319), "a whole header");
    // A header that goes on in the next fragment.
    assert_no_knock("a cut header", &with(packet(&[IP4, SYN]), &[(6, 0x20), (32, 0x60)]));
}

/// However its bytes look, and also where it would be laid over the header (RFC 3128).
#[test]
fn later_fragments_are_no_knock() {
    for (high, low) in [(0x20, 1), (0, 1), (0x20, 2), (0, 3), (0x1f, 0xff), (0x3f, 0xff)] {
        let v4 = with(packet(&[IP4, SYN]), &[(7, low)]);
        let v4 = if high == 0 { v4 } else { with(v4, &[(6, high)]) };
        assert_no_knock(&format!("offset {high:02x}{low:02x}"), &v4);
    }
    // IPv6 counts in the upper 13 bits; the last says whether more follow.
    for (high, low) in [(0, 0x08), (0, 0x09), (0, 0x10), (1, 0), (0xff, 0xf8), (0xff, 0xf9)] {
        let header = format!("0600 {high:02x}{low:02x} 0000 0009");
        let v6 = with(packet(&[IP6, &header, SYN]), &[(6, 44)]);
        assert_no_knock(&format!("offset {high:02x}{low:02x}"), &v6);
    }
}

#[test]
fn fragments_of_one_piece_are_knocks() {
    // Atomic (RFC 6946), with the reserved bits set.
    for field in ["0000", "0006"] {
        let atomic = packet(&[IP6, &format!("06ff {field} 0000 0009"), SYN]);
        assert_eq!(port(&with(atomic, &[(6, 44)])), Some(7142));
    }
    // Do not fragment, and the bit that is reserved.
    for bit in [0x40, 0x80, 0xc0] {
        assert_eq!(port(&with(packet(&[IP4, SYN]), &[(6, bit)])), Some(7142));
    }
}

/// With every checksum in its place, for IPv4 and IPv6, TCP and UDP.
const SUMMED: [&str; 5] = [
    "4500 0028 0063 0000 4006 f664 c000 0207 c000 0201 9c40 1be6 0102 0304 0000 0000 5002 0400 6bad 0000",
    "4500 001c 0063 0000 4011 f665 c000 0207 c000 0201 9c40 207f 0008 bf15",
    "6000 0000 0014 0640 2001 0db8 0000 0000 0000 0000 0000 0007 2001 0db8 0000 0000 0000 0000 0000 0001
     9c40 1be6 0102 0304 0000 0000 5002 0400 943c 0000",
    "6000 0000 0008 1140 2001 0db8 0000 0000 0000 0000 0000 0007 2001 0db8 0000 0000 0000 0000 0000 0001
     9c40 207f 0008 e7a4",
    // Behind destination options, which are no part of the sum.
    "6000 0000 001c 3c40 2001 0db8 0000 0000 0000 0000 0000 0007 2001 0db8 0000 0000 0000 0000 0000 0001
     0600 0104 0000 0000 9c40 1be6 0102 0304 0000 0000 5002 0400 943c 0000",
];

#[test]
fn checksums_are_verified_where_nobody_vouches_for_them() {
    for digits in SUMMED {
        let bytes = hex(&[digits]);
        assert!(heard_and_summed(&bytes).is_some(), "{digits}");
        let ports = bytes.windows(2).position(|pair| pair == [0x9c, 0x40]).unwrap();
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[ports + 1] ^= 1 << bit;
            assert_eq!(heard_and_summed(&damaged), None, "{digits}");
            assert!(heard(&damaged).is_some(), "{digits}");
        }
    }
}

/// The sum is over all fragments.
#[test]
fn the_checksum_of_a_first_fragment_is_not_verified() {
    let v4 = hex(&[
        "4500 0028 0063 2000 4006 d664 c000 0207 c000 0201",
        "9c40 1be6 0102 0304 0000 0000 5002 0400 1234 0000",
    ]);
    let v6 = packet(&[IP6, "0600 0001 0000 0009", "9c40 1be6 0102 0304 0000 0000 5002 0400 1234 0000"]);
    for (fragment, one_piece) in [(v4, &[(6, 0), (10, 0xf6)][..]), (with(v6, &[(6, 44)]), &[(43, 0)])] {
        assert!(heard_and_summed(&fragment).is_some());
        assert_eq!(heard_and_summed(&with(fragment, one_piece)), None, "the same in one piece");
    }
}

/// What leaves it to the hardware holds the sum of the pseudo-header; the kernel says so.
#[test]
fn offloaded_checksums_are_vouched_for() {
    let offloaded = hex(&[
        "4500 0028 0063 0000 4006 f664 c000 0207 c000 0201",
        "9c40 1be6 0102 0304 0000 0000 5002 0400 8423 0000",
    ]);
    assert!(heard(&offloaded).is_some());
    assert_eq!(heard_and_summed(&offloaded), None);
}

/// A sum over what was not captured cannot be made: it counts, right or wrong. Whoever makes up packets can make up
/// right ones as well.
#[test]
fn what_is_longer_than_its_capture_counts_whatever_its_checksum() {
    let whole = with(packet(&[IP4, "9c40 207f 0260 1234", &"61".repeat(600)]), &[(9, 17)]);
    let header_sum = [0xf4, 0x0d];
    let whole = with(whole, &[(10, header_sum[0]), (11, header_sum[1])]);
    assert_eq!(heard_and_summed(&whole), None, "a wrong checksum");
    let cut = Frame { wire_length: whole.len(), checksum_trusted: false, ..frame(IPV4, &whole[..512]) };
    assert_eq!(decode(&cut).unwrap().step.port, 8319);
}

#[test]
fn a_syn_with_data_is_a_knock() {
    let with_data = hex(&[
        "4500 002d 0063 0000 4006 f65f c000 0207 c000 0201",
        "9c40 1be6 0102 0304 0000 0000 5002 0400 27d6 0000 6865 6c6c 6f",
    ]);
    // TCP Fast Open (RFC 7413): a cookie of eight bytes, and the beginning of a request.
    let fast_open = hex(&[
        "4500 0039 0063 0000 4006 f653 c000 0207 c000 0201",
        "9c40 1be6 0102 0304 0000 0000 8002 0400 421b 0000",
        "220a 0001 0203 0405 0607 0101 4745 5420 2f",
    ]);
    for bytes in [with_data, fast_open] {
        let knock = heard_and_summed(&bytes).unwrap();
        assert_eq!((knock.step.port, knock.flags), (7142, TcpFlags::SYN));
    }
}

/// Which of them a door takes is for its `TCPFlags` to say, as with knockd; also what no host sends.
#[test]
fn flags_are_told_as_they_are() {
    for (what, byte, flags) in [
        ("SYN and ACK", 0x12, TcpFlags::SYN.union(TcpFlags::ACK)),
        ("SYN and FIN", 0x03, TcpFlags::SYN.union(TcpFlags::FIN)),
        ("SYN and RST", 0x06, TcpFlags::SYN.union(TcpFlags::RST)),
        ("FIN alone", 0x01, TcpFlags::FIN),
        ("none", 0x00, TcpFlags::default()),
        ("FIN, PSH and URG", 0x29, TcpFlags::FIN.union(TcpFlags::PSH).union(TcpFlags::URG)),
        ("SYN, with congestion told of", 0xc2, TcpFlags::SYN),
    ] {
        let bytes = with(packet(&[IP4, SYN]), &[(33, byte)]);
        assert_eq!(heard(&bytes).unwrap().flags, flags, "{what}");
    }
}

/// A host discards nothing for it (RFC 1122, section 3.2.1.7).
#[test]
fn the_time_to_live_does_not_matter() {
    for hops in [0, 1, 255] {
        assert_eq!(port(&with(packet(&[IP4, SYN]), &[(8, hops)])), Some(7142));
        assert_eq!(port(&with(packet(&[IP6, SYN]), &[(7, hops)])), Some(7142));
    }
}

/// UDP has it for "no answer, please" (RFC 768); a destination of port 0 is none.
#[test]
fn port_zero_may_knock_and_not_be_knocked() {
    for bytes in [packet(&[IP4, SYN]), with(packet(&[IP4, DATAGRAM]), &[(9, 17)])] {
        assert!(heard(&with(bytes.clone(), &[(20, 0), (21, 0)])).is_some());
        assert_no_knock("port 0", &with(bytes, &[(22, 0), (23, 0)]));
    }
}

#[test]
fn what_is_packed_in_something_else_is_no_knock() {
    let inner = packet(&[IP4, SYN]).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (what, protocol, before) in [
        ("IPv4 in IPv4", 4, ""),
        ("IPv6 in IPv4", 41, ""),
        ("GRE", 47, "0000 0800"),
        ("encryption", 50, "0000 0001 0000 0001"),
        ("authentication by IPv4", 51, "0604 0000 0000 0001 0000 0001 0000 0000 0000 0000 0000 0000"),
        ("an error told of by ICMP", 1, "0303 0000 0000 0000"),
        ("SCTP", 132, ""),
        ("UDP-Lite", 136, ""),
    ] {
        assert_no_knock(what, &with(packet(&[IP4, before, &inner]), &[(9, protocol)]));
    }
    assert_no_knock(
        "an error told of by ICMPv6",
        &with(packet(&[IP6, "0104 0000 0000 0000", &inner]), &[(6, 58)]),
    );
}

#[test]
fn more_than_three_tags_are_not_looked_through() {
    let tagged = |tags: usize| {
        let inner = "0005 8100 ".repeat(tags - 1);
        hex(&[&inner, "0005 0800", IP4, SYN])
    };
    for tags in 1..=3 {
        assert_eq!(decode_bytes(0x8100, &tagged(tags)).unwrap().step.port, 7142);
    }
    assert_eq!(decode_bytes(0x8100, &tagged(4)), None);
    assert_eq!(decode_bytes(0x8100, &hex(&["0005"])), None, "a tag that is cut");
}

/// Sources in hexadecimal, beside those of `sources_that_are_no_host_do_not_count`.
#[test]
fn sources_at_the_edges_of_what_a_host_can_have() {
    let from = |source: &str| {
        let v4 = source.len() < 12;
        let bytes = if v4 {
            packet(&["4500 0028 0063 0000 4006 0000", source, "c000 0201", SYN])
        } else {
            packet(&["6000 0000 0014 0640", source, "2001 0db8 0000 0000 0000 0000 0000 0001", SYN])
        };
        heard(&bytes).is_some()
    };
    for (source, expected) in [
        ("00ff ffff", false),                              // 0.255.255.255
        ("0100 0000", true),                               // 1.0.0.0
        ("7eff ffff", true),                               // 126.255.255.255
        ("7fff ffff", false),                              // 127.255.255.255
        ("a9fe 0001", true),                               // 169.254.0.1: of the link
        ("dfff ffff", true),                               // 223.255.255.255
        ("e000 0000", false),                              // 224.0.0.0: a group
        ("f000 0000", false),                              // 240.0.0.0: class E
        ("ffff ffff", false),                              // everybody
        ("fe80 0000 0000 0000 0000 0000 0000 0007", true), // of the link
        ("fd00 0000 0000 0000 0000 0000 0000 0007", true),
        ("0064 ff9b 0000 0000 0000 0000 c000 0207", true), // translated from IPv4
        ("ff02 0000 0000 0000 0000 0000 0000 0001", false), // a group
        ("0000 0000 0000 0000 0000 ffff c000 0207", false), // IPv4, mapped
        ("0000 0000 0000 0000 0000 0000 c000 0207", false), // IPv4, compatible
        ("0000 0000 0000 0000 0000 0000 0000 0000", false),
    ] {
        assert_eq!(from(source), expected, "{source}");
    }
}

/// Nobody else can send there (RFC 1122, section 3.2.1.3).
#[test]
fn a_packet_to_a_loopback_address_has_not_come_from_outside() {
    let v4 = packet(&["4500 0028 0063 0000 4006 0000 c000 0207", "7f00 0001", SYN]);
    let v6 = with(packet(&[IP6, SYN]), &[(24, 0), (25, 0), (26, 0), (27, 0)]);
    for bytes in [v4, v6] {
        assert_no_knock("from outside", &bytes);
        let inside = Frame { loopback: true, ..frame(ether_type(&bytes), &bytes) };
        assert!(decode(&inside).is_some());
    }
}

/// What the fuzzer begins with: two bytes of EtherType, two of its own, and a packet. Those that begin with `no` are
/// none, the others are knocks.
#[test]
fn seeds_of_the_fuzzer_are_what_they_are_called() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/frame");
    let mut knocks = [0, 0];
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let (name, bytes) = (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap());
        let ([high, low, beyond, flags], bytes) = bytes.split_first_chunk().unwrap();
        let knock = decode(&Frame {
            ether_type: u16::from_be_bytes([*high, *low]),
            bytes,
            wire_length: bytes.len() + usize::from(*beyond),
            checksum_trusted: flags & 2 == 0,
            loopback: flags & 1 != 0,
        });
        assert_eq!(knock.is_some(), !name.starts_with("no_"), "{name}: {knock:?}");
        knocks[usize::from(knock.is_some())] += 1;
    }
    assert!(knocks[0] > 9 && knocks[1] > 9, "{knocks:?}");
}
