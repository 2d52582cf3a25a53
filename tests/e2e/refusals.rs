//! What the verifier refuses is explained: each kind on the running kernel, the whole message.
//!
//! `refusals/*.txt` hold the messages; `UPDATE_GOLDEN=1` writes them anew. What varies with the kernel's build is
//! masked: how many lines a log has.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

use crate::bench::{Bench, assert_well_said};
use crate::edit::Edit;
use crate::objects::object_by;
use crate::requirement::kernel;
use crate::veth::NEAR;
use crate::xdpload::xdpload;

/// Objects and their programs, each of which breaks a rule of its own.
const REFUSED: [(&str, &[&str]); 16] = [
    (
        "memory",
        &[
            "packet_short",
            "packet_far",
            "value_null",
            "value_index",
            "value_mask",
            "stack_below",
            "context_end",
            "context_moved",
        ],
    ),
    ("registers", &["never_set", "pointer_masked", "pointer_aligned", "pointers_added", "step_unbounded"]),
    (
        "control",
        &[
            "too_long",
            "never_reached",
            "falls_out",
            "jumps_out",
            "calls_too_deep",
            "stack_shared",
            "callback_result",
        ],
    ),
    ("calls", &["other_helper", "other_kfunc", "argument", "record_kept"]),
    (
        "packet_moved",
        &[
            "head_moved",
            "head_moved_below",
            "metadata_unchecked",
            "metadata_by_end",
            "metadata_short",
            "metadata_moved",
            "length_compared",
            "step_too_far",
        ],
    ),
    ("slices", &["buffer_short", "slice_short", "slice_index", "slice_written", "slice_moved"]),
    ("global_functions", GLOBAL_FUNCTIONS),
    (
        "arguments",
        &[
            "size_unlimited",
            "key_by_value",
            "value_too_short",
            "other_map",
            "no_map",
            "inner_unchecked",
            "size_varies",
            "used_after_submit",
            "second_argument",
            "no_action",
            "context_written",
            "part_of_field",
            "not_for_interfaces",
        ],
    ),
    (
        "flow",
        &[
            "called_by_pointer",
            "lock_and_call",
            "lock_kept",
            "lock_read",
            "until_drawn",
            "recursion",
            "atomic_packet",
        ],
    ),
    ("kfunc_weak", &["weak_int", "weak_void", "weak_pointer", "weak_signature"]),
    ("core_size", &["other_size", "other_kind"]),
    ("untyped_map", &["timer_per_cpu"]),
    ("gpl_only", &["gpl_only"]),
    ("map_value_bounds", &["map_value_bounds"]),
    ("packet_unchecked", &["packet_unchecked"]),
    ("unbounded_loop", &["unbounded_loop"]),
];

/// The kernel tells a global function from a static one by the types of functions, which come with the lines.
const GLOBAL_FUNCTIONS: &[&str] = &[
    "context_not_passed",
    "too_few_bytes",
    "returns_pointer",
    "packet_passed",
    "compared_by_the_caller",
    "number_for_context",
    "moved_context",
];

/// Walking so many instructions, and telling of each, takes the kernel seconds: once is enough.
const SLOW: &str = "too_long";

#[test]
fn each_kind_by_clang_14() {
    let bench = need!(bench());
    let told = told(&bench, &[SLOW], &|name| object_by("clang-14", name));
    is_golden("clang-14", &told);
}

#[test]
fn each_kind_by_clang_19() {
    let bench = need!(bench());
    let told = told(&bench, &[], &|name| object_by("clang-19", name));
    is_golden("clang-19", &told);
}

/// Without lines of source the instruction is shown. With the lines go the records of CO-RE.
#[test]
fn each_kind_without_lines() {
    let bench = need!(bench());
    let without = [&[SLOW, "other_size", "other_kind"], GLOBAL_FUNCTIONS].concat();
    let told = told(&bench, &without, &|name| {
        let mut edit = Edit::of(&object_by("clang-19", name));
        edit.rename_section(".BTF.ext", ".gone");
        edit.save(&bench.sandbox)
    });
    is_golden("no-lines", &told);
}

/// The kernel refuses the name of a function, and with it all types. What needs them says so, and why there are none.
#[test]
fn types_that_the_kernel_has_refused_before() {
    let bench = need!(bench());
    let refused_types = "since it has refused them: bpf(BPF_BTF_LOAD) for the object's BTF failed: Invalid \
                         argument (EINVAL) (kernel: ";
    for clang in ["clang-14", "clang-19"] {
        let called_back = with_bad_name(&object_by(clang, "callback"), b"\0sum_up\0");
        let words = ["a callback is passed here", "was given no BTF of functions, ", refused_types, "sum-up"];
        let ran = bench.refuses(&called_back, &[], 4, &words);
        assert!(!ran.stderr().contains("help:"), "{}", ran.report());
        let storage = with_bad_name(&object_by(clang, "map_types"), b"\0data_end\0");
        let words = [
            "bpf(BPF_MAP_CREATE) for map `sk_storage` failed: Invalid argument (EINVAL)",
            "maps of this type must come with the types of their entries, and the kernel has refused those: \
             bpf(BPF_BTF_LOAD) for the object's BTF failed: Invalid argument (EINVAL) (kernel: ",
        ];
        bench.refuses(&storage, &[], 1, &words);
    }
}

/// The object with a name among its types, one with an underscore and a NUL byte at either end, that is no name in C.
fn with_bad_name(path: &str, name: &[u8]) -> Edit {
    let mut edit = Edit::of(path);
    let types = edit.content(".BTF");
    let at = edit.bytes[types.clone()].windows(name.len()).position(|bytes| bytes == name);
    let underscore = name.iter().position(|byte| *byte == b'_').expect("the name has one");
    edit.put(types.start + at.expect("the types have the name") + underscore, b"-");
    edit
}

/// The words and numbers of the goldens are those of a kernel that tells of each register as it changes.
fn bench() -> Result<Bench, crate::requirement::Missing> {
    kernel((6, 18), "the words of the verifier that the goldens hold")?;
    Bench::new(&[])
}

/// The messages of all refused programs but `without`, one after the other.
fn told(bench: &Bench, without: &[&str], path: &dyn Fn(&str) -> String) -> String {
    let mut told = String::new();
    for (name, programs) in REFUSED {
        let object = path(&format!("reject/{name}"));
        for program in programs.iter().filter(|program| !without.contains(program)) {
            let ran = xdpload(&["attach", NEAR, &object, "--prog", program]).fails(4);
            assert_well_said(&ran);
            assert!(ran.stderr().lines().count() <= 5, "{}", ran.report());
            writeln!(told, "{}", masked(ran.stderr())).expect("a String takes all");
        }
    }
    bench.assert_clean();
    told
}

/// The same with `N` for the number that varies.
fn masked(told: &str) -> String {
    let (mut told, before) = (told.to_owned(), "full verifier log (");
    if let Some(at) = told.find(before).map(|at| at + before.len()) {
        let digits = told[at..].bytes().take_while(u8::is_ascii_digit).count();
        told.replace_range(at..at + digits, "N");
    }
    told
}

#[track_caller]
fn is_golden(name: &str, told: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/e2e/refusals/{name}.txt"));
    if env::var_os("UPDATE_GOLDEN").is_some() {
        return fs::write(&path, told).expect("the repository is writable");
    }
    let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(golden, told, "{}", path.display());
}
