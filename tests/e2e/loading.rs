//! `load`, and attaching what is loaded already; the kinds of programs that only maps can run.

use std::fs;
use std::net::Ipv4Addr;
use std::os::fd::AsFd as _;

use loader::Mode;

use crate::acceptor::Ending;
use crate::bench::refused;
use crate::command::{command, run};
use crate::edit::Edit;
use crate::objects::object;
use crate::packets::{Frame, Wire, assert_udp};
use crate::peers::{attached_by_ip, bpftool, number, text};
use crate::strace_plan::run_as_planned;
use crate::veth::{BLOCKED, NEAR, OTHER, pair};
use crate::xdpload::{answer, xdpload};

const DIR: &str = "/sys/fs/bpf/edge";

/// What nothing needs is left out if it is not sound, and said so.
#[test]
fn an_object_is_loaded_without_unsound_types() {
    let (sandbox, _veth) = need!(pair(&[]));
    for (section, left_out) in
        [(".BTF", "the object's BTF"), (".BTF.ext", "what `.BTF.ext` says of functions and lines")]
    {
        let mut edit = Edit::of(&object("subprog_call"));
        let version = edit.content(section).start + 2;
        edit.put(version, &[9]);
        let ran = xdpload(&["attach", NEAR, &edit.save(&sandbox), "--replace"]).ok();
        ran.stderr_has(&format!("warning: loaded without {left_out}: section `{section}` at offset 0x2: "));
    }
}

#[test]
fn programs_and_maps_are_pinned_and_nothing_is_attached() {
    let (sandbox, _veth) = need!(pair(&["bpftool", "strace"]));
    let many = object("many");
    let ran = run_as_planned(
        &sandbox,
        &[&many, "--all", "--pin", DIR],
        &["load", &many, "--all", "--pin", DIR],
        Ending::AsTheKernelSays,
    );
    ran.ok()
        .stdout_has("pinned at /sys/fs/bpf/edge/pass_all")
        .stdout_has("map by_source pinned at /sys/fs/bpf/by_source");
    assert_eq!(attached_by_ip(NEAR), None);
    for name in ["pass_all", "drop_known_source", "pass_frags"] {
        let seen = bpftool(&["prog", "show", "pinned", &format!("{DIR}/{name}")]);
        // With BTF bpftool knows the whole name, without only the 15 bytes that the kernel keeps.
        assert_eq!((&seen["type"], &text(&seen["name"])[..8]), (&"xdp".into(), &name[..8]), "{seen}");
    }
    assert_eq!(bpftool(&["map", "show", "pinned", &format!("{DIR}/maps/by_flow")])["name"], "by_flow");

    // A second time they are there already.
    let (pins, ids) = (sandbox.pins(), |loaded: &serde_json::Value| {
        let programs = loaded["programs"].as_array().unwrap().iter();
        programs.map(|program| number(&program["id"])).collect::<Vec<_>>()
    });
    let again = ["load", &many, "--all", "--pin", DIR];
    let ran = run_as_planned(&sandbox, &again[1..], &again, Ending::AsTheKernelSays);
    ran.ok();
    let (first, second) = (answer(&again), answer(&again));
    assert_eq!(ids(&first), ids(&second));
    assert_eq!(sandbox.pins(), pins);

    // Something else under such a name is in the way.
    fs::remove_file(format!("{DIR}/pass_all")).unwrap();
    let other = answer(&["load", &object("xdp_drop"), "--pin", "/sys/fs/bpf/other"]);
    let other = other["programs"][0]["id"].to_string();
    run(&mut command("bpftool", &["prog", "pin", "id", &other, &format!("{DIR}/pass_all")])).ok();
    let words = format!(
        "pinning program `pass_all`: `{DIR}/pass_all` is pinned already: program {other}, with other code"
    );
    refused(&again, 1, &[&words, "help: remove that pin, or pin below another directory"]);
}

#[test]
fn a_map_that_is_pinned_is_taken_over_by_the_next_load() {
    let (sandbox, _veth) = need!(pair(&["bpftool", "strace"]));
    let load = ["load", &object("blacklist"), "--pin", DIR];
    let first = answer(&load);
    assert_eq!(
        (&first["programs"][0]["name"], &first["maps"][0]["name"]),
        (&"xdp_ip_filter".into(), &"blacklist".into())
    );
    assert_eq!(first["maps"][0]["pin"], format!("{DIR}/maps/blacklist"));
    fs::remove_file(format!("{DIR}/xdp_ip_filter")).unwrap();
    let second = answer(&load);
    assert_ne!(first["programs"][0]["id"], second["programs"][0]["id"]);
    assert_eq!(first["programs"][0]["map_ids"], second["programs"][0]["map_ids"]);
    assert_eq!(first["programs"][0]["tag"], second["programs"][0]["tag"]);
    fs::remove_file(format!("{DIR}/xdp_ip_filter")).unwrap();
    refused(&[&load[..], &["--max-entries", "blacklist=9"]].concat(), 1, &["has another shape", "wanted 9"]);
    assert_eq!(sandbox.pins(), ["edge", "edge/maps", "edge/maps/blacklist"]);
}

#[test]
fn what_is_to_be_loaded_is_said() {
    let (sandbox, _veth) = need!(pair(&[]));
    let (many, pass) = (object("many"), object("xdp_pass"));
    refused(&["load", &many, "--pin", DIR], 2, &["choose one program"]);
    refused(
        &["load", &pass, "--pin", "/var/x"],
        2,
        &["program `xdp_pass`: pin path `/var/x/xdp_pass` is not below"],
    );
    xdpload(&["load", &pass]).fails(2).stderr_has("--pin <DIR>");
    xdpload(&["load", &many, "--all", "--prog", "pass_all", "--pin", DIR])
        .fails(2)
        .stderr_has("cannot be used with");
    refused(&["load", &object("reject/packet_unchecked"), "--pin", DIR], 4, &["was refused by the verifier"]);
    refused(&["plan", "--prog-id", "1"], 2, &["can only be attached", "--dev IF"]);
    for option in ["--netns=far", "--mode=generic", "--replace", "--link", "--confirm=60s"] {
        refused(
            &["plan", &pass, option],
            2,
            &["says how to attach, and nothing is to be attached", "--dev IF"],
        );
    }
    refused(&["plan", &pass, "--dev", NEAR, "--pin", DIR], 2, &["with `--dev` only a bpf_link is pinned"]);
    assert_eq!(sandbox.pins(), [""; 0]);
}

#[test]
fn a_program_of_somebody_else_is_attached() {
    let (sandbox, veth) = need!(pair(&["bpftool", "strace"]));
    let pin = "/sys/fs/bpf/theirs";
    run(&mut command("bpftool", &["prog", "load", &object("xdp_drop"), pin])).ok();
    let id = number(&bpftool(&["prog", "show", "pinned", pin])["id"]);
    let number = id.to_string();
    for source in [["--pinned", pin], ["--prog-id", &number]] {
        for options in [&[][..], &["--mode=generic"], &["--mode=auto"]] {
            let plan = [&source[..], &["--dev", NEAR], options].concat();
            let attach = [&["attach", NEAR], &source[..], options].concat();
            let ran = run_as_planned(&sandbox, &plan, &attach, Ending::AsTheKernelSays);
            ran.ok().stdout_has(&format!("attached xdp_drop (id {id}, tag "));
            assert_eq!(attached_by_ip(NEAR).unwrap().id, id);
            assert_udp(&veth, OTHER, 0);
            xdpload(&["detach", NEAR]).ok();
        }
        // In the place of another, and by a link.
        xdpload(&["attach", NEAR, &object("xdp_pass")]).ok();
        let plan = [&source[..], &["--dev", NEAR, "--replace"]].concat();
        let attach = [&["attach", NEAR], &source[..], &["--replace"]].concat();
        run_as_planned(&sandbox, &plan, &attach, Ending::AsTheKernelSays)
            .ok()
            .stdout_has("replacing program");
        xdpload(&["detach", NEAR]).ok();
        let link = ["--link", "--pin=/sys/fs/bpf/link"];
        let plan = [&source[..], &["--dev", NEAR], &link].concat();
        let attach = [&["attach", NEAR], &source[..], &link].concat();
        run_as_planned(&sandbox, &plan, &attach, Ending::AsTheKernelSays).ok().stdout_has("by bpf_link");
        assert_udp(&veth, OTHER, 0);
        xdpload(&["detach", NEAR, "--link"]).ok();
    }
}

#[test]
fn only_an_xdp_program_that_is_there_can_be_attached() {
    let (_sandbox, _veth) = need!(pair(&["bpftool"]));
    refused(&["attach", NEAR, "--prog-id", "4294967294"], 1, &["there is no program with id 4294967294"]);
    refused(
        &["attach", NEAR, "--pinned", "/sys/fs/bpf/none"],
        1,
        &["nothing is pinned at `/sys/fs/bpf/none`"],
    );
    answer(&["load", &object("blacklist"), "--pin", DIR]);
    let map = format!("{DIR}/maps/blacklist");
    refused(&["attach", NEAR, "--pinned", &map], 1, &["expected a program, found a map"]);
    let socket_filter = "/sys/fs/bpf/filter";
    let pass = object("xdp_pass");
    run(&mut command("bpftool", &["prog", "load", &pass, socket_filter, "type", "socket"])).ok();
    refused(
        &["attach", NEAR, "--pinned", socket_filter],
        2,
        &["is of type socket_filter, not an XDP program"],
    );
    for arguments in [
        &["attach", NEAR, "--pinned", &map, "--prog-id", "1"][..],
        &["attach", NEAR, "--pinned", &map, "--max-entries", "a=1"],
        &["attach", NEAR, "--pinned", &map, "--set", "a=1"],
        &["attach", NEAR, "--prog-id", "1", "--kconfig", "/boot/config"],
        &["attach", NEAR, "--prog-id", "1", "--btf", "/sys/kernel/btf/vmlinux"],
        &["attach", NEAR, "--pinned", &map, "--replace", "--keep-maps"],
    ] {
        xdpload(arguments).fails(2).stderr_has("cannot be used with");
    }
    // Words before a program that is loaded already are interfaces.
    let words = "with --pinned or --prog-id there is no object, and all words are interfaces";
    xdpload(&["attach", NEAR, &pass, "--prog-id", "1"]).fails(2).stderr_has(words);
    xdpload(&["attach", NEAR]).fails(2).stderr_has("is missing");
    assert_eq!(attached_by_ip(NEAR), None);
}

#[test]
fn each_kind_of_program_is_loaded_as_what_it_is() {
    let (sandbox, _veth) = need!(pair(&["bpftool", "strace"]));
    let kinds = object("kinds");
    let ran = run_as_planned(
        &sandbox,
        &[&kinds, "--all", "--pin", DIR],
        &["load", &kinds, "--all", "--pin", DIR],
        Ending::AsTheKernelSays,
    );
    ran.ok();
    for (program, maps) in [
        ("at_device", "devmaps"),
        ("at_device_with_frags", "devmaps"),
        ("at_cpu", "cpumaps"),
        ("at_cpu_with_frags", "cpumaps"),
    ] {
        // Refused by us before anything is done, and by the kernel, so that it was loaded for its maps.
        let words = format!("program `{program}` is for entries of {maps}");
        refused(
            &["attach", NEAR, &kinds, "--prog", program],
            2,
            &[&words, "cannot be attached to an interface"],
        );
        refused(&["plan", &kinds, "--dev", NEAR, "--prog", program], 2, &[&words]);
        let pin = format!("{DIR}/{program}");
        let kernel = format!("kernel: BPF_XDP_{} programs can not be attached", maps[..6].to_uppercase());
        refused(&["attach", NEAR, "--pinned", &pin], 1, &[&kernel]);
    }
    xdpload(&["attach", NEAR, "--pinned", &format!("{DIR}/frags_to_destination")]).ok();
}

#[test]
fn a_program_runs_at_an_entry_of_a_devmap_and_of_a_cpumap() {
    let (sandbox, veth) = need!(pair(&["bpftool"]));
    veth.let_far_receive_from_xdp();
    let kinds = loader::Object::open(object("kinds")).unwrap();
    let plan = loader::Loader::new(&kinds).all_programs().plan(&loader::Kernel::unknown()).unwrap();
    let loaded = plan.execute(|_| {}).unwrap();
    let cpus = loaded.map("cpus").unwrap();
    let near = loader::Interface::named(NEAR).unwrap();
    let (wire, far) = (Wire::near(), Wire::far(&veth));
    let frame = || Frame::ipv4(&veth, &[], BLOCKED);
    let key = 0_u32.to_ne_bytes();

    // Sent back where it came from, and there dropped by the program of the entry.
    for (program, map, at_entry, misfits) in [
        ("to_destination", "destinations", "at_device", ["at_device_with_frags", "at_cpu", "to_cpu"]),
        (
            "frags_to_destination",
            "destinations_of_frags",
            "at_device_with_frags",
            ["at_device", "at_cpu", "to_cpu"],
        ),
    ] {
        let devices = loaded.map(map).unwrap();
        let attached = loader::attach::attach(loaded.program(program).unwrap(), &near, Mode::Native).unwrap();
        devices.update_target(&key, veth.near_index(), None).unwrap();
        let sent = frame();
        far.send(&sent);
        far.assert_sees(&sent);
        let fd = loaded.program(at_entry).unwrap().as_fd();
        devices.update_target(&key, veth.near_index(), Some(fd)).unwrap();
        let sent = frame();
        far.send(&sent);
        far.assert_misses(&sent);
        // What `map dump` prints has the id of the program where its fd is written.
        let id = devices.info().unwrap().id.to_string();
        let dumped = xdpload(&["map", "dump", &id]).ok().stdout().to_owned();
        devices.update_target(&key, veth.near_index(), None).unwrap();
        let file = sandbox.scratch().join("entries");
        fs::write(&file, &dumped).unwrap();
        xdpload(&["map", "load", &id, file.to_str().unwrap()]).ok();
        assert_eq!(xdpload(&["map", "dump", &id]).ok().stdout(), dumped);
        devices.update_target(&key, veth.near_index(), None).unwrap();
        xdpload(&["map", "set", &id, "0", dumped.trim_end().strip_prefix("0: ").unwrap()]).ok();
        assert_eq!(xdpload(&["map", "dump", &id]).ok().stdout(), dumped);
        for misfit in misfits {
            let fd = loaded.program(misfit).unwrap().as_fd();
            let error = devices.update_target(&key, veth.near_index(), Some(fd)).unwrap_err();
            assert!(error.to_string().contains("(EINVAL)"), "{misfit}: {error}");
        }
        attached.detach().unwrap();
    }

    let attached = loader::attach::attach(loaded.program("to_cpu").unwrap(), &near, Mode::Native).unwrap();
    cpus.update_target(&key, 64, None).unwrap();
    let sent = frame();
    far.send(&sent);
    wire.assert_sees(&sent);
    cpus.update_target(&key, 64, Some(loaded.program("at_cpu").unwrap().as_fd())).unwrap();
    let sent = frame();
    far.send(&sent);
    wire.assert_misses(&sent);
    let misfit = cpus.update_target(&key, 64, Some(loaded.program("at_cpu_with_frags").unwrap().as_fd()));
    assert!(misfit.unwrap_err().to_string().contains("(ENOMEM)"));
    attached.detach().unwrap();
    assert_udp(&veth, Ipv4Addr::from(OTHER.octets()), 5);
}
