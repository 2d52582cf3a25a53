//! Elements of sets as nft(8) writes and takes them.

use std::collections::HashMap;

use super::reason::Reason;
use super::{List, Preset};
use crate::{duration, prefix};

/// Words that begin a statement in a set which says nothing of its elements.
const OF_A_SET: [&str; 9] =
    ["type", "typeof", "flags", "size", "auto-merge", "policy", "gc-interval", "counter", "comment"];
/// What has a name and braces.
const OBJECTS: [&str; 4] = ["table", "set", "map", "chain"];
/// Words before an object or `element` that add some.
const ADDING: [&str; 2] = ["add", "create"];
/// Words before an object, or before a set of ipset, of which nothing is left.
const REMOVING: [&str; 3] = ["flush", "destroy", "delete"];

/// Whether the line is one of a ruleset: statements around elements, or the beginning of elements.
pub(super) fn begins(line: &str) -> bool {
    // Of a million lines, most are an address and nothing else.
    if line.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    let mut words = words(line);
    let first = words.next().unwrap_or_default();
    let object = words.next().unwrap_or_default();
    let is_object = OBJECTS.contains(&object) || object == "element";
    if ADDING.contains(&first) {
        // A set of ipset may be called `element` too.
        return is_object && words.next().is_some_and(is_name);
    }
    line.starts_with('}')
        || matches!(first, "elements" | "timeout" | "flush" | "destroy")
        || first == "delete" && is_object
        || OF_A_SET.contains(&first)
        || OBJECTS.contains(&first)
}

/// Whether nft may call a family, a table or a set so: no address, and no type of ipset.
fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_alphabetic()) && !word.contains(':')
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| c.is_whitespace() || matches!(c, '=' | '{' | ';')).filter(|word| !word.is_empty())
}

/// Where in a ruleset the next line is.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Between the braces of elements.
    inside: bool,
    /// An element that is not at its end.
    element: String,
    quoted: bool,
    /// Seconds that these elements get without a time of their own; 0 for no end.
    default: u32,
    /// Family and name of the table in whose braces this is.
    table: Option<String>,
    /// The set in whose braces this is, as `presets` has it.
    set: Option<String>,
    /// Seconds that this set gives its elements.
    seconds: u32,
    /// Whether this set has had elements.
    has_elements: bool,
    /// By sets, those with a table as `FAMILY TABLE NAME`.
    presets: HashMap<String, Preset>,
}

impl State {
    /// Whether the next line goes on with elements.
    pub(super) fn is_inside(&self) -> bool {
        self.inside
    }

    pub(super) fn read(&mut self, line: &str, list: &mut List) -> Result<(), Reason> {
        let mut first_wrong = None;
        let mut statement = String::new();
        for c in line.chars() {
            match c {
                // A comment of the file, not of the element.
                '#' if !self.quoted => break,
                '"' => self.quoted = !self.quoted,
                ',' | '}' if self.inside && !self.quoted => {
                    self.inside = c == ',';
                    let element = std::mem::take(&mut self.element);
                    if let Err(reason) = read_element(&element, self.default, list) {
                        first_wrong.get_or_insert(reason);
                    }
                    continue;
                }
                '{' | '}' | ';' if !self.inside && !self.quoted => {
                    let statement = std::mem::take(&mut statement);
                    if c == '{' {
                        self.open(&statement)?;
                    } else {
                        self.end(&statement)?;
                    }
                    if c == '}' {
                        self.close();
                    }
                    continue;
                }
                _ => {}
            }
            let text = if self.inside { &mut self.element } else { &mut statement };
            text.push(c);
            if self.element.len() > super::MAX_LINE {
                self.element.clear();
                first_wrong.get_or_insert(Reason::new("an element has no end"));
            }
        }
        if self.inside {
            self.element.push(' ');
        } else {
            self.quoted = false;
            let ended = self.end(&statement);
            first_wrong = first_wrong.or(ended.err());
        }
        first_wrong.map_or(Ok(()), Err)
    }

    /// Reads what stands before an opening brace.
    fn open(&mut self, statement: &str) -> Result<(), Reason> {
        let words: Vec<_> = words(statement).collect();
        let is_adding = words.first().is_some_and(|word| ADDING.contains(word));
        match &words[usize::from(is_adding)..] {
            ["elements"] if !is_adding => {
                (self.inside, self.default, self.has_elements) = (true, self.seconds, true);
            }
            ["element", path @ .., name] if is_adding => {
                let of = |set: &str| self.presets.get(set).map(|preset| preset.seconds);
                let seconds = of(&in_table(&table(path), name)).or_else(|| of(name));
                (self.inside, self.default) = (true, seconds.unwrap_or_default());
            }
            ["table", path @ ..] => (self.table, self.set) = (Some(table(path)), None),
            ["set" | "map", path @ .., name] => {
                let table = if path.is_empty() { self.table.clone() } else { Some(table(path)) };
                let set = table.map_or_else(|| (*name).to_owned(), |table| in_table(&table, name));
                self.presets.remove(&set);
                (self.set, self.seconds, self.has_elements) = (Some(set), 0, false);
            }
            _ => {
                let words: String = statement.trim().chars().take(60).collect();
                return Err(Reason(format!(
                    "there is no place for `{words} {{`: of a ruleset, sets alone are taken"
                )));
            }
        }
        Ok(())
    }

    /// Reads a statement without braces, of which only a set's own `timeout` says something about elements.
    fn end(&mut self, statement: &str) -> Result<(), Reason> {
        let words: Vec<_> = words(statement).collect();
        let is_adding = words.first().is_some_and(|word| ADDING.contains(word));
        match &words[usize::from(is_adding)..] {
            [] => {}
            ["timeout", ..] if self.has_elements => {
                return Err(Reason::new("expected `timeout` before the elements of the set"));
            }
            ["timeout", time @ ..] => {
                self.seconds =
                    seconds(Some(time).filter(|time| time.len() == 1).map(|time| time[0]), "timeout")?;
                if let Some(set) = &self.set {
                    let preset = Preset { seconds: self.seconds, length: None };
                    self.presets.insert(set.clone(), preset);
                }
            }
            [word, ..] if *word == "table" || OF_A_SET.contains(word) || REMOVING.contains(word) => {}
            [word @ ("set" | "map" | "element" | "elements"), ..] => {
                return Err(Reason(format!("expected an opening brace on the line of `{word}`")));
            }
            [word, ..] => return Err(Reason(format!("there is no place for `{word}`"))),
        }
        Ok(())
    }

    /// Leaves the braces of a set, or those of a table.
    fn close(&mut self) {
        if self.set.take().is_none() {
            self.table = None;
        }
        (self.seconds, self.has_elements) = (0, false);
    }
}

/// What a table is called with its family, by the words before the name of a set, or behind `table`.
fn table(path: &[&str]) -> String {
    // The family of what names none (nft(8), ADDRESS FAMILIES).
    if path.len() == 1 { format!("ip {}", path[0]) } else { path.join(" ") }
}

fn in_table(table: &str, set: &str) -> String {
    format!("{table} {set}")
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
    let had_host_bits = prefix::parse_range(word, &mut |prefix| found.push(prefix)).map_err(complain)?;
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
