//! Joins to a program the functions that it reaches, and points its calls to them.

use std::collections::BTreeMap;

use super::{Linked, LinkedFunction, Linker, byte_offset};
use crate::btf::{CoreRelocation, LineInfo};
use crate::error::{Error, ErrorKind, Result, quote};
use crate::insn::Insn;
use crate::object::{Callee, FunctionSpec, SymbolTarget};
use crate::uapi::bpf::{BPF_CALL, BPF_MAX_INSNS, BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC};
use crate::uapi::elf::RelocationType;

/// Joins to `program` what it reaches.
pub(super) fn join<'o>(linker: &Linker<'o>, program: &'o FunctionSpec) -> Result<Linked> {
    let mut joined = Joined { linker, linked: Linked::default(), starts: BTreeMap::new() };
    joined.append_with_callees(program)?;
    if let Some(callback) = linker.exceptions.of(program)? {
        joined.linked.has_exception_callback = true;
        // One that is called too is there already, and the kernel will refuse it.
        if !joined.starts.contains_key(&callback.place()) {
            joined.append_with_callees(callback)?;
        }
    }
    Ok(joined.linked)
}

/// A program with the functions that have been appended so far.
struct Joined<'l, 'o> {
    linker: &'l Linker<'o>,
    linked: Linked,
    /// Where each function begins, by its place in the object.
    starts: BTreeMap<(&'o str, u64), usize>,
}

/// A function whose calls are being followed.
struct Open<'o> {
    function: &'o FunctionSpec,
    start: usize,
    callees: Box<dyn Iterator<Item = Callee<'o>> + 'o>,
}

impl<'o> Joined<'_, 'o> {
    /// Appends `function` and all functions that it reaches and that are not there yet.
    fn append_with_callees(&mut self, function: &'o FunctionSpec) -> Result<()> {
        // Functions whose calls are being followed, the innermost last: a stack of our own, since how deep calls go is
        // the file's choice. One that calls itself is there already, and the kernel will refuse it.
        let mut open = vec![self.append(function)?];
        while let Some(Open { function, start, callees }) = open.last_mut() {
            let (function, start) = (*function, *start);
            let Some(callee) = callees.next() else {
                open.pop();
                continue;
            };
            let target = self.linker.function(function, callee)?;
            let known = self.starts.get(&target.place()).copied();
            let target_start = known.unwrap_or(self.linked.insns.len());
            if known.is_none() {
                open.push(self.append(target)?);
            }
            point(&mut self.linked.insns, start + callee.insn, target_start);
        }
        Ok(())
    }

    /// Appends `function` with all that it names resolved but functions.
    fn append(&mut self, function: &'o FunctionSpec) -> Result<Open<'o>> {
        self.linker.refuse_other_references(function)?;
        self.linker.refuse_stripped(function)?;
        let Linked { insns, map_references, externs, functions, lines, relocations, .. } = &mut self.linked;
        let start = insns.len();
        if start + function.insns.len() > BPF_MAX_INSNS {
            let message = format!(
                "expected at most {BPF_MAX_INSNS} instructions in a program with all its functions, \
                 found more with function {}",
                quote(&function.name)
            );
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        insns.extend_from_slice(&function.insns);
        let references = self.linker.resolve(function, &mut insns[start..])?;
        map_references.extend(references.maps.into_iter().map(|mut reference| {
            reference.insn += start;
            reference
        }));
        externs.extend(references.externs.into_iter().map(|mut reference| {
            reference.insn += start;
            reference
        }));
        functions.push(LinkedFunction {
            start,
            name: function.name.clone(),
            section: function.section.clone(),
            offset: function.offset,
            ty: function.info.ty,
        });
        let base = byte_offset(start);
        lines.extend(function.info.lines.iter().map(|line| LineInfo { offset: base + line.offset, ..*line }));
        relocations.extend(
            function.info.relocations.iter().map(|it| CoreRelocation { offset: base + it.offset, ..*it }),
        );
        self.starts.insert(function.place(), start);
        Ok(Open { function, start, callees: Box::new(function.callees()) })
    }
}

impl<'o> Linker<'o> {
    /// The function that an instruction of `caller` names.
    fn function(&self, caller: &FunctionSpec, callee: Callee<'_>) -> Result<&'o FunctionSpec> {
        let found = callee.offset.and_then(|offset| self.functions.get((callee.section, offset)));
        found.copied().ok_or_else(|| {
            let section = quote(callee.section);
            let message = match caller.reference(callee.insn) {
                Some(reference) => format!(
                    "expected a function where {} and its addend point in section {section}, found none",
                    quote(&reference.symbol)
                ),
                None => {
                    format!("expected a call of a function in section {section}, found none where it points")
                }
            };
            let error = self.refusal(caller, callee.insn, ErrorKind::Malformed, &message);
            self.explain_call(caller, callee, error)
        })
    }

    /// Refuses references to code by what is neither a call nor a load of an address, as LLVM writes them.
    fn refuse_other_references(&self, function: &FunctionSpec) -> Result<()> {
        for reference in &function.references {
            let SymbolTarget::Code { .. } = reference.target else { continue };
            let insn = function.insns[reference.insn];
            let symbol = quote(&reference.symbol);
            let call = insn.code == BPF_CALL && insn.src == BPF_PSEUDO_CALL;
            let fits = match reference.kind {
                RelocationType::R_BPF_64_32 => call,
                RelocationType::R_BPF_64_64 => insn.is_ld_imm64(),
                _ => false,
            };
            let message = if !fits {
                format!("expected a call or a 64-bit load for function {symbol}, found `{insn:?}`")
            } else if reference.addend.is_some() {
                format!(
                    "expected the addend for function {symbol} in the instruction (SHT_REL), found SHT_RELA"
                )
            } else {
                continue;
            };
            return Err(self.refusal(function, reference.insn, ErrorKind::Malformed, &message));
        }
        Ok(())
    }
}

/// Makes the instruction `insn` name the function that begins at `target`.
fn point(insns: &mut [Insn], insn: usize, target: usize) {
    // Both are below a million.
    let distance = i32::try_from(target).unwrap_or(i32::MAX) - i32::try_from(insn).unwrap_or(0) - 1;
    insns[insn].imm = distance;
    if insns[insn].is_ld_imm64() {
        insns[insn].src = BPF_PSEUDO_FUNC;
        insns[insn + 1].imm = 0;
    }
}
