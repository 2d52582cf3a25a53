//! `xdpload block add`, `del` and `allow`.

use std::fmt;
use std::time::Duration;

use blocklist::list::Item;
use blocklist::prefix::{IpNet, Shown};
use blocklist::{Added, Rule, Writer, duration, not_there};
use loader::{Error, Result, escape};
use serde::Serialize;

use super::args::{Add, Allow, Allowed, Del, Exceptions};
use super::{blocklist, lockout, read_exceptions, read_items, read_new_exceptions};
use crate::output;
use crate::remedy::Commands as _;

pub(super) fn add(args: &Add) -> Result<()> {
    let blocklist = blocklist(&args.bpffs);
    let items = read_items(&args.prefixes, &blocklist)?;
    let prefixes = prefixes(&items);
    let mut writer = Writer::open(&blocklist)?;
    lockout::check(&prefixes, writer.reader(), args.force)?;
    let is_told = prefixes.len() <= MANY;
    let mut before = Vec::new();
    for prefix in prefixes.iter().filter(|_| is_told) {
        before.push(writer.reader().rule(*prefix)?);
    }
    let answers = writer.add(&items, args.set.as_deref(), args.ttl)?;
    let mut changed = Changed::new(&prefixes, answers.iter().map(|answer| answer.word()));
    let rules = prefixes.iter().zip(before);
    for (((prefix, before), answer), change) in rules.zip(&answers).zip(&mut changed.changes) {
        if *answer == Added::Changed {
            change.times = before.zip(writer.reader().rule(*prefix)?).and_then(times);
        }
    }
    output::changed(args.form, &changed)
}

/// How long a rule stays and has stayed before, unless both is for ever.
fn times((before, after): (Rule, Rule)) -> Option<String> {
    let end = |left: Option<Duration>, ahead: &str| {
        left.map_or_else(|| "never".to_owned(), |left| format!("{ahead}{}", duration::Shown(left)))
    };
    let is_told = before.left.is_some() || after.left.is_some();
    is_told.then(|| format!("ends {}, before: {}", end(after.left, "in "), end(before.left, "in ")))
}

fn prefixes(items: &[Item]) -> Vec<IpNet> {
    items.iter().map(Item::prefix).collect()
}

pub(super) fn del(args: &Del) -> Result<()> {
    let blocklist = blocklist(&args.bpffs);
    let prefixes = prefixes(&read_items(&args.prefixes, &blocklist)?);
    let mut writer = Writer::open(&blocklist)?;
    let answers = writer.remove(&prefixes, args.set.as_deref())?;
    let removed =
        Removed { prefixes: &prefixes, answers: &answers, done: "blocked", set: args.set.as_deref() };
    let mut by = |prefix: IpNet| {
        let reader = writer.reader();
        let exception = reader.allowed(prefix.addr())?;
        if exception.is_some_and(|exception| exception.contains(&prefix)) {
            return Ok(None);
        }
        let rule = reader.covering(prefix)?;
        Ok(rule.map(|rule| (rule.prefix, format!(" in {}", reader.set_names(rule.sets).join(",")))))
    };
    let help = |prefix: IpNet, is_own: bool| {
        let shown = Shown(prefix);
        // With a set, another may hold the same rule.
        Some(if is_own {
            format!("{} deletes it from all sets", blocklist.command(&format!("del {shown}")))
        } else {
            format!("{} lets it pass", blocklist.command(&format!("allow add {shown}")))
        })
    };
    removed.tell(args.form, &mut by, &help)
}

pub(super) fn allow(args: &Allow) -> Result<()> {
    match args {
        Allow::Add(args) => allow_add(args),
        Allow::Del(args) => allow_del(args),
        Allow::List(args) => allow_list(args),
    }
}

fn allow_add(args: &Allowed) -> Result<()> {
    let blocklist = blocklist(&args.bpffs);
    let prefixes = read_new_exceptions(&args.prefixes, &blocklist)?;
    lockout::check_exceptions(&prefixes, args.force)?;
    let answers = Writer::open(&blocklist)?.allow(&prefixes)?;
    let added = |is_new: bool| if is_new { Added::New } else { Added::Kept };
    output::changed(
        args.form,
        &Changed::new(&prefixes, answers.into_iter().map(|is_new| added(is_new).word())),
    )
}

fn allow_del(args: &Allowed) -> Result<()> {
    let blocklist = blocklist(&args.bpffs);
    let prefixes = read_exceptions(&args.prefixes, &blocklist)?;
    let mut writer = Writer::open(&blocklist)?;
    let settings = writer.reader().settings()?;
    if !args.force && !settings.count_only {
        let mut left = writer.reader().exceptions()?;
        left.retain(|exception| !prefixes.contains(exception));
        let help = "--force overrides this check";
        lockout::check_all(writer.reader(), None, settings.unlisted, &left, help)?;
    }
    let answers = writer.disallow(&prefixes)?;
    let removed = Removed { prefixes: &prefixes, answers: &answers, done: "allowed", set: None };
    let left = writer.reader().exceptions()?;
    let mut by = |prefix: IpNet| {
        let wider = left.iter().filter(|exception| exception.contains(&prefix));
        Ok(wider.max_by_key(|exception| exception.prefix_len()).map(|wider| (*wider, String::new())))
    };
    removed.tell(args.form, &mut by, &|_, _| None)
}

fn allow_list(args: &Exceptions) -> Result<()> {
    let exceptions = blocklist::Reader::open(&blocklist(&args.bpffs))?.exceptions()?;
    let allowed = exceptions.iter().map(|prefix| Shown(*prefix).to_string()).collect();
    output::answer(args.form, &AllowedList { allowed })
}

/// What was to be taken out, and what was there.
struct Removed<'a> {
    prefixes: &'a [IpNet],
    answers: &'a [bool],
    /// What each prefix was: `blocked` or `allowed`.
    done: &'static str,
    /// The only set that was asked.
    set: Option<&'a str>,
}

impl Removed<'_> {
    /// Tells of what has gone, and then fails for what was not there. `by` says what has a prefix still blocked or
    /// allowed, with words behind it, and `help` what to do about one that was not there, by that prefix and whether
    /// that is its own rule.
    fn tell(
        &self,
        form: crate::args::Form,
        by: &mut dyn FnMut(IpNet) -> Result<Option<(IpNet, String)>>,
        help: &dyn Fn(IpNet, bool) -> Option<String>,
    ) -> Result<()> {
        let of = |wanted: bool| -> Vec<IpNet> {
            let both = self.prefixes.iter().zip(self.answers);
            both.filter(|(_, there)| **there == wanted).map(|(prefix, _)| *prefix).collect()
        };
        let (gone, missing) = (of(true), of(false));
        if !gone.is_empty() || form.json {
            output::changed(form, &Changed::new(&gone, gone.iter().map(|_| "deleted")))?;
        }
        let mut still = |prefix: IpNet| {
            let words = |(wider, sets): (IpNet, String)| {
                let words = format!("{} is still {} by {}", Shown(prefix), self.done, Shown(wider));
                (wider == prefix, words + &escape(&sets))
            };
            Ok::<_, Error>(by(prefix)?.map(words))
        };
        for prefix in gone.iter().filter(|_| gone.len() <= MANY) {
            if let Some((_, words)) = still(*prefix)? {
                output::remark(format_args!("note: {words}"));
            }
        }
        let mut covered = Vec::new();
        for prefix in missing.iter().filter(|_| missing.len() <= MANY) {
            if let Some((is_own, words)) = still(*prefix)? {
                covered.push((*prefix, is_own, words));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let what = match self.set {
            Some(set) => format!("in the set {set}"),
            None if covered.is_empty() => self.done.to_owned(),
            None => format!("{} by a rule of its own", self.done),
        };
        let error = not_there(&missing, &what);
        let help = covered.first().and_then(|(prefix, is_own, _)| help(*prefix, *is_own));
        let error = error.with_notes(covered.into_iter().map(|(_, _, words)| words).collect());
        Err(match help {
            Some(help) => error.with_help(help),
            None => error,
        })
    }
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
    /// What has become of the time for which it stays, in words.
    #[serde(skip)]
    times: Option<String>,
}

/// From so many on they are only counted.
const MANY: usize = 20;

impl Changed {
    fn new(prefixes: &[IpNet], words: impl Iterator<Item = &'static str>) -> Self {
        let change =
            |(prefix, done): (&IpNet, _)| Change { prefix: Shown(*prefix).to_string(), done, times: None };
        Self { changes: prefixes.iter().zip(words).map(change).collect() }
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.changes.len() <= MANY {
            return self.changes.iter().try_for_each(|Change { prefix, done, times }| match times {
                Some(times) => writeln!(f, "{done} {prefix}: {times}"),
                None => writeln!(f, "{done} {prefix}"),
            });
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
