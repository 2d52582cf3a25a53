//! Bytes to values.

use std::collections::BTreeMap;

use super::super::Btf;
use super::super::types::{Array, Composite, Enum, Int, Name, Shape, TypeId};
use super::super::view::{MAX_DEPTH, Types as _};
use super::bits::Bits;
use super::{Field, Value};
use crate::bytes::ByteOrder;
use crate::error::{Error, Result, escape};
use crate::order::sort_by_key;

/// How many values there may be for each byte. A union shows its bytes once for each member, and so on inwards.
const VALUES_FOR_A_BYTE: usize = 64;

impl Btf {
    /// What `bytes` mean as a value of type `ty`, whose numbers are in `order`.
    ///
    /// `Malformed` when they are too few, and for types that are not sound or have no values.
    pub fn decode(&self, ty: TypeId, bytes: &[u8], order: ByteOrder) -> Result<Value> {
        self.decode_field(Field::whole(ty), bytes, order)
    }

    /// What the part `field` of `bytes` means.
    pub fn decode_field(&self, field: Field, bytes: &[u8], order: ByteOrder) -> Result<Value> {
        let left = bytes.len().saturating_add(1).saturating_mul(VALUES_FOR_A_BYTE);
        Decoder { btf: self, bytes, order, whole: field.ty, left, enums: BTreeMap::new(), names: Vec::new() }
            .value(field, 0)
    }
}

struct Decoder<'b> {
    btf: &'b Btf,
    bytes: &'b [u8],
    order: ByteOrder,
    /// What is decoded, for errors.
    whole: TypeId,
    /// How many more values there may be.
    left: usize,
    /// The enumerations of which there was a value, by their ids, each with its place in `names`.
    enums: BTreeMap<u64, usize>,
    /// Of those of which there was a second value, the names in the order of numbers.
    names: Vec<Option<Vec<(Name, i128)>>>,
}

impl Decoder<'_> {
    fn value(&mut self, field: Field, depth: usize) -> Result<Value> {
        if depth >= MAX_DEPTH {
            return Err(self.btf.too_deep(self.whole));
        }
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            let most = self.bytes.len() * VALUES_FOR_A_BYTE;
            self.btf.error(self.whole, format!("expected at most {most} values in it, found more"))
        })?;
        let id = self.btf.resolve(field.ty)?;
        match &self.btf.get(id)?.shape {
            Shape::Int(int) => self.int(field, *int),
            Shape::Enum(values) | Shape::Enum64(values) => self.enumeration(field, id, values),
            Shape::Ptr(_) => {
                let size = u64::from(super::super::POINTER_SIZE);
                Ok(Value::Pointer(self.bits(field.bit_offset, size * 8)?))
            }
            Shape::Float { size } => self.float(field, *size),
            Shape::Array(array) => self.array(field, *array, depth),
            Shape::Struct(composite) | Shape::Union(composite) => {
                let mut fields = Vec::new();
                self.members(field, composite, depth, &mut fields)?;
                Ok(Value::Fields(fields))
            }
            Shape::Var(var) => self.value(Field { ty: var.ty, ..field }, depth + 1),
            Shape::DataSec(section) => {
                let btf = self.btf;
                let several = btf.repeated_names(section)?;
                let mut fields = Vec::new();
                for entry in &section.entries {
                    let bit_offset = field.bit_offset + u64::from(entry.offset) * 8;
                    let variable = Field { ty: entry.ty, bit_offset, bitfield_bits: 0 };
                    let name = match btf.name(entry.ty)? {
                        name if several.binary_search(&name).is_ok() => format!("{name}@{:#x}", entry.offset),
                        name => name.to_owned(),
                    };
                    fields.push((name, self.value(variable, depth + 1)?));
                }
                Ok(Value::Fields(fields))
            }
            _ => {
                let found = self.btf.describe(id);
                Err(self.btf.error(self.whole, format!("expected a type with values, found {found}")))
            }
        }
    }

    fn int(&self, field: Field, int: Int) -> Result<Value> {
        if int.size > 8 {
            return Ok(Value::Bytes(self.whole_bytes(field, int.size)?.to_vec()));
        }
        let (start, len) = int_bits(field, int);
        let number = self.bits(start, len)?;
        Ok(match number {
            0 | 1 if int.is_bool() => Value::Bool(number == 1),
            // None that C has: what encodes a value refuses such a number, but not the bytes.
            _ if int.is_bool() && field.bitfield_bits == 0 => {
                Value::Bytes(self.whole_bytes(field, int.size)?.to_vec())
            }
            _ if int.is_signed() => Value::Int(sign_extended(number, len)),
            _ => Value::Int(number.into()),
        })
    }

    fn enumeration(&mut self, field: Field, id: TypeId, values: &Enum) -> Result<Value> {
        let len =
            if field.bitfield_bits == 0 { u64::from(values.size) * 8 } else { field.bitfield_bits.into() };
        let bits = self.bits(field.bit_offset, len)?;
        let number = if values.has_sign() { sign_extended(bits, len) } else { bits.into() };
        match self.name_of(id, values, number) {
            Some(name) => Ok(Value::Text(self.btf.text(name)?.to_owned())),
            None => Ok(Value::Int(number)),
        }
    }

    /// The first name that the enumeration `id` has for `number`.
    fn name_of(&mut self, id: TypeId, values: &Enum, number: i128) -> Option<Name> {
        let place = *self.enums.entry(id.0.into()).or_insert(self.names.len());
        let Some(known) = self.names.get_mut(place) else {
            self.names.push(None);
            return values.numbers().find(|(_, own)| *own == number).map(|(name, _)| name);
        };
        let sorted = known.get_or_insert_with(|| {
            let mut names: Vec<_> = values.numbers().collect();
            sort_by_key(&mut names, |(_, own)| *own);
            names
        });
        let first = sorted.partition_point(|(_, own)| *own < number);
        sorted.get(first).filter(|(_, own)| *own == number).map(|(name, _)| *name)
    }

    fn float(&self, field: Field, size: u32) -> Result<Value> {
        let number: Option<f64> = match size {
            4 => {
                let bits = u32::try_from(self.bits(field.bit_offset, 32)?).unwrap_or_default();
                Some(f32::from_bits(bits).into())
            }
            8 => Some(f64::from_bits(self.bits(field.bit_offset, 64)?)),
            _ => None,
        };
        // What is no number has many patterns of bits, and a union may have another member in them.
        match number.filter(|number| !number.is_nan()) {
            Some(number) => Ok(Value::Float(number)),
            None => Ok(Value::Bytes(self.whole_bytes(field, size)?.to_vec())),
        }
    }

    fn array(&mut self, field: Field, array: Array, depth: usize) -> Result<Value> {
        let size = self.btf.size_of(array.element)?;
        if self.btf.is_char(array.element)? {
            let bytes = self.whole_bytes(field, array.len)?;
            if let Some(text) = text(bytes) {
                return Ok(Value::Text(text.to_owned()));
            }
        }
        if size == 0 {
            return Ok(Value::List(Vec::new()));
        }
        let total = u64::from(size) * u64::from(array.len);
        self.slice(field.bit_offset, total)?;
        let mut list = Vec::new();
        for index in 0..array.len {
            let bit_offset = field.bit_offset + u64::from(index) * u64::from(size) * 8;
            list.push(self.value(Field { ty: array.element, bit_offset, bitfield_bits: 0 }, depth + 1)?);
        }
        Ok(Value::List(list))
    }

    /// Adds the members by name; those of an anonymous member count as the outer one's.
    fn members(
        &mut self,
        of: Field,
        composite: &Composite,
        depth: usize,
        fields: &mut Vec<(String, Value)>,
    ) -> Result<()> {
        for member in &composite.members {
            let bit_offset = of.bit_offset + u64::from(member.bit_offset);
            let field = Field { ty: member.ty, bit_offset, bitfield_bits: member.bitfield_bits };
            if !member.name.is_anonymous() {
                let name = self.btf.text(member.name)?.to_owned();
                fields.push((name, self.value(field, depth + 1)?));
            } else if let Value::Fields(inner) = self.value(field, depth + 1)? {
                fields.extend(inner);
            }
        }
        Ok(())
    }

    fn bits(&self, start: u64, len: u64) -> Result<u64> {
        let bits = usize::try_from(start).ok().zip(usize::try_from(len).ok());
        let number = bits.and_then(|(start, len)| Bits { start, len }.read(self.bytes, self.order));
        number.ok_or_else(|| self.out_of_bytes(start, len))
    }

    /// The bytes of what has no bits of its own.
    fn whole_bytes(&self, field: Field, size: u32) -> Result<&[u8]> {
        self.slice(field.bit_offset, size.into())
    }

    fn slice(&self, bit_offset: u64, size: u64) -> Result<&[u8]> {
        let range = || {
            let start = usize::try_from(bit_offset / 8).ok().filter(|_| bit_offset % 8 == 0)?;
            let end = start.checked_add(usize::try_from(size).ok()?)?;
            self.bytes.get(start..end)
        };
        range().ok_or_else(|| self.out_of_bytes(bit_offset, size.saturating_mul(8)))
    }

    #[cold]
    fn out_of_bytes(&self, start: u64, len: u64) -> Error {
        let found = self.bytes.len();
        self.btf.error(self.whole, format!("expected {len} bits at bit {start}, found {found} bytes in all"))
    }
}

/// Where an integer is, of which the type may name but a part.
pub(super) fn int_bits(field: Field, int: Int) -> (u64, u64) {
    match field.bitfield_bits {
        0 => (field.bit_offset + u64::from(int.bit_offset), int.bits.into()),
        bits => (field.bit_offset, bits.into()),
    }
}

fn sign_extended(number: u64, len: u64) -> i128 {
    let number = i128::from(number);
    if len > 0 && number >> (len - 1) == 1 { number - (1 << len) } else { number }
}

/// The text in an array of characters; none if it is no text, or if something is behind its end. Nor is it one that
/// would be read as something else: as bytes, or as what is printed in the place of characters that do harm.
fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    let (text, rest) = bytes.split_at(end);
    let text = std::str::from_utf8(text).ok()?;
    let is_itself = !text.starts_with("hex:") && escape(text) == text;
    (rest.iter().all(|&byte| byte == 0) && is_itself).then_some(text)
}

impl Btf {
    /// Whether this is C's `char`, of which compilers say that it is a signed number.
    pub(super) fn is_char(&self, id: TypeId) -> Result<bool> {
        let ty = self.get(self.resolve(id)?)?;
        let Shape::Int(int) = &ty.shape else { return Ok(false) };
        Ok(int.size == 1 && (int.is_char() || self.is_text(ty.name, "char")))
    }
}
