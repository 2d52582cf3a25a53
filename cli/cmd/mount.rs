//! What is said of a bpffs that a command has mounted.

use std::{fs, iter};

use loader::escape;

use crate::ancestors::ancestors;
use crate::output;

/// Warns of a bpffs that was mounted at `path`, if that goes with the mount namespace of this process.
pub(super) fn warn_if_it_passes(path: &str) {
    if is_in_a_passing_namespace() {
        output::remark(format_args!(
            "warning: a bpffs was mounted on {} for this mount namespace alone, and its pins end with it, as behind \
             `ip netns exec`, instead of which there is --netns",
            escape(path)
        ));
    }
}

/// Whether a process that this one descends from does not see what is mounted here.
fn is_in_a_passing_namespace() -> bool {
    let namespace = |process: u32| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let mut namespaces = iter::once(std::process::id()).chain(ancestors()).map_while(namespace);
    namespaces.next().is_some_and(|own| namespaces.any(|other| other != own))
}
