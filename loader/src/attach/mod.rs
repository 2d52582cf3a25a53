//! Bind a loaded program to an interface, put another in its place, detach it.
//!
//! The way is `RTM_SETLINK` with `IFLA_XDP`, which every kernel with XDP has. What is attached so outlives the process,
//! unlike a `bpf_link`, and so does what was replaced or detached by mistake: therefore nothing here displaces a
//! program that was not named.
//!
//! * [`attach`] refuses if any program is there.
//! * [`replace`] and [`detach`] hand the kernel the program that they expect, which compares it under its lock
//!   (Linux 5.7). Somebody else's program, attached a moment ago, stays.
//! * [`Attached`] takes its program off when it is dropped, unless told to [`persist`](Attached::persist).
//!
//! * [`attach_link`] attaches by a `bpf_link` instead, for those who ask for one: see [`Link`].
//!
//! All of it takes CAP_NET_ADMIN in the interface's network namespace. To replace or detach a program of which only
//! the id is known takes CAP_SYS_ADMIN as well, because the kernel asks for that to give out its fd; a program or link
//! that is pinned where this user may open it is found by its pin.
//!
//! ```no_run
//! use loader::{Interface, Loader, Mode, Object, attach};
//!
//! let object = Object::open("drop.o")?;
//! let loaded = Loader::new(&object).plan_for_running_kernel()?.execute(|_| {})?;
//! let program = loaded.program("xdp_drop")?;
//!
//! let mut attached = attach::attach(program, &Interface::named("eth0")?, Mode::Native)?;
//! let other = loader::Program::open_pinned("/sys/fs/bpf/pass")?;
//! attached.replace(&other)?;  // in one step, and only if ours is still there
//! attached.persist();         // otherwise dropping it detaches the program
//! # Ok::<(), loader::Error>(())
//! ```

mod departures;
mod interface;
mod leftover;
mod link;
mod look;
mod netns;
mod on_trial;
mod socket;
mod trial;

use std::fs;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

pub use interface::Interface;
pub use leftover::Leftover;
pub use link::{DetachedLink, Link, LinkState, attach_link, detach_links, link_of, link_pins, open_own_link};
pub(crate) use link::{holder_of, not_by_link};
pub use netns::NetNs;
pub use on_trial::{OnTrial, RolledBack};
pub(crate) use socket::Outcome;
pub use socket::RouteSocket;
pub(crate) use socket::SETLINK;
pub(crate) use trial::hand_over;
pub use trial::{Heard, Trial, answer, hear, take_back, tell_made, tell_unchanged};

use crate::diagnosis::DISPATCHER;
use crate::error::{Context as _, Error, ErrorKind, Remedy, Result};
use crate::kernel::duplicate;
use crate::netlink::{self, Mode, ModeChoice, XdpChange, XdpProgram};
use crate::pin;
use crate::plan::{own_directory, prog_array_directory};
use crate::program::{Program, ProgramInfo};

/// A program that this process attached.
///
/// Dropping it takes the program off, but only if it is still there: a program that was put in its place by anyone
/// stays, and so does everything when the interface is gone. A drop cannot tell of a failure, so whoever wants to know
/// calls [`detach`](Self::detach). On a kernel before 5.7, which cannot compare, the program stays attached.
///
/// Only a drop takes it off: netlink knows no owner. Of a process that is killed, or that ends without dropping
/// (`std::process::exit`), the program stays attached; a [`Link`] that is not pinned goes with its process.
#[derive(Debug)]
#[must_use = "dropping it takes the program off again"]
pub struct Attached {
    interface: Interface,
    program: OwnedFd,
    mode: Mode,
    warning: Option<String>,
    native_refusal: Option<Error>,
    detach_on_drop: bool,
}

/// Attaches `program` to `interface`, where no program may be yet in any mode; a program that is there is an error of
/// kind [`Conflict`](ErrorKind::Conflict) that names it.
///
/// With [`ModeChoice::Auto`] the result says in [`Attached::mode`] which mode it became, and in
/// [`Attached::native_refusal`] why not native.
pub fn attach(program: impl AsFd, interface: &Interface, mode: impl Into<ModeChoice>) -> Result<Attached> {
    attach_fd(program.as_fd(), interface, mode.into()).context(|| format!("attaching to {interface}"))
}

/// Puts `new` in the place of `old`, which must run on `interface` in `mode`, in one step: each packet meets one or the
/// other. If `old` is not there, nothing changes and the error is of kind [`Conflict`](ErrorKind::Conflict).
///
/// Dropping the result takes `new` off and does not bring `old` back, so that the interface is left without a program:
/// [`persist`](Attached::persist) keeps `new` there.
pub fn replace(old: impl AsFd, new: impl AsFd, interface: &Interface, mode: Mode) -> Result<Attached> {
    let (old, new) = (old.as_fd(), new.as_fd());
    swap(old, new, interface, mode).context(|| format!("replacing the program on {interface}"))
}

/// Puts `new` in the place of the program that runs on `interface`, which must be program `id` if one is given.
///
/// The mode stays as it was, and `choice` must allow it; see
/// [`program_to_replace`](netlink::program_to_replace). If no program runs there, the error is of kind
/// [`NotFound`](ErrorKind::NotFound). Whoever may not open it by its id must have it pinned below `bpffs`.
///
/// Dropping the result takes `new` off and does not bring back what ran before, whoever had attached it:
/// [`persist`](Attached::persist) keeps `new` there.
pub fn replace_running(
    new: impl AsFd,
    interface: &Interface,
    choice: impl Into<ModeChoice>,
    id: Option<u32>,
    bpffs: impl AsRef<Path>,
) -> Result<Attached> {
    let bpffs = bpffs.as_ref();
    replace_seen(new.as_fd(), interface, choice.into(), id, bpffs)
        .context(|| format!("replacing the program on {interface}"))
}

/// Detaches what runs on `interface`, or only program `id`, each in the mode that it runs in, and gives what was
/// detached.
///
/// Nothing there is an error of kind [`NotFound`](ErrorKind::NotFound); another program than `id`, or one that came
/// meanwhile, is of kind [`Conflict`](ErrorKind::Conflict). Looks at the interface before and afterwards. Whoever may
/// not open a program by its id must have it pinned below `bpffs`.
pub fn detach(interface: &Interface, id: Option<u32>, bpffs: impl AsRef<Path>) -> Result<Vec<XdpProgram>> {
    let bpffs = bpffs.as_ref();
    detach_seen(interface, id, bpffs).context(|| format!("detaching from {interface}"))
}

/// Takes off program `id` from `interface`, for who may not open it (that takes CAP_SYS_ADMIN, or a pin), and so cannot
/// hand the kernel what it is to compare: whatever runs there in that mode at the moment goes, even if somebody has
/// attached another program since the look that this begins with. It gives what was seen.
///
/// [`detach`] never takes off what it has not seen; this is for whoever names the program by its number all the same. A
/// program that a `bpf_link` holds stays, and is refused.
pub fn detach_uncompared(interface: &Interface, id: u32) -> Result<Vec<XdpProgram>> {
    let take_off = |program: XdpProgram| {
        let outcome = interface.socket().detach_uncompared(interface.index().get(), program.mode)?;
        outcome.into_result().map(drop).context(|| format!("{} mode", program.mode))
    };
    let detach = || {
        let seen = netlink::programs_to_detach(&interface.look()?.xdp, Some(id))?;
        seen.iter().try_for_each(|&program| take_off(program))?;
        expect_gone(interface, seen)
    };
    detach().context(|| format!("detaching from {interface}"))
}

/// Removes the pins that keep the prog arrays of program `id` filled while it is attached to `interface`, and gives
/// their paths.
///
/// For after a [`detach`] or [`replace`] of a program that a [`Plan`](crate::plan::Plan) has attached, with its bpffs
/// at `bpffs`. Without such pins nothing happens.
pub fn let_go_of_prog_arrays(
    bpffs: impl AsRef<Path>,
    interface: &Interface,
    id: u32,
) -> Result<Vec<PathBuf>> {
    let bpffs = bpffs.as_ref();
    let cookie = interface.socket().netns_cookie_or_zero()?;
    let dir = prog_array_directory(&bpffs.to_string_lossy(), cookie, interface.index(), id);
    let dir = Path::new(&dir);
    match pin::remove_dir(dir) {
        Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(Vec::new()),
        // A file system that is read-only refuses before it looks.
        Err(error) if error.errno() == Some(libc::EROFS) && !dir.exists() => return Ok(Vec::new()),
        Err(error) if error.errno() == Some(libc::ENOTEMPTY) => {}
        other => return other.map(|()| Vec::new()),
    }
    let removed = pin::unpin_all(dir)?;
    pin::remove_dir(dir)?;
    Ok(removed)
}

/// Removes the directory below `bpffs` that is for the pins of all attachments, unless something is in it. Others, who
/// may be about to make a pin there, are waited for.
pub fn remove_shared_directory(bpffs: impl AsRef<Path>) {
    let bpffs = bpffs.as_ref();
    remove_if_empty(bpffs, || pin::lock(bpffs).map(Some));
}

/// The same, unless somebody is busy with pins now: for who must not wait.
fn remove_shared_directory_if_idle(bpffs: &Path) {
    remove_if_empty(bpffs, || pin::try_lock(bpffs));
}

fn remove_if_empty(bpffs: &Path, lock: impl FnOnce() -> Result<Option<pin::Lock>>) {
    let root = PathBuf::from(own_directory(&bpffs.to_string_lossy()));
    // Nobody is waited for where there is nothing to do.
    if !fs::read_dir(&root).is_ok_and(|mut entries| entries.next().is_none()) {
        return;
    }
    if let Ok(Some(_lock)) = lock() {
        let _ = pin::remove_dir(&root);
    }
}

impl Attached {
    /// Where it runs.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// The mode that it runs in.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What the kernel or the driver remarked, although it attached the program.
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }

    /// Why the driver refused native mode, when the choice was [`ModeChoice::Auto`] and it became generic.
    pub fn native_refusal(&self) -> Option<&Error> {
        self.native_refusal.as_ref()
    }

    /// Puts `new` in the place of this program, in one step. If it fails, this one is what it was.
    pub fn replace(&mut self, new: impl AsFd) -> Result<()> {
        let mut next = replace(&self.program, new, &self.interface, self.mode)?;
        next.native_refusal = self.native_refusal.take();
        std::mem::swap(self, &mut next);
        // The program before, which the kernel has detached already.
        next.persist();
        Ok(())
    }

    /// Takes the program off. If another took its place, the error is of kind [`Conflict`](ErrorKind::Conflict), and
    /// the other stays.
    pub fn detach(mut self) -> Result<()> {
        self.detach_on_drop = false;
        detach_in_mode(self.program.as_fd(), &self.interface, self.mode)
            .context(|| format!("detaching from {}", self.interface))
    }

    /// Leaves the program attached: dropping it would take it off.
    ///
    /// The kernel empties a prog array when the last fd and the last pin of it are gone, so that the tail calls of the
    /// program would end with this process. A plan that attaches ([`Loader::attach_to`](crate::Loader::attach_to)) pins
    /// its prog arrays for as long as it is attached; whoever attaches here pins them himself.
    pub fn persist(mut self) {
        self.detach_on_drop = false;
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if self.detach_on_drop {
            // Nobody is there to hear of a failure.
            let _ = detach_in_mode(self.program.as_fd(), &self.interface, self.mode);
        }
    }
}

fn attach_fd(program: BorrowedFd<'_>, interface: &Interface, choice: ModeChoice) -> Result<Attached> {
    netlink::refuse_to_displace(&interface.look()?.xdp, choice)?;
    // Before the kernel is asked: with the program attached there must be nothing left that can fail.
    let kept = keep(program)?;
    let change = XdpChange::Attach { new: program.as_raw_fd() };
    let put = put_on(interface, choice, change).map_err(|refusal| expect_program(refusal, program));
    let (mode, warning, native_refusal) = put?;
    Ok(Attached {
        interface: interface.clone(),
        program: kept,
        mode,
        warning,
        native_refusal,
        detach_on_drop: true,
    })
}

/// Says of a refusal with EINVAL that `fd` is no program, if it is known to be something else.
fn expect_program(refusal: Error, fd: BorrowedFd<'_>) -> Error {
    match pin::expect(pin::Kind::Program, fd) {
        Err(other) if refusal.errno() == Some(libc::EINVAL) => other,
        _ => refusal,
    }
}

/// Attaches in the first mode of `choice`, and in the other if the driver does not take the first. Gives the mode that
/// it became, the kernel's remark, and the refusal of the first mode.
fn put_on(
    interface: &Interface,
    choice: ModeChoice,
    change: XdpChange,
) -> Result<(Mode, Option<String>, Option<Error>)> {
    let first = choice.first();
    let refusal = match set(interface, first, change)? {
        Outcome::Done { warning } => return Ok((first, warning, None)),
        Outcome::Refused(refusal) => refusal,
    };
    match choice.fallback() {
        Some(mode) if refusal.errno().is_some_and(netlink::may_fall_back) => {
            match set(interface, mode, change).and_then(Outcome::into_result) {
                Ok(warning) => Ok((mode, warning, Some(refusal))),
                Err(error) => {
                    Err(error.context(format!("{first} mode was refused ({refusal}), and {mode} mode")))
                }
            }
        }
        _ => Err(refusal.context(format!("{first} mode"))),
    }
}

fn replace_seen(
    new: BorrowedFd<'_>,
    interface: &Interface,
    choice: ModeChoice,
    id: Option<u32>,
    bpffs: &Path,
) -> Result<Attached> {
    let seen = netlink::program_to_replace(&interface.look()?.xdp, choice, id)?;
    swap(find_to_displace(seen, false, bpffs)?.as_fd(), new, interface, seen.mode)
}

fn swap(old: BorrowedFd<'_>, new: BorrowedFd<'_>, interface: &Interface, mode: Mode) -> Result<Attached> {
    let program = keep(new)?;
    let change = XdpChange::Replace { new: new.as_raw_fd(), expected: old.as_raw_fd() };
    let warning =
        make(interface, mode, change).map_err(|refusal| expect_program(expect_program(refusal, old), new))?;
    Ok(Attached {
        interface: interface.clone(),
        program,
        mode,
        warning,
        native_refusal: None,
        detach_on_drop: true,
    })
}

fn detach_seen(interface: &Interface, id: Option<u32>, bpffs: &Path) -> Result<Vec<XdpProgram>> {
    let seen = netlink::programs_to_detach(&interface.look()?.xdp, id)?;
    for &program in &seen {
        detach_in_mode(find_to_displace(program, id.is_some(), bpffs)?.as_fd(), interface, program.mode)?;
    }
    expect_gone(interface, seen)
}

/// Looks whether the programs that were `seen` are there no more.
fn expect_gone(interface: &Interface, seen: Vec<XdpProgram>) -> Result<Vec<XdpProgram>> {
    let left = interface.look()?.xdp;
    match seen.iter().find(|program| left.programs().contains(program)) {
        None => Ok(seen),
        Some(program) => Err(Error::new(
            ErrorKind::Os,
            format!("the kernel said it was done, but {program} is still there"),
        )),
    }
}

fn detach_in_mode(program: BorrowedFd<'_>, interface: &Interface, mode: Mode) -> Result<()> {
    let change = XdpChange::Detach { expected: program.as_raw_fd() };
    make(interface, mode, change).map(drop)
}

/// Makes a change that names the program which it expects.
fn make(interface: &Interface, mode: Mode, change: XdpChange) -> Result<Option<String>> {
    match set(interface, mode, change)? {
        Outcome::Done { warning } => Ok(warning),
        Outcome::Refused(refusal) => {
            if netlink::is_unexplained(&refusal) {
                interface.socket().refuse_if_it_cannot_compare(interface.index().get())?;
            }
            Err(refusal.context(format!("{mode} mode")))
        }
    }
}

fn set(interface: &Interface, mode: Mode, change: XdpChange) -> Result<Outcome> {
    interface.socket().set_xdp_or_put_back(interface.index().get(), mode, change)
}

/// Opens the program that is to make room by its id: not for libxdp's dispatcher, since programs that nobody has named
/// would go with it. The error is of kind [`Conflict`](ErrorKind::Conflict).
pub(crate) fn open_to_displace(program: XdpProgram) -> Result<Program> {
    let (opened, info) = open_with_info(program)?;
    refuse_dispatcher(program, &info).map(|()| opened)
}

/// Finds the program that is to make room among those that are pinned below `bpffs`, for who lacks the privilege to
/// open it by its id. None there is an error of kind [`NotFound`](ErrorKind::NotFound).
pub(crate) fn find_pinned_to_displace(program: XdpProgram, bpffs: &Path) -> Result<Program> {
    let (opened, info) = find_pinned(program, bpffs)
        .ok_or_else(|| Error::new(ErrorKind::NotFound, format!("{program} is not pinned")))?;
    refuse_dispatcher(program, &info).map(|()| opened)
}

/// Opens the program that is to make room by its id or, without the privilege for that, by a pin below `bpffs`. Whoever
/// `is_named` it by its id knows what it is.
fn find_to_displace(program: XdpProgram, is_named: bool, bpffs: &Path) -> Result<Program> {
    let (opened, info) = open_or_find(program, bpffs)?;
    if !is_named {
        refuse_dispatcher(program, &info)?;
    }
    Ok(opened)
}

/// Opens the program that was seen by its id or, without the privilege for that, by a pin below `bpffs`.
pub(crate) fn open_or_find(program: XdpProgram, bpffs: &Path) -> Result<(Program, ProgramInfo)> {
    match open_with_info(program) {
        Err(refusal) if refusal.kind() == ErrorKind::PermissionDenied => {
            find_pinned(program, bpffs).ok_or(refusal)
        }
        found => found,
    }
}

fn find_pinned(program: XdpProgram, bpffs: &Path) -> Option<(Program, ProgramInfo)> {
    let mut opened = pin::files_below(bpffs).into_iter().filter_map(|path| {
        let fd = pin::get_in_bpffs(&path).ok()??;
        Program::with_info(fd).ok()
    });
    opened.find(|(_, info)| program.id == Some(info.id))
}

fn refuse_dispatcher(program: XdpProgram, info: &ProgramInfo) -> Result<()> {
    if info.name != DISPATCHER {
        return Ok(());
    }
    let message =
        format!("{program} is libxdp's dispatcher; detaching it would detach all programs that it runs");
    let help = "`xdp-loader status` shows them, and `xdp-loader unload` takes them off; to take it off all the \
                same, name it: ";
    Err(Error::new(ErrorKind::Conflict, message).with_help((help, Remedy::DetachById)))
}

/// Opens the program that was seen, by its id: the calls of [`Program::from_id_with_info`].
fn open_with_info(program: XdpProgram) -> Result<(Program, ProgramInfo)> {
    let id = program.id.ok_or_else(|| {
        let message =
            "this kernel does not tell the id of the program that is there (IFLA_XDP_PROG_ID, Linux 4.13)";
        Error::new(ErrorKind::Unsupported, message)
    })?;
    Program::from_id_with_info(id)
}

/// An fd of the program that stays open as long as the attachment, to name the program by.
fn keep(program: BorrowedFd<'_>) -> Result<OwnedFd> {
    duplicate(program, "the program")
}
