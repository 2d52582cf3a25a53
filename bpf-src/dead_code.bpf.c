// Functions that nobody calls, between others that the program needs.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

// Only a dead function counts here.
static volatile __u64 short_ones;

__noinline int is_long(__u32 length)
{
	return length > 1000;
}

__noinline int is_short(__u32 length)
{
	if (is_long(length))
		return 0;
	short_ones += 1;
	return length < 100;
}

__noinline int is_even(__u32 length)
{
	return length % 2 == 0;
}

SEC("xdp")
int drop_long_or_even(struct xdp_md *ctx)
{
	__u32 length = ctx->data_end - ctx->data;

	return is_long(length) || is_even(length) ? XDP_DROP : XDP_PASS;
}
