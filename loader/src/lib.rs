//! Read an XDP object file, plan the kernel calls that load it, and make them.
//!
//! An object file that clang has built becomes plain data, the data becomes a list of kernel calls, and the calls
//! become a program that runs on an interface, with its maps. After each step there is a value to print, compare or
//! keep:
//!
//! ```text
//! bytes ──elf──▶ ElfFile ──object──▶ Object ──linker──▶ Linked ──plan──▶ Plan       pure: no file, no kernel
//!                           ▲ btf, insn                 ▲ core_reloc    ▲ features, kconfig
//! ─────────────────────────────────────────────────────────────────────────────────────────────────────────
//! Plan ──load──▶ map fds ─▶ patched insns ─▶ program fds ─▶ attachment, pins ─▶ Loaded     owns the fds
//! ```
//!
//! ```no_run
//! use loader::{Interface, Loader, Mode, Object, attach};
//!
//! # fn main() -> loader::Result<()> {
//! let object = Object::open("blacklist.o")?;              // bytes to plain data; no kernel asked
//! let plan = Loader::new(&object)
//!     .max_entries("blacklist", 1 << 20)
//!     .pin_maps_under("/sys/fs/bpf/edge")
//!     .plan_for_running_kernel()?;                        // looks at the kernel; `plan` asks nobody
//! println!("{plan}");                                     // every kernel call, before any is made
//! let loaded = plan.execute(|record| eprintln!("{record}"))?;
//!
//! let eth0 = Interface::named("eth0")?;
//! let mut attached = attach::attach(loaded.program("xdp_ip_filter")?, &eth0, Mode::Native)?;
//! loaded.map("blacklist")?.set([192, 0, 2, 77], 1_u32)?;
//!
//! let newer = Object::open("newer.o")?;
//! let newer = Loader::new(&newer).plan_for_running_kernel()?.execute(|_| {})?;
//! attached.replace(newer.program("xdp_ip_filter")?)?;     // only if ours is still there, and in one step
//! attached.persist();                                     // otherwise dropping it takes the program off
//! # Ok(())
//! # }
//! ```
//!
//! # What it does
//!
//! * Reads ELF64 objects in both byte orders, with maps in the dialects of gobpf, iproute2, libbpf before 1.0 and BTF.
//! * Hands the object's BTF to the kernel, adapts programs to the kernel's (CO-RE), and finds its options, symbols
//!   and functions for them. What an older kernel does not take is left out, where the program does without.
//! * Lists the kernel calls of a load before any is made, and makes no other.
//! * Creates maps, finds pinned ones again if type, sizes and flags agree, and loads programs; a refused one comes with
//!   the verifier's whole log, however long, and with what it means: [`Explanation`].
//! * Attaches, replaces and detaches through netlink (`IFLA_XDP`), in this or another network namespace, and never
//!   displaces a program that was not named.
//! * Attaches by a pinned `bpf_link` where that is asked for, and attaches programs that somebody else has loaded.
//! * Lets a new program go on with the maps of the one that it replaces, or with copies.
//! * Reads and writes maps one by one and in bulk, as bytes, numbers or by their types, by sizes that the kernel tells.
//! * Reads ring buffers and perf buffers, record by record: [`map::RingBuffer`], [`map::PerfBuffer`], and, of what came
//!   last, [`map::OverwritablePerfBuffer`].
//! * Takes back what a load has made when it fails half-way, and says by which rule it was refused.
//!
//! # What it does not do
//!
//! * Print, log, read the environment, or keep global state.
//! * Need a compiler, libbpf, libelf or kernel headers where it runs, or kernel BTF unless the object does.
//! * Load programs of other types than XDP, but for extensions of them.
//!
//! # The layers
//!
//! Each may use those above it, and no other; a test holds the whole table.
//!
//! | modules | |
//! |---|---|
//! | [`uapi`], [`error`], [`bytes`] | the kernel's numbers; the error type; the reader that checks bounds |
//! | [`elf`], [`btf`], [`insn`], [`kconfig`], [`netlink`] | pure readers and writers of one format each |
//! | [`object`], [`core_reloc`], [`features`] | what the file says, CO-RE, and what a kernel can do, as plain data |
//! | [`verifier`] | what the verifier's log of a refused program means |
//! | [`diagnosis`] | from facts to the one rule that a refusal comes from |
//! | [`linker`] | a program with the functions that it calls, references typed, maps still symbolic |
//! | [`plan`] | the kernel calls to make, and where a refusal leads |
//! | [`mod@file`], [`kernel`], [`map`], [`program`], [`attach`], [`pin`] | what asks the kernel or owns an fd |
//! | [`doctor`] | the facts for a diagnosis, after a refusal or beforehand |
//! | [`load`] | a plan carried out step by step: the page to audit |
//!
//! Unsafe code is in one private module, `sys`. What errors look like stands in [`error`], and whoever comes from Go
//! finds each call of gobpf beside ours in `docs/coming-from-gobpf.md`.

// Only `sys` may opt out.
#![deny(unsafe_code)]

pub mod attach;
pub mod btf;
pub mod bytes;
pub mod core_reloc;
pub mod diagnosis;
pub mod doctor;
pub mod elf;
pub mod error;
pub mod features;
pub mod file;
pub mod insn;
pub mod kconfig;
pub mod kernel;
pub mod linker;
pub mod load;
pub mod map;
mod mode;
pub mod netlink;
pub mod object;
mod order;
pub mod pin;
pub mod plan;
pub mod program;
mod sys;
pub mod uapi;
pub mod verifier;

pub use attach::{Attached, Interface};
pub use error::{
    Cause, Error, ErrorKind, Explanation, Help, RefusalKind, Remedy, Result, errno_name, escape, quote,
    quote_each, shell_word,
};
// For the crates above. Its method is called as that of `anyhow::Context` is, and the two cannot be used together.
#[doc(hidden)]
pub use error::Context;
pub use features::Kernel;
pub use load::Loaded;
pub use map::{Map, UpdateFlags};
pub use netlink::{InterfaceRef, Mode, ModeChoice};
pub use object::Object;
pub use plan::{Loader, Plan, Target};
pub use program::Program;

// Compiles the snippets of the page.
#[cfg(doctest)]
#[doc = include_str!("../../docs/coming-from-gobpf.md")]
mod coming_from_gobpf {}
