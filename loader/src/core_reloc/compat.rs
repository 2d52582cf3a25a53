//! Whether a type of the kernel is the one that the program means, and whether it has the field that it means.
//!
//! The rules are libbpf's, from `relo_core.c`: a field may have become wider, moved, or got into an anonymous struct, a
//! number may have changed its sign, but a pointer is no number.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ptr;

use super::spec::{MAX_STEPS, Part, Path, Step, part_of_value};
use crate::btf::{Btf, LazyBtf, Member, Shape, Type, TypeId, Types};
use crate::error::{Error, ErrorKind, Result};
use crate::uapi::btf::{BtfKind, CoreReloKind};

/// How deep the signatures of functions may be nested in each other.
pub(super) const MAX_LEVEL: u32 = 32;

/// How many pointers, arrays and the like may stand in a row.
pub(super) const MAX_ROW: u32 = 32;

/// How many types and members may be looked at for one object: some seconds of work. Real objects need a thousandth.
const BUDGET: u32 = 50_000_000;

/// The name without a flavour: `iphdr` for `iphdr___old`. What a flavour is set off with are three underscores that
/// no fourth one follows or precedes; a name can have several, and the last one counts.
pub fn essential(name: &str) -> &str {
    let bytes = name.as_bytes();
    let separates = |at: &usize| {
        let [before, underscores @ .., after] = &bytes[*at..*at + 5] else { return false };
        underscores == b"___" && *before != b'_' && *after != b'_'
    };
    match (0..bytes.len().saturating_sub(4)).rev().find(separates) {
        Some(at) => name.get(..=at).unwrap_or(name),
        None => name,
    }
}

/// Whether types of these kinds can be the same one on both sides.
pub(super) fn same_kind(one: BtfKind, other: BtfKind) -> bool {
    class(one) == class(other)
}

/// A number that kinds share where one can stand for the other.
pub(super) fn class(kind: BtfKind) -> u64 {
    if kind == BtfKind::ENUM64 { BtfKind::ENUM.0.into() } else { kind.0.into() }
}

/// So many bytes of a name are read while a type or member is looked at.
const NAME_BYTES: usize = 16;

/// How many answers are kept: some megabytes of them.
const MAX_KNOWN: usize = 1 << 16;

/// What may still be spent on comparing types, and what those in others have been found to be.
#[derive(Debug)]
pub(super) struct Budget {
    left: Cell<u32>,
    known: RefCell<BTreeMap<(usize, TypeId, TypeId, How), bool>>,
}

/// How two types are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum How {
    Fit,
    Match,
    MatchBehindPointer,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { left: Cell::new(BUDGET), known: RefCell::default() }
    }

    pub(super) fn spend(&self, amount: usize) -> Result<()> {
        let left = u32::try_from(amount).ok().and_then(|amount| self.left.get().checked_sub(amount));
        self.left.set(left.ok_or_else(|| too_much("types that can be compared in a few seconds"))?);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn spent(&self) -> u32 {
        BUDGET - self.left.get()
    }
}

/// The program's types beside those of the kernel or of a module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'b, 't, 'c> {
    pub(super) local: &'b Btf,
    pub(super) target: &'t LazyBtf,
    pub(super) budget: &'c Budget,
    /// Whether fields are told by their names alone.
    pub(super) any_kind: bool,
}

impl<'b, 't> Pair<'b, 't, '_> {
    /// The part of the type `candidate` that `part` is of the program's type `root`, if there is one.
    pub(super) fn find(
        self,
        kind: CoreReloKind,
        root: TypeId,
        part: &Part<'_>,
        candidate: TypeId,
    ) -> Result<Option<Part<'t>>> {
        match part {
            Part::Whole => {
                let fits = match kind {
                    CoreReloKind::TYPE_MATCHES => self.types_match(root, candidate, false, MAX_LEVEL)?,
                    _ => self.types_fit(root, candidate, MAX_LEVEL)?,
                };
                Ok(fits.then_some(Part::Whole))
            }
            Part::Value { name, .. } => self.value(name, candidate),
            Part::Field(path) => Ok(self.field(path, candidate)?.map(Part::Field)),
        }
    }

    /// What `compare` says of two types that are in others. It is asked once: types may be made of the same ones again
    /// and again, twice as often at each level.
    pub(super) fn once(
        self,
        how: How,
        (local, target): (TypeId, TypeId),
        compare: impl FnOnce() -> Result<bool>,
    ) -> Result<bool> {
        let question = (ptr::from_ref(self.target).addr(), local, target, how);
        let known = self.budget.known.borrow().get(&question).copied();
        if let Some(answer) = known {
            return Ok(answer);
        }
        let answer = compare()?;
        let mut known = self.budget.known.borrow_mut();
        if known.len() < MAX_KNOWN {
            known.insert(question, answer);
        }
        Ok(answer)
    }

    fn value(self, name: &str, candidate: TypeId) -> Result<Option<Part<'t>>> {
        let (_, ty) = self.target.resolve(candidate)?;
        let (Shape::Enum(values) | Shape::Enum64(values)) = &ty.shape else { return Ok(None) };
        self.budget.spend(values.values.len())?;
        let name = essential(name);
        for value in &values.values {
            if essential(self.target.text(value.name)?) == name {
                return part_of_value(self.target, &ty, value).map(Some);
            }
        }
        Ok(None)
    }

    fn field(self, local: &Path, candidate: TypeId) -> Result<Option<Path>> {
        let mut path = Path::default();
        let mut at = candidate;
        for (position, step) in local.steps.iter().enumerate() {
            let (id, ty) = self.target.resolve(at)?;
            at = match step {
                Step::Member { of, index, name } => {
                    let Some(wanted) = self.local_member(*of, *index)? else { return Ok(None) };
                    let name = self.local.text(*name)?;
                    self.budget.spend(name.len() / NAME_BYTES)?;
                    let mut search = Search { pair: self, wanted, name, seen: BTreeMap::new() };
                    let Some(found) = search.search(id, 0)? else { return Ok(None) };
                    path.bit_offset += found.bit_offset;
                    path.steps.push(found.step);
                    found.ty
                }
                // The root itself is the first element.
                Step::Element { index, .. } if position == 0 => {
                    path.enter(self.target, id, *index)?;
                    id
                }
                Step::Element { index, .. } => {
                    let Shape::Array(array) = &ty.shape else { return Ok(None) };
                    if *index >= array.len && !path.ends_with_room(self.target, array.len)? {
                        return Ok(None);
                    }
                    let (element, _) = self.target.resolve(array.element)?;
                    path.enter(self.target, element, *index)?;
                    element
                }
            };
        }
        Ok(Some(path))
    }

    fn local_member(self, of: TypeId, index: u32) -> Result<Option<Member>> {
        Ok(self.local.members(of)?.get(index as usize).copied())
    }

    /// Whether a field of one type can be read as one of the other.
    fn fields_fit(self, local: TypeId, target: TypeId) -> Result<bool> {
        let (mut local_id, mut target_id) = (local, target);
        for _ in 0..MAX_ROW {
            self.budget.spend(1)?;
            let (local, target) = self.resolve(local_id, target_id)?;
            return Ok(match (&local.shape, &target.shape) {
                (Shape::Struct(_) | Shape::Union(_), Shape::Struct(_) | Shape::Union(_))
                | (Shape::Ptr(_), Shape::Ptr(_))
                | (Shape::Float { .. }, Shape::Float { .. }) => true,
                (Shape::Fwd(_), Shape::Fwd(_))
                | (Shape::Enum(_) | Shape::Enum64(_), Shape::Enum(_) | Shape::Enum64(_)) => {
                    local.name.is_anonymous()
                        || target.name.is_anonymous()
                        || self.names_fit(&local, &target)?
                }
                (Shape::Int(one), Shape::Int(other)) => one.bit_offset == 0 && other.bit_offset == 0,
                (Shape::Array(one), Shape::Array(other)) => {
                    (local_id, target_id) = (one.element, other.element);
                    continue;
                }
                _ => false,
            });
        }
        Err(too_much("arrays in a row"))
    }

    /// Whether one type can stand for the other: what `bpf_core_type_exists()` and its like ask. Their names are
    /// known to agree.
    pub(super) fn types_fit(self, local: TypeId, target: TypeId, level: u32) -> Result<bool> {
        // A typedef is no struct, even if there is one behind it.
        if !same_kind(Types::head(self.local, local)?.kind, self.target.head(target)?.kind) {
            return Ok(false);
        }
        let (mut local_id, mut target_id) = (local, target);
        for _ in 0..MAX_ROW {
            self.budget.spend(1)?;
            let (local, target) = self.resolve(local_id, target_id)?;
            (local_id, target_id) = match (&local.shape, &target.shape) {
                (Shape::Int(one), Shape::Int(other)) => {
                    return Ok(one.bit_offset == 0 && other.bit_offset == 0);
                }
                (Shape::Ptr(one), Shape::Ptr(other)) => (*one, *other),
                (Shape::Array(one), Shape::Array(other)) => (one.element, other.element),
                (Shape::FuncProto(one), Shape::FuncProto(other)) => {
                    if one.params.len() != other.params.len() || one.variadic != other.variadic {
                        return Ok(false);
                    }
                    let level = level.checked_sub(1).ok_or_else(|| too_much("signatures in each other"))?;
                    for (one, other) in one.params.iter().zip(&other.params) {
                        let (one, _) = Types::resolve(self.local, one.ty)?;
                        let (other, _) = self.target.resolve(other.ty)?;
                        if !self.once(How::Fit, (one, other), || self.types_fit(one, other, level))? {
                            return Ok(false);
                        }
                    }
                    (one.result, other.result)
                }
                (one, other) => {
                    let is_named = matches!(
                        one,
                        Shape::Void
                            | Shape::Struct(_)
                            | Shape::Union(_)
                            | Shape::Enum(_)
                            | Shape::Enum64(_)
                            | Shape::Fwd(_)
                    );
                    return Ok(is_named && same_kind(one.kind(), other.kind()));
                }
            };
        }
        Err(too_much("pointers in a row"))
    }

    /// The two types behind their typedefs.
    pub(super) fn resolve(self, local: TypeId, target: TypeId) -> Result<(Cow<'b, Type>, Cow<'t, Type>)> {
        let (_, local) = Types::resolve(self.local, local)?;
        let (_, target) = self.target.resolve(target)?;
        Ok((local, target))
    }

    /// Whether the types have the same name but for a flavour.
    pub(super) fn names_fit(self, local: &Type, target: &Type) -> Result<bool> {
        Ok(essential(self.local.text(local.name)?) == essential(self.target.text(target.name)?))
    }
}

/// A search for a member by its name, also in the members that have none.
struct Search<'p, 'b, 't, 'c> {
    pair: Pair<'b, 't, 'c>,
    wanted: Member,
    name: &'p str,
    /// Where the search was in vain, and how deep that was: many members can be of one type.
    seen: BTreeMap<u64, usize>,
}

struct Found {
    step: Step,
    /// From the start of the type that was searched.
    bit_offset: u64,
    ty: TypeId,
}

impl Search<'_, '_, '_, '_> {
    fn search(&mut self, id: TypeId, depth: usize) -> Result<Option<Found>> {
        let target = self.pair.target;
        let (of, ty) = target.resolve(id)?;
        let (Shape::Struct(composite) | Shape::Union(composite)) = &ty.shape else { return Ok(None) };
        if self.seen.insert(of.0.into(), depth).is_some() {
            return Ok(None);
        }
        if depth == MAX_STEPS {
            return Err(too_much("anonymous members in each other"));
        }
        self.pair.budget.spend(composite.members.len())?;
        for (member, index) in composite.members.iter().zip(0..) {
            let bit_offset = u64::from(member.bit_offset);
            if member.name.is_anonymous() {
                if let Some(found) = self.search(member.ty, depth + 1)? {
                    return Ok(Some(Found { bit_offset: found.bit_offset + bit_offset, ..found }));
                }
            } else if target.is_text(member.name, self.name) {
                let fits = self.pair.any_kind || self.pair.fields_fit(self.wanted.ty, member.ty)?;
                let step = Step::Member { of, index, name: member.name };
                return Ok(fits.then_some(Found { step, bit_offset, ty: member.ty }));
            }
        }
        Ok(None)
    }
}

#[cold]
pub(super) fn too_much(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("expected fewer {what}"))
}
