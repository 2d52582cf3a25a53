//! Prefixes as people write them: an address, or an address and a length.

use std::cmp::Ordering;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use ipnet::{Ipv4Subnets, Ipv6Subnets};

/// What somebody wrote, understood.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The prefix, without bits behind its length.
    pub prefix: IpNet,
    /// Whether bits behind its length were set.
    pub had_host_bits: bool,
}

/// Why a word is no prefix, in words that follow "it ".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoPrefix(pub String);

impl fmt::Display for NoPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads `192.0.2.1`, `192.0.2.0/24`, `2001:db8::1` or `2001:db8::/32`.
///
/// An IPv6 address that stands for an IPv4 one (`::ffff:192.0.2.1`) is refused: no packet has it as its source, so a
/// rule for it would block nothing.
pub fn parse(word: &str) -> Result<Written, NoPrefix> {
    let (address, length) = match word.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (word, None),
    };
    let address: IpAddr = address.parse().map_err(|_| no_address(address))?;
    let width = width(address);
    let length = match length {
        None => width,
        Some(digits) => parse_length(digits, width)?,
    };
    let prefix = IpNet::new(address, length).map_err(|error| NoPrefix(error.to_string()))?;
    if is_mapped(address) && length >= 96 {
        return Err(NoPrefix(format!("it stands for an IPv4 address: write {}", Shown(canonical(prefix)))));
    }
    let canonical = prefix.trunc();
    Ok(Written { prefix: canonical, had_host_bits: canonical != prefix })
}

/// The prefix of `word`, which may be a range (`192.0.2.1-192.0.2.9`) of one or several; tells whether bits behind its
/// length were set.
pub(crate) fn parse_range(word: &str, give: &mut dyn FnMut(IpNet)) -> Result<bool, NoPrefix> {
    let Some((first, last)) = word.split_once('-') else {
        let written = parse(word)?;
        give(written.prefix);
        return Ok(written.had_host_bits);
    };
    let end = |text: &str| {
        text.parse::<IpAddr>()
            .map_err(|_| NoPrefix("expected a range of two addresses, FIRST-LAST".to_owned()))
    };
    match (end(first)?, end(last)?) {
        (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
            Ipv4Subnets::new(first, last, 0).map(IpNet::V4).for_each(give);
        }
        (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
            Ipv6Subnets::new(first, last, 0).map(IpNet::V6).for_each(give);
        }
        _ => return Err(NoPrefix("a range goes from a lower to a higher address of one family".to_owned())),
    }
    Ok(false)
}

/// Why this is no address.
fn no_address(word: &str) -> NoPrefix {
    let zoned = word.split_once('%').filter(|(address, _)| address.parse::<Ipv6Addr>().is_ok());
    NoPrefix(match zoned {
        Some((address, zone)) => {
            format!("rules hold on all interfaces: write {address}, without the zone %{zone}")
        }
        None => "expected an address, or ADDRESS/LENGTH such as 192.0.2.0/24".to_owned(),
    })
}

/// Whether a word is a range of addresses such as `192.0.2.1-192.0.2.9`, which lists may have.
pub fn is_range(word: &str) -> bool {
    word.contains('-') && parse_range(word, &mut |_| ()).is_ok()
}

fn parse_length(digits: &str, width: u8) -> Result<u8, NoPrefix> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    // Where others read such a number as one to base 8, it is another prefix.
    if is_number && digits.len() > 1 && digits.starts_with('0') {
        return Err(NoPrefix("the length behind the slash begins with 0".to_owned()));
    }
    let length = digits.parse().ok().filter(|&length: &u8| is_number && length <= width);
    length.ok_or_else(|| NoPrefix(format!("the length behind the slash goes from 0 to {width}")))
}

/// A prefix as rules have it: without bits behind its length, and as one of IPv4 where it stands for that, since no
/// packet has an address such as `::ffff:192.0.2.1`.
///
/// ```
/// use blocklist::prefix::{IpNet, canonical};
///
/// let written: IpNet = "10.1.2.3/8".parse().unwrap();
/// assert_eq!(canonical(written).to_string(), "10.0.0.0/8");
/// ```
pub fn canonical(prefix: IpNet) -> IpNet {
    match prefix {
        IpNet::V6(net) if net.prefix_len() >= 96 => match net.addr().to_ipv4_mapped() {
            Some(address) => IpNet::V4(Ipv4Net::new_assert(address, net.prefix_len() - 96).trunc()),
            None => prefix.trunc(),
        },
        _ => prefix.trunc(),
    }
}

/// Bits of an address of the same family.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn is_mapped(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some())
}

/// A prefix as it is listed: a single address without its length.
#[derive(Clone, Copy, Debug)]
pub struct Shown(pub IpNet);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = width(self.0.addr());
        if self.0.prefix_len() == width { write!(f, "{}", self.0.addr()) } else { write!(f, "{}", self.0) }
    }
}

/// Appends a prefix as it is [`Shown`]; of a million lines most are single IPv4 addresses.
pub fn push(out: &mut Vec<u8>, prefix: IpNet) {
    match prefix {
        IpNet::V4(net) if net.prefix_len() == 32 => {
            for (at, octet) in net.addr().octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                if octet >= 100 {
                    out.push(b'0' + octet / 100);
                }
                if octet >= 10 {
                    out.push(b'0' + octet / 10 % 10);
                }
                out.push(b'0' + octet % 10);
            }
        }
        _ => out.extend(Shown(prefix).to_string().as_bytes()),
    }
}

/// The IPv4 address that a line is, with nothing beside it but its end: what most lines of long lists are.
pub(crate) fn plain_address(line: &[u8]) -> Option<Ipv4Addr> {
    let line = line.strip_suffix(b"\n")?;
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut octets = [0_u16; 4];
    let (mut at, mut digits) = (0, 0);
    for &byte in line {
        match byte {
            // An octet begins with 0 only if it is 0.
            b'0'..=b'9' if digits == 0 || octets[at] != 0 => {
                octets[at] = octets[at] * 10 + u16::from(byte - b'0');
                digits += 1;
                if octets[at] > 255 {
                    return None;
                }
            }
            b'.' if digits > 0 && at < 3 => (at, digits) = (at + 1, 0),
            _ => return None,
        }
    }
    let octet = |at: usize| u8::try_from(octets[at]).ok();
    (at == 3 && digits > 0).then_some(())?;
    Some(Ipv4Addr::new(octet(0)?, octet(1)?, octet(2)?, octet(3)?))
}

/// The address and its family's prefixes that cover it, the longest first.
pub fn covering(address: IpAddr) -> impl Iterator<Item = IpNet> {
    (0..=width(address)).rev().map(move |length| {
        let net = match address {
            IpAddr::V4(address) => Ipv4Net::new(address, length).map(IpNet::V4),
            IpAddr::V6(address) => Ipv6Net::new(address, length).map(IpNet::V6),
        };
        net.expect("the length fits the family").trunc()
    })
}

/// The order of prefixes by themselves, found quicker.
pub(crate) fn order(a: IpNet, b: IpNet) -> Ordering {
    let number = |net: Ipv4Net| u64::from(u32::from(net.addr())) << 8 | u64::from(net.prefix_len());
    match (a, b) {
        (IpNet::V4(a), IpNet::V4(b)) => number(a).cmp(&number(b)),
        (IpNet::V6(a), IpNet::V6(b)) => {
            (u128::from(a.addr()), a.prefix_len()).cmp(&(b.addr().into(), b.prefix_len()))
        }
        (IpNet::V4(_), IpNet::V6(_)) => Ordering::Less,
        (IpNet::V6(_), IpNet::V4(_)) => Ordering::Greater,
    }
}

/// The prefix that has only this address in it.
pub fn single(address: IpAddr) -> IpNet {
    IpNet::from(address)
}

/// The lowest prefix of IPv4 and of IPv6.
pub fn everything() -> [IpNet; 2] {
    [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)]
        .map(|address| IpNet::new(address, 0).expect("0 is a length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_and_prefixes_are_read() {
        for (word, expected, had_host_bits) in [
            ("192.0.2.1", "192.0.2.1/32", false),
            ("192.0.2.1/24", "192.0.2.0/24", true),
            ("0.0.0.0/0", "0.0.0.0/0", false),
            ("2001:DB8::1", "2001:db8::1/128", false),
            ("2001:db8::1/32", "2001:db8::/32", true),
        ] {
            assert_eq!(parse(word), Ok(Written { prefix: prefix(expected), had_host_bits }), "{word}");
        }
    }

    #[test]
    fn what_is_no_prefix_says_why() {
        let expected = "expected an address, or ADDRESS/LENGTH such as 192.0.2.0/24";
        for (word, reason) in [
            ("banana", expected),
            ("", expected),
            ("192.0.2", expected),
            ("192.0.2.01", expected),
            ("192.0.2.0/33", "the length behind the slash goes from 0 to 32"),
            ("192.0.2.0/+8", "the length behind the slash goes from 0 to 32"),
            ("192.0.2.0/08", "the length behind the slash begins with 0"),
            ("::/00", "the length behind the slash begins with 0"),
            ("192.0.2.0/", "the length behind the slash goes from 0 to 32"),
            ("::/129", "the length behind the slash goes from 0 to 128"),
            ("192.0.2.1-192.0.2.9", expected),
            ("192.0.2.1%eth0", expected),
            ("::ffff:192.0.2.1", "it stands for an IPv4 address: write 192.0.2.1"),
            ("::ffff:10.1.2.3/104", "it stands for an IPv4 address: write 10.0.0.0/8"),
            ("fe80::1%eth0", "rules hold on all interfaces: write fe80::1, without the zone %eth0"),
            ("fe80::%eth0/64", "rules hold on all interfaces: write fe80::, without the zone %eth0"),
        ] {
            assert_eq!(parse(word).unwrap_err().0, reason, "{word}");
        }
    }

    #[test]
    fn a_rule_has_no_bits_behind_its_length_and_a_family_that_packets_have() {
        for (written, expected) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("192.0.2.1/32", "192.0.2.1/32"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::ffff:192.0.2.1/128", "192.0.2.1/32"),
            ("::ffff:10.1.2.3/104", "10.0.0.0/8"),
            ("::ffff:0:0/96", "0.0.0.0/0"),
            ("::ffff:0:0/95", "::fffe:0:0/95"),
        ] {
            assert_eq!(canonical(prefix(written)), prefix(expected), "{written}");
        }
    }

    #[test]
    fn a_range_becomes_the_prefixes_that_fill_it() {
        let of = |word: &str| {
            let mut found = Vec::new();
            parse_range(word, &mut |prefix| found.push(Shown(prefix).to_string())).map(|_| found)
        };
        assert_eq!(
            of("192.0.2.1-192.0.2.4"),
            Ok(["192.0.2.1", "192.0.2.2/31", "192.0.2.4"].map(String::from).into())
        );
        assert_eq!(of("0.0.0.0-255.255.255.255"), Ok(vec!["0.0.0.0/0".to_owned()]));
        assert_eq!(of("2001:db8::-2001:db8::1"), Ok(vec!["2001:db8::/127".to_owned()]));
        let reason = "a range goes from a lower to a higher address of one family";
        for word in ["192.0.2.9-192.0.2.1", "192.0.2.1-::1"] {
            assert_eq!(of(word).unwrap_err().0, reason);
        }
    }

    #[test]
    fn the_quick_ways_agree_with_the_others() {
        for text in ["0.0.0.0", "192.0.2.1", "255.255.255.255", "10.20.30.100", "1.2.3.9"] {
            let address: Ipv4Addr = text.parse().unwrap();
            assert_eq!(plain_address(format!("{text}\n").as_bytes()), Some(address));
            assert_eq!(plain_address(format!("{text}\r\n").as_bytes()), Some(address));
            let mut out = Vec::new();
            push(&mut out, single(address.into()));
            assert_eq!(out, text.as_bytes());
        }
        for text in [
            "192.0.2.1",
            "192.0.2.256\n",
            "192.0.2\n",
            "192.0.2.\n",
            "1.2.3.4.5\n",
            "01.2.3.4\n",
            "1.2.3.4 \n",
            "00.1.2.3\n",
        ] {
            assert_eq!(plain_address(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn covering_prefixes_come_longest_first() {
        let address: IpAddr = "192.0.2.77".parse().unwrap();
        let all: Vec<_> = covering(address).collect();
        assert_eq!(
            (all.len(), all[0], all[8], all[32]),
            (33, single(address), prefix("192.0.2.0/24"), everything()[0])
        );
    }
}
