//! Two runs at once never end in a mixture: the interface runs the one program or the other, with what belongs to it.

use std::fs;
use std::process::Stdio;

use crate::objects::object;
use crate::peers::attached_by_ip;
use crate::sandbox::Sandbox;
use crate::tally::tally;
use crate::veth::{NEAR, pair};
use crate::xdpload::{xdpload, xdpload_command};

/// How often two runs are started at once.
const TIMES: usize = 50;

/// Runs both commands at the same time. Returns how they ended.
fn run_both(commands: [&[&str]; 2]) -> [Option<i32>; 2] {
    let [first, second] = commands.map(|words| {
        let mut command = xdpload_command(words);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("the program starts")
    });
    [first, second].map(|mut child| child.wait().expect("it ends").code())
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
        ["xdpload"] => true,
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
fn two_attaches_that_pin_the_same_map() {
    let (sandbox, _veth) = need!(pair(&[]));
    let object = object("blacklist_gobpf");
    let attach: [&str; 3] = ["attach", NEAR, &object];
    for times in 0..TIMES {
        let codes = run_both([&attach, &attach]);
        assert!(
            codes.contains(&Some(0)) && codes.iter().all(|code| matches!(code, Some(0 | 1))),
            "{codes:?}"
        );
        let pins = sandbox.pins();
        assert!(pins.contains(&"globals/globals/blacklist".to_owned()), "time {times}: {codes:?}, {pins:?}");
        xdpload(&["map", "get", "near0:blacklist", "192.0.2.1"]).fails(1).stderr_has("has no key");
        xdpload(&["detach", NEAR]).ok();
        fs::remove_dir_all("/sys/fs/bpf/globals").expect("root may remove pins");
    }
    tally("at once", TIMES, &["two attach, the same pin"]);
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
