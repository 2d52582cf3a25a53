//! When two descriptions of types are the same: each type at the same id, wherever its names are stored.

use super::Btf;
use super::types::{EnumValue, Member, Name, Param, Shape, Type};

/// The same shapes and names at the same ids. What errors call the bytes, the places of strings, and strings that no
/// type uses (the lines of source that `.BTF.ext` points to) do not count.
impl PartialEq for Btf {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self.types().zip(other.types()).all(|((_, one), (_, two))| {
                one.renamed(|_| Name::NONE) == two.renamed(|_| Name::NONE)
                    && self.texts(one).eq(other.texts(two))
            })
    }
}

impl Eq for Btf {}

impl Btf {
    /// The bytes of all names of a type, in the order of the source.
    fn texts(&self, ty: &Type) -> impl Iterator<Item = &[u8]> {
        let mut names = Vec::new();
        ty.renamed(|name| {
            names.push(name);
            name
        });
        names.into_iter().map(|name| {
            let tail = self.strings.get(name.0 as usize..).unwrap_or_default();
            tail.split(|&byte| byte == 0).next().unwrap_or_default()
        })
    }
}

impl Type {
    /// The same type with each of its names, its own and its members', replaced by what `rename` makes of it: as when
    /// it moves to other BTF, with other strings.
    pub fn renamed(&self, mut rename: impl FnMut(Name) -> Name) -> Self {
        let name = rename(self.name);
        let mut shape = self.shape.clone();
        match &mut shape {
            Shape::Struct(composite) | Shape::Union(composite) => {
                composite.members.iter_mut().for_each(|Member { name, .. }| *name = rename(*name));
            }
            Shape::Enum(values) | Shape::Enum64(values) => {
                values.values.iter_mut().for_each(|EnumValue { name, .. }| *name = rename(*name));
            }
            Shape::FuncProto(proto) => {
                proto.params.iter_mut().for_each(|Param { name, .. }| *name = rename(*name));
            }
            Shape::Void
            | Shape::Int(_)
            | Shape::Ptr(_)
            | Shape::Array(_)
            | Shape::Fwd(_)
            | Shape::Typedef(_)
            | Shape::Volatile(_)
            | Shape::Const(_)
            | Shape::Restrict(_)
            | Shape::Func(_)
            | Shape::Var(_)
            | Shape::DataSec(_)
            | Shape::Float { .. }
            | Shape::DeclTag(_)
            | Shape::TypeTag(_) => {}
        }
        Self { name, shape }
    }
}
