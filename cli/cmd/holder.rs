//! Who holds the program of an interface by a `bpf_link`: said where the kernel refuses to displace it.

use std::fs;
use std::path::Path;

use loader::attach::{Interface, link_of, link_pins};
use loader::{Error, Result, escape};
use nix::libc::EBUSY;

/// Whether a refusal may be for a link that holds what is there.
pub(super) fn is_in_the_way(refusal: &Error) -> bool {
    refusal.errno() == Some(EBUSY)
}

/// Adds to the kernel's refusal to change what a link holds which link that is, where it is pinned, and who has it.
pub(super) fn explain(refusal: Error, interface: &Interface, bpffs: &Path) -> Error {
    if !is_in_the_way(&refusal) {
        return refusal;
    }
    match link_on(interface, bpffs) {
        Ok(Some(holder)) => refusal.context(holder),
        // Whoever may not look is told what the kernel says.
        _ => refusal,
    }
}

/// The link that holds what is on `interface`, in words.
fn link_on(interface: &Interface, bpffs: &Path) -> Result<Option<String>> {
    let seen = interface.look()?;
    for program in seen.xdp.programs() {
        let Some(link) = link_of(&seen, *program)? else { continue };
        let id = link.state()?.id;
        drop(link);
        let pins = link_pins(bpffs).into_iter().filter(|(own, _)| *own == id);
        let pins: Vec<_> = pins.map(|(_, pin)| escape(&pin.to_string_lossy()).into_owned()).collect();
        let by = match (&pins[..], &processes_with_link(id)[..]) {
            ([], []) => "nobody that can be seen has it".to_owned(),
            ([], processes) => format!("it is held by {}", processes.join(", ")),
            (pins, _) => format!("it is pinned at {}", pins.join(", ")),
        };
        return Ok(Some(format!("bpf_link {id} holds {program}, and {by}")));
    }
    Ok(None)
}

/// The processes that have an fd of the link, as `process 12 (name)`.
fn processes_with_link(id: u32) -> Vec<String> {
    let mark = format!("link_id:\t{id}");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let fds = fs::read_dir(entry.path().join("fdinfo")).into_iter().flatten().flatten();
        let has_it = |fd: fs::DirEntry| {
            fs::read_to_string(fd.path()).is_ok_and(|info| info.lines().any(|line| line == mark))
        };
        if fds.into_iter().any(has_it) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            found.push(format!("process {pid} ({})", escape(name.trim())));
        }
    }
    found
}
