//! `attach` of what runs there already: a no-op that says so, and only where it is the same in all that can be seen.

use serde_json::{Value, json};

use crate::bench::refused;
use crate::command::{command, run};
use crate::objects::object;
use crate::packets::assert_udp;
use crate::peers::{attached_by_ip, number};
use crate::veth::{BLOCKED, NEAR, pair};
use crate::xdpload::{answer, xdpload};

/// Attaches twice with `options`. The second time changes nothing.
#[track_caller]
fn assert_adopted(name: &str, options: &[&str]) {
    let object = object(name);
    let attach = [&["attach", NEAR, &object], options].concat();
    let first = answer(&attach);
    assert_eq!(first["already"], false);
    let before = attached_by_ip(NEAR);
    let second = answer(&attach);
    assert_eq!((&second["already"], &second["transcript"]), (&json!(true), &json!([])));
    assert_eq!(second["program"], first["program"]);
    assert_eq!(second["attached"][0]["mode"], first["attached"][0]["mode"]);
    let (id, tag) = (number(&first["program"]["id"]), first["program"]["tag"].as_str().expect("a tag"));
    let program = first["program"]["name"].as_str().expect("a name");
    let mode = first["attached"][0]["mode"].as_str().expect("a mode");
    let says =
        format!("{program} (id {id}, tag {tag}) runs on near0 in {mode} mode already: nothing was changed\n");
    assert_eq!(xdpload(&attach).ok().stdout(), says);
    assert_eq!(attached_by_ip(NEAR), before);
}

#[test]
fn a_boot_script_may_run_twice() {
    let (_sandbox, _veth) = need!(pair(&[]));
    let cases: [(&str, &[&str]); 10] = [
        ("xdp_pass", &[]),
        ("xdp_drop", &["--mode=generic"]),
        ("xdp_drop", &["--mode=auto"]),
        ("blacklist", &["--max-entries=blacklist=100"]),
        ("blacklist_gobpf", &[]),
        ("subprogs", &["--prog=drop_long"]),
        ("data_sections", &["--prog=count"]),
        ("tail_calls", &["--prog=enter"]),
        ("xdp_pass", &["--link", "--pin=/sys/fs/bpf/link"]),
        ("core_fields", &[]),
    ];
    for (name, options) in cases {
        assert_adopted(name, options);
        let link: &[&str] = if options.contains(&"--link") { &["--link"] } else { &[] };
        xdpload(&[&["detach", NEAR], link].concat()).ok();
    }
    assert!(attached_by_ip(NEAR).is_none());
}

/// An attach is refused, since what runs there is not the same in this.
#[track_caller]
fn assert_other(name: &str, options: &[&str], difference: &str) {
    let before = attached_by_ip(NEAR);
    let words = ["is there already", &format!(", and is not the same: {difference}"), "help: "];
    refused(&[&["attach", NEAR, &object(name)], options].concat(), 1, &words);
    assert_eq!(attached_by_ip(NEAR), before);
}

#[test]
fn what_differs_is_named_and_stays() {
    let (_sandbox, veth) = need!(pair(&[]));
    xdpload(&["attach", NEAR, &object("blacklist")]).ok();
    xdpload(&["map", "set", "near0:blacklist", &BLOCKED.to_string(), "1"]).ok();
    assert_other("xdp_pass", &[], "it has other instructions");
    assert_other(
        "blacklist",
        &["--max-entries=blacklist=100"],
        "its map `blacklist` has another shape: max_entries is ",
    );
    assert_other(
        "blacklist",
        &["--pin-map=blacklist=/sys/fs/bpf/b"],
        "its map `blacklist` is not the one at `/sys/fs/bpf/b`",
    );
    assert_other(
        "blacklist",
        &["--mode=generic"],
        "it runs in native mode\n  help: replace it (`--replace --mode native`), ",
    );
    assert_other("blacklist", &["--link", "--pin=/sys/fs/bpf/link"], "it was attached by netlink");
    // What the running one has learned is nobody's to lose.
    assert_eq!(answer(&["attach", NEAR, &object("blacklist")])["already"], true);
    assert_udp(&veth, BLOCKED, 0);
    // Who says that it is to be replaced is taken at their word.
    assert_eq!(answer(&["attach", NEAR, &object("blacklist"), "--replace"])["already"], false);
    assert_udp(&veth, BLOCKED, 5);
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn constants_and_jumps_are_looked_at() {
    let (_sandbox, _veth) = need!(pair(&[]));
    xdpload(&["attach", NEAR, &object("global_data"), "--set=drop_every=7"]).ok();
    assert_eq!(answer(&["attach", NEAR, &object("global_data"), "--set=drop_every=7"])["already"], true);
    assert_other("global_data", &["--set=drop_every=8"], "its map `.rodata` has other constants");
    assert_other("global_data", &[], "its map `.rodata` has other constants");
    xdpload(&["detach", NEAR]).ok();

    // A jump that leads elsewhere: the first program of the chain is the same, and the rest is not.
    xdpload(&["attach", NEAR, &object("tail_calls"), "--prog=enter"]).ok();
    let status = answer(&["status", NEAR]);
    let maps = status["interfaces"][0]["programs"][0]["maps"].as_array().cloned().unwrap_or_default();
    let jump = maps.iter().find(|map| map["name"] == "first_jump").map(|map| number(&map["id"]));
    let jump = jump.expect("the chain has its first jump").to_string();
    let alone = ["load", &object("tail_calls"), "--prog=alone", "--pin=/sys/fs/bpf/other"];
    xdpload(&alone).ok();
    let write = [
        "map",
        "update",
        "id",
        &jump,
        "key",
        "2",
        "0",
        "0",
        "0",
        "value",
        "pinned",
        "/sys/fs/bpf/other/alone",
    ];
    run(&mut command("bpftool", &write)).ok();
    assert_other("tail_calls", &["--prog=enter"], "its map `first_jump` has another program at ");
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn a_link_of_somebody_else_is_no_attachment_of_ours() {
    let (_sandbox, _veth) = need!(pair(&[]));
    let pass = object("xdp_pass");
    xdpload(&["attach", NEAR, &pass, "--link", "--pin=/sys/fs/bpf/theirs"]).ok();
    assert_other("xdp_pass", &[], "bpf_link ");
    assert_other("xdp_pass", &["--link", "--pin=/sys/fs/bpf/ours"], "bpf_link ");
    xdpload(&["detach", NEAR, "--link"]).ok();
    // What a trial has left is ours, and nothing is put on trial that is there already.
    let trial = answer(&["attach", NEAR, &pass, "--confirm=10m"]);
    assert_ne!(trial["attached"][0]["trial"], Value::Null);
    xdpload(&["confirm"]).ok();
    let again = answer(&["attach", NEAR, &pass, "--confirm=10m"]);
    assert_eq!((&again["already"], again["attached"][0].get("trial")), (&json!(true), None));
    refused(&["confirm"], 1, &["no change waits to be confirmed"]);
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn what_is_loaded_already_may_be_attached_twice_too() {
    let (_sandbox, _veth) = need!(pair(&[]));
    for name in ["xdp_pass", "xdp_drop"] {
        xdpload(&["load", &object(name), "--pin", &format!("/sys/fs/bpf/{name}")]).ok();
    }
    let pass = ["attach", NEAR, "--pinned=/sys/fs/bpf/xdp_pass/xdp_pass"];
    let first = answer(&pass);
    let id = number(&first["program"]["id"]);
    let by_id = ["attach", NEAR, "--prog-id", &id.to_string()];
    for again in [&pass[..], &by_id, &["attach", NEAR, &object("xdp_pass")]] {
        let second = answer(again);
        assert_eq!((&second["already"], &second["program"]), (&json!(true), &first["program"]));
    }
    let drop = ["attach", NEAR, "--pinned=/sys/fs/bpf/xdp_drop/xdp_drop"];
    refused(&drop, 1, &["is there already, and is not the same: it is not program "]);
    refused(&[&pass[..], &["--mode=generic"]].concat(), 1, &["it runs in native mode"]);
    refused(&[&pass[..], &["--link", "--pin=/sys/fs/bpf/link"]].concat(), 1, &["it was attached by netlink"]);
    xdpload(&["detach", NEAR]).ok();
    xdpload(&[&pass[..], &["--link", "--pin=/sys/fs/bpf/link"]].concat()).ok();
    refused(&pass, 1, &["is not the same: bpf_link "]);
    assert_eq!(attached_by_ip(NEAR).map(|attached| attached.id), Some(id));
    xdpload(&["detach", NEAR, "--link"]).ok();
}
