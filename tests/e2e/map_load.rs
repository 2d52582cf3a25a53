//! `xdpload map load`: files of entries, written whole and in bulk, or refused with the place and nothing changed.

use std::fs;

use loader::Map;

use crate::bench::refused;
use crate::command::{Ran, command, run};
use crate::map_commands::{PIN, create, dump, lines, map, on_map};
use crate::objects::object;
use crate::peers::bpftool;
use crate::requirement::{kernel, tool};
use crate::sandbox::Sandbox;
use crate::strace::trace;
use crate::veth::{NEAR, pair};
use crate::xdpload::{answer, xdpload, xdpload_command};

/// Writes `text` to a file of the sandbox, and gives its path.
fn file(sandbox: &Sandbox, text: impl AsRef<[u8]>) -> String {
    let path = sandbox.scratch().join("entries");
    fs::write(&path, text).expect("the directory is writable");
    path.to_str().expect("the path is printable").to_owned()
}

fn load(path: &str, options: &[&str]) -> Ran {
    load_into(PIN, path, options)
}

fn load_into(map: &str, path: &str, options: &[&str]) -> Ran {
    on_map(&[&["load", map, path], options].concat())
}

/// Asserts that loading `text` is refused for this reason, and that the map stays as it is.
#[track_caller]
fn refuses(sandbox: &Sandbox, text: impl AsRef<[u8]>, reason: &str) {
    let before = dump(&[]);
    let path = file(sandbox, text);
    refused(&["map", "load", PIN, &path], 1, &["nothing was changed: ", reason]);
    assert_eq!(dump(&[]), before);
}

#[test]
fn lines_become_entries() {
    let sandbox = need!(map("hash 4 4 8 0"));
    let text = "# addresses\n\n192.0.2.1 1\n\t192.0.2.2:  2\r\n192.0.2.1 3";
    assert_eq!(load(&file(&sandbox, text), &[]).ok().stdout(), "wrote 3 entries\n");
    assert_eq!(dump(&["--key-format=ipv4"]), lines(["192.0.2.1: 3", "192.0.2.2: 2"]));
    // As an editor on Windows writes it.
    assert_eq!(load(&file(&sandbox, "\u{feff}192.0.2.1 3\r\n"), &[]).ok().stdout(), "wrote 1 entry\n");
    let document = "\u{feff}{\"entries\": []}\r\n";
    assert_eq!(load(&file(&sandbox, document), &[]).ok().stdout(), "wrote 0 entries\n");
    // What is there stays, unless the file is to be all there is.
    let path = file(&sandbox, "192.0.2.3 4\n");
    load(&path, &[]).ok();
    assert_eq!(dump(&["--key-format=ipv4"]), lines(["192.0.2.1: 3", "192.0.2.2: 2", "192.0.2.3: 4"]));
    assert_eq!(load(&path, &["--exact"]).ok().stdout(), "wrote 1 entry, deleted 2\n");
    assert_eq!(dump(&["--key-format=ipv4"]), lines(["192.0.2.3: 4"]));
    for empty in ["", "# what failed\n\n"] {
        let path = file(&sandbox, empty);
        let words = format!("nothing was changed: `{path}` has no entries, so that --exact would delete all");
        refused(
            &["map", "load", PIN, &path, "--exact"],
            1,
            &[&words, "help: --force deletes them all the same"],
        );
        load(&path, &[]).ok().stdout_has("wrote 0 entries\n");
        assert_eq!(dump(&["--key-format=ipv4"]), lines(["192.0.2.3: 4"]));
    }
    let mut pipe = command("sh", &["-c", &format!("false | {} map load {PIN} - --exact", program())]);
    run(&mut pipe).fails(1).stderr_has("standard input has no entries");
    load(&file(&sandbox, ""), &["--exact", "--force"]).ok().stdout_has("wrote 0 entries, deleted 1");
    refused(&["map", "load", PIN, "-", "--force"], 2, &["--exact"]);
    // A document says that there are none.
    for empty in [r#"{"entries": []}"#, "[]"] {
        on_map(&["set", PIN, "1", "1"]).ok();
        load(&file(&sandbox, empty), &["--exact"]).ok().stdout_has("wrote 0 entries, deleted 1");
    }
    let mut pipe = command("sh", &["-c", &format!("echo 5 6 | {} map load {PIN} -", program())]);
    run(&mut pipe).ok();
    assert_eq!(dump(&[]), lines(["5: 6"]));
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_xdpload")
}

/// What is printed is read again, in each form, also by bpftool.
#[test]
fn a_dump_comes_back() {
    for (shape, keys, formats) in [
        ("hash 4 4 8 0", ["1", "hex:c0000201"], ["auto", "ipv4", "hex"]),
        ("hash 16 8 8 0", ["2001:db8::", "::1"], ["auto", "ipv6", "hex"]),
        ("hash 6 2 8 0", ["02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff"], ["auto", "mac", "hex"]),
        ("hash 3 1 8 0", ["hex:010203", "hex:000000"], ["auto", "dec", "hex"]),
        ("lpm_trie 8 4 8 1", ["10.0.0.0/8", "192.0.2.1/32"], ["auto", "prefix", "hex"]),
        ("lru_hash 4 4 8 0", ["1", "2"], ["auto", "dec", "hex"]),
    ] {
        let sandbox = need!(map(shape));
        for (key, value) in keys.iter().zip(["1", "2"]) {
            on_map(&["set", PIN, key, value]).ok();
        }
        let whole = dump(&[]);
        let json = on_map(&["dump", PIN, "--json"]).ok();
        let own = formats.map(|format| on_map(&["dump", PIN, &format!("--key-format={format}")]).ok());
        let theirs = run(&mut command("bpftool", &["map", "dump", "pinned", PIN, "--json", "--pretty"])).ok();
        for text in own.iter().chain([&json, &theirs]).map(Ran::stdout) {
            load(&file(&sandbox, ""), &["--exact", "--force"]).ok();
            assert!(dump(&[]).is_empty());
            load(&file(&sandbox, text), &["--exact"]).ok();
            assert_eq!(dump(&[]), whole, "{shape}: {text}");
        }
    }
}

#[test]
fn the_values_of_all_cpus_come_back() {
    let sandbox = need!(map("percpu_hash 4 8 8 0"));
    let map = Map::open_pinned(PIN).expect("it is pinned");
    let cpus = map.pack(&[0; 8]).expect("the size is right").len() / 8;
    let values: Vec<_> = (0..cpus as u64).map(|cpu| (cpu + 1).to_ne_bytes()).collect();
    let values: Vec<&[u8]> = values.iter().map(<[u8; 8]>::as_slice).collect();
    map.update_per_cpu(&[1, 0, 0, 0], &values, loader::UpdateFlags::ANY).expect("there is room");
    let whole = dump(&[]);
    let json = on_map(&["dump", PIN, "--json"]).ok();
    let theirs = run(&mut command("bpftool", &["map", "dump", "pinned", PIN, "--json"])).ok();
    for text in [json.stdout(), theirs.stdout()] {
        load(&file(&sandbox, ""), &["--exact", "--force"]).ok();
        load(&file(&sandbox, text), &[]).ok();
        assert_eq!(dump(&[]), whole);
    }
    load(&file(&sandbox, "2 7"), &["--exact"]).ok();
    assert_eq!(answer(&["map", "get", PIN, "2"])["sum"], 7 * cpus);
    let help = "`map dump --json` has each of them in a form that is read";
    if cpus > 1 {
        load(&file(&sandbox, on_map(&["dump", PIN]).ok().stdout()), &[]).fails(1).stderr_has(help);
    }
    refuses(
        &sandbox,
        r#"{"entries": [{"key": {"hex": "01000000"}, "values": []}]}"#,
        "an entry has no `value` at line 1 column 56",
    );
}

#[test]
fn entries_and_variables_are_read_by_type() {
    let (sandbox, _veth) = need!(pair(&["bpftool"]));
    xdpload(&["attach", NEAR, &object("typed_values")]).ok();
    let limits = format!("{NEAR}:limits");
    let key = r#"{"source": "192.0.2.1", "port": 80}"#;
    on_map(&["set", &limits, key, r#"{"name": "web: 1", "packets": 7, "offsets": [-5, 5]}"#]).ok();
    let whole = on_map(&["dump", &limits]).ok();
    load_into(&limits, &file(&sandbox, ""), &["--exact", "--force"]).ok();
    load_into(&limits, &file(&sandbox, whole.stdout()), &[]).ok().stdout_has("wrote 1 entry");
    assert_eq!(on_map(&["dump", &limits]).ok().stdout(), whole.stdout());

    let data = format!("{NEAR}:.data");
    let get = |name: &str| on_map(&["get", &data, name]).ok().stdout().trim_end().to_owned();
    let before = on_map(&["dump", &data]).ok();
    load_into(&data, &file(&sandbox, "limit.level: 3\nlimit.name a b\n"), &[])
        .ok()
        .stdout_has("wrote 2 entries");
    assert_eq!(
        (get("limit.level"), get("limit.name"), get("limit.packets")),
        ("3".into(), "a b".into(), "5".into())
    );
    load_into(&data, &file(&sandbox, "limit.level: 2\nlimit.level: 4\n"), &[])
        .fails(1)
        .stderr_has("line 2: 4 is out of range for a __s32 of 4 bytes: -4 to 3");
    load_into(&data, &file(&sandbox, "limit.level: 2\nlimits: 1\n"), &[])
        .fails(1)
        .stderr_has("line 2: there is no variable `limits`");
    assert_eq!(get("limit.level"), "3");
    load_into(&data, &file(&sandbox, before.stdout()), &[]).ok();
    assert_eq!(on_map(&["dump", &data]).ok().stdout(), before.stdout());
    load_into(&format!("{NEAR}:.rodata"), &file(&sandbox, "protocol: UDP\n"), &[])
        .fails(2)
        .stderr_has("variable `protocol` is constant");
}

#[test]
fn a_big_file_is_written_in_bulk() {
    const ENTRIES: u32 = 100_000;
    need!(tool("strace"));
    need!(kernel((5, 6), "bulk writes of maps"));
    let sandbox = need!(map("hash 4 4 131072 0"));
    let lines: Vec<_> = (0..ENTRIES).map(|number| format!("{number} {number}")).collect();
    let path = file(&sandbox, lines.join("\n"));
    let words = ["map", "load", PIN, &path, "--exact"];
    let (ran, calls) = trace(&sandbox, "bpf", &xdpload_command(&words));
    ran.ok().stdout_has("wrote 100000 entries");
    let count = |command| calls.iter().filter(|call| call.arguments.starts_with(command)).count();
    assert!((1..20).contains(&count("BPF_MAP_UPDATE_BATCH")), "{}", count("BPF_MAP_UPDATE_BATCH"));
    assert_eq!(count("BPF_MAP_UPDATE_ELEM"), 0);
    assert_eq!(dump(&[]).len(), ENTRIES as usize);
}

#[test]
fn a_wrong_file_changes_nothing() {
    let sandbox = need!(map("hash 4 4 4 0"));
    on_map(&["set", PIN, "1", "1"]).ok();
    let line = |text: &str| format!("2 2\n{text}\n");
    for (text, reason) in [
        ("3", "line 2: expected KEY VALUE, found `3`"),
        ("3:", "line 2: expected KEY VALUE, found `3:`"),
        ("a 1", "line 2: `a` cannot be the key: expected a number"),
        ("3 4294967296", "line 2: `4294967296` cannot be the value: it does not fit in 4 bytes"),
        ("::1 1", "line 2: `::1` cannot be the key: it has 16 bytes, and the map's key has 4"),
        ("[1 1", "line 2: expected KEY VALUE, found `[1 1`"),
        ("3 \u{1b}[2J", "line 2: `\\u{1b}[2J` cannot be the value"),
    ] {
        refuses(&sandbox, line(text), reason);
    }
    refuses(&sandbox, [0xff; 100], "line 1: it is not text");
    refuses(&sandbox, vec![b' '; 2_000_000], "line 1: it has more than 1048576 bytes");
    refuses(&sandbox, "1 1\n2 2\n3 3\n4 4\n5 5\n", "the file has 5 keys, and the map has room for 4");
    let entry = |entry: &str| format!(r#"{{"entries": [{entry}]}}"#);
    let key = r#""key": {"hex": "01000000"}"#;
    for (text, reason) in [
        ("{}", "an entry has no `key` at line 1 column 16"),
        (r#"{"key": {}}"#, "`{}` has no field `hex` at line 1 column 25"),
        (r#"{"key": {"hex": "0g"}}"#, "`\"0g\"` is not hexadecimal at line 1 column"),
        (r#"{"key": ["0x+1"]}"#, "`[\"0x+1\"]` is no list of bytes"),
        (r#"{"key": ["0x100"]}"#, "`[\"0x100\"]` is no list of bytes"),
        (r#"{"key": ["0x01"], "value": ["0x01"]}"#, "expected a key of 4 bytes, found 1"),
        (&format!("{{{key}}}"), "an entry has no `value`"),
        (&format!(r#"{{{key}, "value": {{"hex": "01"}}}}"#), "expected a value of 4 bytes, found 1"),
        (
            &format!(r#"{{{key}, "values": [{{"hex": "01000000"}}, {{"hex": "01000000"}}]}}"#),
            "found 2 for a hash",
        ),
    ] {
        refuses(&sandbox, entry(text), reason);
    }
    refuses(&sandbox, r#"{"entries": [{"key": {"hex": "01000000"}"#, "EOF while parsing");
    refuses(&sandbox, r#"{"entries": []} 1"#, "trailing characters at line 1 column 17");
    refuses(&sandbox, r#"{"entries": 5}"#, "expected what `map dump --json` prints");
    let place = sandbox.scratch().to_str().unwrap();
    refused(&["map", "load", PIN, place], 1, &["nothing was changed: read(2) for `/run/scratch` failed"]);
    refused(&["map", "load", PIN, "/nowhere"], 1, &["open(2) for `/nowhere` failed: No such file"]);
}

/// With --exact there is room for what the file has, whatever was there.
#[test]
fn a_full_map_is_replaced() {
    let sandbox = need!(map("hash 4 4 4 0"));
    load(&file(&sandbox, "1 1\n2 2\n3 3\n4 4\n"), &[]).ok();
    let path = file(&sandbox, "4 5\n5 5\n6 6\n7 7\n");
    load(&path, &[]).fails(1).stderr_has("1 of 4 entries are written: the map is full (4 entries)");
    assert_eq!(dump(&[]), lines(["1: 1", "2: 2", "3: 3", "4: 5"]));
    load(&path, &["--exact"]).ok().stdout_has("wrote 4 entries, deleted 3");
    assert_eq!(dump(&[]), lines(["4: 5", "5: 5", "6: 6", "7: 7"]));
}

#[test]
fn some_maps_are_not_loaded() {
    let sandbox = need!(map("array 4 4 2 0"));
    load(&file(&sandbox, "0 1\n1 2\n"), &[]).ok();
    refuses(&sandbox, "0 5\n2 5\n", "line 2: there is no index 2: the map has 2 entries");
    let path = file(&sandbox, "0 1\n");
    load(&path, &["--exact"]).fails(2).stderr_has("which those of an array cannot be");
    create("/sys/fs/bpf/queue", "queue 0 4 4 0");
    create("/sys/fs/bpf/slots", "prog_array 4 4 4 0");
    create("/sys/fs/bpf/sockets", "sockmap 4 4 4 0");
    let words = "only the process that has opened it can put a value into a sockmap";
    refused(&["map", "load", "/sys/fs/bpf/sockets", &path], 2, &[words]);
    let words = "its values have 4 bytes, and what is told of a socket has 8";
    refused(&["map", "dump", "/sys/fs/bpf/sockets"], 1, &[words, "(ENOSPC)"]);
    refused(&["map", "get", "/sys/fs/bpf/sockets", "0"], 1, &[words]);
    refused(&["map", "delete", "/sys/fs/bpf/sockets", "0"], 1, &["the map has no key `0`"]);
    refused(&["map", "load", "/sys/fs/bpf/queue", &path], 2, &["a queue has no keys"]);
    refused(&["map", "load", "/sys/fs/bpf/slots", &path], 2, &["set one by one: `xdpload map set`"]);
    refused(&["map", "set", "/sys/fs/bpf/queue", "0", "1"], 2, &["the map has no keys"]);
}

/// The values of such maps are fds, which a command line has not: it names what they stand for.
#[test]
fn programs_and_maps_are_put_in_by_id_and_by_pin() {
    let (_sandbox, _veth) = need!(pair(&["bpftool"]));
    xdpload(&["load", &object("xdp_pass"), "--pin", "/sys/fs/bpf/pass"]).ok();
    create("/sys/fs/bpf/slots", "prog_array 4 4 4 0");
    create("/sys/fs/bpf/sockets", "sockmap 4 4 4 0");
    let pin = "/sys/fs/bpf/pass/xdp_pass";
    let id = bpftool(&["prog", "show", "pinned", pin])["id"].to_string();
    let slots = |words: &[&str]| xdpload(&[&["map", "set", "/sys/fs/bpf/slots"], words].concat());
    // What begins to use a prog array decides which programs go into it.
    slots(&["0", pin]).ok();
    slots(&["1", &id]).ok();
    slots(&["2", "4294967295"]).fails(1).stderr_has("there is no program with id 4294967295");
    slots(&["2", "pass"])
        .fails(2)
        .stderr_has("`pass` cannot be the value: expected an id or the path of a pin");
    slots(&["2", "/sys/fs/bpf/slots"]).fails(1).stderr_has("expected a program, found a map");
    let sockets = ["map", "set", "/sys/fs/bpf/sockets", "0", "3"];
    refused(&sockets, 2, &["only the process that has opened it can put a value into a sockmap"]);
    let text = on_map(&["dump", "/sys/fs/bpf/slots"]).ok();
    assert_eq!(text.stdout(), format!("0: {id}\n1: {id}\n"));
    create(PIN, "hash 4 4 4 0");
    let outer = "/sys/fs/bpf/outer";
    let shape = format!(
        "map create {outer} type hash_of_maps key 4 value 4 entries 2 name outer inner_map pinned {PIN}"
    );
    bpftool(&shape.split(' ').collect::<Vec<_>>());
    on_map(&["set", outer, "7", PIN]).ok();
    let inner = bpftool(&["map", "show", "pinned", PIN])["id"].to_string();
    on_map(&["set", outer, "8", &inner]).ok();
    let dump = on_map(&["dump", outer]).ok();
    assert_eq!(dump.stdout().lines().map(|line| &line[3..]).collect::<Vec<_>>(), [&inner, &inner]);
}
