//! A plan's calls on bpffs itself: finding or mounting it, its lock, and directories in it.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use nix::libc::EEXIST;

use super::{Execution, Outcome};
use crate::error::{Context as _, Error, ErrorKind, Result, quote};
use crate::pin;
use crate::plan::Call;

impl Execution<'_> {
    pub(super) fn lock(&mut self, path: &str) -> Result<Outcome> {
        let lock = pin::lock(Path::new(path)).context(|| "pinning needs the lock of bpffs")?;
        let outcome = Outcome::Fd(lock.as_fd().as_raw_fd());
        self.locks.push(lock);
        Ok(outcome)
    }

    /// Locks the root of bpffs. What was locked below it is held only by the run that has mounted it, as another may
    /// have done so just before the directory was opened: then that is the root as well, and nobody waits for himself.
    pub(super) fn lock_bpffs(&mut self, path: &str) -> Result<Outcome> {
        if !self.undo.iter().any(|(_, call)| matches!(call, Call::Umount { .. })) {
            self.locks.clear();
        }
        self.lock(path)
    }

    pub(super) fn unlock(&mut self) -> Result<()> {
        self.locks.pop().expect("a plan unlocks what it has locked").unlock()
    }
}

pub(super) fn is_bpffs(path: &str) -> Result<Outcome> {
    if pin::is_bpffs_directory(Path::new(path)).context(|| "pinning needs bpffs")? {
        return Ok(Outcome::Done);
    }
    Err(Error::new(ErrorKind::NotFound, format!("{path} is not a bpffs")))
}

pub(super) fn mount_bpffs(path: &str) -> Result<()> {
    pin::mount_to_pin(Path::new(path))
}

pub(super) fn make_directory(path: &str) -> Result<Outcome> {
    if pin::create_dir(Path::new(path))? {
        return Ok(Outcome::Done);
    }
    Err(Error::os("mkdir(2)", quote(path), EEXIST))
}
