//! Tests of the linker on hand-made objects; fixtures from compilers are in loader/tests.

use super::*;
use crate::bytes::ByteOrder;
use crate::object::{MapDialect, MapShape, Pinning, ProgramKind};
use crate::uapi::bpf::{AttachType, BPF_EXIT, BPF_LD_IMM64};

const LOAD: Insn = Insn { code: BPF_LD_IMM64, dst: 1, src: 0, off: 0, imm: 0 };
const HALF: Insn = Insn { code: 0, dst: 0, src: 0, off: 0, imm: 0 };
const EXIT: Insn = Insn { code: BPF_EXIT, dst: 0, src: 0, off: 0, imm: 0 };

fn map(name: &str, section: &str, offset: u64) -> MapSpec {
    MapSpec {
        name: name.to_owned(),
        dialect: MapDialect::Libbpf,
        section: section.to_owned(),
        offset,
        shape: MapShape::default(),
        pinning: Pinning::None,
        inner: None,
    }
}

/// A reference of instruction `insn` to what is at `offset` of `section`.
fn reference(insn: usize, section: &str, offset: u64) -> SymbolReference {
    SymbolReference {
        insn,
        kind: RelocationType::R_BPF_64_64,
        symbol: "thing".to_owned(),
        target: SymbolTarget::Section { name: section.to_owned(), offset },
        addend: None,
    }
}

/// Links a program of these instructions, which begins 8 bytes into its section, in an object with three maps.
fn link_program(insns: &[Insn], references: &[SymbolReference]) -> Result<Linked> {
    let program = ProgramSpec {
        name: "p".to_owned(),
        section: "xdp".to_owned(),
        offset: 8,
        kind: ProgramKind { attach_type: AttachType::XDP, frags: false },
        insns: insns.to_vec(),
        references: references.to_vec(),
    };
    let object = Object {
        order: ByteOrder::NATIVE,
        license: None,
        version: None,
        programs: Vec::new(),
        maps: vec![map("a", "maps", 0), map("b", "maps", 20), map("c", ".maps", 0)],
        other_code: Vec::new(),
    };
    link(&object, &program)
}

fn refusal_of(insns: &[Insn], reference: SymbolReference) -> (ErrorKind, String) {
    let error = link_program(insns, &[reference]).unwrap_err();
    (error.kind(), error.to_string())
}

#[test]
fn a_load_of_a_map_gets_its_fd() {
    let insns = [LOAD, HALF, LOAD, HALF, EXIT];
    let linked = link_program(&insns, &[reference(0, ".maps", 0), reference(2, "maps", 20)]).unwrap();
    let load = Insn { src: BPF_PSEUDO_MAP_FD, ..LOAD };
    assert_eq!(linked.insns, [load, HALF, load, HALF, EXIT]);
    assert_eq!(linked.map_references, [MapReference { insn: 0, map: 2 }, MapReference { insn: 2, map: 1 }]);
}

#[test]
fn an_addend_in_the_instruction_or_beside_it_counts() {
    let insns = [Insn { imm: 20, ..LOAD }, HALF, EXIT];
    let linked = link_program(&insns, &[reference(0, "maps", 0)]).unwrap();
    assert_eq!((linked.map_references[0].map, linked.insns[0].imm), (1, 0));
    // SHT_RELA: what stands in the instruction does not count, and goes.
    let insns = [Insn { imm: 7, ..LOAD }, Insn { imm: 7, ..HALF }, EXIT];
    let beside = SymbolReference { addend: Some(-20), ..reference(0, "maps", 20) };
    let linked = link_program(&insns, &[beside]).unwrap();
    assert_eq!((linked.map_references[0].map, linked.insns[1]), (0, HALF));
}

#[test]
fn an_addend_of_sixty_four_bits_is_read_whole() {
    let negative = [Insn { imm: -20, ..LOAD }, Insn { imm: -1, ..HALF }, EXIT];
    let linked = link_program(&negative, &[reference(0, "maps", 20)]).unwrap();
    assert_eq!((linked.map_references[0].map, linked.insns[1]), (0, HALF));
    let far = [LOAD, Insn { imm: 1, ..HALF }, EXIT];
    let (kind, text) = refusal_of(&far, reference(0, "maps", 0));
    assert_eq!(kind, ErrorKind::Malformed);
    assert!(
        text.ends_with("expected a map where `thing` and its addend point in section `maps`, found none")
    );
}

#[test]
fn a_reference_to_a_map_must_be_a_whole_load() {
    let expected = "section `xdp` at offset 0x8: instruction 0 of program `p`: \
        expected a 64-bit load for map `thing`, found `exit`";
    let malformed = (ErrorKind::Malformed, expected.to_owned());
    assert_eq!(refusal_of(&[EXIT], reference(0, "maps", 0)), malformed);
    let other_kind = SymbolReference { kind: RelocationType::R_BPF_64_ABS32, ..reference(0, "maps", 0) };
    let (_, text) = refusal_of(&[LOAD, HALF], other_kind);
    assert!(text.ends_with("found `r1 = 0x0 ll`"), "{text}");
}

#[test]
fn what_is_not_in_a_map_section_is_refused_by_name_and_place() {
    let call = Insn { code: BPF_CALL, src: BPF_PSEUDO_CALL, imm: -1, ..EXIT };
    let place = "section `xdp` at offset 0x10: instruction 1 of program `p`:";
    let cases = [
        (LOAD, reference(1, ".bss", 0), "refers to `thing` in section `.bss`"),
        (
            LOAD,
            SymbolReference { symbol: ".bss".into(), ..reference(1, ".bss", 0) },
            "refers to data in section `.bss`",
        ),
        (call, reference(1, ".text", 0), "calls `thing` in section `.text`"),
        (
            call,
            SymbolReference { symbol: ".text".into(), ..reference(1, ".text", 0) },
            "calls a function in section `.text`",
        ),
    ];
    for (insn, reference, what) in cases {
        let (kind, text) = refusal_of(&[EXIT, insn, HALF], reference);
        assert_eq!(text, format!("{place} {what}; so far only references to maps are supported"));
        assert_eq!(kind, ErrorKind::Unsupported);
    }
    let nowhere = SymbolReference { target: SymbolTarget::Nowhere, ..reference(1, "", 0) };
    let (kind, text) = refusal_of(&[EXIT, LOAD, HALF], nowhere);
    assert_eq!(text, format!("{place} refers to `thing`, which this object does not define"));
    assert_eq!(kind, ErrorKind::Unsupported);
}

#[test]
fn a_call_without_a_relocation_is_refused_too() {
    let call = Insn { code: BPF_CALL, src: BPF_PSEUDO_CALL, imm: 1, ..EXIT };
    let helper = Insn { src: 0, ..call };
    assert!(link_program(&[helper, EXIT], &[]).is_ok());
    let text = link_program(&[helper, call, EXIT, EXIT], &[]).unwrap_err().to_string();
    assert!(text.contains("instruction 1 of program `p`: calls a function in section `xdp`"), "{text}");
}
