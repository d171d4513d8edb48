//! A small assembler for classic BPF (pure): instructions and labels → a program.
//!
//! Labels are placed after the jumps to them, for classic BPF only jumps forward.
//! A conditional jump reaches 255 instructions and no further; so each is written
//! as one that skips, or falls onto, an unconditional jump, which reaches anywhere.
//! The machine is described in the Linux kernel's documentation, networking/filter.

use spad_sys::bpf::Instruction;

/// A place in the program, made by [`Assembler::label`], placed once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label(usize);

/// What is compared with the accumulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Jump {
    /// It is the value.
    Equal,
    /// It is above the value.
    Above,
    /// It is the value or above.
    AtLeast,
    /// It has one of the value's bits.
    AnyBit,
}

pub(super) const LOAD_WORD: u16 = 0x20;
pub(super) const LOAD_HALF: u16 = 0x28;
pub(super) const LOAD_BYTE: u16 = 0x30;
pub(super) const LOAD_HALF_INDEXED: u16 = 0x48;
pub(super) const LOAD_BYTE_INDEXED: u16 = 0x50;
pub(super) const MASK: u16 = 0x54;
pub(super) const SHIFT_RIGHT: u16 = 0x74;
pub(super) const ADD_INDEX: u16 = 0x0c;
pub(super) const SUBTRACT_INDEX: u16 = 0x1c;
pub(super) const ACCUMULATOR_TO_INDEX: u16 = 0x07;
pub(super) const INDEX_BY_IPV4_HEADER: u16 = 0xb1;
pub(super) const JA: u16 = 0x05;
pub(super) const JUMP_EQUAL: u16 = 0x15;
pub(super) const JUMP_ABOVE: u16 = 0x25;
pub(super) const JUMP_AT_LEAST: u16 = 0x35;
pub(super) const JUMP_ANY_BIT: u16 = 0x45;
pub(super) const RET: u16 = 0x06;

impl Jump {
    const fn code(self) -> u16 {
        match self {
            Self::Equal => JUMP_EQUAL,
            Self::Above => JUMP_ABOVE,
            Self::AtLeast => JUMP_AT_LEAST,
            Self::AnyBit => JUMP_ANY_BIT,
        }
    }
}

/// A program being written.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    program: Vec<Instruction>,
    /// Where each label stands, once placed.
    labels: Vec<Option<usize>>,
    /// Unconditional jumps and the labels they go to.
    jumps: Vec<(usize, Label)>,
}

impl Assembler {
    /// A new label, to be placed later.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// The label stands here.
    pub(super) fn bind(&mut self, label: Label) {
        if let Some(target) = self.labels.get_mut(label.0) {
            *target = Some(self.program.len());
        }
    }

    /// Accumulator = the 4 bytes at this offset.
    pub(super) fn load_word(&mut self, offset: u32) {
        self.emit(LOAD_WORD, 0, 0, offset);
    }

    /// Accumulator = the 2 bytes at this offset.
    pub(super) fn load_half(&mut self, offset: u32) {
        self.emit(LOAD_HALF, 0, 0, offset);
    }

    /// Accumulator = the byte at this offset.
    pub(super) fn load_byte(&mut self, offset: u32) {
        self.emit(LOAD_BYTE, 0, 0, offset);
    }

    /// Accumulator = the 2 bytes at index register + this offset.
    pub(super) fn load_half_indexed(&mut self, offset: u32) {
        self.emit(LOAD_HALF_INDEXED, 0, 0, offset);
    }

    /// Accumulator = the byte at index register + this offset.
    pub(super) fn load_byte_indexed(&mut self, offset: u32) {
        self.emit(LOAD_BYTE_INDEXED, 0, 0, offset);
    }

    /// Accumulator = its bits that the mask has, shifted right so far.
    pub(super) fn mask_shift(&mut self, mask: u32, shift: u32) {
        self.emit(MASK, 0, 0, mask);
        self.emit(SHIFT_RIGHT, 0, 0, shift);
    }

    /// Accumulator = accumulator + index register.
    pub(super) fn add_index(&mut self) {
        self.emit(ADD_INDEX, 0, 0, 0);
    }

    /// Accumulator = accumulator - index register; below zero it begins again from the top.
    pub(super) fn subtract_index(&mut self) {
        self.emit(SUBTRACT_INDEX, 0, 0, 0);
    }

    /// Index register = accumulator.
    pub(super) fn index_by_accumulator(&mut self) {
        self.emit(ACCUMULATOR_TO_INDEX, 0, 0, 0);
    }

    /// Index register = length of the IPv4 header that begins at this offset.
    pub(super) fn index_by_ipv4_header(&mut self, offset: u32) {
        self.emit(INDEX_BY_IPV4_HEADER, 0, 0, offset);
    }

    /// Jumps where the comparison holds.
    pub(super) fn jump_if(&mut self, jump: Jump, value: u32, label: Label) {
        self.emit(jump.code(), 0, 1, value);
        self.jump(label);
    }

    /// Jumps where the comparison does not hold.
    pub(super) fn jump_unless(&mut self, jump: Jump, value: u32, label: Label) {
        self.emit(jump.code(), 1, 0, value);
        self.jump(label);
    }

    /// Jumps.
    pub(super) fn jump(&mut self, label: Label) {
        self.jumps.push((self.program.len(), label));
        self.emit(JA, 0, 0, 0);
    }

    /// Ends with this number of bytes kept; 0 drops.
    pub(super) fn ret(&mut self, bytes: u32) {
        self.emit(RET, 0, 0, bytes);
    }

    /// The program. A jump whose label was never placed, or stands before it,
    /// gets a distance that the kernel refuses, so it cannot go unnoticed.
    pub(super) fn finish(mut self) -> Vec<Instruction> {
        for (from, label) in self.jumps {
            let to = self.labels.get(label.0).copied().flatten();
            let distance = to.and_then(|to| to.checked_sub(from + 1));
            if let Some(instruction) = self.program.get_mut(from) {
                instruction.k = distance
                    .and_then(|distance| u32::try_from(distance).ok())
                    .unwrap_or(u32::MAX);
            }
        }
        self.program
    }

    fn emit(&mut self, code: u16, jt: u8, jf: u8, k: u32) {
        self.program.push(Instruction { code, jt, jf, k });
    }
}
