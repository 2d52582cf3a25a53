//! The rules of `trie6`: found and drafted, and where packets go on from one that has ended.
//!
//! A lookup gives the longest rule alone, and the program may ask only a few times. So each rule that has an end leads
//! to the one that ends last of those that cover it (`struct block_trie_rule`), whatever else lies in between.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;
use loader::Result;
use loader::map::Map;

use crate::clock::Now;
use crate::draft::Draft;
use crate::layout::{Cell as _, RuleValue, trie_key, trie_prefix, u32_at};
use crate::prefix::{covering, sort_pairs};

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
    /// because a command was killed before. What packets are led to is written before them, and deleted after them.
    pub(crate) fn draft(&mut self, is_used: bool) -> Result<Draft> {
        let mut draft = Draft::default();
        if self.drafted.is_empty() && self.known.is_none() {
            return Ok(draft);
        }
        self.read(is_used)?;
        let mut rules: HashMap<_, _> = self.known.take().unwrap_or_default();
        let mut planned = Vec::with_capacity(rules.len() + self.drafted.len());
        for (prefix, value) in self.drafted.drain(..) {
            let before = rules.remove(&prefix);
            match value {
                Some(value) => {
                    let state = if before.is_some() { State::Changed } else { State::New };
                    planned.push(Planned { prefix, rule: TrieRule { value, next: 0 }, state });
                }
                None => draft.remove(&trie_key(prefix)),
            }
        }
        let kept = rules.into_iter();
        planned.extend(kept.map(|(prefix, rule)| Planned { prefix, rule, state: State::Kept }));
        lead(&mut planned);
        for Planned { prefix, rule, state } in planned.iter().filter(|planned| planned.state != State::Kept) {
            let more = [rule.next, 0].map(u32::to_ne_bytes);
            draft.put(&trie_key(*prefix), rule.value, more.as_flattened(), *state == State::New);
        }
        Ok(draft)
    }
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

/// A rule that will be there.
#[derive(Clone, Copy, Debug)]
struct Planned {
    prefix: IpNet,
    rule: TrieRule,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Kept,
    Changed,
    New,
}

/// Has each rule lead to the one that ends last of those that cover it.
fn lead(rules: &mut [Planned]) {
    // A rule without an end is where packets stop.
    if rules.iter().all(|planned| planned.rule.value.end == 0) {
        return;
    }
    let mut order: Vec<_> = rules.iter().map(|planned| planned.prefix).zip(0..).collect();
    sort_pairs(&mut order);
    // The rules that cover the present one, each with the length and the end of the one that ends last up to it.
    let mut around: Vec<(IpNet, u32, u32)> = Vec::new();
    for (_, number) in order {
        let Planned { prefix, rule, state } = &mut rules[number as usize];
        while around.last().is_some_and(|(wider, ..)| !wider.contains(&*prefix)) {
            around.pop();
        }
        let end = rule.value.end;
        let last = around.last().map(|&(_, length, end)| (length, end));
        let next = last.filter(|_| end != 0).map_or(0, |(length, _)| length);
        if rule.next != next {
            rule.next = next;
            if *state == State::Kept {
                *state = State::Changed;
            }
        }
        // 0 is never, and so the last of all ends.
        let own = (u32::from(prefix.prefix_len()), end);
        let (length, end) = last.filter(|last| last.1.wrapping_sub(1) > end.wrapping_sub(1)).unwrap_or(own);
        around.push((*prefix, length, end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv6Addr;

    /// Rules that were there, as text with their ends, and what each leads to.
    fn planned(rules: &[(&str, u32)]) -> Vec<Planned> {
        let rule = |&(text, end): &(&str, u32)| Planned {
            prefix: text.parse().unwrap(),
            rule: TrieRule { value: RuleValue { end, ..RuleValue::default() }, next: 0 },
            state: State::Kept,
        };
        rules.iter().map(rule).collect()
    }

    #[test]
    fn a_rule_leads_to_the_one_that_ends_last_around_it() {
        let mut rules = planned(&[
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
        ]);
        lead(&mut rules);
        rules.sort_unstable_by_key(|planned| planned.prefix);
        let found: Vec<_> = rules
            .iter()
            .map(|planned| (planned.prefix.to_string(), planned.rule.next, planned.state == State::Changed))
            .collect();
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
        let expected: Vec<_> =
            expected.map(|(prefix, next)| (prefix.to_owned(), next, next != 0)).into_iter().collect();
        assert_eq!(found, expected);
        // Whoever leads to the same as before is not written again.
        let mut again: Vec<_> =
            rules.iter().map(|planned| Planned { state: State::Kept, ..*planned }).collect();
        lead(&mut again);
        assert!(again.iter().all(|planned| planned.state == State::Kept));
    }

    /// Two looks are enough, whichever rules have ended.
    #[test]
    fn the_second_rule_decides() {
        let mut number = 1_u64;
        let mut below = |limit: u32| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u32::try_from(number >> 33).unwrap() % limit
        };
        let mut answers = [0, 0];
        for _ in 0..2_000 {
            let texts: Vec<_> =
                (0..12).map(|_| (format!("{:x}::/{}", below(4) << 14, below(8)), below(9))).collect();
            let mut known = HashMap::new();
            for (text, end) in &texts {
                let prefix = text.parse::<IpNet>().unwrap().trunc();
                known.insert(prefix, planned(&[("::/0", *end)])[0].rule);
            }
            let mut rules: Vec<_> =
                known.iter().map(|(&prefix, &rule)| Planned { prefix, rule, state: State::Kept }).collect();
            lead(&mut rules);
            let known: HashMap<_, _> = rules.iter().map(|planned| (planned.prefix, planned.rule)).collect();
            let (address, now) = (Ipv6Addr::from(u128::from(below(8)) << 125).into(), Now::unit(below(9)));
            let is_alive =
                |planned: &Planned| planned.prefix.contains(&address) && !now.is_past(planned.rule.value.end);
            let expected = rules.iter().any(is_alive);
            let found = first(&known, address, now, 2);
            assert_eq!(found.is_some(), expected, "{address} at {now:?} of {rules:?}");
            assert!(found.is_none_or(|(prefix, value)| prefix.contains(&address) && !now.is_past(value.end)));
            answers[usize::from(expected)] += 1;
        }
        assert!(answers.iter().all(|&count| count > 300), "both answers were seen: {answers:?}");
    }
}
