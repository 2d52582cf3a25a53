//! The text of instructions, for people: in the syntax of clang's assembler, as `llvm-objdump -d` prints it.
//!
//! The text says everything that the instruction holds: no two print alike. One that has no text, because its opcode
//! is unknown, there is no such register, or a field that it does not use is not zero, is printed field by field:
//! `.insn code=0xff dst=1 src=0 off=0x0 imm=0x5`.
//!
//! On purpose these differ from `llvm-objdump`:
//! * calls are printed as the verifier's log prints them: a helper by name and id `call bpf_map_lookup_elem#1`, a
//!   function of the program `call pc+0x5`, a kernel function `call kfunc#77`;
//! * a 64-bit immediate load of something by reference names it in the words of RFC 9669, `r1 = map_by_fd(3) ll`,
//!   where `llvm-objdump` has `ld_pseudo`;
//! * jumps carry no label, and a packet load by register shows its `imm`: `r0 = *(u8 *)skb[r1 + 0x2]`;
//! * a plain load or store names the whole register whatever its size (`r1 = *(u8 *)(r2 + 0x0)`), an atomic one of
//!   32 bits the lower half (`w1`): `llvm-objdump` decides that by its `--mcpu`, not by the instruction.

use super::opcode::{
    BPF_ABS, BPF_ADD, BPF_ADDR_SPACE_CAST, BPF_ALU, BPF_ALU64, BPF_AND, BPF_ARSH, BPF_ATOMIC, BPF_B,
    BPF_CMPXCHG, BPF_DIV, BPF_DW, BPF_END, BPF_FETCH, BPF_H, BPF_IND, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JLE,
    BPF_JLT, BPF_JMP32, BPF_JNE, BPF_JSET, BPF_JSGE, BPF_JSGT, BPF_JSLE, BPF_JSLT, BPF_LD, BPF_LDX,
    BPF_LOAD_ACQ, BPF_LSH, BPF_MEM, BPF_MEMSX, BPF_MOD, BPF_MOV, BPF_MUL, BPF_NEG, BPF_OR, BPF_RSH, BPF_ST,
    BPF_STORE_REL, BPF_STX, BPF_SUB, BPF_W, BPF_X, BPF_XCHG, BPF_XOR, CALL_X, JA, JA_X, JA32, MAY_GOTO,
};
use super::{Call, Insn, helpers, walk};
use crate::uapi::bpf::{
    BPF_CALL, BPF_EXIT, BPF_PSEUDO_BTF_ID, BPF_PSEUDO_FUNC, BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_IDX,
    BPF_PSEUDO_MAP_IDX_VALUE, BPF_PSEUDO_MAP_VALUE,
};

/// One instruction of a program with its text.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Where it is in the program: the index of its first slot. A 64-bit immediate load takes two.
    pub index: usize,
    /// Its one or two slots; [`super::encode_all`] gives their bytes.
    pub slots: &'a [Insn],
    /// What it does. A caller that knows more, such as the map behind a relocation, appends it:
    /// ` ; map blacklist`.
    pub text: String,
}

/// The lines of a program, one for each instruction.
pub fn disassemble(insns: &[Insn]) -> impl Iterator<Item = Line<'_>> {
    walk(insns).map(|(index, slots)| Line { index, slots, text: text(slots) })
}

/// The text of one instruction of one or two slots.
pub(super) fn text(slots: &[Insn]) -> String {
    let known = match *slots {
        [insn] => short(insn),
        [first, second] => load_imm64(first, second),
        _ => None,
    };
    known.unwrap_or_else(|| slots.iter().map(raw).collect::<Vec<_>>().join("; "))
}

/// The sign between the operands of the comparison that a conditional jump makes.
fn comparison(operation: u8) -> Option<&'static str> {
    Some(match operation {
        BPF_JEQ => "==",
        BPF_JNE => "!=",
        BPF_JGT => ">",
        BPF_JGE => ">=",
        BPF_JLT => "<",
        BPF_JLE => "<=",
        BPF_JSGT => "s>",
        BPF_JSGE => "s>=",
        BPF_JSLT => "s<",
        BPF_JSLE => "s<=",
        BPF_JSET => "&",
        _ => return None,
    })
}

fn raw(insn: &Insn) -> String {
    let Insn { code, dst, src, off, imm } = *insn;
    format!(".insn code={code:#04x} dst={dst} src={src} off={} imm={}", hex(off), hex(imm))
}

fn short(insn: Insn) -> Option<String> {
    match insn.class() {
        BPF_LD => load_packet(insn),
        BPF_LDX => load(insn),
        BPF_ST => store_imm(insn),
        BPF_STX if insn.mode() == BPF_ATOMIC => atomic(insn),
        BPF_STX => store(insn),
        BPF_ALU | BPF_ALU64 => arithmetic(insn),
        _ => jump(insn),
    }
}

fn load_imm64(first: Insn, second: Insn) -> Option<String> {
    let (low, high) = (first.imm, second.imm);
    let value = match (first.src, high) {
        (0, _) => hex(i64::from(high) << 32 | i64::from(low) & 0xffff_ffff),
        (BPF_PSEUDO_MAP_FD, 0) => format!("map_by_fd({low})"),
        (BPF_PSEUDO_MAP_VALUE, _) => format!("map_val(map_by_fd({low})) + {}", hex(high)),
        (BPF_PSEUDO_BTF_ID, 0) => format!("var_addr({low})"),
        // The second half has the fd of the BTF of the module that the variable is in.
        (BPF_PSEUDO_BTF_ID, _) => format!("var_addr({low}, {high})"),
        (BPF_PSEUDO_FUNC, 0) => format!("code_addr({})", distance(low)),
        (BPF_PSEUDO_MAP_IDX, 0) => format!("map_by_idx({low})"),
        (BPF_PSEUDO_MAP_IDX_VALUE, _) => format!("map_val(map_by_idx({low})) + {}", hex(high)),
        _ => return None,
    };
    let dst = register(first.dst)?;
    (first.off == 0).then(|| format!("{dst} = {value} ll"))
}

/// The loads from a packet that classic BPF had: the result is always in `r0`, and there is none of 64 bits.
fn load_packet(insn: Insn) -> Option<String> {
    let place = match insn.mode() {
        BPF_ABS if insn.src == 0 => hex(insn.imm),
        BPF_IND if insn.imm == 0 => register(insn.src)?,
        BPF_IND => address(insn.src, insn.imm)?,
        _ => return None,
    };
    let sound = insn.size() != BPF_DW && insn.dst == 0 && insn.off == 0;
    sound.then(|| format!("r0 = *(u{} *)skb[{place}]", bits(insn)))
}

fn load(insn: Insn) -> Option<String> {
    let sign = match insn.mode() {
        BPF_MEM => 'u',
        BPF_MEMSX if insn.size() != BPF_DW => 's',
        _ => return None,
    };
    let (dst, place) = (register(insn.dst)?, address(insn.src, insn.off)?);
    (insn.imm == 0).then(|| format!("{dst} = *({sign}{} *)({place})", bits(insn)))
}

fn store_imm(insn: Insn) -> Option<String> {
    let place = target(insn)?;
    (insn.mode() == BPF_MEM && insn.src == 0).then(|| format!("*{place} = {}", hex(insn.imm)))
}

fn store(insn: Insn) -> Option<String> {
    let (place, src) = (target(insn)?, register(insn.src)?);
    (insn.mode() == BPF_MEM && insn.imm == 0).then(|| format!("*{place} = {src}"))
}

fn atomic(insn: Insn) -> Option<String> {
    let width = bits(insn);
    match insn.imm {
        BPF_LOAD_ACQ => {
            let (dst, place) = (sized_register(insn.dst, width)?, address(insn.src, insn.off)?);
            Some(format!("{dst} = load_acquire((u{width} *)({place}))"))
        }
        BPF_STORE_REL => {
            let (place, src) = (target(insn)?, sized_register(insn.src, width)?);
            Some(format!("store_release({place}, {src})"))
        }
        _ if width >= 32 => read_modify_write(insn, width),
        _ => None,
    }
}

fn read_modify_write(insn: Insn, width: u8) -> Option<String> {
    let (place, src) = (address(insn.dst, insn.off)?, sized_register(insn.src, width)?);
    let (typed, r0) = (target(insn)?, sized_register(0, width)?);
    // clang calls those of 32 bits xchg32_32 and cmpxchg32_32.
    let suffix = if width == 32 { "32_32" } else { "_64" };
    Some(match insn.imm {
        BPF_XCHG => format!("{src} = xchg{suffix}({place}, {src})"),
        BPF_CMPXCHG => format!("{r0} = cmpxchg{suffix}({place}, {r0}, {src})"),
        operation => {
            let (name, sign) = atomic_operation(operation & !BPF_FETCH)?;
            match operation & BPF_FETCH {
                0 => format!("lock *{typed} {sign}= {src}"),
                _ => format!("{src} = atomic_fetch_{name}({typed}, {src})"),
            }
        }
    })
}

/// The name and the sign of an atomic operation, which has the bits of the arithmetic one in its `imm`.
fn atomic_operation(imm: i32) -> Option<(&'static str, char)> {
    Some(match u8::try_from(imm).ok()? {
        BPF_ADD => ("add", '+'),
        BPF_OR => ("or", '|'),
        BPF_AND => ("and", '&'),
        BPF_XOR => ("xor", '^'),
        _ => return None,
    })
}

fn arithmetic(insn: Insn) -> Option<String> {
    match (insn.operation(), insn.off) {
        (BPF_NEG, 0) => negation(insn),
        (BPF_END, 0) => byte_swap(insn),
        (BPF_MOV, off) if off != 0 => extending_move(insn),
        (operation, off) => {
            let (dst, src) = (operand_register(insn, insn.dst)?, operand(insn)?);
            Some(format!("{dst} {} {src}", assignment(operation, off)?))
        }
    }
}

/// The sign of an arithmetic instruction with two operands. Signed division (6.6) has 1 in `off`.
fn assignment(operation: u8, off: i16) -> Option<&'static str> {
    Some(match (operation, off) {
        (BPF_DIV, 1) => "s/=",
        (BPF_MOD, 1) => "s%=",
        (_, off) if off != 0 => return None,
        (BPF_MOV, _) => "=",
        (BPF_ADD, _) => "+=",
        (BPF_SUB, _) => "-=",
        (BPF_MUL, _) => "*=",
        (BPF_DIV, _) => "/=",
        (BPF_MOD, _) => "%=",
        (BPF_OR, _) => "|=",
        (BPF_AND, _) => "&=",
        (BPF_XOR, _) => "^=",
        (BPF_LSH, _) => "<<=",
        (BPF_RSH, _) => ">>=",
        (BPF_ARSH, _) => "s>>=",
        _ => return None,
    })
}

fn negation(insn: Insn) -> Option<String> {
    let dst = operand_register(insn, insn.dst)?;
    let sound = insn.code & BPF_X == 0 && insn.src == 0 && insn.imm == 0;
    sound.then(|| format!("{dst} = -{dst}"))
}

/// `be16` and `le16` turn to or from that order, `bswap16` (6.6) always turns; each names the whole register.
fn byte_swap(insn: Insn) -> Option<String> {
    let name = match (insn.class(), insn.code & BPF_X) {
        (BPF_ALU, 0) => "le",
        (BPF_ALU, _) => "be",
        (_, 0) => "bswap",
        _ => return None,
    };
    let dst = register(insn.dst)?;
    (insn.src == 0 && matches!(insn.imm, 16 | 32 | 64)).then(|| format!("{dst} = {name}{} {dst}", insn.imm))
}

fn extending_move(insn: Insn) -> Option<String> {
    let (dst, src) = (operand_register(insn, insn.dst)?, operand_register(insn, insn.src)?);
    let wide = insn.class() == BPF_ALU64;
    match insn.off {
        _ if insn.code & BPF_X == 0 => None,
        BPF_ADDR_SPACE_CAST if wide => {
            let [to_high, to_low, from_high, from_low] = insn.imm.to_be_bytes();
            let to = u16::from_be_bytes([to_high, to_low]);
            let from = u16::from_be_bytes([from_high, from_low]);
            Some(format!("{dst} = addr_space_cast({src}, {to:#x}, {from:#x})"))
        }
        _ if insn.imm != 0 => None,
        8 | 16 => Some(format!("{dst} = (s{}){src}", insn.off)),
        32 if wide => Some(format!("{dst} = (s32){src}")),
        _ => None,
    }
}

fn jump(insn: Insn) -> Option<String> {
    let Insn { code, dst, src, off, imm } = insn;
    match (code, dst, src, off, imm) {
        (JA, 0, 0, _, 0) => Some(format!("goto {}", distance(off))),
        (JA32, 0, 0, 0, _) => Some(format!("gotol {}", distance(imm))),
        (JA_X, _, 0, 0, 0) => Some(format!("gotox {}", register(dst)?)),
        (MAY_GOTO, 0, 0, _, 0) => Some(format!("may_goto {}", distance(off))),
        (BPF_EXIT, 0, 0, 0, 0) => Some("exit".to_owned()),
        (BPF_CALL, 0, _, _, _) | (CALL_X, _, 0, 0, 0) => call(insn),
        _ => conditional_jump(insn),
    }
}

fn conditional_jump(insn: Insn) -> Option<String> {
    let (left, right) = (operand_register(insn, insn.dst)?, operand(insn)?);
    let sign = comparison(insn.operation())?;
    Some(format!("if {left} {sign} {right} goto {}", distance(insn.off)))
}

fn call(insn: Insn) -> Option<String> {
    Some(match (insn.call()?, insn.off) {
        (Call::Kfunc(id), 0) => format!("call kfunc#{id}"),
        // The kernel function is in the module whose BTF is at this place of `fd_array`.
        (Call::Kfunc(id), btf) => format!("call kfunc#{id} btf#{btf}"),
        (_, off) if off != 0 => return None,
        (Call::Helper(id), _) => {
            format!("call {}#{}", helpers::name(id).unwrap_or("unknown"), insn.imm)
        }
        (Call::Subprogram { offset }, _) => format!("call pc{}", distance(offset)),
        (Call::Callx { register: number }, _) => format!("callx {}", register(number)?),
    })
}

/// The second operand of an arithmetic instruction or a comparison.
fn operand(insn: Insn) -> Option<String> {
    match insn.code & BPF_X {
        0 if insn.src == 0 => Some(hex(insn.imm)),
        BPF_X if insn.imm == 0 => operand_register(insn, insn.src),
        _ => None,
    }
}

/// A register of an arithmetic instruction or a comparison, whose class says how much of it takes part.
fn operand_register(insn: Insn, number: u8) -> Option<String> {
    sized_register(number, if matches!(insn.class(), BPF_ALU | BPF_JMP32) { 32 } else { 64 })
}

/// `r1`, or `w1` for its lower 32 bits.
fn sized_register(number: u8, width: u8) -> Option<String> {
    let letter = if width == 64 { 'r' } else { 'w' };
    (number <= 10).then(|| format!("{letter}{number}"))
}

fn register(number: u8) -> Option<String> {
    sized_register(number, 64)
}

/// How many bits a memory access moves.
fn bits(insn: Insn) -> u8 {
    match insn.size() {
        BPF_B => 8,
        BPF_H => 16,
        BPF_W => 32,
        _ => 64,
    }
}

/// Where a store goes, with its type: `(u32 *)(r10 - 0x4)`.
fn target(insn: Insn) -> Option<String> {
    Some(format!("(u{} *)({})", bits(insn), address(insn.dst, insn.off)?))
}

/// `r10 - 0x4`.
fn address(base: u8, offset: impl Into<i64>) -> Option<String> {
    let (base, offset) = (register(base)?, offset.into());
    let sign = if offset < 0 { '-' } else { '+' };
    Some(format!("{base} {sign} {:#x}", offset.unsigned_abs()))
}

/// `0x5` or `-0x5`.
fn hex(number: impl Into<i64>) -> String {
    let number = number.into();
    format!("{}{:#x}", if number < 0 { "-" } else { "" }, number.unsigned_abs())
}

/// `+0x5` or `-0x5`.
fn distance(slots: impl Into<i64>) -> String {
    let slots = slots.into();
    format!("{}{:#x}", if slots < 0 { '-' } else { '+' }, slots.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of an instruction, and its text.
    type Case = (u8, u8, u8, i16, i32, &'static str);

    fn check(cases: &[Case]) {
        for &(code, dst, src, off, imm, expected) in cases {
            assert_eq!(text(&[Insn { code, dst, src, off, imm }]), expected);
        }
    }

    #[test]
    fn arithmetic_names_the_width_by_the_register() {
        check(&[
            (0xbf, 1, 2, 0, 0, "r1 = r2"),
            (0xbc, 1, 2, 0, 0, "w1 = w2"),
            (0xb7, 0, 0, 0, 5, "r0 = 0x5"),
            (0xb4, 10, 0, 0, -1, "w10 = -0x1"),
            (0x0f, 1, 2, 0, 0, "r1 += r2"),
            (0x14, 1, 0, 0, i32::MIN, "w1 -= -0x80000000"),
            (0x27, 1, 0, 0, 3, "r1 *= 0x3"),
            (0x3f, 1, 2, 0, 0, "r1 /= r2"),
            (0x3f, 1, 2, 1, 0, "r1 s/= r2"),
            (0x94, 1, 0, 0, 7, "w1 %= 0x7"),
            (0x94, 1, 0, 1, 7, "w1 s%= 0x7"),
            (0x47, 1, 0, 0, 1, "r1 |= 0x1"),
            (0x5f, 1, 3, 0, 0, "r1 &= r3"),
            (0xa7, 1, 0, 0, i32::MAX, "r1 ^= 0x7fffffff"),
            (0x67, 1, 0, 0, 32, "r1 <<= 0x20"),
            (0x7c, 1, 2, 0, 0, "w1 >>= w2"),
            (0xc7, 1, 0, 0, 3, "r1 s>>= 0x3"),
            (0x87, 1, 0, 0, 0, "r1 = -r1"),
            (0x84, 1, 0, 0, 0, "w1 = -w1"),
        ]);
    }

    #[test]
    fn moves_can_extend_the_sign_and_swaps_name_the_order() {
        check(&[
            (0xbf, 1, 2, 8, 0, "r1 = (s8)r2"),
            (0xbf, 1, 2, 32, 0, "r1 = (s32)r2"),
            (0xbc, 1, 2, 16, 0, "w1 = (s16)w2"),
            (0xbf, 1, 2, 1, 0x1_0000, "r1 = addr_space_cast(r2, 0x1, 0x0)"),
            (0xbf, 1, 2, 1, -0x1_0000, "r1 = addr_space_cast(r2, 0xffff, 0x0)"),
            (0xdc, 1, 0, 0, 16, "r1 = be16 r1"),
            (0xd4, 1, 0, 0, 32, "r1 = le32 r1"),
            (0xd7, 1, 0, 0, 64, "r1 = bswap64 r1"),
        ]);
    }

    #[test]
    fn memory_accesses_say_size_and_offset() {
        check(&[
            (0x71, 1, 2, 0, 0, "r1 = *(u8 *)(r2 + 0x0)"),
            (0x69, 1, 2, 2, 0, "r1 = *(u16 *)(r2 + 0x2)"),
            (0x61, 1, 2, -4, 0, "r1 = *(u32 *)(r2 - 0x4)"),
            (0x79, 1, 10, i16::MIN, 0, "r1 = *(u64 *)(r10 - 0x8000)"),
            (0x91, 1, 2, 0, 0, "r1 = *(s8 *)(r2 + 0x0)"),
            (0x81, 1, 2, 0, 0, "r1 = *(s32 *)(r2 + 0x0)"),
            (0x73, 2, 1, 0, 0, "*(u8 *)(r2 + 0x0) = r1"),
            (0x7b, 10, 1, -8, 0, "*(u64 *)(r10 - 0x8) = r1"),
            (0x6a, 2, 0, 2, -1, "*(u16 *)(r2 + 0x2) = -0x1"),
            (0x30, 0, 0, 0, 4, "r0 = *(u8 *)skb[0x4]"),
            (0x48, 0, 7, 0, 0, "r0 = *(u16 *)skb[r7]"),
            (0x40, 0, 7, 0, -2, "r0 = *(u32 *)skb[r7 - 0x2]"),
        ]);
    }

    #[test]
    fn atomics_name_the_half_register() {
        check(&[
            (0xc3, 2, 1, 0, 0x00, "lock *(u32 *)(r2 + 0x0) += w1"),
            (0xdb, 2, 1, 0, 0xa0, "lock *(u64 *)(r2 + 0x0) ^= r1"),
            (0xdb, 2, 1, 0, 0x01, "r1 = atomic_fetch_add((u64 *)(r2 + 0x0), r1)"),
            (0xc3, 2, 1, -8, 0x41, "w1 = atomic_fetch_or((u32 *)(r2 - 0x8), w1)"),
            (0xdb, 2, 1, 0, 0x51, "r1 = atomic_fetch_and((u64 *)(r2 + 0x0), r1)"),
            (0xdb, 2, 1, 8, 0xe1, "r1 = xchg_64(r2 + 0x8, r1)"),
            (0xc3, 2, 1, 8, 0xe1, "w1 = xchg32_32(r2 + 0x8, w1)"),
            (0xdb, 2, 1, 8, 0xf1, "r0 = cmpxchg_64(r2 + 0x8, r0, r1)"),
            (0xc3, 2, 1, 8, 0xf1, "w0 = cmpxchg32_32(r2 + 0x8, w0, w1)"),
            (0xd3, 2, 1, 0, 0x100, "w2 = load_acquire((u8 *)(r1 + 0x0))"),
            (0xdb, 2, 1, -8, 0x100, "r2 = load_acquire((u64 *)(r1 - 0x8))"),
            (0xcb, 2, 1, 0, 0x110, "store_release((u16 *)(r2 + 0x0), w1)"),
        ]);
    }

    #[test]
    fn jumps_and_calls() {
        check(&[
            (0x05, 0, 0, 5, 0, "goto +0x5"),
            (0x05, 0, 0, -2, 0, "goto -0x2"),
            (0x06, 0, 0, 0, -70_000, "gotol -0x11170"),
            (0x0d, 3, 0, 0, 0, "gotox r3"),
            (0xe5, 0, 0, 3, 0, "may_goto +0x3"),
            (0x1d, 1, 2, 1, 0, "if r1 == r2 goto +0x1"),
            (0x55, 1, 0, -1, 3, "if r1 != 0x3 goto -0x1"),
            (0x75, 1, 0, 1, -4, "if r1 s>= -0x4 goto +0x1"),
            (0xae, 1, 2, 1, 0, "if w1 < w2 goto +0x1"),
            (0x46, 1, 0, 1, 7, "if w1 & 0x7 goto +0x1"),
            (0x85, 0, 0, 0, 1, "call bpf_map_lookup_elem#1"),
            (0x85, 0, 0, 0, -1, "call unknown#-1"),
            (0x85, 0, 1, 0, -3, "call pc-0x3"),
            (0x85, 0, 2, 0, 77, "call kfunc#77"),
            (0x85, 0, 2, 1, 77, "call kfunc#77 btf#1"),
            (0x8d, 4, 0, 0, 0, "callx r4"),
            (0x95, 0, 0, 0, 0, "exit"),
        ]);
    }

    #[test]
    fn what_has_no_text_is_printed_field_by_field() {
        check(&[
            (0xff, 1, 0, 0, 5, ".insn code=0xff dst=1 src=0 off=0x0 imm=0x5"),
            (0x95, 0, 0, 0, -1, ".insn code=0x95 dst=0 src=0 off=0x0 imm=-0x1"),
            (0xbf, 11, 2, 0, 0, ".insn code=0xbf dst=11 src=2 off=0x0 imm=0x0"),
            (0x0f, 1, 2, 1, 0, ".insn code=0x0f dst=1 src=2 off=0x1 imm=0x0"),
            (0xd3, 2, 1, -1, 0, ".insn code=0xd3 dst=2 src=1 off=-0x1 imm=0x0"),
            (0x85, 0, 3, 0, 1, ".insn code=0x85 dst=0 src=3 off=0x0 imm=0x1"),
        ]);
    }

    #[test]
    fn a_64_bit_load_is_one_line_that_says_what_it_refers_to() {
        let cases = [
            (0, 0x5566_7788, 0x1122_3344, "r1 = 0x1122334455667788 ll"),
            (0, -1, 0, "r1 = 0xffffffff ll"),
            (0, -1, -1, "r1 = -0x1 ll"),
            (1, 3, 0, "r1 = map_by_fd(3) ll"),
            (2, 3, 16, "r1 = map_val(map_by_fd(3)) + 0x10 ll"),
            (3, 9, 0, "r1 = var_addr(9) ll"),
            (3, 9, 4, "r1 = var_addr(9, 4) ll"),
            (4, -5, 0, "r1 = code_addr(-0x5) ll"),
            (5, 1, 0, "r1 = map_by_idx(1) ll"),
            (6, 1, 8, "r1 = map_val(map_by_idx(1)) + 0x8 ll"),
        ];
        for (src, low, high, expected) in cases {
            let first = Insn { code: 0x18, dst: 1, src, off: 0, imm: low };
            let second = Insn { code: 0, dst: 0, src: 0, off: 0, imm: high };
            assert_eq!(text(&[first, second]), expected);
        }
    }

    #[test]
    fn lines_count_slots() {
        let exit = Insn { code: 0x95, dst: 0, src: 0, off: 0, imm: 0 };
        let load = Insn { code: 0x18, dst: 1, ..exit };
        let half = Insn { code: 0, imm: 1, ..exit };
        let odd = Insn { src: 7, ..load };
        let program = [load, half, odd, half, exit, load];
        let lines: Vec<_> =
            disassemble(&program).map(|line| (line.index, line.slots.len(), line.text)).collect();
        let raw = |code, dst, src, imm| format!(".insn code={code} dst={dst} src={src} off=0x0 imm={imm}");
        assert_eq!(
            lines,
            [
                (0, 2, "r1 = 0x100000000 ll".to_owned()),
                (2, 2, raw("0x18", 1, 7, "0x0") + "; " + &raw("0x00", 0, 0, "0x1")),
                (4, 1, "exit".to_owned()),
                (5, 1, raw("0x18", 1, 0, "0x0")),
            ]
        );
    }
}
