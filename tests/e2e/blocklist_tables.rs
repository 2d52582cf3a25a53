//! The maps of the blocklist's packet program, filled by the letter of bpf-src/blocklist.h and by none of our other
//! code.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use loader::{Kernel, Loaded, Loader, Map, Object, Program, UpdateFlags};

/// Bits of `flags` in `struct block_config`.
pub(crate) const COUNT_ONLY: u32 = 1;
pub(crate) const DEFAULT_DROP: u32 = 2;
const HAS_ALLOW4: u32 = 4;
const HAS_ALLOW6: u32 = 8;
const HAS_TRIE6: u32 = 16;
const HAS_ANY4: u32 = 32;
const FINE_HEADS: u32 = 64;
/// Words of the fine heads before those that have lengths.
const SLASH19S: u32 = 1 << 19;

const HAS_END: u32 = 1 << 30;
const OVERFLOWS: u32 = 1 << 31;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
const SEED: u32 = 0x5eed_1e55;
/// Few, so that buckets fill and lines are shared.
pub(crate) const BUCKETS: u32 = 31;
const LINES: u32 = 61;
/// The lengths of IPv6 rules in `wide`, by their bits.
const LENGTHS6: [u8; 10] = [128, 64, 56, 48, 44, 40, 36, 32, 29, 28];

/// The committed object.
pub(crate) fn prebuilt() -> Object {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("bpf-src/prebuilt/blocklist.o");
    Object::open(path).expect("the object can be read")
}

/// A rule: a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rule {
    pub(crate) address: IpAddr,
    pub(crate) length: u8,
}

impl Rule {
    /// The prefix of this length that `address` is in.
    pub(crate) fn around(address: impl Into<IpAddr>, length: u8) -> Self {
        let address = match address.into() {
            IpAddr::V4(v4) => Ipv4Addr::from(first_bits4(v4.into(), length)).into(),
            IpAddr::V6(v6) => Ipv6Addr::from(first_bits6(v6.into(), length)).into(),
        };
        Self { address, length }
    }

    pub(crate) fn covers(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4() && Self::around(address, self.length) == self
    }
}

fn first_bits4(number: u32, length: u8) -> u32 {
    number & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

fn first_bits6(number: u128, length: u8) -> u128 {
    number & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

fn mix(number: u64) -> u64 {
    let number = number.wrapping_mul(MULTIPLIER);
    (number ^ number >> 32).wrapping_mul(MULTIPLIER)
}

fn low(number: u64) -> u32 {
    (number & 0xffff_ffff) as u32
}

/// One of so many places, by the lower half of a hash.
fn place(hash: u64, places: u32) -> u32 {
    low(((hash & 0xffff_ffff) * u64::from(places)) >> 32)
}

/// Where a rule is.
#[derive(Clone, Debug)]
enum Place {
    Slot(u32),
    Wide(Vec<u8>),
    Trie(Rule),
}

/// The program, with its maps.
pub(crate) struct Tables {
    loaded: Loaded,
    flags: u32,
    lengths4: u32,
    lengths6: u32,
    /// The rules in the trie, with their ends.
    in_trie: Vec<(Rule, u32)>,
}

impl Tables {
    /// Loads `object`, with small maps.
    pub(crate) fn load(object: &Object) -> Self {
        Self::load_into(&Kernel::current().expect("a kernel tells its version"), object)
    }

    /// Loads `object`, as for a large list.
    pub(crate) fn load_fine(object: &Object) -> Self {
        Self::load_with(&Kernel::current().expect("a kernel tells its version"), object, FINE_HEADS)
    }

    /// Loads `object` into this kernel, of which less may be known than is true.
    pub(crate) fn load_into(kernel: &Kernel, object: &Object) -> Self {
        Self::load_with(kernel, object, 0)
    }

    fn load_with(kernel: &Kernel, object: &Object, flags: u32) -> Self {
        let heads = if flags & FINE_HEADS == 0 { 1 << 16 } else { 2 * SLASH19S };
        let entries = [
            ("buckets", BUCKETS),
            ("hits", 16 * BUCKETS),
            ("marks", 16 * BUCKETS),
            ("filter", LINES),
            ("heads", heads / 16),
        ];
        let mut wish = Loader::new(object);
        for (map, number) in entries {
            wish = wish.max_entries(map, number);
        }
        let plan = wish.plan(kernel).expect("a plan");
        let loaded = plan.execute(|_| {}).expect("the kernel takes it");
        let tables = Self { loaded, flags, lengths4: 0, lengths6: 0, in_trie: Vec::new() };
        tables.configure();
        tables
    }

    pub(crate) fn program(&self) -> &Program {
        self.loaded.program("xdp_blocklist").expect("the object has it")
    }

    fn map(&self, name: &str) -> &Map {
        self.loaded.map(name).expect("the object has it")
    }

    fn read(&self, map: &str, key: &[u8]) -> Vec<u8> {
        let value = self.map(map).lookup(key).expect("the kernel answers").expect("the entry is there");
        value.single().expect("one value a key").to_vec()
    }

    fn write(&self, map: &str, key: &[u8], value: &[u8]) {
        self.map(map).update(key, value, UpdateFlags::ANY).expect("there is room");
    }

    /// Changes the word of 32 bits at `offset` of an entry of an array.
    fn change(&self, map: &str, index: u32, offset: usize, change: impl FnOnce(u32) -> u32) {
        let mut value = self.read(map, &index.to_ne_bytes());
        let word = u32::from_ne_bytes(value[offset..offset + 4].try_into().expect("four bytes"));
        value[offset..offset + 4].copy_from_slice(&change(word).to_ne_bytes());
        self.write(map, &index.to_ne_bytes(), &value);
    }

    fn configure(&self) {
        let numbers = [self.flags, self.lengths4, self.lengths6, BUCKETS, LINES, SEED, 0, 0, 0, 0, 0, 0];
        self.write("config", &[0; 4], numbers.map(u32::to_ne_bytes).as_flattened());
    }

    pub(crate) fn set(&mut self, flags: u32) {
        self.flags |= flags;
        self.configure();
    }

    pub(crate) fn unset(&mut self, flags: u32) {
        self.flags &= !flags;
        self.configure();
    }

    /// Has the filter let packets by that this hash is about.
    fn open_filter(&self, how_many: u64, first_bits: u64, hash: u64) {
        let line = place(mix(first_bits ^ how_many << 56 ^ u64::from(SEED)) >> 32, LINES);
        let mut words = self.read("filter", &line.to_ne_bytes());
        let at = 8 * usize::try_from(hash >> 49 & 7).expect("small");
        let word = u64::from_ne_bytes(words[at..at + 8].try_into().expect("eight bytes"));
        let word = word | 1 << (hash >> 58) | 1 << (hash >> 52 & 63);
        words[at..at + 8].copy_from_slice(&word.to_ne_bytes());
        self.write("filter", &line.to_ne_bytes(), &words);
    }

    /// Adds a rule that ends at `end`, in units of 2^30 ns; 0 for never.
    pub(crate) fn add(&mut self, rule: Rule, end: u32) -> Added {
        let place = match rule.address {
            IpAddr::V4(address) => self.add4(address.into(), rule.length, end),
            IpAddr::V6(address) => self.add6(address.into(), rule.length, end),
        };
        self.configure();
        Added { place }
    }

    fn add4(&mut self, number: u32, length: u8, end: u32) -> Place {
        let wide_key = wide_key(4, length, &number.to_be_bytes());
        if length == 0 {
            self.flags |= HAS_ANY4;
            return self.add_wide(wide_key, end);
        }
        let bit = 1 << (32 - length);
        self.lengths4 |= bit;
        if self.flags & FINE_HEADS == 0 {
            self.tell_heads(number >> 16, 1 << 16_u8.saturating_sub(length), bit);
        } else {
            let (slash19, count) = (number >> 13, 1 << 19_u8.saturating_sub(length));
            self.tell_heads(SLASH19S + slash19, count, bit);
            // A rule lies in a /24 or covers it if the shorter of the two is the beginning of the other.
            let shared = length.min(24);
            let is_told =
                |n: &u32| first_bits4((slash19 << 5 | n) << 8, shared) == first_bits4(number, shared);
            let slash24s = (0..32).filter(is_told).fold(0, |bits, n| bits | 1 << n);
            self.tell_heads(slash19, count, slash24s);
        }
        if length < 17 {
            return self.add_wide(wide_key, end);
        }
        let is_prefix = u32::from(length != 32);
        let code = if length == 32 { number } else { number | 1 << (31 - length) };
        let hash = mix((u64::from(code) | u64::from(is_prefix) << 32) ^ u64::from(SEED));
        let how_many = if length >= 24 { 24 } else { 16 };
        self.open_filter(how_many, u64::from(number) >> (32 - how_many), hash);
        let bucket = place(hash >> 16, BUCKETS);
        let words = self.read("buckets", &bucket.to_ne_bytes());
        let word = |n: usize| u32::from_ne_bytes(words[4 * n..4 * n + 4].try_into().expect("four bytes"));
        let is_free = |slot: &u32| word(0) & 1 << slot == 0;
        let same = (0..15).find(|slot| word(*slot as usize + 1) == code);
        let Some(slot) = same.or_else(|| (0..15).find(is_free)).filter(is_free) else {
            self.change("buckets", bucket, 0, |header| header | OVERFLOWS);
            return self.add_wide(wide_key, end);
        };
        self.write("hits", &(16 * bucket + slot).to_ne_bytes(), &[0; 16]);
        self.write(
            "marks",
            &(16 * bucket + slot).to_ne_bytes(),
            [end, 1].map(u32::to_ne_bytes).as_flattened(),
        );
        self.change("buckets", bucket, 4 + 4 * slot as usize, |_| code);
        self.change("buckets", bucket, 0, |header| {
            let ends = if end == 0 { 0 } else { HAS_END };
            header & !(1 << (15 + slot)) | 1 << slot | is_prefix << (15 + slot) | ends
        });
        Place::Slot(16 * bucket + slot)
    }

    /// Sets bits in so many words of `heads`.
    fn tell_heads(&self, first: u32, count: u32, bits: u32) {
        let words: Vec<_> = (first..first + count).collect();
        for words in words.chunk_by(|a, b| a >> 4 == b >> 4) {
            let line = words[0] >> 4;
            let mut value = self.read("heads", &line.to_ne_bytes());
            for word in words {
                let at = 4 * (*word as usize & 15);
                let old = u32::from_ne_bytes(value[at..at + 4].try_into().expect("four bytes"));
                value[at..at + 4].copy_from_slice(&(old | bits).to_ne_bytes());
            }
            self.write("heads", &line.to_ne_bytes(), &value);
        }
    }

    fn add6(&mut self, number: u128, length: u8, end: u32) -> Place {
        let Some(bit) = LENGTHS6.iter().position(|other| *other == length) else {
            self.flags |= HAS_TRIE6;
            let rule = Rule { address: Ipv6Addr::from(number).into(), length };
            self.write(
                "trie6",
                &trie_key(rule),
                [0, 0, 0, 0, end, 1, 0, 0].map(u32::to_ne_bytes).as_flattened(),
            );
            self.in_trie.push((rule, end));
            self.lead();
            return Place::Trie(rule);
        };
        self.lengths6 |= 1 << bit;
        let half = |bits: u128| u64::try_from(bits & u128::from(u64::MAX)).expect("64 bits");
        let (high, low) = (half(number >> 64), half(number));
        let folded = (high ^ u64::from(SEED) ^ u64::from(length) << 32).wrapping_mul(MULTIPLIER);
        let how_many = [64, 48, 32, 16].into_iter().find(|bits| *bits <= length).expect("28 is the least");
        self.open_filter(how_many.into(), high >> (64 - how_many), mix(folded ^ low));
        self.add_wide(wide_key(6, length, &number.to_be_bytes()), end)
    }

    /// Has each rule of the trie lead to the one that ends last around it.
    fn lead(&self) {
        for (rule, _) in &self.in_trie {
            let is_around =
                |(other, _): &&(Rule, u32)| other.length < rule.length && other.covers(rule.address);
            let last = self.in_trie.iter().filter(is_around).max_by_key(|(other, end)| {
                let end = if *end == 0 { u64::MAX } else { u64::from(*end) };
                (end, other.length)
            });
            let next = last.map_or(0, |(other, _)| u32::from(other.length));
            let mut value = self.read("trie6", &trie_key(*rule));
            value[24..28].copy_from_slice(&next.to_ne_bytes());
            self.write("trie6", &trie_key(*rule), &value);
        }
    }

    fn add_wide(&self, key: Vec<u8>, end: u32) -> Place {
        self.write("wide", &key, [0, 0, 0, 0, end, 1].map(u32::to_ne_bytes).as_flattened());
        Place::Wide(key)
    }

    /// Takes a rule out, and leaves the bits that led to it.
    pub(crate) fn remove(&mut self, added: &Added) {
        match &added.place {
            Place::Slot(index) => {
                self.change("buckets", index / 16, 0, |header| header & !(1 << (index % 16)));
            }
            Place::Wide(key) => assert!(self.map("wide").delete(key).expect("the kernel answers")),
            Place::Trie(rule) => {
                assert!(self.map("trie6").delete(&trie_key(*rule)).expect("the kernel answers"));
                self.in_trie.retain(|(other, _)| other != rule);
                self.lead();
            }
        }
    }

    /// Packets and bytes that a rule has counted.
    pub(crate) fn hits(&self, added: &Added) -> (u64, u64) {
        let value = match &added.place {
            Place::Slot(index) => self.read("hits", &index.to_ne_bytes()),
            Place::Wide(key) => self.read("wide", key),
            Place::Trie(rule) => self.read("trie6", &trie_key(*rule)),
        };
        let number = |at: usize| u64::from_ne_bytes(value[at..at + 8].try_into().expect("eight bytes"));
        (number(0), number(8))
    }

    pub(crate) fn allow(&mut self, rule: Rule) {
        let length = u32::from(rule.length).to_ne_bytes();
        let (map, flag, address) = match rule.address {
            IpAddr::V4(address) => ("allow4", HAS_ALLOW4, address.octets().to_vec()),
            IpAddr::V6(address) => ("allow6", HAS_ALLOW6, address.octets().to_vec()),
        };
        self.write(map, &[&length[..], &address].concat(), &length);
        self.set(flag);
    }

    /// Packets and bytes of each verdict on the interface with this index, of all processors.
    pub(crate) fn verdicts(&self, interface: u32) -> [(u64, u64); 8] {
        let counters = self.map("counters").lookup(&(interface & 255).to_ne_bytes());
        let counters = counters.expect("the kernel answers").expect("the entry is there");
        let mut sums = [(0, 0); 8];
        for cpu in counters.all() {
            for (sum, count) in sums.iter_mut().zip(cpu[8..].chunks_exact(16)) {
                sum.0 += u64::from_ne_bytes(count[..8].try_into().expect("eight bytes"));
                sum.1 += u64::from_ne_bytes(count[8..].try_into().expect("eight bytes"));
            }
        }
        sums
    }
}

fn trie_key(rule: Rule) -> Vec<u8> {
    let IpAddr::V6(address) = rule.address else { panic!("{rule:?} is of IPv4") };
    [&u32::from(rule.length).to_ne_bytes()[..], &address.octets()].concat()
}

fn wide_key(family: u32, length: u8, address: &[u8]) -> Vec<u8> {
    let mut key = (family << 16 | u32::from(length)).to_ne_bytes().to_vec();
    key.extend(address);
    key.resize(20, 0);
    key
}

/// A rule that is there.
#[derive(Clone, Debug)]
pub(crate) struct Added {
    place: Place,
}

impl Added {
    /// Whether its bucket was full.
    pub(crate) fn is_wide(&self) -> bool {
        matches!(self.place, Place::Wide(_))
    }
}
