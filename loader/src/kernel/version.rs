//! The kernel's version, for the one field that wants it and for messages; never to guess a feature from.

use std::fmt;

use crate::error::{Error, ErrorKind, Result, quote};
use crate::sys::os;

/// A release of the kernel, `6.1.76`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    /// `6`
    pub major: u16,
    /// `1`
    pub minor: u16,
    /// `76`
    pub patch: u16,
}

impl KernelVersion {
    /// The release that the running kernel was made from.
    ///
    /// That is not always what uname(2) calls it: Ubuntu's `5.15.0-91-generic` was made from 5.15.131, which
    /// `/proc/version_signature` tells, and Debian's `6.1.0-18-amd64` from 6.1.76, which its build string tells.
    pub fn current() -> Result<Self> {
        let (release, version) =
            os::release_and_version().map_err(|errno| Error::os("uname(2)", "the kernel", errno.0))?;
        let signature = std::fs::read_to_string("/proc/version_signature").unwrap_or_default();
        Self::find(&signature, &version, &release).ok_or_else(|| {
            let release = quote(&release);
            Error::new(
                ErrorKind::Malformed,
                format!("expected a kernel release such as 6.1.76, found {release}"),
            )
        })
    }

    /// The release at the start of `text`: `6.1.76`, `6.18-rc3` or `5.10.0-28-amd64`.
    pub fn parse(text: &str) -> Option<Self> {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut numbers = text[..end].trim_end_matches('.').split('.').map(str::parse);
        let major = numbers.next()?.ok()?;
        let minor = numbers.next()?.ok()?;
        let patch = numbers.next().unwrap_or(Ok(0)).ok()?;
        Some(Self { major, minor, patch })
    }

    /// `LINUX_VERSION_CODE`, which `BPF_PROG_LOAD` takes as `kern_version`.
    ///
    /// The kernel compares it for kprobes alone, and since 5.0 not at all. A patch number above 255 is sent as 255,
    /// as the kernel's own Makefile does since 4.4.256 and 4.9.256.
    pub fn code(self) -> u32 {
        u32::from(self.major) << 16 | u32::from(self.minor.min(255)) << 8 | u32::from(self.patch.min(255))
    }

    /// `signature` is Ubuntu's file, or empty; `version` and `release` are those of uname(2).
    fn find(signature: &str, version: &str, release: &str) -> Option<Self> {
        let ubuntu = signature.split_whitespace().last();
        let debian = version.split_once("Debian ").map(|(_, package)| package);
        [ubuntu, debian, Some(release)].into_iter().flatten().find_map(Self::parse)
    }
}

impl fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(signature: &str, version: &str, release: &str) -> String {
        KernelVersion::find(signature, version, release).map_or("none".to_owned(), |found| found.to_string())
    }

    #[test]
    fn the_release_is_what_the_kernel_was_made_from() {
        let ubuntu = "Ubuntu 5.15.0-91.101-generic 5.15.131\n";
        assert_eq!(find(ubuntu, "#101-Ubuntu SMP", "5.15.0-91-generic"), "5.15.131");
        let debian = "#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)";
        assert_eq!(find("", debian, "6.1.0-18-amd64"), "6.1.76");
        assert_eq!(find("", "#1 SMP Debian 6.12.9-1~bpo12+1", "6.12.9+bpo-amd64"), "6.12.9");
        assert_eq!(find("", "#1 SMP PREEMPT", "6.18.44-edge"), "6.18.44");
    }

    #[test]
    fn parts_that_are_no_number_end_the_release() {
        assert_eq!(find("", "", "6.18-rc3"), "6.18.0");
        assert_eq!(find("", "", "4.9.337"), "4.9.337");
        assert_eq!(find("", "", "6."), "none");
        assert_eq!(find("", "", "six"), "none");
        assert_eq!(find("", "", ""), "none");
    }

    #[test]
    fn the_code_is_the_one_of_the_kernel_headers() {
        assert_eq!(KernelVersion { major: 6, minor: 1, patch: 76 }.code(), 0x0006_014c);
        assert_eq!(KernelVersion { major: 4, minor: 9, patch: 337 }.code(), 0x0004_09ff);
    }
}
