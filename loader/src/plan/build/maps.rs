//! The steps that make, find, pin and fill the maps of an object.

use std::path::Path;

use nix::libc::{EACCES, EEXIST, EINVAL, ENOENT, EOPNOTSUPP, EPERM};

use super::data::arena;
use super::upgrade::copy_steps;
use super::{Loader, NEWER, charged, name_for};
use crate::error::{Context, ENOTSUPP, Error, ErrorKind, Remedy, Result, quote};
use crate::features::{Answer, Feature, Kernel};
use crate::object::{InnerMap, MapDialect, MapShape, MapSpec, Pinning, SlotValue};
use crate::order::twice;
use crate::plan::call::{Adapted, Call, FdValue, Fit, MapCreate, OtherShape, WantedMap};
use crate::plan::pin_path::{beside, check_pin_path};
use crate::plan::slot::MapSlot;
use crate::plan::{On, Step, When};
use crate::uapi::bpf::{BPF_F_INNER_MAP, BPF_F_NO_PREALLOC, BPF_F_NUMA_NODE, MapType, ObjName};

impl Loader<'_> {
    /// Where `map` is to be pinned, if it is.
    pub(super) fn pin_path(&self, map: &MapSpec) -> Result<Option<String>> {
        let path = match (self.wishes(&map.name).and_then(|wishes| wishes.pin.as_ref()), &map.pinning) {
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
                .with_help(("give one: ", Remedy::PinMap { map: name.clone(), bpffs: self.bpffs.clone() })));
            }
        };
        check_pin_path(Path::new(&self.bpffs), Path::new(&path))
            .context(|| format!("map {}", quote(&map.name)))?;
        Ok(Some(path))
    }

    /// Makes the map, or finds it where it is pinned.
    pub(super) fn map_steps(
        &self,
        slot: MapSlot,
        pin: Option<&str>,
        templates: &Templates<'_>,
        kernel: &Kernel,
    ) -> Result<Vec<Step>> {
        let map = &self.object.maps[slot.0];
        let (shape, _) = self.shape(map, kernel)?;
        refuse_shape(map, shape)?;
        refuse_slots_without_room(map, shape)?;
        self.refuse_unlike_inner(map, kernel)?;
        let Some(path) = pin else {
            return if shape.map_type.is_map_in_map() && map.inner.is_none() {
                Err(no_template(map))
            } else {
                self.create_steps(slot, templates, kernel)
            };
        };
        // One of another shape makes room when all else is done.
        let anew = if self.other_shape() == OtherShape::Copy {
            self.anew(slot, path, templates, kernel)?
        } else {
            Vec::new()
        };
        let get = || {
            let info = Step::new(Call::MapInfo { map: slot, wanted: shape, other_shape: self.other_shape() });
            let mut then = vec![info];
            then.extend(anew.clone());
            Step::new(Call::ObjGet { path: path.to_owned(), map: slot }).then(then)
        };
        // Whoever pins first wins; the other takes that map instead of its own.
        let place = Step::new(Call::ObjPin { map: slot, path: path.to_owned() })
            .or(On::Errno(&[EEXIST]), vec![get()]);
        let mut absent = make_parents(path, &self.bpffs);
        absent.extend(self.create_steps(slot, templates, kernel)?);
        absent.push(place);
        Ok(vec![get().or(On::Errno(&[ENOENT]), absent)])
    }

    /// Makes a map beside the pinned one, and pins it there.
    fn anew(
        &self,
        slot: MapSlot,
        path: &str,
        templates: &Templates<'_>,
        kernel: &Kernel,
    ) -> Result<Vec<Step>> {
        let beside = beside(path);
        let pin = || Step::new(Call::ObjPin { map: slot, path: beside.clone() });
        // What is there was left by somebody who was killed.
        let unpin = Step::new(Call::Unlink { path: beside.clone() });
        let mut steps = self.create_steps(slot, templates, kernel)?;
        steps.push(pin().or(On::Errno(&[EEXIST]), vec![unpin, pin()]));
        Ok(steps.into_iter().map(|step| step.when(When::Outgrown(slot))).collect())
    }

    /// Copies the entries of pinned maps of another shape, and then puts the new maps in their places.
    pub(super) fn migrate_pins(&self, pins: &[Option<String>], kernel: &Kernel) -> Result<Vec<Step>> {
        let (mut copies, mut moves) = (Vec::new(), Vec::new());
        for (index, (map, path)) in self.object.maps.iter().zip(pins).enumerate() {
            let Some(path) = path else { continue };
            let slot = MapSlot(index);
            let (shape, _) = self.shape(map, kernel)?;
            let wanted = WantedMap { map: slot, name: ObjName::from_symbol(&map.name), shape };
            copies.extend(copy_steps(&[wanted]).map(|step| step.when(When::Outgrown(slot))));
            let from = beside(path);
            moves.push(
                Step::new(Call::MovePin { map: slot, from, to: path.clone() }).when(When::Outgrown(slot)),
            );
        }
        copies.append(&mut moves);
        Ok(copies)
    }

    /// Makes a map and before it, where it needs one, a template for its values; puts the maps into it that are in it.
    fn create_steps(&self, slot: MapSlot, templates: &Templates<'_>, kernel: &Kernel) -> Result<Vec<Step>> {
        let map = &self.object.maps[slot.0];
        let template = templates.of(slot);
        let mut steps = Vec::new();
        let inner = match (&map.inner, template) {
            (Some(InnerMap::Template(inner)), Some(template)) => {
                steps.push(self.create_step(template, inner, None, kernel)?);
                Some(template)
            }
            (Some(InnerMap::Map(inner)), _) => Some(MapSlot(*inner)),
            _ => None,
        };
        steps.push(self.create_step(slot, map, inner, kernel)?);
        if map.dialect == MapDialect::Btf {
            steps.extend(inner_map_steps(slot, map, false));
        }
        steps.extend(self.arena_step(slot, kernel)?);
        Ok(steps)
    }

    /// The kernel takes no program of an arena that has no address in user space. At one that the definition gives
    /// there is something to do for us only if the arena has variables.
    fn arena_step(&self, slot: MapSlot, kernel: &Kernel) -> Result<Option<Step>> {
        let map = &self.object.maps[slot.0];
        if map.shape.map_type != MapType::ARENA {
            return Ok(None);
        }
        let variables = arena(self.object)?.filter(|&(_, map)| map == slot.0);
        let address = map.shape.map_extra;
        if address != 0 && variables.is_none() {
            return Ok(None);
        }
        let (shape, _) = self.shape(map, kernel)?;
        let page = known(kernel.page_size, &map.name, PAGE_SIZE)?;
        let len = u64::from(shape.max_entries) * u64::from(page);
        let content =
            variables.map_or(Vec::new(), |(variables, _)| self.object.data[variables].content.clone());
        if content.len() as u64 > len {
            let message = format!(
                "arena {} has {len} bytes, too few for the {} bytes of its variables",
                quote(&map.name),
                content.len()
            );
            return Err(Error::malformed(format!("section {}", quote(&map.section)), map.offset, message));
        }
        Ok(Some(Step::new(Call::MapMmap { map: slot, address, len, content })))
    }

    /// Creates a map; if that is refused for want of what only newer kernels have, without it.
    fn create_step(
        &self,
        slot: MapSlot,
        map: &MapSpec,
        inner: Option<MapSlot>,
        kernel: &Kernel,
    ) -> Result<Step> {
        let (shape, adapted) = self.shape(map, kernel)?;
        let create = MapCreate {
            map: slot,
            shape,
            name: name_for(kernel, &map.name),
            numa_node: (shape.flags & BPF_F_NUMA_NODE != 0).then_some(map.numa_node),
            inner,
            types: map.types.filter(|_| takes_types(shape.map_type)),
            device: self.device_of_maps(),
            adapted,
        };
        // Dots in names came with global data.
        let dots = create.name.filter(|name| name.as_str().contains('.')).map(|_| Feature::GlobalData);
        let mut step = charged(&Call::MapCreate(create.clone()), kernel);
        if create.types.is_some() {
            let untyped = MapCreate { types: None, ..create.clone() };
            let again = Step::new(Call::MapCreate(untyped.clone()));
            step = step.or(On::EntryTypes, vec![or_without_name(again, dots, &untyped, kernel)]);
        }
        step = or_without_name(step, Some(Feature::ObjectNames), &create, kernel);
        Ok(or_without_name(step, dots, &create, kernel))
    }

    /// The kernel puts a map into a map of maps only if it is like the one that this was made with
    /// (`bpf_map_meta_equal()` in `kernel/bpf/map_in_map.c`), and says no more than EINVAL.
    fn refuse_unlike_inner(&self, outer: &MapSpec, kernel: &Kernel) -> Result<()> {
        let pattern = match &outer.inner {
            Some(InnerMap::Template(pattern)) => pattern,
            Some(InnerMap::Map(index)) => &self.object.maps[*index],
            None => return Ok(()),
        };
        let (wanted, _) = self.shape(pattern, kernel)?;
        for slot in &outer.slots {
            let SlotValue::Map(index) = slot.value else { continue };
            let inner = &self.object.maps[index];
            let (shape, _) = self.shape(inner, kernel)?;
            if let Some(difference) = difference(shape, wanted) {
                let (inner, outer) = (quote(&inner.name), quote(&outer.name));
                let message =
                    format!("map {inner} does not fit into map {outer}, slot {}: {difference}", slot.key);
                return Err(Error::new(ErrorKind::InvalidInput, message)
                    .with_help("the maps in a map of maps are all of the shape that its `values` describe"));
            }
        }
        Ok(())
    }

    /// The shape that the kernel is asked for, and whether its size had to be changed for that.
    pub(super) fn shape(&self, map: &MapSpec, kernel: &Kernel) -> Result<(MapShape, Option<Adapted>)> {
        let given = self.wishes(&map.name).and_then(|wishes| wishes.max_entries);
        let asked = given.unwrap_or(map.shape.max_entries);
        let adapted = adapt(&map.name, map.shape.map_type, asked, kernel)?;
        let max_entries = adapted.map_or(asked, |adapted| adapted.became);
        let shape = MapShape { max_entries, ..map.shape };
        if shape.map_type == MapType::STRUCT_OPS {
            return Err(struct_ops(map));
        }
        if max_entries == 0 && needs_entries(shape.map_type) {
            let why = if given.is_some() { "max_entries is 0" } else { "the object leaves max_entries 0" };
            return Err(Error::new(
                ErrorKind::InvalidInput,
                format!("map {} has no size: {why}", quote(&map.name)),
            )
            .with_help(("give it: ", Remedy::SetMaxEntries { map: map.name.clone(), enough: None })));
        }
        Ok((shape, adapted))
    }
}

/// The maps that are made only as templates for maps of maps. They come after all other maps.
pub(super) struct Templates<'o> {
    /// The slot of the first.
    first: usize,
    /// The maps of maps that have one, by index, and what it is called.
    outer: Vec<(usize, &'o str)>,
}

impl<'o> Templates<'o> {
    pub(super) fn new(maps: &'o [MapSpec], first: usize) -> Self {
        let outer = maps.iter().enumerate().filter_map(|(index, map)| match &map.inner {
            Some(InnerMap::Template(inner)) => Some((index, &*inner.name)),
            _ => None,
        });
        Self { first, outer: outer.collect() }
    }

    pub(super) fn names(&self) -> impl ExactSizeIterator<Item = String> {
        self.outer.iter().map(|(_, name)| (*name).to_owned())
    }

    /// The template of this map of maps.
    fn of(&self, outer: MapSlot) -> Option<MapSlot> {
        let place = self.outer.binary_search_by_key(&outer.0, |(index, _)| *index).ok()?;
        Some(MapSlot(self.first + place))
    }
}

/// Two maps at one path would become one: the second finds the first there and takes it for its own.
pub(super) fn refuse_shared_pins(maps: &[MapSpec], pins: &[Option<String>]) -> Result<()> {
    let pinned = maps.iter().zip(pins).filter_map(|(map, path)| Some((&*map.name, path.as_deref()?)));
    let (names, paths): (Vec<_>, Vec<_>) = pinned.unzip();
    let Some((second, first)) = twice(&paths) else { return Ok(()) };
    let message = format!(
        "maps {} and {} would both be pinned at {}",
        quote(names[first]),
        quote(names[second]),
        quote(paths[second])
    );
    Err(Error::new(ErrorKind::InvalidInput, message))
}

/// The help where a map of maps has to be made and nothing says what it will hold.
pub(crate) const MAPS_UNDESCRIBED: &str = "describe them by `__array(values, struct INNER)` in `.maps`; or have \
                                           another program make the map, and pin it where this load is to find it";

/// The kernel makes a map of maps only with the fd of a map like those that it will hold.
#[cold]
fn no_template(map: &MapSpec) -> Error {
    let error = Error::malformed(
        format!("section {}", quote(&map.section)),
        map.offset,
        format!(
            "map {} is a map of maps, and this {} definition does not describe those",
            quote(&map.name),
            map.dialect
        ),
    )
    .with_kind(ErrorKind::Unsupported);
    error.with_help(MAPS_UNDESCRIBED)
}

/// Makes the directories between the root of bpffs and the pin, as far as they are missing.
pub(super) fn make_parents(path: &str, bpffs: &str) -> Vec<Step> {
    let inside = path.get(bpffs.len() + 1..).unwrap_or_default();
    let mut steps = Vec::new();
    for (end, _) in inside.match_indices('/') {
        let path = path[..bpffs.len() + 1 + end].to_owned();
        steps.push(Step::new(Call::Mkdir { path }).or(On::Errno(&[EEXIST]), Vec::new()));
    }
    steps
}

/// Templates of maps of maps come first: the outer map is made with the fd of its template.
pub(super) fn creation_order(maps: &[MapSpec]) -> impl Iterator<Item = MapSlot> {
    let outer = |&slot: &usize| maps[slot].inner.is_some();
    let plain = (0..maps.len()).filter(move |slot| !outer(slot));
    plain.chain((0..maps.len()).filter(outer)).map(MapSlot)
}

/// Puts maps into the maps of maps of a dialect that does so even where the outer one was pinned already.
pub(super) fn late_inner_map_steps(maps: &[MapSpec], pins: &[Option<String>]) -> Vec<Step> {
    let mut steps = Vec::new();
    for (index, (map, pin)) in maps.iter().zip(pins).enumerate() {
        if map.dialect != MapDialect::Btf {
            steps.extend(inner_map_steps(MapSlot(index), map, pin.is_some()));
        }
    }
    steps
}

/// How a kernel refuses to tell what is in a map of fds.
const NOT_TOLD: &[i32] = &[EPERM, EACCES, EINVAL, ENOTSUPP, EOPNOTSUPP];

/// Puts a program or a map into a map. What is in one `that_others_use` is put back when a later call fails.
pub(super) fn put_in(map: MapSlot, key: u32, value: FdValue, that_others_use: bool) -> Step {
    let put = |is_new| Step::new(Call::MapUpdate { map, key, value, is_new });
    if !that_others_use {
        return put(false);
    }
    // Not to be told what is there, as by older kernels and without CAP_SYS_ADMIN, is no reason not to load; to have no
    // fd left for it is one.
    Step::new(Call::EntryBefore { map, key, value })
        .then(vec![put(false)])
        .or(On::Errno(&[ENOENT]), vec![put(true)])
        .or(On::Errno(NOT_TOLD), vec![put(false)])
}

/// The step that creates a map; if that is refused and the kernel lacks what the name asks for, another without it.
fn or_without_name(step: Step, asks_for: Option<Feature>, create: &MapCreate, kernel: &Kernel) -> Step {
    match asks_for.filter(|feature| create.name.is_some() && kernel.has(*feature) == Answer::Unknown) {
        Some(feature) => {
            let nameless = Call::MapCreate(MapCreate { name: None, ..create.clone() });
            step.or_lacking(NEWER, feature, vec![charged(&nameless, kernel)])
        }
        None => step,
    }
}

fn inner_map_steps(outer: MapSlot, map: &MapSpec, that_others_use: bool) -> impl Iterator<Item = Step> {
    map.slots.iter().filter_map(move |slot| match slot.value {
        SlotValue::Map(inner) => {
            let value = FdValue::Map(MapSlot(inner));
            Some(put_in(outer, slot.key, value, that_others_use))
        }
        SlotValue::Program(_) | SlotValue::Function { .. } => None,
    })
}

/// What distinguishes a map from the one that a map of maps was made with, as far as the kernel minds it. For arrays
/// the number of entries counts, and before 5.10 for all.
fn difference(shape: MapShape, wanted: MapShape) -> Option<String> {
    let is_counted = wanted.map_type == MapType::ARRAY && wanted.flags & BPF_F_INNER_MAP == 0;
    if shape.map_type != wanted.map_type {
        return Some(format!("it is of type {}, and not {}", shape.map_type, wanted.map_type));
    }
    let numbers = [
        ("key_size", shape.key_size, wanted.key_size),
        ("value_size", shape.value_size, wanted.value_size),
        ("map_flags", shape.flags, wanted.flags),
        ("max_entries", shape.max_entries, wanted.max_entries),
    ];
    let compared = if is_counted { &numbers[..] } else { &numbers[..3] };
    let (what, own, wanted) = compared.iter().find(|(_, own, wanted)| own != wanted)?;
    Some(format!("its {what} is {own}, and not {wanted}"))
}

/// What the kernel refuses of a map with a bare EINVAL (`*_map_alloc_check()` in `kernel/bpf`).
fn refuse_shape(map: &MapSpec, shape: MapShape) -> Result<()> {
    let is_keyed = matches!(
        shape.map_type,
        MapType::HASH
            | MapType::PERCPU_HASH
            | MapType::LRU_HASH
            | MapType::LRU_PERCPU_HASH
            | MapType::HASH_OF_MAPS
            | MapType::LPM_TRIE
    );
    let is_array = matches!(
        shape.map_type,
        MapType::ARRAY
            | MapType::PERCPU_ARRAY
            | MapType::ARRAY_OF_MAPS
            | MapType::PROG_ARRAY
            | MapType::PERF_EVENT_ARRAY
            | MapType::XSKMAP
    );
    // What stands in these are fds, as user space writes them.
    let holds_fds = match shape.map_type {
        MapType::PROG_ARRAY | MapType::PERF_EVENT_ARRAY | MapType::XSKMAP => true,
        _ => map.inner.is_some(),
    };
    let is_btf = map.dialect == MapDialect::Btf;
    let key = if is_btf { "__type(key, ...)" } else { "key_size" };
    let value = if is_btf { "__type(value, ...)" } else { "value_size" };
    let of_four_bytes =
        |field: &str| format!("make `{field}` {}", if is_btf { "an unsigned int" } else { "4" });
    let (lacks, help) = if (is_keyed || is_array) && shape.key_size == 0 {
        ("its definition gives no size of keys".to_owned(), format!("add `{key}` to it"))
    } else if is_array && shape.key_size != 4 {
        let found = shape.key_size;
        (format!("its keys have {found} bytes, and those of an array must have 4"), of_four_bytes(key))
    } else if (is_keyed || is_array)
        && shape.value_size == 0
        && (holds_fds || !shape.map_type.is_map_in_map())
    {
        ("its definition gives no size of values".to_owned(), format!("add `{value}` to it"))
    } else if holds_fds && shape.value_size != 4 {
        let found = shape.value_size;
        (format!("its values have {found} bytes, and those of this type must have 4"), of_four_bytes(value))
    } else if shape.map_type == MapType::LPM_TRIE && shape.flags & BPF_F_NO_PREALLOC == 0 {
        let flag =
            if is_btf { "__uint(map_flags, BPF_F_NO_PREALLOC)" } else { ".map_flags = BPF_F_NO_PREALLOC" };
        ("tries must have the flag BPF_F_NO_PREALLOC".to_owned(), format!("add `{flag}` to its definition"))
    } else if shape.map_extra != 0 && !may_take_extra(shape.map_type) {
        let extra = shape.map_extra;
        (
            format!("its map_extra is {extra:#x}, and this type has none"),
            "remove `map_extra` from it".to_owned(),
        )
    } else {
        return Ok(());
    };
    let message = format!("no kernel makes map {} ({}): {lacks}", quote(&map.name), shape.map_type);
    let error = Error::malformed(format!("section {}", quote(&map.section)), map.offset, message);
    Err(error.with_kind(ErrorKind::Unsupported).with_help(help))
}

/// Whether `map_extra` means something for the type (`map_create()` in `kernel/bpf/syscall.c`), or may for one that is
/// newer than this.
fn may_take_extra(map_type: MapType) -> bool {
    matches!(map_type, MapType::BLOOM_FILTER | MapType::ARENA) || map_type.name().is_none()
}

/// What is put into a map must find room there.
fn refuse_slots_without_room(map: &MapSpec, shape: MapShape) -> Result<()> {
    let filled = match shape.map_type {
        MapType::HASH_OF_MAPS => {
            let filled = u32::try_from(map.slots.len()).unwrap_or(u32::MAX);
            (filled > shape.max_entries).then(|| filled.to_string())
        }
        _ => map
            .slots
            .last()
            .filter(|last| last.key >= shape.max_entries)
            .map(|last| format!("slot {}", last.key)),
    };
    let Some(filled) = filled else { return Ok(()) };
    let (name, room) = (quote(&map.name), shape.max_entries);
    let unit = if room == 1 { "entry" } else { "entries" };
    let message = format!("map {name} has room for {room} {unit}, and the object fills {filled}");
    Err(Error::new(ErrorKind::InvalidInput, message))
}

/// The size that a map of this type gets when `asked` is asked for, as libbpf chooses it; none where it stays.
fn adapt(name: &str, map_type: MapType, asked: u32, kernel: &Kernel) -> Result<Option<Adapted>> {
    let (became, to) = match map_type {
        MapType::PERF_EVENT_ARRAY if asked == 0 => {
            (known(kernel.possible_cpus, name, NUMBER_OF_CPUS)?, Fit::Cpus)
        }
        MapType::RINGBUF | MapType::USER_RINGBUF if asked != 0 => {
            let page = known(kernel.page_size, name, PAGE_SIZE)?;
            (ring_buffer_size(asked, page), Fit::Pages(page))
        }
        _ => return Ok(None),
    };
    Ok((became != asked).then_some(Adapted { asked, became, to }))
}

/// Whether the number of CPUs may decide on the size of the map.
pub(super) fn may_be_sized_by_cpus(map: &MapSpec) -> bool {
    map.shape.map_type == MapType::PERF_EVENT_ARRAY
}

const PAGE_SIZE: &str = "the size of a page";
const NUMBER_OF_CPUS: &str = "the number of possible CPUs";

/// What is known of the machine, where a map's size depends on it.
fn known(value: Option<u32>, map: &str, what: &str) -> Result<u32> {
    value.ok_or_else(|| {
        let message = format!("the size of map {} depends on {what}, which is not known here", quote(map));
        let error = Error::new(ErrorKind::InvalidInput, message);
        if what == NUMBER_OF_CPUS {
            return error.with_help(
                "/sys/devices/system/cpu/possible tells it; without /sys, set the map's max_entries",
            );
        }
        error
    })
}

/// The least power of two of pages that holds `asked` bytes; `asked` itself where that is too big for the field.
fn ring_buffer_size(asked: u32, page: u32) -> u32 {
    let pages = asked.div_ceil(page.max(1));
    pages.checked_next_power_of_two().and_then(|pages| pages.checked_mul(page)).unwrap_or(asked)
}

/// Maps of this type are made of the variables of another section, for another sort of programs.
#[cold]
fn struct_ops(map: &MapSpec) -> Error {
    let message = format!(
        "map {} is of type struct_ops, which is for implementing kernel interfaces, not for XDP programs",
        quote(&map.name)
    );
    Error::malformed(format!("section {}", quote(&map.section)), map.offset, message)
        .with_kind(ErrorKind::Unsupported)
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
