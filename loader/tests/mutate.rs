//! Broken files: whatever is done to the bytes of a fixture, it is read, or refused in one clear line.
//!
//! Never a panic, an endless loop, or an error that says nothing. What a file may cost is in `bounds.rs`.

// Tells clippy that the functions beside the tests are test code too.
#![cfg(test)]

use std::thread;

use loader::elf::ElfFile;
use loader::object::Object;
use loader::{Error, ErrorKind};

mod plans;
mod support;

use support::{Fixture, fixtures};

/// Files up to this size are cut at every length, and longer ones at every seventh.
const SMALL: usize = 4096;
/// How many pairs of bytes are changed in each fixture.
const PAIRS: usize = 400;

#[test]
fn a_fixture_cut_at_any_length_is_refused() {
    for fixture in fixtures() {
        let stride = if fixture.data.len() <= SMALL { 1 } else { 7 };
        for len in (0..fixture.data.len()).step_by(stride) {
            let _case = Case { fixture: &fixture.name, what: "cut", at: len };
            let error = Object::parse(&fixture.data[..len]).expect_err("the section headers are at the end");
            check_error(&error);
        }
    }
}

// Two tests, so that two processors share the work.
#[test]
fn a_fixture_of_clang_14_with_any_byte_changed_is_read_or_refused() {
    for fixture in fixtures().iter().filter(|fixture| fixture.name.starts_with("clang-14/")) {
        change_each_byte(fixture, &[0xff]);
    }
}

#[test]
fn any_other_fixture_with_any_byte_changed_is_read_or_refused() {
    for fixture in fixtures().iter().filter(|fixture| !fixture.name.starts_with("clang-14/")) {
        change_each_byte(fixture, &[0x01, 0x80]);
    }
}

#[test]
fn a_fixture_with_two_bytes_changed_is_read_or_refused() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for fixture in fixtures() {
        let needed = needed_bytes(&fixture);
        let places: Vec<_> = (0..fixture.data.len()).filter(|&at| needed[at]).collect();
        let whole = Object::parse(&fixture.data).unwrap();
        for _ in 0..PAIRS {
            let mut data = fixture.data.clone();
            let [first, second] = [(); 2].map(|()| places[random.below(places.len())]);
            for at in [first, second] {
                data[at] = random.byte();
            }
            let _case =
                Case { fixture: &fixture.name, what: "changed, with another,", at: first.max(second) };
            examine(&data, &whole);
        }
    }
}

/// Flips the bits of each of `changes` in each byte, one after the other; where nobody looks, in every eighth byte.
fn change_each_byte(fixture: &Fixture, changes: &[u8]) {
    let needed = needed_bytes(fixture);
    let whole = Object::parse(&fixture.data).unwrap();
    let mut data = fixture.data.clone();
    for at in (0..data.len()).filter(|&at| needed[at] || at % 8 == 0) {
        let _case = Case { fixture: &fixture.name, what: "changed", at };
        for change in changes {
            data[at] ^= change;
            examine(&data, &whole);
            data[at] ^= change;
        }
    }
}

/// Reads `data`, and plans the load of what is not as in the unharmed file.
fn examine(data: &[u8], whole: &Object) {
    let object = match Object::parse(data) {
        Ok(object) if object == *whole => return,
        Ok(object) => object,
        Err(error) => return check_error(&error),
    };
    for program in &object.programs {
        match plans::attach(&object, program) {
            Ok(plan) => assert!(!plan.steps.is_empty()),
            Err(error) => check_error(&error),
        }
    }
}

/// An error is one line that can be printed, of a kind that a file can cause; a malformed file has a place.
fn check_error(error: &Error) {
    let text = error.to_string();
    let sane =
        matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Unsupported | ErrorKind::InvalidInput);
    assert!(sane, "{error:?}");
    assert!(!text.is_empty() && !text.contains(char::is_control), "{error:?}");
    assert!(error.kind() != ErrorKind::Malformed || error.place().is_some(), "no place: {error:?}");
}

/// For each byte of the file whether a loader needs it: headers, tables, maps, programs, BTF, but not DWARF.
fn needed_bytes(fixture: &Fixture) -> Vec<bool> {
    let elf = ElfFile::parse(&fixture.data).unwrap();
    let mut needed = vec![true; fixture.data.len()];
    for section in elf.sections() {
        // Records of functions and lines are alike in all files; those of CO-RE are in a few.
        let is_alike = section.name == ".BTF.ext" && !fixture.name.contains("core_");
        if section.name.contains(".debug") || section.name.starts_with(".rel.") || is_alike {
            let start = usize::try_from(section.offset).unwrap();
            needed[start..start + usize::try_from(section.size).unwrap()].fill(false);
        }
    }
    needed
}

/// Says which case is at fault when its test panics.
struct Case<'f> {
    fixture: &'f str,
    what: &'static str,
    at: usize,
}

impl Drop for Case<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the fixture {} {} at {:#x}", self.fixture, self.what, self.at);
        }
    }
}

/// Numbers that look random and are the same in every run (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[3]
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }
}
