// The IP blacklist in iproute2's dialect, as `ip link set ... xdp obj` used to read it.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "blacklist.h"
#include <bpf/legacy_maps.h>

char _license[] SEC("license") = "Dual MIT/GPL";

// `inner_idx` stays 0: no map here has this one's id as its `inner_id`, so that this map is
// put into none.
struct iproute2_map_def blacklist SEC("maps") = {
	.type = BPF_MAP_TYPE_HASH,
	.size_key = sizeof(__be32),
	.size_value = sizeof(__u32),
	.max_elem = BLACKLIST_MAX_ENTRIES,
	.id = 1,
	.pinning = PIN_GLOBAL_NS,
};

SEC("prog")
int xdp_ip_filter(struct xdp_md *ctx)
{
	return source_verdict(ctx, &blacklist);
}
