//! Too few privileges: the message names the one that is missing, and nothing is left half-done.

use std::collections::BTreeMap;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::{env, fs, thread};

use nix::libc::{AF_NETLINK, AF_UNIX, EACCES, EAFNOSUPPORT, ENOSYS, EPERM, SYS_bpf, SYS_socket};
use nix::mount::{MsFlags, mount, umount};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::bench::{Bench, assert_well_said};
use crate::command::{Ran, command, run};
use crate::objects::object;
use crate::peers::attached_by_ip;
use crate::requirement::{Missing, kernel, tool};

use crate::veth::NEAR;
use crate::xdpload::{xdpload, xdpload_command};

/// Everything that loading and attaching takes, but not the right to mount or to open by id.
const LOADER: &str = "+bpf,+net_admin,+perfmon";

/// Somebody who is not root, with `capabilities` in the form of setpriv(1).
struct Nobody<'b> {
    bench: &'b Bench,
    program: String,
    capabilities: String,
}

impl<'b> Nobody<'b> {
    fn with(bench: &'b Bench, capabilities: &str) -> Self {
        // Where cargo builds, others may not be let in.
        let program = bench.sandbox.scratch().join("xdpload");
        if !program.exists() {
            // By another process: a copy that is open here would be handed on to what other tests start meanwhile.
            let from = xdpload_command::<&str>(&[]).get_program().to_string_lossy().into_owned();
            run(&mut command("cp", &[&*from, &program.to_string_lossy()])).ok();
        }
        let comma = if capabilities.is_empty() { "" } else { "," };
        let capabilities = format!("-all{comma}{capabilities}");
        Self { bench, program: program.to_str().expect("it is printable").to_owned(), capabilities }
    }

    /// Runs `xdpload` with `arguments`.
    fn xdpload(&self, arguments: &[&str]) -> Ran {
        let capabilities =
            [format!("--inh-caps={0}", self.capabilities), format!("--ambient-caps={0}", self.capabilities)];
        let mut setpriv = command("setpriv", &["--reuid=65534", "--regid=65534", "--clear-groups"]);
        setpriv.args(capabilities).arg("--").arg(&self.program).args(arguments);
        run(&mut setpriv)
    }

    /// `xdpload` with `arguments` is not permitted, says `words`, and changes nothing.
    #[track_caller]
    fn is_refused(&self, arguments: &[&str], words: &[&str]) {
        let before = attached_by_ip(NEAR);
        let ran = self.xdpload(arguments).fails(3);
        assert_well_said(&ran);
        assert_eq!(attached_by_ip(NEAR), before, "{}", ran.report());
        assert!(!ran.stderr().contains("MEMLOCK"), "{}", ran.report());
        words.iter().fold(ran, |ran, word| ran.stderr_has(word));
    }

    /// The bench's blacklist, where nobody may read it.
    fn blacklist(&self) -> String {
        self.bench.blacklist().save(&self.bench.sandbox)
    }
}

fn bench() -> Result<Bench, Missing> {
    tool("setpriv")?;
    kernel((5, 8), "CAP_BPF")?;
    Bench::new(&[])
}

#[test]
fn nobody_is_told_what_is_missing() {
    let bench = need!(bench());
    let nobody = Nobody::with(&bench, "");
    let path = nobody.blacklist();
    let lacks_both = "rule: this process lacks CAP_BPF and CAP_NET_ADMIN (before Linux 5.8: CAP_SYS_ADMIN)";
    let lacks_more = "rule: this process lacks CAP_SYS_ADMIN and CAP_NET_ADMIN in the user namespace of ";
    let lacks_admin = "rule: this process lacks CAP_SYS_ADMIN\n";
    nobody.is_refused(&["attach", NEAR, &path], &["bpf(BPF_MAP_CREATE) for map `", "(EPERM)", lacks_both]);
    nobody.is_refused(
        &["attach", NEAR, &copy_of(&bench, "xdp_drop")],
        &["bpf(BPF_PROG_LOAD) for program `xdp_drop`", lacks_both],
    );

    xdpload(&["attach", NEAR, &path]).ok();
    let map = format!("{NEAR}:{}", bench.map);
    // What is to be replaced is opened before anything is made.
    nobody.is_refused(&["attach", NEAR, &path, "--replace"], &["bpf(BPF_PROG_GET_FD_BY_ID)", lacks_more]);
    nobody.is_refused(&["detach", NEAR], &["detaching from `near0`: bpf(BPF_PROG_GET_FD_BY_ID)", lacks_more]);
    nobody.is_refused(&["map", "list"], &["bpf(BPF_MAP_GET_NEXT_ID)", lacks_admin]);
    nobody.is_refused(&["map", "dump", &map], &["bpf(BPF_PROG_GET_FD_BY_ID)", lacks_admin]);
    nobody.is_refused(&["map", "dump", "1"], &["bpf(BPF_MAP_GET_FD_BY_ID) for map 1", lacks_admin]);
    xdpload(&["detach", NEAR]).ok();
    bench.assert_clean();
}

/// Root in a container has what its runtime has left it.
#[test]
fn root_without_capabilities_is_told_who_has_taken_them() {
    let bench = need!(bench());
    let object = object("xdp_pass");
    let mut contained = command("setpriv", &["--bounding-set=-net_admin", "--inh-caps=-net_admin", "--"]);
    contained.arg(xdpload_command::<&str>(&[]).get_program()).args(["attach", NEAR, &object]);
    let ran = run(&mut contained)
        .fails(3)
        .stderr_has("  rule: this process lacks CAP_NET_ADMIN in the user namespace");
    let words =
        "  help: root has no CAP_NET_ADMIN here either: start the container with `--cap-add NET_ADMIN`, or ";
    assert_well_said(&ran.stderr_has(words));
    bench.assert_clean();
}

/// Whoever grants what a refusal names is not refused again for another capability.
#[test]
fn all_that_a_command_takes_is_named_at_once() {
    let bench = need!(bench());
    let nobody = Nobody::with(&bench, "");
    let path = nobody.blacklist();
    let grant = |names: &str| format!("grant it to the program: setcap {names}+ep FILE");
    chown("/sys/fs/bpf", Some(65534), Some(65534)).expect("root may give it away");
    let load = ["load", &path, "--pin=/sys/fs/bpf/edge"];
    nobody.is_refused(
        &load,
        &["CREATE) for map `", "CAP_BPF and CAP_NET_ADMIN", &grant("cap_bpf,cap_net_admin")],
    );
    let words = ["lacks CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON", &grant("cap_bpf,cap_net_admin,cap_perfmon")];
    nobody.xdpload(&["block", "on", NEAR]).fails(3).stderr_has(words[0]).stderr_has(words[1]);
    let bpf = Nobody::with(&bench, "+bpf");
    let words = ["lacks CAP_NET_ADMIN and CAP_PERFMON", &grant("cap_net_admin,cap_perfmon,cap_bpf")];
    bpf.xdpload(&["block", "on", NEAR]).fails(3).stderr_has(words[0]).stderr_has(words[1]);
    // The verifier is heard of no more than that: the program is not the user's, and has no log that helps.
    let both = Nobody::with(&bench, "+bpf,+net_admin");
    let ran = both.xdpload(&["block", "on", NEAR]).fails(3).stderr_has("loading the blocklist's program: ");
    let ran =
        ran.stderr_has("  rule: this process lacks CAP_PERFMON, without which the verifier does not let");
    let ran = ran.stderr_has(&grant("cap_perfmon,cap_bpf,cap_net_admin"));
    assert!(!ran.stderr().contains("log"), "{}", ran.report());
    assert!(bench.sandbox.pins().is_empty());
    // CAP_SYS_ADMIN includes others, but not the right to change interfaces.
    xdpload(&["attach", NEAR, &object("xdp_pass")]).ok();
    let words = ["lacks CAP_SYS_ADMIN and CAP_NET_ADMIN in ", &grant("cap_sys_admin,cap_net_admin")];
    nobody.is_refused(&["attach", NEAR, &path, "--replace"], &words);
    nobody.is_refused(&["detach", NEAR], &words);
    let doctor = Nobody::with(&bench, "+bpf,+net_admin").xdpload(&["doctor", NEAR]).ok();
    doctor.stdout_has(
        "load programs: yes\n  load those that compute with pointers, as `block on` does: no: this ",
    );
    // What is granted is enough.
    let granted = Nobody::with(&bench, "+sys_admin,+net_admin");
    granted.xdpload(&["attach", NEAR, &path, "--replace"]).ok();
    granted.xdpload(&["detach", NEAR]).ok();
    Nobody::with(&bench, LOADER).xdpload(&["block", "on", NEAR]).ok();
    xdpload(&["block", "off", NEAR, "--purge"]).ok();
}

#[test]
fn nobody_sees_what_may_be_seen() {
    let bench = need!(bench());
    let nobody = Nobody::with(&bench, "");
    xdpload(&["attach", NEAR, &object("xdp_drop")]).ok();
    let id = attached_by_ip(NEAR).expect("it is attached").id;
    let seen = nobody.xdpload(&["status"]).ok();
    seen.stdout_has(&format!("  native  id {id}  (")).stdout_has("; this process lacks CAP_SYS_ADMIN)\n");
    let seen = nobody.xdpload(&["status", NEAR, "--json"]).ok().json();
    let program = &seen["interfaces"][0]["programs"][0];
    assert_eq!((&program["mode"], &program["id"]), (&"native".into(), &id.into()));
    assert!(
        program["error"].as_str().is_some_and(|error| error.ends_with("lacks CAP_SYS_ADMIN")),
        "{program}"
    );
    nobody.xdpload(&["inspect", &copy_of(&bench, "xdp_drop")]).ok();
    nobody.xdpload(&["plan", &copy_of(&bench, "xdp_drop"), "--dev", NEAR]).ok();
}

#[test]
fn each_privilege_is_missed_on_its_own() {
    let bench = need!(bench());
    let path = bench.blacklist().save(&bench.sandbox);
    let lacks = |name: &str| format!("rule: this process lacks {name}\n");
    let bpf = Nobody::with(&bench, "+bpf,+perfmon");
    bpf.is_refused(&["attach", NEAR, &path], &["bpf(BPF_PROG_LOAD)", &lacks("CAP_NET_ADMIN")]);
    let admin = Nobody::with(&bench, "+sys_admin");
    let words = [
        "netlink(RTM_SETLINK)",
        "(EPERM)",
        "rule: this process lacks CAP_NET_ADMIN in the user namespace of the interface's network namespace\n",
    ];
    admin.is_refused(&["attach", NEAR, &path], &words);
    let net_admin = Nobody::with(&bench, "+net_admin");
    net_admin
        .is_refused(&["attach", NEAR, &path], &["bpf(BPF_MAP_CREATE)", "lacks CAP_BPF (before Linux 5.8"]);

    let loader = Nobody::with(&bench, LOADER);
    loader.xdpload(&["attach", NEAR, &path]).ok();
    loader.is_refused(
        &["attach", NEAR, &path, "--replace"],
        &["bpf(BPF_PROG_GET_FD_BY_ID)", &lacks("CAP_SYS_ADMIN")],
    );
    let id = attached_by_ip(NEAR).expect("it is attached").id.to_string();
    let help = format!(
        "; or, unless a bpf_link holds it, without a comparison by the kernel: xdpload detach near0 --id {id}\n"
    );
    let words = ["bpf(BPF_PROG_GET_FD_BY_ID)", &lacks("CAP_SYS_ADMIN"), &help];
    loader.is_refused(&["detach", NEAR], &words);
    // Named by its number it goes, and no other does.
    let lacks_place = "lacks CAP_NET_ADMIN in the user namespace";
    bpf.is_refused(&["detach", NEAR, "--id", &id], &["netlink(RTM_SETLINK)", lacks_place]);
    let words = format!("program 1 is not there, but XDP program {id} in native mode is");
    loader.xdpload(&["detach", NEAR, "--id=1"]).fails(1).stderr_has(&words);
    loader.is_refused(&["detach", NEAR, "--id", &id, "--confirm=10m"], &[&lacks("CAP_SYS_ADMIN")]);
    let detached = loader.xdpload(&["detach", NEAR, "--id", &id, "--json"]).ok().json();
    assert_eq!(
        (
            &detached["detached"][0]["programs"][0]["id"].to_string(),
            &detached["detached"][0]["programs"][0]["compared"]
        ),
        (&id, &false.into())
    );
    assert!(attached_by_ip(NEAR).is_none());
    xdpload(&["attach", NEAR, &path, "--mode=generic"]).ok();
    let id = attached_by_ip(NEAR).expect("it is attached").id.to_string();
    let says = "; the kernel did not compare it, which takes CAP_SYS_ADMIN and Linux 5.7\n";
    loader.xdpload(&["detach", NEAR, "--id", &id]).ok().stdout_has(says);
    // A link keeps its own.
    xdpload(&["attach", NEAR, &path, "--link", "--pin=/sys/fs/bpf/link"]).ok();
    let id = attached_by_ip(NEAR).expect("it is attached").id.to_string();
    loader.xdpload(&["detach", NEAR, "--id", &id]).fails(1).stderr_has("Can't replace active BPF XDP link");
    xdpload(&["detach", NEAR, "--link"]).ok();
    bench.assert_clean();
}

#[test]
fn without_perfmon_no_pointer_goes_out() {
    let bench = need!(bench());
    let loader = Nobody::with(&bench, "+bpf,+net_admin");
    let path = loader.bench.sandbox.scratch().join("leak.o");
    fs::copy(object("reject/registers"), &path).expect("the sandbox is writable");
    let path = path.to_str().expect("it is printable");
    let attach = ["attach", NEAR, path, "--prog=pointer_leaked"];
    loader.xdpload(&attach).fails(4).stderr_has("   return result;\n").stderr_has(
        "  rule: this process lacks CAP_PERFMON, without which the verifier does not let pointers leak",
    );
    Nobody::with(&bench, LOADER).xdpload(&attach).ok();
    xdpload(&["detach", NEAR]).ok();
    bench.assert_clean();
}

#[test]
fn without_bpffs_only_pinning_fails() {
    let bench = need!(bench());
    umount("/sys/fs/bpf").expect("the sandbox has mounted it");
    let loader = Nobody::with(&bench, LOADER);
    let path = loader.blacklist();
    let pin = format!("{}=/sys/fs/bpf/map", bench.map);
    let words = [
        "pinning needs bpffs: mount(2) for bpffs on `/sys/fs/bpf` failed: Operation not permitted (EPERM)",
        "rule: this process lacks CAP_SYS_ADMIN, and no bpffs is at `/sys/fs/bpf`\n",
        "help: as root: mount -t bpf bpf /sys/fs/bpf\n",
    ];
    loader.is_refused(&["attach", NEAR, &path, "--pin-map", &pin], &words);
    loader.xdpload(&["attach", NEAR, &path]).ok();
    xdpload(&["detach", NEAR]).ok();
    bench.assert_clean();
}

#[test]
fn bpffs_is_mounted_even_on_a_read_only_sys() {
    let bench = need!(bench());
    umount("/sys/fs/bpf").expect("the sandbox has mounted it");
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, "/sys", None::<&str>, read_only, None::<&str>).expect("root may remount");
    let path = bench.blacklist().save(&bench.sandbox);
    let pin = format!("{}=/sys/fs/bpf/map", bench.map);
    // A failed load takes its mount away again.
    let big = format!("{}=4294967295", bench.map);
    xdpload(&["attach", NEAR, &path, "--pin-map", &pin, "--max-entries", &big]).fails(1);
    assert!(umount("/sys/fs/bpf").is_err(), "the mount is left behind");
    // Nor is anything hidden by a mount.
    let pin_there = format!("{}=/sys/kernel/map", bench.map);
    let words = "`/sys/kernel` is not a bpffs, and not empty: one mounted there would hide what is in it";
    let over = ["attach", NEAR, &path, "--bpffs", "/sys/kernel", "--pin-map", &pin_there];
    assert_well_said(&xdpload(&over).fails(1).stderr_has(words));
    let elsewhere = ["attach", NEAR, &path, "--bpffs", "/sys/nowhere", "--pin-map"];
    let nowhere = format!("{}=/sys/nowhere/map", bench.map);
    let words =
        "pinning needs bpffs: statfs(2) for `/sys/nowhere` failed: No such file or directory (ENOENT)";
    assert_well_said(&xdpload(&[&elsewhere[..], &[&nowhere]].concat()).fails(1).stderr_has(words));
    xdpload(&["attach", NEAR, &path, "--pin-map", &pin]).ok();
    assert_eq!(bench.sandbox.pins(), ["map"]);
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn files_that_may_not_be_read_or_opened_are_named() {
    let bench = need!(bench());
    let nobody = Nobody::with(&bench, LOADER);
    let path = nobody.blacklist();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).expect("root may do so");
    let refused = format!("open(2) for `{path}` failed: Permission denied (EACCES)");
    for arguments in [&["attach", NEAR, &path][..], &["inspect", &path], &["plan", &path]] {
        nobody.is_refused(arguments, &[&refused]);
    }
    let pin = format!("{}=/sys/fs/bpf/map", bench.map);
    xdpload(&["attach", NEAR, &path, "--pin-map", &pin]).ok();
    xdpload(&["detach", NEAR]).ok();
    let refused = "bpf(BPF_OBJ_GET) for `/sys/fs/bpf/map` failed: Permission denied (EACCES)";
    nobody.is_refused(&["map", "dump", "/sys/fs/bpf/map"], &[refused]);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("root may do so");
    nobody.is_refused(&["attach", NEAR, &path, "--pin-map", &pin], &[refused]);
    fs::remove_file("/sys/fs/bpf/map").expect("the pin is there");
    bench.assert_clean();
}

#[test]
fn a_user_namespace_is_named() {
    let bench = need!(bench());
    let path = bench.blacklist().save(&bench.sandbox);
    let program = xdpload_command::<&str>(&[]).get_program().to_owned();
    let inside = |options: &[&str], arguments: &[&str]| {
        let mut unshare = command("unshare", &[&["--user", "--map-root-user"], options].concat());
        run(unshare.arg("--").arg(&program).args(arguments)).fails(3)
    };
    let words = "  rule: this process is in a user namespace, where its CAP_BPF does not count: bpf(2) checks it in \
                 the initial one\n";
    let ran = inside(&[], &["attach", NEAR, &path]).stderr_has("bpf(BPF_MAP_CREATE)").stderr_has(words);
    assert_well_said(&ran);
    inside(&["--net"], &["attach", "lo", &object("xdp_drop")])
        .stderr_has("bpf(BPF_PROG_LOAD)")
        .stderr_has(words);
    inside(&[], &["map", "list"]).stderr_has("where its CAP_SYS_ADMIN does not count");
    // Whose the interfaces and mounts are cannot be known there.
    let mut unshare = command("unshare", &["--user", "--map-root-user", "--net", "--"]);
    let ran = run(unshare.arg(&program).arg("doctor")).ok().stdout_has("  load programs: no: ");
    ran.stdout_has("  attach them: could not tell\n").stdout_has("  mount a bpffs: could not tell\n");
    bench.assert_clean();
}

/// Runs `xdpload` with `arguments` behind a seccomp filter by which bpf(2), or only the command `cmd`, gives `errno`.
fn filtered(cmd: Option<u64>, errno: i32, arguments: &[&str]) -> Ran {
    let condition = |cmd| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, cmd);
    let rule = |cmd| SeccompRule::new(vec![condition(cmd).expect("it has an argument")]);
    let rules = cmd.map(|cmd| rule(cmd).expect("it has a condition")).into_iter().collect();
    // A filter stays on the thread that takes it, and on what that starts.
    let work = || {
        apply(SYS_bpf, rules, errno);
        xdpload(arguments)
    };
    thread::scope(|scope| scope.spawn(work).join().expect("the thread does not panic"))
}

/// Has a system call refused to this thread, where one of `rules` holds or there is none.
fn apply(call: i64, rules: Vec<SeccompRule>, errno: i32) {
    let filter = SeccompFilter::new(
        BTreeMap::from([(call, rules)]),
        SeccompAction::Allow,
        SeccompAction::Errno(errno.unsigned_abs()),
        env::consts::ARCH.try_into().expect("seccompiler knows the machine"),
    );
    let filter: BpfProgram = filter.and_then(BpfProgram::try_from).expect("the filter is sound");
    seccompiler::apply_filter(&filter).expect("root may filter");
}

#[test]
fn a_seccomp_filter_is_named() {
    let bench = need!(bench());
    let path = bench.blacklist().save(&bench.sandbox);
    let attach = ["attach", NEAR, &path];
    let rule = "  rule: the seccomp filter of this process refuses bpf(2)\n";
    filtered(None, EPERM, &attach).fails(3).stderr_has("bpf(BPF_MAP_CREATE)").stderr_has(rule);
    filtered(None, EACCES, &attach).fails(3).stderr_has(rule);
    filtered(None, ENOSYS, &attach).fails(1).stderr_has(rule);
    // The blocklist is found by its pins, and root is not told that it is for root.
    for words in [&["block", "list"][..], &["block", "stats"], &["block", "on", NEAR]] {
        let ran =
            filtered(None, EPERM, words).fails(3).stderr_has("error: bpf(BPF_OBJ_GET)").stderr_has(rule);
        assert!(!ran.stderr().contains("for root alone"), "{}", ran.report());
        filtered(None, ENOSYS, words).fails(1).stderr_has(rule);
    }
    // One that lets maps pass, but no programs: BPF_PROG_LOAD is command 5.
    filtered(Some(5), EPERM, &attach).fails(3).stderr_has("bpf(BPF_PROG_LOAD)").stderr_has(rule);
    // One that refuses something else is not to blame for what is missing besides.
    let nobody = Nobody::with(&bench, "");
    let work = || {
        let ran = filtered(Some(4711), EPERM, &["doctor", NEAR]).ok();
        ran.stdout_has("  seccomp filters: 1\n").stdout_has("  load programs: yes\n");
        nobody.xdpload(&["map", "list"]).fails(3).stderr_has("lacks CAP_SYS_ADMIN")
    };
    work();
    let seen = filtered(None, EPERM, &["doctor", NEAR]).ok();
    seen.stdout_has("  load programs: no: the seccomp filter of this process refuses bpf(2)\n");
    bench.assert_clean();
}

/// Runs `xdpload` with `arguments` behind a seccomp filter by which socket(2) for this family gives `errno`.
pub(crate) fn without_sockets(family: i32, errno: i32, arguments: &[&str]) -> Ran {
    let family = u64::from(family.unsigned_abs());
    let of_family = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .expect("it has a condition");
    let refuse = || {
        apply(SYS_socket, vec![of_family], errno);
        xdpload(arguments)
    };
    thread::scope(|scope| scope.spawn(refuse).join().expect("the thread does not panic"))
}

/// Trials are looked at by AF_UNIX, and by nothing else.
#[test]
fn a_filter_of_the_guards_sockets_is_no_trial() {
    let bench = need!(bench());
    let object = bench.blacklist().save(&bench.sandbox);
    for (errno, exit) in [(EPERM, 3), (EAFNOSUPPORT, 1)] {
        let blind = |arguments: &[&str]| without_sockets(AF_UNIX, errno, arguments);
        let ran = blind(&["status"]).ok();
        assert!(!ran.stdout().contains("on trial"), "{}", ran.report());
        let words = "warning: whether changes are on trial cannot be told: socket(2) for the guard failed: ";
        assert!(ran.stderr().starts_with(words), "{}", ran.report());
        assert_eq!(ran.stderr().lines().count(), 1, "{}", ran.report());
        let words = "error: looking for changes on trial: socket(2) for the guard failed: ";
        let ran = blind(&["confirm"]).fails(exit).stderr_has(words);
        assert_eq!(ran.stderr().matches("socket(2)").count(), 1, "{}", ran.report());
        blind(&["attach", NEAR, &object, "--confirm=5s"])
            .fails(exit)
            .stderr_has("error: socket(2) for the guard's socket failed: ");
    }
    bench.assert_clean();
}

/// AF_NETLINK may be refused where bpf(2) is not, as by a service manager. What takes no interface is told all the
/// same.
#[test]
fn a_filter_of_sockets_is_named() {
    let bench = need!(bench());
    let rule = "a netlink socket takes no capability: the seccomp filter of this process ";
    for (errno, exit) in [(EPERM, 3), (EAFNOSUPPORT, 1)] {
        let blind = |arguments: &[&str]| without_sockets(AF_NETLINK, errno, arguments);
        for words in [&["status"][..], &["doctor"], &["doctor", NEAR], &["pins", "gc"]] {
            blind(words)
                .fails(exit)
                .stderr_has("error: socket(2) for NETLINK_ROUTE failed: ")
                .stderr_has(&format!("  rule: {rule}"))
                .stderr_has("RestrictAddressFamilies=AF_NETLINK");
        }
        let ran = blind(&["doctor"]).fails(exit).stdout_has("kernel ").stdout_has("  load programs: yes\n");
        ran.stdout_has(&format!("  attach them: no: {rule}"))
            .stdout_has("bpffs\n  /sys/fs/bpf is a bpffs\n")
            .stdout_has("interfaces\n  could not be looked at: socket(2) for NETLINK_ROUTE failed: ");
        let seen = blind(&["doctor", NEAR, "--json"]).fails(exit).json();
        assert_eq!(seen["process"]["attach"]["answer"], "no", "{seen}");
        assert!(seen["interfaces_hidden"].as_str().is_some_and(|why| why.starts_with("socket(2)")), "{seen}");

        let object = bench.blacklist().save(&bench.sandbox);
        xdpload(&["load", &object, "--pin=/sys/fs/bpf/edge"]).ok();
        xdpload(&["attach", NEAR, &object, "--link", "--pin=/sys/fs/bpf/link"]).ok();
        // Programs tell which maps they use, and only interfaces tell which programs.
        let ran = blind(&["pins"]).ok().stdout_has("/sys/fs/bpf/edge/maps/").stdout_has("  used by program ");
        let users = ran.stdout().lines().filter(|line| line.contains(&format!("  users not told: {rule}")));
        assert_eq!(users.count(), 2, "{}", ran.report());
        let seen = blind(&["pins", "--json"]).ok().json();
        assert!(seen["users_hidden"].as_str().is_some_and(|why| why.starts_with(rule)), "{seen}");
        xdpload(&["detach", NEAR, "--link"]).ok();
        fs::remove_dir_all("/sys/fs/bpf/edge").expect("root may");
    }
    bench.assert_clean();
}

#[test]
fn without_proc_and_sys_little_is_known() {
    let bench = need!(bench());
    let path = bench.blacklist().save(&bench.sandbox);
    let hidden = |arguments: &[&str]| {
        let words = "mount -t tmpfs none /sys && mount -t tmpfs none /proc && exec \"$@\"";
        let mut unshare = command("unshare", &["--mount", "sh", "-c", words, "sh"]);
        run(unshare.arg(xdpload_command::<&str>(&[]).get_program()).args(arguments))
    };
    let ran = hidden(&["doctor", NEAR]).ok().stdout_has("  BTF of the kernel, for CO-RE: could not tell\n");
    ran.stdout_has("  undo changes that are not confirmed: no: /proc is not mounted")
        .stdout_has("help: mount -t proc");
    hidden(&["plan", &object("core_fields")])
        .fails(2)
        .stderr_has("or /sys is not mounted\n  help: give its BTF: ");
    let ran = hidden(&["attach", NEAR, &path, "--confirm=10m"]).fails(1);
    ran.stderr_has("execve(2) of /proc/self/exe").stderr_has("  help: mount -t proc proc /proc\n");
    assert!(attached_by_ip(NEAR).is_none());
}

#[test]
fn perfmon_is_named_where_the_verifier_asks_for_it() {
    let bench = need!(bench());
    let loader = Nobody::with(&bench, "+bpf,+net_admin");
    for (name, rule) in [
        ("subprogs", "the verifier does not let pointers leak, be compared or be subtracted"),
        ("extensible", "the verifier does not let pointers leak, be compared or be subtracted"),
        ("core_fields", "which bpf_get_current_task takes"),
    ] {
        let path = copy_of(&bench, name);
        let pin = format!("--pin=/sys/fs/bpf/{name}");
        let ran = loader.xdpload(&["load", &path, "--all", &pin]).fails(4).stderr_has(rule);
        assert_well_said(&ran.stderr_has("  rule: this process lacks CAP_PERFMON"));
    }
    // What does without is loaded and attached.
    loader.xdpload(&["attach", NEAR, &copy_of(&bench, "xdp_drop")]).ok();
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn memlock_is_not_blamed_by_a_kernel_that_does_not_charge_it() {
    need!(tool("prlimit"));
    let bench = need!(bench());
    kernel((5, 11), "memory accounting by control group").expect("older kernels do charge it");
    let path = bench.blacklist().save(&bench.sandbox);
    let program = xdpload_command::<&str>(&[]).get_program().to_owned();
    let mut limited = command("prlimit", &["--memlock=0:0", "--"]);
    run(limited.arg(&program).args(["attach", NEAR, &path])).ok();
    xdpload(&["detach", NEAR]).ok();
    bench.assert_clean();
}

#[test]
fn a_bpffs_of_somebody_else_is_named() {
    let bench = need!(bench());
    let loader = Nobody::with(&bench, LOADER);
    let path = loader.blacklist();
    fs::create_dir("/sys/fs/bpf/roots").expect("root may do so");
    fs::set_permissions("/sys/fs/bpf/roots", fs::Permissions::from_mode(0o700)).expect("root may do so");
    let pin = format!("{}=/sys/fs/bpf/roots/map", bench.map);
    let words = [
        "(EACCES)",
        "rule: `/sys/fs/bpf/roots` belongs to user 0 with mode 0700, and this process is user 65534 without \
         CAP_DAC_OVERRIDE\n",
        "help: mount a bpffs of your own (mount -t bpf -o uid=65534 bpf DIR) and use --bpffs DIR\n",
    ];
    loader.is_refused(&["attach", NEAR, &path, "--pin-map", &pin], &words);
    // What is pinned there already is in no other.
    let words = [words[0], words[1], "help: run it as root, with sudo for instance\n"];
    loader.is_refused(&["map", "dump", "/sys/fs/bpf/roots/map"], &words);
    loader.is_refused(&["attach", NEAR, "--pinned=/sys/fs/bpf/roots/program"], &words);
    loader.is_refused(
        &["pins"],
        &[&["error: readdir(3) for `/sys/fs/bpf/roots` failed: "], &words[..]].concat(),
    );
    assert_eq!(loader.xdpload(&["pins"]).fails(3).stdout(), "", "what is pinned there is not seen");
    // The help holds.
    let own = bench.sandbox.scratch().join("bpffs");
    let own = own.to_str().expect("it is printable");
    run(&mut command("mkdir", &[own])).ok();
    run(&mut command("mount", &["-t", "bpf", "-o", "uid=65534", "bpf", own])).ok();
    let pin = format!("{}={own}/map", bench.map);
    loader.xdpload(&["attach", NEAR, &path, "--bpffs", own, "--pin-map", &pin]).ok();
    xdpload(&["detach", NEAR]).ok();
    run(&mut command("umount", &[own])).ok();
    bench.assert_clean();
}

#[test]
fn a_read_only_bpffs_is_named() {
    let bench = need!(bench());
    let path = bench.blacklist().save(&bench.sandbox);
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(None::<&str>, "/sys/fs/bpf", None::<&str>, read_only, None::<&str>).expect("root may remount");
    let pin = format!("{}=/sys/fs/bpf/map", bench.map);
    let words =
        ["(EROFS)", "rule: the bpffs at `/sys/fs/bpf` is mounted read-only\n", "help: mount -o remount,rw"];
    bench.refuses_file(&path, &["--pin-map", &pin], 1, &words);
    bench.refuses_file(&path, &["--confirm", "9"], 1, &["the change could not be confirmed", "remount,rw"]);
    xdpload(&["doctor", NEAR]).ok().stdout_has("and --confirm is refused where no program is attached yet");
    bench.assert_clean();
}

/// One that is read-only itself refuses calls for what is not there, and opens no pin.
#[test]
fn a_bpffs_that_is_read_only_itself_is_named_by_its_mount() {
    let bench = need!(bench());
    xdpload(&["block", "on", NEAR]).ok();
    let remount = |flags| {
        let flags = MsFlags::MS_REMOUNT | flags;
        mount(None::<&str>, "/sys/fs/bpf", None::<&str>, flags, None::<&str>).expect("root may remount");
    };
    remount(MsFlags::MS_RDONLY);
    let words = [
        "(EROFS)\n",
        "rule: the bpffs at `/sys/fs/bpf` is mounted read-only\n",
        "help: mount -o remount,rw /sys/fs/bpf, ",
    ];
    let refused = |arguments: &[&str]| {
        let ran = xdpload(arguments).fails(1);
        words.iter().fold(ran, |ran, word| ran.stderr_has(word))
    };
    refused(&["block", "list"]);
    refused(&["block", "off", NEAR]);
    assert_eq!(refused(&["pins", "gc"]).stdout(), "", "what could not be opened may be an orphan");
    // A program without prog arrays has no directory there, though that of the blocklist is.
    xdpload(&["detach", NEAR]).ok();
    xdpload(&["attach", NEAR, &object("xdp_pass")]).ok();
    let ran = xdpload(&["detach", NEAR]).ok();
    assert_eq!(ran.stderr(), "", "{}", ran.report());
    refused(&["attach", NEAR, &object("tail_calls"), "--prog=enter"]).stderr_has("mkdir(2)");
    remount(MsFlags::empty());
    xdpload(&["attach", NEAR, &object("tail_calls"), "--prog=enter"]).ok();
    remount(MsFlags::MS_RDONLY);
    refused(&["detach", NEAR]).stderr_has("is detached, but the pins of its prog arrays stay: ");
    remount(MsFlags::empty());
    xdpload(&["pins", "gc"]).ok();
    xdpload(&["block", "off", "--purge"]).ok();
    bench.assert_clean();
}

#[test]
fn a_container_without_bpffs_is_recognised() {
    let bench = need!(bench());
    umount("/sys/fs/bpf").expect("the sandbox has mounted it");
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(None::<&str>, "/sys", None::<&str>, read_only, None::<&str>).expect("root may remount");
    let loader = Nobody::with(&bench, LOADER);
    let pin = format!("{}=/sys/fs/bpf/map", bench.map);
    let words = [
        "rule: this process lacks CAP_SYS_ADMIN, and no bpffs is at `/sys/fs/bpf`: /sys is mounted read-only, as in a \
         container\n",
        "help: start the container with `-v /sys/fs/bpf:/sys/fs/bpf`\n",
    ];
    loader.is_refused(&["attach", NEAR, &loader.blacklist(), "--pin-map", &pin], &words);
}

/// A committed object where nobody may read it.
fn copy_of(bench: &Bench, name: &str) -> String {
    let path = bench.sandbox.scratch().join(format!("{name}.o"));
    fs::copy(object(name), &path).expect("the sandbox is writable");
    path.to_str().expect("it is printable").to_owned()
}

/// Nothing is known of a pin that cannot be opened: it stays, which is said, and the others are looked at.
#[test]
fn a_pin_that_is_not_ours_is_passed_over_aloud() {
    let bench = need!(bench());
    for name in ["a", "b"] {
        let pin = format!("/sys/fs/bpf/{name}");
        xdpload(&["attach", NEAR, &object("xdp_pass"), "--link", &format!("--pin={pin}")]).ok();
        run(&mut command("bpftool", &["link", "detach", "pinned", &pin])).ok();
    }
    chown("/sys/fs/bpf/b", Some(65534), None).expect("root may give it away");
    let nobody = Nobody::with(&bench, "+sys_admin,+bpf,+net_admin");
    let said = "error: bpf(BPF_OBJ_GET) for `/sys/fs/bpf/a` failed: Permission denied (EACCES)\n  rule: \
                `/sys/fs/bpf/a` belongs to user 0 with mode 0600, and this process is user 65534 without \
                CAP_DAC_OVERRIDE\n";
    nobody.xdpload(&["pins"]).fails(3).stdout_has("/sys/fs/bpf/b  link ").stderr_has(said);
    let ran = nobody.xdpload(&["pins", "gc"]).fails(3);
    ran.stdout_has("removed /sys/fs/bpf/b: it is detached\n").stderr_has(said);
    assert_eq!(bench.sandbox.pins(), ["a"]);
    xdpload(&["pins", "gc"]).ok().stdout_has("removed /sys/fs/bpf/a: it is detached\n");
}

/// Without CAP_SYS_ADMIN too, a boot script may run twice where pins show that nothing else runs there; elsewhere it is
/// told what could not be looked at.
#[test]
fn what_is_pinned_is_compared_without_opening_by_id() {
    let bench = need!(bench());
    chown("/sys/fs/bpf", Some(65534), Some(65534)).expect("root may give it away");
    let nobody = Nobody::with(&bench, LOADER);
    let (pass, drop, list) =
        (copy_of(&bench, "xdp_pass"), copy_of(&bench, "xdp_drop"), copy_of(&bench, "blacklist"));
    let is_adopted = |arguments: &[&str]| {
        nobody
            .xdpload(arguments)
            .ok()
            .stdout_has(" runs on near0 in native mode already: nothing was changed\n");
    };
    let differs = |arguments: &[&str], words: &str| {
        nobody
            .xdpload(arguments)
            .fails(1)
            .stderr_has("is there already, and is not the same: ")
            .stderr_has(words);
    };
    let is_not_compared = |arguments: &[&str], what: &str| {
        let rule = format!(
            "  rule: comparing with what runs on `near0`: {what} is not pinned below `/sys/fs/bpf`, and may not be \
             opened by its id: this process lacks CAP_SYS_ADMIN\n"
        );
        let ran = nobody.xdpload(arguments).fails(1);
        assert_well_said(&ran);
        ran.stderr_has("is there already, and could not be compared\n").stderr_has(&rule);
    };
    // By netlink, with and without maps.
    for (object, name) in [(&pass, "xdp_pass"), (&list, "xdp_ip_filter")] {
        let dir = format!("/sys/fs/bpf/{name}");
        let pinned = format!("--pinned={dir}/{name}");
        nobody.xdpload(&["load", object, "--pin", &dir]).ok();
        nobody.xdpload(&["attach", NEAR, &pinned]).ok();
        is_adopted(&["attach", NEAR, &pinned]);
        is_adopted(&["attach", NEAR, object]);
        differs(&["attach", NEAR, &drop], "it has other instructions");
        nobody.xdpload(&["detach", NEAR]).ok();
    }
    // Of a map that is not pinned nothing is known.
    nobody.xdpload(&["attach", NEAR, "--pinned=/sys/fs/bpf/xdp_ip_filter/xdp_ip_filter"]).ok();
    // What is pinned is named all the same, as root would see it.
    let seen = nobody.xdpload(&["status", NEAR]).ok();
    assert_eq!(seen.stdout(), xdpload(&["status", NEAR]).ok().stdout());
    fs::remove_file("/sys/fs/bpf/xdp_ip_filter/maps/blacklist").expect("root may");
    let seen = nobody.xdpload(&["status", NEAR]).ok();
    seen.stdout_has("  xdp_ip_filter  tag ").stdout_has("\n    maps ? (id ");
    let map = xdpload(&["status", NEAR, "--json"]).ok().json();
    let map = &map["interfaces"][0]["programs"][0]["maps"][0]["id"];
    is_not_compared(&["attach", NEAR, &list], &format!("its map {map}"));
    xdpload(&["detach", NEAR]).ok();
    // By a link, which is pinned or not.
    let pinned = "--pinned=/sys/fs/bpf/xdp_pass/xdp_pass";
    let link = ["--link", "--pin=/sys/fs/bpf/link"];
    nobody.xdpload(&[&["attach", NEAR, pinned][..], &link].concat()).ok();
    is_adopted(&[&["attach", NEAR, pinned][..], &link].concat());
    let seen = nobody.xdpload(&["status", NEAR]).ok().stdout_has("  xdp_pass  tag ");
    seen.stdout_has(" pinned at /sys/fs/bpf/link\n");
    differs(&["attach", NEAR, pinned], "bpf_link ");
    let id = attached_by_ip(NEAR).expect("it is attached").id;
    let held = loader::attach::Link::open_pinned("/sys/fs/bpf/link").expect("it is pinned");
    fs::remove_file("/sys/fs/bpf/link").expect("root may");
    is_not_compared(&["attach", NEAR, pinned], "the bpf_link that holds it");
    assert!(
        nobody.xdpload(&["status", NEAR, "--json"]).ok().json()["interfaces"][0]["programs"][0]["link"]
            .is_null()
    );
    assert_eq!(attached_by_ip(NEAR).map(|attached| attached.id), Some(id));
    held.detach().expect("it is attached");
    // What is pinned nowhere has a number, and that alone is known.
    nobody.xdpload(&["attach", NEAR, &drop]).ok();
    let id = attached_by_ip(NEAR).expect("it is attached").id;
    is_not_compared(&["attach", NEAR, &drop], &format!("XDP program {id} in native mode"));
    xdpload(&["detach", NEAR]).ok();
}

/// What makes room for another is proposed only with what it takes here.
#[test]
fn no_help_is_beyond_the_privileges() {
    let bench = need!(bench());
    chown("/sys/fs/bpf", Some(65534), Some(65534)).expect("root may give it away");
    let nobody = Nobody::with(&bench, LOADER);
    let (pass, drop) = (copy_of(&bench, "xdp_pass"), copy_of(&bench, "xdp_drop"));
    let help = || {
        let ran = nobody.xdpload(&["doctor", NEAR]).ok();
        let lines: Vec<_> =
            ran.stdout().lines().skip_while(|line| !line.starts_with("  native: no")).collect();
        (lines[0].to_owned(), lines[1].trim().to_owned())
    };
    let by_root = "as root, since this process lacks CAP_SYS_ADMIN: ";
    let replace = "xdpload attach near0 OBJ --mode native --replace, or: xdpload detach near0";
    xdpload(&["attach", NEAR, &pass]).ok();
    let id = attached_by_ip(NEAR).expect("it is attached").id;
    let by_id = format!("xdpload detach near0 --id {id}");
    let uncompared = format!("; or, unless a bpf_link holds it, without a comparison by the kernel: {by_id}");
    // Nothing tells whether a link holds it, and nothing is said of that.
    let rule = format!("  native: no: XDP program {id} in native mode is attached already");
    assert_eq!(help(), (rule, format!("help: {by_root}{replace}{uncompared}")));
    let words = format!("  help: {by_root}xdpload detach near0{uncompared}\n");
    nobody.xdpload(&["block", "on", NEAR]).fails(1).stderr_has(&words);
    let words = "  help: replace it (`--replace --mode native`), or detach it first; without CAP_SYS_ADMIN, as here, \
                 that takes a pin of it that this user may open\n";
    nobody.xdpload(&["attach", NEAR, &drop, "--mode=generic"]).fails(1).stderr_has(words);
    // It holds.
    nobody.xdpload(&by_id.split(' ').skip(1).collect::<Vec<_>>()).ok();
    // With a pin it is as root sees it.
    nobody.xdpload(&["load", &pass, "--pin=/sys/fs/bpf/pass"]).ok();
    nobody.xdpload(&["attach", NEAR, "--pinned=/sys/fs/bpf/pass/xdp_pass"]).ok();
    assert_eq!(help().1, format!("help: {replace}"));
    nobody.xdpload(&["attach", NEAR, &drop, "--mode", "native", "--replace"]).ok();
    xdpload(&["detach", NEAR]).ok();
    let link = ["--link", "--pin=/sys/fs/bpf/link"];
    nobody.xdpload(&[&["attach", NEAR, &pass][..], &link].concat()).ok();
    let by_link = "xdpload attach near0 OBJ --replace --link, or: xdpload detach near0 --link";
    assert_eq!(help().1, format!("help: {by_link}"));
    nobody.xdpload(&["detach", NEAR, "--link"]).ok();
}

/// With CAP_BPF and CAP_NET_ADMIN alone, in a bpffs of their own, users attach, replace and detach what is pinned
/// there: only what the kernel gives out by its number takes CAP_SYS_ADMIN.
#[test]
fn two_capabilities_do_where_pins_are_ones_own() {
    let bench = need!(bench());
    chown("/sys/fs/bpf", Some(65534), Some(65534)).expect("root may give it away");
    let nobody = Nobody::with(&bench, "+bpf,+net_admin");
    let copy = |name: &str| {
        let path = bench.sandbox.scratch().join(format!("{name}.o"));
        fs::copy(object(name), &path).expect("the sandbox is writable");
        path.to_str().expect("it is printable").to_owned()
    };
    let (pass, drop) = (copy("xdp_pass"), copy("xdp_drop"));
    let ok = |arguments: &[&str]| nobody.xdpload(arguments).ok();
    ok(&["load", &pass, "--pin=/sys/fs/bpf/pass"]);
    ok(&["load", &drop, "--pin=/sys/fs/bpf/drop"]);
    ok(&["attach", NEAR, "--pinned=/sys/fs/bpf/pass/xdp_pass"]);
    ok(&["attach", NEAR, "--pinned=/sys/fs/bpf/drop/xdp_drop", "--replace"]);
    ok(&["attach", NEAR, &pass, "--replace", "--confirm=10m"]).stdout_has("is restored");
    ok(&["confirm", NEAR]);
    // What it runs now is pinned nowhere, and nothing but its number tells it from another.
    let lacks_admin = "rule: this process lacks CAP_SYS_ADMIN\n";
    nobody.is_refused(&["attach", NEAR, &drop, "--replace"], &[lacks_admin]);
    nobody.is_refused(&["detach", NEAR], &[lacks_admin]);
    xdpload(&["attach", NEAR, "--pinned=/sys/fs/bpf/pass/xdp_pass", "--replace"]).ok();
    ok(&["detach", NEAR]);
    // Another bpffs has pins too.
    let other = bench.sandbox.scratch().join("bpf");
    fs::create_dir(&other).expect("the sandbox is writable");
    loader::pin::mount_bpffs(&other).expect("root may mount");
    let other = other.to_str().expect("it is printable");
    chown(other, Some(65534), Some(65534)).expect("root may give it away");
    let bpffs = format!("--bpffs={other}");
    ok(&["load", &pass, &bpffs, &format!("--pin={other}/pass")]);
    ok(&["attach", NEAR, &bpffs, &format!("--pinned={other}/pass/xdp_pass")]);
    ok(&["attach", NEAR, &bpffs, "--pinned=/sys/fs/bpf/drop/xdp_drop", "--replace"]);
    nobody.is_refused(&["detach", NEAR, &bpffs], &[lacks_admin]);
    ok(&["attach", NEAR, "--pinned=/sys/fs/bpf/pass/xdp_pass", "--replace"]);
    ok(&["detach", NEAR]);
    // By a link, and by the one that a trial leaves.
    ok(&["attach", NEAR, "--pinned=/sys/fs/bpf/pass/xdp_pass", "--link", "--pin=/sys/fs/bpf/link"]);
    let link = ["--link", "--pin=/sys/fs/bpf/link"];
    ok(&[&["attach", NEAR, &drop, "--replace"][..], &link].concat());
    ok(&["detach", NEAR, "--link"]).stdout_has("removed its pin /sys/fs/bpf/link");
    ok(&["attach", NEAR, &pass, "--confirm=10m"]);
    ok(&["confirm", NEAR]);
    ok(&["detach", NEAR]);
    assert!(attached_by_ip(NEAR).is_none());
    // Maps, by their pins.
    let map = "/sys/fs/bpf/maps/blacklist";
    ok(&["load", &copy("blacklist"), "--pin=/sys/fs/bpf/edge", &format!("--pin-map=blacklist={map}")]);
    ok(&["map", "set", map, "192.0.2.77", "1"]);
    ok(&["map", "get", map, "192.0.2.77"]);
    ok(&["map", "dump", map]);
    ok(&["map", "delete", map, "192.0.2.77"]);
    // What is pinned is told, but not by whom it is used, and so not what serves nobody.
    let users = "users not told: this process lacks CAP_SYS_ADMIN\n";
    ok(&["pins"]).stdout_has(&format!("{map}  map ")).stdout_has(users);
    let pins = ok(&["pins", "--json"]).json();
    assert_eq!(pins["users_hidden"], "this process lacks CAP_SYS_ADMIN", "{pins}");
    assert!(pins["pins"][0]["used_by"].is_null(), "{pins}");
    for all in [&["map", "list"][..], &["pins", "gc"]] {
        nobody.is_refused(all, &[lacks_admin]);
    }
}
