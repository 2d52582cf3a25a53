//! `include/uapi/linux/capability.h`: the privileges that loading and attaching ask for.

use super::named_values;

/// The version of the structs of capget(2) that has 64 capabilities: `_LINUX_CAPABILITY_VERSION_3`.
pub const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;

named_values! {
    /// A capability: the number of its bit.
    pub struct Capability: u8, "CAP_" {
        /// Go past the permission bits of files.
        DAC_OVERRIDE = 1 "dac_override";
        /// Attach to interfaces; load programs that handle packets.
        NET_ADMIN = 12 "net_admin";
        /// Keep any number of pages in memory.
        IPC_LOCK = 14 "ipc_lock";
        /// Everything that BPF asks for before 5.8; maps and programs by id; mounts.
        SYS_ADMIN = 21 "sys_admin";
        /// Raise resource limits.
        SYS_RESOURCE = 24 "sys_resource";
        /// 5.8. Load programs that trace the kernel, or read its pointers.
        PERFMON = 38 "perfmon";
        /// 5.8. Create maps, load programs.
        BPF = 39 "bpf";
    }
}
