//! Global variables one by one: what BTF says of them, and the symbol table of those that BTF leaves out.

use std::collections::BTreeSet;

use super::{DataSpec, File, Object};
use crate::btf::{Btf, Shape, TypeId};
use crate::elf::Section;
use crate::error::{Error, ErrorKind, Result, quote};
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
    /// it: `counters[3].bytes`.
    pub fn variable<'o, 'w>(&'o self, words: &'w str) -> Result<(&'o DataSpec, &'o VariableSpec, &'w str)> {
        let all =
            || self.data.iter().flat_map(|data| data.variables.iter().map(move |variable| (data, variable)));
        let rest_of = |variable: &VariableSpec| {
            let rest = words.strip_prefix(&*variable.name)?;
            (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
        };
        // The compiler puts dots into names too: of two that fit, the longer one is meant.
        let longest = all().filter(|(_, it)| rest_of(it).is_some()).map(|(_, it)| it.name.len()).max();
        let mut found = all().filter(|(_, it)| Some(it.name.len()) == longest && rest_of(it).is_some());
        match (found.next(), found.next()) {
            (Some((data, variable)), None) => Ok((data, variable, &words[variable.name.len()..])),
            (Some((data, variable)), Some((other, _))) => {
                let [first, second] = [data, other].map(|data| quote(&data.section));
                let name = quote(&variable.name);
                Err(invalid(format!("several variables are called {name}, in {first} and in {second}")))
            }
            (None, _) => {
                let end = words.find(['.', '[']).unwrap_or(words.len());
                let names: Vec<_> = all().map(|(_, variable)| quote(&variable.name)).collect();
                let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
                Err(invalid(format!("there is no variable {}: the object has {names}", quote(&words[..end]))))
            }
        }
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
    let places: BTreeSet<u32> = variables.iter().map(|variable| variable.offset).into_set();
    for symbol in file.symbols_in(section.index) {
        let is_variable =
            matches!(symbol.kind, SymbolType::OBJECT | SymbolType::NOTYPE) && !symbol.name.is_empty();
        let place = u32::try_from(symbol.value).ok().zip(u32::try_from(symbol.size).ok());
        let Some((offset, size)) = place.filter(|_| is_variable && symbol.size > 0) else { continue };
        if !places.contains(&offset) && u64::from(offset) + u64::from(size) <= section.size {
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
