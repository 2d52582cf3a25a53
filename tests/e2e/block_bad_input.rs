//! `xdpload block` and what people give it by mistake: each refusal with its words, and nothing changed by it.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use loader::map::{Map, MapParams, UpdateFlags};
use loader::uapi::bpf::MapType;
use nix::mount::umount;

use crate::bench::{assert_well_said, refused};
use crate::block_commands::{block, blocked_pair, file, listed};
use crate::command::{Ran, command, run};
use crate::packets::assert_udp;
use crate::peers::{attached_by_ip, bpftool};
use crate::requirement::tool;
use crate::sandbox::Sandbox;
use crate::strace::{trace, trace_with_words};
use crate::veth::{BLOCKED, FAR_V6, NEAR, pair};
use crate::xdpload::{xdpload, xdpload_command};

#[test]
fn words_that_are_no_prefix() {
    let (_sandbox, _veth) = need!(blocked_pair(&[]));
    for (word, code, words) in [
        (
            "banana",
            2,
            "`banana` is not a prefix: expected an address, or ADDRESS/LENGTH such as 192.0.2.0/24",
        ),
        ("192.0.2.0/33", 2, "`192.0.2.0/33` is not a prefix: the length behind the slash goes from 0 to 32"),
        (
            "::ffff:192.0.2.1",
            2,
            "`::ffff:192.0.2.1` is not a prefix: it stands for an IPv4 address: write 192.0.2.1",
        ),
        (
            "fe80::1%near0",
            2,
            "`fe80::1%near0` is not a prefix: rules hold on all interfaces: write fe80::1, without",
        ),
        (
            "10.0.0.1-10.0.0.3",
            2,
            "`10.0.0.1-10.0.0.3` is not a prefix: it is a range, which `-` takes on standard input",
        ),
        ("10.0.0.3-10.0.0.1", 2, "`10.0.0.3-10.0.0.1` is not a prefix: expected an address"),
        ("\u{1b}[31m", 2, "`\\u{1b}[31m` is not a prefix"),
    ] {
        refused(&["block", "add", word], code, &[words]);
        refused(&["block", "del", word], code, &[words]);
    }
    refused(&["block", "add", "192.0.2.77", "banana"], 2, &["`banana` is not a prefix"]);
    assert!(listed().is_empty());
    block(&["add", "198.51.100.7/24"]).ok().stderr_has("note: `198.51.100.7/24` is taken as 198.51.100.0/24");
    refused(&["block", "test", "192.0.2.0/24"], 2, &["`192.0.2.0/24` is not an address"]);
    let words = "`::ffff:192.0.2.1` is not an address: it stands for an IPv4 address: write 192.0.2.1";
    refused(&["block", "test", "::ffff:192.0.2.1"], 2, &[words]);
    let words =
        "`fe80::1%near0` is not an address: rules hold on all interfaces: write fe80::1, without the zone";
    refused(&["block", "test", "fe80::1%near0"], 2, &[words]);
    refused(
        &["block", "add", "192.0.2.77", "--ttl", "soon"],
        2,
        &["expected a time such as 90, 10m or 1d12h"],
    );
    refused(&["block", "add", "192.0.2.77", "--name", "a b"], 2, &["`a b` cannot name a set"]);
    let gone = block(&["del", "198.51.100.0/24", "192.0.2.99"]).fails(1);
    assert_eq!(gone.stdout(), "deleted 198.51.100.0/24\n");
    gone.stderr_has("error: not blocked: 192.0.2.99");
}

#[test]
fn files_that_are_no_lists() {
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "64"]));
    block(&["add", "10.0.0.0/8"]).ok();
    let load = |path: &str, code, words: &str| drop(refused(&["block", "load", path], code, &[words]));
    load("/nowhere", 1, "open(2) for `/nowhere` failed: No such file or directory (ENOENT)");
    load(sandbox.scratch().to_str().unwrap(), 1, "is a directory");
    load(&file(&sandbox, "empty", ""), 1, "empty` is empty, nothing was changed");
    let packed = file(&sandbox, "packed", b"\x1f\x8b\x08\x08\0");
    load(&packed, 1, "is not text, nothing was changed\n  help: this is compressed: `gunzip` it\n");
    load(&file(&sandbox, "binary", b"192.0.2.1\n\x7fELF\0"), 1, "is not text (line 2), nothing was changed");
    load(
        &file(&sandbox, "long", vec![b'1'; 70_000]),
        1,
        "is not a list: line 1 is too long, nothing was changed",
    );
    let bad = file(&sandbox, "bad", "192.0.2.77\nbanana\n192.0.2.0/33\n");
    let words = "line 2: `banana`: expected an address, or ADDRESS/LENGTH such as 192.0.2.0/24 \
                 (and 1 more bad lines); nothing was changed";
    load(&bad, 1, words);
    refused(&["block", "load", &bad], 1, &["`xdpload block load --skip-bad FILE` leaves such lines out"]);
    let many = (0..65).map(|last| format!("192.0.2.{last}")).collect::<Vec<_>>().join("\n");
    load(
        &file(&sandbox, "many", &many),
        1,
        "lists more than the 64 prefixes there is room for, nothing was changed",
    );
    refused(&["block", "load", &file(&sandbox, "many", many)], 1, &["`xdpload block on IF --max-rules N`"]);
    // 2 GB, of which not a byte is read in vain.
    let huge = sandbox.scratch().join("huge");
    fs::File::create(&huge).and_then(|file| file.set_len(2 << 30)).unwrap();
    load(huge.to_str().unwrap(), 1, "is not text (line 1), nothing was changed");
    assert_eq!(listed(), ["10.0.0.0/8 default"]);

    let skipped = block(&["load", &bad, "--skip-bad"]).ok();
    let skipped = skipped.stderr_has("line 2: `banana`: expected an address");
    skipped.stdout_has("default: added 1, kept 0, removed 1\n");
}

#[test]
fn a_file_that_changes_while_it_is_read() {
    let (sandbox, _veth) = need!(blocked_pair(&[]));
    let path = file(&sandbox, "list", "192.0.2.77\n");
    let pipe = sandbox.scratch().join("pipe");
    run(&mut command("mkfifo", &[pipe.to_str().unwrap()])).ok();
    let load =
        xdpload_command(&["block", "load", &path, pipe.to_str().unwrap()]).stderr(Stdio::piped()).spawn();
    // That it opens the pipe means that it has read the list before it.
    let mut writer = fs::File::options().write(true).open(&pipe).unwrap();
    file(&sandbox, "list", "192.0.2.77\n192.0.2.78\n");
    writer.write_all(b"192.0.2.79\n").unwrap();
    drop(writer);
    let output = load.and_then(std::process::Child::wait_with_output).unwrap();
    let words = format!("error: `{path}` changed while it was read, nothing was changed\n");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with(&words), "{output:?}");
    assert_eq!(output.status.code(), Some(1));
    assert!(listed().is_empty());
}

#[test]
fn a_full_list_says_so_and_stays() {
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "2"]));
    block(&["add", "10.0.0.0/8", "11.0.0.0/8"]).ok();
    let would_be = |rules: u32| {
        format!(
            "there is no room: with the new rules there would be {rules}, and there is room for 2; \
             nothing was changed"
        )
    };
    let help =
        "  help: `xdpload block save FILE`, then `xdpload block off --purge`, then `xdpload block on IF \
                --max-rules N`, then `xdpload block load FILE`
";
    for prefix in ["12.0.0.0/8", "192.0.2.77", "2001:db8:1::/61"] {
        refused(&["block", "add", prefix], 1, &[&would_be(3), help]);
    }
    refused(&["block", "add", "192.0.2.77", "12.0.0.0/8"], 1, &[&would_be(4), help]);
    // A feed is told what helps once, and not for each line.
    let fed = feed(
        &sandbox,
        "add 12.0.0.0/8
add 13.0.0.0/8
",
        "",
    )
    .fails(1);
    assert_eq!((fed.stderr().matches(&would_be(3)).count(), fed.stderr().matches(help).count()), (2, 1));
    let list = file(&sandbox, "list", "12.0.0.0/8\n");
    refused(&["block", "load", &list, "--name", "other"], 1, &[&would_be(3), help]);
    let list = file(
        &sandbox,
        "long",
        "12.0.0.0/8
13.0.0.0/8
14.0.0.0/8
",
    );
    refused(&["block", "load", &list], 1, &["more than the 2 prefixes there is room for", help]);
    assert_eq!(listed(), ["10.0.0.0/8 default", "11.0.0.0/8 default"]);
    // Nor is one of several exceptions made, if there is no room for all.
    let words = "with the new exceptions there would be 3 of one family, and there is room for 2";
    let both = ["192.0.2.1", "2001:db8::1"];
    block(&[&["allow", "add"][..], &both].concat()).ok();
    refused(&["block", "allow", "add", "192.0.2.1", "192.0.2.2", "192.0.2.3"], 1, &[words, help]);
    let list = file(&sandbox, "exceptions", "allow 2001:db8::2\nallow 2001:db8::3\nadd a 10.0.0.0/8\n");
    refused(&["block", "load", &list], 1, &[words, help]);
    assert_eq!(block(&["allow", "list"]).ok().stdout(), "192.0.2.1\n2001:db8::1\n");
    assert_eq!(listed(), ["10.0.0.0/8 default", "11.0.0.0/8 default"]);
    block(&[&["allow", "del", "--force"][..], &both].concat()).ok();
    run(&mut command("ip", &["link", "add", "two0", "type", "veth", "peer", "name", "two1"])).ok();
    refused(
        &["block", "on", NEAR, "two0", "--max-rules", "9"],
        1,
        &[
            "was made with room for 2 rules, which cannot be changed",
            "then `xdpload block on near0 two0 --max-rules 9`, then",
        ],
    );
    assert_eq!(attached_by_ip("two0"), None);

    // What helps works.
    let saved = sandbox.scratch().join("saved");
    let saved = saved.to_str().expect("it is printable");
    for words in [
        &["save", saved][..],
        &["off", "--purge"],
        &["on", NEAR, "two0", "--max-rules", "9"],
        &["load", saved],
        &["add", "12.0.0.0/8"],
    ] {
        block(words).ok();
    }
    assert_eq!(listed(), ["10.0.0.0/8 default", "11.0.0.0/8 default", "12.0.0.0/8 default"]);
}

/// `block sync` with these lines.
fn feed(sandbox: &Sandbox, lines: &str, options: &str) -> Ran {
    let (program, lines) = (env!("CARGO_BIN_EXE_xdpload"), file(sandbox, "feed", lines));
    run(&mut command("sh", &["-c", &format!("{program} block sync - {options} <{lines}")]))
}

/// Whoever has said where things are is told commands for what is there.
#[test]
fn hints_say_where_as_the_command_did() {
    let (sandbox, _veth) = need!(pair(&["bpftool"]));
    let place = sandbox.scratch().join("bpf");
    fs::create_dir(&place).expect("the sandbox is writable");
    let bpffs = format!("--bpffs={}", place.display());
    let on = ["block", "on", "far0", "--netns=far", "--max-rules=2", &bpffs];
    xdpload(&[&on[..], &["--default=drop", "--confirm=60s"]].concat())
        .ok()
        .stdout_has("run `xdpload confirm far0 --netns far --bpffs /run/scratch/bpf` within 60 s")
        .stdout_has("run `xdpload confirm --netns far --bpffs /run/scratch/bpf` within ");
    let here = ["--netns=far", &bpffs];
    let words = "on trial: run `xdpload confirm far0 --netns far --bpffs /run/scratch/bpf` within ";
    let status = xdpload(&[&["status"], &here[..]].concat()).ok();
    assert_eq!(status.stdout().matches(words).count(), 2, "{}", status.report());
    xdpload(&["confirm", "far0", "--netns", "far", "--bpffs", "/run/scratch/bpf"]).ok();

    refused(
        &["block", "add", "192.0.2.1"],
        1,
        &["there is no blocklist at `/sys/fs/bpf/xdpload/block`", "help: `xdpload block on IF` makes one\n"],
    );
    block(&["add", "10.0.0.0/8", "11.0.0.0/8", &bpffs]).ok();
    let help = "`xdpload block off --purge --bpffs /run/scratch/bpf`, then `xdpload block on IF --max-rules N --bpffs \
                /run/scratch/bpf`, then";
    refused(&["block", "add", "12.0.0.0/8", &bpffs], 1, &["there would be 3, and there is room for 2", help]);
    feed(&sandbox, "add 12.0.0.0/8\n", &bpffs).fails(1).stderr_has(help);
    let allow = "`xdpload block allow add 192.0.2.1 --bpffs /run/scratch/bpf` makes an exception";
    refused(&["block", "add", "192.0.2.1", &bpffs], 1, &["is an address of this host", allow]);
    let larger = [&on[..4], &["--max-rules=9", &bpffs]].concat();
    let help = "`xdpload block on far0 --netns far --max-rules 9 --bpffs /run/scratch/bpf`";
    refused(&larger, 1, &["which cannot be changed", help]);
    block(&["off", "--purge", &bpffs]).ok();
    let words = format!("there is no blocklist at `{}/xdpload/block`", place.display());
    let help = "`xdpload block on IF --bpffs /run/scratch/bpf` makes one\n";
    refused(&["block", "add", "192.0.2.1", &bpffs], 1, &[&words, help]);
    umount(&place).expect("nobody uses it");
}

/// One of several sets that cannot be loaded fails all of them, before any is changed.
#[test]
fn a_file_with_several_sets_is_loaded_whole_or_not_at_all() {
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "4"]));
    block(&["add", "192.0.2.77"]).ok();
    for (text, words) in [
        ("allow 192.0.2.2\nadd a 10.0.0.1\nadd b,c 10.0.0.2\n", "`b,c` cannot name a set"),
        (
            "add a 10.0.0.1\nadd a 10.0.0.2\nadd b 10.0.0.2\nadd b 10.0.0.3\nadd c 10.0.0.4\n",
            "with the new rules there would be 5, and there is room for 4; nothing was changed",
        ),
    ] {
        let list = file(&sandbox, "list", text);
        let ran = block(&["load", &list]);
        assert_ne!(ran.code(), Some(0), "{}", ran.report());
        ran.stderr_has(words);
        assert_eq!(listed(), ["192.0.2.77 default"]);
        assert_eq!(block(&["allow", "list"]).ok().stdout(), "");
    }
    let sets: Vec<_> = (0..32).map(|set| format!("add set{set} 10.0.0.1\n")).collect();
    let list = file(&sandbox, "sets", sets.concat());
    refused(
        &["block", "load", &list],
        1,
        &["there is no room for the set `set9`: there are 31 beside `default` already"],
    );
    assert_eq!(listed(), ["192.0.2.77 default"]);
}

#[test]
fn without_a_blocklist_or_the_right_to_it() {
    let (_sandbox, _veth) = need!(pair(&["bpftool", "setpriv"]));
    let off = "there is no blocklist at `/sys/fs/bpf/xdpload/block`";
    for words in [&["add", "192.0.2.77"][..], &["del", "192.0.2.77"], &["list"], &["stats"], &["off", NEAR]] {
        refused(&[&["block"], words].concat(), 1, &[off]);
    }
    refused(&["block", "on", "nowhere0"], 1, &["there is no interface named `nowhere0`"]);
    for number in ["0", "-1"] {
        let words = format!("{number} is not in 1..=67108864");
        refused(&["block", "on", NEAR, "--max-rules", number], 2, &[&words]);
    }
    assert!(!Path::new("/sys/fs/bpf/xdpload/block/config").exists());
    block(&["on", NEAR]).ok();
    let mut nobody = command(
        "setpriv",
        &[
            "--reuid=65534",
            "--clear-groups",
            "--bounding-set=-all",
            env!("CARGO_BIN_EXE_xdpload"),
            "block",
            "list",
        ],
    );
    run(&mut nobody).fails(3).stderr_has("is for root alone");
}

/// A kernel that the built-in program was not made for: here, it is given no more than its first instruction.
#[test]
fn a_refusal_by_the_verifier_says_how_to_see_its_log() {
    let (sandbox, _veth) = need!(pair(&["strace"]));
    let words = ["block", "on", NEAR, "--max-rules", "64"];
    let calls = trace(&sandbox, "bpf", &xdpload_command(&words)).1;
    block(&["off", "--purge"]).ok();
    let first =
        calls.iter().position(|call| call.arguments.starts_with("BPF_PROG_LOAD")).expect("it loads one");
    let first = u32::try_from(first + 1).unwrap();
    // The type of an XDP program, and how many instructions there are.
    let numbers = [6_u32, 1].map(u32::to_ne_bytes).concat();
    let one_instruction: Vec<_> = numbers.iter().map(|byte| format!("{byte:02x}")).collect();
    let one_instruction = one_instruction.concat();
    let refused = |more: &[&str]| {
        let command = xdpload_command(&[&words, more].concat());
        // It is loaded again for the log.
        trace_with_words(&sandbox, "bpf", &one_instruction, (first, first + 1), &command).0.fails(4)
    };
    let ran = refused(&["--json"]).stderr_has(
        "error: loading the blocklist's program: program `xdp_blocklist` was refused by the verifier\n",
    )
    .stderr_has("  rule: the code of a function ends with an instruction that neither exits nor jumps\n")
    .stderr_has(
        "  help: the program is a built-in one: please report this, with that log and the kernel's version\n",
    )
    .stderr_has("lines): --verifier-log FILE\n");
    assert_eq!(ran.json()["error"]["errno"], "EINVAL");
    let log = sandbox.scratch().join("log");
    refused(&["--verifier-log", log.to_str().unwrap()]).stderr_has("written to `");
    assert!(fs::read_to_string(log).unwrap().contains("last insn is not an exit or jmp"));
    assert_eq!(attached_by_ip(NEAR), None);
    assert_eq!(sandbox.pins(), [""; 0]);
}

#[test]
fn a_map_of_another_shape_is_left_alone() {
    let (sandbox, _veth) = need!(blocked_pair(&[]));
    let pin = "/sys/fs/bpf/xdpload/block/marks";
    fs::remove_file(pin).unwrap();
    let text = format!("map create {pin} type array key 4 value 4 entries 1 name m");
    bpftool(&text.split(' ').collect::<Vec<_>>());
    let words =
        format!("the map pinned at `{pin}` is not of this program's blocklist: value_size is 4, wanted 8");
    refused(&["block", "add", "192.0.2.77"], 1, &[&words, "`xdpload block off --purge`"]);
    block(&["off", "--purge"]).ok();
    assert_eq!(sandbox.pins(), [""; 0]);
    // One of another size has not all that the others lead to.
    for (map, value, wanted) in [
        ("config", 48, 1),
        ("buckets", 64, 64),
        ("filter", 64, 64),
        ("heads", 64, 4096),
        ("hits", 16, 1024),
        ("marks", 8, 1024),
        ("sets", 56, 32),
    ] {
        block(&["on", NEAR, "--max-rules", "100"]).ok();
        let pin = format!("/sys/fs/bpf/xdpload/block/{map}");
        let before = fs::read_dir("/sys/fs/bpf/xdpload/block").unwrap().count();
        let other = Map::create(&MapParams::new(map, MapType::ARRAY, 4, value, 7)).unwrap();
        fs::remove_file(&pin).unwrap();
        other.pin(&pin).unwrap();
        let words = format!("`{pin}` is not of this program's blocklist: max_entries is 7, wanted {wanted}");
        for command in [&["add", "192.0.2.77", "--ttl", "1h"][..], &["list"], &["save", "-"]] {
            refused(&[&["block"], command].concat(), 1, &[&words, "`xdpload block off --purge`"]);
        }
        assert_eq!(fs::read_dir("/sys/fs/bpf/xdpload/block").unwrap().count(), before);
        block(&["off", "--purge"]).ok();
    }
}

#[test]
fn a_blocklist_of_another_layout_is_left_alone() {
    let (_sandbox, _veth) = need!(blocked_pair(&[]));
    block(&["add", "192.0.2.77"]).ok();
    let pin = "/sys/fs/bpf/xdpload/block/config";
    let map = Map::open_pinned(pin).unwrap();
    let mut config = map.lookup(&[0; 4]).unwrap().unwrap().single().unwrap().to_vec();
    config[28..32].fill(0);
    map.update(&[0; 4], &config, UpdateFlags::ANY).unwrap();
    let words =
        "the blocklist at `/sys/fs/bpf/xdpload/block` is laid out as another release does it: layout is 0";
    for command in
        [&["add", "192.0.2.78"][..], &["del", "192.0.2.77"], &["list"], &["on", NEAR], &["save", "-"]]
    {
        refused(&[&["block"], command].concat(), 1, &[words, "`xdpload block off --purge`"]);
    }
    // And one whose making was interrupted is none: nobody is told that it holds a rule.
    config.fill(0);
    map.update(&[0; 4], &config, UpdateFlags::ANY).unwrap();
    refused(
        &["block", "add", "192.0.2.78"],
        1,
        &["there is no blocklist at", "`xdpload block on IF` makes one"],
    );
    block(&["off", "--purge"]).ok();
}

#[test]
fn an_interface_that_goes_away_takes_nothing_with_it() {
    let (_sandbox, _veth) = need!(blocked_pair(&[]));
    block(&["add", "192.0.2.77"]).ok();
    run(&mut command("ip", &["link", "del", NEAR])).ok();
    assert_eq!(listed(), ["192.0.2.77 default"]);
    block(&["add", "192.0.2.78"]).ok();
    block(&["stats"]).ok();
    refused(&["block", "off", NEAR], 1, &["there is no interface named `near0`"]);
    block(&["off", "--purge"]).ok();
}

#[test]
fn a_program_that_is_there_stays() {
    let (sandbox, _veth) = need!(pair(&["bpftool"]));
    xdpload(&["attach", NEAR, &crate::objects::object("xdp_pass")]).ok();
    let words = "another XDP program is on `near0`, which the blocklist would displace";
    refused(
        &["block", "on", NEAR],
        1,
        &[words, "is attached already, by netlink", "  help: xdpload detach near0\n"],
    );
    assert!(sandbox.pins().is_empty());
}

/// There the blocklist would be on, and drop nothing.
#[test]
fn an_interface_without_ethernet_header_is_refused() {
    let (sandbox, _veth) = need!(pair(&["bpftool"]));
    let tun = |name| run(&mut command("ip", &["tuntap", "add", "dev", name, "mode", "tun"])).ok();
    tun("tun0");
    let words = "packets of `tun0` have no Ethernet header (link type none), so the blocklist would find no address in \
                 them";
    let help = "  help: nftables drops by address on `tun0`; on the interface that they come in by, the blocklist \
                drops by the outer addresses\n";
    for options in [&[][..], &["--mode=generic"], &["--mode=auto", "--force"]] {
        refused(&[&["block", "on", NEAR, "tun0"], options].concat(), 1, &[words, help]);
        assert_eq!((attached_by_ip(NEAR), attached_by_ip("tun0"), sandbox.pins()), (None, None, Vec::new()));
    }
    // It does so where there is a blocklist, too.
    block(&["on", NEAR]).ok();
    refused(&["block", "on", "tun0", "--mode=generic"], 1, &[words]);
    block(&["off", "--purge"]).ok();
}

/// While an interface has a program, the kernel changes none below it.
#[test]
fn stacked_interfaces_are_turned_on_and_off_in_an_order_that_works() {
    let (sandbox, _veth) = need!(pair(&["bpftool"]));
    let ip = |line: &str| run(&mut command("ip", &line.split(' ').collect::<Vec<_>>())).ok();
    ip("link add name mac0 link near0 type macvlan");
    ip("link add name br0 type bridge");
    ip("link add name port0 type veth peer name port1");
    ip("link set dev port0 master br0");
    let all = ["br0", "mac0", NEAR, "port0"];
    let on = || block(&[&["on"], &all[..], &["--mode=auto", "--max-rules=64"]].concat()).ok();
    on();
    block(&[&["off"], &[NEAR, "port0", "br0", "mac0"][..]].concat()).ok().stdout_has("is off: near0\n");
    assert!(all.iter().all(|name| attached_by_ip(name).is_none()));
    on();
    block(&["off", "--purge"]).ok();
    assert_eq!((attached_by_ip(NEAR), sandbox.pins()), (None, Vec::new()));

    // Another's program above keeps one of them on, and only that.
    block(&["on", NEAR, "port0", "--max-rules=64"]).ok();
    xdpload(&["attach", "mac0", &crate::objects::object("xdp_pass"), "--mode=generic"]).ok();
    let words = "the blocklist is off on `port0`, but stays on `near0`: ";
    let rule =
        "in generic mode runs on `mac0`, which is stacked on `near0`, and the kernel changes none below it\n";
    refused(&["block", "off", "--purge"], 1, &[words, rule, "  help: xdpload detach mac0\n"]);
    assert!(attached_by_ip(NEAR).is_some() && attached_by_ip("port0").is_none());
    refused(&["detach", NEAR], 1, &[rule, "  help: xdpload detach mac0\n"]);
    block(&["add", "192.0.2.77"]).ok();
    xdpload(&["detach", "mac0"]).ok();
    block(&["off", "--purge"]).ok();
}

/// What was asked for by name is there, or it is said what to do.
#[test]
fn another_mode_is_not_the_one_that_was_asked_for() {
    let (_sandbox, _veth) = need!(blocked_pair(&["--mode=generic", "--max-rules=64"]));
    for options in [&[][..], &["--mode=generic"], &["--mode=auto"]] {
        block(&[&["on", NEAR], options].concat()).ok().stdout_has("on already: near0 in generic mode\n");
    }
    let words = "the blocklist is on `near0` in generic mode, not in native mode";
    let help = "  help: `xdpload block off near0`, then `xdpload block on near0 --mode native`\n";
    refused(&["block", "on", NEAR, "--mode=native", "--count-only"], 1, &[words, help]);
    block(&["off", NEAR]).ok();
    assert_eq!(
        block(&["on", NEAR, "--mode=native"]).ok().stdout(),
        "the blocklist is on: near0 in native mode\n"
    );
}

#[test]
fn pins_that_somebody_has_removed_are_named() {
    let (sandbox, veth) = need!(blocked_pair(&["--max-rules=64"]));
    let dir = "/sys/fs/bpf/xdpload/block";
    let lacks = |name: &str| format!("the blocklist at `{dir}` lacks the pin `{name}`");
    let purge = "  help: `xdpload block off --purge` removes what is left of it, rules included\n";
    for (pin, command) in [("filter", &["add", "192.0.2.77"][..]), ("counters", &["stats"])] {
        block(&["on", NEAR, "--max-rules=64"]).ok();
        fs::remove_file(format!("{dir}/{pin}")).unwrap();
        refused(&[&["block"], command].concat(), 1, &[&lacks(pin), purge]);
        block(&["off", "--purge"]).ok();
    }

    // The program is found by its maps.
    block(&["on", NEAR, "--max-rules=64"]).ok();
    block(&["add", "192.0.2.77"]).ok();
    fs::remove_file(format!("{dir}/xdp_blocklist")).unwrap();
    run(&mut command("ip", &["link", "add", "two0", "type", "veth", "peer", "name", "two1"])).ok();
    refused(&["block", "on", "two0"], 1, &[&lacks("xdp_blocklist"), purge]);
    block(&["off", "--purge"]).ok().stdout_has("is off: near0\n");
    assert_udp(&veth, BLOCKED, 5);

    // Nothing leads to one of which all pins are gone but the interface that it is on.
    for gone in ["config", "."] {
        block(&["on", NEAR, "--max-rules=64"]).ok();
        let path = Path::new(dir).join(gone);
        let removed = if gone == "." { fs::remove_dir_all(dir) } else { fs::remove_file(path) };
        removed.unwrap();
        let words = format!(
            "a blocklist is on `near0` that is not the one at `{dir}`: its pins are gone, or elsewhere"
        );
        refused(&["block", "on", NEAR], 1, &[&words, "`xdpload detach near0` takes it off\n"]);
        if gone == "." {
            for options in [&[NEAR][..], &["--purge"]] {
                let off = [&["block", "off"], options].concat();
                refused(&off, 1, &[&words, "`xdpload detach near0` takes it off\n"]);
            }
            refused(&["block", "off", "lo"], 1, &["there is no blocklist at"]);
        }
        xdpload(&["detach", NEAR]).ok();
        block(&["on", NEAR, "--max-rules=64"]).ok();
        block(&["off", "--purge"]).ok();
    }
    assert_eq!(sandbox.pins(), [""; 0]);
}

#[test]
fn a_system_without_bpffs_gets_one() {
    let _sandbox = need!(Sandbox::without_bpffs());
    run(&mut command("ip", &["link", "add", NEAR, "type", "veth", "peer", "name", "far0"])).ok();
    block(&["on", NEAR]).ok();
    block(&["add", "192.0.2.77"]).ok();
    assert_eq!(listed(), ["192.0.2.77 default"]);
}

#[test]
fn a_refusal_names_the_rule_and_a_command_that_works() {
    let (sandbox, _veth) = need!(pair(&["bpftool"]));
    let queues = "numrxqueues 1 numtxqueues 1 type veth peer name four numrxqueues 4 numtxqueues 4";
    let words: Vec<_> = ["link", "add", "one"].into_iter().chain(queues.split(' ')).collect();
    run(&mut command("ip", &words)).ok();
    let on = ["on", "one", "--max-rules=64"];
    let rule =
        "  rule: `one` has 1 receive queue, but its peer `four` has 4 transmit queues: native mode needs";
    let works = "or: xdpload block on one --mode generic\n";
    block(&on).fails(1).stderr_has("ENOSPC").stderr_has(rule).stderr_has(works);
    assert_eq!((attached_by_ip("one"), sandbox.pins()), (None, Vec::new()));
    let warning = "warning: `one` runs in generic mode, which is much slower: native mode was refused: ";
    let done = "or: leave it in generic mode\n";
    block(&[&on[..], &["--mode=auto"]].concat()).ok().stderr_has(warning).stderr_has(rule).stderr_has(done);
    block(&["off", "one"]).ok();
    block(&[&on[..], &["--mode", "generic"]].concat()).ok();
}

#[test]
fn a_first_one_that_is_refused_takes_its_bpffs_away() {
    let sandbox = need!(Sandbox::without_bpffs());
    // Native mode is refused at the end, when all is made.
    for options in [&[][..], &["--confirm=60s"]] {
        block(&[&["on", "lo"], options].concat()).fails(1).stderr_has("EOPNOTSUPP");
        assert!(!sandbox.has_bpffs(), "{options:?}");
    }
    // What another has begun to use stays.
    block(&["on", "lo", "--mode=generic"]).ok();
    block(&["off", "lo"]).ok();
    refused(&["block", "on", "lo"], 1, &["EOPNOTSUPP"]);
    assert!(listed().is_empty());
    block(&["on", "lo", "--bpffs=/sys/nowhere"]).fails(1).stderr_has("pinning needs bpffs: openat(2)");
}

#[test]
fn a_list_of_both_families_with_overlaps_and_duplicates() {
    let (sandbox, veth) = need!(blocked_pair(&["--max-rules", "64"]));
    let text = "192.0.2.77\n2001:db8::2/127\n192.0.2.64/26\n192.0.2.77\n192.0.2.77/32\n2001:db8::2\n";
    let list = file(&sandbox, "mixed", text);
    block(&["load", &list]).ok().stdout_has("default: added 4, kept 0, removed 0\n");
    // Each is a rule of its own: when the narrow one goes, the wide one still drops.
    block(&["del", "192.0.2.77", "2001:db8::2"]).ok();
    assert_eq!(listed(), ["192.0.2.64/26 default", "2001:db8::2/127 default"]);
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, FAR_V6, 0);
    block(&["del", "192.0.2.64/26"]).ok();
    assert_udp(&veth, BLOCKED, 5);
    refused(
        &["block", "add", "192.0.2.77", "::/0"],
        1,
        &["refused, nothing was changed: ::/0 covers every address"],
    );
    assert_eq!(listed(), ["2001:db8::2/127 default"]);
}

#[test]
fn what_is_listed_twice_needs_no_room() {
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "64"]));
    let list = file(&sandbox, "twice", "192.0.2.77\n192.0.2.78\n".repeat(100));
    block(&["load", &list]).ok().stdout_has("default: added 2, kept 0, removed 0\n");
    let many: Vec<_> = (0..65).map(|number| format!("198.51.100.{number}\n")).collect();
    let list = file(&sandbox, "many", many.concat().repeat(2));
    refused(&["block", "load", &list], 1, &["lists more than the 64 prefixes there is room for"]);
    assert_eq!(listed(), ["192.0.2.77 default", "192.0.2.78 default"]);
}

#[test]
fn whoever_is_not_root_changes_nothing() {
    let (_sandbox, _veth) = need!(blocked_pair(&["--max-rules", "64"]));
    need!(tool("setpriv"));
    let prefix = "192.0.2.77";
    for words in [
        &["add", prefix][..],
        &["del", prefix],
        &["allow", "add", prefix],
        &["load", "/dev/null"],
        &["test", prefix],
        &["stats"],
        &["sync", "-"],
        &["save", "-"],
        &["off", NEAR],
    ] {
        let program = [
            "--reuid=65534",
            "--clear-groups",
            "--bounding-set=-all",
            env!("CARGO_BIN_EXE_xdpload"),
            "block",
        ];
        let ran = run(&mut command("setpriv", &[&program, words].concat())).fails(3);
        assert_well_said(&ran);
        ran.stderr_has("is for root alone").stderr_has("  help: run it as root, with sudo for instance\n");
    }
    assert!(listed().is_empty());
}

#[test]
fn an_interface_that_comes_back_is_turned_on_again() {
    let (_sandbox, _veth) = need!(pair(&["bpftool"]));
    let make =
        || run(&mut command("ip", &["link", "add", "two0", "type", "veth", "peer", "name", "two1"])).ok();
    make();
    block(&["on", NEAR, "two0", "--max-rules", "64"]).ok();
    run(&mut command("ip", &["link", "del", "two0"])).ok();
    // One that is on its way out while the others stay is no reason to fail.
    block(&["on", NEAR]).ok().stdout_has("the blocklist is on already: near0");
    refused(&["block", "on", NEAR, "two0"], 1, &["there is no interface named `two0`"]);
    make();
    let said = block(&["on", NEAR, "two0"]).ok();
    said.stdout_has("on already: near0 in native mode\n")
        .stdout_has("the blocklist is on: two0 in native mode\n");
    block(&["off", "--purge"]).ok();
}

/// Where no file can be opened any more, a command ends and says so, and takes no lock again and again.
#[test]
fn a_process_that_may_open_no_more_files_is_told() {
    let (_sandbox, _veth) = need!(blocked_pair(&["--max-rules", "64"]));
    let program = env!("CARGO_BIN_EXE_xdpload");
    for words in ["confirm", "block add 192.0.2.9", "block del 192.0.2.9", "block off --purge"] {
        for limit in 4..8 {
            let line = format!("ulimit -n {limit}; exec timeout 20 {program} {words}");
            run(&mut command("sh", &["-c", &line])).fails(1).stderr_has("Too many open files (EMFILE)");
        }
    }
    assert_eq!(listed(), Vec::<String>::new());
}

/// A file that says nothing of a set takes nothing out of it.
#[test]
fn what_is_not_listed_by_mistake_stays() {
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "64"]));
    block(&["add", "203.0.113.1"]).ok();
    let before = listed();
    let exceptions = file(&sandbox, "exceptions", "allow 198.51.100.7\n");
    for count in [1, 0] {
        let loaded = block(&["load", &exceptions]).ok();
        assert_eq!(loaded.stdout(), format!("exceptions: added {count}\n"));
    }
    assert_eq!(listed(), before);
    let (full, empty) = (file(&sandbox, "full", "203.0.113.2\n"), file(&sandbox, "empty", "# failed\n"));
    refused(&["block", "load", &full, &empty], 1, &["empty` is empty, nothing was changed"]);
    assert_eq!(listed(), before);
    block(&["load", &full, &empty, "--force"]).ok().stdout_has("default: added 1, kept 0, removed 1\n");
    // What could not be read is not what is empty.
    let bad = file(&sandbox, "bad", "address,score\n203.0.113.9,7\n");
    let words = "bad` lists nothing but invalid lines, nothing was changed";
    block(&["load", &bad, "--skip-bad"]).fails(1).stderr_has(words);
    // What `ipset save` says of a set without members is of that set.
    block(&["add", "203.0.113.7", "--name", "a"]).ok();
    block(&["add", "203.0.113.8", "--name", "b"]).ok();
    let b = "create b hash:ip family inet\n";
    let many = (0..70).map(|number| format!("create many{number} hash:net\n")).collect::<Vec<_>>().concat();
    let saved = format!("{many}create a hash:ip timeout 90\nadd a 203.0.113.6\n{b}");
    let saved = file(&sandbox, "ipset", saved);
    assert_eq!(
        block(&["load", &saved]).ok().stdout(),
        "a: added 1, kept 0, removed 1\nb: added 0, kept 0, removed 1\n"
    );
    // Ends are rounded up, by at most 1.07 s.
    let rules = listed();
    assert_eq!((rules.len(), &*rules[0]), (2, "203.0.113.2 default"));
    assert!(rules[1].starts_with("203.0.113.6 a 1m") && rules[1].ends_with("s left"), "{rules:?}");
    let created = file(&sandbox, "created", b);
    refused(&["block", "load", &created], 1, &["created` is empty, nothing was changed"]);
    block(&["load", &created, "--force"]).ok();
    assert_eq!(listed().len(), 2);
    // An exception of the same file saves whom its rule would lock out.
    let saved = "allow 192.0.2.1\nadd default 192.0.2.0/24\n";
    block(&["load", &file(&sandbox, "saved", saved)]).ok();
}

#[test]
fn a_feed_says_what_it_has_done_and_takes_no_half_of_a_line() {
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "64"]));
    let feed = |text: &str| feed(&sandbox, text, "");
    let twice = feed("add 203.0.113.1\nadd 203.0.113.1\nadd 203.0.113.1 10m\n").ok();
    assert_eq!(twice.stdout(), "added 203.0.113.1\nunchanged 203.0.113.1\nchanged 203.0.113.1\n");
    twice.stderr_has("2 changes");
    let nameless = self::feed(&sandbox, "add 203.0.113.2\n", "--name 'a b'").fails(2);
    assert!(!nameless.stderr().contains("line 1"), "{}", nameless.report());
    assert_well_said(&nameless.stderr_has("error: `a b` cannot name a set"));
    feed("\u{feff}add 203.0.113.1 20m\n").ok().stderr_has("1 changes");
    feed("del 203.0.113.1").fails(1).stderr_has("line 1: the last line is incomplete: the feed was cut off");
    feed(&format!("#{}add 203.0.113.9\n", "-".repeat(65_535))).fails(1).stderr_has("the line is too long");
    assert_eq!(listed().len(), 1);
}

/// A rule of a refused command keeps the time that it had: none.
#[test]
fn what_has_no_room_leaves_no_end_behind() {
    let (_sandbox, _veth) = need!(blocked_pair(&["--max-rules", "8"]));
    let others =
        |third: u8| (0..5).map(|last| format!("198.51.{third}.{last}")).collect::<Vec<_>>().join(" ");
    let add = |words: &str| block(&["add"].into_iter().chain(words.split(' ')).collect::<Vec<_>>());
    add("203.0.113.1").ok();
    add(&format!("--ttl 2h --name a 203.0.113.1 {}", others(1))).ok();
    // Beside those there is room for two.
    fill_holds(1, 256);
    let (rules, ends) = (listed(), holds());
    assert_eq!(ends.len(), 6 + 256);
    // Of the holds with an end, each set has its own.
    let more = format!("--ttl 1h 203.0.113.1 {}", others(1));
    add(&more).fails(1).stderr_has("there is no room for another hold with an end");
    add(&format!("--name b {more}")).fails(1).stderr_has("there is no room for another hold with an end");
    let without_times = |lines: &[String]| -> Vec<_> {
        lines.iter().map(|line| line.split(' ').next().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(without_times(&listed()), without_times(&rules));
    assert!(listed().contains(&"203.0.113.1 default,a".to_owned()), "{:?}", listed());
    assert_eq!(holds(), ends);
}

/// There are 31 names beside `default`, and as many more as have no rule.
#[test]
fn a_name_without_a_rule_is_no_name() {
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "2"]));
    block(&["add", "10.0.0.0/8", "11.0.0.0/8"]).ok();
    for number in 0..40 {
        let name = format!("refused{number}");
        refused(
            &["block", "add", "--name", &name, "12.0.0.0/8"],
            1,
            &["there is no room: with the new rules"],
        );
    }
    block(&["del", "11.0.0.0/8"]).ok();
    for number in 0..40 {
        let name = format!("short{number}");
        block(&["add", "--name", &name, "--ttl=1h", "12.0.0.0/8"]).ok();
        block(&["del", "12.0.0.0/8"]).ok();
        assert_eq!(holds(), [""; 0]);
    }
    let sets: Vec<_> = (0..31).map(|set| format!("add set{set} 12.0.0.0/8\n")).collect();
    block(&["load", &file(&sandbox, "sets", sets.concat())]).ok();
    assert_eq!(listed().len(), 2);
    refused(&["block", "add", "--name=more", "12.0.0.0/8"], 1, &["there is no room for the set `more`"]);
    assert_eq!(
        block(&["del", "12.0.0.0/8", "--json"]).ok().json()["changes"].as_array().map(Vec::len),
        Some(1)
    );
    let missing = block(&["del", "12.0.0.0/8", "--json"]);
    assert_eq!((missing.code(), missing.json()["changes"].as_array().map(Vec::len)), (Some(1), Some(0)));
}

/// The number of a set that has gone is given to another, but not the ends that a killed process has left.
#[test]
fn a_set_that_has_gone_leaves_no_end_behind() {
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "64"]));
    block(&["add", "203.0.113.6", "--ttl=1h", "--name=a"]).ok();
    // 203.0.113.5 in set 1.
    let key = "0x20 0 4 0 203 0 113 5 0 0 0 0 0 0 0 0 0 0 0 0 1 0 0 0";
    let update = format!("map update pinned /sys/fs/bpf/xdpload/block/holds key {key} value 1 0 0 0x7f");
    run(&mut command("bpftool", &update.split(' ').collect::<Vec<_>>())).ok();
    assert_eq!(holds().len(), 2);
    block(&["del", "203.0.113.6"]).ok();
    block(&["load", &file(&sandbox, "list", "203.0.113.7\n"), "--name=b"]).ok();
    assert_eq!(holds(), [""; 0]);
}

/// Has set number `set` hold as many other addresses for a long time, of which there are no rules.
fn fill_holds(set: u32, count: u32) {
    let map = Map::open_pinned("/sys/fs/bpf/xdpload/block/holds").expect("it is pinned");
    for address in (0..count).map(|n| 0x6440_0000 + n) {
        let mut key = [0; 24];
        key[..4].copy_from_slice(&(4_u32 << 16 | 32).to_ne_bytes());
        key[4..8].copy_from_slice(&address.to_be_bytes());
        key[20..].copy_from_slice(&set.to_ne_bytes());
        map.update(&key, &0x7f00_0000_u32.to_ne_bytes(), UpdateFlags::ANY).expect("there is room");
    }
}

/// A load that would run out of them on the way changes nothing.
#[test]
fn a_load_in_parts_has_room_for_all_ends_or_changes_nothing() {
    let (sandbox, _veth) = need!(blocked_pair(&["--max-rules", "4"]));
    block(&["add", "203.0.113.0", "203.0.113.2", "203.0.113.4", "203.0.113.6", "--ttl=2h", "--name=a"]).ok();
    let list = file(&sandbox, "list", "203.0.113.0/31\n203.0.113.2/31\n203.0.113.4/31\n203.0.113.6\n");
    let load = ["block", "load", &list, "--ttl=1h", "--name=a"];
    let old = "203.0.113.0
203.0.113.2
203.0.113.4
203.0.113.6
";
    let back = ["block", "load", &file(&sandbox, "old", old), "--ttl=2h", "--name=a"];
    // With the rules' own, those are all but three.
    fill_holds(1, 256 - 3);
    for words in [load, back] {
        xdpload(&words).ok().stdout_has("a: added 3, kept 1, removed 3");
    }
    fill_holds(1, 256 - 2);
    let ends = holds();
    let words =
        "there is no room for the ends of the new rules beside those of the old ones; nothing was changed";
    refused(&load, 1, &[words]);
    refused(&["block", "load", &list, "--ttl=1h", "--name=a", "--dry-run"], 1, &[words]);
    assert_eq!(holds(), ends);
}

/// What bpftool finds in the map of ends.
fn holds() -> Vec<String> {
    let entries = bpftool(&["map", "dump", "pinned", "/sys/fs/bpf/xdpload/block/holds"]);
    let mut entries: Vec<_> = entries.as_array().expect("a list").iter().map(ToString::to_string).collect();
    entries.sort();
    entries
}
