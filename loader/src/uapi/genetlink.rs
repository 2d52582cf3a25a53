//! `include/uapi/linux/genetlink.h` and `netdev.h`: how to find a generic netlink family, and what `netdev` tells.

use super::named_values;

/// Message type: to the controller, which knows the numbers of all families.
pub const GENL_ID_CTRL: u16 = 0x10;
/// Command of the controller: tell of a family. The answer has the same shape.
pub const CTRL_CMD_GETFAMILY: u8 = 3;
/// Attribute of a family: the number that its messages have for a type (u16).
pub const CTRL_ATTR_FAMILY_ID: u16 = 1;
/// Attribute of a family: its name with a NUL.
pub const CTRL_ATTR_FAMILY_NAME: u16 = 2;
/// Bytes of `struct genlmsghdr`: command, version, two of nothing.
pub const GENL_HDRLEN: usize = 4;

/// The family that tells what drivers can do with XDP (6.3).
pub const NETDEV_FAMILY_NAME: &str = "netdev";
/// Command of `netdev`: tell of a device. The answer has the same shape.
pub const NETDEV_CMD_DEV_GET: u8 = 1;
/// Attribute of a device: its index (u32).
pub const NETDEV_A_DEV_IFINDEX: u16 = 1;
/// Attribute of a device: a set of [`XdpFeature`] (u64).
pub const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
/// Attribute of a device: how many buffers a packet sent from user space without copying may have (u32).
pub const NETDEV_A_DEV_XDP_ZC_MAX_SEGS: u16 = 4;

named_values! {
    /// What a driver can do with XDP, one bit each.
    pub struct XdpFeature: u64, "NETDEV_XDP_ACT_" {
        /// Run a program natively: XDP_PASS, XDP_DROP, XDP_ABORTED and XDP_TX.
        BASIC = 1 "basic";
        /// XDP_REDIRECT out of it.
        REDIRECT = 2 "redirect";
        /// XDP_REDIRECT into it.
        NDO_XMIT = 4 "ndo-xmit";
        /// AF_XDP without copying.
        XSK_ZEROCOPY = 8 "xsk-zerocopy";
        /// Run a program on the card.
        HW_OFFLOAD = 16 "hw-offload";
        /// Hand multi-buffer packets to a program (`xdp.frags`).
        RX_SG = 32 "rx-sg";
        /// XDP_REDIRECT of such packets into it.
        NDO_XMIT_SG = 64 "ndo-xmit-sg";
    }
}

impl XdpFeature {
    /// Every feature with a name here, lowest bit first.
    pub const ALL: [Self; 7] = [
        Self::BASIC,
        Self::REDIRECT,
        Self::NDO_XMIT,
        Self::XSK_ZEROCOPY,
        Self::HW_OFFLOAD,
        Self::RX_SG,
        Self::NDO_XMIT_SG,
    ];
}
