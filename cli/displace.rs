//! Whether this process may replace or detach what runs on an interface, as help proposes it.

use std::os::fd::AsFd as _;
use std::path::Path;

use loader::attach::{Interface, Link, NetNs, link_pins};
use loader::diagnosis::Privilege;
use loader::doctor::{examine_process, would_be_refused};
use loader::error::Whereabouts;
use loader::netlink::{InterfaceInfo, InterfaceRef, XdpProgram};
use loader::pin::{self, BPFFS_ROOT, Kind};
use loader::program::Program;
use loader::{Remedy, Result, shell_word};

use crate::args::{netns_path, options};

/// The words for a remedy, and what they take if this process has not got it: what is to make room is opened by its id,
/// or by a pin that this user may open.
pub(crate) fn as_far_as_allowed(words: String, remedy: &Remedy) -> String {
    let (at, by_link) = match remedy {
        Remedy::Replace { at, .. } => (at.as_ref(), false),
        Remedy::Detach(at) => (Some(at), false),
        Remedy::ReplaceByLink { at, .. } => (Some(at), true),
        _ => return words,
    };
    let process = examine_process();
    let is_allowed = |privilege| would_be_refused(&[privilege], &process).is_none();
    if is_allowed(Privilege::Admin) {
        return words;
    }
    let Some(at) = at else {
        return format!(
            "{words}; without CAP_SYS_ADMIN, as here, that takes a pin of it that this user may open"
        );
    };
    let Ok(seen) = look(at) else { return words };
    let bpffs = at.bpffs.as_deref().unwrap_or(Path::new(BPFFS_ROOT));
    let is_pinned = |program: &XdpProgram| {
        if by_link { is_link_pinned(&seen, *program, bpffs) } else { is_program_pinned(*program, bpffs) }
    };
    if seen.xdp.programs().iter().all(is_pinned) {
        return words;
    }
    let uncompared = match seen.xdp.programs() {
        [XdpProgram { id: Some(id), .. }] if !by_link && is_allowed(Privilege::Interface) => format!(
            "; or, unless a bpf_link holds it, without a comparison by the kernel: xdpload detach {} --id {id}{}",
            shell_word(&at.interface),
            options(at)
        ),
        _ => String::new(),
    };
    format!("as root, since this process lacks CAP_SYS_ADMIN: {words}{uncompared}")
}

fn look(at: &Whereabouts) -> Result<InterfaceInfo> {
    let netns = at.netns.as_deref().map(|netns| NetNs::at(netns_path(netns))).transpose()?;
    Interface::open(&InterfaceRef::named(&at.interface)?, netns.as_ref())?.look()
}

fn is_program_pinned(program: XdpProgram, bpffs: &Path) -> bool {
    pin::walk(bpffs).0.iter().any(|path| {
        let Ok(Some(fd)) = pin::get(path) else { return false };
        let info = (pin::kind(fd.as_fd()) == Some(Kind::Program)).then(|| Program::with_info(fd));
        info.and_then(Result::ok).is_some_and(|(_, info)| program.id == Some(info.id))
    })
}

fn is_link_pinned(seen: &InterfaceInfo, program: XdpProgram, bpffs: &Path) -> bool {
    link_pins(bpffs).iter().any(|(_, path)| {
        let state = Link::open_pinned(path).and_then(|link| link.state());
        state.is_ok_and(|state| state.holds(seen.index, program))
    })
}
