//! Refused attaches: the rule that was broken is named with its numbers, and the command that is given works.

use std::path::Path;

use loader::Interface;
use serde_json::Value;

use crate::bench::{assert_well_said, refused};
use crate::command::{Ran, command, run};
use crate::edit::Edit;
use crate::objects::object;
use crate::peers::attached_by_ip;
use crate::requirement::{Missing, kernel, tool};
use crate::sandbox::Sandbox;
use crate::veth::{FAR, NEAR, pair};
use crate::xdpload::{answer, xdpload};

/// The largest MTU of a veth's peer that native mode takes without `xdp.frags` on a machine with pages of 4096 bytes.
const LIMIT: u32 = 3506;

/// Runs ip(8) with the words of `line`.
#[track_caller]
fn ip(line: &str) {
    run(&mut command("ip", &line.split(' ').collect::<Vec<_>>())).ok();
}

/// A sandbox whose interfaces a test makes by [`ip`].
fn sandbox() -> Result<Sandbox, Missing> {
    tool("ip")?;
    kernel((6, 3), "XDP features of drivers by netlink")?;
    Sandbox::new()
}

/// Attaching `xdp_drop` to `interface` is refused with `rule` and `help`, by netlink and by a `bpf_link`.
#[track_caller]
fn refused_both_ways(interface: &str, rule: &str, help: &str) {
    let object = object("xdp_drop");
    let words = [format!("  rule: {rule}\n"), format!("  help: {help}\n")];
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    refused(&["attach", interface, &object], 1, &words).stderr_has("(kernel: ");
    // A link has no sentence of the kernel, and the facts alone must do.
    let ran = refused(&["attach", interface, &object, "--link", "--pin=/sys/fs/bpf/link"], 1, &words);
    assert!(!ran.stderr().contains("(kernel: "), "{}", ran.report());
    assert!(!Path::new("/sys/fs/bpf/link").exists());
}

/// What `xdpload doctor` says of one interface.
#[track_caller]
fn examined(interface: &str) -> Value {
    answer(&["doctor", interface])["interfaces"][0].clone()
}

#[test]
fn an_mtu_that_does_not_fit_a_page() {
    let (_sandbox, veth) = need!(pair(&[]));
    veth.set_mtu(LIMIT + 1);
    let rule = "the MTU of its peer `far0` is 3507, and native mode takes at most 3506 (a page of 4096 bytes less 590 \
                for XDP and the link header) unless the program takes multi-buffer packets (xdp.frags)";
    let help = "ip link set dev far0 mtu 3506 in its network namespace, or build the program for the section \
                `xdp.frags`, or: xdpload attach near0 OBJ --mode generic";
    refused_both_ways(NEAR, rule, help);
    let seen = examined(NEAR);
    assert_eq!((&seen["native"]["answer"], &seen["native"]["rule"]), (&"no".into(), &rule.into()));
    assert_eq!((&seen["peer"]["interface"], &seen["peer"]["mtu"]), (&FAR.into(), &(LIMIT + 1).into()));
    assert_eq!((&seen["frags"]["answer"], &seen["generic"]["answer"]), (&"yes".into(), &"yes".into()));

    // Auto says the same of what it fell back from.
    let ran = xdpload(&["attach", NEAR, &object("xdp_drop"), "--mode", "auto"]).ok();
    ran.stderr_has(rule).stderr_has("or: leave it in generic mode\n").stdout_has("in generic mode");
    xdpload(&["detach", NEAR]).ok();

    // All three ways out, one byte at the limit.
    xdpload(&["attach", NEAR, &object("xdp_drop"), "--mode", "generic"]).ok();
    xdpload(&["detach", NEAR]).ok();
    frags(NEAR).ok();
    xdpload(&["detach", NEAR]).ok();
    veth.set_mtu(LIMIT);
    assert_eq!(examined(NEAR)["native"]["answer"], "yes");
    xdpload(&["attach", NEAR, &object("xdp_drop")]).ok();
}

/// Attaches a program that takes multi-buffer packets.
#[track_caller]
fn frags(interface: &str) -> Ran {
    let kinds = object("kinds");
    xdpload(&["attach", interface, &kinds, "--prog", "frags_to_destination"])
}

#[test]
fn a_veth_with_fewer_queues_than_its_peer() {
    let _sandbox = need!(sandbox());
    ip("link add name one numrxqueues 1 numtxqueues 1 type veth peer name four numrxqueues 4 numtxqueues 4");
    let rule =
        "`one` has 1 receive queue, but its peer `four` has 4 transmit queues: native mode needs as many";
    refused_both_ways("one", rule, "ethtool -L four tx 1, or: xdpload attach one OBJ --mode generic");
    assert_eq!(examined("one")["native"]["rule"], rule);
    assert_eq!(examined("one")["queues"]["receive"], 1);
    // The other way round there are enough.
    assert_eq!(examined("four")["native"]["answer"], "yes");
    xdpload(&["attach", "four", &object("xdp_drop")]).ok();
}

#[test]
fn a_bridge_leads_to_its_ports() {
    let _sandbox = need!(sandbox());
    ip("link add name br0 type bridge");
    ip("link add name p0 type veth peer name p1");
    ip("link set dev p0 master br0");
    let help = "attach to its port p0, or: xdpload attach br0 OBJ --mode generic";
    refused_both_ways("br0", "the driver of `br0` (bridge) has no native mode", help);
    assert_eq!((&examined("br0")["ports"][0], &examined("p0")["uppers"][0]), (&"p0".into(), &"br0".into()));

    // With a program on the bridge, its port takes none.
    xdpload(&["attach", "br0", &object("xdp_pass"), "--mode", "generic"]).ok();
    let id = attached_by_ip("br0").expect("it is attached").id;
    let rule = format!(
        "XDP program {id} in generic mode runs on `br0`, which is stacked on `p0`, and the kernel \
         changes none below it"
    );
    refused_both_ways("p0", &rule, "xdpload detach br0");
    assert_eq!(examined("p0")["generic"]["rule"], rule);
    xdpload(&["detach", "br0"]).ok();
    xdpload(&["attach", "p0", &object("xdp_drop")]).ok();
}

#[test]
fn drivers_without_native_mode() {
    let _sandbox = need!(sandbox());
    ip("link add name i0 type ifb");
    ip("link add name p0 type veth peer name p1");
    ip("link add name m0 link p0 type macvlan");
    let rule = |name, driver| format!("the driver of `{name}`{driver} has no native mode");
    refused_both_ways("i0", &rule("i0", " (ifb)"), "xdpload attach i0 OBJ --mode generic");
    let help = "attach to p0, which is below it, or: xdpload attach m0 OBJ --mode generic";
    refused_both_ways("m0", &rule("m0", " (macvlan)"), help);
    refused_both_ways("lo", &rule("lo", ""), "xdpload attach lo OBJ --mode generic");
    for name in ["i0", "m0", "lo"] {
        xdpload(&["attach", name, &object("xdp_drop"), "--mode", "generic"]).ok();
    }
    // One that stands on it counts as below, too.
    assert_eq!(examined("p0")["uppers"][0], "m0");
    let ran = refused(&["attach", "p0", &object("xdp_drop")], 1, &["runs on `m0`, which is stacked on `p0`"]);
    assert_well_said(&ran);
}

#[test]
fn a_tap_takes_native_mode() {
    let _sandbox = need!(sandbox());
    ip("tuntap add dev t0 mode tap");
    let seen = examined("t0");
    assert_eq!((&seen["native"]["answer"], &seen["driver"]), (&"yes".into(), &"tun".into()));
    assert_eq!(seen["frags"]["rule"], "the driver does not hand multi-buffer packets to a program");
    xdpload(&["attach", "t0", &object("xdp_drop")]).ok();
}

/// Where packets begin with their IP header, most programs would read addresses from the wrong place.
#[test]
fn packets_without_ethernet_header_are_pointed_out() {
    let _sandbox = need!(sandbox());
    ip("tuntap add dev t0 mode tun");
    ip("tuntap add dev t1 mode tap");
    let ethernet = |name| examined(name)["ethernet"].clone();
    assert_eq!((ethernet("t0"), ethernet("t1"), ethernet("lo")), (false.into(), true.into(), true.into()));
    assert_eq!(examined("t0")["link_type"], "none");
    xdpload(&["doctor", "t0"])
        .ok()
        .stdout_has("  its packets have no Ethernet header (link type none), which");
    assert!(!xdpload(&["doctor", "t1"]).ok().stdout().contains("Ethernet header"));
}

#[test]
fn offload_takes_a_card() {
    let (_sandbox, _veth) = need!(pair(&[]));
    let words = [
        "  rule: the driver of `near0` (veth) does not support offload\n",
        "  help: xdpload attach near0 OBJ --mode native\n",
    ];
    refused(&["attach", NEAR, &object("xdp_drop"), "--mode", "offload"], 1, &words);
}

#[test]
fn a_program_for_entries_of_a_map() {
    let (_sandbox, _veth) = need!(pair(&[]));
    xdpload(&["load", &object("kinds"), "--all", "--pin=/sys/fs/bpf/kinds"]).ok();
    for (name, kind) in [("at_device", "DEVMAP"), ("at_cpu_with_frags", "CPUMAP")] {
        let pin = format!("/sys/fs/bpf/kinds/{name}");
        let rule = format!("  rule: the program's expected_attach_type is BPF_XDP_{kind}: ");
        refused(&["attach", NEAR, "--pinned", &pin], 1, &["EINVAL", "(kernel: BPF_XDP_", &rule]);
    }
}

#[test]
fn a_program_that_a_link_holds() {
    let (_sandbox, _veth) = need!(pair(&["bpftool"]));
    xdpload(&["attach", NEAR, &object("xdp_pass"), "--link", "--pin=/sys/fs/bpf/edge"]).ok();
    let id = attached_by_ip(NEAR).expect("it is attached").id;
    let link = examined(NEAR)["programs"][0]["link"]["id"].clone();
    let rule = format!(
        "  rule: bpf_link {link}, pinned at `/sys/fs/bpf/edge`, holds XDP program {id} in native mode (`xdp_pass`), \
         which can only be changed through that link\n"
    );
    let help = "  help: xdpload attach near0 OBJ --replace --link, or: xdpload detach near0 --link\n";
    let drop = object("xdp_drop");
    refused(&["attach", NEAR, &drop], 1, &["is there already", &rule, help]);
    let kernel = "(kernel: Can't replace active BPF XDP link)";
    refused(&["attach", NEAR, &drop, "--replace"], 1, &["EBUSY", kernel, &rule, help]);
    refused(&["attach", NEAR, &drop, "--mode", "generic"], 1, &[&rule, help]);
    // Both ways out.
    xdpload(&["attach", NEAR, &drop, "--replace", "--link"]).ok();
    xdpload(&["detach", NEAR, "--link"]).ok();
}

#[test]
fn of_several_interfaces_the_one_that_refuses_is_explained() {
    let (_sandbox, veth) = need!(pair(&[]));
    ip("link add name i0 type ifb");
    let index = |name| Interface::named(name).expect("it is there").index().to_string();
    let (near, last) = (veth.near_index().to_string(), index("i0"));
    let rule = "  rule: the driver of `i0` (ifb) has no native mode\n";
    let drop = object("xdp_drop");
    for names in [[NEAR, "i0"], [NEAR, &last], [&near, &last], ["i0", &near]] {
        refused(&[&["attach"], &names[..], &[&drop]].concat(), 1, &[rule]);
    }
    // So is what is refused before anything is made.
    xdpload(&["attach", NEAR, &object("xdp_pass"), "--link", "--pin=/sys/fs/bpf/edge"]).ok();
    let ran = refused(&["attach", &last, &near, &drop], 1, &["is there already", "  rule: bpf_link "]);
    ran.stderr_has("help: xdpload attach near0 OBJ --replace --link");
}

#[test]
fn the_dispatcher_of_libxdp() {
    let (sandbox, _veth) = need!(pair(&[]));
    let mut edit = Edit::of(&object("xdp_pass"));
    edit.rename_symbol("xdp_pass", "xdp_dispatcher");
    xdpload(&["attach", NEAR, &edit.save(&sandbox)]).ok();
    let id = attached_by_ip(NEAR).expect("it is attached").id;
    let rule = format!(
        "  rule: libxdp's dispatcher, XDP program {id} in native mode, is attached, and runs the programs that \
         xdp-loader has added to it\n"
    );
    let help = "  help: xdp-loader status near0, and to detach all of them: xdp-loader unload near0 --all\n";
    refused(&["attach", NEAR, &object("xdp_drop")], 1, &["is there already", &rule, help]);
}

#[test]
fn the_doctor_looks_at_all() {
    let (_sandbox, veth) = need!(pair(&[]));
    let ran = xdpload(&["doctor"]).ok();
    assert_eq!(ran.stderr(), "");
    let ran = ran
        .stdout_has(
            "  load programs: yes\n  load those that compute with pointers, as `block on` does: yes\n",
        )
        .stdout_has("  attach them: yes\n")
        .stdout_has("bpffs\n  /sys/fs/bpf is a bpffs\n")
        .stdout_has(&format!("near0 ({})\n  up, MTU 1500, driver veth\n", veth.near_index()))
        .stdout_has("  peer far0 in another network namespace, MTU 1500\n")
        .stdout_has("  native: yes\n  native with `xdp.frags`: yes\n  generic: yes\n");
    assert!(ran.stdout().contains("\nlo (1)\n"), "{}", ran.report());
    // In the other namespace the other end is the near one.
    let far = veth.far.path().to_str().expect("it is printable").to_owned();
    let seen = answer(&["doctor", FAR, "--netns", &far])["interfaces"][0].clone();
    assert_eq!((&seen["peer"]["interface"], &seen["driver"]), (&NEAR.into(), &"veth".into()));
    // Nothing is left behind, and nothing was attached.
    assert!(attached_by_ip(NEAR).is_none());
    xdpload(&["doctor", "nope0"]).fails(1).stderr_has("there is no interface named `nope0`");
}

#[test]
fn whoever_may_nothing_may_ask_the_doctor() {
    need!(tool("setpriv"));
    let (_sandbox, _veth) = need!(pair(&[]));
    let program = crate::xdpload::xdpload_command::<&str>(&[]).get_program().to_owned();
    let mut nobody = command("setpriv", &["--bounding-set=-all", "--inh-caps=-all", "--"]);
    let seen = run(nobody.arg(program).args(["doctor", NEAR, "--json"])).ok().json();
    let process = &seen["process"];
    assert_eq!(process["capabilities"], Value::Array(Vec::new()));
    for (what, capability) in
        [("load", "CAP_BPF and CAP_NET_ADMIN"), ("attach", "CAP_NET_ADMIN"), ("mount", "CAP_SYS_ADMIN")]
    {
        let rule = process[what]["rule"].as_str().expect("it is refused");
        assert!(rule.starts_with(&format!("this process lacks {capability}")), "{process}");
    }
    // The peer is another namespace's, and not to be looked at; all else is there.
    assert_eq!(seen["interfaces"][0]["driver"], "veth");
}
