//! What a file may cost: no input makes the library keep, or take on the way, more than a constant times its size.
//!
//! Each file here is made by hand so that little input asks for much: thousands of names that share one long
//! string, thousands of tables over the same bytes. Memory is measured for the whole process, so this file has one
//! test only. Time is not measured: steps by the square of the size would show as a test that does not end.

// Tells clippy that the functions beside the tests are test code too.
#![cfg(test)]

use std::fs;
use std::ops::Range;

use loader::bytes::MAX_NAME;
use loader::object::Object;
use loader::uapi::bpf::{BPF_EXIT, BPF_INSN_SIZE, BPF_LD_IMM64};
use loader::uapi::elf::{
    EHDR_SIZE, FileType, Machine, REL_SIZE, SHDR_SIZE, SHF_EXECINSTR, SYM_SIZE, SectionType, SymbolBinding,
    SymbolType,
};

mod plans;

/// Bytes of memory that the library may take at its peak for each byte of the file.
///
/// The worst is an instruction with its relocation, whose symbol and section have each the longest name that is read,
/// in a program that goes by four names.
const FACTOR: usize = 4 * 2 * MAX_NAME / (BPF_INSN_SIZE + REL_SIZE) + 64;
/// Bytes that a small file may take all the same.
const SLACK: usize = 1 << 20;

/// Makes a file that asks for much, so many times.
type Attack = fn(usize) -> Vec<u8>;

const ATTACKS: [(&str, Attack); 14] = [
    ("sections of one long name", sections_of_one_name),
    ("programs over the same bytes", programs_over_the_same_bytes),
    ("maps over the same bytes", maps_over_the_same_bytes),
    ("relocation tables over the same bytes", relocation_tables_over_the_same_bytes),
    ("functions that overlap", overlapping_functions),
    ("functions with the tails of one long name", functions_of_one_name),
    ("a function of four names", function_of_four_names),
    ("variables over the same bytes", variables_over_the_same_bytes),
    ("sections of variables that nobody needs", sections_of_variables),
    ("types of one name", types_of_one_name),
    ("what is said of instructions", infos_of_instructions),
    ("maps with the tails of one long name", maps_of_one_name),
    ("relocations by one long name", relocations_by_one_name),
    ("references to the last of many maps", references_to_the_last_map),
];

#[test]
fn the_size_of_a_file_bounds_what_it_costs() {
    step_over_debug_information();
    for (name, attack) in ATTACKS {
        let costs = [2000, 4000].map(|times| Cost::of(&attack(times)));
        println!("{name}: {costs:?}");
        for Cost { file, kept, peak } in &costs {
            assert!(kept.max(peak) <= &(FACTOR * file + SLACK), "{name}: {costs:?}");
        }
        // Twice the file may give twice the answer, and a little more for longer numbers.
        let [small, large] = costs;
        assert!(large.kept <= small.kept * 9 / 4 + SLACK, "{name}: {small:?}, then {large:?}");
    }
}

/// Debug information and its relocations are most of many a file, and nobody needs them.
fn step_over_debug_information() {
    const ENTRIES: usize = 2_000_000;
    let mut file = File::new();
    file.program("xdp");
    let name = file.string(".debug_info");
    let debug = file.section(name, SectionType::PROGBITS, &[0xff; 8 << 10]);
    let entries = file.append(&relocation(1, usize::MAX >> 32).repeat(ENTRIES));
    file.relocations(debug, entries);
    let cost = Cost::of(&file.finish(&[]));
    println!("{ENTRIES} relocations of debug information: {cost:?}");
    // Less than a byte each.
    assert!(cost.peak < ENTRIES, "{cost:?}");
}

/// What a file costs, in bytes.
#[derive(Debug)]
struct Cost {
    /// The file.
    file: usize,
    /// What is made of it, printed: an object, or the words that refuse it.
    kept: usize,
    /// By how much the memory of this process grew at most, beyond what the allocator still had from before.
    peak: usize,
}

impl Cost {
    fn of(data: &[u8]) -> Self {
        // Forgets the highest memory use so far.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = memory("VmRSS");
        let object = Object::parse(data);
        let plan = object.as_ref().ok().map(|object| plans::attach(object, &object.programs[0]));
        let peak = memory("VmHWM").saturating_sub(before);
        drop(plan);
        Self { file: data.len(), kept: format!("{object:?}").len(), peak }
    }
}

/// A line of `/proc/self/status`, in bytes.
fn memory(field: &str) -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    1024 * line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
}

fn sections_of_one_name(times: usize) -> Vec<u8> {
    let mut file = File::new();
    file.program("xdp");
    let name = file.string(&"n".repeat(MAX_NAME));
    for _ in 0..times {
        file.section(name, SectionType::PROGBITS, &[]);
    }
    file.finish(&[])
}

fn programs_over_the_same_bytes(times: usize) -> Vec<u8> {
    let mut file = File::new();
    file.program("xdp");
    let (name, bytes) = (file.string("xdp/more"), file.append(&EXIT.repeat(times)));
    for _ in 0..times {
        file.header(name, SectionType::PROGBITS, SHF_EXECINSTR, bytes.clone());
    }
    file.finish(&[])
}

fn maps_over_the_same_bytes(times: usize) -> Vec<u8> {
    let mut file = File::new();
    file.program("xdp");
    let (name, bytes) = (file.string("maps/m"), file.append(&[0; 280]));
    for _ in 0..times {
        file.header(name, SectionType::PROGBITS, 0, bytes.clone());
    }
    file.finish(&[])
}

fn relocation_tables_over_the_same_bytes(times: usize) -> Vec<u8> {
    let mut file = File::new();
    let bytes = file.append(&relocation(0, 0).repeat(times));
    for _ in 0..times {
        let target = file.program("xdp");
        file.relocations(target, bytes.clone());
    }
    file.finish(&[])
}

fn overlapping_functions(times: usize) -> Vec<u8> {
    let mut file = File::new();
    let name = file.string("xdp");
    let code = file.section(name, SectionType::PROGBITS, &EXIT.repeat(times));
    file.headers[code].flags = SHF_EXECINSTR;
    let symbol = |_| Symbol { name, kind: SymbolType::FUNC, section: code, value: 0, size: 8 * times };
    file.finish(&(0..times).map(symbol).collect::<Vec<_>>())
}

fn functions_of_one_name(times: usize) -> Vec<u8> {
    let mut file = File::new();
    let section = file.string(&format!("xdp/{}", "s".repeat(MAX_NAME - 4)));
    let code = file.section(section, SectionType::PROGBITS, &EXIT.repeat(times));
    file.headers[code].flags = SHF_EXECINSTR;
    let name = file.string(&"n".repeat(MAX_NAME));
    let symbol = |index| Symbol {
        name: name + index,
        kind: SymbolType::FUNC,
        section: code,
        value: index * BPF_INSN_SIZE,
        size: BPF_INSN_SIZE,
    };
    file.finish(&(0..times).map(symbol).collect::<Vec<_>>())
}

fn function_of_four_names(times: usize) -> Vec<u8> {
    let times = times / 4;
    let mut file = File::new();
    let code = file.string("xdp");
    let code = file.section(code, SectionType::PROGBITS, &EXIT.repeat(times));
    file.headers[code].flags = SHF_EXECINSTR;
    let target = file.string(&"s".repeat(MAX_NAME));
    let target = file.section(target, SectionType::PROGBITS, &[0; 8]);
    let entries: Vec<_> = (0..times).flat_map(|index| relocation(index * BPF_INSN_SIZE, 0)).collect();
    let bytes = file.append(&entries);
    file.relocations(code, bytes);
    let name = file.string(&"n".repeat(MAX_NAME));
    let data = Symbol { name, kind: SymbolType::OBJECT, section: target, value: 0, size: 8 };
    let size = times * BPF_INSN_SIZE;
    let program = |tail| Symbol { name: name + tail, kind: SymbolType::FUNC, section: code, value: 0, size };
    file.finish(&[data, program(1), program(2), program(3), program(4)])
}

fn variables_over_the_same_bytes(times: usize) -> Vec<u8> {
    let mut file = File::new();
    file.program("xdp");
    let bytes = file.append(&vec![1; 8 * times]);
    for number in 0..times {
        let name = file.string(&format!(".data.{number}"));
        file.header(name, SectionType::PROGBITS, 0, bytes.clone());
    }
    file.finish(&[])
}

fn sections_of_variables(times: usize) -> Vec<u8> {
    let mut file = File::new();
    file.program("xdp");
    for number in 0..times {
        let name = file.string(&format!(".rodata.{number}{}", "n".repeat(MAX_NAME - 16)));
        file.section(name, SectionType::PROGBITS, &[1]);
    }
    // Zeros cost nothing in the file, and so they may cost nothing here.
    let name = file.string(".bss");
    file.header(name, SectionType::NOBITS, 0, 0..0xffff_fff0);
    file.finish(&[])
}

fn int(number: usize) -> u32 {
    u32::try_from(number).unwrap()
}

fn types_of_one_name(times: usize) -> Vec<u8> {
    let mut file = File::new();
    file.program("xdp");
    // Structs of no members, each with another tail of the name.
    let types: Vec<u32> = (0..times).flat_map(|tail| [int(1 + tail), STRUCT, 0]).collect();
    file.btf(&types, &"n".repeat(MAX_NAME), &[]);
    file.finish(&[])
}

fn infos_of_instructions(times: usize) -> Vec<u8> {
    let mut file = File::new();
    let xdp = file.string("xdp");
    let code = file.section(xdp, SectionType::PROGBITS, &EXIT.repeat(times));
    file.headers[code].flags = SHF_EXECINSTR;
    // Each table of `.BTF.ext` is about the section `xdp`, and has a record for each instruction.
    let records = |size: u32| {
        let places = (0..int(times)).flat_map(move |insn| {
            (0..size / 4).map(move |word| if word == 0 { insn * int(BPF_INSN_SIZE) } else { 1 })
        });
        [size, 1, int(times)].into_iter().chain(places).collect::<Vec<u32>>()
    };
    let tables = [records(8), records(16), records(16)];
    file.btf(&[1, STRUCT, 0], "xdp", &tables);
    let name = file.string(&"n".repeat(MAX_NAME));
    let size = BPF_INSN_SIZE;
    let function = |index| Symbol {
        name: name + index,
        kind: SymbolType::FUNC,
        section: code,
        value: index * size,
        size,
    };
    file.finish(&(0..times).map(function).collect::<Vec<_>>())
}

/// The `info` of a `struct btf_type` that is a struct without members.
const STRUCT: u32 = 4 << 24;

fn maps_of_one_name(times: usize) -> Vec<u8> {
    let mut file = File::new();
    file.program("xdp");
    let symbols = file.maps(times);
    file.finish(&symbols)
}

fn relocations_by_one_name(times: usize) -> Vec<u8> {
    let mut file = File::new();
    let code = file.string("xdp");
    let code = file.section(code, SectionType::PROGBITS, &EXIT.repeat(times));
    file.headers[code].flags = SHF_EXECINSTR;
    let section = file.string(&"s".repeat(MAX_NAME));
    let section = file.section(section, SectionType::PROGBITS, &[0; 8]);
    let entries: Vec<_> = (0..times).flat_map(|index| relocation(index * BPF_INSN_SIZE, 0)).collect();
    let bytes = file.append(&entries);
    file.relocations(code, bytes);
    let name = file.string(&"n".repeat(MAX_NAME));
    file.finish(&[Symbol { name, kind: SymbolType::OBJECT, section, value: 0, size: 8 }])
}

fn references_to_the_last_map(times: usize) -> Vec<u8> {
    let mut file = File::new();
    let name = file.string("xdp");
    let load = [BPF_LD_IMM64, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let code = file.section(name, SectionType::PROGBITS, &load.repeat(times));
    file.headers[code].flags = SHF_EXECINSTR;
    let symbols = file.maps(times);
    let entries: Vec<_> = (0..times).flat_map(|index| relocation(index * load.len(), times - 1)).collect();
    let bytes = file.append(&entries);
    file.relocations(code, bytes);
    file.finish(&symbols)
}

const EXIT: [u8; BPF_INSN_SIZE] = [BPF_EXIT, 0, 0, 0, 0, 0, 0, 0];

fn relocation(offset: usize, symbol: usize) -> Vec<u8> {
    let mut entry = Vec::new();
    put(&mut entry, 8, offset);
    put(&mut entry, 4, 1);
    put(&mut entry, 4, symbol);
    entry
}

/// A symbol to be written.
struct Symbol {
    name: usize,
    kind: SymbolType,
    section: usize,
    value: usize,
    size: usize,
}

/// A section header to be written.
struct Header {
    name: usize,
    kind: SectionType,
    flags: u64,
    bytes: Range<usize>,
    link: usize,
    info: usize,
    entry_size: usize,
}

/// An ELF file under construction, little-endian, in which sections may share their bytes.
struct File {
    bytes: Vec<u8>,
    strings: Vec<u8>,
    headers: Vec<Header>,
}

/// Where the strings of all names are.
const STRINGS: usize = 1;
/// Where the symbols are.
const SYMBOLS: usize = 2;

impl File {
    fn new() -> Self {
        let mut file = Self { bytes: vec![0; EHDR_SIZE], strings: vec![0], headers: Vec::new() };
        for kind in [SectionType::NULL, SectionType::STRTAB, SectionType::SYMTAB] {
            file.header(0, kind, 0, 0..0);
        }
        file
    }

    /// Adds a name and returns its offset.
    fn string(&mut self, text: &str) -> usize {
        self.strings.extend(text.bytes().chain([0]));
        self.strings.len() - text.len() - 1
    }

    fn append(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend(bytes);
        start..self.bytes.len()
    }

    /// Adds a section over these bytes of the file and returns its index.
    fn header(&mut self, name: usize, kind: SectionType, flags: u64, bytes: Range<usize>) -> usize {
        self.headers.push(Header { name, kind, flags, bytes, link: 0, info: 0, entry_size: 0 });
        self.headers.len() - 1
    }

    fn section(&mut self, name: usize, kind: SectionType, data: &[u8]) -> usize {
        let bytes = self.append(data);
        self.header(name, kind, 0, bytes)
    }

    /// Adds a section with a program that is one 64-bit load.
    fn program(&mut self, section: &str) -> usize {
        let name = self.string(section);
        let load = [BPF_LD_IMM64, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let section = self.section(name, SectionType::PROGBITS, &load);
        self.headers[section].flags = SHF_EXECINSTR;
        section
    }

    /// Adds a section `maps`, and returns the symbols of so many maps in it.
    fn maps(&mut self, times: usize) -> Vec<Symbol> {
        let section = self.string("maps");
        let definition: Vec<_> = [1, 4, 4, 8, 0].into_iter().flat_map(u32::to_le_bytes).collect();
        let size = definition.len();
        let section = self.section(section, SectionType::PROGBITS, &definition.repeat(times));
        let name = self.string(&"n".repeat(MAX_NAME));
        let symbol = |index| Symbol {
            name: name + index,
            kind: SymbolType::OBJECT,
            section,
            value: index * size,
            size,
        };
        (0..times).map(symbol).collect()
    }

    /// Adds a `.BTF` with these types and one string, and a `.BTF.ext` of up to three tables.
    fn btf(&mut self, types: &[u32], string: &str, tables: &[Vec<u32>]) {
        const MAGIC: [u8; 4] = [0x9f, 0xeb, 1, 0];
        let bytes = |words: &[u32]| words.iter().copied().flat_map(u32::to_le_bytes).collect::<Vec<_>>();
        let (types, strings) = (bytes(types), [b"\0", string.as_bytes(), b"\0"].concat());
        let header = bytes(&[24, 0, int(types.len()), int(types.len()), int(strings.len())]);
        let name = self.string(".BTF");
        self.section(name, SectionType::PROGBITS, &[&MAGIC[..], &header, &types, &strings].concat());
        if tables.is_empty() {
            return;
        }
        let mut header = vec![32];
        let mut offset = 0;
        for table in tables {
            header.extend([offset, 4 * int(table.len())]);
            offset += 4 * int(table.len());
        }
        let name = self.string(".BTF.ext");
        let data = [&MAGIC[..], &bytes(&header), &bytes(&tables.concat())].concat();
        self.section(name, SectionType::PROGBITS, &data);
    }

    /// Adds a relocation table over these bytes for the section `target`.
    fn relocations(&mut self, target: usize, bytes: Range<usize>) {
        let table = self.header(0, SectionType::REL, 0, bytes);
        self.headers[table].info = target;
        self.headers[table].entry_size = REL_SIZE;
    }

    fn finish(mut self, symbols: &[Symbol]) -> Vec<u8> {
        let mut table = Vec::new();
        for symbol in symbols {
            put(&mut table, 4, symbol.name);
            put(&mut table, 2, usize::from(SymbolBinding::GLOBAL.0 << 4 | symbol.kind.0));
            put(&mut table, 2, symbol.section);
            put(&mut table, 8, symbol.value);
            put(&mut table, 8, symbol.size);
        }
        self.headers[SYMBOLS].bytes = self.append(&table);
        self.headers[SYMBOLS].link = STRINGS;
        self.headers[SYMBOLS].entry_size = SYM_SIZE;
        let strings = std::mem::take(&mut self.strings);
        self.headers[STRINGS].bytes = self.append(&strings);
        self.write_headers();
        self.bytes
    }

    fn write_headers(&mut self) {
        let mut header = vec![0x7f, b'E', b'L', b'F', 2, 1, 1];
        header.resize(16, 0);
        put(&mut header, 2, FileType::REL.0.into());
        put(&mut header, 2, Machine::BPF.0.into());
        put(&mut header, 4, 1);
        for field in [0, 0, self.bytes.len()] {
            put(&mut header, 8, field);
        }
        put(&mut header, 4, 0);
        for field in [EHDR_SIZE, 0, 0, SHDR_SIZE, self.headers.len(), STRINGS] {
            put(&mut header, 2, field);
        }
        self.bytes[..EHDR_SIZE].copy_from_slice(&header);
        for section in &self.headers {
            put(&mut self.bytes, 4, section.name);
            put(&mut self.bytes, 4, section.kind.0.try_into().unwrap());
            put(&mut self.bytes, 8, section.flags.try_into().unwrap());
            for field in [0, section.bytes.start, section.bytes.len()] {
                put(&mut self.bytes, 8, field);
            }
            put(&mut self.bytes, 4, section.link);
            put(&mut self.bytes, 4, section.info);
            put(&mut self.bytes, 8, 1);
            put(&mut self.bytes, 8, section.entry_size);
        }
    }
}

fn put(out: &mut Vec<u8>, size: usize, value: usize) {
    out.extend(&value.to_le_bytes()[..size]);
}
