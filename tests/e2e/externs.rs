//! What programs take from the kernel: options of its configuration, addresses, functions. They see it on real
//! packets, and what is missing is refused before anything is made.

use std::fs;

use loader::Map;

use crate::bench::{Bench, refused};
use crate::command::{command, run};
use crate::edit::Edit;
use crate::objects::{object, object_by};
use crate::packets::{Frame, Wire, assert_udp};
use crate::peers::{bpftool, number, text};
use crate::requirement::{Missing, tool};
use crate::sandbox::Sandbox;
use crate::veth::{NEAR, OTHER, Veth, pair};
use crate::xdpload::{answer, xdpload};

const COMPILERS: [&str; 2] = ["clang-14", "clang-19"];

/// Attaches the object, sends a frame through its program, and gives the entries of its first map. No other frame
/// comes after it.
#[track_caller]
fn see(veth: &Veth, object: &str, options: &[&str]) -> Vec<Vec<u8>> {
    veth.without_ipv6();
    let attached = answer(&[&["attach", NEAR, object, "--replace"], options].concat());
    let (near, far) = (Wire::near(), Wire::far(veth));
    let frame = Frame::ipv4(veth, &[], OTHER);
    far.send(&frame);
    near.assert_sees(&frame);
    let id = u32::try_from(number(&attached["program"]["map_ids"][0])).expect("ids have 32 bits");
    let map = Map::from_id(id).expect("the program keeps its map");
    let value = |key: u32| {
        let value = map.lookup(&key.to_ne_bytes()).expect("an array has all its entries");
        value.expect("an array has all its entries").single().expect("one value a key").to_vec()
    };
    (0..map.max_entries()).map(value).collect()
}

/// The number of some bytes.
fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[test]
fn a_program_sees_the_options_of_a_configuration() {
    let (sandbox, veth) = need!(pair(&["gzip"]));
    let config = sandbox.scratch().join("config");
    let text = "# Linux\nCONFIG_BPF_SYSCALL=y\nCONFIG_VETH=m\nCONFIG_BPF_JIT=n\nCONFIG_LOG_BUF_SHIFT=-7\n\
                CONFIG_NR_CPUS=0x123456789a\nCONFIG_DEFAULT_HOSTNAME=\"longer than it has room\"\n";
    fs::write(&config, text).unwrap();
    let path = config.display().to_string();
    run(&mut command("gzip", &["--keep", &path])).ok();
    for clang in COMPILERS {
        for file in [&path, &format!("{path}.gz")] {
            let entries = see(&veth, &object_by(clang, "kconfig"), &["--kconfig", file]);
            let seen = &entries[0];
            assert_eq!(
                word(&seen[8..16]),
                u64::from_le_bytes((-7_i64).to_le_bytes()),
                "CONFIG_LOG_BUF_SHIFT"
            );
            assert_eq!(word(&seen[16..24]), 0x12_3456_789a, "CONFIG_NR_CPUS");
            assert_eq!(seen[24..29], [1, 2, b'n', 0, 0]);
            assert_eq!(&seen[29..37], b"longer \0");
        }
    }
}

#[test]
fn a_program_sees_the_options_of_the_running_kernel() {
    let (_sandbox, veth) = need!(pair(&[]));
    for clang in COMPILERS {
        let object = object_by(clang, "kconfig");
        let entries = see(&veth, &object, &[]);
        let plan = answer(&["plan", &object]);
        let value = |name: &str| {
            let externs = plan["externs"].as_array().unwrap();
            text(&externs.iter().find(|it| it["name"] == name).unwrap()["value"])
        };
        assert_eq!(word(&entries[0][0..8]).to_string(), value("LINUX_KERNEL_VERSION"));
        assert_eq!(word(&entries[0][8..16]).to_string(), value("CONFIG_LOG_BUF_SHIFT"));
        assert_eq!(entries[0][24..29], [1, 1, b'y', 0, 0]);
        assert_eq!(value("CONFIG_XDPLOAD_NOWHERE"), "missing");
        // Nobody changes them any more.
        xdpload(&["map", "set", "near0:kconfig.kconfig", "0", &format!("hex:{}", "00".repeat(39))])
            .fails(2)
            .stderr_has("the map is frozen: only programs may change its entries, if anybody: ");
        xdpload(&["map", "set", "near0:.kconfig", "CONFIG_LOG_BUF_SHIFT", "1"])
            .fails(2)
            .stderr_has("help: set it before the load: xdpload attach IF OBJ --kconfig FILE");
        xdpload(&["plan", &object, "--set", "CONFIG_LOG_BUF_SHIFT=1"])
            .fails(2)
            .stderr_has("`CONFIG_LOG_BUF_SHIFT` is no variable, but an option of the kernel")
            .stderr_has("help: what is to stand for the kernel's: --kconfig FILE");
    }
}

#[test]
fn a_program_sees_where_symbols_are() {
    let (_sandbox, veth) = need!(pair(&[]));
    let symbols = fs::read_to_string("/proc/kallsyms").unwrap();
    let address = |name: &str| {
        let line = symbols.lines().find(|line| line.split(' ').nth(2) == Some(name)).unwrap();
        u64::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap()
    };
    for clang in COMPILERS {
        let addresses: Vec<_> =
            see(&veth, &object_by(clang, "ksyms"), &[]).iter().map(|it| word(it)).collect();
        assert_eq!(addresses, [address("xdp_do_redirect"), address("bpf_prog_put"), 0]);
    }
}

#[test]
fn a_program_calls_functions_of_the_kernel() {
    let (_sandbox, veth) = need!(pair(&[]));
    for clang in COMPILERS {
        let sizes: Vec<_> = see(&veth, &object_by(clang, "kfunc"), &[]).iter().map(|it| word(it)).collect();
        // The frame has 14 bytes of Ethernet and 20 of IPv4, and the function that no kernel has is not called.
        assert_eq!(sizes, [34, 77], "{clang}");
    }
}

#[test]
fn a_program_that_throws_goes_on_with_its_callback() {
    let (sandbox, veth) = need!(pair(&[]));
    for clang in COMPILERS {
        let path = object_by(clang, "exception");
        let attached = answer(&["attach", NEAR, &path]);
        // What is shorter than 60 bytes is thrown at.
        assert_udp(&veth, OTHER, 0);
        let thrown = answer(&["map", "get", "near0:thrown", "0"]);
        assert_eq!(text(&thrown["value"]["hex"]), "0700000000000000");
        let long = Frame::new(&veth, &[], 0x0800, &[0; 80]);
        let (near, far) = (Wire::near(), Wire::far(&veth));
        far.send(&long);
        near.assert_sees(&long);
        assert_eq!(text(&attached["program"]["name"]), "throw_short");
        xdpload(&["detach", NEAR]).ok();
        for (from, to, code, words) in [
            (
                "exception_callback:on_throw",
                "exception_callback:on_thraw",
                1,
                "expected the exception callback `on_thraw` of program `throw_short` among the functions",
            ),
            (
                ".BTF.ext",
                ".BTF.exu",
                2,
                "which the kernel finds by what the compiler says of functions, and that is missing",
            ),
        ] {
            let mut edit = Edit::of(&path);
            let at = edit.bytes.windows(from.len()).position(|bytes| bytes == from.as_bytes());
            edit.put(at.expect("the file says so"), to.as_bytes());
            refused(&["attach", NEAR, &edit.save_as(&sandbox, "edited")], code, &[words]);
        }
    }
}

/// Connection tracking is a module of Debian's kernels, on which scripts/kernels runs the same object.
#[test]
fn a_program_asks_for_a_connection_that_nobody_knows() {
    let (_sandbox, veth) = need!(pair(&[]));
    for clang in COMPILERS {
        let errors: Vec<_> = see(&veth, &object_by(clang, "kfunc_module"), &[])
            .iter()
            .map(|it| i32::from_le_bytes(it[..].try_into().unwrap()))
            .collect();
        assert_eq!(errors, [-nix::libc::ENOENT], "{clang}");
    }
}

#[test]
fn a_program_asks_the_card_about_packets() {
    let (_sandbox, veth) = need!(pair(&[]));
    for clang in COMPILERS {
        let object = object_by(clang, "rx_metadata");
        let plan = xdpload(&["plan", &object, "--dev", NEAR]).ok();
        plan.stdout_has("prog_flags=BPF_F_XDP_DEV_BOUND_ONLY").stdout_has("prog_ifindex=<ifindex>");
        let entries = see(&veth, &object, &[]);
        let seen = &entries[0];
        assert!(word(&seen[..8]) >= 1 && word(&seen[16..20]) > 0, "packets and a hash: {seen:?}");
        // veth tells of the hash, and of a time that it does not know; of a tag that is not there it has no data.
        let errors = [20, 24, 28].map(|at| i32::from_le_bytes(seen[at..at + 4].try_into().unwrap()));
        assert_eq!(errors, [0, 0, -nix::libc::ENODATA]);
    }
}

#[test]
fn a_program_that_asks_the_card_wants_an_interface_in_native_mode() {
    let (_sandbox, veth) = need!(pair(&[]));
    let object = object("rx_metadata");
    let calls = "program `look` calls `bpf_xdp_metadata_rx_timestamp`";
    refused(&["plan", &object], 2, &[calls, "must be bound to an interface when it is loaded"]);
    let generic = ["attach", NEAR, &object, "--mode", "generic"];
    refused(&generic, 2, &[calls, "works only in native mode, not in generic mode"]);
    let there = veth.far.path().display().to_string();
    let elsewhere = ["attach", "far0", &object, "--netns", &there];
    refused(&elsewhere, 1, &[calls, "must be loaded in the network namespace of its interface"]);
    // There is no going back to generic mode.
    let auto = xdpload(&["plan", &object, "--dev", NEAR, "--mode", "auto"]).ok();
    assert!(!auto.stdout().contains("XDP_FLAGS_SKB_MODE"), "{}", auto.report());
    xdpload(&["attach", NEAR, &object, "--mode", "auto"]).ok();
}

#[test]
fn a_driver_that_runs_no_programs_tells_them_nothing() {
    need!(tool("ip"));
    let _sandbox = need!(Sandbox::new());
    let bound = "bound to interface `lo`: bpf(BPF_PROG_LOAD) for program `look` failed: ";
    let help = "its driver does not run XDP programs, and only in a driver can they ask about packets";
    refused(&["attach", "lo", &object("rx_metadata")], 1, &[bound, "(EOPNOTSUPP)", help]);
}

#[test]
fn a_typed_variable_is_read_where_the_kernel_lists_its_address() {
    let (_sandbox, veth) = need!(pair(&[]));
    let listed =
        fs::read_to_string("/proc/kallsyms").unwrap().lines().any(|line| line.ends_with(" bpf_prog_active"));
    for clang in COMPILERS {
        let object = object_by(clang, "ksym_typed");
        if listed {
            // The program runs while another one does not, and the weak variable is nowhere.
            assert!(word(&see(&veth, &object, &[])[0]) < 1000);
        } else {
            let words = "the kernel has a variable bpf_prog_active, and lists no address for it";
            refused(&["attach", NEAR, &object], 4, &[words]);
        }
    }
}

/// The tags that libbpf's load and ours get are the same, and so are the maps of options.
fn compare_with_libbpf() -> Result<(), Missing> {
    tool("bpftool")?;
    let _sandbox = Sandbox::new()?;
    let pin = "/sys/fs/bpf/witness";
    for clang in COMPILERS {
        for name in ["kconfig", "ksyms", "kfunc"] {
            let object = object_by(clang, name);
            run(&mut command("bpftool", &["prog", "load", &object, pin, "type", "xdp"])).ok();
            let witness = bpftool(&["prog", "show", "pinned", pin]);
            let attached = answer(&["attach", "lo", &object, "--mode", "generic"]);
            // libbpf 1.1 leaves something else in place of a function that the kernel lacks.
            let is_same = text(&attached["program"]["tag"]) == text(&witness["tag"]);
            assert_eq!(is_same, name != "kfunc", "{clang} {name}");
            let contents = |program: &serde_json::Value| {
                let ids = program["map_ids"].as_array().expect("a list of ids").iter().map(number);
                let maps = ids.map(|id| {
                    let id = id.to_string();
                    let map = bpftool(&["map", "show", "id", &id]);
                    let fields =
                        ["name", "type", "flags", "bytes_key", "bytes_value", "max_entries", "frozen"];
                    let entries = bpftool(&["map", "dump", "id", &id]);
                    (fields.map(|field| map[field].clone()), entries)
                });
                maps.collect::<Vec<_>>()
            };
            assert_eq!(contents(&attached["program"]), contents(&witness), "{clang} {name}");
            fs::remove_file(pin).expect("bpftool has pinned it");
            xdpload(&["detach", "lo"]).ok();
        }
    }
    Ok(())
}

#[test]
fn libbpf_takes_the_same_from_the_kernel() {
    need!(compare_with_libbpf());
}

/// The tags are those that libbpf 1.7 gets, which puts the same in place of a function that the kernel lacks.
#[test]
fn a_program_that_asks_goes_without_a_function() {
    let _bench = need!(Bench::new(&[]));
    for clang in COMPILERS {
        for (program, tag) in [("guarded", "7e519bef2bcf2b33"), ("guarded_twice", "d976cb8df696dc4d")] {
            let attached =
                answer(&["attach", NEAR, &object_by(clang, "kfunc_weak"), "--prog", program, "--replace"]);
            assert_eq!(text(&attached["program"]["tag"]), tag, "{clang} {program}");
        }
    }
}

#[test]
fn what_the_kernel_lacks_is_named() {
    let bench = need!(Bench::new(&[]));
    for clang in COMPILERS {
        let refused = |name: &str, words: &[&str]| bench.refuses_file(&object_by(clang, name), &[], 1, words);
        let place = "instruction 0 of `look`: section `xdp` at offset 0x0: ";
        refused("kfunc_missing", &[place, "the kernel has no function `xdpload_nowhere`"]);
        refused(
            "kfunc_signature",
            &[
                "the kernel has function `bpf_rcu_read_lock`, but with another signature: it takes 0 parameters \
                 there, and 1 parameter here",
            ],
        );
    }
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let bench = need!(Bench::new(&[]));
    let config = bench.sandbox.scratch().join("config");
    let path = config.display().to_string();
    let sound = [
        ("CONFIG_BPF_SYSCALL", "y"),
        ("CONFIG_VETH", "m"),
        ("CONFIG_BPF_JIT", "y"),
        ("CONFIG_LOG_BUF_SHIFT", "17"),
        ("CONFIG_DEFAULT_HOSTNAME", "\"(none)\""),
    ];
    for (name, value, expected) in [
        ("CONFIG_BPF_SYSCALL", "m", "expected y or n for a bool, found m"),
        ("CONFIG_BPF_SYSCALL", "1", "expected y or n for a bool, found 1"),
        ("CONFIG_VETH", "2", "expected y, m or n for an enum libbpf_tristate, found 2"),
        ("CONFIG_LOG_BUF_SHIFT", "4294967296", "expected a signed number of 4 bytes, found 4294967296"),
        ("CONFIG_LOG_BUF_SHIFT", "y", "expected a number, found y"),
        ("CONFIG_DEFAULT_HOSTNAME", "12", "expected a text in quotes for an array of char, found 12"),
        ("CONFIG_BPF_JIT", "300", "expected a signed number of 1 byte, found 300"),
        ("CONFIG_VETH", "oops", "expected y, m, n, a number or a text in quotes, found `oops`"),
    ] {
        let line =
            |&(known, own): &(&str, &str)| format!("{known}={}\n", if known == name { value } else { own });
        fs::write(&config, sound.iter().map(line).collect::<String>()).unwrap();
        bench.refuses_file(&object("kconfig"), &["--kconfig", &path], 1, &[expected]);
    }
    let others = sound.iter().filter(|(name, _)| *name != "CONFIG_VETH");
    fs::write(&config, others.map(|(name, value)| [*name, "=", *value, "\n"].concat()).collect::<String>())
        .unwrap();
    let missing = format!("option `CONFIG_VETH` is not set in `{path}`");
    let ran = bench.refuses_file(&object("kconfig"), &["--kconfig", &path], 1, &[&missing]);
    ran.stderr_has("an option that is declared `__weak` is 0 where the kernel does not have it");
    bench.refuses_file(&object("kconfig"), &["--kconfig", "/nowhere"], 1, &["open(2) for `/nowhere` failed"]);
    fs::write(&config, [0x1f, 0x8b, 8, 0]).unwrap();
    bench.refuses_file(&object("kconfig"), &["--kconfig", &path], 1, &["reading `", "` failed"]);
}
