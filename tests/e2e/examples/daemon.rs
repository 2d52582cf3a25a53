//! A server that a test starts, with all that it starts itself.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::sandbox::Sandbox;

/// A running server. Dropping it kills it and its children.
pub(super) struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`, whose words go to a file.
    pub(super) fn start(sandbox: &Sandbox, name: &str, command: &mut Command) -> Self {
        let log = sandbox.scratch().join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log).expect("it can be made");
        let stderr = file.try_clone().expect("a file can be had twice");
        command.process_group(0).stdin(Stdio::null()).stdout(file).stderr(stderr);
        Self { child: command.spawn().unwrap_or_else(|error| panic!("{name}: {error}")), log }
    }

    /// What it has said so far.
    pub(super) fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("it is text")
    }

    fn group(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id is an i32"))
    }

    /// Ends it as a power cut would.
    pub(super) fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // The child has not been waited for, so that the number is still its own.
        let _ = killpg(self.group(), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}
