//! Global variables one by one: what BTF says of them, and the symbol table of those that BTF leaves out.

use super::{DataSpec, ExternKind, ExternSpec, File, Object};
use crate::btf::{Btf, Shape, TypeId, begin, first_name, several_variables};
use crate::elf::Section;
use crate::error::{Error, ErrorKind, Remedy, Result, quote, quote_each};
use crate::order::{InOrder as _, sort_by_key};
use crate::uapi::elf::SymbolType;

/// A variable in a section of data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VariableSpec {
    /// Its name in the source.
    pub name: String,
    /// Bytes from the start of its section.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// Its type in [`Object::btf`]; none where only the symbol table knows of it.
    pub ty: Option<TypeId>,
}

impl Object {
    /// The variable that `words` begin with, the section it is in, and the rest of the words, which leads to a part of
    /// it: `counters[3].bytes`. Of several variables of one name, as files have them that were joined, `NAME@OFFSET` is
    /// the one at that place of its section.
    pub fn variable<'o, 'w>(&'o self, words: &'w str) -> Result<(&'o DataSpec, &'o VariableSpec, &'w str)> {
        let all: Vec<_> = self
            .data
            .iter()
            .flat_map(|data| data.variables.iter().map(move |variable| (data, variable)))
            .collect();
        let found = begin(words, all.iter().map(|(_, variable)| (&*variable.name, variable.offset)));
        if let [(index, rest)] = found[..] {
            let (data, variable) = all[index];
            return Ok((data, variable, rest));
        }
        let Some((first, _)) = found.first() else {
            if self.is_option(first_name(words)) {
                let message =
                    format!("{} is no variable, but an option of the kernel", quote(first_name(words)));
                return Err(
                    invalid(message).with_help(("what is to stand for the kernel's: ", Remedy::GiveKconfig))
                );
            }
            let names = quote_each(&mut all.iter().map(|(_, variable)| &*variable.name));
            let name = quote(first_name(words));
            return Err(invalid(format!("there is no variable {name}: the object has {names}")));
        };
        let places = found.iter().map(|(index, _)| {
            let (data, variable) = all[*index];
            (Some(&*data.section), variable.offset)
        });
        Err(several_variables(&all[*first].1.name, places))
    }
}

impl Object {
    fn is_option(&self, name: &str) -> bool {
        let is_it = |it: &ExternSpec| it.name == name && matches!(it.kind, ExternKind::Option(_));
        self.externs.iter().any(is_it)
    }
}

/// The variables of a section, in the order of their places.
pub(super) fn parse(
    file: &File<'_, '_>,
    btf: Option<&Btf>,
    section: &Section<'_>,
    ty: Option<TypeId>,
) -> Result<Vec<VariableSpec>> {
    let mut variables = match (btf, ty) {
        (Some(btf), Some(ty)) => described(btf, ty, section.size)?,
        _ => Vec::new(),
    };
    let places = variables.iter().map(|variable| variable.offset).into_set();
    for symbol in file.symbols_in(section.index) {
        let is_variable =
            matches!(symbol.kind, SymbolType::OBJECT | SymbolType::NOTYPE) && !symbol.name.is_empty();
        let place = u32::try_from(symbol.value).ok().zip(u32::try_from(symbol.size).ok());
        let Some((offset, size)) = place.filter(|_| is_variable && symbol.size > 0) else { continue };
        if places.binary_search(&offset).is_err() && u64::from(offset) + u64::from(size) <= section.size {
            variables.push(VariableSpec { name: symbol.name.clone().into_owned(), offset, size, ty: None });
        }
    }
    sort_by_key(&mut variables, |variable| variable.offset);
    Ok(variables)
}

fn described(btf: &Btf, section: TypeId, size: u64) -> Result<Vec<VariableSpec>> {
    let Shape::DataSec(data) = &btf.get(section)?.shape else { return Ok(Vec::new()) };
    let mut variables = Vec::new();
    for entry in data.entries.iter().filter(|entry| u64::from(entry.offset) + u64::from(entry.size) <= size) {
        let Shape::Var(var) = &btf.get(entry.ty)?.shape else { continue };
        let name = btf.name(entry.ty)?.to_owned();
        variables.push(VariableSpec { name, offset: entry.offset, size: entry.size, ty: Some(var.ty) });
    }
    Ok(variables)
}

#[cold]
fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}
