//! An object that libbpf loads, we load, with the same program tags and the same maps: every fixture, and the objects
//! of Debian's xdp-tools, which no one here wrote.

use std::fs;
use std::path::Path;

use crate::libbpf::{compare, load_by_libbpf, load_by_us};
use crate::objects::fixtures_of;
use crate::requirement::{Missing, tool};
use crate::sandbox::Sandbox;

/// What libbpf does not take although we do, and its words.
const BEYOND_LIBBPF: [(&str, &str); 9] = [
    ("blacklist_gobpf", "bad map relo against 'blacklist' in section 'maps/blacklist'"),
    ("blacklist_iproute2", "legacy map definitions in 'maps' section are not supported"),
    ("blacklist_libbpf", "legacy map definitions in 'maps' section are not supported"),
    ("data_named_bss", "bad map relo against 'cleared' in section '.bss.cleared'"),
    ("gobpf_dummy", "bad map relo against"),
    ("iproute2_ids", "legacy map definitions in 'maps' section are not supported"),
    ("many", "failed to guess program type from ELF section 'xdp/second'"),
    ("subprog_sections", "program 'is_long_enough' is static and not supported"),
    ("xdp_drop_prog", "failed to guess program type from ELF section 'prog'"),
];

/// Objects that ask their loader for a pin path; another test loads them.
const ASKING: [&str; 1] = ["gobpf_dummy"];

fn fixtures_load_alike(clang: &str) -> Result<(), Missing> {
    tool("bpftool")?;
    let sandbox = Sandbox::new()?;
    let mut complaints = Vec::new();
    for (name, path) in fixtures_of(clang) {
        match BEYOND_LIBBPF.iter().find(|(beyond, _)| *beyond == name) {
            None => complaints.extend(compare(&sandbox, &path)),
            Some((_, words)) => {
                let refusal = load_by_libbpf(&sandbox, &path, &[]).expect_err("libbpf refuses it");
                refusal.fails(255).stderr_has(words);
                let ours = load_by_us(&sandbox, &path, &[]);
                assert!(ASKING.contains(&&*name) || ours.is_ok(), "{name}: {ours:?}");
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

/// Where Debian installs the objects of xdp-tools.
fn debian_objects() -> Result<Vec<String>, Missing> {
    let directory = format!("/usr/lib/{}-linux-gnu/bpf", std::env::consts::ARCH);
    let lack = || Missing::new("the objects of xdp-tools; scripts/setup test installs them");
    let entries = fs::read_dir(Path::new(&directory)).map_err(|_| lack())?;
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("the directory can be listed").path().to_string_lossy().into_owned())
        .filter(|path| path.ends_with(".o"))
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
