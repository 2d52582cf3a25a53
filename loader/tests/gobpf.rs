//! What a user of gobpf counts on, call by call: the tests that docs/coming-from-gobpf.md names.
//!
//! The object is the one that gobpf's own tests would take: two programs, ten maps of as many types, one map pinned
//! by namespace and one where the caller says, for whatever kernel is running.

mod alone;
mod dummy;
mod output;

use std::collections::HashSet;
use std::fs::{self, DirBuilder};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use loader::attach::{attach, detach, replace, replace_running};
use loader::error::ErrorKind;
use loader::kernel::{self, KernelVersion};
use loader::load::Record;
use loader::map::{MapParams, PerfRecord};
use loader::object::{MapDialect, MapShape, Pinning};
use loader::pin::{self, BPFFS_ROOT};
use loader::plan::Call;
use loader::program::{ProgramParams, VerifierLog};
use loader::uapi::bpf::{AttachType, BPF_ANY, BPF_EXIST, BPF_F_NO_PREALLOC, BPF_NOEXIST, MapType, XdpAction};
use loader::{InterfaceRef, Kernel, Loader, Map, Mode, ModeChoice, Object, Program, Target, UpdateFlags};
use nix::libc::ENOENT;
use nix::time::{ClockId, clock_gettime};

use crate::alone::alone;
use crate::dummy::{
    CLANGS, CUSTOM, GLOBAL, count, dummy, dummy_with, id, interface, ip, key, load, load_and_record, loader,
    loads, path, plan, running, value,
};
use crate::output::{cpus, events, run, writer};

// The module: section 1 of the document.

#[test]
fn a_module_is_an_object() {
    for clang in CLANGS {
        let object = Object::open(path(clang, "gobpf_dummy")).unwrap();
        let sections: Vec<_> =
            object.programs.iter().map(|program| program.function.section.as_str()).collect();
        assert_eq!(sections, ["xdp/prog1", "xdp/prog2"]);
        assert_eq!(object.maps.len(), 10);
        assert!(object.maps.iter().all(|map| map.dialect == MapDialect::Gobpf));
        assert!(object.maps.iter().all(|map| map.section == format!("maps/{}", map.name)));
    }
    assert_eq!(Object::open("no-such.o").unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_reader_is_read_to_its_end() {
    let mut bytes = Vec::new();
    let mut reader = fs::File::open(path("clang-19", "gobpf_dummy")).unwrap();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(Object::parse(&bytes).unwrap(), dummy());
}

#[test]
fn the_log_comes_with_the_refusal() {
    alone(|| {
        let refused = Object::open(path("clang-19", "reject/packet_unchecked")).unwrap();
        let error = plan(&Loader::new(&refused).all_programs()).execute(|_| {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::VerifierRejected);
        let log = error.verifier_log().unwrap();
        assert!(log.contains("invalid access to packet") && !log.contains('\0'), "{log}");

        let object = dummy();
        assert_eq!(
            count(&load_and_record(&loader(&object)).1, "BPF_PROG_LOAD"),
            2,
            "a good program needs no log"
        );
    });
}

/// What `Log` gives for a program that was taken.
#[test]
fn a_log_of_a_good_program_is_asked_for() {
    alone(|| {
        let insns = [0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];
        let params = ProgramParams::new("pass", c"GPL", &insns);
        let mut log = VerifierLog::new(VerifierLog::PATH);
        Program::load(&params, Some(&mut log)).unwrap();
        assert!(log.text().contains("processed 2 insns"), "{}", log.text());
    });
}

#[test]
fn load_makes_every_map_and_program() {
    alone(|| {
        for clang in CLANGS {
            let object = Object::open(path(clang, "gobpf_dummy")).unwrap();
            let loaded = load(&loader(&object));
            assert_eq!((loaded.maps().count(), loaded.programs().count()), (10, 2));
            for (name, map) in loaded.maps() {
                let wanted = object.map(name).unwrap().shape;
                assert_eq!((map.map_type(), map.max_entries()), (wanted.map_type, wanted.max_entries));
            }
            let maps = loaded.program("prog1").unwrap().info().unwrap().map_ids;
            let used: Vec<_> = ["dummy_array", "dummy_hash"].map(|name| id(loaded.map(name).unwrap())).into();
            assert_eq!(HashSet::<u32>::from_iter(maps), HashSet::from_iter(used), "{clang}");
            assert!(loaded.program("prog2").unwrap().info().unwrap().map_ids.is_empty());
            pin::unpin(Path::new(GLOBAL)).unwrap();
            pin::unpin(Path::new(CUSTOM)).unwrap();
        }
    });
}

#[test]
fn a_load_that_fails_leaves_nothing() {
    alone(|| {
        // No map has this flag, so that the third map fails when two have been pinned.
        let object = dummy_with("maps/dummy_prog_array", 16, &(1_u32 << 31).to_le_bytes()).unwrap();
        let plan = plan(&loader(&object));
        let mut pinned = 0;
        let count_pins = |record: &Record<'_>| {
            pinned += record.kernel_calls().iter().filter(|call| call.command == Some("BPF_OBJ_PIN")).count();
        };
        plan.execute(count_pins).unwrap_err();
        assert_eq!(pinned, 2);
        for name in ["dummy", "custom"] {
            assert!(!Path::new(BPFFS_ROOT).join(name).exists(), "{name}");
        }
    });
}

#[test]
fn max_entries_are_overridden() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object).max_entries("dummy_hash", 1024));
        assert_eq!(loaded.map("dummy_hash").unwrap().max_entries(), 1024);
        assert_eq!(loaded.map("dummy_lru_hash").unwrap().max_entries(), 128);
        let unknown = loader(&object).max_entries("hash", 1024).plan(&Kernel::unknown()).unwrap_err();
        assert!(unknown.to_string().starts_with("there is no map `hash`: the object has "), "{unknown}");
    });
}

#[test]
fn the_caller_gives_the_custom_path() {
    alone(|| {
        let object = dummy();
        let all = Loader::new(&object).all_programs();
        let error = all.plan(&Kernel::unknown()).unwrap_err();
        assert_eq!(error.to_string(), "map `dummy_array` asks for a pin path from its loader (pinning 3)");
        let loaded = load(&all.pin_map("dummy_array", CUSTOM));
        let pinned = Map::open_pinned(Path::new(CUSTOM)).unwrap();
        assert_eq!(id(&pinned), id(loaded.map("dummy_array").unwrap()));
    });
}

#[test]
fn close_leaves_pins() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        let map = loaded.map("dummy_hash").unwrap();
        map.update(&key(7), &value(1), UpdateFlags::ANY).unwrap();
        let (map, program) = (id(map), loaded.program("prog2").unwrap().info().unwrap().id);
        drop(loaded);
        let again = Map::open_pinned(Path::new(GLOBAL)).unwrap();
        assert_eq!(id(&again), map);
        assert!(again.lookup(&key(7)).unwrap().is_some());
        // A child process of another test may hold copies of all fds until it has become ip(8).
        let deadline = Instant::now() + Duration::from_secs(10);
        while Program::from_id(program).is_ok() {
            assert!(Instant::now() < deadline, "the program outlives its last fd");
            thread::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn unpinning_is_told_by_the_plan() {
    alone(|| {
        let object = dummy();
        let plan = plan(&loader(&object));
        plan.execute(|_| {}).unwrap();
        let pins: Vec<_> = plan.pins().collect();
        assert_eq!(pins.len(), 2);
        assert!(pins.contains(&("dummy_hash", GLOBAL)) && pins.contains(&("dummy_array", CUSTOM)));
        for (_, path) in pins {
            pin::unpin(Path::new(path)).unwrap();
            assert!(!Path::new(path).exists());
        }
    });
}

// Programs and interfaces: section 2.

#[test]
fn attach_never_displaces_unasked() {
    alone(|| {
        let interface = interface();
        let object = dummy();
        let loaded = load(&loader(&object));
        let [first, second] = ["xdp/prog1", "xdp/prog2"].map(|name| loaded.program(name).unwrap());
        let attached = attach(first, &interface, ModeChoice::Auto).unwrap();
        let (mode, first_id) = (attached.mode(), first.info().unwrap().id);
        assert_eq!((mode, attached.native_refusal().is_none()), (Mode::Native, true));
        attached.persist();
        assert_eq!(running(&interface), [(Mode::Native, first_id)]);

        let error = attach(second, &interface, ModeChoice::Auto).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains(&format!("XDP program {first_id} in native mode")), "{error}");
        assert_eq!(running(&interface), [(Mode::Native, first_id)]);
    });
}

#[test]
fn replacing_names_what_is_replaced() {
    alone(|| {
        let interface = interface();
        let object = dummy();
        let loaded = load(&loader(&object));
        let [first, second] = ["xdp/prog1", "xdp/prog2"].map(|name| loaded.program(name).unwrap());
        attach(first, &interface, Mode::Native).unwrap().persist();

        // Whatever runs there.
        replace_running(second, &interface, ModeChoice::Auto, None, BPFFS_ROOT).unwrap().persist();
        let second_id = second.info().unwrap().id;
        assert_eq!(running(&interface), [(Mode::Native, second_id)]);

        // Only the program that is meant.
        let error = replace(first, first, &interface, Mode::Native).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert_eq!(running(&interface), [(Mode::Native, second_id)]);
        replace(second, first, &interface, Mode::Native).unwrap().persist();
        assert_eq!(running(&interface), [(Mode::Native, first.info().unwrap().id)]);
    });
}

#[test]
fn flags_are_modes() {
    alone(|| {
        let interface = interface();
        let object = dummy();
        let loaded = load(&loader(&object));
        let program = loaded.program("xdp/prog2").unwrap();
        let id = program.info().unwrap().id;
        for mode in [Mode::Generic, Mode::Native] {
            let attached = attach(program, &interface, mode).unwrap();
            assert_eq!(running(&interface), [(mode, id)]);
            attached.detach().unwrap();
        }
        let refused = attach(program, &interface, Mode::Offload).unwrap_err();
        assert!(refused.to_string().starts_with("attaching to `near0`: offload mode: "), "{refused}");
        assert!(running(&interface).is_empty());
    });
}

#[test]
fn the_kernels_words_are_in_the_error() {
    alone(|| {
        let interface = interface();
        // In native mode veth takes only what fits a page.
        ip("link set far0 mtu 9000");
        let object = dummy();
        let loaded = load(&loader(&object));
        let error = attach(loaded.program("prog1").unwrap(), &interface, Mode::Native).unwrap_err();
        let words = error.kernel_message().unwrap();
        assert!(words.contains("MTU"), "{words}");
        assert!(error.to_string().contains(words), "{error}");
    });
}

#[test]
fn a_dropped_attachment_is_taken_off() {
    alone(|| {
        let interface = interface();
        let object = dummy();
        let loaded = load(&loader(&object));
        let attached = attach(loaded.program("prog1").unwrap(), &interface, Mode::Generic).unwrap();
        drop(loaded);
        assert_eq!(running(&interface).len(), 1);
        drop(attached);
        assert!(running(&interface).is_empty());
    });
}

#[test]
fn detach_takes_off_what_runs_in_its_mode() {
    alone(|| {
        let (interface, bpffs) = (interface(), Path::new(BPFFS_ROOT));
        let object = dummy();
        let loaded = load(&loader(&object));
        let program = loaded.program("xdp/prog1").unwrap();
        let id = program.info().unwrap().id;
        for mode in [Mode::Generic, Mode::Native] {
            attach(program, &interface, mode).unwrap().persist();
            assert_eq!(detach(&interface, Some(id + 1), bpffs).unwrap_err().kind(), ErrorKind::Conflict);
            let gone = detach(&interface, None, bpffs).unwrap();
            assert_eq!((gone.len(), gone[0].mode, gone[0].id), (1, mode, Some(id)));
            assert!(running(&interface).is_empty());
        }
        assert_eq!(detach(&interface, None, bpffs).unwrap_err().kind(), ErrorKind::NotFound);
    });
}

/// The one call of `xdpload attach`: load, attach, and take all of it back if that fails.
#[test]
fn a_plan_attaches_one_of_all_programs() {
    alone(|| {
        let interface = interface();
        let object = dummy();
        let target = Target::new(InterfaceRef::named("near0").unwrap()).mode(ModeChoice::Auto);
        let all = loader(&object).attach_to(target);
        assert!(all.plan(&Kernel::unknown()).unwrap_err().to_string().starts_with("choose one program: "));
        let loaded = load(&all.clone().program("xdp/prog2"));
        let id = loaded.program("prog2").unwrap().info().unwrap().id;
        assert_eq!(running(&interface), [(Mode::Native, id)]);
        let error = plan(&all.program("xdp/prog1")).execute(|_| {}).unwrap_err();
        assert_eq!((error.kind(), running(&interface)), (ErrorKind::Conflict, vec![(Mode::Native, id)]));
    });
}

#[test]
fn programs_are_listed() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        let names: Vec<_> = loaded.programs().map(|(name, _)| name).collect();
        assert_eq!(names, ["prog1", "prog2"]);
    });
}

#[test]
fn a_program_is_found_by_its_section() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        for (section, symbol) in [("xdp/prog1", "prog1"), ("xdp/prog2", "prog2")] {
            assert_eq!(object.program(section).unwrap().function.name, symbol);
            let by_section = loaded.program(section).unwrap().info().unwrap();
            assert_eq!(by_section, loaded.program(symbol).unwrap().info().unwrap());
            assert_eq!(by_section.name, symbol);
        }
        assert_eq!(
            loaded.program("xdp/prog3").unwrap_err().to_string(),
            "there is no program `xdp/prog3` among `prog1`, `prog2`"
        );
    });
}

#[test]
fn fds_are_lent() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        let program = loaded.program("prog1").unwrap();
        assert_eq!(pin::kind(program.as_fd()), Some(pin::Kind::Program));
        assert_eq!(pin::kind(loaded.map("dummy_hash").unwrap().as_fd()), Some(pin::Kind::Map));
        let own = program.as_fd().try_clone_to_owned().unwrap();
        assert_eq!(Program::from_fd(own).unwrap().info().unwrap(), program.info().unwrap());
    });
}

#[test]
fn a_program_is_run_on_a_packet() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        let packet: Vec<u8> = (0..64).collect();
        for (name, verdict) in [("xdp/prog1", XdpAction::PASS), ("xdp/prog2", XdpAction::DROP)] {
            let run = loaded.program(name).unwrap().test_run(&packet, 10).unwrap();
            assert_eq!((run.verdict, &run.packet), (verdict, &packet));
        }
        // What the first program writes to maps is written.
        assert!(loaded.map("dummy_hash").unwrap().lookup(&key(0)).unwrap().is_some());
        let short = loaded.program("prog2").unwrap().test_run(&packet[..13], 1).unwrap_err();
        assert!(
            short.to_string().starts_with("expected a frame of at least 14 bytes, found 13: "),
            "{short}"
        );
    });
}

// Maps: section 3.

#[test]
fn maps_are_listed() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        let names: Vec<_> = loaded.maps().map(|(name, _)| name).collect();
        assert_eq!(names, object.maps.iter().map(|map| map.name.as_str()).collect::<Vec<_>>());
        assert!(names.iter().all(|name| name.starts_with("dummy_")));
    });
}

#[test]
fn a_map_is_found_by_its_name() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        assert_eq!(loaded.map("dummy_lpm_trie").unwrap().map_type(), MapType::LPM_TRIE);
        let error = loaded.map("maps/dummy_lpm_trie").unwrap_err();
        assert!(error.to_string().starts_with("there is no map `maps/dummy_lpm_trie` among `"), "{error}");
    });
}

#[test]
fn updates_take_the_kernels_flags() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        let map = loaded.map("dummy_hash").unwrap();
        let flags = [UpdateFlags::ANY, UpdateFlags::NO_EXIST, UpdateFlags::EXIST].map(|flags| flags.0);
        assert_eq!(flags, [BPF_ANY, BPF_NOEXIST, BPF_EXIST]);
        assert_eq!(
            map.update(&key(1), &value(1), UpdateFlags::EXIST).unwrap_err().kind(),
            ErrorKind::NotFound
        );
        map.update(&key(1), &value(1), UpdateFlags::NO_EXIST).unwrap();
        let there = map.update(&key(1), &value(1), UpdateFlags::NO_EXIST).unwrap_err();
        assert_eq!(there.kind(), ErrorKind::Conflict);
        let short = map.update(&key(1), &key(1), UpdateFlags::ANY).unwrap_err();
        assert_eq!(short.to_string(), "map `dummy_hash`: expected a value of 8 bytes, found 4");
    });
}

#[test]
fn a_lookup_tells_none_from_failed() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        let map = loaded.map("dummy_hash").unwrap();
        assert_eq!(map.lookup(&key(5)).unwrap(), None);
        map.update(&key(5), &value(6), UpdateFlags::ANY).unwrap();
        assert_eq!(map.lookup(&key(5)).unwrap().unwrap().single(), Some(&value(6)[..]));
        assert_eq!(map.lookup(&[5]).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn each_cpu_has_its_value() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        let cpus = kernel::possible_cpus().unwrap();
        let values: Vec<_> = (1_u64..).take(cpus).map(value).collect();
        let slices: Vec<_> = values.iter().map(|value| &value[..]).collect();
        for name in ["dummy_percpu_hash", "dummy_percpu_array"] {
            let map = loaded.map(name).unwrap();
            map.update_per_cpu(&key(3), &slices, UpdateFlags::ANY).unwrap();
            let found = map.lookup(&key(3)).unwrap().unwrap();
            assert_eq!((found.single(), found.all().collect::<Vec<_>>()), (None, slices.clone()), "{name}");
            map.update(&key(3), &value(9), UpdateFlags::ANY).unwrap();
            assert!(map.lookup(&key(3)).unwrap().unwrap().all().all(|found| found == value(9)), "{name}");
        }
    });
}

#[test]
fn a_queue_gives_out_its_values() {
    alone(|| {
        let queue = Map::create(&MapParams::new("queue", MapType::QUEUE, 0, 8, 4)).unwrap();
        for number in [1, 2] {
            queue.update(&[], &value(number), UpdateFlags::ANY).unwrap();
        }
        for number in [1, 2] {
            let out = queue.lookup_and_delete(&[]).unwrap().unwrap();
            assert_eq!(out.single(), Some(&value(number)[..]));
        }
        assert_eq!(queue.lookup_and_delete(&[]).unwrap(), None);
    });
}

#[test]
fn a_walk_gives_the_all_zero_key() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        let map = loaded.map("dummy_hash").unwrap();
        for number in 0..20 {
            map.update(&key(number), &value(number.into()), UpdateFlags::ANY).unwrap();
        }
        let walked: HashSet<_> = map.entries().map(|entry| entry.unwrap().key).collect();
        assert_eq!(walked, (0..20).map(|number| key(number).to_vec()).collect());

        // As gobpf's LookupNextElement goes, but with a way to say "before the first".
        let mut steps = HashSet::new();
        let mut last = None;
        while let Some(next) = map.next_key(last.as_deref()).unwrap() {
            steps.insert(next.clone());
            last = Some(next);
        }
        assert_eq!(steps, walked);
    });
}

#[test]
fn a_delete_tells_whether_it_did() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        let map = loaded.map("dummy_hash").unwrap();
        map.update(&key(0), &value(0), UpdateFlags::ANY).unwrap();
        assert!(map.delete(&key(0)).unwrap());
        assert!(!map.delete(&key(0)).unwrap());
    });
}

// Pins and the rest: section 4.

#[test]
fn a_pin_is_one_call_below_directories() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        let map = loaded.map("dummy_lru_hash").unwrap();
        let path = Path::new("/sys/fs/bpf/edge/globals/lru");
        assert_eq!(map.pin(path).unwrap_err().kind(), ErrorKind::NotFound);
        DirBuilder::new().recursive(true).mode(0o700).create(path.parent().unwrap()).unwrap();
        map.pin(path).unwrap();
        assert_eq!(map.pin(path).unwrap_err().kind(), ErrorKind::Conflict);
        assert_eq!(id(&Map::open_pinned(path).unwrap()), id(map));
        let outside = map.pin(std::env::temp_dir().join("lru")).unwrap_err();
        assert_eq!(outside.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_pin_may_be_in_a_namespace() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        let namespace = Path::new(BPFFS_ROOT).join("dummy");
        let globals = namespace.join("globals");
        // The load has made both already, for another map.
        assert!(!pin::create_dir(&namespace).unwrap() && !pin::create_dir(&globals).unwrap());
        let map = loaded.map("dummy_lru_hash").unwrap();
        map.pin(globals.join("dummy_lru_hash")).unwrap();
        // There a load finds it, as gobpf would.
        let pinned = dummy_with("maps/dummy_lru_hash", 20, b"\x02\0\0\0dummy\0").unwrap();
        assert_eq!(id(load(&loader(&pinned)).map("dummy_lru_hash").unwrap()), id(map));
    });
}

#[test]
fn a_pinned_program_is_opened() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        let path = Path::new("/sys/fs/bpf/prog1");
        let program = loaded.program("xdp/prog1").unwrap();
        program.pin(path).unwrap();
        let id = program.info().unwrap().id;
        drop(loaded);
        assert_eq!(Program::open_pinned(path).unwrap().info().unwrap().id, id);
        assert_eq!(Program::open_pinned("/sys/fs/bpf/no").unwrap_err().kind(), ErrorKind::NotFound);
        let map = Program::open_pinned(Path::new(GLOBAL)).unwrap_err();
        assert!(map.to_string().ends_with("expected a program, found a map"), "{map}");
    });
}

#[test]
fn a_release_string_gives_a_version() {
    let code = |text| KernelVersion::parse(text).map(KernelVersion::code);
    assert_eq!(code("4.9.13-1"), Some(0x0004_090d));
    assert_eq!(code("6.18-rc3"), Some(0x0006_1200));
    assert_eq!(code("4.9.337"), Some(0x0004_09ff), "not 4.10.81");
    assert_eq!(code("six"), None);
    assert!(KernelVersion::current().unwrap().code() >= 0x0004_0800);
}

#[test]
fn a_bpffs_is_asked_for_and_mounted() {
    alone(|| {
        let root = Path::new(BPFFS_ROOT);
        assert!(pin::is_bpffs(root).unwrap());
        pin::unmount_bpffs(root).unwrap();
        assert!(!pin::is_bpffs(root).unwrap());
        pin::mount_bpffs(root).unwrap();
        assert!(pin::is_bpffs(root).unwrap());
    });
}

// What the object file says, and what is done with it: section 5.

#[test]
fn license_and_version_are_read_by_section() {
    let object = dummy();
    assert_eq!(object.license.as_deref(), Some("Dual MIT/GPL"));
    assert_eq!(object.version, Some(0xffff_fffe));
    let without = Object::open(path("clang-19", "no_license")).unwrap();
    assert_eq!((without.license, without.version), (None, None));
    let kernel = Kernel::current().unwrap();
    let plan = plan(&loader(&object));
    assert!(loads(&plan).iter().all(|load| Some(load.kern_version) == kernel.version_code));
    assert!(loads(&plan).iter().all(|load| load.license == "Dual MIT/GPL"));
}

#[test]
fn a_definition_is_280_bytes_at_their_offsets() {
    for (at, field) in [(0, "map_type"), (4, "key"), (8, "value"), (12, "entries"), (16, "flags")] {
        let shape = dummy_with("maps/dummy_lru_hash", at, &77_u32.to_le_bytes()).unwrap();
        let MapShape { map_type, key_size, value_size, max_entries, flags, .. } =
            shape.map("dummy_lru_hash").unwrap().shape;
        let fields = [map_type.0, key_size, value_size, max_entries, flags];
        assert_eq!(fields.iter().position(|&number| number == 77), Some(at / 4), "{field}");
    }
    let object = dummy();
    let pinning = |name: &str| object.map(name).unwrap().pinning.clone();
    assert_eq!(pinning("dummy_hash"), Pinning::Path("dummy/globals/dummy_hash".to_owned()));
    assert_eq!(pinning("dummy_array"), Pinning::CallerPath { pinning: 3 });
    assert_eq!(pinning("dummy_lru_hash"), Pinning::None);
}

#[test]
fn a_pinning_that_gobpf_only_declares_is_refused() {
    let object_ns = dummy_with("maps/dummy_array", 20, &1_u32.to_le_bytes()).unwrap_err();
    assert_eq!(object_ns.kind(), ErrorKind::Unsupported);
    assert!(object_ns.to_string().contains("found PIN_OBJECT_NS (1)"), "{object_ns}");
    let unknown = dummy_with("maps/dummy_array", 20, &4_u32.to_le_bytes()).unwrap_err();
    assert!(unknown.to_string().ends_with("expected pinning from 0 to 3, found 4"), "{unknown}");
    let nameless = dummy_with("maps/dummy_hash", 24, &[0]).unwrap_err();
    assert!(nameless.to_string().contains("section `maps/dummy_hash` at offset 0x18: "), "{nameless}");
    assert!(nameless.to_string().contains("expected a namespace for PIN_GLOBAL_NS"), "{nameless}");
}

#[test]
fn sections_that_gobpf_passes_over_are_taken() {
    for (name, section) in [("xdp_drop", "xdp"), ("xdp_drop_prog", "prog")] {
        let object = Object::open(path("clang-19", name)).unwrap();
        assert_eq!(object.only_program().unwrap().function.section, section);
    }
    for name in ["blacklist_gobpf", "blacklist_iproute2", "blacklist_libbpf", "blacklist"] {
        let object = Object::open(path("clang-19", name)).unwrap();
        assert_eq!(object.map("blacklist").unwrap().shape.key_size, 4, "{name}");
    }
}

#[test]
fn pins_lie_where_gobpf_puts_them() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        for (name, path) in [("dummy_hash", GLOBAL), ("dummy_array", CUSTOM)] {
            assert_eq!(id(&Map::open_pinned(Path::new(path)).unwrap()), id(loaded.map(name).unwrap()));
        }
        for directory in ["dummy", "dummy/globals", "custom"] {
            let mode = fs::metadata(Path::new(BPFFS_ROOT).join(directory)).unwrap().mode();
            assert_eq!(mode & 0o777, 0o700, "{directory}");
        }
    });
}

#[test]
fn a_pin_path_stays_below_bpffs() {
    let object = dummy();
    for wrong in ["/proc/array", "/sys/fs/bpf/../array", "/sys/fs/bpf//array", "array"] {
        let all = loader(&object).pin_map("dummy_array", wrong);
        assert_eq!(all.plan(&Kernel::unknown()).unwrap_err().kind(), ErrorKind::InvalidInput, "{wrong}");
    }
}

#[test]
fn a_load_mounts_bpffs_if_need_be() {
    alone(|| {
        pin::unmount_bpffs(BPFFS_ROOT).unwrap();
        let object = dummy();
        let _loaded = load(&loader(&object));
        assert!(pin::is_bpffs(Path::new(GLOBAL)).unwrap());
    });
}

#[test]
fn a_second_load_finds_the_pins() {
    alone(|| {
        let object = dummy();
        let (first, calls) = load_and_record(&loader(&object));
        assert_eq!(count(&calls, "BPF_MAP_CREATE"), 10);
        first.map("dummy_hash").unwrap().update(&key(0), &value(8), UpdateFlags::ANY).unwrap();
        let (second, calls) = load_and_record(&loader(&object));
        assert_eq!(count(&calls, "BPF_MAP_CREATE"), 8);
        for name in ["dummy_hash", "dummy_array"] {
            assert_eq!(id(first.map(name).unwrap()), id(second.map(name).unwrap()));
        }
        let found = second.map("dummy_hash").unwrap().lookup(&key(0)).unwrap().unwrap();
        assert_eq!(found.single(), Some(&value(8)[..]));
        let unpinned = [&first, &second].map(|loaded| id(loaded.map("dummy_lru_hash").unwrap()));
        assert_ne!(unpinned[0], unpinned[1]);
    });
}

#[test]
fn a_pin_of_another_shape_is_refused_by_field() {
    alone(|| {
        let object = dummy();
        drop(load(&loader(&object).max_entries("dummy_hash", 64)));
        let error = plan(&loader(&object)).execute(|_| {}).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Mismatch);
        assert_eq!(
            error.to_string(),
            "map `dummy_hash`: the one at `/sys/fs/bpf/dummy/globals/dummy_hash` has another shape: \
             max_entries is 64, wanted 128"
        );
        pin::unpin(Path::new(GLOBAL)).unwrap();
        let other = dummy_with("maps/dummy_hash", 16, &BPF_F_NO_PREALLOC.to_le_bytes()).unwrap();
        drop(load(&loader(&other)));
        let error = plan(&loader(&object)).execute(|_| {}).unwrap_err();
        assert!(error.to_string().ends_with(": map_flags is BPF_F_NO_PREALLOC, wanted 0"), "{error}");
    });
}

#[test]
fn names_and_types_are_sent() {
    alone(|| {
        let object = dummy();
        let loaded = load(&loader(&object));
        let map = loaded.map("dummy_perf_event_array").unwrap();
        assert_eq!(map.info().unwrap().name, "dummy_perf_even", "15 bytes of it");
        assert_eq!(loaded.program("prog1").unwrap().info().unwrap().name, "prog1");
        let plan = plan(&loader(&object));
        assert!(loads(&plan).iter().any(|load| load.expected_attach_type == Some(AttachType::XDP)));
    });
}

#[test]
fn perf_buffers_are_left_alone() {
    alone(|| {
        let object = dummy();
        let (loaded, calls) = load_and_record(&loader(&object));
        assert_eq!(loaded.map("dummy_perf_event_array").unwrap().map_type(), MapType::PERF_EVENT_ARRAY);
        let names: HashSet<_> = calls.iter().map(|call| call.name).collect();
        assert_eq!(names, HashSet::from(["statfs", "openat", "flock", "bpf", "mkdir"]));
    });
}

#[test]
fn perf_records_are_read() {
    alone(|| {
        let loaded = load(&loader(&dummy()));
        let map = loaded.map("dummy_perf_event_array").unwrap();
        let (program, cpu) = (writer(map, 12, 7), cpus()[0]);
        let mut buffer = map.perf_buffer(1).unwrap();
        run(&program, cpu, 500);
        let mut read = 0;
        while let Some(PerfRecord::Sample { bytes, .. }) = buffer.next_record() {
            assert_eq!(bytes[8..], key(7));
            read += 1;
        }
        run(&program, cpu, 1);
        assert_eq!(buffer.next_record(), Some(PerfRecord::Lost { cpu, count: 500 - read }));
        drop(buffer);
        assert_eq!(run(&program, cpu, 1), -ENOENT, "nobody reads any more");
    });
}

#[test]
fn what_came_last_is_dumped() {
    let (map, cpu) = (events(1024), cpus()[0]);
    let mut buffer = map.overwritable_perf_buffer(1).unwrap();
    run(&writer(&map, 12, 1), cpu, 500);
    run(&writer(&map, 12, 2), cpu, 1);
    let dump = buffer.dump().unwrap();
    let words = dump.records().map(|record| match record {
        PerfRecord::Sample { bytes, .. } => bytes[8],
        other => panic!("{other:?}"),
    });
    assert_eq!(words.take(3).collect::<Vec<_>>(), [2, 1, 1], "the newest one first");
    assert_eq!(buffer.drain().unwrap().records().count(), dump.records().count());
    assert_eq!(buffer.drain().unwrap().records().count(), 0);
}

#[test]
fn records_are_sorted_by_the_time_in_them() {
    let now = || Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap()).as_nanos();
    let map = events(1024);
    let (mut buffer, program, mut times) = (map.perf_buffer(1).unwrap(), writer(&map, 12, 0), vec![now()]);
    for cpu in cpus().into_iter().rev().chain(cpus()) {
        run(&program, cpu, 1);
    }
    let end = now();
    while let Some(PerfRecord::Sample { bytes, .. }) = buffer.next_record() {
        times.push(u64::from_ne_bytes(bytes[..8].try_into().unwrap()).into());
    }
    assert_eq!(times.len(), 1 + 2 * cpus().len());
    // Before them is the time at the start, and none is later than the end.
    let start = times[0];
    times.sort_unstable();
    assert!(times[0] == start && times.last() <= Some(&end), "{start} {times:?} {end}");
}

#[test]
fn memlock_is_raised_only_where_it_counts() {
    let object = dummy();
    let plan = plan(&loader(&object));
    assert!(plan.steps.iter().all(|step| step.call != Call::RaiseMemlock));
    assert!(plan.calls().any(|call| *call == Call::RaiseMemlock), "for a kernel before 5.11");
}

// The document itself.

const DOCUMENT: &str = include_str!("../../docs/coming-from-gobpf.md");

/// The XDP, map and pin calls of gobpf's Go API, and what its loading takes.
const CALLS: [&str; 48] = [
    "NewModule",
    "NewModuleFromReader",
    "NewModuleWithLog",
    "NewModuleFromReaderWithLog",
    "(*Module).Load",
    "(*Module).Log",
    "(*Module).Close",
    "(*Module).CloseExt",
    "(*Module).EnableOptionCompatProbe",
    "SectionParams.PinPath",
    "SectionParams.MapMaxEntries",
    "SectionParams.PerfRingBufferPageCount",
    "SectionParams.SkipPerfMapInitialization",
    "SectionParams.PerfRingBufferBackward",
    "SectionParams.PerfRingBufferOverwritable",
    "(*Module).AttachXDP",
    "(*Module).AttachXDPWithFlags",
    "(*Module).RemoveXDP",
    "(*Module).IterXDPProgram",
    "(*Module).XDPProgram",
    "(*XDPProgram).Fd",
    "(*Module).IterMaps",
    "(*Module).Map",
    "(*Map).Fd",
    "(*Module).UpdateElement",
    "(*Module).LookupElement",
    "(*Module).LookupAndDeleteElement",
    "(*Module).DeleteElement",
    "(*Module).LookupNextElement",
    "PinObject",
    "PinObjectGlobal",
    "GetProgFd",
    "KernelVersionFromReleaseString",
    "CurrentKernelVersion",
    "GetSyscallFnName",
    "bpffs.IsMounted",
    "bpffs.IsMountedAt",
    "bpffs.Mount",
    "bpffs.MountAt",
    "progtestrun.Run",
    "InitPerfMap",
    "(*PerfMap).PollStart",
    "(*PerfMap).PollStop",
    "(*PerfMap).DumpBackward",
    "(*PerfMap).SwapAndDumpBackward",
    "(*PerfMap).SetTimestampFunc",
    "PerfMapStop",
    "NowNanoseconds",
];

/// The cells of each row of the document's tables, without heads and rules.
fn rows() -> Vec<Vec<&'static str>> {
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let rows = DOCUMENT.lines().filter(|line| line.starts_with('|')).map(cells);
    rows.filter(|cells| !matches!(cells[0], "gobpf" | "---")).collect()
}

/// What stands in backquotes in a cell.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_document_has_a_row_for_every_call() {
    let calls = rows().into_iter().filter(|cells| cells.len() == 5).flat_map(|cells| quoted(cells[0]));
    let calls: HashSet<_> = calls
        .map(|call| {
            call.strip_suffix(')').and_then(|call| call.rsplit_once('(')).map_or(call, |(name, _)| name)
        })
        .collect();
    assert_eq!(calls, HashSet::from(CALLS));
}

#[test]
fn the_document_and_these_tests_correspond() {
    let mut named = HashSet::new();
    for cells in rows() {
        assert!(matches!(cells.len(), 3 | 5), "{cells:?}");
        let tests = quoted(cells[cells.len() - 1]);
        let untested = cells.ends_with(&["none"]) && cells[1] == "none";
        assert!(tests.len() == 1 || untested, "no test: {cells:?}");
        named.extend(tests);
    }
    let sources = include_str!("gobpf.rs").split("#[test]\nfn ").skip(1);
    let tests = sources.filter_map(|source| source.split_once("()")).map(|(name, _)| name);
    assert_eq!(named, tests.filter(|name| !name.starts_with("the_document_")).collect());
}
