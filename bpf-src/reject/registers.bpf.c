// Refused: programs that misuse what is in their registers.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

SEC("xdp")
int never_set(struct xdp_md *ctx)
{
	__u64 number;

	asm volatile("%0 = r7" : "=r"(number));
	return number ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int pointer_masked(struct xdp_md *ctx)
{
	__u64 data = ctx->data;

	asm volatile("%0 &= 7" : "+r"(data));
	return data ? XDP_DROP : XDP_PASS;
}

// Masked with more than may be added to a pointer.
SEC("xdp")
int pointer_aligned(struct xdp_md *ctx)
{
	__u32 *word = (void *)((__u64)(ctx->data + 6ul) & ~3ul);

	if ((void *)(word + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	return *word ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int pointers_added(struct xdp_md *ctx)
{
	__u64 data = ctx->data;

	asm volatile("%0 += %1" : "+r"(data) : "r"(ctx));
	return data ? XDP_DROP : XDP_PASS;
}

// Refused without CAP_PERFMON: what it returns tells where the context lies.
SEC("xdp")
int pointer_leaked(struct xdp_md *ctx)
{
	__u64 result;

	asm volatile("%0 = %1" : "=r"(result) : "r"(ctx));
	return result;
}

// A step that may be any number.
SEC("xdp")
int step_unbounded(struct xdp_md *ctx)
{
	__u64 data = ctx->data, step = bpf_ktime_get_ns();

	asm volatile("%0 += %1" : "+r"(data) : "r"(step));
	return *(__u8 *)data ? XDP_DROP : XDP_PASS;
}
