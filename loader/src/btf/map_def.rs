//! The idioms by which C source declares a map in BTF, where types stand for numbers and for other types.
//!
//! A map of the section `.maps` is a variable whose struct type is never filled with data. Its members are
//! pointers, and what they point to is the definition:
//!
//! ```text
//! __uint(max_entries, 64)   int (*max_entries)[64];    the number is the length of an array
//! __type(key, __u32)        __u32 *key;                the type is the pointer's target
//! __ulong(map_extra, 64)    enum { x = 64 } map_extra;  the number is the only value of an enumeration
//! __array(values, T)        T *values[];               the type is the target of the elements
//! ```
//!
//! So the way to a definition is [`Btf::variables`], then [`Btf::members`] of each variable's type, then by
//! the member's name one of the four queries here. The macros are those of libbpf's `bpf_helpers.h`.

use super::Btf;
use super::types::{Array, Member, Shape, TypeId};
use crate::error::{Error, ErrorKind, Result, quote};
use crate::uapi::btf::VarLinkage;

/// A variable in a section of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variable<'a> {
    /// The variable's own id.
    pub id: TypeId,
    /// The variable's name, which is also its symbol's.
    pub name: &'a str,
    /// The variable's type.
    pub ty: TypeId,
    /// Where it lives.
    pub linkage: VarLinkage,
    /// Bytes from the start of the section; see [`DataSecEntry::offset`](super::DataSecEntry::offset) for when to trust
    /// it.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
}

impl Btf {
    /// The variables of a section such as `.maps` or `.rodata`, in the order of the file.
    ///
    /// `NotFound` when BTF does not have the section, `Malformed` when anything but a variable is in it.
    pub fn variables(&self, section: &str) -> Result<Vec<Variable<'_>>> {
        let (id, data) = self.data_section(section).ok_or_else(|| {
            let message = format!("{} does not describe section {}", self.section, quote(section));
            Error::new(ErrorKind::NotFound, message)
        })?;
        let mut variables = Vec::with_capacity(data.entries.len());
        for entry in &data.entries {
            let Shape::Var(var) = &self.get(entry.ty)?.shape else {
                return Err(self.error(id, format!("expected variables, found {}", self.describe(entry.ty))));
            };
            variables.push(Variable {
                id: entry.ty,
                name: self.name(entry.ty)?,
                ty: var.ty,
                linkage: var.linkage,
                offset: entry.offset,
                size: entry.size,
            });
        }
        Ok(variables)
    }

    /// The number that `__uint(name, number)` declares.
    pub fn uint_member(&self, member: &Member) -> Result<u32> {
        let number = match self.pointee(member.ty)? {
            Some(pointee) => self.array(pointee)?,
            None => None,
        };
        number
            .map(|array| array.len)
            .ok_or_else(|| self.other_member(member, "a pointer to an array (`__uint`)"))
    }

    /// The number of up to 64 bits that `__ulong(name, number)` declares, an enumeration of one value; one that
    /// `__uint` declares will do.
    pub fn ulong_member(&self, member: &Member) -> Result<u64> {
        match &self.get(self.resolve(member.ty)?)?.shape {
            Shape::Enum(list) | Shape::Enum64(list) if list.values.len() == 1 => Ok(list.values[0].value),
            _ => self.uint_member(member).map(u64::from),
        }
    }

    /// The type that `__type(name, type)` declares, with the typedefs and qualifiers that it was given.
    pub fn type_member(&self, member: &Member) -> Result<TypeId> {
        self.pointee(member.ty)?.ok_or_else(|| self.other_member(member, "a pointer (`__type`)"))
    }

    /// The type that `__array(name, type)` declares: an inner map's definition, or a program's signature.
    pub fn array_member(&self, member: &Member) -> Result<TypeId> {
        let target = match self.array(member.ty)? {
            Some(Array { element, len: 0, .. }) => self.pointee(element)?,
            _ => None,
        };
        target.ok_or_else(|| self.other_member(member, "a flexible array of pointers (`__array`)"))
    }

    fn pointee(&self, id: TypeId) -> Result<Option<TypeId>> {
        match self.get(self.resolve(id)?)?.shape {
            Shape::Ptr(target) => Ok(Some(target)),
            _ => Ok(None),
        }
    }

    fn array(&self, id: TypeId) -> Result<Option<Array>> {
        match self.get(self.resolve(id)?)?.shape {
            Shape::Array(array) => Ok(Some(array)),
            _ => Ok(None),
        }
    }

    #[cold]
    fn other_member(&self, member: &Member, expected: &str) -> Error {
        let name = self.text(member.name).unwrap_or_default();
        let found = match self.pointee(member.ty) {
            Ok(Some(target)) => format!("a pointer to {}", self.describe(target)),
            _ => self.describe(member.ty),
        };
        let message = format!("expected {expected}, found {found}");
        self.error(member.ty, message).context(format!("member {}", quote(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::builder::{Builder, ORDERS};
    use super::*;
    use crate::bytes::ByteOrder;
    use crate::uapi::btf::BtfKind;

    /// `struct { __uint(max_entries, 64); __type(key, u32); __array(values, struct inner); }` in `.maps`.
    fn definition(order: ByteOrder) -> Btf {
        let mut b = Builder::new(order);
        let int = b.int("int", 4, 0);
        let key = b.refer(BtfKind::TYPEDEF, "u32", int);
        let number = b.array(int, 64);
        let inner = b.map_def("inner", &[]);
        let pointers = [number, key, inner].map(|target| b.refer(BtfKind::PTR, "", target));
        let values = b.array(pointers[2], 0);
        let members = [("max_entries", pointers[0]), ("key", pointers[1]), ("values", values), ("odd", int)];
        let outer = b.map_def("", &members);
        let var = b.var("flows", outer, VarLinkage::GLOBAL_ALLOCATED.0);
        b.add(BtfKind::DATASEC, ".maps", 0, &[[var.0, 16, 32]]);
        b.add(BtfKind::DATASEC, ".ksyms", 0, &[[int.0, 0, 0]]);
        b.parse().unwrap()
    }

    #[test]
    fn a_map_definition_is_read_from_its_section() {
        for btf in ORDERS.map(definition) {
            let variables = btf.variables(".maps").unwrap();
            let [flows] = variables[..] else { panic!("{variables:?}") };
            assert_eq!((flows.name, flows.offset, flows.size), ("flows", 16, 32));
            assert_eq!(flows.linkage, VarLinkage::GLOBAL_ALLOCATED);
            let [max_entries, key, values, _] = btf.members(flows.ty).unwrap() else {
                panic!("four members")
            };
            assert_eq!(btf.text(max_entries.name).unwrap(), "max_entries");
            assert_eq!(btf.uint_member(max_entries).unwrap(), 64);
            let key = btf.type_member(key).unwrap();
            assert_eq!((btf.name(key).unwrap(), btf.size_of(key).unwrap()), ("u32", 4));
            let inner = btf.array_member(values).unwrap();
            assert_eq!(btf.name(inner).unwrap(), "inner");
        }
    }

    #[test]
    fn a_member_of_another_shape_is_refused_by_name() {
        let btf = definition(ByteOrder::Little);
        let members = btf.members(btf.variables(".maps").unwrap()[0].ty).unwrap();
        assert_eq!(
            btf.uint_member(&members[1]).unwrap_err().to_string(),
            "member `key`: type 6 (ptr): section `.BTF` at offset 0x64: \
             expected a pointer to an array (`__uint`), found a pointer to typedef `u32`"
        );
        assert_eq!(
            btf.type_member(&members[3]).unwrap_err().to_string(),
            "member `odd`: type 1 (int `int`): section `.BTF` at offset 0x18: \
             expected a pointer (`__type`), found int `int`"
        );
        let error = btf.array_member(&members[0]).unwrap_err().to_string();
        assert!(
            error.ends_with("expected a flexible array of pointers (`__array`), found a pointer to array")
        );
    }

    #[test]
    fn a_section_must_be_there_and_hold_variables() {
        let btf = definition(ByteOrder::Little);
        let error = btf.variables(".data").unwrap_err();
        assert_eq!(error.to_string(), "section `.BTF` does not describe section `.data`");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = btf.variables(".ksyms").unwrap_err().to_string();
        assert!(error.ends_with("expected variables, found int `int`"), "{error}");
    }
}
