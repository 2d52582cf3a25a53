//! References to externs: what a program takes from the kernel, found by name.

use super::{ExternReference, Linker, MapReference, References, Referent};
use crate::error::{ErrorKind, Result, quote};
use crate::insn::Insn;
use crate::object::{ExternKind, FunctionSpec, SymbolReference};
use crate::uapi::bpf::{BPF_CALL, BPF_PSEUDO_CALL, BPF_PSEUDO_KFUNC_CALL, BPF_PSEUDO_MAP_VALUE};
use crate::uapi::elf::RelocationType;

/// What may be meant by a name that is nowhere.
const UNDEFINED: &str = "if another file defines it, join them: bpftool gen object ALL.o A.o B.o; \
                         if the kernel does, declare it with `__ksym`";

impl Linker<'_> {
    /// Resolves a reference to a symbol that is nowhere in the object: it must be an extern.
    pub(super) fn external(
        &self,
        function: &FunctionSpec,
        reference: &SymbolReference,
        insns: &mut [Insn],
        references: &mut References,
    ) -> Result<()> {
        let refusal = |kind, message: &str| self.refusal(function, reference.insn, kind, message);
        let symbol = quote(&reference.symbol);
        let undefined = || {
            if self.has_types {
                let message = format!("refers to {symbol}, which this object does not define");
                return refusal(ErrorKind::Unsupported, &message).with_help(UNDEFINED);
            }
            let message =
                format!("refers to {symbol}, which is extern, and without BTF nothing says what it is");
            refusal(ErrorKind::Unsupported, &message)
                .with_help("compile with `clang -g`, and strip with `llvm-strip -g`, which keeps BTF")
        };
        let &(external, spec) = self.externs.get(&reference.symbol).ok_or_else(undefined)?;
        let insn = function.insns[reference.insn];
        let is_function = matches!(spec.kind, ExternKind::Function(_));
        let is_call = insn.code == BPF_CALL && insn.src == BPF_PSEUDO_CALL && insn.imm == -1;
        let is_load = insn.is_ld_imm64() && function.load_addend(reference.insn) == 0;
        let fits = match reference.kind {
            RelocationType::R_BPF_64_32 => is_call && is_function,
            RelocationType::R_BPF_64_64 => is_load,
            _ => false,
        };
        if !fits || reference.addend.is_some_and(|addend| addend != 0) {
            let form = if is_function { "a call or a 64-bit load" } else { "a 64-bit load" };
            let message = format!("expected {form} without an addend for extern {symbol}, found `{insn:?}`");
            return Err(refusal(ErrorKind::Malformed, &message));
        }
        let insn = &mut insns[reference.insn];
        match spec.kind {
            ExternKind::Function(_) if is_call => (insn.src, insn.imm) = (BPF_PSEUDO_KFUNC_CALL, 0),
            ExternKind::Option(option) => {
                insn.src = BPF_PSEUDO_MAP_VALUE;
                insns[reference.insn + 1].imm = i32::from_ne_bytes(option.offset.to_ne_bytes());
                let map = Referent::Data(self.kconfig.ok_or_else(undefined)?);
                references.maps.push(MapReference { insn: reference.insn, map });
            }
            _ => {}
        }
        references.externs.push(ExternReference { insn: reference.insn, external });
        Ok(())
    }
}
