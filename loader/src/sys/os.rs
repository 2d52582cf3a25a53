//! The system calls beside bpf(2): file systems, resource limits, capabilities, the kernel's name.

use std::fs::File;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{AT_FDCWD, OFlag, open, openat};
use nix::mount::{MsFlags, mount, umount};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::sys::stat::Mode;
use nix::sys::statfs::{BPF_FS_MAGIC, FsType, fstatfs, statfs};
use nix::sys::statvfs::{FsFlags, statvfs};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{SysconfVar, sysconf};

use super::Errno;
use crate::uapi::capability::LINUX_CAPABILITY_VERSION_3;

/// `SYSFS_MAGIC` of `include/uapi/linux/magic.h`.
const SYSFS_MAGIC: i64 = 0x6265_6572;

/// Whether an open file is one of the kernel's below /sys, and not one that is mounted in its place.
pub(crate) fn is_on_sysfs(file: &File) -> Result<bool, Errno> {
    let FsType(magic) = fstatfs(file)?.filesystem_type();
    #[allow(clippy::unnecessary_cast, reason = "the type of the magic number differs by machine")]
    let magic = magic as i64;
    Ok(magic == SYSFS_MAGIC)
}

/// Whether the file system that `path` is on is a bpffs.
pub(crate) fn is_bpffs(path: &Path) -> Result<bool, Errno> {
    Ok(statfs(path)?.filesystem_type() == BPF_FS_MAGIC)
}

/// Whether the file system that an open file is on is a bpffs.
pub(crate) fn is_in_bpffs(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(fstatfs(fd)?.filesystem_type() == BPF_FS_MAGIC)
}

/// Whether the file system that `path` is on is mounted read-only.
pub(crate) fn is_read_only(path: &Path) -> Result<bool, Errno> {
    Ok(statvfs(path)?.flags().contains(FsFlags::ST_RDONLY))
}

/// Mounts a bpffs on the directory `path`, for root alone, as systemd does.
pub(crate) fn mount_bpffs(path: &Path) -> Result<(), Errno> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RELATIME;
    Ok(mount(Some("bpf"), path, Some("bpf"), flags, Some("mode=0700"))?)
}

/// Unmounts what is mounted on `path`.
pub(crate) fn unmount(path: &Path) -> Result<(), Errno> {
    Ok(umount(path)?)
}

/// Opens the file `path` to be read. By openat(2), because musl makes two system calls of open(2), for the sake of
/// kernels that do not know O_CLOEXEC.
pub(crate) fn open_file(path: &Path) -> Result<File, Errno> {
    loop {
        match openat(AT_FDCWD, path, OFlag::O_RDONLY | OFlag::O_LARGEFILE | OFlag::O_CLOEXEC, Mode::empty()) {
            Err(nix::Error::EINTR) => {}
            answer => return Ok(answer?.into()),
        }
    }
}

/// Opens the directory `path`.
pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(open(path, flags, Mode::empty())?)
}

/// Waits for the lock of the file behind `fd`, which goes when the last fd of this opening is closed. A signal that the
/// program handles does not end the waiting.
pub(crate) fn lock(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    loop {
        match flock(fd, libc::LOCK_EX) {
            Err(Errno(libc::EINTR)) => {}
            done => return done,
        }
    }
}

/// Takes the same lock if nobody has it, and tells whether it did.
pub(crate) fn try_lock(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    match flock(fd, libc::LOCK_EX | libc::LOCK_NB) {
        Ok(()) => Ok(true),
        Err(Errno(libc::EWOULDBLOCK)) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Lets go of that lock.
pub(crate) fn unlock(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    flock(fd, libc::LOCK_UN)
}

/// What `nix` offers lets go of the lock in a call of its own, where closing the fd is enough.
fn flock(fd: BorrowedFd<'_>, operation: libc::c_int) -> Result<(), Errno> {
    // SAFETY: the call takes numbers alone, and the fd is open.
    match unsafe { libc::flock(fd.as_raw_fd(), operation) } {
        0 => Ok(()),
        _ => Err(Errno::last()),
    }
}

/// How long the machine has run: the clock by which the kernel says when a program was loaded.
pub(crate) fn since_boot() -> Result<Duration, Errno> {
    Ok(clock_gettime(ClockId::CLOCK_BOOTTIME)?.into())
}

/// Bytes of a page of memory.
pub(crate) fn page_size() -> Option<u32> {
    u32::try_from(sysconf(SysconfVar::PAGE_SIZE).ok()??).ok()
}

/// RLIMIT_MEMLOCK of this process in bytes: the limit that holds, and the one up to which it may be raised. `u64::MAX`
/// is no limit.
pub(crate) fn memlock() -> Result<(u64, u64), Errno> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    Ok((in_bytes(soft, RLIM_INFINITY), in_bytes(hard, RLIM_INFINITY)))
}

/// Sets RLIMIT_MEMLOCK of this process, in bytes.
pub(crate) fn set_memlock(soft: u64, hard: u64) -> Result<(), Errno> {
    let [soft, hard] = [soft, hard].map(|bytes| as_limit(bytes, RLIM_INFINITY));
    Ok(setrlimit(Resource::RLIMIT_MEMLOCK, soft, hard)?)
}

/// A limit of the C library, which has 32 bits for one on some machines, and the largest number for `unlimited`.
fn in_bytes<T: Copy + Into<u64> + PartialEq>(limit: T, unlimited: T) -> u64 {
    if limit == unlimited { u64::MAX } else { limit.into() }
}

/// The other way round; what does not fit is as good as no limit.
fn as_limit<T: TryFrom<u64>>(bytes: u64, unlimited: T) -> T {
    bytes.try_into().unwrap_or(unlimited)
}

/// The kernel's release (`6.1.0-18-amd64`) and version (`#1 SMP PREEMPT_DYNAMIC Debian 6.1.76-1 (2024-02-01)`).
pub(crate) fn release_and_version() -> Result<(String, String), Errno> {
    let name = nix::sys::utsname::uname()?;
    Ok((name.release().to_string_lossy().into_owned(), name.version().to_string_lossy().into_owned()))
}

/// The effective capabilities of this thread, one bit each.
pub(crate) fn effective_capabilities() -> Result<u64, Errno> {
    /// `struct __user_cap_header_struct`; pid 0 is the calling thread.
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let mut header = Header { version: LINUX_CAPABILITY_VERSION_3, pid: 0 };
    // Two of `struct __user_cap_data_struct` (effective, permitted, inheritable): the low 32 bits, the high ones.
    let mut data = [[0_u32; 3]; 2];
    // SAFETY: version 3 of this call reads and writes the header, 8 bytes, and writes two structs of 12 bytes.
    let answer = unsafe {
        libc::syscall(libc::SYS_capget, std::ptr::from_mut(&mut header), std::ptr::from_mut(&mut data))
    };
    if answer != 0 {
        return Err(Errno::last());
    }
    Ok(u64::from(data[0][0]) | u64::from(data[1][0]) << 32)
}

/// What `fd` is, as the kernel names it in /proc: `bpf-map`, `bpf-prog`, `bpf_link`. None where it is something
/// else, or where /proc is not mounted.
pub(crate) fn bpf_kind(fd: BorrowedFd<'_>) -> Option<String> {
    let target = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()?;
    let kind = target.to_str()?.strip_prefix("anon_inode:")?.trim_matches(['[', ']']);
    kind.starts_with("bpf").then(|| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_32_bits_can_be_none_as_well() {
        assert_eq!([in_bytes(u32::MAX, u32::MAX), in_bytes(65536, u32::MAX)], [u64::MAX, 65536]);
        assert_eq!([as_limit(u64::MAX, u32::MAX), as_limit(65536, u32::MAX)], [u32::MAX, 65536]);
        assert_eq!([in_bytes(u64::MAX, u64::MAX), as_limit(u64::MAX, u64::MAX)], [u64::MAX; 2]);
    }
}
