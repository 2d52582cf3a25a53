//! Reads what programs have put into a ring buffer.

use std::os::fd::{AsFd, BorrowedFd};

use super::Map;
use crate::error::{Error, Result};
use crate::sys::map::MapFd;
use crate::sys::ring::RingMemory;
use crate::uapi::bpf::MapType;

/// The reader of a `BPF_MAP_TYPE_RINGBUF` (5.8).
///
/// Its fd is readable to poll(2) and epoll(7) when there may be a record: programs wake whoever waits for it, unless
/// they have said `BPF_RB_NO_WAKEUP`.
///
/// The kernel keeps one reading position for the whole map: of several readers each would get some of the records, or
/// half of one.
///
/// ```no_run
/// # fn main() -> loader::Result<()> {
/// let mut events = loader::Map::open_pinned("/sys/fs/bpf/edge/maps/events")?.ring_buffer()?;
/// while let Some(record) = events.next_record() {
///     println!("{record:02x?}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RingBuffer {
    fd: MapFd,
    memory: RingMemory,
    record: Vec<u8>,
}

impl Map {
    /// Maps a ring buffer into memory to read it: two calls of mmap(2).
    pub fn ring_buffer(&self) -> Result<RingBuffer> {
        let (expected, found) = (MapType::RINGBUF, self.map_type());
        if found != expected {
            return Err(self.misfit(format_args!("expected a map of type {expected}, found {found}")));
        }
        let refused = |errno: crate::sys::Errno| Error::os("mmap(2)", &self.label, errno.0);
        let memory = self.fd.mmap_ring().map_err(refused)?;
        let fd = self.fd.try_clone().map_err(|error| Error::io("fcntl(2)", &self.label, &error))?;
        Ok(RingBuffer { fd, memory, record: Vec::new() })
    }
}

impl RingBuffer {
    /// The next record, in the order in which their places were reserved, without waiting: none if there is none, or if
    /// a program is still writing the next one. Records that were discarded are passed over.
    pub fn next_record(&mut self) -> Option<&[u8]> {
        self.memory.take(&mut self.record).then_some(&*self.record)
    }
}

impl AsFd for RingBuffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.fd()
    }
}
