//! Trials that end early, that cannot be confirmed, and that are somebody else's.

use std::process::Command;

use super::*;

/// `xdpload` by a user who is not root.
fn by_nobody(arguments: &[&str]) -> Command {
    let words = ["--reuid=65534", "--clear-groups", "--bounding-set=-all", env!("CARGO_BIN_EXE_xdpload")];
    command("setpriv", &[&words[..], arguments].concat())
}

/// Whoever may not ask is told so at once, and the guard has no more to do than before.
#[test]
fn a_trial_is_of_whoever_began_it() {
    let (_sandbox, _veth) = need!(bench(&[]));
    let guard = Guard::of(&attach("xdp_drop", &[LONG]));
    let words = "only the user who made the change, and root, may confirm it";
    run(&mut by_nobody(&["confirm", NEAR])).fails(3).stderr_has(words);
    run(&mut by_nobody(&["confirm"])).fails(1).stderr_has("no change waits to be confirmed");
    run(&mut by_nobody(&["status", NEAR])).ok().stdout_has("native");
    // It would have ended if they had waited for its end.
    assert!(guard.proc("stat").is_some());
    xdpload(&["confirm", NEAR]).ok();
    guard.ends();
    xdpload(&["detach", NEAR]).ok();
}

/// A change that somebody has taken off, or put another in the place of, is no longer on trial once anybody asks.
#[test]
fn what_is_there_no_more_is_not_on_trial() {
    let (sandbox, _veth) = need!(bench(&[]));
    let guard = Guard::of(&attach("xdp_drop", &[LONG]));
    xdpload(&["detach", NEAR, "--link"]).ok();
    let second = Guard::of(&attach("xdp_pass", &[LONG]));
    guard.ends();
    guard.has_logged("is taken off `near0`: it is not there any more");

    xdpload(&["detach", NEAR, "--link"]).ok();
    refused(&["confirm", NEAR], 1, &["the change is there no more, and its trial is over"]);
    second.ends();
    assert_eq!(answer(&["status"])["interfaces"], json!([]));

    // Of a replacement, and of a detach.
    attach("xdp_pass", &[]);
    let third = Guard::of(&attach("xdp_drop", &["--replace", LONG]));
    attach("xdp_pass", &["--replace"]);
    let id = near().map(|(_, id)| id);
    assert_eq!(answer(&["status"])["interfaces"][0]["trial"], Value::Null);
    third.ends();
    assert_eq!(near().map(|(_, id)| id), id);
    xdpload(&["detach", NEAR]).ok();
    assert_eq!((near(), sandbox.pins()), (None, vec![]));
}

/// Nothing is changed, but whoever believes that all is well has to know of the end.
#[test]
fn what_is_attached_again_is_said_to_be_on_trial() {
    let (sandbox, _veth) = need!(bench(&[]));
    add_other();
    let (drop, pass) = (object("xdp_drop"), object("xdp_pass"));
    let note = "note: `near0` has it on trial: `xdpload confirm near0` within ";
    let attach_again = |object: &str, options: &[&str], otherwise: &str| {
        let before = near();
        let ran = xdpload(&[&["attach", NEAR, object], options].concat()).ok();
        ran.stdout_has(" runs on near0 in native mode already: nothing was changed\n")
            .stderr_has(note)
            .stderr_has(&format!(" s keeps it; otherwise {otherwise}\n"));
        let document = answer(&[&["attach", NEAR, object], options].concat());
        assert_same_trial(&document["attached"][0]["trial"]);
        assert_eq!(near(), before);
    };
    // Held by the guard's link.
    attach("xdp_drop", &[LONG]);
    attach_again(&drop, &[], "the program is detached");
    attach_again(&drop, &[LONG], "the program is detached");
    refused(&["attach", NEAR, &pass], 1, &["and is not the same: it has other instructions"]);
    // By netlink on another interface, which is on no trial.
    xdpload(&["attach", "other0", &drop]).ok();
    let words = ["and is not the same: on `near0`, it has other instructions"];
    refused(&["attach", NEAR, "other0", &pass], 1, &words);
    let id = near().expect("it is there").1.to_string();
    let ran = xdpload(&["attach", NEAR, "--prog-id", &id, LONG]).ok();
    ran.stderr_has(note);
    confirm();
    let ran = xdpload(&["attach", NEAR, &drop, LONG]).ok();
    ran.stderr_has("note: the program is on `near0` already, so it is not on trial there\n");
    assert_eq!(xdpload(&["attach", NEAR, &drop]).ok().stderr(), "");

    // In the place of another.
    attach("xdp_pass", &["--replace", LONG]);
    attach_again(&pass, &[], &format!("XDP program {id} in native mode is restored"));
    confirm();
    xdpload(&["detach", NEAR]).ok();
    xdpload(&["detach", "other0"]).ok();
    assert_eq!((near(), sandbox.pins()), (None, vec![]));
}

/// `trial` is what `status` tells of that of `near0`.
#[track_caller]
fn assert_same_trial(trial: &Value) {
    let status = &answer(&["status", NEAR])["interfaces"][0]["trial"];
    for field in ["guard", "puts_back"] {
        assert_eq!(trial[field], status[field], "{trial}");
    }
    assert!(trial["seconds_left"].as_f64() >= status["seconds_left"].as_f64().map(f64::floor), "{trial}");
    assert_eq!(trial["without_guard"], Value::Null);
}

/// Who may not open the program by its id, and so not compare it, may still ask the guard.
#[test]
fn who_cannot_compare_is_told_of_the_trial() {
    let (sandbox, _veth) = need!(bench(&[]));
    let bpffs = sandbox.scratch().join("bpf");
    fs::create_dir(&bpffs).expect("the sandbox is writable");
    mount(Some("bpf"), &bpffs, Some("bpf"), MsFlags::empty(), Some("mode=0777")).expect("root may mount");
    let capabilities =
        ["--inh-caps=-all,+bpf,+net_admin,+perfmon", "--ambient-caps=-all,+bpf,+net_admin,+perfmon"];
    let (user, program) = (["--reuid=65534", "--clear-groups"], [env!("CARGO_BIN_EXE_xdpload")]);
    let (path, option) = (sandbox.scratch().join("xdp_drop.o"), format!("--bpffs={}", bpffs.display()));
    fs::copy(object("xdp_drop"), &path).expect("the sandbox is writable");
    let path = path.to_str().expect("it is printable");
    let by_user = |words: &[&str]| {
        let words = [&user[..], &capabilities, &program, words, &[&option]].concat();
        run(&mut command("setpriv", &words))
    };
    by_user(&["attach", NEAR, path, LONG]).ok();
    let again = format!("help: xdpload confirm near0 {}, which keeps it\n", option.replace('=', " "));
    let ran = by_user(&["attach", NEAR, path]).fails(1).stderr_has("and could not be compared\n");
    ran.stderr_has("rule: it is on trial: unless confirmed within ")
        .stderr_has(&format!(" s, the program is detached\n  {again}"));
    by_user(&["confirm"]).ok();
    by_user(&["detach", NEAR]).ok();
    assert_eq!(near(), None);
    umount(&bpffs).expect("nobody uses it");
}

#[test]
fn what_is_detached_again_is_said_to_come_back() {
    let (_sandbox, _veth) = need!(bench(&[]));
    let id = number(&attach("xdp_drop", &[])["program"]["id"]);
    let guard = Guard::of(&answer(&["detach", NEAR, LONG]));
    let back = format!(" s, XDP program {id} in native mode is restored\n");
    for words in [&["detach", NEAR][..], &["detach", NEAR, LONG], &["detach", NEAR, "--link"]] {
        let there =
            "no XDP program is there\n  rule: it was detached on trial: unless that is confirmed within ";
        refused(words, 1, &[there, &back, "  help: xdpload confirm near0\n"]);
    }
    guard.signal(Signal::SIGTERM);
    guard.ends();
    xdpload(&["detach", NEAR]).ok();
    let ran = xdpload(&["detach", NEAR]).fails(1);
    assert!(ran.stderr().ends_with("no XDP program is there\n"), "{}", ran.report());
}

/// The blocklist says of a trial what every other command does.
#[test]
fn the_blocklist_knows_of_its_trial() {
    let (sandbox, _veth) = need!(bench(&[]));
    let on = |options: &[&str]| xdpload(&[&["block", "on", NEAR], options].concat());
    let guard = Guard::of(&answer(&["block", "on", NEAR, "--max-rules=64", LONG]));
    let note = "note: `near0` has it on trial: `xdpload confirm near0` within ";
    on(&[LONG]).ok().stderr_has(note);
    on(&[]).ok().stderr_has(note);
    assert_same_trial(&answer(&["block", "on", NEAR])["interfaces"][0]["trial"]);
    let words = ["on trial: xdpload confirm near0, which keeps it; or: xdpload detach near0 --link"];
    refused(&["block", "off", NEAR], 1, &words);
    refused(&["block", "off", "--purge"], 1, &words);
    xdpload(&["confirm", NEAR]).ok();
    guard.ends();
    on(&[LONG]).ok().stderr_has("note: the blocklist is on `near0` already, so it is not on trial there");
    xdpload(&["block", "off", "--purge"]).ok();

    // What is held by a link of others is not proposed to be taken off without it.
    attach("xdp_pass", &["--link", "--pin=/sys/fs/bpf/link"]);
    let words = ["pinned at `/sys/fs/bpf/link`, holds XDP program", "  help: xdpload detach near0 --link\n"];
    refused(&["block", "on", NEAR, "--max-rules=64"], 1, &words);
    xdpload(&["detach", NEAR, "--link"]).ok();
    assert_eq!((near(), sandbox.pins()), (None, vec![]));
}

/// A pin of an earlier trial, whose link holds nothing any more, is not in the way of the next.
#[test]
fn a_pin_of_a_detached_link_is_not_in_the_way() {
    let (sandbox, veth) = need!(bench(&["bpftool"]));
    attach("xdp_drop", &[LONG]);
    let pin = format!("/sys/fs/bpf/xdpload/{}", own_link(&confirm()));
    run(&mut command("bpftool", &["link", "detach", "pinned", &pin])).ok();
    assert_eq!(near(), None);
    let guard = Guard::of(&attach("xdp_drop", &[LONG]));
    assert_eq!(confirm()["pin"], *pin);
    guard.ends();
    assert_udp(&veth, OTHER, 0);
    xdpload(&["detach", NEAR]).ok();
    assert_eq!((near(), sandbox.pins()), (None, vec![]));
}

#[test]
fn what_could_not_be_confirmed_does_not_begin() {
    let (_sandbox, _veth) = need!(bench(&[]));
    let none: Option<&str> = None;
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(none, "/sys/fs/bpf", none, read_only, none).expect("the sandbox has mounted it");
    let words = ["`/sys/fs/bpf` is mounted read-only", "help: mount -o remount,rw /sys/fs/bpf"];
    refused(&["attach", NEAR, &object("xdp_drop"), LONG], 1, &words);
    assert_eq!(near(), None);
    xdpload(&["doctor", NEAR]).ok().stdout_has("/sys/fs/bpf is a bpffs, mounted read-only");
    // In the place of another it takes no pin.
    attach("xdp_pass", &[]);
    let guard = Guard::of(&attach("xdp_drop", &["--replace", LONG]));
    xdpload(&["confirm", NEAR]).ok();
    guard.ends();
    xdpload(&["detach", NEAR]).ok();
}

/// A lock that was held by the command, or by whoever called it, is not held as long as the trial.
#[test]
fn a_guard_keeps_nothing_open_that_it_was_not_given() {
    let (sandbox, _veth) = need!(bench(&[]));
    let lock = sandbox.scratch().join("lock");
    let words = ["exec 9>\"$1\"; shift; exec \"$@\"", "sh", lock.to_str().expect("it is text")];
    let attach = [env!("CARGO_BIN_EXE_xdpload"), "attach", NEAR, &object("xdp_drop"), LONG, "--json"];
    let attached = run(&mut command("sh", &[&["-c"], &words[..], &attach].concat())).ok().json();
    let guard = Guard::of(&attached);
    let open = fs::read_dir(format!("/proc/{}/fd", guard.0)).expect("it is there");
    let open: Vec<_> = open.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).collect();
    assert!(!open.contains(&lock), "{open:?}");
    xdpload(&["confirm", NEAR]).ok();
    guard.ends();
    xdpload(&["detach", NEAR]).ok();
}
