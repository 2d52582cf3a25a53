//! A plan's calls on the maps of the program that is replaced: the new one goes on with them, or with copies.

use std::os::fd::AsFd as _;
use std::path::Path;

use nix::libc::{E2BIG, ENOSPC};

use super::maps::{Fit, why_not_copied};
use super::{Execution, Outcome};
use crate::error::{Context as _, Error, ErrorKind, Help, Remedy, Result, quote, quote_each};
use crate::kernel;
use crate::map::{Map, MapInfo};
use crate::object::MapShape;
use crate::pin;
use crate::plan::{CopyBy, MapSlot, OtherShape, WantedMap};
use crate::uapi::bpf::ObjName;

/// What is known of the maps that are there already.
#[derive(Default)]
pub(super) struct Upgrade {
    /// The maps of the running program, by id.
    running_maps: Vec<u32>,
    /// The maps that the new program has from the running one.
    pub(super) kept: Vec<MapSlot>,
    /// The maps whose entries were copied, and how many.
    pub(super) copied: Vec<(MapSlot, usize)>,
}

impl Execution<'_> {
    pub(super) fn ask_for_map_ids(&mut self) -> Result<Outcome> {
        let (_, running) = self.here().running.as_ref().expect("a plan opens the running program first");
        self.upgrade.running_maps = running.info()?.map_ids;
        Ok(Outcome::Found(format!("maps {:?}", self.upgrade.running_maps)))
    }

    /// Opens the running program's maps one after the other, and takes over those that are wanted.
    pub(super) fn open_running_maps(
        &mut self,
        wanted: &[WantedMap],
        other_shape: OtherShape,
    ) -> Result<Outcome> {
        let cpus = kernel::possible_cpus()?;
        for id in std::mem::take(&mut self.upgrade.running_maps) {
            let (map, info) = Map::from_id_with_info(id)?;
            let Some(wanted) = self.wanted(wanted, &info)? else { continue };
            let slot = wanted.map;
            if self.upgrade.kept.contains(&slot) || self.slots.old_maps[slot.0].is_some() {
                return Err(self.ambiguous(wanted, "the running program has two maps"));
            }
            match Fit::of(&wanted.shape, &info, cpus, other_shape) {
                Fit::Same => {
                    self.slots.maps[slot.0] = Some(map);
                    self.upgrade.kept.push(slot);
                }
                Fit::Copy => self.slots.old_maps[slot.0] = Some(map),
                Fit::Other(differences) => {
                    let name = quote(&self.plan.maps[slot.0]);
                    let message =
                        format!("map {name} of the running program has another shape: {differences}");
                    let error = Error::new(ErrorKind::Mismatch, message);
                    return Err(error.with_help(way_out(&MapShape::from(&info), &wanted.shape)));
                }
            }
        }
        let kept = quote_each(&mut self.upgrade.kept.iter().map(|slot| &*self.plan.maps[slot.0]));
        Ok(Outcome::Found(format!("maps kept: {kept}")))
    }

    /// The map of the plan that has the name of the running program's.
    fn wanted<'w>(&self, wanted: &'w [WantedMap], info: &MapInfo) -> Result<Option<&'w WantedMap>> {
        let mut same = wanted.iter().filter(|map| !info.name.is_empty() && map.name.as_str() == info.name);
        match (same.next(), same.next()) {
            (Some(one), Some(_)) => Err(self.ambiguous(one, "the object has two maps")),
            (found, _) => Ok(found),
        }
    }

    #[cold]
    fn ambiguous(&self, wanted: &WantedMap, who: &str) -> Error {
        let (name, kernel_name) = (quote(&self.plan.maps[wanted.map.0]), quote(wanted.name.as_str()));
        let message = format!(
            "map {name} cannot be told from others: {who} that the kernel calls {kernel_name} (it keeps {} bytes)",
            ObjName::MAX
        );
        Error::new(ErrorKind::Conflict, message).with_help("pin them, so that they are found by their paths")
    }

    /// What is pinned at `from` is the map of a plan that has failed.
    pub(super) fn put_pin_back(&self, slot: MapSlot, from: &str, to: &str) -> Result<()> {
        pin::pin_over(self.map_before(slot).as_fd(), Path::new(from), Path::new(to))
    }

    /// The map of another shape that one of the plan takes the place of.
    pub(super) fn map_before(&self, slot: MapSlot) -> &Map {
        self.slots.old_maps[slot.0].as_ref().expect("a plan copies a map that it has found")
    }

    pub(super) fn copy_map(&mut self, slot: MapSlot, by: CopyBy) -> Result<Outcome> {
        let from = self.map_before(slot);
        let to = self.map(slot);
        let count = match by {
            CopyBy::Page => from.copy_pages(to),
            CopyBy::Entry => from.copy_entries(to),
            CopyBy::InnerMap => from.copy_inner_maps(to),
        }
        .map_err(|error| self.explain_full(error, slot))
        .context(|| format!("copying the entries of map {}", quote(&self.plan.maps[slot.0])))?;
        self.upgrade.copied.push((slot, count));
        Ok(Outcome::Found(format!("{count} entries")))
    }

    /// Says how large the new map may be, where the entries of the old one do not fit into it. To count them would be
    /// calls that no plan has.
    #[cold]
    fn explain_full(&self, error: Error, slot: MapSlot) -> Error {
        let (enough, found) = (self.map_before(slot).max_entries(), self.map(slot).max_entries());
        // Of an LPM trie it is ENOSPC.
        if !matches!(error.errno(), Some(E2BIG | ENOSPC)) || enough <= found {
            return error;
        }
        let map = self.plan.maps[slot.0].clone();
        let remedy = Remedy::SetMaxEntries { map, enough: Some(enough) };
        error.with_help(("", remedy, " has room for as many entries as the old one"))
    }
}

/// What to do about a map of the running program that is not like the one that is wanted.
fn way_out(found: &MapShape, wanted: &MapShape) -> Help {
    if found.can_be_copied_into(wanted) {
        Remedy::CopyMaps { by_pin: false }.into()
    } else {
        (format!("{}: ", why_not_copied(found, wanted)), Remedy::KeepNoMaps).into()
    }
}
