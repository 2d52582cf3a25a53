//! The three dialects without type information: gobpf's, iproute2's and the old one of libbpf.
//!
//! Each is an array of C structures of `__u32`. All begin alike: type, key size, value size, entries, flags.
//! gobpf's stands alone in a section of its own; the other two share the section `maps`, where the distance
//! between two symbols is the size of the structure, and that size tells which it is.

use std::ops::Range;

use sha1_smol::Sha1;

use super::{
    File, InnerMap, MapDialect, MapShape, MapSpec, Pinning, ProgramSpec, SlotSpec, SlotValue, tail_calls,
};
use crate::bytes::Bytes;
use crate::elf::{Section, Symbol};
use crate::error::{Error, ErrorKind, Remedy, Result, quote};
use crate::uapi::bpf::MapType;
use crate::uapi::elf::{SymbolBinding, SymbolType};

/// Bytes of gobpf's `bpf_map_def`: six `__u32` and a name of 256 bytes.
const GOBPF_SIZE: usize = 280;
const GOBPF_NAMESPACE: usize = 24;
/// Bytes of iproute2's `bpf_elf_map`: nine `__u32`.
const IPROUTE2_SIZE: usize = 36;
/// Bytes of iproute2's shortest form: type and sizes only.
const IPROUTE2_MIN_SIZE: usize = 16;
/// Bytes of libbpf's `bpf_map_def`: the five fields that all dialects begin with.
const LIBBPF_SIZE: usize = 20;

/// `pinning` of both gobpf and iproute2.
const PIN_NONE: u32 = 0;
const PIN_OBJECT_NS: u32 = 1;
const PIN_GLOBAL_NS: u32 = 2;
/// `pinning` of gobpf alone.
const PIN_CUSTOM_NS: u32 = 3;

/// Reads the one definition in the gobpf section `maps/<name>`.
pub(super) fn parse_gobpf(file: &File<'_, '_>, section: &Section<'_>, name: &str) -> Result<MapSpec> {
    let bytes = file.elf.data(section)?;
    if bytes.len() != GOBPF_SIZE {
        return Err(bytes.error(
            0,
            format!(
                "expected one bpf_map_def of {GOBPF_SIZE} bytes as gobpf defines it, found {} bytes",
                bytes.len()
            ),
        ));
    }
    if name.is_empty() {
        return Err(bytes.error(0, "expected a name after `maps/`, found none"));
    }
    Ok(MapSpec {
        pinning: gobpf_pinning(&bytes, name)?,
        ..common_fields(&bytes, section, 0..GOBPF_SIZE, MapDialect::Gobpf, name)?
    })
}

/// gobpf pins to `<namespace>/globals/<map>` or to a path that its caller gives (`elf/pinning.go`).
fn gobpf_pinning(bytes: &Bytes<'_>, name: &str) -> Result<Pinning> {
    match bytes.u32(20, "pinning")? {
        PIN_NONE => Ok(Pinning::None),
        PIN_GLOBAL_NS => {
            // gobpf reads the name with strnlen: without a NUL it takes the whole array.
            let array = bytes.slice(GOBPF_NAMESPACE, GOBPF_SIZE - GOBPF_NAMESPACE, "namespace")?;
            let namespace =
                String::from_utf8_lossy(array.split(|&byte| byte == 0).next().unwrap_or_default());
            if namespace.is_empty() {
                return Err(
                    bytes.error(GOBPF_NAMESPACE, "expected a namespace for PIN_GLOBAL_NS, found none")
                );
            }
            Ok(Pinning::Path(format!("{namespace}/globals/{name}")))
        }
        pinning @ PIN_CUSTOM_NS => Ok(Pinning::CallerPath { pinning }),
        PIN_OBJECT_NS => Err(bytes
            .error(
                20,
                "expected a way of pinning that gobpf has, found PIN_OBJECT_NS (1), which it only declares",
            )
            .with_kind(ErrorKind::Unsupported)),
        other => Err(bytes.error(20, format!("expected pinning from 0 to 3, found {other}"))),
    }
}

/// Whether the section `maps` is in iproute2's dialect.
pub(super) fn is_iproute2(file: &File<'_, '_>, section: &Section<'_>) -> bool {
    layout(file, section).is_ok_and(|(_, _, dialect)| dialect == MapDialect::Iproute2)
}

/// The symbols of the definitions in the section `maps`, the size of each, and the dialect.
fn layout<'f>(
    file: &'f File<'_, '_>,
    section: &Section<'_>,
) -> Result<(Vec<&'f Symbol<'f>>, usize, MapDialect)> {
    let bytes = file.elf.data(section)?;
    let symbols: Vec<_> =
        file.symbols_in(section.index).into_iter().filter(|symbol| names_a_map(symbol)).collect();
    let size = definition_size(&bytes, &symbols)?;
    let dialect = dialect(file, &bytes, size)?;
    Ok((symbols, size, dialect))
}

/// Reads the section `maps` of iproute2's or libbpf's dialect and adds its maps to `maps`. In iproute2's, sections of
/// `programs` name them.
pub(super) fn parse_maps_section(
    file: &File<'_, '_>,
    section: &Section<'_>,
    data: &[u8],
    programs: &[ProgramSpec],
    maps: &mut Vec<MapSpec>,
) -> Result<()> {
    let bytes = file.elf.data(section)?;
    let (symbols, size, dialect) = layout(file, section)?;
    let first = maps.len();
    let mut tails = Vec::with_capacity(symbols.len());
    for (position, symbol) in symbols.iter().enumerate() {
        let at = position * size;
        if symbol.value != at as u64 {
            return Err(bytes.error(
                at,
                format!(
                    "expected a map symbol every {size} bytes, found {} at {:#x}",
                    quote(&symbol.name),
                    symbol.value
                ),
            ));
        }
        let map = common_fields(&bytes, section, at..at + size, dialect, &symbol.name)?;
        match dialect {
            MapDialect::Iproute2 => {
                let tail = Iproute2Tail::parse(&bytes, at, size)?;
                let pinning = tail.pinning(&map.name, data);
                maps.push(MapSpec { pinning, ..map });
                tails.push(tail);
            }
            _ => maps.push(map),
        }
    }
    resolve_inner_maps(&bytes, size, &tails, first, maps)?;
    let ids: Vec<_> = tails.iter().map(|tail| tail.id).collect();
    if dialect == MapDialect::Iproute2 {
        tail_calls::fill(programs, &ids, &mut maps[first..])
    } else {
        Ok(())
    }
}

fn names_a_map(symbol: &Symbol<'_>) -> bool {
    let local_label = symbol.kind == SymbolType::NOTYPE && symbol.binding == SymbolBinding::LOCAL;
    matches!(symbol.kind, SymbolType::OBJECT | SymbolType::NOTYPE) && !local_label && !symbol.name.is_empty()
}

/// The size of one definition: that of the section, shared evenly among its symbols.
fn definition_size(bytes: &Bytes<'_>, symbols: &[&Symbol<'_>]) -> Result<usize> {
    if symbols.is_empty() {
        return Err(bytes.error(0, "expected a symbol for each map, found none"));
    }
    let size = bytes.len() / symbols.len();
    if bytes.len() % symbols.len() != 0 || size % 4 != 0 || size < IPROUTE2_MIN_SIZE {
        let plural = if symbols.len() == 1 { "" } else { "s" };
        return Err(bytes.error(
            0,
            format!(
                "expected map definitions of one size, {IPROUTE2_MIN_SIZE} bytes or more, \
                 found {} bytes for {} map{plural}",
                bytes.len(),
                symbols.len()
            ),
        ));
    }
    Ok(size)
}

/// Which dialect definitions of `size` bytes are in. What the caller says goes first.
fn dialect(file: &File<'_, '_>, bytes: &Bytes<'_>, size: usize) -> Result<MapDialect> {
    match (file.options.maps_dialect, size) {
        (Some(MapDialect::Iproute2), IPROUTE2_MIN_SIZE..=IPROUTE2_SIZE)
        | (None, IPROUTE2_SIZE | IPROUTE2_MIN_SIZE) => Ok(MapDialect::Iproute2),
        (Some(MapDialect::Libbpf), LIBBPF_SIZE..) => Ok(MapDialect::Libbpf),
        (Some(asked), _) => {
            let sizes = match asked {
                MapDialect::Iproute2 => "of 16 to 36 bytes each",
                MapDialect::Libbpf => "of 20 bytes or more each",
                MapDialect::Gobpf | MapDialect::Btf => "in another section",
            };
            let message = format!("expected definitions in the {asked} dialect {sizes}, found {size} bytes");
            Err(bytes.error(0, message))
        }
        (None, _) => refuse_filled_tails(bytes, size).map(|()| MapDialect::Libbpf),
    }
}

/// Definitions longer than libbpf's are its own with fields that it does not know, which it takes when they are
/// zero; or a form of iproute2's without its last fields. Filled ones are not for us to guess.
fn refuse_filled_tails(bytes: &Bytes<'_>, size: usize) -> Result<()> {
    for at in (0..bytes.len()).step_by(size) {
        let tail = bytes.slice(at + LIBBPF_SIZE, size - LIBBPF_SIZE, "the end of a map definition")?;
        if let Some(filled) = tail.chunks(4).position(|field| field != [0; 4]) {
            return Err(bytes
                .error(
                    at + LIBBPF_SIZE + 4 * filled,
                    format!(
                        "expected zeros after the {LIBBPF_SIZE} bytes that libbpf defines, found more fields"
                    ),
                )
                .with_help(("say whose dialect it is: ", Remedy::SayMapsDialect)));
        }
    }
    Ok(())
}

/// The five fields that all three dialects begin with; the shortest form of iproute2's has no flags.
fn common_fields(
    bytes: &Bytes<'_>,
    section: &Section<'_>,
    definition: Range<usize>,
    dialect: MapDialect,
    name: &str,
) -> Result<MapSpec> {
    let at = definition.start;
    if bytes.u32(at, "the map's type")? == MapType::UNSPEC.0 {
        return Err(no_type(bytes, definition, name));
    }
    let flags = if definition.len() >= LIBBPF_SIZE { bytes.u32(at + 16, "map_flags")? } else { 0 };
    Ok(MapSpec {
        name: name.to_owned(),
        dialect,
        section: section.name.clone().into_owned(),
        offset: at as u64,
        shape: MapShape {
            map_type: MapType(bytes.u32(at, "the map's type")?),
            key_size: bytes.u32(at + 4, "key_size")?,
            value_size: bytes.u32(at + 8, "value_size")?,
            max_entries: bytes.u32(at + 12, "max_entries")?,
            flags,
            map_extra: 0,
        },
        types: None,
        numa_node: 0,
        pinning: Pinning::None,
        inner: None,
        slots: Vec::new(),
    })
}

/// A definition that is read by its types has only zeros.
#[cold]
fn no_type(bytes: &Bytes<'_>, definition: Range<usize>, name: &str) -> Error {
    let message = format!("expected a type for map {}, found 0 (BPF_MAP_TYPE_UNSPEC)", quote(name));
    let error = bytes.error(definition.start, message);
    if bytes.data()[definition].iter().any(|&byte| byte != 0) {
        return error;
    }
    error.with_help(
        "a definition that is written with `__uint` and `__type` belongs in SEC(\".maps\"), with the dot",
    )
}

/// The fields that only `bpf_elf_map` has. A shorter form means zeros.
struct Iproute2Tail {
    id: u32,
    pinning: u32,
    inner_id: u32,
    inner_index: u32,
}

impl Iproute2Tail {
    fn parse(bytes: &Bytes<'_>, at: usize, size: usize) -> Result<Self> {
        let field =
            |offset: usize, name: &str| if offset < size { bytes.u32(at + offset, name) } else { Ok(0) };
        Ok(Self {
            id: field(20, "id")?,
            pinning: field(24, "pinning")?,
            inner_id: field(28, "inner_id")?,
            inner_index: field(32, "inner_idx")?,
        })
    }

    /// iproute2 pins XDP maps below `xdp/`, by the object file's SHA-1 or for all objects (`lib/bpf_legacy.c`).
    fn pinning(&self, name: &str, data: &[u8]) -> Pinning {
        match self.pinning {
            PIN_NONE => Pinning::None,
            PIN_OBJECT_NS => Pinning::Path(format!("xdp/{}/{name}", Sha1::from(data).digest())),
            PIN_GLOBAL_NS => Pinning::Path(format!("xdp/globals/{name}")),
            pinning => Pinning::CallerPath { pinning },
        }
    }
}

/// Turns the `inner_id` of maps of maps into the index of the map with that `id`.
fn resolve_inner_maps(
    bytes: &Bytes<'_>,
    size: usize,
    tails: &[Iproute2Tail],
    first: usize,
    maps: &mut [MapSpec],
) -> Result<()> {
    for (position, tail) in tails.iter().enumerate() {
        let outer = &maps[first + position];
        if !outer.shape.map_type.is_map_in_map() {
            continue;
        }
        let Some(inner) = tails.iter().position(|other| other.id == tail.inner_id && tail.inner_id != 0)
        else {
            return Err(no_inner_map(bytes, position * size, outer, tail.inner_id));
        };
        let template = &maps[first + inner];
        if template.shape.map_type.is_map_in_map() {
            return Err(bytes.error(
                position * size,
                format!("expected map {} to hold plain maps, found maps of maps", quote(&outer.name)),
            ));
        }
        let outer = &mut maps[first + position];
        outer.inner = Some(InnerMap::Map(first + inner));
        // -1 keeps the template out of the outer map.
        if tails[inner].inner_index != u32::MAX {
            let value = SlotValue::Map(first + inner);
            outer.slots.push(SlotSpec { key: tails[inner].inner_index, value });
        }
    }
    Ok(())
}

#[cold]
fn no_inner_map(bytes: &Bytes<'_>, at: usize, outer: &MapSpec, inner_id: u32) -> Error {
    bytes.error(
        at,
        format!("expected a map with id {inner_id}, the inner_id of map {}, found none", quote(&outer.name)),
    )
}
