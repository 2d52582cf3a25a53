// Refused: programs whose way through the code does not end, or is not one.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

// Ends, but after more steps than the verifier takes.
SEC("xdp")
int too_long(struct xdp_md *ctx)
{
	__u64 sum = 0;

	for (__u32 i = 0; i < 1000000; i++)
		asm volatile("%0 += %1" : "+r"(sum) : "r"(i));
	return sum ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int never_reached(struct xdp_md *ctx)
{
	asm volatile("goto +1\n"
		     "r0 = 1");
	return XDP_PASS;
}

// Ends without `exit`, as a program does that calls a function which is not in the object.
SEC("xdp")
__attribute__((naked)) int falls_out(void)
{
	asm volatile("r0 = 2");
}

SEC("xdp")
__attribute__((naked)) int jumps_out(void)
{
	asm volatile("r0 = 2\n"
		     "goto +7\n"
		     "exit");
}

#define FRAME(name, callee) \
	static __noinline int name(struct xdp_md *ctx) { return callee(ctx) + 1; }

static __noinline int ninth(struct xdp_md *ctx)
{
	return bpf_get_prandom_u32();
}
FRAME(eighth, ninth)
FRAME(seventh, eighth)
FRAME(sixth, seventh)
FRAME(fifth, sixth)
FRAME(fourth, fifth)
FRAME(third, fourth)
FRAME(second, third)

SEC("xdp")
int calls_too_deep(struct xdp_md *ctx)
{
	return second(ctx);
}

#define FILL(name, bytes) \
	char name[bytes]; \
	asm volatile("" :: "r"(name) : "memory"); \
	*(volatile char *)name = 1

static __noinline int inner(struct xdp_md *ctx)
{
	FILL(room, 300);
	return ctx->rx_queue_index;
}

SEC("xdp")
int stack_shared(struct xdp_md *ctx)
{
	FILL(room, 300);
	return inner(ctx) + 1;
}

static int again(__u32 index, void *unused)
{
	return 2;
}

SEC("xdp")
int callback_result(struct xdp_md *ctx)
{
	bpf_loop(5, again, 0, 0);
	return XDP_PASS;
}
