//! Less for older kernels: BTF in which what they do not know is replaced by what says less, at the same ids.
//!
//! A kernel refuses all of an object's BTF for one kind of type that it does not know. What stands in for a type has
//! its size, so that the types around it stay as they are.

use std::fmt;

use super::types::{
    Composite, DataSec, DataSecEntry, DeclTag, Enum, Func, FuncProto, Int, Name, Shape, Type, TypeTag, Var,
};
use super::{Btf, BtfWriter};
use crate::bytes::ByteOrder;
use crate::uapi::btf::{FuncLinkage, VarLinkage};

/// What BTF has learnt to say since Linux 4.18. A kernel that takes one of these takes all before it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BtfAddition {
    /// Functions and signatures.
    Functions,
    /// Variables and the sections they are in.
    DataSections,
    /// That a function is global.
    GlobalFunctions,
    /// Floating-point numbers.
    Floats,
    /// Attributes of declarations.
    DeclTags,
    /// Attributes of types.
    TypeTags,
    /// Enumerations of 64 bits, and signed ones.
    Enum64,
}

impl BtfAddition {
    /// All of them, in the order in which they came.
    pub const ALL: [Self; 7] = [
        Self::Functions,
        Self::DataSections,
        Self::GlobalFunctions,
        Self::Floats,
        Self::DeclTags,
        Self::TypeTags,
        Self::Enum64,
    ];

    /// The first kernel release that takes it.
    pub fn since(self) -> &'static str {
        match self {
            Self::Functions => "5.0",
            Self::DataSections => "5.2",
            Self::GlobalFunctions => "5.6",
            Self::Floats => "5.13",
            Self::DeclTags => "5.16",
            Self::TypeTags => "5.17",
            Self::Enum64 => "6.0",
        }
    }

    /// The smallest BTF with this addition, to find out whether a kernel takes it.
    pub fn smallest(self, order: ByteOrder) -> Vec<u8> {
        let mut writer = BtfWriter::new();
        let mut add = |name: &str, shape| writer.add(name, shape).expect("a few short names fit");
        let int = add("int", Shape::Int(Int { size: 4, encoding: 0, bit_offset: 0, bits: 32 }));
        let function = |linkage, proto| Shape::Func(Func { proto, linkage });
        let proto = || FuncProto { result: int, params: Box::default(), variadic: false };
        match self {
            Self::Functions | Self::GlobalFunctions => {
                let linkage = if self == Self::Functions { FuncLinkage::STATIC } else { FuncLinkage::GLOBAL };
                let proto = add("", Shape::FuncProto(proto()));
                add("f", function(linkage, proto));
            }
            Self::DataSections => {
                let ty = add("v", Shape::Var(Var { ty: int, linkage: VarLinkage::STATIC }));
                let entries = Box::new([DataSecEntry { ty, offset: 0, size: 4 }]);
                add(".data", Shape::DataSec(DataSec { size: 4, entries }));
            }
            Self::Floats => {
                add("float", Shape::Float { size: 4 });
            }
            Self::DeclTags => {
                let ty = add("v", Shape::Var(Var { ty: int, linkage: VarLinkage::STATIC }));
                add("tag", Shape::DeclTag(DeclTag { target: ty, component: None, attribute: false }));
            }
            Self::TypeTags => {
                let tag = add("tag", Shape::TypeTag(TypeTag { target: int, attribute: false }));
                add("", Shape::Ptr(tag));
            }
            Self::Enum64 => {
                add("e", Shape::Enum64(Enum { size: 8, signed: false, values: Box::default() }));
            }
        }
        writer.to_bytes(order).expect("a few types fit")
    }

    /// The addition without which `shape` cannot be said.
    fn of(shape: &Shape) -> Option<Self> {
        match shape {
            Shape::Func(func) if func.linkage == FuncLinkage::GLOBAL => Some(Self::GlobalFunctions),
            Shape::Func(_) | Shape::FuncProto(_) => Some(Self::Functions),
            Shape::Var(_) | Shape::DataSec(_) => Some(Self::DataSections),
            Shape::Float { .. } => Some(Self::Floats),
            Shape::DeclTag(_) => Some(Self::DeclTags),
            Shape::TypeTag(_) => Some(Self::TypeTags),
            Shape::Enum64(_) => Some(Self::Enum64),
            Shape::Enum(values) if values.signed => Some(Self::Enum64),
            _ => None,
        }
    }
}

impl fmt::Display for BtfAddition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Functions => "functions in BTF",
            Self::DataSections => "variables in BTF",
            Self::GlobalFunctions => "global functions in BTF",
            Self::Floats => "floating-point numbers in BTF",
            Self::DeclTags => "attributes of declarations in BTF",
            Self::TypeTags => "attributes of types in BTF",
            Self::Enum64 => "64-bit enumerations in BTF",
        })
    }
}

impl Btf {
    /// Whether some type needs this addition.
    pub fn uses(&self, addition: BtfAddition) -> bool {
        self.types.iter().any(|ty| {
            let needed = BtfAddition::of(&ty.shape);
            needed == Some(addition)
                // A global function is a function too.
                || addition == BtfAddition::Functions && matches!(ty.shape, Shape::Func(_))
        })
    }

    /// The same without `addition` and without all that came after it.
    pub fn without(&self, addition: BtfAddition) -> Self {
        let mut reduced = self.clone();
        for ty in &mut reduced.types {
            if BtfAddition::of(&ty.shape).is_some_and(|needed| needed >= addition) {
                reduce(ty, addition);
            }
        }
        reduced
    }
}

/// Puts into the place of `ty` what a kernel before `addition` knows.
fn reduce(ty: &mut Type, addition: BtfAddition) {
    let blank = |size| Shape::Struct(Composite { size, members: Box::default() });
    ty.shape = match &mut ty.shape {
        Shape::Func(func) if addition > BtfAddition::Functions => {
            func.linkage = FuncLinkage::STATIC;
            return;
        }
        Shape::Func(func) => Shape::Typedef(func.proto),
        Shape::FuncProto(_) => Shape::Enum(Enum { size: 4, signed: false, values: Box::default() }),
        // One byte, since a number may not be longer than the variable that it stands for.
        Shape::Var(_) => Shape::Int(Int { size: 1, encoding: 0, bit_offset: 0, bits: 8 }),
        Shape::DeclTag(_) => {
            ty.name = Name(0);
            Shape::Int(Int { size: 1, encoding: 0, bit_offset: 0, bits: 8 })
        }
        Shape::DataSec(data) => {
            ty.name = Name(0);
            blank(data.size)
        }
        Shape::Float { size } => {
            ty.name = Name(0);
            blank(*size)
        }
        Shape::TypeTag(tag) => {
            ty.name = Name(0);
            Shape::Const(tag.target)
        }
        Shape::Enum64(values) => blank(values.size),
        Shape::Enum(values) => {
            values.signed = false;
            // What was sign-extended has its 32 bits again.
            values.values.iter_mut().for_each(|value| value.value &= u64::from(u32::MAX));
            return;
        }
        _ => return,
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::builder::ORDERS;
    use crate::btf::{Enum, EnumValue, TypeId};

    #[test]
    fn the_smallest_of_each_addition_has_it_and_little_else() {
        for order in ORDERS {
            for addition in BtfAddition::ALL {
                let btf = Btf::parse(&addition.smallest(order), order, "b").unwrap();
                assert!(btf.uses(addition), "{addition}");
                let newer = BtfAddition::ALL.into_iter().filter(|&other| other > addition);
                assert!(newer.into_iter().all(|newer| !btf.uses(newer)), "{addition}: {btf:?}");
            }
        }
    }

    #[test]
    fn what_is_left_is_older_and_keeps_ids_and_sizes() {
        let mut writer = BtfWriter::new();
        for addition in BtfAddition::ALL {
            let part = Btf::parse(&addition.smallest(ORDERS[0]), ORDERS[0], "b").unwrap();
            let base = u32::try_from(writer.len()).unwrap();
            for (_, ty) in part.types() {
                let name = part.text(ty.name).unwrap();
                writer.add(name, shifted(&ty.shape, base)).unwrap();
            }
        }
        let all = Btf::parse(&writer.to_bytes(ORDERS[0]).unwrap(), ORDERS[0], "b").unwrap();
        for addition in BtfAddition::ALL {
            let reduced = all.without(addition);
            assert_eq!(reduced.len(), all.len());
            for newer in BtfAddition::ALL.into_iter().filter(|&other| other >= addition) {
                assert!(!reduced.uses(newer), "{newer} after {addition}: {reduced:?}");
            }
            for older in BtfAddition::ALL.into_iter().filter(|&other| other < addition) {
                assert!(reduced.uses(older), "{older} before {addition}: {reduced:?}");
            }
            for (id, ty) in all.types() {
                let sized = matches!(ty.shape, Shape::Float { .. } | Shape::Enum64(_) | Shape::DataSec(_));
                assert!(!sized || reduced.get(id).unwrap().shape.size() == ty.shape.size(), "{id}");
            }
        }
    }

    #[test]
    fn a_negative_value_stays_in_32_bits() {
        for order in ORDERS {
            let mut writer = BtfWriter::new();
            let name = writer.name("V_NONE").unwrap();
            let values = vec![EnumValue { name, value: u64::MAX }].into();
            writer.add("verdict", Shape::Enum(Enum { size: 4, signed: true, values })).unwrap();
            let all = Btf::parse(&writer.to_bytes(order).unwrap(), order, "b").unwrap();
            let reduced = all.without(BtfAddition::ALL[0]);
            let bytes = reduced.to_bytes(order).unwrap();
            let again = Btf::parse(&bytes, order, "b").unwrap();
            let Shape::Enum(values) = &again.get(TypeId(1)).unwrap().shape else { panic!("{again:?}") };
            assert_eq!((values.signed, values.values[0].value), (false, 0xffff_ffff));
        }
    }

    /// A shape of the smallest BTFs, with `base` types before it.
    fn shifted(shape: &Shape, base: u32) -> Shape {
        let shift = |id: TypeId| TypeId(id.0 + base);
        let mut shape = shape.clone();
        match &mut shape {
            Shape::Ptr(target) => *target = shift(*target),
            Shape::Func(func) => func.proto = shift(func.proto),
            Shape::FuncProto(proto) => proto.result = shift(proto.result),
            Shape::Var(var) => var.ty = shift(var.ty),
            Shape::DeclTag(tag) => tag.target = shift(tag.target),
            Shape::TypeTag(tag) => tag.target = shift(tag.target),
            Shape::DataSec(data) => data.entries.iter_mut().for_each(|entry| entry.ty = shift(entry.ty)),
            _ => {}
        }
        shape
    }
}
