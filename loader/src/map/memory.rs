//! The values of an array in the memory of this process.

use std::sync::atomic::AtomicU32;

use super::Map;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::map;
use crate::uapi::bpf::{BPF_F_MMAPABLE, MapType};

/// The values of an array, mapped into memory until this is dropped. Programs see each store at once.
#[derive(Debug)]
pub struct ArrayMemory(map::ArrayMemory);

impl Map {
    /// Maps all values of an array that was created with `BPF_F_MMAPABLE` (5.5) and whose values are multiples of 4
    /// bytes: one mmap(2).
    pub fn mmap_values(&self) -> Result<ArrayMemory> {
        let (expected, found) = (MapType::ARRAY, self.map_type());
        if found != expected {
            return Err(self.misfit(format_args!("expected a map of type {expected}, found {found}")));
        }
        if self.value_size() % size_of::<AtomicU32>() != 0 {
            let bytes = self.value_size();
            return Err(self.misfit(format_args!("expected values of multiples of 4 bytes, found {bytes}")));
        }
        self.fd.mmap_values().map(ArrayMemory).map_err(|errno| {
            let error = Error::os("mmap(2)", &self.label, errno.0);
            match self.info() {
                Ok(info) if info.flags & BPF_F_MMAPABLE == 0 => error
                    .with_kind(ErrorKind::InvalidInput)
                    .context("the map was created without BPF_F_MMAPABLE"),
                _ => error,
            }
        })
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
