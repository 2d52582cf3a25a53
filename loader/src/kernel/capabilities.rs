//! The privileges of this process.

use crate::error::{Error, Result};
use crate::sys::os;
use crate::uapi::capability::Capability;

/// The effective capabilities of the thread that asked.
///
/// In a user namespace of its own a process may have them all, and bpf(2) will still refuse it: the kernel looks
/// for CAP_BPF and CAP_SYS_ADMIN in the first user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// Those of the calling thread: one capget(2).
    pub fn current() -> Result<Self> {
        let bits =
            os::effective_capabilities().map_err(|errno| Error::os("capget(2)", "this process", errno.0))?;
        Ok(Self(bits))
    }

    /// Those of a process that has these, one bit each.
    #[cfg(test)]
    pub(super) fn of_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Whether this very capability is there.
    pub fn has(self, capability: Capability) -> bool {
        self.0.checked_shr(u32::from(capability.0)).is_some_and(|bits| bits & 1 == 1)
    }

    /// Whether maps may be created and programs loaded: CAP_BPF (5.8), or CAP_SYS_ADMIN, which includes it.
    pub fn has_bpf(self) -> bool {
        self.has(Capability::BPF) || self.has_sys_admin()
    }

    /// Whether programs may see kernel pointers: CAP_PERFMON (5.8), or CAP_SYS_ADMIN, which includes it.
    pub fn has_perfmon(self) -> bool {
        self.has(Capability::PERFMON) || self.has_sys_admin()
    }

    /// Whether a program may be attached to an interface: CAP_NET_ADMIN, which CAP_SYS_ADMIN does not include here.
    pub fn has_net_admin(self) -> bool {
        self.has(Capability::NET_ADMIN)
    }

    /// Whether maps and programs may be opened by id, and a bpffs mounted: CAP_SYS_ADMIN.
    pub fn has_sys_admin(self) -> bool {
        self.has(Capability::SYS_ADMIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sys_admin_includes_bpf_but_not_net_admin() {
        let admin = Capabilities(1 << Capability::SYS_ADMIN.0);
        assert!(admin.has_bpf() && admin.has_perfmon() && !admin.has_net_admin());
        let bpf = Capabilities(1 << Capability::BPF.0);
        assert!(bpf.has_bpf() && !bpf.has_perfmon() && !bpf.has_sys_admin());
        assert!(!Capabilities(u64::MAX).has(Capability(64)));
    }
}
