//! `include/uapi/linux/bpf.h`: commands, map and program types, flags, the instruction encoding.
//!
//! The kernel version after a value is the first release that has it.

use super::named_values;

/// Where the kernel makes a directory for bpffs (`kernel/bpf/inode.c`), and systems mount it by convention.
pub const BPFFS_ROOT: &str = "/sys/fs/bpf";

named_values! {
    /// `enum bpf_cmd`: the first argument of bpf(2).
    pub struct Cmd: u32, "BPF_" {
        MAP_CREATE = 0 "map_create";
        MAP_LOOKUP_ELEM = 1 "map_lookup_elem";
        MAP_UPDATE_ELEM = 2 "map_update_elem";
        MAP_DELETE_ELEM = 3 "map_delete_elem";
        MAP_GET_NEXT_KEY = 4 "map_get_next_key";
        PROG_LOAD = 5 "prog_load";
        /// 4.4
        OBJ_PIN = 6 "obj_pin";
        /// 4.4
        OBJ_GET = 7 "obj_get";
        /// 4.12
        PROG_TEST_RUN = 10 "prog_test_run";
        /// 4.13
        PROG_GET_NEXT_ID = 11 "prog_get_next_id";
        /// 4.13
        MAP_GET_NEXT_ID = 12 "map_get_next_id";
        /// 4.13
        PROG_GET_FD_BY_ID = 13 "prog_get_fd_by_id";
        /// 4.13
        MAP_GET_FD_BY_ID = 14 "map_get_fd_by_id";
        /// 4.13
        OBJ_GET_INFO_BY_FD = 15 "obj_get_info_by_fd";
        /// 4.18
        /// 4.17
        RAW_TRACEPOINT_OPEN = 17 "raw_tracepoint_open";
        BTF_LOAD = 18 "btf_load";
        /// 4.18
        BTF_GET_FD_BY_ID = 19 "btf_get_fd_by_id";
        /// 4.20
        MAP_LOOKUP_AND_DELETE_ELEM = 21 "map_lookup_and_delete_elem";
        /// 5.2
        MAP_FREEZE = 22 "map_freeze";
        /// 5.2
        BTF_GET_NEXT_ID = 23 "btf_get_next_id";
        /// 5.6
        MAP_LOOKUP_BATCH = 24 "map_lookup_batch";
        /// 5.6
        MAP_UPDATE_BATCH = 26 "map_update_batch";
        /// 5.6
        MAP_DELETE_BATCH = 27 "map_delete_batch";
        /// 5.7
        LINK_CREATE = 28 "link_create";
        /// 5.7
        LINK_UPDATE = 29 "link_update";
        /// 5.8
        LINK_GET_FD_BY_ID = 30 "link_get_fd_by_id";
        /// 5.8
        LINK_GET_NEXT_ID = 31 "link_get_next_id";
        /// 5.9
        LINK_DETACH = 34 "link_detach";
        /// 5.10
        PROG_BIND_MAP = 35 "prog_bind_map";
    }
}

impl Cmd {
    /// The call as messages write it: `bpf(BPF_MAP_CREATE)`.
    pub fn call(self) -> String {
        format!("bpf({self:?})")
    }
}

named_values! {
    /// `enum bpf_map_type`.
    pub struct MapType: u32, "BPF_MAP_TYPE_" {
        UNSPEC = 0 "unspec";
        HASH = 1 "hash";
        ARRAY = 2 "array";
        /// 4.2
        PROG_ARRAY = 3 "prog_array";
        /// 4.3
        PERF_EVENT_ARRAY = 4 "perf_event_array";
        /// 4.6
        PERCPU_HASH = 5 "percpu_hash";
        /// 4.6
        PERCPU_ARRAY = 6 "percpu_array";
        /// 4.6
        STACK_TRACE = 7 "stack_trace";
        /// 4.8
        CGROUP_ARRAY = 8 "cgroup_array";
        /// 4.10
        LRU_HASH = 9 "lru_hash";
        /// 4.10
        LRU_PERCPU_HASH = 10 "lru_percpu_hash";
        /// 4.11
        LPM_TRIE = 11 "lpm_trie";
        /// 4.12
        ARRAY_OF_MAPS = 12 "array_of_maps";
        /// 4.12
        HASH_OF_MAPS = 13 "hash_of_maps";
        /// 4.14
        DEVMAP = 14 "devmap";
        /// 4.14
        SOCKMAP = 15 "sockmap";
        /// 4.15
        CPUMAP = 16 "cpumap";
        /// 4.18
        XSKMAP = 17 "xskmap";
        /// 4.18
        SOCKHASH = 18 "sockhash";
        /// 4.19
        CGROUP_STORAGE = 19 "cgroup_storage";
        /// 4.19
        REUSEPORT_SOCKARRAY = 20 "reuseport_sockarray";
        /// 4.20
        PERCPU_CGROUP_STORAGE = 21 "percpu_cgroup_storage";
        /// 4.20
        QUEUE = 22 "queue";
        /// 4.20
        STACK = 23 "stack";
        /// 5.2
        SK_STORAGE = 24 "sk_storage";
        /// 5.4
        DEVMAP_HASH = 25 "devmap_hash";
        /// 5.6
        STRUCT_OPS = 26 "struct_ops";
        /// 5.8
        RINGBUF = 27 "ringbuf";
        /// 5.10
        INODE_STORAGE = 28 "inode_storage";
        /// 5.11
        TASK_STORAGE = 29 "task_storage";
        /// 5.16
        BLOOM_FILTER = 30 "bloom_filter";
        /// 6.1
        USER_RINGBUF = 31 "user_ringbuf";
        /// 6.2
        CGRP_STORAGE = 32 "cgrp_storage";
        /// 6.9
        ARENA = 33 "arena";
        /// 6.19
        INSN_ARRAY = 34 "insn_array";
    }
}

impl MapType {
    /// Whether a lookup from user space copies one value for each possible CPU.
    pub fn is_per_cpu(self) -> bool {
        matches!(
            self,
            Self::PERCPU_HASH | Self::PERCPU_ARRAY | Self::LRU_PERCPU_HASH | Self::PERCPU_CGROUP_STORAGE
        )
    }

    /// Whether its values are other maps, so that creation wants a template map.
    pub fn is_map_in_map(self) -> bool {
        matches!(self, Self::ARRAY_OF_MAPS | Self::HASH_OF_MAPS)
    }
}

named_values! {
    /// `enum bpf_prog_type`, as far as an XDP user meets it.
    pub struct ProgType: u32, "BPF_PROG_TYPE_" {
        UNSPEC = 0 "unspec";
        SOCKET_FILTER = 1 "socket_filter";
        KPROBE = 2 "kprobe";
        SCHED_CLS = 3 "sched_cls";
        SCHED_ACT = 4 "sched_act";
        TRACEPOINT = 5 "tracepoint";
        /// 4.8
        XDP = 6 "xdp";
        /// 5.5
        TRACING = 26 "tracing";
        /// 5.6
        EXT = 28 "ext";
    }
}

named_values! {
    /// `enum bpf_attach_type`, as far as XDP programs use it.
    pub struct AttachType: u32, "BPF_" {
        /// Value 0; a program loaded without an expected attach type has it too.
        CGROUP_INET_INGRESS = 0 "unspec";
        /// 5.8
        XDP_DEVMAP = 33 "xdp_devmap";
        /// 5.9
        XDP_CPUMAP = 35 "xdp_cpumap";
        /// 5.9
        XDP = 37 "xdp";
    }
}

named_values! {
    /// `enum bpf_link_type`.
    pub struct LinkType: u32, "BPF_LINK_TYPE_" {
        UNSPEC = 0 "unspec";
        RAW_TRACEPOINT = 1 "raw_tracepoint";
        TRACING = 2 "tracing";
        CGROUP = 3 "cgroup";
        ITER = 4 "iter";
        NETNS = 5 "netns";
        /// 5.9
        XDP = 6 "xdp";
        /// 5.15
        PERF_EVENT = 7 "perf_event";
        /// 5.18
        KPROBE_MULTI = 8 "kprobe_multi";
        /// 5.19
        STRUCT_OPS = 9 "struct_ops";
        /// 6.4
        NETFILTER = 10 "netfilter";
        /// 6.6
        TCX = 11 "tcx";
        /// 6.6
        UPROBE_MULTI = 12 "uprobe_multi";
        /// 6.7
        NETKIT = 13 "netkit";
        /// 6.10
        SOCKMAP = 14 "sockmap";
    }
}

named_values! {
    /// `enum xdp_action`: what an XDP program returns.
    pub struct XdpAction: u32, "XDP_" {
        ABORTED = 0 "aborted";
        DROP = 1 "drop";
        PASS = 2 "pass";
        TX = 3 "tx";
        REDIRECT = 4 "redirect";
    }
}

/// Bytes that a map's or program's name takes in the kernel, its NUL included.
pub const BPF_OBJ_NAME_LEN: usize = 16;

/// The name of a map or program as the kernel takes it: at most 15 bytes out of `[A-Za-z0-9_.]`.
///
/// The kernel refuses any other byte with EINVAL, and before 5.2 the dot too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ObjName([u8; BPF_OBJ_NAME_LEN]);

impl ObjName {
    /// Most bytes that the kernel keeps of a name.
    pub const MAX: usize = BPF_OBJ_NAME_LEN - 1;

    /// As much of `symbol` as fits, with `_` in place of each character that the kernel does not take.
    pub fn from_symbol(symbol: &str) -> Self {
        let mut name = [0; BPF_OBJ_NAME_LEN];
        for (byte, c) in name[..BPF_OBJ_NAME_LEN - 1].iter_mut().zip(symbol.chars()) {
            let taken = c.is_ascii_alphanumeric() || c == '_' || c == '.';
            *byte = if taken { u8::try_from(c).unwrap_or(b'_') } else { b'_' };
        }
        Self(name)
    }

    /// The name in a struct that the kernel filled in.
    pub fn from_bytes(bytes: [u8; BPF_OBJ_NAME_LEN]) -> Self {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(BPF_OBJ_NAME_LEN);
        Self::from_symbol(&String::from_utf8_lossy(&bytes[..end]))
    }

    /// The bytes as the kernel's structs hold them: padded with NUL bytes, of which there is at least one.
    pub fn bytes(&self) -> [u8; BPF_OBJ_NAME_LEN] {
        self.0
    }

    /// The name without the padding.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|&byte| byte == 0).unwrap_or(BPF_OBJ_NAME_LEN);
        std::str::from_utf8(&self.0[..end]).expect("the name was made of ASCII characters")
    }
}

impl std::fmt::Display for ObjName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl std::fmt::Debug for ObjName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// Bytes of a program tag.
pub const BPF_TAG_SIZE: usize = 8;

/// `statfs(2)` answers this `f_type` for bpffs: `BPF_FS_MAGIC`, `include/uapi/linux/magic.h`.
pub const BPF_FS_MAGIC: i64 = 0xCAFE_4A11;

/// `BPF_MAP_UPDATE_ELEM`: create the entry or overwrite it.
pub const BPF_ANY: u64 = 0;
/// `BPF_MAP_UPDATE_ELEM`: create the entry, or fail with EEXIST.
pub const BPF_NOEXIST: u64 = 1;
/// `BPF_MAP_UPDATE_ELEM`: overwrite the entry, or fail with ENOENT.
pub const BPF_EXIST: u64 = 2;

/// `BPF_MAP_CREATE`: do not allocate the entries beforehand; LPM tries must have it.
pub const BPF_F_NO_PREALLOC: u32 = 1 << 0;
/// `BPF_MAP_CREATE`: each CPU of an LRU map has a list of its own (4.10).
pub const BPF_F_NO_COMMON_LRU: u32 = 1 << 1;
/// `BPF_MAP_CREATE`: the map's memory comes from the node `numa_node` (4.14).
pub const BPF_F_NUMA_NODE: u32 = 1 << 2;
/// `BPF_MAP_CREATE` and `BPF_OBJ_GET`: user space may only read the map through this fd (4.15).
pub const BPF_F_RDONLY: u32 = 1 << 3;
/// `BPF_MAP_CREATE` and `BPF_OBJ_GET`: user space may only write the map through this fd (4.15).
pub const BPF_F_WRONLY: u32 = 1 << 4;
/// `BPF_MAP_CREATE`: programs may only read the map (5.2).
pub const BPF_F_RDONLY_PROG: u32 = 1 << 7;
/// `BPF_MAP_CREATE`: user space may map the values of an array into its memory (5.5).
pub const BPF_F_MMAPABLE: u32 = 1 << 10;
/// `BPF_MAP_CREATE`: in a map of maps, arrays may have other numbers of entries than the one it was made with (5.10).
pub const BPF_F_INNER_MAP: u32 = 1 << 12;
/// `BPF_MAP_CREATE`: user space that comes to a page of an arena which is not there gets SIGSEGV, and no page (6.9).
pub const BPF_F_SEGV_ON_FAULT: u32 = 1 << 17;

/// `BPF_RINGBUF_BUSY_BIT`, in the header of a record that is not written to its end yet.
pub const BPF_RINGBUF_BUSY_BIT: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`, in the header of a record that is none.
pub const BPF_RINGBUF_DISCARD_BIT: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`: bytes of a header.
pub const BPF_RINGBUF_HDR_SZ: usize = 8;

/// Every flag of `BPF_MAP_CREATE` with its kernel name, lowest bit first.
pub const MAP_FLAGS: &[(u32, &str)] = &[
    (1 << 0, "BPF_F_NO_PREALLOC"),
    (1 << 1, "BPF_F_NO_COMMON_LRU"),
    (1 << 2, "BPF_F_NUMA_NODE"),
    (1 << 3, "BPF_F_RDONLY"),
    (1 << 4, "BPF_F_WRONLY"),
    (1 << 5, "BPF_F_STACK_BUILD_ID"),
    (1 << 6, "BPF_F_ZERO_SEED"),
    (1 << 7, "BPF_F_RDONLY_PROG"),
    (1 << 8, "BPF_F_WRONLY_PROG"),
    (1 << 9, "BPF_F_CLONE"),
    (1 << 10, "BPF_F_MMAPABLE"),
    (1 << 11, "BPF_F_PRESERVE_ELEMS"),
    (BPF_F_INNER_MAP, "BPF_F_INNER_MAP"),
    (1 << 13, "BPF_F_LINK"),
    (1 << 14, "BPF_F_PATH_FD"),
    (1 << 15, "BPF_F_VTYPE_BTF_OBJ_FD"),
    (1 << 16, "BPF_F_TOKEN_FD"),
    (1 << 17, "BPF_F_SEGV_ON_FAULT"),
    (1 << 18, "BPF_F_NO_USER_CONV"),
];

/// The names of the flags that are set, joined by `|`; flags without a name as a number, and `0` for none.
pub fn flag_names(flags: u32, names: &[(u32, &str)]) -> String {
    let set = names.iter().filter(|(flag, _)| flags & flag != 0);
    let unknown = names.iter().fold(flags, |rest, (flag, _)| rest & !flag);
    let mut words: Vec<_> = set.map(|(_, name)| (*name).to_owned()).collect();
    if unknown != 0 {
        words.push(format!("{unknown:#x}"));
    }
    if words.is_empty() { "0".to_owned() } else { words.join("|") }
}

/// `BPF_LINK_UPDATE`: only if the link holds `old_prog_fd` (5.7).
pub const BPF_F_REPLACE: u32 = 1 << 2;

/// A test run of an XDP program lets its frames go (5.18).
pub const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
/// `BPF_PROG_LOAD`: the program handles multi-buffer packets (5.18).
pub const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
/// `prog_flags`: the program is for the interface `prog_ifindex` alone, but runs on the host (6.3).
pub const BPF_F_XDP_DEV_BOUND_ONLY: u32 = 1 << 6;
/// The flags of `BPF_PROG_LOAD` that this library sets, with their names.
pub const PROG_FLAGS: &[(u32, &str)] =
    &[(BPF_F_XDP_HAS_FRAGS, "BPF_F_XDP_HAS_FRAGS"), (BPF_F_XDP_DEV_BOUND_ONLY, "BPF_F_XDP_DEV_BOUND_ONLY")];

/// `src_reg` of a 64-bit immediate load whose `imm` is a map's fd.
pub const BPF_PSEUDO_MAP_FD: u8 = 1;
/// `src_reg` of a 64-bit immediate load of an address inside a map's value: `imm` is the map's fd (5.2).
pub const BPF_PSEUDO_MAP_VALUE: u8 = 2;
/// `src_reg` of a 64-bit immediate load of a kernel symbol's address, by BTF id (5.10).
pub const BPF_PSEUDO_BTF_ID: u8 = 3;
/// `src_reg` of a 64-bit immediate load of a subprogram's address (5.13).
pub const BPF_PSEUDO_FUNC: u8 = 4;
/// `src_reg` of a call to another function of the program.
pub const BPF_PSEUDO_CALL: u8 = 1;
/// `src_reg` of a 64-bit immediate load whose `imm` is an index into the `fd_array` of `BPF_PROG_LOAD` (5.14).
pub const BPF_PSEUDO_MAP_IDX: u8 = 5;
/// The same for an address inside the map's value (5.14).
pub const BPF_PSEUDO_MAP_IDX_VALUE: u8 = 6;
/// `src_reg` of a call to a kernel function by BTF id (5.13).
pub const BPF_PSEUDO_KFUNC_CALL: u8 = 2;

/// Bytes of one `struct bpf_insn`.
pub const BPF_INSN_SIZE: usize = 8;
/// Most instructions in one program for a process with CAP_BPF: `BPF_COMPLEXITY_LIMIT_INSNS` (5.2; 4096 before).
pub const BPF_MAX_INSNS: usize = 1_000_000;

/// Opcode of the 64-bit immediate load, the only instruction of 16 bytes: `BPF_LD | BPF_DW | BPF_IMM`.
pub const BPF_LD_IMM64: u8 = 0x18;
/// Opcode of `call`: `BPF_JMP | BPF_CALL`.
pub const BPF_CALL: u8 = 0x85;
/// Opcode of `exit`: `BPF_JMP | BPF_EXIT`.
pub const BPF_EXIT: u8 = 0x95;
/// Opcode of `dst = imm` on 64 bits: `BPF_ALU64 | BPF_MOV | BPF_K`.
pub const BPF_MOV64_IMM: u8 = 0xb7;

/// The helper `bpf_ktime_get_coarse_ns`, new in 5.11, the release that stopped charging maps to RLIMIT_MEMLOCK.
pub const BPF_FUNC_KTIME_GET_COARSE_NS: i32 = 160;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_becomes_a_name_that_the_kernel_takes() {
        for (symbol, name) in [
            ("blacklist", "blacklist"),
            (".rodata", ".rodata"),
            ("xdp/ip filter", "xdp_ip_filter"),
            ("a_name_of_fifteen_bytes", "a_name_of_fifte"),
            ("größe\u{1b}", "gr__e_"),
            ("", ""),
        ] {
            let made = ObjName::from_symbol(symbol);
            assert_eq!(made.as_str(), name);
            assert_eq!(made.bytes()[15], 0);
            assert_eq!(ObjName::from_bytes(made.bytes()), made);
        }
    }
}
