//! RLIMIT_MEMLOCK, to which kernels before 5.11 charge the memory of maps and programs.

use crate::error::{Error, Result};
use crate::sys::{Errno, os};

/// No limit, as getrlimit(2) says it: `RLIM_INFINITY`.
const UNLIMITED: u64 = u64::MAX;

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
