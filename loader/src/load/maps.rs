//! A plan's calls on maps: opening a pinned one, making one, pinning it.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::libc::ENOENT;

use super::{Execution, Outcome};
use crate::error::{Context as _, Error, ErrorKind, Help, Remedy, Result, quote};
use crate::kernel;
use crate::map::compare::{differences, table};
use crate::map::{Map, MapInfo, MapParams};
use crate::object::MapShape;
use crate::pin;
use crate::plan::{MAPS_UNDESCRIBED, MapCreate, MapSlot, OtherShape};

/// What was found at a pin.
pub(super) struct Found {
    fd: OwnedFd,
    path: PathBuf,
}

/// Whether a map that is there already can stand for one that the object asks for.
pub(super) enum Fit {
    /// It can.
    Same,
    /// It has another shape, but its entries are to be copied, and can be.
    Copy,
    /// It has another shape: these fields.
    Other(String),
}

impl Fit {
    pub(super) fn of(wanted: &MapShape, found: &MapInfo, cpus: usize, other_shape: OtherShape) -> Self {
        let differences = differences(wanted, found, cpus);
        if differences.is_empty() {
            return Self::Same;
        }
        if other_shape == OtherShape::Copy && MapShape::from(found).can_be_copied_into(wanted) {
            return Self::Copy;
        }
        let list: Vec<_> = differences.iter().map(ToString::to_string).collect();
        Self::Other(list.join(", "))
    }
}

impl Execution<'_> {
    /// A map that an earlier step of the plan has made or found.
    pub(super) fn map(&self, slot: MapSlot) -> &Map {
        self.slots.maps[slot.0].as_ref().expect("a plan uses a map after the step that makes it")
    }

    pub(super) fn get_map(&mut self, path: &str, slot: MapSlot) -> Result<Outcome> {
        let path = Path::new(path);
        let fd =
            pin::get_in_bpffs(path)?.ok_or_else(|| Error::os("bpf(BPF_OBJ_GET)", pin::show(path), ENOENT))?;
        let outcome = Outcome::Fd(fd.as_raw_fd());
        self.slots.found[slot.0] = Some(Found { fd, path: path.to_owned() });
        Ok(outcome)
    }

    /// Takes over the pinned map, if it is interchangeable with the one that the object asks for.
    pub(super) fn check_shape(
        &mut self,
        slot: MapSlot,
        wanted: &MapShape,
        other_shape: OtherShape,
    ) -> Result<Outcome> {
        let Found { fd, path } = self.slots.found[slot.0]
            .take()
            .expect("a plan asks for a map's shape after it has opened the map");
        let (map, info) = Map::with_info(fd).context(|| format!("pin {}", pin::show(&path)))?;
        let cpus = kernel::possible_cpus()?;
        match Fit::of(wanted, &info, cpus, other_shape) {
            Fit::Same => Ok(self.keep_map(slot, map)),
            Fit::Copy => {
                self.slots.old_maps[slot.0] = Some(map);
                Ok(Outcome::Found("another shape".to_owned()))
            }
            Fit::Other(differences) => {
                let name = quote(&self.plan.maps[slot.0]);
                let message =
                    format!("map {name}: the one at {} has another shape: {differences}", pin::show(&path));
                Err(Error::new(ErrorKind::Mismatch, message)
                    .with_notes(table(wanted, &info, cpus))
                    .with_help(way_out_of_pin(&MapShape::from(&info), wanted, other_shape)))
            }
        }
    }

    pub(super) fn create_map(&mut self, create: &MapCreate) -> Result<Outcome> {
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
            ifindex: self.ifindex_of(create.device),
            map_extra: create.shape.map_extra,
            types: self.types.btf.as_ref().zip(create.types),
        })
        .map_err(|error| self.for_device(error, create.device))
        .map_err(|error| {
            if create.shape.map_type.is_map_in_map() && create.inner.is_none() {
                error.with_help(MAPS_UNDESCRIBED)
            } else {
                error
            }
        })?;
        Ok(self.keep_map(create.map, map))
    }

    pub(super) fn keep_map(&mut self, slot: MapSlot, map: Map) -> Outcome {
        let outcome = Outcome::Fd(map.as_fd().as_raw_fd());
        self.slots.maps[slot.0] = Some(map);
        outcome
    }

    pub(super) fn pin_map(&self, slot: MapSlot, path: &str) -> Result<()> {
        let name = quote(&self.plan.maps[slot.0]);
        pin::pin_in_bpffs(self.map(slot).as_fd(), Path::new(path)).context(|| format!("pinning map {name}"))
    }
}

/// What to do about a pinned map of another shape.
fn way_out_of_pin(found: &MapShape, wanted: &MapShape, other_shape: OtherShape) -> Help {
    if found.can_be_copied_into(wanted) {
        let or = "; or load with the shape that it has, or remove the pin if nobody needs its entries";
        ("", Remedy::CopyMaps { by_pin: true }, or).into()
    } else {
        let otherwise = "load with the shape that it has, or remove the pin if nobody needs its entries";
        match other_shape {
            OtherShape::Copy => format!("{}: {otherwise}", why_not_copied(found, wanted)).into(),
            OtherShape::Refuse => otherwise.into(),
        }
    }
}

/// Why the entries of a map of the shape `found` cannot be copied into one that is wanted.
pub(super) fn why_not_copied(found: &MapShape, wanted: &MapShape) -> &'static str {
    if (found.key_size, found.value_size) == (wanted.key_size, wanted.value_size) {
        "the entries of a map of that type cannot be copied"
    } else {
        "entries of other sizes cannot be copied"
    }
}
