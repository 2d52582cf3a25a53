//! The memory of a ring buffer: how far its reader has come, how far its writers have, and the records between.
//!
//! First comes a page that the reader writes, then one that the kernel writes, then the records, twice in a row, so
//! that one that goes on at the beginning is in one piece (`bpf_ringbuf_area_alloc()` in `kernel/bpf/ringbuf.c`, 6.18).

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::Errno;
use super::map::{MapFd, Mapping};
use super::os::page_size;
use crate::uapi::bpf::{BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT, BPF_RINGBUF_HDR_SZ, MapType};

/// Bytes of a word of a record.
const WORD: usize = size_of::<u64>();

/// A ring buffer, mapped into memory.
#[derive(Debug)]
pub(crate) struct RingMemory {
    consumer: Mapping,
    producer: Mapping,
    page: usize,
    /// Bytes of all records, a power of two.
    size: usize,
}

impl MapFd {
    /// Maps a ring buffer.
    pub(crate) fn mmap_ring(&self) -> Result<RingMemory, Errno> {
        let (layout, page) = (self.layout(), page_size().ok_or(Errno::EINVAL)? as usize);
        let size = layout.max_entries as usize;
        if layout.map_type != MapType::RINGBUF || !size.is_power_of_two() || size < page {
            return Err(Errno::EINVAL);
        }
        let mapped_twice =
            size.checked_mul(2).and_then(|size| size.checked_add(page)).ok_or(Errno::ENOMEM)?;
        let consumer = self.mmap_part(0, page, libc::PROT_READ | libc::PROT_WRITE)?;
        let producer = self.mmap_part(page, mapped_twice, libc::PROT_READ)?;
        Ok(RingMemory { consumer, producer, page, size })
    }
}

impl RingMemory {
    /// Copies the next record that was not discarded to `record`, and gives its place back to the writers. False if
    /// there is none, or if it is still being written.
    pub(crate) fn take(&mut self, record: &mut Vec<u8>) -> bool {
        loop {
            let position = self.consumed().load(Ordering::Relaxed);
            if position == self.produced().load(Ordering::Acquire) {
                return false;
            }
            let header = self.header(position).load(Ordering::Acquire);
            if header & BPF_RINGBUF_BUSY_BIT != 0 {
                return false;
            }
            let len = (header & !(BPF_RINGBUF_BUSY_BIT | BPF_RINGBUF_DISCARD_BIT)) as usize;
            let is_discarded = header & BPF_RINGBUF_DISCARD_BIT != 0;
            if !is_discarded {
                self.copy(position, len, record);
            }
            let next = position.wrapping_add((BPF_RINGBUF_HDR_SZ + len).next_multiple_of(WORD));
            self.consumed().store(next, Ordering::Release);
            if !is_discarded {
                return true;
            }
        }
    }

    /// The number of bytes that the reader is done with.
    fn consumed(&self) -> &AtomicUsize {
        // SAFETY: the page that the reader writes begins with it and lives as long as what is given out; and an atomic
        // word may change while others hold it.
        unsafe { &*self.consumer.start().cast() }
    }

    /// The number of bytes that writers have begun to write.
    fn produced(&self) -> &AtomicUsize {
        // SAFETY: the same is true of the page that the kernel writes.
        unsafe { &*self.producer.start().cast() }
    }

    /// The header of the record at this position: the first half of its word.
    fn header(&self, position: usize) -> &AtomicU32 {
        let word = self.words(position, BPF_RINGBUF_HDR_SZ).as_ptr();
        // SAFETY: a word has room for it, lives as long, and is no less aligned.
        unsafe { &*word.cast() }
    }

    /// Copies `len` bytes behind the header.
    fn copy(&self, position: usize, len: usize, record: &mut Vec<u8>) {
        record.clear();
        for word in self.words(position.wrapping_add(BPF_RINGBUF_HDR_SZ), len) {
            record.extend(word.load(Ordering::Relaxed).to_ne_bytes());
        }
        record.truncate(len);
    }

    /// The words of `len` bytes from a position on. There are never more than the buffer has: the second time that it
    /// is mapped ends with it.
    fn words(&self, position: usize, len: usize) -> &[AtomicU64] {
        let first = self.page + (position & (self.size - 1) & !(WORD - 1));
        let count = len.div_ceil(WORD).min(self.size / WORD);
        // SAFETY: `first` is in the first of two times that the records are mapped, and a whole number of words from
        // the beginning of a page; there are as many words behind it, which live as long as what is given out; and an
        // atomic word may change while others hold it.
        unsafe { std::slice::from_raw_parts(self.producer.start().byte_add(first).cast(), count) }
    }
}
