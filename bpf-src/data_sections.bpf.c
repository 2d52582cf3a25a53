// Global variables of every sort: sections with and without a name, static and not, arrays, zeros.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

// `.rodata`, by the section's symbol and an addend, since they are static. An index that the
// compiler does not know keeps the array from becoming instructions.
static const __u32 lengths[4] = { 60, 600, 1200, 1500 };
static const volatile __u32 offset = 2;

// `.data`: not zero from the start.
__u32 next_slot = 3;
static volatile __u64 threshold = 1000;

// `.bss`: zeros, the second one not at the start of the section.
__u64 packets;
static volatile __u64 by_length[4];

// Sections of one's own.
__u32 named SEC(".data.named") = 7;
const volatile __u32 fixed SEC(".rodata.fixed") = 5;

// Needed by nobody: its map is made all the same, as libbpf does.
__u32 unused[16] SEC(".data.unused") = { 1 };

// A function outside the programs refers to variables as well.
static __noinline __u32 slot_of(__u32 length)
{
	__u32 slot = 0;

	if (length >= lengths[1])
		slot = 1;
	return (slot + offset + next_slot) & 3;
}

SEC("xdp")
int count(struct xdp_md *ctx)
{
	__u32 length = ctx->data_end - ctx->data;
	__u32 slot = slot_of(length);

	__sync_fetch_and_add(&packets, 1);
	by_length[slot] += 1;
	if (lengths[slot] > threshold)
		by_length[0] += named;
	return length == fixed ? XDP_DROP : XDP_PASS;
}

// Uses no variable, and holds the constants nevertheless.
SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}
