//! Sentences with holes: `invalid stack off={off} size={size}`, matched with the kernel's and filled for ours.

/// Each hole of `pattern` with the part of `text` that it stands for, if `text` begins as `pattern` says.
///
/// A hole `{name}` stands for one word or a part of one, as short as what comes after it allows; `{*name}` for several
/// words. A hole that occurs twice stands for the same both times.
pub(super) fn read<'p, 't>(pattern: &'p str, text: &'t str) -> Option<Vec<(&'p str, &'t str)>> {
    let mut holes = Vec::new();
    let (mut pattern, mut text) = (pattern, text);
    loop {
        let Some((before, hole, after)) = next_hole(pattern) else {
            return text.starts_with(pattern).then_some(holes);
        };
        text = text.strip_prefix(before)?;
        let (name, is_long) = match hole.strip_prefix('*') {
            Some(name) => (name, true),
            None => (hole, false),
        };
        let next = next_hole(after).map_or(after, |(literal, ..)| literal);
        let whole = if is_long { text } else { text.split(' ').next().unwrap_or_default() };
        let end = match next {
            "" => whole.len(),
            literal => text.find(literal).filter(|end| *end <= whole.len())?,
        };
        let is_other = holes.iter().any(|(own, other)| *own == name && *other != &text[..end]);
        if end == 0 || is_other {
            return None;
        }
        holes.push((name, &text[..end]));
        (pattern, text) = (after, &text[end..]);
    }
}

/// `template` with what `value` gives for its holes; none if it has nothing for one.
pub(super) fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, hole, after)) = next_hole(rest) {
        filled.push_str(before);
        filled.push_str(&value(hole)?);
        rest = after;
    }
    filled.push_str(rest);
    Some(filled)
}

/// What comes before the next hole, the hole, and what comes after it.
fn next_hole(template: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = template.split_once('{')?;
    let (hole, after) = rest.split_once('}')?;
    Some((before, hole, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_as_short_as_can_be() {
        let read_it = |text| read("R{reg} off={off} size={size}, it {*rest}", text);
        assert_eq!(
            read_it("R1 off=-8 size=4, it is gone now").unwrap(),
            [("reg", "1"), ("off", "-8"), ("size", "4"), ("rest", "is gone now")]
        );
        assert_eq!(read_it("R1 off= size=4, it is"), None);
        assert_eq!(read_it("R1 x off=1 size=4, it is"), None);
        assert!(read("{a} to {a}", "1 to 1").is_some());
        assert_eq!(read("{a} to {a}", "1 to 2"), None);
        assert_eq!(read("unreachable", "unreachable insn 3").unwrap(), []);
        assert_eq!(read("at {it}", "at \u{e9} b").unwrap(), [("it", "\u{e9}")]);
    }

    #[test]
    fn a_sentence_needs_all_its_holes() {
        let value = |name: &str| (name == "a").then(|| "1".to_owned());
        assert_eq!(fill("{a} and {a}", value).unwrap(), "1 and 1");
        assert_eq!(fill("{a} and {b}", value), None);
    }
}
