//! The records in a ring of a perf event: where one ends and what is in it, whatever the memory holds.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::uapi::perf_event::{PERF_EVENT_HEADER_SIZE, PERF_RECORD_LOST, PERF_RECORD_SAMPLE};

/// Bytes of a word, of which all records are multiples.
const WORD: usize = size_of::<u64>();

/// What the ring of a CPU had.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerfRecord<'a> {
    /// What a program has put there.
    Sample {
        /// The CPU that it ran on.
        cpu: u32,
        /// Its bytes, and behind them up to 7 without a meaning: the kernel makes 4 bytes of its own and these a
        /// multiple of 8, and does not tell how many the program gave.
        bytes: &'a [u8],
    },
    /// Records that had no room. The kernel tells of them in front of the next one that has.
    Lost {
        /// The CPU that the programs ran on.
        cpu: u32,
        /// How many they were.
        count: u64,
    },
    /// Something that the kernel does not write. All that the ring had at that time may be passed over with it.
    Malformed {
        /// Whose ring it is.
        cpu: u32,
    },
}

impl<'a> PerfRecord<'a> {
    /// What is in a record; none if it is of another type.
    pub(super) fn parse(cpu: u32, record: &'a [u8]) -> Option<Self> {
        let parsed = match u32_at(record, 0) {
            Some(PERF_RECORD_SAMPLE) => sample(record).map(|bytes| Self::Sample { cpu, bytes }),
            Some(PERF_RECORD_LOST) => {
                let number = record.get(PERF_EVENT_HEADER_SIZE + WORD..).and_then(<[u8]>::first_chunk);
                number.map(|number| Self::Lost { cpu, count: u64::from_ne_bytes(*number) })
            }
            Some(_) => return None,
            None => None,
        };
        Some(parsed.unwrap_or(Self::Malformed { cpu }))
    }
}

/// The bytes behind the length of a sample.
fn sample(record: &[u8]) -> Option<&[u8]> {
    let len = usize::try_from(u32_at(record, PERF_EVENT_HEADER_SIZE)?).ok()?;
    record.get(PERF_EVENT_HEADER_SIZE + size_of::<u32>()..)?.get(..len)
}

fn u32_at(record: &[u8], at: usize) -> Option<u32> {
    record.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// Bytes of the record with this header; none if no record has it.
fn len(header: [u8; WORD]) -> Option<usize> {
    let [.., first, second] = header;
    let len = usize::from(u16::from_ne_bytes([first, second]));
    (len >= PERF_EVENT_HEADER_SIZE && len % WORD == 0).then_some(len)
}

/// How far the reader of a ring has come, and how far it knows it to be written.
#[derive(Debug, Default)]
pub(super) struct Position {
    pub(super) tail: u64,
    pub(super) head: u64,
}

impl Position {
    /// Copies the next record, and goes behind it. False if there is none.
    ///
    /// Where the ring has what cannot be a record, all of it is passed over, and none of it copied.
    pub(super) fn take(&mut self, words: &[AtomicU64], record: &mut Vec<u8>) -> bool {
        let there = self.head.wrapping_sub(self.tail);
        if there == 0 {
            return false;
        }
        copy(words, self.tail, WORD, record);
        let len = record.first_chunk().and_then(|header| len(*header));
        if let Some(len) = len.filter(|len| there <= bytes(words) && *len as u64 <= there) {
            copy(words, self.tail, len, record);
            self.tail = self.tail.wrapping_add(len as u64);
        } else {
            record.clear();
            self.tail = self.head;
        }
        true
    }
}

/// Bytes of all words.
fn bytes(words: &[AtomicU64]) -> u64 {
    size_of_val(words) as u64
}

/// Copies `len` bytes from a position on, but no more than the ring has. Behind its last word comes its first one.
fn copy(words: &[AtomicU64], position: u64, len: usize, to: &mut Vec<u8>) {
    to.clear();
    let first =
        usize::try_from(position % bytes(words)).expect("it is less than the bytes of a slice") / WORD;
    let (before, from) = words.split_at(first);
    for word in from.iter().chain(before).take(len.div_ceil(WORD)) {
        to.extend(word.load(Ordering::Relaxed).to_ne_bytes());
    }
    to.truncate(len);
}

/// Copies what is in a ring that is written backward: all from `head` to where it was written from, if it is still
/// there.
pub(super) fn copy_backward(words: &[AtomicU64], head: u64, start: u64) -> Vec<u8> {
    let there = start.wrapping_sub(head).min(bytes(words));
    let mut records = Vec::new();
    copy(words, head, usize::try_from(there).expect("no more than the bytes of a slice"), &mut records);
    records
}

/// The records in what was copied of the ring of a CPU, up to one whose end is missing: it was written over.
pub(super) fn records(cpu: u32, mut rest: &[u8]) -> impl Iterator<Item = PerfRecord<'_>> {
    let next = move || {
        let (record, others) = rest.split_at_checked(len(*rest.first_chunk()?)?)?;
        rest = others;
        Some(record)
    };
    std::iter::from_fn(next).filter_map(move |record| PerfRecord::parse(cpu, record))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of this type around `body`.
    fn record(record_type: u32, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(PERF_EVENT_HEADER_SIZE + body.len()).unwrap();
        [&record_type.to_ne_bytes()[..], &[0; 2], &len.to_ne_bytes(), body].concat()
    }

    /// A sample of so many bytes, filled up as the kernel does.
    fn sample(fill: u8, len: usize) -> Vec<u8> {
        let len = (len + 4).next_multiple_of(WORD) - 4;
        let size = u32::try_from(len).unwrap();
        record(PERF_RECORD_SAMPLE, &[&size.to_ne_bytes()[..], &vec![fill; len]].concat())
    }

    fn lost(count: u64) -> Vec<u8> {
        record(PERF_RECORD_LOST, [7, count].map(u64::to_ne_bytes).as_flattened())
    }

    /// A ring of 16 words that was written with these bytes, from `position` on.
    fn ring(position: u64, content: &[u8]) -> Vec<AtomicU64> {
        let words: Vec<_> = (0..16).map(|_| AtomicU64::new(u64::MAX)).collect();
        for (at, chunk) in (position / 8..).zip(content.chunks_exact(8)) {
            let word = &words[usize::try_from(at % 16).unwrap()];
            word.store(u64::from_ne_bytes(chunk.try_into().unwrap()), Ordering::Relaxed);
        }
        words
    }

    #[test]
    fn records_are_told_by_their_type() {
        let told = |record: &[u8]| format!("{:?}", PerfRecord::parse(3, record));
        assert_eq!(told(&sample(5, 12)), format!("Some(Sample {{ cpu: 3, bytes: {:?} }})", [5; 12]));
        assert_eq!(told(&lost(9)), "Some(Lost { cpu: 3, count: 9 })");
        assert_eq!(told(&record(1, &[0; 32])), "None");
        let short = record(PERF_RECORD_SAMPLE, &13_u64.to_ne_bytes());
        let huge = record(PERF_RECORD_SAMPLE, &u64::MAX.to_ne_bytes());
        for bad in [&[][..], &[9], &record(PERF_RECORD_SAMPLE, &[]), &short, &huge, &lost(1)[..16]] {
            assert_eq!(told(bad), "Some(Malformed { cpu: 3 })", "{bad:?}");
        }
    }

    #[test]
    fn records_go_on_at_the_beginning_of_the_ring() {
        let content = [sample(1, 20), lost(2), sample(3, 36)].concat();
        assert_eq!(content.len(), 32 + 24 + 48);
        // The last of them: the numbers themselves begin anew.
        for start in [0, 8, 64, 120, 128 * 5 + 112, u64::MAX - 63] {
            let (words, mut taken) = (ring(start, &content), Vec::new());
            let mut position = Position { tail: start, head: start.wrapping_add(content.len() as u64) };
            let mut all = Vec::new();
            while position.take(&words, &mut taken) {
                all.extend_from_slice(&taken);
            }
            assert!(all == content, "{start}");
            assert_eq!(position.tail, position.head);
        }
    }

    #[test]
    fn what_is_no_record_is_passed_over_at_once() {
        let with_len = |len: u16| [&[0; 6][..], &len.to_ne_bytes(), &[0; 16]].concat();
        let good = sample(1, 4);
        // Shorter than a header; not of whole words; longer than what is there; more there than the ring has.
        let cases =
            [(with_len(0), 24), (with_len(4), 24), (with_len(12), 24), (with_len(32), 24), (good, 136)];
        for (content, there) in cases {
            let (words, mut taken) = (ring(16, &content), vec![1]);
            let mut position = Position { tail: 16, head: 16 + there };
            assert!(position.take(&words, &mut taken));
            assert_eq!(PerfRecord::parse(0, &taken), Some(PerfRecord::Malformed { cpu: 0 }), "{content:?}");
            assert!(!position.take(&words, &mut taken));
        }
    }

    /// Whatever the memory and the head are, the reader comes to the head, in no more steps than the ring has words.
    #[test]
    fn no_memory_leads_the_reader_astray() {
        let mut state = 1_u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        };
        for _ in 0..if cfg!(miri) { 50 } else { 20_000 } {
            // Most headers have a length that may be.
            let words: Vec<_> = (0..16)
                .map(|_| {
                    let len = u16::try_from(random() % 8 * 8).unwrap().to_ne_bytes();
                    let [a, b, ..] = random().to_ne_bytes();
                    AtomicU64::new(u64::from_ne_bytes([a % 12, 0, 0, 0, b, 0, len[0], len[1]]))
                })
                .collect();
            let tail = random() * 8;
            let mut position = Position { tail, head: tail.wrapping_add(random() % 150) };
            let (mut taken, mut steps) = (Vec::new(), 0);
            while position.take(&words, &mut taken) {
                PerfRecord::parse(0, &taken);
                steps += 1;
            }
            assert!(steps <= 17 && position.tail == position.head);
            let copied = copy_backward(&words, random(), random());
            assert!(copied.len() <= 128 && records(0, &copied).count() <= 16);
        }
    }

    #[test]
    fn a_backward_ring_is_read_from_the_newest_to_the_last_that_is_whole() {
        let (words, mut head) = (ring(0, &[]), 0_u64);
        let seen = |head: u64, start: u64| {
            let copied = copy_backward(&words, head, start);
            let told = records(0, &copied).map(|record| match record {
                PerfRecord::Sample { bytes, .. } => bytes[0],
                other => panic!("{other:?}"),
            });
            told.collect::<Vec<_>>()
        };
        let mut write = |fill: u8| {
            let content = sample(fill, 20);
            head = head.wrapping_sub(content.len() as u64);
            for (at, chunk) in (head / 8..).zip(content.chunks_exact(8)) {
                let word = u64::from_ne_bytes(chunk.try_into().unwrap());
                words[usize::try_from(at % 16).unwrap()].store(word, Ordering::Relaxed);
            }
            head
        };
        assert_eq!(seen(0, 0), []);
        let first = write(1);
        assert_eq!(seen(first, 0), [1]);
        let second = write(2);
        assert_eq!(seen(second, 0), [2, 1]);
        assert_eq!(seen(second, first), [2]);
        let newest = (3..9).map(write).last().unwrap();
        // Four of them fill the ring.
        assert_eq!(seen(newest, 0), [8, 7, 6, 5]);
        assert_eq!(seen(newest, first), [8, 7, 6, 5]);
        assert_eq!(seen(newest, newest), []);
        // One whose end was written over.
        let cut = newest.wrapping_sub(8);
        words[usize::try_from(cut / 8 % 16).unwrap()]
            .store(u64::from_ne_bytes(record(1, &[]).try_into().unwrap()), Ordering::Relaxed);
        assert_eq!(seen(cut, 0), [8, 7, 6]);
    }
}
