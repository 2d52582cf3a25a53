//! The types of every fixture on the running kernel, whole and as far as each older kernel knows them: root, but no
//! network.

// Tells clippy that the functions beside the tests are test code too.
#![cfg(test)]

mod support;

use std::sync::Arc;

use loader::Loader;
use loader::btf::{Btf, BtfAddition, BtfWriter, Composite, DeclTag, Member, Shape, Type};
use loader::bytes::ByteOrder;
use loader::diagnosis::why_types_refused;
use loader::kernel::{LoadedBtf, VerifierLog};
use loader::object::Object;
use loader::uapi::btf::FuncLinkage;
use nix::libc::{E2BIG, EINVAL, ELOOP, ENOENT, ENOMEM};

use support::fixtures;

#[test]
fn the_kernel_takes_the_types_of_every_fixture_and_what_is_left_for_older_kernels() {
    for fixture in fixtures() {
        let object = Object::parse(&fixture.data).expect("a fixture");
        let Some(btf) = object.btf.as_deref().filter(|_| object.order == ByteOrder::NATIVE) else { continue };
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

/// The sizes of the fields that the kernel manages, which it knows them by as well.
const MANAGED: [(&str, u32); 6] = [
    ("bpf_spin_lock", 4),
    ("bpf_refcount", 4),
    ("bpf_list_head", 16),
    ("bpf_list_node", 24),
    ("bpf_rb_root", 16),
    ("bpf_rb_node", 32),
];

/// A struct: its name, and of each member the name, the type, and perhaps a tag.
type Owner<'a> = (&'a str, &'a [(&'a str, &'a str, &'a str)]);

/// Adds `structs` to `writer`.
fn add(writer: &mut BtfWriter, structs: &[Owner<'_>]) {
    let managed = MANAGED.map(|(name, size)| {
        let shape = Shape::Struct(Composite { size, members: Box::default() });
        (name, size, writer.add(name, shape).unwrap())
    });
    for (name, members) in structs {
        let mut size = 0;
        let mut place = |ty: &str| {
            let (_, bytes, ty) = managed.into_iter().find(|(name, ..)| *name == ty).expect("a managed field");
            size += bytes.next_multiple_of(8);
            (ty, (size - bytes.next_multiple_of(8)) * 8)
        };
        let member = |(name, ty, _): &(&str, &str, &str)| {
            let (ty, bit_offset) = place(ty);
            Member { name: writer.name(name).unwrap(), ty, bit_offset, bitfield_bits: 0 }
        };
        let members_of: Box<[_]> = members.iter().map(member).collect();
        let target = writer.add(name, Shape::Struct(Composite { size, members: members_of })).unwrap();
        for (component, (_, _, tag)) in (0..).zip(*members).filter(|(_, (_, _, tag))| !tag.is_empty()) {
            let tagged = DeclTag { target, component: Some(component), attribute: false };
            writer.add(tag, Shape::DeclTag(tagged)).unwrap();
        }
    }
}

/// What the kernel refuses, and why it does so.
#[track_caller]
fn refused_without_a_word(structs: &[Owner<'_>], errno: i32, rule: &str) {
    let mut writer = BtfWriter::new();
    add(&mut writer, structs);
    let data = writer.to_bytes(ByteOrder::NATIVE).unwrap();
    let mut log = VerifierLog::new(VerifierLog::PATH);
    let error = LoadedBtf::load(&data, Some(&mut log)).expect_err("a rule is broken");
    assert_eq!((error.errno(), error.kernel_message()), (Some(errno), None), "{}", log.text());
    let btf = Btf::parse(&data, ByteOrder::NATIVE, "BTF").unwrap();
    assert_eq!(why_types_refused(&btf, errno).as_deref(), Some(rule));
    // It is no rule of other refusals.
    assert_eq!(why_types_refused(&btf, ENOMEM), None);
}

const LOCK: (&str, &str, &str) = ("lock", "bpf_spin_lock", "");
const LINK: (&str, &str, &str) = ("link", "bpf_list_node", "");
const HEAD: (&str, &str, &str) = ("head", "bpf_list_head", "contains:node:link");

#[test]
fn a_refusal_without_a_word_has_the_rule() {
    let node = ("node", &[LINK][..]);
    let of = |owner: &str, rule: &str| format!("struct `{owner}` has {rule}");
    let head = |rule: &str| of("value", &format!("a `bpf_list_head`, `head`, {rule}"));
    let more = of("value", "more than one `bpf_spin_lock`");
    refused_without_a_word(&[("value", &[LOCK, ("other", "bpf_spin_lock", "")])], E2BIG, &more);
    refused_without_a_word(&[node, ("value", &[HEAD])], EINVAL, &head("and no `bpf_spin_lock`"));
    let untagged = [LOCK, ("head", "bpf_list_head", "")];
    let rule = head("without a tag `contains:STRUCT:MEMBER`");
    refused_without_a_word(&[node, ("value", &untagged)], EINVAL, &rule);
    refused_without_a_word(
        &[("value", &[LOCK, HEAD])],
        ENOENT,
        &head("of struct `node`, which is not there"),
    );
    let no_link = head("of struct `node`, which has no member `link`");
    let renamed = ("node", &[("other", "bpf_list_node", "")][..]);
    refused_without_a_word(&[renamed, ("value", &[LOCK, HEAD])], ENOENT, &no_link);
    let no_node = head("of struct `node`, whose member `link` is no `bpf_list_node`");
    let other = ("node", &[("link", "bpf_rb_node", "")][..]);
    refused_without_a_word(&[other, ("value", &[LOCK, HEAD])], EINVAL, &no_node);
    let shared = of("node", "a `bpf_list_node` and a `bpf_rb_node`, and no `bpf_refcount`");
    refused_without_a_word(&[("node", &[LINK, ("branch", "bpf_rb_node", "")])], EINVAL, &shared);
    let circle =
        ["contains:b:link", "contains:a:link"].map(|tag| [LINK, LOCK, ("head", "bpf_list_head", tag)]);
    let circle = [("a", &circle[0][..]), ("b", &circle[1][..])];
    refused_without_a_word(&circle, ELOOP, "structs own each other in a circle, by lists or trees");
}

#[test]
fn what_is_sound_is_not_blamed() {
    let mut writer = BtfWriter::new();
    add(&mut writer, &[("node", &[LINK]), ("value", &[LOCK, HEAD])]);
    let data = writer.to_bytes(ByteOrder::NATIVE).unwrap();
    LoadedBtf::load(&data, None).expect("the kernel takes it");
    let btf = Btf::parse(&data, ByteOrder::NATIVE, "BTF").unwrap();
    assert_eq!([E2BIG, EINVAL, ENOENT].map(|errno| why_types_refused(&btf, errno)), [None, None, None]);
}

#[test]
fn a_load_without_types_knows_why() {
    let fixture = fixtures().into_iter().find(|fixture| fixture.name == "clang-19/blacklist");
    let mut object = Object::parse(&fixture.expect("a fixture").data).unwrap();
    let types = object.btf.take().expect("it has types");
    let mut writer = BtfWriter::from_btf(&types);
    add(&mut writer, &[("node", &[LINK]), ("value", &[HEAD])]);
    let data = writer.to_bytes(ByteOrder::NATIVE).unwrap();
    object.btf = Some(Arc::new(Btf::parse(&data, ByteOrder::NATIVE, "BTF").unwrap()));
    let plan = Loader::new(&object).plan_for_running_kernel().unwrap();
    let loaded = plan.execute(|_| {}).unwrap();
    let rule = loaded.btf_refusal().and_then(|refusal| refusal.rule());
    assert_eq!(rule, Some("struct `value` has a `bpf_list_head`, `head`, and no `bpf_spin_lock`"));
}
