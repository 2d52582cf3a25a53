//! Is what runs on an interface what a plan would attach? For boot scripts, which may attach twice.

use std::path::Path;

use crate::attach::{Interface, Link, LinkState, link_of, open, open_own_link};
use crate::error::{Context as _, Error, ErrorKind, Result, quote};
use crate::insn::tag::Tags;
use crate::kernel;
use crate::map::compare::differences;
use crate::map::{Map, MapInfo};
use crate::netlink::{XdpProgram, program_to_replace};
use crate::order::InOrder as _;
use crate::pin;
use crate::plan::{AttachBy, BpfLinkCall, Call, FdValue, MapCreate, MapSlot, Plan, ProgLoad, ProgramSlot};
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

/// What a comparison has found: the program, or in words the first thing that is not the same.
pub type Comparison = std::result::Result<RunsAlready, String>;

impl Plan {
    /// Compares what runs on `interface` with what this plan would attach there: tag, name, mode and holder of the
    /// program, names and shapes of its maps, the pins of those that have one, the values of constants, and the
    /// programs in its prog arrays.
    ///
    /// Nothing is changed. It takes CAP_SYS_ADMIN. What the kernel does not tell is not compared: the attach type, the
    /// flags, and what variables began with. The own link of a trial is looked for below `bpffs`.
    pub fn compare(&self, interface: &Interface, bpffs: &Path) -> Result<Comparison> {
        let what = || format!("comparing with what runs on {interface}");
        let running = match Running::find(self, interface).context(what)? {
            Ok(running) => running,
            Err(difference) => return Ok(Err(difference)),
        };
        let compared = running.compare(interface, bpffs).context(what)?;
        Ok(match compared {
            Some(difference) => Err(difference),
            None => Ok(RunsAlready { program: running.program, info: running.info, link: running.link }),
        })
    }

    /// How a program is loaded at the first try.
    fn load_of(&self, program: ProgramSlot) -> Option<&ProgLoad> {
        self.calls().find_map(|call| match call {
            Call::ProgLoad(load) if load.program == program => Some(load),
            _ => None,
        })
    }

    fn creation_of(&self, map: MapSlot) -> Option<&MapCreate> {
        self.calls().find_map(|call| match call {
            Call::MapCreate(create) if create.map == map => Some(create),
            _ => None,
        })
    }

    /// The program that is attached.
    pub(super) fn attached_program(&self) -> Option<ProgramSlot> {
        self.steps.iter().find_map(|step| match &step.call {
            Call::SetLink(set) => Some(set.program),
            Call::BpfLink(BpfLinkCall::Create(create)) => Some(create.program),
            Call::BpfLink(BpfLinkCall::Update { program }) => Some(*program),
            _ => None,
        })
    }
}

struct Running<'p> {
    plan: &'p Plan,
    load: &'p ProgLoad,
    program: XdpProgram,
    info: ProgramInfo,
    link: Option<LinkState>,
    maps: Vec<(Map, MapInfo)>,
}

impl<'p> Running<'p> {
    /// Opens what runs there and its maps, if it may be the same program.
    fn find(plan: &'p Plan, interface: &Interface) -> Result<std::result::Result<Self, String>> {
        let attach = plan.attach.first().ok_or_else(|| invalid("the plan attaches nothing"))?;
        let load = plan.attached_program().and_then(|slot| plan.load_of(slot));
        let load = load.ok_or_else(|| invalid("the plan loads nothing"))?;
        let seen = interface.look()?;
        let program = match program_to_replace(&seen.xdp, attach.mode, None) {
            Ok(program) => program,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let fd = open(program)?;
        let info = fd.info()?;
        if let Some(difference) = different_program(plan, load, &info) {
            return Ok(Err(difference));
        }
        let link = link_of(&seen, program)?.map(|link| link.state()).transpose()?;
        let maps = info.map_ids.iter().map(|&id| Map::from_id_with_info(id));
        let maps = maps.collect::<Result<Vec<_>>>()?;
        Ok(Ok(Self { plan, load, program, info, link, maps }))
    }

    /// The first thing that is not the same.
    fn compare(&self, interface: &Interface, bpffs: &Path) -> Result<Option<String>> {
        if let Some(difference) = self.compare_holder(interface, bpffs)? {
            return Ok(Some(difference));
        }
        for slot in self.load.map_references.iter().map(|reference| reference.map).into_set() {
            if let Some(difference) = self.compare_map(slot)? {
                return Ok(Some(difference));
            }
        }
        Ok(None)
    }

    fn compare_holder(&self, interface: &Interface, bpffs: &Path) -> Result<Option<String>> {
        let attach = self.plan.attach.first().expect("the caller has seen it");
        let pinned = match &attach.by {
            AttachBy::Netlink => open_own_link(bpffs, interface)?,
            AttachBy::Link { pin: Some(path) } if self.link.is_some() => {
                Link::open_pinned(Path::new(path)).ok()
            }
            AttachBy::Link { .. } => None,
        };
        let pinned = pinned.map(|link| link.state()).transpose()?;
        let is_ours = match (&self.link, &attach.by) {
            (None, by) => *by == AttachBy::Netlink,
            (Some(link), _) => pinned.is_some_and(|pinned| pinned.id == link.id),
        };
        Ok((!is_ours).then(|| match self.link {
            Some(link) => format!("bpf_link {} holds it", link.id),
            None => "it was attached by netlink".to_owned(),
        }))
    }

    fn compare_map(&self, slot: MapSlot) -> Result<Option<String>> {
        let name = quote(&self.plan.maps[slot.0]);
        let Some(create) = self.plan.creation_of(slot) else { return Ok(None) };
        let kernel_name = create.name.map(|name| name.as_str().to_owned()).unwrap_or_default();
        let mut called = self.maps.iter().filter(|(_, info)| info.name == kernel_name);
        let (Some((map, info)), None) = (called.next(), called.next()) else {
            return Ok(Some(format!("its map {name} cannot be told from others, or is missing")));
        };
        if let Some(difference) = differences(&create.shape, info, kernel::possible_cpus()?).first() {
            return Ok(Some(format!("its map {name} has another shape: {difference}")));
        }
        for call in self.plan.calls() {
            let difference = match call {
                Call::ObjGet { path, map } if *map == slot => is_elsewhere(path, info.id)?,
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
            if let Some(difference) = difference {
                return Ok(Some(format!("its map {name} {difference}")));
            }
        }
        Ok(None)
    }

    /// Whether the plan makes constants of this map.
    fn is_frozen(&self, slot: MapSlot) -> bool {
        self.plan.calls().any(|call| *call == Call::MapFreeze { map: slot })
    }

    /// In which way the entry of a prog array is not the program that the plan puts there.
    fn other_jump(&self, array: &Map, key: u32, program: ProgramSlot) -> Result<Option<String>> {
        let Some(load) = self.plan.load_of(program) else { return Ok(None) };
        let there = array.lookup(&key.to_ne_bytes())?;
        let id =
            there.as_ref().and_then(|value| value.single()?.first_chunk().copied()).map(u32::from_ne_bytes);
        let info = id.map(|id| Program::from_id(id)?.info()).transpose()?;
        let is_same = info.is_some_and(|info| Tags::of(&load.insns).has(info.tag));
        Ok((!is_same).then(|| format!("has another program at {key}")))
    }
}

/// In which way the running program is another one.
fn different_program(plan: &Plan, load: &ProgLoad, info: &ProgramInfo) -> Option<String> {
    if !Tags::of(&load.insns).has(info.tag) {
        return Some("it has other instructions".to_owned());
    }
    let name = ObjName::from_symbol(&plan.programs[load.program.0]);
    let is_called_so = info.name.is_empty() || info.name == name.as_str();
    (!is_called_so).then(|| format!("it is called {}", quote(&info.name)))
}

fn is_elsewhere(path: &str, id: u32) -> Result<Option<String>> {
    let pinned = pin::get(Path::new(path))?;
    let pinned = pinned.map(Map::with_info).transpose()?;
    let is_here = pinned.is_some_and(|(_, info)| info.id == id);
    Ok((!is_here).then(|| format!("is not the one at {}", quote(path))))
}

fn other_constants(map: &Map, content: &[u8]) -> Result<Option<String>> {
    let there = map.lookup(&0_u32.to_ne_bytes())?;
    let is_same = there.is_some_and(|value| value.single() == Some(content));
    Ok((!is_same).then(|| "has other constants".to_owned()))
}

#[cold]
fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}
