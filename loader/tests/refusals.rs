//! Bad input, case by case: the exact words with which each is refused.
//!
//! A refusal says where in the file it is, what was expected there and what was found. Most inputs are written here
//! as a compiler would; the rest are fixtures with a few bytes changed.

// Tells clippy that the functions beside the tests are test code too.
#![cfg(test)]

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use loader::bytes::MAX_NAME;
use loader::elf::ElfFile;
use loader::features::Kernel;
use loader::object::{CodeInfo, MapDialect, Object, ParseOptions};
use loader::plan::{Existing, Loader, Plan};
use loader::uapi::bpf::{BPF_CALL, BPF_EXIT, BPF_LD_IMM64, BPF_MOV64_IMM, BPF_PSEUDO_CALL, MapType};
use loader::uapi::elf::{FileType, SHDR_SIZE, SectionType};
use loader::{ErrorKind, Result};
use object::elf::RelocationType;
use object::write::{self, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope,
};

mod support;

const SOURCE: &str = "\nhelp: this is text: if it is a program's source, compile it with `clang -O2 -g -target bpf \
     -I/usr/include/$(uname -m)-linux-gnu -c FILE`";

#[test]
fn a_file_that_is_no_object() {
    refused(load(b""), "file header at offset 0x0: expected an ELF file, found an empty one");
    for (data, found, help) in [
        (&b"\0\x01\x02"[..], "[00, 01, 02]", ""),
        (b"text\0", "[74, 65, 78, 74]", ""),
        (b"// \xc3", "[2f, 2f, 20, c3]", SOURCE),
        (b"\xff\xfe#\0", "[ff, fe, 23, 00]", ""),
        (b"#include <linux/bpf.h>\n", "[23, 69, 6e, 63]", SOURCE),
        (b"\t.text\n", "[09, 2e, 74, 65]", SOURCE),
        (
            b"BC\xc0\xde5\x14\0\0",
            "[42, 43, c0, de]",
            "\nhelp: this is LLVM bitcode: compile without `-flto` and `-emit-llvm`, or with `llc -march=bpf \
             -filetype=obj`",
        ),
        (
            b"!<arch>\n/               0",
            "[21, 3c, 61, 72]",
            "\nhelp: this is an archive: take the object out of it with `ar x`; `bpftool gen object` links several",
        ),
        (b"\x1f\x8b\x08\0", "[1f, 8b, 08, 00]", "\nhelp: this is compressed: `gunzip` it"),
    ] {
        let words = "file header at offset 0x0: expected the ELF magic [7f, 45, 4c, 46], found ";
        refused(load(data), &format!("{words}{found}{help}"));
    }
    refused(
        load(&edited("clang-19/xdp_drop", |data| data[4] = 1)),
        "file header at offset 0x4: expected a 64-bit ELF file (ELFCLASS64), found a 32-bit one",
    );
}

#[test]
fn a_file_for_something_else() {
    let x86 = Writer::new(Architecture::X86_64).finish();
    refused(
        load(&x86),
        "file header at offset 0x12: expected a BPF object (EM_BPF, 247), found a file for x86-64 (relocatable)\n\
         help: compile it with `clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu -c FILE`",
    );
    let core_dump = [&x86[..16], &[FileType::CORE.0.to_le_bytes()[0]], &x86[17..]].concat();
    refused(
        load(&core_dump),
        "file header at offset 0x12: expected a BPF object (EM_BPF, 247), found a file for x86-64 (core dump)\n\
         help: compile it with `clang -O2 -g -target bpf -I/usr/include/$(uname -m)-linux-gnu -c FILE`",
    );
    refused(
        load(&edited("clang-19/xdp_drop", |data| data[16] = FileType::CORE.0.to_le_bytes()[0])),
        "file header at offset 0x10: expected a relocatable object (ET_REL, 1), found type core dump",
    );
}

#[cfg(target_endian = "little")]
#[test]
fn an_object_for_a_machine_of_the_other_byte_order() {
    refused(
        load(&fixture("bpfeb/xdp_drop")),
        "file header at offset 0x5: expected a little-endian object, as this machine is, found a big-endian one\n\
         help: compile with `clang -target bpfel`",
    );
}

#[test]
fn an_object_without_a_program() {
    let mut writer = Writer::new(Architecture::Bpf);
    writer.section("license", SectionKind::Data, b"GPL\0");
    refused(load(&writer.finish()), "the object has no section with instructions");
    refused(
        load(&Writer::with_program("classifier").finish()),
        "no section of the object is named as those of XDP programs are; instructions are in `classifier`\n\
         help: say which it is: `ParseOptions::program`, or `ParseOptions::sections`",
    );
}

#[test]
fn an_object_that_has_lost_its_relocations() {
    const HELP: &str =
        "help: the file has lost its relocations; strip it with `llvm-strip -g`, which keeps them";
    // What llvm-objcopy -R .relxdp makes of a file: the relocations are no table of them any more.
    let without = |name: &str| {
        edited(name, |data| {
            let header = header_of(data, ".relxdp");
            data[header + 4] = SectionType::PROGBITS.0.to_le_bytes()[0];
        })
    };
    for clang in ["clang-14", "clang-19"] {
        refused(
            load(&without(&format!("{clang}/global_data"))),
            &format!(
                "section `xdp` at offset 0x8: instruction 1 of program `xdp_sample`: expected a relocation for \
                 `r2 = 0x0 ll`, found none in the whole object\n{HELP}"
            ),
        );
        refused(
            load(&without(&format!("{clang}/subprog_call"))),
            &format!(
                "section `xdp` at offset 0x8: instruction 1 of program `drop_arp_and_short`: expected a call of a \
                 function in section `xdp`, found none where it points\n{HELP}"
            ),
        );
    }
    // The number 0 is no address where there is nothing to name.
    let mut writer = Writer::new(Architecture::Bpf);
    writer.section("xdp", SectionKind::Text, &[LOAD_ADDRESS, DROP].concat());
    assert!(load(&writer.finish()).is_ok());
}

#[test]
fn a_function_of_many_names() {
    let named = |names: usize| {
        let mut writer = Writer::new(Architecture::Bpf);
        let code = writer.section("xdp", SectionKind::Text, &DROP);
        for number in 0..names {
            let name = format!("p{number}");
            writer.symbol(&name, SymbolKind::Text, SymbolSection::Section(code), 0, 16);
        }
        Object::parse(&writer.finish())
    };
    let names =
        |object: Object| object.programs.into_iter().map(|program| program.function.name).collect::<Vec<_>>();
    assert_eq!(names(named(4).unwrap()), ["p0", "p1", "p2", "p3"]);
    refused(
        named(5).map(drop),
        "section `xdp` at offset 0x0: expected at most 4 names for the function here, found more",
    );
}

#[test]
fn a_program_that_is_not_chosen_or_not_there() {
    const LIST: &str = "the object has pass_all (section xdp), drop_known_source (section xdp), \
        drop_known_flow (section xdp), drop_known_address (section xdp/second), pass_frags (section xdp.frags), \
        old_sample (section xdp_old_sample)";
    refused(
        wish("many", |loader| loader),
        &format!("choose one program: {LIST}\nhelp: say which: `Loader::program`"),
    );
    let missing = wish("many", |loader| loader.program("xdp_drop"));
    refused(missing, &format!("there is no program `xdp_drop`: {LIST}"));
    let several = wish("many", |loader| loader.program("xdp"));
    refused(several, &format!("section `xdp` holds several programs: {LIST}"));
}

#[test]
fn a_section_that_is_not_there() {
    let parse = |data: &[u8]| {
        let options = ParseOptions { sections: vec!["tc".to_owned()], ..ParseOptions::default() };
        Object::parse_with(data, &options).map(drop)
    };
    refused(
        parse(&Writer::with_program("classifier").finish()),
        "there is no section `tc` with instructions; instructions are in `classifier`",
    );
    refused(
        parse(&Writer::with_program("xdp").finish()),
        "there is no section `tc` with instructions; instructions are in `xdp`",
    );
    refused(
        parse(&Writer::new(Architecture::Bpf).finish()),
        "there is no section `tc` with instructions; no section has any",
    );
}

#[test]
fn two_things_of_one_name() {
    let mut writer = Writer::with_program("xdp");
    let mut definition = [0; 280];
    definition[0] = 1;
    writer.section("maps/a", SectionKind::Data, &definition);
    writer.section("maps/a", SectionKind::Data, &definition);
    refused(
        load(&writer.finish()),
        "section `maps/a` at offset 0x0: expected one map called `a`, found another in section `maps/a`",
    );
    let mut writer = Writer::with_program("xdp");
    writer.program("prog");
    refused(
        load(&writer.finish()),
        "section `prog` at offset 0x0: expected one program called `drop_all`, found another in section `xdp`",
    );
}

#[test]
fn a_function_that_is_not_whole() {
    let function = |offset, size| {
        let mut writer = Writer::new(Architecture::Bpf);
        let code = writer.section("xdp", SectionKind::Text, &DROP);
        writer.symbol("f", SymbolKind::Text, SymbolSection::Section(code), offset, size);
        writer.finish()
    };
    for (offset, size, found) in [(0, 24, "0x0 to 0x18"), (0, 12, "0x0 to 0xc"), (16, 8, "0x10 to 0x18")] {
        refused(
            load(&function(offset, size)),
            &format!(
                "section `xdp` at offset {offset:#x}: expected function `f` to be whole instructions between its \
                 neighbours, found bytes {found}"
            ),
        );
    }
    refused(
        load(&code(&LOAD_ADDRESS[..8])),
        "function `xdp` of section `xdp` at offset 0x8: expected the second half of the 64-bit immediate load at \
         offset 0x0, found the end",
    );
    refused(
        load(&code(&DROP[..12])),
        "function `xdp` of section `xdp` at offset 0x8: expected 8 bytes for an instruction, found 4",
    );
}

#[test]
fn a_version_of_another_size() {
    let mut writer = Writer::with_program("xdp");
    writer.section("version", SectionKind::Data, &[1, 2]);
    refused(
        load(&writer.finish()),
        "section `version` at offset 0x0: expected the kernel version as a __u32 of 4 bytes, found 2 bytes",
    );
    let unknown =
        wish("gobpf_dummy", |loader| loader.program("prog1").pin_map("dummy_array", "/sys/fs/bpf/a"));
    refused(
        unknown,
        "section `version` at offset 0x0: the object is for the running kernel, whose version is not known \
         here\nhelp: `Kernel::current` asks the running one",
    );
}

#[test]
fn gobpf_maps() {
    let with_map = |section: &str, definition: &[u8]| {
        let mut writer = Writer::with_program("xdp");
        writer.section(section, SectionKind::Data, definition);
        load(&writer.finish())
    };
    refused(
        with_map("maps/a", &[0; 279]),
        "section `maps/a` at offset 0x0: expected one bpf_map_def of 280 bytes as gobpf defines it, found 279 bytes",
    );
    refused(
        with_map("maps/", &[0; 280]),
        "section `maps/` at offset 0x0: expected a name after `maps/`, found none",
    );
    let pinned = |pinning, namespace: &str| {
        let mut definition = words(&[MapType::HASH.0, 4, 4, 8, 0, pinning]);
        definition.extend(namespace.bytes());
        definition.resize(280, 0);
        with_map("maps/a", &definition)
    };
    refused(
        pinned(1, ""),
        "section `maps/a` at offset 0x14: expected a way of pinning that gobpf has, found PIN_OBJECT_NS (1), which \
         it only declares",
    );
    refused(
        pinned(2, ""),
        "section `maps/a` at offset 0x18: expected a namespace for PIN_GLOBAL_NS, found none",
    );
    refused(
        pinned(2, "../etc"),
        "map `a`: pin path `/sys/fs/bpf/../etc/globals/a` has a `..`, a `.`, or a slash too many",
    );
    refused(
        pinned(3, ""),
        "map `a` asks for a pin path from its loader (pinning 3)\nhelp: give one: `Loader::pin_map`",
    );
    refused(pinned(9, ""), "section `maps/a` at offset 0x14: expected pinning from 0 to 3, found 9");
}

#[test]
fn a_maps_section_of_odd_size() {
    for (size, maps, found) in [(17, 1, "17 bytes for 1 map"), (50, 2, "50 bytes for 2 maps")] {
        refused(
            load(&maps_of(size, maps)),
            &format!(
                "section `maps` at offset 0x0: expected map definitions of one size, 16 bytes or more, found {found}"
            ),
        );
    }
    refused(
        load(&maps_of(20, 0)),
        "section `maps` at offset 0x0: expected a symbol for each map, found none",
    );
    refused(
        load(&maps_of(40, 1)),
        "section `maps` at offset 0x14: expected zeros after the 20 bytes that libbpf defines, found more fields\n\
         help: say whose dialect it is: `ParseOptions::maps_dialect`",
    );
}

#[test]
fn a_maps_section_that_the_dialect_does_not_fit() {
    let parse = |size, dialect| {
        let options = ParseOptions { maps_dialect: Some(dialect), ..ParseOptions::default() };
        Object::parse_with(&maps_of(size, 1), &options).map(drop)
    };
    refused(
        parse(40, MapDialect::Iproute2),
        "section `maps` at offset 0x0: expected definitions in the iproute2 dialect of 16 to 36 bytes each, found 40 \
         bytes",
    );
    refused(
        parse(16, MapDialect::Libbpf),
        "section `maps` at offset 0x0: expected definitions in the libbpf dialect of 20 bytes or more each, found 16 \
         bytes",
    );
}

#[test]
fn maps_of_maps_and_unknown_pins() {
    let outer = MapType::ARRAY_OF_MAPS.0;
    refused(
        load(&one_map(&[outer, 4, 4, 8, 0, 1, 0, 9, 0])),
        "section `maps` at offset 0x0: expected a map with id 9, the inner_id of map `m`, found none",
    );
    refused(
        load(&one_map(&[outer, 4, 4, 8, 0, 1, 0, 1, 0])),
        "section `maps` at offset 0x0: expected map `m` to hold plain maps, found maps of maps",
    );
    refused(
        load(&one_map(&[outer, 4, 4, 8, 0])),
        "section `maps` at offset 0x0: map `m` is a map of maps, and this libbpf definition does not describe \
         those\nhelp: describe them by `__array(values, struct INNER)` in `.maps`; or have another program \
         make the map, and pin it where this load is to find it",
    );
    refused(
        load(&one_map(&[MapType::HASH.0, 4, 4, 8, 0, 1, 7, 0, 0])),
        "map `m` asks for a pin path from its loader (pinning 7)\nhelp: give one: `Loader::pin_map`",
    );
}

#[test]
fn btf_maps() {
    const NAME: &str = "clang-19/blacklist";
    let rename = |old: &[u8], new: &[u8]| load(&edited(NAME, |data| replace(data, old, new)));
    refused(
        rename(b"max_entries\0", b"max_antries\0"),
        "map `blacklist`: field `max_antries`: section `.maps` at offset 0x0: expected a field that libbpf defines for \
         maps, found another name",
    );
    refused(
        rename(b".BTF\0", b".BTX\0"),
        "section `.maps` at offset 0x0: expected a section `.BTF` that describes the maps, found none\n\
         help: compile with `clang -g`, and strip with `llvm-strip -g`, which keeps BTF",
    );
    let magic = edited(NAME, |data| {
        let at = offset_of(data, ".BTF");
        data[at] = 0;
    });
    refused(load(&magic), "section `.BTF` at offset 0x0: expected the magic number 0xeb9f, found 0xeb00");
    // The number 1 is the length of an array, which the fields `type` and `pinning` of one map share.
    let array = |len| [words(&[0, 3 << 24, 0]), vec![0; 8], words(&[len])].concat();
    let pinning = edited("clang-19/many", |data| {
        let (one, two) = (array(1), array(2));
        let same = |at: &usize| data[*at..at + 12] == one[..12] && data[at + 20..at + 24] == one[20..];
        let at = (0..data.len() - 24).find(same).unwrap();
        data[at + 20..at + 24].copy_from_slice(&two[20..]);
    });
    refused(
        load(&pinning),
        "map `by_source`: field `pinning`: section `.maps` at offset 0x0: expected LIBBPF_PIN_NONE (0) or \
         LIBBPF_PIN_BY_NAME (1), found 2",
    );
}

#[test]
fn a_relocation_that_leads_nowhere() {
    let at = |offset| load(&relocation(offset, Target::Map));
    for offset in [4, 64] {
        refused(
            at(offset),
            &format!(
                "section `xdp` at offset {offset:#x}: expected an instruction here for a relocation of `.relxdp`, \
                 found none"
            ),
        );
    }
    refused(
        at(16),
        "section `xdp` at offset 0x10: instruction 2 of program `p`: expected a 64-bit load for map `m`, found \
         `r0 = 0x1`",
    );
    let mut number = relocation(0, Target::Map);
    let entry = offset_of(&number, ".relxdp");
    number[entry + 12] = 99;
    refused(
        load(&number),
        "section `xdp` at offset 0x0: expected the relocation here to name one of 3 symbols, found number 99",
    );
    let mut twice = Writer::new(Architecture::Bpf);
    let code = twice.section("xdp", SectionKind::Text, &[LOAD_ADDRESS, DROP].concat());
    let map = twice.map(&[MapType::HASH.0, 4, 4, 8, 0]);
    twice.relocation(code, 0, map);
    twice.relocation(code, 0, map);
    refused(
        load(&twice.finish()),
        "section `xdp` at offset 0x0: expected one relocation for the instruction here, found more in `.relxdp`",
    );
    let mut addend = relocation(0, Target::Map);
    let insn = offset_of(&addend, "xdp");
    addend[insn + 4] = 8;
    refused(
        load(&addend),
        "section `xdp` at offset 0x0: instruction 0 of program `p`: expected a map where `m` and its addend point in \
         section `maps`, found none",
    );
    refused(
        load(&relocation(0, Target::Undefined)),
        "section `xdp` at offset 0x0: instruction 0 of program `p`: refers to `elsewhere`, which is extern, and \
         without BTF nothing says what it is\n\
         help: compile with `clang -g`, and strip with `llvm-strip -g`, which keeps BTF",
    );
    refused(
        load(&relocation(0, Target::Common)),
        "section `xdp` at offset 0x0: instruction 0 of program `p`: refers to `counter`, a common symbol (SHN_COMMON), \
         which has no place in the file\n\
         help: compile with `-fno-common`, or give it a value",
    );
}

#[test]
fn a_call_or_variable_that_is_none() {
    let call = [BPF_CALL, BPF_PSEUDO_CALL << 4, 0, 0, 1, 0, 0, 0];
    refused(
        load(&code(&[&call[..], &DROP].concat())),
        "section `xdp` at offset 0x0: instruction 0 of program `xdp`: expected a call of a function in section `xdp`, \
         found none where it points",
    );
    let mut other = relocation(0, Target::Map);
    replace(&mut other, b"maps\0", b"mops\0");
    refused(
        load(&other),
        "section `xdp` at offset 0x0: instruction 0 of program `p`: refers to `m` in section `mops`; what can be \
         referred to are maps, functions, and variables in .rodata, .data and .bss",
    );
}

#[test]
fn a_map_without_entries() {
    refused(
        load(&one_map(&[MapType::HASH.0, 4, 4, 0, 0])),
        "map `m` has no size: the object leaves max_entries 0\nhelp: give it: `Loader::max_entries`",
    );
}

#[test]
fn a_wish_for_a_map_that_is_not_there() {
    refused(
        wish("many", |loader| loader.program("pass_all").max_entries("nope", 1)),
        "there is no map `nope`: the object has `by_source`, `by_flow`, `by_address`",
    );
    refused(
        wish("xdp_drop", |loader| loader.pin_map("nope", "/sys/fs/bpf/x")),
        "there is no map `nope`: the object has none",
    );
}

#[test]
fn a_pin_that_cannot_be() {
    let pinned = |path: &str| wish("blacklist", |loader| loader.pin_map("blacklist", path));
    refused(pinned("/var/x"), "map `blacklist`: pin path `/var/x` is not below `/sys/fs/bpf`");
    refused(
        pinned("/sys/fs/bpf/a.b"),
        "map `blacklist`: pin path `/sys/fs/bpf/a.b` has a dot in a name, which the kernel does not allow",
    );
    let twice = wish("many", |loader| {
        let path = "/sys/fs/bpf/by_flow";
        loader.program("pass_all").pin_map("by_flow", path).pin_map("by_address", path)
    });
    refused(twice, "maps `by_flow` and `by_address` would both be pinned at `/sys/fs/bpf/by_flow`");
}

#[test]
fn a_path_that_no_plan_can_show() {
    let path = Path::new(OsStr::from_bytes(b"/sys/fs/bpf/\xff"));
    let words = "path `/sys/fs/bpf/\u{fffd}` is not UTF-8, as all that a plan lists";
    refused(wish("blacklist", |loader| loader.pin_map("blacklist", path)), words);
    refused(wish("blacklist", |loader| loader.pin_maps_under(path)), words);
    refused(wish("blacklist", |loader| loader.pin_under(path)), words);
    refused(wish("blacklist", |loader| loader.bpffs(path)), words);
    refused(Plan::of_attaching(&Existing::Id(1), &[], path), words);
}

#[test]
fn names_from_the_file() {
    let named = |name: &str| {
        let mut writer = Writer::with_program("xdp");
        let maps = writer.section("maps", SectionKind::Data, &words(&[MapType::HASH.0, 4, 4, 0, 0]));
        writer.symbol(name, SymbolKind::Data, SymbolSection::Section(maps), 0, 20);
        load(&writer.finish())
    };
    refused(
        named("a\u{1b}[31mred"),
        "map `a\\u{1b}[31mred` has no size: the object leaves max_entries 0\n\
         help: give it: `Loader::max_entries`",
    );
    refused(
        named(&"n".repeat(MAX_NAME + 1)),
        "section `.strtab` at offset 0x1: expected the name of a symbol to end in a NUL byte within 4096 bytes, found \
         none",
    );
}

/// What people may think bad and is not.
#[test]
fn odd_things_that_are_taken() {
    let plan = |data: &[u8]| Loader::new(&Object::parse(data).unwrap()).plan(&Kernel::unknown()).unwrap();
    // The kernel takes 15 bytes of a name, and a program without a license that calls no GPL-only helper.
    let mut writer = Writer::new(Architecture::Bpf);
    let section = writer.section("xdp", SectionKind::Text, &DROP);
    writer.symbol(&"n".repeat(MAX_NAME), SymbolKind::Text, SymbolSection::Section(section), 0, 16);
    let text = plan(&writer.finish()).to_string();
    assert!(text.contains(r#"license="", prog_name="nnnnnnnnnnnnnnn", "#), "{text}");
    // With no symbol at all, a section is one program and lends it its name.
    assert_eq!(plan(&code(&DROP)).programs, ["xdp"]);
    // A shell completes a directory with a slash.
    let object = Object::parse(&fixture("clang-19/blacklist_gobpf")).unwrap();
    let with_slash = |root: &str| -> Plan {
        let mut kernel = Kernel::unknown();
        kernel.version_code = Some(0);
        Loader::new(&object).bpffs(root).plan(&kernel).unwrap()
    };
    assert_eq!(with_slash("/mnt/bpf/"), with_slash("/mnt/bpf"));
}

/// Checks the text of a refusal, with its line of help if it has one, and that its kind is one of a bad file or wish.
#[track_caller]
fn refused<T>(result: Result<T>, expected: &str) {
    let error = result.map(drop).expect_err(expected);
    let text = match error.help() {
        Some(help) => format!("{error}\nhelp: {help}"),
        None => error.to_string(),
    };
    assert_eq!(text, expected);
    let sane = [ErrorKind::Malformed, ErrorKind::Unsupported, ErrorKind::InvalidInput, ErrorKind::NotFound];
    assert!(sane.contains(&error.kind()), "{error:?}");
}

/// What nothing in an object needs is left out if it is not sound; what something needs is refused with its place.
#[test]
fn types_that_are_not_sound() {
    let unsound = |name: &str, section: &str| {
        let data = edited(name, |data| data[offset_of(data, section) + 2] = 9);
        Object::parse(&data)
    };
    for clang in ["clang-14", "clang-19"] {
        let name = |name: &str| format!("{clang}/{name}");
        let object = unsound(&name("subprog_call"), ".BTF.ext").unwrap();
        let code = object
            .programs
            .iter()
            .map(|it| &it.function.info)
            .chain(object.functions.iter().map(|it| &it.info));
        assert!(code.clone().count() > 1 && code.into_iter().all(|info| *info == CodeInfo::default()));
        assert!(object.btf.is_some());
        let flaw = "section `.BTF.ext` at offset 0x2: expected version 1, found 9";
        assert_eq!(object.btf_flaw.as_deref(), Some(flaw));

        let object = unsound(&name("subprog_call"), ".BTF").unwrap();
        assert!(object.btf.is_none());
        let of_btf = flaw.replace(".BTF.ext", ".BTF");
        assert_eq!(object.btf_flaw.as_deref(), Some(&*of_btf));

        // CO-RE, a callback, an exception callback, an extension.
        for needing in ["core_fields", "callback", "exception", "extension"] {
            refused(unsound(&name(needing), ".BTF.ext"), flaw);
        }
        for needing in ["core_fields", "callback", "extension", "typed_values"] {
            refused(unsound(&name(needing), ".BTF"), &of_btf);
        }
    }
}

/// Where the header of a section is.
fn header_of(data: &[u8], section: &str) -> usize {
    let elf = ElfFile::parse(data).unwrap();
    let index = elf.section_named(section).unwrap().index;
    usize::try_from(elf.header().section_table_offset).unwrap() + index * SHDR_SIZE
}

/// Reads the object and plans to load its only program.
fn load(data: &[u8]) -> Result<()> {
    let object = Object::parse(data)?;
    Loader::new(&object).plan(&Kernel::unknown()).map(drop)
}

/// Plans to load a fixture of clang 19, as `wish` asks for.
fn wish(name: &str, wish: impl FnOnce(Loader<'_>) -> Loader<'_>) -> Result<()> {
    let object = Object::parse(&fixture(&format!("clang-19/{name}")))?;
    wish(Loader::new(&object)).plan(&Kernel::unknown()).map(drop)
}

fn fixture(name: &str) -> Vec<u8> {
    let found = support::fixtures().into_iter().find(|fixture| fixture.name == name);
    found.unwrap_or_else(|| panic!("there is no fixture {name}")).data
}

fn edited(name: &str, edit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut data = fixture(name);
    edit(&mut data);
    data
}

/// Puts `new` in the place of `old`, wherever that stands.
fn replace(data: &mut [u8], old: &[u8], new: &[u8]) {
    let places: Vec<_> = (0..data.len() - old.len()).filter(|&at| data[at..].starts_with(old)).collect();
    assert!(!places.is_empty(), "the file holds what is replaced");
    for at in places {
        data[at..at + new.len()].copy_from_slice(new);
    }
}

/// Where the section begins in the file.
fn offset_of(data: &[u8], section: &str) -> usize {
    usize::try_from(ElfFile::parse(data).unwrap().section_named(section).unwrap().offset).unwrap()
}

/// `return XDP_DROP;`
const DROP: [u8; 16] = [BPF_MOV64_IMM, 0, 0, 0, 1, 0, 0, 0, BPF_EXIT, 0, 0, 0, 0, 0, 0, 0];
/// A 64-bit load into `r1` of an address that a relocation fills in.
const LOAD_ADDRESS: [u8; 16] = [BPF_LD_IMM64, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An object whose section `xdp` holds `bytes`, without a symbol.
fn code(bytes: &[u8]) -> Vec<u8> {
    let mut writer = Writer::new(Architecture::Bpf);
    writer.section("xdp", SectionKind::Text, bytes);
    writer.finish()
}

/// An object with a section `maps` of `size` bytes, none of them zero, that are shared by so many maps.
fn maps_of(size: usize, maps: usize) -> Vec<u8> {
    let mut writer = Writer::with_program("xdp");
    let section = writer.section("maps", SectionKind::Data, &vec![1; size]);
    for index in 0..maps {
        let each = size / maps;
        let offset = (index * each) as u64;
        let name = format!("map{index}");
        writer.symbol(&name, SymbolKind::Data, SymbolSection::Section(section), offset, each as u64);
    }
    writer.finish()
}

/// An object with the one map `m` in its section `maps`.
fn one_map(definition: &[u32]) -> Vec<u8> {
    let mut writer = Writer::with_program("xdp");
    writer.map(definition);
    writer.finish()
}

/// What a relocation refers to.
#[derive(Clone, Copy)]
enum Target {
    Map,
    Undefined,
    Common,
}

/// An object with a map `m` and a program `p` that has a relocation at `offset`.
fn relocation(offset: u64, target: Target) -> Vec<u8> {
    let mut writer = Writer::new(Architecture::Bpf);
    let code = writer.section("xdp", SectionKind::Text, &[LOAD_ADDRESS, DROP].concat());
    writer.symbol("p", SymbolKind::Text, SymbolSection::Section(code), 0, 32);
    let map = writer.map(&[MapType::HASH.0, 4, 4, 8, 0]);
    let symbol = match target {
        Target::Map => map,
        Target::Undefined => writer.symbol("elsewhere", SymbolKind::Data, SymbolSection::Undefined, 0, 0),
        Target::Common => writer.symbol("counter", SymbolKind::Data, SymbolSection::Common, 4, 4),
    };
    writer.relocation(code, offset, symbol);
    writer.finish()
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Writes an object file as a compiler would.
struct Writer(write::Object<'static>);

impl Writer {
    fn new(architecture: Architecture) -> Self {
        Self(write::Object::new(BinaryFormat::Elf, architecture, Endianness::Little))
    }

    /// With the program `drop_all` in `section`.
    fn with_program(section: &str) -> Self {
        let mut writer = Self::new(Architecture::Bpf);
        writer.program(section);
        writer
    }

    fn program(&mut self, section: &str) {
        let section = self.section(section, SectionKind::Text, &DROP);
        self.symbol("drop_all", SymbolKind::Text, SymbolSection::Section(section), 0, 16);
    }

    /// A map `m` in a section `maps`.
    fn map(&mut self, definition: &[u32]) -> SymbolId {
        let bytes = words(definition);
        let section = self.section("maps", SectionKind::Data, &bytes);
        self.symbol("m", SymbolKind::Data, SymbolSection::Section(section), 0, bytes.len() as u64)
    }

    fn section(&mut self, name: &str, kind: SectionKind, data: &[u8]) -> SectionId {
        let section = self.0.add_section(Vec::new(), name.as_bytes().to_vec(), kind);
        self.0.append_section_data(section, data, 4);
        section
    }

    fn symbol(
        &mut self,
        name: &str,
        kind: SymbolKind,
        section: SymbolSection,
        value: u64,
        size: u64,
    ) -> SymbolId {
        let (scope, flags) = (SymbolScope::Dynamic, SymbolFlags::None);
        let name = name.as_bytes().to_vec();
        self.0.add_symbol(Symbol { name, value, size, kind, scope, weak: false, section, flags })
    }

    fn relocation(&mut self, section: SectionId, offset: u64, symbol: SymbolId) {
        let flags = RelocationFlags::Elf { r_type: RelocationType(1) };
        self.0.add_relocation(section, Relocation { offset, symbol, addend: 0, flags }).unwrap();
    }

    fn finish(self) -> Vec<u8> {
        self.0.write().unwrap()
    }
}
