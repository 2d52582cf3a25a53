//! Exception callbacks: the function that a program goes on with when it throws (`bpf_throw()`, Linux 6.7).
//!
//! No instruction names it: the kernel looks for [`Btf::exception_callbacks`]. libbpf appends the function behind all
//! that the program calls.

use crate::btf::{Btf, Shape};
use crate::error::{Error, ErrorKind, Result, quote};
use crate::object::{FunctionSpec, Object};
use crate::order::{InOrder as _, Lookup};
use crate::uapi::btf::{BtfKind, FuncLinkage};

/// The callbacks of an object's programs.
#[derive(Debug, Default)]
pub(super) struct Exceptions<'o> {
    btf: Option<&'o Btf>,
    /// The name of each program's, by the program's name.
    names: Lookup<&'o str, &'o str>,
    /// The functions of the object that other files see, by their names: the kernel takes no others.
    functions: Lookup<&'o str, &'o FunctionSpec>,
}

impl<'o> Exceptions<'o> {
    pub(super) fn new(object: &'o Object) -> Self {
        let Some(btf) = &object.btf else { return Self::default() };
        let names = btf.exception_callbacks();
        if names.is_empty() {
            return Self::default();
        }
        // Where one of each has the name, it is the program.
        let programs = object.programs.iter().map(|program| &program.function);
        let global = object.functions.iter().chain(programs).filter(|function| may_be_global(btf, function));
        Self {
            btf: Some(btf),
            names,
            functions: global.map(|function| (&*function.name, function)).into_lookup(),
        }
    }

    /// The callback of `program`, if it has one.
    pub(super) fn of(&self, program: &FunctionSpec) -> Result<Option<&'o FunctionSpec>> {
        let (Some(btf), Some(name)) = (self.btf, self.names.get(&program.name)) else { return Ok(None) };
        // The kernel takes what it finds first by the name.
        let described = btf.find(BtfKind::FUNC, name);
        let refused = |found: &str| {
            let message = format!(
                "expected the exception callback {} of program {} among the functions, found {found}",
                quote(name),
                quote(&program.name)
            );
            Error::new(ErrorKind::Malformed, message)
                .at(format!("section {}", quote(&program.section)), program.offset)
        };
        match self.functions.get(name) {
            Some(function) if function.info.ty.is_none() || function.info.ty == described => {
                Ok(Some(*function))
            }
            Some(_) => Err(refused("two, of which the kernel takes the first, which is static")
                .with_help("rename the static one")),
            None if described.is_some() => Err(refused("one that other files do not see")
                .with_help("define it in this object without `static`, and do not hide it")),
            None => Err(refused("none")),
        }
    }
}

/// Whether other files see the function, as far as the compiler has said.
fn may_be_global(btf: &Btf, function: &FunctionSpec) -> bool {
    let ty = function.info.ty.and_then(|ty| btf.get(ty).ok());
    ty.is_none_or(|ty| matches!(&ty.shape, Shape::Func(func) if func.linkage == FuncLinkage::GLOBAL))
}
