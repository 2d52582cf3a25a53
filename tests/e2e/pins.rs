//! `xdpload pins`: what is pinned, by whom it is used, and what serves nobody any more.

use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::command::{command, run};
use crate::leftovers::assert_program_goes;
use crate::objects::object;
use crate::peers::{attached_by_ip, bpftool, number, text};
use crate::veth::{NEAR, pair};
use crate::xdpload::{answer, xdpload};

/// What is told of the pin at `path`.
#[track_caller]
fn told(path: &str) -> Value {
    let pins = answer(&["pins"])["pins"].clone();
    let pin = pins.as_array().expect("a list").iter().find(|pin| pin["path"] == path);
    pin.unwrap_or_else(|| panic!("{path} is not among {pins:#}")).clone()
}

#[test]
fn each_pin_is_told_with_its_users() {
    let (_sandbox, _veth) = need!(pair(&["bpftool"]));
    xdpload(&["load", &object("blacklist"), "--pin=/sys/fs/bpf/edge"]).ok();
    let (map, program) = ("/sys/fs/bpf/edge/maps/blacklist", "/sys/fs/bpf/edge/xdp_ip_filter");
    let id = told(program)["id"].clone();
    assert_eq!(id, bpftool(&["prog", "show", "pinned", program])["id"]);
    assert_eq!(told(map)["id"], bpftool(&["map", "show", "pinned", map])["id"]);
    assert_eq!(told(map)["used_by"], serde_json::json!([format!("program {id} (xdp_ip_filter)")]));
    assert_eq!(told(program)["used_by"], serde_json::json!([]));
    xdpload(&["pins"]).ok().stdout_has("no visible users");
    xdpload(&["attach", NEAR, "--pinned", program]).ok();
    assert_eq!(told(program)["used_by"], serde_json::json!(["near0 in native mode"]));
    xdpload(&["detach", NEAR]).ok();
    xdpload(&["attach", NEAR, "--pinned", program, "--link", "--pin=/sys/fs/bpf/link"]).ok();
    let link = told("/sys/fs/bpf/link");
    assert_eq!((text(&link["kind"]), &link["used_by"]), ("link".to_owned(), &serde_json::json!(["near0"])));
    xdpload(&["pins"])
        .ok()
        .stdout_has(&format!("program {id} xdp_ip_filter  used by near0 in native mode, bpf_link "));
    // Nothing of it is anybody's to remove.
    xdpload(&["pins", "gc"]).ok().stdout_has("there are no orphans");
    xdpload(&["detach", NEAR, "--link"]).ok();
}

#[test]
fn all_maps_of_a_blocklist_are_told_as_its_own() {
    let (_sandbox, _veth) = need!(pair(&[]));
    xdpload(&["block", "on", NEAR, "--max-rules=64"]).ok();
    // Its program has no use for this one.
    assert_eq!(told("/sys/fs/bpf/xdpload/block/holds")["used_by"], serde_json::json!(["the blocklist"]));
    xdpload(&["block", "off", "--purge"]).ok();
}

#[test]
fn what_serves_nobody_is_collected() {
    let (sandbox, _veth) = need!(pair(&[]));
    // Prog arrays that were kept for a program which somebody else has taken off.
    let attached = answer(&[
        "attach",
        NEAR,
        &object("tail_calls"),
        "--prog=enter",
        "--pin-map=answer=/sys/fs/bpf/answer",
    ]);
    let id = number(&attached["program"]["id"]);
    xdpload(&["pins", "gc"]).ok().stdout_has("there are no orphans");
    run(&mut command("ip", &["link", "set", "dev", NEAR, "xdpdrv", "off"])).ok();
    assert_program_goes(id);
    // A link that holds nothing any more.
    xdpload(&["attach", NEAR, &object("xdp_pass"), "--link", "--pin=/sys/fs/bpf/link"]).ok();
    run(&mut command("bpftool", &["link", "detach", "pinned", "/sys/fs/bpf/link"])).ok();
    let before = sandbox.pins();
    let ran = xdpload(&["pins", "gc", "--dry-run"]).ok();
    ran.stdout_has(&format!("program {id} is gone"))
        .stdout_has("would remove /sys/fs/bpf/link: it is detached");
    assert_eq!(sandbox.pins(), before);
    let before = xdpload(&["pins", "--json", "gc", "--dry-run"]).ok();
    assert_eq!(before.json()["dry_run"], true);
    let removed = answer(&["pins", "gc"])["removed"].clone();
    assert_eq!(removed.as_array().map(Vec::len), Some(3), "{removed:#}");
    assert_eq!(sandbox.pins(), ["answer"]);
    xdpload(&["pins", "gc"]).ok().stdout_has("there are no orphans");
    // Of another bpffs, said before the word or behind it.
    xdpload(&["attach", NEAR, &object("xdp_pass"), "--link", "--pin=/sys/fs/bpf/link"]).ok();
    run(&mut command("bpftool", &["link", "detach", "pinned", "/sys/fs/bpf/link"])).ok();
    xdpload(&["pins", "gc", "--bpffs=/nowhere"]).ok().stdout_has("there are no orphans");
    xdpload(&["pins", "--bpffs=/nowhere", "gc"]).ok().stdout_has("there are no orphans");
    xdpload(&["pins", "gc", "--bpffs=/sys/fs/bpf"]).ok().stdout_has("removed /sys/fs/bpf/link");
}

/// Whoever names a directory of other files is told once, and loses none.
#[test]
fn what_is_no_bpffs_is_one_error() {
    let (sandbox, _veth) = need!(pair(&[]));
    let directory = sandbox.scratch().join("files");
    fs::create_dir(&directory).expect("the sandbox is writable");
    let option = format!("--bpffs={}", directory.display());
    let name = |file: &str| directory.join(file).display().to_string();
    fs::write(name("a"), "").expect("the sandbox is writable");
    let one =
        format!("error: `{}` is not in a bpffs: bpf(BPF_OBJ_GET) for `{}` failed: ", name("a"), name("a"));
    xdpload(&["pins", &option]).fails(2).stderr_has(&one);
    fs::write(name("b"), "").expect("the sandbox is writable");
    let all = format!("error: 2 files below `{}` are no pins: `", directory.display());
    for words in [&["pins", &option][..], &["pins", "gc", &option]] {
        let ran = xdpload(words)
            .fails(2)
            .stderr_has(&all)
            .stderr_has("` is not in a bpffs: bpf(BPF_OBJ_GET) for `");
        assert_eq!(ran.stderr().lines().count(), 1, "{}", ran.report());
    }
    assert!(Path::new(&name("a")).exists() && Path::new(&name("b")).exists());
}

#[test]
fn what_went_into_another_namespace_is_left() {
    let (sandbox, veth) = need!(pair(&[]));
    let attached = answer(&["attach", NEAR, &object("tail_calls"), "--prog=enter"]);
    let (id, pins) = (number(&attached["program"]["id"]), sandbox.pins());
    run(&mut command("ip", &["link", "set", "dev", NEAR, "netns", "far"])).ok();
    assert!(veth.far.run(|| attached_by_ip(NEAR)).is_some(), "it has taken its program along");
    let ran = xdpload(&["pins", "gc"]).ok().stdout_has("there are no orphans");
    // It was found there, and not just left for fear that it may be somewhere.
    assert_eq!((ran.stderr(), sandbox.pins()), ("", pins));
    xdpload(&["detach", NEAR, "--netns=far"]).ok();
    assert_program_goes(id);
    xdpload(&["pins", "gc"]).ok().stdout_has(" is ").stdout_has("removed /sys/fs/bpf/xdpload/");
    assert_eq!(sandbox.pins(), [""; 0]);
}

/// The prog arrays of a program are one, wherever it is attached.
#[test]
fn what_runs_on_another_interface_is_left() {
    let (sandbox, _veth) = need!(pair(&[]));
    let attached = answer(&["attach", NEAR, &object("tail_calls"), "--prog=enter"]);
    let (id, pins) = (number(&attached["program"]["id"]), sandbox.pins());
    run(&mut command("ip", &["link", "add", "other0", "type", "veth", "peer", "name", "other1"])).ok();
    xdpload(&["attach", "other0", "--prog-id", &id.to_string()]).ok();
    run(&mut command("ip", &["link", "set", "dev", NEAR, "xdpdrv", "off"])).ok();
    let ran = xdpload(&["pins", "gc"]).ok().stdout_has("there are no orphans");
    assert_eq!((ran.stderr(), sandbox.pins()), ("", pins));
    xdpload(&["detach", "other0"]).ok();
    assert_program_goes(id);
    xdpload(&["pins", "gc"]).ok().stdout_has("removed /sys/fs/bpf/xdpload/");
}

#[test]
fn what_a_guard_may_need_is_left() {
    let (sandbox, _veth) = need!(pair(&[]));
    xdpload(&["attach", NEAR, &object("tail_calls"), "--prog=enter"]).ok();
    let (before, pins) = (attached_by_ip(NEAR), sandbox.pins());
    let trial = answer(&["detach", NEAR, "--confirm=10m"]);
    xdpload(&["pins", "gc"]).ok().stdout_has("there are no orphans");
    assert_eq!(sandbox.pins(), pins);
    // A guard that is killed leaves them to nobody.
    let guard = number(&trial["detached"][0]["trial"]["guard"]);
    kill(Pid::from_raw(i32::try_from(guard).expect("an id is small")), Signal::SIGKILL).expect("it is there");
    let is_there = || {
        let stat = fs::read_to_string(Path::new("/proc").join(guard.to_string()).join("stat"));
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    };
    while is_there() {
        std::thread::yield_now();
    }
    xdpload(&["pins", "gc"]).ok().stdout_has("removed /sys/fs/bpf/xdpload/");
    assert_eq!(sandbox.pins(), [""; 0]);
    assert_ne!(attached_by_ip(NEAR), before);
}
