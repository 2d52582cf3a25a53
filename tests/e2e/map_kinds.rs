//! Maps of every kind that an object can define: made as libbpf makes them, and at work on packets.

use std::collections::BTreeMap;

use loader::{Kernel, Loader, Object};
use serde_json::Value;

use crate::objects::{object, object_by};
use crate::packets::assert_udp;
use crate::peers::{bpftool, number, number_of_cpus, text};
use crate::requirement::kernel;
use crate::sandbox::Sandbox;
use crate::veth::{FAR_V4, NEAR, pair};
use crate::xdpload::{answer, xdpload};

/// What bpftool tells of each map that is pinned in `dir`, without what differs from load to load.
fn pinned_in(dir: &str) -> BTreeMap<String, Value> {
    let pins = std::fs::read_dir(dir).expect("bpffs can be listed");
    pins.map(|pin| {
        let path = pin.expect("a pin has a name").path();
        let mut map = bpftool(&["map", "show", "pinned", &path.to_string_lossy()]);
        let fields = map.as_object_mut().expect("bpftool tells of a map");
        let has_types = fields.remove("btf_id").is_some();
        fields.insert("has_types".to_owned(), has_types.into());
        for field in ["id", "pids", "pinned", "bytes_memlock"] {
            fields.remove(field);
        }
        (path.file_name().expect("a pin has a name").to_string_lossy().into_owned(), map)
    })
    .collect()
}

/// Attaches `object` with all its maps pinned in a directory, and gives that.
fn attach_with_all_pinned(object: &str) -> &'static str {
    let maps = answer(&["inspect", object])["maps"].as_array().expect("a list of maps").clone();
    let pins = maps.iter().map(|map| {
        let name = text(&map["name"]);
        format!("--pin-map={name}=/sys/fs/bpf/ours/{name}")
    });
    let words = ["attach", NEAR, object].map(str::to_owned).into_iter().chain(pins);
    xdpload(&words.collect::<Vec<_>>()).ok();
    "/sys/fs/bpf/ours"
}

/// The kinds that libbpf 1.1, which is Debian's, knows: all but arenas.
#[test]
fn they_are_those_that_libbpf_makes() {
    need!(kernel((6, 2), "all kinds of maps"));
    for (clang, name, count) in [
        ("clang-14", "map_types", 34),
        ("clang-19", "map_types", 34),
        ("clang-14", "inner_maps", 6),
        ("clang-19", "inner_maps", 6),
        ("clang-19", "blacklist", 1),
    ] {
        let (_sandbox, _veth) = need!(pair(&["bpftool"]));
        let object = object_by(clang, name);
        bpftool(&["prog", "loadall", &object, "/sys/fs/bpf/programs", "pinmaps", "/sys/fs/bpf/theirs"]);
        let ours = pinned_in(attach_with_all_pinned(&object));
        assert_eq!(ours.len(), count, "{name}");
        let theirs = pinned_in("/sys/fs/bpf/theirs");
        for (map, told) in &theirs {
            assert_eq!(ours.get(map), Some(told), "{clang}/{name}: {map}");
        }
        assert_eq!(ours.len(), theirs.len());
        // What was pinned is found again, although the kernel has changed some of the numbers.
        xdpload(&["detach", NEAR]).ok();
        attach_with_all_pinned(&object);
    }
}

#[test]
fn a_plan_says_which_sizes_it_changes_and_why() {
    let plan = answer(&["plan", &object("map_types")]);
    let steps = plan["steps"].as_array().unwrap();
    let adapted: BTreeMap<_, _> = steps
        .iter()
        .filter(|step| step.get("adapted").is_some())
        .map(|step| (text(&step["calls"][0]["arguments"]["map_name"]), text(&step["adapted"])))
        .collect();
    let cpus = number_of_cpus();
    let ring = |asked, became| {
        format!(
            "a ring buffer is a power of two of pages of 4096 bytes: max_entries {asked} becomes {became}"
        )
    };
    let expected = [
        ("\"events\"", format!("one entry for each possible CPU: max_entries 0 becomes {cpus}")),
        ("\"odd_ring\"", ring(12288, 16384)),
        ("\"small_ring\"", ring(100, 4096)),
        ("\"user_ring\"", ring(5000, 8192)),
    ];
    assert_eq!(adapted, expected.map(|(map, why)| (map.to_owned(), why)).into());
    let lines = xdpload(&["plan", &object("map_types")]).ok();
    lines.stdout_has("pages of 4096 bytes: max_entries 100 becomes 4096");
}

#[test]
fn packets_go_by_the_maps_inside_a_map() {
    let (_sandbox, veth) = need!(pair(&[]));
    let pins = ["choice", "even", "odd"].map(|map| format!("--pin-map={map}=/sys/fs/bpf/{map}"));
    let attach = ["attach", NEAR, &object("inner_maps")].map(str::to_owned);
    xdpload(&[&attach[..], &pins].concat()).ok();
    let set = |map: &str, value: &str| {
        xdpload(&["map", "set", &format!("/sys/fs/bpf/{map}"), "0", value]).ok();
    };
    // Slot 0 has the map `even`, slot 3 the map `odd`, and the others have none.
    set("odd", "1");
    assert_udp(&veth, FAR_V4, 5);
    set("choice", "3");
    assert_udp(&veth, FAR_V4, 0);
    set("choice", "1");
    assert_udp(&veth, FAR_V4, 5);
    set("choice", "0");
    set("even", "1");
    assert_udp(&veth, FAR_V4, 0);
}

#[test]
fn a_map_of_maps_that_was_pinned_keeps_what_is_in_it() {
    let (_sandbox, _veth) = need!(pair(&["bpftool"]));
    let outer = "--pin-map=by_parity=/sys/fs/bpf/by_parity";
    let held = || bpftool(&["map", "dump", "pinned", "/sys/fs/bpf/by_parity"]);
    xdpload(&["attach", NEAR, &object("inner_maps"), outer]).ok();
    let before = held();
    assert!(before.to_string().contains("value"), "{before}");
    xdpload(&["attach", NEAR, &object("inner_maps"), outer, "--replace"]).ok();
    assert_eq!(held(), before);
}

/// It may be there, pinned by another program; where it is not, the kernel says no more than EINVAL.
#[test]
fn a_map_of_maps_that_nothing_describes_is_taken_only_from_its_pin() {
    let _sandbox = need!(Sandbox::new());
    let described = Object::open(object("inner_maps")).unwrap();
    let mut bare = described.clone();
    bare.maps.iter_mut().find(|map| map.name == "by_parity").unwrap().inner = None;
    let load = |object| {
        let loader = Loader::new(object).pin_map("by_parity", "/sys/fs/bpf/by_parity");
        loader.plan(&Kernel::current().unwrap()).unwrap().execute(|_| ())
    };
    let help = load(&bare).expect_err("nothing is pinned there").help().unwrap().to_string();
    assert!(help.contains("`__array(values, struct INNER)`"), "{help}");
    load(&described).unwrap();
    load(&bare).unwrap();
}

#[test]
fn a_program_shares_an_arena_with_user_space() {
    need!(kernel((6, 9), "arenas"));
    let (_sandbox, veth) = need!(pair(&["bpftool"]));
    let pins = ["arena", "filter", "counter"].map(|map| format!("--pin-map={map}=/sys/fs/bpf/{map}"));
    let attach = ["attach", NEAR, &object_by("clang-19", "arena")].map(str::to_owned);
    xdpload(&[&attach[..], &pins].concat()).ok();
    assert_udp(&veth, FAR_V4, 5);
    // The verifier has taken accesses by this number for accesses to the arena, wherever it points.
    xdpload(&["map", "set", "/sys/fs/bpf/counter", "0", "4096"]).ok();
    assert_udp(&veth, FAR_V4, 0);
    let arena = bpftool(&["map", "show", "pinned", "/sys/fs/bpf/arena"]);
    assert_eq!((number(&arena["max_entries"]), number(&arena["bytes_value"])), (2, 0));
    // Found again by its shape, with an address by now; and a filter by the number of its hash functions.
    xdpload(&["detach", NEAR]).ok();
    xdpload(&[&attach[..], &pins].concat()).ok();
}

#[test]
fn variables_in_an_arena_begin_with_what_the_file_says() {
    need!(kernel((6, 9), "arenas"));
    let (_sandbox, veth) = need!(pair(&[]));
    let object = object_by("clang-19", "arena_variables");
    xdpload(&["attach", NEAR, &object]).ok();
    // It passes packets only if two of them are there.
    assert_udp(&veth, FAR_V4, 5);
    // An arena with variables is made anew, as the maps of variables are.
    xdpload(&["attach", NEAR, &object, "--replace", "--keep-maps"]).ok();
    assert_udp(&veth, FAR_V4, 5);
    let at_an_address = object_by("clang-19", "arena_address");
    xdpload(&["attach", NEAR, &at_an_address, "--replace"]).ok();
    assert_udp(&veth, FAR_V4, 5);
    xdpload(&["detach", NEAR]).ok();
}

#[test]
fn a_filter_with_other_hash_functions_is_another_map() {
    need!(kernel((5, 16), "bloom filters"));
    let (_sandbox, _veth) = need!(pair(&[]));
    xdpload(&["attach", NEAR, &object("map_types"), "--pin-map=bloom_filter=/sys/fs/bpf/filter"]).ok();
    xdpload(&["detach", NEAR]).ok();
    let other = ["attach", NEAR, &object_by("clang-19", "arena"), "--pin-map=filter=/sys/fs/bpf/filter"];
    xdpload(&other).fails(1).stderr_has(
        "map `filter`: the one at `/sys/fs/bpf/filter` has another shape: map_extra is 0x3, wanted 0x5",
    );
}
