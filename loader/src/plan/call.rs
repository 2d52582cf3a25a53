//! The calls that a plan is made of: kernel calls whose fds are still names.

use std::fmt;
use std::sync::Arc;

use nix::libc::{EAGAIN, ENOSPC};

use super::prog_array_pins::ProgArrayPins;
use super::slot::{MapSlot, ModuleSlot, ProgramSlot};
use crate::btf::{BtfAddition, FuncInfo, LineInfo};
use crate::features::Feature;
use crate::insn::Insn;
use crate::netlink::{InterfaceRef, Mode};
use crate::object::{EntryTypes, MapShape};
use crate::uapi::bpf::{AttachType, ObjName, ProgType};

/// One thing to ask of the kernel, or to tell the guard of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Call {
    /// Is a bpffs mounted at the path?
    Statfs {
        /// The root of bpffs.
        path: String,
    },
    /// Mount one there.
    MountBpffs {
        /// The root of bpffs.
        path: String,
    },
    /// Wait until no other run is busy with pins there, and hold others off until the plan is done.
    Lock {
        /// The root of bpffs.
        path: String,
    },
    /// Let others go on.
    Unlock,
    /// Wait until no other run is about to mount a bpffs there.
    LockMountPoint {
        /// The directory that it is to be mounted on.
        path: String,
    },
    /// Make a directory, mode 0700.
    Mkdir {
        /// The directory.
        path: String,
    },
    /// Open what is pinned at the path.
    ObjGet {
        /// The pin.
        path: String,
        /// The map that it is to be.
        map: MapSlot,
    },
    /// Ask an opened map for its shape, which must be this one.
    MapInfo {
        /// The map.
        map: MapSlot,
        /// The shape that the object asks for.
        wanted: MapShape,
        /// What becomes of one of another shape.
        other_shape: OtherShape,
    },
    /// Move a pin to where another is, which it takes the place of in one step.
    MovePin {
        /// The map.
        map: MapSlot,
        /// Its pin.
        from: String,
        /// The pin that it becomes.
        to: String,
    },
    /// Take that back: pin the map that was there before once more, and move the pin.
    PutPinBack {
        /// The map.
        map: MapSlot,
        /// Where it is pinned first.
        from: String,
        /// Where the pin was.
        to: String,
    },
    /// Hand over the object's BTF.
    BtfLoad(BtfLoad),
    /// Find the types of a module among all that the kernel holds.
    ModuleBtf {
        /// The module.
        module: ModuleSlot,
    },
    /// Create a map.
    MapCreate(MapCreate),
    /// Put a map into a map of maps, or a program into a prog array.
    MapUpdate {
        /// The map of maps or the prog array.
        map: MapSlot,
        /// Its key.
        key: u32,
        /// What is put there.
        value: FdValue,
        /// Whether nothing was there, in a map that others may use: it is taken out again when a later call fails.
        is_new: bool,
    },
    /// Find out what is in a map of maps or a prog array that others may use, to put it back when a later call fails.
    EntryBefore {
        /// The map of maps or the prog array.
        map: MapSlot,
        /// Its key.
        key: u32,
        /// What comes there.
        value: FdValue,
    },
    /// Put back what was there before.
    PutEntryBack {
        /// The map of maps or the prog array.
        map: MapSlot,
        /// Its key.
        key: u32,
        /// What came there.
        value: FdValue,
    },
    /// Take out again what came where nothing was.
    MapDelete {
        /// The map of maps or the prog array.
        map: MapSlot,
        /// Its key.
        key: u32,
        /// What came there.
        value: FdValue,
    },
    /// Write the only entry of a map of global variables.
    MapFill {
        /// The map.
        map: MapSlot,
        /// Its bytes.
        content: Vec<u8>,
    },
    /// Map an arena into the memory of this process, which settles its address there for all programs if the object
    /// does not give one, and write there what its variables begin with.
    MapMmap {
        /// The map.
        map: MapSlot,
        /// Where it is to be; 0 is where the kernel finds room.
        address: u64,
        /// How many bytes it has.
        len: u64,
        /// The first of them; none without variables.
        content: Vec<u8>,
    },
    /// Take from user space the right to change a map, for good.
    MapFreeze {
        /// The map.
        map: MapSlot,
    },
    /// Pin a map.
    ObjPin {
        /// The map.
        map: MapSlot,
        /// The pin.
        path: String,
    },
    /// Load a program. It says far more than other calls.
    ProgLoad(Box<ProgLoad>),
    /// Open the program that is to be extended, and read its types, where its functions are named.
    OpenExtended {
        /// Where it is found.
        existing: Existing,
    },
    /// Let an extension take the place of its function: a `bpf_link`, which puts the function back when it goes.
    Extend {
        /// The extension.
        program: ProgramSlot,
    },
    /// Open a program that is loaded already, which must be an XDP program.
    OpenProgram {
        /// The program of the plan that it becomes.
        program: ProgramSlot,
        /// Where it is found.
        existing: Existing,
    },
    /// Pin a program.
    PinProgram {
        /// The program.
        program: ProgramSlot,
        /// The pin.
        path: String,
    },
    /// Open the program that is pinned where one was to be pinned. If it is the same, with the same maps, it takes
    /// the other's place, and nothing was missing.
    FindSameProgram {
        /// The program.
        program: ProgramSlot,
        /// The pin.
        path: String,
    },
    /// Have a program hold a map that its instructions do not use, so that the map lives as long.
    ProgBindMap {
        /// The program.
        program: ProgramSlot,
        /// The map.
        map: MapSlot,
    },
    /// Open a netlink socket of the route family, with extended acknowledgements on.
    OpenRouteSocket {
        /// The network namespace to open it in, by path; `None` for the process's own.
        netns: Option<String>,
    },
    /// Ask for an interface's index and for what is attached to it.
    GetInterface {
        /// The interface.
        named: InterfaceRef,
    },
    /// Ask for the number of the network namespace that no other has.
    NetnsCookie,
    /// Make or remove pins of the prog arrays of an attachment.
    ProgArrayPins(ProgArrayPins),
    /// Open the program that is attached there, by its id, as the one that may be replaced.
    ProgGetFdById,
    /// Look at each pin for the attached program, for who may not open it by its id.
    FindProgram {
        /// The root of bpffs.
        bpffs: String,
    },
    /// Set the program of the interface.
    SetXdp(SetXdp),
    /// Make the opposite of this change. If it was not made, as may be where no answer came, the kernel refuses.
    PutBack(SetXdp),
    /// Ask the attached program for the ids of its maps.
    RunningMapIds,
    /// Open each map of the attached program, and find among them those that the new one goes on with.
    OpenRunningMaps {
        /// The maps of the plan that are looked for.
        wanted: Vec<WantedMap>,
        /// What becomes of one of another shape.
        other_shape: OtherShape,
    },
    /// Copy the entries of the attached program's map into the one that took its name.
    CopyMap {
        /// The map that is written.
        map: MapSlot,
        /// How they are copied.
        by: CopyBy,
    },
    /// Something about the `bpf_link` that holds the program.
    BpfLink(BpfLinkCall),
    /// Tell the guard of a trial something, and wait until it has heard.
    Guard(GuardMessage),
    /// Ask for the id and the tag of a program that was loaded, for whoever is to hear of it.
    ProgInfo {
        /// The program.
        program: ProgramSlot,
    },
    /// Find out whether the kernel can compare the attached program with the expected one (5.7). If it can, the
    /// refusal before stands.
    ProbeCompare,
    /// Raise the limit that the kernel charges maps and programs to.
    RaiseMemlock,
    /// Find out whether the kernel has this.
    Probe(Feature),
    /// Remove a pin.
    Unlink {
        /// The pin.
        path: String,
    },
    /// Remove a directory.
    Rmdir {
        /// The directory.
        path: String,
    },
    /// Unmount a bpffs.
    Umount {
        /// The root of bpffs.
        path: String,
    },
}

/// One thing to ask of the kernel about a `bpf_link`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BpfLinkCall {
    /// Look at each `bpf_link` for the one that holds the attached program.
    Find,
    /// Open the `bpf_link` that is pinned at the path, which must hold the attached program.
    Open {
        /// The pin.
        path: String,
    },
    /// Open the `bpf_link` that a trial has left pinned, which must hold the attached program; see
    /// [`own_link`](super::own_link).
    OpenOwn {
        /// The root of bpffs.
        bpffs: String,
    },
    /// Make a `bpf_link` that holds a program on the interface.
    Create(LinkCreate),
    /// Put a program in the place of the attached one, in the `bpf_link` that holds it.
    Update {
        /// The program.
        program: ProgramSlot,
    },
    /// Put the attached program back in the place of one, in the `bpf_link` that holds it.
    PutBack {
        /// The program.
        program: ProgramSlot,
    },
    /// Pin the `bpf_link`.
    Pin {
        /// The pin.
        path: String,
    },
    /// Ask for the id of the `bpf_link`, for whoever is to hear of it.
    Info,
    /// Detach what the `bpf_link` holds.
    Detach,
}

/// What the guard of a trial is told.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuardMessage {
    /// Tell the guard of a trial what it would have to put back, and wait until it is ready.
    Arm(Arm),
    /// Tell the guard that nothing is changed after all.
    Unchanged,
    /// Give the guard the `bpf_link` that was made.
    HandOver,
    /// Tell the guard that the change is made.
    Made,
}

impl From<ProgLoad> for Call {
    fn from(load: ProgLoad) -> Self {
        Self::ProgLoad(Box::new(load))
    }
}

impl From<BpfLinkCall> for Call {
    fn from(call: BpfLinkCall) -> Self {
        Self::BpfLink(call)
    }
}

impl From<GuardMessage> for Call {
    fn from(message: GuardMessage) -> Self {
        Self::Guard(message)
    }
}

/// `BPF_BTF_LOAD`: [`Plan::btf`](super::Plan::btf), or what of it a kernel may know.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BtfLoad {
    /// Leave out this, and all that came after it.
    pub without: Option<BtfAddition>,
    /// Ask the kernel what it does not like. The buffer starts at [`FIRST_LOG_SIZE`] and grows until the log fits.
    pub log: bool,
}

/// What a program or a map is made for, beside the kernel.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// Nothing more: a program runs on whichever interface it is attached to.
    #[default]
    None,
    /// The network card, which runs the program itself and holds its maps.
    Card,
    /// One interface, about whose packets the program asks the driver (`BPF_F_XDP_DEV_BOUND_ONLY`).
    Interface,
}

/// `BPF_MAP_CREATE`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapCreate {
    /// The map that is made.
    pub map: MapSlot,
    /// Its shape.
    pub shape: MapShape,
    /// `map_name`.
    pub name: Option<ObjName>,
    /// `numa_node`, with `BPF_F_NUMA_NODE` alone.
    pub numa_node: Option<u32>,
    /// `inner_map_fd`.
    pub inner: Option<MapSlot>,
    /// `btf_key_type_id` and `btf_value_type_id`, where the kernel has taken the object's BTF.
    pub types: Option<EntryTypes>,
    /// What it is made for: the map of an offloaded program lives on the network card (`map_ifindex`).
    pub device: Device,
    /// Why `max_entries` is not what the object or the caller says, if it is not.
    pub adapted: Option<Adapted>,
}

/// What an entry of a map is made of that holds maps or programs: the fd of one.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FdValue {
    /// A map.
    Map(MapSlot),
    /// A program.
    Program(ProgramSlot),
}

/// Another size of a map than the one that was asked for, which the kernel would refuse.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adapted {
    /// `max_entries` as it was asked for.
    pub asked: u32,
    /// `max_entries` as it became.
    pub became: u32,
    /// What it had to fit.
    pub to: Fit,
}

/// What the size of a map depends on beside the object.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// An array of perf events without a size gets one entry for each CPU.
    Cpus,
    /// A ring buffer has as many pages of this many bytes as a power of two says.
    Pages(u32),
}

/// `a ring buffer is a power of two of pages of 4096 bytes: max_entries 5000 becomes 8192`
impl fmt::Display for Adapted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to {
            Fit::Cpus => f.write_str("one entry for each possible CPU")?,
            Fit::Pages(size) => write!(f, "a ring buffer is a power of two of pages of {size} bytes")?,
        }
        write!(f, ": max_entries {} becomes {}", self.asked, self.became)
    }
}

/// `BPF_PROG_LOAD`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgLoad {
    /// The program that is made.
    pub program: ProgramSlot,
    /// `prog_type`.
    pub prog_type: ProgType,
    /// `expected_attach_type`.
    pub expected_attach_type: Option<AttachType>,
    /// `prog_flags`.
    pub flags: u32,
    /// `prog_name`.
    pub name: Option<ObjName>,
    /// `license`.
    pub license: String,
    /// `kern_version`.
    pub kern_version: u32,
    /// `insns`, with the fds of maps still 0; the alternatives of a load share them.
    pub insns: Arc<[Insn]>,
    /// Where the fds of maps go.
    pub map_references: Vec<MapFd>,
    /// Where the fds of modules' types go.
    pub module_references: Vec<ModuleFd>,
    /// `fd_array`: the types of these modules, after an empty place. Calls of their functions have the place in `off`.
    pub modules: Vec<ModuleSlot>,
    /// What the compiler says of functions and lines, where the kernel has taken the object's BTF.
    pub info: Option<Arc<ProgInfo>>,
    /// Ask the verifier for its log. The buffer starts at [`FIRST_LOG_SIZE`] and grows until the log fits.
    pub log: bool,
    /// What it is loaded for (`prog_ifindex`).
    pub device: Device,
    /// The function of the program to extend that this one replaces (`attach_prog_fd`, `attach_btf_id`).
    pub extends: Option<String>,
}

/// What the kernel is told of a program in the object's BTF.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgInfo {
    /// `func_info`: where each function begins, in bytes from the first instruction.
    pub functions: Vec<FuncInfo>,
    /// `line_info`; empty where it is not known for all functions.
    pub lines: Vec<LineInfo>,
    /// Whether it would be another program without, since the kernel finds its exception callback by them.
    pub is_needed: bool,
}

/// An instruction whose `imm` becomes the fd of a map.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapFd {
    /// Index of the instruction.
    pub insn: usize,
    /// The map.
    pub map: MapSlot,
}

/// An instruction whose `imm` becomes the fd of a module's types.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModuleFd {
    /// Index of the instruction.
    pub insn: usize,
    /// The module.
    pub module: ModuleSlot,
}

/// Bytes of the first buffer for a verifier log, which holds that of most refusals.
pub const FIRST_LOG_SIZE: usize = 64 * 1024;

/// `RTM_SETLINK` with `IFLA_XDP`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetXdp {
    /// The program.
    pub program: ProgramSlot,
    /// The mode; `None` for that of the program which is replaced.
    pub mode: Option<Mode>,
    /// Replace what is there, and only that (`XDP_FLAGS_REPLACE` with `IFLA_XDP_EXPECTED_FD`); otherwise refuse to
    /// displace anything (`XDP_FLAGS_UPDATE_IF_NOEXIST`).
    pub replace: bool,
}

/// Where a program is found that is loaded already, whoever loaded it.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is pinned at this path.
    Pinned(String),
    /// The kernel knows it by this number.
    Id(u32),
}

/// A map that the attached program may have already.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedMap {
    /// The map of the plan.
    pub map: MapSlot,
    /// What the kernel calls it.
    pub name: ObjName,
    /// The shape that it must have.
    pub shape: MapShape,
}

/// What becomes of a map that is found with another shape than the object asks for.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherShape {
    /// It is refused.
    Refuse,
    /// Its entries are copied into a new map, if they can be.
    Copy,
}

/// What a guard is told beside what was found and made; see [`Plan::on_trial`](super::Plan::on_trial).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arm {
    /// The root of bpffs.
    pub bpffs: String,
    /// Where a new link is pinned when it is confirmed; none for [`own_link`](super::own_link).
    pub pin: Option<String>,
}

/// How the entries of a map are copied.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CopyBy {
    /// Many at once (5.6).
    Page,
    /// Each by itself.
    Entry,
    /// Each by itself, and the maps that it holds by their ids.
    InnerMap,
}

/// `BPF_LINK_CREATE`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkCreate {
    /// The program.
    pub program: ProgramSlot,
    /// The mode.
    pub mode: Mode,
    /// Whether the interface is in another network namespace, in which the call must be made.
    pub elsewhere: bool,
}

impl Call {
    /// For how many things the call is made again and again; none for one that is made once. `ENOENT` then means that
    /// there are no more, or that one is gone.
    pub fn repeated(&self) -> Option<&'static str> {
        match self {
            Self::OpenRunningMaps { .. } => Some("for each map of the attached program"),
            Self::BpfLink(BpfLinkCall::Find) => Some("for each bpf_link in the kernel"),
            Self::FindProgram { .. } => Some("for each pin"),
            Self::CopyMap { by: CopyBy::Page, .. } => Some("for each page of its entries"),
            Self::CopyMap { .. } => Some("for each of its entries"),
            _ => None,
        }
    }

    /// The refusals that do not count: the same call is made again, a few times. A signal interrupts a load with
    /// EAGAIN; a verifier log that does not fit is ENOSPC, and has more room the next time.
    pub fn again_on(&self) -> &'static [i32] {
        match self {
            Self::BtfLoad(BtfLoad { log: true, .. }) => &[ENOSPC],
            Self::ProgLoad(load) if load.log => &[EAGAIN, ENOSPC],
            Self::ProgLoad(_) => &[EAGAIN],
            _ => &[],
        }
    }

    /// Why a map becomes another size than was asked for, if it does.
    pub fn adapted(&self) -> Option<Adapted> {
        match self {
            Self::MapCreate(create) => create.adapted,
            _ => None,
        }
    }

    /// What takes the call back, also a change of the interface; see [`Plan::undo`](super::Plan::undo).
    pub(crate) fn opposite(&self) -> Option<Self> {
        match self {
            Self::SetXdp(set) => Some(Self::PutBack(set.clone())),
            Self::BpfLink(BpfLinkCall::Update { program }) => {
                Some(BpfLinkCall::PutBack { program: *program }.into())
            }
            call => call.undo(),
        }
    }

    /// What takes the call back when a later one fails. Types, maps and programs need nothing: they go with their fds.
    pub fn undo(&self) -> Option<Self> {
        match self {
            Self::MountBpffs { path } => Some(Self::Umount { path: path.clone() }),
            Self::Lock { .. } => Some(Self::Unlock),
            Self::Mkdir { path } => Some(Self::Rmdir { path: path.clone() }),
            Self::ProgArrayPins(pins) => pins.undo().map(Self::ProgArrayPins),
            Self::BpfLink(BpfLinkCall::Create(_)) => Some(BpfLinkCall::Detach.into()),
            Self::Guard(GuardMessage::Arm(_)) => Some(GuardMessage::Unchanged.into()),
            &Self::EntryBefore { map, key, value } => Some(Self::PutEntryBack { map, key, value }),
            &Self::MapUpdate { map, key, value, is_new: true } => Some(Self::MapDelete { map, key, value }),
            Self::MovePin { map, from, to } => {
                Some(Self::PutPinBack { map: *map, from: from.clone(), to: to.clone() })
            }
            Self::ObjPin { path, .. }
            | Self::PinProgram { path, .. }
            | Self::BpfLink(BpfLinkCall::Pin { path }) => Some(Self::Unlink { path: path.clone() }),
            _ => None,
        }
    }
}
