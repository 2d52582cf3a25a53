//! A plan's calls on a program that is extended: finding its function, and taking the function's place.

use std::os::fd::{AsFd as _, AsRawFd as _};

use super::{Execution, Outcome};
use crate::attach::Link;
use crate::btf::Btf;
use crate::error::{Context as _, Error, ErrorKind, Result, quote, quote_each};
use crate::kernel::LoadedBtf;
use crate::plan::{Existing, ProgramSlot};
use crate::program::{FunctionOf, Program};
use crate::uapi::btf::BtfKind;

/// The program that is extended, and the types in which its functions are named.
pub(super) struct Extended {
    program: Program,
    name: String,
    btf: Btf,
}

impl Execution<'_> {
    /// Opens the program to extend, and reads its types.
    pub(super) fn open_extended(&mut self, existing: &Existing) -> Result<Outcome> {
        let (program, info) = existing.open()?;
        let name = format!("program {} (id {})", quote(&info.name), info.id);
        if info.btf_id == 0 {
            let message = format!("{name} was loaded without BTF, so none of its functions can be replaced");
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let btf = LoadedBtf::from_id(info.btf_id)
            .and_then(|btf| btf.read())
            .context(|| format!("types of {name}"))?;
        let outcome = Outcome::Fd(program.as_fd().as_raw_fd());
        self.extended = Some(Extended { program, name, btf });
        Ok(outcome)
    }

    /// Where the function is that an extension replaces.
    pub(super) fn function_to_replace(&self, function: &str) -> Result<FunctionOf<'_>> {
        let Extended { program, name, btf } =
            self.extended.as_ref().expect("a plan opens the program to extend before it loads an extension");
        let Some(id) = btf.find(BtfKind::FUNC, function) else {
            let functions = btf.types().filter(|(_, ty)| ty.shape.kind() == BtfKind::FUNC);
            let names = quote_each(&mut functions.filter_map(|(id, _)| btf.name(id).ok()));
            let message = format!("{name} has no function {}: it has {names}", quote(function));
            return Err(Error::new(ErrorKind::NotFound, message));
        };
        Ok(FunctionOf { program: program.as_fd(), btf_id: id.0 })
    }

    /// Lets an extension take the place of its function.
    pub(super) fn extend(&mut self, program: ProgramSlot) -> Result<Outcome> {
        let extended = self.extended.as_ref().map_or("", |extended| &extended.name);
        let link = Link::extend(self.program(program).as_fd())
            .context(|| format!("replacing a function of {extended}"))?;
        let outcome = Outcome::Fd(link.as_fd().as_raw_fd());
        self.here_mut().bpf_link = Some(link);
        Ok(outcome)
    }
}
