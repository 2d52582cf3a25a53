//! Rings that are written over until somebody wants to know what came last.

use super::{Events, PerfRecord, record};
use crate::error::{Error, Result};
use crate::map::Map;
use crate::sys::perf::Direction;

/// The rings of a `BPF_MAP_TYPE_PERF_EVENT_ARRAY` that always have what came last (4.7): each record is written over
/// the oldest ones, and nobody needs to read until something has happened.
///
/// For the rest it is like a [`PerfBuffer`](super::PerfBuffer).
///
/// ```no_run
/// # fn main() -> loader::Result<()> {
/// let mut events = loader::Map::open_pinned("/sys/fs/bpf/edge/maps/events")?.overwritable_perf_buffer(8)?;
/// // When something has gone wrong:
/// for record in events.dump()?.records() {
///     println!("{record:?}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct OverwritablePerfBuffer {
    events: Events,
    /// Where each of the rings was last drained.
    drained: Vec<u64>,
}

/// What was copied of such rings.
#[derive(Clone, Debug)]
pub struct PerfDump(Vec<(u32, Vec<u8>)>);

impl Map {
    /// As [`Map::perf_buffer`], for rings that are written over, and without an epoll_ctl(2).
    pub fn overwritable_perf_buffer(&self, pages: u32) -> Result<OverwritablePerfBuffer> {
        let rings = self.perf_rings(pages, Direction::Backward)?;
        let drained = vec![0; rings.len()];
        Ok(OverwritablePerfBuffer { events: self.take_in(rings)?, drained })
    }
}

impl OverwritablePerfBuffer {
    /// Copies all that the rings have. It stays in them, and comes again the next time if it is still there.
    ///
    /// Two calls of ioctl(2) for each CPU. Between them the kernel writes nothing for that CPU, and counts it as lost.
    /// One record may be on its way into the ring when it is stopped, and then spoils the oldest one.
    pub fn dump(&mut self) -> Result<PerfDump> {
        self.copy(false)
    }

    /// The same of what has come since this was last asked.
    pub fn drain(&mut self) -> Result<PerfDump> {
        self.copy(true)
    }

    fn copy(&mut self, is_drained: bool) -> Result<PerfDump> {
        let mut copies = Vec::new();
        for ((cpu, ring), drained) in self.events.rings.iter().zip(&mut self.drained) {
            let pause = |is_paused| {
                ring.pause(is_paused).map_err(|errno| {
                    let error = Error::os("ioctl(PERF_EVENT_IOC_PAUSE_OUTPUT)", &self.events.label, errno.0);
                    error.context(format!("reading the ring of CPU {cpu}"))
                })
            };
            pause(true)?;
            let head = ring.head();
            let copied = record::copy_backward(ring.words(), head, if is_drained { *drained } else { 0 });
            pause(false)?;
            copies.push((*cpu, copied));
            if is_drained {
                *drained = head;
            }
        }
        Ok(PerfDump(copies))
    }
}

impl PerfDump {
    /// The records, CPU by CPU, and of each the newest one first.
    pub fn records(&self) -> impl Iterator<Item = PerfRecord<'_>> {
        self.0.iter().flat_map(|(cpu, copied)| record::records(*cpu, copied))
    }
}
