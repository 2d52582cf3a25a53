//! A plan's calls on maps: opening a pinned one, making one, pinning it.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::libc::ENOENT;

use super::{Execution, Outcome};
use crate::error::{Context as _, Error, ErrorKind, Result, quote};
use crate::kernel;
use crate::map::compare::{differences, table};
use crate::map::{Map, MapParams};
use crate::object::MapShape;
use crate::pin;
use crate::plan::{MapCreate, MapSlot, OtherShape};

/// What was found at a pin.
pub(super) struct Found {
    fd: OwnedFd,
    path: PathBuf,
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
        let differences = differences(wanted, &info, kernel::possible_cpus()?);
        let can_be_copied =
            other_shape == OtherShape::Copy && MapShape::from(&info).can_be_copied_into(wanted);
        if !differences.is_empty() && can_be_copied {
            self.slots.old_maps[slot.0] = Some(map);
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
        .map_err(|error| self.for_device(error, create.device))?;
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
fn way_out_of_pin(found: &MapShape, wanted: &MapShape) -> &'static str {
    if found.can_be_copied_into(wanted) {
        "`attach --replace --migrate-maps` copies its entries into a new one; or load with the shape that it has, or \
         remove the pin if nobody needs its entries"
    } else {
        "load with the shape that it has, or remove the pin if nobody needs its entries"
    }
}
