//! The types of a whole kernel: its own, and those of its modules.

use super::lazy::LazyBtf;
use super::types::TypeId;
use crate::uapi::btf::BtfKind;

/// Which types, variables and functions the kernel has that will run the programs.
#[derive(Clone, Debug, Default)]
pub struct KernelTypes {
    /// Its own BTF; none for a kernel that was built without.
    pub vmlinux: Option<LazyBtf>,
    /// The BTF of its modules, by their names; `None` where nobody has looked.
    pub modules: Option<Vec<(String, LazyBtf)>>,
}

impl KernelTypes {
    /// The first type of this kind and name, with the BTF that it is in and the name of the module. What is in the
    /// kernel itself comes before what is in a module.
    pub fn find(&self, kind: BtfKind, name: &str) -> Option<(TypeId, &LazyBtf, Option<&str>)> {
        let vmlinux = self.vmlinux.iter().map(|btf| (btf, None));
        let modules = self.modules.iter().flatten().map(|(module, btf)| (btf, Some(&**module)));
        vmlinux.chain(modules).find_map(|(btf, module)| Some((btf.find(kind, name).next()?, btf, module)))
    }
}
