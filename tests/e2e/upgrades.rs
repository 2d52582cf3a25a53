//! `--keep-maps` and `--migrate-maps`: a new program goes on with what the one before it has counted and listed.

use std::net::Ipv4Addr;
use std::thread;

use loader::{Map, UpdateFlags};

use crate::acceptor::{Ending, TRACED, accept};
use crate::command::Ran;
use crate::objects::object;
use crate::packets::{Frame, Wire, assert_udp};
use crate::peers::{attached_by_ip, bpftool, map_entries, number, text};
use crate::sandbox::Sandbox;
use crate::strace::{Call, Fault, trace, trace_with_fault};
use crate::strace_plan::run_as_planned;
use crate::veth::{BLOCKED, NEAR, OTHER, pair};
use crate::xdpload::{answer, xdpload, xdpload_command};

/// Replaces what is on `near0` by `name`, as the plan says.
#[track_caller]
fn upgrade(sandbox: &Sandbox, name: &str, options: &[&str], ending: Ending) -> Ran {
    let object = object(name);
    let plan = [&[&object, "--dev", NEAR, "--replace"], options].concat();
    let attach = [&["attach", NEAR, &object, "--replace"], options].concat();
    run_as_planned(sandbox, &plan, &attach, ending)
}

/// The id of the map `name` of the program on `near0`, by bpftool.
#[track_caller]
fn map_id(name: &str) -> u64 {
    let program = attached_by_ip(NEAR).expect("a program is attached").id;
    let ids = bpftool(&["prog", "show", "id", &program.to_string()])["map_ids"].clone();
    let mut ids = ids.as_array().expect("it has maps").iter().map(number);
    ids.find(|id| bpftool(&["map", "show", "id", &id.to_string()])["name"] == name).expect("it has that map")
}

#[test]
fn counters_are_exact_across_upgrades_under_packets() {
    let (sandbox, veth) = need!(pair(&["bpftool", "strace"]));
    veth.without_ipv6();
    for (first, again) in [
        (&["--mode=native"][..], &["--mode=auto"][..]),
        (&["--mode=generic"], &["--mode=auto"]),
        (&["--link", "--pin=/sys/fs/bpf/link"], &["--link"]),
    ] {
        xdpload(&[&["attach", NEAR, &object("count_percpu")], first].concat()).ok();
        let ids = ["packets", "bytes"].map(map_id);
        let far = Wire::far(&veth);
        let near = Wire::near();
        let frame = Frame::ipv4(&veth, &[], OTHER);
        let sent = 500;
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..sent {
                    far.send(&frame);
                    near.assert_sees(&frame);
                }
            });
            for _ in 0..5 {
                let options = [&["--keep-maps"], again].concat();
                upgrade(&sandbox, "count_percpu", &options, Ending::AsTheKernelSays)
                    .ok()
                    .stdout_has("kept map(s): packets, bytes");
            }
        });
        assert_eq!(["packets", "bytes"].map(map_id), ids);
        for (map, total) in [("packets", sent), ("bytes", sent * 34)] {
            let entry = answer(&["map", "get", &format!("near0:{map}"), "0"]);
            assert_eq!(number(&entry["sum"]), total, "{entry}");
        }
        // Without being told so, a new program starts anew.
        upgrade(&sandbox, "count_percpu", again, Ending::AsTheKernelSays).ok();
        assert_ne!(["packets", "bytes"].map(map_id), ids);
        let detach = if first[0] == "--link" { &["detach", NEAR, "--link"][..] } else { &["detach", NEAR] };
        xdpload(detach).ok();
    }
}

#[test]
fn an_arena_is_kept() {
    let (sandbox, _veth) = need!(pair(&["bpftool", "strace"]));
    upgrade(&sandbox, "arena", &[], Ending::AsTheKernelSays).ok();
    let id = map_id("arena");
    for option in ["--keep-maps", "--migrate-maps"] {
        upgrade(&sandbox, "arena", &[option], Ending::AsTheKernelSays).ok().stdout_has("kept map(s): ");
        assert_eq!(map_id("arena"), id);
    }
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn a_map_of_another_shape_is_refused_by_its_field() {
    let (sandbox, veth) = need!(pair(&["bpftool", "strace"]));
    xdpload(&["attach", NEAR, &object("blacklist"), "--max-entries", "blacklist=100"]).ok();
    xdpload(&["map", "set", "near0:blacklist", &BLOCKED.to_string(), "1"]).ok();
    let before = (attached_by_ip(NEAR), map_id("blacklist"));
    let ending = Ending::After("BPF_MAP_GET_FD_BY_ID");
    upgrade(&sandbox, "blacklist", &["--keep-maps"], ending)
        .fails(1)
        .stderr_has(
            "map `blacklist` of the running program has another shape: max_entries is 100, wanted 65536",
        )
        .stderr_has("help: `--migrate-maps` copies its entries into the new one");
    assert_eq!((attached_by_ip(NEAR), map_id("blacklist")), before);
    assert_udp(&veth, BLOCKED, 0);
    // The same list in another dialect, and of the same size.
    upgrade(
        &sandbox,
        "blacklist_libbpf",
        &["--keep-maps", "--max-entries=blacklist=100"],
        Ending::AsTheKernelSays,
    )
    .ok()
    .stdout_has("kept map(s): blacklist");
    assert_eq!(map_id("blacklist"), before.1);
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, OTHER, 5);
}

#[test]
fn entries_move_to_a_map_of_another_size() {
    let (sandbox, veth) = need!(pair(&["bpftool", "strace"]));
    xdpload(&["attach", NEAR, &object("blacklist"), "--max-entries", "blacklist=12000"]).ok();
    let listed = (0..9999_u32).map(|number| 0x0a00_0000 + number).chain([BLOCKED.to_bits()]);
    let entries = listed.zip(7_u32..).map(|(address, value)| (address.to_be_bytes(), value.to_ne_bytes()));
    let (keys, values): (Vec<_>, Vec<_>) = entries.unzip();
    let old = Map::from_id(u32::try_from(map_id("blacklist")).unwrap()).unwrap();
    old.update_packed(&keys.concat(), &values.concat()).unwrap();

    // Too small for them: refused, and all is as it was.
    let before = attached_by_ip(NEAR);
    upgrade(
        &sandbox,
        "blacklist",
        &["--migrate-maps", "--max-entries=blacklist=9999"],
        Ending::AsTheKernelSays,
    )
    .fails(1)
    .stderr_has("copying the entries of map `blacklist`")
    .stderr_has("the map is full (9999 entries)")
    .stderr_has("  help: `--max-entries blacklist=12000` has room for as many entries as the old one\n");
    assert_eq!(attached_by_ip(NEAR), before);
    assert_udp(&veth, BLOCKED, 0);

    let ran = upgrade(&sandbox, "blacklist", &["--migrate-maps"], Ending::AsTheKernelSays).ok();
    ran.stdout_has("copied 10000 entries of its map blacklist into a new one");
    let moved: std::collections::BTreeMap<_, _> = map_entries(map_id("blacklist"))
        .iter()
        .map(|entry| {
            let bytes = |field: &str| -> [u8; 4] {
                let list = entry[field].as_array().unwrap();
                let bytes = list.iter().map(|byte| u8::from_str_radix(&text(byte)[2..], 16).unwrap());
                bytes.collect::<Vec<_>>().try_into().unwrap()
            };
            (bytes("key"), bytes("value"))
        })
        .collect();
    assert_eq!(moved, keys.into_iter().zip(values).collect());
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, Ipv4Addr::from(OTHER.octets()), 5);
}

#[test]
fn values_of_each_cpu_move_with_their_cpu() {
    let (sandbox, veth) = need!(pair(&["bpftool", "strace"]));
    veth.without_ipv6();
    xdpload(&["attach", NEAR, &object("count_percpu")]).ok();
    let id = |name| u32::try_from(map_id(name)).unwrap();
    let old = Map::from_id(id("packets")).unwrap();
    let cpus = crate::peers::number_of_cpus();
    let counts: Vec<_> = (0..cpus as u64).map(|cpu| (1000 + cpu).to_ne_bytes()).collect();
    let counts: Vec<_> = counts.iter().map(<[u8; 8]>::as_slice).collect();
    old.update_per_cpu(&[0; 4], &counts, UpdateFlags::ANY).unwrap();
    let bytes = id("bytes");
    let document = {
        let object = object("count_percpu");
        answer(&["attach", NEAR, &object, "--replace", "--migrate-maps", "--max-entries", "packets=3"])
    };
    assert_eq!(document["kept"], serde_json::json!(["bytes"]));
    assert_eq!(document["copied"], serde_json::json!([{ "map": "packets", "entries": 1 }]));
    let new = Map::from_id(id("packets")).unwrap();
    assert_eq!((new.max_entries(), id("bytes")), (3, bytes));
    let moved = new.lookup(&[0; 4]).unwrap().unwrap();
    assert_eq!(moved.all().collect::<Vec<_>>(), counts);
    drop(sandbox);
}

#[test]
fn the_way_of_old_kernels_copies_one_by_one() {
    let (sandbox, _veth) = need!(pair(&["bpftool", "strace"]));
    xdpload(&["attach", NEAR, &object("blacklist"), "--max-entries", "blacklist=100"]).ok();
    for address in [BLOCKED, OTHER] {
        xdpload(&["map", "set", "near0:blacklist", &address.to_string(), "1"]).ok();
    }
    let blacklist = object("blacklist");
    let options = ["--replace", "--migrate-maps", "--max-entries=blacklist=99"];
    let plan = answer(&[&["plan", &blacklist, "--dev", NEAR], &options[..]].concat());
    let command = xdpload_command(&[&["attach", NEAR, &blacklist], &options[..]].concat());
    let (ran, calls) = trace(&sandbox, "bpf", &command);
    ran.ok().stdout_has("copied 2 entries of its map blacklist");
    let is_batch = |call: &Call| call.arguments.starts_with("BPF_MAP_LOOKUP_BATCH");
    let nth = u32::try_from(calls.iter().position(is_batch).expect("it copies in bulk")).unwrap() + 1;

    xdpload(&["attach", NEAR, &blacklist, "--replace", "--migrate-maps", "--max-entries=blacklist=100"]).ok();
    let fault = Fault { call: "bpf", errno: "EINVAL", nth: (nth, nth) };
    let (ran, calls) = trace_with_fault(&sandbox, TRACED, fault, &command);
    assert!(calls.iter().any(|call| is_batch(call) && call.result.contains("INJECTED")), "{calls:?}");
    accept(&plan, &calls, Ending::AsTheKernelSays);
    ran.ok().stdout_has("copied 2 entries of its map blacklist");
}

#[test]
fn maps_that_cannot_be_told_apart_or_copied_are_refused() {
    let (_sandbox, _veth) = need!(pair(&["bpftool"]));
    for option in ["--keep-maps", "--migrate-maps"] {
        xdpload(&["attach", NEAR, &object("blacklist"), option]).fails(2).stderr_has("--replace");
    }
    // With nothing there, it is an attach like any other.
    let document = answer(&["attach", NEAR, &object("blacklist"), "--replace", "--keep-maps"]);
    assert_eq!(
        (&document["kept"], &document["attached"][0]["replaced"]),
        (&serde_json::json!([]), &serde_json::Value::Null)
    );
    // Another program, none of whose maps has the name.
    let document = answer(&["attach", NEAR, &object("count_percpu"), "--replace", "--keep-maps"]);
    assert_eq!(document["kept"], serde_json::json!([]));
}
