//! The numbers by which a plan's system calls are named, in what is printed of it and in the transcript.
//!
//! Those that are made if none is refused are counted through: 1, 2, 3. What is done instead of a call has that one's
//! number and letters: 3a, 3b.

use std::fmt;

use super::{BpfLinkCall, Call, CopyBy, Plan, Step, When};

/// The number of a system call in a plan.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Number {
    /// Its place among those that are made if none is refused, or that of the call which was refused, from 1.
    pub call: usize,
    /// Its place among what is done instead of that, from 1; 0 if it is not done instead of any.
    pub alternative: usize,
}

impl Number {
    pub(super) const FIRST: Self = Self { call: 1, alternative: 0 };

    /// The number of the call that is `places` behind.
    pub fn and(self, places: usize) -> Self {
        match self.alternative {
            0 => Self { call: self.call + places, ..self },
            place => Self { alternative: place + places, ..self },
        }
    }
}

const ALPHABET: &[u8; 26] = b"abcdefghijklmnopqrstuvwxyz";

/// `3` or `3b`; after `3z` comes `3aa`.
impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut letters = Vec::new();
        let mut left = self.alternative;
        while left > 0 {
            letters.push(ALPHABET[(left - 1) % ALPHABET.len()]);
            left = (left - 1) / ALPHABET.len();
        }
        letters.reverse();
        f.pad(&format!("{}{}", self.call, String::from_utf8_lossy(&letters)))
    }
}

impl Plan {
    /// The same with its steps numbered anew.
    pub(super) fn numbered(mut self) -> Self {
        number(&mut self.steps, &mut { Number::FIRST });
        self
    }

    /// How many system calls are made if none is refused, those left out that depend on what is found; and whether
    /// there are such.
    pub(super) fn calls_if_none_is_refused(&self) -> (usize, bool) {
        let mut sum = (0, false);
        count(&self.steps, &mut sum);
        sum
    }
}

fn number(steps: &mut [Step], next: &mut Number) {
    for step in steps {
        let calls = step.call.system_calls();
        step.number = *next;
        *next = next.and(calls);
        number(&mut step.then, next);
        // What is done instead of a call is counted behind the last one of the step, the one that may be refused.
        let mut instead = Number { call: step.number.and(calls - 1).call, alternative: 1 };
        let next = if next.alternative == 0 { &mut instead } else { &mut *next };
        step.otherwise.iter_mut().for_each(|other| number(&mut other.steps, next));
    }
}

fn count(steps: &[Step], sum: &mut (usize, bool)) {
    for step in steps {
        if step.when == When::Always && step.call.repeated().is_none() {
            sum.0 += step.call.system_calls();
            count(&step.then, sum);
        } else {
            sum.1 = true;
        }
    }
}

impl Call {
    /// How many system calls it makes, each of which is counted once where it is made again and again.
    pub fn system_calls(&self) -> usize {
        match self {
            Self::Lock { .. }
            | Self::LockMountPoint { .. }
            | Self::PutPinBack { .. }
            | Self::OpenProgram { .. }
            | Self::GetInterface { .. }
            | Self::ProgGetFdById
            | Self::FindProgram { .. }
            | Self::SetXdp(_)
            | Self::PutBack(_)
            | Self::ProbeCompare
            | Self::OpenRunningMaps { .. }
            | Self::CopyMap { by: CopyBy::Page, .. }
            | Self::BpfLink(BpfLinkCall::Open { .. } | BpfLinkCall::OpenOwn { .. })
            | Self::Guard(_) => 2,
            Self::ModuleBtf { .. }
            | Self::EntryBefore { .. }
            | Self::CopyMap { by: CopyBy::Entry, .. }
            | Self::BpfLink(BpfLinkCall::Find) => 3,
            Self::FindSameProgram { .. } | Self::CopyMap { by: CopyBy::InnerMap, .. } => 4,
            Self::OpenExtended { .. } => 5,
            Self::OpenRouteSocket { netns } => 2 + 2 * usize::from(netns.is_some()),
            Self::BpfLink(BpfLinkCall::Create(create)) => 1 + usize::from(create.elsewhere),
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_go_on_after_z() {
        let name = |alternative| Number { call: 3, alternative }.to_string();
        assert_eq!(
            [0, 1, 26, 27, 52, 53, 702, 703].map(name),
            ["3", "3a", "3z", "3aa", "3az", "3ba", "3zz", "3aaa"]
        );
        assert_eq!(Number { call: 3, alternative: 1 }.and(2).to_string(), "3c");
        assert_eq!(Number::FIRST.and(2).to_string(), "3");
    }
}
