//! Who may import whom: the tables of ARCHITECTURE.md, held against every `crate::` path of the library and of the
//! program.

use crate::lexer::words;
use crate::paths::CodePath;
use crate::tree::{File, Violation};

/// Where the library lives.
const LIBRARY: &str = "loader/src/";

/// The modules of a crate, each with what it may import.
struct Layers {
    under: &'static str,
    table: &'static [Module],
    /// Modules above the table; they may import all of it.
    above: &'static [&'static str],
}

const LAYERS: [Layers; 2] = [
    Layers { under: LIBRARY, table: &TABLE, above: &["load", "lib"] },
    Layers { under: "cli/", table: &PROGRAM, above: &["cmd", "main", "start"] },
];

/// A module of a crate.
struct Module {
    name: &'static str,
    /// It may import any module of a lower row that is not [`Module::unless`]...
    row: u8,
    /// ...these of its own row...
    beside: &'static [&'static str],
    /// ...and never these.
    unless: &'static [&'static str],
}

/// A pure module: it sees the rows above it, but never the module with the system calls.
const fn pure(name: &'static str, row: u8) -> Module {
    Module { name, row, beside: &[], unless: &["sys"] }
}

/// A module that asks the kernel; most of them own file descriptors.
const fn handle(name: &'static str, row: u8, beside: &'static [&'static str]) -> Module {
    Module { name, row, beside, unless: &[] }
}

/// A module of the program.
const fn of_program(name: &'static str, row: u8) -> Module {
    Module { name, row, beside: &[], unless: &[] }
}

const PROGRAM: [Module; 10] = [
    of_program("ancestors", 0),
    of_program("exit", 0),
    of_program("format", 0),
    of_program("args", 1),
    of_program("value", 1),
    of_program("displace", 2),
    of_program("remedy", 3),
    of_program("guard", 4),
    of_program("output", 4),
    of_program("refusal", 5),
];

const TABLE: [Module; 25] = [
    Module { name: "uapi", row: 0, beside: &[], unless: &[] },
    Module { name: "mode", row: 0, beside: &[], unless: &[] },
    Module { name: "error", row: 0, beside: &["mode"], unless: &[] },
    Module { name: "bytes", row: 0, beside: &["error"], unless: &[] },
    Module { name: "order", row: 0, beside: &[], unless: &[] },
    Module { name: "sys", row: 0, beside: &["uapi"], unless: &[] },
    pure("elf", 1),
    pure("btf", 1),
    pure("insn", 1),
    pure("kconfig", 1),
    pure("netlink", 1),
    pure("object", 2),
    pure("core_reloc", 2),
    pure("features", 2),
    pure("verifier", 2),
    Module { name: "diagnosis", row: 2, beside: &["features"], unless: &["sys"] },
    pure("linker", 3),
    pure("plan", 4),
    handle("file", 5, &[]),
    handle("kernel", 5, &[]),
    handle("pin", 5, &["kernel"]),
    handle("map", 5, &["kernel", "pin"]),
    handle("program", 5, &["kernel", "pin"]),
    handle("attach", 5, &["kernel", "map", "pin", "program"]),
    handle("doctor", 5, &["attach", "kernel"]),
];

/// What the pure rows never name: the same bytes give the same answer on every machine.
const IMPURE: [&str; 12] = [
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "std::time",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::ToSocketAddrs",
    "std::net::UdpSocket",
    "std::os",
    "libc",
    "nix",
];

/// What lies below those and asks nobody all the same; constants of the C library are let pass too.
const PURE_ALL_THE_SAME: [&str; 2] = ["nix::errno", "std::os::unix::ffi"];

/// Every module of these crates stands in its table and imports only what its row allows.
pub(crate) fn imports_follow_the_table(file: &File) -> Vec<Violation> {
    let Some((layers, name)) = module_of(file) else { return Vec::new() };
    if layers.above.contains(&name) {
        return Vec::new();
    }
    let Some(module) = layers.table.iter().find(|module| module.name == name) else {
        return vec![file.breach(1, format!("the module `{name}` has no row in tests/tidy/layers.rs"))];
    };
    let refusal = |path: &CodePath| {
        let import = path.text.strip_prefix("crate::")?.split("::").next()?;
        let why_not = why_not(layers, module, import)?;
        let rule = format!("`{name}` (row {}) may not import `{import}`{why_not}", module.row);
        Some(file.breach_in_product(path.offset, rule))
    };
    file.paths.iter().filter_map(refusal).collect()
}

/// The crate beside the library stands on it, and below the program.
pub(crate) fn the_blocklist_stands_between(file: &File) -> Vec<Violation> {
    let forbidden: &[&str] = if file.is_under(&["blocklist/src/"]) {
        &["clap", "indicatif", "serde", "xdpload"]
    } else if file.is_under(&[LIBRARY]) {
        &["blocklist"]
    } else {
        return Vec::new();
    };
    let refusal = |path: &CodePath| {
        let name = forbidden.iter().find(|name| path.is_below(name))?;
        Some(file.breach_in_product(path.offset, format!("`{name}` stands above this crate")))
    };
    file.paths.iter().filter_map(refusal).collect()
}

/// Nobody reaches the crate's root through `super`, where the table would not see it.
pub(crate) fn the_root_is_called_crate(file: &File) -> Vec<Violation> {
    let Some((layers, _)) = module_of(file) else { return Vec::new() };
    let inside = file.path.trim_start_matches(layers.under).trim_end_matches(".rs").trim_end_matches("/mod");
    let depth = inside.split('/').count();
    let too_far =
        |path: &&CodePath| path.text.split("::").take_while(|part| *part == "super").count() >= depth;
    let rule = "write `crate::`, not a `super` that reaches the root of the crate";
    let breach = |path: &CodePath| file.breach_in_product(path.offset, rule);
    file.paths.iter().filter(too_far).map(breach).collect()
}

/// Rows 1 to 4 ask no file, environment, clock or system call.
pub(crate) fn the_pure_rows_ask_nobody(file: &File) -> Vec<Violation> {
    let Some((Layers { under: LIBRARY, .. }, name)) = module_of(file) else { return Vec::new() };
    let row = TABLE.iter().find(|module| module.name == name);
    if !row.is_some_and(|module| (1..=4).contains(&module.row)) {
        return Vec::new();
    }
    let impure = |path: &CodePath| {
        let name = IMPURE.into_iter().find(|name| path.is_below(name) && !is_pure(path))?;
        let rule = format!("rows 1 to 4 are pure and may not name `{name}`");
        Some(file.breach_in_product(path.offset, rule))
    };
    file.paths.iter().filter_map(impure).collect()
}

fn is_pure(path: &CodePath) -> bool {
    let last = path.text.rsplit("::").next().unwrap_or_default();
    let is_number = path.text.contains("libc::") && !last.contains(|c: char| c.is_ascii_lowercase());
    is_number || PURE_ALL_THE_SAME.iter().any(|pure| path.is_below(pure))
}

/// `lib.rs` is the tour: it declares modules and re-exports.
pub(crate) fn the_root_only_reexports(file: &File) -> Vec<Violation> {
    if file.path != "loader/src/lib.rs" {
        return Vec::new();
    }
    ["fn", "struct", "enum", "trait", "impl", "const", "static", "macro_rules"]
        .iter()
        .flat_map(|word| words(&file.product, word))
        .map(|at| file.breach_in_product(at, "lib.rs declares modules and re-exports, no more"))
        .collect()
}

/// The crate that `file` belongs to, if that has layers, and the module.
fn module_of(file: &File) -> Option<(&'static Layers, &str)> {
    let path = file.path.strip_suffix(".rs")?;
    LAYERS.iter().find_map(|layers| {
        let name = path.strip_prefix(layers.under)?.split('/').next()?;
        Some((layers, name))
    })
}

/// Why `module` may not import `import`, or `None` when it may.
fn why_not(layers: &Layers, module: &Module, import: &str) -> Option<&'static str> {
    if import == module.name || module.beside.contains(&import) {
        return None;
    }
    if module.unless.contains(&import) {
        return Some(": it is pure");
    }
    match layers.table.iter().find(|other| other.name == import) {
        Some(other) if other.row < module.row => None,
        Some(other) if other.row == module.row => Some(": it stands in the same row"),
        Some(_) => Some(": it stands in a later row"),
        None => Some(": it is no module of an earlier row"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaches;

    #[test]
    fn imports_obey_the_rows() {
        let rule = imports_follow_the_table;
        assert!(breaches(rule, "loader/src/elf/header.rs", "use crate::{bytes::Bytes, elf::X};").is_empty());
        assert!(breaches(rule, "loader/src/map.rs", "crate::sys::map_create()").is_empty());
        assert!(breaches(rule, "loader/src/load.rs", "use crate::program::P;").is_empty());
        assert_eq!(
            breaches(rule, "loader/src/elf/header.rs", "// crate::sys\nuse crate::{btf,\n sys::X, plan};"),
            [
                "2: `elf` (row 1) may not import `btf`: it stands in the same row",
                "3: `elf` (row 1) may not import `sys`: it is pure",
                "3: `elf` (row 1) may not import `plan`: it stands in a later row",
            ]
        );
        assert_eq!(
            breaches(rule, "loader/src/sys/mod.rs", "fn f() { crate::error::quote(x) }"),
            ["1: `sys` (row 0) may not import `error`: it stands in the same row"]
        );
        assert_eq!(breaches(rule, "loader/src/odd.rs", "").len(), 1);
        assert!(breaches(rule, "cli/cmd/map/mod.rs", "use crate::{args, output};").is_empty());
        assert_eq!(
            breaches(rule, "cli/args.rs", "use crate::{cmd::Command, format::Format};"),
            ["1: `args` (row 1) may not import `cmd`: it is no module of an earlier row"]
        );
    }

    #[test]
    fn tests_may_import_what_they_like() {
        let code = "#[cfg(test)]\nmod tests { use crate::sys::x; use std::fs; }";
        assert!(breaches(imports_follow_the_table, "loader/src/elf/mod.rs", code).is_empty());
        assert!(breaches(the_pure_rows_ask_nobody, "loader/src/elf/mod.rs", code).is_empty());
    }

    #[test]
    fn super_stays_inside_its_module() {
        let rule = the_root_is_called_crate;
        assert_eq!(breaches(rule, "loader/src/elf/mod.rs", "use super::bytes::Bytes;").len(), 1);
        assert_eq!(breaches(rule, "loader/src/elf/header.rs", "use super::super::bytes::Bytes;").len(), 1);
        assert!(breaches(rule, "loader/src/elf/header.rs", "use super::section::S;").is_empty());
    }

    #[test]
    fn the_blocklist_has_a_row() {
        let rule = the_blocklist_stands_between;
        assert_eq!(breaches(rule, "blocklist/src/a.rs", "use serde::Serialize;").len(), 1);
        assert_eq!(breaches(rule, "loader/src/a.rs", "use blocklist::Blocklist;").len(), 1);
        assert!(breaches(rule, "blocklist/src/a.rs", "use loader::Map; use serde_json::Value;").is_empty());
        assert!(breaches(rule, "cli/a.rs", "use blocklist::Blocklist;").is_empty());
    }

    #[test]
    fn the_pure_rows_are_pure() {
        let rule = the_pure_rows_ask_nobody;
        assert_eq!(
            breaches(
                rule,
                "loader/src/plan/mod.rs",
                "use std::{fmt, fs::File};\nlet t = std::time::Instant::now();"
            ),
            [
                "1: rows 1 to 4 are pure and may not name `std::fs`",
                "2: rows 1 to 4 are pure and may not name `std::time`",
            ]
        );
        assert!(breaches(rule, "loader/src/netlink/mod.rs", "use std::net::Ipv4Addr;").is_empty());
        let numbers = "use nix::libc::{E2BIG, EPERM}; nix::errno::Errno::EINVAL";
        assert!(breaches(rule, "loader/src/plan/mod.rs", numbers).is_empty());
        assert_eq!(breaches(rule, "loader/src/plan/mod.rs", "nix::libc::getpid()").len(), 1);
        assert!(breaches(rule, "loader/src/pin.rs", "use std::fs;").is_empty());
    }

    #[test]
    fn lib_holds_no_code() {
        let rule = the_root_only_reexports;
        assert!(breaches(rule, "loader/src/lib.rs", "pub mod a;\npub use a::B;").is_empty());
        assert_eq!(breaches(rule, "loader/src/lib.rs", "pub mod a;\npub fn f() {}").len(), 1);
    }
}
