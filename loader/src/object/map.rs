//! Maps: one specification for all dialects, and the door to the reader of each dialect.

use std::fmt;

use super::{File, btf_maps, legacy};
use crate::btf::{Btf, TypeId};
use crate::error::Result;
use crate::uapi::bpf::MapType;

/// In which of the four ways a file defines a map.
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

/// The template of a map whose values are maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InnerMap {
    /// Index of the template in [`Object::maps`](super::Object::maps).
    pub map: usize,
    /// The key of the outer map under which the template itself is put, if it is.
    pub index: Option<u32>,
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
    /// Where to pin it.
    pub pinning: Pinning,
    /// For a map of maps: what its values look like.
    pub inner: Option<InnerMap>,
}

/// Whether a section of this name holds map definitions.
pub(super) fn is_map_section(name: &str) -> bool {
    name == "maps" || name == ".maps" || name.starts_with("maps/")
}

/// Reads all map definitions; `data` is the whole file, whose digest is part of some pin paths.
pub(super) fn parse(file: &File<'_, '_>, btf: Option<&Btf>, data: &[u8]) -> Result<Vec<MapSpec>> {
    let mut maps = Vec::new();
    for section in &file.maps {
        match &*section.name {
            ".maps" => maps.extend(btf_maps::parse(file, btf, section)?),
            "maps" => legacy::parse_maps_section(file, section, data, &mut maps)?,
            name => {
                let name = name.strip_prefix("maps/").unwrap_or(name);
                maps.push(legacy::parse_gobpf(file, section, name)?);
            }
        }
    }
    Ok(maps)
}
