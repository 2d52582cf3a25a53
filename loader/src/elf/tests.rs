//! Tests of the ELF reader on hand-made files; fixtures from compilers are in loader/tests.

use super::*;
use crate::uapi::elf::{EHDR_SIZE, SHDR_SIZE};

/// A section of a hand-made file.
struct Part {
    name: &'static str,
    kind: SectionType,
    link: u32,
    info: u32,
    entry_size: u64,
    data: Vec<u8>,
}

fn part(name: &'static str, kind: SectionType, data: &[u8]) -> Part {
    Part { name, kind, link: 0, info: 0, entry_size: 0, data: data.to_vec() }
}

/// Writes an ELF64 file: header, contents, section headers. Section 1 is the string table for section names.
fn write_elf(order: ByteOrder, parts: &[Part]) -> Vec<u8> {
    let mut names = vec![0u8];
    let mut name_offsets = vec![0u32, 1];
    names.extend(b".strtab\0");
    for part in parts {
        name_offsets.push(u32::try_from(names.len()).unwrap());
        names.extend(part.name.bytes().chain([0]));
    }
    let mut all = vec![part("", SectionType::NULL, &[]), part(".strtab", SectionType::STRTAB, &names)];
    all.extend(parts.iter().map(|p| Part { data: p.data.clone(), ..*p }));

    let mut file = vec![0u8; EHDR_SIZE];
    let mut headers = Vec::new();
    for (section, name) in all.iter().zip(name_offsets) {
        let offset = file.len() as u64;
        file.extend(&section.data);
        put(&mut headers, order, u64::from(name), 4);
        put(&mut headers, order, u64::from(section.kind.0), 4);
        for field in [0, 0, offset, section.data.len() as u64] {
            put(&mut headers, order, field, 8);
        }
        put(&mut headers, order, u64::from(section.link), 4);
        put(&mut headers, order, u64::from(section.info), 4);
        put(&mut headers, order, 1, 8);
        put(&mut headers, order, section.entry_size, 8);
    }
    let table_offset = file.len() as u64;
    file.extend(headers);

    let mut header = vec![0x7f, b'E', b'L', b'F', 2, if order == ByteOrder::Little { 1 } else { 2 }, 1];
    header.resize(16, 0);
    put(&mut header, order, 1, 2);
    put(&mut header, order, 247, 2);
    put(&mut header, order, 1, 4);
    for field in [0, 0, table_offset] {
        put(&mut header, order, field, 8);
    }
    put(&mut header, order, 0, 4);
    for field in [EHDR_SIZE, 0, 0, SHDR_SIZE, all.len(), 1] {
        put(&mut header, order, field as u64, 2);
    }
    file[..EHDR_SIZE].copy_from_slice(&header);
    file
}

fn put(out: &mut Vec<u8>, order: ByteOrder, value: u64, size: usize) {
    match order {
        ByteOrder::Little => out.extend(&value.to_le_bytes()[..size]),
        ByteOrder::Big => out.extend(&value.to_be_bytes()[8 - size..]),
    }
}

fn symbol_bytes(order: ByteOrder, name: u32, info: u8, section: u16, value: u64, size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, order, u64::from(name), 4);
    out.extend([info, 0]);
    put(&mut out, order, u64::from(section), 2);
    put(&mut out, order, value, 8);
    put(&mut out, order, size, 8);
    out
}

fn relocation_bytes(order: ByteOrder, offset: u64, symbol: u64, kind: u64, addend: Option<u64>) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, order, offset, 8);
    put(&mut out, order, symbol << 32 | kind, 8);
    if let Some(addend) = addend {
        put(&mut out, order, addend, 8);
    }
    out
}

/// A program section with a symbol table and both sorts of relocation tables.
fn typical(order: ByteOrder) -> Vec<u8> {
    let symbols = [symbol_bytes(order, 0, 0, 0, 0, 0), symbol_bytes(order, 9, 0x12, 2, 8, 16)].concat();
    write_elf(
        order,
        &[
            part("xdp", SectionType::PROGBITS, &[0; 24]),
            Part { link: 1, entry_size: 24, ..part(".symtab", SectionType::SYMTAB, &symbols) },
            Part {
                info: 2,
                entry_size: 16,
                ..part(".relxdp", SectionType::REL, &relocation_bytes(order, 8, 1, 1, None))
            },
            Part {
                info: 3,
                entry_size: 24,
                ..part(".relaother", SectionType::RELA, &relocation_bytes(order, 4, 1, 10, Some(u64::MAX)))
            },
        ],
    )
}

#[test]
fn both_byte_orders_read_alike() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let file = typical(order);
        let elf = ElfFile::parse(&file).unwrap();
        assert_eq!((elf.order(), elf.header().machine.name()), (order, Some("bpf")));
        let names: Vec<_> = elf.sections().iter().map(|section| section.name.as_ref()).collect();
        assert_eq!(names, ["", ".strtab", "xdp", ".symtab", ".relxdp", ".relaother"]);

        let symbols = elf.symbols().unwrap();
        assert_eq!(symbols[1].name, "xdp");
        assert_eq!((symbols[1].section, symbols[1].value, symbols[1].size), (SymbolSection::Index(2), 8, 16));

        let rel = elf.relocations(&elf.sections()[elf.relocation_sections().unwrap()[2].unwrap()]).unwrap();
        assert_eq!((rel[0].offset, rel[0].symbol, rel[0].kind.0, rel[0].addend), (8, 1, 1, None));
        let rela = elf.relocations(elf.section_named(".relaother").unwrap()).unwrap();
        assert_eq!((rela[0].kind.0, rela[0].addend), (10, Some(-1)));
    }
}

#[test]
fn extended_numbering_is_followed() {
    let order = ByteOrder::Little;
    let symbols = symbol_bytes(order, 1, 0, 0xffff, 0, 0);
    let mut file = write_elf(
        order,
        &[
            Part { link: 1, entry_size: 24, ..part(".symtab", SectionType::SYMTAB, &symbols) },
            Part { link: 2, ..part(".symtab_shndx", SectionType::SYMTAB_SHNDX, &3u32.to_le_bytes()) },
        ],
    );
    let table = usize::try_from(ElfFile::parse(&file).unwrap().header().section_table_offset).unwrap();
    file[60..62].copy_from_slice(&0u16.to_le_bytes());
    file[62..64].copy_from_slice(&0xffffu16.to_le_bytes());
    file[table + 32..table + 40].copy_from_slice(&4u64.to_le_bytes());
    file[table + 40..table + 44].copy_from_slice(&1u32.to_le_bytes());
    let elf = ElfFile::parse(&file).unwrap();
    assert_eq!(elf.sections().len(), 4);
    assert_eq!(elf.symbols().unwrap()[0].section, SymbolSection::Index(3));
}

/// Each edit of a sound file, and the words with which it is refused.
#[test]
fn a_bad_file_is_refused_with_the_place() {
    type Edit = fn(&mut Vec<u8>);
    let cases: &[(Edit, &str)] = &[
        (|f| f.clear(), "file header at offset 0x0: expected an ELF file, found an empty one"),
        (
            |f| f[0] = b'#',
            "file header at offset 0x0: expected the ELF magic [7f, 45, 4c, 46], found [23, 45, 4c, 46]",
        ),
        (|f| f.truncate(10), "file header at offset 0x0: expected 16 bytes for e_ident, found 10"),
        (
            |f| f.truncate(40),
            "file header at offset 0x0: expected 64 bytes for the ELF64 file header, found 40",
        ),
        (
            |f| f[4] = 1,
            "file header at offset 0x4: expected a 64-bit ELF file (ELFCLASS64), found a 32-bit one",
        ),
        (|f| f[5] = 7, "file header at offset 0x5: expected ELFDATA2LSB (1) or ELFDATA2MSB (2), found 7"),
        (|f| f[58] = 40, "file header at offset 0x3a: expected e_shentsize to be 64, found 40"),
        (|f| f[47] = 1, "file header at offset 0x28: expected e_shoff to be inside the file"),
        (
            |f| f[61] = 1,
            "section header table at offset 0x0: expected 16768 bytes for the section headers, found 384",
        ),
        (
            |f| f[62] = 2,
            "file header at offset 0x3e: expected e_shstrndx to be the index of a string table, found 2",
        ),
    ];
    for (edit, expected) in cases {
        let mut file = typical(ByteOrder::Little);
        edit(&mut file);
        let error = ElfFile::parse(&file).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}\nshould start with\n{expected}");
    }
}

#[test]
fn tables_are_checked_when_they_are_asked_for() {
    let order = ByteOrder::Little;
    let bad_section = symbol_bytes(order, 1, 0, 99, 0, 0);
    let file = write_elf(
        order,
        &[
            Part { link: 1, entry_size: 24, ..part(".symtab", SectionType::SYMTAB, &bad_section) },
            Part { info: 2, entry_size: 16, ..part(".rel", SectionType::REL, &[0; 17]) },
            Part { info: 2, entry_size: 16, ..part(".rel2", SectionType::REL, &[]) },
        ],
    );
    let elf = ElfFile::parse(&file).unwrap();
    assert_eq!(
        elf.symbols().unwrap_err().to_string(),
        "section `.symtab` at offset 0x6: expected st_shndx below the section count 5, found 99"
    );
    assert_eq!(
        elf.relocations(&elf.sections()[3]).unwrap_err().to_string(),
        "section header table at offset 0xc0: expected section `.rel` to hold entries of 16 bytes, \
         found sh_entsize 16 and sh_size 17"
    );
    assert!(elf.relocation_sections().unwrap_err().to_string().contains("found `.rel` and `.rel2`"));
}

#[test]
fn a_section_outside_the_file_harms_only_who_needs_it() {
    let mut file = typical(ByteOrder::Little);
    let table = usize::try_from(ElfFile::parse(&file).unwrap().header().section_table_offset).unwrap();
    file[table + 2 * SHDR_SIZE + 24..][..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let elf = ElfFile::parse(&file).unwrap();
    assert!(elf.symbols().is_ok());
    let error = elf.data(&elf.sections()[2]).unwrap_err().to_string();
    assert!(error.contains("expected section `xdp` to end inside the file"), "{error}");
}

#[test]
fn sections_that_share_bytes_are_refused() {
    let file = typical(ByteOrder::Little);
    let elf = ElfFile::parse(&file).unwrap();
    let mut sections = elf.sections().to_vec();
    let mut disjoint = Disjoint::default();
    // Twice the same section is no overlap.
    sections.iter().chain(&sections).try_for_each(|section| disjoint.add(section)).unwrap();
    sections[3].offset = sections[2].offset + 8;
    for order in [[2, 3], [3, 2]] {
        let mut disjoint = Disjoint::default();
        let error =
            order.iter().try_for_each(|&index| disjoint.add(&sections[index])).unwrap_err().to_string();
        assert!(error.contains("expected section `.symtab` to begin after `xdp`"), "{error}");
    }
}
