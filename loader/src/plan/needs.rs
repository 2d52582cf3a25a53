//! Which features of a kernel a call cannot do without, oldest first.
//!
//! None of them is looked at beforehand. After a refusal they tell what to look for.

use super::{BpfLinkCall, Call, MapCreate, ProgLoad};
use crate::features::Feature;
use crate::insn::Insn;
use crate::uapi::bpf::{AttachType, BPF_CALL, BPF_F_XDP_HAS_FRAGS, BPF_PSEUDO_CALL, MapType};

impl Call {
    /// What a kernel must have to make this call, of that for which there is no way round.
    pub fn needs(&self) -> Vec<Feature> {
        match self {
            Self::MapCreate(create) => of_map(create),
            Self::ProgLoad(load) => of_program(load),
            Self::BpfLink(BpfLinkCall::Create(_)) => vec![Feature::XdpLinks],
            _ => Vec::new(),
        }
    }
}

fn of_map(create: &MapCreate) -> Vec<Feature> {
    // In more than four bytes there is an fd of a program behind the index or size.
    let has_programs = create.shape.value_size > 4;
    match create.shape.map_type {
        MapType::DEVMAP | MapType::DEVMAP_HASH if has_programs => vec![Feature::DevmapPrograms],
        MapType::CPUMAP if has_programs => vec![Feature::CpumapPrograms],
        _ => Vec::new(),
    }
}

fn of_program(load: &ProgLoad) -> Vec<Feature> {
    let calls = |insn: &Insn| insn.code == BPF_CALL && insn.src == BPF_PSEUDO_CALL;
    let of_attach_type = match load.expected_attach_type {
        Some(AttachType::XDP_DEVMAP) => Some(Feature::DevmapPrograms),
        Some(AttachType::XDP_CPUMAP) => Some(Feature::CpumapPrograms),
        _ => None,
    };
    let of_functions = load.insns.iter().any(calls).then_some(Feature::FunctionCalls);
    let of_flags = (load.flags & BPF_F_XDP_HAS_FRAGS != 0).then_some(Feature::XdpFrags);
    [of_functions, of_attach_type, of_flags].into_iter().flatten().collect()
}
