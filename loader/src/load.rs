//! Carries a plan out, call by call, and takes back what was done when one fails: the page to audit.
//!
//! Nothing is called here that the plan does not list, but for looks at what the kernel lacks once a refusal has ended
//! the plan (`age.rs`). The caller's observer is told of each call and of the kernel's answer, and so has the
//! transcript, also of a plan that fails.

mod age;
mod bpffs;
mod entries;
mod extension;
mod interface;
mod loaded;
mod prog_arrays;
mod running;
mod trial;
mod types;
mod upgrade;

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::libc::{EAGAIN, EBUSY, EINVAL, ENOENT, ENOSPC, ENOTEMPTY, EOPNOTSUPP};

use self::bpffs::{is_bpffs, make_directory, mount_bpffs};
use self::extension::Extended;
pub use self::loaded::{AttachedTo, Loaded, Outcome, Record};
pub use self::running::{Comparison, RunsAlready};
use crate::attach::{self, Link, RouteSocket};
use crate::bytes::ByteOrder;
use crate::error::{Context as _, Error, ErrorKind, Result, quote};
use crate::features::{Answer, Feature, Kernel};
use crate::insn::encode_all;
use crate::kernel::{self, LoadedBtf, VerifierLog};
use crate::map::compare::{differences, table};
use crate::map::{Map, MapParams, Mapping};
use crate::netlink::{LinkInfo, Mode, XdpChange, XdpProgram};
use crate::object::MapShape;
use crate::order::InOrder as _;
use crate::pin;
use crate::plan::{
    Alternative, Call, Existing, MapCreate, MapSlot, ModuleSlot, On, OtherShape, Plan, ProgLoad, ProgramSlot,
    Step, When,
};
use crate::program::{CompilerInfo, Program, ProgramInfo, ProgramParams};
use crate::uapi::bpf::ProgType;

/// How often a load is tried again that a signal has interrupted (EAGAIN).
const MAX_INTERRUPTIONS: usize = 5;

impl Plan {
    /// Makes the calls of the plan, and tells `observe` of each when the kernel has answered.
    ///
    /// When one fails, what this run has pinned, made or mounted is taken back, and the error is that call's. What
    /// the plan attaches stays attached when the process ends.
    pub fn execute(&self, observe: impl FnMut(&Record<'_>)) -> Result<Loaded> {
        self.execute_with(None, Box::new(observe))
    }

    /// The same for a plan [on trial](Plan::on_trial), with a guard at the other end of `guard` which knows how to read
    /// a [`Trial`](crate::attach::Trial).
    pub fn execute_on_trial(&self, guard: &UnixStream, observe: impl FnMut(&Record<'_>)) -> Result<Loaded> {
        self.execute_with(Some(guard), Box::new(observe))
    }

    fn execute_with<'p>(
        &'p self,
        guard: Option<&'p UnixStream>,
        observe: Box<dyn FnMut(&Record<'_>) + 'p>,
    ) -> Result<Loaded> {
        let mut execution = Execution { guard, ..Execution::new(self, observe) };
        match execution.steps(&self.steps) {
            Ok(()) => Ok(execution.finish()),
            Err(error) => Err(execution.take_back(error)),
        }
    }
}

/// What was found at a pin.
struct Found {
    fd: OwnedFd,
    path: PathBuf,
}

/// An interface of a plan that is half-way.
#[derive(Default)]
struct Place {
    link: Option<LinkInfo>,
    /// The program that is to be replaced there.
    running: Option<(XdpProgram, Program)>,
    /// The change of the interface that was asked for last.
    change: Option<(Mode, XdpChange)>,
    /// Whether no answer came to it, so that nobody knows what came of it.
    unanswered: bool,
    attached: Option<AttachedTo>,
    /// The `bpf_link` that holds the program there, before or after.
    bpf_link: Option<Link>,
    /// Where the prog arrays of the program to attach are pinned.
    prog_arrays: Vec<(String, PathBuf)>,
    /// The directory of those pins.
    kept: Option<String>,
    /// The program that was put into the `bpf_link`.
    in_link: Option<OwnedFd>,
}

/// A plan half-way: what exists so far.
struct Execution<'p> {
    plan: &'p Plan,
    observe: Box<dyn FnMut(&Record<'_>) + 'p>,
    kernel: Kernel,
    /// What holds others off the pins.
    locks: Vec<pin::Lock>,
    /// Pins that are not known to be the right maps yet.
    found: Vec<Option<Found>>,
    maps: Vec<Option<Map>>,
    /// What was in maps that others may use, by map and key.
    entries: Vec<((MapSlot, u32), OwnedFd)>,
    /// Arenas in the memory of this process, until the end.
    mappings: Vec<Mapping>,
    /// The types of modules.
    modules: Vec<Option<OwnedFd>>,
    programs: Vec<Option<Program>>,
    /// Programs that were loaded once more, in another way.
    superseded: Vec<Program>,
    /// The object's types, if the kernel has taken them.
    btf: Option<LoadedBtf>,
    /// Why it has not.
    btf_refusal: Option<Error>,
    /// The calls that were made again without types, and why.
    type_refusals: Vec<(Call, Error)>,
    socket: Option<RouteSocket>,
    /// What is known and done at each interface.
    places: Vec<Place>,
    /// At which of them the steps are.
    at: usize,
    /// The namespace's number; 0 for kernels that have none.
    netns_cookie: u64,
    /// The program that is to be extended.
    extended: Option<Extended>,
    /// The maps of the running program, by id.
    running_maps: Vec<u32>,
    /// Those of its maps that are to be copied into the map of the same slot.
    old_maps: Vec<Option<Map>>,
    kept: Vec<MapSlot>,
    copied: Vec<(MapSlot, usize)>,
    /// Who takes a change on trial back.
    guard: Option<&'p UnixStream>,
    infos: Vec<Option<ProgramInfo>>,
    /// What takes back what was done, and at which interface.
    undo: Vec<(usize, Call)>,
}

impl<'p> Execution<'p> {
    fn new(plan: &'p Plan, observe: Box<dyn FnMut(&Record<'_>) + 'p>) -> Self {
        Self {
            plan,
            observe,
            kernel: Kernel::unknown(),
            locks: Vec::new(),
            found: plan.maps.iter().map(|_| None).collect(),
            maps: plan.maps.iter().map(|_| None).collect(),
            entries: Vec::new(),
            mappings: Vec::new(),
            modules: plan.modules.iter().map(|_| None).collect(),
            programs: plan.programs.iter().map(|_| None).collect(),
            superseded: Vec::new(),
            btf: None,
            btf_refusal: None,
            type_refusals: Vec::new(),
            socket: None,
            places: std::iter::repeat_with(Place::default).take(plan.attach.len().max(1)).collect(),
            at: 0,
            netns_cookie: 0,
            extended: None,
            running_maps: Vec::new(),
            old_maps: plan.maps.iter().map(|_| None).collect(),
            kept: Vec::new(),
            copied: Vec::new(),
            guard: None,
            infos: plan.programs.iter().map(|_| None).collect(),
            undo: Vec::new(),
        }
    }

    fn steps(&mut self, steps: &[Step]) -> Result<()> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    /// Makes the call of a step, and follows the plan to where the answer leads.
    fn step(&mut self, step: &Step) -> Result<()> {
        self.at = step.at;
        if !self.applies(step.when) {
            return Ok(());
        }
        match self.call(&step.call).map_err(|refusal| refusal.at_target(step.at)) {
            Ok(()) => {
                self.undo.extend(self.plan.undo(&step.call).map(|undo| (step.at, undo)));
                self.steps(&step.then)
            }
            Err(refusal) => match self.other_way(step, &refusal)? {
                Some(other) => {
                    self.note_refusal_of_types(&step.call, other.on, &refusal);
                    self.alternative(other, refusal)
                }
                None => Err(self.for_want_of_types(age::explained(refusal, &step.call), &step.call)),
            },
        }
    }

    fn here(&self) -> &Place {
        &self.places[self.at]
    }

    fn here_mut(&mut self) -> &mut Place {
        &mut self.places[self.at]
    }

    fn applies(&self, when: When) -> bool {
        let occupied = |place: &Place| place.link.as_ref().is_some_and(|link| !link.xdp.is_empty());
        match when {
            When::Always => true,
            When::Occupied => occupied(self.here()),
            When::Vacant => !occupied(self.here()),
            When::FirstVacant => !occupied(self.here()) && self.places[..self.at].iter().all(occupied),
            When::New(map) => !self.kept.contains(&map),
            When::Copied(map) | When::Outgrown(map) => self.old_maps[map.0].is_some(),
            When::Made(map) => self.maps[map.0].is_some(),
        }
    }

    /// The first alternative that fits the refusal of the step's call.
    fn other_way<'s>(&mut self, step: &'s Step, refusal: &Error) -> Result<Option<&'s Alternative>> {
        // A conversation that broke off is no refusal.
        if self.here().unanswered {
            return Ok(step.otherwise.iter().find(|other| other.on == On::Unanswered));
        }
        // The verifier has spoken: no way leads around its verdict, unless that is on what the compiler said.
        let rejected = refusal.kind() == ErrorKind::VerifierRejected;
        for other in &step.otherwise {
            if rejected && other.on != On::ProgInfo || !self.depends_on(other.on) {
                continue;
            }
            if other.on.matches(refusal) && self.is_lacking(other.lacking)? {
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    /// Whether what an alternative does without was there: the object's types, for some.
    fn depends_on(&self, on: On) -> bool {
        !matches!(on, On::EntryTypes | On::ProgInfo) || self.btf.is_some()
    }

    /// Whether the kernel lacks `feature`; looked at when it first matters.
    fn is_lacking(&mut self, feature: Option<Feature>) -> Result<bool> {
        let Some(feature) = feature else {
            return Ok(true);
        };
        if self.kernel.has(feature) == Answer::Unknown {
            self.call(&Call::Probe(feature))?;
        }
        // A limit that is used up refuses the look at it as well; raising it does no harm.
        let unseen = feature == Feature::MemcgAccounting && self.kernel.has(feature) == Answer::Unknown;
        Ok(unseen || self.kernel.has(feature) == Answer::No)
    }

    fn alternative(&mut self, other: &Alternative, refusal: Error) -> Result<()> {
        if let (Some(feature), []) = (other.lacking, &other.steps[..]) {
            return Err(cannot_do_without(feature, refusal));
        }
        let done = self.steps(&other.steps);
        match other.on {
            On::Driver => {
                done.map_err(|error| error.context(format!("after {refusal}")))?;
                if let Some(attached) = &mut self.here_mut().attached {
                    attached.native_refusal = Some(refusal);
                }
                Ok(())
            }
            // It is somebody else's link, or nothing is pinned.
            On::Held | On::ById => match done {
                Err(failure) if failure.kind() == ErrorKind::NotFound => Err(refusal),
                done => done,
            },
            // The probe has found no excuse.
            On::Unexplained => done.and(Err(refusal)),
            On::Unanswered => Err(match done {
                Ok(()) => refusal,
                Err(failure) => refusal.context(format!("nobody knows what is attached now ({failure})")),
            }),
            _ => done,
        }
    }

    /// Makes one call of the plan and records it.
    fn call(&mut self, call: &Call) -> Result<()> {
        match call {
            Call::BtfLoad(load) if load.log => self.load_btf_with_log(*load),
            Call::MapCreate(create) if self.btf.is_none() && create.types.is_some() => {
                self.call(&Call::MapCreate(MapCreate { types: None, ..create.clone() }))
            }
            Call::ProgLoad(load)
                if self.btf.is_none() && load.info.as_ref().is_some_and(|info| info.is_needed) =>
            {
                Err(self.cannot_do_without_types(load))
            }
            Call::ProgLoad(load) if self.btf.is_none() && load.info.is_some() => {
                self.call(&Call::ProgLoad(ProgLoad { info: None, ..load.clone() }))
            }
            Call::ProgLoad(load) if load.log => self.load_with_log(call, load),
            Call::ProgLoad(load) => self.load_uninterrupted(call, load),
            _ => self.recorded(call, |execution| execution.make(call)),
        }
    }

    /// Makes a call and tells the observer of the answer.
    fn recorded(&mut self, call: &Call, make: impl FnOnce(&mut Self) -> Result<Outcome>) -> Result<()> {
        let start = Instant::now();
        let answer = make(self);
        let outcome = match &answer {
            Ok(outcome) => outcome.clone(),
            Err(error) => match error.errno() {
                Some(errno) => Outcome::Refused(errno),
                None => Outcome::Found(error.to_string()),
            },
        };
        (self.observe)(&Record::new(self.plan, self.at, call, outcome, start.elapsed()));
        answer.map(drop)
    }

    /// The page's heart: each call of a plan, and the one function that makes it.
    fn make(&mut self, call: &Call) -> Result<Outcome> {
        match call {
            Call::Statfs { path } => is_bpffs(path),
            Call::MountBpffs { path } => done(mount_bpffs(path)),
            Call::Lock { path } => self.lock_bpffs(path),
            Call::LockMountPoint { path } => self.lock(path),
            Call::Unlock => done(self.unlock()),
            Call::Mkdir { path } => make_directory(path),
            Call::ObjGet { path, map } => self.get_map(path, *map),
            Call::MapInfo { map, wanted, other_shape } => self.check_shape(*map, wanted, *other_shape),
            Call::MovePin { from, to, .. } => done(pin::replace(Path::new(from), Path::new(to))),
            Call::PutPinBack { map, from, to } => done(self.put_pin_back(*map, from, to)),
            Call::BtfLoad(load) => self.load_btf(*load, None),
            Call::ModuleBtf { module } => self.find_module_btf(*module),
            Call::MapCreate(create) => self.create_map(create),
            Call::MapUpdate { map, key, value, .. } => done(self.put_fd(*map, *key, *value)),
            Call::EntryBefore { map, key, value } => self.open_entry(*map, *key, *value),
            Call::PutEntryBack { map, key, .. } => done(self.put_entry_back(*map, *key)),
            Call::MapDelete { map, key, .. } => done(self.map(*map).delete(&key.to_ne_bytes()).map(drop)),
            Call::MapFill { map, content } => done(self.fill_map(*map, content)),
            Call::MapMmap { map, len, content } => done(self.map_into_memory(*map, *len, content)),
            Call::MapFreeze { map } => done(self.map(*map).freeze()),
            Call::ObjPin { map, path } => done(self.pin_map(*map, path)),
            Call::ProgLoad(load) => self.load_program(load, None),
            Call::OpenExtended { existing } => self.open_extended(existing),
            Call::Extend { program } => self.extend(*program),
            Call::OpenProgram { program, existing } => self.open_program(*program, existing),
            Call::PinProgram { program, path } => done(self.pin_program(*program, path)),
            Call::FindSameProgram { program, path } => self.find_same_program(*program, path),
            Call::ProgBindMap { program, map } => {
                done(self.program(*program).bind_map(self.map(*map).as_fd()))
            }
            Call::OpenRouteSocket { netns } => self.open_socket(netns.as_deref()),
            Call::GetLink { link } => self.get_link(link),
            Call::NetnsCookie => self.ask_for_cookie(),
            Call::Keep(keep) => self.keep(keep),
            Call::ProgGetFdById => self.open_running(),
            Call::FindProgram { bpffs } => self.find_running(bpffs),
            Call::SetLink(set) => self.set_link(set),
            Call::PutBack(_) => self.put_back(),
            Call::RunningMapIds => self.ask_for_map_ids(),
            Call::OpenRunningMaps { wanted, other_shape } => self.open_running_maps(wanted, *other_shape),
            Call::CopyMap { map, by } => self.copy_map(*map, *by),
            Call::FindLink => self.find_link(),
            Call::OpenLink { path } => self.open_link(path),
            Call::OpenOwnLink { bpffs } => self.open_own_link(bpffs),
            Call::Arm(arm) => done(self.arm(arm)),
            Call::Disarm => done(self.disarm()),
            Call::HandOver => done(self.hand_over()),
            Call::TellMade => done(self.guard().and_then(attach::tell_made)),
            Call::LinkCreate(create) => self.create_link(create),
            Call::LinkUpdate { program } => self.update_link(*program),
            Call::LinkPutBack { program } => done(self.put_back_in_link(*program)),
            Call::PinLink { path } => done(self.bpf_link().pin(Path::new(path))),
            Call::LinkInfo => self.ask_for_link(),
            Call::LinkDetach => done(self.bpf_link().detach()),
            Call::ProgInfo { program } => self.ask_for_info(*program),
            Call::ProbeCompare => done(self.socket().refuse_if_it_cannot_compare(self.link().index)),
            Call::RaiseMemlock => done(kernel::raise_memlock().map(drop)),
            Call::Probe(feature) => Ok(self.probe(*feature)),
            Call::Unlink { path } => done(pin::unpin(Path::new(path))),
            Call::Rmdir { path } => done(pin::remove_dir(Path::new(path))),
            Call::Umount { path } => done(pin::unmount_empty_bpffs(Path::new(path))),
        }
    }
}

/// The calls on maps.
impl Execution<'_> {
    /// A map that an earlier step of the plan has made or found.
    fn map(&self, slot: MapSlot) -> &Map {
        self.maps[slot.0].as_ref().expect("a plan uses a map after the step that makes it")
    }

    fn get_map(&mut self, path: &str, slot: MapSlot) -> Result<Outcome> {
        let path = Path::new(path);
        let fd =
            pin::get_in_bpffs(path)?.ok_or_else(|| Error::os("bpf(BPF_OBJ_GET)", pin::show(path), ENOENT))?;
        let outcome = Outcome::Fd(fd.as_raw_fd());
        self.found[slot.0] = Some(Found { fd, path: path.to_owned() });
        Ok(outcome)
    }

    /// Takes over the pinned map, if it is interchangeable with the one that the object asks for.
    fn check_shape(&mut self, slot: MapSlot, wanted: &MapShape, other_shape: OtherShape) -> Result<Outcome> {
        let Found { fd, path } =
            self.found[slot.0].take().expect("a plan asks for a map's shape after it has opened the map");
        let (map, info) = Map::with_info(fd).context(|| format!("pin {}", pin::show(&path)))?;
        let differences = differences(wanted, &info, kernel::possible_cpus()?);
        let can_be_copied =
            other_shape == OtherShape::Copy && MapShape::from(&info).can_be_copied_into(wanted);
        if !differences.is_empty() && can_be_copied {
            self.old_maps[slot.0] = Some(map);
            return Ok(Outcome::Found("another shape".to_owned()));
        }
        if !differences.is_empty() {
            let list: Vec<_> = differences.iter().map(ToString::to_string).collect();
            let name = quote(&self.plan.maps[slot.0]);
            let message =
                format!("map {name}: the one at {} has another shape: {}", pin::show(&path), list.join(", "));
            return Err(Error::new(ErrorKind::Mismatch, message)
                .with_notes(table(wanted, &info, kernel::possible_cpus()?))
                .with_help(way_out_of_pin(&MapShape::from(&info), wanted)));
        }
        Ok(self.keep_map(slot, map))
    }

    fn create_map(&mut self, create: &MapCreate) -> Result<Outcome> {
        let map = Map::create(&MapParams {
            label: &self.plan.maps[create.map.0],
            map_type: create.shape.map_type,
            key_size: create.shape.key_size,
            value_size: create.shape.value_size,
            max_entries: create.shape.max_entries,
            flags: create.shape.flags,
            name: create.name,
            inner_map: create.inner.map(|inner| self.map(inner).as_fd()),
            numa_node: create.numa_node,
            ifindex: if create.offload { self.link().index } else { 0 },
            map_extra: create.shape.map_extra,
            types: self.btf.as_ref().zip(create.types),
        })
        .map_err(|error| self.for_network_card(error, create.offload))?;
        Ok(self.keep_map(create.map, map))
    }

    fn keep_map(&mut self, slot: MapSlot, map: Map) -> Outcome {
        let outcome = Outcome::Fd(map.as_fd().as_raw_fd());
        self.maps[slot.0] = Some(map);
        outcome
    }

    fn pin_map(&self, slot: MapSlot, path: &str) -> Result<()> {
        let name = quote(&self.plan.maps[slot.0]);
        pin::pin_in_bpffs(self.map(slot).as_fd(), Path::new(path)).context(|| format!("pinning map {name}"))
    }
}

/// A kernel that lacks what there is no way without.
#[cold]
fn cannot_do_without(feature: Feature, refusal: Error) -> Error {
    refusal.with_kind(ErrorKind::Unsupported).context(feature.lacking())
}

/// What to do about a pinned map of another shape.
fn way_out_of_pin(found: &MapShape, wanted: &MapShape) -> &'static str {
    if found.can_be_copied_into(wanted) {
        "`attach --replace --migrate-maps` copies its entries into a new one; or load with the shape that it has, or \
         remove the pin if nobody needs its entries"
    } else {
        "load with the shape that it has, or remove the pin if nobody needs its entries"
    }
}

fn done(result: Result<()>) -> Result<Outcome> {
    result.map(|()| Outcome::Done)
}

/// The calls on programs.
impl Execution<'_> {
    fn program(&self, slot: ProgramSlot) -> &Program {
        self.programs[slot.0].as_ref().expect("a plan uses a program after the step that loads it")
    }

    /// The types of a module that an earlier step of the plan has found.
    fn module(&self, slot: ModuleSlot) -> BorrowedFd<'_> {
        self.modules[slot.0].as_ref().expect("a plan uses types after the step that finds them").as_fd()
    }

    fn find_module_btf(&mut self, slot: ModuleSlot) -> Result<Outcome> {
        let fd = kernel::module_btf_fd(&self.plan.modules[slot.0])?;
        let outcome = Outcome::Fd(fd.as_raw_fd());
        self.modules[slot.0] = Some(fd);
        Ok(outcome)
    }

    /// Loads without a log, again where only a signal came in between.
    fn load_uninterrupted(&mut self, call: &Call, load: &ProgLoad) -> Result<()> {
        for _ in 0..MAX_INTERRUPTIONS {
            match self.recorded(call, |execution| execution.load_program(load, None)) {
                Err(error) if error.errno() == Some(EAGAIN) => {}
                answer => return answer,
            }
        }
        self.recorded(call, |execution| execution.load_program(load, None))
    }

    /// Loads with a log that grows until the verifier's words fit.
    fn load_with_log(&mut self, call: &Call, load: &ProgLoad) -> Result<()> {
        let mut log = VerifierLog::new(VerifierLog::PATH);
        let (mut interruptions, mut cut_short) = (0, None);
        loop {
            let answer = self.recorded(call, |execution| execution.load_program(load, Some(&mut log)));
            match answer {
                Err(error) if error.errno() == Some(ENOSPC) && log.grow() => cut_short = Some(error),
                // As much of the log as this kernel writes says more than that it writes no more.
                Err(error) if error.errno() == Some(EINVAL) && log.may_be_too_large() => {
                    return Err(cut_short.unwrap_or(error));
                }
                Err(error) if error.errno() == Some(EAGAIN) && interruptions < MAX_INTERRUPTIONS => {
                    interruptions += 1;
                }
                answer => return answer,
            }
        }
    }

    fn load_program(&mut self, load: &ProgLoad, log: Option<&mut VerifierLog>) -> Result<Outcome> {
        let mut insns = load.insns.to_vec();
        for reference in &load.map_references {
            insns[reference.insn].imm = self.map(reference.map).as_fd().as_raw_fd();
        }
        for reference in &load.module_references {
            insns[reference.insn].imm = self.module(reference.module).as_raw_fd();
        }
        let modules: Vec<_> = load.modules.iter().map(|module| self.module(*module)).collect();
        let license = CString::new(load.license.as_str())
            .map_err(|_| Error::new(ErrorKind::InvalidInput, "the licence has a NUL byte"))?;
        let program = Program::load(
            &ProgramParams {
                label: &self.plan.programs[load.program.0],
                prog_type: load.prog_type,
                expected_attach_type: load.expected_attach_type.unwrap_or_default(),
                name: load.name,
                license: &license,
                kern_version: load.kern_version,
                flags: load.flags,
                insns: &encode_all(&insns, ByteOrder::NATIVE),
                ifindex: if load.offload || load.bound { self.link().index } else { 0 },
                modules: &modules,
                extends: load
                    .extends
                    .as_deref()
                    .map(|function| self.function_to_replace(function))
                    .transpose()?,
                info: self.btf.as_ref().zip(load.info.as_ref()).map(|(btf, info)| CompilerInfo {
                    btf,
                    functions: &info.functions,
                    lines: &info.lines,
                }),
            },
            log,
        )
        .map_err(|error| self.explained(error, load))
        .map_err(|error| self.for_interface(error, load.bound))
        .map_err(|error| self.for_network_card(error, load.offload))
        .map_err(|error| self.for_bpf_link(error, load.program))?;
        let outcome = Outcome::Fd(program.as_fd().as_raw_fd());
        // One that was loaded before may be attached elsewhere, where it is known by its fd.
        self.superseded.extend(self.programs[load.program.0].replace(program));
        Ok(outcome)
    }

    /// Opens a program that somebody has loaded, and refuses one of another type, which could not be attached.
    fn open_program(&mut self, slot: ProgramSlot, existing: &Existing) -> Result<Outcome> {
        let (program, info) = match existing {
            Existing::Pinned(path) => Program::open_pinned_with_info(Path::new(path))?,
            Existing::Id(id) => Program::from_id_with_info(*id)?,
        };
        if info.prog_type != ProgType::XDP {
            let name = &self.plan.programs[slot.0];
            let message = format!("the program {name} is of type {}, not an XDP program", info.prog_type);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let outcome = Outcome::Fd(program.as_fd().as_raw_fd());
        self.programs[slot.0] = Some(program);
        Ok(outcome)
    }

    fn pin_program(&self, slot: ProgramSlot, path: &str) -> Result<()> {
        let name = quote(&self.plan.programs[slot.0]);
        pin::pin_in_bpffs(self.program(slot).as_fd(), Path::new(path))
            .context(|| format!("pinning program {name}"))
    }

    /// What was pinned by an earlier run of the same load, perhaps by one that was killed, is taken over.
    fn find_same_program(&mut self, slot: ProgramSlot, path: &str) -> Result<Outcome> {
        let ours = self.program(slot).info()?;
        let pinned = Program::open_pinned(Path::new(path))?;
        let there = pinned.info()?;
        let maps = |info: &ProgramInfo| info.map_ids.iter().copied().into_set();
        let difference = if there.tag != ours.tag {
            "other code"
        } else if maps(&there) != maps(&ours) {
            "the same code with other maps"
        } else {
            self.programs[slot.0] = Some(pinned);
            return Ok(Outcome::Found(format!("program {}, the same", there.id)));
        };
        let name = quote(&self.plan.programs[slot.0]);
        let message =
            format!("pinning program {name}: {} is pinned already, as program {}", quote(path), there.id);
        Err(Error::new(ErrorKind::Conflict, format!("{message}, with {difference}")))
    }

    /// Asks for what is told of a program that was pinned or attached.
    fn ask_for_info(&mut self, slot: ProgramSlot) -> Result<Outcome> {
        let info = self.program(slot).info()?;
        let outcome = Outcome::Found(format!("id {}", info.id));
        if let Some(attached) = &mut self.here_mut().attached {
            attached.info = Some(info.clone());
        }
        self.infos[slot.0] = Some(info);
        Ok(outcome)
    }

    /// Says what the verifier's log of a refusal means for this program.
    fn explained(&self, error: Error, load: &ProgLoad) -> Error {
        match error.verifier_log().map(|log| self.plan.explain(load, log)) {
            Some(explanation) => error.with_explanation(explanation),
            None => error,
        }
    }

    /// Says of a refusal that it was the network card which was asked to hold the map or the program.
    fn for_network_card(&self, error: Error, offload: bool) -> Error {
        if !offload || matches!(error.kind(), ErrorKind::VerifierRejected | ErrorKind::PermissionDenied) {
            return error;
        }
        error
            .context(format!("offload mode, to the network card {}", quote(&self.link().name)))
            .with_help("few network cards run programs themselves; native mode runs them in the driver")
    }

    /// Says of a refusal that the program was to be bound to the interface, whose driver must run programs itself.
    fn for_interface(&self, error: Error, bound: bool) -> Error {
        if !bound || error.errno() != Some(EOPNOTSUPP) {
            return error;
        }
        error.context(format!("bound to interface {}", quote(&self.link().name))).with_help(
            "its driver does not run XDP programs, and only in a driver can they ask about packets",
        )
    }

    fn probe(&mut self, feature: Feature) -> Outcome {
        let answer = kernel::probe(feature);
        self.kernel.learn(feature, answer);
        Outcome::Found(format!("{feature}: {answer}"))
    }
}

/// What has been made, with its name.
fn made<T>(names: &[String], items: Vec<Option<T>>) -> Vec<(String, T)> {
    names.iter().zip(items).filter_map(|(name, item)| Some((name.clone(), item?))).collect()
}

/// The end.
impl Execution<'_> {
    fn finish(self) -> Loaded {
        let Plan { maps, templates, programs, sections, .. } = self.plan;
        // It was asked about once, and again where a bpf_link had it loaded with the other attach type: what comes
        // after that has the second one.
        let mut info = None;
        let attached = self.places.into_iter().filter_map(|Place { attached, prog_arrays, .. }| {
            let attached = attached?;
            info = attached.info.clone().or(info.take());
            Some(AttachedTo { prog_arrays, info: info.clone(), ..attached })
        });
        // The templates have served; dropping them closes them.
        let lasting = maps.len() - templates;
        let name = |slot: &MapSlot| maps[slot.0].clone();
        let mounted = self.undo.into_iter().find_map(|(_, call)| match call {
            Call::Umount { path } => Some(path),
            _ => None,
        });
        Loaded {
            attached: attached.collect(),
            infos: self.infos,
            kept: self.kept.iter().map(name).collect(),
            copied: self.copied.iter().map(|(slot, count)| (name(slot), *count)).collect(),
            maps: made(&maps[..lasting], self.maps),
            programs: made(programs, self.programs),
            sections: sections.clone(),
            btf_refusal: self.btf_refusal,
            mounted,
        }
    }

    /// Undoes what was done, last things first, and says so if that fails too.
    fn take_back(mut self, error: Error) -> Error {
        let mut left = Vec::new();
        while let Some((at, call)) = self.undo.pop() {
            self.at = at;
            if call == Call::Disarm && !left.is_empty() {
                // The guard has to look, and to try again when the time is up.
                continue;
            }
            match self.call(&call) {
                // Somebody else has taken to it meanwhile, or has removed it.
                Err(failure) if matches!(failure.errno(), Some(ENOTEMPTY | EBUSY | ENOENT)) => {}
                Err(failure) => left.push(failure.to_string()),
                Ok(()) => {}
            }
        }
        if left.is_empty() {
            return error;
        }
        error.context(format!("something is left behind ({})", left.join("; ")))
    }
}
