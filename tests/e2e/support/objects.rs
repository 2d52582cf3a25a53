//! The compiled objects that tests load.

use std::fs;
use std::path::PathBuf;

/// The committed object of `bpf-src/<name>.bpf.c`, compiled by clang 19.
#[track_caller]
pub(crate) fn object(name: &str) -> String {
    object_by("clang-19", name)
}

/// The same compiled by `clang`, a directory of loader/tests/fixtures.
#[track_caller]
pub(crate) fn object_by(clang: &str, name: &str) -> String {
    let fixtures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("loader/tests/fixtures");
    let path = fixtures.join(clang).join(format!("{name}.o"));
    assert!(path.is_file(), "there is no {}; see scripts/build-bpf", path.display());
    path.to_str().expect("the repository has a printable path").to_owned()
}

/// The committed objects by `clang`, without those that the verifier must refuse: their names and paths.
pub(crate) fn fixtures_of(clang: &str) -> Vec<(String, String)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("loader/tests/fixtures").join(clang);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let paths = entries.map(|entry| entry.expect("the directory can be listed").path());
    let mut names: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "o"))
        .map(|path| path.file_stem().expect("a file has a name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), object_by(clang, &name))).collect()
}
