//! Copies all entries of a map into another, where the sizes of keys and values are the same.
//!
//! What programs write to the first map meanwhile may be missing from the second. Per-CPU values keep their CPUs.

use super::elements::after;
use super::{Entries, Map, UpdateFlags, by_id_error};
use crate::error::{Context as _, Error, ErrorKind, Result};
use crate::sys::bpf;

impl Map {
    /// Copies all entries to `to`, a page at a time: `BPF_MAP_LOOKUP_BATCH` and `BPF_MAP_UPDATE_BATCH` (5.6), and
    /// returns how many. It fails where the kernel or one of the maps' types cannot do so, and does nothing else.
    pub fn copy_pages(&self, to: &Self) -> Result<usize> {
        self.refuse_other_sizes(to)?;
        let (capacity, mut count, mut done) = (to.page_entries()?, 0, 0);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let mut write = |keys: &mut Vec<u8>, values: &mut Vec<u8>, count: &mut usize| {
            to.write_packed(keys, values, |_| false).map_err(|error| {
                let done = done + error.done().unwrap_or_default();
                error.after(done).context(after(done))
            })?;
            done += *count;
            keys.clear();
            values.clear();
            *count = 0;
            Ok::<_, Error>(done)
        };
        for entry in Entries::in_bulk(self) {
            let entry = entry?;
            keys.extend_from_slice(&entry.key);
            values.extend_from_slice(entry.value.bytes());
            count += 1;
            if count == capacity {
                write(&mut keys, &mut values, &mut count)?;
            }
        }
        write(&mut keys, &mut values, &mut count)
    }

    /// Copies all entries to `to`, one by one: `BPF_MAP_GET_NEXT_KEY`, `BPF_MAP_LOOKUP_ELEM` and
    /// `BPF_MAP_UPDATE_ELEM` each, and returns how many.
    pub fn copy_entries(&self, to: &Self) -> Result<usize> {
        self.refuse_other_sizes(to)?;
        let mut done = 0;
        for entry in Entries::one_by_one(self) {
            let entry = entry?;
            to.write(&entry.key, entry.value.bytes(), UpdateFlags::ANY)?;
            done += 1;
        }
        Ok(done)
    }

    /// The same for maps of maps: user space reads the id of an inner map where it writes an fd, so that each is
    /// opened by `BPF_MAP_GET_FD_BY_ID`.
    pub fn copy_inner_maps(&self, to: &Self) -> Result<usize> {
        self.refuse_other_sizes(to)?;
        let mut done = 0;
        for entry in Entries::one_by_one(self) {
            let entry = entry?;
            let short =
                || Error::new(ErrorKind::Malformed, "expected the id of an inner map, found fewer bytes");
            let id = entry.value.id().ok_or_else(short)?;
            let inner = bpf::map_fd_by_id(id).map_err(|errno| by_id_error(id, errno));
            to.update_fd(&entry.key, inner.context(|| "an inner map")?, UpdateFlags::ANY)?;
            done += 1;
        }
        Ok(done)
    }

    fn refuse_other_sizes(&self, to: &Self) -> Result<()> {
        let sizes = |map: &Self| Ok::<_, Error>((map.key_size(), map.value_bytes()?));
        let (from, to) = (sizes(self)?, sizes(to)?);
        if from == to {
            return Ok(());
        }
        let message = format!(
            "entries of {} and {} bytes do not fit into a map whose keys take {} and values {}",
            from.0, from.1, to.0, to.1
        );
        Err(Error::new(ErrorKind::Mismatch, message))
    }
}
