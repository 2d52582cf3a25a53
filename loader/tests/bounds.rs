//! What a file may cost: no input makes the library keep, or take on the way, more than a constant times its size.
//!
//! Each file here is made by hand so that little input asks for much: thousands of names that share one long
//! string, thousands of tables over the same bytes. Memory is measured for the whole process, so this file has one
//! test only. Time is not measured: steps by the square of the size would show as a test that does not end.

// Tells clippy that the functions beside the tests are test code too.
#![cfg(test)]

use std::fs;
use std::ops::Range;

use loader::btf::{Btf, BtfWriter, Composite, CoreRelocation, KernelTypes, LazyBtf, Shape, TypeId};
use loader::bytes::{ByteOrder, MAX_NAME};
use loader::core_reloc::Relocator;
use loader::features::Kernel;
use loader::object::Object;
use loader::plan::Loader;
use loader::uapi::bpf::{BPF_CALL, BPF_EXIT, BPF_INSN_SIZE, BPF_LD_IMM64, BPF_PSEUDO_CALL};
use loader::uapi::btf::CoreReloKind;
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

const ATTACKS: [(&str, Attack); 17] = [
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
    ("programs that share a large function", programs_that_share_a_function),
    ("programs that share many functions", programs_that_share_many_functions),
    ("types with one without a name in each", types_with_one_in_each),
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
    join_shared_code_up_to_the_limit();
    share_candidates();
}

/// What programs share is joined to each of them, which is the square of the file's size up to a limit.
fn join_shared_code_up_to_the_limit() {
    const LIMIT: usize = 2_000_000;
    // A plan has an instruction several times, for kernels that lack this or that.
    const EACH: usize = 100;
    let cost = Cost::of(&programs_that_share_a_function(1400));
    println!("shared code: {cost:?}");
    assert!(cost.peak < LIMIT * EACH, "{cost:?}");
    let programs = |times| {
        let object = Object::parse(&programs_that_share_a_function(times))?;
        let plan = Loader::new(&object).all_programs().plan(&Kernel::unknown());
        plan.map(|plan| plan.programs.len())
    };
    assert_eq!(programs(1400).unwrap(), 1400);
    let refusal = programs(1500).unwrap_err();
    let words = format!("expected at most {LIMIT} instructions in all programs with their functions, ");
    assert!(refusal.to_string().starts_with(&words), "{refusal}");
    assert!(refusal.help().is_some());
}

/// Types that differ by a flavour could each be any of as many types of the kernel, which are listed once.
fn share_candidates() {
    const TYPES: usize = 4000;
    let types = |name: fn(usize) -> String| {
        let mut writer = BtfWriter::new();
        for number in 0..TYPES {
            let empty = Composite { size: 0, members: Box::default() };
            writer.add(&name(number), Shape::Struct(empty)).unwrap();
        }
        (writer.name("0").unwrap(), writer.to_bytes(ByteOrder::Little).unwrap())
    };
    let (access, local) = types(|number| format!("flow___{number}"));
    let (_, kernel) = types(|_| "flow".to_owned());
    let file = local.len() + kernel.len();
    let local = Btf::parse(&local, ByteOrder::Little, "`.BTF`").unwrap();
    let vmlinux = Some(LazyBtf::from_bytes(kernel, "`vmlinux`").unwrap());
    let kernel = KernelTypes { vmlinux, modules: None };
    let relocation =
        |ty| CoreRelocation { offset: 0, ty: TypeId(ty), access, kind: CoreReloKind::TYPE_EXISTS };
    let relocations: Vec<_> = (1..=int(TYPES)).map(relocation).collect();
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = memory("VmRSS");
    let relocator = Relocator::new(&local, ByteOrder::Little, relocations.iter(), Some(&kernel));
    assert!(!relocator.wants_modules(&relocations).unwrap());
    let peak = memory("VmHWM").saturating_sub(before);
    println!("candidates: {peak} bytes for {file}");
    assert!(peak < 8 * file + SLACK, "{peak} for {file}");
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
        drop(plan);
        let all =
            object.as_ref().ok().map(|object| Loader::new(object).all_programs().plan(&Kernel::unknown()));
        drop(all);
        let types = object.as_ref().ok().and_then(|object| object.btf.as_deref());
        let types: Vec<_> = types.into_iter().flat_map(Btf::declarations).map(|(_, text)| text).collect();
        let peak = memory("VmHWM").saturating_sub(before);
        let types: usize = types.iter().map(|text| text.as_ref().map_or(0, String::len)).sum();
        Self { file: data.len(), kept: format!("{object:?}").len() + types, peak }
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

/// Programs that are a call each, of a function with as many instructions as there are programs.
fn programs_that_share_a_function(times: usize) -> Vec<u8> {
    let mut file = File::new();
    let name = file.string(".text");
    let shared = file.section(name, SectionType::PROGBITS, &EXIT.repeat(times));
    file.headers[shared].flags = SHF_EXECINSTR;
    let name = file.string("shared");
    let size = times * BPF_INSN_SIZE;
    let function = Symbol { name, kind: SymbolType::FUNC, section: shared, value: 0, size };
    let programs = file.callers("xdp", times, 0..1);
    file.finish(&[vec![function], programs].concat())
}

/// Programs that call a function which calls many others, whose names share one long string.
fn programs_that_share_many_functions(times: usize) -> Vec<u8> {
    let times = times / 8;
    let mut file = File::new();
    let name = file.string(&format!(".text.{}", "s".repeat(MAX_NAME - 6)));
    let shared = file.section(name, SectionType::PROGBITS, &EXIT.repeat(times));
    file.headers[shared].flags = SHF_EXECINSTR;
    let name = file.string(&"n".repeat(MAX_NAME));
    let size = BPF_INSN_SIZE;
    let function =
        |at| Symbol { name: name + at, kind: SymbolType::FUNC, section: shared, value: at * size, size };
    let functions: Vec<_> = (0..times).map(function).collect();
    let all = file.callers(".text", 1, 0..times);
    let programs = file.callers("xdp", times, times..times + 1);
    file.finish(&[functions, all, programs].concat())
}

/// Structs with a member of the first one, which has no name and many members.
fn types_with_one_in_each(times: usize) -> Vec<u8> {
    const INT: [u32; 4] = [1, 1 << 24, 4, 32];
    let mut file = File::new();
    file.program("xdp");
    let members = (0..int(times)).flat_map(|_| [1, 1, 0]);
    let first = [0, STRUCT | int(times), 4].into_iter().chain(members);
    let others = (0..times).flat_map(|_| [1, STRUCT | 1, 4, 1, 2, 0]);
    let types: Vec<u32> = INT.into_iter().chain(first).chain(others).collect();
    file.btf(&types, &"n".repeat(40), &[]);
    file.finish(&[])
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
#[derive(Clone)]
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

    /// Adds a section of so many functions that call each of some symbols, and returns their own symbols.
    fn callers(&mut self, section: &str, times: usize, callees: Range<usize>) -> Vec<Symbol> {
        const CALL: [u8; BPF_INSN_SIZE] = [BPF_CALL, BPF_PSEUDO_CALL << 4, 0, 0, 0xff, 0xff, 0xff, 0xff];
        const R_BPF_64_32: u8 = 10;
        let caller = [CALL.repeat(callees.len()), EXIT.to_vec()].concat();
        let (name, size) = (self.string(section), caller.len());
        let index = self.section(name, SectionType::PROGBITS, &caller.repeat(times));
        self.headers[index].flags = SHF_EXECINSTR;
        let mut entries = Vec::new();
        for at in 0..times {
            for (call, callee) in callees.clone().enumerate() {
                let mut entry = relocation(at * size + call * BPF_INSN_SIZE, callee);
                entry[8] = R_BPF_64_32;
                entries.extend(entry);
            }
        }
        let entries = self.append(&entries);
        self.relocations(index, entries);
        let symbol = |at| {
            let name = self.string(&format!("{section}_{at}"));
            Symbol { name, kind: SymbolType::FUNC, section: index, value: at * size, size }
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
