//! Maps, programs and pins on the running kernel: root, but no network.
//!
//! Each test works in a corner of its own, so that nothing outlives it.

mod alone;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::{panic, thread};

use loader::attach::Link;
use loader::btf::BtfAddition;
use loader::error::{Cause, Error, ErrorKind};
use loader::features::{Answer, Feature};
use loader::kernel::{self, Capabilities, KernelVersion};
use loader::map::compare::differences;
use loader::map::{Map, MapParams, UpdateFlags};
use loader::object::MapShape;
use loader::pin::{self, BPFFS_ROOT, Kind};
use loader::program::{Program, ProgramParams, VerifierLog};
use loader::uapi::bpf::{
    BPF_EXIT, BPF_F_MMAPABLE, BPF_F_NO_COMMON_LRU, BPF_F_NO_PREALLOC, BPF_F_RDONLY, BPF_MOV64_IMM, MapType,
    ObjName, ProgType,
};
use loader::uapi::capability::Capability;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::libc::ENOTDIR;
use nix::mount::{MsFlags, mount, umount};
use nix::sys::stat::{Mode, mkdirat};

use crate::alone::alone;

fn params(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> MapParams<'static> {
    let mut params = MapParams::new("handles", map_type, key_size, value_size, max_entries);
    params.flags = if map_type == MapType::LPM_TRIE { BPF_F_NO_PREALLOC } else { 0 };
    params.name = Some(ObjName::from_symbol("handles"));
    params
}

fn with_flags(mut params: MapParams<'_>, flags: u32) -> MapParams<'_> {
    params.flags = flags;
    params
}

fn map(map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> Map {
    Map::create(&params(map_type, key_size, value_size, max_entries)).expect("a map")
}

fn key(number: u32) -> [u8; 4] {
    number.to_ne_bytes()
}

/// `r0 = value; exit`
fn returns(value: i32) -> [u8; 16] {
    let mut insns = [0; 16];
    insns[0] = BPF_MOV64_IMM;
    insns[4..8].copy_from_slice(&value.to_ne_bytes());
    insns[8] = BPF_EXIT;
    insns
}

fn program_params(insns: &[u8]) -> ProgramParams<'_> {
    let mut params = ProgramParams::new("handles_prog", c"GPL", insns);
    params.name = Some(ObjName::from_symbol("handles_prog"));
    params
}

/// The numbers of a map's entries, key and value.
fn numbers(map: &Map) -> HashMap<u32, u32> {
    let number = |bytes: &[u8]| u32::from_ne_bytes(bytes.try_into().expect("four bytes"));
    map.entries()
        .map(|entry| entry.expect("an entry"))
        .map(|entry| (number(&entry.key), number(entry.value.single().expect("a plain value"))))
        .collect()
}

#[test]
fn a_hash_keeps_what_is_written() {
    alone(|| {
        let map = map(MapType::HASH, 4, 4, 2);
        assert!(map.lookup(&key(0)).unwrap().is_none());
        map.update(&key(0), &key(7), UpdateFlags::NO_EXIST).unwrap();
        map.update(&key(1), &key(8), UpdateFlags::ANY).unwrap();
        assert_eq!(map.lookup(&key(0)).unwrap().unwrap().single(), Some(&key(7)[..]));
        assert_eq!(numbers(&map), HashMap::from([(0, 7), (1, 8)]), "the all-zero key is a key");

        let text = |result: loader::error::Result<()>| result.unwrap_err().to_string();
        assert_eq!(
            text(map.update(&key(2), &key(0), UpdateFlags::ANY)),
            "the map is full (2 entries): bpf(BPF_MAP_UPDATE_ELEM) for map `handles` failed: \
             Argument list too long (E2BIG)"
        );
        let there = map.update(&key(0), &key(0), UpdateFlags::NO_EXIST).unwrap_err();
        assert_eq!(there.kind(), ErrorKind::Conflict);
        assert!(there.to_string().starts_with("there is an entry with this key already: "));
        assert!(
            text(map.update(&key(9), &key(0), UpdateFlags::EXIST)).starts_with("there is no entry with this")
        );

        assert!(map.delete(&key(0)).unwrap());
        assert!(!map.delete(&key(0)).unwrap());
        assert_eq!(map.lookup_and_delete(&key(1)).unwrap().unwrap().single(), Some(&key(8)[..]));
        assert_eq!(map.next_key(None).unwrap(), None);
    });
}

#[test]
fn a_value_that_is_too_long_for_each_cpu_is_told_with_the_limit() {
    alone(|| {
        for map_type in [MapType::PERCPU_ARRAY, MapType::PERCPU_HASH] {
            Map::create(&params(map_type, 4, 32 * 1024, 1)).unwrap();
            let error = Map::create(&params(map_type, 4, 32 * 1024 + 1, 1)).unwrap_err();
            assert_eq!(error.errno(), Some(Errno::E2BIG as i32));
            assert_eq!(error.rule(), Some("values of which each CPU has its own have at most 32768 bytes"));
        }
    });
}

#[test]
fn slices_that_do_not_fit_reach_no_call() {
    alone(|| {
        let map = map(MapType::HASH, 4, 8, 2);
        assert_eq!(map.lookup(&[0; 3]).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(
            map.update(&key(0), &[0; 9], UpdateFlags::ANY).unwrap_err().to_string(),
            "map `handles`: expected a value of 8 bytes, found 9"
        );
        assert!(map.next_key(Some(&[0; 5])).is_err());
        assert!(map.update_packed(&key(0), &[0; 7]).is_err());
        assert!(map.update_per_cpu(&key(0), &[&[0; 8]], UpdateFlags::ANY).is_err());
    });
}

#[test]
fn a_per_cpu_map_has_a_value_for_each_possible_cpu() {
    alone(|| {
        let cpus = kernel::possible_cpus().unwrap();
        for map_type in [MapType::PERCPU_HASH, MapType::PERCPU_ARRAY, MapType::LRU_PERCPU_HASH] {
            // Five bytes, so that the kernel pads each to eight.
            let map = map(map_type, 4, 5, 4);
            let values: Vec<[u8; 5]> = (0..cpus).map(|cpu| [cpu.to_le_bytes()[0]; 5]).collect();
            let values: Vec<&[u8]> = values.iter().map(|value| &value[..]).collect();
            map.update_per_cpu(&key(1), &values, UpdateFlags::ANY).unwrap();
            map.update(&key(2), &[9; 5], UpdateFlags::ANY).unwrap();
            assert_eq!(map.lookup(&key(1)).unwrap().unwrap().all().collect::<Vec<_>>(), values);
            let entries = map.entries().map(|entry| entry.unwrap());
            let entries: HashMap<_, _> = entries.map(|entry| (entry.key, entry.value)).collect();
            assert_eq!(entries[&key(1)[..]].all().collect::<Vec<_>>(), values);
            assert!(entries[&key(2)[..]].all().all(|value| value == [9; 5]));
            assert!(map.update_per_cpu(&key(1), &values[1..], UpdateFlags::ANY).is_err());
        }
    });
}

#[test]
fn a_per_cpu_map_is_not_read_while_the_cpus_are_unknown() {
    alone(|| {
        let empty = Some("tmpfs");
        mount(empty, "/sys/devices/system/cpu", empty, MsFlags::empty(), None::<&str>).unwrap();
        let map = map(MapType::PERCPU_HASH, 4, 8, 4);
        let error = map.lookup(&key(1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(
            error.to_string().ends_with("cannot be read from /sys/devices/system/cpu/possible"),
            "{error}"
        );
        assert!(map.update(&key(1), &[0; 8], UpdateFlags::ANY).is_err());
        assert!(map.entries().next().unwrap().is_err());
        assert_eq!(kernel::possible_cpus().unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn a_wrong_number_of_cpus_is_not_believed() {
    const POSSIBLE: &str = "/sys/devices/system/cpu/possible";
    alone(|| {
        // Any file that is not the kernel's.
        let none = None::<&str>;
        mount(Some("/etc/passwd"), POSSIBLE, none, MsFlags::MS_BIND, none).unwrap();
        assert!(kernel::possible_cpus().is_err());
        for map_type in [MapType::PERCPU_ARRAY, MapType::PERCPU_HASH] {
            let error = map(map_type, 4, 8, 4).lookup(&key(1)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
        }
        // One of the kernel's that says something else: fewer CPUs than the values of an array have.
        umount(POSSIBLE).unwrap();
        if kernel::possible_cpus().unwrap() == 1 {
            return;
        }
        let number = "/sys/module/kernel/parameters/panic";
        mount(Some(number), POSSIBLE, none, MsFlags::MS_BIND, none).unwrap();
        assert_eq!(kernel::possible_cpus().unwrap(), 1);
        for map_type in [MapType::PERCPU_ARRAY, MapType::PERCPU_HASH] {
            let wrong = map(map_type, 4, 8, 4);
            assert!(wrong.update(&key(1), &[1; 8], UpdateFlags::ANY).is_err());
            assert!(wrong.update_packed(&key(1), &[1; 8]).is_err());
            if map_type == MapType::PERCPU_ARRAY {
                assert!(wrong.lookup(&key(1)).is_err());
                assert!(wrong.entries().any(|entry| entry.is_err()));
            }
        }
    });
}

#[test]
fn directories_too_deep_for_a_path_are_passed_over() {
    alone(|| {
        let root = Path::new(BPFFS_ROOT);
        map(MapType::ARRAY, 4, 4, 1).pin(root.join("map")).unwrap();
        let name = "d".repeat(100);
        let mut directory = OwnedFd::from(File::open(root).unwrap());
        for _ in 0..50 {
            mkdirat(&directory, &*name, Mode::S_IRWXU).unwrap();
            directory = openat(&directory, &*name, OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        }
        let (pins, failures) = pin::walk(root);
        assert_eq!((pins, failures.len()), (vec![root.join("map")], 0));
    });
}

#[test]
fn a_trie_is_walked_and_says_when_it_is_full() {
    alone(|| {
        let map = map(MapType::LPM_TRIE, 8, 4, 2);
        let prefix = |length: u8, address: [u8; 4]| [&u32::from(length).to_ne_bytes()[..], &address].concat();
        map.update(&prefix(8, [10, 0, 0, 0]), &key(1), UpdateFlags::ANY).unwrap();
        map.update(&prefix(0, [0; 4]), &key(2), UpdateFlags::ANY).unwrap();
        assert_eq!(map.lookup(&prefix(32, [10, 1, 2, 3])).unwrap().unwrap().single(), Some(&key(1)[..]));
        assert_eq!(map.entries().count(), 2);
        let full = map.update(&prefix(8, [11, 0, 0, 0]), &key(3), UpdateFlags::ANY).unwrap_err();
        assert!(full.to_string().starts_with("the map is full (2 entries): "), "{full}");
    });
}

#[test]
fn maps_without_keys_take_in_and_give_out() {
    alone(|| {
        for (map_type, order) in [(MapType::QUEUE, [1, 2]), (MapType::STACK, [2, 1])] {
            let map = map(map_type, 0, 4, 2);
            map.update(&[], &key(1), UpdateFlags::ANY).unwrap();
            map.update(&[], &key(2), UpdateFlags::ANY).unwrap();
            assert!(map.update(&[], &key(3), UpdateFlags::ANY).unwrap_err().to_string().contains("is full"));
            assert_eq!(map.lookup(&[]).unwrap().unwrap().single(), Some(&key(order[0])[..]));
            for value in order {
                assert_eq!(map.lookup_and_delete(&[]).unwrap().unwrap().single(), Some(&key(value)[..]));
            }
            assert!(map.lookup_and_delete(&[]).unwrap().is_none());
            let walk = map.entries().next().unwrap().unwrap_err();
            assert_eq!(walk.to_string(), format!("map `handles`: a {map_type} has no keys to walk"));
        }
        let bloom = map(MapType::BLOOM_FILTER, 0, 4, 16);
        bloom.update(&[], &key(5), UpdateFlags::ANY).unwrap();
        assert!(bloom.contains(&key(5)).unwrap());
        assert!(!bloom.contains(&key(6)).unwrap());
        assert_eq!(bloom.lookup(&[]).unwrap_err().kind(), ErrorKind::InvalidInput);

        let ring = map(MapType::RINGBUF, 0, 0, 4096);
        assert_eq!(ring.lookup(&[]).unwrap_err().errno(), Some(524));
    });
}

#[test]
fn maps_of_maps_and_programs_give_back_ids() {
    alone(|| {
        let inner = map(MapType::HASH, 4, 4, 8);
        let id = inner.info().unwrap().id;
        for map_type in [MapType::ARRAY_OF_MAPS, MapType::HASH_OF_MAPS] {
            let mut params = params(map_type, 4, 4, 5000);
            params.inner_map = Some(inner.as_fd());
            let outer = Map::create(&params).unwrap();
            outer.update_fd(&key(3), inner.as_fd(), UpdateFlags::ANY).unwrap();
            outer.update_fd(&key(4999), inner.as_fd(), UpdateFlags::ANY).unwrap();
            assert_eq!(numbers(&outer), HashMap::from([(3, id), (4999, id)]), "{map_type}");
        }
        let program = Program::load(&program_params(&returns(2)), None).unwrap();
        let calls = map(MapType::PROG_ARRAY, 4, 4, 4);
        calls.update_fd(&key(1), program.as_fd(), UpdateFlags::ANY).unwrap();
        assert_eq!(numbers(&calls), HashMap::from([(1, program.info().unwrap().id)]));
    });
}

#[test]
fn an_array_says_what_is_wrong_with_an_index() {
    alone(|| {
        let map = map(MapType::ARRAY, 4, 4, 3);
        map.update(&key(2), &key(9), UpdateFlags::ANY).unwrap();
        assert_eq!(numbers(&map), HashMap::from([(0, 0), (1, 0), (2, 9)]));
        let error = map.update(&key(3), &key(0), UpdateFlags::ANY).unwrap_err();
        assert!(error.to_string().starts_with("there is no index 3: the map has 3 entries: "), "{error}");
        let error = map.delete(&key(0)).unwrap_err();
        assert!(error.to_string().starts_with("the entries of an array cannot be deleted: "), "{error}");
        assert!(map.delete_batch([&key(0)[..]]).is_err());
    });
}

#[test]
fn the_memory_of_an_array_is_the_array() {
    // Values are a multiple of 8 bytes apart.
    let mmapable = with_flags(params(MapType::ARRAY, 4, 12, 1000), BPF_F_MMAPABLE);
    let array = Map::create(&mmapable).expect("an array");
    let memory = array.mmap_values().expect("its memory");
    array.update(&key(999), &[7; 12], UpdateFlags::ANY).expect("an update");
    let words: Vec<_> = memory.value(999).iter().map(|word| word.load(Ordering::Relaxed)).collect();
    assert_eq!(words, [0x0707_0707; 3]);
    memory.value(1)[2].store(u32::from_ne_bytes([1, 2, 3, 4]), Ordering::Relaxed);
    let value = array.lookup(&key(1)).expect("a lookup").expect("arrays have all entries");
    assert_eq!(value.single(), Some(&[0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4][..]));
    panic::catch_unwind(|| memory.value(1000).len()).expect_err("there is no such entry");
}

#[test]
fn what_has_no_memory_to_give_says_so() {
    let bytes = with_flags(params(MapType::ARRAY, 4, 3, 1), BPF_F_MMAPABLE);
    let bytes = Map::create(&bytes).expect("an array");
    let flagless = "the map was created without BPF_F_MMAPABLE: mmap(2) for map `handles` failed: Invalid argument \
                    (EINVAL)";
    for (other, words) in [
        (map(MapType::ARRAY, 4, 8, 1), flagless),
        (map(MapType::HASH, 4, 8, 1), "map `handles`: expected a map of type array, found hash"),
        (bytes, "map `handles`: expected values of multiples of 4 bytes, found 3"),
    ] {
        let error = other.mmap_values().expect_err("there is none");
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::InvalidInput, words));
    }
}

#[test]
fn a_frozen_map_says_that_it_is() {
    let map = map(MapType::ARRAY, 4, 4, 1);
    assert!(!map.is_frozen().unwrap());
    map.freeze().unwrap();
    assert!(map.is_frozen().unwrap());
    let error = map.update(&key(0), &[0; 4], UpdateFlags::ANY).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::InvalidInput, Some(Errno::EPERM as i32)));
    let words = "the map is frozen: only programs may change its entries, if anybody: ";
    assert!(error.to_string().starts_with(words), "{error}");
}

/// Callers tell by the cause what stands in the way of an entry or a pin, without reading words.
#[test]
fn a_refusal_has_a_cause_that_callers_can_match() {
    let hash = map(MapType::HASH, 4, 4, 1);
    hash.update(&key(1), &key(1), UpdateFlags::ANY).unwrap();
    let cause = |key: &[u8], value: &[u8], flags| hash.update(key, value, flags).unwrap_err().cause();
    assert_eq!(cause(&key(2), &key(1), UpdateFlags::ANY), Some(Cause::Full));
    assert_eq!(cause(&key(1), &key(1), UpdateFlags::NO_EXIST), Some(Cause::Exists));
    assert_eq!(cause(&key(2), &key(1), UpdateFlags::EXIST), Some(Cause::Missing));
    assert_eq!(cause(&[0; 3], &key(1), UpdateFlags::ANY), Some(Cause::WrongSize));
    assert_eq!(cause(&key(1), &[0; 5], UpdateFlags::ANY), Some(Cause::WrongSize));
    assert_eq!(hash.get::<u64>(1_u32).unwrap_err().cause(), Some(Cause::WrongSize));
    let two = [key(3), key(4)].concat();
    assert_eq!(hash.update_packed(&two, &two).unwrap_err().cause(), Some(Cause::Full));

    let array = map(MapType::ARRAY, 4, 4, 1);
    assert_eq!(array.set(1_u32, 0_u32).unwrap_err().cause(), Some(Cause::OutOfRange));
    array.freeze().unwrap();
    assert_eq!(array.set(0_u32, 0_u32).unwrap_err().cause(), Some(Cause::Frozen));

    alone(move || {
        let path = Path::new(BPFFS_ROOT).join("hash");
        assert_eq!(Map::open_pinned(&path).unwrap_err().cause(), Some(Cause::Missing));
        assert_eq!(pin::unpin(&path).unwrap_err().cause(), Some(Cause::Missing));
        hash.pin(&path).unwrap();
        assert_eq!(hash.pin(&path).unwrap_err().cause(), Some(Cause::Exists));
        assert_eq!(Program::open_pinned(&path).unwrap_err().cause(), Some(Cause::OtherKind));
        assert_eq!(Map::open_pinned(BPFFS_ROOT).unwrap_err().cause(), Some(Cause::OtherKind));
        assert_eq!(hash.pin(std::env::temp_dir().join("hash")).unwrap_err().cause(), Some(Cause::NotBpffs));
        pin::unpin(&path).unwrap();
    });
}

#[test]
fn fds_go_only_where_the_kernel_takes_them_for_such() {
    let (array, other) = (map(MapType::ARRAY, 4, 4, 1), map(MapType::HASH, 4, 4, 1));
    let error = array.update_fd(&key(0), &other, UpdateFlags::ANY).unwrap_err();
    assert_eq!(error.to_string(), "map `handles`: expected a map whose values are fds, found array");
    assert_eq!(array.lookup(&key(0)).unwrap().unwrap().id(), Some(0));
}

#[test]
fn bulk_writes_count_what_they_did() {
    alone(|| {
        for map_type in [MapType::HASH, MapType::LPM_TRIE, MapType::LRU_HASH, MapType::PERCPU_HASH] {
            let lpm = map_type == MapType::LPM_TRIE;
            let map = map(map_type, if lpm { 8 } else { 4 }, 4, 10_000);
            let key = |n: u32| if lpm { [key(32), n.to_be_bytes()].concat() } else { key(n).to_vec() };
            let keys: Vec<Vec<u8>> = (0..9_000).map(key).collect();
            let value = match map_type {
                MapType::PERCPU_HASH => [1, 2, 3, 4, 0, 0, 0, 0].repeat(kernel::possible_cpus().unwrap()),
                _ => vec![1, 2, 3, 4],
            };
            map.update_packed(&keys.concat(), &value.repeat(keys.len())).unwrap();
            assert_eq!(map.entries().map(|entry| entry.unwrap().key).collect::<HashSet<_>>().len(), 9_000);
            let missing: Vec<Vec<u8>> = (8_990..9_010).map(key).collect();
            assert_eq!(map.delete_batch(missing.iter().map(Vec::as_slice)).unwrap(), 10, "{map_type}");
            assert_eq!(map.delete_batch(keys.iter().map(Vec::as_slice)).unwrap(), 8_990, "{map_type}");
            assert_eq!(map.entries().count(), 0);
        }
        let map = map(MapType::HASH, 4, 4, 5);
        let keys: Vec<[u8; 4]> = (0..9).map(key).collect();
        let error = map.update_packed(&keys.concat(), &keys.concat()).unwrap_err();
        assert_eq!(error.done(), Some(5));
        assert!(error.to_string().starts_with("the map is full (5 entries): "), "{error}");
        let mut mixed = map.delete_packed(&key(0)).map(|_| keys.concat()).unwrap();
        mixed.truncate(15);
        assert_eq!(map.delete_packed(&mixed).unwrap_err().done(), Some(0));
    });
}

/// Half of the entries are deleted by another thread during the walk; the other half must be given, each once.
#[test]
fn deletes_do_not_start_a_walk_over() {
    alone(|| {
        for map_type in [MapType::HASH, MapType::LPM_TRIE] {
            let lpm = map_type == MapType::LPM_TRIE;
            let key = |n: u32| if lpm { [key(32), n.to_be_bytes()].concat() } else { key(n).to_vec() };
            let map = map(map_type, if lpm { 8 } else { 4 }, 4, 100_000);
            let keys: Vec<Vec<u8>> = (0..100_000).map(key).collect();
            map.update_packed(&keys.concat(), &vec![0; 4 * keys.len()]).unwrap();
            let given: Vec<Vec<u8>> = thread::scope(|scope| {
                scope.spawn(|| keys.iter().step_by(2).for_each(|key| assert!(map.delete(key).unwrap())));
                map.entries().map(|entry| entry.unwrap().key).collect()
            });
            let once: HashSet<&Vec<u8>> = given.iter().collect();
            assert_eq!(once.len(), given.len(), "{map_type}: given twice");
            assert!(keys.iter().skip(1).step_by(2).all(|key| once.contains(key)), "{map_type}: left out");
            assert_eq!(map.entries().count(), 50_000);
        }
    });
}

#[test]
fn a_page_grows_with_the_buckets() {
    alone(|| {
        // Values of a megabyte, so that a page is one entry, and sixteen buckets for sixteen entries.
        let map = map(MapType::HASH, 4, 1 << 20, 16);
        let value = vec![7; 1 << 20];
        (0..16).for_each(|n| map.update(&key(n), &value, UpdateFlags::ANY).unwrap());
        assert_eq!(map.entries().map(|entry| entry.unwrap().key).collect::<HashSet<_>>().len(), 16);
    });
}

#[test]
fn a_new_map_is_what_was_wanted() {
    alone(|| {
        let cpus = kernel::possible_cpus().unwrap();
        for (map_type, key_size, value_size, max_entries, flags) in [
            (MapType::HASH, 4, 4, 100, BPF_F_NO_PREALLOC | BPF_F_RDONLY),
            (MapType::LRU_HASH, 4, 4, 101, BPF_F_NO_COMMON_LRU),
            (MapType::LRU_PERCPU_HASH, 4, 4, 101, 0),
            (MapType::ARRAY, 4, 4, 3, 0),
            (MapType::PERCPU_ARRAY, 4, 5, 3, 0),
            (MapType::LPM_TRIE, 8, 4, 3, BPF_F_NO_PREALLOC),
            (MapType::DEVMAP, 4, 4, 3, 0),
            (MapType::DEVMAP_HASH, 4, 8, 3, 0),
            (MapType::CPUMAP, 4, 4, 2, 0),
            (MapType::XSKMAP, 4, 4, 3, 0),
            (MapType::PERF_EVENT_ARRAY, 4, 4, 3, 0),
            (MapType::STACK_TRACE, 4, 8, 3, 0),
            (MapType::QUEUE, 0, 4, 3, 0),
            (MapType::BLOOM_FILTER, 0, 4, 3, 0),
            (MapType::RINGBUF, 0, 0, 8192, 0),
        ] {
            let params = with_flags(params(map_type, key_size, value_size, max_entries), flags);
            let wanted = MapShape { map_type, key_size, value_size, max_entries, flags, map_extra: 0 };
            let info = Map::create(&params).unwrap().info().unwrap();
            assert_eq!(differences(&wanted, &info, cpus), [], "{map_type}");
        }
    });
}

#[test]
fn pins_outlive_their_handles() {
    alone(|| {
        let root = Path::new(BPFFS_ROOT);
        let directory = root.join("globals");
        assert!(pin::create_dir(&directory).unwrap());
        assert!(!pin::create_dir(&directory).unwrap());
        let path = directory.join("blacklist");
        assert!(pin::get(&path).unwrap().is_none());
        assert_eq!(Map::open_pinned(&path).unwrap_err().kind(), ErrorKind::NotFound);

        let map = map(MapType::HASH, 4, 4, 2);
        map.pin(&path).unwrap();
        assert_eq!(map.pin(&path).unwrap_err().kind(), ErrorKind::Conflict);
        map.update(&key(0), &key(1), UpdateFlags::ANY).unwrap();
        let id = map.info().unwrap().id;
        drop(map);
        let map = Map::open_pinned(&path).unwrap();
        assert_eq!((map.info().unwrap().id, numbers(&map)), (id, HashMap::from([(0, 1)])));
        assert_eq!(pin::kind(pin::open(&path).unwrap().as_fd()), Some(Kind::Map));
        let no_link = Link::from_fd(pin::open(&path).unwrap()).unwrap_err();
        assert_eq!(
            (no_link.kind(), &*no_link.to_string()),
            (ErrorKind::Conflict, "expected a link, found a map")
        );
        assert_eq!(
            Program::open_pinned(&path).unwrap_err().to_string(),
            "pin `/sys/fs/bpf/globals/blacklist`: expected a program, found a map"
        );
        assert_eq!(pin::remove_dir(&directory).unwrap_err().errno(), Some(Errno::ENOTEMPTY as i32));
        pin::unpin(&path).unwrap();
        assert_eq!(pin::unpin(&path).unwrap_err().kind(), ErrorKind::NotFound);
        pin::remove_dir(&directory).unwrap();

        let program = Program::load(&program_params(&returns(2)), None).unwrap();
        program.pin(path.with_file_name("none")).unwrap_err();
        program.pin(root.join("program")).unwrap();
        assert_eq!(
            Program::open_pinned(root.join("program")).unwrap().info().unwrap(),
            program.info().unwrap()
        );
        assert!(Map::open_pinned(root.join("program")).unwrap_err().to_string().ends_with("found a program"));
        pin::unpin(root.join("program")).unwrap();
    });
}

#[test]
fn a_pin_that_cannot_be_says_why() {
    alone(|| {
        let map = map(MapType::HASH, 4, 4, 2);
        let elsewhere = std::env::temp_dir().join("handles");
        let error = map.pin(&elsewhere).unwrap_err();
        let cause = format!("`{}` is not in a bpffs: bpf(BPF_OBJ_PIN)", elsewhere.display());
        assert!(error.to_string().contains(&cause), "{error}");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let error = map.pin(Path::new(BPFFS_ROOT).join("a.b")).unwrap_err();
        assert!(error.to_string().contains("the kernel allows no dot in a pin's name"), "{error}");
        let error = pin::get("/proc/version").unwrap_err();
        assert!(error.to_string().starts_with("`/proc/version` is not in a bpffs"), "{error}");

        assert!(pin::is_bpffs("/sys/fs/bpf/not/there").unwrap());
        assert!(!pin::is_bpffs("/sys/fs").unwrap());
        pin::unmount_bpffs(BPFFS_ROOT).unwrap();
        assert!(!pin::is_bpffs(Path::new(BPFFS_ROOT)).unwrap());
    });
}

#[test]
fn pins_are_walked_in_the_order_of_their_paths() {
    alone(|| {
        let map = map(MapType::HASH, 4, 4, 2);
        let root = Path::new(BPFFS_ROOT);
        for directory in ["b", "b/c", "d"] {
            pin::create_dir(root.join(directory)).unwrap();
        }
        let paths = ["a", "b/c/e", "b/f", "g"].map(|name| root.join(name));
        paths.iter().rev().for_each(|path| map.pin(path).unwrap());
        let (pins, failures) = pin::walk(root);
        assert_eq!(pins, paths);
        assert!(failures.is_empty(), "{failures:?}");
        assert!(
            matches!(pin::walk(root.join("nothing")), (pins, failures) if pins.len() + failures.len() == 0)
        );
        let (pins, failures) = pin::walk(&paths[0]);
        assert_eq!(failures.iter().map(Error::errno).collect::<Vec<_>>(), [Some(ENOTDIR)]);
        assert!(pins.is_empty());
    });
}

#[test]
fn maps_and_programs_are_found_by_id() {
    alone(|| {
        let map = map(MapType::HASH, 4, 8, 2);
        let info = map.info().unwrap();
        assert_eq!((info.name.as_str(), info.value_size, info.flags), ("handles", 8, 0));
        assert!(kernel::map_ids().any(|id| id.unwrap() == info.id));
        let again = Map::from_id(info.id).unwrap().try_clone().unwrap();
        assert_eq!((again.key_size(), again.value_size(), again.max_entries()), (4, 8, 2));
        drop((map, again));

        let program = Program::load(&program_params(&returns(2)), None).unwrap();
        let info = program.info().unwrap();
        assert!(kernel::program_ids().any(|id| id.unwrap() == info.id));
        assert_eq!(Program::from_id(info.id).unwrap().try_clone().unwrap().info().unwrap(), info);
        assert_eq!(Program::from_id(u32::MAX - 1).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(Map::from_id(0).is_err());
    });
}

#[test]
fn a_program_tells_about_itself() {
    alone(|| {
        let program = Program::load(&program_params(&returns(2)), None).unwrap();
        let info = program.info().unwrap();
        assert_eq!((info.prog_type, info.name.as_str()), (ProgType::XDP, "handles_prog"));
        assert_eq!((info.xlated_len, info.gpl_compatible, info.map_ids.len()), (16, true, 0));
        assert!(info.load_time.as_nanos() > 0 && info.tag != [0; 8]);
        let other = Program::load(&program_params(&returns(1)), None).unwrap().info().unwrap();
        assert_ne!(other.tag, info.tag);
    });
}

#[test]
fn the_verifier_says_why_once_it_is_asked() {
    alone(|| {
        // `exit` alone, which leaves r0 unset.
        let insns = [BPF_EXIT, 0, 0, 0, 0, 0, 0, 0];
        let quiet = Program::load(&program_params(&insns), None).unwrap_err();
        assert_eq!((quiet.errno(), quiet.verifier_log()), (Some(Errno::EACCES as i32), None));
        let mut log = VerifierLog::new(VerifierLog::PATH);
        let error = Program::load(&program_params(&insns), Some(&mut log)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::VerifierRejected);
        assert!(error.verifier_log().unwrap().contains("R0 !read_ok"));
        assert!(Program::load(&program_params(&insns[..7]), None).is_err());

        // A log that is longer than the first buffer: ENOSPC for a good program, until it has grown.
        let mut insns = returns(0)[..8].repeat(50_000);
        insns.extend_from_slice(&returns(2));
        let mut log = VerifierLog::new(VerifierLog::STATES);
        let error = Program::load(&program_params(&insns), Some(&mut log)).unwrap_err();
        assert_eq!((error.errno(), error.kind()), (Some(Errno::ENOSPC as i32), ErrorKind::Os));
        while Program::load(&program_params(&insns), Some(&mut log)).is_err() {
            assert!(log.grow());
        }
        assert!(log.text().contains("processed 50002 insns"));
    });
}

#[test]
fn a_frozen_map_refuses_writes() {
    alone(|| {
        let map = map(MapType::ARRAY, 4, 4, 1);
        map.freeze().unwrap();
        let error = map.update(&key(0), &key(1), UpdateFlags::ANY).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(map.lookup(&key(0)).unwrap().is_some());
    });
}

#[test]
fn probes_agree_with_the_release() {
    alone(|| {
        let version = KernelVersion::current().unwrap();
        for (feature, since) in [
            (Feature::ObjectNames, "4.15"),
            (Feature::ExpectedAttachType, "4.17"),
            (Feature::GlobalData, "5.2"),
            (Feature::MmapableArrays, "5.5"),
            (Feature::MemcgAccounting, "5.11"),
            (Feature::BtfWith(BtfAddition::Functions), "5.0"),
            (Feature::BtfWith(BtfAddition::DataSections), "5.2"),
            (Feature::BtfWith(BtfAddition::GlobalFunctions), "5.6"),
            (Feature::BtfWith(BtfAddition::Floats), "5.13"),
            (Feature::BtfWith(BtfAddition::DeclTags), "5.16"),
            (Feature::BtfWith(BtfAddition::TypeTags), "5.17"),
            (Feature::BtfWith(BtfAddition::Enum64), "6.0"),
        ] {
            assert_eq!(feature.since(), since);
            let answer =
                if version >= KernelVersion::parse(since).unwrap() { Answer::Yes } else { Answer::No };
            assert_eq!(kernel::probe(feature), answer, "{feature} on {version}");
        }
        let (_, hard) = kernel::memlock_limit().unwrap();
        let unlimited = Capabilities::current().unwrap().has(Capability::SYS_RESOURCE);
        let raised = if unlimited { u64::MAX } else { hard };
        assert_eq!(kernel::raise_memlock().unwrap(), raised);
        assert_eq!(kernel::memlock_limit().unwrap(), (raised, raised));
    });
}

#[test]
fn numbers_and_bytes_are_entries_without_conversions() {
    alone(|| {
        let addresses = map(MapType::HASH, 4, 8, 16);
        assert_eq!(addresses.get::<u64>([192, 0, 2, 77]).unwrap(), None);
        addresses.set([192, 0, 2, 77], 7_u64).unwrap();
        assert_eq!(addresses.get([192, 0, 2, 77]).unwrap(), Some(7_u64));
        assert_eq!(addresses.get(u32::from_ne_bytes([192, 0, 2, 77])).unwrap(), Some(7_u64.to_ne_bytes()));
        let refused = |error: Error, words: &str| {
            assert_eq!(
                (error.kind(), error.to_string().contains(words)),
                (ErrorKind::InvalidInput, true),
                "{error}"
            );
        };
        refused(
            addresses.get::<u32>(key(1)).and(addresses.get::<u32>([192, 0, 2, 77])).unwrap_err(),
            "not of 4",
        );
        refused(addresses.get::<u64>(1_u8).unwrap_err(), "key");
        refused(addresses.set(key(1), 7_u32).unwrap_err(), "value");
        refused(map(MapType::PERCPU_ARRAY, 4, 8, 1).get::<u64>(key(0)).unwrap_err(), "each CPU");
    });
}

#[test]
fn an_fd_becomes_a_handle_of_its_own_kind_only() {
    alone(|| {
        let fd = || map(MapType::ARRAY, 4, 4, 1).as_fd().try_clone_to_owned().unwrap();
        assert!(Map::try_from(fd()).is_ok());
        assert_eq!(Program::try_from(fd()).unwrap_err().kind(), ErrorKind::Conflict);
    });
}
