//! The machine of `bpf(4)`, in Rust: as far as our own programs and those of tcpdump use it.

use crate::filter::assembly::*;
use crate::filter::extended::is_listed;

/// What the kernel knows of a packet.
#[derive(Debug)]
pub(super) struct Packet<'a> {
    pub(super) ether_type: u16,
    pub(super) packet_type: u32,
    pub(super) interface: u32,
    pub(super) bytes: &'a [u8],
}

// What only tcpdump's programs have.
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_X_HEADER_LENGTH: u16 = 0xb1;
const LOAD_IMMEDIATE: u16 = 0x00;
const SUBTRACT: u16 = 0x14;
const MULTIPLY: u16 = 0x24;
const OR: u16 = 0x44;
const SHIFT_RIGHT: u16 = 0x74;
const JUMP_EQUAL_X: u16 = 0x1d;

/// How many bytes of the packet pass; `table` is what [`JUMP_LISTED`] looks into.
pub(super) fn run(code: &[Instruction], table: &[u8], packet: &Packet<'_>) -> u32 {
    execute(code, table, packet).unwrap_or(DROP)
}

/// None where the program reads behind the packet's end.
fn execute(code: &[Instruction], table: &[u8], packet: &Packet<'_>) -> Option<u32> {
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
            LOAD_WORD => a = load(k, 4)?,
            LOAD_HALF => a = load(k, 2)?,
            LOAD_BYTE => a = load(k, 1)?,
            LOAD_WORD_AT_X => a = load(x + k, 4)?,
            LOAD_HALF_AT_X => a = load(x + k, 2)?,
            LOAD_BYTE_AT_X => a = load(x + k, 1)?,
            LOAD_WORD_MEMORY => a = memory[k as usize],
            LOAD_IMMEDIATE => a = k,
            LOAD_X_IMMEDIATE => x = k,
            LOAD_X_MEMORY => x = memory[k as usize],
            LOAD_X_HEADER_LENGTH => x = (load(k, 1)? & 0x0f) * 4,
            STORE => memory[k as usize] = a,
            STORE_X => memory[k as usize] = x,
            ADD => a += k,
            ADD_X => a += x,
            SUBTRACT => a = a.wrapping_sub(k),
            MULTIPLY => a = a.wrapping_mul(k),
            AND => a &= k,
            OR => a |= k,
            XOR_X => a ^= x,
            SHIFT_LEFT => a <<= k,
            SHIFT_RIGHT => a >>= k,
            A_TO_X => x = a,
            X_TO_A => a = x,
            JUMP => at += k as usize,
            JUMP_EQUAL => jump(a == k),
            JUMP_EQUAL_X => jump(a == x),
            JUMP_GREATER => jump(a > k),
            JUMP_GREATER_EQUAL => jump(a >= k),
            JUMP_SET => jump(a & k != 0),
            JUMP_LISTED => jump(is_listed(table, k, a)),
            // Nothing was noted before this packet.
            NOTE => {}
            JUMP_NOTED => jump(false),
            RETURN => return Some(k),
            _ => panic!("unknown instruction {code:#x}"),
        }
    }
}
