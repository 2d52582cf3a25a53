//! The other way to attach: a `bpf_link`, an object of its own that holds a program on an interface.
//!
//! It is asked for in words, and never a way round a refusal of the other: a program under a link can be changed
//! through that link alone, and it goes when the last fd and the last pin of the link are gone.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::{Interface, Outcome};
use crate::error::{Cause, Context as _, ENOTSUPP, Error, ErrorKind, Remedy, Result};
use crate::kernel::{Privilege, duplicate, explain_refusal, link_ids};
use crate::netlink::{self, InterfaceInfo, Mode, XdpChange, XdpProgram};
use crate::order::sort;
use crate::pin::{self, Kind};
use crate::plan::own_link;
use crate::sys::{Errno, bpf};
use crate::uapi::bpf::{Cmd, LinkType};

/// A `bpf_link`, held by an fd.
///
/// Dropping it closes the fd. The kernel takes the program off when that was the last fd and the link is not
/// [pinned](Link::pin), though not before it has time to.
#[derive(Debug)]
#[must_use = "dropping it takes the program off again, unless the link is pinned"]
pub struct Link {
    fd: OwnedFd,
}

/// A link as the kernel describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkState {
    /// The number by which the kernel knows the link.
    pub id: u32,
    /// What it attaches to.
    pub link_type: LinkType,
    /// The program that it holds.
    pub program: u32,
    /// For an XDP link the index of the interface in its network namespace, 0 when the link is detached.
    pub ifindex: u32,
}

/// Attaches `program` to `interface` in `mode` by a new link: one `BPF_LINK_CREATE` (5.9). No program may be there.
pub fn attach_link(program: impl AsFd, interface: &Interface, mode: Mode) -> Result<Link> {
    let what = || format!("attaching to {interface} by a link");
    netlink::refuse_to_displace(&interface.look()?.xdp, mode.into()).context(what)?;
    Link::create(program.as_fd(), interface.socket(), interface.index().get(), mode).context(what)
}

/// The link that holds `program` on the interface `seen`, if one does: all links of the kernel are looked at (5.8).
///
/// It needs CAP_SYS_ADMIN. A link tells the interface's number and not its namespace, so that in the odd case of one
/// program on interfaces of the same number in two namespaces it cannot be told which link is which; then the error is
/// of kind [`Conflict`](ErrorKind::Conflict).
pub fn link_of(seen: &InterfaceInfo, program: XdpProgram) -> Result<Option<Link>> {
    let mut found = None;
    for id in link_ids() {
        // It may be gone meanwhile.
        let Some(link) = Link::by_id(id?)? else { continue };
        let state = link.state()?;
        if !state.holds(seen.index, program) {
            continue;
        }
        if found.replace(link).is_some() {
            let message =
                format!("several bpf_links hold {program} on interfaces with number {}", seen.index);
            return Err(Error::new(ErrorKind::Conflict, message));
        }
    }
    Ok(found)
}

/// The link that a trial has left pinned for `interface`, if there is one; see
/// [`Plan::on_trial`](crate::plan::Plan::on_trial).
pub fn open_own_link(bpffs: impl AsRef<Path>, interface: &Interface) -> Result<Option<Link>> {
    let bpffs = bpffs.as_ref();
    let cookie = interface.socket().netns_cookie_or_zero()?;
    let path = own_link(&bpffs.to_string_lossy(), cookie, interface.index());
    match Link::open_pinned(Path::new(&path)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        link => link.map(Some),
    }
}

/// A link that was detached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DetachedLink {
    /// The link's number.
    pub id: u32,
    /// The program that it held.
    pub program: XdpProgram,
    /// The pins that were removed.
    pub pins: Vec<PathBuf>,
}

/// Detaches what runs on `interface`, or only program `id`, through the links that hold it, and removes the links'
/// pins below `bpffs`.
///
/// First the link is detached and then its pin removed: the other way round the kernel would take the program off some
/// time after the pin is gone. A program that no link holds is an error of kind [`Conflict`](ErrorKind::Conflict).
pub fn detach_links(
    interface: &Interface,
    id: Option<u32>,
    bpffs: impl AsRef<Path>,
) -> Result<Vec<DetachedLink>> {
    let bpffs = bpffs.as_ref();
    detach_seen(interface, id, bpffs).context(|| format!("detaching from {interface}"))
}

fn detach_seen(interface: &Interface, id: Option<u32>, bpffs: &Path) -> Result<Vec<DetachedLink>> {
    // The kernel does not refuse to detach a link that is detached, so that of two runs the second is to look only when
    // the first is done.
    let _lock = pin::lock_if_there(bpffs)?;
    let seen = interface.look()?;
    let mut links = Vec::new();
    for program in netlink::programs_to_detach(&seen.xdp, id)? {
        let link = find_link_of(&seen, program, bpffs)?.ok_or_else(|| not_by_link(program))?;
        links.push((program, link));
    }
    let pins = link_pins(bpffs);
    let mut detached = Vec::new();
    for (program, link) in links {
        let id = link.state()?.id;
        link.detach()?;
        let own: Vec<_> = pins.iter().filter(|(of, _)| *of == id).map(|(_, path)| path.clone()).collect();
        own.iter().try_for_each(pin::unpin)?;
        detached.push(DetachedLink { id, program, pins: own });
    }
    Ok(detached)
}

/// The error for a program that only netlink can replace or detach.
pub(crate) fn not_by_link(program: XdpProgram) -> Error {
    let message = format!("no bpf_link holds {program}, which was attached by netlink");
    Error::new(ErrorKind::Conflict, message).with_help(Remedy::WithoutLink)
}

/// The links that are pinned below `root`, each by its id, with the pin. What cannot be read is passed over.
pub fn link_pins(root: impl AsRef<Path>) -> Vec<(u32, PathBuf)> {
    let root = root.as_ref();
    let id = |path: &PathBuf| Link::open_pinned(path).and_then(|link| link.state()).ok().map(|link| link.id);
    let paths = pin::files_below(root).into_iter();
    let mut found: Vec<_> = paths.filter_map(|path| id(&path).map(|id| (id, path))).collect();
    sort(&mut found);
    found
}

/// As [`link_of`], and for who may not look at all links among those that are pinned below `bpffs`.
pub(super) fn find_link_of(seen: &InterfaceInfo, program: XdpProgram, bpffs: &Path) -> Result<Option<Link>> {
    let refusal = match link_of(seen, program) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => error,
        found => return found,
    };
    let pinned = pin::files_below(bpffs).into_iter().filter_map(|path| Link::open_pinned(&path).ok());
    let holds = |link: &Link| link.state().is_ok_and(|state| state.holds(seen.index, program));
    pinned.into_iter().find(holds).map(Some).ok_or(refusal)
}

/// The link that holds `program` on `interface`, which was `seen` so. Who may not look at all links finds it by its pin
/// below `bpffs`; if none there is it, the kernel still tells whether any does.
pub(crate) fn holder_of(
    interface: &Interface,
    seen: &InterfaceInfo,
    program: XdpProgram,
    bpffs: &Path,
) -> Result<Option<Link>> {
    match find_link_of(seen, program, bpffs) {
        Err(refusal) if refusal.kind() == ErrorKind::PermissionDenied => {
            if is_held(interface, program.mode)? { Err(refusal) } else { Ok(None) }
        }
        found => found,
    }
}

/// Whether a link holds what runs on `interface`.
///
/// The kernel is asked to detach nothing from where there is nothing. It refuses since a program is there, and sees
/// before whether a link holds it (`dev_xdp_attach()` in `net/core/dev.c`).
fn is_held(interface: &Interface, mode: Mode) -> Result<bool> {
    let nothing = XdpChange::Detach { expected: -1 };
    match interface.socket().set_xdp(interface.index().get(), mode, nothing)? {
        Outcome::Refused(refusal) if refusal.cause() == Some(Cause::HeldByLink) => Ok(true),
        Outcome::Refused(refusal) if refusal.cause() != Some(Cause::Changed) => Err(refusal),
        _ => Ok(false),
    }
}

impl LinkState {
    /// Whether it holds `program` on an interface of this number.
    pub fn holds(&self, ifindex: u32, program: XdpProgram) -> bool {
        self.link_type == LinkType::XDP && self.ifindex == ifindex && program.id == Some(self.program)
    }
}

/// As [`Link::from_fd`].
impl TryFrom<OwnedFd> for Link {
    type Error = Error;

    fn try_from(fd: OwnedFd) -> Result<Self> {
        Self::from_fd(fd)
    }
}

impl From<Link> for OwnedFd {
    fn from(link: Link) -> Self {
        link.fd
    }
}

impl Link {
    /// Takes over the fd of a link. That of anything else is an error of kind [`Conflict`](ErrorKind::Conflict): the
    /// kernel would describe a map or a program in the same way, with other meanings.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        pin::expect(Kind::Link, fd.as_fd())?;
        Ok(Self { fd })
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// A second handle of the link that `fd` is of.
    pub(crate) fn borrowed(fd: &OwnedFd) -> Result<Self> {
        Ok(Self { fd: duplicate(fd, "the bpf_link")? })
    }

    /// One `BPF_LINK_CREATE`, in the network namespace of `socket`.
    pub(crate) fn create(
        program: BorrowedFd<'_>,
        socket: &super::RouteSocket,
        ifindex: u32,
        mode: Mode,
    ) -> Result<Self> {
        let created = socket.in_its_namespace(|| bpf::link_create_xdp(program, ifindex, mode.flag()))?;
        let fd = created.map_err(|errno| {
            let error = Error::os(&Cmd::LINK_CREATE.call(), format_args!("{mode} mode"), errno.0);
            let error = explain_refusal(error, &[Privilege::BpfNetwork]);
            match netlink::help_for_refusal(mode, errno.0, None) {
                Some(help) if error.help().is_none() => error.with_help(help),
                _ => error,
            }
        })?;
        Ok(Self { fd })
    }

    /// Lets the extension `program` take the place of the function that it was loaded for, until the link goes: one
    /// `BPF_RAW_TRACEPOINT_OPEN` (5.6), which newer kernels still take for this.
    pub fn extend(program: BorrowedFd<'_>) -> Result<Self> {
        bpf::extend(program).map(|fd| Self { fd }).map_err(|errno| {
            let error = Error::os(&Cmd::RAW_TRACEPOINT_OPEN.call(), "the extension", errno.0);
            if errno.0 == ENOTSUPP {
                // The words of `bpf_arch_text_poke()` of an architecture that has none (`kernel/bpf/core.c`, 5.10).
                return error.with_help(
                    "the kernel cannot replace functions of programs on this architecture: on x86_64 it can since \
                     Linux 5.6, on 64-bit Arm since Linux 6.0",
                );
            }
            explain_refusal(error, &[Privilege::Bpf, Privilege::BpfNetwork])
        })
    }

    /// Opens the link with this id: one `BPF_LINK_GET_FD_BY_ID`. It needs CAP_SYS_ADMIN.
    pub fn from_id(id: u32) -> Result<Self> {
        let missing = || Error::new(ErrorKind::NotFound, format!("there is no bpf_link with id {id}"));
        Self::by_id(id)?.ok_or_else(missing)
    }

    fn by_id(id: u32) -> Result<Option<Self>> {
        match bpf::link_fd_by_id(id) {
            Ok(fd) => Ok(Some(Self { fd })),
            // EAGAIN says that it is being made at this moment (`bpf_link_by_id()` in `kernel/bpf/syscall.c`, 6.18).
            Err(Errno::ENOENT | Errno::EAGAIN) => Ok(None),
            Err(errno) => {
                let error = Error::os(&Cmd::LINK_GET_FD_BY_ID.call(), format_args!("bpf_link {id}"), errno.0);
                Err(explain_refusal(error, &[Privilege::Admin]))
            }
        }
    }

    /// Opens the link that is pinned at `path`: one `BPF_OBJ_GET`.
    pub fn open_pinned(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let fd = pin::open(path)?;
        pin::expect(Kind::Link, fd.as_fd()).context(|| format!("pin {}", pin::show(path)))?;
        Ok(Self { fd })
    }

    /// What the kernel says of the link: one `BPF_OBJ_GET_INFO_BY_FD`.
    pub fn state(&self) -> Result<LinkState> {
        let info = bpf::link_info(self.as_fd())
            .map_err(|errno| Error::os(&Cmd::OBJ_GET_INFO_BY_FD.call(), "the bpf_link", errno.0))?;
        Ok(LinkState {
            id: info.id,
            link_type: LinkType(info.link_type),
            program: info.prog_id,
            ifindex: info.ifindex,
        })
    }

    /// Puts `new` in the place of `old`, which the link must hold, in one step: one `BPF_LINK_UPDATE`.
    ///
    /// The kernel answers EINVAL where the two were loaded with different `expected_attach_type`, of which 0 and
    /// `BPF_XDP` both attach (`bpf_xdp_link_update()` in `net/core/dev.c`).
    pub fn update(&self, new: impl AsFd, old: impl AsFd) -> Result<()> {
        bpf::link_update(self.as_fd(), new.as_fd(), old.as_fd()).map_err(|errno| {
            let error = Error::os(&Cmd::LINK_UPDATE.call(), "the bpf_link", errno.0);
            match errno.0 {
                libc::EPERM => error
                    .with_kind(ErrorKind::Conflict)
                    .context("the link holds another program than the one that was seen"),
                libc::ENOLINK => error.context("the link is detached"),
                libc::EINVAL => error.with_help(
                    "a bpf_link takes only a program that was loaded with the same expected_attach_type as the one \
                     that it holds; detach the link and attach anew",
                ),
                _ => error,
            }
        })
    }

    /// Takes the program off, for good: one `BPF_LINK_DETACH` (5.9). The link itself stays as long as it is held.
    pub fn detach(&self) -> Result<()> {
        bpf::link_detach(self.as_fd())
            .map_err(|errno| Error::os(&Cmd::LINK_DETACH.call(), "the bpf_link", errno.0))
    }

    /// Pins the link at `path`, so that it outlives this process: one `BPF_OBJ_PIN`.
    ///
    /// Who removes that pin later takes the program off too, but the kernel does so in its own time: call
    /// [`Link::detach`] first.
    pub fn pin(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        pin::pin(self.as_fd(), path).context(|| "pinning the bpf_link")
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_holds_one_program_on_one_interface() {
        let state = LinkState { id: 1, link_type: LinkType::XDP, program: 7, ifindex: 3 };
        let program = |id| XdpProgram { mode: Mode::Native, id };
        assert!(state.holds(3, program(Some(7))));
        assert!(!state.holds(4, program(Some(7))) && !state.holds(3, program(Some(8))));
        assert!(!state.holds(3, program(None)));
        assert!(!LinkState { link_type: LinkType::TCX, ..state }.holds(3, program(Some(7))));
    }
}
