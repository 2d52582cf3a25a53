//! Which XDP programs run on an interface, as its `IFLA_XDP` attribute tells.

use std::fmt::{self, Display};

use netlink_packet_core::Parseable as _;
use netlink_packet_route::link::{LinkXdp, XdpAttached};

use super::attribute::{Attribute, MESSAGE, attributes};
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::order::sort_by_key;

/// A program that runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XdpProgram {
    /// Where it runs.
    pub mode: Mode,
    /// The kernel's number of the program. Kernels before 4.13 only say that there is one.
    pub id: Option<u32>,
}

/// In the words of a message: `XDP program 12 in native mode`.
impl Display for XdpProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            Some(id) => write!(f, "XDP program {id} in {} mode", self.mode),
            None => write!(f, "an XDP program in {} mode", self.mode),
        }
    }
}

/// The programs that run on one interface: at most one in each mode.
///
/// Since 5.9 the kernel refuses native and generic at once, but it takes offload beside either.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct XdpState {
    /// In the order of [`Mode::ALL`].
    programs: Vec<XdpProgram>,
}

impl XdpState {
    /// Whether no program runs there.
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    /// The programs, native before generic before offload.
    pub fn programs(&self) -> &[XdpProgram] {
        &self.programs
    }

    /// The program that runs in `mode`.
    pub fn in_mode(&self, mode: Mode) -> Option<XdpProgram> {
        self.programs.iter().copied().find(|program| program.mode == mode)
    }

    /// A state with these programs, of which a later one takes the place of an earlier one in the same mode.
    #[cfg(test)]
    pub(crate) fn from_programs(programs: impl IntoIterator<Item = XdpProgram>) -> Self {
        let mut state = Self::default();
        programs.into_iter().for_each(|program| state.put(program));
        state
    }

    fn put(&mut self, program: XdpProgram) {
        self.programs.retain(|other| other.mode != program.mode);
        self.programs.push(program);
        sort_by_key(&mut self.programs, |program| program.mode);
    }

    /// Reads the attributes inside `IFLA_XDP`, of which `nest` is the payload and `offset` its place in the message.
    ///
    /// `rtnl_xdp_fill` in `net/core/rtnetlink.c` writes the mode and `PROG_ID`; since 4.18 also one attribute for
    /// each mode, and then `PROG_ID` is missing when programs run in several modes.
    pub(super) fn read(nest: &[u8], offset: usize) -> Result<Self> {
        let mut state = Self::default();
        let (mut single_mode, mut single_id) = (None, None);
        for attribute in attributes(nest, offset) {
            match parse(&attribute?)? {
                LinkXdp::Attached(attached) => single_mode = mode_of(attached),
                LinkXdp::ProgId(id) => single_id = Some(id),
                LinkXdp::DrvProgId(id) => state.put(XdpProgram { mode: Mode::Native, id: Some(id) }),
                LinkXdp::SkbProgId(id) => state.put(XdpProgram { mode: Mode::Generic, id: Some(id) }),
                LinkXdp::HwProgId(id) => state.put(XdpProgram { mode: Mode::Offload, id: Some(id) }),
                _ => {}
            }
        }
        match single_mode {
            Some(mode) if state.in_mode(mode).is_none() => state.put(XdpProgram { mode, id: single_id }),
            _ => {}
        }
        Ok(state)
    }
}

fn parse((attribute, offset): &Attribute<'_>) -> Result<LinkXdp> {
    LinkXdp::parse(attribute).map_err(|error| Error::malformed(MESSAGE, *offset as u64, error.to_string()))
}

fn mode_of(attached: XdpAttached) -> Option<Mode> {
    match attached {
        XdpAttached::Driver => Some(Mode::Native),
        XdpAttached::SocketBuffer => Some(Mode::Generic),
        XdpAttached::Hardware => Some(Mode::Offload),
        // None, several (each then has its own attribute), or a number of a kernel to come.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Emitable as _;

    use super::*;

    fn state_of(attributes: &[LinkXdp]) -> Vec<String> {
        let mut nest = vec![0; attributes.buffer_len()];
        attributes.emit(&mut nest);
        XdpState::read(&nest, 0).unwrap().programs().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn one_program_is_told_by_its_mode() {
        let attached = LinkXdp::Attached(XdpAttached::SocketBuffer);
        assert_eq!(state_of(&[LinkXdp::Attached(XdpAttached::None)]), [""; 0]);
        let since_4_18 = [attached.clone(), LinkXdp::ProgId(7), LinkXdp::SkbProgId(7)];
        assert_eq!(state_of(&since_4_18), ["XDP program 7 in generic mode"]);
        assert_eq!(state_of(&since_4_18[..2]), ["XDP program 7 in generic mode"]);
        assert_eq!(state_of(&[attached]), ["an XDP program in generic mode"]);
    }

    #[test]
    fn several_programs_have_one_attribute_each() {
        let several = [
            LinkXdp::Attached(XdpAttached::Multiple),
            LinkXdp::HwProgId(9),
            LinkXdp::DrvProgId(5),
            LinkXdp::DrvProgId(6),
        ];
        assert_eq!(state_of(&several), ["XDP program 6 in native mode", "XDP program 9 in offload mode"]);
    }

    #[test]
    fn an_attribute_of_the_wrong_width_is_malformed() {
        let error = XdpState::read(&[6, 0, 4, 0, 1, 2, 0, 0], 0x40).unwrap_err();
        assert!(error.to_string().starts_with("netlink message at offset 0x44: "), "{error}");
    }
}
