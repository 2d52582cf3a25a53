// A program that leaves the decision to a function which an extension may replace.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

// The kernel replaces global functions alone, and the compiler may not guess what this one gives.
__noinline int decide(struct xdp_md *ctx)
{
	volatile int verdict = XDP_PASS;

	return ctx ? verdict : XDP_ABORTED;
}

SEC("xdp")
int dispatch(struct xdp_md *ctx)
{
	return decide(ctx);
}
