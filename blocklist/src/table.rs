//! The rules in the kernel: found, drafted, and written in the order that packets can bear.
//!
//! A draft is made in memory first and needs no call that writes, so that a rule without room fails before anything has
//! changed. [`Table::commit`] then writes: bits that let packets look, what is new, and only then takes out what is to
//! go. A writer that is killed between two calls leaves rules that are whole, and bits that are too many.

use std::collections::HashMap;

use ipnet::IpNet;
use loader::map::{Interrupted, Map, UpdateFlags};
use loader::{Error, ErrorKind, Result};

use crate::cells::{self, Cells};
use crate::hash;
use crate::layout::{
    Bucket, Cell as _, Config, HEADS_PER_PAGE, Heads, Home, KEYS, Key, Line, NO_LENGTH, RuleValue, flags,
    trie_key, trie_prefix, wide_key, wide_prefix,
};
use crate::prefix::Shown;
use crate::store::Maps;

/// Where a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In `rules`, at this index.
    Slot(u32),
    Wide,
    Trie,
}

/// A rule that is there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) prefix: IpNet,
    pub(crate) place: Place,
    pub(crate) value: RuleValue,
}

/// What will be different in the slots of a bucket.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    added: u16,
    removed: u16,
}

/// Entries of a hash or a trie that will be written or deleted.
#[derive(Debug, Default)]
struct Draft {
    keys: Vec<u8>,
    values: Vec<u8>,
    /// The keys among `keys` that are new.
    new: Vec<u8>,
    gone: Vec<u8>,
}

/// The rules, as they are and as they will be.
#[derive(Debug)]
pub(crate) struct Table {
    config: Cells<Config>,
    heads: Cells<Heads>,
    lines: Cells<Line>,
    buckets: Cells<Bucket>,
    rules: Map,
    wide: Map,
    trie: Map,
    marks: HashMap<u32, Marks>,
    slots: Vec<(u32, RuleValue)>,
    wide_draft: Draft,
    trie_draft: Draft,
    /// The rules of the trie, which can only be found by reading all.
    in_trie: Option<HashMap<IpNet, RuleValue>>,
}

impl Table {
    pub(crate) fn open(maps: &Maps) -> Result<Self> {
        Ok(Self {
            config: Cells::new(maps.open("config")?),
            heads: Cells::new(maps.open("heads")?),
            lines: Cells::new(maps.open("filter")?),
            buckets: Cells::new(maps.open("buckets")?),
            rules: maps.open("rules")?,
            wide: maps.open("wide")?,
            trie: maps.open("trie6")?,
            marks: HashMap::new(),
            slots: Vec::new(),
            wide_draft: Draft::default(),
            trie_draft: Draft::default(),
            in_trie: None,
        })
    }

    pub(crate) fn config(&mut self) -> Result<Config> {
        self.config.get(0).copied()
    }

    /// Writes what the program is told beside the rules.
    pub(crate) fn set_flags(&mut self, set: u32, clear: u32) -> Result<()> {
        self.change_config(|config| config.flags = config.flags & !clear | set)?;
        self.config.write()
    }

    /// How many rules there is room for, of those that have a place of their own.
    pub(crate) fn max_rules(&self) -> u32 {
        self.wide.max_entries()
    }

    /// The rule with exactly this prefix, as the kernel has it.
    pub(crate) fn find(&mut self, prefix: IpNet) -> Result<Option<Found>> {
        let (place, value) = match self.config()?.home(prefix) {
            None => return Ok(None),
            Some(Home::Bucket(key)) => match self.slot_of(key)? {
                None => return Ok(None),
                Some(index) => (Place::Slot(index), value_of(&self.rules, &index.to_ne_bytes())?),
            },
            Some(Home::Wide) => (Place::Wide, value_of(&self.wide, &wide_key(prefix))?),
            Some(Home::Trie) => (Place::Trie, self.trie_rules()?.get(&prefix).copied()),
        };
        Ok(value.map(|value| Found { prefix, place, value }))
    }

    /// The place in `rules` of a key that is present.
    fn slot_of(&mut self, key: Key) -> Result<Option<u32>> {
        for index in hash::buckets(key.code, &self.config()?) {
            let bucket = self.buckets.get(index)?;
            if let Some((slot, _)) = bucket.present_keys().find(|(_, other)| *other == key) {
                return Ok(Some(rule_index(index, slot)));
            }
            if !bucket.goes_on() {
                break;
            }
        }
        Ok(None)
    }

    fn trie_rules(&mut self) -> Result<&HashMap<IpNet, RuleValue>> {
        if self.in_trie.is_none() {
            let mut rules = HashMap::new();
            if self.config()?.has(flags::HAS_TRIE6) {
                let key_size = self.trie.key_size();
                self.trie.scan(|keys, values| {
                    let values = values.chunks_exact(RuleValue::SIZE).map(RuleValue::decode);
                    rules.extend(keys.chunks_exact(key_size).map(trie_prefix).zip(values));
                })?;
            }
            self.in_trie = Some(rules);
        }
        Ok(self.in_trie.as_ref().expect("it was put there"))
    }

    /// Every rule, in no order.
    pub(crate) fn all(&mut self) -> Result<Vec<Found>> {
        self.buckets.read_all()?;
        let mut found = Vec::new();
        for (index, bucket) in (0..).zip(self.buckets.all()) {
            for (slot, key) in bucket.present_keys() {
                let place = Place::Slot(rule_index(index, slot));
                found.push(Found { prefix: key.prefix(), place, value: RuleValue::default() });
            }
        }
        if !found.is_empty() {
            self.read_values(&mut found)?;
        }
        let key_size = self.wide.key_size();
        self.wide.scan(|keys, values| {
            let values = values.chunks_exact(RuleValue::SIZE).map(RuleValue::decode);
            let rules = keys.chunks_exact(key_size).map(wide_prefix).zip(values);
            found.extend(rules.map(|(prefix, value)| Found { prefix, place: Place::Wide, value }));
        })?;
        let rules = self.trie_rules()?.iter();
        found.extend(rules.map(|(&prefix, &value)| Found { prefix, place: Place::Trie, value }));
        Ok(found)
    }

    /// Reads the values of rules that stand in the order of their slots.
    fn read_values(&mut self, found: &mut [Found]) -> Result<()> {
        let mut rest = found.iter_mut().peekable();
        self.rules.scan(|keys, values| {
            let first = crate::layout::u32_at(keys, 0);
            let count = u32::try_from(values.len() / RuleValue::SIZE).unwrap_or(u32::MAX);
            let here = |found: &&mut Found| matches!(found.place, Place::Slot(index) if index < first.saturating_add(count));
            while let Some(found) = rest.next_if(here) {
                if let Place::Slot(index) = found.place {
                    let at = (index.saturating_sub(first)) as usize * RuleValue::SIZE;
                    found.value = RuleValue::decode(&values[at..]);
                }
            }
        })
    }

    /// Drafts a rule for `prefix`, in the place of `old` or as a new one.
    pub(crate) fn put(&mut self, prefix: IpNet, old: Option<Place>, value: RuleValue) -> Result<()> {
        let place = match old {
            Some(place) => place,
            None => self.claim(prefix)?,
        };
        match place {
            Place::Slot(index) => {
                self.slots.push((index, value));
                if value.end != 0 {
                    let bucket = index / KEY_COUNT;
                    self.buckets.get(bucket)?.set_has_end();
                    self.buckets.mark(bucket);
                }
            }
            Place::Wide => self.wide_draft.put(&wide_key(prefix), value, old.is_none()),
            Place::Trie => self.trie_draft.put(&trie_key(prefix), value, old.is_none()),
        }
        Ok(())
    }

    /// Drafts that a rule goes.
    pub(crate) fn remove(&mut self, found: &Found) -> Result<()> {
        match found.place {
            Place::Slot(index) => {
                let (bucket, slot) = (index / KEY_COUNT, index % KEY_COUNT);
                let cell = self.buckets.get(bucket)?;
                *cell = cell.with_present(cell.present() & !(1 << slot));
                self.buckets.mark(bucket);
                self.marks.entry(bucket).or_default().removed |= 1 << slot;
            }
            Place::Wide => self.wide_draft.gone.extend(wide_key(found.prefix)),
            Place::Trie => self.trie_draft.gone.extend(trie_key(found.prefix)),
        }
        Ok(())
    }

    /// A place for a rule that is not there, and the bits that lead packets to it.
    fn claim(&mut self, prefix: IpNet) -> Result<Place> {
        let config = self.config()?;
        match config.home(prefix) {
            Some(Home::Bucket(key)) => {
                let index = self.claim_slot(key)?;
                self.light(prefix, Some(key))?;
                Ok(Place::Slot(index))
            }
            Some(Home::Trie) => {
                self.change_config(|config| config.flags |= flags::HAS_TRIE6)?;
                Ok(Place::Trie)
            }
            Some(Home::Wide) => self.light(prefix, None).map(|()| Place::Wide),
            None => {
                let length = prefix.prefix_len();
                self.change_config(|config| {
                    let free = config.lengths6.iter_mut().find(|length| **length == NO_LENGTH);
                    *free.expect("there is a free one, or the rule would be in the trie") = length;
                })?;
                self.light(prefix, None).map(|()| Place::Wide)
            }
        }
    }

    fn claim_slot(&mut self, key: Key) -> Result<u32> {
        for index in hash::buckets(key.code, &self.config()?) {
            let marks = self.marks.get(&index).copied().unwrap_or_default();
            let bucket = self.buckets.get(index)?;
            // Until the draft is written, packets may still find what is to go.
            let taken = bucket.present() | marks.removed;
            let Some(slot) = (0..KEYS).find(|slot| taken & (1 << slot) == 0) else {
                if !bucket.goes_on() {
                    bucket.go_on();
                    self.buckets.mark(index);
                }
                continue;
            };
            bucket.write(slot, key);
            *bucket = bucket.with_present(bucket.present() | 1 << slot);
            self.buckets.mark(index);
            self.marks.entry(index).or_default().added |= 1 << slot;
            return Ok(rule_index(index, u32::try_from(slot).expect("15 slots")));
        }
        let message = format!("there is no room for {}", Shown(key.prefix()));
        Err(Error::new(ErrorKind::Os, message).with_help(MORE_ROOM))
    }

    /// Sets the bits without which packets do not look for a rule.
    fn light(&mut self, prefix: IpNet, key: Option<Key>) -> Result<()> {
        let config = self.config()?;
        let length = prefix.prefix_len();
        let bit = match prefix {
            IpNet::V4(_) if length == 0 => {
                return self.change_config(|config| config.any4 = 1);
            }
            IpNet::V4(net) => {
                let bit = 1 << (32 - length);
                if config.lengths4 & bit == 0 {
                    self.change_config(|config| config.lengths4 |= bit)?;
                }
                if let Some(key) = key {
                    let index = hash::line(net.addr(), length, &config);
                    let (word, bits) = hash::bits(key.code);
                    let line = self.lines.get(index)?;
                    if line.0[word] & bits != bits {
                        line.0[word] |= bits;
                        self.lines.mark(index);
                    }
                }
                bit
            }
            IpNet::V6(_) => 1 << config.index6(length).expect("the length was entered"),
        };
        let (first, count) = hash::heads(prefix, &config);
        for index in first..first + count {
            let (page, word) = (index / HEADS_PER_PAGE, (index % HEADS_PER_PAGE) as usize);
            let heads = self.heads.get(page)?;
            if heads.0[word] & bit == 0 {
                heads.0[word] |= bit;
                self.heads.mark(page);
            }
        }
        Ok(())
    }

    fn change_config(&mut self, change: impl FnOnce(&mut Config)) -> Result<()> {
        let config = self.config.get(0)?;
        let before = *config;
        change(config);
        if *config != before {
            self.config.mark(0);
        }
        Ok(())
    }

    /// Writes what was drafted. After a refusal, the rules are what they were before.
    pub(crate) fn commit(&mut self) -> Result<()> {
        self.lines.write()?;
        self.heads.write()?;
        self.config.write()?;
        let (wide, trie) = (std::mem::take(&mut self.wide_draft), std::mem::take(&mut self.trie_draft));
        // These alone can be full.
        wide.write(&self.wide)?;
        trie.write(&self.trie).inspect_err(|_| wide.take_back(&self.wide))?;
        self.write_slots()?;
        wide.delete(&self.wide)?;
        trie.delete(&self.trie)?;
        self.in_trie = None;
        Ok(())
    }

    fn write_slots(&mut self) -> Result<()> {
        let mut slots = std::mem::take(&mut self.slots);
        slots.sort_unstable_by_key(|(index, _)| *index);
        for page in slots.chunks(16_384) {
            let indexes: Vec<_> = page.iter().map(|(index, _)| *index).collect();
            let mut values = Vec::with_capacity(page.len() * RuleValue::SIZE);
            page.iter().for_each(|(_, value)| value.encode(&mut values));
            cells::write_page(&self.rules, &indexes, &values)?;
        }
        let marks = std::mem::take(&mut self.marks);
        let of = |index: u32| marks.get(&index).copied().unwrap_or_default();
        let changed = self.buckets.changed();
        let (added, other): (Vec<_>, Vec<_>) = changed.iter().partition(|index| of(**index).added != 0);
        // Keys are written before they are present, since packets see a bucket while it is written.
        self.buckets.write_as(&added, |index, bucket| {
            let Marks { added, removed } = of(index);
            bucket.with_present(bucket.present() & !added | removed)
        })?;
        let old = |index, bucket: &Bucket| bucket.with_present(bucket.present() | of(index).removed);
        self.buckets.write_as(&added, old)?;
        self.buckets.write_as(&other, old)?;
        let removed: Vec<_> = changed.into_iter().filter(|index| of(*index).removed != 0).collect();
        self.buckets.write_as(&removed, |_, bucket| *bucket)?;
        self.buckets.forget_changes();
        Ok(())
    }

    /// Makes the filter and the heads anew from these rules, which are all that there are: sets no bit that is not
    /// needed, and clears those that are not any more.
    pub(crate) fn rebuild(&mut self, rules: impl Iterator<Item = IpNet> + Clone) -> Result<()> {
        let config = self.config()?;
        let mut heads = vec![Heads(vec![0; HEADS_PER_PAGE as usize]); self.heads.len() as usize];
        let mut lines = vec![Line::default(); self.lines.len() as usize];
        let (mut lengths4, mut any4, mut has_trie6) = (0, 0, 0);
        for prefix in rules {
            let length = prefix.prefix_len();
            let bit = match (prefix, config.home(prefix)) {
                (_, Some(Home::Trie) | None) => {
                    has_trie6 = flags::HAS_TRIE6;
                    continue;
                }
                (IpNet::V4(_), _) if length == 0 => {
                    any4 = 1;
                    continue;
                }
                (IpNet::V4(net), home) => {
                    if let Some(Home::Bucket(key)) = home {
                        let (word, bits) = hash::bits(key.code);
                        lines[hash::line(net.addr(), length, &config) as usize].0[word] |= bits;
                    }
                    lengths4 |= 1 << (32 - length);
                    1 << (32 - length)
                }
                (IpNet::V6(_), _) => 1 << config.index6(length).expect("it is in `wide`"),
            };
            let (first, count) = hash::heads(prefix, &config);
            for index in first..first + count {
                heads[(index / HEADS_PER_PAGE) as usize].0[(index % HEADS_PER_PAGE) as usize] |= bit;
            }
        }
        self.change_config(|config| {
            (config.lengths4, config.any4) = (lengths4, any4);
            config.flags = config.flags & !flags::HAS_TRIE6 | has_trie6;
        })?;
        self.config.write()?;
        replace(&mut self.heads, heads)?;
        replace(&mut self.lines, lines)
    }
}

/// The help that fits every refusal for want of room.
pub(crate) const MORE_ROOM: &str =
    "save the list, turn the blocklist off with --purge and on with a higher --max-rules, and load it";

const KEY_COUNT: u32 = KEYS as u32;

/// Writes those of `wanted` that are different.
fn replace<T: crate::layout::Cell + PartialEq>(cells: &mut Cells<T>, wanted: Vec<T>) -> Result<()> {
    cells.read_all()?;
    for (index, cell) in (0..).zip(wanted) {
        let own = cells.get(index)?;
        if *own != cell {
            *own = cell;
            cells.mark(index);
        }
    }
    cells.write()
}

fn rule_index(bucket: u32, slot: u32) -> u32 {
    bucket * KEY_COUNT + slot
}

fn value_of(map: &Map, key: &[u8]) -> Result<Option<RuleValue>> {
    Ok(map.lookup(key)?.and_then(|value| value.single().map(RuleValue::decode)))
}

impl Draft {
    fn put(&mut self, key: &[u8], value: RuleValue, is_new: bool) {
        self.keys.extend(key);
        value.encode(&mut self.values);
        if is_new {
            self.new.extend(key);
        }
    }

    /// Writes all, or, if there is no room, none of what is new.
    fn write(&self, map: &Map) -> Result<()> {
        match &self.keys[..] {
            [] => Ok(()),
            key if key.len() == map.key_size() => {
                map.update(key, &self.values, UpdateFlags::ANY).map_err(explain)
            }
            keys => map.update_packed(keys, &self.values).map_err(|Interrupted { error, .. }| {
                self.take_back(map);
                explain(error)
            }),
        }
    }

    /// Deletes what is new. A refusal has nobody to tell: the one that led here is told.
    fn take_back(&self, map: &Map) {
        let _ = map.delete_packed(&self.new);
    }

    fn delete(&self, map: &Map) -> Result<()> {
        match &self.gone[..] {
            [] => Ok(()),
            key if key.len() == map.key_size() => map.delete(key).map(drop),
            keys => map.delete_packed(keys).map(drop),
        }
    }
}

fn explain(error: Error) -> Error {
    match error.errno() {
        Some(nix::libc::E2BIG | nix::libc::ENOSPC) => {
            error.context("there is no room for another rule").with_help(MORE_ROOM)
        }
        _ => error,
    }
}
