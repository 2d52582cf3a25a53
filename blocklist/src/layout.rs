//! What the maps of the packet program hold, byte by byte: the Rust side of `bpf-src/blocklist.h`.
//!
//! A test compares names, sizes and places with the types in the object.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// `BLOCK_LAYOUT`.
pub(crate) const LAYOUT: u32 = 5;
/// Keys of a bucket.
pub(crate) const KEYS: usize = 15;
/// Slots of a bucket in `hits` and `marks`, of which the last is not used.
pub(crate) const SLOTS: u32 = 16;
/// Words of a line of `heads`.
pub(crate) const HEADS: u32 = 16;
/// Lines of `heads`, with a word for each /16.
pub(crate) const COARSE_HEAD_LINES: u32 = 4096;
/// Lines of `heads` with [`flags::FINE_HEADS`], with two words for each /19.
pub(crate) const FINE_HEAD_LINES: u32 = 2 * SLASH19S / HEADS;
/// `BLOCK_SLASH19S`: how many /19 there are.
pub(crate) const SLASH19S: u32 = 1 << 19;
/// Lengths of IPv6 rules that are in `wide`; each is known by its place here.
pub(crate) const LENGTHS6: [u8; 10] = [128, 64, 56, 48, 44, 40, 36, 32, 29, 28];
/// The longest IPv4 prefix that is in `wide` and not in `buckets`.
pub(crate) const MAX_WIDE4: u8 = 16;
/// Named sets.
pub(crate) const SETS: u32 = 32;
/// Bytes of a set's name, the last of which is 0.
pub(crate) const NAME_BYTES: usize = 48;
/// A time is this many bits of nanoseconds short.
pub(crate) const TIME_SHIFT: u32 = 30;

/// What the program is told in `config`.
pub(crate) mod flags {
    pub(crate) const COUNT_ONLY: u32 = 1;
    pub(crate) const DEFAULT_DROP: u32 = 2;
    pub(crate) const HAS_ALLOW4: u32 = 4;
    pub(crate) const HAS_ALLOW6: u32 = 8;
    pub(crate) const HAS_TRIE6: u32 = 16;
    pub(crate) const HAS_ANY4: u32 = 32;
    pub(crate) const FINE_HEADS: u32 = 64;
}

const IS_PREFIX_SHIFT: u32 = 15;
const HAS_END: u32 = 1 << 30;
const OVERFLOWS: u32 = 1 << 31;

/// A value of a map.
pub(crate) trait Cell: Clone {
    const SIZE: usize;
    fn decode(bytes: &[u8]) -> Self;
    fn encode(&self, out: &mut Vec<u8>);
}

/// The number at `offset`.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

/// The number at `offset`.
pub(crate) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_ne_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

/// `struct block_config`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) flags: u32,
    /// Bit 32 - length, from /1 to /32.
    pub(crate) lengths4: u32,
    /// Bit n for the n-th of [`LENGTHS6`].
    pub(crate) lengths6: u32,
    /// How many there are.
    pub(crate) buckets: u32,
    /// How many there are in `filter`.
    pub(crate) lines: u32,
    pub(crate) seed: u32,
    /// [`LAYOUT`] of whoever made the maps. For user space alone.
    pub(crate) layout: u32,
    /// When [`flags::DEFAULT_DROP`] ends, although its bit stays; 0 for never.
    pub(crate) default_end: u64,
    /// Rules that have gone since the filter was made. For user space alone.
    pub(crate) stale: u64,
}

impl Cell for Config {
    const SIZE: usize = 48;

    fn decode(bytes: &[u8]) -> Self {
        Self {
            flags: u32_at(bytes, 0),
            lengths4: u32_at(bytes, 4),
            lengths6: u32_at(bytes, 8),
            buckets: u32_at(bytes, 12),
            lines: u32_at(bytes, 16),
            seed: u32_at(bytes, 20),
            layout: u32_at(bytes, 28),
            default_end: u64_at(bytes, 32),
            stale: u64_at(bytes, 40),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        // The last but one is always 0.
        let numbers =
            [self.flags, self.lengths4, self.lengths6, self.buckets, self.lines, self.seed, 0, self.layout];
        out.extend(numbers.map(u32::to_ne_bytes).as_flattened());
        out.extend([self.default_end, self.stale].map(u64::to_ne_bytes).as_flattened());
    }
}

impl Config {
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// How many lines there are in `heads`.
    pub(crate) fn head_lines(&self) -> u32 {
        if self.has(flags::FINE_HEADS) { FINE_HEAD_LINES } else { COARSE_HEAD_LINES }
    }
}

/// Where a rule for `prefix` is, or would be.
pub(crate) fn home(prefix: IpNet) -> Home {
    let length = prefix.prefix_len();
    match prefix.addr() {
        IpAddr::V4(_) if length <= MAX_WIDE4 => Home::Wide,
        IpAddr::V4(address) => Home::Bucket(Key::new(address, length)),
        IpAddr::V6(_) if index6(length).is_some() => Home::Wide,
        IpAddr::V6(_) => Home::Trie,
    }
}

/// The number of an IPv6 length that is in `wide`.
pub(crate) fn index6(length: u8) -> Option<usize> {
    LENGTHS6.iter().position(|&other| other == length)
}

/// The map that a rule is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    Bucket(Key),
    Wide,
    Trie,
}

/// How many verdicts there are: the length of `enum block_verdict`.
pub(crate) const VERDICTS: usize = 8;
/// Bytes of `struct block_counters`.
pub(crate) const COUNTERS_SIZE: usize = 8 + 16 * VERDICTS;

/// A key of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) code: u32,
    pub(crate) is_prefix: bool,
}

impl Key {
    /// `length` is between 17 and 32.
    pub(crate) fn new(address: Ipv4Addr, length: u8) -> Self {
        let address = u32::from(address);
        match length {
            32 => Self { code: address, is_prefix: false },
            _ => Self { code: code(address, length), is_prefix: true },
        }
    }

    /// The prefix that the key stands for.
    pub(crate) fn prefix(self) -> IpNet {
        let (address, length) = if self.is_prefix { decode(self.code) } else { (self.code, 32) };
        net(IpAddr::V4(address.into()), length)
    }
}

/// `block_code()` of a prefix of /17 to /31.
fn code(address: u32, length: u8) -> u32 {
    address & !(u32::MAX >> length) | 1 << (31 - length)
}

/// What [`code`] was made from.
fn decode(code: u32) -> (u32, u8) {
    let zeros = code.trailing_zeros().min(31);
    let length = u8::try_from(31 - zeros).expect("below 32");
    (code & !(1 << zeros), length)
}

/// The prefix with this length; one that is longer than the family allows is cut.
pub(crate) fn net(address: IpAddr, length: u8) -> IpNet {
    let width = if address.is_ipv4() { 32 } else { 128 };
    IpNet::new(address, length.min(width)).expect("the length was cut").trunc()
}

/// `struct block_bucket`, which is a cache line here as well.
#[repr(align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) header: u32,
    pub(crate) keys: [u32; KEYS],
}

impl Cell for Bucket {
    const SIZE: usize = 64;

    fn decode(bytes: &[u8]) -> Self {
        Self { header: u32_at(bytes, 0), keys: std::array::from_fn(|slot| u32_at(bytes, 4 + 4 * slot)) }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.header.to_ne_bytes());
        out.extend(self.keys.map(u32::to_ne_bytes).as_flattened());
    }
}

impl Bucket {
    /// Which keys are present: bit n for slot n.
    pub(crate) fn present(&self) -> u16 {
        let bits = self.header & ((1 << KEYS) - 1);
        u16::try_from(bits).expect("15 bits")
    }

    pub(crate) fn with_present(mut self, present: u16) -> Self {
        self.header = self.header & !((1 << KEYS) - 1) | u32::from(present);
        self
    }

    /// The keys that are present, with their slots.
    pub(crate) fn present_keys(&self) -> impl Iterator<Item = (u32, Key)> {
        let (present, header, keys) = (self.present(), self.header, self.keys);
        (0..KEYS).filter(move |slot| present & (1 << slot) != 0).map(move |slot| {
            let is_prefix = header & (1 << (IS_PREFIX_SHIFT as usize + slot)) != 0;
            (u32::try_from(slot).expect("15 slots"), Key { code: keys[slot], is_prefix })
        })
    }

    /// The slot for a key that is not present, if there is one: packets look only at the first slot with its code, so
    /// that one which has the code is used again or none. `taken` are the slots that packets may find something in.
    pub(crate) fn free_slot(&self, key: Key, taken: u16) -> Option<usize> {
        let is_free = |slot: &usize| taken & (1 << slot) == 0;
        match self.keys.iter().position(|&code| code == key.code) {
            Some(slot) => Some(slot).filter(is_free),
            None => (0..KEYS).find(is_free),
        }
    }

    /// Writes a key that is not present yet.
    pub(crate) fn write(&mut self, slot: usize, key: Key) {
        let kind = 1 << (IS_PREFIX_SHIFT as usize + slot);
        self.keys[slot] = key.code;
        self.header = if key.is_prefix { self.header | kind } else { self.header & !kind };
    }

    pub(crate) fn overflows(&self) -> bool {
        self.header & OVERFLOWS != 0
    }

    pub(crate) fn set_overflows(&mut self) {
        self.header |= OVERFLOWS;
    }

    pub(crate) fn has_end(&self) -> bool {
        self.header & HAS_END != 0
    }

    pub(crate) fn set_has_end(&mut self) {
        self.header |= HAS_END;
    }
}

/// `struct block_rule`: what a rule has dropped, and what belongs to it. Rules in `buckets` have the two halves in two
/// maps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleValue {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) end: u32,
    pub(crate) sets: u32,
}

impl Cell for RuleValue {
    const SIZE: usize = 24;

    fn decode(bytes: &[u8]) -> Self {
        Self {
            packets: u64_at(bytes, 0),
            bytes: u64_at(bytes, 8),
            end: u32_at(bytes, 16),
            sets: u32_at(bytes, 20),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend([self.packets, self.bytes].map(u64::to_ne_bytes).as_flattened());
        out.extend([self.end, self.sets].map(u32::to_ne_bytes).as_flattened());
    }
}

impl RuleValue {
    /// `struct block_hits`.
    pub(crate) const HITS: usize = 16;
    /// `struct block_mark`.
    pub(crate) const MARK: usize = 8;
    /// `struct block_trie_rule`.
    pub(crate) const IN_TRIE: usize = 32;

    pub(crate) fn mark(&self) -> [u8; Self::MARK] {
        let mut bytes = [0; Self::MARK];
        bytes[..4].copy_from_slice(&self.end.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.sets.to_ne_bytes());
        bytes
    }
}

/// A line of `heads`: `struct block_heads`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heads(pub(crate) [u32; HEADS as usize]);

impl Cell for Heads {
    const SIZE: usize = 4 * HEADS as usize;

    fn decode(bytes: &[u8]) -> Self {
        Self(std::array::from_fn(|word| u32_at(bytes, 4 * word)))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.0.map(u32::to_ne_bytes).as_flattened());
    }
}

/// A line of `filter`: `struct block_line`.
#[repr(align(64))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line(pub(crate) [u64; 8]);

impl Cell for Line {
    const SIZE: usize = 64;

    fn decode(bytes: &[u8]) -> Self {
        Self(std::array::from_fn(|word| u64_at(bytes, 8 * word)))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.0.map(u64::to_ne_bytes).as_flattened());
    }
}

/// A value of `sets`: a set's name, and what only writers keep in mind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set {
    /// Empty for a free place.
    pub(crate) name: String,
    /// No hold of the set ends before; 0 if none has an end.
    pub(crate) next_end: u32,
    /// Of the first set alone: one more than there are rules at most, whichever sets hold them. 0 if nobody has
    /// counted.
    pub(crate) rules: u32,
}

impl Cell for Set {
    const SIZE: usize = NAME_BYTES + 8;

    fn decode(bytes: &[u8]) -> Self {
        let name = bytes[..NAME_BYTES].split(|&byte| byte == 0).next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        Self { name, next_end: u32_at(bytes, NAME_BYTES), rules: u32_at(bytes, NAME_BYTES + 4) }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let name = self.name.as_bytes();
        let mut bytes = [0; NAME_BYTES];
        let len = name.len().min(NAME_BYTES - 1);
        bytes[..len].copy_from_slice(&name[..len]);
        out.extend(bytes);
        out.extend([self.next_end, self.rules].map(u32::to_ne_bytes).as_flattened());
    }
}

/// The key of `wide`: `struct block_wide_key`.
pub(crate) fn wide_key(prefix: IpNet) -> [u8; 20] {
    let (family, address) = match prefix.addr() {
        IpAddr::V4(address) => (4_u32, padded(address.octets())),
        IpAddr::V6(address) => (6, address.octets()),
    };
    let mut key = [0; 20];
    key[..4].copy_from_slice(&(family << 16 | u32::from(prefix.prefix_len())).to_ne_bytes());
    key[4..].copy_from_slice(&address);
    key
}

/// The prefix of a key of `wide`.
pub(crate) fn wide_prefix(key: &[u8]) -> IpNet {
    let family_length = u32_at(key, 0);
    let length = (family_length & 0xff).to_ne_bytes();
    let length = if cfg!(target_endian = "big") { length[3] } else { length[0] };
    let octets: [u8; 16] = key[4..20].try_into().expect("sixteen bytes");
    let address = if family_length >> 16 == 4 {
        IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]))
    } else {
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    net(address, length)
}

/// The key of an LPM trie: `struct block_prefix4` or `struct block_prefix6`.
pub(crate) fn trie_key(prefix: IpNet) -> Vec<u8> {
    let mut key = u32::from(prefix.prefix_len()).to_ne_bytes().to_vec();
    match prefix.addr() {
        IpAddr::V4(address) => key.extend(address.octets()),
        IpAddr::V6(address) => key.extend(address.octets()),
    }
    key
}

/// The prefix of a key of an LPM trie.
pub(crate) fn trie_prefix(key: &[u8]) -> IpNet {
    let length = u8::try_from(u32_at(key, 0)).unwrap_or(u8::MAX);
    let address = match <[u8; 16]>::try_from(&key[4..]) {
        Ok(octets) => IpAddr::V6(octets.into()),
        Err(_) => IpAddr::V4(Ipv4Addr::new(key[4], key[5], key[6], key[7])),
    };
    net(address, length)
}

/// The key of `holds`: that of `wide`, and the number of the set.
pub(crate) fn hold_key(prefix: IpNet, set: u32) -> [u8; 24] {
    let mut key = [0; 24];
    key[..20].copy_from_slice(&wide_key(prefix));
    key[20..].copy_from_slice(&set.to_ne_bytes());
    key
}

fn padded(octets: [u8; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&octets);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_a_prefix() {
        for (address, length, expected) in
            [(0xc000_0200, 24, 0xc000_0280), (0xffff_8000, 17, 0xffff_c000), (0xc000_0202, 31, 0xc000_0203)]
        {
            assert_eq!(code(address, length), expected);
            assert_eq!(decode(expected), (address, length));
        }
    }
}
