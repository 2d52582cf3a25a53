//! Trials whose calls fail, whose processes are killed (the guard too), or that end at the moment they are confirmed.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use std::{fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Guard, LONG, PATIENCE, SHORT, attach, bench, near};
use crate::matrix::{PRIVATE, SHARE, assert_were_made, numbered};
use crate::objects::object;
use crate::peers::attached_by_ip;
use crate::races::TIMES;
use crate::sandbox::Sandbox;
use crate::strace::{Fault, kill_each_before, trace, trace_with_fault};
use crate::tally::{ALL, tally, tally_of};
use crate::veth::{NEAR, Veth, wait_for};
use crate::xdpload::{answer, xdpload, xdpload_command};

/// Calls of a trial, the guard's among them, each with an errno that it may give.
const FAULTS: [(&str, &str); 15] = [
    ("bpf", "ENOMEM"),
    ("sendto", "ENOBUFS"),
    ("recvfrom", "ENOBUFS"),
    ("sendmsg", "ENOBUFS"),
    ("recvmsg", "ENOMEM"),
    ("socket", "EMFILE"),
    ("bind", "ENOMEM"),
    ("setsockopt", "ENOBUFS"),
    ("setsid", "EPERM"),
    ("execve", "ENOMEM"),
    ("clone3", "EAGAIN"),
    ("socketpair", "EMFILE"),
    ("signalfd4", "ENOMEM"),
    ("flock", "ENOLCK"),
    ("write", "EIO"),
];

/// Whichever call fails, on either side: when the time is up and the guard has ended, all is as it was.
fn end_as_they_began(command: &[&str], least: usize, bench: &(Sandbox, Veth)) {
    let (sandbox, before) = (&bench.0, (near(), bench.0.pins()));
    let now = || (near(), beside_the_blocklist(sandbox));
    let command_line = xdpload_command(command);
    let mut faults = 0;
    for (call, errno) in FAULTS {
        // The first execve is that of the command itself.
        let first = if call == "execve" { 2 } else { 1 };
        for nth in first..30 {
            let fault = Fault { call, errno, nth: (nth, nth) };
            let (ran, calls) = trace_with_fault(sandbox, call, fault, &command_line);
            if !calls.iter().any(|call| call.result.contains("(INJECTED)")) {
                break;
            }
            faults += 1;
            assert_eq!(now(), before, "{fault:?}\n{}", ran.report());
            forget_the_blocklist();
        }
    }
    assert!(faults >= least, "{faults}");
    tally("failed", faults, command);
}

/// Whatever is killed, the command or its guard: the old program is there at the end, or the new one in full where
/// nobody is left to put the old one back, and the next run succeeds.
fn outlive_kills(command: &[&str], set_up: fn(), least: usize) {
    let (sandbox, _veth) = need!(bench(&["strace"]));
    let line = xdpload_command(command);
    set_up();
    let tag = || attached_by_ip(NEAR).map(|program| program.tag);
    let before = tag();
    let (ran, calls) = trace(&sandbox, "all", &line);
    ran.ok();
    assert_eq!((tag(), beside_the_blocklist(&sandbox)), (before.clone(), vec![]));
    let new = xdpload(&command[..command.len() - 1]).ok().code().and_then(|_| tag());
    let calls = numbered(&calls);
    let calls: Vec<_> = calls.iter().filter(|(name, _)| !PRIVATE.contains(&name.as_str())).collect();
    let (mut done, mut tried) = (0, 0);
    for (at, (name, nth)) in calls.iter().enumerate() {
        if !*ALL && at % SHARE != SHARE / 2 {
            continue;
        }
        reset(&sandbox, set_up);
        let (ran, was_killed) = kill_each_before(&sandbox, name, *nth, &line);
        let report = format!("killed before {name} ({nth}): {}", ran.report());
        if before.is_none() {
            // It goes with its guard, as soon as the kernel has seen that.
            wait_for("the program to go", || tag().is_none());
        }
        assert!([&before, &new].contains(&&tag()), "{:?}: {report}", near());
        reset(&sandbox, set_up);
        let again = answer(command);
        Guard::of(&again).signal(Signal::SIGTERM);
        Guard::of(&again).ends();
        assert_eq!(tag(), before, "{report}");
        done += usize::from(was_killed);
        tried += 1;
    }
    reset(&sandbox, || ());
    assert_were_made(done, tried);
    assert!(calls.len() >= least, "{}", calls.len());
    tally_of("killed", (done, calls.len()), command);
}

/// What is there before a trial.
fn reset(sandbox: &Sandbox, set_up: fn()) {
    if near().is_some() && xdpload(&["detach", NEAR, "--link"]).code() != Some(0) {
        xdpload(&["detach", NEAR]).ok();
    }
    xdpload(&["pins", "gc"]).ok();
    forget_the_blocklist();
    assert_eq!(sandbox.pins(), [""; 0]);
    set_up();
}

/// Where the blocklist is.
const BLOCKLIST: &str = "/sys/fs/bpf/xdpload/block";

/// What is pinned but for the blocklist, which outlasts its program.
fn beside_the_blocklist(sandbox: &Sandbox) -> Vec<String> {
    let is_there = Path::new(BLOCKLIST).exists();
    let is_its = |pin: &String| pin == "xdpload" || pin.starts_with("xdpload/block");
    sandbox.pins().into_iter().filter(|pin| !(is_there && is_its(pin))).collect()
}

/// Removes the blocklist, whole or not.
fn forget_the_blocklist() {
    if Path::new(BLOCKLIST).exists() {
        fs::remove_dir_all(Path::new(BLOCKLIST).parent().expect("it has one")).expect("root may remove pins");
    }
}

/// Whoever is first, the other sees it: what is confirmed stays, and what is put back is told.
#[test]
fn a_confirmation_and_the_end_of_the_trial() {
    let (sandbox, _veth) = need!(bench(&[]));
    dropping();
    let mut confirmed = 0;
    for times in 0..TIMES {
        let old = near();
        let attached = attach("xdp_pass", &["--replace", LONG]);
        let new = near();
        let mut confirm = xdpload_command(&["confirm", NEAR]);
        let mut confirm = confirm.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        // The command takes some milliseconds to begin, so that each of both is first at times.
        thread::sleep(Duration::from_micros(200) * u32::try_from(times).expect("a few times"));
        let guard = Guard::of(&attached);
        // It may have ended.
        let _ = kill(Pid::from_raw(i32::try_from(guard.0).expect("an id is small")), Signal::SIGTERM);
        let code = confirm.wait().expect("it ends").code();
        guard.ends();
        let expected = if code == Some(0) { new } else { old };
        assert_eq!((near(), sandbox.pins()), (expected, vec![]), "time {times}: {code:?}");
        confirmed += usize::from(code == Some(0));
    }
    assert!((1..TIMES).contains(&confirmed), "{confirmed}");
    tally("at once", TIMES, &["confirm and the end of the trial"]);
    xdpload(&["detach", NEAR]).ok();
}

fn dropping() {
    attach("xdp_drop", &[]);
}

#[test]
fn a_trial_where_nothing_was_outlives_kills() {
    outlive_kills(&["attach", NEAR, &object("xdp_pass"), SHORT], || (), 40);
}

#[test]
fn a_trial_of_the_blocklist_outlives_kills() {
    outlive_kills(&["block", "on", NEAR, "--max-rules=64", SHORT], || (), 40);
}

#[test]
fn a_trial_of_the_blocklist_ends_as_it_began() {
    let bench = need!(bench(&["strace"]));
    end_as_they_began(&["block", "on", NEAR, "--max-rules=64", SHORT], 15, &bench);
}

#[test]
fn a_trial_of_a_replacement_outlives_kills() {
    outlive_kills(&["attach", NEAR, &object("xdp_pass"), "--replace", SHORT], dropping, 40);
}

#[test]
fn a_detach_on_trial_outlives_kills() {
    outlive_kills(&["detach", NEAR, SHORT], dropping, 40);
}

/// The guard is killed before it has heard that the change is made: the command fails, and leaves all as it was.
fn without_its_guard(command: &[&str], bench: &(Sandbox, Veth)) {
    let (sandbox, before) = (&bench.0, (near(), bench.0.pins()));
    let mut kills = 0;
    for nth in 1..30 {
        // Only a guard waits so.
        let (ran, was_killed) = kill_each_before(sandbox, "poll", nth, &xdpload_command(command));
        if ran.code() == Some(0) {
            break;
        }
        assert!(was_killed, "{nth}\n{}", ran.report());
        kills += 1;
        assert_eq!((near(), sandbox.pins()), before, "{nth}\n{}", ran.report());
    }
    assert!(kills >= 2, "{kills}");
    tally("killed", kills, command);
}

#[test]
fn a_guard_that_dies_too_early_is_noticed() {
    let bench = need!(bench(&["strace"]));
    without_its_guard(&["attach", NEAR, &object("xdp_pass"), SHORT], &bench);
    // The last guard was killed after all was said, and its program goes with it.
    attach_when_free("xdp_drop");
    without_its_guard(&["attach", NEAR, &object("xdp_pass"), "--replace", SHORT], &bench);
    without_its_guard(&["detach", NEAR, SHORT], &bench);
    assert_eq!((near(), bench.0.pins()), (None, vec![]));
}

/// Attaches as soon as the kernel has taken off what nobody holds any more.
fn attach_when_free(name: &str) {
    let deadline = Instant::now() + PATIENCE;
    while near().is_some() {
        assert!(Instant::now() < deadline, "{:?} is still there", near());
        thread::yield_now();
    }
    attach(name, &[]);
}

#[test]
fn a_trial_where_nothing_was_ends_as_it_began() {
    let bench = need!(bench(&["strace"]));
    end_as_they_began(&["attach", NEAR, &object("xdp_pass"), SHORT], 15, &bench);
}

#[test]
fn a_trial_of_a_replacement_ends_as_it_began() {
    let bench = need!(bench(&["strace"]));
    attach("xdp_drop", &[]);
    end_as_they_began(&["attach", NEAR, &object("xdp_pass"), "--replace", SHORT], 15, &bench);
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn a_detach_on_trial_ends_as_it_began() {
    let bench = need!(bench(&["strace"]));
    attach("xdp_drop", &[]);
    end_as_they_began(&["detach", NEAR, SHORT], 15, &bench);
    xdpload(&["detach", NEAR]).ok();
}
