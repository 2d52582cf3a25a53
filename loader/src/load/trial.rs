//! A plan's calls on the guard of a trial, who takes the change back unless somebody confirms it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use super::Execution;
use crate::attach::{self, Leftover, Trial};
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Arm, Call, own_link};

impl Execution<'_> {
    pub(super) fn guard(&self) -> Result<&UnixStream> {
        self.guard.ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "a plan on trial is carried out with a guard alone")
        })
    }

    /// Tells the guard what the next call would change, so that nothing is changed that could not be put back.
    pub(super) fn arm(&self, arm: &Arm) -> Result<()> {
        let program = self.plan.attached_program().expect("only a plan that attaches is on trial");
        let link = self.link();
        let own = || own_link(&arm.bpffs, self.netns_cookie, link.index);
        let before = match &self.here().running {
            Some((program, running)) => vec![(*program, keep(running.as_fd())?)],
            None => Vec::new(),
        };
        Trial {
            ifindex: link.index,
            name: link.name.clone(),
            bpffs: arm.bpffs.clone(),
            pin: arm.pin.clone().unwrap_or_else(own).into(),
            before,
            link: self.here().bpf_link.as_ref().map(|link| keep(link.as_fd())).transpose()?,
            link_pins: Vec::new(),
            new: Some(keep(self.program(program).as_fd())?),
            leftovers: self.undo.iter().rev().filter_map(|(_, call)| leftover(call)).collect(),
        }
        .send(self.guard()?)
    }

    /// Otherwise the guard would look itself, and might see what somebody else has made meanwhile.
    pub(super) fn disarm(&self) -> Result<()> {
        // A guard that is gone knows of nothing any more.
        let _ = attach::tell_unchanged(self.guard()?, self.link().index);
        Ok(())
    }

    pub(super) fn hand_over(&self) -> Result<()> {
        attach::hand_over(self.guard()?, self.link().index, self.bpf_link().as_fd())
    }
}

/// What an undo removes, where the plan knew its path; the guard knows the others.
fn leftover(undo: &Call) -> Option<Leftover> {
    let path = |path: &String| PathBuf::from(Path::new(path));
    match undo {
        Call::Unlink { path: pin } => Some(Leftover::Pin(path(pin))),
        Call::Rmdir { path: dir } => Some(Leftover::Directory(path(dir))),
        Call::Umount { path: root } => Some(Leftover::Bpffs(path(root))),
        _ => None,
    }
}

fn keep(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    fd.try_clone_to_owned().map_err(|error| {
        Error::os("fcntl(F_DUPFD_CLOEXEC)", "what is put back", error.raw_os_error().unwrap_or_default())
    })
}
