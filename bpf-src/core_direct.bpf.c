// The kernel's own view of a packet, read without a helper: loads at the kernel's offsets,
// and of as many bytes as the kernel's fields have.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct net_device {
	unsigned int mtu;
	// 16 bits in the kernel.
	unsigned int hard_header_len;
	int ifindex;
} __core;

struct xdp_rxq_info {
	struct net_device *dev;
} __core;

struct xdp_buff {
	struct xdp_rxq_info *rxq;
} __core;

extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, __u64);
} answers SEC(".maps");

static __always_inline void answer(__u32 index, __u64 value)
{
	bpf_map_update_elem(&answers, &index, &value, 0);
}

SEC("xdp")
int look(struct xdp_md *ctx)
{
	struct xdp_buff *buff = bpf_cast_to_kern_ctx(ctx);
	struct net_device *dev = buff->rxq->dev;

	answer(0, dev->ifindex);
	answer(1, dev->mtu);
	answer(2, dev->hard_header_len);
	return XDP_PASS;
}
