//! An IP blocklist in XDP: its lists, and its state in the kernel.
#![deny(unsafe_code)]

pub mod duration;
pub mod list;
pub mod prefix;
