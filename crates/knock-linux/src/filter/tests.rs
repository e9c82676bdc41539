use proptest::prelude::*;

use knock_core::knock::{Protocol, TcpFlags};
use knock_core::packet::decode;

use super::assembly::Instruction;
use super::program::{TO_OTHER_HOST, TO_US};
use super::*;
use frames::{Made, frames, tcp, udp_6};
use machine::{Packet, run};

mod frames;
mod kernel;
mod machine;
mod oracle;

fn steps(written: &[&str]) -> BTreeSet<Step> {
    written.iter().map(|step| Step::parse(step).unwrap()).collect()
}

fn wanted(written: &[&str]) -> Wanted {
    Wanted { ipv6: true, steps: steps(written), ..Wanted::default() }
}

/// Doors of four ports each, anywhere, as random as any.
fn doors(count: u32) -> BTreeSet<Step> {
    let random = |n: u32| n.wrapping_mul(0x9e37_79b9).rotate_left(15).wrapping_mul(0x85eb_ca6b);
    let step = |n: u32| Step {
        port: (random(n) >> 16) as u16 | 1,
        protocol: if n.is_multiple_of(2) { Protocol::Tcp } else { Protocol::Udp },
    };
    (0..count * 4).map(step).collect()
}

/// Those that are watched.
fn sources() -> impl Strategy<Value = BTreeSet<IpAddr>> {
    proptest::sample::subsequence(frames::SOURCES.to_vec(), 0..=frames::SOURCES.len())
        .prop_map(BTreeSet::from_iter)
}

fn flag_rules() -> impl Strategy<Value = FlagRule> {
    let flags = || prop_oneof![Just(0), any::<u8>()].prop_map(TcpFlags::from_header_byte);
    (flags(), flags())
        .prop_map(|(required, excluded)| FlagRule { required, excluded: excluded.difference(required) })
}

/// Wishes about the ports that the frames here go to.
fn wishes() -> impl Strategy<Value = Wanted> {
    let ports = proptest::sample::subsequence(frames::PORTS.to_vec(), 1..frames::PORTS.len());
    let steps = (ports.clone(), ports).prop_map(|(tcp, udp)| {
        let tcp = tcp.into_iter().map(|port| Step { port, protocol: Protocol::Tcp });
        let udp = udp.into_iter().map(|port| Step { port, protocol: Protocol::Udp });
        tcp.chain(udp).collect::<BTreeSet<_>>()
    });
    (any::<bool>(), steps, lengths(), flag_rules(), sources()).prop_map(
        |(ipv6, steps, mut lengths, flags, watched)| {
            lengths.retain(|port, _| steps.contains(&Step { port: *port, protocol: Protocol::Udp }));
            Wanted { ipv6, steps, lengths, flags, watched, ..Wanted::default() }
        },
    )
}

/// Lengths that are of use, for some of these ports: that of most frames here, and another.
fn lengths() -> impl Strategy<Value = BTreeMap<u16, u16>> {
    let port = proptest::sample::select(&frames::PORTS);
    proptest::collection::btree_map(port, proptest::sample::select(&[frames::DATA, 320]), 0..3)
}

/// Both forms of a filter, in the machine here.
struct Forms {
    classic: Vec<Instruction>,
    extended: Vec<Instruction>,
    table: Vec<u8>,
}

impl Forms {
    fn of(wanted: &Wanted) -> Self {
        Self {
            classic: classic::exact(wanted),
            extended: program(wanted, Lookup::Table),
            table: extended::contents(wanted),
        }
    }

    /// Both agree. Where sources are watched the extended form might pass others; of those here none has another's
    /// place in the table.
    fn pass(&self, packet: &Packet<'_>) -> bool {
        let classic = run(&self.classic, &[], packet);
        let extended = run(&self.extended, &self.table, packet);
        assert_eq!(classic, extended, "{packet:?}");
        classic != 0
    }

    fn pass_to_us(&self, ether_type: u16, bytes: &[u8]) -> bool {
        self.pass(&Packet { ether_type, packet_type: TO_US, interface: 1, bytes })
    }
}

fn passes_to_us(wanted: &Wanted, ether_type: u16, bytes: &[u8]) -> bool {
    Forms::of(wanted).pass_to_us(ether_type, bytes)
}

#[test]
fn passes_the_ports_and_nothing_else() {
    let wanted = wanted(&["7142", "8319:udp", "5623"]);
    assert!(passes_to_us(&wanted, 0x0800, &tcp(7142)));
    assert!(passes_to_us(&wanted, 0x0800, &tcp(5623)));
    assert!(passes_to_us(&wanted, 0x86dd, &udp_6(8319)));
    for port in [1, 5622, 5624, 7141, 7143, 8319, 65535] {
        assert!(!passes_to_us(&wanted, 0x0800, &tcp(port)), "{port}");
    }
    assert!(!passes_to_us(&wanted, 0x86dd, &udp_6(7142)));
    assert!(!passes_to_us(&wanted, 0x0806, &tcp(7142)));
    let without_ipv6 = Wanted { ipv6: false, ..wanted };
    assert!(!passes_to_us(&without_ipv6, 0x86dd, &udp_6(8319)));
}

#[test]
fn passes_nothing_without_doors_or_interfaces() {
    let watched = BTreeSet::from([IpAddr::from([192, 0, 2, 7])]);
    let doorless = Wanted { watched, ..wanted(&[]) };
    assert!(!passes_to_us(&doorless, 0x0800, &tcp(7142)));
    let nowhere = Wanted { interfaces: Some(BTreeSet::new()), ..wanted(&["7142"]) };
    assert!(!passes_to_us(&nowhere, 0x0800, &tcp(7142)));
}

#[test]
fn tells_interfaces_and_directions() {
    let some = Wanted { interfaces: Some(BTreeSet::from([3, 5])), ..wanted(&["7142"]) };
    let bytes = tcp(7142);
    for (interface, expected) in [(3, true), (4, false), (5, true)] {
        let packet = Packet { ether_type: 0x0800, packet_type: TO_US, interface, bytes: &bytes };
        assert_eq!(Forms::of(&some).pass(&packet), expected);
    }
    let any = wanted(&["7142"]);
    let with_others = Wanted { other_hosts: true, ..any.clone() };
    for packet_type in 1..=4 {
        let packet = Packet { ether_type: 0x0800, packet_type, interface: 1, bytes: &bytes };
        assert!(!Forms::of(&any).pass(&packet));
        assert_eq!(Forms::of(&with_others).pass(&packet), packet_type == TO_OTHER_HOST);
    }
}

#[test]
fn asks_for_the_flags_that_every_door_asks_for() {
    let rule = FlagRule { required: TcpFlags::SYN, excluded: TcpFlags::ACK };
    let syn_only = Wanted { flags: rule, ..wanted(&["7142"]) };
    assert!(passes_to_us(&syn_only, 0x0800, &tcp(7142)));
    for flags in [0x10_u8, 0x12, 0x04, 0x00] {
        let mut bytes = tcp(7142);
        bytes[33] = flags;
        assert!(!passes_to_us(&syn_only, 0x0800, &bytes), "{flags:#x}");
    }
}

/// As far as it promises; and what it cannot look through, it passes.
#[test]
fn asks_for_the_length_that_is_of_use_at_a_port() {
    let length = |length: usize| {
        let mut bytes = Vec::new();
        let builder = etherparse::PacketBuilder::ipv4([192, 0, 2, 7], [192, 0, 2, 1], 64);
        builder.udp(40000, 7142).write(&mut bytes, &vec![1; length]).unwrap();
        bytes
    };
    let passes = |wanted: &Wanted, bytes: &[u8]| passes_to_us(wanted, 0x0800, bytes);
    let any = wanted(&["7142:udp", "8319:udp"]);
    let one = Wanted { lengths: BTreeMap::from([(7142, 320)]), ..any.clone() };
    for bytes in [0, 18, 319, 321, 900].map(length) {
        assert!(passes(&any, &bytes));
        assert!(!passes(&one, &bytes));
        let watched = Wanted { watched: BTreeSet::from(["192.0.2.7".parse().unwrap()]), ..one.clone() };
        assert!(passes(&watched, &bytes), "like one to a port of no door");
    }
    assert!(passes(&one, &length(320)));
    let other = Wanted { lengths: BTreeMap::from([(8319, 320)]), ..any.clone() };
    assert!(passes(&other, &length(18)));
    let many = (8000..8000 + program::MAX_LENGTHS as u16).chain([7142]).map(|port| (port, 320));
    assert!(passes(&Wanted { lengths: many.collect(), ..any }, &length(18)), "too many");
}

#[test]
fn looks_through_tags_and_extension_headers() {
    let wanted = wanted(&["7142:udp"]);
    for (tags, looked_through) in [(0, true), (1, true), (2, true), (3, false)] {
        let tagged = |port| frames::tagged(tags, 0x86dd, udp_6(port));
        let passes = |port| passes_to_us(&wanted, tagged(port).0, &tagged(port).1);
        assert!(passes(7142), "{tags} tags");
        assert_eq!(passes(7143), !looked_through, "{tags} tags");
    }
    for (extensions, looked_through) in [(1, true), (6, true), (7, false)] {
        let chain = vec![(60, 1, 0); extensions];
        let passes = |port| passes_to_us(&wanted, 0x86dd, &frames::extended_udp(port, &chain));
        assert!(passes(7142), "{extensions} headers");
        assert_eq!(passes(7143), !looked_through, "{extensions} headers");
    }
}

#[test]
fn first_fragments_pass_and_later_ones_do_not() {
    let wanted = wanted(&["7142", "7142:udp"]);
    for offset in [0, 1, 2, 185, 0x1000, 0x1fff] {
        let v6 = frames::extended_udp(7142, &[(44, 0, offset)]);
        assert_eq!(passes_to_us(&wanted, 0x86dd, &v6), offset == 0, "{offset}");
        let mut v4 = tcp(7142);
        v4[6..8].copy_from_slice(&(0x2000 | offset).to_be_bytes());
        assert_eq!(passes_to_us(&wanted, 0x0800, &v4), offset == 0, "{offset}");
    }
}

/// Whoever is watched, and nobody else, is heard at all ports with whatever begins something.
#[test]
fn watched_sources_pass_to_any_port() {
    let rule = FlagRule { required: TcpFlags::FIN, excluded: TcpFlags::SYN };
    let flags = Wanted { flags: rule, ..wanted(&["7142"]) };
    let with =
        |watched: &[IpAddr]| Wanted { watched: BTreeSet::from_iter(watched.to_vec()), ..flags.clone() };
    let (four, six) = (IpAddr::from([192, 0, 2, 7]), IpAddr::from([1; 16]));
    let near = [IpAddr::from([192, 0, 2, 6]), IpAddr::from([192, 0, 2, 8]), "101::".parse().unwrap()];
    for port in [1, 7142, 65535] {
        let (syn, datagram) = (tcp(port), udp_6(port));
        let mut answer = syn.clone();
        answer[33] = 0x12;
        assert!(passes_to_us(&with(&[four]), 0x0800, &syn));
        assert!(!passes_to_us(&with(&[four]), 0x0800, &answer));
        assert!(!passes_to_us(&with(&[four]), 0x86dd, &datagram));
        assert!(passes_to_us(&with(&[six]), 0x86dd, &datagram));
        assert!(!passes_to_us(&with(&[six]), 0x0800, &syn));
        assert!(!passes_to_us(&with(&near), 0x0800, &syn));
        assert!(!passes_to_us(&with(&near), 0x86dd, &datagram));
    }
}

#[test]
fn watches_so_many_sources_and_no_more() {
    let hosts = (0..200).map(|n| IpAddr::from([192, 0, 2, n]));
    let many = Wanted { watched: hosts.collect(), ..wanted(&["7142"]) };
    for host in 0..200 {
        let mut bytes = tcp(9);
        bytes[15] = host;
        let passed = run(
            &classic::exact(&many),
            &[],
            &Packet { ether_type: 0x0800, packet_type: TO_US, interface: 1, bytes: &bytes },
        );
        assert_eq!(passed != 0, usize::from(host) < MAX_WATCHED, "{host}");
    }
}

/// Any number of ports is told apart by the table; by the search, unless it would be too long.
#[test]
fn many_ports_are_told_apart_or_taken_together() {
    for count in [1, 10, 100, 500, 2000] {
        let wanted = Wanted { steps: doors(count), ..Wanted::default() };
        let (most, code) = classic::fitting(&wanted);
        assert!(code.len() <= classic::MAX_INSTRUCTIONS, "{} instructions", code.len());
        let exact = most == wanted.steps.len();
        assert_eq!(exact, count <= 500);
        let (table, contents) = (program(&wanted, Lookup::Table), extended::contents(&wanted));
        for port in 0..=u16::MAX {
            let packet = Packet { ether_type: 0x0800, packet_type: TO_US, interface: 1, bytes: &tcp(port) };
            let is_wanted = wanted.steps.contains(&Step { port, protocol: Protocol::Tcp });
            assert_eq!(run(&table, &contents, &packet) != 0, is_wanted, "{port}");
            let searched = run(&code, &[], &packet) != 0;
            assert!(searched == is_wanted || (searched && !exact), "{port}");
        }
    }
}

#[test]
fn ranges_with_the_smallest_gaps_are_taken_together() {
    let ranges = |most| classic::ranges(vec![20, 3, 1, 2, 9, u32::MAX], most);
    assert_eq!(ranges(9), [(1, 3), (9, 9), (20, 20), (u32::MAX, u32::MAX)]);
    assert_eq!(ranges(3), [(1, 9), (20, 20), (u32::MAX, u32::MAX)]);
    assert_eq!(ranges(2), [(1, 20), (u32::MAX, u32::MAX)]);
    assert_eq!(ranges(0), [(1, u32::MAX)]);
}

/// Whether the daemon has use for what this decodes to.
fn is_of_use(wanted: &Wanted, made: &Made) -> Option<bool> {
    let knock = decode(&made.frame())?;
    let tcp = knock.step.protocol == Protocol::Tcp;
    let FlagRule { required, excluded } = wanted.flags;
    let at_a_door = wanted.steps.contains(&knock.step)
        && (!tcp || knock.flags.contains(required) && !knock.flags.intersects(excluded))
        && (tcp || wanted.lengths.get(&knock.step.port).is_none_or(|length| *length == frames::DATA));
    let begins = !tcp || knock.flags.contains(TcpFlags::SYN) && !knock.flags.intersects(TcpFlags::ACK);
    let seen = wanted.ipv6 || knock.source.is_ipv4();
    Some(seen && (at_a_door || begins && wanted.watched.contains(&knock.source)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    /// Whatever the decoder takes for a knock at one of the ports, or of one of the sources, has come through the
    /// filter. And nothing else that it takes for a knock, where tags and chains are not too long to follow.
    #[test]
    fn passes_what_is_of_use(wanted in wishes(), made in frames()) {
        let passed = passes_to_us(&wanted, made.ether_type, &made.bytes);
        if let Some(of_use) = is_of_use(&wanted, &made) {
            prop_assert!(passed || !of_use);
            prop_assert!(!passed || of_use || !made.followed);
        }
    }

    /// No bytes make it run away.
    #[test]
    fn ends_on_any_bytes(ether_type in prop_oneof![Just(0x0800_u16), Just(0x86dd), Just(0x8100)],
                         wanted in wishes(),
                         bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = passes_to_us(&wanted, ether_type, &bytes);
    }
}
