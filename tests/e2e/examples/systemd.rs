//! `examples/systemd`: the unit is sound, and its commands, run in order with its capabilities alone and under its
//! other restrictions, bring rules back after a reboot.

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs, thread};

use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::{example, install};
use crate::block_commands::{block, listed};
use crate::command::{Ran, command, run};
use crate::packets::assert_udp;
use crate::peers::attached_by_ip;
use crate::requirement::tool;
use crate::veth::{BLOCKED, NEAR, OTHER, pair};
use crate::xdpload::answer;

/// A unit file's settings, each with its values in order.
pub(super) struct Unit {
    settings: BTreeMap<String, Vec<String>>,
}

impl Unit {
    pub(super) fn read(path: &Path) -> Self {
        let mut settings: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for line in fs::read_to_string(path).expect("the example is there").lines() {
            let is_setting = !line.starts_with(['#', '[']);
            if let Some((key, value)) = line.split_once('=').filter(|_| is_setting) {
                settings.entry(key.to_owned()).or_default().push(value.to_owned());
            }
        }
        Self { settings }
    }

    /// All values of a setting.
    pub(super) fn all(&self, key: &str) -> &[String] {
        self.settings.get(key).unwrap_or_else(|| panic!("the unit has no {key}"))
    }

    /// Runs a command line of the unit with its capabilities. What these lines have of systemd's quoting means the
    /// same to a shell.
    pub(super) fn run(&self, line: &str, environment: &[(&str, &str)]) -> Ran {
        let sets: Vec<_> = self.all("CapabilityBoundingSet")[0]
            .split(' ')
            .map(|name| format!(",+{}", name.trim_start_matches("CAP_").to_lowercase()))
            .collect();
        let bounding = format!("--bounding-set=-all{}", sets.concat());
        let line = format!("exec {line}");
        let words = ["--inh-caps=-all", &bounding, "--no-new-privs", "--", "sh", "-c", &line];
        run(command("setpriv", &words)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .envs(environment.iter().copied()))
    }
}

/// The restrictions that [`confine`] imposes. ProtectHome is not among them: the program under test may lie in a home.
const RESTRICTIONS: [(&str, &str); 8] = [
    ("NoNewPrivileges", "yes"),
    ("ProtectSystem", "strict"),
    ("ReadWritePaths", "/sys/fs/bpf"),
    ("RestrictAddressFamilies", "AF_NETLINK"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("LockPersonality", "yes"),
    ("MemoryDenyWriteExecute", "yes"),
];

/// Runs `work` as systemd would under [`RESTRICTIONS`], with `state` for the StateDirectory. They stay on the thread
/// that takes them, and on what that starts.
fn confine<T: Send>(state: &Path, work: impl FnOnce() -> T + Send) -> T {
    let confined = || {
        unshare(CloneFlags::CLONE_NEWNS).expect("root may");
        let bind = |path: &Path, flags| mount(Some(path), path, None::<&str>, flags, None::<&str>);
        let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        bind(state, MsFlags::MS_BIND).expect("a directory can be bound on itself");
        for path in ["/", "/run"] {
            bind(Path::new(path), read_only).expect("a mount can be made read-only");
        }
        refuse(libc::EAFNOSUPPORT, &[(libc::SYS_socket, 0, SeccompCmpOp::Ne, libc::AF_NETLINK)]);
        let always = SeccompCmpOp::MaskedEq(0);
        let both = u64::from(libc::PROT_WRITE.unsigned_abs() | libc::PROT_EXEC.unsigned_abs());
        let exec = u64::from(libc::PROT_EXEC.unsigned_abs());
        refuse(
            libc::EPERM,
            &[
                (libc::SYS_unshare, 0, always.clone(), 0),
                (libc::SYS_setns, 0, always.clone(), 0),
                (libc::SYS_personality, 0, always.clone(), 0),
                (libc::SYS_sched_setscheduler, 0, always, 0),
                (libc::SYS_mmap, 2, SeccompCmpOp::MaskedEq(both), libc::PROT_WRITE | libc::PROT_EXEC),
                (libc::SYS_mprotect, 2, SeccompCmpOp::MaskedEq(exec), libc::PROT_EXEC),
            ],
        );
        work()
    };
    thread::scope(|scope| scope.spawn(confined).join().expect("the thread does not panic"))
}

/// Has the kernel refuse with `errno`, from now on, each call whose argument of that number compares so.
fn refuse(errno: i32, calls: &[(i64, u8, SeccompCmpOp, i32)]) {
    let rule = |(call, argument, comparison, value): &(i64, u8, SeccompCmpOp, i32)| {
        let value = u64::from(value.unsigned_abs());
        let condition = SeccompCondition::new(*argument, SeccompCmpArgLen::Dword, comparison.clone(), value);
        let rule = SeccompRule::new(vec![condition.expect("it has that argument")]);
        (*call, vec![rule.expect("it has a condition")])
    };
    let filter = SeccompFilter::new(
        calls.iter().map(rule).collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        env::consts::ARCH.try_into().expect("seccompiler knows the machine"),
    );
    let filter: BpfProgram = filter.and_then(BpfProgram::try_from).expect("the filter is sound");
    seccompiler::apply_filter(&filter).expect("root may filter");
}

#[test]
fn rules_come_back_after_a_reboot() {
    let (sandbox, veth) = need!(pair(&["setpriv", "systemd-analyze"]));
    install(&sandbox, &[]);
    let path = example("systemd/xdpload-block.service");
    let verified = run(&mut command("systemd-analyze", &["verify", path.to_str().unwrap()])).ok();
    assert_eq!(verified.stderr(), "");
    let unit = Unit::read(&path);
    let settings = fs::read_to_string(example("systemd/xdpload-block.default")).unwrap();
    let options = settings.lines().find_map(|line| line.strip_prefix("OPTIONS=")).expect("it has options");
    for (key, value) in RESTRICTIONS {
        assert_eq!(unit.all(key), [value], "{key}");
    }
    // What is not the unit's lies beside its directory.
    let state = sandbox.scratch().join("state");
    fs::create_dir(&state).unwrap();
    let directory = state.to_str().unwrap();
    let environment =
        [("INTERFACES", NEAR), ("OPTIONS", options.trim_matches('"')), ("STATE_DIRECTORY", directory)];
    let confined = |line: &str| confine(&state, || unit.run(line, &environment));
    for path in ["/etc", "/usr", "/run", "/run/scratch"] {
        confined(&format!("sh -c 'echo > {path}/written'")).fails(2).stderr_has("Read-only file system");
    }
    confined("ip link show").ok();
    confined("bash -c 'exec 3<>/dev/tcp/127.0.0.1/9'").fails(1).stderr_has("Address family not supported");
    confined("unshare -n true").fails(1).stderr_has("Operation not permitted");
    let all = |key: &str| unit.all(key).iter().for_each(|line| drop(confined(line).ok()));

    // The first boot has nothing to restore.
    all("ExecStart");
    assert_eq!(attached_by_ip(NEAR).expect("it is on").mode, "native");
    assert!(listed().is_empty());
    block(&["add", "192.0.2.77", "--name", "mine"]).ok();
    block(&["add", "192.0.2.1", "--force"]).ok();
    block(&["allow", "add", "192.0.2.78"]).ok();
    all("ExecReload");
    block(&["add", "192.0.2.64/26"]).ok();
    all("ExecStop");
    assert_eq!((attached_by_ip(NEAR), sandbox.pins()), (None, vec![]));
    assert_udp(&veth, BLOCKED, 5);

    all("ExecStart");
    let rules = ["192.0.2.1 default", "192.0.2.64/26 default", "192.0.2.77 mine"];
    assert_eq!(listed(), rules);
    assert_eq!(block(&["allow", "list"]).ok().stdout(), "192.0.2.78\n");
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, OTHER, 5);
    // An administrator who starts it twice loses nothing.
    all("ExecStart");
    assert_eq!(listed(), rules);
    block(&["del", "192.0.2.1", "192.0.2.64/26", "192.0.2.77"]).ok();
    all("ExecStop");
    // What was empty is empty again, and the exceptions are still there.
    all("ExecStart");
    assert!(listed().is_empty());
    assert_eq!(block(&["allow", "list"]).ok().stdout(), "192.0.2.78\n");
    all("ExecStop");
}

/// A device that comes late leaves the others protected, and what was set comes back with the rules.
#[test]
fn a_missing_interface_and_the_settings() {
    let (sandbox, veth) = need!(pair(&["setpriv"]));
    install(&sandbox, &[]);
    let unit = Unit::read(&example("systemd/xdpload-block.service"));
    let state = sandbox.scratch().to_str().unwrap();
    let interfaces = format!("late0 {NEAR}");
    let run_all = |key: &str, interfaces: &str, options: &str| -> Vec<Ran> {
        let environment = [("INTERFACES", interfaces), ("OPTIONS", options), ("STATE_DIRECTORY", state)];
        unit.all(key).iter().map(|line| unit.run(line, &environment)).collect()
    };
    let all = |key: &str, options: &str| -> Vec<Ran> {
        run_all(key, &interfaces, options).into_iter().map(Ran::ok).collect()
    };
    run_all("ExecStart", "late0", "").remove(0).fails(1).stderr_has("there is no interface named `late0`");

    all("ExecStart", "").remove(0).stderr_has("there is no interface named `late0`");
    block(&["add", "192.0.2.77"]).ok();
    block(&["allow", "add", "192.0.2.0/24"]).ok();
    block(&["on", NEAR, "--default", "drop", "--count-only", "--force"]).ok();
    all("ExecStop", "").remove(0).stderr_has("does not restore --count-only --default drop");
    all("ExecStart", "");
    let settings = answer(&["block", "on", NEAR]);
    assert_eq!((&settings["default_drop"], &settings["count_only"]), (&true.into(), &true.into()));
    all("ExecStop", "");
    // What the options say counts.
    all("ExecStart", "--count-only=false");
    let settings = answer(&["block", "on", NEAR]);
    assert_eq!((&settings["default_drop"], &settings["count_only"]), (&false.into(), &false.into()));
    assert_udp(&veth, OTHER, 5);
    all("ExecStop", "");
}

/// Without any one of the capabilities that the unit keeps, one of its commands fails.
#[test]
fn the_unit_keeps_no_capability_in_vain() {
    let (sandbox, _veth) = need!(pair(&["setpriv"]));
    need!(tool("systemd-analyze"));
    install(&sandbox, &[]);
    let unit = Unit::read(&example("systemd/xdpload-block.service"));
    let names: Vec<_> = unit.all("CapabilityBoundingSet")[0].split(' ').map(str::to_owned).collect();
    let state = sandbox.scratch().to_str().unwrap();
    let environment = [("INTERFACES", NEAR), ("OPTIONS", "--max-rules 100"), ("STATE_DIRECTORY", state)];
    for left_out in &names {
        let kept: Vec<_> = names.iter().filter(|name| *name != left_out).cloned().collect();
        let poorer =
            Unit { settings: BTreeMap::from([("CapabilityBoundingSet".to_owned(), vec![kept.join(" ")])]) };
        let lines = unit.all("ExecStart").iter().chain(unit.all("ExecStop"));
        let failed = lines.map(|line| poorer.run(line, &environment)).find(|ran| ran.code() != Some(0));
        let failed = failed.unwrap_or_else(|| panic!("{left_out} is not needed"));
        assert!(
            failed.stderr().contains("lacks CAP_") || failed.stderr().contains("EPERM"),
            "{}",
            failed.report()
        );
        let _ = block(&["off", "--purge"]);
    }
}
