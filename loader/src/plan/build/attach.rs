//! The steps that attach a program to an interface, loaded a moment ago or by somebody else.

use std::mem::discriminant;
use std::path::Path;

use nix::libc::EINVAL;

use super::maps::make_parents;
use super::tail_calls::{let_go_step, netns_cookie, remove_prog_array_pins, remove_root};
use super::{ensure_bpffs, not_text, text, wait_for_others};
use crate::error::{Context as _, Error, ErrorKind, Remedy, Result, quote};
use crate::netlink::{Mode, ModeChoice};
use crate::object::ProgramSpec;
use crate::plan::call::{BpfLinkCall, Call, Existing, LinkCreate, ProgLoad, SetXdp};
use crate::plan::pin_path::check_pin_path;
use crate::plan::prog_array_pins::Attachment;
use crate::plan::slot::ProgramSlot;
use crate::plan::{AttachBy, On, Plan, Step, Target, When};
use crate::uapi::bpf::AttachType;

impl Plan {
    /// The plan of attaching a program that is loaded already to `targets`, without an object, with its bpffs at
    /// `bpffs`.
    pub fn of_attaching(existing: &Existing, targets: &[Target], bpffs: impl AsRef<Path>) -> Result<Self> {
        let bpffs = bpffs.as_ref();
        if bpffs.to_str().is_none() {
            return Err(not_text(bpffs));
        }
        Self::of_attaching_below(existing, targets, &text(bpffs))
    }

    fn of_attaching_below(existing: &Existing, targets: &[Target], bpffs: &str) -> Result<Self> {
        refuse_targets(targets, bpffs)?;
        let program = ProgramSlot(0);
        let mut steps = find_interfaces(targets, bpffs);
        steps.push(Step::new(Call::OpenProgram { program, existing: existing.clone() }));
        let is_locked = targets.iter().any(is_by_link);
        if targets.iter().any(|target| target.link_pin().is_some()) {
            steps.extend(ensure_bpffs(bpffs));
        } else if is_locked {
            steps.push(wait_for_others(bpffs));
        }
        let attach = |target| Attaching { program, target, bpffs, own: Own::default() }.steps();
        steps.extend(at_each(targets.iter().map(attach).collect()));
        steps.extend(let_go_of_replaced(targets, bpffs, &remove_root(bpffs, is_locked)));
        let name = match existing {
            Existing::Pinned(path) => format!("pinned at {path}"),
            Existing::Id(id) => format!("with id {id}"),
        };
        Ok(Self {
            maps: Vec::new(),
            templates: 0,
            programs: vec![name],
            sections: vec![String::new()],
            btf: None,
            relocations: Vec::new(),
            externs: Vec::new(),
            modules: Vec::new(),
            attach: targets.to_vec(),
            steps,
        }
        .numbered())
    }
}

pub(super) fn is_by_link(target: &Target) -> bool {
    target.by != AttachBy::Netlink
}

impl Target {
    /// Where the `bpf_link` is to be pinned, if it is.
    pub(super) fn link_pin(&self) -> Option<&str> {
        match &self.by {
            AttachBy::Link { pin } => pin.as_deref(),
            AttachBy::Netlink => None,
        }
    }

    pub(super) fn refuse_what_does_not_fit(&self, bpffs: &str) -> Result<()> {
        if let Some(path) = self.link_pin() {
            check_pin_path(Path::new(bpffs), Path::new(path)).context(|| "the bpf_link")?;
        }
        match &self.by {
            AttachBy::Link { pin: None } if !self.replace => Err(link_without_pin()),
            _ => Ok(()),
        }
    }
}

/// Refuses what cannot be attached together. Interfaces of one plan are asked for over one socket, and what is told of
/// a `bpf_link` or of kept maps is told of one.
pub(super) fn refuse_targets(targets: &[Target], bpffs: &str) -> Result<()> {
    targets.iter().try_for_each(|target| target.refuse_what_does_not_fit(bpffs))?;
    let [first, others @ ..] = targets else { return Ok(()) };
    let refusal = |message: String| Err(Error::new(ErrorKind::InvalidInput, message));
    for (index, other) in others.iter().enumerate() {
        if targets[..=index].iter().any(|before| before.interface == other.interface) {
            return refusal(format!("interface {} is named twice", other.interface));
        }
        if other.netns != first.netns {
            return refusal("interfaces of one plan are in one network namespace".to_owned());
        }
        if [first, other].iter().any(|target| target.by != AttachBy::Netlink) {
            return Err(several("a bpf_link holds a program on one interface"));
        }
    }
    Ok(())
}

/// The refusal of what can be done at one interface only.
pub(super) fn several(why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{why}, and several are named"))
        .with_help("attach one by one")
}

/// A link that nothing holds goes when this process ends, and its program with it.
pub(crate) fn link_without_pin() -> Error {
    let message = "a new bpf_link ends with the process that made it, unless it is pinned";
    Error::new(ErrorKind::InvalidInput, message).with_help(("say where to pin it: ", Remedy::PinLink))
}

/// Programs for the entries of maps look like those for interfaces, and the kernel refuses them only at the end.
pub(super) fn refuse_to_attach(program: &ProgramSpec) -> Result<()> {
    let maps = match program.kind.attach_type {
        AttachType::XDP_DEVMAP => "devmaps",
        AttachType::XDP_CPUMAP => "cpumaps",
        _ => return Ok(()),
    };
    let name = quote(&program.function.name);
    let message = format!(
        "program {name} is for entries of {maps} (section {}) and cannot be attached to an interface",
        quote(&program.function.section)
    );
    let then = "), and put it into the values of such a map";
    Err(Error::new(ErrorKind::InvalidInput, message).with_help((
        "load and pin it (",
        Remedy::PinProgram,
        then,
    )))
}

/// Looks at the interfaces before anything is made, so that a wrong name costs nothing, and opens what will be
/// replaced there.
pub(super) fn find_interfaces(targets: &[Target], bpffs: &str) -> Vec<Step> {
    let netns = targets.first().and_then(|target| target.netns.clone());
    let mut steps = vec![Step::new(Call::OpenRouteSocket { netns })];
    steps.extend(at_each(targets.iter().map(|target| find_interface(target, bpffs)).collect()));
    steps
}

/// Lets go of what was kept for the programs that were replaced. Only when all is attached: until then each of them may
/// be put back. The steps of `last` follow each that had something kept.
pub(super) fn let_go_of_replaced(targets: &[Target], bpffs: &str, last: &[Step]) -> Vec<Step> {
    let let_go =
        |target: &Target| target.replace.then(|| let_go_step(bpffs, last.to_vec())).into_iter().collect();
    at_each(targets.iter().map(let_go).collect())
}

/// The steps for each of a plan's interfaces, one interface after the other. The first attachment of a program waits
/// until all CPUs have seen it, up to some ten milliseconds; those after it do not, so that to attach them at the same
/// time would win nothing. What the first has asked for that is the same for all is not asked for again.
pub(super) fn at_each(places: Vec<Vec<Step>>) -> Vec<Step> {
    let mut all: Vec<Step> = Vec::new();
    for (at, steps) in places.into_iter().enumerate() {
        for step in steps {
            let is_common = matches!(step.call, Call::ProgInfo { .. } | Call::NetnsCookie);
            // They are about the one program of the plan, and the one network namespace.
            let is_same = |before: &Step| discriminant(&before.call) == discriminant(&step.call);
            if !(is_common && all.iter().any(|before| before.at < at && is_same(before))) {
                all.push(step.at(at));
            }
        }
    }
    all
}

fn find_interface(target: &Target, bpffs: &str) -> Vec<Step> {
    let mut steps = vec![Step::new(Call::GetInterface { named: target.interface.clone() })];
    if target.replace {
        let by_pin = Step::new(Call::FindProgram { bpffs: bpffs.to_owned() });
        steps.push(Step::new(Call::ProgGetFdById).or(On::ById, vec![by_pin]).when(When::Occupied));
        steps.extend(match &target.by {
            AttachBy::Netlink => None,
            AttachBy::Link { pin: None } => Some(Step::new(BpfLinkCall::Find).when(When::Occupied)),
            AttachBy::Link { pin: Some(path) } => {
                Some(Step::new(BpfLinkCall::Open { path: path.clone() }).when(When::Occupied))
            }
        });
    }
    steps
}

/// Those of the `steps` that load the `attached` program without `expected_attach_type`. The kernel lets only programs
/// of one such type share a prog array (6.18), so that with its prog arrays `arrays` all is made anew.
pub(super) fn unspecified(steps: &[Step], attached: ProgramSlot, arrays: &[usize]) -> Vec<Step> {
    let is_meant = |program| !arrays.is_empty() || program == attached;
    let again = steps.iter().filter_map(|step| match &step.call {
        Call::ProgLoad(load) if is_meant(load.program) => {
            let expected_attach_type = load.expected_attach_type.filter(|kind| *kind != AttachType::XDP);
            Some(Step::new(ProgLoad { expected_attach_type, ..(**load).clone() }))
        }
        Call::ProgBindMap { program, .. } if is_meant(*program) => Some(step.clone()),
        Call::MapCreate(create) if arrays.contains(&create.map.0) => Some(step.clone()),
        Call::MapUpdate { map, .. } if arrays.contains(&map.0) => Some(step.clone()),
        _ => None,
    });
    let is_typed = |step: &Step| {
        let Call::ProgLoad(load) = &step.call else { return false };
        load.program == attached && load.expected_attach_type == Some(AttachType::XDP)
    };
    if steps.iter().any(is_typed) { again.collect() } else { Vec::new() }
}

/// One program at one interface.
#[derive(Clone, Copy)]
pub(super) struct Attaching<'a> {
    pub(super) program: ProgramSlot,
    pub(super) target: &'a Target,
    /// The root of bpffs.
    pub(super) bpffs: &'a str,
    pub(super) own: Own<'a>,
}

/// What a plan knows of a program that it loads itself; nothing of one that is loaded already.
#[derive(Clone, Copy, Default)]
pub(super) struct Own<'a> {
    /// Whether it is bound to the interface.
    pub(super) bound: bool,
    /// Loads it without `expected_attach_type`, if it was loaded with one.
    pub(super) unspecified: &'a [Step],
    /// How its prog arrays are pinned, if it has any.
    pub(super) prog_array_pins: &'a [Step],
}

impl Attaching<'_> {
    /// Attaches the program, and pins its prog arrays.
    pub(super) fn steps(self) -> Vec<Step> {
        let Self { target, own, .. } = self;
        let mut steps = Vec::new();
        if target.replace || !own.prog_array_pins.is_empty() {
            steps.push(netns_cookie());
        }
        steps.extend(own.prog_array_pins.iter().cloned());
        steps.extend(match &target.by {
            AttachBy::Netlink => self.by_netlink(),
            AttachBy::Link { pin } => self.by_link(pin.as_deref()),
        });
        // What cannot be told does not undo what is attached by then.
        if is_by_link(target) {
            steps.push(Step::new(BpfLinkCall::Info).or(On::AnyErrno, Vec::new()));
        }
        steps.push(self.ask_for_info());
        steps
    }

    fn ask_for_info(self) -> Step {
        Step::new(Call::ProgInfo { program: self.program }).or(On::AnyErrno, Vec::new())
    }

    /// Attaches in the target's mode, or where the driver refuses in the one that stands in for it. A program that is
    /// bound to the interface runs in native mode alone.
    fn first_or_fallback(self, attach: impl Fn(Mode) -> Step) -> Step {
        let mode = self.target.mode;
        match mode.fallback().filter(|_| !self.own.bound) {
            Some(fallback) => attach(mode.first()).or(On::Driver, vec![attach(fallback)]),
            None => attach(mode.first()),
        }
    }

    fn by_netlink(self) -> Vec<Step> {
        let Self { program, target, bpffs, .. } = self;
        let set = |mode, replace| {
            let set = SetXdp { program, mode, replace };
            let put_back = Step::new(Call::PutBack(set.clone()));
            Step::new(Call::SetXdp(set)).or(On::Unanswered, vec![put_back])
        };
        let attach = self.first_or_fallback(|mode| set(Some(mode), false));
        if !target.replace {
            return vec![attach];
        }
        let same_mode = match target.mode {
            ModeChoice::Only(mode) => Some(mode),
            ModeChoice::Auto => None,
        };
        let through_link =
            vec![Step::new(BpfLinkCall::OpenOwn { bpffs: bpffs.to_owned() }), self.update_link()];
        let replace = set(same_mode, true)
            .or(On::Unexplained, vec![Step::new(Call::ProbeCompare)])
            .or(On::Held, through_link);
        vec![replace.when(When::Occupied), attach.when(When::Vacant)]
    }

    fn by_link(self, pin: Option<&str>) -> Vec<Step> {
        let Self { program, target, bpffs, .. } = self;
        let mut steps = Vec::new();
        let when = if target.replace { When::Vacant } else { When::Always };
        if target.replace {
            steps.push(self.update_link().when(When::Occupied));
        }
        let Some(path) = pin else { return steps };
        let elsewhere = target.netns.is_some();
        let attach = self.first_or_fallback(|mode| {
            Step::new(BpfLinkCall::Create(LinkCreate { program, mode, elsewhere }))
        });
        steps.extend(make_parents(path, bpffs).into_iter().map(|step| step.when(when)));
        steps.push(attach.when(when));
        steps.push(Step::new(BpfLinkCall::Pin { path: path.to_owned() }).when(when));
        steps
    }

    /// A link refuses a program whose `expected_attach_type` is not that of the one before it, and does not say so.
    /// Both values that attach to an interface look alike there, and nothing tells which one the running program has.
    fn update_link(self) -> Step {
        let Self { program, bpffs, own: Own { unspecified, prog_array_pins: pins, .. }, .. } = self;
        let update = Step::new(BpfLinkCall::Update { program });
        if unspecified.is_empty() {
            return update;
        }
        // It is another program, with another id, which the directory of its prog arrays is called after.
        let old_pins = if pins.is_empty() {
            Vec::new()
        } else {
            remove_prog_array_pins(bpffs, Attachment::New(program))
        };
        let again = [&old_pins[..], unspecified, pins, &[update.clone(), self.ask_for_info()]].concat();
        update.or(On::Errno(&[EINVAL]), again)
    }
}
