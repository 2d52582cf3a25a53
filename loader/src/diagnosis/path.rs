//! Whose directory or file bars the way to a pin.

use super::Verdict;
use crate::error::{Remedy, escape, quote};

/// A directory or file on the way, or a pin.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathFacts {
    /// Where it is.
    pub path: String,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its permission bits, the last nine of `st_mode`.
    pub mode: u32,
    /// What is asked of it: [`SEARCH`](Self::SEARCH), [`WRITE`](Self::WRITE) and [`READ`](Self::READ), or none of
    /// them.
    pub wanted: u32,
    /// Whether its file system is mounted read-only.
    pub read_only: bool,
}

impl PathFacts {
    /// The right to pass through a directory, `S_IXOTH`. Like the others, it is the permission bit of others.
    pub const SEARCH: u32 = 1;
    /// The right to write, `S_IWOTH`.
    pub const WRITE: u32 = 2;
    /// The right to read, `S_IROTH`.
    pub const READ: u32 = 4;
}

/// The first on the way that does not let a process of this user and these groups do what it wants, in words.
pub fn who_bars(way: &[PathFacts], uid: u32, groups: &[u32]) -> Option<Verdict> {
    way.iter().find_map(|facts| {
        let path = quote(&facts.path);
        if facts.read_only && facts.wanted & PathFacts::WRITE != 0 {
            let rule = format!("the bpffs at {path} is mounted read-only");
            // With `bind`, a file system that is read-only itself would stay so.
            let command = format!("mount -o remount,rw {}", escape(&facts.path));
            let remedy = format!("{command}, or start the container without `:ro`");
            return Some(Verdict::new(rule, remedy));
        }
        let shift = match facts {
            PathFacts { uid: owner, .. } if *owner == uid => 6,
            PathFacts { gid, .. } if groups.contains(gid) => 3,
            _ => 0,
        };
        if facts.mode >> shift & facts.wanted == facts.wanted {
            return None;
        }
        let rule = format!(
            "{path} belongs to user {} with mode {:04o}, and this process is user {uid} without CAP_DAC_OVERRIDE",
            facts.uid, facts.mode
        );
        let own = format!("mount a bpffs of your own (mount -t bpf -o uid={uid} bpf DIR) and use ");
        Some(Verdict::new(rule, (own, Remedy::UseBpffs)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(path: &str, uid: u32, mode: u32, wanted: u32) -> PathFacts {
        PathFacts { path: path.to_owned(), uid, gid: uid, mode, wanted, read_only: false }
    }

    #[test]
    fn the_first_that_bars_the_way_is_named() {
        let way = [("/sys", 0o755), ("/sys/fs/bpf", 0o700)];
        let way = way.map(|(path, mode)| directory(path, 0, mode, PathFacts::SEARCH));
        let verdict = who_bars(&way, 65_534, &[65_534]).unwrap();
        let words = "`/sys/fs/bpf` belongs to user 0 with mode 0700, and this process is user 65534";
        assert!(verdict.rule.starts_with(words), "{}", verdict.rule);
        assert!(verdict.help.unwrap().to_string().contains("-o uid=65534"));
        assert_eq!(who_bars(&way, 0, &[0]), None);
    }

    #[test]
    fn groups_and_others_have_their_bits() {
        let wanted = PathFacts::READ | PathFacts::WRITE;
        let pin = |mode| [directory("/sys/fs/bpf/map", 0, mode, wanted)];
        assert_eq!(who_bars(&pin(0o660), 1000, &[7, 0]), None);
        assert!(who_bars(&pin(0o640), 1000, &[0]).is_some());
        assert_eq!(who_bars(&pin(0o666), 1000, &[7]), None);
    }

    #[test]
    fn a_read_only_bpffs_bars_who_writes() {
        let bpffs = |wanted| [PathFacts { read_only: true, ..directory("/sys/fs/bpf", 0, 0o777, wanted) }];
        assert_eq!(who_bars(&bpffs(PathFacts::SEARCH), 0, &[]), None);
        let verdict = who_bars(&bpffs(PathFacts::SEARCH | PathFacts::WRITE), 0, &[]).unwrap();
        assert_eq!(verdict.rule, "the bpffs at `/sys/fs/bpf` is mounted read-only");
        let help = verdict.help.unwrap().to_string();
        assert_eq!(help, "mount -o remount,rw /sys/fs/bpf, or start the container without `:ro`");
    }
}
