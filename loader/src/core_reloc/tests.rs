//! Each kind of relocation against types made by hand: the patched instruction is what counts.

use super::*;
use crate::btf::LazyBtf;
use crate::btf::builder::{Builder, ORDERS};
use crate::insn::halves;
use crate::uapi::btf::BtfKind;

const LITTLE: ByteOrder = ByteOrder::Little;

/// An object with one relocation, and a kernel.
struct Case {
    order: ByteOrder,
    local: Builder,
    kernel: Option<Builder>,
}

impl Case {
    fn new(order: ByteOrder) -> Self {
        Self { order, local: Builder::new(order), kernel: Some(Builder::new(order)) }
    }

    fn kernel(&mut self) -> &mut Builder {
        self.kernel.as_mut().unwrap()
    }

    /// The same types on both sides.
    fn both<T>(&mut self, build: impl Fn(&mut Builder) -> T) -> T {
        build(self.kernel());
        build(&mut self.local)
    }

    /// Carries out a relocation of `kind` on the part `access` of `ty`, which stands at the first of `insns`.
    fn run(
        mut self,
        kind: CoreReloKind,
        ty: TypeId,
        access: &str,
        insns: &[Insn],
    ) -> Result<(Vec<Insn>, Resolution)> {
        let relocation = CoreRelocation { offset: 0, ty, access: self.local.name(access), kind };
        let local = self.local.parse().unwrap();
        let types = self.kernel.map(|kernel| KernelTypes { vmlinux: Some(kernel.lazy()), modules: None });
        let relocator = Relocator::new(&local, self.order, [relocation].iter(), types.as_ref());
        let mut insns = insns.to_vec();
        let resolved = relocator.relocate(&mut insns, &[relocation]);
        let resolved = resolved.map_err(|failure| failure.error)?.remove(0);
        Ok((insns, resolved))
    }

    /// As [`Case::run`]; the first instruction and what happened, in words.
    fn text(self, kind: CoreReloKind, ty: TypeId, access: &str, insn: Insn) -> (String, String) {
        let (insns, resolved) = self.run(kind, ty, access, &[insn]).unwrap();
        (format!("{:?}", insns[0]), resolved.to_string())
    }

    fn error(self, kind: CoreReloKind, ty: TypeId, access: &str, insns: &[Insn]) -> String {
        self.run(kind, ty, access, insns).unwrap_err().to_string()
    }
}

/// `r1 = imm`
fn mov(imm: i32) -> Insn {
    Insn { code: 0xb7, dst: 1, src: 0, off: 0, imm }
}

/// `r1 = *(u32 *)(r2 + off)`
fn load(off: i16) -> Insn {
    Insn { code: 0x61, dst: 1, src: 2, off, imm: 0 }
}

/// `r1 = *(u64 *)(r2 + off)`
fn load64_at(off: i16) -> Insn {
    Insn { code: 0x79, dst: 1, src: 2, off, imm: 0 }
}

/// `r1 = number`, 64 bits of it.
fn load64(number: u64) -> [Insn; 2] {
    let [low, high] = halves(number);
    [
        Insn { code: 0x18, dst: 1, src: 0, off: 0, imm: low },
        Insn { code: 0, dst: 0, src: 0, off: 0, imm: high },
    ]
}

const POISON: &str = "call unknown#195896080";

/// `struct flow { int a; int b; }` in the program, and what `kernel` says in the kernel.
fn flow(kernel: &[(&str, u32)], size: u32) -> (Case, TypeId) {
    let mut case = Case::new(LITTLE);
    let int = case.kernel().int("int", 4, 1);
    let members: Vec<_> = kernel.iter().map(|(name, bits)| (*name, int, *bits)).collect();
    case.kernel().composite(BtfKind::STRUCT, "flow", size, &members);
    let int = case.local.int("int", 4, 1);
    let ty = case.local.composite(BtfKind::STRUCT, "flow", 8, &[("a", int, 0), ("b", int, 32)]);
    (case, ty)
}

#[test]
fn a_field_is_found_where_the_kernel_has_it() {
    let moved = || flow(&[("b", 64), ("a", 0)], 12);
    let (case, ty) = moved();
    let (insn, words) = case.text(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:1", mov(4));
    assert_eq!((&*insn, &*words), ("r1 = 0x8", "struct flow.b: byte offset 0x4 -> 0x8"));
    let (case, ty) = moved();
    assert_eq!(case.text(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:1", load(4)).0, "r1 = *(u32 *)(r2 + 0x8)");
    let (case, ty) = moved();
    let (insns, _) = case.run(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:1", &load64(4)).unwrap();
    assert_eq!(insns, load64(8));
    // The second of several, as if the pointer were to an array.
    let (case, ty) = moved();
    let (insn, words) = case.text(CoreReloKind::FIELD_BYTE_OFFSET, ty, "1:1", mov(12));
    assert_eq!((&*insn, &*words), ("r1 = 0x14", "struct flow[1].b: byte offset 0xc -> 0x14"));
}

#[test]
fn elements_of_an_array_are_loaded_however_many_there_are() {
    let case = |kernel_len: u32, element: u32| {
        let mut case = Case::new(LITTLE);
        let side = |b: &mut Builder, before: u32, len, element| {
            let int = b.int("int", element, 0);
            let array = b.array(int, len);
            let rows = b.array(array, 2);
            let size = before / 8 + 2 * len * element;
            b.composite(BtfKind::STRUCT, "flow", size, &[("a", rows, before)])
        };
        side(case.kernel(), 64, kernel_len, element);
        let ty = side(&mut case.local, 0, 4, 4);
        (case, ty)
    };
    let (longer, ty) = case(9, 4);
    assert_eq!(longer.text(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:0", load(0)).0, "r1 = *(u32 *)(r2 + 0x8)");
    // What is read would be another number.
    let (wider, ty) = case(4, 8);
    assert_eq!(wider.text(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:0", load(0)).0, POISON);
}

#[test]
fn many_words_are_cut_short() {
    let mut case = Case::new(LITTLE);
    let names: Vec<String> = (0..40).map(|at| format!("{}{at}", "n".repeat(100))).collect();
    let nested = |b: &mut Builder| {
        let int = b.int("int", 4, 1);
        names.iter().fold(int, |ty, name| b.composite(BtfKind::STRUCT, "flow", 4, &[(name, ty, 0)]))
    };
    let ty = case.both(nested);
    let access = vec!["0"; 41].join(":");
    let (_, words) = case.text(CoreReloKind::FIELD_BYTE_OFFSET, ty, &access, load(0));
    assert!(words.starts_with("struct flow.nnn") && words.contains("...: byte offset"), "{words}");
    assert!(words.len() < 600, "{words}");
}

#[test]
fn a_field_that_is_gone_must_not_be_reached() {
    let gone = || flow(&[("a", 0)], 4);
    let (case, ty) = gone();
    let (insn, words) = case.text(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:1", load(4));
    assert_eq!(insn, POISON);
    assert_eq!(words, "struct flow.b: byte offset 0x4 -> not found, must not be reached");
    let (case, ty) = gone();
    let (insns, _) = case.run(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:1", &load64(4)).unwrap();
    assert_eq!(insns.iter().map(|insn| format!("{insn:?}")).collect::<Vec<_>>(), [POISON, POISON]);
    for (member, expected) in [("0:0", "r1 = 0x1"), ("0:1", "r1 = 0x0")] {
        let (case, ty) = gone();
        assert_eq!(case.text(CoreReloKind::FIELD_EXISTS, ty, member, mov(1)).0, expected);
    }
}

#[test]
fn a_field_in_another_form_is_told_from_one_that_is_gone() {
    let case = |there: fn(&mut Builder) -> TypeId| {
        let mut case = Case::new(LITTLE);
        let ty = there(case.kernel());
        case.kernel().composite(BtfKind::STRUCT, "flow", 16, &[("a", ty, 32)]);
        let long = case.local.int("long", 8, 1);
        let ty = case.local.composite(BtfKind::STRUCT, "flow", 8, &[("a", long, 0)]);
        case.run(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:0", &[load64_at(0)]).unwrap()
    };
    // A number with a sign has others in its upper half.
    let (insns, narrow) = case(|b| b.int("int", 4, 1));
    assert_eq!((format!("{:?}", insns[0]), narrow.after), (POISON.to_owned(), None));
    assert_eq!(narrow.unfit, Some(Unfit::Size { here: 8, there: 4 }));
    assert_eq!(
        narrow.to_string(),
        "struct flow.a: byte offset 0x0 -> 4 bytes and not 8, must not be reached"
    );
    let (insns, pointer) = case(|b| {
        let int = b.int("int", 4, 1);
        b.refer(BtfKind::PTR, "", int)
    });
    assert_eq!((format!("{:?}", insns[0]), pointer.unfit), (POISON.to_owned(), Some(Unfit::Kind)));
    assert_eq!(pointer.to_string(), "struct flow.a: byte offset 0x0 -> of another kind, must not be reached");
    let (_, same) = case(|b| b.int("long", 8, 1));
    assert_eq!((same.after, same.unfit), (Some(4), None));
}

#[test]
fn a_field_has_the_kernel_s_size_and_sign() {
    for order in ORDERS {
        let case = || {
            let mut case = Case::new(order);
            let long = case.kernel().int("long", 8, 1);
            case.kernel().composite(BtfKind::STRUCT, "flow", 8, &[("a", long, 0)]);
            let unsigned = case.local.int("unsigned int", 4, 0);
            let ty = case.local.composite(BtfKind::STRUCT, "flow", 4, &[("a", unsigned, 0)]);
            (case, ty)
        };
        for (kind, before, after) in [
            (CoreReloKind::FIELD_BYTE_SIZE, 4, "r1 = 0x8"),
            (CoreReloKind::FIELD_SIGNED, 0, "r1 = 0x1"),
            (CoreReloKind::FIELD_RSHIFT_U64, 32, "r1 = 0x0"),
            (CoreReloKind::FIELD_LSHIFT_U64, 32, "r1 = 0x0"),
        ] {
            let (case, ty) = case();
            assert_eq!(case.text(kind, ty, "0:0", mov(before)).0, after, "{kind}");
        }
    }
}

#[test]
fn a_bit_field_is_cut_out_of_the_number_around_it() {
    // `unsigned a : 3` at bit 9 of a kernel's struct, `unsigned a : 5` at bit 0 of the program's.
    for (order, left) in [(ByteOrder::Little, "r1 = 0x34"), (ByteOrder::Big, "r1 = 0x29")] {
        for (kind, after) in [
            (CoreReloKind::FIELD_BYTE_OFFSET, "r1 = 0x0"),
            (CoreReloKind::FIELD_BYTE_SIZE, "r1 = 0x4"),
            (CoreReloKind::FIELD_LSHIFT_U64, left),
            (CoreReloKind::FIELD_RSHIFT_U64, "r1 = 0x3d"),
        ] {
            let mut case = Case::new(order);
            let member = |b: &mut Builder, bits: u32, at: u32| {
                let int = b.int("unsigned int", 4, 0);
                let name = b.string("a");
                b.add_flagged(BtfKind::STRUCT, "flow", 4, &[[name, int.0, bits << 24 | at]])
            };
            member(case.kernel(), 3, 9);
            let ty = member(&mut case.local, 5, 0);
            // What the compiler has computed for the right shift must be right, the others are its choice.
            assert_eq!(case.text(kind, ty, "0:0", mov(59)).0, after, "{kind} {order:?}");
        }
    }
}

#[test]
fn a_bit_field_across_its_type_is_read_with_a_wider_load() {
    let mut case = Case::new(LITTLE);
    let ty = case.both(|b| {
        let int = b.int("unsigned int", 4, 0);
        let name = b.string("a");
        b.add_flagged(BtfKind::STRUCT, "flow", 8, &[[name, int.0, 6 << 24 | 0x1e]])
    });
    assert_eq!(case.text(CoreReloKind::FIELD_BYTE_SIZE, ty, "0:0", mov(0)).0, "r1 = 0x8");
    let mut case = Case::new(LITTLE);
    let ty = case.both(|b| {
        let int = b.int("unsigned long", 8, 0);
        let name = b.string("a");
        b.add_flagged(BtfKind::STRUCT, "flow", 16, &[[name, int.0, 6 << 24 | 0x3e]])
    });
    assert_eq!(
        case.error(CoreReloKind::FIELD_BYTE_SIZE, ty, "0:0", &[mov(0)]),
        "CO-RE relocation, size of struct flow.a: expected a bit-field within 8 aligned bytes"
    );
}

#[test]
fn a_load_takes_as_many_bytes_as_the_field_has() {
    /// The load of a field that is `one` in the program and `other` in the kernel.
    fn reload(
        one: fn(&mut Builder) -> TypeId,
        other: fn(&mut Builder) -> TypeId,
        size: u32,
        insn: Insn,
    ) -> (String, String) {
        let mut case = Case::new(LITTLE);
        let member = other(case.kernel());
        case.kernel().composite(BtfKind::STRUCT, "flow", 8, &[("a", member, 0)]);
        let member = one(&mut case.local);
        let ty = case.local.composite(BtfKind::STRUCT, "flow", size, &[("a", member, 0)]);
        case.text(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:0", insn)
    }
    let u16 = |b: &mut Builder| b.int("u16", 2, 0);
    let u32 = |b: &mut Builder| b.int("u32", 4, 0);
    let i64 = |b: &mut Builder| b.int("i64", 8, 1);
    let pointer = |b: &mut Builder| b.refer(BtfKind::PTR, "", TypeId::VOID);
    let pointer32 = |b: &mut Builder| {
        let long = b.int("long unsigned int", 4, 0);
        b.refer(BtfKind::PTR, "", long)
    };
    let store = Insn { code: 0x63, dst: 2, src: 1, off: 0, imm: 0 };
    let load64 = Insn { code: 0x79, ..load(0) };
    assert_eq!(reload(u32, u16, 4, load(0)).0, "r1 = *(u16 *)(r2 + 0x0)");
    assert_eq!(reload(u32, u16, 4, store).0, "*(u16 *)(r2 + 0x0) = r1");
    assert_eq!(reload(pointer, pointer32, 8, load64).0, "r1 = *(u32 *)(r2 + 0x0)");
    // The upper half of a signed number would be lost, or made up.
    let (insn, words) = reload(u32, i64, 4, load(0));
    assert_eq!(insn, POISON);
    assert_eq!(words, "struct flow.a: byte offset 0x0 -> 8 bytes and not 4, must not be reached");
    // Only a load or store has a size.
    assert_eq!(reload(u32, i64, 4, mov(0)).0, "r1 = 0x0");
}

#[test]
fn members_without_a_name_are_looked_into() {
    let mut case = Case::new(LITTLE);
    let int = case.kernel().int("int", 4, 1);
    let inner = case.kernel().composite(BtfKind::UNION, "", 4, &[("x", int, 0), ("b", int, 0)]);
    let outer = case.kernel().composite(BtfKind::STRUCT, "", 8, &[("y", int, 0), ("", inner, 32)]);
    case.kernel().composite(BtfKind::STRUCT, "flow", 16, &[("z", int, 0), ("", outer, 64)]);
    let int = case.local.int("int", 4, 1);
    let inner = case.local.composite(BtfKind::STRUCT, "", 4, &[("b", int, 0)]);
    let ty = case.local.composite(BtfKind::STRUCT, "flow", 8, &[("a", int, 0), ("", inner, 32)]);
    let (insn, words) = case.text(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:1:0", mov(4));
    assert_eq!((&*insn, &*words), ("r1 = 0xc", "struct flow.b: byte offset 0x4 -> 0xc"));
}

#[test]
fn elements_of_arrays_are_counted_in_the_kernel_s_sizes() {
    let flows = |len: u32, at: u32| {
        move |b: &mut Builder| {
            let int = b.int("int", 4, 1);
            let items = b.array(int, len);
            b.composite(BtfKind::STRUCT, "flow", at + 4 * len, &[("n", int, 0), ("items", items, at * 8)])
        }
    };
    let case = |local: u32, kernel: u32| {
        let mut case = Case::new(LITTLE);
        flows(kernel, 8)(case.kernel());
        let ty = flows(local, 4)(&mut case.local);
        (case, ty)
    };
    let (array, ty) = case(4, 8);
    let (insn, words) = array.text(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:1:3", mov(16));
    assert_eq!((&*insn, &*words), ("r1 = 0x14", "struct flow.items[3]: byte offset 0x10 -> 0x14"));
    // Too short there.
    let (array, ty) = case(4, 2);
    assert_eq!(array.text(CoreReloKind::FIELD_EXISTS, ty, "0:1:3", mov(1)).0, "r1 = 0x0");
    // A flexible array has all elements.
    let (array, ty) = case(4, 0);
    assert_eq!(array.text(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:1:3", mov(16)).0, "r1 = 0x14");
    let (array, ty) = case(0, 0);
    assert_eq!(array.text(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:1:3", mov(16)).0, "r1 = 0x14");
    let (array, ty) = case(4, 8);
    let refused = array.error(CoreReloKind::FIELD_SIGNED, ty, "0:1:3", &[mov(1)]);
    assert!(refused.ends_with("expected a member, not an element of an array"), "{refused}");
}

#[test]
fn flavours_do_not_count() {
    for (local, kernel, found) in [
        ("flow___old", "flow", true),
        ("flow", "flow___2", true),
        ("flow___a", "flow___b", true),
        ("flow", "flows", false),
        ("flow____x", "flow", false),
    ] {
        let mut case = Case::new(LITTLE);
        case.kernel().composite(BtfKind::STRUCT, kernel, 4, &[]);
        let ty = case.local.composite(BtfKind::STRUCT, local, 4, &[]);
        let (_, resolved) = case.run(CoreReloKind::TYPE_EXISTS, ty, "0", &[mov(1)]).unwrap();
        assert_eq!(resolved.after, Some(found.into()), "{local} {kernel}");
    }
    assert_eq!(essential("a___b___c"), "a___b");
    assert_eq!(essential("___a"), "___a");
    assert_eq!(essential("a___"), "a___");
    assert_eq!(essential(""), "");
}

#[test]
fn candidates_that_agree_are_one_and_others_are_refused() {
    let case = |second: u32| {
        let mut case = Case::new(LITTLE);
        let int = case.kernel().int("int", 4, 1);
        case.kernel().composite(BtfKind::STRUCT, "flow", 16, &[("a", int, 64)]);
        case.kernel().composite(BtfKind::STRUCT, "flow___2", 16, &[("a", int, second)]);
        case.kernel().composite(BtfKind::STRUCT, "flow___3", 16, &[("other", int, 32)]);
        let int = case.local.int("int", 4, 1);
        let ty = case.local.composite(BtfKind::STRUCT, "flow", 4, &[("a", int, 0)]);
        (case, ty)
    };
    let (agree, ty) = case(64);
    assert_eq!(agree.text(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:0", mov(0)).0, "r1 = 0x8");
    let (differ, ty) = case(32);
    assert_eq!(
        differ.error(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:0", &[mov(0)]),
        "CO-RE relocation, byte offset of struct flow.a: expected one answer, found 0x8 by struct `flow` \
         (type 2 of `vmlinux`) and 0x4 by struct `flow___2` (type 3 of `vmlinux`)"
    );
}

#[test]
fn a_field_of_another_sort_is_no_candidate() {
    let mut case = Case::new(LITTLE);
    let int = case.kernel().int("int", 4, 1);
    let pointer = case.kernel().refer(BtfKind::PTR, "", int);
    case.kernel().composite(BtfKind::STRUCT, "flow", 8, &[("a", pointer, 0)]);
    let int = case.local.int("int", 4, 1);
    let ty = case.local.composite(BtfKind::STRUCT, "flow", 4, &[("a", int, 0)]);
    assert_eq!(case.text(CoreReloKind::FIELD_EXISTS, ty, "0:0", mov(1)).0, "r1 = 0x0");
}

#[test]
fn a_type_is_there_or_not_and_has_a_number_and_a_size() {
    let case = |kernel: &str| {
        let mut case = Case::new(LITTLE);
        case.kernel().int("int", 4, 1);
        case.kernel().composite(BtfKind::STRUCT, kernel, 16, &[]);
        let ty = case.local.composite(BtfKind::STRUCT, "flow", 4, &[]);
        (case, ty)
    };
    for (kind, before, there, gone) in [
        (CoreReloKind::TYPE_ID_LOCAL, 9, "r1 = 0x1", "r1 = 0x1"),
        (CoreReloKind::TYPE_ID_TARGET, 9, "r1 = 0x2", "r1 = 0x0"),
        (CoreReloKind::TYPE_EXISTS, 1, "r1 = 0x1", "r1 = 0x0"),
        (CoreReloKind::TYPE_SIZE, 4, "r1 = 0x10", "r1 = 0x0"),
        (CoreReloKind::TYPE_MATCHES, 1, "r1 = 0x1", "r1 = 0x0"),
    ] {
        for (name, expected) in [("flow", there), ("other", gone)] {
            let (case, ty) = case(name);
            assert_eq!(case.text(kind, ty, "0", mov(before)).0, expected, "{kind} {name}");
        }
    }
    let (case, ty) = case("flow");
    assert_eq!(case.text(CoreReloKind::TYPE_ID_LOCAL, ty, "0", mov(1)).1, "struct flow: own type id 1");
}

#[test]
fn a_value_of_an_enumeration_has_the_kernel_s_number() {
    let case = |kernel: &[(&str, u32)], flagged: bool| {
        let mut case = Case::new(LITTLE);
        case.kernel().enumeration("color___k", flagged, kernel);
        let ty = case.local.enumeration("color", false, &[("RED", 0), ("BLUE", 1)]);
        (case, ty)
    };
    let (moved, ty) = case(&[("BLUE___x", 7), ("RED", 0)], false);
    let (insn, words) = moved.text(CoreReloKind::ENUMVAL_VALUE, ty, "1", mov(1));
    assert_eq!((&*insn, &*words), ("r1 = 0x7", "enum color::BLUE: value 1 -> 7"));
    let (gone, ty) = case(&[("RED", 0)], false);
    assert_eq!(gone.text(CoreReloKind::ENUMVAL_VALUE, ty, "1", mov(1)).0, POISON);
    for (value, expected) in [("0", "r1 = 0x1"), ("1", "r1 = 0x0")] {
        let (gone, ty) = case(&[("RED", 0)], false);
        assert_eq!(gone.text(CoreReloKind::ENUMVAL_EXISTS, ty, value, mov(1)).0, expected);
    }
    // Negative in the kernel; in the program nobody can tell.
    let (negative, ty) = case(&[("BLUE", u32::MAX)], true);
    let (insns, _) = negative.run(CoreReloKind::ENUMVAL_VALUE, ty, "1", &load64(1)).unwrap();
    assert_eq!(insns, load64(u64::MAX));
    let (large, ty) = case(&[("BLUE", u32::MAX)], false);
    let (insns, resolved) = large.run(CoreReloKind::ENUMVAL_VALUE, ty, "1", &load64(1)).unwrap();
    assert_eq!((insns, resolved.after), (load64(u32::MAX.into()).to_vec(), Some(u32::MAX.into())));
}

#[test]
fn a_negative_value_is_known_by_how_the_compiler_wrote_it() {
    let mut case = Case::new(LITTLE);
    let ty = case.both(|b| b.enumeration("color", false, &[("NONE", u32::MAX)]));
    let (insns, resolved) = case.run(CoreReloKind::ENUMVAL_VALUE, ty, "0", &load64(u64::MAX)).unwrap();
    assert_eq!(insns, load64(u64::MAX));
    assert_eq!(resolved.to_string(), "enum color::NONE: value 4294967295 -> -1");
}

#[test]
fn a_value_of_64_bits_is_loaded_whole() {
    for order in ORDERS {
        let mut case = Case::new(order);
        let value = case.kernel().string("BIG");
        case.kernel().add(BtfKind::ENUM64, "wide", 8, &[[value, 2, 0x10]]);
        let value = case.local.string("BIG");
        let ty = case.local.add(BtfKind::ENUM64, "wide", 8, &[[value, 1, 0x10]]);
        let (insns, _) = case.run(CoreReloKind::ENUMVAL_VALUE, ty, "0", &load64(0x10_0000_0001)).unwrap();
        assert_eq!(insns, load64(0x10_0000_0002));
    }
    let mut case = Case::new(LITTLE);
    let value = case.kernel().string("BIG");
    case.kernel().add(BtfKind::ENUM64, "wide", 8, &[[value, 0, 0x10]]);
    let ty = case.local.enumeration("wide", false, &[("BIG", 1)]);
    assert_eq!(
        case.error(CoreReloKind::ENUMVAL_VALUE, ty, "0", &[mov(1)]),
        "CO-RE relocation, value of enum wide::BIG: expected a number that an immediate number has room for, \
         found 68719476736"
    );
}

#[test]
fn a_type_of_a_module_counts_where_the_kernel_has_none() {
    let mut base = Builder::new(LITTLE);
    let int = base.int("int", 4, 1);
    base.composite(BtfKind::STRUCT, "known", 4, &[("a", int, 0)]);
    let mut module = Builder::split(&base);
    for name in ["known", "driver"] {
        module.composite(BtfKind::STRUCT, name, 8, &[("a", int, 32)]);
    }
    let kernel = base.lazy();
    let data = module.build();
    let range = 0..data.len();
    let module = LazyBtf::parse_split(std::sync::Arc::new(data), range, "`veth`", &kernel).unwrap();
    let mut local = Builder::new(LITTLE);
    let int = local.int("int", 4, 1);
    let access = local.name("0:0");
    let relocations = ["known", "driver"].map(|name| {
        let ty = local.composite(BtfKind::STRUCT, name, 4, &[("a", int, 0)]);
        CoreRelocation { offset: 0, ty, access, kind: CoreReloKind::FIELD_BYTE_OFFSET }
    });
    let local = local.parse().unwrap();
    let mut types = KernelTypes { vmlinux: Some(kernel), modules: None };
    let relocator = Relocator::new(&local, LITTLE, relocations.iter(), Some(&types));
    assert!(!relocator.wants_modules(&relocations[..1]).unwrap());
    assert!(relocator.wants_modules(&relocations).unwrap());
    types.modules = Some(vec![("veth".to_owned(), module)]);
    let relocator = Relocator::new(&local, LITTLE, relocations.iter(), Some(&types));
    for (relocation, expected) in relocations.iter().zip([0, 4]) {
        let mut insns = [mov(0)];
        let resolved = relocator.relocate(&mut insns, &[*relocation]).unwrap();
        assert_eq!(resolved[0].after, Some(expected));
    }
}

#[test]
fn without_the_kernel_s_types_only_a_local_number_can_be_had() {
    for (kind, access) in [(CoreReloKind::FIELD_EXISTS, "0:0"), (CoreReloKind::TYPE_EXISTS, "0")] {
        let (mut case, ty) = flow(&[], 0);
        case.kernel = None;
        let error = case.run(kind, ty, access, &[mov(1)]).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("expected the BTF of the kernel that will run the program, found none")
        );
        assert_eq!(error.remedy(), Some(&Remedy::GiveTypes));
    }
    let (mut case, ty) = flow(&[], 0);
    case.kernel = None;
    assert_eq!(case.text(CoreReloKind::TYPE_ID_LOCAL, ty, "0", mov(7)).0, "r1 = 0x2");
}

#[test]
fn access_strings_that_lead_nowhere_are_refused() {
    for (kind, access, expected) in [
        (CoreReloKind::FIELD_EXISTS, "", "expected 1 to 64 numbers with colons between, found ``"),
        (CoreReloKind::FIELD_EXISTS, "0:", "expected 1 to 64 numbers with colons between, found `0:`"),
        (CoreReloKind::FIELD_EXISTS, "0:-1", "expected 1 to 64 numbers with colons between, found `0:-1`"),
        (
            CoreReloKind::FIELD_EXISTS,
            "0:2",
            "expected number 1 to be one of 2 members of struct `flow`, found 2",
        ),
        (
            CoreReloKind::FIELD_EXISTS,
            "0:1:0",
            "expected a struct, union or array for number 2, found int `int`",
        ),
        (
            CoreReloKind::FIELD_EXISTS,
            "4294967295:1",
            "expected a field within 4 GiB, found element 4294967295 of struct `flow`",
        ),
        (CoreReloKind::TYPE_EXISTS, "0:0", "expected `0` for a whole type, found `0:0`"),
        (CoreReloKind::ENUMVAL_VALUE, "0", "expected an enumeration, found struct `flow`"),
    ] {
        let (case, ty) = flow(&[("a", 0)], 4);
        assert_eq!(case.error(kind, ty, access, &[mov(0)]), format!("access string: {expected}"));
    }
    let (case, ty) = flow(&[], 4);
    let long = vec!["0"; 65].join(":");
    assert!(
        case.error(CoreReloKind::FIELD_EXISTS, ty, &long, &[mov(0)]).contains("expected 1 to 64 numbers")
    );
    let (case, ty) = flow(&[], 4);
    assert_eq!(
        case.error(CoreReloKind(13), ty, "0", &[mov(0)]),
        "expected a kind of relocation from 0 to 12, found 13"
    );
    let mut case = Case::new(LITTLE);
    let ty = case.local.enumeration("color", false, &[("RED", 0)]);
    assert_eq!(
        case.error(CoreReloKind::ENUMVAL_VALUE, ty, "1", &[mov(0)]),
        "access string: expected the index of one of 1 values, found `1`"
    );
}

#[test]
fn an_instruction_that_cannot_hold_the_number_is_refused() {
    let whole = "CO-RE relocation, byte offset of struct flow.b: ";
    let error = |kernel_at: u32, insns: &[Insn]| {
        let (case, ty) = flow(&[("b", kernel_at)], 1 << 20);
        let text = case.error(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:1", insns);
        text.strip_prefix(whole).unwrap_or(&text).to_owned()
    };
    let exit = Insn { code: 0x95, dst: 0, src: 0, off: 0, imm: 0 };
    let add = Insn { code: 0x0f, dst: 1, src: 2, off: 0, imm: 0 };
    let no_place = "expected an instruction with an immediate number, or a load or store, found ";
    assert_eq!(error(64, &[exit]), format!("{no_place}`exit`"));
    assert_eq!(error(64, &[add]), format!("{no_place}`r1 += r2`"));
    assert_eq!(error(64, &[]), no_place);
    let mut map = load64(4);
    map[0].src = 1;
    assert!(error(64, &map).starts_with(no_place));
    assert_eq!(error(64, &[mov(5)]), "expected 4 in `r1 = 0x5`, found 5");
    assert_eq!(error(64, &[load(5)]), "expected 4 in `r1 = *(u32 *)(r2 + 0x5)`, found 5");
    assert_eq!(error(64, &load64(5)), "expected 4 in `r1 = 0x5 ll`, found 5");
    assert_eq!(error(1 << 19, &[load(4)]), "expected a number that an offset has room for, found 65536");
    // A field of one size loaded with another, where the size changes.
    let mut case = Case::new(LITTLE);
    let long = case.kernel().int("u64", 8, 0);
    case.kernel().composite(BtfKind::STRUCT, "flow", 8, &[("a", long, 0)]);
    let int = case.local.int("u32", 4, 0);
    let ty = case.local.composite(BtfKind::STRUCT, "flow", 4, &[("a", int, 0)]);
    let narrow = Insn { code: 0x69, ..load(0) };
    assert!(
        case.error(CoreReloKind::FIELD_BYTE_OFFSET, ty, "0:0", &[narrow])
            .ends_with("expected a load or store of 4 bytes, found `r1 = *(u16 *)(r2 + 0x0)`")
    );
}

#[test]
fn a_type_without_a_name_is_refused() {
    let mut case = Case::new(LITTLE);
    let ty = case.local.composite(BtfKind::STRUCT, "", 4, &[]);
    assert_eq!(
        case.error(CoreReloKind::TYPE_EXISTS, ty, "0", &[mov(0)]),
        "CO-RE relocation, exists of struct (anonymous): expected a type with a name, found struct"
    );
}

#[test]
fn cycles_end() {
    // Anonymous members that contain each other, and pointers to themselves.
    let mut case = Case::new(LITTLE);
    case.kernel().composite(BtfKind::STRUCT, "flow", 8, &[("", TypeId(2), 0), ("", TypeId(2), 0)]);
    case.kernel().composite(BtfKind::STRUCT, "", 8, &[("", TypeId(1), 0), ("", TypeId(2), 0)]);
    let int = case.local.int("int", 4, 1);
    let ty = case.local.composite(BtfKind::STRUCT, "flow", 4, &[("a", int, 0)]);
    assert_eq!(case.text(CoreReloKind::FIELD_EXISTS, ty, "0:0", mov(1)).0, "r1 = 0x0");
    for kind in [CoreReloKind::TYPE_EXISTS, CoreReloKind::TYPE_MATCHES] {
        let mut case = Case::new(LITTLE);
        let ty = case.both(|b| {
            b.refer(BtfKind::PTR, "", TypeId(1));
            b.refer(BtfKind::TYPEDEF, "loop", TypeId(1))
        });
        let error = case.error(kind, ty, "0", &[mov(1)]);
        assert!(error.ends_with("expected fewer pointers in a row"), "{error}");
    }
    // Signatures with several parameters of their own type: each level doubles the work.
    for kind in [CoreReloKind::TYPE_EXISTS, CoreReloKind::TYPE_MATCHES] {
        let mut case = Case::new(LITTLE);
        let ty = case.both(|b| {
            let pointer = TypeId(2);
            b.add(BtfKind::FUNC_PROTO, "", 0, &[[0, pointer.0], [0, pointer.0]]);
            b.refer(BtfKind::PTR, "", TypeId(1));
            b.refer(BtfKind::TYPEDEF, "again", TypeId(1))
        });
        let error = case.error(kind, ty, "0", &[mov(1)]);
        assert!(error.contains("expected fewer "), "{error}");
    }
}

/// How much is spent on relocations of `kind`, each on one of `types`, and what `r1 = 1` becomes at each.
fn spent(case: Case, kind: CoreReloKind, access: &str, types: &[TypeId]) -> (u32, Result<Vec<String>>) {
    let Case { order, mut local, kernel } = case;
    let access = local.name(access);
    let relocation = |ty| CoreRelocation { offset: 0, ty, access, kind };
    let relocations: Vec<_> = types.iter().map(|&ty| relocation(ty)).collect();
    let local = local.parse().unwrap();
    let types = KernelTypes { vmlinux: kernel.map(|kernel| kernel.lazy()), modules: None };
    let relocator = Relocator::new(&local, order, relocations.iter(), Some(&types));
    let resolve = |relocation| {
        let mut insns = [mov(1)];
        let resolved = relocator.relocate(&mut insns, &[relocation]);
        resolved.map(|_| format!("{:?}", insns[0])).map_err(|failure| failure.error)
    };
    let answers: Result<_> = relocations.into_iter().map(resolve).collect();
    (relocator.budget.spent(), answers)
}

#[test]
fn types_that_double_at_each_level_are_compared_once() {
    const LEVELS: u32 = 25;
    fn signatures(b: &mut Builder) -> TypeId {
        let int = b.int("int", 4, 1);
        let mut ty = int;
        for _ in 0..LEVELS {
            let signature = b.add(BtfKind::FUNC_PROTO, "", int.0, &[[0, ty.0], [0, ty.0]]);
            ty = b.refer(BtfKind::PTR, "", signature);
        }
        ty
    }
    fn structs(b: &mut Builder, has_name: bool) -> TypeId {
        let mut ty = b.int("int", 4, 1);
        for level in 0..LEVELS {
            let name = if has_name { format!("s{level}") } else { String::new() };
            ty = b.composite(BtfKind::STRUCT, &name, 8, &[("a", ty, 0), ("b", ty, 32)]);
        }
        ty
    }
    fn within_a_struct(b: &mut Builder, ty: TypeId) -> TypeId {
        b.composite(BtfKind::STRUCT, "flow", 8, &[("a", ty, 0)])
    }
    type Shape = fn(&mut Builder) -> TypeId;
    let shapes: [(CoreReloKind, Shape); 5] = [
        (CoreReloKind::TYPE_EXISTS, |b| {
            let ty = signatures(b);
            b.refer(BtfKind::TYPEDEF, "flow", ty)
        }),
        (CoreReloKind::TYPE_MATCHES, |b| {
            let ty = signatures(b);
            within_a_struct(b, ty)
        }),
        (CoreReloKind::TYPE_MATCHES, |b| structs(b, true)),
        (CoreReloKind::TYPE_MATCHES, |b| {
            let ty = structs(b, false);
            within_a_struct(b, ty)
        }),
        (CoreReloKind::TYPE_EXISTS, |b| structs(b, true)),
    ];
    for (number, (kind, shape)) in shapes.into_iter().enumerate() {
        let mut case = Case::new(LITTLE);
        let ty = case.both(shape);
        let (spent, answers) = spent(case, kind, "0", &[ty]);
        assert_eq!(answers.unwrap(), ["r1 = 0x1"], "{number}");
        assert!(spent < 50 * LEVELS, "{number}: {spent}");
    }
}

#[test]
fn types_of_one_name_share_their_candidates() {
    let case = |count: u32| {
        let mut case = Case::new(LITTLE);
        let int = case.both(|b| b.int("int", 4, 1));
        let mut types = Vec::new();
        for number in 0..count {
            case.kernel().composite(BtfKind::STRUCT, "flow", 4, &[("a", int, 0)]);
            let name = format!("flow___{number}");
            types.push(case.local.composite(BtfKind::STRUCT, &name, 4, &[("a", int, 0)]));
        }
        (case, types)
    };
    let (few, types) = case(10);
    let kernel = KernelTypes { vmlinux: Some(few.kernel.as_ref().unwrap().lazy()), modules: None };
    let local = few.local.parse().unwrap();
    let candidates = Candidates::search(&local, LITTLE, &types, &kernel).unwrap();
    assert_eq!(candidates.found.iter().map(Vec::len).collect::<Vec<_>>(), [10]);
    let (cost, answers) = spent(few, CoreReloKind::TYPE_EXISTS, "0", &types);
    assert!(answers.unwrap().iter().all(|insn| insn == "r1 = 0x1"));
    assert!(cost as usize >= 10 * 10 * CANDIDATE, "{cost}");
}
