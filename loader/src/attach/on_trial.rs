//! The guard's side of a trial: is the change made, keep it, put back what was before.

use std::fmt;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::libc::{EEXIST, ENOENT};

use super::departures::Departures;
use super::trial::Trial;
use super::{
    Interface, Leftover, Link, NetNs, RouteSocket, let_go_of_prog_arrays, open_own_link,
    remove_shared_directory_if_idle, set,
};
use crate::error::{Cause, Error, ErrorKind, Remedy, Result, escape, quote};
use crate::kernel::duplicate;
use crate::netlink::{InterfaceRef, Mode, XdpChange, XdpProgram, XdpState};
use crate::pin;
use crate::plan::own_link;
use crate::program::Program;
use crate::sys::{memory, os};

/// A change on trial, with all that it takes to end the trial either way.
#[derive(Debug)]
pub struct OnTrial {
    trial: Trial,
    /// In the network namespace where the change was made.
    interface: Interface,
    /// The network namespace where the interface was found last, if it had been moved.
    moved_to: Option<String>,
    /// Why it was not found then, if it was not.
    lost: Option<&'static str>,
    /// How it is found elsewhere where no new program tells it from others.
    departures: Option<Departures>,
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

/// Where the interface of a change is.
enum Place {
    /// Here, running this.
    Seen(Interface, XdpState),
    /// In a network namespace that cannot be looked at; this `bpf_link` still holds a program there.
    Linked(Link),
    /// Nowhere, for all that is known, which is this.
    Lost(&'static str),
    /// Nowhere any more, as this says.
    Gone(&'static str),
}

impl OnTrial {
    /// Takes over `trial`, in the network namespace of this process.
    pub fn new(trial: Trial) -> Result<Self> {
        let missing = || Error::new(ErrorKind::NotFound, "the interface has no number");
        let index = NonZeroU32::new(trial.ifindex).ok_or_else(missing)?;
        let interface = Interface::open(&InterfaceRef::Index(index), None)?;
        Self::of(trial, interface)
    }

    /// Takes over `trial` of `interface`, wherever that is.
    pub fn of(trial: Trial, interface: Interface) -> Result<Self> {
        let cannot_undo = |error: Error| match error.cause() {
            Some(Cause::CannotCompare) => {
                error.with_help(("", Remedy::WithoutTrial, "; nothing undoes the change then"))
            }
            _ => error,
        };
        interface.socket().refuse_if_it_cannot_compare(trial.ifindex).map_err(cannot_undo)?;
        refuse_without_pins(&trial)?;
        let departures = trial.new.is_none().then(|| Departures::of(&interface)).transpose()?;
        let new = trial.new.as_ref().map(|new| duplicate(new, "the new program")).transpose()?;
        let new = new.map(Program::with_info).transpose()?.map(|(_, info)| info.id);
        let pins = trial.leftovers.iter().map(Leftover::inode).collect();
        Ok(Self {
            trial,
            interface,
            moved_to: None,
            lost: None,
            departures,
            new,
            link: None,
            pins,
            made: None,
        })
    }

    /// The interface, in the network namespace where the change was made.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// The network namespace that the interface had been moved to when it was last looked for: its name, or a path.
    pub fn moved_to(&self) -> Option<&str> {
        self.moved_to.as_deref()
    }

    /// Why the interface was not found when it was last looked for, if it was not: unless it comes back, the change can
    /// be neither confirmed nor undone.
    pub fn lost(&self) -> Option<&'static str> {
        self.lost
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
        Ok(self.is_there(&self.look()?))
    }

    /// Whether the change is known to be there no more, so that nothing can be confirmed or put back.
    pub fn is_over(&mut self) -> bool {
        match self.find() {
            Ok(Place::Seen(_, there)) => !self.is_there(&there),
            Ok(Place::Linked(link)) => !self.is_held_by(&link).unwrap_or(true),
            Ok(Place::Gone(_)) => true,
            Ok(Place::Lost(_)) | Err(_) => false,
        }
    }

    fn is_there(&self, there: &XdpState) -> bool {
        self.new.map_or(there.is_empty(), |new| has(there, new))
    }

    fn is_held_by(&self, link: &Link) -> Result<bool> {
        Ok(self.new == Some(link.state()?.program))
    }

    /// Looks for the interface, also where it may have been moved to.
    fn find(&mut self) -> Result<Place> {
        (self.moved_to, self.lost) = (None, None);
        let place = self.look_everywhere()?;
        match &place {
            Place::Seen(interface, _) => self.moved_to = interface.socket().namespace().map(NetNs::name),
            Place::Linked(_) => {}
            Place::Lost(found) | Place::Gone(found) => self.lost = Some(found),
        }
        Ok(place)
    }

    fn look_everywhere(&mut self) -> Result<Place> {
        match self.look() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            there => return Ok(Place::Seen(self.interface.clone(), there?)),
        }
        if self.departures.is_some() {
            return Ok(self.follow());
        }
        if let Some((interface, there)) = self.find_elsewhere() {
            return Ok(Place::Seen(interface, there));
        }
        let Some(link) = self.any_link().map(Link::borrowed).transpose()? else {
            return Ok(Place::Lost("the interface is gone, or in a network namespace that cannot be found"));
        };
        match link.state()?.ifindex {
            0 => Ok(Place::Gone("the interface is gone, and the program with its bpf_link")),
            _ => Ok(Place::Linked(link)),
        }
    }

    /// The interface where it went when it left, which the kernel has told.
    fn follow(&mut self) -> Place {
        match self.departures.as_mut().and_then(Departures::last) {
            Some(departure) if departure.is_removal() => Place::Gone("the interface is gone"),
            departure => match departure.and_then(|departure| departure.find(self.interface.socket())) {
                Some((interface, there)) => Place::Seen(interface, there.xdp),
                None => {
                    Place::Lost("the interface is in another network namespace, where it cannot be found")
                }
            },
        }
    }

    /// The interface in the namespace that it was moved to. There it runs the program on trial, and has kept its number
    /// or its name; another that has either has another program.
    fn find_elsewhere(&self) -> Option<(Interface, XdpState)> {
        let new = self.new?;
        let (namespaces, _) = NetNs::all().ok()?;
        let mut found = Vec::new();
        for namespace in &namespaces {
            let Ok(socket) = RouteSocket::open(Some(namespace)).map(Arc::new) else { continue };
            for link in socket.interfaces().unwrap_or_default() {
                let is_alike = link.index == self.trial.ifindex || link.name == self.interface.name();
                if is_alike && has(&link.xdp, new) {
                    let index = InterfaceRef::Index(NonZeroU32::new(link.index)?);
                    found.push((Interface::find(&index, Arc::clone(&socket)).ok()?, link.xdp));
                }
            }
        }
        found.pop().filter(|_| found.is_empty())
    }

    /// The link by which the program on trial is there, if one is.
    fn any_link(&self) -> Option<&OwnedFd> {
        self.link.as_ref().map(Link::fd).or(self.trial.link.as_ref().filter(|_| self.new.is_some()))
    }

    /// Makes the change last, and gives the pin of its link if it has one. After a failure the trial goes on.
    pub fn keep(&mut self) -> Result<Option<PathBuf>> {
        let place = self.find()?;
        let is_there = match &place {
            Place::Seen(_, there) => self.is_there(there),
            Place::Linked(link) => self.is_held_by(link)?,
            Place::Lost(found) | Place::Gone(found) => {
                return Err(Error::new(ErrorKind::Conflict, *found));
            }
        };
        if !is_there {
            let message = format!("the program on {} is not the one that is on trial", self.interface);
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let pin = match &self.link {
            Some(link) => Some(self.pin(link, &place)?),
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
        let place = self.find()?;
        let found = match &place {
            Place::Seen(interface, there) => self.put_back_on(interface, there)?,
            Place::Linked(link) if self.is_held_by(link)? => {
                self.put_back_through(link)?;
                None
            }
            Place::Linked(link) => Some(format!("its bpf_link holds program {}", link.state()?.program)),
            Place::Lost(found) | Place::Gone(found) => Some((*found).to_owned()),
        };
        if let Some(found) = found {
            self.leave_link(&place)?;
            return Ok(self.leave(&found));
        }
        let is_before = |id: &&u32| self.before().iter().any(|program| program.id == Some(**id));
        self.new.iter().filter(|new| !is_before(new)).for_each(|&new| self.let_go(new));
        Ok(RolledBack::PutBack)
    }

    /// Puts back what was before on `interface`, which runs what is `there`; if that is not the change, it gives what
    /// was found.
    fn put_back_on(&self, interface: &Interface, there: &XdpState) -> Result<Option<String>> {
        match self.new {
            Some(new) if has(there, new) => self.take_off(interface, there, new)?,
            None if there.is_empty() => self.put_on(interface)?,
            // Somebody has updated the link.
            _ if self.link.is_some() => {}
            _ => return Ok(Some(found(there))),
        }
        let there = interface.look()?.xdp;
        Ok(if there.programs() == self.before() { None } else { Some(found(&there)) })
    }

    /// The same through the link alone.
    fn put_back_through(&self, link: &Link) -> Result<()> {
        match (&self.trial.before[..], &self.trial.new) {
            ([(_, old)], Some(new)) => link.update(old, new),
            _ => link.detach(),
        }
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
    fn take_off(&self, interface: &Interface, there: &XdpState, new: u32) -> Result<()> {
        let new_fd = self.trial.new.as_ref().expect("a new program has an fd");
        if let Some(link) = &self.link {
            return link.detach();
        }
        let program = there.programs().iter().find(|program| program.id == Some(new));
        let mode = program.expect("the caller has seen it there").mode;
        let Some((_, old)) = self.trial.before.iter().find(|(program, _)| program.mode == mode) else {
            return change(interface, mode, XdpChange::Detach { expected: new_fd.as_raw_fd() });
        };
        if let Some(link) = &self.trial.link {
            return Link::borrowed(link)?.update(old, new_fd);
        }
        let swap = XdpChange::Replace { new: old.as_raw_fd(), expected: new_fd.as_raw_fd() };
        match change(interface, mode, swap) {
            Err(error) if error.kind() == ErrorKind::Conflict => {
                match open_own_link(self.bpffs(), &self.interface)? {
                    Some(link) => link.update(old, new_fd),
                    None => Err(error),
                }
            }
            done => done,
        }
    }

    /// Attaches again what a detach has taken off, to where the interface is now.
    fn put_on(&self, interface: &Interface) -> Result<()> {
        for (program, fd) in &self.trial.before {
            if self.trial.link.is_none() {
                change(interface, program.mode, XdpChange::Attach { new: fd.as_raw_fd() })?;
                continue;
            }
            let index = interface.index().get();
            let link = Link::create(fd.as_fd(), interface.socket(), index, program.mode)?;
            for path in &self.trial.link_pins {
                link.pin(&self.path_at(path, interface)?)?;
            }
        }
        Ok(())
    }

    /// Somebody has updated the link, which would go with this process.
    fn leave_link(&mut self, place: &Place) -> Result<()> {
        let Some(link) = self.link.take() else { return Ok(()) };
        if link.state()?.ifindex != 0 {
            self.pin(&link, place)?;
        }
        Ok(())
    }

    /// Where the link is pinned: by default where later commands look for it, at the interface's present place.
    fn pin_path(&self, place: &Place) -> Result<PathBuf> {
        match place {
            Place::Seen(interface, _) => self.path_at(&self.trial.pin, interface),
            _ => Ok(self.trial.pin.clone()),
        }
    }

    /// The path of a pin now that the interface is `there`, if the pin is the one that belongs to it by default.
    fn path_at(&self, path: &Path, there: &Interface) -> Result<PathBuf> {
        let own = |interface: &Interface| {
            let cookie = interface.socket().netns_cookie_or_zero()?;
            Ok(PathBuf::from(own_link(&self.trial.bpffs, cookie, interface.index())))
        };
        if path == own(&self.interface)? { own(there) } else { Ok(path.to_owned()) }
    }

    fn pin(&self, link: &Link, place: &Place) -> Result<PathBuf> {
        let path = &self.pin_path(place)?;
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

fn change(interface: &Interface, mode: Mode, change: XdpChange) -> Result<()> {
    set(interface, mode, change)?.into_result().map(drop)
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
