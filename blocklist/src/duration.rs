//! Times as people write them: `90`, `10m`, `1d12h`, `1h59m30s250ms`.

use std::fmt;
use std::time::Duration;

/// The longest time that is taken: with more the clock of the kernel might overflow.
const MAX: Duration = Duration::from_secs(100 * 366 * 86_400);

const UNITS: [(&str, u64); 6] =
    [("d", 86_400_000), ("h", 3_600_000), ("ms", 1), ("m", 60_000), ("s", 1000), ("w", 7 * 86_400_000)];

/// The time that `text` says; a number alone is seconds, and a fraction of seconds may stand before the `s`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || "expected a time such as 90, 10m or 1d12h, of 100 years at most".to_owned();
    let mut rest = text;
    let mut millis = 0_u64;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..end].parse().map_err(|_| wrong())?;
        rest = &rest[end..];
        if let Some(fraction) = rest.strip_prefix('.') {
            // Go writes 59.5s; what is below a second does not matter here.
            rest = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        let (unit, factor) = if rest.is_empty() && millis == 0 {
            ("", 1000)
        } else {
            *UNITS.iter().find(|(unit, _)| is_unit(rest, unit)).ok_or_else(wrong)?
        };
        rest = &rest[unit.len()..];
        millis = number.checked_mul(factor).and_then(|more| millis.checked_add(more)).ok_or_else(wrong)?;
    }
    Some(Duration::from_millis(millis)).filter(|time| *time <= MAX).ok_or_else(wrong)
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
        for text in ["", "m", "5x", "1h30", "-5m", "99999999999999999999s", "200000w", "5 m"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
