//! How types look in `{:?}`: one line each, so that a file's worth of them can be read and compared.

use std::fmt::{self, Debug};

use super::Btf;
use super::types::{Composite, Enum, Name, Shape, Type, TypeId};
use crate::error::escape;

impl Debug for TypeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TypeId({})", self.0)
    }
}

impl Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({})", self.0)
    }
}

impl Debug for Btf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.types().map(|(id, ty)| Line(self, id, ty));
        f.debug_list().entries(lines).finish()
    }
}

/// One type.
struct Line<'b>(&'b Btf, TypeId, &'b Type);

impl Debug for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(_, id, ty) = self;
        write!(f, "{id}: {}", ty.shape.kind())?;
        if !ty.name.is_anonymous() {
            write!(f, " {}", self.name(ty.name))?;
        }
        match &ty.shape {
            Shape::Void => Ok(()),
            Shape::Int(int) => write!(
                f,
                ", {} bytes, encoding {}, {} bits at {}",
                int.size, int.encoding, int.bits, int.bit_offset
            ),
            Shape::Array(array) => write!(f, " of {} times {}, by {}", array.len, array.element, array.index),
            Shape::Struct(composite) | Shape::Union(composite) => self.members(f, composite),
            Shape::Enum(values) | Shape::Enum64(values) => self.values(f, values),
            Shape::Fwd(kind) => write!(f, " of {kind:?}"),
            Shape::Func(func) => write!(f, ", {:?}, signature {}", func.linkage, func.proto),
            Shape::FuncProto(proto) => {
                for param in &proto.params {
                    write!(f, " ({} {})", self.name(param.name), param.ty)?;
                }
                write!(f, "{} -> {}", if proto.variadic { " (...)" } else { "" }, proto.result)
            }
            Shape::Var(var) => write!(f, ", {:?}, of {}", var.linkage, var.ty),
            Shape::DataSec(data) => {
                write!(f, ", {} bytes", data.size)?;
                for entry in &data.entries {
                    write!(
                        f,
                        ", {} at {} to {}",
                        entry.ty,
                        entry.offset,
                        entry.offset.wrapping_add(entry.size)
                    )?;
                }
                Ok(())
            }
            Shape::Float { size } => write!(f, ", {size} bytes"),
            Shape::DeclTag(tag) => write!(f, " of {}, component {:?}", tag.target, tag.component),
            Shape::Ptr(target)
            | Shape::Typedef(target)
            | Shape::Volatile(target)
            | Shape::Const(target)
            | Shape::Restrict(target) => write!(f, " of {target}"),
            Shape::TypeTag(tag) => write!(f, " of {}", tag.target),
        }
    }
}

impl Line<'_> {
    fn name(&self, name: Name) -> String {
        self.0.text(name).map_or_else(|_| format!("{name:?}"), |text| escape(text).into_owned())
    }

    fn members(&self, f: &mut fmt::Formatter<'_>, composite: &Composite) -> fmt::Result {
        write!(f, ", {} bytes", composite.size)?;
        for member in &composite.members {
            write!(f, ", {}: {} at bit {}", self.name(member.name), member.ty, member.bit_offset)?;
            if member.bitfield_bits > 0 {
                write!(f, " for {}", member.bitfield_bits)?;
            }
        }
        Ok(())
    }

    fn values(&self, f: &mut fmt::Formatter<'_>, values: &Enum) -> fmt::Result {
        write!(f, ", {} bytes{}", values.size, if values.signed { ", signed" } else { "" })?;
        values
            .values
            .iter()
            .try_for_each(|value| write!(f, ", {} = {:#x}", self.name(value.name), value.value))
    }
}
