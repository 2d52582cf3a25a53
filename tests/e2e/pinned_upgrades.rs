//! A pinned map of another shape than an object asks for: told field by field, or migrated with its entries.

use std::path::Path;

use loader::map::Map;

use crate::acceptor::Ending;
use crate::bench::refused;
use crate::objects::object;
use crate::packets::assert_udp;
use crate::peers::{attached_by_ip, bpftool, number};
use crate::strace::{Fault, trace_with_fault};
use crate::strace_plan::run_as_planned;
use crate::veth::{BLOCKED, NEAR, OTHER, pair};
use crate::xdpload::{xdpload, xdpload_command};

const PIN: &str = "/sys/fs/bpf/list";
const PIN_IT: &str = "--pin-map=blacklist=/sys/fs/bpf/list";

fn size_at_pin() -> u64 {
    number(&bpftool(&["map", "show", "pinned", PIN])["max_entries"])
}

/// A blacklist with room for 100, pinned, attached and in use.
fn small_list() {
    xdpload(&["attach", NEAR, &object("blacklist"), PIN_IT, "--max-entries=blacklist=100"]).ok();
    xdpload(&["map", "set", PIN, &BLOCKED.to_string(), "1"]).ok();
}

#[test]
fn a_mismatch_is_a_table() {
    let (sandbox, _veth) = need!(pair(&[]));
    small_list();
    let before = (attached_by_ip(NEAR), sandbox.pins());
    let attach = ["attach", NEAR, &object("blacklist"), PIN_IT, "--replace", "--max-entries=blacklist=200"];
    let ran = refused(&attach, 1, &["has another shape: max_entries is 100, wanted 200"]);
    let table = "\
\x20   field        found  wanted
\x20   map_type     hash   hash
\x20   key_size     4      4
\x20   value_size   4      4
\x20   max_entries  100    200  <- differs
\x20   map_flags    0      0
\x20 help: `attach --replace --migrate-maps` copies its entries into a new one; ";
    ran.stderr_has(table);
    assert_eq!((attached_by_ip(NEAR), sandbox.pins()), before);
    // `load` copies nothing.
    let load = ["load", &object("blacklist"), PIN_IT, "--pin=/sys/fs/bpf/dir"];
    let words =
        "help: `--pin-map MAP=/...` pins a new one elsewhere; or load with the shape that it has, or ";
    refused(&load, 1, &["max_entries is 100, wanted 65536", words]);
    assert_eq!(sandbox.pins(), before.1);
    // What cannot be copied is not migrated either.
    let attach = ["attach", NEAR, &object("count_percpu"), "--pin-map=packets=/sys/fs/bpf/list", "--replace"];
    let why = "help: entries of other sizes cannot be copied: load with the shape that it has";
    let words = ["map_type is hash, wanted percpu_array", why];
    refused(&[&attach[..], &["--migrate-maps"]].concat(), 1, &words);
    assert_eq!((attached_by_ip(NEAR), sandbox.pins()), before);
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn entries_move_into_the_new_map_and_its_pin_with_them() {
    let (sandbox, veth) = need!(pair(&["bpftool", "strace"]));
    small_list();
    let object = object("blacklist");
    for (entries, left) in [("200", false), ("100", true)] {
        // Somebody who was killed has left a new map half-way.
        if left {
            let stale = Map::open_pinned(Path::new(PIN)).expect("it is pinned");
            stale.pin(Path::new("/sys/fs/bpf/list_xdpload_new")).expect("nothing is there");
        }
        let size = format!("--max-entries=blacklist={entries}");
        let options = [&object, PIN_IT, &size, "--replace", "--migrate-maps"];
        let plan = [&options[..], &["--dev", NEAR]].concat();
        let attach = [&["attach", NEAR], &options[..]].concat();
        run_as_planned(&sandbox, &plan, &attach, Ending::AsTheKernelSays)
            .ok()
            .stdout_has("copied 1 entries of its map blacklist into a new one");
        assert_eq!(
            (size_at_pin().to_string(), sandbox.pins()),
            (entries.to_owned(), vec!["list".to_owned()])
        );
        assert_udp(&veth, BLOCKED, 0);
        assert_udp(&veth, OTHER, 5);
        // The pin is the map in use.
        xdpload(&["map", "set", PIN, &OTHER.to_string(), "1"]).ok();
        assert_udp(&veth, OTHER, 0);
        xdpload(&["map", "delete", PIN, &OTHER.to_string()]).ok();
    }
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn a_migration_that_fails_late_puts_the_pin_back() {
    let (sandbox, veth) = need!(pair(&["bpftool", "strace"]));
    small_list();
    let before = attached_by_ip(NEAR);
    let id = bpftool(&["map", "show", "pinned", PIN])["id"].clone();
    let attach = ["attach", NEAR, &object("blacklist"), PIN_IT, "--replace", "--migrate-maps"];
    // The first request looks at the interface, and the second would replace the program.
    let faults = [("sendto", "EPERM", 2), ("rename", "EACCES", 1)];
    for (call, errno, nth) in faults {
        let fault = Fault { call, errno, nth: (nth, nth) };
        let (ran, _) = trace_with_fault(&sandbox, call, fault, &xdpload_command(&attach));
        assert_ne!(ran.code(), Some(0), "{}", ran.report());
        assert_eq!(attached_by_ip(NEAR), before, "{}", ran.report());
        assert_eq!(sandbox.pins(), ["list"], "{}", ran.report());
        assert_eq!(bpftool(&["map", "show", "pinned", PIN])["id"], id, "{}", ran.report());
        assert_udp(&veth, BLOCKED, 0);
    }
    xdpload(&attach).ok();
    assert_eq!(size_at_pin(), 65536);
    xdpload(&["detach", NEAR]).ok();
}
