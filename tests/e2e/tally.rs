//! How often commands were made to fail, for scripts/faults to add up.

use std::io::{self, Write as _};
use std::path::Path;

/// Says that `command` was made to fail or was killed `count` times. One line to standard error, as scripts/faults
/// reads it: `tally: killed: 31: attach near0 blacklist.o`.
pub(crate) fn tally(what: &str, count: usize, command: &[&str]) {
    let line = format!("tally: {what}: {count}: {}\n", words(command));
    // Not `eprintln!`, which the test harness keeps to itself when a test passes.
    io::stderr().write_all(line.as_bytes()).expect("standard error is open");
}

/// The command without the directories of its object.
fn words(command: &[&str]) -> String {
    let words = command.iter().map(|word| match word.strip_suffix(".o") {
        Some(_) => Path::new(word).file_name().unwrap_or_default().to_string_lossy().into_owned(),
        None => (*word).to_owned(),
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn a_command_is_told_without_directories() {
    assert_eq!(
        words(&["load", "/somewhere/many.o", "--pin", "/sys/fs/bpf/x"]),
        "load many.o --pin /sys/fs/bpf/x"
    );
}
