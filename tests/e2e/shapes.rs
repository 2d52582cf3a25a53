//! The shapes that real files come in, each loaded: where libbpf takes it, as libbpf does, and else by what it is for.

use std::path::Path;

use loader::object::ParseOptions;
use loader::{Kernel, Loaded, Loader, Object};

use crate::bench::Bench;
use crate::command::{command, run};
use crate::edit::{Edit, field};
use crate::libbpf::{View, compare, load_by_libbpf, load_by_us};
use crate::objects::{object, object_by};
use crate::peers::{attached_by_ip, number, program, text};
use crate::requirement::{Missing, tool};
use crate::sandbox::Sandbox;
use crate::veth::{NEAR, pair};
use crate::xdpload::{answer, xdpload};

const CLANGS: [&str; 2] = ["clang-14", "clang-19"];

/// A sandbox for what is loaded by us and by libbpf.
fn sandbox() -> Result<Sandbox, Missing> {
    tool("bpftool")?;
    Sandbox::new()
}

/// Attaches with these words, tells the program's name, and detaches.
#[track_caller]
fn attached(object: &str, words: &[&str]) -> String {
    let attached = answer(&[&["attach", NEAR, object], words].concat());
    xdpload(&["detach", NEAR]).ok();
    text(&attached["program"]["name"])
}

#[test]
fn a_program_in_a_section_of_any_name() {
    let bench = need!(Bench::new(&[]));
    for clang in CLANGS {
        let object = object_by(clang, "any_section");
        assert_eq!(attached(&object, &["--prog=drop_short"]), "drop_short");
        assert_eq!(attached(&object, &["--section=filters", "--prog=drop_long"]), "drop_long");
        bench.refuses_file(
            &object,
            &[],
            1,
            &[
                "error: no section of the object is named as those of XDP programs are; instructions are in \
                 `filters`\n",
                "  help: say which it is: --prog NAME, or --section NAME\n",
            ],
        );
        let words = ["there is no program `drop_none`: no section of the object is named"];
        bench.refuses_file(&object, &["--prog=drop_none"], 2, &words);
        // bpftool's word for it.
        let theirs = load_by_libbpf(&bench.sandbox, &object, &["type", "xdp"]).expect("libbpf takes it");
        let ours = load_by_us(&bench.sandbox, &object, &["filters"]).unwrap();
        assert_eq!(View::differences(&theirs, &ours), [""; 0]);
    }
}

#[test]
fn a_program_of_another_type_by_name() {
    let bench = need!(Bench::new(&[]));
    let object = object("other_types");
    assert_eq!(attached(&object, &[]), "of_xdp");
    let words = [
        ": section `tc` at offset 0x0: expected an XDP program in `of_tc`, found a section for programs of type \
         BPF_PROG_TYPE_SCHED_CLS\n",
        "  help: if it is one all the same, say so: --section tc\n",
    ];
    bench.refuses_file(&object, &["--prog=of_tc"], 2, &words);
    bench.refuses_file(&object, &["--prog=of_a_probe"], 2, &["programs of type BPF_PROG_TYPE_KPROBE\n"]);
    // The user says so; that it was meant for tc does not matter to the kernel.
    assert_eq!(attached(&object, &["--section=tc", "--prog=of_tc"]), "of_tc");
}

#[test]
fn programs_in_sections_of_old_names() {
    let _bench = need!(Bench::new(&[]));
    for clang in CLANGS {
        let object = object_by(clang, "old_names");
        xdpload(&["attach", NEAR, &object])
            .fails(2)
            .stderr_has("pass_all (section xdp1), drop_all (section xdp-root)");
        assert_eq!(attached(&object, &["--prog=xdp-root"]), "drop_all");
    }
}

#[test]
fn optional_programs() {
    let (_sandbox, veth) = need!(pair(&[]));
    for clang in CLANGS {
        let object = object_by(clang, "optional");
        assert_eq!(attached(&object, &[]), "pass_all");
        assert_eq!(answer(&["plan", &object, "--all"])["programs"], serde_json::json!(["pass_all"]));
        // Packets that take several buffers: what the section says after its `?` holds.
        veth.set_mtu(9000);
        assert_eq!(attached(&object, &["--prog=drop_frags"]), "drop_frags");
        xdpload(&["attach", NEAR, &object]).fails(1).stderr_has("`xdp.frags`");
        veth.set_mtu(1500);
        let devmap = ["load", &object, "--prog=drop_egress", "--pin=/sys/fs/bpf/egress"];
        assert_eq!(answer(&devmap)["programs"][0]["name"], "drop_egress");
        std::fs::remove_dir_all("/sys/fs/bpf/egress").unwrap();
        let extension = ["plan", &object, "--prog=deny_instead"];
        xdpload(&extension).fails(2).stderr_has("`deny_instead` replaces function `decide`");
    }
}

#[test]
fn static_programs() {
    let _bench = need!(Bench::new(&[]));
    for clang in CLANGS {
        let object = object_by(clang, "static_entry");
        assert_eq!(attached(&object, &["--prog=drop_all"]), "drop_all");
        assert_eq!(attached(&object, &["--prog=xdp/second"]), "pass_all");
    }
}

#[test]
fn a_program_under_two_names() {
    let _bench = need!(Bench::new(&[]));
    for clang in CLANGS {
        let object = object_by(clang, "alias");
        let tag = |name: &str| {
            let attached = answer(&["attach", NEAR, &object, "--prog", name]);
            xdpload(&["detach", NEAR]).ok();
            assert_eq!(text(&attached["program"]["name"]), name);
            text(&attached["program"]["tag"])
        };
        assert_eq!(tag("count"), tag("count_too"));
    }
}

#[test]
fn a_map_whose_size_user_space_gives() {
    let bench = need!(Bench::new(&[]));
    for clang in CLANGS {
        let object = object_by(clang, "map_without_size");
        let words = [
            "error: map `by_length` has no size: the object leaves max_entries 0\n",
            "  help: give it: --max-entries by_length=N\n",
        ];
        bench.refuses_file(&object, &[], 2, &words);
        let words = ["error: map `by_length` has no size: max_entries is 0\n", words[1]];
        bench.refuses_file(&object, &["--max-entries=by_length=0"], 2, &words);
        assert_eq!(attached(&object, &["--max-entries=by_length=77"]), "count");
    }
}

#[test]
fn maps_of_two_dialects_in_one_object() {
    let _bench = need!(Bench::new(&[]));
    for clang in CLANGS {
        let attached = answer(&["attach", NEAR, &object_by(clang, "both_maps")]);
        let maps: Vec<_> = attached["maps"].as_array().expect("maps are a list").iter().map(text).collect();
        assert_eq!(maps, ["packets", "bytes"]);
        assert_eq!(attached["program"]["map_ids"].as_array().expect("ids are a list").len(), 2);
        xdpload(&["detach", NEAR]).ok();
    }
}

#[test]
fn constants_that_bpftool_shows_beside_the_program() {
    let _bench = need!(Bench::new(&[]));
    let attached = answer(&["attach", NEAR, &object("unneeded_data")]);
    let seen = program(number(&attached["program"]["id"]));
    assert_eq!(seen["metadata"]["author"], "xdpload", "{seen}");
    xdpload(&["detach", NEAR]).ok();
}

/// Joins two objects of `clang` to `joined.o` in the sandbox.
fn join(sandbox: &Sandbox, clang: &str, halves: [&str; 2]) -> String {
    let joined =
        sandbox.scratch().join("joined.o").to_str().expect("a sandbox has a printable path").to_owned();
    let [one, other] = halves.map(|half| object_by(clang, half));
    run(&mut command("bpftool", &["gen", "object", &joined, &one, &other])).ok();
    joined
}

#[test]
fn objects_that_bpftool_has_joined() {
    let sandbox = need!(sandbox());
    for clang in CLANGS {
        for halves in [
            ["half_caller", "half_callee"],
            ["half_callee", "half_caller"],
            ["weak_default", "weak_override"],
            ["data_sections", "global_data"],
            ["subprogs", "dead_code"],
            ["unneeded_data", "count_percpu"],
        ] {
            assert_eq!(compare(&sandbox, &join(&sandbox, clang, halves)), None);
        }
    }
}

#[test]
fn functions_whose_symbols_have_no_type() {
    let sandbox = need!(sandbox());
    for clang in CLANGS {
        for name in ["subprogs", "subprog_call", "data_sections", "blacklist"] {
            let path = object_by(clang, name);
            let mut untyped = Edit::of(&path);
            untyped.remove_function_types();
            let old = untyped.save_as(&sandbox, name);
            let [typed, untyped] = [&path, &old].map(|path| load_by_us(&sandbox, path, &[]).unwrap());
            assert_eq!(typed, untyped, "{path}");
        }
    }
}

/// Loads the only program of `path`.
fn load(path: &str) -> Loaded {
    let object = Object::open_with(Path::new(path), &ParseOptions::default()).expect("an object");
    let kernel = Kernel::current().expect("a kernel tells its version");
    let plan = Loader::new(&object).plan(&kernel).expect("a plan");
    plan.execute(|_| {}).expect("the kernel takes it")
}

#[test]
fn every_instruction_set_computes_the_same() {
    let sandbox = need!(sandbox());
    let verdicts = |clang: &str, cpu: u8| -> Vec<u32> {
        let path = object_by(clang, &format!("arithmetic.v{cpu}"));
        assert_eq!(compare(&sandbox, &path), None);
        let loaded = load(&path);
        let program = loaded.program("arithmetic").unwrap();
        (14..600).map(|len| program.test_run(&vec![0; len], 1).unwrap().verdict.0).collect()
    };
    let expected = verdicts("clang-14", 1);
    assert!((0..5).all(|verdict| expected.contains(&verdict)), "{expected:?}");
    for (clang, cpu) in
        [("clang-14", 2), ("clang-14", 3), ("clang-19", 1), ("clang-19", 2), ("clang-19", 3), ("clang-19", 4)]
    {
        assert_eq!(verdicts(clang, cpu), expected, "{clang}, v{cpu}");
    }
}

#[test]
fn a_program_near_the_verifiers_limit() {
    let _sandbox = need!(sandbox());
    let loaded = load(&object_by("big", "near_the_limit"));
    let info = loaded.program("add_up").unwrap().info().unwrap();
    assert!((900_000..=1_000_000).contains(&info.verified_insns), "{info:?}");
}

#[test]
fn a_program_of_four_thousand_instructions() {
    let _sandbox = need!(sandbox());
    let object = Object::open(object_by("big", "functions_and_maps")).unwrap();
    assert_eq!((object.functions.len(), object.maps.len()), (20, 20));
    let insns = object.functions.iter().map(|function| function.insns.len()).sum::<usize>();
    assert!((3_900..=4_500).contains(&(insns + object.programs[0].function.insns.len())), "{insns}");
    let loaded = load(&object_by("big", "functions_and_maps"));
    assert_eq!(loaded.program("mix_all").unwrap().info().unwrap().map_ids.len(), 20);
}

#[test]
fn twenty_functions_that_read_fields_of_the_kernel() {
    let _sandbox = need!(sandbox());
    let object = Object::open(object_by("big", "core_functions")).unwrap();
    let loader = Loader::new(&object).ask_kernel().unwrap();
    let plan = loader.plan(&loader.running_kernel().unwrap()).unwrap();
    let found = plan.relocations.iter().flatten().filter(|resolution| resolution.after.is_some()).count();
    assert_eq!(found, 280);
}

#[test]
fn half_of_an_object_is_refused() {
    let bench = need!(Bench::new(&[]));
    for clang in CLANGS {
        let words = [
            "error: section `xdp` at offset 0x",
            " of program `ask`: refers to `judge`, which this object does not define\n",
        ];
        bench.refuses_file(&object_by(clang, "half_caller"), &[], 1, &words);
    }
    assert!(attached_by_ip(NEAR).is_none());
}

#[test]
fn an_object_without_its_relocations_is_refused() {
    let bench = need!(Bench::new(&[]));
    // A table of relocations that is none any more, as if llvm-objcopy had removed it.
    let mut edit = bench.blacklist();
    let kind = edit.header(".relxdp") + field::SH_TYPE;
    edit.put(kind, &1_u32.to_le_bytes());
    let words = [
        "expected a relocation for `r1 = 0x0 ll`, found none in the whole object\n",
        "  help: the file has lost its relocations; strip it with `llvm-strip -g`, which keeps them\n",
    ];
    bench.refuses(&edit, &[], 1, &words);
    bench.assert_clean();
}

#[test]
fn maps_of_btf_without_btf_are_refused() {
    let bench = need!(Bench::new(&[]));
    let mut edit = Edit::of(&object("many"));
    edit.rename_section(".BTF", ".gone");
    let words = [
        "section `.maps` at offset 0x0: expected a section `.BTF` that describes the maps, found none\n",
        "  help: compile with `clang -g`, and strip with `llvm-strip -g`, which keeps BTF\n",
    ];
    bench.refuses(&edit, &["--prog=pass_all"], 1, &words);
}
