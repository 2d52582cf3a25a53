//! Prints a plan: one numbered line for each system call, other ways indented below the call that they follow, where
//! they have its number and a letter.
//!
//! What only old kernels make necessary is told in a few words; `{:#}` spells out its calls as well, and the bytes that
//! each call hands over.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::{self, Display};

use super::{Alternative, Call, MapSlot, Number, On, PinsAction, Plan, Step, When};
use crate::error::{errno_name, escape, quote};
use crate::features::Feature;

impl Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.externs.is_empty() {
            writeln!(f, "    from the kernel:")?;
        }
        for external in &self.externs {
            writeln!(f, "    {INDENT}{} = {}", escape(&external.name), self.extern_value(external))?;
        }
        for (program, relocations) in self.programs.iter().zip(&self.relocations) {
            if !relocations.is_empty() {
                writeln!(f, "    {} is adapted to the kernel's types:", escape(program))?;
            }
            for relocation in relocations {
                writeln!(f, "    {INDENT}instruction {}: {relocation}", relocation.insn)?;
            }
        }
        let mut printer = Printer { plan: self, undo: Vec::new(), spelled: BTreeMap::new() };
        printer.steps(f, &self.steps, 0)?;
        if !printer.undo.is_empty() {
            writeln!(f, "    if a later call fails, what was done of these is undone:")?;
        }
        for call in printer.undo.iter().rev().flat_map(|(_, calls)| calls) {
            writeln!(f, "    {INDENT}{call}")?;
        }
        let (calls, others) = self.calls_if_none_is_refused();
        let others = if others { ", beside those that depend on what is found" } else { "" };
        writeln!(f, "    {calls} calls if none is refused{others}")
    }
}

impl Plan {
    /// When a step is taken, in words; none if always.
    fn condition(&self, when: When) -> Option<String> {
        let (_, words, map) = when.row()?;
        let map = map.map_or_else(String::new, |slot| quote(&self.maps[slot.0]).into());
        Some(words.replace("{}", &map))
    }
}

impl When {
    /// What documents call the condition; none if it is [`When::Always`].
    pub fn name(self) -> Option<&'static str> {
        self.row().map(|(name, ..)| name)
    }

    /// The map that it is about, if it is about one.
    pub fn map(self) -> Option<MapSlot> {
        self.row()?.2
    }

    /// The one table of the conditions: the name, the words, in which `{}` stands for the map, and the map.
    fn row(self) -> Option<(&'static str, &'static str, Option<MapSlot>)> {
        Some(match self {
            Self::Always => return None,
            Self::Occupied => ("occupied", "if a program is attached there", None),
            Self::Vacant => ("vacant", "if none is attached there", None),
            Self::FirstVacant => ("first_vacant", "if it is the first where none is attached", None),
            Self::New(map) => ("new", "unless map {} of the attached program is kept", Some(map)),
            Self::Copied(map) => ("copied", "if map {} of the attached program has another shape", Some(map)),
            Self::Outgrown(map) => ("outgrown", "if map {} is pinned in another shape", Some(map)),
            Self::Made(map) => ("made", "if {} was made", Some(map)),
        })
    }
}

const INDENT: &str = "    ";

/// The number at the beginning of a line, with the space that it takes there: digits below digits, letters after them.
pub(crate) fn label(number: Number) -> String {
    let width = 3 + number.to_string().len() - number.call.to_string().len();
    format!("{number:>width$} ")
}

struct Printer<'p> {
    plan: &'p Plan,
    /// At which interface something is undone, and by which calls, in words.
    undo: Vec<(usize, Vec<String>)>,
    /// What has been spelled out, with the number of the call that hands it over.
    spelled: BTreeMap<Vec<u8>, Number>,
}

impl Printer<'_> {
    fn steps(&mut self, f: &mut fmt::Formatter<'_>, steps: &[Step], depth: usize) -> fmt::Result {
        let mut group = When::Always;
        for step in steps {
            if step.when != group {
                if let Some(condition) = self.plan.condition(step.when) {
                    heading(f, depth, &format!("{condition}:"))?;
                }
                group = step.when;
            }
            self.step(f, step, depth + usize::from(group != When::Always))?;
        }
        Ok(())
    }

    fn step(&mut self, f: &mut fmt::Formatter<'_>, step: &Step, depth: usize) -> fmt::Result {
        let depth = match step.call.repeated() {
            Some(each) => {
                heading(f, depth, &format!("{each}:"))?;
                depth + 1
            }
            None => depth,
        };
        for (place, call) in self.plan.kernel_calls_at(step.at, &step.call).into_iter().enumerate() {
            let number = step.number.and(place);
            writeln!(f, "{:<width$}{call}", label(number), width = INDENT.len() * (depth + 1))?;
            if f.alternate() {
                self.bytes(f, depth + 1, number, call.data)?;
            }
        }
        if matches!(&step.call, Call::ProgArrayPins(pins) if pins.action == PinsAction::MakeDir) {
            heading(f, depth + 1, "the kernel empties a prog array that has neither an fd nor a pin")?;
        }
        if let Call::MapMmap { content, .. } = &step.call {
            if !content.is_empty() {
                let text = format!("and {} bytes of variables are written to its beginning", content.len());
                heading(f, depth + 1, &text)?;
            }
        }
        if let Some(adapted) = step.call.adapted() {
            heading(f, depth + 1, &adapted.to_string())?;
        }
        if f.alternate() && !step.call.again_on().is_empty() {
            let again = On::Errno(step.call.again_on());
            heading(f, depth + 1, &format!("{again}: again, a few times"))?;
        }
        // Who makes a directory for several pins is the first of them, and so the last to take it back.
        if let Some(undo) = self.plan.undo(&step.call) {
            let calls = self.plan.kernel_calls_at(step.at, &undo);
            let undo = (step.at, calls.iter().map(ToString::to_string).collect());
            if !self.undo.contains(&undo) {
                self.undo.push(undo);
            }
        }
        if !step.then.is_empty() {
            heading(f, depth + 1, "if it succeeds:")?;
            self.steps(f, &step.then, depth + 2)?;
        }
        step.otherwise.iter().try_for_each(|alternative| self.alternative(f, alternative, depth + 1))
    }

    /// What a call hands over, unless an earlier one hands over the same.
    fn bytes(
        &mut self,
        f: &mut fmt::Formatter<'_>,
        depth: usize,
        number: Number,
        data: Vec<u8>,
    ) -> fmt::Result {
        // A line says as much as the reference to another.
        if data.len() <= BYTES_A_LINE {
            return bytes(f, depth, &data);
        }
        match self.spelled.entry(data) {
            Entry::Occupied(other) => heading(f, depth, &format!("the bytes of {}", other.get())),
            Entry::Vacant(new) => {
                bytes(f, depth, new.key())?;
                new.insert(number);
                Ok(())
            }
        }
    }

    fn alternative(&mut self, f: &mut fmt::Formatter<'_>, other: &Alternative, depth: usize) -> fmt::Result {
        match other.lacking {
            Some(feature) => {
                let since = feature.since();
                let way = if other.steps.is_empty() { "give up" } else { in_few_words(feature) };
                heading(
                    f,
                    depth,
                    &format!("{}, and a probe finds no {feature} (before {since}): {way}", other.on),
                )?;
                if !f.alternate() {
                    return Ok(());
                }
                for call in self.plan.kernel_calls(&Call::Probe(feature)) {
                    writeln!(f, "    {}the probe: {call}", INDENT.repeat(depth + 1))?;
                }
                self.steps(f, &other.steps, depth + 1)
            }
            None if other.steps.is_empty() => heading(f, depth, &format!("{}: go on", other.on)),
            None => {
                heading(f, depth, &format!("{}:", other.on))?;
                self.steps(f, &other.steps, depth + 1)
            }
        }
    }
}

/// Two instructions, or four words of a netlink message.
const BYTES_A_LINE: usize = 16;

/// What a call hands over.
fn bytes(f: &mut fmt::Formatter<'_>, depth: usize, data: &[u8]) -> fmt::Result {
    for (line, chunk) in data.chunks(BYTES_A_LINE).enumerate() {
        write!(f, "    {}{:04x}:", INDENT.repeat(depth), BYTES_A_LINE * line)?;
        for (at, byte) in chunk.iter().enumerate() {
            let gap = if at % 8 == 0 { " " } else { "" };
            write!(f, "{gap}{byte:02x}")?;
        }
        writeln!(f)?;
    }
    Ok(())
}

fn heading(f: &mut fmt::Formatter<'_>, depth: usize, text: &str) -> fmt::Result {
    writeln!(f, "    {}{text}", INDENT.repeat(depth))
}

/// How a load goes on without a feature.
fn in_few_words(feature: Feature) -> &'static str {
    match feature {
        // A name with a dot, for the latter.
        Feature::ObjectNames | Feature::GlobalData => "again without the name",
        Feature::ExpectedAttachType => "again without it",
        Feature::MmapableArrays => "again without BPF_F_MMAPABLE",
        Feature::BtfWith(_) => "again without this and all newer additions",
        Feature::XdpLinks => "by netlink",
        Feature::MemcgAccounting => "raise RLIMIT_MEMLOCK, again",
        Feature::FunctionCalls | Feature::DevmapPrograms | Feature::CpumapPrograms | Feature::XdpFrags => {
            "give up"
        }
    }
}

impl Display for On {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(list) => {
                let names: Vec<_> = list.iter().map(|&errno| errno_name(errno)).collect();
                write!(f, "if refused with {}", names.join(" or "))
            }
            Self::AnyErrno => f.write_str("if refused"),
            Self::ById => f.write_str("without CAP_SYS_ADMIN"),
            Self::Held => f.write_str("if a bpf_link holds it"),
            Self::Driver => f.write_str("if the driver refuses"),
            Self::Unanswered => f.write_str("if no answer comes"),
            Self::Unexplained => f.write_str("if refused with EINVAL and no reason"),
            Self::EntryTypes => f.write_str("if the types of the entries are refused"),
            Self::ProgInfo => f.write_str("if func_info or line_info is refused"),
            Self::NotBpffs => f.write_str("if it is not bpffs"),
        }
    }
}
