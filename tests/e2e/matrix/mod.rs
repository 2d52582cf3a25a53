//! Every command, with each of its system calls failing in turn, and killed before each of them and so also after each:
//! the interface runs the old program or the new one in full, nothing is pinned but what was there or would be at the
//! end, and the next run of the command succeeds.
//!
//! [`cases`] are the commands. `make test` takes every [`SHARE`]th fault, `make faults` takes all.

pub(crate) mod cases;
pub(crate) mod state;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use self::state::{State, clear};
use crate::command::{Ran, command, run};
use crate::requirement::Missing;
use crate::sandbox::Sandbox;
use crate::strace::{Call, Fault, kill_each_before, trace, trace_with_fault};
use crate::tally::{ALL, tally_of};
use crate::trials::bench;
use crate::veth::Veth;
use crate::xdpload::{xdpload, xdpload_command};

/// Of so many faults one is made, unless all are asked for.
pub(crate) const SHARE: usize = 8;

/// The calls that reach beyond the process, each with errnos that it may give.
const FAULTS: [(&str, &[&str]); 36] = [
    ("bpf", &["EPERM", "ENOMEM", "EINVAL"]),
    ("sendto", &["ENOBUFS", "EPERM"]),
    ("recvfrom", &["ENOBUFS", "ENOMEM"]),
    ("sendmsg", &["ENOBUFS"]),
    ("recvmsg", &["ENOMEM"]),
    ("socket", &["EMFILE", "EAFNOSUPPORT"]),
    ("socketpair", &["EMFILE"]),
    ("connect", &["EACCES"]),
    ("bind", &["ENOMEM"]),
    ("setsockopt", &["EINVAL"]),
    ("mount", &["EPERM", "ENODEV"]),
    ("umount2", &["EBUSY"]),
    ("flock", &["EINTR", "ENOLCK"]),
    ("mkdir", &["EACCES", "ENOSPC"]),
    ("rmdir", &["EPERM"]),
    ("unlink", &["EPERM", "EROFS"]),
    ("rename", &["ENOSPC", "EACCES"]),
    ("statfs", &["EACCES"]),
    ("fstatfs", &["EIO"]),
    ("statx", &["EACCES"]),
    ("newfstatat", &["EACCES"]),
    ("readlink", &["EACCES"]),
    ("lseek", &["ESPIPE"]),
    ("ioctl", &["EOPNOTSUPP", "EPERM"]),
    ("getsockopt", &["ENOBUFS"]),
    ("prlimit64", &["EPERM"]),
    ("capget", &["EPERM"]),
    ("openat", &["EMFILE", "EACCES"]),
    ("read", &["EIO"]),
    ("write", &["EIO", "ENOSPC"]),
    ("fsync", &["EIO"]),
    ("getdents64", &["ENOMEM"]),
    ("clone3", &["EAGAIN", "ENOMEM"]),
    ("clone", &["EAGAIN"]),
    ("setns", &["EPERM"]),
    ("unshare", &["EPERM"]),
];

/// Calls that change nothing outside of the process.
pub(crate) const PRIVATE: [&str; 17] = [
    "brk",
    "close",
    "execve",
    "exit_group",
    "fcntl",
    "getrandom",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "poll",
    "prctl",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "sigaltstack",
];

/// Calls that never fail, or whose failure cannot be injected for what it is.
const SURE: [&str; 9] =
    ["exit", "futex", "getsockname", "geteuid", "getpid", "getppid", "gettid", "set_robust_list", "uname"];

/// A command, and what is there before it.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    words: &'a [&'a str],
    set_up: fn(&Sandbox),
    /// The file that it reads as standard input.
    stdin: Option<&'a str>,
    /// Whether it fails, and says so, where some of its work is done already; it does the rest.
    is_once: bool,
    /// What its plan pins for a while, and a kill may leave to the next run.
    passing: Option<&'a str>,
}

impl<'a> Case<'a> {
    fn new(words: &'a [&'a str], set_up: fn(&Sandbox)) -> Self {
        Self { words, set_up, stdin: None, is_once: false, passing: None }
    }

    fn once(self) -> Self {
        Self { is_once: true, ..self }
    }

    fn pinning(self, passing: &'a str) -> Self {
        Self { passing: Some(passing), ..self }
    }

    fn reading(self, stdin: &'a str) -> Self {
        Self { stdin: Some(stdin), ..self }
    }

    fn command(&self) -> Command {
        let xdpload = xdpload_command(self.words);
        let Some(file) = self.stdin else { return xdpload };
        let mut shell = command("sh", &["-c", &format!("exec \"$0\" \"$@\" <{file}")]);
        shell.arg(xdpload.get_program()).args(xdpload.get_args());
        shell
    }
}

/// A case on trial: what is there before it, and after it has succeeded.
struct Trial<'c> {
    case: Case<'c>,
    sandbox: Sandbox,
    _veth: Veth,
    before: State,
    after: State,
    /// The calls of the undisturbed command, without those of its start.
    calls: BTreeSet<(String, u32)>,
    /// Whether the state is the one before, so that it needs no setting up.
    is_ready: RefCell<bool>,
}

impl<'c> Trial<'c> {
    fn new(case: Case<'c>) -> Result<Self, Missing> {
        let (sandbox, veth) = bench(&["bpftool", "strace"])?;
        (case.set_up)(&sandbox);
        let before = State::now(&sandbox);
        let (ran, calls) = trace(&sandbox, "all", &case.command());
        ran.ok();
        let after = State::now(&sandbox);
        let calls = numbered(&calls);
        let is_known = |name: &&str| {
            FAULTS.iter().any(|(fault, _)| fault == name) || PRIVATE.contains(name) || SURE.contains(name)
        };
        let unknown: BTreeSet<_> =
            calls.iter().map(|(name, _)| &**name).filter(|name| !is_known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}: what if they fail?");
        Ok(Self { case, sandbox, _veth: veth, before, after, calls, is_ready: RefCell::new(false) })
    }

    fn set_up(&self) {
        if !self.is_ready.replace(true) {
            clear(&self.sandbox);
            (self.case.set_up)(&self.sandbox);
        }
    }

    /// Fails each call with each errno. Returns how often, and how often it could have been.
    fn fail_each(&self) -> (usize, usize) {
        let (mut done, mut tried, mut all) = (0, 0, 0);
        for (call, errnos) in FAULTS {
            let own: Vec<_> =
                self.calls.iter().filter(|(name, _)| name == call).map(|(_, nth)| *nth).collect();
            let Some(&last) = own.last() else { continue };
            for errno in errnos {
                // Where a fault leads on to other calls, those fail as well in their turn.
                for nth in own.iter().copied().chain(last + 1..) {
                    let is_extra = nth > last;
                    all += usize::from(!is_extra);
                    if *ALL || (!is_extra && all % SHARE == 1) {
                        let was_made = self.fail(Fault { call, errno, nth: (nth, nth) });
                        done += usize::from(was_made);
                        tried += usize::from(!is_extra);
                        all += usize::from(was_made && is_extra);
                        if was_made {
                            continue;
                        }
                    }
                    if is_extra {
                        break;
                    }
                }
            }
        }
        assert_were_made(done, tried);
        (done, all)
    }

    /// Whether the call was made that was to fail.
    fn fail(&self, fault: Fault) -> bool {
        self.set_up();
        let (ran, calls) = trace_with_fault(&self.sandbox, fault.call, fault, &self.case.command());
        let failed = calls.iter().find(|call| call.result.contains("(INJECTED)"));
        let left = State::now(&self.sandbox);
        let report = format!("{failed:?}\n{}", ran.report());
        if ran.code() == Some(0) {
            assert_eq!(self.without_orphans(left.clone()), self.after, "{report}");
        } else if !failed.is_some_and(|call| call.arguments.starts_with("2,")) {
            assert_is_told(&ran, &report);
        }
        self.assert_is_sound(&left, &report);
        failed.is_some()
    }

    /// Kills the command before each of its calls. Returns how often, and how often it could have been.
    fn kill_at_each(&self) -> (usize, usize) {
        let calls: Vec<_> = self.calls.iter().filter(|(name, _)| !PRIVATE.contains(&name.as_str())).collect();
        let (mut done, mut tried) = (0, 0);
        for (at, (name, nth)) in calls.iter().enumerate() {
            if *ALL || at % SHARE == SHARE / 2 {
                self.set_up();
                let (_, was_killed) = kill_each_before(&self.sandbox, name, *nth, &self.case.command());
                done += usize::from(was_killed);
                tried += 1;
                let left = State::now(&self.sandbox);
                self.assert_is_sound(&left, &format!("{:?} killed before {name} ({nth})", self.case.words));
            }
        }
        assert_were_made(done, tried);
        (done, calls.len())
    }

    /// What a command could not look at or remove, when all else was done, is for `pins gc`.
    fn without_orphans(&self, state: State) -> State {
        if !state.pins_more_than(&self.after) {
            return state;
        }
        xdpload(&["pins", "gc"]).ok();
        State::now(&self.sandbox)
    }

    /// What is left is no mixture, and the next run makes it whole.
    fn assert_is_sound(&self, left: &State, report: &str) {
        let mut known = left.clone();
        known.pins.retain(|pin| Some(&**pin) != self.case.passing);
        if let Some(flaw) = known.flaw(&self.before, &self.after) {
            panic!("{flaw}: {left:#?}\nbefore: {:#?}\nafter: {:#?}\n{report}", self.before, self.after);
        }
        if *left == self.before && self.before == self.after {
            return;
        }
        let again = run(&mut self.case.command());
        let expected: &[_] = if self.case.is_once { &[Some(0), Some(1)] } else { &[Some(0)] };
        assert!(
            expected.contains(&again.code()),
            "the next run fails: {}\nafter {left:#?}\n{report}",
            again.report()
        );
        let whole = self.without_orphans(State::now(&self.sandbox));
        assert_eq!(whole, self.after, "after the next run: {}\n{report}", again.report());
        *self.is_ready.borrow_mut() = false;
    }
}

/// Most of the faults that were tried must have been made. Where a list of all that the kernel holds is shorter than it
/// was, a call is not made any more.
#[track_caller]
pub(crate) fn assert_were_made(done: usize, tried: usize) {
    assert!(done > 0 && 2 * done >= tried, "{done} of {tried} faults were made");
}

/// One message, and no panic.
#[track_caller]
fn assert_is_told(ran: &Ran, report: &str) {
    let errors = ran.stderr().lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "{report}");
    assert!(ran.code().is_some() && !ran.stderr().contains("panicked"), "{report}");
}

/// The calls by name and number, which strace counts for each process and thread. Those before the last
/// set_tid_address(2) are made by the dynamic linker, before the program begins.
pub(crate) fn numbered(calls: &[Call]) -> BTreeSet<(String, u32)> {
    let start = calls.iter().rposition(|call| call.name == "set_tid_address").unwrap_or(0);
    let mut nth: BTreeMap<(u32, &str), u32> = BTreeMap::new();
    let mut found = BTreeSet::new();
    for (at, call) in calls.iter().enumerate() {
        let nth = nth.entry((call.process, &call.name)).or_default();
        *nth += 1;
        if at > start {
            found.insert((call.name.clone(), *nth));
        }
    }
    found
}

/// Tries everything with `case`.
fn survives(case: Case<'_>) -> Result<(), Missing> {
    let trial = Trial::new(case)?;
    let faults = trial.fail_each();
    tally_of("failed", faults, case.words);
    let kills = trial.kill_at_each();
    tally_of("killed", kills, case.words);
    clear(&trial.sandbox);
    Ok(())
}
