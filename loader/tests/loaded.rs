//! What a load leaves in the hands of its caller: the object's types in the kernel, the interfaces, and how long calls
//! took.

mod alone;

use std::process::Command;

use loader::kernel::KernelVersion;
use loader::load::ExecuteOptions;
use loader::map::{Map, MapParams};
use loader::pin::BPFFS_ROOT;
use loader::{Interface, InterfaceRef, Kernel, Loader, Mode, Object, Target, attach};

use crate::alone::alone;

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/clang-19/count_percpu.o");

fn ip(words: &str) {
    let status = Command::new("ip").args(words.split(' ')).status();
    assert!(status.expect("this test needs ip(8)").success(), "ip {words}");
}

#[test]
fn the_caller_may_make_a_map_of_the_objects_types() {
    alone(|| {
        let object = Object::open(FIXTURE).expect("the fixture can be read");
        let kernel = Kernel::current().expect("a kernel has a version");
        let plan = Loader::new(&object).plan(&kernel).expect("the object can be planned");
        let loaded = plan.execute(|_| ()).expect("it can be loaded");
        let btf = loaded.btf().expect("this kernel takes types");
        let spec = object.maps.iter().find(|map| map.types.is_some()).expect("it has a map with types");
        let shape = spec.shape;
        let mut params =
            MapParams::new("another", shape.map_type, shape.key_size, shape.value_size, shape.max_entries);
        params.types = Some((btf, spec.types.expect("just looked")));
        let map = Map::create(&params).expect("the kernel knows these types");
        let ours = loaded.map(&spec.name).expect("it was made").info().expect("it tells of itself");
        assert_eq!(map.info().expect("it tells of itself").btf_id, ours.btf_id);
    });
}

#[test]
fn the_interface_stays_at_hand_when_its_name_changes() {
    alone(|| {
        ip("link add near0 type veth peer name far0");
        let object = Object::open(FIXTURE).expect("the fixture can be read");
        let kernel = Kernel::current().expect("a kernel has a version");
        let target = Target::new(InterfaceRef::named("near0").expect("a name")).mode(Mode::Generic);
        let plan = Loader::new(&object).attach_to(target).plan(&kernel).expect("the object can be planned");
        let loaded = plan.execute(|_| ()).expect("it can be loaded");
        ip("link set near0 name other0");

        let attached = loaded.attached().expect("the plan was to attach");
        let id = attached.info.as_ref().map(|info| info.id);
        let seen = attached.interface.look().expect("it is there");
        assert_eq!((&*seen.name, seen.xdp.programs()[0].id), ("other0", id));
        let detached = attach::detach(&attached.interface, id, BPFFS_ROOT).expect("it runs there");
        assert_eq!(detached[0].id, id);
        assert!(
            Interface::named("other0").and_then(|other| other.look()).expect("it is there").xdp.is_empty()
        );
    });
}

#[test]
fn what_is_at_the_address_of_an_arena_stays() {
    alone(|| {
        let kernel = Kernel::current().expect("a kernel has a version");
        let arenas_since = KernelVersion { major: 6, minor: 9, patch: 0 };
        if KernelVersion::current().expect("a kernel has a version").code() < arenas_since.code() {
            return;
        }
        let mut object =
            Object::open(FIXTURE.replace("count_percpu", "arena_address")).expect("it can be read");
        let run = |object: &Object| {
            let plan = Loader::new(object).plan(&kernel).expect("the object can be planned");
            plan.execute(|_| ()).map(drop).map_err(|error| error.to_string())
        };
        // Nothing of the first load is left there.
        assert_eq!([run(&object), run(&object)], [Ok(()), Ok(())]);
        let here = std::ptr::from_ref(&object).addr() & !0xffff;
        object.maps[0].shape.map_extra = u64::try_from(here).expect("an address has 64 bits");
        assert_eq!(run(&object), Err("mmap(2) for map `arena` failed: File exists (EEXIST)".to_owned()));
    });
}

#[test]
fn calls_are_timed_where_the_caller_asks_for_it() {
    alone(|| {
        let object = Object::open(FIXTURE).expect("the fixture can be read");
        let plan = Loader::new(&object).plan(&Kernel::unknown()).expect("the object can be planned");
        for timed in [false, true] {
            let options = ExecuteOptions { timed, ..ExecuteOptions::default() };
            let mut records = 0;
            let observe = |record: &loader::load::Record<'_>| {
                assert_eq!(record.took.is_some(), timed);
                assert_eq!(record.to_string().ends_with(" us)"), timed, "{record}");
                records += 1;
            };
            plan.execute_with(options, observe).expect("it can be loaded");
            assert!(records > 2);
        }
    });
}
