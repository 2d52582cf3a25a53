//! Recognises an object whose relocations were stripped away, before the kernel wonders about its loads of nothing.

use super::{Linker, byte_offset};
use crate::btf::CoreRelocation;
use crate::error::{Error, ErrorKind, Result};
use crate::insn::Insn;
use crate::object::{Callee, FunctionSpec, Object};
use crate::uapi::bpf::BPF_INSN_SIZE;

/// How not to lose them.
const HELP: &str = "the file has lost its relocations; strip it with `llvm-strip -g`, which keeps them";

/// The same of its symbols (`llvm-strip --strip-unneeded`).
const SYMBOLS: &str =
    "the file has lost the symbols of its functions; strip it with `llvm-strip -g`, which keeps them";

/// Whether no instruction of the object names a symbol.
pub(super) fn has_none(object: &Object) -> bool {
    object.code().all(|function| function.references.is_empty())
}

impl Linker<'_> {
    /// Refuses a load in 64 bits of what fits in 32, in an object with something to name and without relocations.
    ///
    /// Compilers write such a load for a symbol's address, which a relocation then names, and for a number that
    /// depends on the kernel's types.
    pub(super) fn refuse_stripped(&self, function: &FunctionSpec) -> Result<()> {
        if !self.is_unrelocated || self.maps.is_empty() && self.data.is_empty() {
            return Ok(());
        }
        let is_short = |insns: &[Insn]| insns[0].src == 0 && insns[1].imm == insns[0].imm >> 31;
        let place = |it: &CoreRelocation| it.offset as usize / BPF_INSN_SIZE;
        let by_types = |at: usize| function.info.relocations.binary_search_by_key(&at, place).is_ok();
        let mut pairs = function.insns.windows(2).enumerate().filter(|(_, pair)| pair[0].is_ld_imm64());
        match pairs.find(|(at, pair)| is_short(pair) && !by_types(*at)) {
            None => Ok(()),
            Some((at, _)) => {
                let load = function.insns[at];
                let message = format!("expected a relocation for `{load:?}`, found none in the whole object");
                Err(self.refusal(function, at, ErrorKind::Malformed, &message).with_help(HELP))
            }
        }
    }

    /// Says so where that is why a call leads nowhere: without its relocation, a call by symbol calls itself. One by a
    /// section's own symbol, or by its distance alone, is to a function of it, which had a symbol when the compiler was
    /// done.
    pub(super) fn explain_call(&self, function: &FunctionSpec, callee: Callee<'_>, error: Error) -> Error {
        let reference = function.reference(callee.insn);
        if reference.is_some_and(|reference| reference.symbol == callee.section) {
            return error.with_help(SYMBOLS);
        }
        let calls = function.callees().filter(|callee| function.reference(callee.insn).is_none());
        let lost = calls.filter(|callee| function.insns[callee.insn].imm == -1).count();
        if lost > 0 && self.is_unrelocated {
            return error.with_help(HELP);
        }
        let is_between = reference.is_none()
            && callee.offset.is_some_and(|offset| {
                !self.functions.values().any(|other| {
                    let (section, start) = other.place();
                    let within = offset
                        .checked_sub(start)
                        .is_some_and(|at| at < u64::from(byte_offset(other.insns.len())));
                    section == callee.section && within
                })
            });
        if is_between { error.with_help(SYMBOLS) } else { error }
    }
}
