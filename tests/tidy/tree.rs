//! The files that the rules look at, and what a rule has to say about one.

use std::fs;
use std::path::Path;

use crate::lexer;
use crate::paths::{self, CodePath};

/// A place that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    /// The file, relative to the repository.
    pub(crate) path: String,
    /// The line, counted from 1.
    pub(crate) line: usize,
    /// The rule, in words.
    pub(crate) rule: String,
}

/// One file of the repository.
pub(crate) struct File {
    /// Where it is, relative to the repository.
    pub(crate) path: String,
    /// What it holds; bytes that are not UTF-8 are replaced.
    pub(crate) text: String,
    /// Whether it is a binary, such as an object file.
    pub(crate) is_binary: bool,
    /// For Rust: the code alone, without comments and the contents of literals.
    pub(crate) code: String,
    /// For Rust: the comments alone.
    pub(crate) comments: String,
    /// For Rust: the code without what only tests see.
    pub(crate) product: String,
    /// For Rust: the string and character literals of the product alone.
    pub(crate) literals: String,
    /// The paths that the product names.
    pub(crate) paths: Vec<CodePath>,
}

impl File {
    /// A file at `path` that holds `bytes`.
    pub(crate) fn new(path: &str, bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let views = if extension(path) == "rs" { lexer::split(&text) } else { lexer::Views::default() };
        let product = |view| {
            if path.ends_with("/tests.rs") { String::new() } else { lexer::without_tests(&views.code, view) }
        };
        let (product, literals) = (product(&views.code), product(&views.literals));
        Self {
            path: path.to_owned(),
            is_binary: bytes.contains(&0),
            code: views.code,
            comments: views.comments,
            paths: paths::paths(&product),
            product,
            literals,
            text,
        }
    }

    /// Whether the file is Rust.
    pub(crate) fn is_rust(&self) -> bool {
        self.extension() == "rs"
    }

    /// What follows the last dot of the file's name, or nothing.
    pub(crate) fn extension(&self) -> &str {
        extension(&self.path)
    }

    /// Whether the file is a script, which is a file that names its interpreter.
    pub(crate) fn is_script(&self) -> bool {
        self.text.starts_with("#!/")
    }

    /// Whether the file lies below one of these directories.
    pub(crate) fn is_under(&self, directories: &[&str]) -> bool {
        directories.iter().any(|directory| self.path.starts_with(directory))
    }

    /// The lines of the file with their numbers.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        numbered(&self.text)
    }

    /// A breach of `rule` in `line`.
    pub(crate) fn breach(&self, line: usize, rule: impl Into<String>) -> Violation {
        Violation { path: self.path.clone(), line, rule: rule.into() }
    }

    /// A breach of `rule` at `offset` of the code.
    pub(crate) fn breach_in_code(&self, offset: usize, rule: impl Into<String>) -> Violation {
        self.breach(lexer::line_of(&self.code, offset), rule)
    }

    /// A breach of `rule` at `offset` of the product.
    pub(crate) fn breach_in_product(&self, offset: usize, rule: impl Into<String>) -> Violation {
        self.breach(lexer::line_of(&self.product, offset), rule)
    }
}

fn extension(path: &str) -> &str {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').map_or("", |(_, extension)| extension)
}

/// The lines of `text` with their numbers.
pub(crate) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// Every file below `root` that belongs to the repository.
pub(crate) fn read(root: &Path) -> Vec<File> {
    let mut files = Vec::new();
    read_directory(root, root, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn read_directory(root: &Path, directory: &Path, files: &mut Vec<File>) {
    // What cargo and the fuzzer write, and git's own.
    const FOREIGN: [&str; 5] = ["target", ".git", "corpus", "artifacts", "coverage"];
    for entry in fs::read_dir(directory).expect("the repository can be read") {
        let entry = entry.expect("the repository can be read");
        if FOREIGN.iter().any(|&name| entry.file_name() == name) {
            continue;
        }
        let path = entry.path();
        let kind = entry.file_type().expect("the repository can be read");
        if kind.is_dir() {
            read_directory(root, &path, files);
        } else if kind.is_file() {
            let name = path.strip_prefix(root).expect("the walk stays below the root");
            let bytes = fs::read(&path).expect("the repository can be read");
            files.push(File::new(&name.to_string_lossy(), &bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_tests_has_no_product() {
        let file = File::new("loader/src/elf/tests.rs", b"use std::fs; // x");
        assert!(file.product.is_empty() && file.code.contains("std::fs") && file.comments.contains("// x"));
    }

    #[test]
    fn this_file_is_in_the_tree() {
        let files = read(Path::new(env!("CARGO_MANIFEST_DIR")));
        assert!(files.iter().any(|file| file.path == "tests/tidy/tree.rs"));
        assert!(!files.iter().any(|file| file.path.starts_with("target/")));
    }
}
