//! The values of an array in the memory of this process.

use std::sync::atomic::AtomicU32;

use super::Map;
use crate::error::{Error, Result};
use crate::sys::map;

/// The values of an array, mapped into memory until this is dropped. Programs see each store at once.
#[derive(Debug)]
pub struct ArrayMemory(map::ArrayMemory);

impl Map {
    /// Maps all values of an array that was created with `BPF_F_MMAPABLE` (5.5) and whose values are multiples of 4
    /// bytes: one mmap(2). Any other map is refused, mostly with EINVAL.
    pub fn mmap_values(&self) -> Result<ArrayMemory> {
        let memory = self.fd.mmap_values().map_err(|errno| Error::os("mmap(2)", &self.label, errno.0))?;
        Ok(ArrayMemory(memory))
    }
}

impl ArrayMemory {
    /// The value at `index`, in words of this machine's order.
    ///
    /// # Panics
    ///
    /// If the array has no such entry.
    pub fn value(&self, index: u32) -> &[AtomicU32] {
        self.0.value(index)
    }
}
