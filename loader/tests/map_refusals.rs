//! What a file must not put into its maps, case by case: the exact words with which each is refused.
//!
//! The inputs are fixtures whose relocations of `.maps` have been changed, and plans that ask for what does not fit.

// Tells clippy that the functions beside the tests are test code too.
#![cfg(test)]

use loader::elf::ElfFile;
use loader::object::Object;
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
        "map `by_parity` has room for 3 entries, and the object fills 4",
    );
    refused(
        plan("clang-19/inner_maps", "by_inner_map", "by_number", 1),
        "map `by_number` has room for 1 entries, and the object fills 2",
    );
    refused(
        plan("clang-19/tail_calls", "enter", "first_jump", 2),
        "map `first_jump` has room for 2 entries, and the object fills 3",
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
