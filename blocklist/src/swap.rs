//! Making sets equal to lists, while packets flow.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use ipnet::IpNet;
use loader::{Context as _, Result};

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
        self.make_room(&found, &steps, lists)?;
        let masks: Vec<_> = lists.names().map(|name| self.sets.find(name).map_or(0, mask_of)).collect();
        Ok(count(&steps, &masks, self.now))
    }

    /// Every rule, in order, and all else that is asked for when many change.
    fn all_to_load(&mut self) -> Result<Vec<Found>> {
        self.sets.read_holds()?;
        self.table.read_all()?;
        self.table.all_in_order(false)
    }

    /// Refuses, before anything is written, what has no room. Gives the rules that have to go before others are added,
    /// in the order of prefixes: none if there is room for the old lists beside the new ones.
    fn make_room<'a>(
        &mut self,
        found: &'a [Found],
        steps: &[Step<'a>],
        lists: &Lists,
    ) -> Result<Vec<&'a Found>> {
        self.sets.check_room(lists.names(), used_sets(found))?;
        let new = by_prefix(steps).filter(|steps| steps[0].old.is_none()).count();
        let (with_all, max_rules) = (found.len() + new, self.table.max_rules() as usize);
        if new == 0 || with_all <= max_rules {
            return Ok(Vec::new());
        }
        let masks = lists.names().filter_map(|name| self.sets.find(name).map(mask_of));
        let Leaving { count, first } = leaving(steps, masks.fold(0, |all, mask| all | mask));
        if with_all - count > max_rules {
            return Err(self.no_room(u32::try_from(with_all - count).unwrap_or(u32::MAX)));
        }
        let on_the_way = with_all - first.len();
        if on_the_way > max_rules {
            let what = "with the new rules beside the old ones whose addresses they share there would be";
            return Err(self.no_room_for(&format!("{what} {on_the_way}")));
        }
        Ok(first)
    }
}

impl Writer {
    /// Makes sets hold what `lists` list for them and nothing else, and gives what that changes, in the order of names.
    /// What has no time of its own is held for `ttl`, or for good.
    ///
    /// An address that is on a list and was held before stays blocked all along, whichever set held it, and one that is
    /// on neither passes all along: what is new is added before anything is taken out. If there is no room for both,
    /// those of the old rules are taken out first that share no address with a new one. A process that is killed on the
    /// way, or refused memory, leaves the sets between the two, and the next call, of whatever lists, makes them exact.
    pub fn load(&mut self, lists: &Lists, ttl: Option<Duration>) -> Result<Vec<Swap>> {
        self.begin()?;
        let found = self.reader.all_to_load()?;
        let steps = merge(&found, lists);
        let first = self.reader.make_room(&found, &steps, lists)?;
        let swaps = self.take_out(&first).and_then(|gone| self.swap(lists, ttl, &found, &steps, gone));
        if first.is_empty() {
            return swaps;
        }
        swaps.context(|| {
            "some old rules have to make room for new ones: the sets may be between the two lists, and \
             another load makes them exact"
        })
    }

    /// Goes through the steps, but for rules that have gone already.
    fn swap(
        &mut self,
        lists: &Lists,
        ttl: Option<Duration>,
        found: &[Found],
        steps: &[Step<'_>],
        mut gone: HashSet<IpNet>,
    ) -> Result<Vec<Swap>> {
        let sets = self.numbers(found, lists)?;
        let masks: Vec<_> = sets.iter().copied().map(mask_of).collect();
        let swaps = count(steps, &masks, self.reader.now);
        let mut holds = Vec::new();
        let mut ahead = by_prefix(steps).map(|steps| steps[0]);
        for (number, steps) in by_prefix(steps).enumerate() {
            if number % AT_ONCE == 0 {
                let new = ahead.by_ref().take(AT_ONCE).filter(|step| step.old.is_none());
                self.reader.table.touch(new.map(|step| step.prefix()))?;
            }
            let prefix = steps[0].prefix();
            if gone.contains(&prefix) {
                continue;
            }
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
            let left = by_prefix(steps).map(|steps| steps[0].prefix());
            self.reader.table.rebuild(left.filter(|prefix| !gone.contains(prefix)))?;
        }
        self.forget_unused_sets(found, &masks, lists)?;
        Ok(swaps)
    }

    /// Refuses lists that could not be loaded, before anything is written.
    pub fn check(&mut self, lists: &Lists) -> Result<()> {
        self.reader.refresh()?;
        let found = self.reader.all_to_load()?;
        self.reader.make_room(&found, &merge(&found, lists), lists).map(drop)
    }

    /// Has rules go, and gives their prefixes.
    fn take_out(&mut self, rules: &[&Found]) -> Result<HashSet<IpNet>> {
        if rules.is_empty() {
            return Ok(HashSet::new());
        }
        for found in rules {
            self.change(found.prefix, Some(found), &[], u32::MAX)?;
        }
        self.commit()?;
        // As they were before, but for the holds of these.
        self.reader.sets.read_holds()?;
        Ok(rules.iter().map(|found| found.prefix).collect())
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

/// Rules that nobody holds any more after a swap.
#[derive(Debug)]
struct Leaving<'a> {
    count: usize,
    /// Those that share no address with a rule that is new: no packet that they drop is to be dropped afterwards, but
    /// for what other rules drop all along.
    first: Vec<&'a Found>,
}

/// Finds them, in the order of prefixes; `masks` are the sets that are to be equal to lists.
fn leaving<'a>(steps: &[Step<'a>], masks: u32) -> Leaving<'a> {
    let new = || by_prefix(steps).map(|steps| steps[0]).filter(|step| step.old.is_none());
    let mut ahead = new().map(|step| step.prefix()).peekable();
    // The widest new prefix that others may still be in, since a prefix comes before those that are in it.
    let mut around: Option<IpNet> = None;
    let (mut count, mut first) = (0, Vec::new());
    for steps in by_prefix(steps) {
        let prefix = steps[0].prefix();
        let is_covered = around.is_some_and(|around| around.contains(&prefix));
        let Some(old) = steps[0].old else {
            ahead.next();
            around = around.filter(|_| is_covered).or(Some(prefix));
            continue;
        };
        if steps[0].new.is_none() && old.value.sets & !masks == 0 {
            count += 1;
            if !is_covered && !ahead.peek().is_some_and(|new| prefix.contains(new)) {
                first.push(old);
            }
        }
    }
    Leaving { count, first }
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

    fn prefix(text: &str) -> IpNet {
        text.parse().unwrap()
    }

    fn held(rules: &[(&str, u32)]) -> Vec<Found> {
        let found = |&(text, sets): &(&str, u32)| Found {
            prefix: prefix(text),
            place: Place::Wide,
            value: RuleValue { sets, ..RuleValue::default() },
        };
        rules.iter().map(found).collect()
    }

    fn list(texts: &[&str]) -> Vec<Item> {
        texts.iter().map(|text| Item::new(prefix(text))).collect()
    }

    #[test]
    fn what_shares_no_address_with_new_rules_may_go_first() {
        let found = held(&[
            ("10.0.0.0/8", 1),
            ("10.1.0.0/16", 1),
            ("10.2.0.0/16", 1),
            ("10.2.1.0/24", 1),
            ("10.200.0.0/16", 1),
            ("11.0.0.0/16", 1),
            ("11.0.7.0/24", 1),
            ("192.0.2.1/32", 2),
            ("192.0.2.2/32", 3),
            ("203.0.113.0/24", 1),
            ("203.0.113.7/32", 1),
            ("::/16", 1),
            ("2001:db8::/32", 1),
        ]);
        let mut lists = Lists::new();
        // New are 10.1.2.0/24, 11.0.0.0/12 and 0.0.0.0/6; what stays is of no account.
        lists
            .insert("a", list(&["10.1.2.0/24", "11.0.0.0/12", "203.0.113.7/32", "10.2.1.0/24", "0.0.0.0/6"]));
        let steps = merge(&found, &lists);
        let Leaving { count, first } = leaving(&steps, 1);
        let first: Vec<_> = first.iter().map(|found| found.prefix.to_string()).collect();
        let expected = ["10.2.0.0/16", "10.200.0.0/16", "203.0.113.0/24", "::/16", "2001:db8::/32"];
        assert_eq!((count, &first[..]), (9, &expected.map(str::to_owned)[..]));
        assert_eq!(leaving(&steps, 3).count, 11);
        assert_eq!(leaving(&steps, 2).count, 1);
    }

    #[test]
    fn each_prefix_has_the_steps_of_its_lists() {
        let found = held(&[("192.0.2.1/32", 0), ("192.0.2.3/32", 0), ("2001:db8::/64", 0)]);
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
