//! How often commands were made to fail, for scripts/faults to add up.

use std::env;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::LazyLock;

/// Whether every fault is made, as scripts/faults wants; otherwise, to save time, only some are.
pub(crate) static ALL: LazyLock<bool> =
    LazyLock::new(|| env::var("XDPLOAD_FAULTS").is_ok_and(|which| which == "all"));

/// Says that `command` was made to fail or was killed `count` times, as often as it could be. One line to standard
/// error, as scripts/faults reads it: `tally: killed: 31 of 31: attach near0 blacklist.o`.
pub(crate) fn tally(what: &str, count: usize, command: &[&str]) {
    tally_of(what, (count, count), command);
}

/// Says that `command` was made to fail or was killed so often, of as often as it could be.
pub(crate) fn tally_of(what: &str, (count, all): (usize, usize), command: &[&str]) {
    let line = format!("tally: {what}: {count} of {all}: {}\n", words(command));
    // Not `eprintln!`, which the test harness keeps to itself when a test passes.
    io::stderr().write_all(line.as_bytes()).expect("standard error is open");
}

/// The command without the directories of its files.
fn words(command: &[&str]) -> String {
    let words =
        command.iter().map(|word| match (word.strip_suffix(".o"), word.strip_prefix("/run/scratch/")) {
            (Some(_), _) => Path::new(word).file_name().unwrap_or_default().to_string_lossy().into_owned(),
            (_, Some(name)) => name.to_owned(),
            _ => (*word).to_owned(),
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
