//! A network namespace other than the one of this process.

use std::ffi::OsStr;
use std::fmt::{self, Display};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result, quote};
use crate::kernel::duplicate;
use crate::sys::{self, Errno};

/// Where ip-netns(8) keeps the namespaces that have a name.
const NAMED: &str = "/run/netns";

/// An open network namespace. It lives on while this does, even when its last process and its name are gone.
#[derive(Debug)]
pub struct NetNs {
    /// As the user said it.
    label: String,
    fd: OwnedFd,
}

impl NetNs {
    /// The namespace that `ip netns add NAME` made.
    pub fn named(name: &str) -> Result<Self> {
        if matches!(name, "" | "." | "..") || name.contains(['/', '\0']) {
            let message = format!("{} cannot name a network namespace", quote(name));
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Self::open(name.to_owned(), &PathBuf::from(NAMED).join(name))
    }

    /// The namespace whose file is at `path`, such as `/proc/PID/ns/net`.
    pub fn at(path: impl AsRef<Path>) -> Result<Self> {
        Self::open(path.as_ref().display().to_string(), path.as_ref())
    }

    /// Every namespace that has a name in /run/netns and may be looked at.
    pub fn all_named() -> Result<Vec<Self>> {
        Ok(files_in(Path::new(NAMED))?.iter().filter_map(|path| Self::at(path).ok()).collect())
    }

    /// Every namespace that has a name or a process and may be looked at, and the refusal of one that may not: to look
    /// at the processes of others takes CAP_SYS_PTRACE. What only an fd or a mount elsewhere holds is not among them.
    pub fn all() -> Result<(Vec<Self>, Option<Error>)> {
        let named = files_in(Path::new(NAMED))?;
        let processes = files_in(Path::new("/proc"))?.into_iter().filter(|path| is_process(path));
        let (mut all, mut seen, mut refusal) = (Vec::new(), Vec::new(), None);
        for path in named.into_iter().chain(processes.map(|path| path.join("ns/net"))) {
            let namespace = match Self::at(&path) {
                // The process has ended, or is about to, when it may not be looked at either.
                Err(error)
                    if error.kind() == ErrorKind::NotFound
                        || error.errno() == Some(libc::ESRCH)
                        || !path.ancestors().nth(2).is_some_and(Path::exists) =>
                {
                    continue;
                }
                Err(error) => {
                    refusal.get_or_insert(error);
                    continue;
                }
                Ok(namespace) => namespace,
            };
            let identity = namespace.identity()?;
            if !seen.contains(&identity) {
                seen.push(identity);
                all.push(namespace);
            }
        }
        Ok((all, refusal))
    }

    /// What tells it from others while it is open.
    pub(super) fn identity(&self) -> Result<(u64, u64)> {
        let file = File::from(self.try_clone()?.fd);
        let metadata = file.metadata().map_err(|error| Error::io("fstat(2)", self, &error))?;
        Ok((metadata.dev(), metadata.ino()))
    }

    fn open(label: String, path: &Path) -> Result<Self> {
        // A FIFO would not open before somebody writes to it.
        match File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
            Ok(file) => Ok(Self { label, fd: file.into() }),
            Err(error) => Err(open_error(&label, path, error.raw_os_error().unwrap_or(libc::EIO))),
        }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// A second handle of the same namespace.
    pub(super) fn try_clone(&self) -> Result<Self> {
        Ok(Self { label: self.label.clone(), fd: duplicate(&self.fd, self)? })
    }

    /// Its name in /run/netns where it has one, otherwise a path to it.
    pub(super) fn name(&self) -> String {
        let name = self.label.strip_prefix(NAMED).map_or(&*self.label, |name| name.trim_start_matches('/'));
        name.to_owned()
    }

    /// Runs `call` in this namespace, on a thread of its own.
    pub fn run<T: Send>(&self, call: impl FnOnce() -> T + Send) -> Result<T> {
        sys::netns::in_namespace(self.fd.as_fd(), call).map_err(|errno| match errno {
            Errno::EINVAL => Error::new(
                ErrorKind::InvalidInput,
                format!("{} is not a network namespace", quote(&self.label)),
            ),
            errno => Error::os("setns", self, errno.0),
        })
    }
}

/// In the words of an error: ``network namespace `edge` ``.
impl Display for NetNs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "network namespace {}", quote(&self.label))
    }
}

/// What is in a directory, which need not be there.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    match entries {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(Error::io("readdir(3)", quote(&directory.to_string_lossy()), &error)),
        Ok(entries) => Ok(entries.iter().map(fs::DirEntry::path).collect()),
    }
}

/// Whether this is the directory of a process in /proc.
fn is_process(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str);
    name.is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

fn open_error(label: &str, path: &Path, errno: i32) -> Error {
    if errno == libc::ENOENT {
        let message = format!("there is no network namespace {}", quote(label));
        return Error::new(ErrorKind::NotFound, message);
    }
    Error::os("open", quote(&path.display().to_string()), errno)
}
