// Packet and byte counters, one per CPU: nothing is shared, so that nothing is locked.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

// Each map has one entry, at key 0. User space reads one value per possible CPU and adds up.
struct counter {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
};

struct counter packets SEC(".maps");
struct counter bytes SEC(".maps");

// XDP does not migrate to another CPU half-way, so that a plain addition loses nothing.
static __always_inline void add(struct counter *counter, __u64 amount)
{
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(counter, &key);

	if (value)
		*value += amount;
}

SEC("xdp")
int xdp_count(struct xdp_md *ctx)
{
	add(&packets, 1);
	add(&bytes, ctx->data_end - ctx->data);
	return XDP_PASS;
}
