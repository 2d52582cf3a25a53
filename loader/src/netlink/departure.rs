//! Where an interface goes that leaves its network namespace.

use netlink_packet_core::DefaultNla;

use super::attribute::message_attributes;
use super::read::number;
use super::write::{IFINFOMSG_LEN, NLMSG_HDRLEN, message};
use crate::bytes::Bytes;
use crate::error::Result;
use crate::uapi::if_link::{IFLA_NEW_IFINDEX, IFLA_NEW_NETNSID, NETNSA_FD, NETNSA_NSID, RTM_GETNSID};

/// Bytes of `struct rtgenmsg` (`include/uapi/linux/rtnetlink.h`), with what fills them up to the attributes.
const RTGENMSG_LEN: usize = 4;

/// Where an interface has gone.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The network namespace, by the number that the one which it has left has for it.
    pub netns_id: i32,
    /// Its index there.
    pub index: u32,
}

/// `RTM_GETNSID` for the number that the socket's network namespace has for the one that the fd `netns` is of. The
/// answer is one message.
pub fn get_netns_id(netns: i32, sequence: u32) -> Vec<u8> {
    let netns = DefaultNla::new(NETNSA_FD, netns.to_ne_bytes().to_vec());
    message(RTM_GETNSID, 0, &[0; RTGENMSG_LEN], &[netns], sequence)
}

/// Where the link of an `RTM_DELLINK` goes; none if it was removed.
pub(super) fn read_destination(message: Bytes<'_>) -> Result<Option<Destination>> {
    let (mut netns_id, mut index) = (None, None);
    for attribute in message_attributes(message, NLMSG_HDRLEN + IFINFOMSG_LEN)? {
        let (attribute, _) = attribute?;
        match attribute.kind() {
            IFLA_NEW_NETNSID => netns_id = Some(signed(attribute.value(), "IFLA_NEW_NETNSID")?),
            IFLA_NEW_IFINDEX => index = Some(number(attribute.value(), "IFLA_NEW_IFINDEX")?),
            _ => {}
        }
    }
    Ok(netns_id.zip(index).map(|(netns_id, index)| Destination { netns_id, index }))
}

/// The number in an `RTM_NEWNSID`.
pub(super) fn read_netns_id(message: Bytes<'_>) -> Result<Option<i32>> {
    let mut id = None;
    for attribute in message_attributes(message, NLMSG_HDRLEN + RTGENMSG_LEN)? {
        let (attribute, _) = attribute?;
        if attribute.kind() == NETNSA_NSID {
            id = Some(signed(attribute.value(), "NETNSA_NSID")?);
        }
    }
    Ok(id.filter(|id| *id >= 0))
}

fn signed(value: &[u8], name: &'static str) -> Result<i32> {
    Ok(i32::from_ne_bytes(number(value, name)?.to_ne_bytes()))
}

// The bytes below are those of a little-endian machine.
#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::super::read::{Body, read_replies};
    use super::*;

    fn body(kind: u8, payload: &[u8]) -> Body {
        let len = u8::try_from(NLMSG_HDRLEN + payload.len()).unwrap();
        let header = [len, 0, 0, 0, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        read_replies(&[&header, payload].concat()).unwrap().remove(0).body
    }

    #[test]
    fn a_link_that_is_moved_says_where_and_one_that_is_removed_does_not() {
        let gone =
            |attributes: &[u8]| match body(17, &[&[0; 4], &[7, 0, 0, 0][..], &[0; 8], attributes].concat()) {
                Body::Gone(link, destination) => (link.index, destination),
                other => panic!("expected a link that is gone, found {other:?}"),
            };
        assert_eq!(gone(&[]), (7, None));
        let netns = [8, 0, 45, 0, 1, 0, 0, 0];
        assert_eq!(gone(&netns), (7, None));
        let moved = gone(&[netns, [8, 0, 49, 0, 9, 0, 0, 0]].concat());
        assert_eq!(moved, (7, Some(Destination { netns_id: 1, index: 9 })));
    }

    #[test]
    fn a_namespace_has_a_number_or_none() {
        assert_eq!(body(88, &[0, 0, 0, 0, 8, 0, 1, 0, 3, 0, 0, 0]), Body::NetnsId(Some(3)));
        assert_eq!(body(88, &[0, 0, 0, 0, 8, 0, 1, 0, 255, 255, 255, 255]), Body::NetnsId(None));
        #[rustfmt::skip]
        assert_eq!(get_netns_id(258, 7), [
            28, 0, 0, 0,  90, 0,  1, 0,  7, 0, 0, 0,  0, 0, 0, 0,
            0, 0, 0, 0,  8, 0, 3, 0,  2, 1, 0, 0,
        ]);
    }
}
