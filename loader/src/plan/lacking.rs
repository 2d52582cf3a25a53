//! What the kernel lacks, where the verifier comes to an instruction that must not be reached.
//!
//! An instruction for which the kernel's types have no number becomes a call of a helper that no kernel has, and so
//! does the call of a weak function that the kernel lacks. The verifier speaks of the helper; this finds what was
//! meant.

use super::externs::no_helper;
use super::{Plan, ProgramSlot};
use crate::core_reloc::{BAD_RELOCATION, Resolution, Unfit, noun};
use crate::error::{escape, quote};

const ASK: &str = "the program is to ask whether the kernel has it, and go another way";
const DECLARE: &str = "declare the field with the type that the kernel has";

/// What the verifier has stumbled over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lacking {
    /// What was meant by the instruction, in words.
    pub(super) rule: String,
    /// What to do about it.
    pub(super) help: &'static str,
}

impl Plan {
    /// What was meant by the instruction at which the verifier's `log` of a program ends; none if it ends at another.
    pub(super) fn lacking(&self, program: ProgramSlot, log: &str) -> Option<Lacking> {
        let (insn, helper) = log.lines().filter_map(call_of_no_helper).next_back()?;
        if helper == BAD_RELOCATION {
            let relocations = self.relocations.get(program.0)?;
            return Some(bad_relocation(
                relocations.iter().find(|it| it.insn == insn && it.after.is_none())?,
            ));
        }
        let called = self.externs.iter().find(|external| no_helper(external.index) == helper)?;
        let name = quote(&called.name);
        let rule =
            format!("instruction {insn} calls {name}, which the kernel lacks or has with another signature");
        Some(Lacking { rule, help: ASK })
    }
}

fn bad_relocation(missing: &Resolution) -> Lacking {
    let (insn, number, subject) = (missing.insn, noun(missing.kind), escape(&missing.subject));
    match missing.unfit {
        None => Lacking {
            rule: format!(
                "instruction {insn} needs the {number} of {subject}, which the kernel's types do not have"
            ),
            help: ASK,
        },
        Some(Unfit::Size { here, there }) => Lacking {
            rule: format!(
                "instruction {insn} accesses {here} bytes for {subject}, which the kernel has with {there}: only \
                 pointers and unsigned numbers are the same in another size"
            ),
            help: DECLARE,
        },
        Some(Unfit::Kind) => Lacking {
            rule: format!(
                "instruction {insn} needs the {number} of {subject}, which the kernel has, but as a field of another \
                 kind"
            ),
            help: DECLARE,
        },
    }
}

/// The index of an instruction and the helper that it calls, if the line of a log is that of a call which names none.
fn call_of_no_helper(line: &str) -> Option<(usize, i32)> {
    let (insn, rest) = line.split_once(": (85) call unknown#")?;
    let helper = rest.split_whitespace().next()?;
    Some((insn.trim().parse().ok()?, helper.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ExternValue, ResolvedExtern};
    use crate::uapi::btf::CoreReloKind;

    fn plan() -> Plan {
        let resolution = |insn, after, unfit| Resolution {
            insn,
            kind: CoreReloKind::FIELD_BYTE_OFFSET,
            subject: format!("struct s.f{insn}"),
            before: 8,
            after,
            unfit,
        };
        Plan {
            maps: Vec::new(),
            templates: 0,
            programs: vec!["p".to_owned()],
            sections: vec!["xdp".to_owned()],
            btf: None,
            relocations: vec![vec![
                resolution(3, Some(8), None),
                resolution(7, None, None),
                resolution(8, None, Some(Unfit::Size { here: 8, there: 4 })),
                resolution(9, None, Some(Unfit::Kind)),
            ]],
            externs: [(1, "f"), (3, "g")]
                .map(|(index, name)| ResolvedExtern {
                    index,
                    name: name.to_owned(),
                    value: ExternValue::Missing,
                })
                .into(),
            modules: Vec::new(),
            attach: Vec::new(),
            steps: Vec::new(),
        }
    }

    #[test]
    fn a_field_that_is_there_in_another_form_is_not_said_to_be_gone() {
        let lacking = |insn| {
            let log = format!("{insn}: (85) call unknown#195896080\ninvalid func unknown#195896080\n");
            plan().lacking(ProgramSlot(0), &log).unwrap()
        };
        let rules = [
            "instruction 8 accesses 8 bytes for struct s.f8, which the kernel has with 4: only pointers and unsigned \
             numbers are the same in another size",
            "instruction 9 needs the byte offset of struct s.f9, which the kernel has, but as a field of another kind",
        ];
        assert_eq!(
            [lacking(8), lacking(9)],
            rules.map(|rule| Lacking { rule: rule.to_owned(), help: DECLARE })
        );
        assert_eq!(lacking(7).help, ASK);
    }

    #[test]
    fn the_number_or_function_that_was_meant_is_named() {
        let lacking = |log| plan().lacking(ProgramSlot(0), log).map(|lacking| lacking.rule);
        assert_eq!(
            lacking("0: R1=ctx()\n7: (85) call unknown#195896080\ninvalid func unknown#195896080\n").unwrap(),
            "instruction 7 needs the byte offset of struct s.f7, which the kernel's types do not have"
        );
        assert_eq!(
            lacking("5: (85) call unknown#2002000003\ninvalid func unknown#2002000003\n").unwrap(),
            "instruction 5 calls `g`, which the kernel lacks or has with another signature"
        );
        // Helpers that a newer kernel has, or nobody.
        assert_eq!(lacking("5: (85) call unknown#240\ninvalid func unknown#240\n"), None);
        assert_eq!(lacking("5: (85) call unknown#2002000002\ninvalid func unknown#2002000002\n"), None);
        // One that was adapted, and one that calls a helper which there is.
        assert_eq!(lacking("3: (85) call unknown#195896080\n"), None);
        assert_eq!(lacking("3: (85) call bpf_map_lookup_elem#1\nR1 type=ctx expected=map_ptr\n"), None);
    }
}
