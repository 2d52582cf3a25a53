//! Whether a type of the kernel has all that the program knows of it: what `bpf_core_type_matches()` asks.

use super::compat::{How, MAX_ROW, Pair, essential, too_much};
use crate::btf::{Composite, Enum, FuncProto, FwdKind, Name, Shape, TypeId};
use crate::error::Result;
use crate::order::sort_by_key;

impl<'t> Pair<'_, 't, '_> {
    /// Whether the two types match. Integers do if they have the same size and sign, arrays and signatures if all they
    /// are made of matches, a struct if the kernel's has all its members, an enumeration if the kernel's has the names
    /// of all its values. Behind a pointer, only the name and the sort of a struct count.
    pub(super) fn types_match(
        self,
        local: TypeId,
        target: TypeId,
        behind_pointer: bool,
        level: u32,
    ) -> Result<bool> {
        let level = level.checked_sub(1).ok_or_else(|| too_much("types in each other"))?;
        let (mut local_id, mut target_id, mut behind_pointer) = (local, target, behind_pointer);
        for _ in 0..MAX_ROW {
            self.budget.spend(1)?;
            let (local, target) = self.resolve(local_id, target_id)?;
            if !self.names_fit(&local, &target)? {
                return Ok(false);
            }
            (local_id, target_id) = match (&local.shape, &target.shape) {
                (Shape::Void, Shape::Void) => return Ok(true),
                (Shape::Int(one), Shape::Int(other)) => {
                    return Ok(one.size == other.size && one.is_signed() == other.is_signed());
                }
                (Shape::Enum(one) | Shape::Enum64(one), Shape::Enum(other) | Shape::Enum64(other)) => {
                    return self.enums_match(one, other);
                }
                (Shape::Struct(one), Shape::Struct(other)) | (Shape::Union(one), Shape::Union(other)) => {
                    return if behind_pointer { Ok(true) } else { self.members_match(one, other, level) };
                }
                (Shape::Fwd(one), Shape::Fwd(other)) => return Ok(one == other),
                (Shape::Fwd(FwdKind::Struct), Shape::Struct(_))
                | (Shape::Struct(_), Shape::Fwd(FwdKind::Struct))
                | (Shape::Fwd(FwdKind::Union), Shape::Union(_))
                | (Shape::Union(_), Shape::Fwd(FwdKind::Union)) => return Ok(behind_pointer),
                (Shape::Ptr(one), Shape::Ptr(other)) => {
                    behind_pointer = true;
                    (*one, *other)
                }
                (Shape::Array(one), Shape::Array(other)) if one.len == other.len => {
                    (one.element, other.element)
                }
                (Shape::FuncProto(one), Shape::FuncProto(other)) => {
                    if !self.params_match(one, other, behind_pointer, level)? {
                        return Ok(false);
                    }
                    (one.result, other.result)
                }
                _ => return Ok(false),
            };
        }
        Err(too_much("pointers in a row"))
    }

    fn params_match(
        self,
        local: &FuncProto,
        target: &FuncProto,
        behind_pointer: bool,
        level: u32,
    ) -> Result<bool> {
        if local.params.len() != target.params.len() || local.variadic != target.variadic {
            return Ok(false);
        }
        for (one, other) in local.params.iter().zip(&target.params) {
            let how = if behind_pointer { How::MatchBehindPointer } else { How::Match };
            let compare = || self.types_match(one.ty, other.ty, behind_pointer, level);
            if !self.once(how, (one.ty, other.ty), compare)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn enums_match(self, local: &Enum, target: &Enum) -> Result<bool> {
        if local.size != target.size || local.values.len() > target.values.len() {
            return Ok(false);
        }
        let names = self.by_name(&mut target.values.iter().map(|value| value.name))?;
        for value in &local.values {
            if named(&names, essential(self.local.text(value.name)?)).is_empty() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn members_match(self, local: &Composite, target: &Composite, level: u32) -> Result<bool> {
        if local.members.len() > target.members.len() {
            return Ok(false);
        }
        let by_name = self.by_name(&mut target.members.iter().map(|member| member.name))?;
        for member in &local.members {
            let name = essential(self.local.text(member.name)?);
            let mut found = false;
            for &(_, index) in named(&by_name, name) {
                let other = &target.members[index];
                let compare = || self.types_match(member.ty, other.ty, false, level);
                found = self.once(How::Match, (member.ty, other.ty), compare)?;
                if found {
                    break;
                }
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The names of parts of the kernel's type but for their flavours, in order, each with the number of the part;
    /// several can have none.
    fn by_name(self, names: &mut dyn ExactSizeIterator<Item = Name>) -> Result<Vec<(&'t str, usize)>> {
        self.budget.spend(names.len())?;
        let mut by_name = Vec::with_capacity(names.len());
        for (index, name) in names.enumerate() {
            by_name.push((essential(self.target.text(name)?), index));
        }
        sort_by_key(&mut by_name, |(name, _)| *name);
        Ok(by_name)
    }
}

/// Those in `by_name` that have this name.
fn named<'n, 't>(by_name: &'n [(&'t str, usize)], name: &str) -> &'n [(&'t str, usize)] {
    let behind = &by_name[by_name.partition_point(|(own, _)| *own < name)..];
    &behind[..behind.partition_point(|(own, _)| *own == name)]
}
