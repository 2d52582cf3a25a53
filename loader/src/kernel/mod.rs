//! What the running kernel and this process may do, asked for only when it matters.

mod capabilities;
mod ids;
mod memlock;
mod version;

use crate::error::{Error, Result};
use crate::sys::cpus;

pub use capabilities::Capabilities;
pub use ids::{Ids, map_ids, program_ids};
pub use memlock::{memlock_is_charged, memlock_limit, raise_memlock};
pub use version::KernelVersion;

/// The answer of a probe. Only `Yes` and `No` may be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The kernel has it, or does it.
    Yes,
    /// The kernel has it not, or does it not.
    No,
    /// Something else got in the way, such as a missing privilege.
    CouldNotTell,
}

/// How many CPUs this machine may ever have, which is how many values a per-CPU map keeps for each key.
///
/// It fails where `/sys` is not mounted.
pub fn possible_cpus() -> Result<usize> {
    cpus::possible().map_err(|errno| Error::os("read(2)", cpus::POSSIBLE, errno.0))
}
