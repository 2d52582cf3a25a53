// The strong function that takes the place of the weak one in weak_default.bpf.c.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

__noinline int verdict(struct xdp_md *ctx)
{
	return ctx->ingress_ifindex ? XDP_DROP : XDP_ABORTED;
}

SEC("xdp")
int ask_too(struct xdp_md *ctx)
{
	return verdict(ctx);
}
