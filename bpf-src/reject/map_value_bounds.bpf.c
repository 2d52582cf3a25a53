// Refused: reads the eight bytes after a map value of eight bytes.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

SEC("xdp")
int map_value_bounds(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *number = bpf_map_lookup_elem(&numbers, &key);

	// Entry 1 does lie there in memory, but a pointer to one entry covers only that one.
	if (number)
		return number[1] ? XDP_DROP : XDP_PASS;
	return XDP_PASS;
}
