//! Fuzzes BTF: whatever the reader takes, every question about every type is answered, and the writer loses nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loader::btf::Btf;
use loader::bytes::ByteOrder;

fuzz_target!(|data: &[u8]| {
    let little = data.first() == Some(&0x9f);
    let order = if little { ByteOrder::Little } else { ByteOrder::Big };
    let Ok(btf) = Btf::parse(data, order, "section `.BTF`") else { return };
    for (id, ty) in btf.types() {
        let _ = (btf.name(id), btf.resolve(id), btf.size_of(id));
        assert!(btf.get(id).is_ok_and(|found| found == ty));
        for member in btf.members(id).unwrap_or_default() {
            let _ = (btf.text(member.name), btf.uint_member(member));
            let _ = (btf.type_member(member), btf.array_member(member));
        }
    }
    let _ = btf.variables(".maps");
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let written = btf.to_bytes(order).expect("what was read can be written");
        assert!(Btf::parse(&written, order, "written").expect("and read again") == btf);
    }
});
