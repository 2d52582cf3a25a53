// Function calls: two subprograms in `.text`, which a loader must join to the program.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>

char _license[] SEC("license") = "Dual MIT/GPL";

// The ethertype, or 0 when the frame is too short to have one.
static __noinline __be16 ethertype(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;

	return (void *)(eth + 1) > data_end ? 0 : eth->h_proto;
}

// This call stays inside `.text`, and the compiler needs no relocation for it.
static __noinline int is_arp(struct xdp_md *ctx)
{
	return ethertype(ctx) == bpf_htons(ETH_P_ARP);
}

// These calls leave their section. The two relocations name the section `.text`; which
// function is meant stands in the instruction.
SEC("xdp")
int drop_arp_and_short(struct xdp_md *ctx)
{
	return is_arp(ctx) || !ethertype(ctx) ? XDP_DROP : XDP_PASS;
}
