//! The same blacklist in each of the four dialects of maps, from both compilers: it blocks, it unblocks, and what is
//! pinned is found again where the dialect's own loader has put it.

use crate::command::{command, run};
use crate::objects::{object, object_by};
use crate::packets::assert_udp;
use crate::peers::number;
use crate::requirement::{Missing, tool};
use crate::sandbox::Sandbox;
use crate::veth::{BLOCKED, NEAR, OTHER, pair};
use crate::xdpload::{answer, xdpload};

/// A dialect by its blacklist.
struct Dialect {
    object: &'static str,
    /// Where its map is pinned, relative to bpffs.
    pin: &'static str,
    /// Whether the object asks for the pin. Otherwise the command line does.
    pins_itself: bool,
}

const GOBPF: Dialect =
    Dialect { object: "blacklist_gobpf", pin: "globals/globals/blacklist", pins_itself: true };
const IPROUTE2: Dialect =
    Dialect { object: "blacklist_iproute2", pin: "xdp/globals/blacklist", pins_itself: true };
const LIBBPF: Dialect = Dialect { object: "blacklist_libbpf", pin: "edge/blacklist", pins_itself: false };
const BTF: Dialect = Dialect { object: "blacklist", pin: "edge/blacklist", pins_itself: false };

const BPFFS: &str = "/sys/fs/bpf";

impl Dialect {
    fn pin(&self) -> String {
        format!("{BPFFS}/{}", self.pin)
    }

    /// Attaches the object that `clang` has made, and gives the id of its map.
    #[track_caller]
    fn attach(&self, clang: &str) -> u64 {
        let object = object_by(clang, self.object);
        let pin_map = format!("--pin-map=blacklist={}", self.pin());
        let attach = ["attach", NEAR, &object, &pin_map];
        let words = if self.pins_itself { &attach[..3] } else { &attach };
        number(&answer(words)["program"]["map_ids"][0])
    }
}

/// Walks through a day of the blacklist. Each command is a process of its own, so that every change to the entries is
/// made after the process that loaded the program has ended.
fn block_and_unblock(clang: &str, dialect: &Dialect) -> Result<(), Missing> {
    let (sandbox, veth) = pair(&[])?;
    let blocked = BLOCKED.to_string();
    let in_map = ["near0:blacklist", &blocked];

    let map = dialect.attach(clang);
    assert!(sandbox.pins().contains(&dialect.pin.to_owned()), "{:?}", sandbox.pins());
    assert_udp(&veth, BLOCKED, 5);

    xdpload(&["map", "set", in_map[0], in_map[1], "1"]).ok();
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, OTHER, 5);

    xdpload(&["map", "delete", in_map[0], in_map[1]]).ok();
    assert_udp(&veth, BLOCKED, 5);

    xdpload(&["map", "set", in_map[0], in_map[1], "7"]).ok();
    xdpload(&["detach", NEAR]).ok();
    assert_udp(&veth, BLOCKED, 5);

    // Nothing holds the map but its pin.
    let entry = format!("{blocked}: 7\n");
    let dump = xdpload(&["map", "dump", &dialect.pin(), "--key-format", "ipv4"]).ok();
    assert_eq!(dump.stdout(), entry);

    assert_eq!(dialect.attach(clang), map, "the second attach takes the map that is pinned");
    assert_udp(&veth, BLOCKED, 0);
    assert_udp(&veth, OTHER, 5);

    xdpload(&["map", "delete", &dialect.pin(), &blocked]).ok();
    assert_udp(&veth, BLOCKED, 5);
    xdpload(&["detach", NEAR]).ok();
    Ok(())
}

#[test]
fn gobpf_from_clang_14() {
    need!(block_and_unblock("clang-14", &GOBPF));
}

#[test]
fn gobpf_from_clang_19() {
    need!(block_and_unblock("clang-19", &GOBPF));
}

#[test]
fn iproute2_from_clang_14() {
    need!(block_and_unblock("clang-14", &IPROUTE2));
}

#[test]
fn iproute2_from_clang_19() {
    need!(block_and_unblock("clang-19", &IPROUTE2));
}

#[test]
fn libbpf_from_clang_14() {
    need!(block_and_unblock("clang-14", &LIBBPF));
}

#[test]
fn libbpf_from_clang_19() {
    need!(block_and_unblock("clang-19", &LIBBPF));
}

#[test]
fn btf_from_clang_14() {
    need!(block_and_unblock("clang-14", &BTF));
}

#[test]
fn btf_from_clang_19() {
    need!(block_and_unblock("clang-19", &BTF));
}

#[test]
fn a_map_goes_from_one_dialect_to_another() {
    let (_sandbox, veth) = need!(pair(&[]));
    let map = GOBPF.attach("clang-14");
    xdpload(&["map", "set", "near0:blacklist", &BLOCKED.to_string(), "1"]).ok();
    // The same shape, so that the object of today takes over the entries of the old one.
    let pin_map = format!("--pin-map=blacklist={}", GOBPF.pin());
    let replaced = answer(&["attach", NEAR, &object("blacklist"), &pin_map, "--replace"]);
    assert_eq!(number(&replaced["program"]["map_ids"][0]), map);
    assert_udp(&veth, BLOCKED, 0);
}

#[test]
fn iproute2_pins_for_one_object_by_the_hash_of_its_file() {
    let (sandbox, _veth) = need!(pair(&["sha1sum"]));
    let mut hashes = Vec::new();
    for clang in ["clang-14", "clang-19"] {
        let object = object_by(clang, "iproute2_ids");
        let sum = run(&mut command("sha1sum", &[&object])).ok();
        hashes.push(sum.stdout().split(' ').next().unwrap().to_owned());
        xdpload(&["attach", NEAR, &object, "--replace"]).ok();
    }
    let mut expected = vec!["xdp".to_owned(), "xdp/globals".to_owned(), "xdp/globals/shared".to_owned()];
    for hash in hashes {
        expected.extend([format!("xdp/{hash}"), format!("xdp/{hash}/inner")]);
    }
    expected.sort();
    assert_eq!(sandbox.pins(), expected);
}

#[test]
fn gobpf_leaves_some_pins_to_the_caller() {
    let (sandbox, _veth) = need!(pair(&[]));
    let object = object("gobpf_dummy");
    let attach = ["attach", NEAR, &object, "--prog", "prog1"];
    xdpload(&attach).fails(2).stderr_has("`dummy_array` asks for a pin path").stderr_has("--pin-map");
    assert_eq!(sandbox.pins(), [""; 0]);

    let pin_map = "--pin-map=dummy_array=/sys/fs/bpf/edge/array";
    xdpload(&[&attach[..], &[pin_map]].concat()).ok();
    let globals = ["dummy", "dummy/globals", "dummy/globals/dummy_hash"];
    assert_eq!(sandbox.pins(), [&globals[..], &["edge", "edge/array"]].concat());
}

#[test]
fn btf_maps_are_pinned_by_name_where_the_caller_likes() {
    need!(tool("ip"));
    let sandbox = need!(Sandbox::new());
    // A private namespace has an interface to attach to already.
    let attach = ["attach", "lo", &object("many"), "--prog", "pass_all", "--mode", "generic"];
    xdpload(&[&attach[..], &["--pin-maps-under", "/sys/fs/bpf/edge"]].concat()).ok();
    assert_eq!(sandbox.pins(), ["edge", "edge/by_source"]);
    xdpload(&[&attach[..], &["--replace"]].concat()).ok();
    assert_eq!(sandbox.pins(), ["by_source", "edge", "edge/by_source"]);
}
