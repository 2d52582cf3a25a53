//! What the programs to load take from the kernel: found there, and put into their instructions.

use std::collections::{BTreeMap, BTreeSet};

use super::Loader;
use super::options::{
    HAS_BPF_COOKIE, HAS_SYSCALL_WRAPPER, bytes, is_of_config, syscall_wrapper, unknown,
};
use crate::btf::{LazyBtf, Shape, TypeId};
use crate::error::{Context as _, Error, ErrorKind, Result, quote};
use crate::features::Kernel;
use crate::insn::Insn;
use crate::linker::{ExternReference, Linked};
use crate::object::{ExternKind, ExternSpec, Object};
use crate::plan::call::ModuleFd;
use crate::plan::externs::{ExternValue, ModuleSlot, Wants};
use crate::uapi::bpf::{BPF_CALL, BPF_PSEUDO_BTF_ID};
use crate::uapi::btf::BtfKind;

/// The helper that a call names which must not be reached; no kernel has so many. libbpf's `POISON_CALL_KFUNC_BASE`.
const NO_HELPER: i32 = 2_002_000_000;

/// How the functions are called that ask the network card about a packet (6.3, `XDP_METADATA_KFUNC_xxx`).
const METADATA: &str = "bpf_xdp_metadata_rx_";

/// What the programs to load take from the kernel.
#[derive(Debug, Default)]
pub(super) struct Externs {
    /// By index in [`Object::externs`], those that the programs refer to.
    pub(super) values: BTreeMap<usize, ExternValue>,
    /// The content of the map of options. An option that no program to load refers to stays 0.
    pub(super) options: Vec<u8>,
    /// The modules that have some of them.
    pub(super) modules: Vec<String>,
    /// Whether the kernel says which functions it has.
    has_types: bool,
}

impl Loader<'_> {
    /// What must be known of the kernel before the plan can be made, since the programs to load take it from there.
    /// Whether modules are wanted turns out when the types of the kernel itself are known.
    pub fn wants(&self) -> Result<Wants> {
        let mut wants = Wants::default();
        for external in referred(self.object, &self.linked()?).values() {
            let name = &*external.name;
            match external.kind {
                ExternKind::Option(_) if is_of_config(name) => wants.kconfig = true,
                ExternKind::Option(_) if name == HAS_BPF_COOKIE => wants.types = true,
                ExternKind::Option(_) if name == HAS_SYSCALL_WRAPPER => {
                    wants.symbols.extend(syscall_wrapper().map(str::to_owned));
                }
                ExternKind::Option(_) => {}
                ExternKind::Symbol => {
                    wants.symbols.insert(name.to_owned());
                }
                ExternKind::Variable(_) | ExternKind::Function(_) => {
                    wants.types = true;
                    let types = self.kernel_types.as_ref();
                    wants.modules |= types.is_some_and(|types| types.find_in_kernel(external).is_none());
                }
            }
        }
        Ok(wants)
    }

    /// Finds what the programs take from the kernel.
    pub(super) fn externs(&self, linked: &[Linked], kernel: &Kernel) -> Result<Externs> {
        let mut externs = Externs {
            has_types: self.kernel_types.as_ref().is_some_and(KernelTypes::is_known),
            ..Externs::default()
        };
        for (index, external) in referred(self.object, linked) {
            let value = self.value(external, kernel, &mut externs);
            let value = value.map_err(|error| place(self.object, linked, index, error))?;
            externs.values.insert(index, value);
        }
        Ok(externs)
    }

    fn value(&self, external: &ExternSpec, kernel: &Kernel, externs: &mut Externs) -> Result<ExternValue> {
        let name = &*external.name;
        let found = match external.kind {
            ExternKind::Option(option) => match self.setting(name, kernel)? {
                Some(setting) => {
                    externs.set_option(option, &bytes(external, option, setting)?);
                    Some(ExternValue::Setting(setting.to_string()))
                }
                None => {
                    externs.set_option(option, &[]);
                    None
                }
            },
            ExternKind::Symbol => {
                let symbols = self.kernel_symbols.as_ref();
                let symbols = symbols.ok_or_else(|| unknown("where the kernel's symbols are", name))?;
                symbols.address(name)?.map(ExternValue::Address)
            }
            ExternKind::Variable(ty) | ExternKind::Function(ty) => {
                let types = self.kernel_types.as_ref();
                let types = types.ok_or_else(|| unknown("which types the kernel has", name))?;
                self.typed_value(external, ty, types, externs)?
            }
        };
        match found {
            Some(value) => Ok(value),
            None if external.weak => Ok(ExternValue::Missing),
            None => Err(self.missing(external)),
        }
    }

    /// Finds a variable or function in the BTF of the kernel or of one of its modules.
    fn typed_value(
        &self,
        external: &ExternSpec,
        ty: TypeId,
        types: &KernelTypes,
        externs: &mut Externs,
    ) -> Result<Option<ExternValue>> {
        let Some((id, btf, module)) = types.find(external) else {
            return Ok(None);
        };
        let local = self.object.btf.as_ref().ok_or_else(|| self.missing(external))?;
        let found = match btf.get(id)?.shape {
            Shape::Var(var) => btf.resolve(var.ty)?.0,
            Shape::Func(func) => func.proto,
            _ => return Ok(None),
        };
        if !are_compatible(local, ty, btf, found)? {
            // Of a function libbpf does without, if it can; of a variable it does not.
            if external.weak && matches!(external.kind, ExternKind::Function(_)) {
                return Ok(None);
            }
            return Err(incompatible(external, local, ty, btf, found));
        }
        let module = module.map(|module| externs.module(module));
        Ok(Some(ExternValue::Btf { id, module }))
    }

    #[cold]
    fn missing(&self, external: &ExternSpec) -> Error {
        let noun = match external.kind {
            ExternKind::Option(_) => return self.no_such_option(&external.name),
            ExternKind::Symbol => "symbol",
            ExternKind::Variable(_) => "variable",
            ExternKind::Function(_) => "function",
        };
        let name = quote(&external.name);
        let typed = !matches!(external.kind, ExternKind::Symbol);
        let message = if typed && !self.kernel_types.as_ref().is_some_and(KernelTypes::is_known) {
            format!("{noun} {name} cannot be found: this kernel has no BTF that says what it has")
        } else {
            format!("the kernel has no {noun} {name}")
        };
        Error::new(ErrorKind::Unsupported, message)
    }

    /// The programs to load with what they reach.
    fn linked(&self) -> Result<Vec<Linked>> {
        let linker = Linker::new(self.object);
        let (programs, _) = self.programs()?;
        programs.iter().map(|program| linker.link(program)).collect()
    }
}

impl Externs {
    fn set_option(&mut self, option: OptionSpec, value: &[u8]) {
        let (start, size) = (option.offset as usize, option.size as usize);
        if self.options.len() < start + size {
            self.options.resize(start + size, 0);
        }
        self.options[start..start + value.len()].copy_from_slice(value);
    }

    fn module(&mut self, name: &str) -> ModuleSlot {
        let known = self.modules.iter().position(|module| module == name);
        ModuleSlot(known.unwrap_or_else(|| {
            self.modules.push(name.to_owned());
            self.modules.len() - 1
        }))
    }

    /// Puts what was found into the instructions of a program, and says where fds of modules are still missing.
    pub(super) fn fill(&self, linked: &mut Linked) -> Vec<ModuleFd> {
        let mut fds = Vec::new();
        for reference in &linked.externs {
            let Some(value) = self.values.get(&reference.external) else { continue };
            match linked.insns[reference.insn].code {
                BPF_CALL => self.fill_call(&mut linked.insns[reference.insn], reference.external, value),
                _ => fds.extend(fill_load(&mut linked.insns[reference.insn..], reference.insn, value)),
            }
        }
        fds
    }

    fn fill_call(&self, call: &mut Insn, external: usize, value: &ExternValue) {
        match value {
            ExternValue::Btf { id, module } => {
                call.imm = to_imm(id.0);
                // The first place in the array of fds stands for the kernel itself.
                let place = module.map_or(0, |module| module.0 + 1);
                call.off = i16::try_from(place).unwrap_or(i16::MAX);
            }
            // Where functions can be called at all, function 0 may stand in code that is never reached (5.16).
            _ if self.has_types => {}
            _ => (call.src, call.imm) = (0, NO_HELPER.wrapping_add(to_imm(external as u32))),
        }
    }
}

/// Puts what was found into a load of an address.
fn fill_load(insns: &mut [Insn], at: usize, value: &ExternValue) -> Option<ModuleFd> {
    let [first, second, ..] = insns else { return None };
    match value {
        ExternValue::Btf { id, module } => {
            (first.src, first.imm) = (BPF_PSEUDO_BTF_ID, to_imm(id.0));
            module.map(|module| ModuleFd { insn: at + 1, module })
        }
        ExternValue::Address(address) => {
            let [low, high] = [address & 0xffff_ffff, address >> 32];
            (first.imm, second.imm) = (to_imm(low as u32), to_imm(high as u32));
            None
        }
        ExternValue::Setting(_) | ExternValue::Missing => None,
    }
}
