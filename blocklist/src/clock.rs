//! The clock that the packet program goes by: CLOCK_MONOTONIC in units of 2^30 ns (1.07 s).

use std::time::Duration;

use loader::{Error, Result};
use nix::time::{ClockId, clock_gettime};

use crate::layout::TIME_SHIFT;

/// A moment; 0 is never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Now(u64);

impl Now {
    pub(crate) fn read() -> Result<Self> {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map_err(|errno| Error::os("clock_gettime(2)", "CLOCK_MONOTONIC", errno as i32))?;
        Ok(Self(u64::try_from(Duration::from(now).as_nanos()).unwrap_or(u64::MAX)))
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
    fn an_end_is_never_too_early() {
        let now = Now(5 << TIME_SHIFT);
        assert_eq!(now.end_after(Duration::ZERO), 5);
        let end = now.end_after(Duration::from_secs(1));
        assert_eq!(end, 6);
        assert!(!now.is_past(end) && !now.is_past(0) && now.is_past(5));
        assert!(now.until(end) >= Duration::from_secs(1));
    }
}
