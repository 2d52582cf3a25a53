//! Read an XDP object file, plan the kernel calls that load it, and make them.

// Only `sys` may opt out.
#![deny(unsafe_code)]

pub mod attach;
pub mod btf;
pub mod bytes;
pub mod elf;
pub mod error;
pub mod features;
pub mod file;
pub mod insn;
pub mod kernel;
pub mod linker;
pub mod load;
pub mod map;
pub mod netlink;
pub mod object;
pub mod pin;
pub mod plan;
pub mod program;
mod sys;
pub mod uapi;

pub use attach::{Attached, Interface};
pub use error::{Context, Error, ErrorKind, Result, errno_name, escape, quote};
pub use features::Kernel;
pub use load::Loaded;
pub use map::{Map, UpdateFlags};
pub use netlink::{LinkRef, Mode, ModeChoice};
pub use object::Object;
pub use plan::{Loader, Plan, Target};
pub use program::Program;
