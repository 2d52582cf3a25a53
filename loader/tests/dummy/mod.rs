//! The object with gobpf's dialect in breadth, and an interface to put it on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use loader::elf::ElfFile;
use loader::plan::{Call, KernelCall, ProgLoad};
use loader::{Interface, Kernel, Loaded, Loader, Map, Mode, Object, Plan};

/// The compilers whose objects are tried.
pub(crate) const CLANGS: [&str; 2] = ["clang-14", "clang-19"];
/// Where the tests pin the map that leaves it to them.
pub(crate) const CUSTOM: &str = "/sys/fs/bpf/custom/array";
/// Where the object's other pinned map goes by itself.
pub(crate) const GLOBAL: &str = "/sys/fs/bpf/dummy/globals/dummy_hash";

pub(crate) fn path(clang: &str, name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(clang).join(format!("{name}.o"))
}

pub(crate) fn dummy() -> Object {
    Object::open(path("clang-19", "gobpf_dummy")).expect("the fixture can be read")
}

/// The object with `bytes` written into the definition of `map`, from byte `at` on.
pub(crate) fn dummy_with(map: &str, at: usize, bytes: &[u8]) -> loader::Result<Object> {
    let mut file = fs::read(path("clang-19", "gobpf_dummy")).expect("the fixture is there");
    let elf = ElfFile::parse(&file).expect("the fixture is ELF");
    let section = elf.section_named(map).expect("the map has a section");
    let place = usize::try_from(section.offset).expect("the file is small") + at;
    file[place..place + bytes.len()].copy_from_slice(bytes);
    Object::parse(&file)
}

/// Loads as gobpf's `Load` does: every map, every program.
pub(crate) fn loader(object: &Object) -> Loader<'_> {
    Loader::new(object).all_programs().pin_map("dummy_array", CUSTOM)
}

pub(crate) fn plan(loader: &Loader<'_>) -> Plan {
    loader.plan(&Kernel::current().expect("a kernel has a version")).expect("the object can be planned")
}

pub(crate) fn load(loader: &Loader<'_>) -> Loaded {
    load_and_record(loader).0
}

/// The same with the calls that were made.
pub(crate) fn load_and_record(loader: &Loader<'_>) -> (Loaded, Vec<KernelCall>) {
    let mut calls = Vec::new();
    let loaded = plan(loader).execute(|record| calls.extend(record.kernel_calls()));
    (loaded.expect("the kernel takes the object"), calls)
}

pub(crate) fn key(number: u32) -> [u8; 4] {
    number.to_ne_bytes()
}

pub(crate) fn value(number: u64) -> [u8; 8] {
    number.to_ne_bytes()
}

pub(crate) fn id(map: &Map) -> u32 {
    map.info().expect("a map tells of itself").id
}

/// The interface `near0`, one end of a new pair.
pub(crate) fn interface() -> Interface {
    ip("link add near0 type veth peer name far0");
    Interface::named("near0").expect("the interface has been made")
}

pub(crate) fn ip(words: &str) {
    let done = Command::new("ip").args(words.split(' ')).status().expect("these tests need ip(8)");
    assert!(done.success(), "ip {words}");
}

/// What runs on `interface`: mode and program id.
pub(crate) fn running(interface: &Interface) -> Vec<(Mode, u32)> {
    let xdp = interface.look().expect("the interface is there").xdp;
    xdp.programs().iter().map(|program| (program.mode, program.id.expect("it has an id"))).collect()
}

pub(crate) fn loads(plan: &Plan) -> Vec<&ProgLoad> {
    plan.calls()
        .filter_map(|call| match call {
            Call::ProgLoad(load) => Some(&**load),
            _ => None,
        })
        .collect()
}

/// How often the kernel was asked for `command`.
pub(crate) fn count(calls: &[KernelCall], command: &str) -> usize {
    calls.iter().filter(|call| call.command == Some(command)).count()
}
