// Refused: programs that read or write where memory is not proven to be theirs.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>
#include <linux/ip.h>

char _license[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64[4]);
} table SEC(".maps");

// Proves the Ethernet header, and reads the IP header.
SEC("xdp")
int packet_short(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *iph = data + sizeof(struct ethhdr);

	if (data + sizeof(struct ethhdr) > end)
		return XDP_PASS;
	return iph->saddr == 0 ? XDP_DROP : XDP_PASS;
}

// Goes to an offset that the packet itself holds.
SEC("xdp")
int packet_far(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + 1 > end)
		return XDP_PASS;
	return data[*data & 0xff] ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int value_null(struct xdp_md *ctx)
{
	__u32 key = ctx->rx_queue_index;
	__u64 *value = bpf_map_lookup_elem(&table, &key);

	return *value ? XDP_DROP : XDP_PASS;
}

// The place in the value comes from outside, and nothing limits it.
SEC("xdp")
int value_index(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&table, &key);

	if (value)
		return value[ctx->rx_queue_index] ? XDP_DROP : XDP_PASS;
	return XDP_PASS;
}

// Limited, but to more than there is.
SEC("xdp")
int value_mask(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&table, &key);

	if (value)
		return value[ctx->rx_queue_index & 7] ? XDP_DROP : XDP_PASS;
	return XDP_PASS;
}

SEC("xdp")
int stack_below(struct xdp_md *ctx)
{
	asm volatile("r1 = 0\n"
		     "*(u64 *)(r10 - 520) = r1" ::: "r1", "memory");
	return XDP_PASS;
}

SEC("xdp")
int context_end(struct xdp_md *ctx)
{
	__u32 beyond;

	asm volatile("%0 = *(u32 *)(%1 + 64)" : "=r"(beyond) : "r"(ctx));
	return beyond ? XDP_DROP : XDP_PASS;
}

// Steps through the context before it reads.
SEC("xdp")
int context_moved(struct xdp_md *ctx)
{
	__u32 queue;

	asm volatile("%1 += 16\n"
		     "%0 = *(u32 *)(%1 + 0)" : "=r"(queue), "+r"(ctx));
	return queue ? XDP_DROP : XDP_PASS;
}
