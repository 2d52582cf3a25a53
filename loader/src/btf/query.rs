//! The questions that a loader asks of types: names, sizes, what is behind a typedef, where a name is.

use std::str;

use super::Btf;
use super::types::{DataSec, Member, Name, Shape, Type, TypeId};
use super::view::Types;
use crate::bytes::{ByteOrder, Bytes};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::order::{InOrder as _, Lookup};
use crate::uapi::btf::BtfKind;

impl Btf {
    /// How many types there are, without `void`. The last one's id is this number.
    pub fn len(&self) -> usize {
        self.types.len() - 1
    }

    /// Whether there are no types.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All types but `void`, in the order of their ids.
    pub fn types(&self) -> impl Iterator<Item = (TypeId, &Type)> {
        (0..).map(TypeId).zip(&self.types).skip(1)
    }

    /// The type with this id, which is `InvalidInput` when it came from another file.
    pub fn get(&self, id: TypeId) -> Result<&Type> {
        self.types.get(id.0 as usize).ok_or_else(|| {
            let message = format!("there is no type {id} in {}, the last is {}", self.section, self.len());
            Error::new(ErrorKind::InvalidInput, message)
        })
    }

    /// The name of a type, empty when it has none.
    pub fn name(&self, id: TypeId) -> Result<&str> {
        self.text(self.get(id)?.name).context(|| format!("type {id}"))
    }

    /// The text of a name, which is `Malformed` when it is not UTF-8 or longer than
    /// [`MAX_NAME`](crate::bytes::MAX_NAME).
    pub fn text(&self, name: Name) -> Result<&str> {
        let offset = name.0 as usize;
        // Strings are bytes: the order does not matter.
        let strings = Bytes::new(&self.strings, ByteOrder::NATIVE, &self.section);
        let text = strings.c_str(offset, "a name").and_then(|text| {
            str::from_utf8(text).map_err(|_| strings.error(offset, "expected a name in UTF-8"))
        });
        // The offset was one in the string table.
        text.map_err(|error| error.at(&self.section, (self.strings_place + offset) as u64))
    }

    /// The first type of this kind with this name. Time grows with the number of types.
    pub fn find(&self, kind: BtfKind, name: &str) -> Option<TypeId> {
        let mut types = self.types();
        types.find(|(_, ty)| ty.shape.kind() == kind && self.is_text(ty.name, name)).map(|(id, _)| id)
    }

    /// The first description of the ELF section with this name, `.maps` or `.rodata` for instance.
    pub fn data_section(&self, name: &str) -> Option<(TypeId, &DataSec)> {
        self.types().find_map(|(id, ty)| match &ty.shape {
            Shape::DataSec(data) if self.is_text(ty.name, name) => Some((id, data)),
            _ => None,
        })
    }

    /// The first description of each ELF section, by the section's name.
    pub(crate) fn data_sections(&self) -> Lookup<&str, TypeId> {
        let section = |(id, ty): (TypeId, &Type)| match ty.shape {
            Shape::DataSec(_) => Some((self.text(ty.name).ok()?, id)),
            _ => None,
        };
        let sections: Vec<_> = self.types().filter_map(section).collect();
        sections.into_iter().rev().into_lookup()
    }

    /// The functions that programs go on with when they throw (`bpf_throw()`, 6.7), by the programs' names: a program's
    /// function has the tag `exception_callback:NAME`, which the kernel looks for
    /// (`bpf_find_exception_callback_insn_off()` in `kernel/bpf/btf.c`). Of several for one function the kernel says
    /// what it does not like.
    pub(crate) fn exception_callbacks(&self) -> Lookup<&str, &str> {
        let callback = |(_, ty): (TypeId, &Type)| {
            let Shape::DeclTag(tag) = &ty.shape else { return None };
            let callback = self.text(ty.name).ok()?.strip_prefix("exception_callback:")?;
            let is_function = self.get(tag.target).is_ok_and(|target| matches!(target.shape, Shape::Func(_)));
            if !is_function || tag.component.is_some() {
                return None;
            }
            Some((self.name(tag.target).ok()?, callback))
        };
        self.types().filter_map(callback).into_lookup()
    }

    /// The type behind typedefs, qualifiers and type tags: never one of these itself.
    pub fn resolve(&self, id: TypeId) -> Result<TypeId> {
        Types::resolve(self, id).map(|(id, _)| id)
    }

    /// The bytes that a value of this type takes, as [`Types::size_of`] counts them; a pointer counts as BPF's,
    /// [`POINTER_SIZE`](super::POINTER_SIZE).
    pub fn size_of(&self, id: TypeId) -> Result<u32> {
        Types::size_of(self, id)
    }

    /// The members of the struct or union that this is, perhaps behind typedefs and qualifiers.
    pub fn members(&self, id: TypeId) -> Result<&[Member]> {
        let resolved = self.resolve(id)?;
        match &self.get(resolved)?.shape {
            Shape::Struct(composite) | Shape::Union(composite) => Ok(&composite.members),
            _ => {
                let found = self.describe(resolved);
                Err(self.error(id, format!("expected a struct or union, found {found}")))
            }
        }
    }

    /// Whether this is the text of a name, without a look at the rest of a longer one.
    pub(super) fn is_text(&self, name: Name, text: &str) -> bool {
        let tail = self.strings.get(name.0 as usize..).and_then(|tail| tail.strip_prefix(text.as_bytes()));
        tail.is_some_and(|rest| rest.first() == Some(&0))
    }

    /// A type in words for an error: `struct `flow`` or `ptr`.
    pub fn describe(&self, id: TypeId) -> String {
        Types::describe(self, id)
    }

    /// An error about the type `id`, placed where the type is in the file.
    #[cold]
    pub(crate) fn error(&self, id: TypeId, message: String) -> Error {
        let place = self.places.get(id.0 as usize).copied().unwrap_or_default();
        Error::malformed(&self.section, place as u64, message)
            .context(format!("type {id} ({})", self.describe(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::builder::{Builder, ORDERS, info};
    use super::super::view::MAX_DEPTH;
    use super::*;
    use crate::bytes::MAX_NAME;

    fn builder() -> Builder {
        Builder::new(ByteOrder::Little)
    }

    #[test]
    fn types_are_counted_and_walked_without_void() {
        let mut b = builder();
        assert!(b.parse().unwrap().is_empty());
        let int = b.int("int", 4, 0);
        let pointer = b.refer(BtfKind::PTR, "", int);
        let btf = b.parse().unwrap();
        assert_eq!(btf.len(), 2);
        assert_eq!(btf.types().map(|(id, _)| id).collect::<Vec<_>>(), [int, pointer]);
        assert_eq!(btf.get(TypeId::VOID).unwrap().shape, Shape::Void);
        let error = btf.get(TypeId(3)).unwrap_err();
        assert_eq!(error.to_string(), "there is no type 3 in section `.BTF`, the last is 2");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }

    #[test]
    fn a_name_is_found_with_its_kind_and_in_full() {
        for order in ORDERS {
            let mut b = Builder::new(order);
            let longer = b.add::<3>(BtfKind::STRUCT, "flows", 0, &[]);
            let alias = b.refer(BtfKind::TYPEDEF, "flow", longer);
            let exact = b.add::<3>(BtfKind::STRUCT, "flow", 0, &[]);
            let btf = b.parse().unwrap();
            assert_eq!(btf.find(BtfKind::STRUCT, "flow"), Some(exact));
            assert_eq!(btf.find(BtfKind::TYPEDEF, "flow"), Some(alias));
            assert_eq!(btf.find(BtfKind::STRUCT, "flo"), None);
        }
    }

    #[test]
    fn only_a_name_that_is_read_must_be_sound() {
        let mut b = builder();
        let latin1 = b.bytes_string(b"na\xefve");
        let endless = b.bytes_string(&[b'x'; MAX_NAME + 1]);
        let float = b.raw(latin1, info(BtfKind::FLOAT, 0), 4, &[]);
        let other = b.raw(endless, info(BtfKind::FLOAT, 0), 4, &[]);
        let tail = b.raw(endless + 1, info(BtfKind::FLOAT, 0), 4, &[]);
        let btf = b.parse().unwrap();
        assert_eq!(
            btf.name(float).unwrap_err().to_string(),
            "type 1: section `.BTF` at offset 0x3d: expected a name in UTF-8"
        );
        assert_eq!(
            btf.name(other).unwrap_err().to_string(),
            "type 2: section `.BTF` at offset 0x43: expected a name to end in a NUL byte within 4096 bytes, \
             found none"
        );
        assert_eq!(btf.name(tail).unwrap().len(), MAX_NAME);
        assert_eq!(btf.size_of(float).unwrap(), 4);
    }

    #[test]
    fn aliases_are_seen_through() {
        let mut b = builder();
        let int = b.int("int", 4, 0);
        let mut id = int;
        for kind in
            [BtfKind::TYPE_TAG, BtfKind::CONST, BtfKind::VOLATILE, BtfKind::RESTRICT, BtfKind::TYPEDEF]
        {
            id = b.refer(kind, "", id);
        }
        let pointer = b.refer(BtfKind::PTR, "", id);
        let btf = b.parse().unwrap();
        assert_eq!(btf.resolve(id).unwrap(), int);
        assert_eq!(btf.resolve(pointer).unwrap(), pointer);
        assert_eq!(btf.resolve(TypeId::VOID).unwrap(), TypeId::VOID);
    }

    #[test]
    fn a_cycle_of_typedefs_is_an_error_and_no_loop() {
        let mut b = builder();
        let first = b.refer(BtfKind::TYPEDEF, "a", TypeId(2));
        b.refer(BtfKind::CONST, "", first);
        let itself = b.refer(BtfKind::TYPEDEF, "c", TypeId(3));
        let btf = b.parse().unwrap();
        let text = "type 1 (typedef `a`): section `.BTF` at offset 0x18: \
                    expected at most 32 types in a row behind this one, found more or a cycle";
        assert_eq!(btf.resolve(first).unwrap_err().to_string(), text);
        assert_eq!(btf.size_of(first).unwrap_err().to_string(), text);
        assert!(btf.members(itself).is_err());
    }

    #[test]
    fn a_long_row_of_typedefs_ends_where_the_kernel_ends_it() {
        let mut b = builder();
        let mut id = b.int("int", 4, 0);
        for _ in 1..MAX_DEPTH {
            id = b.refer(BtfKind::TYPEDEF, "t", id);
        }
        let one_more = b.refer(BtfKind::TYPEDEF, "t", id);
        let btf = b.parse().unwrap();
        assert_eq!(btf.size_of(id).unwrap(), 4);
        assert!(btf.resolve(id).is_ok());
        assert!(btf.size_of(one_more).is_err());
        assert!(btf.resolve(one_more).is_err());
    }

    #[test]
    fn sizes_add_up_over_arrays_and_aliases() {
        let mut b = builder();
        let int = b.int("int", 4, 0);
        let row = b.array(int, 3);
        let rows = b.refer(BtfKind::TYPEDEF, "row", row);
        let grid = b.array(rows, 5);
        let var = b.var("grid", grid, 0);
        let empty = b.array(grid, 0);
        let pointer = b.refer(BtfKind::PTR, "", grid);
        let btf = b.parse().unwrap();
        assert_eq!((btf.size_of(grid).unwrap(), btf.size_of(var).unwrap()), (60, 60));
        assert_eq!((btf.size_of(empty).unwrap(), btf.size_of(pointer).unwrap()), (0, 8));
    }

    #[test]
    fn a_size_beyond_32_bits_is_an_error() {
        let mut b = builder();
        let int = b.int("int", 4, 0);
        let most = b.array(int, 0x3fff_ffff);
        let more = b.array(int, 0x4000_0000);
        let nested = b.array(more, 4);
        let btf = b.parse().unwrap();
        assert_eq!(btf.size_of(most).unwrap(), 0xffff_fffc);
        assert_eq!(
            btf.size_of(more).unwrap_err().to_string(),
            "type 3 (array): section `.BTF` at offset 0x40: \
             expected a size of at most 4294967295 bytes, found more"
        );
        assert!(btf.size_of(nested).is_err());
    }

    #[test]
    fn what_has_no_size_is_named() {
        let mut b = builder();
        let incomplete = b.add::<0>(BtfKind::FWD, "flow", 0, &[]);
        let array = b.array(incomplete, 2);
        let btf = b.parse().unwrap();
        assert_eq!(
            btf.size_of(array).unwrap_err().to_string(),
            "type 2 (array): section `.BTF` at offset 0x24: expected a type with a size, found fwd `flow`"
        );
        assert!(btf.size_of(TypeId::VOID).is_err());
    }

    #[test]
    fn a_struct_that_contains_itself_through_an_array_has_the_size_it_says() {
        let mut b = builder();
        let array = b.array(TypeId(2), 4);
        let node = b.add(BtfKind::STRUCT, "node", 8, &[[0, array.0, 0]]);
        let endless = b.array(TypeId(3), 1);
        let btf = b.parse().unwrap();
        assert_eq!((btf.size_of(node).unwrap(), btf.size_of(array).unwrap()), (8, 32));
        assert!(btf.size_of(endless).unwrap_err().to_string().contains("found more or a cycle"));
    }

    #[test]
    fn members_are_those_of_a_struct_or_union() {
        let mut b = builder();
        let int = b.int("int", 4, 0);
        let node = b.add(BtfKind::UNION, "u", 4, &[[0, int.0, 0]]);
        let alias = b.refer(BtfKind::TYPEDEF, "u_t", node);
        let btf = b.parse().unwrap();
        assert_eq!(btf.members(alias).unwrap().len(), 1);
        assert_eq!(
            btf.members(int).unwrap_err().to_string(),
            "type 1 (int `int`): section `.BTF` at offset 0x18: expected a struct or union, found int `int`"
        );
    }
}
