//! Values there and back, in both byte orders, and each refusal in its words.

use super::super::builder::ORDERS;
use super::super::types::{
    Array, Composite, DataSec, DataSecEntry, Enum, EnumValue, Int, Member, Shape, TypeId, Var,
};
use super::super::{Btf, BtfWriter};
use super::{Field, Value};
use crate::bytes::ByteOrder;
use crate::error::Result;
use crate::uapi::btf::{BTF_INT_BOOL, BTF_INT_SIGNED, VarLinkage};

/// Types by name, under construction.
struct Types {
    writer: BtfWriter,
}

impl Types {
    fn add(&mut self, name: &str, shape: Shape) -> TypeId {
        self.writer.add(name, shape).unwrap()
    }

    fn int(&mut self, name: &str, size: u32, encoding: u8) -> TypeId {
        let bits = u8::try_from(size * 8).unwrap();
        self.add(name, Shape::Int(Int { size, encoding, bit_offset: 0, bits }))
    }

    fn array(&mut self, element: TypeId, len: u32) -> TypeId {
        self.add("", Shape::Array(Array { element, index: element, len }))
    }

    fn values(&mut self, size: u32, signed: bool, values: &[(&str, u64)]) -> Enum {
        let value = |&(name, value): &(&str, u64)| EnumValue { name: self.writer.name(name).unwrap(), value };
        Enum { size, signed, values: values.iter().map(value).collect() }
    }

    fn composite(&mut self, size: u32, members: &[(&str, TypeId, u32, u8)]) -> Composite {
        let member = |&(name, ty, bit_offset, bitfield_bits): &(&str, TypeId, u32, u8)| Member {
            name: self.writer.name(name).unwrap(),
            ty,
            bit_offset,
            bitfield_bits,
        };
        Composite { size, members: members.iter().map(member).collect() }
    }

    fn read(&self) -> Btf {
        let data = self.writer.to_bytes(ByteOrder::Little).unwrap();
        Btf::parse(&data, ByteOrder::Little, "section `.BTF`").unwrap()
    }
}

/// A struct with a field of each sort, and its type.
fn flow() -> (Btf, TypeId) {
    let mut t = Types { writer: BtfWriter::new() };
    let unsigned = t.int("unsigned int", 4, 0);
    let u32_type = t.add("__u32", Shape::Typedef(unsigned));
    let u32_type = t.add("", Shape::Const(u32_type));
    let byte = t.int("unsigned char", 1, 0);
    let int = t.int("int", 4, BTF_INT_SIGNED);
    let char_type = t.int("char", 1, BTF_INT_SIGNED);
    let truth = t.int("_Bool", 1, BTF_INT_BOOL);
    let wide = t.int("unsigned __int128", 16, 0);
    let double = t.add("double", Shape::Float { size: 8 });
    let float = t.add("float", Shape::Float { size: 4 });
    let pointer = t.add("", Shape::Ptr(TypeId::VOID));
    let [name, mac, pair] = [(char_type, 8), (byte, 6), (int, 2)].map(|(element, len)| t.array(element, len));
    let values = t.values(4, false, &[("TCP", 6), ("UDP", 17)]);
    let protocol = t.add("protocol", Shape::Enum(values));
    let values = t.values(8, true, &[("NONE", u64::MAX), ("FAR", 1 << 40)]);
    let far = t.add("far", Shape::Enum64(values));
    let inner = t.composite(4, &[("low", int, 0, 3), ("", int, 3, 5), ("flag", unsigned, 8, 1)]);
    let inner = t.add("", Shape::Struct(inner));
    let inner = t.composite(4, &[("", inner, 0, 0), ("word", unsigned, 0, 0)]);
    let inner = t.add("", Shape::Union(inner));
    let fields = [
        ("src", u32_type, 0, 0),
        ("ttl", byte, 32, 0),
        ("on", truth, 40, 0),
        ("mac", mac, 48, 0),
        ("name", name, 96, 0),
        ("pair", pair, 160, 0),
        ("protocol", protocol, 224, 0),
        ("far", far, 256, 0),
        ("", inner, 320, 0),
        ("rate", double, 384, 0),
        ("next", pointer, 448, 0),
        ("wide", wide, 512, 0),
        ("share", float, 640, 0),
    ];
    let fields = t.composite(88, &fields);
    let flow = t.add("flow", Shape::Struct(fields));
    (t.read(), flow)
}

/// A field of `value`, by its name.
fn at<'v>(value: &'v Value, name: &str) -> &'v Value {
    let Value::Fields(fields) = value else { panic!("{value:?} has no fields") };
    &fields.iter().find(|(own, _)| own == name).unwrap_or_else(|| panic!("no {name} in {value:?}")).1
}

fn fields(fields: &[(&str, Value)]) -> Value {
    Value::Fields(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

/// Writes one field of a `flow` of zeros and reads all of it again.
fn set(name: &str, value: impl Into<Value>) -> Result<Value> {
    let (btf, flow) = flow();
    let value = fields(&[(name, value.into())]);
    let [little, big] = ORDERS.map(|order| {
        let mut bytes = [0; 88];
        btf.encode(flow, &value, &mut bytes, order)?;
        let decoded = btf.decode(flow, &bytes, order)?;
        // What was read can be written, and gives the same bytes.
        let mut again = [0xff; 88];
        btf.encode(flow, &decoded, &mut again, order)?;
        assert_eq!(btf.decode(flow, &again, order)?, decoded);
        Ok(decoded)
    });
    let (little, big) = (little?, big?);
    // An address is the same bytes in both orders, and so two numbers.
    if !matches!(&value, Value::Fields(fields) if fields[0].0 == "src") && name != "word" {
        assert_eq!(at(&little, name), at(&big, name));
    }
    Ok(little)
}

#[track_caller]
fn assert_reads_as(name: &str, value: impl Into<Value>, expected: impl Into<Value>) {
    assert_eq!(*at(&set(name, value).unwrap(), name), expected.into());
}

#[track_caller]
fn refusal(name: &str, value: impl Into<Value>) -> String {
    set(name, value).unwrap_err().to_string()
}

#[test]
fn numbers_names_and_texts_are_there_and_back() {
    assert_reads_as("ttl", 64_u8, 64_u8);
    assert_reads_as("ttl", "0x40", 64_u8);
    assert_reads_as("pair", [-1, i32::MAX], [-1, i32::MAX]);
    assert_reads_as("pair", ["-1", "true"], [-1, 1]);
    for truth in [Value::Bool(true), "true".into(), "1".into(), 1_u8.into()] {
        assert_reads_as("on", truth, true);
    }
    assert_reads_as("on", "hex:40", Value::Bytes(vec![0x40]));
    assert_reads_as("protocol", "UDP", "UDP");
    assert_reads_as("protocol", 6_u8, "TCP");
    assert_reads_as("protocol", "7", 7_u8);
    assert_reads_as("far", "NONE", "NONE");
    assert_reads_as("far", -2, -2);
    assert_reads_as("far", 1_u64 << 40, "FAR");
    assert_reads_as("name", "eth0", "eth0");
    assert_reads_as("name", "12345678", "12345678");
    assert_reads_as("name", "hex:6100620000000000", [97, 0, 98, 0, 0, 0, 0, 0]);
    // What would be taken for bytes, and a character that turns a line around, which is printed as `\u{202e}`.
    assert_reads_as("name", "hex:6865783a61310000", [104, 101, 120, 58, 97, 49, 0, 0]);
    assert_reads_as("name", "\u{202e}abc", [-30, -128, -82, 97, 98, 99, 0, 0]);
    assert_reads_as("rate", 0.5, 0.5);
    assert_reads_as("rate", "-3", -3.0);
    assert_reads_as("share", 7_u8, 7.0);
    assert_reads_as("share", "-inf", f64::NEG_INFINITY);
    assert_reads_as("next", "0xffff888000000000", Value::Pointer(0xffff_8880_0000_0000));
    assert_reads_as("wide", Value::Bytes(vec![1; 16]), Value::Bytes(vec![1; 16]));
}

/// Written last, the member of a union that is no number would change what the others have in the same bytes.
#[test]
fn all_bits_of_what_is_no_number_come_back() {
    let mut t = Types { writer: BtfWriter::new() };
    let unsigned = t.int("unsigned int", 4, 0);
    let float = t.add("float", Shape::Float { size: 4 });
    let members = t.composite(4, &[("raw", unsigned, 0, 0), ("share", float, 0, 0)]);
    let both = t.add("both", Shape::Union(members));
    let btf = t.read();
    for order in ORDERS {
        for bits in
            [u32::MAX, f32::NAN.to_bits(), 0x7f80_0001, f32::INFINITY.to_bits(), 0x8000_0000, 0x3dcc_cccd]
        {
            let bytes = bits.to_le_bytes();
            let (decoded, mut again) = (btf.decode(both, &bytes, order).unwrap(), [0; 4]);
            btf.encode(both, &decoded, &mut again, order).unwrap();
            assert_eq!(again, bytes, "{decoded:?}");
        }
    }
}

#[test]
fn elements_without_bytes_are_there_and_back() {
    let mut t = Types { writer: BtfWriter::new() };
    let int = t.int("int", 4, BTF_INT_SIGNED);
    let none = t.array(int, 0);
    let pair = t.array(none, 2);
    let members = t.composite(4, &[("none", none, 0, 0), ("pair", pair, 0, 0), ("last", int, 0, 0)]);
    let all = t.add("all", Shape::Struct(members));
    let btf = t.read();
    let (bytes, mut again) = ([7, 0, 0, 0], [0; 4]);
    let decoded = btf.decode(all, &bytes, ByteOrder::Little).unwrap();
    btf.encode(all, &decoded, &mut again, ByteOrder::Little).unwrap();
    assert_eq!(again, bytes);
    let refused = btf.encode(none, &[1].into(), &mut [], ByteOrder::Little).unwrap_err();
    assert_eq!(refused.to_string(), "expected 0 elements for an int [] of 0 bytes, found 1");
}

#[test]
fn each_of_many_numbers_has_its_first_name() {
    let mut t = Types { writer: BtfWriter::new() };
    let minus_one = u64::MAX;
    let values = t.values(4, true, &[("TWO", 2), ("MINUS", minus_one), ("ONE", 1), ("UNO", 1), ("TOO", 2)]);
    let ty = t.add("e", Shape::Enum(values));
    let array = t.array(ty, 7);
    let btf = t.read();
    let numbers: [i32; 7] = [1, 2, -1, 3, 1, -2, 2];
    for order in ORDERS {
        let bytes = numbers.map(|it| if order == ORDERS[0] { it.to_le_bytes() } else { it.to_be_bytes() });
        let text = |name: &str| Value::Text(name.to_owned());
        let expected = vec![
            text("ONE"),
            text("TWO"),
            text("MINUS"),
            Value::Int(3),
            text("ONE"),
            Value::Int(-2),
            text("TWO"),
        ];
        assert_eq!(btf.decode(array, bytes.as_flattened(), order).unwrap(), Value::List(expected));
    }
}

/// clang 14 does not say that an enumeration has a sign, and writes its values with 32 bits.
#[test]
fn a_packed_enumeration_of_an_old_compiler_has_negative_values() {
    let minus = |number: u32| u64::from(0_u32.wrapping_sub(number));
    let of = |size, values: &[(&str, u64)]| {
        let mut t = Types { writer: BtfWriter::new() };
        let values = t.values(size, false, values);
        let ty = t.add("e", Shape::Enum(values));
        (t.read(), ty)
    };
    let bytes = |(btf, ty): &(Btf, TypeId), value: Value| {
        let [little, big] = ORDERS.map(|order| {
            let mut bytes = vec![0; btf.size_of(*ty)?.try_into().unwrap()];
            btf.encode(*ty, &value, &mut bytes, order)?;
            Ok((btf.decode(*ty, &bytes, order)?, bytes))
        });
        let (little, big): (Result<(Value, Vec<u8>)>, _) = (little, big);
        little.inspect(|(value, bytes)| {
            let (again, mut reversed) = big.unwrap();
            reversed.reverse();
            assert_eq!((value, bytes), (&again, &reversed));
        })
    };
    let byte = of(1, &[("NONE", minus(1)), ("LOW", minus(128)), ("ONE", 1)]);
    assert_eq!(bytes(&byte, "NONE".into()).unwrap(), ("NONE".into(), vec![0xff]));
    assert_eq!(bytes(&byte, (-128).into()).unwrap(), ("LOW".into(), vec![0x80]));
    assert_eq!(bytes(&byte, (-2).into()).unwrap(), (Value::Int(-2), vec![0xfe]));
    let refused = bytes(&byte, 128.into()).unwrap_err().to_string();
    assert_eq!(refused, "128 is out of range for an enum e of 1 byte: -128 to 127");
    let short = of(2, &[("NONE", minus(300)), ("ONE", 1)]);
    assert_eq!(bytes(&short, "NONE".into()).unwrap(), ("NONE".into(), vec![0xd4, 0xfe]));
    // Of these nothing tells that they have a sign.
    for (size, value, written) in [(1, 255, vec![0xff]), (4, minus(1), vec![0xff; 4])] {
        let plain = of(size, &[("ALL", value), ("ONE", 1)]);
        assert_eq!(bytes(&plain, "ALL".into()).unwrap(), ("ALL".into(), written));
        assert!(bytes(&plain, (-2).into()).is_err(), "{size}");
    }
}

#[test]
fn addresses_stand_as_in_packets() {
    let (btf, flow) = flow();
    for order in ORDERS {
        let mut bytes = [0; 88];
        let value = fields(&[("src", "192.0.2.1".into()), ("mac", "02:00:00:00:00:fe".into())]);
        btf.encode(flow, &value, &mut bytes, order).unwrap();
        assert_eq!(bytes[..12], [192, 0, 2, 1, 0, 0, 2, 0, 0, 0, 0, 0xfe]);
    }
    assert_reads_as("wide", "2001:db8::1", {
        let mut address = vec![0x20, 0x01, 0x0d, 0xb8];
        address.resize(15, 0);
        Value::Bytes([address, vec![1]].concat())
    });
}

#[test]
fn members_of_anonymous_members_count_as_the_outer_ones() {
    let value = set("low", -4).unwrap();
    assert_eq!((at(&value, "low"), at(&value, "word")), (&Value::Int(-4), &Value::Int(4)));
    let value = set("flag", 1_u8).unwrap();
    assert_eq!((at(&value, "flag"), at(&value, "word")), (&Value::Int(1), &Value::Int(0x100)));
    let (btf, flow) = flow();
    let mut bytes = [0; 88];
    let field = btf.field(flow, ".low").unwrap();
    btf.encode_field(field, &3_u8.into(), &mut bytes, ByteOrder::Big).unwrap();
    assert_eq!(bytes[40], 0b0110_0000);
}

#[test]
fn what_is_not_named_stays() {
    let (btf, flow) = flow();
    let mut bytes = [0xff; 88];
    btf.encode(flow, &fields(&[("ttl", 1_u8.into())]), &mut bytes, ByteOrder::Little).unwrap();
    assert_eq!((bytes[3], bytes[4], bytes[5]), (0xff, 1, 0xff));
}

#[test]
fn a_path_leads_to_a_part() {
    let (btf, flow) = flow();
    let field = |path| btf.field(flow, path).unwrap();
    assert_eq!(field(""), Field::whole(flow));
    assert_eq!(field(".pair[1]").bit_offset, 192);
    assert_eq!((field(".low").bit_offset, field(".low").bitfield_bits), (320, 3));
    for (path, words) in [
        (".pair[2]", "there is no index [2] in an int [2] of 8 bytes: it has 2 elements"),
        (".ttl[0]", "there is no index [0] in an unsigned char of 1 byte"),
        (".src.x", "there is no field `x` in a __u32 of 4 bytes"),
        ("ttl", "expected `.FIELD` or `[INDEX]`, found `ttl`"),
        (".pair[-1]", "expected `.FIELD` or `[INDEX]`, found `[-1]`"),
        (".pair[", "expected `.FIELD` or `[INDEX]`, found `[`"),
        (".", "expected `.FIELD` or `[INDEX]`, found `.`"),
        (".pair[99999999999]", "expected `.FIELD` or `[INDEX]`, found `[99999999999]`"),
    ] {
        assert_eq!(btf.field(flow, path).unwrap_err().to_string(), words, "{path}");
    }
    assert_eq!(
        btf.field(flow, ".nope").unwrap_err().to_string(),
        "there is no field `nope` in a struct flow of 88 bytes: it has `src`, `ttl`, `on`, `mac`, `name`, `pair`, \
         `protocol`, `far`, `rate`, `next`, `wide`, `share`"
    );
}

#[test]
fn what_is_out_of_range_is_refused_with_field_type_and_range() {
    for (name, value, words) in [
        ("ttl", 300.into(), "300 is out of range for field `ttl`, an unsigned char of 1 byte: 0 to 255"),
        ("src", Value::from(-1), "-1 is out of range for field `src`, a __u32 of 4 bytes: 0 to 4294967295"),
        ("low", 4.into(), "4 is out of range for field `low`, an int of 4 bytes: -4 to 3"),
        ("on", "2".into(), "2 is out of range for field `on`, a _Bool of 1 byte: 0 to 1"),
        (
            "pair",
            [1_i64, 1 << 31].into(),
            "2147483648 is out of range for field `pair[1]`, an int of 4 bytes: -2147483648 to 2147483647",
        ),
        (
            "far",
            (u64::MAX).into(),
            "18446744073709551615 is out of range for field `far`, an enum far of 8 bytes: \
             -9223372036854775808 to 9223372036854775807",
        ),
    ] {
        assert_eq!(refusal(name, value), words);
    }
}

#[test]
fn what_means_nothing_for_a_type_is_refused() {
    for (name, value, words) in [
        ("ttl", "many".into(), "expected a number for field `ttl`, an unsigned char of 1 byte, found `many`"),
        ("on", "yes".into(), "expected true or false for field `on`, a _Bool of 1 byte, found `yes`"),
        (
            "protocol",
            "ICMP".into(),
            "expected `TCP`, `UDP` or a number for field `protocol`, an enum protocol of 4 bytes, found `ICMP`",
        ),
        (
            "mac",
            "192.0.2.1".into(),
            "`192.0.2.1` has 4 bytes, which do not fit field `mac`, an unsigned char [6] of 6 bytes",
        ),
        (
            "src",
            "hex:0".into(),
            "expected pairs of hexadecimal digits for field `src`, a __u32 of 4 bytes, found `hex:0`",
        ),
        (
            "low",
            "hex:03000000".into(),
            "expected a number for field `low`, an int of 4 bytes, found `hex:03000000`",
        ),
        (
            "low",
            Value::Bytes(vec![3; 4]),
            "expected a number for field `low`, an int of 4 bytes, found 4 bytes",
        ),
        ("low", "0.0.0.3".into(), "expected a number for field `low`, an int of 4 bytes, found `0.0.0.3`"),
        ("name", "123456789".into(), "`123456789` is too long for field `name`, a char [8] of 8 bytes"),
        ("name", 1.into(), "expected a list for field `name`, a char [8] of 8 bytes, found 1"),
        ("pair", [1].into(), "expected 2 elements for field `pair`, an int [2] of 8 bytes, found 1"),
        ("pair", "1".into(), "expected a list for field `pair`, an int [2] of 8 bytes, found `1`"),
        ("rate", "fast".into(), "expected a number for field `rate`, a double of 8 bytes, found `fast`"),
        (
            "wide",
            Value::Int(1),
            "expected hex:BYTES for field `wide`, an unsigned __int128 of 16 bytes, found 1",
        ),
    ] {
        assert_eq!(refusal(name, value), words);
    }
    let (btf, flow) = flow();
    let error = btf.encode(flow, &1.into(), &mut [0; 88], ByteOrder::Little).unwrap_err();
    assert_eq!(error.to_string(), "expected fields by name for a struct flow of 88 bytes, found 1");
    let error = btf.encode(flow, &fields(&[("rate", 1.into())]), &mut [0; 8], ByteOrder::Little).unwrap_err();
    assert_eq!(error.to_string(), "8 bytes have no room for field `rate`, a double of 8 bytes");
    let error = btf.encode(TypeId::VOID, &1.into(), &mut [], ByteOrder::Little).unwrap_err();
    assert_eq!(error.to_string(), "a void has no values");
}

#[test]
fn too_few_bytes_are_an_error() {
    let (btf, flow) = flow();
    // The last four are padding.
    for len in 0..84 {
        assert!(btf.decode(flow, &[0; 88][..len], ByteOrder::Little).is_err(), "{len}");
    }
}

#[test]
fn what_contains_itself_ends() {
    let mut t = Types { writer: BtfWriter::new() };
    let twice = t.composite(8, &[("a", TypeId(1), 0, 0), ("b", TypeId(1), 0, 0)]);
    t.add("endless", Shape::Struct(twice));
    let mut inner = t.int("int", 4, 0);
    for _ in 0..24 {
        let twice = t.composite(4, &[("a", inner, 0, 0), ("b", inner, 0, 0)]);
        inner = t.add("", Shape::Union(twice));
    }
    let long = t.array(TypeId(1), u32::MAX);
    let btf = t.read();
    let error = |ty| btf.decode(ty, &[0; 8], ByteOrder::Little).unwrap_err().to_string();
    assert!(error(TypeId(1)).ends_with("found more or a cycle"), "{}", error(TypeId(1)));
    assert!(error(inner).ends_with("expected at most 512 values in it, found more"), "{}", error(inner));
    assert!(error(long).ends_with("found 8 bytes in all"), "{}", error(long));
    assert!(btf.field(inner, ".c").is_err());
}

/// The section of three files that were joined, each with a `static` variable `cfg`; a pair, and a variable of a
/// function.
fn joined() -> (Btf, TypeId) {
    let mut t = Types { writer: BtfWriter::new() };
    let byte = t.int("unsigned char", 1, 0);
    let pair = t.array(byte, 2);
    let variables = [("cfg", byte), ("prog.cfg", byte), ("cfg", byte), ("prog", pair), ("cfg", byte)];
    let mut offset = 0;
    let entries = variables.map(|(name, ty)| {
        let var = t.add(name, Shape::Var(Var { ty, linkage: VarLinkage::STATIC }));
        let size = if ty == pair { 2 } else { 1 };
        offset += size;
        DataSecEntry { ty: var, offset: offset - size, size }
    });
    let section = t.add(".data", Shape::DataSec(DataSec { size: offset, entries: entries.into() }));
    (t.read(), section)
}

#[test]
fn variables_of_one_name_are_told_apart_by_their_places() {
    let (btf, section) = joined();
    let offset = |path: &str| btf.field(section, path).map(|field| field.bit_offset / 8);
    let found = [".cfg@0", ".cfg@0x2", ".cfg@5", ".prog.cfg", ".prog[1]", ".prog.cfg@0x1", ".prog@3[1]"];
    assert_eq!(found.map(|path| offset(path).unwrap()), [0, 2, 5, 1, 4, 1, 4]);
    let refused = |path: &str| btf.field(section, path).unwrap_err();
    let several = refused(".cfg");
    assert_eq!(several.to_string(), "several variables are called `cfg`, at 0x0, at 0x2, at 0x5");
    assert_eq!(several.help(), Some("say which by its place: cfg@0x0".into()));
    for (path, words) in [
        (
            ".cfg@1",
            "there is no variable `cfg@1` in datasec `.data`: it has `cfg`, `prog.cfg`, `cfg`, `prog`, `cfg`",
        ),
        (".cfg@0y2", "there is no variable `cfg@0y2` in datasec `.data`"),
        (".cfgs", "there is no variable `cfgs` in datasec `.data`"),
        (".prog.cfg[0]", "there is no index [0] in an unsigned char of 1 byte"),
    ] {
        assert!(refused(path).to_string().starts_with(words), "{path}: {}", refused(path));
    }
    let value = btf.decode(section, &[1, 2, 3, 4, 5, 6], ByteOrder::Little).unwrap();
    let Value::Fields(fields) = &value else { panic!("{value:?}") };
    let names: Vec<_> = fields.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["cfg@0x0", "prog.cfg", "cfg@0x2", "prog", "cfg@0x5"]);
    let mut bytes = [0; 6];
    btf.encode(section, &value, &mut bytes, ByteOrder::Little).unwrap();
    assert_eq!(bytes, [1, 2, 3, 4, 5, 6]);
    let within = Value::Fields(vec![("prog[0]".to_owned(), 1.into())]);
    let error = btf.encode(section, &within, &mut bytes, ByteOrder::Little).unwrap_err();
    assert_eq!(error.to_string(), "expected a variable's name, found `[0]` after it");
}
