//! What is known of an interface on which a program is to run.

use std::path::PathBuf;

use crate::error::{Process, Whereabouts};
use crate::netlink::{InterfaceInfo, Mode, XdpFeatures, XdpProgram};

/// Bytes before a packet that native XDP keeps free (`XDP_PACKET_HEADROOM` in `include/uapi/linux/bpf.h`).
const HEADROOM: u32 = 256;
/// Bytes behind it for `struct skb_shared_info`, rounded up to a cache line; so on 64-bit kernels with the usual
/// `CONFIG_MAX_SKB_FRAGS`.
const SHARED_INFO: u32 = 320;
/// Bytes of an Ethernet header.
const ETHERNET_HEADER: u32 = 14;

/// An interface, what its driver tells, and what stands around it. What could not be learnt is none.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceFacts {
    /// The interface.
    pub link: InterfaceInfo,
    /// Bytes of a page of memory.
    pub page_size: Option<u32>,
    /// The name of its driver.
    pub driver: Option<String>,
    /// Whether it joins packets before anybody sees them (large receive offload).
    pub lro: Option<bool>,
    /// Its queues.
    pub channels: Option<Channels>,
    /// What its driver can do with XDP (6.3).
    pub features: Option<XdpFeatures>,
    /// The other end of a veth pair.
    pub peer: Option<InterfaceInfo>,
    /// The queues of that end, where it is in the same network namespace.
    pub peer_channels: Option<Channels>,
    /// The interface that a VLAN, a macvlan or the like stands on.
    pub lower: Option<InterfaceInfo>,
    /// The interfaces that stand on it: a bridge or bond that it is a port of, VLANs, and what stands on those.
    pub uppers: Vec<InterfaceInfo>,
    /// The ports of a bridge, bond or the like, and what their drivers can do.
    pub ports: Vec<(InterfaceInfo, Option<XdpFeatures>)>,
    /// What is known of who holds the programs that run there.
    pub holders: Vec<Holder>,
    /// The network namespace that all of them are in, by its name in /run/netns or by a path; none for that of this
    /// process.
    pub netns: Option<String>,
    /// Where their pins are looked for; none for the usual bpffs.
    pub bpffs: Option<PathBuf>,
}

/// How many queues an interface has, and how many it may have.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// Queues that only receive.
    pub rx: u32,
    /// Queues that only send.
    pub tx: u32,
    /// Pairs of queues.
    pub combined: u32,
    /// The most of each.
    pub max_rx: u32,
    /// The most of each.
    pub max_tx: u32,
    /// The most of each.
    pub max_combined: u32,
}

impl Channels {
    /// All receive queues.
    pub fn receiving(self) -> u32 {
        self.rx.saturating_add(self.combined)
    }

    /// All transmit queues.
    pub fn sending(self) -> u32 {
        self.tx.saturating_add(self.combined)
    }
}

/// What libxdp calls its dispatcher, on which it hangs several programs (`lib/libxdp/xdp-dispatcher.c.in`).
pub const DISPATCHER: &str = "xdp_dispatcher";

/// Who holds a program on an interface.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The program.
    pub program: XdpProgram,
    /// Its name, if it may be asked.
    pub name: Option<String>,
    /// The `bpf_link` that holds it, if one is known to.
    pub link: Option<u32>,
    /// The pin of that link.
    pub pin: Option<String>,
    /// The processes that have it open; only looked for where no pin is found.
    pub processes: Vec<Process>,
}

impl InterfaceFacts {
    /// Where `interface` is, which is this one or one beside it.
    pub fn at(&self, interface: &InterfaceInfo) -> Whereabouts {
        Whereabouts {
            interface: interface.name.clone(),
            netns: self.netns.clone(),
            bpffs: self.bpffs.clone(),
        }
    }

    /// Whether its kind, or that of its driver, is `kind`.
    pub fn is(&self, kind: &str) -> bool {
        self.link.kind.as_deref() == Some(kind) || self.driver.as_deref() == Some(kind)
    }

    /// Whether the other end of a veth pair is in another network namespace.
    pub fn peer_is_elsewhere(&self) -> bool {
        self.link.lower_netns.is_some()
    }

    /// Who holds the program that runs there in `mode`.
    pub fn holder(&self, mode: Mode) -> Option<&Holder> {
        self.holders.iter().find(|holder| holder.program.mode == mode)
    }
}

/// The largest MTU with which native mode takes a program that is not multi-buffer, for drivers whose rule is
/// known: a packet must fit a page.
///
/// veth (`veth_xdp_set()` in `drivers/net/veth.c`) holds its peer's MTU to it, virtio_net (`virtnet_xdp_set()`) its
/// own.
pub fn native_limit(facts: &InterfaceFacts) -> Option<u32> {
    let is_known = facts.is("veth") || facts.is("virtio_net");
    facts.page_size.filter(|_| is_known)?.checked_sub(HEADROOM + SHARED_INFO + ETHERNET_HEADER)
}
