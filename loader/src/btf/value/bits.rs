//! Numbers at any bit of a run of bytes, in either byte order.

use crate::bytes::ByteOrder;

/// A run of bits: where it begins, from the first bit that its byte order has in memory, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bits {
    pub(super) start: usize,
    pub(super) len: usize,
}

impl Bits {
    /// The bytes that the bits are in, and by how many bits the number stands to the left in them.
    ///
    /// In little-endian bytes bits are counted from the lowest, in big-endian ones from the highest.
    fn window(self, order: ByteOrder) -> Option<(std::ops::Range<usize>, usize)> {
        let (first, end) = (self.start / 8, self.start.checked_add(self.len)?.div_ceil(8));
        // A number has at most 64 bits, which are in nine bytes.
        (1..=64).contains(&self.len).then_some(())?;
        let shift = match order {
            ByteOrder::Little => self.start % 8,
            ByteOrder::Big => (end - first) * 8 - self.start % 8 - self.len,
        };
        Some((first..end, shift))
    }

    fn mask(self) -> u128 {
        (1 << self.len) - 1
    }

    /// The number there; none if there are no 1 to 64 bits, or not in these bytes.
    pub(super) fn read(self, bytes: &[u8], order: ByteOrder) -> Option<u64> {
        let (range, shift) = self.window(order)?;
        let number = number(bytes.get(range)?, order) >> shift & self.mask();
        u64::try_from(number).ok()
    }

    /// Puts the low bits of `value` there and leaves those around them.
    pub(super) fn write(self, bytes: &mut [u8], order: ByteOrder, value: u64) -> Option<()> {
        let (range, shift) = self.window(order)?;
        let bytes = bytes.get_mut(range)?;
        let others = number(bytes, order) & !(self.mask() << shift);
        let number = others | (u128::from(value) & self.mask()) << shift;
        let len = bytes.len();
        match order {
            ByteOrder::Little => bytes.copy_from_slice(&number.to_le_bytes()[..len]),
            ByteOrder::Big => bytes.copy_from_slice(&number.to_be_bytes()[16 - len..]),
        }
        Some(())
    }
}

/// The number in at most 16 bytes.
fn number(bytes: &[u8], order: ByteOrder) -> u128 {
    let add = |number: u128, byte: &u8| number << 8 | u128::from(*byte);
    match order {
        ByteOrder::Little => bytes.iter().rev().fold(0, add),
        ByteOrder::Big => bytes.iter().fold(0, add),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: [u8; 10] = [0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x11, 0x22];

    #[test]
    fn bits_count_from_the_end_that_the_byte_order_has_first() {
        let read = |start, len, order| Bits { start, len }.read(&BYTES, order);
        assert_eq!(read(0, 16, ByteOrder::Little), Some(0x3412));
        assert_eq!(read(0, 16, ByteOrder::Big), Some(0x1234));
        assert_eq!(read(4, 8, ByteOrder::Little), Some(0x41));
        assert_eq!(read(4, 8, ByteOrder::Big), Some(0x23));
        assert_eq!(read(4, 64, ByteOrder::Big), Some(0x2345_6789_abcd_ef01));
        assert_eq!((read(72, 9, ByteOrder::Big), read(0, 0, ByteOrder::Big)), (None, None));
        assert_eq!((read(0, 65, ByteOrder::Little), read(usize::MAX, 8, ByteOrder::Little)), (None, None));
    }

    #[test]
    fn what_is_written_is_read_and_the_rest_stays() {
        for order in [ByteOrder::Little, ByteOrder::Big] {
            for (start, len) in [(0, 1), (7, 1), (3, 17), (9, 63), (13, 64), (72, 8)] {
                let (mut bytes, bits) = (BYTES, Bits { start, len });
                let old = bits.read(&bytes, order).unwrap();
                bits.write(&mut bytes, order, !old).unwrap();
                assert_eq!(bits.read(&bytes, order), Some(!old & u64::MAX >> (64 - len)));
                bits.write(&mut bytes, order, old).unwrap();
                assert_eq!(bytes, BYTES);
            }
        }
    }
}
