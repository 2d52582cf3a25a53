//! Programs: which sections hold them, and what the names of these say.

use std::fmt;

use super::File;
use super::code::{FunctionSpec, Reader};
use crate::btf::{Btf, BtfExt};
use crate::elf::Disjoint;
use crate::error::{Result, escape};
use crate::order::InOrder as _;
use crate::uapi::bpf::{AttachType, ProgType};

/// What the name of a program's section says about how to load it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramKind {
    /// `BPF_PROG_TYPE_XDP`, or `BPF_PROG_TYPE_EXT` for an [extension](ProgramSpec::extends).
    pub prog_type: ProgType,
    /// Where the program may be attached: to an interface, or to an entry of a devmap or cpumap. 0 for an extension,
    /// which goes where the function is that it replaces.
    pub attach_type: AttachType,
    /// The program handles multi-buffer packets (`xdp.frags`).
    pub frags: bool,
}

impl ProgramKind {
    /// A program for an interface, in packets of one buffer.
    pub(super) const INTERFACE: Self =
        Self { prog_type: ProgType::XDP, attach_type: AttachType::XDP, frags: false };

    /// A program that replaces a function of another one.
    pub(super) const EXTENSION: Self =
        Self { prog_type: ProgType::EXT, attach_type: AttachType(0), frags: false };

    /// What the section `name` says, or `None` for a section of no XDP program. Any section that is `named` by the
    /// caller is one.
    ///
    /// libbpf's names are `xdp`, `xdp.frags`, `xdp/devmap`, `freplace/<function>` and the like; gobpf's
    /// `xdp/<anything>`, and so `xdp.frags/<anything>` here; iproute2's default is `prog`. libbpf before 1.0 took all
    /// that begins with `xdp` (`xdp1` and `xdp_tx` of the kernel's samples), and had `xdp_devmap/<anything>` and
    /// `xdp_cpumap/<anything>`. What comes after a dot is a demand, and one that is not known is not
    /// passed over. A [`?`](ProgramSpec::is_optional) before any of them changes nothing here.
    pub(super) fn of_section(name: &str, named: &[String]) -> Option<Self> {
        let told = told(name);
        if told.strip_prefix(EXTENSION).is_some_and(|function| !function.is_empty()) {
            return Some(Self::EXTENSION);
        }
        let (place, frags) = match told.strip_prefix("xdp.frags") {
            Some(place) => (place, true),
            None => (told.strip_prefix("xdp").unwrap_or("."), false),
        };
        let is_known =
            if frags { place.is_empty() || place.starts_with('/') } else { !place.starts_with('.') };
        let map = match place.strip_prefix('/') {
            Some(place) => place.split('/').next(),
            None if frags => None,
            None => place.strip_prefix('_').and_then(|place| place.split_once('/')).map(|(map, _)| map),
        };
        let attach_type = match map {
            Some("devmap") => AttachType::XDP_DEVMAP,
            Some("cpumap") => AttachType::XDP_CPUMAP,
            _ => AttachType::XDP,
        };
        if is_known {
            return Some(Self { attach_type, frags, ..Self::INTERFACE });
        }
        (told == "prog" || named.iter().any(|chosen| chosen == name)).then_some(Self::INTERFACE)
    }
}

/// Whether a section's name demands of its XDP programs what nobody knows: `xdp.frag`, `xdp.frags_x`.
pub(super) fn is_unknown_demand(section: &str) -> bool {
    told(section).starts_with("xdp.") && ProgramKind::of_section(section, &[]).is_none()
}

/// Of which type the programs of a section are that libbpf or gobpf know as one of another type than XDP, in the words
/// of `enum bpf_prog_type`. The first word of a name tells it: what is behind a slash or a dot says more of the same
/// (`section_defs` of libbpf 1.7).
pub(super) fn other_type(section: &str) -> Option<&'static str> {
    let name = told(section);
    let word = &name[..name.find(['/', '.']).unwrap_or(name.len())];
    let types: [(&[&str], &str); 22] = [
        (&["socket"], "SOCKET_FILTER"),
        (&["tc", "tcx", "classifier", "sched_cls", "netkit"], "SCHED_CLS"),
        (&["action", "sched_act"], "SCHED_ACT"),
        (&["kprobe", "kretprobe", "uprobe", "uretprobe", "ksyscall", "kretsyscall", "usdt"], "KPROBE"),
        (&["tracepoint", "tp"], "TRACEPOINT"),
        (&["raw_tracepoint", "raw_tp"], "RAW_TRACEPOINT"),
        (&["tp_btf", "fentry", "fexit", "fmod_ret", "fsession", "iter"], "TRACING"),
        (&["lsm", "lsm_cgroup"], "LSM"),
        (&["perf_event"], "PERF_EVENT"),
        (&["cgroup", "cgroup_skb"], "CGROUP_*"),
        (&["lwt_in", "lwt_out", "lwt_xmit", "lwt_seg6local"], "LWT_*"),
        (&["sockops"], "SOCK_OPS"),
        (&["sk_skb"], "SK_SKB"),
        (&["sk_msg"], "SK_MSG"),
        (&["sk_lookup"], "SK_LOOKUP"),
        (&["sk_reuseport"], "SK_REUSEPORT"),
        (&["flow_dissector"], "FLOW_DISSECTOR"),
        (&["lirc_mode2"], "LIRC_MODE2"),
        (&["struct_ops"], "STRUCT_OPS"),
        // One that does not name the function that it replaces.
        (&["freplace"], "EXT"),
        (&["netfilter"], "NETFILTER"),
        (&["syscall"], "SYSCALL"),
    ];
    types.into_iter().find(|(names, _)| names.contains(&word)).map(|(_, prog_type)| prog_type)
}

/// The name of a section without the `?` that makes its programs optional.
fn told(section: &str) -> &str {
    section.strip_prefix(OPTIONAL).unwrap_or(section)
}

/// How the sections of programs begin that are loaded only where they are chosen.
const OPTIONAL: char = '?';

/// How the sections of extensions begin; the rest is the name of the function that is replaced.
const EXTENSION: &str = "freplace/";

/// One program: a function in a program section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramSpec {
    /// The function.
    pub function: FunctionSpec,
    /// How to load it.
    pub kind: ProgramKind,
}

impl ProgramSpec {
    /// The function of another program that this one replaces, if it is an extension (5.6).
    pub fn extends(&self) -> Option<&str> {
        told(&self.function.section).strip_prefix(EXTENSION).filter(|_| self.kind.prog_type == ProgType::EXT)
    }

    /// Whether it is loaded only where it is chosen: its section begins with `?`, by which libbpf (0.8) leaves loading
    /// it to user space.
    pub fn is_optional(&self) -> bool {
        self.function.section.starts_with(OPTIONAL)
    }
}

impl fmt::Display for ProgramSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (section {})", escape(&self.function.name), escape(&self.function.section))
    }
}

/// Reads the programs of all program sections, and the functions that they reach.
pub(super) fn parse<'e, 'a>(
    file: &File<'e, 'a>,
    btf: Option<&Btf>,
    ext: &BtfExt<'_>,
    needed: &mut Disjoint<'e, 'a>,
) -> Result<(Vec<ProgramSpec>, Vec<FunctionSpec>)> {
    let mut reader = Reader::new(file, ext, needed);
    let (mut programs, mut local) = (Vec::new(), Vec::new());
    for (section, kind) in &file.programs {
        for (is_local, function) in reader.all(section)? {
            programs.push(ProgramSpec { function, kind: *kind });
            local.push(is_local);
        }
    }
    let callbacks = btf.map(Btf::exception_callbacks).unwrap_or_default();
    let callbacks = if callbacks.is_empty() { Vec::new() } else { file.places_of(&callbacks) };
    let mut functions = reader.reached(programs.iter().map(|program| &program.function), callbacks)?;
    let helpers = helpers(&programs, &local, &functions);
    let (kept, helpers): (Vec<_>, Vec<_>) =
        programs.into_iter().enumerate().partition(|(index, _)| helpers.binary_search(index).is_err());
    functions.extend(helpers.into_iter().map(|(_, program)| program.function));
    Ok((kept.into_iter().map(|(_, program)| program).collect(), functions))
}

/// Which functions of program sections are no programs: the static ones that others name.
fn helpers(programs: &[ProgramSpec], local: &[bool], functions: &[FunctionSpec]) -> Vec<usize> {
    let all = programs.iter().zip(local).enumerate().filter(|(_, (_, local))| **local);
    let places = all.map(|(index, (program, _))| (program.function.place(), index)).into_lookup();
    let functions = programs.iter().map(|program| &program.function).chain(functions);
    let mut helpers = Vec::new();
    for function in functions {
        for callee in function.callees() {
            let place = callee.offset.map(|offset| (callee.section, offset));
            let other = place.filter(|place| *place != function.place());
            helpers.extend(other.and_then(|place| places.get(place)));
        }
    }
    helpers.into_iter().copied().into_set()
}
