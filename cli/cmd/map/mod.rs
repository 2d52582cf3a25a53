//! `xdpload map`: read and change the entries of maps.

mod load;
mod view;

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{BTreeMap, btree_map};
use std::ffi::OsString;
use std::fmt;
use std::io::{BufWriter, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;

use loader::attach::Interface;
use loader::btf::Field;
use loader::kernel::map_ids;
use loader::map::{Map, MapInfo, UpdateFlags, Value};
use loader::netlink::{InterfaceInfo, InterfaceRef};
use loader::program::Program;
use loader::uapi::bpf::{BPF_F_MMAPABLE, BPF_F_RDONLY_PROG, MAP_FLAGS, MapType, ObjName, flag_names};
use loader::{Context as _, Error, ErrorKind, Result, escape, pin, quote, shell_word};
use serde::Serialize;
use serde::ser::{Error as _, SerializeSeq as _, Serializer};

use self::view::{View, Words};
use crate::{args, output, value};

/// The command that `words` after `map` name, if it takes them.
pub(super) fn alone(words: &[OsString]) -> Option<args::Map> {
    match words.get(1)?.to_str()? {
        "dump" => super::alone(words).map(args::Map::Dump),
        "get" => super::alone(words).map(args::Map::Get),
        "set" => super::alone(words).map(args::Map::Set),
        "delete" => super::alone(words).map(args::Map::Delete),
        "load" => super::alone(words).map(args::Map::Load),
        _ => None,
    }
}

pub(crate) fn run(args: &args::Map) -> Result<()> {
    match args {
        args::Map::List(args) => list(args),
        args::Map::Dump(args) => dump(args),
        args::Map::Get(args) => get(args),
        args::Map::Set(args) => set(args),
        args::Map::Delete(args) => delete(args),
        args::Map::Load(args) => load::load(args),
    }
}

/// The map that the command line names: by pin, by id, or by interface and name.
fn open(choice: &args::MapChoice) -> Result<Map> {
    let text = &choice.map;
    if text.contains('/') {
        return Map::open_pinned(Path::new(text));
    }
    if let Some((interface, name)) = text.rsplit_once(':') {
        return of_interface(&interface.parse()?, name, &choice.place);
    }
    let id = text.parse().map_err(|_| {
        let message = format!("{} does not name a map: expected a pin path, an id, or IF:NAME", quote(text));
        Error::new(ErrorKind::InvalidInput, message)
    })?;
    Map::from_id(id)
}

/// The map called `name` of the program that runs on the interface.
fn of_interface(link: &InterfaceRef, name: &str, place: &args::Place) -> Result<Map> {
    let netns = super::netns(place)?;
    let link = Interface::open(link, netns.as_ref())?.look()?;
    let not_found = |message| Err(Error::new(ErrorKind::NotFound, message));
    if link.xdp.is_empty() {
        return not_found(format!("no XDP program is on {}", quote(&link.name)));
    }
    let maps = maps_of(&link)?;
    let mut named: Vec<_> = maps.iter().filter(|info| is_called(info, name)).collect();
    named.dedup_by_key(|info| info.id);
    match named[..] {
        [info] => Map::from_id(info.id),
        [] => not_found(format!(
            "no program on {} has a map {}: the maps there are {}",
            quote(&link.name),
            quote(name),
            words(&maps)
        )),
        _ => {
            let message = format!("several maps on {} may be {}", quote(&link.name), quote(name));
            let several: Vec<_> = named.iter().map(|info| info.id.to_string()).collect();
            let help = format!("say which by its id: {}", several.join(", "));
            Err(Error::new(ErrorKind::InvalidInput, message).with_help(help))
        }
    }
}

/// The maps of the programs on an interface, in the order of their ids.
fn maps_of(link: &InterfaceInfo) -> Result<Vec<MapInfo>> {
    // Two programs may share one.
    let mut ids: Vec<u32> = Vec::new();
    for id in link.xdp.programs().iter().filter_map(|program| program.id) {
        for map in Program::from_id(id)?.info()?.map_ids {
            // A program has at most 64.
            if let Err(place) = ids.binary_search(&map) {
                ids.insert(place, map);
            }
        }
    }
    let mut maps = Vec::with_capacity(ids.len());
    for id in ids {
        maps.push(Map::from_id(id)?.info()?);
    }
    Ok(maps)
}

/// Whether a map may be `name`: the kernel keeps 15 bytes of a name, with `_` for each character that it does not take,
/// and has the object's name before the section's for the maps of variables.
fn is_called(map: &MapInfo, name: &str) -> bool {
    let found = &*map.name;
    !found.is_empty()
        && (found == name || ObjName::from_symbol(name).as_str() == found || map.section_name() == Some(name))
}

/// The maps as an error lists them.
fn words(maps: &[MapInfo]) -> String {
    let word = |info: &MapInfo| match (&*info.name, info.section_name()) {
        ("", _) => format!("id {}", info.id),
        (name, Some(section)) if section != name => format!("{} ({})", quote(section), escape(name)),
        (name, _) => quote(name).into(),
    };
    if maps.is_empty() { "none".to_owned() } else { maps.iter().map(word).collect::<Vec<_>>().join(", ") }
}

fn list(args: &args::MapList) -> Result<()> {
    if let Some(interface) = &args.interface {
        let link = Interface::open(interface, super::netns(&args.place)?.as_ref())?.look()?;
        let maps = maps_of(&link)?.iter().map(Listed::new).collect();
        return output::answer(args.form, &List { maps });
    }
    if args.place.netns.is_some() {
        let message = "`--netns` says where the interface is, and none is named";
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
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
    let view = View::of(&map, args.formats)?;
    // A map may have millions of entries: they are printed as they come.
    if args.form.json {
        let mut entries = map.entries().peekable();
        // A map that cannot be read has no answer, not half of one.
        if let Some(Err(error)) = entries.next_if(Result::is_err) {
            return Err(error);
        }
        let words = |entry: loader::map::Entry| Entry::new(&entry.key, &entry.value, &view);
        let entries = Entries::new(entries.map(|entry| entry.map(words)));
        let dump = Dump { entries };
        let printed = output::answer_json(&dump);
        return dump.entries.failure.into_inner().map_or(printed, Err);
    }
    let mut out = BufWriter::new(output::stream());
    for entry in map.entries() {
        let entry = entry?;
        let lines = match entry.value.single().map(|value| view.variables(value)).transpose()?.flatten() {
            Some(variables) => {
                variables.iter().map(|(name, word)| format!("{name}: {}", value_in_line(word))).collect()
            }
            None => vec![Entry::new(&entry.key, &entry.value, &view).to_string()],
        };
        for line in lines {
            writeln!(out, "{}", escape(&line)).map_err(|error| output::write_error(&error))?;
        }
    }
    out.flush().map_err(|error| output::write_error(&error))
}

fn get(args: &args::MapGet) -> Result<()> {
    let map = open(&args.choice)?;
    let view = View::of(&map, args.formats)?;
    if let Some(field) = view.find_variable(&args.key)? {
        let value = view.variable(field, &section_value(&map)?)?;
        return output::answer(args.form, &Variable { variable: args.key.clone(), value });
    }
    let key = view.parse_key(&args.key)?;
    let value = map.lookup(&key)?.ok_or_else(|| no_entry(&args.key))?;
    output::answer(args.form, &Got(Entry::new(&key, &value, &view)))
}

/// Waits for a run that copies the map into another and lets go of it: what is written meanwhile would be lost.
fn wait_for_copies(bpffs: &args::Bpffs) -> Result<Option<pin::Lock>> {
    pin::lock_if_there(&bpffs.root)
}

fn set(args: &args::MapSet) -> Result<()> {
    let _lock = wait_for_copies(&args.bpffs)?;
    let map = open(&args.choice)?;
    let view = View::of(&map, args::Formats::default())?;
    if let Some(field) = view.find_variable(&args.key)? {
        let write = Write { name: args.key.clone(), field, word: args.value.clone() };
        write_variables(&map, &view, &[write])?;
        return output::changed(args.form, &Changed { key: args.key.clone(), done: "set" });
    }
    let key = view.parse_key(&args.key)?;
    let flags = match (args.new, args.existing) {
        (true, _) => UpdateFlags::NO_EXIST,
        (_, true) => UpdateFlags::EXIST,
        _ => UpdateFlags::ANY,
    };
    let done = if map.holds_fds() {
        map.update_fd(&key, open_held(&map, &args.value)?, flags)
    } else {
        let (mut value, mut programs) = (view.parse_value(&args.value)?, Programs::default());
        programs.put_fd(&map, &mut value)?;
        map.update(&key, &value, flags)
    };
    done.context(|| format!("key {}", quote(&args.key)))?;
    output::changed(args.form, &Changed { key: args.key.clone(), done: "set" })
}

/// What is to be put into a map whose values are fds: a program or map, by its id, as `map dump` shows it, or its pin.
fn open_held(map: &Map, word: &str) -> Result<OwnedFd> {
    let map_type = map.map_type();
    let by_id = || {
        word.parse::<u32>().map_err(|_| {
            let message = format!("{} cannot be the value: expected an id or the path of a pin", quote(word));
            Error::new(ErrorKind::InvalidInput, message)
        })
    };
    match map_type {
        MapType::PROG_ARRAY if word.contains('/') => Ok(Program::open_pinned(word)?.into()),
        MapType::PROG_ARRAY => Ok(Program::from_id(by_id()?)?.into()),
        MapType::ARRAY_OF_MAPS | MapType::HASH_OF_MAPS if word.contains('/') => {
            Ok(Map::open_pinned(word)?.into())
        }
        MapType::ARRAY_OF_MAPS | MapType::HASH_OF_MAPS => Ok(Map::from_id(by_id()?)?.into()),
        _ => Err(only_by_its_process(map_type)),
    }
}

/// The programs in the entries of a devmap or cpumap, by their ids, which are read where an fd is written.
#[derive(Default)]
struct Programs(BTreeMap<u32, Program>);

impl Programs {
    /// Puts the fd of a program in the place of its id, if `value` is of such a map and has one.
    fn put_fd(&mut self, map: &Map, value: &mut [u8]) -> Result<()> {
        let may_have_one = matches!(map.map_type(), MapType::DEVMAP | MapType::DEVMAP_HASH | MapType::CPUMAP);
        let Some([_, _, _, _, place @ ..]) = <&mut [u8; 8]>::try_from(value).ok().filter(|_| may_have_one)
        else {
            return Ok(());
        };
        let id = u32::from_ne_bytes(*place);
        // Both say that there is none.
        if id == 0 || id == u32::MAX {
            return Ok(());
        }
        let program = match self.0.entry(id) {
            btree_map::Entry::Occupied(known) => known.into_mut(),
            btree_map::Entry::Vacant(place) => place.insert(Program::from_id(id)?),
        };
        *place = program.as_fd().as_raw_fd().to_ne_bytes();
        Ok(())
    }
}

/// Why nobody else can write into a map whose values are sockets, events or the like.
fn only_by_its_process(map_type: MapType) -> Error {
    let message = format!("only the process that has opened it can put a value into a {map_type}");
    Error::new(ErrorKind::InvalidInput, message)
}

/// What a variable of a section is to become.
struct Write {
    name: String,
    field: Field,
    word: String,
}

/// Writes variables of a section, or none if one cannot be; the others go on being written by programs meanwhile.
fn write_variables(map: &Map, view: &View, writes: &[Write]) -> Result<()> {
    let Some(first) = writes.first() else { return Ok(()) };
    let info = map.info()?;
    if info.flags & BPF_F_RDONLY_PROG != 0 {
        let message = format!("variable {} is constant", quote(&first.name));
        let way = match info.section_name() {
            Some(".kconfig") => "--kconfig FILE".to_owned(),
            _ => format!("--set {}=VALUE", shell_word(&first.name)),
        };
        let help = format!("set it before the load: xdpload attach IF OBJ {way}");
        return Err(Error::new(ErrorKind::InvalidInput, message).with_help(help));
    }
    let what = |write: &Write| format!("variable {}", quote(&write.name));
    let mut value = section_value(map)?;
    for write in writes {
        view.write(write.field, &write.word, &mut value).context(|| what(write))?;
    }
    for write in writes {
        if info.flags & BPF_F_MMAPABLE == 0 {
            // A kernel before 5.5 has no way to write but a part.
            return map.update(&SECTION_KEY, &value, UpdateFlags::EXIST).context(|| what(write));
        }
        let bytes = view.bytes_of(write.field)?;
        map.write_in_place(bytes.start, value.get(bytes).unwrap_or_default()).context(|| what(write))?;
    }
    Ok(())
}

/// The key of the one entry that the map of a section has.
const SECTION_KEY: [u8; 4] = [0; 4];

fn section_value(map: &Map) -> Result<Vec<u8>> {
    let value = map.lookup(&SECTION_KEY)?.ok_or_else(|| no_entry("0"))?;
    Ok(value.single().unwrap_or_default().to_vec())
}

fn delete(args: &args::MapDelete) -> Result<()> {
    let _lock = wait_for_copies(&args.bpffs)?;
    let map = open(&args.choice)?;
    let key = View::of(&map, args::Formats::default())?.parse_key(&args.key)?;
    // To delete what is not there is no error in these.
    let is_silent = matches!(map.map_type(), MapType::DEVMAP | MapType::CPUMAP);
    if is_silent && map.lookup(&key)?.is_none() || !map.delete(&key)? {
        return Err(no_entry(&args.key));
    }
    output::changed(args.form, &Changed { key: args.key.clone(), done: "deleted" })
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
struct Dump<E> {
    entries: E,
}

/// The entries of a map, read as they are written.
struct Entries<I> {
    entries: RefCell<I>,
    /// Why the last one could not be read.
    failure: RefCell<Option<Error>>,
}

impl<I> Entries<I> {
    fn new(entries: I) -> Self {
        Self { entries: RefCell::new(entries), failure: RefCell::new(None) }
    }
}

impl<I: Iterator<Item = Result<Entry>>> Serialize for Entries<I> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for entry in &mut *self.entries.borrow_mut() {
            match entry {
                Ok(entry) => list.serialize_element(&entry)?,
                Err(error) => {
                    let words = S::Error::custom(&error);
                    self.failure.replace(Some(error));
                    return Err(words);
                }
            }
        }
        list.end()
    }
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
    sum: Option<i128>,
}

/// The sum of numbers as 64 bits have it, with a sign if one of them is below 0; none if one is no number.
fn sum(mut numbers: impl Iterator<Item = Option<i128>>) -> Option<i128> {
    let (mut sum, mut is_signed) = (0_u64, false);
    numbers.try_for_each(|number| {
        let number = number?;
        is_signed |= number < 0;
        let low = u64::try_from(number & i128::from(u64::MAX)).ok()?;
        sum = sum.wrapping_add(low);
        Some(())
    })?;
    Some(if is_signed { i64::from_ne_bytes(sum.to_ne_bytes()).into() } else { sum.into() })
}

/// An entry that was asked for by its key, which whoever asked need not be told in text.
#[derive(Serialize)]
#[serde(transparent)]
struct Got(Entry);

/// One variable of a section's map.
#[derive(Serialize)]
struct Variable {
    variable: String,
    value: Words,
}

impl Entry {
    fn new(key: &[u8], value: &Value, view: &View) -> Self {
        let words = |bytes| view.value(bytes);
        let per_cpu = value.is_per_cpu();
        let numbers = || value.all().map(|bytes| view.number(bytes));
        Self {
            key: view.key(key),
            value: value.single().map(words),
            values: if per_cpu { value.all().map(words).collect() } else { Vec::new() },
            sum: if per_cpu { sum(numbers()) } else { None },
        }
    }

    /// The value, or for a per-CPU map `sum (by CPU: value value ...)`.
    fn value_text(&self) -> String {
        if let Some(value) = &self.value {
            return value.text.clone();
        }
        let values: Vec<_> = self.values.iter().map(|value| &*value.text).collect();
        let sum = self.sum.map_or_else(String::new, |sum| format!("{sum} "));
        format!("{sum}(by CPU: {})", values.join(" "))
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
            "{:>6}  {:<16} {:<18} {:>8} {:>10} {:>9}  flags",
            "id", "name", "type", "key size", "value size", "entries"
        )?;
        self.maps.iter().try_for_each(|map| {
            writeln!(
                f,
                "{:>6}  {:<16} {:<18} {:>8} {:>10} {:>9}  {}",
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

/// `key: value`, which `map load` reads again.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", key_in_line(&self.key.text), value_in_line(&self.value_text()))
    }
}

/// The text of a key in a line, which a blank ends, and which is none if the line begins as a comment does.
fn key_in_line(text: &str) -> Cow<'_, str> {
    in_line(text, text.is_empty() || text.starts_with('#') || text.contains(char::is_whitespace))
}

/// The text of a value in a line, at whose ends blanks do not count.
fn value_in_line(text: &str) -> Cow<'_, str> {
    in_line(text, text.is_empty() || text != text.trim())
}

/// A text in a line: in quotation marks if it `is_no_word`, unless it is JSON already.
fn in_line(text: &str, is_no_word: bool) -> Cow<'_, str> {
    if is_no_word && !text.starts_with(['{', '[', '"']) {
        return value::quoted(text).into();
    }
    text.into()
}

/// The value alone.
impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.value.text))
    }
}

/// The value alone.
impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0.value_text()))
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}", self.done, escape(&self.key))
    }
}
