//! `xdpload block`: the IP blocklist.

pub(crate) mod args;
mod change;
mod list;
mod load;
mod lockout;
mod off;
mod on;
mod reach;
mod stats;
mod sync;

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use blocklist::list::{Item, List};
use blocklist::prefix::{self, IpNet, Shown};
use blocklist::{Blocklist, Reader, Unlisted, Writer};
use loader::netlink::InterfaceInfo;
use loader::{Error, ErrorKind, Result, quote};

use self::args::{Block, Prefixes};
use crate::args::Bpffs;
use crate::output;
use crate::remedy::Commands as _;

/// The command that `words` after `block` name, if it takes them; a ban by fail2ban is one.
pub(super) fn alone(words: &[OsString]) -> Option<Block> {
    use super::alone;
    match words.get(1)?.to_str()? {
        "on" => alone(words).map(Block::On),
        "off" => alone(words).map(Block::Off),
        "add" => alone(words).map(Block::Add),
        "del" => alone(words).map(Block::Del),
        "list" => alone(words).map(Block::List),
        "test" => alone(words).map(Block::Test),
        "load" => alone(words).map(Block::Load),
        "save" => alone(words).map(Block::Save),
        "stats" => alone(words).map(Block::Stats),
        "sync" => alone(words).map(Block::Sync),
        _ => None,
    }
}

pub(crate) fn run(args: &Block) -> Result<()> {
    match args {
        Block::On(args) => on::on(args),
        Block::Off(args) => off::off(args),
        Block::Add(args) => change::add(args),
        Block::Del(args) => change::del(args),
        Block::Allow(args) => change::allow(args),
        Block::List(args) => list::list(args),
        Block::Test(args) => list::test(args),
        Block::Load(args) => load::run(args),
        Block::Save(args) => list::save(args),
        Block::Stats(args) => stats::run(args),
        Block::Sync(args) => sync::run(args),
    }
}

/// Has the blocklist go on to drop what no rule is about, if that waits to be confirmed, and says so; with a `link`,
/// only if the blocklist is on that.
pub(crate) fn confirm_default(bpffs: &Path, link: Option<&InterfaceInfo>) -> Result<bool> {
    let blocklist = Blocklist::under(bpffs);
    let is_there = match blocklist.is_whole() {
        // Neither a blocklist of another release nor one that is not shown to this user is on trial.
        Err(error) if matches!(error.kind(), ErrorKind::Mismatch | ErrorKind::PermissionDenied) => false,
        is_there => is_there?,
    };
    let is_on = |link| Ok::<_, Error>(blocklist::running_on(link, &blocklist.program_ids()?).is_some());
    if !is_there || !link.map_or(Ok(true), is_on)? {
        return Ok(false);
    }
    let mut writer = Writer::open(&blocklist)?;
    let waits = matches!(writer.reader().settings()?.unlisted, Unlisted::Drop(Some(_)));
    if waits {
        writer.set(None, Some(Unlisted::Drop(None)))?;
    }
    Ok(waits)
}

/// A default of the blocklist that waits to be confirmed.
pub(crate) struct DefaultOnTrial {
    /// The blocklist's programs.
    ids: Vec<u32>,
    left: Option<Duration>,
}

impl DefaultOnTrial {
    /// Looks below the bpffs at `root`. What cannot be seen is not there: this is said beside other things.
    pub(crate) fn look(bpffs: &Path) -> Self {
        let blocklist = Blocklist::under(bpffs);
        let settings = Reader::open(&blocklist).and_then(|mut reader| reader.settings());
        let left = match settings.map(|settings| settings.unlisted) {
            Ok(Unlisted::Drop(left)) => left,
            _ => None,
        };
        let ids = left.and_then(|_| blocklist.program_ids().ok()).unwrap_or_default();
        Self { ids, left }
    }

    /// Seconds until it ends on this interface, if it is there.
    pub(crate) fn left_on(&self, link: &InterfaceInfo) -> Option<u64> {
        self.left.filter(|_| blocklist::running_on(link, &self.ids).is_some()).map(|left| left.as_secs())
    }
}

fn blocklist(bpffs: &Bpffs) -> Blocklist {
    Blocklist::under(&bpffs.root)
}

/// The prefixes on the command line, or what standard input lists, for `blocklist`; says which of them had
/// bits to clear.
fn read_items(prefixes: &Prefixes, blocklist: &Blocklist) -> Result<Vec<Item>> {
    let list = read_prefixes(prefixes, blocklist)?;
    if list.allowed.is_empty() {
        return Ok(list.items);
    }
    let message = "`standard input` makes exceptions; nothing was changed";
    let allow = blocklist.command("allow add -");
    Err(Error::new(ErrorKind::InvalidInput, message).with_help(format!("{allow} takes exceptions")))
}

/// The same, for exceptions.
fn read_exceptions(prefixes: &Prefixes, blocklist: &Blocklist) -> Result<Vec<IpNet>> {
    read_prefixes(prefixes, blocklist).map(exceptions_of)
}

/// The same, for exceptions that are to be made: what is to pass for a time would pass for good.
fn read_new_exceptions(prefixes: &Prefixes, blocklist: &Blocklist) -> Result<Vec<IpNet>> {
    let list = read_prefixes(prefixes, blocklist)?;
    if let Some(item) = list.items.iter().find(|item| item.seconds() != 0) {
        let message = format!(
            "`standard input` gives {} a time, but exceptions have none; nothing was changed",
            Shown(item.prefix())
        );
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    Ok(exceptions_of(list))
}

fn exceptions_of(list: List) -> Vec<IpNet> {
    list.items.into_iter().map(|item| item.prefix()).chain(list.allowed).collect()
}

fn read_prefixes(prefixes: &Prefixes, blocklist: &Blocklist) -> Result<List> {
    let mut found = List::default();
    for word in &prefixes.prefixes {
        if word == "-" {
            let mut list = list_on_stdin(blocklist)?;
            found.items.append(&mut list.items);
            found.allowed.append(&mut list.allowed);
        } else {
            let reason = "it is a range, which `-` takes on standard input";
            let item = if prefix::is_range(word) { Err(no_prefix(word, reason)) } else { one_prefix(word) };
            found.items.push(Item::new(item?));
        }
    }
    Ok(found)
}

fn one_prefix(word: &str) -> Result<IpNet> {
    let written = prefix::parse(word).map_err(|reason| no_prefix(word, &reason.0))?;
    if written.had_host_bits {
        let canonical = Shown(written.prefix);
        output::remark(format_args!("note: {} is taken as {canonical}", quote(word)));
    }
    Ok(written.prefix)
}

fn no_prefix(word: &str, reason: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("{} is not a prefix: {reason}", quote(word)))
}

fn list_on_stdin(blocklist: &Blocklist) -> Result<List> {
    let name = load::STDIN;
    let list = blocklist::list::read(io::stdin().lock(), usize::MAX, |_| {})
        .map_err(|stop| load::stopped(name, &stop, usize::MAX, blocklist))?;
    load::refuse_bad_lines(name, &list)?;
    load::tell_host_bits(name, &list);
    if list.items.is_empty() && list.allowed.is_empty() {
        output::remark(format_args!("note: {name} lists no prefix"));
    }
    if !list.sets.is_empty() {
        output::remark(format_args!("note: {name} names sets, which only `block load` goes by"));
    }
    Ok(list)
}
