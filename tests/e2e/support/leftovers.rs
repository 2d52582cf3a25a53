//! Nothing may outlive a test. scripts/test looks at the whole machine once all tests have ended.

use std::time::{Duration, Instant};
use std::{fs, process, thread};

use crate::command::{command, run};
use crate::peers::bpftool;

/// How long the kernel may take to tear down a namespace, or a process to disappear.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asserts that no process that the test started is still in the calling thread's network namespace.
#[track_caller]
pub(crate) fn assert_no_process_here() {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = processes_here();
        if found.is_empty() {
            return;
        }
        // One that has done its work may take a moment to end.
        assert!(Instant::now() < deadline, "the test leaves processes behind: {}", found.join(", "));
        thread::sleep(Duration::from_millis(10));
    }
}

/// The processes besides this one in the calling thread's network namespace, as `id (name)`.
fn processes_here() -> Vec<String> {
    let here = fs::read_link("/proc/thread-self/ns/net").expect("/proc is mounted");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc is mounted").flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        // A process that cannot be read has ended by now.
        let is_here = fs::read_link(entry.path().join("ns/net")).is_ok_and(|namespace| namespace == here);
        if is_here && id != process::id() {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push(format!("{id} ({})", name.trim()));
        }
    }
    found
}

/// Asserts that the kernel has no map and no program called `name`, or lets go of them.
#[track_caller]
pub(crate) fn assert_none_named(name: &str) {
    let deadline = Instant::now() + PATIENCE;
    let is_there = |kind| {
        let list = bpftool(&[kind, "show"]);
        list.as_array().is_some_and(|list| list.iter().any(|one| one["name"] == name))
    };
    while ["map", "prog"].into_iter().any(is_there) {
        assert!(Instant::now() < deadline, "a map or program `{name}` is still there after {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Asserts that the kernel lets go of the BPF program with this `id`.
#[track_caller]
pub(crate) fn assert_program_goes(id: u64) {
    let deadline = Instant::now() + PATIENCE;
    let id = id.to_string();
    while run(&mut command("bpftool", &["prog", "show", "id", &id])).code() == Some(0) {
        assert!(Instant::now() < deadline, "program {id} is still loaded after {PATIENCE:?}");
        // The kernel announces this nowhere.
        thread::sleep(Duration::from_millis(10));
    }
}
