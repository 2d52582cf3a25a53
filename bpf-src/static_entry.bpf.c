// Programs that are `static`: nobody calls them, so that they are no part of another one.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("xdp")
static int drop_all(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("xdp/second")
static int pass_all(struct xdp_md *ctx)
{
	return XDP_PASS;
}
