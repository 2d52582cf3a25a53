//! `include/uapi/linux/rtnetlink.h`: what is asked for of routes.

/// Message type: here is a route.
pub const RTM_NEWROUTE: u16 = 24;
/// Message type: tell me of routes.
pub const RTM_GETROUTE: u16 = 26;

/// Type of a route: packets go out, directly or by a gateway.
pub const RTN_UNICAST: u8 = 1;

/// The address of a gateway, of the family of the route.
pub const RTA_GATEWAY: u16 = 5;
/// Several next hops: each a `struct rtnexthop` with attributes of its own.
pub const RTA_MULTIPATH: u16 = 9;
/// The address of a gateway of another family: `struct rtvia` (5.2 for routes of IPv4).
pub const RTA_VIA: u16 = 18;

/// IPv4 (`include/linux/socket.h`).
pub const AF_INET: u8 = 2;
/// IPv6.
pub const AF_INET6: u8 = 10;
