//! What the verifier means: its log of a refused program becomes an [`Explanation`].
//!
//! The verifier ends its log with a sentence for those who know its code. Here it is recognised by a table of such
//! sentences, and told again as a rule with the numbers of the case, beside the instruction, its line of source and the
//! usual repair. Nobody is asked: what is not in the log is in the [`Subject`], as far as the caller knows it.

mod facts;
mod log;
mod template;
mod trace;
mod words;

pub use log::verdict;

use facts::Facts;
use words::{Row, TABLES};

use crate::btf::{Btf, LineInfo};
use crate::error::{Explanation, Instruction, SourceLine, escape};
use crate::insn::disasm::disassemble;
use crate::insn::{Call, Insn, walk};
use crate::uapi::bpf::{BPF_INSN_SIZE, ProgType};

/// What there is to say where the verifier has passed the program.
const NO_COMPLAINT: &str = "the verifier has no complaint: the kernel refuses the program afterwards, as when it \
                            cannot make machine code of it";

/// The refused program, as far as it is known. Nothing of it must be: an empty one does for a log alone.
#[derive(Clone, Debug, Default)]
pub struct Subject<'a> {
    /// Its instructions, as they were handed over.
    pub insns: &'a [Insn],
    /// The types and strings that the lines below are in.
    pub btf: Option<&'a Btf>,
    /// Which lines of source the instructions come from, in their order; offsets in bytes from the first instruction.
    pub lines: &'a [LineInfo],
    /// Where functions begin and their names, in their order: the program itself is the first.
    pub functions: Vec<(usize, &'a str)>,
    /// The maps that it refers to: name and bytes of a value.
    pub maps: Vec<(&'a str, u32)>,
    /// Its license.
    pub license: Option<&'a str>,
    /// Its type.
    pub prog_type: Option<ProgType>,
}

/// What the verifier's `log` of a refusal means for the program that was refused.
///
/// Any text is taken for a log. Time grows with its length, and memory does not.
pub fn explain(subject: &Subject<'_>, log: &str) -> Explanation {
    for row in TABLES.into_iter().flatten() {
        if let Some((words, facts)) = find(row, subject, log) {
            let mut explanation = Explanation::new(words, log.lines().count());
            explanation.kind = row.kind;
            explanation.at = facts.stop().cloned();
            if let Some(rule) = facts.first_known(row.rules) {
                explanation.rule = rule;
            }
            explanation.help = facts.first_known(row.helps);
            return explanation;
        }
    }
    let mut explanation = Explanation::new(verdict(log).unwrap_or_default(), log.lines().count());
    if log::ends_without_complaint(log) {
        NO_COMPLAINT.clone_into(&mut explanation.rule);
        return explanation;
    }
    explanation.at = log::last_instruction(log).map(|(index, _)| instruction(subject, log, index));
    explanation
}

/// The sentence of the log that the row has, and what it tells.
fn find<'l>(row: &Row, subject: &'l Subject<'l>, log: &'l str) -> Option<(&'l str, Facts<'l>)> {
    log::last_sentences(log).into_iter().find_map(|sentence| {
        let holes = row.words.iter().find_map(|words| template::read(words, sentence))?;
        let facts = Facts::new(subject, log, row.kind, holes);
        (facts.is_held(row.holding) && facts.is_known(row.needs)).then_some((sentence, facts))
    })
}

/// The instruction `index` with all that is known of it.
fn instruction(subject: &Subject<'_>, log: &str, index: usize) -> Instruction {
    let from_log = log::last_instruction(log).filter(|(last, _)| *last == index);
    let slots = walk(subject.insns).find(|(at, _)| *at == index).map(|(_, slots)| slots);
    let kfunc = |(_, text)| log::called(text).filter(|_| is_kfunc(slots)).map(|name| format!("call {name}"));
    let text = from_log.and_then(kfunc).or_else(|| match (slots, from_log) {
        // The text of one instruction needs no other.
        (Some(slots), _) => disassemble(slots).next().map(|line| line.text),
        (None, Some((_, text))) => Some(text.to_owned()),
        (None, None) => None,
    });
    let source = source_of(subject, index).or_else(|| {
        let (text, file, line) = log::last_source(log).filter(|_| from_log.is_some())?;
        Some(SourceLine { file: file.to_owned(), line, column: 0, text: text.to_owned() })
    });
    let function = subject.functions.partition_point(|(start, _)| *start <= index).checked_sub(1);
    let function = function.filter(|at| *at > 0).and_then(|at| subject.functions.get(at));
    Instruction {
        index,
        text: text.unwrap_or_default(),
        function: function.map(|(_, name)| (*name).to_owned()),
        source,
    }
}

/// Whether these slots are a call of a kernel function, of which the instruction has only a number.
fn is_kfunc(slots: Option<&[Insn]>) -> bool {
    matches!(slots.and_then(<[Insn]>::first).and_then(|insn| insn.call()), Some(Call::Kfunc(_)))
}

/// The line of source of the instruction `index`. Lines with the number 0 are the compiler's own.
fn source_of(subject: &Subject<'_>, index: usize) -> Option<SourceLine> {
    let btf = subject.btf?;
    let offset = index.checked_mul(BPF_INSN_SIZE)?;
    let end = subject.lines.partition_point(|line| line.offset as usize <= offset);
    let line = subject.lines.get(..end)?.iter().rev().find(|line| line.line != 0)?;
    Some(SourceLine {
        file: btf.text(line.file).ok()?.to_owned(),
        line: line.line,
        column: line.column,
        text: btf.text(line.text).map(|text| escape(text.trim()).into_owned()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::TypeId;
    use crate::btf::builder::{Builder, info};
    use crate::bytes::ByteOrder;
    use crate::error::RefusalKind;
    use crate::uapi::btf::BtfKind;

    /// Instructions by their opcodes and what they read from.
    fn insns(all: &[(u8, u8, u8)]) -> Vec<Insn> {
        all.iter().map(|&(code, dst, src)| Insn { code, dst, src, off: 0, imm: 0 }).collect()
    }

    #[test]
    fn an_argument_that_is_not_used_is_told_from_one_that_is_wrong() {
        let mut types = Builder::new(ByteOrder::NATIVE);
        let number = types.int("int", 4, 1);
        let pointer = types.refer(BtfKind::PTR, "", number);
        let names = ["ctx", "number"].map(|name| [types.string(name), pointer.0]);
        let signature = types.add(BtfKind::FUNC_PROTO, "", number.0, &names);
        types.refer(BtfKind::FUNC, "first_of", signature);
        let btf = types.parse().unwrap();
        let log = "0: R1=ctx() R10=fp0\n2: (61) r2 = *(u32 *)(r1 +0)          ; R1=ctx() R2=pkt(r=0)\n\
            3: (bf) r1 = r2                       ; R1=pkt(r=0) R2=pkt(r=0)\n6: (85) call pc+1\n\
            arg#0 expects pointer to ctx\nCaller passes invalid args into func#1 ('first_of')\n";
        // A load through r2, or through r1, and the end.
        for (read, is_used) in [(2, false), (1, true)] {
            let insns = insns(&[(0x95, 0, 0), (0x61, 0, read), (0x95, 0, 0)]);
            let functions = vec![(0, "program"), (1, "first_of")];
            let subject = Subject { insns: &insns, btf: Some(&btf), functions, ..Subject::default() };
            let explanation = explain(&subject, log);
            let help = explanation.help.unwrap();
            assert_eq!((explanation.kind, help == "pass ctx itself"), (RefusalKind::ArgumentType, is_used));
            assert_eq!(help.contains("use `ctx` in it"), !is_used);
        }
    }

    #[test]
    fn what_a_list_contains_is_looked_for_in_the_types() {
        let log = "2: (85) call bpf_spin_lock#93\nmap '.data.list' has no valid bpf_spin_lock\n";
        for (contained, missing) in
            [("item:link", None), ("item:node", Some("item, node")), ("thing:link", Some("thing, link"))]
        {
            let mut types = Builder::new(ByteOrder::NATIVE);
            let number = types.int("int", 4, 1);
            types.composite(BtfKind::STRUCT, "item", 4, &[("link", number, 0)]);
            let tag = types.string(&format!("contains:{contained}"));
            let TypeId(of) = types.composite(BtfKind::STRUCT, "list", 4, &[("head", number, 0)]);
            types.raw(tag, info(BtfKind::DECL_TAG, 0), of, &[0]);
            let btf = types.parse().unwrap();
            let explanation = explain(&Subject { btf: Some(&btf), ..Subject::default() }, log);
            let named = missing.map(|missing| format!("`__contains({missing})`"));
            assert_eq!(explanation.kind, RefusalKind::TypesMissing);
            assert_eq!(named.is_some_and(|named| explanation.rule.contains(&named)), missing.is_some());
            assert_eq!(explanation.rule.contains("__contains"), missing.is_some());
        }
    }

    /// clang -mcpu=v4 emits such reads where a program converts the field to a signed type first.
    #[test]
    fn a_pointer_of_the_context_is_read_unsigned() {
        let log = "0: (81) r2 = *(s32 *)(r1 +0)\ninvalid bpf_context access off=0 size=4\n";
        let subject = Subject { prog_type: Some(ProgType::XDP), ..Subject::default() };
        let explanation = explain(&subject, log);
        let told = explanation.to_string();
        assert!(told.contains("read of ctx->data with its sign extended"), "{told}");
        let unsigned = log.replace("s32", "u32");
        assert!(!explain(&subject, &unsigned).to_string().contains("sign extended"));
    }

    #[test]
    fn an_object_is_dropped_by_the_function_for_its_kind() {
        let log = "0: (85) call bpf_obj_drop_impl#1\narg#0 expected for bpf_percpu_obj_drop_impl()\n";
        let explanation = explain(&Subject::default(), log);
        let rule = "argument 1 of bpf_obj_drop_impl is an object for bpf_percpu_obj_drop_impl: one takes those that \
                    each processor has its own of, one all others";
        assert_eq!(explanation.rule, rule);
        assert_eq!(explanation.help.as_deref(), Some("call bpf_percpu_obj_drop_impl for this object"));
    }

    /// The kernel names the stack alone where a global function takes memory of any kind.
    #[test]
    fn what_a_global_function_takes_is_memory() {
        let log =
            "0: (85) call pc+0\nR1 type=ctx expected=fp\nCaller passes invalid args into func#1 ('f1')\n";
        let insns = insns(&[(0x85, 0, 1), (0x95, 0, 0)]);
        let functions = vec![(0, "program"), (1, "f1")];
        let rule = explain(&Subject { insns: &insns, functions, ..Subject::default() }, log).rule;
        assert_eq!(rule, "`f1` takes a pointer to memory as argument 1, and gets the context");
    }
}
