//! Values to bytes.

use super::super::Btf;
use super::super::types::{Array, Enum, Int, Shape, TypeId};
use super::bits::Bits;
use super::decode::int_bits;
use super::field::invalid;
use super::{Field, Value, text};
use crate::bytes::ByteOrder;
use crate::error::{Error, Result, quote, quote_each};

impl Btf {
    /// Writes `value` as one of type `ty` into `bytes`, numbers in `order`. Fields that it does not name stay.
    ///
    /// `InvalidInput`, with the field and its type, for what is out of its range or means nothing for it.
    pub fn encode(&self, ty: TypeId, value: &Value, bytes: &mut [u8], order: ByteOrder) -> Result<()> {
        self.encode_field(Field::whole(ty), value, bytes, order)
    }

    /// Writes `value` into the part `field` of `bytes`.
    pub fn encode_field(
        &self,
        field: Field,
        value: &Value,
        bytes: &mut [u8],
        order: ByteOrder,
    ) -> Result<()> {
        Encoder { btf: self, bytes, order, path: String::new() }.value(field, value)
    }
}

struct Encoder<'b> {
    btf: &'b Btf,
    bytes: &'b mut [u8],
    order: ByteOrder,
    /// The way to the field that is written: `.a.b[3]`.
    path: String,
}

impl Encoder<'_> {
    fn value(&mut self, field: Field, value: &Value) -> Result<()> {
        // The bytes of a bit-field's type would be written over its neighbours too.
        let plain = if field.bitfield_bits == 0 { self.plain_bytes(field.ty, value)? } else { None };
        if let Some(bytes) = plain {
            return self.put(field, &bytes);
        }
        match &self.btf.get(self.btf.resolve(field.ty)?)?.shape {
            Shape::Int(int) => self.int(field, *int, value),
            Shape::Enum(values) | Shape::Enum64(values) => self.enumeration(field, values, value),
            Shape::Ptr(_) => {
                let number = self.number(field.ty, value, "a number")?;
                self.ranged(field.ty, Bits { start: start(field), len: 64 }, false, number)
            }
            Shape::Float { size } => self.float(field, *size, value),
            Shape::Array(array) => self.array(field, *array, value),
            Shape::Struct(_) | Shape::Union(_) | Shape::DataSec(_) => self.fields(field, value),
            Shape::Var(var) => self.value(Field { ty: var.ty, ..field }, value),
            _ => Err(invalid(format!("{} has no values", self.btf.a_type(field.ty)))),
        }
    }

    /// The bytes of a value that are told as such, or as an address where one fits.
    fn plain_bytes(&self, ty: TypeId, value: &Value) -> Result<Option<Vec<u8>>> {
        let bytes = match value {
            Value::Bytes(bytes) => bytes.clone(),
            Value::Text(text) => {
                if let Some(digits) = text.strip_prefix("hex:") {
                    text::bytes(digits).ok_or_else(|| self.unfit(ty, value, "pairs of hexadecimal digits"))?
                } else {
                    match text::address(text) {
                        Some(address) if self.takes_addresses(ty)? => address,
                        _ => return Ok(None),
                    }
                }
            }
            _ => return Ok(None),
        };
        let size = self.btf.size_of(ty)?;
        if u32::try_from(bytes.len()) != Ok(size) {
            let count = if bytes.len() == 1 { "1 byte".to_owned() } else { format!("{} bytes", bytes.len()) };
            return Err(invalid(format!(
                "{} has {count}, which do not fit {}",
                shown(value),
                self.target(ty)
            )));
        }
        Ok(Some(bytes))
    }

    /// Numbers take addresses, and so do arrays of them and structs, but texts do not.
    fn takes_addresses(&self, ty: TypeId) -> Result<bool> {
        Ok(match &self.btf.get(self.btf.resolve(ty)?)?.shape {
            Shape::Int(_) | Shape::Struct(_) | Shape::Union(_) => true,
            Shape::Array(array) => {
                let element = &self.btf.get(self.btf.resolve(array.element)?)?.shape;
                matches!(element, Shape::Int(_)) && !self.btf.is_char(array.element)?
            }
            _ => false,
        })
    }

    fn int(&mut self, field: Field, int: Int, value: &Value) -> Result<()> {
        if int.size > 8 {
            return Err(self.unfit(field.ty, value, "hex:BYTES"));
        }
        let number =
            self.number(field.ty, value, if int.is_bool() { "true or false" } else { "a number" })?;
        if int.is_bool() && !(0..=1).contains(&number) {
            return Err(self.out_of_range(field.ty, number, 0, 1));
        }
        let (start, len) = int_bits(field, int);
        self.ranged(field.ty, bits(start, len), int.is_signed(), number)
    }

    fn enumeration(&mut self, field: Field, values: &Enum, value: &Value) -> Result<()> {
        let named = match value {
            Value::Text(name) => values.numbers().find(|(own, _)| self.btf.is_text(*own, name)),
            _ => None,
        };
        let number = match named {
            Some((_, number)) => number,
            None => self.number(field.ty, value, &format!("{} or a number", self.value_names(values)))?,
        };
        let len =
            if field.bitfield_bits == 0 { u64::from(values.size) * 8 } else { field.bitfield_bits.into() };
        self.ranged(field.ty, bits(field.bit_offset, len), values.has_sign(), number)
    }

    /// The first names of an enumeration.
    fn value_names(&self, values: &Enum) -> String {
        const MOST: usize = 16;
        let mut names = values.values.iter().take(MOST).filter_map(|entry| self.btf.text(entry.name).ok());
        let more = if values.values.len() > MOST { ", another name" } else { "" };
        format!("{}{more}", quote_each(&mut names))
    }

    fn float(&mut self, field: Field, size: u32, value: &Value) -> Result<()> {
        let number = match value {
            Value::Float(number) => Some(*number),
            Value::Int(number) => number.to_string().parse().ok(),
            Value::Text(text) => text.parse().ok(),
            _ => None,
        };
        let number: f64 = number.ok_or_else(|| self.unfit(field.ty, value, "a number"))?;
        let bits = match size {
            // There is no other way to the nearest number of 32 bits, which may be an infinite one.
            4 => number.to_string().parse::<f32>().ok().map(|number| u64::from(number.to_bits())),
            8 => Some(number.to_bits()),
            _ => None,
        };
        let bits = bits.ok_or_else(|| self.unfit(field.ty, value, "hex:BYTES"))?;
        self.put_bits(field.ty, Bits { start: start(field), len: size as usize * 8 }, bits)
    }

    fn array(&mut self, field: Field, array: Array, value: &Value) -> Result<()> {
        match value {
            Value::List(list) => self.list(field, array, list),
            Value::Text(text) if self.btf.is_char(array.element)? => {
                if text.len() > array.len as usize {
                    return Err(invalid(format!(
                        "{} is too long for {}",
                        shown(value),
                        self.target(field.ty)
                    )));
                }
                let mut bytes = text.as_bytes().to_vec();
                bytes.resize(array.len as usize, 0);
                self.put(field, &bytes)
            }
            _ => Err(self.unfit(field.ty, value, "a list")),
        }
    }

    fn list(&mut self, field: Field, array: Array, list: &[Value]) -> Result<()> {
        let size = u64::from(self.btf.size_of(array.element)?);
        // However many elements without bytes there are, none is shown.
        if u32::try_from(list.len()) != Ok(array.len) && (size > 0 || !list.is_empty()) {
            let target = self.target(field.ty);
            return Err(invalid(format!(
                "expected {} elements for {target}, found {}",
                array.len,
                list.len()
            )));
        }
        let mut bit_offset = field.bit_offset;
        for (index, value) in list.iter().enumerate() {
            self.below(&format!("[{index}]"), |encoder| {
                encoder.value(Field { ty: array.element, bit_offset, bitfield_bits: 0 }, value)
            })?;
            bit_offset = bit_offset.saturating_add(size * 8);
        }
        Ok(())
    }

    fn fields(&mut self, field: Field, value: &Value) -> Result<()> {
        let Value::Fields(fields) = value else {
            return Err(self.unfit(field.ty, value, "fields by name"));
        };
        for (name, value) in fields {
            let member = self.btf.member_field(field, name).map_err(|error| match &*self.place() {
                "" => error,
                place => error.context(place),
            })?;
            self.below(&format!(".{name}"), |encoder| encoder.value(member, value))?;
        }
        Ok(())
    }

    fn below(&mut self, step: &str, write: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let len = self.path.len();
        self.path.push_str(step);
        let written = write(self);
        self.path.truncate(len);
        written
    }

    fn number(&self, ty: TypeId, value: &Value, expected: &str) -> Result<i128> {
        let number = match value {
            Value::Int(number) => Some(*number),
            Value::Bool(truth) => Some((*truth).into()),
            Value::Pointer(number) => Some((*number).into()),
            Value::Text(text) => text::number(text),
            _ => None,
        };
        number.ok_or_else(|| self.unfit(ty, value, expected))
    }

    /// Writes a number that must have room in these bits.
    fn ranged(&mut self, ty: TypeId, bits: Bits, signed: bool, number: i128) -> Result<()> {
        // Up to 64, as `Bits` demands.
        let len = bits.len.min(64);
        let (low, high) =
            if signed && len > 0 { (-(1 << (len - 1)), (1 << (len - 1)) - 1) } else { (0, (1 << len) - 1) };
        if !(low..=high).contains(&number) {
            return Err(self.out_of_range(ty, number, low, high));
        }
        // A negative number is written by its low bits.
        let low_bits = u64::try_from(number & i128::from(u64::MAX)).unwrap_or_default();
        self.put_bits(ty, bits, low_bits)
    }

    fn put_bits(&mut self, ty: TypeId, bits: Bits, number: u64) -> Result<()> {
        let written = bits.write(self.bytes, self.order, number);
        written.ok_or_else(|| self.out_of_bytes(ty))
    }

    fn put(&mut self, field: Field, bytes: &[u8]) -> Result<()> {
        let start = usize::try_from(field.bit_offset / 8).ok().filter(|_| field.bit_offset % 8 == 0);
        let place = start.and_then(|start| self.bytes.get_mut(start..start.checked_add(bytes.len())?));
        match place {
            Some(place) => place.copy_from_slice(bytes),
            None => return Err(self.out_of_bytes(field.ty)),
        }
        Ok(())
    }

    /// `field `a.b``, or nothing for the whole.
    fn place(&self) -> String {
        match &*self.path {
            "" => String::new(),
            path if path.starts_with('[') => format!("element {}", quote(path)),
            path => format!("field {}", quote(&path[1..])),
        }
    }

    /// What is written, as the end of an error: `field `ttl`, an unsigned char of 1 byte`.
    fn target(&self, ty: TypeId) -> String {
        match &*self.place() {
            "" => self.btf.a_type(ty),
            place => format!("{place}, {}", self.btf.a_type(ty)),
        }
    }

    #[cold]
    fn out_of_range(&self, ty: TypeId, number: i128, low: i128, high: i128) -> Error {
        invalid(format!("{number} is out of range for {}: {low} to {high}", self.target(ty)))
    }

    #[cold]
    fn unfit(&self, ty: TypeId, value: &Value, expected: &str) -> Error {
        invalid(format!("expected {expected} for {}, found {}", self.target(ty), shown(value)))
    }

    #[cold]
    fn out_of_bytes(&self, ty: TypeId) -> Error {
        invalid(format!("{} bytes have no room for {}", self.bytes.len(), self.target(ty)))
    }
}

fn bits(start: u64, len: u64) -> Bits {
    // What does not fit in a usize is not in memory.
    let [start, len] = [start, len].map(|number| usize::try_from(number).unwrap_or(usize::MAX));
    Bits { start, len }
}

fn start(field: Field) -> usize {
    bits(field.bit_offset, 0).start
}

/// A value in an error's words.
fn shown(value: &Value) -> String {
    match value {
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Pointer(number) => format!("{number:#x}"),
        Value::Text(text) => quote(text).to_string(),
        Value::Bytes(bytes) => format!("{} bytes", bytes.len()),
        Value::List(list) => format!("a list of {}", list.len()),
        Value::Fields(_) => "fields by name".to_owned(),
    }
}

impl Value {
    /// Writes a value where no type is known, only how many bytes there are: a number, an address, or `hex:BYTES`.
    pub fn write_untyped(&self, bytes: &mut [u8], order: ByteOrder) -> Result<()> {
        let count = |len: usize| if len == 1 { "1 byte".to_owned() } else { format!("{len} bytes") };
        let plain = match self {
            Self::Bytes(plain) => Some(plain.clone()),
            Self::Text(words) => words.strip_prefix("hex:").map_or_else(|| text::address(words), text::bytes),
            _ => None,
        };
        if let Some(plain) = plain {
            if plain.len() != bytes.len() {
                let [found, len] = [plain.len(), bytes.len()].map(count);
                return Err(invalid(format!("{} has {found}, which do not fit in {len}", shown(self))));
            }
            bytes.copy_from_slice(&plain);
            return Ok(());
        }
        let number = match self {
            Self::Int(number) => Some(*number),
            Self::Bool(truth) => Some((*truth).into()),
            Self::Pointer(number) => Some((*number).into()),
            Self::Text(words) => text::number(words),
            _ => None,
        };
        let len = bytes.len();
        let Some(number) = number.filter(|_| [1, 2, 4, 8].contains(&len)) else {
            let expected = if [1, 2, 4, 8].contains(&len) { "a number or hex:BYTES" } else { "hex:BYTES" };
            return Err(invalid(format!("expected {expected} for {}, found {}", count(len), shown(self))));
        };
        // Whether it has a sign nobody knows.
        let (low, high) = (-(1_i128 << (len * 8 - 1)), (1_i128 << (len * 8)) - 1);
        if !(low..=high).contains(&number) {
            return Err(invalid(format!("{number} is out of range for {}: {low} to {high}", count(len))));
        }
        let low_bits = u64::try_from(number & i128::from(u64::MAX)).unwrap_or_default();
        Bits { start: 0, len: len * 8 }.write(bytes, order, low_bits);
        Ok(())
    }
}
