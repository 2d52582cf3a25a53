// Refused: a loop that nothing ends but luck.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("xdp")
int unbounded_loop(struct xdp_md *ctx)
{
	while (bpf_get_prandom_u32() != 0)
		;
	return XDP_PASS;
}
