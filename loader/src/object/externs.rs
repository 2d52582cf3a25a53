//! Externs: what programs take from the kernel that they are loaded into. Options of its configuration, variables
//! and functions, as BTF describes them in the sections `.kconfig` and `.ksyms`, which no ELF section has.

use std::cmp::Reverse;
use std::fmt;

use super::{DataKind, DataSpec, File};
use crate::btf::{Btf, DataSec, Shape, TypeId};
use crate::elf::SymbolSection;
use crate::error::{Context, Error, ErrorKind, Result, quote};
use crate::order::{InOrder as _, Lookup, sort_by_key, twice};
use crate::uapi::btf::{FuncLinkage, VarLinkage};
use crate::uapi::elf::SymbolBinding;

/// BTF's section of options, and the name of the map that they become.
const KCONFIG: &str = ".kconfig";
/// BTF's section of variables and functions.
const KSYMS: &str = ".ksyms";

/// The most bytes of one option. A line of a configuration is far shorter; a file may claim any number.
const MAX_OPTION_SIZE: u32 = 4096;

/// Something of the kernel's that the object names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternSpec {
    /// Its symbol.
    pub name: String,
    /// Whether the object can do without (`__weak`).
    pub weak: bool,
    /// What it is.
    pub kind: ExternKind,
}

/// What an extern is, with its type by its id in [`Object::btf`](super::Object::btf).
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExternKind {
    /// An option of the kernel's configuration (`__kconfig`), in the map `.kconfig`.
    Option(OptionSpec),
    /// The address of any symbol of the kernel (`__ksym`): a variable whose type is `void`.
    Symbol,
    /// A variable of the kernel (`__ksym`), of this type.
    Variable(TypeId),
    /// A function of the kernel (`__ksym`), with this signature.
    Function(TypeId),
}

impl ExternSpec {
    /// Where it lies in the map `.kconfig`, if it does.
    fn place(&self) -> Option<u32> {
        match self.kind {
            ExternKind::Option(option) => Some(option.offset),
            _ => None,
        }
    }
}

/// In a few words: `option of type bool`.
impl fmt::Display for ExternKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Option(option) => write!(f, "option of type {}", option.kind),
            Self::Symbol => f.write_str("symbol"),
            Self::Variable(_) => f.write_str("variable"),
            Self::Function(_) => f.write_str("function"),
        }
    }
}

impl fmt::Display for OptionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bool => "bool",
            Self::Tristate => "tristate",
            Self::Char { .. } => "char",
            Self::Int { .. } => "number",
            Self::Text => "text",
        })
    }
}

/// How the value of an option lies in the map `.kconfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// What its bytes mean.
    pub kind: OptionKind,
    /// How many they are.
    pub size: u32,
    /// Where they begin.
    pub offset: u32,
}

/// What the bytes of an option mean.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionKind {
    /// `bool`
    Bool,
    /// `enum libbpf_tristate`, of which `m` is 2
    Tristate,
    /// A number of one byte, which also takes the letters `y`, `m` and `n` as they are.
    Char {
        /// Whether it can be negative.
        signed: bool,
    },
    /// A number of 2, 4 or 8 bytes.
    Int {
        /// Whether it can be negative.
        signed: bool,
    },
    /// A text that ends in a NUL byte: an array of numbers of one byte.
    Text,
}

/// Reads the externs, and makes of them in `btf` what the kernel knows.
pub(super) fn read(file: &File<'_, '_>, btf: Option<&mut Btf>) -> Result<Vec<ExternSpec>> {
    let Some(btf) = btf else {
        return Ok(Vec::new());
    };
    let undefined = file.symbols.iter().filter(|symbol| symbol.section == SymbolSection::Undefined);
    let weak = undefined.map(|symbol| (&*symbol.name, symbol.binding == SymbolBinding::WEAK)).into_lookup();
    let externs = parse(&weak, btf)?;
    let places =
        externs.iter().filter_map(|external| Some((&*external.name, external.place()?))).into_lookup();
    btf.place_options(KCONFIG, |name| places.get(name).copied())?;
    btf.place_symbols(KSYMS);
    Ok(externs)
}

/// Reads the externs in libbpf's order: options as they lie in their map, then the rest by name. Of each undefined
/// symbol is known whether it is weak.
fn parse(weak: &Lookup<&str, bool>, btf: &Btf) -> Result<Vec<ExternSpec>> {
    let options = lay_out(btf, section(btf, weak, KCONFIG, option)?)?;
    let mut symbols = section(btf, weak, KSYMS, symbol)?;
    sort_by_key(&mut symbols, |&(name, ..)| name);
    let mut externs = Vec::with_capacity(options.len() + symbols.len());
    for (name, weak, option) in options {
        externs.push(ExternSpec { name: name.to_owned(), weak, kind: ExternKind::Option(option) });
    }
    for (name, weak, kind) in symbols {
        externs.push(ExternSpec { name: name.to_owned(), weak, kind });
    }
    Ok(externs)
}

/// The map that the options become. Whoever loads it fills in the values.
pub(super) fn kconfig_data(externs: &[ExternSpec], btf: Option<&Btf>) -> Option<DataSpec> {
    let end = |external: &ExternSpec| match external.kind {
        ExternKind::Option(option) => Some(option.offset + option.size),
        _ => None,
    };
    let size = externs.iter().filter_map(end).max()?;
    let ty = btf.and_then(|btf| btf.data_section(KCONFIG)).map(|(id, _)| id);
    Some(DataSpec {
        section: KCONFIG.to_owned(),
        kind: DataKind::Kconfig,
        size,
        content: Vec::new(),
        ty,
        variables: Vec::new(),
        addresses: Vec::new(),
    })
}

/// An entry of one of the two sections: its name, whether it is weak, and what it is.
type Entry<'b, T> = (&'b str, bool, T);

/// Reads the entries of one of BTF's sections, each of which must have an undefined symbol.
fn section<'b, T>(
    btf: &'b Btf,
    weak: &Lookup<&str, bool>,
    section: &str,
    read: impl Fn(&Btf, TypeId) -> Result<T>,
) -> Result<Vec<Entry<'b, T>>> {
    let Some((id, DataSec { entries, .. })) = btf.data_section(section) else {
        return Ok(Vec::new());
    };
    let refusal = |name: &str, message: &str| {
        btf.error(id, message.to_owned()).context(format!("extern {}", quote(name)))
    };
    let (mut found, mut names) = (Vec::new(), Vec::new());
    for entry in entries {
        let name = btf.name(entry.ty)?;
        let weak = *weak
            .get(name)
            .ok_or_else(|| refusal(name, "expected an undefined symbol of this name, found none"))?;
        found.push((name, weak, read(btf, entry.ty).context(|| format!("extern {}", quote(name)))?));
        names.push(name);
    }
    match twice(&names) {
        Some((second, _)) => Err(refusal(names[second], "expected it once, found it twice")),
        None => Ok(found),
    }
}

/// A variable or function of `.ksyms`.
fn symbol(btf: &Btf, id: TypeId) -> Result<ExternKind> {
    match &btf.get(id)?.shape {
        Shape::Func(func) if func.linkage == FuncLinkage::EXTERN => Ok(ExternKind::Function(func.proto)),
        Shape::Var(var) if var.linkage == VarLinkage::GLOBAL_EXTERN => match btf.resolve(var.ty)? {
            TypeId::VOID => Ok(ExternKind::Symbol),
            ty => Ok(ExternKind::Variable(ty)),
        },
        _ => Err(not_extern(btf, id, "an extern variable or function")),
    }
}

/// A variable of `.kconfig`, not laid out yet.
fn option(btf: &Btf, id: TypeId) -> Result<OptionSpec> {
    let ty = match &btf.get(id)?.shape {
        Shape::Var(var) if var.linkage == VarLinkage::GLOBAL_EXTERN => var.ty,
        _ => return Err(not_extern(btf, id, "an extern variable")),
    };
    let kind = option_kind(btf, ty)?.ok_or_else(|| {
        let found = btf.resolve(ty).map_or_else(|_| "another type".to_owned(), |ty| btf.describe(ty));
        let message = format!(
            "expected bool, enum libbpf_tristate, a number of 1, 2, 4 or 8 bytes or an array of char, found {found}"
        );
        btf.error(id, message).with_kind(ErrorKind::Unsupported)
    })?;
    let size = btf.size_of(ty)?;
    if size > MAX_OPTION_SIZE {
        let message = format!("expected at most {MAX_OPTION_SIZE} bytes for an option, found {size}");
        return Err(btf.error(id, message).with_kind(ErrorKind::Unsupported));
    }
    Ok(OptionSpec { kind, size, offset: 0 })
}

#[cold]
fn not_extern(btf: &Btf, id: TypeId, expected: &str) -> Error {
    btf.error(id, format!("expected {expected}, found {}", btf.describe(id)))
}

/// What the bytes of this type mean, if an option can be of it.
fn option_kind(btf: &Btf, ty: TypeId) -> Result<Option<OptionKind>> {
    let resolved = btf.resolve(ty)?;
    let ty = btf.get(resolved)?;
    let kind = match &ty.shape {
        Shape::Int(int) if int.is_bool() => (int.size == 1).then_some(OptionKind::Bool),
        Shape::Int(int) => match int.size {
            1 => Some(OptionKind::Char { signed: int.is_signed() }),
            2 | 4 | 8 => Some(OptionKind::Int { signed: int.is_signed() }),
            _ => None,
        },
        Shape::Enum(of) | Shape::Enum64(of) if matches!(of.size, 4 | 8) => {
            (btf.text(ty.name)? == "libbpf_tristate").then_some(OptionKind::Tristate)
        }
        Shape::Array(array) if array.len > 0 => match btf.get(btf.resolve(array.element)?)?.shape {
            Shape::Int(int) if int.size == 1 && !int.is_bool() => Some(OptionKind::Text),
            _ => None,
        },
        _ => None,
    };
    Ok(kind)
}

/// Gives the options their places, as libbpf does (`cmp_externs()`): those that need the widest alignment first, of
/// these the smallest first, then by name.
fn lay_out<'b>(btf: &Btf, mut options: Vec<Entry<'b, OptionSpec>>) -> Result<Vec<Entry<'b, OptionSpec>>> {
    let align = |option: &OptionSpec| if option.kind == OptionKind::Text { 1 } else { option.size };
    sort_by_key(&mut options, |(name, _, option)| (Reverse(align(option)), option.size, *name));
    let mut end = 0_u32;
    for (name, _, option) in &mut options {
        // Whatever is placed before is a multiple of a wider alignment.
        option.offset = end;
        end = end.checked_add(option.size).ok_or_else(|| {
            let id = btf.data_section(KCONFIG).map_or(TypeId::VOID, |(id, _)| id);
            let message = "expected all options to fit in a map, found more than 4 GiB";
            btf.error(id, message.to_owned()).context(format!("extern {}", quote(name)))
        })?;
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::builder::{Builder, ORDERS, info};
    use crate::bytes::ByteOrder;
    use crate::uapi::btf::{BTF_INT_BOOL, BTF_INT_SIGNED, BtfKind};

    const EXTERN: u32 = 2;

    /// What is read where all names are undefined symbols, and those that end in `weak` are weak.
    fn read(b: &Builder, names: &[&str]) -> Result<Vec<ExternSpec>> {
        let weak = names.iter().map(|name| (*name, name.ends_with("weak"))).into_lookup();
        parse(&weak, &b.parse().unwrap())
    }

    fn refusal(b: &Builder, names: &[&str]) -> String {
        read(b, names).unwrap_err().to_string()
    }

    fn builder() -> Builder {
        Builder::new(ByteOrder::NATIVE)
    }

    /// BTF with an extern variable of this type in `section`.
    fn one(section: &str, ty: impl Fn(&mut Builder) -> TypeId) -> Builder {
        let mut b = builder();
        let ty = ty(&mut b);
        let var = b.var("CONFIG_A", ty, EXTERN);
        b.add(BtfKind::DATASEC, section, 0, &[[var.0, 0, 0]]);
        b
    }

    #[test]
    fn options_lie_as_libbpf_lays_them() {
        for order in ORDERS {
            let mut b = Builder::new(order);
            let bool = b.int("_Bool", 1, BTF_INT_BOOL);
            let char = b.int("char", 1, BTF_INT_SIGNED);
            let (int, long) = (b.int("int", 4, BTF_INT_SIGNED), b.int("unsigned long", 8, 0));
            let alias = b.refer(BtfKind::TYPEDEF, "u64", long);
            let text = b.array(char, 5);
            let constant = b.refer(BtfKind::CONST, "", text);
            let tristate = b.enumeration("libbpf_tristate", false, &[("TRI_NO", 0)]);
            let types = [
                ("CONFIG_B_weak", bool),
                ("CONFIG_TEXT", constant),
                ("CONFIG_INT", int),
                ("CONFIG_A", char),
                ("CONFIG_TRI", tristate),
                ("CONFIG_LONG", alias),
            ];
            let vars = types.map(|(name, ty)| [b.var(name, ty, EXTERN).0, 0, 0]);
            b.add(BtfKind::DATASEC, ".kconfig", 0, &vars);
            let externs = read(&b, &types.map(|(name, _)| name)).unwrap();
            let option = |name: &str, kind, size, offset| ExternSpec {
                name: name.to_owned(),
                weak: name.ends_with("weak"),
                kind: ExternKind::Option(OptionSpec { kind, size, offset }),
            };
            let expected = [
                option("CONFIG_LONG", OptionKind::Int { signed: false }, 8, 0),
                option("CONFIG_INT", OptionKind::Int { signed: true }, 4, 8),
                option("CONFIG_TRI", OptionKind::Tristate, 4, 12),
                option("CONFIG_A", OptionKind::Char { signed: true }, 1, 16),
                option("CONFIG_B_weak", OptionKind::Bool, 1, 17),
                option("CONFIG_TEXT", OptionKind::Text, 5, 18),
            ];
            assert_eq!(externs, expected);
            let map = kconfig_data(&externs, Some(&b.parse().unwrap())).unwrap();
            assert_eq!((map.size, map.kind, map.ty.is_some()), (23, DataKind::Kconfig, true));
        }
    }

    #[test]
    fn symbols_are_told_by_their_types_and_come_by_name() {
        let mut b = builder();
        let int = b.int("int", 4, BTF_INT_SIGNED);
        let void = b.refer(BtfKind::CONST, "", TypeId::VOID);
        let proto = b.add::<2>(BtfKind::FUNC_PROTO, "", int.0, &[]);
        let name = b.string("kfunc");
        let func = b.raw(name, info(BtfKind::FUNC, 2), proto.0, &[]);
        let (typed, untyped) = (b.var("percpu", int, EXTERN), b.var("anything_weak", void, EXTERN));
        b.add(BtfKind::DATASEC, ".ksyms", 0, &[[typed.0, 0, 4], [func.0, 0, 0], [untyped.0, 0, 0]]);
        let externs = read(&b, &["kfunc", "percpu", "anything_weak", "printf"]).unwrap();
        let spec = |name: &str, weak, kind| ExternSpec { name: name.to_owned(), weak, kind };
        let expected = [
            spec("anything_weak", true, ExternKind::Symbol),
            spec("kfunc", false, ExternKind::Function(proto)),
            spec("percpu", false, ExternKind::Variable(int)),
        ];
        assert_eq!(externs, expected);
        assert_eq!(kconfig_data(&externs, None), None);
    }

    #[test]
    fn a_description_without_a_symbol_is_refused() {
        for section in [".kconfig", ".ksyms"] {
            let b = one(section, |b| b.int("int", 4, 0));
            assert!(read(&b, &["CONFIG_A"]).is_ok());
            let text = refusal(&b, &["CONFIG_B"]);
            assert!(
                text.contains("expected an undefined symbol of this name, found none")
                    && text.starts_with("extern `CONFIG_A`: "),
                "{text}"
            );
        }
        let mut twice = builder();
        let int = twice.int("int", 4, 0);
        let var = twice.var("CONFIG_A", int, EXTERN);
        twice.add(BtfKind::DATASEC, ".kconfig", 0, &[[var.0, 0, 4], [var.0, 0, 4]]);
        assert!(refusal(&twice, &["CONFIG_A"]).contains("expected it once, found it twice"));
    }

    #[test]
    fn what_is_not_extern_is_refused() {
        let mut b = builder();
        let int = b.int("int", 4, 0);
        let var = b.var("CONFIG_A", int, 1);
        b.add(BtfKind::DATASEC, ".kconfig", 0, &[[var.0, 0, 4]]);
        b.add(BtfKind::DATASEC, ".ksyms", 0, &[[var.0, 0, 4]]);
        let text = refusal(&b, &["CONFIG_A"]);
        assert!(text.contains("expected an extern variable, found var `CONFIG_A`"), "{text}");
    }

    #[test]
    fn an_option_is_of_one_of_the_known_types() {
        let refused = |ty: &dyn Fn(&mut Builder) -> TypeId| {
            let error = read(&one(".kconfig", ty), &["CONFIG_A"]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            let text = error.to_string();
            text[text.find("expected").unwrap()..].to_owned()
        };
        let expected =
            "expected bool, enum libbpf_tristate, a number of 1, 2, 4 or 8 bytes or an array of char, found";
        assert_eq!(refused(&|b| b.int("__int128", 16, 0)), format!("{expected} int `__int128`"));
        assert_eq!(refused(&|b| b.enumeration("color", false, &[])), format!("{expected} enum `color`"));
        assert_eq!(refused(&|b| b.composite(BtfKind::STRUCT, "s", 8, &[])), format!("{expected} struct `s`"));
        let ints = |b: &mut Builder| {
            let int = b.int("int", 4, 0);
            b.array(int, 3)
        };
        assert_eq!(refused(&ints), format!("{expected} array"));
        let endless = |b: &mut Builder| {
            let char = b.int("char", 1, 0);
            b.array(char, 0xffff_ffff)
        };
        let most = "expected at most 4096 bytes for an option, found 4294967295";
        assert_eq!(refused(&endless), most);
    }
}
