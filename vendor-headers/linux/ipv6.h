// The IPv6 header, which is also all of it that each packet has.
// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <linux/in6.h>

// The bit-fields change places as those of the IPv4 header do.
struct ipv6hdr {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	__u8 priority : 4;
	__u8 version : 4;
#else
	__u8 version : 4;
	__u8 priority : 4;
#endif
	__u8 flow_lbl[3];
	__be16 payload_len;
	__u8 nexthdr;
	__u8 hop_limit;
	struct in6_addr saddr;
	struct in6_addr daddr;
};
