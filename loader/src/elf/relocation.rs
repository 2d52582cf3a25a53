//! Relocation tables, `Elf64_Rel` and `Elf64_Rela`.

use super::{ElfFile, Section};
use crate::error::{Error, Result, quote};
use crate::uapi::elf::{REL_SIZE, RELA_SIZE, RelocationType, SectionType};

/// One relocation: a place in a section that depends on a symbol's value.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relocation {
    /// `r_offset`: the place, in bytes from the start of the section that is relocated.
    pub offset: u64,
    /// The symbol's index in the symbol table: the high half of `r_info`.
    pub symbol: usize,
    /// How the place depends on the symbol: the low half of `r_info`.
    pub kind: RelocationType,
    /// `r_addend`; `SHT_REL` has none and keeps it in the place itself.
    pub addend: Option<i64>,
}

/// Decodes all entries of the relocation table in `section`.
pub(super) fn parse_table(elf: &ElfFile<'_>, section: &Section<'_>) -> Result<Vec<Relocation>> {
    let entry_size = match section.kind {
        SectionType::REL => REL_SIZE,
        SectionType::RELA => RELA_SIZE,
        other => {
            return Err(Error::malformed(
                "section header table",
                section.header_offset,
                format!(
                    "expected section {} to hold relocations, found type {other:?}",
                    quote(&section.name)
                ),
            ));
        }
    };
    let count = section.entry_count(entry_size)?;
    let bytes = elf.data(section)?;
    let mut relocations = Vec::with_capacity(count);
    for index in 0..count {
        let at = index * entry_size;
        let info = bytes.u64(at + 8, "r_info")?;
        let addend = match section.kind {
            SectionType::RELA => Some(bytes.i64(at + 16, "r_addend")?),
            _ => None,
        };
        relocations.push(Relocation {
            offset: bytes.u64(at, "r_offset")?,
            symbol: usize::try_from(info >> 32).unwrap_or(usize::MAX),
            kind: RelocationType((info & 0xffff_ffff) as u32),
            addend,
        });
    }
    Ok(relocations)
}
