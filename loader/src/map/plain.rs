//! Entries as numbers and arrays of bytes, where keys and values are no more than that.

use super::{Map, UpdateFlags};
use crate::error::{Cause, Error, ErrorKind, Result};

/// A number in the machine's byte order, or bytes: what a key or a value is whose C type is one of `__u8` to `__u64`,
/// or an array of bytes.
pub trait Plain: Copy {
    /// Its bytes in memory.
    fn bytes(self) -> impl AsRef<[u8]>;

    /// From as many bytes as it has; none from another number of them.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

macro_rules! plain_numbers {
    ($($number:ty),*) => {$(
        impl Plain for $number {
            fn bytes(self) -> impl AsRef<[u8]> {
                self.to_ne_bytes()
            }

            fn from_bytes(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_ne_bytes)
            }
        }
    )*};
}

plain_numbers!(u8, u16, u32, u64, i8, i16, i32, i64);

impl<const N: usize> Plain for [u8; N] {
    fn bytes(self) -> impl AsRef<[u8]> {
        self
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok()
    }
}

impl Map {
    /// The value of `key` as a number or an array of bytes: [`Map::lookup`] without conversions. A value of another
    /// size is refused, and so is one that each CPU has for itself.
    ///
    /// ```no_run
    /// use loader::Map;
    ///
    /// # fn main() -> loader::Result<()> {
    /// let packets = Map::open_pinned("/sys/fs/bpf/edge/packets")?;
    /// let dropped: Option<u64> = packets.get(1_u32)?;
    /// packets.set(1_u32, dropped.unwrap_or_default() + 1)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get<V: Plain>(&self, key: impl Plain) -> Result<Option<V>> {
        let Some(value) = self.lookup(key.bytes().as_ref())? else { return Ok(None) };
        let Some(bytes) = value.single() else {
            let message = format!("{} has a value for each CPU: expected one for all", self.label);
            return Err(Error::new(ErrorKind::InvalidInput, message));
        };
        V::from_bytes(bytes).map(Some).ok_or_else(|| {
            let (wanted, found) = (size_of::<V>(), bytes.len());
            let message = format!("{} has values of {found} bytes, not of {wanted}", self.label);
            Error::new(ErrorKind::InvalidInput, message).with_cause(Cause::WrongSize)
        })
    }

    /// Writes a number or an array of bytes as the value of `key`, whether there is one or not: [`Map::update`]
    /// without conversions.
    pub fn set(&self, key: impl Plain, value: impl Plain) -> Result<()> {
        self.update(key.bytes().as_ref(), value.bytes().as_ref(), UpdateFlags::ANY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_plain_comes_back_from_its_bytes_and_no_others() {
        assert_eq!(u32::from_bytes(7_u32.bytes().as_ref()), Some(7));
        assert_eq!(i64::from_bytes((-7_i64).bytes().as_ref()), Some(-7));
        assert_eq!(<[u8; 4]>::from_bytes([192, 0, 2, 77].bytes().as_ref()), Some([192, 0, 2, 77]));
        assert_eq!(u32::from_bytes(&[0; 8]), None);
        assert_eq!(<[u8; 4]>::from_bytes(&[0; 3]), None);
    }
}
