//! The kernel filter: a classic BPF program that passes the packets which may be knocks, and few others.
//!
//! It may pass too much, never too little: what it passes is decoded and checked again. See `bpf(4)` and the
//! kernel's `networking/filter.rst` for the machine; the packet begins at its network header, as a cooked packet
//! socket has it.

use std::collections::BTreeSet;

use knock_core::config::FlagRule;
use knock_core::knock::{Protocol, TcpFlags};
use knock_core::sequence::Step;
use socket2::SockFilter;

/// How many IPv6 extension headers are looked through; behind more of them everything passes.
const EXTENSION_HEADERS: usize = 6;
/// How many VLAN tags are looked through beside the one that the kernel takes off.
const VLAN_TAGS: usize = 2;
/// Beyond so many interfaces all are let through.
const MAX_INTERFACES: usize = 64;
/// The longest program that the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSTRUCTIONS: usize = 4096;
/// How many ranges of ports are compared one by one at the end of the search.
const LEAF: usize = 16;

/// What may pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Indexes of the interfaces; `None` for all.
    pub interfaces: Option<BTreeSet<u32>>,
    /// Also packets that are addressed to other machines' hardware addresses, for doors with a `Target`.
    pub other_hosts: bool,
    /// Whether IPv6 may pass.
    pub ipv6: bool,
    /// The ports of all doors.
    pub steps: BTreeSet<Step>,
    /// What every door asks of a TCP packet's flags.
    pub flags: FlagRule,
}

/// Makes the program, which tells at most `max_ranges` ranges of ports apart.
pub fn program(wanted: &Wanted, max_ranges: usize) -> Vec<SockFilter> {
    instructions(wanted, max_ranges).into_iter().map(|i| SockFilter::new(i.code, i.jt, i.jf, i.k)).collect()
}

fn instructions(wanted: &Wanted, max_ranges: usize) -> Vec<Instruction> {
    let mut program = Program::default();
    let labels = Labels::new(&mut program);
    if wanted.steps.is_empty() || wanted.interfaces.as_ref().is_some_and(BTreeSet::is_empty) {
        program.ret(DROP);
        return program.code;
    }
    direction(&mut program, &labels, wanted.other_hosts);
    interfaces(&mut program, &labels, wanted.interfaces.as_ref());
    network(&mut program, &labels, wanted.ipv6);
    transport(&mut program, &labels, wanted, max_ranges);
    program.place(labels.drop);
    program.ret(DROP);
    program.place(labels.pass);
    program.ret(PASS);
    program.resolve();
    program.code
}

const DROP: u32 = 0;
/// All of the packet, however long: what the filter cut off would be missing from the length that the socket tells.
const PASS: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Instruction {
    code: u16,
    jt: u8,
    jf: u8,
    k: u32,
}

// Opcodes, as `linux/bpf_common.h` composes them.
const LOAD_WORD: u16 = 0x20;
const LOAD_WORD_MEMORY: u16 = 0x60;
const LOAD_HALF_AT_X: u16 = 0x48;
const LOAD_BYTE_AT_X: u16 = 0x50;
const LOAD_X_IMMEDIATE: u16 = 0x01;
const STORE: u16 = 0x02;
const ADD: u16 = 0x04;
const ADD_X: u16 = 0x0c;
const AND: u16 = 0x54;
const SHIFT_LEFT: u16 = 0x64;
const A_TO_X: u16 = 0x07;
const X_TO_A: u16 = 0x87;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const JUMP_SET: u16 = 0x45;
const RETURN: u16 = 0x06;

// What the kernel knows of a packet beside its bytes: `SKF_AD_OFF` and offsets from it.
const ANCILLARY: u32 = 0xffff_f000;
const ETHER_TYPE: u32 = ANCILLARY;
const PACKET_TYPE: u32 = ANCILLARY + 4;
const INTERFACE_INDEX: u32 = ANCILLARY + 8;

// Packet types of `linux/if_packet.h`.
const TO_US: u32 = 0;
const TO_OTHER_HOST: u32 = 3;

/// A place in the program that is jumped to before it is known.
#[derive(Clone, Copy)]
struct Label(usize);

#[derive(Default)]
struct Program {
    code: Vec<Instruction>,
    /// Where each label is.
    places: Vec<usize>,
    /// Jumps that wait for their label's place.
    jumps: Vec<(usize, Label)>,
}

impl Program {
    fn label(&mut self) -> Label {
        self.places.push(usize::MAX);
        Label(self.places.len() - 1)
    }

    fn place(&mut self, label: Label) {
        self.places[label.0] = self.code.len();
    }

    fn emit(&mut self, code: u16, k: u32) {
        self.code.push(Instruction { code, jt: 0, jf: 0, k });
    }

    fn ret(&mut self, length: u32) {
        self.emit(RETURN, length);
    }

    fn jump(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.emit(JUMP, 0);
    }

    /// Goes to `label` where the test holds. A conditional jump reaches 255 instructions, an unconditional one all.
    fn jump_if(&mut self, test: u16, k: u32, label: Label) {
        self.code.push(Instruction { code: test, jt: 0, jf: 1, k });
        self.jump(label);
    }

    /// Goes to `label` where the test does not hold.
    fn jump_unless(&mut self, test: u16, k: u32, label: Label) {
        self.code.push(Instruction { code: test, jt: 1, jf: 0, k });
        self.jump(label);
    }

    fn resolve(&mut self) {
        for (at, label) in std::mem::take(&mut self.jumps) {
            self.code[at].k = (self.places[label.0] - at - 1) as u32;
        }
    }
}

struct Labels {
    drop: Label,
    pass: Label,
    /// With the protocol number in A and the transport header's offset in X.
    transport: Label,
}

impl Labels {
    fn new(program: &mut Program) -> Self {
        Self { drop: program.label(), pass: program.label(), transport: program.label() }
    }
}

/// Neither what we send ourselves nor what goes to groups or, mostly, to others.
fn direction(program: &mut Program, labels: &Labels, other_hosts: bool) {
    let incoming = program.label();
    program.emit(LOAD_WORD, PACKET_TYPE);
    program.jump_if(JUMP_EQUAL, TO_US, incoming);
    if other_hosts {
        program.jump_if(JUMP_EQUAL, TO_OTHER_HOST, incoming);
    }
    program.jump(labels.drop);
    program.place(incoming);
}

fn interfaces(program: &mut Program, labels: &Labels, interfaces: Option<&BTreeSet<u32>>) {
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
fn network(program: &mut Program, labels: &Labels, ipv6: bool) {
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
fn next_tag(program: &mut Program) {
    program.emit(LOAD_HALF_AT_X, 2);
    program.emit(STORE, 0);
    skip(program, 4);
    program.emit(LOAD_WORD_MEMORY, 0);
}

fn skip(program: &mut Program, bytes: u32) {
    program.emit(X_TO_A, 0);
    program.emit(ADD, bytes);
    program.emit(A_TO_X, 0);
}

fn ipv4_header(program: &mut Program, labels: &Labels) {
    program.emit(LOAD_HALF_AT_X, 6);
    program.jump_if(JUMP_SET, 0x1fff, labels.drop);
    program.emit(LOAD_BYTE_AT_X, 9);
    program.emit(STORE, 0);
    program.emit(LOAD_BYTE_AT_X, 0);
    program.emit(AND, 0x0f);
    program.emit(SHIFT_LEFT, 2);
    program.emit(ADD_X, 0);
    program.emit(A_TO_X, 0);
    program.emit(LOAD_WORD_MEMORY, 0);
    program.jump(labels.transport);
}

fn ipv6_headers(program: &mut Program, labels: &Labels) {
    program.emit(LOAD_BYTE_AT_X, 6);
    program.emit(STORE, 0);
    skip(program, 40);
    program.emit(LOAD_WORD_MEMORY, 0);
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
fn extension_header(program: &mut Program, labels: &Labels) {
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
    program.emit(STORE, 0);
    skip(program, 8);
    program.jump(next);

    for (kind, unit_shift, units_more) in [(authentication, 2, 2), (options, 3, 1)] {
        program.place(kind);
        program.emit(LOAD_BYTE_AT_X, 0);
        program.emit(STORE, 0);
        program.emit(LOAD_BYTE_AT_X, 1);
        program.emit(ADD, units_more);
        program.emit(SHIFT_LEFT, unit_shift);
        program.emit(ADD_X, 0);
        program.emit(A_TO_X, 0);
        program.jump(next);
    }
    program.place(next);
    program.emit(LOAD_WORD_MEMORY, 0);
}

fn transport(program: &mut Program, labels: &Labels, wanted: &Wanted, max_ranges: usize) {
    let (tcp, udp) = (program.label(), program.label());
    program.place(labels.transport);
    program.jump_if(JUMP_EQUAL, Protocol::Tcp.number().into(), tcp);
    program.jump_if(JUMP_EQUAL, Protocol::Udp.number().into(), udp);
    program.jump(labels.drop);
    program.place(tcp);
    tcp_flags(program, labels, wanted.flags);
    ports(program, &wanted.steps, Protocol::Tcp, max_ranges);
    program.place(udp);
    ports(program, &wanted.steps, Protocol::Udp, max_ranges);
}

fn tcp_flags(program: &mut Program, labels: &Labels, rule: FlagRule) {
    const CONTROL_BITS: u32 = 13;
    let required = u32::from(rule.required.bits());
    program.emit(LOAD_BYTE_AT_X, CONTROL_BITS);
    if rule.excluded != TcpFlags::default() {
        program.jump_if(JUMP_SET, rule.excluded.bits().into(), labels.drop);
    }
    if required != 0 {
        program.emit(AND, required);
        program.jump_unless(JUMP_EQUAL, required, labels.drop);
    }
}

fn ports(program: &mut Program, steps: &BTreeSet<Step>, protocol: Protocol, max_ranges: usize) {
    let ports = steps.iter().filter(|step| step.protocol == protocol).map(|step| step.port);
    let ranges = ranges(ports, max_ranges);
    program.emit(LOAD_HALF_AT_X, 2);
    search(program, &ranges);
}

type Range = (u16, u16);

/// Sorted ports as ranges; where there are more than `most`, those with the smallest gaps are taken together.
fn ranges(ports: impl Iterator<Item = u16>, most: usize) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == port => *last = port,
            _ => ranges.push((port, port)),
        }
    }
    let surplus = ranges.len().saturating_sub(most.max(1));
    let mut gaps: Vec<_> = ranges.windows(2).map(|pair| pair[1].0 - pair[0].1).enumerate().collect();
    gaps.sort_by_key(|(_, gap)| *gap);
    let closed: BTreeSet<_> = gaps.iter().take(surplus).map(|(index, _)| index + 1).collect();
    let mut merged: Vec<Range> = Vec::new();
    for (index, range) in ranges.into_iter().enumerate() {
        match merged.last_mut() {
            Some((_, last)) if closed.contains(&index) => *last = range.1,
            _ => merged.push(range),
        }
    }
    merged
}

/// Passes where the port in A is in one of the sorted ranges: binary search to a few of them, which are tried in turn.
fn search(program: &mut Program, ranges: &[Range]) {
    if ranges.len() <= LEAF {
        return try_each(program, ranges);
    }
    let (low, high) = ranges.split_at(ranges.len() / 2);
    let upper = program.label();
    program.jump_if(JUMP_GREATER_EQUAL, high[0].0.into(), upper);
    search(program, low);
    program.place(upper);
    search(program, high);
}

fn try_each(program: &mut Program, ranges: &[Range]) {
    let length = |range: &Range| if range.0 == range.1 { 1 } else { 2 };
    let mut left: u8 = ranges.iter().map(length).sum();
    for &(first, last) in ranges {
        if first == last {
            program.code.push(Instruction { code: JUMP_EQUAL, jt: left, jf: 0, k: first.into() });
            left -= 1;
        } else {
            program.code.push(Instruction { code: JUMP_GREATER_EQUAL, jt: 0, jf: 1, k: first.into() });
            program.code.push(Instruction { code: JUMP_GREATER, jt: 0, jf: left - 1, k: last.into() });
            left -= 2;
        }
    }
    program.ret(DROP);
    program.ret(PASS);
}

#[cfg(test)]
mod tests;
