//! What became of a pointer on its way through the verifier's log: which call has made a number of it.

use super::log::{Source, instruction, source_of, state_of};

/// A call after which pointers of some type are numbers, and what the log calls that type.
pub(super) struct Ender {
    pub(super) call: &'static str,
    pub(super) pointers: &'static [&'static str],
}

/// The call that has made a number of what the register `number` holds when the last instruction of a log is reached:
/// its index and its name.
///
/// The register is followed back through copies and through the stack to where it was a pointer of a type that the
/// call ends. A call of a global function, which may do the same, is named by `function`.
pub(super) fn ended_by(
    log: &str,
    number: u32,
    enders: &[Ender],
    function: impl Fn(usize) -> Option<String>,
) -> Option<(usize, String)> {
    let mut held = format!("R{number}");
    // The call of a helper is sure to be it, that of a global function only where there is no other.
    let (mut helper, mut global) = (None, None);
    let (mut frame, mut is_global) = (None, false);
    let mut lines = log.lines().rev();
    lines.by_ref().find(|line| instruction(line).is_some())?;
    for line in lines {
        is_global |= line.contains(" is global and ");
        let step = instruction(line);
        if let Some((index, text)) = step.filter(|(_, text)| text.starts_with("call ")) {
            let name = text["call ".len()..].split(['#', ' ']).next().unwrap_or_default();
            if let Some(ender) = enders.iter().find(|ender| ender.call == name) {
                helper = Some((index, name.to_owned(), ender));
            } else if is_global && name.starts_with("pc") {
                global = Some(index);
            }
            is_global = false;
        }
        let Some(own) = frame_of(line) else { continue };
        if *frame.get_or_insert(own) != own {
            continue;
        }
        if let Some(state) = state_of(line, &held) {
            let is_a = |pointers: &[&str]| pointers.iter().any(|name| state.starts_with(name));
            match (&helper, global) {
                (Some((index, name, ender)), _) if is_a(ender.pointers) => {
                    return Some((*index, name.clone()));
                }
                (None, Some(index)) if is_a(&["pkt"]) => return Some((index, function(index)?)),
                _ if !is_number(state) => return None,
                _ => {}
            }
        }
        match step.map(|(_, text)| source_of(text, &held)) {
            Some(Source::Place(source)) => held = source,
            Some(Source::Other) => return None,
            Some(Source::Same) | None => {}
        }
    }
    None
}

fn is_number(state: &str) -> bool {
    let digits = state.trim_start_matches(['P', '-']);
    ["scalar", "inv"].iter().any(|name| digits.starts_with(name))
        || digits.starts_with(|c: char| c.is_ascii_digit())
}

/// The frame whose registers a line tells of; none if it tells of no register.
fn frame_of(line: &str) -> Option<&str> {
    let tells = (0..=10).any(|number| state_of(line, &format!("R{number}")).is_some());
    let frame = line.find("frame").and_then(|at| line[at..].split(':').next());
    tells.then(|| frame.filter(|frame| frame.len() < 8).unwrap_or("frame0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOVES: &[Ender] = &[Ender { call: "bpf_xdp_adjust_head", pointers: &["pkt"] }];

    fn moved(log: &str, number: u32) -> Option<(usize, String)> {
        ended_by(log, number, MOVES, |index| Some(format!("f{index}")))
    }

    #[test]
    fn a_pointer_is_followed_through_copies_and_the_stack() {
        let log = "0: R1=ctx() R10=fp0\n1: (61) r7 = *(u32 *)(r1 +0) ; R1=ctx() R7=pkt(r=0)\n\
            2: (7b) *(u64 *)(r10 -8) = r7 ; R7=pkt(r=0) R10=fp0 fp-8=pkt(r=0)\n\
            3: (85) call bpf_xdp_adjust_head#44 ; R0=scalar()\n\
            4: (79) r2 = *(u64 *)(r10 -8) ; R2=scalar() R10=fp0 fp-8=scalar()\n\
            5: (bf) r3 = r2 ; R2=scalar() R3=scalar()\n6: (07) r3 += 14 ; R3=scalar()\n\
            7: (69) r4 = *(u16 *)(r3 +0)\n";
        assert_eq!(moved(log, 3), Some((3, "bpf_xdp_adjust_head".to_owned())));
        assert_eq!(moved(log, 4), None);
        // Read again after the call.
        let anew = "1: (61) r7 = *(u32 *)(r1 +0) ; R7=pkt(r=0)\n2: (85) call bpf_xdp_adjust_head#44 ; R0=scalar()\n\
            3: (61) r7 = *(u32 *)(r1 +8) ; R7=scalar()\n4: (69) r4 = *(u16 *)(r7 +0)\n";
        assert_eq!(moved(anew, 7), None);
    }

    #[test]
    fn a_global_function_may_have_moved_the_packet() {
        let log = "1: (61) r6 = *(u32 *)(r1 +0) ; R6=pkt(r=0)\n2: (85) call pc+4\n\
            Func#1 ('grow') is global and assumed valid.\n3: R0=scalar() R6=scalar() R10=fp0\n\
            3: (69) r4 = *(u16 *)(r6 +0)\n";
        assert_eq!(moved(log, 6), Some((2, "f2".to_owned())));
    }
}
