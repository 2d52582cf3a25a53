//! Each command is killed before each of its system calls, and so also after each: the interface runs the old program
//! or the new one, nothing is pinned but what was there or would be at the end, and the next run succeeds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::bench::Bench;
use crate::objects::object;
use crate::peers::attached_by_ip;
use crate::requirement::Missing;
use crate::strace::{kill_before, trace};
use crate::tally::tally;
use crate::veth::NEAR;
use crate::xdpload::{answer, xdpload, xdpload_command};

/// Calls that change nothing outside of the process.
const PRIVATE: [&str; 12] = [
    "brk",
    "execve",
    "fcntl",
    "getrandom",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "poll",
    "prctl",
    "rt_sigaction",
];

/// What others see: the name and tag of the program on the interface and whether a link holds it, and the pins.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    program: Option<(String, String)>,
    is_linked: bool,
    pins: BTreeSet<String>,
    /// The entries of the running program's hash, as text.
    entries: Option<BTreeSet<String>>,
}

impl State {
    fn now(bench: &Bench) -> Self {
        let attached = attached_by_ip(NEAR);
        let is_linked = answer(&["status", NEAR])["interfaces"][0]["programs"][0]["link"].is_object();
        let dump = xdpload(&["map", "dump", "near0:blacklist", "--key-format", "ipv4"]);
        Self {
            program: attached.map(|program| (program.name, program.tag)),
            is_linked,
            pins: bench.sandbox.pins().iter().filter_map(|pin| without_id(pin)).collect(),
            entries: (dump.code() == Some(0)).then(|| dump.stdout().lines().map(str::to_owned).collect()),
        }
    }
}

/// A pin, without the number of the program that it is for: `xdpload/9733_3_75873/first_jump`. What a killed run leaves
/// there of a program that is gone is for `pins gc`.
fn without_id(pin: &str) -> Option<String> {
    match pin.split('/').collect::<Vec<_>>()[..] {
        ["xdpload", _, name] => Some(format!("xdpload/_/{name}")),
        ["xdpload", _] => None,
        _ => Some(pin.to_owned()),
    }
}

/// A command, and what is there before it.
struct Trial<'a> {
    command: &'a [&'a str],
    set_up: fn(),
}

/// Kills the command before each of its calls. Returns how often.
fn kill_everywhere(trial: &Trial<'_>) -> Result<usize, Missing> {
    let bench = Bench::new(&["strace"])?;
    let start = |bench: &Bench| {
        clear(bench);
        (trial.set_up)();
    };
    start(&bench);
    let before = State::now(&bench);
    let command = xdpload_command(trial.command);
    let (ran, calls) = trace(&bench.sandbox, "all", &command);
    ran.ok();
    let after = State::now(&bench);

    let mut nth: BTreeMap<&str, u32> = BTreeMap::new();
    let mut kills = 0;
    for call in &calls {
        let nth = nth.entry(&call.name).or_default();
        *nth += 1;
        if PRIVATE.contains(&&*call.name) {
            continue;
        }
        start(&bench);
        kill_before(&bench.sandbox, &call.name, *nth, &command);
        kills += 1;
        let left = State::now(&bench);
        let what = format!("{:?} killed before {} ({nth}): {left:#?}", trial.command, call.name);
        let is_old = (&left.program, &left.entries) == (&before.program, &before.entries);
        let is_new = (&left.program, &left.entries) == (&after.program, &after.entries);
        assert!(is_old || is_new, "the interface runs a mixture: {what}");
        let known: BTreeSet<_> = before.pins.union(&after.pins).cloned().collect();
        let unknown: Vec<_> = left.pins.difference(&known).collect();
        assert!(unknown.is_empty(), "{unknown:?} is left: {what}");
        let again = xdpload(trial.command);
        assert_eq!(again.code(), Some(0), "{what}\n{}", again.report());
        assert_eq!(State::now(&bench), after, "after the next run: {what}");
    }
    clear(&bench);
    Ok(kills)
}

/// Takes off everything, by a link or not, and removes all pins.
fn clear(bench: &Bench) {
    if attached_by_ip(NEAR).is_some() && xdpload(&["detach", NEAR, "--link"]).code() != Some(0) {
        xdpload(&["detach", NEAR]).ok();
    }
    for name in bench.sandbox.pins().iter().filter(|name| !name.contains('/')) {
        let path = Path::new("/sys/fs/bpf").join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.expect("root may remove pins");
    }
}

fn nothing() {}

fn running() {
    xdpload(&["attach", NEAR, &object("xdp_pass")]).ok();
}

fn running_with_a_list() {
    xdpload(&["attach", NEAR, &object("blacklist"), "--max-entries=blacklist=100"]).ok();
    xdpload(&["map", "set", "near0:blacklist", "192.0.2.77", "1"]).ok();
}

fn held_by_a_link() {
    xdpload(&["attach", NEAR, &object("xdp_pass"), "--link", "--pin", "/sys/fs/bpf/link"]).ok();
}

/// Whatever is killed, at least so often.
#[track_caller]
fn assert_survives(command: &[&str], set_up: fn(), least: usize) {
    let kills = need!(kill_everywhere(&Trial { command, set_up }));
    assert!(kills >= least, "{kills}");
    tally("killed", kills, command);
}

#[test]
fn an_attach_survives() {
    assert_survives(&["attach", NEAR, &object("blacklist")], nothing, 20);
}

#[test]
fn a_replacement_survives() {
    assert_survives(&["attach", NEAR, &object("blacklist"), "--replace"], running, 20);
}

#[test]
fn an_attach_that_pins_survives() {
    assert_survives(&["attach", NEAR, &object("blacklist_gobpf")], nothing, 25);
}

#[test]
fn an_attach_with_a_prog_array_survives() {
    assert_survives(&["attach", NEAR, &object("tail_calls"), "--prog", "enter", "--replace"], running, 25);
}

#[test]
fn an_attach_by_a_link_survives() {
    let attach = ["attach", NEAR, &object("blacklist"), "--link", "--pin", "/sys/fs/bpf/a/link"];
    assert_survives(&attach, nothing, 25);
}

#[test]
fn an_update_of_a_link_survives() {
    assert_survives(&["attach", NEAR, &object("blacklist"), "--link", "--replace"], held_by_a_link, 25);
}

#[test]
fn an_upgrade_survives() {
    let keep =
        ["attach", NEAR, &object("blacklist"), "--replace", "--keep-maps", "--max-entries=blacklist=100"];
    assert_survives(&keep, running_with_a_list, 25);
    let copy = ["attach", NEAR, &object("blacklist"), "--replace", "--migrate-maps"];
    assert_survives(&copy, running_with_a_list, 25);
}

#[test]
fn a_load_survives() {
    assert_survives(&["load", &object("many"), "--all", "--pin", "/sys/fs/bpf/edge"], nothing, 40);
}

#[test]
fn a_map_change_survives() {
    assert_survives(&["map", "set", "near0:blacklist", "192.0.2.78", "1"], running_with_a_list, 8);
}
