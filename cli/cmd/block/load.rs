//! `xdpload block load`: list files into sets.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, BufReader, IsTerminal as _, Read};
use std::path::Path;

use blocklist::list::{self, Item, List, NO_SET, Stop};
use blocklist::prefix::IpNet;
use blocklist::{Blocklist, DEFAULT_SET, Reader, Swap, Writer};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use loader::{Error, ErrorKind, Result, escape, quote};
use serde::Serialize;

use super::args::Load;
use super::{blocklist, lockout, reach};
use crate::output;
use crate::remedy::Commands as _;

/// What messages call what `-` names.
pub(super) const STDIN: &str = "standard input";

/// From so many lines on a terminal shows how far the reading is.
const LONG: u64 = 100_000;

pub(super) fn run(args: &Load) -> Result<()> {
    // What cannot be written need not be read. Others may write meanwhile: who has to wait for a list, waits for long.
    let blocklist = blocklist(&args.bpffs);
    let (room, there) = {
        let mut writer = Writer::idle(&blocklist)?;
        (writer.reader().settings()?.max_rules as usize, writer.reader().set_names(u32::MAX))
    };
    let mut lists = Lists { there, ..Lists::default() };
    let mut watched = Vec::new();
    for path in &args.files {
        let is_stdin = path == Path::new("-");
        let name = if is_stdin { STDIN.to_owned() } else { path.display().to_string() };
        let list = if is_stdin {
            read_list(io::stdin().lock(), None, room)
        } else {
            let file = Watched::open(path)?;
            let length = file.before.is_file().then_some(file.before.len());
            let list = read_list(&file.file, length, room);
            watched.push(file);
            list
        };
        let list = list.map_err(|stop| stopped(&name, &stop, room, &blocklist))?;
        lists.take(args, &name, list, &blocklist)?;
    }
    watched.iter().try_for_each(Watched::check)?;
    let Lists { sets, allowed, skipped, mut duplicates, .. } = lists;
    let mut lists = blocklist::Lists::new(args.ttl);
    for (name, items) in sets {
        duplicates += lists.insert(name, items);
    }
    let mut protected = lockout::protected(&blocklist);
    protected.retain(|it| !allowed.iter().any(|exception| exception.contains(&it.address)));
    let mut risky = Vec::new();
    for items in lists.lists() {
        risky.append(&mut lockout::risky(items, &protected));
    }
    let mut writer = if args.dry_run { Writer::idle(&blocklist)? } else { Writer::open(&blocklist)? };
    lockout::check_among(&protected, &risky, writer.reader(), args.force)?;
    lockout::check_exceptions(&allowed, args.force)?;
    let allowed = list::distinct(&allowed);
    let (exceptions, swaps) = if args.dry_run {
        preview(&lists, &allowed, writer.reader())?
    } else {
        load(&lists, &allowed, &mut writer)?
    };
    reach::tell_if_nowhere(&blocklist);
    let loaded = |(name, Swap { added, kept, removed, .. }): (&str, Swap)| Loaded {
        name: name.to_owned(),
        added,
        kept,
        removed,
    };
    let document = Document {
        dry_run: args.dry_run,
        skipped,
        duplicates,
        exceptions,
        sets: lists.names().zip(swaps).map(loaded).collect(),
    };
    if args.dry_run { output::answer(args.form, &document) } else { output::changed(args.form, &document) }
}

/// How many exceptions would be new, and what would change of the sets.
fn preview(lists: &blocklist::Lists, allowed: &[IpNet], reader: &mut Reader) -> Result<(usize, Vec<Swap>)> {
    let there = reader.exceptions()?;
    let new = allowed.iter().filter(|exception| there.binary_search(exception).is_err()).count();
    Ok((new, reader.preview(lists)?))
}

/// Makes the exceptions and loads the sets, and tells the same of that.
fn load(lists: &blocklist::Lists, allowed: &[IpNet], writer: &mut Writer) -> Result<(usize, Vec<Swap>)> {
    if !allowed.is_empty() {
        // No exception is made for sets that cannot be loaded.
        writer.check(lists)?;
    }
    let new = writer.allow(allowed)?.into_iter().filter(|is_new| *is_new).count();
    Ok((new, writer.load(lists)?))
}

/// What all files list, by set.
#[derive(Default)]
struct Lists {
    /// Sets of the blocklist.
    there: Vec<String>,
    sets: HashMap<String, Vec<Item>>,
    allowed: Vec<IpNet>,
    skipped: u64,
    duplicates: usize,
}

impl Lists {
    fn take(&mut self, args: &Load, name: &str, mut list: List, blocklist: &Blocklist) -> Result<()> {
        if args.skip_bad {
            tell_bad_lines(name, &list);
            self.skipped += list.bad.len() as u64 + list.more_bad;
        } else {
            refuse_bad_lines(name, &list).map_err(|error| {
                let load = blocklist.command("load --skip-bad FILE");
                error.with_help(format!("{load} leaves such lines out"))
            })?;
        }
        tell_host_bits(name, &list);
        // A download that has failed leaves such a file.
        if list.items.is_empty() && list.allowed.is_empty() && !args.force {
            let nothing = if list.bad.is_empty() { "is empty" } else { "lists nothing but invalid lines" };
            let message = format!("{} {nothing}, nothing was changed", quote(name));
            return Err(
                Error::new(ErrorKind::Malformed, message).with_help("--force empties the set all the same")
            );
        }
        if args.set.is_some() && !list.allowed.is_empty() {
            let message =
                format!("{} has exceptions, which belong to no set; nothing was changed", quote(name));
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_help("`block load` without --name takes what `block save` has written"));
        }
        self.duplicates += list.duplicates;
        // Exceptions alone say nothing of any set.
        let is_of_sets = !list.items.is_empty() || list.allowed.is_empty();
        self.allowed.append(&mut list.allowed);
        if !is_of_sets {
            return Ok(());
        }
        if args.set.is_some() || list.sets.is_empty() && list.created.is_empty() {
            let name = args.set.as_deref().unwrap_or(DEFAULT_SET);
            self.sets.entry(name.to_owned()).or_default().append(&mut list.items);
            return Ok(());
        }
        // What the file makes and puts nothing into is to be empty, and has no need of a place if it is not there.
        let is_empty = list.items.is_empty();
        for set in list.created.drain(..).filter(|set| is_empty || self.there.contains(set)) {
            self.sets.entry(set).or_default();
        }
        list.sets.push(DEFAULT_SET.to_owned());
        let mut by_set = vec![Vec::new(); list.sets.len()];
        for item in list.items {
            let set = if item.set() == NO_SET { list.sets.len() - 1 } else { item.set().into() };
            by_set[set].push(item);
        }
        for (set, mut items) in list.sets.into_iter().zip(by_set).filter(|(_, items)| !items.is_empty()) {
            self.sets.entry(set).or_default().append(&mut items);
        }
        Ok(())
    }
}

/// A file that was read, and what it was like before.
struct Watched {
    name: String,
    file: File,
    before: Metadata,
}

impl Watched {
    fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let opened = File::open(path).and_then(|file| Ok((file.metadata()?, file)));
        let (before, file) = opened.map_err(|error| Error::io("open(2)", quote(&name), &error))?;
        if before.is_dir() {
            return Err(Error::new(ErrorKind::Conflict, format!("{} is a directory", quote(&name))));
        }
        Ok(Self { name, file, before })
    }

    /// Fails if the file is another one than when it was opened. Half of a list that is being written is no list.
    fn check(&self) -> Result<()> {
        let stamp = |meta: &Metadata| (meta.len(), meta.modified().ok());
        let is_same = self.file.metadata().is_ok_and(|after| stamp(&after) == stamp(&self.before));
        if is_same || !self.before.is_file() {
            return Ok(());
        }
        let message = format!("{} changed while it was read, nothing was changed", quote(&self.name));
        Err(Error::new(ErrorKind::Conflict, message)
            .with_help("load a copy, or replace the file by rename(2)"))
    }
}

fn read_list(input: impl Read, length: Option<u64>, room: usize) -> Result<List, Stop> {
    let bar = io::stderr().is_terminal().then(|| hidden_bar(length));
    let progress = |lines: u64| {
        if let Some(bar) = bar.as_ref().filter(|_| lines > LONG) {
            bar.set_message(format!("{lines} lines"));
            if bar.is_hidden() {
                bar.set_draw_target(ProgressDrawTarget::stderr());
            }
        }
    };
    let counted = bar.clone().unwrap_or_else(ProgressBar::hidden).wrap_read(input);
    let list = list::read(BufReader::with_capacity(1 << 18, counted), room, progress);
    if let Some(bar) = &bar {
        bar.finish_and_clear();
    }
    list
}

/// A bar over the bytes of a file, or what only turns where nobody knows how many there will be. It shows itself when a
/// list turns out to be long.
fn hidden_bar(length: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::hidden());
    let template = if length.is_some() { "{wide_bar} {percent}% {msg}" } else { "{spinner} {msg}" };
    // A template that could not be read would leave the bar as it is by default.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The error for a list that could not be read to its end.
pub(super) fn stopped(name: &str, stop: &Stop, room: usize, blocklist: &Blocklist) -> Error {
    let name = quote(name);
    let malformed =
        |what: String| Error::new(ErrorKind::Malformed, format!("{name} {what}, nothing was changed"));
    match stop {
        Stop::Io(error) => Error::io("read(2)", name, error),
        Stop::Binary { line } => malformed(format!("is not text (line {line})")),
        Stop::Packed { way } => malformed("is not text".to_owned()).with_help(*way),
        Stop::LongLine { line } => malformed(format!("is not a list: line {line} is too long")),
        Stop::Full => malformed(format!("lists more than the {room} prefixes there is room for"))
            .with_help(blocklist.more_room("IF --max-rules N")),
    }
}

/// Fails if the list has a line that is no prefix.
pub(super) fn refuse_bad_lines(name: &str, list: &List) -> Result<()> {
    let Some(first) = list.bad.first() else {
        return Ok(());
    };
    let count = list.bad.len() as u64 + list.more_bad;
    let more = if count > 1 { format!(" (and {} more bad lines)", count - 1) } else { String::new() };
    let place = format!("{}, line {}", quote(name), first.number);
    let message = format!("{place}: {}: {}{more}; nothing was changed", quote(&first.text), first.reason);
    Err(Error::new(ErrorKind::Malformed, message))
}

/// Says that prefixes are not taken as they were written.
pub(super) fn tell_host_bits(name: &str, list: &List) {
    if list.with_host_bits > 0 {
        let count = list.with_host_bits;
        let name = escape(name);
        output::remark(format_args!("note: {name}: {count} prefixes had host bits set, which were cleared"));
    }
}

fn tell_bad_lines(name: &str, list: &List) {
    for bad in &list.bad {
        let (name, text) = (escape(name), quote(&bad.text));
        output::remark(format_args!(
            "skipped: {name}, line {}: {text}: {}",
            bad.number,
            escape(&bad.reason.0)
        ));
    }
    if list.more_bad > 0 {
        output::remark(format_args!("skipped: {}: {} more bad lines", escape(name), list.more_bad));
    }
}

#[derive(Serialize)]
struct Document {
    dry_run: bool,
    /// Lines that are no prefix.
    skipped: u64,
    /// Prefixes that were listed before.
    duplicates: usize,
    /// Exceptions that were not there before.
    exceptions: usize,
    sets: Vec<Loaded>,
}

#[derive(Serialize)]
struct Loaded {
    name: String,
    added: usize,
    kept: usize,
    removed: usize,
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let would = if self.dry_run { "would have " } else { "" };
        // A file of exceptions alone has an answer too.
        if self.exceptions > 0 || self.sets.is_empty() {
            writeln!(f, "exceptions: {would}added {}", self.exceptions)?;
        }
        self.sets.iter().try_for_each(|Loaded { name, added, kept, removed }| {
            writeln!(f, "{}: {would}added {added}, kept {kept}, removed {removed}", escape(name))
        })
    }
}
