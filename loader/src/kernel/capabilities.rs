//! The privileges of this process.

use crate::diagnosis::Capabilities;
use crate::error::{Error, Result};
use crate::sys::os;

impl Capabilities {
    /// The effective ones of the calling thread: one capget(2).
    pub fn current() -> Result<Self> {
        let bits =
            os::effective_capabilities().map_err(|errno| Error::os("capget(2)", "this process", errno.0))?;
        Ok(Self::from_bits(bits))
    }
}
