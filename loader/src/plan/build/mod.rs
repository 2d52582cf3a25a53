//! Makes a plan from an object, the caller's options, and what is known of the kernel.

mod attach;
mod btf;
mod core;
mod data;
mod device;
mod extension;
mod externs;
mod maps;
mod options;
mod programs;
mod tail_calls;
mod upgrade;
mod variables;

use std::iter::repeat;
use std::path::{Path, PathBuf};

use nix::libc::{E2BIG, EACCES, EINVAL, ENOENT, EPERM};

pub(crate) use self::attach::link_without_pin;
use self::attach::{
    Attaching, Own, at_each, find_interfaces, is_by_link, let_go_of_replaced, refuse_targets,
    refuse_to_attach, several, unspecified,
};
use self::btf::btf_step;
use self::data::DataMaps;
use self::externs::Externs;
use self::maps::{Templates, creation_order, late_inner_map_steps, refuse_shared_pins};
use self::tail_calls::{Programs, remove_root};
pub use self::upgrade::KeepMaps;
use self::upgrade::{copy_steps, find_maps, only_new};
use self::variables::Setting;
use super::call::{Call, Device, Existing, ProgLoad, WantedMap};
use super::externs::KernelSymbols;
use super::slot::ProgramSlot;
use super::{On, Plan, Step, Target};
use crate::btf::KernelTypes;
use crate::bytes::ByteOrder;
use crate::error::{Error, ErrorKind, Result, quote, quote_each};
use crate::features::{Answer, Feature, Kernel};
use crate::kconfig::Kconfig;
use crate::netlink::Mode;
use crate::object::{Object, ProgramSpec};
use crate::uapi::bpf::{BPFFS_ROOT, ObjName};
pub(crate) use maps::MAPS_UNDESCRIBED;

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
    /// In the order of names.
    wishes: Vec<Wishes>,
    bpffs: String,
    /// The first path that no text can stand for, and so no plan.
    not_text: Option<PathBuf>,
    pins_by_name: Option<String>,
    pin_dir: Option<String>,
    extended: Option<Existing>,
    targets: Vec<Target>,
    kconfig: Option<Kconfig>,
    kernel_symbols: Option<KernelSymbols>,
    kernel_types: Option<KernelTypes>,
    target_types: Option<KernelTypes>,
    settings: Vec<Setting>,
    keep_maps: KeepMaps,
}

/// What the caller wants of a map.
#[derive(Clone, Debug, Default)]
struct Wishes {
    map: String,
    max_entries: Option<u32>,
    pin: Option<String>,
}

/// What is known of the maps before the first step.
struct Maps<'o> {
    names: Vec<String>,
    templates: Templates<'o>,
    /// Where each map of the object is pinned, if it is.
    pins: Vec<Option<String>>,
}

impl<'o> Loader<'o> {
    /// Loads from `object`.
    pub fn new(object: &'o Object) -> Self {
        Self {
            object,
            object_name: None,
            program: None,
            all_programs: false,
            wishes: Vec::new(),
            bpffs: BPFFS_ROOT.to_owned(),
            not_text: None,
            pins_by_name: None,
            pin_dir: None,
            extended: None,
            targets: Vec::new(),
            kconfig: None,
            kernel_symbols: None,
            kernel_types: None,
            target_types: None,
            settings: Vec::new(),
            keep_maps: KeepMaps::No,
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

    /// Loads every program of the object, as gobpf does, but those that are
    /// [optional](ProgramSpec::is_optional). [`Loader::program`] then says which of them is attached.
    pub fn all_programs(mut self) -> Self {
        self.all_programs = true;
        self
    }

    /// Makes the map `map` with room for `entries` entries, whatever the object says.
    pub fn max_entries(mut self, map: impl Into<String>, entries: u32) -> Self {
        self.wishes_for(map.into()).max_entries = Some(entries);
        self
    }

    /// Takes the bpffs at `root` instead of `/sys/fs/bpf` for paths that the object gives.
    pub fn bpffs(mut self, root: impl AsRef<Path>) -> Self {
        self.bpffs = self.text(root.as_ref());
        self
    }

    /// Pins maps that are to be pinned by name in the directory `dir` of a bpffs instead of its root.
    pub fn pin_maps_under(mut self, dir: impl AsRef<Path>) -> Self {
        self.pins_by_name = Some(self.text(dir.as_ref()));
        self
    }

    /// Pins the map `map` at `path`, whatever the object says; gobpf's `PIN_CUSTOM_NS` asks for it.
    pub fn pin_map(mut self, map: impl Into<String>, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        self.note_if_not_text(path);
        self.wishes_for(map.into()).pin = Some(path.to_string_lossy().into_owned());
        self
    }

    /// Pins each program that is loaded at `dir/NAME`, and each map that nothing else says a path for at
    /// `dir/maps/NAME`, or takes the one that is pinned there. Of a program that is pinned there already it must be the
    /// same one, with the same maps. Maps of variables are not pinned.
    pub fn pin_under(mut self, dir: impl AsRef<Path>) -> Self {
        self.pin_dir = Some(self.text(dir.as_ref()));
        self
    }

    /// Lets extensions replace functions of the program `existing`, which was loaded with types. Each is held by a
    /// `bpf_link` that [`Loader::pin_under`] pins at `dir/links/NAME`; when that goes, the function is back.
    pub fn extend(mut self, existing: Existing) -> Self {
        self.extended = Some(existing);
        self
    }

    /// Lets the program go on with the maps of the one that it replaces. Maps that are pinned are found by their pins.
    pub fn keep_maps(mut self, keep: KeepMaps) -> Self {
        self.keep_maps = keep;
        self
    }

    /// Attaches the program to an interface after loading it. Said again, it attaches it to that one too, and when
    /// one of them refuses, it is detached from the others.
    pub fn attach_to(mut self, target: Target) -> Self {
        self.targets.push(target);
        self
    }

    fn wishes_for(&mut self, map: String) -> &mut Wishes {
        let place = self.place_of_wishes(&map).unwrap_or_else(|place| {
            self.wishes.insert(place, Wishes { map, ..Wishes::default() });
            place
        });
        &mut self.wishes[place]
    }

    fn place_of_wishes(&self, map: &str) -> Result<usize, usize> {
        self.wishes.binary_search_by(|wishes| (*wishes.map).cmp(map))
    }

    /// What is wanted of this map, if anything is.
    fn wishes(&self, map: &str) -> Option<&Wishes> {
        self.place_of_wishes(map).ok().map(|place| &self.wishes[place])
    }

    fn text(&mut self, directory: &Path) -> String {
        self.note_if_not_text(directory);
        text(directory)
    }

    fn note_if_not_text(&mut self, path: &Path) {
        if path.to_str().is_none() {
            self.not_text.get_or_insert_with(|| path.to_owned());
        }
    }

    /// Makes the plan for `kernel`. Asks nobody: the same object, options and kernel give the same plan.
    pub fn plan(&self, kernel: &Kernel) -> Result<Plan> {
        self.refuse_what_does_not_fit()?;
        let (chosen, attached) = self.programs()?;
        self.refuse_extensions_of_nothing(&chosen)?;
        let mut programs = Programs::link(self.object, &chosen)?;
        let relocations = self.relocate(&mut programs.linked)?;
        let externs = self.externs(&programs.linked, kernel)?;
        let data = DataMaps::new(self.object, &programs.linked)?;
        if !self.targets.is_empty() {
            refuse_to_attach(programs.specs[attached.0])?;
        }
        let maps = self.maps()?;
        let wanted =
            if self.keep_maps == KeepMaps::No { Vec::new() } else { self.wanted_maps(&maps.pins, kernel)? };
        let arrays = self.arrays_to_pin(&programs, attached, &maps.pins);
        let specs = programs.specs.clone();

        let mut steps = self.interface_steps(&wanted);
        steps.extend(self.object.btf.as_ref().map(|btf| btf_step(btf, kernel)));
        steps.extend(self.lock_steps(!arrays.is_empty() || maps.pins.iter().any(Option::is_some)));
        steps.extend(self.all_map_steps(&maps, &data, &externs, kernel)?);
        steps.extend(self.all_program_steps(programs, &maps, &data, &externs, kernel)?);
        only_new(&mut steps, &wanted);
        if self.keep_maps == KeepMaps::Copy {
            steps.extend(copy_steps(&wanted));
            steps.extend(self.migrate_pins(&maps.pins, kernel)?);
        }
        if let Some(dir) = &self.pin_dir {
            steps.extend(self.pin_programs(dir, &specs)?);
            steps.extend(self.extension_steps(dir, &specs)?);
        }
        let attach = self.attach_steps(attached, &arrays, &steps)?;
        steps.extend(attach);
        Ok(Plan {
            templates: maps.templates.names().len(),
            maps: maps.names,
            programs: specs.iter().map(|program| program.function.name.clone()).collect(),
            sections: specs.iter().map(|program| program.function.section.clone()).collect(),
            btf: self.object.btf.clone(),
            relocations,
            externs: externs.list(self.object),
            modules: externs.modules,
            attach: self.targets.clone(),
            steps,
        }
        .numbered())
    }

    /// The maps of the plan, by name, and where those of the object are pinned.
    fn maps(&self) -> Result<Maps<'o>> {
        let mut names = self.map_names();
        let templates = Templates::new(&self.object.maps, names.len());
        names.extend(templates.names());
        let mut pins = Vec::with_capacity(self.object.maps.len());
        for map in &self.object.maps {
            pins.push(self.pin_path(map)?);
        }
        refuse_shared_pins(&self.object.maps, &pins)?;
        Ok(Maps { names, templates, pins })
    }

    /// The prog arrays that are pinned while the program is attached. Whoever pins one for good keeps it.
    fn arrays_to_pin(
        &self,
        programs: &Programs<'_>,
        attached: ProgramSlot,
        pins: &[Option<String>],
    ) -> Vec<usize> {
        if self.targets.is_empty() {
            return Vec::new();
        }
        programs.reached_arrays(attached).into_iter().filter(|&map| pins[map].is_none()).collect()
    }

    /// Looks at the interfaces, and at the maps of what runs there.
    fn interface_steps(&self, wanted: &[WantedMap]) -> Vec<Step> {
        let mut steps = Vec::new();
        if !self.targets.is_empty() {
            steps.extend(find_interfaces(&self.targets, &self.bpffs));
        }
        if !wanted.is_empty() {
            steps.extend(find_maps(wanted, self.other_shape()));
        }
        steps
    }

    fn all_map_steps(
        &self,
        maps: &Maps<'_>,
        data: &DataMaps,
        externs: &Externs,
        kernel: &Kernel,
    ) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for slot in creation_order(&self.object.maps) {
            steps.extend(self.map_steps(slot, maps.pins[slot.0].as_deref(), &maps.templates, kernel)?);
        }
        steps.extend(late_inner_map_steps(&self.object.maps, &maps.pins));
        steps.extend(self.data_steps(data, externs, kernel)?);
        Ok(steps)
    }

    fn all_program_steps(
        &self,
        programs: Programs<'_>,
        maps: &Maps<'_>,
        data: &DataMaps,
        externs: &Externs,
        kernel: &Kernel,
    ) -> Result<Vec<Step>> {
        let mut steps: Vec<_> = externs.module_steps().collect();
        if let Some(existing) = &self.extended {
            steps.push(Step::new(Call::OpenExtended { existing: existing.clone() }));
        }
        let fill_arrays = programs.prog_array_steps(&maps.pins);
        let Programs { specs, linked, .. } = programs;
        for (slot, (program, linked)) in specs.iter().zip(linked).enumerate() {
            let binds = self.bind_steps(ProgramSlot(slot), &linked, data, kernel);
            steps.push(self.program_step(ProgramSlot(slot), program, linked, data, externs, kernel)?);
            steps.extend(binds);
        }
        steps.extend(fill_arrays);
        Ok(steps)
    }

    /// Attaches the program to each interface; `before` are the steps that load it.
    fn attach_steps(&self, attached: ProgramSlot, arrays: &[usize], before: &[Step]) -> Result<Vec<Step>> {
        if self.targets.is_empty() {
            return Ok(Vec::new());
        }
        let replaces = self.targets.iter().any(|target| target.replace);
        let unspecified = if replaces { unspecified(before, attached, arrays) } else { Vec::new() };
        let is_bound = |load: &ProgLoad| load.program == attached && load.device == Device::Interface;
        let bound = before.iter().any(|step| matches!(&step.call, Call::ProgLoad(load) if is_bound(load)));
        let mut attach = Vec::new();
        for target in &self.targets {
            let prog_array_pins =
                if arrays.is_empty() { Vec::new() } else { self.prog_array_steps(attached, arrays)? };
            let own = Own { bound, unspecified: &unspecified, prog_array_pins: &prog_array_pins };
            attach.push(Attaching { program: attached, target, bpffs: &self.bpffs, own }.steps());
        }
        let mut steps = at_each(attach);
        if !replaces {
            return Ok(steps);
        }
        let is_locked = before.iter().any(|step| matches!(step.call, Call::Lock { .. }));
        // The prog arrays of this program are in that directory too.
        let last = if arrays.is_empty() { remove_root(&self.bpffs, is_locked) } else { Vec::new() };
        steps.extend(let_go_of_replaced(&self.targets, &self.bpffs, &last));
        Ok(steps)
    }

    /// Waits for other runs, where this one makes pins (for which it `pins_maps`, or others) or must not be disturbed.
    fn lock_steps(&self, pins_maps: bool) -> Vec<Step> {
        let pins_link = self.targets.iter().any(|target| target.link_pin().is_some());
        if pins_maps || pins_link || self.pin_dir.is_some() {
            ensure_bpffs(&self.bpffs).into()
        } else if self.keep_maps == KeepMaps::Copy || self.targets.iter().any(is_by_link) {
            vec![wait_for_others(&self.bpffs)]
        } else {
            Vec::new()
        }
    }

    /// The programs that are asked for, by their indices in the object, and which of them is the one to attach.
    fn programs(&self) -> Result<(Vec<usize>, ProgramSlot)> {
        let named = self.program.as_deref().map(|name| self.object.program(name)).transpose()?;
        let is_named =
            |program: &ProgramSpec| named.is_some_and(|named| named.function.name == program.function.name);
        // With no program to extend, extensions are passed over like programs of other types.
        let is_for_us = |program: &ProgramSpec| {
            (program.extends().is_none() || self.extended.is_some())
                && (!program.is_optional() || is_named(program))
        };
        let programs = &self.object.programs;
        let all: Vec<usize> = (0..programs.len()).filter(|&index| is_for_us(&programs[index])).collect();
        // With nothing to attach there is nothing to choose; where there are but extensions, one says what they lack.
        let first = || match all.first() {
            Some(&index) => programs.get(index),
            None => programs.iter().find(|program| !program.is_optional()),
        };
        let nothing_to_choose = self.all_programs && self.targets.is_empty();
        let chosen = match named.or_else(|| first().filter(|_| nothing_to_choose)) {
            Some(chosen) => chosen,
            None => self.object.only_program()?,
        };
        // The reader of objects refuses two programs of one name.
        let is_chosen = |index: usize| programs[index].function.name == chosen.function.name;
        match all.iter().position(|&index| is_chosen(index)) {
            Some(place) if self.all_programs => Ok((all, ProgramSlot(place))),
            _ => Ok(((0..programs.len()).filter(|&index| is_chosen(index)).collect(), ProgramSlot(0))),
        }
    }

    fn refuse_what_does_not_fit(&self) -> Result<()> {
        if let Some(path) = &self.not_text {
            return Err(not_text(path));
        }
        if self.object.order != ByteOrder::NATIVE {
            let [(found, _), (native, target)] = [self.object.order, ByteOrder::NATIVE].map(endianness);
            let message = format!("expected a {native} object, as this machine is, found a {found} one");
            return Err(Error::malformed("file header", 5, message)
                .with_kind(ErrorKind::Unsupported)
                .with_help(format!("compile with `clang -target {target}`")));
        }
        let sizes = self.wishes.iter().filter(|wishes| wishes.max_entries.is_some());
        let pins = self.wishes.iter().filter(|wishes| wishes.pin.is_some());
        for (Wishes { map: name, .. }, is_size) in sizes.zip(repeat(true)).chain(pins.zip(repeat(false))) {
            if self.object.map(name).is_none() && !(is_size && self.is_template(name)) {
                let maps = quote_each(&mut self.object.maps.iter().map(|map| &*map.name));
                let message = format!("there is no map {}: the object has {maps}", quote(name));
                return Err(Error::new(ErrorKind::InvalidInput, message));
            }
        }
        self.refuse_to_keep_without_replacing()?;
        refuse_targets(&self.targets, &self.bpffs)?;
        if self.is_offload() && self.targets.len() > 1 {
            return Err(several("the program is loaded for one network card"));
        }
        Ok(())
    }

    /// Whether this is the name of a template, which has a size of its own.
    fn is_template(&self, name: &str) -> bool {
        Templates::new(&self.object.maps, 0).names().any(|template| template == name)
    }

    fn is_offload(&self) -> bool {
        self.targets.first().is_some_and(|target| target.mode.first() == Mode::Offload)
    }
}

/// Mounts bpffs where it is not mounted yet, and waits until no other run is busy with pins there.
///
/// A map that another run has pinned may only be taken over when that run has succeeded: after a failure it takes its
/// pins back. Of two that find no bpffs, the second would hide the first one's, so that they wait for each other in the
/// directory below as well. Whoever may not even look into the root of bpffs goes on without.
pub(super) fn ensure_bpffs(bpffs: &str) -> [Step; 2] {
    let path = || bpffs.to_owned();
    let lock = |call| Step::new(call).or(On::Errno(&[EACCES]), Vec::new());
    let find = |otherwise| Step::new(Call::Statfs { path: path() }).or(On::NotBpffs, otherwise);
    let mount = Step::new(Call::MountBpffs { path: path() });
    let mount = vec![lock(Call::LockMountPoint { path: path() }), find(vec![mount])];
    [find(mount), lock(Call::Lock { path: path() })]
}

/// Waits, without making pins, until no other run is busy with them: what is written into a map that is being copied
/// would be lost, and the kernel cannot compare what a detached `bpf_link` holds with what was seen. Where there is no
/// such directory, or none that this user may look into, it goes on without.
pub(super) fn wait_for_others(bpffs: &str) -> Step {
    Step::new(Call::Lock { path: bpffs.to_owned() }).or(On::Errno(&[EACCES, ENOENT]), Vec::new())
}

/// A directory as people and their shells write it, `/sys/fs/bpf/`, without what would double the next slash.
fn text(directory: &Path) -> String {
    directory.to_string_lossy().trim_end_matches('/').to_owned()
}

fn not_text(path: &Path) -> Error {
    let message = format!("path {} is not UTF-8, as all that a plan lists", quote(&path.to_string_lossy()));
    Error::new(ErrorKind::InvalidInput, message)
}

/// What a byte order is called, and clang's target for it.
fn endianness(order: ByteOrder) -> (&'static str, &'static str) {
    match order {
        ByteOrder::Little => ("little-endian", "bpfel"),
        ByteOrder::Big => ("big-endian", "bpfeb"),
    }
}

fn name_for(kernel: &Kernel, symbol: &str) -> Option<ObjName> {
    (kernel.has(Feature::ObjectNames) != Answer::No).then(|| ObjName::from_symbol(symbol))
}

/// How a kernel refuses attributes that it does not know: EINVAL among those that it has room for, E2BIG behind.
pub(in crate::plan) const NEWER: On = On::Errno(&[EINVAL, E2BIG]);

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
