//! The type model: what BTF can say about a type, as plain data.
//!
//! The layouts are those of `include/uapi/linux/btf.h` and `Documentation/bpf/btf.rst` in Linux 6.18.

use std::fmt;

use crate::uapi::btf::{BTF_INT_BOOL, BTF_INT_CHAR, BTF_INT_SIGNED, BtfKind, FuncLinkage, VarLinkage};

/// Bytes of a pointer in a BPF program, whatever the width of the machine that it runs on.
pub const POINTER_SIZE: u32 = 8;

/// The number of a type: its place in the file, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TypeId(pub u32);

impl TypeId {
    /// `void`, which takes no room in the file.
    pub const VOID: Self = Self(0);
}

impl fmt::Display for TypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A name in the string table, as the offset of its first byte; [`Btf::text`](super::Btf::text) reads it.
///
/// Many types may share one string, so that keeping the offset is what keeps a hostile file from growing. Names are
/// in the order of their offsets.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(pub(super) u32);

impl Name {
    /// No name: the empty string, which every table begins with.
    pub const NONE: Self = Self(0);

    /// Whether there is no name, as for a pointer or a nested struct.
    pub fn is_anonymous(self) -> bool {
        self == Self::NONE
    }

    /// Where its first byte is in the string table.
    pub fn offset(self) -> u32 {
        self.0
    }
}

/// One type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// The name, which only some kinds have.
    pub name: Name,
    /// What it is.
    pub shape: Shape,
}

/// What a type is: one variant for each of the 19 kinds, and `void`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Nothing, the type with id 0.
    Void,
    /// A number, a character or a truth value.
    Int(Int),
    /// A pointer to another type.
    Ptr(TypeId),
    /// An array.
    Array(Array),
    /// A struct.
    Struct(Composite),
    /// A union.
    Union(Composite),
    /// An enumeration whose values have 32 bits.
    Enum(Enum),
    /// An enumeration whose values have 64 bits.
    Enum64(Enum),
    /// A struct or union that is declared and nowhere defined.
    Fwd(FwdKind),
    /// Another name for a type.
    Typedef(TypeId),
    /// The type, volatile.
    Volatile(TypeId),
    /// The type, const.
    Const(TypeId),
    /// The pointer type, restrict.
    Restrict(TypeId),
    /// A function; its signature is another type.
    Func(Func),
    /// A signature.
    FuncProto(FuncProto),
    /// A variable.
    Var(Var),
    /// The variables of one ELF section; the type's name is the section's.
    DataSec(DataSec),
    /// A floating-point number of `size` bytes.
    Float {
        /// Bytes.
        size: u32,
    },
    /// An attribute of a declaration; the type's name is the attribute's text.
    DeclTag(DeclTag),
    /// An attribute of a type, between a pointer and its target; the type's name is the attribute's text.
    TypeTag(TypeTag),
}

/// `BTF_KIND_INT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Int {
    /// Bytes.
    pub size: u32,
    /// `BTF_INT_SIGNED`, `BTF_INT_CHAR`, `BTF_INT_BOOL`, or 0 for an unsigned number.
    pub encoding: u8,
    /// Where the value begins, in bits from the start of the type; 0 but for a bit-field of an old compiler.
    pub bit_offset: u8,
    /// Bits of the value, at most `size * 8`.
    pub bits: u8,
}

impl Int {
    /// Whether the value can be negative.
    pub fn is_signed(&self) -> bool {
        self.encoding & BTF_INT_SIGNED != 0
    }

    /// Whether the value is a character. Few compilers say so: clang 19's `char` is a signed number.
    pub fn is_char(&self) -> bool {
        self.encoding & BTF_INT_CHAR != 0
    }

    /// Whether the value is `_Bool`.
    pub fn is_bool(&self) -> bool {
        self.encoding & BTF_INT_BOOL != 0
    }
}

/// `BTF_KIND_ARRAY`: one dimension, of which a C array may have several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Array {
    /// What is repeated.
    pub element: TypeId,
    /// The integer type that C would count with; BPF has no use for it.
    pub index: TypeId,
    /// How many elements; 0 for a flexible array.
    pub len: u32,
}

/// `BTF_KIND_STRUCT` and `BTF_KIND_UNION`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composite {
    /// Bytes, with all padding.
    pub size: u32,
    /// The members in the order of the source.
    pub members: Box<[Member]>,
}

/// A member of a struct or union.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name; anonymous for a nested struct or union whose members count as the outer one's.
    pub name: Name,
    /// The type.
    pub ty: TypeId,
    /// Bits from the start of the struct.
    pub bit_offset: u32,
    /// Bits of a bit-field; 0 for an ordinary member, which has all the bits of its type.
    pub bitfield_bits: u8,
}

/// `BTF_KIND_ENUM` and `BTF_KIND_ENUM64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enum {
    /// Bytes. A compiler without `BTF_KIND_ENUM64` (clang 14) describes an enumeration of 64 bits as an
    /// `Enum` of 8 bytes, with the low halves of its values.
    pub size: u32,
    /// Whether the values are signed. Compilers older than this flag (Linux 6.0) never set it.
    pub signed: bool,
    /// The values in the order of the source.
    pub values: Box<[EnumValue]>,
}

impl Enum {
    /// Whether the values have a sign: the compiler says so, or a number of so few bytes could not have some of them
    /// without. Compilers before the flag write negative values of a packed enumeration with 32 bits.
    pub fn has_sign(&self) -> bool {
        let bits = match self.size {
            _ if self.signed => return true,
            1 => 8,
            2 => 16,
            _ => return false,
        };
        let (limit, mut beyond) = (1_i128 << (bits - 1), false);
        let fits = self.values.iter().all(|value| {
            beyond |= value.value >> bits != 0;
            (-limit..limit).contains(&low_half(value.value))
        });
        beyond && fits
    }

    /// The values by name, as numbers.
    pub fn numbers(&self) -> impl Iterator<Item = (Name, i128)> {
        let has_sign = self.has_sign();
        let number = move |value: u64| match (self.signed, has_sign) {
            (true, _) => i128::from(i64::from_ne_bytes(value.to_ne_bytes())),
            (false, true) => low_half(value),
            (false, false) => value.into(),
        };
        self.values.iter().map(move |entry| (entry.name, number(entry.value)))
    }
}

/// The low 32 bits as a number with a sign.
fn low_half(value: u64) -> i128 {
    let [.., a, b, c, d] = value.to_be_bytes();
    i32::from_be_bytes([a, b, c, d]).into()
}

/// A named value of an enumeration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnumValue {
    /// The name.
    pub name: Name,
    /// The value; in a signed enumeration it is sign-extended to 64 bits and to be read as `i64`.
    pub value: u64,
}

/// What a `BTF_KIND_FWD` stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FwdKind {
    /// `struct x;`
    Struct,
    /// `union x;`
    Union,
}

/// `BTF_KIND_FUNC`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Func {
    /// Its signature.
    pub proto: TypeId,
    /// Who may call it.
    pub linkage: FuncLinkage,
}

/// `BTF_KIND_FUNC_PROTO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FuncProto {
    /// What the function returns.
    pub result: TypeId,
    /// The parameters in order, without the `...` of a variadic function.
    pub params: Box<[Param]>,
    /// Whether `...` follows the parameters. BTF says it by a last parameter without name and type.
    pub variadic: bool,
}

/// A parameter of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Param {
    /// The name; anonymous where only a pointer's signature is known.
    pub name: Name,
    /// The type.
    pub ty: TypeId,
}

/// `BTF_KIND_VAR`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Var {
    /// The variable's type.
    pub ty: TypeId,
    /// Where it lives.
    pub linkage: VarLinkage,
}

/// `BTF_KIND_DATASEC`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataSec {
    /// Bytes of the section. Clang leaves 0 here, and whoever loads the BTF fills it in from the ELF section.
    pub size: u32,
    /// What is in the section.
    pub entries: Box<[DataSecEntry]>,
}

/// `struct btf_var_secinfo`: a variable's place in its section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataSecEntry {
    /// The variable; in a section of external functions (`.ksyms`) a function.
    pub ty: TypeId,
    /// Bytes from the start of the section. Clang leaves 0 for whatever has a symbol of its own, and a
    /// relocation of `.BTF` to fill it in: in an object file the symbol table is the better witness.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

/// `BTF_KIND_DECL_TAG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeclTag {
    /// The struct, union, function, variable or typedef that has the attribute.
    pub target: TypeId,
    /// Which of the target's members or parameters has it, counted from 0; none for the target itself.
    pub component: Option<u32>,
    /// Whether the text is any attribute of the compiler's, not the text of a `btf_decl_tag` (Linux 6.15).
    pub attribute: bool,
}

/// `BTF_KIND_TYPE_TAG`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeTag {
    /// The type that has the attribute.
    pub target: TypeId,
    /// Whether the text is any attribute of the compiler's, not the text of a `btf_type_tag` (Linux 6.15).
    pub attribute: bool,
}

impl Shape {
    /// The kernel's number for the kind.
    pub fn kind(&self) -> BtfKind {
        match self {
            Self::Void => BtfKind::UNKN,
            Self::Int(_) => BtfKind::INT,
            Self::Ptr(_) => BtfKind::PTR,
            Self::Array(_) => BtfKind::ARRAY,
            Self::Struct(_) => BtfKind::STRUCT,
            Self::Union(_) => BtfKind::UNION,
            Self::Enum(_) => BtfKind::ENUM,
            Self::Enum64(_) => BtfKind::ENUM64,
            Self::Fwd(_) => BtfKind::FWD,
            Self::Typedef(_) => BtfKind::TYPEDEF,
            Self::Volatile(_) => BtfKind::VOLATILE,
            Self::Const(_) => BtfKind::CONST,
            Self::Restrict(_) => BtfKind::RESTRICT,
            Self::Func(_) => BtfKind::FUNC,
            Self::FuncProto(_) => BtfKind::FUNC_PROTO,
            Self::Var(_) => BtfKind::VAR,
            Self::DataSec(_) => BtfKind::DATASEC,
            Self::Float { .. } => BtfKind::FLOAT,
            Self::DeclTag(_) => BtfKind::DECL_TAG,
            Self::TypeTag(_) => BtfKind::TYPE_TAG,
        }
    }

    /// The bytes of a type whose size does not depend on another type's.
    pub(super) fn size(&self) -> Option<u32> {
        match self {
            Self::Int(int) => Some(int.size),
            Self::Ptr(_) => Some(POINTER_SIZE),
            Self::Struct(composite) | Self::Union(composite) => Some(composite.size),
            Self::Enum(values) | Self::Enum64(values) => Some(values.size),
            Self::DataSec(section) => Some(section.size),
            Self::Float { size } => Some(*size),
            _ => None,
        }
    }

    /// The type behind a typedef, a qualifier or a type tag, which has the same values in memory.
    pub(super) fn alias_of(&self) -> Option<TypeId> {
        match self {
            Self::Typedef(target) | Self::Volatile(target) | Self::Const(target) | Self::Restrict(target) => {
                Some(*target)
            }
            Self::TypeTag(tag) => Some(tag.target),
            _ => None,
        }
    }
}

/// What a type says of itself before it is decoded.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeHead {
    /// Its id.
    pub id: TypeId,
    /// Its kind.
    pub kind: BtfKind,
    /// Its name.
    pub name: Name,
}
