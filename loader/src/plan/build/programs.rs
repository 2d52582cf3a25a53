//! The steps that load programs.

use std::path::Path;
use std::sync::Arc;

use nix::libc::EEXIST;

use super::data::DataMaps;
use super::externs::Externs;
use super::maps::make_parents;
use super::{Loader, NEWER, charged, name_for};
use crate::btf::BtfAddition;
use crate::error::{Context as _, Error, ErrorKind, Result, quote};
use crate::features::{Answer, Feature, Kernel};
use crate::linker::Linked;
use crate::object::{CURRENT_KERNEL_VERSION, ProgramSpec};
use crate::plan::call::{Call, Device, ProgInfo, ProgLoad};
use crate::plan::pin_path::check_pin_path;
use crate::plan::slot::ProgramSlot;
use crate::plan::{ModuleSlot, On, Step};
use crate::uapi::bpf::{AttachType, BPF_F_XDP_DEV_BOUND_ONLY, BPF_F_XDP_HAS_FRAGS};

impl Loader<'_> {
    pub(super) fn program_step(
        &self,
        slot: ProgramSlot,
        program: &ProgramSpec,
        mut linked: Linked,
        data: &DataMaps,
        externs: &Externs,
        kernel: &Kernel,
    ) -> Result<Step> {
        let device = self.device(program, &linked, externs)?;
        let module_references = externs.fill(&mut linked);
        let frags = if program.kind.frags { BPF_F_XDP_HAS_FRAGS } else { 0 };
        let bound = if device == Device::Interface { BPF_F_XDP_DEV_BOUND_ONLY } else { 0 };
        let has_functions = kernel.has(Feature::BtfWith(BtfAddition::Functions)) != Answer::No;
        let load = ProgLoad {
            program: slot,
            prog_type: program.kind.prog_type,
            expected_attach_type: Some(program.kind.attach_type)
                .filter(|_| program.extends().is_none())
                .filter(|_| kernel.has(Feature::ExpectedAttachType) != Answer::No),
            flags: frags | bound,
            name: name_for(kernel, &program.function.name),
            license: self.object.license.clone().unwrap_or_default(),
            kern_version: self.kern_version(kernel)?,
            info: info(program, &linked)?.filter(|_| has_functions).map(Arc::new),
            map_references: linked.map_references.iter().map(|reference| data.map_fd(*reference)).collect(),
            module_references,
            modules: (0..externs.modules.len()).map(ModuleSlot).collect(),
            insns: linked.insns.into(),
            log: false,
            device,
            extends: program.extends().map(str::to_owned),
        };
        let with_log = ProgLoad { log: true, ..load.clone() };
        // A good program is loaded silently; only a refusal is worth a log, and the log tells whose refusal it is.
        let explain = vec![load_step_with_log(with_log, kernel)];
        Ok(charged(&load.into(), kernel).or(On::AnyErrno, explain))
    }

    /// Pins the programs, each under its name, and asks for what is told of them.
    pub(super) fn pin_programs(&self, dir: &str, programs: &[&ProgramSpec]) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for (slot, spec) in programs.iter().enumerate() {
            let program = ProgramSlot(slot);
            let path = format!("{dir}/{}", pin_name(spec));
            check_pin_path(Path::new(&self.bpffs), Path::new(&path))
                .context(|| format!("program {}", quote(&spec.function.name)))?;
            if slot == 0 {
                steps.extend(make_parents(&path, &self.bpffs));
            }
            let find = Step::new(Call::FindSameProgram { program, path: path.clone() });
            steps.push(Step::new(Call::PinProgram { program, path }).or(On::Errno(&[EEXIST]), vec![find]));
            steps.push(Step::new(Call::ProgInfo { program }).or(On::AnyErrno, Vec::new()));
        }
        Ok(steps)
    }

    fn kern_version(&self, kernel: &Kernel) -> Result<u32> {
        match self.object.version {
            None => Ok(0),
            Some(CURRENT_KERNEL_VERSION) => kernel.version_code.ok_or_else(|| {
                Error::new(
                    ErrorKind::InvalidInput,
                    "the object is for the running kernel, whose version is not known here",
                )
                .at("section `version`", 0)
                .with_help("`Kernel::current` asks the running one")
            }),
            Some(version) => Ok(version),
        }
    }
}

/// A program's name as a file of bpffs, where the kernel refuses dots.
pub(super) fn pin_name(program: &ProgramSpec) -> String {
    program.function.name.replace('.', "_")
}

/// What the kernel is told of the functions and lines of a program.
fn info(program: &ProgramSpec, linked: &Linked) -> Result<Option<ProgInfo>> {
    match linked.func_info() {
        Some(functions) => {
            let lines = linked.line_info().unwrap_or_default().to_vec();
            Ok(Some(ProgInfo { functions, lines, is_needed: linked.has_exception_callback }))
        }
        None if linked.has_exception_callback => {
            let message = format!(
                "program {} has an exception callback, which the kernel finds by what the compiler says of \
                 functions, and that is missing",
                quote(&program.function.name)
            );
            Err(Error::new(ErrorKind::InvalidInput, message)
                .with_help("compile with `clang -g`, and strip with `llvm-strip -g`, which keeps it"))
        }
        None => Ok(None),
    }
}

/// Loads a program with the verifier's log; if that is refused for want of what only newer kernels have, without
/// one of those after the other.
fn load_step_with_log(load: ProgLoad, kernel: &Kernel) -> Step {
    let mut step = Step::new(load.clone());
    // Of an extension the kernel wants the types that it compares with those of the function.
    if load.info.as_ref().is_some_and(|info| !info.is_needed) && load.extends.is_none() {
        let without = ProgLoad { info: None, ..load.clone() };
        step = step.or(On::ProgInfo, vec![load_step_with_log(without, kernel)]);
    }
    let unknown = |feature| kernel.has(feature) == Answer::Unknown;
    // A kernel so old has taken no types.
    let load = ProgLoad { info: None, ..load };
    if load.expected_attach_type == Some(AttachType::XDP) && unknown(Feature::ExpectedAttachType) {
        let older = ProgLoad { expected_attach_type: None, ..load };
        step.or_lacking(NEWER, Feature::ExpectedAttachType, vec![load_step_with_log(older, kernel)])
    } else if load.name.is_some() && unknown(Feature::ObjectNames) {
        let older = ProgLoad { name: None, ..load };
        step.or_lacking(NEWER, Feature::ObjectNames, vec![load_step_with_log(older, kernel)])
    } else {
        step
    }
}
