//! The shape of files: a purpose on top, short lines, short functions, short files, nothing at the ends of lines.

use crate::lexer::{item_len, words};
use crate::tree::{File, Violation};

/// Characters in a line of Rust.
const MAX_LINE: usize = 120;
/// Lines in a function of the library or the program.
const MAX_FUNCTION: usize = 80;
/// Lines in a Rust file.
const MAX_FILE: usize = 900;
/// Where a purpose must have been told, in lines from the top.
const NEAR_THE_TOP: usize = 5;

/// Every Rust file starts with what it is for; a script or C file says it near the top.
pub(crate) fn files_say_their_purpose(file: &File) -> Vec<Violation> {
    if file.is_rust() {
        let rule = "a Rust file starts with `//!` and says in a sentence what it is for";
        let is_said = file.text.strip_prefix("//! ").is_some_and(is_purpose);
        return if is_said { Vec::new() } else { vec![file.breach(1, rule)] };
    }
    let markers: &[&str] = if file.is_script() {
        &["# "]
    } else if ["c", "h"].contains(&file.extension()) {
        &["// ", "/* ", " * "]
    } else {
        return Vec::new();
    };
    let purpose = |line: &str| markers.iter().any(|marker| line.strip_prefix(marker).is_some_and(is_purpose));
    if file.text.lines().take(NEAR_THE_TOP).any(purpose) {
        return Vec::new();
    }
    vec![file.breach(1, format!("a comment within the first {NEAR_THE_TOP} lines says what the file is for"))]
}

/// Whether the first line of `text` is a sentence, and not a license tag.
fn is_purpose(text: &str) -> bool {
    let line = text.lines().next().unwrap_or_default();
    !line.contains("SPDX") && line.split_whitespace().count() >= 3
}

/// No blanks at the end of a line, no tab in Rust, no overlong line in Rust, a line break at the end of the file.
pub(crate) fn lines_are_clean(file: &File) -> Vec<Violation> {
    if file.is_binary || file.text.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in file.lines() {
        if line.ends_with([' ', '\t', '\r']) {
            found.push(file.breach(number, "blanks at the end of the line"));
        }
        if file.is_rust() && line.contains('\t') {
            found.push(file.breach(number, "a tab"));
        }
        if file.is_rust() && line.chars().count() > MAX_LINE {
            found.push(file.breach(number, format!("the line is longer than {MAX_LINE} characters")));
        }
    }
    if !file.text.ends_with('\n') {
        found.push(file.breach(file.text.lines().count(), "the last line has no end"));
    }
    found
}

/// A function of the library or the program fits on a screen or two.
pub(crate) fn functions_are_short(file: &File) -> Vec<Violation> {
    if !file.is_rust() || !file.is_under(&["loader/src/", "blocklist/src/", "cli/"]) {
        return Vec::new();
    }
    let length = |at: usize| {
        let lines = file.code[at..at + item_len(&file.code[at..])].lines().count();
        let rule = format!("the function has {lines} lines, more than {MAX_FUNCTION}");
        (lines > MAX_FUNCTION).then(|| file.breach_in_code(at, rule))
    };
    words(&file.code, "fn ").filter_map(length).collect()
}

/// A file is short enough to be read in one go.
pub(crate) fn files_are_short(file: &File) -> Vec<Violation> {
    let lines = file.text.lines().count();
    if !file.is_rust() || lines <= MAX_FILE {
        return Vec::new();
    }
    vec![file.breach(lines, format!("the file has {lines} lines, more than {MAX_FILE}"))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaches;

    #[test]
    fn a_purpose_is_told() {
        let rule = files_say_their_purpose;
        assert!(breaches(rule, "cli/a.rs", "//! Reads all of it.\n").is_empty());
        assert_eq!(breaches(rule, "cli/a.rs", "use a;\n//! Reads all of it.\n").len(), 1);
        assert!(
            breaches(rule, "scripts/a", "#!/bin/bash\n# SPDX-License: MIT\n# Builds the objects.\n")
                .is_empty()
        );
        assert_eq!(breaches(rule, "scripts/a", "#!/bin/bash\nset -e\n").len(), 1);
        assert!(
            breaches(rule, "bpf-src/a.c", "// SPDX-License: MIT\n/* Passes every packet. */\n").is_empty()
        );
        assert_eq!(breaches(rule, "bpf-src/a.c", "// SPDX-License-Identifier: MIT OR Apache-2.0\n").len(), 1);
    }

    #[test]
    fn lines_are_looked_at() {
        let long = format!("//{}\n", "-".repeat(MAX_LINE - 1));
        assert_eq!(breaches(lines_are_clean, "cli/a.rs", &long).len(), 1);
        assert_eq!(breaches(lines_are_clean, "cli/a.rs", "\tlet a;\nlet b; \nlet c;").len(), 3);
        assert!(breaches(lines_are_clean, "Makefile", "a:\n\tb\n").is_empty());
        assert!(breaches(lines_are_clean, "a.o", "\0 \n").is_empty());
    }

    #[test]
    fn a_long_function_is_found() {
        let body = "let a = [0; 2];\n".repeat(MAX_FUNCTION - 2);
        let fits = format!("struct A;\nfn f(a: [u8; 2]) {{\n{body}}}\nfn g();\n");
        assert!(breaches(functions_are_short, "cli/a.rs", &fits).is_empty());
        assert_eq!(breaches(functions_are_short, "cli/a.rs", &fits.replace("}\n", "\n}\n")).len(), 1);
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(breaches(files_are_short, "cli/a.rs", &"\n".repeat(MAX_FILE + 1)).len(), 1);
        assert!(breaches(files_are_short, "cli/a.rs", &"\n".repeat(MAX_FILE)).is_empty());
    }
}
