//! Making sets equal to lists, while packets flow.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use ipnet::IpNet;
use loader::Result;

use crate::draft::no_room;
use crate::list::Item;
use crate::table::Found;
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

/// Lists by the names of the sets that are to be equal to them: sorted, each prefix once.
pub type Lists = BTreeMap<String, Vec<Item>>;

impl Writer {
    /// Makes sets hold what `lists` list for them and nothing else, and gives what that changes, in the order of names.
    /// What has no time of its own is held for `ttl`, or for good.
    ///
    /// An address that is on a list and was held before stays blocked all along, whichever set held it, and one that is
    /// on neither passes all along: what is new is added before anything is taken out. A process that is killed on the
    /// way leaves the sets between the two, and the next call, of whatever lists, makes them exact.
    ///
    /// With `dry_run` nothing changes.
    pub fn load(&mut self, lists: &Lists, ttl: Option<Duration>, dry_run: bool) -> Result<Vec<Swap>> {
        let mut found = self.all_to_load()?;
        if dry_run {
            // What has ended goes before a list is loaded.
            found.retain(|found| !self.reader.now.is_past(found.value.end));
        }
        let steps = merge(&found, lists);
        self.refuse_without_room(&found, &steps, lists)?;
        let sets = self.numbers(&found, lists, dry_run)?;
        let mut swaps = vec![Swap::default(); sets.len()];
        let (mut gone, mut holds) = (HashSet::new(), Vec::new());
        for steps in by_prefix(&steps) {
            let (prefix, old) = (steps[0].prefix(), steps[0].old);
            let is_past = old.is_some_and(|old| self.reader.now.is_past(old.value.end));
            let mut let_go = 0;
            holds.clear();
            for (list, (set, swap)) in sets.iter().zip(&mut swaps).enumerate() {
                let mask = set.map_or(0, |set| 1 << set);
                let was_held = old.is_some_and(|old| old.value.sets & mask != 0);
                let Some(item) = steps.iter().find_map(|step| step.item_of(list)) else {
                    swap.removed += usize::from(was_held);
                    let_go |= mask;
                    continue;
                };
                let count = if was_held && !is_past { &mut swap.kept } else { &mut swap.added };
                *count += 1;
                holds.extend(set.map(|set| (set, self.end_of(item, ttl))));
            }
            if !dry_run && self.change(prefix, old, &holds, let_go)?.is_none() {
                gone.insert(prefix);
            }
        }
        if dry_run {
            return Ok(swaps);
        }
        self.commit()?;
        if self.reader.table.config()?.stale > 0 {
            let left = by_prefix(&steps).map(|steps| steps[0].prefix());
            self.reader.table.rebuild(left.filter(|prefix| !gone.contains(prefix)))?;
        }
        self.forget_unused_sets(&found, &sets, lists)?;
        Ok(swaps)
    }

    /// Refuses lists that could not be loaded, before anything is written.
    pub fn check(&mut self, lists: &Lists) -> Result<()> {
        let found = self.all_to_load()?;
        self.refuse_without_room(&found, &merge(&found, lists), lists)
    }

    /// Every rule, in order, and all else that is asked for when many change.
    fn all_to_load(&mut self) -> Result<Vec<Found>> {
        self.reader.sets.read_holds()?;
        self.reader.table.read_all()?;
        self.reader.table.all_in_order(false)
    }

    /// Refuses, before anything is written, what has no room while the old lists are still there.
    fn refuse_without_room(&mut self, found: &[Found], steps: &[Step<'_>], lists: &Lists) -> Result<()> {
        self.reader.sets.check_room(lists.keys().map(String::as_str), used_sets(found))?;
        let new = by_prefix(steps).filter(|steps| steps[0].old.is_none()).count();
        let (rules, max_rules) = (found.len() + new, self.reader.table.max_rules());
        if new != 0 && rules > max_rules as usize {
            return Err(no_room(u32::try_from(rules).unwrap_or(u32::MAX), max_rules));
        }
        Ok(())
    }

    /// The numbers of the sets. One that is not there yet is made, and has none in a dry run.
    fn numbers(&mut self, found: &[Found], lists: &Lists, dry_run: bool) -> Result<Vec<Option<u32>>> {
        let sets = &mut self.reader.sets;
        if dry_run {
            return Ok(lists.keys().map(|name| sets.find(name)).collect());
        }
        if !sets.have_room(lists.keys().map(String::as_str)) {
            sets.free_unused(used_sets(found))?;
        }
        lists.keys().map(|name| sets.find_or_make(name).map(Some)).collect()
    }

    /// Gives back the names of sets that hold nothing any more.
    fn forget_unused_sets(&mut self, before: &[Found], sets: &[Option<u32>], lists: &Lists) -> Result<()> {
        let mut used = used_sets(before);
        for (set, items) in sets.iter().zip(lists.values()) {
            let mask = set.map_or(0, |set| 1 << set);
            used = if items.is_empty() { used & !mask } else { used | mask };
        }
        self.reader.sets.free_unused(used)?;
        self.reader.sets.commit_new().map(drop)
    }
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

impl<'a> Step<'a> {
    fn prefix(&self) -> IpNet {
        let listed = self.new.map(|(_, item)| item.prefix);
        listed.or(self.old.map(|old| old.prefix)).expect("it is held or listed")
    }

    fn item_of(&self, list: usize) -> Option<&'a Item> {
        self.new.filter(|(of, _)| *of == list).map(|(_, item)| item)
    }
}

/// Goes through all in the order of prefixes.
fn merge<'a>(found: &'a [Found], lists: &'a Lists) -> Vec<Step<'a>> {
    let mut found = found.iter().peekable();
    let mut lists: Vec<_> = lists.values().map(|items| items.iter().peekable()).collect();
    let most = lists.iter().map(ExactSizeIterator::len).chain([found.len()]).max();
    let mut steps = Vec::with_capacity(most.unwrap_or_default());
    loop {
        let listed = lists.iter_mut().filter_map(|items| items.peek().map(|item| item.prefix)).min();
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
            if let Some(item) = items.next_if(|item| item.prefix == prefix) {
                steps.push(Step { old, new: Some((list, item)), goes_on });
                goes_on = true;
            }
        }
    }
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
        let lists = Lists::from([
            ("a".to_owned(), list(&["192.0.2.1/32", "192.0.2.2/32", "2001:db8::/32"])),
            ("b".to_owned(), list(&["192.0.2.0/24", "192.0.2.1/32"])),
        ]);
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
