// Sections as the kernel's samples and others named them when libbpf took all that begins with `xdp`.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("xdp1")
int pass_all(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp-root")
int drop_all(struct xdp_md *ctx)
{
	return XDP_DROP;
}
