// Maps of maps, with and without templates of their own, filled by the file and by user space.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

struct verdicts {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} even SEC(".maps"), odd SEC(".maps");

// The template is a type with a name, which maps of the file have too.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct verdicts);
} by_parity SEC(".maps") = {
	.values = { [0] = &even, [3] = &odd },
};

// Two keys, one map.
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u32);
	__array(values, struct verdicts);
} by_number SEC(".maps") = {
	.values = { &odd, &odd },
};

// The template is only here, and the loader rounds its size up.
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 8);
	__uint(key_size, 8);
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_RINGBUF);
		__uint(max_entries, 5000);
	});
} rings SEC(".maps");

// Which slot of by_parity to go by.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} choice SEC(".maps");

SEC("xdp")
int by_inner_map(struct xdp_md *ctx)
{
	__u32 zero = 0;
	__u32 *slot = bpf_map_lookup_elem(&choice, &zero);
	void *verdicts;
	__u32 *verdict;

	if (!slot)
		return XDP_ABORTED;
	verdicts = bpf_map_lookup_elem(&by_parity, slot);
	if (!verdicts)
		return XDP_PASS;
	verdict = bpf_map_lookup_elem(verdicts, &zero);
	return verdict && *verdict ? XDP_DROP : XDP_PASS;
}
