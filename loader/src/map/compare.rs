//! Whether a map that is already there, such as a pinned one, has the shape that an object asks for.

use std::fmt;

use super::MapInfo;
use crate::object::MapShape;
use crate::uapi::bpf::{
    BPF_F_NO_COMMON_LRU, BPF_F_RDONLY, BPF_F_RDONLY_PROG, BPF_F_WRONLY, MAP_FLAGS, MapType, flag_names,
};

impl From<&MapInfo> for MapShape {
    fn from(info: &MapInfo) -> Self {
        Self {
            map_type: info.map_type,
            key_size: info.key_size,
            value_size: info.value_size,
            max_entries: info.max_entries,
            flags: info.flags,
            map_extra: info.map_extra,
        }
    }
}

/// A field in which a map differs from what is wanted. It prints as `max_entries is 64, wanted 128`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field's name in `union bpf_attr`.
    pub field: &'static str,
    /// The value that is asked for.
    pub wanted: String,
    /// The value that the map has.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, wanted {}", self.field, self.found, self.wanted)
    }
}

/// The fields in which a map differs from what is wanted, none if it will serve.
///
/// `possible_cpus` is [`possible_cpus`](crate::kernel::possible_cpus). What the kernel changes by itself when it
/// creates a map is no difference; see [`MapShape::as_kept`].
pub fn differences(wanted: &MapShape, found: &MapInfo, possible_cpus: usize) -> Vec<Difference> {
    fields(wanted, found, possible_cpus).into_iter().filter(|field| field.wanted != field.found).collect()
}

/// The same with the fields that agree, as the lines of a table; those that differ are marked.
pub fn table(wanted: &MapShape, found: &MapInfo, possible_cpus: usize) -> Vec<String> {
    let fields = fields(wanted, found, possible_cpus);
    let width = fields.iter().map(|field| field.found.len()).max().unwrap_or_default().max(5);
    let line = |name: &str, found: &str, wanted: &str, mark: &str| {
        format!("  {name:<11}  {found:<width$}  {wanted}{mark}")
    };
    let head = line("field", "found", "wanted", "");
    let rows = fields.iter().map(|field| {
        let mark = if field.wanted == field.found { "" } else { "  <- differs" };
        line(field.field, &field.found, &field.wanted, mark)
    });
    std::iter::once(head).chain(rows).collect()
}

/// All fields of a shape, as they are wanted and found.
fn fields(wanted: &MapShape, found: &MapInfo, possible_cpus: usize) -> Vec<Difference> {
    let (wanted, found) = (wanted.as_kept(possible_cpus), MapShape::from(found));
    let flags = |flags: u32| (flags, flag_names(flags, MAP_FLAGS));
    let number = |number: u32| (number, number.to_string());
    let fields = [
        ("map_type", named(wanted.map_type), named(found.map_type)),
        ("key_size", number(wanted.key_size), number(found.key_size)),
        ("value_size", number(wanted.value_size), number(found.value_size)),
        ("max_entries", number(wanted.max_entries), number(found.max_entries)),
        ("map_flags", flags(wanted.flags), flags(found.without_kernel_flags())),
    ];
    // Kernels before 5.16 tell of none, but then no type of map means anything by it.
    let extra = (wanted.map_extra != found.map_extra).then(|| Difference {
        field: "map_extra",
        wanted: format!("{:#x}", wanted.map_extra),
        found: format!("{:#x}", found.map_extra),
    });
    fields
        .into_iter()
        .map(|(field, wanted, found)| Difference { field, wanted: wanted.1, found: found.1 })
        .chain(extra)
        .collect()
}

impl MapShape {
    /// The shape that the kernel keeps when it is asked for this one.
    ///
    /// * `BPF_F_RDONLY` and `BPF_F_WRONLY` belong to the fd, not to the map (`bpf_map_flags_retain_permanent()` in
    ///   `kernel/bpf/syscall.c`).
    /// * An LRU map with `BPF_F_NO_COMMON_LRU` gets as many entries for each possible CPU, so that `max_entries` is
    ///   rounded up to a multiple of their number (`htab_map_alloc()` in `kernel/bpf/hashtab.c`).
    /// * A devmap becomes `BPF_F_RDONLY_PROG` (`dev_map_init_map()` in `kernel/bpf/devmap.c`, since 5.3). Older
    ///   kernels do not set it, so that it is left out of the comparison.
    pub fn as_kept(&self, possible_cpus: usize) -> Self {
        let mut kept = *self;
        kept.flags = self.without_kernel_flags() & !(BPF_F_RDONLY | BPF_F_WRONLY);
        let lru = matches!(self.map_type, MapType::LRU_HASH | MapType::LRU_PERCPU_HASH);
        if lru && self.flags & BPF_F_NO_COMMON_LRU != 0 {
            let cpus = u32::try_from(possible_cpus.max(1)).unwrap_or(u32::MAX);
            kept.max_entries = self.max_entries.checked_next_multiple_of(cpus).unwrap_or(self.max_entries);
        }
        kept
    }

    fn without_kernel_flags(&self) -> u32 {
        match self.map_type {
            MapType::DEVMAP | MapType::DEVMAP_HASH => self.flags & !BPF_F_RDONLY_PROG,
            _ => self.flags,
        }
    }
}

fn named(map_type: MapType) -> (u32, String) {
    (map_type.0, map_type.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: MapShape = MapShape {
        map_type: MapType::HASH,
        key_size: 4,
        value_size: 8,
        max_entries: 64,
        flags: 0,
        map_extra: 0,
    };

    fn info(shape: MapShape) -> MapInfo {
        MapInfo {
            id: 1,
            map_type: shape.map_type,
            key_size: shape.key_size,
            value_size: shape.value_size,
            max_entries: shape.max_entries,
            flags: shape.flags,
            name: String::new(),
            ifindex: 0,
            btf_id: 0,
            btf_key_type_id: 0,
            btf_value_type_id: 0,
            map_extra: 0,
        }
    }

    fn compare(wanted: MapShape, found: MapShape) -> Vec<String> {
        differences(&wanted, &info(found), 4).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn each_field_that_differs_is_named_with_both_values() {
        let found = MapShape {
            map_type: MapType::LRU_HASH,
            key_size: 8,
            value_size: 4,
            max_entries: 65,
            flags: 1,
            map_extra: 0,
        };
        assert_eq!(
            compare(HASH, found),
            [
                "map_type is lru_hash, wanted hash",
                "key_size is 8, wanted 4",
                "value_size is 4, wanted 8",
                "max_entries is 65, wanted 64",
                "map_flags is BPF_F_NO_PREALLOC, wanted 0",
            ]
        );
        assert_eq!(compare(HASH, HASH), [""; 0]);
    }

    #[test]
    fn what_the_kernel_changes_by_itself_is_no_difference() {
        let devmap = MapShape { map_type: MapType::DEVMAP, ..HASH };
        assert_eq!(compare(devmap, MapShape { flags: BPF_F_RDONLY_PROG, ..devmap }), [""; 0]);
        assert_eq!(compare(MapShape { flags: BPF_F_RDONLY, ..HASH }, HASH), [""; 0]);
        let lru =
            MapShape { map_type: MapType::LRU_HASH, flags: BPF_F_NO_COMMON_LRU, max_entries: 5, ..HASH };
        assert_eq!(compare(lru, MapShape { max_entries: 8, ..lru }), [""; 0]);
        assert_eq!(compare(lru, lru), ["max_entries is 5, wanted 8"]);
    }

    #[test]
    fn programs_that_may_only_read_are_a_difference_elsewhere() {
        let found = MapShape { flags: BPF_F_RDONLY_PROG | 1 << 31, ..HASH };
        assert_eq!(compare(HASH, found), ["map_flags is BPF_F_RDONLY_PROG|0x80000000, wanted 0"]);
    }
}
