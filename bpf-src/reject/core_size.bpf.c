// Reads fields that the kernel has in another form: a number with a sign that has another
// size there, which the program has asked for, and a pointer where the program has a number.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct net_device {
	// 32 bits in the kernel.
	long ifindex;
	// A pointer there.
	int xdp_prog;
} __core;

struct xdp_rxq_info {
	struct net_device *dev;
} __core;

struct xdp_buff {
	struct xdp_rxq_info *rxq;
} __core;

extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;

SEC("xdp")
int other_size(struct xdp_md *ctx)
{
	struct xdp_buff *buff = bpf_cast_to_kern_ctx(ctx);
	struct net_device *dev = buff->rxq->dev;

	if (!bpf_core_field_exists(dev->ifindex))
		return XDP_ABORTED;
	return dev->ifindex > 1 ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int other_kind(struct xdp_md *ctx)
{
	struct xdp_buff *buff = bpf_cast_to_kern_ctx(ctx);

	return buff->rxq->dev->xdp_prog ? XDP_PASS : XDP_DROP;
}
