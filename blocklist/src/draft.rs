//! Entries of a hash or a trie on their way to the kernel.

use loader::map::{Map, UpdateFlags};
use loader::{Error, ErrorKind, Result};
use nix::libc::{E2BIG, ENOSPC};

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
        let explained = |error| explain(error, "another rule");
        match &self.keys[..] {
            [] => Ok(()),
            key if key.len() == map.key_size() => {
                map.update(key, &self.values, UpdateFlags::ANY).map_err(explained)
            }
            keys => map.update_packed(keys, &self.values).map_err(|interrupted| explained(interrupted.error)),
        }
    }
}

/// Says of a refusal for want of room what there is none for, and what to do about it.
pub(crate) fn explain(error: Error, what: &str) -> Error {
    match error.errno() {
        Some(E2BIG | ENOSPC) => error.context(format!("there is no room for {what}")).with_help(MORE_ROOM),
        _ => error,
    }
}

/// The refusal of more rules than there is room for.
pub(crate) fn no_room(rules: u32, max_rules: u32) -> Error {
    let message = format!(
        "there is no room: with the new rules there would be {rules}, and there is room for {max_rules}; \
         nothing was changed"
    );
    Error::new(ErrorKind::Os, message).with_help(MORE_ROOM)
}

/// The help that fits every refusal for want of room.
pub const MORE_ROOM: &str =
    "to make room: `block save FILE`, `block off --purge`, `block on IF --max-rules N`, `block load FILE`";
