//! The one bounds-checked reader: every number that comes out of a file comes through here.
//!
//! A read past the end is an error that names the section, the offset and the field, never a panic.

use std::ffi::CStr;
use std::fmt::{self, Debug, Display};

use crate::error::{Error, Result};

/// The longest name that is read from a file, in bytes. The kernel keeps 15 of a map's or program's name, and
/// mangled C++ and Rust names seldom pass 500.
pub const MAX_NAME: usize = 4096;

/// The order in which a file stores the bytes of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// Least significant byte first (`ELFDATA2LSB`, clang's `bpfel`).
    Little,
    /// Most significant byte first (`ELFDATA2MSB`, clang's `bpfeb`).
    Big,
}

impl ByteOrder {
    /// The order of the machine this runs on, which is the order that its kernel wants.
    pub const NATIVE: Self = if cfg!(target_endian = "big") { Self::Big } else { Self::Little };

    /// The number whose bytes are `bytes`.
    pub fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    /// The number whose bytes are `bytes`.
    pub fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    /// The number whose bytes are `bytes`.
    pub fn u64(self, bytes: [u8; 8]) -> u64 {
        match self {
            Self::Little => u64::from_le_bytes(bytes),
            Self::Big => u64::from_be_bytes(bytes),
        }
    }

    /// The bytes of a number.
    pub fn u16_bytes(self, number: u16) -> [u8; 2] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }

    /// The bytes of a number.
    pub fn u32_bytes(self, number: u32) -> [u8; 4] {
        match self {
            Self::Little => number.to_le_bytes(),
            Self::Big => number.to_be_bytes(),
        }
    }
}

/// A run of bytes that knows its byte order and what to call itself in an error.
#[derive(Clone, Copy)]
pub struct Bytes<'a> {
    data: &'a [u8],
    order: ByteOrder,
    /// Put into words only where there is an error.
    name: &'a dyn Display,
}

impl Debug for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", self.name, self.data.len())
    }
}

impl<'a> Bytes<'a> {
    /// Reads `data`, which errors call `name`.
    pub fn new(data: &'a [u8], order: ByteOrder, name: &'a dyn Display) -> Self {
        Self { data, order, name }
    }

    /// All the bytes.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// How many bytes there are.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The order in which numbers are read.
    pub fn order(&self) -> ByteOrder {
        self.order
    }

    /// The name that errors use.
    pub fn name(&self) -> &'a dyn Display {
        self.name
    }

    /// An error at `offset` of these bytes.
    #[cold]
    pub fn error(&self, offset: usize, message: impl Into<String>) -> Error {
        Error::malformed(self.name.to_string(), offset as u64, message)
    }

    /// The `len` bytes from `offset`, which hold `field`.
    pub fn slice(&self, offset: usize, len: usize, field: &str) -> Result<&'a [u8]> {
        let found = offset.checked_add(len).and_then(|end| self.data.get(offset..end));
        found.ok_or_else(|| self.too_few(offset, len, field))
    }

    fn array<const N: usize>(&self, offset: usize, field: &str) -> Result<[u8; N]> {
        match self.data.get(offset..).and_then(<[u8]>::first_chunk) {
            Some(array) => Ok(*array),
            None => Err(self.too_few(offset, N, field)),
        }
    }

    #[cold]
    fn too_few(&self, offset: usize, len: usize, field: &str) -> Error {
        let left = self.data.len().saturating_sub(offset);
        self.error(offset, format!("expected {len} bytes for {field}, found {left}"))
    }

    /// The byte at `offset`, which holds `field`.
    pub fn u8(&self, offset: usize, field: &str) -> Result<u8> {
        self.array::<1>(offset, field).map(|[byte]| byte)
    }

    /// The 16-bit number at `offset`, which holds `field`.
    pub fn u16(&self, offset: usize, field: &str) -> Result<u16> {
        self.array(offset, field).map(|bytes| self.order.u16(bytes))
    }

    /// The 32-bit number at `offset`, which holds `field`.
    pub fn u32(&self, offset: usize, field: &str) -> Result<u32> {
        self.array(offset, field).map(|bytes| self.order.u32(bytes))
    }

    /// The 64-bit number at `offset`, which holds `field`.
    pub fn u64(&self, offset: usize, field: &str) -> Result<u64> {
        self.array(offset, field).map(|bytes| self.order.u64(bytes))
    }

    /// The signed 64-bit number at `offset`, which holds `field`.
    pub fn i64(&self, offset: usize, field: &str) -> Result<i64> {
        self.u64(offset, field).map(|bits| i64::from_ne_bytes(bits.to_ne_bytes()))
    }

    /// The string that starts at `offset` and ends before the next NUL, as in an ELF or BTF string table.
    ///
    /// At most [`MAX_NAME`] bytes: many names may share the tail of one string, and without a bound a small file
    /// could make its reader scan, or keep, far more bytes than it has.
    pub fn c_str(&self, offset: usize, field: &str) -> Result<&'a [u8]> {
        let tail = self.data.get(offset..).ok_or_else(|| {
            self.error(offset, format!("expected {field}, but the strings end at {:#x}", self.data.len()))
        })?;
        let reach = &tail[..tail.len().min(MAX_NAME + 1)];
        CStr::from_bytes_until_nul(reach).map(CStr::to_bytes).map_err(|_| {
            self.error(
                offset,
                format!("expected {field} to end in a NUL byte within {MAX_NAME} bytes, found none"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: [u8; 8] = [1, 2, 3, 4, b'a', b'b', 0, 9];

    #[test]
    fn numbers_follow_the_byte_order() {
        let little = Bytes::new(&DATA, ByteOrder::Little, &"t");
        let big = Bytes::new(&DATA, ByteOrder::Big, &"t");
        assert_eq!((little.u16(0, "f").unwrap(), big.u16(0, "f").unwrap()), (0x0201, 0x0102));
        assert_eq!((little.u32(0, "f").unwrap(), big.u32(0, "f").unwrap()), (0x0403_0201, 0x0102_0304));
        assert_eq!(big.u64(0, "f").unwrap(), 0x0102_0304_6162_0009);
    }

    #[test]
    fn a_read_past_the_end_names_the_place_and_the_field() {
        let bytes = Bytes::new(&DATA, ByteOrder::Little, &"table");
        let error = bytes.u32(6, "sh_name").unwrap_err();
        assert_eq!(error.to_string(), "table at offset 0x6: expected 4 bytes for sh_name, found 2");
        assert!(bytes.slice(usize::MAX, 2, "f").is_err());
    }

    #[test]
    fn strings_end_at_their_nul() {
        let bytes = Bytes::new(&DATA, ByteOrder::Little, &"strtab");
        assert_eq!(bytes.c_str(4, "a name").unwrap(), b"ab");
        assert_eq!(
            bytes.c_str(7, "a name").unwrap_err().to_string(),
            "strtab at offset 0x7: expected a name to end in a NUL byte within 4096 bytes, found none"
        );
        assert!(bytes.c_str(9, "a name").is_err());
    }
}
