//! The blocklist as a library, on the real kernel: what a caller may do wrong, and what holds for one that goes on.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use blocklist::list::{self, Item};
use blocklist::prefix::{IpNet, single};
use blocklist::{Added, Blocklist, Buffers, Lists, Lock, Reader, Writer};
use loader::map::{ArrayMemory, Entry, Map, UpdateFlags};
use loader::pin::{self, BPFFS_ROOT};
use loader::uapi::bpf::XdpAction;
use loader::{Cause, ErrorKind, Program};

use crate::sandbox::Sandbox;
use crate::xdpload::xdpload;

/// A blocklist with room for so many rules, on no interface, and its lock.
fn blocklist(max_rules: u32) -> (Blocklist, Lock) {
    let bpffs = pin::ensure_bpffs(Path::new(BPFFS_ROOT)).expect("it is mounted");
    let blocklist = Blocklist::under(bpffs.root());
    let lock = blocklist.prepare(&bpffs).expect("nobody else is here");
    blocklist.make(max_rules, &lock).expect("there is none yet");
    (blocklist, lock)
}

/// Whether the packet program drops what comes from `source`.
fn drops(blocklist: &Blocklist, lock: &Lock, source: Ipv4Addr) -> bool {
    let path = blocklist.program(Buffers::One, lock).expect("it was loaded with the maps");
    let program = Program::open_pinned(&path).expect("it is pinned");
    let mut frame = [0; 64];
    frame[12] = 0x08;
    frame[14] = 0x45;
    frame[17] = 50;
    frame[23] = 17;
    frame[26..30].copy_from_slice(&source.octets());
    program.test_run(&frame, 1).expect("it takes a frame").verdict == XdpAction::DROP
}

fn prefix(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

/// Addresses without an order, each once.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(0x0a00_0000 + number.wrapping_mul(0x9e37) % 0x10_0000)
}

fn items(numbers: impl Iterator<Item = u32>) -> Vec<Item> {
    numbers.map(|number| Item::new(single(IpAddr::from(address(number))))).collect()
}

#[test]
fn a_list_in_any_order_is_loaded_whole() {
    let _sandbox = need!(Sandbox::new());
    let (blocklist, lock) = blocklist(2000);
    let mut writer = Writer::holding(&lock, &blocklist).unwrap();
    for numbers in [0..300, 150..450, 0..100] {
        let mut lists = Lists::new(None);
        assert_eq!(lists.insert("s", items(numbers.clone().chain([numbers.start]))), 1);
        writer.load(&lists).unwrap();
        assert_eq!(writer.reader().rules(false).unwrap().len(), numbers.len());
        assert!(numbers.clone().all(|number| drops(&blocklist, &lock, address(number))), "{numbers:?}");
    }
    assert!(!drops(&blocklist, &lock, address(449)));
}

/// Rules of all lengths beside and in each other, so many.
fn prefixes(count: u32) -> Vec<IpNet> {
    let one = |number: u32| {
        let bits = number.wrapping_mul(0x9e37_79b9).rotate_left(number % 32);
        let length = u8::try_from(8 + bits % 25).expect("at most 32");
        IpNet::new(Ipv4Addr::from(0x0a00_0000 | bits >> 10).into(), length).expect("a length").trunc()
    };
    (1..=count).map(one).collect()
}

/// Packets from the edges of each rule, and from addresses in and beside them, are judged as the rules say.
fn assert_judged_by(blocklist: &Blocklist, lock: &Lock, rules: &[IpNet]) {
    let edges = rules.iter().flat_map(|rule| [rule.network(), rule.broadcast()]);
    let others = prefixes(2000).into_iter().map(|other| other.addr());
    let mut passed = 0;
    for source in edges.chain(others) {
        let IpAddr::V4(source) = source else { panic!("{source} is of IPv4") };
        let expected = rules.iter().any(|rule| rule.contains(&IpAddr::from(source)));
        passed += usize::from(!expected);
        assert_eq!(drops(blocklist, lock, source), expected, "{source}");
    }
    assert!(passed > 100, "some pass: {passed}");
}

/// For a large list, the words that lead to rules are others.
#[test]
fn packets_find_the_rules_of_small_and_large_lists() {
    let _sandbox = need!(Sandbox::new());
    for max_rules in [4000, 300_000] {
        let (blocklist, lock) = blocklist(max_rules);
        let mut writer = Writer::holding(&lock, &blocklist).unwrap();
        let held = |rules: &[IpNet]| rules.iter().copied().map(Item::new).collect::<Vec<_>>();
        let all: Vec<_> = prefixes(300).into_iter().filter(|rule| rule.prefix_len() > 12).collect();
        writer.add(&held(&all), Some("s"), None).unwrap();
        assert_judged_by(&blocklist, &lock, &all);
        let (first, gone) = all.split_at(all.len() / 2);
        writer.remove(gone, None).unwrap();
        let kept: Vec<_> = first.iter().copied().filter(|rule| !gone.contains(rule)).collect();
        assert_judged_by(&blocklist, &lock, &kept);
        // A load clears what led to rules that have gone, and nothing else.
        let listed = &kept[10..];
        let mut lists = Lists::new(None);
        lists.insert("s", held(listed));
        writer.load(&lists).unwrap();
        assert_judged_by(&blocklist, &lock, listed);
        drop(writer);
        blocklist.purge(&lock).unwrap();
    }
}

#[test]
fn what_somebody_else_has_removed_is_purged() {
    let sandbox = need!(Sandbox::new());
    let (blocklist, lock) = blocklist(100);
    let directory = Path::new(BPFFS_ROOT).join("xdpload/block");
    assert!(!pin::unpin_all(&directory).unwrap().is_empty());
    pin::remove_dir(&directory).unwrap();
    blocklist.purge(&lock).unwrap();
    assert_eq!(sandbox.pins(), ["xdpload"]);
}

#[test]
fn host_bits_and_mapped_addresses_make_no_other_rules() {
    let _sandbox = need!(Sandbox::new());
    let (blocklist, lock) = blocklist(100);
    let mut writer = Writer::holding(&lock, &blocklist).unwrap();
    let (written, canonical) = (prefix("10.1.2.3/8"), prefix("10.0.0.0/8"));
    assert_eq!(writer.add(&[Item::new(written)], None, None).unwrap(), [Added::New]);
    assert_eq!(writer.add(&[Item::new(canonical)], None, None).unwrap(), [Added::Kept]);
    assert!(drops(&blocklist, &lock, Ipv4Addr::new(10, 200, 0, 1)));
    assert_eq!(writer.reader().rule(written).unwrap().map(|rule| rule.prefix), Some(canonical));

    assert_eq!(writer.allow(&[written, canonical]).unwrap(), [true, false]);
    assert!(!drops(&blocklist, &lock, Ipv4Addr::new(10, 200, 0, 1)));
    assert_eq!(writer.disallow(&[written]).unwrap(), [true]);

    let mapped = prefix("::ffff:192.0.2.1/128");
    writer.add(&[Item::new(mapped)], None, None).unwrap();
    assert!(drops(&blocklist, &lock, Ipv4Addr::new(192, 0, 2, 1)));
    assert!(writer.reader().test(mapped.addr()).unwrap().drops);
    assert_eq!(writer.remove(&[written, mapped], None).unwrap(), [true, true]);
    assert_eq!(writer.reader().rules(false).unwrap(), []);

    let mut lists = Lists::new(None);
    lists.insert("s", vec![Item::new(written), Item::new(prefix("192.168.77.9/16"))]);
    for added in [2, 0] {
        assert_eq!(writer.load(&lists).unwrap()[0].added, added);
        assert!(drops(&blocklist, &lock, Ipv4Addr::new(192, 168, 1, 1)));
    }
}

#[test]
fn what_is_kept_open_goes_by_the_time_of_each_call() {
    let _sandbox = need!(Sandbox::new());
    let (blocklist, lock) = blocklist(100);
    let mut writer = Writer::holding(&lock, &blocklist).unwrap();
    let mut reader = Reader::open(&blocklist).unwrap();
    let (first, second) = (prefix("192.0.2.1/32"), prefix("192.0.2.2/32"));
    let ttl = Duration::from_millis(1500);
    writer.add(&[Item::new(first)], None, Some(ttl)).unwrap();
    assert!(reader.test(first.addr()).unwrap().drops, "others have added it since this was opened");
    while Reader::open(&blocklist).unwrap().rule(first).unwrap().is_some() {
        thread::sleep(Duration::from_millis(50));
    }
    for reader in [&mut reader, writer.reader()] {
        assert!(!reader.test(first.addr()).unwrap().drops);
        assert_eq!(reader.rules(false).unwrap(), []);
    }
    let start = Instant::now();
    writer.add(&[Item::new(second)], None, Some(ttl)).unwrap();
    let rule = Reader::open(&blocklist).unwrap().rule(second).unwrap();
    let left = rule.and_then(|rule| rule.left).unwrap_or_default();
    assert!(left + start.elapsed() >= ttl, "{left:?} are left of {ttl:?}");
}

#[test]
fn whoever_has_the_lock_does_not_wait_for_it() {
    let _sandbox = need!(Sandbox::new());
    let (blocklist, lock) = blocklist(100);
    for error in [blocklist.lock().unwrap_err(), Writer::open(&blocklist.clone()).unwrap_err()] {
        assert_eq!((error.kind(), error.cause()), (ErrorKind::Conflict, Some(Cause::Locked)), "{error}");
    }
    assert!(blocklist.try_lock().unwrap().is_none());
    assert!(Writer::try_open(&Blocklist::under(Path::new(BPFFS_ROOT))).unwrap().is_none());
    let writer = Writer::holding(&lock, &blocklist).unwrap();
    // Another thread waits, and gets it.
    let found = thread::scope(|scope| {
        let waiting = scope.spawn(|| Writer::open(&blocklist)?.reader().rules(false));
        drop((writer, lock));
        waiting.join().unwrap()
    });
    assert_eq!(found.unwrap(), []);
    assert!(Writer::try_open(&blocklist).unwrap().is_some());
}

#[test]
fn the_lock_of_another_blocklist_opens_none() {
    let _sandbox = need!(Sandbox::new());
    let (blocklist, lock) = blocklist(4);
    let bpffs = pin::ensure_bpffs(Path::new(BPFFS_ROOT)).expect("it is mounted");
    let other = Blocklist::at(bpffs.root().join("other"));
    let others = other.prepare(&bpffs).unwrap();
    let words = "the lock is that of the blocklist at `/sys/fs/bpf/other`, not of the one at ";
    let refused = |error: loader::Error| {
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().starts_with(words), "{error}");
    };
    refused(Writer::holding(&others, &blocklist).unwrap_err());
    refused(blocklist.make(4, &others).unwrap_err());
    refused(blocklist.program(Buffers::Several, &others).unwrap_err());
    refused(blocklist.purge(&others).unwrap_err());
    // It has one, whatever its directory is called.
    let same = Blocklist::at("/sys/fs/bpf/other/../xdpload/block");
    Writer::holding(&lock, &same).unwrap();
    same.purge(&lock).unwrap();
}

#[test]
fn a_full_blocklist_can_be_told_by_its_cause() {
    let _sandbox = need!(Sandbox::new());
    let (blocklist, lock) = blocklist(64);
    let mut writer = Writer::holding(&lock, &blocklist).unwrap();
    let mut lists = Lists::new(None);
    lists.insert("s", items(0..65));
    let added = writer.add(&items(0..65), None, None);
    let loaded = writer.load(&lists);
    for error in [added.unwrap_err(), loaded.unwrap_err()] {
        assert_eq!((error.kind(), error.cause()), (ErrorKind::Conflict, Some(Cause::Full)), "{error}");
    }
    let exceptions: Vec<_> = items(0..65).iter().map(Item::prefix).collect();
    assert_eq!(writer.allow(&exceptions).unwrap_err().cause(), Some(Cause::Full));
}

#[test]
fn what_was_refused_leaves_nothing_in_its_writer() {
    let _sandbox = need!(Sandbox::new());
    let (blocklist, lock) = blocklist(2);
    let mut writer = Writer::holding(&lock, &blocklist).unwrap();
    let listed = |writer: &mut Writer| {
        let rules = writer.reader().rules(false).unwrap();
        rules.iter().map(|rule| rule.prefix).collect::<Vec<_>>()
    };
    let [one, two, three] = [0, 1, 2].map(|number| single(IpAddr::from(address(number))));
    writer.add(&[Item::new(one), Item::new(two)], None, None).unwrap();
    let before = listed(&mut writer);
    let refused = writer.add(&[Item::new(three)], Some("new"), None).unwrap_err();
    assert_eq!(refused.cause(), Some(Cause::Full));
    assert_eq!(listed(&mut writer), before);
    assert!(!writer.reader().test(three.addr()).unwrap().drops);
    // Nor does it hold up what comes next.
    let mut lists = Lists::new(None);
    lists.insert("default", vec![Item::new(one), Item::new(two)]);
    assert_eq!(writer.load(&lists).unwrap()[0].kept, 2);
    assert_eq!(writer.remove(&[one], None).unwrap(), [true]);
    assert_eq!(listed(&mut writer), [two]);
    assert_eq!(writer.add(&[Item::new(one)], None, None).unwrap(), [Added::New]);
    assert!(!drops(&blocklist, &lock, address(2)));
}

#[test]
fn handles_go_to_other_threads() {
    fn check<T: Send + Sync>() {}
    check::<ArrayMemory>();
    check::<Blocklist>();
    check::<Lock>();
    check::<Reader>();
    check::<Writer>();
}

#[test]
fn a_preview_forgets_no_end() {
    let _sandbox = need!(Sandbox::new());
    let (blocklist, lock) = blocklist(100);
    let mut writer = Writer::holding(&lock, &blocklist).unwrap();
    let (one, two) = (prefix("192.0.2.1/32"), prefix("192.0.2.2/32"));
    writer.add(&[Item::new(one)], Some("brief"), Some(Duration::from_millis(100))).unwrap();
    writer.add(&[Item::new(one)], Some("long"), Some(Duration::from_secs(3600))).unwrap();
    let holding = |reader: &mut Reader| {
        let rule = reader.rule(one).unwrap().expect("a set holds it");
        let held = reader.holds(&rule).unwrap().iter().fold(0, |all, (set, _)| all | set);
        (reader.set_names(held), reader.set_names(rule.sets))
    };
    let names = |all: &[&str]| all.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
    while holding(writer.reader()).0.len() > 1 {
        thread::sleep(Duration::from_millis(50));
    }
    let mut reader = Reader::open(&blocklist).unwrap();
    for reader in [&mut reader, writer.reader()] {
        reader.preview(&Lists::new(None)).unwrap();
        assert_eq!(holding(reader), (names(&["long"]), names(&["brief", "long"])));
    }
    // The next change takes it out.
    writer.add(&[Item::new(two)], None, None).unwrap();
    assert_eq!(holding(writer.reader()).1, names(&["long"]));
}

/// A process that is killed leaves the ends of holds for which there are no rules yet.
#[test]
fn ends_that_belong_to_no_rule_go_when_they_have_come() {
    let _sandbox = need!(Sandbox::new());
    let (blocklist, lock) = blocklist(100);
    let mut writer = Writer::holding(&lock, &blocklist).unwrap();
    let (one, two) = (prefix("192.0.2.1/32"), prefix("192.0.2.2/32"));
    writer.add(&[Item::new(one)], Some("a"), None).unwrap();
    writer.add(&[Item::new(two)], Some("b"), Some(Duration::from_millis(100))).unwrap();
    let holds = Map::open_pinned(blocklist.dir().join("holds")).unwrap();
    let entry = |map: &Map| map.entries().next().map(|entry| entry.unwrap());
    let Entry { mut key, value, .. } = entry(&holds).expect("that of the second");
    // The same of the first, which another set holds.
    key[7] = 1;
    holds.update(&key, value.single().unwrap(), UpdateFlags::ANY).unwrap();
    while writer.reader().rule(two).unwrap().is_some() {
        thread::sleep(Duration::from_millis(50));
    }
    writer.remove(&[two], None).unwrap();
    assert!(entry(&holds).is_none());
    assert_eq!(writer.reader().rules(false).unwrap().len(), 1);
}

#[test]
fn the_lock_of_a_blocklist_that_was_purged_opens_no_other() {
    let _sandbox = need!(Sandbox::new());
    let (blocklist, lock) = blocklist(4);
    blocklist.purge(&lock).unwrap();
    blocklist.purge(&lock).unwrap();
    // A new one would have no lock that keeps others off.
    assert_eq!(blocklist.make(4, &lock).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!blocklist.dir().exists());
    let (_, others) = self::blocklist(4);
    let words = "the blocklist at `/sys/fs/bpf/xdpload/block` was removed after it was locked";
    let refused = |error: loader::Error| {
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert!(error.to_string().starts_with(words), "{error}");
    };
    refused(Writer::holding(&lock, &blocklist).unwrap_err());
    refused(blocklist.make(4, &lock).unwrap_err());
    refused(blocklist.purge(&lock).unwrap_err());
    Writer::holding(&others, &blocklist).unwrap();
}

#[test]
fn a_lock_has_one_writer_at_a_time() {
    let _sandbox = need!(Sandbox::new());
    let (blocklist, lock) = blocklist(1000);
    let mut writer = Writer::holding(&lock, &blocklist).unwrap();
    let refused = |error: loader::Error| assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    refused(Writer::holding(&lock.clone(), &blocklist).unwrap_err());
    refused(blocklist.make(1000, &lock).unwrap_err());
    refused(blocklist.purge(&lock).unwrap_err());
    writer.add(&items(0..900), None, None).unwrap();
    drop(writer);
    // It is free again, also after a failure.
    Writer::holding(&lock, &blocklist).unwrap();
    blocklist.purge(&lock).unwrap();
    assert_eq!(Writer::holding(&lock, &blocklist).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(Writer::holding(&lock, &blocklist).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn gc_leaves_the_directory_of_a_blocklist_that_is_being_made() {
    let sandbox = need!(Sandbox::new());
    let bpffs = pin::ensure_bpffs(Path::new(BPFFS_ROOT)).expect("it is mounted");
    let blocklist = Blocklist::under(bpffs.root());
    let lock = blocklist.prepare(&bpffs).unwrap();
    xdpload(&["pins", "gc"]).ok();
    blocklist.make(4, &lock).unwrap();
    Writer::holding(&lock, &blocklist).unwrap();
    blocklist.purge(&lock).unwrap();
    // One that nobody fills goes.
    drop(lock);
    drop(blocklist.prepare(&bpffs).unwrap());
    xdpload(&["pins", "gc"]).ok();
    assert!(!blocklist.dir().exists());
    assert!(sandbox.pins().is_empty());
}

#[test]
fn a_reader_goes_on_with_the_blocklist_that_is_there() {
    let _sandbox = need!(Sandbox::new());
    let (blocklist, lock) = blocklist(4);
    let mut reader = Reader::open(&blocklist).unwrap();
    let (one, two) = (prefix("192.0.2.1/32"), prefix("192.0.2.2/32"));
    Writer::holding(&lock, &blocklist).unwrap().add(&[Item::new(one)], None, None).unwrap();
    assert!(reader.test(one.addr()).unwrap().drops);
    blocklist.purge(&lock).unwrap();
    drop(lock);
    assert_eq!(reader.rules(false).unwrap_err().kind(), ErrorKind::NotFound);
    let (_, lock) = self::blocklist(8);
    Writer::holding(&lock, &blocklist).unwrap().add(&[Item::new(two)], None, None).unwrap();
    let rules = reader.rules(false).unwrap();
    assert_eq!(rules.iter().map(|rule| rule.prefix).collect::<Vec<_>>(), [two]);
    assert_eq!(reader.settings().unwrap().max_rules, 8);
}

#[test]
fn of_one_that_is_listed_several_times_the_longest_time_counts() {
    let _sandbox = need!(Sandbox::new());
    let (blocklist, lock) = blocklist(100);
    let mut writer = Writer::holding(&lock, &blocklist).unwrap();
    // Read with room for one alone, the list is thinned on the way.
    let text = "192.0.2.1\nadd default 192.0.2.1 timeout 60\nadd default 192.0.2.1 timeout 3600\n192.0.2.1\n";
    for (ttl, least) in [(None, None), (Some(600), Some(3000)), (Some(7200), Some(7000))] {
        let read = list::read(text.as_bytes(), 1, |_| {}).unwrap();
        let mut lists = Lists::new(ttl.map(Duration::from_secs));
        assert_eq!(read.duplicates + lists.insert("a", read.items), 3);
        writer.load(&lists).unwrap();
        let left = writer.reader().rule(prefix("192.0.2.1/32")).unwrap().unwrap().left;
        assert_eq!(left.map(|left| left.as_secs() / 1000 * 1000), least);
    }
}

#[test]
fn of_one_that_is_added_several_times_at_once_the_longest_time_counts() {
    let _sandbox = need!(Sandbox::new());
    let (blocklist, lock) = blocklist(100);
    let mut writer = Writer::holding(&lock, &blocklist).unwrap();
    let [one, two] = ["192.0.2.1/32", "192.0.2.2/32"].map(prefix);
    let timed = |prefix: IpNet, seconds: u32| Item::new(prefix).for_seconds(seconds);
    let all = [timed(one, 60), timed(two, 60), timed(one, 3600), Item::new(two), timed(one, 70)];
    let mut left = |ttl: Option<Duration>| {
        writer.add(&all, None, ttl).unwrap();
        [one, two]
            .map(|prefix| writer.reader().rule(prefix).unwrap().unwrap().left.map(|left| left.as_secs()))
    };
    let [first, second] = left(Some(Duration::from_secs(600)));
    assert!((3000..=3602).contains(&first.unwrap()) && (500..=602).contains(&second.unwrap()));
    assert_eq!(left(None)[1], None);
    let [three, four] = ["192.0.2.3/32", "192.0.2.4/32"].map(|text| timed(prefix(text), 60));
    let answers = writer.add(&[three, four, three], None, None).unwrap();
    assert_eq!(answers, [Added::New, Added::New, Added::Kept]);
}

/// `block save` reads the rules, and then of each the holds.
#[test]
fn a_hold_that_has_gone_since_the_rule_was_read_is_none_for_good() {
    let _sandbox = need!(Sandbox::new());
    let (blocklist, lock) = blocklist(100);
    let mut writer = Writer::holding(&lock, &blocklist).unwrap();
    let one = prefix("192.0.2.1/32");
    for set in ["a", "b"] {
        writer.add(&[Item::new(one)], Some(set), Some(Duration::from_secs(3600))).unwrap();
    }
    let mut reader = Reader::open(&blocklist).unwrap();
    let rule = reader.rule(one).unwrap().unwrap();
    assert_eq!(reader.holds(&rule).unwrap().len(), 2);
    writer.remove(&[one], Some("a")).unwrap();
    for reader in [&mut reader, writer.reader()] {
        let holds = reader.holds(&rule).unwrap();
        let [(set, Some(left))] = &holds[..] else { panic!("{holds:?}") };
        assert!(reader.set_names(*set) == ["b"] && left.as_secs() > 3000, "{left:?}");
    }
}
