// A function that no kernel has, and that the program cannot do without.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "GPL";

extern int xdpload_nowhere(struct xdp_md *ctx) __ksym;

SEC("xdp")
int look(struct xdp_md *ctx)
{
	return xdpload_nowhere(ctx);
}
