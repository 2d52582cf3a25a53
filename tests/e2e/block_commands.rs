//! `xdpload block`: each command, with packets as witnesses.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::Stdio;

use loader::Interface;
use loader::map::{Map, UpdateFlags};

use crate::bench::refused;
use crate::command::{Ran, command, run};
use crate::packets::assert_udp;
use crate::peers::{attached_by_ip, number};
use crate::requirement::{Missing, tool};
use crate::sandbox::Sandbox;
use crate::strace;
use crate::veth::{BLOCKED, FAR, FAR_V6, NEAR, OTHER, Veth, pair};
use crate::xdpload::{answer, xdpload, xdpload_command};

/// `xdpload block` with these words.
#[track_caller]
pub(crate) fn block(words: &[&str]) -> Ran {
    xdpload(&[&["block"], words].concat())
}

/// A pair of interfaces with the blocklist on the near one.
pub(crate) fn blocked_pair(options: &[&str]) -> Result<(Sandbox, Veth), Missing> {
    let (sandbox, veth) = pair(&["bpftool"])?;
    block(&[&["on", NEAR], options].concat()).ok();
    Ok((sandbox, veth))
}

/// A file with this text, and its path.
pub(crate) fn file(sandbox: &Sandbox, name: &str, text: impl AsRef<[u8]>) -> String {
    let path = sandbox.scratch().join(name);
    fs::write(&path, text).expect("the scratch directory is writable");
    path.to_str().expect("the path is printable").to_owned()
}

/// What `block list` prints, by lines.
pub(crate) fn listed() -> Vec<String> {
    block(&["list"]).ok().stdout().lines().map(str::to_owned).collect()
}

#[test]
fn on_off_and_on_again() {
    let (sandbox, veth) = need!(pair(&["bpftool"]));
    let said = block(&["on", NEAR, "--max-rules", "1000"]).ok();
    assert_eq!(said.stdout(), format!("the blocklist is on: {NEAR} in native mode\n"));
    assert!(said.stderr().starts_with("room for 1000 rules takes "), "{}", said.report());
    let program = attached_by_ip(NEAR).expect("it is on").id;
    let again = block(&["on", NEAR]).ok();
    assert_eq!(again.stdout(), format!("the blocklist is on already: {NEAR} in native mode\n"));
    assert_eq!((again.stderr(), attached_by_ip(NEAR).unwrap().id), ("", program));

    // Naming one twice is naming it once.
    block(&["off", NEAR, NEAR]).ok();
    assert_eq!(block(&["on", NEAR, NEAR]).ok().stdout(), said.stdout());
    let program = attached_by_ip(NEAR).expect("it is on").id;

    // A second interface has the same program.
    run(&mut command("ip", &["link", "add", "two0", "type", "veth", "peer", "name", "two1"])).ok();
    block(&["on", "two0"]).ok();
    assert_eq!(attached_by_ip("two0").unwrap().id, program);

    block(&["add", "192.0.2.77"]).ok();
    assert_udp(&veth, BLOCKED, 0);
    refused(&["block", "off", NEAR, "--purge"], 1, &["the blocklist stays on 1 other interfaces"]);
    block(&["off", NEAR, "two0"]).ok();
    assert_eq!((attached_by_ip(NEAR), attached_by_ip("two0")), (None, None));
    assert_udp(&veth, BLOCKED, 5);
    assert_eq!(listed(), ["192.0.2.77 default"]);
    refused(&["block", "off", NEAR], 1, &["the blocklist is not on `near0`"]);

    block(&["on", NEAR]).ok();
    // Another namespace needs the rules as well.
    block(&["on", FAR, "--netns=far"]).ok();
    assert_udp(&veth, BLOCKED, 0);
    refused(&["block", "off", NEAR, "--purge"], 1, &["the blocklist stays on 1 other interfaces"]);
    assert_udp(&veth, BLOCKED, 0);
    block(&["off", "--purge"]).ok().stdout_has("is off: near0\n").stdout_has("is off: far0\n");
    assert_eq!(veth.far.run(|| attached_by_ip(FAR)), None);
    assert_eq!(sandbox.pins(), [""; 0]);
    refused(
        &["block", "list"],
        1,
        &["there is no blocklist at `/sys/fs/bpf/xdpload/block`", "`xdpload block on IF` makes one"],
    );
}

#[test]
fn every_kind_of_rule_drops_and_lets_go() {
    let (_sandbox, veth) = need!(blocked_pair(&[]));
    let v4 = [
        "192.0.2.77",
        "192.0.2.64/26",
        "192.0.2.77/31",
        "192.0.0.0/17",
        "192.0.0.0/16",
        "128.0.0.0/1",
        "0.0.0.0/0",
    ];
    let v6 = ["2001:db8::2", "2001:db8::/64", "2001:db8::/126", "2001:db8::/32", "2000::/3", "::/0"];
    let rules = v4
        .iter()
        .map(|rule| (rule, IpAddr::from(BLOCKED)))
        .chain(v6.iter().map(|rule| (rule, FAR_V6.into())));
    for (rule, source) in rules {
        block(&["add", rule, "--force"]).ok();
        assert_udp(&veth, source, 0);
        let test = answer(&["block", "test", &source.to_string()]);
        assert_eq!(test["verdict"], "dropped", "{rule}");
        let rule_found = test["rule"]["prefix"].as_str().expect("a rule is named");
        assert_eq!(listed(), [format!("{rule_found} default")]);
        block(&["delete", rule]).ok();
        assert_udp(&veth, source, 5);
    }
    assert!(listed().is_empty());
}

#[test]
fn rules_are_counted_and_listed_in_order() {
    let (_sandbox, veth) = need!(blocked_pair(&[]));
    block(&["add", "198.51.100.0/24", "192.0.2.77", "2001:db8:1::/48", "10.0.0.0/8", "192.0.2.77"])
        .ok()
        .stdout_has("added 192.0.2.77\n")
        .stdout_has("unchanged 192.0.2.77\n");
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, OTHER, 5);
    let hits = block(&["list", "--hits"]).ok();
    // 14 bytes of Ethernet, 20 of IP, 8 of UDP and 8 that were sent.
    assert_eq!(
        hits.stdout(),
        "10.0.0.0/8 default 0 packets 0 bytes\n192.0.2.77 default 5 packets 250 bytes\n\
         198.51.100.0/24 default 0 packets 0 bytes\n2001:db8:1::/48 default 0 packets 0 bytes\n"
    );
    assert_eq!(block(&["list", "192.0.2.0/24"]).ok().stdout(), "192.0.2.77 default\n");
    assert_eq!(block(&["list", "10.1.2.3"]).ok().stdout(), "10.0.0.0/8 default\n");
    let stats = answer(&["block", "stats", NEAR]);
    let row = |verdict: &str| {
        let rows = stats["interfaces"][0]["verdicts"].as_array().expect("there are verdicts").iter();
        rows.clone().find(|row| row["verdict"] == verdict).expect("each verdict is there").clone()
    };
    assert_eq!((&row("dropped4")["packets"], &row("dropped4")["bytes"]), (&5.into(), &250.into()));
    assert_eq!(row("passed4")["packets"], 5);
    block(&["stats", "--prometheus"])
        .ok()
        .stdout_has("# TYPE xdpload_block_packets_total counter\n")
        .stdout_has("xdpload_block_packets_total{interface=\"near0\",verdict=\"dropped4\"} 5\n");
}

#[test]
fn counters_begin_when_it_is_turned_on_and_stay_when_it_is_off() {
    let (_sandbox, veth) = need!(pair(&["bpftool"]));
    run(&mut command("ip", &["link", "add", "two0", "type", "veth", "peer", "name", "two1"])).ok();
    block(&["on", "two0", "--max-rules", "64"]).ok();
    refused(&["block", "stats", NEAR], 1, &["the blocklist is not on `near0`"]);
    assert_eq!(block(&["stats"]).ok().stdout(), "two0\n  no packets so far\n");
    block(&["on", NEAR]).ok();
    block(&["add", "192.0.2.77", "10.0.0.0/8"]).ok();
    block(&["add", "192.0.2.77", "--name", "feed"]).ok();
    assert_udp(&veth, BLOCKED, 0);
    let text = block(&["stats", "--prometheus"]).ok();
    for line in [
        "xdpload_block_packets_total{interface=\"two0\",verdict=\"dropped4\"} 0\n",
        "xdpload_block_on{interface=\"two0\"} 1\n",
        "xdpload_block_rules{set=\"default\"} 2\n",
        "xdpload_block_rules{set=\"feed\"} 1\n",
        "xdpload_block_rules_max 64\n",
    ] {
        assert!(text.stdout().contains(line), "{line}{}", text.report());
    }
    block(&["off", NEAR]).ok();
    block(&["stats", NEAR]).ok().stdout_has("near0 (off)\n").stdout_has("dropped4");
    block(&["stats", "--prometheus"]).ok().stdout_has("xdpload_block_on{interface=\"near0\"} 0\n");
}

/// As before Linux 4.16, whose packet program is not told at which interface it is.
#[test]
fn packets_of_unknown_interfaces_are_counted_together() {
    let (_sandbox, veth) = need!(blocked_pair(&["--max-rules", "64"]));
    block(&["add", "192.0.2.77"]).ok();
    assert_udp(&veth, BLOCKED, 0);
    veth.without_ipv6();
    let map = Map::open_pinned("/sys/fs/bpf/xdpload/block/counters").expect("it is pinned");
    let entry = |index: u32| index.to_ne_bytes();
    let ifindex = Interface::named(NEAR).expect("it is there").index().get();
    let counted = map.lookup(&entry(ifindex % 256)).expect("it is an array").expect("it has that entry");
    let nowhere: Vec<Vec<u8>> = counted.all().map(|value| [&[0; 4], &value[4..]].concat()).collect();
    let nothing: Vec<Vec<u8>> = nowhere.iter().map(|value| vec![0; value.len()]).collect();
    for (index, values) in [(0, &nowhere), (ifindex % 256, &nothing)] {
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        map.update_per_cpu(&entry(index), &values, UpdateFlags::ANY).expect("the values fit");
    }
    let dropped = "  dropped4                    5 packets                250 bytes\n";
    let together =
        "near0\n  counted with all interfaces, since this kernel tells no interface (Linux 4.16)\n";
    block(&["stats"]).ok().stdout_has("all interfaces\n").stdout_has(dropped).stdout_has(together);
    assert_eq!(block(&["stats", NEAR]).ok().stdout(), together);
    let json = answer(&["block", "stats"])["interfaces"].clone();
    assert_eq!((&json[0]["interface"], &json[0]["ifindex"]), (&"all interfaces".into(), &0.into()));
    assert_eq!((&json[1]["interface"], &json[1]["on"]), (&NEAR.into(), &true.into()));
    assert_eq!(json[1]["verdicts"].as_array().map(Vec::len), Some(0));
    let text = block(&["stats", "--prometheus"]).ok();
    let text = text
        .stdout_has("xdpload_block_packets_total{interface=\"all interfaces\",verdict=\"dropped4\"} 5\n")
        .stdout_has("xdpload_block_on{interface=\"near0\"} 1\n")
        .stdout_has("xdpload_block_interfaces 1\n");
    assert!(!text.stdout().contains("xdpload_block_on{interface=\"all"), "{}", text.report());
}

/// Who lists an address believes that its packets are dropped.
#[test]
fn a_blocklist_that_is_on_nowhere_says_so() {
    let (sandbox, veth) = need!(blocked_pair(&["--max-rules", "64"]));
    block(&["add", "192.0.2.77"]).ok();
    let list = file(&sandbox, "list", "192.0.2.77\n");
    let note = "note: the blocklist is on no interface, so no packet is dropped\n";
    let test = || answer(&["block", "test", "192.0.2.77"])["verdict"].clone();
    assert_eq!((test(), block(&["list"]).ok().stderr()), ("dropped".into(), ""));
    block(&["stats", "--prometheus"]).ok().stdout_has("xdpload_block_interfaces 1\n");

    // Somebody who knows nothing of the blocklist takes its program off.
    xdpload(&["detach", NEAR]).ok();
    assert_eq!(test(), "off");
    let words =
        "192.0.2.77 would be dropped by 192.0.2.77 in default, but the blocklist is on no interface\n";
    assert_eq!(block(&["test", "192.0.2.77"]).ok().stdout(), words);
    assert_eq!(answer(&["block", "test", "192.0.2.78"])["verdict"], "passed");
    block(&["list"]).ok().stderr_has(note);
    block(&["load", &list]).ok().stderr_has(note);
    block(&["stats"]).ok().stderr_has("note: the blocklist is on no interface here\n");
    block(&["stats", "--prometheus"]).ok().stdout_has("xdpload_block_interfaces 0\n");
    let watch = xdpload_command(&["block", "stats", "--watch"]).stderr(Stdio::piped()).spawn();
    let mut watch = watch.expect("the program starts");
    let mut line = String::new();
    BufReader::new(watch.stderr.take().expect("it is piped")).read_line(&mut line).expect("it is text");
    watch.kill().expect("it runs until it is killed");
    watch.wait().expect("it was started here");
    assert_eq!(line, "note: the blocklist is on no interface here\n");

    // Another namespace is somewhere.
    block(&["on", FAR, "--netns=far"]).ok();
    assert_eq!((test(), block(&["list"]).ok().stderr()), ("dropped".into(), ""));
    drop(veth);
    block(&["off", "--purge"]).ok();
}

/// The counts are told apart by the index alone, which is the same in many namespaces.
#[test]
fn counts_of_other_namespaces_are_not_those_of_an_interface_here() {
    let (_sandbox, veth) = need!(pair(&["bpftool"]));
    let ip = |line: &str| run(&mut command("ip", &line.split(' ').collect::<Vec<_>>())).ok();
    let index = veth.far.run(|| Interface::named(FAR).unwrap().index());
    block(&["on", FAR, "--netns=far", "--max-rules=64"]).ok();
    let there = answer(&["block", "stats", "--netns=far"])["interfaces"].clone();
    assert_eq!((&there[0]["interface"], &there[0]["on"]), (&FAR.into(), &true.into()));
    assert_eq!(there.as_array().map(Vec::len), Some(1));
    ip(&format!("link add name same0 index {} type bridge", index.get() + 256));
    block(&["on", "same0", "--mode=generic"]).ok();
    let words = "note: `same0` shares its counts with `far0` in network namespace";
    block(&["stats"]).ok().stderr_has(words).stderr_has("which has the same index modulo 256\n");
    block(&["off", "--purge"]).ok();
}

#[test]
fn rates_are_shown_as_they_come() {
    let (_sandbox, veth) = need!(blocked_pair(&[]));
    block(&["add", "192.0.2.77"]).ok();
    assert_udp(&veth, BLOCKED, 0);
    let watched = || {
        let watch = xdpload_command(&["block", "stats", NEAR, "--watch"]).stdout(Stdio::piped()).spawn();
        let mut watch = watch.expect("the program starts");
        let mut line = String::new();
        let mut lines = BufReader::new(watch.stdout.take().expect("it is piped"));
        lines.read_line(&mut line).expect("it is text");
        watch.kill().expect("it runs until it is killed");
        watch.wait().expect("it was started here");
        line
    };
    let line = watched();
    let words = "near0            dropped 0 packets/s 0.00 Mbit/s would drop 0 packets/s";
    assert!(line.starts_with(words) && line.ends_with(" Mbit/s\n"), "{line}");
    block(&["off", NEAR]).ok();
    let line = watched();
    assert!(line.starts_with(words) && line.ends_with(" Mbit/s (off)\n"), "{line}");
}

#[test]
fn exceptions_and_counting_let_packets_pass() {
    let (_sandbox, veth) = need!(blocked_pair(&["--count-only"]));
    let drop = ["on", NEAR, "--default", "drop", "--force"];
    block(&drop).ok().stdout_has("packets that no rule matches would be dropped, too, unless allowed\n");
    block(&["on", NEAR, "--default", "pass"]).ok();
    block(&["add", "192.0.2.64/26"]).ok();
    assert_udp(&veth, BLOCKED, 5);
    block(&["test", "192.0.2.77"])
        .ok()
        .stdout_has("would be dropped by 192.0.2.64/26 in default, but is only counted\n");
    block(&["on", NEAR, "--count-only=false"]).ok();
    assert_udp(&veth, BLOCKED, 0);
    assert_eq!(block(&["allow", "add", "192.0.2.77"]).ok().stdout(), "added 192.0.2.77\n");
    assert_eq!(block(&["allow", "add", "192.0.2.77"]).ok().stdout(), "unchanged 192.0.2.77\n");
    assert_udp(&veth, BLOCKED, 5);
    assert_udp(&veth, OTHER, 0);
    assert_eq!(
        block(&["test", "192.0.2.77"]).ok().stdout(),
        "192.0.2.77 passes: 192.0.2.77 is allowed, though 192.0.2.64/26 is blocked\n"
    );
    assert_eq!(block(&["allow", "list"]).ok().stdout(), "192.0.2.77\n");
    block(&["allow", "delete", "192.0.2.77"]).ok();
    assert_udp(&veth, BLOCKED, 0);
    refused(&["block", "allow", "del", "192.0.2.77"], 1, &["not allowed: 192.0.2.77"]);
}

#[test]
fn a_trial_that_is_confirmed_stays_and_can_be_turned_off() {
    let (sandbox, veth) = need!(pair(&["bpftool"]));
    block(&["on", NEAR, "--confirm", "60s"]).ok().stdout_has("run `xdpload confirm near0` within 60 s");
    block(&["add", "192.0.2.77"]).ok();
    xdpload(&["confirm", NEAR]).ok();
    assert_udp(&veth, BLOCKED, 0);
    block(&["off", "--purge"]).ok();
    assert_udp(&veth, BLOCKED, 5);
    assert_eq!(sandbox.pins(), [""; 0]);
}

#[test]
fn a_load_makes_a_set_equal_to_its_files() {
    let (sandbox, veth) = need!(blocked_pair(&[]));
    let first = file(&sandbox, "first", "# netset\n192.0.2.77\n10.0.0.0/8 ; SBL1\n\n198.51.100.7/24\n");
    let second = file(&sandbox, "second", "{\"cidr\":\"192.0.2.78/32\"}\n10.0.0.0/8\n10.0.0.0/8\n");
    block(&["load", &first, "--name", "drop", "--dry-run"])
        .ok()
        .stdout_has("drop: would have added 3, kept 0, removed 0\n");
    assert!(listed().is_empty());
    block(&["load", &first, "--name", "drop"])
        .ok()
        .stdout_has("drop: added 3, kept 0, removed 0\n")
        .stderr_has("1 prefixes had host bits set");
    assert_udp(&veth, BLOCKED, 0);
    block(&["load", &second, "--name", "drop"]).ok().stdout_has("drop: added 1, kept 1, removed 2\n");
    assert_udp(&veth, BLOCKED, 5);
    assert_udp(&veth, OTHER, 0);
    assert_eq!(listed(), ["10.0.0.0/8 drop", "192.0.2.78 drop"]);
}

#[test]
fn what_two_sets_hold_stays_until_both_let_go() {
    let (sandbox, veth) = need!(blocked_pair(&[]));
    let list = file(&sandbox, "list", "192.0.2.77\n");
    for set in ["a", "b"] {
        block(&["load", &list, "--name", set]).ok();
    }
    assert_eq!(listed(), ["192.0.2.77 a,b"]);
    let empty = file(&sandbox, "empty", "# nothing\n");
    block(&["load", &empty, "--name", "a", "--force"]).ok().stdout_has("a: added 0, kept 0, removed 1\n");
    assert_eq!(listed(), ["192.0.2.77 b"]);
    assert_udp(&veth, BLOCKED, 0);
    refused(&["block", "del", "192.0.2.77", "--name", "a"], 1, &["not in the set a: 192.0.2.77"]);
    block(&["del", "192.0.2.77", "--name", "b"]).ok();
    assert_udp(&veth, BLOCKED, 5);
}

#[test]
fn what_is_saved_can_be_loaded_again() {
    let (sandbox, _veth) = need!(blocked_pair(&[]));
    block(&["add", "192.0.2.77", "2001:db8:1::/48"]).ok();
    block(&["add", "192.0.2.77", "10.0.0.0/8", "--name", "other"]).ok();
    block(&["add", "198.51.100.1", "--ttl", "1h"]).ok();
    block(&["allow", "add", "192.0.2.2"]).ok();
    let saved = sandbox.scratch().join("saved");
    let saved = saved.to_str().unwrap();
    assert_eq!(block(&["save", saved]).ok().stdout(), "saved 4 rules\n");
    let before = listed();
    block(&["off", "--purge"]).ok();
    block(&["on", NEAR]).ok();
    block(&["load", saved, "--dry-run"]).ok().stdout_has("exceptions: would have added 1\n");
    block(&["load", saved]).ok().stdout_has("exceptions: added 1\n");
    let without_time = |lines: Vec<String>| -> Vec<String> {
        lines.iter().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
    };
    assert_eq!(without_time(listed()), without_time(before));
    block(&["list", "198.51.100.1"]).ok().stdout_has("left\n");
    assert_eq!(block(&["allow", "list"]).ok().stdout(), "192.0.2.2\n");
}

#[test]
fn the_rule_that_counts_is_the_one_that_is_told() {
    let (_sandbox, _veth) = need!(blocked_pair(&["--max-rules", "64"]));
    // The longer one has a length of its own, for which packets ask last.
    block(&["add", "2001:db8:7::/64", "2001:db8:7::/96"]).ok();
    block(&["test", "2001:db8:7::1"]).ok().stdout_has("is dropped by 2001:db8:7::/64 in default");
    block(&["del", "2001:db8:7::/64"]).ok();
    block(&["test", "2001:db8:7::1"]).ok().stdout_has("is dropped by 2001:db8:7::/96 in default");
}

#[test]
fn each_set_is_saved_with_its_own_time() {
    let (_sandbox, _veth) = need!(blocked_pair(&["--max-rules", "64"]));
    block(&["add", "192.0.2.77", "--name", "a", "--ttl", "10m"]).ok();
    block(&["add", "192.0.2.77", "--name", "b"]).ok();
    let saved = block(&["save", "-"]).ok().stdout().to_owned();
    let lines: Vec<_> = saved.lines().collect();
    assert!(lines[0].starts_with("add a 192.0.2.77 timeout "), "{saved}");
    assert_eq!(lines[1..], ["add b 192.0.2.77"]);
}

#[test]
fn saving_replaces_files_and_nothing_else() {
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "64"]));
    block(&["add", "192.0.2.77"]).ok();
    let rules = "add default 192.0.2.77\n";
    assert_eq!(block(&["save", "-"]).ok().stdout(), rules);
    assert_eq!(block(&["save", "/dev/stdout"]).ok().stdout(), rules);
    // A file is replaced wherever it is; what lies beside it under a likely name is nobody's business.
    let shared = format!("/dev/shm/xdpload-saved-{}", std::process::id());
    for before in ["", "add default 192.0.2.78\n"] {
        if !before.is_empty() {
            fs::write(&shared, before).unwrap();
        }
        block(&["save", &shared]).ok();
        assert_eq!(fs::read_to_string(&shared).unwrap(), rules);
    }
    fs::remove_file(&shared).unwrap();
    let beside = file(&sandbox, "saved.new", "of another");
    block(&["save", sandbox.scratch().join("saved").to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(beside).unwrap(), "of another");
    let device = sandbox.scratch().join("null");
    run(&mut command("mknod", &[device.to_str().unwrap(), "c", "1", "3"])).ok();
    block(&["save", device.to_str().unwrap()]).ok();
    assert!(fs::metadata(&device).unwrap().file_type().is_char_device());
    // A link goes on to name the file, which keeps its owner and its mode.
    let saved = file(&sandbox, "saved", "before");
    chown(&saved, Some(1), Some(2)).unwrap();
    fs::set_permissions(&saved, fs::Permissions::from_mode(0o600)).unwrap();
    let link = sandbox.scratch().join("link");
    symlink("saved", &link).unwrap();
    block(&["save", link.to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(&saved).unwrap(), rules);
    let kept = fs::metadata(&saved).unwrap();
    assert_eq!((kept.uid(), kept.gid(), kept.mode() & 0o777), (1, 2, 0o600));
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    // So does one to a file that is yet to be written, by way of another.
    fs::remove_file(&saved).unwrap();
    let far = sandbox.scratch().join("far");
    symlink(&link, &far).unwrap();
    block(&["save", far.to_str().unwrap()]).ok();
    assert_eq!(fs::read_to_string(&saved).unwrap(), rules);
    assert!([&link, &far].iter().all(|link| fs::symlink_metadata(link).unwrap().is_symlink()));
    let circle = sandbox.scratch().join("circle");
    symlink("circle", &circle).unwrap();
    refused(&["block", "save", circle.to_str().unwrap()], 1, &["readlink(2) for `", "(ELOOP)"]);
    let words = "open(2) for `/nowhere/rules` failed: No such file or directory (ENOENT)";
    refused(&["block", "save", "/nowhere/rules"], 1, &[words]);
}

#[test]
fn a_rule_ends_by_itself_and_the_next_writer_sweeps_it() {
    let (_sandbox, veth) = need!(blocked_pair(&[]));
    block(&["add", "192.0.2.77", "--ttl", "1ms"]).ok();
    // Its time is over as soon as the clock of the program moves on.
    while !listed().is_empty() {}
    assert_udp(&veth, BLOCKED, 5);
    let rules = || command_json(&["map", "dump", "pinned", "/sys/fs/bpf/xdpload/block/holds"]);
    assert_eq!(rules(), 1);
    block(&["add", "192.0.2.78"]).ok();
    assert_eq!(rules(), 0);
    // One that two commands hold stays for as long as the longer of them.
    block(&["add", "192.0.2.77", "--ttl", "1h"]).ok();
    block(&["add", "192.0.2.77", "--name", "good"]).ok();
    assert_eq!(listed()[0], "192.0.2.77 default,good");
    block(&["del", "192.0.2.77", "--name", "good"]).ok();
    block(&["list", "192.0.2.77"]).ok().stdout_has("left\n");
    assert_udp(&veth, BLOCKED, 0);
}

/// These lengths are those that packets look for in one tree, where the longest is found first.
#[test]
fn a_wider_rule_goes_on_however_many_within_it_have_ended() {
    let (_sandbox, veth) = need!(blocked_pair(&["--max-rules", "64"]));
    let within: Vec<_> = (65..96).map(|length| format!("2001:db8::/{length}")).collect();
    let within: Vec<_> = within.iter().map(String::as_str).collect();
    let add = |prefixes: &[&str], ttl: &[&str]| block(&[&["add", "--force"], prefixes, ttl].concat()).ok();
    add(&within, &["--ttl", "1ms"]);
    while !listed().is_empty() {}
    assert_udp(&veth, FAR_V6, 5);
    // Whichever is added first.
    for (first, then) in [(true, false), (false, true)] {
        let wider: &[&str] = &["2001:db8::/33", "2001:db8::/63"];
        if first {
            add(wider, &[]);
        }
        add(&within, &["--ttl", "1ms"]);
        if then {
            add(wider, &[]);
        }
        while listed().len() != 2 {}
        assert_udp(&veth, FAR_V6, 0);
        block(&["test", "2001:db8::2"]).ok().stdout_has("is dropped by 2001:db8::/63 in default");
        block(&["list", "--hits"]).ok().stdout_has("2001:db8::/63 default 5 packets");
        // What has ended is taken out, and leads nobody to a rule that is gone.
        block(&["del", "2001:db8::/63"]).ok();
        assert_udp(&veth, FAR_V6, 0);
        block(&["test", "2001:db8::2"]).ok().stdout_has("is dropped by 2001:db8::/33 in default");
        block(&["del", "2001:db8::/33"]).ok();
        assert_udp(&veth, FAR_V6, 5);
    }
    // The wider one is given a time, goes and comes back, while those within it are there.
    add(&["2001:db8::/69", "2001:db8::/68"], &["--ttl", "1h"]);
    add(&["2001:db8::/67", "2001:db8::/66"], &[]);
    add(&["2001:db8::/70", "2001:db8::/71", "2001:db8::/72"], &["--ttl", "1ms"]);
    block(&["del", "2001:db8::/67"]).ok();
    while listed().len() != 3 {}
    block(&["test", "2001:db8::2"]).ok().stdout_has("is dropped by 2001:db8::/66 in default");
    assert_udp(&veth, FAR_V6, 0);
}

/// A command that is killed between two writes leaves such a rule.
#[test]
fn a_rule_that_leads_past_another_is_mended() {
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "64"]));
    block(&["add", "2001:db8:7::/65", "2001:db8:7::/66"]).ok();
    block(&["add", "2001:db8:7::/67", "2001:db8:7::/68", "--ttl", "1h"]).ok();
    let saved = sandbox.scratch().join("saved");
    let saved = saved.to_str().unwrap();
    block(&["save", saved]).ok();
    let trie = Map::open_pinned("/sys/fs/bpf/xdpload/block/trie6").unwrap();
    let address = "2001:db8:7::".parse::<std::net::Ipv6Addr>().unwrap();
    let key = |length: u32| [&length.to_ne_bytes()[..], &address.octets()].concat();
    let next = |length: u32| trie.lookup(&key(length)).unwrap().unwrap().single().unwrap()[24..].to_vec();
    let right = [66_u32, 0].map(u32::to_ne_bytes).concat();
    for words in [&["add", "2001:db8:7::/66"][..], &["load", saved], &["del", "2001:db8:7::/65"]] {
        assert_eq!([next(67), next(68)], [&*right, &*right]);
        let mut value = trie.lookup(&key(68)).unwrap().unwrap().single().unwrap().to_vec();
        value[24..].fill(0);
        trie.update(&key(68), &value, UpdateFlags::ANY).unwrap();
        block(words).ok();
    }
    assert_eq!(next(68), right);
}

/// After each write of a command that may be the last one, packets find what is listed, whatever ends then.
#[test]
fn what_is_killed_leaves_no_rule_that_packets_do_not_find() {
    need!(tool("strace"));
    let (sandbox, veth) = need!(blocked_pair(&["--max-rules", "64"]));
    let trie = Map::open_pinned("/sys/fs/bpf/xdpload/block/trie6").unwrap();
    // Has the rule end now that ends first, if one does.
    let end_first = || {
        let end_of = |value: &[u8]| u32::from_ne_bytes(value[16..20].try_into().unwrap());
        let entries = trie.entries().map(|entry| entry.unwrap());
        let rules = entries.map(|entry| (entry.key, entry.value.single().unwrap().to_vec()));
        let (key, mut value) =
            rules.filter(|(_, value)| end_of(value) > 1).min_by_key(|(_, value)| end_of(value))?;
        value[16..20].copy_from_slice(&1_u32.to_ne_bytes());
        trie.update(&key, &value, UpdateFlags::ANY).ok()
    };
    let make = |rules: &[(u32, &str)]| {
        block(&["load", "/dev/null", "--force"]).ok();
        for (length, time) in rules {
            block(&["add", &format!("2001:db8::/{length}"), "--ttl", time, "--force"]).ok();
        }
    };
    // What is there, and a command: what comes or goes is wider than a rule that ends before it, or lies in it.
    let (narrow, both) = ([(70, "1h"), (67, "2h")], [(70, "1h"), (67, "2h"), (66, "4h"), (68, "3h")]);
    let cases = [
        (&narrow[..], "add 2001:db8::/66 --force"),
        (&narrow, "add 2001:db8::/68 --ttl 3h --force"),
        (&narrow, "add 2001:db8::/66 2001:db8::/68 2001:db8::/69 --ttl 3h --force"),
        (&both, "add 2001:db8::/68 --ttl 5h --force"),
        (&both, "del 2001:db8::/66"),
        (&both[..3], "del 2001:db8::/66"),
        (&both, "del 2001:db8::/66 2001:db8::/68"),
    ];
    for (rules, words) in cases {
        let words: Vec<_> = ["block"].into_iter().chain(words.split(' ')).collect();
        let command = xdpload_command(&words);
        make(rules);
        let calls = strace::trace(&sandbox, "bpf", &command).1;
        let is_write = |call: &&(usize, &str)| {
            ["UPDATE", "DELETE"].iter().any(|word| call.1.contains(&format!("BPF_MAP_{word}")))
        };
        let calls: Vec<_> = calls.iter().map(|call| call.arguments.as_str()).enumerate().collect();
        for (at, _) in calls.iter().filter(is_write) {
            make(rules);
            let nth = u32::try_from(at + 1).unwrap();
            let fault = strace::Fault { call: "bpf", errno: "ENOMEM:signal=KILL", nth: (nth, nth) };
            strace::trace_with_fault(&sandbox, "bpf", fault, &command);
            while {
                let (rules, test) = (listed(), block(&["test", "2001:db8::2"]));
                let is_found = test.stdout().contains("is dropped by");
                assert_eq!(is_found, !rules.is_empty(), "{words:?}, call {nth}: {rules:?}");
                end_first().is_some()
            } {}
            assert_udp(&veth, FAR_V6, if listed().is_empty() { 5 } else { 0 });
        }
    }
}

/// How many entries bpftool dumps.
fn command_json(words: &[&str]) -> usize {
    crate::peers::bpftool(words).as_array().expect("bpftool dumps a list").len()
}

#[test]
fn what_still_blocks_an_address_is_told() {
    let (sandbox, _veth) = need!(blocked_pair(&[]));
    block(&["add", "198.51.100.0/24"]).ok();
    refused(
        &["block", "del", "198.51.100.5"],
        1,
        &[
            "error: not blocked by a rule of its own: 198.51.100.5",
            "198.51.100.5 is still blocked by 198.51.100.0/24 in default",
            "help: `xdpload block allow add 198.51.100.5` lets it pass",
        ],
    );
    refused(&["block", "del", "203.0.113.5"], 1, &["error: not blocked: 203.0.113.5"]);
    refused(
        &["block", "del", "198.51.100.0/24", "--name", "feed"],
        1,
        &[
            "error: not in the set feed: 198.51.100.0/24",
            "198.51.100.0/24 is still blocked by 198.51.100.0/24 in default",
            "help: `xdpload block del 198.51.100.0/24` deletes it from all sets",
        ],
    );
    let list = file(&sandbox, "list", "198.51.100.5\n203.0.113.5\n");
    block(&["load", &list, "--name", "feed"]).ok();
    let deleted = block(&["del", "198.51.100.5", "203.0.113.5"]).ok();
    assert_eq!(deleted.stderr(), "note: 198.51.100.5 is still blocked by 198.51.100.0/24 in default\n");

    block(&["allow", "add", "198.51.100.0/24", "198.51.100.6"]).ok();
    block(&["allow", "del", "198.51.100.6"])
        .ok()
        .stderr_has("198.51.100.6 is still allowed by 198.51.100.0/24");
    refused(
        &["block", "allow", "del", "198.51.100.6"],
        1,
        &["not allowed by a rule of its own: 198.51.100.6"],
    );
}

#[test]
fn another_time_is_told_beside_the_one_before() {
    let (_sandbox, _veth) = need!(blocked_pair(&[]));
    block(&["add", "198.51.100.7"]).ok();
    let changed =
        |words: &[&str]| block(&[&["add", "198.51.100.7"], words].concat()).ok().stdout().to_owned();
    let limited = changed(&["--ttl", "1.5h"]);
    assert!(limited.starts_with("changed 198.51.100.7: ends in 1h30m, before: never"), "{limited}");
    let for_good = changed(&[]);
    assert!(for_good.starts_with("changed 198.51.100.7: ends never, before: in 1h"), "{for_good}");
    assert_eq!(changed(&["--name", "other"]), "changed 198.51.100.7\n");
    refused(&["block", "add", "198.51.100.8", "--ttl", "0"], 2, &["a rule for no time would end at once"]);
}

/// Whether `block list` has an address for ten minutes, of which some may have gone.
fn is_ten_minutes(list: &str, address: &str) -> bool {
    ["9m", "10m"].iter().any(|left| list.contains(&format!("{address} default {left}")))
}

/// Containers may have one, whose clock is another than that of the packet program.
#[test]
fn a_time_namespace_has_no_say_in_how_long_a_rule_stays() {
    need!(tool("unshare"));
    let (_sandbox, veth) = need!(blocked_pair(&[]));
    block(&["add", &BLOCKED.to_string(), "--ttl", "10m"]).ok();
    // No clock goes below zero.
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: u64 = uptime.split('.').next().unwrap().parse().unwrap();
    for offset in ["3600".to_owned(), format!("-{}", uptime.saturating_sub(10))] {
        let inside = |words: &str| {
            let words = ["--time", "--monotonic", &offset, env!("CARGO_BIN_EXE_xdpload"), "block"]
                .into_iter()
                .chain(words.split(' '));
            run(&mut command("unshare", &words.collect::<Vec<_>>())).ok()
        };
        let inside_it = inside("list").stdout().to_owned();
        assert!(is_ten_minutes(&inside_it, "192.0.2.77"), "{offset}: {inside_it}");
        inside("add 198.51.100.7 --ttl 10m");
        let list = listed().join("\n");
        assert!(is_ten_minutes(&list, "198.51.100.7"), "{offset}: {list}");
        block(&["del", "198.51.100.7"]).ok();
    }
    assert_udp(&veth, BLOCKED, 0);
}

#[test]
fn standard_input_is_read_as_a_list() {
    let (_sandbox, veth) = need!(blocked_pair(&["--max-rules", "64"]));
    let piped = |text: &str, words: &str| {
        let words = format!("printf '{text}' | {} block {words}", env!("CARGO_BIN_EXE_xdpload"));
        run(&mut command("sh", &["-c", &words]))
    };
    let added =
        piped("# mine\\n192.0.2.77\\n10.1.2.3/8\\nadd x 198.51.100.7 timeout 90\\n", "add - --ttl 1d").ok();
    assert_eq!(added.stdout(), "added 192.0.2.77\nadded 10.0.0.0/8\nadded 198.51.100.7\n");
    added
        .stderr_has("note: standard input: 1 prefixes had host bits set, which were cleared\n")
        .stderr_has("note: standard input names sets, which only `block load` goes by\n");
    assert_udp(&veth, BLOCKED, 0);
    // Each has its own time, else that of the command line.
    let left = answer(&["block", "list"]);
    let left: Vec<_> =
        left["rules"].as_array().unwrap().iter().map(|rule| number(&rule["seconds_left"])).collect();
    assert!(left[0] > 86_000 && left[1] > 86_000 && left[2] <= 92, "{left:?}");
    for words in ["add -", "del -", "allow add -"] {
        let ran = piped("192.0.2.77\\nbanana\\n", words).fails(1).stderr_has("line 2: `banana`");
        // `load` alone has it, and makes the set equal to the list.
        assert!(!ran.stderr().contains("--skip-bad"), "{}", ran.report());
    }
    piped("allow 192.0.2.77\\n", "add -").fails(2).stderr_has("`standard input` makes exceptions");
    let timed = piped("192.0.2.77\\nadd x 192.0.2.78 timeout 90\\n", "allow add -").fails(2);
    timed.stderr_has("`standard input` gives 192.0.2.78 a time, but exceptions have none");
    assert_eq!(block(&["allow", "list"]).ok().stdout(), "");
    piped("# none\\n", "add -").ok().stderr_has("note: standard input lists no prefix\n");
    for (text, words) in
        [("", "`standard input` is empty"), ("banana\\n", "`standard input`, line 1: `banana`: ")]
    {
        drop(piped(text, "load -").stderr_has(words));
    }
    let skipped = piped("10.9.9.9/24\\nbanana\\n", "load - --name it --skip-bad").ok();
    skipped
        .stderr_has("skipped: standard input, line 2: ")
        .stderr_has("note: standard input: 1 prefixes had host");
    block(&["del", "10.9.9.0/24"]).ok();
    piped("192.0.2.77\\n10.0.0.0/8\\n", "del -").ok();
    assert_udp(&veth, BLOCKED, 5);
    piped("allow 192.0.2.2\\n192.0.2.3\\n", "allow add -").ok();
    assert_eq!(block(&["allow", "list"]).ok().stdout(), "192.0.2.2\n192.0.2.3\n");
}

#[test]
fn a_feed_is_followed_line_by_line() {
    let (sandbox, veth) = need!(blocked_pair(&[]));
    let feed = file(
        &sandbox,
        "feed",
        "add 192.0.2.78 1h\n{\"action\":\"add\",\"value\":\"192.0.2.77\",\"duration\":\"4h\"}\nbanana\nadd 192.0.2.1\n\
         del 192.0.2.78\ndel 192.0.2.99\nadd 10.1.2.3/8\nadd 11.0.0.0/8 1h too\n",
    );
    let words = format!("{} block sync - --name feed < {feed}", env!("CARGO_BIN_EXE_xdpload"));
    let ran = run(&mut command("sh", &["-c", &words])).fails(1);
    assert_eq!(
        ran.stdout(),
        "added 192.0.2.78\nadded 192.0.2.77\ndeleted 192.0.2.78\nunchanged 192.0.2.99\nadded 10.0.0.0/8\n"
    );
    let ran = ran.stderr_has("line 3: `banana`: expected add or del");
    let ran =
        ran.stderr_has("line 4: refused, nothing was changed: 192.0.2.1 is an address of this host (near0)");
    let ran = ran.stderr_has("note: line 7: host bits were set, it is taken as 10.0.0.0/8\n");
    let ran = ran.stderr_has("line 8: `add 11.0.0.0/8 1h too`: there is no place for `too`");
    ran.stderr_has("3 lines failed; 4 changes were made");
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, OTHER, 5);
}

#[test]
fn a_large_mtu_takes_the_program_for_several_buffers() {
    let (_sandbox, veth) = need!(pair(&["bpftool"]));
    need!(crate::requirement::kernel((6, 3), "native XDP with multi-buffer packets on veth"));
    veth.set_mtu(9000);
    block(&["on", NEAR]).ok();
    assert!(Path::new("/sys/fs/bpf/xdpload/block/xdp_blocklist_frags").exists());
    block(&["add", "192.0.2.77"]).ok();
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, OTHER, 5);
}

/// The packets of a veth are as long as its peer makes them, wherever that is.
#[test]
fn a_large_mtu_of_a_peer_takes_the_program_for_several_buffers_too() {
    let (_sandbox, veth) = need!(pair(&["bpftool"]));
    need!(crate::requirement::kernel((6, 3), "native XDP with multi-buffer packets on veth"));
    let frags = Path::new("/sys/fs/bpf/xdpload/block/xdp_blocklist_frags");
    let mtu = ["link", "set", FAR, "mtu", "9000"];
    veth.far.run(|| run(&mut command("ip", &mtu)).ok());
    // Generic mode takes any packet with either.
    block(&["on", NEAR, "--mode=generic"]).ok();
    assert!(!frags.exists());
    block(&["off", NEAR]).ok();
    block(&["on", NEAR]).ok().stdout_has("near0 in native mode");
    assert!(frags.exists());
    block(&["add", "192.0.2.77"]).ok();
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, OTHER, 5);
    block(&["off", "--purge"]).ok();

    run(&mut command("ip", &["link", "add", "two0", "type", "veth", "peer", "name", "two1"])).ok();
    run(&mut command("ip", &["link", "set", "two1", "mtu", "9000"])).ok();
    block(&["on", "two0"]).ok().stdout_has("two0 in native mode");
    assert!(frags.exists());
}

/// What is loaded once serves all interfaces, and one that comes later loads nothing.
#[test]
fn eight_interfaces_have_one_program() {
    need!(tool("strace"));
    let (sandbox, _veth) = need!(pair(&["bpftool"]));
    let names: Vec<_> = (1..=8).map(|number| format!("wan{number}")).collect();
    for name in &names {
        let words = ["link", "add", name, "type", "veth", "peer", "name", &format!("peer-{name}")];
        run(&mut command("ip", &words)).ok();
    }
    let loads = |words: &[&str]| {
        let on = xdpload_command(&[&["block", "on"], words].concat());
        let (ran, calls) = strace::trace(&sandbox, "bpf", &on);
        ran.ok();
        let loads = calls
            .iter()
            .filter(|call| call.arguments.starts_with("BPF_PROG_LOAD") && !call.result.starts_with("-1"));
        let makes = calls.iter().filter(|call| call.arguments.starts_with("BPF_MAP_CREATE"));
        (loads.count(), makes.count() > 0)
    };
    let first: Vec<_> = names[..7].iter().map(String::as_str).chain(["--max-rules", "64"]).collect();
    assert_eq!(loads(&first), (1, true));
    assert_eq!(loads(&[NEAR, &names[7]]), (0, false));
    let program = |name: &str| attached_by_ip(name).expect("it is on").id;
    assert!(names.iter().all(|name| program(name) == program(NEAR)));
    block(&["off", "--purge"]).ok();
    assert!(names.iter().all(|name| attached_by_ip(name).is_none()));
}

/// Kernels before 5.5 refuse the flag by which an array can be mapped.
#[test]
fn arrays_that_cannot_be_mapped_are_filled_and_read_by_calls() {
    let (sandbox, veth) = need!(pair(&["bpftool", "strace"]));
    let on = xdpload_command(&["block", "on", NEAR, "--max-rules", "4000"]);
    let creating = |call: &strace::Call| call.arguments.contains("BPF_MAP_CREATE");
    let mappable = |call: &strace::Call| creating(call) && call.arguments.contains("BPF_F_MMAPABLE");
    let (ran, calls) = strace::trace(&sandbox, "bpf", &on);
    ran.ok();
    block(&["off", "--purge"]).ok();
    let at = |call: Option<usize>| u32::try_from(call.expect("it asks for one") + 1).expect("few calls");
    let first = at(calls.iter().position(mappable));
    let fault = |last| strace::Fault { call: "bpf", errno: "EINVAL", nth: (first, last) };
    // Every call is refused from the first such map until it is not asked for any more.
    let (_, refused) = strace::trace_with_fault(&sandbox, "bpf", fault(first + 100), &on);
    let last = at(refused.iter().rposition(mappable));
    let (ran, calls) = strace::trace_with_fault(&sandbox, "bpf", fault(last), &on);
    ran.ok();
    let taken = calls.iter().filter(|call| mappable(call) && !call.result.starts_with('-'));
    assert_eq!(taken.count(), 0);
    let rules: Vec<_> = (0..3000).map(|number| format!("198.18.{}.{}", number / 250, number % 250)).collect();
    let list = file(&sandbox, "list", format!("{}\n{BLOCKED}\n", rules.join("\n")));
    block(&["load", &list]).ok().stdout_has("default: added 3001, kept 0, removed 0\n");
    assert_eq!(listed().len(), 3001);
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, OTHER, 5);
}

#[test]
fn a_long_list_shows_how_far_it_is_on_a_terminal() {
    need!(tool("script"));
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "150000"]));
    let text = |lines: u32| -> String {
        let line = |at| format!("{}\n", Ipv4Addr::from(0x0a00_0000 + at));
        (0..lines).map(line).collect::<Vec<_>>().concat()
    };
    let load = |name: &str, lines| {
        let list = file(&sandbox, name, text(lines));
        let words = format!("{} block load {list}", env!("CARGO_BIN_EXE_xdpload"));
        let mut terminal = command("script", &["--quiet", "--return", "--command", &words, "/dev/null"]);
        run(terminal.env("TERM", "xterm").env_remove("NO_COLOR")).ok()
    };
    let long = load("long", 120_000);
    assert!(long.stdout().contains("% ") && long.stdout().contains("0 lines"), "{}", long.report());
    assert!(long.stdout().contains("default: added 120000"), "{}", long.report());
    let short = load("short", 1000);
    assert_eq!(short.stdout(), "default: added 0, kept 1000, removed 119000\r\n");
    // Where nobody looks, nothing moves.
    let list = sandbox.scratch().join("long");
    assert_eq!(block(&["load", list.to_str().unwrap()]).ok().stderr(), "");
}
