//! RLIMIT_MEMLOCK, to which kernels before 5.11 charge the memory of maps and programs.

use std::ffi::CStr;

use crate::error::{Error, Result};
use crate::kernel::Probe;
use crate::sys::{Errno, attr, bpf, os};
use crate::uapi::bpf::{BPF_CALL, BPF_EXIT, BPF_FUNC_KTIME_GET_COARSE_NS, ProgType};

/// No limit, as getrlimit(2) says it: `RLIM_INFINITY`.
const UNLIMITED: u64 = u64::MAX;

/// Whether the kernel charges maps and programs to RLIMIT_MEMLOCK, so that a low limit refuses them with EPERM.
///
/// One `BPF_PROG_LOAD` of a socket filter that calls a helper which came with 5.11, the release that stopped
/// charging; a version string would not tell, since distributions move patches. The program is never attached.
/// `CouldNotTell` also where the limit is so low that an old kernel refuses the probe itself.
pub fn memlock_is_charged() -> Probe {
    const LICENSE: &CStr = c"GPL";
    let helper = BPF_FUNC_KTIME_GET_COARSE_NS.to_ne_bytes();
    let insns =
        [BPF_CALL, 0, 0, 0, helper[0], helper[1], helper[2], helper[3], BPF_EXIT, 0, 0, 0, 0, 0, 0, 0];
    let mut attr = attr::ProgLoad::default();
    attr.prog_type = ProgType::SOCKET_FILTER.0;
    match bpf::prog_load(attr, &insns, LICENSE, &mut []).0 {
        Ok(_) => Probe::No,
        // The verifier does not know the helper.
        Err(Errno::EINVAL) => Probe::Yes,
        Err(_) => Probe::CouldNotTell,
    }
}

/// RLIMIT_MEMLOCK of this process in bytes: the limit that holds, and the one up to which it may be raised.
/// `u64::MAX` stands for no limit.
pub fn memlock_limit() -> Result<(u64, u64)> {
    os::memlock().map_err(|errno| Error::os("getrlimit(2)", "RLIMIT_MEMLOCK", errno.0))
}

/// Lifts RLIMIT_MEMLOCK of this process, or, without CAP_SYS_RESOURCE, raises it as far as it goes.
///
/// Returns the limit that holds now, in bytes; `u64::MAX` stands for no limit.
pub fn raise_memlock() -> Result<u64> {
    let refused = |errno: Errno| Error::os("setrlimit(2)", "RLIMIT_MEMLOCK", errno.0);
    match os::set_memlock(UNLIMITED, UNLIMITED) {
        Ok(()) => Ok(UNLIMITED),
        Err(Errno::EPERM) => {
            let (_, hard) = memlock_limit()?;
            os::set_memlock(hard, hard).map_err(refused)?;
            Ok(hard)
        }
        Err(errno) => Err(refused(errno)),
    }
}
