//! `include/uapi/linux/if_link.h` and its neighbours: the XDP attach flags and the numbers of the netlink route family.

use super::named_values;

/// Refuse to displace a program that is there already (4.11).
pub const XDP_FLAGS_UPDATE_IF_NOEXIST: u32 = 1 << 0;
/// Generic XDP, after the socket buffer was made; any driver (4.12).
pub const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
/// Native XDP, in the driver (4.12).
pub const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
/// Offloaded XDP, on the network card (4.16).
pub const XDP_FLAGS_HW_MODE: u32 = 1 << 3;
/// Only replace the program whose fd is given as `IFLA_XDP_EXPECTED_FD` (5.7).
pub const XDP_FLAGS_REPLACE: u32 = 1 << 4;

/// Every XDP attach flag with its kernel name, lowest bit first.
pub const XDP_FLAGS: &[(u32, &str)] = &[
    (XDP_FLAGS_UPDATE_IF_NOEXIST, "XDP_FLAGS_UPDATE_IF_NOEXIST"),
    (XDP_FLAGS_SKB_MODE, "XDP_FLAGS_SKB_MODE"),
    (XDP_FLAGS_DRV_MODE, "XDP_FLAGS_DRV_MODE"),
    (XDP_FLAGS_HW_MODE, "XDP_FLAGS_HW_MODE"),
    (XDP_FLAGS_REPLACE, "XDP_FLAGS_REPLACE"),
];

named_values! {
    /// `IFLA_XDP_ATTACHED`: in which mode a program runs.
    pub struct XdpAttached: u8, "XDP_ATTACHED_" {
        NONE = 0 "none";
        DRV = 1 "native";
        SKB = 2 "generic";
        HW = 3 "offload";
        /// Programs in several modes at once (4.18).
        MULTI = 4 "multi";
    }
}

named_values! {
    /// `ifi_type`: what the packets of an interface begin with (`include/uapi/linux/if_arp.h`).
    pub struct HardwareType: u16, "ARPHRD_" {
        ETHER = 1 "ether";
        INFINIBAND = 32 "infiniband";
        PPP = 512 "ppp";
        RAWIP = 519 "rawip";
        TUNNEL = 768 "ipip";
        TUNNEL6 = 769 "tunnel6";
        LOOPBACK = 772 "loopback";
        SIT = 776 "sit";
        IPGRE = 778 "gre";
        IP6GRE = 823 "gre6";
        /// Nothing: the packet begins with its IP header, as with tun and WireGuard.
        NONE = 65534 "none";
    }
}

/// The address of the interface, of as many bytes as its kind of hardware has.
pub const IFLA_ADDRESS: u16 = 1;
/// Name of the interface, with its NUL at most [`IFNAMSIZ`] bytes.
pub const IFLA_IFNAME: u16 = 3;
/// The longest packet that the interface sends, in bytes without its link header (u32).
pub const IFLA_MTU: u16 = 4;
/// The interface that this one stands on, or a veth's peer: its index (u32).
pub const IFLA_LINK: u16 = 5;
/// The bridge, bond or the like that this one is a port of: its index (u32).
pub const IFLA_MASTER: u16 = 10;
/// How many transmit queues there are room for (u32).
pub const IFLA_NUM_TX_QUEUES: u16 = 31;
/// How many receive queues there are room for (u32).
pub const IFLA_NUM_RX_QUEUES: u16 = 32;
/// The namespace that [`IFLA_LINK`] is in, by the number that this one has for it (i32); only where it is
/// another.
pub const IFLA_LINK_NETNSID: u16 = 37;
/// Of an interface that leaves: the namespace that it goes to, by the number that the one it leaves has for it (i32,
/// 4.15).
pub const IFLA_NEW_NETNSID: u16 = 45;
/// Of an interface that leaves: its index in the namespace that it goes to (i32, 4.16).
pub const IFLA_NEW_IFINDEX: u16 = 49;
/// In a request: the namespace to look into, by the number that the socket's has for it (i32, 4.15).
pub const IFLA_TARGET_NETNSID: u16 = 46;
/// The nest that says what kind of device it is.
pub const IFLA_LINKINFO: u16 = 18;
/// In [`IFLA_LINKINFO`]: the kind's name, such as `veth`. Hardware has none.
pub const IFLA_INFO_KIND: u16 = 1;
/// In [`IFLA_LINKINFO`]: what only devices of that kind have.
pub const IFLA_INFO_DATA: u16 = 2;
/// In [`IFLA_INFO_DATA`] of a bond: by which rule it picks a port (u8).
pub const IFLA_BOND_MODE: u16 = 1;
/// In a request for links: what to tell of them besides, or to leave out (u32).
pub const IFLA_EXT_MASK: u16 = 29;
/// In [`IFLA_EXT_MASK`]: leave out the statistics of the address families (4.4).
pub const RTEXT_FILTER_SKIP_STATS: u32 = 1 << 3;
/// In a request: one of the other names of the interface, with its NUL at most [`ALTIFNAMSIZ`] bytes (5.5).
pub const IFLA_ALT_IFNAME: u16 = 53;
/// The nest of XDP attributes (4.8).
pub const IFLA_XDP: u16 = 43;
/// Bit 15 of an attribute's type: its payload is a list of attributes.
pub const NLA_F_NESTED: u16 = 1 << 15;

/// Bytes of an interface name, its NUL included (`include/uapi/linux/if.h`).
pub const IFNAMSIZ: usize = 16;
/// Room for an alternative name, with its NUL.
pub const ALTIFNAMSIZ: usize = 128;
/// Interface flag: the administrator has switched it on (`include/uapi/linux/if.h`).
pub const IFF_UP: u32 = 1 << 0;

/// Message type: here is a link (`include/uapi/linux/rtnetlink.h`).
pub const RTM_NEWLINK: u16 = 16;
/// Message type: a link is not here any more.
pub const RTM_DELLINK: u16 = 17;
/// Message type: tell me of a link.
pub const RTM_GETLINK: u16 = 18;
/// Message type: change a link.
pub const RTM_SETLINK: u16 = 19;

/// Message type: here is the number of a network namespace.
pub const RTM_NEWNSID: u16 = 88;
/// Message type: tell me the number of a network namespace (4.0).
pub const RTM_GETNSID: u16 = 90;
/// The number that one namespace has for another (i32), -1 if it has none (`include/uapi/linux/net_namespace.h`).
pub const NETNSA_NSID: u16 = 1;
/// In a request: an fd of the other namespace (u32).
pub const NETNSA_FD: u16 = 3;

/// Message type: an error, or with errno 0 the acknowledgement (`include/uapi/linux/netlink.h`).
pub const NLMSG_ERROR: u16 = 2;
/// Message type: the end of a dump.
pub const NLMSG_DONE: u16 = 3;
/// Header flag: this is a request.
pub const NLM_F_REQUEST: u16 = 0x01;
/// Header flag: more messages of the same answer follow, up to [`NLMSG_DONE`].
pub const NLM_F_MULTI: u16 = 0x02;
/// Header flag: answer with an acknowledgement.
pub const NLM_F_ACK: u16 = 0x04;
/// Header flag: the objects changed while they were told of, so that some may be missing (3.1).
pub const NLM_F_DUMP_INTR: u16 = 0x10;
/// Header flag: tell of all objects.
pub const NLM_F_DUMP: u16 = 0x300;
/// Header flag of an error: the request's payload is not repeated.
pub const NLM_F_CAPPED: u16 = 0x100;
/// Header flag of an error: extended-ack attributes follow.
pub const NLM_F_ACK_TLVS: u16 = 0x200;
/// Extended-ack attribute: the kernel's sentence (4.12).
pub const NLMSGERR_ATTR_MSG: u16 = 1;
