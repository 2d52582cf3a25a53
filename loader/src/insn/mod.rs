//! eBPF instructions: read from bytes, written back, asked what they do, and printed.
//!
//! The layout is `struct bpf_insn` of `include/uapi/linux/bpf.h`; the meanings are those of RFC 9669 and of the
//! kernel's `Documentation/bpf/standardization/instruction-set.rst` (6.18).

pub mod disasm;
pub mod helpers;
mod opcode;
pub mod tag;

use std::fmt;

use self::opcode::{CALL_X, CLASS, JA, JA32, MODE, OPERATION, SIZE};
use crate::bytes::{ByteOrder, Bytes};
use crate::error::{ErrorKind, Result};
use crate::uapi::bpf::{
    BPF_CALL, BPF_EXIT, BPF_INSN_SIZE, BPF_LD_IMM64, BPF_MAX_INSNS, BPF_PSEUDO_CALL, BPF_PSEUDO_KFUNC_CALL,
};

/// One slot of a program: an instruction, or one half of a 64-bit immediate load, which takes two.
///
/// In a file it is 8 bytes: `code`, the two registers in one byte, `off`, `imm`. `Debug` prints the disassembly; for
/// the first half of a 64-bit immediate load it knows the lower 32 bits only.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Insn {
    /// The opcode.
    pub code: u8,
    /// The destination register, 4 bits.
    pub dst: u8,
    /// The source register, 4 bits; in calls and 64-bit immediate loads it says what `imm` stands for.
    pub src: u8,
    /// The offset: of a memory access in bytes, of a jump in slots.
    pub off: i16,
    /// The immediate operand.
    pub imm: i32,
}

/// What a call calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Call {
    /// The helper with this id; [`helpers::name`] has its name.
    Helper(u32),
    /// A function of the same program, `offset` slots from the one after the call. Before relocation an object
    /// holds -1, or where in its section the function lies.
    Subprogram {
        /// Distance in slots, which may be negative.
        offset: i32,
    },
    /// The kernel function with this BTF id. A module's function has its BTF's place in `fd_array` in `off`.
    Kfunc(i32),
    /// The address in a register; no kernel takes it (6.18).
    Callx {
        /// The register's number.
        register: u8,
    },
}

impl Insn {
    /// The slot whose bytes are `bytes`. The registers are bit fields: the byte order of the machine also decides
    /// which of them has the low half of their byte.
    pub fn decode(bytes: [u8; BPF_INSN_SIZE], order: ByteOrder) -> Self {
        let [code, registers, off0, off1, imm0, imm1, imm2, imm3] = bytes;
        let (low, high) = (registers & 0xf, registers >> 4);
        let (off, imm) = ([off0, off1], [imm0, imm1, imm2, imm3]);
        match order {
            ByteOrder::Little => {
                Self { code, dst: low, src: high, off: i16::from_le_bytes(off), imm: i32::from_le_bytes(imm) }
            }
            ByteOrder::Big => {
                Self { code, dst: high, src: low, off: i16::from_be_bytes(off), imm: i32::from_be_bytes(imm) }
            }
        }
    }

    /// The bytes of this slot. Of `dst` and `src` only the four bits that the layout has are kept.
    pub fn encode(self, order: ByteOrder) -> [u8; BPF_INSN_SIZE] {
        let (dst, src) = (self.dst & 0xf, self.src & 0xf);
        let (registers, off, imm) = match order {
            ByteOrder::Little => (src << 4 | dst, self.off.to_le_bytes(), self.imm.to_le_bytes()),
            ByteOrder::Big => (dst << 4 | src, self.off.to_be_bytes(), self.imm.to_be_bytes()),
        };
        [self.code, registers, off[0], off[1], imm[0], imm[1], imm[2], imm[3]]
    }

    /// Whether this is the first half of a 64-bit immediate load.
    pub fn is_ld_imm64(self) -> bool {
        self.code == BPF_LD_IMM64
    }

    /// Whether this can be the second half of a 64-bit immediate load: everything but `imm` is zero. No instruction
    /// of its own has opcode 0.
    pub fn is_second_half(self) -> bool {
        self == Self { code: 0, dst: 0, src: 0, off: 0, imm: self.imm }
    }

    /// Whether this is a call of any kind.
    pub fn is_call(self) -> bool {
        matches!(self.code, BPF_CALL | CALL_X)
    }

    /// What this calls, if it is a call of a known kind.
    pub fn call(self) -> Option<Call> {
        match (self.code, self.src) {
            (BPF_CALL, 0) => Some(Call::Helper(u32::from_ne_bytes(self.imm.to_ne_bytes()))),
            (BPF_CALL, BPF_PSEUDO_CALL) => Some(Call::Subprogram { offset: self.imm }),
            (BPF_CALL, BPF_PSEUDO_KFUNC_CALL) => Some(Call::Kfunc(self.imm)),
            (CALL_X, _) => Some(Call::Callx { register: self.dst }),
            _ => None,
        }
    }

    /// Whether this ends the function.
    pub fn is_exit(self) -> bool {
        self.code == BPF_EXIT
    }

    /// Whether the second operand of this arithmetic operation is `imm`.
    pub fn computes_with_imm(self) -> bool {
        matches!(self.class(), opcode::BPF_ALU | opcode::BPF_ALU64) && self.code & opcode::BPF_X == 0
    }

    /// How many bytes this loads from memory, or stores there, at the distance `off` from a register.
    pub fn access_size(self) -> Option<u32> {
        let bytes = match self.size() {
            opcode::BPF_B => 1,
            opcode::BPF_H => 2,
            opcode::BPF_W => 4,
            _ => 8,
        };
        matches!(self.class(), opcode::BPF_LDX | opcode::BPF_ST | opcode::BPF_STX).then_some(bytes)
    }

    /// Whether this is a plain load from memory.
    pub fn reads(self) -> bool {
        self.class() == opcode::BPF_LDX
    }

    /// Whether this jumps in any case.
    pub fn is_plain_jump(self) -> bool {
        matches!(self.code, JA | JA32)
    }

    /// The same load or store of `bytes` bytes, or `None` where no instruction has as many.
    pub fn with_access_size(self, bytes: u32) -> Option<Self> {
        let size = match bytes {
            1 => opcode::BPF_B,
            2 => opcode::BPF_H,
            4 => opcode::BPF_W,
            8 => opcode::BPF_DW,
            _ => return None,
        };
        self.access_size().map(|_| Self { code: self.code & !SIZE | size, ..self })
    }

    fn class(self) -> u8 {
        self.code & CLASS
    }

    fn operation(self) -> u8 {
        self.code & OPERATION
    }

    fn size(self) -> u8 {
        self.code & SIZE
    }

    fn mode(self) -> u8 {
        self.code & MODE
    }
}

impl fmt::Debug for Insn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_second_half() {
            return write!(f, "second half {:#x}", self.imm);
        }
        let zero = Self { code: 0, dst: 0, src: 0, off: 0, imm: 0 };
        let slots = [*self, zero];
        f.write_str(&disasm::text(if self.is_ld_imm64() { &slots } else { &slots[..1] }))
    }
}

/// The slots of a program. Every 64-bit immediate load in them is whole.
///
/// Fails on a length that is not a multiple of 8, on more slots than any kernel takes (1,000,000), and on a 64-bit
/// immediate load whose second half is missing or something else.
pub fn decode_all(bytes: Bytes<'_>) -> Result<Vec<Insn>> {
    let slots = bytes.data().chunks_exact(BPF_INSN_SIZE);
    let (len, rest) = (slots.len(), slots.remainder().len());
    if len > BPF_MAX_INSNS {
        let message = format!("expected at most {BPF_MAX_INSNS} instructions, found {len}");
        return Err(bytes.error(BPF_MAX_INSNS * BPF_INSN_SIZE, message).with_kind(ErrorKind::Unsupported));
    }
    if rest > 0 {
        let message = format!("expected {BPF_INSN_SIZE} bytes for an instruction, found {rest}");
        return Err(bytes.error(len * BPF_INSN_SIZE, message));
    }
    let mut insns = Vec::with_capacity(len);
    insns.extend(slots.filter_map(<[u8]>::first_chunk).map(|slot| Insn::decode(*slot, bytes.order())));
    check_halves(&insns, bytes)?;
    Ok(insns)
}

/// The bytes of a program.
pub fn encode_all(insns: &[Insn], order: ByteOrder) -> Vec<u8> {
    let mut bytes = vec![0; insns.len() * BPF_INSN_SIZE];
    for (slot, insn) in bytes.chunks_exact_mut(BPF_INSN_SIZE).zip(insns) {
        if let Some(slot) = slot.first_chunk_mut() {
            *slot = insn.encode(order);
        }
    }
    bytes
}

/// The instructions of a program, each with the index of its first slot: one slot, or two for a 64-bit immediate
/// load.
///
/// A load whose second half is missing or something else, which [`decode_all`] never returns, comes as one slot.
pub fn walk(insns: &[Insn]) -> impl Iterator<Item = (usize, &[Insn])> {
    let mut next = 0;
    std::iter::from_fn(move || {
        let (index, rest) = (next, &insns[next..]);
        let len = match rest {
            [] => return None,
            [first, second, ..] if first.is_ld_imm64() && second.is_second_half() => 2,
            _ => 1,
        };
        next += len;
        Some((index, &rest[..len]))
    })
}

/// A number as the two slots of a 64-bit immediate load have it: the lower half first.
pub fn halves(number: u64) -> [i32; 2] {
    let half = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default();
    [number, number >> 32].map(|number| i32::from_ne_bytes(half(number).to_ne_bytes()))
}

fn check_halves(insns: &[Insn], bytes: Bytes<'_>) -> Result<()> {
    let Some((index, _)) = walk(insns).find(|(_, slots)| slots.len() == 1 && slots[0].is_ld_imm64()) else {
        return Ok(());
    };
    let found = match insns.get(index + 1) {
        Some(insn) => format!("`{insn:?}`"),
        None => "the end".to_owned(),
    };
    let (first, second) = (index * BPF_INSN_SIZE, (index + 1) * BPF_INSN_SIZE);
    let wanted = format!("the second half of the 64-bit immediate load at offset {first:#x}");
    Err(bytes.error(second, format!("expected {wanted}, found {found}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];
    const EXIT: Insn = Insn { code: BPF_EXIT, dst: 0, src: 0, off: 0, imm: 0 };
    const LOAD: Insn = Insn { code: BPF_LD_IMM64, dst: 1, src: 1, off: 0, imm: 3 };
    const HALF: Insn = Insn { code: 0, dst: 0, src: 0, off: 0, imm: 7 };

    fn read(insns: &[Insn]) -> Result<Vec<Insn>> {
        let data = encode_all(insns, ByteOrder::Little);
        decode_all(Bytes::new(&data, ByteOrder::Little, &"section `xdp`"))
    }

    fn refusal(data: &[u8]) -> String {
        decode_all(Bytes::new(data, ByteOrder::Big, &"section `xdp`")).unwrap_err().to_string()
    }

    #[test]
    fn the_byte_order_also_orders_the_registers() {
        let store = Insn { code: 0x63, dst: 10, src: 1, off: -4, imm: 0x0102_0304 };
        assert_eq!(store.encode(ByteOrder::Little), [0x63, 0x1a, 0xfc, 0xff, 4, 3, 2, 1]);
        assert_eq!(store.encode(ByteOrder::Big), [0x63, 0xa1, 0xff, 0xfc, 1, 2, 3, 4]);
    }

    #[test]
    fn what_is_decoded_encodes_to_the_same_bytes() {
        for order in ORDERS {
            for pattern in 0..=u16::MAX {
                let [a, b] = pattern.to_le_bytes();
                let bytes = [a, b, !a, b ^ 0x5a, b, a, !b, a ^ 0xc3];
                assert_eq!(Insn::decode(bytes, order).encode(order), bytes);
            }
        }
    }

    #[test]
    fn the_size_of_a_load_or_store_can_be_changed() {
        let load = Insn { code: 0x61, dst: 0, src: 1, off: 4, imm: 0 };
        for (bytes, text) in [(1, "r0 = *(u8 *)(r1 + 0x4)"), (2, "u16"), (4, "u32"), (8, "u64")] {
            let changed = load.with_access_size(bytes).unwrap();
            assert_eq!(changed.access_size(), Some(bytes));
            assert!(format!("{changed:?}").contains(text), "{changed:?}");
        }
        assert_eq!(load.with_access_size(3), None);
        assert_eq!((EXIT.access_size(), EXIT.with_access_size(4)), (None, None));
        let add = Insn { code: 0x07, dst: 1, src: 0, off: 0, imm: 8 };
        assert!(add.computes_with_imm() && !Insn { code: 0x0f, ..add }.computes_with_imm());
        assert!(!load.computes_with_imm() && !EXIT.computes_with_imm());
    }

    #[test]
    fn registers_of_more_than_four_bits_do_not_spill() {
        let insn = Insn { dst: 0x1f, src: 0xff, ..EXIT };
        assert_eq!(insn.encode(ByteOrder::Little)[1], 0xff);
        let insn = Insn { dst: 0xf0, src: 0x10, ..EXIT };
        assert_eq!(ORDERS.map(|order| insn.encode(order)[1]), [0, 0]);
    }

    #[test]
    fn a_program_reads_back_as_it_was_written() {
        let program = [LOAD, HALF, EXIT];
        assert_eq!(read(&program).unwrap(), program);
        assert_eq!(read(&[]).unwrap(), []);
        let slots: Vec<_> = walk(&program).collect();
        assert_eq!(slots, [(0, &program[..2]), (2, &program[2..])]);
    }

    #[test]
    fn part_of_an_instruction_is_refused() {
        let expected = "section `xdp` at offset 0x8: expected 8 bytes for an instruction, found 3";
        assert_eq!(refusal(&[0x95, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]), expected);
    }

    #[test]
    fn half_a_load_is_refused() {
        let place = "section `xdp` at offset 0x10: expected the second half of the 64-bit immediate load";
        let cut = read(&[EXIT, LOAD]).unwrap_err().to_string();
        assert_eq!(cut, format!("{place} at offset 0x8, found the end"));
        let other = read(&[EXIT, LOAD, EXIT]).unwrap_err().to_string();
        assert_eq!(other, format!("{place} at offset 0x8, found `exit`"));
        // The second half of the first load has the opcode of a load too.
        assert!(read(&[LOAD, LOAD, HALF]).is_err());
    }

    #[test]
    fn more_instructions_than_a_kernel_takes_are_refused() {
        let error = read(&vec![EXIT; BPF_MAX_INSNS + 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let expected =
            "section `xdp` at offset 0x7a1200: expected at most 1000000 instructions, found 1000001";
        assert_eq!(error.to_string(), expected);
        assert_eq!(read(&vec![EXIT; BPF_MAX_INSNS]).unwrap().len(), BPF_MAX_INSNS);
    }

    #[test]
    fn calls_are_told_apart() {
        let call = |src, imm| Insn { code: BPF_CALL, src, imm, ..EXIT }.call();
        assert_eq!(call(0, 1), Some(Call::Helper(1)));
        assert_eq!(call(1, -1), Some(Call::Subprogram { offset: -1 }));
        assert_eq!(call(2, 77), Some(Call::Kfunc(77)));
        assert_eq!(call(3, 1), None);
        assert_eq!(Insn { code: CALL_X, dst: 4, ..EXIT }.call(), Some(Call::Callx { register: 4 }));
        assert!(Insn { code: BPF_CALL, src: 3, ..EXIT }.is_call() && !EXIT.is_call() && EXIT.is_exit());
    }

    #[test]
    fn debug_prints_the_disassembly() {
        let lines = format!("{:#?}", [LOAD, HALF, EXIT]);
        assert_eq!(lines, "[\n    r1 = map_by_fd(3) ll,\n    second half 0x7,\n    exit,\n]");
    }
}
