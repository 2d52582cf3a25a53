//! Fuzzes BTF: whatever the reader takes, every question about every type is answered, and the writer loses nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loader::btf::{Btf, TypeId};
use loader::bytes::ByteOrder;

fuzz_target!(|data: &[u8]| {
    let little = data.first() == Some(&0x9f);
    let order = if little { ByteOrder::Little } else { ByteOrder::Big };
    let Ok(btf) = Btf::parse(data, order, "section `.BTF`") else { return };
    for (id, ty) in btf.types() {
        let _ = (btf.name(id), btf.resolve(id), btf.size_of(id), btf.declaration(id), btf.type_name(id));
        check_values(&btf, id);
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

/// What bytes mean can be said again, and is then read as the same.
fn check_values(btf: &Btf, ty: TypeId) {
    let mut bytes: Vec<u8> = (1..=64).collect();
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let Ok(value) = btf.decode(ty, &bytes, order) else { continue };
        if btf.encode(ty, &value, &mut bytes, order).is_ok() {
            let _ = btf.decode(ty, &bytes, order).expect("it was read before");
        }
    }
}
