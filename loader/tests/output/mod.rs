//! Programs that put records into the rings of perf events, and the CPU that they run on.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::thread;

use loader::bytes::ByteOrder;
use loader::insn::{Insn, encode_all};
use loader::map::{Map, MapParams};
use loader::program::{Program, ProgramParams};
use loader::uapi::bpf::{BPF_CALL, BPF_EXIT, BPF_LD_IMM64, BPF_MOV64_IMM, BPF_PSEUDO_MAP_FD, MapType};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Helpers, opcodes.
const KTIME_GET_NS: i32 = 5;
const PERF_EVENT_OUTPUT: i32 = 25;
const STORE_WORD: u8 = 0x62;
const STORE_REG: u8 = 0x7b;
const MOV64_REG: u8 = 0xbf;
const MOV32_IMM: u8 = 0xb4;
const ADD64_IMM: u8 = 0x07;

/// A map with an entry for each of so many CPUs.
pub(crate) fn events(cpus: u32) -> Map {
    let params = MapParams::new("events", MapType::PERF_EVENT_ARRAY, 4, 4, cpus);
    Map::create(&params).expect("an array of perf events")
}

/// The CPUs that this thread may run on.
pub(crate) fn cpus() -> Vec<u32> {
    let set = sched_getaffinity(Pid::from_raw(0)).expect("a thread has CPUs");
    let is_set = |cpu: &usize| set.is_set(*cpu).unwrap_or_default();
    (0..CpuSet::count())
        .filter(is_set)
        .map(|cpu| u32::try_from(cpu).expect("there are not so many"))
        .collect()
}

fn insn(code: u8, dst: u8, imm: i32) -> Insn {
    Insn { code, dst, src: 0, off: 0, imm }
}

/// A program that puts a record into the ring of its CPU and returns what the kernel answers: the time, u64, and then
/// words of `word`, `len` bytes in all, which are 8 at least and 64 at most.
pub(crate) fn writer(map: &Map, len: i32, word: i32) -> Program {
    let mut insns = vec![Insn { src: 1, ..insn(MOV64_REG, 6, 0) }];
    insns.extend((1..=14).map(|word_of| Insn { off: -4 * word_of, ..insn(STORE_WORD, 10, word) }));
    insns.push(insn(BPF_CALL, 0, KTIME_GET_NS));
    insns.push(Insn { src: 0, off: -64, ..insn(STORE_REG, 10, 0) });
    insns.push(Insn { src: 6, ..insn(MOV64_REG, 1, 0) });
    let fd = map.as_fd().as_raw_fd();
    insns.extend([Insn { src: BPF_PSEUDO_MAP_FD, ..insn(BPF_LD_IMM64, 2, fd) }, insn(0, 0, 0)]);
    // BPF_F_CURRENT_CPU: all bits of the lower half.
    insns.extend([
        insn(MOV32_IMM, 3, -1),
        Insn { src: 10, ..insn(MOV64_REG, 4, 0) },
        insn(ADD64_IMM, 4, -64),
    ]);
    insns.extend([insn(BPF_MOV64_IMM, 5, len), insn(BPF_CALL, 0, PERF_EVENT_OUTPUT), insn(BPF_EXIT, 0, 0)]);
    let insns = encode_all(&insns, ByteOrder::NATIVE);
    Program::load(&ProgramParams::new("output", c"GPL", &insns), None).expect("the verifier takes it")
}

/// Runs `program` so many times on a CPU, and gives what it returned at last: 0, or an errno below 0.
pub(crate) fn run(program: &Program, cpu: u32, times: u32) -> i32 {
    let run = || {
        let mut set = CpuSet::new();
        set.set(cpu as usize).expect("the CPU has a place in the set");
        sched_setaffinity(Pid::from_raw(0), &set).expect("the CPU is there");
        let verdict = program.test_run(&[0; 64], times).expect("a test run").verdict;
        i32::from_ne_bytes(verdict.0.to_ne_bytes())
    };
    // In a thread of its own, which alone stays there.
    thread::scope(|scope| scope.spawn(run).join()).expect("the program runs")
}
