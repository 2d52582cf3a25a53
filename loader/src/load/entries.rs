//! A plan's calls on the entries of maps: what it puts there, and what was there before.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::libc::ENOENT;

use super::{Execution, Outcome};
use crate::error::{Error, ErrorKind, Result};
use crate::map::{Map, UpdateFlags, Value};
use crate::plan::{FdValue, MapSlot};
use crate::program::Program;
use crate::uapi::bpf::Cmd;

impl Execution<'_> {
    pub(super) fn fd_of(&self, value: FdValue) -> BorrowedFd<'_> {
        match value {
            FdValue::Map(map) => self.map(map).as_fd(),
            FdValue::Program(program) => self.program(program).as_fd(),
        }
    }

    pub(super) fn put_fd(&self, map: MapSlot, key: u32, value: FdValue) -> Result<()> {
        self.map(map).update_fd(&key.to_ne_bytes(), self.fd_of(value), UpdateFlags::ANY)
    }

    /// Opens what is at `key` of a map whose entries are known by their ids.
    pub(super) fn open_entry(&mut self, map: MapSlot, key: u32, value: FdValue) -> Result<Outcome> {
        let there = self.map(map).lookup(&key.to_ne_bytes())?;
        let id = there
            .as_ref()
            .and_then(Value::id)
            .ok_or_else(|| Error::os(&Cmd::MAP_LOOKUP_ELEM.call(), format_args!("entry {key}"), ENOENT))?;
        let fd: OwnedFd = match value {
            FdValue::Map(_) => Map::from_id(id).map_err(gone)?.into(),
            FdValue::Program(_) => Program::from_id(id).map_err(gone)?.into(),
        };
        let outcome = Outcome::Fd(fd.as_raw_fd());
        self.slots.entries.push(((map, key), fd));
        Ok(outcome)
    }

    pub(super) fn put_entry_back(&self, map: MapSlot, key: u32) -> Result<()> {
        let before = self.entry_before(map, key).as_fd();
        self.map(map).update_fd(&key.to_ne_bytes(), before, UpdateFlags::ANY)
    }

    pub(super) fn entry_before(&self, map: MapSlot, key: u32) -> &OwnedFd {
        let found = self.slots.entries.iter().find(|(place, _)| *place == (map, key));
        &found.expect("a plan puts back what it has found").1
    }

    pub(super) fn fill_map(&self, map: MapSlot, content: &[u8]) -> Result<()> {
        self.map(map).update(&0_u32.to_ne_bytes(), content, UpdateFlags::ANY)
    }

    pub(super) fn map_into_memory(
        &mut self,
        map: MapSlot,
        address: u64,
        len: u64,
        content: &[u8],
    ) -> Result<()> {
        self.slots.mappings.push(self.map(map).mmap(address, len, content)?);
        Ok(())
    }
}

/// What was there a moment ago and is no more is as if nothing had been there.
fn gone(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::os(&Cmd::MAP_LOOKUP_ELEM.call(), "what was there", ENOENT),
        _ => error,
    }
}
