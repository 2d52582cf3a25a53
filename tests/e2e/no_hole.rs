//! Programs are replaced under traffic at full rate, and no packet meets an empty hook: sent = old + new, exactly.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use loader::map::Map;
use loader::program::Program;
use loader::{Kernel, Loader, Object};
use serde_json::Value;

use crate::objects::object;
use crate::peers::number;
use crate::requirement::{Missing, kernel};
use crate::sandbox::Sandbox;
use crate::veth::{NEAR, Veth, pair};
use crate::xdpload::answer;

/// How often the program is replaced.
const REPLACES: usize = 100;
/// Frames that are sent in one go.
const BURST: u32 = 2000;
/// How long the kernel may take to work off what was sent.
const PATIENCE: Duration = Duration::from_secs(20);

/// A sandbox whose kernel can generate frames.
fn bench() -> Result<(Sandbox, Veth), Missing> {
    kernel((5, 18), "BPF_F_TEST_XDP_LIVE_FRAMES")?;
    let (sandbox, veth) = pair(&[])?;
    veth.without_ipv6();
    Ok((sandbox, veth))
}

/// A program that sends every frame back where it came from, which is out of `far0` to `near0`.
fn generator() -> Program {
    let object = Object::open(object("verdicts")).expect("the object is sound");
    let plan = Loader::new(&object).plan(&Kernel::current().expect("the kernel says what it is"));
    let loaded = plan.and_then(|plan| plan.execute(|_| {})).expect("the program is sound");
    let tx = 3_u32;
    let map = loaded.map("verdict").expect("the object has it");
    map.update(&0_u32.to_ne_bytes(), &tx.to_ne_bytes(), loader::UpdateFlags::ANY).expect("it may be written");
    loaded.program("xdp_verdict").and_then(Program::try_clone).expect("it was loaded")
}

/// Frames that were handled by a program, by its own count.
struct Counter(Map);

impl Counter {
    /// The counter of the program that was attached, as `attached` tells of it.
    fn of(attached: &Value) -> Self {
        let ids = attached["program"]["map_ids"].as_array().expect("it has maps");
        let maps = ids.iter().map(|id| Map::from_id(u32::try_from(number(id)).expect("an id is small")));
        let maps = maps.map(|map| map.expect("the program holds its maps"));
        let is_counter = |map: &Map| map.info().is_ok_and(|info| info.name == "packets");
        Self(maps.into_iter().find(is_counter).expect("it counts packets"))
    }

    fn frames(&self) -> u64 {
        let value = self.0.lookup(&0_u32.to_ne_bytes()).expect("it may be read").expect("an array has it");
        value.all().map(|cpu| u64::from_ne_bytes(cpu.try_into().expect("it is a number"))).sum()
    }
}

/// Frames that the ring of `near0` had no room for, as its driver counts them.
fn lost() -> u64 {
    let path = Path::new("/sys/class/net").join(NEAR).join("statistics/rx_dropped");
    fs::read_to_string(path).expect("sysfs has it").trim().parse().expect("it is a number")
}

/// Ends what waits for it, also when a test fails: the sender would go on for ever.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What came of the frames that were sent while something was done.
#[derive(Debug)]
struct Traffic {
    sent: u64,
    /// Those that the ring between the interfaces had no room for.
    dropped: u64,
    /// Those that a program has seen.
    handled: u64,
}

impl Traffic {
    /// Sends frames to `near0` as fast as one CPU can while `work` is done, and counts them all. `work` is given the
    /// number of those that are sent, and gives the counters of the programs that were there.
    fn during(veth: &Veth, first: &Counter, work: impl FnOnce(&AtomicU64) -> Vec<Counter>) -> Self {
        let (program, stop, sent) = (generator(), AtomicBool::new(false), AtomicU64::new(0));
        // An IPv4 header of zeros is wrong: whoever lets it pass has the network stack throw it away, which its driver
        // does not count.
        let frame = [&veth.near_mac()[..], &[2, 0, 0, 0, 0, 9], &[8, 0], &[0; 46]].concat();
        let far = veth.far_index();
        let dropped = lost();
        let before = first.frames();
        let counters = thread::scope(|scope| {
            let sender = scope.spawn(|| {
                veth.far.run(|| {
                    while !stop.load(Ordering::Relaxed) {
                        program.send_live(&frame, far, BURST).expect("the kernel sends them");
                        sent.fetch_add(u64::from(BURST), Ordering::Relaxed);
                    }
                });
            });
            let stopping = Stop(&stop);
            // The traffic is there before anything is done.
            let deadline = Instant::now() + PATIENCE;
            while first.frames() == before {
                assert!(Instant::now() < deadline, "no frame has come");
                thread::yield_now();
            }
            let counters = work(&sent);
            drop(stopping);
            sender.join().expect("the sender does not panic");
            counters
        });
        let sent = sent.into_inner();
        let count = || {
            let handled = first.frames() + counters.iter().map(Counter::frames).sum::<u64>() - before;
            Self { sent, dropped: lost() - dropped, handled }
        };
        // What was sent last is on its way.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let now = count();
            if now.handled + now.dropped >= sent || Instant::now() > deadline {
                return now;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[track_caller]
    fn assert_whole(&self) {
        assert_eq!(self.handled + self.dropped, self.sent, "{self:?}");
        assert!(self.handled > 10_000, "that was no traffic: {self:?}");
    }
}

/// Replaces the counting program a hundred times with `options`.
fn replace_often(options: &[&str]) -> Vec<Counter> {
    let object = object("count_percpu");
    let attach = [&["attach", NEAR, &object, "--replace"], options].concat();
    (0..REPLACES).map(|_| Counter::of(&answer(&attach))).collect()
}

#[test]
fn by_netlink_no_frame_meets_an_empty_hook() {
    let (_sandbox, veth) = need!(bench());
    let first = Counter::of(&answer(&["attach", NEAR, &object("count_percpu")]));
    Traffic::during(&veth, &first, |_| replace_often(&[])).assert_whole();
    answer(&["detach", NEAR]);
}

#[test]
fn by_a_link_no_frame_meets_an_empty_hook() {
    let (_sandbox, veth) = need!(bench());
    let by_link = ["attach", NEAR, &object("count_percpu"), "--link", "--pin=/sys/fs/bpf/link"];
    let first = Counter::of(&answer(&by_link));
    Traffic::during(&veth, &first, |_| replace_often(&["--link"])).assert_whole();
    answer(&["detach", NEAR, "--link"]);
}

#[test]
fn kept_maps_count_every_frame() {
    let (_sandbox, veth) = need!(bench());
    let first = Counter::of(&answer(&["attach", NEAR, &object("count_percpu")]));
    let traffic = Traffic::during(&veth, &first, |_| {
        // They are all the first one's.
        replace_often(&["--keep-maps"]).clear();
        Vec::new()
    });
    traffic.assert_whole();
    answer(&["detach", NEAR]);
}

#[test]
fn a_roll_back_leaves_no_hole_either() {
    let (_sandbox, veth) = need!(bench());
    let first = Counter::of(&answer(&["attach", NEAR, &object("count_percpu")]));
    let traffic = Traffic::during(&veth, &first, |_| {
        let trial = answer(&["attach", NEAR, &object("count_percpu"), "--replace", "--confirm=1s"]);
        let deadline = Instant::now() + PATIENCE;
        let is_over = || answer(&["status", NEAR])["interfaces"][0]["trial"].is_null();
        let is_back = || {
            answer(&["status", NEAR])["interfaces"][0]["programs"][0]["id"]
                == trial["attached"][0]["replaced"]
        };
        let counter = Counter::of(&trial);
        while !(is_over() && is_back()) {
            assert!(Instant::now() < deadline, "it is not taken back");
        }
        vec![counter]
    });
    traffic.assert_whole();
    answer(&["detach", NEAR]);
}

#[test]
fn a_hole_would_be_seen() {
    let (_sandbox, veth) = need!(bench());
    let attach = || Counter::of(&answer(&["attach", NEAR, &object("count_percpu")]));
    let first = attach();
    let traffic = Traffic::during(&veth, &first, |sent| {
        answer(&["detach", NEAR]);
        // On a busy machine the sender may not have had its turn yet. One burst began before the hole, one is in it.
        let (before, deadline) = (sent.load(Ordering::Relaxed), Instant::now() + PATIENCE);
        while sent.load(Ordering::Relaxed) < before + 2 * u64::from(BURST) {
            assert!(Instant::now() < deadline, "nothing is sent");
            thread::yield_now();
        }
        vec![attach()]
    });
    assert!(traffic.handled + traffic.dropped < traffic.sent, "{traffic:?}");
    answer(&["detach", NEAR]);
}
