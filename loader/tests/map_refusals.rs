//! What a file must not put into its maps, case by case: the exact words with which each is refused.
//!
//! The inputs are fixtures whose relocations of `.maps` have been changed, and plans that ask for what does not fit.

// Tells clippy that the functions beside the tests are test code too.
#![cfg(test)]

use loader::elf::ElfFile;
use loader::object::{InnerMap, MapSpec, Object};
use loader::plan::Plan;
use loader::uapi::bpf::MapType;
use loader::uapi::elf::RelocationType;
use loader::{Kernel, Loader, Result};

mod support;

use support::fixtures;

/// Bytes of an entry of a table of relocations: the place, the kind, the symbol.
const ENTRY: usize = 16;

fn fixture(name: &str) -> Vec<u8> {
    let found = fixtures().into_iter().find(|fixture| fixture.name == name);
    found.unwrap_or_else(|| panic!("there is no fixture {name}")).data
}

/// A fixture in which the first relocation of `.maps` has this place, kind and symbol, where one is given.
fn edited(name: &str, place: Option<u64>, kind: Option<RelocationType>, symbol: Option<&str>) -> Vec<u8> {
    let mut data = fixture(name);
    let (at, symbol) = {
        let elf = ElfFile::parse(&data).unwrap();
        let table = elf.section_named(".rel.maps").expect("the fixture fills maps");
        let symbols = elf.symbols().unwrap();
        let number = |name: &str| symbols.iter().find(|symbol| symbol.name == name).expect(name).index;
        (usize::try_from(table.offset).unwrap(), symbol.map(number))
    };
    let entry = &mut data[at..at + ENTRY];
    if let Some(place) = place {
        entry[..8].copy_from_slice(&place.to_le_bytes());
    }
    if let Some(kind) = kind {
        entry[8..12].copy_from_slice(&kind.0.to_le_bytes());
    }
    if let Some(symbol) = symbol {
        entry[12..].copy_from_slice(&u32::try_from(symbol).unwrap().to_le_bytes());
    }
    data
}

#[track_caller]
fn refused<T>(result: Result<T>, words: &str) {
    let error = result.map(drop).unwrap_err();
    let help = error.help().map_or_else(String::new, |help| format!("\nhelp: {help}"));
    assert_eq!(format!("{error}{help}"), words);
}

fn parse(place: Option<u64>, kind: Option<RelocationType>, symbol: Option<&str>) -> Result<Object> {
    Object::parse(&edited("clang-19/inner_maps", place, kind, symbol))
}

#[test]
fn a_relocation_outside_of_values() {
    // by_parity begins at 0x40 with three fields, and ends at 0x78.
    for place in [0, 0x40, 0x50, 0x59, 0x74, 0xc8, 0xe0, 1 << 40] {
        refused(
            parse(Some(place), None, None),
            &format!(
                "section `.maps` at offset {place:#x}: expected relocations only in the `values` of a map, \
                 found one here"
            ),
        );
    }
    let filled = parse(Some(0x60), None, None).unwrap();
    let keys: Vec<_> = filled.map("by_parity").unwrap().slots.iter().map(|slot| slot.key).collect();
    assert_eq!(keys, [1, 3]);
}

#[test]
fn two_relocations_of_one_slot() {
    refused(
        parse(Some(0x70), None, None),
        "map `by_parity`: section `.maps` at offset 0x70: expected one value for slot 3, found two",
    );
}

#[test]
fn a_value_that_is_no_map() {
    let place = "map `by_parity`, slot 0: section `.maps` at offset 0x58";
    for (symbol, found) in [
        (
            "by_number",
            "expected a map of this object, found `by_number`, a map of maps, which no other can hold",
        ),
        ("by_inner_map", "expected a map of this object, found `by_inner_map`, in section `xdp`"),
        ("_license", "expected a map of this object, found `_license`, in section `license`"),
        ("", "expected a map of this object, found ``, which this object does not define"),
    ] {
        refused(parse(None, None, Some(symbol)), &format!("{place}: {found}"));
    }
    refused(
        parse(None, Some(RelocationType::R_BPF_64_ABS32), None),
        &format!("{place}: expected the address of a map or program, found R_BPF_64_ABS32"),
    );
}

#[test]
fn a_value_that_is_no_program() {
    let parse = |symbol| Object::parse(&edited("clang-19/tail_calls", None, None, Some(symbol)));
    let place = "map `first_jump`, slot 2: section `.maps` at offset 0x28";
    for (symbol, found) in [
        ("last_jump", "expected a program of this object, found `last_jump`, in section `.maps`"),
        ("_license", "expected a program of this object, found `_license`, in section `license`"),
    ] {
        refused(parse(symbol), &format!("{place}: {found}"));
    }
}

#[test]
fn more_than_there_is_room_for() {
    let plan = |name: &str, program: &str, map: &str, entries| {
        let object = Object::parse(&fixture(name)).unwrap();
        let loader = Loader::new(&object).program(program).max_entries(map, entries);
        let mut kernel = Kernel::unknown();
        kernel.page_size = Some(4096);
        loader.plan(&kernel).map(drop)
    };
    refused(
        plan("clang-19/inner_maps", "by_inner_map", "by_parity", 3),
        "map `by_parity` has room for 3 entries, and the object fills slot 3",
    );
    refused(
        plan("clang-19/inner_maps", "by_inner_map", "by_number", 1),
        "map `by_number` has room for 1 entry, and the object fills 2",
    );
    refused(
        plan("clang-19/tail_calls", "enter", "first_jump", 2),
        "map `first_jump` has room for 2 entries, and the object fills slot 2",
    );
    // A template has a size of its own.
    plan("clang-19/inner_maps", "by_inner_map", "rings.inner", 1 << 20).unwrap();
    refused(
        plan("clang-19/inner_maps", "by_inner_map", "even.inner", 1),
        "there is no map `even.inner`: the object has `even`, `odd`, `by_parity`, `by_number`, `choice`, `rings`",
    );
}

#[test]
fn a_size_that_depends_on_an_unknown_machine() {
    let object = Object::parse(&fixture("clang-19/map_types")).unwrap();
    let mut kernel = Kernel::unknown();
    refused(
        Loader::new(&object).plan(&kernel),
        "the size of map `events` depends on the number of possible CPUs, which is not known here\n\
         help: /sys/devices/system/cpu/possible tells it; without /sys, set the map's max_entries",
    );
    kernel.possible_cpus = Some(3);
    refused(
        Loader::new(&object).plan(&kernel),
        "the size of map `ring_buffer` depends on the size of a page, which is not known here",
    );
}

/// The plan for a fixture in which `change` has been made to a map.
fn changed(name: &str, map: &str, change: impl Fn(&mut MapSpec)) -> Result<Plan> {
    let mut object = Object::parse(&fixture(name)).unwrap();
    change(object.maps.iter_mut().find(|own| own.name == map).expect(map));
    let mut kernel = Kernel::unknown();
    (kernel.page_size, kernel.possible_cpus) = (Some(4096), Some(2));
    Loader::new(&object).plan(&kernel)
}

/// Of these the kernel says no more than EINVAL.
#[test]
fn a_shape_that_no_kernel_makes() {
    let name = "clang-19/map_types";
    let offset = |map: &str| {
        let object = Object::parse(&fixture(name)).unwrap();
        format!("section `.maps` at offset {:#x}", object.map(map).expect(map).offset)
    };
    refused(
        changed(name, "lpm_trie", |map| map.shape.flags = 0),
        &format!(
            "{}: no kernel makes map `lpm_trie` (lpm_trie): tries must have the flag BPF_F_NO_PREALLOC\n\
             help: add `__uint(map_flags, BPF_F_NO_PREALLOC)` to its definition",
            offset("lpm_trie")
        ),
    );
    refused(
        changed(name, "hash", |map| map.shape.key_size = 0),
        &format!(
            "{}: no kernel makes map `hash` (hash): its definition gives no size of keys\n\
             help: add `__type(key, ...)` to it",
            offset("hash")
        ),
    );
    refused(
        changed(name, "hash", |map| map.shape.value_size = 0),
        &format!(
            "{}: no kernel makes map `hash` (hash): its definition gives no size of values\n\
             help: add `__type(value, ...)` to it",
            offset("hash")
        ),
    );
    refused(
        changed(name, "array", |map| map.shape.key_size = 8),
        &format!(
            "{}: no kernel makes map `array` (array): its keys have 8 bytes, and those of an array must have 4\n\
             help: make `__type(key, ...)` an unsigned int",
            offset("array")
        ),
    );
    refused(
        changed(name, "hash", |map| map.shape.map_extra = 5),
        &format!(
            "{}: no kernel makes map `hash` (hash): its map_extra is 0x5, and this type has none\n\
             help: remove `map_extra` from it",
            offset("hash")
        ),
    );
    // What it means for a type that is newer than this nobody knows.
    assert!(
        changed(name, "hash", |map| {
            (map.shape.map_type, map.shape.map_extra) = (MapType(1000), 5);
        })
        .is_ok()
    );
    for (size, told) in [
        (0, "its definition gives no size of values\nhelp: add `__type(value, ...)` to it"),
        (
            8,
            "its values have 8 bytes, and those of this type must have 4\n\
             help: make `__type(value, ...)` an unsigned int",
        ),
    ] {
        let place = offset("prog_array");
        refused(
            changed(name, "prog_array", |map| map.shape.value_size = size),
            &format!("{place}: no kernel makes map `prog_array` (prog_array): {told}"),
        );
    }
}

#[test]
fn an_inner_map_of_another_shape() {
    let told = |difference: &str| {
        format!(
            "map `odd` does not fit into map `by_parity`, slot 3: {difference}\n\
             help: the maps in a map of maps are all of the shape that its `values` describe"
        )
    };
    let change = |change: fn(&mut MapSpec)| changed("clang-19/inner_maps", "odd", change);
    refused(change(|map| map.shape.value_size = 16), &told("its value_size is 16, and not 4"));
    refused(change(|map| map.shape.max_entries = 2), &told("its max_entries is 2, and not 1"));
    refused(
        change(|map| map.shape.map_type = MapType::LRU_HASH),
        &told("it is of type lru_hash, and not array"),
    );
    // Of hashes the kernel does not mind the number of entries.
    let mut object = Object::parse(&fixture("clang-19/inner_maps")).unwrap();
    for map in &mut object.maps {
        if ["even", "odd"].contains(&&*map.name) {
            map.shape.map_type = MapType::HASH;
        }
        if let Some(InnerMap::Template(inner)) = &mut map.inner {
            if inner.shape.map_type == MapType::ARRAY {
                inner.shape.map_type = MapType::HASH;
                inner.shape.max_entries = 9;
            }
        }
    }
    let mut kernel = Kernel::unknown();
    kernel.page_size = Some(4096);
    Loader::new(&object).plan(&kernel).unwrap();
}

#[test]
fn a_map_of_maps_without_a_description() {
    refused(
        changed("clang-19/inner_maps", "by_parity", |map| map.inner = None),
        "section `.maps` at offset 0x40: map `by_parity` is a map of maps, and this btf definition does not describe \
         those\nhelp: describe them by `__array(values, struct INNER)` in `.maps`; or have another program make the \
         map, and pin it where this load is to find it",
    );
}
