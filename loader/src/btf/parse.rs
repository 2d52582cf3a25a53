//! The decoding: bytes to types, every length, number and reference checked.
//!
//! Two walks over the types. The first only measures them, so that the second knows how many there are and
//! can refuse a reference to a type that does not exist at the very place where it stands.

use std::ops::Range;

use super::Btf;
use super::types::{
    Array, Composite, DataSec, DataSecEntry, DeclTag, Enum, EnumValue, Func, FuncProto, FwdKind, Int, Member,
    Name, Param, Shape, Type, TypeId, TypeTag, Var,
};
use crate::bytes::{ByteOrder, Bytes};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::uapi::btf::{
    BTF_ARRAY_SIZE, BTF_DECL_TAG_SIZE, BTF_ENUM_SIZE, BTF_ENUM64_SIZE, BTF_HEADER_SIZE, BTF_INFO_KIND_FLAG,
    BTF_INFO_KIND_MASK, BTF_INFO_KIND_SHIFT, BTF_INFO_VLEN_MASK, BTF_INT_SIZE, BTF_MAGIC, BTF_MEMBER_SIZE,
    BTF_PARAM_SIZE, BTF_TYPE_SIZE, BTF_VAR_SECINFO_SIZE, BTF_VAR_SIZE, BTF_VERSION, BtfKind, FuncLinkage,
    VarLinkage,
};

/// See [`Btf::parse`].
pub(super) fn parse(data: &[u8], order: ByteOrder, section: &str) -> Result<Btf> {
    let bytes = Bytes::new(data, order, &section);
    let header = Header::read(bytes)?;
    let strings = &data[header.strings.clone()];
    check_string_table(bytes, &header.strings)?;
    // What is left of the section up to the end of the types: no read of a type can stray into the strings.
    let bytes = Bytes::new(&data[..header.types.end], order, &section);
    let places = measure(bytes, header.types.start)?;
    let mut types = Vec::with_capacity(places.len());
    types.push(Type { name: Name(0), shape: Shape::Void });
    for (id, &at) in places.iter().enumerate().skip(1) {
        let mut reader = TypeReader { bytes, at, type_count: places.len(), strings_len: strings.len() };
        types.push(reader.read().context(|| format!("type {id}"))?);
    }
    Ok(Btf {
        section: section.to_owned(),
        types,
        places,
        strings: strings.into(),
        strings_place: header.strings.start,
    })
}

/// `struct btf_header`: where the two tables are, in bytes of the section.
pub(super) struct Header {
    pub(super) types: Range<usize>,
    pub(super) strings: Range<usize>,
}

impl Header {
    pub(super) fn read(bytes: Bytes<'_>) -> Result<Self> {
        bytes.slice(0, BTF_HEADER_SIZE, "the BTF header")?;
        let header_len = check_header(bytes, BTF_HEADER_SIZE)?;
        let types = table(bytes, header_len, 8, "the types")?;
        let strings = table(bytes, header_len, 16, "the strings")?;
        if strings.start < types.end {
            let message = format!(
                "expected the strings after the types, which end at {:#x}, found them at {:#x}",
                types.end, strings.start
            );
            return Err(bytes.error(16, message));
        }
        Ok(Self { types, strings })
    }
}

/// Checks what the headers of `.BTF` and `.BTF.ext` have in common, and gives the header's length, which is `least`
/// bytes or more.
pub(super) fn check_header(bytes: Bytes<'_>, least: usize) -> Result<usize> {
    check_magic(bytes)?;
    check_version(bytes)?;
    let len = bytes.u32(4, "the header's length")? as usize;
    if len < least || len > bytes.len() {
        let message =
            format!("expected a header of {least} to {} bytes, found a length of {len}", bytes.len());
        return Err(bytes.error(4, message));
    }
    Ok(len)
}

/// The magic number tells the byte order; it must be that of the file that the section is in.
fn check_magic(bytes: Bytes<'_>) -> Result<()> {
    let magic = bytes.u16(0, "the magic number")?;
    if magic == BTF_MAGIC {
        return Ok(());
    }
    let message = if magic.swap_bytes() == BTF_MAGIC {
        let (expected, found) = match bytes.order() {
            ByteOrder::Little => ("little", "big"),
            ByteOrder::Big => ("big", "little"),
        };
        format!("expected {expected}-endian BTF, found {found}-endian")
    } else {
        format!("expected the magic number {BTF_MAGIC:#x}, found {magic:#x}")
    };
    Err(bytes.error(0, message))
}

fn check_version(bytes: Bytes<'_>) -> Result<()> {
    let version = bytes.u8(2, "the version")?;
    if version != BTF_VERSION {
        return Err(unsupported(bytes, 2, format!("expected version {BTF_VERSION}, found {version}")));
    }
    let flags = bytes.u8(3, "the flags")?;
    if flags != 0 {
        return Err(unsupported(bytes, 3, format!("expected no flags, found {flags:#x}")));
    }
    Ok(())
}

/// The table whose offset, relative to the end of the header, and length are at `at`.
pub(super) fn table(bytes: Bytes<'_>, header_len: usize, at: usize, what: &str) -> Result<Range<usize>> {
    let offset = bytes.u32(at, "a table's offset")? as usize;
    let len = bytes.u32(at + 4, "a table's length")? as usize;
    let start = header_len.checked_add(offset);
    let end = start.and_then(|start| start.checked_add(len));
    match (start, end) {
        (Some(start), Some(end)) if end <= bytes.len() => Ok(start..end),
        _ => {
            let message = format!(
                "expected {what} within {} bytes, found {len} bytes at {offset:#x} after the header",
                bytes.len()
            );
            Err(bytes.error(at, message))
        }
    }
}

/// The table begins with the empty name, and its last string ends: so each offset in it is a string's.
pub(super) fn check_string_table(bytes: Bytes<'_>, range: &Range<usize>) -> Result<()> {
    let strings = &bytes.data()[range.clone()];
    if strings.first() != Some(&0) {
        return Err(bytes.error(range.start, "expected the strings to begin with a NUL byte"));
    }
    if strings.last() != Some(&0) {
        return Err(bytes.error(range.end - 1, "expected the strings to end with a NUL byte"));
    }
    Ok(())
}

/// Where each type begins, by id; `void`, which is not in the file, gets the place of the first.
fn measure(bytes: Bytes<'_>, start: usize) -> Result<Vec<usize>> {
    let mut places = vec![start];
    let mut at = start;
    while at < bytes.len() {
        let head = Head::read(bytes, at).context(|| format!("type {}", places.len()))?;
        places.push(at);
        at += head.len;
    }
    Ok(places)
}

/// What follows `struct btf_type` by kind, in bytes: once, and for each entry. A table and not a `match`, because a
/// kernel's kinds come in no order that a processor could foresee, and there are 150,000 of them; with a place for each
/// number that fits where the kind stands.
const TAILS: [[usize; 2]; BTF_INFO_KIND_MASK as usize + 1] = {
    let mut tails = [NO_KIND; BTF_INFO_KIND_MASK as usize + 1];
    let mut kind = BtfKind::INT.0;
    while kind <= BtfKind::ENUM64.0 {
        tails[kind as usize] = match BtfKind(kind) {
            BtfKind::INT => [BTF_INT_SIZE, 0],
            BtfKind::ARRAY => [BTF_ARRAY_SIZE, 0],
            BtfKind::STRUCT | BtfKind::UNION => [0, BTF_MEMBER_SIZE],
            BtfKind::ENUM => [0, BTF_ENUM_SIZE],
            BtfKind::ENUM64 => [0, BTF_ENUM64_SIZE],
            BtfKind::FUNC_PROTO => [0, BTF_PARAM_SIZE],
            BtfKind::VAR => [BTF_VAR_SIZE, 0],
            BtfKind::DATASEC => [0, BTF_VAR_SECINFO_SIZE],
            BtfKind::DECL_TAG => [BTF_DECL_TAG_SIZE, 0],
            _ => [0, 0],
        };
        kind += 1;
    }
    tails
};

/// The entry in [`TAILS`] of what is no kind: more than there ever is.
const NO_KIND: [usize; 2] = [usize::MAX / 2, 0];

/// What a type begins with. It and its entries are all there.
pub(super) struct Head {
    pub(super) name: Name,
    pub(super) info: Info,
    /// Its bytes, with its entries.
    pub(super) len: usize,
}

impl Head {
    /// The head of the type at `at`.
    pub(super) fn read(bytes: Bytes<'_>, at: usize) -> Result<Self> {
        let rest = bytes.data().get(at..).unwrap_or_default();
        let (head, _) = peek(rest, bytes.order()).ok_or_else(|| cut_short(bytes, at))?;
        Ok(head)
    }
}

/// [`Head::read`] of the type that `rest` begins with, and what comes after that type, for a walk over all types of a
/// kernel, which does nothing else; what is `None`, [`cut_short`] explains.
#[expect(clippy::inline_always, reason = "it is the body of loops that run 150,000 times")]
#[inline(always)]
pub(super) fn peek(rest: &[u8], order: ByteOrder) -> Option<(Head, &[u8])> {
    let &[n0, n1, n2, n3, i0, i1, i2, i3] = rest.first_chunk()?;
    let info = Info::new(order.u32([i0, i1, i2, i3]));
    let [once, each] = TAILS[info.kind.0 as usize];
    let len = BTF_TYPE_SIZE + once + info.vlen as usize * each;
    let name = Name(order.u32([n0, n1, n2, n3]));
    Some((Head { name, info, len }, rest.get(len..)?))
}

/// Why there is no whole type at `at`.
#[cold]
pub(super) fn cut_short(bytes: Bytes<'_>, at: usize) -> Error {
    let head = bytes.slice(at, BTF_TYPE_SIZE, "a type").and_then(|_| bytes.u32(at + 4, "the kind"));
    let info = match head {
        Ok(info) => Info::new(info),
        Err(error) => return error,
    };
    let [once, each] = TAILS[info.kind.0 as usize];
    if [once, each] == NO_KIND {
        return unknown_kind(bytes, at + 4, info.kind);
    }
    let (tail, left) = (once + info.vlen as usize * each, bytes.len() - at - BTF_TYPE_SIZE);
    bytes.error(
        at,
        format!("expected {tail} bytes after this {} with {} entries, found {left}", info.kind, info.vlen),
    )
}

/// `btf_type.info`, taken apart.
pub(super) struct Info {
    pub(super) kind: BtfKind,
    pub(super) vlen: u32,
    pub(super) flag: bool,
}

impl Info {
    pub(super) fn new(info: u32) -> Self {
        Self {
            kind: BtfKind(info >> BTF_INFO_KIND_SHIFT & BTF_INFO_KIND_MASK),
            vlen: info & BTF_INFO_VLEN_MASK,
            flag: info & BTF_INFO_KIND_FLAG != 0,
        }
    }
}

/// Reads one type, number by number.
pub(super) struct TypeReader<'a> {
    pub(super) bytes: Bytes<'a>,
    /// The next number's place in the section.
    pub(super) at: usize,
    /// How many types there are, `void` among them: ids are below this.
    pub(super) type_count: usize,
    pub(super) strings_len: usize,
}

impl TypeReader<'_> {
    pub(super) fn read(&mut self) -> Result<Type> {
        let name = self.name()?;
        let info = Info::new(self.u32("the kind")?);
        let shape = self.shape(&info)?;
        Ok(Type { name, shape })
    }

    fn shape(&mut self, info: &Info) -> Result<Shape> {
        Ok(match info.kind {
            BtfKind::INT => Shape::Int(self.int()?),
            BtfKind::PTR => Shape::Ptr(self.target()?),
            BtfKind::ARRAY => Shape::Array(self.array()?),
            BtfKind::STRUCT => Shape::Struct(self.composite(info)?),
            BtfKind::UNION => Shape::Union(self.composite(info)?),
            BtfKind::ENUM => Shape::Enum(self.enumeration(info, |entry| value32(entry, info.flag))?),
            BtfKind::ENUM64 => Shape::Enum64(self.enumeration(info, value64)?),
            BtfKind::FWD => Shape::Fwd(if info.flag { FwdKind::Union } else { FwdKind::Struct }),
            BtfKind::TYPEDEF => Shape::Typedef(self.target()?),
            BtfKind::VOLATILE => Shape::Volatile(self.target()?),
            BtfKind::CONST => Shape::Const(self.target()?),
            BtfKind::RESTRICT => Shape::Restrict(self.target()?),
            BtfKind::FUNC => Shape::Func(Func { proto: self.target()?, linkage: FuncLinkage(info.vlen) }),
            BtfKind::FUNC_PROTO => Shape::FuncProto(self.func_proto(info)?),
            BtfKind::VAR => Shape::Var(self.var()?),
            BtfKind::DATASEC => Shape::DataSec(self.data_sec(info)?),
            BtfKind::FLOAT => Shape::Float { size: self.size()? },
            BtfKind::DECL_TAG => Shape::DeclTag(self.decl_tag(info)?),
            BtfKind::TYPE_TAG => Shape::TypeTag(TypeTag { target: self.target()?, attribute: info.flag }),
            unknown => return Err(unknown_kind(self.bytes, self.at, unknown)),
        })
    }

    fn int(&mut self) -> Result<Int> {
        let size = self.size()?;
        let at = self.at;
        // From the top: four unused bits, four of encoding, eight of offset, eight unused, eight of length.
        let [encoding, bit_offset, _, bits] = self.u32("an integer's encoding")?.to_be_bytes();
        if u64::from(bit_offset) + u64::from(bits) > u64::from(size) * 8 {
            let message = format!("expected at most {size} bytes, found {bits} bits at bit {bit_offset}");
            return Err(self.bytes.error(at, message));
        }
        Ok(Int { size, encoding: encoding & 0x0f, bit_offset, bits })
    }

    fn array(&mut self) -> Result<Array> {
        self.u32("an unused number")?;
        Ok(Array {
            element: self.id("the element's type")?,
            index: self.id("the index type")?,
            len: self.size()?,
        })
    }

    fn composite(&mut self, info: &Info) -> Result<Composite> {
        let size = self.size()?;
        let members =
            self.list(info.vlen, |reader, at, numbers| reader.member(at, numbers, size, info.flag))?;
        Ok(Composite { size, members })
    }

    /// A member of a struct of `size` bytes. With the flag of the struct, the high byte of the offset is the
    /// length of a bit-field.
    fn member(&self, at: usize, numbers: [u32; 3], size: u32, has_bitfields: bool) -> Result<Member> {
        let [name, ty, offset] = numbers;
        let name = self.check_name(at, name)?;
        let ty = self.check_id(at + 4, ty, "the member's type")?;
        let [bits, rest @ ..] = offset.to_be_bytes();
        let (bit_offset, bitfield_bits) = if has_bitfields {
            (u32::from_be_bytes([0, rest[0], rest[1], rest[2]]), bits)
        } else {
            (offset, 0)
        };
        if u64::from(bit_offset) + u64::from(bitfield_bits) > u64::from(size) * 8 {
            let message = format!(
                "expected the member within {size} bytes, found {bitfield_bits} bits at bit {bit_offset}"
            );
            return Err(self.bytes.error(at + 8, message));
        }
        Ok(Member { name, ty, bit_offset, bitfield_bits })
    }

    fn enumeration<const N: usize>(
        &mut self,
        info: &Info,
        value: impl Fn([u32; N]) -> (u32, u64),
    ) -> Result<Enum> {
        let size = self.size()?;
        let values = self.list(info.vlen, |reader, at, numbers| {
            let (name, value) = value(numbers);
            Ok(EnumValue { name: reader.check_name(at, name)?, value })
        })?;
        Ok(Enum { size, signed: info.flag, values })
    }

    fn func_proto(&mut self, info: &Info) -> Result<FuncProto> {
        let result = self.target()?;
        let params = self.list(info.vlen, |reader, at, [name, ty]| {
            let name = reader.check_name(at, name)?;
            Ok(Param { name, ty: reader.check_id(at + 4, ty, "the parameter's type")? })
        })?;
        let ellipsis = Param { name: Name(0), ty: TypeId::VOID };
        Ok(match params.split_last() {
            Some((last, others)) if *last == ellipsis => {
                FuncProto { result, params: others.into(), variadic: true }
            }
            _ => FuncProto { result, params, variadic: false },
        })
    }

    fn var(&mut self) -> Result<Var> {
        Ok(Var { ty: self.target()?, linkage: VarLinkage(self.u32("the linkage")?) })
    }

    fn data_sec(&mut self, info: &Info) -> Result<DataSec> {
        let size = self.size()?;
        let entries = self.list(info.vlen, |reader, at, [ty, offset, size]| {
            Ok(DataSecEntry { ty: reader.check_id(at, ty, "the variable")?, offset, size })
        })?;
        Ok(DataSec { size, entries })
    }

    fn decl_tag(&mut self, info: &Info) -> Result<DeclTag> {
        let target = self.target()?;
        let component = self.u32("the component's index")?;
        Ok(DeclTag { target, component: (component != u32::MAX).then_some(component), attribute: info.flag })
    }

    /// `count` entries of `N` numbers, each made by `entry` of its place and its numbers. They are all there, as
    /// [`Head::read`] has measured: no file can ask for more memory than it has bytes to fill.
    fn list<const N: usize, T>(
        &mut self,
        count: u32,
        mut entry: impl FnMut(&Self, usize, [u32; N]) -> Result<T>,
    ) -> Result<Box<[T]>> {
        let mut rest = self.bytes.slice(self.at, count as usize * N * 4, "the entries")?;
        let order = self.bytes.order();
        let mut list = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let mut numbers = [0; N];
            for number in &mut numbers {
                let Some((bytes, others)) = rest.split_first_chunk() else { break };
                *number = order.u32(*bytes);
                rest = others;
            }
            list.push(entry(self, self.at, numbers)?);
            self.at += N * 4;
        }
        Ok(list.into())
    }

    fn u32(&mut self, field: &str) -> Result<u32> {
        let value = self.bytes.u32(self.at, field)?;
        self.at += 4;
        Ok(value)
    }

    fn size(&mut self) -> Result<u32> {
        self.u32("a size")
    }

    fn target(&mut self) -> Result<TypeId> {
        self.id("the target")
    }

    fn id(&mut self, field: &str) -> Result<TypeId> {
        let at = self.at;
        let id = self.u32(field)?;
        self.check_id(at, id, field)
    }

    fn check_id(&self, at: usize, id: u32, field: &str) -> Result<TypeId> {
        if id as usize >= self.type_count {
            let message =
                format!("expected {field} to be one of {} types, found type {id}", self.type_count - 1);
            return Err(self.bytes.error(at, message));
        }
        Ok(TypeId(id))
    }

    fn name(&mut self) -> Result<Name> {
        let at = self.at;
        let offset = self.u32("the name's offset")?;
        self.check_name(at, offset)
    }

    fn check_name(&self, at: usize, offset: u32) -> Result<Name> {
        if offset as usize >= self.strings_len {
            let message = format!(
                "expected a name within {} bytes of strings, found offset {offset:#x}",
                self.strings_len
            );
            return Err(self.bytes.error(at, message));
        }
        Ok(Name(offset))
    }
}

/// `struct btf_enum`: name and value.
fn value32([name, value]: [u32; 2], signed: bool) -> (u32, u64) {
    let is_negative = signed && value >> 31 == 1;
    (name, if is_negative { u64::from(value) | !u64::from(u32::MAX) } else { u64::from(value) })
}

/// `struct btf_enum64`: name and value, of which the low half comes first in both byte orders.
fn value64([name, low, high]: [u32; 3]) -> (u32, u64) {
    (name, u64::from(high) << 32 | u64::from(low))
}

fn unknown_kind(bytes: Bytes<'_>, at: usize, kind: BtfKind) -> Error {
    unsupported(bytes, at, format!("expected a kind from 1 to {}, found {}", BtfKind::ENUM64.0, kind.0))
}

fn unsupported(bytes: Bytes<'_>, at: usize, message: String) -> Error {
    bytes.error(at, message).with_kind(ErrorKind::Unsupported)
}

#[cfg(test)]
mod tests {
    use super::super::builder::{Builder, ORDERS, info};
    use super::*;
    use crate::uapi::btf::{BTF_INT_BOOL, BTF_INT_SIGNED};

    const INT: TypeId = TypeId(1);

    /// What `build` makes of BTF that begins with an `int` (type 1), in both byte orders.
    fn shapes(build: impl Fn(&mut Builder) -> TypeId) -> [(Btf, Shape); 2] {
        ORDERS.map(|order| {
            let mut builder = Builder::new(order);
            builder.int("int", 4, BTF_INT_SIGNED);
            let id = build(&mut builder);
            let btf = builder.parse().unwrap();
            let shape = btf.get(id).unwrap().shape.clone();
            (btf, shape)
        })
    }

    fn refusal(build: impl Fn(&mut Builder) -> TypeId) -> String {
        let mut builder = Builder::new(ByteOrder::Little);
        build(&mut builder);
        builder.parse().unwrap_err().to_string()
    }

    /// The refusal of BTF with one `int`, after `change` to its bytes. The types are at 0x18 and the strings,
    /// five bytes, at 0x28.
    fn refusal_of_bytes(change: impl Fn(&mut Vec<u8>)) -> Error {
        let mut builder = Builder::new(ByteOrder::Little);
        builder.int("int", 4, 0);
        let mut data = builder.build();
        change(&mut data);
        Btf::parse(&data, ByteOrder::Little, "section `.BTF`").unwrap_err()
    }

    #[test]
    fn an_int_has_a_size_an_encoding_and_bits() {
        for (btf, shape) in shapes(|b| b.int("bool", 1, BTF_INT_BOOL)) {
            let Shape::Int(int) = shape else { panic!("{shape:?}") };
            assert_eq!((int.size, int.bits, int.bit_offset), (1, 8, 0));
            assert_eq!((int.is_bool(), int.is_signed(), int.is_char()), (true, false, false));
            assert_eq!((btf.name(INT).unwrap(), btf.name(TypeId(2)).unwrap()), ("int", "bool"));
        }
    }

    #[test]
    fn a_reference_has_a_target() {
        for (kind, expected) in [
            (BtfKind::PTR, Shape::Ptr(INT)),
            (BtfKind::TYPEDEF, Shape::Typedef(INT)),
            (BtfKind::VOLATILE, Shape::Volatile(INT)),
            (BtfKind::CONST, Shape::Const(INT)),
            (BtfKind::RESTRICT, Shape::Restrict(INT)),
            (BtfKind::TYPE_TAG, Shape::TypeTag(TypeTag { target: INT, attribute: false })),
        ] {
            for (_, shape) in shapes(|b| b.refer(kind, "", INT)) {
                assert_eq!((&shape, shape.kind()), (&expected, kind));
            }
        }
    }

    #[test]
    fn an_array_has_an_element_and_a_length() {
        for (_, shape) in shapes(|b| b.array(INT, 7)) {
            assert_eq!(shape, Shape::Array(Array { element: INT, index: INT, len: 7 }));
        }
    }

    #[test]
    fn a_struct_ends_with_a_flexible_array() {
        for (btf, shape) in shapes(|b| {
            let items = b.array(INT, 0);
            let (len, rest) = (b.string("len"), b.string("items"));
            b.add(BtfKind::STRUCT, "list", 4, &[[len, INT.0, 0], [rest, items.0, 32]])
        }) {
            let Shape::Struct(list) = shape else { panic!("{shape:?}") };
            assert_eq!((list.size, list.members.len()), (4, 2));
            assert_eq!(btf.text(list.members[1].name).unwrap(), "items");
            assert_eq!((list.members[1].ty, list.members[1].bit_offset), (TypeId(2), 32));
        }
    }

    #[test]
    fn the_flag_of_a_struct_turns_the_high_byte_of_an_offset_into_a_length() {
        let offset = 3 << 24 | 5;
        for (_, shape) in shapes(|b| b.add_flagged(BtfKind::STRUCT, "", 4, &[[0, INT.0, offset]])) {
            let Shape::Struct(bits) = shape else { panic!("{shape:?}") };
            assert_eq!((bits.members[0].bit_offset, bits.members[0].bitfield_bits), (5, 3));
        }
        for (_, shape) in shapes(|b| b.add(BtfKind::UNION, "", 1 << 28, &[[0, INT.0, offset]])) {
            let Shape::Union(plain) = shape else { panic!("{shape:?}") };
            assert_eq!((plain.members[0].bit_offset, plain.members[0].bitfield_bits), (offset, 0));
        }
    }

    #[test]
    fn an_enum_is_signed_when_its_flag_says_so() {
        let negative = -5_i32;
        let value = u32::from_ne_bytes(negative.to_ne_bytes());
        for (_, shape) in shapes(|b| b.add_flagged(BtfKind::ENUM, "e", 4, &[[0, value]])) {
            let Shape::Enum(signed) = shape else { panic!("{shape:?}") };
            assert!(signed.signed);
            assert_eq!(i64::from_ne_bytes(signed.values[0].value.to_ne_bytes()), -5);
        }
        for (_, shape) in shapes(|b| b.add(BtfKind::ENUM, "e", 4, &[[0, value]])) {
            let Shape::Enum(plain) = shape else { panic!("{shape:?}") };
            assert_eq!((plain.signed, plain.values[0].value), (false, u64::from(value)));
        }
    }

    #[test]
    fn an_enum64_has_its_low_half_first_in_both_byte_orders() {
        for (btf, shape) in shapes(|b| {
            let name = b.string("BIG");
            b.add(BtfKind::ENUM64, "e", 8, &[[name, 0x5678_9abc, 0x1234]])
        }) {
            let Shape::Enum64(big) = shape else { panic!("{shape:?}") };
            assert_eq!((big.size, big.values[0].value), (8, 0x1234_5678_9abc));
            assert_eq!(btf.text(big.values[0].name).unwrap(), "BIG");
        }
    }

    #[test]
    fn a_forward_declaration_is_of_a_struct_or_a_union() {
        for (_, shape) in shapes(|b| b.add::<0>(BtfKind::FWD, "s", 0, &[])) {
            assert_eq!(shape, Shape::Fwd(FwdKind::Struct));
        }
        for (_, shape) in shapes(|b| b.add_flagged::<0>(BtfKind::FWD, "u", 0, &[])) {
            assert_eq!(shape, Shape::Fwd(FwdKind::Union));
        }
    }

    #[test]
    fn a_function_keeps_its_linkage_where_others_keep_a_length() {
        for (_, shape) in shapes(|b| {
            let proto = b.add::<2>(BtfKind::FUNC_PROTO, "", 0, &[]);
            b.raw(0, info(BtfKind::FUNC, 1), proto.0, &[])
        }) {
            assert_eq!(shape, Shape::Func(Func { proto: TypeId(2), linkage: FuncLinkage::GLOBAL }));
        }
    }

    #[test]
    fn a_signature_is_variadic_when_its_last_parameter_is_nothing() {
        for (btf, shape) in shapes(|b| {
            let name = b.string("format");
            b.add(BtfKind::FUNC_PROTO, "", INT.0, &[[name, INT.0], [0, 0]])
        }) {
            let Shape::FuncProto(proto) = shape else { panic!("{shape:?}") };
            assert_eq!((proto.result, proto.params.len(), proto.variadic), (INT, 1, true));
            assert_eq!((btf.text(proto.params[0].name).unwrap(), proto.params[0].ty), ("format", INT));
        }
        for (_, shape) in shapes(|b| b.add(BtfKind::FUNC_PROTO, "", 0, &[[0, 0], [0, INT.0]])) {
            let Shape::FuncProto(proto) = shape else { panic!("{shape:?}") };
            assert_eq!((proto.params.len(), proto.variadic), (2, false));
        }
    }

    #[test]
    fn a_section_places_its_variables() {
        for (_, shape) in shapes(|b| {
            let var = b.var("v", INT, 1);
            b.add(BtfKind::DATASEC, ".data", 16, &[[var.0, 8, 4]])
        }) {
            let Shape::DataSec(data) = shape else { panic!("{shape:?}") };
            assert_eq!(data.size, 16);
            assert_eq!(*data.entries, [DataSecEntry { ty: TypeId(2), offset: 8, size: 4 }]);
        }
        for (_, shape) in shapes(|b| b.var("v", INT, 2)) {
            assert_eq!(shape, Shape::Var(Var { ty: INT, linkage: VarLinkage::GLOBAL_EXTERN }));
        }
    }

    #[test]
    fn a_float_has_a_size() {
        for (_, shape) in shapes(|b| b.add::<0>(BtfKind::FLOAT, "double", 8, &[])) {
            assert_eq!(shape, Shape::Float { size: 8 });
        }
    }

    #[test]
    fn a_tag_names_what_it_is_on() {
        let tag = |component, attribute| Shape::DeclTag(DeclTag { target: INT, component, attribute });
        for (btf, shape) in shapes(|b| {
            let name = b.string("kfunc");
            b.raw(name, info(BtfKind::DECL_TAG, 0), INT.0, &[u32::MAX])
        }) {
            assert_eq!(shape, tag(None, false));
            assert_eq!(btf.name(TypeId(2)).unwrap(), "kfunc");
        }
        for (_, shape) in shapes(|b| b.raw(0, info(BtfKind::DECL_TAG, 0) | BTF_INFO_KIND_FLAG, INT.0, &[3])) {
            assert_eq!(shape, tag(Some(3), true));
        }
    }

    #[test]
    fn the_wide_fields_of_a_later_kernel_are_read() {
        let members = vec![[0, INT.0, 0]; 0x1_0001];
        for (_, shape) in shapes(|b| b.add(BtfKind::STRUCT, "wide", 4, &members)) {
            let Shape::Struct(wide) = shape else { panic!("{shape:?}") };
            assert_eq!(wide.members.len(), 0x1_0001);
        }
    }

    #[test]
    fn a_longer_header_is_skipped() {
        let mut builder = Builder::new(ByteOrder::Big);
        builder.int("int", 4, 0);
        let mut data = builder.build();
        data[4..8].copy_from_slice(&32_u32.to_be_bytes());
        data.splice(BTF_HEADER_SIZE..BTF_HEADER_SIZE, [0xff; 8]);
        let btf = Btf::parse(&data, ByteOrder::Big, "b").unwrap();
        assert_eq!((btf.len(), btf.name(INT).unwrap()), (1, "int"));
    }

    #[test]
    fn too_short_a_header_is_refused() {
        let error = Btf::parse(&[0x9f, 0xeb], ByteOrder::Little, "section `.BTF`").unwrap_err();
        assert_eq!(
            error.to_string(),
            "section `.BTF` at offset 0x0: expected 24 bytes for the BTF header, found 2"
        );
        let text = refusal_of_bytes(|data| data[4] = 23).to_string();
        assert_eq!(
            text,
            "section `.BTF` at offset 0x4: expected a header of 24 to 45 bytes, found a length of 23"
        );
    }

    #[test]
    fn another_magic_number_or_byte_order_is_refused() {
        let text = refusal_of_bytes(|data| data[0] = 0).to_string();
        assert_eq!(text, "section `.BTF` at offset 0x0: expected the magic number 0xeb9f, found 0xeb00");
        let data = Builder::new(ByteOrder::Big).build();
        let error = Btf::parse(&data, ByteOrder::Little, "b").unwrap_err();
        assert_eq!(error.to_string(), "b at offset 0x0: expected little-endian BTF, found big-endian");
        assert_eq!(error.kind(), ErrorKind::Malformed);
    }

    #[test]
    fn a_version_or_flag_of_the_future_is_unsupported() {
        let error = refusal_of_bytes(|data| data[2] = 2);
        assert_eq!(error.to_string(), "section `.BTF` at offset 0x2: expected version 1, found 2");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let error = refusal_of_bytes(|data| data[3] = 4);
        assert_eq!(error.to_string(), "section `.BTF` at offset 0x3: expected no flags, found 0x4");
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn a_table_outside_the_section_is_refused() {
        let text = refusal_of_bytes(|data| data[12] = 0x30).to_string();
        assert_eq!(
            text,
            "section `.BTF` at offset 0x8: expected the types within 45 bytes, \
             found 48 bytes at 0x0 after the header"
        );
        let text = refusal_of_bytes(|data| data[16..24].fill(0xff)).to_string();
        assert_eq!(
            text,
            "section `.BTF` at offset 0x10: expected the strings within 45 bytes, \
             found 4294967295 bytes at 0xffffffff after the header"
        );
    }

    #[test]
    fn overlapping_tables_are_refused() {
        let text = refusal_of_bytes(|data| data[16] = 8).to_string();
        assert_eq!(
            text,
            "section `.BTF` at offset 0x10: expected the strings after the types, which end at 0x28, \
             found them at 0x20"
        );
    }

    #[test]
    fn strings_without_their_nul_bytes_are_refused() {
        let text = refusal_of_bytes(|data| data[0x28] = b'x').to_string();
        assert_eq!(text, "section `.BTF` at offset 0x28: expected the strings to begin with a NUL byte");
        let text = refusal_of_bytes(|data| data[0x2c] = b'x').to_string();
        assert_eq!(text, "section `.BTF` at offset 0x2c: expected the strings to end with a NUL byte");
        let text = refusal_of_bytes(|data| data[20] = 0).to_string();
        assert_eq!(text, "section `.BTF` at offset 0x28: expected the strings to begin with a NUL byte");
    }

    #[test]
    fn half_a_type_is_refused() {
        let text = refusal_of_bytes(|data| data[12] = 8).to_string();
        assert_eq!(text, "type 1: section `.BTF` at offset 0x18: expected 12 bytes for a type, found 8");
    }

    #[test]
    fn an_unknown_kind_is_unsupported() {
        let mut builder = Builder::new(ByteOrder::Little);
        builder.int("int", 4, 0);
        builder.raw(0, info(BtfKind(23), 0), 0, &[]);
        let error = builder.parse().unwrap_err();
        assert_eq!(
            error.to_string(),
            "type 2: section `.BTF` at offset 0x2c: expected a kind from 1 to 19, found 23"
        );
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let text = refusal(|b| b.raw(0, 0, 0, &[]));
        assert_eq!(text, "type 1: section `.BTF` at offset 0x1c: expected a kind from 1 to 19, found 0");
    }

    #[test]
    fn a_list_that_is_cut_short_is_refused() {
        let text = refusal(|b| b.raw(0, info(BtfKind::STRUCT, 3), 4, &[0, 0, 0]));
        assert_eq!(
            text,
            "type 1: section `.BTF` at offset 0x18: expected 36 bytes after this struct with 3 entries, \
             found 12"
        );
        for kind in [BtfKind::UNION, BtfKind::ENUM, BtfKind::ENUM64, BtfKind::FUNC_PROTO, BtfKind::DATASEC] {
            let text = refusal(|b| b.raw(0, info(kind, 0xff_ffff), 4, &[0]));
            assert!(text.contains(&format!("after this {kind} with 16777215 entries, found 4")), "{text}");
        }
        for kind in [BtfKind::INT, BtfKind::ARRAY, BtfKind::VAR, BtfKind::DECL_TAG] {
            let text = refusal(|b| b.raw(0, info(kind, 0), 4, &[]));
            assert!(text.contains(&format!("after this {kind} with 0 entries, found 0")), "{text}");
        }
    }

    #[test]
    fn a_reference_to_a_type_that_is_not_there_is_refused() {
        let text = refusal(|b| b.refer(BtfKind::PTR, "", TypeId(2)));
        assert_eq!(
            text,
            "type 1: section `.BTF` at offset 0x20: expected the target to be one of 1 types, found type 2"
        );
        let text = refusal(|b| b.array(TypeId(9), 1));
        assert!(text.contains("offset 0x24: expected the element's type to be one of 1 types, found type 9"));
        let text = refusal(|b| b.add(BtfKind::STRUCT, "", 4, &[[0, 9, 0]]));
        assert!(text.contains("offset 0x28: expected the member's type to be one of 1 types, found type 9"));
        let text = refusal(|b| b.add(BtfKind::FUNC_PROTO, "", 0, &[[0, 9]]));
        assert!(
            text.contains("offset 0x28: expected the parameter's type to be one of 1 types, found type 9")
        );
        let text = refusal(|b| b.add(BtfKind::DATASEC, "", 0, &[[9, 0, 0]]));
        assert!(text.contains("offset 0x24: expected the variable to be one of 1 types, found type 9"));
    }

    #[test]
    fn a_name_outside_the_strings_is_refused() {
        let text = refusal(|b| b.raw(1, info(BtfKind::FLOAT, 0), 4, &[]));
        assert_eq!(
            text,
            "type 1: section `.BTF` at offset 0x18: expected a name within 1 bytes of strings, \
             found offset 0x1"
        );
        let text = refusal(|b| b.add(BtfKind::ENUM, "", 4, &[[7, 0]]));
        assert!(text.contains("offset 0x24: expected a name within 1 bytes of strings, found offset 0x7"));
    }

    #[test]
    fn an_integer_with_more_bits_than_bytes_is_refused() {
        let text = refusal(|b| b.raw(0, info(BtfKind::INT, 0), 4, &[1 << 16 | 32]));
        assert_eq!(
            text,
            "type 1: section `.BTF` at offset 0x24: expected at most 4 bytes, found 32 bits at bit 1"
        );
    }

    #[test]
    fn a_member_outside_its_struct_is_refused() {
        let text = refusal(|b| b.add(BtfKind::STRUCT, "", 4, &[[0, 0, 33]]));
        assert_eq!(
            text,
            "type 1: section `.BTF` at offset 0x2c: expected the member within 4 bytes, \
             found 0 bits at bit 33"
        );
        let text = refusal(|b| b.add_flagged(BtfKind::STRUCT, "", 4, &[[0, 0, 2 << 24 | 31]]));
        assert!(text.ends_with("expected the member within 4 bytes, found 2 bits at bit 31"));
    }
}
