//! Reads what the kernel answers: links, acknowledgements, errors with the kernel's sentence, the end of a dump.

use std::net::IpAddr;

use netlink_packet_core::{NetlinkBuffer, NetlinkHeader, Parseable as _};

use super::attribute::{MESSAGE, align, attributes, message_attributes};
use super::departure::{Destination, read_destination, read_netns_id};
use super::route;
use super::state::XdpState;
use super::write::{IFINFOMSG_LEN, NLMSG_HDRLEN};
use crate::bytes::{ByteOrder, Bytes};
use crate::error::{Error, Result};
use crate::uapi::if_link::{
    HardwareType, IFF_UP, IFLA_ADDRESS, IFLA_BOND_MODE, IFLA_IFNAME, IFLA_INFO_DATA, IFLA_INFO_KIND,
    IFLA_LINK, IFLA_LINK_NETNSID, IFLA_LINKINFO, IFLA_MASTER, IFLA_MTU, IFLA_NUM_RX_QUEUES,
    IFLA_NUM_TX_QUEUES, IFLA_XDP, NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP_INTR, NLM_F_MULTI, NLMSG_DONE,
    NLMSG_ERROR, NLMSGERR_ATTR_MSG, RTM_DELLINK, RTM_NEWLINK, RTM_NEWNSID,
};
use crate::uapi::route::RTM_NEWROUTE;

/// The largest errno that the kernel uses (`MAX_ERRNO` in `include/linux/err.h`).
const MAX_ERRNO: i32 = 4095;

/// An interface, as `RTM_NEWLINK` tells of it.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceInfo {
    /// Its number, unique in its network namespace; at least 1 in what the kernel sends.
    pub index: u32,
    /// Its name. Bytes that are not UTF-8 have become U+FFFD.
    pub name: String,
    /// Its address, such as the six bytes of Ethernet; empty where it has none.
    pub address: Vec<u8>,
    /// What its packets begin with.
    pub hardware_type: HardwareType,
    /// The longest packet that it sends, in bytes without the link header.
    pub mtu: u32,
    /// Whether the administrator has switched it on; an interface that is off receives nothing.
    pub up: bool,
    /// The kind of a device made of software, such as `veth` or `bridge`. Hardware has none.
    pub kind: Option<String>,
    /// The bridge, bond or the like that it is a port of, by index.
    pub master: Option<u32>,
    /// The interface that it stands on, or for a veth its peer, by index.
    pub lower: Option<u32>,
    /// The network namespace of that one, by number, where it is another.
    pub lower_netns: Option<i32>,
    /// How many receive queues it has room for.
    pub rx_queues: u32,
    /// How many transmit queues it has room for.
    pub tx_queues: u32,
    /// For a bond, the number of the rule by which it picks a port.
    pub bond_mode: Option<u8>,
    /// The XDP programs that run on it.
    pub xdp: XdpState,
}

impl InterfaceInfo {
    /// Whether its packets begin with an Ethernet header, as those of the loopback interface do too.
    pub fn has_ethernet_header(&self) -> bool {
        [HardwareType::ETHER, HardwareType::LOOPBACK].contains(&self.hardware_type)
    }
}

/// One message from the kernel.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The number of the request that it answers.
    pub sequence: u32,
    /// Whether more messages of the same answer follow.
    pub more: bool,
    /// Whether interfaces came or went during the dump, so that the list may lack some: ask again.
    pub interrupted: bool,
    /// What it says.
    pub body: Body,
}

/// What a message from the kernel says.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Here is a link.
    Link(InterfaceInfo),
    /// This link is not here any more: it was removed, or moved to another network namespace.
    Gone(InterfaceInfo, Option<Destination>),
    /// That is the number of a network namespace; none if it has none here.
    NetnsId(Option<i32>),
    /// Here are the gateways of a route that leads everywhere.
    Gateways(Vec<IpAddr>),
    /// It is done.
    Ack {
        /// What the kernel, or the driver, has to say about it nevertheless.
        warning: Option<String>,
    },
    /// It is refused.
    Error {
        /// The reason as in errno(3), positive.
        errno: i32,
        /// The reason as the kernel's sentence (extended ack). Kernels before 4.12, and many refusals, have none.
        message: Option<String>,
    },
    /// That was the last of a dump.
    Done,
    /// A message that is of no interest here, with its type.
    Other(u16),
}

/// Reads the messages of one datagram.
///
/// A message that is cut short, or whose lengths contradict each other, is an error of kind
/// [`Malformed`](crate::error::ErrorKind::Malformed) with the offset in its message.
pub fn read_replies(datagram: &[u8]) -> Result<Vec<Reply>> {
    let mut replies = Vec::new();
    let mut rest = datagram;
    while !rest.is_empty() {
        let header = NetlinkBuffer::new_checked(rest)
            .and_then(|message| NetlinkHeader::parse(&message))
            .map_err(|error| Error::malformed(MESSAGE, 0, error.to_string()))?;
        let message =
            Bytes::new(rest, ByteOrder::NATIVE, &MESSAGE).slice(0, to_usize(header.length), "it")?;
        replies.push(read_reply(header, Bytes::new(message, ByteOrder::NATIVE, &MESSAGE))?);
        rest = rest.get(align(message.len())..).unwrap_or_default();
    }
    Ok(replies)
}

fn read_reply(header: NetlinkHeader, message: Bytes<'_>) -> Result<Reply> {
    let body = match header.message_type {
        RTM_NEWLINK => Body::Link(read_link(message)?),
        RTM_DELLINK => Body::Gone(read_link(message)?, read_destination(message)?),
        RTM_NEWNSID => Body::NetnsId(read_netns_id(message)?),
        RTM_NEWROUTE => match route::read_default(message)? {
            Some(gateways) => Body::Gateways(gateways),
            None => Body::Other(RTM_NEWROUTE),
        },
        NLMSG_ERROR => read_error(message, header.flags)?,
        NLMSG_DONE => read_done(message, header.flags)?,
        other => Body::Other(other),
    };
    Ok(Reply {
        sequence: header.sequence_number,
        more: header.flags & NLM_F_MULTI != 0 && header.message_type != NLMSG_DONE,
        interrupted: header.flags & NLM_F_DUMP_INTR != 0,
        body,
    })
}

/// `struct ifinfomsg` and the attributes behind it. An attribute that comes twice counts the last time.
fn read_link(message: Bytes<'_>) -> Result<InterfaceInfo> {
    let mut link = InterfaceInfo {
        hardware_type: HardwareType(message.u16(NLMSG_HDRLEN + 2, "ifi_type")?),
        index: message.u32(NLMSG_HDRLEN + 4, "ifi_index")?,
        up: message.u32(NLMSG_HDRLEN + 8, "ifi_flags")? & IFF_UP != 0,
        ..InterfaceInfo::default()
    };
    for attribute in message_attributes(message, NLMSG_HDRLEN + IFINFOMSG_LEN)? {
        let (attribute, offset) = attribute?;
        let value = attribute.value();
        match attribute.kind() {
            IFLA_ADDRESS => link.address = value.to_vec(),
            IFLA_IFNAME => link.name = text(value),
            IFLA_MTU => link.mtu = number(value, "IFLA_MTU")?,
            IFLA_MASTER => link.master = Some(number(value, "IFLA_MASTER")?),
            IFLA_LINK => link.lower = Some(number(value, "IFLA_LINK")?).filter(|index| *index != 0),
            IFLA_LINK_NETNSID => {
                let id = number(value, "IFLA_LINK_NETNSID")?;
                link.lower_netns = Some(i32::from_ne_bytes(id.to_ne_bytes()));
            }
            IFLA_NUM_RX_QUEUES => link.rx_queues = number(value, "IFLA_NUM_RX_QUEUES")?,
            IFLA_NUM_TX_QUEUES => link.tx_queues = number(value, "IFLA_NUM_TX_QUEUES")?,
            IFLA_LINKINFO => (link.kind, link.bond_mode) = read_kind(value, offset)?,
            IFLA_XDP => link.xdp = XdpState::read(value, offset)?,
            _ => {}
        }
    }
    Ok(link)
}

pub(super) fn number(value: &[u8], name: &'static str) -> Result<u32> {
    Bytes::new(value, ByteOrder::NATIVE, &name).u32(0, "the number")
}

/// The kind, and for a bond its mode.
fn read_kind(nest: &[u8], offset: usize) -> Result<(Option<String>, Option<u8>)> {
    let (mut kind, mut data) = (None, None);
    for attribute in attributes(nest, offset) {
        let (attribute, offset) = attribute?;
        match attribute.kind() {
            IFLA_INFO_KIND => kind = Some(text(attribute.value())),
            IFLA_INFO_DATA => data = Some((attribute, offset)),
            _ => {}
        }
    }
    let Some((data, offset)) = data.filter(|_| kind.as_deref() == Some("bond")) else {
        return Ok((kind, None));
    };
    let mut mode = None;
    for attribute in attributes(data.value(), offset) {
        let (attribute, _) = attribute?;
        if attribute.kind() == IFLA_BOND_MODE {
            mode = attribute.value().first().copied();
        }
    }
    Ok((kind, mode))
}

/// `struct nlmsgerr`: the negative errno, the header of the request, perhaps the rest of the request, and then the
/// attributes of the extended ack.
fn read_error(message: Bytes<'_>, flags: u16) -> Result<Body> {
    let errno = read_errno(message)?;
    let request = NLMSG_HDRLEN + 4;
    let request_len = message.u32(request, "the length of the request")?;
    let repeated = if flags & NLM_F_CAPPED == 0 { align(to_usize(request_len)) } else { NLMSG_HDRLEN };
    let sentence = read_sentence(message, flags, request.saturating_add(repeated))?;
    Ok(match errno {
        0 => Body::Ack { warning: sentence },
        errno => Body::Error { errno, message: sentence },
    })
}

/// The end of a dump carries 0, or the negative errno that ended it early. Some kernels leave the number out.
fn read_done(message: Bytes<'_>, flags: u16) -> Result<Body> {
    if message.len() == NLMSG_HDRLEN {
        return Ok(Body::Done);
    }
    let errno = read_errno(message)?;
    let sentence = read_sentence(message, flags, NLMSG_HDRLEN + 4)?;
    Ok(if errno == 0 { Body::Done } else { Body::Error { errno, message: sentence } })
}

/// The errno at the start of the payload, made positive.
fn read_errno(message: Bytes<'_>) -> Result<i32> {
    let number = i32::from_ne_bytes(message.u32(NLMSG_HDRLEN, "the errno")?.to_ne_bytes());
    if !(-MAX_ERRNO..=0).contains(&number) {
        return Err(message.error(NLMSG_HDRLEN, format!("expected a negative errno, found {number}")));
    }
    Ok(-number)
}

/// The kernel's sentence among the extended-ack attributes, which start at `offset` if `flags` say so.
fn read_sentence(message: Bytes<'_>, flags: u16, offset: usize) -> Result<Option<String>> {
    if flags & NLM_F_ACK_TLVS == 0 {
        return Ok(None);
    }
    let mut sentence = None;
    for attribute in message_attributes(message, offset)? {
        let (attribute, _) = attribute?;
        if attribute.kind() == NLMSGERR_ATTR_MSG {
            sentence = Some(text(attribute.value())).filter(|sentence| !sentence.is_empty());
        }
    }
    Ok(sentence)
}

/// A string attribute: the bytes before the first NUL, if there is one.
fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// A length that does not fit is longer than any message, and is refused as such.
fn to_usize(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

// The recorded messages are those of a little-endian machine.
#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::super::{Mode, XdpProgram};
    use super::*;

    macro_rules! recorded {
        ($name:literal) => {
            unhex(include_str!(concat!("../../tests/fixtures/netlink/", $name, ".hex")))
        };
    }

    fn unhex(text: &str) -> Vec<u8> {
        let digits = text.lines().filter(|line| !line.starts_with('#')).collect::<String>();
        let pairs = digits.as_bytes().chunks_exact(2);
        pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
    }

    fn only_reply(datagram: &[u8]) -> Reply {
        let mut replies = read_replies(datagram).unwrap();
        assert_eq!(replies.len(), 1);
        replies.remove(0)
    }

    fn link(datagram: &[u8]) -> InterfaceInfo {
        match only_reply(datagram).body {
            Body::Link(link) => link,
            other => panic!("expected a link, found {other:?}"),
        }
    }

    #[test]
    fn a_link_tells_its_name_kind_and_programs() {
        let plain = link(&recorded!("veth"));
        assert_eq!((plain.index, plain.name.as_str(), plain.mtu, plain.up), (3, "v0", 1500, false));
        assert_eq!(plain.kind.as_deref(), Some("veth"));
        assert!(plain.xdp.is_empty());
        assert_eq!(plain.hardware_type, HardwareType::ETHER);

        let native = link(&recorded!("veth_native"));
        assert_eq!(
            (native.up, native.xdp.programs()),
            (true, &[XdpProgram { mode: Mode::Native, id: Some(1253) }][..])
        );
        let generic = link(&recorded!("veth_generic"));
        assert_eq!(
            generic.xdp.in_mode(Mode::Generic),
            Some(XdpProgram { mode: Mode::Generic, id: Some(1253) })
        );
    }

    #[test]
    fn not_every_link_has_an_ethernet_header() {
        let mut bytes = recorded!("veth");
        for (hardware_type, has_one) in [
            (HardwareType::ETHER, true),
            (HardwareType::LOOPBACK, true),
            (HardwareType::NONE, false),
            (HardwareType::PPP, false),
            (HardwareType(9999), false),
        ] {
            bytes[NLMSG_HDRLEN + 2..NLMSG_HDRLEN + 4].copy_from_slice(&hardware_type.0.to_le_bytes());
            let link = link(&bytes);
            assert_eq!((link.hardware_type, link.has_ethernet_header()), (hardware_type, has_one));
        }
    }

    #[test]
    fn a_dump_has_many_messages_and_an_end() {
        let links = read_replies(&recorded!("dump")).unwrap();
        assert!(links.iter().all(|reply| reply.more && !reply.interrupted && reply.sequence == 7));
        let names = links.iter().map(|reply| match &reply.body {
            Body::Link(link) => link.name.as_str(),
            other => panic!("expected a link, found {other:?}"),
        });
        assert_eq!(names.collect::<Vec<_>>(), ["lo", "v1", "v0"]);
        let end = only_reply(&recorded!("dump_done"));
        assert_eq!((end.body, end.more), (Body::Done, false));
    }

    #[test]
    fn an_acknowledgement_and_a_refusal_are_told_apart() {
        assert_eq!(only_reply(&recorded!("ack")).body, Body::Ack { warning: None });
        assert_eq!(only_reply(&recorded!("no_device")).body, Body::Error { errno: 19, message: None });
        let mismatch = only_reply(&recorded!("mismatch")).body;
        let message = Some("Active program does not match expected".to_owned());
        assert_eq!(mismatch, Body::Error { errno: 17, message });
    }

    #[test]
    fn an_acknowledgement_may_carry_a_warning() {
        let mut bytes = recorded!("ack");
        bytes.extend([9, 0, 1, 0, b'o', b'd', b'd', b'\x1b', 0, 0, 0, 0]);
        bytes[0] += 12;
        // NLM_F_ACK_TLVS, in the upper byte of the flags.
        bytes[7] |= 2;
        assert_eq!(only_reply(&bytes).body, Body::Ack { warning: Some("odd\u{1b}".to_owned()) });
    }

    #[test]
    fn a_dump_can_be_interrupted_or_end_in_an_error() {
        let mut bytes = recorded!("dump_done");
        bytes[6] |= 0x10;
        assert!(only_reply(&bytes).interrupted);
        bytes[16..20].copy_from_slice(&(-90i32).to_le_bytes());
        assert_eq!(only_reply(&bytes).body, Body::Error { errno: 90, message: None });
        bytes[16..20].copy_from_slice(&1i32.to_le_bytes());
        let error = read_replies(&bytes).unwrap_err();
        assert_eq!(error.to_string(), "netlink message at offset 0x10: expected a negative errno, found 1");
    }

    #[test]
    fn messages_of_no_interest_are_stepped_over() {
        let mut bytes = recorded!("ack");
        bytes[4] = 1;
        bytes.extend(recorded!("ack"));
        let bodies = read_replies(&bytes).unwrap().into_iter().map(|reply| reply.body).collect::<Vec<_>>();
        assert_eq!(bodies, [Body::Other(1), Body::Ack { warning: None }]);
        assert_eq!(read_replies(&[]).unwrap(), []);
    }

    /// Whether `cut` has nothing that `whole` has not.
    fn says_less(cut: &Reply, whole: &Reply) -> bool {
        match (&cut.body, &whole.body) {
            (Body::Link(cut), Body::Link(whole)) => {
                let xdp = cut.xdp.programs();
                cut.index == whole.index
                    && ["", &*whole.name].contains(&&*cut.name)
                    && [0, whole.mtu].contains(&cut.mtu)
                    && (xdp.is_empty() || xdp.len() == whole.xdp.programs().len())
            }
            (Body::Error { errno, message }, Body::Error { errno: of_whole, message: said }) => {
                errno == of_whole && (message.is_none() || message == said)
            }
            (cut, whole) => cut == whole,
        }
    }

    #[test]
    fn a_message_cut_short_is_malformed_or_says_less() {
        for whole in [recorded!("veth_native"), recorded!("mismatch"), recorded!("dump_done")] {
            let said = read_replies(&whole).unwrap();
            for len in 1..whole.len() {
                let error = read_replies(&whole[..len]).unwrap_err();
                assert_eq!(error.kind(), crate::error::ErrorKind::Malformed);
                // The same with a header that agrees with the cut, so that the attributes are cut.
                let mut lying = whole[..len].to_vec();
                if let Some(length) = lying.first_chunk_mut::<4>() {
                    *length = u32::try_from(len).unwrap().to_le_bytes();
                }
                match read_replies(&lying) {
                    Err(error) => assert_eq!(error.kind(), crate::error::ErrorKind::Malformed),
                    Ok(replies) => {
                        assert!(replies.iter().zip(&said).all(|(cut, whole)| says_less(cut, whole)));
                    }
                }
            }
        }
    }

    #[test]
    fn no_flipped_byte_makes_the_reader_panic() {
        for whole in
            [recorded!("veth_native"), recorded!("mismatch"), recorded!("dump_done"), recorded!("ack")]
        {
            for place in 0..whole.len() {
                for flip in [0x01, 0x80, 0xff] {
                    let mut bytes = whole.clone();
                    bytes[place] ^= flip;
                    let _ = read_replies(&bytes);
                }
            }
        }
    }
}
