// Refused: reads the ethertype without asking whether the packet is that long.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("xdp")
int packet_unchecked(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	return eth->h_proto == bpf_htons(ETH_P_ARP) ? XDP_PASS : XDP_DROP;
}
