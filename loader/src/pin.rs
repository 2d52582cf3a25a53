//! Pins: names in a bpffs under which the kernel keeps maps and programs after the process that made them ends.
//!
//! Each function makes one call, so that a plan can list them, but for [`ensure_bpffs`], which no plan makes.
//!
//! ```no_run
//! use loader::{Cause, Map, pin};
//!
//! let _lock = pin::lock(pin::BPFFS_ROOT)?;  // other runs that pin wait
//! let (pins, failures) = pin::walk(pin::BPFFS_ROOT);
//! pins.iter().for_each(|path| println!("{}", path.display()));
//! failures.iter().for_each(|error| println!("{error}"));
//! match Map::open_pinned("/sys/fs/bpf/blacklist") {
//!     Ok(map) => {
//!         println!("{:?}", map.info()?);
//!         pin::unpin("/sys/fs/bpf/blacklist")?;
//!     }
//!     Err(error) if error.cause() == Some(Cause::Missing) => println!("nothing is there"),
//!     Err(error) => return Err(error),
//! }
//! # Ok::<(), loader::Error>(())
//! ```

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use crate::diagnosis::how_to_mount;
use crate::error::{Cause, Context as _, Error, ErrorKind, Remedy, Result, quote};
use crate::kernel::{Access, Privilege, explain_mount, explain_path, explain_refusal};
use crate::order::sort;
use crate::sys::{Errno, bpf, os};
use crate::uapi::bpf::Cmd;

pub use crate::uapi::bpf::BPFFS_ROOT;

/// What sort of kernel object an fd or a pin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A map.
    Map,
    /// A program.
    Program,
    /// A `bpf_link`.
    Link,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Map => "map",
            Self::Program => "program",
            Self::Link => "link",
        })
    }
}

/// What `fd` is. None where it is something else, or where `/proc`, which tells it, is not mounted.
pub fn kind(fd: impl AsFd) -> Option<Kind> {
    match os::bpf_kind(fd.as_fd())?.as_str() {
        "bpf-map" => Some(Kind::Map),
        "bpf-prog" => Some(Kind::Program),
        "bpf_link" | "bpf-link" => Some(Kind::Link),
        _ => None,
    }
}

/// Pins `fd` at `path`: one `BPF_OBJ_PIN`. Whoever has the pin's file may open it, so the directory guards it.
pub fn pin(fd: impl AsFd, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    bpf::obj_pin(fd.as_fd(), &c_path(path)?).map_err(|errno| explain(Cmd::OBJ_PIN, path, errno, is_elsewhere))
}

/// As [`pin()`], at a path that is known to be in a bpffs, so that a refusal is no reason to look again.
pub(crate) fn pin_in_bpffs(fd: BorrowedFd<'_>, path: &Path) -> Result<()> {
    bpf::obj_pin(fd, &c_path(path)?).map_err(|errno| explain(Cmd::OBJ_PIN, path, errno, |_| false))
}

/// Opens what is pinned at `path`, or tells that nothing is: one `BPF_OBJ_GET`.
pub fn get(path: impl AsRef<Path>) -> Result<Option<OwnedFd>> {
    let path = path.as_ref();
    obj_get(path, is_elsewhere)
}

/// As [`get`], at a path that is known to be in a bpffs, so that a refusal is no reason to look again.
pub(crate) fn get_in_bpffs(path: &Path) -> Result<Option<OwnedFd>> {
    obj_get(path, |_| false)
}

/// Opens what is pinned at `path`, which must be there: one `BPF_OBJ_GET`.
pub fn open(path: impl AsRef<Path>) -> Result<OwnedFd> {
    let path = path.as_ref();
    get(path).map_err(as_root)?.ok_or_else(|| {
        let message = format!("nothing is pinned at {}", show(path));
        Error::new(ErrorKind::NotFound, message).with_cause(Cause::Missing)
    })
}

/// Removes the pin at `path`: one unlink(2). The object lives on as long as something else holds it.
pub fn unpin(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    fs::remove_file(path).map_err(|error| {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        let error = explain_read_only(io_error("unlink(2)", path, &error), path);
        if is_missing { error.with_cause(Cause::Missing) } else { error }
    })
}

/// Moves the pin at `from` to `to`, in the place of what is pinned there, in one step: one rename(2).
pub fn replace(from: impl AsRef<Path>, to: impl AsRef<Path>) -> Result<()> {
    let (from, to) = (from.as_ref(), to.as_ref());
    fs::rename(from, to).map_err(|error| explain_read_only(io_error("rename(2)", to, &error), to))
}

/// Removes every pin in the directory `dir`, one unlink(2) each, and gives the paths of those that nobody else has
/// removed meanwhile.
pub fn unpin_all(dir: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let dir = dir.as_ref();
    let mut pins: Vec<_> = entries(dir)?.iter().map(fs::DirEntry::path).collect();
    sort(&mut pins);
    let mut removed = Vec::with_capacity(pins.len());
    for pin in pins {
        match unpin(&pin) {
            Err(error) if error.cause() == Some(Cause::Missing) => {}
            answer => removed.push(answer.map(|()| pin)?),
        }
    }
    Ok(removed)
}

/// All that is pinned below the directory `root`, in the order of the paths, and why some directories could not be
/// listed. One that is gone, or was never there, has no pins. What the kernel itself puts into a bpffs is left out.
pub fn walk(root: impl AsRef<Path>) -> (Vec<PathBuf>, Vec<Error>) {
    walk_below(root.as_ref())
}

fn walk_below(root: &Path) -> (Vec<PathBuf>, Vec<Error>) {
    let (mut pins, mut failures, mut directories) = (Vec::new(), Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = directories.pop() {
        let entries = match entries(&directory) {
            Ok(entries) => entries,
            // What is so deep that no call takes its path was made by somebody else, and stays theirs.
            Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::ENAMETOOLONG)) => continue,
            Err(error) => {
                failures.push(error);
                continue;
            }
        };
        for entry in entries {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => directories.push(entry.path()),
                Ok(kind) if kind.is_file() && !is_preloaded(&entry) => pins.push(entry.path()),
                _ => {}
            }
        }
    }
    sort(&mut pins);
    (pins, failures)
}

/// The same, with directories that cannot be listed passed over.
pub(crate) fn files_below(root: &Path) -> Vec<PathBuf> {
    walk_below(root).0
}

fn entries(dir: &Path) -> Result<Vec<fs::DirEntry>> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    entries.map_err(|error| {
        let error = io_error("readdir(3)", dir, &error);
        if is_barred(&error) { as_root(explain_path(error, dir, Access::Open)) } else { error }
    })
}

/// Held by the one run that is busy with the pins of a bpffs; dropping it lets others go on. The kernel lets go of it
/// when the process ends, however it ends.
#[derive(Debug)]
pub struct Lock(OwnedFd);

/// Waits until nobody else is busy with the pins below the directory `root`, and holds others off: openat(2), flock(2).
///
/// A [`Plan`](crate::plan::Plan) that pins has this lock while it is carried out. Whoever removes pins that a plan may
/// have made a moment ago needs it too.
pub fn lock(root: impl AsRef<Path>) -> Result<Lock> {
    let root = root.as_ref();
    lock_open(open_directory(root)?, root)
}

/// As [`lock`], without waiting: none if somebody else has the lock.
pub fn try_lock(root: impl AsRef<Path>) -> Result<Option<Lock>> {
    let root = root.as_ref();
    let dir = open_directory(root)?;
    match os::try_lock(dir.as_fd()) {
        Ok(is_ours) => Ok(is_ours.then(|| Lock(dir))),
        Err(errno) => Err(Error::os("flock(2)", show(root), errno.0)),
    }
}

/// As [`lock`], for whoever goes on without where no such directory is, or none that this user may look into: neither
/// are there pins then.
pub fn lock_if_there(root: impl AsRef<Path>) -> Result<Option<Lock>> {
    let root = root.as_ref();
    match lock(root) {
        Err(error) if matches!(error.errno(), Some(libc::ENOENT | libc::EACCES)) => Ok(None),
        lock => lock.map(Some),
    }
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    os::open_directory(path).map_err(|errno| {
        let error = Error::os("openat(2)", show(path), errno.0);
        if is_barred(&error) { explain_path(error, path, Access::Open) } else { error }
    })
}

fn lock_open(dir: OwnedFd, path: &Path) -> Result<Lock> {
    os::lock(dir.as_fd()).map_err(|errno| Error::os("flock(2)", show(path), errno.0))?;
    Ok(Lock(dir))
}

impl Lock {
    /// Lets others go on at once, whoever else has the fd.
    pub(crate) fn unlock(self) -> Result<()> {
        os::unlock(self.0.as_fd()).map_err(|errno| Error::os("flock(2)", "the root of bpffs", errno.0))
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes a directory for root alone, and tells whether it was not there before: one mkdir(2).
pub fn create_dir(path: impl AsRef<Path>) -> Result<bool> {
    let path = path.as_ref();
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(false),
        Err(error) => {
            let error = io_error("mkdir(2)", path, &error);
            Err(if is_barred(&error) { explain_path(error, path, Access::Make) } else { error })
        }
    }
}

/// Removes an empty directory: one rmdir(2).
pub fn remove_dir(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    fs::remove_dir(path).map_err(|error| explain_read_only(io_error("rmdir(2)", path, &error), path))
}

/// Whether the directory `path`, which must be there, is in a bpffs: one statfs(2).
pub(crate) fn is_bpffs_directory(path: &Path) -> Result<bool> {
    os::is_bpffs(path).map_err(|errno| Error::os("statfs(2)", show(path), errno.0))
}

/// Whether `path` is in a bpffs; for a path that is not there, whether its nearest ancestor is. One statfs(2) for
/// each step up.
pub fn is_bpffs(path: impl AsRef<Path>) -> Result<bool> {
    let path = path.as_ref();
    let nearest = path.ancestors().find_map(|ancestor| {
        let ancestor = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        match os::is_bpffs(ancestor) {
            Err(Errno::ENOENT) => None,
            answer => Some(answer.map_err(|errno| Error::os("statfs(2)", show(ancestor), errno.0))),
        }
    });
    nearest.unwrap_or(Ok(false))
}

/// Whether the file system that `path` is on is mounted read-only: one statfs(2).
pub fn is_read_only(path: impl AsRef<Path>) -> Result<bool> {
    let path = path.as_ref();
    os::is_read_only(path).map_err(|errno| Error::os("statfs(2)", show(path), errno.0))
}

/// Mounts a bpffs on the directory `path`, for root alone: one mount(2). It needs CAP_SYS_ADMIN. A directory that is
/// not empty is refused, since what is in it could not be reached any more.
pub fn mount_bpffs(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
        let message = format!(
            "{} is not a bpffs, and not empty: one mounted there would hide what is in it",
            show(path)
        );
        return Err(
            Error::new(ErrorKind::Conflict, message).with_help("name an empty directory, or one in a bpffs")
        );
    }
    os::mount_bpffs(path).map_err(|errno| {
        explain_mount(Error::os("mount(2)", format_args!("bpffs on {}", show(path)), errno.0), path)
    })
}

/// Whether the kernel itself has put this into a bpffs (`CONFIG_BPF_PRELOAD`): it lets nobody else have a dot in a
/// name.
fn is_preloaded(entry: &fs::DirEntry) -> bool {
    has_dot(Path::new(&entry.file_name()))
}

/// Whether nothing is pinned in the bpffs at `root`, and no directory is in it.
fn is_empty_bpffs(root: &Path) -> Result<bool> {
    Ok(entries(root)?.iter().all(is_preloaded))
}

/// Unmounts a bpffs that nobody else has begun to use, which the kernel does not look at.
pub(crate) fn unmount_empty_bpffs(root: &Path) -> Result<()> {
    if is_empty_bpffs(root)? {
        return unmount_bpffs(root);
    }
    Err(Error::os("umount(2)", show(root), libc::ENOTEMPTY))
}

/// Undoes [`mount_bpffs`]: one umount(2). All pins in it are gone with it.
pub fn unmount_bpffs(path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    os::unmount(path).map_err(|errno| Error::os("umount(2)", show(path), errno.0))
}

/// A bpffs that is there for as long as this lives.
#[derive(Debug)]
pub struct HeldBpffs {
    root: PathBuf,
    held: Held,
}

/// By what it is held.
#[derive(Debug)]
enum Held {
    /// It was there. While its root is open, whoever has mounted it cannot unmount it.
    Found { _root: Option<OwnedFd> },
    /// This run has mounted it; others who want one there wait for the lock of the directory below.
    Mounted { _below: Option<Lock> },
}

/// Finds a bpffs on the directory `root`, or mounts one: openat(2), fstatfs(2), flock(2), statfs(2), mount(2).
///
/// Of two that find none, the second would hide the first one's, so that they wait for each other in the directory
/// below. Whoever may not even look into the directory goes on without.
pub fn ensure_bpffs(root: impl AsRef<Path>) -> Result<HeldBpffs> {
    let root = root.as_ref();
    let hold = |held| Ok(HeldBpffs { root: root.to_owned(), held });
    loop {
        let dir = match open_directory(root) {
            Err(error) if error.errno() == Some(libc::EACCES) => None,
            opened => Some(opened.context(|| "pinning needs bpffs")?),
        };
        let is_there = match &dir {
            Some(dir) => os::is_in_bpffs(dir.as_fd()).map_err(|errno| {
                Error::os("fstatfs(2)", show(root), errno.0).context("pinning needs bpffs")
            })?,
            None => is_bpffs_directory(root)?,
        };
        if is_there {
            return hold(Held::Found { _root: dir });
        }
        let below = dir.map(|dir| lock_open(dir, root)).transpose()?;
        // Somebody else may have mounted one while this run has waited.
        if below.is_none() || !is_bpffs_directory(root)? {
            mount_to_pin(root)?;
            return hold(Held::Mounted { _below: below });
        }
    }
}

impl HeldBpffs {
    /// The directory that it is on.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether this run has mounted it.
    pub fn is_new(&self) -> bool {
        matches!(self.held, Held::Mounted { .. })
    }

    /// Unmounts it if this run has mounted it, unless somebody has begun to use it.
    pub fn take_back(self) -> Result<()> {
        match self.held {
            Held::Found { .. } => Ok(()),
            Held::Mounted { .. } => match unmount_empty_bpffs(&self.root) {
                Err(error) if matches!(error.errno(), Some(libc::ENOTEMPTY | libc::EBUSY)) => Ok(()),
                done => done,
            },
        }
    }
}

/// As [`mount_bpffs`], for whoever wants to pin there.
pub(crate) fn mount_to_pin(root: &Path) -> Result<()> {
    mount_bpffs(root).map_err(|error| {
        let error = error.context("pinning needs bpffs");
        let is_explained = error.rule().is_some() || error.help().is_some();
        if is_explained { error } else { error.with_help(how_to_mount(&root.to_string_lossy())) }
    })
}

/// Pins at `to`, in one step and whatever is there, by way of `beside`, where a run that was killed may have left a
/// pin.
pub(crate) fn pin_over(fd: BorrowedFd<'_>, beside: &Path, to: &Path) -> Result<()> {
    match pin_in_bpffs(fd, beside) {
        Err(error) if error.errno() == Some(libc::EEXIST) => {
            unpin(beside)?;
            pin_in_bpffs(fd, beside)?;
        }
        done => done?,
    }
    replace(beside, to)
}

/// Fails if `fd` is known to be something else than what is `wanted`.
pub(crate) fn expect(wanted: Kind, fd: BorrowedFd<'_>) -> Result<()> {
    match kind(fd) {
        Some(found) if found != wanted => {
            let message = format!("expected a {wanted}, found a {found}");
            Err(Error::new(ErrorKind::Conflict, message).with_cause(Cause::OtherKind))
        }
        _ => Ok(()),
    }
}

/// A path as messages show it.
pub(crate) fn show(path: &Path) -> String {
    quote(&path.to_string_lossy()).into()
}

fn obj_get(path: &Path, is_elsewhere: fn(&Path) -> bool) -> Result<Option<OwnedFd>> {
    match bpf::obj_get(&c_path(path)?) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(explain(Cmd::OBJ_GET, path, errno, is_elsewhere)),
    }
}

/// Whether `path` is known to be in no bpffs.
fn is_elsewhere(path: &Path) -> bool {
    matches!(is_bpffs(path), Ok(false))
}

/// The kernel answers EPERM or EACCES to a directory, to a path on another file system and to a name with a dot, which
/// reads as if a privilege were missing.
fn explain(cmd: Cmd, path: &Path, errno: Errno, is_elsewhere: fn(&Path) -> bool) -> Error {
    let error = Error::os(&cmd.call(), show(path), errno.0);
    let name = path.file_name().map(Path::new);
    if !is_barred(&error) {
        // ENOSYS is how some filters refuse bpf(2) altogether.
        let error = if errno == Errno::EEXIST { error.with_cause(Cause::Exists) } else { error };
        explain_refusal(error, &[Privilege::Bpf])
    } else if path.is_dir() {
        let words = format!("{} is a directory, not a pin", show(path));
        error.with_kind(ErrorKind::Conflict).with_cause(Cause::OtherKind).context(words)
    } else if is_elsewhere(path) {
        let words = format!("{} is not in a bpffs", show(path));
        error.with_kind(ErrorKind::InvalidInput).with_cause(Cause::NotBpffs).context(words)
    } else if errno == Errno::EPERM && name.is_some_and(has_dot) {
        error.with_kind(ErrorKind::InvalidInput).context("the kernel allows no dot in a pin's name")
    } else if errno == Errno::EPERM {
        // A directory bars the way with EACCES: this is about bpf(2) itself.
        explain_refusal(error, &[Privilege::Bpf])
    } else {
        let access = if cmd == Cmd::OBJ_PIN { Access::Make } else { Access::Open };
        explain_path(error, path, access)
    }
}

/// Whether a directory or a file may be what refuses.
fn is_barred(error: &Error) -> bool {
    error.errno().is_some_and(|errno| [libc::EPERM, libc::EACCES, libc::EROFS].contains(&errno))
}

/// What is to be there already is in no bpffs that the caller could have for its own.
fn as_root(error: Error) -> Error {
    match error.remedy() {
        Some(Remedy::UseBpffs) => error.with_help("run it as root, with sudo for instance"),
        _ => error,
    }
}

/// Says so if it is the file system at `path` that can be read alone.
fn explain_read_only(error: Error, path: &Path) -> Error {
    if error.errno() == Some(libc::EROFS) { explain_path(error, path, Access::Make) } else { error }
}

fn has_dot(path: &Path) -> bool {
    path.as_os_str().as_bytes().contains(&b'.')
}

fn io_error(call: &str, path: &Path, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(errno) => Error::os(call, show(path), errno),
        None => Error::new(ErrorKind::InvalidInput, format!("{call} for {} failed: {error}", show(path))),
    }
}

fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::new(ErrorKind::InvalidInput, format!("pin path {} has a NUL byte", show(path))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_a_nul_byte_reaches_no_call() {
        assert_eq!(get(Path::new("a\0b")).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
