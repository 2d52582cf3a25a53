// An IPv6 address, and the one protocol number that is IPv6's own.
// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <linux/types.h>

#define IPPROTO_ICMPV6 58

struct in6_addr {
	union {
		__u8 u6_addr8[16];
		__be16 u6_addr16[8];
		__be32 u6_addr32[4];
	} in6_u;
};
