//! Making sets equal to lists, while packets flow.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use ipnet::IpNet;
use loader::Result;

use crate::clock::Now;
use crate::list::{Item, sort_out};
use crate::rules::Reader;
use crate::table::{AT_ONCE, Found};
use crate::writer::{Writer, used_sets};

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

/// Lists by the names of the sets that are to be equal to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lists(BTreeMap<String, Vec<Item>>);

impl Lists {
    /// No list at all, by which no set changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has the set called `set` be equal to `items`, in whatever order they are. Of those with the same prefix the one
    /// that stays the longest is left; gives how many were left out.
    pub fn insert(&mut self, set: impl Into<String>, mut items: Vec<Item>) -> usize {
        let left_out = sort_out(&mut items);
        self.0.insert(set.into(), items);
        left_out
    }

    /// The names of the sets, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The lists in the order of names, each in the order of prefixes.
    pub fn lists(&self) -> impl Iterator<Item = &[Item]> {
        self.0.values().map(Vec::as_slice)
    }
}

impl Reader {
    /// What [`Writer::load`] would change, which nothing does here.
    pub fn preview(&mut self, lists: &Lists) -> Result<Vec<Swap>> {
        self.refresh()?;
        let mut found = self.all_to_load()?;
        // What has ended goes before a list is loaded.
        found.retain(|found| !self.now.is_past(found.value.end));
        let steps = merge(&found, lists);
        self.refuse_without_room(&found, &steps, lists)?;
        let masks: Vec<_> = lists.names().map(|name| self.sets.find(name).map_or(0, mask_of)).collect();
        Ok(count(&steps, &masks, self.now))
    }

    /// Every rule, in order, and all else that is asked for when many change.
    fn all_to_load(&mut self) -> Result<Vec<Found>> {
        self.sets.read_holds()?;
        self.table.read_all()?;
        self.table.all_in_order(false)
    }

    /// Refuses, before anything is written, what has no room while the old lists are still there.
    fn refuse_without_room(&mut self, found: &[Found], steps: &[Step<'_>], lists: &Lists) -> Result<()> {
        self.sets.check_room(lists.names(), used_sets(found))?;
        let new = by_prefix(steps).filter(|steps| steps[0].old.is_none()).count();
        let (rules, max_rules) = (found.len() + new, self.table.max_rules());
        if new != 0 && rules > max_rules as usize {
            return Err(self.no_room(u32::try_from(rules).unwrap_or(u32::MAX)));
        }
        Ok(())
    }
}

impl Writer {
    /// Makes sets hold what `lists` list for them and nothing else, and gives what that changes, in the order of names.
    /// What has no time of its own is held for `ttl`, or for good.
    ///
    /// An address that is on a list and was held before stays blocked all along, whichever set held it, and one that is
    /// on neither passes all along: what is new is added before anything is taken out. A process that is killed on the
    /// way leaves the sets between the two, and the next call, of whatever lists, makes them exact.
    pub fn load(&mut self, lists: &Lists, ttl: Option<Duration>) -> Result<Vec<Swap>> {
        self.begin()?;
        let found = self.reader.all_to_load()?;
        let steps = merge(&found, lists);
        self.reader.refuse_without_room(&found, &steps, lists)?;
        let sets = self.numbers(&found, lists)?;
        let masks: Vec<_> = sets.iter().copied().map(mask_of).collect();
        let swaps = count(&steps, &masks, self.reader.now);
        let (mut gone, mut holds) = (HashSet::new(), Vec::new());
        let mut ahead = by_prefix(&steps).map(|steps| steps[0]);
        for (number, steps) in by_prefix(&steps).enumerate() {
            if number % AT_ONCE == 0 {
                let new = ahead.by_ref().take(AT_ONCE).filter(|step| step.old.is_none());
                self.reader.table.touch(new.map(|step| step.prefix()))?;
            }
            let prefix = steps[0].prefix();
            let mut let_go = 0;
            holds.clear();
            for (list, &set) in sets.iter().enumerate() {
                match item_of(steps, list) {
                    Some(item) => holds.push((set, self.end_of(item, ttl))),
                    None => let_go |= mask_of(set),
                }
            }
            if self.change(prefix, steps[0].old, &holds, let_go)?.is_none() {
                gone.insert(prefix);
            }
        }
        self.commit()?;
        if self.reader.table.config()?.stale > 0 {
            let left = by_prefix(&steps).map(|steps| steps[0].prefix());
            self.reader.table.rebuild(left.filter(|prefix| !gone.contains(prefix)))?;
        }
        self.forget_unused_sets(&found, &masks, lists)?;
        Ok(swaps)
    }

    /// Refuses lists that could not be loaded, before anything is written.
    pub fn check(&mut self, lists: &Lists) -> Result<()> {
        self.reader.refresh()?;
        let found = self.reader.all_to_load()?;
        self.reader.refuse_without_room(&found, &merge(&found, lists), lists)
    }

    /// The numbers of the sets, of which those that are not there yet are made.
    fn numbers(&mut self, found: &[Found], lists: &Lists) -> Result<Vec<u32>> {
        let sets = &mut self.reader.sets;
        if !sets.have_room(lists.names()) {
            sets.free_unused(used_sets(found))?;
        }
        lists.names().map(|name| sets.find_or_make(name)).collect()
    }

    /// Gives back the names of sets that hold nothing any more.
    fn forget_unused_sets(&mut self, before: &[Found], masks: &[u32], lists: &Lists) -> Result<()> {
        let mut used = used_sets(before);
        for (mask, items) in masks.iter().zip(lists.lists()) {
            used = if items.is_empty() { used & !mask } else { used | mask };
        }
        self.reader.sets.free_unused(used)?;
        self.reader.sets.commit_new().map(drop)
    }
}

fn mask_of(set: u32) -> u32 {
    1 << set
}

/// What the steps change of each list's set, which is given as a mask: none for one that is not there yet.
fn count(steps: &[Step<'_>], masks: &[u32], now: Now) -> Vec<Swap> {
    let mut swaps = vec![Swap::default(); masks.len()];
    for steps in by_prefix(steps) {
        let held = steps[0].old.map_or(0, |old| old.value.sets);
        let is_past = steps[0].old.is_some_and(|old| now.is_past(old.value.end));
        for (list, (mask, swap)) in masks.iter().zip(&mut swaps).enumerate() {
            let was_held = held & mask != 0;
            match item_of(steps, list) {
                Some(_) if was_held && !is_past => swap.kept += 1,
                Some(_) => swap.added += 1,
                None => swap.removed += usize::from(was_held),
            }
        }
    }
    swaps
}

/// A prefix that is held, listed, or both. One that is on several lists has a step for each, one after the other.
#[derive(Clone, Copy, Debug)]
struct Step<'a> {
    old: Option<&'a Found>,
    /// On which of the lists it is, and as what.
    new: Option<(usize, &'a Item)>,
    /// Whether the step before is of the same prefix.
    goes_on: bool,
}

impl Step<'_> {
    fn prefix(&self) -> IpNet {
        let listed = self.new.map(|(_, item)| item.prefix());
        listed.or(self.old.map(|old| old.prefix)).expect("it is held or listed")
    }
}

/// Goes through all in the order of prefixes.
fn merge<'a>(found: &'a [Found], lists: &'a Lists) -> Vec<Step<'a>> {
    let mut found = found.iter().peekable();
    let mut lists: Vec<_> = lists.lists().map(|items| items.iter().peekable()).collect();
    let most = lists.iter().map(ExactSizeIterator::len).chain([found.len()]).max();
    let mut steps = Vec::with_capacity(most.unwrap_or_default());
    loop {
        let listed = lists.iter_mut().filter_map(|items| items.peek().map(|item| item.prefix())).min();
        let (order, prefix) = match (found.peek(), listed) {
            (None, None) => return steps,
            (Some(old), None) => (Ordering::Less, old.prefix),
            (None, Some(prefix)) => (Ordering::Greater, prefix),
            (Some(old), Some(prefix)) => (old.prefix.cmp(&prefix), prefix),
        };
        let old = if order == Ordering::Greater { None } else { found.next() };
        if order == Ordering::Less {
            steps.push(Step { old, new: None, goes_on: false });
            continue;
        }
        let mut goes_on = false;
        for (list, items) in lists.iter_mut().enumerate() {
            if let Some(item) = items.next_if(|item| item.prefix() == prefix) {
                steps.push(Step { old, new: Some((list, item)), goes_on });
                goes_on = true;
            }
        }
    }
}

/// As what a list has the prefix of these steps.
fn item_of<'a>(steps: &[Step<'a>], list: usize) -> Option<&'a Item> {
    steps.iter().find_map(|step| step.new.filter(|(of, _)| *of == list)).map(|(_, item)| item)
}

/// The steps of each prefix.
fn by_prefix<'s, 'a>(steps: &'s [Step<'a>]) -> impl Iterator<Item = &'s [Step<'a>]> {
    steps.chunk_by(|_, next| next.goes_on)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::RuleValue;
    use crate::table::Place;

    #[test]
    fn each_prefix_has_the_steps_of_its_lists() {
        let prefix = |text: &str| text.parse::<IpNet>().unwrap();
        let found = ["192.0.2.1/32", "192.0.2.3/32", "2001:db8::/64"].map(|text| Found {
            prefix: prefix(text),
            place: Place::Wide,
            value: RuleValue::default(),
        });
        let list = |texts: &[&str]| texts.iter().map(|text| Item::new(prefix(text))).collect::<Vec<_>>();
        let mut lists = Lists::new();
        assert_eq!(lists.insert("a", list(&["192.0.2.2/32", "2001:db8::/32", "192.0.2.1/32"])), 0);
        assert_eq!(lists.insert("b", list(&["192.0.2.0/24", "192.0.2.1/32", "192.0.2.7/24"])), 1);
        let steps = merge(&found, &lists);
        let shown = by_prefix(&steps).map(|steps| {
            let lists: Vec<_> = steps.iter().filter_map(|step| step.new.map(|(list, _)| list)).collect();
            (steps[0].prefix().to_string(), steps.iter().all(|step| step.old.is_some()), lists)
        });
        let expected = [
            ("192.0.2.0/24", false, &[1][..]),
            ("192.0.2.1/32", true, &[0, 1]),
            ("192.0.2.2/32", false, &[0]),
            ("192.0.2.3/32", true, &[]),
            ("2001:db8::/32", false, &[0]),
            ("2001:db8::/64", true, &[]),
        ];
        let expected = expected.map(|(prefix, held, lists)| (prefix.to_owned(), held, lists.to_vec()));
        assert_eq!(shown.collect::<Vec<_>>(), expected);
    }
}
