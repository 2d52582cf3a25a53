//! Where the blocklist lives: maps and programs pinned under one directory of bpffs, and the lock of those who write.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, ThreadId};

use loader::kernel::permissions;
use loader::map::{Map, MapInfo};
use loader::uapi::bpf::MapType;
use loader::{Cause, Error, ErrorKind, Help, Result, pin, quote};
use nix::errno::Errno;
use nix::libc::{ENOENT, dev_t, ino_t};
use nix::sys::stat::{fstat, stat};

use crate::layout::{Config, LAYOUT};

/// The shape of a map: everything but its capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) map_type: MapType,
    pub(crate) key_size: u32,
    pub(crate) value_size: usize,
}

const fn shape(name: &'static str, map_type: MapType, key_size: u32, value_size: usize) -> Shape {
    Shape { name, map_type, key_size, value_size }
}

/// The maps of a blocklist: those of the object, and two that no program uses, `sets` and `holds`.
pub(crate) mod shapes {
    use super::{MapType, Shape, shape};
    use crate::layout::{Bucket, COUNTERS_SIZE, Cell, Config, Heads, Line, RuleValue, Set};

    pub(crate) const CONFIG: Shape = shape("config", MapType::ARRAY, 4, Config::SIZE);
    pub(crate) const HEADS: Shape = shape("heads", MapType::ARRAY, 4, Heads::SIZE);
    pub(crate) const FILTER: Shape = shape("filter", MapType::ARRAY, 4, Line::SIZE);
    pub(crate) const BUCKETS: Shape = shape("buckets", MapType::ARRAY, 4, Bucket::SIZE);
    pub(crate) const HITS: Shape = shape("hits", MapType::ARRAY, 4, RuleValue::HITS);
    pub(crate) const MARKS: Shape = shape("marks", MapType::ARRAY, 4, RuleValue::MARK);
    pub(crate) const WIDE: Shape = shape("wide", MapType::HASH, 20, RuleValue::SIZE);
    pub(crate) const TRIE6: Shape = shape("trie6", MapType::LPM_TRIE, 20, RuleValue::IN_TRIE);
    pub(crate) const ALLOW4: Shape = shape("allow4", MapType::LPM_TRIE, 8, 4);
    pub(crate) const ALLOW6: Shape = shape("allow6", MapType::LPM_TRIE, 20, 4);
    pub(crate) const COUNTERS: Shape = shape("counters", MapType::PERCPU_ARRAY, 4, COUNTERS_SIZE);
    pub(crate) const SETS: Shape = shape("sets", MapType::ARRAY, 4, Set::SIZE);
    pub(crate) const HOLDS: Shape = shape("holds", MapType::HASH, 24, 4);

    /// All of them.
    pub(crate) const ALL: [Shape; 13] =
        [CONFIG, HEADS, FILTER, BUCKETS, HITS, MARKS, WIDE, TRIE6, ALLOW4, ALLOW6, COUNTERS, SETS, HOLDS];
}

/// Refuses to put anything into a trie that this kernel cannot list: nobody would ever find it again.
pub(crate) fn refuse_unlisted(trie: &Map, what: &str) -> Result<()> {
    match trie.entries().next() {
        Some(Err(error)) if error.kind() == ErrorKind::Unsupported => {
            let message =
                format!("{what} cannot be kept: this kernel cannot list the entries of tries (Linux 4.16)");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        Some(Err(error)) => Err(error),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// The directory of bpffs with all that there is of a blocklist: its maps, its programs, and the lock of those who
/// write.
///
/// ```no_run
/// use blocklist::Blocklist;
///
/// # fn main() -> loader::Result<()> {
/// let blocklist = Blocklist::under("/sys/fs/bpf");
/// assert_eq!(blocklist.dir().to_str(), Some("/sys/fs/bpf/xdpload/block"));
/// match blocklist.try_lock()? {
///     Some(_lock) => println!("nobody else writes"),
///     None => println!("somebody else does"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Blocklist {
    dir: PathBuf,
    /// The lock that was taken last by this or a clone of it, and by which thread.
    taken: Arc<Mutex<Option<Taken>>>,
}

#[derive(Clone, Debug)]
struct Taken {
    by: ThreadId,
    lock: Weak<pin::Lock>,
}

/// Held by the one process that writes, until all clones are dropped. The kernel lets go of it when the process ends,
/// however it ends.
///
/// One [`Writer`](crate::Writer) at a time goes by a lock and its clones: another, as well as making and purging, is an
/// error of kind [`Conflict`](ErrorKind::Conflict) until that one is dropped.
#[derive(Clone, Debug)]
pub struct Lock {
    held: Arc<pin::Lock>,
    /// Whose it is.
    dir: PathBuf,
    /// Whether somebody has the [`Turn`].
    has_turn: Arc<AtomicBool>,
}

/// Of those who go by the same lock, the one who writes: what it has read stays so.
#[derive(Debug)]
pub(crate) struct Turn(Lock);

impl Lock {
    pub(crate) fn turn(&self) -> Result<Turn> {
        if self.has_turn.swap(true, Ordering::AcqRel) {
            let dir = quote(&self.dir.to_string_lossy()).to_string();
            let message = format!("a writer of the blocklist at {dir} goes by this lock still");
            return Err(Error::new(ErrorKind::Conflict, message));
        }
        Ok(Turn(self.clone()))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.has_turn.store(false, Ordering::Release);
    }
}

/// The file system of a file, and its number there.
pub(crate) type Inode = (dev_t, ino_t);

impl Blocklist {
    /// The blocklist at `dir`, which may be not there yet.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), taken: Arc::default() }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether there is a blocklist. A directory that nobody may look into is an error.
    pub fn exists(&self) -> Result<bool> {
        Ok(pin::get(self.path(shapes::CONFIG.name))?.is_some())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Opens a map of which the number of entries is known: whoever reads another one would read past its end.
    pub(crate) fn open_sized(&self, shape: &Shape, max_entries: u32) -> Result<Map> {
        let map = self.open(shape)?;
        let found = map.max_entries();
        if found == max_entries {
            return Ok(map);
        }
        Err(self.is_foreign(shape, &format!("max_entries is {found}, wanted {max_entries}")))
    }

    pub(crate) fn open(&self, shape: &Shape) -> Result<Map> {
        let path = self.path(shape.name);
        let fd = match pin::get(&path) {
            Ok(Some(fd)) => fd,
            Ok(None) if shape.name != shapes::CONFIG.name && self.exists()? => {
                return Err(self.lacks(shape.name));
            }
            Ok(None) => return Err(self.is_off()),
            Err(error) => return Err(self.explain(error)),
        };
        let (map, info) = Map::with_info(fd)?;
        match difference(shape, &info) {
            None => Ok(map),
            Some(difference) => Err(self.is_foreign(shape, &difference)),
        }
    }

    fn is_foreign(&self, shape: &Shape, difference: &str) -> Error {
        let path = self.path(shape.name);
        let path = quote(&path.to_string_lossy()).to_string();
        let message = format!("the map pinned at {path} is not of this program's blocklist: {difference}");
        Error::new(ErrorKind::Mismatch, message).with_help(self.of_another_release())
    }

    /// Refuses a blocklist that was not made to its end, and one whose rules are in other places than ours would be.
    pub(crate) fn check_layout(&self, config: &Config) -> Result<()> {
        if config.lines == 0 {
            return Err(self.is_off());
        }
        if config.layout != LAYOUT {
            let found = config.layout;
            let message = format!(
                "the blocklist at {} is laid out as another release does it: layout is {found}, wanted {LAYOUT}",
                self.shown()
            );
            return Err(Error::new(ErrorKind::Mismatch, message).with_help(self.of_another_release()));
        }
        Ok(())
    }

    /// Waits until nobody else writes, for as long as that takes.
    ///
    /// A thread that has the lock already would wait for itself: that is an error with the cause
    /// [`Locked`](Cause::Locked), as far as the lock was taken by this value or a clone of it.
    /// [`Writer::holding`](crate::Writer::holding) goes on with a lock that is there.
    pub fn lock(&self) -> Result<Lock> {
        self.refuse_to_wait_for_oneself()?;
        let lock = self.take(|dir| pin::lock(dir).map(Some))?;
        Ok(lock.expect("it was waited for"))
    }

    /// As [`Blocklist::lock`], without waiting: none if somebody else writes.
    pub fn try_lock(&self) -> Result<Option<Lock>> {
        self.take(|dir| pin::try_lock(dir))
    }

    fn take(&self, lock: impl Fn(&Path) -> Result<Option<pin::Lock>>) -> Result<Option<Lock>> {
        loop {
            let held = match lock(&self.dir) {
                Ok(Some(held)) => held,
                Ok(None) => return Ok(None),
                Err(error) if error.errno() == Some(ENOENT) => return Err(self.is_off()),
                Err(error) => return Err(self.explain(error)),
            };
            // Meanwhile there may have been another purge, and another blocklist may be there, with a lock of its own.
            if self.is_of_today(&held)? {
                let held = Arc::new(held);
                let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
                *taken = Some(Taken { by: thread::current().id(), lock: Arc::downgrade(&held) });
                return Ok(Some(Lock { held, dir: self.dir.clone(), has_turn: Arc::default() }));
            }
        }
    }

    fn refuse_to_wait_for_oneself(&self) -> Result<()> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let own = taken.filter(|taken| taken.by == thread::current().id());
        match own.and_then(|taken| taken.lock.upgrade()) {
            Some(held) if self.is_of_today(&held)? => {
                let message = format!(
                    "this thread has the lock of the blocklist at {} already, and would wait for itself",
                    self.shown()
                );
                Err(Error::new(ErrorKind::Conflict, message).with_cause(Cause::Locked))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a lock that keeps nobody off this blocklist.
    pub(crate) fn expect_own(&self, lock: &Lock) -> Result<()> {
        if self.is_of_today(&lock.held)? {
            return Ok(());
        }
        if lock.dir == self.dir {
            let message = format!("the blocklist at {} was removed after it was locked", self.shown());
            return Err(match self.inode(&self.dir)? {
                Some(_) => Error::new(ErrorKind::Conflict, message + ", and another is there now"),
                None => Error::new(ErrorKind::NotFound, message),
            });
        }
        let other = quote(&lock.dir.to_string_lossy()).to_string();
        let message =
            format!("the lock is that of the blocklist at {other}, not of the one at {}", self.shown());
        Err(Error::new(ErrorKind::InvalidInput, message))
    }

    /// Whether the directory that is locked is the one that is there.
    fn is_of_today(&self, held: &pin::Lock) -> Result<bool> {
        let locked = fstat(held).map_err(|errno| Error::os("fstat(2)", self.shown(), errno as i32))?;
        Ok(self.inode(&self.dir)? == Some((locked.st_dev, locked.st_ino)))
    }

    /// Which blocklist is there, if one is that this process may look at: another is made of other pins.
    pub(crate) fn which(&self) -> Option<Inode> {
        self.inode(&self.path(shapes::CONFIG.name)).ok().flatten()
    }

    fn inode(&self, path: &Path) -> Result<Option<Inode>> {
        match stat(path) {
            Ok(there) => Ok(Some((there.st_dev, there.st_ino))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::os("stat(2)", self.shown(), errno as i32)),
        }
    }

    fn is_off(&self) -> Error {
        Error::new(ErrorKind::NotFound, format!("there is no blocklist at {}", self.shown())).with_help((
            "",
            self.turning_on(),
            " makes one",
        ))
    }

    /// Of a blocklist whose pin `name` somebody has removed.
    pub(crate) fn lacks(&self, name: &str) -> Error {
        let message = format!("the blocklist at {} lacks the pin {}", self.shown(), quote(name));
        Error::new(ErrorKind::NotFound, message).with_help((
            "",
            self.purging(),
            " removes what is left of it, rules included",
        ))
    }

    /// What to do about a blocklist that this program cannot read.
    fn of_another_release(&self) -> Help {
        ("", self.purging(), " removes a blocklist that another release has made").into()
    }

    /// The mount that the directory is in.
    pub fn bpffs(&self) -> &Path {
        self.dir.ancestors().nth(2).unwrap_or(&self.dir)
    }

    /// Who is not root cannot get there, and root is refused by something else.
    fn explain(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::PermissionDenied || permissions().uid == 0 {
            return error;
        }
        let error = error.context(format!("the blocklist at {} is for root alone", self.shown()));
        error.with_help("run it as root, with sudo for instance")
    }

    pub(crate) fn shown(&self) -> String {
        quote(&self.dir.to_string_lossy()).into()
    }
}

/// Why a map that is pinned in the place of ours is none, if it is not.
fn difference(wanted: &Shape, found: &MapInfo) -> Option<String> {
    let value_size = found.value_size as usize;
    if found.map_type != wanted.map_type {
        Some(format!("map_type is {}, wanted {}", found.map_type, wanted.map_type))
    } else if found.key_size != wanted.key_size {
        Some(format!("key_size is {}, wanted {}", found.key_size, wanted.key_size))
    } else if value_size != wanted.value_size {
        Some(format!("value_size is {value_size}, wanted {}", wanted.value_size))
    } else {
        None
    }
}
