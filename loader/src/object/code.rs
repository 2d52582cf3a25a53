//! Functions: where each begins and ends, its instructions, and which symbols these name.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::ops::Range;

use super::File;
use super::types::CodeInfo;
use crate::btf::BtfExt;
use crate::bytes::Bytes;
use crate::elf::{Disjoint, Relocation, Section, Symbol, SymbolSection};
use crate::error::{Error, ErrorKind, Result, quote};
use crate::insn::{Insn, decode_all};
use crate::order::sort_by_key;
use crate::uapi::bpf::{BPF_CALL, BPF_INSN_SIZE, BPF_PSEUDO_CALL};
use crate::uapi::elf::{RelocationType, SHF_EXECINSTR, SectionType, SymbolBinding, SymbolType};

/// How many names a function may have (`__attribute__((alias))`): each more would let a small file ask for the
/// same instructions to be kept once more.
const MAX_NAMES: usize = 4;

/// [`BPF_INSN_SIZE`] for distances, which may be negative.
const INSN_SIZE: i64 = 8;

/// A function: its instructions, and what these refer to. A [program](super::ProgramSpec) is one that the kernel runs;
/// the others are called by programs, which may also hand their addresses to a helper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionSpec {
    /// Its symbol; the section's name where there is no symbol.
    pub name: String,
    /// The section it is in.
    pub section: String,
    /// Where it begins in the section, in bytes.
    pub offset: u64,
    /// Its instructions as the compiler wrote them: not relocated.
    pub insns: Vec<Insn>,
    /// The symbols that its instructions name, in the order of the instructions.
    pub references: Vec<SymbolReference>,
    /// What the compiler said of it and of its instructions.
    pub info: CodeInfo,
}

/// An instruction that names a function: it calls it or takes its address.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Callee<'o> {
    /// Index of the instruction.
    pub insn: usize,
    /// The section that the function is in.
    pub section: &'o str,
    /// Where it begins there, in bytes; `None` for a place before the section.
    pub offset: Option<u64>,
}

impl FunctionSpec {
    /// Its section and where it begins there, which no function of another name shares.
    pub fn place(&self) -> (&str, u64) {
        (&self.section, self.offset)
    }

    /// The functions that its instructions name, in the order of the instructions.
    pub fn callees(&self) -> impl Iterator<Item = Callee<'_>> {
        // Most instructions of a large program are neither, and it is gone through several times.
        let may_name = |(_, insn): &(usize, &Insn)| insn.code == BPF_CALL || insn.is_ld_imm64();
        self.insns.iter().enumerate().filter(may_name).filter_map(move |(insn, _)| self.callee(insn))
    }

    /// The symbol that the instruction names, if it does.
    pub fn reference(&self, insn: usize) -> Option<&SymbolReference> {
        let found = self.references.binary_search_by_key(&insn, |reference| reference.insn);
        found.ok().map(|index| &self.references[index])
    }

    /// The addend of the 64-bit load at this index: `SHT_REL` keeps it in both halves, the lower 32 bits first.
    pub fn load_addend(&self, insn: usize) -> i64 {
        let half = |slot: usize| self.insns.get(insn + slot).map_or(0, |insn| i64::from(insn.imm));
        half(1) << 32 | half(0) & 0xffff_ffff
    }

    /// Which function the instruction names, if it names one.
    ///
    /// A call counts in instructions from the one after it: after itself where the compiler has resolved it, from
    /// the symbol where it left a relocation (so that -1 is the symbol's own place). A load counts in bytes from
    /// the symbol. LLVM's `BPFELFObjectWriter.cpp` and `BPFAsmBackend.cpp` write them so.
    fn callee(&self, index: usize) -> Option<Callee<'_>> {
        let insn = self.insns[index];
        let call = insn.code == BPF_CALL && insn.src == BPF_PSEUDO_CALL;
        if !call && !insn.is_ld_imm64() {
            return None;
        }
        let instructions = |count: i32| i64::from(count) * INSN_SIZE;
        let (section, from, distance) = match self.reference(index).map(|reference| &reference.target) {
            Some(SymbolTarget::Code { section, offset }) if call => {
                (&**section, *offset, instructions(insn.imm) + INSN_SIZE)
            }
            Some(SymbolTarget::Code { section, offset }) => (&**section, *offset, self.load_addend(index)),
            None if call => {
                let next = self.offset + ((index + 1) * BPF_INSN_SIZE) as u64;
                (&*self.section, next, instructions(insn.imm))
            }
            _ => return None,
        };
        Some(Callee { insn: index, section, offset: from.checked_add_signed(distance) })
    }
}

/// An instruction's reference to a symbol: a relocation, in terms of the function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolReference {
    /// Index of the instruction in the function.
    pub insn: usize,
    /// How the instruction depends on the symbol.
    pub kind: RelocationType,
    /// The symbol's name; that of its section for a section symbol.
    pub symbol: String,
    /// Where the symbol lives.
    pub target: SymbolTarget,
    /// The addend of an `SHT_RELA` entry; `SHT_REL` keeps it in the instruction's immediate.
    pub addend: Option<i64>,
}

/// Where a referenced symbol lives.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SymbolTarget {
    /// At this offset in bytes of the named section, which holds no instructions.
    Section {
        /// The section's name.
        name: String,
        /// The symbol's value.
        offset: u64,
    },
    /// At this offset in bytes of the named section of instructions.
    Code {
        /// The section's name.
        section: String,
        /// The symbol's value.
        offset: u64,
    },
    /// A common symbol (`SHN_COMMON`): a variable for which a linker is to find a place.
    Common,
    /// In another file, or absolute: nowhere in this object.
    Nowhere,
}

/// Reads functions, those of a section not before one of them is needed.
pub(super) struct Reader<'f, 'e, 'a> {
    file: &'f File<'e, 'a>,
    ext: &'f BtfExt<'f>,
    needed: &'f mut Disjoint<'e, 'a>,
    sections: Vec<CodeSection<'e, 'a>>,
    /// Where each is there, by its index in the file.
    places: Vec<Option<usize>>,
}

/// A section of instructions whose symbols and relocations have been sorted.
struct CodeSection<'e, 'a> {
    section: &'e Section<'a>,
    functions: Vec<Place>,
    /// The relocation table and what is in it, by the relocated place.
    table: Option<&'e Section<'a>>,
    relocations: Vec<Relocation>,
}

/// What errors call the instructions of a function.
struct OfSection<'a> {
    function: &'a str,
    section: &'a Section<'a>,
}

impl Display for OfSection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "function {} of {}", quote(self.function), self.section)
    }
}

/// Where the symbol table says that a function is.
struct Place {
    name: String,
    start: u64,
    end: u64,
    /// Where the next function of the section begins.
    next: u64,
    /// Whether the function is `static`.
    local: bool,
}

impl<'f, 'e, 'a> Reader<'f, 'e, 'a> {
    pub(super) fn new(file: &'f File<'e, 'a>, ext: &'f BtfExt<'f>, needed: &'f mut Disjoint<'e, 'a>) -> Self {
        Self { file, ext, needed, sections: Vec::new(), places: vec![None; file.elf.sections().len()] }
    }

    /// Reads all functions of a section, and tells which of them are `static`.
    pub(super) fn all(&mut self, section: &'e Section<'a>) -> Result<Vec<(bool, FunctionSpec)>> {
        let (file, ext) = (self.file, self.ext);
        let code = self.open(section.index)?;
        let mut functions = Vec::with_capacity(code.functions.len());
        for place in &code.functions {
            functions.push((place.local, code.read(file, ext, place)?));
        }
        Ok(functions)
    }

    /// Reads the functions that the programs reach and that are in no program section, and those at the places
    /// `unnamed`, which no instruction names. What a dead function looks like does not matter.
    pub(super) fn reached<'p>(
        &mut self,
        programs: impl Iterator<Item = &'p FunctionSpec>,
        unnamed: Vec<(usize, u64)>,
    ) -> Result<Vec<FunctionSpec>> {
        let (mut functions, mut known) = (Vec::new(), BTreeMap::new());
        let mut wanted = Vec::new();
        for program in programs {
            wanted.extend(self.targets(program));
        }
        wanted.extend(unnamed);
        while let Some(target) = wanted.pop() {
            // Sections of instructions that are read share no bytes.
            let place = self.file.elf.sections()[target.0].offset.saturating_add(target.1);
            if known.contains_key(&place) {
                continue;
            }
            if let Some(function) = self.function_at(target)? {
                wanted.extend(self.targets(&function));
                known.insert(place, functions.len());
                functions.push((target, function));
            }
        }
        sort_by_key(&mut functions, |(target, _)| *target);
        Ok(functions.into_iter().map(|(_, function)| function).collect())
    }

    /// The places in other sections than the programs' at which functions are named. Where none begins the linker
    /// will say so, if it comes to that.
    fn targets(&self, function: &FunctionSpec) -> Vec<(usize, u64)> {
        function
            .callees()
            .filter_map(|callee| {
                let section = *self.file.code.get(callee.section)?;
                let in_program = self.file.is_program_section(section);
                callee.offset.filter(|_| !in_program).map(|offset| (section, offset))
            })
            .collect()
    }

    fn function_at(&mut self, (section, offset): (usize, u64)) -> Result<Option<FunctionSpec>> {
        let (file, ext) = (self.file, self.ext);
        let code = self.open(section)?;
        let index = code.functions.partition_point(|place| place.start < offset);
        match code.functions.get(index).filter(|place| place.start == offset) {
            Some(place) => code.read(file, ext, place).map(Some),
            None => Ok(None),
        }
    }

    /// Sorts the symbols and relocations of a section, once.
    fn open(&mut self, index: usize) -> Result<&CodeSection<'e, 'a>> {
        let known = self.places[index];
        if known.is_none() {
            let section = &self.file.elf.sections()[index];
            self.needed.add(section)?;
            let table = self.file.relocations_of(section);
            table.map_or(Ok(()), |table| self.needed.add(table))?;
            let code = CodeSection::new(self.file, section, table)?;
            self.places[index] = Some(self.sections.len());
            self.sections.push(code);
        }
        Ok(&self.sections[known.unwrap_or(self.sections.len() - 1)])
    }
}

impl<'e, 'a> CodeSection<'e, 'a> {
    fn new(file: &File<'e, 'a>, section: &'e Section<'a>, table: Option<&'e Section<'a>>) -> Result<Self> {
        if file.code.get(&section.name) != Some(&section.index) {
            return Err(Error::malformed(
                "section header table",
                section.header_offset,
                format!("expected one section {} with instructions, found another", quote(&section.name)),
            ));
        }
        let mut relocations = table.map_or(Ok(Vec::new()), |table| file.elf.relocations(table))?;
        sort_by_key(&mut relocations, |relocation| relocation.offset);
        let code = Self { section, functions: functions(file, section)?, table, relocations };
        // A relocation between functions belongs to a weak one that a static linker has overridden.
        let nowhere = |relocation: &&Relocation| {
            relocation.offset % BPF_INSN_SIZE as u64 != 0 || relocation.offset >= section.size
        };
        match code.relocations.iter().find(nowhere) {
            None => Ok(code),
            Some(relocation) => {
                let message =
                    |table| format!("expected an instruction here for a relocation of {table}, found none");
                Err(code.relocation_error(relocation, message))
            }
        }
    }

    fn read(&self, file: &File<'_, '_>, ext: &BtfExt<'_>, place: &Place) -> Result<FunctionSpec> {
        let name = &self.section.name;
        let bytes = file.elf.data(self.section)?;
        let range = place.range(&bytes)?;
        let of_section = OfSection { function: &place.name, section: self.section };
        let insns = decode_all(Bytes::new(&bytes.data()[range.clone()], file.elf.order(), &of_section))?;
        let info = ext.get(name).map(|info| CodeInfo::of_function(info, place.start, place.end));
        Ok(FunctionSpec {
            name: place.name.clone(),
            section: name.clone().into_owned(),
            offset: place.start,
            insns,
            references: self.references(file, range)?,
            info: info.unwrap_or_default(),
        })
    }

    /// The symbols that the instructions in these bytes of the section name.
    fn references(&self, file: &File<'_, '_>, range: Range<usize>) -> Result<Vec<SymbolReference>> {
        let first = self.relocations.partition_point(|relocation| relocation.offset < range.start as u64);
        let within = |relocation: &&Relocation| relocation.offset < range.end as u64;
        let mut references: Vec<SymbolReference> = Vec::new();
        for relocation in self.relocations[first..].iter().take_while(within) {
            let distance = relocation.offset - range.start as u64;
            let insn = usize::try_from(distance).unwrap_or(usize::MAX) / BPF_INSN_SIZE;
            if references.last().is_some_and(|last| last.insn == insn) {
                let message = |table| {
                    format!("expected one relocation for the instruction here, found more in {table}")
                };
                return Err(self.relocation_error(relocation, message));
            }
            references.push(reference(file, self.section, relocation, insn)?);
        }
        Ok(references)
    }

    #[cold]
    fn relocation_error(&self, relocation: &Relocation, message: impl Fn(String) -> String) -> Error {
        let table = self.table.map_or_else(String::new, |table| quote(&table.name).into());
        Error::malformed(format!("section {}", quote(&self.section.name)), relocation.offset, message(table))
    }
}

/// The functions of a section by the symbol table, in the order of their places; the whole section where it has no
/// symbols.
fn functions(file: &File<'_, '_>, section: &Section<'_>) -> Result<Vec<Place>> {
    let symbols = file.symbols_in(section.index);
    let mut starts: Vec<&Symbol<'_>> =
        symbols.iter().copied().filter(|symbol| symbol.kind == SymbolType::FUNC).collect();
    if starts.is_empty() {
        // Old LLVMs gave functions no type, and named the blocks in them: LBB0_1.
        let untyped = |symbol: &&Symbol<'_>| {
            let block = symbol.binding == SymbolBinding::LOCAL && symbol.name.starts_with("LBB");
            symbol.kind == SymbolType::NOTYPE && !symbol.name.is_empty() && !block
        };
        starts = symbols.iter().copied().filter(untyped).collect();
    }
    if file.is_program_section(section.index) {
        // Under each of its names a function is a program.
        refuse_more_names(section, &starts)?;
    } else {
        starts.dedup_by_key(|symbol| symbol.value);
    }
    if starts.is_empty() {
        let name = section.name.clone().into_owned();
        return Ok(vec![Place { name, start: 0, end: section.size, next: section.size, local: false }]);
    }
    let place = |symbol: &&Symbol<'_>| {
        let behind = starts.partition_point(|other| other.value <= symbol.value);
        let next = starts.get(behind).map_or(section.size, |next| next.value);
        Place {
            name: symbol.name.clone().into_owned(),
            start: symbol.value,
            end: if symbol.size == 0 { next } else { symbol.value.saturating_add(symbol.size) },
            next,
            local: symbol.binding == SymbolBinding::LOCAL,
        }
    };
    Ok(starts.iter().map(place).collect())
}

fn refuse_more_names(section: &Section<'_>, functions: &[&Symbol<'_>]) -> Result<()> {
    match functions.windows(MAX_NAMES + 1).find(|names| names[0].value == names[MAX_NAMES].value) {
        None => Ok(()),
        Some(names) => Err(Error::malformed(
            format!("section {}", quote(&section.name)),
            names[0].value,
            format!("expected at most {MAX_NAMES} names for the function here, found more"),
        )
        .with_kind(ErrorKind::Unsupported)),
    }
}

impl Place {
    /// The function's bytes in the section `bytes`: whole instructions and at least one, before the next function.
    fn range(&self, bytes: &Bytes<'_>) -> Result<Range<usize>> {
        let (start, end) = (usize::try_from(self.start).ok(), usize::try_from(self.end).ok());
        let whole = |range: &Range<usize>| {
            // Of what fills its section the reader of instructions tells more.
            *range == (0..bytes.len())
                || range.start % BPF_INSN_SIZE == 0 && range.end % BPF_INSN_SIZE == 0 && !range.is_empty()
        };
        let range = start.zip(end).map(|(start, end)| start..end).filter(whole);
        range.filter(|range| range.end <= bytes.len() && self.end <= self.next).ok_or_else(|| {
            Error::malformed(
                bytes.name().to_string(),
                self.start,
                format!(
                    "expected function {} to be whole instructions between its neighbours, \
                     found bytes {:#x} to {:#x}",
                    quote(&self.name),
                    self.start,
                    self.end
                ),
            )
        })
    }
}

fn reference(
    file: &File<'_, '_>,
    section: &Section<'_>,
    relocation: &Relocation,
    insn: usize,
) -> Result<SymbolReference> {
    let symbol = file.symbols.get(relocation.symbol).ok_or_else(|| {
        Error::malformed(
            format!("section {}", quote(&section.name)),
            relocation.offset,
            format!(
                "expected the relocation here to name one of {} symbols, found number {}",
                file.symbols.len(),
                relocation.symbol
            ),
        )
    })?;
    let target = target(file, symbol);
    let symbol = match &target {
        SymbolTarget::Section { name, .. } | SymbolTarget::Code { section: name, .. }
            if symbol.name.is_empty() =>
        {
            name.clone()
        }
        _ => symbol.name.clone().into_owned(),
    };
    Ok(SymbolReference { insn, kind: relocation.kind, symbol, target, addend: relocation.addend })
}

/// Where `symbol` leads.
pub(super) fn target(file: &File<'_, '_>, symbol: &Symbol<'_>) -> SymbolTarget {
    let index = match symbol.section {
        SymbolSection::Index(index) => index,
        SymbolSection::Common => return SymbolTarget::Common,
        _ => return SymbolTarget::Nowhere,
    };
    // The symbol reader has checked the index.
    let section = &file.elf.sections()[index];
    let (name, offset) = (section.name.clone().into_owned(), symbol.value);
    if has_code(section) {
        SymbolTarget::Code { section: name, offset }
    } else {
        SymbolTarget::Section { name, offset }
    }
}

/// Whether there are instructions in the section.
pub(super) fn has_code(section: &Section<'_>) -> bool {
    section.kind == SectionType::PROGBITS && section.flags & SHF_EXECINSTR != 0 && section.size > 0
}
