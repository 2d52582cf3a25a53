//! Tests of the linker on hand-made objects; fixtures from compilers are in loader/tests.

use std::sync::Arc;

use super::*;
use crate::btf::TypeId;
use crate::btf::builder::{Builder, info};
use crate::bytes::ByteOrder;
use crate::insn::disasm::disassemble;
use crate::object::{
    CodeInfo, DataKind, ExternKind, MapDialect, MapShape, MapSpec, OptionKind, OptionSpec, Pinning,
    ProgramKind,
};
use crate::uapi::bpf::{
    AttachType, BPF_CALL, BPF_EXIT, BPF_LD_IMM64, BPF_MOV64_IMM, BPF_PSEUDO_CALL, BPF_PSEUDO_FUNC,
    BPF_PSEUDO_KFUNC_CALL, ProgType,
};
use crate::uapi::btf::{BtfKind, FuncLinkage};

const EXIT: Insn = Insn { code: BPF_EXIT, dst: 0, src: 0, off: 0, imm: 0 };
const TEXT: &str = ".text";
const LOAD: Insn = Insn { code: BPF_LD_IMM64, dst: 1, ..EXIT };
const HALF: Insn = Insn { code: 0, ..EXIT };

fn mark(number: i32) -> Insn {
    Insn { code: BPF_MOV64_IMM, imm: number, ..EXIT }
}

fn call(distance: i32) -> Insn {
    Insn { code: BPF_CALL, src: BPF_PSEUDO_CALL, imm: distance, ..EXIT }
}

fn load(imm: i32) -> [Insn; 2] {
    [Insn { code: BPF_LD_IMM64, dst: 1, imm, ..EXIT }, Insn { code: 0, ..EXIT }]
}

/// A relocation of the instruction to the symbol at `offset` of `.text`.
fn to_code(insn: usize, kind: RelocationType, offset: u64) -> SymbolReference {
    let target = SymbolTarget::Code { section: TEXT.to_owned(), offset };
    SymbolReference { insn, kind, symbol: TEXT.to_owned(), target, addend: None }
}

/// A call through a function's own symbol.
fn calls(insn: usize, offset: u64) -> SymbolReference {
    to_code(insn, RelocationType::R_BPF_64_32, offset)
}

fn function(name: &str, offset: u64, insns: &[Insn], references: &[SymbolReference]) -> FunctionSpec {
    FunctionSpec {
        name: name.to_owned(),
        section: TEXT.to_owned(),
        offset,
        insns: insns.to_vec(),
        references: references.to_vec(),
        info: CodeInfo::default(),
    }
}

/// An object with one program of these instructions and these functions in `.text`.
fn object(insns: &[Insn], references: &[SymbolReference], functions: &[FunctionSpec]) -> Object {
    Object {
        order: ByteOrder::NATIVE,
        license: None,
        version: None,
        btf: None,
        btf_flaw: None,
        programs: vec![ProgramSpec {
            function: FunctionSpec { section: "xdp".to_owned(), ..function("main", 0, insns, references) },
            kind: ProgramKind { prog_type: ProgType::XDP, attach_type: AttachType::XDP, frags: false },
        }],
        functions: functions.to_vec(),
        maps: Vec::new(),
        data: Vec::new(),
        externs: Vec::new(),
        other_code: Vec::new(),
    }
}

fn link(object: &Object) -> Result<Linked> {
    Linker::new(object).link(&object.programs[0])
}

fn text(object: &Object) -> String {
    let linked = link(object).unwrap();
    disassemble(&linked.insns).map(|line| line.text).collect::<Vec<_>>().join("; ")
}

fn refusal_of(object: &Object) -> String {
    link(object).unwrap_err().to_string()
}

#[test]
fn functions_follow_in_the_order_of_calls_depth_first() {
    // main calls c and a; c calls a and b; nobody calls dead.
    let functions = [
        function("a", 0, &[mark(1), EXIT], &[]),
        function("b", 16, &[mark(2), EXIT], &[]),
        function("dead", 32, &[mark(9), call(-1), EXIT], &[calls(1, 16)]),
        function("c", 56, &[call(-1), call(-1), EXIT], &[calls(0, 0), calls(1, 16)]),
    ];
    let object = object(&[call(-1), call(-1), EXIT], &[calls(0, 56), calls(1, 0)], &functions);
    let names: Vec<_> = link(&object).unwrap().functions.into_iter().map(|f| (f.name, f.start)).collect();
    let expected = [("main", 0), ("c", 3), ("a", 6), ("b", 8)];
    assert_eq!(names, expected.map(|(name, start)| (name.to_owned(), start)));
    assert_eq!(
        text(&object),
        "call pc+0x2; call pc+0x4; exit; call pc+0x2; call pc+0x3; exit; r0 = 0x1; exit; r0 = 0x2; exit"
    );
}

#[test]
fn a_call_counts_from_the_symbol_and_without_one_from_itself() {
    // Through the section's symbol: imm 0 is instruction 1 of `.text`.
    let functions = [function("a", 8, &[call(1), EXIT], &[]), function("b", 24, &[mark(2), EXIT], &[])];
    let through_section = object(&[call(0), EXIT], &[calls(0, 0)], &functions);
    assert_eq!(text(&through_section), "call pc+0x1; exit; call pc+0x1; exit; r0 = 0x2; exit");
}

#[test]
fn an_address_becomes_a_distance_from_the_load() {
    let [first, second] = load(16);
    let address = to_code(1, RelocationType::R_BPF_64_64, 0);
    let function = function("callback", 16, &[mark(1), EXIT], &[]);
    let linked = link(&object(&[mark(0), first, second, EXIT], &[address], &[function])).unwrap();
    assert_eq!((linked.insns[1].src, linked.insns[1].imm), (BPF_PSEUDO_FUNC, 2));
    assert_eq!(linked.insns[2].imm, 0);
}

#[test]
fn functions_that_call_each_other_are_joined_once() {
    let functions = [
        function("a", 0, &[call(-1), EXIT], &[calls(0, 16)]),
        function("b", 16, &[call(-3), call(-2), EXIT], &[]),
    ];
    let object = object(&[call(-1), EXIT], &[calls(0, 0)], &functions);
    assert_eq!(text(&object), "call pc+0x1; exit; call pc+0x1; exit; call pc-0x3; call pc-0x2; exit");
}

#[test]
fn a_long_chain_of_calls_needs_no_stack() {
    let mut functions: Vec<_> =
        (0..100_000).map(|index| function("f", index * 16, &[call(1), EXIT], &[])).collect();
    functions.push(function("last", 1_600_000, &[mark(1), EXIT], &[]));
    let object = object(&[call(-1), EXIT], &[calls(0, 0)], &functions);
    assert_eq!(link(&object).unwrap().functions.len(), 100_002);
}

#[test]
fn more_instructions_than_a_kernel_takes_are_refused() {
    let big = |name, offset| function(name, offset, &vec![EXIT; 600_000], &[]);
    let functions = [big("a", 0), big("b", 4_800_000)];
    let object = object(&[call(-1), call(-1), EXIT], &[calls(0, 0), calls(1, 4_800_000)], &functions);
    assert_eq!(
        refusal_of(&object),
        "expected at most 1000000 instructions in a program with all its functions, found more with function `b`"
    );
}

#[test]
fn what_is_no_function_is_not_called() {
    let functions = [function("a", 0, &[mark(1), EXIT], &[])];
    let refused = |insns: &[Insn], reference| refusal_of(&object(insns, &[reference], &functions));
    let place = "section `xdp` at offset 0x0: instruction 0 of program `main`:";
    for offset in [8, 16, 4] {
        assert_eq!(
            refused(&[call(-1), EXIT], calls(0, offset)),
            format!(
                "{place} expected a function where `.text` and its addend point in section `.text`, found none"
            )
        );
    }
    assert_eq!(
        refused(&[mark(1), EXIT], calls(0, 0)),
        format!("{place} expected a call or a 64-bit load for function `.text`, found `r0 = 0x1`")
    );
    assert_eq!(
        refused(&[call(-1), EXIT], SymbolReference { addend: Some(0), ..calls(0, 0) }),
        format!(
            "{place} expected the addend for function `.text` in the instruction (SHT_REL), found SHT_RELA"
        )
    );
    let nowhere = SymbolReference { symbol: "f".to_owned(), target: SymbolTarget::Nowhere, ..calls(0, 0) };
    assert_eq!(
        refused(&[call(-1), EXIT], nowhere),
        format!("{place} refers to `f`, which is extern, and without BTF nothing says what it is")
    );
    let common = SymbolReference { target: SymbolTarget::Common, ..calls(0, 0) };
    assert_eq!(
        refused(&[call(-1), EXIT], common),
        format!("{place} refers to `.text`, a common symbol (SHN_COMMON), which has no place in the file")
    );
}

#[test]
fn the_place_of_a_refusal_is_in_the_function() {
    let functions = [function("a", 16, &[mark(1), call(7), EXIT], &[])];
    assert_eq!(
        refusal_of(&object(&[call(-1), EXIT], &[calls(0, 16)], &functions)),
        "section `.text` at offset 0x18: instruction 1 of function `a`: expected a call of a function in section \
         `.text`, found none where it points"
    );
}

/// A load of what is at `offset` of `section`, with this addend in the instruction.
fn load_of(section: &str, offset: u64, addend: i32) -> Object {
    let target = SymbolTarget::Section { name: section.to_owned(), offset };
    let symbol = section.to_owned();
    let reference =
        SymbolReference { insn: 0, kind: RelocationType::R_BPF_64_64, symbol, target, addend: None };
    let [first, second] = load(addend);
    let mut object = object(&[first, second, EXIT], &[reference], &[]);
    object.data.push(DataSpec {
        section: ".data".to_owned(),
        kind: DataKind::Initialised,
        size: 16,
        content: vec![1; 16],
        ty: None,
        variables: Vec::new(),
        addresses: Vec::new(),
    });
    object.maps.push(MapSpec {
        name: "map".to_owned(),
        dialect: MapDialect::Btf,
        section: ".maps".to_owned(),
        offset: 32,
        shape: MapShape::default(),
        types: None,
        numa_node: 0,
        slots: Vec::new(),
        pinning: Pinning::None,
        inner: None,
    });
    object
}

#[test]
fn a_variable_is_its_place_in_a_map() {
    for (offset, addend, place) in [(0, 0, 0), (8, 0, 8), (0, 12, 12), (8, 7, 15)] {
        let linked = link(&load_of(".data", offset, addend)).unwrap();
        assert_eq!(linked.map_references, [MapReference { insn: 0, map: Referent::Data(0) }]);
        let halves = [linked.insns[0], linked.insns[1]].map(|half| (half.src, half.imm));
        assert_eq!(halves, [(BPF_PSEUDO_MAP_VALUE, 0), (0, place)]);
    }
    let linked = link(&load_of(".maps", 0, 32)).unwrap();
    assert_eq!(linked.map_references, [MapReference { insn: 0, map: Referent::Map(0) }]);
    assert_eq!((linked.insns[0].src, linked.insns[0].imm), (BPF_PSEUDO_MAP_FD, 0));
}

#[test]
fn a_place_outside_of_the_variables_is_refused() {
    let place = "section `xdp` at offset 0x0: instruction 0 of program `main`:";
    for (offset, addend) in [(16, 0), (8, 8), (u64::MAX, 0), (u64::MAX, 1)] {
        assert_eq!(
            refusal_of(&load_of(".data", offset, addend)),
            format!(
                "{place} expected a variable where `.data` and its addend point in section `.data`, found none"
            )
        );
    }
    let mut rela = load_of(".data", 0, 0);
    rela.programs[0].function.references[0].addend = Some(0);
    assert_eq!(
        refusal_of(&rela),
        format!(
            "{place} expected the addend for variable `.data` in the instruction (SHT_REL), found SHT_RELA"
        )
    );
    let mut call_of_data = load_of(".data", 0, 0);
    call_of_data.programs[0].function.insns[0] = call(-1);
    assert_eq!(
        refusal_of(&call_of_data),
        format!("{place} expected a 64-bit load for variable `.data`, found `call pc-0x1`")
    );
}

fn map_at(name: &str, section: &str, offset: u64) -> MapSpec {
    MapSpec {
        name: name.to_owned(),
        dialect: MapDialect::Libbpf,
        section: section.to_owned(),
        offset,
        shape: MapShape::default(),
        types: None,
        numa_node: 0,
        slots: Vec::new(),
        pinning: Pinning::None,
        inner: None,
    }
}

/// A reference of instruction `insn` to what is at `offset` of `section`.
fn to_section(insn: usize, section: &str, offset: u64) -> SymbolReference {
    SymbolReference {
        insn,
        kind: RelocationType::R_BPF_64_64,
        symbol: "thing".to_owned(),
        target: SymbolTarget::Section { name: section.to_owned(), offset },
        addend: None,
    }
}

/// Links a program of these instructions, which begins 8 bytes into its section, in an object with three maps.
fn link_with_maps(insns: &[Insn], references: &[SymbolReference]) -> Result<Linked> {
    let mut object = object(insns, references, &[]);
    object.programs[0].function.offset = 8;
    object.maps = vec![map_at("a", "maps", 0), map_at("b", "maps", 20), map_at("c", ".maps", 0)];
    link(&object)
}

fn refusal_with_maps(insns: &[Insn], reference: SymbolReference) -> (ErrorKind, String) {
    let error = link_with_maps(insns, &[reference]).unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn a_load_of_a_map_gets_its_fd() {
    let insns = [LOAD, HALF, LOAD, HALF, EXIT];
    let linked = link_with_maps(&insns, &[to_section(0, ".maps", 0), to_section(2, "maps", 20)]).unwrap();
    let load = Insn { src: BPF_PSEUDO_MAP_FD, ..LOAD };
    assert_eq!(linked.insns, [load, HALF, load, HALF, EXIT]);
    assert_eq!(
        linked.map_references,
        [(0, 2), (2, 1)].map(|(insn, map)| MapReference { insn, map: Referent::Map(map) })
    );
}

#[test]
fn an_addend_in_the_instruction_or_beside_it_counts() {
    let insns = [Insn { imm: 20, ..LOAD }, HALF, EXIT];
    let linked = link_with_maps(&insns, &[to_section(0, "maps", 0)]).unwrap();
    assert_eq!((linked.map_references[0].map, linked.insns[0].imm), (Referent::Map(1), 0));
    // SHT_RELA: what stands in the instruction does not count, and goes.
    let insns = [Insn { imm: 7, ..LOAD }, Insn { imm: 7, ..HALF }, EXIT];
    let beside = SymbolReference { addend: Some(-20), ..to_section(0, "maps", 20) };
    let linked = link_with_maps(&insns, &[beside]).unwrap();
    assert_eq!((linked.map_references[0].map, linked.insns[1]), (Referent::Map(0), HALF));
}

#[test]
fn an_addend_of_sixty_four_bits_is_read_whole() {
    let negative = [Insn { imm: -20, ..LOAD }, Insn { imm: -1, ..HALF }, EXIT];
    let linked = link_with_maps(&negative, &[to_section(0, "maps", 20)]).unwrap();
    assert_eq!((linked.map_references[0].map, linked.insns[1]), (Referent::Map(0), HALF));
    let far = [LOAD, Insn { imm: 1, ..HALF }, EXIT];
    let (kind, text) = refusal_with_maps(&far, to_section(0, "maps", 0));
    assert_eq!(kind, ErrorKind::Malformed);
    assert!(
        text.ends_with("expected a map where `thing` and its addend point in section `maps`, found none")
    );
}

#[test]
fn a_reference_to_a_map_must_be_a_whole_load() {
    let expected = "section `xdp` at offset 0x8: instruction 0 of program `main`: \
        expected a 64-bit load for map `thing`, found `exit`";
    let malformed = (ErrorKind::Malformed, expected.to_owned());
    assert_eq!(refusal_with_maps(&[EXIT], to_section(0, "maps", 0)), malformed);
    let other_kind = SymbolReference { kind: RelocationType::R_BPF_64_ABS32, ..to_section(0, "maps", 0) };
    let (_, text) = refusal_with_maps(&[LOAD, HALF], other_kind);
    assert!(text.ends_with("found `r1 = 0x0 ll`"), "{text}");
}

/// A reference of instruction `insn` to an undefined symbol.
fn to_extern(insn: usize, kind: RelocationType, symbol: &str) -> SymbolReference {
    SymbolReference { insn, kind, symbol: symbol.to_owned(), target: SymbolTarget::Nowhere, addend: None }
}

/// An object with one extern of each sort and a program of these instructions.
fn object_with_externs(insns: &[Insn], references: &[SymbolReference]) -> Object {
    let mut object = object(insns, references, &[]);
    let option = OptionSpec { kind: OptionKind::Bool, size: 1, offset: 12 };
    let externs = [
        ("CONFIG_A", ExternKind::Option(option)),
        ("symbol", ExternKind::Symbol),
        ("variable", ExternKind::Variable(TypeId(1))),
        ("kfunc", ExternKind::Function(TypeId(2))),
    ];
    let spec = |(name, kind): (&str, _)| ExternSpec { name: name.to_owned(), weak: false, kind };
    object.externs = externs.map(spec).to_vec();
    object.data = vec![DataSpec {
        section: ".kconfig".to_owned(),
        kind: DataKind::Kconfig,
        size: 13,
        content: Vec::new(),
        ty: None,
        variables: Vec::new(),
        addresses: Vec::new(),
    }];
    object
}

#[test]
fn externs_are_found_by_name() {
    let (load, call_) = (RelocationType::R_BPF_64_64, RelocationType::R_BPF_64_32);
    let insns = [LOAD, HALF, LOAD, HALF, LOAD, HALF, LOAD, HALF, call(-1), EXIT];
    let references = [
        to_extern(0, load, "CONFIG_A"),
        to_extern(2, load, "symbol"),
        to_extern(4, load, "variable"),
        to_extern(6, load, "kfunc"),
        to_extern(8, call_, "kfunc"),
    ];
    let linked = link(&object_with_externs(&insns, &references)).unwrap();
    let externs = [(0, 0), (2, 1), (4, 2), (6, 3), (8, 3)];
    assert_eq!(linked.externs, externs.map(|(insn, external)| ExternReference { insn, external }));
    assert_eq!(linked.map_references, [MapReference { insn: 0, map: Referent::Data(0) }]);
    let option = [Insn { src: BPF_PSEUDO_MAP_VALUE, ..LOAD }, Insn { imm: 12, ..HALF }];
    let kfunc = Insn { code: BPF_CALL, src: BPF_PSEUDO_KFUNC_CALL, ..EXIT };
    assert_eq!(linked.insns[..2], option);
    assert_eq!(linked.insns[2..8], insns[2..8]);
    assert_eq!(linked.insns[8], kfunc);
}

#[test]
fn other_references_to_externs_are_refused() {
    let refused = |insns: &[Insn], kind, symbol| {
        let text = link(&object_with_externs(insns, &[to_extern(0, kind, symbol)])).unwrap_err().to_string();
        text.strip_prefix("section `xdp` at offset 0x0: instruction 0 of program `main`: ")
            .unwrap()
            .to_owned()
    };
    let (load_, call_) = (RelocationType::R_BPF_64_64, RelocationType::R_BPF_64_32);
    assert_eq!(
        refused(&[call(-1), EXIT], call_, "symbol"),
        "expected a 64-bit load without an addend for extern `symbol`, found `call pc-0x1`"
    );
    let either = "expected a call or a 64-bit load without an addend for extern `kfunc`, found";
    assert_eq!(refused(&[mark(1), EXIT], load_, "kfunc"), format!("{either} `r0 = 0x1`"));
    assert_eq!(refused(&[call(3), EXIT], call_, "kfunc"), format!("{either} `call pc+0x3`"));
    let [first, second] = load(8);
    assert_eq!(refused(&[first, second, EXIT], load_, "kfunc"), format!("{either} `r1 = 0x8 ll`"));
    assert_eq!(
        refused(&[LOAD, HALF, EXIT], load_, "printf"),
        "refers to `printf`, which is extern, and without BTF nothing says what it is"
    );
    let mut without_map = object_with_externs(&[LOAD, HALF, EXIT], &[to_extern(0, load_, "CONFIG_A")]);
    without_map.data.clear();
    without_map.btf = Some(Arc::new(Builder::new(ByteOrder::NATIVE).parse().unwrap()));
    let undefined = link(&without_map).unwrap_err();
    assert!(undefined.to_string().contains("which this object does not define"));
    assert!(
        undefined
            .help()
            .unwrap()
            .to_string()
            .starts_with("if another file defines it, join them: bpftool gen object")
    );
}

#[test]
fn a_call_of_a_function_that_has_lost_its_symbol_says_so() {
    let functions = [function("other", 0, &[mark(1), EXIT], &[])];
    let by_section = object(&[call(1), EXIT], &[calls(0, 0)], &functions);
    let error = link(&by_section).unwrap_err();
    assert!(
        error.to_string().ends_with(
            "expected a function where `.text` and its addend point in section `.text`, found none"
        )
    );
    assert!(error.help().unwrap().to_string().starts_with("the file has lost the symbols of its functions"));
    let by_name = SymbolReference { symbol: "f".to_owned(), ..calls(0, 0) };
    let error = link(&object(&[call(1), EXIT], &[by_name], &functions)).unwrap_err();
    assert_eq!(error.help(), None);

    // A function calls another of its section by the distance: to where none is known, and into the middle of itself.
    for (distance, has_lost) in [(2, true), (1, false)] {
        let functions = [function("a", 0, &[call(distance), mark(1), EXIT], &[])];
        let error = link(&object(&[call(-1), EXIT], &[calls(0, 0)], &functions)).unwrap_err();
        assert!(error.to_string().ends_with("in section `.text`, found none where it points"), "{error}");
        assert_eq!(error.help().is_some(), has_lost, "{distance}");
    }
}

/// A program whose exception callback is `on_throw`, and two functions of that name, of these linkages, of which the
/// first is the first in BTF.
fn object_that_throws(linkages: [FuncLinkage; 2]) -> Object {
    let mut b = Builder::new(ByteOrder::NATIVE);
    let proto = b.add::<2>(BtfKind::FUNC_PROTO, "", 0, &[]);
    let mut describe = |name: &str, linkage: FuncLinkage| {
        let name = b.string(name);
        b.raw(name, info(BtfKind::FUNC, linkage.0 as usize), proto.0, &[])
    };
    let main = describe("main", FuncLinkage::GLOBAL);
    let callbacks = linkages.map(|linkage| describe("on_throw", linkage));
    let tag = b.string("exception_callback:on_throw");
    b.raw(tag, info(BtfKind::DECL_TAG, 0), main.0, &[u32::MAX]);
    let functions = [0, 1].map(|index| FunctionSpec {
        info: CodeInfo { ty: Some(callbacks[index]), ..CodeInfo::default() },
        ..function("on_throw", 16 * index as u64, &[mark(i32::try_from(index).unwrap()), EXIT], &[])
    });
    let mut object = object(&[EXIT], &[], &functions);
    object.btf = Some(Arc::new(b.parse().unwrap()));
    object
}

#[test]
fn an_exception_callback_is_a_global_function() {
    let (global, local) = (FuncLinkage::GLOBAL, FuncLinkage::STATIC);
    assert_eq!(text(&object_that_throws([global, local])), "exit; r0 = 0x0; exit");
    let words = "section `xdp` at offset 0x0: expected the exception callback `on_throw` of program `main` among the \
                 functions, found ";
    let refused = |linkages| link(&object_that_throws(linkages)).unwrap_err();
    for (linkages, found, help) in [
        (
            [local, global],
            "two, of which the kernel takes the first, which is static",
            "rename the static one",
        ),
        ([local, local], "one that other files do not see", "define it in this object without `static`"),
    ] {
        let error = refused(linkages);
        assert_eq!(error.to_string(), format!("{words}{found}"));
        assert!(error.help().unwrap().to_string().starts_with(help));
    }
}
