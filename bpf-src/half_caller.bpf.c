// Half of a program: what judges a packet is in half_callee.bpf.c, and `bpftool gen object` joins the two.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

extern int judge(__u32 length);

SEC("xdp")
int ask(struct xdp_md *ctx)
{
	return judge(ctx->data_end - ctx->data);
}
