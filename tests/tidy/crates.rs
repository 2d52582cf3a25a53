//! Dependencies: ARCHITECTURE.md says of each why it is there.

use std::collections::BTreeSet;

use crate::tree::{File, Violation};

const PAGE: &str = "ARCHITECTURE.md";
const HEADING: &str = "## Dependencies, and why each";
/// The manifests of what is built and tested here; the peers of the benchmarks are their own matter.
const MANIFESTS: [&str; 3] = ["Cargo.toml", "loader/Cargo.toml", "blocklist/Cargo.toml"];
/// The crates of this workspace.
const OWN: [&str; 2] = ["loader", "blocklist"];

/// Each crate that a manifest depends on has a row in the table, and each row such a crate.
pub(crate) fn dependencies_are_explained(files: &[File]) -> Vec<Violation> {
    let Some(page) = files.iter().find(|file| file.path == PAGE) else { return Vec::new() };
    let mut rows = explained(page);
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    for file in files.iter().filter(|file| MANIFESTS.contains(&&*file.path)) {
        for (line, name) in dependencies(file) {
            if !rows.iter().any(|(_, row)| *row == name) {
                let rule = format!("no row under `{HEADING}` of {PAGE} says why `{name}` is there");
                found.push(file.breach(line, rule));
            }
            seen.insert(name);
        }
    }
    rows.retain(|(_, row)| !seen.contains(row));
    found.extend(rows.iter().map(|(line, row)| page.breach(*line, format!("nothing depends on `{row}`"))));
    found
}

/// The crates in the first cells of the table, with their lines.
fn explained(page: &File) -> Vec<(usize, &str)> {
    let section = page.lines().skip_while(|(_, line)| *line != HEADING).skip(1);
    let rows =
        section.take_while(|(_, line)| !line.starts_with("## ")).filter(|(_, line)| line.starts_with("| `"));
    let mut found = Vec::new();
    for (number, line) in rows {
        let cell = line.trim_start_matches("| ").split(" | ").next().unwrap_or_default();
        found.extend(cell.split(", ").map(|name| (number, name.trim_matches('`'))));
    }
    found
}

/// The crates of other people that a manifest names in a table of dependencies, with their lines.
fn dependencies(file: &File) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut is_table = false;
    for (number, line) in file.lines() {
        if line.starts_with('[') {
            is_table = line.ends_with("dependencies]") && !line.starts_with("[workspace");
        } else if is_table && line.contains('=') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            found.extend((!name.starts_with('#') && !OWN.contains(&name)).then_some((number, name)));
        }
    }
    found
}

#[test]
fn a_crate_without_a_reason_is_found_and_a_reason_without_a_crate() {
    let page = format!("{HEADING}\n\n| `a`, `b` | all | why |\n| `c` | all | why |\n\n## Next\n| `d` | |\n");
    let manifest = "[dependencies]\na.workspace = true\nloader.workspace = true\n# Why.\nx = \"1\"\n\
                    [dev-dependencies]\nb = \"1\"\n";
    let files = [File::new(PAGE, page.as_bytes()), File::new("Cargo.toml", manifest.as_bytes())];
    let found: Vec<_> =
        dependencies_are_explained(&files).into_iter().map(|breach| (breach.path, breach.line)).collect();
    assert_eq!(found, [("Cargo.toml".to_owned(), 5), (PAGE.to_owned(), 4)]);
}
