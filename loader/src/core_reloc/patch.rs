//! Puts a number into an instruction, or makes the instruction one that must not be reached.

use crate::error::{Error, ErrorKind, Result};
use crate::insn::{Insn, halves};
use crate::uapi::bpf::BPF_CALL;

/// The helper that a call names which must not be reached: 0xbad2310, "bad relo". No kernel has so many. libbpf
/// uses the same, and so the tags of programs agree.
pub const BAD_RELOCATION: i32 = 0x0bad_2310;

/// A number to be put into an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// What the compiler has put there, if that is known.
    pub(super) before: Option<u64>,
    pub(super) after: u64,
    /// How many bytes a load or store is to have, when that has changed.
    pub(super) resize: Option<Resize>,
}

/// A field has another size than the program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resize {
    /// A load or store of so many bytes becomes one of so many.
    FromTo(u32, u32),
    /// What is read would be another number than the program means.
    Impossible,
}

/// The number that the instruction holds now, where a relocation would put one.
pub(super) fn number(insns: &[Insn]) -> Option<u64> {
    match insns {
        [insn, ..] if insn.computes_with_imm() => Some(sign_extended(insn.imm)),
        [insn, ..] if insn.access_size().is_some() => Some(sign_extended(insn.off)),
        [first, second, ..] if first.is_ld_imm64() && first.src == 0 && second.is_second_half() => {
            let [low, high] =
                [first.imm, second.imm].map(|half| u64::from(u32::from_ne_bytes(half.to_ne_bytes())));
            Some(high << 32 | low)
        }
        _ => None,
    }
}

/// Carries out `change` on the instruction that `insns` begins with. False when it must not be reached instead.
pub(super) fn patch(insns: &mut [Insn], change: &Change) -> Result<bool> {
    let found = number(insns).ok_or_else(|| {
        let insn = insns.first().map(|insn| format!("`{insn:?}`")).unwrap_or_default();
        bad(format!("expected an instruction with an immediate number, or a load or store, found {insn}"))
    })?;
    if let Some(before) = change.before {
        // Of a number that is as wide as a half, nothing tells the sign.
        let same_half = found >> 32 == u64::from(u32::MAX) && insns[0].computes_with_imm();
        if found != before && !(same_half && found & u64::from(u32::MAX) == before) {
            return Err(bad(format!(
                "expected {before} in `{:?}`, found {}",
                insns[0],
                i64::from_ne_bytes(found.to_ne_bytes())
            )));
        }
    }
    match insns {
        [insn, ..] if insn.computes_with_imm() => {
            insn.imm = half(change.after).ok_or_else(|| too_big(change.after, "an immediate number"))?;
        }
        [first, second, ..] if first.is_ld_imm64() => {
            [first.imm, second.imm] = halves(change.after);
        }
        [insn, ..] => {
            insn.off = i16::try_from(change.after).map_err(|_| too_big(change.after, "an offset"))?;
            return resize(insn, change.resize);
        }
        [] => {}
    }
    Ok(true)
}

fn resize(insn: &mut Insn, resize: Option<Resize>) -> Result<bool> {
    let (from, to) = match resize {
        None => return Ok(true),
        Some(Resize::Impossible) => return Ok(false),
        Some(Resize::FromTo(from, to)) => (from, to),
    };
    if insn.access_size() != Some(from) {
        return Err(bad(format!("expected a load or store of {from} bytes, found `{insn:?}`")));
    }
    let resized = insn.with_access_size(to);
    *insn = resized.ok_or_else(|| bad(format!("expected a field of 1, 2, 4 or 8 bytes, found {to}")))?;
    Ok(true)
}

/// Makes the instruction that `insns` begins with a call that no verifier lets pass where it can be reached, and
/// both halves of a load.
pub(super) fn poison(insns: &mut [Insn]) {
    let halves = if insns.first().is_some_and(|insn| insn.is_ld_imm64()) { 2 } else { 1 };
    for insn in insns.iter_mut().take(halves) {
        *insn = Insn { code: BPF_CALL, dst: 0, src: 0, off: 0, imm: BAD_RELOCATION };
    }
}

fn sign_extended(number: impl Into<i64>) -> u64 {
    u64::from_ne_bytes(number.into().to_ne_bytes())
}

/// A number as an immediate of 32 bits, signed or not.
fn half(number: u64) -> Option<i32> {
    let unsigned = u32::try_from(number).map(|number| i32::from_ne_bytes(number.to_ne_bytes())).ok();
    unsigned.or_else(|| i32::try_from(i64::from_ne_bytes(number.to_ne_bytes())).ok())
}

#[cold]
fn too_big(number: u64, place: &str) -> Error {
    bad(format!("expected a number that {place} has room for, found {number}"))
}

#[cold]
fn bad(message: String) -> Error {
    Error::new(ErrorKind::Malformed, message)
}
