//! The list that both links and XDP states are made of: type, length, value.

use netlink_packet_core::{NLA_HEADER_SIZE, NlaBuffer, NlasIterator};

use crate::bytes::Bytes;
use crate::error::{Error, Result};

/// What messages are called in an error about their bytes.
pub(super) const MESSAGE: &str = "netlink message";

/// An attribute and the offset of its payload in the message.
pub(super) type Attribute<'a> = (NlaBuffer<&'a [u8]>, usize);

/// Each attribute of `list`, which stands `start` bytes into its message.
pub(super) fn attributes(list: &[u8], start: usize) -> impl Iterator<Item = Result<Attribute<'_>>> {
    let mut offset = start;
    NlasIterator::new(list).map(move |attribute| {
        let attribute =
            attribute.map_err(|error| Error::malformed(MESSAGE, offset as u64, error.to_string()))?;
        let payload = offset + NLA_HEADER_SIZE;
        offset += align(attribute.length().into());
        Ok((attribute, payload))
    })
}

/// The attributes of `message` from `offset` to its end.
pub(super) fn message_attributes(
    message: Bytes<'_>,
    offset: usize,
) -> Result<impl Iterator<Item = Result<Attribute<'_>>>> {
    let left = message.len().saturating_sub(offset);
    Ok(attributes(message.slice(offset, left, "the attributes")?, offset))
}

/// Messages and attributes start at multiples of four bytes.
pub(super) fn align(len: usize) -> usize {
    len.saturating_add(3) & !3
}
