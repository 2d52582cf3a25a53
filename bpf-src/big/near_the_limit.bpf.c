// A loop that the verifier walks round by round, until nearly a million instructions are behind it.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("xdp")
int add_up(struct xdp_md *ctx)
{
	__u64 sum = ctx->data_end - ctx->data;

#pragma clang loop unroll(disable)
	for (__u32 round = 0; round < 140000; round++)
		sum += sum << 7 | round;
	return sum == 0 ? XDP_DROP : XDP_PASS;
}
