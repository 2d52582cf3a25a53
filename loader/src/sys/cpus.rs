//! The CPUs that the kernel keeps a value of a per-CPU map for.

use std::io::Read as _;
use std::ops::Range;
use std::path::Path;

use super::Errno;
use super::os::{is_on_sysfs, open_file};

/// The file in which the kernel lists the CPUs that may ever come online (`drivers/base/cpu.c`).
pub(crate) const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// What is said of a file that does not hold a list of CPUs.
const BAD: (&str, Errno) = ("read(2)", Errno(libc::EBADMSG));

/// The number of possible CPUs, as the kernel's `num_possible_cpus()`.
///
/// Possible, not online: the kernel copies a value for each CPU that may ever come, and the two differ on virtual
/// machines that can grow. EBADMSG where the file does not hold a list of CPUs, or is not the kernel's own: containers
/// mount others over it. A refusal comes with the call that was refused.
pub(crate) fn possible() -> Result<usize, (&'static str, Errno)> {
    Ok(ranges()?.iter().map(ExactSizeIterator::len).sum())
}

/// The numbers of these CPUs.
pub(crate) fn each_possible() -> Result<impl Iterator<Item = u32>, (&'static str, Errno)> {
    Ok(ranges()?.into_iter().flatten())
}

fn ranges() -> Result<Vec<Range<u32>>, (&'static str, Errno)> {
    let mut file = open_file(Path::new(POSSIBLE)).map_err(|errno| ("open(2)", errno))?;
    if !is_on_sysfs(&file).map_err(|errno| ("fstatfs(2)", errno))? {
        return Err(BAD);
    }
    let mut list = String::new();
    let read = file.read_to_string(&mut list);
    read.map_err(|error| ("read(2)", Errno(error.raw_os_error().unwrap_or(libc::EBADMSG))))?;
    parse(&list).ok_or(BAD)
}

/// The CPUs in a list such as `0-3,8`. They are in order, but may have gaps.
fn parse(text: &str) -> Option<Vec<Range<u32>>> {
    let range = |text: &str| {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        (first <= last).then(|| u32::from(first)..u32::from(last) + 1)
    };
    text.trim_end().split(',').map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpus(text: &str) -> Option<Vec<u32>> {
        parse(text).map(|ranges| ranges.into_iter().flatten().collect())
    }

    #[test]
    fn cpus_are_listed_by_range_and_one_by_one() {
        assert_eq!(cpus("0\n"), Some(vec![0]));
        assert_eq!(cpus("0-127\n"), Some((0..128).collect()));
        assert_eq!(cpus("0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
    }

    #[test]
    fn what_is_no_list_of_cpus_is_refused() {
        for list in ["", "\n", "0-", "3-0", "a", "0,,1", "0-99999"] {
            assert_eq!(cpus(list), None, "{list:?}");
        }
    }
}
