//! The blocklist as it is read: rules, the sets that hold them, what they have dropped, and how long they will stay.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use loader::map::Map;
use loader::{Cause, Error, ErrorKind, Result};
use nix::libc::{E2BIG, ENOSPC};

use crate::clock::{Clock, Now};
use crate::layout::{Config, Home, flags, home, trie_key, trie_prefix, u32_at};
use crate::list::in_order;
use crate::prefix::{canonical, covering, single};
use crate::sets::Sets;
use crate::store::{Blocklist, Inode, shapes};
use crate::table::{Found, Place, Table};

/// A rule that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// What it is about.
    pub prefix: IpNet,
    /// The sets that hold it: bit n for the n-th of [`Reader::set_names`].
    pub sets: u32,
    /// Packets that it has dropped, or would have.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long it will stay from the call on; none for as long as it is held.
    pub left: Option<Duration>,
}

impl Rule {
    fn new(found: &Found, now: Now) -> Self {
        let value = &found.value;
        Self {
            prefix: found.prefix,
            sets: value.sets,
            packets: value.packets,
            bytes: value.bytes,
            left: (value.end != 0).then(|| now.until(value.end)),
        }
    }
}

/// What would become of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Test {
    /// The rule that counts, if one is about the address.
    pub rule: Option<Rule>,
    /// The exception that lets it pass, looked for if it would not pass by itself.
    pub allowed: Option<IpNet>,
    /// Whether it would be dropped, or, where packets are only counted, counted.
    pub drops: bool,
}

/// What becomes of packets that no rule is about, and no exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// They pass.
    Pass,
    /// They are dropped, for as long as is said, if it is.
    Drop(Option<Duration>),
}

/// How the blocklist is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// Packets are counted and pass.
    pub count_only: bool,
    /// What becomes of packets that no rule is about.
    pub unlisted: Unlisted,
    /// Maximum number of rules.
    pub max_rules: u32,
}

/// The blocklist in the kernel, to be read. Each call tells of the present state, those by `&self` of the blocklist
/// that the last call by `&mut self` has found: it may have been purged and made anew.
///
/// ```no_run
/// use blocklist::{Blocklist, Reader};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut reader = Reader::open(&Blocklist::under("/sys/fs/bpf"))?;
/// for rule in reader.rules(true)? {
///     println!("{} {:?}: {} packets", rule.prefix, reader.set_names(rule.sets), rule.packets);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reader {
    blocklist: Blocklist,
    /// Which it was when it was opened.
    which: Option<Inode>,
    pub(crate) table: Table,
    pub(crate) sets: Sets,
    pub(crate) allow: [Map; 2],
    clock: Clock,
    /// The moment by which the present call goes.
    pub(crate) now: Now,
    /// Whether this process alone may write, so that what it has read stays so.
    is_writers: bool,
}

impl Reader {
    /// Opens the blocklist. That there is none is an error of kind [`NotFound`](loader::ErrorKind::NotFound).
    pub fn open(blocklist: &Blocklist) -> Result<Self> {
        Self::open_for(blocklist, false)
    }

    /// The same for a writer, which has the lock.
    pub(crate) fn open_for(blocklist: &Blocklist, is_writers: bool) -> Result<Self> {
        let clock = Clock::open();
        Ok(Self {
            blocklist: blocklist.clone(),
            // Before anything is opened, lest what comes meanwhile is taken for it.
            which: blocklist.which(),
            table: Table::open(blocklist)?,
            sets: Sets::open(blocklist)?,
            allow: [blocklist.open(&shapes::ALLOW4)?, blocklist.open(&shapes::ALLOW6)?],
            clock,
            now: clock.now()?,
            is_writers,
        })
    }

    /// Goes by the present moment, and by what the kernel has now if others may have written.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        self.now = self.clock.now()?;
        if self.is_writers {
            return Ok(());
        }
        if self.blocklist.which() != self.which {
            *self = Self::open(&self.blocklist)?;
            return Ok(());
        }
        self.table.forget();
        self.sets.read_again()
    }

    /// Maximum number of rules, of which the maps of exceptions alone have no more entries.
    pub(crate) fn max_rules(&self) -> u32 {
        self.allow[0].max_entries()
    }

    /// Where it is.
    pub fn blocklist(&self) -> &Blocklist {
        &self.blocklist
    }

    /// Says of a refusal for want of room how much there is, and what makes more.
    pub(crate) fn explain_full(&self, error: Error, what: &str) -> Error {
        if !matches!(error.errno(), Some(E2BIG | ENOSPC)) {
            return error;
        }
        let room = self.max_rules();
        error
            .context(format!(
                "there is no room for {what}, the blocklist was made with room for {room} rules"
            ))
            .with_cause(Cause::Full)
            .with_help(self.blocklist.more_room())
    }

    /// The refusal of so many rules, which are more than there is room for.
    pub(crate) fn no_room(&self, rules: u32) -> Error {
        self.no_room_for(&format!("with the new rules there would be {rules}"))
    }

    pub(crate) fn no_room_for(&self, what: &str) -> Error {
        let room = self.max_rules();
        let message = format!("there is no room: {what}, and there is room for {room}; nothing was changed");
        Error::new(ErrorKind::Conflict, message).with_cause(Cause::Full).with_help(self.blocklist.more_room())
    }

    /// Every rule that has not ended, in the order of addresses; what they have dropped is only read if `hits` says so.
    pub fn rules(&mut self, hits: bool) -> Result<Vec<Rule>> {
        self.refresh()?;
        let found = self.table.all_in_order(hits)?.into_iter();
        // These are as large as rules, which take their memory.
        let left = found.filter(|found| !self.now.is_past(found.value.end));
        Ok(left.map(|found| Rule::new(&found, self.now)).collect())
    }

    /// The rule with exactly this prefix.
    pub fn rule(&mut self, prefix: IpNet) -> Result<Option<Rule>> {
        self.refresh()?;
        let found = self.table.find(canonical(prefix))?.filter(|found| !self.now.is_past(found.value.end));
        Ok(found.map(|found| Rule::new(&found, self.now)))
    }

    /// The rule with the longest prefix that covers all of `prefix`.
    pub fn covering(&mut self, prefix: IpNet) -> Result<Option<Rule>> {
        self.refresh()?;
        let prefix = canonical(prefix);
        for wider in covering(prefix.addr()).filter(|wider| wider.prefix_len() <= prefix.prefix_len()) {
            let found = self.table.find(wider)?.filter(|found| !self.now.is_past(found.value.end));
            if let Some(found) = found {
                return Ok(Some(Rule::new(&found, self.now)));
            }
        }
        Ok(None)
    }

    /// The sets that hold a rule, each as a mask of its own, and how long: one may let go of it before others.
    pub fn holds(&self, rule: &Rule) -> Result<Vec<(u32, Option<Duration>)>> {
        if rule.sets.is_power_of_two() {
            return Ok(vec![(rule.sets, rule.left)]);
        }
        let (now, mut holds) = (self.clock.now()?, Vec::new());
        for set in (0..u32::BITS).filter(|set| rule.sets & (1 << set) != 0) {
            let end = self.sets.end_of(rule.prefix, set)?;
            // Of a rule that ends each set has an end: a writer has taken out one that has none any more.
            let is_gone = end == 0 && rule.left.is_some();
            // What has ended, no writer has taken out yet.
            if !is_gone && !now.is_past(end) {
                holds.push((1 << set, (end != 0).then(|| now.until(end))));
            }
        }
        Ok(holds)
    }

    /// The names of the sets in a rule's mask.
    pub fn set_names(&self, mask: u32) -> Vec<String> {
        self.sets.names(mask)
    }

    /// How it is set.
    pub fn settings(&mut self) -> Result<Settings> {
        self.refresh()?;
        self.settings_now()
    }

    fn settings_now(&mut self) -> Result<Settings> {
        let config: Config = self.table.config()?;
        let end = u32::try_from(config.default_end).unwrap_or(u32::MAX);
        let unlisted = if config.has(flags::DEFAULT_DROP) && !self.now.is_past(end) {
            Unlisted::Drop((end != 0).then(|| self.now.until(end)))
        } else {
            Unlisted::Pass
        };
        Ok(Settings { count_only: config.has(flags::COUNT_ONLY), unlisted, max_rules: self.max_rules() })
    }

    /// What would become of a packet from `address`: the rule counts that the packet program finds first, and an
    /// exception overrules it.
    pub fn test(&mut self, address: IpAddr) -> Result<Test> {
        self.refresh()?;
        let address = address.to_canonical();
        let mut first: Option<Found> = None;
        // What is in the trie, the packet program asks for last, and in another way.
        for prefix in covering(address).filter(|prefix| home(*prefix) != Home::Trie) {
            let found = self.table.find(prefix)?.filter(|found| !self.now.is_past(found.value.end));
            let Some(found) = found else { continue };
            let is_last = found.place != Place::Wide;
            if is_last || first.is_none() {
                first = Some(found);
            }
            // No other comes before it.
            if is_last {
                break;
            }
        }
        if first.is_none() && address.is_ipv6() {
            first = self.table.first_in_trie(address, self.now)?;
        }
        let rule = first.map(|found| Rule::new(&found, self.now));
        let settings = self.settings_now()?;
        // No rule of IPv6 and no default are about an address that no packet has.
        let drops = rule.is_some() || settings.unlisted != Unlisted::Pass;
        let allowed = if drops { self.allowed(address)? } else { None };
        Ok(Test { rule, allowed, drops: drops && allowed.is_none() })
    }

    /// The exception that an address is under.
    pub fn allowed(&self, address: IpAddr) -> Result<Option<IpNet>> {
        let address = address.to_canonical();
        let value = self.allow_map(single(address)).lookup(&trie_key(single(address)))?;
        let length = value.and_then(|value| value.single().map(|bytes| u32_at(bytes, 0)));
        let length = length.and_then(|length| u8::try_from(length).ok());
        Ok(length.map(|length| crate::layout::net(address, length)))
    }

    /// All exceptions, in the order of addresses.
    pub fn exceptions(&self) -> Result<Vec<IpNet>> {
        let mut found = Vec::new();
        for map in &self.allow {
            let key_size = map.key_size();
            match map.scan(|keys, _| found.extend(keys.chunks_exact(key_size).map(trie_prefix))) {
                // Then there are none: `refuse_unlisted`.
                Err(error) if error.kind() == ErrorKind::Unsupported => {}
                scanned => scanned?,
            }
        }
        Ok(in_order(&found, |prefix| *prefix))
    }

    pub(crate) fn allow_map(&self, prefix: IpNet) -> &Map {
        &self.allow[usize::from(matches!(prefix, IpNet::V6(_)))]
    }
}
