// The IP blacklist with a BTF map definition, the dialect of today.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include "blacklist.h"

char _license[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, BLACKLIST_MAX_ENTRIES);
	__type(key, __be32);
	__type(value, __u32);
} blacklist SEC(".maps");

SEC("xdp")
int xdp_ip_filter(struct xdp_md *ctx)
{
	return source_verdict(ctx, &blacklist);
}
