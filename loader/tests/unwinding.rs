//! An observer that panics, as `eprintln!` does when nobody reads standard error: the load is taken back.

mod alone;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;

use loader::load::Record;
use loader::netlink::XdpProgram;
use loader::pin::BPFFS_ROOT;
use loader::{Interface, InterfaceRef, Kernel, Loader, Mode, Object, Plan, Target, attach};

use crate::alone::alone;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/clang-19/tail_calls.o");

#[test]
fn a_panic_of_the_observer_leaves_nothing_behind() {
    alone(|| {
        let add = ["link", "add", "near0", "type", "veth", "peer", "name", "far0"];
        assert!(Command::new("ip").args(add).status().expect("this test needs ip(8)").success());
        let near = Interface::named("near0").expect("it has been made");
        let object = Object::open(FIXTURE).expect("the fixture can be read");
        let empty = names_in_bpffs();

        let calls = panic_at(&attaching(&object, false), usize::MAX);
        let before = running(&near);
        assert_eq!(before.len(), 1, "without a panic it is attached");
        for at in 0..calls {
            panic_at(&attaching(&object, true), at);
            assert_eq!(running(&near), before, "after a panic at call {at}");
        }
        attach::detach(&near, None, BPFFS_ROOT).expect("it is there");
        fs::remove_dir_all(Path::new(BPFFS_ROOT).join("xdpload")).expect("prog arrays were pinned there");
        for at in 0..calls {
            panic_at(&attaching(&object, false), at);
            assert_eq!(running(&near), [], "after a panic at call {at}");
            assert_eq!(names_in_bpffs(), empty, "after a panic at call {at}");
        }
    });
}

fn attaching(object: &Object, replace: bool) -> Plan {
    let near = InterfaceRef::named("near0").expect("a name");
    let target = Target::new(near).mode(Mode::Generic).replace(replace);
    let loader = Loader::new(object).program("enter").all_programs().attach_to(target);
    loader.plan(&Kernel::current().expect("a kernel has a version")).expect("the object can be planned")
}

/// The kernel has its own there from the beginning.
fn names_in_bpffs() -> BTreeSet<OsString> {
    let files = fs::read_dir(BPFFS_ROOT).expect("a bpffs");
    files.map(|file| file.expect("nobody changes it").file_name()).collect()
}

fn running(interface: &Interface) -> Vec<XdpProgram> {
    interface.look().expect("the interface is there").xdp.programs().to_vec()
}

/// Executes the plan with an observer that panics at call `at`, and returns how many calls it has seen.
fn panic_at(plan: &Plan, at: usize) -> usize {
    let mut seen = 0;
    let observe = |_: &Record<'_>| {
        seen += 1;
        assert!(seen <= at, "at call {at}");
    };
    match catch_unwind(AssertUnwindSafe(|| plan.execute(observe))) {
        Ok(loaded) => drop(loaded.expect("nothing else fails")),
        Err(_) => assert_eq!(seen, at + 1, "who has panicked hears of nothing more"),
    }
    seen
}
