//! The entries of an array in the kernel, read when they are asked for and written when they have changed.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hint::black_box;
use std::mem;
use std::ops::BitXor;

use loader::Result;
use loader::map::Map;

use crate::array::Array;
use crate::layout::Cell;

/// Entries on their way to the kernel at a time.
const PAGE: usize = 16_384;

/// An array, as far as it is known.
#[derive(Debug)]
pub(crate) struct Cells<T> {
    array: Array,
    known: Known<T>,
    /// A bit for each entry that has changed.
    changed: Vec<u64>,
}

#[derive(Debug)]
enum Known<T> {
    /// The entries that were asked for, and by index where each is among them: a map of places is the same machine code
    /// for all types.
    Some {
        places: BTreeMap<u32, usize>,
        entries: Vec<T>,
    },
    All(Vec<T>),
}

impl<T> Known<T> {
    const NOTHING: Self = Self::Some { places: BTreeMap::new(), entries: Vec::new() };
}

impl<T: Cell> Cells<T> {
    pub(crate) fn new(map: Map) -> Self {
        let words = (map.max_entries() as usize).div_ceil(64);
        Self { array: Array::new(map), known: Known::NOTHING, changed: vec![0; words] }
    }

    /// Reads all entries that have not changed here.
    pub(crate) fn read_all(&mut self) -> Result<()> {
        if let Known::Some { places, entries } = &mut self.known {
            let len = self.array.len();
            let mut all = Vec::with_capacity(len as usize);
            self.array.read_many(&mut (0..len), &mut |bytes| all.push(T::decode(bytes)))?;
            for (&index, &place) in &*places {
                mem::swap(&mut all[index as usize], &mut entries[place]);
            }
            self.known = Known::All(all);
        }
        Ok(())
    }

    /// Knows nothing, for whoever may find that others have written meanwhile.
    pub(crate) fn forget(&mut self) {
        self.known = Known::NOTHING;
        self.forget_changes();
    }

    /// All entries, for whoever has read them.
    pub(crate) fn all(&self) -> &[T] {
        match &self.known {
            Known::All(all) => all,
            Known::Some { .. } => &[],
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.array.len()
    }

    /// An entry, as it will be.
    pub(crate) fn get(&mut self, index: u32) -> Result<&mut T> {
        match &mut self.known {
            Known::All(all) => Ok(&mut all[index as usize]),
            Known::Some { places, entries } => {
                let place = match places.entry(index) {
                    Entry::Occupied(known) => *known.get(),
                    Entry::Vacant(unknown) => {
                        entries.push(T::decode(&self.array.read(index)?));
                        *unknown.insert(entries.len() - 1)
                    }
                };
                Ok(&mut entries[place])
            }
        }
    }

    /// Reads a part of each of these entries, if all are known. They are all over the memory, which answers some ten
    /// questions in the time of one as long as hardly anything comes between them; afterwards they are in the cache.
    pub(crate) fn touch(&self, indexes: &[u32], part: impl Fn(&T) -> u64) {
        let entries = indexes.iter().filter_map(|&index| self.all().get(index as usize));
        black_box(entries.map(part).fold(0, BitXor::bitxor));
    }

    /// The entry was changed and is to be written.
    pub(crate) fn mark(&mut self, index: u32) {
        self.changed[index as usize / 64] |= 1 << (index % 64);
    }

    /// Which entries were changed.
    pub(crate) fn changed(&self) -> Vec<u32> {
        bits(&self.changed)
    }

    /// Writes all entries that were changed.
    pub(crate) fn write(&mut self) -> Result<()> {
        let changed = self.changed();
        self.write_as(&changed, |_, cell| cell.clone())?;
        self.forget_changes();
        Ok(())
    }

    /// Nothing is to be written any more.
    pub(crate) fn forget_changes(&mut self) {
        self.changed.fill(0);
    }

    /// Writes these entries, each as `image` shows it.
    pub(crate) fn write_as(&mut self, indexes: &[u32], image: impl Fn(u32, &T) -> T) -> Result<()> {
        for page in indexes.chunks(PAGE) {
            let mut values = Vec::with_capacity(page.len() * T::SIZE);
            for &index in page {
                image(index, self.get(index)?).encode(&mut values);
            }
            self.array.write(page, &values)?;
        }
        Ok(())
    }
}

/// Which bits are set.
fn bits(words: &[u64]) -> Vec<u32> {
    let of_word = |(at, &word): (usize, &u64)| {
        let first = u32::try_from(at * 64).unwrap_or(u32::MAX);
        (0..64).filter(move |bit| word & (1 << bit) != 0).map(move |bit| first + bit)
    };
    words.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(of_word).collect()
}
