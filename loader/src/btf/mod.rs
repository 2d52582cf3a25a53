//! BTF, the BPF Type Format: what the compiler says about the C types of a program, its maps and variables.
//!
//! ```text
//! header | types | strings
//!          type 1: name, kind, how many entries, size or target   its entries
//!          type 2: ...
//! ```
//!
//! Types refer to each other by number and may form cycles (a list's node holds a pointer to a node); they
//! refer to names by offset. [`Btf::parse`] checks once that every number leads somewhere, so that whoever
//! walks the types afterwards meets no dangling reference, only cycles, and the queries here stop at those.
//!
//! The format: `Documentation/bpf/btf.rst` and `include/uapi/linux/btf.h` in Linux 6.18.

#[cfg(test)]
pub(crate) mod builder;
mod c;
mod debug;
mod equal;
mod ext;
mod externs;
mod kernel;
mod lazy;
mod map_def;
mod parse;
mod place;
mod query;
mod reduce;
mod sieve;
mod types;
mod value;
mod view;
mod write;

pub use c::MAX_TEXT;
pub use ext::{BtfExt, CoreRelocation, FuncInfo, LineInfo, SectionInfo};
pub use kernel::KernelTypes;
pub use lazy::{LazyBtf, Memory};
pub use map_def::Variable;
pub use place::VariablePlace;
pub use reduce::BtfAddition;
pub use sieve::Sieve;
pub use types::{
    Array, Composite, DataSec, DataSecEntry, DeclTag, Enum, EnumValue, Func, FuncProto, FwdKind, Int, Member,
    Name, POINTER_SIZE, Param, Shape, Type, TypeHead, TypeId, TypeTag, Var,
};
pub use value::{Field, Value};
pub(crate) use value::{begin, first_name, several_variables};
pub use view::Types;
pub use write::BtfWriter;

use crate::bytes::ByteOrder;
use crate::error::Result;

/// The types of one object file, or of one kernel.
#[derive(Clone)]
pub struct Btf {
    /// What errors call the bytes.
    section: String,
    /// Every type at the index that is its id; `void` comes first.
    types: Vec<Type>,
    /// Where in the section each type begins, for errors; `void` is where the first type is.
    places: Vec<usize>,
    /// The string table. A string is looked at when it is asked for: the lines of source that `.BTF.ext`
    /// points to are in here too, and may be of any length and in any encoding.
    strings: Box<[u8]>,
    /// Where in the section the string table begins, for errors.
    strings_place: usize,
}

impl Btf {
    /// Reads the BTF in `data`, which errors call `section`, and whose numbers must be in `order`.
    ///
    /// An error is of kind `Malformed`, or `Unsupported` for a version, a flag or a kind of type that is
    /// newer than this reader. Time and memory are bounded by a constant times the length of `data`.
    pub fn parse(data: &[u8], order: ByteOrder, section: &str) -> Result<Self> {
        parse::parse(data, order, section)
    }
}

#[cfg(test)]
mod tests {
    use super::builder::{Builder, ORDERS, info};
    use super::*;
    use crate::uapi::btf::BtfKind;

    /// BTF with a type of each kind.
    fn every_kind(order: ByteOrder) -> Vec<u8> {
        let mut b = Builder::new(order);
        let int = b.int("int", 4, 1);
        let array = b.array(int, 64);
        let pointer = b.refer(BtfKind::PTR, "", array);
        let values = b.array(pointer, 0);
        let def = b.map_def("def", &[("max_entries", pointer), ("values", values)]);
        b.add_flagged(BtfKind::UNION, "bits", 4, &[[0, int.0, 3 << 24]]);
        b.add_flagged(BtfKind::ENUM, "e", 4, &[[0, u32::MAX]]);
        b.add(BtfKind::ENUM64, "e64", 8, &[[0, 1, 2]]);
        b.add::<0>(BtfKind::FWD, "fwd", 0, &[]);
        let mut alias = int;
        for kind in
            [BtfKind::TYPE_TAG, BtfKind::VOLATILE, BtfKind::CONST, BtfKind::RESTRICT, BtfKind::TYPEDEF]
        {
            alias = b.refer(kind, "alias", alias);
        }
        let proto = b.add(BtfKind::FUNC_PROTO, "", alias.0, &[[0, int.0], [0, 0]]);
        let func = b.raw(0, info(BtfKind::FUNC, 1), proto.0, &[]);
        b.raw(0, info(BtfKind::DECL_TAG, 0), func.0, &[u32::MAX]);
        b.add::<0>(BtfKind::FLOAT, "float", 4, &[]);
        let var = b.var("map", def, 1);
        b.add(BtfKind::DATASEC, ".maps", 16, &[[var.0, 0, 16]]);
        b.build()
    }

    /// Asks everything about every type. The answers do not matter, only that they come.
    fn ask_everything(btf: &Btf) {
        for (id, ty) in btf.types() {
            let _ = (btf.name(id), btf.resolve(id), btf.size_of(id), btf.find(ty.shape.kind(), "map"));
            let _ = (btf.declaration(id), btf.type_name(id));
            for member in btf.members(id).unwrap_or_default() {
                let _ = (btf.text(member.name), btf.uint_member(member));
                let _ = (btf.type_member(member), btf.array_member(member));
            }
        }
        let _ = btf.variables(".maps");
    }

    #[test]
    fn every_kind_is_in_the_blob_and_readable() {
        for order in ORDERS {
            let btf = Btf::parse(&every_kind(order), order, "b").unwrap();
            for kind in (1..=19).map(BtfKind) {
                assert!(btf.types().any(|(_, ty)| ty.shape.kind() == kind), "no {kind}");
            }
            ask_everything(&btf);
        }
    }

    #[test]
    fn a_truncated_blob_is_refused_at_every_length() {
        for order in ORDERS {
            let data = every_kind(order);
            for len in 0..data.len() {
                let error = Btf::parse(&data[..len], order, "b").unwrap_err();
                assert!(error.place().is_some(), "{error}");
            }
        }
    }

    #[test]
    fn a_blob_with_any_byte_changed_is_refused_or_answers() {
        for order in ORDERS {
            let mut data = every_kind(order);
            for at in 0..data.len() {
                for change in [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xff] {
                    data[at] ^= change;
                    match Btf::parse(&data, order, "b") {
                        Ok(btf) => {
                            ask_everything(&btf);
                            assert!(
                                Btf::parse(&btf.to_bytes(order).unwrap(), order, "again").unwrap() == btf
                            );
                        }
                        Err(error) => assert!(error.place().is_some(), "{error}"),
                    }
                    data[at] ^= change;
                }
            }
        }
    }
}
