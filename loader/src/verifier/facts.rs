//! The numbers and names of one refusal, by the names of the holes in our sentences.
//!
//! First come the parts of the verifier's sentence, as [`super::words`] names them. From these, the program and what
//! the log says of registers come the others, such as `sized` (`4 bytes`), `access` (`read`), `map` or `holds`.

use std::cell::OnceCell;

use super::words::{CONTEXT, ENDERS_OF_OTHERS, MOVERS, RELEASES, SLICE_ENDERS, SUITABLE, TYPES};
use super::{Subject, instruction, log, template, trace};
use crate::btf::{FuncProto, Shape};
use crate::error::{Instruction, RefusalKind, quote};
use crate::insn::{Call, Insn, helpers};
use crate::uapi::bpf::{MapType, ProgType};
use crate::uapi::btf::BtfKind;

/// Names of an upper bound of what varies in a register.
const UPPER: [&str; 4] = ["umax", "smax", "umax_value", "smax_value"];

/// Functions that give a part of a dynptr, in place or copied into a buffer.
const SLICERS: [&str; 2] = ["bpf_dynptr_slice", "bpf_dynptr_slice_rdwr"];

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
        let mut facts = Self { subject, log, kind, holes, at: None, state: OnceCell::new() };
        let last = log::last_instruction(log).map(|(index, _)| index);
        let at = facts.stopped_at().or(last.filter(|_| !facts.is_about_the_whole()));
        facts.at = at.map(|index| instruction(subject, log, index));
        facts
    }

    /// Whether the register of the sentence holds something whose name begins so.
    pub(super) fn is_held(&self, name: &str) -> bool {
        name.is_empty() || self.state().is_some_and(|state| state.starts_with(name))
    }

    /// Whether there is something for the hole `name`, or none is asked for.
    pub(super) fn is_known(&self, name: &str) -> bool {
        name.is_empty() || self.get(name).is_some()
    }

    /// The instruction that the sentence itself names, or that follows from the program.
    fn stopped_at(&self) -> Option<usize> {
        // It stops there before it walks.
        if let Some(code) = self.hole("opcode").and_then(|code| u8::from_str_radix(code, 16).ok()) {
            return self.subject.insns.iter().position(|insn| insn.code == code);
        }
        match self.hole("at") {
            Some(index) if self.kind != RefusalKind::PacketBounds => index.parse().ok(),
            _ => self.open_end().filter(|_| self.kind == RefusalKind::CodeMissing),
        }
    }

    /// Whether the sentence is about no instruction in particular.
    fn is_about_the_whole(&self) -> bool {
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
            "sized" => self.sized(),
            "register" => Some(format!("r{}", self.register().or_else(|| self.base())?)),
            "holds" => self.state().and_then(|state| self.words_for(state)),
            "null_here" => self.state().filter(|state| is_zero(state)).map(|_| "NULL".to_owned()),
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
            "struct" => self.pointer(&["->"]).filter(|name| self.is_of_struct(name)),
            "callee" => self.callee(self.stop()?.index).map(|(name, _)| name),
            "alloc_call" => self.callee(self.alloc()?).map(|(name, _)| name),
            "alloc_place" => self.alloc_place(),
            "release" => self.release(),
            "type" => Some(
                self.subject
                    .prog_type
                    .map_or("these".to_owned(), |kind| kind.to_string().to_ascii_uppercase()),
            ),
            "license" => self.subject.license.map(|license| quote(license).into()),
            "limit" => self.limit(),
            "ends" => {
                self.insn_at(self.stop()?.index).filter(|insn| insn.is_exit()).map(|_| "ends".to_owned())
            }
            "last" => self.open_end().map(|index| index.to_string()),
            "last_of_all" => self.subject.insns.len().checked_sub(1).map(|index| index.to_string()),
            _ => self
                .of_a_call(name)
                .or_else(|| self.of_a_slice(name))
                .or_else(|| self.of_an_object(name))
                .or_else(|| self.hole(name).map(str::to_owned)),
        }
    }

    /// What there is for the holes that have to do with calls, and with the context.
    fn of_a_call(&self, name: &str) -> Option<String> {
        match name {
            "global" => self.global(),
            "argument" => self.register().map(|register| register.to_string()),
            "unset" => self.unset().map(|(number, _)| number.to_string()),
            "unset_name" => self.unset().map(|(_, name)| name),
            "parameter" => self.parameter().map(|number| number.to_string()),
            "validated" => log::validated(self.log).map(|name| quote(name).into()),
            "surplus" => self.surplus(),
            "room" => self.room().map(|room| room.to_string()),
            "mover" => self.ended_by(MOVERS).map(|(_, name)| name),
            "moved_at" => self.ended_by(MOVERS).map(|(index, _)| index.to_string()),
            "meta_mover" => self.get("mover").filter(|name| name == "bpf_xdp_adjust_meta"),
            "ender" => self.ended_by(ENDERS_OF_OTHERS).map(|(_, name)| name),
            "ended_at" => self.ended_by(ENDERS_OF_OTHERS).map(|(index, _)| index.to_string()),
            "indirect" => match self.refused_insn()?.call()? {
                Call::Callx { register } => Some(format!("r{register}")),
                _ => None,
            },
            "key_or_value" => self.key_or_value().map(str::to_owned),
            "second_lock" => self.get("callee").filter(|name| name == "bpf_spin_lock"),
            "beyond" => self.end_of_access().filter(|end| *end > 0xffff).map(|_| "65535".to_owned()),
            "above" => self
                .end_of_access()
                .filter(|end| *end > 0 && self.room().is_none())
                .map(|end| end.to_string()),
            "from_packet" => self.get("callee").filter(|name| name == "bpf_perf_event_output"),
            "proven_bytes" => match self.hole("proven")? {
                "1" => Some("1 byte is".to_owned()),
                number => Some(format!("{number} bytes are")),
            },
            "negative" => self.hole("number").filter(|number| number.starts_with('-')).map(str::to_owned),
            "too_far" => self.number_of(&UPPER).filter(|most| *most > 0xffff).map(|_| "65535".to_owned()),
            "recursive" => self.recursive(),
            "map_type" => {
                let number = self.hole("map_type_number")?.parse().ok()?;
                Some(MapType(number).name().map_or_else(|| number.to_string(), str::to_owned))
            }
            "passed_map" => self.passed_map(),
            "suitable" => {
                let helper = self.hole("helper")?;
                SUITABLE.iter().find(|(own, _)| *own == helper).map(|(_, types)| (*types).to_owned())
            }
            "by_length" => log::has_length_of_packet(self.log).then(|| "data_end - data".to_owned()),
            "data_map" => {
                let map = self.map()?;
                let section = map.trim_end_matches('`').rsplit_once('.')?.1;
                ["bss", "data", "rodata"].contains(&section).then(|| format!("`.{section}`"))
            }
            "written_field" => {
                self.field(|at, size| (at, size) == (0, 4)).filter(|_| self.access() == "write")
            }
            "moved_field" => self.get("written_field").filter(|name| name.starts_with("data")),
            "whole_field" => self.field(|at, size| (at, size) != (0, 4)),
            "signed_field" => {
                let (_, text) = log::last_instruction(self.log)?;
                self.field(|at, size| (at, size) == (0, 4))
                    .filter(|name| name.starts_with("data") && text.contains("*(s32 *)"))
            }
            "devmap_field" => self.field(|_, _| true).filter(|name| *name == "egress_ifindex"),
            _ => None,
        }
    }

    /// What there is for the holes that have to do with metadata, slices of dynptrs, and arithmetic.
    fn of_a_slice(&self, name: &str) -> Option<String> {
        match name {
            "index" => self.number_of(&UPPER).map(|_| "index".to_owned()),
            "by_end" => log::compares(self.log, "pkt_meta", "pkt_end")
                .then(|| "the comparison with ctx->data_end".to_owned()),
            "operation" => {
                let (_, text) = log::last_instruction(self.log)?;
                let operator = text.split(' ').nth(1)?;
                let is_one = operator.ends_with('=') && !["=", "+=", "-="].contains(&operator);
                is_one.then(|| operator.to_owned())
            }
            "subtrahend" => {
                let (_, text) = log::last_instruction(self.log)?;
                let number = text.split_once(" -= ")?.1.strip_prefix(['r', 'w'])?.parse().ok()?;
                self.words_for(log::register(self.log, number)?)
            }
            "movable" => {
                let held = self.hole("what").or_else(|| self.state())?;
                let names =
                    [("pkt_meta", "data_meta"), ("pkt_end", ""), ("pkt", "data"), ("map_value", "value")];
                let (_, variable) = names.iter().find(|(name, _)| held.starts_with(name))?;
                Some((*variable).to_owned()).filter(|variable| !variable.is_empty())
            }
            "given" => self.number_of(&["sz"]).map(|size| size.to_string()),
            "slicer" => self.get("callee").filter(|name| SLICERS.contains(&&**name)),
            "sliced" => log::last_called(self.log, &SLICERS).map(str::to_owned),
            "slice" => {
                // Memory from a ring buffer is given back; that of an argument is of a global function.
                let is_slice = |state: &&str| {
                    state.starts_with("rdonly_mem")
                        || state.starts_with("mem") && !state.contains("ref_obj_id=")
                };
                self.state().filter(is_slice).filter(|_| log::validated(self.log).is_none())?;
                let name = log::last_called(self.log, &[SLICERS[0], SLICERS[1], "bpf_dynptr_data"])?;
                SLICERS.contains(&name).then(|| name.to_owned())
            }
            "slice_ender" => self.ended_by(SLICE_ENDERS).map(|(_, name)| name),
            "slice_ended_at" => self.ended_by(SLICE_ENDERS).map(|(index, _)| index.to_string()),
            _ => None,
        }
    }

    /// What there is for the holes that have to do with objects, and with what keeps them.
    fn of_an_object(&self, name: &str) -> Option<String> {
        match name {
            "keyless" => {
                // These take the size of the key from the map.
                let takers = ["bpf_map_lookup_elem", "bpf_map_update_elem", "bpf_map_delete_elem"];
                self.get("callee").filter(|callee| takers.contains(&&**callee))?;
                Some(self.passed_map().map_or_else(|| "this map".to_owned(), |map| format!("map {map}")))
            }
            "maybe_null" => {
                let is_it = |number: &u32| {
                    log::register(self.log, *number).is_some_and(|state| state.contains("_or_null_"))
                };
                let mut registers = (1..=5).filter(is_it);
                registers.next().filter(|_| registers.next().is_none()).map(|number| number.to_string())
            }
            "moved" => self.number_of(&["off"]).map(|off| off.to_string()),
            "in_collection" => self
                .state()
                .filter(|state| state.contains("non_own_ref"))
                .map(|_| "in a collection".to_owned()),
            "uncontained" => self.uncontained(),
            "before" => self.hole("off").filter(|off| off.starts_with('-')).map(str::to_owned),
            "unused" => self.unused(),
            _ => None,
        }
    }

    /// The name of the argument in the register of the sentence, where the global function that is called does not use
    /// it: clang passes anything then.
    fn unused(&self) -> Option<String> {
        let (global, register) = (self.global()?, u8::try_from(self.register()?).ok()?);
        let name = global.trim_matches('`');
        let at = self.subject.functions.iter().position(|(_, own)| *own == name)?;
        let (begin, _) = self.subject.functions[at];
        let end = self.subject.functions.get(at + 1).map_or(self.subject.insns.len(), |(next, _)| *next);
        let mentions = |insn: &Insn| insn.is_call() || [insn.dst, insn.src].contains(&register);
        let is_used = self.subject.insns.get(begin..end)?.iter().any(mentions);
        self.name_of(self.signature(name)?, register.into()).filter(|_| !is_used)
    }

    /// Of a list or tree, the type and the member that it contains, which the object's BTF has not.
    fn uncontained(&self) -> Option<String> {
        let btf = self.subject.btf?;
        let tags = btf.types().filter(|(_, ty)| matches!(ty.shape, Shape::DeclTag(_)));
        let mut contents =
            tags.filter_map(|(_, tag)| btf.text(tag.name).ok()?.strip_prefix("contains:")?.split_once(':'));
        let is_described = |(ty, member): &(&str, &str)| {
            let members = btf.find(BtfKind::STRUCT, ty).and_then(|id| btf.members(id).ok());
            members
                .is_some_and(|all| all.iter().any(|own| btf.text(own.name).is_ok_and(|name| name == *member)))
        };
        contents.find(|content| !is_described(content)).map(|(ty, member)| format!("{ty}, {member}"))
    }

    /// The register of the sentence, or that of the argument which it counts from 0.
    fn register(&self) -> Option<u32> {
        let argument = || self.hole("arg")?.parse::<u32>().ok()?.checked_add(1);
        self.hole("reg").and_then(|reg| reg.parse().ok()).or_else(argument)
    }

    pub(super) fn stop(&self) -> Option<&Instruction> {
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

    fn is_at_a_call(&self) -> bool {
        let in_log = || self.stop().is_some_and(|at| at.text.starts_with("call "));
        self.refused_insn().map_or_else(in_log, Insn::is_call)
    }

    /// How many bytes are accessed: the sentence says so, or the instruction does. None at a call that may access any
    /// number of them.
    fn sized(&self) -> Option<String> {
        let size = self.hole("size").map(str::to_owned);
        let size = size.or_else(|| Some(self.refused_insn()?.access_size()?.to_string()));
        let size = size.or_else(|| Some(accessed(&self.stop()?.text)?.to_string()));
        match size.as_deref() {
            Some("1") => Some("1 byte".to_owned()),
            Some(size) => Some(format!("{size} bytes")),
            None if self.is_at_a_call() => None,
            None => Some("bytes".to_owned()),
        }
    }

    /// What the register of the sentence holds at the refused instruction, in the log's words.
    fn state(&self) -> Option<&'l str> {
        *self.state.get_or_init(|| log::register(self.log, self.register().or_else(|| self.base())?))
    }

    /// The register through which the last instruction accesses memory, where the sentence names none.
    fn base(&self) -> Option<u32> {
        let (_, text) = log::last_instruction(self.log)?;
        let (_, rest) = text.split_once(" *)(r")?;
        rest.split(' ').next()?.parse().ok()
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
        let (own, words) = TYPES.iter().find(|(own, _)| name.starts_with(own))?;
        if own.ends_with("ptr_") {
            let of = name[own.len()..].trim_start_matches("or_null_").split('(').next().unwrap_or_default();
            if !of.is_empty() {
                return Some(words.replace("an object", &format!("`struct {of}`")));
            }
        }
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
        // Whoever takes the stack takes nearly all memory there is; of what a global function takes, the log names it
        // alone.
        let is_short = words.len() <= 2 && (words.len() > 1 || self.global().is_none());
        if !is_short && words[0] == "a pointer to the stack" {
            return Some("a pointer to memory".to_owned());
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
            return Some(self.map_named(name));
        }
        let size: u32 = self
            .hole("value_size")
            .map(str::to_owned)
            .or_else(|| self.number_of(&["vs"]).map(|size| size.to_string()))?
            .parse()
            .ok()?;
        let mut of_size = self.subject.maps.iter().filter(|(_, own)| *own == size);
        match (of_size.next(), of_size.next()) {
            (Some((name, _)), None) => Some(quote(name).into()),
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
            let field = text[at..].trim_start_matches("->");
            let is_context = CONTEXT.iter().any(|(_, own)| field.starts_with(own));
            if is_part
                || is_context
                || name == "ctx"
                || !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            {
                continue;
            }
            if found.is_some_and(|other| other != name) {
                return None;
            }
            found = Some(name);
        }
        found.map(str::to_owned)
    }

    /// Whether what is accessed is a member of what the variable `name` points to, and not what such a member points to
    /// or how long something is.
    fn is_of_struct(&self, name: &str) -> bool {
        let Some(source) = self.stop().and_then(|at| at.source.as_ref()) else { return false };
        let member = format!("{name}->");
        source.text.match_indices(&member).all(|(at, _)| {
            let (before, rest) = (source.text[..at].trim_end(), &source.text[at + member.len()..]);
            let after = rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let is_followed = before.ends_with("*)") || before.ends_with('*') || after.starts_with("->");
            !is_followed && (!self.is_at_a_call() || before.ends_with('&'))
        })
    }

    /// The name of the function that the instruction `index` calls, and whether it is one of the program's own.
    fn callee(&self, index: usize) -> Option<(String, bool)> {
        let insn = self.insn_at(index);
        match insn.and_then(Insn::call) {
            Some(Call::Helper(id)) if helpers::name(id).is_some() => {
                return helpers::name(id).map(|name| (name.to_owned(), false));
            }
            Some(Call::Subprogram { offset }) => {
                let target = index.checked_add(1)?.checked_add_signed(offset.try_into().ok()?)?;
                let (_, name) = self.subject.functions.iter().find(|(start, _)| *start == target)?;
                return Some((quote(name).into(), true));
            }
            _ => {}
        }
        let mut lines = self.log.lines().rev().filter_map(log::instruction);
        let (_, text) = lines.find(|(own, _)| *own == index)?;
        Some((log::called(text)?.to_owned(), false))
    }

    /// The global function whose caller passes what does not fit its types, as the verifier says last.
    fn global(&self) -> Option<String> {
        let mut sentences = log::last_sentences(self.log).into_iter();
        let said = sentences.find(|said| said.starts_with("Caller passes invalid args into func#"))?;
        let named = said.split_once("('").and_then(|(_, rest)| rest.strip_suffix("')"));
        // Before 6.8 it has no name.
        let callee = || self.callee(self.stop()?.index).filter(|(_, is_own)| *is_own).map(|(name, _)| name);
        named
            .map(|name| quote(name).into())
            .or_else(callee)
            .or_else(|| Some("the called function".to_owned()))
    }

    /// The signature of a function of the program.
    fn signature(&self, function: &str) -> Option<&'l FuncProto> {
        let btf = self.subject.btf?;
        let Shape::Func(function) = &btf.get(btf.find(BtfKind::FUNC, function)?).ok()?.shape else {
            return None;
        };
        match &btf.get(function.proto).ok()?.shape {
            Shape::FuncProto(signature) => Some(signature),
            _ => None,
        }
    }

    fn name_of(&self, signature: &FuncProto, number: usize) -> Option<String> {
        let name = signature.params.get(number.checked_sub(1)?)?.name;
        self.subject.btf?.text(name).ok().filter(|name| !name.is_empty()).map(|name| quote(name).into())
    }

    /// The only pointer among the arguments of the global function for which nothing is known of the register: its
    /// number and its name.
    fn unset(&self) -> Option<(usize, String)> {
        let global = self.global()?;
        let (btf, signature) = (self.subject.btf?, self.signature(global.trim_matches('`'))?);
        let is_pointer = |ty| {
            let ty = btf.resolve(ty).and_then(|ty| btf.get(ty));
            ty.is_ok_and(|ty| matches!(ty.shape, Shape::Ptr(_)))
        };
        let is_unset = |number: &usize| {
            let number = u32::try_from(*number).unwrap_or_default();
            log::register(self.log, number).is_none()
        };
        let numbers = 1..=signature.params.len();
        let mut unset = numbers.filter(|number| is_pointer(signature.params[number - 1].ty)).filter(is_unset);
        let number = unset.next().filter(|_| unset.next().is_none())?;
        Some((number, self.name_of(signature, number)?))
    }

    /// The number of the argument of the global function being verified that the register of the sentence holds.
    fn parameter(&self) -> Option<u32> {
        let id = id_of(self.state()?)?;
        let name = log::validated(self.log)?;
        let begin = self.log.rfind(&format!("Validating {name}()"))?;
        let entry = self.log[begin..].lines().nth(1)?;
        (1..=5).find(|number| log::state_of(entry, &format!("R{number}")).and_then(id_of) == Some(id))
    }

    /// The name of a second argument of the program itself, which gets but one.
    fn surplus(&self) -> Option<String> {
        let register = self.register().filter(|register| (2..=5).contains(register))?;
        let (_, program) = self.subject.functions.first()?;
        let is_in_program = self.stop()?.function.is_none();
        // The last instruction is the one that was refused.
        let steps = self.log.lines().rev().filter_map(log::instruction).skip(1);
        let is_changed = steps.into_iter().any(|(_, text)| log::changes(text, register));
        if is_changed || !is_in_program {
            return None;
        }
        self.name_of(self.signature(program)?, register as usize)
    }

    /// Where the accessed bytes end.
    fn end_of_access(&self) -> Option<i64> {
        let off: i64 = self.hole("off")?.parse().ok()?;
        off.checked_add(self.hole("size")?.parse().ok()?)
    }

    /// How many bytes of the stack there are behind the address that a call gets, where they are too few.
    fn room(&self) -> Option<i64> {
        let off: i64 = self.hole("off")?.parse().ok()?;
        let size: i64 = self.hole("size")?.parse().ok()?;
        let room = off.checked_neg()?;
        (self.is_at_a_call() && (1..=512).contains(&room) && size > room).then_some(room)
    }

    fn ended_by(&self, enders: &[trace::Ender]) -> Option<(usize, String)> {
        let function = |index| self.callee(index).map(|(name, _)| name);
        trace::ended_by(self.log, self.register()?, enders, function)
    }

    /// The function that calls itself with the refused instruction.
    fn recursive(&self) -> Option<String> {
        let at = self.stop()?;
        let (name, _) = self.callee(at.index).filter(|(_, is_own)| *is_own)?;
        (quote(at.function.as_deref()?).to_string() == name).then_some(name)
    }

    /// What of an entry the argument in the register of the sentence points to.
    fn key_or_value(&self) -> Option<&'static str> {
        match (&*self.get("callee")?, self.register()?) {
            (
                "bpf_map_lookup_elem"
                | "bpf_map_update_elem"
                | "bpf_map_delete_elem"
                | "bpf_map_lookup_percpu_elem",
                2,
            ) => Some("key"),
            ("bpf_map_update_elem", 3)
            | ("bpf_map_push_elem" | "bpf_map_pop_elem" | "bpf_map_peek_elem", 2) => Some("value"),
            _ => None,
        }
    }

    /// The only map among the arguments of the call.
    fn passed_map(&self) -> Option<String> {
        let mut maps = (1..=5).filter_map(|number| {
            let (_, rest) = log::register(self.log, number)
                .filter(|state| state.starts_with("map_ptr"))?
                .split_once("map=")?;
            rest.split([',', ')']).next()
        });
        let name = maps.next().filter(|_| maps.next().is_none())?;
        Some(self.map_named(name))
    }

    /// A map by the 15 bytes of its name that the kernel keeps.
    fn map_named(&self, name: &str) -> String {
        let whole = self.subject.maps.iter().find(|(own, _)| own.starts_with(name));
        quote(whole.map_or(name, |(own, _)| own)).into()
    }

    /// The field of the context that is accessed, if `fits` holds for the distance from its beginning and the size.
    fn field(&self, fits: impl Fn(u32, u32) -> bool) -> Option<String> {
        let off: u32 = self.hole("off")?.parse().ok()?;
        let size: u32 = self.hole("size")?.parse().ok()?;
        let (_, name) = CONTEXT.iter().find(|(start, _)| (*start..start + 4).contains(&off))?;
        let is_ours = self.subject.prog_type == Some(ProgType::XDP);
        (is_ours && fits(off % 4, size)).then(|| (*name).to_owned())
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
        let (call, _) = self.callee(self.alloc()?)?;
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

/// Whether the log says of a register that it is 0.
fn is_zero(state: &str) -> bool {
    matches!(state, "0" | "P0" | "inv0" | "invP0")
}

/// The number that the log gives to a pointer and its copies.
fn id_of(state: &str) -> Option<&str> {
    let (_, rest) = state.split_once("(id=")?;
    rest.split([',', ')']).next().filter(|_| state.starts_with("mem_or_null"))
}
