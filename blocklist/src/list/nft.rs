//! Elements of sets as nft(8) writes and takes them.

use super::List;
use super::line::Reason;
use crate::{duration, prefix};

/// Words that begin a line of a ruleset, outside of elements.
const BEGINNINGS: [&str; 11] = [
    "table",
    "set",
    "map",
    "type",
    "typeof",
    "flags",
    "size",
    "timeout",
    "auto-merge",
    "policy",
    "gc-interval",
];

/// Words before `element` that add some.
const ADDING: [&str; 2] = ["add", "create"];

/// Whether the line is one of a ruleset: a frame around elements, or the beginning of elements.
pub(super) fn begins(line: &str) -> bool {
    let word = line.split(|c: char| c.is_whitespace() || c == '=').next().unwrap_or_default();
    // A set of ipset may be called `element` too.
    let is_element = line.contains('{')
        && ADDING.iter().any(|word| {
            line.strip_prefix(word).is_some_and(|rest| rest.trim_start().starts_with("element "))
        });
    matches!(word, "elements" | "}" | "counter" | "comment") || BEGINNINGS.contains(&word) || is_element
}

/// Where in a ruleset the next line is.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Between the braces of elements.
    inside: bool,
    /// An element that is not at its end.
    element: String,
    quoted: bool,
    /// Seconds that the set gives elements without a time of their own; 0 for no end.
    seconds: u32,
}

impl State {
    /// Whether the next line goes on with elements.
    pub(super) fn is_inside(&self) -> bool {
        self.inside
    }

    pub(super) fn read(&mut self, line: &str, list: &mut List) -> Result<(), Reason> {
        let mut rest = line;
        if !self.inside {
            let is_elements =
                line.starts_with("elements") || ADDING.iter().any(|word| line.starts_with(word));
            match line.split_once('{') {
                Some((_, elements)) if is_elements => rest = elements,
                Some((_, inner)) if inner.contains("elements") => {
                    return Err(Reason::new("expected `elements = {` at the beginning of a line"));
                }
                _ => return self.read_frame(line),
            }
            self.inside = true;
        }
        let mut first_wrong = None;
        let mut chars = rest.chars();
        while let Some(c) = chars.next() {
            match c {
                // A comment of the file, not of the element.
                '#' if !self.quoted => break,
                '"' => {
                    self.quoted = !self.quoted;
                    self.element.push(c);
                }
                ',' | '}' if !self.quoted => {
                    let element = std::mem::take(&mut self.element);
                    if let Err(reason) = read_element(&element, self.seconds, list) {
                        first_wrong.get_or_insert(reason);
                    }
                    if c == '}' {
                        self.inside = false;
                        let rest = chars.as_str().split('#').next().unwrap_or_default();
                        if rest.contains(|c: char| !c.is_whitespace() && !matches!(c, '}' | ';')) {
                            let words = "expected the end of the line behind the closing brace";
                            first_wrong.get_or_insert(Reason::new(words));
                        }
                        break;
                    }
                }
                _ => self.element.push(c),
            }
            if self.element.len() > super::MAX_LINE {
                self.element.clear();
                first_wrong.get_or_insert(Reason::new("an element has no end"));
            }
        }
        if self.inside {
            self.element.push(' ');
        }
        first_wrong.map_or(Ok(()), Err)
    }

    /// Reads a line around elements, of which only the set's own `timeout` says something about them.
    fn read_frame(&mut self, line: &str) -> Result<(), Reason> {
        let mut words = line.split(|c: char| c.is_whitespace() || c == ';');
        match words.next() {
            Some("timeout") => self.seconds = seconds(words.find(|word| !word.is_empty()), "timeout")?,
            Some("table" | "set" | "map" | "}") => self.seconds = 0,
            _ => {}
        }
        Ok(())
    }
}

/// The time behind `option`, in seconds.
fn seconds(word: Option<&str>, option: &str) -> Result<u32, Reason> {
    let time = word.and_then(|time| duration::parse(time).ok());
    let time = time.ok_or_else(|| Reason::new(format!("expected a time behind `{option}`")))?;
    // What is left counts, however little it is.
    Ok(u32::try_from(time.as_secs().max(1)).unwrap_or(u32::MAX))
}

/// `PREFIX [timeout TIME [expires TIME]] ...`. What is not known may be another condition, or a verdict.
fn read_element(text: &str, default: u32, list: &mut List) -> Result<(), Reason> {
    let mut words = text.split_whitespace();
    let Some(word) = words.next() else {
        return Ok(());
    };
    let mut time = default;
    while let Some(option) = words.next() {
        match option {
            "timeout" | "expires" => {
                // In a set with a time of its own, an element may stay for good.
                let word = words.next();
                time = if word == Some("never") { 0 } else { seconds(word, option)? };
            }
            "counter" | "last" | "never" => {}
            "packets" | "bytes" | "used" => drop(words.next()),
            "comment" => skip_quoted(&mut words),
            _ => return Err(Reason::new(format!("`{word}`: there is no place for `{option}`"))),
        }
    }
    let mut found = Vec::new();
    let complain = |reason: prefix::NoPrefix| Reason::new(format!("`{word}`: {reason}"));
    let had_host_bits = prefix::parse_range(word, |prefix| found.push(prefix)).map_err(complain)?;
    list.with_host_bits += u64::from(had_host_bits);
    for prefix in found {
        list.push(prefix, time);
    }
    Ok(())
}

/// Passes over a text in quotes, or one word.
pub(super) fn skip_quoted<'a>(words: &mut impl Iterator<Item = &'a str>) {
    let mut quotes = 0;
    for word in words {
        quotes += word.matches('"').count();
        if quotes % 2 == 0 {
            return;
        }
    }
}
