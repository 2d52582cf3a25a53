//! Where rules are and which bits say so: the arithmetic of `bpf-src/blocklist.h`, which must agree to the bit.

use ipnet::IpNet;

use crate::layout::{Config, Key};

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

/// The words of `heads` that tell of an IPv4 rule: the first one, and how many.
pub(crate) fn heads(net: ipnet::Ipv4Net) -> (u32, u32) {
    let wide = 16_u32.saturating_sub(u32::from(net.prefix_len()));
    (u32::from(net.addr()) >> 16, 1 << wide)
}
