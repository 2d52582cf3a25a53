//! Fuzzes the reading of the verifier's log: any text has an explanation, in few lines that steer no terminal.

#![no_main]

use libfuzzer_sys::fuzz_target;
use loader::verifier::{Subject, explain};

fuzz_target!(|data: &[u8]| {
    let log = String::from_utf8_lossy(data);
    let told = explain(&Subject::default(), &log).to_string();
    assert!((1..=3).contains(&told.lines().count()), "{told}");
    assert!(!told.contains(|c: char| c.is_control() && c != '\n'), "{told:?}");
});
