//! Makes one program whole: what its instructions name is found and typed, with maps still symbolic.
//!
//! Joining functions and data sections is for a later version; until then a program that needs them is refused
//! with the symbol, the section and the instruction. Not to be mixed up with the kernel's `bpf_link`.

use crate::error::{Error, ErrorKind, Result, quote};
use crate::insn::Insn;
use crate::object::{MapSpec, Object, ProgramSpec, SymbolReference, SymbolTarget};
use crate::uapi::bpf::{BPF_CALL, BPF_INSN_SIZE, BPF_PSEUDO_CALL, BPF_PSEUDO_MAP_FD};
use crate::uapi::elf::RelocationType;

/// A program that needs nothing but the fds of its maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linked {
    /// The instructions. Those that load a map's address have `src` set to `BPF_PSEUDO_MAP_FD`, and `imm` to 0 in
    /// both halves.
    pub insns: Vec<Insn>,
    /// Where the fds go.
    pub map_references: Vec<MapReference>,
}

/// An instruction whose `imm` is to be the fd of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapReference {
    /// Index of the instruction.
    pub insn: usize,
    /// Index of the map in [`Object::maps`].
    pub map: usize,
}

/// Links `program`, which is one of the programs of `object`.
pub fn link(object: &Object, program: &ProgramSpec) -> Result<Linked> {
    let mut linked = Linked { insns: program.insns.clone(), map_references: Vec::new() };
    for reference in &program.references {
        let map = referenced_map(object, program, reference)?;
        linked.insns[reference.insn].src = BPF_PSEUDO_MAP_FD;
        for half in linked.insns.iter_mut().skip(reference.insn).take(2) {
            half.imm = 0;
        }
        linked.map_references.push(MapReference { insn: reference.insn, map });
    }
    refuse_calls_without_relocation(program, &linked.insns)?;
    Ok(linked)
}

/// The index of the map that `reference` is to.
fn referenced_map(object: &Object, program: &ProgramSpec, reference: &SymbolReference) -> Result<usize> {
    let insn = program.insns[reference.insn];
    let SymbolTarget::Section { name, offset } = &reference.target else {
        return Err(refusal(
            program,
            reference.insn,
            ErrorKind::Unsupported,
            &format!("refers to {}, which this object does not define", quote(&reference.symbol)),
        ));
    };
    if !object.maps.iter().any(|map| map.section == *name) {
        return Err(refuse_other_target(program, reference, name));
    }
    if !insn.is_ld_imm64() || reference.kind != RelocationType::R_BPF_64_64 {
        return Err(refusal(
            program,
            reference.insn,
            ErrorKind::Malformed,
            &format!("expected a 64-bit load for map {}, found `{insn:?}`", quote(&reference.symbol)),
        ));
    }
    let at = addend(program, reference).checked_add_unsigned(*offset);
    let is_target = |map: &MapSpec| map.section == *name && at == i64::try_from(map.offset).ok();
    object.maps.iter().position(is_target).ok_or_else(|| {
        refusal(
            program,
            reference.insn,
            ErrorKind::Malformed,
            &format!(
                "expected a map where {} and its addend point in section {}, found none",
                quote(&reference.symbol),
                quote(name)
            ),
        )
    })
}

/// The addend: `SHT_REL` keeps it in the two halves of the load, the lower 32 bits first.
fn addend(program: &ProgramSpec, reference: &SymbolReference) -> i64 {
    let half = |slot: usize| program.insns.get(reference.insn + slot).map_or(0, |insn| i64::from(insn.imm));
    reference.addend.unwrap_or(half(1) << 32 | half(0) & 0xffff_ffff)
}

#[cold]
fn refuse_other_target(program: &ProgramSpec, reference: &SymbolReference, section: &str) -> Error {
    let insn = program.insns[reference.insn];
    let what = match (insn.code, reference.symbol == section) {
        // A section's own symbol: the compiler names what is local to the file by its place.
        (BPF_CALL, true) => "calls a function".to_owned(),
        (BPF_CALL, false) => format!("calls {}", quote(&reference.symbol)),
        (_, true) => "refers to data".to_owned(),
        (_, false) => format!("refers to {}", quote(&reference.symbol)),
    };
    refusal(
        program,
        reference.insn,
        ErrorKind::Unsupported,
        &format!("{what} in section {}; so far only references to maps are supported", quote(section)),
    )
}

/// Clang resolves a call within a section by itself and leaves no relocation.
fn refuse_calls_without_relocation(program: &ProgramSpec, insns: &[Insn]) -> Result<()> {
    let local_call = |insn: &Insn| insn.code == BPF_CALL && insn.src == BPF_PSEUDO_CALL;
    match insns.iter().position(local_call) {
        None => Ok(()),
        Some(index) => Err(refusal(
            program,
            index,
            ErrorKind::Unsupported,
            &format!(
                "calls a function in section {}; so far only references to maps are supported",
                quote(&program.section)
            ),
        )),
    }
}

/// An error that names the program, the instruction and its place in the file.
#[cold]
fn refusal(program: &ProgramSpec, insn: usize, kind: ErrorKind, message: &str) -> Error {
    Error::new(kind, format!("instruction {insn} of program {}: {message}", quote(&program.name)))
        .at(format!("section {}", quote(&program.section)), program.offset + (insn * BPF_INSN_SIZE) as u64)
}

#[cfg(test)]
mod tests;
