//! The steps that make the maps of global variables.

use std::collections::BTreeSet;

use nix::libc::EINVAL;

use super::{Loader, NEWER, charged};
use crate::error::{Error, ErrorKind, Result};
use crate::features::{Answer, Feature, Kernel};
use crate::linker::{Linked, MapReference, Referent};
use crate::object::{DataKind, MapShape, Object};
use crate::plan::call::{Call, MapCreate, MapFd, MapSlot};
use crate::plan::{On, Step};
use crate::uapi::bpf::BPF_F_MMAPABLE;

impl Loader<'_> {
    /// The names of all maps, by [`MapSlot`].
    pub(super) fn map_names(&self, data: &DataSlots) -> Vec<String> {
        let maps = self.object.maps.iter().map(|map| map.name.clone());
        maps.chain(data.sections.iter().map(|&section| self.object.data[section].section.clone())).collect()
    }

    /// Makes and fills the maps of the global variables.
    pub(super) fn data_steps(&self, data: &DataSlots, kernel: &Kernel) -> Result<Vec<Step>> {
        if !data.sections.is_empty() && kernel.has(Feature::GlobalData) == Answer::No {
            let feature = Feature::GlobalData;
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("the kernel lacks {feature}, which came with Linux {}", feature.since()),
            ));
        }
        let mut steps = Vec::new();
        for &index in &data.sections {
            let (map, section) = (data.slot(index), &self.object.data[index]);
            let name = section.map_name(self.object_name.as_deref());
            let create = MapCreate {
                map,
                shape: section.shape(),
                name: Some(name),
                inner: None,
                offload: self.is_offload(),
            };
            steps.push(create_data_step(create, kernel));
            if section.kind != DataKind::Zero {
                steps.push(Step::new(Call::MapFill { map, content: section.content.clone() }));
            }
            if section.kind == DataKind::ReadOnly {
                steps.push(Step::new(Call::MapFreeze { map }));
            }
        }
        Ok(steps)
    }
}

/// The maps of global variables: those that the programs to load refer to, after all maps of the object.
pub(super) struct DataSlots {
    /// How many maps the object has.
    maps: usize,
    /// Indices in [`Object::data`], in their order.
    sections: BTreeSet<usize>,
}

impl DataSlots {
    pub(super) fn new(object: &Object, programs: &[Linked]) -> Self {
        let references = programs.iter().flat_map(|linked| &linked.map_references);
        let sections = references.filter_map(|reference| match reference.map {
            Referent::Data(section) => Some(section),
            Referent::Map(_) => None,
        });
        Self { maps: object.maps.len(), sections: sections.collect() }
    }

    fn slot(&self, section: usize) -> MapSlot {
        MapSlot(self.maps + self.sections.range(..section).count())
    }

    pub(super) fn map_fd(&self, reference: MapReference) -> MapFd {
        let map = match reference.map {
            Referent::Map(map) => MapSlot(map),
            Referent::Data(section) => self.slot(section),
        };
        MapFd { insn: reference.insn, map }
    }
}

/// Creates a map of global variables; without global data in the kernel there is no way round a refusal. A kernel
/// that has it knows names too.
fn create_data_step(create: MapCreate, kernel: &Kernel) -> Step {
    let flags = create.shape.flags & !BPF_F_MMAPABLE;
    let plain = MapCreate { shape: MapShape { flags, ..create.shape }, ..create.clone() };
    let mmapable = kernel.has(Feature::MmapableArrays);
    let first = if mmapable == Answer::No { plain.clone() } else { create };
    let mut step = charged(&Call::MapCreate(first), kernel);
    if kernel.has(Feature::GlobalData) == Answer::Unknown {
        step = step.or_lacking(NEWER, Feature::GlobalData, Vec::new());
    }
    if mmapable == Answer::Unknown {
        let without = vec![charged(&Call::MapCreate(plain), kernel)];
        step = step.or_lacking(On::Errno(&[EINVAL]), Feature::MmapableArrays, without);
    }
    step
}
