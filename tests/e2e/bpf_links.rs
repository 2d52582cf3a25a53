//! `--link`: programs held by a `bpf_link`, made, updated, detached and seen, and never in place of netlink.

use std::path::Path;

use loader::attach::{self, Interface, Link};
use loader::netlink::Mode;

use crate::acceptor::Ending;
use crate::bench::refused;
use crate::command::{command, run};
use crate::objects::object;
use crate::packets::assert_udp;
use crate::peers::{attached_by_ip, bpftool, number};
use crate::sandbox::Sandbox;
use crate::strace_plan::run_as_planned;
use crate::veth::{FAR, NEAR, OTHER, Veth, pair};
use crate::xdpload::{answer, xdpload};

pub(crate) const PIN: &str = "/sys/fs/bpf/links/near";

/// Attaches `name` to `near0` with `options`, as the plan says.
#[track_caller]
fn attach_as_planned(sandbox: &Sandbox, name: &str, options: &[&str]) -> crate::command::Ran {
    attach_to_the_end(sandbox, name, options, Ending::AsTheKernelSays)
}

#[track_caller]
fn attach_to_the_end(sandbox: &Sandbox, name: &str, options: &[&str], ending: Ending) -> crate::command::Ran {
    let object = object(name);
    let plan = [&[&object, "--dev", NEAR, "--link"], options].concat();
    let attach = [&["attach", NEAR, &object, "--link"], options].concat();
    run_as_planned(sandbox, &plan, &attach, ending)
}

/// The link on `near0` as bpftool tells it: its id and its program's.
#[track_caller]
pub(crate) fn link_by_bpftool(veth: &Veth, pin: &str) -> (u64, u64) {
    let link = bpftool(&["link", "show", "pinned", pin]);
    assert_eq!(link["type"], "xdp");
    assert_eq!(attached_by_ip(NEAR).map(|program| program.id), Some(number(&link["prog_id"])));
    assert!(veth.near_index() > 0);
    (number(&link["id"]), number(&link["prog_id"]))
}

#[test]
fn a_link_is_made_updated_seen_and_detached() {
    let (sandbox, veth) = need!(pair(&["bpftool", "strace"]));
    for mode in ["native", "generic"] {
        let options = ["--pin", PIN, "--mode", mode];
        attach_as_planned(&sandbox, "xdp_drop", &options)
            .ok()
            .stdout_has(&format!("in {mode} mode by bpf_link"));
        let (link, first) = link_by_bpftool(&veth, PIN);
        assert_udp(&veth, OTHER, 0);
        let status = answer(&["status", NEAR]);
        let seen = &status["interfaces"][0]["programs"][0];
        assert_eq!((number(&seen["link"]["id"]), &seen["link"]["pin"]), (link, &PIN.into()));
        xdpload(&["status"]).ok().stdout_has(&format!("bpf_link {link} pinned at {PIN}"));

        // In place, found by its pin and by its id.
        let options = ["--replace", "--pin", PIN, "--mode", mode];
        attach_as_planned(&sandbox, "xdp_pass", &options)
            .ok()
            .stdout_has(&format!("replacing program {first}"));
        assert_eq!(link_by_bpftool(&veth, PIN).0, link);
        assert_udp(&veth, OTHER, 5);
        attach_as_planned(&sandbox, "xdp_drop", &["--replace", "--mode=auto"])
            .ok()
            .stdout_has(&format!("in {mode} mode by bpf_link {link}, replacing"));
        assert_udp(&veth, OTHER, 0);

        let (_, id) = link_by_bpftool(&veth, PIN);
        let detached = answer(&["detach", NEAR, "--link"]);
        let program = &detached["detached"][0]["programs"][0];
        assert_eq!((number(&program["id"]), number(&program["link"]["id"])), (id, link));
        assert_eq!(program["link"]["pins"][0], PIN);
        assert_eq!((attached_by_ip(NEAR), sandbox.pins()), (None, vec!["links".to_owned()]));
        assert_udp(&veth, OTHER, 5);
    }
}

#[test]
fn a_link_without_a_pin_would_end_with_the_process() {
    let (sandbox, _veth) = need!(pair(&["strace"]));
    let says = "a new bpf_link ends with the process that made it, unless it is pinned";
    for options in [&["--link"][..], &["--link", "--replace"]] {
        let pass = object("xdp_pass");
        let attach = [&["attach", NEAR, &pass], options].concat();
        xdpload(&attach).fails(2).stderr_has(says).stderr_has("--pin /sys/fs/bpf/NAME");
    }
    let ending = Ending::After("RTM_GETLINK");
    attach_to_the_end(&sandbox, "blacklist_gobpf", &["--replace"], ending).fails(2).stderr_has(says);
    xdpload(&["attach", NEAR, &object("xdp_pass"), "--pin", PIN]).fails(2).stderr_has("--link");
    xdpload(&["attach", NEAR, &object("xdp_pass"), "--link", "--pin", "/run/link"])
        .fails(2)
        .stderr_has("the bpf_link: pin path `/run/link` is not below `/sys/fs/bpf`");
    assert_eq!((attached_by_ip(NEAR), sandbox.pins()), (None, vec![]));
}

#[test]
fn neither_way_stands_in_for_the_other() {
    let (sandbox, veth) = need!(pair(&["bpftool", "strace"]));
    // Held by the interface itself.
    xdpload(&["attach", NEAR, &object("xdp_pass")]).ok();
    let id = attached_by_ip(NEAR).unwrap().id;
    attach_as_planned_refused(&sandbox, &["--pin", PIN], "is there already");
    let by_netlink =
        format!("no bpf_link holds XDP program {id} in native mode, which was attached by netlink");
    let ending = Ending::After("BPF_LINK_GET_NEXT_ID");
    attach_to_the_end(&sandbox, "xdp_drop", &["--replace"], ending)
        .fails(1)
        .stderr_has(&by_netlink)
        .stderr_has("help: leave out `--link`");
    xdpload(&["detach", NEAR, "--link"]).fails(1).stderr_has(&by_netlink);
    xdpload(&["attach", NEAR, &object("xdp_drop"), "--link", "--replace", "--pin", PIN])
        .fails(1)
        .stderr_has(&format!("nothing is pinned at `{PIN}`"))
        .stderr_has(&format!("rule: no bpf_link holds XDP program {id} in native mode (`xdp_pass`), "))
        .stderr_has("help: xdpload attach near0 OBJ --mode native --replace, or: xdpload detach near0\n");
    assert_eq!(attached_by_ip(NEAR).unwrap().id, id);
    xdpload(&["detach", NEAR]).ok();

    // Held by a link.
    attach_as_planned(&sandbox, "xdp_pass", &["--pin", PIN]).ok();
    let (_, id) = link_by_bpftool(&veth, PIN);
    let held = "  rule: bpf_link ";
    xdpload(&["attach", NEAR, &object("xdp_drop"), "--replace"]).fails(1).stderr_has(held);
    xdpload(&["detach", NEAR]).fails(1).stderr_has(held);
    let elsewhere = ["attach", NEAR, &object("xdp_drop"), "--link", "--replace", "--pin=/sys/fs/bpf/other"];
    xdpload(&elsewhere)
        .fails(1)
        .stderr_has(held)
        .stderr_has(&format!(", pinned at `{PIN}`, holds XDP program {id} in native mode"))
        .stderr_has("help: xdpload attach near0 OBJ --replace --link, or: xdpload detach near0 --link\n");
    assert_eq!(link_by_bpftool(&veth, PIN).1, id);
    xdpload(&["detach", NEAR, "--link", "--id", "1"]).fails(1).stderr_has("program 1 is not there");
    xdpload(&["detach", NEAR, "--link"]).ok().stdout_has(&format!("and removed its pin {PIN}"));
}

#[track_caller]
fn attach_as_planned_refused(sandbox: &Sandbox, options: &[&str], words: &str) {
    attach_to_the_end(sandbox, "xdp_drop", options, Ending::After("RTM_GETLINK")).fails(1).stderr_has(words);
}

#[test]
fn a_pin_of_another_link_is_not_updated() {
    let (sandbox, veth) = need!(pair(&["bpftool", "strace"]));
    let far = ["--netns=far", "--link", "--pin=/sys/fs/bpf/far"];
    let far_object = object("xdp_pass");
    let plan = [&[far_object.as_str(), "--dev", FAR], &far[..]].concat();
    let attach = [&["attach", FAR, &far_object], &far[..]].concat();
    run_as_planned(&sandbox, &plan, &attach, Ending::AsTheKernelSays).ok();
    assert_eq!(veth.far.run(|| attached_by_ip(FAR)).unwrap().name, "xdp_pass");
    attach_as_planned(&sandbox, "xdp_pass", &["--pin", PIN]).ok();
    let options = ["--replace", "--pin=/sys/fs/bpf/far"];
    attach_to_the_end(&sandbox, "xdp_drop", &options, Ending::After("BPF_OBJ_GET"))
        .fails(1)
        .stderr_has("the bpf_link pinned at `/sys/fs/bpf/far` does not hold XDP program");
    assert_eq!(link_by_bpftool(&veth, PIN).1, attached_by_ip(NEAR).unwrap().id);
    // In the other namespace, by the link's number.
    let far_object = object("xdp_drop");
    let far = ["--netns=far", "--link", "--replace"];
    let plan = [&[far_object.as_str(), "--dev", FAR], &far[..]].concat();
    let attach = [&["attach", FAR, &far_object], &far[..]].concat();
    run_as_planned(&sandbox, &plan, &attach, Ending::AsTheKernelSays).ok();
    assert_eq!(veth.far.run(|| attached_by_ip(FAR)).unwrap().name, "xdp_drop");
    // What is proposed is meant for there.
    refused(&["detach", FAR, "--netns=far"], 1, &["or: xdpload detach far0 --link --netns far\n"]);
    xdpload(&["detach", FAR, "--netns=far", "--link"]).ok().stdout_has("removed its pin /sys/fs/bpf/far");
    assert_eq!(veth.far.run(|| attached_by_ip(FAR)), None);
}

/// A link of a program that was loaded by bpftool: with `BPF_XDP` by libbpf, or by a plain load without it.
pub(crate) fn hold_with_type(veth: &Veth, expected_attach_type: u32) {
    // BPF_PROG_LOAD of `r0 = 2; exit`, BPF_LINK_CREATE for BPF_XDP (37), BPF_OBJ_PIN.
    let script = r#"
        my ($bpf, $link, $ifindex, $type) = @ARGV;
        sub bpf {
            my ($cmd, $attr) = @_;
            my $fd = syscall $bpf + 0, $cmd, $attr, length $attr;
            $fd < 0 ? die "$cmd: $!" : $fd
        }
        sub address { unpack "Q", pack "p", $_[0] }
        my $insns = pack "CCsl CCsl", 0xb7, 0, 0, 2, 0x95, 0, 0, 0;
        my $license = "GPL\0";
        my $load = pack "LLQQLLQLLa16LL", 6, 2, address($insns), address($license), 0, 0, 0, 0, 0, "two", 0, $type;
        my $held = bpf(28, pack "LLLL", bpf(5, $load), $ifindex, 37, 0);
        my $path = "$link\0";
        bpf(6, pack "QLL", address($path), $held, 0);
    "#;
    let bpf = nix::libc::SYS_bpf.to_string();
    let [index, kind] = [veth.near_index(), expected_attach_type].map(|number| number.to_string());
    run(&mut command("perl", &["-e", script, &bpf, PIN, &index, &kind])).ok();
}

#[test]
fn an_update_meets_the_attach_type_of_what_runs_there() {
    need!(crate::requirement::tool("perl"));
    let (sandbox, veth) = need!(pair(&["bpftool", "strace"]));
    std::fs::create_dir("/sys/fs/bpf/links").unwrap();
    for expected_attach_type in [37, 0] {
        hold_with_type(&veth, expected_attach_type);
        let (link, _) = link_by_bpftool(&veth, PIN);
        for name in ["xdp_drop", "blacklist", "xdp_pass"] {
            let ran = attach_as_planned(&sandbox, name, &["--replace", "-v"]).ok();
            let refused = ran.stderr().contains("EINVAL");
            assert_eq!(refused, expected_attach_type == 0, "{}", ran.report());
            assert_eq!(link_by_bpftool(&veth, PIN).0, link);
        }
        assert_udp(&veth, OTHER, 5);
        xdpload(&["detach", NEAR, "--link"]).ok();
    }
}

#[test]
fn the_library_holds_a_link() {
    let (_sandbox, veth) = need!(pair(&["bpftool"]));
    let load = |name: &str| {
        let object = loader::Object::open(object(name)).unwrap();
        loader::Loader::new(&object).plan(&loader::Kernel::unknown()).unwrap().execute(|_| {}).unwrap()
    };
    let (pass, drop) = (load("xdp_pass"), load("xdp_drop"));
    let (pass, drop) = (pass.program("xdp_pass").unwrap(), drop.program("xdp_drop").unwrap());
    let near = Interface::named(NEAR).unwrap();
    let link = attach::attach_link(drop, &near, Mode::Native).unwrap();
    assert_udp(&veth, OTHER, 0);
    let taken = attach::attach_link(pass, &near, Mode::Native).unwrap_err();
    assert!(taken.to_string().contains("is there already"), "{taken}");
    // The program that is expected is compared.
    let stale = link.update(drop, pass).unwrap_err();
    assert_eq!(stale.kind(), loader::ErrorKind::Conflict);
    link.update(pass, drop).unwrap();
    assert_udp(&veth, OTHER, 5);
    link.pin(Path::new("/sys/fs/bpf/held")).unwrap();
    let pinned = Link::open_pinned(Path::new("/sys/fs/bpf/held")).unwrap();
    assert_eq!(pinned.state().unwrap(), link.state().unwrap());
    assert_eq!(pinned.state().unwrap().ifindex, veth.near_index());
    let id = pinned.state().unwrap().id;
    link.detach().unwrap();
    assert_eq!((Link::from_id(id).unwrap().state().unwrap().ifindex, attached_by_ip(NEAR)), (0, None));
    assert!(link.update(drop, pass).unwrap_err().to_string().contains("the link is detached"));
    let program = Path::new("/sys/fs/bpf/program");
    pass.pin(program).unwrap();
    assert!(Link::open_pinned(program).unwrap_err().to_string().contains("expected a link, found a program"));
}
