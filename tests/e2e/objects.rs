//! The compiled objects that tests load.

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
