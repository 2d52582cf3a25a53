//! The numbers and names of one refusal, by the names of the holes in our sentences.
//!
//! First come the parts of the verifier's sentence, as [`super::words`] names them. From these, the program and what
//! the log says of registers come the others, such as `sized` (`4 bytes`), `access` (`read`), `map` or `holds`.

use std::cell::OnceCell;

use super::words::{RELEASES, TYPES};
use super::{Subject, instruction, log, template};
use crate::error::{Instruction, RefusalKind, quote};
use crate::insn::{Call, Insn, helpers};

/// Names of an upper bound of what varies in a register.
const UPPER: [&str; 4] = ["umax", "smax", "umax_value", "smax_value"];

/// What is known of a refusal.
pub(super) struct Facts<'l> {
    subject: &'l Subject<'l>,
    log: &'l str,
    kind: RefusalKind,
    /// The parts of the verifier's sentence.
    holes: Vec<(&'static str, &'l str)>,
    /// The instruction where it stopped, where it says what.
    at: Option<Instruction>,
    /// What the register `reg` holds there: looked up once, since a log may be long.
    state: OnceCell<Option<&'l str>>,
}

impl<'l> Facts<'l> {
    pub(super) fn new(
        subject: &'l Subject<'l>,
        log: &'l str,
        kind: RefusalKind,
        holes: Vec<(&'static str, &'l str)>,
    ) -> Self {
        Self { subject, log, kind, holes, at: None, state: OnceCell::new() }
    }

    /// The same, with the instruction that the verifier refused.
    pub(super) fn at(self, at: Option<Instruction>) -> Self {
        Self { at, ..self }
    }

    /// Whether the register of the sentence holds something whose name begins so.
    pub(super) fn is_held(&self, name: &str) -> bool {
        name.is_empty() || self.state().is_some_and(|state| state.starts_with(name))
    }

    /// The instruction that the sentence itself names, or that follows from the program.
    pub(super) fn stopped_at(&self) -> Option<usize> {
        match self.hole("at") {
            Some(index) if self.kind != RefusalKind::PacketBounds => index.parse().ok(),
            _ => self.open_end().filter(|_| self.kind == RefusalKind::CodeMissing),
        }
    }

    /// Whether the sentence is about no instruction in particular.
    pub(super) fn is_about_the_whole(&self) -> bool {
        matches!(self.kind, RefusalKind::StackDepth | RefusalKind::CodeMissing)
    }

    /// The first of some sentences whose holes are all known.
    pub(super) fn first_known(&self, templates: &[&str]) -> Option<String> {
        templates.iter().find_map(|template| template::fill(template, |name| self.get(name)))
    }

    fn hole(&self, name: &str) -> Option<&'l str> {
        self.holes.iter().find(|(own, _)| *own == name).map(|(_, text)| *text)
    }

    fn get(&self, name: &str) -> Option<String> {
        match name {
            "access" => Some(self.access().to_owned()),
            "sized" => Some(self.sized()),
            "register" => self.hole("reg").map(|reg| format!("r{reg}")),
            "holds" => self.state().and_then(|state| self.words_for(state)),
            "kind_words" => self.words_for(self.hole("kind")?),
            "found_words" => self.words_for(self.hole("found")?),
            "what_words" => self.words_for(self.hole("what")?),
            "expected_words" => self.expected(),
            "least" => self.offset(self.least()?),
            "most" => self.offset(self.number_of(&UPPER)?),
            "value_size" => self
                .hole(name)
                .map(str::to_owned)
                .or_else(|| self.number_of(&["vs"]).map(|size| size.to_string())),
            "map" => self.map(),
            "pointer" => self.pointer(&["->", "["]),
            "struct" => self.pointer(&["->"]),
            "callee" => self.callee(self.stop()?.index),
            "alloc_call" => self.callee(self.alloc()?),
            "alloc_place" => self.alloc_place(),
            "release" => self.release(),
            "type" => Some(
                self.subject.prog_type.map_or("these".to_owned(), |kind| kind.to_string().to_uppercase()),
            ),
            "license" => self.subject.license.map(quote),
            "limit" => self.limit(),
            "ends" => {
                self.insn_at(self.stop()?.index).filter(|insn| insn.is_exit()).map(|_| "ends".to_owned())
            }
            "last" => self.open_end().map(|index| index.to_string()),
            "last_of_all" => self.subject.insns.len().checked_sub(1).map(|index| index.to_string()),
            _ => self.hole(name).map(str::to_owned),
        }
    }

    fn stop(&self) -> Option<&Instruction> {
        self.at.as_ref()
    }

    fn insn_at(&self, index: usize) -> Option<Insn> {
        self.subject.insns.get(index).copied()
    }

    fn refused_insn(&self) -> Option<Insn> {
        self.insn_at(self.stop()?.index)
    }

    /// What the instruction does with memory; a call may do either.
    fn access(&self) -> &'static str {
        match (self.refused_insn(), self.stop()) {
            (Some(insn), _) if insn.reads() => "read",
            (Some(insn), _) if insn.access_size().is_some() => "write",
            (None, Some(at)) if at.text.starts_with('*') => "write",
            (None, Some(at)) if at.text.contains(" = *(") => "read",
            _ => "access",
        }
    }

    /// How many bytes are accessed: the sentence says so, or the instruction does.
    fn sized(&self) -> String {
        let size = self.hole("size").map(str::to_owned);
        let size = size.or_else(|| Some(self.refused_insn()?.access_size()?.to_string()));
        let size = size.or_else(|| Some(accessed(&self.stop()?.text)?.to_string()));
        match size.as_deref() {
            Some("1") => "1 byte".to_owned(),
            Some(size) => format!("{size} bytes"),
            None => "bytes".to_owned(),
        }
    }

    /// What the register of the sentence holds at the refused instruction, in the log's words.
    fn state(&self) -> Option<&'l str> {
        *self.state.get_or_init(|| log::register(self.log, self.hole("reg")?.parse().ok()?))
    }

    /// A number that the log says of the register, by the first of `names` that it uses.
    fn number_of(&self, names: &[&str]) -> Option<i128> {
        let (_, inside) = self.state()?.split_once('(')?;
        let value_of = |name: &str| {
            // `smin=umin=0` says two things of one number.
            let mut parts = inside.trim_end_matches(')').split(',').filter_map(|part| part.rsplit_once('='));
            parts
                .find(|(names, _)| names.split('=').any(|own| own == name))
                .and_then(|(_, value)| number(value))
        };
        names.iter().find_map(|name| value_of(name))
    }

    /// The lower bound of what varies in the register. A log before 6.6 does not mention one of 0.
    fn least(&self) -> Option<i128> {
        let unmentioned = || self.number_of(&UPPER).filter(|most| *most <= i128::from(i64::MAX)).map(|_| 0);
        self.number_of(&["smin", "umin", "smin_value", "umin_value"]).or_else(unmentioned)
    }

    /// Where an access is, given what varies of the offset: with what is fixed of it.
    fn offset(&self, variable: i128) -> Option<String> {
        let fixed = if let Some(off) = self.hole("off") {
            // The verifier has added up what the pointer and the instruction have.
            off.parse().ok()?
        } else {
            let in_insn = self.refused_insn().map_or(0, |insn| i128::from(insn.off));
            in_insn.checked_add(self.number_of(&["off"]).unwrap_or_default())?
        };
        Some(variable.checked_add(fixed)?.to_string())
    }

    /// A type of a register in plain words.
    fn words_for(&self, state: &str) -> Option<String> {
        let name = state.trim_start_matches("rdonly_").trim_start_matches("percpu_");
        if name.starts_with(|c: char| c.is_ascii_digit() || c == '-') {
            return Some("a number".to_owned());
        }
        let (_, words) = TYPES.iter().find(|(own, _)| name.starts_with(own))?;
        match self.map() {
            Some(map) if name.starts_with("map_value") => Some(format!("a pointer to a value of map {map}")),
            _ => Some((*words).to_owned()),
        }
    }

    /// The types that a helper takes, in plain words.
    fn expected(&self) -> Option<String> {
        let mut words: Vec<String> = Vec::new();
        for name in self.hole("expected")?.split(", ") {
            let word = self.words_for(name)?;
            if !words.contains(&word) {
                words.push(word);
            }
        }
        Some(words.join(" or "))
    }

    /// The map whose value is accessed: the log has its name since 6.2, else it is the only one of that size.
    fn map(&self) -> Option<String> {
        let named = self.state().and_then(|state| {
            let (_, rest) = state.split_once("map=")?;
            rest.split([',', ')']).next()
        });
        if let Some(name) = named {
            // The kernel keeps 15 bytes of it.
            let whole = self.subject.maps.iter().find(|(own, _)| own.starts_with(name));
            return Some(quote(whole.map_or(name, |(own, _)| own)));
        }
        let size: u32 = self
            .hole("value_size")
            .map(str::to_owned)
            .or_else(|| self.number_of(&["vs"]).map(|size| size.to_string()))?
            .parse()
            .ok()?;
        let mut of_size = self.subject.maps.iter().filter(|(_, own)| *own == size);
        match (of_size.next(), of_size.next()) {
            (Some((name, _)), None) => Some(quote(name)),
            _ => None,
        }
    }

    /// The only variable that the line of source goes through, with one of these signs after it.
    fn pointer(&self, signs: &[&str]) -> Option<String> {
        let text = &self.stop()?.source.as_ref()?.text;
        let mut found: Option<&str> = None;
        for (at, _) in signs.iter().flat_map(|sign| text.match_indices(sign)) {
            let before = &text[..at];
            let start = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_').len();
            let name = &before[start..];
            let is_part = before[..start].ends_with(['.', '>']);
            if is_part || name == "ctx" || !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                continue;
            }
            if found.is_some_and(|other| other != name) {
                return None;
            }
            found = Some(name);
        }
        found.map(str::to_owned)
    }

    /// The name of the function that the instruction `index` calls.
    fn callee(&self, index: usize) -> Option<String> {
        let named = self.insn_at(index).and_then(|insn| match insn.call()? {
            Call::Helper(id) => helpers::name(id),
            _ => None,
        });
        named.map(str::to_owned).or_else(|| {
            let lines = self.log.lines().rev().filter_map(log::instruction);
            let (_, text) = lines.into_iter().find(|(own, _)| *own == index)?;
            let name = text.strip_prefix("call ")?.split([' ', '#']).next()?;
            (!name.starts_with("pc")).then(|| name.to_owned())
        })
    }

    /// The instruction that has got what is not given back.
    fn alloc(&self) -> Option<usize> {
        self.hole("alloc")?.parse().ok()
    }

    fn alloc_place(&self) -> Option<String> {
        let index = self.alloc()?;
        let source = instruction(self.subject, self.log, index).source;
        let source = source.filter(|source| !source.file.is_empty());
        Some(match source {
            Some(source) => format!("instruction {index} ({source})"),
            None => format!("instruction {index}"),
        })
    }

    fn release(&self) -> Option<String> {
        let call = self.callee(self.alloc()?)?;
        RELEASES.iter().find(|(own, _)| *own == call).map(|(_, release)| (*release).to_owned())
    }

    /// How many instructions this kernel walks, which it says at the end.
    fn limit(&self) -> Option<String> {
        let line = self.log.lines().rev().find(|line| line.starts_with("processed "))?;
        let (_, rest) = line.split_once("(limit ")?;
        rest.split_once(')').map(|(limit, _)| limit.to_owned())
    }

    /// The end of the first function that ends with an instruction which goes on to the next.
    fn open_end(&self) -> Option<usize> {
        let insns = self.subject.insns;
        let starts = self.subject.functions.iter().map(|(start, _)| *start).skip(1);
        let mut ends = starts.chain([insns.len()]).filter_map(|end| end.checked_sub(1));
        ends.find(|last| insns.get(*last).is_some_and(|insn| !insn.is_exit() && !insn.is_plain_jump()))
    }
}

/// How many bytes an instruction accesses, in the verifier's words: `*(u32 *)`.
fn accessed(text: &str) -> Option<u32> {
    let (_, rest) = text.split_once("*(u").or_else(|| text.split_once("*(s"))?;
    let bits: u32 = rest.split(' ').next()?.parse().ok()?;
    Some(bits / 8)
}

/// A number of the log, decimal or not.
fn number(text: &str) -> Option<i128> {
    match text.strip_prefix("0x") {
        Some(hex) => i128::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}
