use etherparse::{IpNumber, PacketBuilder, ip_number};
use knock_core::packet::{Frame, decode};
use proptest::prelude::*;

use super::*;

/// What the kernel knows of a packet, for the machine below.
struct Packet<'a> {
    ether_type: u16,
    packet_type: u32,
    interface: u32,
    bytes: &'a [u8],
}

/// The machine of `bpf(4)`, as far as the generator uses it.
fn run(code: &[Instruction], packet: &Packet<'_>) -> u32 {
    let (mut a, mut x, mut memory, mut at) = (0_u32, 0_u32, [0_u32; 16], 0_usize);
    let load = |offset: u32, size: usize| -> Option<u32> {
        let bytes = packet.bytes.get(offset as usize..offset as usize + size)?;
        Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    };
    loop {
        let Instruction { code, jt, jf, k } = code[at];
        at += 1;
        let mut jump = |holds: bool| at += usize::from(if holds { jt } else { jf });
        match code {
            LOAD_WORD if k == ETHER_TYPE => a = packet.ether_type.into(),
            LOAD_WORD if k == PACKET_TYPE => a = packet.packet_type,
            LOAD_WORD if k == INTERFACE_INDEX => a = packet.interface,
            LOAD_HALF_AT_X => match load(x + k, 2) {
                Some(value) => a = value,
                None => return 0,
            },
            LOAD_BYTE_AT_X => match load(x + k, 1) {
                Some(value) => a = value,
                None => return 0,
            },
            LOAD_WORD_MEMORY => a = memory[k as usize],
            LOAD_X_IMMEDIATE => x = k,
            STORE => memory[k as usize] = a,
            ADD => a += k,
            ADD_X => a += x,
            AND => a &= k,
            SHIFT_LEFT => a <<= k,
            A_TO_X => x = a,
            X_TO_A => a = x,
            JUMP => at += k as usize,
            JUMP_EQUAL => jump(a == k),
            JUMP_GREATER => jump(a > k),
            JUMP_GREATER_EQUAL => jump(a >= k),
            JUMP_SET => jump(a & k != 0),
            RETURN => return k,
            _ => panic!("unknown instruction {code:#x}"),
        }
    }
}

fn steps(written: &[&str]) -> BTreeSet<Step> {
    written.iter().map(|step| Step::parse(step).unwrap()).collect()
}

fn wanted(written: &[&str]) -> Wanted {
    Wanted { ipv6: true, steps: steps(written), ..Wanted::default() }
}

fn passes(wanted: &Wanted, ether_type: u16, bytes: &[u8]) -> bool {
    passes_from(wanted, ether_type, bytes, TO_US, 1)
}

fn passes_from(wanted: &Wanted, ether_type: u16, bytes: &[u8], packet_type: u32, interface: u32) -> bool {
    let packet = Packet { ether_type, packet_type, interface, bytes };
    run(&instructions(wanted, usize::MAX), &packet) != DROP
}

fn tcp(port: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4([192, 0, 2, 7], [192, 0, 2, 1], 64);
    builder.tcp(40000, port, 1, 1024).syn().write(&mut bytes, b"").unwrap();
    bytes
}

fn udp_6(port: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv6([1; 16], [2; 16], 64).udp(40000, port).write(&mut bytes, b"").unwrap();
    bytes
}

#[test]
fn passes_the_ports_and_nothing_else() {
    let wanted = wanted(&["7142", "8319:udp", "5623"]);
    assert!(passes(&wanted, 0x0800, &tcp(7142)));
    assert!(passes(&wanted, 0x0800, &tcp(5623)));
    assert!(passes(&wanted, 0x86dd, &udp_6(8319)));
    for port in [1, 5622, 5624, 7141, 7143, 8319, 65535] {
        assert!(!passes(&wanted, 0x0800, &tcp(port)), "{port}");
    }
    assert!(!passes(&wanted, 0x86dd, &udp_6(7142)));
    assert!(!passes(&wanted, 0x0806, &tcp(7142)));
    let without_ipv6 = Wanted { ipv6: false, ..wanted };
    assert!(!passes(&without_ipv6, 0x86dd, &udp_6(8319)));
}

#[test]
fn passes_nothing_without_doors_or_interfaces() {
    assert!(!passes(&wanted(&[]), 0x0800, &tcp(7142)));
    let nowhere = Wanted { interfaces: Some(BTreeSet::new()), ..wanted(&["7142"]) };
    assert!(!passes(&nowhere, 0x0800, &tcp(7142)));
}

#[test]
fn tells_interfaces_and_directions() {
    let some = Wanted { interfaces: Some(BTreeSet::from([3, 5])), ..wanted(&["7142"]) };
    for (interface, expected) in [(3, true), (4, false), (5, true)] {
        assert_eq!(passes_from(&some, 0x0800, &tcp(7142), TO_US, interface), expected);
    }
    let any = wanted(&["7142"]);
    let with_others = Wanted { other_hosts: true, ..any.clone() };
    for packet_type in 1..=4 {
        assert!(!passes_from(&any, 0x0800, &tcp(7142), packet_type, 1));
        let other = packet_type == TO_OTHER_HOST;
        assert_eq!(passes_from(&with_others, 0x0800, &tcp(7142), packet_type, 1), other);
    }
}

#[test]
fn asks_for_the_flags_that_every_door_asks_for() {
    let rule = FlagRule { required: TcpFlags::SYN, excluded: TcpFlags::ACK };
    let syn_only = Wanted { flags: rule, ..wanted(&["7142"]) };
    assert!(passes(&syn_only, 0x0800, &tcp(7142)));
    for flags in [0x10_u8, 0x12, 0x04, 0x00] {
        let mut bytes = tcp(7142);
        bytes[33] = flags;
        assert!(!passes(&syn_only, 0x0800, &bytes), "{flags:#x}");
    }
}

#[test]
fn many_ports_are_told_apart_or_taken_together() {
    let steps: BTreeSet<_> =
        (0..8000_u16).map(|n| Step { port: n * 8 + 1, protocol: Protocol::Tcp }).collect();
    let wanted = Wanted { steps, ..Wanted::default() };
    for max_ranges in [1, 7, 1500] {
        let code = instructions(&wanted, max_ranges);
        assert!(code.len() <= MAX_INSTRUCTIONS, "{} instructions", code.len());
        for port in [1_u16, 9, 801, 63993] {
            let packet = Packet { ether_type: 0x0800, packet_type: TO_US, interface: 1, bytes: &tcp(port) };
            assert_ne!(run(&code, &packet), DROP, "{port}");
        }
    }
    let code = instructions(&wanted, usize::MAX);
    for port in 1..=u16::MAX {
        let packet = Packet { ether_type: 0x0800, packet_type: TO_US, interface: 1, bytes: &tcp(port) };
        let step = Step { port, protocol: Protocol::Tcp };
        assert_eq!(run(&code, &packet) != DROP, wanted.steps.contains(&step), "{port}");
    }
    assert_eq!(ranges([1, 2, 3, 9, 20].into_iter(), 9), [(1, 3), (9, 9), (20, 20)]);
    assert_eq!(ranges([1, 2, 3, 9, 20].into_iter(), 2), [(1, 9), (20, 20)]);
    assert_eq!(ranges([1, 2, 3, 9, 20].into_iter(), 0), [(1, 20)]);
}

/// Packets that are well formed up to some point: tags, extension headers, fragments, any transport.
fn packets() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let transport = (
        prop_oneof![Just(ip_number::TCP), Just(ip_number::UDP), any::<u8>().prop_map(IpNumber)],
        prop_oneof![Just(7142_u16), Just(8319), any::<u16>()],
        any::<u8>(),
    );
    let extension =
        (prop_oneof![Just(0_u8), Just(43), Just(44), Just(51), Just(60), Just(135)], 0_u8..3, 0_u8..2);
    let extensions = proptest::collection::vec(extension, 0..9);
    (any::<bool>(), transport, extensions, 0_usize..4, 5_u8..8, 0_u16..3).prop_map(
        |(v6, (protocol, port, flags), extensions, tags, words, offset)| {
            let mut segment = vec![0x9c, 0x40];
            segment.extend(port.to_be_bytes());
            segment.extend([0, 28, 0, 0, 0, 0, 0, 0, 0x50, flags]);
            segment.resize(28, 0);
            let (mut ether_type, mut bytes) = if v6 {
                (0x86dd, ipv6(protocol, &segment, &extensions))
            } else {
                (0x0800, ipv4(protocol, &segment, words, offset))
            };
            for tag in 0..tags {
                bytes = [&[0, 5][..], &u16::to_be_bytes(ether_type), &bytes].concat();
                ether_type = [0x8100, 0x88a8, 0x8100][tag];
            }
            (ether_type, bytes)
        },
    )
}

fn ipv4(protocol: IpNumber, segment: &[u8], words: u8, offset: u16) -> Vec<u8> {
    let header = usize::from(words) * 4;
    let total = u16::try_from(header + segment.len()).unwrap().to_be_bytes();
    let offset = offset.to_be_bytes();
    let mut bytes =
        vec![0x40 | words, 0, total[0], total[1], 0, 9, offset[0], offset[1], 64, protocol.0, 0, 0];
    bytes.extend([192, 0, 2, 7, 192, 0, 2, 1]);
    bytes.resize(header, 0);
    bytes.extend(segment);
    bytes
}

fn ipv6(protocol: IpNumber, segment: &[u8], extensions: &[(u8, u8, u8)]) -> Vec<u8> {
    let mut payload = segment.to_vec();
    let mut next = protocol.0;
    for (kind, length, offset) in extensions.iter().rev() {
        let mut header = vec![next, *length];
        match kind {
            44 => header.extend([0, offset << 3 | 1, 0, 0, 0, 9]),
            51 => header.resize((usize::from(*length) + 2) * 4, 0),
            _ => header.resize((usize::from(*length) + 1) * 8, 0),
        }
        payload = [header, payload].concat();
        next = *kind;
    }
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![0x60, 0, 0, 0, length[0], length[1], next, 64];
    bytes.extend([0x20; 32]);
    bytes.extend(payload);
    bytes
}

fn frame(ether_type: u16, bytes: &[u8]) -> Frame<'_> {
    Frame { ether_type, bytes, wire_length: bytes.len(), checksum_trusted: true, loopback: false }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// Whatever the decoder takes for a knock at one of the ports has come through the filter.
    #[test]
    fn never_passes_too_little((ether_type, bytes) in packets()) {
        let wanted = wanted(&["7142", "8319:udp", "7142:udp"]);
        let frame = frame(ether_type, &bytes);
        if decode(&frame).is_some_and(|knock| wanted.steps.contains(&knock.step)) {
            prop_assert!(passes(&wanted, ether_type, &bytes));
        }
    }

    /// Where chains are not too long to follow, nothing else comes through.
    #[test]
    fn passes_no_other_port((ether_type, bytes) in packets()) {
        let wanted = wanted(&["7142", "8319:udp"]);
        let frame = frame(ether_type, &bytes);
        if let Some(knock) = decode(&frame) && !wanted.steps.contains(&knock.step) && bytes.len() < 100 {
            let followed = bytes.len() < 96 && !matches!(ether_type, 0x8100 | 0x88a8);
            prop_assert!(!followed || !passes(&wanted, ether_type, &bytes));
        }
    }

    /// No bytes make it run away.
    #[test]
    fn ends_on_any_bytes(ether_type in prop_oneof![Just(0x0800_u16), Just(0x86dd), Just(0x8100)],
                         bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = passes(&wanted(&["7142", "8319:udp"]), ether_type, &bytes);
    }
}
