// The other half of half_caller.bpf.c, with a map, variables and a function of its own.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 2);
} verdicts SEC(".maps");

const volatile __u32 longest = 1000;
static volatile __u64 asked;

static __noinline void remember(__u32 key)
{
	__u64 *count = bpf_map_lookup_elem(&verdicts, &key);

	if (count)
		__sync_fetch_and_add(count, 1);
}

__noinline int judge(__u32 length)
{
	asked += 1;
	remember(length > longest);
	return length > longest ? XDP_DROP : XDP_PASS;
}

// A program of this half.
SEC("xdp")
int judge_all(struct xdp_md *ctx)
{
	return judge(ctx->data_end - ctx->data);
}
