//! What differs between the signature by which the object declares a function and that of the kernel's.

use crate::btf::{Btf, FwdKind, LazyBtf, Shape, TypeId, Types};
use crate::core_reloc::are_compatible;
use crate::error::{Error, Result, quote};

/// How many pointers and qualifiers are gone through for the name of a type.
const MAX_ROW: usize = 32;

/// Of the refusal `error`, the first difference, and what helps where the object only declares a struct.
#[cold]
pub(super) fn explain(error: Error, local: &Btf, ty: TypeId, kernel: &LazyBtf, found: TypeId) -> Error {
    match difference(local, ty, kernel, found) {
        Ok(Some((words, help))) => {
            let message = format!("{error}: {words}");
            let error = error.with_message(message);
            match help {
                Some(help) => error.with_help(help),
                None => error,
            }
        }
        // The refusal is worth more than why its reason cannot be told.
        _ => error,
    }
}

type Difference = Option<(String, Option<String>)>;

fn difference(local: &Btf, ty: TypeId, kernel: &LazyBtf, found: TypeId) -> Result<Difference> {
    let (_, here) = Types::resolve(local, ty)?;
    let (_, there) = kernel.resolve(found)?;
    let (Shape::FuncProto(here), Shape::FuncProto(there)) = (&here.shape, &there.shape) else {
        return Ok(None);
    };
    if here.params.len() != there.params.len() {
        let words =
            format!("it takes {} there, and {} here", count(there.params.len()), count(here.params.len()));
        return Ok(Some((words, None)));
    }
    let params = here.params.iter().zip(&there.params).zip(1..);
    let params = params.map(|((here, there), number)| (format!("parameter {number}"), here.ty, there.ty));
    let result = ("the return value".to_owned(), here.result, there.result);
    for (what, here, there) in params.chain([result]) {
        let ((bare_here, _), (bare_there, _)) = (Types::resolve(local, here)?, kernel.resolve(there)?);
        if are_compatible(local, bare_here, kernel, bare_there)? {
            continue;
        }
        let (here, there) = (TypeText::of(local, here)?, TypeText::of(kernel, there)?);
        let words = format!("{what} is {} there, and {} here", quote(&there.words), quote(&here.words));
        return Ok(Some(match here.declared.filter(|_| here.words == there.words) {
            Some(name) => {
                let name = quote(&name);
                (
                    format!("{words}, where {name} is not defined"),
                    Some(format!("define {name} in the object")),
                )
            }
            None => (words, None),
        }));
    }
    Ok(None)
}

fn count(params: usize) -> String {
    if params == 1 { "1 parameter".to_owned() } else { format!("{params} parameters") }
}

/// A type without its qualifiers as C has it, or nearly.
struct TypeText {
    words: String,
    /// The struct or union behind it, where it is only declared.
    declared: Option<String>,
}

impl TypeText {
    fn of(types: &dyn Types, id: TypeId) -> Result<Self> {
        let (mut at, mut stars) = (id, String::new());
        for _ in 0..MAX_ROW {
            let ty = types.get(at)?;
            at = match &ty.shape {
                Shape::Ptr(target) => {
                    stars.push('*');
                    *target
                }
                Shape::Const(target) | Shape::Volatile(target) | Shape::Restrict(target) => *target,
                Shape::TypeTag(tag) => tag.target,
                _ => break,
            };
        }
        let (ty, name) = (types.get(at)?, types.name(at)?);
        let base = match &ty.shape {
            Shape::Void => "void".to_owned(),
            Shape::Int(_) | Shape::Float { .. } | Shape::Typedef(_) => name.to_owned(),
            Shape::Fwd(FwdKind::Struct) => format!("struct {name}"),
            Shape::Fwd(FwdKind::Union) => format!("union {name}"),
            shape => format!("{} {name}", shape.kind()).trim_end().to_owned(),
        };
        let declared = matches!(ty.shape, Shape::Fwd(_)).then(|| base.clone());
        Ok(Self { words: format!("{base} {stars}").trim_end().to_owned(), declared })
    }
}
