//! A plan's calls on the guard of a trial, who takes the change back unless somebody confirms it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use super::Execution;
use crate::attach::{self, Leftover, Trial};
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::duplicate;
use crate::plan::{Arm, Call, FdValue, MapSlot, own_link};

impl Execution<'_> {
    pub(super) fn guard(&self) -> Result<&UnixStream> {
        self.options.guard.ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "a plan on trial is carried out with a guard alone")
        })
    }

    /// Tells the guard what the next call would change, so that nothing is changed that could not be put back.
    pub(super) fn arm(&self, arm: &Arm) -> Result<()> {
        let program = self.plan.attached_program().expect("only a plan that attaches is on trial");
        let interface = self.interface();
        let own = || own_link(&arm.bpffs, self.netns_cookie, interface.index);
        let before = match &self.here().running {
            Some((program, running)) => vec![(*program, second_fd(running.as_fd())?)],
            None => Vec::new(),
        };
        Trial {
            ifindex: interface.index,
            name: interface.name.clone(),
            bpffs: arm.bpffs.clone(),
            pin: arm.pin.clone().unwrap_or_else(own).into(),
            before,
            link: self.here().bpf_link.as_ref().map(|link| second_fd(link.as_fd())).transpose()?,
            link_pins: Vec::new(),
            new: Some(second_fd(self.program(program).as_fd())?),
            leftovers: self.leftovers()?,
        }
        .send(self.guard()?)
    }

    /// What was made and changed so far, the last first.
    fn leftovers(&self) -> Result<Vec<Leftover>> {
        let mut leftovers = Vec::new();
        for (_, call) in self.undo.iter().rev() {
            leftovers.extend(self.leftover(call)?);
        }
        Ok(leftovers)
    }

    /// What an undo takes back, where the plan knew its path; the guard knows the others.
    fn leftover(&self, undo: &Call) -> Result<Option<Leftover>> {
        let entry = |map: MapSlot, key: u32, before: Option<&OwnedFd>, value: FdValue| {
            let before = before.map(|before| second_fd(before.as_fd())).transpose()?;
            let (map, now) = (second_fd(self.map(map).as_fd())?, second_fd(self.fd_of(value))?);
            Ok(Leftover::Entry { map, key, before, now })
        };
        Ok(Some(match undo {
            Call::Unlink { path } => Leftover::Pin(path.into()),
            Call::Rmdir { path } => Leftover::Directory(path.into()),
            Call::Umount { path } => Leftover::Bpffs(path.into()),
            Call::PutPinBack { map, to, .. } => Leftover::MovedPin {
                path: to.into(),
                before: second_fd(self.map_before(*map).as_fd())?,
                now: second_fd(self.map(*map).as_fd())?,
            },
            Call::PutEntryBack { map, key, value } => {
                entry(*map, *key, Some(self.entry_before(*map, *key)), *value)?
            }
            Call::MapDelete { map, key, value } => entry(*map, *key, None, *value)?,
            _ => return Ok(None),
        }))
    }

    /// Otherwise the guard would look itself, and might see what somebody else has made meanwhile.
    pub(super) fn disarm(&self) -> Result<()> {
        // A guard that is gone knows of nothing any more.
        let _ = attach::tell_unchanged(self.guard()?, self.interface().index);
        Ok(())
    }

    pub(super) fn hand_over(&self) -> Result<()> {
        attach::hand_over(self.guard()?, self.interface().index, self.bpf_link().as_fd())
    }
}

/// An fd for the guard.
fn second_fd(fd: BorrowedFd<'_>) -> Result<OwnedFd> {
    duplicate(fd, "what is put back")
}
