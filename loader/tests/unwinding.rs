//! An observer that panics, as `eprintln!` does when nobody reads standard error: the load is taken back.

mod alone;
mod dummy;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use loader::load::Record;
use loader::pin::BPFFS_ROOT;
use loader::plan::AttachBy;
use loader::{LinkRef, Mode, ModeChoice, Plan, Target, attach};

use crate::alone::alone;
use crate::dummy::{dummy, interface, loader, plan, running};

#[test]
fn a_panic_of_the_observer_leaves_nothing_behind() {
    alone(|| {
        let (near, object) = (interface(), dummy());
        let target = |replace| Target {
            link: LinkRef::named("near0").expect("a name"),
            netns: None,
            mode: ModeChoice::Only(Mode::Generic),
            replace,
            by: AttachBy::Netlink,
        };
        let attaching = |replace| plan(&loader(&object).program("prog2").attach_to(target(replace)));
        let calls = panic_at(&attaching(false), usize::MAX);
        let before = running(&near);
        assert_eq!(before.len(), 1, "without a panic it is attached");
        for at in 0..calls {
            panic_at(&attaching(true), at);
            assert_eq!(running(&near), before, "after a panic at call {at}");
        }
        attach::detach(&near, None, Path::new(BPFFS_ROOT)).expect("it is there");
        for made in ["custom", "dummy", "xdpload"].map(|name| Path::new(BPFFS_ROOT).join(name)) {
            assert!(!made.exists() || fs::remove_dir_all(made).is_ok());
        }
        for at in 0..calls {
            panic_at(&attaching(false), at);
            assert_eq!(running(&near), [], "after a panic at call {at}");
            let left: Vec<_> = fs::read_dir(BPFFS_ROOT).expect("a bpffs").collect();
            assert!(left.is_empty(), "after a panic at call {at}: {left:?}");
        }
    });
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
