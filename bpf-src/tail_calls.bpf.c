// A chain of tail calls through two prog arrays that the file fills.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

int count(struct xdp_md *ctx);
int verdict(struct xdp_md *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, int(struct xdp_md *));
} first_jump SEC(".maps") = {
	.values = { [2] = &count },
};

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__array(values, int(void *));
} last_jump SEC(".maps") = {
	.values = { (void *)&verdict },
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} counted SEC(".maps");

// What the last program of the chain returns; 0, which is XDP_ABORTED, until user space says.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} answer SEC(".maps");

// Passes where the chain is broken.
SEC("xdp")
int enter(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &first_jump, 2);
	return XDP_PASS;
}

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *packets = bpf_map_lookup_elem(&counted, &key);

	if (packets)
		__sync_fetch_and_add(packets, 1);
	bpf_tail_call(ctx, &last_jump, 0);
	return XDP_PASS;
}

SEC("xdp")
int verdict(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u32 *found = bpf_map_lookup_elem(&answer, &key);

	return found ? *found : XDP_ABORTED;
}

// Has nothing to do with the chain, and is not loaded with it.
SEC("xdp")
int alone(struct xdp_md *ctx)
{
	return XDP_PASS;
}
