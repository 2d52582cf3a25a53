//! The rules of `trie6`: found and drafted, and where packets go on from one that has ended.
//!
//! A lookup gives the longest rule alone, and the program may ask only a few times. So each rule that has an end leads
//! to the one that ends last of those that cover it (`struct block_trie_rule`), whatever else lies in between.

use std::collections::HashMap;
use std::mem;
use std::net::IpAddr;

use ipnet::IpNet;
use loader::Result;
use loader::map::Map;

use crate::clock::Now;
use crate::draft::Draft;
use crate::layout::{Cell as _, RuleValue, trie_key, trie_prefix, u32_at};
use crate::list::in_order;
use crate::prefix::covering;

/// `TRIE_TRIES` of the program.
const TRIES: usize = 3;

/// A rule as the trie has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TrieRule {
    value: RuleValue,
    /// The length of the rule that packets look at next if this one has ended.
    next: u32,
}

/// The trie, as it is and as it will be.
#[derive(Debug)]
pub(crate) struct Trie {
    pub(crate) map: Map,
    /// The rules that are there, which can only be found by reading all.
    known: Option<HashMap<IpNet, TrieRule>>,
    /// What rules will be; none for those that go.
    drafted: Vec<(IpNet, Option<RuleValue>)>,
}

impl Trie {
    pub(crate) fn new(map: Map) -> Self {
        Self { map, known: None, drafted: Vec::new() }
    }

    /// Knows nothing of what others may have written meanwhile.
    pub(crate) fn forget(&mut self) {
        self.known = None;
    }

    /// Reads all rules, if there can be any, and tells how many there are.
    pub(crate) fn read(&mut self, is_used: bool) -> Result<usize> {
        if self.known.is_none() {
            let mut known = HashMap::new();
            if is_used {
                let key_size = self.map.key_size();
                self.map.scan(|keys, values| {
                    let rules = values.chunks_exact(RuleValue::IN_TRIE).map(|value| TrieRule {
                        value: RuleValue::decode(value),
                        next: u32_at(value, RuleValue::SIZE),
                    });
                    known.extend(keys.chunks_exact(key_size).map(trie_prefix).zip(rules));
                })?;
            }
            self.known = Some(known);
        }
        Ok(self.known.as_ref().map_or(0, HashMap::len))
    }

    /// The rules that were read.
    pub(crate) fn all(&self) -> impl Iterator<Item = (IpNet, RuleValue)> {
        self.known.iter().flatten().map(|(&prefix, rule)| (prefix, rule.value))
    }

    /// The rule with exactly this prefix, of those that were read.
    pub(crate) fn get(&self, prefix: IpNet) -> Option<RuleValue> {
        self.known.as_ref()?.get(&prefix).map(|rule| rule.value)
    }

    /// The rule that packets from `address` find, of those that were read.
    pub(crate) fn first(&self, address: IpAddr, now: Now) -> Option<(IpNet, RuleValue)> {
        let known = self.known.as_ref().filter(|known| !known.is_empty())?;
        first(known, address, now, TRIES)
    }

    /// Drafts what a rule will be; none if it goes.
    pub(crate) fn put(&mut self, prefix: IpNet, value: Option<RuleValue>) {
        self.drafted.push((prefix, value));
    }

    /// What is to be written and deleted: what was drafted, and what has to lead to another rule because of that, or
    /// because a command of an earlier release was killed.
    pub(crate) fn draft(&mut self, is_used: bool) -> Result<Plan> {
        if self.drafted.is_empty() && self.known.is_none() {
            return Ok(Plan::default());
        }
        self.read(is_used)?;
        let known = self.known.take().unwrap_or_default();
        Ok(plan(known, mem::take(&mut self.drafted)))
    }
}

/// What is to be written to the trie.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    coming: Vec<Stage>,
    going: Vec<Stage>,
}

/// Writes of which any may be the first.
type Stage = Vec<Write>;

/// What an entry is, and what it is to be; none if it is not there.
#[derive(Clone, Copy, Debug)]
struct Write {
    prefix: IpNet,
    before: Option<TrieRule>,
    after: Option<TrieRule>,
}

impl Plan {
    /// Writes what is new or changed. After a failure all is as it was before.
    pub(crate) fn write(&self, map: &Map) -> Result<()> {
        for (number, stage) in self.coming.iter().enumerate() {
            write(map, stage).inspect_err(|_| take_back(map, &self.coming[..=number]))?;
        }
        Ok(())
    }

    /// Takes back what was written. A failure of that has nobody to be told to: the one that led here is told.
    pub(crate) fn take_back(&self, map: &Map) {
        take_back(map, &self.coming);
    }

    /// Deletes what goes.
    pub(crate) fn delete(&self, map: &Map) -> Result<()> {
        self.going.iter().try_for_each(|stage| write(map, stage))
    }
}

fn take_back(map: &Map, stages: &[Stage]) {
    for stage in stages.iter().rev() {
        let back = |one: &Write| Write { before: one.after, after: one.before, ..*one };
        let draft = draft(stage.iter().map(back));
        // What is not written back leads to a rule that is not there, which is none the worse.
        let _ = draft.delete(map);
        let _ = draft.write_changed(map);
    }
}

fn write(map: &Map, stage: &Stage) -> Result<()> {
    let draft = draft(stage.iter().copied());
    draft.write_new(map)?;
    draft.write_changed(map)?;
    draft.delete(map)
}

fn draft(writes: impl Iterator<Item = Write>) -> Draft {
    let mut draft = Draft::default();
    for Write { prefix, before, after } in writes {
        let key = trie_key(prefix);
        match after {
            Some(TrieRule { value, next }) => {
                draft.put(&key, value, [next, 0].map(u32::to_ne_bytes).as_flattened(), before.is_none());
            }
            None => draft.remove(&key),
        }
    }
    draft
}

/// The rule that has not ended, looked for as the program does.
fn first(
    known: &HashMap<IpNet, TrieRule>,
    address: IpAddr,
    now: Now,
    tries: usize,
) -> Option<(IpNet, RuleValue)> {
    let mut longest = u32::MAX;
    for _ in 0..tries {
        let mut wider = covering(address).filter(|prefix| u32::from(prefix.prefix_len()) <= longest);
        let (prefix, rule) = wider.find_map(|prefix| Some((prefix, *known.get(&prefix)?)))?;
        if !now.is_past(rule.value.end) {
            return Some((prefix, rule.value));
        }
        longest = rule.next;
    }
    None
}

/// Divides changes into stages, so that packets find all rules that are there after each write, and whoever is killed
/// between two of them leaves nothing that is wrong.
fn plan(known: HashMap<IpNet, TrieRule>, drafted: Vec<(IpNet, Option<RuleValue>)>) -> Plan {
    let mut forest = Forest::new(known, drafted);
    if forest.entries.iter().any(Entry::has_end) {
        forest.link();
    }
    let mut plan = Plan::default();
    plan.coming.extend(forest.stages(&|_| false));
    // Wider ones come first and go last, so that fewer have to be written again.
    let comes = |change| matches!(change, Change::Comes(_));
    for depth in 0..forest.depths(comes) {
        plan.coming.extend(forest.stages(&|entry| comes(entry.change) && entry.depth == depth));
    }
    let goes = |change| change == Change::Goes;
    for depth in (0..forest.depths(goes)).rev() {
        plan.going.extend(forest.stages(&|entry| goes(entry.change) && entry.depth == depth));
    }
    plan
}

/// Rules that are there or will be.
#[derive(Debug)]
struct Forest {
    /// Once they are linked, in the order of prefixes. Where none has an end, none has to lead anywhere.
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    prefix: IpNet,
    /// What is there after the writes so far.
    rule: Option<TrieRule>,
    change: Change,
    /// The number of the one that it lies in.
    parent: Option<usize>,
    /// How many of those around it come as it does, or go.
    depth: usize,
}

/// What is still to be written of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Nothing,
    /// It is new, or another value.
    Comes(RuleValue),
    Goes,
}

impl Change {
    /// Whether it is the same but for the value.
    fn is_like(self, other: Self) -> bool {
        mem::discriminant(&self) == mem::discriminant(&other)
    }
}

impl Entry {
    fn has_end(&self) -> bool {
        let will_have = matches!(self.change, Change::Comes(value) if value.end != 0);
        will_have || self.rule.is_some_and(|rule| rule.value.end != 0)
    }
}

/// The rule that ends last of several, and of those that end together the longest.
#[derive(Clone, Copy, Debug)]
struct Last {
    length: u32,
    end: u32,
}

impl Last {
    /// 0 is never, and so the last of all ends.
    fn outlasts(self, end: u32) -> bool {
        self.end.wrapping_sub(1) > end.wrapping_sub(1)
    }
}

impl Forest {
    fn new(mut known: HashMap<IpNet, TrieRule>, drafted: Vec<(IpNet, Option<RuleValue>)>) -> Self {
        let entry = |prefix, rule, change| Entry { prefix, rule, change, parent: None, depth: 0 };
        let mut entries = Vec::with_capacity(known.len() + drafted.len());
        for (prefix, value) in drafted {
            entries.push(entry(prefix, known.remove(&prefix), value.map_or(Change::Goes, Change::Comes)));
        }
        entries.extend(known.into_iter().map(|(prefix, rule)| entry(prefix, Some(rule), Change::Nothing)));
        Self { entries }
    }

    /// Sorts the rules, and finds what each lies in.
    fn link(&mut self) {
        self.entries = in_order(&self.entries, |entry| entry.prefix);
        let mut around: Vec<usize> = Vec::new();
        for number in 0..self.entries.len() {
            let prefix = self.entries[number].prefix;
            while around.last().is_some_and(|&wider| !self.entries[wider].prefix.contains(&prefix)) {
                around.pop();
            }
            let alike = |wider: &&usize| self.entries[**wider].change.is_like(self.entries[number].change);
            let depth = around.iter().rev().find(alike).map_or(0, |&wider| self.entries[wider].depth + 1);
            let entry = &mut self.entries[number];
            (entry.parent, entry.depth) = (around.last().copied(), depth);
            around.push(number);
        }
    }

    /// How many different depths there are of what comes, or of what goes.
    fn depths(&self, is_asked: impl Fn(Change) -> bool) -> usize {
        let depths = self.entries.iter().filter(|entry| is_asked(entry.change)).map(|entry| entry.depth);
        depths.max().map_or(0, |deepest| deepest + 1)
    }

    /// Of the rules around each, the one that ends last.
    fn around(&self) -> Vec<Option<Last>> {
        let mut around: Vec<Option<Last>> = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            around.push(entry.parent.and_then(|parent| {
                let (last, wider) = (around[parent], &self.entries[parent]);
                let own = wider.rule.map(|rule| (u32::from(wider.prefix.prefix_len()), rule.value.end));
                let Some((length, end)) = own else { return last };
                last.filter(|last| last.outlasts(end)).or(Some(Last { length, end }))
            }));
        }
        around
    }

    /// Makes the changes that are asked for, of which none lies in another, and has all rules lead to the right ones
    /// before that, then, and after that.
    fn stages(&mut self, is_asked: &dyn Fn(&Entry) -> bool) -> impl Iterator<Item = Stage> {
        let before = self.around();
        let mut changed = Vec::new();
        for (number, entry) in self.entries.iter_mut().enumerate().filter(|(_, entry)| is_asked(entry)) {
            changed.push((number, entry.rule));
            entry.rule = match mem::replace(&mut entry.change, Change::Nothing) {
                Change::Comes(value) => Some(TrieRule { value, next: 0 }),
                Change::Goes | Change::Nothing => None,
            };
        }
        let after = self.around();
        let mut changed = changed.into_iter().peekable();
        let [mut first, mut second, mut third] = [const { Stage::new() }; 3];
        for (number, entry) in self.entries.iter_mut().enumerate() {
            let own = changed.next_if(|(changed, _)| *changed == number);
            let rule = own.map_or(entry.rule, |(_, rule)| rule);
            let (old, new) = (before[number], after[number]);
            let mut end = 0;
            if let Some(rule) = &mut entry.rule {
                end = rule.value.end;
                rule.next = new.filter(|_| end != 0).map_or(0, |last| last.length);
            }
            let write = Write { prefix: entry.prefix, before: rule, after: entry.rule };
            if own.is_some() {
                second.push(write);
            } else if write.before != write.after {
                if leads_early(end, old, new) { &mut first } else { &mut third }.push(write);
            }
        }
        [first, second, third].into_iter().filter(|stage| !stage.is_empty())
    }
}

/// Whether a rule with an `end` is to lead to `new` before a rule around it changes, or only after that. One of `old`
/// and `new` is the rule that changes: the one that ends later of the two, as it will be or as it was.
///
/// A rule may lead to that one while it is not there, or ends before the other: packets then find the longest rule up
/// to its length, and go on to the other. They cannot where the other is longer. There the rule leads to the other,
/// from which packets go on to the one that changes.
fn leads_early(end: u32, old: Option<Last>, new: Option<Last>) -> bool {
    // Around a rule that outlasts all others, packets have nothing else to find.
    let outlasts = |last: &Last| last.outlasts(end);
    let is_longer = |new: Last, old: Last| new.length > old.length;
    let lasts_longer = match (old, new) {
        (Some(old), Some(new)) => !old.outlasts(new.end),
        (old, _) => old.is_none(),
    };
    if lasts_longer {
        old.filter(outlasts).is_none_or(|old| new.is_some_and(|new| is_longer(new, old)))
    } else {
        new.filter(outlasts).is_some_and(|new| old.is_some_and(|old| is_longer(new, old)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    /// Makes the first of these writes, and leaves out the others.
    fn make<'a>(known: &mut HashMap<IpNet, TrieRule>, writes: impl Iterator<Item = &'a Write>) {
        for write in writes {
            assert_eq!(known.get(&write.prefix), write.before.as_ref(), "{write:?}");
            match write.after {
                Some(rule) => known.insert(write.prefix, rule),
                None => known.remove(&write.prefix),
            };
        }
    }

    fn value(end: u32) -> RuleValue {
        RuleValue { end, ..RuleValue::default() }
    }

    #[test]
    fn a_rule_leads_to_the_one_that_ends_last_around_it() {
        let rules = [
            ("2001:db8::/38", 1),
            ("2001:db8::/33", 7),
            ("2001:db8::/37", 3),
            ("2001:db8::/35", 9),
            ("2001:db8::/34", 0),
            ("2001:db8::/39", 2),
            ("2001:db8:8000::/33", 5),
            ("2001:db8:8000::/34", 5),
            ("2001:db8:8000::/35", 5),
            ("2001:db8:c000::/34", 5),
            ("2001:db8::/31", 4),
        ];
        let drafted = rules.iter().map(|(text, end)| (text.parse().unwrap(), Some(value(*end)))).collect();
        let mut known = HashMap::new();
        make(&mut known, plan(HashMap::new(), drafted).coming.iter().flatten());
        let mut found: Vec<_> = known.iter().collect();
        found.sort_unstable_by_key(|(prefix, _)| **prefix);
        let found: Vec<_> = found.iter().map(|(prefix, rule)| (prefix.to_string(), rule.next)).collect();
        let expected = [
            ("2001:db8::/31", 0),
            ("2001:db8::/33", 31),
            // It never ends.
            ("2001:db8::/34", 0),
            ("2001:db8::/35", 34),
            ("2001:db8::/37", 34),
            ("2001:db8::/38", 34),
            ("2001:db8::/39", 34),
            ("2001:db8:8000::/33", 31),
            // Of several that end together the longest.
            ("2001:db8:8000::/34", 33),
            ("2001:db8:8000::/35", 34),
            ("2001:db8:c000::/34", 33),
        ];
        assert_eq!(found, expected.map(|(prefix, next)| (prefix.to_owned(), next)));
        // Whoever leads to the same as before is not written again.
        assert!(plan(known, Vec::new()).coming.is_empty());
    }

    /// Whichever rules come, change and go, and after whichever write somebody is killed, packets find a rule that has
    /// not ended, if there is one. Without such a write, two looks are enough.
    #[test]
    fn packets_find_what_there_is_after_each_write() {
        let mut random = 1_u64;
        let mut below = |limit: u32| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u32::try_from(random >> 33).unwrap() % limit
        };
        let assert_found = |known: &HashMap<IpNet, TrieRule>, tries: usize| {
            let mut answers = [0, 0];
            for (address, now) in (0..16_u128).flat_map(|high| (1..6).map(move |now| (high << 124, now))) {
                let (address, now) = (IpAddr::V6(Ipv6Addr::from(address)), Now::unit(now));
                let mut rules = known.iter();
                let expected =
                    rules.any(|(prefix, rule)| prefix.contains(&address) && !now.is_past(rule.value.end));
                let found = first(known, address, now, tries);
                assert_eq!(found.is_some(), expected, "{address} at {now:?} of {known:?}");
                assert!(
                    found.is_none_or(|(prefix, value)| prefix.contains(&address) && !now.is_past(value.end))
                );
                answers[usize::from(expected)] += 1;
            }
            answers
        };
        let (mut known, mut killed, mut answers, mut most) = (HashMap::new(), 0, [0, 0], 0);
        for _ in 0..200 {
            let mut drafted = HashMap::new();
            for _ in 0..=below(6) {
                let prefix =
                    format!("{:x}::/{}", below(16) << 12, below(5)).parse::<IpNet>().unwrap().trunc();
                let goes = known.contains_key(&prefix) && below(2) == 0;
                drafted.insert(prefix, (!goes).then(|| value(below(5))));
            }
            let Plan { mut coming, going } = plan(known.clone(), drafted.into_iter().collect());
            most = most.max(coming.len() + going.len());
            coming.extend(going);
            for stage in &mut coming {
                for at in 1..stage.len() {
                    stage.swap(at, below(u32::try_from(at + 1).unwrap()) as usize);
                }
            }
            let writes: Vec<_> = coming.iter().flatten().collect();
            let left_out =
                if below(4) == 0 { below(u32::try_from(writes.len() + 1).unwrap()) as usize } else { 0 };
            for write in &writes[..writes.len() - left_out] {
                make(&mut known, [*write].into_iter());
                assert_found(&known, TRIES);
            }
            if left_out == 0 {
                let found = assert_found(&known, 2);
                answers = [0, 1].map(|at| answers[at] + found[at]);
            } else {
                killed += 1;
            }
            if known.len() > 20 {
                known.clear();
            }
        }
        assert!(
            killed > 30 && most > 6 && answers.iter().all(|&count| count > 1_000),
            "{killed} {most} {answers:?}"
        );
    }
}
