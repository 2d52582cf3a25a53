// The IP blacklist in gobpf's dialect: map and program are named by their sections.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "blacklist.h"
#include <bpf/legacy_maps.h>

char _license[] SEC("license") = "Dual MIT/GPL";

// "The version of the running kernel": the loader fills it in.
__u32 _version SEC("version") = 0xFFFFFFFE;

// gobpf appends `globals` to the namespace by itself, so that this map is pinned at
// /sys/fs/bpf/globals/globals/blacklist. That is where the blog's tool looks for it.
struct gobpf_map_def blacklist SEC("maps/blacklist") = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(__be32),
	.value_size = sizeof(__u32),
	.max_entries = BLACKLIST_MAX_ENTRIES,
	.pinning = PIN_GLOBAL_NS,
	.namespace = "globals",
};

SEC("xdp/xdp_ip_filter")
int xdp_ip_filter(struct xdp_md *ctx)
{
	return source_verdict(ctx, &blacklist);
}
