//! Times as people write them: `90`, `10m`, `1d12h`, `1h59m30s250ms`.

use std::fmt;
use std::time::Duration;

/// The longest time that is taken: with more the clock of the kernel might overflow.
const MAX: Duration = Duration::from_secs(100 * 366 * 86_400);

const UNITS: [(&str, u64); 6] =
    [("d", 86_400_000), ("h", 3_600_000), ("ms", 1), ("m", 60_000), ("s", 1000), ("w", 7 * 86_400_000)];

/// Digits behind the point that count.
const FRACTION: usize = 9;

/// The time that `text` says: numbers with units, the longest first, each of which may have a fraction, as in `1.5h`.
/// A number alone is seconds. What is below a millisecond is rounded up.
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(blocklist::duration::parse("1d12h"), Ok(Duration::from_secs(36 * 3600)));
/// ```
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 90, 10m or 1d12h".to_owned();
    let too_long = || "expected a time of 100 years at most".to_owned();
    let mut rest = text;
    let mut millis = 0_u64;
    let mut last = u64::MAX;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let digits = &rest[..end];
        rest = &rest[end..];
        let mut fraction = "";
        if let Some(behind) = rest.strip_prefix('.') {
            let end = behind.find(|c: char| !c.is_ascii_digit()).unwrap_or(behind.len());
            fraction = &behind[..end];
            rest = &behind[end..];
            if fraction.is_empty() {
                return Err(wrong());
            }
        }
        let (unit, factor) = if rest.is_empty() && last == u64::MAX {
            ("", 1000)
        } else {
            *UNITS.iter().find(|(unit, _)| is_unit(rest, unit)).ok_or_else(wrong)?
        };
        if digits.is_empty() || factor >= last {
            return Err(wrong());
        }
        last = factor;
        rest = &rest[unit.len()..];
        let number: u64 = digits.parse().map_err(|_| too_long())?;
        let whole = number.checked_mul(factor).and_then(|more| millis.checked_add(more));
        millis = whole.and_then(|whole| whole.checked_add(part_of(factor, fraction))).ok_or_else(too_long)?;
    }
    Some(Duration::from_millis(millis)).filter(|time| *time <= MAX).ok_or_else(too_long)
}

/// What the digits behind a point make of a unit, rounded up.
fn part_of(unit: u64, digits: &str) -> u64 {
    let mut part = 0;
    for place in 0..FRACTION {
        let digit = digits.as_bytes().get(place).map_or(0, |digit| u64::from(digit - b'0'));
        part = 10 * part + digit;
    }
    // The longest unit has some 30 bits, and so many digits as well.
    (unit * part).div_ceil(1_000_000_000)
}

/// Whether `text` begins with `unit` and not with a longer one.
fn is_unit(text: &str, unit: &str) -> bool {
    text.strip_prefix(unit).is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphabetic()))
}

/// A time in at most two units, such as `1d12h`, `9m30s` or `5s`.
#[derive(Clone, Copy, Debug)]
pub struct Shown(pub Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
        let Some(first) = units.iter().position(|(_, length)| seconds >= *length) else {
            return f.write_str("0s");
        };
        let (unit, length) = units[first];
        write!(f, "{}{unit}", seconds / length)?;
        match units.get(first + 1) {
            Some((unit, next)) if seconds % length >= *next => write!(f, "{}{unit}", seconds % length / next),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_shown() {
        for (text, seconds, shown) in [
            ("90", 90, "1m30s"),
            ("10m", 600, "10m"),
            ("1d12h", 129_600, "1d12h"),
            ("3h59m59.123s", 14_399, "3h59m"),
            ("1.5h", 5400, "1h30m"),
            ("2.9d", 250_560, "2d21h"),
            ("0.25w12.5m", 151_950, "1d18h"),
            ("1.9999999999999h", 7200, "2h"),
            ("1.5", 1, "1s"),
            ("1h59m59s250ms", 7199, "1h59m"),
            ("2w", 1_209_600, "14d"),
            ("0", 0, "0s"),
        ] {
            assert_eq!(parse(text).map(|time| time.as_secs()), Ok(seconds), "{text}");
            assert_eq!(Shown(Duration::from_secs(seconds)).to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "m", "5x", "1h30", "-5m", "5 m", "1.h", ".5h", "1h1h", "30m2h", "100y"] {
            assert_eq!(parse(text), Err("expected a time such as 90, 10m or 1d12h".to_owned()), "{text}");
        }
        for text in ["99999999999999999999s", "200000w", "36601d"] {
            assert_eq!(parse(text), Err("expected a time of 100 years at most".to_owned()), "{text}");
        }
    }
}
