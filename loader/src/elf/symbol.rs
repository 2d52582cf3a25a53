//! The symbol table, `Elf64_Sym`, with extended section numbering.

use std::borrow::Cow;

use super::{ElfFile, Section};
use crate::bytes::Bytes;
use crate::error::{Error, Result, quote};
use crate::uapi::elf::{
    SHN_ABS, SHN_COMMON, SHN_LORESERVE, SHN_UNDEF, SHN_XINDEX, SYM_SIZE, SectionType, SymbolBinding,
    SymbolType, SymbolVisibility,
};

/// Where a symbol lives: what `st_shndx` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolSection {
    /// `SHN_UNDEF`: defined in another file.
    Undefined,
    /// `SHN_ABS`: the value is not an offset.
    Absolute,
    /// `SHN_COMMON`: an uninitialised variable that a static linker would place.
    Common,
    /// The section with this index.
    Index(usize),
    /// Another of the reserved indices, which name no section.
    Reserved(u16),
}

/// One symbol.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// Its index in the symbol table, by which relocations name it.
    pub index: usize,
    /// The string at `st_name`; empty for a section symbol.
    pub name: Cow<'a, str>,
    /// Low half of `st_info`.
    pub kind: SymbolType,
    /// High half of `st_info`.
    pub binding: SymbolBinding,
    /// Low two bits of `st_other`.
    pub visibility: SymbolVisibility,
    /// `st_shndx`.
    pub section: SymbolSection,
    /// `st_value`: in a relocatable file the offset in bytes from the start of the section.
    pub value: u64,
    /// `st_size` in bytes; 0 when unknown.
    pub size: u64,
}

impl Symbol<'_> {
    /// Whether the symbol lives in the section with this index.
    pub fn is_in(&self, section: usize) -> bool {
        self.section == SymbolSection::Index(section)
    }

    /// Whether other files of a program that is linked from several cannot see it, although it is global.
    pub fn is_hidden(&self) -> bool {
        matches!(self.visibility, SymbolVisibility::HIDDEN | SymbolVisibility::INTERNAL)
    }
}

/// Decodes the symbol table of `elf`; the specification allows one.
pub(super) fn parse_table<'e>(elf: &'e ElfFile<'_>) -> Result<Vec<Symbol<'e>>> {
    let mut tables = elf.sections().iter().filter(|section| section.kind == SectionType::SYMTAB);
    let Some(table) = tables.next() else {
        return Ok(Vec::new());
    };
    if let Some(second) = tables.next() {
        return Err(Error::malformed(
            "section header table",
            second.header_offset,
            format!("expected one symbol table, found {} and {}", quote(&table.name), quote(&second.name)),
        ));
    }
    let count = table.entry_count(SYM_SIZE)?;
    let bytes = elf.data(table)?;
    let extended = extended_indices(elf, table)?;
    let mut symbols = Vec::with_capacity(count);
    for index in 0..count {
        symbols.push(parse_symbol(elf, table, &bytes, extended.as_ref(), index)?);
    }
    Ok(symbols)
}

/// The section that holds the 32-bit section indices of the symbols in `table`, if there is one.
fn extended_indices<'e>(elf: &'e ElfFile<'_>, table: &Section<'_>) -> Result<Option<Bytes<'e>>> {
    elf.sections()
        .iter()
        .find(|section| section.kind == SectionType::SYMTAB_SHNDX && section.link as usize == table.index)
        .map(|section| elf.data(section))
        .transpose()
}

fn parse_symbol<'e>(
    elf: &'e ElfFile<'_>,
    table: &Section<'_>,
    bytes: &Bytes<'_>,
    extended: Option<&Bytes<'_>>,
    index: usize,
) -> Result<Symbol<'e>> {
    let at = index * SYM_SIZE;
    let name_offset = bytes.u32(at, "st_name")? as usize;
    let info = bytes.u8(at + 4, "st_info")?;
    let section = match bytes.u16(at + 6, "st_shndx")? {
        SHN_UNDEF => SymbolSection::Undefined,
        SHN_ABS => SymbolSection::Absolute,
        SHN_COMMON => SymbolSection::Common,
        SHN_XINDEX => match extended {
            Some(indices) => SymbolSection::Index(indices.u32(index * 4, "an extended st_shndx")? as usize),
            None => {
                return Err(
                    bytes.error(at + 6, "expected a SHT_SYMTAB_SHNDX section for SHN_XINDEX, found none")
                );
            }
        },
        reserved if reserved >= SHN_LORESERVE => SymbolSection::Reserved(reserved),
        index => SymbolSection::Index(usize::from(index)),
    };
    if let SymbolSection::Index(section) = section {
        check_section_index(elf, bytes, at, section)?;
    }
    Ok(Symbol {
        index,
        name: elf.string(table.link as usize, name_offset, "the name of a symbol")?,
        kind: SymbolType(info & 0xf),
        binding: SymbolBinding(info >> 4),
        visibility: SymbolVisibility(bytes.u8(at + 5, "st_other")? & 3),
        section,
        value: bytes.u64(at + 8, "st_value")?,
        size: bytes.u64(at + 16, "st_size")?,
    })
}

fn check_section_index(elf: &ElfFile<'_>, bytes: &Bytes<'_>, at: usize, section: usize) -> Result<()> {
    let count = elf.sections().len();
    if section < count {
        return Ok(());
    }
    Err(bytes.error(at + 6, format!("expected st_shndx below the section count {count}, found {section}")))
}
