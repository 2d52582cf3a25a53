//! A place inside a type: by the name of a member, by an index, and on from there.

use std::collections::BTreeMap;

use super::super::Btf;
use super::super::types::{Composite, DataSec, DataSecEntry, Shape, TypeId};
use super::super::view::MAX_DEPTH;
use crate::error::{Error, ErrorKind, Result, quote, quote_each};
use crate::order::{InOrder as _, sort};

/// A part of a value.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its type.
    pub ty: TypeId,
    /// Bits from the start of the value.
    pub bit_offset: u64,
    /// Bits of a bit-field; 0 for all the bits of its type.
    pub bitfield_bits: u8,
}

impl Field {
    /// All of a value of this type.
    pub fn whole(ty: TypeId) -> Self {
        Self { ty, bit_offset: 0, bitfield_bits: 0 }
    }
}

impl Btf {
    /// The part of a value of type `ty` that `path` leads to: `.counters[3].bytes`, or nothing for all of it.
    ///
    /// `InvalidInput` where a step leads nowhere, with what there is.
    pub fn field(&self, ty: TypeId, path: &str) -> Result<Field> {
        let mut field = Field::whole(ty);
        let mut rest = path;
        if let Shape::DataSec(section) = &self.get(ty)?.shape {
            (field, rest) = self.variable_field(field, section, rest)?;
        }
        while !rest.is_empty() {
            let (step, after) = split_step(rest)
                .ok_or_else(|| invalid(format!("expected `.FIELD` or `[INDEX]`, found {}", quote(rest))))?;
            field = match step {
                Step::Member(name) => self.member_field(field, name)?,
                Step::Index(index) => self.element_field(field, index)?,
            };
            rest = after;
        }
        Ok(field)
    }

    /// The member called `name` of a struct or union, which may be a member of an anonymous member.
    pub(super) fn member_field(&self, of: Field, name: &str) -> Result<Field> {
        if let Shape::DataSec(section) = &self.get(of.ty)?.shape {
            return match self.variable_field(of, section, &format!(".{name}"))? {
                (field, "") => Ok(field),
                (_, rest) => {
                    Err(invalid(format!("expected a variable's name, found {} after it", quote(rest))))
                }
            };
        }
        let composite = self
            .composite(of.ty)?
            .ok_or_else(|| invalid(format!("there is no field {} in {}", quote(name), self.a_type(of.ty))))?;
        self.find_member(composite, of.bit_offset, name, 0, &mut BTreeMap::new())?.ok_or_else(|| {
            let names = self.member_names(composite);
            invalid(format!("there is no field {} in {}: it has {names}", quote(name), self.a_type(of.ty)))
        })
    }

    /// The variable of a section that the words behind a dot begin with, and the rest of them; all of it if there are
    /// none.
    fn variable_field<'p>(&self, of: Field, section: &DataSec, path: &'p str) -> Result<(Field, &'p str)> {
        let Some(words) = path.strip_prefix('.') else { return Ok((of, path)) };
        let name = |entry: &DataSecEntry| self.name(entry.ty).unwrap_or_default();
        let all = || section.entries.iter();
        let found = begin(words, all().map(|entry| (name(entry), entry.offset)));
        let [(index, rest)] = found[..] else {
            if found.is_empty() {
                let names = names(all().map(name));
                let (wanted, section) = (quote(first_name(words)), self.describe(of.ty));
                return Err(invalid(format!("there is no variable {wanted} in {section}: it has {names}")));
            }
            let places = found.iter().map(|(index, _)| (None, section.entries[*index].offset));
            return Err(several_variables(name(&section.entries[found[0].0]), places));
        };
        let entry = &section.entries[index];
        let Shape::Var(var) = &self.get(entry.ty)?.shape else {
            let found = self.describe(entry.ty);
            return Err(self.error(of.ty, format!("expected variables, found {found}")));
        };
        let bit_offset = of.bit_offset + u64::from(entry.offset) * 8;
        Ok((Field { ty: var.ty, bit_offset, bitfield_bits: 0 }, rest))
    }

    /// The names that several variables of a section have.
    pub(super) fn repeated_names(&self, section: &DataSec) -> Result<Vec<&str>> {
        let names = section.entries.iter().map(|entry| self.name(entry.ty));
        let mut names = names.collect::<Result<Vec<_>>>()?;
        sort(&mut names);
        Ok(names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect())
    }

    fn find_member(
        &self,
        composite: &Composite,
        start: u64,
        name: &str,
        depth: usize,
        // What was searched once and would be in vain again, and how deep that was.
        seen: &mut BTreeMap<u64, usize>,
    ) -> Result<Option<Field>> {
        for member in &composite.members {
            let bit_offset = start + u64::from(member.bit_offset);
            if !member.name.is_anonymous() {
                if self.text(member.name)? == name {
                    return Ok(Some(Field {
                        ty: member.ty,
                        bit_offset,
                        bitfield_bits: member.bitfield_bits,
                    }));
                }
                continue;
            }
            let Some(inner) = self.composite(member.ty)? else { continue };
            if depth < MAX_DEPTH && seen.insert(member.ty.0.into(), depth).is_none() {
                if let Some(field) = self.find_member(inner, bit_offset, name, depth + 1, seen)? {
                    return Ok(Some(field));
                }
            }
        }
        Ok(None)
    }

    /// The names of a struct's own members.
    fn member_names(&self, composite: &Composite) -> String {
        let named = composite.members.iter().filter(|member| !member.name.is_anonymous());
        names(named.filter_map(|member| self.text(member.name).ok()))
    }

    fn element_field(&self, of: Field, index: u32) -> Result<Field> {
        let Shape::Array(array) = self.get(self.resolve(of.ty)?)?.shape else {
            return Err(invalid(format!("there is no index [{index}] in {}", self.a_type(of.ty))));
        };
        if index >= array.len {
            return Err(invalid(format!(
                "there is no index [{index}] in {}: it has {} elements",
                self.a_type(of.ty),
                array.len
            )));
        }
        let size = u64::from(self.size_of(array.element)?);
        // An array has fewer than 2^32 bytes, as `size_of` would say.
        let bit_offset = of.bit_offset.saturating_add(u64::from(index).saturating_mul(size * 8));
        Ok(Field { ty: array.element, bit_offset, bitfield_bits: 0 })
    }

    /// The struct or union that this is behind typedefs and qualifiers.
    pub(super) fn composite(&self, id: TypeId) -> Result<Option<&Composite>> {
        match &self.get(self.resolve(id)?)?.shape {
            Shape::Struct(composite) | Shape::Union(composite) => Ok(Some(composite)),
            _ => Ok(None),
        }
    }

    /// A type in an error's words, without qualifiers: `a __u32 of 4 bytes`, `an int of 4 bytes`.
    pub(super) fn a_type(&self, id: TypeId) -> String {
        let name = self.type_name(self.unqualified(id)).unwrap_or_else(|_| self.describe(id));
        let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
        match self.size_of(id) {
            Ok(1) => format!("{article} {name} of 1 byte"),
            Ok(size) => format!("{article} {name} of {size} bytes"),
            Err(_) => format!("{article} {name}"),
        }
    }

    /// The type behind qualifiers, which is perhaps a typedef.
    fn unqualified(&self, id: TypeId) -> TypeId {
        let mut at = id;
        for _ in 0..MAX_DEPTH {
            match self.get(at).map(|ty| &ty.shape) {
                Ok(Shape::Const(target) | Shape::Volatile(target) | Shape::Restrict(target)) => at = *target,
                Ok(Shape::TypeTag(tag)) => at = tag.target,
                _ => return at,
            }
        }
        id
    }
}

/// Which of `variables`, of each the name and the place, `words` begin with, and the rest of the words: that leads to a
/// part of it, `counters[3].bytes`. Several have a name where files were joined, each with a `static` variable of it;
/// `counters@0x40` is the one at that place.
pub(crate) fn begin<'w, 'n>(
    words: &'w str,
    variables: impl Iterator<Item = (&'n str, u32)>,
) -> Vec<(usize, &'w str)> {
    let (mut found, mut longest) = (Vec::new(), 0);
    for (index, (name, offset)) in variables.enumerate() {
        // The compiler puts dots into names too: of two that fit, the longer one is meant.
        let Some(rest) = after_variable(words, name, offset).filter(|_| name.len() >= longest) else {
            continue;
        };
        if name.len() > longest {
            found.clear();
            longest = name.len();
        }
        found.push((index, rest));
    }
    found
}

fn after_variable<'w>(words: &'w str, name: &str, offset: u32) -> Option<&'w str> {
    let rest = words.strip_prefix(name).filter(|_| !name.is_empty())?;
    let rest = match rest.strip_prefix('@') {
        None => rest,
        Some(place) => {
            let (place, rest) = place.split_at(first_name(place).len());
            let place = match place.strip_prefix("0x") {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => place.parse(),
            };
            place.ok().filter(|place| *place == offset).map(|_| rest)?
        }
    };
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}

/// The words up to what leads to a part of a variable.
pub(crate) fn first_name(words: &str) -> &str {
    &words[..words.find(['.', '[']).unwrap_or(words.len())]
}

/// Says where the variables of one name are: the section, unless all are in the same, and the place in it.
#[cold]
pub(crate) fn several_variables<'s>(
    name: &str,
    places: impl Iterator<Item = (Option<&'s str>, u32)>,
) -> Error {
    let place = |(section, offset): (Option<&str>, u32)| match section {
        Some(section) => format!("{offset:#x} of {}", quote(section)),
        None => format!("{offset:#x}"),
    };
    let places: Vec<_> = places.collect();
    let words: Vec<_> = places.iter().copied().map(place).collect();
    let error = invalid(format!("several variables are called {}, at {}", quote(name), words.join(", at ")));
    let offsets = places.iter().map(|(_, offset)| *offset).into_set();
    match places.first() {
        Some((_, first)) if offsets.len() == words.len() => {
            error.with_help(format!("say which by its place: {name}@{first:#x}"))
        }
        _ => error,
    }
}

/// The first names of a list, as an error has them.
fn names<'n>(mut names: impl Iterator<Item = &'n str>) -> String {
    /// More would fill the screen.
    const MOST: usize = 16;
    let list = quote_each(&mut names.by_ref().take(MOST));
    if names.next().is_some() { format!("{list}, and others") } else { list }
}

/// One step of a path.
enum Step<'p> {
    Member(&'p str),
    Index(u32),
}

/// The first step of a path, and what follows.
fn split_step(path: &str) -> Option<(Step<'_>, &str)> {
    if let Some(rest) = path.strip_prefix('[') {
        let (index, rest) = rest.split_once(']')?;
        let is_number = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
        let index = is_number.then(|| index.parse().ok()).flatten()?;
        return Some((Step::Index(index), rest));
    }
    let rest = path.strip_prefix('.')?;
    let end = rest.find(['.', '[']).unwrap_or(rest.len());
    (end > 0).then(|| (Step::Member(&rest[..end]), &rest[end..]))
}

#[cold]
pub(super) fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}
