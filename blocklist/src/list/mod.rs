//! List files: which prefixes a file lists, whoever wrote it.
//!
//! The form is told line by line, so that a file may be of any of them, or of several put one behind the other:
//!
//! * plain lists and FireHOL's `.netset` and `.ipset`: a prefix a line, with comments behind `#` or `;`;
//! * Spamhaus DROP as text (`192.0.2.0/24 ; SBL1`) and as JSON (`{"cidr":"192.0.2.0/24",...}`);
//! * what `ipset save` writes (`add NAME 192.0.2.1 timeout 60`);
//! * elements of sets as `nft list` writes them and as `nft add element` takes them;
//! * hosts: an address, and names behind it, or a comment behind `-`.

mod json;
mod line;
mod nft;
mod reason;

use std::cmp::Ordering;
use std::io::{BufRead, Read as _};

use ipnet::IpNet;

use crate::prefix::{self, order, plain_address, single};

pub use reason::Reason;

/// Bytes of a line that is still taken for one; a longer one is of no list.
const MAX_LINE: usize = 1 << 16;

/// What a list says of a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    prefix: IpNet,
    set: u16,
    seconds: u32,
}

impl Item {
    /// A prefix of which nothing else is said, as a rule has it: in its [canonical form](prefix::canonical).
    pub fn new(prefix: IpNet) -> Self {
        Self { prefix: prefix::canonical(prefix), set: NO_SET, seconds: 0 }
    }

    /// The same for so many seconds; 0 for no end.
    pub fn for_seconds(self, seconds: u32) -> Self {
        Self { seconds, ..self }
    }

    /// The prefix, without bits behind its length.
    pub fn prefix(&self) -> IpNet {
        self.prefix
    }

    /// The set that the list names for it: its place in [`List::sets`], or [`NO_SET`].
    pub fn set(&self) -> u16 {
        self.set
    }

    /// Seconds that the list gives it; 0 for no end.
    pub fn seconds(&self) -> u32 {
        self.seconds
    }
}

/// The list names no set.
pub const NO_SET: u16 = u16::MAX;

/// A line that lists nothing, although it should.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub number: u64,
    /// Its beginning, at most 60 characters.
    pub text: String,
    /// What is wrong with it.
    pub reason: Reason,
}

/// What a file has told.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// What it lists, in its order.
    pub items: Vec<Item>,
    /// The sets that it names, as `ipset save` and `block save` do.
    pub sets: Vec<String>,
    /// The sets that it makes, as `ipset save` does: of those that are not among `sets`, it lists nothing.
    pub created: Vec<String>,
    /// Exceptions, as `block save` writes them.
    pub allowed: Vec<IpNet>,
    /// Lines that list nothing, although they should.
    pub bad: Vec<BadLine>,
    /// How many bad lines there are beyond those in `bad`.
    pub more_bad: u64,
    /// How many prefixes had bits behind their length, which were cleared.
    pub with_host_bits: u64,
    /// How many lines there are.
    pub lines: u64,
    /// How many items were left out because a set has their prefix already; there may be more of them among `items`.
    pub duplicates: usize,
}

/// What a list says of a set before its elements.
#[derive(Clone, Copy, Debug, Default)]
struct Preset {
    /// Seconds that elements get without a time of their own; 0 for no end.
    seconds: u32,
    /// The length of the prefix around an address.
    length: Option<u8>,
}

/// How many bad lines are kept in words.
const MAX_BAD: usize = 10;
/// More sets than the blocklist has.
const MAX_SETS: usize = 64;

/// Why reading a list ended before its end.
#[derive(Debug)]
pub enum Stop {
    /// The file cannot be read.
    Io(std::io::Error),
    /// It is no text.
    Binary {
        /// The line with the first byte that no text has.
        line: u64,
    },
    /// It may be text, but compressed or in UTF-16.
    Packed {
        /// How to come to the text.
        way: &'static str,
    },
    /// A line is longer than any of a list.
    LongLine {
        /// Its number, from 1.
        line: u64,
    },
    /// It lists more prefixes than there is room for.
    Full,
}

/// Reads a list to its end, and stops when there is a byte that no text has, or more than `room` prefixes.
///
/// Tells `progress` how many lines were read, now and then.
pub fn read(mut input: impl BufRead, room: usize, mut progress: impl FnMut(u64)) -> Result<List, Stop> {
    read_lines(&mut input, room, &mut progress)
}

fn read_lines(input: &mut dyn BufRead, room: usize, progress: &mut dyn FnMut(u64)) -> Result<List, Stop> {
    let mut list = List::default();
    let mut state = line::State::default();
    let mut bytes = Vec::with_capacity(256);
    let mut looked_at = room;
    loop {
        bytes.clear();
        let limit = MAX_LINE as u64 + 1;
        let len = (&mut *input).take(limit).read_until(b'\n', &mut bytes).map_err(Stop::Io)?;
        if len == 0 {
            break;
        }
        list.lines += 1;
        let number = list.lines;
        if let Some(address) = plain_address(&bytes).filter(|_| !state.is_inside()) {
            list.push(single(address.into()), 0);
        } else {
            read_line(&bytes, number, &mut state, &mut list)?;
        }
        if list.items.len() > looked_at {
            if list.thin() > room {
                return Err(Stop::Full);
            }
            looked_at = room.max(2 * list.items.len());
        }
        if number % 4096 == 0 {
            progress(number);
        }
    }
    if let Some(reason) = state.unfinished() {
        list.complain(list.lines, "", reason);
    }
    progress(list.lines);
    if list.items.len() > room && list.thin() > room {
        return Err(Stop::Full);
    }
    Ok(list)
}

/// What a text that was packed begins with, and what unpacks it.
const PACKED: [(&[u8], &str); 7] = [
    (b"\x1f\x8b", "this is compressed: `gunzip` it"),
    (b"\xfd7zXZ\0", "this is compressed: `unxz` it"),
    (b"BZh", "this is compressed: `bunzip2` it"),
    (b"\x28\xb5\x2f\xfd", "this is compressed: `unzstd` it"),
    (b"PK\x03\x04", "this is an archive: `unzip` it"),
    (b"\xff\xfe", "this is UTF-16: `iconv -f UTF-16 -t UTF-8` makes it readable"),
    (b"\xfe\xff", "this is UTF-16: `iconv -f UTF-16 -t UTF-8` makes it readable"),
];

/// Why a line is no text.
fn binary(bytes: &[u8], number: u64) -> Stop {
    let way = PACKED.iter().find(|(start, _)| number == 1 && bytes.starts_with(start));
    way.map_or(Stop::Binary { line: number }, |&(_, way)| Stop::Packed { way })
}

/// Reads a line that may be anything.
fn read_line(bytes: &[u8], number: u64, state: &mut line::State, list: &mut List) -> Result<(), Stop> {
    if bytes.contains(&0) {
        return Err(binary(bytes, number));
    }
    if bytes.len() > MAX_LINE {
        return Err(Stop::LongLine { line: number });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| binary(bytes, number))?;
    if let Err(reason) = state.read(text, list) {
        list.complain(number, text, reason);
    }
    Ok(())
}

impl List {
    fn complain(&mut self, number: u64, text: &str, reason: Reason) {
        if self.bad.len() == MAX_BAD {
            self.more_bad += 1;
            return;
        }
        let text = text.trim().chars().take(60).collect();
        self.bad.push(BadLine { number, text, reason });
    }

    fn push(&mut self, prefix: IpNet, seconds: u32) {
        self.items.push(Item::new(prefix).for_seconds(seconds));
    }

    /// Of items with the same prefix and set leaves the one with the longest time, and one without, of which it is not
    /// known here how long it stays. Gives how many prefixes there are.
    fn thin(&mut self) -> usize {
        let before = self.items.len();
        sort(&mut self.items, true);
        self.items.dedup_by_key(|item| (item.prefix, item.set, item.seconds == 0));
        self.duplicates += before - self.items.len();
        self.items.chunk_by(|a, b| a.prefix == b.prefix).count()
    }

    /// The number of a set that the list names; beyond all bounds there are no names.
    fn set_number(&mut self, name: &str) -> u16 {
        // Lines of a set stand together.
        let place = match self.sets.iter().rposition(|own| own == name) {
            Some(place) => place,
            None if self.sets.len() < MAX_SETS => {
                self.sets.push(name.to_owned());
                self.sets.len() - 1
            }
            None => return NO_SET,
        };
        u16::try_from(place).unwrap_or(NO_SET)
    }
}

/// Sorts the items and leaves one of those with the same prefix: the one that stays the longest. Gives how many were
/// left out.
pub(crate) fn sort_out(items: &mut Vec<Item>) -> usize {
    let before = items.len();
    if !items.is_sorted_by(|a, b| a.prefix < b.prefix) {
        sort(items, false);
        items.dedup_by_key(|item| item.prefix);
    }
    before - items.len()
}

/// Sorts by prefix, then by set if that matters, and puts first what stays longest. A sort is compiled once for both.
fn sort(items: &mut [Item], by_set: bool) {
    items.sort_unstable_by(|a, b| {
        let sets = if by_set { a.set.cmp(&b.set) } else { Ordering::Equal };
        order(a.prefix, b.prefix).then(sets).then_with(|| lasting(b).cmp(&lasting(a)))
    });
}

/// The prefixes in order, each once.
pub fn distinct(prefixes: &[IpNet]) -> Vec<IpNet> {
    let mut prefixes = in_order(prefixes, |prefix| *prefix);
    prefixes.dedup();
    prefixes
}

/// What has prefixes, in the order of these.
pub(crate) fn in_order<T: Copy>(all: &[T], prefix: impl Fn(&T) -> IpNet) -> Vec<T> {
    let numbers = numbers_in_order(&mut all.iter().map(prefix));
    numbers.iter().map(|&number| all[number as usize]).collect()
}

/// Which of these prefixes have come before.
pub(crate) fn repeats(prefixes: &[IpNet]) -> Vec<bool> {
    let mut repeats = vec![false; prefixes.len()];
    each_repeat(prefixes, &mut |_, next| repeats[next] = true);
    repeats
}

/// Tells of each prefix that has come before, by the places of the first of its like and of itself.
pub(crate) fn each_repeat(prefixes: &[IpNet], tell: &mut dyn FnMut(usize, usize)) {
    let mut first = None;
    for number in numbers_in_order(&mut prefixes.iter().copied()) {
        let number = number as usize;
        match first.filter(|&first: &usize| prefixes[first] == prefixes[number]) {
            Some(first) => tell(first, number),
            None => first = Some(number),
        }
    }
}

/// The numbers of prefixes in the order of these, of equal ones the first before the others. A sort for each type that
/// has prefixes would be four kilobytes of machine code, so that they are sorted as items.
fn numbers_in_order(prefixes: &mut dyn Iterator<Item = IpNet>) -> Vec<u32> {
    let item = |(prefix, number)| Item { prefix, set: NO_SET, seconds: u32::MAX - number };
    let mut items: Vec<_> = prefixes.zip(0..).map(item).collect();
    sort(&mut items, false);
    items.into_iter().map(|item| u32::MAX - item.seconds).collect()
}

/// Greater for an item that stays longer: no end is 0, and so the seconds are counted down from below.
fn lasting(item: &Item) -> u32 {
    item.seconds.wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefix::Shown;

    /// What a text lists, as words, and its bad lines.
    fn listed(text: &str) -> (Vec<String>, Vec<String>) {
        let list = read(text.as_bytes(), 1000, |_| {}).unwrap();
        let word = |item: &Item| match item.seconds {
            0 => Shown(item.prefix).to_string(),
            seconds => format!("{} {seconds}s", Shown(item.prefix)),
        };
        let bad = list.bad.iter().map(|bad| format!("{}: {}", bad.number, bad.reason)).collect();
        (list.items.iter().map(word).collect(), bad)
    }

    #[track_caller]
    fn lists(text: &str, expected: &[&str]) {
        assert_eq!(listed(text), (expected.iter().map(ToString::to_string).collect(), Vec::new()));
    }

    #[test]
    fn prefixes_are_put_in_order() {
        let texts = ["192.0.2.0/24", "::/0", "10.0.0.0/8", "192.0.2.0/24", "10.0.0.0/8", "192.0.2.0/25"];
        let prefixes = texts.map(|text| text.parse().unwrap());
        assert_eq!(repeats(&prefixes), [false, false, false, true, true, false]);
        let numbered: Vec<_> = prefixes.into_iter().zip(0..).collect();
        let order = in_order(&numbered, |(prefix, _)| *prefix).into_iter().map(|(_, number)| number);
        assert_eq!(order.collect::<Vec<_>>(), [2, 4, 0, 3, 5, 1]);
        assert_eq!(distinct(&prefixes), [2, 0, 5, 1].map(|number| prefixes[number]));
    }

    #[test]
    fn plain_lists_are_read() {
        lists(
            "# comment\n\n; comment\n  192.0.2.1\r\n192.0.2.0/24 # why\n198.51.100.0/24 ; SBL1\n2001:db8::/32",
            &["192.0.2.1", "192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32"],
        );
        lists(
            "192.0.2.1;SBL1\n192.0.2.2#7\n192.0.2.3 ;192.0.2.9\n192.0.2.4; 192.0.2.9\n192.0.2.5 a.example;192.0.2.9\n",
            &["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5"],
        );
        lists("", &[]);
        lists("\u{feff}192.0.2.1\n", &["192.0.2.1"]);
        lists("192.0.2.1-192.0.2.4 # a range\n", &["192.0.2.1", "192.0.2.2/31", "192.0.2.4"]);
    }

    #[test]
    fn host_bits_are_counted_in_every_form() {
        for text in [
            "192.0.2.1/24",
            "{\"cidr\":\"192.0.2.1/24\"}",
            "add bad 192.0.2.1/24",
            "add element inet filter bad { 192.0.2.1/24 }",
            "allow 192.0.2.1/24",
            "192.0.2.1/24 scanner.example.org",
        ] {
            assert_eq!(read(text.as_bytes(), 9, |_| {}).unwrap().with_host_bits, 1, "{text}");
        }
    }

    #[test]
    fn hosts_have_names_behind_them() {
        lists(
            "192.0.2.1\tscanner.example.org alias\n192.0.2.2 seen on Monday\n",
            &["192.0.2.1", "192.0.2.2"],
        );
        let (_, bad) = listed("0.0.0.0 ads.example.org\n127.0.0.1 localhost\n192.0.2.1 192.0.2.2\n");
        assert_eq!(
            bad,
            [
                "1: this points a name at 0.0.0.0, it lists no address to block",
                "2: this points a name at 127.0.0.1, it lists no address to block",
                "3: expected one prefix on a line, found two",
            ]
        );
    }

    #[test]
    fn what_is_behind_an_address_and_no_name_is_not_lost() {
        let time = "a time is only taken as `add SET PREFIX timeout SECONDS`";
        let comment = "which is no name of a host: a comment is behind #";
        let two = |sign| format!("expected one prefix on a line, found two: `{sign}` begins a comment");
        for (line, reason) in [
            ("192.0.2.3 timeout 300", format!("there is no place for `timeout`: {time}")),
            ("192.0.2.4 1h", format!("there is no place for `1h`: {time}")),
            ("192.0.2.4 scanner.example.org 300", format!("there is no place for `300`: {time}")),
            ("192.0.2.5 . 443", format!("there is no place for `.`, {comment}")),
            ("192.0.2.5 tcp:443", format!("there is no place for `tcp:443`, {comment}")),
            ("192.0.2.5 2024-01-31", format!("there is no place for `2024-01-31`, {comment}")),
            ("192.0.2.5 -j DROP", format!("there is no place for `-j`, {comment}")),
            ("192.0.2.8-192.0.2.9 60", format!("there is no place for `60`: {time}")),
            (
                "192.0.2.5 a.example b.example 192.0.2.6",
                "expected one prefix on a line, found two".to_owned(),
            ),
            ("add bad 192.0.2.6 192.0.2.7", "`192.0.2.6`: there is no place for `192.0.2.7`".to_owned()),
            ("add bad 192.0.2.6 timeout 9 1h", "`192.0.2.6`: there is no place for `1h`".to_owned()),
            ("192.0.2.5;192.0.2.6", two(';')),
            ("192.0.2.0/24#2001:db8::/32 # both", two('#')),
            ("192.0.2.5-192.0.2.6;192.0.2.8-192.0.2.9;192.0.2.11", two(';')),
            ("allow 192.0.2.5;192.0.2.6", two(';')),
            ("192.0.2.8/08", "the length behind the slash begins with 0".to_owned()),
        ] {
            assert_eq!(listed(line), (Vec::new(), vec![format!("1: {reason}")]), "{line}");
        }
        lists(
            "192.0.2.1 a_b.example.org. xn--d1abbgf6aiiy.xn--p1ai 3com # 1h\n192.0.2.2 b\u{fc}ro ; 192.0.2.9\n\
             add bad 192.0.2.3 skbmark 0x1/0xff timeout 9 -exist\nadd bad 192.0.2.4 # 1h\n",
            &["192.0.2.1", "192.0.2.2", "192.0.2.3 9s", "192.0.2.4"],
        );
    }

    #[test]
    fn spamhaus_json_is_read() {
        lists(
            "{\"cidr\":\"192.0.2.0/24\",\"sblid\":\"SBL1\",\"rir\":\"arin\"}\n\
             {\"type\":\"metadata\",\"timestamp\":1,\"size\":2,\"records\":1}\n",
            &["192.0.2.0/24"],
        );
        let (_, bad) = listed("{\"cidr\":7}\n{\"asn\":7}\n{\"cidr\n");
        assert_eq!(
            bad,
            [
                "1: expected a text as \"cidr\"",
                "2: expected a JSON object with \"cidr\"",
                "3: this is no JSON object on one line",
            ]
        );
    }

    #[test]
    fn what_ipset_saves_is_read() {
        lists(
            "create bad hash:net family inet hashsize 1024 maxelem 65536\nadd bad 192.0.2.0/24\n\
             add bad 192.0.2.7 timeout 90 comment \"a # b\"\nadd bad 198.51.100.0-198.51.100.1 packets 1 bytes 2\n",
            &["192.0.2.0/24", "192.0.2.7 90s", "198.51.100.0/31"],
        );
        let (_, bad) = listed(
            "add bad 192.0.2.1,tcp:80\nadd bad\nadd bad 192.0.2.0/24 nomatch\nadd bad 192.0.2.1 timeout x\n",
        );
        assert_eq!(
            bad,
            [
                "1: expected an address, or ADDRESS/LENGTH such as 192.0.2.0/24",
                "2: expected a prefix behind the name of the set",
                "3: `nomatch` makes an exception, which belongs into `block allow`",
                "4: expected seconds behind `timeout`",
            ]
        );
    }

    #[test]
    fn a_time_counts_wherever_ipset_takes_it() {
        lists(
            "add bad 192.0.2.1 comment \"a timeout 9\" timeout 60\nadd bad 192.0.2.2 comment a\n\
             create old hash:ip family inet timeout 300\nadd old 192.0.2.3\nadd old 192.0.2.4 timeout 0\n\
             add old 192.0.2.5 timeout 9\nadd bad 192.0.2.6\n",
            &["192.0.2.1 60s", "192.0.2.2", "192.0.2.3 300s", "192.0.2.4", "192.0.2.5 9s", "192.0.2.6"],
        );
        let (found, bad) = listed("create a hash:net timeout\nadd a 192.0.2.1 comment \"b\" nomatch\n");
        let reasons = [
            "1: expected seconds behind `timeout`",
            "2: `nomatch` makes an exception, which belongs into `block allow`",
        ];
        assert_eq!((found, bad), (Vec::new(), reasons.map(String::from).into()));
    }

    #[test]
    fn a_set_that_is_made_and_gets_nothing_is_named() {
        let text = "create a hash:ip\ncreate b hash:net family inet6\ncreate c hash:mac\ncreate d list:set\n\
                    create table inet x\ncreate set inet x e { type ipv4_addr; }\nadd b 2001:db8::1\n";
        let list = read(text.as_bytes(), 9, |_| {}).unwrap();
        assert_eq!((list.bad, list.sets), (Vec::new(), vec!["b".to_owned()]));
        assert_eq!(list.created, ["a", "b"]);
    }

    #[test]
    fn names_of_sets_and_exceptions_are_kept() {
        let list = read(
            "add a 192.0.2.1\nadd b 192.0.2.1\nadd a 192.0.2.2\n192.0.2.3\nallow 192.0.2.9\n".as_bytes(),
            9,
            |_| {},
        );
        let list = list.unwrap();
        assert_eq!(list.items.iter().map(|item| item.set).collect::<Vec<_>>(), [0, 1, 0, NO_SET]);
        assert_eq!(
            (list.sets, list.allowed),
            (vec!["a".to_owned(), "b".to_owned()], vec!["192.0.2.9/32".parse().unwrap()])
        );
    }

    #[test]
    fn elements_of_nft_are_read() {
        lists(
            "table inet filter {\n\tset bad {\n\t\ttype ipv4_addr\n\t\tflags interval,timeout\n\
             \t\telements = { 192.0.2.0/24, 198.51.100.1-198.51.100.2,\n\
             \t\t\t     203.0.113.7 timeout 1h expires 59m58s,\n\
             203.0.113.8 counter packets 0 bytes 0 comment \"x, } y\" }\n\t}\n}\n192.0.2.1\n",
            &[
                "192.0.2.0/24",
                "198.51.100.1",
                "198.51.100.2",
                "203.0.113.7 3598s",
                "203.0.113.8",
                "192.0.2.1",
            ],
        );
        lists(
            "add element inet filter bad { 192.0.2.1, 192.0.2.2 timeout 1d }\n",
            &["192.0.2.1", "192.0.2.2 86400s"],
        );
        lists(
            "set a {\n type ipv4_addr; flags timeout;\n timeout 1h;\n elements = { 192.0.2.1, 192.0.2.2 expires 9s,\n\
             192.0.2.3 timeout never }\n}\nset b {\n type ipv4_addr\n elements = { 192.0.2.4 }\n}\n\
             create element inet filter bad { 192.0.2.5 }\n",
            &["192.0.2.1 3600s", "192.0.2.2 9s", "192.0.2.3", "192.0.2.4", "192.0.2.5"],
        );
        let (_, bad) = listed("timeout soon\ndestroy element inet filter bad { 192.0.2.1 }\n");
        let sets = "of a ruleset, sets alone are taken";
        let expected = format!("2: there is no place for `destroy element inet filter bad {{`: {sets}");
        assert_eq!(bad, ["1: expected a time behind `timeout`".to_owned(), expected]);
        let (_, bad) = listed("add element inet filter bad { 192.0.2.1, banana }\nelements = { 192.0.2.9");
        assert_eq!(
            bad,
            [
                "1: `banana`: expected an address, or ADDRESS/LENGTH such as 192.0.2.0/24",
                "2: the elements have no closing brace",
            ]
        );
    }

    #[test]
    fn a_set_of_nft_gives_its_time_wherever_its_elements_are() {
        // On one line, and to what is added later, by the name of the set with its table.
        lists(
            "add table inet t\nadd set inet t a { type ipv4_addr; flags timeout; timeout 1h; }\n\
             add set inet t b {type ipv4_addr;comment \"timeout 9s; }\";}\n\
             add element inet t a { 192.0.2.1, 192.0.2.2 timeout 9s }; add element inet t b { 192.0.2.3 }\n\
             add element ip t a { 192.0.2.4 }\n",
            &["192.0.2.1 3600s", "192.0.2.2 9s", "192.0.2.3", "192.0.2.4"],
        );
        lists(
            "flush ruleset; delete table t\ntable t {\n\tset a {\n\t\ttype ipv4_addr\n\t\ttimeout 1m\n\t}\n}\n\
             table inet t { set a { type ipv6_addr; timeout 2m; elements = { 2001:db8::1 } } }\n\
             add element t a { 192.0.2.1 }\ncreate element inet t a { 2001:db8::2 }\nadd set t a {type ipv4_addr;}\n\
             add element ip t a { 192.0.2.2 }\n",
            &["2001:db8::1 120s", "192.0.2.1 60s", "2001:db8::2 120s", "192.0.2.2"],
        );
        // Of a set whose table is not told, the name has to do.
        lists(
            "set a { type ipv4_addr; timeout 1h; } # one\nadd element inet t a { 192.0.2.1 }\n\
             add element inet t b { 192.0.2.2 }\nset c { elements = {\n192.0.2.3 } }\n",
            &["192.0.2.1 3600s", "192.0.2.2", "192.0.2.3"],
        );
    }

    #[test]
    fn what_is_no_set_of_a_ruleset_is_refused() {
        let (found, bad) = listed(
            "table t { chain c { ip saddr 192.0.2.1 drop } }\nset a { elements = { 192.0.2.2 }; timeout 1h; }\n\
             add set t a\nelements =\n{\"nftables\": []}\nset a { type ipv4_addr; 192.0.2.3; }\n\
             timeout 1 h\n",
        );
        assert_eq!(found, ["192.0.2.2"]);
        assert_eq!(
            bad,
            [
                "1: there is no place for `chain c {`: of a ruleset, sets alone are taken",
                "2: expected `timeout` before the elements of the set",
                "3: expected an opening brace on the line of `set`",
                "4: expected an opening brace on the line of `elements`",
                "5: the JSON of `nft -j` is not read; what `nft list` writes without -j is",
                "6: there is no place for `192.0.2.3`",
                "7: expected a time behind `timeout`",
            ]
        );
    }

    #[test]
    fn a_netmask_of_ipset_makes_prefixes_of_addresses() {
        lists(
            "create a hash:ip family inet netmask 24\nadd a 192.0.2.9\nadd b 192.0.2.9\n\
             create c hash:ip family inet6 netmask 64 timeout 9\nadd c 2001:db8::1\nadd a 198.51.100.0/25\n",
            &["192.0.2.0/24", "192.0.2.9", "2001:db8::/64 9s", "198.51.100.0/25"],
        );
        let (found, bad) = listed(
            "create a hash:ip netmask x\ncreate b hash:ip bitmask 255.0.0.255\n\
             create c hash:ip netmask 64\nadd c 192.0.2.1\n",
        );
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(
            bad,
            [
                "1: expected a length behind `netmask`",
                "2: a set with a `bitmask` is not read: it may hold what is no prefix",
                "4: the `netmask` 64 of the set is longer than the address `192.0.2.1`",
            ]
        );
    }

    #[test]
    fn elements_with_more_than_an_address_are_not_taken_for_one() {
        let (found, bad) = listed(
            "elements = { 192.0.2.1 . 443, 192.0.2.2 : accept, 192.0.2.3 comment \"a : b\" : drop }\n\
             add element inet f a { 192.0.2.4 } 192.0.2.5\n",
        );
        assert_eq!(found, ["192.0.2.4"]);
        assert_eq!(
            bad,
            ["1: `192.0.2.1`: there is no place for `.`", "2: there is no place for `192.0.2.5`"]
        );
        lists(
            "elements = { 192.0.2.1, # first, one }\n192.0.2.2 last used 3s timeout 1m, # second\n\
             192.0.2.3 comment \"a # b\" timeout 9s } # end\nadd element 192.0.2.4\n",
            &["192.0.2.1", "192.0.2.2 60s", "192.0.2.3 9s", "192.0.2.4"],
        );
    }

    #[test]
    fn a_space_makes_no_single_address_of_a_range() {
        let (found, bad) = listed(
            "192.0.2.9 - 192.0.2.12\n192.0.2.0 /28\n192.0.2.9 -192.0.2.12\n192.0.2.0 / 28\n\
             192.0.2.1-192.0.2.4 192.0.2.9\n",
        );
        assert!(found.is_empty(), "{found:?}");
        let space = "expected no space within a range or before a length";
        let expected = (1..5).map(|line| format!("{line}: {space}"));
        let two = "5: expected one prefix on a line, found two".to_owned();
        assert_eq!(bad, expected.chain([two]).collect::<Vec<_>>());
        lists(
            "192.0.2.8-192.0.2.9 scanner.example.org\n192.0.2.1 - seen on Monday\n",
            &["192.0.2.8/31", "192.0.2.1"],
        );
        let list = read(&b"allow 192.0.2.20 # office\n"[..], 9, |_| {}).unwrap();
        assert_eq!((list.allowed, list.bad), (vec!["192.0.2.20/32".parse().unwrap()], Vec::new()));
    }

    #[test]
    fn what_is_no_list_stops_the_reading() {
        assert!(matches!(read(&b"192.0.2.1\n\0"[..], 9, |_| {}), Err(Stop::Binary { line: 2 })));
        assert!(matches!(read(&b"\xff\xfe\n"[..], 9, |_| {}), Err(Stop::Packed { .. })));
        assert!(matches!(read(&b"\xe9\n"[..], 9, |_| {}), Err(Stop::Binary { line: 1 })));
        for (start, way) in PACKED {
            let packed = [start, b"\x08\0\xff\n"].concat();
            let stop = read(&packed[..], 9, |_| {}).unwrap_err();
            assert!(matches!(stop, Stop::Packed { way: found } if found == way), "{way}: {stop:?}");
            let later = [b"192.0.2.1\n", &packed[..]].concat();
            assert!(matches!(read(&later[..], 9, |_| {}), Err(Stop::Binary { line: 2 })));
        }
        let long = vec![b'1'; MAX_LINE + 2];
        assert!(matches!(read(&long[..], 9, |_| {}), Err(Stop::LongLine { line: 1 })));
        assert!(matches!(read(&b"192.0.2.1\n192.0.2.2\n"[..], 1, |_| {}), Err(Stop::Full)));
    }

    #[test]
    fn what_is_listed_twice_needs_no_room() {
        let list = read("192.0.2.1\n192.0.2.2\n".repeat(50).as_bytes(), 2, |_| {}).unwrap();
        assert_eq!((list.items.len(), list.duplicates), (2, 98));
        let sets = "add a 192.0.2.1\nadd b 192.0.2.1\nadd a 192.0.2.1 timeout 9\nadd a 192.0.2.1 timeout 7\n";
        let list = read(sets.as_bytes(), 1, |_| {}).unwrap();
        let found: Vec<_> = list.items.iter().map(|item| (item.set, item.seconds)).collect();
        // How long the first one stays is said elsewhere.
        assert_eq!((found, list.duplicates), (vec![(0, 0), (0, 9), (1, 0)], 1));
        assert!(matches!(read(format!("{sets}add b 192.0.2.2\n").as_bytes(), 1, |_| {}), Err(Stop::Full)));
    }

    #[test]
    fn bad_lines_beyond_the_first_are_counted() {
        let list = read("x\n".repeat(25).as_bytes(), 9, |_| {}).unwrap();
        assert_eq!((list.bad.len(), list.more_bad, list.lines), (10, 15, 25));
    }

    #[test]
    fn of_two_the_longer_lasting_stays() {
        let item = |text: &str, seconds| Item { prefix: text.parse().unwrap(), set: NO_SET, seconds };
        let mut items = vec![
            item("192.0.2.2/32", 5),
            item("192.0.2.1/32", 5),
            item("192.0.2.2/32", 0),
            item("192.0.2.1/32", 9),
        ];
        assert_eq!(sort_out(&mut items), 2);
        assert_eq!(items, [item("192.0.2.1/32", 9), item("192.0.2.2/32", 0)]);
    }
}
