//! The steps that make the maps of global variables.

use nix::libc::EINVAL;

use super::externs::Externs;
use super::{Loader, NEWER, charged};
use crate::btf::TypeId;
use crate::error::{Error, ErrorKind, Result, quote};
use crate::features::{Answer, Feature, Kernel};
use crate::linker::{Linked, MapReference, Referent};
use crate::object::{DataKind, EntryTypes, MapShape, MapSpec, Object};
use crate::order::InOrder as _;
use crate::plan::call::{Call, MapCreate, MapFd};
use crate::plan::slot::{MapSlot, ProgramSlot};
use crate::plan::{On, Step, When};
use crate::uapi::bpf::{BPF_F_MMAPABLE, BPF_F_SEGV_ON_FAULT, MapType};

impl Loader<'_> {
    /// The names of all maps, by [`MapSlot`].
    pub(super) fn map_names(&self) -> Vec<String> {
        let maps = self.object.maps.iter().map(|map| map.name.clone());
        let data = self.object.data.iter().filter(|data| data.kind != DataKind::Arena);
        maps.chain(data.map(|data| data.section.clone())).collect()
    }

    /// Makes and fills the maps of the global variables.
    pub(super) fn data_steps(
        &self,
        data: &DataMaps,
        externs: &Externs,
        kernel: &Kernel,
    ) -> Result<Vec<Step>> {
        let (contents, feature) = (self.contents()?, Feature::GlobalData);
        if kernel.has(feature) == Answer::No {
            if data.needed.is_empty() {
                return Ok(Vec::new());
            }
            return Err(Error::new(ErrorKind::Unsupported, feature.lacking()));
        }
        let mut steps = Vec::new();
        let sections = self.object.data.iter().enumerate().zip(contents);
        for ((index, section), content) in sections.filter(|((_, data), _)| data.kind != DataKind::Arena) {
            let (map, needed) = (data.slot(index), data.needed.binary_search(&index).is_ok());
            let name = section.map_name(self.object_name.as_deref());
            let create = MapCreate {
                map,
                shape: section.shape(),
                name: Some(name),
                numa_node: None,
                inner: None,
                types: section.ty.map(|ty| EntryTypes { key: TypeId::VOID, value: ty }),
                device: self.device_of_maps(),
                adapted: None,
            };
            let when = if needed { When::Always } else { When::Made(map) };
            steps.push(create_data_step(&create, needed, kernel));
            if section.kind != DataKind::Zero {
                let content = match section.kind {
                    DataKind::Kconfig => externs.options(section.size),
                    _ => content,
                };
                steps.push(Step::new(Call::MapFill { map, content }).when(when));
            }
            if section.kind.is_read_only() {
                steps.push(Step::new(Call::MapFreeze { map }).when(when));
            }
        }
        Ok(steps)
    }

    /// Has a program hold the constants to which it does not refer, as libbpf does: bpftool shows them as what the
    /// object says of itself. Older kernels (before 5.10) know no such thing, and nothing hangs on it.
    pub(super) fn bind_steps(
        &self,
        program: ProgramSlot,
        linked: &Linked,
        data: &DataMaps,
        kernel: &Kernel,
    ) -> Vec<Step> {
        let used = linked.map_references.iter().map(|reference| data.map_fd(*reference).map).into_set();
        let mut steps = Vec::new();
        for (section, spec) in self.object.data.iter().enumerate() {
            let map = data.slot(section);
            let is_unused = spec.kind == DataKind::ReadOnly && used.binary_search(&map).is_err();
            if is_unused && kernel.has(Feature::GlobalData) != Answer::No {
                let bind = Step::new(Call::ProgBindMap { program, map }).when(When::Made(map));
                steps.push(bind.or(On::AnyErrno, Vec::new()));
            }
        }
        steps
    }
}

/// The maps of global variables, which come after all maps of the object.
pub(super) struct DataMaps {
    /// How many maps the object has.
    maps: usize,
    /// Those to which the programs to load refer: indices in [`Object::data`].
    needed: Vec<usize>,
    /// The index in [`Object::data`] of the variables that are in an arena, and that of the arena.
    arena: Option<(usize, usize)>,
}

impl DataMaps {
    pub(super) fn new(object: &Object, programs: &[Linked]) -> Result<Self> {
        let references = programs.iter().flat_map(|linked| &linked.map_references);
        let needed = references.filter_map(|reference| match reference.map {
            Referent::Data(section) => Some(section),
            Referent::Map(_) => None,
        });
        Ok(Self { maps: object.maps.len(), needed: needed.into_set(), arena: arena(object)? })
    }

    fn slot(&self, section: usize) -> MapSlot {
        match self.arena {
            Some((variables, map)) if variables == section => MapSlot(map),
            // These have no number of their own.
            Some((variables, _)) if variables < section => MapSlot(self.maps + section - 1),
            _ => MapSlot(self.maps + section),
        }
    }

    pub(super) fn map_fd(&self, reference: MapReference) -> MapFd {
        let map = match reference.map {
            Referent::Map(map) => MapSlot(map),
            Referent::Data(section) => self.slot(section),
        };
        MapFd { insn: reference.insn, map }
    }
}

/// The variables that are in an arena, and the arena: which of [`Object::data`] and of [`Object::maps`].
///
/// We have them at its beginning, as libbpf 1.7 does on kernels that let a load name only the first half gigabyte of a
/// map (`obj->arena_data_off`). On newer ones it has them at the end; a program's tag knows nothing of either.
pub(super) fn arena(object: &Object) -> Result<Option<(usize, usize)>> {
    let mut variables = object.data.iter().enumerate().filter(|(_, data)| data.kind == DataKind::Arena);
    let Some((index, data)) = variables.next() else { return Ok(None) };
    let is_arena = |(_, map): &(usize, &MapSpec)| map.shape.map_type == MapType::ARENA;
    let mut arenas = object.maps.iter().enumerate().filter(is_arena);
    let refused = |message: String| {
        let message = format!("expected {message}");
        Error::malformed(format!("section {}", quote(&data.section)), 0, message)
            .with_kind(ErrorKind::Unsupported)
    };
    match (arenas.next(), arenas.next()) {
        (Some((map, arena)), None) => {
            // User space is to write to pages that are not there yet.
            if arena.shape.flags & BPF_F_SEGV_ON_FAULT == 0 {
                return Ok(Some((index, map)));
            }
            let name = quote(&arena.name);
            Err(refused(format!(
                "an arena without BPF_F_SEGV_ON_FAULT for its variables, found {name} with it"
            ))
            .with_help("leave out that flag, or declare the variables without `__arena`"))
        }
        (Some((_, one)), Some((_, other))) => {
            let [one, other] = [one, other].map(|map| quote(&map.name));
            Err(refused(format!("one arena for its variables, found {one} and {other}"))
                .with_help("declare one, since nothing says in which of them the variables are"))
        }
        (None, _) => Err(refused("an arena for its variables, found none".to_owned())
            .with_help("declare a map of type BPF_MAP_TYPE_ARENA in `.maps`")),
    }
}

/// Creates a map of global variables. Where programs need it there is no way round global data in the kernel; one that
/// no program needs is left out by older kernels. A kernel that has global data knows names too.
fn create_data_step(create: &MapCreate, needed: bool, kernel: &Kernel) -> Step {
    let flags = create.shape.flags & !BPF_F_MMAPABLE;
    let plain = MapCreate { shape: MapShape { flags, ..create.shape }, ..create.clone() };
    let or_go_on = |step: Step| if needed { step } else { step.or(NEWER, Vec::new()) };
    let mmapable = kernel.has(Feature::MmapableArrays);
    let first = if mmapable == Answer::No { plain.clone() } else { create.clone() };
    let mut step = charged(&Call::MapCreate(first), kernel);
    if needed && kernel.has(Feature::GlobalData) == Answer::Unknown {
        step = step.or_lacking(NEWER, Feature::GlobalData, Vec::new());
    }
    if mmapable == Answer::Unknown {
        let without = vec![or_go_on(charged(&Call::MapCreate(plain), kernel))];
        step = step.or_lacking(On::Errno(&[EINVAL]), Feature::MmapableArrays, without);
    }
    if create.types.is_some() {
        let untyped = MapCreate { types: None, ..create.clone() };
        step = step.or(On::EntryTypes, vec![or_go_on(Step::new(Call::MapCreate(untyped)))]);
    }
    or_go_on(step)
}
