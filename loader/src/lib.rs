//! Read an XDP object file, plan the kernel calls that load it, and make them.

// Only `sys` may opt out.
#![deny(unsafe_code)]

pub mod attach;
pub mod btf;
pub mod bytes;
pub mod elf;
pub mod error;
pub mod insn;
pub mod kernel;
pub mod map;
pub mod netlink;
pub mod pin;
pub mod program;
mod sys;
pub mod uapi;
