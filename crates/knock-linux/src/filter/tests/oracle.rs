//! tcpdump as the oracle: its compiled expression and our program say the same of the same packets.
//!
//! Left out is what tcpdump has no expression for: packets with VLAN tags or extension headers (`plain`), and ports
//! behind later fragments, which an expression of source addresses alone does not look at.

use std::process::Command;

use knock_core::knock::Protocol;
use proptest::prelude::*;

use super::frames::{Made, frames};
use super::machine::{Packet, run};
use super::{Forms, wishes};
use crate::filter::Wanted;
use crate::filter::assembly::Instruction;

/// The filter as whoever uses tcpdump would write it, where "and" and "or" bind alike.
fn expression(wanted: &Wanted) -> String {
    let ipv4 = of_family(wanted, "ip", "ip[9]", "ip[(ip[0] & 15) * 4 + ");
    let ipv4 = format!("ip and ip[6:2] & 0x1fff = 0 and ({ipv4})");
    if !wanted.ipv6 {
        return ipv4;
    }
    format!("({ipv4}) or (ip6 and ({}))", of_family(wanted, "ip6", "ip6[6]", "ip6[40 + "))
}

/// What passes of one family, by its name, and where its protocol and its transport header are.
fn of_family(wanted: &Wanted, family: &str, protocol: &str, transport: &str) -> String {
    let control_bits = format!("{transport}13:1]");
    let (required, excluded) = (wanted.flags.required.bits(), wanted.flags.excluded.bits());
    let flags = format!("{control_bits} & {required} = {required} and {control_bits} & {excluded} = 0");
    let at_doors = wanted.steps.iter().map(|step| match step.protocol {
        Protocol::Tcp => format!("(tcp dst port {} and {flags})", step.port),
        Protocol::Udp => match wanted.lengths.get(&step.port) {
            Some(length) => format!("(udp dst port {} and {transport}4:2] = {})", step.port, length + 8),
            None => format!("udp dst port {}", step.port),
        },
    });
    let datagram = format!("({protocol} = 17 and {transport}2:2] >= 0)");
    let begins = format!("({datagram} or ({protocol} = 6 and {control_bits} & 18 = 2))");
    let watched = wanted.watched.iter().filter(|source| source.is_ipv6() == (family == "ip6"));
    let of_watched = watched.map(|source| format!("({family} src host {source} and {begins})"));
    at_doors.chain(of_watched).collect::<Vec<_>>().join(" or ")
}

/// What tcpdump makes of it for Ethernet.
fn compile(expression: &str) -> Vec<Instruction> {
    let output = Command::new("tcpdump").args(["-ddd", "-y", "EN10MB", expression]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{expression}: {told}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().skip(1).map(instruction).collect()
}

fn instruction(line: &str) -> Instruction {
    let numbers: Vec<u32> = line.split(' ').map(|number| number.parse().unwrap()).collect();
    let [code, jt, jf, k] = numbers[..] else { panic!("four numbers: {line}") };
    Instruction { code: code.try_into().unwrap(), jt: jt.try_into().unwrap(), jf: jf.try_into().unwrap(), k }
}

fn oracle_passes(code: &[Instruction], made: &Made) -> bool {
    let bytes = made.ethernet();
    run(code, &[], &Packet { ether_type: made.ether_type, packet_type: 0, interface: 1, bytes: &bytes }) != 0
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn says_what_tcpdump_says(
        wanted in wishes(),
        made in proptest::collection::vec(frames().prop_filter("plain", |made| made.plain), 200),
    ) {
        let (code, forms) = (compile(&expression(&wanted)), Forms::of(&wanted));
        for made in made {
            prop_assert_eq!(
                forms.pass_to_us(made.ether_type, &made.bytes),
                oracle_passes(&code, &made),
                "{:?} {:02x?}", wanted, made.bytes
            );
        }
    }
}
