//! What the running kernel and this process may do, asked for only when it matters.

mod capabilities;
mod ids;
mod memlock;
mod probe;
mod version;

use std::fmt::Display;

use crate::error::{Error, Result};
use crate::features::Kernel;
use crate::sys::{Errno, cpus};
use crate::uapi::bpf::{BPF_OBJ_NAME_LEN, Cmd};

pub use capabilities::Capabilities;
pub use ids::{Ids, map_ids, program_ids};
pub use memlock::{memlock_limit, raise_memlock};
pub use probe::probe;
pub use version::KernelVersion;

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

/// The error of a command of bpf(2) that was refused while working on `object`.
pub(crate) fn refused(cmd: Cmd, object: impl Display, errno: Errno) -> Error {
    Error::os(&format!("bpf({cmd:?})"), object, errno.0)
}

/// A name as the kernel's structs hold it, padded with NUL bytes.
pub(crate) fn object_name(bytes: &[u8; BPF_OBJ_NAME_LEN]) -> String {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
