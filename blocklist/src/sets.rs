//! Named sets: which of them hold a rule, and until when.

use std::collections::HashMap;

use ipnet::IpNet;
use loader::map::{Map, UpdateFlags};
use loader::{Cause, Error, ErrorKind, Result, quote};

use crate::cells::Cells;
use crate::clock::Now;
use crate::layout::{NAME_BYTES, SETS, Set, hold_key, u32_at, wide_prefix};
use crate::store::{Blocklist, shapes};

/// Bytes of a key of `holds`.
const HOLD_KEY: usize = 24;

/// The set of what is added without saying to which.
pub const DEFAULT: &str = "default";

/// The sets and the holds with an end.
#[derive(Debug)]
pub(crate) struct Sets {
    cells: Cells<Set>,
    holds: Map,
    /// All holds, once they were read.
    known: Option<HashMap<(IpNet, u32), u32>>,
    /// Those that have been given a place.
    made: Vec<u32>,
    put: Holds,
    gone: Vec<u8>,
}

/// Sets that are made and holds that are written, and what was there before.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    made: Vec<u32>,
    keys: Vec<u8>,
    ends: Vec<u8>,
    /// 0 where there was none.
    before: Vec<u32>,
}

impl Sets {
    pub(crate) fn open(blocklist: &Blocklist) -> Result<Self> {
        let mut cells = Cells::new(blocklist.open_sized(&shapes::SETS, SETS)?);
        cells.read_all()?;
        let (holds, made, put, gone) =
            (blocklist.open(&shapes::HOLDS)?, Vec::new(), Holds::default(), Vec::new());
        Ok(Self { cells, holds, known: None, made, put, gone })
    }

    /// Reads anew what others may have written meanwhile.
    pub(crate) fn read_again(&mut self) -> Result<()> {
        self.known = None;
        self.cells.forget();
        self.cells.read_all()
    }

    pub(crate) fn get(&self, set: u32) -> &Set {
        &self.cells.all()[set as usize]
    }

    /// How many rules there are at most, if somebody has counted. A process that was killed leaves too many.
    pub(crate) fn rules(&self) -> Option<u32> {
        self.get(0).rules.checked_sub(1)
    }

    /// Drafts how many rules there are: before more are written, and after some have gone.
    pub(crate) fn set_rules(&mut self, rules: u32) -> Result<()> {
        if self.rules() != Some(rules) {
            self.cells.get(0)?.rules = rules.saturating_add(1);
            self.cells.mark(0);
        }
        Ok(())
    }

    /// The names of the sets in a mask.
    pub(crate) fn names(&self, mask: u32) -> Vec<String> {
        let name = |set: u32| match &*self.get(set).name {
            "" if set == 0 => DEFAULT.to_owned(),
            "" => format!("set {set}"),
            name => name.to_owned(),
        };
        (0..SETS).filter(|set| mask & (1 << set) != 0).map(name).collect()
    }

    /// The number of the set with this name, if there is one.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        if name == DEFAULT {
            return Some(0);
        }
        (1..SETS).find(|set| self.get(*set).name == name)
    }

    /// The number of the set with this name, which is given a free place if there is none yet.
    pub(crate) fn find_or_make(&mut self, name: &str) -> Result<u32> {
        check_name(name)?;
        if let Some(set) = self.find(name) {
            return Ok(set);
        }
        let free = self.free().next().ok_or_else(|| no_room(name))?;
        *self.cells.get(free)? = Set { name: name.to_owned(), ..Set::default() };
        self.cells.mark(free);
        self.made.push(free);
        Ok(free)
    }

    fn free(&self) -> impl Iterator<Item = u32> {
        (1..SETS).filter(|set| self.get(*set).name.is_empty())
    }

    /// Whether all sets with these names can be made as they are.
    pub(crate) fn have_room<'n>(&self, names: impl Iterator<Item = &'n str>) -> bool {
        names.filter(|name| self.find(name).is_none()).count() <= self.free().count()
    }

    /// Refuses sets that could not all be made, not even if those gave back their places that hold nothing, by a mask
    /// of those that do.
    pub(crate) fn check_room<'n>(&self, names: impl Iterator<Item = &'n str>, used: u32) -> Result<()> {
        let is_used = |set: u32| set == 0 || used & (1 << set) != 0;
        let mut free = (1..SETS).filter(|set| self.get(*set).name.is_empty() || !is_used(*set));
        for name in names {
            check_name(name)?;
            if !self.find(name).is_some_and(is_used) {
                free.next().ok_or_else(|| no_room(name))?;
            }
        }
        Ok(())
    }

    /// Gives back the places of sets that hold nothing, by a mask of those that do.
    pub(crate) fn free_unused(&mut self, used: u32) -> Result<()> {
        self.forget_ends(!used)?;
        if let Some(known) = &mut self.known {
            known.retain(|(_, set), _| used & (1 << set) != 0);
        }
        for set in 1..SETS {
            let cell = self.cells.get(set)?;
            if used & (1 << set) == 0 && !cell.name.is_empty() {
                *cell = Set::default();
                self.cells.mark(set);
            }
        }
        Ok(())
    }

    /// Deletes the ends that a killed process has left of the sets in `mask`: whoever has such a number next would lose
    /// rules at them.
    fn forget_ends(&self, mask: u32) -> Result<()> {
        let mask =
            (0..SETS).filter(|set| self.get(*set).next_end != 0).fold(0, |all, set| all | 1 << set) & mask;
        let mut left = Vec::new();
        if mask != 0 {
            self.holds.scan(|keys, _| {
                let of_them =
                    |key: &&[u8]| mask.checked_shr(u32_at(key, 20)).is_some_and(|bits| bits & 1 == 1);
                left.extend(keys.chunks_exact(HOLD_KEY).filter(of_them).flatten());
            })?;
        }
        if !left.is_empty() {
            self.holds.delete_packed(&left)?;
        }
        Ok(())
    }

    /// Until when a set holds a prefix that it is known to hold; 0 for no end.
    pub(crate) fn end_of(&self, prefix: IpNet, set: u32) -> Result<u32> {
        if self.get(set).next_end == 0 {
            return Ok(0);
        }
        if let Some(known) = &self.known {
            return Ok(known.get(&(prefix, set)).copied().unwrap_or(0));
        }
        let value = self.holds.lookup(&hold_key(prefix, set))?;
        Ok(value.and_then(|value| value.single().map(|bytes| u32_at(bytes, 0))).unwrap_or(0))
    }

    /// Drafts until when a set holds a prefix; 0 for no end, or for no hold at all.
    pub(crate) fn set_end(&mut self, prefix: IpNet, set: u32, end: u32) -> Result<()> {
        let key = hold_key(prefix, set);
        let next_end = self.get(set).next_end;
        if end == 0 {
            if next_end != 0 {
                self.gone.extend(key);
            }
            return Ok(());
        }
        self.put.before.push(self.end_of(prefix, set)?);
        self.put.keys.extend(key);
        self.put.ends.extend(end.to_ne_bytes());
        if next_end == 0 || end < next_end {
            self.cells.get(set)?.next_end = end;
            self.cells.mark(set);
        }
        Ok(())
    }

    /// How many holds have an end, once they were read, and how many there is room for.
    pub(crate) fn count_ends(&self) -> (usize, usize) {
        (self.known.as_ref().map_or(0, HashMap::len), self.holds.max_entries() as usize)
    }

    /// Knows no hold any more, and reads them anew where they matter.
    pub(crate) fn forget_holds(&mut self) {
        self.known = None;
    }

    /// Leaves out of what is known the holds that have ended, until they are forgotten.
    pub(crate) fn forget_ended(&mut self, now: Now) {
        if let Some(known) = &mut self.known {
            known.retain(|_, end| !now.is_past(*end));
        }
    }

    /// Reads every hold, for whoever asks for many.
    pub(crate) fn read_holds(&mut self) -> Result<()> {
        if self.known.is_none() {
            let mut known = HashMap::new();
            if self.cells.all().iter().any(|set| set.next_end != 0) {
                self.holds.scan(|keys, values| {
                    let ends = values.chunks_exact(4).map(|value| u32_at(value, 0));
                    let holds = keys.chunks_exact(HOLD_KEY).map(|key| (wide_prefix(key), u32_at(key, 20)));
                    known.extend(holds.zip(ends));
                })?;
            }
            self.known = Some(known);
        }
        Ok(())
    }

    /// Whether some hold may have ended.
    pub(crate) fn may_have_ended(&self, now: Now) -> bool {
        self.cells.all().iter().any(|set| now.is_past(set.next_end))
    }

    /// The holds that have ended. All others are known afterwards, and when the first of each set ends.
    pub(crate) fn ended(&mut self, now: Now) -> Result<Vec<(IpNet, u32)>> {
        self.read_holds()?;
        let known = self.known.take().unwrap_or_default();
        let mut next = [0_u32; SETS as usize];
        let mut ended = Vec::new();
        for (&(prefix, set), &end) in &known {
            if now.is_past(end) {
                ended.push((prefix, set));
            } else if let Some(next) = next.get_mut(set as usize) {
                *next = if *next == 0 { end } else { end.min(*next) };
            }
        }
        self.known = Some(known);
        for (set, next_end) in (0..SETS).zip(next) {
            // What has ended keeps counting until it is swept.
            let next_end = if ended.iter().any(|(_, other)| *other == set) { 1 } else { next_end };
            let cell = self.cells.get(set)?;
            if cell.next_end != next_end {
                cell.next_end = next_end;
                self.cells.mark(set);
            }
        }
        Ok(ended)
    }

    /// Writes names and new ends: before rules are written that need them. If there is no room, the ends are what they
    /// were before.
    pub(crate) fn commit_new(&mut self) -> Result<Holds> {
        self.cells.write()?;
        let put = Holds { made: std::mem::take(&mut self.made), ..std::mem::take(&mut self.put) };
        self.known = None;
        let done = match &put.keys[..] {
            [] => Ok(()),
            key if key.len() == HOLD_KEY => self.holds.update(key, &put.ends, UpdateFlags::ANY),
            keys => self.holds.update_packed(keys, &put.ends),
        };
        match done {
            Ok(()) => Ok(put),
            Err(error) => {
                self.take_back(&put);
                Err(error)
            }
        }
    }

    /// Has sets and holds as they were before they were written. A failure of that has nobody to be told to: the one
    /// that led here is told.
    pub(crate) fn take_back(&mut self, put: &Holds) {
        for &set in &put.made {
            if let Ok(cell) = self.cells.get(set) {
                *cell = Set::default();
                self.cells.mark(set);
            }
        }
        let _ = self.cells.write();
        let (mut gone, mut keys, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for (key, before) in put.keys.chunks_exact(HOLD_KEY).zip(&put.before) {
            if *before == 0 {
                gone.extend(key);
            } else {
                keys.extend(key);
                ends.extend(before.to_ne_bytes());
            }
        }
        let _ = (!gone.is_empty()).then(|| self.holds.delete_packed(&gone));
        let _ = (!keys.is_empty()).then(|| self.holds.update_packed(&keys, &ends));
    }

    /// Forgets ends, and rules that were counted: after the rules that needed them were written.
    pub(crate) fn commit_gone(&mut self) -> Result<()> {
        self.cells.write()?;
        let gone = std::mem::take(&mut self.gone);
        if !gone.is_empty() {
            self.holds.delete_packed(&gone)?;
        }
        Ok(())
    }
}

fn no_room(name: &str) -> Error {
    let message = format!(
        "there is no room for the set {}: there are {} beside `{DEFAULT}` already",
        quote(name),
        SETS - 1
    );
    Error::new(ErrorKind::Conflict, message)
        .with_cause(Cause::Full)
        .with_help("a set goes when the last of its rules has gone")
}

/// Fails for what cannot name a set, as adding to it would.
pub fn check_name(name: &str) -> Result<()> {
    let fits = !name.is_empty() && name.len() < NAME_BYTES;
    if fits && name.chars().all(|c| !c.is_control() && !c.is_whitespace() && c != ',') {
        return Ok(());
    }
    let message = format!(
        "{} cannot name a set: expected 1 to {} bytes without blanks and commas",
        quote(name),
        NAME_BYTES - 1
    );
    Err(Error::new(ErrorKind::InvalidInput, message))
}
