// Tail calls in iproute2's dialect: the section of a program says the id of a prog array, and the slot there.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>
#include <bpf/legacy_maps.h>

char _license[] SEC("license") = "Dual MIT/GPL";

#define ID_JUMPS 1
#define ID_SHARED 16

struct iproute2_map_def jumps SEC("maps") = {
	.type = BPF_MAP_TYPE_PROG_ARRAY,
	.size_key = sizeof(__u32),
	.size_value = sizeof(__u32),
	.max_elem = 4,
	.id = ID_JUMPS,
};

// No program here calls through it: those of other objects do, which find it by its pin.
struct iproute2_map_def shared SEC("maps") = {
	.type = BPF_MAP_TYPE_PROG_ARRAY,
	.size_key = sizeof(__u32),
	.size_value = sizeof(__u32),
	.max_elem = 32,
	.id = ID_SHARED,
	.pinning = PIN_GLOBAL_NS,
};

// Passes where the chain is broken.
SEC("prog")
int enter(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &jumps, 0);
	return XDP_PASS;
}

SEC("1/0")
int second(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &jumps, 3);
	return XDP_PASS;
}

SEC("0x1/03")
int last(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("0x10/0x1f")
int elsewhere(struct xdp_md *ctx)
{
	return XDP_TX;
}
