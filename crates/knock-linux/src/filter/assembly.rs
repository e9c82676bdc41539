//! Instructions and how a program is put together from them: those of the classic machine, and a few of our own.

/// One instruction, as classic BPF has it: an operation, how far it jumps where a test holds and where not, a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) jt: u8,
    pub(super) jf: u8,
    pub(super) k: u32,
}

// Operations, as `linux/bpf_common.h` composes them.
pub(super) const LOAD_WORD: u16 = 0x20;
pub(super) const LOAD_WORD_MEMORY: u16 = 0x60;
pub(super) const LOAD_WORD_AT_X: u16 = 0x40;
pub(super) const LOAD_HALF_AT_X: u16 = 0x48;
pub(super) const LOAD_BYTE_AT_X: u16 = 0x50;
pub(super) const LOAD_X_IMMEDIATE: u16 = 0x01;
pub(super) const LOAD_X_MEMORY: u16 = 0x61;
pub(super) const STORE: u16 = 0x02;
pub(super) const STORE_X: u16 = 0x03;
pub(super) const ADD: u16 = 0x04;
pub(super) const ADD_X: u16 = 0x0c;
pub(super) const AND: u16 = 0x54;
pub(super) const XOR_X: u16 = 0xac;
pub(super) const SHIFT_LEFT: u16 = 0x64;
pub(super) const A_TO_X: u16 = 0x07;
pub(super) const X_TO_A: u16 = 0x87;
pub(super) const JUMP: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_GREATER: u16 = 0x25;
pub(super) const JUMP_GREATER_EQUAL: u16 = 0x35;
pub(super) const JUMP_SET: u16 = 0x45;
pub(super) const RETURN: u16 = 0x06;

/// A test like the jumps above, which the classic machine does not have: whether A is in the table's set number `k`. It
/// leaves A and X as they are.
pub(super) const JUMP_LISTED: u16 = 0x100;
/// Notes the moment for the key in A, which is lost.
pub(super) const NOTE: u16 = 0x101;
/// A test like the jumps above: whether a moment was noted lately for the key in A, which is lost.
pub(super) const JUMP_NOTED: u16 = 0x102;

// What the kernel knows of a packet beside its bytes: `SKF_AD_OFF` and offsets from it.
const ANCILLARY: u32 = 0xffff_f000;
pub(super) const ETHER_TYPE: u32 = ANCILLARY;
pub(super) const PACKET_TYPE: u32 = ANCILLARY + 4;
pub(super) const INTERFACE_INDEX: u32 = ANCILLARY + 8;

pub(super) const DROP: u32 = 0;
/// All of the packet, however long: what the filter cut off would be missing from the length that the socket tells.
pub(super) const PASS: u32 = u32::MAX;

/// A place in the program that is jumped to before it is known.
#[derive(Clone, Copy)]
pub(super) struct Label(usize);

/// A program in the making.
#[derive(Default)]
pub(super) struct Assembler {
    code: Vec<Instruction>,
    /// Where each label is.
    places: Vec<usize>,
    /// Jumps that wait for their label's place.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    pub(super) fn label(&mut self) -> Label {
        self.places.push(usize::MAX);
        Label(self.places.len() - 1)
    }

    pub(super) fn place(&mut self, label: Label) {
        self.places[label.0] = self.code.len();
    }

    pub(super) fn emit(&mut self, code: u16, k: u32) {
        self.test(code, k, 0, 0);
    }

    pub(super) fn ret(&mut self, length: u32) {
        self.emit(RETURN, length);
    }

    pub(super) fn jump(&mut self, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.emit(JUMP, 0);
    }

    /// Passes over `jt` instructions where the test holds, over `jf` where not.
    pub(super) fn test(&mut self, code: u16, k: u32, jt: u8, jf: u8) {
        self.code.push(Instruction { code, jt, jf, k });
    }

    /// Goes to `label` where the test holds. A conditional jump reaches 255 instructions, an unconditional one all.
    pub(super) fn jump_if(&mut self, test: u16, k: u32, label: Label) {
        self.test(test, k, 0, 1);
        self.jump(label);
    }

    /// Goes to `label` where the test does not hold.
    pub(super) fn jump_unless(&mut self, test: u16, k: u32, label: Label) {
        self.test(test, k, 1, 0);
        self.jump(label);
    }

    /// The program, with all labels in their places.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in self.jumps {
            self.code[at].k = (self.places[label.0] - at - 1) as u32;
        }
        self.code
    }
}
