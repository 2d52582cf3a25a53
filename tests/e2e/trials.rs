//! `--confirm`: a change is taken back by itself, unless it is confirmed, and never over somebody else's.

mod ends;
mod faults;
mod moved;
mod stuck;

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount, umount};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::acceptor::{Ending, TRACED, accept};
use crate::bench::refused;
use crate::bpf_links::{PIN as LINK, hold_with_type, link_by_bpftool};
use crate::command::{command, run};
use crate::leftovers::assert_program_goes;
use crate::objects::object;
use crate::packets::assert_udp;
use crate::peers::{attached_by_ip, bpftool, number, text};
use crate::requirement::Missing;
use crate::sandbox::Sandbox;
use crate::strace::{Call, kill_each_before, trace};
use crate::veth::{FAR, FAR_V4, NEAR, OTHER, Veth, pair, wait_for};
use crate::xdpload::{answer, xdpload, xdpload_command};

/// How long a guard may take to notice.
const PATIENCE: Duration = Duration::from_secs(20);
/// A trial that ends while the test waits.
const SHORT: &str = "--confirm=1s";
/// A trial that the test ends.
const LONG: &str = "--confirm=10m";

/// The guard of a trial.
#[derive(Clone, Copy)]
struct Guard(u64);

impl Guard {
    /// The guard of the change that `answer` tells of.
    #[track_caller]
    fn of(answer: &Value) -> Self {
        let places = ["attached", "detached", "interfaces"].map(|list| &answer[list][0]["trial"]);
        let trial = places.into_iter().find(|trial| trial.is_object());
        Self(number(&trial.expect("a change is on trial")["guard"]))
    }

    fn signal(self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0).expect("an id is small")), signal)
            .expect("the guard is there");
    }

    /// What /proc says of it, while it is there and alive.
    fn proc(self, file: &str) -> Option<String> {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.0)).ok()?;
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).ok()?;
        // One that nobody has reaped yet has ended all the same.
        (!stat.rsplit(") ").next()?.starts_with('Z')).then_some(text)
    }

    /// Waits until it has ended.
    #[track_caller]
    fn ends(self) {
        let deadline = Instant::now() + PATIENCE;
        while self.proc("stat").is_some() {
            assert!(Instant::now() < deadline, "guard {} is still there after {PATIENCE:?}", self.0);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asserts that the kernel's log has a line of this guard with `words`.
    #[track_caller]
    fn has_logged(self, words: &str) {
        let log = fs::read_to_string(KERNEL_LOG).expect("it is a file here");
        let mine = format!("xdpload[{}]: ", self.0);
        let lines: Vec<_> = log.lines().filter(|line| line.contains(&mine)).collect();
        assert!(lines.iter().any(|line| line.contains(words)), "no {words:?} in {lines:#?}");
    }
}

/// Where the kernel takes lines for its log, which all processes of the machine share.
const KERNEL_LOG: &str = "/dev/kmsg";

/// A sandbox with a kernel log of its own: a file.
pub(crate) fn bench(tools: &[&str]) -> Result<(Sandbox, Veth), Missing> {
    let (sandbox, veth) = pair(tools)?;
    let log = sandbox.scratch().join("kmsg");
    fs::write(&log, "").expect("the sandbox is writable");
    bind(&log, Path::new(KERNEL_LOG));
    Ok((sandbox, veth))
}

/// What ip(8) says of `near0`: the mode and the id of its program.
fn near() -> Option<(String, u64)> {
    attached_by_ip(NEAR).map(|program| (program.mode, program.id))
}

fn attach(name: &str, options: &[&str]) -> Value {
    let object = object(name);
    answer(&[&["attach", NEAR, &object], options].concat())
}

#[test]
fn what_nobody_confirms_is_taken_off() {
    let (sandbox, veth) = need!(bench(&["bpftool"]));
    for mode in ["native", "generic"] {
        let attached = attach("xdp_drop", &[SHORT, "--mode", mode]);
        let id = number(&attached["program"]["id"]);
        assert_eq!(attached["attached"][0]["trial"]["without_guard"], "program_goes");
        let guard = Guard::of(&attached);
        guard.ends();
        assert_eq!((near(), sandbox.pins()), (None, vec![]));
        assert_program_goes(id);
        assert_udp(&veth, OTHER, 5);
        guard.has_logged(&format!("unless confirmed within 1 s, program {id} is taken off `near0`"));
        guard.has_logged(&format!("program {id} is taken off `near0`: nobody has confirmed it"));
    }
}

/// As somebody who is not root, connects to a guard again and again, and says nothing, until it is there no more.
const SILENT: &str = r#"
import os, signal, socket, sys
signal.alarm(60)
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
held = []
while True:
    one = socket.socket(socket.AF_UNIX)
    try:
        one.connect("\0xdpload-guard/" + sys.argv[1])
    except ConnectionRefusedError:
        break
    held = held[-100:] + [one]
"#;

#[test]
fn nobody_else_holds_off_the_end() {
    let (_sandbox, _veth) = need!(bench(&["python3"]));
    let attached = attach("xdp_drop", &[SHORT]);
    let index = number(&attached["attached"][0]["ifindex"]).to_string();
    let mut crowd = command("python3", &["-c", SILENT, &index]).spawn().expect("python3 starts");
    Guard::of(&attached).ends();
    assert_eq!(near(), None);
    assert!(crowd.wait().expect("it was started").success());
}

/// As somebody who is not root, takes the name of a guard, and holds it until there is no more input. With a second
/// argument, callers queue up to the limit already.
const SQUATTER: &str = r#"
import os, socket, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
held = socket.socket(socket.AF_UNIX)
held.bind("\0xdpload-guard/" + sys.argv[1])
held.listen(0 if len(sys.argv) > 2 else 128)
crowd = []
while len(sys.argv) > 2:
    one = socket.socket(socket.AF_UNIX)
    one.setblocking(False)
    try:
        one.connect("\0xdpload-guard/" + sys.argv[1])
    except BlockingIOError:
        break
    crowd.append(one)
print("held", flush=True)
sys.stdin.read()
"#;

#[test]
fn who_holds_the_name_of_a_guard_is_told() {
    let (_sandbox, _veth) = need!(bench(&["python3"]));
    let attached = attach("xdp_drop", &[]);
    let index = number(&attached["attached"][0]["ifindex"]).to_string();
    xdpload(&["detach", NEAR]).ok();
    let socket = format!("socket `@xdpload-guard/{index}`");
    for (crowd, holder) in [(&[][..], "user 65534"), (&["crowd"], "somebody who lets no caller in")] {
        let words = [&["-c", SQUATTER, &index], crowd].concat();
        let mut squatter = command("python3", &words);
        let mut squatter =
            squatter.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 starts");
        let mut held = [0; 5];
        squatter.stdout.as_mut().expect("it is piped").read_exact(&mut held).expect("it holds the name");
        let words = format!("{holder} holds the {socket}, which the guard needs");
        refused(&["attach", NEAR, &object("xdp_drop"), SHORT], 1, &[&words]);
        assert_eq!(near(), None);
        // Whoever is no guard keeps nobody from the rest.
        let status = answer(&["status", NEAR]);
        let error = status["interfaces"][0]["trial_error"].as_str().unwrap_or_default();
        let words = format!("whoever holds the guard's {socket} does not answer");
        assert_eq!(error, if crowd.is_empty() { "" } else { &words });
        refused(&["confirm", NEAR], 1, &[if crowd.is_empty() { "no change" } else { &words }]);
        drop(squatter.stdin.take());
        assert!(squatter.wait().expect("it was started").success());
    }
}

#[test]
fn what_nobody_confirms_makes_room_for_what_was_there() {
    let (sandbox, veth) = need!(bench(&[]));
    for mode in ["native", "generic"] {
        attach("xdp_pass", &["--mode", mode]);
        let before = near();
        let id = before.as_ref().unwrap().1;
        let attached = attach("xdp_drop", &["--replace", LONG, "--mode", mode]);
        assert_eq!(attached["attached"][0]["trial"]["puts_back"], json!([id]));
        assert_eq!(attached["attached"][0]["trial"]["without_guard"], "program_stays");
        assert_udp(&veth, OTHER, 0);
        // As if the time were up.
        let guard = Guard::of(&attached);
        guard.signal(Signal::SIGTERM);
        guard.ends();
        assert_eq!((near(), sandbox.pins()), (before, vec![]));
        assert_udp(&veth, OTHER, 5);
        guard.has_logged(&format!(
            "XDP program {id} in {mode} mode is put back on `near0`: the guard was told"
        ));
        xdpload(&["detach", NEAR]).ok();
    }
}

#[test]
fn what_is_confirmed_stays() {
    let (sandbox, veth) = need!(bench(&[]));
    // The words first.
    let says =
        "run `xdpload confirm near0` within 600 s to keep the change; otherwise the program is detached\n";
    let ran = xdpload(&["attach", NEAR, &object("xdp_drop"), LONG]).ok().stdout_has(says);
    ran.stdout_has("is killed, the program goes with it");
    let status = answer(&["status", NEAR]);
    let trial = &status["interfaces"][0]["trial"];
    let left = trial["seconds_left"].as_f64().expect("a time is a number");
    assert!(left > 0.0 && left <= 600.0, "{status}");
    assert_eq!(trial["puts_back"], json!([]));
    let guard = Guard(number(&trial["guard"]));
    xdpload(&["status"]).ok().stdout_has("on trial: run `xdpload confirm near0` within ");

    let pin = format!("xdpload/{}", own_link(&confirm()));
    guard.ends();
    guard.has_logged("the change of `near0` is confirmed");
    assert_eq!(sandbox.pins(), ["xdpload", &pin]);
    assert_udp(&veth, OTHER, 0);
    let status = answer(&["status", NEAR]);
    assert_eq!(status["interfaces"][0]["programs"][0]["link"]["pin"], format!("/sys/fs/bpf/{pin}"));
    assert_eq!(status["interfaces"][0]["trial"], Value::Null);

    // From here on nobody needs to know that a link holds it: not a replacement, on trial or not, and not a detach.
    let (_, first) = near().unwrap();
    assert_eq!(attach("xdp_pass", &["--replace"])["attached"][0]["replaced"], first);
    let (_, second) = near().unwrap();
    let attached = attach("xdp_drop", &["--replace", LONG]);
    assert_udp(&veth, OTHER, 0);
    Guard::of(&attached).signal(Signal::SIGTERM);
    Guard::of(&attached).ends();
    assert_eq!(near().unwrap().1, second);
    assert_udp(&veth, OTHER, 5);
    attach("xdp_drop", &["--replace", LONG]);
    assert_eq!(confirm()["pin"], Value::Null);
    assert_udp(&veth, OTHER, 0);
    xdpload(&["detach", NEAR]).ok();
    assert_eq!((near(), sandbox.pins()), (None, vec![]));
}

#[track_caller]
fn confirm() -> Value {
    let confirmed = answer(&["confirm"])["confirmed"][0].clone();
    assert_eq!(confirmed["interface"], NEAR);
    confirmed
}

/// The name of the pin that a confirmed trial leaves.
fn own_link(confirmed: &Value) -> String {
    let pin = text(&confirmed["pin"]);
    pin.rsplit('/').next().unwrap_or_default().to_owned()
}

#[test]
fn a_replacement_that_is_confirmed_is_as_one_without_a_trial() {
    let (sandbox, _veth) = need!(bench(&[]));
    attach("xdp_pass", &[]);
    let attached = attach("xdp_drop", &["--replace", LONG]);
    let says = "confirmed: program";
    xdpload(&["confirm", NEAR]).ok().stdout_has(says);
    Guard::of(&attached).ends();
    assert_eq!(near().unwrap().1, number(&attached["program"]["id"]));
    assert_eq!(sandbox.pins(), [""; 0]);
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn a_guard_that_is_killed_takes_its_program_along() {
    let (sandbox, veth) = need!(bench(&["bpftool"]));
    for options in [&[LONG][..], &[LONG, "--link", "--pin=/sys/fs/bpf/link"]] {
        let attached = attach("xdp_drop", options);
        assert_udp(&veth, OTHER, 0);
        Guard::of(&attached).signal(Signal::SIGKILL);
        Guard::of(&attached).ends();
        assert_program_goes(number(&attached["program"]["id"]));
        assert_eq!((near(), sandbox.pins()), (None, vec![]));
        assert_udp(&veth, OTHER, 5);
        refused(&["confirm", NEAR], 1, &["no change of `near0` waits to be confirmed"]);
    }
    // In the place of another it cannot, and that was said.
    attach("xdp_pass", &[]);
    let ran = xdpload(&["attach", NEAR, &object("xdp_drop"), "--replace", LONG]).ok();
    let ran =
        ran.stdout_has("is killed, the program stays, since nothing but the guard knows the one before");
    let guard = Guard(number(&answer(&["status"])["interfaces"][0]["trial"]["guard"]));
    guard.signal(Signal::SIGKILL);
    guard.ends();
    assert_eq!(attached_by_ip(NEAR).unwrap().name, "xdp_drop", "{}", ran.report());
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn what_somebody_else_has_changed_meanwhile_is_left_alone() {
    let (sandbox, _veth) = need!(bench(&[]));
    let left_alone = |guard: Guard, found: &str| {
        guard.signal(Signal::SIGTERM);
        guard.ends();
        guard.has_logged("`near0` is left as it is, since somebody has changed it meanwhile: ");
        guard.has_logged(found);
    };
    let by_ip = |words: &[&str]| {
        run(&mut command("ip", &[&["-force", "link", "set", "dev", NEAR], words].concat())).ok();
    };
    let pass = object("xdp_pass");

    // Replaced by another tool, and taken off.
    attach("xdp_pass", &[]);
    let guard = Guard::of(&attach("xdp_drop", &["--replace", LONG]));
    by_ip(&["xdpdrv", "obj", &pass, "sec", "xdp"]);
    let theirs = near();
    left_alone(guard, &format!("XDP program {} in native mode is there", theirs.as_ref().unwrap().1));
    assert_eq!(near(), theirs);
    let guard = Guard::of(&attach("xdp_drop", &["--replace", LONG]));
    by_ip(&["xdpdrv", "off"]);
    left_alone(guard, "no XDP program is there");
    assert_eq!(near(), None);

    // The guard's own link, updated: it must not go with the guard.
    let guard = Guard::of(&attach("xdp_drop", &[LONG]));
    attach("xdp_pass", &["--replace", "--link"]);
    let theirs = near();
    left_alone(guard, &format!("XDP program {} in native mode is there", theirs.as_ref().unwrap().1));
    assert_eq!(near(), theirs);
    xdpload(&["detach", NEAR, "--link"]).ok();

    // Something came after a detach.
    attach("xdp_drop", &[]);
    let guard = Guard::of(&answer(&["detach", NEAR, LONG]));
    by_ip(&["xdpgeneric", "obj", &pass, "sec", "xdp"]);
    let theirs = near();
    left_alone(guard, &format!("XDP program {} in generic mode is there", theirs.as_ref().unwrap().1));
    assert_eq!(near(), theirs);
    xdpload(&["detach", NEAR]).ok();

    // The interface is gone, and another has its name.
    let guard = Guard::of(&attach("xdp_drop", &[LONG]));
    run(&mut command("ip", &["link", "del", NEAR])).ok();
    left_alone(guard, "the interface is gone");
    // What ip(8) has made there is its own.
    let pins = sandbox.pins();
    assert!(pins.iter().all(|pin| !pin.starts_with("xdpload")), "{pins:?}");
}

#[test]
fn a_detach_is_taken_back_too() {
    let (sandbox, veth) = need!(bench(&[]));
    for (mode, link) in [("native", false), ("generic", false), ("native", true)] {
        let by_link: &[&str] = if link { &["--link", "--pin=/sys/fs/bpf/link"] } else { &[] };
        attach("xdp_drop", &[by_link, &["--mode", mode]].concat());
        let (before, pins) = (near(), sandbox.pins());
        let says = "is killed, the program stays off, since nothing but the guard knows it";
        let detach: &[&str] = if link { &["detach", NEAR, "--link"] } else { &["detach", NEAR] };
        xdpload(&[detach, &[LONG]].concat()).ok().stdout_has(says);
        assert_udp(&veth, OTHER, 5);
        let trial = answer(&["status"])["interfaces"][0]["trial"].clone();
        assert_eq!(trial["puts_back"], json!([before.as_ref().unwrap().1]));
        let guard = Guard(number(&trial["guard"]));
        guard.signal(Signal::SIGTERM);
        guard.ends();
        assert_eq!((near(), sandbox.pins()), (before, pins));
        assert_udp(&veth, OTHER, 0);

        let guard = Guard::of(&answer(&[detach, &[LONG]].concat()));
        xdpload(&["confirm"]).ok().stdout_has("near0 stays without the program that was detached");
        guard.ends();
        assert_eq!((near(), sandbox.pins()), (None, vec![]));
    }
}

/// What somebody attaches meanwhile stays, and nobody is told that anything else will be put back.
#[test]
fn the_trial_of_a_detach_ends_when_another_program_comes() {
    let (_sandbox, _veth) = need!(bench(&[]));
    attach("xdp_drop", &[]);
    let guard = Guard::of(&answer(&["detach", NEAR, LONG]));
    attach("xdp_pass", &[]);
    let state = near();
    let status = xdpload(&["status"]).ok();
    assert!(!status.stdout().contains("on trial"), "{}", status.report());
    guard.ends();
    guard.has_logged("`near0` is left as it is, since somebody has changed it meanwhile");
    refused(&["confirm"], 1, &["no change waits to be confirmed"]);
    assert_eq!(near(), state);
}

#[test]
fn one_trial_at_a_time() {
    let (sandbox, _veth) = need!(bench(&[]));
    refused(&["confirm"], 1, &["no change waits to be confirmed", "help: the time may be up"]);
    let guard = Guard::of(&attach("xdp_drop", &[LONG]));
    let state = near();
    let words = ["another change of `near0` waits to be confirmed", "help: `xdpload confirm near0` keeps it"];
    refused(&["attach", NEAR, &object("xdp_pass"), "--replace", LONG], 1, &words);
    refused(&["detach", NEAR, "--link", LONG], 1, &["bpf_link", "is not pinned"]);
    assert_eq!((near(), sandbox.pins()), (state, vec![]));
    // That of another interface is none of this one's.
    add_other();
    let other = Guard::of(&answer(&["attach", "other0", &object("xdp_pass"), LONG]));
    xdpload(&["confirm", "other0"]).ok().stdout_has("stays on other0");
    xdpload(&["confirm"]).ok().stdout_has("stays on near0");
    [guard, other].into_iter().for_each(Guard::ends);
    xdpload(&["detach", NEAR]).ok();
    xdpload(&["detach", "other0"]).ok();
    for time in ["0", "2d", "25h", "", "-1s", "99999999999999999999m"] {
        let attach = ["attach", NEAR, &object("xdp_pass"), &format!("--confirm={time}")];
        xdpload(&attach).fails(2).stderr_has("expected ");
    }
    assert_eq!((near(), sandbox.pins()), (None, vec![]));
}

/// Adds a second interface.
fn add_other() {
    run(&mut command("ip", &["link", "add", "other0", "type", "veth", "peer", "name", "other1"])).ok();
}

fn attach_both(options: &[&str]) -> Value {
    answer(&[&["attach", NEAR, "other0", &object("xdp_drop")], options].concat())
}

fn there(interface: &str) -> Option<u64> {
    attached_by_ip(interface).map(|program| program.id)
}

#[test]
fn several_interfaces_are_one_trial() {
    let (sandbox, veth) = need!(bench(&["bpftool"]));
    add_other();
    // Nobody confirms either.
    let attached = attach_both(&[LONG]);
    let guard = Guard::of(&attached);
    assert_eq!(attached["attached"][1]["trial"]["guard"], guard.0);
    assert_eq!(attached["attached"][1]["trial"]["without_guard"], "program_goes");
    assert_udp(&veth, OTHER, 0);
    guard.signal(Signal::SIGTERM);
    guard.ends();
    assert_eq!((there(NEAR), there("other0"), sandbox.pins()), (None, None, vec![]));
    guard.has_logged("is taken off `near0`: ");
    guard.has_logged("is taken off `other0`: ");

    // A guard that is killed takes both along.
    let attached = attach_both(&[LONG]);
    Guard::of(&attached).signal(Signal::SIGKILL);
    Guard::of(&attached).ends();
    assert_program_goes(number(&attached["program"]["id"]));
    assert_eq!((there(NEAR), there("other0")), (None, None));

    // One of them is confirmed, or both at once.
    let attached = attach_both(&[LONG]);
    let id = number(&attached["program"]["id"]);
    xdpload(&["confirm", "other0"]).ok().stdout_has("stays on other0");
    Guard::of(&attached).signal(Signal::SIGTERM);
    Guard::of(&attached).ends();
    assert_eq!((there(NEAR), there("other0")), (None, Some(id)));
    xdpload(&["detach", "other0"]).ok();
    let guard = Guard::of(&attach_both(&[LONG]));
    xdpload(&["confirm"]).ok().stdout_has("stays on near0").stdout_has("stays on other0");
    guard.ends();
    let ids = (there(NEAR), there("other0"));
    assert_udp(&veth, OTHER, 0);

    // In the place of others, each by its link.
    let guard = Guard::of(&attach_both(&["--replace", LONG]));
    assert!(there(NEAR) != ids.0 && there("other0") != ids.1);
    guard.signal(Signal::SIGTERM);
    guard.ends();
    assert_eq!((there(NEAR), there("other0")), ids);
    xdpload(&["detach", NEAR]).ok();
    xdpload(&["detach", "other0"]).ok();
    assert_eq!(sandbox.pins(), [""; 0]);
}

#[test]
fn pins_stay_as_long_as_one_of_several_does() {
    let (sandbox, _veth) = need!(bench(&[]));
    add_other();
    let attach = || {
        let attached = answer(&["attach", NEAR, "other0", &object("blacklist_gobpf"), LONG]);
        let pins = sandbox.pins().into_iter().filter(|pin| !pin.starts_with("xdpload")).collect::<Vec<_>>();
        (Guard::of(&attached), pins)
    };
    let (guard, pins) = attach();
    assert_ne!(pins, [""; 0]);
    xdpload(&["confirm", "other0"]).ok();
    guard.signal(Signal::SIGTERM);
    guard.ends();
    assert!(pins.iter().all(|pin| sandbox.pins().contains(pin)), "{:?}", sandbox.pins());
    xdpload(&["detach", "other0"]).ok();
}

#[test]
fn what_is_refused_on_one_of_several_is_on_none() {
    let (sandbox, _veth) = need!(bench(&[]));
    add_other();
    let waiting = Guard::of(&answer(&["attach", "other0", &object("xdp_pass"), LONG]));
    let there_before = there("other0");
    let words = ["another change of `other0` waits to be confirmed"];
    let attach = ["attach", NEAR, "other0", &object("xdp_drop"), "--replace", LONG];
    refused(&attach, 1, &words);
    assert_eq!((there(NEAR), there("other0"), sandbox.pins()), (None, there_before, vec![]));
    // The one before is put back in the same way.
    let before = answer(&["attach", NEAR, &object("xdp_pass")])["program"]["id"].clone();
    refused(&attach, 1, &words);
    assert_eq!((there(NEAR), there("other0")), (before.as_u64(), there_before));
    xdpload(&["confirm", "other0"]).ok();
    waiting.ends();
    xdpload(&["detach", NEAR]).ok();
    xdpload(&["detach", "other0"]).ok();
}

/// bpffs is mounted and locked once, for the first interface whose link may be pinned.
#[test]
fn several_interfaces_need_no_bpffs() {
    let (sandbox, _veth) = need!(bench(&[]));
    add_other();
    umount("/sys/fs/bpf").expect("the sandbox has mounted it");
    let guard = Guard::of(&attach_both(&[LONG]));
    assert!(sandbox.has_bpffs());
    guard.signal(Signal::SIGTERM);
    guard.ends();
    assert!(!sandbox.has_bpffs(), "it goes with the program");
    attach("xdp_pass", &[]);
    let guard = Guard::of(&attach_both(&["--replace", LONG]));
    xdpload(&["confirm"]).ok();
    guard.ends();
    assert!(there("other0").is_some() && sandbox.has_bpffs());
    xdpload(&["detach", NEAR]).ok();
    xdpload(&["detach", "other0"]).ok();
}

#[test]
fn the_blocklist_is_on_trial_everywhere_or_on_nowhere() {
    let (sandbox, veth) = need!(bench(&[]));
    add_other();
    let on = ["block", "on", NEAR, "other0", "--max-rules=100", LONG];
    let guard = |answer: &Value| {
        let guards = [0, 1].map(|at| number(&answer["interfaces"][at]["trial"]["guard"]));
        assert_eq!(guards[0], guards[1]);
        Guard(guards[0])
    };
    let waits = guard(&answer(&on));
    waits.signal(Signal::SIGTERM);
    waits.ends();
    assert_eq!((there(NEAR), there("other0")), (None, None));
    let waits = guard(&answer(&on));
    xdpload(&["confirm"]).ok();
    waits.ends();
    assert!(there(NEAR).is_some() && there("other0").is_some());
    assert_udp(&veth, OTHER, 5);
    xdpload(&["block", "off", "--purge"]).ok();
    let pins = Vec::<String>::new();
    assert_eq!((there(NEAR), there("other0"), sandbox.pins()), (None, None, pins.clone()));

    // The second is refused: a trial of it waits, of what was taken off.
    answer(&["attach", "other0", &object("xdp_pass")]);
    let other = Guard::of(&answer(&["detach", "other0", LONG]));
    xdpload(&on).fails(1).stderr_has("another change of `other0` waits to be confirmed");
    assert_eq!((there(NEAR), there("other0"), sandbox.pins()), (None, None, pins));
    xdpload(&["confirm"]).ok();
    other.ends();
}

#[test]
fn the_guard_outlives_the_session_and_is_small() {
    let (_sandbox, _veth) = need!(bench(&[]));
    // That the answer comes at all shows that the guard does not hold the ends of its pipes.
    let guard = Guard::of(&attach("xdp_drop", &[LONG]));
    let stat = guard.proc("stat").expect("the guard waits");
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let [group, session, terminal] = [fields[2], fields[3], fields[4]];
    assert_eq!([group, session, terminal], [&guard.0.to_string(), &guard.0.to_string(), "0"]);
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
        guard.signal(signal);
    }
    assert_eq!(guard.proc("comm").as_deref(), Some("xdpload-guard\n"));
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", guard.0)).unwrap(), Path::new("/"));
    // What is its own; the rest is pages of files, which a static program has few of.
    let status = guard.proc("status").unwrap();
    let own = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    let own: u32 = own.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(own < 1024, "{own} kB\n{status}");
    xdpload(&["confirm"]).ok();
    guard.ends();
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn in_another_namespace() {
    let (sandbox, veth) = need!(bench(&[]));
    let far = veth.far.path().display().to_string();
    let attach = answer(&["attach", FAR, &object("xdp_pass"), "--netns", &far, LONG]);
    xdpload(&["status"]).ok().stdout_has("no interface has an XDP program");
    xdpload(&["status", "--netns", "far"])
        .ok()
        .stdout_has("on trial: run `xdpload confirm far0 --netns far` within ");
    refused(&["confirm"], 1, &["no change waits to be confirmed"]);
    xdpload(&["confirm", "--netns", "far"]).ok();
    Guard::of(&attach).ends();
    let detach = answer(&["detach", FAR, "--netns", "far", LONG]);
    Guard::of(&detach).signal(Signal::SIGTERM);
    Guard::of(&detach).ends();
    xdpload(&["attach", FAR, &object("xdp_drop"), "--netns=far", "--replace", SHORT])
        .ok()
        .stdout_has("run `xdpload confirm far0 --netns far` within 1 s to keep the change");
    wait_for("the end of the trial", || {
        answer(&["status", "--netns=far"])["interfaces"][0]["trial"].is_null()
    });
    xdpload(&["status", "--netns", "far"]).ok().stdout_has("xdp_pass");
    xdpload(&["detach", FAR, "--netns", "far"]).ok();
    assert_eq!(sandbox.pins(), [""; 0]);
}

#[test]
fn prog_arrays_of_either_program_last_as_long_as_the_trial() {
    let (sandbox, veth) = need!(bench(&[]));
    let chain = |options: &[&str]| {
        attach("tail_calls", &[&["--prog=enter", "--pin-map=answer=/sys/fs/bpf/answer"], options].concat())
    };
    let verdict = |verdict| xdpload(&["map", "set", "/sys/fs/bpf/answer", "0", verdict]).ok();
    chain(&[]);
    let pins = sandbox.pins();
    let guard = Guard::of(&attach("xdp_pass", &["--replace", LONG]));
    verdict("1");
    assert_udp(&veth, FAR_V4, 5);
    guard.signal(Signal::SIGTERM);
    guard.ends();
    // A chain that is broken passes everything.
    assert_udp(&veth, FAR_V4, 0);
    assert_eq!(sandbox.pins(), pins);

    let guard = Guard::of(&chain(&["--replace", LONG]));
    xdpload(&["confirm"]).ok();
    guard.ends();
    assert_udp(&veth, FAR_V4, 0);
    assert_eq!(sandbox.pins().len(), pins.len());
    let guard = Guard::of(&answer(&["detach", NEAR, LONG]));
    guard.signal(Signal::SIGTERM);
    guard.ends();
    assert_udp(&veth, FAR_V4, 0);
    xdpload(&["detach", NEAR]).ok();
    let guard = Guard::of(&chain(&[LONG]));
    guard.signal(Signal::SIGTERM);
    guard.ends();
    assert_eq!((near(), sandbox.pins()), (None, vec!["answer".to_owned()]));
}

#[test]
fn pins_of_the_object_go_with_it() {
    let (sandbox, _veth) = need!(bench(&[]));
    let guard = Guard::of(&attach("blacklist_gobpf", &[LONG]));
    assert_ne!(sandbox.pins(), [""; 0]);
    guard.signal(Signal::SIGTERM);
    guard.ends();
    assert_eq!((near(), sandbox.pins()), (None, vec![]));
}

/// A pin that another program has come to use, or that is another one by now, stays.
#[test]
fn pins_that_others_use_meanwhile_stay() {
    let (sandbox, _veth) = need!(bench(&["bpftool"]));
    add_other();
    let pin = "--pin-map=blacklist=/sys/fs/bpf/list";
    let roll_back = |guard: Guard| {
        guard.signal(Signal::SIGTERM);
        guard.ends();
    };
    let guard = Guard::of(&attach("blacklist", &[pin, LONG]));
    let (id, pins) = (bpftool(&["map", "show", "pinned", "/sys/fs/bpf/list"])["id"].clone(), sandbox.pins());
    xdpload(&["attach", "other0", &object("blacklist"), pin]).ok();
    roll_back(guard);
    assert_eq!((near(), sandbox.pins()), (None, pins));
    assert_eq!(bpftool(&["map", "show", "pinned", "/sys/fs/bpf/list"])["id"], id);
    xdpload(&["detach", "other0"]).ok();
    fs::remove_file("/sys/fs/bpf/list").unwrap();

    let guard = Guard::of(&attach("blacklist", &[pin, LONG]));
    let id = bpftool(&["map", "show", "pinned", "/sys/fs/bpf/list"])["id"].to_string();
    fs::remove_file("/sys/fs/bpf/list").unwrap();
    run(&mut command("bpftool", &["map", "pin", "id", &id, "/sys/fs/bpf/list"])).ok();
    roll_back(guard);
    assert_eq!((near(), sandbox.pins()), (None, vec!["list".to_owned()]));
}

/// What stands on a bpffs that others use is put back too: the map at a pin, and the programs in a pinned prog array.
#[test]
fn what_others_find_on_bpffs_is_as_before() {
    let (sandbox, veth) = need!(bench(&["bpftool"]));
    let pinned = |kind: &str, name: &str| bpftool(&["map", kind, "pinned", &format!("/sys/fs/bpf/{name}")]);
    let pin = "--pin-map=blacklist=/sys/fs/bpf/list";
    attach("blacklist", &[pin, "--max-entries=blacklist=100"]);
    let (id, pins) = (pinned("show", "list")["id"].clone(), sandbox.pins());
    let guard = Guard::of(&attach("blacklist", &[pin, "--replace", "--migrate-maps", LONG]));
    assert_ne!(pinned("show", "list")["id"], id);
    guard.signal(Signal::SIGTERM);
    guard.ends();
    assert_eq!((pinned("show", "list")["id"].clone(), sandbox.pins()), (id, pins));
    xdpload(&["map", "set", "/sys/fs/bpf/list", &OTHER.to_string(), "1"]).ok();
    assert_udp(&veth, OTHER, 0);
    xdpload(&["detach", NEAR]).ok();

    let chain =
        ["--prog=enter", "--pin-map=first_jump=/sys/fs/bpf/first", "--pin-map=last_jump=/sys/fs/bpf/last"];
    attach("tail_calls", &chain);
    xdpload(&["map", "delete", "/sys/fs/bpf/last", "0"]).ok();
    let entries = || ["first", "last"].map(|name| pinned("dump", name));
    let before = entries();
    let guard = Guard::of(&attach("tail_calls", &[&chain[..], &["--replace", LONG]].concat()));
    assert_ne!(entries(), before);
    guard.signal(Signal::SIGTERM);
    guard.ends();
    assert_eq!(entries(), before);
    xdpload(&["detach", NEAR]).ok();
}

/// The program that is loaded once more, with the other attach type, is the one that is on trial, and the one whose
/// prog arrays are kept.
#[test]
fn a_program_that_is_loaded_twice_is_on_trial_and_keeps_its_prog_arrays() {
    need!(crate::requirement::tool("perl"));
    let (sandbox, veth) = need!(bench(&["bpftool"]));
    fs::create_dir("/sys/fs/bpf/links").unwrap();
    hold_with_type(&veth, 0);
    let before = link_by_bpftool(&veth, LINK);
    let on_trial = |object: &str, options: &[&str]| {
        answer(&[&["attach", NEAR, object, "--replace", "--link", "--confirm=10m"], options].concat())
    };
    let guard = Guard::of(&on_trial(&object("xdp_drop"), &[]));
    assert_udp(&veth, OTHER, 0);
    guard.signal(Signal::SIGTERM);
    guard.ends();
    assert_eq!(link_by_bpftool(&veth, LINK), before);
    assert_udp(&veth, OTHER, 5);

    let guard = Guard::of(&on_trial(&object("xdp_drop"), &[]));
    xdpload(&["confirm", NEAR]).ok();
    guard.ends();
    assert_udp(&veth, OTHER, 0);

    let options = ["--prog=enter", "--pin-map=answer=/sys/fs/bpf/answer", "--link"];
    let attached = answer(&[&["attach", NEAR, &object("tail_calls"), "--replace"], &options[..]].concat());
    let id = format!("_{}", attached["program"]["id"]);
    let kept = || sandbox.pins().into_iter().filter(|pin| pin.starts_with("xdpload/")).collect::<Vec<_>>();
    assert!(kept().len() == 3 && kept().iter().all(|pin| pin.contains(&id)), "{:?}", kept());
    xdpload(&["map", "set", "/sys/fs/bpf/answer", "0", "1"]).ok();
    assert_udp(&veth, OTHER, 0);
    xdpload(&["detach", NEAR, "--link"]).ok();
    assert_eq!(kept(), [""; 0]);
}

#[test]
fn syslog_hears_it_where_there_is_one() {
    let (sandbox, _veth) = need!(bench(&[]));
    let dev = sandbox.scratch().join("dev");
    fs::create_dir(&dev).unwrap();
    fs::write(dev.join("null"), "").unwrap();
    bind(Path::new("/dev/null"), &dev.join("null"));
    let log = UnixDatagram::bind(dev.join("log")).unwrap();
    log.set_read_timeout(Some(PATIENCE)).unwrap();
    bind(&dev, Path::new("/dev"));
    let attached = attach("xdp_drop", &[SHORT]);
    let hear = || {
        let mut line = [0; 512];
        loop {
            match log.recv(&mut line) {
                Ok(len) => return String::from_utf8_lossy(&line[..len]).into_owned(),
                // With a time limit, even a signal without a handler can end the wait.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("nothing came"),
                Err(error) => panic!("{error}"),
            }
        }
    };
    let (guard, id) = (Guard::of(&attached), number(&attached["program"]["id"]));
    assert_eq!(
        hear(),
        format!("<29>xdpload[{}]: unless confirmed within 1 s, program {id} is taken off `near0`", guard.0)
    );
    assert_eq!(
        hear(),
        format!("<28>xdpload[{}]: program {id} is taken off `near0`: nobody has confirmed it", guard.0)
    );
    guard.ends();
}

fn bind(from: &Path, to: &Path) {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("root may mount");
}

/// Carries out an attach on trial under strace, and asserts that its own calls are those that the plan lists.
#[track_caller]
fn run_as_planned(sandbox: &Sandbox, name: &str, options: &[&str]) {
    let object = object(name);
    let plan = answer(&[&["plan", &object, "--dev", NEAR, SHORT], options].concat());
    let attach = [&["attach", NEAR, &object, SHORT, "--json"], options].concat();
    let (ran, calls) = trace(sandbox, TRACED, &xdpload_command(&attach));
    let guard = Guard::of(&ran.ok().json());
    // Rust's runtime asks how many files it may have open, to start the guard.
    let start = |call: &Call| call.name == "prlimit64" && call.arguments.contains("RLIMIT_NOFILE, NULL");
    let own = |call: &Call| u64::from(call.process) != guard.0 && !start(call);
    let own: Vec<_> = calls.into_iter().filter(own).collect();
    accept(&plan, &own, Ending::AsTheKernelSays);
}

#[test]
fn the_plan_of_a_trial_is_what_is_done() {
    let (sandbox, veth): (_, Veth) = need!(bench(&["strace"]));
    run_as_planned(&sandbox, "xdp_pass", &[]);
    run_as_planned(&sandbox, "xdp_pass", &["--link", "--pin=/sys/fs/bpf/a/link"]);
    attach("xdp_drop", &[]);
    run_as_planned(&sandbox, "xdp_pass", &["--replace"]);
    run_as_planned(&sandbox, "blacklist", &["--replace", "--mode=auto"]);
    xdpload(&["detach", NEAR]).ok();
    attach("xdp_drop", &["--link", "--pin=/sys/fs/bpf/link"]);
    run_as_planned(&sandbox, "xdp_pass", &["--replace", "--link"]);
    assert_udp(&veth, OTHER, 0);
    xdpload(&["detach", NEAR, "--link"]).ok();
    assert_eq!((near(), sandbox.pins()), (None, vec![]));
}

/// Whoever comes upon a trial is told of it, and how to end it.
#[test]
fn a_program_on_trial_is_not_in_the_way_for_long() {
    let (_sandbox, _veth) = need!(bench(&[]));
    let guard = Guard::of(&attach("xdp_pass", &[LONG]));
    let help =
        "  help: it is on trial: xdpload confirm near0, which keeps it; or: xdpload detach near0 --link\n";
    for command in [&["detach", NEAR][..], &["attach", NEAR, &object("xdp_drop")]] {
        xdpload(command).fails(1).stderr_has("(xdpload-guard) has open").stderr_has(help);
    }
    xdpload(&["confirm", NEAR]).ok();
    guard.ends();
    xdpload(&["detach", NEAR]).ok();
}
