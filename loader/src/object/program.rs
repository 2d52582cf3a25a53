//! Programs: which sections hold them, where each begins and ends, and which symbols their instructions name.

use std::fmt;
use std::ops::Range;

use super::File;
use crate::bytes::Bytes;
use crate::elf::{Relocation, Section, Symbol, SymbolSection};
use crate::error::{Error, Result, escape, quote};
use crate::insn::{Insn, decode_all};
use crate::uapi::bpf::{AttachType, BPF_INSN_SIZE};
use crate::uapi::elf::{RelocationType, SymbolBinding, SymbolType};

/// What the name of a program's section says about how to load it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramKind {
    /// Where the program may be attached: to an interface, or to an entry of a devmap or cpumap.
    pub attach_type: AttachType,
    /// The program handles packets of several buffers (`xdp.frags`).
    pub frags: bool,
}

impl ProgramKind {
    /// A program for an interface, in packets of one buffer.
    const INTERFACE: Self = Self { attach_type: AttachType::XDP, frags: false };

    /// What the section `name` says, or `None` for a section of no XDP program. Any section that is `named` by the
    /// caller is one.
    ///
    /// libbpf's names are `xdp`, `xdp.frags`, `xdp/devmap` and the like; gobpf's `xdp/<anything>`; iproute2's
    /// default is `prog`; the kernel's old samples have `xdp_<anything>`.
    pub(super) fn of_section(name: &str, named: &[String]) -> Option<Self> {
        let kind = match name {
            "xdp.frags" => Self { frags: true, ..Self::INTERFACE },
            "xdp/devmap" => Self { attach_type: AttachType::XDP_DEVMAP, frags: false },
            "xdp/cpumap" => Self { attach_type: AttachType::XDP_CPUMAP, frags: false },
            "xdp.frags/devmap" => Self { attach_type: AttachType::XDP_DEVMAP, frags: true },
            "xdp.frags/cpumap" => Self { attach_type: AttachType::XDP_CPUMAP, frags: true },
            "xdp" | "prog" => Self::INTERFACE,
            _ if name.starts_with("xdp/") || name.starts_with("xdp_") => Self::INTERFACE,
            _ if named.iter().any(|chosen| chosen == name) => Self::INTERFACE,
            _ => return None,
        };
        Some(kind)
    }
}

/// One program: a function in a program section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSpec {
    /// The function's symbol; the section's name where there is no symbol.
    pub name: String,
    /// The section it is in.
    pub section: String,
    /// Where it begins in the section, in bytes.
    pub offset: u64,
    /// How to load it.
    pub kind: ProgramKind,
    /// Its instructions as the compiler wrote them: not relocated.
    pub insns: Vec<Insn>,
    /// The symbols that its instructions name, in the order of the instructions.
    pub references: Vec<SymbolReference>,
}

impl fmt::Display for ProgramSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (section {})", escape(&self.name), escape(&self.section))
    }
}

/// An instruction's reference to a symbol: a relocation, in terms of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SymbolReference {
    /// Index of the instruction in the program.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SymbolTarget {
    /// At this offset in bytes of the named section.
    Section {
        /// The section's name.
        name: String,
        /// The symbol's value.
        offset: u64,
    },
    /// In another file, or absolute: nowhere in this object.
    Nowhere,
}

/// Reads the programs of all program sections.
pub(super) fn parse(file: &File<'_, '_>) -> Result<Vec<ProgramSpec>> {
    let mut programs = Vec::new();
    for (section, kind) in &file.programs {
        let first = programs.len();
        for (name, range) in functions(file, section)? {
            let label = format!("function {} of section {}", quote(&name), quote(&section.name));
            let code = &file.elf.data(section)?.data()[range.clone()];
            programs.push(ProgramSpec {
                insns: decode_all(Bytes::new(code, file.elf.order(), &label))?,
                name,
                section: section.name.clone().into_owned(),
                offset: range.start as u64,
                kind: *kind,
                references: Vec::new(),
            });
        }
        attach_references(file, section, &mut programs[first..])?;
    }
    Ok(programs)
}

/// The functions of a program section: their names and the bytes that each takes.
fn functions(file: &File<'_, '_>, section: &Section<'_>) -> Result<Vec<(String, Range<usize>)>> {
    let bytes = file.elf.data(section)?;
    let symbols = file.symbols_in(section.index);
    let mut starts: Vec<&Symbol<'_>> =
        symbols.iter().copied().filter(|symbol| symbol.kind == SymbolType::FUNC).collect();
    if starts.is_empty() {
        // Old LLVMs gave functions no type.
        let untyped = |symbol: &&Symbol<'_>| {
            symbol.kind == SymbolType::NOTYPE
                && symbol.binding != SymbolBinding::LOCAL
                && !symbol.name.is_empty()
        };
        starts = symbols.iter().copied().filter(untyped).collect();
    }
    if starts.is_empty() {
        return Ok(vec![(section.name.clone().into_owned(), 0..bytes.len())]);
    }
    let mut functions = Vec::with_capacity(starts.len());
    for (position, symbol) in starts.iter().enumerate() {
        let next = starts.get(position + 1).map_or(bytes.len() as u64, |next| next.value);
        let end = match symbol.size {
            0 => next,
            size => symbol.value.saturating_add(size),
        };
        let range = checked_range(symbol.value, end, bytes.len());
        let range = range.filter(|_| end <= next).ok_or_else(|| {
            Error::malformed(
                bytes.name(),
                symbol.value,
                format!(
                    "expected function {} to be whole instructions between its neighbours, \
                     found bytes {:#x} to {end:#x}",
                    quote(&symbol.name),
                    symbol.value
                ),
            )
        })?;
        functions.push((symbol.name.clone().into_owned(), range));
    }
    Ok(functions)
}

/// The bytes `start..end` of a section of `len` bytes, if they are whole instructions and at least one.
fn checked_range(start: u64, end: u64, len: usize) -> Option<Range<usize>> {
    let (start, end) = (usize::try_from(start).ok()?, usize::try_from(end).ok()?);
    let whole = start % BPF_INSN_SIZE == 0 && end % BPF_INSN_SIZE == 0;
    (whole && start < end && end <= len).then_some(start..end)
}

/// Sorts the relocations of `section` to the programs in it, which are in the order of their offsets.
fn attach_references(file: &File<'_, '_>, section: &Section<'_>, programs: &mut [ProgramSpec]) -> Result<()> {
    let Some(table) = file.relocations.get(&section.index) else {
        return Ok(());
    };
    let mut relocations = file.elf.relocations(table)?;
    relocations.sort_by_key(|relocation| relocation.offset);
    for relocation in relocations {
        let following = programs.partition_point(|program| program.offset <= relocation.offset);
        let place = following.checked_sub(1).and_then(|index| {
            let insn = instruction_at(&programs[index], relocation.offset)?;
            Some((index, insn))
        });
        let Some((index, insn)) = place else {
            return Err(Error::malformed(
                format!("section {}", quote(&section.name)),
                relocation.offset,
                format!(
                    "expected an instruction here for a relocation of {}, found none",
                    quote(&table.name)
                ),
            ));
        };
        let reference = reference(file, section, &relocation, insn)?;
        let references = &mut programs[index].references;
        if references.last().is_some_and(|last| last.insn == insn) {
            return Err(Error::malformed(
                format!("section {}", quote(&section.name)),
                relocation.offset,
                format!(
                    "expected one relocation for the instruction here, found more in {}",
                    quote(&table.name)
                ),
            ));
        }
        references.push(reference);
    }
    Ok(())
}

/// The index of the instruction of `program` that begins at `offset` of its section.
fn instruction_at(program: &ProgramSpec, offset: u64) -> Option<usize> {
    let distance = usize::try_from(offset.checked_sub(program.offset)?).ok()?;
    let insn = distance / BPF_INSN_SIZE;
    (distance % BPF_INSN_SIZE == 0 && insn < program.insns.len()).then_some(insn)
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
    let target = match symbol.section {
        SymbolSection::Index(index) => SymbolTarget::Section {
            // The symbol reader has checked the index.
            name: file.elf.sections()[index].name.clone().into_owned(),
            offset: symbol.value,
        },
        _ => SymbolTarget::Nowhere,
    };
    let symbol = match &target {
        SymbolTarget::Section { name, .. } if symbol.name.is_empty() => name.clone(),
        _ => symbol.name.clone().into_owned(),
    };
    Ok(SymbolReference { insn, kind: relocation.kind, symbol, target, addend: relocation.addend })
}
