//! What a relocation is about: an access string, read with the program's own types.
//!
//! `0:1:2` on `struct flow` is, in C, `(&flow)[0].<member 1>.<member or element 2>`. For a relocation about a whole
//! type it is `0`, and for one about a value of an enumeration it is the value's index. LLVM writes them so
//! (`BPFAbstractMemberAccess.cpp`).

use std::fmt::Write as _;

use crate::btf::{Btf, CoreRelocation, EnumValue, Name, Shape, Type, TypeId, Types};
use crate::error::{Error, ErrorKind, Result, escape};
use crate::uapi::btf::{BtfKind, CoreReloKind};

/// How many numbers an access string may have, and how deep members may be nested in anonymous ones. libbpf's
/// `BPF_CORE_SPEC_MAX_LEN`.
pub(super) const MAX_STEPS: usize = 64;

/// The part of a type that a relocation is about, in the program's types or in the kernel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part<'b> {
    /// All of it.
    Whole,
    /// A field, perhaps of a field.
    Field(Path),
    /// One value of an enumeration.
    Value {
        /// Its name.
        name: &'b str,
        /// Its number, and whether it was told as one that can be negative.
        value: u64,
        signed: bool,
        /// Whether the number has 32 bits in BTF.
        narrow: bool,
    },
}

/// The way to a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Path {
    /// The first is an index of the root, as if it were an array.
    pub(super) steps: Vec<Step>,
    /// Where the field begins, in bits from the start of the root.
    pub(super) bit_offset: u64,
}

/// A turn of the way to a field. Members without a name are passed through and leave none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An element.
    Element {
        /// Its type, behind all typedefs.
        ty: TypeId,
        /// Which one.
        index: u32,
    },
    /// A member.
    Member {
        /// The struct or union, behind all typedefs.
        of: TypeId,
        /// Which of its members.
        index: u32,
        /// The member's name, whose text is looked up where it matters: a way may have many long ones.
        name: Name,
    },
}

/// What the answer to a relocation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Field,
    Type,
    Value,
}

impl About {
    pub(super) fn of(kind: CoreReloKind) -> Option<Self> {
        Some(match kind {
            CoreReloKind::FIELD_BYTE_OFFSET
            | CoreReloKind::FIELD_BYTE_SIZE
            | CoreReloKind::FIELD_EXISTS
            | CoreReloKind::FIELD_SIGNED
            | CoreReloKind::FIELD_LSHIFT_U64
            | CoreReloKind::FIELD_RSHIFT_U64 => Self::Field,
            CoreReloKind::TYPE_ID_LOCAL
            | CoreReloKind::TYPE_ID_TARGET
            | CoreReloKind::TYPE_EXISTS
            | CoreReloKind::TYPE_SIZE
            | CoreReloKind::TYPE_MATCHES => Self::Type,
            CoreReloKind::ENUMVAL_EXISTS | CoreReloKind::ENUMVAL_VALUE => Self::Value,
            _ => return None,
        })
    }
}

impl<'b> Part<'b> {
    /// Reads the access string of `relocation`.
    pub(super) fn read(btf: &'b Btf, relocation: &CoreRelocation) -> Result<Self> {
        let kind = relocation.kind;
        let about = About::of(kind).ok_or_else(|| {
            let message = format!("expected a kind of relocation from 0 to 12, found {}", kind.0);
            Error::new(ErrorKind::Unsupported, message)
        })?;
        let text = btf.text(relocation.access)?;
        let numbers = parse(text).ok_or_else(|| {
            let found = escape(text);
            bad_access(format!("expected 1 to {MAX_STEPS} numbers with colons between, found `{found}`"))
        })?;
        match about {
            About::Type if numbers == [0] => Ok(Self::Whole),
            About::Type => Err(bad_access(format!("expected `0` for a whole type, found `{text}`"))),
            About::Value => value(btf, relocation.ty, &numbers, text),
            About::Field => Path::follow(btf, relocation.ty, &numbers).map(Self::Field),
        }
    }
}

/// The numbers of an access string.
fn parse(text: &str) -> Option<Vec<u32>> {
    let numbers: Option<Vec<u32>> =
        text.split(':').take(MAX_STEPS + 1).map(|number| number.parse().ok()).collect();
    numbers.filter(|numbers| numbers.len() <= MAX_STEPS)
}

fn value<'b>(btf: &'b Btf, ty: TypeId, numbers: &[u32], text: &str) -> Result<Part<'b>> {
    let (_, resolved) = Types::resolve(btf, ty)?;
    let (Shape::Enum(values) | Shape::Enum64(values)) = &resolved.shape else {
        return Err(bad_access(format!("expected an enumeration, found {}", btf.describe(ty))));
    };
    let found = match numbers {
        [index] => values.values.get(*index as usize),
        _ => None,
    };
    let found = found.ok_or_else(|| {
        bad_access(format!("expected the index of one of {} values, found `{text}`", values.values.len()))
    })?;
    part_of_value(btf, &resolved, found)
}

/// The part that is this value of the enumeration `ty`.
pub(super) fn part_of_value<'b>(btf: &'b dyn Types, ty: &Type, value: &EnumValue) -> Result<Part<'b>> {
    let (signed, narrow) = match &ty.shape {
        Shape::Enum(values) => (values.signed, true),
        Shape::Enum64(values) => (values.signed, false),
        _ => (false, false),
    };
    Ok(Part::Value { name: btf.text(value.name)?, value: value.value, signed, narrow })
}

impl Path {
    /// Goes where `numbers` lead from `root`.
    fn follow(btf: &Btf, root: TypeId, numbers: &[u32]) -> Result<Self> {
        let mut path = Self::default();
        let [first, rest @ ..] = numbers else { return Ok(path) };
        let (mut at, _) = Types::resolve(btf, root)?;
        path.enter(btf, at, *first)?;
        for (&index, position) in rest.iter().zip(1..) {
            let (id, ty) = Types::resolve(btf, at)?;
            at = match &ty.shape {
                Shape::Struct(composite) | Shape::Union(composite) => {
                    let member = composite.members.get(index as usize).ok_or_else(|| {
                        let len = composite.members.len();
                        bad_access(format!(
                            "expected number {position} to be one of {len} members of {}, found {index}",
                            btf.describe(id)
                        ))
                    })?;
                    path.bit_offset += u64::from(member.bit_offset);
                    if !member.name.is_anonymous() {
                        path.steps.push(Step::Member { of: id, index, name: member.name });
                    }
                    member.ty
                }
                Shape::Array(array) => {
                    if index >= array.len && !path.ends_with_room(btf, array.len)? {
                        return Err(bad_access(format!(
                            "expected number {position} to be one of {} elements, found {index}",
                            array.len
                        )));
                    }
                    let (element, _) = Types::resolve(btf, array.element)?;
                    path.enter(btf, element, index)?;
                    element
                }
                _ => {
                    return Err(bad_access(format!(
                        "expected a struct, union or array for number {position}, found {}",
                        btf.describe(id)
                    )));
                }
            };
        }
        Ok(path)
    }

    /// Goes to the element `index` of a row of `ty`.
    pub(super) fn enter(&mut self, btf: &dyn Types, ty: TypeId, index: u32) -> Result<()> {
        let distance = index.checked_mul(btf.size_of(ty)?).ok_or_else(|| {
            bad_access(format!(
                "expected a field within 4 GiB, found element {index} of {}",
                btf.describe(ty)
            ))
        })?;
        self.bit_offset += u64::from(distance) * 8;
        self.steps.push(Step::Element { ty, index });
        Ok(())
    }

    /// Whether the array of `len` elements that the way has come to goes on as far as there is memory: it has no
    /// length, and is the last member of its struct.
    pub(super) fn ends_with_room(&self, btf: &dyn Types, len: u32) -> Result<bool> {
        let Some(Step::Member { of, index, .. }) = self.steps.last() else { return Ok(false) };
        let ty = btf.get(*of)?;
        let (Shape::Struct(composite) | Shape::Union(composite)) = &ty.shape else { return Ok(false) };
        Ok(len == 0 && *index as usize + 1 == composite.members.len())
    }
}

/// Characters of a relocation in words. A way of 64 steps may have as many long names, and each relocation its own.
const MAX_WORDS: usize = 500;

/// What the relocation is about, in words: `struct iphdr.saddr`, `enum color::RED`, `struct flow`. The end of very many
/// words is left out.
pub(super) fn words(btf: &Btf, ty: TypeId, part: &Part<'_>) -> String {
    let name = match Types::head(btf, ty) {
        Ok(head) => {
            let name = btf.text(head.name).unwrap_or_default();
            let name = if name.is_empty() { "(anonymous)" } else { name };
            match head.kind {
                BtfKind::INT | BtfKind::FLOAT | BtfKind::TYPEDEF => name.to_owned(),
                BtfKind::ENUM64 => format!("enum {name}"),
                kind => format!("{kind} {name}"),
            }
        }
        Err(_) => format!("type {ty}"),
    };
    let mut text = name;
    match part {
        Part::Whole => {}
        Part::Value { name, .. } => {
            let _ = write!(text, "::{name}");
        }
        Part::Field(path) => {
            for (position, step) in path.steps.iter().enumerate() {
                if text.len() > MAX_WORDS {
                    break;
                }
                let _ = match step {
                    Step::Member { name, .. } => {
                        write!(text, ".{}", btf.text(*name).unwrap_or("(unreadable)"))
                    }
                    Step::Element { index: 0, .. } if position == 0 => Ok(()),
                    Step::Element { index, .. } => write!(text, "[{index}]"),
                };
            }
        }
    }
    if let Some((end, _)) = text.char_indices().nth(MAX_WORDS) {
        text.truncate(end);
        text.push_str("...");
    }
    escape(&text).into_owned()
}

fn bad_access(message: String) -> Error {
    Error::new(ErrorKind::Malformed, message).context("access string")
}
