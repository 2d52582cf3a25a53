//! What the kernel wants to see of externs: it knows variables that are somewhere, and functions with names for their
//! parameters, but neither variables nor functions of others.
//!
//! So options of the configuration become variables at their places in the map `.kconfig`, and whatever is in `.ksyms`
//! becomes a variable of 4 bytes: libbpf does the same (`bpf_object__collect_externs()`).

use super::Btf;
use super::types::{DataSec, Int, Name, Shape, Type, TypeId, Var};
use crate::error::Result;
use crate::order::sort_by_key;
use crate::uapi::btf::{BTF_INT_SIGNED, FuncLinkage, VarLinkage};

/// What stands in for a function in `.ksyms`, and for a parameter's name that the compiler has left out.
const DUMMY: &str = "dummy_ksym";

impl Btf {
    /// Puts the variables of `section` where `place` says by their names, and makes them global ones of this file.
    pub fn place_options(&mut self, section: &str, place: impl Fn(&str) -> Option<u32>) -> Result<()> {
        let Some((id, data)) = self.data_section(section) else {
            return Ok(());
        };
        let mut entries = data.entries.clone();
        for entry in &mut entries {
            entry.offset = place(self.name(entry.ty)?).unwrap_or(entry.offset);
        }
        sort_by_key(&mut entries, |entry| entry.offset);
        for entry in &entries {
            self.define(entry.ty);
        }
        let size = entries.last().map_or(0, |last| last.offset.saturating_add(last.size));
        self.set(id, Shape::DataSec(DataSec { size, entries }));
        Ok(())
    }

    /// Makes each entry of `section` a number of 32 bits at a place of its own, and its functions global ones.
    pub fn place_symbols(&mut self, section: &str) {
        let Some((id, data)) = self.data_section(section) else {
            return;
        };
        let mut entries = data.entries.clone();
        let dummy_name = self.add_string(DUMMY);
        let int = self.int();
        let has_function = entries.iter().any(|entry| self.function_proto(entry.ty).is_some());
        let dummy = has_function.then(|| {
            self.add(dummy_name, Shape::Var(Var { ty: int, linkage: VarLinkage::GLOBAL_ALLOCATED }))
        });
        for (place, entry) in (0..).step_by(4).zip(&mut entries) {
            match (self.function_proto(entry.ty), dummy) {
                (Some(proto), Some(dummy)) => {
                    self.name_params(proto, dummy_name);
                    self.define(entry.ty);
                    entry.ty = dummy;
                }
                _ => self.set(entry.ty, Shape::Var(Var { ty: int, linkage: VarLinkage::GLOBAL_ALLOCATED })),
            }
            (entry.offset, entry.size) = (place, 4);
        }
        let size = entries.last().map_or(0, |last| last.offset + 4);
        self.set(id, Shape::DataSec(DataSec { size, entries }));
    }

    /// Makes an extern variable or function a global one.
    fn define(&mut self, id: TypeId) {
        match self.types.get_mut(id.0 as usize).map(|ty| &mut ty.shape) {
            Some(Shape::Var(var)) => var.linkage = VarLinkage::GLOBAL_ALLOCATED,
            Some(Shape::Func(func)) => func.linkage = FuncLinkage::GLOBAL,
            _ => {}
        }
    }

    fn function_proto(&self, id: TypeId) -> Option<TypeId> {
        match self.types.get(id.0 as usize)?.shape {
            Shape::Func(func) => Some(func.proto),
            _ => None,
        }
    }

    fn name_params(&mut self, proto: TypeId, name: Name) {
        if let Some(Shape::FuncProto(proto)) = self.types.get_mut(proto.0 as usize).map(|ty| &mut ty.shape) {
            proto.params.iter_mut().filter(|param| param.name.is_anonymous()).for_each(|it| it.name = name);
        }
    }

    /// A number of 32 bits, which is added where there is none.
    fn int(&mut self) -> TypeId {
        let found = self.types().find(|(_, ty)| matches!(ty.shape, Shape::Int(Int { bits: 32, .. })));
        if let Some((id, _)) = found {
            return id;
        }
        let name = self.add_string("int");
        self.add(name, Shape::Int(Int { size: 4, encoding: BTF_INT_SIGNED, bit_offset: 0, bits: 32 }))
    }

    fn set(&mut self, id: TypeId, shape: Shape) {
        self.types[id.0 as usize].shape = shape;
    }

    fn add(&mut self, name: Name, shape: Shape) -> TypeId {
        let id = TypeId(u32::try_from(self.types.len()).unwrap_or(u32::MAX));
        self.types.push(Type { name, shape });
        // Nowhere in the file: errors about it name the last type's place.
        self.places.extend(self.places.last().copied());
        id
    }

    fn add_string(&mut self, text: &str) -> Name {
        let name = Name(u32::try_from(self.strings.len()).unwrap_or_default());
        let mut strings = std::mem::take(&mut self.strings).into_vec();
        strings.extend_from_slice(text.as_bytes());
        strings.push(0);
        self.strings = strings.into();
        name
    }
}

#[cfg(test)]
mod tests {
    use super::super::builder::{Builder, ORDERS, info};
    use super::super::{Btf, DataSecEntry};
    use super::*;
    use crate::uapi::btf::BtfKind;

    fn entries(btf: &Btf, section: &str) -> (u32, Vec<DataSecEntry>) {
        let (_, data) = btf.data_section(section).unwrap();
        (data.size, data.entries.to_vec())
    }

    /// The id of the type that will be added next.
    fn next_id(btf: &Btf) -> TypeId {
        TypeId(u32::try_from(btf.len()).unwrap() + 1)
    }

    fn shape(btf: &Btf, id: TypeId) -> &Shape {
        &btf.get(id).unwrap().shape
    }

    #[test]
    fn options_are_put_in_their_places() {
        for order in ORDERS {
            let mut b = Builder::new(order);
            let (byte, long) = (b.int("char", 1, 0), b.int("long", 8, 0));
            let (last, first) = (b.var("CONFIG_B", byte, 2), b.var("CONFIG_A", long, 2));
            b.add(BtfKind::DATASEC, ".kconfig", 0, &[[last.0, 0, 1], [first.0, 0, 8]]);
            let mut btf = b.parse().unwrap();
            btf.place_options(".kconfig", |name| Some(if name == "CONFIG_A" { 0 } else { 8 })).unwrap();
            let expected = vec![
                DataSecEntry { ty: first, offset: 0, size: 8 },
                DataSecEntry { ty: last, offset: 8, size: 1 },
            ];
            assert_eq!(entries(&btf, ".kconfig"), (9, expected));
            for (id, ty) in [(first, long), (last, byte)] {
                let var = Var { ty, linkage: VarLinkage::GLOBAL_ALLOCATED };
                assert_eq!(*shape(&btf, id), Shape::Var(var));
            }
        }
    }

    #[test]
    fn symbols_become_numbers_and_functions_get_names_for_their_parameters() {
        for order in ORDERS {
            let mut b = Builder::new(order);
            let (long, int) = (b.int("long", 8, 0), b.int("int", 4, 1));
            let var = b.var("jiffies", long, 2);
            let proto = b.add(BtfKind::FUNC_PROTO, "", int.0, &[[0, long.0], [0, 0]]);
            let name = b.string("kfunc");
            let func = b.raw(name, info(BtfKind::FUNC, 2), proto.0, &[]);
            b.add(BtfKind::DATASEC, ".ksyms", 0, &[[func.0, 0, 0], [var.0, 0, 8], [func.0, 0, 0]]);
            let mut btf = b.parse().unwrap();
            let dummy = next_id(&btf);
            btf.place_symbols(".ksyms");
            let entry = |ty, offset| DataSecEntry { ty, offset, size: 4 };
            let expected = vec![entry(dummy, 0), entry(var, 4), entry(dummy, 8)];
            assert_eq!(entries(&btf, ".ksyms"), (12, expected));
            for id in [dummy, var] {
                assert_eq!(
                    *shape(&btf, id),
                    Shape::Var(Var { ty: int, linkage: VarLinkage::GLOBAL_ALLOCATED })
                );
            }
            assert_eq!(btf.name(dummy).unwrap(), "dummy_ksym");
            let Shape::Func(func) = shape(&btf, func) else { panic!("a function") };
            assert_eq!(func.linkage, FuncLinkage::GLOBAL);
            let Shape::FuncProto(proto) = shape(&btf, proto) else { panic!("a signature") };
            assert_eq!(btf.text(proto.params[0].name).unwrap(), "dummy_ksym");
            assert!(proto.variadic && proto.params.len() == 1);
        }
    }

    #[test]
    fn without_functions_nothing_is_added_and_without_a_number_one_is() {
        let mut b = Builder::new(ORDERS[0]);
        let long = b.int("long", 8, 0);
        let var = b.var("jiffies", long, 2);
        b.add(BtfKind::DATASEC, ".ksyms", 0, &[[var.0, 0, 8]]);
        let mut btf = b.parse().unwrap();
        let int = next_id(&btf);
        btf.place_symbols(".ksyms");
        assert_eq!(btf.len(), int.0 as usize);
        assert_eq!(btf.name(int).unwrap(), "int");
        let same = btf.clone();
        btf.place_symbols(".missing");
        btf.place_options(".missing", |_| None).unwrap();
        assert_eq!(btf, same);
    }
}
