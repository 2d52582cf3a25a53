//! Tail calls: the programs that a prog array names are loaded too, and put into it, and the array is kept.

use std::mem;

use nix::libc::{EEXIST, ENOPROTOOPT, ENOTEMPTY};

use super::Loader;
use super::maps::put_in;
use crate::error::{Error, ErrorKind, Remedy, Result, quote};
use crate::linker::{Linked, Linker, Referent};
use crate::object::{MapDialect, Object, ProgramKind, ProgramSpec, SlotValue};
use crate::order::{InOrder as _, twice};
use crate::plan::call::{Call, FdValue};
use crate::plan::prog_array_pins::{
    Attachment, PinsAction, ProgArrayPins, own_directory, prog_array_pin_name,
};
use crate::plan::slot::{MapSlot, ProgramSlot};
use crate::plan::{On, Step, When};
use crate::uapi::bpf::{BPF_MAX_INSNS, MapType};

/// How much all programs may have together, each with its functions: [`Linked::weight`]. A few bytes make a program
/// that calls a large function of others, so that a file could ask for the square of its size. One program may have a
/// million instructions; objects with a hundred programs have some hundred thousand in all.
const MAX_WEIGHT: usize = 2 * BPF_MAX_INSNS;

/// The programs to load: those that are asked for, and then those that they reach by tail calls.
///
/// A prog array that one of them refers to has all its programs loaded. What others name may be of a sort that is not
/// for XDP, so that it is not loaded for them, but in iproute2's dialect, where all that it names is of one sort. Other
/// objects may reach any of them by its pin.
pub(super) struct Programs<'o> {
    object: &'o Object,
    pub(super) specs: Vec<&'o ProgramSpec>,
    /// The same, linked.
    pub(super) linked: Vec<Linked>,
    /// Where each of [`Object::programs`] is there, if it is.
    slots: Vec<Option<ProgramSlot>>,
}

impl<'o> Programs<'o> {
    /// Links the `chosen` programs, by their indices in the object, and all that they reach.
    pub(super) fn link(object: &'o Object, chosen: &[usize]) -> Result<Self> {
        let linker = Linker::new(object);
        let slots = vec![None; object.programs.len()];
        let mut programs = Self { object, slots, specs: Vec::new(), linked: Vec::new() };
        for &program in chosen {
            programs.add(program);
        }
        let mut weight = 0;
        while let Some(program) = programs.specs.get(programs.linked.len()) {
            let linked = linker.link(program)?;
            weight += linked.weight();
            if weight > MAX_WEIGHT {
                return Err(too_heavy(program));
            }
            let first = programs.linked.is_empty().then(|| always_loaded(object));
            for map in programs.prog_arrays_of(&linked).into_iter().chain(first.into_iter().flatten()) {
                for slot in &object.maps[map].slots {
                    programs.add(named_program(object, map, &slot.value)?);
                }
            }
            programs.linked.push(linked);
        }
        programs.refuse_mixed_kinds()?;
        Ok(programs)
    }

    /// Gives a slot to the program with this index in the object, unless it has one.
    fn add(&mut self, program: usize) {
        if self.slots[program].is_none() {
            self.slots[program] = Some(ProgramSlot(self.specs.len()));
            self.specs.push(&self.object.programs[program]);
        }
    }

    /// Puts programs into the prog arrays, in the order of these; `pins` are those of the maps. One that no program
    /// refers to gets those that are loaded anyway.
    pub(super) fn prog_array_steps(&self, pins: &[Option<String>]) -> Vec<Step> {
        let mut steps = Vec::new();
        for map in self.prog_arrays() {
            for slot in &self.object.maps[map].slots {
                let program = self.slot_of(&slot.value).map(FdValue::Program);
                steps.extend(program.map(|value| put_in(MapSlot(map), slot.key, value, pins[map].is_some())));
            }
        }
        steps
    }

    /// The prog arrays that a program reaches by itself and by tail calls.
    pub(super) fn reached_arrays(&self, from: ProgramSlot) -> Vec<usize> {
        let mut arrays = vec![false; self.object.maps.len()];
        let mut reached = vec![false; self.specs.len()];
        let mut next = vec![from];
        while let Some(program) = next.pop() {
            for map in self.prog_arrays_of(&self.linked[program.0]) {
                if mem::replace(&mut arrays[map], true) {
                    continue;
                }
                let named = self.object.maps[map].slots.iter().filter_map(|slot| self.slot_of(&slot.value));
                next.extend(named.filter(|program| !mem::replace(&mut reached[program.0], true)));
            }
        }
        (0..arrays.len()).filter(|&map| arrays[map]).collect()
    }

    /// The prog arrays that a program refers to, by their indices in [`Object::maps`].
    fn prog_arrays_of(&self, linked: &Linked) -> Vec<usize> {
        let maps = linked.map_references.iter().filter_map(|reference| match reference.map {
            Referent::Map(map) => Some(map),
            Referent::Data(_) => None,
        });
        maps.filter(|&map| self.is_prog_array(map)).into_set()
    }

    fn prog_arrays(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.object.maps.len()).filter(|&map| self.is_prog_array(map))
    }

    fn is_prog_array(&self, map: usize) -> bool {
        self.object.maps[map].shape.map_type == MapType::PROG_ARRAY
    }

    /// The programs that a prog array names, as far as they are loaded.
    fn named_by(&self, map: usize) -> impl Iterator<Item = &'o ProgramSpec> + '_ {
        let slots = self.object.maps[map].slots.iter();
        slots.filter_map(|slot| self.slot_of(&slot.value)).map(|slot| self.specs[slot.0])
    }

    fn slot_of(&self, value: &SlotValue) -> Option<ProgramSlot> {
        let SlotValue::Program(program) = value else { return None };
        self.slots[*program]
    }

    /// The kernel lets only programs of one kind share a prog array: it would refuse the second with a bare EINVAL.
    fn refuse_mixed_kinds(&self) -> Result<()> {
        let mut first: Vec<Option<&ProgramSpec>> = vec![None; self.object.maps.len()];
        let mut share = |map: usize, program| {
            let first = *first[map].get_or_insert(program);
            if first.kind == program.kind {
                Ok(())
            } else {
                Err(mixed_kinds(&self.object.maps[map].name, first, program))
            }
        };
        for (program, linked) in self.specs.iter().zip(&self.linked) {
            self.prog_arrays_of(linked).into_iter().try_for_each(|map| share(map, *program))?;
        }
        for map in self.prog_arrays() {
            self.named_by(map).try_for_each(|program| share(map, program))?;
        }
        Ok(())
    }
}

/// The prog arrays whose programs are loaded whether a program refers to them or not.
fn always_loaded(object: &Object) -> impl Iterator<Item = usize> + '_ {
    let maps = object.maps.iter().enumerate();
    let named = maps
        .filter(|(_, map)| map.dialect == MapDialect::Iproute2 && map.shape.map_type == MapType::PROG_ARRAY);
    named.map(|(map, _)| map)
}

/// The program that a prog array names, by its index in the object.
fn named_program(object: &Object, map: usize, value: &SlotValue) -> Result<usize> {
    match value {
        SlotValue::Program(program) => Ok(*program),
        SlotValue::Function { name, section } => {
            let map = &object.maps[map];
            let message = format!(
                "map {} names {}, whose section {} is not for XDP programs",
                quote(&map.name),
                quote(name),
                quote(section)
            );
            Err(Error::malformed(format!("section {}", quote(&map.section)), map.offset, message)
                .with_kind(ErrorKind::Unsupported)
                .with_help(("if it is one, say so: ", Remedy::TakeAsXdp { section: Some(section.clone()) })))
        }
        SlotValue::Map(_) => unreachable!("the reader of objects puts programs into prog arrays"),
    }
}

/// Asks for what tells the namespace from others, which kernels before 5.14 cannot.
pub(super) fn netns_cookie() -> Step {
    Step::new(Call::NetnsCookie).or(On::Errno(&[ENOPROTOOPT]), Vec::new())
}

impl Loader<'_> {
    /// Pins the prog arrays `maps` for as long as the program is attached, in its
    /// [`prog_array_directory`](crate::plan::prog_array_directory).
    pub(super) fn prog_array_steps(&self, program: ProgramSlot, maps: &[usize]) -> Result<Vec<Step>> {
        let of = Attachment::New(program);
        let there = |call| Step::new(call).or(On::Errno(&[EEXIST]), Vec::new());
        let mut steps = vec![
            // The directory is called after the program's id.
            Step::new(Call::ProgInfo { program }),
            there(Call::Mkdir { path: own_directory(&self.bpffs) }),
            there(pins(&self.bpffs, of, PinsAction::MakeDir)),
        ];
        let names: Vec<_> =
            maps.iter().map(|&map| prog_array_pin_name(&self.object.maps[map].name)).collect();
        if let Some((second, first)) = twice(&names.iter().map(String::as_str).collect::<Vec<_>>()) {
            let message = format!(
                "maps {} and {} would both be pinned as {}",
                quote(&self.object.maps[maps[first]].name),
                quote(&self.object.maps[maps[second]].name),
                quote(&names[second])
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        for (&map, name) in maps.iter().zip(&names) {
            let pin = PinsAction::Pin { map: MapSlot(map), name: name.clone() };
            let pin = || Step::new(pins(&self.bpffs, of, pin.clone()));
            // What is there was left by another program, whose id has come round again.
            let unpin = Step::new(pins(&self.bpffs, of, PinsAction::Unpin { name: name.clone() }));
            steps.push(pin().or(On::Errno(&[EEXIST]), vec![unpin, pin()]));
        }
        Ok(steps)
    }
}

/// Removes the pins of the program that was replaced, if it has any. What cannot be removed stays, since the new
/// program is attached by then. The steps of `last` follow when they are gone.
pub(super) fn let_go_step(bpffs: &str, last: Vec<Step>) -> Step {
    let of = Attachment::Replaced;
    let remove = Step::new(pins(bpffs, of, PinsAction::RemoveDir)).then(last);
    let empty = Step::new(pins(bpffs, of, PinsAction::UnpinAll)).or(On::AnyErrno, Vec::new());
    let again = remove.clone().or(On::AnyErrno, Vec::new());
    remove.or(On::Errno(&[ENOTEMPTY]), vec![empty, again]).or(On::AnyErrno, Vec::new()).when(When::Occupied)
}

/// Removes the directory of all attachments, unless something is in it. Others, who may be about to make a pin there,
/// are waited for, unless they are waiting for this run already.
pub(super) fn remove_root(bpffs: &str, is_locked: bool) -> Vec<Step> {
    let remove = Step::new(Call::Rmdir { path: own_directory(bpffs) }).or(On::AnyErrno, Vec::new());
    if is_locked {
        return vec![remove];
    }
    let lock = Step::new(Call::Lock { path: bpffs.to_owned() });
    vec![lock.then(vec![remove]).or(On::AnyErrno, Vec::new())]
}

/// Removes the directory of an attachment with all that is in it, as far as that can be.
pub(super) fn remove_prog_array_pins(bpffs: &str, of: Attachment) -> Vec<Step> {
    let try_to = |action| Step::new(pins(bpffs, of, action)).or(On::AnyErrno, Vec::new());
    vec![try_to(PinsAction::UnpinAll), try_to(PinsAction::RemoveDir)]
}

fn pins(bpffs: &str, of: Attachment, action: PinsAction) -> Call {
    Call::ProgArrayPins(ProgArrayPins { bpffs: bpffs.to_owned(), of, action })
}

#[cold]
fn too_heavy(program: &ProgramSpec) -> Error {
    let message = format!(
        "expected at most {MAX_WEIGHT} instructions in all programs with their functions, lines of source and \
         relocations counted as well, found more with {program}"
    );
    Error::new(ErrorKind::Unsupported, message).with_help(("load fewer of them: ", Remedy::ChooseProgram))
}

#[cold]
fn mixed_kinds(map: &str, first: &ProgramSpec, other: &ProgramSpec) -> Error {
    let words = |kind: ProgramKind| {
        let frags = if kind.frags { ", multi-buffer (xdp.frags)" } else { "" };
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
