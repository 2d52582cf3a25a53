//! Two runs at once never end in a mixture: the interface runs the one program or the other, with what belongs to it.

mod pairs;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};

use loader::pin::lock;
use nix::mount::umount;

use crate::command::{command, run};
use crate::objects::object;
use crate::peers::{attached_by_ip, bpftool, text};
use crate::sandbox::Sandbox;
use crate::tally::tally;
use crate::veth::{NEAR, pair, wait_for};
use crate::xdpload::{answer, waits_for_a_lock, xdpload, xdpload_command};

/// How often two runs are started at once.
pub(crate) const TIMES: usize = 50;

/// Runs both commands at the same time. Returns how they ended.
fn run_both(commands: [&[&str]; 2]) -> [Option<i32>; 2] {
    end_of_both(start_both(commands))
}

fn start_both(commands: [&[&str]; 2]) -> [Child; 2] {
    let [first, second] = commands.map(|words| {
        let mut command = xdpload_command(words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the program starts")
    });
    [first, second]
}

fn end_of_both(children: [Child; 2]) -> [Option<i32>; 2] {
    children.map(|mut child| child.wait().expect("it ends").code())
}

/// What is pinned, without the directory that all attachments share: a run leaves it to another that is just using it.
fn kept(sandbox: &Sandbox) -> Vec<String> {
    sandbox.pins().into_iter().filter(|pin| pin != "xdpload").collect()
}

/// The pins that belong to the program on the interface, and all that are there.
fn assert_pins_are_of_the_running(sandbox: &Sandbox, times: usize) {
    let running = attached_by_ip(NEAR).expect("one of them is attached");
    let pins = sandbox.pins();
    let of_running = |pin: &String| match pin.split('/').collect::<Vec<_>>()[..] {
        ["xdpload", dir] | ["xdpload", dir, _] => dir.ends_with(&format!("_{}", running.id)),
        _ => true,
    };
    assert!(pins.iter().all(of_running), "time {times}: {running:?} runs, and pinned is {pins:?}");
}

#[test]
fn two_replacements() {
    let (sandbox, _veth) = need!(pair(&[]));
    let (with_arrays, plain) = (object("tail_calls"), object("xdp_drop"));
    xdpload(&["attach", NEAR, &object("xdp_pass")]).ok();
    let first = ["attach", NEAR, &with_arrays, "--prog", "enter", "--replace"];
    let second = ["attach", NEAR, &plain, "--replace"];
    for times in 0..TIMES {
        let codes = run_both([&first, &second]);
        // Who is late either replaces the other, or is told that another program is there than the one that it saw.
        assert!(
            codes.contains(&Some(0)) && codes.iter().all(|code| matches!(code, Some(0 | 1))),
            "{codes:?}"
        );
        let running = attached_by_ip(NEAR).expect("one of them is attached");
        assert!(["enter", "xdp_drop"].contains(&&*running.name), "{running:?}");
        assert_pins_are_of_the_running(&sandbox, times);
        assert_eq!(kept(&sandbox).is_empty(), running.name != "enter", "time {times}");
    }
    tally("at once", TIMES, &["two attach --replace"]);
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn an_attach_and_a_detach() {
    let (sandbox, _veth) = need!(pair(&[]));
    let object = object("tail_calls");
    let attach = ["attach", NEAR, &object, "--prog", "enter", "--replace"];
    let detach: [&str; 2] = ["detach", NEAR];
    for times in 0..TIMES {
        xdpload(&attach).ok();
        let codes = run_both([&attach, &detach]);
        assert!(codes.iter().all(|code| matches!(code, Some(0 | 1))), "{codes:?}");
        match attached_by_ip(NEAR) {
            Some(_) => assert_pins_are_of_the_running(&sandbox, times),
            None => assert_eq!(kept(&sandbox), Vec::<String>::new(), "time {times}: {codes:?}"),
        }
    }
    tally("at once", TIMES, &["attach --replace and detach"]);
    if attached_by_ip(NEAR).is_some() {
        xdpload(&["detach", NEAR]).ok();
    }
}

/// The pins of a plan are there as long as its program runs, and are the maps of that program.
#[track_caller]
fn assert_runs_with_its_pin(pin: &str, times: usize) {
    let pinned = bpftool(&["map", "show", "pinned", pin]);
    let running = attached_by_ip(NEAR).expect("one of them is attached");
    let program = bpftool(&["prog", "show", "id", &running.id.to_string()]);
    let maps = program["map_ids"].as_array().expect("it has maps");
    assert!(maps.contains(&pinned["id"]), "time {times}: {program} runs, and pinned is {pinned}");
}

/// Of two that make the same new pin, the one that fails must not take the pin away that the other has taken over.
#[test]
fn two_first_attaches_that_pin() {
    let (sandbox, _veth) = need!(pair(&["bpftool"]));
    let object = object("blacklist");
    let pin = "/sys/fs/bpf/edge/blacklist";
    let attach = ["attach", NEAR, &object, "--pin-map", &format!("blacklist={pin}")];
    // With another name for the same thing, so that neither is taken for the other.
    let other = ["attach", NEAR, &object, "--mode=generic", attach[3], attach[4]];
    for times in 0..TIMES {
        let codes = run_both([&attach, &other]);
        assert!(codes.contains(&Some(0)), "time {times}: {codes:?}");
        assert_runs_with_its_pin(pin, times);
        assert_eq!(sandbox.pins(), ["edge", "edge/blacklist"], "time {times}: {codes:?}");
        xdpload(&["detach", NEAR]).ok();
        fs::remove_dir_all("/sys/fs/bpf/edge").expect("root may remove pins");
    }
    tally("at once", TIMES, &["two first attaches with --pin-map"]);
}

/// Of two that find no bpffs, the one must not hide the pins of the other.
#[test]
fn two_first_attaches_that_mount_bpffs() {
    let (sandbox, _veth) = need!(pair(&["bpftool"]));
    let object = object("blacklist_gobpf");
    let pin = "/sys/fs/bpf/globals/globals/blacklist";
    for times in 0..TIMES {
        umount("/sys/fs/bpf").expect("a bpffs is mounted");
        assert!(!sandbox.has_bpffs(), "time {times}: one was mounted on the other");
        let attach = ["attach", NEAR, &object];
        let codes = run_both([&attach, &["attach", NEAR, &object, "--mode=generic"]]);
        assert!(codes.contains(&Some(0)), "time {times}: {codes:?}");
        assert_runs_with_its_pin(pin, times);
        xdpload(&["detach", NEAR]).ok();
    }
    assert_eq!(sandbox.pins().last().map(String::as_str), Some("globals/globals/blacklist"));
    tally("at once", TIMES, &["two first attaches that mount bpffs"]);
}

/// Of two first `block on` that find no bpffs, neither hides the other's blocklist, and one that is refused takes away
/// neither that nor its mount.
#[test]
fn two_first_block_on_that_mount_bpffs() {
    let (sandbox, _veth) = need!(pair(&["bpftool"]));
    run(&mut command("ip", &["link", "add", "two0", "type", "veth", "peer", "name", "two1"])).ok();
    let on = |interface| ["block", "on", interface, "--max-rules=64"];
    for times in 0..TIMES {
        umount("/sys/fs/bpf").expect("a bpffs is mounted");
        assert!(!sandbox.has_bpffs(), "time {times}: one was mounted on the other");
        // The loopback interface has no native mode.
        let (other, code) = if times % 2 == 0 { ("two0", 0) } else { ("lo", 1) };
        // Held up until both have seen that there is none.
        let below = lock(Path::new("/sys/fs/bpf")).expect("root may open it");
        let both = start_both([&on(NEAR), &on(other)]);
        wait_for("both to wait", || both.iter().all(waits_for_a_lock));
        drop(below);
        let codes = end_of_both(both);
        assert_eq!(codes, [Some(0), Some(code)], "time {times}");
        let id = attached_by_ip(NEAR).expect("it is on").id;
        assert!(attached_by_ip(other).is_none_or(|running| running.id == id), "time {times}: there are two");
        xdpload(&["block", "add", "192.0.2.77"]).ok();
        xdpload(&["block", "off", "--purge"]).ok();
        assert_eq!([NEAR, other].map(attached_by_ip), [None, None], "time {times}");
    }
    tally("at once", TIMES, &["two first block on that mount bpffs"]);
}

/// What is pinned for a program that is about to be attached is no orphan.
#[test]
fn an_attach_and_a_collection_of_orphans() {
    let (sandbox, _veth) = need!(pair(&[]));
    let object = object("tail_calls");
    let attach = ["attach", NEAR, &object, "--prog", "enter"];
    for times in 0..TIMES {
        let codes = run_both([&attach, &["pins", "gc"]]);
        assert_eq!(codes, [Some(0); 2], "time {times}");
        assert_pins_are_of_the_running(&sandbox, times);
        assert!(!kept(&sandbox).is_empty(), "time {times}: the prog arrays are empty now");
        xdpload(&["detach", NEAR]).ok();
    }
    tally("at once", TIMES, &["attach with prog arrays and pins gc"]);
}

#[test]
fn two_loads_that_pin() {
    let (sandbox, _veth) = need!(pair(&[]));
    let load = ["load", &object("many"), "--all", "--pin", "/sys/fs/bpf/edge"];
    let mut alone = Vec::new();
    for times in 0..=TIMES {
        if times == 0 {
            xdpload(&load).ok();
            alone = sandbox.pins();
        } else {
            let codes = run_both([&load, &load]);
            // The second has the same maps, and so the same programs.
            assert_eq!(codes, [Some(0); 2], "time {times}");
            assert_eq!(sandbox.pins(), alone, "time {times}");
        }
        fs::remove_dir_all("/sys/fs/bpf/edge").expect("root may remove pins");
    }
    tally("at once", TIMES, &["two load --pin"]);
}

#[test]
fn turning_the_blocklist_on_and_off() {
    let (sandbox, _veth) = need!(pair(&[]));
    let (on, off) = (["block", "on", NEAR, "--max-rules=64"], ["block", "off", NEAR, "--purge"]);
    xdpload(&on).ok();
    for times in 0..TIMES {
        let codes = run_both([&on, &off]);
        assert!(codes.iter().all(|code| matches!(code, Some(0 | 1))), "time {times}: {codes:?}");
        let is_there = sandbox.pins().iter().any(|pin| pin.starts_with("xdpload/block/"));
        assert_eq!(attached_by_ip(NEAR).is_some(), is_there, "time {times}: {codes:?}");
        xdpload(&on).ok();
        xdpload(&["block", "add", "192.0.2.77"]).ok();
        xdpload(&["block", "test", "192.0.2.77"]).ok().stdout_has("is dropped");
    }
    tally("at once", TIMES, &["block on and block off --purge"]);
    xdpload(&off).ok();
}

#[test]
fn loading_a_list_and_adding_to_it() {
    let (sandbox, _veth) = need!(pair(&[]));
    xdpload(&["block", "on", NEAR, "--max-rules=64"]).ok();
    let list = sandbox.scratch().join("list");
    fs::write(&list, "198.51.100.1\n198.51.100.2\n").expect("the sandbox is writable");
    let load = ["block", "load", list.to_str().expect("it is ASCII")];
    for times in 0..TIMES {
        let codes = run_both([&load, &["block", "add", "203.0.113.9"]]);
        assert_eq!(codes, [Some(0); 2], "time {times}");
        let rules = answer(&["block", "list"])["rules"].clone();
        let rules: Vec<_> =
            rules.as_array().expect("a list").iter().map(|rule| text(&rule["prefix"])).collect();
        // The list replaces what was added before it, or it is added to.
        let loaded = ["198.51.100.1", "198.51.100.2"];
        let is_one_of_both = rules == loaded || rules == [loaded[0], loaded[1], "203.0.113.9"];
        assert!(is_one_of_both, "time {times}: {rules:?}");
    }
    tally("at once", TIMES, &["block load and block add"]);
    xdpload(&["block", "off", "--purge"]).ok();
}
