//! What BTF can be asked, whether it was decoded or is looked into where it lies.

use std::borrow::Cow;

use super::Btf;
use super::types::{Name, POINTER_SIZE, Shape, Type, TypeHead, TypeId};
use crate::error::{Context as _, Error, Result, quote};

/// How many typedefs, qualifiers and array dimensions may stand in a row. The kernel stops at as many
/// (`MAX_RESOLVE_DEPTH` in kernel/bpf/btf.c, Linux 6.18), and a cycle is longer than any number.
pub(super) const MAX_DEPTH: usize = 32;

/// The types of an object or of a kernel.
pub trait Types {
    /// The type with this id, which is `InvalidInput` when it came from elsewhere.
    fn get(&self, id: TypeId) -> Result<Cow<'_, Type>>;

    /// The kind and name of a type.
    fn head(&self, id: TypeId) -> Result<TypeHead>;

    /// The text of a name, which is `Malformed` when it is not UTF-8 or longer than
    /// [`MAX_NAME`](crate::bytes::MAX_NAME).
    fn text(&self, name: Name) -> Result<&str>;

    /// Bytes of a pointer on the machine that the types are from.
    fn pointer_size(&self) -> u32;

    /// An error about the type `id`, placed where the type is.
    fn error(&self, id: TypeId, message: String) -> Error;

    /// The name of a type, empty when it has none.
    fn name(&self, id: TypeId) -> Result<&str> {
        self.text(self.head(id)?.name).context(|| format!("type {id}"))
    }

    /// The type behind typedefs, qualifiers and type tags, with its id: never one of these itself.
    fn resolve(&self, id: TypeId) -> Result<(TypeId, Cow<'_, Type>)> {
        let mut at = id;
        for _ in 0..MAX_DEPTH {
            let ty = self.get(at)?;
            match ty.shape.alias_of() {
                Some(target) => at = target,
                None => return Ok((at, ty)),
            }
        }
        Err(self.too_deep(id))
    }

    /// The bytes that a value of this type takes; for a variable those of its type.
    ///
    /// `void`, functions, signatures, forward declarations and declaration tags have no size, and more than
    /// `u32::MAX` bytes are an error.
    fn size_of(&self, id: TypeId) -> Result<u32> {
        let mut count: u32 = 1;
        let mut at = id;
        for _ in 0..MAX_DEPTH {
            let ty = self.get(at)?;
            let size = match ty.shape {
                Shape::Ptr(_) => Some(self.pointer_size()),
                _ => ty.shape.size(),
            };
            at = match (&ty.shape, size) {
                (_, Some(size)) => return count.checked_mul(size).ok_or_else(|| self.too_big(id)),
                (Shape::Array(array), _) => {
                    count = count.checked_mul(array.len).ok_or_else(|| self.too_big(id))?;
                    array.element
                }
                (Shape::Var(var), _) => var.ty,
                (other, _) => other.alias_of().ok_or_else(|| {
                    self.error(id, format!("expected a type with a size, found {}", self.describe(at)))
                })?,
            };
        }
        Err(self.too_deep(id))
    }

    /// A type in words: `struct `flow`` or `ptr`.
    fn describe(&self, id: TypeId) -> String {
        let kind = self.head(id).map(|head| head.kind).unwrap_or_default();
        match self.name(id) {
            Ok(name) if !name.is_empty() => format!("{kind} {}", quote(name)),
            _ => kind.to_string(),
        }
    }

    #[doc(hidden)]
    #[cold]
    fn too_deep(&self, id: TypeId) -> Error {
        let message =
            format!("expected at most {MAX_DEPTH} types in a row behind this one, found more or a cycle");
        self.error(id, message)
    }

    #[doc(hidden)]
    #[cold]
    fn too_big(&self, id: TypeId) -> Error {
        self.error(id, format!("expected a size of at most {} bytes, found more", u32::MAX))
    }
}

impl Types for Btf {
    fn get(&self, id: TypeId) -> Result<Cow<'_, Type>> {
        self.get(id).map(Cow::Borrowed)
    }

    fn head(&self, id: TypeId) -> Result<TypeHead> {
        let ty = self.get(id)?;
        Ok(TypeHead { id, kind: ty.shape.kind(), name: ty.name })
    }

    fn text(&self, name: Name) -> Result<&str> {
        self.text(name)
    }

    fn pointer_size(&self) -> u32 {
        POINTER_SIZE
    }

    fn error(&self, id: TypeId, message: String) -> Error {
        self.error(id, message)
    }
}
