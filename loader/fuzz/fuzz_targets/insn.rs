//! Fuzzes instructions: they encode to the bytes that they were decoded from, and no two print alike.

#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use loader::bytes::{ByteOrder, Bytes};
use loader::insn::disasm::disassemble;
use loader::insn::{decode_all, encode_all};

fuzz_target!(|data: &[u8]| {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let Ok(insns) = decode_all(Bytes::new(data, order, &"fuzz")) else { continue };
        assert_eq!(encode_all(&insns, order), data);
        let mut slots = 0;
        let mut texts = HashMap::new();
        for line in disassemble(&insns) {
            assert_eq!(line.index, slots);
            slots += line.slots.len();
            let other = texts.insert(line.text.clone(), line.slots);
            assert!(other.is_none_or(|other| other == line.slots), "{} for two", line.text);
        }
        assert_eq!(slots, insns.len());
    }
});
