//! Tests of reading objects that another crate's ELF writer makes; fixtures from compilers are in loader/tests.

use ::object::write::{self, Symbol as Written, SymbolSection as In};
use ::object::{Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope};

use super::*;
use crate::btf::builder::Builder;
use crate::uapi::bpf::{AttachType, BPF_EXIT, MapType, ProgType};
use crate::uapi::btf::{BtfKind, VarLinkage};

/// Writes an object file.
struct Writer(write::Object<'static>);

impl Writer {
    fn new() -> Self {
        Self(write::Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little))
    }

    fn section(&mut self, name: &str, kind: SectionKind, data: &[u8]) -> In {
        let section = self.0.add_section(Vec::new(), name.as_bytes().to_vec(), kind);
        self.0.append_section_data(section, data, 1);
        In::Section(section)
    }

    /// Adds a symbol of another file's concern, or of this one alone.
    fn symbol(&mut self, name: &str, kind: SymbolKind, section: In, place: (u64, u64), scope: SymbolScope) {
        let (name, (value, size)) = (name.as_bytes().to_vec(), place);
        let flags = SymbolFlags::None;
        self.0.add_symbol(Written { name, value, size, kind, scope, weak: false, section, flags });
    }

    fn parse(&self) -> Result<Object> {
        Object::parse(&self.0.write().unwrap())
    }

    fn parse_as(&self, dialect: MapDialect) -> Result<Object> {
        let options = ParseOptions { maps_dialect: Some(dialect), ..ParseOptions::default() };
        Object::parse_with(&self.0.write().unwrap(), &options)
    }
}

const EXIT: [u8; 8] = [BPF_EXIT, 0, 0, 0, 0, 0, 0, 0];

/// An object with two definitions of `size` bytes each in the section `maps`, of which the last four are `last`.
fn two_maps(size: usize, last: u32) -> Writer {
    let mut definition: Vec<u8> = [1, 4, 8, 16, 1].into_iter().flat_map(u32::to_le_bytes).collect();
    definition.resize(size, 0);
    definition[size - 4..].copy_from_slice(&last.to_le_bytes());
    let mut writer = Writer::new();
    let maps = writer.section("maps", SectionKind::Data, &definition.repeat(2));
    for (name, offset) in [("b", size as u64), ("a", 0)] {
        writer.symbol(name, SymbolKind::Data, maps, (offset, size as u64), SymbolScope::Dynamic);
    }
    writer
}

#[test]
fn the_size_of_a_definition_tells_the_dialect() {
    use MapDialect::{Iproute2, Libbpf};
    for (size, dialect) in
        [(16, Iproute2), (20, Libbpf), (24, Libbpf), (28, Libbpf), (36, Iproute2), (40, Libbpf)]
    {
        let last = u32::from(size == 20);
        let object = two_maps(size, last).parse().unwrap();
        let maps: Vec<_> = object.maps.iter().map(|map| (&*map.name, map.offset, map.dialect)).collect();
        assert_eq!(maps, [("a", 0, dialect), ("b", size as u64, dialect)]);
    }
    for size in [24, 28, 32, 40] {
        let writer = two_maps(size, 1);
        assert!(writer.parse().unwrap_err().help().is_some(), "{size} bytes fit both dialects");
        assert_eq!(writer.parse_as(Libbpf).unwrap().maps[0].dialect, Libbpf);
        assert_eq!(writer.parse_as(Iproute2).is_ok(), size <= 36, "{size} bytes");
    }
}

#[test]
fn the_common_fields_are_read_in_every_dialect() {
    let shape = |flags| MapShape {
        map_type: MapType::HASH,
        key_size: 4,
        value_size: 8,
        max_entries: 16,
        flags,
        map_extra: 0,
    };
    assert_eq!(two_maps(20, 1).parse().unwrap().maps[1].shape, shape(1));
    assert_eq!(two_maps(36, 0).parse().unwrap().maps[1].shape, shape(1));
    // iproute2's shortest form ends before the flags.
    assert_eq!(two_maps(16, 16).parse().unwrap().maps[1].shape, shape(0));
    let mut gobpf: Vec<u8> = [1, 4, 8, 16, 1].into_iter().flat_map(u32::to_le_bytes).collect();
    gobpf.resize(280, 0);
    let mut writer = Writer::new();
    writer.section("maps/g", SectionKind::Data, &gobpf);
    let object = writer.parse().unwrap();
    let map = &object.maps[0];
    assert_eq!((&*map.name, map.dialect, map.shape), ("g", MapDialect::Gobpf, shape(1)));
}

#[test]
fn labels_and_section_symbols_are_no_maps() {
    let mut writer = Writer::new();
    let maps = writer.section("maps", SectionKind::Data, &[1, 0, 0, 0].repeat(5));
    writer.symbol("m", SymbolKind::Data, maps, (0, 20), SymbolScope::Dynamic);
    writer.symbol("label", SymbolKind::Label, maps, (4, 0), SymbolScope::Compilation);
    writer.symbol("", SymbolKind::Section, maps, (0, 0), SymbolScope::Compilation);
    let object = writer.parse().unwrap();
    assert_eq!(object.maps.iter().map(|map| &*map.name).collect::<Vec<_>>(), ["m"]);
}

#[test]
fn a_gobpf_namespace_ends_at_its_nul_or_at_the_end() {
    let pinned = |namespace: &[u8]| {
        let mut definition: Vec<u8> = [1, 4, 8, 16, 0, 2].into_iter().flat_map(u32::to_le_bytes).collect();
        definition.extend(namespace);
        definition.resize(280, 0);
        let mut writer = Writer::new();
        writer.section("maps/m", SectionKind::Data, &definition);
        writer.parse().unwrap().maps.remove(0).pinning
    };
    assert_eq!(pinned(b"ns\0junk"), Pinning::Path("ns/globals/m".to_owned()));
    let full = "n".repeat(256);
    assert_eq!(pinned(full.as_bytes()), Pinning::Path(format!("{full}/globals/m")));
}

#[test]
fn the_name_of_a_section_tells_the_kind_of_its_programs() {
    let named = ["tc".to_owned()];
    let kind = |attach_type, frags| Some(ProgramKind { prog_type: ProgType::XDP, attach_type, frags });
    for (section, expected) in [
        ("xdp", kind(AttachType::XDP, false)),
        ("prog", kind(AttachType::XDP, false)),
        ("xdp/anything", kind(AttachType::XDP, false)),
        ("xdp_old_sample", kind(AttachType::XDP, false)),
        ("tc", kind(AttachType::XDP, false)),
        ("xdp.frags", kind(AttachType::XDP, true)),
        ("xdp/devmap", kind(AttachType::XDP_DEVMAP, false)),
        ("xdp_devmap/egress", kind(AttachType::XDP_DEVMAP, false)),
        ("xdp_cpumap/redirect", kind(AttachType::XDP_CPUMAP, false)),
        ("xdp.frags/devmap", kind(AttachType::XDP_DEVMAP, true)),
        ("xdp.frags/entry", kind(AttachType::XDP, true)),
        ("xdp.frags/devmap/egress", kind(AttachType::XDP_DEVMAP, true)),
        ("xdp/cpumap/a/b", kind(AttachType::XDP_CPUMAP, false)),
        ("xdp/devmap_entry", kind(AttachType::XDP, false)),
        ("xdp/cpumap", kind(AttachType::XDP_CPUMAP, false)),
        ("xdp.frags/cpumap", kind(AttachType::XDP_CPUMAP, true)),
        ("freplace/decide", Some(ProgramKind::EXTENSION)),
        ("?xdp", kind(AttachType::XDP, false)),
        ("?xdp.frags", kind(AttachType::XDP, true)),
        ("?xdp/devmap", kind(AttachType::XDP_DEVMAP, false)),
        ("?xdp_cpumap/redirect", kind(AttachType::XDP_CPUMAP, false)),
        ("?freplace/decide", Some(ProgramKind::EXTENSION)),
        ("??xdp", None),
        ("?", None),
        ("freplace/", None),
        ("freplace", None),
        ("xdp1", kind(AttachType::XDP, false)),
        ("xdp-root", kind(AttachType::XDP, false)),
        ("xdpingress", kind(AttachType::XDP, false)),
        ("?xdp1", kind(AttachType::XDP, false)),
        ("xdp_devmap", kind(AttachType::XDP, false)),
        ("xdp.frag", None),
        ("xdp.frags_x", None),
        ("xdp.multi", None),
        ("xdp.", None),
        (".xdp", None),
        ("programs", None),
        (".text", None),
        ("", None),
    ] {
        assert_eq!(ProgramKind::of_section(section, &named), expected, "{section}");
    }
}

#[test]
fn a_section_of_another_type_is_none_of_xdp_unless_it_is_said() {
    for (section, prog_type) in [
        ("tc", Some("SCHED_CLS")),
        ("?tc/ingress", Some("SCHED_CLS")),
        ("kprobe.multi/f*", Some("KPROBE")),
        ("socket/filter", Some("SOCKET_FILTER")),
        ("freplace", Some("EXT")),
        ("?freplace", Some("EXT")),
        ("socket1", None),
        ("filters", None),
        (".text", None),
        ("", None),
    ] {
        assert_eq!(program::other_type(section), prog_type, "{section}");
        if section.is_empty() {
            continue;
        }
        let mut writer = Writer::new();
        let code = writer.section(section, SectionKind::Text, &EXIT.repeat(2));
        for (name, offset) in [("other", 0), ("p", 8)] {
            writer.symbol(name, SymbolKind::Text, code, (offset, 8), SymbolScope::Dynamic);
        }
        let options = |sections: &[&str]| ParseOptions {
            program: Some("p".to_owned()),
            sections: sections.iter().map(ToString::to_string).collect(),
            ..ParseOptions::default()
        };
        let data = writer.0.write().unwrap();
        assert!(Object::parse_with(&data, &options(&[section])).unwrap().program("p").is_ok());
        let by_name = Object::parse_with(&data, &options(&[]));
        let Some(prog_type) = prog_type else {
            assert!(by_name.unwrap().program("p").is_ok(), "{section}");
            continue;
        };
        let refusal = by_name.unwrap_err();
        let words = format!(
            "section `{section}` at offset 0x8: expected an XDP program in `p`, found a section for programs of type \
             BPF_PROG_TYPE_{prog_type}"
        );
        assert_eq!(refusal.to_string(), words);
        let remedy = Remedy::TakeAsXdp { section: Some(section.to_owned()) };
        let help = match prog_type {
            "EXT" => {
                "name it `freplace/FUNCTION` after what it replaces; if it is XDP all the same, say so: "
            }
            _ => "if it is one all the same, say so: ",
        };
        assert_eq!(refusal.help(), Some((help, remedy).into()));
        // Beside what is loaded it does no harm.
        assert_eq!(writer.parse().unwrap().other_code, [section]);
    }
}

#[test]
fn a_demand_that_is_not_known_is_not_passed_over() {
    let mut writer = Writer::new();
    let code = writer.section("xdp.multi", SectionKind::Text, &EXIT);
    writer.symbol("p", SymbolKind::Text, code, (0, 8), SymbolScope::Dynamic);
    let data = writer.0.write().unwrap();
    let chosen = ParseOptions { program: Some("p".to_owned()), ..ParseOptions::default() };
    let refusal = Object::parse_with(&data, &chosen).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "section `xdp.multi` at offset 0x0: expected `xdp`, `xdp.frags`, or one of these with `/` after it for \
         program `p`, found another name"
    );
    let help = "name it `xdp.frags/...` if it takes multi-buffer packets; if not, say so: ";
    let remedy = Remedy::TakeAsXdp { section: Some("xdp.multi".to_owned()) };
    assert_eq!(refusal.help(), Some((help, remedy).into()));
    let named = ParseOptions { sections: vec!["xdp.multi".to_owned()], ..chosen };
    assert!(!Object::parse_with(&data, &named).unwrap().programs[0].kind.frags);
}

/// Two maps of one name in `.maps`, as a static linker joins two files that have each a `static` one, with their
/// types: an array and a hash.
#[test]
fn two_static_maps_of_one_name_are_refused() {
    let mut b = Builder::new(ByteOrder::Little);
    let int = b.int("int", 4, 0);
    let definition = |b: &mut Builder, map_type| {
        let number = b.array(int, map_type);
        let pointer = b.refer(BtfKind::PTR, "", number);
        let ty = b.map_def("", &[("type", pointer)]);
        b.var("cnt", ty, VarLinkage::STATIC.0)
    };
    let [array, hash] = [2, 1].map(|map_type| definition(&mut b, map_type));
    b.add(BtfKind::DATASEC, ".maps", 16, &[[array.0, 0, 8], [hash.0, 8, 8]]);
    let mut writer = Writer::new();
    writer.section(".BTF", SectionKind::Metadata, &b.build());
    let maps = writer.section(".maps", SectionKind::Data, &[0; 16]);
    for offset in [0, 8] {
        writer.symbol("cnt", SymbolKind::Data, maps, (offset, 8), SymbolScope::Compilation);
    }
    let refusal = writer.parse().unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "section `.maps` at offset 0x8: expected one map called `cnt`, found another at 0x0"
    );
    assert!(refusal.help().unwrap().to_string().starts_with("rename one of them"));
}

#[test]
fn an_optional_program_is_loaded_only_where_it_is_chosen() {
    let object = |sections: &[&str]| {
        let mut writer = Writer::new();
        for section in sections {
            writer.section(section, SectionKind::Text, &EXIT);
        }
        writer.parse().unwrap()
    };
    let both = object(&["?xdp.frags", "xdp", "?freplace/decide"]);
    assert_eq!(both.only_program().unwrap().function.name, "xdp");
    assert!(both.program("?xdp.frags").unwrap().is_optional());
    assert_eq!(both.program("?freplace/decide").unwrap().extends(), Some("decide"));
    let refusal = object(&["?xdp"]).only_program().unwrap_err();
    assert_eq!(refusal.to_string(), "choose one program: the object has ?xdp (section ?xdp)");
    assert_eq!(refusal.remedy(), Some(&Remedy::ChooseProgram));
}

#[test]
fn every_function_of_a_section_is_a_program() {
    let mut writer = Writer::new();
    let code = writer.section("xdp", SectionKind::Text, &EXIT.repeat(4));
    for (name, place) in [("second", (8, 0)), ("first", (0, 8)), ("last", (24, 8))] {
        writer.symbol(name, SymbolKind::Text, code, place, SymbolScope::Dynamic);
    }
    writer.section(".text", SectionKind::Text, &EXIT);
    writer.section("license", SectionKind::Data, b"GPL\0and more");
    writer.section("version", SectionKind::Data, &0x0004_0800u32.to_le_bytes());
    let object = writer.parse().unwrap();
    let programs: Vec<_> = object
        .programs
        .iter()
        .map(|p| (&*p.function.name, p.function.offset, p.function.insns.len()))
        .collect();
    // A size of 0 reaches to the next function.
    assert_eq!(programs, [("first", 0, 1), ("second", 8, 2), ("last", 24, 1)]);
    assert_eq!(object.other_code, [".text"]);
    assert_eq!((object.license.as_deref(), object.version), (Some("GPL"), Some(0x0004_0800)));
    assert_eq!(object.program("last").unwrap().function.offset, 24);
}

#[test]
fn functions_without_a_type_are_found_and_labels_are_not() {
    let mut writer = Writer::new();
    let code = writer.section("prog", SectionKind::Text, &EXIT.repeat(2));
    writer.symbol("old", SymbolKind::Label, code, (0, 0), SymbolScope::Dynamic);
    writer.symbol("LBB0_1", SymbolKind::Label, code, (8, 0), SymbolScope::Compilation);
    let object = writer.parse().unwrap();
    assert_eq!((&*object.programs[0].function.name, object.programs[0].function.insns.len()), ("old", 2));
    // By its section, as gobpf finds a program.
    assert_eq!(object.program("prog").unwrap().function.name, "old");
    assert_eq!(object.only_program().unwrap().function.name, "old");
}

#[test]
fn a_section_is_one_program_if_it_has_no_symbol() {
    let mut writer = Writer::new();
    writer.section("xdp/a", SectionKind::Text, &EXIT);
    writer.section("xdp/empty", SectionKind::Text, &[]);
    writer.section("xdp/data", SectionKind::Data, &EXIT);
    writer.section("xdp_metadata", SectionKind::Data, &EXIT);
    let programs = writer.parse().unwrap().programs;
    assert_eq!(programs.iter().map(|program| &*program.function.name).collect::<Vec<_>>(), ["xdp/a"]);
}

/// An object with two prog arrays in iproute2's dialect, of the ids 1 and 16, and a program in each of `sections`.
fn prog_arrays(sections: &[&str]) -> Writer {
    let map = |id| [3, 4, 4, 4, 0, id, 0, 0, 0].into_iter().flat_map(u32::to_le_bytes);
    let mut writer = Writer::new();
    let maps = writer.section("maps", SectionKind::Data, &map(1).chain(map(16)).collect::<Vec<_>>());
    for (name, offset) in [("one", 0), ("sixteen", 36)] {
        writer.symbol(name, SymbolKind::Data, maps, (offset, 36), SymbolScope::Dynamic);
    }
    for section in sections {
        writer.section(section, SectionKind::Text, &EXIT);
    }
    writer
}

#[test]
fn iproute2_names_slots_of_prog_arrays_by_sections() {
    let object = prog_arrays(&["1/3", "prog", "0x10/0", "1/01", "filters"]).parse().unwrap();
    let slots = |map: usize| {
        let slots = object.maps[map].slots.iter().map(|slot| match slot.value {
            SlotValue::Program(program) => (slot.key, &*object.programs[program].function.section),
            _ => panic!("{slot:?}"),
        });
        slots.collect::<Vec<_>>()
    };
    assert_eq!(slots(0), [(1, "1/01"), (3, "1/3")]);
    assert_eq!(slots(1), [(0, "0x10/0")]);
    assert_eq!(object.other_code, ["filters"]);
    // What is for prog arrays is not what is attached.
    assert_eq!(object.only_program().unwrap().function.name, "prog");
    // Other dialects have no ids.
    let mut writer = two_maps(20, 1);
    writer.section("1/0", SectionKind::Text, &EXIT);
    assert_eq!(writer.parse().unwrap().other_code, ["1/0"]);
}

#[test]
fn slots_that_no_prog_array_has_are_refused() {
    let refusal = |sections: &[&str]| prog_arrays(sections).parse().unwrap_err().to_string();
    assert_eq!(
        refusal(&["prog", "2/0"]),
        "section `2/0` at offset 0x0: expected a prog array with the id 2 for program 2/0 (section 2/0), found none"
    );
    assert_eq!(
        refusal(&["1/4"]),
        "section `1/4` at offset 0x0: expected a slot of map `one`, which has 4 entries, found 4"
    );
    assert_eq!(
        refusal(&["1/2", "1/0x2"]),
        "section `1/0x2` at offset 0x0: expected one program for slot 2 of map `one`, found 1/0x2 (section 1/0x2) \
         beside 1/2 (section 1/2)"
    );
}

#[test]
fn constants_of_one_name_are_told_apart_by_their_places() {
    let mut writer = Writer::new();
    let (rodata, more) = (".rodata", ".rodata.more");
    let [first, second] =
        [rodata, more].map(|name| writer.section(name, SectionKind::ReadOnlyData, &[0; 12]));
    for (name, section, offset) in
        [("cfg", first, 0), ("prog.cfg", first, 4), ("cfg", first, 8), ("far", first, 8), ("far", second, 8)]
    {
        writer.symbol(name, SymbolKind::Data, section, (offset, 4), SymbolScope::Compilation);
    }
    let object = writer.parse().unwrap();
    let found = |words| {
        let (data, variable, rest) = object.variable(words)?;
        Ok((data.section.clone(), variable.offset, rest))
    };
    assert_eq!(found("cfg@8.a[2]").unwrap(), (rodata.to_owned(), 8, ".a[2]"));
    assert_eq!(found("prog.cfg").unwrap(), (rodata.to_owned(), 4, ""));
    let refused = |words| -> Error { found(words).unwrap_err() };
    let words = "several variables are called `cfg`, at 0x0 of `.rodata`, at 0x8 of `.rodata`";
    assert_eq!(refused("cfg").to_string(), words);
    assert_eq!(refused("cfg").help(), Some("say which by its place: cfg@0x0".into()));
    let words = "several variables are called `far`, at 0x8 of `.rodata`, at 0x8 of `.rodata.more`";
    assert_eq!((refused("far").to_string(), refused("far").help()), (words.to_owned(), None));
    assert!(refused("cfg@4").to_string().starts_with("there is no variable `cfg@4`: the object has `cfg`"));
}

#[test]
fn a_definition_without_a_type_is_none() {
    let refused = |definition: &[u8]| {
        let mut writer = Writer::new();
        let maps = writer.section("maps", SectionKind::Data, definition);
        writer.symbol("m", SymbolKind::Data, maps, (0, definition.len() as u64), SymbolScope::Dynamic);
        writer.parse().unwrap_err()
    };
    let words = "section `maps` at offset 0x0: expected a type for map `m`, found 0 (BPF_MAP_TYPE_UNSPEC)";
    let typed = refused(&[0; 32]);
    assert_eq!(typed.to_string(), words);
    assert!(typed.help().unwrap().to_string().ends_with("belongs in SEC(\".maps\"), with the dot"));
    let filled: Vec<u8> = [0, 4, 8, 16, 0].into_iter().flat_map(u32::to_le_bytes).collect();
    assert_eq!((refused(&filled).to_string(), refused(&filled).help()), (words.to_owned(), None));
}

#[test]
fn the_places_of_addresses_in_variables_are_kept() {
    let mut writer = Writer::new();
    let data = writer.section(".data", SectionKind::Data, &[0; 32]);
    for (name, place) in [("first", (0, 8)), ("names", (8, 16)), ("last", (24, 8))] {
        writer.symbol(name, SymbolKind::Data, data, place, SymbolScope::Dynamic);
    }
    let (In::Section(section), Some(symbol)) = (data, writer.0.symbol_id(b"last")) else {
        panic!("a section")
    };
    for offset in [16, 8] {
        let flags = write::RelocationFlags::Elf { r_type: ::object::elf::RelocationType(2) };
        let relocation = write::Relocation { offset, symbol, addend: 0, flags };
        writer.0.add_relocation(section, relocation).unwrap();
    }
    let object = writer.parse().unwrap();
    let data = &object.data[0];
    assert_eq!(data.addresses, [8, 16]);
    let names = data.variables.iter().filter(|variable| data.has_address_in(variable));
    assert_eq!(names.map(|variable| &*variable.name).collect::<Vec<_>>(), ["names"]);
}
