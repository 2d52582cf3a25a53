//! Where rules are and which bits say so: the arithmetic of `bpf-src/blocklist.h`, which must agree to the bit.

use ipnet::{IpNet, Ipv4Net};

use crate::layout::{Config, Key, SLASH19S, flags};

/// `BLOCK_MULTIPLIER`.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// `block_mix()`.
fn mix(number: u64) -> u64 {
    let number = number.wrapping_mul(MULTIPLIER);
    (number ^ number >> 32).wrapping_mul(MULTIPLIER)
}

/// The lower half.
fn low(number: u64) -> u32 {
    u32::try_from(number & 0xffff_ffff).expect("32 bits")
}

/// `block_place_of()` for the lower half of `bits`.
fn place(bits: u64, places: u32) -> u32 {
    low((u64::from(low(bits)) * u64::from(places)) >> 32)
}

/// The bucket of a key.
pub(crate) fn bucket(key: Key, config: &Config) -> u32 {
    place(hash4(key, config.seed) >> 16, config.buckets)
}

/// `block_hash4()`.
fn hash4(key: Key, seed: u32) -> u64 {
    mix((u64::from(key.code) | u64::from(key.is_prefix) << 32) ^ u64::from(seed))
}

/// Bits of a line of `filter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bits {
    pub(crate) line: u32,
    pub(crate) word: usize,
    pub(crate) mask: u64,
}

/// The bits of `filter` without which packets do not look for a rule; there are none for IPv4 up to /16, nor for IPv6
/// in the trie.
pub(crate) fn bits(prefix: IpNet, config: &Config) -> Bits {
    let (length, seed) = (prefix.prefix_len(), config.seed);
    let (first_bits, how_many, hash) = match prefix {
        IpNet::V4(net) => {
            let address = u32::from(net.addr());
            let many = if length >= 24 { 24 } else { 16 };
            (u64::from(address >> (32 - many)), many, hash4(Key::new(net.addr(), length), seed))
        }
        IpNet::V6(net) => {
            let address = u128::from(net.addr());
            let halves = [address >> 64, address & u128::from(u64::MAX)];
            let [high, low] = halves.map(|half| u64::try_from(half).expect("64 bits"));
            let many = [64, 48, 32].into_iter().find(|&many| u32::from(length) >= many).unwrap_or(16);
            let hash = mix((high ^ u64::from(seed) ^ u64::from(length) << 32).wrapping_mul(MULTIPLIER) ^ low);
            (high >> (64 - many), many, hash)
        }
    };
    let line = place(mix(first_bits ^ u64::from(how_many) << 56 ^ u64::from(seed)) >> 32, config.lines);
    let mask = 1 << (hash >> 58) | 1 << (hash >> 52 & 63);
    Bits { line, word: usize::try_from(hash >> 49 & 7).expect("three bits"), mask }
}

/// Words of `heads`, one after the other, in each of which these bits tell of a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HeadBits {
    pub(crate) first: u32,
    pub(crate) count: u32,
    pub(crate) mask: u32,
}

/// The bits of `heads` that tell of an IPv4 rule, which is not /0.
pub(crate) fn heads(net: Ipv4Net, config: &Config) -> [HeadBits; 2] {
    let (address, length) = (u32::from(net.addr()), u32::from(net.prefix_len()));
    let words_of = |bits: u32| (address >> (32 - bits), 1 << bits.saturating_sub(length));
    let mask = 1 << (32 - length);
    if !config.has(flags::FINE_HEADS) {
        let (first, count) = words_of(16);
        return [HeadBits { first, count, mask }, HeadBits::default()];
    }
    let (first, count) = words_of(19);
    let slash24s = match length {
        ..20 => u32::MAX,
        // A rule that is longer than /24 is in one as well.
        20.. => ((1 << (1 << 24_u32.saturating_sub(length))) - 1) << (address >> 8 & 31),
    };
    let lengths = HeadBits { first: SLASH19S + first, count, mask };
    [lengths, HeadBits { first, count, mask: slash24s }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{FINE_HEAD_LINES, HEADS};

    /// The words that tell of a rule, with their bits.
    fn told(net: &str, config: &Config) -> Vec<(u32, u32, u32)> {
        let bits = heads(net.parse().unwrap(), config).into_iter().filter(|bits| bits.count != 0);
        bits.map(|bits| (bits.first, bits.count, bits.mask)).collect()
    }

    #[test]
    fn coarse_heads_tell_of_lengths_by_the_16() {
        let config = Config::default();
        assert_eq!(told("192.0.2.1/32", &config), [(0xc000, 1, 1)]);
        assert_eq!(told("192.0.0.0/16", &config), [(0xc000, 1, 1 << 16)]);
        assert_eq!(told("192.0.0.0/10", &config), [(0xc000, 64, 1 << 22)]);
    }

    #[test]
    fn fine_heads_tell_of_lengths_by_the_19_and_of_each_24() {
        let config = Config { flags: flags::FINE_HEADS, ..Config::default() };
        let slash19 = 0xc000_0000 >> 13;
        let with_lengths = |first: u32, count: u32, length: u32, slash24s: u32| {
            [(SLASH19S + first, count, 1 << (32 - length)), (first, count, slash24s)]
        };
        assert_eq!(told("192.0.2.1/32", &config), with_lengths(slash19, 1, 32, 1 << 2));
        assert_eq!(told("192.0.33.0/24", &config), with_lengths(slash19 + 1, 1, 24, 1 << 1));
        assert_eq!(told("192.0.2.0/23", &config), with_lengths(slash19, 1, 23, 3 << 2));
        assert_eq!(told("192.0.16.0/20", &config), with_lengths(slash19, 1, 20, 0xffff_0000));
        assert_eq!(told("192.0.32.0/19", &config), with_lengths(slash19 + 1, 1, 19, u32::MAX));
        assert_eq!(told("192.0.0.0/12", &config), with_lengths(slash19, 128, 12, u32::MAX));
        assert_eq!(told("128.0.0.0/1", &config), with_lengths(1 << 18, 1 << 18, 1, u32::MAX));
        assert_eq!(FINE_HEAD_LINES * HEADS, 2 * SLASH19S);
    }
}
