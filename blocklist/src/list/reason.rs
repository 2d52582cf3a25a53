//! Why a line of a list is not read.

use std::fmt;

use crate::prefix::NoPrefix;

/// What is wrong with a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(pub String);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Reason {
    pub(super) fn new(words: impl Into<String>) -> Self {
        Self(words.into())
    }
}

impl From<NoPrefix> for Reason {
    fn from(reason: NoPrefix) -> Self {
        Self(reason.0)
    }
}
