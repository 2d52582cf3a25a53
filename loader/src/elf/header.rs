//! The ELF file header, `Elf64_Ehdr`.

use std::str;

use crate::bytes::{ByteOrder, Bytes};
use crate::error::{Error, ErrorKind, Result};
use crate::uapi::elf::{
    EHDR_SIZE, EI_CLASS, EI_DATA, EI_NIDENT, ELFCLASS32, ELFCLASS64, ELFDATA2LSB, ELFDATA2MSB, ELFMAG,
    FileType, Machine,
};

const TABLE: &str = "file header";

/// The file header: what kind of file this is, and where its section headers are.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHeader {
    /// `e_ident[EI_DATA]`.
    pub order: ByteOrder,
    /// `e_type`.
    pub file_type: FileType,
    /// `e_machine`.
    pub machine: Machine,
    /// `e_flags`.
    pub flags: u32,
    /// `e_shoff`: where the section header table begins; 0 for none.
    pub section_table_offset: u64,
    /// `e_shentsize`.
    pub section_header_size: u16,
    /// `e_shnum` as it stands here; 0 can mean that the count is in section header 0.
    pub section_count: u16,
    /// `e_shstrndx` as it stands here; `SHN_XINDEX` means that the index is in section header 0.
    pub section_names_index: u16,
}

impl FileHeader {
    pub(super) fn parse(data: &[u8]) -> Result<Self> {
        let order = parse_identification(data)?;
        let bytes = Bytes::new(data, order, &TABLE);
        bytes.slice(0, EHDR_SIZE, "the ELF64 file header")?;
        Ok(Self {
            order,
            file_type: FileType(bytes.u16(16, "e_type")?),
            machine: Machine(bytes.u16(18, "e_machine")?),
            flags: bytes.u32(48, "e_flags")?,
            section_table_offset: bytes.u64(40, "e_shoff")?,
            section_header_size: bytes.u16(58, "e_shentsize")?,
            section_count: bytes.u16(60, "e_shnum")?,
            section_names_index: bytes.u16(62, "e_shstrndx")?,
        })
    }
}

/// How to come to an object from what the file begins with.
fn way_from(data: &[u8]) -> Option<&'static str> {
    let begins_with = |magic: &[u8]| data.starts_with(magic);
    // Bitcode as it is, and in the wrapper that some systems put around it.
    if begins_with(b"BC\xc0\xde") || begins_with(b"\xde\xc0\x17\x0b") {
        Some(
            "this is LLVM bitcode: compile without `-flto` and `-emit-llvm`, or with `llc -march=bpf -filetype=obj`",
        )
    } else if begins_with(b"!<arch>\n") || begins_with(b"!<thin>\n") {
        Some("this is an archive: take the object out of it with `ar x`; `bpftool gen object` links several")
    } else if begins_with(b"\x1f\x8b") {
        Some("this is compressed: `gunzip` it")
    } else if is_text(&data[..data.len().min(TEXT)]) {
        Some(
            "this is text: if it is a program's source, compile it with \
             `clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu -c FILE`",
        )
    } else {
        None
    }
}

/// How many bytes are looked at to tell text from other data.
const TEXT: usize = 256;

/// Whether these are characters and white space; the last character may be cut.
fn is_text(data: &[u8]) -> bool {
    let text = match str::from_utf8(data) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => {
            str::from_utf8(&data[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    !text.is_empty() && text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{c}'))
}

/// Checks `e_ident` and returns the byte order, which the rest of the header needs.
fn parse_identification(data: &[u8]) -> Result<ByteOrder> {
    if data.is_empty() {
        return Err(Error::malformed(TABLE, 0, "expected an ELF file, found an empty one"));
    }
    // The byte order does not matter for single bytes.
    let bytes = Bytes::new(data, ByteOrder::NATIVE, &TABLE);
    let found = &data[..data.len().min(ELFMAG.len())];
    if found != ELFMAG {
        let error = bytes.error(0, format!("expected the ELF magic {ELFMAG:02x?}, found {found:02x?}"));
        return Err(match way_from(data) {
            Some(help) => error.with_help(help),
            None => error,
        });
    }
    let ident = bytes.slice(0, EI_NIDENT, "e_ident")?;
    match ident[EI_CLASS] {
        ELFCLASS64 => {}
        ELFCLASS32 => {
            return Err(bytes
                .error(EI_CLASS, "expected a 64-bit ELF file (ELFCLASS64), found a 32-bit one")
                .with_kind(ErrorKind::Unsupported));
        }
        other => return Err(bytes.error(EI_CLASS, format!("expected ELFCLASS64 (2), found {other}"))),
    }
    match ident[EI_DATA] {
        ELFDATA2LSB => Ok(ByteOrder::Little),
        ELFDATA2MSB => Ok(ByteOrder::Big),
        other => {
            Err(bytes.error(EI_DATA, format!("expected ELFDATA2LSB (1) or ELFDATA2MSB (2), found {other}")))
        }
    }
}
