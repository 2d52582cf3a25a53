//! `include/uapi/linux/perf_event.h`: events that programs put records into, and what is in their rings.

/// `PERF_TYPE_SOFTWARE`: an event that the kernel itself counts.
pub const PERF_TYPE_SOFTWARE: u32 = 1;
/// `PERF_COUNT_SW_BPF_OUTPUT`: what `bpf_perf_event_output()` writes (4.4).
pub const PERF_COUNT_SW_BPF_OUTPUT: u64 = 10;
/// `PERF_SAMPLE_RAW`: a sample is a length, u32, and so many bytes.
pub const PERF_SAMPLE_RAW: u64 = 1 << 10;
/// `PERF_ATTR_SIZE_VER0`: bytes of the first `struct perf_event_attr`, which every kernel takes.
pub const PERF_ATTR_SIZE_VER0: u32 = 64;
/// `write_backward`, the 28th of the bit fields of `struct perf_event_attr`: each record is put before the last (4.7).
pub const PERF_ATTR_WRITE_BACKWARD: u64 = if cfg!(target_endian = "big") { 1 << 36 } else { 1 << 27 };

/// `PERF_FLAG_FD_CLOEXEC`, of perf_event_open(2) (3.14).
pub const PERF_FLAG_FD_CLOEXEC: u32 = 1 << 3;
/// The letter and the number of `PERF_EVENT_IOC_PAUSE_OUTPUT`, which takes a u32 (4.7).
pub const PERF_EVENT_IOC_PAUSE_OUTPUT: (u8, u8) = (b'$', 9);

/// Where `data_head` is in `struct perf_event_mmap_page`: how many bytes were written.
pub const PERF_MMAP_DATA_HEAD: usize = 1024;
/// Where `data_tail` is: how many bytes were read.
pub const PERF_MMAP_DATA_TAIL: usize = 1032;

/// Bytes of `struct perf_event_header`: type, u32; misc, u16; size of the record with it, u16.
pub const PERF_EVENT_HEADER_SIZE: usize = 8;
/// `PERF_RECORD_LOST`: an id, u64, and how many records found no room since the last of its kind, u64.
pub const PERF_RECORD_LOST: u32 = 2;
/// `PERF_RECORD_SAMPLE`: what was asked for, here [`PERF_SAMPLE_RAW`].
pub const PERF_RECORD_SAMPLE: u32 = 9;
