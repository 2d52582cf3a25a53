// Zeros in a section with a name of its own, which libbpf does not take.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

__u64 cleared SEC(".bss.cleared");

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__sync_fetch_and_add(&cleared, 1);
	return XDP_PASS;
}
