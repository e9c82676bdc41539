//! The filter as an extended BPF program, which looks keys up in a table beside it.
//!
//! The program is translated instruction by instruction, as the kernel does with a classic one; only that it has three
//! more. It depends neither on ports nor on sources: where these change, the table is written anew, a
//! byte at a time, so that whoever reads it meanwhile finds each key as it was or as it will be.

use std::io;
use std::os::fd::BorrowedFd;

use super::Wanted;
use super::assembly::*;
use super::bpf::{Operation, Program, Table};
use super::keys::Set;

/// A set's keys are folded to so many bits; those of ports have no more, and none falls on another.
const KEY_BITS: u32 = 17;
/// How many bytes a set takes in the table, with one bit for each folded key.
const SET_SIZE: u32 = 1 << (KEY_BITS - 3);
const FOLD_SHIFT: u32 = 32 - KEY_BITS;

/// How many bytes the moments take that the program notes: a word for each folded key.
const NOTES_SIZE: u32 = 4 << KEY_BITS;
/// The program counts time in units of 2^20 nanoseconds.
const UNIT_SHIFT: u32 = 20;
/// For how long what was noted counts: a second.
const LATELY: u32 = 1_000_000_000 >> UNIT_SHIFT;

/// A filter in force, with its tables.
pub(super) struct Extended {
    code: Vec<Instruction>,
    table: Table,
    /// What the program notes.
    notes: Option<Table>,
}

impl Extended {
    /// A filter that is not attached yet.
    ///
    /// # Errors
    /// Where the kernel does not let us.
    pub(super) fn new(code: Vec<Instruction>, wanted: &Wanted) -> io::Result<Self> {
        let notes = wanted.follow.then(|| Table::new(NOTES_SIZE)).transpose()?;
        let filter = Self { code, table: Table::new(SET_SIZE * Set::ALL.len() as u32)?, notes };
        filter.fill(wanted)?;
        Ok(filter)
    }

    /// Attaches it to a socket, in place of the filter before.
    ///
    /// # Errors
    /// Where the kernel does not let us, or does not know what is needed here (Linux 5.2); the old filter stays.
    pub(super) fn attach(self, socket: BorrowedFd<'_>) -> io::Result<Self> {
        self.load()?.attach(socket)?;
        Ok(self)
    }

    /// Whether this is its program.
    pub(super) fn is(&self, code: &[Instruction]) -> bool {
        self.code == code
    }

    /// Lets other ports and sources pass.
    ///
    /// # Errors
    /// Where the kernel is out of memory; then all stays as it is.
    pub(super) fn fill(&self, wanted: &Wanted) -> io::Result<()> {
        self.table.write(&contents(wanted))
    }

    pub(super) fn load(&self) -> io::Result<Program> {
        let operations = self.translate().ok_or(io::ErrorKind::Unsupported)?;
        Program::load(&operations)
    }

    /// None where an instruction is not known here, or a jump is too long.
    fn translate(&self) -> Option<Vec<Operation>> {
        let mut translation = Translation::default();
        translation.emit(MOVE_POINTER, (PACKET, ARGUMENT), 0, 0);
        translation.emit(MOVE, (A, 0), 0, 0);
        translation.emit(MOVE, (X, 0), 0, 0);
        for instruction in &self.code {
            translation.places.push(translation.operations.len());
            translation.instruction(*instruction, &self.table, self.notes.as_ref())?;
        }
        translation.finish()
    }
}

/// Where in its set's part of the table a key has its bit.
fn fold(key: u32) -> u32 {
    (key ^ key >> FOLD_SHIFT) & (SET_SIZE * 8 - 1)
}

/// The table's bytes: a bit for each key that may pass, set by set.
pub(super) fn contents(wanted: &Wanted) -> Vec<u8> {
    let mut bytes = vec![0; SET_SIZE as usize * Set::ALL.len()];
    for (set, part) in Set::ALL.into_iter().zip(bytes.chunks_exact_mut(SET_SIZE as usize)) {
        for key in set.keys(wanted) {
            let bit = fold(key);
            part[bit as usize / 8] |= 1 << (bit % 8);
        }
    }
    bytes
}

/// Whether a key's bit is set in these bytes.
#[cfg(test)]
pub(super) fn is_listed(bytes: &[u8], set: u32, key: u32) -> bool {
    let bit = set * SET_SIZE * 8 + fold(key);
    bytes[bit as usize / 8] & 1 << (bit % 8) != 0
}

// Registers: A is where loads from a packet and calls put what they find, and X, what is kept, the packet and the stack
// stay as they are then.
const A: u8 = 0;
const ARGUMENT: u8 = 1;
const INDEX: u8 = 2;
const BIT: u8 = 3;
const BYTE: u8 = 4;
const PACKET: u8 = 6;
const X: u8 = 7;
const KEPT: u8 = 8;
const STACK: u8 = 10;

// Operations, as `linux/bpf.h` and `linux/bpf_common.h` compose them.
const MOVE: u8 = 0xb4;
const MOVE_REGISTER: u8 = 0xbc;
const MOVE_POINTER: u8 = 0xbf;
const ADD_TO_POINTER: u8 = 0x0f;
const SHIFT_RIGHT: u8 = 0x74;
const SHIFT_RIGHT_BY: u8 = 0x7c;
const AND_CONSTANT: u8 = 0x54;
const XOR_REGISTER: u8 = 0xac;
const TO_BIG_ENDIAN: u8 = 0xdc;
const LOAD_TABLE: u8 = 0x18;
const LOAD_WORD_FROM: u8 = 0x61;
const LOAD_BYTE_FROM: u8 = 0x71;
const STORE_WORD_TO: u8 = 0x63;
const GO: u8 = 0x05;
const GO_IF_NOT_EQUAL: u8 = 0x56;
const GO_IF_LESS: u8 = 0xa6;
const SUBTRACT_REGISTER: u8 = 0x1c;
const SHIFT_LEFT_CONSTANT: u8 = 0x64;
const SHIFT_RIGHT_LONG: u8 = 0x77;
const CALL: u8 = 0x85;
/// `bpf_ktime_get_ns` of `bpf-helpers(7)`.
const TIME: u32 = 5;
const END: u8 = 0x95;

// Where the program finds what the kernel knows of a packet: `struct __sk_buff` of `linux/bpf.h`.
const PACKET_TYPE_AT: i16 = 4;
const ETHER_TYPE_AT: i16 = 16;
const INTERFACE_INDEX_AT: i16 = 40;

/// The operations of a program in the making.
#[derive(Default)]
struct Translation {
    operations: Vec<Operation>,
    /// The place of each instruction among the operations.
    places: Vec<usize>,
    /// Which operations jump, and to which instruction.
    jumps: Vec<(usize, usize)>,
}

impl Translation {
    fn emit(&mut self, code: u8, (to, from): (u8, u8), offset: i16, constant: u32) {
        self.operations.push(Operation::new(code, to, from, offset, constant.cast_signed()));
    }

    fn instruction(&mut self, instruction: Instruction, table: &Table, notes: Option<&Table>) -> Option<()> {
        let Instruction { code, k, .. } = instruction;
        // Most have the number that they have in the classic machine.
        let same = code as u8;
        match code {
            LOAD_WORD => self.load_known(k)?,
            LOAD_WORD_AT_X | LOAD_HALF_AT_X | LOAD_BYTE_AT_X => self.emit(same, (0, X), 0, k),
            LOAD_WORD_MEMORY => self.emit(LOAD_WORD_FROM, (A, STACK), slot(k)?, 0),
            LOAD_X_MEMORY => self.emit(LOAD_WORD_FROM, (X, STACK), slot(k)?, 0),
            LOAD_X_IMMEDIATE => self.emit(MOVE, (X, 0), 0, k),
            STORE => self.emit(STORE_WORD_TO, (STACK, A), slot(k)?, 0),
            STORE_X => self.emit(STORE_WORD_TO, (STACK, X), slot(k)?, 0),
            ADD | AND | SHIFT_LEFT => self.emit(same, (A, 0), 0, k),
            ADD_X | XOR_X => self.emit(same, (A, X), 0, 0),
            A_TO_X => self.emit(MOVE_REGISTER, (X, A), 0, 0),
            X_TO_A => self.emit(MOVE_REGISTER, (A, X), 0, 0),
            JUMP => self.jump(GO, (0, 0), 0, k as usize),
            JUMP_EQUAL | JUMP_GREATER | JUMP_GREATER_EQUAL | JUMP_SET => {
                // The comparison of 32 bits stands beside the one of 64, which has the classic number.
                self.test(same + 1, A, k, instruction);
            }
            JUMP_LISTED => {
                self.look_up(k, table);
                self.test(GO_IF_NOT_EQUAL, BYTE, 0, instruction);
            }
            NOTE => {
                self.look_up_moment(notes?);
                self.emit(STORE_WORD_TO, (BYTE, A), 0, 0);
            }
            JUMP_NOTED => {
                self.look_up_moment(notes?);
                self.emit(LOAD_WORD_FROM, (BYTE, BYTE), 0, 0);
                self.emit(SUBTRACT_REGISTER, (A, BYTE), 0, 0);
                self.test(GO_IF_LESS, A, LATELY, instruction);
            }
            RETURN => {
                self.emit(MOVE, (A, 0), 0, k);
                self.emit(END, (0, 0), 0, 0);
            }
            _ => return None,
        }
        Some(())
    }

    fn load_known(&mut self, what: u32) -> Option<()> {
        let at = match what {
            PACKET_TYPE => PACKET_TYPE_AT,
            ETHER_TYPE => ETHER_TYPE_AT,
            INTERFACE_INDEX => INTERFACE_INDEX_AT,
            _ => return None,
        };
        self.emit(LOAD_WORD_FROM, (A, PACKET), at, 0);
        if what == ETHER_TYPE {
            self.emit(TO_BIG_ENDIAN, (A, 0), 0, 16);
        }
        Some(())
    }

    /// Finds the bit of the key in A; BYTE is not zero where it is set.
    fn look_up(&mut self, set: u32, table: &Table) {
        self.emit(MOVE_REGISTER, (INDEX, A), 0, 0);
        self.emit(SHIFT_RIGHT, (INDEX, 0), 0, FOLD_SHIFT);
        self.emit(XOR_REGISTER, (INDEX, A), 0, 0);
        self.emit(MOVE_REGISTER, (BIT, INDEX), 0, 0);
        self.emit(AND_CONSTANT, (BIT, 0), 0, 7);
        self.emit(SHIFT_RIGHT, (INDEX, 0), 0, 3);
        self.emit(AND_CONSTANT, (INDEX, 0), 0, SET_SIZE - 1);
        self.operations.extend(table.address(LOAD_TABLE, BYTE, set * SET_SIZE));
        self.emit(ADD_TO_POINTER, (BYTE, INDEX), 0, 0);
        self.emit(LOAD_BYTE_FROM, (BYTE, BYTE), 0, 0);
        self.emit(SHIFT_RIGHT_BY, (BYTE, BIT), 0, 0);
        self.emit(AND_CONSTANT, (BYTE, 0), 0, 1);
    }

    /// Finds the word of the key in A; BYTE is its address, and A the time.
    fn look_up_moment(&mut self, notes: &Table) {
        self.emit(MOVE_REGISTER, (KEPT, A), 0, 0);
        self.emit(SHIFT_RIGHT, (KEPT, 0), 0, FOLD_SHIFT);
        self.emit(XOR_REGISTER, (KEPT, A), 0, 0);
        self.emit(AND_CONSTANT, (KEPT, 0), 0, (1 << KEY_BITS) - 1);
        self.emit(SHIFT_LEFT_CONSTANT, (KEPT, 0), 0, 2);
        self.emit(CALL, (0, 0), 0, TIME);
        self.emit(SHIFT_RIGHT_LONG, (A, 0), 0, UNIT_SHIFT);
        self.operations.extend(notes.address(LOAD_TABLE, BYTE, 0));
        self.emit(ADD_TO_POINTER, (BYTE, KEPT), 0, 0);
    }

    fn test(&mut self, code: u8, register: u8, constant: u32, instruction: Instruction) {
        self.jump(code, (register, 0), constant, instruction.jt.into());
        self.jump(GO, (0, 0), 0, instruction.jf.into());
    }

    /// Passes over so many of the instructions that come next.
    fn jump(&mut self, code: u8, registers: (u8, u8), constant: u32, distance: usize) {
        self.jumps.push((self.operations.len(), self.places.len() + distance));
        self.emit(code, registers, 0, constant);
    }

    fn finish(mut self) -> Option<Vec<Operation>> {
        for (at, instruction) in self.jumps {
            let distance = self.places.get(instruction)?.checked_sub(at + 1)?;
            self.operations.get_mut(at)?.set_offset(i16::try_from(distance).ok()?);
        }
        Some(self.operations)
    }
}

/// Where on the stack a word of scratch memory is.
fn slot(memory: u32) -> Option<i16> {
    i16::try_from(memory).ok()?.checked_add(1)?.checked_mul(-4)
}
