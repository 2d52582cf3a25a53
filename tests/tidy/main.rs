//! Tidy: what ARCHITECTURE.md and CONTRIBUTING.md promise and a search through the text can check.
//!
//! It needs nothing but the standard library, takes well under a second, and runs before everything else. Each rule
//! is a function; beside it stands a test with a bad sample, so that no rule can rot unnoticed.

mod api;
mod code;
mod crates;
mod layers;
mod lexer;
mod links;
mod paths;
mod scripts;
mod shape;
mod traces;
mod tree;

use std::path::Path;

use tree::{File, Violation};

/// A rule that looks at one file.
type FileRule = fn(&File) -> Vec<Violation>;

/// A rule that looks at all files together.
type TreeRule = fn(&[File]) -> Vec<Violation>;

const FILE_RULES: [FileRule; 22] = [
    api::public_types_may_grow,
    layers::imports_follow_the_table,
    layers::the_blocklist_stands_between,
    layers::the_root_is_called_crate,
    layers::the_pure_rows_ask_nobody,
    layers::the_root_only_reexports,
    code::unsafe_stays_in_its_module,
    code::unsafe_says_why,
    code::the_library_hides_nothing,
    code::the_library_has_few_crates,
    code::the_libraries_name_no_command,
    code::nobody_borrows_sources,
    code::the_work_is_done,
    code::no_let_chains,
    shape::files_say_their_purpose,
    shape::lines_are_clean,
    shape::functions_are_short,
    shape::files_are_short,
    traces::no_private_paths,
    traces::crates_come_from_the_registry,
    traces::loose_ends_are_explained,
    scripts::scripts_are_alike,
];

const TREE_RULES: [TreeRule; 3] =
    [scripts::scripts_are_called, links::links_resolve, crates::dependencies_are_explained];

#[test]
fn the_repository_is_tidy() {
    let files = tree::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    let single = files.iter().flat_map(|file| FILE_RULES.iter().flat_map(move |rule| rule(file)));
    let mut found: Vec<_> = single.chain(TREE_RULES.iter().flat_map(|rule| rule(&files))).collect();
    found.sort();
    let lines: Vec<_> = found.iter().map(|at| format!("{}:{}: {}\n", at.path, at.line, at.rule)).collect();
    assert!(found.is_empty(), "{} places are not tidy:\n{}", found.len(), lines.concat());
}

/// What `rule` finds in a sample file, as `line: rule`.
#[cfg(test)]
fn breaches(rule: FileRule, path: &str, sample: &str) -> Vec<String> {
    let found = rule(&File::new(path, sample.as_bytes()));
    found.into_iter().map(|breach| format!("{}: {}", breach.line, breach.rule)).collect()
}
