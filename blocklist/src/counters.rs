//! What has become of packets, by interface and verdict.

use loader::Result;

use crate::layout::{COUNTERS_SIZE, VERDICTS, u32_at, u64_at};
use crate::store::{Blocklist, shapes};

/// What becomes of a packet: `enum block_verdict`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// Neither IPv4 nor IPv6, or neighbour discovery: passed.
    Other,
    /// IPv4 that no rule is about, while the default is to pass.
    Passed4,
    /// The same of IPv6.
    Passed6,
    /// Dropped IPv4: listed, or in no rule while the default is to drop.
    Dropped4,
    /// The same of IPv6.
    Dropped6,
    /// Would be dropped, but for an exception.
    Allowed,
    /// Would be dropped, while packets are only counted.
    WouldDrop,
    /// Too short for its own headers: passed.
    Truncated,
}

impl Verdict {
    /// All of them, in the order of the kernel's numbers.
    pub const ALL: [Self; VERDICTS] = [
        Self::Other,
        Self::Passed4,
        Self::Passed6,
        Self::Dropped4,
        Self::Dropped6,
        Self::Allowed,
        Self::WouldDrop,
        Self::Truncated,
    ];

    /// Its name in answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Other => "other",
            Self::Passed4 => "passed4",
            Self::Passed6 => "passed6",
            Self::Dropped4 => "dropped4",
            Self::Dropped6 => "dropped6",
            Self::Allowed => "allowed",
            Self::WouldDrop => "would_drop",
            Self::Truncated => "truncated",
        }
    }
}

/// How many packets, and their bytes.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes from the Ethernet header on.
    pub bytes: u64,
}

/// The counts of one interface.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// The index of the interface. Interfaces whose indices are the same modulo 256 share their counts. 0 stands for
    /// all interfaces, which kernels before 4.16 cannot tell apart.
    pub ifindex: u32,
    /// By verdict, in the order of [`Verdict::ALL`].
    pub counts: [Count; VERDICTS],
}

impl Counters {
    /// Those of an interface that has seen no packet.
    pub fn none(ifindex: u32) -> Self {
        Self { ifindex, counts: [Count::default(); VERDICTS] }
    }

    /// The sum over some verdicts.
    pub fn sum(&self, verdicts: &[Verdict]) -> Count {
        let of = |verdict: &Verdict| self.counts[*verdict as usize];
        verdicts.iter().map(of).fold(Count::default(), |sum, count| Count {
            packets: sum.packets.wrapping_add(count.packets),
            bytes: sum.bytes.wrapping_add(count.bytes),
        })
    }
}

/// The counts of every interface that has seen a packet, in the order of their indexes; those of all with the index 0,
/// where the kernel cannot tell which interface it was.
pub fn read(blocklist: &Blocklist) -> Result<Vec<Counters>> {
    let map = blocklist.open(&shapes::COUNTERS)?;
    let mut found: Vec<Counters> = Vec::new();
    for entry in map.entries() {
        let entry = entry?;
        let mut counters = Counters::none(0);
        for value in entry.value.all().filter(|value| value.len() >= COUNTERS_SIZE) {
            counters.ifindex = counters.ifindex.max(u32_at(value, 0));
            for (at, count) in counters.counts.iter_mut().enumerate() {
                count.packets = count.packets.wrapping_add(u64_at(value, 8 + 16 * at));
                count.bytes = count.bytes.wrapping_add(u64_at(value, 16 + 16 * at));
            }
        }
        if counters.ifindex != 0 || counters.sum(&Verdict::ALL).packets != 0 {
            let place = found.partition_point(|other| other.ifindex < counters.ifindex);
            found.insert(place, counters);
        }
    }
    Ok(found)
}
