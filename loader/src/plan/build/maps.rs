//! The steps that make, find, pin and fill the maps of an object.

use std::collections::BTreeMap;
use std::path::Path;

use nix::libc::{EEXIST, ENOENT};

use super::{Loader, NEWER, charged, name_for};
use crate::error::{Context, Error, ErrorKind, Result, escape, quote};
use crate::features::{Answer, Feature, Kernel};
use crate::object::{MapShape, MapSpec, Pinning};
use crate::plan::call::{Call, MapCreate, MapSlot};
use crate::plan::pin_path::check_pin_path;
use crate::plan::{On, Step};
use crate::uapi::bpf::MapType;

impl Loader<'_> {
    /// Where `map` is to be pinned, if it is.
    pub(super) fn pin_path(&self, map: &MapSpec) -> Result<Option<String>> {
        let path = match (self.pins.get(&map.name), &map.pinning) {
            (Some(path), _) => path.clone(),
            (None, Pinning::None) => match &self.pin_dir {
                Some(dir) => format!("{dir}/maps/{}", map.name.replace('.', "_")),
                None => return Ok(None),
            },
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

    /// Makes the map, or finds it where it is pinned.
    pub(super) fn map_step(&self, slot: MapSlot, pin: Option<&str>, kernel: &Kernel) -> Result<Step> {
        let map = &self.object.maps[slot.0];
        let shape = self.shape(map)?;
        let create = create_step(
            &MapCreate {
                map: slot,
                shape,
                name: name_for(kernel, &map.name),
                inner: map.inner.map(|inner| MapSlot(inner.map)),
                types: map.types.filter(|_| takes_types(shape.map_type)),
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

    pub(super) fn shape(&self, map: &MapSpec) -> Result<MapShape> {
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
}

/// Two maps at one path would become one: the second finds the first there and takes it for its own.
pub(super) fn refuse_shared_pins(maps: &[MapSpec], pins: &[Option<String>]) -> Result<()> {
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

/// Makes the directories between the root of bpffs and the pin, as far as they are missing.
pub(super) fn make_parents(path: &str, bpffs: &str) -> Vec<Step> {
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
pub(super) fn creation_order(maps: &[MapSpec]) -> impl Iterator<Item = MapSlot> {
    let outer = |&slot: &usize| maps[slot].inner.is_some();
    let plain = (0..maps.len()).filter(move |slot| !outer(slot));
    plain.chain((0..maps.len()).filter(outer)).map(MapSlot)
}

pub(super) fn inner_map_steps(maps: &[MapSpec]) -> impl Iterator<Item = Step> {
    maps.iter().enumerate().filter_map(|(outer, map)| {
        let inner = map.inner?;
        let index = inner.index?;
        Some(Step::new(Call::MapUpdate { outer: MapSlot(outer), index, inner: MapSlot(inner.map) }))
    })
}

/// Whether the kernel lets maps of this type have types for their entries: it refuses them for those whose values it
/// interprets itself (`map_check_btf` of `struct bpf_map_ops`, 6.18).
fn takes_types(map_type: MapType) -> bool {
    !matches!(
        map_type,
        MapType::PERF_EVENT_ARRAY
            | MapType::CGROUP_ARRAY
            | MapType::STACK_TRACE
            | MapType::ARRAY_OF_MAPS
            | MapType::HASH_OF_MAPS
            | MapType::DEVMAP
            | MapType::DEVMAP_HASH
            | MapType::CPUMAP
            | MapType::XSKMAP
            | MapType::SOCKMAP
            | MapType::SOCKHASH
            | MapType::QUEUE
            | MapType::STACK
            | MapType::ARENA
    )
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

/// Creates a map; if that is refused for want of what only newer kernels have, without it.
fn create_step(create: &MapCreate, kernel: &Kernel) -> Step {
    let mut step = charged(&Call::MapCreate(create.clone()), kernel);
    if create.types.is_some() {
        let untyped = MapCreate { types: None, ..create.clone() };
        step = step.or(On::EntryTypes, vec![Step::new(Call::MapCreate(untyped))]);
    }
    if create.name.is_none() || kernel.has(Feature::ObjectNames) != Answer::Unknown {
        return step;
    }
    let nameless = Call::MapCreate(MapCreate { name: None, ..create.clone() });
    step.or_lacking(NEWER, Feature::ObjectNames, vec![charged(&nameless, kernel)])
}
