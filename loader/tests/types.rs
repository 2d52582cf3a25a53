//! The types of every fixture on the running kernel, whole and as far as each older kernel knows them: root, but no
//! network.

// Tells clippy that the functions beside the tests are test code too.
#![cfg(test)]

mod support;

use loader::btf::{BtfAddition, Shape, Type};
use loader::bytes::ByteOrder;
use loader::kernel::{LoadedBtf, VerifierLog};
use loader::object::Object;
use loader::uapi::btf::FuncLinkage;

use support::fixtures;

#[test]
fn the_kernel_takes_the_types_of_every_fixture_and_what_is_left_for_older_kernels() {
    for fixture in fixtures() {
        let object = Object::parse(&fixture.data).expect("a fixture");
        let Some(btf) = object.btf.filter(|_| object.order == ByteOrder::NATIVE) else { continue };
        // Half of a program is not for the kernel.
        let is_half =
            |ty: &Type| matches!(&ty.shape, Shape::Func(func) if func.linkage == FuncLinkage::EXTERN);
        if btf.types().any(|(_, ty)| is_half(ty)) {
            continue;
        }
        let reduced = BtfAddition::ALL.map(|addition| (addition.to_string(), btf.without(addition)));
        for (what, btf) in reduced.into_iter().chain([("everything".to_owned(), btf.clone())]) {
            let data = btf.to_bytes(ByteOrder::NATIVE).expect("types that were read");
            let mut log = VerifierLog::new(VerifierLog::PATH);
            if let Err(error) = LoadedBtf::load(&data, Some(&mut log)) {
                panic!("{} without {what}: {error}\n{}", fixture.name, log.text());
            }
        }
    }
}

#[test]
fn a_refusal_has_the_kernels_own_words() {
    let mut data = BtfAddition::Floats.smallest(ByteOrder::NATIVE);
    // A float of three bytes. The size is the last number before the strings.
    let strings = data.len() - "\0int\0float\0".len();
    data[strings - 4] = 3;
    let mut log = VerifierLog::new(VerifierLog::PATH);
    let error = LoadedBtf::load(&data, Some(&mut log)).expect_err("a float of three bytes");
    assert_eq!(
        error.to_string(),
        "bpf(BPF_BTF_LOAD) for the object's BTF failed: Invalid argument (EINVAL) \
         (kernel: [2] FLOAT float size=3 Invalid type_size)"
    );
    let error = LoadedBtf::load(&data, None).expect_err("a float of three bytes");
    assert_eq!(error.kernel_message(), None);
}
