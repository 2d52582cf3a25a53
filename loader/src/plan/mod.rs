//! The load plan: every kernel call that loading an object and attaching a program will make, as a value.
//!
//! A plan is made without asking the kernel anything. It can be printed, compared and audited before the first
//! call; fds of things that do not exist yet are names. Where the kernel's answer decides how it goes on, all ways
//! are in the plan: a step says what follows its success, and what instead of it a refusal leads to.
//!
//! ```no_run
//! use loader::plan::Loader;
//! use loader::{Kernel, Object};
//!
//! let object = Object::open("limiter.o")?;
//! let loader = Loader::new(&object)
//!     .set("burst", 64_u32)                      // a constant of the program
//!     .max_entries("by_source", 65_536)
//!     .pin_map("by_source", "/sys/fs/bpf/by_source")
//!     .ask_kernel()?;                            // for CO-RE and externs: the types and symbols that it wants
//! let plan = loader.plan(&Kernel::current()?)?;  // asks nobody
//! println!("{plan:#}");
//! # Ok::<(), loader::Error>(())
//! ```

mod build;
mod call;
mod describe;
mod display;
mod explain;
mod externs;
mod lacking;
mod needs;
mod number;
mod pin_path;
mod prog_array_pins;
mod slot;
mod trial;

pub use build::{KeepMaps, Loader};
pub(crate) use build::{MAPS_UNDESCRIBED, link_without_pin};
pub use call::{
    Adapted, Arm, BpfLinkCall, BtfLoad, Call, CopyBy, Device, Existing, FIRST_LOG_SIZE, FdValue, Fit,
    GuardMessage, LinkCreate, MapCreate, MapFd, ModuleFd, OtherShape, ProgInfo, ProgLoad, SetXdp, WantedMap,
};
pub use describe::KernelCall;
pub(crate) use display::label;
pub use externs::{ExternValue, KernelSymbols, ResolvedExtern, Wants};
pub use number::Number;
pub(crate) use pin_path::beside;
pub use pin_path::check_pin_path;
pub use prog_array_pins::{
    Attachment, AttachmentKey, PinsAction, ProgArrayPins, own_directory, prog_array_directory,
    prog_array_pin_name,
};
pub use slot::{MapSlot, ModuleSlot, ProgramSlot};
pub use trial::own_link;

use std::sync::Arc;

use nix::libc::{E2BIG, EBUSY, EINVAL, EOPNOTSUPP, EPERM};

use crate::btf::{Btf, BtfAddition};
use crate::bytes::ByteOrder;
use crate::core_reloc::Resolution;
use crate::error::{ENOTSUPP, Error, ErrorKind, Result};
use crate::features::Feature;
use crate::netlink::{InterfaceRef, ModeChoice, is_unexplained, may_fall_back};

/// The ordered kernel calls that loading an object will make.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The names of the maps, by [`MapSlot`].
    pub maps: Vec<String>,
    /// How many of these, the last ones, are only templates for maps of maps, and are closed again.
    pub templates: usize,
    /// The names of the programs, by [`ProgramSlot`].
    pub programs: Vec<String>,
    /// The sections that the programs are in, by [`ProgramSlot`].
    pub sections: Vec<String>,
    /// The object's BTF, if it is handed over to the kernel.
    pub btf: Option<Arc<Btf>>,
    /// How instructions were adapted to the types of the kernel, by [`ProgramSlot`].
    pub relocations: Vec<Vec<Resolution>>,
    /// What the programs take from the kernel.
    pub externs: Vec<ResolvedExtern>,
    /// The names of the modules whose types the programs refer to, by [`ModuleSlot`].
    pub modules: Vec<String>,
    /// Where the program goes, if it is to be attached: the places of `Step::at`.
    pub attach: Vec<Target>,
    /// What will be done, in order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The bytes of the object's BTF without `addition` and what came after it; none if the object has no BTF.
    pub fn btf_bytes(&self, without: Option<BtfAddition>) -> Result<Vec<u8>> {
        match (&self.btf, without) {
            (None, _) => Ok(Vec::new()),
            (Some(btf), None) => btf.to_bytes(ByteOrder::NATIVE),
            (Some(btf), Some(addition)) => btf.without(addition).to_bytes(ByteOrder::NATIVE),
        }
    }

    /// What takes `call` back when a later one of this plan fails: [`Call::undo`], and also the change of each
    /// interface if there are several or a guard is to hear of it. Else nothing is left after it that can fail.
    pub fn undo(&self, call: &Call) -> Option<Call> {
        // Looks through all steps, and so not for each of them.
        let is_last = || self.attach.len() < 2 && !self.is_on_trial();
        let is_change = matches!(call, Call::SetXdp(_) | Call::BpfLink(BpfLinkCall::Update { .. }));
        if is_change && is_last() { None } else { call.opposite() }
    }

    /// Every call of the plan, whichever way it is on: of each step, then of what follows it, then of what is done
    /// instead.
    pub fn calls(&self) -> impl Iterator<Item = &Call> {
        let mut ahead: Vec<&Step> = self.steps.iter().rev().collect();
        std::iter::from_fn(move || {
            let step = ahead.pop()?;
            let others = step.otherwise.iter().flat_map(|other| &other.steps);
            let from = ahead.len();
            ahead.extend(step.then.iter().chain(others));
            ahead[from..].reverse();
            Some(&step.call)
        })
    }

    /// Where maps are pinned, or found if they are pinned already: the map's name and the path of its pin.
    pub fn pins(&self) -> impl Iterator<Item = (&str, &str)> {
        self.steps.iter().filter_map(|step| match &step.call {
            Call::ObjGet { path, map } => Some((self.maps[map.0].as_str(), path.as_str())),
            _ => None,
        })
    }
}

/// Where a program is to be attached.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The interface.
    pub interface: InterfaceRef,
    /// The network namespace it is in, by path; `None` for the process's own.
    pub netns: Option<String>,
    /// In which mode.
    pub mode: ModeChoice,
    /// Replace the program that is there, if one is. Otherwise a program that is there is never displaced.
    pub replace: bool,
    /// What holds the program there.
    pub by: AttachBy,
}

impl Target {
    /// An interface of the process's own network namespace, in native mode, and only if nothing runs there.
    pub fn new(interface: InterfaceRef) -> Self {
        let (mode, by) = (ModeChoice::default(), AttachBy::default());
        Self { interface, netns: None, mode, replace: false, by }
    }

    /// In the network namespace at this path, instead of the process's own.
    #[must_use]
    pub fn netns(self, path: Option<String>) -> Self {
        Self { netns: path, ..self }
    }

    /// In this mode.
    #[must_use]
    pub fn mode(self, mode: impl Into<ModeChoice>) -> Self {
        Self { mode: mode.into(), ..self }
    }

    /// Whether to replace the program that is there, if one is.
    #[must_use]
    pub fn replace(self, replace: bool) -> Self {
        Self { replace, ..self }
    }

    /// What is to hold the program there.
    #[must_use]
    pub fn by(self, by: AttachBy) -> Self {
        Self { by, ..self }
    }
}

/// What holds a program on an interface.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AttachBy {
    /// The interface itself, told so by netlink: the program stays until it is detached.
    #[default]
    Netlink,
    /// A `bpf_link` (5.9).
    Link {
        /// Where the link is pinned; without a pin one that is there already can be updated, but none made.
        pin: Option<String>,
    },
}

/// One call, and how it goes on from there.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The call.
    pub call: Call,
    /// At which interface, where the plan has several: its index in [`Plan::attach`].
    pub at: usize,
    /// The number of its first system call; those of the others follow it.
    pub number: Number,
    /// Whether it is made at all.
    pub when: When,
    /// What follows when it succeeds, before the next step.
    pub then: Vec<Step>,
    /// What is done instead when it is refused: the first alternative that fits. With none the plan fails.
    pub otherwise: Vec<Alternative>,
}

impl Step {
    /// A step that is always taken and has no alternatives.
    fn new(call: impl Into<Call>) -> Self {
        Self {
            call: call.into(),
            at: 0,
            number: Number::FIRST,
            when: When::Always,
            then: Vec::new(),
            otherwise: Vec::new(),
        }
    }

    /// The same step at another interface.
    fn at(mut self, at: usize) -> Self {
        self.set_at(at);
        self
    }

    fn set_at(&mut self, at: usize) {
        self.at = at;
        let others = self.otherwise.iter_mut().flat_map(|other| &mut other.steps);
        self.then.iter_mut().chain(others).for_each(|step| step.set_at(at));
    }

    fn when(self, when: When) -> Self {
        Self { when, ..self }
    }

    fn then(self, then: Vec<Step>) -> Self {
        Self { then, ..self }
    }

    fn or(mut self, on: On, steps: Vec<Step>) -> Self {
        self.otherwise.push(Alternative { on, lacking: None, steps });
        self
    }

    fn or_lacking(mut self, on: On, feature: Feature, steps: Vec<Step>) -> Self {
        self.otherwise.push(Alternative { on, lacking: Some(feature), steps });
        self
    }
}

/// Whether a step is taken.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// In any case.
    Always,
    /// If a program is attached to the interface, as `RTM_GETLINK` has said.
    Occupied,
    /// If none is.
    Vacant,
    /// If none is, and one was on each interface before it.
    FirstVacant,
    /// Unless this map is one of the attached program, which the new program goes on with.
    New(MapSlot),
    /// If the attached program has this map in another shape, so that its entries are copied.
    Copied(MapSlot),
    /// If this map is pinned in another shape, so that its entries are copied into a new one.
    Outgrown(MapSlot),
    /// If this map was made, which the programs can do without.
    Made(MapSlot),
}

/// Another way after a refusal.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alternative {
    /// Which refusals lead here.
    pub on: On,
    /// Only if the kernel lacks this; that is probed then, unless it is known. Without steps it means that there is
    /// no way without it.
    pub lacking: Option<Feature>,
    /// What is done instead.
    pub steps: Vec<Step>,
}

/// A refusal.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// One of these, as in errno(3).
    Errno(&'static [i32]),
    /// Any errno.
    AnyErrno,
    /// An errno with which drivers say that they cannot; see [`may_fall_back`].
    Driver,
    /// EINVAL without the kernel's sentence; see [`is_unexplained`].
    Unexplained,
    /// EBUSY: a `bpf_link` holds the program, and only through it can that be replaced.
    Held,
    /// EPERM: without CAP_SYS_ADMIN nothing is opened by its id. Where no pin is found instead, the refusal stands.
    ById,
    /// No answer to a netlink request came, so that nobody knows what came of it.
    Unanswered,
    /// An errno with which the kernel refuses the types of a map's entries, where it was told any.
    EntryTypes,
    /// The verifier refuses what it was told of functions and lines, or an older kernel that it was told any.
    ProgInfo,
    /// statfs(2) succeeds and tells of another filesystem.
    NotBpffs,
}

impl On {
    /// Whether this refusal is meant; a lost answer is none.
    pub fn matches(self, refusal: &Error) -> bool {
        match (self, refusal.errno()) {
            (Self::NotBpffs, errno) => errno.is_none() && refusal.kind() == ErrorKind::NotFound,
            (Self::Unanswered, _) | (_, None) => false,
            (Self::Errno(list), Some(errno)) => list.contains(&errno),
            (Self::AnyErrno, Some(_)) => true,
            (Self::ById, Some(errno)) => errno == EPERM,
            (Self::Held, Some(errno)) => errno == EBUSY,
            (Self::EntryTypes, Some(errno)) => [EINVAL, EOPNOTSUPP, ENOTSUPP].contains(&errno),
            (Self::ProgInfo, Some(errno)) => is_about_info(refusal, errno),
            (Self::Driver, Some(errno)) => may_fall_back(errno),
            (Self::Unexplained, Some(_)) => is_unexplained(refusal),
        }
    }
}

/// Whether a load was refused for what the kernel was told of functions and lines: the verifier says so in its log
/// (`check_btf_info()` in `kernel/bpf/verifier.c`), and a kernel before 5.0 says nothing.
fn is_about_info(refusal: &Error, errno: i32) -> bool {
    match refusal.verifier_log() {
        None => [EINVAL, E2BIG].contains(&errno),
        // The opposite: a callback cannot do without.
        Some(log) if log.contains("missing btf func_info") => false,
        Some(log) if is_said(log, &["func info", "func_info", "line_info"]) => true,
        // A kernel before 5.10 without BTF of its own does not know the context of a global function by its type.
        // Without BTF all functions are looked into where they are called.
        Some(log) => log.contains(" type PTR in ") && log.contains(" is not supported yet"),
    }
}

/// Whether the verifier says one of `words` itself: a line of the source that it quotes begins with a semicolon.
fn is_said(log: &str, words: &[&str]) -> bool {
    let mut own = log.lines().filter(|line| !line.starts_with(';'));
    own.any(|line| words.iter().any(|word| line.contains(word)))
}

#[cfg(test)]
mod tests;
