//! Too few privileges: the message names the one that is missing, and nothing is left half-done.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use nix::mount::{MsFlags, mount, umount};

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
            fs::copy(xdpload_command::<&str>(&[]).get_program(), &program).expect("the sandbox is writable");
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
    let lacks_bpf = "help: this process lacks CAP_BPF (before Linux 5.8: CAP_SYS_ADMIN)\n";
    let lacks_both = "help: this process lacks CAP_BPF and CAP_NET_ADMIN (before Linux 5.8: CAP_SYS_ADMIN)\n";
    let lacks_admin = "help: this process lacks CAP_SYS_ADMIN\n";
    nobody.is_refused(&["attach", NEAR, &path], &["bpf(BPF_MAP_CREATE) for map `", "(EPERM)", lacks_bpf]);
    nobody.is_refused(
        &["attach", NEAR, &copy_of(&bench, "xdp_drop")],
        &["bpf(BPF_PROG_LOAD) for program `xdp_drop`", lacks_both],
    );

    xdpload(&["attach", NEAR, &path]).ok();
    let map = format!("{NEAR}:{}", bench.map);
    // What is to be replaced is opened before anything is made.
    nobody.is_refused(&["attach", NEAR, &path, "--replace"], &["bpf(BPF_PROG_GET_FD_BY_ID)", lacks_admin]);
    nobody
        .is_refused(&["detach", NEAR], &["detaching from `near0`: bpf(BPF_PROG_GET_FD_BY_ID)", lacks_admin]);
    nobody.is_refused(&["map", "list"], &["bpf(BPF_MAP_GET_NEXT_ID)", lacks_admin]);
    nobody.is_refused(&["map", "dump", &map], &["bpf(BPF_PROG_GET_FD_BY_ID)", lacks_admin]);
    nobody.is_refused(&["map", "dump", "1"], &["bpf(BPF_MAP_GET_FD_BY_ID) for map 1", lacks_admin]);
    xdpload(&["detach", NEAR]).ok();
    bench.assert_clean();
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
    let lacks = |name: &str| format!("help: this process lacks {name}\n");
    let bpf = Nobody::with(&bench, "+bpf,+perfmon");
    bpf.is_refused(&["attach", NEAR, &path], &["bpf(BPF_PROG_LOAD)", &lacks("CAP_NET_ADMIN")]);
    let admin = Nobody::with(&bench, "+sys_admin");
    let words = [
        "netlink(RTM_SETLINK)",
        "(EPERM)",
        "help: this takes CAP_NET_ADMIN in the interface's network namespace",
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
    loader.is_refused(&["detach", NEAR], &["bpf(BPF_PROG_GET_FD_BY_ID)", &lacks("CAP_SYS_ADMIN")]);
    xdpload(&["detach", NEAR]).ok();
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
    loader
        .xdpload(&attach)
        .fails(4)
        .stderr_has(
            "  rule:  r0, the context, goes out as return value, which would show an address of the kernel\n",
        )
        .stderr_has("  help:  load it with CAP_PERFMON, or keep the pointer out of there\n");
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
        "help: this process lacks CAP_SYS_ADMIN; as root: mount -t bpf bpf /sys/fs/bpf",
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

/// A committed object where nobody may read it.
fn copy_of(bench: &Bench, name: &str) -> String {
    let path = bench.sandbox.scratch().join(format!("{name}.o"));
    fs::copy(object(name), &path).expect("the sandbox is writable");
    path.to_str().expect("it is printable").to_owned()
}
