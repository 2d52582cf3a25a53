//! Entries of a hash or a trie on their way to the kernel.

use loader::Result;
use loader::map::{Map, UpdateFlags};

use crate::layout::{Cell as _, RuleValue};

/// What will be written and deleted.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    new: Entries,
    /// In the place of others.
    changed: Entries,
    gone: Vec<u8>,
}

/// Keys and values, one behind the other.
#[derive(Debug, Default)]
struct Entries {
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl Draft {
    /// `more` is what the value has behind the rule.
    pub(crate) fn put(&mut self, key: &[u8], value: RuleValue, more: &[u8], is_new: bool) {
        let entries = if is_new { &mut self.new } else { &mut self.changed };
        entries.keys.extend(key);
        value.encode(&mut entries.values);
        entries.values.extend(more);
    }

    pub(crate) fn remove(&mut self, key: &[u8]) {
        self.gone.extend(key);
    }

    /// Writes what is new, or, if there is no room, none of it.
    pub(crate) fn write_new(&self, map: &Map) -> Result<()> {
        self.new.write(map).inspect_err(|_| self.take_back(map))
    }

    /// Writes what takes the place of others.
    pub(crate) fn write_changed(&self, map: &Map) -> Result<()> {
        self.changed.write(map)
    }

    /// Deletes what is new. A failure of that has nobody to be told to: the one that led here is told.
    pub(crate) fn take_back(&self, map: &Map) {
        let _ = map.delete_packed(&self.new.keys);
    }

    pub(crate) fn delete(&self, map: &Map) -> Result<()> {
        match &self.gone[..] {
            [] => Ok(()),
            key if key.len() == map.key_size() => map.delete(key).map(drop),
            keys => map.delete_packed(keys).map(drop),
        }
    }
}

impl Entries {
    fn write(&self, map: &Map) -> Result<()> {
        match &self.keys[..] {
            [] => Ok(()),
            key if key.len() == map.key_size() => map.update(key, &self.values, UpdateFlags::ANY),
            keys => map.update_packed(keys, &self.values),
        }
    }
}
