//! Every command that writes beside every other, and beside itself: what comes of two at once is what comes of the one
//! after the other, or of the one alone where the other is refused.
//!
//! `make test` takes every [`SHARE`]th pair, `make faults` all of them [`TIMES`] times.

use std::fs::File;
use std::process::{Child, Stdio};

use super::TIMES;
use crate::matrix::cases::{
    CHANGES, ENTRIES, LIST, blocked, held_by_a_link, loaded, nothing, on_trial, on_trial_by_a_link, orphaned,
    pinned_with_a_list,
};
use crate::matrix::state::{State, clear};
use crate::objects::object;
use crate::peers::attached_by_ip;
use crate::requirement::Missing;
use crate::sandbox::Sandbox;
use crate::tally::{ALL, tally_of};
use crate::trials::bench;
use crate::veth::NEAR;
use crate::xdpload::{answer, xdpload_command};

/// Of so many pairs one is raced, unless all are asked for.
const SHARE: usize = 16;
/// How often that is.
const FEW: usize = 2;

/// What came of two commands.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// How they ended; a refusal is 1.
    codes: [i32; 2],
    state: State,
}

/// The commands, and what is there before them.
struct Race<'c> {
    sandbox: &'c Sandbox,
    set_up: fn(&Sandbox),
    commands: &'c [&'c [&'c str]],
}

impl Race<'_> {
    fn start(&self, which: usize) -> Child {
        let words = self.commands[which];
        let mut command = xdpload_command(words);
        if words.last() == Some(&"-") {
            command.stdin(File::open(CHANGES).expect("the set-up wrote it"));
        }
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
    }

    /// Waits for the end of the command. It may be refused, in one message.
    fn end(&self, which: usize, child: Child) -> i32 {
        let ended = child.wait_with_output().expect("it ends");
        let (code, said) = (ended.status.code(), String::from_utf8_lossy(&ended.stderr));
        let errors = said.lines().filter(|line| line.starts_with("error: ")).count();
        let is_told = (code, errors) == (Some(0), 0) || (code, errors) == (Some(1), 1);
        assert!(is_told, "{:?} ends with {code:?}: {said}", self.commands[which]);
        code.unwrap_or_default()
    }

    fn run(&self, which: usize) -> i32 {
        self.end(which, self.start(which))
    }

    fn begin_anew(&self) {
        clear(self.sandbox);
        (self.set_up)(self.sandbox);
    }

    /// What comes of the commands `pair` when those in `order` run one after the other, and the others are refused.
    /// Beside it, how the next run of each ends.
    fn in_order(&self, pair: [usize; 2], order: &[usize]) -> (Outcome, [i32; 2]) {
        self.begin_anew();
        let mut codes = [1; 2];
        for &at in order {
            codes[at] = self.run(pair[at]);
        }
        let outcome = Outcome { codes, state: State::now(self.sandbox) };
        (outcome, pair.map(|which| self.run(which)))
    }

    /// Starts both at once so many times.
    fn both(&self, pair: [usize; 2], times: usize) {
        let orders: [&[usize]; 4] = [&[0, 1], &[1, 0], &[0], &[1]];
        let expected = orders.map(|order| self.in_order(pair, order));
        let names = pair.map(|which| self.commands[which].join(" "));
        for time in 0..times {
            self.begin_anew();
            let orphans = self.sandbox.pins();
            let [first, second] = pair.map(|which| self.start(which));
            let codes = [self.end(pair[0], first), self.end(pair[1], second)];
            let found = Outcome { codes, state: State::now(self.sandbox) };
            let Some((_, next)) = expected.iter().find(|(outcome, _)| *outcome == found) else {
                panic!("time {time}: {names:#?} end in\n{found:#?}\nand not in one of\n{expected:#?}");
            };
            self.assert_new_pins_serve(&orphans, &format!("{found:?} after {names:#?}"));
            assert_eq!(pair.map(|which| self.run(which)), *next, "the next runs after {names:#?}");
        }
    }

    /// What is kept for programs is kept for those that run, or that a guard may put back.
    fn assert_new_pins_serve(&self, before: &[String], report: &str) {
        let trial = &answer(&["status", NEAR])["interfaces"][0]["trial"];
        let mut served: Vec<_> = attached_by_ip(NEAR).map(|program| program.id).into_iter().collect();
        served.extend(
            trial["puts_back"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_u64),
        );
        let pins = self.sandbox.pins();
        for pin in pins.iter().filter(|pin| !before.contains(pin)) {
            if let ["xdpload", dir, _] = pin.split('/').collect::<Vec<_>>()[..] {
                let of = dir.rsplit('_').next().and_then(|id| id.parse().ok());
                let serves = dir == "block" || of.is_some_and(|id| served.contains(&id));
                assert!(serves, "{served:?}: {pins:?} in {report}");
            }
        }
    }
}

/// Races every pair of `commands`, each from what `set_up` makes.
fn race(set_up: fn(&Sandbox), commands: &[&[&str]]) -> Result<(), Missing> {
    let (sandbox, _veth) = bench(&["bpftool"])?;
    let race = Race { sandbox: &sandbox, set_up, commands };
    let mut pairs = 0;
    for (first, words) in commands.iter().enumerate() {
        let mut raced = 0;
        for second in first..commands.len() {
            pairs += 1;
            if *ALL || pairs % SHARE == 3 {
                let times = if *ALL { TIMES } else { FEW };
                race.both([first, second], times);
                raced += times;
            }
        }
        tally_of("at once", (raced, (commands.len() - first) * TIMES), words);
    }
    clear(&sandbox);
    Ok(())
}

const PIN: &str = "--pin-map=blacklist=/sys/fs/bpf/blacklist";
const SIZE: &str = "--max-entries=blacklist=100";
const LONG: &str = "--confirm=10m";
const LINK_PIN: &str = "--pin=/sys/fs/bpf/link";

#[test]
fn where_nothing_runs() {
    need!(race(
        nothing,
        &[
            &["attach", NEAR, &object("xdp_pass")],
            &["attach", NEAR, &object("xdp_drop"), "--mode=generic"],
            &["attach", NEAR, &object("blacklist"), PIN],
            &["attach", NEAR, &object("tail_calls"), "--prog=enter"],
            &["attach", NEAR, &object("xdp_drop"), LONG],
            &["attach", NEAR, &object("xdp_pass"), "--link", "--pin=/sys/fs/bpf/a/link"],
            &["load", &object("many"), "--all", "--pin=/sys/fs/bpf/edge"],
            &["block", "on", NEAR, "--max-rules=64"],
            &["block", "on", NEAR, "--max-rules=64", LONG],
            &["pins", "gc"],
        ],
    ));
}

#[test]
fn where_a_program_runs() {
    need!(race(
        pinned_with_a_list,
        &[
            &["attach", NEAR, &object("xdp_pass"), "--replace"],
            &["attach", NEAR, &object("tail_calls"), "--prog=enter", "--replace"],
            &["attach", NEAR, &object("blacklist"), "--replace", "--keep-maps", SIZE],
            &["attach", NEAR, &object("blacklist"), "--replace", "--migrate-maps", PIN],
            &["attach", NEAR, &object("blacklist"), "--replace", "--migrate-maps"],
            &["attach", NEAR, &object("xdp_drop"), "--replace", LONG],
            &["detach", NEAR],
            &["detach", NEAR, LONG],
            &["block", "on", NEAR, "--max-rules=64"],
            &["map", "set", "near0:blacklist", "192.0.2.78", "1"],
            &["map", "set", "/sys/fs/bpf/blacklist", "192.0.2.79", "1"],
            &["map", "delete", "/sys/fs/bpf/blacklist", "192.0.2.77"],
            &["map", "load", "/sys/fs/bpf/blacklist", ENTRIES, "--exact"],
            &["pins", "gc"],
        ],
    ));
}

#[test]
fn where_a_link_holds() {
    need!(race(
        held_by_a_link,
        &[
            &["attach", NEAR, &object("blacklist"), "--link", "--replace", LINK_PIN],
            &["attach", NEAR, &object("tail_calls"), "--prog=enter", "--link", "--replace", LINK_PIN],
            &["attach", NEAR, &object("xdp_drop"), "--link", "--replace", LINK_PIN],
            &["attach", NEAR, &object("xdp_drop"), "--link", "--replace", LINK_PIN, LONG],
            &["attach", NEAR, &object("xdp_drop"), "--replace"],
            &["detach", NEAR, "--link"],
            &["detach", NEAR, "--link", LONG],
            &["pins", "gc"],
        ],
    ));
}

#[test]
fn where_a_replacement_is_on_trial() {
    need!(race(
        on_trial,
        &[
            &["confirm"],
            &["confirm", NEAR],
            &["attach", NEAR, &object("tail_calls"), "--prog=enter", "--replace"],
            &["attach", NEAR, &object("blacklist"), "--replace", LONG],
            &["detach", NEAR],
            &["pins", "gc"],
        ],
    ));
}

#[test]
fn where_a_first_program_is_on_trial() {
    need!(race(
        on_trial_by_a_link,
        &[
            &["confirm", NEAR],
            &["attach", NEAR, &object("xdp_pass"), "--link", "--replace", LINK_PIN],
            &["attach", NEAR, &object("xdp_pass"), "--replace"],
            &["detach", NEAR],
            &["pins", "gc"],
        ],
    ));
}

#[test]
fn where_a_program_is_loaded() {
    let pinned = "--pinned=/sys/fs/bpf/one/xdp_pass";
    need!(race(
        loaded,
        &[
            &["attach", NEAR, pinned],
            &["attach", NEAR, pinned, LONG],
            &["attach", NEAR, pinned, "--mode=generic"],
            &["load", &object("xdp_pass"), "--pin=/sys/fs/bpf/one"],
            &["pins", "gc"],
        ],
    ));
}

#[test]
fn where_pins_are_orphaned() {
    need!(race(
        orphaned,
        &[
            &["pins", "gc"],
            &["attach", NEAR, &object("tail_calls"), "--prog=enter"],
            &["attach", NEAR, &object("xdp_pass"), "--link", "--pin=/sys/fs/bpf/other"],
            &["load", &object("many"), "--all", "--pin=/sys/fs/bpf/edge"],
        ],
    ));
}

#[test]
fn where_the_blocklist_is_on() {
    need!(race(
        blocked,
        &[
            &["block", "on", NEAR, "--max-rules=64"],
            &["block", "on", "lo", "--mode=generic"],
            &["block", "off", NEAR],
            &["block", "off", "--purge"],
            &["block", "add", "203.0.113.2", "2001:db8:9::/48"],
            &["block", "del", "192.0.2.77"],
            &["block", "allow", "add", "192.0.2.3"],
            &["block", "allow", "del", "192.0.2.2"],
            &["block", "load", LIST],
            &["block", "sync", "-"],
            &["detach", NEAR],
            &["attach", NEAR, &object("xdp_drop"), "--replace"],
            &["pins", "gc"],
        ],
    ));
}
