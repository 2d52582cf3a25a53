//! Finds every path that a piece of Rust code names: inline, and in the trees of `use` items.

use crate::lexer::is_word;

/// A path with at least two parts, such as `crate::elf::ElfFile`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct CodePath {
    /// The path's parts, joined with `::`.
    pub(crate) text: String,
    /// Where in the code its own last branch starts.
    pub(crate) offset: usize,
}

impl CodePath {
    /// Whether this is `prefix`, or a path below it.
    pub(crate) fn is_below(&self, prefix: &str) -> bool {
        self.text.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    }
}

/// The paths in `code`; a `use` tree gives one path for each of its leaves.
pub(crate) fn paths(code: &str) -> Vec<CodePath> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(skipped) = code[at..].find(is_word) {
        at = read_path(code, at + skipped, "", &mut found);
    }
    found.retain(|path| path.text.contains("::"));
    found
}

/// Reads the path or tree at `at`, which hangs below `prefix`, and returns where it ends.
fn read_path(code: &str, at: usize, prefix: &str, found: &mut Vec<CodePath>) -> usize {
    let mut text = prefix.to_owned();
    let mut end = at;
    loop {
        let name = &code[end..end + code[end..].find(|c| !is_word(c)).unwrap_or(code.len() - end)];
        text.push_str(name);
        end += name.len();
        let Some(next) = skip_separator(code, end) else { break };
        if code[next..].starts_with('{') {
            return read_group(code, next + 1, &(text + "::"), found);
        }
        if !code[next..].starts_with(is_word) {
            break;
        }
        text.push_str("::");
        end = next;
    }
    found.push(CodePath { text, offset: at });
    end
}

/// Reads the branches of a tree up to the brace that closes it.
fn read_group(code: &str, mut at: usize, prefix: &str, found: &mut Vec<CodePath>) -> usize {
    while let Some(next) = code[at..].chars().next() {
        if next == '}' {
            return at + 1;
        }
        let is_alias = code[..at].ends_with(" as ");
        if is_word(next) && !is_alias && !code[at..].starts_with("as ") {
            at = read_path(code, at, prefix, found);
        } else {
            at += code[at..].find(|c| !is_word(c)).unwrap_or(0).max(next.len_utf8());
        }
    }
    at
}

/// Where the part after a `::` at `at` starts, blanks and line breaks around it skipped.
fn skip_separator(code: &str, at: usize) -> Option<usize> {
    let after = code[at..].trim_start().strip_prefix("::")?.trim_start();
    Some(code.len() - after.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(code: &str) -> Vec<String> {
        paths(code).into_iter().map(|path| path.text).collect()
    }

    #[test]
    fn trees_give_one_path_for_each_leaf() {
        assert_eq!(
            texts("use crate::{elf::{self, File as F},\n    sys};"),
            ["crate::elf::self", "crate::elf::File", "crate::sys"]
        );
    }

    #[test]
    fn inline_paths_are_found_across_lines() {
        assert_eq!(texts("let x = std\n    ::fs::read(a.b); Vec::<u8>::new()"), ["std::fs::read"]);
        assert_eq!(texts("f(&crate::sys::map_create(1))"), ["crate::sys::map_create"]);
    }

    #[test]
    fn below_means_whole_parts() {
        let path = CodePath { text: "std::fs::read".to_owned(), offset: 0 };
        assert!(path.is_below("std::fs") && !path.is_below("std::f"));
    }
}
