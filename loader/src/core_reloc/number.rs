//! The number that a relocation asks for, once on the program's types and once on the kernel's.

use super::spec::{MAX_STEPS, Part, Path, Step};
use crate::btf::{Shape, Type, TypeId, Types};
use crate::bytes::ByteOrder;
use crate::error::{Error, ErrorKind, Result};
use crate::uapi::btf::{BTF_INT_SIGNED, CoreReloKind};

/// The answer to a relocation on one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) value: u64,
    /// Whether the compiler must have put the same number into the instruction. It chooses by itself how to load a
    /// bit-field.
    pub(super) exact: bool,
    /// The bytes that a load or store of the field or of its elements has, if any has as many, and how they are to be
    /// read.
    pub(super) field: Option<(u32, Reading)>,
}

/// How the bytes of a field are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Pointer,
    Unsigned,
    Other,
}

impl Reading {
    fn of(ty: &Type) -> Self {
        match &ty.shape {
            Shape::Ptr(_) => Self::Pointer,
            // As libbpf has it: what is more than signed, a character for instance, counts as unsigned.
            Shape::Int(int) if int.encoding != BTF_INT_SIGNED => Self::Unsigned,
            _ => Self::Other,
        }
    }
}

impl Number {
    fn exact(value: impl Into<u64>) -> Self {
        Self { value: value.into(), exact: true, field: None }
    }

    /// The answer on the side that has `part` of `root`. None where an instruction that asks must not be reached.
    pub(super) fn of(
        kind: CoreReloKind,
        btf: &dyn Types,
        order: ByteOrder,
        root: TypeId,
        part: Option<&Part<'_>>,
    ) -> Result<Option<Self>> {
        let is_there = u64::from(part.is_some());
        Ok(match (kind, part) {
            (
                CoreReloKind::FIELD_EXISTS
                | CoreReloKind::TYPE_EXISTS
                | CoreReloKind::TYPE_MATCHES
                | CoreReloKind::ENUMVAL_EXISTS,
                _,
            ) => Some(Self::exact(is_there)),
            // A type that is not there has neither number nor size, and a program can ask for that.
            (CoreReloKind::TYPE_ID_TARGET | CoreReloKind::TYPE_SIZE, None) => Some(Self::exact(0_u64)),
            (CoreReloKind::TYPE_SIZE, Some(_)) => Some(Self::exact(btf.size_of(root)?)),
            // The compiler's number of the type has gone stale where a static linker has joined objects.
            (CoreReloKind::TYPE_ID_TARGET | CoreReloKind::TYPE_ID_LOCAL, Some(_)) => {
                Some(Self { exact: false, ..Self::exact(root.0) })
            }
            (CoreReloKind::ENUMVAL_VALUE, Some(Part::Value { value, .. })) => Some(Self::exact(*value)),
            (_, Some(Part::Field(path))) => Some(Self::of_field(kind, btf, order, path)?),
            _ => None,
        })
    }

    fn of_field(kind: CoreReloKind, btf: &dyn Types, order: ByteOrder, path: &Path) -> Result<Self> {
        let (ty, bits) = match path.steps.last() {
            Some(Step::Member { of, index, .. }) => {
                let ty = btf.get(*of)?;
                let member = match &ty.shape {
                    Shape::Struct(composite) | Shape::Union(composite) => {
                        composite.members.get(*index as usize)
                    }
                    _ => None,
                };
                let member = member.ok_or_else(|| unanswerable("a member"))?;
                (member.ty, member.bitfield_bits)
            }
            Some(Step::Element { ty, .. }) => match kind {
                CoreReloKind::FIELD_BYTE_OFFSET | CoreReloKind::FIELD_BYTE_SIZE => (*ty, 0),
                _ => return Err(unanswerable("a member, not an element of an array")),
            },
            None => return Err(unanswerable("a member")),
        };
        let (_, resolved) = btf.resolve(ty)?;
        let size = btf.size_of(ty)?;
        let place = match bits {
            0 => Place::of_field(path.bit_offset, size),
            bits => Place::of_bits(path.bit_offset, bits, size)?,
        };
        let is_bitfield = bits != 0;
        let value = match kind {
            CoreReloKind::FIELD_BYTE_OFFSET => place.byte_offset,
            CoreReloKind::FIELD_BYTE_SIZE => place.bytes.into(),
            CoreReloKind::FIELD_SIGNED => return Ok(Self::exact(is_signed(&resolved))),
            CoreReloKind::FIELD_LSHIFT_U64 => place.left_shift(order),
            CoreReloKind::FIELD_RSHIFT_U64 => return Ok(Self::exact(64_u64.wrapping_sub(place.bits))),
            _ => return Err(unanswerable("a known kind of number")),
        };
        let is_offset = kind == CoreReloKind::FIELD_BYTE_OFFSET && !is_bitfield;
        let field = if is_offset { Some((access_size(btf, ty)?, Reading::of(&resolved))) } else { None };
        Ok(Self { value, exact: !is_bitfield, field })
    }
}

/// The bytes that one load or store of a field has: of an array, those of an element.
fn access_size(btf: &dyn Types, ty: TypeId) -> Result<u32> {
    let mut ty = ty;
    for _ in 0..MAX_STEPS {
        match &btf.resolve(ty)?.1.shape {
            Shape::Array(array) => ty = array.element,
            _ => break,
        }
    }
    btf.size_of(ty)
}

fn is_signed(ty: &Type) -> bool {
    match &ty.shape {
        Shape::Int(int) => int.is_signed(),
        Shape::Enum(values) | Shape::Enum64(values) => values.signed,
        _ => false,
    }
}

/// Where a load finds a field: the bytes that it loads, and the bits of them that count.
struct Place {
    byte_offset: u64,
    bytes: u32,
    bit_offset: u64,
    bits: u64,
}

impl Place {
    fn of_field(bit_offset: u64, bytes: u32) -> Self {
        Self { byte_offset: bit_offset / 8, bytes, bit_offset, bits: u64::from(bytes) * 8 }
    }

    /// The smallest aligned number that has all of a bit-field's bits, at least as wide as its type.
    fn of_bits(bit_offset: u64, bits: u8, type_size: u32) -> Result<Self> {
        let bits = u64::from(bits);
        let mut bytes = type_size;
        while (1..=8).contains(&bytes) {
            let size = u64::from(bytes);
            let byte_offset = bit_offset / 8 / size * size;
            if bit_offset + bits - byte_offset * 8 <= size * 8 {
                return Ok(Self { byte_offset, bytes, bit_offset, bits });
            }
            bytes *= 2;
        }
        Err(unanswerable("a bit-field within 8 aligned bytes"))
    }

    /// By how far the loaded number is shifted to have the field at its upper end.
    fn left_shift(&self, order: ByteOrder) -> u64 {
        let before = self.bit_offset.wrapping_sub(self.byte_offset * 8);
        match order {
            ByteOrder::Little => 64_u64.wrapping_sub(before + self.bits),
            ByteOrder::Big => (8_u64.wrapping_sub(self.bytes.into())).wrapping_mul(8).wrapping_add(before),
        }
    }
}

#[cold]
fn unanswerable(expected: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("expected {expected}"))
}
