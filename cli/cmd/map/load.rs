//! `xdpload map load`: the entries of a file, read whole and then written in bulk.
//!
//! A file is what `map dump` prints, as lines or as JSON, or what `bpftool map dump --json` prints.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::Path;

use loader::btf::Value;
use loader::map::Map;
use loader::uapi::bpf::MapType;
use loader::{Cause, Context as _, Error, ErrorKind, Result, quote};
use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::view::View;
use super::{Programs, Write, only_by_its_process, open, wait_for_copies, write_variables};
use crate::value::Json;
use crate::{args, format, output};

/// The longest line: a value in JSON may be long, but what has no end of a line is no list of entries.
const MAX_LINE: u64 = 1 << 20;

pub(super) fn load(args: &args::MapLoad) -> Result<()> {
    let map = open(&args.choice)?;
    refuse_map(&map, args.exact)?;
    let view = View::of(&map, args::Formats::default())?;
    let read = || {
        let entries = Entries::read(&map, &view, &args.file)?;
        if args.exact && !args.force {
            entries.refuse_none(&args.file)?;
        }
        Ok(entries)
    };
    let entries = read().context(|| "nothing was changed")?;

    // Reading may have taken long, and it must not keep others waiting.
    let _lock = wait_for_copies(&args.bpffs)?;
    let id = |map: &Map| map.info().map(|info| info.id);
    if id(&open(&args.choice)?)? != id(&map)? {
        let message = format!("nothing was changed: {} is another map now", quote(&args.choice.map));
        return Err(Error::new(ErrorKind::Conflict, message).with_help("run it again"));
    }
    let loaded = if args.exact { entries.write_alone() } else { entries.write_beside() };
    output::changed(args.form, &loaded?)
}

/// Refuses a map that a file can say nothing about.
fn refuse_map(map: &Map, exact: bool) -> Result<()> {
    let map_type = map.map_type();
    let message = match map_type {
        _ if map.key_size() == 0 => format!("a {map_type} has no keys"),
        MapType::PROG_ARRAY | MapType::ARRAY_OF_MAPS | MapType::HASH_OF_MAPS => {
            format!("values of map type {map_type} are set one by one: `xdpload map set`")
        }
        _ if map.holds_fds() => return Err(only_by_its_process(map_type)),
        MapType::ARRAY | MapType::PERCPU_ARRAY if exact => {
            "--exact would delete entries, which those of an array cannot be".to_owned()
        }
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::InvalidInput, message))
}

/// What a file says, as the kernel takes it.
struct Entries<'m> {
    map: &'m Map,
    view: &'m View,
    /// Of the map of a section, what is said of its variables.
    variables: Vec<Write>,
    /// Keys, one behind the other.
    keys: Vec<u8>,
    /// The values of these keys, likewise.
    values: Vec<u8>,
    /// The programs that values have.
    programs: Programs,
    /// Whether the file is a document, which says so where it has no entries.
    is_document: bool,
}

/// What messages call what `-` names.
const STDIN: &str = "standard input";

impl<'m> Entries<'m> {
    fn read(map: &'m Map, view: &'m View, path: &Path) -> Result<Self> {
        let mut entries = Self {
            map,
            view,
            variables: Vec::new(),
            keys: Vec::new(),
            values: Vec::new(),
            programs: Programs::default(),
            is_document: false,
        };
        if path == Path::new("-") {
            entries.read_from(STDIN, io::stdin().lock())?;
        } else {
            let name = quote(&path.to_string_lossy()).to_string();
            let file = File::open(path).map_err(|error| Error::io("open(2)", &name, &error))?;
            entries.read_from(&name, BufReader::new(file))?;
        }
        entries.refuse_too_many()?;
        Ok(entries)
    }

    fn read_from(&mut self, name: &str, mut file: impl BufRead) -> Result<()> {
        let refused = |error: io::Error| Error::io("read(2)", name, &error);
        // Some editors and shells begin a text with a byte order mark.
        if file.fill_buf().map_err(refused)?.starts_with("\u{feff}".as_bytes()) {
            file.consume("\u{feff}".len());
        }
        if is_document(file.fill_buf().map_err(refused)?) {
            self.is_document = true;
            let mut text = Vec::new();
            file.read_to_end(&mut text).map_err(refused)?;
            return self
                .read_document(&text)
                .map_err(|error| Error::new(ErrorKind::Malformed, format!("{name}: {error}")));
        }
        let mut line = Vec::new();
        for number in 1_usize.. {
            line.clear();
            if file.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut line).map_err(refused)? == 0 {
                break;
            }
            let read = self.read_line(&line).context(|| format!("{name}, line {number}"));
            // A word is no wrong word of the command line here.
            read.map_err(|error| error.with_kind(ErrorKind::Malformed))?;
        }
        Ok(())
    }

    fn read_document(&mut self, text: &[u8]) -> serde_json::Result<()> {
        let text = std::str::from_utf8(text).map_err(serde_json::Error::custom)?;
        let mut document = serde_json::Deserializer::from_str(text);
        Document(self).deserialize(&mut document)?;
        document.end()
    }

    fn read_line(&mut self, line: &[u8]) -> Result<()> {
        let malformed = |message: String| Error::new(ErrorKind::Malformed, message);
        if line.len() as u64 > MAX_LINE {
            return Err(malformed(format!("it has more than {MAX_LINE} bytes")));
        }
        let line = std::str::from_utf8(line).map_err(|_| malformed("it is not text".to_owned()))?.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let Some((key, value)) = split(line) else {
            return Err(malformed(format!("expected KEY VALUE, found {}", quote(line))));
        };
        if let Some(field) = self.view.find_variable(key.trim_end_matches(':'))? {
            let name = key.trim_end_matches(':').to_owned();
            // The value that it is a part of is read when it is written: programs change the other parts.
            self.view.write(field, value, &mut vec![0; self.map.value_size()])?;
            self.variables.push(Write { name, field, word: value.to_owned() });
            return Ok(());
        }
        if self.map.map_type().is_per_cpu() && value.contains("(by CPU:") {
            let message = "expected one value for all CPUs, found several".to_owned();
            return Err(
                malformed(message).with_help("`map dump --json` has each of them in a form that is read")
            );
        }
        // `map dump` has a colon behind the key, and an IPv6 address may end in two of its own.
        let bare = key.strip_suffix(':').map(|key| self.view.parse_key(key));
        let key = match bare {
            Some(Ok(key)) => key,
            _ => self.view.parse_key(key)?,
        };
        let value = self.view.parse_value(value)?;
        self.push(&key, &[&value])
    }

    /// An entry of a document: a key, and a value or those of all CPUs.
    fn read_entry(&mut self, entry: &Value) -> Result<()> {
        let missing = |name: &str| Error::new(ErrorKind::Malformed, format!("an entry has no `{name}`"));
        let key = bytes(field(entry, "key").ok_or_else(|| missing("key"))?)?;
        let values = match (field(entry, "value"), field(entry, "values")) {
            (Some(value), _) => vec![bytes(value)?],
            (None, Some(Value::List(values))) if !values.is_empty() => {
                values.iter().map(bytes).collect::<Result<_>>()?
            }
            _ => return Err(missing("value")),
        };
        let values: Vec<_> = values.iter().map(Vec::as_slice).collect();
        self.push(&key, &values)
    }

    /// Takes an entry in: `values` has one, or one for each CPU.
    fn push(&mut self, key: &[u8], values: &[&[u8]]) -> Result<()> {
        let size = self.map.key_size();
        if key.len() != size {
            let message = format!("expected a key of {size} bytes, found {}", key.len());
            return Err(Error::new(ErrorKind::InvalidInput, message).with_cause(Cause::WrongSize));
        }
        let room = self.map.max_entries();
        if matches!(self.map.map_type(), MapType::ARRAY | MapType::PERCPU_ARRAY) {
            let index = key.try_into().map_or(u32::MAX, u32::from_ne_bytes);
            if index >= room {
                let message = format!("there is no index {index}: the map has {room} entries");
                return Err(Error::new(ErrorKind::InvalidInput, message).with_cause(Cause::OutOfRange));
            }
        }
        let mut value = match values {
            [value] => self.map.pack(value)?,
            values => self.map.pack_per_cpu(values)?,
        };
        self.programs.put_fd(self.map, &mut value)?;
        self.keys.extend_from_slice(key);
        self.values.extend_from_slice(&value);
        Ok(())
    }

    fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.chunks_exact(self.map.key_size())
    }

    /// Refuses more entries than the map has room for, where it does not drop old ones for new ones.
    fn refuse_too_many(&self) -> Result<()> {
        let room = self.map.max_entries() as usize;
        let is_limited =
            matches!(self.map.map_type(), MapType::HASH | MapType::PERCPU_HASH | MapType::LPM_TRIE);
        if !is_limited || self.keys().count() <= room {
            return Ok(());
        }
        let count = self.keys().collect::<HashSet<_>>().len();
        if count <= room {
            return Ok(());
        }
        let message = format!("the file has {count} keys, and the map has room for {room}");
        Err(Error::new(ErrorKind::Conflict, message).with_cause(Cause::Full))
    }

    /// Refuses a file without entries: a command that has failed, and was to write them, leaves such a file.
    fn refuse_none(&self, path: &Path) -> Result<()> {
        if self.is_document || !self.keys.is_empty() {
            return Ok(());
        }
        let name =
            if path == Path::new("-") { STDIN.to_owned() } else { quote(&path.to_string_lossy()).into() };
        let message = format!("{name} has no entries, so that --exact would delete all");
        Err(Error::new(ErrorKind::Malformed, message).with_help("--force deletes them all the same"))
    }

    /// Writes the entries, beside those that are there.
    fn write_beside(&self) -> Result<Loaded> {
        write_variables(self.map, self.view, &self.variables)?;
        self.write_from(0)?;
        Ok(Loaded { written: self.keys().count() + self.variables.len(), deleted: 0 })
    }

    /// Writes the entries, and deletes all others: before, if there is no room otherwise.
    fn write_alone(&self) -> Result<Loaded> {
        let deleted = match self.write_from(0) {
            Err(error) if error.cause() == Some(Cause::Full) => {
                let deleted = self.delete_others()?;
                self.write_from(error.done().unwrap_or_default())?;
                deleted
            }
            written => {
                written?;
                self.delete_others()?
            }
        };
        Ok(Loaded { written: self.keys().count(), deleted })
    }

    /// Writes all entries but the `first` ones.
    fn write_from(&self, first: usize) -> Result<()> {
        let count = self.keys().count();
        let value_bytes = self.values.len().checked_div(count).unwrap_or_default();
        let keys = &self.keys[first * self.map.key_size()..];
        self.map.update_packed(keys, &self.values[first * value_bytes..]).map_err(|error| {
            let done = first + error.done().unwrap_or_default();
            error.context(format!("{done} of {count} entries are written"))
        })
    }

    /// Deletes what the file does not have.
    fn delete_others(&self) -> Result<usize> {
        let own: HashSet<_> = self.keys().collect();
        let mut others = Vec::new();
        self.map.scan(|keys, _| {
            let keys = keys.chunks_exact(self.map.key_size());
            others.extend(keys.filter(|key| !own.contains(key)).flatten().copied());
        })?;
        self.map.delete_packed(&others)
    }
}

/// Whether a file that starts so is the document of `map dump`, or of bpftool, and not a line whose key is JSON.
fn is_document(start: &[u8]) -> bool {
    let words: Vec<u8> = start.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).take(16).collect();
    [&b"{\"entries\":"[..], b"[{\"key\":", b"[]"].iter().any(|document| words.starts_with(document))
}

/// The words for key and value of a line.
fn split(line: &str) -> Option<(&str, &str)> {
    let at = if line.starts_with(['{', '[', '"']) {
        let mut read = serde_json::Deserializer::from_str(line).into_iter::<IgnoredAny>();
        read.next()?.ok()?;
        let end = read.byte_offset();
        if line[end..].starts_with(':') { end + 1 } else { end }
    } else {
        line.find(char::is_whitespace)?
    };
    let (key, value) = line.split_at_checked(at)?;
    let key = if key.starts_with(['{', '[', '"']) { key.trim_end_matches(':') } else { key };
    let value = value.strip_prefix(char::is_whitespace)?.trim_start();
    (!value.is_empty()).then_some((key, value))
}

/// The whole document: a list of entries, or an object that has it.
struct Document<'e, 'm>(&'e mut Entries<'m>);

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> std::result::Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what `map dump --json` prints")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> std::result::Result<(), A::Error> {
        while let Some(field) = object.next_key::<String>()? {
            match &*field {
                "entries" => object.next_value_seed(Document(&mut *self.0))?,
                _ => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> std::result::Result<(), A::Error> {
        while let Some(Json(entry)) = list.next_element::<Json<Value>>()? {
            self.0.read_entry(&entry).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}

/// The bytes of a key or value: in the field `hex` of what `map dump` prints, or as bpftool's list of `0x..`, which it
/// has in a field `value` for each CPU.
fn bytes(value: &Value) -> Result<Vec<u8>> {
    let malformed = |what: &str| {
        let found = serde_json::to_string(&Json(value)).unwrap_or_default();
        Error::new(ErrorKind::Malformed, format!("{} {what}", quote(&found)))
    };
    match value {
        Value::Text(digits) => format::parse_hex(digits).ok_or_else(|| malformed("is not hexadecimal")),
        Value::Fields(_) => match field(value, "hex").or_else(|| field(value, "value")) {
            Some(part) => bytes(part),
            None => Err(malformed("has no field `hex`")),
        },
        Value::List(list) => {
            let byte = |word: &Value| match word {
                Value::Text(word) => {
                    format::parse_hex(word.strip_prefix("0x")?).filter(|byte| byte.len() == 1)
                }
                _ => None,
            };
            let bytes: Option<Vec<_>> = list.iter().map(byte).collect();
            bytes.map(|bytes| bytes.concat()).ok_or_else(|| malformed("is no list of bytes"))
        }
        _ => Err(malformed("is not hexadecimal")),
    }
}

fn field<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let Value::Fields(fields) = value else { return None };
    fields.iter().find(|(own, _)| own == name).map(|(_, value)| value)
}

#[derive(Serialize)]
struct Loaded {
    written: usize,
    deleted: usize,
}

impl fmt::Display for Loaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { written, deleted } = self;
        write!(f, "wrote {written} {}", if *written == 1 { "entry" } else { "entries" })?;
        if *deleted > 0 {
            write!(f, ", deleted {deleted}")?;
        }
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{key_in_line, value_in_line};
    use super::*;
    use crate::value;

    #[test]
    fn a_line_is_split_behind_the_key() {
        let cases = [
            ("1 2", Some(("1", "2"))),
            ("192.0.2.1:   7", Some(("192.0.2.1:", "7"))),
            ("2001:db8::: 1", Some(("2001:db8:::", "1"))),
            ("eth0 a b", Some(("eth0", "a b"))),
            (r#"{"a": [1, 2]}: {"b": 3}"#, Some((r#"{"a": [1, 2]}"#, r#"{"b": 3}"#))),
            ("[1, 2] 3", Some(("[1, 2]", "3"))),
            (r#""a: b" 3"#, Some((r#""a: b""#, "3"))),
            ("1", None),
            ("1:", None),
            ("[1, 2]3", None),
            ("[1, 2", None),
            ("[1] ", None),
        ];
        for (line, expected) in cases {
            assert_eq!(split(line), expected, "{line}");
        }
    }

    /// Otherwise `--exact` would delete what a dump has, or write another key.
    #[test]
    fn any_text_comes_back_from_the_line_of_a_dump() {
        for text in
            ["a", "", "#a", "a b", " a", "a\u{a0}", "a:", "\"a\"", "{a", "[a]", "a\\ b", "\"", "é", "17"]
        {
            let text = &*value::word(&Value::Text(text.to_owned()));
            let line = format!("{}: {}", key_in_line(text), value_in_line(text));
            assert!(!line.starts_with('#'), "{line}");
            let (key, value) = split(line.trim()).expect("it has both");
            let read = [key.strip_suffix(':').unwrap_or(key), value].map(|word| value::parse(word).unwrap());
            let expected = value::parse(text).unwrap();
            assert_eq!(read, [expected.clone(), expected], "{line}");
        }
        // What is JSON is not put into quotation marks once more.
        assert_eq!(key_in_line(r#"{"a": " b"}"#), r#"{"a": " b"}"#);
    }

    #[test]
    fn a_document_is_told_from_lines() {
        for document in ["{\"entries\":[]}", " {\n  \"entries\" : [", "[{\n\t\"key\": [", "[]\n"] {
            assert!(is_document(document.as_bytes()), "{document}");
        }
        for lines in ["", "1 2", "{\"port\": 53} 1", "[1, 2] 3", "[{\"a\": 1}] 2"] {
            assert!(!is_document(lines.as_bytes()), "{lines}");
        }
    }
}
