//! An interface that somebody else holds: libxdp's dispatcher, xdp-loader, a `bpf_link`, ip(8). They are named, and
//! stay as they are.

use std::path::Path;
use std::process;

use loader::attach::{self, Interface, Link};
use loader::netlink::Mode;
use loader::program::Program;

use crate::bench::refused;
use crate::command::{command, run};
use crate::objects::object;
use crate::peers::{attached_by_ip, attached_by_xdp_loader};
use crate::requirement::Missing;
use crate::veth::{NEAR, pair};
use crate::xdpload::xdpload;

/// Where Debian's libxdp has its dispatcher.
const DISPATCHER: &str = "/usr/lib/x86_64-linux-gnu/bpf/xdp-dispatcher.o";

/// Everything that would displace what is on the interface is refused with exit code 1 and `words`.
#[track_caller]
fn assert_unharmed(commands: &[&[&str]], words: &[&str]) {
    let before = attached_by_ip(NEAR);
    assert!(before.is_some());
    for command in commands {
        refused(command, 1, words);
        assert_eq!(attached_by_ip(NEAR), before);
    }
}

fn dispatcher() -> Result<&'static str, Missing> {
    if Path::new(DISPATCHER).exists() { Ok(DISPATCHER) } else { Err(Missing::new("libxdp's dispatcher")) }
}

#[test]
fn the_dispatcher_is_displaced_by_nobody() {
    let (_sandbox, _veth) = need!(pair(&["xdp-loader"]));
    let dispatcher = need!(dispatcher());
    for mode in ["native", "generic"] {
        // Not every kernel lets libxdp hang programs on it; it is the same dispatcher all the same.
        xdpload(&["attach", NEAR, dispatcher, "--mode", mode, "--prog", "xdp_dispatcher"]).ok();
        let id = attached_by_ip(NEAR).map(|program| program.id.to_string()).expect("it is attached");
        let pass = object("xdp_pass");
        let says = format!("XDP program {id} in {mode} mode is libxdp's dispatcher");
        let help = "help: `xdp-loader status` shows them, and `xdp-loader unload` takes them off";
        assert_unharmed(
            &[
                &["attach", NEAR, &pass, "--replace", "--mode", mode],
                &["attach", NEAR, &pass, "--replace", "--mode", mode, "--confirm=10m"],
                &["attach", NEAR, &pass, "--replace", "--link", "--mode", mode],
                &["detach", NEAR],
                &["detach", NEAR, "--confirm=10m"],
            ],
            &[&says, help],
        );
        assert_unharmed(&[&["attach", NEAR, &pass, "--mode", mode]], &["is there already"]);
        xdpload(&["detach", NEAR, "--id", &id]).ok();
        assert_eq!(attached_by_ip(NEAR), None);
    }
}

#[test]
fn what_xdp_loader_has_attached_goes_only_when_it_is_named() {
    let (_sandbox, _veth) = need!(pair(&["xdp-loader"]));
    let pass = object("xdp_pass");
    run(&mut command("xdp-loader", &["load", "-m", "native", NEAR, &object("xdp_drop")])).ok();
    let theirs = attached_by_xdp_loader(NEAR);
    xdpload(&["status", NEAR]).ok().stdout_has("xdp_drop");
    assert_unharmed(
        &[&["attach", NEAR, &pass], &["attach", NEAR, &pass, "--confirm=10m"]],
        &["is there already"],
    );
    assert_unharmed(&[&["detach", NEAR, "--id", "1"]], &["program 1 is not there, but XDP program"]);
    assert_eq!(attached_by_xdp_loader(NEAR), theirs);
    run(&mut command("xdp-loader", &["unload", NEAR, "--all"])).ok();
    // And the other way round: xdp-loader sees ours, and takes it off if it is told to.
    xdpload(&["attach", NEAR, &pass]).ok();
    assert_eq!(attached_by_xdp_loader(NEAR).map(|program| program.name), Some("xdp_pass".to_owned()));
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn a_link_is_named_with_its_pin_or_its_process() {
    let (_sandbox, _veth) = need!(pair(&[]));
    let pass = object("xdp_pass");
    let displace: [&[&str]; 3] = [
        &["attach", NEAR, &pass, "--replace"],
        &["attach", NEAR, &pass, "--replace", "--confirm=10m"],
        &["detach", NEAR],
    ];
    xdpload(&["attach", NEAR, &object("xdp_drop"), "--link", "--pin=/sys/fs/bpf/theirs"]).ok();
    let words = ["  rule: bpf_link ", ", pinned at `/sys/fs/bpf/theirs`, holds XDP program ", "--link"];
    assert_unharmed(&displace, &words);
    xdpload(&["detach", NEAR, "--link"]).ok();

    // In this process alone.
    xdpload(&["load", &object("xdp_drop"), "--pin=/sys/fs/bpf/one"]).ok();
    let program = Program::open_pinned(Path::new("/sys/fs/bpf/one/xdp_drop")).expect("it was pinned");
    let near = Interface::named(NEAR).expect("it is there");
    let link: Link = attach::attach_link(&program, &near, Mode::Native).expect("nothing was there");
    // A process that another test is about to start has it open as well, for a moment.
    let holder = format!("process {} (", process::id());
    assert_unharmed(&displace, &["bpf_link ", &holder]);
    assert_unharmed(
        &[&["detach", NEAR, "--link", "--confirm=10m"]],
        &["is not pinned, so that it could not be put back"],
    );
    link.detach().expect("it is ours");
}
