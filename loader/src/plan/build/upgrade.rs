//! The steps of a hot upgrade: the new program goes on with the maps of the one that it replaces.

use super::Loader;
use super::attach::several;
use super::data::arena;
use crate::error::{ENOTSUPP, Error, ErrorKind, Result};
use crate::features::Kernel;
use crate::object::MapShape;
use crate::plan::call::{Call, CopyBy, OtherShape, WantedMap};
use crate::plan::slot::MapSlot;
use crate::plan::{On, Step, When};
use crate::uapi::bpf::{MapType, ObjName};
use nix::libc::{EINTR, EINVAL, EOPNOTSUPP};

/// What becomes of the maps of the program that is replaced.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeepMaps {
    /// The new program has new ones.
    #[default]
    No,
    /// It goes on with those that have the name and the shape of its own. One of another shape is refused.
    Same,
    /// The same, and the entries of one of another shape are copied, if keys and values have the same sizes.
    Copy,
}

impl Loader<'_> {
    /// The maps that are looked for among those of the running program: all that are not found by a pin.
    ///
    /// A prog array is made anew: it holds the programs of its own object. So are the maps of variables, whose places
    /// in them are the compiler's, and an arena that has some.
    pub(super) fn wanted_maps(&self, pins: &[Option<String>], kernel: &Kernel) -> Result<Vec<WantedMap>> {
        let has_variables = arena(self.object)?.map(|(_, arena)| arena);
        let mut kept = Vec::new();
        for (slot, map) in self.object.maps.iter().enumerate() {
            let is_pinned = pins[slot].is_some();
            if !is_pinned && map.shape.map_type != MapType::PROG_ARRAY && Some(slot) != has_variables {
                let name = ObjName::from_symbol(&map.name);
                let (shape, _) = self.shape(map, kernel)?;
                kept.push(WantedMap { map: MapSlot(slot), name, shape });
            }
        }
        Ok(kept)
    }

    /// What becomes of a map of another shape than the object's.
    pub(super) fn other_shape(&self) -> OtherShape {
        if self.keep_maps == KeepMaps::Copy { OtherShape::Copy } else { OtherShape::Refuse }
    }

    pub(super) fn refuse_to_keep_without_replacing(&self) -> Result<()> {
        if self.keep_maps == KeepMaps::No {
            return Ok(());
        }
        match &self.targets[..] {
            [target] if target.replace => return Ok(()),
            [_, _, ..] => return Err(several("a program can keep the maps of one other program only")),
            _ => {}
        }
        let message = "only a program that replaces another can keep its maps";
        Err(Error::new(ErrorKind::InvalidInput, message))
    }
}

/// Opens the maps of the running program.
pub(super) fn find_maps(wanted: &[WantedMap], other_shape: OtherShape) -> [Step; 2] {
    [
        Step::new(Call::RunningMapIds).when(When::Occupied),
        Step::new(Call::OpenRunningMaps { wanted: wanted.to_vec(), other_shape }).when(When::Occupied),
    ]
}

/// Makes, fills and maps into memory only those of the wanted maps that are not kept.
pub(super) fn only_new(steps: &mut [Step], wanted: &[WantedMap]) {
    for step in steps {
        let filled = match &step.call {
            Call::MapCreate(create) => create.map,
            Call::MapUpdate { map, .. } | Call::MapMmap { map, .. } => *map,
            _ => continue,
        };
        if wanted.iter().any(|wanted| wanted.map == filled) {
            step.when = When::New(filled);
        }
    }
}

/// Copies the maps whose entries can be copied.
pub(super) fn copy_steps(wanted: &[WantedMap]) -> impl Iterator<Item = Step> {
    wanted.iter().filter_map(|WantedMap { map, shape, .. }| {
        let copy = |by| Step::new(Call::CopyMap { map: *map, by });
        let step = if shape.map_type.is_map_in_map() {
            copy(CopyBy::InnerMap)
        } else if shape.can_be_copied() {
            // Some types of maps refuse a bulk call.
            copy(CopyBy::Page)
                .or(On::Errno(&[EINVAL, ENOTSUPP, EOPNOTSUPP, EINTR]), vec![copy(CopyBy::Entry)])
        } else {
            return None;
        };
        Some(step.when(When::Copied(*map)))
    })
}

impl MapShape {
    /// Whether its entries are plain bytes, or maps, which another process can read and write. Those of queues go by
    /// being read, those of devmaps, cpumaps and socket maps stand for what only their owner can name.
    pub(crate) fn can_be_copied(&self) -> bool {
        family(self.map_type).is_some()
    }

    /// Whether the entries of a map of this shape can be copied into one of the shape `into`.
    pub(crate) fn can_be_copied_into(&self, into: &Self) -> bool {
        let same_sizes = (self.key_size, self.value_size) == (into.key_size, into.value_size);
        same_sizes && self.can_be_copied() && family(self.map_type) == family(into.map_type)
    }
}

/// The types among which entries can be copied.
fn family(map_type: MapType) -> Option<MapType> {
    match map_type {
        MapType::HASH | MapType::LRU_HASH => Some(MapType::HASH),
        MapType::PERCPU_HASH | MapType::LRU_PERCPU_HASH => Some(MapType::PERCPU_HASH),
        MapType::ARRAY
        | MapType::PERCPU_ARRAY
        | MapType::LPM_TRIE
        | MapType::ARRAY_OF_MAPS
        | MapType::HASH_OF_MAPS => Some(map_type),
        _ => None,
    }
}
