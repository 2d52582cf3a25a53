// The IP blacklist's packet program: drop a frame whose IPv4 source is a key of the map.
// SPDX-License-Identifier: MIT OR Apache-2.0
//
// The idea and the map come from the blog's blacklist tool (sematext/oxdpus). The map keeps
// its shape, so that whoever knows the one finds their way in the other: a hash, the key being
// the source address as its four bytes stand in the packet, the value a u32 that belongs to
// user space. Where the program differs, and why:
//
// - Only IPv4 is looked up. The blog's program reads every frame that is not IPv6 as if it
//   were IPv4. In an ARP frame the "source address" is then made of other fields, and a
//   gateway that drops ARP by accident loses its neighbours. ARP, IPv6 (and with it neighbour
//   discovery) and every other ethertype pass.
// - A frame too short for the header it announces passes. The blog's program answers
//   XDP_ABORTED, which drops it. A truncated frame carries no address to judge it by, and the
//   network stack both drops it and counts why.
// - Two VLAN tags are skipped instead of one, in any order of 802.1Q and 802.1AD: a provider's
//   outer tag must not hide a blocked source. A frame with a third tag passes. A tag that the
//   network card has already stripped is not in the frame and does not count.
// - The map has room for 65,536 addresses, not for 4,194,304. The kernel allocates a hash map
//   in full when it creates it, and a small gateway does not have several hundred megabytes.
//   A loader can ask for more.
//
// The program is written for kernels from 4.8 on: no loop is left after unrolling, there is
// no subprogram and no global data, and the key lies on the stack because the helpers of
// that time took no pointer into the packet.
#pragma once

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/if_vlan.h>
#include <linux/ip.h>

#define BLACKLIST_MAX_ENTRIES 65536
#define VLAN_MAX_DEPTH 2

// `blacklist` is the map, whichever of the four dialects declares it. Every bounds check
// is a plain comparison with data_end, because that is what the verifier learns from.
static __always_inline int source_verdict(struct xdp_md *ctx, void *blacklist)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct vlan_hdr *vlan;
	struct iphdr *ip;
	void *next = eth + 1;
	__be16 proto;
	__be32 source;

	if (next > data_end)
		return XDP_PASS;
	proto = eth->h_proto;

#pragma unroll
	for (int depth = 0; depth < VLAN_MAX_DEPTH; depth++) {
		if (proto != bpf_htons(ETH_P_8021Q) && proto != bpf_htons(ETH_P_8021AD))
			break;
		vlan = next;
		next = vlan + 1;
		if (next > data_end)
			return XDP_PASS;
		proto = vlan->h_vlan_encapsulated_proto;
	}

	if (proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	ip = next;
	if ((void *)(ip + 1) > data_end)
		return XDP_PASS;

	source = ip->saddr;
	return bpf_map_lookup_elem(blacklist, &source) ? XDP_DROP : XDP_PASS;
}
