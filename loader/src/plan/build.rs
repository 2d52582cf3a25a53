//! Makes a plan from an object, the caller's wishes, and what is known of the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nix::libc::{E2BIG, EEXIST, EINVAL, ENOENT, EPERM};

use super::call::{Call, MapCreate, MapFd, MapSlot, ProgLoad, ProgramSlot, SetLink};
use super::pin_path::check_pin_path;
use super::{Attach, On, Plan, Step, When};
use crate::bytes::ByteOrder;
use crate::error::{Context, Error, ErrorKind, Result, escape, quote};
use crate::features::{Answer, Feature, Kernel};
use crate::linker::{Linked, Linker, MapReference, Referent};
use crate::netlink::{LinkRef, Mode, ModeChoice};
use crate::object::{CURRENT_KERNEL_VERSION, DataKind, MapShape, MapSpec, Object, Pinning, ProgramSpec};
use crate::uapi::bpf::{AttachType, BPF_F_MMAPABLE, BPF_F_XDP_HAS_FRAGS, MapType, ObjName, ProgType};

/// Where bpffs is mounted unless the caller says otherwise.
const BPFFS: &str = "/sys/fs/bpf";

/// Where a program is to be attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The interface.
    pub link: LinkRef,
    /// The network namespace it is in, by path; `None` for the process's own.
    pub netns: Option<String>,
    /// In which mode.
    pub mode: ModeChoice,
    /// Replace the program that is there, if one is. Otherwise a program that is there is never displaced.
    pub replace: bool,
}

/// What to load of an object, and how: makes a [`Plan`].
///
/// All maps of the object are made, as gobpf and libbpf do, and one program: the only one, unless it is chosen or
/// [all](Loader::all_programs) are asked for.
#[derive(Clone, Debug)]
pub struct Loader<'o> {
    object: &'o Object,
    object_name: Option<String>,
    program: Option<String>,
    all_programs: bool,
    max_entries: BTreeMap<String, u32>,
    bpffs: String,
    pins_by_name: Option<String>,
    pins: BTreeMap<String, String>,
    target: Option<Target>,
}

impl<'o> Loader<'o> {
    /// Loads from `object`.
    pub fn new(object: &'o Object) -> Self {
        Self {
            object,
            object_name: None,
            program: None,
            all_programs: false,
            max_entries: BTreeMap::new(),
            bpffs: BPFFS.to_owned(),
            pins_by_name: None,
            pins: BTreeMap::new(),
            target: None,
        }
    }

    /// Names the maps of the object's variables after it, as libbpf does, which takes
    /// [`file::object_name`](crate::file::object_name). Without it they have the names of their sections.
    pub fn object_name(mut self, name: impl Into<String>) -> Self {
        self.object_name = Some(name.into());
        self
    }

    /// Loads the program with this symbol name, or the only one of the section with this name.
    pub fn program(mut self, name: impl Into<String>) -> Self {
        self.program = Some(name.into());
        self
    }

    /// Loads every program of the object, as gobpf does. [`Loader::program`] then says which of them is attached.
    pub fn all_programs(mut self) -> Self {
        self.all_programs = true;
        self
    }

    /// Makes the map `map` with room for `entries` entries, whatever the object says.
    pub fn max_entries(mut self, map: impl Into<String>, entries: u32) -> Self {
        self.max_entries.insert(map.into(), entries);
        self
    }

    /// Takes the bpffs at `root` instead of `/sys/fs/bpf` for paths that the object gives.
    pub fn bpffs(mut self, root: impl Into<String>) -> Self {
        self.bpffs = without_slashes_at_end(root.into());
        self
    }

    /// Pins maps that are to be pinned by name in the directory `dir` of a bpffs instead of its root.
    pub fn pin_maps_under(mut self, dir: impl Into<String>) -> Self {
        self.pins_by_name = Some(without_slashes_at_end(dir.into()));
        self
    }

    /// Pins the map `map` at `path`, whatever the object says; gobpf's `PIN_CUSTOM_NS` asks for it.
    pub fn pin_map(mut self, map: impl Into<String>, path: impl Into<String>) -> Self {
        self.pins.insert(map.into(), path.into());
        self
    }

    /// Attaches the program to an interface after loading it.
    pub fn attach_to(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// Makes the plan for `kernel`. Asks nobody: the same object, wishes and kernel give the same plan.
    pub fn plan(&self, kernel: &Kernel) -> Result<Plan> {
        self.refuse_what_does_not_fit()?;
        let (programs, attached) = self.programs()?;
        let mut steps = Vec::new();
        if let Some(target) = &self.target {
            steps.extend(find_interface(target));
        }
        let pins = self.object.maps.iter().map(|map| self.pin_path(map)).collect::<Result<Vec<_>>>()?;
        refuse_shared_pins(&self.object.maps, &pins)?;
        if pins.iter().any(Option::is_some) {
            steps.push(self.ensure_bpffs());
        }
        for slot in creation_order(&self.object.maps) {
            steps.push(self.map_step(slot, pins[slot.0].as_deref(), kernel)?);
        }
        steps.extend(inner_map_steps(&self.object.maps));
        let linker = Linker::new(self.object);
        let linked = programs.iter().map(|program| linker.link(program)).collect::<Result<Vec<_>>>()?;
        let data = DataMaps::new(self.object, &linked);
        steps.extend(self.data_steps(&data, kernel)?);
        for (slot, (program, linked)) in programs.iter().zip(linked).enumerate() {
            steps.push(self.program_step(ProgramSlot(slot), program, linked, &data, kernel)?);
        }
        if let Some(target) = &self.target {
            steps.extend(attach_steps(attached, target));
            // What cannot be told does not undo what is attached by then.
            let tell = Step::new(Call::ProgInfo { program: attached });
            steps.push(tell.or(On::AnyErrno, Vec::new()));
        }
        Ok(Plan {
            maps: self.map_names(),
            programs: programs.iter().map(|program| program.name.clone()).collect(),
            sections: programs.iter().map(|program| program.section.clone()).collect(),
            attach: self.target.as_ref().map(|target| Attach {
                link: target.link.clone(),
                mode: target.mode,
                replace: target.replace,
            }),
            steps,
        })
    }

    /// The programs to load, and which of them is the one to attach.
    fn programs(&self) -> Result<(&'o [ProgramSpec], ProgramSlot)> {
        let all = &self.object.programs[..];
        let chosen = match (&self.program, all) {
            (Some(name), _) => self.object.program(name)?,
            // With nothing to attach there is nothing to choose.
            (None, [first, ..]) if self.all_programs && self.target.is_none() => first,
            (None, _) => self.object.only_program()?,
        };
        if !self.all_programs {
            return Ok((std::slice::from_ref(chosen), ProgramSlot(0)));
        }
        // The reader of objects refuses two programs of one name.
        let before = all.iter().take_while(|program| program.name != chosen.name);
        Ok((all, ProgramSlot(before.count())))
    }

    fn refuse_what_does_not_fit(&self) -> Result<()> {
        if self.object.order != ByteOrder::NATIVE {
            let [(found, _), (native, target)] = [self.object.order, ByteOrder::NATIVE].map(endianness);
            let message = format!("expected a {native} object, as this machine is, found a {found} one");
            return Err(Error::malformed("file header", 5, message)
                .with_kind(ErrorKind::Unsupported)
                .with_help(format!("compile with `clang -target {target}`")));
        }
        for name in self.max_entries.keys().chain(self.pins.keys()) {
            if self.object.map(name).is_none() {
                let maps: Vec<_> = self.object.maps.iter().map(|map| quote(&map.name)).collect();
                let maps = if maps.is_empty() { "none".to_owned() } else { maps.join(", ") };
                let message = format!("there is no map {}: the object has {maps}", quote(name));
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        }
        Ok(())
    }

    /// Where `map` is to be pinned, if it is.
    fn pin_path(&self, map: &MapSpec) -> Result<Option<String>> {
        let path = match (self.pins.get(&map.name), &map.pinning) {
            (Some(path), _) => path.clone(),
            (None, Pinning::None) => return Ok(None),
            (None, Pinning::Path(path)) => format!("{}/{path}", self.bpffs),
            (None, Pinning::ByName) => {
                // The kernel allows no dot in a pin's name; libbpf puts an underscore in its place as well.
                let name = map.name.replace('.', "_");
                format!("{}/{name}", self.pins_by_name.as_deref().unwrap_or(&self.bpffs))
            }
            (None, Pinning::CallerPath { pinning }) => {
                let name = &map.name;
                return Err(Error::new(
                    ErrorKind::InvalidInput,
                    format!("map {} asks for a pin path from its loader (pinning {pinning})", quote(name)),
                )
                .with_help(format!(
                    "give one: --pin-map {}={}/...",
                    escape(name),
                    self.bpffs
                )));
            }
        };
        check_pin_path(Path::new(&self.bpffs), Path::new(&path))
            .context(|| format!("map {}", quote(&map.name)))?;
        Ok(Some(path))
    }

    fn ensure_bpffs(&self) -> Step {
        let path = || self.bpffs.clone();
        Step::new(Call::Statfs { path: path() })
            .or(On::NotBpffs, vec![Step::new(Call::MountBpffs { path: path() })])
    }

    /// Makes the map, or finds it where it is pinned.
    fn map_step(&self, slot: MapSlot, pin: Option<&str>, kernel: &Kernel) -> Result<Step> {
        let map = &self.object.maps[slot.0];
        let shape = self.shape(map)?;
        let create = create_step(
            &MapCreate {
                map: slot,
                shape,
                name: name_for(kernel, &map.name),
                inner: map.inner.map(|inner| MapSlot(inner.map)),
                offload: self.is_offload(),
            },
            kernel,
        );
        let Some(path) = pin else {
            return if map.shape.map_type.is_map_in_map() && map.inner.is_none() {
                Err(no_template(map))
            } else {
                Ok(create)
            };
        };
        let get = || {
            let info = Step::new(Call::MapInfo { map: slot, wanted: shape });
            Step::new(Call::ObjGet { path: path.to_owned(), map: slot }).then(vec![info])
        };
        // Whoever pins first wins; the other takes that map instead of its own.
        let place = Step::new(Call::ObjPin { map: slot, path: path.to_owned() })
            .or(On::Errno(&[EEXIST]), vec![get()]);
        let mut absent = make_parents(path, &self.bpffs);
        absent.extend([create, place]);
        Ok(get().or(On::Errno(&[ENOENT]), absent))
    }

    fn shape(&self, map: &MapSpec) -> Result<MapShape> {
        let asked = self.max_entries.get(&map.name).copied();
        let shape = MapShape { max_entries: asked.unwrap_or(map.shape.max_entries), ..map.shape };
        if shape.max_entries == 0 && needs_entries(shape.map_type) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("map {} has no size: the object leaves max_entries 0", quote(&map.name)),
            )
            .with_help(format!("give it: --max-entries {}=N", escape(&map.name))));
        }
        Ok(shape)
    }

    fn program_step(
        &self,
        slot: ProgramSlot,
        program: &ProgramSpec,
        linked: Linked,
        data: &DataMaps,
        kernel: &Kernel,
    ) -> Result<Step> {
        let load = ProgLoad {
            program: slot,
            prog_type: ProgType::XDP,
            expected_attach_type: Some(program.kind.attach_type)
                .filter(|_| kernel.has(Feature::ExpectedAttachType) != Answer::No),
            flags: if program.kind.frags { BPF_F_XDP_HAS_FRAGS } else { 0 },
            name: name_for(kernel, &program.name),
            license: self.object.license.clone().unwrap_or_default(),
            kern_version: self.kern_version(kernel)?,
            map_references: linked.map_references.iter().map(|reference| data.map_fd(*reference)).collect(),
            insns: linked.insns,
            log: false,
            offload: self.is_offload(),
        };
        let with_log = ProgLoad { log: true, ..load.clone() };
        // A good program is loaded silently; only a refusal is worth a log, and the log tells whose refusal it is.
        let explain = vec![load_step_with_log(with_log, kernel)];
        Ok(charged(&Call::ProgLoad(load), kernel).or(On::AnyErrno, explain))
    }

    /// The names of all maps, by [`MapSlot`].
    fn map_names(&self) -> Vec<String> {
        let maps = self.object.maps.iter().map(|map| map.name.clone());
        maps.chain(self.object.data.iter().map(|data| data.section.clone())).collect()
    }

    /// Makes and fills the maps of the global variables.
    fn data_steps(&self, data: &DataMaps, kernel: &Kernel) -> Result<Vec<Step>> {
        let feature = Feature::GlobalData;
        if kernel.has(feature) == Answer::No {
            if data.needed.is_empty() {
                return Ok(Vec::new());
            }
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the kernel lacks {feature}, which came with Linux {}", feature.since()),
            ));
        }
        let mut steps = Vec::new();
        for (index, section) in self.object.data.iter().enumerate() {
            let (map, needed) = (data.slot(index), data.needed.contains(&index));
            let name = section.map_name(self.object_name.as_deref());
            let create = MapCreate {
                map,
                shape: section.shape(),
                name: Some(name),
                inner: None,
                offload: self.is_offload(),
            };
            let when = if needed { When::Always } else { When::Made(map) };
            steps.push(create_data_step(create, needed, kernel));
            if section.kind != DataKind::Zero {
                let content = section.content.clone();
                steps.push(Step::new(Call::MapFill { map, content }).when(when));
            }
            if section.kind == DataKind::ReadOnly {
                steps.push(Step::new(Call::MapFreeze { map }).when(when));
            }
        }
        Ok(steps)
    }

    fn kern_version(&self, kernel: &Kernel) -> Result<u32> {
        match self.object.version {
            None => Ok(0),
            Some(CURRENT_KERNEL_VERSION) => kernel.version_code.ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidInput,
                    "the object is for the running kernel, whose version is not known here",
                )
            }),
            Some(version) => Ok(version),
        }
    }

    fn is_offload(&self) -> bool {
        self.target.as_ref().is_some_and(|target| target.mode.first() == Mode::Offload)
    }
}

/// A directory as people and their shells write it, `/sys/fs/bpf/`, without what would double the next slash.
fn without_slashes_at_end(mut directory: String) -> String {
    directory.truncate(directory.trim_end_matches('/').len());
    directory
}

/// Two maps at one path would become one: the second finds the first there and takes it for its own.
fn refuse_shared_pins(maps: &[MapSpec], pins: &[Option<String>]) -> Result<()> {
    let mut owners = BTreeMap::new();
    for (map, path) in maps.iter().zip(pins) {
        let Some(path) = path else { continue };
        if let Some(other) = owners.insert(path, &map.name) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!(
                    "maps {} and {} would both be pinned at {}",
                    quote(other),
                    quote(&map.name),
                    quote(path)
                ),
            ));
        }
    }
    Ok(())
}

/// The kernel makes a map of maps only with the fd of a map like those that it will hold.
#[cold]
fn no_template(map: &MapSpec) -> Error {
    Error::malformed(
        format!("section {}", quote(&map.section)),
        map.offset,
        format!(
            "map {} is a map of maps, and this {} definition does not say what those are like",
            quote(&map.name),
            map.dialect
        ),
    )
    .with_kind(ErrorKind::Unsupported)
}

/// What a byte order is called, and clang's target for it.
fn endianness(order: ByteOrder) -> (&'static str, &'static str) {
    match order {
        ByteOrder::Little => ("little-endian", "bpfel"),
        ByteOrder::Big => ("big-endian", "bpfeb"),
    }
}

/// Makes the directories between the root of bpffs and the pin, as far as they are missing.
fn make_parents(path: &str, bpffs: &str) -> Vec<Step> {
    let inside = path.get(bpffs.len() + 1..).unwrap_or_default();
    inside
        .match_indices('/')
        .map(|(end, _)| {
            let path = path[..bpffs.len() + 1 + end].to_owned();
            Step::new(Call::Mkdir { path }).or(On::Errno(&[EEXIST]), Vec::new())
        })
        .collect()
}

/// Templates of maps of maps come first: the outer map is made with the fd of its template.
fn creation_order(maps: &[MapSpec]) -> impl Iterator<Item = MapSlot> {
    let outer = |&slot: &usize| maps[slot].inner.is_some();
    let plain = (0..maps.len()).filter(move |slot| !outer(slot));
    plain.chain((0..maps.len()).filter(outer)).map(MapSlot)
}

fn inner_map_steps(maps: &[MapSpec]) -> impl Iterator<Item = Step> {
    maps.iter().enumerate().filter_map(|(outer, map)| {
        let inner = map.inner?;
        let index = inner.index?;
        Some(Step::new(Call::MapUpdate { outer: MapSlot(outer), index, inner: MapSlot(inner.map) }))
    })
}

/// Whether the kernel refuses a map of this type without `max_entries`.
fn needs_entries(map_type: MapType) -> bool {
    !matches!(
        map_type,
        MapType::CGROUP_STORAGE
            | MapType::PERCPU_CGROUP_STORAGE
            | MapType::SK_STORAGE
            | MapType::INODE_STORAGE
            | MapType::TASK_STORAGE
            | MapType::CGRP_STORAGE
    )
}

fn name_for(kernel: &Kernel, symbol: &str) -> Option<ObjName> {
    (kernel.has(Feature::ObjectNames) != Answer::No).then(|| ObjName::from_symbol(symbol))
}

/// The maps of global variables, which come after all maps of the object.
struct DataMaps {
    /// How many maps the object has.
    maps: usize,
    /// Those to which the programs to load refer: indices in [`Object::data`].
    needed: BTreeSet<usize>,
}

impl DataMaps {
    fn new(object: &Object, programs: &[Linked]) -> Self {
        let references = programs.iter().flat_map(|linked| &linked.map_references);
        let needed = references.filter_map(|reference| match reference.map {
            Referent::Data(section) => Some(section),
            Referent::Map(_) => None,
        });
        Self { maps: object.maps.len(), needed: needed.collect() }
    }

    fn slot(&self, section: usize) -> MapSlot {
        MapSlot(self.maps + section)
    }

    fn map_fd(&self, reference: MapReference) -> MapFd {
        let map = match reference.map {
            Referent::Map(map) => MapSlot(map),
            Referent::Data(section) => self.slot(section),
        };
        MapFd { insn: reference.insn, map }
    }
}

/// Creates a map of global variables. Where programs need it there is no way round global data in the kernel; one that
/// no program needs is left out by older kernels. A kernel that has global data knows names too.
fn create_data_step(create: MapCreate, needed: bool, kernel: &Kernel) -> Step {
    let flags = create.shape.flags & !BPF_F_MMAPABLE;
    let plain = MapCreate { shape: MapShape { flags, ..create.shape }, ..create.clone() };
    let or_go_on = |step: Step| if needed { step } else { step.or(NEWER, Vec::new()) };
    let mmapable = kernel.has(Feature::MmapableArrays);
    let first = if mmapable == Answer::No { plain.clone() } else { create };
    let mut step = charged(&Call::MapCreate(first), kernel);
    if needed && kernel.has(Feature::GlobalData) == Answer::Unknown {
        step = step.or_lacking(NEWER, Feature::GlobalData, Vec::new());
    }
    if mmapable == Answer::Unknown {
        let without = vec![or_go_on(charged(&Call::MapCreate(plain), kernel))];
        step = step.or_lacking(On::Errno(&[EINVAL]), Feature::MmapableArrays, without);
    }
    or_go_on(step)
}

/// Creates a map; if that is refused for want of what only newer kernels have, without it.
fn create_step(create: &MapCreate, kernel: &Kernel) -> Step {
    let step = charged(&Call::MapCreate(create.clone()), kernel);
    if create.name.is_none() || kernel.has(Feature::ObjectNames) != Answer::Unknown {
        return step;
    }
    let nameless = Call::MapCreate(MapCreate { name: None, ..create.clone() });
    step.or_lacking(NEWER, Feature::ObjectNames, vec![charged(&nameless, kernel)])
}

/// Loads a program with the verifier's log; if that is refused for want of what only newer kernels have, without
/// one of those after the other.
fn load_step_with_log(load: ProgLoad, kernel: &Kernel) -> Step {
    let step = Step::new(Call::ProgLoad(load.clone()));
    let unknown = |feature| kernel.has(feature) == Answer::Unknown;
    if load.expected_attach_type == Some(AttachType::XDP) && unknown(Feature::ExpectedAttachType) {
        let older = ProgLoad { expected_attach_type: None, ..load };
        step.or_lacking(NEWER, Feature::ExpectedAttachType, vec![load_step_with_log(older, kernel)])
    } else if load.name.is_some() && unknown(Feature::ObjectNames) {
        let older = ProgLoad { name: None, ..load };
        step.or_lacking(NEWER, Feature::ObjectNames, vec![load_step_with_log(older, kernel)])
    } else {
        step
    }
}

/// How a kernel refuses attributes that it does not know: EINVAL among those that it has room for, E2BIG behind.
pub(super) const NEWER: On = On::Errno(&[EINVAL, E2BIG]);

/// A call that the kernel may charge to `RLIMIT_MEMLOCK`; its refusal for that is EPERM.
fn charged(call: &Call, kernel: &Kernel) -> Step {
    let raised = || vec![Step::new(Call::RaiseMemlock), Step::new(call.clone())];
    let step = Step::new(call.clone());
    match kernel.has(Feature::MemcgAccounting) {
        Answer::Yes => step,
        Answer::No => step.or(On::Errno(&[EPERM]), raised()),
        Answer::Unknown => step.or_lacking(On::Errno(&[EPERM]), Feature::MemcgAccounting, raised()),
    }
}

/// Looks at the interface before anything is made, so that a wrong name costs nothing.
fn find_interface(target: &Target) -> [Step; 2] {
    [
        Step::new(Call::OpenRouteSocket { netns: target.netns.clone() }),
        Step::new(Call::GetLink { link: target.link.clone() }),
    ]
}

fn attach_steps(program: ProgramSlot, target: &Target) -> Vec<Step> {
    let set = |mode, replace| {
        let set = SetLink { program, mode, replace };
        let put_back = Step::new(Call::PutBack(set.clone()));
        Step::new(Call::SetLink(set)).or(On::Unanswered, vec![put_back])
    };
    let mut attach = set(Some(target.mode.first()), false);
    if let Some(mode) = target.mode.fallback() {
        attach = attach.or(On::Driver, vec![set(Some(mode), false)]);
    }
    if !target.replace {
        return vec![attach];
    }
    let same_mode = match target.mode {
        ModeChoice::Only(mode) => Some(mode),
        ModeChoice::Auto => None,
    };
    let replace = set(same_mode, true).or(On::Unexplained, vec![Step::new(Call::ProbeCompare)]);
    vec![
        Step::new(Call::ProgGetFdById).when(When::Occupied),
        replace.when(When::Occupied),
        attach.when(When::Vacant),
    ]
}
