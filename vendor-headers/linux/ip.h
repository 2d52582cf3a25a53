// The IPv4 header without its options.
// SPDX-License-Identifier: MIT OR Apache-2.0
#pragma once

#include <linux/types.h>

// The compiler fills bit-fields from the low bits on a little-endian target and from the
// high bits on a big-endian one, so the two that share the first byte change places.
struct iphdr {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	__u8 ihl : 4;
	__u8 version : 4;
#else
	__u8 version : 4;
	__u8 ihl : 4;
#endif
	__u8 tos;
	__be16 tot_len;
	__be16 id;
	__be16 frag_off;
	__u8 ttl;
	__u8 protocol;
	__sum16 check;
	__be32 saddr;
	__be32 daddr;
};
