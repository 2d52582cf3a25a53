//! What a compiler leaves to the static linker: the sizes of sections, and the places of the variables in them.
//!
//! Clang writes 0 for the size of each section and for the place of each variable that has a symbol of its own. The
//! kernel refuses such BTF, so whoever has the symbol table at hand fills both in.

use super::Btf;
use super::types::{DataSec, DataSecEntry, Shape, TypeId};
use crate::error::Result;
use crate::order::sort_by_key;
use crate::uapi::btf::{FuncLinkage, VarLinkage};

/// Where a symbol says that a variable is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VariablePlace {
    /// Bytes from the start of its section.
    pub offset: u32,
    /// Other files do not see it, so that it counts as static.
    pub hidden: bool,
}

impl Btf {
    /// Sets the size of each described section that `size` knows, and in it the places of the variables that `place`
    /// knows by the names of section and variable; then orders the variables by their places, as the kernel wants.
    ///
    /// A static variable has its place already.
    pub fn place_variables(
        &mut self,
        size: impl Fn(&str) -> Option<u32>,
        place: impl Fn(&str, &str) -> Option<VariablePlace>,
    ) -> Result<()> {
        for index in 1..self.types.len() {
            let Shape::DataSec(data) = &self.types[index].shape else { continue };
            let name = self.text(self.types[index].name)?;
            let Some(size) = size(name) else { continue };
            let (entries, hidden) = self.placed_entries(data, size, |variable| place(name, variable))?;
            self.types[index].shape = Shape::DataSec(DataSec { size, entries });
            for variable in hidden {
                if let Shape::Var(var) = &mut self.types[variable.0 as usize].shape {
                    var.linkage = VarLinkage::STATIC;
                }
            }
        }
        Ok(())
    }

    /// The entries of a section of `size` bytes with the places that `place` knows, and which of the variables are
    /// hidden.
    ///
    /// An entry beyond the section's end is left out: clang 14 describes a constant in `.rodata` that it has put into
    /// `.rodata.cst16`, and the kernel would refuse all types for it.
    fn placed_entries(
        &self,
        data: &DataSec,
        size: u32,
        place: impl Fn(&str) -> Option<VariablePlace>,
    ) -> Result<(Box<[DataSecEntry]>, Vec<TypeId>)> {
        let (mut entries, mut hidden) = (data.entries.to_vec(), Vec::new());
        for entry in &mut entries {
            let Shape::Var(var) = &self.get(entry.ty)?.shape else { continue };
            if var.linkage == VarLinkage::STATIC {
                continue;
            }
            let Some(found) = place(self.name(entry.ty)?) else { continue };
            entry.offset = found.offset;
            if found.hidden {
                hidden.push(entry.ty);
            }
        }
        entries.retain(|entry| entry.offset.checked_add(entry.size).is_some_and(|end| end <= size));
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
    use super::*;
    use crate::uapi::btf::BtfKind;

    #[test]
    fn global_variables_get_their_places_and_static_ones_keep_theirs() {
        for order in ORDERS {
            let mut b = Builder::new(order);
            let int = b.int("int", 4, 0);
            let vars = [("late", 1), ("fixed", 0), ("early", 1), ("elsewhere", 0)]
                .map(|(name, linkage)| b.var(name, int, linkage));
            let entries = [[vars[0].0, 0, 4], [vars[1].0, 4, 4], [vars[2].0, 0, 4], [vars[3].0, 12, 4]];
            b.add(BtfKind::DATASEC, ".data", 0, &entries);
            let ksyms = b.add(BtfKind::DATASEC, ".ksyms", 0, &[[vars[0].0, 0, 4]]);
            let mut btf = b.parse().unwrap();
            btf.place_variables(
                |section| (section == ".data").then_some(12),
                |_, variable| match variable {
                    "late" => Some(VariablePlace { offset: 8, hidden: true }),
                    "early" => Some(VariablePlace { offset: 0, hidden: false }),
                    other => panic!("{other} has its place"),
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
            let Shape::DataSec(ksyms) = &btf.get(ksyms).unwrap().shape else { panic!("a section") };
            assert_eq!(ksyms.size, 0);
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
