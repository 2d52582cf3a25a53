//! The guard's side of a trial: is the change made, keep it, put back what was before.

use std::fmt;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc::{EEXIST, ENOENT};

use super::trial::Trial;
use super::{
    Interface, Leftover, Link, let_go_of_prog_arrays, open_own_link, remove_shared_directory_if_idle, set,
};
use crate::error::{Cause, Error, ErrorKind, Remedy, Result, escape, quote};
use crate::kernel::duplicate;
use crate::netlink::{InterfaceRef, Mode, XdpChange, XdpProgram, XdpState};
use crate::pin;
use crate::program::Program;
use crate::sys::{memory, os};

/// A change on trial, with all that it takes to end the trial either way.
#[derive(Debug)]
pub struct OnTrial {
    trial: Trial,
    interface: Interface,
    /// The number of the new program.
    new: Option<u32>,
    /// The `bpf_link` that holds the new program and would go with this process.
    link: Option<Link>,
    /// The inodes of the trial's leftovers that are pins.
    pins: Vec<Option<u64>>,
    /// When the change was known to be made, since the start of the machine.
    made: Option<Duration>,
}

/// How a roll-back ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RolledBack {
    /// What was before is there again.
    PutBack,
    /// Somebody else has changed the interface meanwhile, and it was left as it is; what was found there, in words.
    LeftAlone(String),
}

impl OnTrial {
    /// Takes over `trial`, in the network namespace of this process.
    pub fn new(trial: Trial) -> Result<Self> {
        let missing = || Error::new(ErrorKind::NotFound, "the interface has no number");
        let index = NonZeroU32::new(trial.ifindex).ok_or_else(missing)?;
        let interface = Interface::open(&InterfaceRef::Index(index), None)?;
        let cannot_undo = |error: Error| match error.cause() {
            Some(Cause::CannotCompare) => {
                error.with_help(("", Remedy::WithoutTrial, "; nothing undoes the change then"))
            }
            _ => error,
        };
        interface.socket().refuse_if_it_cannot_compare(trial.ifindex).map_err(cannot_undo)?;
        refuse_without_pins(&trial)?;
        let new = trial.new.as_ref().map(|new| duplicate(new, "the new program")).transpose()?;
        let new = new.map(Program::with_info).transpose()?.map(|(_, info)| info.id);
        let pins = trial.leftovers.iter().map(Leftover::inode).collect();
        Ok(Self { trial, interface, new, link: None, pins, made: None })
    }

    /// The interface.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// What is put back unless the change is confirmed.
    pub fn before(&self) -> Vec<XdpProgram> {
        self.trial.before.iter().map(|(program, _)| *program).collect()
    }

    /// The number of the program on trial; none if the change took one off.
    pub fn new_program(&self) -> Option<u32> {
        self.new
    }

    /// Gives back the memory that waiting does not take: the pages of the program's own file.
    pub fn rest(&self) {
        memory::give_back();
    }

    /// Takes over the link that holds the new program.
    pub fn hold(&mut self, link: OwnedFd) -> Result<()> {
        self.link = Some(Link::from_fd(link)?);
        Ok(())
    }

    /// Takes note that the change is made: what is loaded from now on is somebody else's.
    pub fn begin(&mut self) {
        self.made = os::since_boot().ok();
    }

    /// Whether the interface is as the change makes it.
    pub fn is_made(&self) -> Result<bool> {
        let there = self.look()?;
        Ok(self.new.map_or(there.is_empty(), |new| has(&there, new)))
    }

    /// Whether the change is known to be there no more, so that nothing can be confirmed or put back.
    pub fn is_over(&self) -> bool {
        self.look().is_ok_and(|there| !self.is_there(&there))
    }

    fn is_there(&self, there: &XdpState) -> bool {
        let is_back = |program: &XdpProgram| there.programs().contains(program);
        self.new.map_or(!self.before().iter().any(is_back), |new| has(there, new))
    }

    /// Makes the change last, and gives the pin of its link if it has one. After a failure the trial goes on.
    pub fn keep(&mut self) -> Result<Option<PathBuf>> {
        let there = self.look()?;
        if !self.is_there(&there) {
            let message = format!("the program on {} is not the one that is on trial", self.interface);
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let pin = match &self.link {
            Some(link) => Some(self.pin(link)?),
            None => None,
        };
        self.link = None;
        let before = self.trial.before.iter().filter_map(|(program, _)| program.id);
        before.filter(|id| Some(*id) != self.new).for_each(|id| self.let_go(id));
        Ok(pin)
    }

    /// Puts back what was before, if the interface is still as the change made it. What was made beside it stays:
    /// [`take_back_leftovers`](Self::take_back_leftovers).
    pub fn put_back(&mut self) -> Result<RolledBack> {
        let there = match self.look() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // One that is in another namespace still has the link.
                let found = match self.link.as_ref().map(Link::state) {
                    Some(Ok(state)) if state.ifindex != 0 => {
                        "the interface is in another network namespace, where the program goes with its bpf_link"
                    }
                    Some(_) => "the interface is gone, and the program with its bpf_link",
                    None => "the interface is gone, or in another network namespace",
                };
                return Ok(self.leave(found));
            }
            there => there?,
        };
        match self.new {
            Some(new) if has(&there, new) => self.take_off(&there, new)?,
            None if there.is_empty() => self.put_on()?,
            _ if self.link.is_some() => self.leave_link()?,
            _ => {
                let found = found(&there);
                return Ok(self.leave(&found));
            }
        }
        if self.look()?.programs() != self.before() {
            let found = found(&self.look()?);
            return Ok(self.leave(&found));
        }
        let is_before = |id: &&u32| self.before().iter().any(|program| program.id == Some(**id));
        self.new.iter().filter(|new| !is_before(new)).for_each(|&new| self.let_go(new));
        Ok(RolledBack::PutBack)
    }

    /// Takes back what the loading of the new program has made and changed beside it, and gives what of that failed.
    /// Only when no interface runs that program any more: changes of several may have it in common.
    pub fn take_back_leftovers(&self) -> Vec<Error> {
        // Nobody shall come to use a pin while it is looked at.
        let mut lock = pin::lock(self.bpffs()).ok();
        let mut failures = Vec::new();
        for (leftover, inode) in self.trial.leftovers.iter().zip(&self.pins) {
            // The lock is an open file of that bpffs.
            lock = lock.filter(|_| !matches!(leftover, Leftover::Bpffs(_)));
            failures.extend(leftover.take_back(*inode, self.made).err());
        }
        failures
    }

    fn look(&self) -> Result<XdpState> {
        Ok(self.interface.look()?.xdp)
    }

    /// Takes the new program off, or puts the old one in its place.
    fn take_off(&self, there: &XdpState, new: u32) -> Result<()> {
        let new_fd = self.trial.new.as_ref().expect("a new program has an fd");
        if let Some(link) = &self.link {
            return link.detach();
        }
        let program = there.programs().iter().find(|program| program.id == Some(new));
        let mode = program.expect("the caller has seen it there").mode;
        let Some((_, old)) = self.trial.before.iter().find(|(program, _)| program.mode == mode) else {
            return self.change(mode, XdpChange::Detach { expected: new_fd.as_raw_fd() });
        };
        if let Some(link) = &self.trial.link {
            return Link::borrowed(link)?.update(old, new_fd);
        }
        let swap = XdpChange::Replace { new: old.as_raw_fd(), expected: new_fd.as_raw_fd() };
        match self.change(mode, swap) {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                match open_own_link(self.bpffs(), &self.interface)? {
                    Some(link) => link.update(old, new_fd),
                    None => Err(error),
                }
            }
            done => done,
        }
    }

    /// Attaches again what a detach has taken off.
    fn put_on(&self) -> Result<()> {
        for (program, fd) in &self.trial.before {
            if self.trial.link.is_none() {
                self.change(program.mode, XdpChange::Attach { new: fd.as_raw_fd() })?;
                continue;
            }
            let ifindex = self.interface.index().get();
            let link = Link::create(fd.as_fd(), self.interface.socket(), ifindex, program.mode)?;
            for path in &self.trial.link_pins {
                link.pin(path)?;
            }
        }
        Ok(())
    }

    fn change(&self, mode: Mode, change: XdpChange) -> Result<()> {
        set(&self.interface, mode, change)?.into_result().map(drop)
    }

    /// Somebody has updated the link, which would go with this process.
    fn leave_link(&mut self) -> Result<()> {
        let Some(link) = self.link.take() else { return Ok(()) };
        if link.state()?.ifindex != 0 {
            self.pin(&link)?;
        }
        Ok(())
    }

    fn pin(&self, link: &Link) -> Result<PathBuf> {
        let path = &self.trial.pin;
        let directory = path.parent().unwrap_or(self.bpffs());
        let is_new = pin::create_dir(directory)?;
        let done = match link.pin(path) {
            // An earlier trial's link, which somebody has detached.
            Err(error) if error.errno() == Some(EEXIST) && is_detached(path) => {
                pin::unpin(path).and_then(|()| link.pin(path))
            }
            // Somebody else has found the directory empty, and removed it.
            Err(error) if error.errno() == Some(ENOENT) => {
                pin::create_dir(directory).and_then(|_| link.pin(path))
            }
            done => done,
        };
        if let Err(error) = done {
            // As it was before.
            let _ = if is_new { pin::remove_dir(directory) } else { Ok(()) };
            return Err(error);
        }
        Ok(path.clone())
    }

    fn leave(&self, found: &str) -> RolledBack {
        // Whoever has put another program there let go of what it has found, and knows nothing of the one before.
        let Ok(there) = self.look() else { return RolledBack::LeftAlone(found.to_owned()) };
        let ids = self.trial.before.iter().filter_map(|(program, _)| program.id).chain(self.new);
        ids.filter(|&id| !has(&there, id)).for_each(|id| self.let_go(id));
        RolledBack::LeftAlone(found.to_owned())
    }

    /// Removes the pins that kept the prog arrays of a program which is not attached any more.
    fn let_go(&self, id: u32) {
        // What cannot be removed does no harm, and `pins gc` finds it.
        let _ = let_go_of_prog_arrays(self.bpffs(), &self.interface, id);
        // Whoever waits for an answer is not to wait for others.
        remove_shared_directory_if_idle(self.bpffs());
    }

    fn bpffs(&self) -> &Path {
        Path::new(&self.trial.bpffs)
    }
}

/// In words: what is put back.
impl fmt::Display for OnTrial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = quote(self.interface.name());
        match (&self.before()[..], self.new) {
            ([], Some(new)) => write!(f, "program {new} is taken off {name}"),
            (before, _) => write!(f, "{} is put back on {name}", list(before)),
        }
    }
}

/// Whether the link that is pinned at `path` holds no program any more.
fn is_detached(path: &Path) -> bool {
    Link::open_pinned(path).and_then(|link| link.state()).is_ok_and(|state| state.ifindex == 0)
}

/// Refuses a trial whose new program would have to be held by a pinned link, but cannot be.
fn refuse_without_pins(trial: &Trial) -> Result<()> {
    let bpffs = Path::new(&trial.bpffs);
    let is_pinned = trial.new.is_some() && trial.before.is_empty();
    if !is_pinned || !pin::is_read_only(bpffs).unwrap_or_default() {
        return Ok(());
    }
    let path = quote(&trial.bpffs);
    let message =
        format!("{path} is mounted read-only: the change could not be confirmed, which takes a pin there");
    let help = format!("mount -o remount,rw {}", escape(&trial.bpffs));
    Err(Error::new(ErrorKind::Conflict, message).with_help(help))
}

fn has(there: &XdpState, id: u32) -> bool {
    there.programs().iter().any(|program| program.id == Some(id))
}

fn found(there: &XdpState) -> String {
    if there.is_empty() {
        "no XDP program is there".to_owned()
    } else {
        format!("{} is there", list(there.programs()))
    }
}

fn list(programs: &[XdpProgram]) -> String {
    programs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}
