// The VLAN tag of IEEE 802.1Q and 802.1AD, as it stands in a frame.
// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The kernel keeps this struct in its internal <linux/if_vlan.h>. The header of the same
// name that user space gets is about configuring VLAN devices and does not have it, so
// scripts/check-headers finds nothing to compare here.
#pragma once

#include <linux/types.h>

#define VLAN_HLEN 4

// What follows the tag's own ethertype (the TPID): that one stands where an untagged frame
// has its ethertype, and the frame's ethertype comes after the tag.
struct vlan_hdr {
	__be16 h_vlan_TCI;
	__be16 h_vlan_encapsulated_proto;
};
