// Global variables: `.rodata` and `.bss`, each of which a loader must turn into a map.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

// Set by user space before loading. `volatile` keeps the compiler from putting the 0 into
// the instructions.
const volatile __u32 drop_every = 0;

// Counted by all CPUs, hence the atomic addition.
__u64 seen;

SEC("xdp")
int xdp_sample(struct xdp_md *ctx)
{
	__sync_fetch_and_add(&seen, 1);
	if (drop_every == 0)
		return XDP_PASS;
	return seen % drop_every == 0 ? XDP_DROP : XDP_PASS;
}
