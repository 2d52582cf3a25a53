//! Which types of the kernel a type of the program could be: those of the same name but for a flavour.

use std::collections::BTreeMap;
use std::fmt;

use super::compat::{class, essential, same_kind};
use crate::btf::{Btf, KernelTypes, LazyBtf, Sieve, TypeId, Types};
use crate::bytes::ByteOrder;
use crate::error::{Error, ErrorKind, Result};
use crate::order::{InOrder as _, Lookup};
use crate::uapi::btf::BtfKind;

/// A type of the kernel or of a module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'t> {
    pub(super) btf: &'t LazyBtf,
    pub(super) id: TypeId,
}

impl fmt::Display for Candidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (type {} of {})", self.btf.describe(self.id), self.id, self.btf.source())
    }
}

/// Of which kind a type of the program's is, and its name without a flavour.
pub(super) fn kind_and_name(local: &Btf, ty: TypeId) -> Result<(BtfKind, &str)> {
    let head = Types::head(local, ty)?;
    Ok((head.kind, essential(local.text(head.name)?)))
}

/// Makes `sieve` keep back what a type of the program's of this kind and name could be.
pub(super) fn want(sieve: &mut Sieve, kind: BtfKind, name: &str) {
    let is_wanted = |other: &BtfKind| same_kind(kind, *other);
    (0..=BtfKind::ENUM64.0).map(BtfKind).filter(is_wanted).for_each(|kind| sieve.want(kind, name));
}

/// The candidates for each type of the program. Types of one name and kind, with flavours or without, have the same.
#[derive(Debug)]
pub(super) struct Candidates<'o, 't> {
    /// The type's name without a flavour, and where its candidates are in `found`.
    roots: Lookup<TypeId, (&'o str, usize)>,
    pub(super) found: Vec<Vec<Candidate<'t>>>,
}

/// What to look for among the kernel's types.
#[derive(Default)]
struct Wanted<'o> {
    /// By name without a flavour and kind, where to put what is found.
    places: BTreeMap<(&'o str, u64), usize>,
    /// The kind that is looked for, by place, unless nothing is.
    kinds: Vec<Option<BtfKind>>,
}

impl<'o> Wanted<'o> {
    /// The place for types of this kind and name, which are wanted from now on.
    fn place(&mut self, kind: BtfKind, name: &'o str) -> usize {
        let place = *self.places.entry((name, class(kind))).or_insert(self.kinds.len());
        if place == self.kinds.len() {
            // The kernel has thousands of types without a name.
            self.kinds.push((!name.is_empty()).then_some(kind));
        }
        place
    }

    fn get(&self, kind: BtfKind, name: &str) -> Option<usize> {
        self.places.get(&(name, class(kind))).copied().filter(|place| self.kinds[*place].is_some())
    }
}

impl<'o, 't> Candidates<'o, 't> {
    /// Walks through the kernel's types, once for all of `roots`; and through those of the modules for the ones that
    /// were not found.
    pub(super) fn search(
        local: &'o Btf,
        order: ByteOrder,
        roots: &[TypeId],
        kernel: &'t KernelTypes,
    ) -> Result<Self> {
        let mut wanted = Wanted::default();
        let mut places = Vec::with_capacity(roots.len());
        for &root in roots {
            let (kind, name) = kind_and_name(local, root)?;
            places.push((root, (name, wanted.place(kind, name))));
        }
        let roots = places.into_iter().into_lookup();
        let mut candidates = Self { roots, found: vec![Vec::new(); wanted.kinds.len()] };
        if let Some(btf) = &kernel.vmlinux {
            candidates.collect(btf, order, &wanted)?;
        }
        for (kind, found) in wanted.kinds.iter_mut().zip(&candidates.found) {
            *kind = kind.filter(|_| found.is_empty());
        }
        if wanted.kinds.iter().any(Option::is_some) {
            for (_, btf) in kernel.modules.iter().flatten() {
                candidates.collect(btf, order, &wanted)?;
            }
        }
        Ok(candidates)
    }

    fn collect(&mut self, btf: &'t LazyBtf, order: ByteOrder, wanted: &Wanted<'o>) -> Result<()> {
        if btf.order() != order {
            let message = format!(
                "expected the kernel's types to be in the byte order of the object, found those in {} in the other",
                btf.source()
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        let mut sieve = Sieve::default();
        for ((name, _), place) in &wanted.places {
            wanted.kinds[*place].into_iter().for_each(|kind| want(&mut sieve, kind, name));
        }
        for (head, name) in btf.sift(sieve) {
            if let Some(place) = wanted.get(head.kind, essential(name)) {
                self.found[place].push(Candidate { btf, id: head.id });
            }
        }
        Ok(())
    }

    /// The candidates for the program's type `root`.
    pub(super) fn of(&self, root: TypeId) -> &[Candidate<'t>] {
        self.roots.get(root).map_or(&[], |(_, place)| &self.found[*place])
    }

    /// Refuses a type without a name: the kernel has thousands of those.
    pub(super) fn check_name(&self, local: &Btf, root: TypeId) -> Result<()> {
        if self.roots.get(root).is_none_or(|(name, _)| name.is_empty()) {
            let message = format!("expected a type with a name, found {}", local.describe(root));
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        Ok(())
    }
}
