// The IP blacklist with libbpf's map definition from before 1.0.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "blacklist.h"
#include <bpf/legacy_maps.h>

char _license[] SEC("license") = "Dual MIT/GPL";

struct libbpf_map_def blacklist SEC("maps") = {
	.type = BPF_MAP_TYPE_HASH,
	.key_size = sizeof(__be32),
	.value_size = sizeof(__u32),
	.max_entries = BLACKLIST_MAX_ENTRIES,
};

SEC("xdp")
int xdp_ip_filter(struct xdp_md *ctx)
{
	return source_verdict(ctx, &blacklist);
}
