//! A map in the kernel: creating it, finding it again, reading and writing its entries.
//!
//! ```no_run
//! use loader::map::{Map, UpdateFlags};
//!
//! let blacklist = Map::open_pinned("/sys/fs/bpf/blacklist")?;
//! blacklist.update(&[192, 0, 2, 77], &1_u32.to_ne_bytes(), UpdateFlags::ANY)?;
//! if let Some(value) = blacklist.lookup(&[192, 0, 2, 77])? {
//!     // One value, or for a per-CPU map one for each possible CPU.
//!     value.all().for_each(|bytes| println!("{bytes:?}"));
//! }
//! for entry in blacklist.entries() {
//!     println!("{:?}", entry?.key);
//! }
//! assert!(blacklist.delete(&[192, 0, 2, 77])?);
//! # Ok::<(), loader::Error>(())
//! ```

pub mod compare;
mod copy;
mod elements;
mod entries;
mod memory;
mod packed;
mod perf_buffer;
mod plain;
mod ring_buffer;
mod value;

use std::fs;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use crate::error::{Context as _, Error, ErrorKind, Result, quote};
use crate::kernel::{LoadedBtf, Privilege, explain_refusal};
use crate::object::EntryTypes;
use crate::pin::{self, Kind};
pub(crate) use crate::sys::map::Mapping;
use crate::sys::{Errno, attr, bpf, map::MapFd};
use crate::uapi::bpf::{BPF_ANY, BPF_EXIST, BPF_F_NUMA_NODE, BPF_NOEXIST, Cmd, MapType, ObjName};

pub use entries::{Entries, Entry};
pub use memory::ArrayMemory;
pub use perf_buffer::{OverwritablePerfBuffer, PerfBuffer, PerfDump, PerfRecord};
pub use plain::Plain;
pub use ring_buffer::RingBuffer;
pub use value::Value;

/// What is created: the fields of `BPF_MAP_CREATE`. [`MapParams::new`] has those that each map needs.
#[non_exhaustive]
#[derive(Clone, Copy, Debug)]
pub struct MapParams<'a> {
    /// What errors call the map: its symbol, of which the kernel keeps only 15 bytes.
    pub label: &'a str,
    /// The type.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value, on one CPU.
    pub value_size: u32,
    /// How many entries it may hold; bytes for a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// The name that lists show. None for a kernel before 4.15, which refuses it with E2BIG.
    pub name: Option<ObjName>,
    /// The template for the values of a map of maps.
    pub inner_map: Option<BorrowedFd<'a>>,
    /// The NUMA node whose memory the map takes; it sets `BPF_F_NUMA_NODE` (4.14).
    pub numa_node: Option<u32>,
    /// The index of the network card that holds the map; 0 for the kernel itself (4.16).
    pub ifindex: u32,
    /// Means something else for each type (5.16); see [`MapShape::map_extra`](crate::object::MapShape::map_extra).
    pub map_extra: u64,
    /// The types of keys and values, among those that the kernel has taken (4.18).
    pub types: Option<(&'a LoadedBtf, EntryTypes)>,
}

impl<'a> MapParams<'a> {
    /// A map in the kernel's memory, without flags, and without a name in lists.
    ///
    /// ```no_run
    /// use loader::map::{Map, MapParams};
    /// use loader::uapi::bpf::{BPF_F_NO_PREALLOC, MapType};
    ///
    /// # fn main() -> loader::Result<()> {
    /// let mut params = MapParams::new("routes", MapType::LPM_TRIE, 8, 4, 1024);
    /// params.flags = BPF_F_NO_PREALLOC;
    /// let routes = Map::create(&params)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new(label: &'a str, map_type: MapType, key_size: u32, value_size: u32, max_entries: u32) -> Self {
        Self {
            label,
            map_type,
            key_size,
            value_size,
            max_entries,
            flags: 0,
            name: None,
            inner_map: None,
            numa_node: None,
            ifindex: 0,
            map_extra: 0,
            types: None,
        }
    }

    /// The flags as they are sent: with `BPF_F_NUMA_NODE` where a node is given.
    pub fn all_flags(&self) -> u32 {
        self.flags | self.numa_node.map_or(0, |_| BPF_F_NUMA_NODE)
    }
}

/// A map as the kernel describes it. What a kernel does not know yet is 0 or empty.
///
/// Whether the map is frozen is not among it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MapInfo {
    /// The number by which the kernel knows it.
    pub id: u32,
    /// The type.
    pub map_type: MapType,
    /// Bytes of a key.
    pub key_size: u32,
    /// Bytes of a value, on one CPU.
    pub value_size: u32,
    /// How many entries it may hold; bytes for a ring buffer.
    pub max_entries: u32,
    /// `BPF_F_*`, as the kernel keeps them: see [`compare`].
    pub flags: u32,
    /// The name that it was created with, possibly empty (4.15).
    pub name: String,
    /// The index of the network card that holds it, 0 for none (4.16).
    pub ifindex: u32,
    /// The id of the BTF that has its key's and value's types, 0 for none (4.18).
    pub btf_id: u32,
    /// Its key's type in that BTF (4.18).
    pub btf_key_type_id: u32,
    /// Its value's type in that BTF (4.18).
    pub btf_value_type_id: u32,
    /// Means something else for each map type (5.16).
    pub map_extra: u64,
}

impl MapInfo {
    /// The section of variables whose map it is, by its name: `.rodata` of `my.rodata`, since the kernel has the
    /// object's name before the section's.
    pub fn section_name(&self) -> Option<&str> {
        let section = &self.name[self.name.find('.')?..];
        let word = section[1..].split('.').next();
        matches!(word, Some("rodata" | "data" | "bss" | "kconfig")).then_some(section)
    }
}

impl MapInfo {
    fn new(info: &attr::MapInfo) -> Self {
        Self {
            id: info.id,
            map_type: MapType(info.map_type),
            key_size: info.key_size,
            value_size: info.value_size,
            max_entries: info.max_entries,
            flags: info.map_flags,
            name: ObjName::from_bytes(info.name).to_string(),
            ifindex: info.ifindex,
            btf_id: info.btf_id,
            btf_key_type_id: info.btf_key_type_id,
            btf_value_type_id: info.btf_value_type_id,
            map_extra: info.map_extra,
        }
    }
}

/// What a write asks of the entry that it finds, or does not find: `flags` of `BPF_MAP_UPDATE_ELEM`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateFlags(pub u64);

impl UpdateFlags {
    /// Create the entry or overwrite it.
    pub const ANY: Self = Self(BPF_ANY);
    /// Create the entry, which must not be there.
    pub const NO_EXIST: Self = Self(BPF_NOEXIST);
    /// Overwrite the entry, which must be there.
    pub const EXIST: Self = Self(BPF_EXIST);
}

/// A map in the kernel, held by an fd. Dropping it closes the fd; a map that a program uses or that is pinned lives
/// on.
///
/// Keys and values are bytes in the machine's byte order. Their lengths are compared with what the kernel says of
/// the map before any call is made.
#[derive(Debug)]
pub struct Map {
    fd: MapFd,
    label: String,
}

/// As [`Map::from_fd`].
impl TryFrom<OwnedFd> for Map {
    type Error = Error;

    fn try_from(fd: OwnedFd) -> Result<Self> {
        Self::from_fd(fd)
    }
}

impl Map {
    /// Creates a map: exactly one `BPF_MAP_CREATE`.
    pub fn create(params: &MapParams<'_>) -> Result<Self> {
        let label = label(params.label, None);
        let mut attr = attr::MapCreate::default();
        attr.map_type = params.map_type.0;
        attr.key_size = params.key_size;
        attr.value_size = params.value_size;
        attr.max_entries = params.max_entries;
        attr.map_flags = params.all_flags();
        attr.map_name = params.name.map_or([0; 16], |name| name.bytes());
        attr.numa_node = params.numa_node.unwrap_or(0);
        attr.inner_map_fd = params.inner_map.map_or(0, raw);
        attr.map_ifindex = params.ifindex;
        attr.map_extra = params.map_extra;
        if let Some((_, types)) = params.types {
            attr.btf_key_type_id = types.key.0;
            attr.btf_value_type_id = types.value.0;
        }
        match MapFd::create(attr, params.types.map(|(btf, _)| btf.as_fd())) {
            Ok(fd) => Ok(Self { fd, label }),
            Err(errno) => Err(create_error(params, &label, errno)),
        }
    }

    /// Takes over `fd`, which must be that of a map: exactly one `BPF_OBJ_GET_INFO_BY_FD`, for its sizes and name.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        Self::with_info(fd).map(|(map, _)| map)
    }

    /// As [`Map::from_fd`], and gives what that call told.
    pub fn with_info(fd: OwnedFd) -> Result<(Self, MapInfo)> {
        pin::expect(Kind::Map, fd.as_fd())?;
        Self::described(fd)
    }

    /// The same of an fd that can only be that of a map.
    fn described(fd: OwnedFd) -> Result<(Self, MapInfo)> {
        let (fd, info) = MapFd::from_fd(fd)
            .map_err(|errno| Error::os(&Cmd::OBJ_GET_INFO_BY_FD.call(), "the map", errno.0))?;
        let info = MapInfo::new(&info);
        Ok((Self { fd, label: label(&info.name, Some(info.id)) }, info))
    }

    /// Opens the map with this id: one `BPF_MAP_GET_FD_BY_ID`, and one `BPF_OBJ_GET_INFO_BY_FD` for its sizes and name.
    /// It needs CAP_SYS_ADMIN.
    pub fn from_id(id: u32) -> Result<Self> {
        Self::from_id_with_info(id).map(|(map, _)| map)
    }

    /// As [`Map::from_id`], and gives what the kernel told.
    pub fn from_id_with_info(id: u32) -> Result<(Self, MapInfo)> {
        let fd = bpf::map_fd_by_id(id).map_err(|errno| by_id_error(id, errno))?;
        Self::described(fd).context(|| label("", Some(id)))
    }

    /// Opens the map that is pinned at `path`: one `BPF_OBJ_GET`, and the call of [`Map::from_fd`].
    pub fn open_pinned(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::from_fd(pin::open(path)?).context(|| format!("pin {}", pin::show(path)))
    }

    /// Pins the map at `path`: one `BPF_OBJ_PIN`.
    pub fn pin(&self, path: impl AsRef<Path>) -> Result<()> {
        pin::pin(self.as_fd(), path.as_ref()).context(|| format!("pinning {}", self.label))
    }

    /// What the kernel says of the map: one `BPF_OBJ_GET_INFO_BY_FD`.
    pub fn info(&self) -> Result<MapInfo> {
        match bpf::map_info(self.as_fd()) {
            Ok(info) => Ok(MapInfo::new(&info)),
            Err(errno) => Err(Error::os(&Cmd::OBJ_GET_INFO_BY_FD.call(), &self.label, errno.0)),
        }
    }

    /// Whether user space may change it no more, after [`Map::freeze`]: /proc has it (5.2).
    pub fn is_frozen(&self) -> Result<bool> {
        let path = format!("/proc/self/fdinfo/{}", self.as_fd().as_raw_fd());
        let text = fs::read_to_string(&path).map_err(|error| {
            Error::os("read(2)", &path, error.raw_os_error().unwrap_or_default())
                .context("looking whether the map is frozen")
        })?;
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        Ok(fields.any(|(name, value)| name == "frozen" && value.trim() == "1"))
    }

    /// Takes from user space the right to change the map, for good: one `BPF_MAP_FREEZE` (5.2).
    pub fn freeze(&self) -> Result<()> {
        bpf::map_freeze(self.as_fd())
            .map_err(|errno| Error::os(&Cmd::MAP_FREEZE.call(), &self.label, errno.0))
    }

    /// Maps `len` bytes of the map into the memory of this process, at `address` or, if that is 0, at one of the
    /// kernel's choice: one mmap(2). For an arena that has no address yet this is the one that it keeps. Its first
    /// bytes become `content`.
    pub(crate) fn mmap(&self, address: u64, len: u64, content: &[u8]) -> Result<Mapping> {
        let mapping = self.fd.mmap_at(address, len);
        let mapping = mapping.and_then(|mut mapping| mapping.write(content).map(|()| mapping));
        mapping.map_err(|errno| Error::os("mmap(2)", &self.label, errno.0))
    }

    /// A second handle of the same map.
    pub fn try_clone(&self) -> Result<Self> {
        let fd =
            self.fd.try_clone().map_err(|error| Error::io("fcntl(F_DUPFD_CLOEXEC)", &self.label, &error))?;
        Ok(Self { fd, label: self.label.clone() })
    }

    /// The type.
    pub fn map_type(&self) -> MapType {
        self.fd.layout().map_type
    }

    /// Bytes of a key.
    pub fn key_size(&self) -> usize {
        self.fd.layout().key_size
    }

    /// Bytes of a value, on one CPU.
    pub fn value_size(&self) -> usize {
        self.fd.layout().value_size
    }

    /// How many entries it may hold; bytes for a ring buffer.
    pub fn max_entries(&self) -> u32 {
        self.fd.layout().max_entries
    }
}

impl From<Map> for OwnedFd {
    fn from(map: Map) -> Self {
        map.fd.into()
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.fd()
    }
}

/// An fd as the kernel takes it in a number of 32 bits.
fn raw(fd: BorrowedFd<'_>) -> u32 {
    u32::try_from(fd.as_raw_fd()).expect("an open fd is not negative")
}

fn by_id_error(id: u32, errno: Errno) -> Error {
    if errno == Errno::ENOENT {
        return Error::new(ErrorKind::NotFound, format!("there is no map with id {id}"));
    }
    let error = Error::os(&Cmd::MAP_GET_FD_BY_ID.call(), label("", Some(id)), errno.0);
    explain_refusal(error, &[Privilege::Admin])
}

/// How long a value may be in a map that has one for each CPU (`PCPU_MIN_UNIT_SIZE` in `include/linux/percpu.h`).
const PER_CPU_VALUE: u32 = 32 * 1024;

/// Says what was asked for, and what the errno means where that is certain.
fn create_error(params: &MapParams<'_>, label: &str, errno: Errno) -> Error {
    let error = Error::os(&Cmd::MAP_CREATE.call(), label, errno.0);
    let MapParams { map_type, key_size, value_size, max_entries, .. } = params;
    let shape = format!("{map_type}, {max_entries} entries, keys of {key_size} B, values of {value_size} B");
    let error = error.context(format!("creating a map ({shape})"));
    match errno {
        Errno::E2BIG if map_type.is_per_cpu() && *value_size > PER_CPU_VALUE => {
            let rule = format!("values of which each CPU has its own have at most {PER_CPU_VALUE} bytes");
            error.with_rule(rule).with_help("make its value smaller, or divide it into several entries")
        }
        Errno::E2BIG | Errno::ENOMEM if *max_entries == 1 => error.with_help(
            "it is too big for this kernel: make its value smaller, or divide it into several entries",
        ),
        Errno::E2BIG | Errno::ENOMEM => {
            error.with_help("it is too big for this kernel: ask for fewer entries, or for shorter ones")
        }
        _ if is_for_interfaces(*map_type) => explain_refusal(error, &[Privilege::Bpf, Privilege::BpfNetwork]),
        _ => explain_refusal(error, &[Privilege::Bpf]),
    }
}

/// Whether the kernel asks for CAP_NET_ADMIN to create a map of this type (`map_create()` in `kernel/bpf/syscall.c`).
fn is_for_interfaces(map_type: MapType) -> bool {
    matches!(
        map_type,
        MapType::SOCKMAP | MapType::SOCKHASH | MapType::DEVMAP | MapType::DEVMAP_HASH | MapType::XSKMAP
    )
}

/// The map as messages call it.
fn label(name: &str, id: Option<u32>) -> String {
    match id {
        _ if !name.is_empty() => format!("map {}", quote(name)),
        Some(id) => format!("map {id}"),
        None => "the map".to_owned(),
    }
}

/// Whether the keys of the type are the numbers below `max_entries`, all of which are always there to be walked.
fn is_indexed(map_type: MapType) -> bool {
    matches!(
        map_type,
        MapType::ARRAY
            | MapType::PERCPU_ARRAY
            | MapType::PROG_ARRAY
            | MapType::PERF_EVENT_ARRAY
            | MapType::CGROUP_ARRAY
            | MapType::ARRAY_OF_MAPS
            | MapType::DEVMAP
            | MapType::CPUMAP
            | MapType::XSKMAP
            | MapType::SOCKMAP
            | MapType::REUSEPORT_SOCKARRAY
    )
}
