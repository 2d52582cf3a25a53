// xdp_drop again, in the section `prog`: where iproute2 looks when no section is named.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("prog")
int xdp_drop(struct xdp_md *ctx)
{
	return XDP_DROP;
}
