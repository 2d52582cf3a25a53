//! Keys and values of maps between the bytes that the kernel has and the words that people use.

use std::net::{Ipv4Addr, Ipv6Addr};

use clap::ValueEnum;
use loader::{Error, ErrorKind, Result, quote};

/// How bytes are printed. Each form is one that [`parse`] reads again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// By its BTF type; without one, a number for 1, 2, 4 or 8 bytes, and hexadecimal bytes for other sizes
    #[default]
    Auto,
    /// The bytes in hexadecimal
    Hex,
    /// An unsigned number
    Dec,
    /// An IPv4 address
    Ipv4,
    /// An IPv6 address
    Ipv6,
    /// A MAC address
    Mac,
    /// A prefix: the key of an LPM trie
    Prefix,
}

/// Bytes of the prefix length before the address in the key of an LPM trie (`struct bpf_lpm_trie_key_u8`).
const PREFIX_LENGTH_BYTES: usize = 4;

/// The `size` bytes that `text` stands for. `what` is "key" or "value".
pub(crate) fn parse(text: &str, size: usize, what: &str) -> Result<Vec<u8>> {
    let wrong = |complaint: String| {
        Error::new(ErrorKind::InvalidInput, format!("{} cannot be the {what}: {complaint}", quote(text)))
    };
    let bytes = if let Some(digits) = text.strip_prefix("hex:") {
        parse_hex(digits).ok_or_else(|| wrong("expected pairs of hexadecimal digits".to_owned()))?
    } else if let Some((address, length)) = text.split_once('/') {
        parse_prefix(address, length).ok_or_else(|| wrong("expected ADDRESS/LENGTH".to_owned()))?
    } else if let Some(address) = parse_address(text) {
        address
    } else {
        return parse_number(text, size).map_err(wrong);
    };
    if bytes.len() == size {
        return Ok(bytes);
    }
    Err(wrong(format!("it has {}, and the map's {what} has {size}", count_bytes(bytes.len()))))
}

/// The bytes that pairs of hexadecimal digits stand for.
pub(crate) fn parse_hex(digits: &str) -> Option<Vec<u8>> {
    // A sign would be taken for a part of the number.
    if digits.len() % 2 != 0 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

fn parse_address(text: &str) -> Option<Vec<u8>> {
    if !text.contains(':') {
        return text.parse().ok().map(|address: Ipv4Addr| address.octets().to_vec());
    }
    parse_mac(text).or_else(|| text.parse().ok().map(|address: Ipv6Addr| address.octets().to_vec()))
}

fn parse_mac(text: &str) -> Option<Vec<u8>> {
    let groups: Vec<_> = text.split(':').collect();
    if groups.len() != 6 || groups.iter().any(|group| group.len() != 2) {
        return None;
    }
    parse_hex(&groups.concat())
}

fn parse_prefix(address: &str, length: &str) -> Option<Vec<u8>> {
    let length: u32 = length.parse().ok()?;
    let (address, bits) = match address.parse::<Ipv4Addr>() {
        Ok(address) => (address.octets().to_vec(), 32),
        Err(_) => (address.parse::<Ipv6Addr>().ok()?.octets().to_vec(), 128),
    };
    (length <= bits).then(|| [&length.to_ne_bytes()[..], &address].concat())
}

/// A number of `size` bytes in the machine's byte order.
fn parse_number(text: &str, size: usize) -> Result<Vec<u8>, String> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let magnitude = match digits.strip_prefix("0x") {
        Some(digits) => i128::from_str_radix(digits, 16),
        None => digits.parse(),
    };
    let number = match magnitude {
        Ok(magnitude) if !digits.starts_with('+') && !digits.starts_with('-') => {
            if negative {
                -magnitude
            } else {
                magnitude
            }
        }
        _ => return Err("expected a number, an address, or hex:BYTES".to_owned()),
    };
    if !matches!(size, 1 | 2 | 4 | 8) {
        return Err(format!("a number fits in 1, 2, 4 or 8 bytes, not in {size}; write hex:BYTES"));
    }
    let bits = 8 * size;
    if number < -(1i128 << (bits - 1)) || number >= 1i128 << bits {
        return Err(format!("it does not fit in {}", count_bytes(size)));
    }
    let bytes = number.to_le_bytes()[..size].to_vec();
    Ok(if cfg!(target_endian = "big") { bytes.into_iter().rev().collect() } else { bytes })
}

/// The bytes in words; in hexadecimal where they do not fit the format.
pub(crate) fn print(bytes: &[u8], format: Format) -> String {
    match format {
        Format::Auto | Format::Dec => number(bytes).map(|number| number.to_string()),
        Format::Hex => None,
        Format::Ipv4 => <[u8; 4]>::try_from(bytes).ok().map(|octets| Ipv4Addr::from(octets).to_string()),
        Format::Ipv6 => <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).to_string()),
        Format::Mac => (bytes.len() == 6).then(|| mac(bytes)),
        Format::Prefix => print_prefix(bytes),
    }
    .unwrap_or_else(|| format!("hex:{}", hex(bytes)))
}

/// The bytes in hexadecimal, two digits each.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    // Each plan and each transcript has all the bytes that its calls hand over.
    let mut digits = vec![0; 2 * bytes.len()];
    for (index, byte) in bytes.iter().enumerate() {
        digits[2 * index] = DIGITS[usize::from(byte >> 4)];
        digits[2 * index + 1] = DIGITS[usize::from(byte & 15)];
    }
    String::from_utf8(digits).expect("digits are ASCII")
}

/// The number without a sign that 1, 2, 4 or 8 bytes are in the machine's byte order.
pub(crate) fn number(bytes: &[u8]) -> Option<u64> {
    match bytes.len() {
        1 => Some(u64::from(bytes[0])),
        2 => bytes.try_into().ok().map(u16::from_ne_bytes).map(u64::from),
        4 => bytes.try_into().ok().map(u32::from_ne_bytes).map(u64::from),
        8 => bytes.try_into().ok().map(u64::from_ne_bytes),
        _ => None,
    }
}

fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}

fn print_prefix(bytes: &[u8]) -> Option<String> {
    let (length, address) = bytes.split_at_checked(PREFIX_LENGTH_BYTES)?;
    let address = match address.len() {
        4 => print(address, Format::Ipv4),
        16 => print(address, Format::Ipv6),
        _ => return None,
    };
    Some(format!("{address}/{}", number(length)?))
}

fn count_bytes(count: usize) -> String {
    if count == 1 { "1 byte".to_owned() } else { format!("{count} bytes") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_bytes() {
        let cases: &[(&str, usize, &[u8])] = &[
            ("192.0.2.1", 4, &[192, 0, 2, 1]),
            ("0", 4, &[0; 4]),
            ("-1", 2, &[0xff; 2]),
            ("0xff", 1, &[0xff]),
            ("hex:0a00ff", 3, &[10, 0, 255]),
            ("02:00:00:00:00:0f", 6, &[2, 0, 0, 0, 0, 15]),
            ("::1", 16, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        ];
        for (text, size, bytes) in cases {
            assert_eq!(parse(text, *size, "key").unwrap(), *bytes, "{text}");
        }
        assert_eq!(parse("258", 4, "key").unwrap(), 258u32.to_ne_bytes());
        assert_eq!(
            parse("10.0.0.0/8", 8, "key").unwrap(),
            [&8u32.to_ne_bytes()[..], &[10, 0, 0, 0]].concat()
        );
    }

    #[test]
    fn signs_are_no_digits() {
        assert!(parse("hex:+f", 1, "key").is_err());
        assert!(parse("+1:02:03:04:05:06", 6, "key").is_err());
    }

    #[test]
    fn what_is_printed_can_be_read_again() {
        let formats = [Format::Auto, Format::Hex, Format::Dec, Format::Ipv4, Format::Ipv6, Format::Mac];
        for size in [1, 2, 3, 4, 6, 8, 16, 20] {
            let bytes: Vec<u8> = (0..size).map(|at: u8| at.wrapping_add(0xf0)).collect();
            for format in formats {
                let text = print(&bytes, format);
                assert_eq!(parse(&text, bytes.len(), "key").unwrap(), bytes, "{text}");
            }
        }
        let prefix = parse("2001:db8::/32", 20, "key").unwrap();
        assert_eq!(print(&prefix, Format::Prefix), "2001:db8::/32");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let cases = [
            ("192.0.2.1", 16, "it has 4 bytes, and the map's key has 16"),
            ("256", 1, "it does not fit in 1 byte"),
            ("-129", 1, "it does not fit in 1 byte"),
            ("7", 3, "a number fits in 1, 2, 4 or 8 bytes, not in 3; write hex:BYTES"),
            ("hex:0", 1, "expected pairs of hexadecimal digits"),
            ("10.0.0.0/33", 8, "expected ADDRESS/LENGTH"),
            ("banana", 4, "expected a number, an address, or hex:BYTES"),
            ("--1", 4, "expected a number, an address, or hex:BYTES"),
        ];
        for (text, size, complaint) in cases {
            let error = parse(text, size, "key").unwrap_err().to_string();
            assert_eq!(error, format!("`{text}` cannot be the key: {complaint}"));
        }
    }
}
