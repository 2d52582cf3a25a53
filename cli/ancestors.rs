//! The processes that this one descends from, as /proc tells of them.

use std::fs::File;
use std::io::Read as _;
use std::iter;

/// How far up is looked.
const MOST: usize = 32;

/// The parent of this process, its parent, and so on; not the machine's first process.
pub(crate) fn ancestors() -> impl Iterator<Item = u32> {
    let above = iter::successors(Some(std::os::unix::process::parent_id()), |&process| parent_of(process));
    above.take_while(|&process| process > 1).take(MOST)
}

/// The fourth field of stat is the parent; the second, in parentheses, may have blanks.
fn parent_of(process: u32) -> Option<u32> {
    let stat = String::from_utf8_lossy(&about(process, "stat")?).into_owned();
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

/// A file that the kernel has about a process. It does not say how long it is, and so there is room for most at once.
pub(crate) fn about(process: u32, what: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(1 << 14);
    File::open(format!("/proc/{process}/{what}")).ok()?.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_have_parents() {
        let parent = std::os::unix::process::parent_id();
        assert_eq!(parent_of(std::process::id()), Some(parent));
        assert_eq!(ancestors().next(), Some(parent).filter(|&parent| parent > 1));
    }
}
