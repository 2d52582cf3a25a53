// A large program: some 4,000 instructions in 20 functions, each with a map of its own.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>
#include "twenty.h"

char _license[] SEC("license") = "Dual MIT/GPL";

#define MAP(n)                                                                                   \
	struct {                                                                                 \
		__uint(type, n % 2 ? BPF_MAP_TYPE_HASH : BPF_MAP_TYPE_ARRAY);                    \
		__type(key, __u32);                                                              \
		__type(value, __u64);                                                            \
		__uint(max_entries, 64 + n);                                                     \
	} map_##n SEC(".maps");

#define FUNCTION(n)                                                                              \
	static __noinline __u64 mix_##n(__u64 number)                                            \
	{                                                                                        \
		__u32 key = number % (64 + n);                                                   \
		__u64 *value;                                                                    \
                                                                                                 \
		STEPS(number);                                                                   \
		STEPS(number);                                                                   \
		value = bpf_map_lookup_elem(&map_##n, &key);                                     \
		if (value)                                                                       \
			number += __sync_fetch_and_add(value, 1) + n;                            \
		STEPS(number);                                                                   \
		return number;                                                                   \
	}

#define CALL(n) number = mix_##n(number);

FOR_EACH(MAP)
FOR_EACH(FUNCTION)

SEC("xdp")
int mix_all(struct xdp_md *ctx)
{
	__u64 number = ctx->data_end - ctx->data;

	FOR_EACH(CALL)
	return number == 0 ? XDP_DROP : XDP_PASS;
}
