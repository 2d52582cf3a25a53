//! Where rules are and which bits say so: the arithmetic of `bpf-src/blocklist.bpf.c`, which must agree to the bit.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::layout::{Config, GROUP, HEAD_PAGES4, HEADS_PER_PAGE};

/// `BLOCK_MULTIPLIER`.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

fn hash(key: u32, seed: u32) -> u64 {
    let mixed = u64::from(key ^ seed).wrapping_mul(MULTIPLIER);
    (mixed ^ mixed >> 32).wrapping_mul(MULTIPLIER)
}

/// The lower half.
fn low(number: u64) -> u32 {
    u32::try_from(number & 0xffff_ffff).expect("32 bits")
}

/// `block_code()`: a prefix of /17 to /31 as one number.
pub(crate) fn code(address: u32, length: u8) -> u32 {
    address & !(u32::MAX >> length) | 1 << (31 - length)
}

/// What [`code`] was made from.
pub(crate) fn decode(code: u32) -> (u32, u8) {
    let zeros = code.trailing_zeros().min(31);
    let length = u8::try_from(31 - zeros).expect("below 32");
    (code & !(1 << zeros), length)
}

/// The buckets that a key may be in, in the order in which they are looked at.
pub(crate) fn buckets(code: u32, config: &Config) -> impl Iterator<Item = u32> + use<> {
    let hashed = hash(code, config.seed);
    let first = low((hashed >> 32) * u64::from(config.groups) >> 32) * GROUP;
    let start = low(hashed) & (GROUP - 1);
    (0..GROUP).map(move |probe| first + (start ^ probe))
}

/// The line of `filter` for an IPv4 rule of /17 to /32.
pub(crate) fn line(address: Ipv4Addr, length: u8, config: &Config) -> u32 {
    let address = u32::from(address);
    let network = if length >= 24 { address >> 8 } else { !(address >> 16) };
    low(hash(network, config.seed) >> 32) & config.line_mask
}

/// The word of a line that a key has bits in, and those bits.
pub(crate) fn bits(code: u32) -> (usize, u64) {
    let hashed = u64::from(code).wrapping_mul(MULTIPLIER);
    let bits = 1 << (hashed >> 55 & 63) | 1 << (hashed >> 49 & 63) | 1 << (hashed >> 43 & 63);
    (usize::try_from(hashed >> 61).expect("three bits"), bits)
}

/// The words of `heads` that tell of a rule for `prefix`: the first one, and how many.
pub(crate) fn heads(prefix: IpNet, config: &Config) -> (u32, u32) {
    match prefix.addr() {
        IpAddr::V4(address) => {
            let wide = 16_u32.saturating_sub(u32::from(prefix.prefix_len()));
            (u32::from(address) >> 16, 1 << wide)
        }
        IpAddr::V6(address) => {
            let octets = address.octets();
            let first = u32::from_be_bytes([octets[0], octets[1], octets[2], octets[3]]);
            (HEAD_PAGES4 * HEADS_PER_PAGE + low(hash(first, config.seed) >> 52), 1)
        }
    }
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
