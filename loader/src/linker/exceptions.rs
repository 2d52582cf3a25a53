//! Exception callbacks: the function that a program goes on with when it throws (`bpf_throw()`, Linux 6.7).
//!
//! No instruction names it: the kernel looks for [`Btf::exception_callbacks`]. libbpf appends the function behind all
//! that the program calls.

use std::collections::BTreeMap;

use crate::btf::Btf;
use crate::error::{Error, ErrorKind, Result, quote};
use crate::object::{Code, FunctionSpec, Object, ProgramSpec};

/// The callbacks of an object's programs.
#[derive(Debug, Default)]
pub(super) struct Exceptions<'o> {
    /// The name of each program's, by the program's name.
    names: BTreeMap<&'o str, &'o str>,
    /// The functions that have such a name.
    functions: BTreeMap<&'o str, Code<'o>>,
}

impl<'o> Exceptions<'o> {
    pub(super) fn new(object: &'o Object) -> Self {
        let names = object.btf.as_ref().map(Btf::exception_callbacks).unwrap_or_default();
        if names.is_empty() {
            return Self::default();
        }
        let functions = object.functions.iter().map(FunctionSpec::code);
        let functions = functions.chain(object.programs.iter().map(ProgramSpec::code));
        Self { names, functions: functions.map(|code| (code.name, code)).collect() }
    }

    /// The callback of `program`, if it has one.
    pub(super) fn of(&self, program: Code<'o>) -> Result<Option<Code<'o>>> {
        let Some(name) = self.names.get(program.name) else { return Ok(None) };
        let found = self.functions.get(name).copied();
        found.map(Some).ok_or_else(|| {
            let message = format!(
                "expected the exception callback {} of program {} among the functions, found none",
                quote(name),
                quote(program.name)
            );
            Error::new(ErrorKind::Malformed, message)
                .at(format!("section {}", quote(program.section)), program.offset)
        })
    }
}
