//! `.BTF.ext`: what the compiler says about single instructions, in the types and strings of `.BTF`.
//!
//! ```text
//! header | func_info                | line_info               | core_relo
//!          record size              | the same shape          | the same shape
//!          section name, how many     with records of another   with records of another
//!          records of that section    sort                      sort
//!          section name, ...
//! ```
//!
//! The kernel reads the first two tables with a program (`BPF_PROG_LOAD`), the third is the loader's to carry out. The
//! format: `Documentation/bpf/btf.rst` and `include/uapi/linux/bpf.h` in Linux 6.18.

use std::fmt;
use std::ops::Range;

use super::types::{Name, TypeId};
use super::{Btf, parse};
use crate::bytes::{ByteOrder, Bytes};
use crate::error::{Context as _, Error, Result, quote};
use crate::order::sort_by_key;
use crate::uapi::btf::{
    BTF_EXT_HEADER_SIZE, BTF_EXT_INFO_SEC_SIZE, BTF_EXT_OLD_HEADER_SIZE, CORE_RELO_SIZE, CoreReloKind,
    FUNC_INFO_SIZE, LINE_INFO_SIZE,
};

/// What `.BTF.ext` says, by section of instructions.
#[derive(Clone, Debug, Default)]
pub struct BtfExt<'b> {
    /// With their names, in the order of these.
    sections: Vec<(&'b str, SectionInfo)>,
}

/// What is said about the instructions of one section, each list in the order of the instructions.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SectionInfo {
    /// Where functions begin.
    pub functions: Vec<FuncInfo>,
    /// From where on instructions come from another line of source.
    pub lines: Vec<LineInfo>,
    /// What is to be adapted to the kernel's types.
    pub relocations: Vec<CoreRelocation>,
}

/// `struct bpf_func_info`: a function begins here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FuncInfo {
    /// Bytes from the start of the section.
    pub offset: u32,
    /// The function, a `BTF_KIND_FUNC`.
    pub ty: TypeId,
}

/// `struct bpf_line_info`: from this instruction on, the code is from this line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LineInfo {
    /// Bytes from the start of the section.
    pub offset: u32,
    /// The source file.
    pub file: Name,
    /// The text of the line, of any length and in any encoding.
    pub text: Name,
    /// The line's number, counted from 1.
    pub line: u32,
    /// The column, counted from 1; 0 where the compiler does not tell.
    pub column: u16,
}

impl fmt::Debug for LineInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offset, file, text, line, column } = self;
        write!(f, "{offset:#x}: {file:?} line {line} column {column} {text:?}")
    }
}

impl LineInfo {
    /// `line_col` of the kernel's struct.
    pub fn line_col(&self) -> u32 {
        self.line << 10 | u32::from(self.column)
    }
}

/// `struct bpf_core_relo`: a number in this instruction depends on a type of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreRelocation {
    /// Bytes from the start of the section.
    pub offset: u32,
    /// The type as the program knows it.
    pub ty: TypeId,
    /// Which part of the type, as in `0:1:2`: [`Btf::text`] reads it.
    pub access: Name,
    /// Which number.
    pub kind: CoreReloKind,
}

impl<'b> BtfExt<'b> {
    /// Reads the `.BTF.ext` in `data`, which errors call `section`, beside the types and strings of `btf`.
    pub fn parse(data: &[u8], order: ByteOrder, section: &str, btf: &'b Btf) -> Result<Self> {
        let bytes = Bytes::new(data, order, &section);
        let tables = Tables::read(bytes)?;
        let mut ext = Self::default();
        let reader = Reader { bytes, btf };
        reader.table(tables.functions, &FUNC_TABLE, &mut ext, &|info, at| {
            info.functions.push(reader.func_info(at)?);
            Ok(())
        })?;
        reader.table(tables.lines, &LINE_TABLE, &mut ext, &|info, at| {
            info.lines.push(reader.line_info(at)?);
            Ok(())
        })?;
        reader.table(tables.relocations, &CORE_TABLE, &mut ext, &|info, at| {
            info.relocations.push(reader.relocation(at)?);
            Ok(())
        })?;
        ext.join_sections();
        // A static linker puts one file's records after another's, and the order of the functions may differ.
        for (_, info) in &mut ext.sections {
            sort_by_key(&mut info.functions, |record| record.offset);
            sort_by_key(&mut info.lines, |record| record.offset);
            sort_by_key(&mut info.relocations, |record| record.offset);
        }
        Ok(ext)
    }

    /// What is said about the section with this name, if anything is.
    pub fn get(&self, section: &str) -> Option<&SectionInfo> {
        let place = self.sections.binary_search_by(|(name, _)| (*name).cmp(section)).ok()?;
        Some(&self.sections[place].1)
    }

    /// Makes one of what the tables say of one section.
    fn join_sections(&mut self) {
        sort_by_key(&mut self.sections, |(name, _)| *name);
        self.sections.dedup_by(|(next_name, next), (name, info)| {
            let is_same = next_name == name;
            if is_same {
                info.functions.append(&mut next.functions);
                info.lines.append(&mut next.lines);
                info.relocations.append(&mut next.relocations);
            }
            is_same
        });
    }
}

/// `struct btf_ext_header`: where the three tables are.
struct Tables {
    functions: Range<usize>,
    lines: Range<usize>,
    relocations: Range<usize>,
}

impl Tables {
    fn read(bytes: Bytes<'_>) -> Result<Self> {
        bytes.slice(0, BTF_EXT_OLD_HEADER_SIZE, "the header")?;
        let header_len = parse::check_header(bytes, BTF_EXT_OLD_HEADER_SIZE)?;
        // The third table came later, and the header's length tells whether it is there.
        let relocations = if header_len >= BTF_EXT_HEADER_SIZE {
            parse::table(bytes, header_len, 24, "the CO-RE relocations")?
        } else {
            0..0
        };
        Ok(Self {
            functions: parse::table(bytes, header_len, 8, "the functions")?,
            lines: parse::table(bytes, header_len, 16, "the lines")?,
            relocations,
        })
    }
}

/// What the tables differ in.
struct TableKind {
    /// What messages call a record.
    noun: &'static str,
    /// Bytes of the record that this reader knows; a newer compiler's may be longer.
    size: usize,
}

const FUNC_TABLE: TableKind = TableKind { noun: "a function", size: FUNC_INFO_SIZE };
const LINE_TABLE: TableKind = TableKind { noun: "a line", size: LINE_INFO_SIZE };
const CORE_TABLE: TableKind = TableKind { noun: "a CO-RE relocation", size: CORE_RELO_SIZE };

struct Reader<'a, 'b> {
    bytes: Bytes<'a>,
    btf: &'b Btf,
}

impl<'b> Reader<'_, 'b> {
    /// Walks through one table, and calls `record` with the section in `ext` and the place of each record.
    fn table(
        &self,
        range: Range<usize>,
        kind: &TableKind,
        ext: &mut BtfExt<'b>,
        record: &dyn Fn(&mut SectionInfo, usize) -> Result<()>,
    ) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        let bytes = Bytes::new(&self.bytes.data()[..range.end], self.bytes.order(), self.bytes.name());
        let mut at = range.start;
        let size = bytes.u32(at, "a record's size")? as usize;
        if size < kind.size || size % 4 != 0 {
            let message = format!(
                "expected records of {} bytes or more for {}, in fours, found {size}",
                kind.size, kind.noun
            );
            return Err(bytes.error(at, message));
        }
        at += 4;
        while at < range.end {
            let name = self.name(at)?;
            let name = self.btf.text(name).context(|| format!("the section named at {at:#x}"))?;
            let count = bytes.u32(at + 4, "the number of records")? as usize;
            let start = at + BTF_EXT_INFO_SEC_SIZE;
            let len = count.checked_mul(size).filter(|&len| len > 0 && len <= range.end - start);
            let Some(len) = len else {
                let message = format!(
                    "expected records of {size} bytes for section {} in the {} bytes that follow, \
                     found a count of {count}",
                    quote(name),
                    range.end - start
                );
                return Err(bytes.error(at + 4, message));
            };
            let mut info = SectionInfo::default();
            for at in (start..start + len).step_by(size) {
                record(&mut info, at).context(|| kind.noun)?;
            }
            ext.sections.push((name, info));
            at = start + len;
        }
        Ok(())
    }

    fn func_info(&self, at: usize) -> Result<FuncInfo> {
        Ok(FuncInfo { offset: self.instruction(at)?, ty: self.ty(at + 4)? })
    }

    fn line_info(&self, at: usize) -> Result<LineInfo> {
        let line_col = self.bytes.u32(at + 12, "line and column")?;
        // The column has ten bits.
        let [_, _, high, low] = (line_col & 0x3ff).to_be_bytes();
        Ok(LineInfo {
            offset: self.instruction(at)?,
            file: self.name(at + 4)?,
            text: self.name(at + 8)?,
            line: line_col >> 10,
            column: u16::from_be_bytes([high, low]),
        })
    }

    fn relocation(&self, at: usize) -> Result<CoreRelocation> {
        Ok(CoreRelocation {
            offset: self.instruction(at)?,
            ty: self.ty(at + 4)?,
            access: self.name(at + 8)?,
            kind: CoreReloKind(self.bytes.u32(at + 12, "the relocation's kind")?),
        })
    }

    fn instruction(&self, at: usize) -> Result<u32> {
        let offset = self.bytes.u32(at, "an instruction's offset")?;
        if offset % 8 != 0 {
            return Err(self.bytes.error(at, format!("expected a multiple of 8, found offset {offset:#x}")));
        }
        Ok(offset)
    }

    fn ty(&self, at: usize) -> Result<TypeId> {
        let id = self.bytes.u32(at, "a type")?;
        if id as usize > self.btf.len() {
            return Err(self.out_of_range(at, "a type", self.btf.len(), id));
        }
        Ok(TypeId(id))
    }

    fn name(&self, at: usize) -> Result<Name> {
        let offset = self.bytes.u32(at, "a name")?;
        if offset as usize >= self.btf.strings.len() {
            return Err(self.out_of_range(at, "a name", self.btf.strings.len() - 1, offset));
        }
        Ok(Name(offset))
    }

    #[cold]
    fn out_of_range(&self, at: usize, what: &str, last: usize, found: u32) -> Error {
        self.bytes.error(at, format!("expected {what} of `.BTF`, up to {last}, found {found}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::builder::{Builder, ORDERS};
    use super::*;

    /// The strings of the BTF beside which the tests read.
    const XDP: u32 = 1;
    const FILE: u32 = 5;
    const ACCESS: u32 = 9;

    fn btf(order: ByteOrder) -> Btf {
        let mut b = Builder::new(order);
        for text in ["xdp", "a.c", "0:1"] {
            b.string(text);
        }
        b.add::<0>(crate::uapi::btf::BtfKind::STRUCT, "", 0, &[]);
        b.parse().unwrap()
    }

    fn ext(order: ByteOrder, header_len: u32, tables: [&[u32]; 3]) -> Vec<u8> {
        let magic = 0xeb9f_u16;
        let mut data = match order {
            ByteOrder::Little => magic.to_le_bytes().to_vec(),
            ByteOrder::Big => magic.to_be_bytes().to_vec(),
        };
        data.extend([1, 0]);
        let mut words = vec![header_len];
        let mut start = 0;
        for table in tables.iter().take(if header_len < 32 { 2 } else { 3 }) {
            let len = u32::try_from(table.len() * 4).unwrap();
            words.extend([start, len]);
            start += len;
        }
        words.extend(tables.concat());
        for word in words {
            data.extend(match order {
                ByteOrder::Little => word.to_le_bytes(),
                ByteOrder::Big => word.to_be_bytes(),
            });
        }
        data
    }

    /// A table of each sort; the lines are given out of order.
    fn whole(order: ByteOrder) -> Vec<u8> {
        let lines = [16, XDP, 2, 8, FILE, 0, 7 << 10 | 3, 0, FILE, ACCESS, 5 << 10];
        ext(order, 32, [&[8, XDP, 1, 0, 1], &lines, &[16, XDP, 1, 8, 1, ACCESS, 2]])
    }

    #[test]
    fn records_come_by_section_and_in_order() {
        for order in ORDERS {
            let btf = btf(order);
            let ext = BtfExt::parse(&whole(order), order, "e", &btf).unwrap();
            let info = ext.get("xdp").unwrap();
            assert_eq!(info.functions, [FuncInfo { offset: 0, ty: TypeId(1) }]);
            let lines: Vec<_> = info.lines.iter().map(|line| (line.offset, line.line, line.column)).collect();
            assert_eq!(lines, [(0, 5, 0), (8, 7, 3)]);
            assert_eq!((info.lines[1].line_col(), info.lines[1].file), (7 << 10 | 3, Name(FILE)));
            let [relocation] = info.relocations[..] else { panic!("{info:?}") };
            assert_eq!((relocation.offset, relocation.kind), (8, CoreReloKind::FIELD_EXISTS));
            assert_eq!(btf.text(relocation.access).unwrap(), "0:1");
            assert!(ext.get("other").is_none());
        }
    }

    #[test]
    fn an_old_header_has_no_relocations_and_a_longer_record_is_read() {
        let order = ByteOrder::Little;
        let btf = btf(order);
        let data = ext(order, 24, [&[12, XDP, 1, 0, 1, 99], &[], &[]]);
        let ext = BtfExt::parse(&data, order, "e", &btf).unwrap();
        assert_eq!(ext.get("xdp").unwrap().functions.len(), 1);
    }

    #[test]
    fn what_leads_nowhere_is_refused_at_its_place() {
        let order = ByteOrder::Little;
        let btf = btf(order);
        let error =
            |tables| BtfExt::parse(&ext(order, 32, tables), order, "e", &btf).unwrap_err().to_string();
        let none: &[u32] = &[];
        assert_eq!(
            error([&[8, XDP, 1, 0, 2], none, none]),
            "a function: e at offset 0x30: expected a type of `.BTF`, up to 1, found 2"
        );
        assert_eq!(
            error([&[8, XDP, 2, 0, 1], none, none]),
            "e at offset 0x28: expected records of 8 bytes for section `xdp` in the 8 bytes that follow, \
             found a count of 2"
        );
        assert!(error([&[8, XDP, 0], none, none]).ends_with("found a count of 0"));
        assert_eq!(
            error([&[4], none, none]),
            "e at offset 0x20: expected records of 8 bytes or more for a function, in fours, found 4"
        );
        assert_eq!(
            error([&[8, XDP, 1, 4, 1], none, none]),
            "a function: e at offset 0x2c: expected a multiple of 8, found offset 0x4"
        );
        assert_eq!(
            error([none, none, &[16, XDP, 1, 0, 1, 13, 0]]),
            "a CO-RE relocation: e at offset 0x34: expected a name of `.BTF`, up to 12, found 13"
        );
    }

    #[test]
    fn any_cut_or_changed_byte_is_refused_or_answers() {
        for order in ORDERS {
            let (btf, mut data) = (btf(order), whole(order));
            for len in 0..data.len() {
                let error = BtfExt::parse(&data[..len], order, "e", &btf).unwrap_err();
                assert!(error.place().is_some(), "{error}");
            }
            for at in 0..data.len() {
                for change in [0x01, 0x04, 0x10, 0x80, 0xff] {
                    data[at] ^= change;
                    if let Err(error) = BtfExt::parse(&data, order, "e", &btf) {
                        assert!(error.place().is_some(), "{error}");
                    }
                    data[at] ^= change;
                }
            }
        }
    }
}
