// What clang describes and has not written: constants that are in another section, and variables without bytes.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

// In `.rodata.cst16`. Clang 14 describes it in `.rodata` all the same, at the place of what is there.
static const __u64 weights[2] = { 0x100000001, 3 };

const volatile __u32 rounds = 4;
const volatile char note[24] = "what is at the beginning";

// The only variable of its section, which has no bytes either.
__u32 nothing[0];

// The kernel takes a callback only with the types of functions, and all types or none.
static long add(__u32 round, void *sum)
{
	*(__u64 *)sum += weights[round & 1];
	return 0;
}

SEC("xdp")
int judge(struct xdp_md *ctx)
{
	__u64 sum = note[ctx->rx_queue_index & 7];

	bpf_loop(rounds, add, &sum, 0);
	return sum & 1 ? XDP_DROP : XDP_PASS;
}
