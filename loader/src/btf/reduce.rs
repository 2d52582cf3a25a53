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
            return;
        }
        _ => return,
    };
}
