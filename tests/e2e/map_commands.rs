//! `xdpload map`: each way to name a map and to write keys and values, on maps that bpftool and the library make.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use loader::map::Map;
use loader::pin::{BPFFS_ROOT, lock, mount_bpffs};

use crate::bench::refused;
use crate::command::{Ran, command, run};
use crate::edit::Edit;
use crate::objects::object;
use crate::peers::{bpftool, number};
use crate::requirement::{Missing, kernel, tool};
use crate::sandbox::Sandbox;
use crate::strace::trace;
use crate::veth::{NEAR, pair, wait_for};
use crate::xdpload::{answer, waits_for_a_lock, xdpload, xdpload_command};

/// Where the map of a test is pinned.
pub(crate) const PIN: &str = "/sys/fs/bpf/map";

/// A sandbox with a pinned map: `shape` is its type, the sizes of a key and of a value, its entries and its flags.
pub(crate) fn map(shape: &str) -> Result<Sandbox, Missing> {
    tool("bpftool")?;
    let sandbox = Sandbox::new()?;
    create(PIN, shape);
    Ok(sandbox)
}

pub(crate) fn create(pin: &str, shape: &str) {
    let words: Vec<_> = shape.split(' ').collect();
    let [kind, key, value, entries, flags] = words[..] else { panic!("five words, not {shape}") };
    let text = format!(
        "map create {pin} type {kind} key {key} value {value} entries {entries} name m flags {flags}"
    );
    bpftool(&text.split(' ').collect::<Vec<_>>());
}

/// `xdpload map` with these words.
pub(crate) fn on_map(words: &[&str]) -> Ran {
    xdpload(&[&["map"], words].concat())
}

/// What `map get` prints, whole.
#[track_caller]
fn get(key: &str, options: &[&str]) -> String {
    on_map(&[&["get", PIN, key], options].concat()).ok().stdout().to_owned()
}

/// What `map dump` prints, by lines.
#[track_caller]
pub(crate) fn dump(options: &[&str]) -> BTreeSet<String> {
    let ran = on_map(&[&["dump", PIN], options].concat()).ok();
    ran.stdout().lines().map(str::to_owned).collect()
}

pub(crate) fn lines<const N: usize>(lines: [&str; N]) -> BTreeSet<String> {
    lines.map(str::to_owned).into()
}

/// An attach that copies maps has the lock of the bpffs that it was given.
#[test]
fn changes_wait_for_whoever_copies_maps() {
    let sandbox = need!(map("hash 4 4 8 0"));
    let other = sandbox.scratch().join("bpf");
    fs::create_dir(&other).expect("the sandbox is writable");
    mount_bpffs(&other).expect("root may mount");
    let bpffs = format!("--bpffs={}", other.display());
    let usual = Path::new(BPFFS_ROOT);
    for (words, root, before, after) in [
        (&["set", PIN, "1", "7"][..], usual, "", "1: 7\n"),
        (&["set", PIN, "1", "8", &bpffs], &other, "1: 7\n", "1: 8\n"),
        (&["delete", PIN, "1", &bpffs], &other, "1: 8\n", ""),
    ] {
        let lock = lock(root).expect("root may open it");
        let mut command = xdpload_command(&[&["map"], words].concat());
        let mut child = command.stdout(Stdio::null()).spawn().expect("the program starts");
        wait_for("the change to wait", || waits_for_a_lock(&child));
        assert_eq!(on_map(&["dump", PIN]).ok().stdout(), before, "{words:?}");
        drop(lock);
        assert!(child.wait().expect("it ends").success(), "{words:?}");
        assert_eq!(on_map(&["dump", PIN]).ok().stdout(), after, "{words:?}");
    }
}

#[test]
fn a_map_is_named_by_pin_by_id_and_by_interface() {
    let (_sandbox, _veth) = need!(pair(&["bpftool"]));
    xdpload(&["attach", NEAR, &object("blacklist"), "--pin-map", &format!("blacklist={PIN}")]).ok();
    let id = number(&bpftool(&["map", "show", "pinned", PIN])["id"]).to_string();
    let by_interface = format!("{NEAR}:blacklist");
    let index = fs::read_to_string(format!("/sys/class/net/{NEAR}/ifindex")).expect("the interface is there");
    let by_index = format!("{}:blacklist", index.trim());
    for (value, name) in [("1", PIN), ("2", &*id), ("3", &*by_interface), ("4", &*by_index)] {
        on_map(&["set", name, "192.0.2.1", value]).ok();
        assert_eq!(get("192.0.2.1", &[]), format!("{value}\n"));
    }
    let list = on_map(&["list"]).ok();
    let row = list.stdout().lines().find(|row| row.trim_start().starts_with(&format!("{id} ")));
    let words: Vec<_> = row.unwrap_or_default().split_whitespace().collect();
    assert_eq!(words, [&*id, "blacklist", "hash", "4", "4", "65536", "0"], "{}", list.report());

    let words = "no program on `near0` has a map `whitelist`: the maps there are `blacklist`";
    refused(&["map", "dump", &format!("{NEAR}:whitelist")], 1, &[words]);
    refused(
        &["map", "dump", "blacklist"],
        2,
        &["`blacklist` does not name a map: expected a pin path, an id, or IF:NAME"],
    );
}

#[test]
fn the_maps_of_an_interface_are_listed_alone() {
    let (sandbox, _veth) = need!(pair(&[]));
    let elsewhere = sandbox.far("elsewhere");
    xdpload(&["attach", NEAR, &object("blacklist")]).ok();
    let listed = answer(&["map", "list", NEAR])["maps"].clone();
    assert_eq!((listed.as_array().map(Vec::len), &listed[0]["name"]), (Some(1), &"blacklist".into()));
    let elsewhere = elsewhere.path().to_str().expect("the path is printable");
    let listed = answer(&["map", "list", "1", "--netns", elsewhere]);
    assert_eq!(listed["maps"].as_array().map(Vec::len), Some(0));
    refused(&["map", "list", "nosuch0"], 1, &["nosuch0"]);
    refused(&["map", "list", "--netns", elsewhere], 2, &["`--netns` says where the interface is"]);
}

#[test]
fn names_that_the_kernel_cuts_alike_are_told_apart_by_id() {
    let (sandbox, _veth) = need!(pair(&["bpftool"]));
    let mut edit = Edit::of(&object("iproute2_ids"));
    edit.rename_symbol("shared", "fifteen_letters_and_one");
    edit.rename_symbol("outer", "fifteen_letters_and_two");
    xdpload(&["attach", NEAR, &edit.save(&sandbox)]).ok();
    let name = format!("{NEAR}:fifteen_letters_and_one");
    let refusal =
        refused(&["map", "dump", &name], 2, &["several maps on `near0` may be `fifteen_letters_and_one`"]);
    let (_, ids) = refusal.stderr().split_once("say which by its id: ").expect("the help names them");
    for id in ids.trim().split(", ") {
        on_map(&["dump", id]).ok();
    }
}

#[test]
fn keys_and_values_are_written_as_people_write_them() {
    let _sandbox = need!(map("hash 4 4 16 0"));
    for (key, value) in [("192.0.2.1", "7"), ("0", "0xff"), ("-1", "-2"), ("hex:0a000001", "hex:01000000")] {
        assert_eq!(on_map(&["set", PIN, key, value]).ok().stdout(), format!("set {key}\n"));
    }
    let le = |number: u32| number.to_le_bytes().map(|byte| format!("{byte:02x}")).concat();
    assert_eq!(
        dump(&["--key-format", "ipv4", "--value-format", "hex"]),
        [
            format!("192.0.2.1: hex:{}", le(7)),
            format!("0.0.0.0: hex:{}", le(255)),
            "255.255.255.255: hex:feffffff".to_owned(),
            "10.0.0.1: hex:01000000".to_owned(),
        ]
        .into()
    );
    assert_eq!(dump(&[]), lines(["16908480: 7", "0: 255", "4294967295: 4294967294", "16777226: 1"]));
    assert_eq!(get("10.0.0.1", &["--value-format", "dec"]), "1\n");
    assert_eq!(on_map(&["delete", PIN, "-1"]).ok().stdout(), "deleted -1\n");
    refused(&["map", "del", PIN, "-1"], 1, &["the map has no key `-1`"]);
    refused(&["map", "get", PIN, "192.0.2.9"], 1, &["the map has no key `192.0.2.9`"]);

    let misfits = [
        ("::1", "1", "`::1` cannot be the key: it has 16 bytes, and the map's key has 4"),
        ("4294967296", "1", "`4294967296` cannot be the key: it does not fit in 4 bytes"),
        ("1", "-2147483649", "`-2147483649` cannot be the value: it does not fit in 4 bytes"),
        ("1", "hex:00", "`hex:00` cannot be the value: it has 1 byte, and the map's value has 4"),
        ("1", "many", "`many` cannot be the value: expected a number, an address, or hex:BYTES"),
        ("hex:0", "1", "`hex:0` cannot be the key: expected pairs of hexadecimal digits"),
    ];
    for (key, value, words) in misfits {
        refused(&["map", "set", PIN, key, value], 2, &[words]);
    }
}

#[test]
fn addresses_of_other_sizes_are_keys_too() {
    let _sandbox = need!(map("hash 6 2 16 0"));
    on_map(&["set", PIN, "02:00:00:00:00:01", "0x102"]).ok();
    assert_eq!(dump(&["--key-format", "mac"]), lines(["02:00:00:00:00:01: 258"]));
    refused(
        &["map", "set", PIN, "1", "1"],
        2,
        &["a number fits in 1, 2, 4 or 8 bytes, not in 6; write hex:BYTES"],
    );

    let ipv6 = "/sys/fs/bpf/ipv6";
    create(ipv6, "hash 16 1 16 0");
    on_map(&["set", ipv6, "2001:db8::1", "1"]).ok();
    let dumped = on_map(&["dump", ipv6, "--key-format", "ipv6"]).ok();
    assert_eq!(dumped.stdout(), "2001:db8::1: 1\n");
}

#[test]
fn prefixes_are_the_keys_of_tries() {
    let _sandbox = need!(map("lpm_trie 8 4 16 1"));
    on_map(&["set", PIN, "192.0.2.0/24", "1"]).ok();
    on_map(&["set", PIN, "0.0.0.0/0", "2"]).ok();
    assert_eq!(dump(&[]), lines(["192.0.2.0/24: 1", "0.0.0.0/0: 2"]));
    // The longest prefix that fits answers.
    assert_eq!(get("192.0.2.77/32", &[]), "1\n");
    assert_eq!(get("198.51.100.1/32", &[]), "2\n");
    on_map(&["delete", PIN, "192.0.2.0/24"]).ok();
    assert_eq!(dump(&["--key-format", "hex"]), lines(["hex:0000000000000000: 2"]));
    refused(&["map", "set", PIN, "192.0.2.0/33", "1"], 2, &["expected ADDRESS/LENGTH"]);
    refused(&["map", "set", PIN, "2001:db8::/32", "1"], 2, &["it has 20 bytes, and the map's key has 8"]);
    for number in 0..15 {
        on_map(&["set", PIN, &format!("10.{number}.0.0/16"), "1"]).ok();
    }
    refused(&["map", "set", PIN, "10.99.0.0/16", "1"], 1, &["the map is full (16 entries)", "(ENOSPC)"]);
}

#[test]
fn writes_may_ask_for_a_new_or_an_existing_key() {
    let _sandbox = need!(map("hash 4 4 2 0"));
    let set = ["map", "set", PIN, "1", "7"];
    refused(
        &[&set[..], &["--existing"]].concat(),
        1,
        &["key `1`: there is no entry with this key", "(ENOENT)"],
    );
    xdpload(&[&set[..], &["--new"]].concat()).ok();
    refused(
        &[&set[..], &["--new"]].concat(),
        1,
        &["key `1`: there is an entry with this key already", "(EEXIST)"],
    );
    xdpload(&[&set[..], &["--existing"]].concat()).ok();
    refused(&[&set[..], &["--existing", "--new"]].concat(), 2, &["cannot be used with"]);
    on_map(&["set", PIN, "2", "7"]).ok();
    let words =
        ["key `3`: the map is full (2 entries): bpf(BPF_MAP_UPDATE_ELEM) for map `m` failed", "(E2BIG)"];
    refused(&["map", "set", PIN, "3", "7"], 1, &words);
    assert_eq!(dump(&[]), lines(["1: 7", "2: 7"]));
}

/// The kernel deletes what is not there without a word.
#[test]
fn what_a_map_of_interfaces_or_cpus_does_not_have_is_not_deleted() {
    let _sandbox = need!(map("devmap 4 4 4 0"));
    let cpus = "/sys/fs/bpf/cpus";
    create(cpus, "cpumap 4 4 1 0");
    for (pin, value) in [(PIN, "1"), (cpus, "64")] {
        refused(&["map", "delete", pin, "0"], 1, &["the map has no key `0`"]);
        on_map(&["set", pin, "0", value]).ok();
        assert_eq!(on_map(&["delete", pin, "0"]).ok().stdout(), "deleted 0\n");
    }
}

#[test]
fn values_of_all_cpus_are_summed_and_listed() {
    let _sandbox = need!(map("percpu_hash 4 8 16 0"));
    on_map(&["set", PIN, "0", "5"]).ok();
    let entry = answer(&["map", "get", PIN, "0"]);
    let cpus = entry["values"].as_array().expect("each CPU has a value").len();
    let sum = 5 * cpus;
    assert_eq!(entry["sum"], sum);
    let words = format!("{sum} (by CPU: {})", vec!["5"; cpus].join(" "));
    assert_eq!(get("0", &[]), format!("{words}\n"));
    assert_eq!(dump(&[]), BTreeSet::from([format!("0: {words}")]));
    let show = bpftool(&["map", "lookup", "pinned", PIN, "key", "0", "0", "0", "0"]);
    assert_eq!(show["values"].as_array().map(Vec::len), Some(cpus));

    // No sum of what is no number.
    let odd = "/sys/fs/bpf/odd";
    create(odd, "percpu_array 4 3 1 0");
    let dumped = on_map(&["dump", odd]).ok();
    assert_eq!(dumped.stdout(), format!("0: (by CPU: {})\n", vec!["hex:000000"; cpus].join(" ")));
}

#[test]
fn an_array_has_all_its_indices_and_keeps_them() {
    let _sandbox = need!(map("array 4 4 3 0"));
    on_map(&["set", PIN, "0", "7"]).ok();
    assert_eq!(on_map(&["dump", PIN]).ok().stdout(), "0: 7\n1: 0\n2: 0\n");
    refused(&["map", "get", PIN, "3"], 1, &["the map has no key `3`"]);
    refused(&["map", "set", PIN, "3", "1"], 1, &["there is no index 3: the map has 3 entries"]);
    refused(&["map", "delete", PIN, "0"], 1, &["the entries of an array cannot be deleted"]);
}

#[test]
fn what_has_no_keys_cannot_be_dumped() {
    let _sandbox = need!(map("queue 0 4 4 0"));
    refused(&["map", "dump", PIN], 2, &["a queue has no keys to walk"]);
    create("/sys/fs/bpf/ring", "ringbuf 0 0 4096 0");
    refused(&["map", "dump", "/sys/fs/bpf/ring"], 2, &["a ringbuf has no keys to walk"]);
    refused(&["map", "dump", "/sys/fs/bpf/ring", "--json"], 2, &["a ringbuf has no keys to walk"]);
}

#[test]
fn a_big_map_is_dumped_whole_and_in_bulk() {
    const ENTRIES: u32 = 100_000;
    need!(tool("strace"));
    need!(kernel((5, 6), "bulk reads of maps"));
    let sandbox = need!(map("hash 4 4 131072 0"));
    let keys: Vec<_> = (0..ENTRIES).map(u32::to_ne_bytes).collect();
    let map = Map::open_pinned(Path::new(PIN)).expect("the map is pinned");
    map.update_packed(&keys.concat(), &keys.concat()).expect("the map is big enough");

    let (ran, calls) = trace(&sandbox, "bpf", &xdpload_command(&["map", "dump", PIN]));
    let numbers: BTreeSet<u32> = ran.stdout().lines().map(number_of).collect();
    assert_eq!(ran.ok().stdout().lines().count(), keys.len());
    assert_eq!(numbers, (0..ENTRIES).collect());
    let count = |command| calls.iter().filter(|call| call.arguments.starts_with(command)).count();
    assert!((1..100).contains(&count("BPF_MAP_LOOKUP_BATCH")), "{}", count("BPF_MAP_LOOKUP_BATCH"));
    assert_eq!((count("BPF_MAP_GET_NEXT_KEY"), count("BPF_MAP_LOOKUP_ELEM")), (0, 0));

    let entries = answer(&["map", "dump", PIN]);
    assert_eq!(entries["entries"].as_array().map(Vec::len), Some(keys.len()));
    let program = xdpload_command::<&str>(&[]).get_program().to_string_lossy().into_owned();
    for form in ["", " --json"] {
        let pipe = format!("set -o pipefail; {program} map dump {PIN}{form} | head -n 1");
        let head = run(&mut command("bash", &["-c", &pipe])).ok();
        assert_eq!((head.stdout().lines().count(), head.stderr()), (1, ""), "{}", head.report());
    }
}

/// The number that is key and value of a line of a dump.
#[track_caller]
fn number_of(line: &str) -> u32 {
    let (key, value) = line.split_once(": ").expect("a line has a key and a value");
    assert_eq!(key, value);
    key.parse().expect("the key is a number")
}
