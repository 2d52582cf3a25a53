// Refused: programs that go on with pointers into a packet that a call has moved, or with lengths instead of them.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>

char _license[] SEC("license") = "Dual MIT/GPL";

#define PACKET(ctx) void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end

SEC("xdp")
int head_moved(struct xdp_md *ctx)
{
	PACKET(ctx);
	struct ethhdr *eth = data;

	if (data + sizeof(*eth) > end)
		return XDP_PASS;
	if (bpf_xdp_adjust_head(ctx, -4))
		return XDP_DROP;
	return eth->h_proto ? XDP_PASS : XDP_DROP;
}

static __noinline int grow(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, -4);
}

// The function that it calls makes the same call.
SEC("xdp")
int head_moved_below(struct xdp_md *ctx)
{
	PACKET(ctx);
	struct ethhdr *eth = data;

	if (data + sizeof(*eth) > end)
		return XDP_PASS;
	grow(ctx);
	return eth->h_proto ? XDP_PASS : XDP_DROP;
}

// Compares with `data` of before the call.
SEC("xdp")
int metadata_unchecked(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	__u32 *mark;

	if (bpf_xdp_adjust_meta(ctx, -4))
		return XDP_DROP;
	mark = (void *)(long)ctx->data_meta;
	if ((void *)(mark + 1) > data)
		return XDP_DROP;
	*mark = 1;
	return XDP_PASS;
}

// Compares with the end of the packet, before which there is more than metadata.
SEC("xdp")
int metadata_by_end(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	__u32 *mark = (void *)(long)ctx->data_meta;

	if ((void *)(mark + 1) > end)
		return XDP_DROP;
	*mark = 1;
	return XDP_PASS;
}

// Compares the end of the first of two.
SEC("xdp")
int metadata_short(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	__u32 *marks = (void *)(long)ctx->data_meta;

	if ((void *)(marks + 1) > data)
		return XDP_DROP;
	marks[1] = 1;
	return XDP_PASS;
}

SEC("xdp")
int metadata_moved(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data;
	__u32 *mark = (void *)(long)ctx->data_meta;

	if ((void *)(mark + 1) > data)
		return XDP_DROP;
	if (bpf_xdp_adjust_meta(ctx, -4))
		return XDP_DROP;
	*mark = 1;
	return XDP_PASS;
}

SEC("xdp")
int length_compared(struct xdp_md *ctx)
{
	PACKET(ctx);
	struct ethhdr *eth = data;

	if (end - data < (long)sizeof(*eth))
		return XDP_PASS;
	return eth->h_proto ? XDP_PASS : XDP_DROP;
}

// Compares, but what was added may be more than any packet has.
SEC("xdp")
int step_too_far(struct xdp_md *ctx)
{
	PACKET(ctx);
	__u8 *byte = data + ctx->rx_queue_index;

	if ((void *)(byte + 1) > end)
		return XDP_PASS;
	return *byte ? XDP_PASS : XDP_DROP;
}
