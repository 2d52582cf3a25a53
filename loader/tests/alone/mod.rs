//! A private corner of the machine for one test: its own mounts, a bpffs of its own, its own network.
//!
//! The kernel takes all of it down when the test's thread and what it started have ended.

use std::io::Write as _;
use std::path::Path;
use std::thread;

use loader::kernel::Capabilities;
use loader::pin::{self, BPFFS_ROOT};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Runs `test` with an empty bpffs on [`BPFFS_ROOT`] and no interface but a `lo` that is down.
pub(crate) fn alone(test: impl FnOnce() + Send + 'static) {
    if !is_root() {
        assert_ne!(std::env::var("XDPLOAD_REQUIRE").as_deref(), Ok("1"), "this test needs root");
        // Not `println!`, which the test harness keeps to itself when a test passes.
        let name = thread::current().name().unwrap_or("?").to_owned();
        let line = format!("skipped: {name}: root\n");
        std::io::stderr().write_all(line.as_bytes()).expect("standard error is open");
        return;
    }
    // A thread of its own, since the namespaces are the thread's for good.
    let done = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET).expect("namespaces of its own");
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).expect("private mounts");
        // Without the bpffs of the machine.
        mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), None::<&str>)
            .expect("a /sys of its own");
        pin::mount_bpffs(Path::new(BPFFS_ROOT)).expect("a bpffs");
        test();
    });
    if let Err(panic) = done.join() {
        std::panic::resume_unwind(panic);
    }
}

fn is_root() -> bool {
    Capabilities::current().is_ok_and(Capabilities::has_sys_admin)
}
