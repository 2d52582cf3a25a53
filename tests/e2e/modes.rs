//! Where a program runs and who may displace it: the modes, replace and detach, interfaces here and elsewhere.

use std::os::fd::AsFd as _;
use std::path::Path;

use loader::attach::{self, Attached, Interface};
use loader::features::Kernel;
use loader::load::Loaded;
use loader::netlink::{Mode, ModeChoice};
use loader::object::Object;
use loader::plan::Loader;
use loader::{Cause, ErrorKind};

use crate::command::{Ran, command, run};
use crate::objects::object;
use crate::packets::assert_udp;
use crate::peers::{attached_by_ip, bpftool, number};
use crate::requirement::{kernel, tool};
use crate::sandbox::Sandbox;
use crate::veth::{FAR, NEAR, OTHER, pair};
use crate::xdpload::{answer, xdpload};

/// Attaches the committed object `name` to `near0` with `options`.
fn attach_with(name: &str, options: &[&str]) -> Ran {
    xdpload(&[&["attach", NEAR, &object(name)], options].concat())
}

/// The mode and the name of what is on `near0`, by ip(8).
fn seen() -> Option<(String, String)> {
    attached_by_ip(NEAR).map(|program| (program.mode, program.name))
}

#[track_caller]
fn assert_seen(mode: &str, name: &str) {
    assert_eq!(seen(), Some((mode.to_owned(), name.to_owned())));
}

#[test]
fn a_program_runs_in_the_mode_that_was_asked_for() {
    let (_sandbox, veth) = need!(pair(&[]));
    for (asked, became) in [("native", "native"), ("generic", "generic"), ("auto", "native")] {
        let ran = attach_with("xdp_drop", &["--mode", asked]).ok();
        assert_eq!(ran.stderr(), "", "nothing to warn of in {asked} mode");
        ran.stdout_has(&format!("to near0 in {became} mode"));
        assert_seen(became, "xdp_drop");
        assert_udp(&veth, OTHER, 0);

        xdpload(&["detach", NEAR]).ok().stdout_has(&format!("in {became} mode from near0"));
        assert_eq!(seen(), None);
        assert_udp(&veth, OTHER, 5);
    }
    attach_with("xdp_drop", &[]).ok().stdout_has("in native mode");
}

#[test]
fn auto_falls_back_and_says_so_aloud() {
    let (_sandbox, veth) = need!(pair(&[]));
    veth.set_mtu(9000);
    attach_with("xdp_drop", &[]).fails(1).stderr_has("MTU").stderr_has("--mode generic");
    assert_eq!(seen(), None);

    let ran = attach_with("xdp_drop", &["--mode", "auto"]).ok();
    ran.stdout_has("in generic mode")
        .stderr_has("warning: `near0` runs in generic mode, which is much slower")
        .stderr_has("Peer MTU is too large");
    assert_seen("generic", "xdp_drop");
    assert_udp(&veth, OTHER, 0);
}

#[test]
fn a_driver_without_native_mode_is_refused_with_the_way_out() {
    let _sandbox = need!(Sandbox::new());
    // The loopback interface of the sandbox, whose driver has no XDP.
    let object = object("xdp_drop");
    xdpload(&["attach", "lo", &object])
        .fails(1)
        .stderr_has("attaching to `lo` in native mode")
        .stderr_has("EOPNOTSUPP")
        .stderr_has("help: xdpload attach lo OBJ --mode generic\n");
    let ran = xdpload(&["attach", "lo", &object, "--mode", "auto"]).ok();
    let ran = ran.stdout_has("in generic mode").stderr_has("warning: ").stderr_has("much slower");
    // There was nothing else to do, and that has been done.
    let ran = ran.stderr_has("has no native mode");
    assert!(!ran.stderr().contains("help: "), "{}", ran.report());
    xdpload(&["detach", "lo"]).ok().stdout_has("in generic mode from lo");
}

#[test]
fn offload_is_refused_by_an_interface_that_is_no_smart_card() {
    let (_sandbox, _veth) = need!(pair(&[]));
    attach_with("xdp_drop", &["--mode", "offload"])
        .fails(1)
        .stderr_has("offload mode")
        .stderr_has("`near0`")
        .stderr_has("help: ");
    assert_eq!(seen(), None);
}

#[test]
fn a_program_that_is_there_stays() {
    let (_sandbox, _veth) = need!(pair(&[]));
    for mode in ["native", "generic"] {
        attach_with("xdp_pass", &["--mode", mode]).ok();
        let id = attached_by_ip(NEAR).unwrap().id;
        for asked in ["native", "generic", "auto"] {
            attach_with("xdp_drop", &["--mode", asked])
                .fails(1)
                .stderr_has(&format!("XDP program {id} in {mode} mode is there already"));
        }
        assert_eq!(attached_by_ip(NEAR).unwrap().id, id);
        xdpload(&["detach", NEAR]).ok();
    }
}

#[test]
fn a_replacement_takes_the_place_in_the_same_mode() {
    let (_sandbox, veth) = need!(pair(&[]));
    for mode in ["native", "generic"] {
        attach_with("xdp_pass", &["--mode", mode]).ok();
        let before = attached_by_ip(NEAR).unwrap().id;
        let other = if mode == "native" { "generic" } else { "native" };
        attach_with("xdp_drop", &["--replace", "--mode", other])
            .fails(1)
            .stderr_has("cannot be replaced")
            .stderr_has(&format!("help: replace it in {mode} mode (`--mode {mode}`), or detach it first\n"));
        assert_seen(mode, "xdp_pass");

        let replaced = format!("in {mode} mode, replacing program {before}");
        attach_with("xdp_drop", &["--replace", "--mode", mode]).ok().stdout_has(&replaced);
        assert_seen(mode, "xdp_drop");
        assert_udp(&veth, OTHER, 0);

        attach_with("xdp_pass", &["--replace", "--mode", "auto"]).ok().stdout_has(&format!("in {mode} mode"));
        assert_seen(mode, "xdp_pass");
        xdpload(&["detach", NEAR]).ok();
    }
    // With nothing there it is a plain attach.
    let document = answer(&["attach", NEAR, &object("xdp_drop"), "--replace"]);
    assert!(document["attached"][0]["replaced"].is_null(), "{document}");
}

#[test]
fn detach_takes_off_only_the_program_that_was_named() {
    let (_sandbox, _veth) = need!(pair(&[]));
    xdpload(&["detach", NEAR]).fails(1).stderr_has("detaching from `near0`: no XDP program is there");
    for mode in ["native", "generic"] {
        attach_with("xdp_drop", &["--mode", mode]).ok();
        let id = attached_by_ip(NEAR).unwrap().id;
        let [own, other] = [id, id - 1].map(|id| id.to_string());
        xdpload(&["detach", NEAR, "--id", &other])
            .fails(1)
            .stderr_has(&format!("program {other} is not there, but XDP program {own} in {mode} mode is"));
        assert_seen(mode, "xdp_drop");
        let document = answer(&["detach", NEAR, "--id", &own]);
        assert_eq!((number(&document["detached"][0]["programs"][0]["id"]), seen()), (id, None));
    }
}

#[test]
fn an_interface_has_a_name_and_a_number() {
    let (_sandbox, veth) = need!(pair(&[]));
    let index = veth.near_index().to_string();
    xdpload(&["attach", &index, &object("xdp_drop")]).ok().stdout_has("to near0 in native mode");
    xdpload(&["status", &index]).ok().stdout_has(&format!("near0 ({index})  native"));
    xdpload(&["detach", &index]).ok();
    xdpload(&["attach", "9999", &object("xdp_drop")]).fails(1).stderr_has("there is no interface");
}

#[test]
fn another_namespace_is_reached_by_name_and_by_path() {
    let (_sandbox, veth) = need!(pair(&[]));
    let path = veth.far.path().to_str().unwrap();
    for netns in ["far", path] {
        xdpload(&["attach", FAR, &object("xdp_drop"), "--netns", netns]).ok();
        assert_eq!(veth.far.run(|| attached_by_ip(FAR)).unwrap().name, "xdp_drop");
        assert_eq!(seen(), None);
        xdpload(&["status", "--netns", netns]).ok().stdout_has("far0 (").stdout_has("xdp_drop");
        xdpload(&["status"]).ok().stdout_has("no interface has an XDP program");
        xdpload(&["detach", FAR]).fails(1).stderr_has("there is no interface named `far0`");
        xdpload(&["detach", FAR, "--netns", netns]).ok();
        assert_eq!(veth.far.run(|| attached_by_ip(FAR)), None);
    }
    xdpload(&["status", "--netns", "nowhere"]).fails(1).stderr_has("there is no network namespace");
    let ran = xdpload(&["attach", FAR, &object("verdicts"), "--netns", "far"]);
    ran.ok();
    xdpload(&["map", "set", "far0:verdict", "0", "2", "--netns", "far"]).ok();
    xdpload(&["map", "get", "far0:verdict", "0", "--netns", path]).ok().stdout_has("2");
}

/// Loads the committed object `name` by the library.
fn load(name: &str) -> Loaded {
    let object = Object::open(object(name)).expect("the committed objects are good");
    let plan = Loader::new(&object).plan(&Kernel::unknown()).expect("one program needs no choice");
    plan.execute(|_| {}).expect("the kernel takes it")
}

fn near() -> Interface {
    Interface::named(NEAR).expect("the pair is there")
}

#[test]
fn a_replacement_compares_before_it_swaps() {
    let (_sandbox, _veth) = need!(pair(&[]));
    let (pass, drop, verdicts) = (load("xdp_pass"), load("xdp_drop"), load("verdicts"));
    let (pass, drop) = (pass.program("xdp_pass").unwrap(), drop.program("xdp_drop").unwrap());
    let verdicts = verdicts.program("xdp_verdict").unwrap();
    for mode in [Mode::Native, Mode::Generic] {
        let attached = attach::attach(pass, &near(), mode).unwrap();
        // Somebody else came in between: what we saw there is there no more.
        let error = attach::replace(drop, verdicts, &near(), mode).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert_seen(mode.name(), "xdp_pass");

        attach::replace(pass, verdicts, &near(), mode).unwrap().persist();
        assert_seen(mode.name(), "xdp_verdict");
        // Neither a detach nor a drop takes off what took the place.
        let error = attached.detach().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert_seen(mode.name(), "xdp_verdict");
        attach::detach(&near(), None, Path::new("/sys/fs/bpf")).unwrap();
    }
}

#[test]
fn what_is_no_program_is_not_attached() {
    let (_sandbox, _veth) = need!(pair(&[]));
    let loaded = load("blacklist");
    let (map, program) = (loaded.map("blacklist").unwrap(), loaded.program("xdp_ip_filter").unwrap());
    let words = "expected a program, found a map";
    let refused = |error: loader::Error| {
        assert_eq!((error.kind(), error.cause()), (ErrorKind::Conflict, Some(Cause::OtherKind)), "{error}");
        assert!(error.to_string().ends_with(words), "{error}");
    };
    refused(attach::attach(map, &near(), ModeChoice::Auto).unwrap_err());
    let attached = attach::attach(program, &near(), Mode::Native).unwrap();
    refused(attach::replace(program, map, &near(), Mode::Native).unwrap_err());
    refused(attach::replace(map, program, &near(), Mode::Native).unwrap_err());
    assert_seen("native", "xdp_ip_filter");
    attached.detach().unwrap();
}

#[test]
fn a_dropped_attachment_leaves_what_took_its_place() {
    let (_sandbox, _veth) = need!(pair(&[]));
    let (pass, drop) = (load("xdp_pass"), load("xdp_drop"));
    let (pass, drop) = (pass.program("xdp_pass").unwrap(), drop.program("xdp_drop").unwrap());
    let attached: Attached = attach::attach(pass, &near(), ModeChoice::Auto).unwrap();
    let swapped = attach::replace(pass.as_fd(), drop.as_fd(), &near(), attached.mode()).unwrap();
    std::mem::drop(attached);
    assert_seen("native", "xdp_drop");
    std::mem::drop(swapped);
    assert_eq!(seen(), None);
}

/// Has perl, which every Debian has, make a `bpf_link` of the program pinned at `program`, and pin it at `link`.
fn hold_by_a_link(program: &str, link: &str, ifindex: u32) {
    // BPF_OBJ_GET, BPF_LINK_CREATE for BPF_XDP (37), BPF_OBJ_PIN.
    let script = r#"
        my ($bpf, $program, $link, $ifindex) = @ARGV;
        sub bpf {
            my ($cmd, $attr) = @_;
            my $fd = syscall $bpf + 0, $cmd, $attr, length $attr;
            $fd < 0 ? die "$cmd: $!" : $fd
        }
        sub pinned { my ($path, $fd) = @_; pack "QLL", unpack("Q", pack "p", $path), $fd, 0 }
        my $prog = bpf(7, pinned($program, 0));
        my $held = bpf(28, pack "LLLL", $prog, $ifindex, 37, 0);
        bpf(6, pinned($link, $held));
    "#;
    let bpf = nix::libc::SYS_bpf.to_string();
    run(&mut command("perl", &["-e", script, &bpf, program, link, &ifindex.to_string()])).ok();
}

#[test]
fn an_interface_that_a_link_holds_is_left_to_the_link() {
    need!(tool("perl"));
    need!(kernel((5, 9), "bpf_link for XDP"));
    let (_sandbox, veth) = need!(pair(&["bpftool"]));
    let [program, link] = ["/sys/fs/bpf/pass", "/sys/fs/bpf/link"];
    run(&mut command("bpftool", &["prog", "load", &object("xdp_pass"), program])).ok();
    hold_by_a_link(program, link, veth.near_index());
    let id = number(&bpftool(&["prog", "show", "pinned", program])["id"]);

    attach_with("xdp_drop", &[])
        .fails(1)
        .stderr_has(&format!("XDP program {id} in native mode is there already"));
    attach_with("xdp_drop", &["--replace"])
        .fails(1)
        .stderr_has("kernel: Can't replace active BPF XDP link")
        .stderr_has("  rule: bpf_link ");
    xdpload(&["detach", NEAR]).fails(1).stderr_has("BPF XDP link").stderr_has("  rule: bpf_link ");
    assert_eq!(attached_by_ip(NEAR).unwrap().id, id);
    assert!(Path::new(link).exists());
}
