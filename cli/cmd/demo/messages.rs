//! The rtnetlink requests that lay a veth cable between two namespaces: bytes out, no socket.
//!
//! Each asks for an acknowledgement. The sequence number stays 0: a socket has one request under way at a time.

use std::net::{IpAddr, Ipv4Addr};

use loader::uapi::if_link::{
    IFLA_IFNAME, IFLA_INFO_KIND, IFLA_LINKINFO, NLA_F_NESTED, NLM_F_ACK, NLM_F_REQUEST, RTM_NEWLINK,
    RTM_SETLINK,
};
use netlink_packet_core::{DefaultNla, Emitable, NLM_F_CREATE, NLM_F_EXCL, NetlinkHeader};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{AddressAttribute, AddressHeader};
use netlink_packet_route::link::{LinkFlags, LinkHeader};

/// Bytes of `struct nlmsghdr` (`include/uapi/linux/netlink.h`).
const NLMSG_HDRLEN: usize = 16;
/// Message type: here is an address (`include/uapi/linux/rtnetlink.h`).
const RTM_NEWADDR: u16 = 20;
/// The namespace that an interface goes to, by a thread that is in it (u32; `include/uapi/linux/if_link.h`).
const IFLA_NET_NS_PID: u16 = 19;
/// In `IFLA_LINKINFO`: what is special to the kind of device.
const IFLA_INFO_DATA: u16 = 2;
/// In the data of a `veth`: the other end, as `struct ifinfomsg` and attributes (`include/uapi/linux/veth.h`).
const VETH_INFO_PEER: u16 = 1;

/// Makes a veth pair. One end appears in the namespace of the socket, the other in that of the thread `peer`, and
/// both are called `name`. A kernel without veth answers EOPNOTSUPP.
pub(super) fn create_veth(name: &str, peer: u32) -> Vec<u8> {
    let name = || DefaultNla::new(IFLA_IFNAME, [name.as_bytes(), &[0]].concat());
    let there = DefaultNla::new(IFLA_NET_NS_PID, peer.to_ne_bytes().to_vec());
    let other_end = [emitted(&LinkHeader::default()), emitted(&[name(), there].as_slice())].concat();
    let data = nest(IFLA_INFO_DATA, &[DefaultNla::new(VETH_INFO_PEER, other_end)]);
    let kind = DefaultNla::new(IFLA_INFO_KIND, b"veth\0".to_vec());
    let attributes = [name(), nest(IFLA_LINKINFO, &[kind, data])];
    request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &LinkHeader::default(), &attributes.as_slice())
}

/// Gives the interface `index` an address; the kernel adds the route to its network of `prefix` bits.
pub(super) fn add_address(index: u32, address: Ipv4Addr, prefix: u8) -> Vec<u8> {
    let header =
        AddressHeader { family: AddressFamily::Inet, prefix_len: prefix, index, ..AddressHeader::default() };
    let address = IpAddr::V4(address);
    let attributes = [AddressAttribute::Local(address), AddressAttribute::Address(address)];
    request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &header, &attributes.as_slice())
}

/// Switches the interface `index` on.
pub(super) fn set_up(index: u32) -> Vec<u8> {
    let header =
        LinkHeader { index, flags: LinkFlags::Up, change_mask: LinkFlags::Up, ..LinkHeader::default() };
    let none: [DefaultNla; 0] = [];
    request(RTM_SETLINK, 0, &header, &none.as_slice())
}

fn nest(kind: u16, attributes: &[DefaultNla]) -> DefaultNla {
    DefaultNla::new(kind | NLA_F_NESTED, emitted(&attributes))
}

/// A message: `nlmsghdr`, the header of its family, attributes.
fn request(kind: u16, flags: u16, family: &impl Emitable, attributes: &impl Emitable) -> Vec<u8> {
    let body = [emitted(family), emitted(attributes)].concat();
    let mut header = NetlinkHeader::default();
    header.length = u32::try_from(NLMSG_HDRLEN + body.len()).expect("a request is short");
    header.message_type = kind;
    header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    [emitted(&header), body].concat()
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
    fn both_ends_of_a_cable_have_the_name_and_one_goes_elsewhere() {
        #[rustfmt::skip]
        assert_eq!(create_veth("v0", 258), [
            96, 0, 0, 0,  16, 0,  0x05, 0x06,  0, 0, 0, 0,  0, 0, 0, 0,
            0, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0,
            7, 0, 3, 0,  b'v', b'0', 0, 0,
            56, 0, 18, 0x80,
                9, 0, 1, 0,  b'v', b'e', b't', b'h', 0, 0, 0, 0,
                40, 0, 2, 0x80,
                    36, 0, 1, 0,
                        0, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0,  0, 0, 0, 0,
                        7, 0, 3, 0,  b'v', b'0', 0, 0,
                        8, 0, 19, 0,  2, 1, 0, 0,
        ]);
    }

    #[test]
    fn an_address_goes_with_its_prefix_to_its_interface() {
        #[rustfmt::skip]
        assert_eq!(add_address(3, Ipv4Addr::new(192, 0, 2, 77), 24), [
            40, 0, 0, 0,  20, 0,  0x05, 0x06,  0, 0, 0, 0,  0, 0, 0, 0,
            2, 24, 0, 0,  3, 0, 0, 0,
            8, 0, 2, 0,  192, 0, 2, 77,
            8, 0, 1, 0,  192, 0, 2, 77,
        ]);
    }

    #[test]
    fn switching_on_changes_one_flag() {
        #[rustfmt::skip]
        assert_eq!(set_up(3), [
            32, 0, 0, 0,  19, 0,  0x05, 0,  0, 0, 0, 0,  0, 0, 0, 0,
            0, 0, 0, 0,  3, 0, 0, 0,  1, 0, 0, 0,  1, 0, 0, 0,
        ]);
    }
}
