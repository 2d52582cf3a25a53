// Function calls of every sort that libbpf joins: static, global, weak and dead functions.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} lengths SEC(".maps");

// A function outside the programs that refers to a map.
static __noinline void count(__u32 slot)
{
	__u64 *value = bpf_map_lookup_elem(&lengths, &slot);

	if (value)
		__sync_fetch_and_add(value, 1);
}

// Nobody calls it. A loader that joined it would change the program's tag.
__noinline int dead(struct xdp_md *ctx)
{
	count(ctx->rx_queue_index);
	return XDP_ABORTED;
}

// A global function is called by its symbol, which stays in the object.
__noinline int length(struct xdp_md *ctx)
{
	return (int)(ctx->data_end - ctx->data);
}

// Another file may bring another one; here it is what runs.
__weak __noinline int limit(struct xdp_md *ctx)
{
	return ctx->ingress_ifindex ? 100 : 200;
}

// Calls a function that is before it, and one that others call as well.
__noinline int judge(struct xdp_md *ctx)
{
	int is_long = length(ctx) > limit(ctx);

	count(is_long);
	return is_long ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int drop_long(struct xdp_md *ctx)
{
	if (limit(ctx) > 150)
		return XDP_ABORTED;
	return judge(ctx);
}

// Reaches fewer functions, in another order.
SEC("xdp")
int count_all(struct xdp_md *ctx)
{
	count(length(ctx) & 1);
	return XDP_PASS;
}
