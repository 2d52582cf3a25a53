//! The system calls: the only module that may say `unsafe`.
//!
//! `attr` holds the kernel's structs, `bpf` one function per command of bpf(2), `map` the commands whose buffers
//! are as long as a map's keys and values, `cpus` the CPUs that a per-CPU value depends on, `fence` memory that
//! nobody writes beyond, `ring` and `perf` the memory that programs put records into, `mapping` the kernel's BTF
//! without a copy, `netlink` sockets to the kernel's families, `ethtool` what a driver tells, `netns` a call made in
//! another network namespace, `unix` descriptors handed to another process, `memory` what need not be in it, `os` the
//! other calls.
//! Nothing here knows an object file, a plan or an [`Error`](crate::error::Error): a refused call gives its
//! [`Errno`], and the caller, who knows what it was for, makes the message.
//!
//! # Safety
//!
//! bpf(2) takes addresses as numbers and reads and writes as many bytes there as the command and the map ask for,
//! so that a buffer that is too short is memory corruption. Three rules keep every function here safe to call:
//!
//! * addresses come from slices that outlive the call, and are put into a struct only in this module;
//! * lengths come from those slices where the kernel is told a length;
//! * where the kernel is told none, that is for keys and values, the slices are checked against what the kernel
//!   itself says of the map ([`map::MapFd`]), never against a file or a caller's word.
//!
//! Descriptors are borrowed for the call, and owned by whoever gets them from it.

#![allow(unsafe_code)]

pub(crate) mod attr;
pub(crate) mod bpf;
pub(crate) mod cpus;
pub(crate) mod ethtool;
pub(crate) mod fence;
pub(crate) mod map;
pub(crate) mod mapping;
pub(crate) mod memory;
pub(crate) mod netlink;
pub(crate) mod netns;
pub(crate) mod os;
pub(crate) mod perf;
pub(crate) mod ring;
pub(crate) mod unix;

/// The number by which the kernel says why it refused a call, as in errno(3).
///
/// A number and not nix's enum, which has no place for the ones that libc does not know: some map types answer
/// 524 to a batch command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Errno(pub(crate) i32);

impl Errno {
    pub(crate) const EBADF: Self = Self(libc::EBADF);
    pub(crate) const EPERM: Self = Self(libc::EPERM);
    pub(crate) const ENODEV: Self = Self(libc::ENODEV);
    pub(crate) const ENOENT: Self = Self(libc::ENOENT);
    pub(crate) const EINTR: Self = Self(libc::EINTR);
    pub(crate) const E2BIG: Self = Self(libc::E2BIG);
    pub(crate) const EAGAIN: Self = Self(libc::EAGAIN);
    pub(crate) const ENOMEM: Self = Self(libc::ENOMEM);
    pub(crate) const EEXIST: Self = Self(libc::EEXIST);
    pub(crate) const EINVAL: Self = Self(libc::EINVAL);
    pub(crate) const ENOSPC: Self = Self(libc::ENOSPC);
    pub(crate) const EOPNOTSUPP: Self = Self(libc::EOPNOTSUPP);

    /// The number that the last failed call of this thread left.
    fn last() -> Self {
        Self(nix::errno::Errno::last_raw())
    }
}

impl From<nix::errno::Errno> for Errno {
    fn from(errno: nix::errno::Errno) -> Self {
        Self(errno as i32)
    }
}
