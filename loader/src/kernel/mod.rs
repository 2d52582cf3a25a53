//! What the running kernel and this process may do, asked for only when it matters.

mod btf;
mod capabilities;
mod ids;
mod log;
mod memlock;
mod module_btf;
mod privilege;
mod probe;
mod version;
mod vmlinux;
mod wanted;

use crate::error::{Error, Result};
use crate::features::Kernel;
use crate::sys::cpus;

pub use btf::LoadedBtf;
pub use capabilities::Capabilities;
pub use ids::{Ids, link_ids, map_ids, program_ids};
pub use log::{VerifierLog, verdict};
pub use memlock::{memlock_limit, raise_memlock};
pub use module_btf::module_btf_fd;
pub(crate) use privilege::{Privilege, explain_refusal};
pub use probe::probe;
pub use version::KernelVersion;
pub use vmlinux::{kernel_btf, module_btf, modules_with_btf};
pub use wanted::{kconfig_file, kernel_symbols, kernel_types, running_kconfig};

impl Kernel {
    /// The running kernel: its version is asked for, its features are not.
    pub fn current() -> Result<Self> {
        let mut kernel = Self::unknown();
        kernel.version_code = Some(KernelVersion::current()?.code());
        Ok(kernel)
    }
}

/// How many CPUs this machine may ever have, which is how many values a per-CPU map keeps for each key.
///
/// It fails where `/sys` is not mounted.
pub fn possible_cpus() -> Result<usize> {
    cpus::possible().map_err(|errno| Error::os("read(2)", cpus::POSSIBLE, errno.0))
}
