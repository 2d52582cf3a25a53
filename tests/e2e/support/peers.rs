//! Other people's tools as witnesses: bpftool, ip and xdp-loader say what the kernel holds.

use std::fs;

use serde_json::Value;

use crate::command::{command, run};

/// A program on an interface, as a witness tells it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    /// `native`, `generic` or `offload`.
    pub(crate) mode: String,
    /// The kernel's number for the program.
    pub(crate) id: u64,
    /// The hash of its instructions.
    pub(crate) tag: String,
    /// Its name.
    pub(crate) name: String,
}

/// What bpftool answers to `arguments`.
#[track_caller]
pub(crate) fn bpftool(arguments: &[&str]) -> Value {
    run(&mut command("bpftool", &[&["--json"], arguments].concat())).ok().json()
}

/// What bpftool knows about the program `id`.
#[track_caller]
pub(crate) fn program(id: u64) -> Value {
    bpftool(&["prog", "show", "id", &id.to_string()])
}

/// The entries of the map `id`, in bpftool's form.
#[track_caller]
pub(crate) fn map_entries(id: u64) -> Vec<Value> {
    let dump = bpftool(&["map", "dump", "id", &id.to_string()]);
    dump.as_array().expect("bpftool lists entries").clone()
}

/// What is attached to `interface`, by ip(8).
#[track_caller]
pub(crate) fn attached_by_ip(interface: &str) -> Option<Attached> {
    let answer =
        run(&mut command("ip", &["-details", "-json", "link", "show", "dev", interface])).ok().json();
    let xdp = answer[0].get("xdp")?;
    // ip prints the kernel's number, XDP_ATTACHED_* of include/uapi/linux/if_link.h; 4 is "several".
    let mode = ["none", "native", "generic", "offload", "multiple"];
    let mode = mode[usize::try_from(number(&xdp["mode"])).expect("a mode is small")].to_owned();
    let program = &xdp["prog"];
    Some(Attached {
        mode,
        id: number(&program["id"]),
        tag: text(&program["tag"]),
        name: text(&program["name"]),
    })
}

/// What is attached to `interface`, by xdp-loader, which prints a table.
#[track_caller]
pub(crate) fn attached_by_xdp_loader(interface: &str) -> Option<Attached> {
    let ran = run(&mut command("xdp-loader", &["status", interface])).ok();
    let row = row_of(ran.stdout(), interface);
    match row[..] {
        [_, "<No", ..] => None,
        [_, name, mode, id, tag] => Some(Attached {
            mode: if mode == "skb" { "generic" } else { mode }.to_owned(),
            id: id.parse().expect("an id is a number"),
            tag: tag.to_owned(),
            name: name.to_owned(),
        }),
        _ => panic!("no row for {interface}:\n{}", ran.report()),
    }
}

/// The words in the row of `interface`, or none.
fn row_of<'a>(table: &'a str, interface: &str) -> Vec<&'a str> {
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.find(|row| row.first() == Some(&interface)).unwrap_or_default()
}

/// A number that a witness must have given.
#[track_caller]
pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("expected a number, found {value}"))
}

/// A text that a witness must have given.
#[track_caller]
pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("expected a text, found {value}")).to_owned()
}

/// How many CPUs the machine may have. The kernel numbers them from 0, and a value of a
/// per-CPU map has a part for each.
pub(crate) fn number_of_cpus() -> usize {
    let possible = fs::read_to_string("/sys/devices/system/cpu/possible").expect("/sys is mounted");
    let last = possible.trim().rsplit(['-', ',']).next().expect("a list has a last number");
    last.parse::<usize>().expect("CPUs have numbers") + 1
}

#[test]
fn the_table_of_xdp_loader_is_read() {
    let table = "Interface        Prio  Program name      Mode     ID   Tag               Chain actions\n\
        --------------------------------------------------------------------------------------\n\
        lo                     <No XDP program loaded!>\n\
        near0                  xdp_drop          skb      669  b11459a0e11ca14c \n\n";
    assert_eq!(row_of(table, "near0"), ["near0", "xdp_drop", "skb", "669", "b11459a0e11ca14c"]);
    assert_eq!(row_of(table, "lo")[..2], ["lo", "<No"]);
    assert!(row_of(table, "far0").is_empty());
}
