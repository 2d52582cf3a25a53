//! What the kernel says of a program.

use std::time::Duration;

use crate::sys::attr;
use crate::uapi::bpf::{BPF_TAG_SIZE, ObjName, ProgType};

/// A program as the kernel describes it. What a kernel does not know yet is 0 or empty.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProgramInfo {
    /// The number by which the kernel knows it.
    pub id: u32,
    /// The type.
    pub prog_type: ProgType,
    /// A hash of its instructions, map fds left out: the same for the same object, whoever loads it.
    pub tag: [u8; BPF_TAG_SIZE],
    /// The name that it was loaded with, possibly empty (4.15).
    pub name: String,
    /// The maps that it uses, by id.
    pub map_ids: Vec<u32>,
    /// When it was loaded, since the machine was started (`CLOCK_BOOTTIME`; 4.15).
    pub load_time: Duration,
    /// The user that loaded it (4.15).
    pub created_by_uid: u32,
    /// Bytes of its instructions after the verifier rewrote them; 0 for a reader without privilege.
    pub xlated_len: u32,
    /// Bytes of its machine code; 0 if it is interpreted, and for a reader without privilege.
    pub jited_len: u32,
    /// Whether its license is compatible with the GPL (4.18).
    pub gpl_compatible: bool,
    /// The index of the network card that it was offloaded to, 0 for none (4.16).
    pub ifindex: u32,
    /// The id of its BTF, 0 for none (5.0).
    pub btf_id: u32,
    /// How long it ran in all, counted while `kernel.bpf_stats_enabled` is 1 (5.1).
    pub run_time: Duration,
    /// How often it ran, counted as above (5.1).
    pub run_count: u64,
    /// Instructions that the verifier walked through to prove it safe (5.16).
    pub verified_insns: u32,
}

impl ProgramInfo {
    pub(super) fn new(info: &attr::ProgInfo, map_ids: Vec<u32>) -> Self {
        Self {
            id: info.id,
            prog_type: ProgType(info.prog_type),
            tag: info.tag,
            name: ObjName::from_bytes(info.name).to_string(),
            map_ids,
            load_time: Duration::from_nanos(info.load_time),
            created_by_uid: info.created_by_uid,
            xlated_len: info.xlated_prog_len,
            jited_len: info.jited_prog_len,
            gpl_compatible: info.gpl_compatible != 0,
            ifindex: info.ifindex,
            btf_id: info.btf_id,
            run_time: Duration::from_nanos(info.run_time_ns),
            run_count: info.run_cnt,
            verified_insns: info.verified_insns,
        }
    }
}
