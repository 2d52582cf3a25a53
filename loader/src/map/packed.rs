//! Many entries at once as the kernel copies them: keys behind keys, values behind values, nothing allocated for each.

use super::elements::lacks_batch;
use super::entries::has_buckets;
use super::{Map, UpdateFlags};
use crate::error::{Error, Result};
use crate::sys::Errno;
use crate::sys::map::Batch;
use crate::uapi::bpf::{Cmd, MapType};

/// Entries of a call in bulk: enough that the call itself costs nothing beside them.
const PAGE_ENTRIES: usize = 16_384;

impl Map {
    /// `value` as [`Map::update_packed`] takes it: for a per-CPU map, once for each possible CPU.
    pub fn pack(&self, value: &[u8]) -> Result<Vec<u8>> {
        self.check_value(value)?;
        let mut bytes = value.to_vec();
        if self.map_type().is_per_cpu() {
            bytes.resize(value.len().next_multiple_of(8), 0);
            bytes = bytes.repeat(self.value_bytes()? / bytes.len().max(1));
        }
        Ok(bytes)
    }

    /// The values of a per-CPU map, one for each possible CPU, in order, as [`Map::update_packed`] takes them.
    pub fn pack_per_cpu(&self, values: &[&[u8]]) -> Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.value_bytes()?);
        for value in values {
            self.check_value(value)?;
            bytes.extend_from_slice(value);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        if self.map_type().is_per_cpu() && bytes.len() == self.value_bytes()? {
            return Ok(bytes);
        }
        let wanted = "one value for each possible CPU of a per-CPU map";
        let (count, map_type) = (values.len(), self.map_type());
        Err(self.misfit(format_args!("expected {wanted}, found {count} for a {map_type}")))
    }

    /// Writes as many entries as there are keys in `keys`, one behind the other, with the values in `values` likewise:
    /// calls of `BPF_MAP_UPDATE_BATCH` (5.6), or of `BPF_MAP_UPDATE_ELEM` where the kernel or the map's type has it
    /// not. An entry that is there already is overwritten. [`Error::done`] is how many of the first were written.
    pub fn update_packed(&self, keys: &[u8], values: &[u8]) -> Result<()> {
        self.write_packed(keys, values, lacks_batch)
    }

    /// The same, where a refused call in bulk is made up for one by one only if `is_lacking` says so of its errno.
    pub(super) fn write_packed(
        &self,
        keys: &[u8],
        values: &[u8],
        is_lacking: impl Fn(Errno) -> bool,
    ) -> Result<()> {
        let (key_size, value_bytes) = (self.key_size().max(1), self.value_bytes()?);
        let count = self.count_packed(keys.len(), key_size, "keys")?;
        if self.count_packed(values.len(), value_bytes, "values")? != count {
            return Err(self.misfit(format_args!("expected a value for each key")).after(0));
        }
        let mut done = 0;
        while done < count {
            let page = (count - done).min(PAGE_ENTRIES);
            let keys = &keys[done * key_size..][..page * key_size];
            let values = &values[done * value_bytes..][..page * value_bytes];
            let (answer, written) = self.fd.update_batch(keys, values, page);
            done += written;
            match answer {
                Ok(()) => {}
                Err(errno) if written == 0 && is_lacking(errno) => {
                    for (key, value) in keys.chunks_exact(key_size).zip(values.chunks_exact(value_bytes)) {
                        let answer = self.write(key, value, UpdateFlags::ANY);
                        answer.map_err(|error| error.after(done))?;
                        done += 1;
                    }
                }
                Err(errno) => {
                    let key = &keys[(written * key_size).min(keys.len() - key_size)..][..key_size];
                    let error = self.update_error(Cmd::MAP_UPDATE_BATCH, key, UpdateFlags::ANY, errno);
                    return Err(error.after(done));
                }
            }
        }
        Ok(())
    }

    /// Deletes the entries of the keys in `keys`, one behind the other, and returns how many there were; see
    /// [`Map::delete_batch`].
    pub fn delete_packed(&self, keys: &[u8]) -> Result<usize> {
        self.count_packed(keys.len(), self.key_size().max(1), "keys").map_err(|error| error.after(0))?;
        self.delete_batch(keys.chunks_exact(self.key_size().max(1)))
    }

    /// Gives all entries to `give`, one or more at a time: keys one behind the other, and the values likewise. A
    /// per-CPU value is one for each possible CPU, each padded to a multiple of 8 bytes.
    ///
    /// Reads by `BPF_MAP_LOOKUP_BATCH` (5.6), and as [`Map::entries`] does where the kernel or the map's type has it
    /// not. An entry that is there from the first call to the last is given once.
    pub fn scan(&self, mut give: impl FnMut(&[u8], &[u8])) -> Result<()> {
        self.scan_pages(&mut give)
    }

    fn scan_pages(&self, give: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let (key_size, value_bytes) = (self.key_size(), self.value_bytes()?);
        if !is_read_to_the_end(self.map_type()) {
            return self.scan_entries(give);
        }
        let mut size = PAGE_ENTRIES.min(self.max_entries().max(1) as usize);
        let (mut from, mut to) = (None::<Vec<u8>>, vec![0; self.fd.place_bytes()]);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        loop {
            keys.resize(key_size * size, 0);
            values.resize(value_bytes * size, 0);
            let batch = Batch { from: from.as_deref(), to: &mut to, keys: &mut keys, values: &mut values };
            let (answer, count) = self.fd.lookup_batch(batch, size);
            match answer {
                Err(errno) if from.is_none() && count == 0 && lacks_batch(errno) => {
                    return self.scan_entries(give);
                }
                // A bucket has more entries than there is room for; it has no more than the map.
                Err(Errno::ENOSPC) if size <= self.max_entries() as usize => size *= 2,
                Ok(()) | Err(Errno::ENOENT) => {
                    if count > 0 {
                        give(&keys[..count * key_size], &values[..count * value_bytes]);
                    }
                    if answer != Ok(()) || count == 0 {
                        return Ok(());
                    }
                    from = Some(to.clone());
                }
                Err(errno) => return Err(Error::os(&Cmd::MAP_LOOKUP_BATCH.call(), &self.label, errno.0)),
            }
        }
    }

    fn scan_entries(&self, give: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        for entry in self.entries() {
            let entry = entry?;
            give(&entry.key, entry.value.bytes());
        }
        Ok(())
    }

    fn count_packed(&self, len: usize, size: usize, what: &str) -> Result<usize> {
        if len % size == 0 {
            return Ok(len / size);
        }
        Err(self.misfit(format_args!("expected {what} of {size} bytes, found {len} bytes in all")))
    }
}

/// Whether pages alone give each entry of such a map once. The walk of a trie may start over, and before 6.14 a page
/// ends with EINTR at an empty place of an array of maps, and so do all that begin there (`generic_map_lookup_batch()`
/// in `kernel/bpf/syscall.c`): [`Map::entries`] takes care of both.
fn is_read_to_the_end(map_type: MapType) -> bool {
    has_buckets(map_type) || matches!(map_type, MapType::ARRAY | MapType::PERCPU_ARRAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_alone_where_they_cannot_stop_or_start_over() {
        for whole in [MapType::ARRAY, MapType::PERCPU_ARRAY, MapType::LRU_HASH, MapType::HASH_OF_MAPS] {
            assert!(is_read_to_the_end(whole), "{whole}");
        }
        for other in [MapType::ARRAY_OF_MAPS, MapType::LPM_TRIE, MapType::DEVMAP, MapType::SOCKMAP] {
            assert!(!is_read_to_the_end(other), "{other}");
        }
    }
}
