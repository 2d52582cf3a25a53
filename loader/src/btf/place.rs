//! What a compiler leaves to the static linker: the sizes of sections, and the places of the variables in them.
//!
//! Clang writes 0 for the size of each section and for the place of each variable that has a symbol of its own. Up to
//! clang 14 it also describes a constant in `.rodata` that it has put into `.rodata.cst16`. The kernel refuses such
//! BTF, so whoever has the symbol table at hand sets it right.

use super::Btf;
use super::types::{Composite, DataSec, DataSecEntry, Name, Shape, TypeId};
use crate::error::Result;
use crate::order::sort_by_key;
use crate::uapi::btf::{FuncLinkage, VarLinkage};

/// Where a symbol says that a variable is.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VariablePlace {
    /// In the section that BTF has it in.
    Here {
        /// Bytes from the start of the section.
        offset: u32,
        /// Other files do not see it, so that it counts as static.
        hidden: bool,
    },
    /// In another section.
    Elsewhere,
}

impl Btf {
    /// Sets the size of each described section that `size` knows, and in it the places of the variables that `place`
    /// knows by section, name and linkage; then orders the variables by their places, as the kernel wants.
    ///
    /// A static variable has its place already. Left out is what the kernel would refuse all types for: a variable that
    /// is elsewhere, or has no bytes, and a section without any.
    pub fn place_variables(
        &mut self,
        size: impl Fn(&str) -> Option<u32>,
        place: impl Fn(&str, &str, VarLinkage) -> Option<VariablePlace>,
    ) -> Result<()> {
        for index in 1..self.types.len() {
            let Shape::DataSec(data) = &self.types[index].shape else { continue };
            let name = self.text(self.types[index].name)?;
            let size = match size(name) {
                Some(size) => size,
                None if self.has_only_definitions(data)? => 0,
                None => continue,
            };
            let (entries, hidden) =
                self.placed_entries(data, size, |variable, linkage| place(name, variable, linkage))?;
            let ty = &mut self.types[index];
            if size == 0 {
                ty.name = Name::NONE;
                ty.shape = Shape::Struct(Composite { size: 0, members: Box::default() });
            } else {
                ty.shape = Shape::DataSec(DataSec { size, entries });
            }
            for variable in hidden {
                if let Shape::Var(var) = &mut self.types[variable.0 as usize].shape {
                    var.linkage = VarLinkage::STATIC;
                }
            }
        }
        Ok(())
    }

    /// Whether nothing in the section is of others, as the options in `.kconfig` are.
    fn has_only_definitions(&self, data: &DataSec) -> Result<bool> {
        for entry in &data.entries {
            match &self.get(entry.ty)?.shape {
                Shape::Var(var) if var.linkage != VarLinkage::GLOBAL_EXTERN => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// The entries of a section of `size` bytes with the places that `place` knows, and which of the variables are
    /// hidden.
    fn placed_entries(
        &self,
        data: &DataSec,
        size: u32,
        place: impl Fn(&str, VarLinkage) -> Option<VariablePlace>,
    ) -> Result<(Box<[DataSecEntry]>, Vec<TypeId>)> {
        let (mut entries, mut hidden) = (Vec::with_capacity(data.entries.len()), Vec::new());
        for &(mut entry) in &data.entries {
            if let Shape::Var(var) = &self.get(entry.ty)?.shape {
                match place(self.name(entry.ty)?, var.linkage) {
                    Some(VariablePlace::Elsewhere) => continue,
                    Some(VariablePlace::Here { offset, hidden: is_hidden }) => {
                        entry.offset = offset;
                        if is_hidden {
                            hidden.push(entry.ty);
                        }
                    }
                    None => {}
                }
            }
            let end = entry.offset.checked_add(entry.size);
            if entry.size > 0 && end.is_some_and(|end| end <= size) {
                entries.push(entry);
            }
        }
        sort_by_key(&mut entries, |entry| entry.offset);
        Ok((entries.into(), hidden))
    }

    /// Makes those global functions static of which `hidden` says by their names that other files do not see them. The
    /// verifier then follows calls into them, with what it knows of the caller's registers.
    pub fn hide_functions(&mut self, hidden: impl Fn(&str) -> bool) -> Result<()> {
        for index in 1..self.types.len() {
            let Shape::Func(func) = &self.types[index].shape else { continue };
            if func.linkage == FuncLinkage::GLOBAL && hidden(self.text(self.types[index].name)?) {
                let Shape::Func(func) = &mut self.types[index].shape else { continue };
                func.linkage = FuncLinkage::STATIC;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::builder::{Builder, ORDERS, info};
    use super::super::types::Type;
    use super::*;
    use crate::uapi::btf::BtfKind;

    #[test]
    fn variables_get_their_places_and_what_is_nowhere_is_left_out() {
        for order in ORDERS {
            let mut b = Builder::new(order);
            let int = b.int("int", 4, 0);
            let names = [("late", 1), ("fixed", 0), ("early", 1), ("beyond", 0), ("moved", 0), ("empty", 1)];
            let vars = names.map(|(name, linkage)| b.var(name, int, linkage));
            let option = b.var("OPTION", int, 2);
            let places = [[0, 4], [4, 4], [0, 4], [12, 4], [0, 4], [0, 0]];
            let entries: Vec<_> =
                vars.iter().zip(places).map(|(var, [offset, size])| [var.0, offset, size]).collect();
            b.add(BtfKind::DATASEC, ".data", 0, &entries);
            let [kconfig, rodata, bss] =
                [(".kconfig", option, 4), (".rodata", vars[4], 4), (".bss", vars[5], 0)]
                    .map(|(name, var, size)| b.add(BtfKind::DATASEC, name, 0, &[[var.0, 0, size]]));
            let mut btf = b.parse().unwrap();
            btf.place_variables(
                |section| match section {
                    ".data" => Some(12),
                    ".bss" => Some(0),
                    _ => None,
                },
                |_, variable, linkage| match (variable, linkage) {
                    ("late", VarLinkage::GLOBAL_ALLOCATED) => {
                        Some(VariablePlace::Here { offset: 8, hidden: true })
                    }
                    ("early", _) => Some(VariablePlace::Here { offset: 0, hidden: false }),
                    ("moved", VarLinkage::STATIC) => Some(VariablePlace::Elsewhere),
                    _ => None,
                },
            )
            .unwrap();
            let (_, data) = btf.data_section(".data").unwrap();
            let entry = |ty, offset| DataSecEntry { ty, offset, size: 4 };
            assert_eq!(data.size, 12);
            assert_eq!(*data.entries, [entry(vars[2], 0), entry(vars[1], 4), entry(vars[0], 8)]);
            let linkage = |id| match btf.get(id).unwrap().shape {
                Shape::Var(var) => var.linkage,
                ref other => panic!("{other:?}"),
            };
            assert_eq!(linkage(vars[0]), VarLinkage::STATIC);
            assert_eq!(linkage(vars[2]), VarLinkage::GLOBAL_ALLOCATED);
            // What the compiler describes and has not written is no section, and what others define is not touched.
            for section in [rodata, bss] {
                let nothing = Shape::Struct(Composite { size: 0, members: Box::default() });
                assert_eq!(*btf.get(section).unwrap(), Type { name: Name::NONE, shape: nothing });
            }
            let Shape::DataSec(kconfig) = &btf.get(kconfig).unwrap().shape else { panic!("a section") };
            assert_eq!((kconfig.size, kconfig.entries.len()), (0, 1));
        }
    }

    #[test]
    fn a_hidden_function_becomes_static() {
        let mut b = Builder::new(ORDERS[0]);
        let proto = b.add::<2>(BtfKind::FUNC_PROTO, "", 0, &[]);
        let functions = ["seen", "hidden"].map(|name| {
            let name = b.string(name);
            b.raw(name, info(BtfKind::FUNC, 1), proto.0, &[])
        });
        let mut btf = b.parse().unwrap();
        btf.hide_functions(|name| name == "hidden").unwrap();
        let linkage = functions.map(|id| match btf.get(id).unwrap().shape {
            Shape::Func(func) => func.linkage,
            ref other => panic!("{other:?}"),
        });
        assert_eq!(linkage, [FuncLinkage::GLOBAL, FuncLinkage::STATIC]);
    }
}
