//! Entries copied from map to map, as an upgrade does where the shapes differ: root, but no network.

mod alone;

use std::os::fd::AsFd as _;

use loader::ErrorKind;
use loader::kernel::possible_cpus;
use loader::map::{Map, MapParams, UpdateFlags};
use loader::uapi::bpf::{BPF_F_NO_PREALLOC, MapType, ObjName};

use crate::alone::alone;

fn params(map_type: MapType, value_size: u32, max_entries: u32) -> MapParams<'static> {
    let is_trie = map_type == MapType::LPM_TRIE;
    let mut params = MapParams::new("copies", map_type, if is_trie { 8 } else { 4 }, value_size, max_entries);
    params.flags = if is_trie { BPF_F_NO_PREALLOC } else { 0 };
    params.name = Some(ObjName::from_symbol("copies"));
    params
}

fn map(map_type: MapType, value_size: u32, max_entries: u32) -> Map {
    Map::create(&params(map_type, value_size, max_entries)).expect("root may make maps")
}

/// All entries, each with its values, in the order of their keys.
fn entries(map: &Map) -> Vec<(Vec<u8>, Vec<Vec<u8>>)> {
    let all = map.entries().map(|entry| entry.expect("nobody changes the map"));
    let mut all: Vec<_> =
        all.map(|entry| (entry.key, entry.value.all().map(<[u8]>::to_vec).collect())).collect();
    all.sort();
    all
}

#[test]
fn each_kind_of_entries_is_copied_in_both_ways() {
    alone(|| {
        for (from, to, count) in [
            (MapType::HASH, MapType::LRU_HASH, 10_000),
            (MapType::LRU_HASH, MapType::HASH, 500),
            (MapType::ARRAY, MapType::ARRAY, 700),
            (MapType::LPM_TRIE, MapType::LPM_TRIE, 600),
        ] {
            let old = map(from, 6, count);
            let keys: Vec<_> = (0..count)
                .map(|number| match from {
                    MapType::LPM_TRIE => [32_u32.to_ne_bytes(), number.to_be_bytes()].concat(),
                    _ => number.to_ne_bytes().to_vec(),
                })
                .collect();
            for (key, number) in keys.iter().zip(0_u32..) {
                let value = [&number.to_ne_bytes()[..], &[1, 2]].concat();
                old.update(key, &value, UpdateFlags::ANY).unwrap();
            }
            for copy in [Map::copy_pages, Map::copy_entries] {
                // A map of the kind that has room for what it need not keep.
                let new = map(to, 6, count * 2);
                let copied = copy(&old, &new).unwrap();
                assert_eq!(copied, entries(&old).len(), "{from} to {to}");
                let expected = entries(&old);
                let found = entries(&new);
                assert!(expected.iter().all(|entry| found.binary_search(entry).is_ok()), "{from} to {to}");
            }
        }
    });
}

#[test]
fn values_keep_their_cpus() {
    alone(|| {
        let cpus = possible_cpus().unwrap();
        for map_type in [MapType::PERCPU_HASH, MapType::PERCPU_ARRAY, MapType::LRU_PERCPU_HASH] {
            let old = map(map_type, 3, 1000);
            for number in 0..50_u8 {
                let values: Vec<_> = (0..cpus).map(|cpu| [number, u8::try_from(cpu).unwrap(), 7]).collect();
                let values: Vec<_> = values.iter().map(<[u8; 3]>::as_slice).collect();
                old.update_per_cpu(&u32::from(number).to_ne_bytes(), &values, UpdateFlags::ANY).unwrap();
            }
            for copy in [Map::copy_pages, Map::copy_entries] {
                let new = map(map_type, 3, 1000);
                assert_eq!(copy(&old, &new).unwrap(), entries(&old).len());
                assert_eq!(entries(&new), entries(&old), "{map_type}");
            }
        }
    });
}

#[test]
fn inner_maps_are_copied_by_what_they_are() {
    alone(|| {
        for map_type in [MapType::ARRAY_OF_MAPS, MapType::HASH_OF_MAPS] {
            let inner = [map(MapType::ARRAY, 4, 1), map(MapType::ARRAY, 4, 1)];
            let outer = |max_entries| {
                let mut params = params(map_type, 4, max_entries);
                params.inner_map = Some(inner[0].as_fd());
                Map::create(&params).expect("root may make maps")
            };
            let (old, new) = (outer(4), outer(9));
            for (index, inner) in [(1_u32, &inner[0]), (3, &inner[1])] {
                old.update_fd(&index.to_ne_bytes(), inner.as_fd(), UpdateFlags::ANY).unwrap();
            }
            assert_eq!(old.copy_inner_maps(&new).unwrap(), 2);
            assert_eq!(entries(&new), entries(&old), "{map_type}");
        }
    });
}

#[test]
fn what_does_not_fit_is_refused() {
    alone(|| {
        let old = map(MapType::HASH, 4, 10);
        for number in 0..10_u32 {
            old.update(&number.to_ne_bytes(), &[0; 4], UpdateFlags::ANY).unwrap();
        }
        let wider = old.copy_pages(&map(MapType::HASH, 8, 10)).unwrap_err();
        assert_eq!(wider.kind(), ErrorKind::Mismatch);
        assert_eq!(
            wider.to_string(),
            "entries of 4 and 4 bytes do not fit into a map whose keys take 4 and values 8"
        );
        for copy in [Map::copy_pages, Map::copy_entries] {
            let small = map(MapType::HASH, 4, 9);
            let full = copy(&old, &small).unwrap_err();
            assert!(full.to_string().contains("the map is full (9 entries)"), "{full}");
        }
        let queue = Map::create(&MapParams::new("copies", MapType::QUEUE, 0, 4, 4)).unwrap();
        let no_keys = queue.copy_entries(&queue.try_clone().unwrap()).unwrap_err();
        assert!(no_keys.to_string().contains("a queue has no keys to walk"), "{no_keys}");
    });
}
