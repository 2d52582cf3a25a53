//! What a file puts into its maps: relocations in the section `.maps`, each in the `values` of a definition.
//!
//! The compiler writes `.values = { [2] = &inner }` as an array of pointers of eight bytes, all zero, and one
//! relocation for each pointer that is set.

use std::collections::BTreeMap;
use std::ops::Range;

use super::code::target;
use super::{File, MapSpec, ProgramSpec, SlotSpec, SlotValue, SymbolTarget};
use crate::elf::{Relocation, Section, Symbol};
use crate::error::{Context, Error, Result, quote};
use crate::order::{InOrder as _, Lookup, sort_by_key};
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
    /// Indices in `Object::programs`, by where they begin.
    programs: Lookup<(&'n str, u64), usize>,
    /// Indices in `Object::maps`, with whether they are maps of maps, by the place in the section.
    maps: Lookup<u64, (usize, bool)>,
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
    let Some(table) = file.relocations_of(section) else {
        return Ok(());
    };
    let places = maps.iter().enumerate();
    let maps_by_place =
        places.map(|(index, map)| (map.offset, (first + index, map.shape.map_type.is_map_in_map())));
    let programs = programs.iter().enumerate().map(|(index, program)| (program.function.place(), index));
    let names = Names { programs: programs.into_lookup(), maps: maps_by_place.into_lookup() };
    let mut filled = BTreeMap::new();
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
        // Each slot has its place.
        if filled.insert(relocation.offset, index).is_some() {
            let message = format!("expected one value for slot {key}, found two");
            return Err(place(message)).context(|| format!("map {}", quote(&map.name)));
        }
        map.slots.push(SlotSpec { key, value });
    }
    for map in maps {
        sort_by_key(&mut map.slots, |slot| slot.key);
    }
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
    let (symbol, addend) = referent(file, section, relocation)?;
    let name = quote(&symbol.name);
    let noun = if map_type == MapType::PROG_ARRAY { "program" } else { "map" };
    let found = match target(file, symbol) {
        SymbolTarget::Section { name, offset } if noun == "map" && name == *section.name => {
            names.map_at(offset.checked_add_signed(addend))
        }
        SymbolTarget::Code { section, offset } if noun == "program" => {
            Ok(names.program_at(&symbol.name, section, offset.checked_add_signed(addend)))
        }
        SymbolTarget::Section { name, .. } | SymbolTarget::Code { section: name, .. } => {
            Err(format!("in section {}", quote(&name)))
        }
        SymbolTarget::Common => Err("a common symbol (SHN_COMMON)".to_owned()),
        SymbolTarget::Nowhere => Err("which this object does not define".to_owned()),
    };
    found.map_err(|what| {
        let message = format!("expected a {noun} of this object, found {name}, {what}");
        malformed(section, relocation.offset, message)
    })
}

/// The symbol that a relocation names, and how far behind it the address is that it stands for.
fn referent<'f>(
    file: &'f File<'_, '_>,
    section: &Section<'_>,
    relocation: &Relocation,
) -> Result<(&'f Symbol<'f>, i64)> {
    // Clang before 13 wrote the kind of instructions for data too.
    if !matches!(relocation.kind, RelocationType::R_BPF_64_ABS64 | RelocationType::R_BPF_64_64) {
        let message = format!("expected the address of a map or program, found {:?}", relocation.kind);
        return Err(malformed(section, relocation.offset, message));
    }
    let symbol = file.symbols.get(relocation.symbol).ok_or_else(|| {
        let message = format!(
            "expected the relocation here to name one of {} symbols, found number {}",
            file.symbols.len(),
            relocation.symbol
        );
        malformed(section, relocation.offset, message)
    })?;
    if let Some(addend) = relocation.addend {
        return Ok((symbol, addend));
    }
    let at = usize::try_from(relocation.offset).unwrap_or(usize::MAX);
    let addend = file.elf.data(section)?.i64(at, "the addend of a relocation")?;
    Ok((symbol, addend))
}

impl Names<'_> {
    fn map_at(&self, place: Option<u64>) -> Result<SlotValue, String> {
        match place.and_then(|place| self.maps.get(place)) {
            Some(&(map, false)) => Ok(SlotValue::Map(map)),
            Some((_, true)) => Err("a map of maps, which no other can hold".to_owned()),
            None => Err("and no map where its addend points".to_owned()),
        }
    }

    fn program_at(&self, symbol: &str, section: String, offset: Option<u64>) -> SlotValue {
        match offset.and_then(|offset| self.programs.get((&section, offset))) {
            Some(&program) => SlotValue::Program(program),
            None => SlotValue::Function { name: symbol.to_owned(), section },
        }
    }
}

#[cold]
fn malformed(section: &Section<'_>, offset: u64, message: String) -> Error {
    Error::malformed(format!("section {}", quote(&section.name)), offset, message)
}
