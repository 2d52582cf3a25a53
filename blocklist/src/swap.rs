//! Making a set equal to a list, while packets flow.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use ipnet::IpNet;
use loader::{Error, ErrorKind, Result};

use crate::draft::MORE_ROOM;
use crate::layout::{Home, home};
use crate::list::{Item, sort_out};
use crate::table::Found;
use crate::writer::{Added, Writer};

/// What making a set equal to a list changes, or has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Swap {
    /// On the list, and not held by the set before.
    pub added: usize,
    /// On both.
    pub kept: usize,
    /// Held by the set, and not on the list.
    pub removed: usize,
}

impl Writer {
    /// Makes the set called `set` hold what `items` list and nothing else. They must be sorted, each prefix once; those
    /// without a time of their own are held for `ttl`, or for good.
    ///
    /// An address that is on the list and was held before stays blocked all along, and one that is on neither passes
    /// all along: what is new is added before anything is taken out. A process that is killed on the way leaves the set
    /// between the two, and the next call, of whatever list, makes it exact.
    ///
    /// With `dry_run` nothing changes.
    pub fn load(&mut self, set: &str, items: &[Item], ttl: Option<Duration>, dry_run: bool) -> Result<Swap> {
        let reader = &mut self.reader;
        let number = match reader.sets.find(set) {
            None if dry_run => u32::MAX,
            _ => reader.sets.find_or_make(set)?,
        };
        reader.sets.read_holds()?;
        reader.table.read_all()?;
        let found = reader.table.all_in_order(false)?;
        let steps = merge(&found, items);
        self.check_room(&found, &steps)?;
        let mut swap = Swap::default();
        let mut gone = HashSet::new();
        for step in &steps {
            match *step {
                Step { old, new: Some(item) } => {
                    let was_held = old.is_some_and(|old| {
                        old.value.sets.checked_shr(number).is_some_and(|bits| bits & 1 != 0)
                    });
                    let is_past = old.is_some_and(|old| self.reader.now.is_past(old.value.end));
                    let end = self.end_of(item, ttl);
                    if !dry_run {
                        let answer = self.hold(item.prefix, old, number, end)?;
                        debug_assert!(answer != Added::Kept || was_held);
                    }
                    if was_held && !is_past { swap.kept += 1 } else { swap.added += 1 }
                }
                Step { old: Some(old), new: None } => {
                    let mask = 1_u32.checked_shl(number).unwrap_or(0);
                    if old.value.sets & mask != 0 {
                        swap.removed += 1;
                        if old.value.sets & !mask == 0 {
                            gone.insert(old.prefix);
                        }
                        if !dry_run {
                            self.let_go(old, mask)?;
                        }
                    }
                }
                Step { old: None, new: None } => {}
            }
        }
        if dry_run {
            return Ok(swap);
        }
        self.commit()?;
        if self.reader.table.config()?.stale > 0 {
            let left = steps.iter().filter_map(Step::prefix).filter(|prefix| !gone.contains(prefix));
            self.reader.table.rebuild(left)?;
        }
        self.forget_unused_sets(&found, number, !items.is_empty())?;
        Ok(swap)
    }

    /// Refuses, before anything is written, lists for several sets of which one could not be loaded.
    pub fn check(&mut self, lists: &BTreeMap<String, Vec<Item>>) -> Result<()> {
        self.reader.sets.check_room(lists.keys().map(String::as_str))?;
        let mut all: Vec<Item> = lists.values().flatten().map(|item| Item::new(item.prefix)).collect();
        sort_out(&mut all);
        self.reader.table.read_all()?;
        let found = self.reader.table.all_in_order(false)?;
        self.check_room(&found, &merge(&found, &all))
    }

    /// Refuses, before anything is written, what has no room while the old list is still there.
    fn check_room(&mut self, found: &[Found], steps: &[Step<'_>]) -> Result<()> {
        let new = steps.iter().filter(|step| step.old.is_none() && step.new.is_some());
        let in_trie = |prefix: IpNet| home(prefix) == Home::Trie;
        let (mut rules, mut trie) = (found.len(), found.iter().filter(|found| in_trie(found.prefix)).count());
        for step in new {
            rules += 1;
            trie += usize::from(step.prefix().is_some_and(in_trie));
        }
        let max_rules = self.reader.table.max_rules() as usize;
        // Rules that were added one by one may be more. A list that makes none is no worse.
        if rules == found.len() || rules <= max_rules && trie <= max_rules {
            return Ok(());
        }
        let message = format!(
            "there is no room: with the new rules there would be {rules}, and there is room for {max_rules}; \
             nothing was changed"
        );
        Err(Error::new(ErrorKind::Os, message).with_help(MORE_ROOM))
    }

    /// Gives back the names of sets that hold nothing any more.
    fn forget_unused_sets(&mut self, before: &[Found], set: u32, holds: bool) -> Result<()> {
        let others = before.iter().fold(0, |mask, found| mask | found.value.sets) & !(1 << set);
        self.reader.sets.free_unused(others | u32::from(holds) << set)?;
        self.reader.sets.commit_new().map(drop)
    }
}

/// A prefix that is held, listed, or both.
#[derive(Clone, Copy, Debug)]
struct Step<'a> {
    old: Option<&'a Found>,
    new: Option<&'a Item>,
}

impl Step<'_> {
    fn prefix(&self) -> Option<IpNet> {
        self.new.map(|item| item.prefix).or(self.old.map(|old| old.prefix))
    }
}

/// Goes through both in the order of prefixes.
fn merge<'a>(found: &'a [Found], items: &'a [Item]) -> Vec<Step<'a>> {
    let mut steps = Vec::with_capacity(found.len().max(items.len()));
    let (mut found, mut items) = (found.iter().peekable(), items.iter().peekable());
    loop {
        let order = match (found.peek(), items.peek()) {
            (None, None) => return steps,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.prefix.cmp(&new.prefix),
        };
        let old = if order == Ordering::Greater { None } else { found.next() };
        let new = if order == Ordering::Less { None } else { items.next() };
        steps.push(Step { old, new });
    }
}
