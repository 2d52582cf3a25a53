//! Types as C writes them: `const volatile __u32 offset`, `int (*fn)(struct xdp_md *)`, a struct with its members.
//!
//! C reads a declaration from the name outwards, BTF from the outermost type inwards. So the text grows around the
//! name: a pointer adds a star before it, an array or a signature brackets behind it, and what is left at the end,
//! a type with a name or a body, comes first. Nested types without a name are written out where they stand.
//!
//! Nothing here loops or grows without end on types that contain themselves: a row of types may be as long as the
//! kernel takes, and a declaration of [`MAX_TEXT`] bytes is cut, which a comment says.

use std::borrow::Cow;

use super::Btf;
use super::types::{Composite, DataSec, DeclTag, Enum, FuncProto, FwdKind, Int, Name, Shape, TypeId};
use super::view::{MAX_DEPTH, Types as _};
use crate::bytes::MAX_NAME;
use crate::error::{Result, escape};
use crate::uapi::btf::{BtfKind, FuncLinkage, VarLinkage};

/// After so many bytes a declaration takes no more members, values or parameters.
pub const MAX_TEXT: usize = 64 << 10;

/// After so many bytes of declarations for each byte of BTF, those that are left take none at all. A type without a
/// name is written out wherever it is named, which can be everywhere.
const TEXT_FACTOR: usize = 32;

/// What stands for the rest of a declaration that is cut.
const CUT: &str = "/* ... */";

impl Btf {
    /// A type as C declares it, a variable or function with its name; a section as a list of its variables.
    ///
    /// `Malformed` for a row of types that never ends, and for names that are not UTF-8. Other names are escaped.
    pub fn declaration(&self, id: TypeId) -> Result<String> {
        self.declaration_within(id, MAX_TEXT)
    }

    /// All types but `void`, in the order of their ids, as [`Self::declaration`] has each. Together they have at most a
    /// constant times as many bytes as the BTF: later ones are cut earlier.
    pub fn declarations(&self) -> impl Iterator<Item = (TypeId, Result<String>)> {
        let mut left = MAX_TEXT + TEXT_FACTOR * (self.strings_place + self.strings.len());
        self.types().map(move |(id, _)| {
            let declaration = self.declaration_within(id, left.min(MAX_TEXT));
            left = left.saturating_sub(declaration.as_ref().map_or(0, String::len));
            (id, declaration)
        })
    }

    /// A declaration that takes no more members after so many bytes, of [`MAX_TEXT`] at the most.
    fn declaration_within(&self, id: TypeId, limit: usize) -> Result<String> {
        let mut printer = Printer { btf: self, whole: id, spent: MAX_TEXT - limit };
        let ty = self.get(id)?;
        Ok(match &ty.shape {
            Shape::Void => "void".to_owned(),
            Shape::Int(int) => format!("{} /* {} */", printer.name(ty.name)?, int_text(*int)),
            Shape::Float { size } => format!("{} /* {size} bytes */", printer.name(ty.name)?),
            Shape::Struct(composite) | Shape::Union(composite) => {
                let head = printer.tagged(ty.shape.kind(), ty.name)?;
                format!("{head}{};", printer.members(composite, Nesting::default())?)
            }
            Shape::Enum(values) | Shape::Enum64(values) => {
                let head = printer.tagged(BtfKind::ENUM, ty.name)?;
                format!("{head}{};", printer.values(values, Nesting::default())?)
            }
            Shape::Fwd(_) => format!("{};", printer.specifier(id, Nesting::default())?),
            Shape::Typedef(target) => {
                let name = printer.name(ty.name)?;
                format!("typedef {};", printer.declare(*target, name, Nesting::default())?)
            }
            Shape::Var(_) | Shape::Func(_) => printer.definition(id, Nesting::default())?,
            Shape::DataSec(section) => printer.section(ty.name, section)?,
            Shape::DeclTag(tag) => printer.decl_tag(ty.name, *tag)?,
            _ => printer.declare(id, String::new(), Nesting::default())?,
        })
    }

    /// A type without a name for a value of it: `__u32`, `struct flow *`, `char [16]`. Those without a name of their
    /// own are named by their kind alone.
    pub fn type_name(&self, id: TypeId) -> Result<String> {
        let mut printer = Printer { btf: self, whole: id, spent: MAX_TEXT };
        printer.declare(id, String::new(), Nesting::default())
    }
}

/// Where a nested part of a declaration stands.
#[derive(Clone, Copy, Default)]
struct Nesting {
    /// Tabs before its closing brace.
    indent: usize,
    /// How many bodies and lists of parameters are around it.
    depth: usize,
}

impl Nesting {
    fn in_body(self) -> Self {
        Self { indent: self.indent + 1, depth: self.depth + 1 }
    }

    fn in_parentheses(self) -> Self {
        Self { depth: self.depth + 1, ..self }
    }
}

/// Writes one declaration.
struct Printer<'b> {
    btf: &'b Btf,
    /// What is declared, for errors.
    whole: TypeId,
    /// Bytes written so far, or not to be written.
    spent: usize,
}

impl Printer<'_> {
    /// `inner`, which is a name, a part around a name or nothing, declared with this type.
    fn declare(&mut self, id: TypeId, inner: String, nesting: Nesting) -> Result<String> {
        let (mut at, mut text) = (id, inner);
        let (mut qualifiers, mut tags) = (Vec::new(), String::new());
        for _ in 0..MAX_DEPTH {
            let ty = self.btf.get(at)?;
            at = match &ty.shape {
                Shape::Const(target) | Shape::Volatile(target) | Shape::Restrict(target) => {
                    qualifiers.push(ty.shape.kind().to_string());
                    *target
                }
                Shape::TypeTag(tag) => {
                    let tag_text = self.attribute("btf_type_tag", ty.name, tag.attribute)?;
                    tags = join([&*tags, &*tag_text]);
                    tag.target
                }
                Shape::Ptr(target) => {
                    let bound = join([&*qualifiers.join(" "), &*std::mem::take(&mut tags)]);
                    qualifiers.clear();
                    text = if bound.is_empty() {
                        format!("*{text}")
                    } else {
                        join([&*format!("*{bound}"), &*text])
                    };
                    *target
                }
                Shape::Array(array) => {
                    text = behind(
                        &text,
                        &if array.len == 0 { "[]".to_owned() } else { format!("[{}]", array.len) },
                    );
                    array.element
                }
                Shape::FuncProto(proto) => {
                    text = behind(&text, &self.parameters(proto, nesting.in_parentheses())?);
                    proto.result
                }
                _ => {
                    let specifier = self.specifier(at, nesting)?;
                    return Ok(join([&*qualifiers.join(" "), &*specifier, &*tags, &*text]));
                }
            };
            self.spent += 1;
        }
        Err(self.btf.too_deep(self.whole))
    }

    /// What a declaration begins with: the name of a type, or the body of one without.
    fn specifier(&mut self, id: TypeId, nesting: Nesting) -> Result<String> {
        let ty = self.btf.get(id)?;
        let kind = ty.shape.kind();
        let is_whole = ty.name.is_anonymous() && self.spent < MAX_TEXT;
        match &ty.shape {
            Shape::Void => Ok("void".to_owned()),
            Shape::Int(_) | Shape::Float { .. } | Shape::Typedef(_) => self.name(ty.name),
            Shape::Struct(composite) | Shape::Union(composite) if is_whole => {
                Ok(format!("{kind}{}", self.members(composite, nesting)?))
            }
            Shape::Enum(values) | Shape::Enum64(values) if is_whole => {
                Ok(format!("enum{}", self.values(values, nesting)?))
            }
            Shape::Struct(_) | Shape::Union(_) => self.tagged(kind, ty.name),
            Shape::Enum(_) | Shape::Enum64(_) => self.tagged(BtfKind::ENUM, ty.name),
            Shape::Fwd(FwdKind::Struct) => self.tagged(BtfKind::STRUCT, ty.name),
            Shape::Fwd(FwdKind::Union) => self.tagged(BtfKind::UNION, ty.name),
            _ => {
                let found = self.btf.describe(id);
                Err(self.btf.error(self.whole, format!("expected a type that C can name, found {found}")))
            }
        }
    }

    /// `struct flow`, or `struct` where it has no name.
    fn tagged(&mut self, kind: BtfKind, name: Name) -> Result<String> {
        Ok(join([&*kind.to_string(), &*self.name(name)?]))
    }

    /// ` { ... }` with a line for each member.
    fn members(&mut self, composite: &Composite, nesting: Nesting) -> Result<String> {
        let inner = self.enter(nesting)?;
        self.body(nesting, &composite.members, |printer, member| {
            let name = printer.name(member.name)?;
            let text = printer.declare(member.ty, name, inner)?;
            Ok(match member.bitfield_bits {
                0 => format!("{text};"),
                bits => format!("{text}: {bits};"),
            })
        })
    }

    /// ` { ... }` with a line for each value, after the type of the values where that is not `int`'s size.
    fn values(&mut self, values: &Enum, nesting: Nesting) -> Result<String> {
        self.enter(nesting)?;
        let numbers: Vec<_> = values.numbers().collect();
        let body = self.body(nesting, &numbers, |printer, &(name, number)| {
            Ok(format!("{} = {number},", printer.name(name)?))
        })?;
        Ok(format!("{}{body}", enum_type(values)))
    }

    fn body<T>(
        &mut self,
        nesting: Nesting,
        items: &[T],
        mut line: impl FnMut(&mut Self, &T) -> Result<String>,
    ) -> Result<String> {
        let tabs = "\t".repeat(nesting.indent);
        let mut text = " {\n".to_owned();
        for item in items {
            let item = if self.spent < MAX_TEXT { Cow::Owned(line(self, item)?) } else { Cow::Borrowed(CUT) };
            text.extend([&*tabs, "\t", &*item, "\n"]);
            if item == CUT {
                break;
            }
        }
        self.spent += text.len();
        text.extend([&*tabs, "}"]);
        Ok(text)
    }

    /// `(int a, char *b, ...)`.
    fn parameters(&mut self, proto: &FuncProto, nesting: Nesting) -> Result<String> {
        self.enter(nesting)?;
        let mut list = Vec::new();
        for param in &proto.params {
            if self.spent >= MAX_TEXT {
                list.push(CUT.to_owned());
                break;
            }
            let name = self.name(param.name)?;
            let text = self.declare(param.ty, name, nesting)?;
            self.spent += text.len();
            list.push(text);
        }
        if proto.variadic {
            list.push("...".to_owned());
        }
        Ok(if list.is_empty() { "(void)".to_owned() } else { format!("({})", list.join(", ")) })
    }

    /// What stands in a body: no deeper than the kernel goes.
    fn enter(&mut self, nesting: Nesting) -> Result<Nesting> {
        self.spent += nesting.indent;
        if nesting.depth >= MAX_DEPTH { Err(self.btf.too_deep(self.whole)) } else { Ok(nesting.in_body()) }
    }

    /// A variable or a function, with its linkage.
    fn definition(&mut self, id: TypeId, nesting: Nesting) -> Result<String> {
        let ty = self.btf.get(id)?;
        let (target, linkage) = match &ty.shape {
            Shape::Var(var) => {
                (var.ty, linkage(var.linkage.0, VarLinkage::STATIC.0, VarLinkage::GLOBAL_EXTERN.0))
            }
            Shape::Func(func) => {
                (func.proto, linkage(func.linkage.0, FuncLinkage::STATIC.0, FuncLinkage::EXTERN.0))
            }
            _ => (id, ""),
        };
        let name = self.name(ty.name)?;
        Ok(format!("{linkage}{};", self.declare(target, name, nesting)?))
    }

    /// `SEC(".data") { ... }` with a line for each variable, which is no C but is read as such.
    fn section(&mut self, name: Name, section: &DataSec) -> Result<String> {
        let nesting = Nesting::default();
        let inner = self.enter(nesting)?;
        let body = self.body(nesting, &section.entries, |printer, entry| {
            let text = printer.definition(entry.ty, inner)?;
            Ok(format!("{text} /* offset {}, {} bytes */", entry.offset, entry.size))
        })?;
        Ok(format!("SEC(\"{}\"){body};", self.name(name)?))
    }

    fn decl_tag(&mut self, name: Name, tag: DeclTag) -> Result<String> {
        let text = self.attribute("btf_decl_tag", name, tag.attribute)?;
        let component = match tag.component {
            Some(index) => format!("component {index} of "),
            None => String::new(),
        };
        Ok(format!("{text} /* on {component}{} */", self.btf.describe(tag.target)))
    }

    fn attribute(&mut self, macro_name: &str, name: Name, is_any: bool) -> Result<String> {
        let text = self.name(name)?;
        Ok(if is_any {
            format!("__attribute__(({text}))")
        } else {
            format!("__attribute__(({macro_name}(\"{text}\")))")
        })
    }

    /// A name, of which the first is written in any case.
    fn name(&mut self, name: Name) -> Result<String> {
        if self.spent > MAX_TEXT + MAX_NAME {
            return Ok(CUT.to_owned());
        }
        let text = escape(self.btf.text(name)?).into_owned();
        self.spent += text.len();
        Ok(text)
    }
}

/// The parts that are there, with a space between two.
fn join<'t>(parts: impl IntoIterator<Item = &'t str>) -> String {
    let mut text = String::new();
    for part in parts.into_iter().filter(|part| !part.is_empty()) {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(part);
    }
    text
}

/// Brackets behind the name that they belong to; a star would take it away from them.
fn behind(text: &str, brackets: &str) -> String {
    if text.starts_with('*') { format!("({text}){brackets}") } else { format!("{text}{brackets}") }
}

fn linkage(linkage: u32, of_static: u32, of_extern: u32) -> &'static str {
    match linkage {
        linkage if linkage == of_static => "static ",
        linkage if linkage == of_extern => "extern ",
        _ => "",
    }
}

/// The type of an enumeration's values, as C23 writes it, where C would not take it for an `int`.
fn enum_type(values: &Enum) -> String {
    let sign = if values.has_sign() { "" } else { "unsigned " };
    match values.size {
        1 => format!(" : {sign}char"),
        2 => format!(" : {sign}short"),
        8 => format!(" : {sign}long long"),
        _ => String::new(),
    }
}

fn int_text(int: Int) -> String {
    let sort = match int {
        _ if int.is_bool() => "bool",
        _ if int.is_char() => "char",
        _ if int.is_signed() => "signed",
        _ => "unsigned",
    };
    let bytes = if int.size == 1 { "1 byte".to_owned() } else { format!("{} bytes", int.size) };
    if int.bit_offset == 0 && u64::from(int.bits) == u64::from(int.size) * 8 {
        return format!("{bytes}, {sort}");
    }
    format!("{bytes}, {sort}, {} bits at bit {}", int.bits, int.bit_offset)
}

#[cfg(test)]
mod tests {
    use super::super::BtfWriter;
    use super::super::types::{Array, DataSecEntry, EnumValue, Func, Member, Param, TypeTag, Var};
    use super::*;
    use crate::bytes::ByteOrder;
    use crate::uapi::btf::{BTF_INT_BOOL, BTF_INT_CHAR, BTF_INT_SIGNED};

    const INT: TypeId = TypeId(1);

    /// A writer whose type 1 is an `int`.
    fn writer() -> BtfWriter {
        let mut writer = BtfWriter::new();
        writer.add("int", int(4, BTF_INT_SIGNED)).unwrap();
        writer
    }

    fn int(size: u32, encoding: u8) -> Shape {
        Shape::Int(Int { size, encoding, bit_offset: 0, bits: u8::try_from(size * 8).unwrap() })
    }

    fn read(writer: &BtfWriter) -> Btf {
        Btf::parse(&writer.to_bytes(ByteOrder::Little).unwrap(), ByteOrder::Little, "section `.BTF`").unwrap()
    }

    /// How the last type is declared.
    fn declared(writer: &BtfWriter) -> String {
        let btf = read(writer);
        btf.declaration(btf.types().last().unwrap().0).unwrap()
    }

    fn array(element: TypeId, len: u32) -> Shape {
        Shape::Array(Array { element, index: INT, len })
    }

    fn composite(w: &mut BtfWriter, size: u32, members: &[(&str, TypeId, u32, u8)]) -> Composite {
        let member = |&(name, ty, bit_offset, bitfield_bits): &(&str, TypeId, u32, u8)| Member {
            name: w.name(name).unwrap(),
            ty,
            bit_offset,
            bitfield_bits,
        };
        Composite { size, members: members.iter().map(member).collect() }
    }

    fn proto(w: &mut BtfWriter, result: TypeId, params: &[(&str, TypeId)], variadic: bool) -> TypeId {
        let param = |&(name, ty): &(&str, TypeId)| Param { name: w.name(name).unwrap(), ty };
        let params = params.iter().map(param).collect();
        w.add("", Shape::FuncProto(FuncProto { result, params, variadic })).unwrap()
    }

    /// A pointer to `target` in a variable called `x`.
    fn pointer_named_x(mut w: BtfWriter, target: TypeId) -> String {
        let pointer = w.add("", Shape::Ptr(target)).unwrap();
        w.add("x", Shape::Var(Var { ty: pointer, linkage: VarLinkage::GLOBAL_ALLOCATED })).unwrap();
        declared(&w)
    }

    #[test]
    fn numbers_say_what_they_hold() {
        for (name, shape, expected) in [
            ("int", int(4, BTF_INT_SIGNED), "int /* 4 bytes, signed */"),
            ("unsigned char", int(1, 0), "unsigned char /* 1 byte, unsigned */"),
            ("char", int(1, BTF_INT_CHAR), "char /* 1 byte, char */"),
            ("_Bool", int(1, BTF_INT_BOOL), "_Bool /* 1 byte, bool */"),
            ("double", Shape::Float { size: 8 }, "double /* 8 bytes */"),
            (
                "odd",
                Shape::Int(Int { size: 4, encoding: 0, bit_offset: 3, bits: 5 }),
                "odd /* 4 bytes, unsigned, 5 bits at bit 3 */",
            ),
        ] {
            let mut w = BtfWriter::new();
            w.add(name, shape).unwrap();
            assert_eq!(declared(&w), expected);
        }
    }

    #[test]
    fn stars_and_brackets_stand_on_their_sides_of_the_name() {
        let mut w = writer();
        let row = w.add("", array(INT, 3)).unwrap();
        let grid = w.add("", array(row, 5)).unwrap();
        assert_eq!(pointer_named_x(w.clone(), grid), "int (*x)[5][3];");
        let pointer = w.add("", Shape::Ptr(INT)).unwrap();
        let pointers = w.add("", array(pointer, 0)).unwrap();
        w.add("x", Shape::Var(Var { ty: pointers, linkage: VarLinkage::STATIC })).unwrap();
        assert_eq!(declared(&w), "static int *x[];");
        assert_eq!(pointer_named_x(w.clone(), TypeId::VOID), "void *x;");
        let btf = read(&w);
        assert_eq!(btf.type_name(pointers).unwrap(), "int *[]");
        assert_eq!(btf.type_name(grid).unwrap(), "int [5][3]");
    }

    #[test]
    fn functions_have_parameters_and_pointers_to_them_have_brackets() {
        let mut w = writer();
        let callback = proto(&mut w, TypeId::VOID, &[("", INT)], false);
        let pointer = w.add("", Shape::Ptr(callback)).unwrap();
        let signature = proto(&mut w, pointer, &[("format", INT), ("call", pointer)], true);
        let func = Func { proto: signature, linkage: FuncLinkage::EXTERN };
        w.add("run", Shape::Func(func)).unwrap();
        assert_eq!(declared(&w), "extern void (*run(int format, void (*call)(int), ...))(int);");
        let nothing = proto(&mut w, INT, &[], false);
        assert_eq!(pointer_named_x(w, nothing), "int (*x)(void);");
    }

    #[test]
    fn qualifiers_and_tags_stay_with_what_they_qualify() {
        let mut w = writer();
        let volatile = w.add("", Shape::Volatile(INT)).unwrap();
        let constant = w.add("", Shape::Const(volatile)).unwrap();
        let tagged = w.add("user", Shape::TypeTag(TypeTag { target: constant, attribute: false })).unwrap();
        let pointer = w.add("", Shape::Ptr(tagged)).unwrap();
        let restrict = w.add("", Shape::Restrict(pointer)).unwrap();
        let tagged = w.add("noderef", Shape::TypeTag(TypeTag { target: restrict, attribute: true })).unwrap();
        assert_eq!(
            pointer_named_x(w, tagged),
            "const volatile int __attribute__((btf_type_tag(\"user\"))) *restrict __attribute__((noderef)) *x;"
        );
    }

    #[test]
    fn structs_nest_where_they_have_no_name() {
        let mut w = writer();
        let bits = composite(&mut w, 4, &[("low", INT, 0, 3), ("", INT, 3, 29)]);
        let bits = w.add("", Shape::Struct(bits)).unwrap();
        let tail = w.add("", array(INT, 0)).unwrap();
        let outer = composite(&mut w, 8, &[("", bits, 0, 0), ("named", bits, 0, 0), ("tail", tail, 64, 0)]);
        let outer = w.add("outer", Shape::Union(outer)).unwrap();
        assert_eq!(
            declared(&w),
            "union outer {\n\tstruct {\n\t\tint low: 3;\n\t\tint: 29;\n\t};\n\
             \tstruct {\n\t\tint low: 3;\n\t\tint: 29;\n\t} named;\n\tint tail[];\n};"
        );
        assert_eq!(read(&w).type_name(bits).unwrap(), "struct");
        assert_eq!(pointer_named_x(w.clone(), outer), "union outer *x;");
        w.add("alias", Shape::Typedef(bits)).unwrap();
        assert_eq!(declared(&w), "typedef struct {\n\tint low: 3;\n\tint: 29;\n} alias;");
        w.add("later", Shape::Fwd(FwdKind::Union)).unwrap();
        assert_eq!(declared(&w), "union later;");
    }

    /// An enumeration whose only value is -1, by a compiler that does not say that it has a sign.
    fn unsigned_minus_one(w: &mut BtfWriter) -> Enum {
        let values = [EnumValue { name: w.name("A").unwrap(), value: u32::MAX.into() }].into();
        Enum { size: 4, signed: false, values }
    }

    #[test]
    fn enumerations_have_values_of_their_sign_and_size() {
        let mut w = writer();
        let values = |w: &mut BtfWriter, size, signed| Enum {
            size,
            signed,
            values: [EnumValue { name: w.name("A").unwrap(), value: u64::MAX }].into(),
        };
        let signed = values(&mut w, 4, true);
        w.add("e", Shape::Enum(signed)).unwrap();
        assert_eq!(declared(&w), "enum e {\n\tA = -1,\n};");
        let big = values(&mut w, 8, false);
        w.add("big", Shape::Enum64(big)).unwrap();
        assert_eq!(declared(&w), "enum big : unsigned long long {\n\tA = 18446744073709551615,\n};");
        // As clang 14 writes a packed one.
        let packed = Enum { size: 1, ..unsigned_minus_one(&mut w) };
        w.add("p", Shape::Enum(packed)).unwrap();
        assert_eq!(declared(&w), "enum p : char {\n\tA = -1,\n};");
    }

    #[test]
    fn sections_list_variables_and_tags_say_where_they_are() {
        let mut w = writer();
        let var = w.add("hits", Shape::Var(Var { ty: INT, linkage: VarLinkage::GLOBAL_EXTERN })).unwrap();
        let entries = Box::from([DataSecEntry { ty: var, offset: 8, size: 4 }]);
        w.add(".data", Shape::DataSec(DataSec { size: 16, entries })).unwrap();
        assert_eq!(declared(&w), "SEC(\".data\") {\n\textern int hits; /* offset 8, 4 bytes */\n};");
        w.add("deprecated", Shape::DeclTag(DeclTag { target: var, component: None, attribute: true }))
            .unwrap();
        assert_eq!(declared(&w), "__attribute__((deprecated)) /* on var `hits` */");
        w.add("t", Shape::DeclTag(DeclTag { target: INT, component: Some(2), attribute: false })).unwrap();
        assert_eq!(declared(&w), "__attribute__((btf_decl_tag(\"t\"))) /* on component 2 of int `int` */");
    }

    #[test]
    fn names_are_made_fit_for_a_terminal() {
        let mut w = writer();
        w.add("a\u{1b}[31m\n", Shape::Typedef(INT)).unwrap();
        assert_eq!(declared(&w), "typedef int a\\u{1b}[31m\\n;");
    }

    #[test]
    fn what_contains_itself_without_a_name_is_an_error() {
        let mut w = writer();
        let inner = composite(&mut w, 8, &[("a", TypeId(2), 0, 0), ("b", TypeId(2), 0, 0)]);
        w.add("", Shape::Struct(inner)).unwrap();
        let pointer = w.add("", Shape::Ptr(TypeId(3))).unwrap();
        let btf = read(&w);
        for id in [TypeId(2), pointer] {
            let text = btf.declaration(id).unwrap_err().to_string();
            assert!(
                text.ends_with("expected at most 32 types in a row behind this one, found more or a cycle")
            );
        }
        let mut w = writer();
        w.add("t", Shape::Typedef(TypeId(3))).unwrap();
        let proto = FuncProto { result: TypeId(2), params: Box::default(), variadic: false };
        w.add("f", Shape::Func(Func { proto: TypeId(2), linkage: FuncLinkage::STATIC })).unwrap();
        w.add("", Shape::FuncProto(proto)).unwrap();
        assert_eq!(
            read(&w).declaration(TypeId(2)).unwrap_err().to_string(),
            "type 2 (typedef `t`): section `.BTF` at offset 0x28: expected a type that C can name, found func `f`"
        );
    }

    #[test]
    fn all_declarations_together_grow_with_the_types() {
        let declared = |times: usize| {
            let mut w = writer();
            let many: Vec<_> = (0..2000).map(|_| ("a_member_of_the_first", INT, 0, 0)).collect();
            let first = composite(&mut w, 4, &many);
            let first = w.add("", Shape::Struct(first)).unwrap();
            for _ in 0..times {
                let outer = composite(&mut w, 4, &[("first", first, 0, 0)]);
                w.add("outer", Shape::Struct(outer)).unwrap();
            }
            let data = w.to_bytes(ByteOrder::Little).unwrap();
            let btf = Btf::parse(&data, ByteOrder::Little, "section `.BTF`").unwrap();
            let texts: Vec<_> = btf.declarations().map(|(_, text)| text.unwrap()).collect();
            assert_eq!(texts.len(), btf.len());
            assert!(texts.concat().len() < (TEXT_FACTOR + 8) * data.len() + 2 * MAX_TEXT, "{times}");
            (texts, btf)
        };
        // Few are as they are alone.
        let (texts, btf) = declared(8);
        assert!(btf.types().zip(&texts).all(|((id, _), text)| btf.declaration(id).unwrap() == *text));
        // Of many, the last have but their names.
        let (texts, _) = declared(2000);
        assert_eq!(texts.last().unwrap(), "struct outer {\n\t/* ... */\n};");
    }

    #[test]
    fn what_has_many_long_names_is_cut() {
        let mut w = writer();
        let mut last = INT;
        for _ in 0..30 {
            let tag = TypeTag { target: last, attribute: false };
            last = w.add(&"n".repeat(MAX_NAME), Shape::TypeTag(tag)).unwrap();
        }
        let btf = read(&w);
        assert!(btf.declaration(last).unwrap().contains(CUT));
        let (name, last) = (btf.type_name(last).unwrap(), btf.declaration_within(last, 0).unwrap());
        assert!(name.len() < 3 * MAX_NAME && last.len() < 3 * MAX_NAME, "{} and {}", name.len(), last.len());
    }

    #[test]
    fn what_would_grow_without_end_is_cut() {
        let mut w = writer();
        let mut inner = INT;
        for _ in 0..20 {
            let twice = composite(&mut w, 4, &[("a", inner, 0, 0), ("b", inner, 0, 0)]);
            inner = w.add("", Shape::Struct(twice)).unwrap();
        }
        let text = declared(&w);
        assert!(text.len() < 4 * MAX_TEXT && text.contains(CUT), "{} bytes", text.len());
        let mut call = INT;
        for _ in 0..12 {
            let params: Vec<_> = [("p", call); 10].into();
            let signature = proto(&mut w, TypeId::VOID, &params, false);
            call = w.add("", Shape::Ptr(signature)).unwrap();
        }
        let text = declared(&w);
        assert!(text.len() < 4 * MAX_TEXT && text.contains(CUT), "{} bytes", text.len());
    }
}
