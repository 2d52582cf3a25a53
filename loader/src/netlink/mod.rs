//! The rtnetlink messages that look at an interface, change its XDP program, or look at routes: bytes out, bytes in, no
//! socket.
//!
//! The attributes are written and read with the types of netlink-packet-route and netlink-packet-core. Their decoder
//! of whole messages is left alone: it knows some sixty attributes of a link that nobody here asks for, and fails on
//! one that it cannot read. What is not asked for is stepped over here.
//!
//! What may be done to the programs that are there, and what a refusal means ([`refuse_to_displace`],
//! [`may_fall_back`] and their neighbours), stands here too, so that the plan of an attach and the attach itself cannot
//! disagree.

mod attribute;
mod departure;
mod interface_ref;
mod mode;
mod netdev;
mod policy;
mod read;
mod route;
mod state;
mod write;

pub use crate::mode::Mode;
pub use departure::{Destination, get_netns_id};
pub use interface_ref::{InterfaceName, InterfaceRef};
pub use mode::{ModeChoice, XdpFlags};
pub use netdev::{XdpFeatures, get_netdev_family, get_xdp_features, read_family, read_xdp_features};
pub(crate) use policy::cause_of_refusal;
pub use policy::{
    help_for_refusal, is_unexplained, may_fall_back, program_to_replace, programs_to_detach,
    refuse_to_displace,
};
pub use read::{Body, InterfaceInfo, Reply, read_replies};
pub use route::dump_routes;
pub use state::{XdpProgram, XdpState};
pub(crate) use write::detach_uncompared;
pub use write::{XdpChange, dump_links, get_link, get_link_elsewhere, probe_compare, set_xdp};
