//! `xdpload block` and whoever would be cut off by it: each refusal, each way around it, and the trial of a default.

use std::fs;

use loader::map::Map;

use crate::bench::refused;
use crate::block_commands::{block, blocked_pair, file, listed};
use crate::command::{Ran, command, run};
use crate::packets::assert_udp;
use crate::peers::{attached_by_ip, number};
use crate::requirement::tool;
use crate::veth::{BLOCKED, FAR, FAR_V4, FAR_V6, NEAR, NEAR_V4, OTHER, pair, wait_for};
use crate::xdpload::{answer, xdpload, xdpload_command};

/// `xdpload block` in an SSH session that comes from 192.0.2.77.
fn in_session(words: &[&str]) -> Ran {
    let mut session = xdpload_command(&[&["block"], words].concat());
    run(session.env("SSH_CONNECTION", format!("{BLOCKED} 50000 192.0.2.1 22")))
}

#[test]
fn nobody_is_locked_out() {
    let (sandbox, _veth) = need!(blocked_pair(&[]));
    need!(tool("sudo"));
    let near = NEAR_V4.to_string();
    refused(
        &["block", "add", &near],
        1,
        &["refused, nothing was changed: 192.0.2.1 is an address of this host (near0)"],
    );
    run(&mut command("ip", &["route", "add", "default", "via", "192.0.2.78"])).ok();
    refused(&["block", "add", "192.0.2.78"], 1, &["192.0.2.78 is the default gateway"]);
    refused(&["block", "add", "192.0.2.64/26"], 1, &["192.0.2.64/26 covers 192.0.2.78, the default gateway"]);
    refused(&["block", "add", "0.0.0.0/0"], 1, &["0.0.0.0/0 covers every address"]);
    let list = file(&sandbox, "list", "10.0.0.0/8\n192.0.2.0/24\n");
    refused(&["block", "load", &list], 1, &["192.0.2.0/24 covers 192.0.2.78, the default gateway"]);
    // As sshd and sudo leave it: in the environment of a process above.
    for env in ["sudo", "env -u SSH_CONNECTION", "env SSH_CONNECTION="] {
        let words = format!("{env} {} block add 198.51.100.7; exit $?", env!("CARGO_BIN_EXE_xdpload"));
        let mut session = command("sh", &["-c", &words]);
        session.env("SSH_CONNECTION", "198.51.100.7 50000 192.0.2.1 22");
        run(&mut session).fails(1).stderr_has("198.51.100.7 is the peer of this SSH connection");
    }
    assert!(listed().is_empty());
    block(&["allow", "add", "192.0.2.78", "192.0.2.1"]).ok();
    block(&["add", "192.0.2.64/26"]).ok();
    block(&["add", "192.0.2.1", "--force"]).ok();
}

/// Rules hold wherever the blocklist is on, and so they lock out there as well.
#[test]
fn nobody_is_locked_out_of_another_namespace() {
    let (sandbox, veth) = need!(pair(&["bpftool"]));
    let ip = |words: &[&str]| drop(run(&mut command("ip", words)).ok());
    veth.far.run(|| ip(&["route", "add", "default", "via", "192.0.2.79"]));
    let on = ["block", "on", FAR, "--netns=far", "--max-rules=64"];
    xdpload(&on).ok();
    let gateway = "192.0.2.79 is the default gateway in network namespace `/run/netns/far`";
    refused(
        &["block", "add", "192.0.2.79"],
        1,
        &[gateway, "`xdpload block allow add 192.0.2.79` makes an exception"],
    );
    let words = "192.0.2.2 is an address of this host (far0) in network namespace `/run/netns/far`";
    refused(&["block", "add", "192.0.2.2"], 1, &[words]);
    let words = "192.0.2.76/30 covers 192.0.2.79, the default gateway in network namespace `/run/netns/far`";
    refused(&["block", "load", &file(&sandbox, "list", "192.0.2.76/30\n")], 1, &[words]);
    let feed = format!("echo add 192.0.2.79 | {} block sync -", env!("CARGO_BIN_EXE_xdpload"));
    run(&mut command("sh", &["-c", &feed]))
        .fails(1)
        .stderr_has(&format!("line 1: refused, nothing was changed: {gateway}"));
    assert!(listed().is_empty());

    // Where it is off, nobody is locked out until it is turned on.
    block(&["off", FAR, "--netns=far"]).ok();
    block(&["add", "192.0.2.79"]).ok();
    refused(&on[..4], 1, &[gateway]);
    block(&["on", NEAR]).ok();
    xdpload(&[&on[..4], &["--force"]].concat()).ok();
    block(&["allow", "add", "192.0.2.79"]).ok();
    refused(&["block", "allow", "del", "192.0.2.79"], 1, &[gateway]);
}

/// On a gateway with several ways out, each of them counts, whichever table has it.
#[test]
fn every_default_gateway_is_protected() {
    let (_sandbox, _veth) = need!(blocked_pair(&[]));
    let ip = |words: &[&str]| run(&mut command("ip", words)).ok();
    ip(&["route", "add", "default", "nexthop", "via", "192.0.2.81", "nexthop", "via", "192.0.2.82"]);
    ip(&["route", "add", "default", "via", "192.0.2.83", "table", "100"]);
    ip(&["route", "add", "128.0.0.0/1", "via", "192.0.2.84"]);
    ip(&["route", "add", "default", "via", "inet6", "fe80::85", "dev", NEAR, "table", "101"]);
    ip(&["-6", "route", "add", "default", "via", "fe80::86", "dev", NEAR]);
    ip(&["nexthop", "add", "id", "7", "via", "192.0.2.87", "dev", NEAR]);
    ip(&["route", "add", "default", "nhid", "7", "table", "102"]);
    ip(&["route", "add", "203.0.113.0/24", "via", "192.0.2.88"]);
    for gateway in
        ["192.0.2.81", "192.0.2.82", "192.0.2.83", "192.0.2.84", "fe80::85", "fe80::86", "192.0.2.87"]
    {
        refused(&["block", "add", gateway], 1, &[&format!("{gateway} is the default gateway")]);
    }
    block(&["add", "192.0.2.88"]).ok();
}

#[test]
fn what_is_dropped_by_default_must_be_allowed() {
    let (_sandbox, veth) = need!(pair(&["bpftool"]));
    refused(
        &["block", "on", NEAR, "--default", "drop"],
        2,
        &["--default drop cuts off", "--confirm 60s undoes it"],
    );
    block(&["on", NEAR, "--default", "drop", "--force"]).ok();
    assert_udp(&veth, FAR_V4, 0);
    block(&["allow", "add", "192.0.2.2"]).ok();
    assert_udp(&veth, FAR_V4, 5);
    block(&["on", NEAR, "--default", "pass"]).ok();
    assert_udp(&veth, OTHER, 5);
}

/// The packet program itself looks at the clock, and no process is needed.
#[test]
fn dropping_by_default_ends_unless_it_is_confirmed() {
    let (_sandbox, veth) = need!(blocked_pair(&["--max-rules", "64"]));
    let drop = |time: &str| block(&["on", NEAR, "--default", "drop", "--confirm", time]).ok();
    drop("60s")
        .stdout_has("the blocklist is on already: near0 in native mode\n")
        .stdout_has("run `xdpload confirm` within 6")
        .stderr_has("note: the blocklist is on `near0` already, so it is not on trial there\n");
    let status = answer(&["status", NEAR])["interfaces"][0].clone();
    // A time is up to 1.07 s longer than was asked for.
    assert!((50..=61).contains(&number(&status["default_drop_seconds_left"])), "{status}");
    xdpload(&["status"])
        .ok()
        .stdout_has(" s to go on dropping what no rule of the blocklist matches; otherwise it passes again");
    assert_udp(&veth, OTHER, 0);
    assert_udp(&veth, FAR_V6, 0);
    let confirmed = xdpload(&["confirm", NEAR]).ok();
    assert_eq!(confirmed.stdout(), "confirmed: the blocklist drops whatever is not allowed\n");
    refused(&["confirm"], 1, &["no change waits to be confirmed"]);
    assert!(answer(&["status", NEAR])["interfaces"][0]["default_drop_seconds_left"].is_null());
    assert_udp(&veth, OTHER, 0);
    assert_eq!(answer(&["block", "test", "198.51.100.7"])["verdict"], "dropped");

    block(&["on", NEAR, "--default", "pass"]).ok();
    drop("1s");
    wait_for("its end", || answer(&["block", "test", "198.51.100.7"])["verdict"] == "passed");
    assert_udp(&veth, OTHER, 5);
    assert_udp(&veth, FAR_V6, 5);
    refused(&["confirm", NEAR], 1, &["no change of `near0` waits to be confirmed"]);
    assert_eq!(answer(&["block", "on", NEAR])["default_drop"], false);
    // Of an interface that it is not on it is not confirmed.
    drop("60s");
    refused(&["confirm", "lo"], 1, &["no change of `lo` waits to be confirmed"]);
    xdpload(&["confirm"]).ok();
    assert_udp(&veth, OTHER, 0);
}

/// Who tries again and again does not put off the end either.
#[test]
fn a_default_on_trial_ends_in_time_whatever_is_refused_meanwhile() {
    let (_sandbox, _veth) = need!(blocked_pair(&["--max-rules", "64"]));
    run(&mut command("ip", &["link", "add", "two0", "type", "veth", "peer", "name", "two1"])).ok();
    block(&["on", NEAR, "--default", "drop", "--confirm", "60s"]).ok();
    let config = Map::open_pinned("/sys/fs/bpf/xdpload/block/config").unwrap();
    let settings = || config.lookup(&[0; 4]).unwrap().unwrap().single().unwrap().to_vec();
    let before = settings();
    for setting in ["--count-only=true", "--default=pass", "--default=drop"] {
        refused(&["block", "on", "two0", "--mode=offload", "--force", setting], 1, &["offload mode"]);
        assert_eq!(settings(), before, "{setting}");
    }
}

/// What was dropped for good before a trial is so after it.
#[test]
fn a_drop_for_good_is_not_on_trial() {
    let (_sandbox, veth) = need!(blocked_pair(&["--max-rules", "64", "--default", "drop", "--force"]));
    run(&mut command("ip", &["link", "add", "two0", "type", "veth", "peer", "name", "two1"])).ok();
    let drop = ["block", "on", NEAR, "two0", "--default", "drop", "--confirm", "1s"];
    let said = xdpload(&drop).ok();
    said.stderr_has("note: packets that no rule matches are dropped already, so this is not on trial\n")
        .stdout_has("packets that no rule matches are dropped, unless allowed\n");
    assert!(answer(&["status", NEAR])["interfaces"][0]["default_drop_seconds_left"].is_null());
    // Where the program is new, that is.
    wait_for("the end of the trial", || attached_by_ip("two0").is_none());
    assert_eq!(answer(&["block", "test", "198.51.100.7"])["verdict"], "dropped");
    assert_udp(&veth, OTHER, 0);
}

/// Whoever turns it on for the first time has the program on trial, and the default with it.
#[test]
fn a_new_blocklist_that_drops_by_default_is_on_trial() {
    let (_sandbox, veth) = need!(pair(&["bpftool"]));
    block(&["on", NEAR, "--default", "drop", "--confirm", "60s"]).ok();
    assert_udp(&veth, OTHER, 0);
    xdpload(&["confirm"])
        .ok()
        .stdout_has("stays on near0")
        .stdout_has("confirmed: the blocklist drops whatever is not allowed\n");
    assert_udp(&veth, OTHER, 0);
    block(&["off", "--purge"]).ok();

    block(&["on", NEAR, "--default", "drop", "--confirm", "1s"]).ok();
    wait_for("the end of the trial", || attached_by_ip(NEAR).is_none());
    // What was on trial does not come back with the next command.
    wait_for("the end of the default", || answer(&["block", "test", "198.51.100.7"])["verdict"] == "passed");
    block(&["on", NEAR]).ok();
    assert_udp(&veth, OTHER, 5);
}

#[test]
fn rules_that_are_there_lock_nobody_out_when_it_is_turned_on() {
    let (_sandbox, veth) = need!(blocked_pair(&["--max-rules", "64"]));
    block(&["add", "192.0.2.64/26"]).ok();
    let is_refused = |words: &[&str], trial: bool| {
        let ran = in_session(words).fails(1);
        let ran = ran.stderr_has(
            "refused, nothing was changed: 192.0.2.64/26 covers 192.0.2.77, the peer of this SSH connection",
        );
        assert_eq!(ran.stderr().contains("--confirm 60s"), trial, "{}", ran.report());
    };
    // It is on already, and nothing changes.
    in_session(&["on", NEAR]).ok();
    block(&["off", NEAR]).ok();
    is_refused(&["on", NEAR], true);
    assert_eq!(attached_by_ip(NEAR), None);
    in_session(&["on", NEAR, "--count-only"]).ok();
    is_refused(&["on", NEAR, "--count-only=false"], false);
    // A trial would not take that back.
    in_session(&["on", NEAR, "--count-only=false", "--confirm", "60s", "--force"])
        .fails(1)
        .stderr_has("--confirm cannot undo that packets are dropped and no longer only counted");
    assert_udp(&veth, BLOCKED, 5);
    in_session(&["on", NEAR, "--count-only=false", "--force"]).ok();
    assert_udp(&veth, BLOCKED, 0);
    block(&["off", NEAR]).ok();
    in_session(&["on", NEAR, "--confirm", "60s"]).ok();
    xdpload(&["confirm"]).ok();

    block(&["off", NEAR]).ok();
    block(&["del", "192.0.2.64/26"]).ok();
    block(&["on", NEAR, "--default", "drop", "--force"]).ok();
    block(&["off", NEAR]).ok();
    in_session(&["on", NEAR]).fails(1).stderr_has(
        "nothing allows 192.0.2.77, the peer of this SSH connection, and what is not allowed is dropped",
    );
    block(&["allow", "add", "192.0.2.77"]).ok();
    in_session(&["on", NEAR]).ok();
    assert_udp(&veth, BLOCKED, 5);
    assert_udp(&veth, OTHER, 0);
}

/// A trial would not put back what other interfaces do.
#[test]
fn what_is_set_for_all_interfaces_is_not_on_trial() {
    let (_sandbox, veth) = need!(blocked_pair(&["--max-rules", "64"]));
    run(&mut command("ip", &["link", "add", "two0", "type", "veth", "peer", "name", "two1"])).ok();
    block(&["add", "192.0.2.77"]).ok();
    block(&["on", NEAR, "--default", "drop", "--force"]).ok();
    for (setting, what, option) in [
        (&["--count-only"][..], "packets are only counted and no longer dropped", "--count-only"),
        (&["--default", "pass"], "packets that no rule matches pass", "--default pass"),
        (&["--default=pass", "--count-only=true"], "packets are only counted", "--count-only"),
    ] {
        for interface in [NEAR, "two0"] {
            let words = format!("--confirm cannot undo that {what}");
            let hint = format!("`xdpload block on {interface} {option}` does it without a trial");
            let on = ["block", "on", interface, "--confirm", "60s", "--force"];
            refused(&[&on, setting].concat(), 1, &[&words, "which holds for all interfaces", &hint]);
        }
    }
    assert_eq!(attached_by_ip("two0"), None);
    refused(&["confirm"], 1, &["no change waits to be confirmed"]);
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, OTHER, 0);

    // What is so already is no change.
    block(&["on", NEAR, "--count-only", "--default", "pass"]).ok();
    let same = ["--count-only", "--default", "pass", "--confirm", "60s"];
    block(&[&["on", "two0"], &same[..]].concat()).ok().stdout_has("on: two0 in native mode, and only counts");
    xdpload(&["confirm"]).ok();
    assert_udp(&veth, BLOCKED, 5);
}

#[test]
fn an_exception_that_is_needed_is_not_taken_back() {
    let (_sandbox, veth) = need!(blocked_pair(&["--max-rules", "64"]));
    block(&["allow", "add", "192.0.2.77", "192.0.2.76/30"]).ok();
    in_session(&["add", "192.0.2.64/26"]).ok();
    // The other one is enough.
    in_session(&["allow", "del", "192.0.2.77"]).ok();
    in_session(&["allow", "del", "192.0.2.76/30"])
        .fails(1)
        .stderr_has("192.0.2.64/26 covers 192.0.2.77, the peer of this SSH connection");
    assert_udp(&veth, BLOCKED, 5);
    block(&["on", NEAR, "--default", "drop", "--force"]).ok();
    block(&["del", "192.0.2.64/26"]).ok();
    in_session(&["allow", "del", "192.0.2.76/30"])
        .fails(1)
        .stderr_has("nothing allows 192.0.2.77, the peer of this SSH connection");
    in_session(&["allow", "del", "192.0.2.76/30", "--force"]).ok();
    assert_udp(&veth, BLOCKED, 0);
}

#[test]
fn an_exception_for_everybody_is_no_mistake() {
    let (sandbox, veth) = need!(blocked_pair(&["--max-rules", "64"]));
    block(&["add", "192.0.2.77"]).ok();
    let words = "refused, nothing was changed: 0.0.0.0/0 lets every address pass";
    refused(&["block", "allow", "add", "0.0.0.0/0"], 1, &[words]);
    let list = file(&sandbox, "list", "allow 0.0.0.0/0\n192.0.2.78\n");
    refused(&["block", "load", &list], 1, &[words]);
    // A list that comes from elsewhere makes no exceptions from others.
    let words = format!("`{list}` has exceptions, which belong to no set; nothing was changed");
    refused(&["block", "load", &list, "--name", "feed", "--force"], 1, &[&words]);
    assert_eq!(listed(), ["192.0.2.77 default"]);
    assert_udp(&veth, BLOCKED, 0);
    block(&["allow", "add", "0.0.0.0/0", "--force"]).ok();
    assert_udp(&veth, BLOCKED, 5);
}

#[test]
fn more_memory_than_there_is_is_not_taken() {
    let (sandbox, _veth) = need!(pair(&["bpftool"]));
    let meminfo = file(&sandbox, "meminfo", "MemTotal:       65536 kB\nMemAvailable:    8192 kB\n");
    run(&mut command("mount", &["--bind", &meminfo, "/proc/meminfo"])).ok();
    let words = "room for 100000 rules takes 10 MB of kernel memory, and 8 MB are free";
    refused(&["block", "on", NEAR], 1, &[words, "--max-rules sets the number"]);
    assert!(!fs::exists("/sys/fs/bpf/xdpload/block/config").unwrap());
    block(&["on", NEAR, "--max-rules", "20000"]).ok();
    block(&["off", "--purge"]).ok();
    block(&["on", NEAR, "--force"]).ok();
}
