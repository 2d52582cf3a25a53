//! Changes to the blocklist, by one process at a time.

use std::iter;
use std::time::Duration;

use ipnet::IpNet;
use loader::map::UpdateFlags;
use loader::{Context as _, Error, ErrorKind, Result};

use crate::layout::{RuleValue, flags, trie_key, u32_at};
use crate::list::{Item, distinct, each_repeat, in_order, repeats};
use crate::prefix::{Shown, canonical};
use crate::rules::{Reader, Unlisted};
use crate::sets::DEFAULT;
use crate::store::{Blocklist, Lock, Turn, refuse_unlisted};
use crate::table::{Drafted, Found};

/// The right to change the blocklist: whoever has it is the only one.
///
/// ```no_run
/// use blocklist::{Blocklist, Lists, Writer, list};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let file = std::io::BufReader::new(std::fs::File::open("drop.txt")?);
/// let read = list::read(file, 100_000, |_| {}).map_err(|stop| format!("{stop:?}"))?;
/// let mut lists = Lists::new(None);
/// lists.insert("drop", read.items);
///
/// let mut writer = Writer::open(&Blocklist::under("/sys/fs/bpf"))?;
/// let swap = writer.load(&lists)?[0];
/// println!("added {}, kept {}, removed {}", swap.added, swap.kept, swap.removed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Writer {
    pub(crate) reader: Reader,
    /// Whether the reader may have what was drafted for a call that has failed.
    is_spoilt: bool,
    /// By which it is the only one.
    _turn: Turn,
}

/// What has become of a prefix that was to be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Added {
    /// It is a rule now.
    New,
    /// It was one, and is held by one more set, or for another time.
    Changed,
    /// It was one, and all is as it was.
    Kept,
}

impl Added {
    /// What is said of it in answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::New => "added",
            Self::Changed => "changed",
            Self::Kept => "unchanged",
        }
    }
}

impl Writer {
    /// Waits for the lock, as [`Blocklist::lock`] does, and takes out what has ended.
    ///
    /// Whoever has the lock calls [`Writer::holding`].
    pub fn open(blocklist: &Blocklist) -> Result<Self> {
        Self::holding(&blocklist.lock()?, blocklist)
    }

    /// As [`Writer::open`], without waiting: none if somebody else writes.
    pub fn try_open(blocklist: &Blocklist) -> Result<Option<Self>> {
        blocklist.try_lock()?.map(|lock| Self::holding(&lock, blocklist)).transpose()
    }

    /// Waits for the lock, and leaves in what has ended: for whoever may change nothing after all.
    pub fn idle(blocklist: &Blocklist) -> Result<Self> {
        let turn = blocklist.lock()?.turn()?;
        Ok(Self { reader: Reader::open_for(blocklist, true)?, is_spoilt: false, _turn: turn })
    }

    /// As [`Writer::open`], for whoever has the lock. That of another blocklist is refused, and one by which there is a
    /// writer already.
    pub fn holding(lock: &Lock, blocklist: &Blocklist) -> Result<Self> {
        blocklist.expect_own(lock)?;
        let turn = lock.turn()?;
        let reader = Reader::open_for(blocklist, true)?;
        let mut writer = Self { reader, is_spoilt: false, _turn: turn };
        writer.begin()?;
        Ok(writer)
    }

    /// The blocklist as it is.
    pub fn reader(&mut self) -> &mut Reader {
        &mut self.reader
    }

    /// Lets the set called `set`, or the default one, hold each prefix, for its own time, else for `ttl` from now, else
    /// for good: all of them, or after a refusal none. Times are rounded up to [units of 1.07 s](crate#times).
    ///
    /// Of items with the same prefix the one that stays the longest counts, and all but the first are
    /// [`Added::Kept`]. The set that a list names for an item is of no account here. No room is an error with the cause
    /// [`Full`](loader::Cause::Full).
    pub fn add(&mut self, items: &[Item], set: Option<&str>, ttl: Option<Duration>) -> Result<Vec<Added>> {
        let added = self.add_all(items, set, ttl);
        self.done(added)
    }

    fn add_all(&mut self, items: &[Item], set: Option<&str>, ttl: Option<Duration>) -> Result<Vec<Added>> {
        self.begin()?;
        let name = set.unwrap_or(DEFAULT);
        if !self.reader.sets.have_room([name].into_iter()) {
            let found = self.reader.table.all(false)?;
            self.reader.sets.free_unused(used_sets(&found))?;
        }
        let set = self.reader.sets.find_or_make(name)?;
        if items.len() > MANY {
            self.reader.table.read_all()?;
        }
        let prefixes: Vec<_> = items.iter().map(Item::prefix).collect();
        let mut ends: Vec<_> = items.iter().map(|item| Some(self.end_of(item, ttl))).collect();
        each_repeat(&prefixes, &mut |first, next| {
            let both = [ends[first], ends[next].take()].into_iter().flatten();
            // No end is 0, and the last of all.
            ends[first] = both.max_by_key(|end| end.wrapping_sub(1));
        });
        let mut answers = Vec::with_capacity(items.len());
        for (&prefix, end) in prefixes.iter().zip(ends) {
            let Some(end) = end else {
                answers.push(Added::Kept);
                continue;
            };
            let old = self.reader.table.find(prefix)?;
            answers.push(self.hold(prefix, old.as_ref(), set, end)?);
        }
        self.commit()?;
        Ok(answers)
    }

    /// Takes each prefix out of all sets, or out of the one called `set`, and tells which of them were there.
    pub fn remove(&mut self, prefixes: &[IpNet], set: Option<&str>) -> Result<Vec<bool>> {
        let removed = self.remove_all(prefixes, set);
        self.done(removed)
    }

    fn remove_all(&mut self, prefixes: &[IpNet], set: Option<&str>) -> Result<Vec<bool>> {
        self.begin()?;
        let mask = match set {
            None => u32::MAX,
            Some(name) => self.reader.sets.find(name).map_or(0, |set| 1 << set),
        };
        let prefixes: Vec<_> = prefixes.iter().copied().map(canonical).collect();
        let mut answers = Vec::with_capacity(prefixes.len());
        for (prefix, is_repeated) in prefixes.iter().copied().zip(repeats(&prefixes)) {
            let found = if is_repeated { None } else { self.reader.table.find(prefix)? };
            let held = found.filter(|found| found.value.sets & mask != 0);
            if let Some(found) = &held {
                self.let_go(found, mask)?;
            }
            answers.push(held.is_some());
        }
        self.commit()?;
        self.rebuild_if_stale()?;
        Ok(answers)
    }

    /// Lets packets from these prefixes pass whatever the rules say, and tells which are new. If there is no room for
    /// all of them, none is made.
    pub fn allow(&mut self, prefixes: &[IpNet]) -> Result<Vec<bool>> {
        let allowed = self.allow_all(prefixes);
        self.done(allowed)
    }

    fn allow_all(&mut self, prefixes: &[IpNet]) -> Result<Vec<bool>> {
        self.renew()?;
        if prefixes.len() > 1 {
            self.refuse_exceptions_without_room(prefixes)?;
        }
        let mut answers = Vec::with_capacity(prefixes.len());
        for prefix in prefixes.iter().copied().map(canonical) {
            let is_new = !self.is_exception(prefix)?;
            let length = u32::from(prefix.prefix_len()).to_ne_bytes();
            let flag = if matches!(prefix, IpNet::V4(_)) { flags::HAS_ALLOW4 } else { flags::HAS_ALLOW6 };
            let is_first = !self.reader.table.config()?.has(flag);
            let (map, exception) =
                (self.reader.allow_map(prefix), format!("the exception {}", Shown(prefix)));
            if is_first {
                refuse_unlisted(map, &exception)?;
            }
            // Before 6.13 a full trie refuses what it has already (`trie_update_elem()` in `kernel/bpf/lpm_trie.c`).
            if is_new {
                map.update(&trie_key(prefix), &length, UpdateFlags::ANY)
                    .map_err(|error| self.reader.explain_full(error, &exception))?;
            }
            // The program asks only if it is told that there is something to find.
            self.reader.table.change_config(|config| config.flags |= flag)?;
            self.commit()?;
            answers.push(is_new);
        }
        Ok(answers)
    }

    /// Refuses exceptions, before one is made, if those of a family would be more than there is room for.
    fn refuse_exceptions_without_room(&self, prefixes: &[IpNet]) -> Result<()> {
        let mut all = self.reader.exceptions()?;
        all.extend(prefixes.iter().copied().map(canonical));
        let all = distinct(&all);
        let of_ipv4 = all.iter().filter(|prefix| matches!(prefix, IpNet::V4(_))).count();
        let (count, room) = (of_ipv4.max(all.len() - of_ipv4), self.reader.max_rules());
        if count <= room as usize {
            return Ok(());
        }
        Err(self.reader.no_room_for(&format!("with the new exceptions there would be {count} of one family")))
    }

    /// Takes back exceptions, and tells which of them were there.
    pub fn disallow(&mut self, prefixes: &[IpNet]) -> Result<Vec<bool>> {
        let prefixes = prefixes.iter().copied().map(canonical);
        prefixes.map(|prefix| self.reader.allow_map(prefix).delete(&trie_key(prefix))).collect()
    }

    fn is_exception(&self, prefix: IpNet) -> Result<bool> {
        let value = self.reader.allow_map(prefix).lookup(&trie_key(prefix))?;
        let length = value.and_then(|value| value.single().map(|bytes| u32_at(bytes, 0)));
        Ok(length == Some(u32::from(prefix.prefix_len())))
    }

    /// Tells the program whether to drop, and what to do with what no rule is about. The time of a drop begins now, and
    /// is rounded up to [units of 1.07 s](crate#times).
    pub fn set(&mut self, count_only: Option<bool>, unlisted: Option<Unlisted>) -> Result<()> {
        let set = self.set_both(count_only, unlisted);
        self.done(set)
    }

    fn set_both(&mut self, count_only: Option<bool>, unlisted: Option<Unlisted>) -> Result<()> {
        self.renew()?;
        self.reader.refresh()?;
        let now = self.reader.now;
        self.reader.table.change_config(|config| {
            let drops = unlisted.map(|unlisted| unlisted != Unlisted::Pass);
            for (flag, wish) in [(flags::COUNT_ONLY, count_only), (flags::DEFAULT_DROP, drops)] {
                match wish {
                    Some(true) => config.flags |= flag,
                    Some(false) => config.flags &= !flag,
                    None => {}
                }
            }
            match unlisted {
                Some(Unlisted::Drop(Some(time))) => config.default_end = now.end_after(time).into(),
                Some(_) => config.default_end = 0,
                None => {}
            }
        })?;
        self.commit()
    }

    /// When what is held from now on ends; 0 for never.
    pub(crate) fn end_of(&self, item: &Item, ttl: Option<Duration>) -> u32 {
        let own = (item.seconds() != 0).then(|| Duration::from_secs(item.seconds().into()));
        own.or(ttl).map_or(0, |time| self.reader.now.end_after(time))
    }

    /// Drafts that `set` holds a prefix until `end`.
    fn hold(&mut self, prefix: IpNet, old: Option<&Found>, set: u32, end: u32) -> Result<Added> {
        Ok(self.change(prefix, old, &[(set, end)], 0)?.unwrap_or(Added::Kept))
    }

    /// Drafts that the sets in `mask` let go of a rule.
    fn let_go(&mut self, found: &Found, mask: u32) -> Result<()> {
        self.change(found.prefix, Some(found), &[], mask).map(drop)
    }

    /// Drafts that each set in `holds` holds a prefix until an end, or for good with 0, and that those in `gone` let go
    /// of it. Tells what becomes of the rule; none if it goes, or there is none.
    pub(crate) fn change(
        &mut self,
        prefix: IpNet,
        old: Option<&Found>,
        holds: &[(u32, u32)],
        gone: u32,
    ) -> Result<Option<Added>> {
        let alive = old.filter(|found| !self.reader.now.is_past(found.value.end));
        let before = alive.map_or(0, |found| found.value.sets);
        let gone = old.map_or(0, |found| found.value.sets) & gone;
        let (mut is_kept, mut held) = (gone == 0, 0);
        for &(set, end) in holds {
            held |= 1 << set;
            let was_held = before & (1 << set) != 0;
            if !was_held || self.reader.sets.end_of(prefix, set)? != end {
                is_kept = false;
                self.reader.sets.set_end(prefix, set, end)?;
            }
        }
        for set in members(gone) {
            self.reader.sets.set_end(prefix, set, 0)?;
        }
        let left = before & !gone & !held;
        let mut ends = None;
        let mut take = |end: u32| {
            ends = Some(ends.map_or((end, end), |(first, last)| (end.min(first), end.max(last))));
        };
        for (_, end) in holds {
            take(*end);
        }
        for set in members(left) {
            take(self.reader.sets.end_of(prefix, set)?);
        }
        let Some((first, last)) = ends else {
            return old.map_or(Ok(()), |found| self.reader.table.remove(found)).map(|()| None);
        };
        if is_kept && alive.is_some() {
            return Ok(Some(Added::Kept));
        }
        let (packets, bytes) = alive.map_or((0, 0), |found| (found.value.packets, found.value.bytes));
        // 0 is for good, and longer than any other.
        let value = RuleValue { packets, bytes, end: if first == 0 { 0 } else { last }, sets: left | held };
        self.reader.table.put(prefix, old.map(|found| found.place), value)?;
        Ok(Some(if alive.is_some() { Added::Changed } else { Added::New }))
    }

    /// Writes what was drafted. If there is no room, all is as it was before.
    pub(crate) fn commit(&mut self) -> Result<()> {
        self.commit_within(self.reader.max_rules())
    }

    /// The same, where the new rules may be so many together with those that are to go.
    pub(crate) fn commit_within(&mut self, room: u32) -> Result<()> {
        let Drafted { added, removed } = self.reader.table.drafted();
        if added != 0 {
            self.take_room(added, room)?;
        }
        let put = self.reader.sets.commit_new();
        let put = put.map_err(|error| self.reader.explain_full(error, "another hold with an end"))?;
        if let Err(error) = self.reader.table.commit() {
            self.reader.sets.take_back(&put);
            return Err(self.reader.explain_full(error, "another rule"));
        }
        if let Some(rules) = self.reader.sets.rules().filter(|_| removed != 0) {
            self.reader.sets.set_rules(rules.saturating_sub(removed))?;
        }
        self.reader.sets.commit_gone()
    }

    /// Counts rules that are about to be made, or refuses them: buckets alone would hold more than was promised, and
    /// than a list may have that is to be loaded.
    fn take_room(&mut self, added: u32, room: u32) -> Result<()> {
        let with_them = |rules: u32| rules.saturating_add(added);
        let rules = match self.reader.sets.rules().map(with_them).filter(|&rules| rules <= room) {
            Some(rules) => rules,
            None => with_them(self.reader.table.count()?),
        };
        if rules > room {
            return Err(self.reader.no_room(rules));
        }
        self.reader.sets.set_rules(rules)
    }

    /// Goes by the present moment in all that is drafted from here on.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.renew()?;
        self.reader.refresh()?;
        self.sweep()
    }

    /// After a failure forgets what was drafted, lest the next call writes it.
    pub(crate) fn done<T>(&mut self, done: Result<T>) -> Result<T> {
        if done.is_err() {
            self.is_spoilt = true;
            // Where that fails, the next call fails for it.
            let _ = self.renew();
        }
        done
    }

    fn renew(&mut self) -> Result<()> {
        if self.is_spoilt {
            self.reader = Reader::open_for(self.reader.blocklist(), true)?;
            self.is_spoilt = false;
        }
        Ok(())
    }

    /// Takes out the holds that have ended, and the rules that nothing else holds.
    fn sweep(&mut self) -> Result<()> {
        if !self.reader.sets.may_have_ended(self.reader.now) {
            return Ok(());
        }
        let ended = self.reader.sets.ended(self.reader.now)?;
        let ended = in_order(&ended, |(prefix, _)| *prefix);
        for holds in ended.chunk_by(|a, b| a.0 == b.0) {
            let mask = holds.iter().fold(0, |mask, (_, set)| mask | 1 << set);
            let found = self.reader.table.find(holds[0].0)?;
            let held = found.map_or(0, |found| found.value.sets);
            // A process that was killed leaves ends of sets that do not hold the rule, if there is one.
            for (prefix, set) in holds.iter().filter(|(_, set)| held & 1 << set == 0) {
                self.reader.sets.set_end(*prefix, *set, 0)?;
            }
            if let Some(found) = found {
                self.let_go(&found, mask)?;
            }
        }
        self.commit().and_then(|()| self.rebuild_if_stale()).context(|| "removing expired rules")
    }

    /// Clears the filter's bits of rules that have gone, once they are many.
    fn rebuild_if_stale(&mut self) -> Result<()> {
        let limit = u64::from(self.reader.max_rules() / 8).max(64);
        if self.reader.table.config()?.stale <= limit {
            return Ok(());
        }
        let found = self.reader.table.all(false)?;
        self.reader.table.rebuild(&mut found.iter().map(|found| found.prefix))
    }
}

/// The sets in a mask.
pub(crate) fn members(mask: u32) -> impl Iterator<Item = u32> {
    // Of most masks one bit is set, and each rule of a list has some.
    let mut left = mask;
    iter::from_fn(move || {
        let set = left.trailing_zeros();
        (left != 0).then(|| left &= left - 1).map(|()| set)
    })
}

/// A mask of the sets that hold a rule.
pub(crate) fn used_sets(found: &[Found]) -> u32 {
    found.iter().fold(0, |mask, found| mask | found.value.sets)
}

/// From so many rules on it is quicker to read all buckets than each by itself.
const MANY: usize = 2000;

/// The error for prefixes that were not there.
pub fn not_there(prefixes: &[IpNet], what: &str) -> Error {
    let shown: Vec<_> = prefixes.iter().take(5).map(|prefix| Shown(*prefix).to_string()).collect();
    let more = if prefixes.len() > 5 { format!(" and {} more", prefixes.len() - 5) } else { String::new() };
    Error::new(ErrorKind::NotFound, format!("not {what}: {}{more}", shown.join(", ")))
}
