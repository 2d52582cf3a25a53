//! Two witnesses for our ELF reader: the crates `object` and `goblin` must read the same out of every file.
//!
//! The files are the fixtures, the objects that the program embeds, the system's own where it has some, and a few
//! that no compiler writes.

// Tells clippy that the functions beside the tests are test code too.
#![cfg(test)]

use std::fs;
use std::path::Path;

use loader::elf::{ElfFile, SymbolSection};
use object::read::elf::{FileHeader as _, Rel as _, Rela as _, SectionHeader as _, Sym as _};
use object::write::{Object, Relocation, SectionId, StandardSegment, Symbol, SymbolSection as WrittenIn};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionFlags, SectionKind, SymbolFlags,
    SymbolKind, SymbolScope,
};

mod support;

use support::{files_below, fixtures, tests_dir};

/// What a reader says of a file.
#[derive(Debug, Default, PartialEq)]
struct Testimony {
    sections: Vec<SectionRow>,
    symbols: Vec<SymbolRow>,
    relocations: Vec<RelocationRow>,
}

#[derive(Debug, PartialEq)]
struct SectionRow {
    name: String,
    kind: u32,
    flags: u64,
    offset: u64,
    size: u64,
    link: u32,
    info: u32,
    entry_size: u64,
}

#[derive(Debug, PartialEq)]
struct SymbolRow {
    name: String,
    value: u64,
    size: u64,
    binding: u8,
    kind: u8,
    /// `st_shndx`, or what stands for it in the table of extended indices.
    section: u64,
}

#[derive(Debug, PartialEq)]
struct RelocationRow {
    /// The index of the section that holds it.
    table: usize,
    offset: u64,
    symbol: usize,
    kind: u32,
    addend: Option<i64>,
}

#[test]
fn compiled_objects_are_read_alike() {
    for fixture in fixtures() {
        compare(&fixture.name, &fixture.data);
    }
    // Where distributions install the objects of libxdp and others; a machine without them has less to compare.
    let system =
        ["/usr/lib/bpf", "/usr/lib64/bpf", "/usr/lib/x86_64-linux-gnu/bpf", "/usr/lib/aarch64-linux-gnu/bpf"];
    let mut others = files_below(&tests_dir().join("../../bpf-src/prebuilt"));
    others.extend(files_below(&tests_dir().join("fixtures/big")));
    for directory in system.map(Path::new).into_iter().filter(|directory| directory.is_dir()) {
        others.extend(files_below(directory));
    }
    for path in others.iter().filter(|path| path.extension().is_some_and(|ending| ending == "o")) {
        compare(&path.display().to_string(), &fs::read(path).unwrap());
    }
}

#[test]
fn both_byte_orders_are_read_alike() {
    for order in [Endianness::Little, Endianness::Big] {
        compare(&format!("{order:?}"), &typical(Architecture::Bpf, order).write().unwrap());
    }
}

#[test]
fn relocations_with_addends_are_read_alike() {
    // For x86-64 the writer takes SHT_RELA, which neither reader minds.
    let file = typical(Architecture::X86_64, Endianness::Little).write().unwrap();
    let testimony = ours(&file);
    assert_eq!(testimony.relocations[0].addend, Some(-16));
    compare("SHT_RELA", &file);
}

#[test]
fn a_file_without_symbols_is_read_alike() {
    let mut file = empty(Architecture::Bpf, Endianness::Little);
    add_section(&mut file, "xdp", SectionKind::Text, &[0; 16]);
    let mut file = file.write().unwrap();
    // The writer always writes a symbol table; as a note it is none.
    let elf = ElfFile::parse(&file).unwrap();
    let header = elf.section_named(".symtab").unwrap().header_offset;
    let at = usize::try_from(elf.header().section_table_offset + header).unwrap() + 4;
    file[at] = 7;
    assert!(ours(&file).symbols.is_empty());
    compare("no symbols", &file);
}

#[test]
fn sections_of_any_sort_are_read_alike() {
    let mut file = typical(Architecture::Bpf, Endianness::Little);
    let sorts = [
        ("compressed", object::elf::SHT_PROGBITS.0, object::elf::SHF_COMPRESSED.0),
        ("unknown", 0x6fff_1234, 0),
        ("processor", 0x7000_0001, u64::MAX),
        ("note", object::elf::SHT_NOTE.0, 0),
    ];
    for (name, kind, flags) in sorts {
        let section = add_section(&mut file, name, SectionKind::Other, &[1, 0, 0, 0, 7]);
        let sh_type = object::elf::SectionType(kind);
        let sh_flags = object::elf::SectionFlags(flags);
        file.section_mut(section).flags = SectionFlags::Elf { sh_type, sh_flags };
    }
    add_section(&mut file, "empty", SectionKind::Data, &[]);
    let bss = add_section(&mut file, ".bss", SectionKind::UninitializedData, &[]);
    file.append_section_bss(bss, 4096, 8);
    compare("sections of any sort", &file.write().unwrap());
}

#[test]
fn more_sections_than_sixteen_bits_count_are_read_alike() {
    let mut file = typical(Architecture::Bpf, Endianness::Little);
    for number in 0..70_000 {
        let section = add_section(&mut file, &format!("s{number}"), SectionKind::Data, &[]);
        if number % 1000 == 0 {
            file.section_symbol(section);
        }
    }
    let file = file.write().unwrap();
    let testimony = ours(&file);
    assert!(testimony.sections.len() > 70_000);
    assert!(testimony.symbols.iter().any(|symbol| symbol.section > 69_000), "extended indices are in use");
    // goblin does not follow extended numbering (0.10).
    assert_same("70,000 sections", "object", &testimony, &object_says(&file));
}

/// Checks that all three say the same of the file `data`.
fn compare(name: &str, data: &[u8]) {
    let ours = ours(data);
    assert!(!ours.sections.is_empty(), "{name} has sections");
    assert_same(name, "object", &ours, &object_says(data));
    assert_same(name, "goblin", &ours, &goblin_says(data));
}

fn assert_same(name: &str, witness: &str, ours: &Testimony, theirs: &Testimony) {
    first_difference(name, witness, &ours.sections, &theirs.sections);
    first_difference(name, witness, &ours.symbols, &theirs.symbols);
    first_difference(name, witness, &ours.relocations, &theirs.relocations);
}

fn first_difference<T: std::fmt::Debug + PartialEq>(name: &str, witness: &str, ours: &[T], theirs: &[T]) {
    for (index, (our, their)) in ours.iter().zip(theirs).enumerate() {
        assert_eq!(our, their, "{name}, number {index}: left is ours, right is what {witness} says");
    }
    assert_eq!(ours.len(), theirs.len(), "{name}: left is our count, right that of {witness}");
}

fn ours(data: &[u8]) -> Testimony {
    let elf = ElfFile::parse(data).unwrap();
    let mut testimony = Testimony::default();
    for section in elf.sections() {
        testimony.sections.push(SectionRow {
            name: section.name.clone().into_owned(),
            kind: section.kind.0,
            flags: section.flags,
            offset: section.offset,
            size: section.size,
            link: section.link,
            info: section.info,
            entry_size: section.entry_size,
        });
        if section.relocates().is_none() {
            continue;
        }
        testimony.relocations.extend(elf.relocations(section).unwrap().iter().map(|relocation| {
            RelocationRow {
                table: section.index,
                offset: relocation.offset,
                symbol: relocation.symbol,
                kind: relocation.kind.0,
                addend: relocation.addend,
            }
        }));
    }
    testimony.symbols = elf.symbols().unwrap().into_iter().map(our_symbol).collect();
    testimony
}

fn our_symbol(symbol: loader::elf::Symbol<'_>) -> SymbolRow {
    SymbolRow {
        name: symbol.name.into_owned(),
        value: symbol.value,
        size: symbol.size,
        binding: symbol.binding.0,
        kind: symbol.kind.0,
        section: match symbol.section {
            SymbolSection::Undefined => 0,
            SymbolSection::Absolute => 0xfff1,
            SymbolSection::Common => 0xfff2,
            SymbolSection::Index(index) => index as u64,
            SymbolSection::Reserved(number) => number.into(),
        },
    }
}

fn object_says(data: &[u8]) -> Testimony {
    let header = object::elf::FileHeader64::<Endianness>::parse(data).unwrap();
    let order = header.endian().unwrap();
    let sections = header.sections(order, data).unwrap();
    let mut testimony = Testimony::default();
    for (index, section) in sections.enumerate() {
        testimony.sections.push(SectionRow {
            name: text(sections.section_name(order, section).unwrap()),
            kind: section.sh_type(order).0,
            flags: section.sh_flags(order).0,
            offset: section.sh_offset(order),
            size: section.sh_size(order),
            link: section.sh_link(order),
            info: section.sh_info(order),
            entry_size: section.sh_entsize(order),
        });
        let row = |offset, symbol: u32, kind, addend| RelocationRow {
            table: index.0,
            offset,
            symbol: symbol as usize,
            kind,
            addend,
        };
        if let Some((entries, _)) = section.rel(order, data).unwrap() {
            testimony.relocations.extend(
                entries.iter().map(|r| row(r.r_offset(order), r.r_sym(order), r.r_type(order).0, None)),
            );
        }
        if let Some((entries, _)) = section.rela(order, data).unwrap() {
            testimony.relocations.extend(entries.iter().map(|r| {
                let addend = Some(r.r_addend(order));
                row(r.r_offset(order), r.r_sym(order, false), r.r_type(order, false).0, addend)
            }));
        }
    }
    let symbols = sections.symbols(order, data, object::elf::SHT_SYMTAB).unwrap();
    testimony.symbols = symbols
        .enumerate()
        .map(|(index, symbol)| SymbolRow {
            name: text(symbols.symbol_name(order, symbol).unwrap()),
            value: symbol.st_value(order),
            size: symbol.st_size(order),
            binding: symbol.st_bind().0,
            kind: symbol.st_type().0,
            section: symbols
                .shndx(order, index)
                .filter(|&index| index != 0)
                .map_or(symbol.st_shndx(order).0.into(), u64::from),
        })
        .collect();
    testimony
}

fn goblin_says(data: &[u8]) -> Testimony {
    let elf = goblin::elf::Elf::parse(data).unwrap();
    let name = |strings: &goblin::strtab::Strtab<'_>, offset| strings.get_at(offset).unwrap_or("").to_owned();
    let sections = elf.section_headers.iter().map(|section| SectionRow {
        name: name(&elf.shdr_strtab, section.sh_name),
        kind: section.sh_type,
        flags: section.sh_flags,
        offset: section.sh_offset,
        size: section.sh_size,
        link: section.sh_link,
        info: section.sh_info,
        entry_size: section.sh_entsize,
    });
    let symbols = elf.syms.iter().map(|symbol| SymbolRow {
        name: name(&elf.strtab, symbol.st_name),
        value: symbol.st_value,
        size: symbol.st_size,
        binding: symbol.st_bind(),
        kind: symbol.st_type(),
        section: symbol.st_shndx as u64,
    });
    let relocations = elf.shdr_relocs.iter().flat_map(|(table, entries)| {
        entries.iter().map(|entry| RelocationRow {
            table: *table,
            offset: entry.r_offset,
            symbol: entry.r_sym,
            kind: entry.r_type,
            addend: entry.r_addend,
        })
    });
    Testimony { sections: sections.collect(), symbols: symbols.collect(), relocations: relocations.collect() }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn empty(architecture: Architecture, order: Endianness) -> Object<'static> {
    Object::new(BinaryFormat::Elf, architecture, order)
}

fn add_section(file: &mut Object<'_>, name: &str, kind: SectionKind, data: &[u8]) -> SectionId {
    let segment = file.segment_name(StandardSegment::Data).to_vec();
    let section = file.add_section(segment, name.as_bytes().to_vec(), kind);
    if !data.is_empty() {
        file.append_section_data(section, data, 8);
    }
    section
}

/// A program that refers to a variable, with symbols of every sort.
fn typical(architecture: Architecture, order: Endianness) -> Object<'static> {
    let mut file = empty(architecture, order);
    let code = add_section(&mut file, "xdp", SectionKind::Text, &[0; 32]);
    let data = add_section(&mut file, "maps", SectionKind::Data, &[0; 40]);
    let symbol = |name: &str, kind, scope, section| Symbol {
        name: name.as_bytes().to_vec(),
        value: 8,
        size: 16,
        kind,
        scope,
        weak: false,
        section,
        flags: SymbolFlags::None,
    };
    let (code_section, data_section) = (WrittenIn::Section(code), WrittenIn::Section(data));
    file.add_symbol(symbol("prog", SymbolKind::Text, SymbolScope::Dynamic, code_section));
    file.add_symbol(symbol("absolute", SymbolKind::Data, SymbolScope::Dynamic, WrittenIn::Absolute));
    file.add_symbol(symbol("elsewhere", SymbolKind::Unknown, SymbolScope::Unknown, WrittenIn::Undefined));
    file.add_file_symbol(b"prog.bpf.c".to_vec());
    let map = symbol("map", SymbolKind::Data, SymbolScope::Compilation, data_section);
    let map = file.add_symbol(Symbol { weak: true, ..map });
    let flags = RelocationFlags::Elf { r_type: object::elf::RelocationType(1) };
    file.add_relocation(code, Relocation { offset: 8, symbol: map, addend: -16, flags }).unwrap();
    file
}
