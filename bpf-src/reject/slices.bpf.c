// Refused: programs that misuse what a dynptr of the packet gives.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/ip.h>

char _license[] SEC("license") = "Dual MIT/GPL";

struct bpf_dynptr {
	__u64 opaque[2];
} __attribute__((aligned(8)));

extern int bpf_dynptr_from_xdp(struct xdp_md *xdp, __u64 flags, struct bpf_dynptr *dynptr) __ksym;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *dynptr, __u32 offset, void *buffer,
			      __u32 size) __ksym;

#define SLICE(bytes, size) \
	struct bpf_dynptr packet; \
	__u8 buffer[bytes]; \
	struct iphdr *ip; \
	if (bpf_dynptr_from_xdp(ctx, 0, &packet)) \
		return XDP_DROP; \
	ip = bpf_dynptr_slice(&packet, ETH_HLEN, buffer, size); \
	if (!ip) \
		return XDP_PASS

// The buffer has fewer bytes than it is said to have.
SEC("xdp")
int buffer_short(struct xdp_md *ctx)
{
	SLICE(8, sizeof(*ip));
	return ip->protocol ? XDP_PASS : XDP_DROP;
}

// Reads more than it has asked for.
SEC("xdp")
int slice_short(struct xdp_md *ctx)
{
	SLICE(20, 8);
	return ip->protocol ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int slice_index(struct xdp_md *ctx)
{
	SLICE(20, 20);
	return ((__u8 *)ip)[ctx->rx_queue_index] ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int slice_written(struct xdp_md *ctx)
{
	SLICE(20, 20);
	ip->ttl = 1;
	return XDP_PASS;
}

SEC("xdp")
int slice_moved(struct xdp_md *ctx)
{
	SLICE(20, 20);
	if (bpf_xdp_adjust_head(ctx, -4))
		return XDP_DROP;
	return ip->protocol ? XDP_PASS : XDP_DROP;
}
