//! An array in the kernel: its entries by calls, or many of them through its memory.

use std::sync::atomic::Ordering;

use loader::Result;
use loader::map::{ArrayMemory, Map, UpdateFlags};

use crate::layout::u32_at;

/// From so many entries on mapping an array takes less time than the calls.
const MANY: usize = 1024;
/// Bytes of the largest value.
const MAX_VALUE: usize = 64;

/// An array.
#[derive(Debug)]
pub(crate) struct Array {
    map: Map,
    /// None before it is worth it, and where the kernel has none to give (before 5.5).
    memory: Option<ArrayMemory>,
}

impl Array {
    pub(crate) fn new(map: Map) -> Self {
        Self { map, memory: None }
    }

    pub(crate) fn len(&self) -> u32 {
        self.map.max_entries()
    }

    /// The entry at `index`: one call.
    pub(crate) fn read(&self, index: u32) -> Result<Vec<u8>> {
        let value = self.map.lookup(&index.to_ne_bytes())?;
        let bytes = value.as_ref().and_then(|value| value.single()).unwrap_or_default();
        let mut bytes = bytes.to_vec();
        // The entries of an array are always there.
        bytes.resize(self.map.value_size(), 0);
        Ok(bytes)
    }

    /// Gives the entries at `indexes`, which ascend, one after the other.
    pub(crate) fn read_many(
        &mut self,
        indexes: &mut dyn Iterator<Item = u32>,
        give: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        // The calls read all entries, however few are wanted.
        self.map_for(self.len() as usize);
        if let Some(memory) = &self.memory {
            for index in indexes {
                let mut bytes = [0; MAX_VALUE];
                let words = memory.value(index).iter();
                for (word, chunk) in words.clone().zip(bytes.chunks_exact_mut(4)) {
                    chunk.copy_from_slice(&word.load(Ordering::Acquire).to_ne_bytes());
                }
                give(&bytes[..4 * words.len()]);
            }
            return Ok(());
        }
        let size = self.map.value_size();
        let mut wanted = indexes.peekable();
        self.map.scan(|keys, values| {
            let first = u32_at(keys, 0);
            for (index, value) in (first..).zip(values.chunks_exact(size.next_multiple_of(8))) {
                if wanted.next_if_eq(&index).is_some() {
                    give(&value[..size]);
                }
            }
        })
    }

    /// Writes entries, whose values lie one behind the other; a single one by the call that every kernel has.
    pub(crate) fn write(&mut self, indexes: &[u32], values: &[u8]) -> Result<()> {
        self.map_for(indexes.len());
        if let Some(memory) = &self.memory {
            for (&index, value) in indexes.iter().zip(values.chunks_exact(self.map.value_size())) {
                for (word, chunk) in memory.value(index).iter().zip(value.chunks_exact(4)) {
                    // What is written first is seen first, as it is with calls.
                    word.store(u32_at(chunk, 0), Ordering::Release);
                }
            }
            return Ok(());
        }
        let keys: Vec<u8> = indexes.iter().flat_map(|index| index.to_ne_bytes()).collect();
        match indexes {
            [] => Ok(()),
            [_] => self.map.update(&keys, values, UpdateFlags::ANY),
            _ => self.map.update_packed(&keys, values),
        }
    }

    /// Maps the array if the calls for so many entries would take longer. Where that is refused, the calls do.
    fn map_for(&mut self, count: usize) {
        if self.memory.is_none() && count >= MANY {
            self.memory = self.map.mmap_values().ok();
        }
    }
}
