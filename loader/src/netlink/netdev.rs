//! The generic netlink family `netdev`, which tells what a driver can do with XDP (6.3): its number, and its answer.

use netlink_packet_core::{DefaultNla, NetlinkBuffer, NetlinkHeader, Parseable as _};

use super::attribute::{MESSAGE, attributes};
use super::write::{NLMSG_HDRLEN, message};
use crate::bytes::{ByteOrder, Bytes};
use crate::error::Result;
use crate::uapi::genetlink::{
    CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME, CTRL_CMD_GETFAMILY, GENL_HDRLEN, GENL_ID_CTRL,
    NETDEV_A_DEV_IFINDEX, NETDEV_A_DEV_XDP_FEATURES, NETDEV_A_DEV_XDP_ZC_MAX_SEGS, NETDEV_CMD_DEV_GET,
    NETDEV_FAMILY_NAME, XdpFeature,
};
use crate::uapi::if_link::NLMSG_ERROR;

/// What a driver can do with XDP, in the state that the interface is in now: a veth with too few queues can nothing.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XdpFeatures {
    /// A set of [`XdpFeature`].
    pub bits: u64,
    /// How many buffers a packet sent from user space without copying may have.
    pub zero_copy_segments: u32,
}

impl XdpFeatures {
    /// Whether `feature` is there.
    pub fn has(self, feature: XdpFeature) -> bool {
        self.bits & feature.0 != 0
    }

    /// Their names, in the kernel's words.
    pub fn names(self) -> Vec<&'static str> {
        XdpFeature::ALL
            .into_iter()
            .filter(|feature| self.has(*feature))
            .filter_map(XdpFeature::name)
            .collect()
    }
}

/// The request for the number of the family `netdev`. The answer is one message, ENOENT before 6.3.
pub fn get_netdev_family(sequence: u32) -> Vec<u8> {
    let name = [NETDEV_FAMILY_NAME.as_bytes(), &[0]].concat();
    generic(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, DefaultNla::new(CTRL_ATTR_FAMILY_NAME, name), sequence)
}

/// The request to the family with the number `family` for what the driver of interface `index` can do.
pub fn get_xdp_features(family: u16, index: u32, sequence: u32) -> Vec<u8> {
    let index = DefaultNla::new(NETDEV_A_DEV_IFINDEX, index.to_ne_bytes().to_vec());
    generic(family, NETDEV_CMD_DEV_GET, index, sequence)
}

/// The number of the family in the answer to [`get_netdev_family`]; none in a refusal.
pub fn read_family(datagram: &[u8]) -> Result<Option<u16>> {
    let mut family = None;
    each_attribute(datagram, |kind, value| {
        if kind == CTRL_ATTR_FAMILY_ID {
            family = Some(value.u16(0, "the number of the family")?);
        }
        Ok(())
    })?;
    Ok(family)
}

/// The answer to [`get_xdp_features`]; none in a refusal.
pub fn read_xdp_features(datagram: &[u8]) -> Result<Option<XdpFeatures>> {
    let mut found = XdpFeatures::default();
    let is_answer = each_attribute(datagram, |kind, value| {
        match kind {
            NETDEV_A_DEV_XDP_FEATURES => found.bits = value.u64(0, "the features")?,
            NETDEV_A_DEV_XDP_ZC_MAX_SEGS => found.zero_copy_segments = value.u32(0, "the segments")?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(is_answer.then_some(found))
}

fn generic(family: u16, command: u8, attribute: DefaultNla, sequence: u32) -> Vec<u8> {
    message(family, 0, &[command, 1, 0, 0], &[attribute], sequence)
}

/// Tells `tell` of each attribute of the first message, and whether that is an answer and no refusal.
fn each_attribute(datagram: &[u8], mut tell: impl FnMut(u16, Bytes<'_>) -> Result<()>) -> Result<bool> {
    let malformed = |error: netlink_packet_core::DecodeError| {
        crate::error::Error::malformed(MESSAGE, 0, error.to_string())
    };
    let buffer = NetlinkBuffer::new_checked(datagram).map_err(malformed)?;
    let header = NetlinkHeader::parse(&buffer).map_err(malformed)?;
    if header.message_type == NLMSG_ERROR {
        return Ok(false);
    }
    let start = NLMSG_HDRLEN + GENL_HDRLEN;
    let len = usize::try_from(header.length).unwrap_or(usize::MAX);
    let whole = Bytes::new(datagram, ByteOrder::NATIVE, &MESSAGE);
    let list = whole.slice(start, len.saturating_sub(start), "the attributes")?;
    for attribute in attributes(list, start) {
        let (attribute, _) = attribute?;
        tell(attribute.kind(), Bytes::new(attribute.value(), ByteOrder::NATIVE, &"netdev attribute"))?;
    }
    Ok(true)
}

// The bytes below are those of a little-endian machine.
#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use super::*;

    #[test]
    fn the_family_is_asked_for_by_name() {
        #[rustfmt::skip]
        assert_eq!(get_netdev_family(7), [
            32, 0, 0, 0,  16, 0,  1, 0,  7, 0, 0, 0,  0, 0, 0, 0,
            3, 1, 0, 0,
            11, 0, 2, 0,  b'n', b'e', b't', b'd', b'e', b'v', 0, 0,
        ]);
    }

    #[test]
    fn a_device_is_asked_for_by_index() {
        assert_eq!(get_xdp_features(0x1d, 258, 7)[16..], [1, 1, 0, 0, 8, 0, 1, 0, 2, 1, 0, 0]);
    }

    fn answer(attributes: &[u8]) -> Vec<u8> {
        let len = u8::try_from(20 + attributes.len()).unwrap();
        [&[len, 0, 0, 0, 0x1d, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0][..], attributes].concat()
    }

    #[test]
    fn features_are_read_by_name() {
        let bytes =
            answer(&[8, 0, 1, 0, 3, 0, 0, 0, 12, 0, 3, 0, 0x23, 0, 0, 0, 0, 0, 0, 0, 8, 0, 4, 0, 1, 0, 0, 0]);
        let found = read_xdp_features(&bytes).unwrap().unwrap();
        assert_eq!((found.names(), found.zero_copy_segments), (vec!["basic", "redirect", "rx-sg"], 1));
        assert_eq!(read_family(&answer(&[6, 0, 1, 0, 0x1d, 0, 0, 0])).unwrap(), Some(0x1d));
    }

    #[test]
    fn a_refusal_is_no_answer_and_a_cut_message_is_malformed_or_says_nothing() {
        let mut refusal = answer(&[]);
        refusal[4..6].copy_from_slice(&NLMSG_ERROR.to_le_bytes());
        assert_eq!(read_xdp_features(&refusal).unwrap(), None);
        let whole = answer(&[12, 0, 3, 0, 0x23, 0, 0, 0, 0, 0, 0, 0]);
        for len in 0..whole.len() {
            let mut cut = whole[..len].to_vec();
            read_xdp_features(&cut).unwrap_err();
            if let Some(length) = cut.first_chunk_mut::<4>() {
                *length = u32::try_from(len).unwrap().to_le_bytes();
            }
            match read_xdp_features(&cut) {
                Err(error) => assert_eq!(error.kind(), crate::error::ErrorKind::Malformed),
                // Cut behind the header.
                Ok(found) => assert_eq!(found.unwrap_or_default(), XdpFeatures::default()),
            }
        }
    }
}
