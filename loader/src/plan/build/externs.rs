//! What the programs to load take from the kernel: found there, and put into their instructions.

mod signature;

use super::Loader;
use super::maps::may_be_sized_by_cpus;
use super::options::{
    HAS_BPF_COOKIE, HAS_SYSCALL_WRAPPER, HELPERS, KERNEL_VERSION, bytes, is_of_config, syscall_wrapper,
    unknown,
};
use super::tail_calls::Programs;
use crate::btf::{Btf, KernelTypes, LazyBtf, Shape, TypeId, Types as _};
use crate::core_reloc::{are_compatible, essential};
use crate::error::{Error, ErrorKind, Result, quote};
use crate::features::Kernel;
use crate::insn::{Insn, halves};
use crate::kconfig::Kconfig;
use crate::linker::Linked;
use crate::object::{CURRENT_KERNEL_VERSION, ExternKind, ExternSpec, Object, OptionSpec};
use crate::order::{InOrder as _, Lookup};
use crate::plan::ModuleSlot;
use crate::plan::Step;
use crate::plan::call::{Call, ModuleFd};
use crate::plan::externs::{ExternValue, KernelSymbols, ResolvedExtern, Wants, no_helper};
use crate::uapi::bpf::{BPF_CALL, BPF_INSN_SIZE, BPF_PSEUDO_BTF_ID};
use crate::uapi::btf::BtfKind;

/// What the programs to load take from the kernel.
#[derive(Debug, Default)]
pub(super) struct Externs {
    /// Those that the programs refer to, with their indices in [`Object::externs`], in the order of these.
    values: Vec<(usize, ExternValue)>,
    /// The content of the map of options. An option that no program to load refers to stays 0.
    options: Vec<u8>,
    /// The modules that have some of them.
    pub(super) modules: Vec<String>,
}

impl Loader<'_> {
    /// Says how the kernel is configured that will run the programs.
    pub fn kconfig(mut self, kconfig: Kconfig) -> Self {
        self.kconfig = Some(kconfig);
        self
    }

    /// Says where its symbols are.
    pub fn kernel_symbols(mut self, symbols: KernelSymbols) -> Self {
        self.kernel_symbols = Some(symbols);
        self
    }

    /// Says which types, variables and functions it has.
    pub fn kernel_types(mut self, types: KernelTypes) -> Self {
        self.kernel_types = Some(types);
        self
    }

    /// What must be known of the kernel before the plan can be made, since the programs to load take it from there, and
    /// has not been said yet.
    pub fn wants(&self) -> Result<Wants> {
        let mut wants = Wants {
            version: self.object.version == Some(CURRENT_KERNEL_VERSION),
            cpus: self.object.maps.iter().any(may_be_sized_by_cpus),
            ..Wants::default()
        };
        let linked = if self.object.takes_nothing() { Vec::new() } else { self.linked()? };
        let mut types = self.sieve(&linked);
        for external in referred(self.object, &linked).values() {
            let name = &*external.name;
            match external.kind {
                ExternKind::Option(_) if is_of_config(name) => wants.kconfig = self.kconfig.is_none(),
                ExternKind::Option(_) if name == KERNEL_VERSION => wants.version = true,
                ExternKind::Option(_) if name == HAS_BPF_COOKIE => {
                    types.get_or_insert_default().want(BtfKind::ENUM, HELPERS);
                }
                ExternKind::Option(_) if name == HAS_SYSCALL_WRAPPER => {
                    wants.symbols.extend(syscall_wrapper().map(str::to_owned));
                }
                ExternKind::Option(_) => {}
                ExternKind::Symbol => {
                    wants.symbols.push(name.to_owned());
                }
                ExternKind::Variable(_) | ExternKind::Function(_) => {
                    types.get_or_insert_default().want(kind(external), kernel_name(external));
                }
            }
        }
        wants.types = types.filter(|_| self.kernel_types.is_none());
        if self.kernel_symbols.is_some() {
            wants.symbols.clear();
        }
        Ok(wants)
    }

    /// Whether the kernel itself lacks types, variables or functions that the programs to load take from it, so that
    /// those of its modules must be known too.
    pub fn wants_modules(&self) -> Result<bool> {
        let Some(types) = self.kernel_types.as_ref().filter(|types| types.modules.is_none()) else {
            return Ok(false);
        };
        let linked = self.linked()?;
        let is_typed = |kind| matches!(kind, ExternKind::Variable(_) | ExternKind::Function(_));
        let referred = referred(self.object, &linked);
        let mut typed = referred.values().filter(|external| is_typed(external.kind));
        Ok(typed.any(|external| lacks(types, external)) || self.relocates_by_modules(&linked)?)
    }

    /// Finds what the programs take from the kernel.
    pub(super) fn externs(&self, linked: &[Linked], kernel: &Kernel) -> Result<Externs> {
        let mut externs = Externs::default();
        for &(index, external) in referred(self.object, linked).iter() {
            let value = self.value(external, kernel, &mut externs);
            let value = value.map_err(|error| place(linked, index, error))?;
            externs.values.push((index, value));
        }
        Ok(externs)
    }

    fn value(&self, external: &ExternSpec, kernel: &Kernel, externs: &mut Externs) -> Result<ExternValue> {
        let name = &*external.name;
        let found = match external.kind {
            ExternKind::Option(option) => {
                let setting = self.setting(name, kernel)?;
                if let Some(setting) = setting {
                    externs.set_option(option, &bytes(external, option, setting)?);
                }
                setting.map(|setting| ExternValue::Setting(setting.to_string()))
            }
            ExternKind::Symbol => {
                let symbols = self.kernel_symbols.as_ref();
                let symbols = symbols.ok_or_else(|| unknown("the kernel's symbols", name))?;
                symbols.address(name)?.map(ExternValue::Address)
            }
            ExternKind::Variable(ty) | ExternKind::Function(ty) => {
                let types = self.kernel_types.as_ref();
                let types = types.ok_or_else(|| unknown("the kernel's BTF", name))?;
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
        let Some((id, btf, module)) = types.find(kind(external), kernel_name(external)) else {
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
        let known = self.kernel_types.as_ref().is_some_and(|types| types.vmlinux.is_some());
        let message = if typed && !known {
            format!("{noun} {name} cannot be found: this kernel has no BTF that says what it has")
        } else {
            format!("the kernel has no {noun} {name}")
        };
        Error::new(ErrorKind::Unsupported, message)
    }

    /// The programs to load with what they reach.
    pub(super) fn linked(&self) -> Result<Vec<Linked>> {
        let (chosen, _) = self.programs()?;
        Ok(Programs::link(self.object, &chosen)?.linked)
    }
}

impl Externs {
    /// What the programs refer to and what it comes to, in the object's order.
    pub(super) fn list(&self, object: &Object) -> Vec<ResolvedExtern> {
        let resolved = |(index, value): &(usize, ExternValue)| ResolvedExtern {
            index: *index,
            name: object.externs[*index].name.clone(),
            value: value.clone(),
        };
        self.values.iter().map(resolved).collect()
    }

    /// What the extern with this index comes to, if programs refer to it.
    pub(super) fn get(&self, index: usize) -> Option<&ExternValue> {
        let found = self.values.binary_search_by_key(&index, |(own, _)| *own);
        found.ok().map(|place| &self.values[place].1)
    }

    /// The content of the map of options, which has `size` bytes.
    pub(super) fn options(&self, size: u32) -> Vec<u8> {
        let mut options = self.options.clone();
        options.resize(size as usize, 0);
        options
    }

    /// Finds the BTF of the modules.
    pub(super) fn module_steps(&self) -> impl Iterator<Item = Step> {
        (0..self.modules.len()).map(|module| Step::new(Call::ModuleBtf { module: ModuleSlot(module) }))
    }

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
            let Some(value) = self.get(reference.external) else { continue };
            match linked.insns[reference.insn].code {
                BPF_CALL => fill_call(&mut linked.insns[reference.insn], reference.external, value),
                _ => fds.extend(fill_load(&mut linked.insns[reference.insn..], reference.insn, value)),
            }
        }
        fds
    }
}

/// Puts what was found into a call.
fn fill_call(call: &mut Insn, external: usize, value: &ExternValue) {
    if let ExternValue::Btf { id, module } = value {
        call.imm = to_imm(id.0);
        // The first place in the array of fds stands for the kernel itself.
        let place = module.map_or(0, |module| module.0 + 1);
        call.off = i16::try_from(place).unwrap_or(i16::MAX);
    } else {
        // Function 0 would do as well in code that is not reached (5.16), but where it is reached the verifier goes
        // on, and complains of what the function has not done.
        (call.src, call.imm) = (0, no_helper(external));
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
            let [low, high] = halves(*address);
            (first.imm, second.imm) = (low, high);
            None
        }
        ExternValue::Setting(_) | ExternValue::Missing => None,
    }
}

/// The externs that the programs refer to, in the object's order, by index in [`Object::externs`].
fn referred<'o>(object: &'o Object, linked: &[Linked]) -> Lookup<usize, &'o ExternSpec> {
    let references = linked.iter().flat_map(|linked| &linked.externs);
    references.map(|reference| (reference.external, &object.externs[reference.external])).into_lookup()
}

/// The kind by which a variable or function is found in BTF.
fn kind(external: &ExternSpec) -> BtfKind {
    if matches!(external.kind, ExternKind::Function(_)) { BtfKind::FUNC } else { BtfKind::VAR }
}

/// What the kernel calls it: a function may have a flavour behind three underscores, so that an object can declare
/// it with several signatures.
fn kernel_name(external: &ExternSpec) -> &str {
    match external.kind {
        ExternKind::Function(_) => essential(&external.name),
        _ => &external.name,
    }
}

/// Whether the kernel itself has BTF, but not with this in it.
fn lacks(types: &KernelTypes, external: &ExternSpec) -> bool {
    let vmlinux = types.vmlinux.as_ref();
    vmlinux.is_some_and(|btf| btf.find(kind(external), kernel_name(external)).next().is_none())
}

/// Says of an error about an extern where it is first referred to.
#[cold]
fn place(linked: &[Linked], external: usize, error: Error) -> Error {
    let refers = |linked: &Linked| {
        let reference = linked.externs.iter().find(|reference| reference.external == external)?;
        let after = linked.functions.partition_point(|function| function.start <= reference.insn);
        let function = linked.functions.get(after.checked_sub(1)?)?;
        let insn = reference.insn - function.start;
        let offset = function.offset + (insn * BPF_INSN_SIZE) as u64;
        Some((
            format!("section {}", quote(&function.section)),
            offset,
            insn,
            quote(&function.name).to_string(),
        ))
    };
    match linked.iter().find_map(refers) {
        Some((section, offset, insn, function)) => {
            error.context(format!("instruction {insn} of {function}")).at(section, offset)
        }
        None => error,
    }
}

#[cold]
fn incompatible(external: &ExternSpec, local: &Btf, ty: TypeId, kernel: &LazyBtf, found: TypeId) -> Error {
    let name = quote(&external.name);
    let message = match external.kind {
        ExternKind::Function(_) => format!("the kernel has function {name}, but with another signature"),
        _ => format!(
            "expected variable {name} to be {} as the object declares it, found {} in the kernel",
            local.describe(ty),
            kernel.describe(found)
        ),
    };
    let error = Error::new(ErrorKind::Unsupported, message);
    match external.kind {
        ExternKind::Function(_) => signature::explain(error, local, ty, kernel, found),
        _ => error,
    }
}

/// A number of 32 bits as instructions have it.
fn to_imm(number: u32) -> i32 {
    i32::from_ne_bytes(number.to_ne_bytes())
}

#[cfg(test)]
mod tests;
