//! A plan's calls on the interface: looking at it, and attaching by netlink or by a `bpf_link`.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::libc::EINVAL;

use super::{AttachedTo, Execution, Outcome};
use crate::attach::{self, Interface, Link, NetNs, RouteSocket, link_of, not_by_link};
use crate::error::{Context as _, Error, ErrorKind, Result, quote};
use crate::kernel::duplicate;
use crate::netlink::{
    InterfaceInfo, InterfaceRef, Mode, XdpChange, XdpProgram, XdpState, program_to_replace,
    refuse_to_displace,
};
use crate::plan::{AttachBy, LinkCreate, ProgramSlot, SetXdp, Target, link_without_pin, own_link};
use crate::program::Program;

/// An interface of a plan that is half-way.
#[derive(Default)]
pub(super) struct AtInterface {
    pub(super) interface: Option<InterfaceInfo>,
    /// The same for whoever attaches, who may use it afterwards.
    handle: Option<Interface>,
    /// The program that is to be replaced there.
    pub(super) running: Option<(XdpProgram, Program)>,
    /// The change of the interface that was asked for last.
    pub(super) change: Option<(Mode, XdpChange)>,
    /// Whether no answer came to it, so that nobody knows what came of it.
    pub(super) unanswered: bool,
    pub(super) attached: Option<AttachedTo>,
    /// The `bpf_link` that holds the program there, before or after.
    pub(super) bpf_link: Option<Link>,
    /// Where the prog arrays of the program to attach are pinned.
    pub(super) prog_arrays: Vec<(String, PathBuf)>,
    /// The directory of those pins.
    pub(super) tail_pins: Option<String>,
    /// The program that was put into the `bpf_link`.
    pub(super) in_link: Option<OwnedFd>,
}

/// The calls on the interface.
impl Execution<'_> {
    pub(super) fn socket(&self) -> &Arc<RouteSocket> {
        self.socket.as_ref().expect("a plan asks for an interface after it has opened the socket")
    }

    pub(super) fn interface(&self) -> &InterfaceInfo {
        self.here().interface.as_ref().expect("a plan uses an interface after it has asked for it")
    }

    pub(super) fn open_socket(&mut self, netns: Option<&str>) -> Result<Outcome> {
        let netns = netns.map(NetNs::at).transpose()?;
        self.socket = Some(Arc::new(RouteSocket::open(netns.as_ref())?));
        Ok(Outcome::Done)
    }

    /// Looks at the interface, and refuses at once what the kernel would refuse after all the work.
    pub(super) fn look_at_interface(&mut self, named: &InterfaceRef) -> Result<Outcome> {
        let interface = self.socket().interface(named)?;
        let attach = self.plan.attach.get(self.at).expect("only a plan that attaches asks for an interface");
        let name = quote(&interface.name);
        // Of the ways to name one, a plan knows only that two are different.
        let mut before = self.interfaces[..self.at].iter().zip(&self.plan.attach);
        let is_it = |other: &InterfaceInfo| other.index == interface.index;
        if let Some((_, first)) = before.find(|(place, _)| place.interface.as_ref().is_some_and(is_it)) {
            let by_name = matches!(named, InterfaceRef::Name(word) if word.as_str() == interface.name);
            let other = if by_name { &first.interface } else { named };
            let message = format!("interface {name} is named twice: it is also the one {other}");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        refuse_in_vain(attach, &interface.xdp).context(|| format!("attaching to {name}"))?;
        let list: Vec<_> = interface.xdp.programs().iter().map(ToString::to_string).collect();
        let programs = if list.is_empty() { "no XDP program".to_owned() } else { list.join(", ") };
        let found = format!("interface {} {name}, {programs}", interface.index);
        let handle = Interface::seen(&interface, Arc::clone(self.socket()))?;
        let here = self.here_mut();
        (here.interface, here.handle) = (Some(interface), Some(handle));
        Ok(Outcome::Found(found))
    }

    pub(super) fn open_running(&mut self) -> Result<Outcome> {
        self.open_running_by(attach::open_to_displace)
    }

    pub(super) fn find_running(&mut self, bpffs: &str) -> Result<Outcome> {
        self.open_running_by(|running| attach::find_pinned_to_displace(running, Path::new(bpffs)))
    }

    fn open_running_by(&mut self, open: impl FnOnce(XdpProgram) -> Result<Program>) -> Result<Outcome> {
        let attach = self.plan.attach.get(self.at).expect("only a plan that attaches replaces a program");
        let running = program_to_replace(&self.interface().xdp, attach.mode, None)?;
        let program = open(running)?;
        let outcome = Outcome::Fd(program.as_fd().as_raw_fd());
        self.here_mut().running = Some((running, program));
        Ok(outcome)
    }

    pub(super) fn set_xdp(&mut self, set: &SetXdp) -> Result<Outcome> {
        let new = self.program(set.program).as_fd().as_raw_fd();
        let running = self.here().running.as_ref().filter(|_| set.replace);
        let change = match running {
            Some((_, program)) => XdpChange::Replace { new, expected: program.as_fd().as_raw_fd() },
            None => XdpChange::Attach { new },
        };
        let replaced = running.map(|(running, _)| *running);
        let mode =
            set.mode.or(replaced.map(|program| program.mode)).expect("a plan gives the mode, or replaces");
        let index = self.interface().index;
        let answer = self.socket().set_xdp(index, mode, change);
        let here = self.here_mut();
        (here.change, here.unanswered) = (Some((mode, change)), answer.is_err());
        let warning = match answer {
            Ok(attach::Outcome::Done { warning }) => Ok(warning),
            Ok(attach::Outcome::Refused(error)) | Err(error) => Err(error),
        }
        .context(|| format!("attaching to {} in {mode} mode", quote(&self.interface().name)))?;
        let attached = AttachedTo { warning, ..self.attached_to(mode, replaced) };
        self.here_mut().attached = Some(attached);
        Ok(Outcome::Done)
    }

    /// Makes the opposite of a change. Where it may not have been made, the kernel may refuse that.
    pub(super) fn put_back(&self) -> Result<Outcome> {
        let (mode, change) = self.here().change.expect("a plan puts back a change that it has asked for");
        let back = change.undo().expect("a plan attaches or replaces, which has an opposite");
        match self.socket().set_xdp(self.interface().index, mode, back)? {
            attach::Outcome::Done { .. } => Ok(Outcome::Done),
            attach::Outcome::Refused(error) if self.here().unanswered => {
                Ok(Outcome::Refused(error.errno().unwrap_or_default()))
            }
            attach::Outcome::Refused(error) => {
                let name = quote(&self.interface().name);
                Err(error.context(format!("putting back what was on {name} in {mode} mode")))
            }
        }
    }
}

/// The calls on a `bpf_link`.
impl Execution<'_> {
    pub(super) fn bpf_link(&self) -> &Link {
        self.here().bpf_link.as_ref().expect("a plan uses a link after the step that makes or finds it")
    }

    fn running(&self) -> &(XdpProgram, Program) {
        self.here()
            .running
            .as_ref()
            .expect("a plan opens the running program before it looks for what it has")
    }

    /// Looks at all links for the one that holds the running program.
    pub(super) fn find_link(&mut self) -> Result<Outcome> {
        let running = self.running().0;
        let Some(link) = link_of(self.interface(), running)? else {
            return Err(not_by_link(running));
        };
        let outcome = Outcome::Fd(link.as_fd().as_raw_fd());
        self.here_mut().bpf_link = Some(link);
        Ok(outcome)
    }

    /// Opens the pinned link, which must be the one that holds the running program.
    pub(super) fn open_link(&mut self, path: &str) -> Result<Outcome> {
        self.take_link(Link::open_pinned(Path::new(path))?, path)
    }

    /// The same with the link that a trial has left.
    pub(super) fn open_own_link(&mut self, bpffs: &str) -> Result<Outcome> {
        let path = own_link(bpffs, self.netns_cookie, self.interface().index);
        self.take_link(Link::open_pinned(Path::new(&path))?, &path)
    }

    fn take_link(&mut self, link: Link, path: &str) -> Result<Outcome> {
        let running = self.running().0;
        if !link.state()?.holds(self.interface().index, running) {
            let (name, path) = (quote(&self.interface().name), quote(path));
            let message = format!("the bpf_link pinned at {path} does not hold {running} on {name}");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        let outcome = Outcome::Fd(link.as_fd().as_raw_fd());
        self.here_mut().bpf_link = Some(link);
        Ok(outcome)
    }

    pub(super) fn create_link(&mut self, create: &LinkCreate) -> Result<Outcome> {
        let (InterfaceInfo { index, name, .. }, mode) = (self.interface(), create.mode);
        let link = Link::create(self.program(create.program).as_fd(), self.socket(), *index, mode)
            .context(|| format!("attaching to {} by a bpf_link", quote(name)))?;
        let outcome = Outcome::Fd(link.as_fd().as_raw_fd());
        let attached = self.attached_to(mode, None);
        let here = self.here_mut();
        (here.bpf_link, here.attached) = (Some(link), Some(attached));
        Ok(outcome)
    }

    pub(super) fn update_link(&mut self, program: ProgramSlot) -> Result<Outcome> {
        let (running, old) = self.running();
        // Another may be loaded in its place for a later interface. Afterwards nothing may fail.
        let in_link = duplicate(self.program(program), "the program")?;
        self.bpf_link().update(self.program(program), old).context(|| {
            format!("replacing the program on {} in its bpf_link", quote(&self.interface().name))
        })?;
        let attached = self.attached_to(running.mode, Some(*running));
        let here = self.here_mut();
        (here.attached, here.in_link) = (Some(attached), Some(in_link));
        Ok(Outcome::Done)
    }

    /// The opposite of [`update_link`](Self::update_link).
    pub(super) fn put_back_in_link(&self, program: ProgramSlot) -> Result<()> {
        let (_, old) = self.running();
        let name = quote(&self.interface().name);
        let put = self.here().in_link.as_ref().map_or_else(|| self.program(program).as_fd(), OwnedFd::as_fd);
        self.bpf_link()
            .update(old, put)
            .context(|| format!("putting back what was on {name} in its bpf_link"))
    }

    /// Says of a refusal to load a program once more, with the `expected_attach_type` that the link wants, what is in
    /// the way.
    pub(super) fn for_bpf_link(&self, error: Error, program: ProgramSlot) -> Error {
        if self.slots.programs[program.0].is_none() || error.errno() != Some(EINVAL) {
            return error;
        }
        let name = quote(&self.interface().name);
        error
            .context(format!("once more, with the expected_attach_type that the bpf_link on {name} takes"))
            .with_help(
                "a prog array that is pinned keeps to that of the programs it was first used with: attach without its \
                 pin, or detach the link and attach anew",
            )
    }

    /// Asks for what is told of the link that holds the program now.
    pub(super) fn ask_for_link(&mut self) -> Result<Outcome> {
        let state = self.bpf_link().state()?;
        if let Some(attached) = &mut self.here_mut().attached {
            attached.link = Some(state);
        }
        Ok(Outcome::Found(format!("bpf_link {}", state.id)))
    }

    fn attached_to(&self, mode: Mode, replaced: Option<XdpProgram>) -> AttachedTo {
        let interface = self.here().handle.clone();
        AttachedTo {
            interface: interface.expect("a plan attaches after it has asked for the interface"),
            mode,
            replaced,
            native_refusal: None,
            warning: None,
            info: None,
            link: None,
            prog_arrays: Vec::new(),
        }
    }
}

/// Refuses at once what the kernel would refuse after all the work.
fn refuse_in_vain(attach: &Target, there: &XdpState) -> Result<()> {
    match &attach.by {
        _ if !attach.replace => refuse_to_displace(there, attach.mode),
        AttachBy::Link { pin: None } if there.is_empty() => Err(link_without_pin()),
        _ if there.is_empty() => Ok(()),
        _ => program_to_replace(there, attach.mode, None).map(drop),
    }
}
