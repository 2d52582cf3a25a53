// A thousand programs in one object, no two alike.
// SPDX-License-Identifier: MIT OR Apache-2.0
#include <bpf/bpf_helpers.h>

char _license[] SEC("license") = "Dual MIT/GPL";

#define PROGRAM(n)                                                                               \
	SEC("xdp")                                                                               \
	int longer_than_##n(struct xdp_md *ctx)                                                  \
	{                                                                                        \
		return ctx->data_end - ctx->data > 1##n - 1000 ? XDP_DROP : XDP_PASS;            \
	}

#define TEN(n)                                                                                   \
	PROGRAM(n##0) PROGRAM(n##1) PROGRAM(n##2) PROGRAM(n##3) PROGRAM(n##4)                    \
	PROGRAM(n##5) PROGRAM(n##6) PROGRAM(n##7) PROGRAM(n##8) PROGRAM(n##9)
#define HUNDRED(n)                                                                               \
	TEN(n##0) TEN(n##1) TEN(n##2) TEN(n##3) TEN(n##4)                                        \
	TEN(n##5) TEN(n##6) TEN(n##7) TEN(n##8) TEN(n##9)

HUNDRED(0)
HUNDRED(1)
HUNDRED(2)
HUNDRED(3)
HUNDRED(4)
HUNDRED(5)
HUNDRED(6)
HUNDRED(7)
HUNDRED(8)
HUNDRED(9)
