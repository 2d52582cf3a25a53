//! How many CPUs the kernel keeps a value of a per-CPU map for.

use std::io::Read as _;
use std::path::Path;

use super::Errno;
use super::os::{is_on_sysfs, open_file};

/// The file in which the kernel lists the CPUs that may ever come online (`drivers/base/cpu.c`).
pub(crate) const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// The number of possible CPUs, as the kernel's `num_possible_cpus()`.
///
/// Possible, not online: the kernel copies a value for each CPU that may ever come, and the two differ on virtual
/// machines that can grow. EBADMSG where the file does not hold a list of CPUs, or is not the kernel's own: containers
/// mount others over it. A refusal comes with the call that was refused.
pub(crate) fn possible() -> Result<usize, (&'static str, Errno)> {
    let mut file = open_file(Path::new(POSSIBLE)).map_err(|errno| ("open(2)", errno))?;
    let bad = ("read(2)", Errno(libc::EBADMSG));
    if !is_on_sysfs(&file).map_err(|errno| ("fstatfs(2)", errno))? {
        return Err(bad);
    }
    let mut list = String::new();
    let read = file.read_to_string(&mut list);
    read.map_err(|error| ("read(2)", Errno(error.raw_os_error().unwrap_or(libc::EBADMSG))))?;
    count(&list).ok_or(bad)
}

/// The number of CPUs in a list such as `0-3,8`. The CPUs of a list are in order, but may have gaps.
fn count(text: &str) -> Option<usize> {
    text.trim_end().split(',').try_fold(0_usize, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        Some(sum + usize::from(last.checked_sub(first)?) + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_are_counted_by_range_and_one_by_one() {
        assert_eq!(count("0\n"), Some(1));
        assert_eq!(count("0-127\n"), Some(128));
        assert_eq!(count("0-3,8,10-11\n"), Some(7));
    }

    #[test]
    fn what_is_no_list_of_cpus_is_refused() {
        for list in ["", "\n", "0-", "3-0", "a", "0,,1", "0-99999"] {
            assert_eq!(count(list), None, "{list:?}");
        }
    }
}
