//! CO-RE on the running kernel: what adapted programs read is what the kernel has there, and its types are read only
//! for programs that need them.

use std::fs;

use loader::Map;
use loader::btf::{BtfWriter, Shape};
use loader::bytes::ByteOrder;
use loader::program::Program;

use crate::bench::refused;
use crate::objects::{object, object_by};
use crate::sandbox::Sandbox;
use crate::strace::trace;
use crate::veth::{NEAR, pair};
use crate::xdpload::{answer, xdpload_command};

const COMPILERS: [&str; 2] = ["clang-14", "clang-19"];

/// Loads the program of an object, has this thread run it once, and gives what it wrote into its map `answers`.
#[track_caller]
fn answers(object: &str) -> Vec<u64> {
    let dir = "/sys/fs/bpf/core";
    answer(&["load", object, "--pin", dir]);
    let program = Program::open_pinned(format!("{dir}/look")).expect("it was pinned");
    program.test_run(&[0; 64], 1).expect("the kernel runs it");
    let map = Map::open_pinned(format!("{dir}/maps/answers")).expect("it was pinned");
    let value = |key: u32| {
        let value = map.lookup(&key.to_ne_bytes()).expect("an array").expect("an array has all its entries");
        u64::from_ne_bytes(value.single().expect("one value a key").try_into().expect("8 bytes"))
    };
    let answers = (0..map.max_entries()).map(value).collect();
    fs::remove_dir_all(dir).expect("root may remove pins");
    answers
}

#[test]
fn a_program_reads_the_current_task() {
    let _sandbox = need!(Sandbox::new());
    let thread = u64::try_from(nix::unistd::gettid().as_raw()).unwrap();
    for clang in COMPILERS {
        let seen = answers(&object_by(clang, "core_fields"));
        let [pid, tgid, comm_3, cred, size, signed, unsigned, exists, missing, bits, guarded] = seen[..]
        else {
            panic!("{seen:?}");
        };
        assert_eq!((pid, tgid, cred), (thread, u64::from(std::process::id()), 0), "{clang}");
        let comm = offset_in_kernel("task_struct", "comm");
        assert_eq!((comm_3, size), (comm + 3, 16), "{clang}");
        assert_eq!((signed, unsigned, exists, missing), (1, 0, 1, 0), "{clang}");
        assert_eq!((bits, guarded), (0, 5), "{clang}");
    }
}

/// Where bpftool says that a field of a struct is in the kernel, in bytes.
fn offset_in_kernel(name: &str, field: &str) -> u64 {
    let types = crate::peers::bpftool(&["btf", "dump", "file", "/sys/kernel/btf/vmlinux"]);
    let types = types["types"].as_array().expect("a list of types");
    let is_it = |ty: &&serde_json::Value| ty["kind"] == "STRUCT" && ty["name"] == name;
    let members =
        types.iter().find(is_it).expect("the kernel has it")["members"].as_array().expect("a list").clone();
    let member = members.iter().find(|member| member["name"] == field).expect("the struct has it");
    crate::peers::number(&member["bits_offset"]) / 8
}

#[test]
fn a_program_reads_the_interface_of_a_packet() {
    let _sandbox = need!(Sandbox::new());
    for clang in COMPILERS {
        // The kernel runs a program for this in the name of `lo`: its number, its MTU, its header of Ethernet.
        assert_eq!(answers(&object_by(clang, "core_direct")), [1, 65536, 14], "{clang}");
    }
}

#[test]
fn a_program_knows_the_types_and_values_of_the_kernel() {
    let _sandbox = need!(Sandbox::new());
    for clang in COMPILERS {
        let seen = answers(&object_by(clang, "core_types"));
        assert_eq!((seen[0], seen[2]), (1, 0), "{clang}: {seen:?}");
        assert_ne!(seen[1], 0, "{clang}: the kernel has the struct");
        // clang 14 has no way to ask whether a type matches.
        let matches = if clang == "clang-14" { [0, 0] } else { [1, 0] };
        assert_eq!(seen[3..8], [1, 1, 0, 16, 0], "{clang}");
        assert_eq!(seen[8..], matches, "{clang}");

        // BPF_CGROUP_ITER_ANCESTORS_UP is 4 in the kernel, and that of 64 bits is not there.
        assert_eq!(answers(&object_by(clang, "core_enums")), [4, 1, 0, 0], "{clang}");
    }
}

#[test]
fn the_kernels_types_are_read_once_and_only_for_a_program_that_needs_them() {
    let (sandbox, _veth) = need!(pair(&["strace"]));
    for (name, reads) in
        [("xdp_drop", 0), ("blacklist", 0), ("subprog_call", 0), ("core_fields", 1), ("core_types", 1)]
    {
        let command = xdpload_command(&["attach", NEAR, &object(name), "--replace"]);
        let (ran, calls) = trace(&sandbox, "open,openat,openat2", &command);
        ran.ok();
        let count = |path: &str| calls.iter().filter(|call| call.arguments.contains(path)).count();
        assert_eq!(count("/sys/kernel/btf/vmlinux"), reads, "{name}");
        assert_eq!(count("/proc/config.gz") + count("/boot/") + count("/proc/kallsyms"), 0, "{name}");
    }
}

/// BTF of a kernel that has nothing of what programs ask for.
fn odd_kernel() -> Vec<u8> {
    let mut btf = BtfWriter::new();
    btf.add("anything", Shape::Float { size: 8 }).expect("a type");
    btf.to_bytes(ByteOrder::NATIVE).expect("BTF")
}

#[test]
fn a_program_that_gets_to_what_the_kernel_lacks_is_refused_by_the_name_of_that() {
    let (_sandbox, _veth) = need!(pair(&[]));
    let missing = object("reject/core_missing");
    let words = [
        "program `look` was refused by the verifier",
        "needs the byte offset of struct task_struct___part.no_such_field, which the kernel's types do not have",
        "the program is to ask whether the kernel has it, and go another way",
    ];
    refused(&["attach", NEAR, &missing], 4, &words);
}

#[test]
fn a_plan_tells_a_field_in_another_form_from_one_that_is_gone() {
    let unfit = |name: &str, program: &str, field: &str| {
        let plan = answer(&["plan", &object(name), "--prog", program]);
        let all = plan["relocations"].as_array().expect("a list");
        let missing = all.iter().find(|it| it["after"].is_null()).expect("one has no number");
        assert_eq!(missing["of"], field, "{missing}");
        missing["unfit"].clone()
    };
    assert_eq!(unfit("reject/core_size", "other_size", "struct net_device.ifindex"), "4 bytes and not 8");
    assert_eq!(unfit("reject/core_size", "other_kind", "struct net_device.xdp_prog"), "of another kind");
    let gone = unfit("reject/core_missing", "look", "struct task_struct___part.no_such_field");
    assert!(gone.is_null(), "{gone}");
}

#[test]
fn a_program_is_adapted_to_the_types_of_a_file() {
    let (sandbox, _veth) = need!(pair(&[]));
    let scratch = sandbox.scratch();
    let core = object("core_fields");
    let file = |name: &str| scratch.join(name).display().to_string();
    let plan = |btf: &str| answer(&["plan", &core, "--btf", btf])["relocations"].clone();

    // The running kernel's types as it shows them.
    let raw = file("vmlinux.btf");
    fs::copy("/sys/kernel/btf/vmlinux", &raw).unwrap();
    let here = answer(&["plan", &core])["relocations"].clone();
    assert!(here.as_array().is_some_and(|list| !list.is_empty()), "{here}");
    let lacks =
        |list: &serde_json::Value| list.as_array().expect("a list").iter().any(|it| it["after"].is_null());
    assert_eq!(plan(&raw), here);

    // In an ELF file they are in a section. The object's own types have every field that it asks for, and an image of
    // a kernel differs in the machine that it is for: EM_X86_64 of include/uapi/linux/elf-em.h.
    assert!(lacks(&here), "a field that no kernel has: {here}");
    let own = plan(&core);
    assert!(!lacks(&own), "{own}");
    let image = file("vmlinux");
    let mut bytes = fs::read(&core).unwrap();
    bytes[18..20].copy_from_slice(&62_u16.to_le_bytes());
    fs::write(&image, bytes).unwrap();
    assert_eq!(plan(&image), own);

    // Those of Debian's kernel 6.1, where fields are elsewhere.
    let debian = concat!(env!("CARGO_MANIFEST_DIR"), "/loader/tests/fixtures/btf/linux-6.1.btf");
    assert_ne!(plan(debian), here);

    // A kernel without the struct: nothing is found, and nothing of it is asked of the verifier.
    let odd = file("odd.btf");
    fs::write(&odd, odd_kernel()).unwrap();
    let found = plan(&odd);
    assert!(lacks(&found), "{found}");

    for (name, content, words) in [
        ("text", b"no types at all".as_slice(), "expected"),
        ("empty", b"", "expected"),
        ("vmlinuz", b"MZ and the rest", "is a boot image, in which the kernel is compressed"),
        ("cut", &fs::read(&raw).unwrap()[..1000], "expected"),
    ] {
        let path = file(name);
        fs::write(&path, content).unwrap();
        refused(&["plan", &core, "--btf", &path], 1, &[&path, words]);
    }
    refused(&["plan", &core, "--btf", &file("nowhere")], 1, &[&file("nowhere"), "(ENOENT)"]);
}
