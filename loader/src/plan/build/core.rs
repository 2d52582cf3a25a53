//! Programs adapted to the types of the kernel that will run them.

use super::Loader;
use crate::btf::{KernelTypes, Sieve};
use crate::core_reloc::{Relocator, Resolution, needs_kernel};
use crate::error::Result;
use crate::linker::Linked;

impl Loader<'_> {
    /// Adapts the programs to these types and not to those of the kernel that [`Loader::kernel_types`] tells.
    pub fn target_types(mut self, types: KernelTypes) -> Self {
        self.target_types = Some(types);
        self
    }

    /// Whether `linked` must be adapted to the types of the running kernel.
    pub(super) fn relocates_by_types(&self, linked: &[Linked]) -> bool {
        let mut relocations = linked.iter().flat_map(|linked| &linked.relocations);
        self.target_types.is_none() && relocations.any(|relocation| needs_kernel(relocation.kind))
    }

    /// What to look for among the types of the running kernel, if `linked` must be adapted to them.
    pub(super) fn sieve(&self, linked: &[Linked]) -> Option<Sieve> {
        self.relocates_by_types(linked)
            .then(|| self.relocator(linked).map(|relocator| relocator.sieve()))
            .flatten()
    }

    /// Whether `linked` must be adapted to types that the kernel itself lacks.
    pub(super) fn relocates_by_modules(&self, linked: &[Linked]) -> Result<bool> {
        if !self.relocates_by_types(linked) {
            return Ok(false);
        }
        let Some(relocator) = self.relocator(linked) else { return Ok(false) };
        for linked in linked {
            if relocator.wants_modules(&linked.relocations)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adapts the programs: what each of their relocations has come to.
    pub(super) fn relocate(&self, linked: &mut [Linked]) -> Result<Vec<Vec<Resolution>>> {
        let Some(relocator) = self.relocator(linked) else {
            return Ok(vec![Vec::new(); linked.len()]);
        };
        let mut all = Vec::with_capacity(linked.len());
        for linked in linked {
            let resolved = relocator.relocate(&mut linked.insns, &linked.relocations);
            all.push(resolved.map_err(|failure| linked.error_at(failure.insn, failure.error))?);
        }
        Ok(all)
    }

    /// None for programs without relocations.
    fn relocator(&self, linked: &[Linked]) -> Option<Relocator<'_, '_>> {
        let mut relocations = Vec::new();
        for linked in linked {
            relocations.extend(&linked.relocations);
        }
        if relocations.is_empty() {
            return None;
        }
        let types = self.target_types.as_ref().or(self.kernel_types.as_ref());
        let btf = self.object.btf.as_ref()?;
        Some(Relocator::new(btf, self.object.order, relocations.into_iter(), types))
    }
}
