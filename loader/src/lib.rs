//! Read an XDP object file, plan the kernel calls that load it, and make them.

// Only `sys` may opt out.
#![deny(unsafe_code)]

pub mod bytes;
pub mod error;
pub mod netlink;
pub mod uapi;
