//! One load for several interfaces: all of them get the program, or each keeps what it had.

use std::fs;

use serde_json::Value;

use crate::acceptor::Ending;
use crate::command::{command, run};
use crate::objects::object;
use crate::packets::assert_udp;
use crate::peers::{attached_by_ip, number};
use crate::requirement::Missing;
use crate::sandbox::Sandbox;
use crate::strace::signal_at;
use crate::strace_plan::run_as_planned;
use crate::veth::{FAR_V4, NEAR, Veth, pair, wait_for};
use crate::xdpload::{answer, xdpload, xdpload_command};

/// Other interfaces in the sandbox, with a driver that runs programs.
const OTHERS: [&str; 2] = ["left0", "right0"];

/// One whose driver does not, as packets are too large for it.
const LARGE: &str = "large0";

fn interfaces() -> Result<(Sandbox, Veth), Missing> {
    let (sandbox, veth) = pair(&["strace"])?;
    run(&mut command("ip", &["link", "add", OTHERS[0], "type", "veth", "peer", "name", OTHERS[1]])).ok();
    let peer = ["peer", "name", "large1", "mtu", "9000"];
    let large = [&["link", "add", LARGE, "mtu", "9000", "type", "veth"][..], &peer].concat();
    run(&mut command("ip", &large)).ok();
    Ok((sandbox, veth))
}

/// The ids of the programs on the interfaces, by ip(8).
fn ids() -> [Option<u64>; 3] {
    [NEAR, OTHERS[0], OTHERS[1]].map(|interface| attached_by_ip(interface).map(|program| program.id))
}

#[test]
fn all_of_them_get_the_program() {
    let (sandbox, _veth) = need!(interfaces());
    let (object, pass) = (object("xdp_drop"), object("xdp_pass"));
    let plan = [&object, "--dev", NEAR, "--dev", OTHERS[0], "--dev", OTHERS[1]];
    let attach = ["attach", NEAR, OTHERS[0], OTHERS[1], &object];
    run_as_planned(&sandbox, &plan, &attach, Ending::AsTheKernelSays).ok().stdout_has(
        " to near0 in native mode\nattached it to left0 in native mode\nattached it to right0 in native mode",
    );
    let [Some(first), Some(second), Some(third)] = ids() else { panic!("all have a program") };
    assert_eq!((first, first), (second, third), "one program");

    let again = answer(&["attach", NEAR, OTHERS[0], OTHERS[1], &object, "--replace"]);
    let id = number(&again["program"]["id"]);
    assert_eq!(ids(), [Some(id); 3]);
    let replaced = |place: &Value| number(&place["replaced"]);
    let places = again["attached"].as_array().expect("the interfaces are a list");
    assert_eq!(places.iter().map(replaced).collect::<Vec<_>>(), [first; 3]);
    let names: Vec<_> = places.iter().map(|place| place["interface"].as_str()).collect();
    assert_eq!(names, [Some(NEAR), Some(OTHERS[0]), Some(OTHERS[1])]);

    // A boot script may run twice.
    let twice = ["attach", NEAR, OTHERS[0], OTHERS[1], &object];
    xdpload(&twice)
        .ok()
        .stdout_has(" runs on near0, left0, right0 in native mode already: nothing was changed\n");
    assert_eq!(answer(&twice)["attached"][2]["interface"], OTHERS[1]);
    xdpload(&["detach", OTHERS[0]]).ok();
    xdpload(&["attach", OTHERS[0], &pass]).ok();
    xdpload(&twice).fails(1).stderr_has("and is not the same: on `left0`, it has other instructions");
    xdpload(&["detach", OTHERS[0]]).ok();
    xdpload(&twice).fails(1).stderr_has("is there already");
    assert_eq!(ids(), [Some(id), None, Some(id)]);
    xdpload(&["attach", OTHERS[0], &object]).ok();
    for interface in [NEAR, OTHERS[0], OTHERS[1]] {
        xdpload(&["detach", interface]).ok();
    }
}

#[test]
fn a_signal_in_the_midst_of_them_waits() {
    let (sandbox, _veth) = need!(interfaces());
    let attach = ["attach", NEAR, OTHERS[0], OTHERS[1], &object("blacklist")];
    let attach = [&attach[..], &["--pin-map", "blacklist=/sys/fs/bpf/blacklist"]].concat();
    let mut ended = [0, 0];
    for (call, signal) in [("sendto", "INT"), ("bpf", "TERM"), ("sendto", "HUP")] {
        for nth in 1.. {
            let (ran, was_sent) = signal_at(&sandbox, call, nth, signal, &xdpload_command(&attach));
            match ids() {
                [Some(one), Some(two), Some(three)] if (one, one) == (two, three) => {
                    ran.ok().stdout_has("attached it to right0");
                    ended[1] += 1;
                }
                ids => {
                    assert_eq!((ids, sandbox.pins()), ([None; 3], vec![]), "{signal} at {call} {nth}");
                    ended[0] += 1;
                }
            }
            for interface in [NEAR, OTHERS[0], OTHERS[1]] {
                xdpload(&["detach", interface]);
            }
            let _ = fs::remove_file("/sys/fs/bpf/blacklist");
            if !was_sent {
                break;
            }
        }
    }
    // Before anything was changed, a signal ends the program as ever.
    assert!(ended.iter().all(|&times| times > 0), "{ended:?}");
}

#[test]
fn one_that_refuses_leaves_the_others_as_they_were() {
    let (sandbox, _veth) = need!(interfaces());
    let (drop, pass) = (object("xdp_drop"), object("xdp_pass"));
    let plan = [&drop, "--dev", NEAR, "--dev", OTHERS[0], "--dev", LARGE];
    let refusal = "attaching to `large0` in native mode";
    let attach = ["attach", NEAR, OTHERS[0], LARGE, &drop];
    run_as_planned(&sandbox, &plan, &attach, Ending::AsTheKernelSays).fails(1).stderr_has(refusal);
    assert_eq!(ids(), [None; 3]);

    xdpload(&["attach", NEAR, OTHERS[1], &pass]).ok();
    let before = ids();
    xdpload(&["attach", NEAR, OTHERS[0], LARGE, OTHERS[1], &drop, "--replace"]).fails(1).stderr_has(refusal);
    assert_eq!(ids(), before);

    xdpload(&["attach", OTHERS[0], OTHERS[1], &drop])
        .fails(1)
        .stderr_has("attaching to `right0`")
        .stderr_has("--replace");
    assert_eq!(ids(), before);
}

#[test]
fn all_of_them_are_detached() {
    let (sandbox, _veth) = need!(interfaces());
    let pass = object("xdp_pass");
    let attached = answer(&["attach", NEAR, OTHERS[0], OTHERS[1], &pass]);
    let id = number(&attached["program"]["id"]);
    let detached = answer(&["detach", NEAR, OTHERS[0], NEAR]);
    let detached = &detached["detached"];
    assert_eq!(
        [&detached[0]["interface"], &detached[1]["interface"], &detached[2]],
        [&NEAR.into(), &OTHERS[0].into(), &Value::Null]
    );
    assert_eq!(number(&detached[1]["programs"][0]["id"]), id);
    assert_eq!(ids(), [None, None, Some(id)]);

    // What is refused on one holds up no other, but an interface that is not there does.
    xdpload(&["detach", OTHERS[1], "nosuch0"]).fails(1).stderr_has("no interface named `nosuch0`");
    assert_eq!(ids(), [None, None, Some(id)]);
    let nothing = "detaching from `left0`: no XDP program is there";
    let ran = xdpload(&["detach", NEAR, OTHERS[0], OTHERS[1]]).fails(1).stderr_has(nothing);
    ran.stderr_has("detaching from `near0`")
        .stdout_has(&format!("detached XDP program {id} in native mode from right0"));
    assert_eq!(ids(), [None; 3]);

    // On trial it is all or none.
    let attached = answer(&["attach", NEAR, OTHERS[0], &pass]);
    let id = number(&attached["program"]["id"]);
    xdpload(&["detach", NEAR, OTHERS[1], "--confirm=10m"]).fails(1).stderr_has("detaching from `right0`");
    assert_eq!(ids(), [Some(id), Some(id), None]);
    let trial = answer(&["detach", NEAR, OTHERS[0], "--confirm=10m"]);
    let guard = &trial["detached"][0]["trial"]["guard"];
    assert_eq!(*guard, trial["detached"][1]["trial"]["guard"]);
    assert_eq!(ids(), [None; 3]);
    xdpload(&["confirm", OTHERS[0]]).ok();
    run(&mut command("kill", &[&guard.to_string()])).ok();
    wait_for("the roll-back", || ids() == [Some(id), None, None]);
    xdpload(&["detach", NEAR]).ok();
    assert_eq!(sandbox.pins(), [""; 0]);
}

#[test]
fn prog_arrays_are_kept_for_each() {
    let (sandbox, _veth) = need!(interfaces());
    let attached = answer(&["attach", NEAR, OTHERS[0], &object("tail_calls"), "--prog=enter"]);
    let pin = |place: &Value| place["prog_arrays"][0]["pin"].as_str().map(str::to_owned);
    let pins = [0, 1].map(|at| pin(&attached["attached"][at]).expect("its prog array is pinned"));
    assert_ne!(pins[0], pins[1]);
    assert!(pins.iter().all(|pin| std::path::Path::new(pin).exists()), "{pins:?}");
    xdpload(&["detach", NEAR]).ok();
    xdpload(&["detach", OTHERS[0]]).ok();
    assert_eq!(sandbox.pins(), [""; 0]);
}

#[test]
fn a_refusal_elsewhere_leaves_prog_arrays_filled() {
    let (sandbox, veth) = need!(interfaces());
    let pin = "--pin-map=answer=/sys/fs/bpf/answer";
    xdpload(&["attach", NEAR, &object("tail_calls"), "--prog=enter", pin]).ok();
    xdpload(&["map", "set", "/sys/fs/bpf/answer", "0", "1"]).ok();
    let before = (ids(), sandbox.pins());
    let refusal = "attaching to `large0` in native mode";
    xdpload(&["attach", NEAR, LARGE, &object("xdp_pass"), "--replace"]).fails(1).stderr_has(refusal);
    assert_eq!((ids(), sandbox.pins()), before);
    // A chain that is broken passes everything.
    assert_udp(&veth, FAR_V4, 0);
    xdpload(&["attach", NEAR, OTHERS[0], &object("xdp_pass"), "--replace"]).ok();
    assert_eq!(sandbox.pins(), ["answer"]);
}

#[test]
fn what_can_be_done_at_one_only_is_refused() {
    let (_sandbox, _veth) = need!(interfaces());
    let object = object("xdp_drop");
    let cases: [(&[&str], &str); 8] = [
        (&[NEAR, NEAR, &object], "interface named `near0` is named twice"),
        (
            &[NEAR, OTHERS[0], &object, "--link", "--pin=/sys/fs/bpf/x"],
            "a bpf_link holds a program on one interface",
        ),
        (
            &[NEAR, OTHERS[0], &object, "--replace", "--keep-maps"],
            "a program can keep the maps of one other program only",
        ),
        (&[&object], "expected <IF>... <OBJECT>"),
        (&[&object, NEAR], "is a file: the object comes last"),
        (
            &[NEAR, &object, "--pinned=/sys/fs/bpf/x"],
            "is a file: with --pinned or --prog-id there is no object",
        ),
        (&[NEAR, &object, "--confirm=-1"], "expected a number of seconds"),
        (&[NEAR, &object, "--confirm", "-1"], "expected a number of seconds"),
    ];
    for (words, message) in cases {
        xdpload(&[&["attach"], words].concat()).fails(2).stderr_has(message);
    }
    assert_eq!(ids(), [None; 3]);
}

/// An interface has a name, a number and other names, and which of them are of one is known when they are looked up.
#[test]
fn one_interface_by_two_names_is_refused() {
    let (_sandbox, _veth) = need!(interfaces());
    let index = answer(&["status", NEAR])["interfaces"][0]["ifindex"].to_string();
    run(&mut command("ip", &["link", "property", "add", "dev", NEAR, "altname", "uplink"])).ok();
    let object = object("xdp_pass");
    for other in [&*index, "uplink"] {
        let or_index = if other == index { format!(" or with index {index}") } else { String::new() };
        let twice = format!(
            "error: interface `near0` is named twice: it is also the one named `{other}`{or_index}\n"
        );
        let twice = twice.as_str();
        xdpload(&["attach", NEAR, other, &object]).fails(2).stderr_has(twice);
        xdpload(&["attach", other, NEAR, &object]).fails(2).stderr_has(twice);
        assert_eq!(ids(), [None; 3]);
        xdpload(&["attach", NEAR, &object]).ok();
        let before = ids();
        xdpload(&["attach", NEAR, other, &object, "--replace"]).fails(2).stderr_has(twice);
        xdpload(&["attach", NEAR, other, &object, "--replace", "--confirm=1m"]).fails(2).stderr_has(twice);
        assert_eq!(ids(), before);
        // To detach is as good as done by the first.
        xdpload(&["detach", NEAR, other]).ok();
        assert_eq!(ids(), [None; 3]);
    }
}
