//! Making sets equal to lists, while packets flow.

use std::cmp::Ordering;
use std::time::Duration;

use ipnet::IpNet;
use loader::{Cause, Context as _, Error, ErrorKind, Result};

use crate::clock::Now;
use crate::list::{Item, sort_out};
use crate::rules::Reader;
use crate::schedule::{Move, parts, peak, schedule};
use crate::table::{AT_ONCE, Found};
use crate::writer::{Writer, members, used_sets};

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
pub struct Lists {
    /// For how long an item stays that has no time of its own; 0 for good.
    seconds: u32,
    /// In order.
    names: Vec<String>,
    /// By name.
    items: Vec<Vec<Item>>,
}

impl Lists {
    /// No list at all, by which no set changes. Items of lists stay for their own time, else for `ttl`, in seconds,
    /// else for good.
    pub fn new(ttl: Option<Duration>) -> Self {
        let seconds = |ttl: Duration| {
            let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() != 0);
            u32::try_from(whole.max(1)).unwrap_or(u32::MAX)
        };
        Self { seconds: ttl.map_or(0, seconds), ..Self::default() }
    }

    /// Has the set called `set` be equal to `items`, in whatever order they are. Of those with the same prefix the one
    /// that stays the longest is left; gives how many were left out.
    pub fn insert(&mut self, set: impl Into<String>, mut items: Vec<Item>) -> usize {
        for item in items.iter_mut().filter(|item| item.seconds() == 0) {
            *item = item.for_seconds(self.seconds);
        }
        let left_out = sort_out(&mut items);
        let set = set.into();
        match self.names.binary_search(&set) {
            Ok(place) => self.items[place] = items,
            Err(place) => {
                self.names.insert(place, set);
                self.items.insert(place, items);
            }
        }
        left_out
    }

    /// The names of the sets, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// The lists in the order of names, each in the order of prefixes.
    pub fn lists(&self) -> impl Iterator<Item = &[Item]> {
        self.items.iter().map(Vec::as_slice)
    }
}

impl Reader {
    /// What [`Writer::load`] would change, which nothing does here.
    pub fn preview(&mut self, lists: &Lists) -> Result<Vec<Swap>> {
        self.refresh()?;
        let mut found = self.all_to_load()?;
        // What has ended goes before a list is loaded.
        found.retain(|found| !self.now.is_past(found.value.end));
        self.sets.forget_ended(self.now);
        let steps = merge(&found, lists);
        let room = self.make_room(&found, &steps, lists);
        // Who asks next, or changes something, is to know what has ended.
        self.sets.forget_holds();
        room?;
        let masks: Vec<_> = lists.names().map(|name| self.sets.find(name).map_or(0, mask_of)).collect();
        Ok(count(&steps, &masks, self.now))
    }

    /// Every rule, in order, and all else that is asked for when many change.
    fn all_to_load(&mut self) -> Result<Vec<Found>> {
        self.sets.read_holds()?;
        self.table.read_all()?;
        self.table.all_in_order(false)
    }

    /// Refuses, before anything is written, what has no room. Gives the order in which rules come and go: none
    /// if there is room for the old lists beside the new ones.
    fn make_room(&mut self, found: &[Found], steps: &[Step<'_>], lists: &Lists) -> Result<Vec<Move>> {
        self.sets.check_room(lists.names(), used_sets(found))?;
        let new = by_prefix(steps).filter(|steps| steps[0].old.is_none()).count();
        let (with_all, max_rules) = (found.len() + new, self.max_rules() as usize);
        if new == 0 || with_all <= max_rules {
            return Ok(Vec::new());
        }
        let masks = lists.names().filter_map(|name| self.sets.find(name).map(mask_of));
        let moves = moves(steps, masks.fold(0, |all, mask| all | mask));
        let left = with_all - (moves.len() - new);
        if left > max_rules {
            return Err(self.no_room(u32::try_from(left).unwrap_or(u32::MAX)));
        }
        let order = schedule(&moves);
        let on_the_way = peak(&order, found.len());
        if on_the_way > self.table.capacity() as usize {
            let what = "with the new rules beside the old ones whose addresses they share there would be";
            return Err(self.no_room_for(&format!("{what} {on_the_way}")));
        }
        self.make_room_for_ends(found, steps, lists, &order)?;
        Ok(order)
    }

    /// Refuses, in the same way, holds with an end that there is no room for.
    fn make_room_for_ends(
        &self,
        found: &[Found],
        steps: &[Step<'_>],
        lists: &Lists,
        order: &[Move],
    ) -> Result<()> {
        let has_end = |step: &Step<'_>| step.new.is_some_and(|(_, item)| item.seconds() != 0);
        let (mut ends, room) = self.sets.count_ends();
        // Rules that stay may be given one.
        let sets: Vec<_> = lists.names().map(|name| self.sets.find(name)).collect();
        for step in steps.iter().filter(|step| step.old.is_some() && has_end(step)) {
            let set = step.new.and_then(|(list, _)| sets[list]);
            let has_one = set.map_or(Ok(0), |set| self.sets.end_of(step.prefix(), set))? != 0;
            ends += usize::from(!has_one);
        }
        let mut most = ends;
        for part in parts(order, found.len(), self.table.capacity() as usize) {
            for steps in part.iter().filter(|one| one.is_new).map(|one| first_of(&steps[one.number..])) {
                ends += steps.iter().filter(|step| has_end(step)).count();
            }
            most = most.max(ends);
            for one in part.iter().filter(|one| !one.is_new) {
                for set in members(steps[one.number].old.map_or(0, |old| old.value.sets)) {
                    ends -= usize::from(self.sets.end_of(one.prefix, set)? != 0);
                }
            }
        }
        if most > room {
            let message = "there is no room for the ends of the new rules beside those of the old ones; nothing was \
                           changed";
            return Err(Error::new(ErrorKind::Conflict, message)
                .with_cause(Cause::Full)
                .with_help(self.blocklist().more_room()));
        }
        Ok(())
    }
}

/// What sets are to be made equal to, and how.
struct Wanted<'a> {
    /// By list.
    sets: Vec<u32>,
    lists: &'a Lists,
    steps: &'a [Step<'a>],
}

/// What has become of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nothing yet.
    Open,
    /// It is held as wanted.
    Held,
    Gone,
}

impl Writer {
    /// Makes sets hold what `lists` list for them and nothing else, and gives what that changes, in the order of names.
    /// What has no time of its own is held for `ttl`, or for good.
    ///
    /// An address that is on a list and was held before stays blocked all along, whichever set held it, and one that is
    /// on neither passes all along: what is new is added before anything is taken out. If there is no room for both,
    /// that is done in parts, and no old rule is taken out before all new ones are there that it shares an address
    /// with. A process that is killed on the way, or refused memory, leaves the sets between the two, and the next
    /// call, of whatever lists, makes them exact.
    pub fn load(&mut self, lists: &Lists) -> Result<Vec<Swap>> {
        let loaded = self.load_all(lists);
        self.done(loaded)
    }

    fn load_all(&mut self, lists: &Lists) -> Result<Vec<Swap>> {
        self.begin()?;
        let found = self.reader.all_to_load()?;
        let steps = merge(&found, lists);
        let order = self.reader.make_room(&found, &steps, lists)?;
        let sets = self.numbers(&found, lists)?;
        let swaps = self.swap(&Wanted { sets, lists, steps: &steps }, &found, &order);
        if order.is_empty() {
            return swaps;
        }
        swaps.context(|| {
            "some old rules have to make room for new ones: the sets may be between the two lists, and \
             another load makes them exact"
        })
    }

    /// Goes through the steps, first those of `order`.
    fn swap(&mut self, wanted: &Wanted<'_>, found: &[Found], order: &[Move]) -> Result<Vec<Swap>> {
        let Wanted { sets, lists, steps, .. } = wanted;
        let masks: Vec<_> = sets.iter().copied().map(mask_of).collect();
        let swaps = count(steps, &masks, self.reader.now);
        let mut fates = self.make_moves(wanted, found.len(), order)?;
        let mut holds = Vec::new();
        let mut ahead = by_prefix(steps).map(|steps| steps[0]);
        let mut next = 0;
        for (number, steps) in by_prefix(steps).enumerate() {
            if number % AT_ONCE == 0 {
                let new = ahead.by_ref().take(AT_ONCE).filter(|step| step.old.is_none());
                self.reader.table.touch(&mut new.map(|step| step.prefix()))?;
            }
            let fate = &mut fates[next];
            next += steps.len();
            if *fate == Fate::Open {
                *fate = self.make_equal(wanted, steps, &mut holds)?;
            }
        }
        self.commit()?;
        if self.reader.table.config()?.stale > 0 {
            let left = steps.iter().zip(fates).filter(|(step, fate)| !step.goes_on && *fate != Fate::Gone);
            self.reader.table.rebuild(&mut left.map(|(step, _)| step.prefix()))?;
        }
        self.forget_unused_sets(found, &masks, lists)?;
        Ok(swaps)
    }

    /// Has rules come and go, as many at a time as there is room for, and gives what has become of prefixes, each at
    /// its first step.
    fn make_moves(&mut self, wanted: &Wanted<'_>, there: usize, order: &[Move]) -> Result<Vec<Fate>> {
        let (mut fates, mut holds) = (vec![Fate::Open; wanted.steps.len()], Vec::new());
        if order.is_empty() {
            return Ok(fates);
        }
        let mut next = 0;
        // What is to stay for longer may be in what goes.
        for steps in by_prefix(wanted.steps) {
            let outlasts = |end: u32| {
                steps.iter().filter_map(|step| step.new).any(|(_, item)| {
                    let own = self.end_of(item, None);
                    own == 0 || own > end
                })
            };
            if steps[0].old.is_some_and(|old| old.value.end != 0 && outlasts(old.value.end)) {
                fates[next] = self.make_equal(wanted, steps, &mut holds)?;
            }
            next += steps.len();
        }
        self.commit()?;
        let room = self.reader.table.capacity();
        for part in parts(order, there, room as usize) {
            for moves in part.chunks(AT_ONCE) {
                let new = moves.iter().filter(|one| one.is_new);
                self.reader.table.touch(&mut new.map(|one| one.prefix))?;
                for one in moves {
                    let steps = first_of(&wanted.steps[one.number..]);
                    fates[one.number] = self.make_equal(wanted, steps, &mut holds)?;
                }
            }
            self.commit_within(room)?;
        }
        // As they were before, but for the holds of these.
        self.reader.sets.read_holds()?;
        Ok(fates)
    }

    /// Drafts that a prefix is held as wanted, and tells what becomes of it. `holds` is a buffer.
    fn make_equal(
        &mut self,
        wanted: &Wanted<'_>,
        steps: &[Step<'_>],
        holds: &mut Vec<(u32, u32)>,
    ) -> Result<Fate> {
        let mut let_go = 0;
        holds.clear();
        for (list, &set) in wanted.sets.iter().enumerate() {
            match item_of(steps, list) {
                Some(item) => holds.push((set, self.end_of(item, None))),
                None => let_go |= mask_of(set),
            }
        }
        let left = self.change(steps[0].prefix(), steps[0].old, holds, let_go)?;
        Ok(if left.is_some() { Fate::Held } else { Fate::Gone })
    }

    /// Refuses lists that could not be loaded, before anything of them is written.
    pub fn check(&mut self, lists: &Lists) -> Result<()> {
        let begun = self.begin();
        self.done(begun)?;
        let found = self.reader.all_to_load()?;
        self.reader.make_room(&found, &merge(&found, lists), lists).map(drop)
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

/// What comes and what goes, in the order of prefixes; `masks` are the sets that are to be equal to lists.
fn moves(steps: &[Step<'_>], masks: u32) -> Vec<Move> {
    let is_first = |step: &Step<'_>| !step.goes_on;
    let of = |(number, step): (usize, &Step<'_>)| {
        let goes = |old: &Found| step.new.is_none() && old.value.sets & !masks == 0;
        let is_new = step.old.is_none();
        (is_new || step.old.is_some_and(goes)).then(|| Move { prefix: step.prefix(), is_new, number })
    };
    steps.iter().enumerate().filter(|(_, step)| is_first(step)).filter_map(of).collect()
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

/// The steps of the first prefix.
fn first_of<'s, 'a>(steps: &'s [Step<'a>]) -> &'s [Step<'a>] {
    by_prefix(steps).next().unwrap_or_default()
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
    fn rules_come_and_go_unless_they_stay_or_another_set_holds_them() {
        let found =
            held(&[("10.0.0.0/8", 1), ("192.0.2.1/32", 2), ("192.0.2.2/32", 3), ("203.0.113.7/32", 1)]);
        let mut lists = Lists::new(None);
        lists.insert("a", list(&["10.1.2.0/24", "203.0.113.7/32"]));
        lists.insert("b", list(&["10.1.2.0/24", "::/0"]));
        let steps = merge(&found, &lists);
        let shown = |masks: u32| -> Vec<_> {
            moves(&steps, masks).iter().map(|one| (one.number, one.prefix.to_string(), one.is_new)).collect()
        };
        let new = [(1, "10.1.2.0/24".to_owned(), true), (6, "::/0".to_owned(), true)];
        let gone = |number: usize, text: &str| (number, text.to_owned(), false);
        let [first, last] = new;
        assert_eq!(shown(1), [gone(0, "10.0.0.0/8"), first.clone(), last.clone()]);
        let others = [gone(3, "192.0.2.1/32"), gone(4, "192.0.2.2/32")];
        assert_eq!(shown(3), [&[gone(0, "10.0.0.0/8"), first][..], &others, &[last]].concat());
    }

    #[test]
    fn each_prefix_has_the_steps_of_its_lists() {
        let found = held(&[("192.0.2.1/32", 0), ("192.0.2.3/32", 0), ("2001:db8::/64", 0)]);
        let mut lists = Lists::new(None);
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
