//! Extensions: programs that replace a function of another program, which is loaded already.

use std::path::Path;

use super::Loader;
use super::maps::make_parents;
use super::programs::pin_name;
use crate::error::{Context as _, Error, ErrorKind, Remedy, Result, quote};
use crate::object::ProgramSpec;
use crate::plan::Step;
use crate::plan::call::{BpfLinkCall, Call};
use crate::plan::pin_path::check_pin_path;
use crate::plan::slot::ProgramSlot;

impl Loader<'_> {
    /// Refuses an extension without a program to extend, and a program to extend without an extension.
    pub(super) fn refuse_extensions_of_nothing(&self, chosen: &[usize]) -> Result<()> {
        let mut programs = chosen.iter().map(|&index| &self.object.programs[index]);
        let extension = programs.find_map(|program| Some((program, program.extends()?)));
        let Some((program, function)) = extension else {
            return match self.extended {
                Some(_) => Err(Error::new(
                    ErrorKind::InvalidInput,
                    "no program that is loaded is an extension (section `freplace/<function>`)",
                )),
                None => Ok(()),
            };
        };
        let is = format!(
            "program {} replaces function {} of another program",
            quote(&program.function.name),
            quote(function)
        );
        if !self.targets.is_empty() {
            let message = format!("{is}, and cannot be attached to an interface");
            return Err(Error::new(ErrorKind::InvalidInput, message)
                .with_help(("say which program: ", Remedy::NameExtended)));
        }
        if self.extended.is_none() {
            let message = format!("{is}, and that program is not named");
            return Err(
                Error::new(ErrorKind::InvalidInput, message).with_help(("name it: ", Remedy::NameExtended))
            );
        }
        if self.object.btf.is_none() {
            let message = format!("{is}, for which the kernel needs BTF, and the object has none");
            return Err(Error::new(ErrorKind::InvalidInput, message).with_help("compile with `clang -g`"));
        }
        Ok(())
    }

    /// Lets the extensions take the places of their functions for as long as they are pinned.
    pub(super) fn extension_steps(&self, dir: &str, programs: &[&ProgramSpec]) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        for (slot, spec) in programs.iter().enumerate().filter(|(_, program)| program.extends().is_some()) {
            let path = format!("{dir}/links/{}", pin_name(spec));
            check_pin_path(Path::new(&self.bpffs), Path::new(&path))
                .context(|| format!("the bpf_link of program {}", quote(&spec.function.name)))?;
            if steps.is_empty() {
                steps.extend(make_parents(&path, &self.bpffs));
            }
            steps.push(Step::new(Call::Extend { program: ProgramSlot(slot) }));
            steps.push(Step::new(BpfLinkCall::Pin { path }));
        }
        Ok(steps)
    }
}
