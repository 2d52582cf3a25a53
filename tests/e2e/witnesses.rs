//! Other people's tools see what we attached as we tell it ourselves, and read the same entries out of its maps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;

use loader::map::{Map, UpdateFlags};
use loader::uapi::bpf::BPF_F_MMAPABLE;
use serde_json::Value;

use crate::command::{command, run};
use crate::objects::{object, object_by};
use crate::peers::{
    Attached, attached_by_ip, attached_by_xdp_loader, bpftool, map_entries, number, number_of_cpus, program,
    text,
};
use crate::requirement::tool;
use crate::sandbox::Sandbox;
use crate::veth::{NEAR, pair};
use crate::xdpload::{answer, xdpload};

/// What an answer of ours says of the program in it.
fn ours(mode: &Value, program: &Value) -> Attached {
    Attached {
        mode: text(mode),
        id: number(&program["id"]),
        tag: text(&program["tag"]),
        name: text(&program["name"]),
    }
}

/// Ids and names of maps in an answer.
fn names(maps: &Value) -> BTreeMap<u64, String> {
    let maps = maps.as_array().expect("maps are a list");
    maps.iter().map(|map| (number(&map["id"]), text(&map["name"]))).collect()
}

#[test]
fn all_tell_the_same_of_what_is_attached() {
    let (_sandbox, veth) = need!(pair(&["bpftool", "xdp-loader"]));
    for (name, mode) in [("blacklist", "native"), ("count_percpu", "generic"), ("xdp_drop", "native")] {
        let attached = answer(&["attach", NEAR, &object(name), "--mode", mode]);
        let program_now = ours(&attached["attached"][0]["mode"], &attached["program"]);
        assert_eq!(program_now.mode, mode);
        assert_eq!(attached_by_ip(NEAR).as_ref(), Some(&program_now));
        assert_eq!(attached_by_xdp_loader(NEAR).as_ref(), Some(&program_now));

        let status = answer(&["status", NEAR])["interfaces"][0].clone();
        let running = &status["programs"][0];
        assert_eq!(ours(&running["mode"], running), program_now);
        assert_eq!(number(&status["ifindex"]), u64::from(veth.near_index()));
        let maps = names(&running["maps"]);
        let told: BTreeSet<_> = list(&attached["maps"]).map(text).collect();
        assert_eq!(maps.values().cloned().collect::<BTreeSet<_>>(), told);
        let ids: BTreeSet<_> = list(&attached["program"]["map_ids"]).map(number).collect();
        assert_eq!(maps.keys().copied().collect::<BTreeSet<_>>(), ids);

        see_by_bpftool(&program_now, maps);
        xdpload(&["detach", NEAR]).ok();
        assert_eq!((attached_by_ip(NEAR), attached_by_xdp_loader(NEAR)), (None, None));
    }
}

/// What stands in a list, or nothing where the list is missing.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// bpftool knows `attached` and its `maps`.
fn see_by_bpftool(attached: &Attached, maps: BTreeMap<u64, String>) {
    let seen = program(attached.id);
    assert_eq!((text(&seen["type"]), text(&seen["name"])), ("xdp".to_owned(), attached.name.clone()));
    assert_eq!(text(&seen["tag"]), attached.tag);
    // A program without maps has no such field.
    let ids: BTreeSet<_> = list(&seen["map_ids"]).map(number).collect();
    assert_eq!(ids, maps.keys().copied().collect());
    let on_interface = bpftool(&["net", "show"])[0]["xdp"][0].clone();
    assert_eq!(number(&on_interface["id"]), attached.id);
    let mode = if attached.mode == "native" { "driver" } else { "generic" };
    assert_eq!(text(&on_interface["mode"]), mode);

    let listed = answer(&["map", "list"]);
    for (id, name) in maps {
        let map = bpftool(&["map", "show", "id", &id.to_string()]);
        assert_eq!(text(&map["name"]), name);
        let own = list(&listed["maps"]).find(|map| map["id"] == id);
        let own = own.expect("we list all maps");
        assert_eq!((text(&map["type"]), text(&map["name"])), (text(&own["type"]), text(&own["name"])));
        let sizes =
            |key: &str, value: &str, entries: &str| [&map[key], &map[value], &map[entries]].map(number);
        let own = ["key_size", "value_size", "max_entries"].map(|field| number(&own[field]));
        assert_eq!(sizes("bytes_key", "bytes_value", "max_entries"), own);
    }
}

/// An entry as both tools can tell it: the key's bytes, and the value's for each CPU or the only one.
type Entries = BTreeMap<Vec<u8>, Vec<Vec<u8>>>;

/// The entries of map `id` by `xdpload map dump`.
fn dumped_by_us(id: u64) -> Entries {
    let bytes = |words: &Value| {
        let hex = text(&words["hex"]);
        let digits = (0..hex.len()).step_by(2);
        digits
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex is hexadecimal"))
            .collect::<Vec<_>>()
    };
    let dump = answer(&["map", "dump", &id.to_string()]);
    let entries = dump["entries"].as_array().expect("a dump is a list");
    let found: Entries = entries
        .iter()
        .map(|entry| {
            let single = entry.get("value").map(&bytes);
            let by_cpu = entry.get("values").and_then(Value::as_array).into_iter().flatten();
            (bytes(&entry["key"]), single.into_iter().chain(by_cpu.map(&bytes)).collect())
        })
        .collect();
    assert_eq!(found.len(), entries.len(), "no key comes twice");
    found
}

/// The same by `bpftool map dump`.
fn dumped_by_bpftool(id: u64) -> Entries {
    let bytes = |value: &Value| {
        let bytes = value.as_array().expect("bpftool gives bytes").iter();
        bytes
            .map(|byte| u8::from_str_radix(&text(byte)[2..], 16).expect("a byte is 0x.."))
            .collect::<Vec<_>>()
    };
    let per_cpu = |values: &Value| {
        let values = values.as_array().expect("bpftool lists CPUs").iter().enumerate();
        let in_order = values.map(|(cpu, value)| {
            assert_eq!(number(&value["cpu"]), cpu as u64);
            bytes(&value["value"])
        });
        in_order.collect()
    };
    let entry = |entry: &Value| {
        let values = entry.get("values").map(per_cpu);
        (bytes(&entry["key"]), values.unwrap_or_else(|| vec![bytes(&entry["value"])]))
    };
    map_entries(id).iter().map(entry).collect()
}

#[track_caller]
fn assert_same_entries(id: u64, count: usize) {
    let entries = dumped_by_us(id);
    assert_eq!(entries.len(), count);
    assert!(entries == dumped_by_bpftool(id), "bpftool reads other entries of map {id}");
}

/// Has bpftool write entries to map `id`: the bytes of a key, and of a value for each CPU or the only one.
fn write_by_bpftool(sandbox: &Sandbox, id: u64, entries: &Entries) {
    let bytes = |bytes: &[u8]| bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(" ");
    let mut batch = String::new();
    for (key, values) in entries {
        writeln!(batch, "map update id {id} key {} value {}", bytes(key), bytes(&values.concat()))
            .expect("a String takes everything");
    }
    let file = sandbox.scratch().join("batch");
    fs::write(&file, batch).expect("the scratch directory is writable");
    // On one processor: an LRU hash gives each its share of free entries, and evicts when a share is used up.
    run(command("taskset", &["-c", "0", "bpftool", "batch", "file"]).arg(&file)).ok();
}

/// Numbers that look random and are the same in every run (xorshift, Marsaglia 2003).
fn numbers() -> impl Iterator<Item = u32> {
    std::iter::successors(Some(0x9e37_79b9_u32), |&last| {
        let last = last ^ (last << 13);
        let last = last ^ (last >> 17);
        Some(last ^ (last << 5))
    })
}

#[test]
fn ten_thousand_entries_are_read_alike() {
    let (sandbox, _veth) = need!(pair(&["bpftool"]));
    let attached = answer(&["attach", NEAR, &object("blacklist_libbpf")]);
    let id = number(&attached["program"]["map_ids"][0]);
    assert_same_entries(id, 0);

    let mut entries: Entries = numbers()
        .take(9_999)
        .map(|number| (number.to_ne_bytes().to_vec(), vec![(!number).to_ne_bytes().to_vec()]))
        .collect();
    // The key that a careless walk takes for the place before the first.
    entries.insert(vec![0; 4], vec![vec![1, 2, 3, 4]]);
    assert_eq!(entries.len(), 10_000);
    write_by_bpftool(&sandbox, id, &entries);
    assert!(dumped_by_us(id) == entries);
    assert_same_entries(id, 10_000);

    let lines = xdpload(&["map", "dump", "near0:blacklist", "--key-format", "ipv4"]).ok();
    assert_eq!(lines.stdout().lines().count(), 10_000);
    assert!(
        lines.stdout().lines().any(|line| line == format!("0.0.0.0: {}", u32::from_ne_bytes([1, 2, 3, 4])))
    );
    xdpload(&["map", "delete", "near0:blacklist", "0.0.0.0"]).ok();
    assert_same_entries(id, 9_999);
}

/// The maps of gobpf's breadth object by type, each pinned, because the program uses none of them.
fn maps_of_many_types() -> BTreeMap<&'static str, u64> {
    let object = object("gobpf_dummy");
    let kinds = ["hash", "array", "lru_hash", "lpm_trie", "percpu_hash", "percpu_array"];
    let pin = |kind: &str| format!("/sys/fs/bpf/types/{kind}");
    let options = kinds.map(|kind| format!("--pin-map=dummy_{kind}={}", pin(kind)));
    let words = ["attach", NEAR, &object, "--prog=prog2"];
    xdpload(&words.into_iter().chain(options.iter().map(String::as_str)).collect::<Vec<_>>()).ok();
    kinds.map(|kind| (kind, number(&bpftool(&["map", "show", "pinned", &pin(kind)])["id"]))).into()
}

#[test]
fn maps_of_many_types_are_read_alike() {
    let (sandbox, _veth) = need!(pair(&["bpftool"]));
    let maps = maps_of_many_types();
    let value = |number: u64| vec![number.to_ne_bytes().to_vec()];
    let random = || numbers().take(100).map(|n| (n.to_ne_bytes().to_vec(), value(n.into())));
    let by_index = (0..128_u32).map(|n| (n.to_ne_bytes().to_vec(), value(u64::from(n) << 32)));
    // A prefix of every length.
    let prefix = |length: u32, address: u32| {
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        [length.to_ne_bytes(), (address & mask).to_be_bytes()].concat()
    };
    let prefixes = (0..=32).zip(numbers()).map(|(length, n)| (prefix(length, n), value(length.into())));
    let contents = [
        ("hash", random().collect::<Entries>()),
        ("lru_hash", random().collect()),
        ("array", by_index.collect()),
        ("lpm_trie", prefixes.collect()),
    ];
    for (kind, entries) in contents {
        write_by_bpftool(&sandbox, maps[kind], &entries);
        assert_same_entries(maps[kind], entries.len());
    }
    let trie = xdpload(&["map", "dump", "/sys/fs/bpf/types/lpm_trie", "--key-format", "prefix"]).ok();
    trie.stdout_has("0.0.0.0/0: 0\n");
}

#[test]
fn per_cpu_maps_are_read_alike() {
    let (_sandbox, _veth) = need!(pair(&["bpftool"]));
    let maps = maps_of_many_types();
    for (kind, count) in [("percpu_hash", 100), ("percpu_array", 128)] {
        // bpftool writes one value for all CPUs, so that the library must write what tells them apart.
        let map = Map::from_id(u32::try_from(maps[kind]).unwrap()).unwrap();
        for key in 0..100_u32 {
            let values = (1..=number_of_cpus() as u64).map(|cpu| (u64::from(key) << 32 | cpu).to_ne_bytes());
            let values: Vec<_> = values.collect();
            let values: Vec<&[u8]> = values.iter().map(<[u8; 8]>::as_slice).collect();
            map.update_per_cpu(&key.to_ne_bytes(), &values, UpdateFlags::ANY).unwrap();
        }
        assert_same_entries(maps[kind], count);
    }
}

/// The objects that libbpf takes, and their first program: it wants BTF maps, and sections whose names it knows.
const FOR_LIBBPF: [(&str, &str); 13] = [
    ("blacklist", "xdp_ip_filter"),
    ("count_percpu", "xdp_count"),
    ("no_license", "xdp_pass"),
    ("verdicts", "xdp_verdict"),
    ("xdp_drop", "xdp_drop"),
    ("xdp_drop_prog", "xdp_drop"),
    ("xdp_pass", "xdp_pass"),
    ("many", "pass_all"),
    ("subprog_call", "drop_arp_and_short"),
    ("subprogs", "drop_long"),
    ("global_data", "xdp_sample"),
    ("data_sections", "count"),
    ("data_strings", "letters"),
];

#[test]
fn the_kernel_gives_our_load_the_tag_that_it_gives_libbpf() {
    need!(tool("bpftool"));
    let _sandbox = need!(Sandbox::new());
    let pin = "/sys/fs/bpf/witness";
    for clang in ["clang-14", "clang-19"] {
        for (name, function) in FOR_LIBBPF {
            let object = object_by(clang, name);
            run(&mut command("bpftool", &["prog", "load", &object, pin, "type", "xdp"])).ok();
            let witness = bpftool(&["prog", "show", "pinned", pin]);
            let maps = maps_of(&witness);
            fs::remove_file(pin).unwrap();
            assert_eq!(text(&witness["name"]), function);
            let attached = answer(&["attach", "lo", &object, "--prog", function, "--mode", "generic"]);
            assert_eq!(text(&attached["program"]["tag"]), text(&witness["tag"]), "{clang} {name}");
            // libbpf binds every `.rodata` to a program, used or not.
            for map in maps_of(&program(number(&attached["program"]["id"]))) {
                assert!(maps.contains(&map), "{clang} {name}: {map} is not among {maps:?}");
            }
            xdpload(&["detach", "lo"]).ok();
        }
    }
}

#[test]
fn an_overridden_weak_function_is_left_out() {
    need!(tool("bpftool"));
    let sandbox = need!(Sandbox::new());
    let joined = sandbox.scratch().join("joined.o").display().to_string();
    let pin = "/sys/fs/bpf/witness";
    for clang in ["clang-14", "clang-19"] {
        let [weak, strong] = ["weak_default", "weak_override"].map(|name| object_by(clang, name));
        run(&mut command("bpftool", &["gen", "object", &joined, &weak, &strong])).ok();
        // Several programs are in it, and this way bpftool loads all of them.
        run(&mut command("bpftool", &["prog", "loadall", &joined, pin, "type", "xdp"])).ok();
        for function in ["ask", "ask_too"] {
            let path = format!("{pin}/{function}");
            let witness = bpftool(&["prog", "show", "pinned", &path]);
            fs::remove_file(path).unwrap();
            let attached = answer(&["attach", "lo", &joined, "--prog", function, "--mode", "generic"]);
            assert_eq!(text(&attached["program"]["tag"]), text(&witness["tag"]), "{clang} {function}");
            xdpload(&["detach", "lo"]).ok();
        }
        fs::remove_dir(pin).unwrap();
    }
}

/// What bpftool says of the maps of a program, without what differs between two loads.
fn maps_of(program: &Value) -> Vec<Value> {
    let ids = program["map_ids"].as_array().into_iter().flatten().map(number);
    ids.map(|id| {
        let mut map = bpftool(&["map", "show", "id", &id.to_string()]);
        let fields = map.as_object_mut().expect("bpftool describes a map");
        for field in ["id", "btf_id", "pids", "bytes_memlock"] {
            fields.remove(field);
        }
        // Maps of variables may always be mapped into memory; of libbpf's, those where a variable is not `static`.
        if fields.get("name").is_some_and(|name| text(name).contains('.')) {
            let flags = number(&fields["flags"]) | u64::from(BPF_F_MMAPABLE);
            fields.insert("flags".to_owned(), flags.into());
        }
        map
    })
    .collect()
}

#[test]
fn the_dialect_of_the_map_leaves_no_trace_in_the_program() {
    let (_sandbox, _veth) = need!(pair(&["bpftool"]));
    for clang in ["clang-14", "clang-19"] {
        let tag = |dialect: &str| {
            let object = object_by(clang, dialect);
            text(&answer(&["attach", NEAR, &object, "--replace"])["program"]["tag"])
        };
        let own = tag("blacklist");
        for dialect in ["blacklist_gobpf", "blacklist_iproute2", "blacklist_libbpf"] {
            assert_eq!(tag(dialect), own, "{clang} {dialect}");
        }
    }
}
