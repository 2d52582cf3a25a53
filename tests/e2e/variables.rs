//! Global variables from the command line: constants before the load, the others once they are loaded.

use crate::bench::refused;
use crate::objects::object;
use crate::packets::assert_udp;
use crate::veth::{NEAR, OTHER, pair};
use crate::xdpload::xdpload;

#[test]
fn a_constant_that_is_set_rules_the_packets() {
    let (_sandbox, veth) = need!(pair(&["bpftool"]));
    let object = object("global_data");
    xdpload(&["attach", NEAR, &object]).ok();
    assert_udp(&veth, OTHER, 5);
    xdpload(&["attach", NEAR, &object, "--replace", "--set", "drop_every=1"]).ok();
    assert_udp(&veth, OTHER, 0);
    let plan = xdpload(&["plan", &object, "--set", "drop_every=0x01020304", "-v"]).ok();
    plan.stdout_has("04030201");

    let words = [
        "setting `drop_every`: -1 is out of range for a __u32 of 4 bytes: 0 to 4294967295",
        "setting `drop`: there is no variable `drop`: the object has `drop_every`, `seen`",
        "setting `seen`: it is not constant, but in section `.bss`\n  \
         help: set it after loading: xdpload map set IF:.bss seen VALUE",
    ];
    for (setting, words) in ["drop_every=-1", "drop=1", "seen=1"].into_iter().zip(words) {
        for command in [&["plan"][..], &["attach", NEAR]] {
            refused(&[command, &[&object, "--set", setting]].concat(), 2, &[words]);
        }
    }
    refused(&["plan", &object, "--set", "drop_every"], 2, &["expected NAME=VALUE"]);
    refused(&["plan", &object, "--set", "drop_every=[1"], 2, &["`[1` is no JSON: EOF while parsing a list"]);
}
