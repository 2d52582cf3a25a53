//! Tail calls: a chain of programs goes on after the process that attached it has ended, and is let go of by detach.

use std::fs::File;
use std::process::Stdio;

use nix::fcntl::{Flock, FlockArg};

use crate::acceptor::Ending;
use crate::objects::{object, object_by};
use crate::packets::assert_udp;
use crate::peers::{attached_by_ip, bpftool, number, program, text};
use crate::requirement::tool;
use crate::sandbox::Sandbox;
use crate::strace_plan::run_as_planned;
use crate::veth::{FAR, FAR_V4, NEAR, pair, wait_for};
use crate::xdpload::{answer, waits_for_a_lock, xdpload, xdpload_command};

/// Where the last program of the chain is told what to return, and where another counts.
const PINS: [&str; 2] = ["--pin-map=answer=/sys/fs/bpf/answer", "--pin-map=counted=/sys/fs/bpf/counted"];

/// XDP verdicts, as the map takes them.
const DROP: &str = "1";
const PASS: &str = "2";

fn set_answer(verdict: &str) {
    xdpload(&["map", "set", "/sys/fs/bpf/answer", "0", verdict]).ok();
}

/// Where the prog array `map` is pinned.
#[track_caller]
fn pin_of(attached: &serde_json::Value, map: &str) -> String {
    let arrays = attached["attached"][0]["prog_arrays"].as_array().expect("a list of prog arrays");
    let array = arrays.iter().find(|array| array["map"] == map).expect("the prog array is pinned");
    text(&array["pin"])
}

#[test]
fn the_chain_goes_on_without_its_loader() {
    let (sandbox, veth) = need!(pair(&[]));
    for mode in ["native", "generic"] {
        let chain = object("tail_calls");
        let attach = [&["attach", NEAR, &chain, "--prog=enter", "--mode", mode], &PINS[..]].concat();
        let attached = answer(&attach);
        // A chain that is broken passes everything.
        set_answer(DROP);
        assert_udp(&veth, FAR_V4, 0);
        set_answer(PASS);
        assert_udp(&veth, FAR_V4, 5);
        let counted = answer(&["map", "get", "/sys/fs/bpf/counted", "0"]);
        assert_ne!(text(&counted["value"]["hex"]), "0000000000000000");

        let kept: Vec<_> = ["first_jump", "last_jump"].map(|map| pin_of(&attached, map)).into();
        let below_bpffs = |path: &String| path.strip_prefix("/sys/fs/bpf/").unwrap().to_owned();
        let pins = sandbox.pins();
        assert!(kept.iter().all(|path| pins.contains(&below_bpffs(path))), "{kept:?} {pins:?}");

        let detached = answer(&["detach", NEAR]);
        assert_eq!(detached["detached"][0]["unpinned"], serde_json::json!(kept));
        assert_eq!(sandbox.pins(), ["answer", "counted"]);
        assert_udp(&veth, FAR_V4, 5);
    }
}

#[test]
fn a_replacement_lets_go_of_what_was_there_before() {
    let (sandbox, veth) = need!(pair(&[]));
    let attach = |program: &str| {
        let chain = object("tail_calls");
        let options = ["attach", NEAR, &chain, "--prog", program, "--replace"];
        number(&answer(&[&options, &PINS[..]].concat())["program"]["id"])
    };
    let ours = |pins: Vec<String>| pins.into_iter().filter(|pin| pin.contains('/')).collect::<Vec<_>>();
    attach("enter");
    let first = ours(sandbox.pins());
    assert_eq!(first.len(), 3, "a directory and two pins: {first:?}");
    let id = attach("enter");
    let second = ours(sandbox.pins());
    assert_eq!(second.len(), 3, "{second:?}");
    assert!(second.iter().all(|pin| pin.contains(&format!("_{id}")) && !first.contains(pin)), "{second:?}");
    set_answer(DROP);
    assert_udp(&veth, FAR_V4, 0);
    // One that makes no tail calls keeps nothing.
    attach("alone");
    assert_eq!(ours(sandbox.pins()), [""; 0]);
    assert_udp(&veth, FAR_V4, 5);
}

#[test]
fn each_namespace_has_its_own_pins() {
    let (sandbox, veth) = need!(pair(&[]));
    let chain = object("tail_calls");
    xdpload(&[&["attach", NEAR, &chain, "--prog=enter"], &PINS[..]].concat()).ok();
    let here = sandbox.pins();
    let far = ["--netns", veth.far.path().to_str().unwrap()];
    xdpload(&[&["attach", FAR, &chain, "--prog=enter"], &far[..], &PINS[..]].concat()).ok();
    assert_eq!(sandbox.pins().len(), here.len() + 3);
    xdpload(&[&["detach", FAR], &far[..]].concat()).ok();
    assert_eq!(sandbox.pins(), here);
    set_answer(DROP);
    assert_udp(&veth, FAR_V4, 0);
}

#[test]
fn a_prog_array_that_is_pinned_anyway_needs_no_other_pin() {
    let (sandbox, veth) = need!(pair(&[]));
    let chain = object("tail_calls");
    let pins = ["--pin-map=first_jump=/sys/fs/bpf/first", "--pin-map=last_jump=/sys/fs/bpf/last"];
    let attach = [&["attach", NEAR, &chain, "--prog=enter"], &pins[..], &PINS[..]].concat();
    let attached = answer(&attach);
    assert_eq!(attached["attached"][0]["prog_arrays"], serde_json::json!([]));
    set_answer(DROP);
    assert_udp(&veth, FAR_V4, 0);
    xdpload(&["detach", NEAR]).ok();
    assert_eq!(sandbox.pins(), ["answer", "counted", "first", "last"]);
}

#[test]
fn a_refused_attach_leaves_pinned_prog_arrays_as_they_were() {
    let (sandbox, veth) = need!(pair(&["bpftool", "strace"]));
    let chain = object("tail_calls");
    let pins = ["--pin-map=first_jump=/sys/fs/bpf/first", "--pin-map=last_jump=/sys/fs/bpf/last"];
    let options = [&["--prog=enter"], &pins[..], &PINS[..]].concat();
    let refused = |interface: &str| {
        let plan = [&[&*chain, "--dev", interface], &options[..]].concat();
        let attach = [&["attach", interface, &chain], &options[..]].concat();
        run_as_planned(&sandbox, &plan, &attach, Ending::AsTheKernelSays).fails(1).stderr_has("EOPNOTSUPP");
    };
    // The loopback interface has no native mode; the kernel says so when all is loaded.
    refused("lo");
    assert_eq!(sandbox.pins(), [""; 0]);

    xdpload(&[&["attach", NEAR, &chain], &options[..]].concat()).ok();
    set_answer(DROP);
    let arrays =
        || ["first", "last"].map(|name| bpftool(&["map", "dump", "pinned", &format!("/sys/fs/bpf/{name}")]));
    let before = arrays();
    refused("lo");
    assert_eq!(arrays(), before);
    assert_udp(&veth, FAR_V4, 0);
    // One that others have emptied is empty again.
    xdpload(&["map", "delete", "/sys/fs/bpf/last", "0"]).ok();
    let before = arrays();
    refused("lo");
    assert_eq!(arrays(), before);
}

#[test]
fn a_program_that_is_loaded_already_lets_go_of_what_was_there_before() {
    let (sandbox, _veth) = need!(pair(&[]));
    xdpload(&["load", &object("xdp_pass"), "--pin=/sys/fs/bpf/pass"]).ok();
    let before = sandbox.pins();
    for link in [&[][..], &["--link", "--pin=/sys/fs/bpf/link"]] {
        xdpload(&[&["attach", NEAR, &object("tail_calls"), "--prog=enter"], link].concat()).ok();
        let link = &link[..link.len().min(1)];
        let pinned = ["attach", NEAR, "--pinned=/sys/fs/bpf/pass/xdp_pass", "--replace"];
        xdpload(&[&pinned[..], link].concat()).ok();
        xdpload(&[&["detach", NEAR], link].concat()).ok();
        assert_eq!(sandbox.pins(), before);
    }
}

/// A program that takes its own place goes on with its chain.
#[test]
fn a_program_that_replaces_itself_keeps_its_prog_arrays() {
    let (sandbox, veth) = need!(pair(&[]));
    let attached = answer(&[&["attach", NEAR, &object("tail_calls"), "--prog=enter"], &PINS[..]].concat());
    let (id, pins) = (format!("--prog-id={}", attached["program"]["id"]), sandbox.pins());
    set_answer(DROP);
    xdpload(&["attach", NEAR, &id, "--replace"]).ok();
    assert_eq!(sandbox.pins(), pins);
    assert_udp(&veth, FAR_V4, 0);
    xdpload(&["attach", NEAR, &id, "--replace", "--confirm=10m"]).ok();
    xdpload(&["confirm", NEAR]).ok();
    assert_eq!(sandbox.pins(), pins);
    assert_udp(&veth, FAR_V4, 0);
    // With the pins goes the directory that they were in, also when it is the guard that lets go of them.
    xdpload(&["detach", NEAR, "--confirm=10m"]).ok();
    assert_eq!(sandbox.pins(), pins);
    xdpload(&["confirm", NEAR]).ok();
    assert_eq!(sandbox.pins(), ["answer", "counted"]);
}

/// With the last pins goes the directory of all, whatever comes in the place of the program, but not while another
/// attachment has pins there.
#[test]
fn the_last_replacement_removes_the_directory() {
    let (sandbox, veth) = need!(pair(&[]));
    let (chain, plain, pinning) = (object("tail_calls"), object("xdp_pass"), object("blacklist"));
    let loaded = answer(&["load", &plain, "--pin=/sys/fs/bpf/plain"]);
    let by_id = format!("--prog-id={}", loaded["programs"][0]["id"]);
    let far = veth.far.path().display().to_string();
    let kept = || sandbox.pins().into_iter().filter(|pin| pin.starts_with("xdpload")).collect::<Vec<_>>();
    for new in [&[&*plain][..], &[&by_id], &[&pinning, "--pin-map=blacklist=/sys/fs/bpf/list"]] {
        answer(&["attach", NEAR, &chain, "--prog=enter"]);
        answer(&["attach", FAR, &chain, "--prog=enter", "--netns", &far]);
        answer(&[&["attach", NEAR, "--replace"], new].concat());
        assert_eq!(kept().len(), 4);
        answer(&["detach", NEAR]);
        answer(&["attach", NEAR, &chain, "--prog=enter"]);
        answer(&["detach", FAR, "--netns", &far]);
        answer(&[&["attach", NEAR, "--replace"], new].concat());
        assert_eq!(kept(), [""; 0]);
        answer(&["detach", NEAR]);
    }
}

/// Others who are busy with pins are waited for, since they may have found the directory there.
#[test]
fn the_directory_is_not_removed_under_others() {
    let (sandbox, _veth) = need!(pair(&[]));
    answer(&["attach", NEAR, &object("tail_calls"), "--prog=enter"]);
    let root = File::open("/sys/fs/bpf").expect("the sandbox has mounted it");
    let lock = Flock::lock(root, FlockArg::LockExclusive).expect("nobody has it");
    let plain = object("xdp_pass");
    let mut replace = xdpload_command(&["attach", NEAR, &plain, "--replace"]);
    let mut replace = replace.stdout(Stdio::null()).spawn().expect("it starts");
    wait_for("it to wait for the lock", || waits_for_a_lock(&replace));
    assert_eq!(attached_by_ip(NEAR).expect("a program is there").name, "xdp_pass");
    assert_eq!(sandbox.pins(), ["xdpload"]);
    drop(lock);
    assert!(replace.wait().expect("it is a child").success());
    assert_eq!(sandbox.pins(), [""; 0]);
    answer(&["detach", NEAR]);
}

#[test]
fn a_refused_attach_keeps_nothing() {
    let sandbox = need!(Sandbox::new());
    // The loopback interface has no native mode; the kernel says so when all is loaded.
    xdpload(&["attach", "lo", &object("tail_calls"), "--prog=enter"]).fails(1).stderr_has("EOPNOTSUPP");
    assert_eq!(sandbox.pins(), [""; 0]);
}

#[test]
fn the_programs_of_the_chain_are_those_that_libbpf_loads() {
    let (_sandbox, _veth) = need!(pair(&["bpftool"]));
    for clang in ["clang-14", "clang-19"] {
        let chain = object_by(clang, "tail_calls");
        bpftool(&["prog", "loadall", &chain, "/sys/fs/bpf/theirs"]);
        let attached = answer(&["attach", NEAR, &chain, "--prog=enter"]);
        let tag = |program: serde_json::Value| text(&program["tag"]);
        let theirs =
            |name: &str| tag(bpftool(&["prog", "show", "pinned", &format!("/sys/fs/bpf/theirs/{name}")]));
        assert_eq!(text(&attached["program"]["tag"]), theirs("enter"));
        for (map, name) in [("first_jump", "count"), ("last_jump", "verdict")] {
            let dump = bpftool(&["map", "dump", "pinned", &pin_of(&attached, map)]);
            let entry = &dump.as_array().unwrap()[0];
            let bytes: Vec<_> = entry["value"].as_array().unwrap().iter().map(text).collect();
            let id =
                bytes.iter().rev().fold(0, |id, byte| id << 8 | u64::from_str_radix(&byte[2..], 16).unwrap());
            let ours = program(id);
            assert_eq!((text(&ours["name"]), tag(ours)), (name.to_owned(), theirs(name)));
        }
        xdpload(&["detach", NEAR]).ok();
        std::fs::remove_dir_all("/sys/fs/bpf/theirs").unwrap();
    }
}

/// Sections say which program goes where: `1/0`, `0x1/03`, and `0x10/0x1f` for an array that other objects use.
#[test]
fn iproute2_fills_prog_arrays_by_the_names_of_sections() {
    let (sandbox, veth) = need!(pair(&["bpftool"]));
    for clang in ["clang-14", "clang-19"] {
        let attached = answer(&["attach", NEAR, &object_by(clang, "iproute2_tail_calls")]);
        assert_eq!(text(&attached["program"]["name"]), "enter");
        assert_udp(&veth, FAR_V4, 0);
        let filled = |pin: &str| {
            let dump = bpftool(&["map", "dump", "pinned", pin]);
            dump.as_array().unwrap().iter().map(|entry| text(&entry["key"][0])).collect::<Vec<_>>()
        };
        assert_eq!(filled(&pin_of(&attached, "jumps")), ["0x00", "0x03"]);
        assert_eq!(filled("/sys/fs/bpf/xdp/globals/shared"), ["0x1f"]);
        xdpload(&["detach", NEAR]).ok();
        assert_eq!(sandbox.pins(), ["xdp", "xdp/globals", "xdp/globals/shared"]);
    }
}

#[test]
fn only_what_the_chain_needs_is_loaded() {
    need!(tool("ip"));
    let plan = |program: &str| answer(&["plan", &object("tail_calls"), "--prog", program]);
    assert_eq!(plan("enter")["programs"], serde_json::json!(["enter", "count", "verdict"]));
    assert_eq!(plan("count")["programs"], serde_json::json!(["count", "verdict"]));
    assert_eq!(plan("alone")["programs"], serde_json::json!(["alone"]));
}
