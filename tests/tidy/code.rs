//! What Rust code may not say: `unsafe` outside its module, hidden state, output from the library, unfinished work.

use crate::lexer::{is_word, line_of, words};
use crate::tree::{File, Violation};

/// The one module of unsafe code, and the file that is called by the C library.
const UNSAFE_MODULES: [&str; 2] = ["loader/src/sys/", "cli/start.rs"];

/// Words that print, ask the environment or keep global state; the library has none of them.
const HIDDEN: [&str; 12] = [
    "println!",
    "eprintln!",
    "print!",
    "eprint!",
    "dbg!",
    "static mut",
    "lazy_static",
    "thread_local",
    "once_cell",
    "OnceLock",
    "LazyLock",
    "Once",
];

/// Marks of work that is not done, or of a test that does not run.
const UNFINISHED: [&str; 6] =
    ["todo!", "unimplemented!", "#[ignore", "allow(dead_code", "expect(dead_code", "should_panic"];

/// Crates that have no place in the library.
const FOREIGN: [&str; 3] = ["clap", "serde", "serde_json"];

/// Options in the commands of other programs, which are the same whoever calls the library.
const FOREIGN_OPTIONS: [&str; 4] = ["--cap-add ", "--all", "--net=", "--security-opt"];

/// `unsafe` is spelled in one module only.
pub(crate) fn unsafe_stays_in_its_module(file: &File) -> Vec<Violation> {
    if UNSAFE_MODULES.iter().any(|module| file.path.starts_with(module)) {
        return Vec::new();
    }
    ["unsafe", "allow(unsafe_code", "expect(unsafe_code"]
        .iter()
        .flat_map(|word| words(&file.code, word))
        .map(|at| {
            file.breach_in_code(at, format!("unsafe code belongs into {}", UNSAFE_MODULES.join(" or ")))
        })
        .collect()
}

/// Right above each unsafe block stands whom it trusts for what.
pub(crate) fn unsafe_says_why(file: &File) -> Vec<Violation> {
    if !UNSAFE_MODULES.iter().any(|module| file.path.starts_with(module)) {
        return Vec::new();
    }
    let lines: Vec<&str> = file.text.lines().collect();
    let is_said = |line: usize| {
        let above = lines[..line - 1].iter().rev().take_while(|text| text.trim_start().starts_with("//"));
        above.into_iter().any(|text| text.contains("// SAFETY:"))
    };
    words(&file.code, "unsafe {")
        .chain(words(&file.code, "unsafe impl"))
        .map(|at| line_of(&file.code, at))
        .filter(|&line| !is_said(line))
        .map(|line| file.breach(line, "an unsafe block has a `// SAFETY:` comment right above it"))
        .collect()
}

/// The library prints nothing, reads no environment and holds no global state.
pub(crate) fn the_library_hides_nothing(file: &File) -> Vec<Violation> {
    if !file.is_under(&["loader/src/", "blocklist/src/"]) {
        return Vec::new();
    }
    let rule = |word: &str| format!("the library may not use `{word}`");
    let spelled = HIDDEN.into_iter().flat_map(|word| words(&file.product, word).map(move |at| (at, word)));
    let asked =
        file.paths.iter().filter(|path| path.is_below("std::env")).map(|path| (path.offset, "std::env"));
    spelled.chain(asked).map(|(at, word)| file.breach_in_product(at, rule(word))).collect()
}

/// The program's crates stay out of the library.
pub(crate) fn the_library_has_few_crates(file: &File) -> Vec<Violation> {
    let is_manifest = file.path == "loader/Cargo.toml";
    if !is_manifest && !file.path.starts_with("loader/src/") {
        return Vec::new();
    }
    let names = |text: &str| {
        let name: String = text.trim_start().chars().take_while(|&c| is_word(c) || c == '-').collect();
        FOREIGN.into_iter().find(|foreign| name.replace('-', "_") == *foreign)
    };
    let declared = file.lines().filter(|_| is_manifest).filter_map(|(line, text)| Some((line, names(text)?)));
    let imported =
        file.paths.iter().filter_map(|path| Some((line_of(&file.product, path.offset), names(&path.text)?)));
    let rule = |name| format!("`{name}` is for the program; the library does without");
    declared.chain(imported).map(|(line, name)| file.breach(line, rule(name))).collect()
}

/// The libraries are called by programs, and name no command and no option of one: [`loader::Remedy`] is for that.
pub(crate) fn the_libraries_name_no_command(file: &File) -> Vec<Violation> {
    if !file.is_under(&["loader/src/", "blocklist/src/"]) {
        return Vec::new();
    }
    let literals = &file.literals;
    let commands = words(literals, "xdpload ");
    let options = literals.match_indices("--").map(|(at, _)| at).filter(|&at| {
        let (before, option) = (literals[..at].chars().next_back(), &literals[at..]);
        let is_alone = !before.is_some_and(|c| is_word(c) || c == '-');
        let is_option = option[2..].starts_with(|c: char| c.is_ascii_lowercase());
        is_alone && is_option && !FOREIGN_OPTIONS.iter().any(|foreign| option.starts_with(foreign))
    });
    let rule = "the library names no command or option of the program: help has a `Remedy` for that";
    commands.chain(options).map(|at| file.breach(line_of(literals, at), rule)).collect()
}

/// What stands above the library uses its public face, and no file of it.
pub(crate) fn nobody_borrows_sources(file: &File) -> Vec<Violation> {
    if !file.is_rust() {
        return Vec::new();
    }
    let at = |at: usize| file.breach_in_code(at, "source files are joined by `mod` and crates alone");
    let tricks = ["#[path", "include!"].iter().flat_map(|word| words(&file.code, word)).map(at);
    let inner = file.paths.iter().filter(|path| path.is_below("loader::sys")).map(|path| {
        file.breach_in_product(path.offset, "`loader::sys` is not part of the library's public face")
    });
    tricks.chain(inner).collect()
}

/// Nothing unfinished, and no test that does not run.
pub(crate) fn the_work_is_done(file: &File) -> Vec<Violation> {
    UNFINISHED
        .into_iter()
        .flat_map(|word| words(&file.code, word).map(move |at| (at, word)))
        .map(|(at, word)| file.breach_in_code(at, format!("`{word}` may not be used")))
        .collect()
}

/// No let chains: the oldest compiler we support, Rust 1.85, does not know them.
pub(crate) fn no_let_chains(file: &File) -> Vec<Violation> {
    let chained = words(&file.code, "&& let ");
    let chains = ["if let ", "while let "]
        .into_iter()
        .flat_map(|start| words(&file.code, start))
        .filter(|&at| continues_with_and(&file.code[at..]));
    let rule = "a let chain needs a newer compiler than Rust 1.85";
    chained.chain(chains).map(|at| file.breach_in_code(at, rule)).collect()
}

/// Whether the condition that starts with an `if let` goes on after an `&&`.
fn continues_with_and(code: &str) -> bool {
    let mut depth = 0_usize;
    let mut is_past_pattern = false;
    for (at, byte) in code.bytes().enumerate() {
        match byte {
            b'{' if depth == 0 && is_past_pattern => return false,
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            b'=' if depth == 0 => is_past_pattern = true,
            b'&' if depth == 0 && code[at..].starts_with("&& ") => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaches;

    #[test]
    fn unsafe_has_one_module() {
        let rule = unsafe_stays_in_its_module;
        assert_eq!(breaches(rule, "loader/src/map.rs", "unsafe { f() }").len(), 1);
        assert_eq!(breaches(rule, "cli/main.rs", "#![allow(unsafe_code)]").len(), 1);
        assert!(breaches(rule, "loader/src/lib.rs", "#![deny(unsafe_code)] // unsafe").is_empty());
        assert!(breaches(rule, "loader/src/sys/mod.rs", "unsafe { f() }").is_empty());
    }

    #[test]
    fn unsafe_blocks_are_explained() {
        let good = "// SAFETY: the kernel\n// writes here.\nlet x = unsafe { f() };";
        assert!(breaches(unsafe_says_why, "loader/src/sys/a.rs", good).is_empty());
        let bad = "// SAFETY: far away\n\nlet x = unsafe { f() };";
        assert_eq!(breaches(unsafe_says_why, "loader/src/sys/a.rs", bad).len(), 1);
    }

    #[test]
    fn the_library_is_silent() {
        let rule = the_library_hides_nothing;
        let bad = "println!(\"x\"); use std::{env, fmt}; static X: OnceLock<u8> = OnceLock::new();";
        assert_eq!(breaches(rule, "loader/src/a.rs", bad).len(), 4);
        assert!(breaches(rule, "loader/src/a.rs", "writeln!(f, \"println!\")").is_empty());
        assert!(breaches(rule, "cli/main.rs", bad).is_empty());
    }

    #[test]
    fn the_library_needs_no_command_line() {
        let rule = the_library_has_few_crates;
        assert_eq!(
            breaches(rule, "loader/Cargo.toml", "[dependencies]\nserde-json = \"1\"\nclap.workspace = true")
                .len(),
            2
        );
        assert_eq!(breaches(rule, "loader/src/a.rs", "use serde::Serialize;").len(), 1);
        assert!(breaches(rule, "loader/Cargo.toml", "[dependencies]\nlibc = \"1\"").is_empty());
    }

    #[test]
    fn libraries_speak_of_no_command_line() {
        let rule = the_libraries_name_no_command;
        let bad = "f(\"say which: --prog NAME\");\ng(\"`xdpload block on` or `--replace`\", \"--a\");";
        let at = |line: usize| format!("{line}: the library names no command");
        for path in ["loader/src/a.rs", "blocklist/src/a.rs"] {
            let found = breaches(rule, path, bad);
            assert_eq!(found.len(), 4);
            assert!(found.iter().filter(|breach| breach.starts_with(&at(2))).count() == 3, "{found:?}");
        }
        let good = "//! `xdpload plan --dev IF`\nf(\"nsenter --net=x -- a--b, /xdpload/m\");\n\
                    #[cfg(test)]\nmod tests { fn f() { g(\"xdpload x --y\") } }";
        assert_eq!(breaches(rule, "loader/src/a.rs", good), [""; 0]);
        assert!(breaches(rule, "cli/a.rs", bad).is_empty());
    }

    #[test]
    fn sources_are_not_borrowed() {
        let rule = nobody_borrows_sources;
        assert_eq!(breaches(rule, "cli/a.rs", "#[path = \"../x.rs\"] mod x; use loader::sys::bpf;").len(), 2);
        assert!(breaches(rule, "cli/a.rs", "include_bytes!(\"a.o\"); use loader::map::Map;").is_empty());
    }

    #[test]
    fn unfinished_work_is_found() {
        assert_eq!(breaches(the_work_is_done, "cli/a.rs", "#[ignore]\nfn f() { todo!() }").len(), 2);
    }

    #[test]
    fn let_chains_are_found() {
        let rule = no_let_chains;
        assert_eq!(breaches(rule, "cli/a.rs", "if a && let Some(b) = c {}").len(), 1);
        assert_eq!(breaches(rule, "cli/a.rs", "while let Some(b) = c(d) && e {}").len(), 1);
        assert!(breaches(rule, "cli/a.rs", "if let A { b } = c(d && e) { f && g }").is_empty());
    }
}
