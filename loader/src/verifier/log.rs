//! The verifier's log: its lines of instructions, of states, of source, and its last words.
//!
//! ```text
//! ; if (data + 14 > end) @ a.bpf.c:23              the line of source; without its place before 6.9
//! 5: (2d) if r3 > r2 goto pc+4   ; R3=pkt(r=14)    an instruction, and since 5.18 the registers that it changed
//! from 5 to 7: R1=pkt(r=14) R10=fp0                the registers at a branch
//! R1 offset is outside of the packet               what it has to say
//! processed 7 insns (limit 1000000) ...            its statistics
//! ```

/// How far back from its end a log is searched for the reason.
const LAST_LINES: usize = 48;

/// How many words an instruction has that a sentence may follow on its line, at most.
const LAST_WORDS: usize = 8;

/// Lines that are no sentences of the verifier: statistics, states, and who calls whom.
const BESIDE: [&str; 15] = [
    "processed ",
    "verification time ",
    "stack depth ",
    "insns ",
    "cur state:",
    "old state:",
    "caller:",
    "callee:",
    "returning from callee:",
    "to caller at ",
    "from ",
    "mark_precise:",
    "frame",
    "regs=",
    "; ",
];

/// The verifier's last word in a log: the line before its statistics, and before the two states that it found alike
/// in an endless loop.
pub fn verdict(log: &str) -> Option<&str> {
    log.lines().map(str::trim).rev().find(|line| {
        let statistics = &BESIDE[..6];
        !line.is_empty() && !statistics.iter().any(|start| line.starts_with(start))
    })
}

/// Whether the last that a log tells is that a way through the program has come to its end.
pub(super) fn ends_without_complaint(log: &str) -> bool {
    verdict(log).is_some_and(|last| {
        last.ends_with(": safe") || instruction(last).is_some_and(|(_, text)| text == "exit")
    })
}

/// The sentences at the end of a log, the last one first.
pub(super) fn last_sentences(log: &str) -> Vec<&str> {
    let mut sentences = Vec::new();
    for line in log.lines().rev().take(LAST_LINES).map(str::trim) {
        if let Some((_, text)) = instruction(line) {
            // The verifier lets some sentences follow on the line of the instruction (6.18).
            sentences.extend(text.match_indices(' ').take(LAST_WORDS).map(|(at, _)| &text[at + 1..]));
            break;
        }
        if !line.is_empty() && !BESIDE.iter().any(|start| line.starts_with(start)) {
            sentences.push(line);
        }
    }
    sentences
}

/// A line of an instruction: its index and its text, with what follows on the line.
pub(super) fn instruction(line: &str) -> Option<(usize, &str)> {
    let (index, rest) = line.split_once(": (")?;
    let (opcode, text) = rest.split_once(") ")?;
    let is_opcode = opcode.len() == 2 && opcode.bytes().all(|byte| byte.is_ascii_hexdigit());
    // Very wide programs get their indices right-aligned.
    Some((index.trim().parse().ok().filter(|_| is_opcode)?, text))
}

/// The last instruction of a log: its index and its text alone.
pub(super) fn last_instruction(log: &str) -> Option<(usize, &str)> {
    let (index, rest) = log.lines().rev().find_map(instruction)?;
    let text = rest.split("; ").next().unwrap_or(rest);
    Some((index, text.trim_end()))
}

/// The line of source above the last instruction of a log: its text, its file and its number, as far as they are there.
pub(super) fn last_source(log: &str) -> Option<(&str, &str, u32)> {
    let comment = log.lines().rev().find_map(|line| line.strip_prefix("; "))?;
    let placed = comment.rsplit_once(" @ ").and_then(|(text, place)| {
        let (file, line) = place.rsplit_once(':')?;
        Some((text.trim(), file, line.parse().ok()?))
    });
    Some(placed.unwrap_or((comment.trim(), "", 0)))
}

/// What the register `number` holds when the last instruction of a log is reached, as the log writes it:
/// `pkt(off=14,r=14)`. None if it may have changed since the log told.
pub(super) fn register(log: &str, number: u32) -> Option<&str> {
    let mut lines = log.lines().rev();
    lines.by_ref().find(|line| instruction(line).is_some())?;
    for line in lines {
        if let Some(state) = state_in(line, number) {
            return Some(state);
        }
        if instruction(line).is_some_and(|(_, text)| changes(text, number)) {
            return None;
        }
    }
    None
}

/// What a line says of the register `number`.
fn state_in(line: &str, number: u32) -> Option<&str> {
    state_of(line, &format!("R{number}"))
}

/// What a line says of a place, `R1` or `fp-8`, after `R1=` or, with marks in old logs, `R1_w=`.
pub(super) fn state_of<'l>(line: &'l str, place: &str) -> Option<&'l str> {
    line.match_indices(place)
        .filter_map(|(at, _)| {
            if at > 0 && !line[..at].ends_with(' ') {
                return None;
            }
            let (marks, state) = line[at + place.len()..].split_once('=')?;
            let are_marks = matches!(marks, "" | "_w" | "_r" | "_rw");
            are_marks.then(|| &state[..state_len(state)])
        })
        .last()
}

/// Where an instruction gets what it puts into a place.
pub(super) enum Source {
    /// It leaves the place alone, or adds to what is there.
    Same,
    /// From this place.
    Place(String),
    /// From neither a register nor the stack.
    Other,
}

/// Where an instruction, in the verifier's words, gets what it puts into the place `held`, `R1` or `fp-8`.
pub(super) fn source_of(text: &str, held: &str) -> Source {
    let text = text.split(';').next().unwrap_or(text).trim_end();
    let Some(number) = held.strip_prefix('R') else {
        let slot = format!("*(u64 *)(r10 {}) = r", held.trim_start_matches("fp"));
        return text.strip_prefix(&slot).map_or(Source::Same, |source| Source::Place(format!("R{source}")));
    };
    let assigned =
        ["r", "w"].iter().find_map(|half| text.strip_prefix(half)?.strip_prefix(number)?.strip_prefix(" = "));
    let Some(source) = assigned else {
        let is_lost = text.starts_with("call ") && number.parse().is_ok_and(|number: u32| number <= 5);
        return if is_lost { Source::Other } else { Source::Same };
    };
    let register = source.strip_prefix('r').filter(|rest| rest.parse::<u32>().is_ok());
    let slot = source.strip_prefix("*(u64 *)(r10 ").and_then(|rest| rest.strip_suffix(')'));
    match (register, slot) {
        (Some(number), _) => Source::Place(format!("R{number}")),
        (None, Some(off)) => Source::Place(format!("fp{off}")),
        (None, None) => Source::Other,
    }
}

/// How long the description of a register is that a text begins with: up to a space outside of brackets.
fn state_len(text: &str) -> usize {
    let mut depth = 0_u32;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'(' => depth += 1,
            b')' => depth = depth.saturating_sub(1),
            b' ' if depth == 0 => return at,
            _ => {}
        }
    }
    text.len()
}

/// The global function that is verified on its own when a log ends.
pub(super) fn validated(log: &str) -> Option<&str> {
    let line = log.lines().rev().find_map(|line| line.strip_prefix("Validating "))?;
    line.split_once("() func#").map(|(name, _)| name)
}

/// Whether the program has subtracted two pointers into the packet.
pub(super) fn has_length_of_packet(log: &str) -> bool {
    let difference = |text: &str| {
        let (_, subtrahend) = text.split(';').next()?.trim_end().split_once(" -= ")?;
        let subtrahend = subtrahend.strip_prefix(['r', 'w'])?;
        state_of(text, &format!("R{subtrahend}")).map(|state| state.starts_with("pkt"))
    };
    log.lines().filter_map(instruction).any(|(_, text)| difference(text) == Some(true))
}

/// Whether a pointer of one type is compared with one of the other.
pub(super) fn compares(log: &str, one: &str, other: &str) -> bool {
    let is_it = |text: &str| {
        let Some(condition) = text.strip_prefix("if ").and_then(|rest| rest.split(" goto ").next()) else {
            return false;
        };
        let mut registers = condition.split(' ').filter_map(|word| word.strip_prefix(['r', 'w']));
        let (first, second) = (registers.next(), registers.next());
        let holds = |register: Option<&str>, name: &str| {
            let state = register.and_then(|register| state_of(text, &format!("R{register}")));
            state.is_some_and(|state| state.starts_with(name))
        };
        holds(first, one) && holds(second, other) || holds(first, other) && holds(second, one)
    };
    log.lines().filter_map(instruction).any(|(_, text)| is_it(text))
}

/// The name of the function that an instruction, in the verifier's words, calls, where it says one.
pub(super) fn called(text: &str) -> Option<&str> {
    let name = text.strip_prefix("call ")?.split(['#', ' ']).next()?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (is_name && name != "unknown").then_some(name)
}

/// Which of some functions is called last.
pub(super) fn last_called<'l>(log: &'l str, functions: &[&str]) -> Option<&'l str> {
    let calls = log.lines().rev().filter_map(instruction).filter_map(|(_, text)| text.strip_prefix("call "));
    calls.filter_map(|text| text.split(['#', ' ']).next()).find(|name| functions.contains(name))
}

/// Whether an instruction, in the verifier's words, puts something into a register.
pub(super) fn changes(text: &str, number: u32) -> bool {
    let is_assigned = ["r", "w"].iter().any(|half| {
        text.strip_prefix(half)
            .and_then(|rest| rest.strip_prefix(&number.to_string()))
            .is_some_and(|rest| rest.starts_with(' '))
    });
    is_assigned || number <= 5 && text.starts_with("call ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_the_sentence_and_not_what_illustrates_it() {
        let endless = "0: (05) goto pc-1\ninfinite loop detected at insn 0\n\
            cur state: R1=ctx() R10=fp0\nold state: R1=ctx() R10=fp0\nprocessed 2 insns (limit 1000000)\n";
        assert_eq!(verdict(endless), Some("infinite loop detected at insn 0"));
        assert_eq!(last_sentences(endless)[0], "infinite loop detected at insn 0");
        let same_line =
            "1: (56) if w0 != 0x5 goto pc-2 infinite loop detected at insn 0\ncur state: R10=fp0\n";
        assert!(last_sentences(same_line).contains(&"infinite loop detected at insn 0"));
        assert_eq!(verdict("processed 0 insns\n"), None);
        assert!(!ends_without_complaint(endless));
        for passed in
            ["from 6 to 9: safe\nprocessed 44 insns (limit 131072), stack depth 0+4\n", "1: (95) exit\n"]
        {
            assert!(ends_without_complaint(passed), "{passed}");
        }
    }

    #[test]
    fn an_instruction_has_an_index_an_opcode_and_a_text() {
        assert_eq!(instruction("27: (61) r1 = *(u32 *)(r1 +26)"), Some((27, "r1 = *(u32 *)(r1 +26)")));
        assert_eq!(last_instruction("3: (bf) r3 = r1    ; R1=0 R3=0\n"), Some((3, "r3 = r1")));
        for line in ["27: R1=ctx()", "x: (61) r1", "1: (6) r1", "from 1 to 2: (61) x", ": (61) x"] {
            assert_eq!(instruction(line), None, "{line}");
        }
    }

    #[test]
    fn a_register_is_known_until_it_changes() {
        let new = "0: R1=ctx() R10=fp0\n0: (61) r2 = *(u32 *)(r1 +4)   ; R1=ctx() R2=pkt(id=1, r=4)\n1: (95) exit\n";
        assert_eq!(register(new, 2), Some("pkt(id=1, r=4)"));
        assert_eq!(
            (register(new, 10), register(new, 1), register(new, 3)),
            (Some("fp0"), Some("ctx()"), None)
        );
        let old = "0: R1_w=ctx(id=0,off=0,imm=0) R10=fp0\n0: (bf) r1 = r2\n1: (85) call f#1\n2: (95) exit\n";
        assert_eq!((register(old, 1), register(old, 10)), (None, Some("fp0")));
    }

    #[test]
    fn a_line_of_source_may_come_without_its_place() {
        assert_eq!(last_source("; a = b; @ x y.c:7\n1: (95) exit\n"), Some(("a = b;", "x y.c", 7)));
        assert_eq!(last_source("; a @ b\n"), Some(("a @ b", "", 0)));
    }
}
