//! An object that libbpf loads, we load, with the same program tags and the same maps: every fixture, and the objects
//! of Debian's xdp-tools, which no one here wrote.

use std::fs;
use std::path::Path;

use crate::libbpf::{View, compare, load_by_libbpf, load_by_us};
use crate::objects::fixtures_of;
use crate::requirement::{Missing, tool};
use crate::sandbox::Sandbox;

/// What libbpf does not take, and its words. We take it, unless it is among [`ASKING`].
const BEYOND_LIBBPF: [(&str, &str); 30] = [
    // It relocates the program under its first name alone.
    ("alias", "prog 'count_too': BPF program load failed"),
    ("annotated", "legacy map definitions in 'maps' section are not supported"),
    // A newer libbpf than 1.1 reads 64 bits from an enumeration, and knows what an arena is.
    ("arena", "map 'filter': attr 'map_extra': expected PTR, got enum"),
    ("arena_address", "map 'arena': attr 'map_extra': expected PTR, got enum"),
    ("arena_variables", "map 'arena': attr 'map_extra': expected PTR, got enum"),
    ("any_section", "failed to guess program type from ELF section 'filters'"),
    ("blacklist_gobpf", "bad map relo against 'blacklist' in section 'maps/blacklist'"),
    ("blacklist_iproute2", "legacy map definitions in 'maps' section are not supported"),
    ("blacklist_libbpf", "legacy map definitions in 'maps' section are not supported"),
    ("both_maps", "legacy map definitions in 'maps' section are not supported"),
    ("data_named_bss", "bad map relo against 'cleared' in section '.bss.cleared'"),
    // Exception callbacks came with libbpf 1.3.
    ("exception", "exception callback type id not found in func_info"),
    ("extension", "prog 'deny': attach program FD is not set"),
    ("gobpf_dummy", "bad map relo against"),
    ("kfunc_missing", "extern (func ksym) 'xdpload_nowhere': not found in kernel or module BTFs"),
    ("kfunc_signature", "extern (func ksym) 'bpf_rcu_read_lock': func_proto [8] incompatible with kernel"),
    ("ksym_typed", "failed to find the address for kernel symbol 'bpf_prog_active'"),
    ("rx_metadata", "metadata kfuncs require device-bound program"),
    ("iproute2_ids", "legacy map definitions in 'maps' section are not supported"),
    ("iproute2_tail_calls", "legacy map definitions in 'maps' section are not supported"),
    ("half_caller", "failed to find BTF for extern 'judge'"),
    ("map_without_size", "map 'by_length': failed to create: Invalid argument"),
    // It does not find the size of a section that no bytes are in.
    ("moved_constants", "Error finalizing .BTF: -2"),
    ("many", "failed to guess program type from ELF section 'xdp/second'"),
    ("old_names", "failed to guess program type from ELF section 'xdp1'"),
    // bpftool pins all programs, those that libbpf has not loaded as well.
    ("optional", "prog 'drop_frags': can't pin program that wasn't loaded"),
    ("pointers", "failed to guess program type from ELF section 'xdp.frags/entry'"),
    ("static_entry", "program 'drop_all' is static and not supported"),
    ("subprog_sections", "program 'is_long_enough' is static and not supported"),
    ("xdp_drop_prog", "failed to guess program type from ELF section 'prog'"),
];

/// Objects of which we ask more than is in them: a pin path, a size, the other half, which section holds programs, an
/// interface, a program to extend, a kernel that has what they call. Other tests load them, or see them refused.
const ASKING: [&str; 9] = [
    "any_section",
    "extension",
    "gobpf_dummy",
    "half_caller",
    "kfunc_missing",
    "kfunc_signature",
    "ksym_typed",
    "map_without_size",
    "rx_metadata",
];

/// Objects with weak functions that the kernel lacks: libbpf 1.1 leaves function 0 in their place, newer ones the
/// helper that we put there.
const OTHER_TAG: [&str; 2] = ["kfunc", "kfunc_weak"];

fn fixtures_load_alike(clang: &str) -> Result<(), Missing> {
    tool("bpftool")?;
    let sandbox = Sandbox::new()?;
    let mut complaints = Vec::new();
    for (name, path) in fixtures_of(clang) {
        match BEYOND_LIBBPF.iter().find(|(beyond, _)| *beyond == name) {
            None if OTHER_TAG.contains(&&*name) => {
                let theirs = load_by_libbpf(&sandbox, &path, &[]).expect("libbpf takes it");
                let ours = load_by_us(&sandbox, &path, &[]).expect("we take it");
                assert_ne!(View::differences(&theirs, &ours), Vec::<String>::new(), "{name}: no other tag");
                complaints.extend(View::differences(&theirs.without_tags(), &ours.without_tags()));
            }
            None => complaints.extend(compare(&sandbox, &path)),
            Some((_, words)) => {
                let refusal = load_by_libbpf(&sandbox, &path, &[]).expect_err("libbpf refuses it");
                refusal.fails(255).stderr_has(words);
                let ours = load_by_us(&sandbox, &path, &[]);
                assert_eq!(ours.is_ok(), !ASKING.contains(&&*name), "{name}: {ours:?}");
            }
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    Ok(())
}

#[test]
fn fixtures_of_clang_14() {
    need!(fixtures_load_alike("clang-14"));
}

#[test]
fn fixtures_of_clang_19() {
    need!(fixtures_load_alike("clang-19"));
}

#[test]
fn large_objects() {
    need!(tool("bpftool"));
    let sandbox = need!(Sandbox::new());
    let objects = fixtures_of("big");
    let complaints: Vec<_> = objects.iter().filter_map(|(_, path)| compare(&sandbox, path)).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert_eq!(objects.len(), 5);
}

/// Where Debian installs the objects of xdp-tools.
fn debian_objects() -> Result<Vec<String>, Missing> {
    let directory = format!("/usr/lib/{}-linux-gnu/bpf", std::env::consts::ARCH);
    let lack = || Missing::new("the objects of xdp-tools; scripts/setup test installs them");
    let entries = fs::read_dir(Path::new(&directory)).map_err(|_| lack())?;
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("the directory can be listed").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "o"))
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    paths.sort();
    if paths.is_empty() { Err(lack()) } else { Ok(paths) }
}

#[test]
fn objects_of_xdp_tools() {
    need!(tool("bpftool"));
    let objects = need!(debian_objects());
    let sandbox = need!(Sandbox::new());
    let mut complaints = Vec::new();
    for object in objects {
        // Its two programs trace an XDP program, which only who loads them can name.
        if object.ends_with("/xdpdump_bpf.o") {
            let refusal = load_by_libbpf(&sandbox, &object, &[]).expect_err("libbpf refuses it");
            refusal.fails(255).stderr_has("failed to find kernel BTF type ID of 'func'");
            continue;
        }
        complaints.extend(compare(&sandbox, &object));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
