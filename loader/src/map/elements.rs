//! The entries of a map, one by one and in bulk.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use super::{Entries, Map, UpdateFlags, Value, is_indexed, raw};
use crate::error::{Cause, ENOTSUPP, Error, ErrorKind, Result};
use crate::sys::{Errno, cpus::POSSIBLE};
use crate::uapi::bpf::{Cmd, MapType};

/// A page of a bulk call: at most this many entries, and about this many bytes.
const PAGE_ENTRIES: usize = 4096;
const PAGE_BYTES: usize = 1 << 20;

impl Map {
    /// The value of `key`, or none if there is no such entry: one `BPF_MAP_LOOKUP_ELEM`.
    ///
    /// On a queue or stack, whose key is empty, it is the next value to come out.
    pub fn lookup(&self, key: &[u8]) -> Result<Option<Value>> {
        self.check_key(key)?;
        if self.map_type() == MapType::BLOOM_FILTER {
            let hint = "a bloom filter only tells whether it has a value";
            return Err(Error::new(ErrorKind::InvalidInput, format!("{}: {hint}", self.label)));
        }
        let mut bytes = vec![0; self.value_bytes()?];
        self.found(Cmd::MAP_LOOKUP_ELEM, self.fd.lookup(key, &mut bytes), bytes)
    }

    /// The value of `key`, taken out of the map in the same step: one `BPF_MAP_LOOKUP_AND_DELETE_ELEM` (queues and
    /// stacks 4.20, hashes 5.14).
    ///
    /// There is no way to do this in two calls without losing what a program writes between them.
    pub fn lookup_and_delete(&self, key: &[u8]) -> Result<Option<Value>> {
        self.check_key(key)?;
        let mut bytes = vec![0; self.value_bytes()?];
        self.found(Cmd::MAP_LOOKUP_AND_DELETE_ELEM, self.fd.lookup_and_delete(key, &mut bytes), bytes)
    }

    /// Whether a bloom filter has `value`, or seems to: one `BPF_MAP_LOOKUP_ELEM`.
    pub fn contains(&self, value: &[u8]) -> Result<bool> {
        let mut bytes = self.pack(value)?;
        Ok(self.found(Cmd::MAP_LOOKUP_ELEM, self.fd.lookup(&[], &mut bytes), Vec::new())?.is_some())
    }

    /// Writes the value of `key`: one `BPF_MAP_UPDATE_ELEM`. A per-CPU map gets the same value on each CPU.
    ///
    /// A queue, stack or bloom filter, whose key is empty, takes the value in.
    pub fn update(&self, key: &[u8], value: &[u8], flags: UpdateFlags) -> Result<()> {
        self.check_key(key)?;
        self.write(key, &self.pack(value)?, flags)
    }

    /// Writes `bytes` at `offset` of the first value of an array that may be mapped into memory (`BPF_F_MMAPABLE`,
    /// 5.5), as the maps of global variables may: one mmap(2). What programs write beside it meanwhile is not lost.
    pub fn write_in_place(&self, offset: usize, bytes: &[u8]) -> Result<()> {
        self.fd.write_mapped(offset, bytes).map_err(|errno| {
            let error = Error::os("mmap(2)", &self.label, errno.0).context("writing a part of a value");
            if errno.0 == ENOTSUPP {
                return error.with_help(
                    "the kernel lets no value be mapped that has a lock, a timer or a kernel pointer in it: put other \
                     variables into a section of their own",
                );
            }
            error
        })
    }

    /// Writes the values of `key` in a per-CPU map, one for each possible CPU, in order: one `BPF_MAP_UPDATE_ELEM`.
    pub fn update_per_cpu(&self, key: &[u8], values: &[&[u8]], flags: UpdateFlags) -> Result<()> {
        self.check_key(key)?;
        self.write(key, &self.pack_per_cpu(values)?, flags)
    }

    /// Puts `fd`, a map, program or socket, at `key` of a map whose values are such: one `BPF_MAP_UPDATE_ELEM`.
    ///
    /// `InvalidInput` for maps of other types, which would keep its number.
    pub fn update_fd(&self, key: &[u8], fd: impl AsFd, flags: UpdateFlags) -> Result<()> {
        let (fd, map_type) = (fd.as_fd(), self.map_type());
        if !self.holds_fds() {
            return Err(self.misfit(format_args!("expected a map whose values are fds, found {map_type}")));
        }
        match self.value_size() {
            8 => self.update(key, &u64::from(raw(fd)).to_ne_bytes(), flags),
            _ => self.update(key, &raw(fd).to_ne_bytes(), flags),
        }
    }

    /// Whether its values are fds where user space writes them. Where it reads them, they are ids, if it may.
    pub fn holds_fds(&self) -> bool {
        matches!(
            self.map_type(),
            MapType::PROG_ARRAY
                | MapType::PERF_EVENT_ARRAY
                | MapType::CGROUP_ARRAY
                | MapType::ARRAY_OF_MAPS
                | MapType::HASH_OF_MAPS
                | MapType::SOCKMAP
                | MapType::SOCKHASH
                | MapType::XSKMAP
                | MapType::REUSEPORT_SOCKARRAY
        )
    }

    /// Writes an entry of a devmap or a cpumap whose values have room for a program: `target`, which is an interface's
    /// number or a queue's length, and a program for such entries, or none: one `BPF_MAP_UPDATE_ELEM` (devmap 5.8,
    /// cpumap 5.9).
    ///
    /// The programs of a map, those that use it and those in it, all take multi-buffer packets or none does
    /// (`__bpf_prog_map_compatible()` in `kernel/bpf/core.c`): the kernel answers EINVAL to any other, and ENOMEM where
    /// the map is a cpumap.
    pub fn update_target(&self, key: &[u8], target: u32, program: Option<BorrowedFd<'_>>) -> Result<()> {
        let program = program.map_or(-1, |fd| fd.as_raw_fd());
        let value = [target.to_ne_bytes(), program.to_ne_bytes()];
        self.update(key, value.as_flattened(), UpdateFlags::ANY)
    }

    /// Deletes the entry of `key`, and tells whether there was one: one `BPF_MAP_DELETE_ELEM`.
    ///
    /// Of an array of interfaces, CPUs or XDP sockets the kernel does not tell, and the answer is that there was one.
    pub fn delete(&self, key: &[u8]) -> Result<bool> {
        self.check_key(key)?;
        match self.fd.delete(key) {
            Ok(()) => Ok(true),
            Err(Errno::ENOENT) => Ok(false),
            // So an array of sockets says that there is none (`__sock_map_delete()` in `net/core/sock_map.c`).
            Err(Errno::EINVAL) if self.map_type() == MapType::SOCKMAP => Ok(false),
            Err(errno) => Err(self.delete_error(Cmd::MAP_DELETE_ELEM, errno)),
        }
    }

    /// The key that comes after `key`, or the first key for none (4.12): one `BPF_MAP_GET_NEXT_KEY`. None after
    /// the last one.
    ///
    /// The order is the kernel's own. If `key` is not in the map, because it was deleted meanwhile, the kernel
    /// starts anew with the first key; [`Map::entries`] takes care of that.
    pub fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        if let Some(key) = key {
            self.check_key(key)?;
        }
        let mut next = vec![0; self.key_size()];
        match self.fd.next_key(key, &mut next) {
            Ok(()) => Ok(Some(next)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(Error::os(&Cmd::MAP_GET_NEXT_KEY.call(), &self.label, errno.0)),
        }
    }

    /// All entries, read in bulk where the kernel and the map's type can do so (5.6): see [`Entries`].
    pub fn entries(&self) -> Entries<'_> {
        Entries::new(self)
    }

    /// Deletes the entries of many keys, in bulk where the kernel and the map's type can do so (5.6), and returns
    /// how many there were: an error tells it too ([`Error::done`]). Keys without an entry are passed over.
    pub fn delete_batch<'e>(&self, keys: impl IntoIterator<Item = &'e [u8]>) -> Result<usize> {
        let mut deleted = 0;
        self.delete_pages(keys, &mut deleted)
            .map_err(|error| error.after(deleted).context(after(deleted)))?;
        Ok(deleted)
    }

    fn delete_pages<'e>(&self, keys: impl IntoIterator<Item = &'e [u8]>, deleted: &mut usize) -> Result<()> {
        let mut page = Page::new(self)?;
        for key in keys {
            self.check_key(key)?;
            page.push(key);
            if page.count == page.capacity {
                self.delete_page(&mut page, deleted)?;
            }
        }
        self.delete_page(&mut page, deleted)
    }

    /// Bytes that the kernel copies for a value.
    pub(super) fn value_bytes(&self) -> Result<usize> {
        self.fd.layout().value_bytes.ok_or_else(|| {
            let map_type = self.map_type();
            let cause = if map_type.is_per_cpu() {
                format!("the number of CPUs, which its values depend on, cannot be read from {POSSIBLE}")
            } else {
                format!("map type {map_type} is newer than this program, which does not know its values")
            };
            Error::new(ErrorKind::Unsupported, format!("{}: {cause}", self.label))
        })
    }

    /// How many entries a page of a bulk call has.
    pub(super) fn page_entries(&self) -> Result<usize> {
        let entry_bytes = self.key_size().saturating_add(self.value_bytes()?).max(1);
        Ok((PAGE_BYTES / entry_bytes).clamp(1, PAGE_ENTRIES))
    }

    fn delete_page(&self, page: &mut Page, deleted: &mut usize) -> Result<()> {
        let mut at = 0;
        while page.in_bulk && at < page.count {
            let (answer, gone) = self.fd.delete_batch(page.keys_from(at), page.count - at);
            *deleted += gone;
            at += gone;
            match answer {
                Ok(()) => at = page.count,
                // The kernel stops at a key without an entry.
                Err(Errno::ENOENT) => at += 1,
                Err(errno) if gone == 0 && lacks_batch(errno) => page.in_bulk = false,
                Err(errno) => {
                    return Err(self.delete_error(Cmd::MAP_DELETE_BATCH, errno));
                }
            }
        }
        for index in at..page.count {
            *deleted += usize::from(self.delete(page.key(index))?);
        }
        page.clear();
        Ok(())
    }

    /// `bytes` holds the value on each CPU.
    pub(super) fn write(&self, key: &[u8], bytes: &[u8], flags: UpdateFlags) -> Result<()> {
        self.fd
            .update(key, bytes, flags.0)
            .map_err(|errno| self.update_error(Cmd::MAP_UPDATE_ELEM, key, flags, errno))
    }

    fn found(&self, cmd: Cmd, answer: Result<(), Errno>, bytes: Vec<u8>) -> Result<Option<Value>> {
        match answer {
            Ok(()) => Ok(Some(Value::new(bytes, self.value_size(), self.map_type().is_per_cpu()))),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(self.lookup_error(cmd, errno)),
        }
    }

    /// Says what the errno of a lookup means for this type of map, where that is certain.
    pub(super) fn lookup_error(&self, cmd: Cmd, errno: Errno) -> Error {
        let error = Error::os(&cmd.call(), &self.label, errno.0);
        match (errno, self.map_type()) {
            // `sock_map_lookup_sys()` in `net/core/sock_map.c`
            (Errno::ENOSPC, MapType::SOCKMAP | MapType::SOCKHASH | MapType::REUSEPORT_SOCKARRAY) => {
                let size = self.value_size();
                error.context(format!("its values have {size} bytes, and what is told of a socket has 8"))
            }
            _ => error,
        }
    }

    fn check_key(&self, key: &[u8]) -> Result<()> {
        let (size, len) = (self.key_size(), key.len());
        if len == size {
            Ok(())
        } else {
            Err(self
                .misfit(format_args!("expected a key of {size} bytes, found {len}"))
                .with_cause(Cause::WrongSize))
        }
    }

    pub(super) fn check_value(&self, value: &[u8]) -> Result<()> {
        let (size, len) = (self.value_size(), value.len());
        if len == size {
            Ok(())
        } else {
            Err(self
                .misfit(format_args!("expected a value of {size} bytes, found {len}"))
                .with_cause(Cause::WrongSize))
        }
    }

    pub(super) fn misfit(&self, what: std::fmt::Arguments<'_>) -> Error {
        Error::new(ErrorKind::InvalidInput, format!("{}: {what}", self.label))
    }

    /// Says what the errno of a write means for this type of map, where that is certain.
    pub(super) fn update_error(&self, cmd: Cmd, key: &[u8], flags: UpdateFlags, errno: Errno) -> Error {
        let error = Error::os(&cmd.call(), &self.label, errno.0);
        let max_entries = self.max_entries();
        match errno {
            Errno::E2BIG if is_indexed(self.map_type()) => {
                let index = key.try_into().map_or(0, u32::from_ne_bytes);
                let words = format!("there is no index {index}: the map has {max_entries} entries");
                error.with_cause(Cause::OutOfRange).context(words)
            }
            _ if Some(errno) == self.full() => {
                error.with_cause(Cause::Full).context(format!("the map is full ({max_entries} entries)"))
            }
            Errno::EEXIST if flags == UpdateFlags::NO_EXIST => {
                error.with_cause(Cause::Exists).context("there is an entry with this key already")
            }
            Errno::ENOENT if flags == UpdateFlags::EXIST => {
                error.with_cause(Cause::Missing).context("there is no entry with this key")
            }
            Errno::EPERM if self.is_frozen().is_ok_and(|is_frozen| is_frozen) => error
                .with_kind(ErrorKind::InvalidInput)
                .with_cause(Cause::Frozen)
                .context("the map is frozen: only programs may change its entries, if anybody"),
            _ => error,
        }
    }

    /// The errno by which this type of map says that there is no room for another entry.
    fn full(&self) -> Option<Errno> {
        match self.map_type() {
            MapType::HASH
            | MapType::PERCPU_HASH
            | MapType::HASH_OF_MAPS
            | MapType::DEVMAP_HASH
            | MapType::SOCKHASH
            | MapType::QUEUE
            | MapType::STACK => Some(Errno::E2BIG),
            MapType::LPM_TRIE => Some(Errno::ENOSPC),
            _ => None,
        }
    }

    fn delete_error(&self, cmd: Cmd, errno: Errno) -> Error {
        let error = Error::os(&cmd.call(), &self.label, errno.0);
        match (errno, self.map_type()) {
            (Errno::EINVAL, MapType::ARRAY | MapType::PERCPU_ARRAY) => {
                error.context("the entries of an array cannot be deleted")
            }
            _ => error,
        }
    }
}

/// Whether a bulk call was refused since the kernel, or the type of map, has it not: before 5.6 the command is
/// unknown, later a type without it gives the kernel's own errno.
pub(super) fn lacks_batch(errno: Errno) -> bool {
    matches!(errno, Errno::EINVAL | Errno(ENOTSUPP) | Errno::EOPNOTSUPP)
}

pub(super) fn after(done: usize) -> String {
    format!("after {done} entries")
}

/// Keys of entries to be deleted, on their way to the kernel.
struct Page {
    keys: Vec<u8>,
    key_size: usize,
    count: usize,
    capacity: usize,
    /// Until the kernel says that it cannot.
    in_bulk: bool,
}

impl Page {
    fn new(map: &Map) -> Result<Self> {
        Ok(Self {
            keys: Vec::new(),
            key_size: map.key_size(),
            count: 0,
            capacity: map.page_entries()?,
            in_bulk: true,
        })
    }

    fn push(&mut self, key: &[u8]) {
        self.keys.extend_from_slice(key);
        self.count += 1;
    }

    fn key(&self, index: usize) -> &[u8] {
        &self.keys[index * self.key_size..][..self.key_size]
    }

    fn keys_from(&self, index: usize) -> &[u8] {
        &self.keys[index * self.key_size..]
    }

    fn clear(&mut self) {
        self.keys.clear();
        self.count = 0;
    }
}
