//! A walk over all entries of a map that changes meanwhile.

use std::collections::HashSet;

use super::elements::lacks_batch;
use super::{Map, Value, is_indexed};
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{Errno, map::Batch};
use crate::uapi::bpf::{Cmd, MapType};

/// An entry of a map.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// The value, or the values on each CPU.
    pub value: Value,
}

/// The iterator of [`Map::entries`]. It ends after an error.
///
/// It reads whole pages by `BPF_MAP_LOOKUP_BATCH` (5.6), or, where the kernel or the map's type cannot do so, each
/// key by `BPF_MAP_GET_NEXT_KEY` and its value by `BPF_MAP_LOOKUP_ELEM`.
///
/// An entry that is there from the first call to the last is given once. One that comes or goes meanwhile may be
/// given or not. Deleting entries during the walk does not start it over: the kernel goes back to the first key
/// when the one to go on from is gone, but keys that were given already are passed over. A map that is changed
/// faster than it can be walked is an error.
#[derive(Debug)]
pub struct Entries<'a> {
    map: &'a Map,
    source: Source,
    page: std::vec::IntoIter<Entry>,
    /// The keys that were given, where the kernel may start over.
    given: Option<HashSet<Vec<u8>>>,
    /// The last key that the kernel named.
    last: Option<Vec<u8>>,
    /// How many keys the kernel may still name before the walk gives up.
    patience: u64,
    way: Way,
}

/// By which calls the entries are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// In bulk, and one by one where that cannot be.
    Best,
    Bulk,
    OneByOne,
}

#[derive(Debug)]
enum Source {
    Start,
    /// The next page of `size` entries, from the place `from`.
    Batch {
        from: Option<Vec<u8>>,
        size: usize,
    },
    /// The key after `Entries::last`.
    Keys,
    Done,
}

impl<'a> Entries<'a> {
    pub(super) fn new(map: &'a Map) -> Self {
        Self::by(map, Way::Best)
    }

    /// By `BPF_MAP_LOOKUP_BATCH` alone: that the kernel cannot is an error.
    pub(super) fn in_bulk(map: &'a Map) -> Self {
        Self::by(map, Way::Bulk)
    }

    /// By `BPF_MAP_GET_NEXT_KEY` and `BPF_MAP_LOOKUP_ELEM` alone.
    pub(super) fn one_by_one(map: &'a Map) -> Self {
        Self::by(map, Way::OneByOne)
    }

    fn by(map: &'a Map, way: Way) -> Self {
        let given = (!is_indexed(map.map_type()) && !has_buckets(map.map_type())).then(HashSet::new);
        Self {
            map,
            source: Source::Start,
            page: Vec::new().into_iter(),
            given,
            last: None,
            patience: u64::from(map.max_entries()).max(1024) * 8,
            way,
        }
    }

    /// Reads on until there is something to give, or the walk is at its end.
    fn fill(&mut self) -> Result<()> {
        while self.page.as_slice().is_empty() {
            match std::mem::replace(&mut self.source, Source::Done) {
                Source::Start => self.source = self.start()?,
                Source::Batch { from, size } => self.read_page(from, size)?,
                Source::Keys => self.read_entry()?,
                Source::Done => break,
            }
        }
        Ok(())
    }

    fn start(&self) -> Result<Source> {
        if self.map.key_size() == 0 {
            let what = format!("{}: a {} has no keys to walk", self.map.label, self.map.map_type());
            return Err(Error::new(ErrorKind::InvalidInput, what));
        }
        Ok(match self.way {
            Way::OneByOne => Source::Keys,
            Way::Best | Way::Bulk => Source::Batch { from: None, size: self.map.page_entries()? },
        })
    }

    fn read_page(&mut self, from: Option<Vec<u8>>, size: usize) -> Result<()> {
        let (key_size, value_bytes) = (self.map.key_size(), self.map.value_bytes()?);
        let mut to = vec![0; self.map.fd.place_bytes()];
        let mut keys = vec![0; key_size.saturating_mul(size)];
        let mut values = vec![0; value_bytes.saturating_mul(size)];
        let batch = Batch { from: from.as_deref(), to: &mut to, keys: &mut keys, values: &mut values };
        let (answer, count) = self.map.fd.lookup_batch(batch, size);
        self.source = self.after_page(answer, from, to, size, count)?;
        let mut page = Vec::with_capacity(count);
        for (key, value) in
            keys.chunks_exact(key_size).zip(values.chunks_exact(value_bytes.max(1))).take(count)
        {
            if self.is_new(key)? {
                page.push(self.entry(key, value.to_vec()));
            }
        }
        if count > 0 {
            self.last = Some(keys[(count - 1) * key_size..][..key_size].to_vec());
        }
        self.page = page.into_iter();
        Ok(())
    }

    /// Where to go on after a page of `count` entries.
    fn after_page(
        &self,
        answer: Result<(), Errno>,
        from: Option<Vec<u8>>,
        to: Vec<u8>,
        size: usize,
        count: usize,
    ) -> Result<Source> {
        match answer {
            // Before 6.14 a map with holes, or one whose entries are being deleted, ends a page early, or gives none.
            Ok(()) | Err(Errno::EINTR) if count > 0 => Ok(Source::Batch { from: Some(to), size }),
            Ok(()) | Err(Errno::ENOENT) => Ok(Source::Done),
            // A hash bucket has more entries than the page; it has no more than the map.
            Err(Errno::ENOSPC) if size <= self.map.max_entries() as usize => {
                Ok(Source::Batch { from, size: size * 2 })
            }
            Err(Errno::EINTR) if self.way == Way::Best => Ok(Source::Keys),
            Err(errno) if from.is_none() && lacks_batch(errno) && self.way == Way::Best => Ok(Source::Keys),
            Err(errno) => Err(Error::os(&Cmd::MAP_LOOKUP_BATCH.call(), &self.map.label, errno.0)),
        }
    }

    fn read_entry(&mut self) -> Result<()> {
        if self.given.is_none() && !is_indexed(self.map.map_type()) {
            self.given = Some(HashSet::new());
        }
        let Some(key) = self.map.next_key(self.last.as_deref())? else {
            return Ok(());
        };
        self.source = Source::Keys;
        if self.is_new(&key)? {
            let mut value = vec![0; self.map.value_bytes()?];
            match self.map.fd.lookup(&key, &mut value) {
                Ok(()) => self.page = vec![self.entry(&key, value)].into_iter(),
                // Deleted meanwhile, or an empty place of an array.
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(self.map.lookup_error(Cmd::MAP_LOOKUP_ELEM, errno)),
            }
        }
        self.last = Some(key);
        Ok(())
    }

    /// Whether `key`, which the kernel has just named, was not given before.
    fn is_new(&mut self, key: &[u8]) -> Result<bool> {
        let Some(given) = &mut self.given else {
            return Ok(true);
        };
        self.patience = self.patience.checked_sub(1).ok_or_else(|| {
            let what = format!("{} is changed faster than it can be read", self.map.label);
            Error::new(ErrorKind::Conflict, what)
        })?;
        Ok(given.insert(key.to_vec()))
    }

    fn entry(&self, key: &[u8], value: Vec<u8>) -> Entry {
        let value = Value::new(value, self.map.value_size(), self.map.map_type().is_per_cpu());
        Entry { key: key.to_vec(), value }
    }
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.fill() {
            Ok(()) => self.page.next().map(Ok),
            Err(error) => {
                self.source = Source::Done;
                self.page = Vec::new().into_iter();
                Some(Err(error))
            }
        }
    }
}

/// Whether a bulk read goes by hash bucket, each read as a whole: then nothing is read twice
/// (`__htab_map_lookup_and_delete_batch()` in `kernel/bpf/hashtab.c`).
pub(super) fn has_buckets(map_type: MapType) -> bool {
    matches!(
        map_type,
        MapType::HASH
            | MapType::PERCPU_HASH
            | MapType::LRU_HASH
            | MapType::LRU_PERCPU_HASH
            | MapType::HASH_OF_MAPS
    )
}
