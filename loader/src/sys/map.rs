//! A map's fd together with what the kernel says of the map's sizes: the commands whose buffers must fit them.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::{ptr, slice};

use super::attr::{MapBatch, MapCreate, MapElem, MapInfo};
use super::bpf::{address, address_mut, bpf, bpf_fd, map_info, number};
use super::fence::Fence;
use super::{Errno, cpus};
use crate::uapi::bpf::{Cmd, MapType};

/// Writes `bytes` to memory that programs read meanwhile: a number in one piece, so that none sees half of it.
///
/// # Safety
///
/// `place` must be followed by as many bytes that may be written.
unsafe fn store(place: *mut c_void, bytes: &[u8]) {
    let (dword, word) = (<[u8; 8]>::try_from(bytes), <[u8; 4]>::try_from(bytes));
    match (dword, word) {
        // SAFETY: there are eight bytes, and the place is fit for such a number.
        (Ok(dword), _) if place.cast::<u64>().is_aligned() => unsafe {
            place.cast::<u64>().write_volatile(u64::from_ne_bytes(dword));
        },
        // SAFETY: there are four bytes, and the place is fit for such a number.
        (_, Ok(word)) if place.cast::<u32>().is_aligned() => unsafe {
            place.cast::<u32>().write_volatile(u32::from_ne_bytes(word));
        },
        _ => {
            for (at, byte) in bytes.iter().enumerate() {
                // SAFETY: `at` is below the number of bytes.
                unsafe { place.cast::<u8>().add(at).write_volatile(*byte) };
            }
        }
    }
}

/// What is where the kernel has not written.
const UNTOUCHED: u8 = 0xa5;

/// A map's fd, which knows how many bytes the kernel reads and writes for a key and a value.
///
/// The only two ways to one are [`MapFd::create`], where the kernel has just taken these sizes, and
/// [`MapFd::from_fd`], where it has just told them; a map never changes its sizes. Every function below checks
/// its slices against them and answers EINVAL, without a call, where one does not fit.
///
/// How many CPUs a per-CPU value has comes from a file of the kernel's. Until a value has been copied that was not
/// longer than that file says, values are copied behind a [`Fence`], so that a wrong number gives EFAULT.
#[derive(Debug)]
pub(crate) struct MapFd {
    fd: OwnedFd,
    layout: Layout,
    /// Whether no more is copied for a value than `layout` says, as a call has shown.
    proven: AtomicBool,
}

impl From<MapFd> for OwnedFd {
    fn from(map: MapFd) -> Self {
        map.fd
    }
}

/// A map's type and sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) map_type: MapType,
    /// Bytes of a key.
    pub(crate) key_size: usize,
    /// Bytes of one value, on one CPU.
    pub(crate) value_size: usize,
    /// Bytes that the kernel copies for a value. None where that cannot be known, since the map's type is newer than
    /// this list of them, or since the number of CPUs cannot be read; then no value is read or written.
    pub(crate) value_bytes: Option<usize>,
    pub(crate) max_entries: u32,
}

impl Layout {
    fn new(map_type: u32, key_size: u32, value_size: u32, max_entries: u32) -> Self {
        let map_type = MapType(map_type);
        let (key_size, value_size) = (key_size as usize, value_size as usize);
        // bpf_map_value_size() in kernel/bpf/syscall.c, 6.18.
        let value_bytes = if map_type.is_per_cpu() {
            let stride = value_size.checked_next_multiple_of(8);
            stride.zip(cpus::possible().ok()).and_then(|(stride, cpus)| stride.checked_mul(cpus))
        } else {
            map_type.name().map(|_| value_size)
        };
        Self { map_type, key_size, value_size, value_bytes, max_entries }
    }
}

/// A part of memory that is a map's, or an event's, until it is dropped.
#[derive(Debug)]
pub(crate) struct Mapping {
    start: *mut c_void,
    len: usize,
}

// SAFETY: the memory is the process's and no thread's: whoever owns this may use it and unmap it on any of them.
unsafe impl Send for Mapping {}
// SAFETY: of what is shared nobody reads or writes but through the atomic words of `ArrayMemory`, `RingMemory`
// and `PerfRing`; `write` takes `&mut`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of the memory behind `fd`, from `offset` on, for what `protection` says.
    pub(super) fn new(fd: BorrowedFd<'_>, offset: usize, len: usize, protection: i32) -> Result<Self, Errno> {
        Self::at(None, fd, offset, len, protection)
    }

    /// The same at `address`, where nothing may be yet.
    fn at(
        address: Option<NonZeroUsize>,
        fd: BorrowedFd<'_>,
        offset: usize,
        len: usize,
        protection: i32,
    ) -> Result<Self, Errno> {
        let offset = libc::off_t::try_from(offset).map_err(|_| Errno::EINVAL)?;
        let there = if address.is_some() { libc::MAP_FIXED_NOREPLACE } else { 0 };
        let address = ptr::without_provenance_mut(address.map_or(0, NonZeroUsize::get));
        let (flags, fd) = (libc::MAP_SHARED | there, fd.as_raw_fd());
        // SAFETY: the new mapping takes the place of no other, for want of an address to be at, or since the kernel
        // refuses one where something is; before 4.17 it does not know the flag, and takes the address for a wish.
        let start = unsafe { libc::mmap(address, len, protection, flags, fd, offset) };
        if start == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(Self { start, len }) }
    }

    /// Where it begins, which is on a page.
    pub(super) fn start(&self) -> *mut c_void {
        self.start
    }

    /// Writes the first bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        if bytes.len() > self.len {
            return Err(Errno::EINVAL);
        }
        // SAFETY: so many bytes are mapped, to be written, and nobody else has been given their address.
        unsafe { store(self.start, bytes) };
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the whole of a mapping that was made here, and nobody has been given its address.
        unsafe { libc::munmap(self.start, self.len) };
    }
}

/// The values of an array, mapped into memory.
#[derive(Debug)]
pub(crate) struct ArrayMemory {
    mapping: Mapping,
    values: u32,
    /// Words of a value, and from one value to the next.
    words: usize,
    stride: usize,
}

impl ArrayMemory {
    /// The value at `index`, which is less than the array's number of entries, word by word: others may read and write
    /// it at any time.
    pub(crate) fn value(&self, index: u32) -> &[AtomicU32] {
        assert!(index < self.values, "entry {index} of an array with {} entries", self.values);
        let first = index as usize * self.stride;
        // SAFETY: the mapping has all strides of all values, begins on a page, and lives as long as what is given out;
        // and an atomic word may change while others hold it.
        unsafe { slice::from_raw_parts(self.mapping.start.cast::<AtomicU32>().add(first), self.words) }
    }
}

/// Where a batch lookup reads to and writes from.
pub(crate) struct Batch<'a> {
    /// The place to go on from, which an earlier call wrote to `to`; none for the start.
    pub(crate) from: Option<&'a [u8]>,
    /// Where the kernel writes the place that it got to, [`MapFd::place_bytes`] long.
    pub(crate) to: &'a mut [u8],
    pub(crate) keys: &'a mut [u8],
    pub(crate) values: &'a mut [u8],
}

impl MapFd {
    /// Creates a map: one call. The types of its entries are among those of `btf`.
    pub(crate) fn create(mut attr: MapCreate, btf: Option<BorrowedFd<'_>>) -> Result<Self, Errno> {
        let layout = Layout::new(attr.map_type, attr.key_size, attr.value_size, attr.max_entries);
        attr.btf_fd = btf.map_or(0, number);
        // SAFETY: the struct holds no address, and the answer is a new fd.
        let fd = unsafe { bpf_fd(Cmd::MAP_CREATE, &mut attr) }?;
        Ok(Self { fd, layout, proven: AtomicBool::new(false) })
    }

    /// Asks the kernel for the sizes of the map `fd`: one call.
    ///
    /// Should `fd` be no map, then the sizes are nonsense, and the kernel refuses all else with EINVAL.
    pub(crate) fn from_fd(fd: OwnedFd) -> Result<(Self, MapInfo), Errno> {
        let info = map_info(fd.as_fd())?;
        let layout = Layout::new(info.map_type, info.key_size, info.value_size, info.max_entries);
        Ok((Self { fd, layout, proven: AtomicBool::new(false) }, info))
    }

    /// Maps the first `len` bytes of the map into memory, to be read and written, where the kernel finds room.
    pub(crate) fn mmap(&self, len: u64) -> Result<Mapping, Errno> {
        let len = usize::try_from(len).map_err(|_| Errno::ENOMEM)?;
        self.mmap_part(0, len, libc::PROT_READ | libc::PROT_WRITE)
    }

    /// The same at `address`, where nothing may be yet; 0 is where the kernel finds room.
    pub(crate) fn mmap_at(&self, address: u64, len: u64) -> Result<Mapping, Errno> {
        let [address, len] = [address, len].map(|number| usize::try_from(number).map_err(|_| Errno::ENOMEM));
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        Mapping::at(NonZeroUsize::new(address?), self.fd.as_fd(), 0, len?, protection)
    }

    /// The same as [`MapFd::mmap`] for `len` bytes from `offset` on, for what `protection` says.
    pub(super) fn mmap_part(&self, offset: usize, len: usize, protection: i32) -> Result<Mapping, Errno> {
        Mapping::new(self.fd.as_fd(), offset, len, protection)
    }

    /// Maps all values of an array with `BPF_F_MMAPABLE` into memory. They must consist of whole words of 4 bytes.
    pub(crate) fn mmap_values(&self) -> Result<ArrayMemory, Errno> {
        let Layout { map_type, value_size, max_entries, .. } = self.layout;
        if map_type != MapType::ARRAY || value_size == 0 || value_size % size_of::<u32>() != 0 {
            return Err(Errno::EINVAL);
        }
        // array_map_mmap() and array_map_elem_ptr() in kernel/bpf/arraymap.c, 6.18.
        let stride = value_size.next_multiple_of(8);
        let mapping = self.mmap(stride as u64 * u64::from(max_entries))?;
        let [words, stride] = [value_size, stride].map(|bytes| bytes / size_of::<u32>());
        Ok(ArrayMemory { mapping, values: max_entries, words, stride })
    }

    /// A second fd of the same map.
    pub(crate) fn try_clone(&self) -> std::io::Result<Self> {
        let proven = AtomicBool::new(self.proven.load(Ordering::Relaxed));
        Ok(Self { fd: self.fd.try_clone()?, layout: self.layout, proven })
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Copies the value of `key` to `value`. A bloom filter reads `value`, and answers whether it has it.
    pub(crate) fn lookup(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.look(Cmd::MAP_LOOKUP_ELEM, key, value)
    }

    /// Copies the value of `key` to `value` and deletes the entry, in one step.
    pub(crate) fn lookup_and_delete(&self, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.look(Cmd::MAP_LOOKUP_AND_DELETE_ELEM, key, value)
    }

    fn look(&self, cmd: Cmd, key: &[u8], value: &mut [u8]) -> Result<(), Errno> {
        self.check(key.len(), value.len(), 1)?;
        let mut fence = self.fence(value)?;
        let place = fence.as_mut().map_or(&mut *value, Fence::bytes_mut);
        let mut attr = MapElem { key: address(key), value: address_mut(place), ..self.elem() };
        // SAFETY: the kernel reads a key and writes a value, whose lengths have been checked, or behind a fence.
        unsafe { bpf(cmd, &mut attr) }?;
        if let Some(fence) = fence {
            value.copy_from_slice(fence.bytes());
            self.proven.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes the value of `key`.
    pub(crate) fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
        self.check(key.len(), value.len(), 1)?;
        let fence = self.fence(value)?;
        let value = fence.as_ref().map_or(value, Fence::bytes);
        let mut attr = MapElem { key: address(key), value: address(value), flags, ..self.elem() };
        // SAFETY: the kernel reads a key and a value, whose lengths have been checked, or behind a fence.
        unsafe { bpf(Cmd::MAP_UPDATE_ELEM, &mut attr) }?;
        if fence.is_some() {
            self.proven.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Writes `bytes` at `offset` of the first value of an array with `BPF_F_MMAPABLE`, through its memory: programs on
    /// other CPUs see nothing else change.
    pub(crate) fn write_mapped(&self, offset: usize, bytes: &[u8]) -> Result<(), Errno> {
        let end = offset.checked_add(bytes.len()).filter(|&end| end > 0 && end <= self.layout.value_size);
        let end = end.filter(|_| self.layout.map_type == MapType::ARRAY).ok_or(Errno::EINVAL)?;
        let mapping = self.mmap(end as u64)?;
        // SAFETY: `offset` and all bytes behind it are below `end`, the length of the mapping, which nobody else of
        // this process has.
        unsafe { store(mapping.start.byte_add(offset), bytes) };
        Ok(())
    }

    /// Deletes the entry of `key`.
    pub(crate) fn delete(&self, key: &[u8]) -> Result<(), Errno> {
        fits(key.len(), self.layout.key_size, 1)?;
        let mut attr = MapElem { key: address(key), ..self.elem() };
        // SAFETY: the kernel reads a key, whose length has been checked.
        unsafe { bpf(Cmd::MAP_DELETE_ELEM, &mut attr) }.map(drop)
    }

    /// Copies to `next` the key that comes after `key`, or the first key. ENOENT after the last one.
    pub(crate) fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
        let key_size = self.layout.key_size;
        fits(key.map_or(key_size, <[u8]>::len), key_size, 1)?;
        fits(next.len(), key_size, 1)?;
        let key = key.map_or(0, address);
        let mut attr = MapElem { key, value: address_mut(next), ..self.elem() };
        // SAFETY: the kernel reads a key, if there is one, and writes a key; the lengths have been checked.
        unsafe { bpf(Cmd::MAP_GET_NEXT_KEY, &mut attr) }.map(drop)
    }

    /// Bytes of a place in [`Batch`]: a key, or the number of a hash bucket.
    pub(crate) fn place_bytes(&self) -> usize {
        self.layout.key_size.max(size_of::<u32>())
    }

    /// Copies the next `count` entries, or as many as there are. Beside the answer comes how many were copied, which
    /// counts for ENOENT too: it says that there are no more.
    pub(crate) fn lookup_batch(&self, batch: Batch<'_>, count: usize) -> (Result<(), Errno>, usize) {
        let Batch { from, to, keys, values } = batch;
        let place_bytes = self.place_bytes();
        let checked = self
            .check(keys.len(), values.len(), count)
            .and_then(|()| fits(from.map_or(place_bytes, <[u8]>::len), place_bytes, 1))
            .and_then(|()| fits(to.len(), place_bytes, 1));
        if let Err(errno) = checked {
            return (Err(errno), 0);
        }
        let mut fence = match self.fence(values) {
            Ok(fence) => fence,
            Err(errno) => return (Err(errno), 0),
        };
        let place = match &mut fence {
            Some(fence) => {
                fence.bytes_mut().fill(UNTOUCHED);
                fence.bytes_mut()
            }
            None => &mut *values,
        };
        let attr = MapBatch {
            in_batch: from.map_or(0, address),
            out_batch: address_mut(to),
            keys: address_mut(keys),
            values: address_mut(place),
            ..MapBatch::default()
        };
        // SAFETY: the kernel writes `count` keys and values and one place, and reads one place, if there is one. A
        // place is a key (generic_map_lookup_batch() in kernel/bpf/syscall.c) or 4 bytes (hashtab.c); all lengths
        // have been checked, or values are behind a fence.
        let answer = unsafe { self.batch(Cmd::MAP_LOOKUP_BATCH, attr, count) };
        let Some(fence) = fence else { return answer };
        let copied = values.len() / count.max(1) * answer.1;
        // Fewer entries than there is room for may be longer than expected, and have room all the same.
        if answer.1 > 0 && matches!(answer.0, Ok(()) | Err(Errno::ENOENT)) {
            if fence.bytes()[copied..].iter().any(|&byte| byte != UNTOUCHED) {
                return (Err(Errno(libc::EFAULT)), 0);
            }
            self.proven.store(true, Ordering::Relaxed);
        }
        values[..copied].copy_from_slice(&fence.bytes()[..copied]);
        answer
    }

    /// Writes `count` entries. Beside the answer comes how many the kernel wrote.
    pub(crate) fn update_batch(
        &self,
        keys: &[u8],
        values: &[u8],
        count: usize,
    ) -> (Result<(), Errno>, usize) {
        if let Err(errno) = self.check(keys.len(), values.len(), count) {
            return (Err(errno), 0);
        }
        let fence = match self.fence(values) {
            Ok(fence) => fence,
            Err(errno) => return (Err(errno), 0),
        };
        let values = fence.as_ref().map_or(values, Fence::bytes);
        let attr = MapBatch { keys: address(keys), values: address(values), ..MapBatch::default() };
        // SAFETY: the kernel reads `count` keys and values, whose lengths have been checked, or values behind a fence.
        unsafe { self.batch(Cmd::MAP_UPDATE_BATCH, attr, count) }
    }

    /// Deletes `count` entries. Beside the answer comes how many the kernel deleted.
    pub(crate) fn delete_batch(&self, keys: &[u8], count: usize) -> (Result<(), Errno>, usize) {
        if let Err(errno) = fits(keys.len(), self.layout.key_size, count) {
            return (Err(errno), 0);
        }
        let attr = MapBatch { keys: address(keys), ..MapBatch::default() };
        // SAFETY: the kernel reads `count` keys, whose length has been checked.
        unsafe { self.batch(Cmd::MAP_DELETE_BATCH, attr, count) }
    }

    /// # Safety
    ///
    /// The addresses in `attr` must be good for `count` keys and values and for the places.
    unsafe fn batch(&self, cmd: Cmd, mut attr: MapBatch, count: usize) -> (Result<(), Errno>, usize) {
        let Ok(wanted) = u32::try_from(count) else {
            return (Err(Errno::E2BIG), 0);
        };
        attr.map_fd = number(self.fd());
        attr.count = wanted;
        // SAFETY: the caller's promise.
        let answer = unsafe { bpf(cmd, &mut attr) }.map(drop);
        // A call that fails before it starts leaves the count that we sent, and one that fails on the way has not
        // done all of it; only a lookup that comes to its end may have.
        let started = answer.is_ok() || attr.count < wanted || answer == Err(Errno::ENOENT);
        (answer, if started { attr.count.min(wanted) as usize } else { 0 })
    }

    /// A copy of `values` for the kernel, where their length depends on what no call has shown yet.
    fn fence(&self, values: &[u8]) -> Result<Option<Fence>, Errno> {
        let needed = self.layout.map_type.is_per_cpu() && !self.proven.load(Ordering::Relaxed);
        needed.then(|| Fence::new(values)).transpose()
    }

    fn elem(&self) -> MapElem {
        MapElem { map_fd: number(self.fd()), ..MapElem::default() }
    }

    /// Whether the slices hold `count` keys and values.
    fn check(&self, keys: usize, values: usize, count: usize) -> Result<(), Errno> {
        let value_bytes = self.layout.value_bytes.ok_or(Errno::EOPNOTSUPP)?;
        fits(keys, self.layout.key_size, count)?;
        fits(values, value_bytes, count)
    }
}

fn fits(len: usize, size: usize, count: usize) -> Result<(), Errno> {
    if size.checked_mul(count) == Some(len) { Ok(()) } else { Err(Errno::EINVAL) }
}
