//! The compiled fixtures, for all tests that read them.

use std::fs;
use std::path::{Path, PathBuf};

/// A compiled object among the fixtures.
pub(crate) struct Fixture {
    /// Its path below `tests/fixtures` without the ending: `clang-19/reject/gpl_only`.
    pub(crate) name: String,
    /// The whole file.
    pub(crate) data: Vec<u8>,
}

/// All compiled objects among the fixtures, by name, but those in `big/`: what is tried with each byte of an object
/// would take too long with them.
pub(crate) fn fixtures() -> Vec<Fixture> {
    let root = tests_dir().join("fixtures");
    let mut fixtures: Vec<_> = files_below(&root)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|ending| ending == "o"))
        .filter(|path| !path.starts_with(root.join("big")))
        .map(|path| Fixture {
            name: path.strip_prefix(&root).unwrap().with_extension("").to_str().unwrap().to_owned(),
            data: fs::read(&path).unwrap(),
        })
        .collect();
    fixtures.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(!fixtures.is_empty(), "no fixtures in {}", root.display());
    fixtures
}

/// The directory `tests` of this package.
pub(crate) fn tests_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// Every file in the directory `root` and in those below it.
pub(crate) fn files_below(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).unwrap_or_else(|error| panic!("{}: {error}", root.display()));
    entries
        .map(|entry| entry.unwrap().path())
        .flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] })
        .collect()
}
