//! iproute2's way to fill prog arrays: a program in the section `<id>/<slot>` is put into that slot of the prog array
//! with that `id`. Each of the two is a number as C writes it, and what follows the second says nothing
//! (`bpf_fill_prog_arrays()` in `lib/bpf_legacy.c` of iproute2).

use super::{MapSpec, ProgramSpec, SlotSpec, SlotValue};
use crate::error::{Error, Result, quote};
use crate::order::{InOrder as _, sort_by_key};
use crate::uapi::bpf::MapType;

/// The prog array's id and the slot that the name of a section says, if it says them.
pub(super) fn entry(section: &str) -> Option<(u32, u32)> {
    let (id, rest) = number(section)?;
    let (slot, _) = number(rest.strip_prefix('/')?)?;
    Some((id, slot))
}

/// The number that `text` begins with (hexadecimal after `0x`, octal after `0`), and what follows it.
fn number(text: &str) -> Option<(u32, &str)> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (text, if text.starts_with('0') { 8 } else { 10 }),
    };
    let end = digits.find(|c: char| !c.is_digit(radix)).unwrap_or(digits.len());
    Some((u32::from_str_radix(&digits[..end], radix).ok()?, &digits[end..]))
}

/// Puts `programs` into the prog arrays among `maps`, whose ids are at the same places in `ids`.
pub(super) fn fill(programs: &[ProgramSpec], ids: &[u32], maps: &mut [MapSpec]) -> Result<()> {
    let arrays = ids.iter().enumerate().filter(|(map, _)| maps[*map].shape.map_type == MapType::PROG_ARRAY);
    // Of two with one id, the first is meant.
    let arrays = arrays.rev().map(|(map, &id)| (id, map)).into_lookup();
    for (program, spec) in programs.iter().enumerate() {
        let Some((id, slot)) = entry(&spec.function.section) else { continue };
        let Some(&map) = arrays.get(id) else {
            let message = format!("expected a prog array with the id {id} for program {spec}, found none");
            return Err(
                refused(spec, message).with_help(format!("give the one that is meant its `.id = {id}`"))
            );
        };
        let map = &mut maps[map];
        // Where the file leaves the size open, the kernel is to say so.
        if map.shape.max_entries != 0 && slot >= map.shape.max_entries {
            let message = format!(
                "expected a slot of map {}, which has {} entries, found {slot}",
                quote(&map.name),
                map.shape.max_entries
            );
            return Err(refused(spec, message).with_help("give the map more entries (`.max_elem`)"));
        }
        map.slots.push(SlotSpec { key: slot, value: SlotValue::Program(program) });
    }
    for &map in arrays.values() {
        let map = &mut maps[map];
        sort_by_key(&mut map.slots, |slot| slot.key);
        refuse_two_in_a_slot(programs, map)?;
    }
    Ok(())
}

fn refuse_two_in_a_slot(programs: &[ProgramSpec], map: &mut MapSpec) -> Result<()> {
    let program = |slot: &SlotSpec| match slot.value {
        SlotValue::Program(program) => programs.get(program),
        _ => None,
    };
    let name = quote(&map.name);
    let mut refusal = None;
    map.slots.dedup_by(|second, first| {
        let (Some(one), Some(other)) = (program(first), program(second)) else { return false };
        // One function under two names is one program.
        if first.key == second.key && one.function.place() != other.function.place() && refusal.is_none() {
            let slot = first.key;
            let message =
                format!("expected one program for slot {slot} of map {name}, found {other} beside {one}");
            refusal = Some(refused(other, message));
        }
        first.key == second.key
    });
    refusal.map_or(Ok(()), Err)
}

#[cold]
fn refused(program: &ProgramSpec, message: String) -> Error {
    Error::malformed(
        format!("section {}", quote(&program.function.section)),
        program.function.offset,
        message,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_c() {
        for (section, expected) in [
            ("1/0", Some((1, 0))),
            ("0/7", Some((0, 7))),
            ("0x1F/0X10", Some((31, 16))),
            ("010/2", Some((8, 2))),
            ("2/3/and more", Some((2, 3))),
            ("4294967295/1", Some((u32::MAX, 1))),
            ("4294967296/1", None),
            ("08/1", None),
            ("0x/1", None),
            ("1/", None),
            ("1", None),
            ("/1", None),
            ("+1/1", None),
            ("xdp/1", None),
            ("", None),
        ] {
            assert_eq!(entry(section), expected, "{section}");
        }
    }
}
