// Refused: global functions, and calls of them, that are not as the verifier takes them: it checks each by its types.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>
#include <linux/if_ether.h>

char _license[] SEC("license") = "Dual MIT/GPL";

struct counter {
	__u64 packets, bytes;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counter);
} counters SEC(".maps");

// Does not use the context, and so clang passes none.
__noinline int classify(struct xdp_md *ctx, int port)
{
	volatile int action = XDP_PASS;

	return action + port;
}

SEC("xdp")
int context_not_passed(struct xdp_md *ctx)
{
	int port = bpf_get_prandom_u32() & 1;

	return classify(ctx, port);
}

__noinline int sum(struct counter *counter)
{
	return counter ? counter->packets + counter->bytes : 0;
}

SEC("xdp")
int too_few_bytes(struct xdp_md *ctx)
{
	__u64 packets = 2;

	return sum((struct counter *)&packets);
}

__noinline struct counter *as_pointer(__u64 number)
{
	return (struct counter *)number;
}

SEC("xdp")
int returns_pointer(struct xdp_md *ctx)
{
	return as_pointer(2) ? XDP_DROP : XDP_PASS;
}

__noinline int parse(struct ethhdr *eth, void *end)
{
	if ((void *)(eth + 1) > end)
		return XDP_DROP;
	return eth->h_proto ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int packet_passed(struct xdp_md *ctx)
{
	return parse((void *)(long)ctx->data, (void *)(long)ctx->data_end);
}

__noinline int count(struct counter *counter, __u64 bytes)
{
	counter->packets++;
	counter->bytes += bytes;
	return 0;
}

// The caller has compared the pointer with NULL, the function has not.
SEC("xdp")
int compared_by_the_caller(struct xdp_md *ctx)
{
	__u32 key = 0;
	struct counter *counter = bpf_map_lookup_elem(&counters, &key);

	if (!counter)
		return XDP_DROP;
	count(counter, ctx->data_end - ctx->data);
	return XDP_PASS;
}

__noinline int queue_of(struct xdp_md *ctx)
{
	return ctx->rx_queue_index;
}

SEC("xdp")
int number_for_context(struct xdp_md *ctx)
{
	struct xdp_md *none = 0;

	asm volatile("" : "+r"(none));
	return queue_of(none);
}

SEC("xdp")
int moved_context(struct xdp_md *ctx)
{
	return queue_of((struct xdp_md *)((char *)ctx + 8));
}
