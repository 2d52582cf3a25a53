//! Ring buffers on the running kernel: what programs put into them comes out again, in order and whole.

use std::os::fd::{AsFd as _, AsRawFd as _};

use loader::ErrorKind;
use loader::bytes::ByteOrder;
use loader::insn::{Insn, encode_all};
use loader::map::{Map, MapParams, RingBuffer};
use loader::program::{Program, ProgramParams};
use loader::uapi::bpf::{BPF_CALL, BPF_EXIT, BPF_LD_IMM64, BPF_MOV64_IMM, BPF_PSEUDO_MAP_FD, MapType};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Helpers, opcodes.
const RINGBUF_OUTPUT: i32 = 130;
const RINGBUF_RESERVE: i32 = 131;
const RINGBUF_DISCARD: i32 = 133;
const STORE_WORD: u8 = 0x62;
const MOV64_REG: u8 = 0xbf;
const ADD64_IMM: u8 = 0x07;
const JUMP_IF_EQUAL: u8 = 0x15;

/// Bytes of the buffer: a page, the least that it may have.
const SIZE: u32 = 4096;

fn ring() -> (Map, RingBuffer) {
    let map = Map::create(&MapParams::new("ring", MapType::RINGBUF, 0, 0, SIZE)).expect("a ring buffer");
    let reader = map.ring_buffer().expect("it can be read");
    (map, reader)
}

fn insn(code: u8, dst: u8, imm: i32) -> Insn {
    Insn { code, dst, src: 0, off: 0, imm }
}

fn call(helper: i32) -> Insn {
    insn(BPF_CALL, 0, helper)
}

/// `r1 = map`
fn load_map(map: &Map) -> [Insn; 2] {
    let fd = map.as_fd().as_raw_fd();
    [Insn { src: BPF_PSEUDO_MAP_FD, ..insn(BPF_LD_IMM64, 1, fd) }, insn(0, 0, 0)]
}

fn load(insns: &[Insn]) -> Program {
    let insns = encode_all(insns, ByteOrder::NATIVE);
    Program::load(&ProgramParams::new("ring", c"GPL", &insns), None).expect("the verifier takes it")
}

/// Puts `len` bytes, which is at most 64, into the ring buffer, each word of them `word`.
fn writer(map: &Map, len: i32, word: i32) -> Program {
    let words = (1..=16).map(|word_of| Insn { off: -4 * word_of, ..insn(STORE_WORD, 10, word) });
    let mut insns: Vec<_> = words.collect();
    insns.extend(load_map(map));
    insns.push(Insn { src: 10, ..insn(MOV64_REG, 2, 0) });
    insns.extend([insn(ADD64_IMM, 2, -64), insn(BPF_MOV64_IMM, 3, len), insn(BPF_MOV64_IMM, 4, 0)]);
    insns.extend([call(RINGBUF_OUTPUT), insn(BPF_MOV64_IMM, 0, 2), insn(BPF_EXIT, 0, 0)]);
    load(&insns)
}

/// Reserves a record and thinks better of it.
fn discarder(map: &Map) -> Program {
    let mut insns = load_map(map).to_vec();
    insns.extend([insn(BPF_MOV64_IMM, 2, 40), insn(BPF_MOV64_IMM, 3, 0), call(RINGBUF_RESERVE)]);
    insns.push(Insn { off: 3, ..insn(JUMP_IF_EQUAL, 0, 0) });
    insns.push(Insn { src: 0, ..insn(MOV64_REG, 1, 0) });
    insns.extend([insn(BPF_MOV64_IMM, 2, 0), call(RINGBUF_DISCARD)]);
    insns.extend([insn(BPF_MOV64_IMM, 0, 2), insn(BPF_EXIT, 0, 0)]);
    load(&insns)
}

fn run(program: &Program, times: u32) {
    program.test_run(&[0; 64], times).expect("a test run");
}

fn is_readable(ring: &RingBuffer) -> bool {
    let mut polled = [PollFd::new(ring.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::ZERO).expect("poll(2)") == 1
}

#[test]
fn records_come_out_in_order_and_whole_however_often_the_buffer_begins_anew() {
    let (map, mut ring) = ring();
    assert_eq!(ring.next_record(), None);
    let (short, long, none) = (writer(&map, 5, 0x0101_0101), writer(&map, 63, 0x0202_0202), discarder(&map));
    // The buffer has room for some 30 rounds.
    for round in 0..60 {
        run(&short, 2);
        run(&none, 1);
        run(&long, 1);
        for expected in [&[1; 5][..], &[1; 5], &[2; 63]] {
            assert_eq!(ring.next_record(), Some(expected), "round {round}");
        }
        assert_eq!(ring.next_record(), None, "round {round}");
    }
}

#[test]
fn what_is_read_makes_room() {
    let (map, mut ring) = ring();
    let program = writer(&map, 24, 7);
    // Of each record, 8 bytes are its header. What has no room is refused to the program.
    let room = SIZE as usize / 32;
    for _ in 0..3 {
        run(&program, 1000);
        let mut count = 0;
        while let Some(record) = ring.next_record() {
            assert_eq!(record, 7_i32.to_ne_bytes().repeat(6));
            count += 1;
        }
        assert!((room - 1..=room).contains(&count), "{count} of {room}");
    }
}

#[test]
fn its_fd_says_when_there_is_something() {
    let (map, mut ring) = ring();
    assert!(!is_readable(&ring));
    run(&writer(&map, 8, 1), 1);
    assert!(is_readable(&ring));
    // The map's own handle is not needed any more.
    drop(map);
    assert_eq!(ring.next_record().map(<[u8]>::len), Some(8));
    assert!(!is_readable(&ring));
}

#[test]
fn other_maps_are_no_ring_buffers() {
    let map = Map::create(&MapParams::new("counts", MapType::ARRAY, 4, 8, 4)).expect("an array");
    let refusal = map.ring_buffer().unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::InvalidInput);
    assert_eq!(refusal.to_string(), "map `counts`: expected a map of type ringbuf, found array");
}
