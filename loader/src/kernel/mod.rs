//! What the running kernel and this process may do, asked for only when it matters.

mod capabilities;
mod ids;
mod loaded_btf;
mod log;
mod memlock;
mod permissions;
mod privilege;
mod probe;
mod sysfs_btf;
mod version;
mod wanted;

use std::fmt::Display;
use std::os::fd::{AsFd, OwnedFd};

pub(crate) use crate::diagnosis::Privilege;
use crate::error::{Error, Result};
use crate::features::Kernel;
use crate::plan::Wants;
use crate::sys::{cpus, os};

pub use crate::diagnosis::Capabilities;
pub use ids::{Ids, link_ids, map_ids, program_ids};
pub use loaded_btf::LoadedBtf;
pub use log::VerifierLog;
pub use memlock::{memlock_limit, raise_memlock};
pub(crate) use permissions::Access;
pub use permissions::permissions;
pub(crate) use privilege::{
    explain_memlock, explain_mount, explain_path, explain_perf_event, explain_perf_memory, explain_refusal,
    explain_rejection, explain_socket,
};
pub(crate) use probe::memcg_accounting;
pub use probe::probe;
pub use sysfs_btf::{kernel_btf, module_btf, modules_with_btf};
pub use version::KernelVersion;
pub use wanted::{kconfig_file, kernel_symbols, own_types, running_kconfig};

/// A second fd of what `fd` is of, which an error calls `what`.
pub(crate) fn duplicate(fd: impl AsFd, what: impl Display) -> Result<OwnedFd> {
    fd.as_fd().try_clone_to_owned().map_err(|error| Error::io("fcntl(F_DUPFD_CLOEXEC)", what, &error))
}

impl Kernel {
    /// The running kernel: its version, the number of CPUs and the size of a page are asked for, its features are not.
    pub fn current() -> Result<Self> {
        Self::as_far_as(&Wants { version: true, cpus: true, ..Wants::default() })
    }

    /// The same, without asking for what is not wanted.
    fn as_far_as(wants: &Wants) -> Result<Self> {
        let mut kernel = Self::unknown();
        kernel.page_size = os::page_size();
        if wants.version {
            kernel.version_code = Some(KernelVersion::current()?.code());
        }
        if wants.cpus {
            // Without /sys the number is unknown, which matters to few objects.
            kernel.possible_cpus = possible_cpus().ok().and_then(|cpus| u32::try_from(cpus).ok());
        }
        Ok(kernel)
    }
}

/// How many CPUs this machine may ever have, which is how many values a per-CPU map keeps for each key.
///
/// It fails where `/sys` is not mounted.
pub fn possible_cpus() -> Result<usize> {
    cpus::possible().map_err(|(call, errno)| Error::os(call, cpus::POSSIBLE, errno.0))
}
