//! `xdpload block` by several at once, killed half-way, and while packets flow.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use loader::pin::lock;
use nix::fcntl::{Flock, FlockArg};

use crate::bench::refused;
use crate::block_commands::{block, blocked_pair, file, listed};
use crate::command::{command, run};
use crate::packets::assert_udp;
use crate::peers::number;
use crate::requirement::tool;
use crate::strace::{Fault, trace_with_fault};
use crate::veth::{BLOCKED, FAR_V4, NEAR, NEAR_V4, OTHER, pair, wait_for};
use crate::xdpload::{waits_for_a_lock, xdpload_command};

fn start(words: &[&str]) -> Child {
    let mut child = xdpload_command(&[&["block"], words].concat());
    child.stdout(Stdio::null()).spawn().expect("the program starts")
}

#[test]
fn several_writers_lose_nothing() {
    let (sandbox, _veth) = need!(blocked_pair(&[]));
    let text = |set: usize| {
        let lines = (0..400).map(|last| format!("10.{set}.{}.{}\n", last / 200, last % 200));
        lines.collect::<Vec<_>>().concat()
    };
    let lists: Vec<_> = (0..4).map(|set| file(&sandbox, &format!("list{set}"), text(set))).collect();
    let names = ["a", "b", "c", "d"];
    let mut writers: Vec<_> =
        lists.iter().zip(names).map(|(list, name)| start(&["load", list, "--name", name])).collect();
    writers.extend((0..20).map(|last| start(&["add", &format!("198.51.100.{last}")])));
    for writer in &mut writers {
        assert!(writer.wait().expect("it ends").success());
    }
    let rules = listed();
    assert_eq!(rules.len(), 4 * 400 + 20);
    for name in names {
        assert_eq!(rules.iter().filter(|rule| rule.ends_with(&format!(" {name}"))).count(), 400);
    }
}

/// Each call that a load makes is the last one of some load; the next load makes the set exact.
#[test]
fn a_load_that_is_killed_is_repaired_by_the_next() {
    kill_each_load("256", 8, &lists_with_little_in_common());
}

/// The same where other words lead packets to rules.
#[test]
fn a_load_into_a_large_blocklist_is_repaired_by_the_next() {
    kill_each_load("300000", 6, &lists_with_little_in_common());
}

/// The same where old rules have to go first.
#[test]
fn a_load_without_room_for_both_lists_is_repaired_by_the_next() {
    kill_each_load("6", 9, &lists_with_little_in_common());
}

/// The same where each old rule has to stay until there is a new one that shares its addresses, and there is no room
/// for all of those at once.
#[test]
fn a_load_in_parts_is_repaired_by_the_next() {
    let texts = |nets: [u32; 2], rules: &str| {
        let one = |n: u32| format!("10.{}.{}.0/{}\n", n / 100, n % 100 * 2, nets[usize::from(n % 5 == 0)]);
        (0..296).map(one).collect::<String>() + rules
    };
    let old = texts([30, 24], "192.0.2.76/31\n11.0.0.0/8\n2001:db9:1::/48\n2001:db9:2::/61\n");
    let new = texts([31, 23], "192.0.2.77\n11.9.0.0/16\n2001:db9::/47\n2001:db9:2::/62\n");
    kill_each_load("300", 18, &[old, new]);
}

fn lists_with_little_in_common() -> [String; 2] {
    [
        "192.0.2.77\n10.0.0.0/8\n198.51.100.0/24\n2001:db8:1::/48\n",
        "192.0.2.77\n11.0.0.0/8\n203.0.113.0/24\n2001:db8:2::/48\n2001:db8:3::/61\n",
    ]
    .map(str::to_owned)
}

fn kill_each_load(max_rules: &str, most: usize, lists: &[String; 2]) {
    need!(tool("strace"));
    let (sandbox, veth) = need!(blocked_pair(&["--max-rules", max_rules]));
    let [old, new] = [0, 1].map(|at| file(&sandbox, &format!("list{at}"), &lists[at]));
    let rules = |text: &str| text.lines().map(|rule| format!("{rule} default")).collect::<HashSet<_>>();
    let many = lists[0].lines().count();
    block(&["load", &old]).ok();
    let load = xdpload_command(&["block", "load", &new]);
    let calls = crate::strace::trace(&sandbox, "bpf", &load).1;
    let of_writes = calls.iter().enumerate().filter(|(_, call)| {
        ["UPDATE", "DELETE"].iter().any(|word| call.arguments.starts_with(&format!("BPF_MAP_{word}")))
    });
    let writes: Vec<_> = of_writes.map(|(at, _)| u32::try_from(at + 1).expect("a small number")).collect();
    assert!(writes.len() > most, "{}", writes.len());
    let cases = writes.into_iter().flat_map(|nth| ["ENOMEM:signal=KILL", "ENOMEM"].map(|errno| (nth, errno)));
    for (nth, errno) in cases {
        block(&["load", &old]).ok();
        let fault = Fault { call: "bpf", errno, nth: (nth, nth) };
        let (ran, _) = trace_with_fault(&sandbox, "bpf", fault, &load);
        assert_ne!(ran.code(), Some(0), "call {nth}: {}", ran.report());
        let is_less = listed().len() < many;
        assert!(
            !is_less || errno != "ENOMEM" || ran.stderr().contains("another load makes"),
            "{}",
            ran.report()
        );
        // What both lists have is blocked, and what neither has passes.
        assert_udp(&veth, BLOCKED, 0);
        assert_udp(&veth, OTHER, 5);
        block(&["load", &new]).ok();
        assert!(HashSet::from_iter(listed()) == rules(&lists[1]), "call {nth}");
    }
}

/// A rule within one that goes has the time that it is to have before that one goes, and no shorter one before others
/// have come.
#[test]
fn a_load_in_parts_leaves_no_gap_in_time() {
    need!(tool("strace"));
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "5"]));
    let old = "192.0.2.76/30\nadd 192.0.2.77 timeout 600\n198.51.100.7\n203.0.113.0\n203.0.113.1\n";
    let new = "192.0.2.77\n198.51.100.0/24\nadd 198.51.100.7 timeout 600\n203.0.113.2\n203.0.113.3\n";
    let [old, new] = [("old", old), ("new", new)]
        .map(|(name, text)| file(&sandbox, name, text.replace("add", "add default")));
    let load = xdpload_command(&["block", "load", &new]);
    let mut killed = 0;
    loop {
        block(&["load", &old]).ok();
        let fault = Fault { call: "bpf", errno: "ENOMEM:signal=KILL", nth: (killed + 1, killed + 1) };
        if trace_with_fault(&sandbox, "bpf", fault, &load).0.code() == Some(0) {
            break;
        }
        killed += 1;
        let rules = listed();
        let has = |rule: &str| rules.iter().any(|found| found == rule);
        assert!(has("192.0.2.76/30 default") || has("192.0.2.77 default"), "{killed}: {rules:?}");
        assert!(has("198.51.100.0/24 default") || has("198.51.100.7 default"), "{killed}: {rules:?}");
    }
    assert!(killed > 20, "{killed}");
}

#[test]
fn a_load_leaves_no_gap() {
    leaves_no_gap("100000", |list, rest| format!("10.{list}.{rest}"));
}

#[test]
fn a_load_into_a_large_blocklist_leaves_no_gap() {
    leaves_no_gap("300000", |list, rest| format!("10.0.{rest}/{}", 33 - list));
}

#[test]
fn a_load_leaves_no_gap_where_there_is_no_room_for_two_lists() {
    leaves_no_gap("2010", |list, rest| format!("10.{list}.{rest}"));
}

#[test]
fn a_load_in_parts_leaves_no_gap() {
    leaves_no_gap("2002", |list, rest| format!("10.0.{rest}/{}", 33 - list));
}

/// Loads two lists in turn, of rules of the first or second list from parts of addresses.
fn leaves_no_gap(max_rules: &str, rule: impl Fn(u32, String) -> String) {
    let (sandbox, veth) = need!(blocked_pair(&["--max-rules", max_rules]));
    let text = |list: u32| {
        let one = |at: u32| format!("add one {}\n", rule(list, format!("{}.{}", at / 100, at % 100 * 2)));
        (0..2000).map(one).collect::<String>()
    };
    let lists = [1, 2].map(|net| {
        // The first has the address by itself, the second by its network and in another set.
        let own = if net == 1 { "add one 192.0.2.77\nadd two 10.9.9.9\n" } else { "add two 192.0.2.76/30\n" };
        file(&sandbox, &format!("list{net}"), text(net) + own)
    });
    block(&["load", &lists[0]]).ok();
    let done = AtomicBool::new(false);
    let bind = |address: IpAddr| UdpSocket::bind((address, 0)).expect("the address is there");
    let near = bind(NEAR_V4.into());
    let to = near.local_addr().expect("a socket has an address");
    let (listed_socket, clean) = veth.far.run(|| (bind(BLOCKED.into()), bind(FAR_V4.into())));
    near.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket takes a timeout");
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0_u32;
            while !done.load(Ordering::Relaxed) {
                listed_socket.send_to(b"listed", to).expect("it is sent");
                clean.send_to(b"clean", to).expect("it is sent");
                sent += 1;
                thread::yield_now();
            }
            sent
        });
        let receiver = scope.spawn(|| {
            let (mut clean, mut buffer) = (0_u32, [0; 16]);
            loop {
                let len = match near.recv(&mut buffer) {
                    Ok(len) => len,
                    // With a time limit, even a signal without a handler can end the wait.
                    Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                    Err(_) => break,
                };
                assert_eq!(&buffer[..len], b"clean", "a listed address came through");
                clean += 1;
            }
            clean
        });
        for round in 0..6 {
            block(&["load", &lists[(round + 1) % 2]]).ok();
        }
        done.store(true, Ordering::Relaxed);
        let sent = sender.join().expect("the sender ends");
        // The socket may overflow; what is dropped by the program is counted.
        assert!(receiver.join().expect("the receiver ends") > 0 && sent > 0);
        let counters = crate::xdpload::answer(&["block", "stats", "near0"]);
        let packets = |verdict: &str| {
            let rows = counters["interfaces"][0]["verdicts"].as_array().expect("a list");
            number(
                &rows.iter().find(|row| row["verdict"] == verdict).expect("the verdict is listed")["packets"],
            )
        };
        assert_eq!(packets("dropped4"), u64::from(sent));
        assert!(packets("passed4") >= u64::from(sent));
    });
}

#[test]
fn a_writer_waits_for_its_turn() {
    need!(tool("flock"));
    let (_sandbox, _veth) = need!(blocked_pair(&[]));
    let words = ["--no-fork", "/sys/fs/bpf/xdpload/block", "sh", "-c", "echo held; exec sleep 60"];
    let mut flock = command("flock", &words);
    let mut holder = flock.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let mut held = [0; 4];
    holder.stdout.take().unwrap().read_exact(&mut held).unwrap();
    let mut writer = start(&["add", "192.0.2.77"]);
    // Whoever only reads does not wait.
    assert!(listed().is_empty());
    assert!(writer.try_wait().unwrap().is_none());
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(writer.wait().unwrap().success());
    assert_eq!(listed(), ["192.0.2.77 default"]);
}

/// A feed has its turn for as long as it has lines, and waits for the next without it.
#[test]
fn a_feed_that_is_silent_holds_nobody_up() {
    let (_sandbox, _veth) = need!(blocked_pair(&["--max-rules", "1000"]));
    let mut feed = xdpload_command(&["block", "sync", "-", "--name", "feed"]);
    let mut feed = feed.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = feed.stdin.take().unwrap();
    let mut said = BufReader::new(feed.stdout.take().unwrap()).lines();
    for round in 0..3 {
        let lines: Vec<_> = (0..100).map(|last| format!("add 10.0.{round}.{last}\n")).collect();
        // The beginning of the next line is nothing to hold others up for.
        input.write_all((lines.concat() + "add").as_bytes()).unwrap();
        for line in lines {
            assert_eq!(said.next().unwrap().unwrap(), line.trim().replace("add", "added"));
        }
        block(&["del", &format!("10.0.{round}.0"), "--name", "feed"]).ok();
        input.write_all(format!(" 10.0.{round}.0\n").as_bytes()).unwrap();
        assert_eq!(said.next().unwrap().unwrap(), format!("added 10.0.{round}.0"));
    }
    drop(input);
    assert!(feed.wait().unwrap().success());
    assert_eq!(listed().len(), 300);
}

/// Who waits for the end of a list has no need to hold others up, and the times of its rules begin when they are made.
#[test]
fn a_list_that_comes_slowly_holds_nobody_up() {
    let (_sandbox, _veth) = need!(blocked_pair(&["--max-rules", "1000"]));
    let mut load = xdpload_command(&["block", "load", "-", "--name", "slow"]);
    let mut load = load.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = load.stdin.take().unwrap();
    input.write_all(b"10.0.0.1\n").unwrap();
    for last in 0..20 {
        block(&["add", &format!("10.0.1.{last}")]).ok();
    }
    drop(input);
    assert!(load.wait().unwrap().success());
    assert_eq!(listed().len(), 21);
}

/// Nobody reads what a feed answers: its changes are made all the same, and others have their turn.
#[test]
fn a_feed_whose_answers_nobody_reads_is_carried_out() {
    let (_sandbox, _veth) = need!(blocked_pair(&["--max-rules", "20000"]));
    let mut feed = xdpload_command(&["block", "sync", "-", "--name", "feed"]);
    let mut feed = feed.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = feed.stdin.take().unwrap();
    let lines: Vec<_> = (0..10_000).map(|n| format!("add 10.1.{}.{}\n", n / 250, n % 250)).collect();
    let writer = thread::spawn(move || input.write_all(lines.concat().as_bytes()));
    // It is stuck in its answers some time, or will be: others are not.
    for last in 0..20 {
        block(&["add", &format!("10.0.1.{last}")]).ok();
    }
    drop(feed.stdout.take());
    writer.join().unwrap().unwrap();
    assert!(feed.wait().unwrap().success());
    assert_eq!(listed().len(), 10_020);
}

/// Whoever has waited for a blocklist that was purged meanwhile waits for the new one.
#[test]
fn the_lock_is_that_of_the_blocklist_that_is_there() {
    let (_sandbox, _veth) = need!(blocked_pair(&["--max-rules", "64"]));
    let home = "/sys/fs/bpf/xdpload/block";
    let held = || Flock::lock(File::open(home).unwrap(), FlockArg::LockExclusive).unwrap();
    let waits = |child: &Child| wait_for("it to wait", || waits_for_a_lock(child));
    let old = held();
    let mut add = start(&["add", "203.0.113.1"]);
    waits(&add);
    fs::rename(home, "/sys/fs/bpf/xdpload/purged").unwrap();
    fs::rename("/sys/fs/bpf/xdpload/purged", "/sys/fs/bpf/purged").unwrap();
    run(&mut command("ip", &["link", "set", NEAR, "xdp", "off"])).ok();
    block(&["on", NEAR, "--max-rules=64"]).ok();
    let new = held();
    drop(old);
    waits(&add);
    assert_eq!(listed(), [""; 0]);
    drop(new);
    assert!(add.wait().unwrap().success());
    assert_eq!(listed(), ["203.0.113.1 default"]);
}

/// A first `block on` that waits for another one, which is refused and takes its directory away, makes it anew.
#[test]
fn a_directory_that_goes_while_it_is_waited_for_is_made_again() {
    let (_sandbox, _veth) = need!(pair(&["bpftool"]));
    let home = Path::new("/sys/fs/bpf/xdpload/block");
    fs::create_dir_all(home).unwrap();
    let other = lock(home).unwrap();
    let mut on = start(&["on", NEAR, "--max-rules=64"]);
    wait_for("it to wait", || waits_for_a_lock(&on));
    fs::remove_dir(home).unwrap();
    fs::remove_dir("/sys/fs/bpf/xdpload").unwrap();
    drop(other);
    assert!(on.wait().unwrap().success());
    block(&["add", "203.0.113.1"]).ok();
}

/// A list that makes no rule needs no room.
#[test]
fn a_list_that_shrinks_is_loaded_into_what_is_full() {
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "40"]));
    let addresses: Vec<_> = (0..40).map(|last| format!("203.0.113.{last}")).collect();
    let words: Vec<_> = ["add"].into_iter().chain(addresses.iter().map(String::as_str)).collect();
    block(&words).ok();
    let one = file(&sandbox, "one", &addresses[0]);
    block(&["load", &one]).ok().stdout_has("default: added 0, kept 1, removed 39\n");
}

/// Whichever call fails, rules are added all together or not at all.
#[test]
fn an_add_that_fails_adds_nothing() {
    need!(tool("strace"));
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "256"]));
    let before = ["2001:db8:7::/66", "2001:db8:7::/67"];
    let rules = ["10.0.0.0/8", "203.0.113.7", "2001:db8:7::/64", "2001:db8:7::/65"];
    let start_anew = || {
        block(&["load", "/dev/null", "--force"]).ok();
        block(&[&["add", "--ttl", "1h"], &before[..]].concat()).ok();
    };
    start_anew();
    let add = xdpload_command(&[&["block", "add", "--ttl", "2h"], &rules[..]].concat());
    let calls = crate::strace::trace(&sandbox, "bpf", &add).1;
    let of_writes = calls.iter().enumerate().filter(|(_, call)| call.arguments.starts_with("BPF_MAP_UPDATE"));
    let writes: Vec<_> = of_writes.map(|(at, _)| u32::try_from(at + 1).unwrap()).collect();
    assert!(writes.len() > 8, "{}", writes.len());
    for nth in writes {
        start_anew();
        let fault = Fault { call: "bpf", errno: "ENOMEM", nth: (nth, nth) };
        let (ran, _) = trace_with_fault(&sandbox, "bpf", fault, &add);
        let expected = if ran.code() == Some(0) { 6 } else { 2 };
        assert_eq!(listed().len(), expected, "call {nth}: {}", ran.report());
        assert_eq!(ran.stdout().matches("added ").count(), expected - 2, "call {nth}");
    }
}

/// What is full takes another list, as long as no address of both would have to be let go for that.
#[test]
fn a_full_list_is_replaced_by_another() {
    let (sandbox, veth) = need!(blocked_pair(&["--max-rules", "128"]));
    let rules = mixed(256);
    let lists = [&rules[..128], &rules[128..]].map(|rules| rules.join("\n") + "\n");
    let [first, second] = [0, 1].map(|at| file(&sandbox, &format!("list{at}"), &lists[at]));
    block(&["load", &first, "--ttl", "1h"]).ok();
    for (list, at) in [(&second, 1), (&first, 0), (&second, 1)] {
        block(&["load", list, "--dry-run"]).ok().stdout_has("would have added 128, kept 0, removed 128\n");
        block(&["load", list, "--ttl", "1h"]).ok().stdout_has("added 128, kept 0, removed 128\n");
        let mut expected: Vec<_> = lists[at].lines().collect();
        let found = listed();
        let mut found: Vec<_> = found.iter().filter_map(|rule| rule.split(' ').next()).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
    // What another set holds stays, and with it there is no room.
    block(&["add", &rules[128], "--name", "other"]).ok();
    let before = listed();
    let words = "with the new rules there would be 129, and there is room for 128; nothing was changed";
    for options in [&["--dry-run"][..], &[]] {
        refused(&[&["block", "load", &first], options].concat(), 1, &[words]);
    }
    let names = |rules: Vec<String>| -> Vec<_> {
        rules.iter().map(|rule| rule.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(names(listed()), names(before));
    // Those that share addresses with new rules only go after them.
    let old: Vec<_> = (0..128).map(|last| format!("192.0.2.{last}\n")).collect();
    let old = old.concat();
    let one = "2001:db8::/32\n192.0.2.64/26\n";
    block(&["off", "--purge"]).ok();
    block(&["on", NEAR, "--max-rules", "128"]).ok();
    block(&["load", &file(&sandbox, "old", &old), "--force"]).ok();
    block(&["load", &file(&sandbox, "one", one), "--force"])
        .ok()
        .stdout_has("added 2, kept 0, removed 128\n");
    assert_udp(&veth, BLOCKED, 0);
    block(&["del", "192.0.2.64/26"]).ok();
    block(&["load", &file(&sandbox, "old", &old), "--force"]).ok();
    let nets: Vec<_> = (0..64).map(|net| format!("192.0.2.{}/31\n", 2 * net)).collect();
    let nets = file(&sandbox, "nets", nets.concat());
    block(&["load", &nets, "--force"]).ok().stdout_has("added 64, kept 0, removed 128\n");
    assert_udp(&veth, BLOCKED, 0);
    let old = file(&sandbox, "old", &old);
    block(&["load", &old, "--force"]).ok().stdout_has("added 128, kept 0, removed 64\n");
    assert_udp(&veth, BLOCKED, 0);
    assert_eq!(listed().len(), 128);
    // The room that this takes is there for nothing else.
    refused(&["block", "add", "198.51.100.1"], 1, &["there would be 129, and there is room for 128"]);
}

/// As many parts as the lists need, of rules in places of every kind, each with an end.
#[test]
fn a_full_list_is_replaced_by_one_that_shares_each_address() {
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "3000"]));
    let one = |n: u32, nets: [u8; 5]| match n % 5 {
        0 => format!("{}.{}.0.0/{}\n", 11 + n / 500, n % 500 / 5 * 2, nets[0]),
        1 => format!("2001:db9:{:x}::/{}\n", n / 5 * 2 + 2, nets[1]),
        2 => format!("2001:db8:{:x}:1000::/{}\n", n / 5 * 2 + 2, nets[2]),
        3 => format!("198.{}.{}.0/{}\n", n / 500, n % 500 / 5 * 2, nets[3]),
        _ => format!("203.{}.{}.4/{}\n", n / 500, n % 500 / 5 * 2, nets[4]),
    };
    let lists = [[16, 48, 53, 24, 31], [15, 47, 52, 23, 30]];
    let lists = lists.map(|nets| (0..3000).map(|n| one(n, nets)).collect::<String>());
    for text in [&lists[0], &lists[1], &lists[0]] {
        block(&["load", &file(&sandbox, "list", text), "--ttl", "1h"]).ok();
        let found = listed();
        let found: HashSet<_> = found.iter().filter_map(|rule| rule.split(' ').next()).collect();
        assert!(found == text.lines().collect::<HashSet<_>>());
    }
}

/// Rules in places of every kind.
fn mixed(count: u32) -> Vec<String> {
    let one = |n: u32| match n % 8 {
        0 => format!("{}.{}.0.0/16", 10 + n / 256, n % 256),
        1 => format!("2001:db8:{n:x}::/48"),
        2 => format!("2001:db8:{n:x}::/51"),
        3 => format!("198.51.{}.0/24", n % 256),
        _ => format!("203.0.{}.{}", n / 256, n % 256),
    };
    (0..count).map(one).collect()
}

/// One limit, so that what was saved can be loaded.
#[test]
fn there_is_room_for_what_was_promised_whichever_way_it_comes() {
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "256"]));
    let piped = |words: &str, text: &str| {
        let text = file(&sandbox, "text", text);
        let words = format!("{} block {words} <{text}", env!("CARGO_BIN_EXE_xdpload"));
        run(&mut command("sh", &["-c", &words]))
    };
    let lines = |rules: &[String], word: &str| -> String {
        rules.iter().flat_map(|rule| [word, rule.as_str(), "\n"]).collect()
    };
    let rules = mixed(257);
    let words = "there is no room: with the new rules there would be 257, and there is room for 256";
    // All at once are one change.
    piped("add -", &lines(&rules, "")).fails(1).stderr_has(words).stderr_has("--max-rules N");
    assert_eq!(listed(), [""; 0]);
    piped("sync -", &lines(&rules[..128], "add ")).ok().stderr_has("128 changes");
    piped("add --name a -", &lines(&rules[..256], "")).ok();
    assert_eq!(listed().len(), 256);
    block(&["add", "192.0.2.77"]).fails(1).stderr_has(words);
    let feed = piped("sync -", "add 192.0.2.77\n").fails(1);
    feed.stderr_has(&format!("line 1: {words}")).stderr_has("help: `xdpload block save FILE`, then ");
    // What is there already needs none, and what goes gives it back.
    block(&["add", &rules[0], "--name", "b", "--ttl", "1h"]).ok();
    block(&["del", &rules[4], &rules[2], &rules[1], &rules[0]]).ok();
    piped("sync -", "add 192.0.2.77\nadd 192.0.2.78\ndel 192.0.2.77\n").ok();
    let more = ["192.0.2.77", "192.0.2.79", "192.0.2.80"];
    block(&[&["add"], &more[..]].concat()).ok();
    block(&["add", "192.0.2.81"]).fails(1).stderr_has(words);

    let saved = sandbox.scratch().join("saved");
    let (saved, before) = (saved.to_str().unwrap(), listed());
    assert_eq!(before.len(), 256);
    block(&["save", saved]).ok();
    block(&["off", "--purge"]).ok();
    block(&["on", NEAR, "--max-rules", "256"]).ok();
    block(&["load", saved]).ok();
    assert_eq!(listed(), before);
    block(&["load", saved]).ok().stdout_has("added 0, ");
    block(&["add", "192.0.2.81"]).fails(1).stderr_has(words);
}

/// Who is killed leaves a number of rules that is too high, and another release none: both are counted anew.
#[test]
fn rules_are_counted_anew_before_one_is_refused() {
    let (_sandbox, _veth) = need!(blocked_pair(&["--max-rules", "64"]));
    let rules = mixed(63);
    block(&["add"].into_iter().chain(rules.iter().map(String::as_str)).collect::<Vec<_>>()).ok();
    let map = loader::map::Map::open_pinned("/sys/fs/bpf/xdpload/block/sets").unwrap();
    for counted in [0, 65, 1000, u32::MAX] {
        let mut first = map.lookup(&[0; 4]).unwrap().unwrap().single().unwrap().to_vec();
        assert_eq!(first[52..], 64_u32.to_ne_bytes(), "one more than there are");
        first[52..].copy_from_slice(&counted.to_ne_bytes());
        map.update(&[0; 4], &first, loader::map::UpdateFlags::ANY).unwrap();
        block(&["add", "192.0.2.77"]).ok();
        block(&["add", "192.0.2.78"]).fails(1).stderr_has("there would be 65, and there is room for 64");
        block(&["del", "192.0.2.77"]).ok();
    }
}
