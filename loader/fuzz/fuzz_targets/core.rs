//! Fuzzes the types of a kernel: whatever they are, programs are adapted to them, or refused in one line.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use loader::Error;
use loader::btf::{KernelTypes, LazyBtf};
use loader::features::Kernel;
use loader::object::Object;
use loader::plan::Loader;

/// Objects with relocations of all kinds.
static OBJECTS: LazyLock<Vec<Object>> = LazyLock::new(|| {
    let files: [&[u8]; 4] = [
        include_bytes!("../../tests/fixtures/clang-19/core_direct.o"),
        include_bytes!("../../tests/fixtures/clang-19/core_enums.o"),
        include_bytes!("../../tests/fixtures/clang-19/core_fields.o"),
        include_bytes!("../../tests/fixtures/clang-19/core_types.o"),
    ];
    files.into_iter().map(|file| Object::parse(file).expect("the fixture is sound")).collect()
});

fuzz_target!(|data: &[u8]| {
    let vmlinux = match LazyBtf::from_bytes(data, "`vmlinux`") {
        Ok(btf) => btf,
        Err(error) => return check(&error),
    };
    for head in vmlinux.heads() {
        let _ = (vmlinux.get(head.id), vmlinux.text(head.name));
    }
    let types = KernelTypes { vmlinux: Some(vmlinux), modules: None };
    for object in OBJECTS.iter() {
        match Loader::new(object).all_programs().target_types(types.clone()).plan(&Kernel::unknown()) {
            Ok(plan) => assert_eq!(plan.relocations.len(), plan.programs.len()),
            Err(error) => check(&error),
        }
    }
});

fn check(error: &Error) {
    assert!(!error.to_string().contains(char::is_control), "{error:?}");
}
