//! Extensions: programs that replace a function of another program, while that runs.

use crate::acceptor::Ending;
use crate::bench::refused;
use crate::command::{Ran, command, run};
use crate::edit::Edit;
use crate::objects::{object, object_by};
use crate::packets::assert_udp;
use crate::peers::bpftool;
use crate::sandbox::Sandbox;
use crate::strace_plan::run_as_planned;
use crate::veth::{NEAR, OTHER, pair};
use crate::xdpload::{answer, xdpload};

const DIR: &str = "/sys/fs/bpf/extension";

/// Whether the kernel lets extensions in at all. Some that are locked down do not, whoever loads them: libxdp's
/// dispatcher is made of extensions, and is needed for two programs on one interface.
fn kernel_takes_extensions() -> bool {
    let programs = [object("xdp_pass"), object("global_data")];
    let ran = run(&mut command("xdp-loader", &["load", "-v", NEAR, &programs[0], &programs[1]]));
    let refused = "Compatibility check for dispatcher program failed: Operation not permitted";
    let takes = !ran.stderr().contains(refused) && !ran.stdout().contains(refused);
    if takes {
        ran.ok();
        run(&mut command("xdp-loader", &["unload", NEAR, "--all"])).ok();
    }
    takes
}

/// Loads the extension of `clang` for what runs on the interface, with strace as the witness of the plan.
fn load_extension(sandbox: &Sandbox, clang: &str, target: &str, ending: Ending) -> Ran {
    let extension = object_by(clang, "extension");
    let options = [&extension, "--target-prog", target, "--pin", DIR];
    run_as_planned(sandbox, &options, &[&["load"], &options[..]].concat(), ending)
}

#[test]
fn one_replaces_a_function_until_its_link_is_unpinned() {
    for clang in ["clang-14", "clang-19"] {
        let (sandbox, veth) = need!(pair(&["bpftool", "strace", "xdp-loader"]));
        let takes = kernel_takes_extensions();
        answer(&["load", &object_by(clang, "extensible"), "--pin", "/sys/fs/bpf/main"]);
        let pin = "/sys/fs/bpf/main/dispatch";
        let attached = answer(&["attach", NEAR, "--pinned", pin]);
        assert_udp(&veth, OTHER, 5);
        let id = attached["program"]["id"].to_string();
        for target in [&*id, pin] {
            if !takes {
                let pins = sandbox.pins();
                let ran = load_extension(&sandbox, clang, target, Ending::AsTheKernelSays);
                ran.fails(3).stderr_has("bpf(BPF_PROG_LOAD) for program `deny` failed");
                assert_eq!(sandbox.pins(), pins);
                assert_udp(&veth, OTHER, 5);
                continue;
            }
            load_extension(&sandbox, clang, target, Ending::AsTheKernelSays).ok().stdout_has(&format!(
                "replaces its function while its bpf_link is pinned at {DIR}/links/deny"
            ));
            assert_udp(&veth, OTHER, 0);
            let count = answer(&["map", "get", &format!("{DIR}/maps/denied"), "0"]);
            assert_eq!(count["value"], 5, "{count}");
            assert_eq!(bpftool(&["prog", "show", "pinned", &format!("{DIR}/deny")])["type"], "ext");
            let link = bpftool(&["link", "show", "pinned", &format!("{DIR}/links/deny")]);
            assert_eq!((&link["type"], link["target_obj_id"].to_string()), (&"tracing".into(), id.clone()));
            std::fs::remove_file(format!("{DIR}/links/deny")).unwrap();
            assert_udp(&veth, OTHER, 5);
            std::fs::remove_dir_all(DIR).unwrap();
        }
    }
}

#[test]
fn what_cannot_be_extended_is_refused_and_nothing_is_left() {
    let (sandbox, _veth) = need!(pair(&[]));
    let extension = object("extension");
    let is = "program `deny` replaces function `decide` of another program";
    refused(
        &["load", &extension, "--pin", DIR],
        2,
        &[is, "and that program is not named", "xdpload load OBJ --target-prog"],
    );
    refused(
        &["attach", NEAR, &extension],
        2,
        &[is, "and cannot be attached to an interface", "xdpload load OBJ --target-prog"],
    );
    refused(
        &["load", &object("xdp_pass"), "--target-prog", "1", "--pin", DIR],
        2,
        &["no program that is loaded is an extension (section `freplace/<function>`)"],
    );
    xdpload(&["plan", &extension, "--target-prog", "1"]).fails(2).stderr_has("--pin");

    // A program with other functions, and one that was loaded without types.
    let load = |target: &str, words: &[&str]| {
        refused(&["load", &extension, "--target-prog", target, "--pin", DIR], 1, words);
    };
    let many = answer(&["load", &object("many"), "--prog", "pass_all", "--pin", "/sys/fs/bpf/many"]);
    let mut without_types = Edit::of(&object("xdp_drop"));
    without_types.rename_section(".BTF", ".off");
    let without_types = without_types.save(&sandbox);
    let typeless = answer(&["load", &without_types, "--pin", "/sys/fs/bpf/typeless"]);
    let pins = sandbox.pins();
    let id = |loaded: &serde_json::Value| loaded["programs"][0]["id"].to_string();
    load(&id(&many), &["program `pass_all` (id ", "has no function `decide`: it has `"]);
    let untyped = "was loaded without BTF, so none of its functions can be replaced";
    load(&id(&typeless), &[untyped]);
    load("4294967295", &["there is no program with id 4294967295"]);
    load("/sys/fs/bpf/nowhere", &["/sys/fs/bpf/nowhere"]);
    assert_eq!(sandbox.pins(), pins);
}
