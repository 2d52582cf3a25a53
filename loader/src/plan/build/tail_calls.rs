//! Tail calls: the programs that a prog array names are loaded too, and put into it.

use std::collections::BTreeSet;

use crate::error::{Error, ErrorKind, Result, quote};
use crate::linker::{Linked, Linker, Referent};
use crate::object::{Object, ProgramKind, ProgramSpec, SlotValue};
use crate::plan::Step;
use crate::plan::call::{Call, FdValue, MapSlot, ProgramSlot};
use crate::uapi::bpf::MapType;

/// The programs to load: those that are asked for, and then those that they reach by tail calls.
///
/// Only prog arrays that one of them refers to are filled. What others name may be of a sort that is not for XDP.
pub(super) struct Programs<'o> {
    object: &'o Object,
    pub(super) specs: Vec<&'o ProgramSpec>,
    /// The same, linked.
    pub(super) linked: Vec<Linked>,
}

impl<'o> Programs<'o> {
    /// Links the `chosen` programs of the object, and all that they reach.
    pub(super) fn link(object: &'o Object, chosen: &'o [ProgramSpec]) -> Result<Self> {
        let linker = Linker::new(object);
        let mut programs = Self { object, specs: chosen.iter().collect(), linked: Vec::new() };
        let mut known: BTreeSet<_> = programs.specs.iter().map(|program| program.place()).collect();
        while let Some(program) = programs.specs.get(programs.linked.len()) {
            let linked = linker.link(program)?;
            for map in programs.prog_arrays_of(&linked) {
                for slot in &object.maps[map].slots {
                    let program = named_program(object, map, &slot.value)?;
                    if known.insert(program.place()) {
                        programs.specs.push(program);
                    }
                }
            }
            programs.linked.push(linked);
        }
        programs.refuse_mixed_kinds()?;
        Ok(programs)
    }

    /// Puts programs into the prog arrays, in the order of these.
    pub(super) fn prog_array_steps(&self) -> Vec<Step> {
        let arrays: BTreeSet<_> = self.linked.iter().flat_map(|linked| self.prog_arrays_of(linked)).collect();
        let slots = arrays.into_iter().flat_map(|map| {
            self.object.maps[map].slots.iter().filter_map(move |slot| {
                let value = FdValue::Program(self.slot_of(&slot.value)?);
                Some(Step::new(Call::MapUpdate { map: MapSlot(map), key: slot.key, value }))
            })
        });
        slots.collect()
    }

    /// The prog arrays that a program reaches by itself and by tail calls.
    pub(super) fn reached_arrays(&self, from: ProgramSlot) -> BTreeSet<usize> {
        let (mut arrays, mut reached, mut next) = (BTreeSet::new(), BTreeSet::from([from]), vec![from]);
        while let Some(program) = next.pop() {
            for map in self.prog_arrays_of(&self.linked[program.0]) {
                let slots = &self.object.maps[map].slots;
                arrays.insert(map);
                next.extend(
                    slots.iter().filter_map(|slot| self.slot_of(&slot.value)).filter(|p| reached.insert(*p)),
                );
            }
        }
        arrays
    }

    /// The prog arrays that a program refers to, by their indices in [`Object::maps`].
    fn prog_arrays_of(&self, linked: &Linked) -> BTreeSet<usize> {
        let maps = linked.map_references.iter().filter_map(|reference| match reference.map {
            Referent::Map(map) => Some(map),
            Referent::Data(_) => None,
        });
        maps.filter(|&map| self.object.maps[map].shape.map_type == MapType::PROG_ARRAY).collect()
    }

    fn slot_of(&self, value: &SlotValue) -> Option<ProgramSlot> {
        let SlotValue::Program(program) = value else { return None };
        let place = self.object.programs[*program].place();
        self.specs.iter().position(|program| program.place() == place).map(ProgramSlot)
    }

    /// The kernel lets only programs of one kind share a prog array: it would refuse the second with a bare EINVAL.
    fn refuse_mixed_kinds(&self) -> Result<()> {
        let mut first: Vec<Option<&ProgramSpec>> = vec![None; self.object.maps.len()];
        for (program, linked) in self.specs.iter().zip(&self.linked) {
            for map in self.prog_arrays_of(linked) {
                let named = self.object.maps[map].slots.iter().filter_map(|slot| self.slot_of(&slot.value));
                for program in std::iter::once(*program).chain(named.map(|slot| self.specs[slot.0])) {
                    let first = *first[map].get_or_insert(program);
                    if first.kind != program.kind {
                        return Err(mixed_kinds(&self.object.maps[map].name, first, program));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The program that a prog array names.
fn named_program<'o>(object: &'o Object, map: usize, value: &SlotValue) -> Result<&'o ProgramSpec> {
    match value {
        SlotValue::Program(program) => Ok(&object.programs[*program]),
        SlotValue::Function { name, section } => {
            let map = &object.maps[map];
            let message = format!(
                "map {} names {}, whose section {} is none of XDP programs",
                quote(&map.name),
                quote(name),
                quote(section)
            );
            Err(Error::malformed(format!("section {}", quote(&map.section)), map.offset, message)
                .with_kind(ErrorKind::Unsupported)
                .with_help(format!("if it is one, say so: --section {}", quote(section))))
        }
        SlotValue::Map(_) => unreachable!("the reader of objects puts programs into prog arrays"),
    }
}

#[cold]
fn mixed_kinds(map: &str, first: &ProgramSpec, other: &ProgramSpec) -> Error {
    let words = |kind: ProgramKind| {
        let frags = if kind.frags { ", in packets of several buffers" } else { "" };
        format!("{}{frags}", kind.attach_type)
    };
    Error::new(
        ErrorKind::InvalidInput,
        format!(
            "programs {first} and {other} share the prog array {}, which takes programs of one kind: \
             one is for {}, the other for {}",
            quote(map),
            words(first.kind),
            words(other.kind)
        ),
    )
}
