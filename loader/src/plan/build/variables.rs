//! The values that constants of the object begin with, where the caller wishes for others than the file has.

use super::Loader;
use crate::btf::Value;
use crate::error::{Context as _, Error, ErrorKind, Remedy, Result, quote};
use crate::object::{DataKind, DataSpec, Object};

/// A wish for a variable's value.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// The variable's name, and the way to the part of it that is meant.
    variable: String,
    value: Value,
}

impl Loader<'_> {
    /// Lets the constant `variable` begin with `value` instead of what the file has: `limit`, or a part of it such as
    /// `limits[3].bytes`.
    ///
    /// The value is one of the variable's type, as [`Btf::encode`](crate::btf::Btf::encode) takes it; of a struct the
    /// fields that it names. A variable without a type takes a number or `hex:BYTES`. Only `.rodata` is constant.
    pub fn set(mut self, variable: impl Into<String>, value: impl Into<Value>) -> Self {
        self.settings.push(Setting { variable: variable.into(), value: value.into() });
        self
    }

    /// What the sections of variables begin with, in the order of [`Object::data`].
    pub(super) fn contents(&self) -> Result<Vec<Vec<u8>>> {
        let mut contents: Vec<_> = self.object.data.iter().map(|data| data.content.clone()).collect();
        for Setting { variable, value } in &self.settings {
            set(self.object, &mut contents, variable, value)
                .context(|| format!("setting {}", quote(variable)))?;
        }
        Ok(contents)
    }
}

fn set(object: &Object, contents: &mut [Vec<u8>], words: &str, value: &Value) -> Result<()> {
    let (data, variable, path) = object.variable(words)?;
    if data.kind != DataKind::ReadOnly {
        return Err(not_constant(data, words));
    }
    let of_section = object.data.iter().zip(contents).find(|(other, _)| other.section == data.section);
    let place = variable.offset as usize..variable.offset as usize + variable.size as usize;
    let Some(bytes) = of_section.and_then(|(_, content)| content.get_mut(place)) else {
        let message = format!("section {} is shorter than its variables", quote(&data.section));
        return Err(Error::new(ErrorKind::Malformed, message));
    };
    match (&object.btf, variable.ty) {
        (Some(btf), Some(ty)) => btf.encode_field(btf.field(ty, path)?, value, bytes, object.order),
        _ if path.is_empty() => value.write_untyped(bytes, object.order),
        _ => Err(Error::new(
            ErrorKind::InvalidInput,
            "it has no type, and so no parts: the object's BTF leaves it out",
        )),
    }
}

fn not_constant(data: &DataSpec, words: &str) -> Error {
    let message = format!("it is not constant, but in section {}", quote(&data.section));
    let error = Error::new(ErrorKind::InvalidInput, message);
    if data.kind == DataKind::Arena {
        return error;
    }
    let later = Remedy::SetLater { section: data.section.clone(), variable: words.to_owned() };
    error.with_help(("set it after loading: ", later))
}
