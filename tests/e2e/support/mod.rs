//! What the tests share: places to run in, ways to run commands and to look at what they did.

#[macro_use]
pub(crate) mod requirement;

pub(crate) mod acceptor;
pub(crate) mod bench;
pub(crate) mod command;
pub(crate) mod edit;
pub(crate) mod http;
pub(crate) mod leftovers;
pub(crate) mod libbpf;
pub(crate) mod objects;
pub(crate) mod packets;
pub(crate) mod peers;
pub(crate) mod sandbox;
pub(crate) mod strace;
pub(crate) mod tally;
pub(crate) mod traced;
pub(crate) mod veth;
pub(crate) mod xdpload;
