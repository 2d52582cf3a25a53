//! Makes one program whole: the functions that it reaches are joined to it, and what its instructions name is found
//! and typed, with maps still symbolic.
//!
//! Not to be mixed up with the kernel's `bpf_link`.

mod exceptions;
mod externs;
mod join;
mod stripped;

use std::ptr;

use self::exceptions::Exceptions;
use crate::btf::{CoreRelocation, FuncInfo, LineInfo, TypeId};
use crate::error::{Error, ErrorKind, Result, quote};
use crate::insn::Insn;
use crate::object::{
    DataKind, DataSpec, ExternSpec, FunctionSpec, Object, ProgramSpec, SymbolReference, SymbolTarget,
};
use crate::order::{InOrder as _, Lookup};
use crate::uapi::bpf::{BPF_INSN_SIZE, BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE};
use crate::uapi::elf::RelocationType;

/// A program that needs nothing but the fds of its maps and what it takes from the kernel.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Linked {
    /// The instructions. Those that load a map's address have `src` set to `BPF_PSEUDO_MAP_FD`, and `imm` to 0 in
    /// both halves; those that load a variable's, to `BPF_PSEUDO_MAP_VALUE`, and the second `imm` to its place.
    pub insns: Vec<Insn>,
    /// Where the fds go.
    pub map_references: Vec<MapReference>,
    /// Where it names what it takes from the kernel.
    pub externs: Vec<ExternReference>,
    /// The functions, in their order: the program itself is the first.
    pub functions: Vec<LinkedFunction>,
    /// Which lines of source the instructions come from, in their order; offsets in bytes from the first instruction.
    pub lines: Vec<LineInfo>,
    /// Which instructions depend on types of the kernel, in their order; offsets as above. They are as the compiler
    /// wrote them: [`core_reloc`](crate::core_reloc) adapts them.
    pub relocations: Vec<CoreRelocation>,
    /// Whether one of the functions is where it goes on when it throws. The kernel finds that by [`Self::func_info`]
    /// and the object's BTF alone; without them it is another program.
    pub has_exception_callback: bool,
}

impl Linked {
    /// How much of it there is: the instructions, with what is kept beside them counted as so many instructions.
    pub fn weight(&self) -> usize {
        let names = self.functions.iter().map(|function| function.name.len() + function.section.len());
        // What a relocation is about is put into words.
        self.insns.len()
            + self.lines.len()
            + 8 * self.relocations.len()
            + names.sum::<usize>() / BPF_INSN_SIZE
    }

    /// An error about the instruction `insn`, which names the program or function and the place in the file.
    pub fn error_at(&self, insn: usize, error: Error) -> Error {
        let index = self.functions.partition_point(|function| function.start <= insn);
        let Some(function) = index.checked_sub(1).map(|index| &self.functions[index]) else { return error };
        let noun = if index == 1 { "program" } else { "function" };
        let insn = insn - function.start;
        let place = format!("section {}", quote(&function.section));
        // What is wrong with the kernel's types has its place there.
        let error = match error.place() {
            Some(_) => error,
            None => error.at(place, function.offset + (insn * BPF_INSN_SIZE) as u64),
        };
        error.context(format!("instruction {insn} of {noun} {}", quote(&function.name)))
    }

    /// What the kernel is told of the functions (`func_info`), if the compiler has described every one of them: it
    /// takes all or none.
    pub fn func_info(&self) -> Option<Vec<FuncInfo>> {
        let info = |function: &LinkedFunction| {
            Some(FuncInfo { offset: byte_offset(function.start), ty: function.ty? })
        };
        self.functions.iter().map(info).collect()
    }

    /// What the kernel is told of the lines (`line_info`): it takes them only if each function begins with one.
    pub fn line_info(&self) -> Option<&[LineInfo]> {
        let begins = |function: &LinkedFunction| {
            let start = byte_offset(function.start);
            self.lines.binary_search_by_key(&start, |line| line.offset).is_ok()
        };
        self.functions.iter().all(begins).then_some(&self.lines)
    }
}

/// The place of an instruction in bytes. Programs end at a million instructions.
fn byte_offset(insn: usize) -> u32 {
    u32::try_from(insn * BPF_INSN_SIZE).unwrap_or(u32::MAX)
}

/// An instruction whose `imm` is to be the fd of a map.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapReference {
    /// Index of the instruction.
    pub insn: usize,
    /// The map.
    pub map: Referent,
}

/// An instruction that names an extern. One that names an option refers to the map `.kconfig` as well, and is
/// whole; a load of an address and a call have 0 in `imm`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExternReference {
    /// Index of the instruction.
    pub insn: usize,
    /// Index in [`Object::externs`].
    pub external: usize,
}

/// The map that an instruction refers to.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referent {
    /// Index in [`Object::maps`].
    Map(usize),
    /// Index in [`Object::data`]: a section of global variables, which becomes a map.
    Data(usize),
}

/// Where a function has come to be.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkedFunction {
    /// Index of its first instruction in [`Linked::insns`].
    pub start: usize,
    /// Its symbol.
    pub name: String,
    /// The section it is from.
    pub section: String,
    /// Where it begins there, in bytes.
    pub offset: u64,
    /// What the compiler says of it, a `BTF_KIND_FUNC` of [`Object::btf`].
    pub ty: Option<TypeId>,
}

/// Links the programs of one object.
#[derive(Debug)]
pub struct Linker<'o> {
    programs: &'o [ProgramSpec],
    /// Programs and functions by section and offset.
    functions: Lookup<(&'o str, u64), &'o FunctionSpec>,
    /// Indices of maps by section and offset.
    maps: Lookup<(&'o str, u64), usize>,
    /// Sections of global variables, with their indices.
    data: Lookup<&'o str, (usize, &'o DataSpec)>,
    /// The index of the map of options in [`Object::data`].
    kconfig: Option<usize>,
    /// Externs by name, with their indices.
    externs: Lookup<&'o str, (usize, &'o ExternSpec)>,
    exceptions: Exceptions<'o>,
    /// Whether the object has types, without which it has no externs.
    has_types: bool,
    /// Whether no instruction of the object has a relocation.
    is_unrelocated: bool,
}

/// What the instructions of one function refer to.
#[derive(Debug, Default)]
struct References {
    maps: Vec<MapReference>,
    externs: Vec<ExternReference>,
}

impl<'o> Linker<'o> {
    /// Sorts what is in `object` by its place.
    pub fn new(object: &'o Object) -> Self {
        let maps = object.maps.iter().enumerate();
        let (kconfig, data): (Vec<_>, Vec<_>) =
            object.data.iter().enumerate().partition(|(_, data)| data.kind == DataKind::Kconfig);
        let externs = object.externs.iter().enumerate();
        Self {
            programs: &object.programs,
            functions: object.code().map(|function| (function.place(), function)).into_lookup(),
            maps: maps.map(|(index, map)| ((&*map.section, map.offset), index)).into_lookup(),
            data: data.into_iter().map(|(index, data)| (&*data.section, (index, data))).into_lookup(),
            kconfig: kconfig.first().map(|(index, _)| *index),
            externs: externs.map(|(index, external)| (&*external.name, (index, external))).into_lookup(),
            exceptions: Exceptions::new(object),
            has_types: object.btf.is_some(),
            is_unrelocated: stripped::has_none(object),
        }
    }

    /// Links `program`, which is one of the programs of the object.
    ///
    /// The functions follow it in the order in which libbpf appends them (`bpf_object__reloc_code()`), each once:
    /// that of the first call, and after each function those that it calls first; at the end the exception callback,
    /// and what that calls. The kernel's tag of a program depends on their order.
    pub fn link(&self, program: &'o ProgramSpec) -> Result<Linked> {
        join::join(self, &program.function)
    }

    /// Resolves what `function` names other than functions, in its instructions `insns`.
    fn resolve(&self, function: &FunctionSpec, insns: &mut [Insn]) -> Result<References> {
        let mut references = References::default();
        for reference in &function.references {
            match &reference.target {
                SymbolTarget::Section { name, offset } => {
                    let (map, src, place) = self.referent(function, reference, name, *offset)?;
                    // The reader of instructions has seen to it that a load is whole.
                    let [first, second] = &mut insns[reference.insn..reference.insn + 2] else { continue };
                    (first.src, first.imm, second.imm) = (src, 0, place);
                    references.maps.push(MapReference { insn: reference.insn, map });
                }
                SymbolTarget::Code { .. } => {}
                SymbolTarget::Common => return Err(self.common(function, reference)),
                SymbolTarget::Nowhere => self.external(function, reference, insns, &mut references)?,
            }
        }
        Ok(references)
    }

    /// What `reference` is to, by a symbol at `offset` of `section`: the map, `src` and the second `imm` of its load.
    fn referent(
        &self,
        function: &FunctionSpec,
        reference: &SymbolReference,
        section: &str,
        offset: u64,
    ) -> Result<(Referent, u8, i32)> {
        let refusal = |kind, message: &str| self.refusal(function, reference.insn, kind, message);
        let symbol = quote(&reference.symbol);
        let data = self.data.get(section);
        let holds_maps = || self.maps.first_from((section, 0)).is_some_and(|((own, _), _)| *own == section);
        if data.is_none() && !holds_maps() {
            return Err(refusal(ErrorKind::Unsupported, &other_target(reference, section)));
        }
        let (insn, noun) = (function.insns[reference.insn], if data.is_some() { "variable" } else { "map" });
        if !insn.is_ld_imm64() || reference.kind != RelocationType::R_BPF_64_64 {
            let message = format!("expected a 64-bit load for {noun} {symbol}, found `{insn:?}`");
            return Err(refusal(ErrorKind::Malformed, &message));
        }
        if data.is_some() && reference.addend.is_some() {
            let message = format!(
                "expected the addend for variable {symbol} in the instruction (SHT_REL), found SHT_RELA"
            );
            return Err(refusal(ErrorKind::Malformed, &message));
        }
        let addend = reference.addend.unwrap_or_else(|| function.load_addend(reference.insn));
        let place = offset.checked_add_signed(addend);
        let found = match data {
            Some((index, data)) => place
                .filter(|&place| place < u64::from(data.size))
                .and_then(|place| u32::try_from(place).ok())
                .map(|place| {
                    (Referent::Data(*index), BPF_PSEUDO_MAP_VALUE, i32::from_ne_bytes(place.to_ne_bytes()))
                }),
            None => place
                .and_then(|place| self.maps.get((section, place)))
                .map(|&map| (Referent::Map(map), BPF_PSEUDO_MAP_FD, 0)),
        };
        found.ok_or_else(|| {
            let message = format!(
                "expected a {noun} where {symbol} and its addend point in section {}, found none",
                quote(section)
            );
            refusal(ErrorKind::Malformed, &message)
        })
    }

    #[cold]
    fn common(&self, function: &FunctionSpec, reference: &SymbolReference) -> Error {
        let symbol = quote(&reference.symbol);
        let message =
            format!("refers to {symbol}, a common symbol (SHN_COMMON), which has no place in the file");
        self.refusal(function, reference.insn, ErrorKind::Unsupported, &message)
            .with_help("compile with `-fno-common`, or give it a value")
    }

    /// An error that names the program or function, the instruction and its place in the file.
    #[cold]
    fn refusal(&self, function: &FunctionSpec, insn: usize, kind: ErrorKind, message: &str) -> Error {
        let is_program = self.programs.iter().any(|program| ptr::eq(&raw const program.function, function));
        let (noun, name) = (if is_program { "program" } else { "function" }, quote(&function.name));
        Error::new(kind, format!("instruction {insn} of {noun} {name}: {message}")).at(
            format!("section {}", quote(&function.section)),
            function.offset + (insn * BPF_INSN_SIZE) as u64,
        )
    }
}

#[cold]
fn other_target(reference: &SymbolReference, section: &str) -> String {
    // A section's own symbol: the compiler names what is local to the file by its place.
    let what = if reference.symbol == section {
        "refers to data".to_owned()
    } else {
        format!("refers to {}", quote(&reference.symbol))
    };
    format!(
        "{what} in section {}; what can be referred to are maps, functions, and variables in .rodata, .data and .bss",
        quote(section)
    )
}

#[cfg(test)]
mod tests;
