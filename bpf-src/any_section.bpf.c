// Programs in a section whose name says nothing: whoever loads one says that it is for XDP.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("filters")
int drop_short(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data < 100 ? XDP_DROP : XDP_PASS;
}

SEC("filters")
int drop_long(struct xdp_md *ctx)
{
	return ctx->data_end - ctx->data < 100 ? XDP_PASS : XDP_DROP;
}
