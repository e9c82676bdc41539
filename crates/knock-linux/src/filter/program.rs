//! Which packets pass: the description of the filter, as a program.
//!
//! The packet begins at its network header, or at a VLAN tag, as a cooked packet socket has it.

use std::collections::{BTreeMap, BTreeSet};

use knock_core::config::FlagRule;
use knock_core::knock::{Protocol, TcpFlags};

use super::Wanted;
use super::assembly::*;
use super::classic::search;
use super::keys::{Set, UDP};

/// How many IPv6 extension headers are looked through; behind more of them everything passes.
pub(super) const EXTENSION_HEADERS: usize = 6;
/// How many VLAN tags are looked through beside the one that the kernel takes off.
pub(super) const VLAN_TAGS: usize = 2;
/// Beyond so many interfaces all are let through.
const MAX_INTERFACES: usize = 64;
/// Beyond so many ports with a length of their own any length is let through.
pub(super) const MAX_LENGTHS: usize = 16;

/// Where a UDP header says how long the datagram is, itself included, and how long it is itself.
const DATAGRAM_LENGTH: u32 = 4;
const UDP_HEADER: u32 = 8;

// Packet types of `linux/if_packet.h`.
pub(super) const TO_US: u32 = 0;
pub(super) const TO_OTHER_HOST: u32 = 3;

// Scratch memory.
const NUMBER: u32 = 0;
const WORDS: [u32; 3] = [1, 2, 3];
/// Where the network header begins.
const NETWORK_HEADER: u32 = 4;

/// Where a TCP header has its control bits.
const CONTROL_BITS: u32 = 13;

/// How a key is looked up in a set of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// By the program's own code, which tells at most `most` ranges of keys apart in each set.
    Search {
        /// At least 1.
        most: usize,
    },
    /// By [`JUMP_LISTED`]: the program is the same whatever ports and sources are wanted, as long as there are ports.
    Table,
}

/// Makes the program.
pub(super) fn program(wanted: &Wanted, lookup: Lookup) -> Vec<Instruction> {
    let mut program = Assembler::default();
    let labels = Labels::new(&mut program, wanted, lookup);
    if wanted.steps.is_empty() || wanted.interfaces.as_ref().is_some_and(BTreeSet::is_empty) {
        program.ret(DROP);
        return program.finish();
    }
    direction(&mut program, &labels, wanted.other_hosts);
    interfaces(&mut program, &labels, wanted.interfaces.as_ref());
    network(&mut program, &labels, wanted.ipv6);
    transport(&mut program, &labels, wanted, lookup);
    if let Some(unlisted) = labels.unlisted {
        sources(&mut program, &labels, unlisted, wanted, lookup);
    }
    program.place(labels.drop);
    program.ret(DROP);
    program.place(labels.pass);
    program.ret(PASS);
    program.finish()
}

struct Labels {
    drop: Label,
    pass: Label,
    /// With the protocol number in A and the transport header's offset in X.
    transport: Label,
    /// Where sources are watched: what is left to do for a packet that has no port of a door.
    unlisted: Option<Unlisted>,
}

#[derive(Clone, Copy)]
struct Unlisted {
    /// With the port's key in A and the transport header's offset in X.
    port: Label,
    /// A TCP packet, with the same in X.
    tcp: Label,
}

impl Labels {
    fn new(program: &mut Assembler, wanted: &Wanted, lookup: Lookup) -> Self {
        let watches = lookup == Lookup::Table || !wanted.watched.is_empty();
        Self {
            drop: program.label(),
            pass: program.label(),
            transport: program.label(),
            unlisted: watches.then(|| Unlisted { port: program.label(), tcp: program.label() }),
        }
    }
}

/// Neither what we send ourselves nor what goes to groups or, mostly, to others.
fn direction(program: &mut Assembler, labels: &Labels, other_hosts: bool) {
    let incoming = program.label();
    program.emit(LOAD_WORD, PACKET_TYPE);
    program.jump_if(JUMP_EQUAL, TO_US, incoming);
    if other_hosts {
        program.jump_if(JUMP_EQUAL, TO_OTHER_HOST, incoming);
    }
    program.jump(labels.drop);
    program.place(incoming);
}

fn interfaces(program: &mut Assembler, labels: &Labels, interfaces: Option<&BTreeSet<u32>>) {
    let Some(interfaces) = interfaces.filter(|set| set.len() <= MAX_INTERFACES) else { return };
    let ours = program.label();
    program.emit(LOAD_WORD, INTERFACE_INDEX);
    for index in interfaces {
        program.jump_if(JUMP_EQUAL, *index, ours);
    }
    program.jump(labels.drop);
    program.place(ours);
}

/// Looks through VLAN tags and the network header; X holds where what comes next begins.
fn network(program: &mut Assembler, labels: &Labels, ipv6: bool) {
    let (v4, v6) = (program.label(), program.label());
    program.emit(LOAD_X_IMMEDIATE, 0);
    program.emit(LOAD_WORD, ETHER_TYPE);
    for tags in 0..=VLAN_TAGS {
        let tag = program.label();
        program.jump_if(JUMP_EQUAL, 0x0800, v4);
        if ipv6 {
            program.jump_if(JUMP_EQUAL, 0x86dd, v6);
        }
        for tag_type in [0x8100, 0x88a8, 0x9100] {
            program.jump_if(JUMP_EQUAL, tag_type, tag);
        }
        program.jump(labels.drop);
        program.place(tag);
        if tags == VLAN_TAGS {
            program.jump(labels.pass);
        } else {
            next_tag(program);
        }
    }
    program.place(v4);
    ipv4_header(program, labels);
    program.place(v6);
    if ipv6 {
        ipv6_headers(program, labels);
    }
}

/// From a tag's control information to the EtherType behind it, X to what follows that.
fn next_tag(program: &mut Assembler) {
    program.emit(LOAD_HALF_AT_X, 2);
    program.emit(STORE, NUMBER);
    skip(program, 4);
    program.emit(LOAD_WORD_MEMORY, NUMBER);
}

fn skip(program: &mut Assembler, bytes: u32) {
    program.emit(X_TO_A, 0);
    program.emit(ADD, bytes);
    program.emit(A_TO_X, 0);
}

/// Keeps where the network header begins, for [`sources`].
fn remember(program: &mut Assembler, labels: &Labels) {
    if labels.unlisted.is_some() {
        program.emit(STORE_X, NETWORK_HEADER);
    }
}

fn ipv4_header(program: &mut Assembler, labels: &Labels) {
    program.emit(LOAD_HALF_AT_X, 6);
    program.jump_if(JUMP_SET, 0x1fff, labels.drop);
    remember(program, labels);
    program.emit(LOAD_BYTE_AT_X, 9);
    program.emit(STORE, NUMBER);
    program.emit(LOAD_BYTE_AT_X, 0);
    program.emit(AND, 0x0f);
    program.emit(SHIFT_LEFT, 2);
    program.emit(ADD_X, 0);
    program.emit(A_TO_X, 0);
    program.emit(LOAD_WORD_MEMORY, NUMBER);
    program.jump(labels.transport);
}

fn ipv6_headers(program: &mut Assembler, labels: &Labels) {
    remember(program, labels);
    program.emit(LOAD_BYTE_AT_X, 6);
    program.emit(STORE, NUMBER);
    skip(program, 40);
    program.emit(LOAD_WORD_MEMORY, NUMBER);
    for _ in 0..EXTENSION_HEADERS {
        extension_header(program, labels);
    }
    // A longer chain is left to the decoder, where it is no plain transport header.
    program.jump_if(JUMP_EQUAL, 59, labels.drop);
    program.jump_if(JUMP_EQUAL, 6, labels.transport);
    program.jump_if(JUMP_EQUAL, 17, labels.transport);
    program.jump(labels.pass);
}

/// From one extension header (its number in A, its offset in X) to the next; a transport header ends the chain.
fn extension_header(program: &mut Assembler, labels: &Labels) {
    let (options, authentication, fragment) = (program.label(), program.label(), program.label());
    let next = program.label();
    program.jump_if(JUMP_EQUAL, 6, labels.transport);
    program.jump_if(JUMP_EQUAL, 17, labels.transport);
    program.jump_if(JUMP_EQUAL, 44, fragment);
    program.jump_if(JUMP_EQUAL, 51, authentication);
    // Hop-by-hop, routing, destination options, mobility, HIP, Shim6.
    for kind in [0, 43, 60, 135, 139, 140] {
        program.jump_if(JUMP_EQUAL, kind, options);
    }
    program.jump(labels.drop);

    program.place(fragment);
    program.emit(LOAD_HALF_AT_X, 2);
    program.jump_if(JUMP_SET, 0xfff8, labels.drop);
    program.emit(LOAD_BYTE_AT_X, 0);
    program.emit(STORE, NUMBER);
    skip(program, 8);
    program.jump(next);

    for (kind, unit_shift, units_more) in [(authentication, 2, 2), (options, 3, 1)] {
        program.place(kind);
        program.emit(LOAD_BYTE_AT_X, 0);
        program.emit(STORE, NUMBER);
        program.emit(LOAD_BYTE_AT_X, 1);
        program.emit(ADD, units_more);
        program.emit(SHIFT_LEFT, unit_shift);
        program.emit(ADD_X, 0);
        program.emit(A_TO_X, 0);
        program.jump(next);
    }
    program.place(next);
    program.emit(LOAD_WORD_MEMORY, NUMBER);
}

fn transport(program: &mut Assembler, labels: &Labels, wanted: &Wanted, lookup: Lookup) {
    let (tcp, udp, port) = (program.label(), program.label(), program.label());
    program.place(labels.transport);
    program.jump_if(JUMP_EQUAL, Protocol::Tcp.number().into(), tcp);
    program.jump_if(JUMP_EQUAL, Protocol::Udp.number().into(), udp);
    program.jump(labels.drop);
    program.place(tcp);
    tcp_flags(program, labels.unlisted.map_or(labels.drop, |unlisted| unlisted.tcp), wanted.flags);
    program.emit(LOAD_HALF_AT_X, 2);
    program.jump(port);
    program.place(udp);
    let otherwise = labels.unlisted.map_or(labels.drop, |unlisted| unlisted.port);
    program.emit(LOAD_HALF_AT_X, 2);
    datagram_lengths(program, &wanted.lengths, otherwise);
    program.emit(ADD, UDP);
    program.place(port);
    match lookup {
        Lookup::Search { most } => search(program, Set::Ports.keys(wanted), most, otherwise),
        Lookup::Table => {
            program.jump_unless(JUMP_LISTED, Set::Ports as u32, otherwise);
            if wanted.follow {
                with_source(program, |program, _| {
                    program.emit(NOTE, 0);
                    program.ret(PASS);
                });
            } else {
                program.ret(PASS);
            }
        }
    }
}

/// With a UDP port in A, which stays there: a datagram of another length than is of use at its port counts for one to a port
/// of no door.
fn datagram_lengths(program: &mut Assembler, lengths: &BTreeMap<u16, u16>, otherwise: Label) {
    if lengths.len() > MAX_LENGTHS {
        return;
    }
    for (port, length) in lengths {
        let (right, other_port) = (program.label(), program.label());
        program.jump_unless(JUMP_EQUAL, u32::from(*port), other_port);
        program.emit(LOAD_HALF_AT_X, DATAGRAM_LENGTH);
        program.jump_if(JUMP_EQUAL, UDP_HEADER + u32::from(*length), right);
        program.emit(LOAD_HALF_AT_X, 2);
        program.emit(ADD, UDP);
        program.jump(otherwise);
        program.place(right);
        program.emit(LOAD_HALF_AT_X, 2);
        program.place(other_port);
    }
}

fn tcp_flags(program: &mut Assembler, otherwise: Label, rule: FlagRule) {
    let (required, excluded) = (u32::from(rule.required.bits()), u32::from(rule.excluded.bits()));
    if required | excluded != 0 {
        program.emit(LOAD_BYTE_AT_X, CONTROL_BITS);
    }
    if excluded != 0 {
        program.jump_if(JUMP_SET, excluded, otherwise);
    }
    if required != 0 {
        program.emit(AND, required);
        program.jump_unless(JUMP_EQUAL, required, otherwise);
    }
}

/// A packet that begins something, and comes from a watched source or one that was at a door's port just before, passes
/// to whatever port.
fn sources(program: &mut Assembler, labels: &Labels, unlisted: Unlisted, wanted: &Wanted, lookup: Lookup) {
    let source = program.label();
    program.place(unlisted.port);
    program.jump_if(JUMP_GREATER_EQUAL, UDP, source);
    program.place(unlisted.tcp);
    program.emit(LOAD_BYTE_AT_X, CONTROL_BITS);
    program.emit(AND, TcpFlags::SYN.union(TcpFlags::ACK).bits().into());
    program.jump_unless(JUMP_EQUAL, TcpFlags::SYN.bits().into(), labels.drop);

    program.place(source);
    with_source(program, |program, set| match lookup {
        Lookup::Search { most } => search(program, set.keys(wanted), most, labels.drop),
        Lookup::Table => {
            program.jump_if(JUMP_LISTED, set as u32, labels.pass);
            if wanted.follow {
                program.jump_if(JUMP_NOTED, 0, labels.pass);
            }
            program.jump(labels.drop);
        }
    });
}

/// Goes on in two ways, each with the source's key in A, to which set of them it may belong, and an end of its own.
fn with_source(program: &mut Assembler, mut go_on: impl FnMut(&mut Assembler, Set)) {
    let v6 = program.label();
    program.emit(LOAD_X_MEMORY, NETWORK_HEADER);
    program.emit(LOAD_BYTE_AT_X, 0);
    program.emit(AND, 0xf0);
    program.jump_if(JUMP_EQUAL, 0x60, v6);
    program.emit(LOAD_WORD_AT_X, 12);
    go_on(program, Set::Sources4);
    program.place(v6);
    fold_ipv6_source(program);
    go_on(program, Set::Sources6);
}

/// The exclusive or of the address's words to A.
fn fold_ipv6_source(program: &mut Assembler) {
    for (offset, memory) in [8, 12, 16].into_iter().zip(WORDS) {
        program.emit(LOAD_WORD_AT_X, offset);
        program.emit(STORE, memory);
    }
    program.emit(LOAD_WORD_AT_X, 20);
    for memory in WORDS {
        program.emit(LOAD_X_MEMORY, memory);
        program.emit(XOR_X, 0);
    }
}
