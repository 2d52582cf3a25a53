//! Memory of the kernel that this process maps: its BTF, without a copy.

use std::num::NonZeroUsize;
use std::path::Path;
use std::ptr::NonNull;
use std::{ffi::c_void, slice};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use super::Errno;
use super::os::{is_on_sysfs, open_file};

/// The kernel's BTF (5.4).
pub(crate) const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Memory that is mapped for reading until this is dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    address: NonNull<c_void>,
    len: NonZeroUsize,
}

// SAFETY: the memory is read, never written, and belongs to no thread.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the kernel's BTF, which Linux 6.16 was the first to allow, and which never changes.
    ///
    /// EINVAL when another file is mounted in its place: one that could be changed or cut short while it is mapped,
    /// which would make a slice of it unsound.
    pub(crate) fn kernel_btf() -> Result<Self, Errno> {
        let failed = |error: std::io::Error| Errno(error.raw_os_error().unwrap_or(libc::EINVAL));
        let file = open_file(Path::new(KERNEL_BTF))?;
        let on_sysfs = is_on_sysfs(&file)?;
        let len = usize::try_from(file.metadata().map_err(failed)?.len()).unwrap_or_default();
        let len = NonZeroUsize::new(len).filter(|_| on_sysfs).ok_or(Errno::EINVAL)?;
        // SAFETY: the kernel chooses the address, so that no memory of ours is replaced.
        let address = unsafe { mmap(None, len, ProtFlags::PROT_READ, MapFlags::MAP_PRIVATE, &file, 0) }?;
        Ok(Self { address, len })
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `len` bytes are mapped at `address` until `drop`, and the kernel does not change them.
        unsafe { slice::from_raw_parts(self.address.as_ptr().cast(), self.len.get()) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the slices of this memory were borrowed from `self`. A refusal leaves it mapped, which is no harm.
        let _ = unsafe { munmap(self.address, self.len.get()) };
    }
}
