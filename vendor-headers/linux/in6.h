// An IPv6 address, and the one protocol number that is IPv6's own.
// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <linux/types.h>

#define IPPROTO_ICMPV6 58

// The system's header has a union, of which this is the part that reads whole words.
struct in6_addr {
	__be32 s6_addr32[4];
};
