//! The writer: types to bytes, in either byte order.
//!
//! A [`BtfWriter`] is the counterpart of the reader, and apart from it: its types may refer to types that come later,
//! and only when it is asked for bytes must each reference lead somewhere. It speaks the reader's own model, so
//! that BTF from a file is changed type by type: [`BtfWriter::from_btf`] keeps every id and every string's place,
//! which the functions and lines of `.BTF.ext` point to.

use std::collections::HashMap;

use super::Btf;
use super::types::{
    Array, Composite, DataSec, DeclTag, Enum, FuncProto, FwdKind, Int, Member, Name, Param, Shape, Type,
    TypeId,
};
use crate::bytes::ByteOrder;
use crate::error::{Context, Error, ErrorKind, Result, quote};
use crate::uapi::btf::{
    BTF_HEADER_SIZE, BTF_INFO_KIND_FLAG, BTF_INFO_KIND_SHIFT, BTF_INFO_VLEN_MASK, BTF_MAGIC, BTF_VERSION,
};

/// Bits of a member's offset in a struct that has bit-fields; the others hold a bit-field's length.
const BITFIELD_OFFSET_BITS: u32 = 24;

/// BTF under construction: types in the order of their ids, and names, each kept once.
///
/// Programs are adapted to types that were written by hand, those of a machine without BTF for instance, by
/// [`Loader::target_types`](crate::Loader::target_types):
///
/// ```
/// use loader::btf::{BtfWriter, Composite, Int, KernelTypes, LazyBtf, Member, Shape};
/// use loader::bytes::ByteOrder;
/// use loader::uapi::btf::BTF_INT_SIGNED;
/// use loader::{Kernel, Loader, Object};
///
/// let mut writer = BtfWriter::new();
/// let int = Int { size: 4, encoding: BTF_INT_SIGNED, bit_offset: 0, bits: 32 };
/// let int = writer.add("int", Shape::Int(int))?;
/// // struct task_struct { ...; pid_t pid; ... }, with `pid` in byte 1328
/// let pid = Member { name: writer.name("pid")?, ty: int, bit_offset: 8 * 1328, bitfield_bits: 0 };
/// writer.add("task_struct", Shape::Struct(Composite { size: 4096, members: [pid].into() }))?;
/// let types = LazyBtf::from_bytes(writer.to_bytes(ByteOrder::Little)?, "by hand")?;
///
/// # let object = std::fs::read("tests/fixtures/clang-19/core_fields.o").unwrap();
/// let object = Object::parse(&object)?;
/// let types = KernelTypes { vmlinux: Some(types), modules: None };
/// let plan = Loader::new(&object).target_types(types).plan(&Kernel::unknown())?;
/// let mut all = plan.relocations.iter().flatten();
/// assert!(all.any(|one| one.subject.ends_with(".pid") && one.after == Some(1328)));
/// # Ok::<(), loader::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct BtfWriter {
    types: Vec<Type>,
    strings: Vec<u8>,
    /// Where each string of the table is.
    names: HashMap<Box<[u8]>, Name>,
}

impl Default for BtfWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl BtfWriter {
    /// No types yet; no name but the empty one.
    pub fn new() -> Self {
        Self { types: Vec::new(), strings: vec![0], names: HashMap::from([(Box::default(), Name::NONE)]) }
    }

    /// The types and strings of `btf`, at their ids and places.
    pub fn from_btf(btf: &Btf) -> Self {
        let mut names = HashMap::new();
        let mut start = 0;
        // No string of a table that was read begins where 32 bits do not reach.
        for text in btf.strings.split_inclusive(|&byte| byte == 0) {
            if let (Ok(offset), [text @ .., _]) = (u32::try_from(start), text) {
                names.entry(text.into()).or_insert(Name(offset));
            }
            start += text.len();
        }
        Self { types: btf.types().map(|(_, ty)| ty.clone()).collect(), strings: btf.strings.to_vec(), names }
    }

    /// The name with this text, which is added unless it is there.
    ///
    /// `InvalidInput` when the text holds a NUL byte, or no more strings fit.
    pub fn name(&mut self, text: &str) -> Result<Name> {
        if let Some(name) = self.names.get(text.as_bytes()) {
            return Ok(*name);
        }
        if text.contains('\0') {
            return Err(invalid(format!("expected a name without NUL bytes, found {}", quote(text))));
        }
        let name = Name(length(self.strings.len(), "strings")?);
        self.strings.extend(text.bytes().chain([0]));
        self.names.insert(text.as_bytes().into(), name);
        Ok(name)
    }

    /// Adds a type; its id is the next one.
    pub fn add(&mut self, name: &str, shape: Shape) -> Result<TypeId> {
        let name = self.name(name)?;
        self.types.push(Type { name, shape });
        length(self.types.len(), "types").map(TypeId)
    }

    /// How many types there are, without `void`. The last one's id is this number.
    pub fn len(&self) -> usize {
        self.types.len()
    }

    /// Whether there are no types.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    /// The type with this id, to be changed; `None` for `void` and for an id that is not given yet.
    pub fn get_mut(&mut self, id: TypeId) -> Option<&mut Type> {
        self.types.get_mut((id.0 as usize).checked_sub(1)?)
    }

    /// All types in the order of their ids, to be changed.
    pub fn types_mut(&mut self) -> impl Iterator<Item = (TypeId, &mut Type)> {
        (1..).map(TypeId).zip(&mut self.types)
    }

    /// Header, types and strings with their numbers in `order`.
    ///
    /// `InvalidInput` when a type refers to one that does not exist, or says what BTF has no room for.
    pub fn to_bytes(&self, order: ByteOrder) -> Result<Vec<u8>> {
        encode(&mut self.types.iter(), self.types.len(), &self.strings, order)
    }
}

impl Btf {
    /// Header, types and strings with their numbers in `order`; every id and every string keeps its place.
    pub fn to_bytes(&self, order: ByteOrder) -> Result<Vec<u8>> {
        encode(&mut self.types().map(|(_, ty)| ty), self.len(), &self.strings, order)
    }
}

fn encode(
    types: &mut dyn Iterator<Item = &Type>,
    count: usize,
    strings: &[u8],
    order: ByteOrder,
) -> Result<Vec<u8>> {
    let mut encoder = Encoder { order, out: vec![0; BTF_HEADER_SIZE], last_id: count, strings };
    for (id, ty) in (1_u32..).zip(types) {
        encoder.put(ty).context(|| format!("type {id} ({})", ty.shape.kind()))?;
    }
    let types_len = length(encoder.out.len() - BTF_HEADER_SIZE, "bytes of types")?;
    let strings_len = length(strings.len(), "bytes of strings")?;
    let mut out = encoder.out;
    out[..2].copy_from_slice(&order.u16_bytes(BTF_MAGIC));
    out[2] = BTF_VERSION;
    let words = [length(BTF_HEADER_SIZE, "bytes of header")?, 0, types_len, types_len, strings_len];
    for (at, word) in out[4..BTF_HEADER_SIZE].chunks_exact_mut(4).zip(words) {
        at.copy_from_slice(&order.u32_bytes(word));
    }
    out.extend(strings);
    Ok(out)
}

/// Writes types word by word.
struct Encoder<'s> {
    order: ByteOrder,
    out: Vec<u8>,
    last_id: usize,
    strings: &'s [u8],
}

impl Encoder<'_> {
    fn put(&mut self, ty: &Type) -> Result<()> {
        match &ty.shape {
            Shape::Void => Err(invalid("expected a type that is written, found `void`, which is type 0")),
            Shape::Int(int) => self.int(ty, *int),
            Shape::Array(array) => self.array(ty, array),
            Shape::Struct(composite) | Shape::Union(composite) => self.composite(ty, composite),
            Shape::Enum(values) => self.enum32(ty, values),
            Shape::Enum64(values) => self.enum64(ty, values),
            Shape::Fwd(kind) => self.head(ty, 0, *kind == FwdKind::Union, 0),
            Shape::Ptr(id)
            | Shape::Typedef(id)
            | Shape::Volatile(id)
            | Shape::Const(id)
            | Shape::Restrict(id) => self.reference(ty, 0, false, *id),
            Shape::TypeTag(tag) => self.reference(ty, 0, tag.attribute, tag.target),
            Shape::Func(func) => self.reference(ty, func.linkage.0 as usize, false, func.proto),
            Shape::FuncProto(proto) => self.func_proto(ty, proto),
            Shape::Var(var) => {
                self.reference(ty, 0, false, var.ty)?;
                self.word(var.linkage.0);
                Ok(())
            }
            Shape::DataSec(section) => self.data_sec(ty, section),
            Shape::Float { size } => self.head(ty, 0, false, *size),
            Shape::DeclTag(tag) => self.decl_tag(ty, tag),
        }
    }

    /// `struct btf_type`, with which every type begins. `vlen` counts entries, or is a function's linkage.
    fn head(&mut self, ty: &Type, vlen: usize, flag: bool, size_or_type: u32) -> Result<()> {
        let vlen = length(vlen, "entries")?;
        if vlen > BTF_INFO_VLEN_MASK {
            return Err(invalid(format!("expected at most {BTF_INFO_VLEN_MASK} entries, found {vlen}")));
        }
        let flag = if flag { BTF_INFO_KIND_FLAG } else { 0 };
        self.name(ty.name)?;
        self.word(ty.shape.kind().0 << BTF_INFO_KIND_SHIFT | flag | vlen);
        self.word(size_or_type);
        Ok(())
    }

    fn reference(&mut self, ty: &Type, vlen: usize, flag: bool, target: TypeId) -> Result<()> {
        self.check(target)?;
        self.head(ty, vlen, flag, target.0)
    }

    fn int(&mut self, ty: &Type, int: Int) -> Result<()> {
        if int.encoding > 0x0f || u64::from(int.bit_offset) + u64::from(int.bits) > u64::from(int.size) * 8 {
            return Err(invalid(format!(
                "expected an encoding of 4 bits and at most {} bytes, found encoding {:#x} and {} bits at bit {}",
                int.size, int.encoding, int.bits, int.bit_offset
            )));
        }
        self.head(ty, 0, false, int.size)?;
        self.word(u32::from_be_bytes([int.encoding, int.bit_offset, 0, int.bits]));
        Ok(())
    }

    fn array(&mut self, ty: &Type, array: &Array) -> Result<()> {
        self.head(ty, 0, false, 0)?;
        self.id(array.element)?;
        self.id(array.index)?;
        self.word(array.len);
        Ok(())
    }

    /// A struct with a bit-field gives up the high byte of all its members' offsets for the bit-fields' lengths.
    fn composite(&mut self, ty: &Type, composite: &Composite) -> Result<()> {
        let has_bitfields = composite.members.iter().any(|member| member.bitfield_bits != 0);
        self.head(ty, composite.members.len(), has_bitfields, composite.size)?;
        composite.members.iter().try_for_each(|member| self.member(member, has_bitfields, composite.size))
    }

    fn member(&mut self, member: &Member, has_bitfields: bool, size: u32) -> Result<()> {
        let Member { bit_offset, bitfield_bits, .. } = *member;
        if u64::from(bit_offset) + u64::from(bitfield_bits) > u64::from(size) * 8 {
            return Err(invalid(format!(
                "expected the member within {size} bytes, found {bitfield_bits} bits at bit {bit_offset}"
            )));
        }
        if has_bitfields && bit_offset >> BITFIELD_OFFSET_BITS != 0 {
            return Err(invalid(format!(
                "expected members within {BITFIELD_OFFSET_BITS} bits of offset beside a bit-field, \
                 found bit {bit_offset}"
            )));
        }
        self.name(member.name)?;
        self.id(member.ty)?;
        self.word(u32::from(bitfield_bits) << BITFIELD_OFFSET_BITS | bit_offset);
        Ok(())
    }

    fn enum32(&mut self, ty: &Type, values: &Enum) -> Result<()> {
        self.head(ty, values.values.len(), values.signed, values.size)?;
        values.values.iter().try_for_each(|entry| {
            let [high, low] = halves(entry.value);
            let expected_high = if values.signed && low >> 31 == 1 { u32::MAX } else { 0 };
            if high != expected_high {
                return Err(invalid(format!("expected a value of 32 bits, found {:#x}", entry.value)));
            }
            self.name(entry.name)?;
            self.word(low);
            Ok(())
        })
    }

    /// The low half comes first in both byte orders.
    fn enum64(&mut self, ty: &Type, values: &Enum) -> Result<()> {
        self.head(ty, values.values.len(), values.signed, values.size)?;
        values.values.iter().try_for_each(|entry| {
            let [high, low] = halves(entry.value);
            self.name(entry.name)?;
            self.word(low);
            self.word(high);
            Ok(())
        })
    }

    fn func_proto(&mut self, ty: &Type, proto: &FuncProto) -> Result<()> {
        const ELLIPSIS: Param = Param { name: Name::NONE, ty: TypeId::VOID };
        if !proto.variadic && proto.params.last() == Some(&ELLIPSIS) {
            return Err(invalid("expected a last parameter with a type, found one that would read as `...`"));
        }
        let ellipsis = proto.variadic.then_some(&ELLIPSIS);
        self.reference(ty, proto.params.len() + ellipsis.iter().len(), false, proto.result)?;
        proto.params.iter().chain(ellipsis).try_for_each(|param| {
            self.name(param.name)?;
            self.id(param.ty)
        })
    }

    fn data_sec(&mut self, ty: &Type, section: &DataSec) -> Result<()> {
        self.head(ty, section.entries.len(), false, section.size)?;
        section.entries.iter().try_for_each(|entry| {
            self.id(entry.ty)?;
            self.word(entry.offset);
            self.word(entry.size);
            Ok(())
        })
    }

    fn decl_tag(&mut self, ty: &Type, tag: &DeclTag) -> Result<()> {
        if tag.component == Some(u32::MAX) {
            return Err(invalid("expected a component below 4294967295, which stands for none"));
        }
        self.reference(ty, 0, tag.attribute, tag.target)?;
        self.word(tag.component.unwrap_or(u32::MAX));
        Ok(())
    }

    fn word(&mut self, word: u32) {
        self.out.extend_from_slice(&self.order.u32_bytes(word));
    }

    fn id(&mut self, id: TypeId) -> Result<()> {
        self.check(id)?;
        self.word(id.0);
        Ok(())
    }

    fn check(&self, id: TypeId) -> Result<()> {
        if id.0 as usize > self.last_id {
            return Err(invalid(format!("expected one of {} types, found type {id}", self.last_id)));
        }
        Ok(())
    }

    fn name(&mut self, name: Name) -> Result<()> {
        if name.0 as usize >= self.strings.len() {
            let len = self.strings.len();
            return Err(invalid(format!(
                "expected a name within {len} bytes of strings, found {:#x}",
                name.0
            )));
        }
        self.word(name.0);
        Ok(())
    }
}

/// The high and the low half of a number.
fn halves(value: u64) -> [u32; 2] {
    let [high @ .., _, _, _, _] = value.to_be_bytes();
    let [_, _, _, _, low @ ..] = value.to_be_bytes();
    [high, low].map(u32::from_be_bytes)
}

/// A number that must fit in BTF's 32 bits.
fn length(len: usize, what: &str) -> Result<u32> {
    u32::try_from(len).map_err(|_| invalid(format!("expected at most {} {what}, found {len}", u32::MAX)))
}

#[cold]
fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::super::builder::ORDERS;
    use super::super::types::{DataSecEntry, EnumValue, Func, TypeTag, Var};
    use super::*;
    use crate::uapi::btf::{BTF_INT_SIGNED, FuncLinkage, VarLinkage};

    const INT: TypeId = TypeId(1);

    /// A writer whose type 1 is an `int`.
    fn writer() -> BtfWriter {
        let mut writer = BtfWriter::new();
        let int = Int { size: 4, encoding: BTF_INT_SIGNED, bit_offset: 0, bits: 32 };
        writer.add("int", Shape::Int(int)).unwrap();
        writer
    }

    /// A writer with a type of each kind, and what can be said about it.
    fn every_kind() -> BtfWriter {
        let mut w = writer();
        let member = |name, ty, bit_offset, bitfield_bits| Member { name, ty, bit_offset, bitfield_bits };
        let (a, b) = (w.name("a").unwrap(), w.name("b").unwrap());
        let plain = Composite { size: 1 << 24, members: [member(a, INT, 1 << 26, 0)].into() };
        let bits = Composite { size: 8, members: [member(a, INT, 0, 0), member(b, INT, 35, 3)].into() };
        let negative =
            Enum { size: 4, signed: true, values: [EnumValue { name: a, value: u64::MAX }].into() };
        let big =
            Enum { size: 8, signed: false, values: [EnumValue { name: b, value: 0x1234_5678_9abc }].into() };
        let params = Box::from([Param { name: a, ty: INT }]);
        let proto = FuncProto { result: TypeId::VOID, params, variadic: true };
        let entries = Box::from([DataSecEntry { ty: TypeId(16), offset: 8, size: 4 }]);
        for (name, shape) in [
            ("plain", Shape::Struct(plain)),
            ("bits", Shape::Union(bits)),
            ("negative", Shape::Enum(negative)),
            ("big", Shape::Enum64(big)),
            ("", Shape::Ptr(TypeId(20))),
            ("", Shape::Array(Array { element: INT, index: INT, len: 7 })),
            ("later", Shape::Fwd(FwdKind::Union)),
            ("alias", Shape::Typedef(INT)),
            ("", Shape::Volatile(INT)),
            ("", Shape::Const(INT)),
            ("", Shape::Restrict(INT)),
            ("", Shape::FuncProto(proto)),
            ("call", Shape::Func(Func { proto: TypeId(13), linkage: FuncLinkage::EXTERN })),
            ("double", Shape::Float { size: 8 }),
            ("a", Shape::Var(Var { ty: INT, linkage: VarLinkage::GLOBAL_EXTERN })),
            (".data", Shape::DataSec(DataSec { size: 16, entries })),
            ("tag", Shape::DeclTag(DeclTag { target: TypeId(2), component: Some(0), attribute: true })),
            ("tag", Shape::DeclTag(DeclTag { target: TypeId(2), component: None, attribute: false })),
            ("user", Shape::TypeTag(TypeTag { target: INT, attribute: true })),
        ] {
            w.add(name, shape).unwrap();
        }
        w
    }

    #[test]
    fn what_is_written_is_read_back_in_both_byte_orders() {
        let written = every_kind();
        for order in ORDERS {
            let btf = Btf::parse(&written.to_bytes(order).unwrap(), order, "b").unwrap();
            assert!(btf.types().map(|(_, ty)| ty).eq(&written.types), "{btf:?}");
            let again = Btf::parse(&btf.to_bytes(order).unwrap(), order, "again").unwrap();
            assert_eq!(btf, again);
            let anew = Btf::parse(&BtfWriter::from_btf(&btf).to_bytes(order).unwrap(), order, "b").unwrap();
            assert_eq!((&anew, &anew.strings), (&btf, &btf.strings));
        }
    }

    #[test]
    fn a_name_is_kept_once() {
        let mut w = writer();
        let (first, second) = (w.name("node").unwrap(), w.name("int").unwrap());
        assert_eq!(w.name("node").unwrap(), first);
        assert_eq!((second, w.name("").unwrap()), (Name(1), Name::NONE));
        let btf = Btf::parse(&w.to_bytes(ByteOrder::Big).unwrap(), ByteOrder::Big, "b").unwrap();
        let mut w = BtfWriter::from_btf(&btf);
        assert_eq!((w.name("node").unwrap(), w.name("int").unwrap()), (first, second));
        assert_eq!(w.name("more").unwrap(), Name(10));
    }

    #[test]
    fn a_type_from_a_file_can_be_changed_in_place() {
        let mut w = BtfWriter::from_btf(&{
            let data = every_kind().to_bytes(ByteOrder::Little).unwrap();
            Btf::parse(&data, ByteOrder::Little, "b").unwrap()
        });
        let name = w.name("renamed").unwrap();
        w.get_mut(INT).unwrap().name = name;
        assert!(w.get_mut(TypeId::VOID).is_none() && w.get_mut(TypeId(21)).is_none());
        assert_eq!(w.types_mut().last().map(|(id, _)| id), Some(TypeId(20)));
        let btf = Btf::parse(&w.to_bytes(ByteOrder::Big).unwrap(), ByteOrder::Big, "b").unwrap();
        assert_eq!(btf.name(INT).unwrap(), "renamed");
    }

    #[test]
    fn equality_looks_at_names_and_not_at_their_places() {
        let read = |names: &[&str]| {
            let mut w = BtfWriter::new();
            for name in &names[1..] {
                w.name(name).unwrap();
            }
            w.add(names[0], Shape::Float { size: 8 }).unwrap();
            Btf::parse(&w.to_bytes(ByteOrder::Little).unwrap(), ByteOrder::Little, names[0]).unwrap()
        };
        assert_eq!(read(&["double"]), read(&["double", "a line of source"]));
        assert_ne!(read(&["double"]), read(&["float"]));
        assert_ne!(read(&["double"]), read(&["doubles"]));
        let more = BtfWriter::from_btf(&read(&["double"]));
        let more = [more.clone(), more].map(|mut w| {
            w.add("", Shape::Ptr(TypeId::VOID)).unwrap();
            Btf::parse(&w.to_bytes(ByteOrder::Little).unwrap(), ByteOrder::Little, "b").unwrap()
        });
        assert_eq!(more[0], more[1]);
        assert_ne!(more[0], read(&["double"]));
    }

    /// The refusal of a type called `t` behind an `int`.
    fn refusal(shape: Shape) -> String {
        let mut w = writer();
        w.add("t", shape).unwrap();
        let error = w.to_bytes(ByteOrder::Little).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.to_string()
    }

    #[test]
    fn a_reference_that_leads_nowhere_is_refused() {
        assert_eq!(refusal(Shape::Ptr(TypeId(3))), "type 2 (ptr): expected one of 2 types, found type 3");
        assert_eq!(
            refusal(Shape::Void),
            "type 2 (void): expected a type that is written, found `void`, which is type 0"
        );
        let value = EnumValue { name: Name(99), value: 0 };
        assert_eq!(
            refusal(Shape::Enum(Enum { size: 4, signed: false, values: [value].into() })),
            "type 2 (enum): expected a name within 7 bytes of strings, found 0x63"
        );
        assert_eq!(
            writer().name("a\0b").unwrap_err().to_string(),
            "expected a name without NUL bytes, found `a\\u{0}b`"
        );
    }

    #[test]
    fn what_btf_has_no_room_for_is_refused() {
        let value = |signed, value| {
            let value = EnumValue { name: Name::NONE, value };
            Shape::Enum(Enum { size: 8, signed, values: [value].into() })
        };
        assert_eq!(
            refusal(value(false, 1 << 32)),
            "type 2 (enum): expected a value of 32 bits, found 0x100000000"
        );
        assert_eq!(
            refusal(value(true, 1 << 31)),
            "type 2 (enum): expected a value of 32 bits, found 0x80000000"
        );
        let member =
            |bit_offset, bitfield_bits| Member { name: Name::NONE, ty: INT, bit_offset, bitfield_bits };
        let members =
            |members: &[Member]| Shape::Struct(Composite { size: 1 << 22, members: members.into() });
        assert_eq!(
            refusal(members(&[member(0, 1), member(1 << 24, 0)])),
            "type 2 (struct): expected members within 24 bits of offset beside a bit-field, found bit 16777216"
        );
        assert_eq!(
            refusal(members(&[member(1 << 25, 1)])),
            "type 2 (struct): expected the member within 4194304 bytes, found 1 bits at bit 33554432"
        );
        assert_eq!(
            refusal(Shape::Int(Int { size: 4, encoding: 16, bit_offset: 1, bits: 32 })),
            "type 2 (int): expected an encoding of 4 bits and at most 4 bytes, \
             found encoding 0x10 and 32 bits at bit 1"
        );
        assert_eq!(
            refusal(Shape::Func(Func { proto: INT, linkage: FuncLinkage(1 << 24) })),
            "type 2 (func): expected at most 16777215 entries, found 16777216"
        );
        let params = Box::from([Param { name: Name::NONE, ty: TypeId::VOID }]);
        assert_eq!(
            refusal(Shape::FuncProto(FuncProto { result: INT, params, variadic: false })),
            "type 2 (func_proto): expected a last parameter with a type, found one that would read as `...`"
        );
        assert_eq!(
            refusal(Shape::DeclTag(DeclTag { target: INT, component: Some(u32::MAX), attribute: false })),
            "type 2 (decl_tag): expected a component below 4294967295, which stands for none"
        );
    }
}
