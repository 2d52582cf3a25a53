//! The packet programs on real frames: what the blacklist judges and what it leaves alone, the verdicts, the counters.

use std::thread;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::objects::{object, object_by};
use crate::packets::{Frame, Wire, ethertype};
use crate::peers::{bpftool, number, number_of_cpus, text};
use crate::requirement::Missing;
use crate::veth::{BLOCKED, NEAR, OTHER, Veth, pair};
use crate::xdpload::{answer, xdpload};

const INNER: (u16, u16) = (ethertype::VLAN, 7);
const OUTER: (u16, u16) = (ethertype::SERVICE_VLAN, 9);
/// None, one and two tags: as deep as the program looks.
const TAGS: [&[(u16, u16)]; 5] = [&[], &[INNER], &[OUTER], &[OUTER, INNER], &[INNER, INNER]];

/// Blocks a source by the blacklist in `object`, and sends one frame of each sort.
fn judge_frames(object: &str, mode: &str) -> Result<(), Missing> {
    let (_sandbox, veth) = pair(&[])?;
    xdpload(&["attach", NEAR, object, "--mode", mode]).ok();
    xdpload(&["map", "set", "near0:blacklist", &BLOCKED.to_string(), "1"]).ok();
    let (near, far) = (Wire::near(), Wire::far(&veth));
    for tags in TAGS {
        let frame = Frame::ipv4(&veth, tags, BLOCKED);
        far.send(&frame);
        near.assert_misses(&frame);
    }
    let harmless = TAGS.map(|tags| Frame::ipv4(&veth, tags, OTHER));
    for frame in harmless.iter().chain(&outside_its_reach(&veth)) {
        far.send(frame);
        near.assert_sees(frame);
    }
    Ok(())
}

/// Frames that are full of the blocked address, and of which none is to be judged by it.
fn outside_its_reach(veth: &Veth) -> Vec<Frame> {
    let blocked = |times| BLOCKED.octets().repeat(times);
    let cut = |tags: &[(u16, u16)], len| Frame::ipv4(veth, tags, BLOCKED).truncated(len);
    vec![
        Frame::ipv4(veth, &[OUTER, INNER, INNER], BLOCKED),
        Frame::new(veth, &[], ethertype::ARP, &blocked(7)),
        Frame::new(veth, &[INNER], ethertype::ARP, &blocked(7)),
        Frame::new(veth, &[], ethertype::IPV6, &blocked(10)),
        Frame::new(veth, &[OUTER, INNER], ethertype::IPV6, &blocked(10)),
        // No network header, half of one, one byte too little of one.
        cut(&[], 14),
        cut(&[], 14 + 12),
        cut(&[], 14 + 19),
        // The same under tags, and half of the inner tag. Half of the only one is no test: such a frame that passes is
        // dropped by the kernel before anybody sees it (`skb_vlan_untag` in net/core/skbuff.c).
        cut(&[INNER], 14 + 4 + 19),
        cut(&[OUTER, INNER], 14 + 4 + 2),
        cut(&[OUTER, INNER], 14 + 8 + 19),
    ]
}

#[test]
fn the_blacklist_judges_what_it_can_read_native() {
    need!(judge_frames(&object("blacklist"), "native"));
}

#[test]
fn the_blacklist_judges_what_it_can_read_generic() {
    need!(judge_frames(&object("blacklist"), "generic"));
}

#[test]
fn the_blacklist_judges_what_it_can_read_from_the_older_compiler() {
    need!(judge_frames(&object_by("clang-14", "blacklist_gobpf"), "native"));
}

/// Where a frame to the near end is seen.
enum Fate {
    Arrives,
    ComesBack,
    IsLost,
}

/// Chooses each verdict by the map and sends a frame.
fn show_verdicts(mode: &str) -> Result<(), Missing> {
    let (_sandbox, veth) = pair(&[])?;
    veth.let_far_receive_from_xdp();
    xdpload(&["attach", NEAR, &object("verdicts"), "--mode", mode]).ok();
    let set =
        |key: &str, value: u32| drop(xdpload(&["map", "set", "near0:verdict", key, &value.to_string()]).ok());
    // XDP_REDIRECT goes there.
    set("1", veth.near_index());
    let (near, far) = (Wire::near(), Wire::far(&veth));
    // XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT.
    let fates = [Fate::IsLost, Fate::IsLost, Fate::Arrives, Fate::ComesBack, Fate::ComesBack];
    for (verdict, fate) in (0..).zip(fates) {
        set("0", verdict);
        let frame = Frame::ipv4(&veth, &[], OTHER);
        far.send(&frame);
        match fate {
            Fate::Arrives => near.assert_sees(&frame),
            Fate::ComesBack => {
                far.assert_sees(&frame);
                near.assert_misses(&frame);
            }
            Fate::IsLost => {
                near.assert_misses(&frame);
                far.assert_misses(&frame);
            }
        }
    }
    Ok(())
}

#[test]
fn each_verdict_is_obeyed_in_native_mode() {
    need!(show_verdicts("native"));
}

#[test]
fn each_verdict_is_obeyed_in_generic_mode() {
    need!(show_verdicts("generic"));
}

#[test]
fn functions_that_are_joined_judge_frames() {
    for clang in ["clang-14", "clang-19"] {
        let (_sandbox, veth) = need!(pair(&[]));
        let (near, far) = (Wire::near(), Wire::far(&veth));
        xdpload(&["attach", NEAR, &object_by(clang, "subprog_call")]).ok();
        let arp = Frame::new(&veth, &[], ethertype::ARP, &[0; 28]);
        far.send(&arp);
        near.assert_misses(&arp);
        let ip = Frame::ipv4(&veth, &[], OTHER);
        far.send(&ip);
        near.assert_sees(&ip);
        xdpload(&["attach", NEAR, &object_by(clang, "subprog_sections"), "--replace"]).ok();
        let ip = Frame::ipv4(&veth, &[], OTHER);
        far.send(&ip);
        near.assert_misses(&ip);
        let arp = Frame::new(&veth, &[], ethertype::ARP, &[0; 28]);
        far.send(&arp);
        near.assert_sees(&arp);
    }
}

#[test]
fn a_global_variable_counts_frames() {
    let (_sandbox, veth) = need!(pair(&[]));
    veth.without_ipv6();
    xdpload(&["attach", NEAR, &object("global_data")]).ok();
    let (near, far) = (Wire::near(), Wire::far(&veth));
    for _ in 0..5 {
        let frame = Frame::ipv4(&veth, &[], OTHER);
        far.send(&frame);
        near.assert_sees(&frame);
    }
    assert_eq!(xdpload(&["map", "dump", "near0:global_d.bss"]).ok().stdout(), "seen: 5\n");
    // Constants are frozen.
    xdpload(&["map", "set", "near0:global_d.rodata", "0", "hex:01000000"])
        .fails(2)
        .stderr_has("the map is frozen");
}

#[test]
fn counters_of_all_cpus_add_up() {
    let (_sandbox, veth) = need!(pair(&["bpftool"]));
    veth.without_ipv6();
    xdpload(&["attach", NEAR, &object("count_percpu")]).ok();
    let maps = answer(&["status", NEAR])["interfaces"][0]["programs"][0]["maps"].clone();
    let (near, far) = (Wire::near(), Wire::far(&veth));
    let cpus = number_of_cpus();
    let frame = Frame::ipv4(&veth, &[], OTHER);
    for cpu in 0..cpus {
        send_on(cpu, &far, &frame, 10);
    }
    let last = Frame::ipv4(&veth, &[], OTHER);
    far.send(&last);
    near.assert_sees(&last);

    let sent = 10 * cpus as u64 + 1;
    for (map, total) in [("packets", sent), ("bytes", sent * 34)] {
        let entry = answer(&["map", "get", &format!("near0:{map}"), "0"]);
        let by_cpu: Vec<_> =
            entry["values"].as_array().unwrap().iter().map(|value| text(&value["text"])).collect();
        assert_eq!(by_cpu.len(), cpus, "{entry}");
        assert_eq!(by_cpu.iter().map(|value| value.parse::<u64>().unwrap()).sum::<u64>(), total);
        assert_eq!(number(&entry["sum"]), total);
        let line = format!("0: {total} (by CPU: {})\n", by_cpu.join(" "));
        assert_eq!(xdpload(&["map", "dump", &format!("near0:{map}")]).ok().stdout(), line);
        let id = maps.as_array().unwrap().iter().find(|own| own["name"] == map).unwrap()["id"].to_string();
        let witness = bpftool(&["map", "lookup", "id", &id, "key", "0", "0", "0", "0"]);
        assert_eq!(witness["values"].as_array().unwrap().len(), cpus);
    }
}

/// Sends `frame` that many `times` from `cpu`, or from any if that one is not there. A veth pair takes a frame in on
/// the CPU that sent it.
fn send_on(cpu: usize, wire: &Wire, frame: &Frame, times: usize) {
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut only = CpuSet::new();
            only.set(cpu).expect("the set is large enough");
            sched_setaffinity(Pid::from_raw(0), &only).ok();
            (0..times).for_each(|_| wire.send(frame));
        });
    });
}
