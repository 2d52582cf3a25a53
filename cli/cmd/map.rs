//! `xdpload map`: read and change the entries of maps.

use std::fmt;
use std::io::{BufWriter, Write as _};
use std::path::Path;

use loader::attach::Interface;
use loader::kernel::map_ids;
use loader::map::{Map, MapInfo, UpdateFlags, Value};
use loader::netlink::LinkRef;
use loader::program::Program;
use loader::uapi::bpf::{MAP_FLAGS, flag_names};
use loader::{Context as _, Error, ErrorKind, Result, escape, quote};
use serde::Serialize;

use crate::args::{self, Formats};
use crate::format::{self, Format};
use crate::output;

pub(crate) fn run(args: &args::Map) -> Result<()> {
    match args {
        args::Map::List(args) => list(args),
        args::Map::Dump(args) => dump(args),
        args::Map::Get(args) => get(args),
        args::Map::Set(args) => set(args),
        args::Map::Delete(args) => delete(args),
    }
}

/// The map that the command line names: by pin, by id, or by interface and name.
fn open(choice: &args::MapChoice) -> Result<Map> {
    let text = &choice.map;
    if text.contains('/') {
        return Map::open_pinned(Path::new(text));
    }
    if let Some((interface, name)) = text.split_once(':') {
        return of_interface(&interface.parse()?, name, &choice.place);
    }
    let id = text.parse().map_err(|_| {
        let message = format!("{} names no map: expected a pin path, an id, or IF:NAME", quote(text));
        Error::new(ErrorKind::InvalidInput, message)
    })?;
    Map::from_id(id)
}

/// The map called `name` of the program that runs on the interface. The kernel keeps 15 bytes of a name.
fn of_interface(link: &LinkRef, name: &str, place: &args::Place) -> Result<Map> {
    let netns = super::netns(place)?;
    let link = Interface::open(link, netns.as_ref())?.look()?;
    let mut names = Vec::new();
    for id in link.xdp.programs().iter().filter_map(|program| program.id) {
        for id in Program::from_id(id)?.info()?.map_ids {
            let map = Map::from_id(id)?;
            let found = map.info()?.name;
            if !found.is_empty() && (found == name || (found.len() == 15 && name.starts_with(&found))) {
                return Ok(map);
            }
            names.push(if found.is_empty() { format!("id {id}") } else { quote(&found) });
        }
    }
    let list = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    Err(Error::new(
        ErrorKind::NotFound,
        format!("no program on {} has a map {}: the maps there are {list}", quote(&link.name), quote(name)),
    ))
}

fn list(args: &args::MapList) -> Result<()> {
    let mut maps = Vec::new();
    for id in map_ids() {
        match Map::from_id(id?).and_then(|map| map.info()) {
            Ok(info) => maps.push(Listed::new(&info)),
            // It went away between the two calls.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    output::answer(args.form, &List { maps })
}

fn dump(args: &args::MapDump) -> Result<()> {
    let map = open(&args.choice)?;
    if args.form.json {
        let entries =
            map.entries().map(|entry| entry.map(|entry| Entry::new(&entry.key, &entry.value, args.formats)));
        return output::answer(args.form, &Dump { entries: entries.collect::<Result<_>>()? });
    }
    // A map may have millions of entries: they are printed as they come.
    let mut out = BufWriter::new(output::stream());
    for entry in map.entries() {
        let entry = entry?;
        let line = Entry::new(&entry.key, &entry.value, args.formats);
        writeln!(out, "{line}").map_err(|error| output::write_error(&error))?;
    }
    out.flush().map_err(|error| output::write_error(&error))
}

fn get(args: &args::MapGet) -> Result<()> {
    let map = open(&args.choice)?;
    let key = format::parse(&args.key, map.key_size(), "key")?;
    let value = map.lookup(&key)?.ok_or_else(|| no_entry(&args.key))?;
    output::answer(args.form, &Entry::new(&key, &value, args.formats))
}

fn set(args: &args::MapSet) -> Result<()> {
    let map = open(&args.choice)?;
    let key = format::parse(&args.key, map.key_size(), "key")?;
    let value = format::parse(&args.value, map.value_size(), "value")?;
    let flags = match (args.new, args.existing) {
        (true, _) => UpdateFlags::NO_EXIST,
        (_, true) => UpdateFlags::EXIST,
        _ => UpdateFlags::ANY,
    };
    map.update(&key, &value, flags).context(|| format!("key {}", quote(&args.key)))?;
    output::answer(args.form, &Changed { key: args.key.clone(), done: "set" })
}

fn delete(args: &args::MapDelete) -> Result<()> {
    let map = open(&args.choice)?;
    let key = format::parse(&args.key, map.key_size(), "key")?;
    if !map.delete(&key)? {
        return Err(no_entry(&args.key));
    }
    output::answer(args.form, &Changed { key: args.key.clone(), done: "deleted" })
}

fn no_entry(key: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("the map has no key {}", quote(key)))
}

#[derive(Serialize)]
struct List {
    maps: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    id: u32,
    name: String,
    #[serde(rename = "type")]
    map_type: String,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: String,
}

impl Listed {
    fn new(info: &MapInfo) -> Self {
        Self {
            id: info.id,
            name: info.name.clone(),
            map_type: info.map_type.to_string(),
            key_size: info.key_size,
            value_size: info.value_size,
            max_entries: info.max_entries,
            flags: flag_names(info.flags, MAP_FLAGS),
        }
    }
}

#[derive(Serialize)]
struct Dump {
    entries: Vec<Entry>,
}

/// An entry; a per-CPU map has a value for each possible CPU, and their sum where they are numbers.
#[derive(Serialize)]
struct Entry {
    key: Words,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Words>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    values: Vec<Words>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sum: Option<u64>,
}

/// Bytes in the format that was asked for, and in hexadecimal.
#[derive(Serialize)]
struct Words {
    text: String,
    hex: String,
}

impl Words {
    fn new(bytes: &[u8], format: Format) -> Self {
        Self { text: format::print(bytes, format), hex: format::hex(bytes) }
    }
}

impl Entry {
    fn new(key: &[u8], value: &Value, formats: Formats) -> Self {
        let words = |bytes| Words::new(bytes, formats.value_format);
        let per_cpu = value.is_per_cpu();
        let numbers =
            || value.all().map(format::number).try_fold(0u64, |sum, number| Some(sum.wrapping_add(number?)));
        Self {
            key: Words::new(key, formats.key_format),
            value: value.single().map(words),
            values: if per_cpu { value.all().map(words).collect() } else { Vec::new() },
            sum: if per_cpu { numbers() } else { None },
        }
    }
}

#[derive(Serialize)]
struct Changed {
    key: String,
    done: &'static str,
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>6}  {:<16} {:<18} {:>5} {:>7} {:>9}  flags",
            "id", "name", "type", "key B", "value B", "entries"
        )?;
        self.maps.iter().try_for_each(|map| {
            writeln!(
                f,
                "{:>6}  {:<16} {:<18} {:>5} {:>7} {:>9}  {}",
                map.id,
                escape(&map.name),
                map.map_type,
                map.key_size,
                map.value_size,
                map.max_entries,
                map.flags
            )
        })
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().try_for_each(|entry| writeln!(f, "{entry}"))
    }
}

/// `key: value`, and for a per-CPU map `key: sum (value value ...)`.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.key.text)?;
        if let Some(value) = &self.value {
            write!(f, " {}", value.text)?;
        }
        if let Some(sum) = self.sum {
            write!(f, " {sum}")?;
        }
        if !self.values.is_empty() {
            let values: Vec<_> = self.values.iter().map(|value| &*value.text).collect();
            write!(f, " (by CPU: {})", values.join(" "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.done, escape(&self.key))
    }
}
