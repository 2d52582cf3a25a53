//! Looks whether the running kernel has a feature: one call each, the smallest that only a kernel with it takes.

use crate::btf::BtfAddition;
use crate::bytes::ByteOrder;
use crate::features::{Answer, Feature};
use crate::insn::{Insn, encode_all};
use crate::sys::{Errno, attr, bpf, map::MapFd};
use crate::uapi::bpf::{
    AttachType, BPF_CALL, BPF_EXIT, BPF_F_MMAPABLE, BPF_F_RDONLY_PROG, BPF_F_XDP_HAS_FRAGS,
    BPF_FUNC_KTIME_GET_COARSE_NS, BPF_MOV64_IMM, BPF_PSEUDO_CALL, MapType, ObjName, ProgType,
};

/// Whether the running kernel has `feature`. What is made for the look is gone when this returns.
///
/// A version string would not tell, since distributions move patches from one release to another.
pub fn probe(feature: Feature) -> Answer {
    match feature {
        Feature::ObjectNames => {
            let mut attr = array();
            attr.map_name = ObjName::from_symbol("probe").bytes();
            answer(MapFd::create(attr, None).map(drop), &[Errno::E2BIG, Errno::EINVAL])
        }
        // All of global data came with one release, and this flag is the part that costs least to look for.
        Feature::GlobalData => array_with(BPF_F_RDONLY_PROG),
        Feature::MmapableArrays => array_with(BPF_F_MMAPABLE),
        Feature::ExpectedAttachType => {
            let mut attr = program(ProgType::XDP);
            attr.expected_attach_type = AttachType::XDP.0;
            let insns = [insn(BPF_MOV64_IMM, 0), insn(BPF_EXIT, 0)];
            answer(load(attr, &insns), &[Errno::E2BIG, Errno::EINVAL])
        }
        Feature::BtfWith(addition) => answer(load_types(addition), &[Errno::EINVAL]),
        // The attach type is looked at before the program, which does not exist.
        Feature::XdpLinks => match bpf::probe_xdp_links() {
            Errno::EBADF => Answer::Yes,
            Errno::EINVAL => Answer::No,
            _ => Answer::Unknown,
        },
        // The helper came with the release that stopped charging. The verifier of an older one does not know it;
        // where the limit is so low that it refuses the probe itself, nothing can be told.
        Feature::MemcgAccounting => {
            let insns = [insn(BPF_CALL, BPF_FUNC_KTIME_GET_COARSE_NS), insn(BPF_EXIT, 0)];
            answer(load(program(ProgType::SOCKET_FILTER), &insns), &[Errno::EINVAL])
        }
        Feature::FunctionCalls => {
            let call = Insn { src: BPF_PSEUDO_CALL, ..insn(BPF_CALL, 1) };
            let insns = [call, insn(BPF_EXIT, 0), insn(BPF_MOV64_IMM, 0), insn(BPF_EXIT, 0)];
            answer(load(program(ProgType::SOCKET_FILTER), &insns), &[Errno::EINVAL])
        }
        Feature::DevmapPrograms => entries_with_programs(MapType::DEVMAP),
        Feature::CpumapPrograms => entries_with_programs(MapType::CPUMAP),
        Feature::XdpFrags => {
            let mut attr = program(ProgType::XDP);
            attr.prog_flags = BPF_F_XDP_HAS_FRAGS;
            answer(load(attr, &[insn(BPF_MOV64_IMM, 0), insn(BPF_EXIT, 0)]), &[Errno::EINVAL])
        }
    }
}

/// As [`probe`] for [`Feature::MemcgAccounting`], also where the limit is used up.
pub(crate) fn memcg_accounting() -> Answer {
    match probe(Feature::MemcgAccounting) {
        Answer::Unknown => accounting_by_refusal(),
        answer => answer,
    }
}

/// Takes CAP_PERFMON, and is charged to nobody: what a program is to be attached to is looked at before there is
/// memory for it. Since 5.11 that may be BTF as well, and `bpf_prog_load()` in `kernel/bpf/syscall.c` has another errno
/// for what is neither. Kernels before 5.5 know no such attribute.
fn accounting_by_refusal() -> Answer {
    let insns = encode_all(&[insn(BPF_MOV64_IMM, 0), insn(BPF_EXIT, 0)], ByteOrder::NATIVE);
    let content = bpf::ProgContent { insns: &insns, license: c"GPL", ..bpf::ProgContent::default() };
    match bpf::refusal_of_target(program(ProgType::TRACING), &content) {
        Some(Errno::EINVAL) => Answer::Yes,
        Some(Errno::EBADF | Errno::E2BIG) => Answer::No,
        _ => Answer::Unknown,
    }
}

fn answer(result: Result<(), Errno>, lacking: &[Errno]) -> Answer {
    match result {
        Ok(()) => Answer::Yes,
        Err(errno) if lacking.contains(&errno) => Answer::No,
        Err(_) => Answer::Unknown,
    }
}

fn array_with(flag: u32) -> Answer {
    let mut attr = array();
    attr.map_flags = flag;
    answer(MapFd::create(attr, None).map(drop), &[Errno::EINVAL])
}

/// A devmap or cpumap whose values have room for the fd of a program.
fn entries_with_programs(map_type: MapType) -> Answer {
    let mut attr = array();
    attr.map_type = map_type.0;
    attr.value_size = 8;
    answer(MapFd::create(attr, None).map(drop), &[Errno::EINVAL])
}

fn array() -> attr::MapCreate {
    let mut attr = attr::MapCreate::default();
    attr.map_type = MapType::ARRAY.0;
    attr.key_size = 4;
    attr.value_size = 4;
    attr.max_entries = 1;
    attr
}

fn program(prog_type: ProgType) -> attr::ProgLoad {
    let mut attr = attr::ProgLoad::default();
    attr.prog_type = prog_type.0;
    attr
}

fn load_types(addition: BtfAddition) -> Result<(), Errno> {
    let data = addition.smallest(ByteOrder::NATIVE);
    bpf::btf_load(&data, 0, &mut []).0.map(drop)
}

fn insn(code: u8, imm: i32) -> Insn {
    Insn { code, dst: 0, src: 0, off: 0, imm }
}

fn load(attr: attr::ProgLoad, insns: &[Insn]) -> Result<(), Errno> {
    let insns = encode_all(insns, ByteOrder::NATIVE);
    let content = bpf::ProgContent { insns: &insns, license: c"GPL", ..bpf::ProgContent::default() };
    bpf::prog_load(attr, &content, &mut []).0.map(drop)
}
