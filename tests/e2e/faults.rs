//! Each system call of an attach fails in turn: the message names it, the old program runs on, and nothing is left.

use std::fs;
use std::process::Command;

use nix::mount::umount;

use crate::bench::{Bench, assert_well_said};
use crate::command::Ran;
use crate::edit::Edit;
use crate::objects::object;
use crate::peers::{Attached, attached_by_ip};
use crate::requirement::Missing;
use crate::strace::{Call, Fault, trace_with_fault};
use crate::veth::NEAR;
use crate::xdpload::{xdpload, xdpload_command};

/// The calls that reach the kernel's BPF, its routing and its file systems, each with errnos that it may give.
const FAULTS: [(&str, &[&str]); 9] = [
    ("bpf", &["EPERM", "ENOMEM", "EINVAL"]),
    ("sendto", &["ENOBUFS", "EPERM"]),
    ("recvfrom", &["ENOBUFS", "ENOMEM"]),
    ("socket", &["EMFILE", "EAFNOSUPPORT"]),
    ("setsockopt", &["EINVAL"]),
    ("mount", &["EPERM", "ENODEV"]),
    ("mkdir", &["EACCES", "ENOSPC"]),
    ("statfs", &["EACCES"]),
    ("fstatfs", &["EACCES"]),
];

/// An attach that is made to fail at each of its calls.
struct Trial<'b> {
    bench: &'b Bench,
    attach: Command,
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
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo").expect("/proc is mounted");
        Self {
            attached: attached_by_ip(NEAR),
            pins: bench.sandbox.pins(),
            has_bpffs: mounts.contains(" /sys/fs/bpf "),
        }
    }
}

impl<'b> Trial<'b> {
    fn new(bench: &'b Bench, object: &Edit, options: &[&str]) -> Self {
        let path = object.save(&bench.sandbox);
        let attach = xdpload_command(&[&["attach", NEAR, &path], options].concat());
        Self { bench, attach, before: State::now(bench) }
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
        faults
    }

    /// Whether the attach made the call at all that was to fail.
    fn fails_at(&mut self, fault: Fault) -> bool {
        let (ran, calls) = trace_with_fault(&self.bench.sandbox, fault.call, fault, &self.attach);
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
        assert!(told || explained || asked || typed || bound, "{failed:?}\n{}", ran.report());
        assert_ne!(attached_by_ip(NEAR), self.before.attached, "{}", ran.report());
    }

    /// Takes off what an attach that succeeded has put on, and puts on what was there before.
    fn undo(&mut self) {
        xdpload(&["detach", NEAR]).ok();
        if !self.before.has_bpffs {
            umount("/sys/fs/bpf").expect("the attach has mounted it");
        } else if !self.bench.sandbox.pins().is_empty() {
            fs::remove_dir_all("/sys/fs/bpf/globals").expect("the attach has made it");
        }
        if self.before.attached.is_some() {
            xdpload(&["attach", NEAR, &object("xdp_pass")]).ok();
        }
        // Loaded anew, it has another id.
        self.before.attached = attached_by_ip(NEAR);
        assert_eq!(State::now(self.bench), self.before);
    }
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
    let faults = Trial::new(&bench, &bench.blacklist(), &[]).run();
    assert!(faults >= 20, "{faults}");
    bench.assert_clean();
}

#[test]
fn a_replacement_fails_cleanly_at_each_call() {
    let bench = need!(bench());
    xdpload(&["attach", NEAR, &object("xdp_pass")]).ok();
    let faults = Trial::new(&bench, &bench.blacklist(), &["--replace"]).run();
    assert!(faults >= 25, "{faults}");
    xdpload(&["detach", NEAR]).ok();
    bench.assert_clean();
}

#[test]
fn a_pinning_attach_fails_cleanly_at_each_call() {
    let bench = need!(bench());
    let faults = Trial::new(&bench, &gobpf(&bench), &[]).run();
    assert!(faults >= 30, "{faults}");
    bench.assert_clean();
}

#[test]
fn an_attach_that_mounts_bpffs_fails_cleanly_at_each_call() {
    let bench = need!(bench());
    umount("/sys/fs/bpf").expect("the sandbox has mounted it");
    let faults = Trial::new(&bench, &gobpf(&bench), &[]).run();
    assert!(faults >= 32, "{faults}");
    bench.assert_clean();
}

#[test]
fn an_attach_with_global_variables_fails_cleanly_at_each_call() {
    let bench = need!(bench());
    for program in ["count", "pass"] {
        let object = Edit::of(&object("data_sections"));
        let faults = Trial::new(&bench, &object, &["--prog", program]).run();
        assert!(faults >= 40, "{program}: {faults}");
    }
    bench.assert_clean();
}

/// The blacklist in gobpf's dialect, pinned at globals/globals/<map>.
fn gobpf(bench: &Bench) -> Edit {
    let mut edit = Edit::of(&object("blacklist_gobpf"));
    edit.rename_symbol("xdp_ip_filter", &bench.program);
    edit.rename_section("maps/blacklist", &format!("maps/{}", bench.map));
    edit
}
