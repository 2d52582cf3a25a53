//! The steps that make the maps of global variables.

use std::collections::BTreeSet;

use nix::libc::EINVAL;

use super::externs::Externs;
use super::{Loader, NEWER, charged};
use crate::btf::TypeId;
use crate::error::{Error, ErrorKind, Result};
use crate::features::{Answer, Feature, Kernel};
use crate::linker::{Linked, MapReference, Referent};
use crate::object::{DataKind, EntryTypes, MapShape, Object};
use crate::order::InOrder as _;
use crate::plan::call::{Call, MapCreate, MapFd, MapSlot, ProgramSlot};
use crate::plan::{On, Step, When};
use crate::uapi::bpf::BPF_F_MMAPABLE;

impl Loader<'_> {
    /// The names of all maps, by [`MapSlot`].
    pub(super) fn map_names(&self) -> Vec<String> {
        let maps = self.object.maps.iter().map(|map| map.name.clone());
        maps.chain(self.object.data.iter().map(|data| data.section.clone())).collect()
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
        for ((index, section), content) in self.object.data.iter().enumerate().zip(contents) {
            let (map, needed) = (data.slot(index), data.needed.contains(&index));
            let name = section.map_name(self.object_name.as_deref());
            let create = MapCreate {
                map,
                shape: section.shape(),
                name: Some(name),
                numa_node: None,
                inner: None,
                types: section.ty.map(|ty| EntryTypes { key: TypeId::VOID, value: ty }),
                offload: self.is_offload(),
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
}

impl Loader<'_> {
    /// Has a program hold the constants to which it does not refer, as libbpf does: bpftool shows them as what the
    /// object says of itself. Older kernels (before 5.10) know no such thing, and nothing hangs on it.
    pub(super) fn bind_steps(
        &self,
        program: ProgramSlot,
        linked: &Linked,
        data: &DataMaps,
        kernel: &Kernel,
    ) -> Vec<Step> {
        let used: BTreeSet<_> =
            linked.map_references.iter().map(|reference| data.map_fd(*reference).map).into_set();
        let constants =
            self.object.data.iter().enumerate().filter(|(_, data)| data.kind == DataKind::ReadOnly);
        constants
            .map(|(section, _)| data.slot(section))
            .filter(|map| !used.contains(map) && kernel.has(Feature::GlobalData) != Answer::No)
            .map(|map| {
                Step::new(Call::ProgBindMap { program, map })
                    .when(When::Made(map))
                    .or(On::AnyErrno, Vec::new())
            })
            .collect()
    }
}

/// The maps of global variables, which come after all maps of the object.
pub(super) struct DataMaps {
    /// How many maps the object has.
    maps: usize,
    /// Those to which the programs to load refer: indices in [`Object::data`].
    needed: BTreeSet<usize>,
}

impl DataMaps {
    pub(super) fn new(object: &Object, programs: &[Linked]) -> Self {
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

    pub(super) fn map_fd(&self, reference: MapReference) -> MapFd {
        let map = match reference.map {
            Referent::Map(map) => MapSlot(map),
            Referent::Data(section) => self.slot(section),
        };
        MapFd { insn: reference.insn, map }
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
