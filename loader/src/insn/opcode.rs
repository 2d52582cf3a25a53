//! The parts of an opcode: `include/uapi/linux/bpf_common.h` and `bpf.h` (6.18), under the kernel's names.
//!
//! An opcode's low three bits are its class. In the arithmetic and jump classes the next bit says where the second
//! operand is and the upper four which operation it is; in the others they hold a size and a mode.

/// Mask of the class.
pub(super) const CLASS: u8 = 0x07;
pub(super) const BPF_LD: u8 = 0x00;
pub(super) const BPF_LDX: u8 = 0x01;
pub(super) const BPF_ST: u8 = 0x02;
pub(super) const BPF_STX: u8 = 0x03;
pub(super) const BPF_ALU: u8 = 0x04;
pub(super) const BPF_JMP: u8 = 0x05;
pub(super) const BPF_JMP32: u8 = 0x06;
pub(super) const BPF_ALU64: u8 = 0x07;

/// Bit of the arithmetic and jump classes: the second operand is a register and not `imm`.
pub(super) const BPF_X: u8 = 0x08;

/// Mask of the operation.
pub(super) const OPERATION: u8 = 0xf0;
pub(super) const BPF_ADD: u8 = 0x00;
pub(super) const BPF_SUB: u8 = 0x10;
pub(super) const BPF_MUL: u8 = 0x20;
pub(super) const BPF_DIV: u8 = 0x30;
pub(super) const BPF_OR: u8 = 0x40;
pub(super) const BPF_AND: u8 = 0x50;
pub(super) const BPF_LSH: u8 = 0x60;
pub(super) const BPF_RSH: u8 = 0x70;
pub(super) const BPF_NEG: u8 = 0x80;
pub(super) const BPF_MOD: u8 = 0x90;
pub(super) const BPF_XOR: u8 = 0xa0;
pub(super) const BPF_MOV: u8 = 0xb0;
pub(super) const BPF_ARSH: u8 = 0xc0;
pub(super) const BPF_END: u8 = 0xd0;

pub(super) const BPF_JEQ: u8 = 0x10;
pub(super) const BPF_JGT: u8 = 0x20;
pub(super) const BPF_JGE: u8 = 0x30;
pub(super) const BPF_JSET: u8 = 0x40;
pub(super) const BPF_JNE: u8 = 0x50;
pub(super) const BPF_JSGT: u8 = 0x60;
pub(super) const BPF_JSGE: u8 = 0x70;
pub(super) const BPF_JLT: u8 = 0xa0;
pub(super) const BPF_JLE: u8 = 0xb0;
pub(super) const BPF_JSLT: u8 = 0xc0;
pub(super) const BPF_JSLE: u8 = 0xd0;

/// `goto`: the distance is in `off`.
pub(super) const JA: u8 = BPF_JMP;
/// `gotol`: the distance is in `imm` (6.6).
pub(super) const JA32: u8 = BPF_JMP32;
/// `gotox`: to the address in a register (6.19).
pub(super) const JA_X: u8 = BPF_JMP | BPF_X;
/// `may_goto`: `BPF_JMP | BPF_JCOND`, taken when the kernel says that the loop ran long enough (6.9).
pub(super) const MAY_GOTO: u8 = BPF_JMP | 0xe0;
/// `callx`: a call to the address in a register. Compilers can write it; no kernel takes it.
pub(super) const CALL_X: u8 = BPF_JMP | BPF_X | 0x80;

/// Mask of the size of a memory access.
pub(super) const SIZE: u8 = 0x18;
pub(super) const BPF_W: u8 = 0x00;
pub(super) const BPF_H: u8 = 0x08;
pub(super) const BPF_B: u8 = 0x10;
pub(super) const BPF_DW: u8 = 0x18;

/// Mask of the mode of a memory access.
pub(super) const MODE: u8 = 0xe0;
pub(super) const BPF_ABS: u8 = 0x20;
pub(super) const BPF_IND: u8 = 0x40;
pub(super) const BPF_MEM: u8 = 0x60;
/// A load that extends the sign (6.6).
pub(super) const BPF_MEMSX: u8 = 0x80;
/// An atomic operation, which `imm` names: addition alone up to 5.11, where the mode was called `BPF_XADD`.
pub(super) const BPF_ATOMIC: u8 = 0xc0;

/// Bit of an atomic operation's `imm`: the old value is returned (5.12).
pub(super) const BPF_FETCH: i32 = 0x01;
/// `imm` of an atomic exchange (5.12).
pub(super) const BPF_XCHG: i32 = 0xe0 | BPF_FETCH;
/// `imm` of an atomic compare and exchange (5.12).
pub(super) const BPF_CMPXCHG: i32 = 0xf0 | BPF_FETCH;
/// `imm` of a load that later accesses cannot overtake (6.15).
pub(super) const BPF_LOAD_ACQ: i32 = 0x100;
/// `imm` of a store that earlier accesses cannot fall behind (6.15).
pub(super) const BPF_STORE_REL: i32 = 0x110;

/// `off` of a 64-bit register move that carries a pointer from one address space to another (6.9).
pub(super) const BPF_ADDR_SPACE_CAST: i16 = 1;
