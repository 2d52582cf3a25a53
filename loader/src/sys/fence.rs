//! Memory that ends where the process may not go on, for calls that copy more than they should.

use std::num::NonZeroUsize;
use std::ptr::NonNull;
use std::{ffi::c_void, slice};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

use super::Errno;
use super::os::page_size;

/// A copy of some bytes, behind which comes a page that nobody may use: to copy more than them is EFAULT.
#[derive(Debug)]
pub(crate) struct Fence {
    /// The whole mapping: what may be used, and the page behind it.
    start: NonNull<c_void>,
    mapped: NonZeroUsize,
    /// Where the copy begins, and how long it is.
    offset: usize,
    len: usize,
}

impl Fence {
    pub(crate) fn new(bytes: &[u8]) -> Result<Self, Errno> {
        let page = page_size().ok_or(Errno::EINVAL)? as usize;
        let usable = bytes.len().checked_next_multiple_of(page).ok_or(Errno::ENOMEM)?;
        let mapped = usable.checked_add(page).and_then(NonZeroUsize::new).ok_or(Errno::ENOMEM)?;
        // SAFETY: the kernel chooses the address, so that no memory of ours is replaced.
        let start = unsafe { mmap_anonymous(None, mapped, ProtFlags::PROT_NONE, MapFlags::MAP_PRIVATE) }?;
        let mut fence = Self { start, mapped, offset: usable - bytes.len(), len: bytes.len() };
        if usable > 0 {
            // SAFETY: so many bytes were just mapped there, and nobody else knows of them.
            unsafe { mprotect(start, usable, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE) }?;
        }
        fence.bytes_mut().copy_from_slice(bytes);
        Ok(fence)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: from `offset` on, `len` bytes of the mapping may be read until `drop`.
        unsafe { slice::from_raw_parts(self.start.as_ptr().byte_add(self.offset).cast(), self.len) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and written; `self` is borrowed alone.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr().byte_add(self.offset).cast(), self.len) }
    }
}

impl Drop for Fence {
    fn drop(&mut self) {
        // SAFETY: the slices of this memory were borrowed from `self`. A refusal leaves it mapped, which is no harm.
        let _ = unsafe { munmap(self.start, self.mapped.get()) };
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn nothing_is_copied_beyond_the_bytes() {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        for len in [0, 1, 8, 4096, 5000] {
            let bytes: Vec<u8> = (0..=250).cycle().take(len).collect();
            let mut fence = Fence::new(&bytes).unwrap();
            assert_eq!(fence.bytes(), bytes);
            fence.bytes_mut().fill(7);
            assert!(fence.bytes().iter().all(|&byte| byte == 7));
            near.write_all(&[9; 16]).unwrap();
            // SAFETY: a page that nobody may use is what the kernel must not write to.
            let read = unsafe { libc::read(std::os::fd::AsRawFd::as_raw_fd(&far), behind(&fence), 16) };
            assert_eq!((read, Errno::last()), (-1, Errno(libc::EFAULT)));
            far.read_exact(&mut [0; 16]).unwrap();
        }
    }

    fn behind(fence: &Fence) -> *mut c_void {
        fence.start.as_ptr().wrapping_byte_add(fence.offset + fence.len)
    }
}
