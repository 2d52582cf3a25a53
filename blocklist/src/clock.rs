//! The clock that the packet program goes by: CLOCK_MONOTONIC in units of 2^30 ns (1.07 s).

use std::fs;
use std::time::Duration;

use loader::{Error, Result};
use nix::time::{ClockId, clock_gettime};

use crate::layout::TIME_SHIFT;

/// Nanoseconds of a second.
const SECOND: i128 = 1_000_000_000;

/// The clock of the kernel, which is another one than that of a process in a time namespace (5.6).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// Nanoseconds by which the clock of this process is ahead of the kernel's.
    ahead: i128,
}

impl Clock {
    pub(crate) fn open() -> Self {
        let text = fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
        let ahead = ahead(&text);
        // The file tells of the namespace of children that are yet to be started; unshare(2) moves those alone.
        let ns = |name: &str| fs::read_link(format!("/proc/self/ns/{name}")).ok();
        let is_ours = ahead == 0 || ns("time") == ns("time_for_children");
        Self { ahead: if is_ours { ahead } else { 0 } }
    }

    pub(crate) fn now(self) -> Result<Now> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map_err(|errno| Error::os("clock_gettime(2)", "CLOCK_MONOTONIC", errno as i32))?;
        Ok(self.moment(Duration::from(now)))
    }

    /// The moment at which the clock of this process says `now`.
    fn moment(self, now: Duration) -> Now {
        let nanos = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX).saturating_sub(self.ahead);
        Now(u64::try_from(nanos.max(0)).unwrap_or(u64::MAX))
    }
}

/// What `/proc/self/timens_offsets` says of CLOCK_MONOTONIC, in nanoseconds: `monotonic SECONDS NANOSECONDS`, of which
/// only the seconds may be negative.
fn ahead(text: &str) -> i128 {
    let offset = |line: &str| {
        let mut words = line.strip_prefix("monotonic")?.split_whitespace();
        let mut number = || words.next()?.parse::<i64>().ok();
        Some(i128::from(number()?) * SECOND + i128::from(number()?))
    };
    text.lines().find_map(offset).unwrap_or(0)
}

/// A moment; 0 is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Now(u64);

impl Now {
    /// The first moment of a unit of time.
    #[cfg(test)]
    pub(crate) fn unit(number: u32) -> Self {
        Self(u64::from(number) << TIME_SHIFT)
    }

    /// The first moment that the program can tell of after `time` from now has passed; never ends too early.
    pub(crate) fn end_after(self, time: Duration) -> u32 {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let end = self.0.saturating_add(nanos).saturating_add((1 << TIME_SHIFT) - 1) >> TIME_SHIFT;
        u32::try_from(end).unwrap_or(u32::MAX).max(1)
    }

    /// Whether the program takes what ends at `end` for gone.
    pub(crate) fn is_past(self, end: u32) -> bool {
        end != 0 && self.0 >> TIME_SHIFT >= u64::from(end)
    }

    /// How long it is until `end`.
    pub(crate) fn until(self, end: u32) -> Duration {
        Duration::from_nanos((u64::from(end) << TIME_SHIFT).saturating_sub(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_of_a_time_namespace_is_taken_off() {
        for (text, expected) in [
            ("monotonic           0         0\nboottime            0         0\n", 0),
            ("monotonic        3600         0\nboottime      3600         0\n", 3600 * SECOND),
            ("monotonic       -3600 500000000\nboottime     0         0\n", -3600 * SECOND + SECOND / 2),
            ("boottime         3600         0\n", 0),
            ("", 0),
        ] {
            assert_eq!(ahead(text), expected, "{text}");
        }
        let seen = |ahead: i128| Clock { ahead: ahead * SECOND }.moment(Duration::from_secs(100));
        assert_eq!((seen(40), seen(-40)), (Now(60_000_000_000), Now(140_000_000_000)));
        assert_eq!(seen(1000), Now(0));
    }

    #[test]
    fn an_end_is_never_too_early() {
        let now = Now(5 << TIME_SHIFT);
        assert_eq!(now.end_after(Duration::ZERO), 5);
        let end = now.end_after(Duration::from_secs(1));
        assert_eq!(end, 6);
        assert!(!now.is_past(end) && !now.is_past(0) && now.is_past(5));
        assert!(now.until(end) >= Duration::from_secs(1));
    }
}
