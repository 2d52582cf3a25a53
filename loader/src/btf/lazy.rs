//! BTF that is looked into where it lies: a kernel's, of which a load wants a handful of types out of 150,000.
//!
//! ```text
//! bytes | types: ......|......|......|...   one landmark each 32 types: the way to a type is at most 31 steps
//!       | strings
//! ```
//!
//! [`LazyBtf::parse`] walks once over the heads of the types, so that each ends where the next begins, and keeps
//! nothing but the landmarks, and the heads that its sieve keeps back. A name that the sieve was not told of is found
//! by another walk, and a type is decoded, and checked, when it is asked for. A module's BTF is *split*: its ids and
//! its names go on where those of the kernel end.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::str;
use std::sync::Arc;

use super::parse::{Head, Header, TypeReader, check_string_table, cut_short, peek};
use super::sieve::Sieve;
use super::types::{Name, POINTER_SIZE, Shape, Type, TypeHead, TypeId};
use super::view::Types;
use crate::bytes::{ByteOrder, Bytes};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::uapi::btf::{BTF_MAGIC, BTF_TYPE_SIZE, BtfKind};

/// How many types there are from one landmark to the next.
const STRIDE: usize = 32;

/// Whatever holds the bytes: a file that was read, or memory of the kernel that is mapped.
pub type Memory = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// The types of one kernel or module, undecoded. A copy shares the bytes.
#[derive(Clone)]
pub struct LazyBtf(Arc<Inner>);

struct Inner {
    /// What errors call the bytes.
    name: String,
    memory: Memory,
    /// Which of the bytes are BTF: all, or one section of an ELF file.
    range: Range<usize>,
    order: ByteOrder,
    /// The two tables, in bytes of the BTF.
    types: Range<usize>,
    strings: Range<usize>,
    base: Option<LazyBtf>,
    /// The ids of the types that are here, not in the base.
    ids: Range<u32>,
    /// The string offset at which the strings begin that are here, not in the base.
    first_string: usize,
    /// Where each [`STRIDE`]th type begins, in bytes of the BTF.
    landmarks: Vec<u32>,
    /// What is kept back of the types that are here, so that nobody need walk over them for it again.
    sieve: Sieve,
    kept: Vec<TypeHead>,
    pointer_size: u32,
}

impl LazyBtf {
    /// The BTF in the bytes `range` of `memory`, which errors call `name`. Its magic number tells the byte order.
    /// What `sieve` keeps back need not be walked for again.
    pub fn parse(memory: Memory, range: Range<usize>, name: impl Into<String>, sieve: Sieve) -> Result<Self> {
        Self::new(memory, range, name.into(), None, sieve)
    }

    /// The split BTF in the bytes `range` of `memory`, whose ids and names go on where those of `base` end.
    pub fn parse_split(
        memory: Memory,
        range: Range<usize>,
        name: impl Into<String>,
        base: &Self,
    ) -> Result<Self> {
        Self::new(memory, range, name.into(), Some(base.clone()), Sieve::default())
    }

    /// The BTF in `data`, which errors call `name`.
    pub fn from_bytes(data: impl Into<Vec<u8>>, name: impl Into<String>) -> Result<Self> {
        let data = data.into();
        let range = 0..data.len();
        Self::parse(Arc::new(data), range, name, Sieve::default())
    }

    fn new(
        memory: Memory,
        range: Range<usize>,
        name: String,
        base: Option<Self>,
        sieve: Sieve,
    ) -> Result<Self> {
        let data = (*memory).as_ref().get(range.clone()).unwrap_or_default();
        let order = order_of(data, &name)?;
        let bytes = Bytes::new(data, order, &name);
        let header = Header::read(bytes)?;
        // Split BTF continues another table of strings, and may have none of its own.
        if base.is_none() {
            check_string_table(bytes, &header.strings)?;
        }
        let first = base.as_ref().map_or(1, |base| base.0.ids.end);
        let first_string = base.as_ref().map_or(0, LazyBtf::strings_end);
        let here = &data[header.strings.clone()];
        let strings = Strings { here, first: first_string, base: base.as_ref() };
        let types = Bytes::new(&data[..header.types.end], order, &name);
        let Survey { landmarks, kept, end, pointer_size } =
            Survey::of(types, header.types.start, first, strings, &sieve)?;
        let pointer_size = base.as_ref().map_or(pointer_size, Self::pointer_size);
        let ids = first..end;
        Ok(Self(Arc::new(Inner {
            name,
            memory,
            range,
            order,
            types: header.types,
            strings: header.strings,
            base,
            ids,
            first_string,
            landmarks,
            sieve,
            kept,
            pointer_size,
        })))
    }

    /// What errors call the bytes.
    pub fn source(&self) -> &str {
        &self.0.name
    }

    /// The byte order of the machine that the types are from.
    pub fn order(&self) -> ByteOrder {
        self.0.order
    }

    /// Bytes of a pointer on that machine: those of its `long`.
    pub fn pointer_size(&self) -> u32 {
        self.0.pointer_size
    }

    /// The BTF that this one continues.
    pub fn base(&self) -> Option<&Self> {
        self.0.base.as_ref()
    }

    /// The ids of the types that are here and not in the base; the first of all is 1.
    pub fn ids(&self) -> Range<u32> {
        self.0.ids.clone()
    }

    /// The heads of the types that are here and not in the base, in the order of their ids.
    pub fn heads(&self) -> impl Iterator<Item = TypeHead> {
        self.walk()
    }

    fn walk(&self) -> Walk<'_> {
        let table = self.table();
        let rest = table.data().get(self.0.types.start..).unwrap_or_default();
        Walk { rest, order: table.order(), id: self.0.ids.start }
    }

    /// The types of this kind with this name, here and not in the base. Time grows with the number of types, unless
    /// the sieve was told of the name when the BTF was parsed.
    pub fn find(&self, kind: BtfKind, name: &str) -> impl Iterator<Item = TypeId> {
        let mut sieve = Sieve::default();
        sieve.want(kind, name);
        self.sift(sieve).filter(move |(_, found)| *found == name).map(|(head, _)| head.id)
    }

    /// What the sieve keeps back of the types that are here and not in the base, with their names. A name that is not
    /// sound is none that anybody looks for.
    pub fn sift(&self, sieve: Sieve) -> impl Iterator<Item = (TypeHead, &str)> {
        let strings = self.strings();
        let (kept, walk) =
            if self.0.sieve.covers(&sieve) { (&*self.0.kept, None) } else { (&[][..], Some(self.walk())) };
        let heads = kept.iter().copied().chain(walk.into_iter().flatten());
        let keeps = move |head: &TypeHead| {
            sieve.kinds() >> head.kind.0 & 1 != 0 && sieve.keeps_name(strings.from(head.name))
        };
        heads.filter(keeps).filter_map(|head| Some((head, self.text(head.name).ok()?)))
    }

    /// The type with this id, here or in the base.
    pub fn get(&self, id: TypeId) -> Result<Type> {
        if id == TypeId::VOID {
            return Ok(Type { name: Name(0), shape: Shape::Void });
        }
        let owner = self.owner(id)?;
        let at = owner.place(id)?;
        let mut reader = TypeReader {
            bytes: owner.table(),
            at,
            type_count: owner.0.ids.end as usize,
            strings_len: owner.strings_end(),
        };
        reader.read().context(|| format!("type {id}"))
    }

    /// The kind and name of a type, without decoding it.
    pub fn head(&self, id: TypeId) -> Result<TypeHead> {
        if id == TypeId::VOID {
            return Ok(TypeHead { id, kind: BtfKind::UNKN, name: Name(0) });
        }
        let owner = self.owner(id)?;
        let bytes = owner.table();
        let at = owner.place(id)?;
        let Head { name, info, .. } = Head::read(bytes, at)?;
        Ok(TypeHead { id, kind: info.kind, name })
    }

    /// The text of a name, which is `Malformed` when it is not UTF-8 or longer than
    /// [`MAX_NAME`](crate::bytes::MAX_NAME).
    pub fn text(&self, name: Name) -> Result<&str> {
        let (owner, offset) = self.string_place(name);
        let Inner { strings, order, name, .. } = &*owner.0;
        // Not the bytes behind the strings.
        let data = owner.data().get(..strings.end).unwrap_or_default();
        let bytes = Bytes::new(data, *order, name);
        let text = bytes.c_str(offset, "a name")?;
        str::from_utf8(text).map_err(|_| bytes.error(offset, "expected a name in UTF-8"))
    }

    /// Whether this is the text of a name, without a look at the rest of a longer one.
    pub fn is_text(&self, name: Name, text: &str) -> bool {
        let rest = self.strings().from(name).strip_prefix(text.as_bytes());
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }

    fn strings(&self) -> Strings<'_> {
        let here = self.data().get(self.0.strings.clone()).unwrap_or_default();
        Strings { here, first: self.0.first_string, base: self.base() }
    }

    /// An error about the type `id`, placed where the type is.
    #[cold]
    pub(super) fn error(&self, id: TypeId, message: String) -> Error {
        let place = self.owner(id).and_then(|owner| owner.place(id)).unwrap_or_default();
        Error::malformed(&self.0.name, place as u64, message)
            .context(format!("type {id} ({})", self.describe(id)))
    }

    fn data(&self) -> &[u8] {
        // Whoever holds the bytes may give fewer of them later: then what is missing is refused where it is read.
        (*self.0.memory).as_ref().get(self.0.range.clone()).unwrap_or_default()
    }

    /// The BTF up to the end of the types: no read of a type can stray into the strings.
    fn table(&self) -> Bytes<'_> {
        let data = self.data().get(..self.0.types.end).unwrap_or_default();
        Bytes::new(data, self.0.order, &self.0.name)
    }

    fn strings_end(&self) -> usize {
        self.0.first_string + self.0.strings.len()
    }

    /// The BTF that has the type `id`: this or its base.
    fn owner(&self, id: TypeId) -> Result<&Self> {
        let mut owner = self;
        while let Some(base) = owner.base().filter(|_| id.0 < owner.0.ids.start) {
            owner = base;
        }
        if owner.0.ids.contains(&id.0) {
            return Ok(owner);
        }
        let message = format!(
            "there is no type {id} in {}, the last is {}",
            self.0.name,
            self.0.ids.end.saturating_sub(1)
        );
        Err(Error::new(ErrorKind::InvalidInput, message))
    }

    /// Where the type `id` begins, which is one of this BTF's own.
    fn place(&self, id: TypeId) -> Result<usize> {
        let index = (id.0 - self.0.ids.start) as usize;
        let mut at = self.0.landmarks.get(index / STRIDE).copied().unwrap_or_default() as usize;
        let bytes = self.table();
        for _ in 0..index % STRIDE {
            at += Head::read(bytes, at)?.len;
        }
        Ok(at)
    }

    /// The BTF that has this string, and where: in bytes of that BTF.
    fn string_place(&self, name: Name) -> (&Self, usize) {
        let offset = name.0 as usize;
        let mut owner = self;
        while let Some(base) = owner.base().filter(|_| offset < owner.0.first_string) {
            owner = base;
        }
        (owner, owner.0.strings.start.saturating_add(offset - owner.0.first_string))
    }
}

impl fmt::Debug for LazyBtf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LazyBtf")
            .field("source", &self.0.name)
            .field("order", &self.0.order)
            .field("ids", &self.0.ids)
            .field("base", &self.0.base)
            .finish_non_exhaustive()
    }
}

/// The byte order in which the magic number is the right one; without one, any will do for the refusal.
fn order_of(data: &[u8], name: &str) -> Result<ByteOrder> {
    let magic = |order| Bytes::new(data, order, &name).u16(0, "the magic number");
    Ok(if magic(ByteOrder::Big)? == BTF_MAGIC { ByteOrder::Big } else { ByteOrder::Little })
}

/// What names are offsets into.
#[derive(Clone, Copy)]
struct Strings<'a> {
    /// The strings that are here and not in the base, and the offset of the first.
    here: &'a [u8],
    first: usize,
    base: Option<&'a LazyBtf>,
}

impl<'a> Strings<'a> {
    /// The strings from this name on.
    fn from(self, name: Name) -> &'a [u8] {
        match (name.0 as usize).checked_sub(self.first) {
            Some(at) => self.here.get(at..).unwrap_or_default(),
            None => self.base.map_or(&[], |base| base.strings().from(name)),
        }
    }
}

/// What a walk over all types finds out.
struct Survey {
    /// Where each [`STRIDE`]th type begins.
    landmarks: Vec<u32>,
    /// What the sieve keeps back.
    kept: Vec<TypeHead>,
    /// The id after the last one's.
    end: u32,
    pointer_size: u32,
}

impl Survey {
    /// Measures all types that `types` has from `start` on, the first of which has the id `first`.
    fn of(types: Bytes<'_>, start: usize, first: u32, strings: Strings<'_>, sieve: &Sieve) -> Result<Self> {
        let mut rest = &types.data()[start..];
        let place = |rest: &[u8]| types.len() - rest.len();
        // No type is smaller than `BTF_TYPE_SIZE`.
        let landmarks = Vec::with_capacity(rest.len() / BTF_TYPE_SIZE / STRIDE + 1);
        let mut survey = Self { landmarks, kept: Vec::new(), end: first, pointer_size: POINTER_SIZE };
        let kinds = sieve.kinds() | 1 << BtfKind::INT.0;
        while !rest.is_empty() {
            let landmark = u32::try_from(place(rest));
            let landmark = landmark.map_err(|_| types.error(start, "expected the types within 4 GiB"))?;
            survey.landmarks.push(landmark);
            for _ in 0..STRIDE {
                if rest.is_empty() {
                    break;
                }
                let Some((Head { name, info, .. }, after)) = peek(rest, types.order()) else {
                    return Err(cut_short(types, place(rest)).context(format!("type {}", survey.end)));
                };
                if kinds >> info.kind.0 & 1 != 0 {
                    let text = strings.from(name);
                    if info.kind == BtfKind::INT && is_long(text) {
                        let size = types.u32(place(rest) + 8, "a size")?;
                        survey.pointer_size = if size == 4 { 4 } else { POINTER_SIZE };
                    }
                    if sieve.keeps_name(text) {
                        survey.kept.push(TypeHead { id: TypeId(survey.end), kind: info.kind, name });
                    }
                }
                let next = survey.end.checked_add(1);
                let too_many = || types.error(place(rest), "expected ids of 32 bits, found more types");
                survey.end = next.ok_or_else(too_many)?;
                rest = after;
            }
        }
        Ok(survey)
    }
}

/// Whether this names the integer that is as wide as a pointer wherever Linux runs. Nothing in BTF tells the width
/// of the machine but this.
fn is_long(text: &[u8]) -> bool {
    [&b"long int\0"[..], b"long unsigned int\0", b"long\0", b"unsigned long\0"]
        .iter()
        .any(|long| text.starts_with(long))
}

/// A walk over the heads of types, the first of which has the id `id`.
struct Walk<'a> {
    rest: &'a [u8],
    order: ByteOrder,
    id: u32,
}

impl Iterator for Walk<'_> {
    type Item = TypeHead;

    #[expect(clippy::inline_always, reason = "it is the body of a loop that runs 150,000 times")]
    #[inline(always)]
    fn next(&mut self) -> Option<TypeHead> {
        // They were measured when the BTF was parsed: what cannot be read is the end.
        let (Head { name, info, .. }, rest) = peek(self.rest, self.order)?;
        let id = TypeId(self.id);
        (self.rest, self.id) = (rest, self.id + 1);
        Some(TypeHead { id, kind: info.kind, name })
    }
}

impl Types for LazyBtf {
    fn get(&self, id: TypeId) -> Result<Cow<'_, Type>> {
        self.get(id).map(Cow::Owned)
    }

    fn head(&self, id: TypeId) -> Result<TypeHead> {
        self.head(id)
    }

    fn text(&self, name: Name) -> Result<&str> {
        self.text(name)
    }

    fn pointer_size(&self) -> u32 {
        self.pointer_size()
    }

    fn error(&self, id: TypeId, message: String) -> Error {
        self.error(id, message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Btf;
    use super::super::builder::{Builder, ORDERS, info};
    use super::*;

    /// An int and then types each of which is made of the one before: so many that there are `landmarks` of them.
    fn many(order: ByteOrder, landmarks: usize) -> Builder {
        let mut b = Builder::new(order);
        let mut id = b.int("int", 4, 1);
        for number in 0..(landmarks - 1) * STRIDE {
            id = match number % 3 {
                0 => b.add(BtfKind::STRUCT, &format!("s{number}"), 8, &[[0, id.0, 0], [0, id.0, 32]]),
                1 => b.array(id, 2),
                _ => b.refer(BtfKind::TYPEDEF, &format!("t{number}"), id),
            };
        }
        b
    }

    #[test]
    fn every_type_is_the_one_that_the_eager_reader_sees() {
        for order in ORDERS {
            let b = many(order, 4);
            let (eager, lazy) = (b.parse().unwrap(), b.lazy());
            assert_eq!((lazy.order(), lazy.ids()), (order, 1..u32::try_from(eager.len()).unwrap() + 1));
            for ((id, ty), head) in eager.types().zip(lazy.heads()) {
                assert_eq!(&lazy.get(id).unwrap(), ty);
                assert_eq!((head.id, head.kind, head.name), (id, ty.shape.kind(), ty.name));
                assert_eq!(lazy.name(id).unwrap(), eager.name(id).unwrap());
                assert_eq!(lazy.head(id).unwrap().kind, ty.shape.kind());
                assert_eq!(lazy.size_of(id).unwrap(), eager.size_of(id).unwrap());
                assert_eq!(lazy.resolve(id).unwrap().0, eager.resolve(id).unwrap());
            }
            assert_eq!(lazy.heads().count(), eager.len());
            assert_eq!(lazy.get(TypeId::VOID).unwrap().shape, Shape::Void);
        }
    }

    #[test]
    fn a_name_is_found_with_its_kind_and_in_full_and_as_often_as_it_is_there() {
        let mut b = Builder::new(ByteOrder::Little);
        b.add::<3>(BtfKind::STRUCT, "flows", 0, &[]);
        let first = b.add::<3>(BtfKind::STRUCT, "flow", 0, &[]);
        b.refer(BtfKind::TYPEDEF, "flow", first);
        let second = b.add::<3>(BtfKind::STRUCT, "flow", 0, &[]);
        let btf = b.lazy();
        assert_eq!(btf.find(BtfKind::STRUCT, "flow").collect::<Vec<_>>(), [first, second]);
        assert_eq!(btf.find(BtfKind::STRUCT, "flo").count(), 0);
        assert_eq!(btf.find(BtfKind::UNION, "flow").count(), 0);
    }

    #[test]
    fn what_the_sieve_was_told_of_is_found_as_by_a_walk() {
        let mut base = Builder::new(ByteOrder::Little);
        let flow = base.add::<3>(BtfKind::STRUCT, "flow", 0, &[]);
        base.add::<3>(BtfKind::UNION, "flow", 0, &[]);
        let old = base.add::<3>(BtfKind::STRUCT, "flow___old", 0, &[]);
        base.add::<3>(BtfKind::STRUCT, "float", 0, &[]);
        let sock = base.add::<3>(BtfKind::STRUCT, "sock", 0, &[]);
        let mut sieve = Sieve::default();
        sieve.want(BtfKind::STRUCT, "flow");
        let data = base.build();
        let range = 0..data.len();
        let btf = LazyBtf::parse(Arc::new(data), range, "`vmlinux`", sieve.clone()).unwrap();
        let sifted = |sieve: &Sieve| btf.sift(sieve.clone()).map(|(head, _)| head.id).collect::<Vec<_>>();
        assert_eq!(btf.0.kept.len(), 3, "{:?}", btf.0.kept);
        assert_eq!(
            sifted(&sieve),
            base.lazy().sift(sieve.clone()).map(|(head, _)| head.id).collect::<Vec<_>>()
        );
        assert!(sifted(&sieve).contains(&old) && !sifted(&sieve).contains(&sock));
        assert_eq!(btf.find(BtfKind::STRUCT, "flow").collect::<Vec<_>>(), [flow]);
        assert_eq!(btf.find(BtfKind::STRUCT, "sock").collect::<Vec<_>>(), [sock]);
    }

    #[test]
    fn split_btf_goes_on_where_its_base_ends() {
        for order in ORDERS {
            let mut base = Builder::new(order);
            let int = base.int("int", 4, 1);
            let mut module = Builder::split(&base);
            let flow = module.add(BtfKind::STRUCT, "flow", 4, &[[4, int.0, 0]]);
            let base_btf = base.lazy();
            let data = module.build();
            let range = 0..data.len();
            let btf = LazyBtf::parse_split(Arc::new(data), range, "`module`", &base_btf).unwrap();
            assert_eq!((flow, btf.ids()), (TypeId(2), 2..3));
            assert_eq!((btf.name(int).unwrap(), btf.name(flow).unwrap()), ("int", "flow"));
            assert_eq!((btf.size_of(int).unwrap(), btf.size_of(flow).unwrap()), (4, 4));
            // Offset 4 is the last byte of the base's strings, offset 5 the first of the module's.
            let Shape::Struct(composite) = btf.get(flow).unwrap().shape else { panic!("a struct") };
            assert_eq!(btf.text(composite.members[0].name).unwrap(), "");
            assert_eq!(btf.heads().map(|head| head.id).collect::<Vec<_>>(), [flow]);
            assert_eq!(btf.find(BtfKind::INT, "int").count(), 0);
            assert_eq!(btf.base().unwrap().find(BtfKind::INT, "int").count(), 1);
            let error = btf.get(TypeId(3)).unwrap_err();
            assert_eq!(error.to_string(), "there is no type 3 in `module`, the last is 2");
            assert!(base_btf.get(flow).is_err());
        }
    }

    #[test]
    fn a_pointer_is_as_wide_as_the_machine_s_long() {
        for (name, size, expected) in [("long unsigned int", 4, 4), ("long int", 8, 8), ("long long", 4, 8)] {
            let mut b = Builder::new(ByteOrder::Little);
            let long = b.int(name, size, 0);
            let pointer = b.refer(BtfKind::PTR, "", long);
            let two = b.array(pointer, 2);
            assert_eq!(b.lazy().size_of(two).unwrap(), 2 * expected);
        }
    }

    #[test]
    fn a_type_is_checked_when_it_is_asked_for() {
        let mut b = Builder::new(ByteOrder::Little);
        b.raw(99, info(BtfKind::FLOAT, 0), 4, &[]);
        let pointer = b.refer(BtfKind::PTR, "", TypeId(7));
        let latin1 = b.bytes_string(b"na\xefve");
        let float = b.raw(latin1, info(BtfKind::FLOAT, 0), 4, &[]);
        let itself = b.refer(BtfKind::TYPEDEF, "t", TypeId(4));
        let btf = b.lazy();
        let refusal = |id| btf.get(id).unwrap_err().to_string();
        assert_eq!(
            refusal(TypeId(1)),
            "type 1: `vmlinux` at offset 0x18: expected a name within 9 bytes of strings, found offset 0x63"
        );
        assert_eq!(
            refusal(pointer),
            "type 2: `vmlinux` at offset 0x2c: expected the target to be one of 4 types, found type 7"
        );
        assert_eq!(
            btf.name(float).unwrap_err().to_string(),
            "type 3: `vmlinux` at offset 0x49: expected a name in UTF-8"
        );
        assert!(btf.name(TypeId(1)).is_err());
        assert_eq!(
            btf.resolve(itself).unwrap_err().to_string(),
            "type 4 (typedef `t`): `vmlinux` at offset 0x3c: \
             expected at most 32 types in a row behind this one, found more or a cycle"
        );
    }

    #[test]
    fn what_does_not_add_up_is_refused_when_the_btf_is_opened() {
        for order in ORDERS {
            let data = many(order, 2).build();
            for len in 0..data.len() {
                let error = LazyBtf::from_bytes(&data[..len], "`vmlinux`").unwrap_err();
                assert!(error.place().is_some(), "{error}");
            }
        }
        let mut b = Builder::new(ByteOrder::Little);
        b.raw(0, info(BtfKind(20), 0), 0, &[]);
        let error = LazyBtf::from_bytes(b.build(), "`vmlinux`").unwrap_err();
        assert_eq!(
            error.to_string(),
            "type 1: `vmlinux` at offset 0x1c: expected a kind from 1 to 19, found 20"
        );
        let error = LazyBtf::from_bytes(*b"\x7fELF", "`vmlinux`").unwrap_err();
        assert!(error.to_string().starts_with("`vmlinux` at offset 0x0: expected 24 bytes"), "{error}");
    }

    #[test]
    fn bytes_that_become_fewer_are_refused_where_they_are_read() {
        /// Gives its bytes once, then none.
        struct Fleeting(Vec<u8>, std::sync::atomic::AtomicBool);
        impl AsRef<[u8]> for Fleeting {
            fn as_ref(&self) -> &[u8] {
                if self.1.swap(true, std::sync::atomic::Ordering::Relaxed) { &[] } else { &self.0 }
            }
        }
        let data = many(ByteOrder::Little, 3).build();
        let range = 0..data.len();
        let btf =
            LazyBtf::parse(Arc::new(Fleeting(data, false.into())), range, "`vmlinux`", Sieve::default())
                .unwrap();
        assert!(btf.get(TypeId(40)).is_err());
        assert!(btf.name(TypeId(1)).is_err());
        assert_eq!(btf.find(BtfKind::INT, "int").count(), 0);
    }

    #[test]
    fn any_byte_changed_is_refused_or_answers_as_the_eager_reader() {
        for order in ORDERS {
            let mut data = many(order, 2).build();
            for at in 0..data.len() {
                for change in [0x01, 0x40, 0xff] {
                    data[at] ^= change;
                    let eager = Btf::parse(&data, order, "`vmlinux`");
                    if let Ok(lazy) = LazyBtf::from_bytes(&*data, "`vmlinux`") {
                        for head in lazy.heads() {
                            let _ = (lazy.name(head.id), lazy.resolve(head.id), lazy.size_of(head.id));
                            let ty = lazy.get(head.id);
                            if let Ok(eager) = &eager {
                                assert_eq!(&ty.unwrap(), eager.get(head.id).unwrap());
                            }
                        }
                    } else {
                        assert!(eager.is_err());
                    }
                    data[at] ^= change;
                }
            }
        }
    }
}
