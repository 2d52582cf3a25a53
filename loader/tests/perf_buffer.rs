//! Rings of perf events on the running kernel: what programs put into them comes out again, by CPU, in order and whole.

mod output;

use std::env;
use std::os::fd::AsFd as _;
use std::process::Command;

use loader::error::ErrorKind;
use loader::map::{Map, MapParams, OverwritablePerfBuffer, PerfBuffer, PerfDump, PerfRecord};
use loader::uapi::bpf::MapType;
use nix::libc::{E2BIG, EACCES, ENOENT, ENOSPC, EPERM};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};

use output::{cpus, events, run, writer};

/// Set in the process that a test starts anew with fewer privileges.
const STRIPPED: &str = "LOADER_TEST_STRIPPED";

/// What comes next: a CPU, how many bytes the record has, and the word that all of it has but the time.
fn next(events: &mut PerfBuffer) -> Option<(u32, usize, u32)> {
    match events.next_record()? {
        PerfRecord::Sample { cpu, bytes } => {
            let word = bytes[8..12].try_into().expect("it has a word");
            Some((cpu, bytes.len(), u32::from_ne_bytes(word)))
        }
        other => panic!("{other:?}"),
    }
}

/// The words of what was copied of the ring of a CPU.
fn words(dump: &PerfDump, wanted: u32) -> Vec<u32> {
    let word = |record| match record {
        PerfRecord::Sample { cpu, bytes } if cpu == wanted => Some(bytes[8..12].try_into().expect("a word")),
        PerfRecord::Sample { .. } => None,
        other => panic!("{other:?}"),
    };
    dump.records().filter_map(word).map(u32::from_ne_bytes).collect()
}

fn is_readable(events: &PerfBuffer, timeout: u16) -> bool {
    let mut polled = [PollFd::new(events.as_fd(), PollFlags::POLLIN)];
    poll(&mut polled, PollTimeout::from(timeout)).expect("poll(2)") == 1
}

#[test]
fn records_come_out_by_cpu_and_whole_however_often_the_ring_begins_anew() {
    let map = events(1024);
    let mut events = map.perf_buffer(1).expect("it can be read");
    assert_eq!(events.next_record(), None);
    let (short, long) = (writer(&map, 12, 0x0101), writer(&map, 62, 0x0202));
    // A ring has room for some 20 rounds.
    for round in 0..50 {
        for &cpu in &cpus() {
            assert_eq!((run(&short, cpu, 1), run(&long, cpu, 2)), (0, 0), "round {round}");
        }
        let mut seen: Vec<_> = std::iter::from_fn(|| next(&mut events)).collect();
        // In no order but that of each CPU, which a stable sort keeps.
        seen.sort_by_key(|(cpu, ..)| *cpu);
        let of = |&cpu: &u32| [(cpu, 12, 0x0101), (cpu, 68, 0x0202), (cpu, 68, 0x0202)];
        assert_eq!(seen, cpus().iter().flat_map(of).collect::<Vec<_>>(), "round {round}");
    }
}

#[test]
fn what_has_no_room_is_counted() {
    let (map, cpu) = (events(1024), cpus()[0]);
    let mut events = map.perf_buffer(2).expect("it can be read");
    let program = writer(&map, 60, 7);
    // Of each record, 12 bytes are not the program's.
    let room = 2 * 4096 / 72;
    for _ in 0..3 {
        assert_eq!(run(&program, cpu, 1000), -ENOSPC);
        let mut count = 0;
        while let Some((_, 60, 7)) = next(&mut events) {
            count += 1;
        }
        assert!((room - 1..=room).contains(&count), "{count} of {room}");
        assert_eq!(run(&program, cpu, 1), 0);
        assert_eq!(events.next_record(), Some(PerfRecord::Lost { cpu, count: 1000 - count }));
        assert_eq!(next(&mut events), Some((cpu, 60, 7)));
        assert_eq!(events.next_record(), None);
    }
}

#[test]
fn its_fd_says_when_there_is_something() {
    let map = events(1024);
    let mut events = map.perf_buffer(1).expect("it can be read");
    assert!(!is_readable(&events, 0));
    for &cpu in &cpus() {
        run(&writer(&map, 12, 1), cpu, 1);
        assert!(is_readable(&events, 10_000), "CPU {cpu}");
        assert_eq!(next(&mut events), Some((cpu, 12, 1)));
        assert!(!is_readable(&events, 0), "CPU {cpu}");
    }
}

#[test]
fn its_entries_go_with_it() {
    let (map, cpu) = (events(1024), cpus()[0]);
    let program = writer(&map, 12, 1);
    assert_eq!(run(&program, cpu, 1), -ENOENT);
    let events = map.perf_buffer(1).expect("it can be read");
    assert_eq!(run(&program, cpu, 1), 0);
    drop(events);
    assert_eq!(run(&program, cpu, 1), -ENOENT);
    // The handle that it was made by need not live on, and the map can be read anew.
    let id = map.info().expect("a map has an id").id;
    let mut events = Map::from_id(id).expect("it is there").perf_buffer(1).expect("it can be read");
    assert_eq!(run(&program, cpu, 1), 0);
    assert_eq!(next(&mut events), Some((cpu, 12, 1)));
}

#[test]
fn cpus_without_an_entry_are_left_out() {
    let map = events(1);
    let mut events = map.perf_buffer(1).expect("it can be read");
    let program = writer(&map, 12, 1);
    for cpu in cpus() {
        let (answer, record) = if cpu == 0 { (0, Some((0, 12, 1))) } else { (-E2BIG, None) };
        assert_eq!((run(&program, cpu, 1), next(&mut events)), (answer, record));
    }
}

#[test]
fn rings_that_are_written_over_have_what_came_last() {
    let map = events(1024);
    let mut events: OverwritablePerfBuffer = map.overwritable_perf_buffer(1).expect("it can be read");
    assert_eq!(events.dump().expect("a dump").records().count(), 0);
    let room = 4096 / 72;
    for &cpu in &cpus() {
        let writers = [1, 2, 3].map(|word| writer(&map, 60, word));
        assert_eq!(run(&writers[0], cpu, 1), 0);
        assert_eq!(words(&events.drain().expect("a dump"), cpu), [1]);
        assert_eq!(words(&events.drain().expect("a dump"), cpu), []);
        assert_eq!((run(&writers[1], cpu, 1), run(&writers[2], cpu, 1)), (0, 0));
        // What was drained is still there.
        for _ in 0..2 {
            assert_eq!(words(&events.dump().expect("a dump"), cpu), [3, 2, 1]);
        }
        assert_eq!(words(&events.drain().expect("a dump"), cpu), [3, 2]);
        // The oldest one has lost its end.
        assert_eq!((run(&writers[0], cpu, 1000), run(&writers[1], cpu, 2)), (0, 0));
        let last = [&[2, 2][..], &vec![1; room - 2]].concat();
        for seen in [events.dump(), events.drain()] {
            assert_eq!(words(&seen.expect("a dump"), cpu), last);
        }
        assert_eq!(words(&events.drain().expect("a dump"), cpu), []);
    }
}

#[test]
fn what_makes_no_ring_is_refused_before_any_call() {
    let array = Map::create(&MapParams::new("counts", MapType::ARRAY, 4, 8, 4)).expect("an array");
    let map = events(1024);
    let cases = [
        (&array, 8, "map `counts`: expected a map of type perf_event_array, found array"),
        (&map, 0, "map `events`: a ring has a power of two of pages, such as 8, and not 0"),
        (&map, 12, "map `events`: a ring has a power of two of pages, such as 8, and not 12"),
    ];
    for (map, pages, message) in cases {
        let refusals = [map.perf_buffer(pages).err(), map.overwritable_perf_buffer(pages).err()];
        for refusal in refusals.map(|refusal| refusal.expect("that cannot be")) {
            assert_eq!((refusal.kind(), refusal.to_string()), (ErrorKind::InvalidInput, message.to_owned()));
        }
    }
    let huge = map.perf_buffer(1 << 31).expect_err("nobody has so much memory").to_string();
    assert!(huge.contains("CPU 0: mmap(2) for map `events` failed: "), "{huge}");
}

/// Runs the test `name` once more, in a process without these capabilities and with [`STRIPPED`].
fn stripped(name: &str, capabilities: &str) {
    let mut test = Command::new("setpriv");
    test.args([&format!("--bounding-set={capabilities}"), "--inh-caps=-all", "--"]);
    test.arg(env::current_exe().expect("a test has a file")).args(["--exact", name]).env(STRIPPED, "1");
    let done = test.output().expect("this test needs setpriv(1)");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}

#[test]
fn who_may_not_open_events_is_told_so() {
    if env::var_os(STRIPPED).is_none() {
        return stripped("who_may_not_open_events_is_told_so", "-perfmon,-sys_admin");
    }
    let refusal = events(1024).perf_buffer(1).expect_err("it takes CAP_PERFMON");
    assert_eq!((refusal.kind(), refusal.errno()), (ErrorKind::PermissionDenied, Some(EACCES)), "{refusal}");
    let place = "opening a ring of 1 pages for CPU 0: perf_event_open(2) for map `events` failed: ";
    assert!(refusal.to_string().starts_with(place), "{refusal}");
    let rule = refusal.rule().expect("it is known why");
    assert!(rule.starts_with("this process lacks CAP_PERFMON, which perf_event_open(2) asks for"), "{rule}");
}

#[test]
fn rings_beyond_the_limit_of_memory_are_told_so_and_leave_nothing() {
    if env::var_os(STRIPPED).is_none() {
        return stripped("rings_beyond_the_limit_of_memory_are_told_so_and_leave_nothing", "-ipc_lock");
    }
    setrlimit(Resource::RLIMIT_MEMLOCK, 0, 0).expect("a limit can be lowered");
    let (map, cpu) = (events(1024), cpus()[0]);
    let program = writer(&map, 12, 1);
    let refusal = map.perf_buffer(256).expect_err("1 MiB for each CPU is more than there may be");
    assert_eq!((refusal.kind(), refusal.errno()), (ErrorKind::PermissionDenied, Some(EPERM)), "{refusal}");
    assert!(refusal.to_string().contains("mmap(2) for map `events`"), "{refusal}");
    assert!(
        refusal.rule().is_some_and(|rule| rule.contains("RLIMIT_MEMLOCK, which is 0 bytes")),
        "{refusal}"
    );
    assert_eq!(run(&program, cpu, 1), -ENOENT);
    let fds = std::fs::read_dir("/proc/self/fd").expect("there is a /proc");
    let links = fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    assert_eq!(links.filter(|link| link.ends_with("anon_inode:[perf_event]")).count(), 0);
}
