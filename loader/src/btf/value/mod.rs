//! Values: what bytes mean by their type, and which bytes a value has.
//!
//! A [`Value`] is a plain tree, the same for all types that print alike: numbers, texts, lists, and fields by name.
//! [`Btf::decode`] makes one of the bytes of a map's entry or of a variable, and [`Btf::encode`] writes one, or the
//! part that it tells, into such bytes. A text stands for whatever its type takes for it:
//!
//! ```text
//! a number             123, -1, 0x7b, true, false
//! an enumeration       the name of a value, or a number
//! 4 bytes of numbers   192.0.2.1, in the order in which a packet has them
//! 16 and 6 bytes       2001:db8::1, 02:00:00:00:00:01
//! an array of char     itself
//! anything             hex:0a000001, the bytes themselves
//! ```

mod bits;
mod decode;
mod encode;
mod field;
mod text;

pub use field::Field;
pub(crate) use field::{begin, first_name, several_variables};

#[cfg(doc)]
use super::Btf;

/// A value of some type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A truth value.
    Bool(bool),
    /// A number of up to eight bytes, or a value of an enumeration that has no name.
    Int(i128),
    /// A floating-point number.
    Float(f64),
    /// A pointer.
    Pointer(u64),
    /// The text in an array of characters, the name of a value of an enumeration, or what a caller has for any type.
    Text(String),
    /// Bytes that mean nothing by their type.
    Bytes(Vec<u8>),
    /// The elements of an array.
    List(Vec<Value>),
    /// The members of a struct or union by their names, those of anonymous members among them. A union has them all,
    /// each for the same bytes.
    Fields(Vec<(String, Value)>),
}

macro_rules! from_numbers {
    ($($number:ty),*) => { $(
        impl From<$number> for Value {
            fn from(number: $number) -> Self {
                Self::Int(number.into())
            }
        }
    )* };
}

from_numbers!(u8, u16, u32, u64, i8, i16, i32, i64);

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Value>> From<Vec<T>> for Value {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Value>, const N: usize> From<[T; N]> for Value {
    fn from(list: [T; N]) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

#[cfg(test)]
mod tests;
