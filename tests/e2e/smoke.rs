//! The harness itself: each part does what the other tests count on, shown with other people's loaders.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::command::{Ran, command, run};
use crate::http::{Answer, Server};
use crate::leftovers;
use crate::objects::{object, object_by};
use crate::packets::{Frame, Wire, assert_udp, ethertype};
use crate::peers::{attached_by_ip, attached_by_xdp_loader, bpftool, map_entries, number, program, text};
use crate::requirement::tool;
use crate::sandbox::Sandbox;
use crate::strace::{Fault, trace, trace_with_fault};
use crate::veth::{BLOCKED, FAR, FAR_V4, FAR_V6, NEAR, NEAR_V4, OTHER, pair};
use crate::xdpload::{xdpload, xdpload_command};

/// Has ip(8) put an object on `near0` in `mode`, `xdpdrv` or `xdpgeneric`.
fn ip_attach(mode: &str, object: &str) -> Ran {
    run(&mut command("ip", &["link", "set", NEAR, mode, "obj", object, "sec", "xdp"]))
}

fn ip_detach(mode: &str) {
    run(&mut command("ip", &["link", "set", NEAR, mode, "off"])).ok();
}

#[test]
fn udp_packets_cross_the_pair() {
    let (_sandbox, veth) = need!(pair(&[]));
    for source in [FAR_V4.into(), FAR_V6.into(), BLOCKED.into(), IpAddr::from(OTHER)] {
        assert_udp(&veth, source, 5);
    }
}

#[test]
fn raw_frames_cross_the_pair() {
    let (_sandbox, veth) = need!(pair(&[]));
    let (near, far) = (Wire::near(), Wire::far(&veth));
    let inner = (ethertype::VLAN, 7);
    let frames = [
        Frame::ipv4(&veth, &[], OTHER),
        Frame::ipv4(&veth, &[inner], OTHER),
        Frame::ipv4(&veth, &[(ethertype::SERVICE_VLAN, 9), inner], OTHER),
        Frame::ipv4(&veth, &[], OTHER).truncated(14 + 19),
        Frame::new(&veth, &[], ethertype::ARP, &[0; 28]),
        Frame::new(&veth, &[], ethertype::IPV6, &[0x60]),
        Frame::new(&veth, &[], ethertype::IPV6, &[]).truncated(14),
    ];
    for frame in &frames {
        far.send(frame);
        near.assert_sees(frame);
    }
}

#[test]
fn a_dropping_program_is_noticed_on_every_way() {
    let (_sandbox, veth) = need!(pair(&["curl"]));
    let (near, far) = (Wire::near(), Wire::far(&veth));
    let server = Server::start(NEAR_V4);
    for mode in ["xdpdrv", "xdpgeneric"] {
        assert_eq!(server.ask_from(&veth.far, Duration::from_secs(10)), Answer::Status(200));

        ip_attach(mode, &object("xdp_drop")).ok();
        assert_udp(&veth, OTHER, 0);
        let lost = Frame::ipv4(&veth, &[], OTHER);
        far.send(&lost);
        near.assert_misses(&lost);
        assert_eq!(server.ask_from(&veth.far, Duration::from_millis(300)), Answer::TimedOut);

        ip_detach(mode);
        assert_udp(&veth, OTHER, 5);
    }
}

#[test]
fn the_witnesses_agree() {
    let (_sandbox, veth) = need!(pair(&["bpftool", "xdp-loader"]));
    assert_eq!((attached_by_ip(NEAR), attached_by_xdp_loader(NEAR)), (None, None));
    ip_attach("xdpdrv", &object("xdp_drop")).ok();
    let by_ip = attached_by_ip(NEAR).unwrap();
    assert_eq!((by_ip.mode.as_str(), by_ip.name.as_str()), ("native", "xdp_drop"));
    assert_eq!(attached_by_xdp_loader(NEAR).as_ref(), Some(&by_ip));
    assert_eq!(text(&program(by_ip.id)["tag"]), by_ip.tag);
    assert_eq!(number(&bpftool(&["net", "show"])[0]["xdp"][0]["ifindex"]), u64::from(veth.near_index()));
    assert_eq!(veth.far.run(|| attached_by_ip(FAR)), None);
}

#[test]
fn frames_that_a_program_sends_back_are_seen_at_the_far_end() {
    let (_sandbox, veth) = need!(pair(&["bpftool"]));
    veth.let_far_receive_from_xdp();
    ip_attach("xdpdrv", &object("verdicts")).ok();
    let map = number(&program(attached_by_ip(NEAR).unwrap().id)["map_ids"][0]);
    assert_eq!(map_entries(map).len(), 2);
    let set = |key: u32, value: u32| {
        let [key, value] = [key, value].map(|n| n.to_ne_bytes().map(|byte| byte.to_string()).join(" "));
        let words = format!("map update id {map} key {key} value {value}");
        bpftool(&words.split(' ').collect::<Vec<_>>());
    };
    set(1, veth.near_index());
    let (near, far) = (Wire::near(), Wire::far(&veth));
    // XDP_TX, then XDP_REDIRECT.
    for verdict in [3, 4] {
        set(0, verdict);
        let frame = Frame::ipv4(&veth, &[], OTHER);
        far.send(&frame);
        far.assert_sees(&frame);
        near.assert_misses(&frame);
    }
}

#[test]
fn native_mode_minds_the_mtu() {
    let (_sandbox, veth) = need!(pair(&[]));
    veth.set_mtu(9000);
    ip_attach("xdpdrv", &object("xdp_drop")).fails(2).stderr_has("MTU");
    veth.set_mtu(1500);
    ip_attach("xdpdrv", &object("xdp_drop")).ok();
}

#[test]
fn a_far_namespace_has_a_name_and_a_path() {
    need!(tool("nsenter"));
    let (_sandbox, veth) = need!(pair(&[]));
    let net = format!("--net={}", veth.far.path().display());
    run(&mut command("nsenter", &[net.as_str(), "ip", "link", "show", FAR])).ok().stdout_has(FAR);
    run(&mut command("ip", &["netns", "list"])).ok().stdout_has("far");
}

#[test]
fn a_sandbox_has_its_own_bpffs_or_none() {
    need!(tool("bpftool"));
    let bare = thread::spawn(|| Sandbox::without_bpffs().map(|sandbox| sandbox.has_bpffs()));
    assert!(!need!(bare.join().unwrap()));

    let sandbox = need!(Sandbox::new());
    assert!(sandbox.has_bpffs());
    assert!(sandbox.pins().is_empty());
    let directory = Path::new("/sys/fs/bpf/one");
    fs::create_dir(directory).unwrap();
    let pin = directory.join("drop");
    // The same two instructions, whoever compiled them.
    run(&mut command(
        "bpftool",
        &["prog", "load", &object_by("clang-14", "xdp_drop"), pin.to_str().unwrap()],
    ))
    .ok();
    assert_eq!(sandbox.pins(), ["one", "one/drop"]);
    let outside = Path::new("/proc/1/root").join(pin.strip_prefix("/").unwrap());
    assert!(!outside.exists(), "the pin is to be seen from outside");
}

#[test]
fn nothing_outlives_a_sandbox() {
    let sandboxed = || {
        let (_sandbox, _veth) = pair(&["bpftool"])?;
        let pin = "/sys/fs/bpf/drop";
        run(&mut command("bpftool", &["prog", "load", &object("xdp_drop"), pin])).ok();
        ip_attach("xdpdrv", &object("xdp_pass")).ok();
        let pinned = number(&bpftool(&["prog", "show", "pinned", pin])["id"]);
        Ok([pinned, attached_by_ip(NEAR).unwrap().id])
    };
    for id in need!(thread::spawn(sandboxed).join().unwrap()) {
        leftovers::assert_program_goes(id);
    }
}

#[test]
fn a_process_left_behind_fails_its_test() {
    let sandboxed = || {
        let sandbox = Sandbox::new()?;
        let mut child = Command::new("sleep").arg("600").stdin(Stdio::null()).spawn().unwrap();
        let dropped = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(sandbox)));
        child.kill().unwrap();
        child.wait().unwrap();
        Ok(dropped.unwrap_err().downcast::<String>().unwrap())
    };
    let message = need!(thread::spawn(sandboxed).join().unwrap());
    assert!(message.contains("(sleep)"), "{message}");
}

#[test]
fn strace_sees_calls_and_makes_them_fail() {
    need!(tool("strace"));
    need!(tool("bpftool"));
    let sandbox = need!(Sandbox::new());
    let load = command("bpftool", &["prog", "load", &object("xdp_drop"), "/sys/fs/bpf/drop"]);
    let (ran, calls) = trace(&sandbox, "bpf", &load);
    ran.ok();
    let pin = calls.iter().position(|call| call.arguments.starts_with("BPF_OBJ_PIN")).unwrap();
    assert_eq!((calls[pin].name.as_str(), calls[pin].result.as_str()), ("bpf", "0"));
    assert!(calls.iter().all(|call| call.process == calls[0].process));

    fs::remove_file("/sys/fs/bpf/drop").unwrap();
    let nth = u32::try_from(pin + 1).unwrap();
    let fault = Fault { call: "bpf", errno: "ENOSPC", nth: (nth, nth) };
    let (ran, calls) = trace_with_fault(&sandbox, "bpf", fault, &load);
    ran.fails(255).stderr_has("failed to pin");
    assert!(calls[pin].result.starts_with("-1 ENOSPC"), "{:?}", calls[pin]);
    assert!(sandbox.pins().is_empty());
}

#[test]
fn the_program_runs_plain_and_under_strace() {
    need!(tool("strace"));
    let sandbox = need!(Sandbox::new());
    xdpload(&["--version"]).ok();
    let (ran, calls) = trace(&sandbox, "bpf", &xdpload_command(&["--version"]));
    ran.ok();
    assert_eq!(calls, []);
}
