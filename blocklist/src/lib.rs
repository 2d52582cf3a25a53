//! An IP blocklist in XDP: its lists, and its state in the kernel.
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
mod layout;
pub mod list;
pub mod prefix;
mod rules;
mod sets;
mod store;
mod swap;
mod table;
mod writer;

pub use install::{Buffers, DEFAULT_MAX_RULES, LARGEST_MAX_RULES, is_blocklist, memory, running_on};
pub use rules::{Reader, Rule, Settings, Test, Unlisted};
pub use sets::DEFAULT as DEFAULT_SET;
pub use store::{Lock, Maps};
pub use swap::{Lists, Swap};
pub use writer::{Added, Writer, not_there};
