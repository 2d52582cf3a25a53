//! What a test needs from the machine, and when it may be skipped for the lack of it.
//!
//! A missing tool or privilege skips a test on a developer's machine; with `XDPLOAD_REQUIRE=1`, as `make test` and the
//! CI set it, it fails the test. Only a kernel that is older than the feature under test always makes a skip. A
//! skipped test counts as passed for `cargo test`, so each prints one line to standard error for scripts/test to count.

use std::io::Write;
use std::path::PathBuf;
use std::{env, fs, io, thread};

/// Why a test cannot run here.
#[derive(Debug)]
pub(crate) struct Missing {
    /// What is missing, in a few words.
    what: String,
    /// Whether the kernel is too old, which nobody can be blamed for.
    is_kernel_age: bool,
}

impl Missing {
    /// `what` is missing, and could be there.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), is_kernel_age: false }
    }
}

/// Unwraps what a test needs, or ends the test as skipped.
macro_rules! need {
    ($what:expr) => {
        match $what {
            Ok(value) => value,
            Err(missing) => return $crate::requirement::skip(&missing),
        }
    };
}

/// Says that the running test is skipped. [`need`] calls it.
pub(crate) fn skip(missing: &Missing) {
    let is_required = env::var_os("XDPLOAD_REQUIRE").is_some_and(|value| value == "1");
    assert!(missing.is_kernel_age || !is_required, "XDPLOAD_REQUIRE=1, but missing: {}", missing.what);
    let thread = thread::current();
    // Not `eprintln!`, which the test harness keeps to itself when a test passes.
    let line = format!("skipped: {}: {}\n", thread.name().unwrap_or("?"), missing.what);
    io::stderr().write_all(line.as_bytes()).expect("standard error is open");
}

/// The program `name` is installed.
pub(crate) fn tool(name: &str) -> Result<PathBuf, Missing> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
        .ok_or_else(|| Missing::new(format!("the program {name}; scripts/setup test installs it")))
}

/// The running kernel has `feature`, which came with version `since`.
pub(crate) fn kernel(since: (u32, u32), feature: &str) -> Result<(), Missing> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc is mounted");
    kernel_of(release.trim(), since, feature)
}

fn kernel_of(release: &str, since: (u32, u32), feature: &str) -> Result<(), Missing> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let running = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if running >= since {
        return Ok(());
    }
    let what = format!("{feature}: it came with Linux {}.{}, this is {release}", since.0, since.1);
    Err(Missing { what, is_kernel_age: true })
}

#[test]
fn only_an_older_kernel_lacks_a_feature() {
    assert!(kernel_of("6.1.0-37-amd64", (6, 1), "tcx").is_ok());
    assert!(kernel_of("6.18.44", (6, 6), "tcx").is_ok());
    let missing = kernel_of("5.10.0-35-amd64", (6, 6), "tcx").unwrap_err();
    assert_eq!(missing.what, "tcx: it came with Linux 6.6, this is 5.10.0-35-amd64");
    assert!(missing.is_kernel_age);
}

#[test]
fn a_missing_tool_is_named() {
    assert!(tool("sh").is_ok());
    assert!(tool("no-such-tool").unwrap_err().what.starts_with("the program no-such-tool;"));
}
