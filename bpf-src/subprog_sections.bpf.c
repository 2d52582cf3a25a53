// Function calls that only a linker by symbols joins: within a program's section, and into a third one.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>

char _license[] SEC("license") = "Dual MIT/GPL";

// Static, in the section of a program, and called: not a program itself.
SEC("xdp")
static __noinline int is_long_enough(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;

	return (void *)(eth + 1) <= data_end;
}

// In a section that is neither a program's nor `.text`; it calls back into the first.
SEC("library")
__noinline int is_ip(struct xdp_md *ctx)
{
	void *data_end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;

	if (!is_long_enough(ctx) || (void *)(eth + 1) > data_end)
		return 0;
	return eth->h_proto == bpf_htons(ETH_P_IP);
}

SEC("xdp")
int drop_ip(struct xdp_md *ctx)
{
	return is_long_enough(ctx) && is_ip(ctx) ? XDP_DROP : XDP_PASS;
}
