//! What this process may do and what stands in its way, gathered where the kernel tells it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::str::SplitWhitespace;

use crate::diagnosis::{Capabilities, PathFacts, Permissions, Seccomp};
use crate::sys::os;
use crate::uapi::capability::Capability;

/// What /proc/self/ns/user leads to in the machine's first user namespace: `PROC_USER_INIT_INO` in
/// `include/linux/proc_ns.h`.
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

/// What the calling thread may do: capget(2), getrlimit(2), and some files of /proc and /sys. What cannot be read is
/// none. Nothing is tried: `blank` and `memcg_accounting` stay open.
pub fn permissions() -> Permissions {
    let status = Status::current();
    Permissions {
        capabilities: Capabilities::current().ok(),
        bounding: status.bits("CapBnd").map(Capabilities::from_bits),
        last_capability: read("/proc/sys/kernel/cap_last_cap").and_then(|number| number.parse().ok()),
        uid: status.fourth("Uid").unwrap_or_default(),
        in_user_namespace: fs::read_link("/proc/self/ns/user")
            .ok()
            .map(|place| place != Path::new(FIRST_USER_NAMESPACE)),
        seccomp: status
            .first("Seccomp")
            .map(|mode| Seccomp { mode, filters: status.first("Seccomp_filters") }),
        lockdown: read("/sys/kernel/security/lockdown").and_then(|list| chosen(&list)),
        security_modules: read("/sys/kernel/security/lsm"),
        unprivileged_bpf_disabled: read("/proc/sys/kernel/unprivileged_bpf_disabled")
            .and_then(|number| number.parse().ok()),
        memlock: os::memlock().ok().map(|(soft, _)| soft),
        memcg_accounting: None,
        blank: None,
        sys_is_read_only: os::is_read_only(Path::new("/sys")).ok(),
    }
}

/// What is to be done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// What is there is opened, to be read and written.
    Open,
    /// Something is made there.
    Make,
}

impl Access {
    /// What it asks of what is so many steps above the path.
    fn wanted(self, above: usize) -> u32 {
        match (self, above) {
            (Self::Open, 0) => PathFacts::READ | PathFacts::WRITE,
            // Nothing is there yet.
            (Self::Make, 0) => 0,
            (Self::Make, 1) => PathFacts::SEARCH | PathFacts::WRITE,
            _ => PathFacts::SEARCH,
        }
    }
}

/// The directories that lead to `path`, and what is there, as far as they can be looked at. The mount that the last
/// directory is in may be read-only.
pub(crate) fn way_to(path: &Path, access: Access, is_read_only: bool) -> Vec<PathFacts> {
    let above_all = Capabilities::current().is_ok_and(|held| held.has(Capability::DAC_OVERRIDE));
    let mut ancestors: Vec<_> = path.ancestors().collect();
    ancestors.reverse();
    let last = ancestors.len().saturating_sub(1);
    let mount = path.parent().filter(|_| is_read_only).map(mount_of);
    let facts = |(at, place): (usize, &&Path)| {
        let seen = fs::metadata(place).ok()?;
        let read_only = mount == Some(*place);
        // What is opened or made below is written there.
        let wanted = access.wanted(last - at) | if read_only { PathFacts::WRITE } else { 0 };
        Some(PathFacts {
            path: place.to_string_lossy().into_owned(),
            uid: seen.uid(),
            gid: seen.gid(),
            mode: if above_all { 0o777 } else { seen.mode() & 0o777 },
            wanted,
            read_only,
        })
    };
    ancestors.iter().enumerate().map_while(facts).collect()
}

/// The topmost directory above `directory` that is in the same file system, and read-only like it.
fn mount_of(directory: &Path) -> &Path {
    let device = |path: &Path| fs::metadata(path).ok().map(|seen| seen.dev());
    let own = device(directory);
    let is_inside = |path: &&Path| device(path) == own && os::is_read_only(path) == Ok(true);
    directory.ancestors().take_while(is_inside).last().unwrap_or(directory)
}

/// The user of the calling thread, and its groups, as file systems see them.
pub(super) fn user_and_groups() -> (u32, Vec<u32>) {
    let status = Status::current();
    let mut groups = status.numbers("Groups");
    groups.extend(status.fourth("Gid"));
    (status.fourth("Uid").unwrap_or_default(), groups)
}

/// The fields of /proc/thread-self/status.
struct Status(String);

impl Status {
    fn current() -> Self {
        Self(fs::read_to_string("/proc/thread-self/status").unwrap_or_default())
    }

    fn words<'s>(&'s self, name: &str) -> SplitWhitespace<'s> {
        let field = |line: &'s str| line.strip_prefix(name)?.strip_prefix(':');
        self.0.lines().find_map(field).unwrap_or_default().split_whitespace()
    }

    fn numbers(&self, name: &str) -> Vec<u32> {
        self.words(name).filter_map(|word| word.parse().ok()).collect()
    }

    /// A number in hexadecimal, as sets of capabilities are told.
    fn bits(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.words(name).next()?, 16).ok()
    }

    fn first(&self, name: &str) -> Option<u32> {
        self.numbers(name).first().copied()
    }

    /// Of the real, the effective, the saved and the one of file systems, the last.
    fn fourth(&self, name: &str) -> Option<u32> {
        self.numbers(name).get(3).copied()
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The word in brackets, as in `none [integrity] confidentiality`.
fn chosen(list: &str) -> Option<String> {
    let (_, rest) = list.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_by_field() {
        let text =
            "Uid:\t1\t2\t3\t4\nGroups:\t7 8 \nSeccomp:\t2\nSeccomp_filters:\t3\nCapBnd:\t00000000000000ff\n";
        let status = Status(text.to_owned());
        assert_eq!((status.fourth("Uid"), status.numbers("Groups")), (Some(4), vec![7, 8]));
        assert_eq!((status.first("Seccomp"), status.first("Seccomp_filters")), (Some(2), Some(3)));
        assert_eq!(
            (status.first("Gid"), status.bits("CapBnd"), status.bits("CapEff")),
            (None, Some(255), None)
        );
    }

    #[test]
    fn lockdown_is_the_word_in_brackets() {
        assert_eq!(chosen("none [integrity] confidentiality").as_deref(), Some("integrity"));
        assert_eq!(chosen("none"), None);
    }
}
