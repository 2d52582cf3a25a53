//! Where the prog arrays of an attached program are pinned.
//!
//! The kernel empties a prog array when user space lets go of it: when its last fd is closed and its last pin removed
//! (`bpf_map_put_uref()` in `kernel/bpf/syscall.c`), whatever programs still use it. An attached program outlives the
//! process that attached it, and its tail calls would go nowhere. So its prog arrays are pinned as long as it is
//! attached, in a directory of their own for each attachment. The name of that has all that tells one attachment from
//! another: the network namespace by its cookie (`SO_NETNS_COOKIE`, 5.14; 0 before), which is never used again, the
//! interface and the program.

use std::fmt::Display;

use super::slot::{MapSlot, ProgramSlot};

/// The directory below bpffs in which all of these are.
const DIRECTORY: &str = "xdpload";

/// What is done about the pins of one attachment.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgArrayPins {
    /// The root of bpffs.
    pub bpffs: String,
    /// Whose attachment.
    pub of: Attachment,
    /// What is done.
    pub action: PinsAction,
}

/// See [`ProgArrayPins`].
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PinsAction {
    /// Make the directory, mode 0700.
    MakeDir,
    /// Pin a prog array in it.
    Pin {
        /// The map.
        map: MapSlot,
        /// The name of its pin.
        name: String,
    },
    /// Remove such a pin.
    Unpin {
        /// The name of the pin.
        name: String,
    },
    /// Remove every pin.
    UnpinAll,
    /// Remove the directory.
    RemoveDir,
}

impl ProgArrayPins {
    /// What takes it back.
    pub(super) fn undo(&self) -> Option<Self> {
        let action = match &self.action {
            PinsAction::MakeDir => PinsAction::RemoveDir,
            PinsAction::Pin { name, .. } => PinsAction::Unpin { name: name.clone() },
            _ => return None,
        };
        Some(Self { action, ..self.clone() })
    }
}

/// One program on the plan's interface.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// That of a program of the plan.
    New(ProgramSlot),
    /// That of the program which is replaced.
    Replaced,
}

/// Where all attachments have their directories.
pub fn own_directory(bpffs: &str) -> String {
    format!("{bpffs}/{DIRECTORY}")
}

/// The directory for the prog arrays of `program` (an id) on the interface `ifindex` of the namespace with this cookie.
pub fn prog_array_directory(
    bpffs: &str,
    netns_cookie: impl Display,
    ifindex: impl Display,
    program: impl Display,
) -> String {
    format!("{bpffs}/{DIRECTORY}/{netns_cookie}_{ifindex}_{program}")
}

/// What the name of such a directory tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttachmentKey {
    /// The network namespace by its cookie; 0 where the kernel has none.
    pub netns_cookie: u64,
    /// The interface.
    pub ifindex: u32,
    /// The program, by its id.
    pub program: u32,
}

impl AttachmentKey {
    /// Reads the last part of what [`prog_array_directory`] gives; none if `name` is another.
    pub fn parse(name: &str) -> Option<Self> {
        let mut numbers = name.split('_');
        let key = Self {
            netns_cookie: numbers.next()?.parse().ok()?,
            ifindex: numbers.next()?.parse().ok()?,
            program: numbers.next()?.parse().ok()?,
        };
        numbers.next().is_none().then_some(key)
    }
}

/// The name of a map's pin: the kernel takes no dot, and no directory is meant by a slash.
pub fn prog_array_pin_name(map: &str) -> String {
    map.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_directory_is_read_as_it_was_written() {
        let key = AttachmentKey { netns_cookie: u64::MAX, ifindex: 7, program: u32::MAX };
        let dir = prog_array_directory("/sys/fs/bpf", key.netns_cookie, key.ifindex, key.program);
        let name =
            dir.strip_prefix(&own_directory("/sys/fs/bpf")).and_then(|name| name.strip_prefix('/')).unwrap();
        assert_eq!(AttachmentKey::parse(name), Some(key));
        for other in ["", "1_2", "1_2_3_4", "1_2_x", "link_1_2", "1_4294967296_3", "1_2_", "block"] {
            assert_eq!(AttachmentKey::parse(other), None, "{other}");
        }
    }
}
