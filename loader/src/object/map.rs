//! Maps: one specification for all dialects, and the door to the reader of each dialect.

use std::fmt;

use super::{File, ProgramSpec, btf_maps, legacy};
use crate::btf::{Btf, Type, TypeId};
use crate::error::Result;
use crate::order::InOrder as _;
use crate::uapi::bpf::MapType;
use crate::uapi::btf::BtfKind;

/// In which of the four ways a file defines a map.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapDialect {
    /// gobpf: one `struct bpf_map_def` of 280 bytes in a section `maps/<name>`.
    Gobpf,
    /// iproute2: `struct bpf_elf_map` of 36 bytes, or its older and shorter forms, in the section `maps`.
    Iproute2,
    /// libbpf before 1.0: `struct bpf_map_def` of 20 bytes, or longer, in the section `maps`.
    Libbpf,
    /// BTF: a variable whose type describes the map, in the section `.maps`.
    Btf,
}

impl MapDialect {
    /// The name that the program takes and prints.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gobpf => "gobpf",
            Self::Iproute2 => "iproute2",
            Self::Libbpf => "libbpf",
            Self::Btf => "btf",
        }
    }
}

impl fmt::Display for MapDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Where a map is to be pinned, so that it outlives its programs and the next load finds it again.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pinning {
    /// Not pinned.
    None,
    /// At this path below the root of bpffs.
    Path(String),
    /// Under its own name in the directory that the caller chooses (`LIBBPF_PIN_BY_NAME`).
    ByName,
    /// At a path that only the caller knows: gobpf's `PIN_CUSTOM_NS`, iproute2's numbers from its own table.
    CallerPath {
        /// The number in the definition.
        pinning: u32,
    },
}

/// What the values of a map of maps look like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InnerMap {
    /// As this map of the object does, by its index in [`Object::maps`](super::Object::maps).
    Map(usize),
    /// As this definition says, which is called `<outer map>.inner`. A map of it is made for the outer one's sake only.
    Template(Box<MapSpec>),
}

/// What the file puts into a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotSpec {
    /// The key.
    pub key: u32,
    /// The value.
    pub value: SlotValue,
}

/// The value of an entry that the file gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotValue {
    /// In a map of maps: this map, by its index in [`Object::maps`](super::Object::maps).
    Map(usize),
    /// In a prog array: this program, by its index in [`Object::programs`](super::Object::programs).
    Program(usize),
    /// In a prog array: a function that is no XDP program by its section.
    Function {
        /// The function's symbol.
        name: String,
        /// The section it is in.
        section: String,
    },
}

/// The numbers that make two maps interchangeable: an old map serves in a new one's place if they agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapShape {
    /// What sort of map it is.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value, on each CPU for a per-CPU map.
    pub value_size: u32,
    /// How many entries it can hold; bytes for a ring buffer.
    pub max_entries: u32,
    /// Flags of `BPF_MAP_CREATE`, see [`MAP_FLAGS`](crate::uapi::bpf::MAP_FLAGS).
    pub flags: u32,
    /// Means something else for each type: how many hash functions a bloom filter has (0 for the kernel's choice), the
    /// address of an arena (0 for any).
    pub map_extra: u64,
}

/// What the entries of a map are, in the types of [`Object::btf`](super::Object::btf).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryTypes {
    /// The type of the keys; `void` for a section of variables.
    pub key: TypeId,
    /// The type of the values.
    pub value: TypeId,
}

/// A map as the file defines it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapSpec {
    /// The symbol's name; for gobpf the name of the section after `maps/`.
    pub name: String,
    /// How the file defines it.
    pub dialect: MapDialect,
    /// The section of the definition.
    pub section: String,
    /// Where the definition begins in its section, in bytes: by this place instructions refer to the map.
    pub offset: u64,
    /// Its type, sizes and flags.
    pub shape: MapShape,
    /// The types of its keys and values, where the file tells both.
    pub types: Option<EntryTypes>,
    /// The NUMA node whose memory it takes. The kernel minds it only with `BPF_F_NUMA_NODE` in the flags.
    pub numa_node: u32,
    /// Where to pin it.
    pub pinning: Pinning,
    /// For a map of maps: what its values look like.
    pub inner: Option<InnerMap>,
    /// What the file puts into it, in the order of the keys.
    pub slots: Vec<SlotSpec>,
}

/// Whether a section of this name holds map definitions.
pub(super) fn is_map_section(name: &str) -> bool {
    name == "maps" || name == ".maps" || name.starts_with("maps/")
}

/// Reads all map definitions; `data` is the whole file, whose digest is part of some pin paths. The definitions may
/// name `programs`.
pub(super) fn parse(
    file: &File<'_, '_>,
    btf: Option<&Btf>,
    data: &[u8],
    programs: &[ProgramSpec],
) -> Result<Vec<MapSpec>> {
    let mut maps = Vec::new();
    for section in &file.maps {
        match &*section.name {
            ".maps" => {
                let first = maps.len();
                maps.extend(btf_maps::parse(file, btf, section, programs, first)?);
            }
            "maps" => legacy::parse_maps_section(file, section, data, programs, &mut maps)?,
            name => {
                let name = name.strip_prefix("maps/").unwrap_or(name);
                maps.push(legacy::parse_gobpf(file, section, name)?);
            }
        }
    }
    if let Some(btf) = btf.filter(|_| maps.iter().any(|map| map.dialect != MapDialect::Btf)) {
        annotate(btf, &mut maps);
    }
    Ok(maps)
}

/// Gives maps of the dialects without types those that the file annotates them with: the members `key` and `value` of a
/// struct `____btf_map_<name>` (`BPF_ANNOTATE_KV_PAIR` of libbpf before 1.0 and of iproute2). Like those, an annotation
/// of other sizes is passed over.
fn annotate(btf: &Btf, maps: &mut [MapSpec]) {
    let annotation = |(id, ty): (TypeId, &Type)| {
        let name = if ty.shape.kind() == BtfKind::STRUCT { btf.text(ty.name).ok()? } else { return None };
        Some((name.strip_prefix("____btf_map_")?, id))
    };
    let annotations: Vec<_> = btf.types().filter_map(annotation).collect();
    let annotations = annotations.into_iter().rev().into_lookup();
    for map in maps.iter_mut().filter(|map| map.dialect != MapDialect::Btf) {
        let annotation = annotations.get(&map.name);
        map.types = annotation.and_then(|&annotation| entry_types(btf, annotation, map.shape));
    }
}

/// The types of the members `key` and `value` of a struct, if a map of this shape has keys and values of their sizes.
fn entry_types(btf: &Btf, annotation: TypeId, shape: MapShape) -> Option<EntryTypes> {
    let members = btf.members(annotation).ok()?;
    let member = |name: &str, size: u32| {
        let found = members.iter().find(|member| btf.text(member.name).is_ok_and(|text| text == name))?;
        (btf.size_of(found.ty).ok()? == size).then_some(found.ty)
    };
    Some(EntryTypes { key: member("key", shape.key_size)?, value: member("value", shape.value_size)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::builder::Builder;
    use crate::bytes::ByteOrder;

    #[test]
    fn an_annotation_gives_types_where_its_sizes_are_the_maps() {
        let mut b = Builder::new(ByteOrder::Little);
        let (int, long) = (b.int("int", 4, 1), b.int("long", 8, 1));
        let annotation = b.map_def("____btf_map_m", &[("key", int), ("value", long)]);
        let btf = b.parse().unwrap();
        let types = |key_size, value_size| {
            entry_types(&btf, annotation, MapShape { key_size, value_size, ..MapShape::default() })
        };
        assert_eq!(types(4, 8), Some(EntryTypes { key: int, value: long }));
        assert_eq!((types(4, 4), types(8, 8)), (None, None));
    }
}
