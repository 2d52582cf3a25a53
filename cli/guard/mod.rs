//! The guard of a change on trial: a process of its own, which takes the change back unless it is confirmed in time.
//!
//! It is this program, started anew under another name so that it has next to no memory, in a session of its own so
//! that it outlives the login of whoever started it. It keeps nothing on any disk: all it knows is in fds that it was
//! handed, and it is found by a socket whose name goes with it.

mod client;
mod log;
mod process;

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use loader::{Error, Result};
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawn};
use nix::sys::signal::SigSet;

use crate::remedy::GUARD;

pub(crate) use client::{Guards, Pending, is_without_sockets, pending};
pub(crate) use process::run;

/// What it answers to users who may not ask.
const TO_STRANGERS: &str = "error only the user who made the change may ask\n";

/// By which a process starts its own program again.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// What to do where it cannot.
pub(crate) const WITHOUT_PROC: &str = "mount -t proc proc /proc";

/// Whether a guard could be started: without /proc nobody can.
pub(crate) fn can_start() -> bool {
    Path::new(OWN_PROGRAM).exists()
}

/// A guard that was started, and waits to be told what it is to put back.
pub(crate) struct Guard {
    /// Where it is told.
    pub(crate) socket: UnixStream,
    /// Its process id.
    pub(crate) pid: u32,
    /// How long it waits to be told that all is well.
    pub(crate) patience: Duration,
    /// The options by which the same namespace and bpffs are named, for whoever is told how to confirm.
    pub(crate) again: String,
}

impl Guard {
    /// Starts a guard that works in the network namespace at the path `netns`, or in that of this process. It ends when
    /// its socket is closed before it was told of a change.
    pub(crate) fn start(patience: Duration, netns: Option<&str>) -> Result<Self> {
        let (socket, theirs) = UnixStream::pair().map_err(|error| failed("socketpair(2)", &error))?;
        let null = File::options().read(true).write(true).open("/dev/null");
        let null = null.map_err(|error| failed("open(2) of /dev/null", &error))?;
        let patience_word = patience.as_secs().to_string();
        let mut words = vec![GUARD, &patience_word];
        words.extend(netns);
        let pid = spawn(&words, &theirs, &null).map_err(|error| {
            match failed("execve(2) of /proc/self/exe", &error) {
                error if can_start() => error,
                error => error.with_help(WITHOUT_PROC),
            }
        })?;
        Ok(Self { socket, pid, patience, again: String::new() })
    }
}

/// Starts this program anew with these words, the first of which is its name, without an environment and with the
/// socket as its standard input; `null` takes what it prints. The standard library's way to that is twenty kilobytes of
/// machine code, half of it for the environment.
fn spawn(words: &[&str], socket: &UnixStream, null: &File) -> io::Result<u32> {
    let words = words.iter().map(|word| CString::new(*word)).collect::<std::result::Result<Vec<_>, _>>()?;
    let mut files = PosixSpawnFileActions::init()?;
    for (fd, place) in [(socket.as_raw_fd(), 0), (null.as_raw_fd(), 1), (null.as_raw_fd(), 2)] {
        files.add_dup2(fd, place)?;
    }
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK)?;
    attributes.set_sigmask(&SigSet::empty())?;
    let pid = posix_spawn(OWN_PROGRAM, &files, &attributes, &words, &[] as &[CString])?;
    Ok(u32::try_from(pid.as_raw()).unwrap_or_default())
}

fn failed(call: &str, error: &io::Error) -> Error {
    Error::io(call, "the guard", error).context("starting the guard that undoes the change")
}

/// Whether this process was started as a guard.
pub(crate) fn is_meant(words: &[OsString]) -> bool {
    words.first().is_some_and(|name| name == GUARD)
}

/// The name of the socket in the abstract namespace, which is one for each network namespace.
fn socket_name(ifindex: u32) -> String {
    format!("{GUARD}/{ifindex}")
}
