//! The section header table, `Elf64_Shdr`, with extended section numbering.

use std::borrow::Cow;
use std::fmt::{self, Display};

use super::FileHeader;
use crate::bytes::Bytes;
use crate::error::{Error, Result, quote};
use crate::uapi::elf::{SHDR_SIZE, SHN_XINDEX, SectionType};

const TABLE: &str = "section header table";

/// One section header, with the section's name looked up.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Section<'a> {
    /// Its index in the section header table.
    pub index: usize,
    /// The string at `sh_name`; bytes that are not UTF-8 are replaced.
    pub name: Cow<'a, str>,
    /// `sh_type`.
    pub kind: SectionType,
    /// `sh_flags`, see `SHF_*`.
    pub flags: u64,
    /// `sh_offset`: where the content begins in the file.
    pub offset: u64,
    /// `sh_size` in bytes.
    pub size: u64,
    /// `sh_link`: the index of a related section, by type.
    pub link: u32,
    /// `sh_info`: more information, by type.
    pub info: u32,
    /// `sh_entsize`: bytes of one entry, for a section that is a table.
    pub entry_size: u64,
    /// Where this header stands, from the start of the section header table.
    pub header_offset: u64,
}

/// What errors call the section.
impl Display for Section<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.name {
            "" => write!(f, "section {}", self.index),
            name => write!(f, "section {}", quote(name)),
        }
    }
}

impl Section<'_> {
    /// The index of the section whose relocations this one holds, if it holds any.
    pub fn relocates(&self) -> Option<usize> {
        matches!(self.kind, SectionType::REL | SectionType::RELA).then_some(self.info as usize)
    }

    /// The section's bytes in `file`.
    pub(super) fn slice<'f>(&self, file: &'f [u8]) -> Result<&'f [u8]> {
        let start = usize::try_from(self.offset).ok();
        let end = self.offset.checked_add(self.size).and_then(|end| usize::try_from(end).ok());
        start.zip(end).and_then(|(start, end)| file.get(start..end)).ok_or_else(|| {
            Error::malformed(
                TABLE,
                self.header_offset,
                format!(
                    "expected {self} to end inside the file ({} bytes), found sh_offset {:#x} and sh_size {:#x}",
                    file.len(),
                    self.offset,
                    self.size
                ),
            )
        })
    }

    /// How many entries of `entry_size` bytes the section holds; the size in its header must be that one.
    pub(super) fn entry_count(&self, entry_size: usize) -> Result<usize> {
        let expected = entry_size as u64;
        if self.entry_size != expected || self.size % expected != 0 {
            return Err(Error::malformed(
                TABLE,
                self.header_offset,
                format!(
                    "expected {self} to hold entries of {entry_size} bytes, found sh_entsize {} and sh_size {}",
                    self.entry_size, self.size
                ),
            ));
        }
        usize::try_from(self.size / expected)
            .map_err(|_| Error::malformed(TABLE, self.header_offset, "expected sh_size to fit in memory"))
    }
}

/// Decodes all section headers of the file `data`.
pub(super) fn parse_table<'a>(data: &'a [u8], header: &FileHeader) -> Result<Vec<Section<'a>>> {
    if header.section_table_offset == 0 {
        return Ok(Vec::new());
    }
    if usize::from(header.section_header_size) != SHDR_SIZE {
        return Err(Error::malformed(
            "file header",
            58,
            format!("expected e_shentsize to be {SHDR_SIZE}, found {}", header.section_header_size),
        ));
    }
    let table = table_bytes(data, header)?;
    let numbering = Numbering::parse(&table, header)?;
    // A count that the file cannot hold must not become an allocation.
    table.slice(0, numbering.count.saturating_mul(SHDR_SIZE), "the section headers")?;
    let mut sections = Vec::with_capacity(numbering.count);
    for index in 0..numbering.count {
        sections.push(parse_header(&table, index)?);
    }
    look_up_names(data, header, numbering.names_index, &mut sections)?;
    Ok(sections)
}

fn table_bytes<'a>(data: &'a [u8], header: &FileHeader) -> Result<Bytes<'a>> {
    let offset = header.section_table_offset;
    let table = usize::try_from(offset).ok().and_then(|start| data.get(start..)).ok_or_else(|| {
        Error::malformed(
            "file header",
            40,
            format!("expected e_shoff to be inside the file ({} bytes), found {offset:#x}", data.len()),
        )
    })?;
    Ok(Bytes::new(table, header.order, &TABLE))
}

/// The number of sections and the index of the one that holds their names. Where these do not fit in the 16 bits
/// of the file header, they are in section header 0, which is otherwise unused.
struct Numbering {
    count: usize,
    names_index: usize,
}

impl Numbering {
    fn parse(table: &Bytes<'_>, header: &FileHeader) -> Result<Self> {
        let count = match header.section_count {
            0 => usize::try_from(table.u64(32, "sh_size of section 0, the extended section count")?)
                .map_err(|_| table.error(32, "expected an extended section count that fits in memory"))?,
            count => usize::from(count),
        };
        let names_index = match header.section_names_index {
            SHN_XINDEX => table.u32(40, "sh_link of section 0, the extended e_shstrndx")? as usize,
            index => usize::from(index),
        };
        Ok(Self { count, names_index })
    }
}

fn parse_header<'a>(table: &Bytes<'a>, index: usize) -> Result<Section<'a>> {
    let at = index * SHDR_SIZE;
    Ok(Section {
        index,
        name: Cow::Borrowed(""),
        kind: SectionType(table.u32(at + 4, "sh_type")?),
        flags: table.u64(at + 8, "sh_flags")?,
        offset: table.u64(at + 24, "sh_offset")?,
        size: table.u64(at + 32, "sh_size")?,
        link: table.u32(at + 40, "sh_link")?,
        info: table.u32(at + 44, "sh_info")?,
        entry_size: table.u64(at + 56, "sh_entsize")?,
        header_offset: at as u64,
    })
}

/// Fills in the names, which a file whose `e_shstrndx` is 0 does not have.
fn look_up_names<'a>(
    data: &'a [u8],
    header: &FileHeader,
    names_index: usize,
    sections: &mut [Section<'a>],
) -> Result<()> {
    if names_index == 0 {
        return Ok(());
    }
    let Some(names) = sections.get(names_index).filter(|section| section.kind == SectionType::STRTAB) else {
        return Err(Error::malformed(
            "file header",
            62,
            format!("expected e_shstrndx to be the index of a string table, found {names_index}"),
        ));
    };
    let names = names.slice(data)?;
    let table = table_bytes(data, header)?;
    for section in sections {
        let name_offset = table.u32(section.index * SHDR_SIZE, "sh_name")? as usize;
        let strings = Bytes::new(names, header.order, &"section name string table");
        section.name = String::from_utf8_lossy(strings.c_str(name_offset, "the name of a section")?);
    }
    Ok(())
}
