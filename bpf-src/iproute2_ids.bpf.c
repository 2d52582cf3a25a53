// iproute2's dialect in breadth: ids, the two places for pins, and a map of maps.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>
#include <bpf/legacy_maps.h>

char _license[] SEC("license") = "Dual MIT/GPL";

#define ID_INNER 7
#define ID_SHARED 8

// Pinned for this object alone. The map of maps names it by id, and so iproute2 puts it into
// that one's entry `inner_idx`.
struct iproute2_map_def inner SEC("maps") = {
	.type = BPF_MAP_TYPE_ARRAY,
	.size_key = sizeof(__u32),
	.size_value = sizeof(__u64),
	.max_elem = 4,
	.id = ID_INNER,
	.pinning = PIN_OBJECT_NS,
	.inner_idx = 1,
};

// Pinned for every object. It has an id as well, which nothing refers to.
struct iproute2_map_def shared SEC("maps") = {
	.type = BPF_MAP_TYPE_HASH,
	.size_key = sizeof(__u32),
	.size_value = sizeof(__u64),
	.max_elem = 64,
	.flags = BPF_F_NO_PREALLOC,
	.id = ID_SHARED,
	.pinning = PIN_GLOBAL_NS,
};

// The kernel takes the shape of the entries from the inner map when this one is created.
struct iproute2_map_def outer SEC("maps") = {
	.type = BPF_MAP_TYPE_ARRAY_OF_MAPS,
	.size_key = sizeof(__u32),
	.size_value = sizeof(__u32),
	.max_elem = 2,
	.inner_id = ID_INNER,
};

SEC("prog")
int count_inner(struct xdp_md *ctx)
{
	__u32 key = 1;
	void *map = bpf_map_lookup_elem(&outer, &key);
	__u64 *count;

	if (!map)
		return XDP_PASS;
	key = 0;
	count = bpf_map_lookup_elem(map, &key);
	if (count)
		*count += 1;
	return bpf_map_lookup_elem(&shared, &key) ? XDP_DROP : XDP_PASS;
}
