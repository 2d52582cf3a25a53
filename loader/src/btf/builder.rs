//! Builds BTF byte by byte for tests, in either byte order, and wrongly where a test asks for it.

use super::{Btf, LazyBtf, Name, TypeId};
use crate::bytes::ByteOrder;
use crate::error::Result;
use crate::uapi::btf::{
    BTF_HEADER_SIZE, BTF_INFO_KIND_FLAG, BTF_INFO_KIND_SHIFT, BTF_MAGIC, BTF_VERSION, BtfKind,
};

/// Every test that reads numbers reads them in both.
pub(crate) const ORDERS: [ByteOrder; 2] = [ByteOrder::Little, ByteOrder::Big];

/// BTF under construction.
pub(crate) struct Builder {
    order: ByteOrder,
    types: Vec<u8>,
    strings: Vec<u8>,
    /// The id of the last type.
    count: u32,
    /// The offset of the first string: not 0 in BTF that continues another.
    first_string: usize,
}

impl Builder {
    /// No types yet, and the empty string.
    pub(crate) fn new(order: ByteOrder) -> Self {
        Self { order, types: Vec::new(), strings: vec![0], count: 0, first_string: 0 }
    }

    /// Split BTF, which goes on where `base` ends.
    pub(crate) fn split(base: &Self) -> Self {
        let first_string = base.first_string + base.strings.len();
        Self { order: base.order, types: Vec::new(), strings: Vec::new(), count: base.count, first_string }
    }

    /// The offset of a string, added unless it is empty.
    pub(crate) fn string(&mut self, text: &str) -> u32 {
        self.bytes_string(text.as_bytes())
    }

    /// As [`Builder::string`], in any encoding.
    pub(crate) fn bytes_string(&mut self, text: &[u8]) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let offset = u32::try_from(self.first_string + self.strings.len()).unwrap();
        self.strings.extend_from_slice(text);
        self.strings.push(0);
        offset
    }

    /// A name that no type has: an access string of a relocation.
    pub(crate) fn name(&mut self, text: &str) -> Name {
        Name(self.string(text))
    }

    /// Adds a struct or union of `size` bytes; of each member the name, the type and the place in bits.
    pub(crate) fn composite(
        &mut self,
        kind: BtfKind,
        name: &str,
        size: u32,
        members: &[(&str, TypeId, u32)],
    ) -> TypeId {
        let entries: Vec<[u32; 3]> =
            members.iter().map(|(member, ty, bits)| [self.string(member), ty.0, *bits]).collect();
        self.add(kind, name, size, &entries)
    }

    /// Adds an enumeration of 4 bytes; `flagged` where its values are signed.
    pub(crate) fn enumeration(&mut self, name: &str, flagged: bool, values: &[(&str, u32)]) -> TypeId {
        let entries: Vec<[u32; 2]> =
            values.iter().map(|(value, number)| [self.string(value), *number]).collect();
        if flagged {
            self.add_flagged(BtfKind::ENUM, name, 4, &entries)
        } else {
            self.add(BtfKind::ENUM, name, 4, &entries)
        }
    }

    /// Adds a type number by number: its name, `info`, size or target, and what follows.
    pub(crate) fn raw(&mut self, name: u32, info: u32, size_or_target: u32, tail: &[u32]) -> TypeId {
        for word in [name, info, size_or_target].iter().chain(tail) {
            put(&mut self.types, self.order, *word);
        }
        self.count += 1;
        TypeId(self.count)
    }

    /// Adds a type whose kind has entries of `WIDTH` numbers.
    pub(crate) fn add<const WIDTH: usize>(
        &mut self,
        kind: BtfKind,
        name: &str,
        size_or_target: u32,
        entries: &[[u32; WIDTH]],
    ) -> TypeId {
        let name = self.string(name);
        self.raw(name, info(kind, entries.len()), size_or_target, entries.as_flattened())
    }

    /// As [`Builder::add`], with the kind's flag set.
    pub(crate) fn add_flagged<const WIDTH: usize>(
        &mut self,
        kind: BtfKind,
        name: &str,
        size_or_target: u32,
        entries: &[[u32; WIDTH]],
    ) -> TypeId {
        let name = self.string(name);
        let info = info(kind, entries.len()) | BTF_INFO_KIND_FLAG;
        self.raw(name, info, size_or_target, entries.as_flattened())
    }

    /// Adds a type that is no more than a name and a target: a pointer, a typedef, a qualifier, a type tag.
    pub(crate) fn refer(&mut self, kind: BtfKind, name: &str, target: TypeId) -> TypeId {
        self.add::<0>(kind, name, target.0, &[])
    }

    /// Adds an integer with all its bits.
    pub(crate) fn int(&mut self, name: &str, size: u32, encoding: u8) -> TypeId {
        let name = self.string(name);
        let bits = u8::try_from(size * 8).unwrap();
        self.raw(name, info(BtfKind::INT, 0), size, &[u32::from_be_bytes([encoding, 0, 0, bits])])
    }

    /// Adds an array, counted with its own element's type.
    pub(crate) fn array(&mut self, element: TypeId, len: u32) -> TypeId {
        self.raw(0, info(BtfKind::ARRAY, 0), 0, &[element.0, element.0, len])
    }

    /// Adds a struct of members one pointer wide, as a map definition has them.
    pub(crate) fn map_def(&mut self, name: &str, members: &[(&str, TypeId)]) -> TypeId {
        let entries: Vec<[u32; 3]> =
            (0..).zip(members).map(|(index, (member, ty))| [self.string(member), ty.0, index * 64]).collect();
        self.add(BtfKind::STRUCT, name, u32::try_from(members.len() * 8).unwrap(), &entries)
    }

    /// Adds a variable.
    pub(crate) fn var(&mut self, name: &str, ty: TypeId, linkage: u32) -> TypeId {
        let name = self.string(name);
        self.raw(name, info(BtfKind::VAR, 0), ty.0, &[linkage])
    }

    /// The whole section, read back.
    pub(crate) fn parse(&self) -> Result<Btf> {
        Btf::parse(&self.build(), self.order, "section `.BTF`")
    }

    /// The whole section, to be looked into.
    pub(crate) fn lazy(&self) -> LazyBtf {
        LazyBtf::from_bytes(self.build(), "`vmlinux`").unwrap()
    }

    /// The whole section.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut data = Vec::new();
        data.extend(match self.order {
            ByteOrder::Little => BTF_MAGIC.to_le_bytes(),
            ByteOrder::Big => BTF_MAGIC.to_be_bytes(),
        });
        data.extend([BTF_VERSION, 0]);
        for len in [BTF_HEADER_SIZE, 0, self.types.len(), self.types.len(), self.strings.len()] {
            put(&mut data, self.order, u32::try_from(len).unwrap());
        }
        data.extend(&self.types);
        data.extend(&self.strings);
        data
    }
}

/// `btf_type.info` of a type with `len` entries, or with this linkage.
pub(crate) fn info(kind: BtfKind, len: usize) -> u32 {
    kind.0 << BTF_INFO_KIND_SHIFT | u32::try_from(len).unwrap()
}

fn put(data: &mut Vec<u8>, order: ByteOrder, word: u32) {
    data.extend(match order {
        ByteOrder::Little => word.to_le_bytes(),
        ByteOrder::Big => word.to_be_bytes(),
    });
}
