//! Fuzzes `.BTF.ext` beside the BTF of an object: its records are read in order, or refused in one line.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use loader::btf::{Btf, BtfExt};
use loader::bytes::ByteOrder;
use loader::elf::ElfFile;

/// The types and strings that the records name.
static TYPES: LazyLock<Btf> = LazyLock::new(|| {
    let object = include_bytes!("../../tests/fixtures/clang-19/data_sections.o");
    let elf = ElfFile::parse(object).expect("the fixture is sound");
    let section = elf.section_named(".BTF").expect("it has BTF");
    let bytes = elf.data(section).expect("the section is in the file");
    Btf::parse(bytes.data(), elf.order(), "section `.BTF`").expect("its BTF is sound")
});

fuzz_target!(|data: &[u8]| {
    match BtfExt::parse(data, ByteOrder::Little, "section `.BTF.ext`", &TYPES) {
        Err(error) => assert!(!error.to_string().contains(char::is_control), "{error:?}"),
        Ok(ext) => {
            for section in ["xdp", ".text"].into_iter().filter_map(|name| ext.get(name)) {
                assert!(section.functions.is_sorted_by_key(|record| record.offset));
                assert!(section.lines.is_sorted_by_key(|record| record.offset));
                assert!(section.relocations.is_sorted_by_key(|record| record.offset));
            }
        }
    }
});
