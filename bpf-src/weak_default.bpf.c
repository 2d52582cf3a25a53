// A weak function that weak_override.bpf.c replaces when `bpftool gen object` joins the two.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

__noinline int helper(struct xdp_md *ctx)
{
	return ctx->rx_queue_index + 1;
}

// Overridden, its body stays in `.text` without a symbol, and with it the relocation of its call.
__weak __noinline int verdict(struct xdp_md *ctx)
{
	return helper(ctx) ? XDP_PASS : XDP_ABORTED;
}

SEC("xdp")
int ask(struct xdp_md *ctx)
{
	return verdict(ctx);
}
