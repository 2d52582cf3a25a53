//! What a file puts into its maps: relocations in the section `.maps`, each in the `values` of a definition.
//!
//! The compiler writes `.values = { [2] = &inner }` as an array of pointers of eight bytes, all zero, and one relocation
//! for each pointer that is set.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::code::target;
use super::{File, MapSpec, ProgramSpec, SlotSpec, SlotValue, SymbolTarget};
use crate::elf::{Relocation, Section};
use crate::error::{Context, Error, Result, quote};
use crate::uapi::bpf::MapType;
use crate::uapi::elf::RelocationType;

/// Bytes of a pointer in an object for BPF.
const POINTER_SIZE: u64 = 8;

/// Where in `.maps` a definition is, and where its `values` are.
pub(super) struct Extent {
    start: u64,
    values: Range<u64>,
}

impl Extent {
    /// A definition of `size` bytes at `start`, whose `values` begin `values_at` bytes after that, if it has any.
    pub(super) fn new(start: u64, values_at: Option<u64>, size: u64) -> Self {
        let end = start.saturating_add(size);
        let values = start.saturating_add(values_at.unwrap_or(size));
        Self { start, values: values..end }
    }

    /// The index of the pointer at this offset in the section.
    fn key(&self, offset: u64) -> Option<u32> {
        let distance = offset.checked_sub(self.values.start)?;
        let whole = distance % POINTER_SIZE == 0 && offset.checked_add(POINTER_SIZE)? <= self.values.end;
        whole.then(|| u32::try_from(distance / POINTER_SIZE).ok()).flatten()
    }
}

/// What the relocations may name.
struct Names<'n> {
    programs: &'n [ProgramSpec],
    /// Indices in `Object::maps`, with whether they are maps of maps, by the place in the section.
    maps: BTreeMap<u64, (usize, bool)>,
}

/// Reads the relocations of `section` into the slots of `maps`, which are in it at `extents`.
pub(super) fn fill(
    file: &File<'_, '_>,
    section: &Section<'_>,
    programs: &[ProgramSpec],
    first: usize,
    maps: &mut [MapSpec],
    extents: &[Extent],
) -> Result<()> {
    let Some(table) = file.relocations.get(&section.index) else {
        return Ok(());
    };
    let places = maps.iter().enumerate();
    let maps_by_place =
        places.map(|(index, map)| (map.offset, (first + index, map.shape.map_type.is_map_in_map())));
    let names = Names { programs, maps: maps_by_place.collect() };
    let mut filled = BTreeSet::new();
    for relocation in file.elf.relocations(table)? {
        let place = |message| malformed(section, relocation.offset, message);
        // Variables are in the order of their places.
        let index = extents.partition_point(|extent| extent.start <= relocation.offset).checked_sub(1);
        let slot = index.and_then(|index| Some((index, extents[index].key(relocation.offset)?)));
        let Some((index, key)) = slot else {
            return Err(place(
                "expected relocations only in the `values` of a map, found one here".to_owned(),
            ));
        };
        let map = &mut maps[index];
        let value = value(file, section, &relocation, map.shape.map_type, &names)
            .context(|| format!("map {}, slot {key}", quote(&map.name)))?;
        if map.shape.map_type == MapType::HASH_OF_MAPS && map.shape.key_size != 4 {
            let size = map.shape.key_size;
            let message = format!("expected keys of 4 bytes in a map that the file fills, found {size}");
            return Err(place(message)).context(|| format!("map {}", quote(&map.name)));
        }
        if !filled.insert((index, key)) {
            let message = format!("expected one value for slot {key}, found two");
            return Err(place(message)).context(|| format!("map {}", quote(&map.name)));
        }
        map.slots.push(SlotSpec { key, value });
    }
    maps.iter_mut().for_each(|map| map.slots.sort_by_key(|slot| slot.key));
    Ok(())
}

/// What a relocation puts into a map of this type.
fn value(
    file: &File<'_, '_>,
    section: &Section<'_>,
    relocation: &Relocation,
    map_type: MapType,
    names: &Names<'_>,
) -> Result<SlotValue> {
    let refusal = |message| Err(malformed(section, relocation.offset, message));
    // Clang before 13 wrote the type of instructions for data too.
    if !matches!(relocation.kind, RelocationType::R_BPF_64_ABS64 | RelocationType::R_BPF_64_64) {
        return refusal(format!("expected the address of a map or program, found {:?}", relocation.kind));
    }
    let Some(symbol) = file.symbols.get(relocation.symbol) else {
        let (count, number) = (file.symbols.len(), relocation.symbol);
        return refusal(format!(
            "expected the relocation here to name one of {count} symbols, found number {number}"
        ));
    };
    let (noun, place) = if map_type == MapType::PROG_ARRAY { ("program", ".text") } else { ("map", ".maps") };
    let addend = match relocation.addend {
        Some(addend) => addend,
        None => {
            let at = usize::try_from(relocation.offset).unwrap_or(usize::MAX);
            file.elf.data(section)?.i64(at, "the addend of a relocation")?
        }
    };
    let name = quote(&symbol.name);
    match target(file, symbol) {
        SymbolTarget::Section { name: of, offset } if noun == "map" && of == place => {
            match offset.checked_add_signed(addend).and_then(|place| names.maps.get(&place)) {
                Some(&(map, false)) => Ok(SlotValue::Map(map)),
                Some((_, true)) => refusal(format!("expected a map with plain values, found {name}")),
                None => refusal(format!("expected a map where {name} and its addend point, found none")),
            }
        }
        SymbolTarget::Code { section, offset } if noun == "program" => {
            let offset = offset.checked_add_signed(addend);
            let mut programs = names.programs.iter();
            match programs.position(|program| program.section == section && Some(program.offset) == offset) {
                Some(program) => Ok(SlotValue::Program(program)),
                None => Ok(SlotValue::Function { name: symbol.name.clone().into_owned(), section }),
            }
        }
        SymbolTarget::Section { name: of, .. } | SymbolTarget::Code { section: of, .. } => {
            refusal(format!("expected a {noun} of this object, found {name} in section {}", quote(&of)))
        }
        SymbolTarget::Nowhere => {
            refusal(format!("expected a {noun} of this object, found {name}, which it does not define"))
        }
    }
}

#[cold]
fn malformed(section: &Section<'_>, offset: u64, message: String) -> Error {
    Error::malformed(format!("section {}", quote(&section.name)), offset, message)
}
