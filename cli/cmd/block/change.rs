//! `xdpload block add`, `del` and `allow`.

use std::fmt;

use blocklist::list::Item;
use blocklist::prefix::{IpNet, Shown};
use blocklist::{Added, Writer, not_there};
use loader::Result;
use serde::Serialize;

use super::args::{Add, Allow, Allowed, Del, Exceptions};
use super::{lockout, maps, read_exceptions, read_items};
use crate::output;

pub(super) fn add(args: &Add) -> Result<()> {
    let maps = maps(&args.bpffs);
    let items = read_items(&args.prefixes, &maps)?;
    let prefixes = prefixes(&items);
    let mut writer = Writer::open(&maps)?;
    lockout::check(prefixes.iter().copied(), writer.reader(), args.force)?;
    let answers = writer.add(&items, args.set.as_deref(), args.ttl)?;
    output::answer(args.form, &Changed::new(&prefixes, answers.into_iter().map(Added::word)))
}

fn prefixes(items: &[Item]) -> Vec<IpNet> {
    items.iter().map(Item::prefix).collect()
}

pub(super) fn del(args: &Del) -> Result<()> {
    let maps = maps(&args.bpffs);
    let prefixes = prefixes(&read_items(&args.prefixes, &maps)?);
    let answers = Writer::open(&maps)?.remove(&prefixes, args.set.as_deref())?;
    let place = args.set.as_ref().map_or_else(|| "blocked".to_owned(), |set| format!("in the set {set}"));
    tell_removed(&prefixes, &answers, &place, args.form)
}

pub(super) fn allow(args: &Allow) -> Result<()> {
    match args {
        Allow::Add(args) => allow_add(args),
        Allow::Del(args) => allow_del(args),
        Allow::List(args) => allow_list(args),
    }
}

fn allow_add(args: &Allowed) -> Result<()> {
    let maps = maps(&args.bpffs);
    let prefixes = read_exceptions(&args.prefixes, &maps)?;
    lockout::check_exceptions(&prefixes, args.force)?;
    let answers = Writer::open(&maps)?.allow(&prefixes)?;
    let added = |is_new: bool| if is_new { Added::New } else { Added::Kept };
    output::answer(
        args.form,
        &Changed::new(&prefixes, answers.into_iter().map(|is_new| added(is_new).word())),
    )
}

fn allow_del(args: &Allowed) -> Result<()> {
    let maps = maps(&args.bpffs);
    let prefixes = read_exceptions(&args.prefixes, &maps)?;
    let mut writer = Writer::open(&maps)?;
    let settings = writer.reader().settings()?;
    if !args.force && !settings.count_only {
        let mut left = writer.reader().exceptions()?;
        left.retain(|exception| !prefixes.contains(exception));
        lockout::check_all(writer.reader(), settings.unlisted, &left, "--force overrides this check")?;
    }
    let answers = writer.disallow(&prefixes)?;
    tell_removed(&prefixes, &answers, "allowed", args.form)
}

fn allow_list(args: &Exceptions) -> Result<()> {
    let exceptions = blocklist::Reader::open(&maps(&args.bpffs))?.exceptions()?;
    let allowed = exceptions.iter().map(|prefix| Shown(*prefix).to_string()).collect();
    output::answer(args.form, &AllowedList { allowed })
}

/// Tells of what has gone, and then fails for what was not there.
fn tell_removed(prefixes: &[IpNet], answers: &[bool], what: &str, form: crate::args::Form) -> Result<()> {
    let of = |wanted: bool| -> Vec<IpNet> {
        prefixes
            .iter()
            .zip(answers)
            .filter(|(_, there)| **there == wanted)
            .map(|(prefix, _)| *prefix)
            .collect()
    };
    let (gone, missing) = (of(true), of(false));
    if !gone.is_empty() || form.json {
        output::answer(form, &Changed::new(&gone, gone.iter().map(|_| "deleted")))?;
    }
    if missing.is_empty() { Ok(()) } else { Err(not_there(&missing, what)) }
}

/// What has become of each prefix.
#[derive(Serialize)]
struct Changed {
    changes: Vec<Change>,
}

#[derive(Serialize)]
struct Change {
    prefix: String,
    done: &'static str,
}

/// From so many on they are only counted.
const MANY: usize = 20;

impl Changed {
    fn new(prefixes: &[IpNet], words: impl Iterator<Item = &'static str>) -> Self {
        let change = |(prefix, done): (&IpNet, _)| Change { prefix: Shown(*prefix).to_string(), done };
        Self { changes: prefixes.iter().zip(words).map(change).collect() }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.len() <= MANY {
            return self
                .changes
                .iter()
                .try_for_each(|Change { prefix, done }| writeln!(f, "{done} {prefix}"));
        }
        for word in ["added", "changed", "unchanged", "deleted"] {
            let count = self.changes.iter().filter(|change| change.done == word).count();
            if count > 0 {
                writeln!(f, "{word} {count}")?;
            }
        }
        Ok(())
    }
}

#[derive(Serialize)]
struct AllowedList {
    allowed: Vec<String>,
}

impl fmt::Display for AllowedList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.allowed.iter().try_for_each(|prefix| writeln!(f, "{prefix}"))
    }
}
