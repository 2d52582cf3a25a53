//! Memory that this process has, but does not need while it waits.

use std::fs;
use std::ops::Range;

/// Gives back the pages of files that this process has mapped, has not changed and may not change: its code and its
/// constants. They come again when they are used. Gives how many bytes were mapped so.
pub(crate) fn give_back() -> usize {
    // Without /proc, the process stays as it is.
    let mappings = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let mut given = 0;
    for range in clean_files(&mappings) {
        let len = range.len();
        let address = std::ptr::with_exposed_provenance_mut(range.start);
        // SAFETY: the pages are a file's, private, not writable, and none of them differs from the file, so that the
        // next access finds in them what is in them now.
        let answer = unsafe { libc::madvise(address, len, libc::MADV_DONTNEED) };
        given += if answer == 0 { len } else { 0 };
    }
    given
}

/// The private mappings of files in the text of /proc/PID/smaps that may not be written and were not changed.
fn clean_files(smaps: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut current: Option<Range<usize>> = None;
    for line in smaps.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match words[..] {
            [addresses, permissions, _, _, _, path, ..] if addresses.contains('-') => {
                let is_fixed = matches!(permissions, "r-xp" | "r--p");
                current = range(addresses).filter(|_| is_fixed && path.starts_with('/'));
            }
            [addresses, ..] if addresses.contains('-') => current = None,
            // The last line that matters of those that describe a mapping.
            ["Anonymous:", "0", "kB"] => found.extend(current.take()),
            _ => {}
        }
    }
    found
}

fn range(text: &str) -> Option<Range<usize>> {
    let (start, end) = text.split_once('-')?;
    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_file_still_has_is_given_back() {
        let mapping = |head: &str, anonymous: u32| format!("{head}\nRss: 4 kB\nAnonymous: {anonymous} kB\n");
        let smaps = [
            mapping("1000-2000 r--p 00000000 08:01 7    /bin/x", 0),
            mapping("2000-3000 r-xp 00001000 08:01 7    /bin/x", 0),
            mapping("3000-4000 r--p 00002000 08:01 7    /bin/x", 4),
            mapping("4000-5000 rw-p 00003000 08:01 7    /bin/x", 0),
            mapping("5000-6000 r--s 00000000 08:01 8    /bin/y", 0),
            mapping("6000-7000 r-xp 00000000 00:00 0    [vdso]", 0),
            mapping("7000-8000 r--p 00000000 00:00 0", 0),
        ]
        .concat();
        assert_eq!(clean_files(&smaps), [0x1000..0x2000, 0x2000..0x3000]);
        assert_eq!(clean_files("garbage - x\nzz-yy r-xp 0 0 0 /x\nAnonymous: 0 kB"), []);
        // The process goes on with what it has given back.
        assert!(give_back() > 0);
        assert_eq!(clean_files(&smaps).len(), 2);
    }
}
