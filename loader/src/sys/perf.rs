//! Events that programs put records into, one for each CPU, and the memory of their rings.
//!
//! First comes a page with how far the kernel has written and the reader has read, then the records
//! (`struct perf_event_mmap_page` in `include/uapi/linux/perf_event.h`, 6.18).

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

use super::Errno;
use super::attr::kernel_struct;
use super::map::Mapping;
use super::os::page_size;
use crate::uapi::perf_event::{
    PERF_ATTR_SIZE_VER0, PERF_ATTR_WRITE_BACKWARD, PERF_COUNT_SW_BPF_OUTPUT, PERF_EVENT_IOC_PAUSE_OUTPUT,
    PERF_FLAG_FD_CLOEXEC, PERF_MMAP_DATA_HEAD, PERF_MMAP_DATA_TAIL, PERF_SAMPLE_RAW, PERF_TYPE_SOFTWARE,
};

kernel_struct! {
    /// `struct perf_event_attr`, as it first was. It holds no address.
    struct PerfEventAttr: 64 {
        r#type: u32 = 0,
        size: u32 = 4,
        config: u64 = 8,
        sample_period: u64 = 16,
        sample_type: u64 = 24,
        read_format: u64 = 32,
        /// The bit fields.
        flags: u64 = 40,
        wakeup_events: u32 = 48,
        bp_type: u32 = 52,
        config1: u64 = 56,
    }
}

/// Which way a ring is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Each record behind the last, as long as the reader makes room.
    Forward,
    /// Each record before the last, over the oldest ones.
    Backward,
}

/// The event of a CPU, and its ring.
#[derive(Debug)]
pub(crate) struct PerfRing {
    memory: Mapping,
    event: OwnedFd,
    direction: Direction,
    page: usize,
    /// Words of all records.
    words: usize,
}

impl PerfRing {
    /// Opens the event of a CPU with a ring of so many pages, a power of two. A refusal comes with the call that was
    /// refused: ENODEV by the first one where the CPU is not online.
    pub(crate) fn open(cpu: u32, pages: u32, direction: Direction) -> Result<Self, (&'static str, Errno)> {
        let event = open_event(cpu, direction).map_err(|errno| ("perf_event_open(2)", errno))?;
        let refused = |errno| ("mmap(2)", errno);
        let page = page_size().ok_or(refused(Errno::EINVAL))? as usize;
        let size = usize::try_from(pages).ok().and_then(|pages| pages.checked_mul(page));
        let len = size.and_then(|size| size.checked_add(page)).ok_or(refused(Errno::ENOMEM))?;
        // A ring that the reader cannot write to is overwritten (perf_mmap() in kernel/events/core.c, 6.18).
        let protection = match direction {
            Direction::Forward => libc::PROT_READ | libc::PROT_WRITE,
            Direction::Backward => libc::PROT_READ,
        };
        let memory = Mapping::new(event.as_fd(), 0, len, protection).map_err(refused)?;
        Ok(Self { memory, event, direction, page, words: (len - page) / size_of::<u64>() })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// How many bytes were written; less than 0 where they are written backward. What is before it is there to be read.
    pub(crate) fn head(&self) -> u64 {
        self.position(PERF_MMAP_DATA_HEAD).load(Ordering::Acquire)
    }

    /// Gives the kernel back the room of the first `tail` bytes. A ring that is written backward has no such number.
    pub(crate) fn set_tail(&mut self, tail: u64) {
        if self.direction == Direction::Forward {
            self.position(PERF_MMAP_DATA_TAIL).store(tail, Ordering::Release);
        }
    }

    /// Has the kernel write no records, which it counts as lost, or write them again.
    pub(crate) fn pause(&self, is_paused: bool) -> Result<(), Errno> {
        let (letter, number) = PERF_EVENT_IOC_PAUSE_OUTPUT;
        let request = libc::_IOW::<u32>(letter.into(), number.into());
        // SAFETY: this command takes a number for its argument, and the fd is open.
        let answer = unsafe { libc::ioctl(self.event.as_raw_fd(), request, libc::c_ulong::from(is_paused)) };
        if answer == -1 { Err(Errno::last()) } else { Ok(()) }
    }

    /// The records, word by word: the kernel may write to them at any time. There are as many words as a power of two.
    pub(crate) fn words(&self) -> &[AtomicU64] {
        // SAFETY: behind the first page so many words are mapped, from the beginning of a page on, which live as long
        // as what is given out; and an atomic word may change while others hold it.
        unsafe { std::slice::from_raw_parts(self.memory.start().byte_add(self.page).cast(), self.words) }
    }

    /// A number of the first page.
    fn position(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: `offset` is one of two that are in the first page and divisible by 8. The page lives as long as what
        // is given out, and an atomic word may change while others hold it.
        unsafe { &*self.memory.start().byte_add(offset).cast() }
    }
}

fn open_event(cpu: u32, direction: Direction) -> Result<OwnedFd, Errno> {
    let attr = PerfEventAttr {
        r#type: PERF_TYPE_SOFTWARE,
        size: PERF_ATTR_SIZE_VER0,
        config: PERF_COUNT_SW_BPF_OUTPUT,
        sample_period: 1,
        sample_type: PERF_SAMPLE_RAW,
        flags: if direction == Direction::Backward { PERF_ATTR_WRITE_BACKWARD } else { 0 },
        wakeup_events: 1,
        ..PerfEventAttr::default()
    };
    let cpu = i32::try_from(cpu).map_err(|_| Errno::EINVAL)?;
    let [cpu, every_process, no_group] = [cpu, -1, -1].map(libc::c_long::from);
    let flags = libc::c_ulong::from(PERF_FLAG_FD_CLOEXEC);
    // SAFETY: the kernel reads `size` bytes of the struct, which are its size.
    let answer = unsafe {
        libc::syscall(libc::SYS_perf_event_open, &raw const attr, every_process, cpu, no_group, flags)
    };
    let fd = i32::try_from(answer).ok().filter(|fd| *fd >= 0).ok_or_else(Errno::last)?;
    // SAFETY: the kernel has just opened it for this process.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// An fd that is readable when one of the rings has a new record.
pub(crate) fn watch<'a>(rings: impl IntoIterator<Item = &'a PerfRing>) -> Result<OwnedFd, Errno> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    for ring in rings {
        epoll.add(ring.fd(), EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    }
    Ok(epoll.0)
}
