//! Routes: the gateways of those that lead everywhere, of all tables.

use std::net::IpAddr;

use super::attribute::message_attributes;
use super::attribute::{MESSAGE, align, attributes};
use super::write::{NLMSG_HDRLEN, message};
use crate::bytes::{ByteOrder, Bytes};
use crate::error::Result;
use crate::uapi::if_link::NLM_F_DUMP;
use crate::uapi::route::{AF_INET, AF_INET6, RTA_GATEWAY, RTA_MULTIPATH, RTA_VIA, RTM_GETROUTE, RTN_UNICAST};

/// Bytes of `struct rtmsg` (`include/uapi/linux/rtnetlink.h`).
const RTMSG_LEN: usize = 12;
/// Bytes of `struct rtnexthop`.
const RTNEXTHOP_LEN: usize = 8;

/// The longest prefixes of IPv4 and IPv6 that still lead everywhere: VPNs halve the default route, and `2000::/3` is
/// all of IPv6 that is in use.
const EVERYWHERE: [(u8, u8); 2] = [(AF_INET, 1), (AF_INET6, 3)];

/// `RTM_GETROUTE` for all routes of all tables and families. The answer is many messages and a `DONE`.
pub fn dump_routes(sequence: u32) -> Vec<u8> {
    message(RTM_GETROUTE, NLM_F_DUMP, &[0; RTMSG_LEN], &[], sequence)
}

/// The gateways of a route (`struct rtmsg` and the attributes behind it), if it leads everywhere and is one for
/// packets: its own, and those of each next hop. The next hops of an object (`ip nexthop`) are among them unless the
/// kernel was told to leave them out (`net.ipv4.nexthop_compat_mode`).
pub(super) fn read_default(message: Bytes<'_>) -> Result<Option<Vec<IpAddr>>> {
    let [family, length, kind] = [(0, "rtm_family"), (1, "rtm_dst_len"), (7, "rtm_type")]
        .map(|(at, name)| message.u8(NLMSG_HDRLEN + at, name));
    let (family, length, kind) = (family?, length?, kind?);
    let leads_everywhere = EVERYWHERE.iter().any(|&(of, longest)| of == family && length <= longest);
    if !leads_everywhere || kind != RTN_UNICAST {
        return Ok(None);
    }
    let mut found = Vec::new();
    for attribute in message_attributes(message, NLMSG_HDRLEN + RTMSG_LEN)? {
        let (attribute, offset) = attribute?;
        match attribute.kind() {
            RTA_MULTIPATH => read_next_hops(attribute.value(), offset, &mut found)?,
            kind => found.extend(gateway(kind, attribute.value())),
        }
    }
    Ok(Some(found))
}

/// Next hops, one behind the other, each with attributes of its own.
fn read_next_hops(nest: &[u8], start: usize, found: &mut Vec<IpAddr>) -> Result<()> {
    let mut at = 0;
    while at < nest.len() {
        let rest = Bytes::new(&nest[at..], ByteOrder::NATIVE, &MESSAGE);
        let len = usize::from(rest.u16(0, "rtnh_len")?);
        if len < RTNEXTHOP_LEN {
            return Err(
                rest.error(0, format!("a next hop has {len} bytes, expected at least {RTNEXTHOP_LEN}"))
            );
        }
        let attributes = rest.slice(0, len, "the next hop")?.get(RTNEXTHOP_LEN..).unwrap_or_default();
        for attribute in self::attributes(attributes, start + at + RTNEXTHOP_LEN) {
            let (attribute, _) = attribute?;
            found.extend(gateway(attribute.kind(), attribute.value()));
        }
        at += align(len);
    }
    Ok(())
}

/// The address of a gateway, if an attribute has one: of the family of the route, or after `struct rtvia` of another.
fn gateway(kind: u16, value: &[u8]) -> Option<IpAddr> {
    let address = match kind {
        RTA_GATEWAY => value,
        RTA_VIA => value.get(2..)?,
        _ => return None,
    };
    let v4 = <[u8; 4]>::try_from(address).map(IpAddr::from);
    let found = v4.or_else(|_| <[u8; 16]>::try_from(address).map(IpAddr::from)).ok()?;
    Some(found).filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;
    use crate::netlink::{Body, read_replies};
    use crate::uapi::if_link::NLM_F_MULTI;
    use crate::uapi::route::RTM_NEWROUTE;

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [&len.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
        bytes.resize(align(bytes.len()), 0);
        bytes
    }

    fn next_hop(attributes: &[u8]) -> Vec<u8> {
        let len = u16::try_from(RTNEXTHOP_LEN + attributes.len()).unwrap();
        [&len.to_ne_bytes()[..], &[0; 6], attributes].concat()
    }

    /// What is read of a route to a prefix of this length.
    fn read(family: u8, length: u8, kind: u8, attributes: &[u8]) -> Result<Body> {
        let mut route = [0; RTMSG_LEN];
        (route[0], route[1], route[7]) = (family, length, kind);
        let len = u32::try_from(NLMSG_HDRLEN + RTMSG_LEN + attributes.len()).unwrap();
        let header =
            [&len.to_ne_bytes()[..], &RTM_NEWROUTE.to_ne_bytes(), &NLM_F_MULTI.to_ne_bytes(), &[0; 8]];
        let bytes = [&header.concat()[..], &route, attributes].concat();
        read_replies(&bytes).map(|mut replies| replies.remove(0).body)
    }

    #[test]
    fn gateways_of_every_form_are_found() {
        let v4 = |last: u8| attribute(RTA_GATEWAY, &[192, 0, 2, last]);
        let v6: IpAddr = "fe80::1".parse().unwrap();
        let via = [&[AF_INET6, 0][..], &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]].concat();
        let hops = [next_hop(&v4(2)), next_hop(&attribute(RTA_VIA, &via)), next_hop(&[])].concat();
        let found = |attributes: &[u8]| read(AF_INET, 0, RTN_UNICAST, attributes).unwrap();
        let gateways = |all: &[&str]| Body::Gateways(all.iter().map(|it| it.parse().unwrap()).collect());
        assert_eq!(found(&v4(1)), gateways(&["192.0.2.1"]));
        assert_eq!(found(&attribute(RTA_VIA, &via)), Body::Gateways(vec![v6]));
        assert_eq!(found(&attribute(RTA_MULTIPATH, &hops)), gateways(&["192.0.2.2", "fe80::1"]));
        // A device without a gateway, and an address of no family.
        assert_eq!(found(&attribute(4, &[1, 0, 0, 0])), gateways(&[]));
        assert_eq!(found(&attribute(RTA_GATEWAY, &[1, 2, 3])), gateways(&[]));
    }

    #[test]
    fn only_routes_that_lead_everywhere_are_read() {
        let gateway = attribute(RTA_GATEWAY, &[192, 0, 2, 1]);
        for (family, length, kind, counts) in [
            (AF_INET, 1, RTN_UNICAST, true),
            (AF_INET, 2, RTN_UNICAST, false),
            (AF_INET6, 3, RTN_UNICAST, true),
            (AF_INET6, 4, RTN_UNICAST, false),
            (AF_INET, 0, 7, false),
            (28, 0, RTN_UNICAST, false),
        ] {
            let body = read(family, length, kind, &gateway).unwrap();
            assert_eq!(matches!(body, Body::Gateways(_)), counts, "{family} {length} {kind}: {body:?}");
        }
    }

    #[test]
    fn a_next_hop_that_is_too_short_or_too_long_is_malformed() {
        let mut lying = next_hop(&[]);
        for len in [0_u16, 7, 9] {
            lying[..2].copy_from_slice(&len.to_ne_bytes());
            let error = read(AF_INET, 0, RTN_UNICAST, &attribute(RTA_MULTIPATH, &lying)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Malformed, "{len}");
        }
    }
}
