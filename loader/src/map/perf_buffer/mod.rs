//! Reads what programs have put into the rings of perf events, of which each CPU has one.

mod overwritable;
mod record;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{Map, UpdateFlags};
use crate::error::{Error, ErrorKind, Result};
use crate::kernel::{explain_perf_event, explain_perf_memory};
use crate::sys::map::MapFd;
use crate::sys::perf::{Direction, PerfRing, watch};
use crate::sys::{Errno, cpus};
use crate::uapi::bpf::MapType;
use record::Position;

pub use overwritable::{OverwritablePerfBuffer, PerfDump};
pub use record::PerfRecord;

/// The reader of a `BPF_MAP_TYPE_PERF_EVENT_ARRAY` (4.4), into which programs put records with
/// `bpf_perf_event_output(ctx, &map, BPF_F_CURRENT_CPU, data, size)`.
///
/// Each CPU that is online has a ring of its own, as far as the map has entries. To a program that runs on any other,
/// one that comes online later too, the kernel answers ENOENT, EOPNOTSUPP or E2BIG.
///
/// The records of a CPU come in their order, those of different CPUs in none: a program that needs one puts the time
/// into them, `bpf_ktime_get_ns()`, which is that of clock_gettime(2) with `CLOCK_MONOTONIC`.
///
/// Its fd is readable to poll(2) and epoll(7) when records have come since they were last asked, once: read until there
/// is none before you wait again.
///
/// When it is dropped, the entries of its CPUs are taken out of the map, and if the process ends the kernel does so,
/// unless the map has `BPF_F_PRESERVE_ELEMS` (5.10). A map has one reader: another one takes its place, whoever made
/// it, and has none any more when the first is dropped. The kernel does not tell whose an entry is.
///
/// ```no_run
/// use loader::map::PerfRecord;
///
/// # fn main() -> loader::Result<()> {
/// let mut events = loader::Map::open_pinned("/sys/fs/bpf/edge/maps/events")?.perf_buffer(8)?;
/// while let Some(record) = events.next_record() {
///     match record {
///         PerfRecord::Sample { cpu, bytes } => println!("CPU {cpu}: {bytes:02x?}"),
///         PerfRecord::Lost { cpu, count } => println!("CPU {cpu}: {count} were lost"),
///         other => println!("{other:?}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PerfBuffer {
    events: Events,
    /// How far each of the rings has been read.
    positions: Vec<Position>,
    /// The ring that is being read.
    current: usize,
    record: Vec<u8>,
    epoll: OwnedFd,
}

impl Map {
    /// Opens a ring for each CPU, of so many pages of memory, a power of two, and puts it into the map. Any map of
    /// another type is refused.
    ///
    /// For each CPU these are a perf_event_open(2), an mmap(2), an epoll_ctl(2) and a `BPF_MAP_UPDATE_ELEM`. The first
    /// takes CAP_PERFMON (before 5.8: CAP_SYS_ADMIN), the second CAP_IPC_LOCK if the rings of all readers of a user are
    /// bigger than the sysctl kernel.perf_event_mlock_kb, for each online CPU, and RLIMIT_MEMLOCK allow.
    pub fn perf_buffer(&self, pages: u32) -> Result<PerfBuffer> {
        let rings = self.perf_rings(pages, Direction::Forward)?;
        let refused = |errno: Errno| Error::os("epoll_ctl(2)", &self.label, errno.0);
        let epoll = watch(rings.iter().map(|(_, ring)| ring)).map_err(refused)?;
        let positions = rings.iter().map(|_| Position::default()).collect();
        let events = self.take_in(rings)?;
        Ok(PerfBuffer { events, positions, current: 0, record: Vec::new(), epoll })
    }

    /// A ring for each CPU that is online and that the map has an entry for.
    fn perf_rings(&self, pages: u32, direction: Direction) -> Result<Vec<(u32, PerfRing)>> {
        let map_type = self.map_type();
        if map_type != MapType::PERF_EVENT_ARRAY {
            let expected = MapType::PERF_EVENT_ARRAY;
            return Err(self.misfit(format_args!("expected a map of type {expected}, found {map_type}")));
        }
        if !pages.is_power_of_two() {
            return Err(
                self.misfit(format_args!("a ring has a power of two of pages, such as 8, and not {pages}"))
            );
        }
        let refused = |(call, errno): Refusal| Error::os(call, cpus::POSSIBLE, errno.0);
        let cpus = cpus::each_possible().map_err(refused)?.filter(|cpu| *cpu < self.max_entries());
        let rings = of_online(cpus, |cpu| PerfRing::open(cpu, pages, direction));
        let rings = rings.map_err(|(cpu, (call, errno))| {
            let error = Error::os(call, &self.label, errno.0);
            let error = match call {
                "mmap(2)" => explain_perf_memory(error),
                _ => explain_perf_event(error),
            };
            error.context(format!("opening a ring of {pages} pages for CPU {cpu}"))
        })?;
        if rings.is_empty() {
            let message = format!("{}: no CPU that it has an entry for is online", self.label);
            return Err(Error::new(ErrorKind::NotFound, message));
        }
        Ok(rings)
    }

    /// Puts rings into the entries of their CPUs.
    fn take_in(&self, rings: Vec<(u32, PerfRing)>) -> Result<Events> {
        let fd = self.fd.try_clone().map_err(|error| Error::io("fcntl(2)", &self.label, &error))?;
        let mut events = Events { map: fd, label: self.label.clone(), entries: Vec::new(), rings };
        for (cpu, ring) in &events.rings {
            self.update_fd(&cpu.to_ne_bytes(), ring.fd(), UpdateFlags::ANY)?;
            events.entries.push(*cpu);
        }
        Ok(events)
    }
}

/// A call that was refused.
type Refusal = (&'static str, Errno);

/// Opens a ring for each of `cpus`. The kernel says ENODEV of those that are not online: it knows better than a file in
/// /sys, over which containers mount others.
fn of_online<R>(
    cpus: impl Iterator<Item = u32>,
    open: impl Fn(u32) -> Result<R, Refusal>,
) -> Result<Vec<(u32, R)>, (u32, Refusal)> {
    let mut rings = Vec::new();
    for cpu in cpus {
        match open(cpu) {
            Ok(ring) => rings.push((cpu, ring)),
            Err((_, Errno::ENODEV)) => {}
            Err(refusal) => return Err((cpu, refusal)),
        }
    }
    Ok(rings)
}

/// The rings of the CPUs, in a map until they are dropped.
#[derive(Debug)]
struct Events {
    map: MapFd,
    label: String,
    /// The CPUs whose entries have their ring.
    entries: Vec<u32>,
    rings: Vec<(u32, PerfRing)>,
}

/// An entry holds its event until it is deleted, or until the opening of the map is closed by which it was made
/// (`perf_event_fd_array_release()` in `kernel/bpf/arraymap.c`, 6.18), which other handles may have too.
impl Drop for Events {
    fn drop(&mut self) {
        for cpu in &self.entries {
            // One that is gone has been deleted by somebody else.
            let _ = self.map.delete(&cpu.to_ne_bytes());
        }
    }
}

impl PerfBuffer {
    /// The next record, without waiting: none if no ring has one. All that a ring had when its turn came are given
    /// before those of the next one.
    pub fn next_record(&mut self) -> Option<PerfRecord<'_>> {
        let cpu = self.take()?;
        // What was taken is of a type that is told.
        PerfRecord::parse(cpu, &self.record)
    }

    /// Copies the next record, and tells its CPU.
    fn take(&mut self) -> Option<u32> {
        let mut to_visit = self.positions.len();
        loop {
            let (position, (cpu, ring)) =
                (self.positions.get_mut(self.current)?, &mut self.events.rings[self.current]);
            if position.take(ring.words(), &mut self.record) {
                ring.set_tail(position.tail);
                if PerfRecord::parse(*cpu, &self.record).is_some() {
                    return Some(*cpu);
                }
            } else {
                to_visit = to_visit.checked_sub(1)?;
                self.current = (self.current + 1) % self.positions.len();
                self.positions[self.current].head = self.events.rings[self.current].1.head();
            }
        }
    }
}

impl AsFd for PerfBuffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_that_are_not_online_are_left_out() {
        let open = |cpu| match cpu {
            1 | 3 => Err(("perf_event_open(2)", Errno::ENODEV)),
            9 => Err(("mmap(2)", Errno::EPERM)),
            _ => Ok(cpu),
        };
        assert_eq!(of_online(0..5, open), Ok(vec![(0, 0), (2, 2), (4, 4)]));
        assert_eq!(of_online([0, 9].into_iter(), open), Err((9, ("mmap(2)", Errno::EPERM))));
    }
}
