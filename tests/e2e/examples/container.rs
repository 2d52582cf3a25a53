//! A gateway that boots: a container with a running systemd, the interfaces and the bpffs of the sandbox, and a disk
//! that outlives the boot.
//!
//! Of the distribution's units it has only those that order the start and the end, and none that a generator makes, so
//! that no service of the machine starts in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use nix::mount::{MsFlags, mount};
use nix::unistd::gettid;

use crate::command::{Ran, command, run};
use crate::requirement::{Missing, tool};
use crate::sandbox::Sandbox;
use crate::veth::wait_for;

/// Where the distribution keeps its units.
const UNITS: &str = "/usr/lib/systemd/system";

/// Those of them that the container has.
const TARGETS: [&str; 12] = [
    "basic.target",
    "final.target",
    "local-fs.target",
    "multi-user.target",
    "network-pre.target",
    "network.target",
    "poweroff.target",
    "shutdown.target",
    "sysinit.target",
    "systemd-poweroff.service",
    "timers.target",
    "umount.target",
];

/// Moves to the container's cgroup, whose directory is the first argument, and starts systemd in namespaces of its own,
/// with a root that nobody can write to.
const START: &str = r#"
echo 0 > "$1/cgroup.procs"
exec unshare --mount --pid --fork --kill-child --mount-proc --cgroup --uts --ipc sh -ec '
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mount -o remount,bind,ro /
    exec env -i PATH="$PATH" container=xdpload /lib/systemd/systemd --unit=multi-user.target --log-target=null
'
"#;

/// What is written by the units' commands. There is no journal.
const JOURNAL: &str = "/var/lib/journal.txt";

/// The disk of a gateway, mounted in the sandbox.
pub(super) struct Disk {
    /// Where the gateway's cgroup is while it runs.
    cgroup: PathBuf,
}

impl Disk {
    /// A disk with nothing of its own on it.
    pub(super) fn new(sandbox: &Sandbox) -> Result<Self, Missing> {
        ["nsenter", "systemctl", "unshare"].into_iter().try_for_each(|name| tool(name).map(drop))?;
        let scratch = sandbox.scratch();
        let make = |name: &str| -> PathBuf {
            let path = scratch.join(name);
            fs::create_dir(&path).expect("the scratch directory is writable");
            path
        };
        let units = make("units");
        for name in TARGETS {
            fs::copy(Path::new(UNITS).join(name), units.join(name)).expect("systemd is installed");
        }
        let places = [
            (units, UNITS),
            (make("generators"), "/usr/lib/systemd/system-generators"),
            (make("systemd"), "/etc/systemd"),
            (make("default"), "/etc/default"),
        ];
        for (from, to) in places {
            mount(Some(&from), to, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .unwrap_or_else(|errno| panic!("binding {to}: {errno}"));
        }
        // What else is there stays visible: the program under test may be.
        let layers = format!(
            "lowerdir=/var/lib,upperdir={},workdir={}",
            make("var").display(),
            make("work").display()
        );
        mount(Some("overlay"), "/var/lib", Some("overlay"), MsFlags::empty(), Some(&*layers))
            .expect("root may mount an overlay");
        let cgroups = make("cgroup");
        mount(Some("cgroup2"), &cgroups, Some("cgroup2"), MsFlags::empty(), None::<&str>)
            .expect("root may mount cgroups");
        fs::create_dir_all("/etc/systemd/system/service.d").expect("it is the sandbox's");
        let log = format!("[Service]\nStandardOutput=append:{JOURNAL}\n");
        fs::write("/etc/systemd/system/service.d/journal.conf", log).expect("it is the sandbox's");
        Ok(Self { cgroup: cgroups.join(format!("xdpload-test-{}", gettid())) })
    }

    /// Starts the gateway, and all that is enabled on it.
    pub(super) fn boot(&self) -> Container<'_> {
        let _ = fs::remove_dir_all("/run/systemd");
        fs::create_dir(&self.cgroup).expect("root may make cgroups");
        let mut start = command("sh", &["-ec", START, "sh", self.cgroup.to_str().expect("it is printable")]);
        start.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let container = Container { unshare: start.spawn().expect("sh is installed"), disk: self };
        wait_for("the target of the boot", || container.is_active("multi-user.target"));
        container
    }

    /// What the units' commands have said since the last time.
    #[expect(clippy::unused_self, reason = "without the disk, the file would be the machine's")]
    pub(super) fn take_journal(&self) -> String {
        let text = fs::read_to_string(JOURNAL).unwrap_or_default();
        let _ = fs::remove_file(JOURNAL);
        text
    }
}

/// A gateway that runs. Dropping it is a power cut.
pub(super) struct Container<'d> {
    /// The parent of systemd, which ends with it.
    unshare: Child,
    disk: &'d Disk,
}

impl Container<'_> {
    /// Runs systemctl, which systemd answers only from within its own namespaces.
    pub(super) fn systemctl(&self, words: &[&str]) -> Ran {
        let parent = self.unshare.id();
        let systemd =
            fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        let inside = ["--target", systemd.trim(), "--mount", "--pid", "systemctl"];
        run(&mut command("nsenter", &[&inside, words].concat()))
    }

    pub(super) fn is_active(&self, unit: &str) -> bool {
        self.systemctl(&["is-active", unit]).code() == Some(0)
    }

    /// Stops all services in order, as `systemctl poweroff` does where there is a D-Bus.
    pub(super) fn power_off(self) {
        let start = ["start", "poweroff.target", "--job-mode=replace-irreversibly", "--no-block"];
        self.systemctl(&start).ok();
        wait_for("the end of systemd", || {
            fs::read_to_string(self.disk.cgroup.join("cgroup.events"))
                .expect("cgroups have it")
                .contains("populated 0")
        });
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        wait_for("the container's processes to end", || remove_cgroup(&self.disk.cgroup));
    }
}

/// Removes a cgroup with those in it, unless one still has processes.
fn remove_cgroup(path: &Path) -> bool {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_cgroup(&entry.path());
        }
    }
    fs::remove_dir(path).is_ok()
}
