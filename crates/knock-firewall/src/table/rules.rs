//! The table's chains and rules.
//!
//! ```text
//! chain doors (prerouting, mangle: behind conntrack, before DNAT)
//!   whatever says it is marked already        -> unmark
//!   what the machine says to itself           -> return
//!   established, through a door that cuts     -> cut: its ports' chain
//!   begins a TCP connection                   -> begins: its ports' chain
//!   established                               -> return
//!   UDP, or TCP through a door that cuts      -> its ports' chain
//! chain tcp_22
//!   source in a door's set, for this machine  -> mark
//!   unmarked, for this machine                -> drop
//! ```
//!
//! What begins a TCP connection is looked at whatever conntrack takes it for: with packets that are no connection, or with
//! what is left of one, conntrack can be brought to call a new one established, or related to another.
//!
//! Rules hold constants and look at sets of addresses, never at maps of verdicts: those change at another moment than
//! the rules do, and for that moment nobody would be guarded.

use std::net::IpAddr;

use knock_core::config::{Established, PortRange};
use knock_core::knock::Protocol;

use super::layout::{Gate, Layout, Segment, SetNames, segments};
use crate::nft::expression::{Compare, Field, Rule, Verdict};
use crate::nft::{Chain, Key, Transaction};

/// The chain that the kernel calls.
pub(super) const DOORS: &str = "doors";

/// What goes on only as long as a door is open.
const CUT: &str = "cut";

/// What begins a TCP connection.
const BEGINS: &str = "begins";

/// Where it is called.
pub(super) const PLACE: Chain = Chain { hook: libc::NF_INET_PRE_ROUTING, priority: libc::NF_IP_PRI_MANGLE };

/// States of connections, as `ct state` has them.
const ESTABLISHED: u32 = 1 << 1;
/// The direction in which a connection was made.
const ORIGINAL: u8 = 0;
/// The loopback interface has this index in every network namespace.
const LOOPBACK: u32 = 1;

/// Adds chains and rules, for a table that has the sets.
pub(super) fn write(layout: &Layout, transaction: &mut Transaction<'_>) {
    let segments = segments(&layout.gates);
    if segments.iter().any(Segment::cuts) {
        transaction.add_chain(CUT);
    }
    if segments.iter().any(Segment::is_tcp) {
        transaction.add_chain(BEGINS);
    }
    for segment in &segments {
        transaction.add_chain(&segment.chain());
    }
    write_doors(layout.mark, &segments, transaction);
    for segment in &segments {
        write_segment(layout, segment, transaction);
    }
}

fn write_doors(mark: u32, segments: &[Segment<'_>], transaction: &mut Transaction<'_>) {
    transaction.append_rule(DOORS, "only doors mark", |rule| {
        rule.marked(mark).clear_mark(mark);
    });
    transaction.append_rule(DOORS, "what the machine says to itself", |rule| {
        rule.meta(libc::NFT_META_IIF, Compare::Equal, &LOOPBACK.to_ne_bytes()).verdict(Verdict::Return);
    });
    if segments.iter().any(Segment::cuts) {
        transaction.append_rule(DOORS, "cut when closed", |rule| {
            rule.ct_mark(mark).ct(libc::NFT_CT_DIRECTION, Compare::Equal, &[ORIGINAL]);
            rule.ct_state(ESTABLISHED).verdict(Verdict::Jump(CUT));
        });
    }
    if segments.iter().any(Segment::is_tcp) {
        transaction.append_rule(DOORS, "whatever conntrack says", |rule| {
            begins_connection(rule);
            rule.verdict(Verdict::Jump(BEGINS));
        });
    }
    transaction.append_rule(DOORS, "connections go on", |rule| {
        rule.ct_state(ESTABLISHED).verdict(Verdict::Return);
    });
    for segment in segments {
        if segment.is_tcp() {
            write_jump(BEGINS, segment, transaction);
        }
        if segment.cuts() {
            write_jump(CUT, segment, transaction);
        }
        // What else comes by TCP is left alone, for it may be of a connection that conntrack does not know: one that is
        // older than the first rule that asked for conntrack, such as the very session of the administrator who starts
        // the daemon.
        if segment.cuts() || !segment.is_tcp() {
            write_jump(DOORS, segment, transaction);
        }
    }
}

fn write_jump(from: &str, segment: &Segment<'_>, transaction: &mut Transaction<'_>) {
    transaction.append_rule(from, "", |rule| {
        to_ports(rule, segment.ports).verdict(Verdict::Jump(&segment.chain()));
    });
}

/// All doors mark before anybody is turned away: one who may in by any door may in.
fn write_segment(layout: &Layout, segment: &Segment<'_>, transaction: &mut Transaction<'_>) {
    let chain = segment.chain();
    for gate in &segment.gates {
        for key in [Key::Ipv4, Key::Ipv6].into_iter().filter(|key| gate.concerns(*key)) {
            transaction.append_rule(&chain, &gate.door.name, |rule| {
                family(rule, key);
                source(rule, gate, key);
                destination(rule, gate.target).counter().mark(layout.mark);
                if gate.native.established == Established::Cut {
                    rule.mark_connection(layout.mark);
                }
            });
        }
    }
    for target in segment.targets() {
        let refused = |rule: &mut Rule<'_, '_>| {
            rule.unmarked(layout.mark);
            destination(rule, target).counter().verdict(Verdict::Drop);
        };
        if layout.guard {
            transaction.append_rule(&chain, "guard", refused);
        } else if segment.cuts() {
            transaction.append_rule(&chain, "cut", |rule| {
                rule.ct_state(ESTABLISHED);
                refused(rule);
            });
        }
    }
}

/// Only this opens a TCP connection (RFC 9293, section 3.5).
fn begins_connection(rule: &mut Rule<'_, '_>) {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    rule.meta(libc::NFT_META_L4PROTO, Compare::Equal, &[Protocol::Tcp.number()]);
    rule.masked(Field::TCP_FLAGS, &[SYN | ACK], &[SYN]);
}

fn to_ports<'r, 'x, 'a>(rule: &'r mut Rule<'x, 'a>, ports: PortRange) -> &'r mut Rule<'x, 'a> {
    let PortRange { protocol, first, last } = ports;
    rule.meta(libc::NFT_META_L4PROTO, Compare::Equal, &[protocol.number()]);
    if first == last {
        rule.field(Field::DESTINATION_PORT, Compare::Equal, &first.to_be_bytes())
    } else {
        rule.range(Field::DESTINATION_PORT, &first.to_be_bytes(), &last.to_be_bytes())
    }
}

fn family(rule: &mut Rule<'_, '_>, key: Key) {
    let number = match key {
        Key::Ipv4 => libc::NFPROTO_IPV4,
        Key::Ipv6 => libc::NFPROTO_IPV6,
    };
    rule.meta(libc::NFT_META_NFPROTO, Compare::Equal, &[number as u8]);
}

fn source(rule: &mut Rule<'_, '_>, gate: &Gate, key: Key) {
    let widen = gate.native.widen;
    let names = SetNames::of(&gate.door);
    let set = names.for_key(key);
    match key {
        Key::Ipv4 => rule.in_set(Field::IPV4_SOURCE, &mask::<4>(widen.v4), set),
        Key::Ipv6 => rule.in_set(Field::IPV6_SOURCE, &mask::<16>(widen.v6), set),
    };
}

/// So many ones, then zeros.
fn mask<const N: usize>(prefix: u8) -> [u8; N] {
    std::array::from_fn(|at| {
        let ones = usize::from(prefix).saturating_sub(8 * at).min(8);
        !0xff_u8.checked_shr(ones as u32).unwrap_or(0)
    })
}

fn destination<'r, 'x, 'a>(rule: &'r mut Rule<'x, 'a>, target: Option<IpAddr>) -> &'r mut Rule<'x, 'a> {
    match target {
        None => rule.for_this_machine(),
        Some(IpAddr::V4(v4)) => {
            family(rule, Key::Ipv4);
            rule.field(Field::IPV4_DESTINATION, Compare::Equal, &v4.octets())
        }
        Some(IpAddr::V6(v6)) => {
            family(rule, Key::Ipv6);
            rule.field(Field::IPV6_DESTINATION, Compare::Equal, &v6.octets())
        }
    }
}

impl Gate {
    /// Whether it can let in sources of this kind: one with a target has those of the target's family alone.
    fn concerns(&self, key: Key) -> bool {
        self.target.is_none_or(|target| target.is_ipv4() == (key == Key::Ipv4))
    }
}

impl Segment<'_> {
    fn is_tcp(&self) -> bool {
        self.ports.protocol == Protocol::Tcp
    }

    /// Whether some door of it cuts connections when it closes.
    fn cuts(&self) -> bool {
        self.gates.iter().any(|gate| gate.native.established == Established::Cut)
    }

    /// The addresses whose ports it is about, each once.
    fn targets(&self) -> Vec<Option<IpAddr>> {
        let mut targets: Vec<_> = self.gates.iter().map(|gate| gate.target).collect();
        targets.sort_unstable();
        targets.dedup();
        targets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_begin_with_ones() {
        assert_eq!(mask::<4>(32), [255; 4]);
        assert_eq!(mask::<4>(20), [255, 255, 240, 0]);
        assert_eq!(mask::<4>(1), [128, 0, 0, 0]);
        assert_eq!(mask::<16>(56)[..8], [255, 255, 255, 255, 255, 255, 255, 0]);
        assert_eq!(mask::<16>(128), [255; 16]);
    }
}
