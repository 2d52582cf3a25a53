//! Bad input: one clear message each, the right exit code, no panic, and everything left as it was.

use std::fs::{self, File};
use std::path::Path;

use nix::mount::{MsFlags, mount, umount};

use crate::bench::{Bench, assert_safe, assert_well_said, refused};
use crate::command::{command, run};
use crate::edit::{Edit, field};
use crate::objects::{object, object_by};
use crate::peers::{attached_by_ip, bpftool};
use crate::veth::NEAR;
use crate::xdpload::{answer, xdpload};

#[test]
fn a_truncated_file_is_refused_at_each_length() {
    let bench = need!(Bench::new(&[]));
    let whole = bench.blacklist();
    let len = whole.bytes.len();
    let edges = [1, 4, 15, 16, 63, 64, 65, len - 64, len - 1];
    for len in edges.into_iter().chain((1..=32).map(|part| len * part / 33)) {
        let mut edit = whole.clone();
        edit.bytes.truncate(len);
        bench.refuses(&edit, &[], 1, &["reading `", " at offset 0x", "expected "]);
    }
    bench.assert_clean();
}

#[test]
fn flipped_bytes_harm_nobody() {
    let bench = need!(Bench::new(&[]));
    let whole = bench.blacklist();
    // The places that matter: the headers, the symbols, the relocations, the instructions, the maps.
    let table = whole.header(".strtab") - 64;
    let mut places: Vec<usize> = (0..64).step_by(3).collect();
    places.extend((table..table + 8 * 64).step_by(29));
    for section in [".symtab", ".relxdp", "xdp", "maps", ".strtab"] {
        places.extend(whole.content(section).step_by(23));
    }
    for place in places {
        let mut edit = whole.clone();
        edit.bytes[place] ^= 0xff;
        let path = edit.save(&bench.sandbox);
        let ran = xdpload(&["attach", NEAR, &path]);
        match ran.code() {
            Some(0) => drop(xdpload(&["detach", NEAR]).ok()),
            Some(1 | 2 | 4) => assert_well_said(&ran),
            _ => panic!("byte {place:#x}:\n{}", ran.report()),
        }
        let inspected = xdpload(&["inspect", &path]);
        assert!(matches!(inspected.code(), Some(0..=2)), "byte {place:#x}:\n{}", inspected.report());
    }
    assert_eq!((attached_by_ip(NEAR), bench.sandbox.pins()), (None, vec![]));
    bench.assert_clean();
}

#[test]
fn what_is_no_bpf_object_is_told_what_it_is() {
    let bench = need!(Bench::new(&[]));
    let with = |at: usize, bytes: &[u8]| {
        let mut edit = bench.blacklist();
        edit.put(at, bytes);
        edit
    };
    let header = |at: usize| format!("file header at offset {at:#x}: expected ");
    bench.refuses(
        &Edit { bytes: vec![] },
        &[],
        1,
        &["reading `", "expected an ELF file, found an empty one"],
    );
    let text = Edit { bytes: b"#!/bin/sh\n".to_vec() };
    bench.refuses(&text, &[], 1, &[&header(0), "the ELF magic", "found [23, 21, 2f, 62]"]);
    let core = with(field::E_TYPE, &4u16.to_le_bytes());
    bench.refuses(&core, &[], 1, &[&header(16), "a relocatable object (ET_REL, 1), found type core"]);
    bench.refuses(&with(field::E_CLASS, &[1]), &[], 1, &[&header(4), "found a 32-bit one"]);
    bench.refuses(&with(field::E_DATA, &[3]), &[], 1, &[&header(5), "ELFDATA2MSB (2), found 3"]);
    let host = std::env::current_exe().expect("the test is a file");
    let host = host.to_str().expect("cargo makes printable paths");
    bench.refuses_file(
        host,
        &[],
        1,
        &[&header(18), "a BPF object (EM_BPF, 247), found a file for", "help: compile"],
    );
    let big = object_by("bpfeb", "blacklist_libbpf");
    bench.refuses_file(
        &big,
        &[],
        1,
        &[&header(5), "a little-endian object, as this machine is", "help: compile"],
    );
    bench.assert_clean();
}

#[test]
fn what_cannot_be_read_is_named() {
    let bench = need!(Bench::new(&["setpriv"]));
    let directory = bench.sandbox.scratch().to_str().expect("it is printable").to_owned();
    let words = format!("`{directory}` is a directory");
    bench.refuses_file(&directory, &[], 1, &[&words]);
    bench.refuses_file(&object("core_fields"), &["--btf", &directory], 1, &[&words]);
    let (huge, empty) = (bench.sandbox.scratch().join("huge"), bench.sandbox.scratch().join("empty"));
    File::create(&huge).and_then(|file| file.set_len(1 << 29)).expect("the directory is writable");
    File::create(&empty).expect("the directory is writable");
    let (huge, empty) = (huge.to_str().unwrap(), empty.to_str().unwrap());
    // Of a variable in a script that is not set.
    refused(&["attach", NEAR, ""], 2, &["the object is an empty word"]);
    refused(&["inspect", ""], 2, &["none was supplied"]);
    for (path, words) in [
        (&*directory, words.clone()),
        (huge, format!("`{huge}` has more than 268435456 bytes")),
        (empty, format!("reading `{empty}`: file header at offset 0x0: expected an ELF file")),
        ("/nowhere/x.o", "open(2) for `/nowhere/x.o` failed".to_owned()),
    ] {
        refused(&["attach", NEAR, path], 1, &[&words]);
        refused(&["load", path, "--pin", "/sys/fs/bpf/x"], 1, &[&words]);
        refused(&["plan", path], 1, &[&words]);
        refused(&["inspect", path], 1, &[&words]);
        refused(&["inspect", path, "--btf"], 1, &[&words]);
    }
    bench.refuses_file(
        "/nowhere/x.o",
        &[],
        1,
        &["open(2) for `/nowhere/x.o`", "No such file or directory (ENOENT)"],
    );
}

#[test]
fn a_program_must_be_chosen_where_there_are_none_or_several() {
    let bench = need!(Bench::new(&[]));
    let mut none = bench.blacklist();
    none.rename_section("xdp", "tc");
    bench.refuses(&none, &[], 1, &["no section of the object is named as those of XDP programs are", "`tc`"]);
    xdpload(&["plan", &none.save(&bench.sandbox), "--section", "tc"]).ok();
    bench.refuses(
        &none,
        &["--section", "xdp"],
        2,
        &["there is no section `xdp` with instructions; instructions are in `tc`"],
    );

    let many = [
        "choose one program: the object has pass_all (section xdp), ",
        "old_sample (section xdp_old_sample)",
    ];
    bench.refuses_file(&object("many"), &[], 2, &many);
    bench.refuses_file(&object("many"), &["--prog", "xdp"], 2, &["section `xdp` holds several programs: "]);
    bench.refuses_file(
        &object("many"),
        &["--prog", "nobody"],
        2,
        &["there is no program `nobody`: the object has"],
    );
    bench.assert_clean();
}

#[test]
fn definitions_that_contradict_themselves_are_refused_with_their_place() {
    let bench = need!(Bench::new(&[]));
    let mut twice = Edit::of(&object("iproute2_ids"));
    twice.rename_symbol("shared", "inner");
    let words =
        ["section `maps` at offset 0x24: expected one map called `inner`, found another in section `maps`"];
    bench.refuses(&twice, &[], 1, &words);

    let mut odd = bench.blacklist();
    odd.put(odd.header("maps") + field::SH_SIZE, &19u64.to_le_bytes());
    bench.refuses(
        &odd,
        &[],
        1,
        &["section `maps` at offset 0x0: expected map definitions of one size", "found 19 bytes"],
    );
    let mut odd = Edit::of(&object("blacklist_gobpf"));
    odd.put(odd.header("maps/blacklist") + field::SH_SIZE, &279u64.to_le_bytes());
    bench.refuses(
        &odd,
        &[],
        1,
        &["section `maps/blacklist` at offset 0x0: expected one bpf_map_def of 280 bytes"],
    );

    let relocation = bench.blacklist().content(".relxdp").start;
    let relocated = |at: usize, bytes: &[u8]| {
        let mut edit = bench.blacklist();
        edit.put(relocation + at, bytes);
        edit
    };
    let nowhere = relocated(field::R_OFFSET, &0x10000u64.to_le_bytes());
    bench.refuses(
        &nowhere,
        &[],
        1,
        &["section `xdp` at offset 0x10000: expected an instruction here", "`.relxdp`"],
    );
    let nobody = relocated(field::R_SYMBOL, &9999u32.to_le_bytes());
    bench.refuses(&nobody, &[], 1, &["section `xdp` at offset ", "to name one of ", "found number 9999"]);
    let nothing = relocated(field::R_SYMBOL, &0u32.to_le_bytes());
    bench.refuses(&nothing, &[], 1, &["section `xdp` at offset ", "which this object does not define"]);
    bench.assert_clean();
}

#[test]
fn a_missing_license_is_none_of_our_business() {
    let _bench = need!(Bench::new(&[]));
    assert!(answer(&["inspect", &object("no_license")])["license"].is_null());
    xdpload(&["attach", NEAR, &object("no_license")]).ok();
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn an_interface_that_is_not_there_costs_nothing() {
    let bench = need!(Bench::new(&[]));
    let path = bench.blacklist().save(&bench.sandbox);
    for command in [&["attach", "nosuch0", &path][..], &["detach", "nosuch0"], &["status", "nosuch0"]] {
        refused(command, 1, &["there is no interface named `nosuch0`"]);
    }
    let neither = "there is no interface named `2147483647` or with index 2147483647";
    refused(&["attach", "2147483647", &path], 1, &[neither]);
    for index in ["0", "2147483648"] {
        refused(&["attach", index, &path], 1, &[&format!("there is no interface named `{index}`")]);
        let index = format!("index:{index}");
        refused(&["attach", &index, &path], 2, &["cannot be the index of an interface: expected 1 to "]);
    }
    refused(&["attach", "sixteen-bytes-xx", &path], 1, &["there is no interface named `sixteen-bytes-xx`"]);
    let long = "x".repeat(128);
    refused(&["attach", &long, &path], 2, &["it has 128 bytes, and the kernel takes at most 127"]);
    refused(
        &["attach", NEAR, &path, "--netns", "nosuch"],
        1,
        &["there is no network namespace `", "nosuch`"],
    );
    let fifo = bench.sandbox.scratch().join("fifo").display().to_string();
    run(&mut command("mkfifo", &[&fifo])).ok();
    refused(&["attach", NEAR, &path, "--netns", &fifo], 2, &["fifo` is not a network namespace"]);
    let words = ["no-such-map", "expected a pin path, an id, or IF:NAME"];
    refused(&["map", "dump", "no-such-map"], 2, &words);
    refused(&["map", "dump", "nosuch0:blacklist"], 1, &["there is no interface named `nosuch0`"]);
    refused(&["map", "dump", &format!("{NEAR}:blacklist")], 1, &["no XDP program is on `near0`"]);
    refused(&["map", "dump", "4294967294"], 1, &["there is no map with id 4294967294"]);
    refused(&["map", "dump", "/sys/fs/bpf/nosuch"], 1, &["nothing is pinned at `/sys/fs/bpf/nosuch`"]);
    refused(&["detach", NEAR], 1, &["detaching from `near0`: no XDP program is there"]);
    bench.assert_clean();
}

#[test]
fn a_map_that_is_too_big_says_so() {
    let bench = need!(Bench::new(&[]));
    let size = format!("{}=4294967295", bench.map);
    let words = [
        "4294967295 entries",
        "bpf(BPF_MAP_CREATE) for map `",
        "(E2BIG)",
        "help: it is too big for this kernel",
    ];
    bench.refuses(&bench.blacklist(), &["--max-entries", &size], 1, &words);
    let words = [
        "4294967295 entries",
        "bpf(BPF_MAP_CREATE) for map `verdict`",
        "help: it is too big for this kernel",
    ];
    bench.refuses_file(&object("verdicts"), &["--max-entries", "verdict=4294967295"], 1, &words);
    let none = format!("{}=0", bench.map);
    bench.refuses(
        &bench.blacklist(),
        &["--max-entries", &none],
        2,
        &["has no size", "help: give it: --max-entries"],
    );
    let words = ["there is no map `nosuch`: the object has `", &bench.map];
    bench.refuses(&bench.blacklist(), &["--max-entries", "nosuch=1"], 2, &words);
    bench.refuses(&bench.blacklist(), &["--max-entries", "nosuch"], 2, &["expected NAME=VALUE"]);
    bench.assert_clean();
}

#[test]
fn an_option_that_contradicts_itself_is_refused() {
    let bench = need!(Bench::new(&[]));
    let map = &bench.map;
    for (option, one, other) in [
        ("--max-entries", "1", "2"),
        ("--pin-map", "/sys/fs/bpf/one", "/sys/fs/bpf/other"),
        ("--set", "1", "2"),
    ] {
        let [first, second] = [one, other].map(|value| format!("{map}={value}"));
        let words = format!("{option} gives `{map}` two values: `{one}` and `{other}`");
        bench.refuses(&bench.blacklist(), &[option, &first, option, &second], 2, &[&words]);
    }
    let same = format!("{map}=7");
    let path = bench.blacklist().save(&bench.sandbox);
    xdpload(&["plan", &path, "--max-entries", &same, "--max-entries", &same]).ok();
    bench.assert_clean();
}

#[test]
fn names_may_be_longer_than_the_kernel_keeps() {
    let bench = need!(Bench::new(&[]));
    let long = |name: &str| format!("{name}{}", "x".repeat(100 - name.len()));
    let mut edit = bench.blacklist();
    edit.rename_symbol(&bench.program, &long(&bench.program));
    edit.rename_symbol(&bench.map, &long(&bench.map));
    xdpload(&["attach", NEAR, &edit.save(&bench.sandbox)]).ok().stdout_has(&long(&bench.program));
    assert_eq!(attached_by_ip(NEAR).map(|program| program.name), Some(bench.program.clone()));
    for name in [bench.map.clone(), long(&bench.map)] {
        xdpload(&["map", "set", &format!("{NEAR}:{name}"), "192.0.2.1", "1"]).ok();
    }
    xdpload(&["detach", NEAR]).ok();

    let component = format!("{}=/sys/fs/bpf/{}", bench.map, "y".repeat(256));
    let words = ["bpf(BPF_OBJ_GET) for `/sys/fs/bpf/yyy", "File name too long (ENAMETOOLONG)"];
    bench.refuses(&bench.blacklist(), &["--pin-map", &component], 1, &words);
    bench.assert_clean();
}

/// A name that would colour a terminal red, turn its writing direction, ring it and break a line.
const EVIL: &str = "e\u{1b}[31m\u{202e}\u{7}\n";
/// The same for an interface, whose name may have no white space and 15 bytes.
const EVIL_LINK: &str = "e\u{1b}[31m";

/// An object full of evil names, and an interface with one.
fn evil(bench: &Bench) -> Edit {
    let link = ["link", "add", EVIL_LINK, "type", "veth", "peer", "name", "peer0"];
    run(&mut command("ip", &link)).ok();
    let mut edit = bench.blacklist();
    edit.rename_symbol(&bench.program, EVIL);
    edit.rename_symbol(&bench.map, EVIL);
    edit.rename_section("xdp", &format!("xdp/{EVIL}"));
    edit.rename_section(".debug_str", EVIL);
    edit
}

#[test]
fn names_cannot_steer_a_terminal() {
    let bench = need!(Bench::new(&[]));
    let path = evil(&bench).save(&bench.sandbox);
    let map = format!("{EVIL_LINK}:{EVIL}");
    let attach = ["attach", EVIL_LINK, &path, "--mode", "generic", "-v"];
    let replace = [&attach[..], &["--replace"]].concat();
    let commands: [&[&str]; 9] = [
        &["inspect", &path],
        &["plan", &path, "--dev", EVIL_LINK, "-v"],
        &attach,
        &replace,
        &["status"],
        &["map", "set", &map, "1", "2"],
        // The kernel takes letters, digits and `_` alone.
        &["map", "dump", &map.replace(EVIL, "e__31m___")],
        &["map", "list"],
        &["detach", EVIL_LINK],
    ];
    for json in [false, true] {
        for arguments in commands {
            let ran = xdpload(&[arguments, if json { &["--json"] } else { &[] }].concat()).ok();
            assert_safe(ran.stdout(), &ran.report());
            assert_safe(ran.stderr(), &ran.report());
            assert!(!json || ran.json().is_object());
        }
    }
}

#[test]
fn names_in_errors_cannot_steer_a_terminal() {
    let bench = need!(Bench::new(&[]));
    let edit = evil(&bench);
    let path = edit.save(&bench.sandbox);
    let nosuch = format!("\u{1b}{EVIL}=1");
    let refusals: [(&[&str], i32); 10] = [
        (&["inspect", EVIL], 1),
        (&["attach", EVIL_LINK, &path, "--mode", "offload"], 1),
        (&["attach", EVIL, &path], 2),
        (&["attach", NEAR, &path, "--prog", "\u{1b}["], 2),
        (&["attach", NEAR, &path, "--max-entries", &nosuch], 2),
        (&["attach", NEAR, &path, "--netns", EVIL], 1),
        (&["attach", NEAR, &path, "--mode", EVIL], 2),
        (&["map", "dump", EVIL], 2),
        (&["detach", EVIL_LINK], 1),
        (&["--e\u{1b}[31m"], 2),
    ];
    for (arguments, code) in refusals {
        refused(arguments, code, &["\\u{1b}["]);
    }
    let mut wrong = edit;
    wrong.put(wrong.content("maps").start, &[0xff; 4]);
    refused(&["attach", NEAR, &wrong.save(&bench.sandbox)], 1, &["\\u{1b}["]);
}

#[test]
fn another_shape_at_the_pin_is_told_field_by_field() {
    let bench = need!(Bench::new(&[]));
    let pin = "/sys/fs/bpf/here";
    let option = format!("{}={pin}", bench.map);
    let create = "map create /sys/fs/bpf/here type array key 4 value 8 entries 16 name here flags 1024";
    bpftool(&create.split(' ').collect::<Vec<_>>());
    let words = [
        "the one at `/sys/fs/bpf/here` has another shape",
        "map_type is array, wanted hash",
        "value_size is 8, wanted 4",
        "max_entries is 16, wanted 65536",
        "map_flags is BPF_F_MMAPABLE, wanted 0",
        "help: load with the shape that it has, or remove the pin",
    ];
    let ran = bench.refuses(&bench.blacklist(), &["--pin-map", &option], 1, &words);
    let message = ran.stderr().lines().next().unwrap_or_default();
    assert!(!message.contains("key_size"), "{}", ran.report());
    ran.stderr_has("map_type     array           hash  <- differs")
        .stderr_has("key_size     4               4\n");
    bench.assert_clean();
}

#[test]
fn what_stands_in_a_pins_place_is_named() {
    let bench = need!(Bench::new(&[]));
    let program = "/sys/fs/bpf/program";
    run(&mut command("bpftool", &["prog", "load", &object("xdp_pass"), program])).ok();
    fs::create_dir("/sys/fs/bpf/directory").expect("bpffs is writable");
    let places = [
        ("/sys/fs/bpf/program", 1, "pin `/sys/fs/bpf/program`: expected a map, found a program"),
        ("/sys/fs/bpf/directory", 1, "`/sys/fs/bpf/directory` is a directory, not a pin"),
        ("/sys/fs/bpf/program/map", 1, "`/sys/fs/bpf/program/map` failed: Not a directory (ENOTDIR)"),
        ("/sys/fs/bpf/a.b", 2, "has a dot in a name, which the kernel does not allow"),
        ("/sys/fs/bpf", 2, "is the bpffs itself, not a name in it"),
        ("/sys/fs/bpf/a/../b", 2, "has a `..`, a `.`, or a slash too many"),
        ("/run/map", 2, "pin path `/run/map` is not below `/sys/fs/bpf`"),
    ];
    for (place, code, words) in places {
        let option = format!("{}={place}", bench.map);
        bench.refuses(&bench.blacklist(), &["--pin-map", &option], code, &[words]);
    }
    refused(&["map", "dump", program], 1, &["expected a map, found a program"]);
    refused(&["map", "dump", "/sys/fs/bpf/directory"], 1, &["is a directory, not a pin"]);
    refused(&["map", "dump", "/run/scratch"], 1, &["`/run/scratch` is a directory, not a pin"]);
    bench.assert_clean();
}

#[test]
fn the_verifiers_log_is_kept_where_it_is_wanted() {
    let bench = need!(Bench::new(&[]));
    let words = [
        ("gpl_only", "cannot call GPL-restricted function from non-GPL compatible program"),
        ("map_value_bounds", "memory"),
        ("packet_unchecked", "R1 offset is outside of the packet"),
        ("unbounded_loop", "infinite loop detected at insn "),
    ];
    for (name, verdict) in words {
        let log = bench.sandbox.scratch().join(name);
        let option = log.to_str().expect("it is printable");
        let object = object(&format!("reject/{name}"));
        let refusal = format!("program `{name}` was refused by the verifier");
        bench.refuses_file(&object, &["--verifier-log", option], 4, &[&refusal, "  rule: ", " written to `"]);
        let log = fs::read_to_string(&log).expect("the log is kept");
        assert!(log.contains(verdict) && log.contains("processed "), "{log}");
        bench.refuses_file(
            &object,
            &["--verifier-log", "/nowhere/log"],
            4,
            &[
                &refusal,
                " lines), not kept: open(2) for `/nowhere/log` failed: No such file or directory (ENOENT)",
            ],
        );
        let full = " lines), not kept: write(2) for `/dev/full` failed: No space left on device (ENOSPC)";
        bench.refuses_file(&object, &["--verifier-log", "/dev/full"], 4, &[&refusal, full]);
    }
    assert!(Path::new("/dev/full").exists());
}

/// Half a log would be taken for one.
#[test]
fn a_log_that_does_not_fit_leaves_no_part() {
    let bench = need!(Bench::new(&[]));
    let full = bench.sandbox.scratch().join("full");
    fs::create_dir(&full).expect("the sandbox is writable");
    mount(Some("tmpfs"), &full, Some("tmpfs"), MsFlags::empty(), Some("size=4k")).expect("root may mount");
    let (log, filler) = (full.join("log"), full.join("filler"));
    let option = log.to_str().expect("it is printable");
    let object = object("reject/packet_unchecked");
    let refuses = || {
        let words = [&*format!("write(2) for `{option}` failed"), "No space left on device (ENOSPC)"];
        bench.refuses_file(&object, &["--verifier-log", option], 4, &words);
    };
    fs::write(&filler, [0; 4096]).expect("there is room for it");
    refuses();
    assert!(!log.exists());
    // A file of the user's stays one.
    fs::remove_file(&filler).expect("it is there");
    fs::write(&log, "").expect("there is room for it");
    fs::write(&filler, [0; 4096]).expect("there is room for it");
    refuses();
    assert!(log.exists());
    umount(&full).expect("nobody uses it");
}
