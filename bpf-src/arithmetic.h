// One program for every instruction set: the sources that include it differ in -mcpu alone.
// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

static volatile __s32 divisor = -7;
static volatile __s8 small = -3;
static volatile __s16 middle = -300;
static volatile __u64 wide = 0x1122334455667788;

// Signed division and remainder are instructions since v4; before, what is positive is divided.
static __always_inline __s64 divide(__s64 number, __s64 by)
{
#ifdef __BPF_FEATURE_SDIV_SMOD
	return number / by + number % by;
#else
	__u64 whole = (__u64)(number < 0 ? -number : number), part = (__u64)(by < 0 ? -by : by);
	__s64 quotient = whole / part, rest = whole % part;

	if ((number < 0) != (by < 0))
		quotient = -quotient;
	return quotient + (number < 0 ? -rest : rest);
#endif
}

// Loads and moves that extend the sign, a swap of bytes, comparisons of 32 bits.
static __noinline __u64 mix(__u32 length)
{
	__s64 sum = small + middle;
	__u32 low = (__u32)wide;

	sum += divide((__s64)length - 100, divisor);
	sum += (__s8)length;
	sum += __builtin_bswap64(wide) ^ __builtin_bswap32(low) ^ __builtin_bswap16((__u16)low);
	if ((__s32)low < (__s32)length)
		sum ^= low;
	if (length <= low)
		sum += length;
	return sum;
}

// Verdicts from 0 to 4 are all that a packet can have.
SEC("xdp")
int arithmetic(struct xdp_md *ctx)
{
	return mix(ctx->data_end - ctx->data) % 5;
}
