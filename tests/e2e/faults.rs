//! Each system call of an attach fails in turn: the message names it, the old program runs on, and nothing is left.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use nix::mount::umount;

use crate::bench::{Bench, assert_well_said};
use crate::command::Ran;
use crate::edit::Edit;
use crate::objects::object;
use crate::peers::{Attached, attached_by_ip};
use crate::requirement::Missing;
use crate::strace::{Call, Fault, trace_with_fault};
use crate::tally::tally;
use crate::veth::NEAR;
use crate::xdpload::{xdpload, xdpload_command};

/// The calls that reach the kernel's BPF, its routing and its file systems, each with errnos that it may give.
const FAULTS: [(&str, &[&str]); 10] = [
    ("bpf", &["EPERM", "ENOMEM", "EINVAL"]),
    ("sendto", &["ENOBUFS", "EPERM"]),
    ("recvfrom", &["ENOBUFS", "ENOMEM"]),
    ("socket", &["EMFILE", "EAFNOSUPPORT"]),
    ("setsockopt", &["EINVAL"]),
    ("mount", &["EPERM", "ENODEV"]),
    ("flock", &["EINTR", "ENOLCK"]),
    ("mkdir", &["EACCES", "ENOSPC"]),
    ("statfs", &["EACCES"]),
    ("fstatfs", &["EACCES"]),
];

/// A command that is made to fail at each of its calls.
struct Trial<'b> {
    bench: &'b Bench,
    command: Command,
    /// Takes back what the command has done, and makes what was there before it.
    undo: fn(&Bench, &State),
    /// What is there before, and after each failure.
    before: State,
}

/// What a failed attach leaves as it was: the program on the interface, the pins, whether bpffs is mounted.
#[derive(Debug, PartialEq, Eq)]
struct State {
    attached: Option<Attached>,
    pins: Vec<String>,
    has_bpffs: bool,
}

impl State {
    fn now(bench: &Bench) -> Self {
        Self {
            attached: attached_by_ip(NEAR),
            pins: bench.sandbox.pins(),
            has_bpffs: bench.sandbox.has_bpffs(),
        }
    }
}

impl<'b> Trial<'b> {
    fn new(bench: &'b Bench, (name, object): (&str, &Edit), options: &[&str]) -> Self {
        let path = object.save_as(&bench.sandbox, name);
        let attach = xdpload_command(&[&["attach", NEAR, &path], options].concat());
        Self { bench, command: attach, undo: detach, before: State::now(bench) }
    }

    /// The same of any command, in the state that `set_up` makes after it has removed any other.
    fn of(bench: &'b Bench, command: &[&str], set_up: fn(&Bench, &State)) -> Self {
        let command = xdpload_command(command);
        set_up(bench, &State::now(bench));
        Self { bench, command, undo: set_up, before: State::now(bench) }
    }

    /// Fails each call in turn with each errno. Returns how many faults there were.
    fn run(&mut self) -> usize {
        let mut faults = 0;
        for (call, errnos) in FAULTS {
            for errno in errnos {
                // Where a fault leads on to other calls, those fail as well in their turn.
                faults +=
                    (1..100).take_while(|&nth| self.fails_at(Fault { call, errno, nth: (nth, nth) })).count();
            }
        }
        let words: Vec<_> = self.command.get_args().map(OsStr::to_string_lossy).collect();
        tally("failed", faults, &words.iter().map(|word| &**word).collect::<Vec<_>>());
        faults
    }

    /// Whether the attach made the call at all that was to fail.
    fn fails_at(&mut self, fault: Fault) -> bool {
        let (ran, calls) = trace_with_fault(&self.bench.sandbox, fault.call, fault, &self.command);
        let Some(failed) = calls.iter().find(|call| call.result.contains("(INJECTED)")) else {
            assert_eq!(ran.code(), Some(0), "{}", ran.report());
            self.undo();
            return false;
        };
        if ran.code() == Some(0) {
            self.assert_found_a_way(failed, &ran);
            self.undo();
        } else {
            self.assert_failed_cleanly(failed, fault, &ran);
        }
        true
    }

    fn assert_failed_cleanly(&self, failed: &Call, fault: Fault, ran: &Ran) {
        let report = format!("{failed:?}\n{}", ran.report());
        assert_well_said(ran);
        assert!(matches!(ran.code(), Some(1 | 3)), "{report}");
        assert!(ran.stderr().contains(&name_of(failed)), "{report}");
        assert!(ran.stderr().contains(&format!("({})", fault.errno)), "{report}");
        assert!(!ran.stderr().contains("MEMLOCK"), "{report}");
        assert_eq!(State::now(self.bench), self.before, "{report}");
    }

    /// The plan has a way around: what cannot be told after the attach is left out, and what is asked again answers.
    fn assert_found_a_way(&self, failed: &Call, ran: &Ran) {
        let told = failed.arguments.starts_with("BPF_OBJ_GET_INFO_BY_FD");
        let explained = failed.arguments.starts_with("BPF_PROG_LOAD");
        let asked = failed.arguments.starts_with("BPF_MAP_CREATE");
        let typed = failed.arguments.starts_with("BPF_BTF_LOAD");
        let bound = failed.arguments.starts_with("BPF_PROG_BIND_MAP");
        let copied = ["BPF_MAP_LOOKUP_BATCH", "BPF_MAP_UPDATE_BATCH"];
        let tried = ["BPF_LINK_UPDATE"].iter().chain(&copied).any(|call| failed.arguments.starts_with(call));
        let waited = failed.name == "flock" && failed.result.contains("EINTR");
        let found = told || explained || asked || typed || bound || tried || waited;
        assert!(found, "{failed:?}\n{}", ran.report());
        assert_ne!(State::now(self.bench), self.before, "{}", ran.report());
    }

    fn undo(&mut self) {
        (self.undo)(self.bench, &self.before);
        // Loaded anew, the program has another id.
        self.before.attached = attached_by_ip(NEAR);
        assert_eq!(State::now(self.bench), self.before);
    }
}

/// Takes off what an attach that succeeded has put on, and puts on what was there before.
fn detach(bench: &Bench, before: &State) {
    xdpload(&["detach", NEAR]).ok();
    if !before.has_bpffs {
        umount("/sys/fs/bpf").expect("the attach has mounted it");
    } else if !bench.sandbox.pins().is_empty() {
        fs::remove_dir_all("/sys/fs/bpf/globals").expect("the attach has made it");
    }
    if before.attached.is_some() {
        xdpload(&["attach", NEAR, &object("xdp_pass")]).ok();
    }
}

/// Takes off everything, by a link or not, and removes all pins.
fn clear(bench: &Bench, _before: &State) {
    if attached_by_ip(NEAR).is_some() && xdpload(&["detach", NEAR, "--link"]).code() != Some(0) {
        xdpload(&["detach", NEAR]).ok();
    }
    for name in bench.sandbox.pins().iter().filter(|name| !name.contains('/')) {
        let path = Path::new("/sys/fs/bpf").join(name);
        let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        removed.expect("root may remove pins");
    }
}

fn held_by_a_link(bench: &Bench, before: &State) {
    clear(bench, before);
    xdpload(&["attach", NEAR, &object("xdp_pass"), "--link", "--pin", "/sys/fs/bpf/link"]).ok();
}

fn pinned(bench: &Bench, before: &State) {
    clear(bench, before);
    xdpload(&["load", &object("xdp_pass"), "--pin", "/sys/fs/bpf/one"]).ok();
}

fn running_with_a_list(bench: &Bench, before: &State) {
    clear(bench, before);
    xdpload(&["attach", NEAR, &object("blacklist"), "--max-entries=blacklist=100"]).ok();
    xdpload(&["map", "set", "near0:blacklist", "192.0.2.77", "1"]).ok();
}

/// What a message calls the system call.
fn name_of(call: &Call) -> String {
    match call.arguments.split(',').next() {
        Some(command) if call.name == "bpf" => format!("bpf({command})"),
        _ => call.name.clone(),
    }
}

fn bench() -> Result<Bench, Missing> {
    Bench::new(&["strace"])
}

#[test]
fn a_plain_attach_fails_cleanly_at_each_call() {
    let bench = need!(bench());
    // Five calls of bpf(2), two of them after the program is attached; two rounds of netlink.
    let faults = Trial::new(&bench, ("blacklist", &bench.blacklist()), &[]).run();
    assert!(faults >= 20, "{faults}");
    bench.assert_clean();
}

#[test]
fn a_replacement_fails_cleanly_at_each_call() {
    let bench = need!(bench());
    xdpload(&["attach", NEAR, &object("xdp_pass")]).ok();
    let faults = Trial::new(&bench, ("blacklist", &bench.blacklist()), &["--replace"]).run();
    assert!(faults >= 25, "{faults}");
    xdpload(&["detach", NEAR]).ok();
    bench.assert_clean();
}

#[test]
fn a_pinning_attach_fails_cleanly_at_each_call() {
    let bench = need!(bench());
    let faults = Trial::new(&bench, ("blacklist_gobpf", &gobpf(&bench)), &[]).run();
    assert!(faults >= 30, "{faults}");
    bench.assert_clean();
}

#[test]
fn an_attach_that_mounts_bpffs_fails_cleanly_at_each_call() {
    let bench = need!(bench());
    umount("/sys/fs/bpf").expect("the sandbox has mounted it");
    let faults = Trial::new(&bench, ("blacklist_gobpf", &gobpf(&bench)), &[]).run();
    assert!(faults >= 32, "{faults}");
    bench.assert_clean();
}

#[test]
fn an_attach_with_global_variables_fails_cleanly_at_each_call() {
    let bench = need!(bench());
    for program in ["count", "pass"] {
        let object = Edit::of(&object("data_sections"));
        let faults = Trial::new(&bench, ("data_sections", &object), &["--prog", program]).run();
        assert!(faults >= 40, "{program}: {faults}");
    }
    bench.assert_clean();
}

/// Fails each call of `command` in turn, in the state that `set_up` makes.
fn assert_fails_cleanly(command: &[&str], set_up: fn(&Bench, &State), least: usize) -> Result<(), Missing> {
    let bench = bench()?;
    let faults = Trial::of(&bench, command, set_up).run();
    assert!(faults >= least, "{faults}");
    let before = State::now(&bench);
    clear(&bench, &before);
    bench.assert_clean();
    Ok(())
}

#[test]
fn a_load_fails_cleanly_at_each_call() {
    let load = ["load", &object("many"), "--all", "--pin", "/sys/fs/bpf/edge"];
    need!(assert_fails_cleanly(&load, clear, 60));
}

#[test]
fn attaching_what_is_loaded_fails_cleanly_at_each_call() {
    let attach = ["attach", NEAR, "--pinned", "/sys/fs/bpf/one/xdp_pass"];
    need!(assert_fails_cleanly(&attach, pinned, 15));
}

#[test]
fn a_link_fails_cleanly_at_each_call() {
    let attach = ["attach", NEAR, &object("blacklist"), "--link", "--pin", "/sys/fs/bpf/a/link"];
    need!(assert_fails_cleanly(&attach, clear, 25));
}

#[test]
fn an_update_of_a_link_fails_cleanly_at_each_call() {
    let attach = ["attach", NEAR, &object("blacklist"), "--link", "--replace"];
    need!(assert_fails_cleanly(&attach, held_by_a_link, 30));
    let attach = ["attach", NEAR, &object("xdp_drop"), "--link", "--replace", "--pin", "/sys/fs/bpf/link"];
    need!(assert_fails_cleanly(&attach, held_by_a_link, 20));
}

#[test]
fn an_upgrade_fails_cleanly_at_each_call() {
    let blacklist = object("blacklist");
    let keep = ["attach", NEAR, &blacklist, "--replace", "--keep-maps", "--max-entries=blacklist=100"];
    need!(assert_fails_cleanly(&keep, running_with_a_list, 25));
    let copy = ["attach", NEAR, &blacklist, "--replace", "--migrate-maps"];
    need!(assert_fails_cleanly(&copy, running_with_a_list, 30));
}

/// The blacklist in gobpf's dialect, pinned at globals/globals/<map>.
fn gobpf(bench: &Bench) -> Edit {
    let mut edit = Edit::of(&object("blacklist_gobpf"));
    edit.rename_symbol("xdp_ip_filter", &bench.program);
    edit.rename_section("maps/blacklist", &format!("maps/{}", bench.map));
    edit
}
