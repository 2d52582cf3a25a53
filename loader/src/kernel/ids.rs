//! Every map, program and link in the kernel, by id.

use super::{Privilege, explain_refusal};
use crate::error::{Error, Result};
use crate::sys::{Errno, bpf};
use crate::uapi::bpf::Cmd;

/// The ids of all programs in the kernel, lowest first; one `BPF_PROG_GET_NEXT_ID` each (4.13).
///
/// It needs CAP_SYS_ADMIN. A program may be gone when its id is opened.
pub fn program_ids() -> Ids {
    Ids { cmd: Cmd::PROG_GET_NEXT_ID, next: bpf::prog_next_id, last: Some(0) }
}

/// The ids of all maps in the kernel, lowest first; one `BPF_MAP_GET_NEXT_ID` each (4.13).
///
/// It needs CAP_SYS_ADMIN. A map may be gone when its id is opened.
pub fn map_ids() -> Ids {
    Ids { cmd: Cmd::MAP_GET_NEXT_ID, next: bpf::map_next_id, last: Some(0) }
}

/// The ids of all types in the kernel: its own, its modules', and what was handed over (4.20).
pub(super) fn btf_ids() -> Ids {
    Ids { cmd: Cmd::BTF_GET_NEXT_ID, next: bpf::btf_next_id, last: Some(0) }
}

/// The ids of all `bpf_link`s in the kernel, lowest first; one `BPF_LINK_GET_NEXT_ID` each (5.8).
///
/// It needs CAP_SYS_ADMIN. A link may be gone when its id is opened.
pub fn link_ids() -> Ids {
    Ids { cmd: Cmd::LINK_GET_NEXT_ID, next: bpf::link_next_id, last: Some(0) }
}

/// The iterator of [`program_ids`], [`map_ids`] and [`link_ids`]. It ends after an error.
#[derive(Clone, Debug)]
pub struct Ids {
    cmd: Cmd,
    next: fn(u32) -> Result<u32, Errno>,
    /// The last id that the kernel gave; none when there is nothing more to ask.
    last: Option<u32>,
}

fn has_links() -> bool {
    bpf::probe_xdp_links() != Errno::EINVAL
}

impl Iterator for Ids {
    type Item = Result<u32>;

    fn next(&mut self) -> Option<Self::Item> {
        let last = self.last.take()?;
        match (self.next)(last) {
            Ok(id) => {
                self.last = Some(id);
                Some(Ok(id))
            }
            Err(Errno::ENOENT) => None,
            // A kernel before 5.8 has neither the command nor a link.
            Err(Errno::EINVAL) if self.cmd == Cmd::LINK_GET_NEXT_ID && !has_links() => None,
            Err(errno) => {
                let error = Error::os(&self.cmd.call(), format_args!("the id after {last}"), errno.0);
                Some(Err(explain_refusal(error, &[Privilege::Admin])))
            }
        }
    }
}
