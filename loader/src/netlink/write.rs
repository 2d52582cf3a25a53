//! Writes the requests: tell me of a link, tell me of all links, change the XDP program of a link.

use netlink_packet_core::{DefaultNla, Emitable, NetlinkHeader};
use netlink_packet_route::link::LinkXdp;

use super::interface_ref::InterfaceRef;
use super::mode::XdpFlags;
use crate::mode::Mode;
use crate::uapi::if_link::{
    IFLA_ALT_IFNAME, IFLA_EXT_MASK, IFLA_IFNAME, IFLA_TARGET_NETNSID, IFLA_XDP, NLA_F_NESTED, NLM_F_ACK,
    NLM_F_DUMP, NLM_F_REQUEST, RTEXT_FILTER_SKIP_STATS, RTM_GETLINK, RTM_SETLINK,
};

/// Bytes of `struct nlmsghdr` (`include/uapi/linux/netlink.h`).
pub(super) const NLMSG_HDRLEN: usize = 16;
/// Bytes of `struct ifinfomsg` (`include/uapi/linux/rtnetlink.h`).
pub(super) const IFINFOMSG_LEN: usize = 16;

/// What is to happen to the program of an interface, with the numbers of the program fds.
///
/// None of the three can displace a program that the caller did not name.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpChange {
    /// Put `new` where no program is. The kernel answers EBUSY if one is there in the same mode (4.11).
    Attach {
        /// The program to attach.
        new: i32,
    },
    /// Put `new` in the place of `expected` in one step: no packet meets an empty hook. EEXIST if another
    /// program, or none, is there; EINVAL before 5.7.
    Replace {
        /// The program to attach.
        new: i32,
        /// The program that must be there.
        expected: i32,
    },
    /// Detach `expected`. EEXIST if another program, or none, is there; EINVAL before 5.7.
    Detach {
        /// The program that must be there.
        expected: i32,
    },
}

impl XdpChange {
    /// The fd of the program that runs afterwards; -1, as the kernel wants it, for none.
    pub fn new_fd(self) -> i32 {
        match self {
            Self::Attach { new } | Self::Replace { new, .. } => new,
            Self::Detach { .. } => -1,
        }
    }

    /// The fd of the program that the kernel must find there.
    pub fn expected_fd(self) -> Option<i32> {
        match self {
            Self::Attach { .. } => None,
            Self::Replace { expected, .. } | Self::Detach { expected } => Some(expected),
        }
    }

    /// The change that puts things back if this one was made, and changes nothing if it was not. What was detached
    /// cannot be put back so: while it was off, the place was anyone's.
    pub fn undo(self) -> Option<Self> {
        match self {
            Self::Attach { new } => Some(Self::Detach { expected: new }),
            Self::Replace { new, expected } => Some(Self::Replace { new: expected, expected: new }),
            Self::Detach { .. } => None,
        }
    }

    /// The flags of this change in `mode`.
    pub fn flags(self, mode: Mode) -> XdpFlags {
        match self {
            Self::Attach { .. } => XdpFlags::attach(mode),
            Self::Replace { .. } | Self::Detach { .. } => XdpFlags::compare(mode),
        }
    }
}

/// `RTM_GETLINK` for one interface; of digits, for the one with that name. The answer is one message.
pub fn get_link(link: &InterfaceRef, sequence: u32) -> Vec<u8> {
    match link {
        InterfaceRef::Index(index) => request(RTM_GETLINK, 0, index.get(), &[without_statistics()], sequence),
        InterfaceRef::Name(name) | InterfaceRef::Digits(name, _) => {
            let with_nul = [name.as_str().as_bytes(), &[0]].concat();
            let kind = if name.is_alternative() { IFLA_ALT_IFNAME } else { IFLA_IFNAME };
            let attributes = [DefaultNla::new(kind, with_nul), without_statistics()];
            request(RTM_GETLINK, 0, 0, &attributes, sequence)
        }
    }
}

/// `RTM_GETLINK` for the interface `index` of another network namespace, by the number that the socket's has for it
/// (4.15). It takes CAP_NET_ADMIN there. The answer is one message.
pub fn get_link_elsewhere(netns_id: i32, index: u32, sequence: u32) -> Vec<u8> {
    let netns = DefaultNla::new(IFLA_TARGET_NETNSID, netns_id.to_ne_bytes().to_vec());
    request(RTM_GETLINK, 0, index, &[netns, without_statistics()], sequence)
}

/// `RTM_GETLINK` for all interfaces of the network namespace. The answer is many messages and a `DONE`.
pub fn dump_links(sequence: u32) -> Vec<u8> {
    request(RTM_GETLINK, NLM_F_DUMP, 0, &[without_statistics()], sequence)
}

/// `RTM_SETLINK` that makes `change` in `mode` to the interface `index`. The answer is an acknowledgement.
///
/// ```
/// use loader::netlink::{Mode, XdpChange, set_xdp};
///
/// let bytes = set_xdp(3, Mode::Native, XdpChange::Attach { new: 5 }, 1);
/// assert_eq!(bytes.len(), 16 + 16 + 4 + 8 + 8); // nlmsghdr, ifinfomsg, IFLA_XDP { FD, FLAGS }
/// ```
pub fn set_xdp(index: u32, mode: Mode, change: XdpChange, sequence: u32) -> Vec<u8> {
    let mut attributes = vec![LinkXdp::Fd(change.new_fd()), LinkXdp::Flags(change.flags(mode).bits())];
    // The kernel reads it as signed; the attribute type of the crate has the same four bytes without a sign.
    attributes
        .extend(change.expected_fd().map(|fd| LinkXdp::ExpectedFd(u32::from_ne_bytes(fd.to_ne_bytes()))));
    request(RTM_SETLINK, NLM_F_ACK, index, &[xdp_nest(&attributes)], sequence)
}

/// `RTM_SETLINK` that detaches whatever runs in `mode` on the interface `index`, without a comparison. Only for a
/// program that was named, and of which no fd can be had.
pub(crate) fn detach_uncompared(index: u32, mode: Mode, sequence: u32) -> Vec<u8> {
    let attributes = [LinkXdp::Fd(-1), LinkXdp::Flags(mode.flag())];
    request(RTM_SETLINK, NLM_F_ACK, index, &[xdp_nest(&attributes)], sequence)
}

/// `RTM_SETLINK` that changes nothing and asks whether the kernel knows `XDP_FLAGS_REPLACE`.
///
/// Without an fd in the nest, `do_setlink` in `net/core/rtnetlink.c` looks at the flags and leaves it at that: a
/// kernel from 5.7 on acknowledges, one before answers EINVAL.
pub fn probe_compare(index: u32, sequence: u32) -> Vec<u8> {
    let flags = LinkXdp::Flags(XdpFlags::compare(Mode::Generic).bits());
    request(RTM_SETLINK, NLM_F_ACK, index, &[xdp_nest(&[flags])], sequence)
}

/// Makes the answers half as long. Any mask also has `rtnl_calcit` in `net/core/rtnetlink.c` measure the links before a
/// dump: without one, a link that is too long for a datagram ends the dump early, and the kernel (seen with 6.18) says
/// that all went well.
fn without_statistics() -> DefaultNla {
    DefaultNla::new(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS.to_ne_bytes().to_vec())
}

fn xdp_nest(attributes: &[LinkXdp]) -> DefaultNla {
    DefaultNla::new(IFLA_XDP | NLA_F_NESTED, emitted(&attributes))
}

/// A message of the routing family: `nlmsghdr`, `ifinfomsg` with nothing but the index, attributes.
fn request(kind: u16, flags: u16, index: u32, attributes: &[DefaultNla], sequence: u32) -> Vec<u8> {
    let mut link = [0; IFINFOMSG_LEN];
    link[4..8].copy_from_slice(&index.to_ne_bytes());
    message(kind, flags, &link, attributes, sequence)
}

/// A message: `nlmsghdr`, the header of its family, attributes.
pub(super) fn message(
    kind: u16,
    flags: u16,
    family: &[u8],
    attributes: &[DefaultNla],
    sequence: u32,
) -> Vec<u8> {
    let attributes = emitted(&attributes);
    let mut header = NetlinkHeader::default();
    header.length =
        u32::try_from(NLMSG_HDRLEN + family.len() + attributes.len()).expect("a request is short");
    header.message_type = kind;
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = sequence;

    [emitted(&header), family.to_vec(), attributes].concat()
}

fn emitted(part: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; part.buffer_len()];
    part.emit(&mut bytes);
    bytes
}

// The bytes below are those of a little-endian machine.
#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_asked_for_by_name_with_its_nul_or_by_index() {
        let by_name = get_link(&InterfaceRef::named("v0").unwrap(), 7);
        #[rustfmt::skip]
        assert_eq!(by_name, [
            48, 0, 0, 0,  18, 0,  1, 0,  7, 0, 0, 0,  0, 0, 0, 0,
            0, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0,
            7, 0, 3, 0,  b'v', b'0', 0, 0,
            8, 0, 29, 0,  8, 0, 0, 0,
        ]);
        let long = get_link(&InterfaceRef::named("sixteen-bytes-xx").unwrap(), 7);
        assert_eq!(long[32..36], [21, 0, 53, 0]);
        let by_index = get_link(&"index:258".parse().unwrap(), 7);
        assert_eq!((by_index.len(), &by_index[20..24]), (40, &[2, 1, 0, 0][..]));
        assert_eq!(dump_links(7)[..8], [40, 0, 0, 0, 18, 0, 1, 3]);
    }

    #[test]
    fn a_replacement_names_both_programs_and_the_mode() {
        let bytes = set_xdp(3, Mode::Native, XdpChange::Replace { new: 6, expected: 5 }, 9);
        #[rustfmt::skip]
        assert_eq!(bytes, [
            60, 0, 0, 0,  19, 0,  5, 0,  9, 0, 0, 0,  0, 0, 0, 0,
            0, 0, 0, 0,  3, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0,
            28, 0, 43, 0x80,
            8, 0, 1, 0,  6, 0, 0, 0,
            8, 0, 3, 0,  0b1_0100, 0, 0, 0,
            8, 0, 8, 0,  5, 0, 0, 0,
        ]);
    }

    #[test]
    fn attaching_expects_nothing_and_detaching_puts_minus_one() {
        let attach = set_xdp(3, Mode::Generic, XdpChange::Attach { new: 6 }, 9);
        assert_eq!(attach[36..], [8, 0, 1, 0, 6, 0, 0, 0, 8, 0, 3, 0, 0b0_0011, 0, 0, 0]);
        let detach = set_xdp(3, Mode::Offload, XdpChange::Detach { expected: 6 }, 9);
        assert_eq!(detach[40..44], [0xff; 4]);
        assert_eq!(detach[48..], [0b1_1000, 0, 0, 0, 8, 0, 8, 0, 6, 0, 0, 0]);
    }

    #[test]
    fn a_change_is_undone_by_its_opposite() {
        assert_eq!(XdpChange::Attach { new: 6 }.undo(), Some(XdpChange::Detach { expected: 6 }));
        let replace = XdpChange::Replace { new: 6, expected: 5 };
        assert_eq!(replace.undo(), Some(XdpChange::Replace { new: 5, expected: 6 }));
        assert_eq!(XdpChange::Detach { expected: 6 }.undo(), None);
    }

    #[test]
    fn the_probe_carries_no_fd() {
        assert_eq!(probe_compare(3, 9)[32..], [12, 0, 43, 0x80, 8, 0, 3, 0, 0b1_0010, 0, 0, 0]);
    }
}
