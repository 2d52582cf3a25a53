// Replaces `decide` of extensible.bpf.c: counts what comes, and drops it.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} denied SEC(".maps");

SEC("freplace/decide")
int deny(struct xdp_md *ctx)
{
	__u32 key = 0;
	__u64 *count = bpf_map_lookup_elem(&denied, &key);

	if (count)
		__sync_fetch_and_add(count, 1);
	return XDP_DROP;
}
