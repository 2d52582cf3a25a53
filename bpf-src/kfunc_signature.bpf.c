// A function of the kernel under a signature that it does not have.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

extern void bpf_rcu_read_lock(struct xdp_md *ctx) __ksym;

SEC("xdp")
int look(struct xdp_md *ctx)
{
	bpf_rcu_read_lock(ctx);
	return XDP_PASS;
}
