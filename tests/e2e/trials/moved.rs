//! Interfaces that are moved to another network namespace, renamed or removed while a change of theirs is on trial.

use std::fs::File;
use std::os::fd::AsRawFd as _;

use nix::unistd::gettid;

use super::*;

/// The namespace that `near0` is moved to.
const ELSEWHERE: &str = "elsewhere";

fn ip(words: &[&str]) {
    run(&mut command("ip", words)).ok();
}

/// Moves `near0`; where `is_number_taken`, another interface there has its number.
fn move_away(is_number_taken: bool) {
    ip(&["netns", "add", ELSEWHERE]);
    if is_number_taken {
        let status = answer(&["status", NEAR]);
        let index = number(&status["interfaces"][0]["ifindex"]).to_string();
        let add = ["link", "add", "taken0", "index", &index, "type", "veth", "peer", "name", "taken1"];
        ip(&[&["-n", ELSEWHERE], &add[..]].concat());
    }
    ip(&["link", "set", NEAR, "netns", ELSEWHERE]);
}

/// The programs on `near0` in the other namespace.
fn there() -> Vec<u64> {
    let status = answer(&["status", NEAR, "--netns", ELSEWHERE]);
    let programs = status["interfaces"][0]["programs"].as_array().expect("it is a list").clone();
    programs.iter().map(|program| number(&program["id"])).collect()
}

/// What is on trial of interfaces that are here no more.
fn absent() -> Value {
    answer(&["status"])["absent"][0].clone()
}

/// Attaches what a change replaces, by netlink or by a link; nothing without `how`.
fn attach_before(how: &str) -> Vec<u64> {
    let link: &[&str] = if how == "--link" { &["--link", "--pin=/sys/fs/bpf/link"] } else { &[] };
    match how {
        "" => vec![],
        _ => vec![number(&attach("xdp_pass", link)["program"]["id"])],
    }
}

/// Makes a change on trial.
fn change(how: &str, time: &str) -> Guard {
    let options: &[&str] = match how {
        "" => &[],
        "--link" => &["--replace", "--link"],
        _ => &["--replace"],
    };
    Guard::of(&attach("xdp_drop", &[options, &[time]].concat()))
}

/// Detaches on trial what [`attach_before`] has attached.
fn detach(how: &str) -> Value {
    let link: &[&str] = if how == "--link" { &["--link"] } else { &[] };
    answer(&[&["detach", NEAR, LONG], link].concat())
}

#[test]
fn what_was_before_is_put_back_where_the_interface_is_now() {
    for (how, is_number_taken) in
        [("", false), ("", true), ("--replace", false), ("--replace", true), ("--link", true)]
    {
        let (sandbox, _veth) = need!(bench(&[]));
        let before = attach_before(how);
        let pins = sandbox.pins();
        let guard = change(how, LONG);
        move_away(is_number_taken);
        let moved = absent();
        assert_eq!(moved["interface"], NEAR);
        assert_eq!((&moved["netns"], &moved["trial"]["guard"]), (&json!(ELSEWHERE), &json!(guard.0)));
        let ran = xdpload(&["status"])
            .ok()
            .stdout_has("  not here any more: it is in network namespace `elsewhere`\n");
        ran.stdout_has("  on trial: run `xdpload confirm near0` within ");
        guard.signal(Signal::SIGTERM);
        guard.ends();
        guard.has_logged("`near0`, now in network namespace `elsewhere`: the guard was told to end");
        assert_eq!((there(), sandbox.pins()), (before, pins), "{how}");
        ip(&["netns", "del", ELSEWHERE]);
    }
}

#[test]
fn what_was_moved_can_be_confirmed_where_the_change_was_made() {
    for (how, confirm) in
        [("", &["confirm"][..]), ("--replace", &["confirm", NEAR]), ("--link", &["confirm", NEAR])]
    {
        let (sandbox, _veth) = need!(bench(&[]));
        attach_before(how);
        let guard = change(how, LONG);
        move_away(false);
        refused(&["confirm", NEAR, "--netns", ELSEWHERE], 1, &["no change of `near0` waits to be confirmed"]);
        refused(&["confirm", "near7"], 1, &["there is no interface named `near7`"]);
        let confirmed = answer(confirm)["confirmed"][0].clone();
        assert_eq!((&confirmed["interface"], &confirmed["netns"]), (&json!(NEAR), &json!(ELSEWHERE)));
        guard.ends();
        assert_eq!(there(), [number(&confirmed["program"])]);
        assert!(answer(&["status"])["absent"].is_null());
        refused(&["confirm", NEAR], 1, &["there is no interface named `near0`"]);
        // The link that a trial leaves is found there by itself.
        let link: &[&str] = if how == "--link" { &["--link"] } else { &[] };
        xdpload(&[&["detach", NEAR, "--netns", ELSEWHERE], link].concat()).ok();
        assert_eq!((there(), sandbox.pins()), (vec![], vec![]));
        ip(&["netns", "del", ELSEWHERE]);
    }
}

/// It runs nothing that would tell it from others, but the kernel says where it goes.
#[test]
fn what_was_detached_is_put_back_where_the_interface_is_now() {
    for (how, is_number_taken) in [("--replace", false), ("--replace", true), ("--link", true)] {
        let (sandbox, _veth) = need!(bench(&[]));
        let before = attach_before(how);
        let pins = sandbox.pins();
        let guard = Guard::of(&detach(how));
        move_away(is_number_taken);
        let moved = absent();
        assert_eq!((&moved["netns"], &moved["trial"]["guard"]), (&json!(ELSEWHERE), &json!(guard.0)));
        // The way of a container runtime.
        ip(&["-n", ELSEWHERE, "link", "set", NEAR, "name", "eth0"]);
        ip(&["-n", ELSEWHERE, "link", "add", NEAR, "type", "veth", "peer", "name", "far7"]);
        guard.signal(Signal::SIGTERM);
        guard.ends();
        guard.has_logged("`near0`, now in network namespace `elsewhere`: the guard was told to end");
        ip(&["-n", ELSEWHERE, "link", "del", NEAR]);
        ip(&["-n", ELSEWHERE, "link", "set", "eth0", "name", NEAR]);
        assert_eq!((there(), sandbox.pins()), (before, pins), "{how}");
        ip(&["netns", "del", ELSEWHERE]);
    }
}

/// The link that a trial has left is pinned by the place of its interface.
#[test]
fn the_own_link_is_put_back_where_it_is_found_by_the_new_place() {
    let (sandbox, _veth) = need!(bench(&[]));
    let attached = attach("xdp_drop", &[LONG]);
    answer(&["confirm"]);
    let guard = Guard::of(&answer(&["detach", NEAR, LONG]));
    move_away(true);
    guard.signal(Signal::SIGTERM);
    guard.ends();
    assert_eq!(there(), [number(&attached["program"]["id"])]);
    xdpload(&["detach", NEAR, "--netns", ELSEWHERE]).ok();
    assert_eq!((there(), sandbox.pins()), (vec![], vec![]));
    ip(&["netns", "del", ELSEWHERE]);
}

#[test]
fn what_was_detached_and_moved_can_be_confirmed() {
    let (sandbox, _veth) = need!(bench(&[]));
    attach_before("--replace");
    let guard = Guard::of(&detach("--replace"));
    move_away(false);
    let confirmed = answer(&["confirm", NEAR])["confirmed"][0].clone();
    assert_eq!((&confirmed["interface"], &confirmed["netns"]), (&json!(NEAR), &json!(ELSEWHERE)));
    guard.ends();
    assert_eq!((there(), sandbox.pins()), (vec![], vec![]));
    ip(&["netns", "del", ELSEWHERE]);
}

/// A command that misses its guard puts back by itself what it has detached: there, and not from an interface here that
/// has the same number.
#[test]
fn a_detach_elsewhere_that_misses_its_guard_is_put_back_there() {
    let (sandbox, _veth) = need!(bench(&["strace"]));
    let index = number(&answer(&["status", NEAR])["interfaces"][0]["ifindex"]).to_string();
    let before = attach_before("--replace");
    move_away(false);
    ip(&["link", "add", "taken0", "index", &index, "type", "veth", "peer", "name", "taken1"]);
    let command = xdpload_command(&["detach", NEAR, "--netns", ELSEWHERE, SHORT]);
    let mut kills = 0;
    for nth in 1..30 {
        // Only a guard waits so.
        let (ran, was_killed) = kill_each_before(&sandbox, "poll", nth, &command);
        if ran.code() == Some(0) {
            break;
        }
        assert!(was_killed, "{nth}\n{}", ran.report());
        kills += 1;
        assert_eq!((there(), attached_by_ip("taken0").is_none()), (before.clone(), true), "{}", ran.report());
    }
    assert!(kills >= 2, "{kills}");
    ip(&["netns", "del", ELSEWHERE]);
}

/// An interface that has been moved on is left alone, also if another has got its number; and that is said beforehand.
#[test]
fn what_cannot_be_found_is_left_alone_aloud() {
    let (_sandbox, _veth) = need!(bench(&[]));
    let index = number(&answer(&["status", NEAR])["interfaces"][0]["ifindex"]).to_string();
    attach("xdp_pass", &[]);
    let guard = Guard::of(&detach(""));
    move_away(false);
    ip(&["netns", "add", "further"]);
    ip(&["-n", ELSEWHERE, "link", "set", NEAR, "netns", "further"]);
    let add = ["link", "add", "other0", "index", &index, "type", "veth", "peer", "name", "other1"];
    ip(&[&["-n", ELSEWHERE], &add[..]].concat());
    let lost = "the interface is in another network namespace, where it cannot be found";
    assert_eq!((&absent()["netns"], &absent()["lost"]), (&Value::Null, &json!(lost)));
    let ran = xdpload(&["status"]).ok().stdout_has(&format!("  not here any more: {lost}\n"));
    ran.stdout_has(": unless it comes back, the change can be neither confirmed nor undone\n");
    refused(&["confirm"], 1, &[&format!("the change of `near0`: {lost}")]);
    // It comes back.
    let home = gettid().to_string();
    ip(&["-n", "further", "link", "set", NEAR, "netns", &home]);
    assert!(answer(&["status"])["interfaces"][0]["trial"].is_object());
    ip(&["link", "set", NEAR, "netns", "further"]);
    ip(&["-n", "further", "link", "set", NEAR, "netns", ELSEWHERE]);
    guard.signal(Signal::SIGTERM);
    guard.ends();
    guard.has_logged(&format!("`near0` is left as it is, since somebody has changed it meanwhile: {lost}"));
    assert_eq!(there(), [0; 0]);
    xdpload(&["status", "other0", "--netns", ELSEWHERE]).ok().stdout_has("no XDP program");
    ip(&["netns", "del", ELSEWHERE]);
    ip(&["netns", "del", "further"]);
}

/// What was detached from an interface that is removed has nowhere to go back to.
#[test]
fn the_trial_of_a_detach_ends_with_the_interface() {
    let (_sandbox, _veth) = need!(bench(&[]));
    attach("xdp_pass", &[]);
    let guard = Guard::of(&detach(""));
    ip(&["link", "del", NEAR]);
    refused(&["confirm"], 1, &["no change waits to be confirmed"]);
    guard.ends();
    guard.has_logged(
        "`near0` is left as it is, since somebody has changed it meanwhile: the interface is gone",
    );
}

/// A link reaches its interface in a namespace that has neither a name nor a process.
#[test]
fn what_a_link_holds_is_put_back_wherever_it_is() {
    for how in ["", "--link"] {
        let (sandbox, _veth) = need!(bench(&[]));
        let before = attach_before(how);
        let guard = change(how, LONG);
        move_away(false);
        let held = File::open("/run/netns/elsewhere").expect("it was added");
        ip(&["netns", "del", ELSEWHERE]);
        xdpload(&["status"]).ok().stdout_has("it is in a network namespace that cannot be found\n");
        guard.signal(Signal::SIGTERM);
        guard.ends();
        fs::write("/run/netns/again", "").expect("the sandbox is writable");
        let path = format!("/proc/self/fd/{}", held.as_raw_fd());
        bind(Path::new(&path), Path::new("/run/netns/again"));
        let status = answer(&["status", NEAR, "--netns=again"]);
        let programs = status["interfaces"][0]["programs"].as_array().expect("it is a list").clone();
        assert_eq!(programs.iter().map(|program| number(&program["id"])).collect::<Vec<_>>(), before);
        assert_eq!(sandbox.pins().len(), before.len());
        ip(&["netns", "del", "again"]);
    }
}

#[test]
fn an_interface_may_be_renamed_or_made_anew() {
    let (sandbox, _veth) = need!(bench(&[]));
    let before = attach_before("--replace");
    let guard = change("--replace", LONG);
    for words in [&["down"][..], &["name", "new0"], &["up"]] {
        let name = if words == ["up"] { "new0" } else { NEAR };
        ip(&[&["link", "set", name], words].concat());
    }
    xdpload(&["status"]).ok().stdout_has("on trial: run `xdpload confirm new0` within ");
    guard.signal(Signal::SIGTERM);
    guard.ends();
    assert_eq!(attached_by_ip("new0").map(|program| vec![program.id]), Some(before));
    ip(&["link", "set", "new0", "down"]);
    ip(&["link", "set", "new0", "name", NEAR]);
    xdpload(&["detach", NEAR]).ok();

    // Another of the same name is not on trial. With its link, the program is known to be gone.
    let guard = change("", LONG);
    ip(&["link", "del", NEAR]);
    ip(&["link", "add", NEAR, "type", "veth", "peer", "name", "far7"]);
    refused(&["confirm", NEAR], 1, &["no change of `near0` waits to be confirmed"]);
    refused(&["confirm"], 1, &["no change waits to be confirmed"]);
    guard.ends();
    guard.has_logged("the interface is gone, and the program with its bpf_link");
    assert_eq!((near(), sandbox.pins()), (None, vec![]));
}
