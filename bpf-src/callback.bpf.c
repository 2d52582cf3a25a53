// A function whose address goes to a helper: bpf_loop (5.17) calls it back.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

static int add(__u32 index, void *sum)
{
	*(__u64 *)sum += index;
	return 0;
}

SEC("xdp")
int sum_up(struct xdp_md *ctx)
{
	__u64 sum = 0;

	bpf_loop(5, add, &sum, 0);
	return sum == 10 ? XDP_DROP : XDP_PASS;
}
