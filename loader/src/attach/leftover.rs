//! What the loading of a program on trial has made or changed beside it, and how that is taken back.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc::{EBUSY, ENOENT, ENOTEMPTY};

use crate::error::{Error, ErrorKind, Result};
use crate::kernel::{duplicate, program_ids};
use crate::map::{Map, UpdateFlags};
use crate::pin;
use crate::plan::beside;
use crate::program::Program;
use crate::uapi::bpf::MapType;

/// Something that the loading of a program has made or changed beside it.
#[derive(Debug)]
pub enum Leftover {
    /// A pin, which goes if it is still the same one, and of no map that somebody else has begun to use.
    Pin(PathBuf),
    /// A directory, which goes if it is empty.
    Directory(PathBuf),
    /// A bpffs that was mounted here, which goes if nobody uses it.
    Bpffs(PathBuf),
    /// A pin that was one of another map.
    MovedPin {
        /// The pin.
        path: PathBuf,
        /// The map that was pinned there.
        before: OwnedFd,
        /// The map that is.
        now: OwnedFd,
    },
    /// An entry of a prog array or of a map of maps that others may use.
    Entry {
        /// The array or the map of maps.
        map: OwnedFd,
        /// Its key.
        key: u32,
        /// What was there, a program or a map; none if nothing.
        before: Option<OwnedFd>,
        /// What is there.
        now: OwnedFd,
    },
}

impl Leftover {
    /// Which pin it is, if it is one: the number that a bpffs gives to each file in it.
    pub(super) fn inode(&self) -> Option<u64> {
        let Self::Pin(path) = self else { return None };
        inode(path)
    }

    /// Takes it back as after a failed load: what somebody else has begun to use or has changed stays, and what is gone
    /// is gone. It was `inode` when the program on trial was loaded, which was not later than `loaded` after the start
    /// of the machine.
    pub(super) fn take_back(&self, inode: Option<u64>, loaded: Option<Duration>) -> Result<()> {
        let done = match self {
            Self::Pin(path) if is_another(path, inode) || is_used_since(path, loaded) => Ok(()),
            Self::Pin(path) => pin::unpin(path),
            Self::Directory(path) => pin::remove_dir(path),
            Self::Bpffs(path) => pin::unmount_empty_bpffs(path),
            Self::MovedPin { path, before, now } => put_pin_back(path, before, now),
            Self::Entry { map, key, before, now } => put_entry_back(map, *key, before.as_ref(), now),
        };
        done.or_else(|error| if is_no_more_ours(&error) { Ok(()) } else { Err(error) })
    }

    /// It in words, but for the fds.
    pub(super) fn words(&self) -> Vec<String> {
        let (kind, words) = match self {
            Self::Pin(path) => ("pin", vec![shown(path)]),
            Self::Directory(path) => ("directory", vec![shown(path)]),
            Self::Bpffs(path) => ("bpffs", vec![shown(path)]),
            Self::MovedPin { path, .. } => ("moved", vec![shown(path)]),
            Self::Entry { key, before: Some(_), .. } => ("entry", vec![key.to_string()]),
            Self::Entry { key, before: None, .. } => ("new entry", vec![key.to_string()]),
        };
        [vec![kind.to_owned()], words].concat()
    }

    pub(super) fn fds(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Pin(_) | Self::Directory(_) | Self::Bpffs(_) => Vec::new(),
            Self::MovedPin { before, now, .. } => vec![before.as_fd(), now.as_fd()],
            Self::Entry { map, before, now, .. } => {
                [map, now].into_iter().chain(before).map(AsFd::as_fd).collect()
            }
        }
    }

    /// The opposite of [`words`](Self::words), whose first was `kind`, and [`fds`](Self::fds).
    pub(super) fn read<'w>(
        kind: &str,
        mut words: impl Iterator<Item = &'w str>,
        mut fds: impl Iterator<Item = OwnedFd>,
    ) -> Option<Self> {
        let word = words.next()?;
        let mut entry = |is_new: bool| {
            let (map, now) = (fds.next()?, fds.next()?);
            let before = if is_new { None } else { Some(fds.next()?) };
            Some(Self::Entry { map, key: word.parse().ok()?, before, now })
        };
        Some(match kind {
            "pin" => Self::Pin(word.into()),
            "directory" => Self::Directory(word.into()),
            "bpffs" => Self::Bpffs(word.into()),
            "entry" => entry(false)?,
            "new entry" => entry(true)?,
            "moved" => Self::MovedPin { path: word.into(), before: fds.next()?, now: fds.next()? },
            _ => return None,
        })
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn inode(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|file| file.ino())
}

fn is_another(path: &Path, inode: Option<u64>) -> bool {
    inode.is_some() && self::inode(path) != inode
}

/// Whether a map is pinned at `path` that a program uses which was loaded later than `loaded`. Who may not ask about
/// all programs finds none.
fn is_used_since(path: &Path, loaded: Option<Duration>) -> bool {
    let map = Map::open_pinned(path).and_then(|map| map.info());
    let (Some(loaded), Ok(map)) = (loaded, map) else { return false };
    let mut programs =
        program_ids().map_while(Result::ok).filter_map(|id| Program::from_id(id).ok()?.info().ok());
    programs.any(|info| info.load_time > loaded && info.map_ids.contains(&map.id))
}

fn is_no_more_ours(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound || matches!(error.errno(), Some(ENOENT | ENOTEMPTY | EBUSY))
}

fn put_pin_back(path: &Path, before: &OwnedFd, now: &OwnedFd) -> Result<()> {
    if Map::open_pinned(path)?.info()?.id != id_of_map(now)? {
        return Ok(());
    }
    pin::pin_over(before.as_fd(), Path::new(&beside(&path.to_string_lossy())), path)
}

fn put_entry_back(map: &OwnedFd, key: u32, before: Option<&OwnedFd>, now: &OwnedFd) -> Result<()> {
    let map = Map::from_fd(duplicate(map, "what is put back")?)?;
    let key = key.to_ne_bytes();
    let now = match map.map_type() {
        MapType::PROG_ARRAY => Program::with_info(duplicate(now, "what is put back")?)?.1.id,
        _ => id_of_map(now)?,
    };
    let there = map.lookup(&key)?;
    if there.as_ref().and_then(|value| value.single()) != Some(&now.to_ne_bytes()) {
        return Ok(());
    }
    match before {
        Some(before) => map.update_fd(&key, before, UpdateFlags::ANY),
        None => map.delete(&key).map(drop),
    }
}

fn id_of_map(fd: &OwnedFd) -> Result<u32> {
    Ok(Map::with_info(duplicate(fd, "what is put back")?)?.1.id)
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn fd() -> OwnedFd {
        File::open("/dev/null").unwrap().into()
    }

    #[test]
    fn each_is_read_as_it_was_told() {
        let all = [
            Leftover::Pin("/p".into()),
            Leftover::Directory("/d".into()),
            Leftover::Bpffs("/b".into()),
            Leftover::MovedPin { path: "/m".into(), before: fd(), now: fd() },
            Leftover::Entry { map: fd(), key: 7, before: Some(fd()), now: fd() },
            Leftover::Entry { map: fd(), key: 8, before: None, now: fd() },
        ];
        for leftover in &all {
            let words = leftover.words();
            let read = |fds: usize| {
                Leftover::read(&words[0], words[1..].iter().map(String::as_str), (0..fds).map(|_| fd()))
            };
            let fds = leftover.fds().len();
            let again = read(fds).unwrap();
            assert_eq!((again.words(), again.fds().len()), (words.clone(), fds));
            assert!(fds == 0 || read(fds - 1).is_none(), "{leftover:?}");
        }
        assert!(Leftover::read("what", ["ever"].into_iter(), std::iter::empty()).is_none());
    }
}
