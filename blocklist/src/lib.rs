//! An IP blocklist in XDP: its lists, and its state in the kernel.
//!
//! The state is a directory of bpffs with maps and programs ([`Blocklist`]), which outlives the process. Any number of
//! processes read it ([`Reader`]), one at a time changes it ([`Writer`]), and the packet program needs none of them.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use blocklist::list::Item;
//! use blocklist::{Blocklist, Buffers, DEFAULT_MAX_RULES, Writer};
//! use loader::{Interface, Mode, Program, attach, pin};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Make the blocklist where there is none yet, and attach its program.
//! let bpffs = pin::ensure_bpffs(pin::BPFFS_ROOT)?;
//! let blocklist = Blocklist::under(bpffs.root());
//! let lock = blocklist.prepare(&bpffs)?;
//! if !blocklist.is_whole()? {
//!     blocklist.make(DEFAULT_MAX_RULES, &lock)?;
//! }
//! let program = Program::open_pinned(&blocklist.program(Buffers::One, &lock)?)?;
//! attach::attach(&program, &Interface::named("eth0")?, Mode::Native)?.persist();
//!
//! // Whoever has the lock goes on with it; others call `Writer::open`.
//! let mut writer = Writer::holding(&lock, &blocklist)?;
//! let item = Item::new("203.0.113.0/24".parse()?);
//! writer.add(&[item], None, Some(Duration::from_secs(600)))?;
//! assert!(writer.reader().test("203.0.113.7".parse()?)?.drops);
//! # Ok(())
//! # }
//! ```
//!
//! # Times
//!
//! How long a rule stays is given as a [`Duration`](std::time::Duration) from the call on. The packet program goes by
//! CLOCK_MONOTONIC in units of 2^30 ns (1.07 s), to which ends are rounded up: a rule never ends too early, and at
//! most one unit too late. No end is later than 146 years after the start of the kernel.
#![deny(unsafe_code)]

mod array;
mod cells;
mod clock;
pub mod counters;
mod draft;
pub mod duration;
pub mod guard;
mod hash;
mod install;
pub mod json;
mod layout;
pub mod list;
pub mod prefix;
pub mod remedy;
mod rules;
mod schedule;
mod sets;
mod store;
mod swap;
mod table;
mod trie;
mod writer;

pub use install::{Buffers, DEFAULT_MAX_RULES, LARGEST_MAX_RULES, is_blocklist, memory, running_on};
pub use rules::{Reader, Rule, Settings, Test, Unlisted};
pub use sets::{DEFAULT as DEFAULT_SET, check_name as check_set_name};
pub use store::{Blocklist, Lock};
pub use swap::{Lists, Swap};
pub use writer::{Added, Writer, not_there};
