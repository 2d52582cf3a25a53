//! A private corner of the machine for one test: its own network namespace, its own mounts, its own bpffs.
//!
//! The calling thread moves in; commands and threads that it starts inherit the place. The kernel takes everything
//! down (interfaces, attachments, pins, named namespaces) when the last of them has ended, so that there is no
//! clean-up to forget.

use std::fs::{self, File};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::thread;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};
use nix::unistd::gettid;

use crate::command::{command, run};
use crate::leftovers;
use crate::requirement::Missing;

/// Proof that the thread which holds it is in a place of its own. It cannot go to another thread.
pub(crate) struct Sandbox {
    scratch: PathBuf,
    bpffs: PathBuf,
    stays_on_its_thread: PhantomData<*const ()>,
}

impl Sandbox {
    /// Moves the calling thread into a new sandbox with an empty bpffs on /sys/fs/bpf.
    pub(crate) fn new() -> Result<Self, Missing> {
        let sandbox = Self::without_bpffs()?;
        mount_new("bpf", BPFFS);
        Ok(sandbox)
    }

    /// The same with no bpffs anywhere, as on a machine that has just been started.
    pub(crate) fn without_bpffs() -> Result<Self, Missing> {
        let is_main = i32::try_from(process::id()) == Ok(gettid().as_raw());
        assert!(!is_main, "on the main thread a sandbox would catch all later tests");
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).map_err(|errno| match errno {
            Errno::EPERM => Missing::new("the right to make namespaces; run the tests as root"),
            _ => panic!("unshare: {errno}"),
        })?;
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .expect("mounts can be made private");
        // A sysfs shows the interfaces of the network namespace that it was mounted in.
        mount_new("sysfs", "/sys");
        // ip(8) keeps the names of network namespaces in /run/netns.
        mount_new("tmpfs", "/run");
        let scratch = PathBuf::from("/run/scratch");
        fs::create_dir(&scratch).expect("the new tmpfs is writable");
        Ok(Self { scratch, bpffs: PathBuf::from(BPFFS), stays_on_its_thread: PhantomData })
    }

    /// A directory for files of this test, which goes away with the sandbox.
    pub(crate) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Everything in the sandbox's bpffs, directories too, relative to it; without the two files that a kernel with
    /// CONFIG_BPF_PRELOAD puts into each bpffs.
    pub(crate) fn pins(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut directories = vec![self.bpffs.clone()];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(&directory).expect("bpffs can be listed").flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    directories.push(entry.path());
                }
                let path = entry.path();
                let name = path.strip_prefix(&self.bpffs).expect("the walk stays below bpffs");
                found.push(name.to_string_lossy().into_owned());
            }
        }
        found.retain(|name| !["maps.debug", "progs.debug"].contains(&name.as_str()));
        found.sort();
        found
    }

    /// Whether a bpffs is mounted where it belongs. The list of mounts tells less: those of the machine, which the
    /// sandbox has hidden, are in it too.
    pub(crate) fn has_bpffs(&self) -> bool {
        statfs(&self.bpffs).expect("/sys is mounted").filesystem_type() == BPF_FS_MAGIC
    }

    /// Makes a second network namespace that `ip netns` and `--netns` know as `name`.
    #[expect(clippy::unused_self, reason = "only inside a sandbox the name is private")]
    pub(crate) fn far(&self, name: &str) -> Far {
        run(&mut command("ip", &["netns", "add", name])).ok();
        let path = Path::new("/run/netns").join(name);
        let namespace = File::open(&path).expect("ip made the namespace");
        Far { path, namespace: Arc::new(namespace) }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if !thread::panicking() {
            leftovers::assert_no_process_here();
        }
    }
}

/// Where bpffs belongs.
const BPFFS: &str = "/sys/fs/bpf";

fn mount_new(kind: &str, place: &str) {
    mount(Some(kind), place, Some(kind), MsFlags::empty(), None::<&str>)
        .unwrap_or_else(|errno| panic!("mounting {kind} on {place}: {errno}"));
}

/// The network namespace at the far end of a [`Veth`](crate::veth::Veth), where the packets come from.
#[derive(Clone)]
pub(crate) struct Far {
    path: PathBuf,
    namespace: Arc<File>,
}

impl Far {
    /// Where the namespace is bound, for `--netns`.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The namespace itself.
    pub(crate) fn namespace(&self) -> &File {
        &self.namespace
    }

    /// Runs `work` on a thread in this namespace. A socket that it opens belongs to the namespace for good.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let enter_and_work = || {
            setns(&self.namespace, CloneFlags::CLONE_NEWNET).expect("root may enter the namespace");
            work()
        };
        thread::scope(|scope| match scope.spawn(enter_and_work).join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }
}
