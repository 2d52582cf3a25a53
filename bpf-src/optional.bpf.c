// Programs that are loaded only where they are chosen: their sections begin with `?`.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

SEC("xdp")
int pass_all(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("?xdp.frags")
int drop_frags(struct xdp_md *ctx)
{
	return XDP_DROP;
}

// A field of the context that is there for programs in entries of a devmap alone.
SEC("?xdp/devmap")
int drop_egress(struct xdp_md *ctx)
{
	return ctx->egress_ifindex ? XDP_DROP : XDP_PASS;
}

SEC("?freplace/decide")
int deny_instead(struct xdp_md *ctx)
{
	return XDP_DROP;
}
