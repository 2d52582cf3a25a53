//! The rules in the kernel: found, drafted, and written in the order that packets can bear.
//!
//! A draft is made in memory first. [`Table::commit`] then writes: bits that let packets look, what is new, and only
//! then takes out what is to go. A writer that is killed between two calls leaves rules that are whole, and bits that
//! are too many, which is the side on which they may err.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use loader::Result;
use loader::map::Map;

use crate::array::Array;
use crate::cells::Cells;
use crate::clock::Now;
use crate::draft::Draft;
use crate::hash;
use crate::layout::{
    Bucket, Cell, Config, HEADS, Heads, Home, Key, Line, RuleValue, SLOTS, flags, home, index6, u32_at,
    u64_at, wide_key, wide_prefix,
};
use crate::prefix::{Shown, order};
use crate::store::{Blocklist, refuse_unlisted, shapes};
use crate::trie::Trie;

/// Where a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In `buckets`; its halves are at this index of `hits` and `marks`.
    Slot(u32),
    Wide,
    Trie,
}

impl Place {
    fn slot(self) -> Option<u32> {
        match self {
            Self::Slot(index) => Some(index),
            Self::Wide | Self::Trie => None,
        }
    }
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
struct Changes {
    added: u16,
    removed: u16,
}

impl Changes {
    /// Which keys of the bucket were present before.
    fn before(self, bucket: &Bucket) -> u16 {
        bucket.present() & !self.added | self.removed
    }
}

/// So many rules are [touched](Table::touch) together.
pub(crate) const AT_ONCE: usize = 64;

/// What becomes of the counters of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hits {
    Kept,
    Zero,
}

/// The rules, as they are and as they will be.
#[derive(Debug)]
pub(crate) struct Table {
    config: Cells<Config>,
    heads: Cells<Heads>,
    lines: Cells<Line>,
    buckets: Cells<Bucket>,
    hits: Array,
    marks: Array,
    wide: Map,
    trie: Trie,
    /// By bucket.
    changes: Vec<Changes>,
    /// What will be in `marks`, and what in `hits`.
    slots: Vec<(u32, [u8; RuleValue::MARK], Hits)>,
    wide_draft: Draft,
    added: u32,
    removed: u32,
}

/// How many rules a draft makes, and how many go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drafted {
    pub(crate) added: u32,
    pub(crate) removed: u32,
}

impl Table {
    pub(crate) fn open(blocklist: &Blocklist) -> Result<Self> {
        let mut config = Cells::new(blocklist.open_sized(&shapes::CONFIG, 1)?);
        let found = *config.get(0)?;
        blocklist.check_layout(&found)?;
        let Config { buckets, lines, .. } = found;
        let slots = buckets.saturating_mul(SLOTS);
        Ok(Self {
            config,
            heads: Cells::new(blocklist.open_sized(&shapes::HEADS, found.head_lines())?),
            lines: Cells::new(blocklist.open_sized(&shapes::FILTER, lines)?),
            buckets: Cells::new(blocklist.open_sized(&shapes::BUCKETS, buckets)?),
            hits: Array::new(blocklist.open_sized(&shapes::HITS, slots)?),
            marks: Array::new(blocklist.open_sized(&shapes::MARKS, slots)?),
            wide: blocklist.open(&shapes::WIDE)?,
            trie: Trie::new(blocklist.open(&shapes::TRIE6)?),
            changes: Vec::new(),
            slots: Vec::new(),
            wide_draft: Draft::default(),
            added: 0,
            removed: 0,
        })
    }

    /// Knows nothing of what others may have written meanwhile.
    pub(crate) fn forget(&mut self) {
        self.config.forget();
        self.heads.forget();
        self.lines.forget();
        self.buckets.forget();
        self.trie.forget();
    }

    pub(crate) fn config(&mut self) -> Result<Config> {
        self.config.get(0).copied()
    }

    /// Changes what the program is told, when the draft is written.
    pub(crate) fn change_config(&mut self, change: impl FnOnce(&mut Config)) -> Result<()> {
        let config = self.config.get(0)?;
        let before = *config;
        change(config);
        if *config != before {
            self.config.mark(0);
        }
        Ok(())
    }

    /// How many rules fit while lists are replaced. A blocklist that an earlier release has made has none to spare.
    pub(crate) fn capacity(&self) -> u32 {
        self.wide.max_entries()
    }

    /// How many rules there are, whatever is drafted.
    pub(crate) fn count(&mut self) -> Result<u32> {
        self.buckets.read_all()?;
        let of = |index: usize| self.changes.get(index).copied().unwrap_or_default();
        let buckets = self.buckets.all().iter().enumerate();
        let in_buckets: u32 = buckets.map(|(index, bucket)| of(index).before(bucket).count_ones()).sum();
        let mut in_wide = 0;
        let key_size = self.wide.key_size();
        self.wide.scan(|keys, _| in_wide += keys.len() / key_size)?;
        let others = in_wide + self.read_trie()?;
        Ok(in_buckets.saturating_add(u32::try_from(others).unwrap_or(u32::MAX)))
    }

    /// How many rules are drafted.
    pub(crate) fn drafted(&self) -> Drafted {
        Drafted { added: self.added, removed: self.removed }
    }

    /// Reads all buckets and filters at once, for whoever drafts many rules.
    pub(crate) fn read_all(&mut self) -> Result<()> {
        self.buckets.read_all()?;
        self.heads.read_all()?;
        self.lines.read_all()
    }

    /// The rule with exactly this prefix, as the kernel has it.
    pub(crate) fn find(&mut self, prefix: IpNet) -> Result<Option<Found>> {
        let (place, value) = match home(prefix) {
            Home::Bucket(key) => match self.slot_of(key)? {
                Some(index) => (Place::Slot(index), Some(self.value_at(index)?)),
                None if self.overflows(key)? => (Place::Wide, self.in_wide(prefix)?),
                None => return Ok(None),
            },
            Home::Wide => (Place::Wide, self.in_wide(prefix)?),
            Home::Trie => {
                self.read_trie()?;
                (Place::Trie, self.trie.get(prefix))
            }
        };
        Ok(value.map(|value| Found { prefix, place, value }))
    }

    /// The slot of a key that is present.
    fn slot_of(&mut self, key: Key) -> Result<Option<u32>> {
        let index = hash::bucket(key, &self.config()?);
        let found = self.buckets.get(index)?.present_keys().find(|(_, other)| *other == key);
        Ok(found.map(|(slot, _)| index * SLOTS + slot))
    }

    fn overflows(&mut self, key: Key) -> Result<bool> {
        let index = hash::bucket(key, &self.config()?);
        Ok(self.buckets.get(index)?.overflows())
    }

    fn value_at(&self, index: u32) -> Result<RuleValue> {
        let mut bytes = Vec::with_capacity(RuleValue::SIZE);
        for array in [&self.hits, &self.marks] {
            bytes.extend(array.read(index)?);
        }
        Ok(RuleValue::decode(&bytes))
    }

    fn in_wide(&self, prefix: IpNet) -> Result<Option<RuleValue>> {
        let value = self.wide.lookup(&wide_key(prefix))?;
        Ok(value.and_then(|value| value.single().map(RuleValue::decode)))
    }

    /// Reads the rules of the trie, and tells how many there are.
    fn read_trie(&mut self) -> Result<usize> {
        let is_used = self.config()?.has(flags::HAS_TRIE6);
        self.trie.read(is_used)
    }

    /// The rule of the trie that packets from `address` find.
    pub(crate) fn first_in_trie(&mut self, address: IpAddr, now: Now) -> Result<Option<Found>> {
        self.read_trie()?;
        let found = self.trie.first(address, now);
        Ok(found.map(|(prefix, value)| Found { prefix, place: Place::Trie, value }))
    }

    /// Every rule, in the order of addresses; the counters of those in `buckets` only if `hits` says so.
    pub(crate) fn all_in_order(&mut self, hits: bool) -> Result<Vec<Found>> {
        let mut found = self.all(hits)?;
        found.sort_unstable_by(|a, b| order(a.prefix, b.prefix));
        Ok(found)
    }

    /// Every rule, in no order; the counters of those in `buckets` only if `hits` says so.
    pub(crate) fn all(&mut self, hits: bool) -> Result<Vec<Found>> {
        self.buckets.read_all()?;
        let mut found = Vec::new();
        for (index, bucket) in (0..).zip(self.buckets.all()) {
            found.extend(bucket.present_keys().map(|(slot, key)| {
                let place = Place::Slot(index * SLOTS + slot);
                Found { prefix: key.prefix(), place, value: RuleValue::default() }
            }));
        }
        if !found.is_empty() {
            if hits {
                read_slots(&mut self.hits, &mut found, |value, bytes| {
                    (value.packets, value.bytes) = (u64_at(bytes, 0), u64_at(bytes, 8));
                })?;
            }
            read_slots(&mut self.marks, &mut found, |value, bytes| {
                (value.end, value.sets) = (u32_at(bytes, 0), u32_at(bytes, 4));
            })?;
        }
        let key_size = self.wide.key_size();
        self.wide.scan(|keys, values| {
            let values = values.chunks_exact(RuleValue::SIZE).map(RuleValue::decode);
            let rules = keys.chunks_exact(key_size).map(wide_prefix).zip(values);
            found.extend(rules.map(|(prefix, value)| Found { prefix, place: Place::Wide, value }));
        })?;
        self.read_trie()?;
        found.extend(self.trie.all().map(|(prefix, value)| Found { prefix, place: Place::Trie, value }));
        Ok(found)
    }

    /// Touches what [`put`](Self::put) will look at for each of these new rules, at most [`AT_ONCE`].
    pub(crate) fn touch(&mut self, prefixes: &mut dyn Iterator<Item = IpNet>) -> Result<()> {
        let config = self.config()?;
        let (mut buckets, mut lines) = ([0; AT_ONCE], [0; AT_ONCE]);
        let mut count = 0;
        for ((prefix, bucket), line) in prefixes.zip(&mut buckets).zip(&mut lines) {
            if let Home::Bucket(key) = home(prefix) {
                *bucket = hash::bucket(key, &config);
            }
            *line = FilterBits::of(prefix, &config, Place::Wide).bits.map_or(0, |bits| bits.line);
            count += 1;
        }
        self.buckets.touch(&buckets[..count], |bucket| bucket.header.into());
        self.lines.touch(&lines[..count], |line| line.0[0]);
        Ok(())
    }

    /// Drafts a rule for `prefix`: another value for the one at `old`, or a new one.
    pub(crate) fn put(&mut self, prefix: IpNet, old: Option<Place>, value: RuleValue) -> Result<()> {
        let (place, hits) = match old {
            Some(place) => (place, Hits::Kept),
            None => self.claim(prefix)?,
        };
        match place {
            Place::Slot(index) => {
                self.slots.push((index, value.mark(), hits));
                let bucket = index / SLOTS;
                if value.end != 0 && !self.buckets.get(bucket)?.has_end() {
                    self.buckets.get(bucket)?.set_has_end();
                    self.buckets.mark(bucket);
                }
            }
            Place::Wide => self.wide_draft.put(&wide_key(prefix), value, &[], old.is_none()),
            Place::Trie => self.trie.put(prefix, Some(value)),
        }
        Ok(())
    }

    /// Drafts that a rule goes.
    pub(crate) fn remove(&mut self, found: &Found) -> Result<()> {
        self.removed += 1;
        match found.place {
            Place::Slot(index) => {
                let (bucket, slot) = (index / SLOTS, index % SLOTS);
                let cell = self.buckets.get(bucket)?;
                *cell = cell.with_present(cell.present() & !(1 << slot));
                self.buckets.mark(bucket);
                self.change(bucket).removed |= 1 << slot;
            }
            Place::Wide => self.wide_draft.remove(&wide_key(found.prefix)),
            Place::Trie => self.trie.put(found.prefix, None),
        }
        Ok(())
    }

    fn change(&mut self, bucket: u32) -> &mut Changes {
        if self.changes.is_empty() {
            self.changes = vec![Changes::default(); self.buckets.len() as usize];
        }
        &mut self.changes[bucket as usize]
    }

    /// A place for a rule that is not there, and the bits that lead packets to it.
    fn claim(&mut self, prefix: IpNet) -> Result<(Place, Hits)> {
        self.added += 1;
        let (place, hits) = match home(prefix) {
            Home::Bucket(key) => self.claim_slot(key)?,
            Home::Wide => (Place::Wide, Hits::Kept),
            Home::Trie => {
                if !self.config()?.has(flags::HAS_TRIE6) {
                    refuse_unlisted(&self.trie.map, &format!("the rule {}", Shown(prefix)))?;
                }
                (Place::Trie, Hits::Kept)
            }
        };
        self.admit(prefix, place)?;
        Ok((place, hits))
    }

    fn claim_slot(&mut self, key: Key) -> Result<(Place, Hits)> {
        let config = self.config()?;
        let index = hash::bucket(key, &config);
        let has_zero = index == hash::bucket(Key::new(Ipv4Addr::UNSPECIFIED, 32), &config);
        self.buckets.mark(index);
        let removed = self.change(index).removed;
        let bucket = self.buckets.get(index)?;
        // Until the draft is written, packets may still find what is to go.
        let taken = bucket.present() | removed;
        let Some(slot) = bucket.free_slot(key, taken) else {
            bucket.set_overflows();
            return Ok((Place::Wide, Hits::Kept));
        };
        // A key stays when its rule goes, so that a slot without one has never counted anything, unless it was that
        // of 0.0.0.0.
        let hits = if bucket.keys[slot] == 0 && !has_zero { Hits::Kept } else { Hits::Zero };
        bucket.write(slot, key);
        *bucket = bucket.with_present(bucket.present() | 1 << slot);
        self.change(index).added |= 1 << slot;
        let place = Place::Slot(index * SLOTS + u32::try_from(slot).expect("15 slots"));
        Ok((place, hits))
    }

    /// Sets the bits without which packets do not look for a rule.
    fn admit(&mut self, prefix: IpNet, place: Place) -> Result<()> {
        let filter = FilterBits::of(prefix, &self.config()?, place);
        self.change_config(|config| filter.tell(config))?;
        if let Some(bits) = filter.bits {
            let line = self.lines.get(bits.line)?;
            if line.0[bits.word] & bits.mask != bits.mask {
                line.0[bits.word] |= bits.mask;
                self.lines.mark(bits.line);
            }
        }
        for (line, word, mask) in filter.head_words() {
            let heads = self.heads.get(line)?;
            if heads.0[word] & mask != mask {
                heads.0[word] |= mask;
                self.heads.mark(line);
            }
        }
        Ok(())
    }

    /// Writes what was drafted. If there is no room, the rules are what they were before; after another failure none is
    /// there that is new, unless it is one of many in buckets.
    pub(crate) fn commit(&mut self) -> Result<()> {
        self.lines.write()?;
        self.heads.write()?;
        self.added = 0;
        let removed = u64::from(std::mem::take(&mut self.removed));
        if removed != 0 {
            self.change_config(|config| config.stale += removed)?;
        }
        self.config.write()?;
        let is_used = self.config()?.has(flags::HAS_TRIE6);
        let (wide, trie) = (std::mem::take(&mut self.wide_draft), self.trie.draft(is_used)?);
        // These alone can be full.
        wide.write_new(&self.wide)?;
        trie.write(&self.trie.map).inspect_err(|_| wide.take_back(&self.wide))?;
        let written = wide
            .write_changed(&self.wide)
            .and_then(|()| self.write_values())
            .and_then(|()| self.write_buckets());
        written.inspect_err(|_| {
            trie.take_back(&self.trie.map);
            wide.take_back(&self.wide);
        })?;
        wide.delete(&self.wide)?;
        trie.delete(&self.trie.map)?;
        self.trie.forget();
        Ok(())
    }

    fn write_values(&mut self) -> Result<()> {
        let slots = std::mem::take(&mut self.slots);
        let indexes: Vec<_> = slots.iter().map(|(index, ..)| *index).collect();
        let marks: Vec<u8> = slots.iter().flat_map(|(_, mark, _)| *mark).collect();
        self.marks.write(&indexes, &marks)?;
        // Nothing counts there yet, so that nothing is lost.
        let new = slots.iter().filter(|(.., hits)| *hits == Hits::Zero).map(|(index, ..)| *index);
        let new: Vec<_> = new.collect();
        self.hits.write(&new, &vec![0; new.len() * RuleValue::HITS])
    }

    /// Keys are written before they are present, since packets see a bucket while it is written.
    fn write_buckets(&mut self) -> Result<()> {
        let changes = std::mem::take(&mut self.changes);
        let of = |index: u32| changes.get(index as usize).copied().unwrap_or_default();
        let changed = self.buckets.changed();
        self.buckets.write_as(&changed, |index, bucket| bucket.with_present(of(index).before(bucket)))?;
        let added: Vec<_> = changed.iter().copied().filter(|index| of(*index).added != 0).collect();
        self.buckets
            .write_as(&added, |index, bucket| bucket.with_present(bucket.present() | of(index).removed))?;
        let removed: Vec<_> = changed.into_iter().filter(|index| of(*index).removed != 0).collect();
        self.buckets.write_as(&removed, |_, bucket| *bucket)?;
        self.buckets.forget_changes();
        Ok(())
    }

    /// Clears the bits that lead to no rule any more; `rules` are all that there are.
    pub(crate) fn rebuild(&mut self, rules: &mut dyn Iterator<Item = IpNet>) -> Result<()> {
        let before = self.config()?;
        let mut config = before;
        (config.lengths4, config.lengths6, config.stale) = (0, 0, 0);
        config.flags &= !(flags::HAS_TRIE6 | flags::HAS_ANY4);
        let mut heads = vec![Heads::default(); self.heads.len() as usize];
        let mut lines = vec![Line::default(); self.lines.len() as usize];
        for prefix in rules {
            let place = if home(prefix) == Home::Trie { Place::Trie } else { Place::Wide };
            let filter = FilterBits::of(prefix, &before, place);
            filter.tell(&mut config);
            if let Some(bits) = filter.bits {
                lines[bits.line as usize].0[bits.word] |= bits.mask;
            }
            for (line, word, mask) in filter.head_words() {
                heads[line as usize].0[word] |= mask;
            }
        }
        self.change_config(|own| *own = config)?;
        self.config.write()?;
        replace(&mut self.heads, heads)?;
        replace(&mut self.lines, lines)
    }
}

/// What leads packets to a rule.
#[derive(Clone, Copy, Debug)]
struct FilterBits {
    flags: u32,
    lengths4: u32,
    lengths6: u32,
    bits: Option<hash::Bits>,
    heads: [hash::HeadBits; 2],
}

impl FilterBits {
    fn of(prefix: IpNet, config: &Config, place: Place) -> Self {
        let length = prefix.prefix_len();
        let none = Self { flags: 0, lengths4: 0, lengths6: 0, bits: None, heads: Default::default() };
        match prefix {
            IpNet::V4(_) if length == 0 => Self { flags: flags::HAS_ANY4, ..none },
            IpNet::V4(net) => Self {
                lengths4: 1 << (32 - length),
                bits: matches!(home(prefix), Home::Bucket(_)).then(|| hash::bits(prefix, config)),
                heads: hash::heads(net, config),
                ..none
            },
            IpNet::V6(_) if place == Place::Trie => Self { flags: flags::HAS_TRIE6, ..none },
            IpNet::V6(_) => Self {
                lengths6: index6(length).map_or(0, |index| 1 << index),
                bits: Some(hash::bits(prefix, config)),
                ..none
            },
        }
    }

    /// The words of `heads`, each by its line and its place there, with the bits to set.
    fn head_words(&self) -> impl Iterator<Item = (u32, usize, u32)> {
        let words =
            |bits: hash::HeadBits| (bits.first..bits.first + bits.count).map(move |word| (word, bits.mask));
        self.heads
            .into_iter()
            .flat_map(words)
            .map(|(word, mask)| (word / HEADS, (word % HEADS) as usize, mask))
    }

    fn tell(&self, config: &mut Config) {
        config.flags |= self.flags;
        config.lengths4 |= self.lengths4;
        config.lengths6 |= self.lengths6;
    }
}

/// Reads an array into the rules, which stand in the order of their slots and have all one.
fn read_slots(array: &mut Array, found: &mut [Found], take: impl Fn(&mut RuleValue, &[u8])) -> Result<()> {
    let indexes: Vec<_> = found.iter().filter_map(|found| found.place.slot()).collect();
    let mut rest = found.iter_mut();
    array.read_many(&mut indexes.into_iter(), &mut |bytes| {
        if let Some(found) = rest.next() {
            take(&mut found.value, bytes);
        }
    })
}

/// Writes those of `wanted` that are different.
fn replace<T: Cell + PartialEq>(cells: &mut Cells<T>, wanted: Vec<T>) -> Result<()> {
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
