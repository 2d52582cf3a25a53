//! Programs adapted to the types of the kernel that will run them.

use super::Loader;
use crate::btf::KernelTypes;
use crate::core_reloc::{Relocator, Resolution, needs_kernel};
use crate::error::Result;
use crate::linker::Linked;
use crate::plan::externs::Wants;

impl Loader<'_> {
    /// Adapts the programs to these types and not to those of the kernel that [`Loader::kernel_types`] tells.
    pub fn target_types(mut self, types: KernelTypes) -> Self {
        self.target_types = Some(types);
        self
    }

    /// Notes what must be known of the kernel to adapt `linked` to it.
    pub(super) fn want_types(&self, linked: &[Linked], wants: &mut Wants) -> Result<()> {
        let mut relocations = linked.iter().flat_map(|linked| &linked.relocations);
        if self.target_types.is_some() || !relocations.any(|relocation| needs_kernel(relocation.kind)) {
            return Ok(());
        }
        let Some(types) = &self.kernel_types else {
            wants.types = true;
            return Ok(());
        };
        if let Some(relocator) = self.relocator(linked).filter(|_| types.modules.is_none()) {
            for linked in linked {
                wants.modules |= relocator.wants_modules(&linked.relocations)?;
            }
        }
        Ok(())
    }

    /// Adapts the programs: what each of their relocations has come to.
    pub(super) fn relocate(&self, linked: &mut [Linked]) -> Result<Vec<Vec<Resolution>>> {
        let Some(relocator) = self.relocator(linked) else {
            return Ok(vec![Vec::new(); linked.len()]);
        };
        let relocate = |linked: &mut Linked| {
            let resolved = relocator.relocate(&mut linked.insns, &linked.relocations);
            resolved.map_err(|failure| linked.error_at(failure.insn, failure.error))
        };
        linked.iter_mut().map(relocate).collect()
    }

    /// None for an object without types, which has no relocations either.
    fn relocator(&self, linked: &[Linked]) -> Option<Relocator<'_, '_>> {
        let relocations = linked.iter().flat_map(|linked| &linked.relocations);
        let types = self.target_types.as_ref().or(self.kernel_types.as_ref());
        let btf = self.object.btf.as_ref()?;
        Some(Relocator::new(btf, self.object.order, relocations, types))
    }
}
