//! Carries a plan out, call by call, and takes back what was done when one fails: the page to audit.
//!
//! Nothing is called here that the plan does not list, but for what changes nothing: examinations of a refusal (of
//! EPERM at once, `kernel/privilege.rs`; of a kernel that is too old when the refusal has ended the plan, `age.rs`),
//! and a look in /sys at the number of CPUs, on which the shape of a map may depend. The caller's observer is told of
//! each call and of the kernel's answer, and so has the transcript, also of a plan that fails.
//!
//! ```no_run
//! use loader::{Loader, Object};
//!
//! let object = Object::open("drop.o")?;
//! let plan = Loader::new(&object).plan_for_running_kernel()?;
//! let loaded = plan.execute(|record| {
//!     for call in record.kernel_calls() {
//!         eprintln!("{call}: {:?}", record.outcome);
//!     }
//! })?;
//! println!("program id {}", loaded.program("xdp_drop")?.info()?.id);
//! # Ok::<(), loader::Error>(())
//! ```

mod age;
mod bpffs;
mod entries;
mod extension;
mod interface;
mod loaded;
mod maps;
mod prog_arrays;
mod programs;
mod running;
mod trial;
mod types;
mod upgrade;

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use nix::libc::{EBUSY, ENOENT, ENOTEMPTY};

use self::bpffs::{is_bpffs, make_directory, mount_bpffs};
use self::extension::Extended;
use self::interface::AtInterface;
pub use self::loaded::{AttachedTo, Loaded, Outcome, Record};
use self::maps::Found;
pub use self::running::{Comparison, Difference, MapDifference, RunsAlready};
use self::types::Types;
use self::upgrade::Upgrade;
use crate::attach::{self, RouteSocket};
use crate::error::{Error, ErrorKind, Result};
use crate::features::{Answer, Feature, Kernel};
use crate::kernel::{self, LoadedBtf};
use crate::map::{Map, Mapping};
use crate::pin;
use crate::plan::{
    Alternative, Attachment, BpfLinkCall, Call, GuardMessage, MapCreate, MapSlot, Number, On, Plan, ProgLoad,
    Step, When,
};
use crate::program::{Program, ProgramInfo};

impl Plan {
    /// Makes the calls of the plan, and tells `observe` of each when the kernel has answered.
    ///
    /// When one fails, what this run has pinned, made or mounted is taken back, and the error is that call's; also when
    /// `observe` panics, who then hears of nothing more. What the plan attaches stays attached when the process ends.
    ///
    /// A plan that pins waits, without a limit, until no other run is busy with pins below the same root of bpffs
    /// ([`pin::lock`]): whoever holds that lock himself would wait for himself.
    pub fn execute(&self, observe: impl FnMut(&Record<'_>)) -> Result<Loaded> {
        self.execute_with(ExecuteOptions::default(), observe)
    }

    /// The same, given what else the caller wants.
    pub fn execute_with(
        &self,
        options: ExecuteOptions<'_>,
        observe: impl FnMut(&Record<'_>),
    ) -> Result<Loaded> {
        let mut execution = Execution::new(self, options, Box::new(observe));
        match execution.steps(&self.steps) {
            Ok(()) => Ok(execution.finish()),
            Err(error) => Err(execution.take_back(error)),
        }
    }
}

/// How a plan is carried out.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExecuteOptions<'a> {
    /// For a plan [on trial](Plan::on_trial): who takes the change back is at the other end, and knows how to read a
    /// [`Trial`](crate::attach::Trial).
    pub guard: Option<&'a UnixStream>,
    /// Ask the clock how long each call takes ([`Record::took`]). Its first answer takes as long as a small call.
    pub timed: bool,
}

/// What the slots of the plan stand for, as far as it exists.
#[derive(Default)]
struct Slots {
    /// Pins that are not known to be the right maps yet.
    found: Vec<Option<Found>>,
    maps: Vec<Option<Map>>,
    /// Maps of another shape, which are to be copied into that of the slot.
    old_maps: Vec<Option<Map>>,
    /// What was in maps that others may use, by map and key.
    entries: Vec<((MapSlot, u32), OwnedFd)>,
    /// Arenas in the memory of this process, until the end.
    mappings: Vec<Mapping>,
    /// The types of modules.
    modules: Vec<Option<LoadedBtf>>,
    programs: Vec<Option<Program>>,
    /// Programs that were loaded once more, in another way.
    superseded: Vec<Program>,
    infos: Vec<Option<ProgramInfo>>,
}

impl Slots {
    fn of(plan: &Plan) -> Self {
        fn empty<T>(names: &[String]) -> Vec<Option<T>> {
            names.iter().map(|_| None).collect()
        }
        Self {
            found: empty(&plan.maps),
            maps: empty(&plan.maps),
            old_maps: empty(&plan.maps),
            modules: empty(&plan.modules),
            programs: empty(&plan.programs),
            infos: empty(&plan.programs),
            ..Self::default()
        }
    }
}

/// A plan half-way: what exists so far.
struct Execution<'p> {
    plan: &'p Plan,
    observe: Box<dyn FnMut(&Record<'_>) + 'p>,
    kernel: Kernel,
    /// What holds others off the pins.
    locks: Vec<pin::Lock>,
    slots: Slots,
    types: Types,
    upgrade: Upgrade,
    socket: Option<Arc<RouteSocket>>,
    /// What is known and done at each interface.
    interfaces: Vec<AtInterface>,
    /// At which of them the steps are.
    at: usize,
    /// The number of the step; none where a call is none of the plan's steps.
    number: Option<Number>,
    /// The namespace's number; 0 for kernels that have none.
    netns_cookie: u64,
    /// The program that is to be extended.
    extended: Option<Extended>,
    options: ExecuteOptions<'p>,
    /// What takes back what was done, and at which interface.
    undo: Vec<(usize, Call)>,
    /// Whether what takes the changes back has been let go of.
    is_settled: bool,
}

impl<'p> Execution<'p> {
    fn new(plan: &'p Plan, options: ExecuteOptions<'p>, observe: Box<dyn FnMut(&Record<'_>) + 'p>) -> Self {
        Self {
            plan,
            observe,
            kernel: Kernel::unknown(),
            locks: Vec::new(),
            slots: Slots::of(plan),
            types: Types::default(),
            upgrade: Upgrade::default(),
            socket: None,
            interfaces: std::iter::repeat_with(AtInterface::default).take(plan.attach.len().max(1)).collect(),
            at: 0,
            number: None,
            netns_cookie: 0,
            extended: None,
            options,
            undo: Vec::new(),
            is_settled: false,
        }
    }

    fn steps(&mut self, steps: &[Step]) -> Result<()> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    /// Makes the call of a step, and follows the plan to where the answer leads.
    fn step(&mut self, step: &Step) -> Result<()> {
        (self.at, self.number) = (step.at, Some(step.number));
        if !self.applies(step.when) {
            return Ok(());
        }
        match self.call(&step.call).map_err(|refusal| refusal.at_target(step.at)) {
            Ok(()) => self.steps(&step.then),
            Err(refusal) => match self.other_way(step, &refusal)? {
                Some(other) => {
                    self.note_refusal_of_types(&step.call, other.on, &refusal);
                    self.alternative(other, refusal)
                }
                None => {
                    Err(self.for_want_of_types(age::explained(refusal, &step.call, &self.kernel), &step.call))
                }
            },
        }
    }

    fn here(&self) -> &AtInterface {
        &self.interfaces[self.at]
    }

    fn here_mut(&mut self) -> &mut AtInterface {
        &mut self.interfaces[self.at]
    }

    fn applies(&self, when: When) -> bool {
        let occupied =
            |place: &AtInterface| place.interface.as_ref().is_some_and(|interface| !interface.xdp.is_empty());
        match when {
            When::Always => true,
            When::Occupied => occupied(self.here()),
            When::Vacant => !occupied(self.here()),
            When::FirstVacant => !occupied(self.here()) && self.interfaces[..self.at].iter().all(occupied),
            When::New(map) => !self.upgrade.kept.contains(&map),
            When::Copied(map) | When::Outgrown(map) => self.slots.old_maps[map.0].is_some(),
            When::Made(map) => self.slots.maps[map.0].is_some(),
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
        !matches!(on, On::EntryTypes | On::ProgInfo) || self.types.btf.is_some()
    }

    /// Whether the kernel lacks `feature`; looked at when it first matters.
    fn is_lacking(&mut self, feature: Option<Feature>) -> Result<bool> {
        let Some(feature) = feature else {
            return Ok(true);
        };
        if self.kernel.has(feature) == Answer::Unknown {
            let number = self.number.take();
            self.call(&Call::Probe(feature))?;
            self.number = number;
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
            Call::MapCreate(create) if self.types.btf.is_none() && create.types.is_some() => {
                self.call(&Call::MapCreate(MapCreate { types: None, ..create.clone() }))
            }
            Call::ProgLoad(load)
                if self.types.btf.is_none() && load.info.as_ref().is_some_and(|info| info.is_needed) =>
            {
                Err(self.cannot_do_without_types(load))
            }
            Call::ProgLoad(load) if self.types.btf.is_none() && load.info.is_some() => {
                self.call(&ProgLoad { info: None, ..(**load).clone() }.into())
            }
            Call::ProgLoad(load) if load.log => self.load_with_log(call, load),
            Call::ProgLoad(load) => self.load_uninterrupted(call, load),
            _ => self.recorded(call, &mut |execution| execution.make(call)),
        }
    }

    /// Makes a call and tells the observer of the answer.
    fn recorded(&mut self, call: &Call, make: &mut dyn FnMut(&mut Self) -> Result<Outcome>) -> Result<()> {
        let start = self.options.timed.then(Instant::now);
        let answer = make(self);
        let took = start.map(|start| start.elapsed());
        let outcome = match &answer {
            Ok(outcome) => outcome.clone(),
            Err(error) => match error.errno() {
                Some(errno) => Outcome::Refused(errno),
                None => Outcome::Found(error.to_string()),
            },
        };
        if answer.is_ok() {
            self.undo.extend(call.opposite().map(|undo| (self.at, undo)));
            self.is_settled |= settles(call);
        }
        (self.observe)(&Record::new(self.plan, self.at, self.number, call, outcome, took));
        answer.map(drop)
    }

    /// Each call of a plan, and the one function that makes it.
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
            Call::MapMmap { map, address, len, content } => {
                done(self.map_into_memory(*map, *address, *len, content))
            }
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
            Call::GetInterface { named } => self.look_at_interface(named),
            Call::NetnsCookie => self.ask_for_cookie(),
            Call::ProgArrayPins(pins) => self.change_prog_array_pins(pins),
            Call::ProgGetFdById => self.open_running(),
            Call::FindProgram { bpffs } => self.find_running(bpffs),
            Call::SetXdp(set) => self.set_xdp(set),
            Call::PutBack(_) => self.put_back(),
            Call::RunningMapIds => self.ask_for_map_ids(),
            Call::OpenRunningMaps { wanted, other_shape } => self.open_running_maps(wanted, *other_shape),
            Call::CopyMap { map, by } => self.copy_map(*map, *by),
            Call::BpfLink(call) => self.make_on_link(call),
            Call::Guard(message) => done(self.tell_guard(message)),
            Call::ProgInfo { program } => self.ask_for_info(*program),
            Call::ProbeCompare => done(self.socket().refuse_if_it_cannot_compare(self.interface().index)),
            Call::RaiseMemlock => done(kernel::raise_memlock().map(drop)),
            Call::Probe(feature) => Ok(self.probe(*feature)),
            Call::Unlink { path } => done(pin::unpin(Path::new(path))),
            Call::Rmdir { path } => done(pin::remove_dir(Path::new(path))),
            Call::Umount { path } => done(pin::unmount_empty_bpffs(Path::new(path))),
        }
    }

    fn make_on_link(&mut self, call: &BpfLinkCall) -> Result<Outcome> {
        match call {
            BpfLinkCall::Find => self.find_link(),
            BpfLinkCall::Open { path } => self.open_link(path),
            BpfLinkCall::OpenOwn { bpffs } => self.open_own_link(bpffs),
            BpfLinkCall::Create(create) => self.create_link(create),
            BpfLinkCall::Update { program } => self.update_link(*program),
            BpfLinkCall::PutBack { program } => done(self.put_back_in_link(*program)),
            BpfLinkCall::Pin { path } => done(self.bpf_link().pin(Path::new(path))),
            BpfLinkCall::Info => self.ask_for_link(),
            BpfLinkCall::Detach => done(self.bpf_link().detach()),
        }
    }

    fn tell_guard(&self, message: &GuardMessage) -> Result<()> {
        match message {
            GuardMessage::Arm(arm) => self.arm(arm),
            GuardMessage::Unchanged => self.disarm(),
            GuardMessage::HandOver => self.hand_over(),
            GuardMessage::Made => self.guard().and_then(attach::tell_made),
        }
    }
}

/// A kernel that lacks what there is no way without.
#[cold]
fn cannot_do_without(feature: Feature, refusal: Error) -> Error {
    refusal.with_kind(ErrorKind::Unsupported).context(feature.lacking())
}

fn done(result: Result<()>) -> Result<Outcome> {
    result.map(|()| Outcome::Done)
}

/// What has been made, with its name.
fn made<T>(names: &[String], items: Vec<Option<T>>) -> Vec<(String, T)> {
    let mut made = Vec::with_capacity(items.len());
    for (name, item) in names.iter().zip(items) {
        made.extend(item.map(|item| (name.clone(), item)));
    }
    made
}

/// Whether the pins that a program needs to be put back go with `call`, or a guard begins to wait for the confirmation.
fn settles(call: &Call) -> bool {
    match call {
        Call::ProgArrayPins(pins) => pins.of == Attachment::Replaced,
        Call::Guard(message) => *message == GuardMessage::Made,
        _ => false,
    }
}

/// The end.
impl Execution<'_> {
    fn finish(mut self) -> Loaded {
        let Plan { maps, templates, programs, sections, .. } = self.plan;
        // It was asked about once, and again where a bpf_link had it loaded with the other attach type: what comes
        // after that has the second one.
        let mut info = None;
        let attached = std::mem::take(&mut self.interfaces).into_iter().filter_map(
            |AtInterface { attached, prog_arrays, .. }| {
                let attached = attached?;
                info = attached.info.clone().or(info.take());
                Some(AttachedTo { prog_arrays, info: info.clone(), ..attached })
            },
        );
        let (slots, upgrade) = (std::mem::take(&mut self.slots), std::mem::take(&mut self.upgrade));
        // The templates have served; dropping them closes them.
        let lasting = maps.len() - templates;
        let name = |slot: &MapSlot| maps[slot.0].clone();
        let mounted = std::mem::take(&mut self.undo).into_iter().find_map(|(_, call)| match call {
            Call::Umount { path } => Some(path),
            _ => None,
        });
        Loaded {
            attached: attached.collect(),
            infos: slots.infos,
            kept: upgrade.kept.iter().map(name).collect(),
            copied: upgrade.copied.iter().map(|(slot, count)| (name(slot), *count)).collect(),
            maps: made(&maps[..lasting], slots.maps),
            programs: made(programs, slots.programs),
            sections: sections.clone(),
            btf: self.types.btf.take(),
            btf_refusal: self.types.refusal.take(),
            mounted,
        }
    }

    /// Undoes what was done, last things first, and says so if that fails too.
    fn take_back(mut self, error: Error) -> Error {
        let left = self.undo_all();
        if left.is_empty() {
            return error;
        }
        error.context(format!("something is left behind ({})", left.join("; ")))
    }

    /// Undoes what was done, and returns what could not be.
    fn undo_all(&mut self) -> Vec<String> {
        let mut left = Vec::new();
        self.number = None;
        while let Some((at, call)) = self.undo.pop() {
            self.at = at;
            if matches!(call, Call::Guard(GuardMessage::Unchanged)) && !left.is_empty() {
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
        left
    }
}

/// The observer has panicked, as `eprintln!` does when nobody reads: otherwise nothing is left to undo here.
impl Drop for Execution<'_> {
    fn drop(&mut self) {
        if !self.is_settled && !self.undo.is_empty() {
            // A second panic would end the process.
            self.observe = Box::new(|_| {});
            self.undo_all();
        }
    }
}
