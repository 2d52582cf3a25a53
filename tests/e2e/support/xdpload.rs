//! The program under test.

use std::fs;
use std::process::{Child, Command};

use serde_json::Value;

use crate::command::{Ran, command, run};

/// `xdpload` with `arguments`, in the namespaces of the calling thread.
pub(crate) fn xdpload_command<S: AsRef<str>>(arguments: &[S]) -> Command {
    let mut xdpload = command(env!("CARGO_BIN_EXE_xdpload"), arguments);
    // A backtrace in a panic would hide the panic's own words.
    xdpload.env_remove("RUST_BACKTRACE");
    xdpload
}

/// Runs `xdpload` with `arguments`.
#[track_caller]
pub(crate) fn xdpload<S: AsRef<str>>(arguments: &[S]) -> Ran {
    run(&mut xdpload_command(arguments))
}

/// What `xdpload` answers to `arguments` as a JSON document.
#[track_caller]
pub(crate) fn answer<S: AsRef<str>>(arguments: &[S]) -> Value {
    let arguments: Vec<_> = arguments.iter().map(AsRef::as_ref).chain(["--json"]).collect();
    xdpload(&arguments).ok().json()
}

/// Whether the kernel has `child` wait for a lock (flock(2)).
pub(crate) fn waits_for_a_lock(child: &Child) -> bool {
    let locks = fs::read_to_string("/proc/locks").expect("/proc is mounted");
    let id = format!(" {} ", child.id());
    locks.lines().any(|line| line.contains("-> FLOCK") && line.contains(&id))
}
