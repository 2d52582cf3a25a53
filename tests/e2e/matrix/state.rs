//! What a command may change, as others see it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::peers::{attached_by_ip, bpftool, program};
use crate::sandbox::Sandbox;
use crate::veth::{NEAR, wait_for};
use crate::xdpload::{answer, xdpload};

/// The file in the scratch directory that `block save` writes.
pub(crate) const SAVED: &str = "saved";

/// Those that commands attach to.
const INTERFACES: [&str; 2] = [NEAR, "lo"];

/// The interfaces, the pins, and what the maps and the file hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    /// The name and tag of the program on each of the interfaces.
    programs: [Option<(String, String)>; 2],
    /// Whether a `bpf_link` holds that of the first.
    is_linked: bool,
    /// Whether a guard waits for that to be confirmed.
    is_on_trial: bool,
    pub(crate) pins: BTreeSet<String>,
    /// The entries of the running program's hash, or the rules and exceptions of the blocklist, as text.
    pub(crate) entries: BTreeSet<String>,
    /// The text that was saved.
    pub(crate) saved: Option<String>,
}

impl State {
    pub(crate) fn now(sandbox: &Sandbox) -> Self {
        let programs = INTERFACES.map(|name| attached_by_ip(name).map(|program| (program.name, program.tag)));
        let pins: BTreeSet<_> = sandbox.pins().iter().filter_map(|pin| without_id(pin)).collect();
        let status = &answer(&["status", NEAR])["interfaces"][0];
        Self {
            is_on_trial: status["trial"].is_object(),
            is_linked: status["programs"][0]["link"].is_object(),
            entries: entries(programs[0].as_ref().map(|(name, _)| &**name), &pins),
            saved: fs::read_to_string(sandbox.scratch().join(SAVED)).ok(),
            programs,
            pins,
        }
    }

    /// Whether all is as in `other`, but that more is pinned.
    pub(crate) fn pins_more_than(&self, other: &Self) -> bool {
        self.pins != other.pins && Self { pins: other.pins.clone(), ..self.clone() } == *other
    }

    /// Says what is neither as it was `before` nor as it is `after`; the maps may be half-way, but for what is in both.
    pub(crate) fn flaw(&self, before: &Self, after: &Self) -> Option<String> {
        let is_one_of =
            |at: usize| [before, after].iter().any(|state| state.programs[at] == self.programs[at]);
        let is_held = [before, after]
            .iter()
            .any(|state| (&state.programs[0], state.is_linked) == (&self.programs[0], self.is_linked));
        let known: BTreeSet<_> = before.pins.union(&after.pins).collect();
        let unknown: Vec<_> = self.pins.iter().filter(|pin| !known.contains(pin)).collect();
        let of_both: BTreeSet<_> = before.entries.intersection(&after.entries).collect();
        let of_one: BTreeSet<_> = before.entries.union(&after.entries).collect();
        let found: BTreeSet<_> = self.entries.iter().collect();
        if !is_held || !is_one_of(1) {
            Some("an interface runs neither the old program nor the new one".to_owned())
        } else if self.is_on_trial && !before.is_on_trial && !after.is_on_trial {
            Some("a guard is left".to_owned())
        } else if !unknown.is_empty() {
            Some(format!("{unknown:?} is left"))
        } else if !found.is_superset(&of_both) || !found.is_subset(&of_one) {
            Some("the maps have neither what they had nor what they should have".to_owned())
        } else if self.saved != before.saved && self.saved != after.saved {
            Some("half a file was written".to_owned())
        } else {
            None
        }
    }
}

/// A pin, without the number of the program that it is for: `xdpload/9733_3_75873/first_jump`. What a killed run leaves
/// there of a program that is gone is for `pins gc`.
fn without_id(pin: &str) -> Option<String> {
    match pin.split('/').collect::<Vec<_>>()[..] {
        ["xdpload"] | ["xdpload", "block"] => None,
        ["xdpload", "block", name] => Some(format!("xdpload/block/{name}")),
        ["xdpload", name] if name.starts_with("link_") => Some("xdpload/link_".to_owned()),
        ["xdpload", _] => None,
        ["xdpload", _, name] => Some(format!("xdpload/_/{name}")),
        _ => Some(pin.to_owned()),
    }
}

fn entries(running: Option<&str>, pins: &BTreeSet<String>) -> BTreeSet<String> {
    let lines = |words: &[&str]| {
        let ran = xdpload(words);
        let lines = ran.stdout().lines().map(str::to_owned).collect::<Vec<_>>();
        if ran.code() == Some(0) { lines } else { Vec::new() }
    };
    let mut all = Vec::new();
    if pins.contains("xdpload/block/config") {
        all.extend(lines(&["block", "list"]));
        all.extend(lines(&["block", "allow", "list"]).into_iter().map(|line| format!("allowed {line}")));
    }
    if running == Some("xdp_ip_filter") {
        all.extend(capacities());
        all.extend(lines(&["map", "dump", "near0:blacklist", "--key-format", "ipv4"]));
    }
    all.into_iter().collect()
}

/// How large the maps of the running program are.
fn capacities() -> Vec<String> {
    let id = attached_by_ip(NEAR).expect("it runs").id;
    let maps = program(id)["map_ids"].as_array().cloned().unwrap_or_default();
    let maps = maps.iter().map(|id| bpftool(&["map", "show", "id", &id.to_string()]));
    maps.map(|map| format!("{} has room for {}", map["name"], map["max_entries"])).collect()
}

/// Ends a trial, takes off everything, by a link or not, and removes all pins.
pub(crate) fn clear(sandbox: &Sandbox) {
    let trial = || answer(&["status", NEAR])["interfaces"][0]["trial"].clone();
    if let Some(guard) = trial()["guard"].as_i64() {
        let guard = Pid::from_raw(i32::try_from(guard).expect("an id is small"));
        kill(guard, Signal::SIGTERM).expect("the guard is there");
        wait_for("the guard to end", || trial().is_null());
    }
    for name in INTERFACES {
        if attached_by_ip(name).is_some() && xdpload(&["detach", name, "--link"]).code() != Some(0) {
            xdpload(&["detach", name]).ok();
        }
    }
    for name in sandbox.pins().iter().filter(|name| !name.contains('/')) {
        let path = Path::new("/sys/fs/bpf").join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.expect("root may remove pins");
    }
    let _ = fs::remove_file(sandbox.scratch().join(SAVED));
}
