//! A reader of ELF64 files in either byte order: the file header, sections, symbols and relocations.
//!
//! The names are those of the ELF specification (System V gABI), so that the reader can have it open beside this.
//! Nothing is decoded before it is asked for: a file may hold broken or unknown sections, and as long as nobody
//! needs them they do no harm. Every bound is checked; a bad file is an [`Error`] that names the table or
//! section, the offset and what was expected there.

mod header;
mod relocation;
mod section;
mod symbol;

use std::borrow::Cow;
use std::collections::BTreeMap;

pub use header::FileHeader;
pub use relocation::Relocation;
pub use section::Section;
pub use symbol::{Symbol, SymbolSection};

use crate::bytes::{ByteOrder, Bytes};
use crate::error::{Error, Result, quote};
use crate::uapi::elf::SectionType;

/// An ELF64 file in memory, with its file header and section headers decoded.
#[derive(Debug)]
pub struct ElfFile<'a> {
    data: &'a [u8],
    header: FileHeader,
    sections: Vec<Section<'a>>,
}

impl<'a> ElfFile<'a> {
    /// Decodes the file header and the section header table of `data`.
    pub fn parse(data: &'a [u8]) -> Result<Self> {
        let header = FileHeader::parse(data)?;
        let sections = section::parse_table(data, &header)?;
        Ok(Self { data, header, sections })
    }

    /// The file header.
    pub fn header(&self) -> &FileHeader {
        &self.header
    }

    /// The order in which the file stores its numbers.
    pub fn order(&self) -> ByteOrder {
        self.header.order
    }

    /// All sections by index; index 0 is the reserved null section. Empty if the file has no section headers.
    pub fn sections(&self) -> &[Section<'a>] {
        &self.sections
    }

    /// The first section called `name`.
    pub fn section_named(&self, name: &str) -> Option<&Section<'a>> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The bytes of `section`; none for one that takes no room in the file (`SHT_NOBITS`).
    pub fn data<'s>(&'s self, section: &'s Section<'a>) -> Result<Bytes<'s>> {
        let data = match section.kind {
            SectionType::NOBITS | SectionType::NULL => &[],
            _ => section.slice(self.data)?,
        };
        Ok(Bytes::new(data, self.order(), section))
    }

    /// The symbols, by their index in the symbol table. A file without a symbol table has none.
    pub fn symbols(&self) -> Result<Vec<Symbol<'_>>> {
        symbol::parse_table(self)
    }

    /// The relocations that `section` (of type `SHT_REL` or `SHT_RELA`) holds, in file order.
    pub fn relocations(&self, section: &Section<'_>) -> Result<Vec<Relocation>> {
        relocation::parse_table(self, section)
    }

    /// For each section the index of the one that holds its relocations.
    ///
    /// Two for one section are refused: compilers write one, and each more would let a small file ask for the
    /// same bytes to be decoded many times over.
    pub fn relocation_sections(&self) -> Result<Vec<Option<usize>>> {
        let mut tables = vec![None; self.sections.len()];
        for section in &self.sections {
            let Some(target) = section.relocates() else { continue };
            // Nobody asks for the relocations of a section that is not there.
            let Some(table) = tables.get_mut(target) else { continue };
            if let Some(first) = table.replace(section.index) {
                return Err(Error::malformed(
                    "section header table",
                    section.header_offset,
                    format!(
                        "expected one relocation section for section {target}, found {} and {}",
                        quote(&self.sections[first].name),
                        quote(&section.name)
                    ),
                ));
            }
        }
        Ok(tables)
    }

    /// The string at `offset` of the string table with section index `table`.
    fn string(&self, table: usize, offset: usize, field: &str) -> Result<Cow<'_, str>> {
        let section = self.linked_section(table, SectionType::STRTAB, field)?;
        self.data(section)?.c_str(offset, field).map(String::from_utf8_lossy)
    }

    /// The section with index `index`, which must be of type `kind` since it is where `field` points.
    fn linked_section(&self, index: usize, kind: SectionType, field: &str) -> Result<&Section<'a>> {
        let section = self.sections.get(index).ok_or_else(|| {
            Error::malformed(
                "section header table",
                self.header.section_table_offset,
                format!(
                    "expected the section for {field} at index {index}, found {} sections",
                    self.sections.len()
                ),
            )
        })?;
        if section.kind != kind {
            return Err(Error::malformed(
                "section header table",
                section.header_offset,
                format!(
                    "expected section {index} to be of type {kind:?} for {field}, found {:?}",
                    section.kind
                ),
            ));
        }
        Ok(section)
    }
}

/// Sections that share no bytes of the file.
///
/// Compilers write none that do. A reader that decodes every section of such a file does more work than the file has
/// bytes, without a bound; so it adds each section here before decoding it.
#[derive(Debug, Default)]
pub struct Disjoint<'s, 'a> {
    sections: Vec<&'s Section<'a>>,
    /// Where each is there, by where it begins in the file.
    places: BTreeMap<u64, usize>,
}

impl<'s, 'a> Disjoint<'s, 'a> {
    /// Adds a section, which may be there already. One that shares bytes with another is refused, with a name for
    /// the pair.
    pub fn add(&mut self, section: &'s Section<'a>) -> Result<()> {
        if section.kind == SectionType::NOBITS || section.size == 0 {
            return Ok(());
        }
        let before = self.places.range(..=section.offset).next_back();
        let after = self.places.range(section.offset..).next();
        for (_, &other) in before.into_iter().chain(after) {
            refuse_overlap(section, self.sections[other])?;
        }
        self.places.insert(section.offset, self.sections.len());
        self.sections.push(section);
        Ok(())
    }
}

fn refuse_overlap(one: &Section<'_>, other: &Section<'_>) -> Result<()> {
    let in_order = (one.offset, one.index) <= (other.offset, other.index);
    let (first, second) = if in_order { (one, other) } else { (other, one) };
    if first.index == second.index || first.offset.saturating_add(first.size) <= second.offset {
        return Ok(());
    }
    Err(Error::malformed(
        "section header table",
        second.header_offset,
        format!(
            "expected section {} to begin after {}, found that they share bytes of the file",
            quote(&second.name),
            quote(&first.name)
        ),
    ))
}

#[cfg(test)]
mod tests;
