//! The types of an object: its BTF with the places of variables filled in, and what `.BTF.ext` says of instructions.

use super::{File, FunctionSpec, ProgramSpec};
use crate::btf::{Btf, BtfExt, CoreRelocation, LineInfo, SectionInfo, TypeId, VariablePlace};
use crate::elf::{Section, Symbol, SymbolSection};
use crate::error::{Error, Result, quote};
use crate::order::{InOrder as _, Lookup};
use crate::uapi::bpf::BPF_INSN_SIZE;
use crate::uapi::btf::{BTF_EXT_HEADER_SIZE, BTF_EXT_OLD_HEADER_SIZE, VarLinkage};
use crate::uapi::elf::{SHF_ALLOC, SectionType, SymbolBinding, SymbolType};

/// What `.BTF.ext` says of one function. Offsets count in bytes from the start of the function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeInfo {
    /// The function itself, a `BTF_KIND_FUNC` of [`Object::btf`](super::Object::btf).
    pub ty: Option<TypeId>,
    /// Which lines of source its instructions come from, in their order.
    pub lines: Vec<LineInfo>,
    /// Which of its instructions depend on types of the kernel, in their order.
    pub relocations: Vec<CoreRelocation>,
}

impl CodeInfo {
    /// The line of source that begins at the instruction with this index.
    pub fn line_at(&self, insn: usize) -> Option<&LineInfo> {
        let at = |line: &LineInfo| line.offset as usize / BPF_INSN_SIZE;
        self.lines.binary_search_by_key(&insn, at).ok().map(|index| &self.lines[index])
    }

    /// What the instruction with this index is adapted to.
    pub fn relocation_at(&self, insn: usize) -> Option<&CoreRelocation> {
        let at = |relocation: &CoreRelocation| relocation.offset as usize / BPF_INSN_SIZE;
        self.relocations.binary_search_by_key(&insn, at).ok().map(|index| &self.relocations[index])
    }

    /// What `info` says of the function in the bytes `start` to `end` of its section.
    pub(super) fn of_function(info: &SectionInfo, start: u64, end: u64) -> Self {
        let within = |offset: u32| (start..end).contains(&u64::from(offset));
        let from_start = |offset: u32| offset - u32::try_from(start).unwrap_or(offset);
        let mut functions = part(&info.functions, start, |function| function.offset);
        let function = functions.next().filter(|function| u64::from(function.offset) == start);
        let lines = part(&info.lines, start, |line| line.offset).take_while(|line| within(line.offset));
        let relocations = part(&info.relocations, start, |relocation| relocation.offset)
            .take_while(|relocation| within(relocation.offset));
        Self {
            ty: function.map(|function| function.ty),
            lines: lines.map(|line| LineInfo { offset: from_start(line.offset), ..*line }).collect(),
            relocations: relocations
                .map(|it| CoreRelocation { offset: from_start(it.offset), ..*it })
                .collect(),
        }
    }
}

/// The records from `start` on.
fn part<T>(records: &[T], start: u64, offset: impl Fn(&T) -> u32) -> impl Iterator<Item = &T> {
    records[records.partition_point(|record| u64::from(offset(record)) < start)..].iter()
}

/// The object's BTF, or why it has none.
pub(super) struct Types {
    pub(super) btf: Option<Btf>,
    /// Why the file's BTF is left out: it is not sound, and nothing seems to need it.
    pub(super) flaw: Option<Error>,
}

/// Reads `.BTF`, with sizes and places filled in from the symbol table.
///
/// BTF that is not sound is left out where the object does without: a newer compiler's, or a very old one's, is no
/// reason to refuse a program that was fine before BTF was known.
pub(super) fn read(file: &File<'_, '_>) -> Result<Types> {
    let Some(section) = file.elf.section_named(".BTF") else {
        return Ok(Types { btf: None, flaw: None });
    };
    match parse(file, section) {
        Ok(btf) => Ok(Types { btf: Some(btf), flaw: None }),
        Err(error) if needs_btf(file)? => Err(error),
        Err(error) => Ok(Types { btf: None, flaw: Some(error) }),
    }
}

fn parse(file: &File<'_, '_>, section: &Section<'_>) -> Result<Btf> {
    let bytes = file.elf.data(section)?;
    let mut btf = Btf::parse(bytes.data(), file.elf.order(), &section.to_string())?;
    // Variables are only in what is in memory; the other sections are many.
    let in_memory = file.elf.sections().iter().rev().filter(|section| section.flags & SHF_ALLOC != 0);
    let sections = in_memory.map(|section| (&*section.name, section)).into_lookup();
    let (globals, statics) = (globals(file), statics(file));
    btf.place_variables(
        |name| sections.get(name).and_then(|section| u32::try_from(section.size).ok()),
        |section, variable, linkage| {
            let section = sections.get(section).map(|section| section.index);
            if linkage == VarLinkage::STATIC {
                let is_here = section.is_some_and(|index| statics.binary_search(&(variable, index)).is_ok());
                let first = statics.partition_point(|(name, _)| *name < variable);
                let is_known = statics.get(first).is_some_and(|(name, _)| *name == variable);
                return (is_known && !is_here).then_some(VariablePlace::Elsewhere);
            }
            let symbol = globals.get(variable)?;
            let here = section.is_some_and(|index| symbol.is_in(index));
            let offset = u32::try_from(symbol.value).ok().filter(|_| here)?;
            Some(VariablePlace::Here { offset, hidden: symbol.is_hidden() })
        },
    )?;
    // A program cannot be static: nobody calls it.
    let is_program = |symbol: &Symbol<'_>| match symbol.section {
        SymbolSection::Index(section) => file.is_program_section(section),
        _ => false,
    };
    btf.hide_functions(|name| {
        globals.get(name).is_some_and(|symbol| symbol.is_hidden() && !is_program(symbol))
    })?;
    Ok(btf)
}

/// The symbols that are known beyond their file, by name.
fn globals<'f>(file: &'f File<'_, '_>) -> Lookup<&'f str, &'f Symbol<'f>> {
    let global = |symbol: &&Symbol<'_>| {
        symbol.binding != SymbolBinding::LOCAL
            && symbol.kind != SymbolType::SECTION
            && matches!(symbol.section, SymbolSection::Index(_))
    };
    file.symbols.iter().filter(global).map(|symbol| (&*symbol.name, symbol)).into_lookup()
}

/// The variables that only their file knows, by name, and the sections they are in.
fn statics<'f>(file: &'f File<'_, '_>) -> Vec<(&'f str, usize)> {
    let variables = file.symbols.iter().filter(|symbol| symbol.kind == SymbolType::OBJECT);
    let local = variables.filter(|symbol| symbol.binding == SymbolBinding::LOCAL);
    let placed = local.filter_map(|symbol| match symbol.section {
        SymbolSection::Index(section) => Some((&*symbol.name, section)),
        _ => None,
    });
    placed.into_set()
}

/// Whether the object cannot be loaded without its BTF: maps are defined in it, what is taken from the kernel is
/// described in it, or instructions depend on it. Whether code needs it, [`are_needed`] tells afterwards.
fn needs_btf(file: &File<'_, '_>) -> Result<bool> {
    let is_extern =
        |symbol: &Symbol<'_>| symbol.section == SymbolSection::Undefined && !symbol.name.is_empty();
    if file.maps.iter().any(|section| section.name == ".maps") || file.symbols.iter().any(is_extern) {
        return Ok(true);
    }
    file.elf.section_named(".BTF.ext").map_or(Ok(false), |ext| has_relocations(file, ext))
}

/// Whether `.BTF.ext` says how to adapt instructions to a kernel. What is so broken that nobody can tell says nothing.
fn has_relocations(file: &File<'_, '_>, ext: &Section<'_>) -> Result<bool> {
    let bytes = file.elf.data(ext)?;
    let header_len = bytes.u32(4, "the header's length").unwrap_or_default() as usize;
    let has_relocations = header_len >= BTF_EXT_HEADER_SIZE
        && bytes.u32(28, "the length of the CO-RE relocations").is_ok_and(|len| len > 0);
    Ok(bytes.len() >= BTF_EXT_OLD_HEADER_SIZE && has_relocations)
}

/// Whether code cannot be loaded without what is said of it: functions are called back, or take the place of others.
pub(super) fn are_needed(btf: Option<&Btf>, programs: &[ProgramSpec], functions: &[FunctionSpec]) -> bool {
    let is_called_back =
        |function: &FunctionSpec| function.callees().any(|callee| function.insns[callee.insn].is_ld_imm64());
    let mut code = programs.iter().map(|program| &program.function).chain(functions);
    programs.iter().any(|program| program.extends().is_some())
        || btf.is_some_and(|btf| !btf.exception_callbacks().is_empty())
        || code.any(is_called_back)
}

/// Reads `.BTF.ext`, which speaks in the types of `btf`. One that is not sound is left out as BTF is, and the error is
/// the second answer.
pub(super) fn read_ext<'b>(file: &File<'_, '_>, btf: Option<&'b Btf>) -> Result<(BtfExt<'b>, Option<Error>)> {
    let (Some(btf), Some(section)) = (btf, file.elf.section_named(".BTF.ext")) else {
        return Ok((BtfExt::default(), None));
    };
    match parse_ext(file, btf, section) {
        Ok(ext) => Ok((ext, None)),
        Err(error) if has_relocations(file, section)? => Err(error),
        Err(error) => Ok((BtfExt::default(), Some(error))),
    }
}

fn parse_ext<'b>(file: &File<'_, '_>, btf: &'b Btf, section: &Section<'_>) -> Result<BtfExt<'b>> {
    let bytes = file.elf.data(section)?;
    let ext = BtfExt::parse(bytes.data(), file.elf.order(), &section.to_string(), btf)?;
    for section in file.elf.sections().iter().filter(|section| section.kind == SectionType::PROGBITS) {
        let Some(info) = ext.get(&section.name) else { continue };
        let last = [
            info.functions.last().map(|function| function.offset),
            info.lines.last().map(|line| line.offset),
            info.relocations.last().map(|relocation| relocation.offset),
        ];
        if let Some(offset) = last.into_iter().flatten().find(|&last| u64::from(last) >= section.size) {
            return Err(bytes.error(
                0,
                format!(
                    "expected records within the {} bytes of section {}, found one at {offset:#x}",
                    section.size,
                    quote(&section.name)
                ),
            ));
        }
    }
    Ok(ext)
}
