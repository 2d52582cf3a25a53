//! BTF of real objects: what is read can be written again, and nothing of it is lost.

// Tells clippy that the functions beside the tests are test code too.
#![cfg(test)]

use loader::btf::{Btf, BtfWriter};
use loader::bytes::ByteOrder;
use loader::elf::ElfFile;

mod support;

use support::fixtures;

/// The BTF of every fixture that has some, with its name and its byte order.
fn all_btf() -> Vec<(String, ByteOrder, Vec<u8>)> {
    let mut all = Vec::new();
    for fixture in fixtures() {
        let elf = ElfFile::parse(&fixture.data).unwrap();
        if let Some(section) = elf.section_named(".BTF") {
            let data = elf.data(section).unwrap().data().to_vec();
            all.push((fixture.name.clone(), elf.order(), data));
        }
    }
    assert!(all.iter().any(|(_, order, _)| *order == ByteOrder::Big), "a fixture for bpfeb has BTF");
    all
}

#[test]
fn every_fixture_is_written_as_it_was_read() {
    for (name, order, data) in all_btf() {
        let btf = Btf::parse(&data, order, &name).unwrap();
        assert_eq!(btf.to_bytes(order).unwrap(), data, "{name}");
        assert_eq!(BtfWriter::from_btf(&btf).to_bytes(order).unwrap(), data, "{name}");
    }
}

#[test]
fn every_fixture_survives_the_other_byte_order() {
    for (name, order, data) in all_btf() {
        let btf = Btf::parse(&data, order, &name).unwrap();
        let other = if order == ByteOrder::Little { ByteOrder::Big } else { ByteOrder::Little };
        assert_eq!(Btf::parse(&btf.to_bytes(other).unwrap(), other, "other").unwrap(), btf, "{name}");
    }
}

#[test]
fn every_fixture_can_be_built_anew_with_names_kept_once() {
    for (name, order, data) in all_btf() {
        let btf = Btf::parse(&data, order, &name).unwrap();
        let mut writer = BtfWriter::new();
        for (_, ty) in btf.types() {
            let moved = ty.renamed(|name| writer.name(btf.text(name).unwrap()).unwrap());
            writer.add(btf.text(ty.name).unwrap(), moved.shape).unwrap();
        }
        let written = writer.to_bytes(order).unwrap();
        assert!(written.len() <= data.len(), "{name}");
        assert_eq!(Btf::parse(&written, order, "anew").unwrap(), btf, "{name}");
    }
}
