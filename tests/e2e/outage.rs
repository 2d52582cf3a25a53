//! What the user of a network notices of a program that drops everything.

use std::time::Duration;

use crate::http::{Answer, Server};
use crate::objects::{object, object_by};
use crate::requirement::Missing;
use crate::veth::{NEAR, NEAR_V4, pair};
use crate::xdpload::xdpload;

/// A request is answered before `object` is attached and after it is detached; in between it gets nothing.
fn interrupt(object: &str) -> Result<(), Missing> {
    let (_sandbox, veth) = pair(&["curl"])?;
    let server = Server::start(NEAR_V4);
    let patient = || server.ask_from(&veth.far, Duration::from_secs(10));
    for mode in ["native", "generic"] {
        assert_eq!(patient(), Answer::Status(200));
        xdpload(&["attach", NEAR, object, "--mode", mode]).ok();
        assert_eq!(server.ask_from(&veth.far, Duration::from_millis(300)), Answer::TimedOut);
        xdpload(&["detach", NEAR]).ok();
    }
    assert_eq!(patient(), Answer::Status(200));
    Ok(())
}

#[test]
fn from_section_xdp() {
    need!(interrupt(&object("xdp_drop")));
}

#[test]
fn from_section_xdp_by_the_older_compiler() {
    need!(interrupt(&object_by("clang-14", "xdp_drop")));
}

#[test]
fn from_section_prog() {
    need!(interrupt(&object("xdp_drop_prog")));
}
