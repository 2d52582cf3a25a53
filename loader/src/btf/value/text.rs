//! The texts that stand for numbers, addresses and bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A decimal or hexadecimal number, perhaps negative, or a truth value.
pub(super) fn number(text: &str) -> Option<i128> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text),
    };
    // `from_str_radix` and `parse` take a second sign.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return match text {
            "true" => Some(1),
            _ => None,
        };
    }
    let magnitude: i128 = match digits.strip_prefix("0x") {
        Some(hex) if hex.starts_with(|c: char| c.is_ascii_hexdigit()) => {
            i128::from_str_radix(hex, 16).ok()?
        }
        Some(_) => return None,
        None if text == "false" => 0,
        None => digits.parse().ok()?,
    };
    magnitude.checked_mul(sign)
}

/// The bytes of an IPv4, IPv6 or MAC address in the order in which a packet has them.
pub(super) fn address(text: &str) -> Option<Vec<u8>> {
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Some(address.octets().to_vec());
    }
    mac(text).or_else(|| text.parse::<Ipv6Addr>().ok().map(|address| address.octets().to_vec()))
}

fn mac(text: &str) -> Option<Vec<u8>> {
    let groups: Vec<_> = text.split(':').collect();
    if groups.len() != 6 || groups.iter().any(|group| group.len() != 2) {
        return None;
    }
    bytes(&groups.concat())
}

/// The bytes of pairs of hexadecimal digits.
pub(super) fn bytes(digits: &str) -> Option<Vec<u8>> {
    if digits.len() % 2 != 0 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_hexadecimal_or_truth_values() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("0x7B", Some(123)),
            ("-0x80", Some(-128)),
            ("18446744073709551615", Some(18_446_744_073_709_551_615)),
            ("true", Some(1)),
            ("false", Some(0)),
            ("", None),
            ("-", None),
            ("--1", None),
            ("+1", None),
            ("0x", None),
            ("0x-1", None),
            ("ff", None),
            ("-true", None),
            ("1 ", None),
            ("999999999999999999999999999999999999999999", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn addresses_are_as_in_packets() {
        assert_eq!(address("192.0.2.1"), Some(vec![192, 0, 2, 1]));
        assert_eq!(address("02:00:00:00:00:fF"), Some(vec![2, 0, 0, 0, 0, 255]));
        assert_eq!(address("::1").map(|bytes| (bytes.len(), bytes[15])), Some((16, 1)));
        for text in ["1", "192.0.2", "2:0:0:0:0:1", "02:00:00:00:00:-1", "02:00:00:00:00:+1"] {
            assert_eq!(address(text), None, "{text}");
        }
        assert_eq!((bytes("0aFF"), bytes("0a0"), bytes("0é")), (Some(vec![10, 255]), None, None));
    }
}
