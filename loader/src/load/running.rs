//! Is what runs on an interface what a plan would attach? For boot scripts, which may attach twice.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::attach::{Interface, Link, LinkState, holder_of, open_or_find, open_own_link};
use crate::error::{Context as _, Error, ErrorKind, Result, quote};
use crate::insn::tag::Tags;
use crate::kernel;
use crate::map::{Map, MapInfo, Value, compare};
use crate::netlink::{InterfaceInfo, Mode, XdpProgram, program_to_replace};
use crate::order::InOrder as _;
use crate::pin;
use crate::plan::{
    AttachBy, BpfLinkCall, Call, Existing, FdValue, MapCreate, MapSlot, Plan, ProgLoad, ProgramSlot,
};
use crate::program::{Program, ProgramInfo};
use crate::uapi::bpf::ObjName;

/// A program that runs where a plan would attach one just like it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunsAlready {
    /// The program, and its mode.
    pub program: XdpProgram,
    /// What the kernel says of it.
    pub info: ProgramInfo,
    /// The `bpf_link` that holds it, if one does.
    pub link: Option<LinkState>,
}

/// What a comparison has found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Comparison {
    /// The program runs there.
    Same(RunsAlready),
    /// The program runs there, but another `bpf_link` holds it than the plan would make, or none does.
    HeldOtherwise(RunsAlready),
    /// Another does, or none, or it is used in another way: the first thing that is not the same.
    Different(Difference),
}

/// Why what runs there is not what a plan would attach. It displays as a clause about what runs there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Difference {
    /// No program is there, or several are.
    Programs(Error),
    /// It runs in this mode.
    Mode(Mode),
    /// It is another one than the one with this id.
    Id(u32),
    /// It has other instructions.
    Instructions,
    /// It is called so, by the kernel.
    Name(String),
    /// Something about a map.
    Map {
        /// The name of the map in the object.
        name: String,
        /// What it is.
        what: MapDifference,
    },
}

/// Why a map of the running program is not what a plan would make.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum MapDifference {
    /// Not exactly one map is called so, by the kernel.
    NotFound,
    /// It has another shape.
    Shape(compare::Difference),
    /// It is not the one at this pin.
    NotPinnedAt(String),
    /// Its constants have other values.
    Constants,
    /// It is a prog array with another program at this key.
    Program(u32),
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Programs(error) => write!(f, "{error}"),
            Self::Mode(mode) => write!(f, "it runs in {mode} mode"),
            Self::Id(id) => write!(f, "it is not program {id}"),
            Self::Instructions => f.write_str("it has other instructions"),
            Self::Name(name) => write!(f, "it is called {}", quote(name)),
            Self::Map { name, what } => write!(f, "its map {} {what}", quote(name)),
        }
    }
}

impl fmt::Display for MapDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("cannot be told from others, or is missing"),
            Self::Shape(difference) => write!(f, "has another shape: {difference}"),
            Self::NotPinnedAt(path) => write!(f, "is not the one at {}", quote(path)),
            Self::Constants => f.write_str("has other constants"),
            Self::Program(key) => write!(f, "has another program at {key}"),
        }
    }
}

impl Plan {
    /// Compares what runs on `interface` with what this plan would attach there: tag, name, mode and holder of the
    /// program, names and shapes of its maps, the pins of those that have one, the values of constants, and the
    /// programs in its prog arrays. A program that is loaded already is the same if it is that very one.
    ///
    /// Nothing is changed. Without CAP_SYS_ADMIN, the program, its link and its maps are found where they are pinned
    /// below `bpffs`; what is not pinned there is an error of kind [`PermissionDenied`](ErrorKind::PermissionDenied).
    /// What the kernel does not tell is not compared: the attach type, the flags, and what variables began with. The
    /// own link of a trial is looked for below `bpffs`.
    pub fn compare(&self, interface: &Interface, bpffs: impl AsRef<Path>) -> Result<Comparison> {
        let bpffs = bpffs.as_ref();
        let what = || format!("comparing with what runs on {interface}");
        let running = match Running::find(self, interface, bpffs).context(what)? {
            Candidate::Running(running) => running,
            Candidate::Other(difference) => return Ok(Comparison::Different(difference)),
        };
        if let Some(difference) = running.compare_maps().context(what)? {
            return Ok(Comparison::Different(difference));
        }
        let is_ours = running.has_our_holder(interface, bpffs).context(what)?;
        let running = RunsAlready { program: running.program, info: running.info, link: running.link };
        Ok(if is_ours { Comparison::Same(running) } else { Comparison::HeldOtherwise(running) })
    }

    /// How a program is loaded at the first try.
    fn load_of(&self, program: ProgramSlot) -> Option<&ProgLoad> {
        self.calls().find_map(|call| match call {
            Call::ProgLoad(load) if load.program == program => Some(&**load),
            _ => None,
        })
    }

    fn creation_of(&self, map: MapSlot) -> Option<&MapCreate> {
        self.calls().find_map(|call| match call {
            Call::MapCreate(create) if create.map == map => Some(create),
            _ => None,
        })
    }

    /// The program that it attaches, if that is loaded already.
    fn opens(&self) -> Option<&Existing> {
        self.calls().find_map(|call| match call {
            Call::OpenProgram { existing, .. } => Some(existing),
            _ => None,
        })
    }

    /// The program that is attached.
    pub(super) fn attached_program(&self) -> Option<ProgramSlot> {
        self.steps.iter().find_map(|step| match &step.call {
            Call::SetXdp(set) => Some(set.program),
            Call::BpfLink(BpfLinkCall::Create(create)) => Some(create.program),
            Call::BpfLink(BpfLinkCall::Update { program }) => Some(*program),
            _ => None,
        })
    }
}

/// What runs on an interface, by a first look.
enum Candidate<'p> {
    /// It may be the same program.
    Running(Running<'p>),
    /// It is not.
    Other(Difference),
}

struct Running<'p> {
    plan: &'p Plan,
    /// None where the plan attaches a program that is loaded already.
    load: Option<&'p ProgLoad>,
    program: XdpProgram,
    info: ProgramInfo,
    link: Option<LinkState>,
    maps: Vec<(Map, MapInfo)>,
}

impl<'p> Running<'p> {
    /// Opens what runs there and its maps, if it may be the same program.
    fn find(plan: &'p Plan, interface: &Interface, bpffs: &Path) -> Result<Candidate<'p>> {
        let attach = plan.attach.first().ok_or_else(|| invalid("the plan attaches nothing"))?;
        let seen = interface.look()?;
        let program = match program_to_replace(&seen.xdp, attach.mode, None) {
            Ok(program) => program,
            Err(error) => {
                return Ok(Candidate::Other(match seen.xdp.programs() {
                    [program] => Difference::Mode(program.mode),
                    _ => Difference::Programs(error),
                }));
            }
        };
        match plan.opens() {
            Some(existing) => Self::find_existing(plan, existing, (interface, &seen), program, bpffs),
            None => Self::find_loaded(plan, (interface, &seen), program, bpffs),
        }
    }

    /// As [`find`](Self::find), where the plan attaches a program that is loaded already.
    fn find_existing(
        plan: &'p Plan,
        existing: &Existing,
        place: (&Interface, &InterfaceInfo),
        program: XdpProgram,
        bpffs: &Path,
    ) -> Result<Candidate<'p>> {
        let (wanted, _) = existing.open()?;
        let wanted = wanted.info()?;
        if program.id != Some(wanted.id) {
            return Ok(Candidate::Other(Difference::Id(wanted.id)));
        }
        let link = find_holder(place, program, bpffs)?;
        Ok(Candidate::Running(Self { plan, load: None, program, info: wanted, link, maps: Vec::new() }))
    }

    fn find_loaded(
        plan: &'p Plan,
        place: (&Interface, &InterfaceInfo),
        program: XdpProgram,
        bpffs: &Path,
    ) -> Result<Candidate<'p>> {
        let load = plan.attached_program().and_then(|slot| plan.load_of(slot));
        let load = load.ok_or_else(|| invalid("the plan loads nothing"))?;
        let (fd, _) = open_or_find(program, bpffs).map_err(|refusal| not_pinned(refusal, &program, bpffs))?;
        let info = fd.info()?;
        if let Some(difference) = different_program(plan, load, &info) {
            return Ok(Candidate::Other(difference));
        }
        let link = find_holder(place, program, bpffs)?;
        let mut maps = Vec::with_capacity(info.map_ids.len());
        for &id in &info.map_ids {
            maps.push(open_or_find_map(id, bpffs)?);
        }
        Ok(Candidate::Running(Self { plan, load: Some(load), program, info, link, maps }))
    }

    /// The first map that is not the same.
    fn compare_maps(&self) -> Result<Option<Difference>> {
        let references = self.load.map(|load| &load.map_references[..]).unwrap_or_default();
        for slot in references.iter().map(|reference| reference.map).into_set() {
            if let Some(what) = self.compare_map(slot)? {
                let name = self.plan.maps[slot.0].clone();
                return Ok(Some(Difference::Map { name, what }));
            }
        }
        Ok(None)
    }

    /// Whether it is held as the plan would have it.
    fn has_our_holder(&self, interface: &Interface, bpffs: &Path) -> Result<bool> {
        let attach = self.plan.attach.first().expect("the caller has seen it");
        let pinned = match &attach.by {
            AttachBy::Netlink => open_own_link(bpffs, interface)?,
            AttachBy::Link { pin: Some(path) } if self.link.is_some() => {
                Link::open_pinned(Path::new(path)).ok()
            }
            AttachBy::Link { .. } => None,
        };
        let pinned = pinned.map(|link| link.state()).transpose()?;
        Ok(match (&self.link, &attach.by) {
            (None, by) => *by == AttachBy::Netlink,
            (Some(link), _) => pinned.is_some_and(|pinned| pinned.id == link.id),
        })
    }

    fn compare_map(&self, slot: MapSlot) -> Result<Option<MapDifference>> {
        let Some(create) = self.plan.creation_of(slot) else { return Ok(None) };
        let kernel_name = create.name.map(|name| name.as_str().to_owned()).unwrap_or_default();
        let mut called = self.maps.iter().filter(|(_, info)| info.name == kernel_name);
        let (Some((map, info)), None) = (called.next(), called.next()) else {
            return Ok(Some(MapDifference::NotFound));
        };
        let differences = compare::differences(&create.shape, info, kernel::possible_cpus()?);
        if let Some(difference) = differences.into_iter().next() {
            return Ok(Some(MapDifference::Shape(difference)));
        }
        for call in self.plan.calls() {
            let difference = match call {
                Call::ObjGet { path, map } if *map == slot => other_pin(path, info.id)?,
                Call::MapFill { map: filled, content } if *filled == slot && self.is_frozen(slot) => {
                    other_constants(map, content)?
                }
                Call::MapUpdate { map: array, key, value: FdValue::Program(program), .. }
                    if *array == slot =>
                {
                    self.other_jump(map, *key, *program)?
                }
                _ => None,
            };
            if difference.is_some() {
                return Ok(difference);
            }
        }
        Ok(None)
    }

    /// Whether the plan makes constants of this map.
    fn is_frozen(&self, slot: MapSlot) -> bool {
        self.plan.calls().any(|call| matches!(call, Call::MapFreeze { map } if *map == slot))
    }

    /// In which way the entry of a prog array is not the program that the plan puts there.
    fn other_jump(&self, array: &Map, key: u32, program: ProgramSlot) -> Result<Option<MapDifference>> {
        let Some(load) = self.plan.load_of(program) else { return Ok(None) };
        let there = array.lookup(&key.to_ne_bytes())?;
        let id = there.as_ref().and_then(Value::id);
        let info = id.map(|id| Program::from_id(id)?.info()).transpose()?;
        let is_same = info.is_some_and(|info| Tags::of(&load.insns).has(info.tag));
        Ok((!is_same).then_some(MapDifference::Program(key)))
    }
}

fn find_holder(
    (interface, seen): (&Interface, &InterfaceInfo),
    program: XdpProgram,
    bpffs: &Path,
) -> Result<Option<LinkState>> {
    let link = holder_of(interface, seen, program, bpffs);
    let link = link.map_err(|refusal| not_pinned(refusal, &"the bpf_link that holds it", bpffs))?;
    link.map(|link| link.state()).transpose()
}

/// Opens a map by its id or, without the privilege for that, by a pin below `bpffs`.
fn open_or_find_map(id: u32, bpffs: &Path) -> Result<(Map, MapInfo)> {
    let refusal = match Map::from_id_with_info(id) {
        Err(refusal) if refusal.kind() == ErrorKind::PermissionDenied => refusal,
        opened => return opened,
    };
    let pinned = |path: PathBuf| Map::with_info(pin::get_in_bpffs(&path).ok()??).ok();
    let mut pinned = pin::files_below(bpffs).into_iter().filter_map(pinned);
    let found = pinned.find(|(_, info)| info.id == id);
    found.ok_or_else(|| not_pinned(refusal, &format_args!("its map {id}"), bpffs))
}

/// Says of a `refusal` to open `what` by its id that no pin has led to it either.
fn not_pinned(refusal: Error, what: &dyn fmt::Display, bpffs: &Path) -> Error {
    if refusal.kind() != ErrorKind::PermissionDenied {
        return refusal;
    }
    let message = format!(
        "{what} is not pinned below {}, and may not be opened by its id",
        quote(&bpffs.to_string_lossy())
    );
    refusal.with_message(message)
}

/// In which way the running program is another one.
fn different_program(plan: &Plan, load: &ProgLoad, info: &ProgramInfo) -> Option<Difference> {
    if !Tags::of(&load.insns).has(info.tag) {
        return Some(Difference::Instructions);
    }
    let name = ObjName::from_symbol(&plan.programs[load.program.0]);
    let is_called_so = info.name.is_empty() || info.name == name.as_str();
    (!is_called_so).then(|| Difference::Name(info.name.clone()))
}

/// The pin, unless map `id` is at it.
fn other_pin(path: &str, id: u32) -> Result<Option<MapDifference>> {
    let pinned = pin::get(Path::new(path))?;
    let pinned = pinned.map(Map::with_info).transpose()?;
    let is_here = pinned.is_some_and(|(_, info)| info.id == id);
    Ok((!is_here).then(|| MapDifference::NotPinnedAt(path.to_owned())))
}

fn other_constants(map: &Map, content: &[u8]) -> Result<Option<MapDifference>> {
    let there = map.lookup(&0_u32.to_ne_bytes())?;
    let is_same = there.is_some_and(|value| value.single() == Some(content));
    Ok((!is_same).then_some(MapDifference::Constants))
}

#[cold]
fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}
